"""Schedules of the learning rate, as a factor of the rate of the optimizer.

Time is measured in epochs, with fractions, from 0.0 on, so a schedule does not depend on the batch
size. In a training loop:

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
    """Base class of the schedules, frozen dataclasses of their hyperparameters."""

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """Return the factor of the learning rate, in ``[0, 1]``, as a pure function.

        Args:
            epoch: the time in epochs: 0.0 at the first step, 1.5 in the middle of the second
                epoch. After ``n_epochs`` the factor is constant.
            n_epochs: the planned number of epochs, above 0.
            values: the monitored quantity, such as the validation loss, of each completed epoch.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define factor(epoch, n_epochs, values)"
        )


@dataclass(frozen=True)
class ConstantRate(Schedule):
    """The constant factor 1.

    >>> ConstantRate().factor(3.0, 10)
    1.0
    """

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class StepDecay(Schedule):
    """The factor ``rate^⌊epoch/every⌋``, which decreases in steps.

    Args:
        every: the number of epochs between two steps, above 0.
        rate: the factor of a step, in ``(0, 1]``. Default 0.1.

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
        """Return ``rate^⌊epoch/every⌋``."""
        return float(self.rate ** (min(epoch, n_epochs) // self.every))


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """The factor ``rate^epoch``, which decreases continuously.

    Args:
        rate: the factor of an epoch, in ``(0, 1]``.

    Raises:
        ArgumentError: if ``rate`` is out of its range.

    >>> [ExponentialDecay(rate=0.5).factor(epoch, 2) for epoch in range(3)]
    [1.0, 0.5, 0.25]
    """

    rate: float

    def __post_init__(self) -> None:
        require_number(self.rate, "rate", above=0, high=1)

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """Return ``rate^epoch``."""
        return float(self.rate ** min(epoch, n_epochs))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine wave from 1 to ``final``: ``final + (1 − final)·½(1 + cos(π·epoch/n_epochs))``.

    Args:
        final: the factor at the end, in ``[0, 1]``. Default 0.

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
        """Return ``final + (1 − final)·½(1 + cos(π·epoch/n_epochs))``."""
        wave = (1 + math.cos(math.pi * _progress(epoch, n_epochs))) / 2
        return wave + self.final * (1 - wave)


@dataclass(frozen=True)
class LinearWarmup(Schedule):
    """A linear increase from 0 to 1 over the first ``epochs``, followed by another schedule.

    The time of that schedule starts at 0 after the warm-up; it gets the number of the remaining
    epochs, and the values of those completed since.

    Args:
        epochs: the duration of the warm-up, above 0.
        then: the schedule that follows. Default ``ConstantRate()``.

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
        """Return ``epoch/epochs`` during the warm-up, then the factor of ``then``."""
        if epoch < self.epochs:
            return epoch / self.epochs
        later = values[math.ceil(self.epochs) :]
        return self.then.factor(epoch - self.epochs, n_epochs - self.epochs, later)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """A linear increase from ``initial`` to 1, followed by a linear decrease to ``final``.

    The ``lr`` of the optimizer is the largest rate, which may be several times the usual one.

    Args:
        peak: the time of the largest rate, as a fraction of the training, in ``(0, 1)``. Default
            0.3.
        initial: the factor at the start, in ``[0, 1]``. Default 0.04.
        final: the factor at the end, in ``[0, 1]``. Default 4e-6.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Smith and Topin, "Super-convergence: very fast training of neural networks using
    large learning rates", 2018, section 3, where the momentum is varied inversely and the last part
    decreases more steeply.

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
        """Return the piecewise linear factor at the time ``epoch/n_epochs``."""
        time = _progress(epoch, n_epochs)
        if time < self.peak:
            rise = time / self.peak
            return self.initial * (1 - rise) + rise
        fall = (time - self.peak) / (1 - self.peak)
        return (1 - fall) + self.final * fall


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """A reduction whenever the monitored value has not improved for some epochs.

    It has no state: each call evaluates all of ``values``, so that resumed training needs only the
    history of the values.

    Args:
        rate: the factor of a reduction, in ``(0, 1)``. Default 0.1.
        patience: the number of consecutive epochs without improvement that do not yet cause a
            reduction, at least 0. Default 10.
        min_delta: the smallest decrease below the best value that is an improvement, at least 0.
            Default 1e-4.
        cooldown: the number of epochs after a reduction that are not counted, at least 0. Default
            0.
        floor: the smallest factor, in ``[0, 1]``. Default 0.

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
        """Return ``rate`` to the power of the number of reductions; at least ``floor``."""
        factor, best, waited, cooling = 1.0, math.inf, 0, 0
        for value in values:
            improved = value < best - self.min_delta
            if improved:
                best = value
            waited = 0 if improved or cooling else waited + 1
            cooling = max(cooling - 1, 0)
            if waited > self.patience:
                factor, waited, cooling = factor * self.rate, 0, self.cooldown
        return max(factor, self.floor)


def _progress(epoch: float, n_epochs: float) -> float:
    """Return the completed fraction of the training, at most 1."""
    return epoch / n_epochs if epoch < n_epochs else 1.0
