"""Conformal prediction sets of a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, on_device_of, to_numpy
from xpnet.calibration.classifiers import likelihood_of
from xpnet.calibration.quantile import conformal_quantile, exact_level
from xpnet.calibration.scores import LeastAmbiguous, SetScore
from xpnet.data.prepare import prepare, prepare_features
from xpnet.engine.prediction import prediction_of
from xpnet.errors import require, require_count, require_number
from xpnet.losses import BinaryCrossEntropy
from xpnet.losses.base import refuse_where
from xpnet.model import Sequential
from xpnet.random import Rng, as_generator


@dataclass(frozen=True)
class ConformalSets:
    """Sets of classes that contain the class of a new row with a probability of ``level``.

    `conformal_sets` computes the threshold. It belongs to the model as it was then: a model that is
    trained further needs a new one. All attributes but the model and the score are numbers, which
    `state_dict` returns, so that they can be saved beside the model::

        model.save("model.safetensors")
        xpnet.save_state_dict(sets.state_dict(), "sets.safetensors")

        state = xpnet.load_state_dict("sets.safetensors")
        sets = ConformalSets(xpnet.load("model.safetensors"), LeastAmbiguous(), **state)

    Attributes:
        model: the classifier.
        score: the score, such as `LeastAmbiguous`.
        threshold: the largest score of a class in a set.
        level: the probability with which a set contains the class of its row.
        n_rows: the number of calibration rows.
    """

    model: Sequential
    score: SetScore
    threshold: float
    level: float
    n_rows: int

    def __post_init__(self) -> None:
        _require_score(self.score)
        _require_classifier(self.model)
        require_number(self.threshold, "threshold")
        exact_level(self.level)
        require_count(self.n_rows, "n_rows")

    @property
    def classes(self) -> tuple[Any, ...]:
        """The class of each column of `predict`: the names of the model, else the indices."""
        names = self.model.classes
        return tuple(range(max(self.model.n_out, 2))) if names is None else names

    @property
    def backend(self) -> Backend:
        """The backend of the model."""
        return self.model.backend

    @on_device_of("self")
    def predict(self, X: Array, *, rng: Rng | None = None) -> Array:
        """Whether the set of each row contains each class, booleans ``(m, K)``.

        Args:
            X: raw features ``(m, n_in)``.
            rng: a seed or generator for a randomized score, and ``None`` for any other.

        Returns:
            An array of the backend of the model. The columns are in the order of `classes`.

        Raises:
            ArgumentError: if ``X`` does not fit the model, or ``rng`` not the score.
        """
        output = prediction_of(self.model.state)(*prepare_features(self.model.input_spec, X))
        return _scores(self.model, self.score, output, rng) <= self.threshold

    def labels(self, X: Array, *, rng: Rng | None = None) -> list[tuple[Any, ...]]:
        """The set of each row of ``X`` as a tuple of classes; see `predict`."""
        rows = to_numpy(self.predict(X, rng=rng)).tolist()
        return [
            tuple(c for c, is_in in zip(self.classes, row, strict=True) if is_in) for row in rows
        ]

    @on_device_of("self")
    def coverage(self, X: Array, y: Array, *, rng: Rng | None = None) -> float:
        """The fraction of rows with a set that contains the class.

        On m other rows it varies about its mean, ``level`` or slightly more, with a standard
        deviation of about ``√(level (1 − level) (1/m + 1/n_rows))``.

        Args:
            X: raw features ``(m, n_in)``.
            y: the classes, names or indices.
            rng: see `predict`.

        Raises:
            ArgumentError: if an argument does not fit the model.
        """
        scores = _scores_of_classes(self.model, self.score, X, y, rng)
        return float(np.mean(to_numpy(scores) <= self.threshold))

    def mean_size(self, X: Array, *, rng: Rng | None = None) -> float:
        """The mean number of classes in the sets of the rows of ``X``; see `predict`."""
        return float(np.mean(to_numpy(self.predict(X, rng=rng)).sum(axis=1)))

    def state_dict(self) -> dict[str, Any]:
        """The numbers ``threshold``, ``level`` and ``n_rows``, by name."""
        return {"threshold": self.threshold, "level": self.level, "n_rows": self.n_rows}


@on_device_of("model")
def conformal_sets(
    model: Sequential,
    X: Array,
    y: Array,
    *,
    level: float = 0.9,
    score: SetScore = LeastAmbiguous(),
    rng: Rng | None = None,
) -> ConformalSets:
    """Split-conformal prediction: sets of classes with a given coverage, from calibration rows.

    The set of a row holds the classes with a score of at most `conformal_quantile` of the scores
    ``s(x_i, y_i)`` of the calibration rows. If a new row and these are exchangeable, such as
    independent draws from one distribution, its set contains its class with a probability of at
    least ``level``, and below ``level + 1/(m + 1)`` if no two scores are equal. This holds for any
    model, if it was not trained on these rows, nor selected or scaled by them. The probability is
    the mean over draws of the calibration rows and of the new row; it is not that of a class, or of
    rows of one kind. Weights of rows are not supported.

    Args:
        model: a classifier with the loss `CrossEntropy`, `BinaryCrossEntropy` (of one output) or
            `Distillation`.
        X: raw features of the calibration rows, ``(m, n_in)``.
        y: their classes, names or indices.
        level: the probability, in (0, 1); default 0.9. It needs ``m ≥ level/(1 − level)`` rows, and
            about 1000 for a coverage near it in a single draw.
        score: `LeastAmbiguous` (default), `AdaptiveSets`, or a `SetScore` of your own.
        rng: a seed or generator for a randomized score, and ``None`` for any other.

    Returns:
        The model with the threshold.

    Raises:
        ArgumentError: if an argument breaks its rule, there are too few rows for the level, or a
            probability is NaN.

    Reference: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005; A.
    Angelopoulos, S. Bates, "A Gentle Introduction to Conformal Prediction", 2021.

    >>> from xpnet import CrossEntropy, Dense
    >>> model = Sequential([Dense(2)], n_in=2, loss=CrossEntropy(), classes=["cat", "dog"])
    >>> model.theta = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    >>> X = [[2, 0], [0, 2], [1, 0], [0, 1]]
    >>> sets = conformal_sets(model, X, ["cat", "dog", "cat", "cat"], level=0.6)
    >>> sets.labels([[3, 0], [0, 0], [0, 3]])
    [('cat',), (), ('dog',)]
    """
    exact_level(level)
    _require_score(score)
    _require_classifier(model)
    scores = _scores_of_classes(model, score, X, y, rng)
    threshold = conformal_quantile(scores, level)
    return ConformalSets(model, score, threshold, float(level), int(scores.shape[0]))


def _require_score(score: Any) -> None:
    """Refuse what is no score, such as a class of scores."""
    ok = callable(score) and hasattr(score, "randomized") and not isinstance(score, type)
    require(ok, "score", "be a score such as LeastAmbiguous()", score)


def _require_classifier(model: Sequential) -> None:
    """Refuse a model that does not predict one class a row."""
    one_label = not (isinstance(likelihood_of(model), BinaryCrossEntropy) and model.n_out > 1)
    do = "Its outputs are independent decisions: make sets of each with a model of its own."
    require(one_label, "model", "have one output for BinaryCrossEntropy", model, do)


def _scores(model: Sequential, score: SetScore, output: Array, rng: Rng | None) -> Array:
    """Return the score of each class, ``(m, K)``, for outputs of the network."""
    xp, uniform = model.backend.xp, None
    probabilities = xp.astype(likelihood_of(model).probabilities(output), xp.float64)
    if score.randomized:
        do = "Write rng=0, or another seed or generator."
        require(rng is not None, "rng", "be given for a randomized score", rng, do)
        draws = as_generator(rng).random(output.shape[0])  # type: ignore[arg-type]
        uniform = model.backend.asarray(draws, xp.float64)
    else:
        rule = "be None for a score that is not randomized"
        require(rng is None, "rng", rule, rng, "Or take AdaptiveSets(randomized=True).")
    return score(probabilities, uniform)


def _scores_of_classes(
    model: Sequential, score: SetScore, X: Array, y: Array, rng: Rng | None
) -> Array:
    """Return the score of the class of each row, ``(m,)``, on the backend."""
    loss = likelihood_of(model)
    data = prepare(
        model.input_spec, X, y, loss, classes=model.classes, name_from_one=not model.trained
    ).data
    require(data.y.ndim == 1, "y", "hold one class a row, not probabilities", data.y)
    xp, indices = model.backend.xp, model.backend.xp.astype(data.y, model.backend.xp.int64)
    refuse_where(data.y != indices, data.y, "hold classes, which are 0 or 1")
    output = prediction_of(model.state)(*data.features)
    scores = _scores(model, score, output, rng)
    return xp.take_along_axis(scores, indices[:, None], axis=1)[:, 0]
