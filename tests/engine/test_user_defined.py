"""User-defined parts are replayed by default if they use only their arguments, and only then."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from helpers.nested_layers import Chain

import xpnet
from xpnet import Adam, BatchNorm, ClipByNorm, CrossEntropy, Dense, Sequential, TrainingStep
from xpnet.activations import ActivationFunction, from_formula
from xpnet.engine.prediction import CALLS_BEFORE_RECORDING, Prediction
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.layers import LayerSpec, ParameterSpec
from xpnet.random import stream_key

if why_not_recorded():
    pytest.skip(f"no replay: {why_not_recorded()}", allow_module_level=True)

REPLAY = "replay: a list of compiled calls"
ROOT_HALF = float(np.sqrt(0.5))


def squash(xp, z, k):
    return ROOT_HALF * z / (1.0 + xp.exp(-k * z))


def squash_derivative(xp, z, k):
    s = 1.0 / (1.0 + xp.exp(-k * z))
    return ROOT_HALF * (s + z * k * s * (1.0 - s))


@dataclass(frozen=True)
class Squash(ActivationFunction):
    """An activation by rules, with a hyperparameter and a global constant."""

    k: float = 1.5
    value = staticmethod(squash)
    derivative = staticmethod(squash_derivative)
    curvature = None
    saves = "input"


class Saved(NamedTuple):
    """The values that a layer saves."""

    x: Any
    scale: Any


@dataclass(frozen=True)
class Gain:
    """y = γ x, in array code."""

    start: float = 1.5

    def specs(self, n_in):
        init = xpnet.initializers.Constant(self.start)
        return LayerSpec(n_in, (ParameterSpec("gamma", (n_in,), "scale", init),))

    def forward(self, p, x, ctx):
        return x * p["gamma"], Saved(x, np.float32(1.0))

    def backward(self, p, g, saved, dy, ctx):
        g["gamma"][...] = ctx.ops.xp.sum(dy * saved.x, axis=0)
        return dy * p["gamma"]


class Plain:
    """A class without dataclass, whose constructor sets attributes."""

    def __init__(self, slope=0.5):
        self.slope = slope

    def specs(self, n_in):
        return LayerSpec(n_in)

    def forward(self, p, x, ctx):
        return self._bent(x), x

    def backward(self, p, g, saved, dy, ctx):
        return dy * np.where(saved > 0, 1.0, self.slope).astype(dy.dtype)

    def _bent(self, x):
        return x * np.where(x > 0, 1.0, self.slope).astype(x.dtype)


@dataclass(frozen=True)
class Drop:
    """Dropout of one's own, by the key of the context."""

    p: float = 0.3
    stochastic: ClassVar[bool] = True

    def specs(self, n_in):
        return LayerSpec(n_in)

    def forward(self, p, x, ctx):
        ctx.claim()
        if not ctx.training:
            return x, None
        mask = ctx.ops.keep_mask(x, stream_key(ctx.key, 7), self.p)
        return x * mask, mask

    def backward(self, p, g, saved, dy, ctx):
        return dy * saved


@dataclass(frozen=True)
class Centered:
    """Batch statistics of one's own."""

    batch_statistics: ClassVar[bool] = True

    def specs(self, n_in):
        init = xpnet.initializers.Zeros()
        names = "mean", "var", "count"
        return LayerSpec(
            n_in, (), tuple(ParameterSpec(name, (n_in,), "scale", init) for name in names)
        )

    def forward(self, p, x, ctx):
        if not ctx.training:
            return x - ctx.statistics["mean"], None
        mean = np.mean(x, axis=0)
        if ctx.update_statistics:
            ctx.statistics["mean"][...] = 0.9 * ctx.statistics["mean"] + 0.1 * mean
        return x - mean, None

    def backward(self, p, g, saved, dy, ctx):
        return dy - np.mean(dy, axis=0)


@dataclass(frozen=True)
class Doubled(CrossEntropy):
    """A loss with ``value_and_grad``."""

    factor: float = 2.0

    def value_and_grad(self, output, target, weight=None, *, out=None):
        value, grad = super().value_and_grad(output, target, weight, out=out)
        return value * self.factor, grad * self.factor


@dataclass(frozen=True)
class Halved(xpnet.optimizers.Optimizer):
    """An optimizer by a rule."""

    lr: float = 0.05
    rule = staticmethod(lambda xp, theta, grad, lr: theta - 0.5 * lr * grad)

    def scalars(self, state, lr):
        return (lr / (1.0 + 0.01 * state.step),)


@dataclass(frozen=True)
class Signs:
    """A clip."""

    def apply(self, grad):
        grad[...] = np.clip(grad, -0.01, 0.01)


MISH = from_formula(lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), name="mish")


@dataclass(frozen=True)
class Gated:
    """An activation of a formula, another one in an attribute."""

    inner: ActivationFunction = MISH

    def specs(self, n_in):
        return LayerSpec(n_in)

    def forward(self, p, x, ctx):
        first, a = self.inner.kept(ctx.ops, x)
        second, y = MISH.kept(ctx.ops, a)
        return y, (first, second)

    def backward(self, p, g, saved, dy, ctx):
        first, second = saved
        return self.inner.backward(ctx.ops, first, MISH.backward(ctx.ops, second, dy))


@dataclass(frozen=True)
class Mish(ActivationFunction):
    """An activation that defines its rule alone."""

    value = staticmethod(lambda xp, z: z * xp.tanh(xp.softplus(z)))


@dataclass(frozen=True)
class Pinball(xpnet.losses.Loss):
    """A loss that defines its rule alone."""

    q: float = 0.9
    rule = staticmethod(lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)))


@dataclass(frozen=True)
class Cubed(xpnet.losses.Loss):
    """A loss of which the curvature follows from the derivative."""

    rule = staticmethod(lambda xp, z, t: (z - t) * (z - t) * (z - t))
    derivative = staticmethod(lambda xp, z, t: 3.0 * (z - t) * (z - t))


HONEST = {
    "activation by its rule": {"layers": [Dense(6, Mish()), Dense(3)]},
    "activation": {"layers": [Dense(6, Squash()), Dense(5, Squash(0.5)), Dense(3)]},
    "formulas": {"layers": [Dense(6), Gated(), Dense(3)]},
    "layer": {"layers": [Dense(6), Gain(), xpnet.Activation(xpnet.Tanh()), Dense(3)]},
    "class": {"layers": [Plain(), Dense(6), Plain(0.1), Dense(3)]},
    "loss": {"loss": Doubled()},
    "nested": {"layers": [Chain((Dense(6, Squash()), Chain((Gain(), Drop())))), Dense(3)]},
    "dropout": {"layers": [Drop(), Dense(6, xpnet.ReLU()), Drop(0.5), Dense(3)]},
    "statistics": {"layers": [Dense(6), Centered(), BatchNorm(), Dense(3)]},
    "optimizer": {"optimizer": Halved()},
    "averaged": {"optimizer": xpnet.Averaged(Halved())},
    "clip": {"clip": Signs()},
}


def trained(engine, layers=None, epochs=8, dtype="float32", optimizer=None, **settings):
    """A model after some epochs with weights, a smaller last batch, a clip and a schedule."""
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(52, 4)), rng.integers(0, 3, 52)
    model = Sequential(layers or [Dense(6, xpnet.Tanh()), Dense(3)], 4, dtype=dtype, rng=1)
    given = {"loss": CrossEntropy(), "clip": ClipByNorm(0.5), "l2": 1e-3} | settings
    history = model.fit(
        X,
        y,
        epochs=epochs,
        batch_size=16,
        optimizer=optimizer or Adam(0.01),
        sample_weight=np.linspace(0.5, 1.5, 52),
        schedule=xpnet.Cosine(),
        rng=3,
        progress=False,
        engine=engine,
        **given,
    )
    return model, history


def assert_same_bits(case, **more):
    """Train eagerly and by default; return the engine that the default has selected."""
    (plain, expected), (model, history) = (trained(e, **case(), **more) for e in ("eager", None))
    np.testing.assert_array_equal(model.theta, plain.theta)
    np.testing.assert_array_equal(model.statistics, plain.statistics)
    assert history["loss"] == expected["loss"]
    assert model.state.streams.drawn == plain.state.streams.drawn
    return history.engine


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", HONEST)
def test_honest_part_is_replayed_with_same_bits(name, dtype):
    assert assert_same_bits(lambda: HONEST[name], dtype=dtype) == REPLAY


@pytest.mark.parametrize("loss", [Pinball(), Cubed()])
def test_loss_by_its_rules_is_replayed(loss):
    found = [trained(e, layers=[Dense(1)], loss=loss, epochs=2) for e in ("eager", None)]
    (plain, _), (model, history) = found
    assert history.engine == REPLAY
    # Products of layers with one unit agree to rounding.
    np.testing.assert_allclose(model.theta, plain.theta, rtol=1e-5)


class Passes:
    """A base of layers without parameters."""

    calls = 0

    def specs(self, n_in):
        return LayerSpec(n_in)

    def backward(self, p, g, saved, dy, ctx):
        return dy


CALLS, LAST = {"n": 0}, []
COUNT = 0
CLOCK = time.perf_counter
DRAWS = np.random.default_rng(0)
TURNS = itertools.cycle([1.0, 1.0, 2.0])


def dishonest():
    """New layers of each kind, whose states are those of the first call.

    The functions are the forward passes of the layers, by what they do.
    """
    CALLS["n"] = 0
    globals().update(COUNT=0, DRAWS=np.random.default_rng(0), TURNS=itertools.cycle([1.0, 2.0]))
    LAST.clear()
    Passes.calls = 0
    vars(squash).clear()
    remembered: dict[int, Any] = {}
    calls = 0

    def draws(self, p, x, ctx):
        return x + DRAWS.normal(size=x.shape).astype("float32"), None

    def counts_in_a_global(self, p, x, ctx):
        global COUNT  # noqa: PLW0603
        COUNT += 1
        return x * (1.0 + COUNT % 3), None

    def counts_in_a_dictionary(self, p, x, ctx):
        CALLS["n"] += 1
        return x * (1.0 + CALLS["n"] % 10), None

    def counts_in_a_closure(self, p, x, ctx):
        nonlocal calls
        calls += 1
        return x * (2.0 if calls % 10 == 0 else 1.0), None

    def counts_in_a_default(self, p, x, ctx, state=[0]):  # noqa: B006
        state[0] += 1
        return x * (2.0 if state[0] % 2 == 0 else 1.0), None

    def counts_in_an_attribute(self, p, x, ctx):
        self.calls += 1
        return x * (1.0 + self.calls % 2), None

    def counts_in_the_dictionary_of_an_object(self, p, x, ctx):
        vars(self)["calls"] = vars(self).get("calls", 0) + 1
        return x * (1.0 + vars(self)["calls"] % 10), None

    def counts_in_a_class(self, p, x, ctx):
        Passes.calls += 1
        return x * (1.0 + self.calls % 3), None

    def counts_in_a_function(self, p, x, ctx):
        squash.calls = squash.calls + 1 if hasattr(squash, "calls") else 1
        return x * (1.0 + squash.calls % 3), None

    def reads_the_clock(self, p, x, ctx):
        return x * (1.0 + 0.0 * (CLOCK() > 0)), None

    def reads_an_address(self, p, x, ctx):
        return x * (1.0 + 0.0 * id(x)), None

    def draws_by_the_namespace(self, p, x, ctx):
        return x + 0.0 * ctx.ops.xp.random.normal(), None

    def imports(self, p, x, ctx):
        import random  # noqa: PLC0415

        return x * (1.0 + 0.0 * random.random()), None

    def counts_in_the_parameters(self, p, x, ctx):
        p["calls"] = p.get("calls", 0) + 1
        return x * (1.0 + p["calls"] % 3), None

    def counts_in_the_context(self, p, x, ctx):
        ctx._buffers.append(0)
        return x * (1.0 + len(ctx._buffers) % 3), None

    def reads_the_count_of_masks(self, p, x, ctx):
        return x * (1.0 + ctx.masks.step % 3), None

    def takes_turns(self, p, x, ctx):
        return x * next(TURNS), None

    def remembers_an_array(self, p, x, ctx):
        scale = remembered.setdefault(x.shape[0], 1.0 + len(remembered))
        return x * scale, None

    def appends(self, p, x, ctx):
        LAST.append(1)
        return x * (1.0 + len(LAST) % 3), None

    def reads_values(self, p, x, ctx):
        return x * (2.0 if float(x[0, 0]) > 0 else 1.0), None

    def reads_values_if_it_can(self, p, x, ctx):
        try:
            scale = 2.0 if float(x[0, 0]) > 0 else 1.0
        except TypeError:
            scale = 1.0
        return x * scale, None

    def asks_for_the_type(self, p, x, ctx):
        return x * (1.0 + 1e-6 * isinstance(x, np.ndarray)), None

    def prints_nothing(self, p, x, ctx):
        print("", end="")
        return x, None

    def overwrites_its_input(self, p, x, ctx):
        x *= 0.5
        return x * 1.0, None

    def depends_on_the_size(self, p, x, ctx):
        return x * (2.0 if x.shape[0] > 8 else 1.0), None

    return {
        name: type(name.title(), (Passes,), {"forward": forward})()
        for name, forward in locals().items()
        if callable(forward)
    }


NAMES = sorted(dishonest())
REASONS = {
    "appends": "Appends.forward uses LAST, a list",
    "asks_for_the_type": "loss differs from that of the plain code",
    "counts_in_a_class": "uses Passes, a user-defined class",
    "counts_in_a_closure": "forward assigns the nonlocal variable calls",
    "counts_in_a_default": "a default argument of Counts_In_A_Default.forward, a list",
    "counts_in_a_dictionary": "forward uses CALLS, a dict",
    "counts_in_a_function": "forward assigns the attribute calls",
    "counts_in_a_global": "forward assigns the global variable COUNT",
    "counts_in_an_attribute": "forward assigns the attribute calls",
    "counts_in_the_context": "forward uses _buffers",
    "counts_in_the_dictionary_of_an_object": "forward uses vars",
    "counts_in_the_parameters": "a step adds or replaces views of parameters",
    "draws": "forward uses DRAWS, a Generator",
    "draws_by_the_namespace": "forward uses random",
    "imports": "forward imports random",
    "overwrites_its_input": "a step overwrites X",
    "prints_nothing": "forward uses print",
    "reads_an_address": "forward uses id",
    "reads_the_clock": "forward uses CLOCK, a builtin_function_or_method",
    "reads_the_count_of_masks": "forward uses masks",
    "reads_values": "control flow on array values",
    "reads_values_if_it_can": "differs from that of the plain code",
    "remembers_an_array": "forward uses remembered, a dict",
    "takes_turns": "forward uses TURNS, a cycle",
}


@pytest.mark.parametrize("name", NAMES)
def test_dishonest_layer_has_eager_bits(name):
    """Every state is that of an eager training: no call of the check counts or draws."""
    engine = assert_same_bits(lambda: {"layers": [dishonest()[name], Dense(5), Dense(3)]}, epochs=4)
    if name == "depends_on_the_size":  # which each recording follows
        assert engine == REPLAY
        return
    assert f"layers.0 contains {name.title()}, which is user-defined" in engine
    assert REASONS[name] in engine


class Turned(CrossEntropy):
    """A loss that reads an attribute of its class, which is then assigned."""

    factor = 1.0

    def value_and_grad(self, output, target, weight=None, *, out=None):
        value, grad = super().value_and_grad(output, target, weight, out=out)
        return value * self.factor, grad * self.factor


class Annealed(CrossEntropy):
    """A loss that reads a global number."""

    def value_and_grad(self, output, target, weight=None, *, out=None):
        value, grad = super().value_and_grad(output, target, weight, out=out)
        return value * BETA, grad * BETA


class Softer(Plain):
    """A layer with an attribute that a callback assigns."""


BETA = 1.0


def reset():
    Turned.factor = 1.0
    globals()["BETA"] = 1.0


def turn_class(run):
    Turned.factor *= 0.5


def turn_global(run):
    globals()["BETA"] *= 0.5


def turn_instance(run):
    run.model.network.layers[0].slope *= 0.5


def turn_by_another_attribute(run):
    run.model.network.layers[0].__dict__["_bent"] = lambda x: x


CHANGES = {
    "Turned.factor": ({"loss": Turned()}, turn_class),
    "Annealed.value_and_grad uses BETA": ({"loss": Annealed()}, turn_global),
    "Softer.slope": ({"layers": lambda: [Softer(), Dense(3)]}, turn_instance),
    "the number of attributes of Softer": (
        {"layers": lambda: [Softer(), Dense(3)]},
        turn_by_another_attribute,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_replaced_value_ends_the_replay(name):
    """As a callback does that anneals a factor."""
    settings, change = CHANGES[name]

    def case():
        reset()
        layers = settings.get("layers", lambda: None)()
        return settings | {"layers": layers, "callbacks": [change]}

    engine = assert_same_bits(case)
    reset()
    assert engine.endswith(f"{name} has been replaced since the first step")


@pytest.mark.parametrize("value", [1, "yes", None])
def test_replayable_must_be_a_boolean(value):
    part = type("Own", (Plain,), {"replayable": value})()
    with pytest.raises(xpnet.ArgumentError, match=r"Own\.replayable must be True or False"):
        trained(None, [part, Dense(3)])


def step_of(part, engine=None):
    model = Sequential([part, Dense(3)], 4, rng=1)
    return TrainingStep(model, CrossEntropy(), Adam(), engine=engine)


def test_class_vouches_for_itself_alone():
    """A subclass may draw numbers; a replay freezes them, which the author has accepted."""
    draws = {"forward": lambda self, p, x, ctx: (x + DRAWS.normal(), None)}
    vouching = type("Vouching", (Passes,), draws | {"replayable": True})
    assert step_of(vouching()).engine == REPLAY
    inherits = type("Inherits", (vouching,), draws)
    assert "layers.0 contains Inherits, which is user-defined" in step_of(inherits()).engine


@pytest.mark.parametrize("inherits", [False, True])
def test_class_that_forbids_is_never_replayed(inherits):
    kind = type("Forbids", (Plain,), {"replayable": False})
    part = type("Inherits", (kind,), {})() if inherits else kind()
    assert step_of(part).engine.endswith("whose class sets replayable = False")
    with pytest.raises(xpnet.ArgumentError, match=r"here; got 'replay'.*replayable = False"):
        step_of(part, "replay")
    assert step_of(type("Allows", (kind,), {"replayable": True})()).engine == REPLAY


def test_every_shape_is_tried():
    """A batch of one row takes another branch, which cannot be recorded."""

    def forward(self, p, x, ctx):
        return x * (float(x[0, 0]) if x.shape[0] == 1 else 1.0), None

    rng = np.random.default_rng(0)
    steps = [step_of(type("Own", (Passes,), {"forward": forward})(), e) for e in (None, "eager")]
    for m in (8, 8, 1, 8, 1):
        X, y = rng.normal(size=(m, 4)).astype("float32"), rng.integers(0, 3, m)
        values = [float(step(X, y)) for step in steps]
        assert values[0] == values[1]
    np.testing.assert_array_equal(steps[0]._model.theta, steps[1]._model.theta)
    assert "control flow on array values" in steps[0].engine


def test_invalid_first_batch_leaves_the_step_as_it_was():
    step = step_of(Plain())
    before = step._model.theta.copy()
    with pytest.raises(xpnet.ArgumentError):
        step(np.ones((2, 4), "float32"), np.array([0, 7]))
    np.testing.assert_array_equal(step._model.theta, before)
    assert (step.state.step, step._model.state.masks.step) == (0, 0)


def test_one_unit_is_replayed():
    """Its products round otherwise in a replay, which the comparison takes into account."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 30)), rng.normal(size=64)
    ends, engines = [], []
    for engine in (None, "eager"):
        layers = [Dense(50, Squash()), Dense(1)]
        model = Sequential(layers, 30, dtype="float32", rng=1)
        settings = {"loss": xpnet.HalfMSE(), "optimizer": Adam(0.01), "batch_size": 16, "rng": 2}
        history = model.fit(X, y, epochs=3, engine=engine, progress=False, **settings)
        ends.append(model.theta)
        engines.append(history.engine)
    assert engines == [REPLAY, "eager"]
    np.testing.assert_allclose(*ends, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["activation", "nested", "statistics"])
def test_honest_layer_is_replayed_in_predictions(name):
    X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    model = Sequential(HONEST[name]["layers"], 4, rng=1)
    expected = Sequential(HONEST[name]["layers"], 4, rng=1).forward(np.tile(X, (30, 1)))[:3]
    for _ in range(CALLS_BEFORE_RECORDING + 5):
        np.testing.assert_allclose(model.forward(X), expected, rtol=1e-5, atol=1e-7)
    assert type(model._predict._own.__dict__[3]) is tuple


@pytest.mark.parametrize("name", [*NAMES, "changes"])
def test_dishonest_layer_has_eager_predictions(name):
    """Also if a value that a recorded pass depends on is replaced later."""
    rows = np.random.default_rng(0).normal(size=(40, 2, 4)).astype("float32")

    def outputs(eager):
        part = Softer() if name == "changes" else dishonest()[name]
        model = Sequential([part, Dense(3)], 4, rng=1)
        if eager:
            model._predict = Prediction(model.state)
        found = []
        for i, X in enumerate(rows):
            if name == "changes" and i == 30:
                part.slope = 0.9
            found.append(model.forward(X.copy()))
        return found

    np.testing.assert_array_equal(outputs(False), outputs(True))


def resumed_case(tmp_path, name, resume):
    """Interrupted after 3 of 6 epochs, then resumed; or not interrupted."""
    path = tmp_path / "training"
    settings = {**HONEST[name], "epochs": 6}
    if not resume:
        return trained(None, **settings)

    def interrupt(run):
        if run.epoch == 3:
            raise KeyboardInterrupt

    checkpoint = xpnet.TrainingCheckpoint(path, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        trained(None, **settings, callbacks=[checkpoint, interrupt])
    return trained(None, **settings, resume=path, callbacks=[checkpoint])


@pytest.mark.parametrize("name", sorted({*HONEST} - {"class"}))  # which cannot be saved
def test_resumed_training_has_same_bits_and_engine(name, tmp_path):
    (model, history), (resumed, other) = (resumed_case(tmp_path, name, r) for r in (False, True))
    assert (history.engine, other.engine) == (REPLAY, REPLAY)
    np.testing.assert_array_equal(resumed.theta, model.theta)
    assert history["loss"] == other["loss"]


class Peeks(Halved):
    """An optimizer whose update depends on the count of steps."""

    def update(self, theta, grad, state, scalars):
        if state.step % 3:
            super().update(theta, grad, state, scalars)


class Steps(Halved):
    """An optimizer that overrides the method that a replay does not call."""

    def step(self, theta, grad, state, lr=None, *, skip=None):
        super().step(theta, grad, state, 2.0 * (lr or self.lr), skip=skip)


class NoisyLoss(CrossEntropy):
    """A loss that draws numbers of NumPy's global stream."""

    def value_and_grad(self, output, target, weight=None, *, out=None):
        value, grad = super().value_and_grad(output, target, weight, out=out)
        return value, grad + np.random.normal(size=grad.shape).astype("float32")  # noqa: NPY002


class Alternates:
    """A clip that alternates by a generator function."""

    def __init__(self):
        self.factors = itertools.cycle([1.0, 0.5])

    def apply(self, grad):
        grad *= next(self.factors)


OTHERS = {
    "Peeks.update reads step": lambda: {"optimizer": Peeks()},
    "Steps overrides step": lambda: {"optimizer": Steps()},
    "NoisyLoss.value_and_grad uses np.random.normal, a method": lambda: {"loss": NoisyLoss()},
    "Alternates.factors, a cycle": lambda: {"clip": Alternates()},
}


@pytest.mark.parametrize("reason", OTHERS)
def test_other_dishonest_part_has_eager_bits(reason):
    def case():
        np.random.seed(3)  # noqa: NPY002
        return OTHERS[reason]()

    assert reason in assert_same_bits(case)


def test_functions_of_other_libraries_are_refused():
    torch = pytest.importorskip("torch", reason="a library whose functions may hold a state")
    tensor_of = torch.from_numpy

    class OfPyTorch(Plain):
        """A layer that calls a compiled function of another library."""

        def forward(self, p, x, ctx):
            return tensor_of(x).relu().numpy(), x

    reason = "OfPyTorch.forward uses tensor_of, a builtin_function_or_method. If it uses only"
    assert reason in trained(None, layers=[OfPyTorch(), Dense(3)], epochs=1)[1].engine
