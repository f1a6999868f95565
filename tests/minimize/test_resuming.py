"""A resumed minimization equals the uninterrupted one to the bit, and misfits are refused."""

from __future__ import annotations

import copy
import functools
import math

import numpy as np
import pytest

import xpnet.optimizers
from xpnet.backend import copied
from xpnet.errors import ArgumentError, FileFormatError
from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    Armijo,
    CoordinateDescent,
    ElasticNet,
    Exact,
    GradientDescent,
    Method,
    MinimizationCheckpoint,
    Newton,
    NewtonCG,
    NonlinearCG,
    Reason,
    StrongWolfe,
    Tolerances,
    TrustRegion,
    compare,
    hager_zhang,
    minimize,
    polak_ribiere,
)
from xpnet.minimize.driver import minimization_loop
from xpnet.minimize.functions import Bowl, Rosenbrock
from xpnet.minimize.pairs import Pairs
from xpnet.minimize.scalar_function import ScalarFunction
from xpnet.optimizers import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Averaged,
    ExponentialAverage,
    Frozen,
    Lookahead,
    Momentum,
    Nadam,
    Nesterov,
    Optimizer,
    RAdam,
    Resumed,
    RMSProp,
)
from xpnet.parameters import Layout
from xpnet.state_dict import load_state_dict, pack, save_state_dict

N = 6
START = np.asarray(Rosenbrock(N).starts[0])
OTHER = 0.99 * START
ITERATIONS = 14
CUTS = (0, 1, 6, 12, 14)
LAYOUT = Layout.of([("a", (4,), "weight"), ("b", (2,), "bias")])


def rosenbrock(place):
    return Rosenbrock(N), {}


def bounded(place):
    """A problem whose iterates change the face of the box, six times, which drops a pair."""
    lower, upper = [-1.2, 0.1, -1.2, 0.1, -1.2, 0.5], [-0.3, 1.0, 0.9, 1.0, 0.0, 1.0]
    return Rosenbrock(N), {"bounds": (place.array(lower), place.array(upper))}


def lasso(place):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(20, N)), rng.normal(size=20)
    return ElasticNet(place.array(X), place.array(y), l1=0.05), {}


def value_only(place):
    return Rosenbrock(N).value, {}


def value_and_gradient(place):
    return lambda x: Rosenbrock(N).value_and_grad(x), {}


def separate(place):
    return Rosenbrock(N).value, {"jac": Rosenbrock(N).grad}


def resumed_adam(place):
    state = Adam(lr=0.02).init(place.array(np.zeros(N)))
    state.slots[0][...] = place.array(np.full(N, 0.1))
    state.step = 3
    return Resumed(Adam(lr=0.02), state)


METHODS = {
    "gradient descent": (GradientDescent(), rosenbrock),
    "gradient descent, Wolfe": (GradientDescent(StrongWolfe()), rosenbrock),
    "gradient descent, bounds": (GradientDescent(), bounded),
    "L-BFGS": (LBFGS(), rosenbrock),
    "L-BFGS, 3 pairs": (LBFGS(m=3), rosenbrock),
    "L-BFGS, bounds": (LBFGS(m=3), bounded),
    "L-BFGS, value": (LBFGS(m=4), value_only),
    "L-BFGS, pair": (LBFGS(m=4), value_and_gradient),
    "L-BFGS, jac": (LBFGS(m=4, search=Armijo()), separate),
    "L-BFGS, bounds, value": (LBFGS(m=3), lambda place: (Rosenbrock(N).value, bounded(place)[1])),
    "BFGS": (BFGS(), rosenbrock),
    "BFGS, exact": (BFGS(search=Exact()), rosenbrock),
    "DFP": (DFP(), rosenbrock),
    "CG, Polak-Ribière": (NonlinearCG(beta=polak_ribiere), rosenbrock),
    "CG, Hager-Zhang": (NonlinearCG(beta=hager_zhang), rosenbrock),
    "CG, object as beta": (NonlinearCG(beta=functools.partial(hager_zhang)), rosenbrock),
    "Newton": (Newton(), rosenbrock),
    "Newton, differences": (Newton(), value_and_gradient),
    "Newton-CG": (NewtonCG(), rosenbrock),
    "Newton-CG, differences": (NewtonCG(), value_and_gradient),
    "trust region": (TrustRegion(radius=0.3), rosenbrock),
    "coordinates": (CoordinateDescent(), rosenbrock),
    "coordinates, seed": (CoordinateDescent(seed=3), rosenbrock),
    "sweeps": (CoordinateDescent(), lasso),
    "sweeps, seed": (CoordinateDescent(seed=3), lasso),
}

WRAPPERS = {
    "Averaged": Averaged(Nadam(lr=0.02)),
    "Averaged, exponential": Averaged(Adam(lr=0.02), ExponentialAverage(0.9)),
    "Frozen": Frozen(AdamW(lr=0.02), LAYOUT, ["a"]),
    "Lookahead": Lookahead(Adam(lr=0.02)),
    "Resumed": resumed_adam,
    "AdaGrad, norm": AdaGrad(lr=0.02, norm=True),
    "RMSProp, centered": RMSProp(lr=0.02, centered=True),
}

SELECTING = {"Grouped", "Muon", "SAM"}
"""Optimizers that need a layout, which a function does not have, or two gradients a step."""

OPTIMIZERS = {
    kind.__name__: kind(lr=1e-4 if kind in (SGD, Momentum, Nesterov, RAdam) else 0.02)
    for kind in map(vars(xpnet.optimizers).get, xpnet.optimizers.__all__)
    if isinstance(kind, type)
    and issubclass(kind, Optimizer)
    and kind.__name__ not in (*WRAPPERS, *SELECTING, "Optimizer")
}
CASES = METHODS | {name: (rule, rosenbrock) for name, rule in (OPTIMIZERS | WRAPPERS).items()}


def test_every_optimizer_is_in_the_table():
    kinds = {kind for kind in vars(xpnet.optimizers).values() if isinstance(kind, type)}
    optimizers = {kind.__name__ for kind in kinds if issubclass(kind, Optimizer)} - {"Optimizer"}
    assert optimizers - SELECTING <= CASES.keys()
    assert {"Adam", "SGD", "Lion", "Averaged", "Resumed", "Frozen"} <= optimizers


def bits(place, result, since):
    """All that must be equal of two results, the trajectory from iteration ``since`` on."""
    return {
        "x": place.host(result.x).tobytes(),
        "dtype": str(result.x.dtype),
        "value": result.value,
        "grad_norm": result.grad_norm,
        "reason": (result.reason, result.detail),
        "iterations": result.iterations,
        "evaluations": result.evaluations,
        "trajectory": [
            (i.iteration, place.host(i.x).tobytes(), i.value, i.grad_norm, i.step)
            for i in result.trajectory
            if i.iteration >= since
        ],
    }


def check_cuts(place, method, problem, folder, cuts=CUTS, **settings):
    """Compare the run that is resumed after each of ``cuts`` with the uninterrupted one."""
    method = method(place) if callable(method) else method
    fun, arguments = problem(place)
    start = place.array(START)
    settings = {"keep_trajectory": True, "max_iter": ITERATIONS, **arguments, **settings}
    whole = minimize(fun, start, method, **settings)
    for cut in cuts:
        path = folder / f"run {cut}"
        checkpoint = MinimizationCheckpoint(path, iterations=1000)
        minimize(fun, start, method, **{**settings, "max_iter": cut}, checkpoint=checkpoint)
        seen = []
        other = place.array(OTHER)
        resumed = minimize(fun, other, method, **settings, resume=path, callback=seen.append)
        done = load_state_dict(path)["loop"]["iteration"]
        remains = 0 if whole.reason in (Reason.NON_FINITE, Reason.ROUNDING) else cut
        assert done in (min(cut, whole.iterations), min(remains, whole.iterations))
        assert bits(place, resumed, done) == bits(place, whole, done), cut
        assert place.backend.owns(resumed.x)
        later = [i.iteration for i in whole.trajectory if i.iteration > done]
        assert [i.iteration for i in seen] == later
        assert resumed.trajectory[0].iteration == done
    return whole


@pytest.mark.parametrize("case", CASES)
def test_resumed_run_equals_uninterrupted_one(place, case, tmp_path):
    method, problem = CASES[case]
    cuts = CUTS if place.backend.name == "numpy" else (12,)
    whole = check_cuts(place, method, problem, tmp_path, cuts)
    assert whole.iterations > (1 if case.startswith("sweeps") else 6)


@pytest.mark.parametrize("case", ["L-BFGS, 3 pairs", "L-BFGS, bounds", "BFGS", "Adam", "AdamW"])
def test_resumed_float32_run_equals_other(place32, case, tmp_path):
    check_cuts(place32, *CASES[case], tmp_path, cuts=(1, 12))


HERE = type("Here", (), {"array": staticmethod(np.asarray), "host": staticmethod(np.asarray)})()
HERE.backend = type("Backend", (), {"owns": staticmethod(lambda x: True)})()


@pytest.mark.parametrize(
    ("method", "tol", "reason"),
    [
        (LBFGS(), 1e-8, Reason.GRADIENT),
        (GradientDescent(), Tolerances(grad=0.0, decrease=1e-3), Reason.DECREASE),
        (GradientDescent(), Tolerances(grad=0.0, step=1e-2), Reason.STEP),
        (TrustRegion(), 0.0, Reason.ROUNDING),
        (SGD(lr=5.0), 0.0, Reason.NON_FINITE),
        (Newton(), 1e-9, Reason.GRADIENT),
    ],
    ids=lambda value: str(value)[:20],
)
def test_resumed_run_stops_for_the_same_reason(method, tol, reason, tmp_path):
    settings = {"tol": tol, "max_iter": 1000}
    whole = minimize(Rosenbrock(N), START, method, **settings)
    assert whole.reason is reason
    cuts = range(whole.iterations + 2)
    check_cuts(HERE, method, rosenbrock, tmp_path, cuts=cuts, **settings)


def test_resumed_run_keeps_the_best_point(tmp_path):
    settings = {"method": SGD(lr=1.05), "max_iter": 30, "keep_trajectory": True}
    whole = minimize(Bowl(), (-7.0, 2.0), **settings)
    assert whole.value < whole.trajectory[-1].value
    for cut in (3, 12, 29):
        checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=2)
        minimize(Bowl(), (-7.0, 2.0), **{**settings, "max_iter": cut}, checkpoint=checkpoint)
        resumed = minimize(Bowl(), (0.0, 0.0), **settings, resume=tmp_path / "run")
        assert bits(HERE, resumed, cut) == bits(HERE, whole, cut)


def counting(fun, calls):
    def counted(x):
        calls.append(1)
        return fun(x)

    return counted


@pytest.mark.parametrize("fun", [Rosenbrock(N).value, Rosenbrock(N).value_and_grad])
def test_resuming_evaluates_nothing_twice(fun, tmp_path):
    calls = [], [], []
    whole, first, second = (counting(fun, made) for made in calls)
    minimize(whole, START, max_iter=9)
    checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=4)
    minimize(first, START, max_iter=5, checkpoint=checkpoint)
    minimize(second, np.zeros(N), max_iter=9, resume=tmp_path / "run")
    assert len(calls[0]) == len(calls[1]) + len(calls[2])
    assert calls[2]


class Standstill(Rosenbrock):
    """Rosenbrock's function with a sweep that returns its argument."""

    def sweep(self, x, order):
        return x


def test_cached_evaluation_is_resumed(tmp_path):
    settings = {"method": CoordinateDescent(), "tol": 0.0}
    whole = minimize(Standstill(N), START, **settings)
    checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=1)
    minimize(Standstill(N), START, **settings, max_iter=0, checkpoint=checkpoint)
    resumed = minimize(Standstill(N), START, **settings, resume=tmp_path / "run")
    assert bits(HERE, resumed, 0) == bits(HERE, whole, 0)
    assert whole.evaluations.functions == 1


def interrupting(at):
    """Return Rosenbrock's function with Ctrl-C at call number ``at``."""
    calls = []

    def fun(x):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return Rosenbrock(N).value_and_grad(x)

    return fun


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("method", [LBFGS(m=3), BFGS(), CoordinateDescent(seed=1), Nadam(lr=0.1)])
def test_run_after_interrupt_equals_other(method, every, tmp_path):
    path = tmp_path / "run"
    whole = minimize(interrupting(0), START, method, max_iter=30)
    for at in range(2, 24, 3):
        checkpoint = MinimizationCheckpoint(path, iterations=every)
        part = minimize(interrupting(at), START, method, max_iter=30, checkpoint=checkpoint)
        assert part.reason is Reason.INTERRUPTED
        saved = load_state_dict(path)["loop"]["iteration"]
        assert saved == part.iterations // every * every
        resumed = minimize(interrupting(0), START, method, max_iter=30, resume=path)
        assert bits(HERE, resumed, 0) == bits(HERE, whole, 0)


def test_interrupt_in_callback_is_saved(tmp_path):
    def callback(iterate):
        if iterate.iteration == 3:
            raise KeyboardInterrupt

    whole = minimize(Rosenbrock(N), START)
    checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=1000)
    part = minimize(Rosenbrock(N), START, callback=callback, checkpoint=checkpoint)
    assert part.reason is Reason.INTERRUPTED
    seen = []
    resumed = minimize(Rosenbrock(N), START, resume=tmp_path / "run", callback=seen.append)
    assert seen[0].iteration == 4
    assert bits(HERE, resumed, 0) == bits(HERE, whole, 0)


def test_checkpoints_chain_and_replace_their_file(tmp_path):
    path, method = tmp_path / "run", LBFGS(m=3)
    whole = minimize(Rosenbrock(N), START, method)
    checkpoint = MinimizationCheckpoint(path, iterations=2)
    result = minimize(Rosenbrock(N), START, method, max_iter=3, checkpoint=checkpoint)
    for _ in range(100):
        if result.success:
            break
        more = result.iterations + 3
        result = minimize(
            Rosenbrock(N), START, method, max_iter=more, checkpoint=checkpoint, resume=path
        )
    assert bits(HERE, result, 0) == bits(HERE, whole, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def written(tmp_path, checkpoint, **settings):
    """Return the iteration in the file after each iteration of a run."""
    found = []

    def callback(iterate):
        found.append(load_state_dict(tmp_path / "run")["loop"]["iteration"])

    minimize(Rosenbrock(N), START, callback=callback, checkpoint=checkpoint, **settings)
    return found, load_state_dict(tmp_path / "run")["loop"]["iteration"]


def test_interval_of_iterations_is_kept(tmp_path):
    checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=3)
    assert written(tmp_path, checkpoint, max_iter=8) == ([0, 0, 0, 3, 3, 3, 6, 6], 8)


def test_interval_of_seconds_is_kept(tmp_path, monkeypatch):
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr("xpnet.minimize.checkpoint.time.perf_counter", lambda: next(clock))
    always = MinimizationCheckpoint(tmp_path / "run", seconds=10.0)
    assert written(tmp_path, always, max_iter=3) == ([0, 1, 2], 3)
    (tmp_path / "run").unlink()
    never = MinimizationCheckpoint(tmp_path / "run", seconds=1e9)
    assert written(tmp_path, never, max_iter=3) == ([0, 0, 0], 3)


def test_points_that_are_not_finite_are_not_saved(tmp_path):
    checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=1)
    settings = {"method": SGD(lr=5.0), "tol": 0.0}
    part = minimize(Rosenbrock(N), START, **settings, checkpoint=checkpoint)
    assert part.reason is Reason.NON_FINITE
    assert load_state_dict(tmp_path / "run")["loop"]["iteration"] == part.iterations - 1


# The entry for trainings, which have their own files.


@pytest.mark.parametrize("case", CASES)
def test_loaded_state_equals_saved_one(case):
    method, problem = CASES[case]
    method = method(HERE) if callable(method) else method
    fun, settings = problem(HERE)
    for iterations in (0, 3, 13):
        loop = minimization_loop(fun, START, method, max_iter=iterations, **settings)
        loop.run(method)
        values, arrays = pack(loop.state_dict(), "state")
        other = minimization_loop(fun, OTHER, method, state=loop.state_dict(), **settings)
        again, copies = pack(other.state_dict(), "state")
        assert again == values
        assert {k: v.tobytes() for k, v in copies.items()} == {
            k: v.tobytes() for k, v in arrays.items()
        }


@pytest.mark.parametrize("method", [LBFGS(m=3), Adam(lr=0.05), BFGS()], ids=str)
def test_loop_resumes_from_packed_state(method):
    saved = {}

    def callback(iterate):
        saved[iterate.iteration] = copy.deepcopy(loop.state_dict())

    loop = minimization_loop(Rosenbrock(N), START, method, max_iter=12, callback=callback)
    saved[0] = copy.deepcopy(loop.state_dict())
    whole = loop.run(method)
    assert list(saved) == list(range(13))
    for state in saved.values():
        other = minimization_loop(Rosenbrock(N), START, method, max_iter=12, state=state)
        assert bits(HERE, other.run(method), 0) == bits(HERE, whole, 0)


def test_loading_copies_arrays():
    loop = minimization_loop(Rosenbrock(N), START, Adam(), max_iter=5)
    loop.run(Adam())
    state = loop.state_dict()
    before = pack(state, "state")[1]
    minimization_loop(Rosenbrock(N), START, Adam(), max_iter=9, state=state).run(Adam())
    for name, array in pack(state, "state")[1].items():
        assert array.tobytes() == before[name].tobytes()


def test_state_in_the_course_of_a_step_is_refused():
    def fun(x):
        if len(calls) > 2:
            loop.state_dict()
        calls.append(1)
        return Rosenbrock(N).value_and_grad(x)

    calls = []
    loop = minimization_loop(fun, START, LBFGS())
    with pytest.raises(RuntimeError, match="between two steps"):
        loop.run(LBFGS())


# Misfits.


class Stateful(Method):
    """A method whose state has no state dictionary."""

    def start(self, function, point):
        return [1.0]

    def step(self, function, point, state):
        raise AssertionError


class Halving(Method):
    """A user-defined method whose state is a dictionary of its own kind."""

    def start(self, function, point):
        function.evaluate(copied(point.x))  # its count is part of the saved one
        return Halves()

    def step(self, function, point, state):
        state.factor *= 0.5
        return function.evaluate(point.x - 1e-3 * state.factor * point.grad, state.factor)


class Halves:
    def __init__(self):
        self.factor = 1.0

    def state_dict(self):
        return {"factor": self.factor}

    def load_state_dict(self, state):
        self.factor = state["factor"]


def test_user_defined_method_is_resumed(tmp_path):
    check_cuts(HERE, Halving(), rosenbrock, tmp_path)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (MinimizationCheckpoint, "exactly one of iterations and seconds"),
        (lambda p: MinimizationCheckpoint(p, iterations=1, seconds=1), "exactly one"),
        (lambda p: MinimizationCheckpoint(p, iterations=0), "iterations must be an integer"),
        (lambda p: MinimizationCheckpoint(p, iterations=True), "iterations must be an integer"),
        (lambda p: MinimizationCheckpoint(p, iterations=1.5), "iterations must be an integer"),
        (lambda p: MinimizationCheckpoint(p, seconds=0), "seconds must be .* above 0"),
        (lambda p: MinimizationCheckpoint(p, seconds=math.nan), "seconds must be a finite"),
        (lambda p: MinimizationCheckpoint(3, seconds=1), "path must be a"),
        (lambda p: minimize(Bowl(), START[:2], checkpoint=p), "checkpoint must be a Minim"),
        (lambda p: minimize(Bowl(), START[:2], resume=3), "resume must be a"),
        (
            lambda p: minimize(
                Bowl(), [1.0, 1.0], checkpoint=MinimizationCheckpoint(p.parent, seconds=1)
            ),
            "checkpoint must be a file",
        ),
        (
            lambda p: minimize(
                Bowl(),
                [1.0, 1.0],
                Stateful(),
                checkpoint=MinimizationCheckpoint(p, seconds=1),
            ),
            r"method must keep a state with state_dict\(\)",
        ),
        (
            lambda p: compare(
                Bowl(), [BFGS(), DFP()], checkpoint=MinimizationCheckpoint(p, seconds=1)
            ),
            "checkpoint must be left out",
        ),
        (lambda p: compare(Bowl(), [BFGS(), DFP()], resume=p), "resume must be left out"),
    ],
)
def test_bad_arguments_are_refused(make, text, tmp_path):
    with pytest.raises(ArgumentError, match=text):
        make(tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file of a run of L-BFGS within bounds."""
    path = tmp_path_factory.mktemp("saved") / "run"
    settings = bounded(HERE)[1]
    checkpoint = MinimizationCheckpoint(path, iterations=5)
    minimize(Rosenbrock(N), START, LBFGS(m=3), **settings, max_iter=9, checkpoint=checkpoint)
    return path


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"method": LBFGS(m=4)}, r"resume must be of the same method: it is of LBFGS\(m=3.*m=4"),
        ({"method": GradientDescent()}, "resume must be of the same method"),
        (
            {"x0": np.zeros(4), "bounds": (-1.0, 1.0)},
            "resume must be of as many variables.* 6; .*4",
        ),
        ({"x0": np.float32(OTHER)}, "resume must be of the dtype of x0.*64; got float32"),
        ({"bounds": None}, "resume must be of the same problem: it is of a problem with bounds"),
        ({"fun": NotImplemented}, "resume must be of the same problem: it is of a function with"),
        ({"bounds": (-1.0, -0.2), "x0": np.full(N, -0.5)}, "resume must be of the same bounds"),
    ],
    ids=str,
)
def test_other_problem_is_refused(saved, change, text):
    settings = {"fun": Rosenbrock(N), "x0": OTHER, "method": LBFGS(m=3)}
    settings |= bounded(HERE)[1] | {"resume": saved} | change
    if settings["fun"] is NotImplemented:
        state = load_state_dict(saved)["loop"] | {"gradient": False}
        save_state_dict({"kind": "minimization", "loop": state}, saved.parent / "changed")
        settings |= {"fun": Rosenbrock(N), "resume": saved.parent / "changed"}
        text = text.replace("it is of a", "it is not of a")
    with pytest.raises(ArgumentError, match=text):
        minimize(**settings)


class SteepestDescent:
    """A formula for β, an object whose ``repr`` is its address."""

    def __call__(self, grad, before, direction):
        return 0.0


def test_equal_methods_of_other_address_are_resumed(tmp_path):
    first, second = NonlinearCG(beta=SteepestDescent()), NonlinearCG(beta=SteepestDescent())
    assert repr(first) != repr(second)
    checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=1)
    minimize(Rosenbrock(N), START, first, max_iter=2, checkpoint=checkpoint)
    assert (
        minimize(Rosenbrock(N), START, second, max_iter=3, resume=tmp_path / "run").iterations == 3
    )


@pytest.mark.parametrize("pair", [True, False])
def test_function_of_another_kind_is_refused(pair, tmp_path):
    first, second = [Rosenbrock(N).value, Rosenbrock(N).value_and_grad][:: 1 if pair else -1]
    checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=1)
    minimize(first, START, max_iter=2, checkpoint=checkpoint)
    with pytest.raises(ArgumentError, match=r"fun must return .* as in the saved run"):
        minimize(second, START, resume=tmp_path / "run")


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "run"
    xpnet.MLP(2, [3], 1).save(path)
    with pytest.raises(FileFormatError, match=r"run.* must be a state dictionary"):
        minimize(Bowl(), (1.0, 1.0), resume=path)
    for state, text in (
        ({"kind": "training", "loop": {}}, "of kind 'training'"),
        ({"kind": np.zeros(2), "loop": {}}, "without a kind"),
        ({"epoch": 3}, "without a kind"),
    ):
        save_state_dict(state, path)
        with pytest.raises(FileFormatError, match=f"run' cannot .* a file of Minim.*{text}"):
            minimize(Bowl(), (1.0, 1.0), resume=path)
    with pytest.raises(FileNotFoundError, match="no file"):
        minimize(Bowl(), (1.0, 1.0), resume=tmp_path / "missing")


# Hostile files.


def is_valid(run):
    """Return whether a resumed run gives a result; raise every error that is not a misfit."""
    try:
        result = run()
    except FileFormatError:
        return False
    except ArgumentError as error:
        if not str(error).startswith("resume must be"):
            raise
        return False
    assert isinstance(result.reason, Reason)
    return True


def test_damaged_files_are_refused_or_valid(saved, tmp_path):
    rng, path, content = np.random.default_rng(11), tmp_path / "run", saved.read_bytes()
    results = []
    for number in range(300):
        damaged = bytearray(content)
        for at in rng.integers(len(content), size=1 + number % 3):
            damaged[at] = rng.integers(256)
        if number % 5 == 0:
            damaged = damaged[: rng.integers(len(content))]
        path.write_bytes(damaged)
        settings = {"max_iter": 14, "resume": path} | bounded(HERE)[1]
        run = functools.partial(minimize, Rosenbrock(N), OTHER, LBFGS(m=3), **settings)
        results.append(is_valid(run))
    assert 20 < sum(results) < 280


WRONG = [
    *(None, -1, 2**70, True, 0.0, -1.0, 1e308, math.nan, math.inf, "x", [], [-1], [0, 0], {}),
    *(["x", 2.0, 1], {"state": 3}, np.zeros(0), np.full(N, np.nan), np.full(N, 1e200)),
    *(np.zeros(N, "float32"), np.zeros((N, N)), np.full((N, N), np.inf), np.zeros((3, 3))),
]


def paths_of(state, path=()):
    """Yield the path of every entry of a state dictionary."""
    items = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from paths_of(value, (*path, key))


def changed(state, path, value):
    """Return a copy of a state dictionary with another value at ``path``."""
    state = copy.deepcopy(state)
    *outer, last = path
    functools.reduce(lambda part, key: part[key], outer, state)[last] = value
    return state


def test_singular_pairs_give_no_direction():
    function = ScalarFunction(Rosenbrock(N), START)
    pairs = Pairs(3, function, START)
    assert pairs.append(-START, 0.5 * START)
    state = copy.deepcopy(pairs.state_dict())
    state["sy"][0, 0] = 1e-300  # as small as a file may have it
    pairs.load_state_dict(state)
    assert np.isfinite(pairs.direction()).all()
    pairs._sy[...] = 0.0
    assert np.isnan(pairs.direction()).all()


HOSTILE = {
    case: CASES[case]
    for case in (
        *("gradient descent", "L-BFGS, 3 pairs", "L-BFGS, bounds", "BFGS", "CG, Hager-Zhang"),
        *("trust region", "coordinates, seed", "Newton", "Adam", "AdamW", "Averaged", "Frozen"),
    )
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_entries_are_refused_or_valid(case, tmp_path):
    method, problem = HOSTILE[case]
    fun, settings = problem(HERE)
    path, accepted = tmp_path / "run", {}
    checkpoint = MinimizationCheckpoint(path, iterations=1)
    minimize(fun, START, method, **settings, max_iter=4, checkpoint=checkpoint)
    state = load_state_dict(path)["loop"]

    def is_accepted(state):
        arguments = {"method": method, "max_iter": 8, "state": state, **settings}
        return is_valid(lambda: minimization_loop(fun, OTHER, **arguments).run(method))

    assert is_accepted(state)
    for entry in paths_of(state):
        values = [value for value in WRONG if is_accepted(changed(state, entry, value))]
        accepted[entry] = values
        if isinstance(entry[-1], str):
            other = changed(state, entry, 0)
            part = functools.reduce(lambda part, key: part[key], entry[:-1], other)
            value = part.pop(entry[-1])
            assert not is_accepted(other), entry
            part |= {entry[-1]: value, "unknown": 0}
            assert not is_accepted(other), entry
    for entry, values in accepted.items():
        assert not any(isinstance(value, (str, dict)) for value in values), entry
        assert len(values) < len(WRONG) / 2, entry


@pytest.mark.parametrize(
    ("case", "path", "value", "text"),
    [
        ("L-BFGS, 3 pairs", ("iteration",), -1, "'iteration' of the minimization must be an int"),
        ("L-BFGS, 3 pairs", ("evaluations", "functions"), -1, "'functions' of the evaluations"),
        ("L-BFGS, 3 pairs", ("now", "x"), np.full(N, np.nan), "'x' of the present point must be f"),
        ("L-BFGS, 3 pairs", ("now", "value"), math.nan, "'value' of the present point"),
        ("L-BFGS, 3 pairs", ("before",), None, "'before' of the minimization must be None in"),
        ("L-BFGS, 3 pairs", ("state", "slots"), [0, 0], "'slots' of Pairs must be distinct"),
        ("L-BFGS, 3 pairs", ("state", "slots"), [0, 3], "'slots' of Pairs .* from 0 to 2"),
        ("L-BFGS, 3 pairs", ("state", "sy"), np.zeros((3, 3)), "'sy' of Pairs must have a posit"),
        ("L-BFGS, 3 pairs", ("state", "rows"), np.zeros((9, N)), r"'rows' of Pairs .*\(7, 6\)"),
        ("L-BFGS, bounds", ("state", "yy"), np.zeros((2, 3)), r"'yy' of Pairs .*\(3, 3\)"),
        ("BFGS", ("state", "matrix"), np.zeros((N, 5)), "'matrix' of InverseHessian"),
        ("CG, Hager-Zhang", ("state", "direction"), np.full(N, np.inf), "'direction' of Search"),
        ("trust region", ("state", "radius"), -1.0, "'radius' of TrustRadius"),
        (
            "coordinates, seed",
            ("state", "random", "state", "inc"),
            2,
            "inc must be an entry of a generator",
        ),
        (
            "coordinates, seed",
            ("state", "random", "bit_generator"),
            "MT19937",
            "must be of PCG64; got MT19937",
        ),
        ("coordinates", ("state", "random"), {}, "'random' of CoordinateSweeps must be None"),
        ("Newton", ("state",), {}, "the state of the method must be None"),
        ("Adam", ("state", "slots", 1), np.zeros(5), "the slot 1 of the optimizer"),
        ("Adam", ("state", "step"), -1, "'step' of OptimizerState"),
        ("AdamW", ("state", "scalars"), [math.nan], "scalars of the state of AdamW"),
        ("Nadam", ("state", "scalars"), [1.5], "scalars of the state of Nadam"),
        ("Frozen", ("state", "scalars"), [1e9], "scalars of the state of Frozen"),
    ],
)
def test_wrong_entry_is_named(case, path, value, text, tmp_path):
    method, problem = CASES[case]
    fun, settings = problem(HERE)
    checkpoint = MinimizationCheckpoint(tmp_path / "run", iterations=1)
    minimize(fun, START, method, **settings, max_iter=4, checkpoint=checkpoint)
    state = load_state_dict(tmp_path / "run")
    save_state_dict(changed(state, ("loop", *path), value), tmp_path / "run")
    with pytest.raises(FileFormatError, match=f"run' cannot be resumed: .*{text}"):
        minimize(fun, OTHER, method, **settings, resume=tmp_path / "run")
