"""Schedules: what the optimizer's learning rate is multiplied by, as training goes on.

Time is counted in epochs, as a fraction that starts at 0.0, so a schedule does not depend on the
batch size. By hand it takes three lines:

    lr = optimizer.lr * schedule.factor(epoch, n_epochs)
    loss, grad = ...
    optimizer.step(theta, grad, state, lr=lr)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xpnet.errors import require_count, require_number, require_type


class Schedule:
    """The base of all schedules, which are frozen dataclasses of their hyperparameters."""

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """What multiplies the optimizer's ``lr``, in ``[0, 1]``. A pure function.

        Args:
            epoch: the time, in epochs: 0.0 at the first step, 1.5 in the middle of the second
                epoch. After ``n_epochs`` a schedule stays where it ended.
            n_epochs: the epochs planned, above 0.
            values: the monitored quantity, such as the validation loss, of each finished epoch.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ConstantRate(Schedule):
    """Always 1.

    >>> ConstantRate().factor(3.0, 10)
    1.0
    """

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class StepDecay(Schedule):
    """``rate^⌊epoch/every⌋``: a drop at once, every so many epochs.

    Args:
        every: the epochs between two drops, above 0.
        rate: what a drop multiplies by, in ``(0, 1]``.

    Raises:
        ArgumentError: if an argument is out of its range.

    >>> [StepDecay(every=2, rate=0.5).factor(epoch, 5) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    every: float
    rate: float = 0.1

    def __post_init__(self) -> None:
        require_number(self.every, "every", above=0)
        require_number(self.rate, "rate", above=0, high=1)

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """``rate^⌊epoch/every⌋``."""
        return float(self.rate ** (min(epoch, n_epochs) // self.every))


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """``rate^epoch``: the same share lost in every epoch.

    Args:
        rate: what an epoch multiplies by, in ``(0, 1]``.

    Raises:
        ArgumentError: if ``rate`` is out of its range.

    >>> [ExponentialDecay(rate=0.5).factor(epoch, 2) for epoch in range(3)]
    [1.0, 0.5, 0.25]
    """

    rate: float

    def __post_init__(self) -> None:
        require_number(self.rate, "rate", above=0, high=1)

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """``rate^epoch``."""
        return float(self.rate ** min(epoch, n_epochs))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine wave from 1 to ``final``: ``final + (1 − final)·½(1 + cos(π·epoch/n_epochs))``.

    Args:
        final: the factor at the end, in ``[0, 1]``.

    Raises:
        ArgumentError: if ``final`` is out of its range.

    Reference: Loshchilov and Hutter, "SGDR", 2017, eq. (5), without restarts.

    >>> [round(Cosine(final=0.1).factor(epoch, 4), 3) for epoch in range(5)]
    [1.0, 0.868, 0.55, 0.232, 0.1]
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        require_number(self.final, "final", low=0, high=1)

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """``final + (1 − final)·½(1 + cos(π·epoch/n_epochs))``."""
        wave = (1 + math.cos(math.pi * _progress(epoch, n_epochs))) / 2
        return wave + self.final * (1 - wave)


@dataclass(frozen=True)
class LinearWarmup(Schedule):
    """A straight rise to 1 over the first ``epochs``; then another schedule, its clock at 0.

    At time 0 the factor is 0. The schedule that follows sees the epochs that are left, and the
    values of those that finished since the warm-up.

    Args:
        epochs: how long the rise takes, above 0.
        then: the schedule that follows; default `ConstantRate`.

    Raises:
        ArgumentError: if an argument is out of its range or of the wrong type.

    Reference: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.

    >>> schedule = LinearWarmup(2, then=Cosine())
    >>> [round(schedule.factor(epoch, 6), 3) for epoch in range(7)]
    [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    epochs: float
    then: Schedule = ConstantRate()

    def __post_init__(self) -> None:
        require_number(self.epochs, "epochs", above=0)
        require_type(self.then, Schedule, "then")

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """``epoch/epochs`` at first, then that of ``then``."""
        if epoch < self.epochs:
            return epoch / self.epochs
        later = values[math.ceil(self.epochs) :]
        return self.then.factor(epoch - self.epochs, n_epochs - self.epochs, later)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """A straight rise from ``initial`` to 1 and a straight fall to ``final``.

    The optimizer's ``lr`` is the largest rate, which may be several times the usual one.

    Args:
        peak: where the top lies, as a share of the training, in ``(0, 1)``.
        initial: the factor at the start, in ``[0, 1]``.
        final: the factor at the end, in ``[0, 1]``.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Smith and Topin, "Super-convergence: very fast training of neural networks using
    large learning rates", 2018, section 3 (there the momentum moves the other way, and the last
    part falls more steeply; here one line leads from the top to ``final``).

    >>> schedule = OneCycle(peak=0.5, initial=0.1, final=0.0)
    >>> [round(schedule.factor(epoch, 4), 3) for epoch in range(5)]
    [0.1, 0.55, 1.0, 0.5, 0.0]
    """

    peak: float = 0.3
    initial: float = 0.04
    final: float = 4e-6

    def __post_init__(self) -> None:
        require_number(self.peak, "peak", above=0, below=1)
        require_number(self.initial, "initial", low=0, high=1)
        require_number(self.final, "final", low=0, high=1)

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """The height of the two lines at the time ``epoch/n_epochs``."""
        time = _progress(epoch, n_epochs)
        if time < self.peak:
            rise = time / self.peak
            return self.initial * (1 - rise) + rise
        fall = (time - self.peak) / (1 - self.peak)
        return (1 - fall) + self.final * fall


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """A drop whenever the monitored value has not improved for a while.

    It counts through ``values`` anew at each call and remembers nothing, so training that goes on
    from a checkpoint needs the history of the values and no more.

    Args:
        rate: what a drop multiplies by, in ``(0, 1)``.
        patience: how many epochs in a row may pass without improvement; one more, and it drops.
        min_delta: by how much a value must lie below the best one to improve on it, at least 0.
        cooldown: epochs after a drop in which nothing is counted.
        floor: the smallest factor, in ``[0, 1]``.

    Raises:
        ArgumentError: if an argument is out of its range.

    >>> schedule = ReduceOnPlateau(rate=0.5, patience=1)
    >>> losses = [0.9, 0.7, 0.7, 0.7, 0.7, 0.7]
    >>> [schedule.factor(epoch, 6, losses[:epoch]) for epoch in range(7)]
    [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    """

    rate: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    cooldown: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        require_number(self.rate, "rate", above=0, below=1)
        require_count(self.patience, "patience", low=0)
        require_number(self.min_delta, "min_delta", low=0)
        require_count(self.cooldown, "cooldown", low=0)
        require_number(self.floor, "floor", low=0, high=1)

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """``rate`` to the power of the drops that ``values`` call for; at least ``floor``."""
        factor, best, waited, resting = 1.0, math.inf, 0, 0
        for value in values:
            improved = value < best - self.min_delta
            if improved:
                best = value
            waited = 0 if improved or resting else waited + 1
            resting = max(resting - 1, 0)
            if waited > self.patience:
                factor, waited, resting = factor * self.rate, 0, self.cooldown
        return max(factor, self.floor)


def _progress(epoch: float, n_epochs: float) -> float:
    """The share of the training that is over, at most 1."""
    return epoch / n_epochs if epoch < n_epochs else 1.0
