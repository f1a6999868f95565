"""The memory of L-BFGS: the last m pairs, and their product with a gradient in two passes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xpnet.backend import Array, to_numpy
from xpnet.minimize.scalar_function import ScalarFunction
from xpnet.ops import operations_for
from xpnet.ops.rules.minimizers import secant_pair
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries

Vector = NDArray[np.float64]


class Pairs:
    """The last m steps s and gradient changes y, as a representation of the inverse Hessian H.

    One array of shape ``(2m + 1, n)`` holds them: the gradient in row 0, then s and y in
    alternating rows. The direction is a linear combination of these rows, and all inner products of
    the two-loop recursion are products of rows with gradients. An iteration therefore reads the
    array twice: once to multiply it by the new gradient, from which the products with the new y
    follow as differences, and once to combine its rows. The rest of the recursion is two triangular
    solves of size m on the host, with ``R_ij = s_iᵀy_j`` for i ≤ j, ``D = diag R`` and
    ``γ = sᵀy/yᵀy`` of the last pair::

        a = R⁻¹ Sᵀg,    b = R⁻ᵀ (D a + γ (YᵀY a - Yᵀg)),    Hg = γg + Sb - γYa

    Args:
        m: the number of pairs, at least 1.
        function: the function to minimize, which determines n, the backend and the dtype.
        grad: the gradient at the start, shape ``(n,)``.

    Reference: Byrd, Nocedal and Schnabel, Representations of quasi-Newton matrices and their use in
    limited memory methods, Math. Prog. 63 (1994) 129, eq. (3.1); equal to the two-loop recursion,
    Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.4.
    """

    def __init__(self, m: int, function: ScalarFunction, grad: Array) -> None:
        self._function, self._m = function, m
        memory = function.backend.zeros(2 * m + 1, function.n)
        self._all, self._grad, self._rows = memory, memory[0, ...], memory[1:, :]
        self._grad[...] = grad
        self._sy, self._yy = np.zeros((m, m)), np.zeros((m, m))
        self._products = np.zeros((m, 2))
        self._slots: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def gamma(self) -> float:
        """``sᵀy / yᵀy`` of the last pair, the scale of the inverse Hessian; 1 without pairs."""
        if not self._slots:
            return 1.0
        last = self._slots[-1]
        return float(self._sy[last, last] / self._yy[last, last])

    def append(self, direction: Array, grad: Array, alpha: float = 1.0) -> bool:
        """Append the step ``s = αd`` to a point with gradient ``grad``; replace the oldest pair.

        Returns:
            Whether the pair was kept: it is skipped unless ``yᵀs > eps |sᵀ∇f_before|`` and
            ``yᵀy`` is in the range of the dtype.
        """
        old, new = list(self._slots), self._free_slot()
        if new in old:
            old.remove(new)
        self._slots = [*old, new]
        self._write(new, direction, grad, alpha)
        products = self._times(grad)
        sy = self._sy[new, new]
        kept = bool(sy > self._function.eps * abs(products[new, 0] - sy))
        kept = kept and 0.0 < self._yy[new, new] < np.inf
        if kept:
            # yᵀ(row) = ∇f_newᵀ(row) - ∇f_oldᵀ(row): both products are known.
            change = products[old] - self._products[old]
            self._sy[old, new] = change[:, 0]
            self._yy[old, new] = self._yy[new, old] = change[:, 1]
        else:
            self._slots = old
            self._rows[2 * new : 2 * new + 2, :] = 0.0  # infinity would remain in a product with 0
        self._products = products
        return kept

    def restrict(self, free: Array, grad: Array) -> None:
        """Set the components to zero where ``free`` is, and drop pairs without curvature there."""
        self._rows *= free[None, :]
        gram = to_numpy(self._rows @ self._function.xp.matrix_transpose(self._rows)).astype(float)
        self._sy, self._yy = gram[0::2, 1::2], gram[1::2, 1::2]
        sizes = np.sqrt(np.diag(gram))
        flat = self._function.eps * sizes[0::2] * sizes[1::2]
        self._slots = [i for i in self._slots if self._sy[i, i] > flat[i]]
        self._grad[...] = grad
        self._products = self._times(grad)

    def direction(self) -> Array:
        """Return ``-H∇f`` for the gradient of the last `append`."""
        return self._combine(-self.gamma, -self._weights(self._products))

    def apply(self, vector: Array) -> Array:
        """Return ``H v`` for any vector v, shape ``(n,)``."""
        weights = self._weights(self._times(vector))
        return self.gamma * vector + self._combine(0.0, weights)

    def state_dict(self) -> StateDict:
        """Return the state; its arrays are not copies, and the next `append` overwrites them."""
        used = max(self._slots, default=-1) + 1
        return {
            "rows": self._all[: 2 * used + 1, :],
            "sy": self._sy,
            "yy": self._yy,
            "products": self._products,
            "slots": list(self._slots),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Copy what `state_dict` returned into this memory.

        The rows of unused slots below the last used one are part of it, because the sums over the
        rows include them. NaN is not refused: an inner product may overflow.

        Raises:
            FileFormatError: if it does not fit; the message names the entry.
        """
        entries = Entries(state, "Pairs", "rows", "sy", "yy", "products", "slots")
        slots = entries.items("slots")
        ok = all(type(i) is int and 0 <= i < self._m for i in slots) and len({*slots}) == len(slots)
        entries.require(ok, "slots", f"be distinct integers from 0 to {self._m - 1}")
        sy, yy = entries.array("sy", self._sy), entries.array("yy", self._yy)
        curvatures = sy[slots, slots]
        ok = bool(np.all((curvatures > 0.0) & (curvatures < np.inf)))
        entries.require(ok, "sy", "have a positive finite diagonal where a slot is used")
        products = entries.array("products", self._products)
        stored = 2 * max(slots, default=-1) + 3
        entries.copy_into("rows", self._all[:stored, :])
        self._sy, self._yy, self._products, self._slots = sy, yy, products, slots

    def _free_slot(self) -> int:
        """Return the first unused slot, or that of the oldest pair."""
        unused = set(range(self._m)) - set(self._slots)
        return min(unused) if unused else self._slots[0]

    def _write(self, slot: int, direction: Array, grad: Array, alpha: float) -> None:
        """Write the pair into ``slot`` and store the gradient, in one fused pass."""
        pair = self._rows[2 * slot : 2 * slot + 2, :]
        targets, ops = (pair[0, ...], pair[1, ...], self._grad), operations_for(grad)
        ops.update(secant_pair, targets, (direction, grad), (alpha,))
        y = pair[1, ...]
        self._sy[slot, slot], self._yy[slot, slot] = to_numpy(pair @ y)

    def _times(self, vector: Array) -> Vector:
        """Return ``(sᵀv, yᵀv)`` of every slot on the host, shape ``(m, 2)``: the first pass."""
        products = np.zeros((self._m, 2))
        used = max(self._slots, default=-1) + 1
        products[:used] = to_numpy(self._rows[: 2 * used, :] @ vector).reshape(used, 2)
        return products

    def _combine(self, of_grad: float, weights: Vector) -> Array:
        """Return the weighted sum of the gradient and the rows: the second pass."""
        used = max(self._slots, default=-1) + 1
        row = np.append(of_grad, weights[:used])
        device = self._function.backend.asarray(row, dtype=self._grad.dtype)
        return device @ self._all[: 2 * used + 1, :]

    def _weights(self, products: Vector) -> Vector:
        """Return the weights of s and y in ``Hv``, shape ``(m, 2)``, by two triangular solves."""
        weights = np.zeros((self._m, 2))
        if not self._slots:
            return weights
        order = np.asarray(self._slots)
        square = np.ix_(order, order)
        r, (sv, yv) = np.triu(self._sy[square]), products[order].T
        try:
            a = np.linalg.solve(r, sv)
            inner = np.diag(r) * a + self.gamma * (self._yy[square] @ a - yv)
            # Reversed, Rᵀ is upper triangular, so that the LU solver reduces to back substitution.
            b = np.linalg.solve(r.T[::-1, ::-1], inner[::-1])[::-1]
        except np.linalg.LinAlgError:  # the pivot search may pass over NaN, after an overflow
            a = b = np.full(len(order), np.nan)  # no descent direction: the search is along -∇f
        weights[order, 0], weights[order, 1] = b, -self.gamma * a
        return weights
