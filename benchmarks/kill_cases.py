"""Random trainings that `benchmarks.kills` kills: optimizers, methods and loops with options.

`case_of` draws the options of a training from `OPTIONS`; `Case` makes everything else of them and
of the seed, so that two processes have the same training.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import xpnet
from xpnet import activations, losses, optimizers
from xpnet import metrics as measures
from xpnet.layers import BatchNorm, Dense, Dropout
from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    CoordinateDescent,
    FirstOrder,
    GradientDescent,
    MinimizationCheckpoint,
    Newton,
    NewtonCG,
    NonlinearCG,
    TrustRegion,
    minimize,
)
from xpnet.minimize.method import Method

OPTIMIZERS: tuple[optimizers.Optimizer, ...] = (
    optimizers.SGD(lr=0.1),
    optimizers.Momentum(lr=0.02),
    optimizers.Nesterov(lr=0.02),
    optimizers.Lion(lr=1e-3, weight_decay=0.01),
    optimizers.AdaGrad(lr=0.05),
    optimizers.AdaGrad(lr=0.05, norm=True),
    optimizers.RMSProp(lr=3e-3, norm=True),
    optimizers.RMSProp(lr=3e-3, centered=True),
    optimizers.AdaDelta(),
    optimizers.Adam(lr=0.01),
    optimizers.AdamW(lr=0.01),
    optimizers.AMSGrad(lr=0.01),
    optimizers.Adamax(lr=0.01),
    optimizers.Nadam(lr=0.01),
    optimizers.RAdam(lr=0.01),
    optimizers.Averaged(optimizers.SGD(lr=0.1)),
    optimizers.Averaged(optimizers.AdamW(lr=0.01), optimizers.ExponentialAverage(0.9)),
    optimizers.Averaged(optimizers.Nadam(lr=0.01), optimizers.PolyakAverage(start=20)),
)
METHODS: tuple[Method, ...] = (
    LBFGS(),
    BFGS(),
    DFP(),
    NonlinearCG(),
    GradientDescent(),
    Newton(),
    NewtonCG(),
    TrustRegion(),
    CoordinateDescent(seed=2),
    FirstOrder(optimizers.AMSGrad(lr=0.05)),
)
OPTIONS: dict[str, tuple[Any, ...]] = {
    "task": ("classes", "classes", "values", "scaled values", "distribution"),
    "dtype": ("float32", "float32", "float64"),
    "standardize": (False, True),
    "hidden": ((8,), (8, 6)),
    "activation": (activations.ReLU(), activations.Tanh()),
    "batch_norm": (False, True),
    "dropout": (0.0, 0.25),
    "frozen": (False, False, False, True),
    "schedule": (
        None,
        optimizers.Cosine(),
        optimizers.OneCycle(),
        optimizers.LinearWarmup(2.5, optimizers.Cosine(0.1)),
        optimizers.ReduceOnPlateau(0.5, patience=1),
        optimizers.StepDecay(2.0, 0.5),
        optimizers.ExponentialDecay(0.1),
    ),
    "clip": (None, None, optimizers.ClipByNorm(0.5), optimizers.ClipByValue(0.05)),
    "l1": (0.0, 0.0, 1e-4),
    "l2": (0.0, 0.0, 1e-3),
    "epochs": (5, 9, 14),
    "batch_size": (13, 32, 64, 400),
    "drop_last": (False, True),
    "shuffle": (None, None, False),
    "engine": (None, None, "eager", "replay"),
    "rng": ("seed", "generator", "model"),
    "streamed": (False, False, True),
    "validation": (None, 0.25, "rows", "weighted rows"),
    "sample_weight": (False, False, True),
    "class_weight": (False, True),
    "metrics": (False, True),
    "patience": (None, 2, 50),
    "average": (None, None, "steps", "steps, measured", "epochs"),
    "best": (False, True),
    "interval": (
        {"epochs": 1},
        {"epochs": 3},
        {"steps": 2},
        {"steps": 7},
        {"seconds": 0.002},
        {"seconds": 0.02},
    ),
    "resumed_by": ("fit", "fit", "resume"),
}
"""The values that an option of a training may have, each with the same probability."""

NETWORK = {"task", "dtype", "hidden", "activation", "l2"}
KINDS: dict[str, tuple[tuple[Any, ...], Set[str]]] = {
    "fit": (OPTIMIZERS, OPTIONS.keys()),
    "full-batch fit": (
        METHODS,
        NETWORK
        | {"standardize", "batch_norm", "epochs", "rng", "streamed", "validation", "metrics"}
        | {"sample_weight", "class_weight", "patience", "best", "interval", "resumed_by"},
    ),
    "loop": (
        OPTIMIZERS,
        NETWORK
        | {"batch_norm", "dropout", "frozen", "clip", "l1", "batch_size", "engine"}
        | {"sample_weight"},
    ),
    "minimize": (METHODS, NETWORK | {"epochs", "interval", "streamed", "sample_weight"}),
}
"""For each kind of training its optimizers or methods, and the names of its options."""

TURNS = ("fit", "loop", "fit", "full-batch fit", "fit", "minimize", "fit", "fit")
"""The kinds of successive cases."""

N_ROWS, N_IN, N_CLASSES = 160, 5, 3
CHECKPOINT, BEST = "run.safetensors", "best.safetensors"

Result = dict[str, Any]
"""What two equal trainings have in common: arrays, numbers and texts, by name."""


@dataclass(frozen=True)
class Case:
    """A training that begins anew, or is resumed if its folder has a checkpoint.

    Args:
        seed: the seed of the data, the parameters, the orders and the masks.
        kind: one of `KINDS`: `xpnet.Sequential.fit` with an optimizer or a method, a loop of
            `xpnet.TrainingStep`, or `xpnet.minimize.minimize`.
        optimizer: the optimizer or the method.
        options: a value of each of the `OPTIONS` of this kind.
    """

    seed: int
    kind: str
    optimizer: Any
    options: dict[str, Any]

    def __str__(self) -> str:
        options = ", ".join(f"{k}={v}" for k, v in self.options.items() if v not in (None, False))
        return f"{self.kind} {self.optimizer}, {options}"

    @property
    def classes(self) -> bool:
        """Whether the targets are classes."""
        return bool(self.options["task"] == "classes")

    @cached_property
    def data(self) -> dict[str, Any]:
        """Features, targets and weights of the training rows, and the validation rows."""
        rng = np.random.default_rng(self.seed)
        X = rng.normal(size=(2 * N_ROWS, N_IN)).astype(self.options["dtype"])
        y = np.sin(X @ rng.normal(size=N_IN)) + 0.3 * rng.normal(size=len(X))
        if self.classes:
            y = np.digitize(y, [-0.5, 0.5])
        elif self.options["task"] == "scaled values":
            y = 1000.0 + 300.0 * y
        weight = rng.uniform(0.2, 2.0, len(X))
        train, rest = slice(N_ROWS), slice(N_ROWS, None)
        arrays = X, y, weight
        return {"train": tuple(a[train] for a in arrays), "rest": tuple(a[rest] for a in arrays)}

    def model(self, seed: int) -> xpnet.Sequential:
        """Return a new model."""
        given = self.options
        layers: list[Any] = []
        for n in given["hidden"]:
            layers.append(Dense(n, activation=given["activation"]))
            layers += [BatchNorm()] if given.get("batch_norm") else []
            layers += [Dropout(given["dropout"])] if given.get("dropout") else []
        layers.append(Dense({"classes": N_CLASSES, "distribution": 2}.get(given["task"], 1)))
        X = self.data["train"][0]
        scaling = xpnet.Standardize.fit(X) if given.get("standardize") else None
        model = xpnet.Sequential(
            layers, N_IN, rng=seed, dtype=given["dtype"], preprocessing=scaling
        )
        if self.kind == "full-batch fit" and given["batch_norm"]:  # which a method holds fixed
            xpnet.recompute_statistics(model, X + seed % 7)
        return model

    @property
    def loss(self) -> losses.Loss:
        """The loss of the task."""
        return {
            "classes": losses.CrossEntropy(),
            "values": losses.HalfMSE(),
            "scaled values": losses.Huber(),
            "distribution": losses.GaussianNLL(),
        }[self.options["task"]]

    def optimizer_for(self, model: xpnet.Sequential) -> Any:
        """Return the optimizer, if need be with an average, or without the first layer."""
        found = self.optimizer
        steps = str(self.options.get("average")).startswith("steps")
        if steps and not isinstance(found, optimizers.Averaged):
            found = optimizers.Averaged(found, optimizers.ExponentialAverage(0.9))
        if not self.options.get("frozen"):
            return found
        if isinstance(found, optimizers.Averaged):
            inner = optimizers.Frozen(found.optimizer, model.network.layout, (0,))
            return optimizers.Averaged(inner, found.average)
        return optimizers.Frozen(found, model.network.layout, (0,))

    def train(self, folder: Path, features: Path, checkpoint: bool) -> Result:
        """Train, or continue the training in ``folder``; return all that must have equal bits.

        Args:
            folder: the folder of the checkpoints.
            features: a file with the features, for those that are streamed.
            checkpoint: whether the training has a checkpoint.
        """
        streamed = self.options.get("streamed")
        X = np.load(features, mmap_mode="r") if streamed else self.data["train"][0]
        train = {"loop": self._loop, "minimize": self._minimize}.get(self.kind, self._fit)
        return train(X, folder, checkpoint)

    def read(self, checkpoint: Path) -> None:
        """Read a checkpoint; raise an error if it is torn."""
        has_model = self.kind in ("fit", "full-batch fit")
        (xpnet.load if has_model else xpnet.load_state_dict)(checkpoint)

    def _fit(self, X: Any, folder: Path, checkpoint: bool) -> Result:
        _, y, weight = self.data["train"]
        path = folder / CHECKPOINT
        given = {"sample_weight": weight} if self.options["sample_weight"] else {}
        given |= {"progress": False, "validation": self._validation()}
        resumed = {"resume": path} if path.exists() else {}
        callbacks = self._callbacks(folder, checkpoint)
        rng: Any = {"seed": self.seed, "generator": np.random.default_rng(self.seed)}
        rng = rng.get(self.options["rng"])
        if resumed and self.options["resumed_by"] == "resume":
            given |= {"callbacks": callbacks} if self._needs_callbacks else {}
            return self._result(xpnet.resume(path, X, y, **given), folder)
        model = self.model(self.seed + bool(resumed))  # other parameters, which are overwritten
        given |= {"loss": self.loss, "optimizer": self.optimizer_for(model), "callbacks": callbacks}
        model.fit(X, y, rng=rng, **given, **self._settings(), **resumed)
        return self._result(model, folder, rng, callbacks)

    def _settings(self) -> dict[str, Any]:
        """Arguments of `Sequential.fit` that are values."""
        same = "schedule", "clip", "l1", "l2", "epochs", "batch_size", "drop_last", "shuffle"
        found = {name: self.options[name] for name in (*same, "engine") if name in self.options}
        if self.classes and self.options["class_weight"]:
            found["class_weight"] = [1.0, 2.0, 0.5]
        if self.options["task"] == "scaled values":
            found["target_scaling"] = "standardize"
        if self.options["metrics"]:
            found["metrics"] = [measures.accuracy if self.classes else measures.rmse]
        return found

    def _validation(self) -> Any:
        given = self.options["validation"]
        rows = self.data["rest"]
        return {"rows": rows[:2], "weighted rows": rows}.get(given, given)

    @property
    def _needs_callbacks(self) -> bool:
        """Whether a file does not hold all arguments of the callbacks."""
        return self.options.get("average") == "steps, measured"

    def _callbacks(self, folder: Path, checkpoint: bool) -> list[Any]:
        given, found = self.options, []
        monitor = "loss" if given["validation"] is None else "val_loss"
        if given["patience"] is not None:
            found.append(xpnet.EarlyStopping(monitor, given["patience"]))
        average = given.get("average")
        if average == "epochs":
            found.append(xpnet.StochasticWeightAveraging(start=2))
        elif average is not None:
            measured = "measured" in average
            found.append(xpnet.UseAverage(self.data["rest"][:2] if measured else None))
            monitor = "avg_loss" if measured else monitor
        if given["best"]:
            found.append(xpnet.Checkpoint(folder / BEST, monitor))
        if checkpoint:
            found.append(xpnet.TrainingCheckpoint(folder / CHECKPOINT, **given["interval"]))
        return found

    def _result(
        self, model: xpnet.Sequential, folder: Path, rng: Any = None, callbacks: Any = ()
    ) -> Result:
        """The model, its history without durations, its best epoch, and the random numbers."""
        history = model.history
        found = {f"history[{n!r}]": v for n, v in history.columns.items() if n != "seconds"}
        found |= {"theta": model.theta, "statistics": model.statistics}
        found |= {"stopped": history.stopped, "drawn": str(model.state.streams.drawn)}
        if (folder / BEST).exists():
            found["theta of the best epoch"] = xpnet.load(folder / BEST).theta
        if self.options["resumed_by"] == "resume":  # which has a generator and callbacks of its own
            return found
        if isinstance(rng, np.random.Generator):
            found["rng"] = str(rng.bit_generator.state)
        for callback in callbacks:
            if isinstance(callback, xpnet.UseAverage):
                found["theta without average"] = callback.theta
                for i, slot in enumerate(callback.state.slots):
                    found[f"slot {i}"] = slot
        return found

    def _minimize(self, X: Any, folder: Path, checkpoint: bool) -> Result:
        """A minimization of the loss by itself."""
        path, model, given = folder / CHECKPOINT, self.model(self.seed), self.options
        _, y, weight = self.data["train"]
        weights = {"sample_weight": weight} if given["sample_weight"] else {}
        objective = model.objective(X, y, self.loss, l2=given["l2"], **weights)
        ((unit, interval),) = given["interval"].items()
        intervals = {"seconds" if unit == "seconds" else "iterations": interval}
        found = minimize(
            objective,
            model.theta,
            self.optimizer,
            max_iter=4 * given["epochs"],
            checkpoint=MinimizationCheckpoint(path, **intervals) if checkpoint else None,
            resume=path if path.exists() else None,
        )
        numbers = {"theta": found.x, "value": found.value, "grad_norm": found.grad_norm}
        return numbers | {"reason": found.reason.name, "iterations": found.iterations}

    def _loop(self, X: Any, folder: Path, checkpoint: bool) -> Result:
        """A loop with its own generator, which saves itself every few steps."""
        path, given = folder / CHECKPOINT, self.options
        resumed = path.exists()
        model, rng = self.model(self.seed + resumed), np.random.default_rng(self.seed)
        names = "clip", "l1", "l2", "engine"
        settings = {name: given[name] for name in names}
        step = xpnet.TrainingStep(model, self.loss, self.optimizer_for(model), **settings)
        _, y, weight = self.data["train"]
        y = y if self.classes else y.astype(X.dtype)[:, None]
        first, values = 0, []
        if resumed:
            state = xpnet.load_state_dict(path)
            step.load_state_dict(state["step"])
            rng.bit_generator.state, first = state["rng"], state["taken"]
            values = state["losses"].tolist()
        for taken in range(first, 60):
            if checkpoint and taken % 3 == 0:
                state = {"step": step.state_dict(), "rng": rng.bit_generator.state, "taken": taken}
                xpnet.save_state_dict(state | {"losses": np.array(values)}, path)
            rows = rng.integers(0, N_ROWS, min(given["batch_size"], N_ROWS))
            rates = {"lr": self.optimizer.lr * 0.99**taken}
            weights = {"weight": weight[rows].astype(X.dtype)} if given["sample_weight"] else {}
            values.append(float(step(X[rows], y[rows], **weights, **rates)))
        drawn = str(model.state.streams.drawn)
        found = {"theta": model.theta, "statistics": model.statistics, "losses": values}
        return found | {"drawn": drawn, "rng": str(rng.bit_generator.state)}


def case_of(seed: int, number: int) -> Case:
    """Return the case with this number: its kind and optimizer in turn, its options at random."""
    rng = np.random.default_rng([seed, number])
    rounds, turn = divmod(number, len(TURNS))
    kind = TURNS[turn]
    index = rounds * TURNS.count(kind) + TURNS[:turn].count(kind)
    table, names = KINDS[kind]
    drawn = {name: values[int(rng.integers(len(values)))] for name, values in OPTIONS.items()}
    options = _possible({name: value for name, value in drawn.items() if name in names})
    return Case(int(rng.integers(2**31)), kind, table[index % len(table)], options)


def _possible(options: dict[str, Any]) -> dict[str, Any]:
    """Replace values that xpnet refuses beside others."""
    changed: dict[str, Any] = {}
    if options["task"] != "classes":
        changed["class_weight"] = False
    if options["task"] == "distribution":
        changed["metrics"] = False
        changed["clip"] = optimizers.ClipByNorm(0.5)  # its loss has no lower bound
    if options.get("streamed") and options.get("validation") == 0.25:
        changed["validation"] = "rows"
    if options.get("drop_last"):
        changed["batch_size"] = min(options["batch_size"], 64)
    return options | {name: value for name, value in changed.items() if name in options}
