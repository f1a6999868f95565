"""``xpnet train --config`` repeats a run, with other options where they are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import xpnet
from xpnet.errors import ArgumentError, FileFormatError

pytest.importorskip("typer", reason="the extra 'cli' is not installed")
testing = pytest.importorskip("typer.testing")

from xpnet.cli import execution  # noqa: E402
from xpnet.cli.app import app  # noqa: E402
from xpnet.cli.options import TrainingOptions, options_of  # noqa: E402
from xpnet.cli.run_folder import read_config  # noqa: E402
from xpnet.training.resuming import read_training  # noqa: E402


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with a table of two classes and one of numbers; no pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(execution, "write_figures", lambda *given: [])
    x = np.random.default_rng(0).normal(size=(40, 2)).round(3)
    rows = [f"{a},{b},{'uv'[int(a > b)]}" for a, b in x]
    (tmp_path / "words.csv").write_text("\n".join(["a,b,c", *rows, ""]))
    rows = [f"{a},{b},{3 * a - b:.3f}" for a, b in x]
    (tmp_path / "numbers.csv").write_text("\n".join(["a,b,c", *rows, ""]))
    return tmp_path


def xpnet_(*words):
    return testing.CliRunner().invoke(app, [str(word) for word in words])


def done(*words):
    result = xpnet_(*words)
    assert result.exit_code == 0, result.output
    return result


def tensors(run):
    return load_file(Path(run) / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def options(run="run"):
    return json.loads((Path(run) / "config.json").read_text())["options"]


REPEATED = {
    "batches in parts": "words.csv --target c --hidden 4 --epochs 2 --accumulate 3",
    "classes": "words.csv --target c",
    "a regression": "numbers.csv --target c --validation 0 --dtype float64",
    "few rows of digits": "digits --limit 60 --batch-size 30 --epochs 2 --hidden 8",
    "every option": (
        "words.csv --target c --task classification --hidden 6 --hidden 5 --no-batch-norm"
        " --activation leaky-relu:alpha=0.2 --dropout 0.2 --optimizer adam --set beta1=0.8"
        " --set eps=1e-6 --lr 0.002 --schedule linear-warmup:epochs=1,then=cosine --epochs 3"
        " --batch-size 7 --l2 0.001 --seed 4 --test-fraction 0.3 --validation 0.2 --limit 25"
        " --metric f1:average=weighted --metric auc"
    ),
    "no hidden layer": "words.csv --target c --hidden none --epochs 2 --optimizer sgd:lr=0.1",
}


@pytest.mark.parametrize("case", REPEATED)
def test_repeated_run_is_equal_to_the_bit(here, monkeypatch, case):
    words = REPEATED[case].split()
    if "--epochs" not in words:
        words += ["--epochs", "3", "--hidden", "4"]
    done("train", *words, "--out", "run", "--quiet")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    done("train", "--config", "../run/config.json", "--out", "../again", "--quiet")
    assert same(tensors("../run"), tensors("../again"))
    assert options("../run") == options("../again")


def test_parts_of_a_batch_reach_the_training():
    words = "words.csv --target c --hidden 4 --epochs 1 --accumulate 3 --out run --quiet"
    done("train", *words.split())
    assert read_training("run/checkpoint.safetensors").settings["accumulate"] == 3
    result = xpnet_("train", "words.csv", "--target", "c", "--accumulate", 0)
    assert "--accumulate must be an integer of at least 1; got 0." in result.output


def test_number_of_epochs_of_the_run_is_kept():
    done("train", "words.csv", "--target", "c", "--hidden", 3, "--out", "run", "--quiet")
    assert options()["epochs"] == 1000  # by default for so few rows
    words = ["--config", "run/config.json", "--limit", 20, "--epochs", 2, "--out", "again"]
    done("train", *words, "--quiet")
    assert options("again") == options() | {"limit": 20, "epochs": 2}


CHANGED = {
    "nothing": ([], {}),
    "data": (["numbers.csv"], {"data": "numbers.csv"}),
    "a default": (["--seed", "0"], {"seed": 0}),
    "a flag": (["--no-batch-norm"], {"batch_norm": False}),
    "a metric": (["--metric", "f1", "--metric", "brier"], {"metric": ["f1", "brier"]}),
    "a setting": (["--set", "beta2=0.9"], {"settings": ["beta1=0.8", "beta2=0.9"]}),
    "a setting again": (["--set", "beta1=0.7"], {"settings": ["beta1=0.7"]}),
    "the rate": (["--lr", "0.1"], {"lr": 0.1}),
    "the optimizer": (["--optimizer", "sgd"], {"optimizer": "sgd", "lr": None, "settings": []}),
    "optimizer and rate": (
        ["--optimizer", "sgd", "--lr", "0.1"],
        {"optimizer": "sgd", "lr": 0.1, "settings": []},
    ),
}


@pytest.mark.parametrize(("words", "changes"), CHANGED.values(), ids=CHANGED)
def test_given_options_replace_those_of_the_run(here, monkeypatch, words, changes):
    kept = VALID | {"target": "c", "batch_norm": True, "seed": 1}
    kept |= {"settings": ["beta1=0.8"], "lr": 0.01}
    (here / "config.json").write_text(
        json.dumps({"format": 5, "xpnet": xpnet.__version__, "options": kept})
    )
    found = []
    monkeypatch.setattr(execution, "train", lambda options, *given: found.append(options))
    done("train", *words, "--config", "config.json")
    assert vars(found[0]) == kept | changes


def test_config_holds_what_the_run_needs(here):
    words = "words.csv --target c --hidden 4,3 --epochs 2 --dropout 0.1 --backend auto --out run"
    done("train", *words.split(), "--quiet")
    config = read_config(here / "run" / "config.json")
    assert (config["format"], config["status"]) == (5, "finished")
    assert config["options"]["data"] == str(here / "words.csv")
    assert config["options"]["backend"] in ("numpy", "cupy")  # not "auto"
    assert config["options"]["hidden"] == ["4,3"]
    assert config["rows"] == {"training": 32, "test": 8}
    assert {"loss", "accuracy", "auc", "calibration_error"} <= config["test"].keys()


def test_config_of_another_version_warns(here):
    done("train", "words.csv", "--target", "c", "--epochs", 1, "--out", "run", "--quiet")
    path = here / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"xpnet": "0.0.9"}))
    with pytest.warns(UserWarning, match=r"was written by xpnet 0\.0\.9; with the same options"):
        done("train", "--config", path, "--out", "again", "--quiet")


VALID = {
    **{"data": "digits", "target": None, "task": None, "data_dir": None, "hidden": ["4"]},
    **{"activation": "relu", "batch_norm": False, "dropout": 0.1, "optimizer": "adam"},
    **{"lr": None, "settings": [], "schedule": "cosine", "epochs": 2, "batch_size": 32},
    **{"l2": 0.0, "backend": "numpy", "dtype": "float32", "seed": 0, "test_fraction": 0.2},
    **{"validation": 0.1, "limit": None, "metric": ["auc"], "accumulate": 2},
}
DAMAGED = {
    "hidden": ["4", [4], {"a": 1}, None],
    "data": [1, []],
    "batch_norm": [0, "false", None],
    "seed": [True, 0.5, "0", None],
    "epochs": [2.0, False, "2"],
    "dropout": ["0.1", float("nan"), float("inf"), True],
    "l2": [None],
    "settings": ["beta1=0.8", [0.8]],
    "metric": ["auc", [1]],
    "accumulate": [True, 2.0, None],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_options_of_another_type_are_refused(name):
    for value in DAMAGED[name]:
        config = {"format": 5, "options": VALID | {name: value}}
        with pytest.raises(FileFormatError, match="the options of a run; they are damaged"):
            options_of(config, Path("config.json"))


@pytest.mark.parametrize("kept", [None, {}, VALID | {"more": 1}, "text"])
def test_options_that_lack_one_are_refused(kept):
    with pytest.raises(FileFormatError, match="they are damaged"):
        options_of({"format": 5, "options": kept}, Path("config.json"))


def test_valid_options_are_read():
    config = {"format": 5, "xpnet": xpnet.__version__, "options": VALID}
    assert options_of(config, Path("config.json")) == TrainingOptions(**VALID)


@pytest.mark.parametrize(
    ("version", "lacks"), [(3, {"metric": [], "accumulate": 1}), (4, {"accumulate": 1})]
)
def test_options_of_earlier_formats_get_defaults(version, lacks):
    kept = {name: value for name, value in VALID.items() if name not in lacks}
    config = {"format": version, "xpnet": xpnet.__version__, "options": kept}
    found = options_of(config, Path("config.json"))
    assert vars(found) == VALID | lacks
    with pytest.raises(FileFormatError, match="they are damaged"):
        options_of(config | {"format": version + 1}, Path("config.json"))


REFUSED = {
    "no data": (["train"], "DATA must be the name of a data set or a file; got none."),
    "no file": (["train", "--config", "a.json"], "--config must be a file; got a.json, which does"),
    "a folder": (["train", "--config", "."], "--config must be a file; got ., which is a folder."),
    "no config": (["train", "--config", "words.csv"], "must be the config.json of a run"),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_config_that_cannot_be_repeated_is_refused(words, message):
    result = xpnet_(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_bad_options_of_a_config_are_refused():
    with pytest.raises(ArgumentError, match="epochs must be an integer of at least 1; got 0"):
        TrainingOptions(**(VALID | {"epochs": 0})).plan()
