"""Loops that call the compiled functions of a table, and that read NumPy's array objects.

An array object is a C structure of stable layout (``PyArrayObject_fields`` in NumPy's C API). A
loop that gets the address of a field as the address of a number reads the field when it runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from xpnet.ops.cpu.jit import (
    INDICES,
    INTEGER,
    ArgumentType,
    CompilerApi,
    LoopDefinition,
    NotCompiled,
)

FLUSH_SUBNORMALS = 0x8040
"""The bits of the control word (MXCSR) of an x86 processor that make it treat subnormals as zero.

It computes with them many times slower, and they are not rare: the momentum of a unit that is never
active again decays to one and stays there, since less than half of the smallest is lost at a step.
"""

C_CONTIGUOUS_AND_ALIGNED = 0x0101
"""Flags of an array object: ``NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED``."""

WRITEABLE = 0x0400
"""A flag of an array object: ``NPY_ARRAY_WRITEABLE``."""

FLAGS = ArgumentType("int32")
WORDS = ArgumentType("int64", 1, written=True)


class ArrayFields(NamedTuple):
    """The addresses of some fields of an array object.

    Attributes:
        data: of the address of its first number.
        dimensions: of the address of its shape.
        descr: of the address of its dtype.
        flags: of its flags.
    """

    data: int
    dimensions: int
    descr: int
    flags: int


def fields_of(array: Any) -> ArrayFields:
    """The addresses of the fields of an array object, valid as long as the object."""
    start = id(array) + object.__basicsize__
    return ArrayFields(start, start + 16, start + 40, start + 48)


def follow(api: CompilerApi) -> LoopDefinition:
    """``words[index] ← data + offset``; the array must be C-contiguous and aligned."""

    def loop(words: Any, index: Any, offset: Any, data: Any, flags: Any) -> None:
        if flags & C_CONTIGUOUS_AND_ALIGNED != C_CONTIGUOUS_AND_ALIGNED:
            raise NotCompiled
        words[index] = data + offset

    return LoopDefinition(loop, (WORDS, INTEGER, INTEGER, INTEGER, FLAGS))


def require_unchanged(api: CompilerApi) -> LoopDefinition:
    """Refuse a 1-D array with other fields than ``expected``, or one that is not writeable."""

    def loop(expected: Any, data: Any, dims: Any, descr: Any, length: Any, flags: Any) -> None:
        if flags & WRITEABLE == 0 or data != expected[0] or dims != expected[1]:
            raise NotCompiled
        if descr != expected[2] or length != expected[3]:
            raise NotCompiled

    return LoopDefinition(loop, (INDICES, INTEGER, INTEGER, INTEGER, INTEGER, FLAGS))


def replay(api: CompilerApi) -> LoopDefinition:
    """Call the functions of a table: in each row the addresses of code and packed arguments."""
    call, get_mode = api.call_address, api.floating_point_mode
    set_mode = api.set_floating_point_mode

    def loop(table: Any) -> None:
        mode, status = get_mode(), 0
        set_mode(mode | FLUSH_SUBNORMALS)
        for i in range(table.shape[0]):
            status = call(table[i, 0], table[i, 1])
            if status != 0:
                break
        set_mode(mode)
        if status != 0:
            raise NotCompiled

    return LoopDefinition(loop, (ArgumentType("int64", 2),))
