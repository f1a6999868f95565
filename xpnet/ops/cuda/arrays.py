"""Which arrays and scalars a kernel takes: it looks at no bounds itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name

FLOATS = ("float32", "float64")


def fit(*arrays: Array) -> bool:
    """Whether a kernel takes them: of one floating type, C-contiguous, and not empty."""
    dtype = arrays[0].dtype
    return dtype_name(dtype) in FLOATS and all(
        array.dtype == dtype and array.size > 0 and array.flags.c_contiguous for array in arrays
    )


def shaped(shape: tuple[int, ...], *arrays: Array) -> bool:
    """Whether all have the shape."""
    return all(array.shape == shape for array in arrays)


def is_one(array: Array, like: Array) -> bool:
    """Whether an array is one number for all elements of a longer one, of the same type."""
    one = array.size == 1 or (array.size > 0 and not any(array.strides))
    return one and like.size > 1 and array.dtype == like.dtype


def on_device(scalar: Any) -> bool:
    """Whether a scalar is an array; a NumPy scalar has a shape too, but is a value."""
    return hasattr(scalar, "shape") and not isinstance(scalar, np.generic)


def are_numbers(scalars: Sequence[Any], dtype: Any) -> bool:
    """Whether every scalar that is an array is one number of the type."""
    return all(s.size == 1 and s.dtype == dtype for s in scalars if on_device(s))


def in_type(scalars: Sequence[Any], dtype: Any) -> list[Any]:
    """The scalars as a kernel takes them: values in its type, arrays as they are."""
    return [s if on_device(s) else dtype.type(s) for s in scalars]
