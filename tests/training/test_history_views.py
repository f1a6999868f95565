"""A history in one line, as HTML, as a picture, as JSON and as a table of pandas."""

from __future__ import annotations

import html.parser
import json
import math
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet import ArgumentError, History, MissingExtraError
from xpnet.training.history_views import best_of, short_number

LATE = [{"loss": 1.0}, {"loss": math.nan, "auc": 0.5}, {"loss": math.inf}, {"loss": 0.25}]


def history_of(rows):
    history = History()
    for epoch, row in enumerate(rows, start=1):
        history.append({"epoch": float(epoch)} | row)
    return history


REPRS = {
    "none": ([], "History(0 epochs)"),
    "one": ([{"loss": 0.5}], "History(1 epoch: loss 0.5000)"),
    "two": (
        [{"loss": 0.5}, {"loss": 1e-7}],
        "History(2 epochs: loss 0.5000 → 1e-07, best loss 1e-07 in epoch 2)",
    ),
    "validation": (
        [
            {"loss": 3.0, "val_loss": 2.0},
            {"loss": 2.0, "val_loss": 1.0},
            {"loss": 1, "val_loss": 4},
        ],
        "History(3 epochs: loss 3.0000 → 1.0000, val_loss 2.0000 → 4.0000, "
        "best val_loss 1.0000 in epoch 2)",
    ),
    "NaN": (
        [{"loss": math.nan}, {"loss": math.nan}],
        "History(2 epochs: loss nan → nan)",
    ),
    "no loss": ([{"auc": 1.0}], "History(1 epoch)"),
}


@pytest.mark.parametrize("name", REPRS)
def test_repr_is_one_line(name):
    rows, expected = REPRS[name]
    assert repr(history_of(rows)) == expected


def test_repr_says_why_training_ended():
    history = History({"epoch": [1.0], "loss": [0.5]}, stopped="no improvement")
    assert repr(history) == "History(1 epoch: loss 0.5000, no improvement)"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"epoch": [math.nan, 2.0], "loss": [0.5, 1.0]}, "best loss 0.5000 in epoch 1"),
        ({"epoch": [1.5, 2.5], "loss": [1.0, 0.5]}, "best loss 0.5000 in epoch 2"),
        ({"epoch": [1, 1], "loss": [1.0, 0.5]}, "best loss 0.5000 in epoch 1"),
        ({"epoch": [1, 2], "loss": [1.0, 0.5, 0.25]}, "best loss 0.5000 in epoch 2"),
        ({"epoch": [1, 2], "loss": [1.0, 0.5], "note": ["a", "b"]}, "best loss 0.5000 in epoch 2"),
    ],
)
def test_views_show_columns_made_by_hand(columns, expected):
    history = History(columns)
    assert expected in repr(history)
    markup = history._repr_html_()
    bold = '<tr style="font-weight:bold">'
    assert markup.count(bold) == 1
    assert (
        f"<td>{min(columns['loss'][:2]):g}</td>" in markup.partition(bold)[2].partition("</tr>")[0]
    )


def test_repr_stays_short():
    history = history_of([{"loss": float(i), "val_loss": i / 3} for i in range(5000)])
    assert len(repr(history)) < 120


BEST = {
    "the first of equal ones": ([2.0, 1.0, 1.0], False, (1.0, 2)),
    "the largest": ([2.0, 3.0, 1.0], True, (3.0, 2)),
    "NaN never": ([math.nan, 2.0, math.nan], True, (2.0, 2)),
    "only NaN": ([math.nan] * 3, False, None),
    "infinity": ([math.inf, 5.0, -math.inf], False, (-math.inf, 3)),
    "late": ([4.0], False, (4.0, 3)),
}


@pytest.mark.parametrize("name", BEST)
def test_best_number_and_its_epoch(name):
    values, maximize, expected = BEST[name]
    history = History({"epoch": [1.0, 2.0, 3.0], "x": values})
    assert best_of(history, "x", maximize) == expected
    assert best_of(history, "y", maximize) is None


class Page(html.parser.HTMLParser):
    """The elements and cells of a table; every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.tags = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_table_has_first_best_and_last_epochs():
    losses = [0.5] * 40
    losses[19] = 0.125
    page = Page(history_of([{"loss": loss} for loss in losses])._repr_html_())
    epochs = [row[0] for row in page.rows]
    dots = "⋮"
    assert epochs == ["epoch", *"12345", dots, "20", dots, "36", "37", "38", "39", "40"]
    assert page.rows[7] == ["20", "0.125", "best"]
    assert [row[-1] for row in page.rows].count("best") == 1


def test_table_escapes_names_and_leaves_cells_empty():
    rows = [{"loss": 1.0}, {"loss": 0.5, "<script>&": 2.0}]
    history = history_of(rows)
    history.stopped = "<i>why</i>"
    page = Page(history._repr_html_())
    assert page.rows[0] == ["epoch", "loss", "<script>&", ""]
    assert page.rows[1] == ["1", "1", "", ""]
    assert not {"script", "i"} & {tag for tag, _ in page.tags}


def test_table_of_an_empty_history():
    assert Page(History()._repr_html_()).rows == [[""]]


def test_picture_has_losses_and_metrics():
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    rows = [{"loss": 1.0, "val_loss": 2.0, "val_auc": 0.5, "lr": 0.1}] * 3
    assert history_of(rows)._repr_png_().startswith(b"\x89PNG")
    assert 'src="data:image/png;base64,' in history_of(rows)._repr_html_()
    assert history_of(LATE)._repr_png_().startswith(b"\x89PNG")
    assert History()._repr_png_() is None


def test_no_picture_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    history = history_of([{"loss": 1.0}] * 3)
    assert history._repr_png_() is None
    assert Page(history._repr_html_()).rows[1][:2] == ["1", "1"]


# Files


def test_json_has_null_where_there_is_no_number(tmp_path):
    history = history_of(LATE)
    history.stopped, history.engine = "größe", "eager"
    text = history.to_json(tmp_path / "history.json")
    assert (tmp_path / "history.json").read_text(encoding="utf-8") == text

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == {
        "columns": {
            "epoch": [1, 2, 3, 4],
            "loss": [1.0, None, None, 0.25],
            "auc": [None, 0.5, None, None],
        },
        "stopped": "größe",
        "engine": "eager",
    }


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=8))
def test_json_has_all_digits(values):
    history = history_of([{"x": value} for value in values])
    assert json.loads(history.to_json())["columns"].get("x", []) == values


def test_json_takes_numbers_of_callbacks():
    history = history_of([{"a": np.float32(0.5), "b": np.int64(3), "c": np.array(2.0), "d": True}])
    columns = json.loads(history.to_json())["columns"]
    assert columns == {"epoch": [1], "a": [0.5], "b": [3.0], "c": [2.0], "d": [1.0]}


def test_json_refuses_what_is_no_number(tmp_path):
    history = history_of([{"x": "text"}])
    with pytest.raises(ArgumentError, match="the column 'x' must hold real numbers; got 'text'"):
        history.to_json(tmp_path / "history.json")
    history = history_of([{"x": 1.0}])
    history.columns["x"].append(2.0)
    with pytest.raises(ArgumentError, match="the column 'x' of the history must have at most"):
        history.to_json()
    assert list(tmp_path.iterdir()) == []


def test_pandas_has_a_row_for_each_epoch():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    table = history_of(LATE).to_pandas()
    expected = pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4],
            "loss": [1.0, math.nan, math.inf, 0.25],
            "auc": [math.nan, 0.5, math.nan, math.nan],
        }
    )
    pd.testing.assert_frame_equal(table, expected)
    assert len(History().to_pandas()) == 0


def test_missing_pandas_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        History().to_pandas()


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(width=32), max_size=3), max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_last_row_is_that_of_all_rows(rows, by_callback):
    """Whichever way values are added to late columns, a logger and the whole file agree."""
    history, last = History(), []
    for epoch, (row, late) in enumerate(zip(rows, by_callback, strict=False), start=1):
        history.append({"epoch": float(epoch)} | ({} if late else row))
        for name in row if late else ():
            history.columns.setdefault(name, []).append(row[name])
        last.append(history.last_row())
    assert [row["epoch"] for row in history.rows()] == list(range(1, len(last) + 1))
    np.testing.assert_equal(history.rows(), last)


def test_table_tells_nan_from_a_missing_number():
    history = History()
    history.append({"epoch": 1, "loss": 0.5, "auc": float("nan")})
    history.append({"epoch": 2, "loss": 0.4, "auc": 0.75, "late": 1.0})
    cells = re.findall("<td>(.*?)</td>", history._repr_html_())
    assert cells == ["1", "0.5", "nan", "", "", "2", "0.4", "0.75", "1", "best"]


@pytest.mark.parametrize("value", [1.6e-19, 0.02, 1.0, 9999.5, 169704.7251, 1.37e30, -5e12])
def test_numbers_are_short_at_every_scale(value):
    text = short_number(value)
    assert len(text) <= 12
    assert float(text) == pytest.approx(value, rel=5e-3)
