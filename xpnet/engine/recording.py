"""A pass as a list of calls with fixed arguments, replayed by one compiled function.

Between the loops of a small network Python takes longer than the loops. So the calls are written
down while a pass is done for the first time: where each loop is, and where its arguments lie in
memory. A replay runs down the list. What only NumPy can do is a call of Python's between two lists.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import HostArray
from xpnet.engine.traced import Traced, fill, memory_of
from xpnet.errors import describe
from xpnet.ops.cpu import rowwise
from xpnet.ops.cpu.call_list import replay
from xpnet.ops.cpu.jit.arguments import Block, place_of
from xpnet.ops.cpu.jit.definition import Entry, Which
from xpnet.ops.cpu.jit.loop import loop_of
from xpnet.ops.cpu.operations import CompiledOperations
from xpnet.ops.cpu.product import PLACES, packed_product, product_of
from xpnet.ops.cpu.runner import Arguments, Runner
from xpnet.ops.cpu.threads import at_once
from xpnet.ops.operations import Operations


class Call(NamedTuple):
    """A compiled function and its packed arguments."""

    entry: Entry
    block: Block

    def row(self) -> list[int]:
        """The call in the table of a replay."""
        return [self.entry.address, self.block.address]


class Program:
    """What a recorder has written down.

    Args:
        steps: calls of compiled functions, and functions of Python's with nothing to give.
        touched: the memory that the latter read and write.
        result: what the pass returned.

    Attributes:
        replay: does it again, with the numbers that lie in memory now.
        place_of: the address of an array's first number.
    """

    place_of = staticmethod(place_of)

    def __init__(self, steps: list[Any], touched: list[Any], result: Any) -> None:
        self.result = memory_of(result)
        self._calls = [step for step in steps if isinstance(step, Call)]
        self._steps, self._touched, self._stages = steps, touched, []
        table: list[list[int]] = []
        for step in [*steps, None]:
            if isinstance(step, Call):
                table.append(step.row())
                continue
            if table:
                self._stages.append(_replayed(table))
                table = []
            if step is not None:
                self._stages.append(step)
        self.replay = self._stages[0] if len(self._stages) == 1 else self._each_stage

    def _each_stage(self) -> None:
        for stage in self._stages:
            stage()

    def then(self, other: Program) -> Program:
        """This program and another after it in one; it returns what this one does."""
        return Program(self._steps + other._steps, self._touched + other._touched, self.result)

    def reads(self, array: HostArray) -> bool:
        """Whether a number of ``array`` is an argument of a call."""
        kept = [other for call in self._calls for other in call.block.kept]
        return any(np.may_share_memory(array, other) for other in [*kept, *self._touched])

    def places_in(self, array: HostArray) -> list[tuple[memoryview, int, int]] | None:
        """Where the addresses of numbers of ``array`` stand: a block, which word, how far in it.

        ``None`` if Python too reads the array, so that another cannot take its place.
        """
        if any(np.may_share_memory(array, other) for other in self._touched):
            return None
        start, stop = place_of(array), place_of(array) + array.nbytes
        return [
            (memoryview(block.words), i, block.words[i] - start)
            for _, block in self._calls
            for i in block.places
            if start <= block.words[i] < stop
        ]

    def release(self, array: HostArray) -> None:
        """Keep ``array`` no longer: another has taken its place."""
        for _, block in self._calls:
            block.kept[:] = [a for a in block.kept if not np.may_share_memory(a, array)]


class Recorder(Runner):
    """Does a pass and writes down what it does.

    Attributes:
        operations: those of the arrays that it traces.
    """

    def __init__(self) -> None:
        self.operations: Operations = CompiledOperations(np, runner=self)
        self._steps: list[Any] = []
        self._touched: list[Any] = []

    def record(self, function: Callable[[], Any]) -> Program:
        """What ``function`` does with traced arrays, as a program; it is done once."""
        self._steps, self._touched = [], []
        result = function()
        if not (result is None or isinstance(result, Traced)):
            raise TypeError(f"the result is no recorded array, but {describe(result)}")
        steps, touched = self._steps, self._touched
        self._steps, self._touched = [], []  # a recorder is collected late, and holds no memory
        return Program(steps, touched, result)

    def traced(self, array: HostArray) -> Traced:
        """An array whose use is written down."""
        return Traced(array, self)

    def alone(self, which: Which, *arguments: Any) -> None:
        """See `Runner.alone`."""
        loop = loop_of(*which)
        self._now(Call(loop.entry, loop.pack(memory_of(arguments))))

    def together(self, which: Which, calls: list[Arguments]) -> None:
        """See `Runner.together`."""
        loop = loop_of(*which)
        each = [Call(loop.entry, loop.pack(memory_of(arguments))) for arguments in calls]
        self.do(at_once, _run, [(_replayed([call.row()]), call) for call in each])

    def add_up(self, parts: HostArray, sums: Any) -> None:
        """See `Runner.add_up`."""
        self.do(partial(np.add.reduce, axis=0), parts, out=memory_of(sums))

    def plainly(self, into: Any, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """See `Runner.plainly`: a call of Python's, whatever the function does inside."""
        given, named = memory_of(given), {name: memory_of(value) for name, value in named.items()}
        if into is None:
            self.do(function, *given, **named)
        else:
            self.do(fill, memory_of(into), function, given, named)
        return into

    def number(self, dtype: Any, sums: Any) -> Any:
        """See `Runner.number`."""
        value = self.traced(np.empty((), dtype))
        self.alone((rowwise.converted, dtype), sums, value)
        return value

    def product(self, a: HostArray, b: HostArray, out: HostArray) -> None:
        """``out ← a b``."""
        try:
            parts, entry = packed_product(a, b, out), product_of(out.dtype)
        except TypeError:
            self.do(np.matmul, a, b, out=out)
            return
        for words in parts:
            self._now(Call(entry, Block(array("q", words), PLACES, [a, b, out])))

    def do(self, function: Callable[..., Any], *given: Any, **named: Any) -> None:
        """Call a function with memory, now and at every replay."""
        function(*given, **named)
        self._steps.append(partial(function, *given, **named))
        self._touched += _arrays([*given, *named.values()])

    def _now(self, call: Call) -> None:
        _replayed([call.row()])()
        self._steps.append(call)


def _arrays(values: Sequence[Any]) -> list[HostArray]:
    """The arrays among values and in the lists, tuples and dictionaries among them."""
    found: list[HostArray] = []
    for value in values:
        inside = list(value.values()) if isinstance(value, dict) else value
        if isinstance(inside, (tuple, list)):
            found += _arrays(inside)
        elif isinstance(inside, np.ndarray):
            found.append(inside)
    return found


def _run(replay: Callable[[], None], call: Call) -> None:
    """A replay of one call, which has to live meanwhile."""
    replay()


def _replayed(table: list[list[int]]) -> Callable[[], None]:
    return loop_of(replay).bound(np.array(table))


@cache
def prove() -> None:
    """Record a small program and replay it on other numbers.

    Raises:
        RuntimeError: if it gives others than NumPy; what a compiler itself raises is passed on.
    """
    recorder = Recorder()
    x, weight, bias = (np.ones(shape, np.float32) for shape in ((2, 3), (3, 4), 4))
    traced = [recorder.traced(array) for array in (x, weight, bias, np.empty((2, 4), np.float32))]

    def layer() -> Any:
        ops = recorder.operations
        return ops.shift(ops.matmul(traced[0], traced[1], traced[3]), traced[2])

    program = recorder.record(layer)
    x[...], weight[...], bias[...] = np.arange(3), np.arange(4), 0.5
    program.replay()
    if not np.array_equal(program.result, x @ weight + bias):
        raise RuntimeError("a replay gives other numbers than NumPy")
