"""Losses, activations, optimizers, networks and settings: every part of a training step."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import ClipByNorm, ClipByValue, CrossEntropy, activations, losses
from xpnet.cli import names
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.optimizers import SAM, ByRole, Grouped, Lookahead, ScheduleFreeAdam, schedules

REPLAY = pytest.param(
    "replay",
    marks=pytest.mark.skipif(bool(why_not_recorded()), reason=f"no replay: {why_not_recorded()}"),
)
"""The engine that records steps, where that is possible."""

ENGINES = "eager", REPLAY

LOSSES = [
    *(losses.HalfMSE(), losses.MSE(), losses.MAE(), losses.Huber(0.5), losses.PoissonNLL()),
    *(losses.CrossEntropy(), losses.CrossEntropy(label_smoothing=0.1), losses.Hinge()),
    *(losses.BinaryCrossEntropy(), losses.PerceptronLoss(), losses.GaussianNLL()),
    losses.Heads(
        [losses.CrossEntropy(), losses.GaussianNLL(), losses.Hinge(), losses.Huber(0.5)],
        widths=[3, 2, 1, 1],
        weights=[1.0, 0.3, 2.0, 1.0],
    ),
    *(losses.Distillation(), losses.QuantileLoss(), losses.QuantileLoss((0.1, 0.7))),
    *(losses.Expectile(0.8), losses.LogCosh(), losses.StudentTNLL(3.0, 0.5), losses.GammaNLL()),
    *(losses.TweedieNLL(1.3), losses.NegativeBinomialNLL(0.7), losses.SoftMargin()),
    *(losses.BinaryFocal(), losses.BinaryFocal(1.5, None), losses.Focal(), losses.Ordinal()),
    losses.from_formula(
        lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)), name="pinball", q=0.9
    ),
    losses.from_formula(
        lambda xp, z, t: xp.log(1 + xp.exp(z)) - t * z, name="logistic", target_kind="binary"
    ),
]

ACTIVATIONS = [
    *(activations.Affine(2.0, 1.0), activations.Sigmoid(), activations.Tanh(), activations.ReLU()),
    *(activations.LeakyReLU(), activations.ELU(), activations.SELU(), activations.Softplus()),
    *(activations.GELU(), activations.GELUTanh(), activations.SiLU(), activations.HardSigmoid()),
    *(activations.Exponential(), activations.Softmax(), activations.Identity()),
    activations.from_formula(lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), name="mish"),
    activations.from_formula(lambda xp, z, b: z / (1 + xp.exp(-b * z)), name="swish", b=2.0),
    activations.from_formula(lambda xp, z, c: xp.exp(-xp.exp(c - z)), name="gompertz", c=0.5),
]

ACTIVATIONS += [
    kind() for kind in names.ACTIVATIONS.values() if kind not in {*map(type, ACTIVATIONS)}
]
"""Every activation, some with several settings; those without a row above with their defaults."""

OPTIMIZERS = [
    *(xpnet.SGD(0.1), xpnet.Momentum(0.1), xpnet.Nesterov(0.1), xpnet.AdaGrad(0.1)),
    *(xpnet.AdaGrad(0.1, norm=True), xpnet.RMSProp(0.01), xpnet.RMSProp(0.01, centered=True)),
    *(xpnet.RMSProp(0.01, norm=True), xpnet.AdaDelta(), xpnet.Adam(0.01), xpnet.AdamW(0.01)),
    *(xpnet.Nadam(0.01), xpnet.AMSGrad(0.01), xpnet.Adamax(0.01)),
    *(xpnet.Lion(0.01, weight_decay=0.1), xpnet.Averaged(xpnet.Nadam(0.01))),
    xpnet.Averaged(xpnet.AdamW(0.01), xpnet.ExponentialAverage(0.9)),
    xpnet.RAdam(0.01, beta2=0.9),
    Lookahead(xpnet.Nadam(0.01), k=2),
    SAM(xpnet.Momentum(0.1), rho=0.2),
    xpnet.Averaged(SAM(xpnet.Nadam(0.01))),
    ScheduleFreeAdam(0.01, weight_decay=0.1),
    Grouped([(ByRole("bias"), Lookahead(xpnet.Nadam(0.02), k=3))], default=xpnet.AdamW(0.01)),
    xpnet.Averaged(
        Grouped([(lambda e: "0" in e.path, xpnet.SGD(0.1))], default=xpnet.RMSProp(0.01, norm=True))
    ),
]
OPTIMIZERS += [
    kind(0.01) for kind in names.OPTIMIZERS.values() if kind not in {*map(type, OPTIMIZERS)}
]
"""Every optimizer, some with several settings; those without a row above with a learning rate."""

NETWORKS = {
    "dropout": {"dropout": 0.4},
    "batch norm": {"batch_norm": True},
    "cumulative batch norm": {"batch_norm": xpnet.BatchNorm(momentum=None)},
    "both": {"batch_norm": True, "dropout": 0.2},
    "softplus": {"activation": xpnet.Softplus()},
    "GELU": {"activation": xpnet.GELU()},
}
"""Arguments of `xpnet.MLP`."""


def hidden_layers(n):
    """Hidden layers of ``n`` units: every layer that `xpnet.MLP` does not set, before the last."""
    return {
        "layer norm": [xpnet.Dense(n), xpnet.LayerNorm()],
        "layer norm, no shift": [xpnet.Dense(n), xpnet.LayerNorm(shift=False)],
        "RMS norm": [xpnet.Dense(n, xpnet.ReLU()), xpnet.RMSNorm()],
        "scale": [xpnet.Dense(n, xpnet.ReLU()), xpnet.Scale()],
        "PReLU": [xpnet.Dense(n), xpnet.PReLU()],
        "GLU": [xpnet.GatedDense(n)],
        "SwiGLU": [
            xpnet.GatedDense(n, xpnet.SiLU()),
            xpnet.GatedDense(n, xpnet.SiLU(), bias=False),
        ],
        "bilinear": [xpnet.Dense(n, xpnet.ReLU()), xpnet.GatedDense(n, xpnet.Identity())],
        "maxout": [xpnet.Maxout(n), xpnet.Maxout(n, 3)],
        "thresholds": [xpnet.Dense(1, bias=False), xpnet.OrderedThresholds(3)],
        "temperature": [xpnet.Dense(n, xpnet.Tanh()), xpnet.Temperature(2.0)],
        "residual": [
            xpnet.Dense(n, xpnet.ReLU()),
            xpnet.Residual(xpnet.Residual(xpnet.Dense(n, xpnet.ReLU())), xpnet.Dense(n)),
        ],
        "paths side by side": [
            xpnet.Branches(xpnet.Dense(n), [xpnet.Dense(n, xpnet.Tanh()), xpnet.Dense(2)], []),
        ],
        "paths added": [
            xpnet.Branches(
                [xpnet.Dense(n, xpnet.Tanh()), xpnet.LayerNorm()],
                [xpnet.Dense(2), xpnet.Dense(n)],
                xpnet.Dense(n, xpnet.ReLU()),
                join="sum",
            ),
        ],
    }


SETTINGS = {
    "schedule": {"schedule": schedules.Cosine()},
    "plateau": {"schedule": schedules.ReduceOnPlateau(patience=0), "validation": 0.2},
    "clip by norm": {"clip": ClipByNorm(0.05)},
    "clip by value": {"clip": ClipByValue(0.01)},
    "penalties": {"l1": 0.01, "l2": 0.1},
    "no shuffle": {"shuffle": False},
    "no short batch": {"drop_last": True},
    "one batch": {"batch_size": 200},
    "even batches": {"batch_size": 25},
    "weights": {"sample_weight": np.linspace(0.1, 2, 50), "class_weight": [1.0, 2.0, 3.0]},
    "validation": {"validation": 0.3, "metrics": [xpnet.metrics.accuracy]},
    "smoothing": {"loss": CrossEntropy(label_smoothing=0.1)},
    "stopping": {"validation": 0.3, "callbacks": [xpnet.EarlyStopping(patience=1)]},
}
"""Arguments of `fit` for 50 rows of three classes."""


def width_of(loss, n_out):
    """The number of outputs of a network for a loss; ``n_out`` where the loss takes any."""
    return sum(loss.widths) if isinstance(loss, losses.Heads) else n_out


def targets(rng, loss, n_out, rows=30):
    """Targets for a loss with ``n_out`` outputs."""
    if isinstance(loss, losses.Heads):
        pairs = zip(loss.losses, loss.widths, strict=True)
        return np.column_stack([targets(rng, each, width, rows) for each, width in pairs])
    if isinstance(loss, losses.Ordinal):  # of the ends, which logits in any order can have
        return rng.choice([0, n_out], rows)
    n_out = n_out // 2 if isinstance(loss, losses.GaussianNLL) else n_out
    n_out = n_out // len(getattr(loss, "quantiles", "1"))
    known = {
        "classes": rng.integers(0, n_out, rows),
        "binary": rng.integers(0, 2, (rows, n_out)),
        "signs": rng.choice([-1.0, 1.0], (rows, n_out)),
        "values": rng.integers(0, 4, (rows, n_out)).astype(float),
    }[loss.target_kind]
    if isinstance(loss, losses.GammaNLL):
        known = known + 1.0
    if isinstance(loss, losses.Distillation):
        return np.column_stack([rng.normal(size=(rows, n_out)), known])
    return known
