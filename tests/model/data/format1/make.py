"""Write the model, state and run files of format 1 in this folder.

Ran on commit f29c567, the last one that writes format 1, with that checkout on ``PYTHONPATH``::

    OPENBLAS_NUM_THREADS=1 NUMBA_DISABLE_JIT=1 python make.py

`expected.json` says what each file must load as. Numbers in it are exact: each is the shortest
decimal that gives the same float. Outputs and later steps were computed with NumPy alone, so
another implementation may differ in the last bits; θ, statistics and slots must be equal.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import xpnet
from xpnet import activations, data, initializers, losses, optimizers
from xpnet.layers import Activation, BatchNorm, Dense, Dropout

HERE = Path(__file__).parent
N_IN, N_OUT, ROWS = 3, 2, 12

ACTIVATIONS = {
    "Identity": (),
    "Affine": (2.0, 0.5),
    "Step": (),
    "Sigmoid": (),
    "Tanh": (),
    "ReLU": (),
    "LeakyReLU": (0.2,),
    "ELU": (0.5,),
    "SELU": (),
    "Softplus": (),
    "GELU": (),
    "GELUTanh": (),
    "SiLU": (),
    "HardSigmoid": (),
    "Exponential": (),
    "Softmax": (),
}
LOSSES = {
    "CrossEntropy": (0.1,),
    "BinaryCrossEntropy": (),
    "Hinge": (),
    "PerceptronLoss": (),
    "Distillation": (2.0, 0.5),
    "PoissonNLL": (),
    "GaussianNLL": (),
    "HalfMSE": (),
    "MSE": (),
    "MAE": (),
    "Huber": (0.5,),
}
INITIALIZERS = {
    "Zeros": (),
    "Ones": (),
    "Constant": (0.25,),
    "Uniform": (0.5,),
    "Normal": (0.5, True),
    "LecunUniform": (),
    "LecunNormal": (True,),
    "GlorotUniform": (1.5,),
    "GlorotNormal": (1.5, True),
    "HeUniform": (),
    "HeNormal": (True,),
    "Orthogonal": (0.5,),
}
OPTIMIZERS = {
    "sgd": ("SGD", 0.1),
    "momentum": ("Momentum", 0.1, 0.8),
    "nesterov": ("Nesterov", 0.1, 0.8),
    "lion": ("Lion", 0.01, 0.8, 0.95, 0.1),
    "adam": ("Adam", 0.01, 0.8, 0.95, 1e-7),
    "adamw": ("AdamW", 0.01, 0.8, 0.95, 1e-7, 0.1),
    "amsgrad": ("AMSGrad", 0.01, 0.8, 0.95, 1e-7),
    "adamax": ("Adamax", 0.01, 0.8, 0.95, 1e-7),
    "nadam": ("Nadam", 0.01, 0.8, 0.95, 1e-7, 0.01),
    "radam": ("RAdam", 0.01, 0.8, 0.95, 1e-7),
    "adagrad": ("AdaGrad", 0.1, 1e-6),
    "adagrad_norm": ("AdaGrad", 0.1, 1e-6, True),
    "rmsprop": ("RMSProp", 0.01, 0.8, 1e-7),
    "rmsprop_centered": ("RMSProp", 0.01, 0.8, 1e-7, True),
    "rmsprop_norm": ("RMSProp", 0.01, 0.8, 1e-7, False, True),
    "adadelta": ("AdaDelta", 1.0, 0.9, 1e-5),
    "polyak_adam": ("Averaged", ("Adam", 0.01), ("PolyakAverage", 2)),
    "exponential_momentum": ("Averaged", ("Momentum", 0.1), ("ExponentialAverage", 0.9)),
    "frozen_adamw": ("Frozen", ("AdamW", 0.01), 0),
}


def main() -> None:
    """Write every file, then what they must load as."""
    for path in HERE.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    for name in ("models", "states"):
        (HERE / name).mkdir()
    expected = {"models": models(), "states": states(), "commands": commands()}
    text = json.dumps(expected, ensure_ascii=False, allow_nan=False)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


def features() -> np.ndarray:
    """The rows that every model is trained on, ``(12, 3)``."""
    return np.random.default_rng(1).normal(size=(ROWS, N_IN)).round(2)


def targets(loss: str) -> np.ndarray:
    """Targets for a network of two outputs."""
    labels = np.arange(ROWS) % N_OUT
    pairs = np.random.default_rng(2).integers(0, 2, size=(ROWS, N_OUT))
    if loss == "CrossEntropy":
        return labels
    if loss == "Distillation":
        return np.column_stack([features()[:, :N_OUT], labels])
    if loss == "GaussianNLL":
        return features()[:, 0]
    if loss in ("Hinge", "PerceptronLoss"):
        return 2 * pairs - 1
    return pairs.astype(float)


def models() -> dict:
    """A model for each activation and each loss, and those of the other parts of a file."""
    found = {}
    for name, arguments in ACTIVATIONS.items():
        phi = getattr(activations, name)(*arguments)
        epochs = 0 if name == "Step" else 3  # Step has no derivative to train with
        found[f"activation_{name}"] = model([Dense(3, phi), Dense(N_OUT)], epochs=epochs)
    for name, arguments in LOSSES.items():
        loss = getattr(losses, name)(*arguments)
        found[f"loss_{name}"] = model([Dense(2, xpnet.Tanh()), Dense(N_OUT)], loss=loss)
    found["initializers"] = model(
        [Dense(2, weight_init=initializer(name)) for name in INITIALIZERS] + [Dense(N_OUT)]
    )
    found["bias_initializers"] = model(
        [
            Dense(2, bias_init=initializer(name))
            for name in ("Ones", "Constant", "Uniform", "Normal")
        ]
    )
    found["layers"] = model(
        [
            Dense(4, bias=False),
            BatchNorm(),
            Activation(xpnet.LeakyReLU(0.1)),
            Dropout(0.25),
            Dense(3, xpnet.Tanh(), initializers.LecunUniform(), initializers.Constant(0.1)),
            BatchNorm(None, 1e-3),
            Dense(N_OUT),
        ]
    )
    simple = [Dense(2, xpnet.Tanh()), Dense(N_OUT)]
    standardize, limits = data.Standardize.fit(features()), data.MinMax(-3.0, 3.0, to=(-1, 1))
    found["standardize"] = model(simple, preprocessing=standardize)
    found["minmax"] = model(simple, preprocessing=data.MinMax.fit(features()))
    found["minmax_limits"] = model(simple, preprocessing=limits)
    found["float64"] = model(simple, dtype="float64", preprocessing=standardize)
    found["class_names"] = model(simple, classes=["Löwe", "Bär"])
    found["class_numbers"] = model(simple, classes=[3, 7])
    found["untrained"] = model(simple, epochs=0)
    for name, (made, entry) in found.items():
        made.save(HERE / "models" / f"{name}.safetensors")
        found[name] = entry
    return found


def initializer(name: str):
    """The initializer of that name, with its arguments."""
    return getattr(initializers, name)(*INITIALIZERS[name])


def model(layers: list, loss=None, epochs: int = 3, **settings) -> tuple:
    """A trained model, and what its file must load as."""
    made = xpnet.Sequential(layers, N_IN, rng=4, **settings)
    loss = loss or losses.CrossEntropy()
    y = targets(type(loss).__name__)
    if settings.get("classes"):
        y = np.asarray(settings["classes"])[y]
    if epochs:
        made.fit(
            features(),
            y,
            loss=loss,
            optimizer=optimizers.Adam(0.01),
            epochs=epochs,
            batch_size=4,
            progress=False,
        )
    scaling = made.preprocessing
    return made, {
        "layers": [repr(layer) for layer in made.layers],
        "dtype": made.theta.dtype.name,
        "loss": None if made.loss is None else repr(made.loss),
        "classes": None if made.classes is None else list(made.classes),
        "preprocessing": None if scaling is None else type(scaling).__name__,
        "scaling": {} if scaling is None else {k: plain(v) for k, v in scaling.arrays().items()},
        **contents(made, features()),
    }


def contents(made, X: np.ndarray) -> dict:
    """The vectors of a model, and what it makes of the rows ``X``."""
    return {
        "theta": plain(made.theta),
        "statistics": plain(made.statistics),
        "X": plain(X),
        "output": plain(made.forward(made.inputs(X))),
        "predictions": plain(made.predict(X)),
    }


def plain(array):
    """An array as nested lists, float32 as the shortest decimals that give the same float32."""
    array = np.asarray(array)
    return (array.astype(str).astype(float) if array.dtype == "float32" else array).tolist()


def optimizer(spec: tuple, layout):
    """The optimizer that ``spec`` names."""
    name, *arguments = spec
    if name == "Frozen":
        return optimizers.Frozen(optimizer(arguments[0], layout), layout, arguments[1:])
    made = [optimizer(a, layout) if isinstance(a, tuple) else a for a in arguments]
    return getattr(optimizers, name)(*made)


def states() -> dict:
    """The state of every optimizer after five steps, and θ after three more.

    The gradient of each step is ``θ − target``, so the steps can be repeated without a network.
    """
    layout = xpnet.MLP(2, [3], 2).layout
    found = {}
    for name, spec in OPTIMIZERS.items():
        chosen = optimizer(spec, layout)
        theta = np.linspace(-1, 1, layout.size, dtype="float32")
        target = np.cos(np.arange(layout.size)).astype("float32")
        state = chosen.init(theta, layout)
        take_steps(chosen, theta, target, state, 5)
        xpnet.save_state(state, HERE / "states" / f"{name}.safetensors")
        found[name] = {
            "optimizer": spec,
            "step": state.step,
            "scalars": list(state.scalars),
            "slots": [plain(slot) for slot in state.slots],
            "theta": plain(theta),
            "target": plain(target),
        }
        take_steps(chosen, theta, target, state, 3)
        found[name]["theta_3_steps_later"] = plain(theta)
    return found


def take_steps(chosen, theta, target, state, n: int) -> None:
    """Take ``n`` steps in place."""
    for _ in range(n):
        chosen.step(theta, theta - target, state)


COMMANDS = {
    "digits": [
        *("digits", "--hidden", "4,3", "--activation", "leaky-relu:alpha=0.1"),
        *("--optimizer", "adam", "--set", "rho1=0.8", "--set", "rho2=0.99", "--batch-norm"),
        *("--schedule", "exponential:rate=0.9"),
    ],
    "digits_momentum": [
        *("digits", "--hidden", "3", "--optimizer", "momentum", "--set", "alpha=0.8"),
        *("--schedule", "constant"),
    ],
    "table": [
        *("table.csv", "--target", "name", "--hidden", "3", "--dropout", "0.2"),
        *("--schedule", "linear-warmup:epochs=0.5"),
    ],
    "regression": [
        *("numbers.csv", "--target", "width", "--task", "regression", "--hidden", "3"),
        *("--l2", "0.001", "--seed", "1"),
    ],
}


def commands() -> dict:
    """A run folder of ``xpnet train`` for each list of arguments, without history and picture."""
    write_tables()
    found = {}
    for name, arguments in COMMANDS.items():
        folder = Path("commands") / name
        call = [sys.executable, "-m", "xpnet", "train", *arguments, "--epochs", "1", "--quiet"]
        environment = {**os.environ, "MPLBACKEND": "Agg"}
        subprocess.run([*call, "--out", str(folder)], cwd=HERE, env=environment, check=True)
        for other in {*os.listdir(HERE / folder)} - {"config.json", "model.safetensors"}:
            os.unlink(HERE / folder / other)
        made = xpnet.load(HERE / folder / "model.safetensors")
        X = np.random.default_rng(3).normal(size=(4, made.n_in)).round(2)
        found[name] = {
            "arguments": arguments,
            "layers": [repr(layer) for layer in made.layers],
            **contents(made, X),
        }
    return found


def write_tables() -> None:
    """``table.csv`` with class names and ``numbers.csv`` without, of 40 rows each."""
    rng = np.random.default_rng(5)
    rows = [(*rng.normal(index % 2, 0.5, 2).round(2), index % 2) for index in range(40)]
    table = [f"{length},{width},{('ash', 'elm')[name]}" for length, width, name in rows]
    numbers = [f"{length},{width}" for length, width, _ in rows]
    (HERE / "table.csv").write_text("\n".join(["length,width,name", *table, ""]))
    (HERE / "numbers.csv").write_text("\n".join(["length,width", *numbers, ""]))


if __name__ == "__main__":
    main()
