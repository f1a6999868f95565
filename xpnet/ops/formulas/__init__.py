"""Formulas: graphs of elementwise operations, with their derivatives.

A rule is run once on symbols (`trace`), which gives a `Formula`, a value. `derivative_of` returns
the formula of a derivative. A formula is evaluated on arrays by `FormulaRule`, compiled for a CPU
by `xpnet.ops.cpu.jit` and written in CUDA by `xpnet.ops.cuda.translate`.

Names are loaded on first access: a program without formulas loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpnet.lazy import attributes

if TYPE_CHECKING:
    from xpnet.ops.formulas.backward import Backward as Backward
    from xpnet.ops.formulas.backward import backward_of as backward_of
    from xpnet.ops.formulas.backward import nonzero as nonzero
    from xpnet.ops.formulas.backward import simple_backward_of as simple_backward_of
    from xpnet.ops.formulas.class_rules import second_derivative_of as second_derivative_of
    from xpnet.ops.formulas.derivative import derivative_of
    from xpnet.ops.formulas.expand import expanded as expanded
    from xpnet.ops.formulas.formula import Formula, Node
    from xpnet.ops.formulas.json_form import formula_from_json as formula_from_json
    from xpnet.ops.formulas.json_form import formula_json as formula_json
    from xpnet.ops.formulas.parameters import changed as changed
    from xpnet.ops.formulas.parameters import checked_formula as checked_formula
    from xpnet.ops.formulas.parameters import require_parts as require_parts
    from xpnet.ops.formulas.parameters import shown as shown
    from xpnet.ops.formulas.parameters import values_of as values_of
    from xpnet.ops.formulas.probe import Targets as Targets
    from xpnet.ops.formulas.probe import require_finite as require_finite
    from xpnet.ops.formulas.rule import FormulaRule
    from xpnet.ops.formulas.tracing import require_signature as require_signature
    from xpnet.ops.formulas.tracing import trace

__all__ = ["Formula", "FormulaRule", "Node", "derivative_of", "trace"]

_MODULES = {
    **dict.fromkeys(("Backward", "backward_of", "nonzero", "simple_backward_of"), "backward"),
    **dict.fromkeys(("Formula", "Node"), "formula"),
    **dict.fromkeys(("formula_from_json", "formula_json"), "json_form"),
    **dict.fromkeys(("changed", "checked_formula", "require_parts"), "parameters"),
    **dict.fromkeys(("shown", "values_of"), "parameters"),
    **dict.fromkeys(("Targets", "require_finite"), "probe"),
    "FormulaRule": "rule",
    "derivative_of": "derivative",
    "second_derivative_of": "class_rules",
    "expanded": "expand",
    **dict.fromkeys(("require_signature", "trace"), "tracing"),
}

TYPE = "Formula"
"""The type of a formula in JSON, beside those of `xpnet.serialization.TYPES`."""

__getattr__ = attributes(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
