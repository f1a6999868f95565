"""Files of named tensors with JSON in their metadata, in the safetensors format.

The files of models, of optimizers' states, of state dictionaries and of checkpoints are such files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from xpnet._version import __version__
from xpnet.errors import FileFormatError

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
}
"""The names of dtypes in a file of safetensors; others, such as BF16, are in no file of xpnet."""

Tensors = dict[str, np.ndarray[Any, Any]]


class TensorHeader(NamedTuple):
    """The dtype and the shape of a tensor in a file, which are known before it is read."""

    dtype: str
    shape: tuple[int, ...]


@contextmanager
def open_tensors(name: str) -> Iterator[Any]:
    """Yield an open file, of which safetensors has compared the header with the length.

    Raises:
        FileFormatError: if it is not a safetensors file.
    """
    try:
        with safe_open(name, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise FileFormatError(f"{name!r} is not a safetensors file ({error}).") from None


def headers_of(file: Any) -> dict[str, TensorHeader]:
    """Return the dtype and the shape of every tensor, without reading one."""
    slices = {key: file.get_slice(key) for key in file.keys() or ()}
    return {
        key: TensorHeader(DTYPES.get(part.get_dtype(), part.get_dtype()), tuple(part.get_shape()))
        for key, part in slices.items()
    }


def parse(metadata: Mapping[str, str], key: str) -> dict[str, Any] | None:
    """Return the JSON object under ``key``, or ``None`` if there is none."""
    try:
        config = json.loads(metadata[key])
    except (KeyError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def is_readable(config: Mapping[str, Any], name: str | os.PathLike[str], newest: int) -> bool:
    """Return whether ``config`` is of a format from 1 to ``newest``.

    Raises:
        FileFormatError: if it is of a newer one; the message names the xpnet that reads it.
    """
    version, writer = config.get("version"), config.get("xpnet")
    if type(version) is not int:
        return False
    if version > newest:
        raise newer_format(str(name), version, writer, newest)
    return version >= 1


def newer_format(name: str, version: int, writer: Any, newest: int) -> FileFormatError:
    """Return the error for a file of a newer format, which the xpnet ``writer`` wrote."""
    known = isinstance(writer, str) and re.fullmatch(r"[0-9][0-9a-z.+]{0,30}", writer)
    needed = f"xpnet {writer} or newer" if known else "a newer xpnet"
    formats = "format 1" if newest == 1 else f"format 1 to {newest}"
    return FileFormatError(
        f"{name!r} must be of {formats}, which xpnet {__version__} reads; "
        f"got format {version}. Install {needed}."
    )
