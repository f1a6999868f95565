"""Metrics with all that `fit` and `evaluate` must know to call them."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from xpnet.backend import Array, copied
from xpnet.errors import Phrase, require, unknown_name
from xpnet.metrics.protocol import CONTEXT, NEEDS, Need, declared, innermost, metric_name

OTHER_COLUMNS = ("epoch", "loss", "val_loss", "penalty", "lr", "step", "grad_norm", "seconds")
"""Columns of a history that are not metrics."""

PREFIXES = "val_", "avg_"
"""Prefixes of columns that are measured on validation data, or of averaged parameters."""


@dataclass(frozen=True)
class BoundMetric:
    """A metric and what was found out about it.

    Attributes:
        function: the metric.
        name: its column of the history.
        needs: what it needs of the model.
        takes: its parameters among `CONTEXT`.
        is_own: whether it is one of xpnet, which does not change its arguments.
        higher_is_better: the direction in which a model improves, or ``None`` if unknown.
    """

    function: Callable[..., Any]
    name: str
    needs: Need
    takes: frozenset[str]
    is_own: bool
    higher_is_better: bool | None

    def __call__(self, predicted: Array, target: Array, **context: Any) -> Any:
        """Call the metric.

        Args:
            predicted: what the metric needs.
            target: the targets.
            **context: a value for each name in `CONTEXT`; those that it does not take are left out.
        """
        taken = {name: value for name, value in context.items() if name in self.takes}
        if not self.is_own:  # it may change what it is given
            predicted, target = copied(predicted), copied(target)
            if taken.get("sample_weight") is not None:
                taken["sample_weight"] = copied(taken["sample_weight"])
        return self.function(predicted, target, **taken)


def bound(metric: Callable[..., Any], classes: Sequence[Any] | None = None) -> BoundMetric:
    """Return a metric with what can be found out about it.

    Args:
        metric: the metric, or a `BoundMetric`, which is returned.
        classes: the class names, of which a metric may name one, or ``None``.

    Raises:
        ArgumentError: if its ``needs`` or ``higher_is_better`` is unknown, or it names a class that
            the model does not have.

    >>> from xpnet.metrics import accuracy
    >>> bound(accuracy).needs
    'decisions'
    """
    if isinstance(metric, BoundMetric):
        return metric
    name = metric_name(metric)
    needs: Need = declared(metric, "needs") or "decisions"
    if needs not in NEEDS:
        raise unknown_name(f"needs of the metric {name!r}", needs, NEEDS)
    direction = declared(metric, "higher_is_better")
    known = direction is None or isinstance(direction, bool)
    rule = "be True, False or None"
    require(known, f"higher_is_better of the metric {name!r}", rule, direction)
    takes = frozenset(_parameters(metric)).intersection(CONTEXT)
    is_own = is_of(innermost(metric), "xpnet")
    return BoundMetric(_resolved(metric, classes), name, needs, takes, is_own, direction)


def _resolved(metric: Any, classes: Sequence[Any] | None) -> Any:
    """Return a metric, also in a `functools.partial`, that knows the class names or ``None``."""
    if not callable(getattr(innermost(metric), "resolved", None)):
        return metric
    if isinstance(metric, partial):
        return partial(_resolved(metric.func, classes), *metric.args, **metric.keywords)
    return metric.resolved(classes)


def check_metric_names(metrics: Sequence[Callable[..., Any]]) -> None:
    """Refuse two metrics of one name, and a metric that has the name of another column.

    Raises:
        ArgumentError: naming the metric.

    >>> from xpnet.metrics import rmse
    >>> check_metric_names([rmse, rmse])
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: metrics must have distinct names, which are columns of the \
history; got 2 with the name 'rmse'. Give each a name: xpnet.metric(function, name="...") or \
sklearn_metric(..., name="...").
    """
    do = 'Give each a name: xpnet.metric(function, name="...") or sklearn_metric(..., name="...").'
    for name, count in Counter(map(metric_name, metrics)).items():
        got = Phrase(f"{count} with the name {name!r}")
        rule = "have distinct names, which are columns of the history"
        require(count == 1, "metrics", rule, got, do)
        rule = f"have other names than {', '.join(OTHER_COLUMNS)}"
        require(name not in OTHER_COLUMNS, "metrics", rule, name, do)
        rule = f"have names that do not begin with {' or '.join(PREFIXES)}"
        require(not name.startswith(PREFIXES), "metrics", rule, name, do)


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Return the parameters that can be passed by keyword, without those that a partial sets."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # as of functions written in C
        return []
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    found = [parameter.name for parameter in parameters if parameter.kind in kinds]
    while isinstance(function, partial):
        found = [name for name in found if name not in function.keywords]
        function = function.func
    return found


def refuse_sklearn(metric: Any) -> None:
    """Refuse a function or a scorer of scikit-learn, also in a partial.

    Its arguments are in another order, so that precision would be recall.

    Raises:
        ArgumentError: naming it.
    """
    inner = innermost(metric)
    if not is_of(inner, "sklearn"):
        return
    name = getattr(inner, "__name__", "get_scorer(...)")
    rule = "be passed through xpnet.sklearn_metric if they are of scikit-learn"
    require(False, "metrics", rule, Phrase(name), f"Write sklearn_metric({name}).")


def is_of(function: Any, package: str) -> bool:
    """Return whether a function, or the type of an object, is defined in a package."""
    owner = function if hasattr(function, "__qualname__") else type(function)
    return str(getattr(owner, "__module__", "")).split(".")[0] == package
