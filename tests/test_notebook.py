"""Notebooks: every plot and history is shown as a picture, and a bar is replaced in its cell."""

from __future__ import annotations

import base64
import os

import pytest

import xpnet
from xpnet.minimize import plots as minimize_plots

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("matplotlib", reason="Matplotlib is not installed")

pytestmark = pytest.mark.slow

SETUP = """
import numpy as np
import xpnet
from xpnet import plots
from xpnet.minimize import BFGS, compare
from xpnet.minimize.functions import Bowl
from xpnet.minimize.plots import plot_convergence, plot_trajectories

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 2))
y = (X[:, 0] > 0).astype(int)
model = xpnet.MLP(2, [4], 2, rng=0)
curve = xpnet.MLP(1, [4], 1, rng=0)
how = {"loss": xpnet.CrossEntropy(), "optimizer": xpnet.Adam(), "validation": 0.5}
how |= {"metrics": [xpnet.metrics.accuracy], "epochs": 3, "rng": 0}
history = model.fit(X, y, progress=False, **how)
given = {"loss": xpnet.CrossEntropy(), "optimizer": xpnet.Adam(), "n_steps": 20}
found = xpnet.learning_rate_range(model, X, y, **given)
results = compare(Bowl(), [BFGS()])
"""

PICTURES = {
    "loss_curve": "plots.loss_curve(history)",
    "metric_curve": "plots.metric_curve(history)",
    "learning_rate_curve": "plots.learning_rate_curve(history)",
    "learning_rate_range": "plots.learning_rate_range(found)",
    "LearningRateRange": "found",
    "decision_regions": "plots.decision_regions(model, X, y, points=20)",
    "predictive_curve": "plots.predictive_curve(curve, X[:, :1], X[:, 1])",
    "confusion_matrix": "plots.confusion_matrix([[3, 1], [0, 2]], ['a', 'b'])",
    "reliability_diagram": "plots.reliability_diagram((model.predict_proba(X), y))",
    "residuals": "plots.residuals(curve.predict(X[:, :1]), X[:, 1:])",
    "layer_histograms": "plots.layer_histograms(xpnet.inspect_layers(model, X))",
    "activation_curves": "plots.activation_curves([xpnet.Tanh(), xpnet.ReLU()])",
    "weight_images": "plots.weight_images(model, (1, 2))",
    "plot_trajectories": "plot_trajectories(Bowl(), results)",
    "plot_convergence": "plot_convergence(results)",
    "History": "history",
    "the figure of axes": "plots.loss_curve(history).figure",
    "a row of axes": "plots.activation_curves([xpnet.Tanh()])[:1]",
}
"""Cells that show one picture; by the name of the function of xpnet."""

PYPLOT = """
import matplotlib.pyplot as plt
plots.loss_curve(history, ax=plt.subplots()[1])
"""

BARS = "model.fit(X, y, callbacks=[lambda run: print(run.epoch)], **how);"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The outputs of an executed notebook, by the source of the cell."""
    sources = [SETUP, *PICTURES.values(), PYPLOT, BARS, "model.fit(X, y, progress='bar', **how);"]
    sources += ["model.fit(X, y, progress=2, **how);"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    folder = tmp_path_factory.mktemp("notebook")
    paths = [os.path.dirname(os.path.dirname(xpnet.__file__)), os.environ.get("PYTHONPATH", "")]
    clean = {"PYTHONPATH": os.pathsep.join(paths), "IPYTHONDIR": str(folder)}
    clean |= {"JUPYTER_RUNTIME_DIR": str(folder), "MPLCONFIGDIR": str(folder)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clean.items():
            patch.setenv(name, value)
        patch.delenv("MPLBACKEND", raising=False)
        resources = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    return {cell.source: cell.outputs for cell in notebook.cells}


def pictures_in(outputs):
    """The pictures that a cell shows."""
    return [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]


def test_every_plot_has_a_cell():
    public = [*xpnet.plots.__all__, *(n for n in vars(minimize_plots) if n.startswith("plot_"))]
    assert sorted(set(public) - set(PICTURES)) == []


@pytest.mark.parametrize("name", PICTURES)
def test_cell_shows_one_picture(cells, name):
    pictures = pictures_in(cells[PICTURES[name]])
    assert len(pictures) == 1
    content = base64.b64decode(pictures[0])
    assert content.startswith(b"\x89PNG")
    folder = os.environ.get("XPNET_PICTURES")
    if folder:  # to look at them
        with open(os.path.join(folder, f"{name}.png"), "wb") as file:
            file.write(content)


def test_history_shows_a_table(cells):
    (output,) = cells["history"]
    assert output.data["text/plain"].startswith("History(3 epochs: loss ")
    assert output.data["text/html"].count("<tr") == 4
    assert "val_accuracy" in output.data["text/html"]


def test_axes_of_pyplot_are_shown_once(cells):
    assert len(pictures_in(cells[PYPLOT])) == 1


def test_bar_is_replaced_by_one_line(cells):
    bar, *printed = cells[BARS]
    assert bar.output_type == "display_data"
    assert bar.data["text/plain"].startswith("epoch 3/3  loss ")
    assert "<progress" not in bar.data["text/html"]
    assert "".join(output.text for output in printed) == "1\n2\n3\n"
    (asked,) = cells["model.fit(X, y, progress='bar', **how);"]
    assert asked.data["text/plain"].startswith("epoch 3/3  loss ")


def test_lines_are_printed_in_a_notebook(cells):
    text = "".join(output.text for output in cells["model.fit(X, y, progress=2, **how);"])
    assert [line[:9] for line in text.splitlines()] == ["epoch 2/3", "epoch 3/3"]
