"""Formulas: graphs of elementwise operations, with their derivatives.

A rule is run once on symbols (`trace`), which gives a `Formula`, a value. `derivative_of` returns
the formula of a derivative. A formula is evaluated on arrays by `FormulaRule`, compiled for a CPU
by `xpnet.ops.cpu.jit` and written in CUDA by `xpnet.ops.cuda.translate`.
"""

from xpnet.ops.formulas.derivative import derivative_of
from xpnet.ops.formulas.formula import Formula, Node
from xpnet.ops.formulas.rule import FormulaRule
from xpnet.ops.formulas.trace import trace

__all__ = ["Formula", "FormulaRule", "Node", "derivative_of", "trace"]
