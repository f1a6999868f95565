"""The base class of the optimizers, and their state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, ClassVar, NoReturn, Self

from xpnet.backend import (
    Array,
    copied,
    in_host_memory,
    namespace_of,
    to_numpy,
    write,
    zeros_like,
)
from xpnet.errors import (
    FileFormatError,
    NonFiniteError,
    Phrase,
    dtype_name,
    refuse_renamed,
    require,
    require_number,
)
from xpnet.finite import all_are_finite, first_not_finite
from xpnet.ops import operations_for
from xpnet.ops.operations import Rule
from xpnet.parameters import Layout
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries, require_array


@dataclass
class OptimizerState:
    """The state of an optimizer between two steps, which a checkpoint stores.

    `Optimizer.init` makes it, and `Optimizer.step` updates it in place.

    Args:
        slots: flat arrays on the device of θ and of its size (of one number for ``norm=True``).
        step: the number of steps taken.
        scalars: further numbers of the state, as floats on the host.
        parts: what `Optimizer.init` derives from the layout, such as the groups of `Grouped`;
            ``None`` for most optimizers. A file does not hold it: pass a state that was read from
            one to `Resumed`, or to `Optimizer.load_state`.

    >>> import numpy as np
    >>> from xpnet.optimizers import Momentum
    >>> Momentum().init(np.ones(2))
    OptimizerState(slots=(array([0., 0.]),), step=0, scalars=())
    """

    slots: tuple[Array, ...] = ()
    step: int = 0
    scalars: tuple[float, ...] = ()
    parts: Any = field(default=None, repr=False, compare=False)

    def copy(self) -> OptimizerState:
        """Return a copy that does not share arrays with this state."""
        return replace(self, slots=tuple(copied(slot) for slot in self.slots))

    def state_dict(self) -> StateDict:
        """Return the state as a state dictionary.

        Its arrays are the slots, not copies, which the next step overwrites: write it to a file, or
        copy it, before that.

        >>> OptimizerState((), step=2, scalars=(0.5,)).state_dict()
        {'slots': [], 'step': 2, 'scalars': [0.5]}
        """
        scalars = [float(scalar) for scalar in self.scalars]
        return {"slots": list(self.slots), "step": self.step, "scalars": scalars}

    def load_state_dict(self, state: StateDict) -> None:
        """Copy a state dictionary into this state, which `Optimizer.init` made.

        Slots may hold NaN or infinity, which `Optimizer.check_finite` finds.

        Args:
            state: what `state_dict` returned, or read from a file, for the same optimizer and a θ
                of the same size and dtype.

        Raises:
            FileFormatError: if it does not fit; the message names the entry. This state is
                unchanged.
        """
        self._set(*self._validated(state))

    def _validated(self, state: StateDict) -> tuple[list[Array], int, tuple[float, ...]]:
        """Return the slots, the step and the scalars of a state dictionary that fits this state."""
        entries = Entries(state, type(self).__name__, "slots", "step", "scalars")
        step, scalars = entries.count("step"), entries.items("scalars", len(self.scalars))
        entries.require(all(type(x) is float for x in scalars), "scalars", "hold numbers")
        slots = entries.items("slots", len(self.slots))
        for number, (value, slot) in enumerate(zip(slots, self.slots, strict=True)):
            require_array(value, slot, f"the slot {number} of the optimizer")
        return slots, step, tuple(scalars)

    def _set(self, slots: list[Array], step: int, scalars: tuple[float, ...]) -> None:
        for value, slot in zip(slots, self.slots, strict=True):
            write(to_numpy(value), slot)
        self.step, self.scalars = step, scalars


class Optimizer:
    """Base class of the optimizers, frozen dataclasses of their hyperparameters.

    An optimizer is one elementwise rule, applied to the whole of θ in each step. Clipping,
    penalties, schedules and averages are composed with it.

    Attributes:
        lr: the learning rate, above 0.
        rule: the update, ``rule(xp, theta, *slots, grad, *scalars) → (theta, *slots)``.
        n_slots: the number of arrays of the size of θ in the state.
        n_scalars: the number of floats on the host in the state.
        ascent: the distance ρ of `SAM`: the gradient of a step is that at ``θ + ρ g/‖g‖``, where g
            is that at θ. 0 for all other optimizers: it is that at θ.
    """

    lr: float
    rule: ClassVar[Rule]
    n_slots: ClassVar[int] = 0
    n_scalars: ClassVar[int] = 0
    ascent: ClassVar[float] = 0.0

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse keywords of earlier versions and other libraries; the message names ours.

        The signature of a subclass is that of its dataclass: ``__init__`` takes the arguments.
        """
        known = getattr(cls, "__dataclass_fields__", {})
        refuse_renamed(kwargs, known, f"{cls.__name__}({{}})")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        require_number(self.lr, "lr", above=0)

    def init(self, theta: Array, layout: Layout | None = None) -> OptimizerState:
        """Make the state before the first step, on the device of ``theta``: mostly zeros.

        Args:
            theta: the flat parameter vector, 1-D and floating, on any backend. Only its size,
                dtype and device matter, except to optimizers whose documentation says otherwise.
            layout: the layout of ``theta``, for optimizers that decay only weights (`AdamW`,
                `Lion`) or select parameters (`Grouped`, which needs it). Default ``None``:
                everything decays.

        Returns:
            A state for vectors of this size.

        Raises:
            ArgumentError: if ``theta`` is not a 1-D floating array, or not of the size of the
                layout.
        """
        require(getattr(theta, "ndim", None) == 1, "theta", "be a 1-D floating array", theta)
        xp = namespace_of(theta)
        ok = xp.isdtype(theta.dtype, "real floating")
        require(ok, "theta", "be a 1-D floating array", theta)
        n = theta.shape[0]
        if layout is not None:
            require(n == layout.size, "theta", f"have the layout's size {layout.size}", theta)
        parts = self._parts(theta, layout)
        slots = tuple(zeros_like(theta[:size]) for size in self._slot_sizes(n, parts))
        self._begin(theta, slots, parts)
        return OptimizerState(slots, 0, self._first_scalars(theta, layout), parts)

    def step(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        lr: float | None = None,
        *,
        skip: Array | None = None,
    ) -> None:
        """Take one step, in place on ``theta`` and ``state``.

        Nothing is read from a device. In host memory, the state is checked after steps 1, 2, 4, …;
        see `check_some_steps`.

        Args:
            theta: the flat parameter vector, ``(n,)``; overwritten.
            grad: the gradient of the loss at ``theta``, ``(n,)``; not changed.
            state: the state that `init` made for a vector of this size; overwritten.
            lr: the learning rate of this step, at least 0. Default: ``self.lr``.
            skip: an array of one number on the device of θ. If it is above 0, ``theta`` and the
                slots are not changed and only the count of steps advances; loss scaling uses it.
                Default ``None``: the step is taken.

        Raises:
            ArgumentError: if ``grad`` or ``state`` does not fit ``theta``, or ``lr`` is negative
                or not finite.
            NonFiniteError: if a check finds NaN or infinity in a slot, from which it does not
                recover. ``theta`` and ``state`` are those after the step.
        """
        if getattr(grad, "shape", None) != theta.shape or grad.dtype != theta.dtype:
            rule = f"have theta's shape {tuple(theta.shape)} and dtype {dtype_name(theta.dtype)}"
            require(False, "grad", rule, grad)
        operations_for(grad, "grad")  # refuses one of another CUDA device
        self.require_fits(theta, state)
        if lr is None:
            lr = self.lr
        elif not 0 <= lr < math.inf:
            require_number(lr, "lr", low=0)
        state.step += 1
        self.update_unless(skip, theta, grad, state, self.scalars(state, lr))
        self.check_some_steps(state)

    def evaluation_point(self, theta: Array, state: OptimizerState) -> Array:
        """Return the parameters at which the model is to be evaluated: ``theta`` itself.

        Optimizers that compute gradients at another point, such as `ScheduleFreeAdam`, and those
        around them return another array. ``fit`` evaluates there; a loop of your own does so by
        ``model.theta[...] = optimizer.evaluation_point(model.theta, state)``, before which it
        copies θ to continue.

        Args:
            theta: the flat parameter vector, ``(n,)``, after a step; not changed.
            state: the state after that step; not changed.
        """
        return theta

    def check_some_steps(self, state: OptimizerState, layout: Layout | None = None) -> None:
        """Check a state in host memory after steps 1, 2, 4, 8, 16, 32, 64, 128, 192, ….

        A check reads every slot; one after each step would make all steps slower. A state on
        another device is not checked here. ``fit`` also checks after each epoch, on any device.

        Args:
            state: the state after a step.
            layout: see `check_finite`.

        Raises:
            NonFiniteError: if a slot holds NaN or infinity. θ and the state are those after the
                step, and earlier steps that were not checked may have caused it.
        """
        step = state.step
        if step & 63 and step & (step - 1):
            return
        if state.slots and in_host_memory(state.slots[0]):
            self.check_finite(state, layout)

    def check_finite(self, state: OptimizerState, layout: Layout | None = None) -> None:
        """Raise an error if a slot of the state holds NaN or infinity.

        Such a state does not recover: where the mean of the squared gradients is infinite, the
        parameter does not change again. It waits for a device.

        Args:
            state: the state after a step.
            layout: the layout of θ, with which the message names the parameter. Default ``None``.

        Raises:
            NonFiniteError: naming the slot, the parameter and the step.

        >>> import numpy as np
        >>> from xpnet.optimizers import Adam
        >>> state = OptimizerState((np.zeros(2), np.array([0.0, np.inf])), step=3)
        >>> try:
        ...     Adam().check_finite(state)
        ... except ArithmeticError as error:
        ...     print(str(error)[:66])
        The slot v of the optimizer became NaN or infinite by step 3, at i
        """
        if all_are_finite(state.slots):
            return
        for number, slot in enumerate(state.slots):
            index = first_not_finite(slot)
            if index is not None:
                self._fail(number, index, state, layout)

    def _fail(
        self, number: int, index: int, state: OptimizerState, layout: Layout | None
    ) -> NoReturn:
        """Raise an error for the element at ``index`` of a slot."""
        slot, step, parts = state.slots[number], state.step, state.parts
        name, where = self._slot_name(number, parts), f"index {index}"
        known = self._slot_layout(number, layout, parts)
        if known is not None and known.size == slot.shape[0]:
            where = known.where(index)
        raise NonFiniteError(
            f"The slot {name} of the optimizer became NaN or infinite by step {step}, at {where}: "
            f"a gradient was too large for {dtype_name(slot.dtype)}, and θ would not recover. "
            "ClipByNorm, a smaller learning rate, or scaled inputs and targets usually help.",
            epoch=0,
            step=step,
            layer=f"the slot {name} at {where}",
            history=None,
        )

    def _slot_name(self, number: int, parts: Any) -> str:
        """Return the name of a slot in the paper, that of its argument of the rule."""
        rule = getattr(self, "rule", None)  # an optimizer may override `update` only
        names = [] if rule is None else list(signature(rule).parameters)[2:]
        return names[number] if number < len(names) else str(number)

    def _slot_layout(self, number: int, layout: Layout | None, parts: Any) -> Layout | None:
        """Return the layout of a slot, given that of θ."""
        return layout

    def load_state(self, state: OptimizerState, saved: StateDict) -> None:
        """Copy a state dictionary into a state of this optimizer, after validating it.

        Args:
            state: the state that `init` returned; overwritten.
            saved: what `OptimizerState.state_dict` returned, or read from a file, for an equal
                optimizer and a θ of the same size and dtype.

        Raises:
            FileFormatError: if it does not fit; the message names the entry. ``state`` is
                unchanged.

        >>> import numpy as np
        >>> from xpnet.optimizers import Nadam
        >>> state = Nadam().init(np.zeros(2))
        >>> Nadam().load_state(state, {**state.state_dict(), "scalars": [2.0]})
        Traceback (most recent call last):
        xpnet.errors.FileFormatError: the scalars of the state of Nadam must be in their range; \
got (2.0,).
        """
        slots, step, scalars = state._validated(saved)
        if not self._are_scalars(scalars, state.scalars, state.parts):
            name = type(self).__name__
            raise FileFormatError(
                f"the scalars of the state of {name} must be in their range; got {scalars}."
            )
        state._set(slots, step, scalars)

    def require_fits(self, theta: Array, state: OptimizerState) -> None:
        """Refuse a state that was not made for a vector like ``theta``.

        Raises:
            ArgumentError: naming the state that ``theta`` needs.
        """
        if not self._fits(theta, state):
            self._refuse_state(theta, state)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Return the scalars of the rule at step ``state.step``, counted from 1, as floats.

        It is called once per step: an optimizer with a product over the steps updates it here.
        """
        raise NotImplementedError(f"{type(self).__name__} must define scalars(state, lr)")

    def _fits(self, theta: Array, state: OptimizerState) -> bool:
        """Return whether the state was made for a vector like ``theta``."""
        dtype, parts, sizes = theta.dtype, state.parts, [slot.shape[0] for slot in state.slots]
        if sizes != self._slot_sizes(theta.shape[0], parts):
            return False
        if len(state.scalars) != self._scalar_count(parts):
            return False
        for slot in state.slots:  # noqa: SIM110  runs in every step: twice as fast as all()
            if slot.dtype is not dtype and slot.dtype != dtype:
                return False
        return True

    def _parts(self, theta: Array, layout: Layout | None) -> Any:
        """Return what the state holds of the layout, without arrays; see `OptimizerState`."""
        return None

    def _begin(self, theta: Array, slots: tuple[Array, ...], parts: Any) -> None:
        """Fill the slots, which are 0, with what they hold before the first step."""

    def _slot_sizes(self, n: int, parts: Any) -> list[int]:
        """Return the size of every slot for a θ of ``n`` numbers."""
        return [n] * self.n_slots

    def _scalar_count(self, parts: Any) -> int:
        """Return the number of scalars of a state."""
        return self.n_scalars

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """Apply the rule in place with the `scalars` of the step, without validation or counting.

        An override without ``skip`` cannot be used for training in fp16.

        Args:
            theta: see `step`.
            grad: see `step`.
            state: see `step`.
            scalars: floats, or arrays of one number on the device of θ.
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
        """Call `update`, with ``skip`` only if there is one, because an override may lack it."""
        if skip is None:
            self.update(theta, grad, state, scalars)
        else:
            self.update(theta, grad, state, scalars, skip)

    def _first_scalars(self, theta: Array, layout: Layout | None) -> tuple[float, ...]:
        """Return the scalars of the state before the first step, `n_scalars` of them."""
        return ()

    def _are_scalars(self, found: tuple[float, ...], first: tuple[float, ...], parts: Any) -> bool:
        """Return whether ``found`` can be the scalars of a state that began with ``first``."""
        return True

    def _refuse_state(self, theta: Array, state: OptimizerState) -> None:
        """Raise an error that says which state ``theta`` needs, and which it is."""
        slots = [f"{dtype_name(slot.dtype)} {tuple(slot.shape)}" for slot in state.slots]
        vector = f"{dtype_name(theta.dtype)} theta of shape {tuple(theta.shape)}"
        require(
            False,
            "state",
            f"be what {type(self).__name__}.init makes for a {vector}",
            Phrase(f"slots [{', '.join(slots)}] and {len(state.scalars)} scalars"),
            "Make a state for each optimizer and each theta.",
        )


def require_moments(beta1: float, beta2: float, eps: float) -> None:
    """Refuse hyperparameters of the moments that are out of their range."""
    require_number(beta1, "beta1", low=0, below=1)
    require_number(beta2, "beta2", low=0, below=1)
    require_number(eps, "eps", above=0)


def decayed_count(theta: Array, layout: Layout | None) -> tuple[float]:
    """Return the number of leading elements of θ that decay: the weights, or all."""
    return (float(theta.shape[0] if layout is None else layout.weights.stop),)


def update_decaying(
    optimizer: Optimizer,
    theta: Array,
    grad: Array,
    state: OptimizerState,
    scalars: tuple[Any, ...],
    skip: Array | None,
) -> None:
    """Apply the rule; its last scalar, the decay, is 1 for the elements that do not decay."""
    ops, n, targets = operations_for(theta), int(state.scalars[0]), (theta, *state.slots)
    if n == theta.shape[0]:
        ops.update_unless(skip, optimizer.rule, targets, (grad,), scalars)
    else:
        ops.update_decaying(skip, optimizer.rule, targets, (grad,), scalars, n)


def take_after(wrapper: Optimizer, inner: Optimizer) -> None:
    """Give a frozen ``wrapper`` the rate, the scalars and the ascent of the optimizer ``inner``."""
    object.__setattr__(wrapper, "lr", inner.lr)
    object.__setattr__(wrapper, "ascent", inner.ascent)
    object.__setattr__(wrapper, "n_scalars", inner.n_scalars)
