"""The history of a training: columns that come late, and its CSV file."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from xpnet import MLP, SGD, CrossEntropy, History
from xpnet.errors import ArgumentError

NAMES = ["top,1", 'the "best"', "two\nlines", "größe", " spaces ", "a;b"]


def rows_of(history, tmp_path):
    history.to_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("name", NAMES)
def test_csv_quotes_names(tmp_path, name):
    history = History()
    history.append({"epoch": 1, name: 0.5, "loss": 0.25})
    assert rows_of(history, tmp_path) == [["epoch", name, "loss"], ["1", "0.5", "0.25"]]


# The epochs in which a column has a value, and its cells after four epochs.
COLUMNS = {
    "every second": ([2, 4], ["", "2", "", "4"]),
    "from the second on": ([2, 3, 4], ["", "2", "3", "4"]),
    "the first only": ([1], ["1", "", "", ""]),
    "the second only": ([2], ["", "2", "", ""]),
    "the last only": ([4], ["", "", "", "4"]),
    "all but the last": ([1, 2, 3], ["1", "2", "3", ""]),
    "none": ([], ["", "", "", ""]),
}


@pytest.mark.parametrize("case", COLUMNS)
@pytest.mark.parametrize("by_callback", [True, False])
def test_cells_without_a_value_are_empty(tmp_path, case, by_callback):
    epochs, cells = COLUMNS[case]
    history = History()
    for epoch in range(1, 5):
        row = {"epoch": epoch}
        if epoch in epochs and not by_callback:
            row["norm"] = float(epoch)
        history.append(row)
        if by_callback:
            history.columns.setdefault("norm", [])
            if epoch in epochs:
                history.columns["norm"].append(float(epoch))
    if "norm" in history:
        assert [row[1] for row in rows_of(history, tmp_path)[1:]] == cells
    for values in history.columns.values():
        assert len(values) <= len(history)


def test_values_in_memory_belong_to_their_epochs():
    history = History()
    history.append({"epoch": 1})
    history.append({"epoch": 2, "norm": 2.0})
    history.append({"epoch": 3})
    history.append({"epoch": 4})
    assert [math.isnan(v) for v in history["norm"]] == [True, False, True]
    assert history["norm"][1] == 2.0


def test_value_that_is_nan_is_written(tmp_path):
    history = History()
    history.append({"epoch": 1, "auc": math.nan})
    assert rows_of(history, tmp_path)[1] == ["1", "nan"]


def test_callback_adds_a_column_in_training(tmp_path):
    def norm(run):
        if run.epoch % 2 == 0:
            theta_norm = float(np.linalg.norm(run.model.theta))
            run.history.columns.setdefault("norm", []).append(theta_norm)

    history = MLP(4, [4], 2).fit(
        np.eye(4),
        np.array([0, 1, 0, 1]),
        loss=CrossEntropy(),
        optimizer=SGD(lr=0.1),
        epochs=5,
        callbacks=[norm],
        progress=False,
    )
    head, *rows = rows_of(history, tmp_path)
    assert [bool(row[head.index("norm")]) for row in rows] == [False, True, False, True, False]


def test_too_many_values_name_the_column(tmp_path):
    history = History()
    history.append({"epoch": 1, "norm": 1.0})
    history.columns["norm"].append(2.0)
    with pytest.raises(ArgumentError, match="the column 'norm' of the history must have at most"):
        history.to_csv(tmp_path / "history.csv")
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_previous_file(tmp_path):
    history = History()
    history.append({"epoch": 1, "loss": 0.5})
    history.to_csv(tmp_path / "history.csv")
    before = (tmp_path / "history.csv").read_bytes()
    history.append({"epoch": 2, "loss": "not a number"})
    with pytest.raises(ValueError, match="format code"):
        history.to_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]
