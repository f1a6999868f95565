"""Compiled loops as functions: loaded from disk, or compiled if they are not there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable, Sequence
from functools import cache, partial
from importlib import import_module
from typing import Any

import numpy as np

from xpnet.ops.cpu.jit import code_cache
from xpnet.ops.cpu.jit.arguments import REJECTED, ArgumentPacker, PackedArguments, address_of
from xpnet.ops.cpu.jit.code_cache import CompiledCode
from xpnet.ops.cpu.jit.definition import (
    FLAT,
    ArgumentType,
    LoopKey,
    NotCompiled,
    why_not_compiled,
)

COMPILED_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)
"""Numba's calling convention: the addresses of the result, of the error and of the arguments; the
status is returned, which is 0 after a success."""

COMPILER = f"{__package__}.compile"

CALLS_BEFORE_NATIVE_WRAPPER = 10_000
"""The number of calls from Python after which Numba compiles a wrapper that unpacks the arguments.
This takes 0.1 s, and 0.5 s more if Numba is not loaded, and saves some microseconds a call."""

_IGNORED = np.zeros(2, np.int64)
RESULT_AND_ERROR = address_of(_IGNORED), address_of(_IGNORED[1:])
"""The addresses at which loops write results and errors; neither is read."""


class Loop:
    """A compiled loop. It raises `NotCompiled` for arguments that it does not accept.

    Args:
        code: its machine code.
        argument_types: the types of its arguments.

    Attributes:
        code: its machine code.
        pack: checks arguments and packs them in memory.
    """

    def __init__(self, code: CompiledCode, argument_types: Sequence[ArgumentType]) -> None:
        self.code, self.pack = code, ArgumentPacker(argument_types)
        self._function, self._types = COMPILED_FUNCTION(code.address), tuple(argument_types)
        self._n_flat, self._calls = sum(kind.ndim == FLAT for kind in argument_types), 0
        self._wrappers: dict[int, Any] = {}

    def __call__(self, *arguments: Any) -> None:
        """Run it.

        Raises:
            NotCompiled: if it does not accept the arguments; nothing is written then.
        """
        if self._calls < CALLS_BEFORE_NATIVE_WRAPPER:
            packed = self.pack(arguments)
            self._run(packed.address, packed)
            self._calls += 1
        else:
            self._run_wrapper(arguments)

    def bind(self, *arguments: Any) -> Callable[[], None]:
        """A function that runs it on these arguments.

        Raises:
            NotCompiled: if it does not accept them.
        """
        packed = self.pack(arguments)
        return partial(self._run, packed.address, packed)

    def _run(self, address: int, packed: PackedArguments) -> None:
        """Run it on the arguments at an address, which ``packed`` keeps alive."""
        if self._function(*RESULT_AND_ERROR, address):
            raise NotCompiled(REJECTED)

    def _run_wrapper(self, arguments: Sequence[Any]) -> None:
        for x in arguments:  # Numba ignores the byte order of an array in a tuple
            if isinstance(x, np.ndarray) and not x.dtype.isnative:
                raise NotCompiled(REJECTED)
        flat, others = arguments[: self._n_flat], arguments[self._n_flat :]
        ndim = getattr(flat[0], "ndim", 0) if flat else 0
        wrapper = self._wrappers.get(ndim)
        if wrapper is None:
            wrapper = import_module(COMPILER).native_wrapper(self._types, ndim)
            self._wrappers[ndim] = wrapper
        try:
            status = wrapper(self.code.address, flat, others)
        except TypeError as error:  # Numba raises it for arguments of other types
            raise NotCompiled(REJECTED) from error
        if status:
            raise NotCompiled(REJECTED)


def loop_of(build: Callable[..., Any], *parameters: Any) -> Loop:
    """The loop that a builder defines; it is loaded or compiled when it is first asked for.

    Args:
        build: a plain function of a `CompilerApi` and the parameters, which returns a
            `LoopDefinition`. It runs only if the code is not on disk. It must depend on nothing but
            its parameters and on what it refers to by name.
        parameters: such as rules, types and numbers; hashable.

    Raises:
        NotCompiled: if it cannot be compiled, with the reason. It is not tried again.
    """
    try:
        found = _loop_or_reason(build, *parameters)
    except TypeError as error:
        if all(isinstance(part, Hashable) for part in parameters):
            raise
        raise NotCompiled(f"not every parameter of the loop is hashable: {error}") from error
    if isinstance(found, str):
        raise NotCompiled(found)
    return found


@cache
def _loop_or_reason(*key: Any) -> Loop | str:
    try:
        return load_or_compile(key)
    except (NotCompiled, ImportError) as error:  # Numba may have been removed since the first loop
        return str(error)


def load_or_compile(key: LoopKey) -> Loop:
    """A loop from disk; or one that is compiled now and written to disk.

    Raises:
        NotCompiled: if it cannot be compiled.
        ImportError: if it has to be compiled, and Numba cannot be imported.
    """
    for reason in filter(None, map(why_not_compiled, key)):
        raise NotCompiled(reason)
    path = code_cache.path_of(key)
    saved = None if path is None else code_cache.read(path)
    code = None if saved is None else code_cache.link(saved)
    if saved is not None and code is not None:
        return Loop(code, saved.argument_types)
    # By name, since it imports Numba.
    code, argument_types, saved = import_module(COMPILER).compile_loop(key)
    if path is not None and saved is not None and code_cache.link(saved) is not None:
        code_cache.write(path, saved)
    return Loop(code, argument_types)
