"""What every optimizer is: a value that makes a state and takes steps in place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from xpnet.backend import Array, copied, namespace_of, zeros_like
from xpnet.errors import Phrase, dtype_name, refuse_renamed, require, require_number
from xpnet.ops import operations_for
from xpnet.ops.operations import Rule
from xpnet.parameters import Layout


@dataclass
class OptimizerState:
    """What an optimizer remembers between steps, and all that a checkpoint has to store.

    Made by `Optimizer.init`; `Optimizer.step` brings it up to date in place.

    Args:
        slots: flat arrays on θ's device, each of θ's size (of one number where ``norm=True``).
        step: the steps taken so far.
        scalars: what else the optimizer keeps, as floats on the host.

    >>> import numpy as np
    >>> from xpnet.optimizers import Momentum
    >>> Momentum().init(np.ones(2))
    OptimizerState(slots=(array([0., 0.]),), step=0, scalars=())
    """

    slots: tuple[Array, ...] = ()
    step: int = 0
    scalars: tuple[float, ...] = ()

    def copy(self) -> OptimizerState:
        """A state of its own, whose arrays no step on this one changes."""
        slots = tuple(copied(slot) for slot in self.slots)
        return OptimizerState(slots, self.step, self.scalars)


class Optimizer:
    """The base of all optimizers, which are frozen dataclasses of their hyperparameters.

    An optimizer is one rule, run once a step over the whole of θ. Clipping, penalties, schedules
    and averages compose around it.

    Attributes:
        lr: the learning rate, above 0.
        rule: the update, ``rule(xp, theta, *slots, grad, *scalars) → (theta, *slots)``.
        n_slots: how many arrays like θ the state has.
        n_scalars: how many floats on the host it has.
    """

    lr: float
    rule: ClassVar[Rule]
    n_slots: ClassVar[int] = 0
    n_scalars: ClassVar[int] = 0

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse keywords of other versions and libraries by naming ours.

        The signature is that of the dataclass: ``__init__`` takes the arguments.
        """
        known = getattr(cls, "__dataclass_fields__", {})
        refuse_renamed(kwargs, known, f"{cls.__name__}({{}})")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        require_number(self.lr, "lr", above=0)

    def init(self, theta: Array, layout: Layout | None = None) -> OptimizerState:
        """The state before the first step: zeros on the device of ``theta``.

        Args:
            theta: the flat parameter vector, 1-D and floating, on any backend; only its size,
                dtype and device matter.
            layout: which slice of ``theta`` holds the weights, for optimizers that treat them
                apart (`AdamW`, `Lion`); ``None``: all of it.

        Returns:
            A state for vectors of this size.

        Raises:
            ArgumentError: if ``theta`` is not a 1-D floating array, or not of the layout's size.
        """
        require(getattr(theta, "ndim", None) == 1, "theta", "be a 1-D floating array", theta)
        xp = namespace_of(theta)
        ok = xp.isdtype(theta.dtype, "real floating")
        require(ok, "theta", "be a 1-D floating array", theta)
        n = theta.shape[0]
        if layout is not None:
            require(n == layout.size, "theta", f"have the layout's size {layout.size}", theta)
        slots = tuple(zeros_like(theta[:size]) for size in self._slot_sizes(n))
        return OptimizerState(slots, 0, self._first_scalars(theta, layout))

    def step(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        lr: float | None = None,
        *,
        skip: Array | None = None,
    ) -> None:
        """One step, in place on ``theta`` and ``state``. It reads no number from the device.

        Args:
            theta: the flat parameter vector, shape ``(n,)``; overwritten.
            grad: the gradient of the loss at ``theta``, shape ``(n,)``; kept.
            state: what `init` made for a vector of this size; overwritten.
            lr: the learning rate of this step alone, at least 0; ``None``: ``self.lr``.
            skip: an array of one number on θ's device; where it is above 0, ``theta`` and the
                slots keep every bit and only the count advances. Loss scaling passes it;
                ``None``: the step is taken.

        Raises:
            ArgumentError: if ``grad`` or ``state`` does not fit ``theta``, or ``lr`` is negative
                or not finite.
        """
        if getattr(grad, "shape", None) != theta.shape or grad.dtype != theta.dtype:
            rule = f"have theta's shape {tuple(theta.shape)} and dtype {dtype_name(theta.dtype)}"
            require(False, "grad", rule, grad)
        if not self._fits(theta, state):
            self._refuse_state(theta, state)
        if lr is None:
            lr = self.lr
        elif not 0 <= lr < math.inf:
            require_number(lr, "lr", low=0)
        state.step += 1
        self.update_unless(skip, theta, grad, state, self.scalars(state, lr))

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """The scalars of the rule at step ``state.step``, counted from 1, as Python floats.

        Called once a step: an optimizer that carries a product from step to step moves it on here.
        """
        raise NotImplementedError

    def _fits(self, theta: Array, state: OptimizerState) -> bool:
        """Whether the state was made for a vector like ``theta``; plain, for it runs each step."""
        dtype, sizes = theta.dtype, [slot.shape[0] for slot in state.slots]
        if sizes != self._slot_sizes(theta.shape[0]) or len(state.scalars) != self.n_scalars:
            return False
        for slot in state.slots:  # noqa: SIM110  twice as fast as all() of a generator
            if slot.dtype is not dtype and slot.dtype != dtype:
                return False
        return True

    def _slot_sizes(self, n: int) -> list[int]:
        """The size of every slot for a θ of ``n`` numbers."""
        return [n] * self.n_slots

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """Run the rule once over everything, in place, with the `scalars` of the step.

        Nothing is checked or counted. An override that has no ``skip`` cannot be trained in fp16.

        Args:
            theta: see `step`.
            grad: see `step`.
            state: see `step`.
            scalars: floats, or arrays of one number on θ's device.
            skip: see `step`.
        """
        targets = theta, *state.slots
        operations_for(theta).update_unless(skip, self.rule, targets, (grad,), scalars)

    def update_unless(
        self,
        skip: Array | None,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
    ) -> None:
        """`update` with ``skip``, or without it where it is ``None``: an override may lack it."""
        if skip is None:
            self.update(theta, grad, state, scalars)
        else:
            self.update(theta, grad, state, scalars, skip)

    def _first_scalars(self, theta: Array, layout: Layout | None) -> tuple[float, ...]:
        """The scalars of a state before the first step, `n_scalars` of them."""
        return ()

    def _refuse_state(self, theta: Array, state: OptimizerState) -> None:
        """Say for which θ the state should have been made, and what it holds."""
        slots = [f"{dtype_name(slot.dtype)} {tuple(slot.shape)}" for slot in state.slots]
        vector = f"{dtype_name(theta.dtype)} theta of shape {tuple(theta.shape)}"
        require(
            False,
            "state",
            f"be what {type(self).__name__}.init makes for a {vector}",
            Phrase(f"slots [{', '.join(slots)}] and {len(state.scalars)} scalars"),
            "Make one for each optimizer and each theta.",
        )


def decayed_count(theta: Array, layout: Layout | None) -> tuple[float]:
    """How many leading numbers of θ decay, as the scalars of a state: the weights, or all."""
    return (float(theta.shape[0] if layout is None else layout.weights.stop),)


def update_decaying(
    optimizer: Optimizer,
    theta: Array,
    grad: Array,
    state: OptimizerState,
    scalars: tuple[Any, ...],
    skip: Array | None,
) -> None:
    """Run the rule on all; its last scalar, the decay, is 1 for what does not decay."""
    ops, n, targets = operations_for(theta), int(state.scalars[0]), (theta, *state.slots)
    if n == theta.shape[0]:
        ops.update_unless(skip, optimizer.rule, targets, (grad,), scalars)
    else:
        ops.update_decaying(skip, optimizer.rule, targets, (grad,), scalars, n)


def take_after(wrapper: Optimizer, inner: Optimizer) -> None:
    """Give a frozen ``wrapper`` the rate and the number of scalars of what it is around."""
    object.__setattr__(wrapper, "lr", inner.lr)
    object.__setattr__(wrapper, "n_scalars", inner.n_scalars)
