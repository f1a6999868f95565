"""Loops before they are compiled: plain functions, and the types of their arguments.

A compiled loop accepts C-contiguous arrays of one floating type, and the scalars of a rule as one
tuple. It raises `NotCompiled` for other arguments before it writes to any array. It runs without
the interpreter's lock (the GIL), so that several threads can work on parts of an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

LoopKey: TypeAlias = tuple[Any, ...]
"""What identifies a loop: the builder that defines it, then the builder's parameters after the
first."""

FLAT = -1
"""A number of dimensions: any. The loop sees such an array as one row. All such arrays of a call
have the same shape, and they are the first arguments."""


MAX_OPERATIONS = 4000
"""The largest number of operations of a `ListedRule` that is compiled, which takes some seconds.

The time grows faster than the number: 18 000 operations take 40 s.
"""


class NotCompiled(Exception):  # noqa: N818 - a result of `loop_of` and loops, as `StopIteration` is
    """There is no compiled loop, or it does not accept these arguments."""


class ArgumentType(NamedTuple):
    """The type of a loop's argument.

    Attributes:
        dtype: the name of the type of its numbers.
        ndim: the number of dimensions of an array, or `FLAT`; ``None`` for numbers.
        written: whether the loop writes to the array.
        n: the length of a tuple of numbers; ``None`` for an array and for one number.
    """

    dtype: str
    ndim: int | None = None
    written: bool = False
    n: int | None = None


class ReadOnly(NamedTuple):
    """An array of ``ndim`` dimensions (or `FLAT`) and the loop's type, to which no loop writes."""

    ndim: int


class Scalars(NamedTuple):
    """A tuple of ``n`` numbers of the loop's type, or one number if ``n`` is ``None``."""

    n: int | None


SCALAR = Scalars(None)
INTEGER = ArgumentType("int64")
INDICES = ArgumentType("int64", 1)
SUMS = ArgumentType("float64", 1, written=True)


@runtime_checkable
class ListedRule(Protocol):
    """A rule that is not a function but a list of operations, such as that of a formula.

    Attributes:
        operations: the name, the indices of the operands and a number of each operation, which
            follows its operands. ``"argument"`` has an index and ``"constant"`` a value as its
            number; the others are operators or functions of the namespace of the loop.
        result: the index of the operation with the value of the rule.
    """

    @property
    def operations(self) -> tuple[tuple[str, tuple[int, ...], float], ...]:
        """See the class."""
        ...

    @property
    def result(self) -> int:
        """See the class."""
        ...


def why_not_compiled(rule: Any) -> str:
    """Return why a rule is too long to be compiled; empty if it is not."""
    n = len(rule.operations) if isinstance(rule, ListedRule) else 0
    if n <= MAX_OPERATIONS:
        return ""
    return f"its {n} operations are more than the {MAX_OPERATIONS} that are compiled"


@dataclass(frozen=True)
class LazyModule:
    """A module that a builder needs, imported only when a loop is compiled.

    Its source code is part of what identifies a loop on disk, but that of the modules it imports is
    not: it should import NumPy, Numba and the standard library only.

    Args:
        name: its absolute name.
    """

    name: str

    def load(self) -> Any:
        """Import the module."""
        return import_module(self.name)


class CompilerApi(NamedTuple):
    """What the compiler offers to builders, which run only once it is loaded.

    Attributes:
        loop: ``(dtype, *parameters, reorder=False)`` ↦ a decorator; see `define_loop`.
        typed_rule: ``(rule, dtype)`` ↦ the rule with its literals and constants of that type, for
            use inside a loop.
        inline: a function ↦ the same, for use inside a loop, with the order of sums of its caller.
        inline_in_order: `inline`, but no sum of the function is evaluated in another order.
        inline_in_any_order: `inline`, but all its sums may be, so that they are vectorized.
        call_address: inside a loop, ``(address, packed arguments)`` ↦ the status that the compiled
            loop at the address returns; 0 is success.
        call_gemm: inside a loop, calls ``cblas_?gemm`` with arguments that the caller packed.
        call_gemv: inside a loop, calls ``cblas_?gemv`` likewise.
        floating_point_mode: inside a loop, returns the thread's floating-point control word (x86).
        set_floating_point_mode: inside a loop, sets it.
        prefetch: inside a loop, prefetches the cache line at an address.
        load_word: inside a loop, returns the 64-bit word at an address.
        store_word: inside a loop, ``(address, word)``: writes the word to the address.
    """

    loop: Callable[..., Callable[[Callable[..., Any]], LoopDefinition]]
    typed_rule: Callable[..., Any]
    inline: Callable[..., Any]
    inline_in_order: Callable[..., Any]
    inline_in_any_order: Callable[..., Any]
    call_address: Callable[..., Any]
    call_gemm: Callable[..., Any]
    call_gemv: Callable[..., Any]
    floating_point_mode: Callable[..., Any]
    set_floating_point_mode: Callable[..., Any]
    prefetch: Callable[..., Any]
    load_word: Callable[..., Any]
    store_word: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class LoopDefinition:
    """A loop before it is compiled.

    Attributes:
        function: the body.
        argument_types: the types of its arguments, or, if ``packed``, the types that the body needs
            to know.
        reorder: whether sums may be evaluated in another order.
        packed: whether the body takes the address of arguments that the caller has packed.
    """

    function: Callable[..., Any]
    argument_types: tuple[ArgumentType, ...]
    reorder: bool = False
    packed: bool = False


def define_loop(
    dtype: Any, *parameters: int | ReadOnly | Scalars | ArgumentType, reorder: bool = False
) -> Callable[[Callable[..., Any]], LoopDefinition]:
    """A decorator that makes a loop of a function.

    Args:
        dtype: the floating type of its arrays.
        parameters: the types of its arguments: a number of dimensions (or `FLAT`) for an array to
            which it writes, `ReadOnly` for one that it only reads, `Scalars`, or an `ArgumentType`.
        reorder: whether sums may be evaluated in another order. Those along a row must be, to be
            vectorized. Those of a rule must not: ``a - b + c`` has that order because ``a`` and
            ``b`` cancel.

    Raises:
        ValueError: if an array that is `FLAT` follows another argument.
    """
    name = np.dtype(dtype).name
    types = tuple(_argument_type(parameter, name) for parameter in parameters)
    if [kind.ndim != FLAT for kind in types] != sorted(kind.ndim != FLAT for kind in types):
        raise ValueError(f"arrays that are FLAT must be the first arguments; got {parameters}")
    return lambda function: LoopDefinition(function, types, reorder)


def _argument_type(parameter: int | ReadOnly | Scalars | ArgumentType, name: str) -> ArgumentType:
    if isinstance(parameter, ReadOnly):
        return ArgumentType(name, parameter.ndim)
    if isinstance(parameter, Scalars):
        return ArgumentType(name, n=parameter.n)
    if isinstance(parameter, int):
        return ArgumentType(name, parameter, written=True)
    return parameter
