"""Explain which implementation of an operation or a rule runs on a backend."""

from __future__ import annotations

from types import FunctionType

import numpy as np

from xpnet.backend import Backend
from xpnet.errors import require, unknown_name
from xpnet.ops import formulas
from xpnet.ops.graph_operations import GraphOperations
from xpnet.ops.numpy import NumPyOperations
from xpnet.ops.operations import Operations, Rule
from xpnet.ops.select import operations_for

NOT_OPERATIONS = ("xp", "at_precision", "for_graphs", "why_not_captured", "why_not_compiled")
OPERATIONS = tuple(
    name
    for name in (*vars(Operations), *vars(GraphOperations))
    if not name.startswith("_") and name not in NOT_OPERATIONS
)
RULE_OPERATIONS = (
    *("apply", "chain", "update", "shift_and_apply", "shift_and_keep", "chain_and_sum"),
    *("apply_by_column", "chain_by_column"),
)
"""The operations that run a rule."""
COMPOSED = ("affine", "affine_and_apply", "matmul_and_sum")
"""The operations that call other operations, unless a faster version fuses them."""


def explain(what: str | Rule, backend: Backend) -> str:
    """Explain which implementation of an operation or a rule runs on a backend.

    Args:
        what: the name of a method of `Operations` or `GraphOperations`, or a rule, such as
            ``xpnet.ops.rules.activations.relu`` or that of a formula, ``mish.value``.
        backend: the backend.

    Returns:
        One sentence.

    Raises:
        ArgumentError: if there is no operation of that name.

    >>> from xpnet.backend import get_backend
    >>> explain("matmul", get_backend("numpy"))
    'matmul on numpy: NumPy, filling the given buffers.'
    """
    ops = operations_for(backend.empty(0))
    if isinstance(what, (FunctionType, formulas.FormulaRule)):
        reason = ops.why_not_compiled(what)
        how = f"as NumPy code, in blocks ({reason})" if reason else _of_a_rule(ops)
        return f"the rule {what.__name__} on {backend.name} runs {how}."
    rule = "be a rule, such as Tanh.value or mish.value, or the name of an operation"
    require(isinstance(what, str), "what", rule, what)
    if what not in OPERATIONS:
        raise unknown_name("what", what, OPERATIONS)
    return f"{what} on {backend.name}: {_of_an_operation(str(what), ops)}."


def _of_a_rule(ops: Operations) -> str:
    if type(ops) is Operations:
        return "as plain array code, one array operation after another"
    if isinstance(ops, NumPyOperations):
        return f"as NumPy code, in blocks that fit in the cache ({ops.reason})"
    if ops.xp is not np:
        return "in one kernel on C-contiguous arrays, as plain array code on others"
    return "in one compiled loop on C-contiguous arrays, as NumPy code in blocks on others"


def _of_an_operation(name: str, ops: Operations) -> str:
    if name in RULE_OPERATIONS:
        return f"its rule runs {_of_a_rule(ops)}"
    own = vars(type(ops.for_graphs if hasattr(GraphOperations, name) else ops)).get(name)
    if name in COMPOSED and type(ops) is not Operations:
        parts = "a product and the operation after it, one after the other"
        return parts if own is None else f"one fused product by cublasLt if possible, else {parts}"
    if type(ops) is Operations or own is None:
        return "plain array code, because there is no faster version"
    if ops.xp is not np:
        return "a kernel on C-contiguous arrays, or a product of cublasLt; else plain array code"
    if own is vars(NumPyOperations).get(name):
        return "NumPy, filling the given buffers"
    return "one compiled loop on C-contiguous arrays; NumPy on others"
