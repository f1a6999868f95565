"""What a metric is: a function with a name, which says what it needs and returns one number.

A metric is called as ``metric(predicted, target)``. Its attribute ``needs`` says what ``predicted``
holds; the arguments in `CONTEXT` are passed by keyword to a metric that has them as parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar, cast, get_args, overload

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
    needs: Need | None = None,
    name: str | None = None,
    higher_is_better: bool | None = None,
) -> Callable[[_F], _F]: ...


@overload
def metric(
    function: _F,
    *,
    needs: Need | None = None,
    name: str | None = None,
    higher_is_better: bool | None = None,
) -> _F: ...


def metric(
    function: _F | None = None,
    *,
    needs: Need | None = None,
    name: str | None = None,
    higher_is_better: bool | None = None,
) -> _F | Callable[[_F], _F]:
    """Declare what a metric needs, as a decorator or by a call.

    A function that is not declared gets decisions, and has its own name.

    Args:
        function: a function ``metric(predicted, target) -> number``. The target is a class index
            (also where classes have names), 0 or 1, ±1, or a value in the units of ``y``; of class
            probabilities it is ``(m, K)``, of several labels ``(m, k)``. If the function has the
            parameter ``sample_weight``, it is given the weights of the rows, or ``None``; likewise
            ``n_classes`` and ``multilabel``. All arrays are those of the backend of the model.
        needs: ``"decisions"``, ``"scores"`` or ``"probabilities"``: what ``predicted`` holds.
            ``None`` (default) keeps what ``function`` declares, else decisions.
        name: the column of the history; default the name of the function.
        higher_is_better: the direction in which a model improves; ``None`` (default) keeps what
            ``function`` declares, else it is unknown.

    Returns:
        The function with these settings as attributes: the same one, or a `functools.partial` of a
        metric of xpnet, another declared metric or a method, none of which changes.

    Raises:
        ArgumentError: if an argument breaks its rule.

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
    >>> from xpnet.metrics import CalibrationError
    >>> metric(CalibrationError(bins=5), name="ece_5").needs
    'probabilities'
    """
    if needs is not None and needs not in NEEDS:
        raise unknown_name("needs", needs, NEEDS)
    is_text = name is None or (isinstance(name, str) and name != "")
    require(is_text, "name", "be a text that is not empty", name)
    known = higher_is_better is None or isinstance(higher_is_better, bool)
    require(known, "higher_is_better", "be True, False or None", higher_is_better)

    def declare(function: _F) -> _F:
        do = f"Write {function.__name__}(...)." if isinstance(function, type) else ""
        is_function = callable(function) and not isinstance(function, type)
        require(is_function, "function", "be a function", function, do)
        found = needs or declared(function, "needs") or "decisions"
        settings = {"needs": found, "name": name, "higher_is_better": higher_is_better}
        if not hasattr(function, "needs"):
            with suppress(AttributeError):  # of a method or a frozen object
                return _with_attributes(function, settings)
        return cast("_F", _with_attributes(partial(function), settings))

    return declare if function is None else declare(function)


def _with_attributes(function: _F, settings: Mapping[str, Any]) -> _F:
    """Set those settings that are not ``None`` as attributes of a function, and return it."""
    for attribute, value in settings.items():
        if value is not None:
            setattr(function, attribute, value)
    return function


def declared(metric: Any, attribute: str) -> Any:
    """Return an attribute of a metric, or of the function in a `functools.partial`; else ``None``.

    >>> from xpnet.metrics import log_loss
    >>> declared(partial(log_loss), "needs")
    'probabilities'
    """
    value = getattr(metric, attribute, None)
    if value is None and isinstance(metric, partial):
        return declared(metric.func, attribute)
    return value


def innermost(metric: Any) -> Any:
    """Return the function in a `functools.partial`, also in one of several; others unchanged."""
    return innermost(metric.func) if isinstance(metric, partial) else metric


def metric_name(metric: Callable[..., Any]) -> str:
    """Return the name of a metric, which is its column of a history.

    >>> from xpnet.metrics import accuracy
    >>> metric_name(accuracy)
    'accuracy'
    """
    name = declared(metric, "name")
    if isinstance(name, str):
        return name
    inner = innermost(metric)
    return str(getattr(inner, "__name__", type(inner).__name__.lower()))


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
