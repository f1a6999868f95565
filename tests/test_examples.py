"""Every example runs with small settings in a new folder, and shows what it claims."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import xpnet

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
FASHION = ROOT.parent / "shared" / "data" / "fashion-mnist"
NOT_RUN = {"reference_report", "lesson"}  # imported by others

needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="Fashion-MNIST is not in ../shared/data: nothing to train on"
)

SMALL = ["--seeds", "2", "--rows", "300", "--epochs", "2", "--out", "here"]


def lesson(*arguments: str) -> tuple[list[str], str, list[str]]:
    """A lesson; one of the claims below reads its table."""
    return ([*arguments, "--out", "here/lesson.png"], "^Wrote here", ["here/lesson.png"])


# name: (arguments, what it prints, the pictures that it writes)
CASES = {
    "perceptron_bound": lesson("--sets", "5"),
    "xor": lesson("--epochs", "200", "--seeds", "5"),
    "approximation_by_hand": lesson("--points", "200"),
    "approximation_by_width": lesson("--epochs", "300", "--seeds", "1", "--largest", "16"),
    "overfitting": lesson("--epochs", "1000"),
    "vanishing_gradients": lesson("--epochs", "3"),
    "initializers_compared": lesson("--epochs", "3"),
    "inside_the_layers": lesson("--rows", "500"),
    "pictures": lesson("--epochs", "3"),
    "batch_norm_learning_rate": lesson("--epochs", "5", "--seeds", "1"),
    "optimizers_compared": lesson("--epochs", "4"),
    "range_test": lesson("--epochs", "2"),
    "averages": lesson("--epochs", "12", "--seeds", "2"),
    "pretraining": lesson("--epochs", "6"),
    "transfer": lesson("--epochs", "100", "--seeds", "3"),
    "distillation": lesson("--epochs", "60", "--seeds", "2"),
    "hints": lesson("--epochs", "60"),
    "calibration": lesson("--epochs", "40"),
    "own_formula": lesson("--epochs", "60"),
    "derivatives": (
        ["--epochs", "300", "--out", "here/lesson.png"],
        r"^hvp beside .* right\n(.*\n)before Hessian +\d\S+ +-\d\S+ +12 .*\n.* -0.00000 +0 ",
        ["here/lesson.png"],
    ),
    "one_word": (["numpy", "--epochs", "3"], r"numpy, CPU, float32: 3 epochs .* 0\.9\d+$", []),
    "one_neuron": lesson("--epochs", "300"),
    "stopped_and_resumed": (
        ["--epochs", "4"],
        r"^interrupted in epoch 3, step 7;.*\nstopped: 2 .*\nresumed: 4 epochs, θ differs by 0$",
        [],
    ),
    "hand_written_loop": lesson("--epochs", "4"),
    "cox": (
        [],
        r"^linear .* 0\.5\d+, beside .* \de-1[3-6]\ntanh 8 .* 0\.7\d+, beside .* \de-1[3-6]$",
        [],
    ),
    "full_batch": (["--passes", "60"], r"^  L-BFGS +60 +0\.1.*\n\nTo .*\n(.*\n)+success +yes$", []),
    "optimizer_trajectories": lesson("--steps", "10"),
    "reference_experiment": (
        ["--data-dir", str(FASHION), *SMALL],
        r"^\| Adam \+ BN \| \*\*0\.\d{4}\*\* \| 0\.\d{4} \| 0\.\d{4} \| \d+\.\d \|$",
        ["here/reference_experiment.png"],
    ),
}
MARKS = {"reference_experiment": [needs_fashion]}


Rows = dict[str, list[float]]


def rows(printed: str) -> Rows:
    """The printed tables: the first cell of a line, and the numbers after it."""
    cells = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in printed.splitlines()]
    number = r"(?<![\w-])\d+(?:\.\d+)?(?:e[+-]\d+)?"
    return {line[0]: [float(n) for n in re.findall(number, line[-1])] for line in cells if line[0]}


def perceptron_keeps_its_bound(table: Rows) -> None:
    for gap in ("0.8", "0.4", "0.2", "0.1"):
        _, mean, most, mean_bound, least_bound = table[gap]
        assert 1 <= mean <= most
        assert least_bound <= mean_bound
    shares = [n[-1] for line, n in table.items() if line.startswith("no count was above")]
    assert 0 < shares[0] <= 1
    (mistakes,) = [n[0] for line, n in table.items() if line.startswith("the picture")]
    assert 1 <= mistakes <= table["at most 100 by the widest margin"][0]


def xor_needs_a_hidden_layer(table: Rows) -> None:
    loss, best, learned, _ = table["0"]
    assert loss == pytest.approx(math.log(2), abs=1e-3)
    assert best <= 0.75
    assert learned == 0
    loss, best, learned, seeds = table["8"]
    assert loss < 0.01
    assert best == 1
    assert learned == seeds


def regions_have_the_areas_of_their_corners(table: Rows) -> None:
    for region in ("a half-plane", "AND: a pentagon", "OR: a star"):
        by_network, by_corners = table[region][-2:]
        assert by_network == pytest.approx(by_corners, abs=0.02)


def error_falls_with_width(table: Rows) -> None:
    assert table["16"][0] < 0.6 * table["2"][0]


def l2_cures_overfitting(table: Rows) -> None:
    few, many, cured, stiff = (
        table[name]
        for name in (
            "too few: 2 units",
            "too many: 100 units",
            "100 units, λ = 0.003",
            "100 units, λ = 0.05",
        )
    )
    assert many[0] < cured[0] < min(few[0], stiff[0])  # on the training data
    assert cured[1] < 0.95 * many[1]  # on the test data
    assert cured[1] < min(few[1], stiff[1])


def sigmoids_lose_the_gradient(table: Rows) -> None:
    first, last, factor, loss, _ = table["sigmoid"]
    assert first < 1e-4 * last
    assert factor == pytest.approx(0.25, abs=0.05)
    assert loss > 2.2
    for name in ("relu", "sigmoid, batch norm"):
        first, last, factor, loss, _ = table[name]
        assert first > 0.1 * last
        assert factor == pytest.approx(1.0, abs=0.1)
        assert loss < 2.0


SETTINGS = ("Zeros", "Ones", "Constant(0.1)", "Normal(0.01)", "Normal(1)", "Uniform(1)")
SETTINGS += ("LecunNormal", "LecunUniform", "FanInUniform", "GlorotNormal", "GlorotUniform")
SETTINGS += ("HeNormal", "HeUniform", "Orthogonal")


def scale_decides_what_is_learned(table: Rows) -> None:
    spread, saturated, loss = ({name: table[name][i] for name in SETTINGS} for i in (2, 3, 4))
    for name in ("Zeros", "Ones", "Constant(0.1)", "Normal(0.01)"):
        assert spread[name] < 1e-3
        assert loss[name] == pytest.approx(math.log(10), abs=0.05)
    assert min(saturated["Normal(1)"], saturated["Uniform(1)"]) > 0.5
    assert spread["FanInUniform"] < 0.3 * spread["LecunNormal"]
    scaled = [name for name in SETTINGS if name.startswith(("Lecun", "Glorot", "He", "Orthogonal"))]
    assert len(scaled) == 7
    assert max(loss[name] for name in scaled) < 1.5


def confusion_is_counted(table: Rows) -> None:
    ((right, total),) = [n for line, n in table.items() if "are named correctly" in line]
    assert 0.8 * total < right < total == 359
    mistakes = [n for line, n in table.items() if re.fullmatch(r"\d", line)]
    assert mistakes
    assert all(taken_for <= 9 and often >= 0 for taken_for, often in mistakes)


def layers_do_what_the_variance_says(table: Rows) -> None:
    # The lines of relu are last, so the table keeps them.
    spread, last, _, _, ratio = table["he"][:5]
    assert 0.3 * spread < last < 3 * spread
    assert 0.3 < ratio < 3
    assert table["zeros"][:5] == [0, 0, 1, 1, 0]
    for name, sign in (("N(0, 1)", 1), ("N(0, 0.01²)", -1)):
        spread, last, _, _, ratio = table[name][:5]
        assert sign * math.log10(last / spread) > 2.5
        assert sign * math.log10(ratio) > 2.5
    assert table["lecun"] == table["glorot"] == table["N(0, 0.1²)"]


def batch_norm_permits_ten_times_the_rate(table: Rows) -> None:
    (line,) = [line for line in table if line.startswith("largest rate")]
    plain, normalized = table[line][-2:]
    assert normalized >= 9.9 * plain


def suggested_rate_is_near_the_best(table: Rows) -> None:
    for name in ("SGD", "Momentum", "Adam"):
        _, accuracy, best, _, ten_times = table[name]
        assert accuracy > best - 0.05
        assert accuracy > ten_times + 0.1


def every_optimizer_is_faster_than_sgd(table: Rows) -> None:
    names = ("Momentum", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
    assert max(table[name][0] for name in names) < table["SGD"][0]
    assert min(table[name][1] for name in names) > table["SGD"][1]


def three_modes_agree(table: Rows) -> None:
    assert table["forward mode"][0] < 1e-14
    (default,), (fixed,) = table["h = eps^(1/3) max(1, |θ|)"], table["h = 1e-8"]
    assert default < 1e-9
    assert fixed > 30 * default


def one_neuron_is_least_squares(table: Rows) -> None:
    (difference,) = [n[-1] for line, n in table.items() if line.startswith("difference")]
    assert difference < 1e-5
    (shares,) = [n[-2:] for line, n in table.items() if line.startswith("mean probability")]
    assert shares[0] == pytest.approx(shares[1], abs=1e-4)


def the_loop_learns(table: Rows) -> None:
    (accuracies,) = [n for line, n in table.items() if line.startswith("test accuracy")]
    assert min(accuracies) > 0.9


def every_method_goes_down(table: Rows) -> None:
    for name in ("SGD", "AdaGrad", "RMSProp", "Momentum", "Nesterov", "Adam"):
        assert table[name][0] < 49 / 20 + 4


def averages_are_better_than_the_last_weights(table: Rows) -> None:
    last, stale = table["the last θ"], table["Polyak, old statistics"]
    for name in ("Polyak", "exponential", "SWA"):
        assert table[name][0] < 0.9 * min(last[0], stale[0])
        assert table[name][1] > last[1]


def pretraining_makes_depth_learn(table: Rows) -> None:
    assert table["all layers at once"][1] < 0.2
    assert table["then fine-tuning"][1] > 0.9


def transfer_helps_where_labels_are_few(table: Rows) -> None:
    assert table["copied and frozen"][1] > table["from scratch"][1] + 0.04  # with 20 labels


def a_soft_teacher_says_more(table: Rows) -> None:
    hard, soft = table["labels alone"], table["teacher, T = 4"]
    assert soft[0] > hard[0] + 0.05
    assert soft[1] > hard[1] + 0.03


def hints_make_a_thin_student_learn(table: Rows) -> None:
    assert table["labels alone"][1] < 0.2
    assert table["hints to layer 3"][1] > 0.5


def calibration_is_honest(table: Rows) -> None:
    trained, calibrated = table["trained"], table["calibrated"]
    assert calibrated[0] > 1
    assert calibrated[1] < trained[1]
    assert calibrated[2] < 0.5 * trained[2]
    assert calibrated[3] == trained[3]
    for name in ("prediction ± q", "prediction ± q σ(x)"):
        assert table[name][0] == pytest.approx(0.9, abs=0.03)
    fixed, wide = (table[name][1] for name in ("prediction ± q", "prediction ± q σ(x)"))
    assert wide < fixed
    assert table["90 %"][-2] == pytest.approx(0.9, abs=0.03)


def quantiles_have_their_shares(table: Rows) -> None:
    for q in (0.1, 0.5, 0.9):
        assert table[f"q = {q:g}"][1] == pytest.approx(q, abs=0.07)


CLAIMS = {
    "averages": averages_are_better_than_the_last_weights,
    "pretraining": pretraining_makes_depth_learn,
    "transfer": transfer_helps_where_labels_are_few,
    "distillation": a_soft_teacher_says_more,
    "hints": hints_make_a_thin_student_learn,
    "calibration": calibration_is_honest,
    "own_formula": quantiles_have_their_shares,
    "one_neuron": one_neuron_is_least_squares,
    "hand_written_loop": the_loop_learns,
    "optimizer_trajectories": every_method_goes_down,
    "derivatives": three_modes_agree,
    "perceptron_bound": perceptron_keeps_its_bound,
    "xor": xor_needs_a_hidden_layer,
    "approximation_by_hand": regions_have_the_areas_of_their_corners,
    "approximation_by_width": error_falls_with_width,
    "overfitting": l2_cures_overfitting,
    "vanishing_gradients": sigmoids_lose_the_gradient,
    "initializers_compared": scale_decides_what_is_learned,
    "pictures": confusion_is_counted,
    "inside_the_layers": layers_do_what_the_variance_says,
    "range_test": suggested_rate_is_near_the_best,
    "batch_norm_learning_rate": batch_norm_permits_ten_times_the_rate,
    "optimizers_compared": every_optimizer_is_faster_than_sgd,
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    more = {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "MPLBACKEND": "Agg"}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Run an example in this process, in a new folder, and return what it prints.

    Warnings are errors, as in `run`. What an interpreter has only once is restored: modules of the
    examples, and the settings of Matplotlib.
    """
    modules = set(sys.modules)

    def run(name: str, *arguments: str) -> str:
        script = str(EXAMPLES / f"{name}.py")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MPLBACKEND", "Agg")
        monkeypatch.syspath_prepend(EXAMPLES)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        drawing = importlib.util.find_spec("matplotlib")
        with importlib.import_module("matplotlib").rc_context() if drawing else nullcontext():
            runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out

    yield run
    for name in {path.stem for path in EXAMPLES.glob("*.py")} - modules:
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MARKS.get(name, ())) for name in sorted(CASES)]
)
def test_example_prints_and_draws_its_claim(
    name: str, tmp_path: Path, run_here: Callable[..., str]
):
    arguments, printed, pictures = CASES[name]
    if pictures:
        pytest.importorskip("matplotlib", reason="Matplotlib is not installed: no pictures")
    output = run_here(name, *arguments)
    assert re.search(printed, output, re.MULTILINE), output
    for picture in pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    if name in CLAIMS:
        CLAIMS[name](rows(output))


@pytest.mark.slow
def test_example_runs_as_a_script(tmp_path: Path):
    """In an interpreter of its own, in which nothing is imported yet."""
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed: no pictures")
    arguments, printed, _ = CASES["one_neuron"]
    done = run(tmp_path, str(EXAMPLES / "one_neuron.py"), *arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(printed, done.stdout, re.MULTILINE), done.stdout


def test_every_example_is_run_and_listed():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(CASES) | NOT_RUN
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {name for name in names if f"{name}.py" in listed} == names


def test_every_picture_is_shown_and_small():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for picture in sorted((ROOT / "docs" / "lessons").glob("*.png")):
        assert f"](../docs/lessons/{picture.name})" in listed, picture.name
        assert picture.stat().st_size < 120_000, picture.name


@pytest.mark.slow
def test_example_without_a_gpu_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("XPNET_FALLBACK", raising=False)
    done = run(tmp_path, str(EXAMPLES / "one_word.py"), "cupy")
    assert done.returncode == 1
    assert done.stderr.startswith("backend 'cupy' does not work here: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@needs_fashion
def test_reference_experiment_names_missing_data(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed: no pictures")
    script = str(EXAMPLES / "reference_experiment.py")
    done = run(tmp_path, script, "mnist", "--data-dir", str(FASHION))
    assert done.returncode == 1
    assert done.stderr == f"{FASHION} does not hold the files of mnist.\n"


def test_cox_refuses_weights_which_it_cannot_use():
    loss = runpy.run_path(str(EXAMPLES / "cox.py"))["CoxEfron"]()
    z, y = np.zeros((2, 1)), np.array([[1.0, 1.0], [2.0, 1.0]])
    assert loss.value(z, y) == pytest.approx(math.log(2) / 2)
    with pytest.raises(xpnet.ArgumentError, match=r"^sample_weight must be left out for CoxEfron"):
        loss.value(z, y, np.ones(2))
