"""A loss for each head of a network: for each group of columns of its output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import accumulate
from typing import Any, NamedTuple

from xpnet.backend import Array, is_kind, namespace_of
from xpnet.errors import (
    ArgumentError,
    Phrase,
    plain_number,
    require,
    require_count,
    require_number,
    require_type,
)
from xpnet.losses.base import Loss, as_rows, check_shape, refuse_where, require_finite
from xpnet.ops import operations_for
from xpnet.ops.operations import Operations
from xpnet.ops.rules.layers import add
from xpnet.ops.rules.optimizers import times


class Head(NamedTuple):
    """One head: its position, loss and weight, and its columns of the output and of the targets."""

    position: int
    loss: Loss
    weight: float
    outputs: tuple[int, int]
    targets: tuple[int, int]

    def columns_of(self, output: Array) -> Array:
        """The columns of the output that belong to the head."""
        return operations_for(output).take_columns(output, *self.outputs)

    def target_of(self, target: Array) -> Array:
        """The targets of the head in rows of all targets; class indices as integers ``(m,)``."""
        start, stop = self.targets
        if self.loss.target_kind == "classes":
            xp = namespace_of(target)
            return xp.astype(target[:, start], xp.int64)
        return operations_for(target).take_columns(target, start, stop)

    @contextmanager
    def named(self, also: str = "") -> Iterator[None]:
        """Name the head in an `ArgumentError`."""
        try:
            yield
        except ArgumentError as error:
            raise ArgumentError(f"In head {self.position}, {self.loss!r}{also}: {error}") from None


@dataclass(frozen=True)
class Heads(Loss):
    """``L = Σ_h c_h L_h``, where the loss ``L_h`` of head h reads its columns of the output.

    The columns of the output belong to the heads in their order, as those of a last layer
    ``Branches(Dense(3), Dense(1))`` do. Targets are one array ``(m, T)``, with the targets of the
    heads side by side: one column of class indices for a loss of classes; else one for each output,
    and for `GaussianNLL` one for every two.

    `predict` returns the decisions of all heads in these columns, ``(m, T)``, in the dtype of the
    model: class indices, 0 and 1, ±1, values; of a `QuantileLoss` there is a column for each
    quantile. For probabilities take the columns of a head::

        output = model.forward(X)
        CrossEntropy().probabilities(loss.split(output)[0])

    Metrics get predictions and targets of this form, and select columns themselves; those of xpnet
    are refused as they are, because the columns have different meanings::

        xpnet.metric(lambda p, t: accuracy(p[:, 0], t[:, 0]), name="species_accuracy")

    ``fit(target_scaling=...)`` is refused: standardize the columns of values before. So are class
    names and ``class_weight``; ``sample_weight`` weighs the rows of all heads.

    Args:
        losses: the loss of each head, at least one.
        widths: the number of outputs of each head; their sum is the width of the output.
        weights: the weight ``c_h`` of each head, above 0; default 1.

    Raises:
        ArgumentError: if there is no head, not one loss, width and weight for each, or one is out
            of its range.

    >>> import numpy as np
    >>> from xpnet.losses import CrossEntropy, HalfMSE
    >>> loss = Heads([CrossEntropy(), HalfMSE()], widths=[2, 1], weights=[1.0, 0.5])
    >>> value, grad = loss.value_and_grad(np.array([[0.0, 0.0, 3.0]]), np.array([[1.0, 1.0]]))
    >>> round(float(value), 4), grad  # log 2 + ½·½·2²
    (1.6931, array([[ 0.5, -0.5,  1. ]]))
    >>> loss.check(np.zeros((1, 2)), n_out=4, n_rows=1)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: n_out must be 3, the sum of the widths of the heads (2, 1); got 4.
    """

    losses: Sequence[Loss]
    widths: Sequence[int]
    weights: Sequence[float] | None = None

    target_kind = "heads"
    scalable = False

    def __post_init__(self) -> None:
        for name in ("losses", "widths", "weights"):
            given = getattr(self, name)
            if given is None:
                given = (1.0,) * len(self.losses)
            do = f"Write {name}=[...], with one for each head."
            require(isinstance(given, (list, tuple)), name, "be a list", given, do)
            object.__setattr__(self, name, tuple(map(plain_number, given)))
        do = "Write Heads([CrossEntropy(), HalfMSE()], widths=[3, 1])."
        require(self.losses, "losses", "have at least one head", Phrase("none"), do)
        for h, loss in enumerate(self.losses):
            require_type(loss, Loss, f"losses[{h}]")
        for name, what in (("widths", "width"), ("weights", "weight")):
            n, n_losses = len(getattr(self, name)), len(self.losses)
            rule = f"have one {what} for each loss, {n_losses} in all"
            require(n == n_losses, name, rule, Phrase(f"{n}"))
        for h, (width, weight) in enumerate(zip(self.widths, self._weights, strict=True)):
            require_count(width, f"widths[{h}]")
            require_number(weight, f"weights[{h}]", above=0)
        of_rows = all(getattr(loss, "row_mean", True) for loss in self.losses)
        object.__setattr__(self, "row_mean", of_rows)
        special = (loss.if_infinite for loss in self.losses if "if_infinite" in vars(type(loss)))
        object.__setattr__(self, "if_infinite", next(special, Loss.if_infinite))

    def n_classes(self, n_out: int) -> int | None:
        """Return ``None``: the heads have no classes in common."""
        return None

    def split(self, output: Array) -> list[Array]:
        """Return the columns of each head of an output, ``(m, width)``."""
        return [head.columns_of(output) for head in self._heads]

    def target_columns(self, n_out: int) -> int:
        """Return the number of columns of the targets of all heads."""
        pairs = zip(self.losses, self.widths, strict=True)
        return sum(loss.target_columns(width) for loss, width in pairs)

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`."""
        ops, values, grads = operations_for(output), [], []
        for head, z, t in self._given(output, target):
            value, grad = head.loss.value_and_grad(z, t, weight)
            values.append(_weighted(ops, head, value))
            grads.append(_weighted(ops, head, grad))
        return _total(ops, values), ops.join_columns(grads, out=out)

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """See `Loss.value`."""
        ops = operations_for(output)
        given = self._given(output, target)
        found = [_weighted(ops, head, head.loss.value(z, t, weight)) for head, z, t in given]
        return _total(ops, found)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate the targets of each head; an error names the head. See `Loss.check`."""
        rule = f"be {sum(self.widths)}, the sum of the widths of the heads {self.widths}"
        require(n_out == sum(self.widths), "n_out", rule, n_out)
        heads, total = self._heads, self.target_columns(n_out)
        parts = (f"{h.targets[1] - h.targets[0]} for head {h.position}, {h.loss!r}" for h in heads)
        do = f"It needs the columns of all heads: {'; '.join(parts)}."
        check_shape(target, [(n_rows, total)] + [(n_rows,)] * (total == 1), do)
        require_finite(target)
        xp = namespace_of(target)
        target = xp.reshape(target, (n_rows, total))
        for head in heads:
            start, stop = head.targets
            part, which = target[:, start], f"column {start}"  # errors name no column of a vector
            if stop - start != 1:
                part, which = target[:, start:stop], f"columns {start} to {stop - 1}"
            width = self.widths[head.position]
            with head.named(f", of width {width}, with {which} of y"):
                if head.loss.target_kind == "classes":
                    part = _class_indices(part)
                head.loss.check(part, width, n_rows)

    def decide(self, output: Array) -> Array:
        """Return the decisions of all heads side by side, in the dtype of the output."""
        xp, n_rows = namespace_of(output), output.shape[0]
        parts = [head.loss.decide(head.columns_of(output)) for head in self._heads]
        rows = [xp.reshape(xp.astype(part, output.dtype), (n_rows, -1)) for part in parts]
        return operations_for(output).join_columns(rows)

    def probabilities(self, output: Array) -> Array:
        """Raise an error: the heads have no classes in common."""
        raise ArgumentError(
            f"loss must be one with probabilities; got {self!r}. Take those of a head: "
            "CrossEntropy().probabilities(loss.split(model.forward(X))[0])."
        )

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """Compute the products of all heads; an error names the head. See `Loss`."""
        ops, found = operations_for(output), []
        for head, z, t in self._given(output, target):
            with head.named():
                part = head.loss.hessian_product(z, t, head.columns_of(d_output), weight)
            found.append(_weighted(ops, head, part))
        return ops.join_columns(found)

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``c_h F_h ẏ_h`` for each head, if the loss of each has a distribution.

        Raises:
            ArgumentError: naming a head without one.
        """
        ops, found = operations_for(output), []
        for head in self._heads:
            with head.named():
                z, dz = head.columns_of(output), head.columns_of(d_output)
                found.append(_weighted(ops, head, head.loss.fisher_product(z, dz, weight)))
        return ops.join_columns(found)

    @property
    def _weights(self) -> Sequence[float]:
        return () if self.weights is None else self.weights

    @cached_property
    def _heads(self) -> list[Head]:
        """The heads with their columns."""
        pairs = zip(self.losses, self.widths, strict=True)
        outputs = [0, *accumulate(self.widths)]
        targets = [0, *accumulate(loss.target_columns(width) for loss, width in pairs)]
        return [
            Head(h, loss, weight, (outputs[h], outputs[h + 1]), (targets[h], targets[h + 1]))
            for h, (loss, weight) in enumerate(zip(self.losses, self._weights, strict=True))
        ]

    def _given(self, output: Array, target: Array) -> Iterator[tuple[Head, Array, Array]]:
        """Yield each head with its output and its targets."""
        target = as_rows(target, output, self.target_columns(output.shape[1]))
        for head in self._heads:
            yield head, head.columns_of(output), head.target_of(target)


def _weighted(ops: Operations, head: Head, x: Array) -> Array:
    """Return ``c_h x``."""
    return x if head.weight == 1 else ops.apply(times, x, scalars=(float(head.weight),))


def _total(ops: Operations, values: list[Array]) -> Array:
    """Return the sum of 0-d arrays; not in place, because NumPy makes numbers of them."""
    return reduce(partial(ops.apply, add), values)


def _class_indices(column: Array) -> Array:
    """Return a column of whole numbers as integers."""
    xp = namespace_of(column)
    if is_kind(column, "real floating"):
        refuse_where(xp.round(column) != column, column, "hold class indices, whole numbers")
    return xp.astype(column, xp.int64)
