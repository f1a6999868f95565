"""Compilation of loops. Only this module, and those that it imports, load Numba."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numba.extending import register_jitable

from xpnet.ops.cpu.jit import intrinsics
from xpnet.ops.cpu.jit.code_cache import CompiledCode, ObjectCode
from xpnet.ops.cpu.jit.definition import (
    FLAT,
    ArgumentType,
    CompilerApi,
    LoopDefinition,
    LoopKey,
    NotCompiled,
    define_loop,
)
from xpnet.ops.cpu.jit.typed_rule import typed_rule

FASTMATH = {"contract", "nsz"}
"""LLVM's fast-math flags that keep NaN, infinity and the order of a rule's sums.

Not "arcp": it allows an estimate of the reciprocal square root, which gives NaN for infinity."""

REORDERED = FASTMATH | {"reassoc"}

REFUSALS = NumbaError, AttributeError, KeyError, NotImplementedError, TypeError
"""What Numba raises for a function that it cannot compile."""

API = CompilerApi(
    loop=define_loop,
    typed_rule=typed_rule,
    inline=register_jitable,
    inline_in_order=register_jitable(fastmath=FASTMATH, error_model="numpy"),
    inline_in_any_order=register_jitable(fastmath=REORDERED, error_model="numpy"),
    call_address=intrinsics.call_address,
    call_gemm=intrinsics.call_gemm,
    call_gemv=intrinsics.call_gemv,
    floating_point_mode=intrinsics.floating_point_mode,
    set_floating_point_mode=intrinsics.set_floating_point_mode,
    prefetch=intrinsics.prefetch,
    load_word=intrinsics.load_word,
    store_word=intrinsics.store_word,
)


def compile_loop(
    key: LoopKey,
) -> tuple[CompiledCode, tuple[ArgumentType, ...], ObjectCode | None]:
    """Compile a loop now.

    Returns:
        Its code, the types of its arguments, and its object code, which is ``None`` if it contains
        addresses of this process.

    Raises:
        NotCompiled: if Numba cannot compile it, such as a user-defined rule that calls a function
            unknown to Numba.
    """
    build, *parameters = key
    definition = build(API, *parameters)
    try:
        function = _compile(definition)
    except REFUSALS as error:
        raise NotCompiled(f"it does not compile: {error}") from error
    (result,) = function.overloads.values()
    symbol, library = result.fndesc.llvm_func_name, result.library
    address = library.get_pointer_to_function(symbol)
    if not address:
        raise NotCompiled("it does not compile: Numba returns no address")
    code = CompiledCode(address, function)
    if library.has_dynamic_globals:  # addresses, such as that of a large constant array
        return code, definition.argument_types, None
    _, _, (data, _) = library.serialize_using_object_code()
    return code, definition.argument_types, ObjectCode(definition.argument_types, symbol, data)


@cache
def native_wrapper(argument_types: tuple[ArgumentType, ...], ndim: int) -> Any:
    """A function of a loop's address and its arguments, which unpacks them without Python.

    It returns 0 after a success.

    Args:
        argument_types: the types of the loop's arguments.
        ndim: the number of dimensions of those that are `FLAT`, which are a tuple of their own.
    """

    def call(address: Any, flat: Any, others: Any) -> Any:
        return intrinsics.pack_and_call(address, flat, others)

    flat = [_numba_type(kind._replace(ndim=ndim)) for kind in argument_types if kind.ndim == FLAT]
    others = [_numba_type(kind) for kind in argument_types if kind.ndim != FLAT]
    signature = types.int64, types.Tuple(flat), types.Tuple(others)
    return numba.njit([signature], nogil=True)(call)


def _compile(definition: LoopDefinition) -> Any:
    """A function of the address of packed arguments."""
    given = tuple(map(_numba_type, definition.argument_types))
    function = definition.function if definition.packed else _unpacking(definition.function)
    # With Python's error model every division is a branch, and no loop is vectorized.
    compiled: Any = numba.njit(
        [(types.CPointer(types.Tuple(given)),)],
        nogil=True,
        error_model="numpy",
        fastmath=REORDERED if definition.reorder else FASTMATH,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        _nrt=False,  # a loop allocates nothing, and so needs no function of Numba's
    )(function)
    return compiled


def _unpacking(function: Any) -> Any:
    function = register_jitable(function)

    def call(packed: Any) -> int:
        function(*intrinsics.unpack(packed))
        return 0

    return call


def _numba_type(kind: ArgumentType) -> Any:
    number = numba.from_dtype(np.dtype(kind.dtype))
    if kind.ndim is not None:
        ndim = 1 if kind.ndim == FLAT else kind.ndim
        return types.Array(number, ndim, "C", readonly=not kind.written)
    return number if kind.n is None else types.UniTuple(number, kind.n)
