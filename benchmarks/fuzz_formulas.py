"""Mutate model files with formulas: each is refused by name, or is a model that can be used.

    python -m benchmarks.fuzz_formulas                           # 100 000 mutations
    python -m benchmarks.fuzz_formulas --mutations 1000000 --seed 0
    python -m benchmarks.fuzz_formulas --first 1234 --mutations 1   # repeat one

The model has two activations and a loss made of formulas, with parameters, conditions and
infinities. `mutated` changes bytes, the header, the JSON, or the graphs: nodes, operands, numbers,
parameters and names are replaced, and whole graphs by random ones, deep, wide or with operands that
are shared many times. `faults_of` names what is wrong with a file: an exception that is not a
`FileFormatError`, a warning, a hang, code that is executed; and with a model that is loaded: one
that differs after it is saved again, a text with control characters, a formula or a derivative that
cannot be evaluated, and a second derivative of more than `MAX_DERIVED` operations.
``tests/model/test_hostile_formulas.py`` runs a sample.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np

import xpnet
from benchmarks.fuzz_checkpoints import (
    BYTES,
    SECONDS,
    Parts,
    again,
    attempt,
    change_header,
    change_tensor,
    change_text,
    containers,
    deep,
    strict,
    working_in,
)
from benchmarks.fuzz_checkpoints import VALUES as JSON_VALUES
from xpnet import FileFormatError
from xpnet.layers import Dense
from xpnet.ops.formulas import FormulaRule, derivative_of
from xpnet.ops.formulas.formula import MAX_ARGUMENTS, MAX_DEPTH, MAX_OPERATIONS
from xpnet.ops.formulas.json_form import MAX_NODES
from xpnet.ops.formulas.table import OPERATIONS, takes_conditions
from xpnet.serialization import read_model

MAX_DERIVED = 40 * MAX_OPERATIONS
"""More than a second derivative has; see ``tests/ops/formulas/test_large_formulas.py``."""

FORBIDDEN = "exec", "compile", "import", "os.system", "subprocess.Popen", "pickle.find_class"
"""The audit events of code that is executed."""

Z = np.array([-np.inf, -1e300, -2.0, -0.0, 0.0, 1e-300, 0.5, 3.0, 750.0, np.inf, np.nan])
"""The numbers at which every formula that is loaded is evaluated."""


@cache
def original() -> bytes:
    """Return the file of the model."""
    own = xpnet.activations.from_formula
    mish = own(lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), name="mish")
    capped = own(
        lambda xp, z, a, b: xp.where(
            (z > a) & (z < xp.inf), a + 0.1 * z, b * (1 - xp.tanh(z) ** 2)
        ),
        name="capped",
        a=0.1,
        b=1e-5,
    )
    pinball = xpnet.losses.from_formula(
        lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)), name="pinball", q=0.9
    )
    model = xpnet.Sequential([Dense(2, mish), Dense(1, capped)], 2, rng=1, loss=pinball)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.st")
        with open(f"{folder}/model.st", "rb") as file:
            return file.read()


NAMES = [*OPERATIONS, "argument", "constant", "eval", "__class__", "", "exp\0"]
NUMBERS = [
    *(0.0, 1.0, -1.0, 0.5, 2.0, 1e-320, 1e308, -1e308, "inf", "-inf"),
    *(-0.0, math.nan, math.inf, "nan", "1.5", "0x1p3", 1, True, None, 10**400, [], {}),
]
WORDS = ["a", "q", "z", "xp", "", "a b", "\x1b[2J", "a\u202eb", "ä", "import", "x" * 81, 3, None]


def mutated(seed: int, number: int) -> bytes:
    """Return the file after one to three random mutations of one kind."""
    rng = random.Random((seed << 40) + number)
    content = original()
    change = rng.choice(BYTES if rng.random() < 0.1 else STRUCTURES)
    if change in BYTES:
        return bytes(change(rng, bytearray(content)))
    parts = Parts.of(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        with suppress(
            TypeError, KeyError, IndexError, AttributeError, ValueError
        ):  # changed before
            change(rng, parts)
    return parts.encoded()


def formulas_of(parts: Parts) -> list[dict[str, Any]]:
    """Return the activations and losses with a formula, as JSON."""
    found = containers(parts.metadata["xpnet"], [])
    return [c for c in found if isinstance(c, dict) and "formula" in c]


def change_node(rng: random.Random, parts: Parts) -> None:
    """Change one node of a formula, or its place."""
    formula = rng.choice(formulas_of(parts))["formula"]
    nodes, what = formula["nodes"], rng.randrange(8)
    i = rng.randrange(len(nodes))
    if what == 0:
        nodes[i] = rng.choice(NUMBERS)
    elif what == 1:
        nodes[i][0] = rng.choice(NAMES)
    elif what == 2:
        nodes[i][rng.randrange(1, len(nodes[i]))] = rng.choice([0, 1, i, i + 1, i + 2, *NUMBERS])
    elif what == 3:
        nodes[i].append(rng.randrange(i + 1))
    elif what == 4:
        nodes.insert(i, again(rng.choice(nodes)))
    elif what == 5:
        nodes[i], nodes[-1] = nodes[-1], nodes[i]
    elif what == 6:
        del nodes[i]
    else:
        nodes[i] = again(rng.choice([*JSON_VALUES, deep(20)]))


def change_field(rng: random.Random, parts: Parts) -> None:
    """Change the numbers of arguments and the result of a formula, or all of it."""
    owner = rng.choice(formulas_of(parts))
    key = rng.choice([*owner["formula"], "formula"])
    values = [0, 1, 2, 3, MAX_ARGUMENTS + 1, 10**9, *JSON_VALUES, *NUMBERS]
    if key == "formula":
        other = rng.choice(formulas_of(parts))["formula"]
        owner[key] = again(rng.choice([*values, other, owner]))
    elif rng.random() < 0.3:
        del owner["formula"][key]
    else:
        owner["formula"][key] = again(rng.choice(values))


def change_parameters(rng: random.Random, parts: Parts) -> None:
    """Change names and parameters, or add many."""
    owner = rng.choice(formulas_of(parts))
    parameters, what = owner["parameters"], rng.randrange(6)
    if what == 0:
        owner["name"] = rng.choice(WORDS)
    elif what == 1:
        rng.choice(parameters)[0] = rng.choice(WORDS)
    elif what == 2:
        rng.choice(parameters)[1] = rng.choice([*NUMBERS, *JSON_VALUES])
    elif what == 3:
        owner["parameters"] = again(rng.choice([*JSON_VALUES, parameters[::-1], dict(parameters)]))
    elif what == 4:
        parameters.append([rng.choice(WORDS), 1.0])
        owner["formula"]["arguments"] += 1
    else:
        n = rng.choice([3, MAX_ARGUMENTS - 2, MAX_ARGUMENTS, 2000])
        parameters[:] = [[f"a{i}", 0.5] for i in range(n)]
        owner["formula"] = random_formula(rng, n + 1)


def change_graph(rng: random.Random, parts: Parts) -> None:
    """Replace a formula by a random graph, of the right number of arguments."""
    owner = rng.choice(formulas_of(parts))
    owner["formula"] = random_formula(rng, owner["formula"]["arguments"])


def random_formula(rng: random.Random, n_arguments: int) -> dict[str, Any]:
    """Return a random graph: with shared operands, wide or deep; some are too large.

    Operands are of the kind that an operation takes.
    """
    large = rng.choice([100, MAX_OPERATIONS, MAX_NODES + 1])
    size = large if rng.random() < 0.04 else rng.choice([1, 3, 5, 10, 20])
    recent = rng.choice([1, 2, 8, 10**9])  # how far back operands are
    names = rng.choices([*OPERATIONS], k=rng.choice([1, 2, 5, 40]))
    numbers, conditions, nodes = [*range(n_arguments)], list[int](), list[Any]()

    def add(node: Any, is_condition: bool = False) -> None:
        (conditions if is_condition else numbers).append(n_arguments + len(nodes))
        nodes.append(node)

    while len(nodes) < size:
        if rng.random() < 0.1:
            add(rng.choice(NUMBERS[:10]))
            continue
        name = rng.choice(names)
        if any(takes_conditions(name)) and not conditions:
            add([rng.choice(["less", "equal"]), *rng.choices(numbers[-recent:], k=2)], True)
        kinds = [conditions if c else numbers for c in takes_conditions(name)]
        operands = [rng.choice(kind[-recent:]) for kind in kinds]
        add([name, *operands], OPERATIONS[name].is_condition)
    return {"type": "Formula", "arguments": n_arguments, "nodes": nodes, "result": numbers[-1]}


def change_json(rng: random.Random, parts: Parts) -> None:
    """Replace, remove or rename any entry of the model."""
    container = rng.choice(containers(parts.metadata["xpnet"], []))
    key = rng.choice([*container] if isinstance(container, dict) else [0, -1])
    if rng.random() < 0.7:
        container[key] = again(rng.choice(JSON_VALUES))
    elif rng.random() < 0.5 or isinstance(container, list):
        del container[key]
    else:
        container[rng.choice(["type", "formula", key + "x"])] = container.pop(key)


def repeat_key(rng: random.Random, parts: Parts) -> None:
    """Write a key twice, with two values; the last one counts."""
    text = json.dumps(parts.metadata["xpnet"])
    key = rng.choice(['"nodes": ', '"formula": ', '"type": ', '"parameters": ', '"arguments": '])
    value = json.dumps(again(rng.choice(JSON_VALUES)))
    places = text.split(key)
    places[rng.randrange(1, len(places))] += f", {key}{value}"
    parts.metadata["xpnet"] = key.join(places)


STRUCTURES = [
    *(change_node, change_node, change_node, change_field, change_parameters, change_parameters),
    *(change_graph, change_graph, change_json, repeat_key, change_header, change_text),
    change_tensor,
]


def faults_of(content: bytes, used: bool = True) -> tuple[str, list[str]]:
    """Read a mutated file in the current folder; return the outcome and the faults.

    Args:
        content: the file.
        used: whether its model is made and used; default true.
    """
    with suppress(FileNotFoundError):
        os.unlink("model.st")  # faster than to truncate it, which may wait for the disk
    with open("model.st", "xb") as file:
        file.write(content)
    read, found = xpnet.load if used else read_model, list[Any]()
    with audited() as events:
        outcome, fault = attempt(lambda: found.append(read("model.st")), FileFormatError)
    faults = [fault] * bool(fault) + [f"executes: {event}" for event in events]
    for model in found if used else ():
        _, fault = attempt(lambda model=model: use(model))
        faults += [fault] * bool(fault)
    return outcome, faults


def use(model: Any) -> None:
    """Use a model that is loaded, without a compiler.

    Raises:
        AssertionError: naming what is wrong.
    """
    model.save("again.st")
    other = xpnet.load("again.st")
    assert (other.layers, other.loss) == (model.layers, model.loss), "differs when saved again"
    assert repr(model.layers).isprintable(), "its text has control characters"
    assert repr(model.loss).isprintable(), "its text has control characters"
    parts = [getattr(layer, "activation", None) for layer in model.layers]
    for part in (*parts, model.loss):
        if hasattr(part, "formula"):
            numbers = [value for _, value in part.parameters]
            evaluate(part.formula, numbers)


def evaluate(formula: Any, numbers: list[float]) -> None:
    """Evaluate a formula and its first two derivatives.

    Raises:
        AssertionError: if one has no value, or is too large.
    """
    assert formula.depth <= MAX_DEPTH
    assert formula.n_operations <= MAX_OPERATIONS
    arrays = [Z] * (formula.n_arguments - len(numbers))
    slope = derivative_of(formula)
    curvature = derivative_of(slope)
    assert len(curvature.nodes) <= MAX_DERIVED, f"{len(curvature.nodes)} operations"
    for each in (formula, slope, curvature):
        value = np.asarray(FormulaRule(each)(np, *arrays, *numbers))
        assert value.dtype == np.float64, f"has values of {value.dtype}"
        assert value.shape in ((), Z.shape), f"has values of shape {value.shape}"


class _Audit:
    """The events of the code that runs; a hook cannot be removed, so that there is one."""

    events: list[str] | None = None
    installed = False

    @classmethod
    def hook(cls, event: str, arguments: Any) -> None:
        """Note an event."""
        if cls.events is not None and event in FORBIDDEN:
            cls.events.append(f"{event} {str(arguments)[:80]}")


@contextmanager
def audited() -> Iterator[list[str]]:
    """Yield a list to which executed code is added."""
    if not _Audit.installed:
        sys.addaudithook(_Audit.hook)
        _Audit.installed = True
    _Audit.events = []
    try:
        yield _Audit.events
    finally:
        _Audit.events = None


def fuzz(numbers: range, seed: int, use_every: int = 1) -> Iterator[tuple[int, str, list[str]]]:
    """Yield number, outcome and faults of each mutation.

    Args:
        numbers: the numbers of the mutations.
        seed: their seed.
        use_every: of every so many files one is used, if it is of a model.
    """
    with tempfile.TemporaryDirectory() as folder, working_in(folder), strict():
        for content in (original(), b"", original()[:-1]):  # imports what is imported late
            faults_of(content)
        for number in numbers:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            yield number, *faults_of(mutated(seed, number), number % use_every == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=100_000, help="number of mutations")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--use-every", type=int, default=1, help="use one of so many models")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so many seconds")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    begin, outcomes, faulty, slowest = time.perf_counter(), Counter[str](), 0, (0.0, 0)
    end = begin
    numbers = range(given.first, given.first + given.mutations)
    for number, outcome, faults in fuzz(numbers, given.seed, given.use_every):
        took, end = time.perf_counter() - end, time.perf_counter()
        slowest = max(slowest, (took, number))
        outcomes[outcome] += 1
        faulty += bool(faults)
        for fault in faults:
            print(f"--seed {given.seed} --first {number}: {fault}", flush=True)
        if end - begin > given.seconds:
            break
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"slowest {slowest[0]:.2f} s (--first {slowest[1]}), peak memory {peak} MB")
    print(f"{faulty} of {outcomes.total()} mutations with faults, {end - begin:.0f} s")
    sys.exit(faulty > 0)


if __name__ == "__main__":
    main()
