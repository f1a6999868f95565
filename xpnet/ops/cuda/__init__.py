"""Operations on CuPy arrays in kernels of our own, made from the rules and from ``kernels/``."""

__all__: list[str] = []
