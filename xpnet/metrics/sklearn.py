"""Metric functions and scorers of scikit-learn as metrics of xpnet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, to_numpy
from xpnet.errors import MissingExtraError, Phrase, require, unknown_name
from xpnet.metrics.arrays import class_indices
from xpnet.metrics.protocol import NEEDS, Need

ARGUMENT_NEEDS: dict[str, Need] = {
    "y_score": "scores",
    "pred_decision": "scores",
    "y_proba": "probabilities",
    "y_prob": "probabilities",
}
"""What the second parameter of a metric function holds, by its name; others hold decisions."""

FUNCTION_NEEDS: dict[str, Need] = {
    "log_loss": "probabilities",
    "d2_log_loss_score": "probabilities",
}
"""The functions whose parameter ``y_pred`` holds probabilities."""

METHOD_NEEDS: dict[str, Need] = {
    "predict": "decisions",
    "decision_function": "scores",
    "predict_proba": "probabilities",
}
"""What the methods of an estimator return, which a scorer calls."""

METHODS = {need: method for method, need in METHOD_NEEDS.items()}


@dataclass(frozen=True)
class SklearnMetric:
    """A metric function or a scorer of scikit-learn; see `sklearn_metric`.

    Attributes:
        function: the function or the scorer.
        needs: what it needs of the model.
        name: its column of the history.
        higher_is_better: the direction in which a model improves, or ``None``.
        is_scorer: whether ``function`` is a scorer, which is called with an estimator.
    """

    function: Callable[..., Any]
    needs: Need
    name: str
    higher_is_better: bool | None
    is_scorer: bool

    def __call__(
        self,
        predicted: Array,
        target: Array,
        sample_weight: Array | None = None,
        *,
        n_classes: int | None = None,
        multilabel: bool = False,
    ) -> Any:
        """Return the number for all rows, computed in host memory; NaN if a prediction is NaN."""
        given, y = to_numpy(predicted), to_numpy(target)
        if given.dtype.kind == "f" and np.isnan(given).any():
            return float("nan")
        if n_classes is not None and not multilabel:
            y = class_indices(y).reshape(-1)
        if self.needs == "probabilities" and not multilabel and not self.is_scorer:
            given = given[:, 1] if given.shape[1] == 2 else given
        weight = None
        if sample_weight is not None and self._takes_weights:
            weight = to_numpy(sample_weight)
        if self.is_scorer:
            return self._scored(given, y, weight, n_classes)
        options: dict[str, Any] = {} if weight is None else {"sample_weight": weight}
        if self._takes_labels and not multilabel and n_classes is not None:
            options["labels"] = list(range(n_classes))  # some may be absent from these rows
        return self.function(y, given, **options)

    @property
    def _takes_weights(self) -> bool:
        """Whether the function, or that of a scorer, has the parameter ``sample_weight``."""
        function = getattr(self.function, "_score_func", self.function)
        return "sample_weight" in _parameters(function)

    @property
    def _takes_labels(self) -> bool:
        if self.needs == "decisions":  # whose averages are over the classes that occur
            return False
        bound = getattr(self.function, "keywords", {})
        return "labels" in _parameters(self.function) and "labels" not in bound

    def _scored(
        self, given: HostArray, y: HostArray, weight: HostArray | None, n_classes: int | None
    ) -> Any:
        """Return the score of an estimator with these predictions."""
        is_signed = n_classes == 2 and bool(y.min() < 0)
        classes = np.array([-1, 1]) if is_signed else np.arange(n_classes or 0)
        estimator = _estimator(classes, {METHODS[self.needs]: lambda X: given})
        X = np.zeros((len(y), 1))
        if weight is None:
            return self.function(estimator, X, y)
        return self.function(estimator, X, y, sample_weight=weight)


def sklearn_metric(
    metric: Callable[..., Any],
    *,
    needs: Need | None = None,
    name: str | None = None,
) -> SklearnMetric:
    """Return a metric function or a scorer of scikit-learn as a metric of xpnet.

    It is computed in host memory, with the sample weights if it has the parameter
    ``sample_weight``.

    Args:
        metric: a function such as ``sklearn.metrics.roc_auc_score``, a `functools.partial` of one,
            or a scorer such as ``sklearn.metrics.get_scorer("neg_log_loss")``, which may be a
            function ``scorer(estimator, X, y)``.
        needs: what a function needs: ``"decisions"``, ``"scores"`` or ``"probabilities"``.
            ``None`` (default) takes it from the name of its second parameter (``y_score``,
            ``pred_decision``, ``y_proba``, ``y_pred``); a scorer says it itself.
        name: the column of the history; default the name of the function and its options.

    Returns:
        The metric. As scikit-learn's names say, higher is better for scorers and functions that
        end in ``_score``, lower for those that end in ``_loss`` and ``_error``.

    Raises:
        ArgumentError: if ``metric`` is a name or not callable, or ``needs`` does not fit.
        MissingExtraError: if scikit-learn is not installed.

    >>> import numpy as np
    >>> from sklearn.metrics import roc_auc_score
    >>> auc = sklearn_metric(roc_auc_score)
    >>> auc.name, auc.needs, float(auc(np.array([0.1, 0.4, 0.3]), np.array([0, 1, 1])))
    ('roc_auc_score', 'scores', 1.0)
    """
    do = "Write sklearn_metric(get_scorer(...))." if isinstance(metric, str) else ""
    is_function = callable(metric) and not isinstance(metric, type)
    require(is_function, "metric", "be a function or a scorer of scikit-learn", metric, do)
    if needs is not None and needs not in NEEDS:
        raise unknown_name("needs", needs, NEEDS)
    inner = getattr(metric, "func", metric)
    if hasattr(inner, "__name__") and next(iter(_parameters(inner)), "") != "estimator":
        found = inner.__name__
        known = {"score": True, "loss": False, "error": False}.get(found.rsplit("_", 1)[-1])
        name = name or _full_name(found, getattr(metric, "keywords", {}))
        return SklearnMetric(metric, needs or _need_of(inner), name, known, False)
    own = _need_of_scorer(metric)
    rule = f"be left out or {own!r}, which the scorer needs"
    require(needs in (None, own), "needs", rule, needs)
    return SklearnMetric(metric, own, name or _scorer_name(metric), True, True)


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _need_of(function: Callable[..., Any]) -> Need:
    """Return what a metric function needs, by its name and that of its second parameter."""
    names = _parameters(function)
    rule = "take the targets and the predictions, as metric functions of scikit-learn do"
    require(len(names) >= 2, "metric", rule, function)
    found = FUNCTION_NEEDS.get(getattr(function, "__name__", ""))
    return found or ARGUMENT_NEEDS.get(names[1], "decisions")


def _need_of_scorer(scorer: Callable[..., Any]) -> Need:
    """Return what a scorer needs: which method of an estimator it calls."""
    called: list[str] = []
    for n_classes in (2, 0):
        answers = {name: _noted(name, called) for name in METHOD_NEEDS}
        estimator = _estimator(np.arange(n_classes), answers)
        with suppress(Exception):  # it has called the method, or is one for other estimators
            scorer(estimator, np.zeros((4, 1)), np.array([0, 1, 0, 1]))
        if called:
            return METHOD_NEEDS[called[0]]
    rule = "be a scorer, which calls predict, decision_function or predict_proba"
    require(False, "metric", rule, Phrase(repr(scorer)))
    raise AssertionError


def _noted(name: str, called: list[str]) -> Callable[[Any], Any]:
    """Return a method that notes that it is called."""
    return lambda X: called.append(name)


def _estimator(classes: HostArray, methods: dict[str, Callable[[Any], Any]]) -> Any:
    """Return an estimator with some methods: a classifier if there are classes."""
    estimator = _estimators()[classes.size > 0]()
    estimator.classes_ = classes
    for name, method in methods.items():
        method.__name__ = name  # which scikit-learn reads
        setattr(estimator, name, method)
    return estimator


def _full_name(name: str, options: Mapping[str, Any]) -> str:
    """Return a name with the options that are texts or numbers, which makes it distinct.

    >>> _full_name("f1_score", {"average": "macro", "zero_division": 0})
    'f1_score_macro_0'
    """
    values = [value for value in options.values() if isinstance(value, (str, int, float))]
    return "_".join(map(str, [name, *values]))


def _scorer_name(scorer: Any) -> str:
    """Return a name made of the function of a scorer, for which there is no public attribute."""
    function = getattr(scorer, "_score_func", scorer)
    name = getattr(function, "__name__", "score")
    sign = "neg_" if getattr(scorer, "_sign", 1) < 0 else ""
    return _full_name(f"{sign}{name}", getattr(scorer, "_kwargs", {}))


@cache
def _estimators() -> dict[bool, Any]:
    """Return classes of estimators with given predictions: classifiers, and regressors.

    Raises:
        MissingExtraError: if scikit-learn is not installed.
    """
    try:
        from sklearn.base import (  # noqa: PLC0415  an optional dependency
            BaseEstimator,
            ClassifierMixin,
            RegressorMixin,
        )
    except ImportError:
        raise MissingExtraError(
            "sklearn_metric needs scikit-learn. Install it: pip install scikit-learn."
        ) from None

    class GivenClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """A classifier that is given its methods."""

        def __sklearn_is_fitted__(self) -> bool:
            return True

    class GivenRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        """A regressor that is given its methods."""

        def __sklearn_is_fitted__(self) -> bool:
            return True

    return {True: GivenClassifier, False: GivenRegressor}
