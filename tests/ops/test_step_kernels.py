"""The kernels at the two ends of a captured step equal the plain operations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import emulated_cuda
from helpers.cases import looped
from helpers.emulated_cuda import cuda_operations

from xpnet.ops.cuda import cross_entropy, elementwise
from xpnet.ops.graph_operations import BatchRows, LossLog, StepTables
from xpnet.ops.operations import Operations

REFERENCE = Operations(np)
N_DATA, N_STEPS, M = 50, 4, 13

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def ops():
    return cuda_operations()


def tables(dtype, cursor, order=None, starts=(0, 13, 26, 37)):
    """Tables of four steps, with other keys and scalars in each."""
    rng = np.random.default_rng(1)
    integers = np.column_stack([starts, rng.integers(0, 2**40, (N_STEPS, 39))])
    order = rng.permutation(N_DATA) if order is None else order
    now = np.full(40, -7), np.full(3, -7, dtype)
    return StepTables(
        np.array([cursor]), order, integers, rng.normal(size=(N_STEPS, 3)).astype(dtype), now
    )


def part(source, dtype, scaling=()):
    return BatchRows(source, np.full((M, *source.shape[1:]), 9, dtype), scaling)


def outcome(ops, *arguments):
    """What `begin_step` writes: the rows of the tables and the batch."""
    ops.for_graphs.begin_step(*arguments)
    given, *batch = arguments
    return [*given.now, *(rows.out for rows in batch if rows is not None)]


def features(source, scaled, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2 if source == "bool" else 100, (N_DATA, 7)).astype(source)
    scaling = [rng.uniform(1, 2, 7).astype(dtype) for _ in range(3)] if scaled else ()
    return part(x, dtype, scaling)


def assert_same(ours, theirs):
    for actual, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(actual, expected)


@dtypes
@looped(
    scaled=[False, True], source=["uint8", "int16", "float32", "float64", "bool"], cursor=range(4)
)
def test_begin_step_gathers_a_batch(cursor, scaled, source, dtype, ops):
    results = []
    for one in (ops, REFERENCE):
        X, y = features(source, scaled, dtype), part(np.arange(N_DATA) % 10, "int64")
        weight = part(np.linspace(0, 1, N_DATA, dtype=dtype), dtype)
        results.append(outcome(one, tables(dtype, cursor), X, y, weight))
    assert_same(*results)


@dtypes
@looped(
    target=["int64", "int32", "uint8", "bool", "values", "rows"],
    without=[(), ("X",), ("weight",), ("X", "weight")],
)
def test_begin_step_takes_any_target(target, without, dtype, ops):
    numbers = np.random.default_rng(0).integers(0, 2, (N_DATA, 3))
    y = {"values": numbers[:, 0].astype(dtype), "rows": numbers.astype(dtype)}
    results = []
    for one in (ops, REFERENCE):
        given = y.get(target)
        given = numbers[:, 0].astype(target) if given is None else given
        X = None if "X" in without else features(dtype, False, dtype)
        weight = None if "weight" in without else part(np.ones(N_DATA, dtype), dtype)
        results.append(outcome(one, tables(dtype, 2), X, part(given, given.dtype), weight))
    assert_same(*results)


def test_begin_step_converts_other_weights(ops):
    """The kernel reads weights of the dtype of the scalars only."""
    results = []
    for one in (ops, REFERENCE):
        y, weight = part(np.arange(N_DATA), "int64"), part(np.arange(N_DATA), "float32")
        results.append(outcome(one, tables("float32", 1), None, y, weight))
    assert_same(*results)


WILD = np.array([0, -1, 50, 10**12, -(10**12), 3] * 9)


@looped(start=[0, 45, 10**12, -(10**12)], cursor=[-1, 0, 4, 10**12])
def test_begin_step_stays_inside_its_arrays(start, cursor, ops):
    """An index out of range takes the nearest row, and a step out of range the nearest step."""
    X, y = features("float64", False, "float64"), part(np.arange(N_DATA), "int64")
    given = tables("float64", cursor, WILD, [start] * N_STEPS)
    integers, scalars, rows, labels = outcome(ops, given, X, y)
    step = min(max(cursor, 0), N_STEPS - 1)
    assert_same((integers, scalars), (given.integers[step], given.scalars[step]))
    order = np.clip(WILD[np.clip(start + np.arange(M), 0, len(WILD) - 1)], 0, N_DATA - 1)
    assert_same((rows, labels), (X.source[order], order))


def test_begin_step_has_64_bit_indices(ops, monkeypatch):
    """Tested on small arrays, because arrays above the limit are too large."""
    kernels, results = [], []

    def launch(kernel, *how):
        kernels.append(kernel.source)
        emulated_cuda.launch(kernel, *how)

    ours = replace(ops, launch=launch)
    for limit in (2**31, 0):
        monkeypatch.setattr(elementwise, "LIMIT_32_BIT", limit)
        X, y = features("float32", True, "float32"), part(np.arange(N_DATA), "int64")
        results.append(outcome(ours, tables("float32", 1), X, y))
    assert ["#define INDEX long long" in source for source in kernels] == [False, True]
    assert_same(*results)


@dtypes
def test_record_appends_to_the_log(dtype, ops):
    for one in (ops, REFERENCE):
        log = LossLog(np.zeros(6, dtype), np.array([2]))
        for loss in (7, 8):
            one.for_graphs.record(log, np.array(loss, dtype))
        np.testing.assert_array_equal(log.losses, [0, 0, 7, 8, 0, 0])
        assert log.cursor == 4


@looped(
    at=[-1, 5, 10**12],
    record=[
        lambda ops, log: ops.for_graphs.record(log, np.ones(())),
        lambda ops, log: ops.logged_cross_entropy(log, np.ones((3, 2)), np.zeros(3, int), 0.5),
    ],
)
def test_record_out_of_range_writes_nothing(record, at, ops):
    log = LossLog(np.zeros(5), np.array([at]))
    record(ops, log)
    np.testing.assert_array_equal(log.losses, 0)
    assert log.cursor == at + 1


@dtypes
@looped(shape=[(1, 2), (64, 10), (300, 3), (1024, 3), (1025, 3), (40, 700)], by_row=[False, True])
def test_logged_cross_entropy_agrees(shape, by_row, dtype, ops):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=shape).astype(dtype), rng.integers(0, shape[1], shape[0])
    scale = rng.uniform(0, 1, (shape[0], 1)).astype(dtype) if by_row else 0.25
    results = []
    for one in (ops, REFERENCE):
        log = LossLog(np.zeros(3, dtype), np.array([1]))
        loss, grad = one.logged_cross_entropy(log, z, y, scale)
        assert log.losses[1] == loss
        assert log.cursor == 2
        results.append((loss, grad))
    for actual, expected in zip(*results, strict=True):
        rtol = {"float32": 2e-5, "float64": 1e-13}[dtype]
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)


@dtypes
def test_loss_of_one_block_has_the_bits_of_many(dtype, ops, monkeypatch):
    """A batch has the same loss whether one block sums it or a second launch does."""
    rng, found, grids = np.random.default_rng(0), [], []

    def launch(kernel, grid, *how):
        grids.append((kernel.name, *grid))
        emulated_cuda.launch(kernel, grid, *how)

    z, y = (10 * rng.normal(size=(1000, 5))).astype(dtype), rng.integers(0, 5, 1000)
    for size in (1 << 14, 0):
        monkeypatch.setattr(cross_entropy, "ONE_BLOCK_SIZE", size)
        found.append(replace(ops, launch=launch).softmax_cross_entropy(z, y, 1e-3))
    assert grids == [("cross_entropy", 1), ("cross_entropy", 32), ("total", 1)]
    assert_same(*found)


def never(*arguments):
    raise AssertionError("a kernel was started on arrays that do not fit")


def misfit(**changes):
    """The arguments of `begin_step`, one of which does not fit."""
    given = {"tables": tables("float64", 1), "X": features("float64", False, "float64")}
    given |= {"y": part(np.arange(N_DATA), "int64"), "weight": None} | changes
    return lambda ops: ops.for_graphs.begin_step(**given)


ROWS, LABELS = np.ones((N_DATA, 4)), np.arange(N_DATA)
MISFITS = {
    "a batch of other widths": misfit(X=BatchRows(ROWS, np.empty((M, 3)))),
    "few limits": misfit(X=BatchRows(ROWS, np.empty((M, 4)), [np.ones(3)] * 3)),
    "no rows": misfit(X=BatchRows(ROWS[:0], np.empty((M, 4)))),
    "strided rows": misfit(X=BatchRows(ROWS[:, ::2], np.empty((M, 2)))),
    "features of another dtype": misfit(X=part(ROWS, "float32")),
    "fewer targets": misfit(y=part(LABELS[:40], "int64")),
    "targets of another dtype": misfit(y=part(LABELS, "int32")),
    "weights of another dtype": misfit(weight=part(np.ones(N_DATA, "f"), "f")),
    "a narrow table": misfit(
        tables=tables("float64", 1)._replace(now=(np.zeros(3, np.int64), np.zeros(3)))
    ),
    "an order of int32": misfit(tables=tables("float64", 1, np.arange(N_DATA, dtype=np.int32))),
    "a log of another dtype": lambda ops: ops.for_graphs.record(
        LossLog(np.zeros(3, "f"), np.zeros(1, np.int64)), np.ones(())
    ),
    "a cursor of int32": lambda ops: ops.for_graphs.record(
        LossLog(np.zeros(3), np.zeros(1, np.int32)), np.ones(())
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_arguments_reach_no_kernel(name, ops):
    """The plain code refuses or broadcasts them, as NumPy does."""

    def result(ops):
        try:
            MISFITS[name](ops)
        except (ValueError, IndexError) as error:
            return repr(error)
        return "done"

    assert result(replace(ops, launch=never)) == result(REFERENCE)
