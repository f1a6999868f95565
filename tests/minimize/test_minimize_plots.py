"""Plots of minimizations contain the data, and invalid results raise an error."""

import sys

import numpy as np
import pytest

from xpnet.errors import ArgumentError, MissingExtraError
from xpnet.minimize import BFGS, LBFGS, Newton, compare, minimize
from xpnet.minimize.functions import Bowl, Rosenbrock
from xpnet.minimize.plots import plot_convergence, plot_trajectories


@pytest.fixture
def axes():
    figure = pytest.importorskip("matplotlib.figure", reason="Matplotlib is not installed")
    return figure.Figure().add_subplot()


def test_plot_shows_trajectories_start_and_minimum(axes):
    results = compare(Bowl(), [BFGS(), LBFGS()])
    assert plot_trajectories(Bowl(), results, ax=axes) is axes
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    assert list(lines) == ["BFGS", "LBFGS", "start", "minimum"]
    path = np.stack([i.x for i in results[0].trajectory])
    np.testing.assert_array_equal(lines["BFGS"], path)
    np.testing.assert_array_equal(lines["start"], [[-7.0, 2.0]])
    np.testing.assert_array_equal(lines["minimum"], [[0.0, 0.0]])
    assert axes.get_xlim() == (-10.0, 10.0)
    assert axes.collections  # the contours


def test_default_window_contains_trajectory(axes):
    result = minimize(lambda x: (x @ x, 2 * x), [1.0, 2.0], BFGS(), keep_trajectory=True)
    plot_trajectories(lambda x: (x @ x, 2 * x), [result], ax=axes)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for iterate in result.trajectory:
        assert left < iterate.x[0] < right
        assert bottom < iterate.x[1] < top


def test_convergence_axis_is_logarithmic(axes):
    results = compare(Rosenbrock(), [BFGS(), Newton()])
    assert plot_convergence(results, least=0.0, ax=axes) is axes
    assert axes.get_yscale() == "log"
    for line, result in zip(axes.get_lines(), results, strict=True):
        heights = [i.value if i.value > 0 else np.nan for i in result.trajectory]
        np.testing.assert_array_equal(line.get_ydata(), heights)
    assert "gradient" in plot_convergence(results).get_ylabel()


def test_results_without_trajectory_raise(axes):
    bare = minimize(Bowl(), (1.0, 1.0))
    big = compare(Rosenbrock(3), [BFGS()])
    for draw in (lambda: plot_convergence([bare]), lambda: plot_trajectories(Bowl(), [])):
        with pytest.raises(ArgumentError, match="Minimize with keep_trajectory=True"):
            draw()
    with pytest.raises(ArgumentError, match="results must have two variables; got 3 var"):
        plot_trajectories(Rosenbrock(3), big, ax=axes)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xpnet\[plots\]'"):
        plot_convergence(compare(Bowl(), [BFGS()]))
