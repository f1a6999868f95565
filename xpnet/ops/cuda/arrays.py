"""Which arrays a kernel takes."""

from __future__ import annotations

from xpnet.backend import Array
from xpnet.errors import dtype_name

FLOATS = ("float32", "float64")


def fit(*arrays: Array) -> bool:
    """Whether a kernel takes them: of one floating type, C-contiguous, and not empty."""
    dtype = arrays[0].dtype
    return dtype_name(dtype) in FLOATS and all(
        array.dtype == dtype and array.size > 0 and array.flags.c_contiguous for array in arrays
    )


def is_one(array: Array, like: Array) -> bool:
    """Whether an array is one number for all elements of another, of the same type."""
    one = array.size == 1 != like.size or not any(array.strides)
    return one and array.dtype == like.dtype
