"""What a training prints: bars, lines, and what remains of them."""

from __future__ import annotations

import io
import math
import re
import signal
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.terminal import Terminal

import xpnet
from xpnet import MLP, SGD, ArgumentError, CrossEntropy, EarlyStopping, History, MissingExtraError
from xpnet.minimize import LBFGS
from xpnet.training import progress_bar
from xpnet.training.callbacks import Run
from xpnet.training.progress_bar import BarView, ProgressBar, clock
from xpnet.training.screens import NotebookScreen, TerminalScreen, global_console

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 2
HOW = {"loss": CrossEntropy(), "optimizer": SGD(lr=0.1), "epochs": 7, "batch_size": 8, "rng": 0}


def fit(**settings):
    return MLP(3, [4], 2, rng=0).fit(X, Y, **HOW | settings)


def shown(text):
    """The numbers of the epochs of which lines are shown."""
    return [int(line[6:].split("/")[0]) for line in text.splitlines() if line.startswith("epoch")]


class TrainingTerminal(Terminal):
    """A terminal on which models are trained."""

    def call(self, function, *arguments, **settings):
        """Call a function while standard output is this terminal."""
        try:
            with redirect_stdout(self):
                try:
                    return function(*arguments, **settings)
                finally:
                    assert sys.stdout is self  # no redirection remains
        finally:
            assert self.shows_cursor

    def fit(self, **settings):
        return self.call(fit, **settings)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal with rich, on which a bar is drawn after every step."""
    rich = pytest.importorskip("rich", reason="rich is not installed")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(progress_bar, "INTERVAL", 0.0)
    monkeypatch.setattr(progress_bar, "REST", 0.0)
    monkeypatch.setattr(rich, "_console", None)
    return TrainingTerminal()


# Lines


@pytest.mark.parametrize("value", ["bars", "", 0, -1, 1.5, None, [1], b"bar", np.array([1, 2])])
@pytest.mark.parametrize("optimizer", [SGD(), LBFGS()])
def test_other_values_are_refused(value, optimizer):
    settings = {"optimizer": optimizer, "progress": value}
    if isinstance(optimizer, LBFGS):
        settings["batch_size"] = None
    with pytest.raises(ArgumentError, match='progress must be True, False, "bar", "lines", or an'):
        fit(**settings)


LINES = {
    "automatic": (True, [1, 2, 3, 4, 5, 6, 7]),
    "lines": ("lines", [1, 2, 3, 4, 5, 6, 7]),
    "1": (1, [1, 2, 3, 4, 5, 6, 7]),
    "3": (3, [3, 6, 7]),
    "a NumPy integer": (np.int64(4), [4, 7]),
    "more than there are": (100, [7]),
    "nothing": (False, []),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("full_batch", [False, True])
def test_lines_are_printed_when_piped(capsys, name, full_batch):
    progress, expected = LINES[name]
    method = {"optimizer": LBFGS(), "batch_size": None} if full_batch else {}
    fit(progress=progress, **method)
    assert shown(capsys.readouterr().out) == expected


def test_last_line_follows_an_early_stop(capsys):
    fit(progress=3, callbacks=[lambda run: run.epoch == 4])
    assert shown(capsys.readouterr().out) == [3, 4]


def test_piped_bar_is_its_last_line(capsys):
    pytest.importorskip("rich", reason="rich is not installed")
    fit(progress="bar")
    text = capsys.readouterr().out
    assert shown(text) == [7]
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_lines_take_other_numbers_than_floats(capsys):
    fit(progress="lines", epochs=1, metrics=[lambda p, t: np.float32(1 / 3)])
    assert "0.3333" in capsys.readouterr().out


# Bars on a terminal


def test_only_a_summary_remains(terminal):
    history = terminal.fit(validation=(X, Y))
    text = terminal.getvalue()
    assert "━" in text
    assert " 3/5" in text
    assert " left" in text
    (line, end) = terminal.screen
    assert line.startswith(f"epoch 7/7  loss {history['loss'][-1]:.4f}  val_loss ")
    assert "  best val_loss " in line
    assert end == ""


def test_automatic_is_a_bar_on_a_terminal(terminal):
    terminal.fit(progress=True)
    assert "━" in terminal.getvalue()
    terminal.fit(progress="lines")
    assert terminal.screen[-2].startswith("epoch 7/7")
    assert len(terminal.screen) == 1 + 7 + 1


def test_prints_of_callbacks_stay_whole(terminal):
    terminal.fit(callbacks=[lambda run: print(f"a user's line {run.epoch}")])
    assert terminal.screen[:-2] == [f"a user's line {epoch}" for epoch in range(1, 8)]
    assert terminal.screen[-2].startswith("epoch 7/7")


def test_bars_show_full_batch_iterations(terminal):
    terminal.fit(optimizer=LBFGS(), batch_size=None, callbacks=[lambda run: print("above")])
    assert "epoch 3/7" in terminal.getvalue()
    assert terminal.screen[:-2] == ["above"] * 7
    assert terminal.screen[-2].startswith("epoch 7/7")


def raise_error(run):
    if run.epoch == 4:
        raise RuntimeError("of a callback")


def press(run):
    if run.epoch == 4:
        signal.raise_signal(signal.SIGINT)


def press_twice(run):
    if run.epoch == 4:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


ENDS = {
    "an exception": (raise_error, RuntimeError),
    "Ctrl-C": (press, KeyboardInterrupt),
    "Ctrl-C twice": (press_twice, KeyboardInterrupt),
    "an early stop": (lambda run: run.epoch == 4, None),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("full_batch", [False, True])
def test_terminal_is_clean_after(terminal, name, full_batch):
    end, error = ENDS[name]
    method = {"optimizer": LBFGS(), "batch_size": None} if full_batch else {}
    if error is None:
        terminal.fit(callbacks=[end], **method)
    else:
        with pytest.raises(error):
            terminal.fit(callbacks=[end], **method)
    assert [line[:9] for line in terminal.screen] == ["epoch 4/7", ""]


def test_nothing_remains_of_a_first_epoch_that_fails(terminal):
    def fail(run):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        terminal.fit(callbacks=[SimpleNamespace(step=fail, every=2)])
    assert "━" in terminal.getvalue()
    assert not any(terminal.screen)


def test_inner_training_does_not_tear_the_bar(terminal):
    terminal.fit(epochs=2, callbacks=[lambda run: fit(epochs=3) and None])
    assert [line[:9] for line in terminal.screen] == ["epoch 3/3", "epoch 3/3", "epoch 2/2", ""]
    assert "epoch 1/3" not in terminal.getvalue()


def test_bar_within_a_display_of_the_user_is_a_line(terminal, monkeypatch):
    """Earlier versions of rich have one display at a time."""
    errors = pytest.importorskip("rich.errors", reason="rich is not installed")

    def refuse(live):
        raise errors.LiveError

    monkeypatch.setattr("rich.live.Live.start", refuse)
    terminal.fit()
    assert [line[:9] for line in terminal.screen] == ["epoch 7/7", ""]
    assert "━" not in terminal.getvalue()


def test_cursor_is_visible_while_a_bar_is_drawn(terminal):
    """A process that is killed cannot show it again."""
    seen = []
    terminal.fit(callbacks=[lambda run: seen.append(terminal.shows_cursor)])
    assert "\x1b[?25l" in terminal.getvalue()
    assert seen == [True] * 7


def test_numbers_of_callbacks_may_be_any(terminal):
    def add(run):
        run.row["note"] = "a text"

    terminal.fit(callbacks=[add])
    assert "note a text" in terminal.screen[0]


def test_standard_error_that_is_a_file_stays_one(terminal, monkeypatch):
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    terminal.fit(epochs=2, callbacks=[lambda run: print("to stderr", file=sys.stderr)])
    assert errors.getvalue() == "to stderr\n" * 2
    assert len(terminal.screen) == 2


def test_narrow_terminal_has_one_line(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    terminal.fit(callbacks=[lambda run: print("x")])
    assert terminal.screen[:-2] == ["x"] * 7


VIEW = BarView(
    "epoch 113/120",
    0.5,
    " 5/23",
    "0:07 left",
    (("loss", "0.0863"), ("val_loss", "0.1793"), ("best val_loss", "0.1353 in epoch 29")),
)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (200, "epoch 113/120  |   5/23  0:07 left  loss 0.0863  val_loss 0.1793  best val_loss "),
        (80, "epoch 113/120  |   5/23  0:07 left  loss 0.0863  val_loss 0.1793"),
        (60, "epoch 113/120  |   5/23  0:07 left  loss 0.0863"),
        (40, "epoch 113/120  |   5/23  0:07 left"),
        (30, "epoch 113/120  |   5/23"),
        (20, "epoch 113/120  |"),
    ],
)
def test_bar_drops_numbers_that_do_not_fit(terminal, monkeypatch, columns, expected):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = terminal.call(lambda: TerminalScreen(global_console())._text(VIEW)).plain
    bar = re.search("━+", text).group()
    assert text.replace(bar, "|").startswith(expected)
    assert text.endswith(("29", expected[-4:].replace("|", bar)))
    assert len(text) <= columns
    assert len(bar) == (20 if columns == 200 else min(20, columns - len(expected) + 1))


def test_bar_without_colours_shows_its_length(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = terminal.call(lambda: TerminalScreen(global_console())._text(VIEW)).plain
    assert f" {'━' * 10}{'─' * 10} " in text


def test_lines_of_a_terminal_are_not_wrapped(terminal, monkeypatch):
    @xpnet.metric(name="of [bold] [/] words")
    def odd(predicted, target):
        return 123456.789

    monkeypatch.setenv("COLUMNS", "40")
    terminal.fit(epochs=2, metrics=[odd], progress="lines")
    lines = terminal.screen
    assert len(lines) == 3
    assert lines[2] == ""
    assert re.fullmatch(
        r"epoch 2/2  loss .* of \[bold\] \[/\] words 123457  lr 0.1  .* s", lines[1]
    )


def test_bar_of_an_ascii_terminal(terminal):
    terminal.encoding = "ascii"
    terminal.fit()
    assert terminal.getvalue().isascii()
    assert "#" in terminal.getvalue()


def test_dumb_terminal_gets_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    terminal.fit()
    assert len(terminal.screen) == 8


@pytest.mark.parametrize("kind", ["mini-batch", "full batch"])
def test_bar_without_rich_names_the_extra(terminal, monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "rich", None)
    method = {"optimizer": LBFGS(), "batch_size": None} if kind == "full batch" else {}
    with pytest.raises(MissingExtraError, match=r"pip install 'xpnet\[cli\]'"):
        terminal.fit(progress="bar", **method)
    terminal.fit(progress=True)
    assert len(terminal.screen) == 8
    assert "\x1b" not in terminal.getvalue()


def test_ended_training_draws_nothing(terminal, tmp_path):
    path = tmp_path / "run.st"
    settings = {"callbacks": [xpnet.TrainingCheckpoint(path, epochs=1)], "epochs": 2}
    terminal.fit(progress=False, **settings)
    terminal.call(xpnet.resume, path, X, Y)
    assert terminal.screen[0].startswith("the training ended after 2 epochs")
    terminal.call(xpnet.resume, path, X, Y, epochs=4)
    assert terminal.screen[1].startswith("epoch 4/4")


def test_bar_does_not_change_the_training(place, capsys):
    pytest.importorskip("rich", reason="rich is not installed")
    thetas = []
    for progress in ("bar", False):
        model = MLP(3, [4], 2, rng=0, backend=place.backend)
        X_, y_ = place.array(X), place.array(Y)
        history = model.fit(X_, y_, progress=progress, **HOW)
        thetas.append((place.host(model.theta), history.engine, history["loss"]))
    np.testing.assert_array_equal(thetas[0][0], thetas[1][0])
    assert thetas[0][1:] == thetas[1][1:]


# The numbers of a bar


class Recorded:
    """A screen that keeps what it is given, and takes a time to draw it."""

    def __init__(self, clock=None, cost=0.0):
        self.views, self.clock, self.cost = [], clock, cost

    def show(self, view):
        self.views.append(view)
        if self.clock is not None:
            self.clock.now += self.cost

    def end(self, summary):
        self.summary = summary


class Clock:
    """The time, which a test moves."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock_(monkeypatch):
    found = Clock()
    monkeypatch.setattr(progress_bar, "time", found)
    return found


def run_of(epoch, epochs, history, n_steps=10, **settings):
    row = history.last_row()
    return Run(None, epoch, epochs, row, history, n_steps=n_steps, **settings)


def history_of(**columns):
    length = len(next(iter(columns.values())))
    return History({"epoch": [float(i) for i in range(1, length + 1)], **columns})


def test_time_left_counts_from_the_resumed_position():
    bar = ProgressBar(Recorded(), run_of(0, 20, History()), 10)
    assert bar.view(0, (), 0.0).left == ""
    view = bar.view(5, (), 30.0)
    assert (view.head, view.steps, view.fraction) == ("epoch 11/20", " 5/10", 0.525)
    assert view.left == f"{clock(30.0 / 0.5 * 9.5)} left" == "9:30 left"


def test_time_left_counts_from_a_step(clock_):
    """A training that was resumed at 6 of 10 steps, after one more step of 2 s."""
    screen = Recorded()
    run = run_of(0, 2, History(), step=6)
    with ProgressBar(screen, run, 0) as bar:
        clock_.now += 2.0
        bar.after_step(7, ())
    assert [view.steps for view in screen.views] == [" 6/10", " 7/10"]
    assert [view.left for view in screen.views] == ["", "0:26 left"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (math.inf, "?")]
)
def test_clock_has_hours_only_if_there_are_any(seconds, text):
    assert clock(seconds) == text


MONITORED = {
    "the loss": ((), {"loss": [3.0, 1.0, 2.0]}, [("best loss", "1.0000 in epoch 2")]),
    "the validation loss": (
        (),
        {"loss": [3.0, 2.0, 1.0], "val_loss": [2.0, math.nan, 4.0]},
        [("val_loss", "4.0000"), ("best val_loss", "2.0000 in epoch 1")],
    ),
    "that of a callback": (
        (EarlyStopping("val_accuracy", maximize=True),),
        {"loss": [3.0, 2.0, 1.0], "val_loss": [1.0, 2.0, 3.0], "val_accuracy": [0.5, 0.9, 0.7]},
        [("val_accuracy", "0.7000"), ("best val_accuracy", "0.9000 in epoch 2")],
    ),
    "that of a metric with a direction": (
        (EarlyStopping("val_matthews"),),
        {"loss": [3.0, 2.0, 1.0], "val_matthews": [0.5, 0.9, 0.7]},
        [("val_matthews", "0.7000"), ("best val_matthews", "0.9000 in epoch 2")],
    ),
    "a column that is not there yet": ((EarlyStopping("auc"),), {"loss": [3.0, 2.0, 1.0]}, []),
    "a late column": (
        (EarlyStopping("auc"),),
        {"loss": [3.0, 2.0, 1.0], "auc": [0.25, 0.5]},
        [("auc", "0.5000"), ("best auc", "0.2500 in epoch 2")],
    ),
}


@pytest.mark.parametrize("name", MONITORED)
def test_monitored_number_and_its_best(name):
    callbacks, columns, expected = MONITORED[name]
    history = history_of(**columns)
    run = run_of(3, 9, history, callbacks=callbacks, columns=tuple(columns))
    run.directions["matthews"] = True
    bar = ProgressBar(Recorded(), run, 3)
    assert list(bar.view(0, (), 1.0).numbers) == [("loss", f"{columns['loss'][-1]:.4f}"), *expected]


class OnDevice:
    """A loss that must not be read."""

    def __float__(self):
        raise AssertionError


def test_losses_of_steps_are_not_read_on_a_device():
    bar = ProgressBar(Recorded(), run_of(1, 9, history_of(loss=[3.0])), 1)
    recent = bar.view(2, [5.0, *[1.0, 3.0] * 50], 1.0).numbers[0]
    assert recent == ("loss", "2.0000")  # the mean of the last 100
    assert bar.view(2, [OnDevice(), OnDevice()], 1.0).numbers[0] == ("loss", "3.0000")


@pytest.mark.parametrize("cost", [1e-4, 1e-3, 0.05])
def test_drawing_takes_below_one_percent(clock_, cost):
    screen = Recorded(clock_, cost)
    run = run_of(0, 10, History())
    with ProgressBar(screen, run, 0) as bar:
        begin = clock_.now
        for step in range(200_000):
            clock_.now += 2e-4
            bar.after_step(step % 10, ())
    assert len(screen.views) >= 2
    assert cost * (len(screen.views) - 1) < 0.006 * (clock_.now - begin)
    assert len(screen.views) <= 1 + 2.1 * (clock_.now - begin)


# Notebooks, executed in test_notebook.py


def test_notebook_markup_is_escaped(monkeypatch):
    shown = []
    screen = NotebookScreen()
    monkeypatch.setattr(screen, "_update", shown.append)
    run = run_of(1, 9, history_of(loss=[1.0], **{"<b>": [1.0]}))
    bar = ProgressBar(screen, run, 1)
    bar._monitor = "<b>"
    with bar:
        bar.epoch(run)
    for bundle in shown:
        assert "<b>" not in bundle["text/html"]
        assert "<b>" in bundle["text/plain"]


def test_undrawn_screen_leaves_no_trace(capsys):
    NotebookScreen().end(None)
    TerminalScreen(None).end(None)
    assert capsys.readouterr().out == ""
