"""A device of NumPy arrays on which work is captured and replayed as in a CUDA graph.

During a capture every function on its arrays is recorded, with the memory it reads and writes and
its scalar arguments. A replay calls the recorded functions again. Reading a number on the host
during a capture is an error, as it is on a GPU.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import numpy as np

from helpers import emulated_cuda
from xpnet.backend import ArrayLibrary, Backend
from xpnet.engine import select as engines
from xpnet.ops import select
from xpnet.ops.cuda.operations import CudaOperations
from xpnet.ops.operations import Operations

CREATES = ("arange", "asarray", "empty", "full", "linspace", "ones", "zeros")


class Tape:
    """The work recorded by the current capture; ``None`` outside of captures."""

    work: list | None = None

    @classmethod
    def add(cls, function, *arguments, **keywords):
        if cls.work is not None:
            cls.work.append(partial(function, *arguments, **keywords))


def plain(x):
    """A `DeviceArray`, or a structure of them, as plain NumPy arrays."""
    if isinstance(x, DeviceArray):
        return x.view(np.ndarray)
    if isinstance(x, tuple | list):
        return type(x)(map(plain, x))
    return x


def fill(target, function, arguments, keywords):
    target[...] = function(*arguments, **keywords)


def run(function, arguments, keywords):
    """Call a function on the device, and record it."""
    many = function is np.concatenate and len(arguments[0]) > 8
    assert not (many and Tape.work is not None), "CuPy would copy a table of addresses here"
    arguments, out = plain(arguments), keywords.pop("out", None)
    out = out[0] if isinstance(out, tuple) else out
    if out is not None:
        function(*arguments, out=plain(out), **keywords)
        Tape.add(function, *arguments, out=plain(out), **keywords)
        return out
    result = function(*arguments, **keywords)
    if not isinstance(result, np.ndarray | np.generic):
        return result
    result = np.asarray(result)
    if not any(isinstance(a, np.ndarray) and np.shares_memory(a, result) for a in arguments):
        Tape.add(fill, result, function, arguments, keywords)
    return result.view(DeviceArray)


class DeviceArray(np.ndarray):
    """An array on the device."""

    __module__ = "numpy"  # so that functions of NumPy accept it

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return run(getattr(ufunc, method), inputs, keywords)

    def __array_function__(self, function, types, arguments, keywords):
        return run(function, arguments, plain_values(keywords))

    def __getitem__(self, key):
        own, key = plain(self), plain(key)
        if not isinstance(key, tuple):
            key = (key,)
        key = key if Ellipsis in [k for k in key if not isinstance(k, np.ndarray)] else (*key, ...)
        return run(np.ndarray.__getitem__, (own, key), {})

    def __setitem__(self, key, value):
        plain(self)[plain(key)] = plain(value)
        Tape.add(plain(self).__setitem__, plain(key), plain(value))

    def read(self, name):
        assert Tape.work is None, f"{name} reads a number on the host during a capture"
        return getattr(plain(self), name)()

    def __bool__(self):
        return self.read("__bool__")

    def __float__(self):
        return self.read("__float__")

    def __int__(self):
        return self.read("__int__")

    def tolist(self):
        return self.read("tolist")


def plain_values(keywords):
    return {name: value if name == "out" else plain(value) for name, value in keywords.items()}


class FakeNamespace:
    """``numpy`` with arrays of the device."""

    def __getattr__(self, name):
        function = getattr(np, name)
        if name not in CREATES:
            return function

        def create(*arguments, **keywords):
            result = function(*arguments, **keywords)
            Tape.add(fill, plain(result), np.copy, (plain(result).copy(),), {})
            return result.view(DeviceArray)

        return create


class FakeCapture:
    """`xpnet.engine.cuda_graph.CudaCapture` on the fake device."""

    captured = 0
    replayed = 0
    memory_of_graphs = False  # whether new arrays are allocated there
    inside = 0  # how many times its stream is the current one

    @contextmanager
    def running(self):
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @contextmanager
    def capturing(self):
        with self.running():
            FakeCapture.memory_of_graphs = True
            try:
                yield
            finally:
                FakeCapture.memory_of_graphs = False

    @contextmanager
    def copying(self):
        assert Tape.work is None
        yield

    def capture(self, step):
        assert FakeCapture.memory_of_graphs
        type(self).captured += 1
        Tape.work = []
        try:
            step()
            work = Tape.work
        finally:
            Tape.work = None

        def replay():
            type(self).replayed += 1
            for piece in work:
                piece()

        return replay


def launch(kernel, grid, block, arguments):
    """`emulated_cuda.launch`, recorded."""
    given = [kernel, grid, block, plain(list(arguments))]
    emulated_cuda.launch(*given)
    Tape.add(emulated_cuda.launch, *given)


class FakeLibrary(ArrayLibrary):
    """The array library of the device: NumPy arrays have to be moved to it."""

    name = compat = "numpy"
    is_host = False

    def namespace(self):
        return FakeNamespace()

    def array_type(self):
        return DeviceArray


class FakeBackend(Backend):
    """The device as a backend."""

    @property
    def library(self):
        return FakeLibrary()


def fake_backend(dtype):
    return FakeBackend("numpy", FakeNamespace(), None, np.dtype(dtype).type, dtype)


def fake_operations(kernels):
    """The operations on the fake device: CUDA kernels on the CPU, or the reference."""
    if not kernels:
        return Operations(FakeNamespace())
    emulated_cuda.cuda_operations()  # skips where there is no compiler
    return CudaOperations(FakeNamespace(), launch)


def use_fake_device(monkeypatch, kernels=False):
    """Let training choose the fake device: its operations, and captures of its work.

    Returns:
        `FakeCapture`, with its counts at 0.
    """
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels))
    monkeypatch.setattr(engines, "why_not_captured", lambda backend: "")
    monkeypatch.setattr(engines, "CudaCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "captured", 0)
    monkeypatch.setattr(FakeCapture, "replayed", 0)
    return FakeCapture
