"""Arguments packed in memory, so that every loop can be called in the same way.

A loop is called with the address of consecutive 64-bit words. An array takes the words of Numba's
array structure: two null pointers (memory info and parent), its size, the size of an item, the
address of its data, its shape and its strides. A number takes one word, the address at which the
loop reads it.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xpnet.ops.cpu.jit.definition import FLAT, ArgumentType, NotCompiled

DATA = 4
"""The index of the data's address among the words of an array."""

NUMBERS = {float, int, bool, np.bool, np.float32, np.float64, np.int32, np.int64}
"""The types of numbers that a loop accepts."""

MAX_LAYOUTS = 64
"""The number of combinations of shapes for which a loop keeps checked words."""

REJECTED = "the compiled loop does not accept these arguments"

Words: TypeAlias = "array[int]"

_buffer_of, _address_of = ctypes.c_char.from_buffer, ctypes.addressof


class PackedArguments(NamedTuple):
    """The arguments of one call in memory.

    Attributes:
        words: the words that the loop reads.
        pointers: the indices of the words that are addresses of numbers.
        owners: the arrays at those addresses, which must live as long as the words.
    """

    words: Words
    pointers: Sequence[int]
    owners: list[NDArray[Any]]

    @property
    def address(self) -> int:
        """The address of the words."""
        return self.words.buffer_info()[0]

    @property
    def numbers(self) -> list[int]:
        """The words that are no addresses: sizes, strides and scalars."""
        pointers = {*self.pointers}
        return [word for i, word in enumerate(self.words) if i not in pointers]

    @staticmethod
    def address_of(x: Any) -> int:
        """The address of the first number of an array."""
        try:
            return _address_of(_buffer_of(x))
        except (TypeError, ValueError):  # read-only, empty or not contiguous; this takes longer
            address: int = x.__array_interface__["data"][0]
            return address


address_of = PackedArguments.address_of


def words_of(ndim: int) -> int:
    """The number of words of an array."""
    return DATA + 1 + 2 * ndim


class ArgumentPacker:
    """Checks and packs the arguments of one loop.

    Args:
        types: their types.
    """

    def __init__(self, types: Sequence[ArgumentType]) -> None:
        self._types, self._size = types, 0
        self._arrays: list[tuple[int, int, Any]] = []  # index of the argument, first word, dtype
        self._numbers: list[tuple[int, int, Any]] = []
        self._pointers: list[int] = []
        for i, kind in enumerate(types):
            slot = i, self._size, np.dtype(kind.dtype)
            if kind.ndim is None:
                n = 1 if kind.n is None else kind.n
                self._numbers.append(slot)
                self._pointers += range(self._size, self._size + n)
            else:
                n = words_of(abs(kind.ndim))
                self._arrays.append(slot)
                self._pointers.append(self._size + DATA)
            self._size += n
        self._layouts: dict[Any, Words] = {}

    def __call__(self, arguments: Sequence[Any]) -> PackedArguments:
        """Pack the arguments of a call.

        Raises:
            NotCompiled: if the loop does not accept them.
        """
        if len(arguments) != len(self._types):
            raise NotCompiled(REJECTED)
        owners: list[NDArray[Any]] = []
        layout: list[Any] = []
        for i, _, dtype in self._arrays:
            x = arguments[i]
            if not isinstance(x, np.ndarray) or x.dtype != dtype:
                raise NotCompiled(REJECTED)
            owners.append(x)
            layout += x.shape, x.flags.num
        words = self._words_for(tuple(layout), owners)[:]
        for (_, start, _), x in zip(self._arrays, owners, strict=True):
            words[start + DATA] = address_of(x)
        for i, start, dtype in self._numbers:
            n, at = self._types[i].n, start
            values, n = ((arguments[i],), 1) if n is None else (arguments[i], n)
            for x in _in_memory(values, n, dtype):
                first, size = address_of(x), x.itemsize
                for address in range(first, first + x.size * size, size):
                    words[at] = address
                    at += 1
                owners.append(x)
        return PackedArguments(words, self._pointers, owners)

    def _words_for(self, layout: Any, arrays: list[NDArray[Any]]) -> Words:
        """The words of arrays of these shapes without addresses; the caller copies them."""
        words = self._layouts.get(layout)
        if words is None:
            if len(self._layouts) == MAX_LAYOUTS:
                self._layouts.clear()
            words = self._layouts[layout] = self._new_words(arrays)
        return words

    def _new_words(self, arrays: list[NDArray[Any]]) -> Words:
        """Check what arrays of the same shapes and flags have in common, and write their words."""
        words, flat = array("q", bytes(8 * self._size)), set()
        for x, (i, start, _) in zip(arrays, self._arrays, strict=True):
            kind, flags, shape, strides = self._types[i], x.flags, x.shape, x.strides
            if not (flags.c_contiguous and flags.aligned):
                raise NotCompiled(REJECTED)
            if kind.written and not flags.writeable:
                raise NotCompiled(REJECTED)
            if kind.ndim == FLAT:
                flat.add(shape)
                shape, strides = (x.size,), (x.itemsize,)
            if len(shape) != abs(kind.ndim or 0) or len(flat) > 1:
                raise NotCompiled(REJECTED)
            packed = array("q", [0, 0, x.size, x.itemsize, 0, *shape, *strides])
            words[start : start + len(packed)] = packed
        return words


def _in_memory(values: Sequence[Any], n: int, dtype: Any) -> list[NDArray[Any]]:
    """Arrays that hold ``n`` numbers.

    An array of one number is taken itself: when the call is replayed, the loop reads the number
    that it holds at that time.
    """
    if len(values) != n:
        raise NotCompiled(REJECTED)
    if n == 0:
        return []
    types = {*map(type, values)}
    if types <= NUMBERS:
        return [np.array(values, dtype)]
    if not types <= {*NUMBERS, np.ndarray}:
        raise NotCompiled(REJECTED)
    cells = [v.reshape(-1) if type(v) is np.ndarray else np.array([v], dtype) for v in values]
    if any(cell.size != 1 or cell.dtype != dtype for cell in cells):
        raise NotCompiled(REJECTED)
    return cells
