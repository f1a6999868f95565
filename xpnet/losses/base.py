"""What every loss is: a mean over a batch of outputs and targets, and its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from xpnet.backend import Array, namespace_of, to_numpy
from xpnet.errors import ArgumentError, Phrase, require
from xpnet.ops import operations_for
from xpnet.ops.operations import Rule
from xpnet.ops.rules.optimizers import times


@dataclass(frozen=True)
class Loss:
    """A loss ``L = Σ_i w_i ℓ_i / Σ_i w_i`` over the rows ``i`` of a batch, ``w_i = 1`` by default.

    A subclass is a frozen dataclass. Unless it overrides `value_and_grad`, ``ℓ_i`` is the sum of
    an elementwise rule over the outputs, and its fields are the scalars of the rule.

    Attributes:
        rule: ``ℓ(xp, z, t, *scalars)`` of one output.
        derivative: the rule of its derivative with respect to ``z``.
        mean: whether the outputs are averaged instead of summed.
        curvature: its second derivative; ``None`` where that is 0 almost everywhere.
        is_likelihood: whether ``ℓ_i`` is ``-log p(t | z)`` up to a constant, and its second
            derivative by ``z`` the same for every ``t``: that is then the Fisher information.
        target_kind: what targets are: ``"classes"`` (indices or rows of probabilities),
            ``"binary"`` (numbers in ``[0, 1]``), ``"signs"`` (±1) or ``"values"`` (any number).

    >>> import numpy as np
    >>> from xpnet.losses import MSE
    >>> output, target = np.array([[1.0], [4.0]]), np.array([0.0, 0.0])
    >>> MSE().value(output, target), MSE().value(output, target, weight=np.array([1.0, 0.0]))
    (np.float64(8.5), np.float64(1.0))
    """

    rule: ClassVar[Rule]
    derivative: ClassVar[Rule]
    curvature: ClassVar[Rule | None]
    mean: ClassVar[bool] = False
    is_likelihood: ClassVar[bool] = False
    target_kind: ClassVar[Literal["classes", "binary", "signs", "values"]] = "values"

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """The loss and its gradient with respect to the output.

        Reads no number to the host and looks at none: `check` is the door.

        Args:
            output: what the network emits, ``(m, n_out)``.
            target: ``(m, n_out)``; ``(m,)`` where ``n_out`` is 1; class indices ``(m,)`` for
                classes. On the backend of ``output``, of any real dtype.
            weight: weights of the rows, ``(m,)``, at least 0 with a positive sum; ``None``: all 1.
            out: an array like ``output`` that may take the gradient.

        Returns:
            The loss, a 0-d array, and ``∂L/∂output``, ``(m, n_out)``.
        """
        ops, scalars, scale = operations_for(output), self._scalars(), self._scale(output, weight)
        target = as_rows(target, output, output.shape[1])
        losses = ops.apply(self.rule, output, target, scalars=scalars)
        slopes = ops.apply(self.derivative, output, target, scalars=scalars, out=out)
        if weight is None:
            return ops.total(losses, scale), ops.apply(times, slopes, scalars=(scale,), out=out)
        return ops.xp.sum(losses * scale), slopes * scale

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """The loss alone, a 0-d array; arguments as in `value_and_grad`."""
        ops = operations_for(output)
        target = as_rows(target, output, output.shape[1])
        losses = ops.apply(self.rule, output, target, scalars=self._scalars())
        return ops.xp.sum(losses * self._scale(output, weight))

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Refuse targets that this loss cannot take. It may read numbers to the host.

        Args:
            target: the targets, on the host or a device.
            n_out: the width of the network's output.
            n_rows: the number of rows they belong to.

        Raises:
            ArgumentError: naming ``y``, the rule and what was received.
        """
        check_values(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """What a prediction is for this loss; for values the output itself, ``(m, n_out)``."""
        return output

    def probabilities(self, output: Array) -> Array:
        """The probability of each class, ``(m, K)``.

        Raises:
            ArgumentError: if this loss has no probabilistic reading.
        """
        raise ArgumentError(
            "loss must be one with probabilities, CrossEntropy or BinaryCrossEntropy; "
            f"got {self!r}. Use predict."
        )

    def _scalars(self) -> tuple[float, ...]:
        return tuple(float(number) for number in vars(self).values())

    def _scale(self, output: Array, weight: Array | None) -> Any:
        """`row_scale`, with the mean over the outputs where there is one."""
        scale = row_scale(output, weight)
        return scale * (1.0 / output.shape[1]) if self.mean else scale

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """``(∂²L/∂output²) ẏ``: the derivative of the gradient along ``ẏ``, ``(m, n_out)``.

        Args:
            output: what the network emits, ``(m, n_out)``.
            target: as in `value_and_grad`.
            d_output: the direction ``ẏ``, ``(m, n_out)``.
            weight: weights of the rows, ``(m,)``; ``None``: all 1.

        Raises:
            ArgumentError: if the loss has no rule ``curvature``.
        """
        if not hasattr(self, "curvature"):
            raise ArgumentError(
                "loss must have a rule curvature for second derivatives, None if it is 0; "
                f"got {self!r}."
            )
        ops = operations_for(output)
        if self.curvature is None:
            return ops.xp.zeros_like(d_output)
        target = as_rows(target, output, output.shape[1])
        bent = ops.chain(self.curvature, d_output, output, target, scalars=self._scalars())
        return bent * self._scale(output, weight)

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """``F ẏ``, F the Fisher information of the predictive distribution ``p(t | output)``.

        Row by row ``F_i = w_i/Σw E_t[∇ log p ∇ log pᵀ]``, the mean over targets that the model
        itself predicts; arguments as in `hessian_product`.

        Raises:
            ArgumentError: if the loss is not the negative logarithm of a distribution.
        """
        if not self.is_likelihood:
            raise ArgumentError(
                "loss must be one with a predictive distribution, such as CrossEntropy or HalfMSE; "
                f"got {self!r}. Use gauss_newton_vp."
            )
        return self.hessian_product(output, output, d_output, weight)


def row_scale(output: Array, weight: Array | None) -> Any:
    """``1/m`` or the column ``w_i / Σ w``: what each row's loss counts in the mean."""
    if weight is None:
        return 1.0 / output.shape[0]
    column = as_rows(weight, output, 1)
    xp = operations_for(output).xp
    total = xp.sum(column)  # 0 where no row of a batch counts: then neither does the batch
    return column / xp.where(total > 0.0, total, xp.ones_like(total))


def as_rows(target: Array, output: Array, width: int) -> Array:
    """``target`` as ``(m, width)`` in the dtype of ``output``."""
    xp = operations_for(output).xp
    if target.dtype != output.dtype:
        target = xp.astype(target, output.dtype)
    # (m,) beside (m, 1) would broadcast to (m, m) in silence.
    return xp.reshape(target, (output.shape[0], width))


def check_values(target: Any, width: int, n_rows: int) -> None:
    """Refuse targets that are not a row of ``width`` finite real numbers for each row of X."""
    check_shape(target, [(n_rows, width)] + ([(n_rows,)] if width == 1 else []))
    require_finite(target)


def check_shape(target: Any, shapes: list[tuple[int, ...]]) -> None:
    """Refuse what is not an array of real numbers of one of ``shapes``."""
    rule = "have the shape " + " or ".join(map(str, shapes))
    do = "It needs one row for each row of X."
    require(tuple(getattr(target, "shape", ())) in shapes, "y", rule, target, do)
    real = is_kind(target, ("bool", "integral", "real floating"))
    words = getattr(target.dtype, "kind", "f") in "OUT"
    do = "Words become class indices by xpnet.data.encode_labels." if words else ""
    require(real, "y", "hold real numbers", target, do)


def require_finite(target: Any, argument: str = "y") -> None:
    """Refuse NaN and infinity, naming the first row that has one."""
    if is_kind(target, "real floating"):
        refuse_where(~namespace_of(target).isfinite(target), target, "be finite", argument=argument)


def check_weight(weight: Any, n_rows: int, argument: str = "sample_weight") -> None:
    """Refuse weights that are not one finite number of at least 0 a row, with a positive sum."""
    rule = f"have the shape ({n_rows},)"
    require(tuple(weight.shape) == (n_rows,), argument, rule, weight, "It needs one for each row.")
    real = is_kind(weight, ("bool", "integral", "real floating"))
    require(real, argument, "hold real numbers", weight)
    require_finite(weight, argument)
    if is_kind(weight, "bool"):
        weight = namespace_of(weight).astype(weight, namespace_of(weight).float32)
    refuse_where(weight < 0, weight, "be at least 0", argument=argument)
    require(bool(namespace_of(weight).any(weight > 0)), argument, "not be all 0", weight)


def is_kind(target: Any, kind: str | tuple[str, ...]) -> bool:
    """Whether the dtype of ``target`` is of a kind of the array API standard."""
    return bool(namespace_of(target).isdtype(target.dtype, kind))


def refuse_where(bad: Array, target: Any, rule: str, do: str = "", argument: str = "y") -> None:
    """Raise for the first number of ``target`` that has a true in ``bad``."""
    if not bool(namespace_of(bad).any(bad)):
        return
    row, *column = (int(index) for index in np.argwhere(to_numpy(bad))[0])
    value = to_numpy(target)[(row, *column)] if bad.ndim == target.ndim else to_numpy(target)[row]
    place = f"row {row}" + "".join(f", column {index}" for index in column)
    require(False, argument, rule, Phrase(f"{value} in {place}"), do)
