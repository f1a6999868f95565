"""Checks of the arrays and scalars passed to a kernel, which itself checks no bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name

FLOATS = ("float32", "float64")


def supported(*arrays: Array) -> bool:
    """Whether the arrays have one floating dtype and device, are C-contiguous and not empty."""
    dtype, device = arrays[0].dtype, arrays[0].device
    return dtype_name(dtype) in FLOATS and all(
        x.dtype == dtype and x.size > 0 and x.flags.c_contiguous and x.device == device
        for x in arrays
    )


def have_shape(shape: tuple[int, ...], *arrays: Array) -> bool:
    """Whether all arrays have the shape."""
    return all(array.shape == shape for array in arrays)


def is_constant(array: Array, like: Array) -> bool:
    """Whether ``array`` holds one number in memory, to be broadcast to the longer ``like``."""
    single = array.size == 1 or (array.size > 0 and not any(array.strides))
    return single and like.size > 1 and array.dtype == like.dtype


def on_device(scalar: Any) -> bool:
    """Whether a scalar is an array in device memory; NumPy scalars are passed by value."""
    return hasattr(scalar, "shape") and not isinstance(scalar, np.generic)


def are_scalars(scalars: Sequence[Any], dtype: Any) -> bool:
    """Whether every scalar that is an array has one element and the dtype."""
    return all(s.size == 1 and s.dtype == dtype for s in scalars if on_device(s))


def kernel_scalars(scalars: Sequence[Any], dtype: Any) -> list[Any]:
    """The scalars as kernel arguments: values converted to the dtype, arrays unchanged."""
    return [s if on_device(s) else dtype.type(s) for s in scalars]
