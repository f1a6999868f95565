"""A loop that reads the array objects of NumPy: the addresses of their numbers, and changes.

An array object is a C structure of a stable layout, ``PyArrayObject_fields`` in NumPy's C API.
``ndarray.resize`` moves the numbers of an object, and other assignments change its shape, dtype or
flags. A recorded call, which has addresses only, must therefore ask the object at every replay.
"""

from __future__ import annotations

from typing import Any

from xpnet.backend import HostArray
from xpnet.ops.cpu.jit import INDICES, ArgumentType, CompilerApi, LoopDefinition, NotCompiled

HEADER = object.__basicsize__
DATA, NDIM, DIMENSIONS = HEADER, HEADER + 8, HEADER + 16
STRIDES, DESCR, FLAGS = HEADER + 24, HEADER + 40, HEADER + 48
"""The offsets of the fields of an array object on 64-bit systems, in bytes."""

INT = 0xFFFFFFFF
"""The bits of a C ``int`` in a 64-bit word."""

READABLE = 0x0101
"""The flags ``NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED``."""

COMPARED = READABLE | 0x0400
"""`READABLE` and ``NPY_ARRAY_WRITEABLE``."""

N_FIELDS = 6
"""The length of the result of `fields_of`."""

TABLE = ArgumentType("int64", 2)


def fields_of(array: HostArray) -> list[int]:
    """The address of a 1-D array object, and the values of its fields that `verify` compares."""
    data: int = array.__array_interface__["data"][0]
    flags = array.flags.num & COMPARED
    return [id(array), data, array.shape[0], array.strides[0], id(array.dtype), flags]


def verify(api: CompilerApi) -> LoopDefinition:
    """Refuse changed arrays, and write the addresses of input arrays to the arguments of calls.

    The arguments of the loop:

    - ``held``: a row of `fields_of` for each 1-D array that must be what it was;
    - ``inputs``: the addresses of array objects that must be C-contiguous and aligned;
    - ``pointers``: rows of the address of a word, the index of an input, and an offset; the word
      becomes the address of the input's numbers plus the offset.

    It raises `NotCompiled` before it writes anything.
    """
    load, store = api.load_word, api.store_word

    def loop(held: Any, inputs: Any, pointers: Any) -> None:
        for i in range(held.shape[0]):
            array = held[i, 0]
            if load(array + DATA) != held[i, 1] or load(array + NDIM) & INT != 1:
                raise NotCompiled
            if load(load(array + DIMENSIONS)) != held[i, 2]:
                raise NotCompiled
            if load(load(array + STRIDES)) != held[i, 3]:
                raise NotCompiled
            if load(array + DESCR) != held[i, 4] or load(array + FLAGS) & COMPARED != held[i, 5]:
                raise NotCompiled
        for i in range(inputs.size):
            if load(inputs[i] + FLAGS) & READABLE != READABLE:
                raise NotCompiled
        for i in range(pointers.shape[0]):
            store(pointers[i, 0], load(inputs[pointers[i, 1]] + DATA) + pointers[i, 2])

    return LoopDefinition(loop, (TABLE, INDICES, TABLE))
