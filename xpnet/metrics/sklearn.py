"""Metric functions and scorers of scikit-learn as metrics of xpnet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, to_numpy
from xpnet.errors import MissingExtraError, Phrase, require, unknown_name
from xpnet.metrics.arrays import class_indices
from xpnet.metrics.binding import is_of
from xpnet.metrics.protocol import NEEDS, Need, innermost

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
"""The functions that take probabilities as ``y_pred``."""

METHOD_NEEDS: dict[str, Need] = {
    "predict": "decisions",
    "decision_function": "scores",
    "predict_proba": "probabilities",
}
"""What the methods of an estimator return, which a scorer calls."""

CLASS_OPTIONS = "pos_label", "labels"
"""The options of metric functions and scorers that hold classes."""

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
        classes: the class names that a scorer is given instead of indices; default none.
    """

    function: Callable[..., Any]
    needs: Need
    name: str
    higher_is_better: bool | None
    is_scorer: bool
    classes: tuple[Any, ...] | None = None

    def resolved(self, classes: Sequence[Any] | None) -> SklearnMetric:
        """Return the metric that takes the class names in its options, if there are names.

        Raises:
            ArgumentError: if the options ``pos_label`` and ``labels`` of a function name another
                class.
        """
        options = _options(self.function)
        found = {name: options[name] for name in CLASS_OPTIONS if options.get(name) is not None}
        if classes is None or not found:
            return self
        if self.is_scorer:
            names = [x for value in found.values() for x in np.ravel(value).tolist()]
            return replace(self, classes=tuple(classes) if set(names) <= set(classes) else None)
        indices = {name: _indices_of(value, classes, name) for name, value in found.items()}
        return replace(self, function=partial(self.function, **indices))

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
            if n_classes == 2 and y.dtype.kind == "f":
                y = np.where((y > 0) & (y < 1), y > 0.5, y)  # probabilities
        if n_classes is not None and not multilabel and not self.is_scorer:
            given = self._of_event(given)
        weight = None
        if sample_weight is not None and self._takes_weights:
            weight = to_numpy(sample_weight)
        if self.is_scorer:
            return self._scored(given, y, weight, n_classes)
        options: dict[str, Any] = {} if weight is None else {"sample_weight": weight}
        if self._takes_labels and not multilabel and n_classes is not None:
            options["labels"] = list(range(n_classes))  # some may be absent from these rows
        return self.function(y, given, **options)

    def _of_event(self, given: HostArray) -> HostArray:
        """Return scores or probabilities of two classes as those of ``pos_label``, ``(m,)``."""
        is_first = _options(self.function).get("pos_label") in (0, -1)
        if self.needs == "scores" and given.ndim == 1:
            return -given if is_first else given
        if self.needs == "probabilities" and given.shape[1] == 2:
            return given[:, 0 if is_first else 1]
        return given

    @property
    def _takes_weights(self) -> bool:
        """Whether the function, or that of a scorer, has the parameter ``sample_weight``."""
        function = getattr(self.function, "_score_func", self.function)
        return "sample_weight" in _parameters(function)

    @property
    def _takes_labels(self) -> bool:
        if self.needs == "decisions":  # averaged over the classes that occur
            return False
        return "labels" in _parameters(self.function) and "labels" not in _options(self.function)

    def _scored(
        self, given: HostArray, y: HostArray, weight: HostArray | None, n_classes: int | None
    ) -> Any:
        """Return the score of an estimator with these predictions."""
        is_signed = n_classes == 2 and bool(y.min() < 0)
        classes = np.array([-1, 1]) if is_signed else np.arange(n_classes or 0)
        if self.classes is not None:
            classes = np.array(self.classes)
            y = classes[y.astype(np.int64)]
            given = classes[given.astype(np.int64)] if self.needs == "decisions" else given
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
    ``sample_weight``. Classes are their indices, or ±1; of probabilities as targets the largest in
    a row determines the class. In ``pos_label`` and ``labels`` classes may have their names.

    Args:
        metric: a function such as ``sklearn.metrics.roc_auc_score``, a `functools.partial` of one,
            any function ``f(y_true, y_pred)``, or a scorer such as
            ``sklearn.metrics.get_scorer("neg_log_loss")``, which may be a function
            ``scorer(estimator, X, y)``.
        needs: what a function needs: ``"decisions"``, ``"scores"`` or ``"probabilities"``.
            ``None`` (default) takes it from the name of its second parameter (``y_score``,
            ``pred_decision``, ``y_proba``, ``y_pred``), and probabilities with the option
            ``multi_class``; a scorer says it itself.
        name: the column of the history; default the name of the function and its options.

    Returns:
        The metric. As scikit-learn's names say, higher is better for scorers and functions that
        end in ``_score``, lower for those that end in ``_loss`` and ``_error``.

    Raises:
        ArgumentError: if ``metric`` is a name, not callable or of xpnet, or ``needs`` does not fit.
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
    inner = innermost(metric)
    rule = "be of scikit-learn, or have its order of arguments"
    require(not is_of(inner, "xpnet"), "metric", rule, metric, "Pass those of xpnet as they are.")
    if needs is not None and needs not in NEEDS:
        raise unknown_name("needs", needs, NEEDS)
    if hasattr(inner, "__name__") and not _is_scorer_function(inner):
        found = inner.__name__
        known = {"score": True, "loss": False, "error": False}.get(found.rsplit("_", 1)[-1])
        options = _options(metric)
        name = name or _full_name(found, options)
        return SklearnMetric(metric, needs or _need_of(inner, options), name, known, False)
    own = _need_of_scorer(metric)
    rule = f"be left out or {own!r}, which the scorer needs"
    require(needs in (None, own), "needs", rule, needs)
    return SklearnMetric(metric, own, name or _scorer_name(metric), True, True)


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _is_scorer_function(function: Callable[..., Any]) -> bool:
    """Return whether a function takes an estimator, features and targets."""
    parameters = inspect.signature(function).parameters.values()
    names = [
        x.name for x in parameters if x.kind is x.POSITIONAL_OR_KEYWORD and x.default is x.empty
    ]
    return len(names) >= 3 or names[:1] == ["estimator"]


def _options(metric: Any) -> Mapping[str, Any]:
    """Return the options of a partial or a scorer, for which there is no public attribute."""
    found: Mapping[str, Any] = getattr(metric, "keywords", getattr(metric, "_kwargs", {}))
    return found


def _indices_of(value: Any, classes: Sequence[Any], option: str) -> Any:
    """Return the index of a class, or of each, of which the name or the index is given."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_indices_of(x, classes, option) for x in np.ravel(value).tolist()]
    if value in classes:
        return list(classes).index(value)
    if not isinstance(value, (int, np.integer)) or not 0 <= value < len(classes):
        raise unknown_name(option, value, list(map(str, classes)))
    return int(value)


def _need_of(function: Callable[..., Any], options: Mapping[str, Any]) -> Need:
    """Return what a metric function needs, by its name, its options and its second parameter."""
    names = _parameters(function)
    rule = "take the targets and the predictions, as metric functions of scikit-learn do"
    require(len(names) >= 2, "metric", rule, function)
    if options.get("multi_class", "raise") != "raise":  # averages of `roc_auc_score`
        return "probabilities"
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
    return _full_name(f"{sign}{name}", _options(scorer))


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
