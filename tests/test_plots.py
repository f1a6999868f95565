"""The pictures of training hold what they should, and refuse what they cannot draw."""

import sys

import numpy as np
import pytest

from xpnet import ArgumentError, History, MissingExtraError
from xpnet.plots import loss_curve, metric_curve

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


def test_the_loss_curve_shows_both_losses_on_a_logarithmic_axis(axes):
    assert loss_curve(History(COLUMNS), ax=axes) is axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["training", "validation"]
    for label, column in (("training", "loss"), ("validation", "val_loss")):
        np.testing.assert_array_equal(lines[label].get_xdata(), COLUMNS["epoch"])
        np.testing.assert_array_equal(lines[label].get_ydata(), COLUMNS[column])
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


def test_a_loss_that_is_not_positive_has_a_plain_axis(axes):
    history = History({"epoch": [1, 2], "loss": [0.1, -0.2]})
    assert loss_curve(history, ax=axes).get_yscale() == "linear"


def test_a_metric_of_the_validation_data_alone(axes):
    metric_curve(History(COLUMNS), ax=axes)
    assert [line.get_label() for line in axes.get_lines()] == ["validation"]
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), COLUMNS["val_accuracy"])


def test_what_is_not_there_is_refused(axes):
    with pytest.raises(ArgumentError, match="Did you mean 'accuracy'"):
        metric_curve(History(COLUMNS), "acuracy", axes)
    with pytest.raises(ArgumentError, match="at least one epoch"):
        loss_curve(History(), axes)


def test_the_extra_is_named_where_matplotlib_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xpnet\[plots\]'"):
        loss_curve(History(COLUMNS))
