"""Checks of the methods of layers that only derivatives along a direction use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xpnet.backend import Array, HostArray, to_numpy
from xpnet.derivatives.linearization import Linearization, first_lacking
from xpnet.derivatives.report import ProductCheck
from xpnet.derivatives.second_order import hessian_products
from xpnet.errors import ArgumentError
from xpnet.losses import Loss
from xpnet.minimize.differences import relative_step

EPS = float(np.finfo(np.float64).eps)

ROUNDINGS = 10
"""The rounding error that is allowed, in units of `EPS` times the size of what is added."""

DISPLACEMENT = 1e-3
"""How far from θ second derivatives are checked, in units of the largest parameter or of 1."""

STEPS = 1, 1 / 64, 1 / 4096
"""The steps of the differences of gradients, in units of the usual one.

A kink within a step, as of ReLU in one of many units, changes the difference: the smallest error
counts. A smaller step has more rounding, in float64 less than the tolerance.
"""


@dataclass(frozen=True, eq=False)
class DirectionalProducts:
    """DirectionalProducts with the Jacobian and the Hessian of a loss, along random directions.

    ``⟨ẏ, J v⟩ = ⟨Jᵀ ẏ, v⟩`` holds to rounding, so that ``jvp`` is compared with ``backward``, which
    differences of the loss check; ``∇²L v`` is compared with differences of gradients.

    Attributes:
        linear: the network in float64.
        loss: the loss.
        y: the targets.
        weight: the weights of the rows, or ``None``.
    """

    linear: Linearization
    loss: Loss
    y: Array
    weight: Array | None

    def check(
        self, tolerance: float, rng: np.random.Generator
    ) -> tuple[tuple[ProductCheck, ...], tuple[str, ...]]:
        """Return the checks, and the reason for each that is left out.

        Args:
            tolerance: the relative error up to which a product is correct.
            rng: the stream of the directions.
        """
        network, checks, left_out = self.linear.network, list[ProductCheck](), list[str]()
        if first_lacking(network, "jvp") is None:
            checks.append(self._check_jvp(tolerance, rng))
        lack = first_lacking(network, "jvp", "backward_jvp")
        if lack is not None:
            kind, place, missing = lack
            what = "jvp and hvp" if "jvp" in missing else "hvp"
            left_out.append(f"{what}, because {kind} ({place}) has no {' and no '.join(missing)}")
        elif network.layout.size > 0:
            try:
                checks.append(self._check_hvp(tolerance, rng))
            except ArgumentError as error:  # an activation or a loss without a curvature
                left_out.append(f"hvp, because {str(error).removesuffix('.')}")
        return tuple(checks), tuple(left_out)

    def _check_jvp(self, tolerance: float, rng: np.random.Generator) -> ProductCheck:
        """Compare ``⟨ẏ, J v⟩`` with ``⟨Jᵀ ẏ, v⟩``, for X and θ at once."""
        linear = self.linear
        dy, v, d_input = (
            linear.backend.asarray(rng.normal(size=tuple(like.shape)))
            for like in (linear.output, linear.theta, linear.X)
        )
        dX, grad = linear.vjp(dy, need_dx=True)
        product, _ = linear.jvp(None if dX is None else d_input, v)
        pairs = [(dy, product), (grad, v)] + ([] if dX is None else [(dX, d_input)])
        host = [(to_numpy(a).ravel(), to_numpy(b).ravel()) for a, b in pairs]
        forward, *by_part = (float(a @ b) for a, b in host)
        backward = sum(by_part)
        rounding = ROUNDINGS * EPS * sum(_norm(a) * _norm(b) for a, b in host)
        gap, size = abs(forward - backward), max(abs(forward), abs(backward), rounding / tolerance)
        return _checked("jvp", gap, size, forward, backward, tolerance)

    def _check_hvp(self, tolerance: float, rng: np.random.Generator) -> ProductCheck:
        """Compare ``∇²L v`` with differences of gradients, beside θ; the check has both norms.

        At θ itself a unit may be at the kink of ReLU, as with zero biases on a row of zeros.
        """
        linear, asarray = self.linear, self.linear.backend.asarray
        scale = max(1.0, float(np.max(np.abs(to_numpy(linear.theta)))))
        direction, beside = rng.normal(size=(2, linear.network.layout.size))
        linear = linear.at(theta=linear.theta + asarray(DISPLACEMENT * scale * beside))
        v, usual = asarray(direction / _norm(direction)), relative_step("float64") * scale
        product = to_numpy(hessian_products(linear, self.y, self.loss, self.weight)(v))
        found = list[ProductCheck]()
        for h in (factor * usual for factor in STEPS):
            above, below = (self._gradient(linear.theta + step * v) for step in (h, -h))
            difference = (above - below) / (2 * h)
            rounding = ROUNDINGS * EPS * (_norm(above) + _norm(below)) / h
            norms = _norm(product), _norm(difference)
            size = max(*norms, rounding / tolerance)
            found.append(_checked("hvp", _norm(product - difference), size, *norms, tolerance))
            if found[-1].ok:
                break
        return min(found, key=lambda check: check.error)

    def _gradient(self, theta: Array) -> HostArray:
        """Return ``∇L`` at ``theta``."""
        there = self.linear.at(theta=theta)
        _, dy = self.loss.value_and_grad(there.output, self.y, self.weight)
        return to_numpy(there.vjp(dy)[1])


def _checked(
    name: str, gap: float, size: float, given: float, expected: float, tolerance: float
) -> ProductCheck:
    error = gap / size if size > 0 else 0.0
    error = error if math.isfinite(error) else math.inf
    return ProductCheck(name, error, given, expected, error <= tolerance)


def _norm(x: HostArray) -> float:
    return float(np.linalg.norm(x))
