"""Compile functions of numbers and arrays to machine code, and keep that code on disk.

This package depends on NumPy, Numba and llvmlite only. It provides one function, `loop_of`, which
returns the compiled loop that a *loop builder* defines. A builder is a plain function
``build(api, *parameters)``; it runs only if the code is not on disk, and returns what ``api.loop``
makes of the loop's body. Everything else here serves to write builders and to handle loops:

- `CompilerApi` is the type of ``api``; `LazyModule` names a module that only builders need;
- `ArgumentType`, `ReadOnly`, `Scalars` and the constants `FLAT`, `INDICES`, `INTEGER`, `SCALAR` and
  `SUMS` declare the types of a loop's arguments, and `LoopDefinition` is a loop to be compiled;
- `Loop` is a compiled loop, `CompiledCode` the address of its code, and `PackedArguments` its
  arguments in memory, for callers which call loops by address;
- `NotCompiled` says that a loop does not exist or does not accept its arguments. The caller then
  computes in another way. No other exception means this, so that an error stays an error.

>>> import numpy as np
>>> def scale(api, dtype):
...     @api.loop(dtype, FLAT, SCALAR)
...     def loop(x, factor):
...         for i in range(x.size):
...             x[i] *= factor
...
...     return loop
>>> x = np.arange(3.0)
>>> loop_of(scale, x.dtype)(x, 0.5)
>>> x
array([0. , 0.5, 1. ])
"""

from xpnet.ops.cpu.jit.arguments import PackedArguments
from xpnet.ops.cpu.jit.code_cache import CompiledCode
from xpnet.ops.cpu.jit.definition import (
    FLAT,
    INDICES,
    INTEGER,
    SCALAR,
    SUMS,
    ArgumentType,
    CompilerApi,
    LazyModule,
    LoopDefinition,
    LoopKey,
    NotCompiled,
    ReadOnly,
    Scalars,
)
from xpnet.ops.cpu.jit.loop import Loop, loop_of

__all__ = [
    "FLAT",
    "INDICES",
    "INTEGER",
    "SCALAR",
    "SUMS",
    "ArgumentType",
    "CompiledCode",
    "CompilerApi",
    "LazyModule",
    "Loop",
    "LoopDefinition",
    "LoopKey",
    "NotCompiled",
    "PackedArguments",
    "ReadOnly",
    "Scalars",
    "loop_of",
]
