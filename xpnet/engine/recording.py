"""A pass as a list of calls with fixed arguments, replayed by one compiled function.

Between the loops of a small network Python takes longer than the loops. So the calls are written
down while a pass is done for the first time: where each loop is, and where its arguments lie in
memory. A replay runs down the list. What only NumPy can do is a call of Python's between two lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import HostArray
from xpnet.engine.traced import Traced, fill, memory_of
from xpnet.errors import describe
from xpnet.ops.cpu import rowwise
from xpnet.ops.cpu.call_list import replay
from xpnet.ops.cpu.jit import CompiledCode, LoopKey, NotCompiled, PackedArguments, loop_of
from xpnet.ops.cpu.operations import CompiledOperations
from xpnet.ops.cpu.product import packed_products, product_loop
from xpnet.ops.cpu.runner import Arguments, LoopRunner
from xpnet.ops.cpu.threads import run_in_threads
from xpnet.ops.operations import Operations


class Call(NamedTuple):
    """A compiled function and its packed arguments."""

    code: CompiledCode
    arguments: PackedArguments

    def row(self) -> list[int]:
        """The call in the table of a replay."""
        return [self.code.address, self.arguments.address]


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

    place_of = staticmethod(PackedArguments.address_of)

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
        kept = [other for call in self._calls for other in call.arguments.owners]
        return any(np.may_share_memory(array, other) for other in [*kept, *self._touched])

    def places_in(self, array: HostArray) -> list[tuple[memoryview, int, int]] | None:
        """Where the addresses of numbers of ``array`` stand: a block, which word, how far in it.

        ``None`` if Python too reads the array, so that another cannot take its place.
        """
        if any(np.may_share_memory(array, other) for other in self._touched):
            return None
        start = PackedArguments.address_of(array)
        return [
            (memoryview(packed.words), i, packed.words[i] - start)
            for _, packed in self._calls
            for i in packed.pointers
            if start <= packed.words[i] < start + array.nbytes
        ]

    def release(self, array: HostArray) -> None:
        """Keep ``array`` no longer: another has taken its place."""
        for _, packed in self._calls:
            packed.owners[:] = [a for a in packed.owners if not np.may_share_memory(a, array)]


class Recorder(LoopRunner):
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

    def call(self, key: LoopKey, *arguments: Any) -> None:
        """See `LoopRunner.call`."""
        loop = loop_of(*key)
        self._now(Call(loop.code, loop.pack(memory_of(arguments))))

    def call_in_threads(self, key: LoopKey, calls: list[Arguments]) -> None:
        """See `LoopRunner.call_in_threads`."""
        loop = loop_of(*key)
        each = [Call(loop.code, loop.pack(memory_of(arguments))) for arguments in calls]
        self.do(run_in_threads, _run, [(_replayed([call.row()]), call) for call in each])

    def add_parts(self, parts: HostArray, sums: Any) -> None:
        """See `LoopRunner.add_parts`."""
        self.do(partial(np.add.reduce, axis=0), parts, out=memory_of(sums))

    def fall_back(
        self, out: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """See `LoopRunner.fall_back`: the function is recorded as one call from Python."""
        args, kwargs = memory_of(args), {name: memory_of(value) for name, value in kwargs.items()}
        if out is None:
            self.do(function, *args, **kwargs)
        else:
            self.do(fill, memory_of(out), function, args, kwargs)
        return out

    def scalar(self, dtype: Any, sums: Any) -> Any:
        """See `LoopRunner.scalar`."""
        value = self.traced(np.empty((), dtype))
        self.call((rowwise.convert, dtype), sums, value)
        return value

    def product(self, a: HostArray, b: HostArray, out: HostArray) -> None:
        """``out ← a b``."""
        try:
            parts, loop = packed_products(a, b, out), product_loop(out.dtype)
        except NotCompiled:
            self.do(np.matmul, a, b, out=out)
            return
        for arguments in parts:
            self._now(Call(loop.code, arguments))

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
    return loop_of(replay).bind(np.array(table))


@cache
def check_replay() -> None:
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
