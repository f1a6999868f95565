"""What loops need and Python has no words for: arguments in a block, and calls by address."""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from xpnet.ops.cpu.jit.arguments import words_of

WORD = ir.IntType(64)
ROW_MAJOR = 101  # CBLAS_ORDER
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


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
    return value, builder.add(place, WORD(8 * words_of(kind.ndim)))


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
        return _status(builder, given[0], given[1])

    return types.intp(function, block), generate


@intrinsic
def called_on(typing: Any, function: Any, flat: Any, others: Any) -> Any:
    """`called` on two tuples of arguments, which are packed on the way.

    The arrays of the first are each packed as one row; if their shapes differ, the status is 1.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        words: list[Any] = []
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(flat.types, cgutils.unpack_tuple(builder, given[1]), strict=True)
        ]
        for array in arrays:
            words += _words_of(builder, array, [array.nitems], [array.itemsize])
        for kind, value in zip(others.types, cgutils.unpack_tuple(builder, given[2]), strict=True):
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, value)
                sizes = (cgutils.unpack_tuple(builder, t) for t in (array.shape, array.strides))
                words += _words_of(builder, array, *sizes)
                continue
            several = isinstance(kind, types.UniTuple)
            for number in cgutils.unpack_tuple(builder, value) if several else [value]:
                place = cgutils.alloca_once_value(builder, number)
                words.append(builder.ptrtoint(place, WORD))
        block = cgutils.alloca_once_value(builder, cgutils.pack_array(builder, words))
        status = cgutils.alloca_once_value(builder, WORD(1))
        with builder.if_then(_alike(builder, arrays)):
            place = builder.ptrtoint(block, WORD)
            builder.store(_status(builder, given[0], place), status)
        return builder.load(status)

    return types.intp(function, flat, others), generate


def _words_of(builder: Any, array: Any, shape: list[Any], strides: list[Any]) -> list[Any]:
    place = builder.ptrtoint(array.data, WORD)
    return [WORD(0), WORD(0), array.nitems, array.itemsize, place, *shape, *strides]


def _alike(builder: Any, arrays: list[Any]) -> Any:
    """Whether arrays have one shape."""
    shapes = [cgutils.unpack_tuple(builder, array.shape) for array in arrays]
    alike = ir.IntType(1)(1)
    for shape in shapes[1:]:
        for n, other in zip(shapes[0], shape, strict=True):
            alike = builder.and_(alike, builder.icmp_signed("==", n, other))
    return alike


def _status(builder: Any, function: Any, block: Any) -> Any:
    status, note = ir.IntType(32), ir.IntType(8).as_pointer()
    form = ir.FunctionType(status, [WORD.as_pointer(), note.as_pointer(), WORD])
    place = builder.inttoptr(function, form.as_pointer())
    result, raised = (cgutils.alloca_once(builder, kind) for kind in (WORD, note))
    return builder.sext(builder.call(place, [result, raised, block]), WORD)


@intrinsic
def fetched(typing: Any, address: Any) -> Any:
    """Let the processor fetch what lies at an address, to be read soon."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), form)
        to_read, to_keep, data = flag(0), flag(3), flag(1)
        builder.call(prefetch, [builder.inttoptr(given[0], pointer), to_read, to_keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def floating_mode(typing: Any) -> Any:
    """How this thread computes with floating numbers: the control word of an x86 processor."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = cgutils.alloca_once_value(builder, WORD(0))
        _control(builder, "stmxcsr", place)
        return builder.load(place)

    return types.int64(), generate


@intrinsic
def set_floating_mode(typing: Any, mode: Any) -> Any:
    """Let this thread compute so from now on."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _control(builder, "ldmxcsr", cgutils.alloca_once_value(builder, given[0]))
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _control(builder: Any, what: str, place: Any) -> None:
    if not IS_X86:
        return
    pointer = ir.IntType(8).as_pointer()
    function = builder.module.declare_intrinsic(
        f"llvm.x86.sse.{what}", (), ir.FunctionType(ir.VoidType(), [pointer])
    )
    builder.call(function, [builder.bitcast(place, pointer)])


@intrinsic
def multiplied(typing: Any, block: Any) -> Any:
    """``C ← A B`` by the function whose address and arguments are in a block.

    The type of the block's address is that of the numbers and of the sizes.
    """
    number, integer = block.dtype

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        real, size = (context.get_value_type(kind) for kind in (number, integer))
        flag = ir.IntType(32)
        forms = [flag] * 3 + [size] * 3 + [real, WORD, size, WORD, size, real, WORD, size]
        at = builder.bitcast(given[0], WORD.as_pointer())
        words = [builder.load(builder.gep(at, [WORD(i)])) for i in range(12)]
        where, left, right, m, n, k, a, lda, b, ldb, c, ldc = words
        one, zero = real(1.0), real(0.0)
        arguments = [WORD(ROW_MAJOR), left, right, m, n, k, one, a, lda, b, ldb, zero, c, ldc]
        function = ir.FunctionType(ir.VoidType(), forms).as_pointer()
        builder.call(
            builder.inttoptr(where, function),
            [
                builder.trunc(value, form) if value.type == WORD != form else value
                for value, form in zip(arguments, forms, strict=True)
            ],
        )
        return context.get_dummy_value()

    return types.void(block), generate
