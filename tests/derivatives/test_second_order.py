"""Second derivatives on every backend: Hessian products, the Hessian, Gauss-Newton and Fisher."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import (
    ELU,
    GELU,
    MAE,
    MLP,
    MSE,
    SELU,
    Activation,
    Affine,
    ArgumentError,
    BatchNorm,
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Dense,
    Dropout,
    Expectile,
    Exponential,
    Focal,
    GammaNLL,
    GaussianNLL,
    GELUTanh,
    HalfMSE,
    HardSigmoid,
    Hinge,
    Huber,
    Identity,
    LeakyReLU,
    LogCosh,
    NegativeBinomialNLL,
    Ordinal,
    PerceptronLoss,
    PoissonNLL,
    QuantileLoss,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    SoftMargin,
    Softmax,
    Softplus,
    StudentTNLL,
    Tanh,
    TweedieNLL,
)
from xpnet.activations import from_formula as formula
from xpnet.derivatives import (
    empirical_fisher_vp,
    fisher_vp,
    gauss_newton_vp,
    gradient,
    hessian,
    hvp,
    jvp,
    parameter_jacobian,
    vjp,
)
from xpnet.losses import from_formula as loss_formula

M, N, K = 5, 3, 4

NETWORKS = {
    type(phi).__name__: [Dense(5, phi), Dense(K)]
    for phi in (
        *(Identity(), Affine(2.0, -0.5), Sigmoid(), Tanh(), ReLU(), LeakyReLU(0.1), ELU(0.7)),
        *(SELU(), Softplus(), GELU(), GELUTanh(), SiLU(), HardSigmoid(), Exponential(), Softmax()),
    )
} | {
    "formula": [
        Dense(5, formula(lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), name="mish")),
        Dense(5, formula(lambda xp, z, c: xp.exp(-xp.exp(c - z)), name="gompertz", c=0.5)),
        Activation(formula(lambda xp, z: xp.exp(-xp.exp(-2.0 * z)), name="gompertz")),
        Dense(K, formula(lambda xp, z, b: z / (1 + xp.exp(-b * z)), name="swish", b=2.0)),
    ],
    "constant formula": [Dense(5, formula(lambda xp, z, a: a, name="flat", a=2.0)), Dense(K)],
    "linear": [Dense(K)],
    "batch norm": [Dense(5, bias=False), BatchNorm(), Activation(Tanh()), Dense(K)],
    "batch norm first": [BatchNorm(momentum=None), Activation(Softmax()), Dense(K)],
    "dropout": [Dense(6, Tanh()), Dropout(0.4), Dense(K)],
    "first layers without parameters": [Dropout(0.3), Activation(SiLU()), Dense(K, Tanh())],
    "all": [
        Dense(6, GELU()),
        BatchNorm(),
        Dropout(0.3),
        Dense(4, Sigmoid()),
        BatchNorm(),
        Dense(K),
    ],
}
DEEP = ["batch norm", "batch norm first", "dropout", "first layers without parameters", "all"]
PASSES = [(name, False) for name in NETWORKS] + [(name, True) for name in DEEP]
every_pass = pytest.mark.parametrize(
    ("name", "training"),
    PASSES,
    ids=[f"{n}-{'training' if t else 'evaluation'}" for n, t in PASSES],
)

RNG = np.random.default_rng(11)
VALUES = RNG.normal(scale=2.0, size=(M, K))
CLASSES = RNG.integers(K, size=M)
ROWS = RNG.dirichlet(np.ones(K), size=M)
BITS = RNG.integers(0, 2, size=(M, K))
COUNTS = RNG.poisson(2.0, size=(M, K))
WEIGHT = np.array([0.0, 1.0, 2.5, 0.3, 4.0])
LOSSES = {
    "half_mse": (HalfMSE(), VALUES),
    "mse": (MSE(), VALUES),
    "mae": (MAE(), VALUES),
    "huber": (Huber(0.8), VALUES),
    "cross_entropy": (CrossEntropy(), CLASSES),
    "cross_entropy-smooth-rows": (CrossEntropy(0.1), ROWS),
    "binary": (BinaryCrossEntropy(), BITS),
    "hinge": (Hinge(), 2 * BITS - 1),
    "perceptron": (PerceptronLoss(), 2 * BITS - 1),
    "poisson": (PoissonNLL(), COUNTS),
    "gaussian": (GaussianNLL(), VALUES[:, : K // 2]),
    "quantiles": (QuantileLoss((0.1, 0.7)), VALUES[:, : K // 2]),
    "expectile": (Expectile(0.8), VALUES),
    "log_cosh": (LogCosh(), VALUES),
    "student_t": (StudentTNLL(3.0, 0.5), VALUES),
    "gamma": (GammaNLL(), 1.0 + COUNTS),
    "tweedie": (TweedieNLL(1.3), COUNTS),
    "negative_binomial": (NegativeBinomialNLL(0.7), COUNTS),
    "soft_margin": (SoftMargin(), 2 * BITS - 1),
    "binary_focal": (BinaryFocal(), BITS),
    "focal": (Focal(), CLASSES),
    "focal-rows": (Focal(0.5), ROWS),
    "ordinal": (Ordinal(), np.where(CLASSES % 2, K, 0)),
    "formula": (loss_formula(lambda xp, z, t: xp.log(xp.cosh(z - t)), name="log_cosh"), VALUES),
    "linear formula": (loss_formula(lambda xp, z, t: 2 * z - t, name="critic"), VALUES),
}
NOT_CONVEX = "gaussian", "student_t", "binary_focal", "focal", "focal-rows"
every_loss = pytest.mark.parametrize("name", LOSSES)
weighted_or_not = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


class Numpy:
    """NumPy in float64, for tests that need no other backend."""

    backend = "numpy"
    array = staticmethod(np.array)
    writable = staticmethod(np.array)
    host = staticmethod(np.asarray)


def network(layers, place, dtype="float64"):
    """Return a model with random biases, γ, β and statistics, since defaults would hide errors."""
    rng = np.random.default_rng(3)
    model = Sequential(layers, N, backend=place.backend, dtype=dtype)
    model.theta = rng.normal(scale=0.7, size=model.layout.size)
    model.statistics[...] = place.writable(rng.uniform(0.5, 2.0, model.statistics.shape))
    return model


def drawn(place, *shape, seed=0):
    return place.array(np.random.default_rng(100 + seed).normal(size=shape))


def close(got, expected, tolerance):
    """Compare with a tolerance relative to the largest expected element."""
    scale = max(1e-3, np.abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def against_differences(place, model, loss, target, weight, **options):
    """Compare the Hessian product with central differences of gradients along v."""
    X, y, v = drawn(place, M, N), place.array(target), drawn(place, model.layout.size, seed=1)
    weight = None if weight is None else place.array(weight)
    product = place.host(hvp(model, X, y, loss, v, weight=weight, **options))
    h = 6e-6
    ends = [
        place.host(gradient(model, X, y, loss, model.theta + s * v, weight=weight, **options))
        for s in (h, -h)
    ]
    close(product, (ends[0] - ends[1]) / (2 * h), 1e-7)
    return product


# --- Hessian products -----------------------------------------------------------------------------


@every_pass
@weighted_or_not
def test_hvp_of_network_agrees_with_differences(name, training, weight, place):
    model = network(NETWORKS[name], place)
    product = against_differences(
        place, model, CrossEntropy(), CLASSES, weight, training=training, seed=2
    )
    assert np.abs(product).max() > 1e-3


@every_loss
@weighted_or_not
def test_hvp_of_loss_agrees_with_differences(name, weight, place):
    loss, target = LOSSES[name]
    model = network([Dense(5, Tanh()), Dense(K)], place)
    product = against_differences(place, model, loss, target, weight)
    assert np.abs(product).max() > 1e-3


def test_hvp_in_float32_at_another_theta(place32):
    model, wide = (
        network(NETWORKS["all"], p, d) for p, d in ((place32, "float32"), (Numpy, "float64"))
    )
    X, v = (
        np.random.default_rng(i).normal(size=s) for i, s in enumerate(((M, N), model.layout.size))
    )
    theta = np.random.default_rng(7).normal(size=model.layout.size)
    product = hvp(model, X, CLASSES, CrossEntropy(), v, theta, training=True)
    assert product.dtype == place32.backend.dtype
    expected = hvp(wide, X, CLASSES, CrossEntropy(), v, theta, training=True)
    close(place32.host(product), expected, 1e-3)
    assert not np.allclose(expected, hvp(wide, X, CLASSES, CrossEntropy(), v, training=True))


# --- the Hessian ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_hessian_is_symmetric_and_matches_hvp(training, place):
    model = network(NETWORKS["all"], place)
    X, y, v = drawn(place, M, N), place.array(CLASSES), drawn(place, model.layout.size, seed=1)
    weight, options = place.array(WEIGHT), {"training": training, "seed": 4}
    H = place.host(hessian(model, X, y, CrossEntropy(), weight=weight, **options))
    np.testing.assert_array_equal(H, H.T)
    product = place.host(hvp(model, X, y, CrossEntropy(), v, weight=weight, **options))
    close(H @ place.host(v), product, 1e-13)
    # Column j by a product equals row j, so the products are symmetric by themselves.
    for j in (0, model.layout.size - 1):
        unit = place.array(np.eye(model.layout.size)[j])
        column = place.host(hvp(model, X, y, CrossEntropy(), unit, weight=weight, **options))
        np.testing.assert_allclose(column, H[j], rtol=0, atol=1e-13 * np.abs(H).max())


def test_hessian_of_least_squares(place):
    model, X = network([Dense(1)], place), drawn(place, M, N)
    H = place.host(hessian(model, X, place.array(VALUES[:, 0]), HalfMSE()))
    ones = np.hstack([place.host(X), np.ones((M, 1))])
    close(H, ones.T @ ones / M, 1e-14)


def test_hessian_agrees_with_pytorch(torch):
    model, X = network([Dense(4, Tanh()), Dense(K)], Numpy), drawn(Numpy, M, N)
    names = ["layers.0.weight", "layers.1.weight", "layers.0.bias", "layers.1.bias"]
    entries = {e.path: e for e in model.layout.entries}

    def f(theta):
        W1, W2, b1, b2 = (
            theta[entries[n].start : entries[n].stop].reshape(entries[n].shape) for n in names
        )
        z = torch.tanh(torch.tensor(X) @ W1 + b1) @ W2 + b2
        return torch.nn.functional.cross_entropy(z, torch.tensor(CLASSES))

    expected = torch.autograd.functional.hessian(f, torch.tensor(model.theta)).numpy()
    close(hessian(model, X, CLASSES, CrossEntropy()), expected, 1e-12)


# --- Gauss-Newton and Fisher ----------------------------------------------------------------------


@every_loss
@weighted_or_not
def test_gauss_newton_of_linear_network_is_hessian(name, weight, place):
    loss, target = LOSSES[name]
    model, X, y = network([Dense(K)], place), drawn(place, M, N), place.array(target)
    v, w = drawn(place, model.layout.size, seed=1), None if weight is None else place.array(weight)
    exact = place.host(hvp(model, X, y, loss, v, weight=w))
    close(place.host(gauss_newton_vp(model, X, y, loss, v, weight=w)), exact, 1e-13)


@every_loss
def test_gauss_newton_is_product_of_jacobians(name):
    loss, target = LOSSES[name]
    model, X = network([Dense(5, Tanh()), Dense(K)], Numpy), drawn(Numpy, M, N)
    J, v = parameter_jacobian(model, X), drawn(Numpy, model.layout.size, seed=1)
    output = model.forward(X)
    expected = np.einsum(
        "ikp,ik->p",
        J,
        loss.hessian_product(output, target, np.einsum("ikp,p->ik", J, v), WEIGHT),
    )
    found = gauss_newton_vp(model, X, target, loss, v, weight=WEIGHT)
    close(found, expected, 1e-13)
    if name not in NOT_CONVEX:
        assert found @ v >= 0


def predicted(loss, z):
    """Return targets of one row and their predicted probabilities, exact for score products."""
    if isinstance(loss, CrossEntropy):
        p = np.exp(z - z.max())
        return [(np.array([k]), q) for k, q in enumerate(p / p.sum())]
    if isinstance(loss, BinaryCrossEntropy):
        p = 1 / (1 + np.exp(-z))
        table = itertools.product([0, 1], repeat=len(z))
        return [(np.array([t]), np.prod(np.where(t, p, 1 - p))) for t in table]
    if isinstance(loss, PoissonNLL):
        rate = np.exp(z)
        sizes = range(60)
        p = np.array([[math.exp(-r) * r**t / math.factorial(t) for t in sizes] for r in rate])
        assert len(z) == 1
        return [(np.array([[t]]), p[0, t]) for t in sizes]
    # Three Gauss-Hermite nodes are exact for products of scores of degree at most 2.
    nodes, q = np.polynomial.hermite_e.hermegauss(3)
    k = len(z) // 2 if isinstance(loss, GaussianNLL) else len(z)
    variance = {HalfMSE: 1.0, MSE: k / 2}.get(type(loss))
    std = np.exp(0.5 * z[k:]) if variance is None else np.sqrt(variance) * np.ones(k)
    grid = itertools.product(range(3), repeat=k)
    return [
        (np.array([z[:k] + std * nodes[list(i)]]), np.prod(q[list(i)] / math.sqrt(2 * math.pi)))
        for i in grid
    ]


FISHER = {
    "half_mse": (HalfMSE(), 3),
    "mse": (MSE(), 3),
    "cross_entropy": (CrossEntropy(), 4),
    "binary": (BinaryCrossEntropy(), 3),
    "poisson": (PoissonNLL(), 1),
    "gaussian": (GaussianNLL(), 4),
}


@pytest.mark.parametrize("name", FISHER)
@weighted_or_not
def test_fisher_is_expected_product_of_scores(name, weight):
    loss, n_out = FISHER[name]
    model, X = network([Dense(4, Tanh()), Dense(n_out)], Numpy), drawn(Numpy, M, N)
    v = drawn(Numpy, model.layout.size, seed=1)
    shares = (np.ones(M) if weight is None else weight) / (M if weight is None else weight.sum())
    expected = np.zeros_like(v)
    for row, z, share in zip(X, model.forward(X), shares, strict=True):
        total = 0.0
        for target, p in predicted(loss, z):
            score = gradient(model, row[None, :], target, loss)
            expected += share * p * score * (score @ v)
            total += p
        assert total == pytest.approx(1.0, abs=1e-12)
    close(fisher_vp(model, X, loss, v, weight=weight), expected, 1e-10)


@pytest.mark.parametrize("name", ["half_mse", "mse", "cross_entropy", "binary", "poisson"])
@pytest.mark.parametrize("training", [False, True])
def test_fisher_equals_gauss_newton(name, training, place):
    loss, target = LOSSES[name]
    model, X = network(NETWORKS["all"], place), drawn(place, M, N)
    v, options = drawn(place, model.layout.size, seed=1), {"training": training, "seed": 1}
    options["weight"] = place.array(WEIGHT)
    expected = gauss_newton_vp(model, X, place.array(target), loss, v, **options)
    close(place.host(fisher_vp(model, X, loss, v, **options)), place.host(expected), 1e-14)


@every_loss
@weighted_or_not
def test_empirical_fisher_sums_products_of_gradients(name, weight, place):
    loss, target = LOSSES[name]
    model, X = network(NETWORKS["all"], place), drawn(place, M, N)
    v, y = drawn(place, model.layout.size, seed=1), place.array(target)
    w = None if weight is None else place.array(weight)
    shares = (np.ones(M) if weight is None else weight) / (M if weight is None else weight.sum())
    expected = 0.0
    for i in range(M):
        g = place.host(gradient(model, X[i : i + 1, :], y[i : i + 1, ...], loss))
        expected = expected + shares[i] * g * (g @ place.host(v))
    found = place.host(empirical_fisher_vp(model, X, y, loss, v, weight=w))
    close(found, expected, 1e-13)


# --- properties -----------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
widths = st.integers(1, 6)
smooth = st.sampled_from([Tanh(), Sigmoid(), Softplus(), GELU(), SiLU(), Softmax(), ELU(1.0)])
hidden = st.one_of(
    st.builds(Dense, widths, smooth, bias=st.booleans()),
    st.builds(Activation, smooth),
    st.builds(BatchNorm),
    st.builds(Dropout, st.sampled_from([0.0, 0.3])),
)
stacks = st.lists(hidden, max_size=4)
few = settings(derandomize=True, deadline=None, max_examples=40)


def random_case(layers, seed):
    rng = np.random.default_rng(seed)
    model = Sequential([*layers, Dense(3)], 2, dtype="float64")
    model.theta = rng.normal(scale=0.7, size=model.layout.size)
    m = int(rng.integers(2, 6))
    return model, rng.normal(size=(m, 2)), rng.integers(3, size=m), rng


def same(a, b, *sizes):
    """Compare up to rounding, relative to the largest summand."""
    scale = max(1.0, *(float(np.abs(x).max()) if np.size(x) else 0.0 for x in sizes))
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11 * scale)


@few
@given(stacks, seeds, st.booleans())
def test_products_are_linear_symmetric_and_adjoint(layers, seed, training):
    model, X, y, rng = random_case(layers, seed)
    loss, options = CrossEntropy(), {"training": training, "seed": seed % 7}
    u, v = rng.normal(size=(2, model.layout.size))
    dX, eX = rng.normal(size=(2, *X.shape))
    a, b = rng.normal(size=2)

    Ju, Jv = jvp(model, X, dX, u, **options), jvp(model, X, eX, v, **options)
    both = jvp(model, X, a * dX + b * eX, a * u + b * v, **options)
    same(both, a * Ju + b * Jv, Ju, Jv)

    dy = rng.normal(size=Ju.shape)
    back_X, back_theta = vjp(model, X, dy, **options)
    sums = np.sum(dy * Ju), np.sum(back_X * dX) + back_theta @ u
    same(*sums, dy * Ju, back_X * dX, back_theta * u)

    Hu, Hv = (hvp(model, X, y, loss, d, **options) for d in (u, v))
    same(hvp(model, X, y, loss, a * u + b * v, **options), a * Hu + b * Hv, Hu, Hv)
    same(u @ Hv, v @ Hu, u * Hv, v * Hu)

    Gu, Gv = (gauss_newton_vp(model, X, y, loss, d, **options) for d in (u, v))
    same(u @ Gv, v @ Gu, u * Gv, v * Gu)
    assert u @ Gu >= -1e-12 * np.abs(u * Gu).max()


@few
@given(stacks, seeds, st.booleans())
def test_random_network_hvp_agrees_with_differences(layers, seed, training):
    model, X, y, rng = random_case(layers, seed)
    v = rng.normal(size=model.layout.size)
    options = {"training": training, "seed": seed % 7}
    h = 6e-6
    up, down = (
        gradient(model, X, y, CrossEntropy(), model.theta + s * v, **options) for s in (h, -h)
    )
    found = hvp(model, X, y, CrossEntropy(), v, **options)
    expected = (up - down) / (2 * h)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * scale)


# --- invalid input --------------------------------------------------------------------------------

MODEL = MLP(N, [], K, dtype="float64")
X0, V0 = np.ones((M, N)), np.zeros(16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: hvp(MODEL, X0, CLASSES, CrossEntropy(), V0[:3]),
            "v must have the shape (16,), one number a parameter; got a float64 array of shape "
            "(3,).",
        ),
        (
            lambda: gauss_newton_vp(MODEL, X0, CLASSES, CrossEntropy(), [[1.0]]),
            "v must have the shape (16,), one number a parameter; got a float64 array of shape "
            "(1, 1).",
        ),
        (
            lambda: hvp(MODEL, X0, CLASSES, CrossEntropy(), V0 * 1j),
            "v must hold real numbers; got a complex128 array of shape (16,).",
        ),
        (
            lambda: hvp(MODEL, X0, CLASSES, CrossEntropy(), V0, training="no"),
            "training must be a bool; got 'no'.",
        ),
        (
            lambda: hvp(MODEL, X0, CLASSES, CrossEntropy(), V0, seed=-1),
            "seed must be an integer of at least 0; got -1.",
        ),
        (
            lambda: hessian(MLP(784, [200], 10), np.zeros((M, 784)), CLASSES, CrossEntropy()),
            "the Hessian must fit into 1 GiB; got 159,010 × 159,010 numbers, 94.2 GiB. "
            "Take products with it, by hvp. Or allow more with max_bytes=.",
        ),
        (
            lambda: hessian(MODEL, X0, CLASSES, CrossEntropy(), max_bytes=2047),
            "the Hessian must fit into 2 KiB; got 16 × 16 numbers, 2 KiB. "
            "Take products with it, by hvp. Or allow more with max_bytes=.",
        ),
        (
            lambda: fisher_vp(MODEL, X0, Hinge(), V0),
            "loss must be one with a predictive distribution, such as CrossEntropy or HalfMSE; "
            "got Hinge(). Use gauss_newton_vp.",
        ),
        (
            lambda: fisher_vp(MODEL, X0, HalfMSE(), V0, weight=np.zeros(M)),
            "weight must not be all 0; got a float64 array of shape (5,).",
        ),
    ],
)
def test_invalid_argument_raises(call, message):
    with pytest.raises(ArgumentError) as error:
        call()
    assert str(error.value) == message
