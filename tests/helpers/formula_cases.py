"""Formulas as researchers write them, each with the same function in mpmath and in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp

from xpnet.ops.formulas import Formula
from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.symbols import Symbol, SymbolNamespace
from xpnet.ops.formulas.table import OPERATIONS
from xpnet.ops.rules.activations import SELU_ALPHA, SELU_SCALE

ROOT_2, ROOT_2_PI = math.sqrt(2.0), math.sqrt(2.0 / math.pi)


class FormulaCase(NamedTuple):
    """A formula ``f(xp, z, …)``, and what it must equal.

    Attributes:
        rule: the formula, as it is written.
        reference: the same function of mpmath's numbers, written independently.
        parameters: the values of its parameters.
        torch: the same function ``f(torch, z, …)`` of PyTorch's tensors.
        rounding: the size of what the formula rounds, beside its own, for ``z``.
    """

    rule: Callable[..., Any]
    reference: Callable[..., Any]
    parameters: tuple[float, ...] = ()
    torch: Callable[..., Any] | None = None
    rounding: Callable[[Any], Any] = lambda z: 0


def logistic(u):
    return 1 / (1 + mp.exp(-u))


def log1p_exp(u):
    return mp.log(1 + mp.exp(u))


def functional(name: str, **options: Any) -> Callable[..., Any]:
    return lambda torch, z: getattr(torch.nn.functional, name)(z, **options)


def elementwise(name: str, **options: Any) -> Callable[..., Any]:
    return lambda torch, z, t: getattr(torch.nn.functional, name)(z, t, reduction="none", **options)


ACTIVATIONS = {
    "identity": FormulaCase(lambda xp, z: z, lambda z: z),
    "affine": FormulaCase(lambda xp, z, a, b: a * z + b, lambda z, a, b: a * z + b, (2.0, 1.0)),
    "sigmoid": FormulaCase(
        lambda xp, z: 1 / (1 + xp.exp(-z)), logistic, torch=functional("sigmoid")
    ),
    "tanh": FormulaCase(lambda xp, z: xp.tanh(z), mp.tanh, torch=functional("tanh")),
    "relu": FormulaCase(
        lambda xp, z: xp.maximum(z, 0), lambda z: max(z, mp.mpf(0)), torch=functional("relu")
    ),
    "leaky_relu": FormulaCase(
        lambda xp, z, a: xp.where(z > 0, z, a * z),
        lambda z, a: z if z > 0 else a * z,
        (0.01,),
        lambda torch, z: torch.nn.functional.leaky_relu(z, 0.01),
    ),
    "elu": FormulaCase(
        lambda xp, z, a: xp.where(z > 0, z, a * (xp.exp(z) - 1)),
        lambda z, a: z if z > 0 else a * mp.expm1(z),
        (1.0,),
        functional("elu"),
    ),
    "selu": FormulaCase(
        lambda xp, z: SELU_SCALE * xp.where(z > 0, z, SELU_ALPHA * (xp.exp(z) - 1)),
        lambda z: mp.mpf(SELU_SCALE) * (z if z > 0 else mp.mpf(SELU_ALPHA) * mp.expm1(z)),
        torch=functional("selu"),
    ),
    "celu": FormulaCase(
        lambda xp, z, a: xp.maximum(z, 0) + xp.minimum(0, a * (xp.exp(z / a) - 1)),
        lambda z, a: z if z > 0 else a * mp.expm1(z / a),
        (1.5,),
        functional("celu", alpha=1.5),
    ),
    "softplus": FormulaCase(
        lambda xp, z: xp.log(1 + xp.exp(z)), log1p_exp, torch=functional("softplus", threshold=50)
    ),
    "gelu": FormulaCase(
        lambda xp, z: 0.5 * z * (1 + xp.erf(z / ROOT_2)),
        lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
        torch=functional("gelu"),
    ),
    "gelu_tanh": FormulaCase(
        lambda xp, z: 0.5 * z * (1 + xp.tanh(ROOT_2_PI * (z + 0.044715 * z**3))),
        lambda z: z * logistic(2 * mp.sqrt(2 / mp.pi) * (z + mp.mpf(0.044715) * z**3)),
        torch=functional("gelu", approximate="tanh"),
    ),
    "silu": FormulaCase(
        lambda xp, z: z / (1 + xp.exp(-z)), lambda z: z * logistic(z), torch=functional("silu")
    ),
    "hard_sigmoid": FormulaCase(
        lambda xp, z: xp.clip(0.2 * z + 0.5, 0, 1),
        lambda z: min(max(mp.mpf(0.2) * z + 0.5, mp.mpf(0)), mp.mpf(1)),
    ),
    "exponential": FormulaCase(
        lambda xp, z: xp.exp(z), mp.exp, torch=lambda torch, z: torch.exp(z)
    ),
    "hard_swish": FormulaCase(
        lambda xp, z: z * xp.clip(z / 6 + 0.5, 0, 1),
        lambda z: z * min(max(z / 6 + 0.5, mp.mpf(0)), mp.mpf(1)),
        torch=functional("hardswish"),
    ),
    "mish": FormulaCase(
        lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))),
        lambda z: z * mp.tanh(log1p_exp(z)),
        torch=functional("mish"),
    ),
    "softsign": FormulaCase(
        lambda xp, z: z / (1 + xp.abs(z)), lambda z: z / (1 + abs(z)), torch=functional("softsign")
    ),
    "gaussian": FormulaCase(
        lambda xp, z: xp.exp(-(z**2)),
        lambda z: mp.exp(-(z**2)),
        torch=lambda torch, z: torch.exp(-z * z),
    ),
    "arctan": FormulaCase(lambda xp, z: xp.atan(z), mp.atan, torch=lambda torch, z: torch.atan(z)),
    "sine": FormulaCase(lambda xp, z: xp.sin(z), mp.sin, torch=lambda torch, z: torch.sin(z)),
    "snake": FormulaCase(
        lambda xp, z, a: z + xp.sin(a * z) ** 2 / a,
        lambda z, a: z + mp.sin(a * z) ** 2 / a,
        (2.0,),
        lambda torch, z: z + torch.sin(2 * z) ** 2 / 2,
    ),
    "log_sigmoid": FormulaCase(
        lambda xp, z: -xp.log(1 + xp.exp(-z)),
        lambda z: -log1p_exp(-z),
        torch=functional("logsigmoid"),
    ),
    "isru": FormulaCase(
        lambda xp, z: z / xp.sqrt(1 + z**2),
        lambda z: z / mp.sqrt(1 + z * z),
        torch=lambda torch, z: z / torch.sqrt(1 + z * z),
    ),
    "bent_identity": FormulaCase(
        lambda xp, z: (xp.sqrt(z**2 + 1) - 1) / 2 + z, lambda z: (mp.sqrt(z * z + 1) - 1) / 2 + z
    ),
    "tanhexp": FormulaCase(
        lambda xp, z: z * xp.tanh(xp.exp(z)),
        lambda z: z * mp.tanh(mp.exp(z)),
        torch=lambda torch, z: z * torch.tanh(torch.exp(z)),
    ),
    "tanhshrink": FormulaCase(
        lambda xp, z: z - xp.tanh(z),
        lambda z: z - mp.tanh(z),
        torch=functional("tanhshrink"),
        rounding=abs,
    ),
    "lisht": FormulaCase(lambda xp, z: z * xp.tanh(z), lambda z: z * mp.tanh(z)),
    "squareplus": FormulaCase(
        lambda xp, z: 0.5 * (z + xp.sqrt(z**2 + 4)), lambda z: (z + mp.sqrt(z * z + 4)) / 2
    ),
    "elliott": FormulaCase(
        lambda xp, z, a: 0.5 * z / (a + xp.abs(z)) + 0.5,
        lambda z, a: z / (a + abs(z)) / 2 + 0.5,
        (1.5,),
        rounding=lambda z: 1,
    ),
    "shifted_softplus": FormulaCase(
        lambda xp, z: xp.log(0.5 * xp.exp(z) + 0.5),
        lambda z: mp.log((mp.exp(z) + 1) / 2),
        rounding=lambda z: 1,
    ),
    "erf": FormulaCase(lambda xp, z: xp.erf(z), mp.erf, torch=lambda torch, z: torch.erf(z)),
    "asinh": FormulaCase(
        lambda xp, z: xp.asinh(z), mp.asinh, torch=lambda torch, z: torch.asinh(z)
    ),
}
"""Activations: ``f(z, …)``."""


def huber(d, delta):
    return d * d / 2 if abs(d) <= delta else delta * (abs(d) - delta / 2)


LOSSES = {
    "half_square": FormulaCase(lambda xp, z, t: 0.5 * (z - t) ** 2, lambda z, t: (z - t) ** 2 / 2),
    "square": FormulaCase(
        lambda xp, z, t: (z - t) ** 2, lambda z, t: (z - t) ** 2, torch=elementwise("mse_loss")
    ),
    "absolute": FormulaCase(
        lambda xp, z, t: xp.abs(z - t), lambda z, t: abs(z - t), torch=elementwise("l1_loss")
    ),
    "huber": FormulaCase(
        lambda xp, z, t, d: xp.where(
            xp.abs(z - t) <= d, 0.5 * (z - t) ** 2, d * (xp.abs(z - t) - 0.5 * d)
        ),
        lambda z, t, d: huber(z - t, d),
        (1.0,),
        elementwise("huber_loss"),
    ),
    "logistic": FormulaCase(
        lambda xp, z, t: xp.log(1 + xp.exp(z)) - t * z,
        lambda z, t: log1p_exp(z) - t * z,
        torch=elementwise("binary_cross_entropy_with_logits"),
    ),
    "cross_entropy_of_sigmoid": FormulaCase(
        lambda xp, z, t: (
            -t * xp.log(1 / (1 + xp.exp(-z))) - (1 - t) * xp.log(1 - 1 / (1 + xp.exp(-z)))
        ),
        lambda z, t: t * log1p_exp(-z) + (1 - t) * log1p_exp(z),
        torch=elementwise("binary_cross_entropy_with_logits"),
    ),
    "focal": FormulaCase(
        lambda xp, z, t, g: (
            -t * (1 - xp.sigmoid(z)) ** g * xp.log(xp.sigmoid(z))
            - (1 - t) * xp.sigmoid(z) ** g * xp.log(1 - xp.sigmoid(z))
        ),
        lambda z, t, g: (
            t * logistic(-z) ** g * log1p_exp(-z) + (1 - t) * logistic(z) ** g * log1p_exp(z)
        ),
        (2.0,),
    ),
    "hinge": FormulaCase(
        lambda xp, z, t: xp.maximum(1 - t * z, 0), lambda z, t: max(1 - t * z, mp.mpf(0))
    ),
    "squared_hinge": FormulaCase(
        lambda xp, z, t: xp.maximum(1 - t * z, 0) ** 2, lambda z, t: max(1 - t * z, mp.mpf(0)) ** 2
    ),
    "perceptron": FormulaCase(
        lambda xp, z, t: xp.maximum(-t * z, 0), lambda z, t: max(-t * z, mp.mpf(0))
    ),
    "poisson": FormulaCase(
        lambda xp, z, t: xp.exp(z) - t * z,
        lambda z, t: mp.exp(z) - t * z,
        torch=elementwise("poisson_nll_loss"),
    ),
    "soft_margin": FormulaCase(
        lambda xp, z, t: xp.log(1 + xp.exp(-t * z)),
        lambda z, t: log1p_exp(-t * z),
        torch=elementwise("soft_margin_loss"),
    ),
    "gamma": FormulaCase(lambda xp, z, t: t / xp.exp(z) + z, lambda z, t: t * mp.exp(-z) + z),
    "tweedie": FormulaCase(
        lambda xp, z, t, p: -t * xp.exp((1 - p) * z) / (1 - p) + xp.exp((2 - p) * z) / (2 - p),
        lambda z, t, p: -t * mp.exp((1 - p) * z) / (1 - p) + mp.exp((2 - p) * z) / (2 - p),
        (1.5,),
    ),
    "log_cosh": FormulaCase(
        lambda xp, z, t: xp.log(xp.cosh(z - t)), lambda z, t: mp.log(mp.cosh(z - t))
    ),
    "pinball": FormulaCase(
        lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)),
        lambda z, t, q: q * (t - z) if t > z else (q - 1) * (t - z),
        (0.9,),
    ),
    "expectile": FormulaCase(
        lambda xp, z, t, q: xp.where(z > t, 1 - q, q) * (z - t) ** 2,
        lambda z, t, q: (1 - q if z > t else q) * (z - t) ** 2,
        (0.9,),
    ),
    "quantile_huber": FormulaCase(
        lambda xp, z, t, q, d: (
            xp.abs(q - (z > t))
            * xp.where(xp.abs(z - t) <= d, 0.5 * (z - t) ** 2, d * (xp.abs(z - t) - 0.5 * d))
            / d
        ),
        lambda z, t, q, d: (1 - q if z > t else q) * huber(z - t, d) / d,
        (0.9, 1.0),
    ),
    "student_t": FormulaCase(
        lambda xp, z, t, nu: 0.5 * (nu + 1) * xp.log(1 + (z - t) ** 2 / nu),
        lambda z, t, nu: (nu + 1) / 2 * mp.log(1 + (z - t) ** 2 / nu),
        (4.0,),
    ),
    "pseudo_huber": FormulaCase(
        lambda xp, z, t, d: d**2 * (xp.sqrt(1 + ((z - t) / d) ** 2) - 1),
        lambda z, t, d: d**2 * (mp.sqrt(1 + ((z - t) / d) ** 2) - 1),
        (2.0,),
    ),
    "welsch": FormulaCase(
        lambda xp, z, t: 1 - xp.exp(-0.5 * (z - t) ** 2),
        lambda z, t: -mp.expm1(-((z - t) ** 2) / 2),
    ),
    "charbonnier": FormulaCase(
        lambda xp, z, t: xp.sqrt((z - t) ** 2 + 1e-6),
        lambda z, t: mp.sqrt((z - t) ** 2 + mp.mpf(1e-6)),
    ),
    "geman_mcclure": FormulaCase(
        lambda xp, z, t: (z - t) ** 2 / (1 + (z - t) ** 2),
        lambda z, t: (z - t) ** 2 / (1 + (z - t) ** 2),
    ),
}
"""Losses: ``f(z, t, …)``."""

OPERATION_NAMES = [name for name in OPERATIONS if name != "where"]


def every_operation() -> Formula:
    """A formula of a, b and k: the k-th operation of `OPERATION_NAMES` of a, or of a and b."""
    builder = FormulaBuilder(3)
    xp = SymbolNamespace(builder, internal=True)
    a, b, k = (Symbol(builder, index) for index in range(3))
    result = 0.0 * a
    for index, name in enumerate(OPERATION_NAMES):
        value = getattr(xp, name)(*(a, b)[: OPERATIONS[name].arity])
        result = xp.where(k == float(index), value, result)
    return builder.formula(result.index)
