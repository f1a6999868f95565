"""Plots: the drawn data, labels and axes, and invalid arguments."""

import pickle
import sys

import numpy as np
import pytest

from xpnet import (
    GELU,
    MLP,
    Activation,
    ArgumentError,
    CrossEntropy,
    Dense,
    Dropout,
    HalfMSE,
    History,
    Identity,
    LearningRateRange,
    MissingExtraError,
    Perceptron,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Step,
    inspect_layers,
)
from xpnet.figure import new_figure
from xpnet.metrics import confusion_matrix
from xpnet.plots import (
    activation_curves,
    decision_regions,
    layer_histograms,
    learning_rate_curve,
    learning_rate_range,
    loss_curve,
    metric_curve,
    predictive_curve,
    weight_images,
)
from xpnet.plots import confusion_matrix as draw_confusion
from xpnet.plots.style import COLOURS, rgb

COLUMNS = {
    "epoch": [1.0, 2.0, 3.0],
    "loss": [1.0, 0.5, 0.2],
    "val_loss": [1.1, 0.7, 0.6],
    "val_accuracy": [0.5, 0.7, 0.8],
}


@pytest.fixture
def axes():
    figure = pytest.importorskip("matplotlib.figure", reason="Matplotlib is not installed")
    return figure.Figure().add_subplot()


def test_loss_curve_shows_both_losses_in_log_scale(axes):
    assert loss_curve(History(COLUMNS), ax=axes) is axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["training", "validation"]
    for label, column in (("training", "loss"), ("validation", "val_loss")):
        np.testing.assert_array_equal(lines[label].get_xdata(), COLUMNS["epoch"])
        np.testing.assert_array_equal(lines[label].get_ydata(), COLUMNS[column])
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


def test_loss_that_is_not_positive_has_a_linear_axis(axes):
    history = History({"epoch": [1, 2], "loss": [0.1, -0.2]})
    assert loss_curve(history, ax=axes).get_yscale() == "linear"


def test_metric_of_validation_data_alone_is_drawn(axes):
    metric_curve(History(COLUMNS), ax=axes)
    assert [line.get_label() for line in axes.get_lines()] == ["validation"]
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), COLUMNS["val_accuracy"])


def test_learning_rate_axis_is_log_over_a_decade(axes):
    history = History({"epoch": [1, 2], "lr": [0.1, 0.01]})
    assert learning_rate_curve(history, ax=axes) is axes
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), [0.1, 0.01])
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "learning rate")
    steady = History({"epoch": [1, 2], "lr": [0.1, 0.05]})
    assert learning_rate_curve(steady).get_yscale() == "linear"


RATES = np.geomspace(1e-4, 1.0, 20)


@pytest.mark.parametrize("diverged", [False, True])
def test_range_test_shows_losses_and_suggestion(axes, diverged):
    falling = np.array([2.0] * 10 + [1.9, 1.8, 1.2, 1.0, 0.9, 0.9, 1.0, 1.5, 3.0, 800.0])
    losses = falling + 0.1 * (-1) ** np.arange(20)
    found = LearningRateRange(RATES, losses, falling, diverged)
    assert learning_rate_range(found, axes) is axes
    raw, smoothed, dot = axes.get_lines()
    for line, expected in ((raw, losses), (smoothed, falling)):
        np.testing.assert_array_equal(line.get_xdata(), RATES)
        np.testing.assert_array_equal(line.get_ydata(), expected)
    assert dot.get_xdata()[0] == found.suggestion == RATES[12]
    assert dot.get_ydata()[0] == falling[12]
    assert axes.get_xscale() == "log"
    assert (axes.get_ylim()[1] > 800) is not diverged  # a divergent loss is cut off
    assert axes.get_ylim()[0] < losses.min()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["loss of a batch", "smoothed", f"suggestion {RATES[12]:.2g}"]


def test_range_test_without_suggestion_has_no_dot(axes):
    found = LearningRateRange(RATES, np.ones(20), np.ones(20), False)
    assert len(learning_rate_range(found, axes).get_lines()) == 2
    assert found._repr_png_()[1:4] == b"PNG"
    with pytest.raises(
        ArgumentError, match=r"found must be the result of xpnet\.learning_rate_range"
    ):
        learning_rate_range(History(COLUMNS), axes)


def test_short_log_axis_has_decimal_labels(axes):
    loss_curve(History({"epoch": [1, 2], "loss": [0.2, 0.9]}), ax=axes)
    axes.figure.canvas.draw()
    labels = [text.get_text() for text in axes.get_yticklabels(which="both")]
    assert "0.5" in labels


def test_missing_columns_and_epochs_are_refused(axes):
    with pytest.raises(ArgumentError, match="Did you mean 'accuracy'"):
        metric_curve(History(COLUMNS), "acuracy", axes)
    with pytest.raises(ArgumentError, match="at least one epoch"):
        loss_curve(History(), axes)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xpnet\[plots\]'"):
        loss_curve(History(COLUMNS))
    assert LearningRateRange(RATES, RATES, RATES, False)._repr_png_() is None


def test_figures_are_pickled():
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    again = pickle.loads(pickle.dumps(loss_curve(History(COLUMNS))))
    assert len(again.get_lines()) == 2
    assert again._repr_png_() == again.figure._repr_png_()


def test_axes_of_other_projections_are_made():
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    figure = new_figure()
    assert figure.add_subplot(121, projection="polar").name == "polar"
    assert figure.add_subplot(122).name == "rectilinear"


# Predictions

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


class Thirds:
    """Predict class 0, 1 or 2 from the first feature."""

    def predict(self, X):
        return np.minimum(np.floor(3 * np.maximum(X[:, 0], 0)), 2).astype(np.int64)


def test_regions_show_predictions_and_all_rows(axes):
    y = np.array([0, 1, 2, 2])
    assert decision_regions(Thirds(), CORNERS, y, points=31, ax=axes) is axes
    image = axes.get_images()[0].get_array()
    assert image.shape == (31, 31, 3)
    for column, k in ((0, 0), (15, 1), (30, 2)):
        np.testing.assert_allclose(image[:, column], np.tile(rgb(COLOURS[k], 0.3), (31, 1)))
    assert axes.get_xlim() == axes.get_ylim() == (-0.08, 1.08)
    assert axes.get_xlabel() == "$x_1$"
    markers = {c.get_label(): c for c in axes.collections if not c.get_label().startswith("_")}
    assert list(markers) == ["0", "1", "2", "black rim: wrong"]
    np.testing.assert_array_equal(markers["2"].get_offsets(), CORNERS[2:])
    np.testing.assert_array_equal(markers["1"].get_linewidths(), [1.4])  # misclassified
    np.testing.assert_array_equal(markers["2"].get_linewidths(), [0.6, 0.6])


def test_regions_have_the_first_feature_on_the_x_axis(axes):
    class Upper:
        def predict(self, X):
            return (X[:, 1] > 5.0).astype(np.int64)

    decision_regions(Upper(), [[-1.0, 0.0], [1.0, 10.0]], points=11, ax=axes)
    image = axes.get_images()[0]
    assert image.origin == "lower"
    left, right, bottom, top = image.get_extent()
    assert left < -1.1 < 1.1 < right
    assert bottom < -0.7 < 10.7 < top
    np.testing.assert_allclose(image.get_array()[0, 0], rgb(COLOURS[0], 0.3))
    np.testing.assert_allclose(image.get_array()[-1, 0], rgb(COLOURS[1], 0.3))


def test_regions_of_models_on_every_backend(place, axes):
    labels = np.array(["no", "no", "no", "yes"])
    found = Perceptron().fit(place.array(CORNERS), labels)
    decision_regions(found, place.array(CORNERS), labels, points=9, ax=axes)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["no", "yes"]
    model = MLP(2, [4], 3, loss=CrossEntropy(), backend=place.backend)
    decision_regions(model, place.array(CORNERS), place.array(np.array([0, 1, 2, 0])), points=9)


def test_float_labels_match_integer_predictions(axes):
    found = Perceptron().fit(CORNERS, [-1.0, -1.0, -1.0, 1.0])
    decision_regions(found, CORNERS, [-1.0, -1.0, -1.0, 1.0], points=9, ax=axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["-1", "1"]


def test_regions_without_labels_have_white_markers(axes):
    decision_regions(Thirds(), CORNERS, points=5, ax=axes)
    assert axes.get_legend() is None
    np.testing.assert_array_equal(axes.collections[-1].get_facecolor(), [[1, 1, 1, 1]])


def test_predictive_curve_is_drawn_with_the_data(place, axes):
    model = MLP(1, [3], 1, loss=HalfMSE(), backend=place.backend)
    X, y = place.array(np.array([[0.0], [2.0]])), place.array(np.array([1.0, -1.0]))
    assert predictive_curve(model, X, y, ax=axes, points=11) is axes
    predictive_curve(model, X, label="again", ax=axes, points=11)
    data, first, second = axes.get_lines()
    np.testing.assert_array_equal(data.get_xydata(), [[0, 1], [2, -1]])
    np.testing.assert_allclose(first.get_xdata(), np.linspace(-0.16, 2.16, 11))
    expected = place.host(model.predict(np.linspace(-0.16, 2.16, 11)[:, None]))[:, 0]
    np.testing.assert_allclose(first.get_ydata(), expected)
    assert second.get_label() == "again"
    assert first.get_color() != second.get_color()


# Confusion matrix


def test_confusion_matrix_counts_on_every_backend(place):
    target, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])
    expected = [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    found = confusion_matrix(place.array(predicted), place.array(target))
    assert place.backend.owns(found)
    assert place.host(found).tolist() == expected
    rows = place.array(np.eye(3)[target])
    assert place.host(confusion_matrix(place.array(predicted), rows)).tolist() == expected
    wide = confusion_matrix(place.array(predicted), place.array(target), 4)
    assert place.host(wide)[3].tolist() == [0, 0, 0, 0]


def test_confusion_plot_has_counts_names_and_shades(place, axes):
    matrix = place.array(np.array([[3, 1], [0, 0]]))
    assert draw_confusion(matrix, ["cat", "dog"], ax=axes) is axes
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    np.testing.assert_array_equal(axes.get_images()[0].get_array(), [[75, 25], [0, 0]])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_many_classes_have_no_counts(axes):
    draw_confusion(np.eye(30, dtype=int), ax=axes)
    assert len(axes.texts) == 0


@pytest.mark.parametrize(
    ("n", "name"), [(2, "yes"), (4, "a long name of a class "), (15, "class "), (60, "species ")]
)
def test_class_labels_neither_overlap_nor_leave(n, name):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    ax = draw_confusion(np.eye(n, dtype=int), [f"{name}{k}" for k in range(n)])
    ax.figure.draw_without_rendering()
    whole, found = ax.figure.bbox, ax.get_tightbbox()
    assert min(found.x0, found.y0) >= 0
    assert found.x1 <= whole.x1
    assert found.y1 <= whole.y1
    for labels, side in ((ax.get_xticklabels(), "x1"), (ax.get_yticklabels(), "y0")):
        boxes = [label.get_window_extent() for label in labels]
        ends = [getattr(box, side) for box in boxes]
        assert np.abs(np.diff(ends)).min() > labels[0].get_fontsize() * ax.figure.dpi / 72
    rectangle = ax.get_window_extent()
    assert rectangle.width == pytest.approx(rectangle.height, rel=0.15)


def test_very_many_classes_label_some(axes):
    draw_confusion(np.eye(200, dtype=int), ax=axes)
    assert [label.get_text() for label in axes.get_xticklabels()][:3] == ["0", "3", "6"]


# Layers, weights, activations


def test_histograms_show_every_layer_of_every_report(place):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    X = place.array(np.random.default_rng(0).standard_normal((50, 2)))
    y = place.array(np.arange(50) % 2)
    layers = [Dense(4, Sigmoid()), Dropout(0.5), Dense(2)]
    model = Sequential(layers, n_in=2, backend=place.backend, loss=CrossEntropy())
    report = inspect_layers(model, X, y, bins=8)
    for what in ("output", "gradient", "weight_gradient"):
        axes = layer_histograms({"one": report, "two": report}, what)
        assert axes.shape == (2, 3)
        assert [ax.get_title() for ax in axes[0]] == [layer.name for layer in report]
        assert [ax.get_ylabel() for ax in axes[:, 0]] == ["one", "two"]
        steps = axes[0, 0].patches[0].get_data()
        found = getattr(report[0], what)
        np.testing.assert_allclose(steps.values, found.counts / found.counts.sum())
        np.testing.assert_array_equal(steps.edges, found.edges)
        assert axes[0, 0].get_xlim() == (found.edges[0], found.edges[-1])
        assert axes[0, 0].texts[0].get_text().startswith(f"std {found.std:.2g}")
    assert axes[0, 1].texts[0].get_text() == "no weights"
    assert layer_histograms(report[:1], axes=axes[:1, :1]).shape == (1, 1)


def test_histogram_states_saturated_and_dead_units(axes):
    model = Sequential([Dense(2, ReLU())], n_in=1, dtype="float64")
    model.layout.views(model.theta)["layers.0.weight"][...] = [[1.0, -1.0]]
    report = inspect_layers(model, [[1.0], [2.0]])
    layer_histograms(report, axes=[[axes]])
    assert axes.texts[0].get_text().splitlines() == [
        f"std {np.std([1, 2, 0, 0]):.2g}",
        f"spread {np.sqrt(np.mean([0.25, 0])):.2g}",
        "saturated 50 %",
        "dead 50 %",
    ]
    model.theta[...] = np.inf
    (ax,) = layer_histograms(inspect_layers(model, [[1.0], [2.0]])).ravel()
    assert ax.texts[0].get_text().splitlines()[-1] == "not finite 100 %"


def test_weight_images_share_one_colour_scale(place):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    model = Sequential([Activation(ReLU()), Dense(5)], n_in=6, backend=place.backend)
    axes = weight_images(model, (2, 3), n_units=3)
    weight = place.host(model.layout.views(model.theta)["layers.1.weight"])
    assert axes.shape == (2, 2)
    for k, ax in enumerate(axes.ravel()[:3]):
        image = ax.get_images()[0]
        np.testing.assert_array_equal(image.get_array(), weight[:, k].reshape(2, 3))
        assert image.get_clim() == (-np.abs(weight[:, :3]).max(), np.abs(weight[:, :3]).max())
        assert ax.get_title() == f"unit {k}"
    assert not axes[1, 1].get_images()
    assert weight_images(model, (2, 3), axes=axes) is axes


def test_activation_curves_include_derivatives():
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    left, right = activation_curves([Sigmoid(), GELU(), Step()], low=-2, high=2)
    assert [line.get_label() for line in left.get_lines()] == ["Sigmoid", "GELU", "Step"]
    assert [line.get_label() for line in right.get_lines()] == ["Sigmoid", "GELU"]
    assert left.get_xlim() == right.get_xlim() == (-2, 2)
    for value, derivative in zip(left.get_lines(), right.get_lines(), strict=False):
        z, a = value.get_data()
        np.testing.assert_allclose(np.gradient(a, z)[1:-1], derivative.get_ydata()[1:-1], atol=1e-5)
    again = activation_curves(Identity(), axes=(left, right))
    assert again[0] is left


REPORT = inspect_layers(MLP(2, [3], 1), CORNERS)
INVALID = [
    (lambda: learning_rate_curve(History({"epoch": [1], "loss": [1.0]})), "must be one of epoch"),
    (lambda: decision_regions(Thirds(), [[1.0]]), "X must have 2 columns"),
    (lambda: decision_regions(Thirds(), CORNERS, [0, 1]), "y must have one row for each of the 4"),
    (lambda: decision_regions(Thirds(), CORNERS, list("abcd")), "y must hold classes of the kind"),
    (lambda: decision_regions(Thirds(), CORNERS, points=1), "points must be an integer of at leas"),
    (
        lambda: decision_regions(MLP(2, [3], 2), CORNERS),
        "model must predict one class a row; got a float32 array of shape .* needs a loss for clas",
    ),
    (lambda: predictive_curve(MLP(2, [3], 2), CORNERS), "X must have 1 column, as many"),
    (lambda: predictive_curve(MLP(1, [3], 2), [[1.0]]), "model must predict one value a row"),
    (lambda: predictive_curve(MLP(1, [3], 1), [[1.0]], [[1, 2]]), "y must hold one value a row"),
    (lambda: confusion_matrix([0, 1], [0, 1, 1]), "target must have the shape of the predictions"),
    (lambda: confusion_matrix([0.5], [0]), "predicted must hold class indices, .*; got 0.5 in row"),
    (lambda: confusion_matrix([0], [-1]), "target must hold class indices, .*; got -1 in row 0"),
    (lambda: confusion_matrix([0], [2], 2), "n_classes must be above the largest index, 2; got 2"),
    (lambda: draw_confusion([[1, 2]]), "matrix must be square"),
    (lambda: draw_confusion([[-1]]), "matrix must hold counts of at least 0"),
    (lambda: draw_confusion([[1]], ["a", "b"]), "classes must name each of the 1 classes; got 2 "),
    (lambda: layer_histograms({}), "reports must hold at least one report"),
    (lambda: layer_histograms({"a": 3}), "a report must be an InspectionReport; got 3"),
    (
        lambda: layer_histograms({"a": REPORT, "b": REPORT[:1]}),
        "equal numbers of layers; got 1 and 2",
    ),
    (
        lambda: layer_histograms(REPORT, "outputs"),
        "what must be one of .* Did you mean 'output'",
    ),
    (
        lambda: layer_histograms(REPORT, "gradient"),
        "reports must hold gradients to draw a gradient",
    ),
    (lambda: layer_histograms(REPORT, axes=[[1]]), r"axes must be an array of shape \(1, 2\)"),
    (lambda: weight_images(MLP(5, [3], 1)), r"shape must hold the 5 features; got \(2, 2\). Give"),
    (lambda: weight_images(Sequential([Activation(ReLU())], 4)), "must have a layer with weights"),
    (lambda: weight_images("model"), "model must be a Sequential; got 'model'"),
    (lambda: activation_curves([]), "functions must hold at least one activation"),
    (lambda: activation_curves([Softmax()]), r"a function must be elementwise; got Softmax\(\)"),
    (lambda: activation_curves(ReLU), "functions must be"),
    (lambda: activation_curves(ReLU(), low=1, high=0), "high must be a finite number, above 1"),
]


@pytest.mark.parametrize(("call", "message"), INVALID)
def test_invalid_arguments_are_refused(call, message):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    with pytest.raises(ArgumentError, match=message):
        call()
