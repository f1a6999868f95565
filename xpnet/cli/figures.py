"""The figures of a training and of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import plots
from xpnet.atomic import atomic_file
from xpnet.cli.claim import CONFUSION, PICTURE, RELIABILITY, RESIDUALS
from xpnet.cli.evaluation import Evaluation
from xpnet.errors import MissingExtraError
from xpnet.training import History


def write_figures(folder: Path, found: Evaluation, history: History | None = None) -> list[Path]:
    """Write the figures into ``folder``; return their paths, none without Matplotlib.

    Args:
        folder: an existing folder.
        found: the evaluation: of a classifier its confusion matrix and its reliability, of a
            regression its residuals.
        history: the history of the training, for its losses; ``None`` (default) for none.
    """
    written: list[Path] = []
    with suppress(MissingExtraError):
        for name, draw in _drawn(found, history).items():
            figure = draw().figure
            with atomic_file(folder / name) as path:
                figure.savefig(path, dpi=150, format=name.rpartition(".")[2])
            written.append(folder / name)
    return written


def _drawn(found: Evaluation, history: History | None) -> dict[str, Callable[[], Any]]:
    """Return the functions that draw the figures, by the names of their files."""
    drawn: dict[str, Callable[[], Any]] = {}
    if history is not None and len(history):
        drawn[PICTURE] = partial(plots.loss_curve, history)
    tables = found.classification
    if tables is not None:
        drawn[CONFUSION] = partial(plots.confusion_matrix, tables.matrix, tables.table.names)
        drawn[RELIABILITY] = partial(plots.reliability_diagram, tables.reliability)
    elif np.isfinite(found.predicted).all():
        drawn[RESIDUALS] = partial(plots.residuals, found.predicted, found.target)
    return drawn
