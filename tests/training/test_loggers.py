"""The history that grows by a line in every epoch is the file of `History.to_csv`."""

from __future__ import annotations

import pytest

from xpnet.training import CSVLogger, History
from xpnet.training.callbacks import Run

ROWS = {
    "numbers": [{"loss": 0.1 + i / 3, "lr": 1e-3} for i in range(4)],
    "a number that is not finite": [{"loss": value} for value in (1.0, float("nan"), 0.5)],
    "a late column": [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.4, "auc": 0.9}, {"loss": 0.3}],
    "a name with a comma": [{"a,b": 1.0}, {"a,b": 2.0}],
}


@pytest.mark.parametrize("name", ROWS)
def test_file_grows_by_a_line_in_every_epoch(tmp_path, name):
    path, whole, history = tmp_path / "history.csv", tmp_path / "whole.csv", History()
    path.write_text("of an earlier process, torn")
    writer, columns, file = CSVLogger(path), set(), None
    for epoch, numbers in enumerate(ROWS[name], start=1):
        row = {"epoch": float(epoch)} | numbers
        history.append(row)
        writer.epoch(Run(None, epoch, 9, row, history))
        history.to_csv(whole)
        assert path.read_bytes() == whole.read_bytes()
        if columns == history.columns.keys():
            assert path.stat().st_ino == file  # it is appended to, not replaced
        columns, file = set(history.columns), path.stat().st_ino


def test_column_that_is_added_by_a_callback_is_written(tmp_path):
    path, whole, history = tmp_path / "history.csv", tmp_path / "whole.csv", History()
    writer = CSVLogger(path)
    for epoch in range(1, 8):
        row = {"epoch": float(epoch)}
        history.append(row)
        if epoch % 3 == 0:
            history.columns.setdefault("auc", []).append(epoch / 10)
        writer.epoch(Run(None, epoch, 9, row, history))
        history.to_csv(whole)
        assert path.read_bytes() == whole.read_bytes()
