"""State dictionaries: nested dictionaries and lists of JSON values and arrays, and their files.

The states of trainings, callbacks and minimizations are state dictionaries. In a file the arrays
are tensors, named by their path, and everything else is JSON, so that no file runs code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from safetensors.numpy import save

from xpnet._version import __version__
from xpnet.atomic import StrPath, write_atomically
from xpnet.backend import to_numpy
from xpnet.errors import (
    ArgumentError,
    FileFormatError,
    describe,
    plain_number,
    require_type,
)
from xpnet.tensor_file import (
    DTYPES,
    TensorHeader,
    Tensors,
    headers_of,
    is_readable,
    open_tensors,
    parse,
)

StateDict: TypeAlias = dict[str, Any]
"""A dictionary from texts to arrays of any backend, numbers, texts, booleans, ``None``, and lists
and dictionaries of such values."""

FORMAT = 1
KEY = "xpnet-state-dict"
"""The key of the JSON in the metadata of a file that `save_state_dict` writes."""

TENSOR = "$tensor"
"""The key of a JSON object that stands for an array, whose value is the name of the tensor."""

MAX_HEADER = 8 << 20
"""The largest number of bytes of the header of a file, in which the JSON is, if the file is small;
parsed, it takes up to some 10 times as many."""

MAX_TEXT = 1 << 20
"""The largest number of characters of JSON beside few arrays: parsed, it takes up to some 30 times
as many bytes. See `is_short`."""

VALUE_BYTES = 100
"""An upper bound of the memory of one JSON value beside its text."""

MAX_DEPTH = 32
"""The largest depth of a state dictionary."""

MAX_JSON_DEPTH = 64
"""The largest depth of JSON in a file, far below the limit of recursion."""


def save_state_dict(state: Mapping[str, Any], path: StrPath) -> None:
    """Write a state dictionary to a safetensors file, which appears completely or not at all.

    Args:
        state: arrays of any backend, numbers, texts, booleans and ``None``, nested in dictionaries
            with texts as keys and in lists; such as ``TrainingStep.state_dict()``.
        path: the file; an existing one is replaced.

    Raises:
        ArgumentError: if ``state`` holds any other value; the message names its path.
        OSError: if the file cannot be written; the previous one remains.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_state_dict({"epoch": 3, "best": np.ones(2)}, f"{folder}/state.safetensors")
    ...     load_state_dict(f"{folder}/state.safetensors")
    {'epoch': 3, 'best': array([1., 1.])}
    """
    require_type(state, Mapping, "state")
    values, tensors = pack(state, "state")
    config = {"version": FORMAT, "xpnet": __version__, "state": values}
    write_atomically(path, save(tensors, metadata={KEY: as_json(config, "state")}))


def load_state_dict(path: StrPath) -> StateDict:
    """Read a file that `save_state_dict` wrote.

    Args:
        path: the file.

    Returns:
        The state dictionary, with NumPy arrays; tuples have become lists.

    Raises:
        FileFormatError: if the file is truncated, hostile, of a newer format or not a state
            dictionary of xpnet.
        FileNotFoundError: if there is no such file.
    """
    name = os.fsdecode(path)
    require_file(name, "a state file")
    with open_tensors(name) as file:
        config = parse_bounded(file.metadata() or {}, KEY, name)
        if config is None or not is_readable(config, name, FORMAT):
            raise FileFormatError(f"{name!r} must be a state dictionary saved by xpnet; it is not.")
        state = unpack(config.get("state"), headers_of(file), file.get_tensor, name)
    if not isinstance(state, dict):
        raise FileFormatError(f"{name!r} must hold a dictionary; got {describe(state)}.")
    return state


def pack(state: Any, argument: str, prefix: str = "") -> tuple[Any, Tensors]:
    """Divide a state into JSON values and tensors, copies on the host.

    Args:
        state: the state.
        argument: the name of ``state`` in error messages.
        prefix: the beginning of the names of the tensors.

    Raises:
        ArgumentError: if a value is neither an array nor JSON.

    >>> pack({"step": 1, "slots": [np.zeros(2)]}, "state")
    ({'step': 1, 'slots': [{'$tensor': 'slots.0'}]}, {'slots.0': array([0., 0.])})
    """
    tensors: Tensors = {}
    return _packed(state, argument, prefix, "", tensors, 0), tensors


def _packed(value: Any, argument: str, prefix: str, path: str, tensors: Tensors, depth: int) -> Any:
    """Return a value as JSON, and add its arrays to ``tensors``."""
    if not isinstance(value, np.ndarray):
        value = plain_number(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if depth == MAX_DEPTH:
        raise ArgumentError(f"{argument} must be nested less than {MAX_DEPTH} levels deep.")
    if isinstance(value, Mapping) and all(_is_key(key) for key in value):
        return {
            key: _packed(item, argument, prefix, _joined(path, key), tensors, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [
            _packed(item, argument, prefix, _joined(path, str(i)), tensors, depth + 1)
            for i, item in enumerate(value)
        ]
    array = to_numpy(value) if hasattr(value, "dtype") and hasattr(value, "shape") else None
    if array is None or array.dtype.name not in DTYPES.values():
        where = f" at {path!r}" if path else ""
        do = " Save the state of a generator, rng.bit_generator.state, not the generator."
        raise ArgumentError(
            f"{argument} must hold arrays of numbers and JSON values, in dictionaries with texts "
            f"as keys that do not begin with $; got {describe(value)}{where}."
            + (do if isinstance(value, np.random.Generator) else "")
        )
    name = _joined(prefix, path) if path else prefix or "array"
    while name in tensors:  # as "a.b" and "b" in "a"
        name += "'"
    tensors[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    return {TENSOR: name}


def unpack(
    value: Any,
    headers: dict[str, TensorHeader],
    read: Callable[[str], Any],
    name: str,
    depth: int = 0,
) -> Any:
    """Return the state that `pack` divided.

    Args:
        value: the JSON values.
        headers: the headers of the tensors; each that is read is removed, and none is read twice,
            which bounds the memory by the size of the file.
        read: returns a tensor by its name.
        name: the name of the file in error messages.
        depth: the number of dictionaries and lists around ``value``.

    Raises:
        FileFormatError: if a tensor is missing or not one that xpnet writes, or the state is nested
            too deep.
    """
    if depth > MAX_DEPTH:
        raise FileFormatError(f"{name!r} must be nested at most {MAX_DEPTH} levels deep.")
    if isinstance(value, list):
        return [unpack(item, headers, read, name, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {TENSOR}:
        return {key: unpack(item, headers, read, name, depth + 1) for key, item in value.items()}
    tensor = value[TENSOR]
    header = headers.pop(tensor, None) if isinstance(tensor, str) else None
    if header is None or header.dtype not in DTYPES.values():
        raise FileFormatError(f"{name!r} must hold the tensor {tensor!r:.80} once; it does not.")
    return read(tensor)


def as_json(value: Any, argument: str, n_bytes: int = 0, do: str = "") -> str:
    """Return JSON values as text, if it can be read again.

    Args:
        value: the values.
        argument: their name in error messages.
        n_bytes: the bytes of the arrays in the same file.
        do: what to do about a text that is too long. Default: save arrays.

    Raises:
        ArgumentError: if the text is too long for `is_short`, or nested too deep.
    """
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise ArgumentError(f"{argument} must be nested at most {MAX_JSON_DEPTH} levels deep.")
    text = json.dumps(value)
    if not is_short(text, n_bytes):
        raise ArgumentError(
            f"{argument} must hold at most {MAX_TEXT:,} characters of JSON beside its arrays; "
            f"got {len(text):,}. {do or 'Save many numbers as one array.'}"
        )
    return text


def is_short(text: str, n_bytes: int) -> bool:
    """Return whether JSON in a file of ``n_bytes`` may be parsed, which takes memory.

    It has at most `MAX_TEXT` characters, or takes at most as many bytes as the file.
    """
    n_values = sum(map(text.count, ",:[{"))
    return len(text) <= MAX_TEXT or len(text) + VALUE_BYTES * n_values <= n_bytes


def parse_bounded(metadata: Mapping[str, str], key: str, name: str) -> dict[str, Any] | None:
    """Return the JSON object under ``key``, or ``None`` if there is none or it is too long.

    Args:
        metadata: the metadata of a file.
        key: the key.
        name: the name of the file.

    Raises:
        FileFormatError: if it is nested deeper than `MAX_JSON_DEPTH`.
    """
    if not is_short(metadata.get(key, ""), os.path.getsize(name)):
        return None
    config = parse(metadata, key)
    if _is_deeper(config, MAX_JSON_DEPTH):
        raise FileFormatError(f"{name!r} must be nested at most {MAX_JSON_DEPTH} levels deep.")
    return config


def require_file(name: str, kind: str, argument: str = "path") -> None:
    """Refuse a path without a file, and a file with a header that is too long.

    Raises:
        FileNotFoundError: if there is no file.
        FileFormatError: if its header is longer than `MAX_HEADER` and than an eighth of the file.
    """
    if not os.path.isfile(name):
        got = f"{name!r} is a folder" if os.path.isdir(name) else f"there is no file {name!r}"
        raise FileNotFoundError(f"{argument} must be {kind}; {got}.")
    with open(name, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    limit = max(MAX_HEADER, os.path.getsize(name) // 8)
    if length > limit:
        raise FileFormatError(
            f"{name!r} is not a safetensors file that xpnet reads: its header must have at most "
            f"{limit:,} bytes; got {length:,}."
        )


def _is_deeper(value: Any, limit: int) -> bool:
    """Return whether JSON has more than ``limit`` levels of dictionaries and lists."""
    if not isinstance(value, (dict, list)):
        return False
    items = value.values() if isinstance(value, dict) else value
    return limit == 0 or any(_is_deeper(item, limit - 1) for item in items)


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and not key.startswith("$")


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
