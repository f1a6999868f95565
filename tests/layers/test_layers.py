"""Every layer on every backend: forward, backward and jvp against differences and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.backends import Place

from xpnet import Sequential, layers
from xpnet.activations import ELU, GELU, Identity, ReLU, Sigmoid, SiLU, Softmax, Tanh, from_formula
from xpnet.backend import get_backend
from xpnet.derivatives import check_gradients
from xpnet.errors import ArgumentError
from xpnet.initializers import Ones, Zeros
from xpnet.layers import (
    Activation,
    BatchNorm,
    Branches,
    Context,
    Dense,
    Dropout,
    GatedDense,
    LayerNorm,
    Maxout,
    OrderedThresholds,
    PReLU,
    Residual,
    RMSNorm,
    Scale,
    Temperature,
)
from xpnet.ops import operations_for
from xpnet.parameters import Layout
from xpnet.random import MaskStream

M, N = 7, 5

GOMPERTZ = from_formula(lambda xp, z, c: xp.exp(-xp.exp(c - z)), name="gompertz", c=0.5)
"""An activation of which the backward pass takes an intermediate."""

# The layer, and whether the pass is a training pass.
TABLE = {
    "dense": (Dense(4), True),
    "dense-tanh": (Dense(4, Tanh()), True),
    "dense-gelu": (Dense(4, GELU()), True),
    "dense-elu": (Dense(4, ELU(0.7)), True),
    "dense-relu": (Dense(4, ReLU()), True),
    "dense-softmax": (Dense(4, Softmax()), True),
    "dense-no-bias": (Dense(4, Sigmoid(), bias=False), True),
    "activation-tanh": (Activation(Tanh()), True),
    "activation-gelu": (Activation(GELU()), True),
    "activation-softmax": (Activation(Softmax()), True),
    "activation-intermediate": (Activation(GOMPERTZ), True),
    "dense-intermediate": (Dense(4, GOMPERTZ), True),
    "dense-intermediate-no-bias": (Dense(4, GOMPERTZ, bias=False), True),
    "batch_norm": (BatchNorm(), True),
    "batch_norm-cumulative": (BatchNorm(momentum=None, eps=1e-3), True),
    "batch_norm-evaluation": (BatchNorm(), False),
    "dropout": (Dropout(0.4), True),
    "dropout-zero": (Dropout(0.0), True),
    "dropout-evaluation": (Dropout(0.4), False),
    "temperature": (Temperature(1.7), True),
    "residual": (Residual(Dense(4, Tanh()), Dense(5)), True),
    "residual-random": (Residual(BatchNorm(), Dropout(0.4), Dense(5, Sigmoid())), True),
    "residual-evaluation": (Residual(BatchNorm(), Dropout(0.4)), False),
    "residual-nested": (Residual(Residual(Residual(Dense(5, Tanh())), BatchNorm())), True),
    "branches": (Branches([Dense(4, Tanh()), Dense(2)], [], [Dropout(0.4), BatchNorm()]), True),
    "branches-one": (Branches([Dense(4, Tanh()), Dense(2, GELU())]), True),
    "branches-sum": (
        Branches([Dense(4, Tanh()), Dense(5)], [], Residual(Dense(5, GELU())), [], join="sum"),
        True,
    ),
    "branches-nested": (
        Branches(
            [Branches(Dense(2, Tanh()), [Dense(3), Dropout(0.3)]), BatchNorm(), Dense(4)],
            Branches(Dense(4, GELU()), [Dense(2), Dense(4, Tanh())], join="sum"),
            join="sum",
        ),
        True,
    ),
    "layer_norm": (LayerNorm(), True),
    "layer_norm-no-shift": (LayerNorm(eps=0.1, shift=False), False),
    "gated": (GatedDense(4), True),
    "gated-silu": (GatedDense(4, SiLU()), True),
    "gated-identity-no-bias": (GatedDense(3, Identity(), bias=False), True),
    "gated-softmax": (GatedDense(4, Softmax()), False),
    "maxout": (Maxout(4), True),
    "maxout-three": (Maxout(3, n_pieces=3), False),
    "scale": (Scale(), True),
    "prelu": (PReLU(), True),
    "ordered_thresholds": (OrderedThresholds(4), True),
    "ordered_thresholds-one": (OrderedThresholds(1), False),
    "rms_norm": (RMSNorm(), True),
    "rms_norm-large-eps": (RMSNorm(eps=0.5), False),
}
every_layer = pytest.mark.parametrize("name", TABLE)


WIDTHS = {OrderedThresholds: 1}
"""The width of the input of a layer, where it isn't N."""


class Case:
    """A layer with random parameters, input, output gradient and tangents on one backend."""

    def __init__(self, name, place=None, *, buffers=False):
        self.layer, self.training = TABLE[name]
        self.make = (lambda x: np.array(x, dtype=np.float64)) if place is None else place.writable
        backend = get_backend("numpy", dtype="float64") if place is None else place.backend
        self.memory = backend if buffers else None
        rng = np.random.default_rng(5)
        n_in = WIDTHS.get(type(self.layer), N)
        spec = self.layer.specs(n_in)
        self.p = {s.name: rng.normal(size=s.shape) for s in spec.parameters}
        self.dp = {s.name: rng.normal(size=s.shape) for s in spec.parameters}
        self.statistics = {s.name: rng.uniform(0.5, 2.0, s.shape) for s in spec.statistics}
        self.x, self.dx = rng.normal(size=(M, n_in)), rng.normal(size=(M, n_in))
        self.dy = rng.normal(size=(M, spec.n_out))  # random: a plain sum hides batch norm's dx

    def context(self, like, **settings):
        statistics = {k: self.make(v) for k, v in self.statistics.items()}
        return Context(
            operations_for(like),
            training=self.training,
            statistics=statistics,
            masks=MaskStream(3),
            memory=self.memory,
            **settings,
        )

    def forward(self, x, p):
        y, _ = self.layer.forward(p, x, self.context(x))
        return y

    def run(self):
        """The output, the gradients of everything and the tangent of the output."""
        x = self.make(self.x)
        p = {k: self.make(v) for k, v in self.p.items()}
        dp = {k: self.make(v) for k, v in self.dp.items()}
        g = {k: self.make(np.full(v.shape, np.nan)) for k, v in self.p.items()}
        ctx = self.context(x)
        y, saved = self.layer.forward(p, x, ctx)
        tangent, _ = self.layer.jvp(p, dp, saved, self.make(self.dx), ctx)
        dx = self.layer.backward(p, g, saved, self.make(self.dy), ctx)
        return y, tangent, {"x": dx, **g}


def close(got, expected, tolerance):
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


# --- the right numbers ----------------------------------------------------------------------------


def test_table_holds_every_layer():
    exported = {getattr(layers, name) for name in layers.__all__}
    kinds = {x for x in exported if hasattr(x, "backward_jvp")} - {layers.TangentLayer}
    assert kinds == {type(layer) for layer, _ in TABLE.values()}


@every_layer
def test_backward_equals_central_differences(name):
    case = Case(name)
    values = {"x": case.x, **case.p}
    layout = Layout.of((key, value.shape, "weight") for key, value in values.items())

    def fun(vector):
        grad = np.full_like(vector, np.nan)
        p, g = layout.views(vector), layout.views(grad)
        ctx = case.context(vector)
        y, saved = case.layer.forward(p, p["x"], ctx)
        g["x"][...] = case.layer.backward(p, g, saved, case.dy, ctx)
        return np.sum(case.dy * y), grad

    start = np.empty(layout.size)
    for key, view in layout.views(start).items():
        view[...] = values[key]
    check_gradients(fun, start, layout=layout, entries=None).raise_if_wrong()


def second_order(case):
    """The result of backward for x, the tangents of all its results, and that of dy."""
    make = case.make
    rng = np.random.default_rng(8)
    p, dp = ({k: make(v) for k, v in x.items()} for x in (case.p, case.dp))
    dg = {k: make(np.full(v.shape, np.nan)) for k, v in case.p.items()}
    x = make(case.x)
    ctx = case.context(x)
    _, saved = case.layer.forward(p, x, ctx)
    _, dsaved = case.layer.jvp(p, dp, saved, make(case.dx), ctx)
    ddy = rng.normal(size=case.dy.shape)
    dx, ddx = case.layer.backward_jvp(p, dp, dg, saved, dsaved, make(case.dy), make(ddy), ctx)
    return dx, {"x": ddx, **dg}, ddy


@every_layer
def test_backward_jvp_equals_differences_of_backward(name):
    case = Case(name)
    dx, tangents, ddy = second_order(case)
    h, ends = 1e-5, []
    for s in (h, -h):
        p = {k: v + s * case.dp[k] for k, v in case.p.items()}
        g = {k: np.empty_like(v) for k, v in p.items()}
        ctx = case.context(case.x)
        _, saved = case.layer.forward(p, case.x + s * case.dx, ctx)
        g["x"] = case.layer.backward(p, g, saved, case.dy + s * ddy, ctx)
        ends.append(g)
    for key, tangent in tangents.items():
        expected = (ends[0][key] - ends[1][key]) / (2 * h)
        np.testing.assert_allclose(tangent, expected, rtol=1e-6, atol=1e-8, err_msg=key)
    close(dx, case.run()[2]["x"], 1e-13)


@every_layer
def test_second_order_agrees_on_every_backend(name, place):
    dx, tangents, _ = second_order(Case(name, place))
    expected_dx, expected, _ = second_order(Case(name))
    close(place.host(dx), expected_dx, 1e-12)
    for key, value in expected.items():
        assert tangents[key].dtype == place.backend.dtype
        close(place.host(tangents[key]), value, 1e-12)


@every_layer
def test_jvp_equals_central_differences(name):
    case = Case(name)
    _, tangent, _ = case.run()
    h = 1e-5
    ends = [
        case.forward(case.x + s * case.dx, {k: v + s * case.dp[k] for k, v in case.p.items()})
        for s in (h, -h)
    ]
    np.testing.assert_allclose(tangent, (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-8)


@every_layer
def test_missing_tangents_are_zero(name):
    case = Case(name)
    ctx = case.context(case.x)
    _, saved = case.layer.forward(case.p, case.x, ctx)
    zero = {k: np.zeros_like(v) for k, v in case.p.items()}
    for given, full in (
        (({}, case.dx), (zero, case.dx)),
        ((case.dp, None), (case.dp, np.zeros_like(case.x))),
    ):
        (dp, dx), (full_dp, full_dx) = given, full
        tangent, _ = case.layer.jvp(case.p, dp, saved, dx, ctx)
        expected, _ = case.layer.jvp(case.p, full_dp, saved, full_dx, ctx)
        close(0.0 if tangent is None else tangent, expected, 1e-14)


@every_layer
def test_forward_mode_equals_reverse_mode(name, place):
    case = Case(name, place)
    _, tangent, gradients = case.run()
    forward = np.sum(case.dy * place.host(tangent))
    directions = {"x": case.dx, **case.dp}
    reverse = sum(np.sum(place.host(gradients[k]) * v) for k, v in directions.items())
    assert forward == pytest.approx(reverse, rel=1e-12)


@every_layer
def test_every_backend_agrees_with_numpy(name, place):
    y, tangent, gradients = Case(name, place).run()
    expected_y, expected_tangent, expected = Case(name).run()
    close(place.host(y), expected_y, 1e-12)
    close(place.host(tangent), expected_tangent, 1e-12)
    for key, value in expected.items():
        assert gradients[key].dtype == place.backend.dtype
        close(place.host(gradients[key]), value, 1e-12)


@every_layer
def test_buffers_change_no_number(name, place):
    y, tangent, gradients = Case(name, place, buffers=True).run()
    plain_y, plain_tangent, plain = Case(name, place).run()
    close(place.host(y), place.host(plain_y), 1e-14)
    close(place.host(tangent), place.host(plain_tangent), 1e-14)
    for key, value in plain.items():
        close(place.host(gradients[key]), place.host(value), 1e-14)


@every_layer
def test_float32_stays_float32(name, place32):
    y, tangent, gradients = Case(name, place32).run()
    for array in (y, tangent, *gradients.values()):
        assert array.dtype == place32.backend.dtype
    close(place32.host(y), Case(name).run()[0], 1e-4)


@every_layer
def test_gradients_are_equal_without_dx(name):
    case = Case(name)
    ctx = case.context(case.x, need_dx=False)
    g = {k: np.full_like(v, np.nan) for k, v in case.p.items()}
    _, saved = case.layer.forward(case.p, case.x, ctx)
    case.layer.backward(case.p, g, saved, case.dy, ctx)
    expected = case.run()[2]
    for key, value in g.items():
        close(value, expected[key], 1e-14)


@pytest.mark.parametrize("name", [n for n in TABLE if n.startswith("dense")])
def test_dense_skips_dx_if_not_needed(name):
    case = Case(name)
    ctx = case.context(case.x, need_dx=False)
    g = {k: np.zeros_like(v) for k, v in case.p.items()}
    _, saved = case.layer.forward(case.p, case.x, ctx)
    assert case.layer.backward(case.p, g, saved, case.dy, ctx) is None
    close(g["weight"], case.run()[2]["weight"], 1e-14)


# --- beside PyTorch -------------------------------------------------------------------------------


@every_layer
def test_pytorch_differentiates_a_layer(name, torch):
    """Through its forward pass, twice, with the results of its own methods."""
    case = Case(name, Place(get_backend("torch", dtype="float64")))
    _, tangents, ddy = second_order(case)
    values = {"x": case.x, **case.p, "dy": case.dy}
    leaves = {k: case.make(v).requires_grad_() for k, v in values.items()}
    inputs = [leaf for k, leaf in leaves.items() if k != "dy"]
    y = case.forward(leaves["x"], leaves)
    found = torch.autograd.grad(y, inputs, leaves["dy"], create_graph=True)
    expected, rng = case.run()[2], np.random.default_rng(6)
    along, expected_along = 0.0, 0.0
    for key, grad in zip(values, found, strict=False):
        close(grad.detach(), expected[key], 1e-12)
        u = rng.normal(size=grad.shape)
        along = along + (grad * case.make(u)).sum()
        expected_along += np.sum(u * tangents[key].numpy())
    second = torch.autograd.grad(along, [*leaves.values()], allow_unused=True)
    directions = [case.dx, *case.dp.values(), ddy]
    pairs = [(a, b) for a, b in zip(second, directions, strict=True) if a is not None]
    close(sum(np.sum(a.numpy() * b) for a, b in pairs), expected_along, 1e-12)


def test_dense_equals_pytorch_linear(torch):
    case = Case("dense")
    y, _, gradients = case.run()
    linear = torch.nn.Linear(N, 4, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(case.p["weight"].T))
        linear.bias.copy_(torch.tensor(case.p["bias"]))
    x = torch.tensor(case.x, requires_grad=True)
    linear(x).backward(torch.tensor(case.dy))
    close(y, linear(x).detach().numpy(), 1e-10)
    close(gradients["x"], x.grad.numpy(), 1e-10)
    close(gradients["weight"], linear.weight.grad.numpy().T, 1e-10)
    close(gradients["bias"], linear.bias.grad.numpy(), 1e-10)


@pytest.mark.parametrize("name", ["batch_norm", "batch_norm-evaluation"])
def test_batch_norm_equals_pytorch(name, torch):
    case = Case(name)
    norm = torch.nn.BatchNorm1d(N, eps=1e-5, momentum=0.1, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(case.p["scale"]))
        norm.bias.copy_(torch.tensor(case.p["shift"]))
        mean = case.statistics["mean"] + case.statistics["mean_rest"]
        norm.running_mean.copy_(torch.tensor(mean))
        norm.running_var.copy_(torch.tensor(case.statistics["var"]))
    norm.train(case.training)
    x = torch.tensor(case.x, requires_grad=True)
    expected = norm(x)
    expected.backward(torch.tensor(case.dy))
    ctx = case.context(case.x)
    y, _ = case.layer.forward(case.p, case.x, ctx)
    gradients = case.run()[2]
    close(y, expected.detach().numpy(), 1e-10)
    close(gradients["x"], x.grad.numpy(), 1e-10)
    close(gradients["scale"], norm.weight.grad.numpy(), 1e-10)
    close(gradients["shift"], norm.bias.grad.numpy(), 1e-10)
    running = ctx.statistics
    close(running["mean"] + running["mean_rest"], norm.running_mean.numpy(), 1e-10)
    close(ctx.statistics["var"], norm.running_var.numpy(), 1e-10)


def test_evaluation_of_large_means_is_accurate(place32, rng):
    mean, var = rng.uniform(1e4, 1e6, N).astype("float32"), rng.uniform(0.5, 2, N).astype("float32")
    x = (mean + rng.normal(size=(M, N))).astype("float32")
    rest = rng.uniform(-5e-4, 5e-4, N).astype("float32")
    given = {"mean": mean, "var": var, "mean_rest": rest}
    ctx = Context(
        operations_for(place32.array(x)),
        statistics={k: place32.array(v) for k, v in given.items()},
    )
    p = {"scale": place32.array(np.full(N, 2.0)), "shift": place32.array(np.ones(N))}
    y, (x_hat, _, _) = BatchNorm().forward(p, place32.array(x), ctx)
    x, mean, var, rest = (v.astype("float64") for v in (x, mean, var, rest))
    expected = (x - mean - rest) / np.sqrt(var + 1e-5)
    close(place32.host(x_hat), expected, 1e-6)
    close(place32.host(y), 2 * expected + 1, 1e-6)


# --- running statistics ---------------------------------------------------------------------------

SIZES = (3, 2, 8, 5)


def run_batches(layer, place, batches, **settings):
    spec = layer.specs(N)
    p = {s.name: place.writable(s.init.draw(None, s.shape)) for s in spec.parameters}
    statistics = {s.name: place.writable(s.init.draw(None, s.shape)) for s in spec.statistics}
    for batch in batches:
        x = place.array(batch)
        ctx = Context(operations_for(x), statistics=statistics, **settings)
        layer.forward(p, x, ctx)
    return {k: place.host(v) for k, v in statistics.items()}


@pytest.fixture
def batches(rng):
    return [rng.normal(loc=1e3 * i, scale=1.0 + i, size=(m, N)) for i, m in enumerate(SIZES)]


def test_cumulative_statistics_are_of_all_rows(place, batches):
    got = run_batches(BatchNorm(momentum=None), place, batches, training=True)
    union = np.concatenate(batches)
    np.testing.assert_allclose(got["mean"], union.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got["var"], union.var(axis=0, ddof=1), rtol=1e-12)
    assert got["count"].tolist() == [sum(SIZES)]


def test_exponential_statistics_follow_the_formula(place, batches):
    got = run_batches(BatchNorm(momentum=0.8), place, batches, training=True)
    mean, var = np.zeros(N), np.ones(N)
    for batch in batches:
        mean = 0.8 * mean + 0.2 * batch.mean(axis=0)
        var = 0.8 * var + 0.2 * batch.var(axis=0, ddof=1)
    np.testing.assert_allclose(got["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(got["var"], var, rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.9, None])
@pytest.mark.parametrize("settings", [{}, {"training": True, "update_statistics": False}])
def test_statistics_change_in_training_only(momentum, settings, place, batches):
    got = run_batches(BatchNorm(momentum), place, batches, **settings)
    close(got["mean"], np.zeros(N), 0)
    close(got["var"], np.ones(N), 0)
    assert got["count"].tolist() == [0]


def test_batch_norm_starts_with_the_given_scale(rng):
    model = Sequential([BatchNorm(scale_init=Zeros()), Dense(1, weight_init=Ones())], N)
    assert model.layout.views(model.theta)["layers.0.scale"].tolist() == [0.0] * N
    assert not model.forward(rng.normal(size=(M, N)), training=True, seed=1).any()


def test_batch_norm_refuses_one_training_row(place):
    with pytest.raises(ArgumentError, match=r"at least 2 rows under batch norm.*got 1 row\. Use"):
        run_batches(BatchNorm(), place, [np.zeros((1, N))], training=True)
    run_batches(BatchNorm(), place, [np.zeros((1, N))])  # evaluation takes one row


# --- dropout --------------------------------------------------------------------------------------


def mask_of(seed, layer, step, shape=(200, 50), p=0.3, make=np.asarray):
    x = make(np.ones(shape))
    ctx = Context(operations_for(x), training=True, masks=MaskStream(seed, step), index=layer)
    return Dropout(p).forward({}, x, ctx)[0]


@pytest.mark.parametrize("key", [(0, 0, 0), (7, 2, 1000), (2**31, 1, 1)])
def test_masks_agree_on_every_backend(key, place):
    got = place.host(mask_of(*key, make=place.array))
    np.testing.assert_array_equal(got, mask_of(*key))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_the_share_and_scales_the_rest(p):
    y = mask_of(1, 0, 4, shape=(500, 200), p=p)
    dropped = y == 0
    assert dropped.mean() == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / y.size))
    np.testing.assert_allclose(y[~dropped], 1 / (1 - p), rtol=1e-15)


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2)])
def test_masks_of_adjacent_keys_are_uncorrelated(other):
    first, second = (mask_of(*key, shape=(500, 200)).ravel() for key in ((0, 0, 0), other))
    # Five standard errors, also for masks shifted by one number and by one row.
    for shift in (0, 1, 200):
        correlation = np.corrcoef(first, np.roll(second, shift))[0, 1]
        assert abs(correlation) < 5 / np.sqrt(first.size)


# --- as values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(0), "n_out must be an integer of at least 1; got 0."),
        (lambda: Dense(2.0), "n_out must be an integer of at least 1; got 2.0."),
        (lambda: Dense(2, "relu"), "activation must be an ActivationFunction; got 'relu'."),
        (lambda: Dense(2, ReLU), "Write ReLU() to make one."),
        (lambda: Dense(2, weight_init=0.1), "weight_init must be an Initializer; got 0.1."),
        (lambda: Dense(2, bias=None), "bias must be a bool; got None."),
        (lambda: Activation(Tanh), "Write Tanh() to make one."),
        (lambda: Dropout(1.0), "p must be a finite number, at least 0 and below 1; got 1.0."),
        (lambda: Dropout(-0.1), "p must be a finite number, at least 0 and below 1; got -0.1."),
        (
            lambda: Temperature(0.0),
            "temperature must be a finite number, at least 1e-30 and at most",
        ),
        (lambda: Temperature("2"), "temperature must be a finite number"),
        (lambda: BatchNorm(1.0), "momentum must be a finite number, at least 0 and below 1;"),
        (lambda: BatchNorm(eps=0), "eps must be a finite number, above 0; got 0."),
        (lambda: GatedDense(0), "n_out must be an integer of at least 1; got 0."),
        (lambda: GatedDense(2, "relu"), "gate must be an ActivationFunction; got 'relu'."),
        (lambda: GatedDense(2, bias=0), "bias must be a bool; got 0."),
        (lambda: OrderedThresholds(0), "n_thresholds must be an integer of at least 1; got 0."),
        (lambda: OrderedThresholds(2, 0.0), "spacing must be a finite number, above 0 and at most"),
        (
            lambda: OrderedThresholds(2).specs(3),
            "the input of OrderedThresholds must have 1 column; got 3. Put Dense(1, bias=False)",
        ),
        (lambda: Maxout(0), "n_out must be an integer of at least 1; got 0."),
        (lambda: Maxout(3, 1), "n_pieces must be an integer of at least 2; got 1."),
        (lambda: Maxout(3, weight_init=None), "weight_init must be an Initializer; got None."),
        (lambda: Scale(2.0), "scale_init must be an Initializer; got 2.0. Write Constant(2.0)."),
        (lambda: PReLU(0.25), "slope_init must be an Initializer; got 0.25."),
        (lambda: BatchNorm(scale_init=0), "scale_init must be an Initializer; got 0."),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ArgumentError) as error:
        make()
    assert message in str(error.value)


def test_layers_compare_and_hash_by_value():
    assert Dense(3, Tanh()) == Dense(3, Tanh()) != Dense(3)
    assert len({BatchNorm(), BatchNorm(0.9), Dropout(), Dropout(0.5)}) == 2
