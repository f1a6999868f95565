"""Rules made of rules, which kernels run in one pass."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from xpnet.backend import Array, Namespace
from xpnet.ops.operations import Rule

MOST_RULES = 512
"""The rules of which something is kept: a program may make new ones as long as it runs."""


@lru_cache(MOST_RULES)
def shifted(rule: Rule) -> Rule:
    """``rule(xp, z + b, *scalars)`` as a rule of ``z`` and ``b``."""

    def of_sum(xp: Namespace, z: Array, bias: Array, *scalars: Any) -> Array:
        return rule(xp, z + bias, *scalars)

    of_sum.__name__ = f"{rule.__name__}_of_sum"
    return of_sum


@lru_cache(MOST_RULES)
def unless(rule: Rule, n_targets: int) -> Rule:
    """``rule`` with one more scalar: above 0 the new values of its targets are the old ones."""

    def kept(xp: Namespace, *given: Any) -> Any:
        *arguments, flag = given
        new = rule(xp, *arguments)
        values = new if n_targets > 1 else (new,)
        pairs = zip(arguments[:n_targets], values, strict=True)
        chosen = tuple(xp.where(flag > 0.0, old, value) for old, value in pairs)
        return chosen if n_targets > 1 else chosen[0]

    kept.__name__ = f"{rule.__name__}_unless"
    return kept
