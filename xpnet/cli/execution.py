"""Run the training that options describe, in a run folder that can be resumed at any moment."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from xpnet.atomic import write_atomically
from xpnet.cli.claim import CHECKPOINT, CONFIG, HISTORY, locked, new_folder
from xpnet.cli.data import DataSource, SplitData, load_data
from xpnet.cli.evaluation import check_metrics, evaluation_of
from xpnet.cli.figures import write_figures
from xpnet.cli.options import TrainingOptions, options_of
from xpnet.cli.report import print_json, print_measured, print_tables, print_task
from xpnet.cli.run_folder import (
    FINISHED,
    INTERRUPTED,
    config_bytes,
    config_of,
    files_in,
    read_config,
    write_config,
    write_results,
)
from xpnet.cli.termination import handled_termination
from xpnet.cli.training import TrainingPlan, TrainingRows, build, fit, hold_out
from xpnet.errors import Phrase, require, require_count
from xpnet.model import Sequential
from xpnet.training import CSVLogger, TrainingCheckpoint
from xpnet.training.callbacks import Callback
from xpnet.training.progress import ProgressMode
from xpnet.training.training_file import progress_of

AFTER_CTRL_C, AFTER_SIGTERM = 130, 143
"""The exit codes after the signals, as shells give them."""

SECONDS = 5
"""The number of seconds from one checkpoint to the next: what a kill may lose."""


class Show(Enum):
    """What a training prints."""

    ALL = "everything"
    RESULT = "the metrics of the test rows"
    JSON = "the result as JSON, and nothing else to standard output"


@dataclass(frozen=True, eq=False)
class PreparedTraining:
    """A training that is ready to begin.

    Attributes:
        options: its options, with values instead of defaults.
        source: the origin of the data.
        plan: the network and the training as objects.
        split: the data.
        rows: the rows to train on and to validate on.
        model: the network before the training.
    """

    options: TrainingOptions
    source: DataSource
    plan: TrainingPlan
    split: SplitData
    rows: TrainingRows
    model: Sequential


def prepare(options: TrainingOptions) -> PreparedTraining:
    """Read the data and build the network.

    Raises:
        ArgumentError: if an option breaks its rule, or the data do.
        FileFormatError: if a file is damaged.
        OSError: if a file cannot be read.
    """
    source, plan = options.source(), options.plan()
    split = load_data(source, options.task, options.limit)
    check_metrics(plan.metrics, split.classes)
    rows = hold_out(plan, split)
    plan = replace(plan, epochs=plan.n_epochs(len(rows.X)))
    return PreparedTraining(options.resolved(plan), source, plan, split, rows, build(plan, split))


def train(
    options: TrainingOptions, out: Path | None, show: Show, progress: ProgressMode = True
) -> int:
    """Train in a new run folder; return the exit code of the command.

    Args:
        options: the options of the training.
        out: the run folder; ``None`` for a name made of the data and the time.
        show: what is printed.
        progress: how epochs are shown if everything is printed; see `Sequential.fit`.
    """
    prepared = prepare(options)
    config = _config(prepared)
    with new_folder(out, prepared.source.name, config_bytes(config)) as folder:
        return _run(prepared, folder, config, show, progress)


def resume(
    folder: Path,
    data: str | None,
    epochs: int | None,
    show: Show,
    progress: ProgressMode = True,
) -> int:
    """Continue the training of a run folder; return the exit code of the command.

    Args:
        folder: the run folder.
        data: the file of the data, if it has moved.
        epochs: the number of epochs in all; ``None`` for that of the run.
        show: what is printed.
        progress: how epochs are shown if everything is printed; see `Sequential.fit`.

    Raises:
        ArgumentError: if ``folder`` is no run folder, is still in training or has finished, or the
            data have changed.
        FileFormatError: if a file is damaged.
    """
    path = folder / CONFIG
    got = Phrase(f"{folder}, which {'has none' if folder.is_dir() else 'is no folder'}")
    require(path.is_file(), "RUN", f"be a folder that xpnet train made, with {CONFIG}", got)
    with locked(folder):
        kept = read_config(path)
        options = options_of(kept, path)
        if epochs is not None:
            require_count(epochs, "--epochs")
        if kept.get("status") == FINISHED:
            _require_more(folder, options.epochs or 0, epochs)
        changed = replace(options, data=data or options.data, epochs=epochs or options.epochs)
        prepared = prepare(changed)
        config = _config(prepared)
        _require_same(kept, config, prepared.source.data)
        if prepared.options.epochs != options.epochs:
            config["continued_from"] = options.epochs
        elif "continued_from" in kept:
            config["continued_from"] = kept["continued_from"]
        with _replaced_config(folder, config):
            return _run(prepared, folder, config, show, progress, is_resumed=True)


def _config(prepared: PreparedTraining) -> dict[str, Any]:
    """Return the configuration of a run at its beginning."""
    parts = prepared.options, prepared.source, prepared.plan, prepared.split, prepared.model
    return config_of(*parts)


def _require_same(kept: Mapping[str, Any], config: Mapping[str, Any], data: str) -> None:
    """Refuse data that are not those with which a run began."""
    ok = kept.get("data_sha256") == config["data_sha256"]
    do = "Restore the file, or start a new run by xpnet train --config."
    require(ok, "DATA", "be as it was when the run began", Phrase(f"{data}, which differs"), do)


@contextmanager
def _replaced_config(folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Replace the configuration of a run; put it back if the training is refused."""
    before = (folder / CONFIG).read_bytes()
    write_config(folder, config)
    written = (folder / CONFIG).read_bytes()
    try:
        yield
    except Exception:
        if (folder / CONFIG).read_bytes() == written:  # no epoch has ended
            write_atomically(folder / CONFIG, before)
        raise


def _require_more(folder: Path, done: int, epochs: int | None) -> None:
    """Refuse to resume a run that has finished, unless with more epochs."""
    got = Phrase(f"{folder}, which has trained its {done} epochs")
    do = f"Write --epochs {2 * done} to train it further."
    require(epochs is not None and epochs > done, "RUN", "be a run that has not finished", got, do)


def _print_start(folder: Path, is_resumed: bool) -> None:
    """Print where a training that is resumed begins."""
    if not is_resumed:
        return
    found = progress_of(folder / CHECKPOINT) if (folder / CHECKPOINT).exists() else None
    if found is None:
        print("continues from the beginning: there is no checkpoint\n")
    else:
        step = f" and step {found.taken} of the next" if found.taken else ""
        print(f"continues after epoch {found.completed}{step}\n")


def _run(
    prepared: PreparedTraining,
    folder: Path,
    config: dict[str, Any],
    show: Show,
    progress: ProgressMode,
    is_resumed: bool = False,
) -> int:
    """Train, write the results into the folder and print them; return the exit code."""
    if show is Show.ALL:
        parts = prepared.source, prepared.plan, prepared.split, prepared.rows, prepared.model
        print_task(*parts)
        _print_start(folder, is_resumed)
    history_file = CSVLogger(folder / HISTORY)
    with handled_termination() as termination:
        try:
            callbacks = [history_file, termination]
            stopped = _train(prepared, folder, config, callbacks, show, progress)
        except KeyboardInterrupt:  # a second one, or one that came after the training
            write_config(folder, config | {"status": INTERRUPTED})
            stopped = "interrupted"
        except Exception:
            if history_file.is_written:
                write_config(folder, config | {"status": INTERRUPTED})
                _print_folder(folder, sys.stderr)
            raise
    stream = sys.stderr if show is Show.JSON else None
    if show is not Show.JSON:
        _print_folder(folder)
    if not stopped:
        return 0
    print(f"{stopped}; to continue: xpnet resume {shlex.quote(str(folder))}", file=stream)
    return AFTER_SIGTERM if termination.received else AFTER_CTRL_C


def _train(
    prepared: PreparedTraining,
    folder: Path,
    config: dict[str, Any],
    callbacks: Sequence[Callback],
    show: Show,
    progress: ProgressMode,
) -> str:
    """Train, write the results and print them; return why the training was interrupted, if so."""
    start, model, split = time.perf_counter(), prepared.model, prepared.split
    path = folder / CHECKPOINT
    saver = TrainingCheckpoint(path, seconds=SECONDS)
    history = fit(
        model,
        prepared.plan,
        prepared.rows,
        progress=progress if show is Show.ALL else False,
        callbacks=[*callbacks, saver],
        resume=path if path.exists() else None,
    )
    stopped = history.stopped
    seconds = time.perf_counter() - start
    found = evaluation_of(model, split.X_test, split.y_test, prepared.plan.metrics)
    write_results(folder, model)
    write_figures(folder, found, history)
    measured = found.as_json()
    results = {"status": INTERRUPTED if stopped else FINISHED, "test": measured["metrics"]}
    results["seconds"] = sum(history.columns.get("seconds", ()))  # of earlier processes too
    write_config(folder, config | results)
    if show is Show.JSON:
        print_json({"run": str(folder)} | results | {"test": measured})
        return stopped
    if show is Show.ALL:
        print()
    print_measured("test", found, split.target)
    if show is Show.ALL:
        print_tables(found)
        print()
    print(f"time           {seconds:.1f} s")
    return stopped


def _print_folder(folder: Path, stream: TextIO | None = None) -> None:
    """Print the run folder and the files in it."""
    print(f"run folder     {folder} ({files_in(folder)})", file=stream)
