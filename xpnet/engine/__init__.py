"""How one step runs: eagerly, recorded and replayed on a CPU, or captured as a CUDA graph."""

__all__: list[str] = []
