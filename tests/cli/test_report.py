"""What evaluations print, draw and give to other programs."""

import json
import os
import re

import numpy as np
import pytest

typer_testing = pytest.importorskip("typer.testing", reason="the extra 'cli' is not installed")
sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from helpers.terminal import Terminal  # noqa: E402
from sklearn import metrics as peer  # noqa: E402

import xpnet  # noqa: E402
from xpnet.cli import report  # noqa: E402
from xpnet.cli.app import app  # noqa: E402
from xpnet.cli.evaluation import evaluation_of  # noqa: E402

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(1)
X = RNG.normal(size=(300, 2))
RARE = np.where(X[:, 0] + 0.5 * RNG.normal(size=300) > 1.3, "yes", "no")  # 1 : 9
MANY = RNG.integers(0, 15, 300)
PRICE = 2000 * X[:, 0] + 500 * X[:, 1] + 100 * RNG.normal(size=300)


def write(name, y):
    rows = [f"{a:.6f},{b:.6f},{c}" for (a, b), c in zip(X, y, strict=True)]
    with open(name, "w", encoding="utf-8") as stream:
        stream.write("\n".join(["u,v,y", *rows]) + "\n")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders of a rare class, of many classes and of a regression."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, y in (("rare", RARE), ("many", MANY), ("price", PRICE)):
            write(f"{name}.csv", y)
            words = f"train {name}.csv --target y --hidden 8 --epochs 4 --out {name}".split()
            task = ["--task", "classification"] if name == "many" else []
            (folder / f"{name}.txt").write_text(output_of(*words, *task), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def here(runs, monkeypatch):
    monkeypatch.chdir(runs)


def run(*words):
    return typer_testing.CliRunner().invoke(app, [str(word) for word in words])


def output_of(*words):
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def measured(name, *words):
    return json.loads(output_of("evaluate", name, f"{name}.csv", "--json", *words))


def expected(model, y):
    p, predicted = model.predict_proba(X.astype("float32")), model.predict(X)
    positive = p[:, 1].astype(float)
    return {
        "accuracy": peer.accuracy_score(y, predicted),
        "balanced_accuracy": peer.balanced_accuracy_score(y, predicted),
        "log_loss": peer.log_loss(y, positive),
        "auc": peer.roc_auc_score(y, positive),
        "average_precision": peer.average_precision_score(y, positive, pos_label="yes"),
        "brier": peer.brier_score_loss(y, positive, pos_label="yes"),
    }


def test_a_rare_class_is_reported():
    found = measured("rare")
    model = xpnet.load("rare/model.safetensors")
    for key, value in expected(model, RARE).items():
        assert found["metrics"][key] == pytest.approx(value, rel=1e-5), key
    table = peer.classification_report(RARE, model.predict(X), output_dict=True, zero_division=0)
    for row in found["classes"]:
        same = table[row["class"]]
        assert row["rows"] == same["support"]
        for key, name in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert row[key] == pytest.approx(same[name])
    matrix = peer.confusion_matrix(RARE, model.predict(X), labels=["no", "yes"])
    assert found["confusion_matrix"] == matrix.tolist()
    assert sum(found["reliability"]["weight"]) == found["rows"] == 300


def test_text_shows_the_tables_of_a_classifier():
    text = output_of("evaluate", "rare", "rare.csv")
    for line in (
        "balanced accuracy",
        "log loss",
        "AUC",
        "by class",
        "macro average",
        "reliability",
    ):
        assert f"\n{line}" in text
    assert "confusion matrix: true classes in rows, predicted ones in columns" in text
    assert "test balanced accuracy" in (here_file("rare.txt"))


def here_file(name):
    with open(name, encoding="utf-8") as stream:
        return stream.read()


def test_many_classes_show_their_confusions():
    text = output_of("evaluate", "many", "many.csv")
    assert "confusion matrix" not in text
    lines = text.partition("most frequent confusions\n")[2].partition("\n\n")[0].splitlines()
    assert lines[0].split() == ["class", "predicted", "as", "rows"]
    counts = [int(line.split()[-1]) for line in lines[1:]]
    matrix = np.array(measured("many")["confusion_matrix"])
    np.fill_diagonal(matrix, 0)
    assert counts == np.sort(matrix, axis=None)[::-1][:10].tolist()


def test_very_many_classes_show_the_worst(monkeypatch, capsys):
    monkeypatch.setattr(report, "MAX_CLASSES", 3)
    model = xpnet.load("many/model.safetensors")
    report.print_tables(evaluation_of(model, X, MANY))
    text = capsys.readouterr().out
    assert "by class: the 3 of 15 with the lowest F1" in text
    assert len(text.partition("weighted average")[0].splitlines()) == 7


def test_a_regression_is_in_units_of_its_target():
    found, predicted = measured("price"), xpnet.load("price/model.safetensors").predict(X)
    y = PRICE.astype(float)
    assert found["metrics"]["rmse"] == pytest.approx(peer.root_mean_squared_error(y, predicted))
    assert found["metrics"]["mae"] == pytest.approx(peer.mean_absolute_error(y, predicted))
    assert found["metrics"]["r2"] == pytest.approx(peer.r2_score(y, predicted))
    assert "rows; in the units of y)" in output_of("evaluate", "price", "price.csv")
    assert found.keys() == {"rows", "metrics"}


FIGURES = {
    "rare": {"confusion.png", "reliability.png"},
    "many": {"confusion.png", "reliability.png"},
    "price": {"residuals.png"},
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn(name, tmp_path, runs):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    text = output_of("evaluate", name, f"{name}.csv", "--figures", tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == FIGURES[name]
    assert all(str(tmp_path / figure) in text for figure in drawn)
    assert {path.name for path in (runs / name).glob("*.png")} == drawn | {"loss.png"}
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_metrics_by_name_are_measured_too():
    words = [
        "--metric",
        "f1:average=weighted",
        "--metric",
        "f1:of=yes",
        "--metric",
        "neg_brier_score",
    ]
    found = measured("rare", *words)["metrics"]
    model = xpnet.load("rare/model.safetensors")
    predicted = model.predict(X)
    assert found["f1_weighted"] == pytest.approx(peer.f1_score(RARE, predicted, average="weighted"))
    assert found["f1_yes"] == pytest.approx(peer.f1_score(RARE, predicted, pos_label="yes"))
    assert found["neg_brier_score"] == pytest.approx(-found["brier"], rel=1e-6)
    assert "auc" in measured("rare", "--metric", "AUC")["metrics"]  # once


def test_setting_of_a_default_metric_is_not_lost():
    found = measured("rare", "--metric", "calibration-error:bins=4")["metrics"]
    model = xpnet.load("rare/model.safetensors")
    for name, bins in (("calibration_error", 15), ("calibration_error_4", 4)):
        metric = xpnet.metrics.CalibrationError(bins)
        value = metric(model.predict_proba(X), RARE, classes=("no", "yes"))
        assert found[name] == pytest.approx(float(value), rel=1e-5)
    assert found["calibration_error"] != found["calibration_error_4"]


def test_training_gives_json_and_a_history(runs):
    words = [
        "train",
        "rare.csv",
        "--target",
        "y",
        "--epochs",
        "2",
        "--hidden",
        "4",
        "--out",
        "again",
        "--json",
    ]
    text = output_of(*words, "--metric", "matthews", "--metric", "accuracy")
    found = json.loads(text)
    assert (found["run"], found["status"]) == ("again", "finished")
    assert found["test"]["rows"] == 60
    assert "matthews" in found["test"]["metrics"]
    assert "val_matthews" in here_file("again/history.csv").splitlines()[0].split(",")
    config = json.loads(here_file("again/config.json"))
    assert config["test"] == found["test"]["metrics"]
    assert config["options"]["metric"] == config["plan"]["metrics"] == ["matthews", "accuracy"]
    longer = json.loads(output_of("resume", "again", "--epochs", 3, "--json"))
    assert "matthews" in longer["test"]["metrics"]


def test_numbers_that_are_not_finite_are_null():
    model = xpnet.load("rare/model.safetensors")
    rows = RARE == "no"
    found = evaluation_of(model, X[rows], RARE[rows])
    assert np.isnan(found.measured["auc"])
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["metrics"]["auc"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "nope"], "--metric must be one of accuracy, auc, .*may also be a scorer"),
        (["--metric", "f1:average=odd"], "average must be one of"),
        (["--metric", "f1:of=maybe"], "of must be one of no, yes; got 'maybe'"),
        (["--metric", "accuracy:k=2"], "--metric accuracy must be written without settings"),
        (["--metric", "f1", "--metric", "f1_macro"], "--metric .* once .*; got two of the name f1"),
        (["--metric", "rmse"], "--metric must measure a classification, as auc does; got rmse"),
        (["--metric", "pinball:q=0.9"], "--metric must measure a classification.*pinball_0.9"),
        (["--metric", "neg_mean_gamma_deviance"], "scikit-learn cannot compute a --metric: .*"),
        (["--figures", "nowhere"], "--figures must be an existing folder; got 'nowhere'"),
    ],
)
def test_wrong_options_are_one_line(words, message):
    result = run("evaluate", "rare", "rare.csv", *words)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert re.search(message, result.stderr), result.stderr


def test_training_refuses_a_metric_of_another_task():
    words = ["train", "price.csv", "--target", "y", "--out", "none", "--metric"]
    for name, message in (
        ("f1", "--metric must measure a regression, as rmse does; got f1_macro"),
        ("auc", "--metric must measure a regression, as rmse does; got auc"),
        ("neg_mean_squared_log_error", "scikit-learn cannot compute a --metric: Mean Squared Log"),
    ):
        result = run(*words, name, "--quiet")
        assert result.exit_code == 2
        assert (result.stdout, result.stderr.count("\n")) == ("", 1)
        assert message in result.stderr
    assert not os.path.exists("none")


def printed(capsys, model, X, y):
    report.print_measured("", found := evaluation_of(model, X, y), "y")
    report.print_tables(found)
    return capsys.readouterr().out


def test_undefined_numbers_and_one_row_are_said(capsys):
    model = xpnet.load("rare/model.safetensors")
    text = printed(capsys, model, X[:1], np.array(["no"]))
    assert re.search(r"^accuracy +\d\.\d{4}  \(1 row\)$", text, re.MULTILINE)
    assert re.search(r"^AUC +nan  \(not defined for these rows\)$", text, re.MULTILINE)
    assert re.search(r"^average precision .*\(positive: yes\)$", text, re.MULTILINE)


def test_long_class_names_keep_tables_narrow(capsys):
    names = [f"a class of a very long name that goes on and on, number {k}" for k in range(3)]
    model = xpnet.MLP(2, [], 3, classes=names, loss=xpnet.CrossEntropy())
    text = printed(capsys, model, X[:30], np.array(names * 10))
    assert max(map(len, text.splitlines())) <= 80
    assert all(text.count(f"ber {k}") == 3 for k in range(3))


def test_several_outputs_are_measured_each(capsys):
    y = np.stack([PRICE, 1e-3 * PRICE**2], axis=1)
    model = xpnet.MLP(2, [], 2, loss=xpnet.MSE(), dtype="float64")
    found = evaluation_of(model, X, y)
    predicted = model.predict(X)
    for k, row in enumerate(found.as_json()["outputs"]):
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean((predicted[:, k] - y[:, k]) ** 2)))
        assert row["mae"] == pytest.approx(peer.mean_absolute_error(y[:, k], predicted[:, k]))
        assert row["r2"] == pytest.approx(peer.r2_score(y[:, k], predicted[:, k]))
    assert len(printed(capsys, model, X, y).partition("by output\n")[2].splitlines()) == 3


def test_counts_of_rows_are_integers():
    text = output_of("evaluate", "rare", "rare.csv", "--json")
    assert all(isinstance(row["rows"], int) for row in json.loads(text)["classes"])


def test_titles_are_wider_than_tables(monkeypatch):
    pytest.importorskip("rich", reason="rich is not installed")
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    report.show_table(("a", "b"), [("1", "2")], "a title that is wider than its table")
    assert screen.screen[0] == "a title that is wider than its table"


def test_progress_prints_as_told(tmp_path):
    words = ["train", "rare.csv", "--target", "y", "--hidden", "4", "--out", tmp_path / "run"]
    text = output_of(*words, "--epochs", 5, "--progress", "2")
    assert re.findall(r"^epoch (\d)/5 ", text, re.MULTILINE) == ["2", "4", "5"]
    assert "progress" not in here_file(tmp_path / "run/config.json")
    assert "epoch 7" not in output_of(
        "resume", tmp_path / "run", "--epochs", 7, "--progress", "off"
    )


@pytest.mark.parametrize("how", ["0", "-1", "1.5", "tqdm", ""])
def test_wrong_progress_is_refused(how):
    result = run("train", "rare.csv", "--target", "y", "--progress", how)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--progress must be auto, bar, lines, off, or an integer k" in result.stderr
