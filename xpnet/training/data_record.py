"""What identifies the data of a training: shapes, dtypes and a digest of some rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, as_array, namespace_of, to_numpy
from xpnet.errors import FileFormatError, Phrase, require

DIGEST_ROWS = 10_000
"""The largest number of rows of an array from which its digest is computed."""

DIGEST_VALUES = 8_000_000
"""The largest number of values in these rows, which takes some 10 ms."""


def data_record(**arrays: Any) -> dict[str, Any]:
    """Return shape, dtype and a digest of up to `DIGEST_ROWS` fixed rows of each array, by name.

    Args:
        **arrays: arrays of any backend, lists or data frames, as a caller passes them; ``None``
            for an array that is not given.
    """
    return {
        name: None if a is None else _record_of(as_array(a, name)) for name, a in arrays.items()
    }


def _record_of(array: Any) -> dict[str, Any]:
    n = int(array.shape[0]) if array.ndim else 0
    n_columns = max(1, math.prod(array.shape[1:]))
    n_digest = min(n, DIGEST_ROWS, max(1, DIGEST_VALUES // n_columns))
    rows = array
    if n_digest < n:
        index = np.unique(np.linspace(0, n - 1, n_digest).astype(np.int64))
        rows = array[index] if isinstance(array, np.ndarray) else _taken(array, index)
    host = to_numpy(rows)
    content: Any = "\0".join(map(str, host.ravel().tolist())).encode()
    if host.dtype.kind in "biuf":
        content = (
            np.ascontiguousarray(host, host.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        )
    blake2b = import_module("hashlib").blake2b  # importing it takes 3 ms
    digest = blake2b(content, digest_size=16).hexdigest()
    return {"shape": list(array.shape), "dtype": str(host.dtype.name), "digest": digest}


def _taken(array: Array, index: HostArray) -> Array:
    """Return rows of an array of any backend, on its device."""
    xp = namespace_of(array)
    return xp.take(array, xp.asarray(index, device=array.device), axis=0)


def require_same_data(saved: Any, given: Mapping[str, Any]) -> None:
    """Refuse data that are not those of the training that is resumed.

    Raises:
        ArgumentError: naming the argument, and what differs.
    """
    saved = saved if isinstance(saved, Mapping) else {}
    for name, found in given.items():
        wanted = saved.get(name)
        if found == wanted:
            continue
        rule = "be the data of the training that is resumed"
        if not isinstance(wanted, Mapping | None):
            raise FileFormatError(f"the record of {name} must be a dictionary.")
        if wanted is None:
            got = Phrase(f"an array of shape {found['shape']}")
            require(False, name, "be left out, as in the training that is resumed", got)
        do = "To train on other data, use xpnet.load(path).fit(...)."
        must = "be given, as in the training that is resumed"
        require(found is not None, name, must, Phrase("none"))
        assert wanted is not None
        assert found is not None
        for key in ("shape", "dtype"):
            was, now = wanted.get(key), found[key]
            require(was == now, name, f"{rule}, of {key} {was}", Phrase(f"{key} {now}"))
        require(False, name, rule, Phrase("other values of the same shape and dtype"), do)


def given_rows(validation: Any) -> dict[str, Any]:
    """Return the arrays of validation rows by their names in error messages; none for a share."""
    names = "the validation's X", "the validation's y", "the validation's weight"
    rows = validation if isinstance(validation, (tuple, list)) else ()
    return dict(zip(names, [*rows, None, None, None], strict=False))
