"""Compute one gradient in three ways, and the Hessian of a small network.

Reverse mode propagates ∂L/∂z backward and computes the whole gradient in two passes. Forward mode
propagates ȧ = φ'(z) ⊙ (ȧ_prev W + a_prev Ẇ + ḃ) and computes the derivative along one direction. A
central difference computes one entry from two values. The first two agree to rounding, the
difference up to its error.

That error is h² |f'''|/6 from truncation and about eps |f|/h from rounding (left plot). A fixed h =
1e-8 loses half of the digits; the default h = eps^(1/3) max(1, |θ|) loses a third. The complex step
Im f(θ + ih)/h subtracts nothing and loses none, for functions of complex numbers.

The Hessian is computed column by column from exact products ∇²L v (the R-operator). Before training
it is indefinite: it has negative eigenvalues, so Newton's method would go uphill in some
directions. Its Gauss-Newton part Jᵀ H_L J has none. After training the two nearly agree because the
residuals are small. Most eigenvalues are near 0: those directions of θ hardly matter (right plot).
B. Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6, 1994.

    python examples/derivatives.py [--epochs 1500]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLUE, GREY, ORANGE, arguments, new_figure, save

from xpnet import MLP, Adam, HalfMSE, Sequential, Tanh
from xpnet.derivatives import (
    check_gradients,
    complex_step_gradient,
    gauss_newton_vp,
    gradient,
    hessian,
    input_jacobian,
    jvp,
    numerical_gradient,
)


def three_modes(model: Sequential, X: np.ndarray, t: np.ndarray) -> None:
    """Print the differences between reverse mode, forward mode and central differences."""
    reverse = gradient(model, X, t, HalfMSE())
    residual = (model.forward(X) - t) / len(X)  # ∂L/∂output
    unit = np.eye(model.layout.size)
    forward = np.array([np.sum(residual * jvp(model, X, dtheta=v)) for v in unit])

    def loss(theta: np.ndarray) -> float:
        return HalfMSE().value(model.forward(X, theta=theta), t)

    print(f"∂L/∂θ of {model.layout.size} parameters, largest difference from reverse mode:")
    print(f"  forward mode               {np.abs(forward - reverse).max():.1e}")
    for name, h in (("h = eps^(1/3) max(1, |θ|)", None), ("h = 1e-8", 1e-8)):
        gap = np.abs(numerical_gradient(loss, model.theta, h=h) - reverse).max()
        print(f"  {name:<25}  {gap:.1e}")
    jacobians = [input_jacobian(model, X, mode) for mode in ("reverse", "forward", "numerical")]
    gaps = [np.abs(other - jacobians[0]).max() for other in jacobians[1:]]
    print(f"∂y/∂x: forward mode {gaps[0]:.1e}, differences {gaps[1]:.1e} from reverse mode")
    print("check_gradients:")
    print(check_gradients(model, X, t, HalfMSE()))


def spectra(model: Sequential, X: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of the Hessian and of its Gauss-Newton part, in descending order."""
    unit = np.eye(model.layout.size)
    H = hessian(model, X, t, HalfMSE())
    G = np.array([gauss_newton_vp(model, X, t, HalfMSE(), v) for v in unit])
    return tuple(np.linalg.eigvalsh(matrix)[::-1] for matrix in (H, 0.5 * (G + G.T)))


def wave(x: np.ndarray) -> np.ndarray:
    """Return a function of x with a non-zero third derivative."""
    return np.exp(np.sin(x[0]))


def main(epochs: int, out: Path) -> None:
    rng = np.random.default_rng(0)
    X = np.linspace(-2, 2, 40)[:, None]
    t = np.sin(2 * X) + 0.02 * rng.standard_normal(X.shape)
    model = MLP(1, [8], 1, activation=Tanh(), dtype="float64", rng=1)
    three_modes(model, X, t)
    before = spectra(model, X, t)
    model.fit(X, t, loss=HalfMSE(), optimizer=Adam(0.02), epochs=epochs, progress=False)
    after = spectra(model, X, t)

    figure, (left, right) = new_figure(1, 2, (11, 4.2))
    x = np.array([0.7])
    exact = np.cos(x[0]) * wave(x)
    steps = np.logspace(-13, 0, 53)
    for name, method, colour in (
        ("central difference", numerical_gradient, ORANGE),
        ("complex step", complex_step_gradient, BLUE),
    ):
        errors = [abs(method(wave, x, h=h)[0] / exact - 1) for h in steps]
        left.loglog(steps, np.maximum(errors, 1e-17), ".-", color=colour, label=name)
    default = np.finfo(float).eps ** (1 / 3)
    left.axvline(default, color=GREY, ls=":", label="h = eps^(1/3)")
    left.axvline(1e-8, color=GREY, ls="--", label="h = 1e-8")
    left.set(title="d/dx exp(sin x) at 0.7", xlabel="step h", ylabel="relative error")
    left.legend()

    print("eigenvalues             largest    smallest  negative  below 1e-4 of the largest")
    for name, (H, G), colour in (("before", before, ORANGE), ("after", after, BLUE)):
        for kind, values, marker in (("Hessian", H, "o"), ("Gauss-Newton", G, "x")):
            number, flat = np.sum(values < -1e-10), np.sum(np.abs(values) < 1e-4 * values[0])
            print(f"{name:<7}{kind:<14}{values[0]:>10.3f}{values[-1]:>12.5f}{number:>10}{flat:>10}")
            index = np.arange(1, len(values) + 1)
            right.plot(index, values, marker, color=colour, mfc="none", label=f"{kind}, {name}")
    right.set_yscale("symlog", linthresh=1e-3)
    right.axhline(0, color=GREY, lw=0.8)
    right.set(title="Eigenvalues before and after training", xlabel="rank", ylabel="eigenvalue")
    right.legend()
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("derivatives", __doc__, epochs=1500))
