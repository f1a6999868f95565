"""What `benchmarks.equality` compares: cases by name, and the digests of their numbers.

``python benchmarks/equality_cases.py FILE`` runs them on the xpnet that Python imports, which may
be an earlier one. So only public names are used, arguments are positional where a keyword was
renamed, and `named` takes whichever of two names exists.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import xpnet
from xpnet import activations, derivatives, initializers, losses, metrics, minimize, optimizers
from xpnet.layers import Activation, BatchNorm, Dense, Dropout
from xpnet.minimize import functions
from xpnet.optimizers import schedules

ALLOWED = {
    "/initializers/LecunUniform/": (0.43, 0),  # its variance is 1/n now, 1/(3n) before: 1 − 1/√3
    "/GELU/": (0, 100),  # its erf is another approximation
    "/one row/": (0, 100),  # products with one row are summed in another order
    "/one hidden unit/": (0, 100),  # so is its gradient, ``hᵀ δ`` with one row ``hᵀ``
    # Batch norm sums differences from the first row, in double precision, and updates the running
    # mean by its distance from that of the batch. These cases have a layer of it.
    "/BatchNorm": (0, 500),
    "/as a layer/": (0, 3000),
    "/steps/": (0, 20),
    "/by hand/": (0, 20),
    "/settings/": (0, 100),
    # Cross-entropy of rows of probabilities tests for infinite logits, and vectorizes differently.
    "/weighted/CrossEntropy 0.1/": (2e-8, 0),
    # The derivative along x itself is 0 but for rounding: batch norm removes the scale of x.
    "/derivatives/BatchNorm/jvp of x": (0, 1e5),
    "/derivatives/BatchNorm over all rows/jvp of x": (0, 1e5),
    "/derivatives/BatchNorm first/jvp of x": (0, 1e5),
    "/derivatives/BatchNorm after biases/jvp of x": (0, 1e5),
}
"""Part of a name: by how much its numbers may differ, as a share of the largest of them, and by how
many more eps of their type."""

N_IN, N_OUT, ROWS, BATCH, EPOCHS = 64, 10, 150, 32, 10  # 5 steps an epoch, the last one of 22 rows
X = np.random.default_rng(1).normal(size=(ROWS, N_IN))
Y = np.random.default_rng(2).integers(0, N_OUT, size=ROWS)
WEIGHT = np.random.default_rng(3).uniform(0.5, 2, size=ROWS)
MANY = np.random.default_rng(4).normal(size=(2500, N_IN))

RELU = xpnet.ReLU()

Parts = dict[str, Any]
Found = dict[str, dict[str, Any]]
Case = tuple[str, Callable[[], Parts]]


def named(module: Any, *names: str) -> Any:
    """The attribute of ``module`` under the first of ``names`` that it has."""
    return getattr(module, next(name for name in names if hasattr(module, name)))


@dataclass(frozen=True)
class Place:
    """Where a case runs: an array library, a precision, and the engine that takes the steps."""

    backend: str
    dtype: str
    engine: str | None = None

    def __str__(self) -> str:
        engine = {None: "", "eager": " eager"}.get(self.engine, " replay")
        return f"{self.backend} {self.dtype}{engine}"

    def model(self, layers: list[Any], n_in: int = N_IN, **settings: Any) -> xpnet.Sequential:
        """A model with parameters that no initializer drew, and the masks of seed 0."""
        made = xpnet.Sequential(layers, n_in, backend=self.backend, dtype=self.dtype, **settings)
        if hasattr(made, "state"):  # earlier versions begin with the masks of seed 0
            made.state.masks.restart(0)
        made.theta = np.random.default_rng(7).uniform(-0.15, 0.15, size=made.layout.size)
        return made

    def fit(self, layers: list[Any], x: Any = X, y: Any = Y, **settings: Any) -> Parts:
        """What 50 steps of `fit` leave; ``settings`` are its arguments.

        Layers of dropout are left out and rows keep their order, because a seed of `fit` has had
        other orders and masks in earlier versions; `steps` has both.
        """
        scaling = settings.pop("preprocessing", None)
        layers = [layer for layer in layers if not isinstance(layer, Dropout)]
        model = self.model(layers, x.shape[1], preprocessing=scaling)
        defaults = {"epochs": EPOCHS, "batch_size": BATCH, "engine": self.engine, "shuffle": False}
        defaults |= {"loss": losses.CrossEntropy(), "optimizer": optimizers.Adam(0.01)}
        model.fit(x, y, progress=False, **(defaults | settings))
        return trained(model, x)

    def steps(
        self, layers: list[Any], optimizer: Any, lr: float | None = None, **settings: Any
    ) -> Parts:
        """What 50 calls of a `TrainingStep` leave, and the optimizer's state."""
        model, loss = self.model(layers), losses.CrossEntropy()
        step = xpnet.TrainingStep(model, loss, optimizer, engine=self.engine, **settings)
        values = [float(step(*batch, lr=lr)) for batch in self.batches(model)]
        state = {f"slot {i}": slot for i, slot in enumerate(step.state.slots)}
        return trained(model) | state | {"loss": values, "scalars": step.state.scalars}

    def by_hand(self, layers: list[Any], optimizer: Any) -> Parts:
        """What a loop of `value_and_grad` and `Optimizer.step` leaves."""
        model, values = self.model(layers), []
        state = optimizer.init(model.theta, model.layout)
        for x, y in self.batches(model):
            loss, grad = model.value_and_grad(x, y, losses.CrossEntropy())
            optimizer.step(model.theta, grad, state)
            values.append(float(loss))
        return trained(model) | {"loss": values, "gradient": model.grad}

    def batches(self, model: xpnet.Sequential) -> Iterator[tuple[Any, Any]]:
        """The batches of 50 steps, on the model's backend."""
        x, y = model.backend.asarray(X, model.backend.dtype), model.backend.asarray(Y)
        for epoch in range(EPOCHS):
            yield from xpnet.batches(x, y, BATCH, rng=epoch)

    def resumed(self, optimizer: Any) -> Parts:
        """What 50 steps leave after 50 others, with the state read from a file between them."""
        model, loss = self.model(hidden()), losses.CrossEntropy()
        step = xpnet.TrainingStep(model, loss, optimizer, engine=self.engine)
        for batch in self.batches(model):
            step(*batch)
        with tempfile.TemporaryDirectory() as folder:
            xpnet.save_state(step.state, f"{folder}/state")
            state = xpnet.load_state(f"{folder}/state", backend=model.backend)
        again = optimizers.Resumed(optimizer, state)
        step = xpnet.TrainingStep(model, loss, again, engine=self.engine)
        values = [float(step(*batch)) for batch in self.batches(model)]
        return trained(model) | {"loss": values}


def trained(model: xpnet.Sequential, x: Any = X) -> Parts:
    """The vectors of a model, its predictions, and its history without times."""
    output = model.forward(model.backend.asarray(X, model.backend.dtype))
    found = {"theta": model.theta, "statistics": statistics_of(model), "output": output}
    found |= {"predicted": model.predict(x), "predicted of few": model.predict(x[:5])}
    return found | {k: v for k, v in model.history.columns.items() if k != "seconds"}


def statistics_of(model: xpnet.Sequential) -> Any:
    """The means, variances and counts of batch norm, which every checkout has."""
    vector = xpnet.to_numpy(model.statistics)
    views = model.network.statistics_layout.views(vector)
    kept = [view for path, view in views.items() if path.endswith((".mean", ".var", ".count"))]
    return np.concatenate([vector[:0], *kept])


def kinds(module: Any, base: type) -> dict[str, type]:
    """The public subclasses of ``base`` in ``module``, by name."""
    members = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    found = {k: v for k, v in members.items() if isinstance(v, type) and issubclass(v, base)}
    return {name: cls for name, cls in found.items() if cls is not base}


# The base of the activations has had two names.
ACTIVATIONS = {
    name: kind()
    for name, kind in kinds(activations, activations.Tanh.__base__ or object).items()
    if name != "FormulaActivation"
}
if hasattr(activations, "from_formula"):  # which earlier versions lack
    mish = activations.from_formula(lambda xp, z: z * xp.tanh(xp.softplus(z)), name="mish")
    ACTIVATIONS["FormulaActivation"] = mish
ACTIVATIONS |= {"LeakyReLU 0.2": xpnet.LeakyReLU(0.2), "ELU 0.5": xpnet.ELU(0.5)}
ACTIVATIONS |= {"Affine 0.5 1": xpnet.Affine(0.5, 1.0)}
TRAINABLE = {name: phi for name, phi in ACTIVATIONS.items() if name != "Step"}
LOSSES = {
    name: kind()
    for name, kind in kinds(losses, losses.Loss).items()
    if name not in ("FormulaLoss", "Heads")
}
if hasattr(losses, "Heads"):
    LOSSES["Heads"] = losses.Heads([xpnet.CrossEntropy(), xpnet.HalfMSE()], [4, N_OUT - 4])
if hasattr(losses, "from_formula"):
    LOSSES["FormulaLoss"] = losses.from_formula(
        lambda xp, z, t: xp.log(xp.cosh(z - t)), name="log_cosh"
    )
LOSSES |= {"CrossEntropy 0.1": xpnet.CrossEntropy(0.1), "Huber 0.5": xpnet.Huber(0.5)}
LOSSES |= {"Distillation 2 0.5": xpnet.Distillation(2.0, 0.5)}
COMPOSED = tuple(
    getattr(optimizers, name)
    for name in ("Averaged", "Frozen", "Grouped", "Lookahead", "Resumed", "SAM")
    if hasattr(optimizers, name)
)
OPTIMIZERS = {
    name: cls(0.01)
    for name, cls in kinds(optimizers, optimizers.Optimizer).items()
    if cls not in COMPOSED
}
MORE = (0.8, 0.95, 1e-6)  # the moments' rates and eps, after the learning rate
VARIANTS = {
    "Momentum": optimizers.Momentum(0.01, 0.5),
    "Nesterov": optimizers.Nesterov(0.01, 0.5),
    "Lion": optimizers.Lion(0.001, 0.8, 0.95, 0.1),
    "Adam": optimizers.Adam(0.01, *MORE),
    "AdamW": optimizers.AdamW(0.01, *MORE, 0.1),
    "AMSGrad": optimizers.AMSGrad(0.01, *MORE),
    "Adamax": optimizers.Adamax(0.01, *MORE),
    "Nadam": optimizers.Nadam(0.01, *MORE, 0.01),
    "RAdam": optimizers.RAdam(0.01, *MORE),
    "AdaGrad norm": optimizers.AdaGrad(0.01, 1e-6, True),
    "RMSProp centered": optimizers.RMSProp(0.01, 0.8, 1e-6, True),
    "RMSProp norm": optimizers.RMSProp(0.01, 0.8, 1e-6, False, True),
    "AdaDelta": optimizers.AdaDelta(0.5, 0.9, 1e-5),
    "Polyak": optimizers.Averaged(optimizers.Adam(0.01), optimizers.PolyakAverage(3)),
    "exponential": optimizers.Averaged(optimizers.SGD(0.1), optimizers.ExponentialAverage(0.9)),
}
SCHEDULES = {
    "ConstantRate": named(schedules, "ConstantRate", "Constant")(),
    "ExponentialDecay": named(schedules, "ExponentialDecay", "Exponential")(0.9),
    "StepDecay": schedules.StepDecay(2, 0.5),
    "Cosine": schedules.Cosine(0.1),
    "LinearWarmup": schedules.LinearWarmup(2, schedules.Cosine()),
    "OneCycle": schedules.OneCycle(),
    "ReduceOnPlateau": schedules.ReduceOnPlateau(0.5, 1),
}
SETTINGS: dict[str, Parts] = {
    "l1": {"l1": 1e-3},
    "l2": {"l2": 1e-2},
    "l1 and l2": {"l1": 1e-3, "l2": 1e-2},
    "ClipByValue": {"clip": xpnet.ClipByValue(1e-3)},
    "ClipByNorm": {"clip": xpnet.ClipByNorm(0.1)},
    "sample weight": {"sample_weight": WEIGHT},
    "class weight": {"class_weight": [*range(1, N_OUT + 1)]},
    "both weights": {"sample_weight": WEIGHT, "class_weight": {3: 2.0, 5: 0.5}},
    "drop last": {"drop_last": True},
    "validation": {"validation": (X[:40], Y[:40]), "callbacks": [xpnet.EarlyStopping(patience=2)]},
    "metrics": {"validation": (X[:40], Y[:40]), "metrics": [metrics.accuracy]},
    "words": {"y": np.array([f"class {label}" for label in Y])},
    "Standardize": {"preprocessing": xpnet.Standardize.fit(X)},
    "MinMax": {"preprocessing": xpnet.MinMax.fit(X, to=(-1, 1))},
    "UseAverage": {"optimizer": VARIANTS["Polyak"], "callbacks": [xpnet.UseAverage((X, Y))]},
    "weight averaging": {"callbacks": [xpnet.StochasticWeightAveraging(3, 2)]},
    "AdamW and all": {
        "optimizer": VARIANTS["AdamW"],
        "schedule": SCHEDULES["OneCycle"],
        "clip": xpnet.ClipByNorm(0.5),
        "l1": 1e-4,
        "sample_weight": WEIGHT,
    },
}


def hidden(phi: Any = RELU, width: int = 32, **settings: Any) -> list[Any]:
    """A hidden layer and linear outputs."""
    return [Dense(width, phi, **settings), Dense(N_OUT)]


def normalized(momentum: float | None, phi: Any = RELU, p: float = 0.2) -> list[Any]:
    """Dense, batch norm, activation and dropout; then outputs."""
    return [Dense(32, bias=False), BatchNorm(momentum), Activation(phi), Dropout(p), Dense(N_OUT)]


NETWORKS = {
    "no hidden layer": [Dense(N_OUT)],
    "64-32-10": hidden(),
    "64-32-16-10": [Dense(32, xpnet.ReLU()), Dense(16, xpnet.Tanh()), Dense(N_OUT)],
    "64-256-256-10": [Dense(256, xpnet.ReLU()), Dense(256, xpnet.SiLU()), Dense(N_OUT)],
    "one hidden unit": [Dense(1, xpnet.Tanh()), Dense(N_OUT)],
    "BatchNorm": normalized(0.9),
    "BatchNorm over all rows": normalized(None),
    "BatchNorm first": [BatchNorm(0.5, 1e-3), Dense(16, xpnet.Tanh()), BatchNorm(), Dense(N_OUT)],
    "BatchNorm after biases": [Dense(16), BatchNorm(), Dropout(0.5), *hidden()],
    "Dropout": [Dropout(0.1), Dense(32, xpnet.ReLU()), Dropout(0.5), Dense(N_OUT)],
    "Activation": [Activation(xpnet.Tanh()), Dense(16), Activation(xpnet.ReLU()), Dense(N_OUT)],
}
if hasattr(xpnet, "Residual"):  # not in every earlier checkout
    NETWORKS["Residual"] = [
        Dense(32),
        xpnet.Residual(xpnet.Residual(Dense(32, xpnet.Tanh())), BatchNorm(), Dropout(0.2)),
        Dense(N_OUT),
    ]
    NETWORKS["Branches"] = [
        xpnet.Branches(Dense(16, xpnet.ReLU()), [Dense(8, xpnet.Tanh()), Dense(16)], []),
        xpnet.Branches(Dense(16), [Dense(16, xpnet.Tanh()), Dropout(0.2)], join="sum"),
        Dense(N_OUT),
    ]


def targets(name: str) -> Any:
    """Targets for the loss of that name, of `N_OUT` outputs."""
    if name == "Focal" or name.startswith("CrossEntropy"):
        return Y
    if name == "Ordinal":  # of the ends, which logits in any order can have
        return np.where(Y > 0, N_OUT, 0)
    if name == "Heads" or name.startswith("Distillation"):
        columns = (Y % 4, X[:, 4:N_OUT]) if name == "Heads" else (X[:, :N_OUT], Y)
        return np.column_stack(columns)
    if name.startswith("GaussianNLL"):
        return X[:, : N_OUT // 2]
    yes = (X[:, :N_OUT] > 0).astype(float)
    if name == "GammaNLL":
        return yes + 1
    return 2 * yes - 1 if name in ("Hinge", "PerceptronLoss", "SoftMargin") else yes


def training(place: Place) -> Iterator[Case]:
    """The cases of an engine: every part of a training."""
    for name, layers in NETWORKS.items():
        # Adam would take steps by the rounding of the gradient of a bias before batch norm, 0.
        settings = {"optimizer": optimizers.SGD(0.05)} if name.endswith("after biases") else {}
        yield f"networks/{name}", partial(place.fit, layers, **settings)
        yield f"steps/{name}", partial(place.steps, layers, optimizers.SGD(0.05))
    for name, phi in TRAINABLE.items():
        yield f"activations/{name}", partial(place.fit, hidden(phi))
        yield f"without bias/{name}", partial(place.fit, hidden(phi, bias=False))
        yield f"as a layer/{name}", partial(place.fit, normalized(0.9, phi))
    for name, loss in LOSSES.items():
        given = {"y": targets(name), "loss": loss}
        yield f"losses/{name}", partial(place.fit, hidden(), **given)
        yield f"weighted/{name}", partial(place.fit, hidden(), sample_weight=WEIGHT, **given)
    for name, optimizer in OPTIMIZERS.items():
        yield f"optimizers/{name}", partial(place.fit, hidden(), optimizer=optimizer)
    for name, optimizer in VARIANTS.items():
        yield f"steps/{name}", partial(place.steps, normalized(0.9), optimizer)
        yield f"resumed/{name}", partial(place.resumed, optimizer)
    for name, schedule in SCHEDULES.items():
        yield f"schedules/{name}", partial(place.fit, hidden(), schedule=schedule)
    for name, settings in SETTINGS.items():
        yield f"settings/{name}", partial(place.fit, normalized(0.9), **settings)
    layout = xpnet.Sequential(normalized(0.9), N_IN).layout
    frozen = optimizers.Frozen(optimizers.AdamW(0.01), layout, [0])
    yield "steps/Frozen", partial(place.steps, normalized(0.9), frozen)
    if hasattr(optimizers, "Grouped"):
        bias = optimizers.ByRole("bias"), optimizers.SGD(0.1)
        grouped = optimizers.Grouped([bias], default=optimizers.AdamW(0.01))
        yield "steps/Grouped", partial(place.steps, normalized(0.9), grouped)
    given = {"lr": 0.003, "clip": xpnet.ClipByNorm(0.1), "l1": 1e-3, "l2": 1e-3}
    yield "steps/clipped", partial(place.steps, hidden(), optimizers.Adam(), **given)
    yield "networks/one row", partial(place.fit, hidden(), X[:5], Y[:5], batch_size=1)
    yield "networks/bytes", partial(on_mapped_bytes, place)


def on_mapped_bytes(place: Place) -> Parts:
    """Training on a `numpy.memmap` of bytes."""
    with tempfile.TemporaryDirectory() as folder:
        mapped = np.memmap(f"{folder}/x", "uint8", "w+", shape=X.shape)
        mapped[...] = (128 + 30 * X).clip(0, 255)
        return place.fit(hidden(), mapped, preprocessing=xpnet.MinMax(0, 255, (-1, 1)))


def other(place: Place) -> Iterator[Case]:
    """The cases without an engine: loops by hand, predictions, derivatives, full batches, draws."""
    for name, optimizer in VARIANTS.items():
        yield f"by hand/{name}", partial(place.by_hand, normalized(0.9), optimizer)
        if name in ("Adam", "Lion", "AdaGrad norm"):
            yield f"large/{name}", partial(large, place, optimizer)
    for name, layers in NETWORKS.items():
        yield f"predictions/{name}", partial(predictions, place, layers, (2, 64, 65, 150, 2500))
        yield f"predictions/{name}/one row", partial(predictions, place, layers, (1, 1025))
        if name != "64-256-256-10":
            yield f"derivatives/{name}", partial(differentiated, place, layers, "CrossEntropy")
            yield f"jacobians/{name}", partial(jacobians, place, layers, by_row=False)
            yield f"jacobians/{name}/one row", partial(jacobians, place, layers, by_row=True)
    for name, phi in ACTIVATIONS.items():
        layers = [Dense(8, phi), Dense(N_OUT)]
        yield f"values/{name}", partial(predictions, place, layers, (2, 150))
        if name in TRAINABLE:
            yield f"derivatives/{name}", partial(differentiated, place, layers, "MSE")
    for name in LOSSES:
        yield f"derivatives/{name}", partial(differentiated, place, hidden(xpnet.Tanh(), 8), name)
    for name, method in METHODS.items():
        if name in FULL_BATCH:
            yield f"full batch/{name}", partial(full_batch, place, method, FULL_BATCH[name])
        for function in FUNCTIONS:
            yield f"minimize/{function!r}/{name}", partial(minimized, place, function, method)
    for name, layer in drawing().items():
        yield f"initializers/{name}", partial(drawn, place, layer)
    yield "minimize/ElasticNet", partial(lasso, place)
    yield "erf/GELU", partial(erf, place)


def large(place: Place, optimizer: Any) -> Parts:
    """Three steps on so many parameters that threads share them."""
    backend = xpnet.get_backend(place.backend, dtype=place.dtype)
    numbers = np.random.default_rng(6).normal(size=(1 << 22) + 7)
    theta, grad = (backend.asarray(x.copy(), backend.dtype) for x in (numbers, np.cos(numbers)))
    state = optimizer.init(theta)
    for _ in range(3):
        optimizer.step(theta, grad, state)
    return {"theta": theta, "scalars": state.scalars}


def predictions(place: Place, layers: list[Any], sizes: tuple[int, ...]) -> Parts:
    """The outputs and scores of a model for its first rows, of these sizes."""
    model = place.model(layers, loss=losses.CrossEntropy())
    found: Parts = {}
    for m in sizes:
        x, y = MANY[:m], np.resize(Y, m)
        score = model.evaluate(x, y, metrics=[metrics.accuracy])
        found |= {f"{name} of {m}": value for name, value in score.items()}
        found[f"output of {m}"] = model.forward(model.backend.asarray(x, model.backend.dtype))
        found[f"classes of {m}"] = model.predict(x)
        found[f"probabilities of {m}"] = model.predict_proba(x)
    return found


def differentiated(place: Place, layers: list[Any], name: str) -> Parts:
    """First and second derivatives of the loss of that name in training mode, on six rows."""
    model, loss, mode = place.model(layers), LOSSES[name], {"training": True, "seed": 3}
    xp, dtype = model.backend, model.backend.dtype
    x, y = xp.asarray(X[:6], dtype), xp.asarray(targets(name)[:6])
    v = xp.asarray(np.cos(np.arange(model.layout.size)), dtype)
    dy = xp.asarray(np.sin(np.arange(6.0 * N_OUT)).reshape(6, N_OUT), dtype)
    dx, dtheta = derivatives.vjp(model, x, dy, **mode)
    return {
        "jvp": derivatives.jvp(model, x, None, v, **mode),
        "jvp of x": derivatives.jvp(model, x, x, **mode),
        "vjp of x": dx,
        "vjp": dtheta,
        "gradient": derivatives.gradient(model, x, y, loss, **mode),
        "hvp": derivatives.hvp(model, x, y, loss, v, **mode),
        "gauss_newton_vp": derivatives.gauss_newton_vp(model, x, y, loss, v, **mode),
    }


def jacobians(place: Place, layers: list[Any], by_row: bool) -> Parts:
    """What takes several passes in evaluation mode: of all rows, or of one row each."""
    model, loss = place.model(layers), losses.CrossEntropy()
    x, y = model.backend.asarray(X[:3], model.backend.dtype), model.backend.asarray(Y[:3])
    v = model.backend.asarray(np.cos(np.arange(model.layout.size)), model.backend.dtype)
    if by_row:
        return {
            "parameter_jacobian": derivatives.parameter_jacobian(model, x),
            "empirical_fisher_vp": derivatives.empirical_fisher_vp(model, x, y, loss, v),
        }
    return {
        "input_jacobian": derivatives.input_jacobian(model, x),
        "input_jacobian, forward": derivatives.input_jacobian(model, x, "forward"),
        "fisher_vp": derivatives.fisher_vp(model, x, loss, v),
    }


METHODS = {
    "BFGS": minimize.BFGS(),
    "BFGS Armijo": minimize.BFGS(minimize.Armijo()),
    "DFP": minimize.DFP(),
    "LBFGS": minimize.LBFGS(),
    "LBFGS 3": minimize.LBFGS(3),
    "GradientDescent": minimize.GradientDescent(),
    "GradientDescent Exact": minimize.GradientDescent(minimize.Exact()),
    "NonlinearCG": minimize.NonlinearCG(),
    "NonlinearCG hager_zhang": minimize.NonlinearCG(minimize.hager_zhang),
    "Newton": minimize.Newton(),
    "NewtonCG": minimize.NewtonCG(),
    "TrustRegion": minimize.TrustRegion(),
    "CoordinateDescent": minimize.CoordinateDescent(),
    "CoordinateDescent 1": minimize.CoordinateDescent(1),
    "Adam": optimizers.Adam(0.1),
    "Momentum": optimizers.Momentum(1e-4),
}
FULL_BATCH = dict.fromkeys(("BFGS", "DFP", "LBFGS", "GradientDescent", "NonlinearCG"), 50)
FULL_BATCH |= {"NewtonCG": 50, "TrustRegion": 3}  # iterations; these need a Hessian
FUNCTIONS = [
    *(functions.Rosenbrock(2), functions.Rosenbrock(6), functions.Powell(4), functions.Beale()),
    *(functions.Himmelblau(), functions.IllConditioned(5, 100.0), functions.StyblinskiTang(3)),
]


def full_batch(place: Place, method: Any, iterations: int) -> Parts:
    """Training by a method of `xpnet.minimize`."""
    given = {"optimizer": method, "epochs": iterations, "batch_size": None, "engine": None}
    return place.fit(hidden(xpnet.Tanh(), 4), l2=1e-3, **given)


def minimized(place: Place, function: Any, method: Any) -> Parts:
    """Every iterate of a minimization of at most 50 iterations, and what it took."""
    backend = xpnet.get_backend(place.backend, dtype=place.dtype)
    x0 = backend.asarray(np.asarray(function.starts[0], float), backend.dtype)
    return iterates(minimize.minimize(function, x0, method, max_iter=50, keep_trajectory=True))


def lasso(place: Place) -> Parts:
    """Coordinate descent on an elastic net, and the same within bounds and by differences."""
    backend = xpnet.get_backend(place.backend, dtype=place.dtype)
    x = backend.asarray(X[:, :8], backend.dtype)
    net = minimize.ElasticNet(x, x @ x[0, ...], 0.1, 0.1)
    zero = backend.asarray(np.zeros(8), backend.dtype)
    found = iterates(minimize.minimize(net, zero, minimize.CoordinateDescent(), max_iter=50))
    bounded = minimize.minimize(net, zero, minimize.LBFGS(), bounds=(-0.1, 0.5), max_iter=50)
    differences = minimize.minimize(net.value, zero, minimize.LBFGS(), max_iter=50)
    return found | {"bounded": bounded.x, "differences": differences.x}


def iterates(result: Any) -> Parts:
    """The numbers of a `minimize.Result`."""
    return {
        "x": result.x,
        "value": result.value,
        "iterations": result.iterations,
        "evaluations": [count for _, count in sorted(asdict(result.evaluations).items())],
        "values": [iterate.value for iterate in result.trajectory],
        "steps": [iterate.step for iterate in result.trajectory],
    }


def drawing() -> dict[str, Any]:
    """A layer for every initializer, and for the default one of every activation."""
    found = {
        k: v() for k, v in kinds(initializers, initializers.Initializer).items() if k != "Constant"
    }
    found["FanInUniform"] = named(initializers, "FanInUniform", "LecunUniform")()
    found |= {
        "Constant": initializers.Constant(0.3),
        "Uniform 0.5": initializers.Uniform(0.5),
        "GlorotUniform 2": initializers.GlorotUniform(2.0),
        "Orthogonal 2": initializers.Orthogonal(2.0),
    }
    for name in ("Normal", "GlorotNormal"):
        found[f"{name} truncated"] = getattr(initializers, name)(0.5, True)
    for name in ("HeNormal", "LecunNormal"):
        found[f"{name} truncated"] = getattr(initializers, name)(True)
    layers = {name: Dense(5, weight_init=init) for name, init in found.items()}
    return layers | {f"default of {name}": Dense(5, phi) for name, phi in ACTIVATIONS.items()}


def drawn(place: Place, layer: Any) -> Parts:
    """The initial parameters of two such layers."""
    settings = {"backend": place.backend, "dtype": place.dtype}
    return {"theta": xpnet.Sequential([layer, layer], 7, rng=3, **settings).theta}


def erf(place: Place) -> Parts:
    """GELU itself, where its relative error is that of its erf."""
    model = place.model([Dense(1, xpnet.GELU())], 1)
    model.theta = np.array([1.0, 0.0])
    x = model.backend.asarray(np.linspace(0, 6, 2000)[:, None], model.backend.dtype)
    return {"values": model.forward(x)}


def places() -> Iterator[tuple[Place, Callable[[Place], Iterator[Case]]]]:
    """Every place, with the cases that it takes."""
    compiled = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"
    for dtype in ("float32", "float64"):
        yield Place("numpy", dtype, "eager"), training
        if compiled:
            yield Place("numpy", dtype, replaying()), training
        yield Place("numpy", dtype), other
        # torch runs the same code with Numba and without.
        if compiled and importlib.util.find_spec("torch"):
            yield Place("torch", dtype), training
    if compiled and importlib.util.find_spec("torch"):
        yield Place("torch", "float32"), other


def replaying() -> str:
    """The word for the engine that replays."""
    model = xpnet.MLP(2, [2], 2)
    with suppress(xpnet.ArgumentError):
        xpnet.TrainingStep(model, losses.MSE(), optimizers.Adam(), engine="replay")
        return "replay"
    return "graph"


def digests(only: str = "", values: bool = False) -> Found:
    """Run the cases with ``only`` in their name.

    Returns:
        ``digests``: the SHA-256 of the numbers by ``place/group/case/part``; ``values``: the
        numbers themselves, of what may differ or of everything; ``errors``: why a case failed.
    """
    found: Found = {"digests": {}, "values": {}, "errors": {}}
    for place, cases in places():
        for name, case in cases(place):
            path = f"{place}/{name}"
            if only not in f"{path}/":
                continue
            try:
                parts = case()
            except Exception as error:  # one failure must not hide the other cases
                found["errors"][path] = f"{type(error).__name__}: {error}"
                continue
            for part, value in parts.items():
                keep = values or any(allowed in f"{path}/{part}" for allowed in ALLOWED)
                record(found, f"{path}/{part}", value, keep)
    return found


def record(found: Found, path: str, value: Any, keep: bool) -> None:
    """Add the digest of an array or of a list of numbers, and the numbers if asked to."""
    array = np.asarray(xpnet.to_numpy(value) if hasattr(value, "dtype") else value)
    dtype, shape, content = array.dtype.str, array.shape, array.tobytes()
    digest = hashlib.sha256(f"{dtype} {shape} ".encode() + content)
    found["digests"][path] = digest.hexdigest()
    if keep:
        text = base64.b64encode(content).decode()
        found["values"][path] = {"dtype": dtype, "shape": shape, "base64": text}


def main() -> None:
    """Write what the cases give to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", help="a part of the names of the cases to run")
    parser.add_argument("--values", action="store_true", help="keep all numbers")
    given = parser.parse_args()
    found = digests(given.only, given.values)
    whole = found | {"xpnet": str(Path(xpnet.__file__).resolve().parent)}
    given.file.write_text(json.dumps(whole, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
