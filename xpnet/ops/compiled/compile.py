"""How a loop is compiled: as a function for Python, or as an entry of a program.

Each loop is written as a plain function, made for one rule and one floating type. It takes
C-contiguous arrays of that type, and the scalars of a rule as one tuple; it refuses anything else
with a `TypeError` before it begins. It does not hold the interpreter's lock, so that several
threads may run parts of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
from numba import types
from numba.core.errors import NumbaError
from numba.extending import register_jitable

from xpnet.ops.compiled.names import named
from xpnet.ops.compiled.packing import unpacked
from xpnet.ops.rules.activations import gelu, gelu_slope

Loop: TypeAlias = Callable[..., Any]
Which: TypeAlias = tuple[Any, ...]
"""A function that makes the source of a loop, and what it makes it of."""

FASTER_ON_NUMPY = (gelu, gelu_slope)
"""Rules that ``python -m benchmarks.ops`` found slower compiled: the loop inside `erfc` is."""

LIKE_THE_RULE = {"contract", "nsz"}
"""Liberties of rounding that leave NaN, infinity and the order of a rule's sums as they are.

Not "arcp": the estimate of a reciprocal root that it allows makes NaN of infinity."""


class Given(NamedTuple):
    """An array of so many dimensions that a loop reads and does not write."""

    ndim: int


class Entry(NamedTuple):
    """A compiled function of the address of its packed arguments.

    Attributes:
        address: where its code begins, which it does in the compiler's own convention.
        function: what owns the code: it is gone with its owner.
    """

    address: int
    function: Any

    @classmethod
    def of(cls, call: Loop, kinds: tuple[Any, ...], reorder: bool = False) -> Entry:
        """``call``, a function of a block of arguments of these types, compiled."""
        # In a closure they would have another content in every process.
        function: Any = compile_now(call, (types.CPointer(types.Tuple(kinds)),), reorder)
        (result,) = function.overloads.values()
        address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        if not address:
            raise TypeError("the compiler does not say where its code is")
        return cls(address, function)


@dataclass(frozen=True, eq=False)
class Source:
    """A loop before it is compiled.

    Attributes:
        function: what it does, as a plain function.
        kinds: Numba's types of its arguments.
        reorder: whether sums may be taken in another order.
    """

    function: Loop
    kinds: tuple[Any, ...]
    reorder: bool

    def loop(self) -> Loop:
        """The loop as a function that Python calls."""
        return compile_now(self.function, self.kinds, self.reorder)

    def entry(self) -> Entry:
        """The loop as a function of the address of its packed arguments."""
        function = register_jitable(self.function)

        def call(block: Any) -> int:
            function(*unpacked(block))
            return 0

        call.__qualname__ = f"{self.function.__qualname__}-packed"
        return Entry.of(call, self.kinds, self.reorder)


def compile_now(function: Loop, kinds: tuple[Any, ...], reorder: bool = False) -> Loop:
    """Compile a function for arguments of these types, or read it from the cache on disk."""
    fastmath = LIKE_THE_RULE | ({"reassoc"} if reorder else set())
    # With Python's error model every division is a branch, and nothing is vectorized.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        done: Loop = numba.njit([kinds], cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written: compile, and forget
        done = numba.njit([kinds], **options)(function)
    return done


def compiled(dtype: Any, *parameters: Any, reorder: bool = False) -> Callable[[Loop], Source]:
    """A decorator that makes the source of a loop of a function.

    Args:
        dtype: the floating type of its arrays.
        parameters: what it takes: a number of dimensions for an array that it writes to, `Given`
            for one that it only reads, or a type of Numba's.
        reorder: whether sums may be taken in another order, as those along a row must be to
            vectorize. A rule's may not: ``a - b + c`` is written so where ``a`` and ``b`` cancel.
    """
    number = numba.from_dtype(np.dtype(dtype))
    kinds = tuple(_type_of(p, number) for p in parameters)

    def source(function: Any) -> Source:
        named(function, kinds, reorder)
        return Source(function, kinds, reorder)

    return source


def _type_of(parameter: Any, number: Any) -> Any:
    if isinstance(parameter, Given):
        return types.Array(number, parameter.ndim, "C", readonly=True)
    return types.Array(number, parameter, "C") if isinstance(parameter, int) else parameter


def numbers(dtype: Any, count: int) -> Any:
    """The type of a tuple of ``count`` numbers of ``dtype``; Python floats become them."""
    return types.UniTuple(numba.from_dtype(np.dtype(dtype)), count)


@cache
def source_of(make: Callable[..., Source], *of: Any) -> Source:
    """The source that ``make`` makes.

    Raises:
        TypeError: for what the compiler cannot take, such as a rule of a user's that calls
            something else, and for what NumPy is faster at; NumPy then computes it.
    """
    if of[0] in FASTER_ON_NUMPY:
        raise TypeError
    try:
        return make(*of)
    except (NumbaError, AttributeError, KeyError) as error:
        raise TypeError from error


@cache
def loop_of(*which: Any) -> Loop:
    """The loop, compiled when it is first asked for; one that refuses where there is none."""
    try:
        return source_of(*which).loop()
    except (NumbaError, AttributeError, KeyError, TypeError):
        return _refuse


@cache
def entry_of(*which: Any) -> Entry:
    """The loop's entry, compiled when it is first asked for.

    Raises:
        TypeError: where there is none.
    """
    try:
        return source_of(*which).entry()
    except (NumbaError, AttributeError, KeyError) as error:
        raise TypeError from error


def _refuse(*arguments: Any) -> Any:
    raise TypeError
