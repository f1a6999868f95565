"""Run folders of formats 1 to 5 and of newer ones, and the names in their ``config.json``."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

import xpnet
from xpnet.errors import FileFormatError

pytest.importorskip("typer", reason="the extra 'cli' is not installed")
testing = pytest.importorskip("typer.testing")

from xpnet.cli.app import app  # noqa: E402
from xpnet.cli.run_folder import read_config  # noqa: E402

DATA = Path(__file__).parents[1] / "model" / "data" / "format1"
FORMAT_2 = Path(__file__).parent / "data" / "format2"
FORMAT_3 = Path(__file__).parent / "data" / "format3"
FORMAT_4 = Path(__file__).parent / "data" / "format4"
RUNS = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))["commands"]


def output_of(*words):
    result = testing.CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def number(text, label):
    line = next(line for line in text.splitlines() if line.startswith(label))
    return float(line.removeprefix(label).split()[0])


@pytest.mark.parametrize("name", ["digits", "digits_momentum"])
def test_run_of_format_1_scores_as_recorded(name):
    folder = DATA / "commands" / name
    recorded = json.loads((folder / "config.json").read_text())["test"]["accuracy"]
    assert number(output_of("evaluate", folder, "digits"), "accuracy") == pytest.approx(
        recorded, abs=1e-4
    )


@pytest.mark.parametrize(("name", "file"), [("table", "table.csv"), ("regression", "numbers.csv")])
def test_run_of_format_1_predicts_for_a_file(name, file):
    folder = DATA / "commands" / name
    text = output_of("predict", folder, DATA / file)
    rows = list(csv.reader(text.splitlines()))
    assert rows[0] == [json.loads((folder / "config.json").read_text())["target"]]
    model = xpnet.load(folder / "model.safetensors")
    with (DATA / file).open() as stream:
        records = list(csv.DictReader(stream))
    inputs = [[float(record[key]) for key in list(record)[: model.n_in]] for record in records]
    predicted = model.predict(inputs)
    found = [row[0] for row in rows[1:]]
    assert len(found) == len(records) == 40
    if model.classes is None:
        assert [float(word) for word in found] == pytest.approx(predicted[:, 0].tolist(), rel=1e-5)
    else:
        assert found == predicted.tolist()


def test_run_of_format_2_scores_as_recorded(monkeypatch):
    monkeypatch.chdir(DATA)
    text = output_of("evaluate", FORMAT_2, "table.csv")
    assert number(text, "accuracy") == 0.55  # by the version that wrote it
    table = list(csv.reader(output_of("predict", FORMAT_2, "table.csv").splitlines()))
    assert table[0] == ["name"]
    predicted = Counter(row[0] for row in table[1:])
    assert predicted == {"ash": 14, "elm": 26}


@pytest.mark.parametrize(
    ("folder", "lacks"),
    [(FORMAT_3, {"metric": [], "accumulate": 1}), (FORMAT_4, {"accumulate": 1})],
)
def test_earlier_run_scores_and_is_repeated(tmp_path, monkeypatch, folder, lacks):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "table.csv", tmp_path)
    text = output_of("evaluate", folder, "table.csv")
    assert number(text, "accuracy") == 0.3  # by the version that wrote it
    output_of("train", "--config", folder / "config.json", "--out", "run", "--quiet")
    kept, found = (read_config(path / "config.json") for path in (folder, Path("run")))
    assert found["options"] == kept["options"] | lacks | {"data": str(tmp_path / "table.csv")}


def test_run_of_format_2_cannot_be_repeated():
    result = testing.CliRunner().invoke(app, ["train", "--config", str(FORMAT_2 / "config.json")])
    assert result.exit_code == 2
    assert "must hold the options of a run, which xpnet wrote from format 3 on; got format 2." in (
        result.stderr
    )


PLANS = {
    "digits": {
        "optimizer": "Adam(lr=0.001, beta1=0.8, beta2=0.99, eps=1e-08)",
        "schedule": "ExponentialDecay(rate=0.9)",
        "activation": "LeakyReLU(alpha=0.1)",
    },
    "digits_momentum": {
        "optimizer": "Momentum(lr=0.01, momentum=0.8)",
        "schedule": "ConstantRate()",
        "hidden": [3],
    },
    "table": {"schedule": "LinearWarmup(epochs=0.5, then=ConstantRate())", "dropout": 0.2},
    "regression": {"optimizer": "Adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08)", "l2": 0.001},
}


@pytest.mark.parametrize("name", RUNS)
def test_config_of_format_1_has_the_present_names(name):
    plan = read_config(DATA / "commands" / name / "config.json")["plan"]
    assert plan | PLANS[name] == plan


@pytest.fixture
def config(tmp_path):
    """Write the configuration of a run with changed entries, and return its path."""

    def write(**changes):
        old = json.loads((DATA / "commands" / "digits" / "config.json").read_text())
        path = tmp_path / "config.json"
        path.write_text(json.dumps(old | changes))
        return path

    return write


REFUSED = {
    "rho1": ({"optimizer": "Adam(rho1=0.8)"}, "names rho1 in optimizer: rho1 is named beta1 here."),
    "alpha": ({"optimizer": "Momentum(lr=0.1, alpha=0.8)"}, "alpha is named momentum here."),
    "schedule": ({"schedule": "Constant()"}, "Constant is named ConstantRate here."),
}


@pytest.mark.parametrize(("plan", "message"), REFUSED.values(), ids=REFUSED)
def test_config_of_format_2_refuses_old_names(config, plan, message):
    with pytest.raises(FileFormatError) as error:
        read_config(config(format=2, plan=plan))
    assert str(error.value).endswith(message)


def test_config_of_format_2_keeps_its_names(config):
    plan = {"optimizer": "Adam(beta1=0.8)", "schedule": "ExponentialDecay(rate=0.9)"}
    assert read_config(config(format=2, plan=plan))["plan"] == plan


DAMAGED = {
    "a format of 0": {"format": 0},
    "a format that is text": {"format": "2"},
    "a format that is true": {"format": True},
    "a plan that is a list": {"plan": []},
    "a source that is text": {"source": "digits"},
    "options that are a list": {"options": []},
    "feature names of numbers": {"feature_names": [1]},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_config_is_refused(config, name):
    with pytest.raises(FileFormatError, match=r"config\.json of a run; it is damaged\.$"):
        read_config(config(**DAMAGED[name]))


def test_newer_config_asks_for_a_newer_version(config):
    with pytest.raises(FileFormatError, match=r"got format 6\. Install xpnet 0\.9 or newer\.$"):
        read_config(config(format=6, xpnet="0.9"))


def test_new_run_is_of_format_5(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "table.csv", tmp_path)
    words = "train table.csv --target name --epochs 1 --hidden 3 --out run --quiet --set beta1=0.8"
    output_of(*words.split())
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["format"] == 5
    assert written["plan"]["optimizer"] == "Adam(lr=0.001, beta1=0.8, beta2=0.999, eps=1e-08)"
    assert read_config(tmp_path / "run" / "config.json") == written
