"""The loop that runs a method until a stopping test holds, and its state between iterations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.errors import Phrase, dtype_name, plain_number, require
from xpnet.minimize.checkpoint import CheckpointWriter
from xpnet.minimize.line_search.base import LineSearchError
from xpnet.minimize.method import Method, method_state_dict, method_text
from xpnet.minimize.result import Iterate, Result
from xpnet.minimize.scalar_function import (
    EvaluatedPoint,
    Evaluations,
    NonFiniteStepError,
    ScalarFunction,
    TimeLimitError,
)
from xpnet.minimize.stopping import Reason, StoppingTest, Termination
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries

ENTRIES = (
    *("method", "n", "dtype", "gradient", "bounded"),
    *("iteration", "evaluations", "now", "is_last", "before", "best", "state"),
)
"""The entries of the state dictionary of a loop."""


class MinimizationLoop:
    """The loop of one minimization: it steps, keeps the best point, and tests for stopping.

    Call `begin` or `load_state_dict`, then `run`.

    Args:
        function: the function to minimize.
        method: the method.
        stopping: the stopping test.
        callback: called with every iterate after the start; it returns True to stop.
        keep: whether to keep the trajectory.

    Attributes:
        iteration: the number of steps taken.
    """

    _now: EvaluatedPoint
    _best: EvaluatedPoint

    def __init__(
        self,
        function: ScalarFunction,
        method: Method,
        stopping: StoppingTest,
        callback: Callable[[Iterate], Any] | None,
        keep: bool,
    ) -> None:
        self._function, self._method, self._stopping = function, method, stopping
        self._callback, self._keep = callback, keep
        self.iteration = 0
        self._before: EvaluatedPoint | None = None
        self._trajectory: list[Iterate] = []
        self._state: Any = None
        self._is_started = self._is_resumed = False
        self._is_between_steps = True

    def begin(self, start: EvaluatedPoint) -> None:
        """Begin at ``start``."""
        self._best = self._now = start

    @property
    def best(self) -> EvaluatedPoint:
        """The point of the lowest value so far."""
        return self._best

    @property
    def can_be_saved(self) -> bool:
        """Whether the loop is between two steps, at a point where everything is finite."""
        if not self._is_between_steps:
            return False
        now, norm = self._now, self._function.max_norm
        return all(map(math.isfinite, (now.value, now.step, norm(now.x), norm(now.grad))))

    def state_dict(self) -> StateDict:
        """Return all that the following iterations depend on, except the function.

        It may be called before `run`, in the callback, and after `run` where `can_be_saved`. A loop
        that loads it continues after the call of the callback. The arrays are not copies, and the
        next step overwrites them: write the dictionary to a file, or copy it, before that.

        Raises:
            ArgumentError: if the state of the method has no state dictionary.
            RuntimeError: in the course of a step.
        """
        if not self._is_between_steps:
            raise RuntimeError("state_dict must be called between two steps, as in the callback.")
        self._start()
        now, before, best, function = self._now, self._before, self._best, self._function
        return {
            "method": method_text(self._method),
            "n": function.n,
            "dtype": function.backend.dtype_name,
            "gradient": function.has_gradient,
            "bounded": function.box is not None,
            "iteration": self.iteration,
            "evaluations": dict(vars(function.evaluations)),
            "now": now._asdict(),
            "is_last": function.is_last(now),
            "before": None if before is None else {"x": before.x, "value": before.value},
            "best": None if best is now else best._asdict(),
            "state": method_state_dict(self._state, self._method),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Begin at the iterate of a state dictionary, after the call of the callback.

        The function is not evaluated, and the counts of evaluations continue.

        Args:
            state: what `state_dict` returned or read from a file. Its arrays are copied.

        Raises:
            ArgumentError: if it is of another method, dtype, number of variables or kind of
                function; the message names the argument ``resume``.
            FileFormatError: if it is not the state of a loop; the message names the entry.
        """
        entries = Entries(state, "the minimization", *ENTRIES)
        self._require_same(entries)
        function = self._function
        like = function.backend.zeros(function.n)
        now = _point_of(entries["now"], "the present point", like, finite=True)
        self._require_within_bounds(now)
        self.iteration, is_last = entries.count("iteration"), entries.flag("is_last")
        entries.require(
            (entries["before"] is None) == (self.iteration == 0),
            "before",
            "be None in iteration 0 only",
        )
        if entries["before"] is not None:
            before = Entries(entries["before"], "the previous point", "x", "value")
            x, value = before.array("x", like), before.number("value")
            self._before = EvaluatedPoint(x, value, like)
        best = entries["best"]
        self._now = now
        self._best = now if best is None else _point_of(best, "the best point", like)
        evaluations = _evaluations_of(entries["evaluations"])
        with np.errstate(all="ignore"):
            self._state = self._method.resume(function, now, entries["state"])
        function.resume(evaluations, now if is_last else None)
        self._is_started = self._is_resumed = True

    def run(self, method: Any, writer: CheckpointWriter | None = None) -> Result:
        """Run until a stopping test holds.

        Args:
            method: the caller's argument, for the result.
            writer: writes checkpoints between the steps, and at the end; default none.
        """
        with np.errstate(all="ignore"):
            termination = self._terminated(writer)
        if writer is not None:
            writer.write(self)
        final = self._now if termination.reason.success else self._best
        return Result(
            x=final.x,
            value=final.value,
            grad_norm=self._function.grad_norm(final),
            reason=termination.reason,
            detail=termination.detail,
            iterations=self.iteration,
            evaluations=self._function.evaluations,
            seconds=self._stopping.seconds,
            method=method,
            trajectory=tuple(self._trajectory),
        )

    def _terminated(self, writer: CheckpointWriter | None) -> Termination:
        """Step until there is a reason to stop, which an inner loop may raise."""
        try:
            return self._iterate(writer)
        except LineSearchError as error:
            grad_norm = self._function.grad_norm(self._now)
            rounding = error.below_rounding
            return self._stopping.without_step(str(error), grad_norm, below_rounding=rounding)
        except NonFiniteStepError as error:
            return Termination(Reason.NON_FINITE, str(error))
        except TimeLimitError:
            return self._stopping.time_limit()
        except KeyboardInterrupt:
            return Termination(Reason.INTERRUPTED, f"in iteration {self.iteration + 1}")

    def _iterate(self, writer: CheckpointWriter | None) -> Termination:
        """Step until a stopping test holds."""
        self._start()
        while True:
            now = self._now
            grad_norm = self._function.grad_norm(now)
            if -math.inf < now.value <= self._best.value and grad_norm < math.inf:
                self._best = now
            self._is_between_steps = True
            stop_requested = self._record(now, grad_norm)
            if writer is not None:
                writer.write_if_due(self)
            termination = self._stopping.check(self.iteration, self._before, now, grad_norm)
            if termination is not None:
                return termination
            if stop_requested:
                return Termination(Reason.CALLBACK, f"in iteration {self.iteration}")
            self._is_between_steps = False
            self._now = self._method.step(self._function, now, self._state)
            self._before = now
            self.iteration += 1
            if self._now.value == now.value and self._is_stalled(now):
                detail = "the step is shorter than the spacing of the numbers in x"
                return self._stopping.without_step(detail, grad_norm, below_rounding=True)

    def _start(self) -> None:
        """Initialize the state of the method, unless that is done."""
        if not self._is_started:
            self._state = self._method.start(self._function, self._now)
            self._is_started = True

    def _is_stalled(self, before: EvaluatedPoint) -> bool:
        """Return whether the step of a line search left x unchanged, as would all later ones.

        The step is 0 for an optimizer without a line search, which may move x later.
        """
        now = self._now
        return now.step != 0.0 and self._function.max_norm(now.x - before.x) == 0.0

    def _record(self, now: EvaluatedPoint, grad_norm: float) -> bool:
        """Record the iterate and pass it to the callback; return whether that asks to stop.

        The callback has already received the iterate where the loop was resumed.
        """
        was_seen, self._is_resumed = self._is_resumed, False
        if not (self._keep or self._callback):
            return False
        iterate = Iterate(self.iteration, now.x, now.value, grad_norm, now.step)
        if self._keep:
            self._trajectory.append(iterate)
        if self._callback is None or self.iteration == 0 or was_seen:
            return False
        return plain_number(self._callback(iterate)) is True

    def _require_same(self, entries: Entries) -> None:
        """Refuse the state of another minimization, as far as it is known without evaluations."""
        function = self._function
        saved, here = entries.text("method"), method_text(self._method)
        rule = f"be of the same method: it is of {saved:.400}"
        require(saved == here, "resume", rule, Phrase(f"{here:.400}"))
        n, dtype = entries.count("n"), entries.text("dtype")
        rule = f"be of as many variables as x0: it is of {n}"
        require(n == function.n, "resume", rule, Phrase(f"x0 of {function.n}"))
        rule = f"be of the dtype of x0: it is {dtype:.40}"
        here = dtype_name(function.dtype)
        require(dtype == here, "resume", rule, Phrase(here))
        for name, present in (
            ("gradient", function.has_gradient),
            ("bounded", function.box is not None),
        ):
            what = "a function with a gradient" if name == "gradient" else "a problem with bounds"
            saved_flag = entries.flag(name)
            rule = f"be of the same problem: it is{'' if saved_flag else ' not'} of {what}"
            got = Phrase(f"{what}" if present else f"not {what}")
            require(saved_flag == present, "resume", rule, got)

    def _require_within_bounds(self, now: EvaluatedPoint) -> None:
        """Refuse a point outside of the bounds, which have changed since it was saved."""
        box = self._function.box
        if box is not None:
            outside = self._function.max_norm(box.project(now.x) - now.x)
            got = Phrase(f"a point that is {outside:.3g} beyond one")
            require(outside == 0.0, "resume", "be of the same bounds", got)


def has_gradient(state: StateDict) -> bool:
    """Return whether the function of a loop's state dictionary has a gradient.

    Raises:
        FileFormatError: if ``state`` is not the state of a loop.
    """
    return Entries(state, "the minimization", *ENTRIES).flag("gradient")


def _point_of(state: Any, owner: str, like: Array, *, finite: bool = False) -> EvaluatedPoint:
    """Return a saved point, with arrays like ``like``."""
    entries = Entries(state, owner, *EvaluatedPoint._fields)
    x = entries.array("x", like, finite=finite)
    grad = entries.array("grad", like, finite=finite)
    return EvaluatedPoint(x, entries.number("value"), grad, entries.number("step", low=0.0))


def _evaluations_of(state: Any) -> Evaluations:
    """Return saved counts of evaluations."""
    names = [field.name for field in fields(Evaluations)]
    entries = Entries(state, "the evaluations", *names)
    return Evaluations(**{name: entries.count(name) for name in names})
