"""Which version of an operation or a rule runs on a backend, and why."""

from __future__ import annotations

from types import FunctionType

import numpy as np

from xpnet.backend import Backend
from xpnet.errors import require
from xpnet.ops.numpy import HostOperations
from xpnet.ops.operations import Operations, Rule
from xpnet.ops.select import operations_for

NO_OPERATION = ("xp", "at_precision")
OPERATIONS = tuple(n for n in vars(Operations) if not n.startswith("_") and n not in NO_OPERATION)
RULE_OPERATIONS = ("apply", "chain", "update", "shift_and_apply", "chain_and_sum")
"""The operations that run a rule."""
MADE_OF_OTHERS = ("affine", "affine_and_apply", "matmul_and_sum")
"""The operations that are others one after another, unless a faster version is one."""


def explain(what: str | Rule, backend: Backend) -> str:
    """Say which version of an operation, or of a rule, runs on a backend, and why.

    Args:
        what: the name of a method of `Operations`, or a rule such as
            ``xpnet.ops.rules.activations.relu``.
        backend: where it would run.

    Returns:
        One sentence.

    Raises:
        ArgumentError: if there is no such operation.

    >>> from xpnet.backend import get_backend
    >>> explain("matmul", get_backend("numpy"))
    'matmul on numpy: NumPy, filling the buffers it is given.'
    """
    ops = operations_for(backend.empty(0))
    if isinstance(what, FunctionType):
        return f"the rule {what.__name__} on {backend.name} runs {_of_a_rule(ops)}."
    rule = "be a rule, or one of " + ", ".join(OPERATIONS)
    require(what in OPERATIONS, "what", rule, what)
    return f"{what} on {backend.name}: {_of_an_operation(str(what), ops)}."


def _of_a_rule(ops: Operations) -> str:
    if type(ops) is Operations:
        return "as it is written, one array operation after another"
    if isinstance(ops, HostOperations):
        return f"as it is written, in blocks that fit the cache ({ops.reason})"
    if ops.xp is not np:
        return "in one kernel over C-contiguous arrays, as it is written over others"
    return "in one compiled loop over C-contiguous arrays, in blocks by NumPy over others"


def _of_an_operation(name: str, ops: Operations) -> str:
    if name in RULE_OPERATIONS:
        return f"its rule runs {_of_a_rule(ops)}"
    own = vars(type(ops)).get(name)
    if name in MADE_OF_OTHERS and type(ops) is not Operations:
        parts = "a product and what follows it, each in its own version"
        return parts if own is None else f"one product by cublasLt where it can be, else {parts}"
    if type(ops) is Operations or own is None:
        return "plain array-API code, since no faster version is written for it"
    if ops.xp is not np:
        return "a kernel over C-contiguous arrays, or a product by cuBLAS; plain code for others"
    if own is vars(HostOperations).get(name):
        return "NumPy, filling the buffers it is given"
    return "one compiled pass over C-contiguous arrays; NumPy for others"
