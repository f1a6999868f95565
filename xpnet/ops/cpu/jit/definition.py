"""A loop before it is compiled: a plain function, and the types of its arguments.

Each loop is made for one rule and one floating type. It takes C-contiguous arrays of that type, and
the scalars of a rule as one tuple; it refuses anything else with a `TypeError` before it begins.
It does not hold the interpreter's lock, so that several threads may run parts of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Which: TypeAlias = tuple[Any, ...]
"""A function that makes the source of a loop, and what it makes it of."""

FLAT = -1
"""In place of a number of dimensions: any, in the shape of the other such arrays, seen as one row.
Such arrays come first."""


class Kind(NamedTuple):
    """The type of an argument.

    Attributes:
        dtype: the type of its numbers, by name.
        ndim: the dimensions of an array, or `FLAT`; `None` for what is none.
        written: whether a loop writes to the array.
        n: how many numbers a tuple has; `None` for an array and for one number.
    """

    dtype: str
    ndim: int | None = None
    written: bool = False
    n: int | None = None


class Given(NamedTuple):
    """An array of so many dimensions that a loop reads and does not write."""

    ndim: int


class Numbers(NamedTuple):
    """A tuple of so many numbers of the loop's type, or (`None`) one by itself."""

    n: int | None


NUMBER = Numbers(None)
INTEGER = Kind("int64")
INDICES = Kind("int64", 1)
SUMS = Kind("float64", 1, written=True)


class Entry(NamedTuple):
    """Compiled code in this process: a function of the address of packed arguments.

    Attributes:
        address: where it begins.
        owner: what owns it: it is gone with its owner.
    """

    address: int
    owner: Any


class Kit(NamedTuple):
    """What the compiler gives to those who make loops: it is not loaded before one is needed.

    Attributes:
        math: the namespace that rules run on inside a loop.
        typed: a rule and a floating type ↦ the rule, known to the compiler.
        known: a function ↦ the same, known to the compiler.
        called: an address and a block of arguments ↦ the status of the function there.
        multiplied: the same for the product of a BLAS; see `xpnet.ops.cpu.product`.
        mode: how the thread computes with floating numbers, as a word.
        set_mode: lets it compute so.
        fetched: lets the processor fetch what lies at an address.
    """

    math: Any
    typed: Callable[..., Any]
    known: Callable[..., Any]
    called: Callable[..., Any]
    multiplied: Callable[..., Any]
    mode: Callable[..., Any]
    set_mode: Callable[..., Any]
    fetched: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Source:
    """A loop before it is compiled.

    Attributes:
        function: what it does, as a plain function.
        kinds: the types of its arguments; or of what it does, if it is packed.
        reorder: whether sums may be taken in another order.
        packed: whether it takes the address of a block that others have laid out.
    """

    function: Callable[..., Any]
    kinds: tuple[Kind, ...]
    reorder: bool = False
    packed: bool = False


def loop_on(
    dtype: Any, *parameters: int | Given | Numbers | Kind, reorder: bool = False
) -> Callable[[Callable[..., Any]], Source]:
    """A decorator that makes the source of a loop of a function.

    Args:
        dtype: the floating type of its arrays.
        parameters: what it takes: a number of dimensions for an array that it writes to, `Given`
            for one that it only reads, `Numbers`, or a `Kind`.
        reorder: whether sums may be taken in another order, as those along a row must be to
            vectorize. A rule's may not: ``a - b + c`` is written so where ``a`` and ``b`` cancel.
    """
    name = np.dtype(dtype).name
    kinds = tuple(_kind(parameter, name) for parameter in parameters)
    if [kind.ndim != FLAT for kind in kinds] != sorted(kind.ndim != FLAT for kind in kinds):
        raise ValueError("the arrays that are seen as one row come first")
    return lambda function: Source(function, kinds, reorder)


def _kind(parameter: int | Given | Numbers | Kind, name: str) -> Kind:
    if isinstance(parameter, Given):
        return Kind(name, parameter.ndim)
    if isinstance(parameter, Numbers):
        return Kind(name, n=parameter.n)
    return Kind(name, parameter, written=True) if isinstance(parameter, int) else parameter
