"""The command, in this process: its output, its files and its errors."""

import csv
import gzip
import json
import re
import sys

import numpy as np
import pytest

import xpnet
from xpnet.data import read_table

typer_testing = pytest.importorskip("typer.testing", reason="the extra 'cli' is not installed")

from xpnet import __main__ as entry  # noqa: E402
from xpnet.cli.app import app  # noqa: E402
from xpnet.cli.script import run_script  # noqa: E402

pytestmark = pytest.mark.slow

FLOWERS = ("setosa", "versi,color", "virginica")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a table of flowers and one of houses."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    with open("flowers.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["length", "width", "species"])
        for i in range(90):
            x, y = rng.normal([5 + 2 * (i % 3), 3 - i % 3], 0.3).round(3)
            writer.writerow([x, y, FLOWERS[i % 3]])
    size, rooms = rng.uniform(30, 200, 120), rng.integers(1, 6, 120)
    price = 2000 * size + 15_000 * rooms
    rows = np.stack([size, rooms, price], axis=1)
    np.savetxt("houses.csv", rows, "%.3f", ",", header="size,rooms,price", comments="")
    return tmp_path


def xpnet_(*words):
    return typer_testing.CliRunner().invoke(app, [str(word) for word in words])


def done(*words):
    result = xpnet_(*words)
    assert result.exit_code == 0, result.output
    return result


def refused(*words):
    """Return the only line on stderr of a command that must fail with exit code 2."""
    result = xpnet_(*words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").strip()


def number(text, label):
    line = next(line for line in text.splitlines() if line.startswith(label))
    return float(line.removeprefix(label).split()[0].replace(",", ""))


def test_prices_with_signs_are_no_classes(here):
    text = [f'{i},"${600 + i},{i:03d}"' for i in range(30)]
    (here / "signs.csv").write_text("size,price\n" + "\n".join(text))
    says = refused("train", "signs.csv", "--target", "price", "--out", "run")
    assert says == (
        "the target must have a class of two rows or more; got 30 different strings in 30 rows, "
        "such as '$600,000'. If these are numbers, leave out currencies and separators of "
        "thousands."
    )


@pytest.mark.slow
def test_train_writes_a_complete_run_folder(here):
    text = done("train", "digits", "--hidden", "128,64", "--out", "run").stdout
    assert number(text, "test accuracy") >= 0.97
    assert "Dense(128, ReLU())" in text
    assert "numpy, CPU, float32" in text
    assert text.count("epoch ") == 50
    files = {path.name for path in (here / "run").iterdir()}
    expected = {"model.safetensors", "checkpoint.safetensors", "history.csv", "config.json"}
    assert files - {"loss.png", "confusion.png", "reliability.png"} == expected
    assert [path.name for path in here.glob(".*")] == []
    config = json.loads((here / "run/config.json").read_text())
    assert config["test"]["accuracy"] == pytest.approx(number(text, "test accuracy"), abs=1e-4)
    assert len(read_table("run/history.csv").X) == 50
    again = done("evaluate", "run", "digits").stdout
    assert number(again, "accuracy") == number(text, "test accuracy")


def test_predict_returns_class_names(here):
    done("train", "flowers.csv", "--target", "species", "--out", "run", "--quiet")
    table = list(csv.reader(done("predict", "run", "flowers.csv").stdout.splitlines()))
    truth = read_table("flowers.csv", "species")
    assert table[0] == ["species"]
    assert [row[0] for row in table[1:]] == truth.y.tolist()
    assert number(done("evaluate", "run", "flowers.csv").stdout, "accuracy") == 1.0


def test_predict_matches_columns_by_name(here):
    done("train", "flowers.csv", "--target", "species", "--out", "run", "--quiet")
    X = read_table("flowers.csv", "species").X
    np.savetxt("other.csv", X[:, ::-1], "%.6g", ",", header="width,length", comments="")
    both = [done("predict", "run", name, "--proba").stdout for name in ("flowers.csv", "other.csv")]
    assert both[0] == both[1]
    head, *rows = csv.reader(both[0].splitlines())
    assert head == ["species", *(f"P({name})" for name in FLOWERS)]
    p = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=2e-6)
    assert [FLOWERS[i] for i in p.argmax(axis=1)] == [row[0] for row in rows]


def test_regression_predicts_in_units_of_its_target(here):
    text = done("train", "houses.csv", "--target", "price", "--out", "run").stdout
    assert "regression by 2 features" in text
    assert number(text, "test R²") > 0.98
    table = list(csv.reader(done("predict", "run", "houses.csv").stdout.splitlines()))
    z = np.array(table[1:], float)[:, 0]
    y = read_table("houses.csv", "price").y
    rmse = float(np.sqrt(np.mean((z - y) ** 2)))
    assert number(done("evaluate", "run", "houses.csv").stdout, "RMSE") == pytest.approx(rmse, 1e-3)
    assert rmse < 0.15 * y.std()
    assert "--proba must be used with a classifier; got a regression model." in refused(
        "predict", "run", "houses.csv", "--proba"
    )
    assert "in an existing folder" in refused("predict", "run", "houses.csv", "--out", "a/b.csv")


@pytest.mark.parametrize("offset", [0, 1e9, -1e12])
def test_regression_far_from_zero_keeps_its_digits(here, offset):
    x = np.random.default_rng(0).normal(size=120)
    rows = "".join(f"{a:.4f},{offset + 3 * a:.4f}\n" for a in x)
    (here / "far.csv").write_text("a,c\n" + rows)
    words = "train far.csv --target c --hidden none --out run --quiet"
    text = done(*words.split()).stdout
    assert number(text, "test RMSE") < 0.05
    assert number(text, "test R²") > 0.999
    table = list(csv.reader(done("predict", "run", "far.csv").stdout.splitlines()))
    found = np.array([float(row[0]) for row in table[1:]]) - offset
    np.testing.assert_allclose(found, 3 * x, atol=0.1)


def test_several_targets_predict_in_their_units(here):
    X = np.random.default_rng(0).normal(size=(200, 2))
    y = np.stack([1e6 + 1e5 * X[:, 0], 1e-3 * X[:, 1], np.full(200, 7.0)], axis=1)
    np.savez("three.npz", X=X, y=y)
    words = "train three.npz --hidden none --lr 0.01 --out run --quiet"
    done(*words.split())
    table = list(csv.reader(done("predict", "run", "three.npz").stdout.splitlines()))
    assert table[0] == ["y_0", "y_1", "y_2"]
    found = np.array(table[1:], float)
    assert (np.abs(found - y).max(axis=0) < [1e3, 1e-5, 0.01]).all()


def test_predict_writes_integers_to_a_file(here):
    X = np.random.default_rng(1).normal(size=(60, 2))
    np.savez("sides.npz", X=X, y=np.where(X[:, 0] > 0, 7, 3))
    done("train", "sides.npz", "--out", "run", "--quiet")
    assert done("predict", "run", "sides.npz", "--out", "out.csv").stdout == ""
    table = read_table("out.csv")
    assert set(table.X[:, 0]) == {3.0, 7.0}
    assert (here / "out.csv").read_text().splitlines()[1] in ("3", "7")


def test_options_reach_the_network(here):
    words = "--hidden 16 --hidden 8 --activation leaky-relu:alpha=0.2 --batch-norm --dropout 0.1"
    words += " --optimizer rmsprop --set rho=0.8 --set centered=true --lr 0.002 --l2 0.001"
    words += " --schedule linear-warmup:epochs=1,then=cosine --epochs 2 --batch-size 16"
    words += " --backend numpy --dtype float64 --seed 3 --limit 200 --validation 0 --out run"
    done("train", "digits", *words.split())
    plan = json.loads((here / "run/config.json").read_text())["plan"]
    assert plan["optimizer"] == "RMSProp(lr=0.002, rho=0.8, eps=1e-08, centered=True, norm=False)"
    assert plan["schedule"] == "LinearWarmup(epochs=1.0, then=Cosine(final=0.0))"
    model = xpnet.load("run/model.safetensors")
    assert model.backend.dtype_name == "float64"
    assert [type(layer).__name__ for layer in model.layers] == [
        *["Dense", "BatchNorm", "Activation", "Dropout"] * 2,
        "Dense",
    ]
    assert "LeakyReLU(alpha=0.2)" in repr(model.layers[2])
    assert "penalty" in (here / "run/history.csv").read_text()


@pytest.mark.slow
def test_compare_prints_a_table_and_a_figure(here):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    text = done("compare", "rosenbrock", "bfgs", "newton", "sgd:lr=0.001", "--plot", "p.png").stdout
    assert [line.split()[0] for line in text.splitlines()[3:6]] == ["BFGS", "Newton", "SGD"]
    assert (here / "p.png").read_bytes()[:4] == b"\x89PNG"


REFUSED = {
    "data": (["train", "digist"], "Did you mean 'digits'?"),
    "file": (["train", "no.csv", "--target", "y"], "DATA must be a file; got no.csv"),
    "no target": (["train", "flowers.csv"], "--target must name the column to predict, one of"),
    "target": (["train", "flowers.csv", "--target", "specis"], "Did you mean 'species'?"),
    "task": (["train", "digits", "--task", "clasification"], "Did you mean 'classification'?"),
    "task of words": (
        ["train", "flowers.csv", "--target", "species", "--task", "regression"],
        "Words are classes",
    ),
    "task of fractions": (
        ["train", "houses.csv", "--target", "price", "--task", "classification"],
        "Numbers with fractions need --task regression.",
    ),
    "optimizer": (["train", "digits", "--optimizer", "adm"], "Did you mean 'adam'?"),
    "setting": (["train", "digits", "--set", "rho=0.9"], "must be one of beta1, beta2, eps, lr"),
    "renamed setting": (
        ["train", "digits", "--set", "rho1=0.8"],
        "rho1 is named beta1 here; got rho1=0.8. Write beta1=0.8.",
    ),
    "renamed setting of a method": (
        ["compare", "bowl", "momentum:alpha=0.8"],
        "alpha is named momentum here; got alpha=0.8. Write momentum=0.8.",
    ),
    "no value": (["train", "digits", "--set", "beta1"], "be written KEY=VALUE"),
    "no number": (["train", "digits", "--set", "beta1=a"], "must be a number; got 'a'"),
    "lr": (["train", "digits", "--lr", "-1"], "lr must be a finite number, above 0; got -1.0"),
    "activation": (["train", "digits", "--activation", "rellu"], "Did you mean 'relu'?"),
    "schedule": (["train", "digits", "--schedule", "step-decay"], "write step-decay:every=NUMBER"),
    "widths": (["train", "digits", "--hidden", "6a"], "--hidden must be widths such as 64,64"),
    "backend": (["train", "digits", "--backend", "nunpy"], "Did you mean 'numpy'?"),
    "dtype": (["train", "digits", "--dtype", "float16"], "dtype must be one of"),
    "epochs": (["train", "digits", "--epochs", "0"], "epochs must be an integer of at least 1"),
    "fraction": (["train", "digits", "--test-fraction", "2"], "above 0 and below 1; got 2.0"),
    "too fast": (
        ["train", "digits", "--optimizer", "sgd", "--lr", "1e30", "--quiet"],
        "NaN or infinite in epoch 1",
    ),
    "taken": (["train", "digits", "--out", "."], "--out must be a new or empty folder"),
    "taken by a file": (["train", "digits", "--out", "houses.csv"], "which is a file"),
    "folder as data": (["train", ".csv", "--target", "y"], "DATA must be a file; got .csv, which"),
    "huge feature": (
        ["train", "huge.csv", "--target", "t"],
        "the column 'b' must have magnitudes of at most 1e+150, to be standardized; got 1.5e+308.",
    ),
    "no run": (["evaluate", "nowhere", "digits"], "RUN must be a run folder; got nowhere"),
    "empty run": (["evaluate", ".", "digits"], "be a folder that xpnet train made"),
    "hostile model": (["evaluate", "houses.csv", "digits"], "not a safetensors file"),
    "out": (["train", "digits", "--out", "houses.csv/a"], "--out must be a folder that can be"),
    "function": (["compare", "rosenbrok", "bfgs"], "Did you mean 'rosenbrock'?"),
    "method": (["compare", "bowl", "bfsg"], "Did you mean 'bfgs'?"),
    "picture": (["compare", "bowl", "bfgs", "--plot", "p.gif"], "--plot must end in .png"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_error_is_one_line_and_leaves_no_file(here, words, message):
    (here / ".csv").mkdir()
    (here / "huge.csv").write_text("a,b,t\n" + "1,1.5e308,u\n2,1,v\n" * 20)
    before = sorted(here.rglob("*"))
    assert message in refused(*words)
    assert sorted(here.rglob("*")) == before


def test_run_folder_refuses_data_that_do_not_fit(here):
    done("train", "flowers.csv", "--target", "species", "--out", "run", "--epochs", 1, "--quiet")
    (here / "short.csv").write_text("length\n1\n")
    (here / "new.csv").write_text("length,width,species\n1,2,rose\n")
    assert (
        "must have the feature columns length, width, as in the training; got length."
        in refused("predict", "run", "short.csv")
    )
    assert "got 'rose'" in refused("evaluate", "run", "new.csv")
    assert "X must have 2 columns" in refused("evaluate", "run", "digits")
    (here / "run/config.json").write_text("{")
    assert "it is damaged" in refused("predict", "run", "flowers.csv")


LABELS = {
    "zip codes": ["02134", "00215", "10115"],
    "leading zeros": ["007", "7", "07"],
    "months": ["2024_01", "2024_02", "2024_03"],
    "words and numbers": ["E11", "401", "V45"],
    "fractions": ["1.0", "1.00", "1.5"],
    "huge numbers": ["99999999999999999998", "99999999999999999999", "1"],
    "ids": ["9007199254740993", "9007199254740992", "1"],
    "booleans": ["True", "TRUE", "false"],
    "signs": ["+1", "-1", "0"],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LABELS)
def test_labels_stand_as_in_the_file(here, case):
    labels = LABELS[case]
    rows = "".join(f"{i % 3},{labels[i % 3]}\n" for i in range(90))
    (here / "t.csv").write_text("x,code\n" + rows)
    words = (
        "train t.csv --target code --task classification --hidden 16 --lr 0.01 --out run --quiet"
    )
    done(*words.split())
    table = list(csv.reader(done("predict", "run", "t.csv").stdout.splitlines()))
    assert [row[0] for row in table[1:]] == [labels[i % 3] for i in range(90)]
    assert number(done("evaluate", "run", "t.csv").stdout, "accuracy") == 1.0
    (here / "one.csv").write_text(f"x,code\n0,{labels[0]}\n")
    assert number(done("evaluate", "run", "one.csv").stdout, "accuracy") == 1.0


PREDICTED = {
    "other columns": "id,width,length,species,note\nx,3,5,setosa,\n,3,7,,old\n",
    "an empty target": "length,width,species\n5,3,\n7,3,\n",
    "an index": ",length,width\n0,5,3\n1,7,3\n",
    "semicolons": "length;width\n5,0;3\n7,0;3\n",
    "empty rows": "length,width\n5,3\n7,3\n,\n,\n",
}


@pytest.mark.parametrize("case", PREDICTED)
def test_columns_of_the_training_are_found(here, case):
    done("train", "flowers.csv", "--target", "species", "--out", "run", "--quiet", "--epochs", 2)
    (here / "plain.csv").write_text("length,width\n5,3\n7,3\n")
    (here / "new.csv").write_text(PREDICTED[case])
    words = ["predict", "run", "--proba"]
    assert done(*words, "new.csv").stdout == done(*words, "plain.csv").stdout


def test_delimiter_is_reported(here):
    (here / "s.csv").write_text("a;c\n" + "1;u\n2;v\n" * 20)
    words = "train s.csv --target c --epochs 1 --hidden none --out run"
    assert done(*words.split()).stderr == "s.csv: cells are separated by semicolons\n"


def test_run_is_named_after_the_file_without_suffix(here):
    with gzip.open("packed.csv.gz", "wt") as stream:
        stream.write((here / "flowers.csv").read_text())
    done("train", "packed.csv.gz", "--target", "species", "--epochs", 1, "--quiet")
    (folder,) = (here / "runs").iterdir()
    assert re.fullmatch(r"packed-\d{8}-\d{6}", folder.name)


def test_command_without_its_extra_names_it(monkeypatch, capsys):
    monkeypatch.setattr(entry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 2
    expected = "xpnet's command needs the extra 'cli': pip install 'xpnet[cli]'\n"
    assert capsys.readouterr().err == expected


def test_entry_point_runs_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["xpnet", "--version"])
    monkeypatch.setattr(entry.warnings, "showwarning", entry.warnings.showwarning)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"xpnet {xpnet.__version__}\n"


# --- run ------------------------------------------------------------------------------------------


def test_run_passes_arguments_and_folder_to_a_script(here):
    (here / "helper.py").write_text("WORD = 'found'")
    script = here / "script.py"
    script.write_text("import sys, helper; print(__name__, helper.WORD, sys.argv[1:])")
    known = list(sys.path), sys.argv
    try:
        assert done("run", script, "--epochs", 3).output == "__main__ found ['--epochs', '3']\n"
    finally:
        sys.path[:], sys.argv = known


def test_run_shows_the_traceback_of_a_script(here, capsys):
    script = here / "script.py"
    script.write_text("def f():\n    raise ValueError('mine')\n\nf()")
    known = list(sys.path), sys.argv
    try:
        assert run_script(script, []) == 1
    finally:
        sys.path[:], sys.argv = known
    shown = capsys.readouterr().err
    assert "ValueError: mine" in shown
    assert "runpy" not in shown
    assert "script.py" in shown


def test_run_refuses_a_missing_script(here):
    assert refused("run", "nothing.py") == "SCRIPT must be a file; got 'nothing.py'."
