"""Functions of compiled code that Python cannot express: packed arguments and calls by address."""

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
def unpack(typing: Any, packed: Any) -> Any:
    """The packed arguments at an address as a tuple; the type of the address has their types."""
    wanted = packed.dtype

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        values, address = [], builder.ptrtoint(given[0], WORD)
        for kind in wanted:
            read = _read_array if isinstance(kind, types.Array) else _read_numbers
            value, address = read(context, builder, kind, address)
            values.append(value)
        return context.make_tuple(builder, wanted, values)

    return wanted(packed), generate


def _read_array(context: Any, builder: Any, kind: Any, address: Any) -> tuple[Any, Any]:
    pointer = context.get_value_type(kind).as_pointer()
    value = builder.load(builder.inttoptr(address, pointer))
    return value, builder.add(address, WORD(8 * words_of(kind.ndim)))


def _read_numbers(context: Any, builder: Any, kind: Any, address: Any) -> tuple[Any, Any]:
    several = isinstance(kind, types.UniTuple)
    values = []
    for number in kind.types if several else (kind,):
        at = builder.load(builder.inttoptr(address, WORD.as_pointer()))
        pointer = context.get_value_type(number).as_pointer()
        values.append(builder.load(builder.inttoptr(at, pointer)))
        address = builder.add(address, WORD(8))
    value = context.make_tuple(builder, kind, values) if several else values[0]
    return value, address


@intrinsic
def call_address(typing: Any, function: Any, packed: Any) -> Any:
    """The status of the compiled loop at an address, called with packed arguments; 0 is success."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _status(builder, given[0], given[1])

    return types.intp(function, packed), generate


@intrinsic
def pack_and_call(typing: Any, function: Any, flat: Any, others: Any) -> Any:
    """`call_address` with two tuples of arguments, which it packs.

    It packs each array of the first tuple as one row; if their shapes differ, the status is 1.
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
                slot = cgutils.alloca_once_value(builder, number)
                words.append(builder.ptrtoint(slot, WORD))
        packed = cgutils.alloca_once_value(builder, cgutils.pack_array(builder, words))
        status = cgutils.alloca_once_value(builder, WORD(1))
        with builder.if_then(_have_one_shape(builder, arrays)):
            address = builder.ptrtoint(packed, WORD)
            builder.store(_status(builder, given[0], address), status)
        return builder.load(status)

    return types.intp(function, flat, others), generate


def _words_of(builder: Any, array: Any, shape: list[Any], strides: list[Any]) -> list[Any]:
    data = builder.ptrtoint(array.data, WORD)
    return [WORD(0), WORD(0), array.nitems, array.itemsize, data, *shape, *strides]


def _have_one_shape(builder: Any, arrays: list[Any]) -> Any:
    shapes = [cgutils.unpack_tuple(builder, array.shape) for array in arrays]
    equal = ir.IntType(1)(1)
    for shape in shapes[1:]:
        for n, other in zip(shapes[0], shape, strict=True):
            equal = builder.and_(equal, builder.icmp_signed("==", n, other))
    return equal


def _status(builder: Any, function: Any, packed: Any) -> Any:
    status, error = ir.IntType(32), ir.IntType(8).as_pointer()
    prototype = ir.FunctionType(status, [WORD.as_pointer(), error.as_pointer(), WORD])
    pointer = builder.inttoptr(function, prototype.as_pointer())
    result, raised = (cgutils.alloca_once(builder, kind) for kind in (WORD, error))
    return builder.sext(builder.call(pointer, [result, raised, packed]), WORD)


@intrinsic
def load_word(typing: Any, address: Any) -> Any:
    """The 64-bit word at an address."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.load(builder.inttoptr(given[0], WORD.as_pointer()))

    return types.int64(types.int64), generate


@intrinsic
def store_word(typing: Any, address: Any, word: Any) -> Any:
    """Write a 64-bit word to an address."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        builder.store(given[1], builder.inttoptr(given[0], WORD.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Prefetch the cache line at an address, to be read soon."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        prototype = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), prototype)
        read, keep, data = flag(0), flag(3), flag(1)
        builder.call(function, [builder.inttoptr(given[0], pointer), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def floating_point_mode(typing: Any) -> Any:
    """The floating-point control word (MXCSR) of this thread; 0 except on x86."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        word = cgutils.alloca_once_value(builder, WORD(0))
        _control(builder, "stmxcsr", word)
        return builder.load(word)

    return types.int64(), generate


@intrinsic
def set_floating_point_mode(typing: Any, mode: Any) -> Any:
    """Set the floating-point control word (MXCSR) of this thread; nothing except on x86."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _control(builder, "ldmxcsr", cgutils.alloca_once_value(builder, given[0]))
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _control(builder: Any, instruction: str, word: Any) -> None:
    if not IS_X86:
        return
    pointer = ir.IntType(8).as_pointer()
    function = builder.module.declare_intrinsic(
        f"llvm.x86.sse.{instruction}", (), ir.FunctionType(ir.VoidType(), [pointer])
    )
    builder.call(function, [builder.bitcast(word, pointer)])


@intrinsic
def call_gemm(typing: Any, packed: Any) -> Any:
    """``C ← op(A) op(B)`` by ``cblas_?gemm``: the packed words are its address and arguments.

    The type of the address has the types of the numbers and of the sizes.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        flag, size, real, one, zero = _blas_types(context, packed)
        address, left, right, m, n, k, a, lda, b, ldb, c, ldc = _words(builder, given[0], 12)
        parameters = [flag] * 3 + [size] * 3 + [real, WORD, size, WORD, size, real, WORD, size]
        arguments = [WORD(ROW_MAJOR), left, right, m, n, k, one, a, lda, b, ldb, zero, c, ldc]
        _call_blas(builder, address, parameters, arguments)
        return context.get_dummy_value()

    return types.void(packed), generate


@intrinsic
def call_gemv(typing: Any, packed: Any) -> Any:
    """``y ← op(A) x`` by ``cblas_?gemv``, for contiguous vectors; see `call_gemm`."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        flag, size, real, one, zero = _blas_types(context, packed)
        address, transposed, m, n, a, lda, x, y = _words(builder, given[0], 8)
        parameters = [flag] * 2 + [size] * 2 + [real, WORD, size, WORD, size, real, WORD, size]
        step = WORD(1)
        arguments = [WORD(ROW_MAJOR), transposed, m, n, one, a, lda, x, step, zero, y, step]
        _call_blas(builder, address, parameters, arguments)
        return context.get_dummy_value()

    return types.void(packed), generate


def _blas_types(context: Any, packed: Any) -> tuple[Any, ...]:
    """The types of flags, sizes and numbers, and the numbers 1 and 0."""
    real, size = (context.get_value_type(kind) for kind in packed.dtype)
    return ir.IntType(32), size, real, real(1.0), real(0.0)


def _words(builder: Any, packed: Any, count: int) -> list[Any]:
    first = builder.bitcast(packed, WORD.as_pointer())
    return [builder.load(builder.gep(first, [WORD(i)])) for i in range(count)]


def _call_blas(builder: Any, address: Any, parameters: list[Any], arguments: list[Any]) -> None:
    function = ir.FunctionType(ir.VoidType(), parameters).as_pointer()
    builder.call(
        builder.inttoptr(address, function),
        [
            builder.trunc(value, kind) if value.type == WORD != kind else value
            for value, kind in zip(arguments, parameters, strict=True)
        ],
    )
