"""How a loop is compiled. Only what asks for a loop that is not on disk loads this, and Numba."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numba.extending import register_jitable

from xpnet.ops.cpu import vector_math
from xpnet.ops.cpu.jit import intrinsics
from xpnet.ops.cpu.jit.code_cache import Code, stands_alone
from xpnet.ops.cpu.jit.definition import FLAT, Entry, Kind, Kit, Source, Which
from xpnet.ops.cpu.jit.typed_rule import typed_rule

LIKE_THE_RULE = {"contract", "nsz"}
"""Liberties of rounding that leave NaN, infinity and the order of a rule's sums as they are.

Not "arcp": the estimate of a reciprocal root that it allows makes NaN of infinity."""

CALLED = re.compile(r'^declare [^@]*@"?(?!llvm\.)([^"(]+)', re.MULTILINE)
"""A function that LLVM's text declares and does not have, other than those that LLVM itself has."""

KIT = Kit(
    math=vector_math,
    typed=typed_rule,
    known=register_jitable,
    called=intrinsics.called,
    multiplied=intrinsics.multiplied,
    mode=intrinsics.floating_mode,
    set_mode=intrinsics.set_floating_mode,
    fetched=intrinsics.fetched,
)


def compiled(which: Which) -> tuple[Entry, tuple[Kind, ...], Code | None]:
    """A loop compiled now, the types of its arguments, and its code for other processes.

    ``None`` for code that would not run by itself.

    Raises:
        TypeError: for what the compiler cannot take, such as a rule of a user's that calls
            something else; NumPy then computes it.
    """
    make, *of = which
    try:
        source = make(KIT, *of)
        function = _as_function_of_block(source)
        (result,) = function.overloads.values()
    except (NumbaError, AttributeError, KeyError, NotImplementedError) as error:
        raise TypeError from error
    symbol, library = result.fndesc.llvm_func_name, result.library
    address = library.get_pointer_to_function(symbol)
    if not address:
        raise TypeError("the compiler does not say where its code is")
    entry, alone = Entry(address, function), stands_alone(CALLED.findall(library.get_llvm_str()))
    if not alone or library.has_dynamic_globals:  # addresses of this process, as of a large array
        return entry, source.kinds, None
    _, _, (text, _) = library.serialize_using_object_code()
    return entry, source.kinds, Code(source.kinds, symbol, text)


@cache
def caller(kinds: tuple[Kind, ...], ndim: int) -> Any:
    """A function of a loop's address and its arguments, to be called from Python.

    It costs a fraction of what packing in Python does; it gives 0 if all is well.

    Args:
        kinds: the types of the arguments.
        ndim: the dimensions of those that are `FLAT`, which are a tuple of their own.
    """

    def call(address: Any, flat: Any, others: Any) -> Any:
        return intrinsics.called_on(address, flat, others)

    flat = [_type_of(kind._replace(ndim=ndim)) for kind in kinds if kind.ndim == FLAT]
    others = [_type_of(kind) for kind in kinds if kind.ndim != FLAT]
    given = types.int64, types.Tuple(flat), types.Tuple(others)
    return numba.njit([given], nogil=True)(call)


def _as_function_of_block(source: Source) -> Any:
    kinds = tuple(map(_type_of, source.kinds))
    function = source.function if source.packed else _unpacking(source.function)
    fastmath = LIKE_THE_RULE | ({"reassoc"} if source.reorder else set())
    # With Python's error model every division is a branch, and nothing is vectorized.
    done: Any = numba.njit(
        [(types.CPointer(types.Tuple(kinds)),)],
        nogil=True,
        error_model="numpy",
        fastmath=fastmath,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        _nrt=False,  # nothing is made inside, and so nothing needs the compiler's own library
    )(function)
    return done


def _unpacking(function: Any) -> Any:
    function = register_jitable(function)

    def call(block: Any) -> int:
        function(*intrinsics.unpacked(block))
        return 0

    return call


def _type_of(kind: Kind) -> Any:
    number = numba.from_dtype(np.dtype(kind.dtype))
    if kind.ndim is not None:
        ndim = 1 if kind.ndim == FLAT else kind.ndim
        return types.Array(number, ndim, "C", readonly=not kind.written)
    return number if kind.n is None else types.UniTuple(number, kind.n)
