"""Faster operations on NumPy arrays through Numba, imported only where it is installed."""

__all__: list[str] = []
