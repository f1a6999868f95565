"""Plots of predictions: decision regions, curves and confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from xpnet.backend import Array, HostArray, as_array, on_device_of, to_numpy
from xpnet.data.checks import check_features, check_same_length
from xpnet.errors import Phrase, require, require_count
from xpnet.plots.style import (
    BLACK,
    COLOURS,
    GREY,
    MARKERS,
    axes_or_new,
    rgb,
    shortened,
    tidy,
)

MARGIN = 0.08
"""Margin around the data, as a fraction of their range."""

MAX_CLASSES_WITH_COUNTS = 20
"""Maximum number of classes for which a confusion matrix shows its counts."""

MAX_CLASS_LABELS = 70
"""Maximum number of classes that a confusion matrix labels on each side."""

LETTER = 0.085
"""Mean width of a letter of a label, in inches."""


class Predictor(Protocol):
    """A trained model, such as `xpnet.Sequential` or a fitted perceptron."""

    def predict(self, X: Array) -> Array:
        """Return the prediction for each row of ``X``."""
        ...


@on_device_of("model")
def decision_regions(
    model: Predictor,
    X: Array,
    y: Any = None,
    *,
    names: tuple[str, str] = ("$x_1$", "$x_2$"),
    points: int = 301,
    ax: Any = None,
) -> Any:
    """Plot the class that a model of two features predicts at each point, and the data.

    Args:
        model: a trained model of two features with a method ``predict(X)``.
        X: the data, ``(m, 2)``. The plot extends beyond their range by 8 %.
        y: the classes of the data, of the type that the model predicts; misclassified rows have a
            thick black rim. ``None`` (default): the markers are white.
        names: the axis labels of the two features.
        points: the number of grid points along each axis, at least 2; default 301.
        ax: Matplotlib axes; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if ``X`` does not have two columns, ``y`` does not have one class for each
            row, or the model does not predict one class for each row.
        MissingExtraError: if Matplotlib is not installed.

    >>> from xpnet import Perceptron
    >>> X, y = [[0.0, 0.0], [1.0, 1.0]], ["low", "high"]
    >>> ax = decision_regions(Perceptron().fit(X, y), X, y, points=5)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['high', 'low']
    """
    require_count(points, "points", low=2)
    data = as_array(X, "X")
    check_features(data, 2)
    rows = to_numpy(data).astype(np.float64)
    x1, x2 = (_grid(column, points) for column in rows.T)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(x1, x2)], axis=1)
    on_grid, on_rows = _predicted_classes(model, grid), _predicted_classes(model, rows)
    labels = None if y is None else to_numpy(as_array(y, "y"))
    if labels is not None:
        check_same_length(data, labels)
        if labels.dtype.kind == "f" and on_rows.dtype.kind in "iu":
            labels = labels.astype(on_rows.dtype)
        same_kind = (labels.dtype.kind in "OUT") == (on_rows.dtype.kind in "OUT")
        require(same_kind, "y", "hold classes of the kind that the model predicts", labels)
    classes = np.unique(np.concatenate([on_grid, on_rows, *([] if labels is None else [labels])]))
    ax = axes_or_new(ax, (6.5, 4.5))
    _draw_regions(ax, x1, x2, np.searchsorted(classes, on_grid))
    _draw_rows(ax, rows, labels, on_rows, classes)
    ax.set(xlim=x1[[0, -1]], ylim=x2[[0, -1]], xlabel=names[0], ylabel=names[1])
    return ax


@on_device_of("model")
def predictive_curve(
    model: Predictor,
    X: Array,
    y: Any = None,
    *,
    label: str = "prediction",
    points: int = 401,
    ax: Any = None,
) -> Any:
    """Plot the prediction of a model of one feature as a curve, and the data.

    Args:
        model: a trained model of one feature and one output with a method ``predict(X)``.
        X: the data, ``(m, 1)``. The curve extends beyond their range by 8 %.
        y: the targets of the data, ``(m,)`` or ``(m, 1)``; ``None`` (default) draws no data.
        label: the label of the curve in the legend.
        points: the number of points of the curve, at least 2; default 401.
        ax: Matplotlib axes, which may contain the curves of other models; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if ``X`` does not have one column, or the model or ``y`` does not have one
            value for each row.
        MissingExtraError: if Matplotlib is not installed.

    >>> from xpnet import MLP
    >>> ax = predictive_curve(MLP(1, [3], 1), [[0.0], [1.0]], [0.0, 1.0])
    >>> [line.get_label() for line in ax.get_lines()]
    ['data', 'prediction']
    """
    require_count(points, "points", low=2)
    rows = as_array(X, "X")
    check_features(rows, 1)
    x = _grid(to_numpy(rows)[:, 0].astype(np.float64), points)
    curve = to_numpy(as_array(model.predict(x[:, None])))
    require(curve.size == points, "model", "predict one value a row", curve)
    ax = axes_or_new(ax)
    if y is not None:
        values = to_numpy(as_array(y, "y"))
        check_same_length(rows, values)
        require(values.size == values.shape[0], "y", "hold one value a row", values)
        dots = {"color": BLACK, "alpha": 0.5, "markersize": 4, "markeredgewidth": 0}
        ax.plot(to_numpy(rows)[:, 0], values.ravel(), "o", label="data", **dots)
    n_curves = sum(line.get_linestyle() not in ("None", "") for line in ax.get_lines())
    ax.plot(x, curve.ravel(), color=COLOURS[n_curves % len(COLOURS)], linewidth=2, label=label)
    ax.set(xlabel="$x$", ylabel="$y$")
    tidy(ax)
    ax.legend(frameon=False)
    return ax


def confusion_matrix(matrix: Array, classes: Sequence[Any] | None = None, *, ax: Any = None) -> Any:
    """Plot a confusion matrix: counts as numbers, and fractions of each true class as shades.

    Args:
        matrix: counts ``(K, K)``, true classes in rows and predicted classes in columns, such as
            the result of `xpnet.metrics.confusion_matrix`. Counts are shown for up to 20 classes, a
            label for each of up to 70.
        classes: the K class names in the order of their indices; default 0 to K − 1. Those of more
            than 24 characters are shortened.
        ax: Matplotlib axes; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if ``matrix`` is not a square array of counts, or ``classes`` does not have
            one name for each class.
        MissingExtraError: if Matplotlib is not installed.

    >>> ax = confusion_matrix([[3, 1], [0, 4]], ["cat", "dog"])
    >>> [text.get_text() for text in ax.texts]
    ['3', '1', '0', '4']
    """
    counts = to_numpy(as_array(matrix, "matrix"))
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and counts.size > 0
    require(square, "matrix", "be square, with a row and a column for each class", counts)
    ok = counts.dtype.kind in "iuf" and np.all(np.isfinite(counts)) and np.all(counts >= 0)
    require(ok, "matrix", "hold counts of at least 0", counts)
    n = counts.shape[0]
    names = list(map(str, range(n) if classes is None else classes))
    got = Phrase(f"{len(names)} names")
    require(len(names) == n, "classes", f"name each of the {n} classes", got)
    labels = [shortened(name) for name in names]
    # Matplotlib's constrained layout cuts labels off beside axes of a fixed aspect.
    aspect = "equal" if ax is not None else "auto"
    ax = axes_or_new(ax, _matrix_size(labels))
    percent = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect=aspect)
    if n <= MAX_CLASSES_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if percent[row, column] > 55 else "black" if count else GREY
            size = 10 if n <= 10 else 7.5
            text = f"{count:g}" if counts.dtype.kind == "f" else str(count)
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    _label_classes(ax, labels)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.figure.colorbar(image, ax=ax, label="share of the true class (%)", fraction=0.046, pad=0.03)
    return ax


def _matrix_size(labels: Sequence[str]) -> tuple[float, float]:
    """Return the size of a figure, in inches, of which the cells are about square."""
    n, height = len(labels), LETTER * max(map(len, labels))
    side = min(2.2 + 0.45 * n, 10.0)
    below = {0: 0.0, 45: 0.7 * height, 90: height}[_rotation(labels)]
    return side + height + 1.6, side + below + 0.6


def _rotation(labels: Sequence[str]) -> int:
    """Return the angle of the labels below the cells: the least at which they do not overlap."""
    n = len(labels)
    cell = min(2.2 + 0.45 * n, 10.0) / n
    return 0 if LETTER * max(map(len, labels)) < 0.9 * cell else 45 if n <= 20 else 90


def _label_classes(ax: Any, labels: Sequence[str]) -> None:
    """Label rows and columns by their classes; of very many, those that fit."""
    n = len(labels)
    shown = range(0, n, -(-n // MAX_CLASS_LABELS))
    names = [labels[k] for k in shown]
    angle, size = _rotation(labels), 10 if n <= 20 else 8
    place = "right" if angle == 45 else "center"
    mode = "anchor" if angle == 45 else "default"
    ax.set_xticks(shown, names, rotation=angle, ha=place, rotation_mode=mode, fontsize=size)
    ax.set_yticks(shown, names, fontsize=size)
    ax.tick_params(length=0)


def _grid(values: HostArray, points: int) -> HostArray:
    """Return equally spaced points over the range of ``values`` with a margin."""
    low, high = float(values.min()), float(values.max())
    margin = MARGIN * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, points)


def _predicted_classes(model: Predictor, X: HostArray) -> HostArray:
    predicted = to_numpy(as_array(model.predict(X)))
    do = "A Sequential needs a loss for classification."
    require(predicted.shape == X.shape[:1], "model", "predict one class a row", predicted, do)
    return predicted


def _draw_regions(ax: Any, x: HostArray, y: HostArray, index: HostArray) -> None:
    """Fill the regions of the classes, and draw the boundaries between them."""
    index = index.reshape(len(y), len(x))
    fills = np.stack([rgb(colour, 0.3) for colour in COLOURS])
    half_x, half_y = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    extent = (x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y)
    image = fills[index % len(COLOURS)]
    ax.imshow(image, extent=extent, origin="lower", aspect="auto", interpolation="nearest")
    present = np.unique(index)
    for k in present[1:]:
        ax.contour(x, y, (index == k) * 1.0, levels=[0.5], colors=BLACK, linewidths=0.8)


def _draw_rows(
    ax: Any, X: HostArray, labels: HostArray | None, predicted: HostArray, classes: HostArray
) -> None:
    """Draw a marker for each row, in the colour and shape of its class."""
    if labels is None:
        ax.scatter(X[:, 0], X[:, 1], s=22, color="white", edgecolors=BLACK, linewidths=0.8)
        return
    for k, name in enumerate(classes.tolist()):
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        of_class = labels == name
        wrong = predicted[of_class] != name
        ax.scatter(
            X[of_class, 0],
            X[of_class, 1],
            s=38,
            color=colour,
            marker=marker,
            edgecolors=np.where(wrong, "black", "white"),
            linewidths=np.where(wrong, 1.4, 0.6),
            label=str(name),
            zorder=3,
        )
    if (predicted != labels).any():
        style = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.4}
        ax.scatter([], [], s=38, marker="o", label="black rim: wrong", **style)
    # The legend is outside the axes, so that it hides no marker.
    legend = ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title="class")
    for handle in legend.legend_handles[: len(classes)]:
        handle.set(edgecolors="white", linewidths=0.6)
