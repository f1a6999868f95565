"""Operations that PyTorch differentiates: with the derivatives of xpnet's rules, at every point.

A rule such as the sigmoid function is written by ``|z|``, ``max`` and ``min`` so that it cannot
overflow. Where these have a kink, PyTorch takes a mean of both slopes, which is not the slope of a
smooth rule: it would say ``σ'(0) = 0``. Here they are branches instead, so that PyTorch
differentiates the formula of one side, of which all derivatives are right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from xpnet.backend import Array, Namespace
from xpnet.ops.operations import Operations, Rule
from xpnet.ops.rules import activations as rules


@dataclass(frozen=True)
class RecordedOperations(Operations):
    """Operations on PyTorch tensors that write into none of their arguments."""

    def apply(
        self, rule: Rule, *arrays: Array, scalars: tuple[float, ...] = (), out: Array | None = None
    ) -> Array:
        """See `Operations.apply`."""
        rule = gelu if rule is rules.gelu else rule
        return rule(self.xp, *arrays, *scalars)

    def shift_and_apply(
        self, rule: Rule, z: Array, bias: Array, scalars: tuple[float, ...] = ()
    ) -> Array:
        """See `Operations.shift_and_apply`."""
        return self.apply(rule, z + bias, scalars=scalars)


def gelu(xp: Namespace, z: Array) -> Array:
    """``zΦ(z)``; the polynomials of `rules.gelu` approximate its value, not its derivatives."""
    return z * (0.5 * xp.erfc(-math.sqrt(0.5) * z))


def branching(xp: Namespace) -> Namespace:
    """A namespace of PyTorch in which functions with a kink are one of their sides there.

    The sides are those of xpnet's derivatives, which are 0 at the kink of ReLU.
    """
    ours, where = ModuleType(xp.__name__, xp.__doc__), xp.where
    sides: dict[str, Any] = {
        "abs": lambda x: where(x > 0, x, -x),
        "maximum": lambda x, y: where(x <= y, y, x),  # NaN if x is
        "minimum": lambda x, y: where(x > y, y, x),
    }
    vars(ours).update(vars(xp) | sides)
    return ours
