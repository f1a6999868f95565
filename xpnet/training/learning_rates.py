"""The learning rates of the steps of an epoch, by a schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from xpnet.data.batching import spans
from xpnet.errors import Phrase, describe, plain_number, require
from xpnet.metrics.protocol import real_number
from xpnet.training.settings import Settings


def learning_rates(
    settings: Settings, n_rows: int, epoch: int, values: Sequence[float]
) -> list[float]:
    """The learning rate of each step of an epoch.

    Args:
        settings: the optimizer with its rate, the schedule and the batches.
        n_rows: the number of rows of the training data.
        epoch: the number of the epoch, counted from 1.
        values: the monitored quantity of each epoch before it, for the schedule.

    Raises:
        ArgumentError: if one is negative or not finite, before a step of the epoch is taken.
    """
    lrs, schedule = [], settings.schedule
    for step, _ in enumerate(spans(n_rows, settings.batch_size, settings.drop_last)):
        given: Any = 1.0
        if schedule is not None:
            time = epoch - 1 + step / math.ceil(n_rows / settings.batch_size)
            given = plain_number(schedule.factor(time, settings.epochs, values))
        factor = real_number(given)
        lr = math.nan if factor is None else settings.optimizer.lr * factor
        if not 0 <= lr < math.inf:
            _refuse_rate(settings, epoch, step + 1, given)
        lrs.append(lr)
    return lrs


def _refuse_rate(settings: Settings, epoch: int, step: int, factor: Any) -> NoReturn:
    """Raise an error about the learning rate of a step."""
    lr, schedule = settings.optimizer.lr, settings.schedule
    at, rule = f"in epoch {epoch}, step {step}", "finite and at least 0"
    do = f"The parameters are those of the beginning of epoch {epoch}."
    if schedule is None:
        require(False, "optimizer.lr", f"be {rule}", Phrase(f"{describe(lr)} {at}"), do)
    got = Phrase(f"the factor {describe(factor)} of {describe(lr)} by {schedule!r} {at}")
    require(False, "schedule", f"give learning rates that are {rule}", got, do)
    raise AssertionError("require raises")
