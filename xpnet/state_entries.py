"""The entries of a state dictionary, validated as they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet.backend import Array, to_numpy, write, zeros_like
from xpnet.errors import FileFormatError, describe, dtype_name

MAX_COUNT = 1 << 53
"""The largest count: a float holds every integer up to it."""


class Entries:
    """The entries of one state dictionary; every error names the entry and its owner.

    The state may be from a file that is hostile, so nothing about it is assumed. An array takes no
    more memory than it does in the file, because its shape is compared before it is copied.

    Args:
        state: the state dictionary.
        owner: the name of its owner, for error messages.
        names: its keys, all of them.

    Raises:
        FileFormatError: if ``state`` is not a dictionary with these keys.

    >>> Entries({"step": -1}, "Adam", "step").count("step")
    Traceback (most recent call last):
    xpnet.errors.FileFormatError: the entry 'step' of Adam must be an integer of at least 0; got -1.
    """

    def __init__(self, state: Any, owner: str, *names: str) -> None:
        self._owner = owner
        if not isinstance(state, Mapping) or state.keys() != {*names}:
            got = f"the entries {list(state)!r:.80}" if isinstance(state, Mapping) else None
            raise FileFormatError(
                f"the state of {owner} must be a dictionary with the entries "
                f"{', '.join(names)}; got {got or describe(state)}."
            )
        self._state = state

    def __getitem__(self, name: str) -> Any:
        return self._state[name]

    def require(self, ok: bool, name: str, rule: str) -> None:
        """Raise an error that names the entry, the rule and the value received, unless ``ok``."""
        if not ok:
            got = describe(self._state[name])
            raise FileFormatError(
                f"the entry {name!r} of {self._owner} must {rule}; got {got:.80}."
            )

    def count(self, name: str) -> int:
        """Return an integer from 0 to `MAX_COUNT`."""
        value = self._state[name]
        ok = type(value) is int and 0 <= value <= MAX_COUNT
        self.require(ok, name, "be an integer of at least 0")
        return int(value)

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        value = self._state[name]
        self.require(isinstance(value, bool), name, "be true or false")
        return bool(value)

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._state[name]
        self.require(isinstance(value, str), name, "be a text")
        return str(value)

    def number(self, name: str, low: float = -math.inf, *, finite: bool = True) -> float:
        """Return a float of at least ``low``, finite unless ``finite`` is false, and not NaN."""
        value = self._state[name]
        rule = "be a finite number" if finite else "be a number"
        if low > -math.inf:
            rule += f" of at least {low:g}"
        ok = type(value) is float and value >= low and (not finite or math.isfinite(value))
        self.require(ok, name, rule)
        return float(value)

    def items(self, name: str, length: int | None = None) -> list[Any]:
        """Return a list, of ``length`` items if that is given."""
        value = self._state[name]
        ok = isinstance(value, (list, tuple)) and length in (None, len(value))
        self.require(ok, name, "be a list" + ("" if length is None else f" of {length} items"))
        return list(value)

    def array(self, name: str, like: Array, *, finite: bool = False) -> Array:
        """Return a new array with the shape, dtype and device of ``like``."""
        array = zeros_like(like)
        self.copy_into(name, array, finite=finite)
        return array

    def copy_into(self, name: str, target: Array, *, finite: bool = False) -> None:
        """Copy an array of the shape and dtype of ``target`` into it."""
        copy_array(self._state[name], target, f"the entry {name!r} of {self._owner}", finite=finite)


def copy_array(value: Any, target: Array, name: str, *, finite: bool = False) -> None:
    """Copy an array of any backend into ``target``, after comparing shape and dtype.

    Args:
        value: the array of a state dictionary, or what a hostile file has in its place.
        target: an array; overwritten.
        name: the name of ``value`` in error messages.
        finite: whether NaN and infinity are refused.

    Raises:
        FileFormatError: if ``value`` is not such an array.

    >>> target = np.zeros(2)
    >>> copy_array(np.ones(3), target, "the slot 0")
    Traceback (most recent call last):
    xpnet.errors.FileFormatError: the slot 0 must be a float64 array of shape (2,); got a float64 \
array of shape (3,).
    """
    require_array(value, target, name, finite=finite)
    write(to_numpy(value), target)


def require_array(value: Any, like: Array, name: str, *, finite: bool = False) -> None:
    """Refuse what is not an array of the shape and dtype of ``like``; see `copy_array`."""
    shape, dtype = tuple(like.shape), dtype_name(like.dtype)
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    if not is_array or tuple(value.shape) != shape or dtype_name(value.dtype) != dtype:
        article = "an" if dtype[:1] in "i" else "a"
        rule = f"be {article} {dtype} array of shape {shape}"
        raise FileFormatError(f"{name} must {rule}; got {describe(value):.80}.")
    if finite and not np.isfinite(to_numpy(value)).all():
        raise FileFormatError(f"{name} must be finite; it holds NaN or infinity.")


def require_whole(value: Any, name: str) -> int:
    """Return an integer of at least 0, at most `MAX_COUNT`.

    Raises:
        FileFormatError: if it is none.
    """
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise FileFormatError(f"{name} must be an integer of at least 0; got {describe(value)}.")
    return value


def drawn_of(value: Any) -> tuple[int, int, int]:
    """Return the state of random streams: a seed, and the numbers of orders and masks drawn.

    Raises:
        FileFormatError: if it is none.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise FileFormatError("the random streams must be three integers.")
    seed, orders, masks = value
    if type(seed) is not int or seed < 0:
        raise FileFormatError(f"the seed must be an integer of at least 0; got {describe(seed)}.")
    counts = [require_whole(n, "the count of a random stream") for n in (orders, masks)]
    return seed, counts[0], counts[1]


def require_float(value: Any, name: str) -> float:
    """Return a finite number as a float.

    Raises:
        FileFormatError: if it is none.
    """
    if type(value) not in (int, float) or not -math.inf < value < math.inf:
        raise FileFormatError(f"{name} must be a finite number; got {describe(value)}.")
    try:
        return float(value)
    except OverflowError:
        raise FileFormatError(f"{name} must be below 1.8e308; it is not.") from None
