"""Record the compiled calls of a pass in a table, and replay them by one compiled function.

In small networks Python takes longer between the loops than the loops themselves. Therefore the
first pass records each call: the address of the loop and the addresses of its arguments. A replay
executes this table. Operations that are not compiled are Python calls between two tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import HostArray
from xpnet.engine.traced import Traced, fill, memory_of
from xpnet.errors import describe
from xpnet.ops.cpu import rowwise
from xpnet.ops.cpu.array_objects import N_FIELDS, fields_of, verify
from xpnet.ops.cpu.call_list import replay
from xpnet.ops.cpu.jit import CompiledCode, LoopKey, NotCompiled, PackedArguments, loop_of
from xpnet.ops.cpu.operations import CompiledOperations
from xpnet.ops.cpu.product import products
from xpnet.ops.cpu.runner import Arguments, LoopRunner
from xpnet.ops.cpu.threads import run_in_threads
from xpnet.ops.operations import Operations


class Call(NamedTuple):
    """A compiled function and its packed arguments."""

    code: CompiledCode
    arguments: PackedArguments

    def row(self) -> list[int]:
        """The row of the call in the table of a replay."""
        return [self.code.address, self.arguments.address]


class Program:
    """A recorded sequence of calls.

    Args:
        steps: calls of compiled functions, and Python functions without arguments.
        touched: the arrays that the Python functions read or write.
        result: the result of the recorded function.
        held: 1-D arrays that others may change. A replay verifies that their addresses, shapes,
            strides, dtypes and flags are those of now; otherwise it raises `refused` and
            executes nothing.
        inputs: the arrays that `inputs` can replace.
        first: further calls before all steps.

    Attributes:
        result: the memory of the result.
        inputs: the address (`id`) of the array object of each input, which may be replaced by that
            of an array of the same shape and dtype, C-contiguous and aligned. A replay asks the
            object where its numbers are, so it must be alive.
        replaceable: whether each input can be replaced: no Python function uses it.
        replay: repeats the calls on the current contents of memory.
        refused: the exception of a replay that finds an array changed.
    """

    refused = NotCompiled

    def __init__(
        self,
        steps: list[Any],
        touched: list[Any],
        result: Any,
        held: Sequence[HostArray] = (),
        inputs: Sequence[HostArray] = (),
        first: Sequence[Call] = (),
    ) -> None:
        self.result = memory_of(result)
        self._calls = [step for step in steps if isinstance(step, Call)]
        self._steps, self._touched, self._first = steps, touched, list(first)
        self.replaceable = [
            not any(np.may_share_memory(array, other) for other in touched) for array in inputs
        ]
        if held or inputs:
            self._first.append(self._verification(held, inputs))
        self._stages: list[Callable[[], None]] = []
        self._divide()
        self.replay = self._stages[0] if len(self._stages) == 1 else self._each_stage

    def _verification(self, held: Sequence[HostArray], inputs: Sequence[HostArray]) -> Call:
        """The call that verifies ``held`` and writes the addresses of the inputs."""
        objects = np.array([id(array) for array in inputs], np.int64)
        self.inputs: Any = memoryview(objects.data)
        pointers = [
            (packed.address + i * packed.words.itemsize, index, offset)
            for index, array in enumerate(inputs)
            if self.replaceable[index]
            for packed, i, offset in self._pointers_into(array)
        ]
        fields = np.array([fields_of(array) for array in held], np.int64).reshape(-1, N_FIELDS)
        loop = loop_of(verify)
        arguments = fields, objects, np.array(pointers, np.int64).reshape(-1, 3)
        call = Call(loop.code, loop.pack(arguments))
        # A dtype that is freed might be followed by another one at the same address.
        call.arguments.owners.extend([*held, *(array.dtype for array in held)])
        return call

    def _pointers_into(self, array: HostArray) -> list[tuple[PackedArguments, int, int]]:
        """The pointers into ``array``: packed arguments, index of the word, offset in the array."""
        start = PackedArguments.address_of(array)
        return [
            (packed, i, packed.words[i] - start)
            for _, packed in self._calls
            for i in packed.pointers
            if start <= packed.words[i] < start + array.nbytes
        ]

    def _divide(self) -> None:
        """Divide the calls and Python functions into stages."""
        table: list[list[int]] = []
        for step in [*self._first, *self._steps, None]:
            if isinstance(step, Call):
                table.append(step.row())
                continue
            if table:
                self._stages.append(_replayed(table))
                table = []
            if step is not None:
                self._stages.append(step)

    def _each_stage(self) -> None:
        for stage in self._stages:
            stage()

    def then(self, other: Program) -> Program:
        """This program followed by ``other``, as one program with the result of this one."""
        steps, touched = self._steps + other._steps, self._touched + other._touched
        return Program(steps, touched, self.result, first=self._first + other._first)

    def signature(self) -> list[Any]:
        """The calls without addresses and without the contents of arrays.

        Two recordings of a function that uses only its arguments have the same one.
        """
        return [
            (step.code.address, step.arguments.numbers)
            if isinstance(step, Call)
            else _described(step)
            for step in self._steps
        ]

    def reads(self, array: HostArray) -> bool:
        """Whether a call reads or writes memory of ``array``."""
        used = [other for call in self._calls for other in call.arguments.owners]
        return any(np.may_share_memory(array, other) for other in [*used, *self._touched])

    def release(self, array: HostArray) -> None:
        """Drop the references to ``array``, before its object is replaced in `inputs`."""
        for _, packed in self._calls:
            packed.owners[:] = [a for a in packed.owners if not np.may_share_memory(a, array)]


class Recorder(LoopRunner):
    """Executes a function and records its calls.

    Args:
        compares_products: whether each matrix product is compared with NumPy's, default false.

    Attributes:
        operations: the operations on the traced arrays.
        rounds_otherwise: whether a product that was compared had other bits than NumPy's.
    """

    def __init__(self, compares_products: bool = False) -> None:
        self._compares_products, self.rounds_otherwise = compares_products, False
        self.operations: Operations = CompiledOperations(np, runner=self)
        self._steps: list[Any] = []
        self._touched: list[Any] = []

    def record(
        self,
        function: Callable[[], Any],
        held: Sequence[HostArray] = (),
        inputs: Sequence[HostArray] = (),
    ) -> Program:
        """Execute ``function`` once, and return the program of its operations on traced arrays.

        Args:
            function: the function.
            held: see `Program`.
            inputs: see `Program`.

        Raises:
            TypeError: if the result is neither ``None`` nor a traced array.
        """
        self._steps, self._touched = [], []
        result = function()
        if not (result is None or isinstance(result, Traced)):
            raise TypeError(f"the result must be a recorded array; got {describe(result)}")
        steps, touched = self._steps, self._touched
        self._steps, self._touched = [], []  # release memory: the recorder outlives the program
        return Program(steps, touched, result, held, inputs)

    def traced(self, array: HostArray) -> Traced:
        """An array on which operations are recorded."""
        return Traced(array, self)

    def call(self, key: LoopKey, *arguments: Any) -> None:
        """See `LoopRunner.call`."""
        loop = loop_of(*key)
        self._execute(Call(loop.code, loop.pack(memory_of(arguments))))

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
        """See `LoopRunner.fall_back`; the function is recorded as one Python call."""
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
            loop, parts = products(a, b, out)
        except NotCompiled:
            self.do(np.matmul, a, b, out=out)
            return
        for arguments in parts:
            self._execute(Call(loop.code, arguments))
        if self._compares_products and not np.array_equal(out, np.matmul(a, b)):
            self.rounds_otherwise = True

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call a function on plain arrays, now and at every replay."""
        function(*args, **kwargs)
        self._steps.append(partial(function, *args, **kwargs))
        self._touched += _arrays([*args, *kwargs.values()])

    def _execute(self, call: Call) -> None:
        _replayed([call.row()])()
        self._steps.append(call)


def _arrays(values: Sequence[Any]) -> list[HostArray]:
    """The arrays in a sequence, including those in nested lists, tuples and dictionaries."""
    found: list[HostArray] = []
    for value in values:
        inside = list(value.values()) if isinstance(value, dict) else value
        if isinstance(inside, (tuple, list)):
            found += _arrays(inside)
        elif isinstance(inside, np.ndarray):
            found.append(inside)
    return found


def _described(value: Any) -> Any:
    """A value of a recorded Python call, in which equal descriptions stand for equal calls."""
    if isinstance(value, partial):
        return [_described(part) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, (tuple, list)):
        return [_described(item) for item in value]
    if isinstance(value, dict):
        return {key: _described(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.shape, value.strides, value.dtype
    is_number = isinstance(value, (bool, int, float, str, np.generic, type(None)))
    return repr(value) if is_number else getattr(value, "__qualname__", type(value))


def _run(replay: Callable[[], None], call: Call) -> None:
    """Replay one call; ``call`` is passed to keep its memory alive."""
    replay()


def _replayed(table: list[list[int]]) -> Callable[[], None]:
    """A function that executes the calls of a table."""
    return loop_of(replay).bind(np.array(table))


@cache
def check_replay() -> None:
    """Record a small program, and compare a replay on other data with NumPy.

    Raises:
        RuntimeError: if the results differ. Exceptions of the compiler propagate.
    """
    recorder = Recorder()
    x, weight, bias = (np.ones(shape, np.float32) for shape in ((2, 3), (3, 4), 4))
    traced = [recorder.traced(array) for array in (x, weight, bias, np.empty((2, 4), np.float32))]

    def layer() -> Any:
        ops = recorder.operations
        return ops.shift(ops.matmul(traced[0], traced[1], traced[3]), traced[2])

    program = recorder.record(layer, [bias], [x])
    x, weight[...], bias[...] = np.array([np.arange(3)] * 2, np.float32), np.arange(4), 0.5
    program.inputs[0] = id(x)
    program.replay()
    if not np.array_equal(program.result, x @ weight + bias):
        raise RuntimeError("the result of a replay differs from NumPy")
    bias.flags.writeable = False
    with suppress(NotCompiled):
        program.replay()
        raise RuntimeError("a replay does not notice that an array has become read-only")
