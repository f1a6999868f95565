"""Operations on CuPy arrays: CUDA kernels generated from rules or read from ``kernels/``."""

__all__: list[str] = []
