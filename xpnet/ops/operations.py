"""The operations of layers in plain array-API code, which faster versions are tested against.

An operation with ``out`` may fill and return it, or return a new array; callers use the returned
array. Faster versions can therefore reuse buffers while this one stays plain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from xpnet.backend import Array, Namespace, copied
from xpnet.errors import require
from xpnet.ops.buffers import Buffers, NoBuffers, Scratch
from xpnet.ops.graph_operations import GraphOperations, LossLog
from xpnet.ops.rules.activations import affine, identity, sigmoid, softplus
from xpnet.ops.rules.layers import add, normalize, running_mean
from xpnet.ops.rules.optimizers import average
from xpnet.random import hash32

PART = 1 << 22
"""Numbers that are squared together: the squares of all need the memory of a second gradient."""

Precision: TypeAlias = Literal["float32", "tf32", "bf16", "fp16"]
"""The format in which matrix products multiply float32 numbers; sums are always in float32."""

Rule: TypeAlias = Callable[..., Any]
"""An elementwise function ``rule(xp, *arrays, *scalars)``; see `xpnet.ops.rules`."""


class RunningStatistics(NamedTuple):
    """The statistics that batch norm updates in training.

    Attributes:
        mean: the running mean μ, ``(n,)``.
        rest: what rounding has lost of μ, ``(n,)``.
        var: the running variance, ``(n,)``.
        count: the number of rows seen, ``(1,)``.
        momentum: ``k`` in ``r ← k·r + (1 − k)·batch``; ``None`` for the statistics of all rows.
    """

    mean: Array
    rest: Array
    var: Array
    count: Array
    momentum: float | None


@dataclass(frozen=True)
class Operations:
    """The operations on one array namespace.

    A faster version for one library is a subclass. Tests compare each method that it overrides with
    the method of this class.

    Attributes:
        xp: the array namespace.
    """

    xp: Namespace

    def why_not_compiled(self, rule: Rule) -> str:
        """Return why a rule is not compiled though others are; empty if it is not so."""
        return ""

    def at_precision(self, precision: Precision) -> Operations:
        """These operations, with matrix products that multiply in ``precision``.

        Raises:
            ArgumentError: if the backend does not support the precision.
        """
        do = "Other precisions need the matrix units of a GPU: backend='cupy'."
        require(precision == "float32", "precision", "be 'float32' here", precision, do)
        return self

    @property
    def why_not_captured(self) -> str:
        """Why steps cannot be captured as CUDA graphs; empty if they can."""
        return "CuPy's own matrix products cannot be captured"

    @property
    def for_graphs(self) -> GraphOperations:
        """The operations of a captured step besides those of its layers."""
        return GraphOperations(self.xp)

    def apply(
        self, rule: Rule, *arrays: Array, scalars: tuple[float, ...] = (), out: Array | None = None
    ) -> Array:
        """``rule(xp, *arrays, *scalars)``, elementwise."""
        return rule(self.xp, *arrays, *scalars)

    def chain(
        self,
        rule: Rule,
        dy: Array,
        *arrays: Array,
        scalars: tuple[float, ...] = (),
        out: Array | None = None,
    ) -> Array:
        """``dy · rule(xp, *arrays, *scalars)``, elementwise: one factor of the chain rule."""
        return dy * rule(self.xp, *arrays, *scalars)

    def update(
        self,
        rule: Rule,
        targets: Sequence[Array],
        inputs: Sequence[Array] = (),
        scalars: tuple[float, ...] = (),
    ) -> None:
        """``targets ← rule(xp, *targets, *inputs, *scalars)``, in place, elementwise.

        The rule returns a tuple with one value per target, or the value itself for one target.
        """
        new = rule(self.xp, *targets, *inputs, *scalars)
        for target, value in zip(targets, new if len(targets) > 1 else (new,), strict=True):
            target[...] = value

    def update_unless(
        self,
        flag: Array | None,
        rule: Rule,
        targets: Sequence[Array],
        inputs: Sequence[Array] = (),
        scalars: tuple[Any, ...] = (),
    ) -> None:
        """`update` the targets unless ``flag``, an array of one number, is above 0.

        A skipped update leaves every bit unchanged. ``None`` always updates.
        """
        if flag is None:
            self.update(rule, targets, inputs, scalars)
            return
        before = [copied(target) for target in targets]
        self.update(rule, targets, inputs, scalars)
        for target, old in zip(targets, before, strict=True):
            target[...] = self.xp.where(flag > 0.0, old, target)

    def update_decaying(
        self,
        flag: Array | None,
        rule: Rule,
        targets: Sequence[Array],
        inputs: Sequence[Array],
        scalars: tuple[Any, ...],
        n: int,
    ) -> None:
        """`update_unless` on flat arrays, with the last scalar 1 from element ``n`` on."""
        for part, keep in ((slice(0, n), scalars[-1]), (slice(n, None), 1.0)):
            views, given = ([array[part] for array in arrays] for arrays in (targets, inputs))
            self.update_unless(flag, rule, views, given, (*scalars[:-1], keep))

    def dense(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        activation: Any,
        buffers: Buffers | NoBuffers,
    ) -> tuple[Array, Array]:
        """``φ(x W + b)``, and the array that the backward pass of φ reads.

        Args:
            x: rows, ``(m, n_in)``.
            weight: ``W``, ``(n_in, n_out)``.
            bias: ``b``, ``(n_out,)``, or ``None``.
            activation: φ, an `xpnet.activations.ActivationFunction`.
            buffers: allocates the results.
        """
        shape = x.shape[0], weight.shape[1]
        z = buffers["z", *shape]
        if bias is not None and declares(activation, "fuses_with_product"):
            y = self.affine_and_apply(activation.value, x, weight, bias, z)
            return y, y
        z = self.matmul(x, weight, z)
        out = None if activation.saves == "output" else buffers["a", *shape]
        if bias is None:
            saved, y = activation.kept(self, z, out, z)
        else:
            saved, y = activation.shifted(self, z, bias, out)
        return y, saved

    def dense_backward(
        self,
        dy: Array,
        x: Array,
        saved: Array,
        activation: Any,
        weight: Array,
        d_weight: Array,
        d_bias: Array | None,
        scratch: Scratch,
        *,
        need_dx: bool = True,
    ) -> Array | None:
        """With ``δ = dy ⊙ φ'``: fill ``dW = xᵀ δ`` and ``db = Σ_rows δ``; return ``δ Wᵀ``.

        Args:
            dy: ``∂L/∂y``, ``(m, n_out)``.
            x: the input, ``(m, n_in)``.
            saved: the second result of `dense`.
            activation: φ.
            weight: ``W``, ``(n_in, n_out)``.
            d_weight: filled with ``dW``.
            d_bias: filled with ``db``; ``None`` without a bias.
            scratch: allocates ``δ`` and the result.
            need_dx: whether to compute ``δ Wᵀ``; if not, ``None`` is returned.
        """
        sums = d_bias if declares(activation, "is_identity") else None
        if sums is not None:
            dz = dy
        else:
            out = scratch.next(*dy.shape)
            if d_bias is None:
                dz = activation.backward(self, saved, dy, out)
            else:
                dz = activation.backward_and_sum(self, saved, dy, d_bias, out)
            scratch.settle(dz, out)
        if need_dx:
            return self.affine_backward(x, weight, dz, d_weight, scratch.next(*x.shape), sums)
        self.matmul_and_sum(x.T, dz, d_weight, sums)
        return None

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """The matrix product ``a b``."""
        return _into(out, a @ b)

    def affine_backward(
        self,
        x: Array,
        weight: Array,
        dz: Array,
        d_weight: Array,
        out: Array | None = None,
        sums: Array | None = None,
    ) -> Array:
        """Fill ``d_weight`` with ``xᵀ ∂z`` and ``sums`` with ``Σ_rows ∂z``; return ``∂z Wᵀ``."""
        self.matmul_and_sum(x.T, dz, d_weight, sums)
        return self.matmul(dz, weight.T, out)

    def shift(self, z: Array, bias: Array) -> Array:
        """``z + b`` with ``b: (n,)`` added to each row; may overwrite ``z``."""
        return z + bias

    def affine(self, x: Array, weight: Array, bias: Array | None) -> Array:
        """``x W + b`` for rows ``x: (m, n_in)``, ``W: (n_in, n_out)``, ``b: (n_out,)``."""
        z = self.matmul(x, weight)
        return z if bias is None else self.shift(z, bias)

    def affine_and_apply(
        self, rule: Rule, x: Array, weight: Array, bias: Array, out: Array | None = None
    ) -> Array:
        """``rule(xp, x W + b)`` for a rule without scalars, which can be fused into a product."""
        z = self.matmul(x, weight, out)
        return self.shift(z, bias) if rule is identity else self.shift_and_apply(rule, z, bias)

    def matmul_and_sum(self, a: Array, b: Array, out: Array, sums: Array | None) -> Array:
        """``out ← a b``, and ``sums ← column_sum(b)`` unless ``None``; return ``out``."""
        if sums is not None:
            self.column_sum(b, out=sums)
        return self.matmul(a, b, out)

    def shift_and_apply(
        self, rule: Rule, z: Array, bias: Array, scalars: tuple[float, ...] = ()
    ) -> Array:
        """``rule(xp, z + b, *scalars)``; may overwrite ``z``."""
        return rule(self.xp, z + bias, *scalars)

    def shift_and_keep(
        self,
        rule: Rule,
        z: Array,
        bias: Array,
        scalars: tuple[float, ...] = (),
        out: Array | None = None,
        inner: Rule | None = None,
    ) -> tuple[Array, Array]:
        """``u = inner(xp, z + b, *scalars)``, which may overwrite ``z``, and ``rule(xp, u, …)``.

        Without ``inner``, ``u = z + b``.
        """
        u = self.shift_and_apply(inner, z, bias, scalars) if inner else self.shift(z, bias)
        return u, self.apply(rule, u, scalars=scalars, out=out)

    def chain_and_sum(
        self,
        rule: Rule,
        dy: Array,
        saved: Array,
        sums: Array,
        scalars: tuple[float, ...] = (),
        out: Array | None = None,
    ) -> Array:
        """`chain` with one array; also fills ``sums`` with the `column_sum` of the result."""
        dz = self.chain(rule, dy, saved, scalars=scalars, out=out)
        self.column_sum(dz, out=sums)
        return dz

    def apply_by_column(
        self, rule: Rule, x: Array, column: Array, out: Array | None = None
    ) -> Array:
        """``rule(xp, x, c)``, elementwise, with one ``c`` for each column: ``c: (n,)``."""
        return rule(self.xp, x, column)

    def chain_by_column(
        self,
        rule: Rule,
        dy: Array,
        x: Array,
        column: Array,
        sums: Array,
        out: Array | None = None,
    ) -> Array:
        """Fill ``sums`` with ``Σ_rows dy · ∂/∂c`` and return ``dy · ∂/∂x``.

        The rule returns both derivatives of an elementwise function of `apply_by_column`, that by
        ``x`` first.
        """
        by_x, by_column = rule(self.xp, x, column)
        self.column_sum(dy * by_column, out=sums)
        return dy * by_x

    def column_sum(self, x: Array, out: Array | None = None) -> Array:
        """The sum over the rows of ``x: (m, n)``, of shape ``(n,)``."""
        return _into(out, self.xp.sum(x, axis=0))

    def column_mean(self, x: Array) -> Array:
        """The mean over the rows of ``x: (m, n)``, summed in double precision.

        NumPy adds rows one after another: in float32 the rounding of 10⁵ sums accumulates.
        """
        xp = self.xp
        return xp.astype(xp.sum(x, axis=0, dtype=xp.float64) / x.shape[0], x.dtype)

    def total(self, x: Array, factor: float) -> Array:
        """``factor · Σ x`` over all of ``x``, a 0-d array."""
        return self.xp.sum(x) * factor

    def clip_by_norm(self, grad: Array, limit: float) -> None:
        """``g ← g·min(1, limit/(‖g‖ + 10⁻⁶))`` in place; NaN or infinity makes all NaN.

        Squares of a float32 gradient overflow above 1e19; those of g/unit do not.
        """
        xp, size = self.xp, grad.shape[0]
        if size == 0:
            return
        unit = xp.maximum(xp.maximum(xp.max(grad), -xp.min(grad)), 1.0)
        parts = (grad[i : min(i + PART, size)] / unit for i in range(0, size, PART))
        norm = xp.sqrt(sum(xp.sum(part * part) for part in parts))
        grad *= xp.minimum((limit / unit) / (norm + 1e-6 / unit), 1.0)

    def ascend(self, theta: Array, grad: Array, rho: float, out: Array) -> None:
        """``out ← θ + ρ g/‖g‖``; θ for a gradient of zeros, NaN for NaN or infinity.

        Squares of ``g/max|g|`` neither overflow nor all become 0.

        Args:
            theta: θ, ``(n,)``.
            grad: g, ``(n,)``.
            rho: ρ.
            out: filled with the result, ``(n,)``; another array than the others.
        """
        xp = self.xp
        if grad.shape[0] == 0:
            return
        largest = xp.maximum(xp.max(grad), -xp.min(grad))
        direction = grad / xp.where(largest == 0.0, xp.ones_like(largest), largest)
        norm = xp.sqrt(xp.sum(direction * direction))  # at least 1, or 0
        out[...] = theta + direction * (rho / xp.maximum(norm, xp.ones_like(norm)))

    def row_weights(self, weight: Array) -> Array:
        """``w/Σw`` for a column ``w: (m, 1)``; 0 for a batch without weight."""
        total = self.xp.sum(weight)
        return weight / self.xp.where(total > 0.0, total, self.xp.ones_like(total))

    def multiply(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """``a ⊙ b``."""
        return a * b

    def add(self, arrays: Sequence[Array], out: Array | None = None) -> Array:
        """The sum of one or more arrays of one shape; a single one is returned as it is."""
        if len(arrays) == 1:
            return arrays[0]
        total = self.apply(add, arrays[0], arrays[1], out=out)
        for array in arrays[2:]:
            self.update(add, (total,), (array,))
        return total

    def join_columns(self, parts: Sequence[Array], out: Array | None = None) -> Array:
        """Arrays ``(m, n_k)`` side by side, ``(m, Σ n_k)``; a single one is returned as it is."""
        return parts[0] if len(parts) == 1 else self.xp.concat(list(parts), axis=1)

    def take_columns(self, x: Array, start: int, stop: int, out: Array | None = None) -> Array:
        """The columns ``start`` to ``stop`` of ``x``, which may be a view of it."""
        return x[:, start:stop]

    def normalize(
        self,
        x: Array,
        columns: Sequence[Array],
        out: Array | None = None,
        x_hat: Array | None = None,
    ) -> tuple[Array, Array]:
        """``x̂ = (x − μ − ρ)·f``, ``y = γ x̂ + β``; returns ``y, x̂``.

        Args:
            x: rows, ``(m, n)``.
            columns: ``μ, ρ, f, γ, β``, each ``(n,)``.
            out: may be filled with ``y``.
            x_hat: may be filled with ``x̂``.
        """
        return normalize(self.xp, x, *columns)

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        eps: float,
        out: Array | None = None,
        x_hat: Array | None = None,
        running: RunningStatistics | None = None,
    ) -> tuple[Array, Array, Array, Array, Array]:
        """``x̂ = (x − μ)/√(σ² + ε)``, ``y = γ x̂ + β``; returns ``y, x̂, μ, σ², ρ``.

        μ and σ² are the mean and the biased variance of each column over the rows of the batch;
        ρ is what rounding has lost of μ. ``running`` is updated if given.
        μ is computed by differences from the first row: where ``|μ| ≫ σ``, a sum of the numbers
        themselves would have an error larger than σ. The mean of ``x − μ`` corrects its rounding.
        """
        first = x[0, ...]
        mean = first + self.column_mean(x - first)
        centered = x - mean
        rest = self.column_mean(centered)
        centered = centered - rest
        var = self.column_mean(centered * centered)
        x_hat = centered / self.xp.sqrt(var + eps)
        rounded = mean + rest
        rest = (mean - rounded) + rest
        if running is not None:
            self._update_running(running, rounded, rest, var, x.shape[0])
        return x_hat * scale + shift, x_hat, rounded, var, rest

    def _update_running(
        self, running: RunningStatistics, mean: Array, rest: Array, var: Array, m: int
    ) -> None:
        """Update the running statistics by the results of `batch_norm` for a batch of ``m`` rows.

        The running variance takes the unbiased ``m/(m − 1) σ²``.
        """
        means, correction, xp = (running.mean, running.rest), m / (m - 1), self.xp
        if running.momentum is not None:
            keep, new = running.momentum, 1.0 - running.momentum
            self.update(running_mean, means, (mean, rest), (new,))
            self.update(average, (running.var,), (var,), (keep, new * correction))
        else:
            n = running.count
            total, delta = n + float(m), (mean - running.mean) + (rest - running.rest)
            squares = xp.maximum(n - 1.0, xp.zeros_like(n)) * running.var
            squares = squares + m * var + delta * delta * (n * m / total)
            merged = running_mean(xp, *means, mean, rest, m / total)
            running.mean[...], running.rest[...] = merged
            running.var[...] = squares / (total - 1.0)
        self.update(affine, (running.count,), (), (1.0, float(m)))

    def batch_norm_backward(
        self,
        dy: Array,
        x_hat: Array,
        scale: Array,
        var: Array,
        eps: float,
        d_scale: Array,
        d_shift: Array,
        out: Array | None = None,
    ) -> Array:
        """Fill ``dγ = Σ dy·x̂`` and ``dβ = Σ dy``; return ``dx``.

        ``dx = γ/(m√(σ² + ε)) · (m dy − Σdy − x̂ Σ(dy·x̂))``, because ``dx̂ = γ dy`` and γ is
        constant within a column.
        """
        m = dy.shape[0]
        d_shift[...] = self.xp.sum(dy, axis=0)
        d_scale[...] = self.xp.sum(dy * x_hat, axis=0)
        factor = scale / (m * self.xp.sqrt(var + eps))
        return factor * (m * dy - d_shift - x_hat * d_scale)

    def row_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array | None,
        eps: float,
        *,
        centered: bool = True,
        out: Array | None = None,
        rows: Array | None = None,
    ) -> tuple[Array, Array]:
        """``x̂ = (x − μ)/√(σ² + ε)`` and ``y = γ x̂ + β``, with μ and σ² of each row.

        As in `batch_norm`, μ is computed by differences from the first number of the row, and the
        mean of ``x − μ`` corrects its rounding.

        Args:
            x: rows, ``(m, n)``.
            scale: γ, ``(n,)``.
            shift: β, ``(n,)``, or ``None`` for 0.
            eps: ε, above 0.
            centered: whether μ is subtracted; if not, ``μ = 0`` and σ² is the mean square.
            out: may be filled with ``y``.
            rows: may be filled with the second result, ``(m, 3)``.

        Returns:
            ``y``, and the columns ``μ, ρ, f`` with ``x̂ = (x − μ − ρ)·f``, where ρ is what rounding
            has lost of μ.
        """
        xp = self.xp
        mean, rest = xp.zeros_like(x[:, :1]), xp.zeros_like(x[:, :1])
        values = x
        if centered:
            first = x[:, :1]
            mean = first + self.row_mean(x - first)
            values = x - mean
            rest = self.row_mean(values)
            values = values - rest
        factor = 1.0 / xp.sqrt(self.row_mean(values * values) + eps)
        y = values * factor * scale
        return y if shift is None else y + shift, xp.concat((mean, rest, factor), axis=1)

    def row_norm_backward(
        self,
        dy: Array,
        x: Array,
        rows: Array,
        scale: Array,
        d_scale: Array,
        d_shift: Array | None,
        *,
        centered: bool = True,
        out: Array | None = None,
    ) -> Array:
        """Fill ``dγ = Σ_rows dy·x̂`` and ``dβ = Σ_rows dy``; return ``dx``.

        ``dx = f·(u − mean u − x̂ mean(u x̂))`` with ``u = γ dy`` and the means along each row;
        without ``mean u`` if the rows are not ``centered``. ``rows`` is that of `row_norm`.
        """
        x_hat, u = self.row_normalized(x, rows), dy * scale
        if d_shift is not None:
            self.column_sum(dy, out=d_shift)
        self.column_sum(dy * x_hat, out=d_scale)
        dx = u - x_hat * self.row_mean(u * x_hat)
        return (dx - self.row_mean(u) if centered else dx) * rows[:, 2:]

    def row_normalized(self, x: Array, rows: Array) -> Array:
        """``x̂ = (x − μ − ρ)·f``, with the columns ``μ, ρ, f`` of `row_norm`."""
        return (x - rows[:, :1] - rows[:, 1:2]) * rows[:, 2:]

    def row_mean(self, x: Array) -> Array:
        """The mean of each row of ``x: (m, n)``, ``(m, 1)``, summed in double precision."""
        xp = self.xp
        total = xp.sum(x, axis=1, keepdims=True, dtype=xp.float64)
        return xp.astype(total / x.shape[1], x.dtype)

    def largest_piece(
        self,
        z: Array,
        n_out: int,
        out: Array | None = None,
        piece: Array | None = None,
    ) -> tuple[Array, Array]:
        """``y_ij = max_k z_i(kn+j)`` and the least such ``k``, for the ``n = n_out`` columns of y.

        Args:
            z: rows of pieces side by side, ``(m, K n)``.
            n_out: ``n``.
            out: may be filled with ``y``, ``(m, n)``.
            piece: may be filled with the numbers ``k``, in the dtype of ``z``. NaN is the largest.
        """
        xp = self.xp
        largest, pieces = z[:, :n_out], xp.zeros_like(z[:, :n_out])
        for k in range(1, z.shape[1] // n_out):
            other = z[:, k * n_out : (k + 1) * n_out]
            is_larger = (other > largest) | xp.isnan(other)
            largest = xp.where(is_larger, other, largest)
            pieces = xp.where(is_larger, xp.full_like(pieces, float(k)), pieces)
        return largest, pieces

    def largest_piece_backward(
        self, dy: Array, piece: Array, n_pieces: int, out: Array | None = None
    ) -> Array:
        """``∂L/∂z``, which is ``dy`` in the column of the largest piece, and 0 in the others."""
        xp, zero = self.xp, self.xp.zeros_like(dy)
        parts = [xp.where(piece == float(k), dy, zero) for k in range(n_pieces)]
        return xp.concat(parts, axis=1)

    def ordered_thresholds(
        self, x: Array, first: Array, gaps: Array, out: Array | None = None
    ) -> Array:
        """``z_ik = x_i − b_k`` with ``b_1 = first`` and ``b_(k+1) = b_k + softplus(gaps_k)``.

        Args:
            x: one column, ``(m, 1)``.
            first: ``(1,)``.
            gaps: ``(K − 1,)``.
            out: may be filled with the result, ``(m, K)``.
        """
        xp = self.xp
        return x - xp.cumulative_sum(xp.concat((first, softplus(xp, gaps))))

    def ordered_thresholds_backward(
        self, dz: Array, gaps: Array, d_first: Array, d_gaps: Array, out: Array | None = None
    ) -> Array:
        """Fill the gradients of `ordered_thresholds` and return ``dx``, ``(m, 1)``.

        ``d_gaps_k = −σ(gaps_k) Σ_(j>k) Σ_rows dz_j``, because every later threshold moves with a
        gap, and ``dx = Σ_k dz_k``.
        """
        xp = self.xp
        later = xp.flip(xp.cumulative_sum(xp.flip(-self.column_sum(dz))))
        d_first[...] = later[:1]
        d_gaps[...] = later[1:] * sigmoid(xp, gaps)
        return xp.sum(dz, axis=1, keepdims=True)

    def keep_mask(
        self,
        like: Array,
        key: Any,
        p: float,
        out: Array | None = None,
        *,
        first_row: Any = 0,
    ) -> Array:
        """A dropout mask like ``like``: 0 with probability ``p``, otherwise ``1/(1 − p)``.

        Position ``i`` (row-major) is dropped where ``hash32(hash32(i ^ key) + key) < p 2³²``, which
        depends on the key and the position only, so that every backend draws the same mask.

        Args:
            like: an array of the shape and dtype of the mask.
            key: the key, an integer or an array of one int64.
            p: the probability.
            out: may be filled with the mask.
            first_row: the row of the batch at which ``like`` begins, an integer or an array of one
                int64; default 0. The masks of the parts of a batch are then that of the batch.
        """
        xp, (m, n) = self.xp, like.shape
        position = xp.arange(m * n, dtype=xp.int64, device=like.device) + first_row * n
        bits = hash32((hash32(position ^ key) + key) & 0xFFFFFFFF)
        keep = xp.astype(xp.reshape(bits, (m, n)) >= int(p * 2**32), like.dtype)
        return keep * (1.0 / (1.0 - p))

    def take_rows(self, x: Array, indices: Array, out: Array | None = None) -> Array:
        """The rows of ``x`` at ``indices``."""
        return self.xp.take(x, indices, axis=0)

    def below_max(self, z: Array) -> Array:
        """``z − max z`` along each row; finite where ``z`` is, and −∞ where ``z`` is.

        The difference of two large logits overflows. ``z`` is bounded before the subtraction,
        because NumPy warns of an overflow.
        """
        xp, info = self.xp, self.xp.finfo(z.dtype)
        top = xp.max(z, axis=1, keepdims=True)
        lowest = -float(info.max) * (1.0 - 4.0 * float(info.eps))  # with a margin for rounding
        return bounded(xp, z, xp.maximum(top, xp.zeros_like(top)) + lowest) - top

    def softmax(self, z: Array, out: Array | None = None) -> Array:
        """``e^(z − max z) / Σ e^(z − max z)`` along each row."""
        e = self.xp.exp(self.below_max(z))
        return e / self.xp.sum(e, axis=1, keepdims=True)

    def log_softmax(self, z: Array, out: Array | None = None) -> Array:
        """``z − max z − log Σ e^(z − max z)`` along each row; finite for finite ``z``."""
        shifted = self.below_max(z)
        return shifted - self.xp.log(self.xp.sum(self.xp.exp(shifted), axis=1, keepdims=True))

    def one_hot(self, indices: Array, like: Array) -> Array:
        """Rows with 1 at ``indices: (m,)`` and 0 elsewhere, in the width and dtype of ``like``."""
        xp = self.xp
        columns = xp.arange(like.shape[1], dtype=xp.int64, device=like.device)
        return xp.astype(columns[None, :] == xp.astype(indices, xp.int64)[:, None], like.dtype)

    def softmax_cross_entropy(
        self, z: Array, target: Array, scale: Any, out: Array | None = None
    ) -> tuple[Array, Array]:
        """``Σ_i s_i (−Σ_k t_ik log softmax(z_i)_k)`` and its gradient with respect to ``z``.

        Args:
            z: logits, ``(m, K)``.
            target: class indices ``(m,)``, or rows ``(m, K)`` that sum to about 1. An index out of
                range is treated as a row of zeros; `Loss.check` rejects it.
            scale: one factor ``s`` for all rows, or a column ``(m, 1)``.
            out: may be filled with the gradient ``s_i (softmax(z_i) Σ_k t_ik − t_i)``.
        """
        rows = self.one_hot(target, z) if target.ndim == 1 else target
        log_p, mass = self.log_softmax(z), self.xp.sum(rows, axis=1, keepdims=True)
        finite = self.xp.maximum(log_p, float(self.xp.finfo(z.dtype).min))
        cost = self.xp.where(rows == 0.0, finite, log_p)  # 0 · −∞ is 0
        loss = -self.xp.sum(scale * rows * cost)
        return loss, scale * (self.xp.exp(log_p) * mass - rows)

    def logged_cross_entropy(
        self, log: LossLog, z: Array, target: Array, scale: Any, out: Array | None = None
    ) -> tuple[Array, Array]:
        """`softmax_cross_entropy`, whose value is also appended to a log by `record`."""
        loss, grad = self.softmax_cross_entropy(z, target, scale, out)
        self.for_graphs.record(log, loss)
        return loss, grad


def bounded(xp: Namespace, x: Array, low: Array | float) -> Array:
    """``max(x, low)`` where ``x`` is finite; infinities and NaN do not change."""
    return xp.where(xp.isfinite(x), xp.maximum(x, low), x)


def declares(value: object, flag: str) -> bool:
    """Whether the class of ``value`` itself sets ``flag``; subclasses do not inherit it.

    A subclass may override the methods that the flag describes.
    """
    return bool(vars(type(value)).get(flag, False))


def _into(out: Array | None, value: Array) -> Array:
    """Copy ``value`` to ``out`` if one is given, because gradient views are filled in place."""
    if out is None:
        return value
    out[...] = value
    return out
