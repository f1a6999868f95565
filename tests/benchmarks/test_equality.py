"""The comparison of two checkouts: what it reports, and that its cases are repeatable."""

from __future__ import annotations

import json

import numpy as np
import pytest

import xpnet
from benchmarks import equality, equality_cases
from benchmarks.equality import compare, compare_engines, report
from xpnet import initializers, losses, optimizers

ADAM = "numpy float32 eager/optimizers/Adam"
GELU = "numpy float32 eager/activations/GELU"
LECUN = "numpy float32/initializers/LecunUniform"


def found(arrays, errors=None):
    """The result of `equality_cases.digests` for these arrays."""
    result = {"digests": {}, "values": {}, "errors": errors or {}}
    for path, value in arrays.items():
        equality_cases.record(result, path, value, keep=True)
    return result


def one(path, value):
    return found({f"{path}/theta": np.asarray(value, "float32")})


def test_equal_numbers_are_no_difference():
    assert compare(one(ADAM, [1, 2]), one(ADAM, [1, 2])) == []


@pytest.mark.parametrize(
    ("earlier", "here"),
    [
        (np.float32([1.0]), np.nextafter(np.float32([1.0]), np.float32(2))),
        (np.float32([0.0]), np.float32([-0.0])),
        (np.float32([1.0]), np.float64([1.0])),
        (np.float32([[1.0]]), np.float32([1.0])),
        (np.float32([1.0]), np.float32([np.nan])),
        (np.float32([1.0]), np.float32([1.0, 1.0])),
        (np.array(["a"]), np.array(["b"])),
    ],
    ids=["one ulp", "sign of zero", "dtype", "shape", "NaN", "size", "text"],
)
def test_one_bit_is_a_difference(earlier, here):
    (difference,) = compare(found({f"{ADAM}/theta": earlier}), found({f"{ADAM}/theta": here}))
    assert difference.path == f"{ADAM}/theta"
    assert not difference.allowed


def test_nan_equals_the_same_nan():
    assert compare(one(ADAM, [np.nan]), one(ADAM, [np.nan])) == []


@pytest.mark.parametrize(
    ("path", "here", "allowed"),
    [
        (GELU, 1.00001, True),
        (GELU, 1.1, False),
        (GELU, np.nan, False),
        (GELU.replace("GELU", "GELUTanh"), 1.00001, False),
        (LECUN, 3**0.5, True),
        (LECUN, 2.0, False),
        (LECUN, np.nan, False),
        (LECUN.replace("LecunUniform", "FanInUniform"), 1.00001, False),
        ("numpy float32/predictions/64-32-10/one row", 1.00001, True),
        ("numpy float32/predictions/64-32-10/one row", 1.01, False),
    ],
)
def test_named_exceptions_differ_within_their_limit(path, here, allowed):
    (difference,) = compare(one(path, [1.0]), one(path, [here]))
    assert difference.allowed is allowed


@pytest.mark.parametrize("value", [np.float64([1.0]), np.float32([[1.0]]), np.int32([1])])
def test_exception_of_another_type_is_not_allowed(value):
    (difference,) = compare(found({f"{GELU}/theta": value}), one(GELU, [1.0]))
    assert not difference.allowed


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", True), ("float64", False)])
def test_limit_follows_the_dtype_of_the_model(dtype, allowed):
    path = GELU.replace("float32", dtype)
    for kind in (dtype, "float64"):  # parameters, and a history
        earlier, here = (found({f"{path}/loss": np.array([x], kind)}) for x in (1.0, 1.000001))
        (difference,) = compare(earlier, here)
        assert difference.allowed is allowed


def test_difference_is_measured_in_ulp():
    after = np.nextafter(np.float32(1), np.float32(2))
    (difference,) = compare(one(GELU, [1.0, 0.5]), one(GELU, [after, 0.5]))
    assert difference.note == "1.2e-07 of the largest, 1 ulp"


def test_missing_case_fails_and_new_case_does_not():
    (difference,) = compare(one(ADAM, [1]), one(GELU, [1]))
    assert (difference.note, difference.allowed) == ("missing here", False)


@pytest.mark.parametrize("failing", [0, 1])
def test_failed_case_is_one_difference_with_its_error(failing):
    sides = [one(ADAM, [1]), one(ADAM, [1])]
    sides[failing] = found({}, {ADAM: "ValueError: no"})
    (difference,) = compare(*sides)
    assert (difference.note, difference.allowed) == ("failed: ValueError: no", False)


def test_replayed_digests_equal_the_eager_ones():
    replayed = ADAM.replace("eager", "replay")
    same = found({f"{path}/theta": np.ones(2) for path in (ADAM, replayed)})
    other = found({f"{ADAM}/theta": np.ones(2), f"{replayed}/theta": np.zeros(2)})
    assert compare_engines(same, same) == compare_engines(other, same) == []
    for earlier, allowed in ((same, False), (other, True), (found({}), False)):
        (difference,) = compare_engines(earlier, other)
        assert (difference.path, difference.allowed) == (f"{replayed}/theta", allowed)


def test_report_joins_the_parts_of_a_case():
    parts = {f"{ADAM}/{part}": np.zeros(1) for part in ("theta", "loss")}
    text = report(compare(found(parts), found({})))
    assert f"| **no** | {ADAM} | theta, loss | missing here |" in text


def test_report_shows_the_largest_difference():
    near, far = np.float32([1.000005]), np.float32([1.00001])
    earlier = found({f"{GELU}/{part}": np.float32([1]) for part in ("theta", "loss")})
    here = found({f"{GELU}/theta": near, f"{GELU}/loss": far, f"{ADAM}/theta": near})
    lines = report([*compare(earlier, here), *compare(one(ADAM, [1]), here)]).splitlines()
    assert lines[2].startswith(f"| **no** | {ADAM} | theta |")
    assert lines[3].startswith(f"| yes | {GELU} | theta, loss | 1.0e-05 of the largest")


def outcome(monkeypatch, capsys, *rounds):
    """The exit status and output of ``main`` if each round of measuring gives these arrays."""
    results = iter([found(arrays) for pair in rounds for arrays in pair])
    monkeypatch.setattr(equality, "measure", lambda *_: next(results))
    monkeypatch.setattr(equality, "SETTINGS", {"with Numba": {}})
    monkeypatch.setattr(equality.sys, "argv", ["equality", "--against", "earlier"])
    status = equality.main()
    assert next(results, None) is None
    return status, capsys.readouterr().out


def test_status_is_0_for_equal_numbers(monkeypatch, capsys):
    arrays = {f"{ADAM}/theta": np.ones(1)}
    status, text = outcome(monkeypatch, capsys, (arrays, arrays))
    assert status == 0
    assert "1 compared: 0 differ as allowed, 0 otherwise" in text


def test_status_is_0_if_only_first_compilation_differs(monkeypatch, capsys):
    one, other = {f"{ADAM}/loss": np.ones(1)}, {f"{ADAM}/loss": np.zeros(1)}
    status, text = outcome(monkeypatch, capsys, (one, other), (one, one))
    assert status == 0
    assert "e+00 of the largest" in text


def test_status_is_1_for_another_number(monkeypatch, capsys):
    one, other = {f"{ADAM}/theta": np.ones(1)}, {f"{ADAM}/theta": np.zeros(1)}
    status, text = outcome(monkeypatch, capsys, (one, other), (one, other))
    assert status == 1
    assert text.count("0 differ as allowed, 1 otherwise") == 2


def test_no_common_case_is_an_error(monkeypatch, capsys):
    with pytest.raises(RuntimeError, match="no case"):
        outcome(monkeypatch, capsys, ({}, {}))


@pytest.mark.parametrize("value", [np.float32([[1.5], [-2.0]]), np.arange(3), np.array(["é"])])
def test_values_survive_as_text(value):
    kept = found({f"{ADAM}/few": value})["values"][f"{ADAM}/few"]
    read = equality.decoded(json.loads(json.dumps(kept)))
    assert (read.dtype, read.tolist()) == (value.dtype, value.tolist())


ONLY = "numpy float32 eager/optimizers/"


@pytest.mark.slow
def test_cases_repeat_and_differ_between_optimizers():
    first = equality_cases.digests(ONLY)
    assert first["errors"] == {}
    assert equality_cases.digests(ONLY) == first
    theta = [digest for path, digest in first["digests"].items() if path.endswith("/theta")]
    assert len({*theta}) == len(theta) == len(equality_cases.OPTIMIZERS)


def test_only_part_of_the_names_runs():
    paths = equality_cases.digests(f"{ONLY}Adam/")["digests"]
    assert {path.rpartition("/")[0] for path in paths} == {f"{ONLY}Adam"}


PARTS = {
    xpnet.Tanh.__base__: equality_cases.ACTIVATIONS,
    losses.Loss: equality_cases.LOSSES,
    optimizers.Optimizer: equality_cases.OPTIMIZERS,
    initializers.Initializer: equality_cases.drawing(),
}


@pytest.mark.parametrize("base", PARTS)
def test_every_public_part_has_a_case(base):
    modules = (xpnet, initializers)
    members = {name: getattr(module, name) for module in modules for name in dir(module)}
    public = {k for k, v in members.items() if isinstance(v, type) and issubclass(v, base)}
    composed = {cls.__name__ for cls in equality_cases.COMPOSED}
    assert public - {base.__name__} - composed == {*PARTS[base]} & public


def test_another_checkout_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"failed|must be that of"):
        equality.measure(tmp_path, {"NUMBA_DISABLE_JIT": "1"}, "no such case", values=False)


def test_process_of_a_checkout_computes_the_same():
    only = "numpy float64/initializers/"  # the same with Numba and without
    apart = equality.measure(equality.HERE, {"NUMBA_DISABLE_JIT": "1"}, only, values=False)
    assert apart["errors"] == {}
    assert apart["digests"] == equality_cases.digests(only)["digests"]
