"""What every loss is: a value of outputs and targets, averaged over the batch, with its gradient."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any, ClassVar, Literal

import numpy as np

from xpnet.backend import Array, namespace_of, to_numpy
from xpnet.errors import ArgumentError, Phrase, require
from xpnet.ops import operations_for
from xpnet.ops.reference import Rule


class Loss:
    """A loss ``L = Σ_i w_i ℓ_i / Σ_i w_i`` over the rows ``i`` of a batch, ``w_i = 1`` by default.

    A subclass is a frozen dataclass of hyperparameters.

    Attributes:
        target_kind: what targets are: ``"classes"`` (indices or rows of probabilities),
            ``"binary"`` (numbers in ``[0, 1]``), ``"signs"`` (±1) or ``"values"`` (any number).
    """

    target_kind: ClassVar[Literal["classes", "binary", "signs", "values"]] = "values"

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """The loss and its gradient with respect to the output.

        Reads no number to the host and checks nothing; `check` is the door.

        Args:
            output: what the network emits, ``(m, n_out)``.
            target: ``(m, n_out)``; ``(m,)`` where ``n_out`` is 1; class indices ``(m,)`` for
                classes. On the backend of ``output``.
            weight: weights of the rows, ``(m,)``, at least 0 with a positive sum; ``None``: all 1.
            out: an array in the shape of ``output`` that may take the gradient.

        Returns:
            The loss, a 0-d array, and ``∂L/∂output``.
        """
        raise NotImplementedError

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """The loss alone, a 0-d array; arguments as in `value_and_grad`."""
        return self.value_and_grad(output, target, weight)[0]

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Refuse targets that this loss cannot take.

        Args:
            target: the targets, on the host or a device.
            n_out: the width of the network's output.
            n_rows: the number of rows they belong to.

        Raises:
            ArgumentError: naming ``y``, the rule and what was received.
        """
        check_shape(target, self.target_width(n_out), n_rows)
        require_finite(target)

    def target_width(self, n_out: int) -> int:
        """How many numbers of target belong to ``n_out`` outputs."""
        return n_out

    def decide(self, output: Array) -> Array:
        """What a prediction is for this loss: for values, the output itself."""
        return output

    def probabilities(self, output: Array) -> Array:
        """The probability of each class, ``(m, K)``.

        Raises:
            ArgumentError: if this loss has no probabilistic reading.
        """
        raise ArgumentError(
            f"predict_proba needs a loss with probabilities (CrossEntropy or BinaryCrossEntropy); "
            f"got {self!r}. Use predict."
        )


class ElementwiseLoss(Loss):
    """A loss whose ``ℓ`` is a sum, or a mean, over the outputs of an elementwise rule.

    Attributes:
        rule: ``ℓ(xp, z, t, *scalars)``.
        slope: its derivative by ``z``.
        mean: whether the outputs are averaged instead of summed.
    """

    rule: ClassVar[Rule]
    slope: ClassVar[Rule]
    mean: ClassVar[bool] = False

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`."""
        ops = operations_for(output)
        scalars = astuple(self)  # type: ignore[call-overload]
        target = as_rows(target, output)
        scale = row_scale(output, weight)
        if self.mean:
            scale = scale * (1.0 / output.shape[1])
        values = ops.apply(type(self).rule, output, target, scalars=scalars)
        slopes = ops.apply(type(self).slope, output, target, scalars=scalars, out=out)
        if weight is None:
            return ops.xp.sum(values) * scale, ops.apply(_times, slopes, scalars=(scale,), out=out)
        return ops.xp.sum(values * scale), slopes * scale


def _times(xp: Any, x: Array, factor: float) -> Array:
    return x * factor


def row_scale(output: Array, weight: Array | None) -> Any:
    """``1/m`` or the column ``w_i / Σ w``: what each row's loss counts in the mean."""
    if weight is None:
        return 1.0 / output.shape[0]
    xp = namespace_of(output)
    return xp.reshape(weight / xp.sum(weight), (-1, 1))


def as_rows(target: Array, output: Array) -> Array:
    """``target`` as ``(m, k)`` in the dtype of ``output``."""
    xp = namespace_of(output)
    if target.dtype != output.dtype:
        target = xp.astype(target, output.dtype)
    return xp.reshape(target, (-1, 1)) if target.ndim == 1 else target


def check_shape(target: Any, width: int, n_rows: int) -> None:
    """Refuse targets that are not one row of ``width`` real numbers for each row of data."""
    shape = tuple(getattr(target, "shape", ()))
    right = [(n_rows, width)] + ([(n_rows,)] if width == 1 else [])
    rule = "have the shape " + " or ".join(map(str, right))
    require(shape in right, "y", rule, target, "It needs one row for each row of X.")
    name = str(target.dtype).rpartition(".")[2]
    real = name.startswith(("float", "int", "uint", "bool"))
    require(real, "y", "be real numbers", target)


def require_finite(target: Any) -> None:
    """Refuse NaN and infinity, naming the first row that has one."""
    xp = namespace_of(target)
    if not str(target.dtype).rpartition(".")[2].startswith("float"):
        return
    refuse_where(~xp.isfinite(target), target, "be finite")


def refuse_where(bad: Array, target: Any, rule: str, do: str = "") -> None:
    """Raise for the first row of ``target`` that has a true in ``bad``."""
    if not bool(namespace_of(bad).any(bad)):
        return
    rows = to_numpy(bad).reshape(bad.shape[0], -1).any(axis=1)
    row = int(np.flatnonzero(rows)[0])
    got = to_numpy(target)[row]
    require(False, "y", rule, Phrase(f"{got} in row {row}"), do)
