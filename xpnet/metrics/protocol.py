"""What a metric is: a function with a name, which says what it needs and returns one number.

A metric is called as ``metric(predicted, target)``. Its attribute ``needs`` says what ``predicted``
holds; the arguments in `CONTEXT` are passed by keyword to a metric that has them as parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, overload

from xpnet.errors import ArgumentError, describe, require, unknown_name

Need = Literal["decisions", "scores", "probabilities"]
"""What a metric needs of a model.

- ``"decisions"``: what the model predicts (`xpnet.losses.Loss.decide`): class indices, 0 or 1, ±1,
  or values in the units and the shape of the targets.
- ``"scores"``: log-odds of the classes or other numbers that rank the rows
  (`xpnet.losses.Loss.scores`): of the second class, ``(m,)``, for two classes, else ``(m, K)``.
- ``"probabilities"``: of each class, ``(m, K)`` (`xpnet.losses.Loss.probabilities`).
"""

NEEDS: tuple[str, ...] = get_args(Need)

CONTEXT = "sample_weight", "n_classes", "multilabel"
"""The parameters of a metric that `fit` and `evaluate` set, each if the metric has it.

``sample_weight`` is the weight of each row, ``(m,)``, or ``None``; ``n_classes`` the number of
classes, of which targets are indices, or ``None`` for values; ``multilabel`` whether the columns of
``(m, k)`` arrays are independent labels.
"""

ATTRIBUTES = "needs", "name", "higher_is_better"
"""The attributes of a metric that `metric` sets."""

_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def metric(
    function: None = None,
    *,
    needs: Need = "decisions",
    name: str | None = None,
    higher_is_better: bool | None = None,
) -> Callable[[_F], _F]: ...


@overload
def metric(
    function: _F,
    *,
    needs: Need = "decisions",
    name: str | None = None,
    higher_is_better: bool | None = None,
) -> _F: ...


def metric(
    function: _F | None = None,
    *,
    needs: Need = "decisions",
    name: str | None = None,
    higher_is_better: bool | None = None,
) -> _F | Callable[[_F], _F]:
    """Declare what a metric needs, as a decorator or by a call.

    A function that is not declared gets decisions, and has its own name.

    Args:
        function: a function ``metric(predicted, target) -> number``. If it has the parameter
            ``sample_weight``, it is given the weights of the rows, or ``None``; likewise
            ``n_classes`` and ``multilabel``.
        needs: ``"decisions"`` (default), ``"scores"`` or ``"probabilities"``: what ``predicted``
            holds.
        name: the column of the history; default the name of the function.
        higher_is_better: the direction in which a model improves; ``None`` (default): unknown.

    Returns:
        The same function, with these settings as attributes.

    Raises:
        ArgumentError: if an argument breaks its rule, or ``function`` takes no attributes.

    >>> from functools import partial
    >>> @metric(needs="probabilities", higher_is_better=False)
    ... def mean_confidence(probabilities, target):
    ...     return probabilities.max(axis=1).mean()
    >>> mean_confidence.needs
    'probabilities'
    >>> def share_within(predicted, target, tolerance):
    ...     return (abs(predicted - target) <= tolerance).mean()
    >>> metric(partial(share_within, tolerance=0.1), name="within_0.1").name
    'within_0.1'
    """
    if needs not in NEEDS:
        raise unknown_name("needs", needs, NEEDS)
    require(name is None or (isinstance(name, str) and name != ""), "name", "be a text", name)
    known = higher_is_better is None or isinstance(higher_is_better, bool)
    require(known, "higher_is_better", "be True, False or None", higher_is_better)

    def declared(function: _F) -> _F:
        require(callable(function), "function", "be a function", function)
        settings = {"needs": needs, "name": name, "higher_is_better": higher_is_better}
        for attribute, value in settings.items():
            if value is not None:
                try:
                    setattr(function, attribute, value)
                except AttributeError:
                    do = "Pass functools.partial(function)."
                    require(False, "function", "take attributes", function, do)
        return function

    return declared if function is None else declared(function)


def metric_name(metric: Callable[..., Any]) -> str:
    """Return the name of a metric, which is its column of a history.

    >>> from xpnet.metrics import accuracy
    >>> metric_name(accuracy)
    'accuracy'
    """
    name = getattr(metric, "name", None)
    if isinstance(name, str):
        return name
    return str(getattr(metric, "__name__", type(metric).__name__.lower()))


def as_number(value: Any, metric: Callable[..., Any]) -> float:
    """Return the result of a metric as a number, which may be NaN.

    Raises:
        ArgumentError: if it is not one real number; the message names the metric.

    >>> import numpy as np
    >>> from xpnet.metrics import accuracy
    >>> as_number(np.float64(0.5), accuracy)
    0.5
    """
    number = real_number(value)
    if number is None:
        name = metric_name(metric)
        raise ArgumentError(f"metric {name!r} must return one number; got {describe(value)}.")
    return number


def real_number(value: Any) -> float | None:
    """Return a real number, also one in an array of shape (), as a float; else ``None``.

    >>> import numpy as np
    >>> real_number(np.array(0.5)), real_number("0.5"), real_number([0.5])
    (0.5, None, None)
    """
    if getattr(value, "shape", ()) != () or isinstance(value, (str, bytes, complex)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
