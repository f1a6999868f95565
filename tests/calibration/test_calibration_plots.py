"""Reliability diagrams and plots of residuals: the drawn data, and invalid arguments."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import ArgumentError
from xpnet.calibration import reliability
from xpnet.plots import reliability_diagram, residuals


@pytest.fixture
def axes():
    figure = pytest.importorskip("matplotlib.figure", reason="Matplotlib is not installed")
    return figure.Figure().add_subplot()


def drawn(axes, label):
    """The coordinates of the line with a label."""
    (line,) = [line for line in axes.get_lines() if line.get_label() == label]
    return line.get_xydata()


@pytest.mark.parametrize("is_pair", [False, True])
def test_diagram_shows_the_bins(is_pair, axes, place, rng):
    p, y = rng.dirichlet(np.ones(3), size=40), rng.integers(3, size=40)
    found = reliability(p, y)
    given = (place.array(p), place.array(y)) if is_pair else found
    assert reliability_diagram(given, ax=axes) is axes
    used = found.weight > 0
    expected = np.stack([found.confidence, found.accuracy], axis=1)[used]
    np.testing.assert_allclose(drawn(axes, "accuracy"), expected, rtol=1e-12)
    np.testing.assert_array_equal(drawn(axes, "calibrated"), [[0, 0], [1, 1]])
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, found.weight / found.weight.max() / 4)
    (text,) = axes.texts
    assert text.get_text() == f"ECE {found.ece:.3f}\nMCE {found.mce:.3f}"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("confidence", "accuracy")


def test_diagram_of_an_event_names_frequencies():
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    axes = reliability_diagram(([0.1, 0.9], [0, 1]))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted probability", "frequency")
    np.testing.assert_array_equal(drawn(axes, "frequency"), [[0.1, 0], [0.9, 1]])


@pytest.mark.parametrize("k", [1, 3])
def test_residuals_are_drawn_for_each_target(k, axes, place, rng):
    z, t = rng.normal(size=(2, 30, k))
    assert residuals(place.array(z), place.array(t), ax=axes) is axes
    assert len(axes.collections) == k
    for column, points in enumerate(axes.collections):
        expected = np.stack([z[:, column], (t - z)[:, column]], axis=1)
        np.testing.assert_allclose(points.get_offsets(), expected)
    assert (axes.get_legend() is None) == (k == 1)
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), [0, 0])


def test_many_residuals_are_drawn_as_a_density(axes, rng):
    z = rng.normal(size=20_000)
    residuals(z, 2 * z, ax=axes)
    (hexagons,) = axes.collections
    assert len(hexagons.get_offsets()) < 5000
    assert hexagons.get_array().sum() == 20_000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reliability_diagram(3), "found must be a Reliability or a pair"),
        (lambda: reliability_diagram(([0.5], [0], [1])), "found must be a Reliability or a pair"),
        (lambda: reliability_diagram(([1.5], [0])), "probabilities must be from 0 to 1"),
        (lambda: residuals([1.0, 2.0], [1.0]), r"target must have the shape of the predictions"),
        (lambda: residuals([1.0], ["a"]), "target must hold real numbers"),
        (lambda: residuals([np.nan], [1.0]), "predicted must be finite; got nan in row 0"),
        (lambda: residuals([], []), r"predicted must have the shape \(m,\) or"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    with pytest.raises(ArgumentError, match=message):
        call()
