"""Arguments in memory, so that loops of every kind can be called in one way.

A loop is called with the address of a block in which its arguments lie one after another: an array
as the compiler itself lays it out (no owner, its size and that of an item, where its numbers are,
its shape, its strides), a number as the address at which it is to be read.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from xpnet.backend import Array, HostArray
from xpnet.ops.cpu.jit.definition import FLAT, Kind

PLACE = 4
"""Which of the words of an array says where its numbers are."""

PLAIN = {float, int, bool, np.bool, np.float32, np.float64, np.int32, np.int64}
"""What is taken for a number."""

MOST_FORMS = 64
"""How many combinations of shapes are kept in mind, where a loop meets ever new ones."""


Words: TypeAlias = "array[int]"

_bytes_of, _address_of = ctypes.c_char.from_buffer, ctypes.addressof


class Block(NamedTuple):
    """The packed arguments of a call.

    Attributes:
        words: the block.
        places: which of the words are addresses of numbers.
        kept: what has to live as long as the words.
    """

    words: Words
    places: Sequence[int]
    kept: list[HostArray]

    @property
    def address(self) -> int:
        """Where the words lie."""
        return self.words.buffer_info()[0]


def words_of(ndim: int) -> int:
    """How many words an array takes."""
    return PLACE + 1 + 2 * ndim


def place_of(x: Array) -> int:
    """The address of an array's first number."""
    try:
        return _address_of(_bytes_of(x))
    except (TypeError, ValueError):  # read-only, empty or with gaps: asked in a slower way
        place: int = x.__array_interface__["data"][0]
        return place


class Packer:
    """Packs the arguments of one loop.

    Args:
        kinds: their types.
    """

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds, self._size = kinds, 0
        self._arrays: list[tuple[int, int, Any]] = []  # which argument, from which word on, dtype
        self._numbers: list[tuple[int, int, Any]] = []
        self._places: list[int] = []
        for i, kind in enumerate(kinds):
            slot = i, self._size, np.dtype(kind.dtype)
            if kind.ndim is None:
                n = 1 if kind.n is None else kind.n
                self._numbers.append(slot)
                self._places += range(self._size, self._size + n)
            else:
                n = words_of(abs(kind.ndim))
                self._arrays.append(slot)
                self._places.append(self._size + PLACE)
            self._size += n
        self._forms: dict[Any, Words] = {}

    def __call__(self, arguments: Sequence[Any]) -> Block:
        """The block of these arguments.

        Raises:
            TypeError: if the loop does not take them.
        """
        if len(arguments) != len(self._kinds):
            raise TypeError
        kept: list[HostArray] = []
        form: list[Any] = []
        for i, _, dtype in self._arrays:
            x = arguments[i]
            if not isinstance(x, np.ndarray) or x.dtype != dtype:
                raise TypeError
            kept.append(x)
            form += x.shape, x.flags.num
        words = self._words_for(tuple(form), kept)[:]
        for (_, start, _), x in zip(self._arrays, kept, strict=True):
            words[start + PLACE] = place_of(x)
        for i, start, dtype in self._numbers:
            n, at = self._kinds[i].n, start
            values, n = ((arguments[i],), 1) if n is None else (arguments[i], n)
            for x in _cells(values, n, dtype):
                first, size = place_of(x), x.itemsize
                for place in range(first, first + x.size * size, size):
                    words[at] = place
                    at += 1
                kept.append(x)
        return Block(words, self._places, kept)

    def _words_for(self, form: Any, arrays: list[HostArray]) -> Words:
        """The words for arrays of these shapes; to be copied, for others use them too."""
        words = self._forms.get(form)
        if words is None:
            if len(self._forms) == MOST_FORMS:
                self._forms.clear()
            words = self._forms[form] = self._new_form(arrays)
        return words

    def _new_form(self, arrays: list[HostArray]) -> Words:
        """Check what arrays of these shapes and flags have in common, and lay their words out."""
        words, flat = array("q", bytes(8 * self._size)), set()
        for x, (i, start, _) in zip(arrays, self._arrays, strict=True):
            kind, flags, shape, strides = self._kinds[i], x.flags, x.shape, x.strides
            if not (flags.c_contiguous and flags.aligned):
                raise TypeError
            if kind.written and not flags.writeable:
                raise TypeError
            if kind.ndim == FLAT:
                flat.add(shape)
                shape, strides = (x.size,), (x.itemsize,)
            if len(shape) != abs(kind.ndim or 0) or len(flat) > 1:
                raise TypeError
            laid = array("q", [0, 0, x.size, x.itemsize, 0, *shape, *strides])
            words[start : start + len(laid)] = laid
        return words


def _cells(values: Sequence[Any], n: int, dtype: Any) -> list[HostArray]:
    """Numbers in memory: a recorded one where it lies, so that a replay sees what it is then."""
    if len(values) != n:
        raise TypeError
    if n == 0:
        return []
    types = {*map(type, values)}
    if types <= PLAIN:
        return [np.array(values, dtype)]
    if not types <= {*PLAIN, np.ndarray}:
        raise TypeError
    cells = [v.reshape(-1) if type(v) is np.ndarray else np.array([v], dtype) for v in values]
    if any(cell.size != 1 or cell.dtype != dtype for cell in cells):
        raise TypeError
    return cells
