"""The class of which a metric takes the value, or the average over the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Protocol, TypeVar

from xpnet.errors import require, unknown_name


class OfClass(Protocol):
    """A metric with the settings ``of``, a class, and ``label``, its text in the name."""

    @property
    def of(self) -> str | int | None:
        """The class name or index; ``None`` for an average."""
        ...

    @property
    def label(self) -> str | None:
        """What stands for ``of`` in the name."""
        ...


M = TypeVar("M", bound=OfClass)


def require_selection(average: object, known: Sequence[str], of: object) -> None:
    """Refuse an average that is not one of ``known``, and what is no class name and no index."""
    if average not in known:
        raise unknown_name("average", average, known)
    ok = of is None or isinstance(of, str) or (isinstance(of, Integral) and int(of) >= 0)
    ok = ok and not isinstance(of, bool)
    require(ok, "of", "be a class name or the index of a class", of)


def class_position(of: str | int, names: Sequence[Any] | None, n_classes: int | None) -> int:
    """Return the index of a class, of which the name or the index is given.

    Args:
        of: the name, or the index if it is not a name.
        names: the class names in the order of the indices, or ``None``.
        n_classes: the number of classes, or ``None`` if it is unknown.

    Raises:
        ArgumentError: if there is no such class.

    >>> class_position("dog", ("cat", "dog"), 2), class_position(2, (2, 4, 6), 3)
    (1, 0)
    """
    known = None if names is None else [str(name) for name in names]
    if isinstance(of, str):
        rule = "be the index of a class where classes have no names"
        require(known is not None, "of", rule, of)
        if known is None or of not in known:
            raise unknown_name("of", of, known or [])
        return known.index(of)
    if names is not None and of in names:  # a name that is a number comes before an index
        return list(names).index(of)
    n_classes = n_classes if known is None else len(known)
    largest = "" if n_classes is None else f" of 0 to {n_classes - 1}"
    require(n_classes is None or of < n_classes, "of", f"be the index of a class{largest}", of)
    return int(of)


def with_index(metric: M, classes: Sequence[Any] | None) -> M:
    """Return a metric with an index as ``of``, and the same name.

    Args:
        metric: a frozen dataclass.
        classes: the class names in the order of the indices, or ``None``.

    Raises:
        ArgumentError: if ``of`` is none of the classes.
    """
    if metric.of is None:
        return metric
    index = class_position(metric.of, classes, None)
    changes = {"of": index, "label": metric.label or str(metric.of)}
    return replace(metric, **changes)  # type: ignore[type-var]
