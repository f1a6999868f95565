"""Arguments in memory, so that loops of every kind can be called in one way.

A program calls each of its loops with the address of a block in which the arguments lie one after
another: an array as the compiler itself lays it out (no owner, its size and that of an item, where
its numbers are, its shape, its strides), a number as the address at which it is to be read.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from xpnet.backend import Array

WORD = ir.IntType(64)

PLACE = 4
"""Which of the words of an array says where its numbers are."""


def place_of(array: Array) -> int:
    """The address of an array's first number."""
    place: int = array.__array_interface__["data"][0]
    return place


@cache
def compiled_place_of() -> Any:
    """`place_of`, compiled: worth it where it is asked for at every step."""
    try:
        return numba.njit(cache=True)(_place)
    except RuntimeError:  # no folder that can be written
        return numba.njit(_place)


def _place(array: Any) -> Any:
    return array.ctypes.data


def packed(array: Array) -> list[int]:
    """The words of an array.

    >>> import numpy as np
    >>> packed(np.zeros((2, 3)))[2:4]
    [6, 8]
    """
    return [0, 0, array.size, array.itemsize, place_of(array), *array.shape, *array.strides]


@intrinsic
def unpacked(typing: Any, block: Any) -> Any:
    """The arguments in a block, as a tuple; their types are in that of its address."""
    wanted = block.dtype

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        values, place = [], builder.ptrtoint(given[0], WORD)
        for kind in wanted:
            read = _read_array if isinstance(kind, types.Array) else _read_numbers
            value, place = read(context, builder, kind, place)
            values.append(value)
        return context.make_tuple(builder, wanted, values)

    return wanted(block), generate


def _read_array(context: Any, builder: Any, kind: Any, place: Any) -> tuple[Any, Any]:
    form = context.get_value_type(kind)
    value = builder.load(builder.inttoptr(place, form.as_pointer()))
    return value, builder.add(place, WORD(8 * (PLACE + 1 + 2 * kind.ndim)))


def _read_numbers(context: Any, builder: Any, kind: Any, place: Any) -> tuple[Any, Any]:
    several = isinstance(kind, types.UniTuple)
    values = []
    for number in kind.types if several else (kind,):
        at = builder.load(builder.inttoptr(place, WORD.as_pointer()))
        form = context.get_value_type(number).as_pointer()
        values.append(builder.load(builder.inttoptr(at, form)))
        place = builder.add(place, WORD(8))
    value = context.make_tuple(builder, kind, values) if several else values[0]
    return value, place


@intrinsic
def called(typing: Any, function: Any, block: Any) -> Any:
    """The status of the compiled function at an address, called with a block; 0 if all is well."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        status, note = ir.IntType(32), ir.IntType(8).as_pointer()
        form = ir.FunctionType(status, [WORD.as_pointer(), note.as_pointer(), WORD])
        place = builder.inttoptr(given[0], form.as_pointer())
        result, raised = (cgutils.alloca_once(builder, kind) for kind in (WORD, note))
        code = builder.call(place, [result, raised, given[1]])
        return builder.sext(code, WORD)

    return types.intp(function, block), generate
