"""Mutate files of `xpnet.TrainingCheckpoint`: each is refused by name, or is a valid file.

    python -m benchmarks.fuzz_checkpoints                        # 20 000 mutations
    python -m benchmarks.fuzz_checkpoints --mutations 1000000 --seed 0
    python -m benchmarks.fuzz_checkpoints --first 1234 --mutations 1 --share 1   # repeat one

The files are of small trainings with averages, early stopping, batch norm, dropout, scalings, class
names, formulas and generators, at the end of an epoch and within one. `mutated` changes bytes, the
header, the JSON of the metadata or the tensors. Each file is read by ``xpnet.load`` and
`read_training`, and a share of those that can be read is continued by ``xpnet.resume`` and
``fit(resume=)``.
`faults_of` names what is wrong: an exception that is not documented, a
warning of NumPy or Python, a hang, or a model that a refusal has changed. The script prints every
fault with its number, and exits with status 1 if there is one.
``tests/training/test_hostile_checkpoints.py`` runs a sample.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import xpnet
from xpnet import optimizers, schedules
from xpnet.errors import (
    ArgumentError,
    BackendUnavailableError,
    FileFormatError,
    NonFiniteError,
)
from xpnet.layers import BatchNorm, Dense, Dropout
from xpnet.minimize import LBFGS
from xpnet.serialization import TYPES
from xpnet.training.resuming import read_training
from xpnet.training.saving import KEY
from xpnet.training.settings_record import OWN_CALLBACKS

CONTINUED = FileFormatError, ArgumentError, NonFiniteError
"""A bad file, a valid file of another training, and one whose numbers diverge."""

SECONDS = 60
"""The seconds after which one call counts as a hang."""

ROWS, EPOCHS = 12, 3
"""The rows of each training, and the number of epochs to which a file is continued."""


class HangError(BaseException):
    """A call took `SECONDS`."""


@dataclass(frozen=True)
class Case:
    """A small training and its file.

    Attributes:
        model: returns the model before the training.
        settings: returns the arguments of `fit`, with new callbacks.
        given: the names of those that `xpnet.resume` does not find in the file.
        y: the targets.
        stop: the epoch and the step after which it is saved; step 0 is the end of the epoch.
    """

    model: Callable[[], Any]
    settings: Callable[[], dict[str, Any]]
    y: Any
    given: tuple[str, ...] = ()
    stop: tuple[int, int] = (2, 0)


class Counted:
    """A user-defined callback with a state."""

    def __init__(self) -> None:
        self.steps = np.zeros(3)

    def step(self, run: Any) -> None:
        """Count a step."""
        self.steps[run.step % 3] += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the counts, without any check."""
        self.steps[...] = state["steps"]


@dataclass(frozen=True)
class Stop:
    """Interrupts a training at a position."""

    at: tuple[int, int]
    stateless = True

    def step(self, run: Any) -> None:
        """Interrupt within an epoch."""
        if (run.epoch, run.step) == self.at:
            run.interrupt()

    def epoch(self, run: Any) -> None:
        """Interrupt after an epoch."""
        if (run.epoch, 0) == self.at:
            run.interrupt()


def features() -> Any:
    """Return the rows of every case."""
    return np.random.default_rng(1).normal(size=(ROWS, 3)).astype("float32")


X = features()
NAMES = np.array(["ash", "elm", "oak"])[np.arange(ROWS) % 3]
VALUES_2 = np.stack([10 * X[:, 0] + 3, X[:, 1] - X[:, 2]], axis=1)
LABELS = np.arange(ROWS) % 2


def classifier() -> Any:
    """Return a model of class names and scaled features."""
    return xpnet.MLP(3, [4], 3, dropout=0.2, preprocessing=xpnet.Standardize.fit(X), rng=3)


def normalized() -> Any:
    """Return a model with batch norm."""
    return xpnet.Sequential([Dense(4, xpnet.Tanh()), BatchNorm(), Dropout(0.1), Dense(1)], 3, rng=3)


def averaged_settings() -> dict[str, Any]:
    average = optimizers.Averaged(optimizers.Adam(0.01))
    callbacks = [xpnet.EarlyStopping("val_loss"), xpnet.UseAverage()]
    metrics = [xpnet.metrics.accuracy]
    given = {"optimizer": average, "validation": 0.25, "metrics": metrics, "l2": 1e-3}
    return given | {"loss": xpnet.CrossEntropy(), "callbacks": callbacks}


def swa_settings() -> dict[str, Any]:
    callbacks = [
        xpnet.StochasticWeightAveraging(1),
        xpnet.Checkpoint("best.safetensors", "loss"),
        xpnet.EarlyStopping("loss"),
    ]
    schedule = schedules.LinearWarmup(1.0, schedules.Cosine(0.1))
    given = {"optimizer": optimizers.Nadam(0.01), "schedule": schedule, "clip": xpnet.ClipByNorm(1)}
    return given | {"loss": xpnet.HalfMSE(), "callbacks": callbacks}


def recorded_settings() -> dict[str, Any]:
    callbacks = [xpnet.LayerRecorder(X, NAMES), Counted()]
    weight = {"ash": 1.0, "elm": 2.0, "oak": 0.5}
    given = {"optimizer": optimizers.RMSProp(0.01), "class_weight": weight, "l1": 1e-4}
    return given | {"loss": xpnet.CrossEntropy(), "callbacks": callbacks}


def scaled_settings() -> dict[str, Any]:
    given = {"optimizer": optimizers.AdamW(0.01), "target_scaling": "standardize"}
    weight, rows = np.linspace(1, 2, ROWS), (X[:5], VALUES_2[:5])
    given |= {"sample_weight": weight, "validation": rows, "drop_last": True}
    return given | {"loss": xpnet.Huber(1.0), "callbacks": [xpnet.EarlyStopping(patience=2)]}


def generator_settings() -> dict[str, Any]:
    rng = np.random.Generator(np.random.MT19937(5))
    given = {"optimizer": optimizers.Momentum(0.1), "rng": rng, "callbacks": [Counted()]}
    return given | {"loss": xpnet.BinaryCrossEntropy()}


def full_batch_settings() -> dict[str, Any]:
    callbacks = [xpnet.EarlyStopping("loss")]
    given = {"optimizer": LBFGS(3), "batch_size": None, "l2": 1e-3, "callbacks": callbacks}
    return given | {"loss": xpnet.CrossEntropy()}


def formula_settings() -> dict[str, Any]:
    pinball = xpnet.losses.from_formula(
        lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)), name="pinball", q=0.9
    )
    return {"optimizer": optimizers.Adam(0.01), "loss": pinball, "callbacks": []}


def of_formulas() -> Any:
    """Return a model with an activation made of a formula."""
    swish = xpnet.activations.from_formula(
        lambda xp, z, b: z / (1 + xp.exp(-b * z)), name="swish", b=2.0
    )
    return xpnet.MLP(3, [4], 1, activation=swish)


CASES = {
    "average": Case(classifier, averaged_settings, NAMES),
    "swa": Case(normalized, swa_settings, X[:, :1], stop=(2, 0)),
    "recorder": Case(classifier, recorded_settings, NAMES, ("callbacks",), (2, 1)),
    "scaled": Case(
        lambda: xpnet.MLP(3, [4], 2, dtype="float64", preprocessing=xpnet.MinMax.fit(X)),
        scaled_settings,
        VALUES_2,
        ("sample_weight", "validation"),
        (1, 2),
    ),
    "full batch": Case(lambda: xpnet.MLP(3, [2], 3), full_batch_settings, NAMES),
    "generator": Case(
        lambda: xpnet.MLP(3, [2], 1), generator_settings, LABELS, ("callbacks",), (2, 2)
    ),
    "formulas": Case(of_formulas, formula_settings, X[:, 0]),
}


@dataclass
class Parts:
    """The parts of a safetensors file: the JSON of the metadata, the headers and the numbers."""

    metadata: dict[str, Any]
    headers: dict[str, dict[str, Any]]
    data: bytes

    @classmethod
    def of(cls, content: bytes) -> Parts:
        """Divide a valid file."""
        n = int.from_bytes(content[:8], "little")
        headers = json.loads(content[8 : 8 + n])
        texts = headers.pop("__metadata__")
        return cls({k: json.loads(v) for k, v in texts.items()}, headers, content[8 + n :])

    def encoded(self) -> bytes:
        """Return the file."""
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.metadata.items()}
        header = json.dumps({"__metadata__": texts} | self.headers).encode()
        header += b" " * (-len(header) % 8)
        return len(header).to_bytes(8, "little") + header + self.data

    def tensor(self, name: str) -> bytes:
        """Return the numbers of a tensor."""
        return self.data[slice(*self.headers[name]["data_offsets"])]

    def replace(self, name: str, dtype: str, shape: list[int], numbers: bytes) -> None:
        """Replace a tensor, and move the others."""
        tensors = {key: self.tensor(key) for key in self.headers} | {name: numbers}
        self.headers[name] = {"dtype": dtype, "shape": shape}
        self._place(tensors)

    def remove(self, name: str) -> None:
        """Remove a tensor, and move the others."""
        tensors = {key: self.tensor(key) for key in self.headers if key != name}
        del self.headers[name]
        self._place(tensors)

    def _place(self, tensors: dict[str, bytes]) -> None:
        end, parts = 0, []
        for key, content in tensors.items():
            self.headers[key]["data_offsets"] = [end, end + len(content)]
            end += len(content)
            parts.append(content)
        self.data = b"".join(parts)


@cache
def original(name: str) -> bytes:
    """Return the file of a case."""
    case = CASES[name]
    settings = case.settings()
    with tempfile.TemporaryDirectory() as folder, working_in(folder):
        settings["callbacks"] += [xpnet.TrainingCheckpoint("run.st", epochs=1), Stop(case.stop)]
        given = COMMON | settings | {"epochs": case.stop[0] + 1, "on_interrupt": "return"}
        case.model().fit(X, case.y, **given)
        with open("run.st", "rb") as file:
            parts = Parts.of(file.read())
    callbacks = parts.metadata[KEY]["record"]["settings"]["callbacks"]
    callbacks[:] = [c for c in callbacks if c.get("user_defined") != "Stop"]
    return parts.encoded()


COMMON = {"batch_size": 4, "progress": False}


@contextmanager
def working_in(folder: str) -> Iterator[None]:
    """Change the current folder, which the paths of callbacks are relative to."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def deep(depth: int) -> Any:
    """Return a list of lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


SCHEDULES = [name for name, value in vars(schedules).items() if isinstance(value, type)]


def again(value: Any) -> Any:
    """Return a copy of JSON values; `copy.deepcopy` fails on deep ones."""
    return json.loads(json.dumps(value))


TYPE_NAMES = sorted({*TYPES, *OWN_CALLBACKS, *optimizers.__all__, *SCHEDULES, "os.system"})
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 100, 2**31, 2**62, 2**63, 2**64, -(2**63), 10**400),
    *(0.0, -0.5, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *("", "a", "\0", "../a", "x" * 300, "loss", "val_loss", "given", "float64", "float32"),
    *("1" * 5000, "mini-batch", "full-batch", "eager", "replay", "numpy", "standardize"),
    *([], {}, [0], [None], [1, 2, 3], ["a"], {"a": 1}, {"type": None}, {"type": "Adam"}),
    *({"$tensor": 3}, {"$tensor": "none"}, {"type": "Dense", "n_out": 10**15}, {"$tensor": None}),
    *(deep(40), deep(90), deep(300)),
]


def mutated(name: str, seed: int, number: int) -> bytes:
    """Return the file of a case after one to three random mutations of one kind."""
    rng = random.Random((seed << 40) + number)
    content = original(name)
    change = rng.choice(BYTES if rng.random() < 0.2 else STRUCTURES)
    if change in BYTES:
        return bytes(change(rng, bytearray(content)))
    parts = Parts.of(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        with suppress(TypeError, KeyError, IndexError, AttributeError):  # changed before
            change(rng, parts)
    return parts.encoded()


def flip(rng: random.Random, content: bytearray) -> bytearray:
    """Overwrite some bytes, mostly of the header."""
    n = int.from_bytes(content[:8], "little")
    for _ in range(rng.choice((1, 1, 2, 5, 50))):
        end = len(content) if rng.random() < 0.3 else 8 + n
        content[rng.randrange(end)] = rng.choice((rng.randrange(256), *b'0123456789"{}[],:-\\e'))
    return content


def shorten(rng: random.Random, content: bytearray) -> bytearray:
    """Remove the end, or a part."""
    start = rng.randrange(len(content))
    del content[start : len(content) if rng.random() < 0.5 else start + rng.randrange(1, 64)]
    return content


def lengthen(rng: random.Random, content: bytearray) -> bytearray:
    """Insert bytes."""
    start = rng.choice((len(content), rng.randrange(len(content))))
    content[start:start] = rng.randbytes(rng.randrange(1, 64))
    return content


def change_length(rng: random.Random, content: bytearray) -> bytearray:
    """Change the length of the header."""
    n = int.from_bytes(content[:8], "little")
    lengths = 0, 1, n - 1, n + 1, n + 8, len(content), 10**8, 2**63, 2**64 - 1, rng.randrange(2 * n)
    content[:8] = rng.choice(lengths).to_bytes(8, "little")
    return content


def change_header(rng: random.Random, parts: Parts) -> None:
    """Change the entry of a tensor in the header, or exchange two."""
    headers, (one, other) = parts.headers, rng.choices(list(parts.headers), k=2)
    what = rng.randrange(8)
    if what == 0:
        headers[one]["dtype"] = rng.choice(["F32", "F64", "I64", "BF16", "BOOL", "F8_E4M3", "U8"])
    elif what == 1:
        shape = [*headers[one]["shape"], rng.choice([1, 0, 2, 2**40, 2**63])]
        headers[one]["shape"] = rng.choice([shape, shape[1:], shape[::-1], [2**40], [0], []])
    elif what == 2:
        i = rng.randrange(2)
        headers[one]["data_offsets"][i] = rng.choice([0, -1, 2**40, 2**64, rng.randrange(999)])
    elif what == 3:
        del headers[one]
    elif what == 4:
        headers[rng.choice(["x", one + "x", "training.x", "training.", ""])] = headers[one]
    elif what == 5:
        headers[one], headers[other] = headers[other], headers[one]
    elif what == 6:
        headers[one][rng.choice([*headers[one]])] = rng.choice(VALUES)
    else:
        headers[rng.choice(["x", other, "training." + one])] = headers.pop(one)


def containers(value: Any, found: list[Any]) -> list[Any]:
    """Return the dictionaries and lists in JSON that are not empty."""
    if isinstance(value, (dict, list)) and value:
        found.append(value)
        for item in value.values() if isinstance(value, dict) else value:
            containers(item, found)
    return found


def place(rng: random.Random, parts: Parts) -> tuple[Any, Any]:
    """Return a random dictionary or list of the metadata, and a key or index of it."""
    key = KEY if rng.random() < 0.75 else "xpnet"
    container = rng.choice(containers(parts.metadata[key], []))
    return container, rng.choice([*container] if isinstance(container, dict) else [0, -1])


def change_value(rng: random.Random, parts: Parts) -> None:
    """Replace a value of the metadata by another one, or by one from elsewhere."""
    container, key = place(rng, parts)
    was = container[key]
    if type(was) in (int, float) and abs(was) < 1e300 and rng.random() < 0.5:
        container[key] = rng.choice([was + 1, was - 1, -was, 10 * was, float(was), was + 0.5])
    elif rng.random() < 0.2:
        other, name = place(rng, parts)
        container[key], other[name] = again(other[name]), again(was)
    else:
        container[key] = again(rng.choice(VALUES))


def change_key(rng: random.Random, parts: Parts) -> None:
    """Remove, rename or add an entry of the metadata, or an element of a list."""
    container, key = place(rng, parts)
    what = rng.randrange(3)
    if what == 0:
        del container[key]
    elif isinstance(container, list):
        container.insert(0, again(container[-1] if what == 1 else rng.choice(VALUES)))
    elif what == 1:
        container[rng.choice(["a", key + "x", key[1:], "type", "$tensor", "9" * 5000])] = (
            container.pop(key)
        )
    else:
        container["a"] = again(rng.choice(VALUES))


def change_type(rng: random.Random, parts: Parts) -> None:
    """Name another layer, optimizer, schedule or callback."""
    found = containers(parts.metadata, [])
    types = [c for c in found if isinstance(c, dict) and "type" in c]
    rng.choice(types)["type"] = rng.choice(TYPE_NAMES)


def change_reference(rng: random.Random, parts: Parts) -> None:
    """Repeat, exchange or drop references to tensors."""
    found = containers(parts.metadata, [])
    references = [c for c in found if isinstance(c, dict) and "$tensor" in c]
    one, other = rng.choices(references, k=2)
    if rng.random() < 0.7:
        one["$tensor"], other["$tensor"] = other["$tensor"], one["$tensor"]
    else:
        one["$tensor"] = rng.choice([other["$tensor"], *parts.headers, "none", 3, None])


def change_text(rng: random.Random, parts: Parts) -> None:
    """Replace the JSON of the metadata by text that is none, or is long or deep."""
    key = rng.choice([*parts.metadata])
    texts = ["", "{", "null", "[]", "3", '"a"', "[" * 1000, "[" * 9 + "]" * 9, "{}", "NaN"]
    parts.metadata[rng.choice([key, key, "a"])] = rng.choice(texts)


WIDTHS = {"F16": 2, "F32": 4, "F64": 8, "I64": 8, "U8": 1, "BOOL": 1}


def change_tensor(rng: random.Random, parts: Parts) -> None:
    """Write other numbers into a tensor, or give it another dtype or shape."""
    name = rng.choice([*parts.headers])
    dtype, shape = parts.headers[name]["dtype"], parts.headers[name]["shape"]
    kinds = {"F32": "float32", "F64": "float64", "I64": "int64"}
    n = len(parts.tensor(name)) // WIDTHS.get(dtype, 1)
    if rng.random() < 0.6 and n and dtype in kinds:
        limits = (
            [0, -1, 1, 10**6, 2**62, -(2**63)]
            if dtype == "I64"
            else [*(0, -1, 1e-300, 1e30, -1e30, 1e300, np.nan, np.inf, -np.inf)]
        )
        array = np.frombuffer(parts.tensor(name), kinds[dtype]).copy()
        with np.errstate(all="ignore"):
            array[rng.randrange(n) if rng.random() < 0.5 else slice(None)] = rng.choice(limits)
        parts.replace(name, dtype, shape, array.tobytes())
        return
    dtype = rng.choice([*WIDTHS])
    shape = rng.choice([[], [0], [1], [n], [n + 1], [1, n], [n, 1], [2, 3], [10**4]])
    parts.replace(name, dtype, shape, bytes(WIDTHS[dtype] * int(np.prod(shape))))


BYTES = [flip, shorten, lengthen, change_length]
STRUCTURES = [
    *(change_header, change_value, change_value, change_value, change_value),
    *(change_key, change_key, change_type, change_reference, change_text, change_tensor),
]


def contents_of(model: Any) -> tuple[Any, ...]:
    """Return what a refusal must not change."""
    vectors = model.theta.tobytes(), model.statistics.tobytes()
    history = id(model.history), repr(model.history), model.state.streams.drawn
    return *vectors, *history, model.classes, repr(model.input_spec), model.loss, model.trained


def attempt(call: Callable[[], Any], *allowed: type[Exception]) -> tuple[str, str]:
    """Call a function; return the outcome, and the fault or an empty text."""
    try:
        call()
    except allowed as error:
        return type(error).__name__, ""
    except HangError:
        return "hang", f"took {SECONDS} seconds"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)[-3:]
        at = ", ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in last)
        return type(error).__name__, f"{type(error).__name__} at {at}: {str(error)[:200]}"
    return "success", ""


def faults_of(
    name: str, content: bytes, loaded: bool, continued: bool
) -> tuple[Counter[str], list[str]]:
    """Read a mutated file in the current folder; return the outcomes and the faults.

    Args:
        name: the case.
        content: the mutated file.
        loaded: whether its model is loaded too.
        continued: whether it is also continued if it can be read.
    """
    with open("run.st", "wb") as file:
        file.write(content)
    saved: list[Any] = []
    calls = {
        "load": lambda: xpnet.load("run.st"),
        "read_training": lambda: saved.append(read_training("run.st")),
    }
    outcomes, faults = Counter[str](), []
    allowed = {"load": (FileFormatError,), "read_training": (FileFormatError, ArgumentError)}
    for kind in ("load", "read_training") if loaded else ("read_training",):
        outcome, fault = attempt(calls[kind], *allowed[kind])
        outcomes[f"{kind}: {outcome}"] += 1
        faults += [f"{kind}: {fault}"] * bool(fault)
    if continued and saved and not writes_elsewhere(saved[0].settings):
        for kind, (outcome, fault) in continuations(name).items():
            outcomes[f"{kind}: {outcome}"] += 1
            faults += [f"{kind}: {fault}"] * bool(fault)
    return outcomes, faults


def continuations(name: str) -> dict[str, tuple[str, str]]:
    """Continue the file in the current folder; return the outcomes and faults by the function."""
    case, found = CASES[name], {}
    settings = case.settings()
    given = {key: settings[key] for key in case.given}
    arguments = {"epochs": EPOCHS, "progress": False}
    _remove("best.safetensors")
    found["resume"] = attempt(
        lambda: xpnet.resume("run.st", X, case.y, **given, **arguments),
        *CONTINUED,
        BackendUnavailableError,
    )
    _remove("best.safetensors")
    model, settings = case.model(), case.settings()
    before = contents_of(model)
    outcome, fault = attempt(
        lambda: model.fit(X, case.y, **COMMON | settings, epochs=EPOCHS, resume="run.st"),
        *CONTINUED,
    )
    # An error of a step or a callback after the resumption replaces the history.
    refused = outcome == "FileFormatError" or (
        outcome == "ArgumentError" and id(model.history) == before[2]
    )
    if refused and contents_of(model) != before:
        fault = f"the model has changed after {outcome}"
    found["fit"] = outcome, fault
    return found


def writes_elsewhere(settings: dict[str, Any]) -> bool:
    """Return whether a callback of the file would write outside the current folder."""
    callbacks = settings.get("callbacks")
    texts = json.dumps(callbacks)
    return "/" in texts or "\\\\" in texts


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


@contextmanager
def strict() -> Iterator[None]:
    """Raise warnings of NumPy and Python as errors, and an error if a call hangs."""

    def hang(*_: Any) -> None:
        raise HangError

    previous = signal.signal(signal.SIGALRM, hang)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)  # of another environment, or a best file
            warnings.simplefilter("error", np.exceptions.VisibleDeprecationWarning)
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def fuzz(
    numbers: range, seed: int, share: float, load_every: int = 1
) -> Iterator[tuple[int, str, Counter[str], list[str]]]:
    """Yield number, case, outcomes and faults of each mutation.

    Args:
        numbers: the numbers of the mutations.
        seed: their seed.
        share: the share of the mutations that are continued if they can be read.
        load_every: the model of every so many files is loaded.
    """
    names = list(CASES)
    originals = {name: original(name) for name in names}
    assert originals
    with tempfile.TemporaryDirectory() as folder, working_in(folder), strict():
        for number in numbers:
            name = names[number % len(names)]
            loaded = number // len(names) % load_every == 0
            continued = (37 * (number // len(names))) % 1000 < 1000 * share
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            yield number, name, *faults_of(name, mutated(name, seed, number), loaded, continued)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=20_000, help="number of mutations")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--share", type=float, default=0.05, help="share that is continued")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so many seconds")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    begin, outcomes, faulty, done = time.perf_counter(), Counter[str](), 0, 0
    numbers = range(given.first, given.first + given.mutations)
    for number, name, found, faults in fuzz(numbers, given.seed, given.share):
        outcomes += found
        faulty, done = faulty + bool(faults), done + 1
        for fault in faults:
            print(f"--seed {given.seed} --first {number} ({name}): {fault}", flush=True)
        if time.perf_counter() - begin > given.seconds:
            break
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:>9}  {outcome}")
    print(f"{faulty} of {done} mutations with faults, {time.perf_counter() - begin:.0f} s")
    sys.exit(faulty > 0)


if __name__ == "__main__":
    main()
