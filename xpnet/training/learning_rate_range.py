"""The learning-rate range test: the loss while the learning rate grows from step to step."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, Snapshot, as_array, on_device_of
from xpnet.engine.eager_step import Clip, Engine
from xpnet.errors import (
    MissingExtraError,
    NonFiniteError,
    require,
    require_count,
    require_number,
    require_type,
)
from xpnet.figure import BLUE, ORANGE, new_figure, png_of, tidy
from xpnet.losses import Loss
from xpnet.ops.operations import Precision
from xpnet.optimizers import Optimizer
from xpnet.optimizers.schedules import Schedule
from xpnet.random import Rng
from xpnet.state import VECTORS, ModelState

SKIPPED = 0.1
"""The share of the first steps that suggest no rate: their mean loss is of few batches."""


@dataclass(frozen=True, repr=False, eq=False)
class LearningRateRange:
    """The result of `learning_rate_range`; a notebook shows it as a picture.

    Attributes:
        rates: the learning rate of each step, ``(n,)``, float64.
        losses: the loss of each step, before its update, ``(n,)``, float64.
        smoothed: their exponential mean ``s_i = Σ_j β^(i-j) l_j / Σ_j β^(i-j)``, ``(n,)``.
        diverged: whether the loss diverged, which ends the test; else it ended with the last rate.

    >>> found = LearningRateRange(np.geomspace(1e-3, 1, 4), np.ones(4), np.ones(4), False)
    >>> found
    LearningRateRange(4 steps from 0.001 to 1, no suggestion)
    """

    rates: HostArray
    losses: HostArray
    smoothed: HostArray
    diverged: bool

    @cached_property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls fastest, over the logarithm of the rate.

        It is the rate of the smallest difference ``s_(i+1) - s_(i-1)`` before the minimum of ``s``,
        without the first tenth of the steps, in which ``s`` is the mean of few batches. ``None`` if
        ``s`` does not fall there.
        """
        s, first = self.smoothed, max(1, math.ceil(SKIPPED * len(self.smoothed)))
        if len(s) < first + 2:
            return None
        last = min(first + int(np.argmin(s[first:])), len(s) - 2)
        differences = s[first + 1 : last + 2] - s[first - 1 : last]
        if not differences.size or not differences.min() < 0:
            return None
        return float(self.rates[first + int(np.argmin(differences))])

    def plot(self, ax: Any = None) -> Any:
        """Plot the losses over the rates; see `xpnet.plots.learning_rate_range`."""
        ax = new_figure(figsize=(6, 4)).add_subplot() if ax is None else ax
        ax.plot(self.rates, self.losses, color="0.75", linewidth=1, label="loss of a batch")
        ax.plot(self.rates, self.smoothed, color=BLUE, linewidth=2, label="smoothed")
        rate = self.suggestion
        if rate is not None:
            height = float(self.smoothed[np.flatnonzero(self.rates == rate)[0]])
            dot = {"markersize": 8, "markeredgecolor": "white", "zorder": 3}
            ax.plot([rate], [height], "o", color=ORANGE, label=f"suggestion {rate:.2g}", **dot)
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=self._limits())
        tidy(ax)
        ax.legend(frameon=False)
        return ax

    def _limits(self) -> tuple[float, float]:
        """The range of the y axis: a divergent loss would hide the others."""
        first = self.losses[: max(1, len(self.losses) // 4)]
        shown = first if self.diverged else self.losses
        low, high = float(self.losses.min()), float(shown.max())
        margin = 0.08 * (high - low) or 0.5
        return low - margin, high + (4 if self.diverged else 1) * margin

    def __repr__(self) -> str:
        rate, n = self.suggestion, len(self.rates)
        text = "no suggestion" if rate is None else f"suggestion {rate:.2g}"
        end = ", where the loss diverged" if self.diverged else ""
        steps = f"{n} step{'s' * (n != 1)} from {self.rates[0]:.3g} to {self.rates[-1]:.3g}{end}"
        return f"LearningRateRange({steps}, {text})"

    def _repr_png_(self) -> bytes | None:
        """The picture in a notebook; ``None`` without Matplotlib."""
        with suppress(MissingExtraError):
            return png_of(self.plot().figure)
        return None


@on_device_of("model")
def learning_rate_range(  # long: each setting is an explicit argument
    model: Any,
    X: Array,
    y: Array,
    *,
    loss: Loss,
    optimizer: Optimizer,
    low: float = 1e-7,
    high: float = 1.0,
    n_steps: int = 100,
    batch_size: int = 64,
    smoothing: float = 0.95,
    divergence: float = 4.0,
    clip: Clip | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    sample_weight: Array | None = None,
    class_weight: Mapping[Any, float] | Sequence[float] | None = None,
    target_scaling: Any = None,
    accumulate: int = 1,
    engine: Engine | None = None,
    precision: Precision = "float32",
    rng: Rng | None = None,
) -> LearningRateRange:
    """Train with learning rates that grow from ``low`` to ``high``, and undo it.

    Step i of n has the rate ``low·(high/low)^(i/(n-1))``. Its loss falls while the rate is useful,
    and rises where it is too large. The test ends before ``high`` if the loss diverges: if the
    smoothed loss ``s`` exceeds its minimum ``s*`` so far by ``divergence - 1`` times the larger of
    ``|s*|`` and the fall ``s_1 - s*``, or a number is not finite. Afterwards parameters, gradient,
    statistics, random streams, history and settings of the model, the optimizer and a generator
    ``rng`` are what they were, to the bit; also after an exception::

        found = xpnet.learning_rate_range(model, X, y, loss=CrossEntropy(), optimizer=Adam())
        model.fit(X, y, loss=CrossEntropy(), optimizer=Adam(lr=found.suggestion))

    The suggestion is a start for a search, for this batch size. It suits a constant rate, and is
    the maximum of a schedule such as `OneCycle`.

    Args:
        model: the `Sequential`.
        X: the features, as for `Sequential.fit`.
        y: the targets.
        loss: the loss.
        optimizer: the optimizer; its ``lr`` is replaced by those of the test.
        low: the first rate, above 0, default 1e-7.
        high: the last rate, above ``low``, default 1.
        n_steps: the number of steps, at least 3, default 100. If the data have fewer batches, they
            are used again.
        batch_size: rows per step, default 64; a smaller last batch is left out.
        smoothing: β of the exponential mean of the losses, in ``[0, 1)``, default 0.95.
        divergence: see above; above 1, default 4.
        clip: see `Sequential.fit`, as all that follow.
        l1: the rate of the L1 penalty.
        l2: the rate of the L2 penalty.
        sample_weight: a weight for each row.
        class_weight: a weight for each class.
        target_scaling: the scaling of the targets.
        accumulate: the number of parts of a batch.
        engine: the engine.
        precision: the format of matrix products.
        rng: seed or generator of the row orders and dropout masks; a generator is not advanced.
            ``None`` (default): those of the next call of ``model.fit``.

    Returns:
        The rates, the losses and the suggestion.

    Raises:
        ArgumentError: if an argument breaks its rule; as from `Sequential.fit`.
        NonFiniteError: if the loss of the first batch is not finite.

    References: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
    section 3.3, where the rate grows linearly. The geometric growth, the mean with bias correction
    and the end at 4 times the minimum are those of fastai's ``lr_find`` (J. Howard, S. Gugger,
    "fastai: A Layered API for Deep Learning", Information 11, 2020), and the steepest descent is
    its rule ``steep``; it takes β = 0.98, here 0.95, because a longer mean lags behind the loss.

    >>> import xpnet
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> model = xpnet.MLP(3, [8], 1)
    >>> before = model.theta.copy()
    >>> found = learning_rate_range(model, X, X[:, 0], loss=xpnet.HalfMSE(),
    ...                             optimizer=xpnet.Adam())
    >>> bool(1e-3 < found.suggestion < 0.3), bool((model.theta == before).all())
    (True, True)
    """
    rule = "be a model with parameters, such as MLP(...)"
    require(isinstance(getattr(model, "state", None), ModelState), "model", rule, model)
    require_type(optimizer, Optimizer, "optimizer", "Take one such as Adam(lr=1e-3).")
    require_count(batch_size, "batch_size")
    rates = _rates(low, high, n_steps)
    n_rows = max(1, *as_array(X, "X").shape[:1])
    growing = _Growing(tuple(rates.tolist()), optimizer.lr, n_rows, batch_size)
    losses = _Losses(n_steps, smoothing, divergence)
    with _unchanged(model):
        try:
            model.fit(
                X,
                y,
                loss=loss,
                optimizer=optimizer,
                epochs=-(-n_steps // growing.steps_per_epoch),
                batch_size=batch_size,
                schedule=growing,
                clip=clip,
                l1=l1,
                l2=l2,
                sample_weight=sample_weight,
                class_weight=class_weight,
                target_scaling=target_scaling,
                callbacks=[losses],
                drop_last=n_rows >= batch_size,
                accumulate=accumulate,
                progress=False,
                engine=engine,
                precision=precision,
                rng=copy.deepcopy(rng),
            )
        except NonFiniteError:
            losses.diverged = True
    return losses.result(rates)


def _rates(low: float, high: float, n_steps: int) -> HostArray:
    """Return the rate of each step."""
    require_number(low, "low", above=0)
    require_number(high, "high", above=0)
    require(high > low, "high", f"be above low, {low}", high)
    require_count(n_steps, "n_steps", low=3)
    return np.geomspace(low, high, n_steps)


@dataclass(frozen=True)
class _Growing(Schedule):
    """The rates of a range test, one for each step.

    Attributes:
        rates: the rate of each step; later steps have the last one.
        lr: the rate of the optimizer, which the factor multiplies.
        n_rows: the number of rows of the data.
        batch_size: the number of rows of a step.
    """

    rates: tuple[float, ...]
    lr: float
    n_rows: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """The number of whole batches, at least 1."""
        return max(1, self.n_rows // self.batch_size)

    def factor(self, epoch: float, n_epochs: float, values: Sequence[float] = ()) -> float:
        """Return the rate at a time divided by that of the optimizer."""
        n_batches = math.ceil(self.n_rows / self.batch_size)
        whole = math.floor(epoch + 0.5 / n_batches)
        step = whole * self.steps_per_epoch + round((epoch - whole) * n_batches)
        return self.rates[min(step, len(self.rates) - 1)] / self.lr


class _Losses:
    """A callback that collects the losses of the steps, and ends the test."""

    stateless = True

    def __init__(self, n_steps: int, smoothing: float, divergence: float) -> None:
        require_number(smoothing, "smoothing", low=0, below=1)
        require_number(divergence, "divergence", above=1)
        self._n_steps, self._beta, self._divergence = n_steps, smoothing, divergence
        self._sum, self._weight = 0.0, 0.0
        self.raw: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False

    def step(self, run: Any) -> bool:
        """Append the loss of a step; return whether the test ends."""
        self.diverged = not math.isfinite(run.loss)
        if self.diverged:
            return True
        beta = self._beta
        self._sum, self._weight = beta * self._sum + run.loss, beta * self._weight + 1.0
        self.raw.append(run.loss)
        self.smoothed.append(self._sum / self._weight)
        self.diverged = self._has_diverged()
        return self.diverged or len(self.raw) == self._n_steps

    def result(self, rates: HostArray) -> LearningRateRange:
        """Return the losses of the steps with their rates.

        Raises:
            NonFiniteError: if there is none.
        """
        if not self.raw:
            text = "the loss of the first batch is NaN or infinite, before any step."
            raise NonFiniteError(text, epoch=1, step=1, layer="loss", history=None)
        numbers = np.array(self.raw), np.array(self.smoothed)
        return LearningRateRange(rates[: len(self.raw)], *numbers, self.diverged)

    def _has_diverged(self) -> bool:
        """Whether the smoothed loss is far above its minimum, which may be negative."""
        best = min(self.smoothed)
        scale = max(abs(best), self.smoothed[0] - best)
        return self.smoothed[-1] - best > (self._divergence - 1.0) * scale


@contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Undo what a training changes in a model."""
    state: ModelState = model.state
    vectors, drawn = Snapshot([getattr(state, name) for name in VECTORS]), state.streams.drawn
    before = model.input_spec, model.loss, model.classes, model.trained, model.history
    try:
        yield
    finally:
        vectors.restore()
        state.streams.restart(*drawn)
        model.input_spec, model.loss, model.classes, model.trained, model.history = before
