"""The base class of the losses, and the validation of targets and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from xpnet.backend import Array, is_kind, is_real, namespace_of, to_numpy
from xpnet.errors import ArgumentError, Phrase, require
from xpnet.ops import operations_for
from xpnet.ops.formulas.class_rules import (
    Derivation,
    derive_rules,
    first_derivative_of,
    itself,
    nonzero_derivative_of,
    second_derivative_of,
)
from xpnet.ops.operations import Rule
from xpnet.ops.rules.optimizers import times


@dataclass(frozen=True)
class Loss:
    """Base class of the losses ``L = Σ_i w_i ℓ_i / Σ_i w_i`` over the rows ``i`` of a batch.

    The weights ``w_i`` are 1 by default. A subclass is a frozen dataclass. Unless it overrides
    `value_and_grad`, ``ℓ_i`` is the sum of an elementwise rule over the outputs, and the fields of
    the dataclass are the scalars of the rule.

    A class that defines ``rule`` alone is a formula, as of `xpnet.losses.from_formula`: unstable
    forms in it are replaced, ``derivative`` and ``curvature`` follow from it, and it may call
    ``xp.softplus`` and the other functions of formulas; a number that it reads elsewhere is kept as
    it is at the first use. A class that defines ``rule`` and
    ``derivative`` has the ``curvature`` that follows from the latter.

    Attributes:
        rule: the loss ``ℓ(xp, z, t, *scalars)`` of one output.
        derivative: the derivative of ``rule`` with respect to ``z``.
        curvature: the second derivative with respect to ``z``; ``None`` if it is 0 almost
            everywhere.
        mean: whether the outputs are averaged instead of summed.
        is_likelihood: whether ``ℓ_i`` is ``-log p(t | z)`` up to a constant, with a second
            derivative that does not depend on ``t`` and hence is the Fisher information.
        target_kind: the kind of the targets: ``"classes"`` (indices or rows of probabilities),
            ``"binary"`` (numbers in ``[0, 1]``), ``"signs"`` (±1), ``"values"`` (any number) or
            ``"heads"`` (the columns of several losses, see `Heads`).
        row_mean: whether the loss is such a mean over rows; default true. False for one in which a
            term depends on other rows, such as Cox's partial likelihood; `value_and_grad` is then
            written by hand. All rows must be in one batch, in the order in which they were given:
            `fit` does not shuffle them, and refuses a smaller ``batch_size``.
        if_infinite: what to do where the loss is not finite although the output of the network
            is, for the error of `fit`; default the advice for a training that diverges.
        scalable: whether targets of the kind ``"values"`` may be shifted and scaled, and `decide`
            then returns shifted and scaled predictions; false for counts.

    >>> import numpy as np
    >>> from xpnet.losses import MSE
    >>> output, target = np.array([[1.0], [4.0]]), np.array([0.0, 0.0])
    >>> MSE().value(output, target), MSE().value(output, target, weight=np.array([1.0, 0.0]))
    (np.float64(8.5), np.float64(1.0))

    >>> class SquaredHinge(Loss):
    ...     rule = staticmethod(lambda xp, z, t: xp.maximum(1.0 - t * z, 0.0) ** 2)
    ...     target_kind = "signs"
    >>> value, grad = SquaredHinge().value_and_grad(np.array([[0.5]]), np.array([-1.0]))
    >>> float(value), grad.tolist()
    (2.25, [[3.0]])
    """

    rule: ClassVar[Rule]
    derivative: ClassVar[Rule]
    curvature: ClassVar[Rule | None]
    mean: ClassVar[bool] = False
    is_likelihood: ClassVar[bool] = False
    target_kind: ClassVar[Literal["classes", "binary", "signs", "values", "heads"]] = "values"
    scalable: ClassVar[bool] = True
    row_mean: ClassVar[bool] = True
    if_infinite: ClassVar[str] = (
        "A smaller learning rate, ClipByNorm, or scaled inputs and targets usually help."
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "rule" in own and "derivative" not in own:
            derived: dict[str, Derivation] = {"rule": itself, "derivative": first_derivative_of}
            if "curvature" not in own:
                derived["curvature"] = second_derivative_of
            derive_rules(cls, "rule", derived)
        elif "derivative" in own and "curvature" not in own:
            derive_rules(cls, "derivative", {"curvature": nonzero_derivative_of})

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """Compute the loss and its gradient with respect to the output.

        It transfers nothing to the host and does not validate the targets, which `check` does.

        Args:
            output: the output of the network, ``(m, n_out)``.
            target: the targets, ``(m, n_out)``, or ``(m,)`` if ``n_out`` is 1; for classes also
                class indices ``(m,)``. On the backend of ``output``, of any real dtype.
            weight: the weights of the rows, ``(m,)``, at least 0 with a positive sum. Default 1.
            out: an array like ``output`` into which the gradient may be written.

        Returns:
            The loss, a 0-d array, and ``∂L/∂output``, ``(m, n_out)``.
        """
        ops, scalars, scale = operations_for(output), self._scalars(), self._scale(output, weight)
        target = as_rows(target, output, output.shape[1])
        losses = ops.apply(self.rule, output, target, scalars=scalars)
        grad = ops.apply(self.derivative, output, target, scalars=scalars, out=out)
        if weight is None:
            return ops.total(losses, scale), ops.apply(times, grad, scalars=(scale,), out=out)
        return ops.xp.sum(losses * scale), grad * scale

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """Compute the loss alone, a 0-d array; see `value_and_grad` for the arguments."""
        ops = operations_for(output)
        target = as_rows(target, output, output.shape[1])
        losses = ops.apply(self.rule, output, target, scalars=self._scalars())
        return ops.xp.sum(losses * self._scale(output, weight))

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate the targets, which may transfer numbers to the host.

        Args:
            target: the targets, on any backend.
            n_out: the number of outputs of the network.
            n_rows: the number of rows of X.

        Raises:
            ArgumentError: if the loss cannot take the targets, or needs another number of outputs.
        """
        check_values(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """Return the predictions for an output; for values the output itself, ``(m, n_out)``."""
        return output

    def probabilities(self, output: Array) -> Array:
        """Return the probability of each class, ``(m, K)``.

        Raises:
            ArgumentError: if the loss has no probabilistic interpretation.
        """
        raise ArgumentError(
            "loss must be one with probabilities, such as CrossEntropy() or Ordinal(); "
            f"got {self!r}. Use predict."
        )

    def scores(self, output: Array) -> Array:
        """Return numbers that rank the rows by each class, float64.

        They are log-odds ``log p/(1 − p)`` where the loss defines probabilities, else the output,
        such as the distances of a margin loss.

        Returns:
            The scores of the second class, ``(m,)``, for two classes; else ``(m, K)``.

        Raises:
            ArgumentError: if the loss is not one for classes.
        """
        if self.target_kind not in ("binary", "signs"):
            raise ArgumentError(
                "loss must be one for classes, such as CrossEntropy or BinaryCrossEntropy; "
                f"got {self!r}."
            )
        xp = namespace_of(output)
        output = xp.astype(output, xp.float64)
        return output[:, 0] if output.shape[1] == 1 else output

    def n_classes(self, n_out: int) -> int | None:
        """Return the number of classes of a network with ``n_out`` outputs; ``None`` for values."""
        if self.target_kind == "values":
            return None
        return n_out if self.target_kind == "classes" else 2

    def class_targets(self, target: Array, n_out: int) -> Array:
        """Return the part of the targets that says the true value of each row; here all of it."""
        return target

    def target_columns(self, n_out: int) -> int:
        """Return the number of columns that the targets of ``n_out`` outputs have in `Heads`.

        It is 1 for class indices, else ``n_out``.
        """
        return 1 if self.target_kind == "classes" else n_out

    def _scalars(self) -> tuple[float, ...]:
        """Return the hyperparameters as floats, in the order in which the rules take them."""
        return tuple(float(number) for number in vars(self).values())

    def _scale(self, output: Array, weight: Array | None) -> Any:
        """Return `row_scale`, divided by the number of outputs if these are averaged."""
        scale = row_scale(output, weight)
        return scale * (1.0 / output.shape[1]) if self.mean else scale

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """Compute ``(∂²L/∂output²) ẏ``, the derivative of the gradient along ``ẏ``.

        Args:
            output: the output of the network, ``(m, n_out)``.
            target: see `value_and_grad`.
            d_output: the direction ``ẏ``, ``(m, n_out)``.
            weight: the weights of the rows, ``(m,)``. Default 1.

        Returns:
            The product, ``(m, n_out)``.

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
        product = ops.chain(self.curvature, d_output, output, target, scalars=self._scalars())
        return product * self._scale(output, weight)

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``F ẏ`` with the Fisher information F of the distribution ``p(t | output)``.

        For each row ``F_i = w_i/Σw E_t[∇ log p ∇ log pᵀ]``, with the expectation over targets that
        the model predicts. See `hessian_product` for the arguments.

        Raises:
            ArgumentError: if the loss is not the negative logarithm of a distribution.
        """
        if not self.is_likelihood:
            raise ArgumentError(
                "loss must be one with a predictive distribution, such as CrossEntropy or HalfMSE; "
                f"got {self!r}. Use gauss_newton_vp."
            )
        return self.hessian_product(output, output, d_output, weight)


def require_all_rows(loss: Loss, n: int, n_rows: int, argument: str) -> None:
    """Refuse parts of ``n`` of the rows for a loss that is not a mean over rows.

    Raises:
        ArgumentError: naming ``argument``, the number of rows of a part.
    """
    rule = f"be at least the {n_rows} rows for {type(loss).__name__}, which is not a mean over rows"
    do = "Give all rows at once, or take a loss that is one."
    require(loss.row_mean or n >= n_rows, argument, rule, n, do)


def row_scale(output: Array, weight: Array | None) -> Any:
    """Return the weight of each row in the mean: ``1/m``, or the column ``w_i / Σ w``."""
    if weight is None:
        return 1.0 / output.shape[0]
    return operations_for(output).row_weights(as_rows(weight, output, 1, "weight"))


def as_rows(target: Array, output: Array, width: int, argument: str = "target") -> Array:
    """Return ``target``, called ``argument``, as ``(m, width)`` in the dtype of ``output``."""
    xp = operations_for(target, argument).xp
    if target.dtype != output.dtype:
        target = xp.astype(target, output.dtype)
    # Shapes (m,) and (m, 1) would silently broadcast to (m, m).
    return xp.reshape(target, (output.shape[0], width))


def check_values(target: Any, width: int, n_rows: int, outputs_each: int = 1) -> None:
    """Refuse targets that are not ``width`` finite real numbers for each row of X.

    Args:
        target: the targets.
        width: the number of targets of a row.
        n_rows: the number of rows of X.
        outputs_each: the number of outputs that the loss needs for each target of a row.
    """
    columns = n_columns(target, n_rows)
    do = "" if columns is None else needed_outputs(columns * outputs_each)
    check_shape(target, [(n_rows, width)] + ([(n_rows,)] if width == 1 else []), do)
    require_finite(target)


def n_columns(target: Any, n_rows: int) -> int | None:
    """Return the number of targets of a row; ``None`` if there is not a row for each row of X."""
    shape = tuple(getattr(target, "shape", ()))
    if len(shape) not in (1, 2) or shape[0] != n_rows:
        return None
    return 1 if len(shape) == 1 else int(shape[1])


def needed_outputs(n: int) -> str:
    """Return what an error says about the number of outputs that targets need."""
    return f"These targets need a network with {n} output{'s' * (n != 1)} (n_out={n})."


def check_shape(target: Any, shapes: list[tuple[int, ...]], do: str = "") -> None:
    """Refuse what is not an array of real numbers of one of ``shapes``; ``do`` is the advice."""
    rule = "have the shape " + " or ".join(map(str, shapes))
    do = do or "It needs one row for each row of X."
    require(tuple(getattr(target, "shape", ())) in shapes, "y", rule, target, do)
    real = is_real(target)
    words = getattr(target.dtype, "kind", "f") in "OUT"
    do = "Convert words to class indices with xpnet.data.encode_labels." if words else ""
    require(real, "y", "hold real numbers", target, do)


def require_finite(target: Any, argument: str = "y") -> None:
    """Refuse NaN and infinity; the message names the first row that has one."""
    if is_kind(target, "real floating"):
        refuse_where(~namespace_of(target).isfinite(target), target, "be finite", argument=argument)


def check_weight(weight: Any, n_rows: int, argument: str = "sample_weight") -> None:
    """Refuse weights that are not one finite number per row, at least 0 and with a positive sum."""
    rule = f"have the shape ({n_rows},)"
    require(
        tuple(weight.shape) == (n_rows,),
        argument,
        rule,
        weight,
        "It needs one weight for each row.",
    )
    real = is_real(weight)
    require(real, argument, "hold real numbers", weight)
    require_finite(weight, argument)
    if is_kind(weight, "bool"):
        weight = namespace_of(weight).astype(weight, namespace_of(weight).float32)
    refuse_where(weight < 0, weight, "be at least 0", argument=argument)
    require(bool(namespace_of(weight).any(weight > 0)), argument, "not be all 0", weight)


def refuse_where(bad: Array, target: Any, rule: str, do: str = "", argument: str = "y") -> None:
    """Raise `ArgumentError` for the first number of ``target`` at which ``bad`` is true."""
    if not bool(namespace_of(bad).any(bad)):
        return
    row, *column = (int(index) for index in np.argwhere(to_numpy(bad))[0])
    value = to_numpy(target)[(row, *column)] if bad.ndim == target.ndim else to_numpy(target)[row]
    place = f"row {row}" + "".join(f", column {index}" for index in column)
    require(False, argument, rule, Phrase(f"{value} in {place}"), do)
