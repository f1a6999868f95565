"""Measure what a progress bar costs: trainings with and without one, in turn.

``python -m benchmarks.progress`` trains 32-64-64-2 on batches of 64 rows in replayed steps of about
0.1 ms. Standard output is a pseudo-terminal that another process reads, as a terminal does.
Processor times are compared, because the clock of a busy machine varies by more than a bar costs.
The ratio of a pair of trainings still does; its median over many pairs, the processor time of the
drawings alone, and that of the call after each step say what the bar costs. The target is 1.01.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from statistics import median, quantiles
from time import process_time

import numpy as np

from benchmarks.machine import description, sentence
from xpnet import MLP, Adam, CrossEntropy, History
from xpnet.training.callbacks import Run
from xpnet.training.progress_bar import BarView, ProgressBar
from xpnet.training.screens import TerminalScreen

ROWS, EPOCHS, PAIRS = 64 * 200, 120, 15


@contextmanager
def terminal() -> Iterator[None]:
    """Let standard output be a terminal that another process reads."""
    (master, slave), quiet = os.openpty(), subprocess.DEVNULL
    with subprocess.Popen(["cat"], stdin=master, stdout=quiet, stderr=quiet) as reader:
        os.close(master)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120"}
        with open(slave, "w", encoding="utf-8") as stream, redirect_stdout(stream):
            yield
        reader.terminate()


def seconds(progress: bool, rows: tuple[np.ndarray, np.ndarray]) -> float:
    """The processor time of a training."""
    model = MLP(32, [64, 64], 2, rng=0)
    how = {"loss": CrossEntropy(), "optimizer": Adam(), "batch_size": 64, "rng": 0}
    begin = process_time()
    model.fit(*rows, epochs=EPOCHS, progress=progress, **how)
    return process_time() - begin


class Drawings:
    """Counts the drawings of bars and their processor time."""

    def __init__(self) -> None:
        self.number, self.seconds = 0, 0.0
        original = TerminalScreen.show

        def show(screen: TerminalScreen, view: object) -> None:
            begin = process_time()
            original(screen, view)
            self.seconds += process_time() - begin
            self.number += 1

        TerminalScreen.show = show


def call_seconds(number: int = 200_000) -> float:
    """The processor time of a call after a step that draws nothing."""
    run = Run(None, 0, 1, {}, History(), n_steps=number)
    losses: list[float] = []
    with ProgressBar(NoScreen(), run, 0) as bar:
        begin = process_time()
        for step in range(number):
            bar.after_step(step, losses)
        return (process_time() - begin) / number


class NoScreen:
    """Draws nothing."""

    def show(self, view: BarView) -> None:
        """Draw nothing."""

    def end(self, summary: str | None) -> None:
        """Leave nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    pairs = parser.parse_args().pairs
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, 32)).astype("float32"), rng.integers(0, 2, ROWS)
    ratios, with_bar = [], 0.0
    with terminal():
        seconds(True, rows), seconds(False, rows)  # compile, and import rich
        drawings = Drawings()
        for pair in range(pairs):
            order = (True, False) if pair % 2 else (False, True)
            found = {progress: seconds(progress, rows) for progress in order}
            ratios.append(found[True] / found[False])
            with_bar += found[True]
    low, _, high = quantiles(ratios, n=4)
    steps = pairs * EPOCHS * ROWS // 64
    print(f"{sentence(description('as-is', True))}\n")
    print(f"a step with a bar                  {with_bar / steps * 1e6:.1f} µs")
    spread = f"quartiles {low:.4f}, {high:.4f}; {pairs} pairs"
    print(f"time with a bar / without          {median(ratios):.4f} ({spread})")
    print(f"drawings                           {drawings.number / with_bar:.1f} in a second")
    print(f"processor time of a drawing        {drawings.seconds / drawings.number * 1e3:.2f} ms")
    print(f"share of the time of the training  {drawings.seconds / with_bar:.2%}")
    call = call_seconds()
    print(f"a call after a step                {call * 1e6:.3f} µs, {call * steps / with_bar:.2%}")


if __name__ == "__main__":
    main()
