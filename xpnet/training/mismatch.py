"""How settings of two trainings differ, for the messages about a training that is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnet.errors import describe
from xpnet.ops import formulas  # its names load on first access

ARRAYS = {"FormulaActivation": ("z",), "FormulaLoss": ("z", "t")}
"""The arrays of the formulas of activations and losses, by the type of the setting."""

OWN = ("type", "formula", "name", "parameters")
"""What is shown of a formula by its name and parameters."""

FORMULA_DEFAULTS = {
    **{"mean": False, "scalable": True, "target_kind": "values"},
    **{"target_min": None, "target_max": None},
}
"""The fields of a loss that are left out where they have these values."""


def short(value: Any) -> str:
    """Return a setting, as `described` has encoded it, in few words.

    >>> short({"type": "Adam", "lr": 0.5})
    'Adam(lr=0.5)'
    """
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(map(short, value))
    if not isinstance(value, dict) or "type" not in value:
        return describe(value)
    if value["type"] == formulas.TYPE:
        return describe(value.get("nodes"))
    inner = [f"{k}={short(v)}" for k, v in value.items() if k not in OWN]
    if value["type"] not in ARRAYS or not _has_parameters(value):
        return f"{value['type']}({', '.join(inner)})"
    inner = [
        f"{k}={short(v)}"
        for k, v in value.items()
        if k not in OWN and v != FORMULA_DEFAULTS.get(k, v is None)
    ]
    text = formulas.shown(value["name"], tuple((k, v) for k, v in value["parameters"]))
    return f"{text} with {', '.join(inner)}" if inner else text


def received(was: Any, now: Any) -> str:
    """Return another setting in few words, and which operation of a formula is another one."""
    text = short(now)
    difference = _difference(was, now) if short(was) == text else None
    return text if difference is None else f"{text} of another formula, in which {difference}"


def types_of(config: Any) -> str:
    """Return the types of a setting and of those inside it, as in ``Averaged(SGD)``."""
    if not isinstance(config, dict) or "type" not in config:
        return "" if not isinstance(config, dict) else str(config.get("function", ""))
    inner = ", ".join(filter(None, map(types_of, config.values())))
    return f"{config['type']}({inner})" if inner else str(config["type"])


def _has_parameters(value: dict[str, Any]) -> bool:
    """Return whether the name and the parameters of a file are those of a formula."""
    found, name = value.get("parameters"), value.get("name")
    return isinstance(name, str) and isinstance(found, list) and all(map(_is_pair, found))


def _is_pair(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and isinstance(value[0], str) and isinstance(value[1], float)


def _difference(was: Any, now: Any) -> str | None:
    """Return how the first two formulas at the same place of two settings differ, or ``None``."""
    if isinstance(was, list) and isinstance(now, list):
        pairs = list(zip(was, now, strict=False))
    elif isinstance(was, dict) and isinstance(now, dict):
        if was.get("type") in ARRAYS and _has_parameters(was):
            names = [*ARRAYS[was["type"]], *(key for key, _ in was["parameters"])]
            return _node_difference(was.get("formula"), now.get("formula"), names)
        pairs = [(value, now.get(key)) for key, value in was.items()]
    else:
        return None
    return next(filter(None, (_difference(*pair) for pair in pairs)), None)


def _node_difference(was: Any, now: Any, names: Sequence[str]) -> str | None:
    """Return the first operations of two formulas that differ."""
    nodes = [_nodes(formula) for formula in (was, now)]
    for index, pair in enumerate(zip(*nodes, strict=False)):
        if pair[0] != pair[1]:
            texts = [_spelled(found, index, names) for found in nodes]
            return f"node {index + len(names)} is {texts[1]} instead of {texts[0]}"
    if len(nodes[0]) != len(nodes[1]):
        return f"there are {len(nodes[1])} nodes instead of {len(nodes[0])}"
    return None


def _nodes(formula: Any) -> list[Any]:
    found = formula.get("nodes") if isinstance(formula, dict) else None
    return found if isinstance(found, list) else []


def _spelled(nodes: list[Any], index: int, names: Sequence[str], level: int = 0) -> str:
    """Return a node as a call, such as ``multiply(2.0, sin(…))``."""
    node = nodes[index]
    if not isinstance(node, list) or not node:
        return describe(node)
    if level == 2:
        return f"{node[0]!s:.20}(…)"
    operands = []
    for i in node[1:4]:
        is_node = isinstance(i, int) and len(names) <= i < len(names) + index
        text = names[i] if isinstance(i, int) and 0 <= i < len(names) else describe(i)
        inner = _spelled(nodes, i - len(names), names, level + 1) if is_node else text
        operands.append(inner)
    return f"{node[0]!s:.20}({', '.join(operands)})"
