"""Model files with formulas that are hostile."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter

import pytest

import xpnet
from benchmarks.fuzz_checkpoints import Parts, deep
from benchmarks.fuzz_formulas import formulas_of, fuzz, original
from xpnet import ArgumentError, FileFormatError
from xpnet.activations import FormulaActivation
from xpnet.losses import FormulaLoss
from xpnet.ops.formulas import Formula, Node, trace
from xpnet.ops.formulas.formula import MAX_ARGUMENTS

MEGABYTE = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_mutated_files_are_refused_or_usable(part):
    """A fault is repeated by ``python -m benchmarks.fuzz_formulas`` with seed and number."""
    outcomes, faults = Counter(), []
    for number, outcome, found in fuzz(range(2500 * part, 2500 * part + 2500), 2026, 50):
        outcomes[outcome] += 1
        faults += [f"--seed 2026 --first {number}: {fault}" for fault in found]
    assert not faults
    assert outcomes["FileFormatError"] > 1000
    assert outcomes["success"] > 400
    assert outcomes.total() == 2500


def changed(folder, change, index=0):
    """Write the file with a change of the JSON of an activation or the loss; return its path."""
    parts = Parts.of(original())
    change(formulas_of(parts)[index])
    (folder / "bad.st").write_bytes(parts.encoded())
    return folder / "bad.st"


def parameters(*pairs):
    return lambda owner: owner.update(parameters=[*pairs])


PAIRS = "parameters must be a tuple of pairs of a name and a finite float"
NAME = "name must be a name of at most 80 letters, digits and underscores"
HOSTILE = {
    "a name of control characters": (lambda o: o.update(name="\x1b[2J"), NAME),
    "a name of direction marks": (lambda o: o.update(name="a\u202eb"), NAME),
    "a long name": (lambda o: o.update(name="x" * 81), NAME),
    "a name that is none": (lambda o: o.update(name=None), "name must be a str; got None"),
    "a parameter of text": (parameters(["a", "1"], ["b", 1.0]), PAIRS),
    "a parameter that is true": (parameters(["a", True], ["b", 1.0]), PAIRS),
    "an integer parameter": (parameters(["a", 1], ["b", 1.0]), PAIRS),
    "a parameter of NaN": (parameters(["a", float("nan")], ["b", 1.0]), PAIRS),
    "an infinite parameter": (parameters(["a", float("inf")], ["b", 1.0]), PAIRS),
    "a parameter without a name": (parameters([1.0], ["b", 1.0]), PAIRS),
    "a parameter of control characters": (parameters(["\n", 1.0], ["b", 1.0]), PAIRS),
    "parameters by name": (lambda o: o.update(parameters={"type": "ReLU"}), PAIRS),
    "parameters of text": (lambda o: o.update(parameters="ab"), PAIRS),
    "a parameter twice": (parameters(["a", 1.0], ["a", 1.0]), "must have different names"),
    "a parameter less": (parameters(["a", 1.0]), "must be of 1 arrays and 1 parameters; got one"),
    "many parameters": (
        parameters(*([f"a{i}", 1.0] for i in range(9999))),
        "must be of 1 arrays and 9999 parameters",
    ),
    "no formula": (lambda o: o.update(formula=None), "formula must be a Formula; got None"),
    "an activation as formula": (lambda o: o.update(formula={"type": "ReLU"}), "must be a Formula"),
    "text as formula": (lambda o: o.update(formula="z * z"), "must be a Formula; got 'z * z'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_parts_are_refused_by_name(tmp_path, case):
    change, message = HOSTILE[case]
    with pytest.raises(FileFormatError, match=r"bad\.st") as caught:
        xpnet.load(changed(tmp_path, change, index=1))
    assert message in str(caught.value)


LOSS = {
    "an unknown kind of targets": ({"target_kind": "classes"}, "target_kind"),
    "a kind that is a list": ({"target_kind": ["values"]}, "does not hold a model"),
    "a mean of text": ({"mean": "yes"}, "mean must be a bool"),
    "a bound of text": ({"target_min": "0", "scalable": False}, "target_min must be a finite numb"),
    "a bound of scaled targets": ({"target_max": 9.0}, "scalable must be False for targets with"),
    "a number for a truth value": ({"scalable": 1}, "scalable must be a bool"),
}


@pytest.mark.parametrize("case", LOSS)
def test_hostile_losses_are_refused_by_name(tmp_path, case):
    changes, message = LOSS[case]
    with pytest.raises(FileFormatError, match=message):
        xpnet.load(changed(tmp_path, lambda owner: owner.update(changes), index=2))


def test_made_activations_and_losses_are_checked():
    arguments = tuple(Node("argument", (), i) for i in range(MAX_ARGUMENTS + 1))
    pairs = tuple((f"a{i}", 1.0) for i in range(MAX_ARGUMENTS))
    with pytest.raises(ArgumentError, match="formula must have at most 64 arguments; got 65"):
        FormulaActivation(Formula(MAX_ARGUMENTS + 1, arguments, 0), "many", pairs)
    chain = (Node("argument"), *(Node("sin", (i,)) for i in range(129)))
    with pytest.raises(ArgumentError, match="at most 128 operations one after another; got 129"):
        FormulaActivation(Formula(1, chain, 129), "deep")
    one = trace(lambda xp, z: z * z, 1)
    with pytest.raises(ArgumentError, match="formula must be of 2 arrays and 0 parameters"):
        FormulaLoss(one, "square")


def nodes(*found):
    return lambda owner: owner["formula"].update(nodes=[*found], result=1)


BOMBS = {
    "a million nodes": nodes(*[0.5] * 150_000),
    "a million operands": nodes(["exp", *[0] * 300_000]),
    "deep nodes": nodes(deep(55)),
    "deeper nodes": nodes(deep(400)),
    "a long name of an operation": nodes(["x" * 900_000, 0]),
    "huge numbers of arguments": lambda owner: owner["formula"].update(arguments=10**15),
    "many parameters": parameters(*[["a", 1.0]] * 60_000),
    "a huge number": nodes(10**4000),
    "text that grows": nodes(["\0" * 150_000, 0]),
}


@pytest.mark.parametrize("case", BOMBS)
def test_memory_is_bounded_by_the_size_of_the_file(tmp_path, case):
    path = changed(tmp_path, BOMBS[case])
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError):
            xpnet.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * path.stat().st_size + 40 * MEGABYTE


def test_later_of_equal_keys_counts(tmp_path):
    parts = Parts.of(original())
    text = json.dumps(parts.metadata["xpnet"])
    parts.metadata["xpnet"] = text.replace('"name": "mish"', '"name": "\\u0000", "name": "other"')
    (tmp_path / "twice.st").write_bytes(parts.encoded())
    assert xpnet.load(tmp_path / "twice.st").layers[0].activation.name == "other"
