"""The execution of one step: eager, recorded and replayed on a CPU, or captured as a CUDA graph."""

__all__: list[str] = []
