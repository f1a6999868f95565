"""Formulas as JSON, of which model files consist.

A formula is an object with the number of its ``arguments``, the list of its other ``nodes`` and the
index of its ``result``; the arguments are the first nodes. A node is a number, with ``"inf"`` and
``"-inf"`` for infinities, or a list: the name of an operation and the indices of its operands,
which are earlier nodes. No text is evaluated: a name is looked up in the closed table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xpnet.errors import ArgumentError, FileFormatError, describe
from xpnet.ops.formulas import TYPE
from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.formula import (
    CONSTANT,
    MAX_ARGUMENTS,
    MAX_OPERATIONS,
    Formula,
    Node,
    require_small,
)
from xpnet.ops.formulas.table import OPERATIONS, takes_conditions

MAX_NODES = 4 * MAX_OPERATIONS
"""More than a formula of `MAX_OPERATIONS` has: each has at most three operands."""

INFINITIES = {"inf": math.inf, "-inf": -math.inf}
"""The numbers that JSON does not have."""


def formula_json(formula: Formula) -> dict[str, Any]:
    """Return a formula as JSON, from which `formula_from_json` makes one that computes the same.

    Numbers are exact: each is the shortest decimal that gives the same float.

    >>> from xpnet.ops.formulas import trace
    >>> formula_json(trace(lambda xp, z, b: xp.maximum(0.5 * z, b), 2))["nodes"]
    [0.5, ['multiply', 2, 0], ['maximum', 3, 1]]
    """
    builder = FormulaBuilder(formula.n_arguments, simplifies=False)
    places = builder.copied(formula)
    formula = builder.formula(places[formula.result])  # the arguments are the first nodes
    nodes = [_node_json(node) for node in formula.nodes[formula.n_arguments :]]
    return {
        "type": TYPE,
        "arguments": formula.n_arguments,
        "nodes": nodes,
        "result": formula.result,
    }


def _node_json(node: Node) -> Any:
    if node.operation != CONSTANT:
        return [node.operation, *node.operands]
    return node.number if math.isfinite(node.number) else repr(node.number)


def formula_from_json(config: Mapping[str, Any]) -> Formula:
    """Return the formula that `formula_json` described, equal to it if it is of `trace`.

    Raises:
        FileFormatError: if the JSON is not of a formula, has an operation that is not in the table,
            or more than `trace` allows.

    >>> config = {"type": "Formula", "arguments": 1, "nodes": [["exp", 0]], "result": 1}
    >>> formula_from_json(config).depth
    1
    """
    if config.keys() != {"type", "arguments", "nodes", "result"}:
        raise FileFormatError(
            f"a formula must have arguments, nodes and a result; got {describe([*config])}."
        )
    n_arguments, nodes, result = (config[key] for key in ("arguments", "nodes", "result"))
    if type(n_arguments) is not int or not 1 <= n_arguments <= MAX_ARGUMENTS:
        raise FileFormatError(
            f"a formula must have 1 to {MAX_ARGUMENTS} arguments; got {describe(n_arguments)}."
        )
    if not isinstance(nodes, list) or len(nodes) > MAX_NODES:
        got = f"{len(nodes)} nodes" if isinstance(nodes, list) else describe(nodes)
        raise FileFormatError(
            f"a formula must have a list of at most {MAX_NODES} nodes; got {got}."
        )
    builder = FormulaBuilder(n_arguments, simplifies=False)
    places = [*range(n_arguments)]
    for node in nodes:
        places.append(_place_of(builder, places, node))
    if not _is_index(result, places) or builder.is_condition(places[result]):
        raise FileFormatError(
            f"the result of a formula must be the index of a node that is a number; got "
            f"{describe(result)}."
        )
    formula = builder.formula(places[result])
    try:
        require_small(formula)
    except ArgumentError as error:
        raise FileFormatError(str(error)) from None
    return formula


def _place_of(builder: FormulaBuilder, places: list[int], node: Any) -> int:
    """Return the index in a builder of a node as JSON, which is added if it is new."""
    if not isinstance(node, list):
        return builder.kept(Node(CONSTANT, (), _number(node)))
    name, *operands = node or [None]
    operation = OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        raise FileFormatError(
            f"a formula may only have xpnet's own operations; got {describe(name)}. A newer "
            "version may read the file."
        )
    if len(operands) != operation.arity or not all(_is_index(i, places) for i in operands):
        raise FileFormatError(
            f"{name} must have {operation.arity} operands, the indices of earlier nodes; got "
            f"{describe(operands)}."
        )
    given = tuple(places[i] for i in operands)
    if [builder.is_condition(i) for i in given] != takes_conditions(name):
        raise FileFormatError(
            f"the operands of {name} must be numbers or conditions as it takes them; got "
            f"{describe([builder.nodes[i].operation for i in given])}."
        )
    return builder.kept(Node(name, given))


def _is_index(value: Any, places: list[int]) -> bool:
    return type(value) is int and 0 <= value < len(places)


def _number(value: Any) -> float:
    """Return a constant; an equal one has the same bits, which −0 and NaN do not have."""
    number = INFINITIES.get(value) if isinstance(value, str) else value
    is_float = type(number) is float and not math.isnan(number)
    if not is_float or (number == 0.0 and math.copysign(1.0, number) < 0.0):
        raise FileFormatError(
            f"the numbers of a formula must be floats, not NaN and not −0; got {describe(value)}."
        )
    assert isinstance(number, float)
    return number
