"""Every loss: against PyTorch and differences, weighted, on every backend, at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.derivatives import check_gradients
from xpnet.errors import ArgumentError
from xpnet.losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Distillation,
    Expectile,
    Focal,
    GammaNLL,
    GaussianNLL,
    HalfMSE,
    Heads,
    Hinge,
    Huber,
    LogCosh,
    Loss,
    NegativeBinomialNLL,
    Ordinal,
    PerceptronLoss,
    PoissonNLL,
    QuantileLoss,
    SoftMargin,
    StudentTNLL,
    TweedieNLL,
    from_formula,
)
from xpnet.losses.base import check_weight

M, K = 7, 4
RNG = np.random.default_rng(11)


def away(x, kink):
    """``x`` with nothing within 0.01 of ``kink``."""
    return np.where(np.abs(x - kink) < 0.01, kink + 0.3, x)


OUTPUT = away(RNG.normal(scale=2.0, size=(M, K)), 0.0)
VALUES = OUTPUT - away(away(away(RNG.normal(size=(M, K)), 0.0), 0.8), -0.8)
CLASSES = RNG.integers(0, K, size=M)
ROWS = RNG.dirichlet(np.ones(K), size=M)
BITS = RNG.integers(0, 2, size=(M, K))
SIGNS = 2 * BITS - 1
MARGINS = away(OUTPUT * SIGNS, 1.0) * SIGNS
COUNTS = RNG.poisson(2.0, size=(M, K))
AMOUNTS = RNG.gamma(2.0, size=(M, K))
ORDERED = -np.sort(-OUTPUT, axis=1)
WEIGHT = np.array([0.0, 1.0, 2.5, 0.3, 1.0, 4.0, 0.7])


def torch_gaussian(F, z, t):
    k = z.shape[1] // 2
    return F.gaussian_nll_loss(z[:, :k], t, z[:, k:].exp(), reduction="none", eps=0).sum(1)


def torch_logistic(F, z, t):
    return F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1)


def torch_cross_entropy(smoothing):
    return lambda F, z, t: F.cross_entropy(z, t, reduction="none", label_smoothing=smoothing)


def torch_heads(F, z, t):
    """Two classes with the weight 2, a mean with its variance (weight ½), and a Huber loss."""
    classes = F.cross_entropy(z[:, :2], t[:, 0].long(), reduction="none")
    huber = F.huber_loss(z[:, 4], t[:, 2], reduction="none", delta=0.8)
    return 2.0 * classes + 0.5 * torch_gaussian(F, z[:, 2:4], t[:, 1:2]) + huber


HEADS = Heads([CrossEntropy(), GaussianNLL(), Huber(0.8)], widths=[2, 2, 1], weights=[2, 0.5, 1])


def torch_pinball(*quantiles):
    def rows(F, z, t):
        d = t.reshape(M, -1, 1) - z.reshape(M, -1, len(quantiles))
        q = t.new_tensor(quantiles)
        return (F.relu(d) * q + F.relu(-d) * (1 - q)).mean((1, 2))

    return rows


def torch_binary_focal(gamma, positive, negative):
    def rows(F, z, t):
        entropy = F.binary_cross_entropy_with_logits(z, t, reduction="none")
        p = z.sigmoid()
        wrong, share = p * (1 - t) + (1 - p) * t, positive * t + negative * (1 - t)
        return (share * wrong**gamma * entropy).sum(1)

    return rows


def torch_focal(gamma):
    def rows(F, z, t):
        log_p = F.log_softmax(z, 1)
        t = F.one_hot(t, z.shape[1]) if t.ndim == 1 else t
        return -(t * (1 - log_p.exp()) ** gamma * log_p).sum(1)

    return rows


def torch_ordinal(F, z, t):
    above = F.pad(z.sigmoid(), (1, 0), value=1.0)
    p = above - F.pad(above[:, 1:], (0, 1), value=0.0)
    return -p.gather(1, t[:, None])[:, 0].log()


def torch_student(df, scale):
    def rows(F, z, t):
        return 0.5 * (df + 1) * (1 + ((z - t) / scale) ** 2 / df).log().sum(1)

    return rows


def torch_tweedie(p):
    def rows(F, z, t):
        return (((2 - p) * z).exp() / (2 - p) - t * ((1 - p) * z).exp() / (1 - p)).sum(1)

    return rows


def torch_negative_binomial(alpha):
    def rows(F, z, t):
        mean = z.exp()
        return ((t + 1 / alpha) * (1 + alpha * mean).log() - t * (alpha * mean).log()).sum(1)

    return rows


# The loss, an output, a target, and the loss of every row in PyTorch.
TABLE = {
    "half_mse": (
        HalfMSE(),
        OUTPUT,
        VALUES,
        lambda F, z, t: 0.5 * F.mse_loss(z, t, reduction="none").sum(1),
    ),
    "mse": (MSE(), OUTPUT, VALUES, lambda F, z, t: F.mse_loss(z, t, reduction="none").mean(1)),
    "mse-one-output": (
        MSE(),
        OUTPUT[:, :1],
        VALUES[:, 0],
        lambda F, z, t: F.mse_loss(z[:, 0], t, reduction="none"),
    ),
    "mae": (MAE(), OUTPUT, VALUES, lambda F, z, t: F.l1_loss(z, t, reduction="none").mean(1)),
    "huber": (
        Huber(0.8),
        OUTPUT,
        VALUES,
        lambda F, z, t: F.huber_loss(z, t, reduction="none", delta=0.8).mean(1),
    ),
    "cross_entropy": (CrossEntropy(), OUTPUT, CLASSES, torch_cross_entropy(0.0)),
    "cross_entropy-rows": (CrossEntropy(), OUTPUT, ROWS, torch_cross_entropy(0.0)),
    "cross_entropy-smooth": (CrossEntropy(0.1), OUTPUT, CLASSES, torch_cross_entropy(0.1)),
    "cross_entropy-smooth-rows": (CrossEntropy(0.1), OUTPUT, ROWS, torch_cross_entropy(0.1)),
    "binary": (BinaryCrossEntropy(), OUTPUT, BITS, torch_logistic),
    "binary-soft": (BinaryCrossEntropy(), OUTPUT, ROWS, torch_logistic),
    "binary-one-output": (
        BinaryCrossEntropy(),
        OUTPUT[:, :1],
        BITS[:, 0],
        lambda F, z, t: torch_logistic(F, z, t[:, None]),
    ),
    "hinge": (Hinge(), MARGINS, SIGNS, lambda F, z, t: F.relu(1 - t * z).sum(1)),
    "hinge-one-output": (
        Hinge(),
        MARGINS[:, :1],
        SIGNS[:, 0],
        lambda F, z, t: F.relu(1 - t * z[:, 0]),
    ),
    "perceptron": (PerceptronLoss(), OUTPUT, SIGNS, lambda F, z, t: F.relu(-t * z).sum(1)),
    "poisson": (
        PoissonNLL(),
        OUTPUT,
        COUNTS,
        lambda F, z, t: F.poisson_nll_loss(z, t, reduction="none").sum(1),
    ),
    "gaussian": (GaussianNLL(), OUTPUT, VALUES[:, :2], torch_gaussian),
    "gaussian-one-mean": (
        GaussianNLL(),
        OUTPUT[:, :2],
        VALUES[:, 0],
        lambda F, z, t: torch_gaussian(F, z, t[:, None]),
    ),
    "heads": (
        HEADS,
        np.hstack([OUTPUT, OUTPUT[:, :1]]),
        np.column_stack([CLASSES % 2, VALUES[:, 1], VALUES[:, 0]]),
        torch_heads,
    ),
    "median": (QuantileLoss(), OUTPUT, VALUES, torch_pinball(0.5)),
    "quantiles": (QuantileLoss((0.1, 0.6)), OUTPUT, VALUES[:, ::3], torch_pinball(0.1, 0.6)),
    "quantiles-one-target": (
        QuantileLoss((0.1, 0.5, 0.7, 0.9)),
        OUTPUT,
        VALUES[:, 0],
        torch_pinball(0.1, 0.5, 0.7, 0.9),
    ),
    "expectile": (
        Expectile(0.8),
        OUTPUT,
        VALUES,
        lambda F, z, t: (0.8 * F.relu(t - z) ** 2 + (1 - 0.8) * F.relu(z - t) ** 2).mean(
            1
        ),  # 1 - 0.8 < 0.2
    ),
    "log_cosh": (LogCosh(), OUTPUT, VALUES, lambda F, z, t: (z - t).cosh().log().mean(1)),
    "student_t": (StudentTNLL(3.0, 0.5), OUTPUT, VALUES, torch_student(3.0, 0.5)),
    "gamma": (GammaNLL(), OUTPUT, AMOUNTS, lambda F, z, t: (z + t / z.exp()).sum(1)),
    "tweedie": (TweedieNLL(1.3), OUTPUT, AMOUNTS * (COUNTS > 1), torch_tweedie(1.3)),
    "negative_binomial": (
        NegativeBinomialNLL(0.7),
        OUTPUT,
        COUNTS,
        torch_negative_binomial(0.7),
    ),
    "soft_margin": (
        SoftMargin(),
        OUTPUT,
        SIGNS,
        lambda F, z, t: F.soft_margin_loss(z, t, reduction="none").sum(1),
    ),
    "binary_focal": (BinaryFocal(), OUTPUT, BITS, torch_binary_focal(2.0, 0.25, 0.75)),
    "binary_focal-one-output": (
        BinaryFocal(0.5, None),
        OUTPUT[:, :1],
        BITS[:, 0],
        lambda F, z, t: torch_binary_focal(0.5, 1.0, 1.0)(F, z, t[:, None]),
    ),
    "focal": (Focal(), OUTPUT, CLASSES, torch_focal(2.0)),
    "focal-rows": (Focal(0.5), OUTPUT, ROWS, torch_focal(0.5)),
    "focal-two-classes": (Focal(3.0), OUTPUT[:, :2], BITS[:, 0], torch_focal(3.0)),
    "ordinal": (Ordinal(), ORDERED, RNG.integers(0, K + 1, size=M), torch_ordinal),
    "ordinal-two-classes": (Ordinal(), OUTPUT[:, :1], BITS[:, 0], torch_ordinal),
}
every_case = pytest.mark.parametrize("name", TABLE)
weighted_or_not = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


# --- values ---------------------------------------------------------------------------------------


@every_case
@weighted_or_not
def test_value_and_gradient_agree_with_pytorch(name, weight, torch):
    loss, output, target, other = TABLE[name]
    z = torch.tensor(output, requires_grad=True)
    is_index = loss.target_kind == "classes" and target.ndim == 1
    t = torch.tensor(target if is_index else target.astype(float))
    w = torch.tensor(np.ones(M) if weight is None else weight)
    expected = (w * other(torch.nn.functional, z, t)).sum() / w.sum()
    expected.backward()
    value, grad = loss.value_and_grad(output, target, weight)
    assert float(value) == pytest.approx(expected.item(), rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(grad, z.grad.numpy(), rtol=1e-10, atol=1e-10)


@every_case
@weighted_or_not
def test_pytorch_differentiates_a_loss(name, weight, torch):
    """Twice, with the results of its own methods."""
    loss, output, target, _ = TABLE[name]
    z, t = torch.tensor(output, requires_grad=True), torch.tensor(target)
    w = None if weight is None else torch.tensor(weight)
    (grad,) = torch.autograd.grad(loss.value(z, t, w), z, create_graph=True)
    expected = loss.value_and_grad(output, target, weight)[1]
    np.testing.assert_allclose(grad.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    v = np.random.default_rng(2).normal(size=output.shape)
    product = loss.hessian_product(output, target, v, weight)
    if grad.requires_grad:
        (found,) = torch.autograd.grad((grad * torch.tensor(v)).sum(), z)
        np.testing.assert_allclose(found.numpy(), product, rtol=1e-12, atol=1e-12)
    else:
        assert not product.any()


@every_case
@weighted_or_not
def test_gradient_agrees_with_central_differences(name, weight):
    loss, output, target, _ = TABLE[name]

    def fun(flat):
        value, grad = loss.value_and_grad(flat.reshape(output.shape), target, weight)
        return value, grad.reshape(-1)

    check_gradients(fun, output.reshape(-1), entries=None).raise_if_wrong()


@every_case
@weighted_or_not
def test_hessian_product_agrees_with_differences(name, weight, place):
    loss, output, target, _ = TABLE[name]
    v, h = np.random.default_rng(2).normal(size=output.shape), 1e-5
    ends = [loss.value_and_grad(output + s * v, target, weight)[1] for s in (h, -h)]
    w = None if weight is None else place.array(weight)
    product = loss.hessian_product(place.array(output), place.array(target), place.array(v), w)
    assert product.dtype == place.backend.dtype
    expected = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose(place.host(product), expected, rtol=1e-6, atol=1e-9)


def test_loss_without_curvature_is_refused():
    class Cube(Loss):
        def value_and_grad(self, output, target, weight=None, *, out=None):
            return ((output - target) ** 3).mean(), 3 * (output - target) ** 2 / output.size

    message = r"loss must have a rule curvature for second derivatives, None if it is 0; got .*Cube"
    with pytest.raises(ArgumentError, match=message):
        Cube().hessian_product(OUTPUT, VALUES, OUTPUT)


@every_case
@weighted_or_not
def test_value_equals_that_of_value_and_grad(name, weight):
    loss, output, target, _ = TABLE[name]
    value, _ = loss.value_and_grad(output, target, weight)
    assert float(loss.value(output, target, weight)) == pytest.approx(float(value), rel=1e-14)


@every_case
def test_row_of_weight_two_counts_twice(name):
    loss, output, target, _ = TABLE[name]
    twice = np.arange(M) % 2 + 1
    value = loss.value(np.repeat(output, twice, axis=0), np.repeat(target, twice, axis=0))
    weighted = loss.value(output, target, twice.astype(float))
    assert float(weighted) == pytest.approx(float(value), rel=1e-13)


def test_class_weights_agree_with_pytorch(torch):
    of_class = np.array([0.5, 2.0, 1.0, 3.0])
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(OUTPUT), torch.tensor(CLASSES), weight=torch.tensor(of_class)
    )
    value = CrossEntropy().value(OUTPUT, CLASSES, of_class[CLASSES])
    assert float(value) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_indices_equal_one_hot_rows(smoothing):
    loss = CrossEntropy(smoothing)
    value, grad = loss.value_and_grad(OUTPUT, CLASSES, WEIGHT)
    value_of_rows, grad_of_rows = loss.value_and_grad(OUTPUT, np.eye(K)[CLASSES], WEIGHT)
    assert float(value) == pytest.approx(float(value_of_rows), rel=1e-14)
    np.testing.assert_allclose(grad, grad_of_rows, rtol=1e-14, atol=1e-16)


def test_perceptron_loss_has_a_gradient_at_zero():
    _, grad = PerceptronLoss().value_and_grad(np.zeros((2, 1)), np.array([1, -1]))
    np.testing.assert_array_equal(grad, [[-0.5], [0.5]])


logits = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(logits, st.data())
def test_cross_entropy_gradient_sums_to_zero(row, data):
    label = data.draw(st.integers(0, len(row) - 1))
    value, grad = CrossEntropy().value_and_grad(np.array([row]), np.array([label]))
    assert value >= 0
    assert float(grad.sum()) == pytest.approx(0, abs=1e-12)
    assert grad[0, label] <= 0


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.floats(-1e3, 1e3), st.integers(0, 1))
def test_binary_loss_equals_that_of_two_classes(logit, label):
    target = np.array([label])
    two = CrossEntropy().value(np.array([[0.0, logit]]), target)
    one = BinaryCrossEntropy().value(np.array([[logit]]), target)
    assert float(one) == pytest.approx(float(two), rel=1e-12, abs=1e-15)


# --- backends -------------------------------------------------------------------------------------


@every_case
@weighted_or_not
def test_backends_agree_with_numpy(name, weight, place):
    check_place(name, weight, place, 1e-12)


@every_case
@weighted_or_not
def test_float32_is_preserved_on_every_backend(name, weight, place32):
    check_place(name, weight, place32, 2e-5)


def check_place(name, weight, place, tolerance):
    loss, output, target, _ = TABLE[name]
    z = place.array(output)
    t = place.array(target)
    w = None if weight is None else place.array(weight)
    value, grad = loss.value_and_grad(z, t, w, out=place.writable(np.zeros_like(output)))
    expected, expected_grad = loss.value_and_grad(output, target, weight)
    assert (value.dtype, grad.dtype) == (place.backend.dtype, place.backend.dtype)
    assert (tuple(value.shape), tuple(grad.shape)) == ((), output.shape)
    assert float(value) == pytest.approx(float(expected), rel=tolerance)
    np.testing.assert_allclose(place.host(grad), expected_grad, rtol=tolerance, atol=tolerance)
    loss.check(t, output.shape[1], M)


@pytest.mark.parametrize("name", ["mse", "binary-soft", "cross_entropy-rows", "gaussian"])
def test_float64_targets_keep_float32_outputs(name, place32):
    loss, output, target, _ = TABLE[name]
    t, w = place32.array(target, "float64"), place32.array(WEIGHT, "float64")
    value, grad = loss.value_and_grad(place32.array(output), t, w)
    assert grad.dtype == place32.backend.dtype
    assert float(value) == pytest.approx(float(loss.value(output, target, WEIGHT)), rel=2e-5)


@every_case
def test_value_and_grad_reads_nothing_to_the_host(name, torch):
    loss, output, target, _ = TABLE[name]
    z, t, w = (torch.tensor(x, device="meta") for x in (output, target, WEIGHT))
    for value, grad in (loss.value_and_grad(z, t), loss.value_and_grad(z, t, w)):
        assert (value.device.type, grad.device.type) == ("meta", "meta")
    assert loss.hessian_product(z, t, z, w).device.type == "meta"


# --- extreme values -------------------------------------------------------------------------------

FAR = [[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [0.0, -1e4]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "output", "target", "expected"),
    [
        (HalfMSE(), FAR, np.zeros((4, 2)), 0.5 * 7e8 / 4),
        (MSE(), FAR, np.zeros((4, 2)), 7e8 / 8),
        (MAE(), FAR, np.zeros((4, 2)), 7e4 / 8),
        (Huber(), FAR, np.zeros((4, 2)), 7 * (1e4 - 0.5) / 8),
        (CrossEntropy(), FAR, [0, 0, 0, 0], (2e4 + math.log(2)) / 4),
        (CrossEntropy(0.5), FAR, [0, 1, 1, 0], (5e3 + 5e3 + math.log(2) + 2.5e3) / 4),
        (CrossEntropy(), FAR, np.full((4, 2), 0.5), (1e4 + 1e4 + math.log(2) + 5e3) / 4),
        (BinaryCrossEntropy(), FAR, [[1, 0], [1, 0], [0, 0], [1, 1]], (5e4 + math.log(2)) / 4),
        (Hinge(), FAR, [[1, -1], [1, -1], [-1, -1], [1, 1]], (4 * (1e4 + 1) + 1e4 + 2) / 4),
        (PerceptronLoss(), FAR, [[1, -1], [1, -1], [-1, -1], [1, 1]], 5e4 / 4),
        (PoissonNLL(), [[-1e4], [0.0]], [3, 0], (3e4 + 1) / 2),
        (GaussianNLL(), [[1e4, 1e4], [1.0, 0.0]], [0, 1], 5e3 / 2),
        (QuantileLoss((0.1, 0.9)), FAR, np.zeros(4), (1e3 + 9e3 + 1e4 + 9e3 + 1e3 + 9e3) / 8),
        (Expectile(0.9), FAR, np.zeros((4, 2)), 1e8 * (0.1 * 4 + 0.9 * 3) / 8),
        (LogCosh(), FAR, np.zeros((4, 2)), 7 * (1e4 - math.log(2)) / 8),
        (StudentTNLL(1.0), FAR, np.zeros((4, 2)), 7 * math.log1p(1e8) / 4),
        (GammaNLL(), [[1e4], [0.0]], [3.0, 1.0], (1e4 + 1) / 2),
        (TweedieNLL(), [[1.0], [0.0]], [0.0, 3.0], (2 * math.exp(0.5) + 8) / 2),
        (
            NegativeBinomialNLL(1e-3),
            [[1e4], [-1e4]],
            [0, 3],
            1e3 * (1e4 + math.log(1e-3)) / 2 + 15010.361632918473,
        ),
        (SoftMargin(), FAR, [[1, -1], [1, -1], [-1, -1], [1, 1]], (5e4 + math.log(2)) / 4),
        (
            BinaryFocal(2.0, None),
            FAR,
            [[1, 0], [1, 0], [0, 0], [1, 1]],
            (5e4 + math.log(2) / 4) / 4,
        ),
        (Focal(), FAR, [0, 0, 0, 0], (2e4 + math.log(2) / 4) / 4),
        (Focal(0.0), FAR, np.full((4, 2), 0.5), (1e4 + 1e4 + math.log(2) + 5e3) / 4),
        (Ordinal(), [[1e4, -1e4], [1e4, 1e4], [1e4, -1e4]], [1, 2, 0], 1e4 / 3),
    ],
    ids=lambda x: repr(x) if hasattr(x, "value_and_grad") else "",
)
def test_large_outputs_do_not_overflow(loss, output, target, expected, dtype):
    value, grad = loss.value_and_grad(np.array(output, dtype=dtype), np.array(target))
    assert float(value) == pytest.approx(expected, rel=1e-6)
    assert np.all(np.isfinite(grad))


# --- predictions ----------------------------------------------------------------------------------

LOGITS = np.array([[1.0, -2.0, 1.0], [0.0, 3.0, -1.0]])


@pytest.mark.parametrize(
    ("loss", "output", "expected"),
    [
        (MSE(), LOGITS, LOGITS),
        (CrossEntropy(), LOGITS, [0, 1]),
        (BinaryCrossEntropy(), LOGITS, [[1, 0, 1], [0, 1, 0]]),
        (BinaryCrossEntropy(), LOGITS[:, :1], [1, 0]),
        (Hinge(), LOGITS, [[1, -1, 1], [-1, 1, -1]]),
        (PerceptronLoss(), LOGITS[:, 1:2], [-1, 1]),
        (PoissonNLL(), LOGITS, np.exp(LOGITS)),
        (GaussianNLL(), LOGITS[:, :2], LOGITS[:, :1]),
        (QuantileLoss((0.1, 0.5, 0.9)), LOGITS, LOGITS),
        (GammaNLL(), LOGITS, np.exp(LOGITS)),
        (TweedieNLL(), LOGITS, np.exp(LOGITS)),
        (NegativeBinomialNLL(), LOGITS, np.exp(LOGITS)),
        (SoftMargin(), LOGITS, [[1, -1, 1], [-1, 1, -1]]),
        (BinaryFocal(), LOGITS, [[1, 0, 1], [0, 1, 0]]),
        (Focal(), LOGITS, [0, 1]),
        (Ordinal(), [[3.0, 1.0, -2.0], [-1.0, -1.0, -4.0], [2.0, 1.9, 1.8]], [2, 0, 3]),
    ],
    ids=repr,
)
def test_decide_returns_predictions(loss, output, expected, place):
    decided = place.host(loss.decide(place.array(output)))
    assert decided.shape == np.shape(expected)
    assert decided.dtype == np.asarray(expected).dtype
    np.testing.assert_allclose(decided, expected, rtol=1e-12)


def test_probabilities_of_classes(place):
    sigma = 1 / (1 + np.exp(-LOGITS))
    e, between = np.exp(LOGITS), np.maximum(sigma[:, 0] - sigma[:, 1], 0.0)  # not in order: 0
    rows = [
        (CrossEntropy(), LOGITS, e / e.sum(axis=1, keepdims=True)),
        (BinaryCrossEntropy(), LOGITS, sigma),
        (BinaryCrossEntropy(), LOGITS[:, :1], np.hstack([1 - sigma[:, :1], sigma[:, :1]])),
        (SoftMargin(), LOGITS[:, :1], np.hstack([1 - sigma[:, :1], sigma[:, :1]])),
        (BinaryFocal(), LOGITS, sigma),
        (Focal(), LOGITS, e / e.sum(axis=1, keepdims=True)),
        (Ordinal(), LOGITS[:, :2], np.stack([1 - sigma[:, 0], between, sigma[:, 1]], axis=1)),
    ]
    for loss, output, expected in rows:
        got = place.host(loss.probabilities(place.array(output)))
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("loss", [MSE(), Hinge(), PoissonNLL(), GaussianNLL()], ids=repr)
def test_losses_without_probabilities_refuse_them(loss):
    with pytest.raises(ArgumentError, match="loss must be one with probabilities") as error:
        loss.probabilities(LOGITS)
    assert repr(loss) in str(error.value)


def test_target_kinds_of_the_losses():
    kinds = {"classes": 9, "binary": 5, "signs": 4, "values": 17, "heads": 1}
    counted = dict.fromkeys(kinds, 0)
    for loss, *_ in TABLE.values():
        counted[loss.target_kind] += 1
    assert counted == kinds


# --- validation -----------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
SHAPE = "It needs one row for each row of X."
WITH_BOUNDS = from_formula(
    lambda xp, z, t: xp.exp(z) - t * z, name="rate", target_min=0, target_max=9
)
BAD_TARGETS = [
    (MSE(), [[1.0, 2.0]], 3, "y must have the shape (2, 3); got a float64 array of shape (1, 2)."),
    (MSE(), [1.0, 2.0], 2, "y must have the shape (2, 2); got a float64 array of shape (2,)."),
    (MSE(), [1.0], 1, "y must have the shape (2, 1) or (2,); got a float64 array of shape (1,)."),
    (MSE(), [1.0, NAN], 1, "y must be finite; got nan in row 1."),
    (HalfMSE(), [[0.0, 1.0], [-INF, 0.0]], 2, "y must be finite; got -inf in row 1, column 0."),
    (Huber(), [1 + 2j, 0], 1, "y must hold real numbers; got a complex128 array of shape (2,)."),
    (
        CrossEntropy(),
        ["a", "b"],
        3,
        "y must hold real numbers; got a <U1 array of shape (2,). "
        "Convert words to class indices with",
    ),
    (MAE(), ["a", "b"], 1, "y must hold real numbers; got a <U1 array of shape (2,)."),
    (
        CrossEntropy(),
        [0.0, 1.0],
        3,
        "y must hold class indices, which are integers; got a float64 array of shape (2,). "
        "Convert class names to indices with xpnet.data.encode_labels.",
    ),
    (CrossEntropy(), [0, 3], 3, "y must hold class indices of 0 to 2; got 3 in row 1."),
    (CrossEntropy(), [-1, 0], 3, "y must hold class indices of 0 to 2; got -1 in row 0."),
    (CrossEntropy(), [[0], [1]], 3, "y must have the shape (2,) or (2, 3); got"),
    (CrossEntropy(), [0, 1, 2], 3, "y must have the shape (2,) or (2, 3); got"),
    (
        CrossEntropy(),
        [[0.5, 0.5], [0.5, 0.4]],
        2,
        "y must hold probabilities that sum to 1 in a row; got [0.5 0.4] in row 1.",
    ),
    (
        CrossEntropy(),
        [[1.5, -0.5], [0.5, 0.5]],
        2,
        "y must hold probabilities, none below 0; got -0.5 in row 0, column 1.",
    ),
    (CrossEntropy(), [[NAN, 1.0], [1, 0]], 2, "y must be finite; got nan in row 0, column 0."),
    (
        CrossEntropy(),
        [0, 0],
        1,
        "n_out must be at least 2 for CrossEntropy; got 1. "
        "These targets need a network with 2 outputs (n_out=2). "
        "For two classes and one output use BinaryCrossEntropy().",
    ),
    (
        Focal(),
        [0, 1],
        1,
        "n_out must be at least 2 for Focal; got 1. "
        "These targets need a network with 2 outputs (n_out=2). "
        "For two classes and one output use BinaryFocal().",
    ),
    (BinaryCrossEntropy(), [0, 2], 1, "y must hold numbers of 0 to 1; got 2 in row 1."),
    (BinaryCrossEntropy(), [-0.5, 0], 1, "y must hold numbers of 0 to 1; got -0.5 in row 0."),
    (
        Hinge(),
        [0, 1],
        1,
        "y must hold -1 or 1; got 0 in row 0. Convert labels of 0 and 1 with 2 * y - 1.",
    ),
    (Hinge(), [True, False], 1, "y must hold -1 or 1; got a bool array of shape (2,)."),
    (PerceptronLoss(), [1.0, 0.5], 1, "y must hold -1 or 1; got 0.5 in row 1."),
    (PoissonNLL(), [3, -1], 1, "y must hold counts, none below 0; got -1 in row 1."),
    (WITH_BOUNDS, [3, -1], 1, "y must be at least 0; got -1.0 in row 1."),
    (WITH_BOUNDS, [3.5, 9.5], 1, "y must be at most 9; got 9.5 in row 1."),
    (WITH_BOUNDS, [3.5, NAN], 1, "y must be finite; got nan in row 1."),
    (GaussianNLL(), [0.0, 1.0], 3, "n_out must be even for GaussianNLL; got 3."),
    (GaussianNLL(), [[0.0, 1.0]] * 2, 2, "y must have the shape (2, 1) or (2,); got"),
    (
        QuantileLoss((0.1, 0.9)),
        [0.0, 1.0],
        3,
        "n_out must be a multiple of the 2 quantiles of QuantileLoss; got 3. It needs 2 outputs "
        "for each target, one for each quantile. These targets need a network with 2 outputs",
    ),
    (QuantileLoss((0.1, 0.9)), [[0.0, 1.0]] * 2, 2, "y must have the shape (2, 1) or (2,); got"),
    (Expectile(), [1.0, NAN], 1, "y must be finite; got nan in row 1."),
    (LogCosh(), [1.0, INF], 1, "y must be finite; got inf in row 1."),
    (StudentTNLL(), [1.0, NAN], 1, "y must be finite; got nan in row 1."),
    (
        GammaNLL(),
        [1.0, 0.0],
        1,
        "y must hold numbers above 0; got 0.0 in row 1. Take TweedieNLL for numbers of which some "
        "are 0.",
    ),
    (GammaNLL(), [True, False], 1, "y must hold numbers above 0; got False in row 1."),
    (TweedieNLL(), [1.0, -1.0], 1, "y must hold numbers, none below 0; got -1.0 in row 1."),
    (NegativeBinomialNLL(), [3, -1], 1, "y must hold counts, none below 0; got -1 in row 1."),
    (SoftMargin(), [0, 1], 1, "y must hold -1 or 1; got 0 in row 0. Convert labels of 0 and 1"),
    (BinaryFocal(), [0, 2], 1, "y must hold numbers of 0 to 1; got 2 in row 1."),
    (Focal(), [0, 3], 3, "y must hold class indices of 0 to 2; got 3 in row 1."),
    (
        Ordinal(),
        [0, 4],
        3,
        "y must hold class indices of 0 to 3; got 4 in row 1. These targets need a network with 4 "
        "outputs (n_out=4).",
    ),
    (Ordinal(), [-1, 4], 3, "y must hold class indices of 0 to 3; got -1 in row 0."),
    (Ordinal(), [[0], [1]], 3, "y must have the shape (2,); got an int64 array of shape (2, 1)."),
    (Ordinal(), [0.0, 1.0], 3, "y must hold class indices, which are integers; got a float64"),
]


@pytest.mark.parametrize(("loss", "target", "n_out", "message"), BAD_TARGETS)
def test_invalid_targets_are_refused(loss, target, n_out, message):
    with pytest.raises(ArgumentError) as error:
        loss.check(np.array(target), n_out, 2)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_min": "0"}, "target_min must be a finite number; got '0'"),
        ({"target_max": INF}, "target_max must be a finite number; got inf"),
        ({"target_min": 1, "target_max": 1}, "target_max must be above target_min, 1; got 1"),
        ({"target_min": 0, "target_kind": "binary"}, "target_min must be None unless target_kind"),
        ({"target_min": 0, "scalable": True}, "scalable must be False for targets with bounds"),
        ({"target_kind": "classes"}, "target_kind must be one of binary, signs, values"),
    ],
)
def test_invalid_bounds_of_targets_are_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        from_formula(lambda xp, z, t: (z - t) ** 2, name="square", **given)


def test_targets_with_bounds_are_not_scaled():
    assert not WITH_BOUNDS.scalable
    assert from_formula(lambda xp, z, t: (z - t) ** 2, name="square").scalable


NEEDED = [
    (MSE(), np.zeros((2, 3)), 2, 3),
    (MSE(), np.zeros(2), 2, 1),
    (HalfMSE(), np.zeros((2, 2)), 1, 2),
    (BinaryCrossEntropy(), np.zeros((2, 4)), 1, 4),
    (Hinge(), np.ones(2), 3, 1),
    (PoissonNLL(), np.ones((2, 2)), 4, 2),
    (CrossEntropy(), np.array([0, 4]), 3, 5),
    (CrossEntropy(), np.array([0, 4]), 1, 5),
    (CrossEntropy(), np.array([0, 0]), 1, 2),
    (CrossEntropy(), np.eye(3)[:2], 2, 3),
    (CrossEntropy(), np.eye(3)[:2], 1, 3),
    (Distillation(), np.array([0, 4]), 3, 5),
    (GaussianNLL(), np.zeros(2), 1, 2),
    (GaussianNLL(), np.zeros(2), 4, 2),
    (GaussianNLL(), np.zeros((2, 2)), 3, 4),
    (GaussianNLL(), np.zeros((2, 2)), 2, 4),
    (QuantileLoss((0.2, 0.5, 0.8)), np.zeros((2, 2)), 4, 6),
    (QuantileLoss((0.2, 0.5, 0.8)), np.zeros(2), 6, 3),
    (Focal(), np.array([0, 4]), 3, 5),
    (Ordinal(), np.array([0, 4]), 3, 4),
    (SoftMargin(), np.ones(2), 3, 1),
]


@pytest.mark.parametrize(("loss", "target", "n_out", "needed"), NEEDED)
def test_wrong_number_of_outputs_says_how_many(loss, target, n_out, needed, place):
    with pytest.raises(ArgumentError) as error:
        loss.check(place.array(target, str(target.dtype)), n_out, 2)
    outputs = f"{needed} output{'s' * (needed != 1)}"
    assert f"These targets need a network with {outputs} (n_out={needed})." in str(error.value)


def test_column_of_class_indices_says_to_drop_the_axis():
    with pytest.raises(ArgumentError, match=r"Class indices have one axis: y\[:, 0\]\.$"):
        CrossEntropy().check(np.array([[0], [1]]), 3, 2)


def test_negative_class_index_asks_for_no_outputs():
    with pytest.raises(ArgumentError, match=r"class indices of 0 to 2; got -1 in row 0\.$"):
        CrossEntropy().check(np.array([-1, 5]), 3, 2)


def test_list_of_targets_is_refused():
    with pytest.raises(
        ArgumentError, match=r"y must have the shape \(2,\) or \(2, 3\); got \[0, 1"
    ):
        CrossEntropy().check([0, 1], 3, 2)


@pytest.mark.parametrize(
    ("loss", "target", "n_out", "dtype"),
    [
        (CrossEntropy(), [0, 3], 3, None),
        (CrossEntropy(), [0, 3], 3, "uint8"),
        (CrossEntropy(), [[1, 1, 0], [0, 0, 1]], 3, None),
        (BinaryCrossEntropy(), [0, 2], 1, "int32"),
        (BinaryCrossEntropy(), [0.0, 1.1], 1, None),
        (Hinge(), [0, 1], 1, "uint8"),
        (Hinge(), [True, False], 1, None),
        (PoissonNLL(), [0.0, -1.0], 1, None),
        (WITH_BOUNDS, [0.0, -1.0], 1, None),
        (WITH_BOUNDS, [10, 0], 1, "uint8"),
        (MSE(), [0.0, NAN], 1, None),
        (GaussianNLL(), [[0.0], [INF]], 2, None),
        (QuantileLoss((0.1, 0.9)), [[0.0], [INF]], 2, None),
        (GammaNLL(), [1.0, 0.0], 1, None),
        (TweedieNLL(), [1.0, -1.0], 1, None),
        (Ordinal(), [0, 3], 2, "uint8"),
    ],
)
def test_invalid_targets_are_refused_on_every_backend(loss, target, n_out, dtype, place):
    with pytest.raises(ArgumentError, match=r"^y must "):
        loss.check(place.array(target, dtype), n_out, 2)


@pytest.mark.parametrize(
    ("loss", "target", "n_out", "dtype"),
    [
        (CrossEntropy(), [0, 2], 3, "uint8"),
        (CrossEntropy(), [0, 2], 300, "int8"),
        (CrossEntropy(), [[1, 0, 0], [0, 0, 1]], 3, None),
        (CrossEntropy(), [[True, False], [False, True]], 2, None),
        (CrossEntropy(), [[0.25, 0.75], [1.0, 0.0]], 2, "float32"),
        (BinaryCrossEntropy(), [True, False], 1, None),
        (BinaryCrossEntropy(), [[0, 1], [1, 0]], 2, "uint8"),
        (BinaryCrossEntropy(), [0.25, 1.0], 1, None),
        (Hinge(), [1, -1], 1, "int8"),
        (PerceptronLoss(), [[1.0], [-1.0]], 1, None),
        (PoissonNLL(), [0, 4], 1, "uint8"),
        (PoissonNLL(), [True, False], 1, None),
        (WITH_BOUNDS, [True, False], 1, None),
        (WITH_BOUNDS, [0, 9], 1, "uint8"),
        (MSE(), [1, 2], 1, None),
        (GaussianNLL(), [1.5, 2.5], 2, None),
        (QuantileLoss((0.1, 0.9)), [1, 2], 2, "uint8"),
        (GammaNLL(), [1, 2], 1, "uint8"),
        (TweedieNLL(), [0.0, 2.5], 1, None),
        (NegativeBinomialNLL(), [True, False], 1, None),
        (SoftMargin(), [1, -1], 1, "int8"),
        (BinaryFocal(), [0.25, 1.0], 1, None),
        (Focal(), [0, 2], 3, "uint8"),
        (Ordinal(), [0, 1], 1, "uint8"),
    ],
)
def test_valid_targets_pass_on_every_backend(loss, target, n_out, dtype, place):
    t = place.array(target, dtype)
    loss.check(t, n_out, 2)
    value, grad = loss.value_and_grad(place.array(np.full((2, n_out), 0.5)), t)
    assert math.isfinite(float(value))
    assert np.all(np.isfinite(place.host(grad)))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0], "sample_weight must have the shape (2,); got a float64 array of shape (1,)."),
        ([[1.0], [1.0]], "sample_weight must have the shape (2,); got"),
        ([1.0, -1.0], "sample_weight must be at least 0; got -1.0 in row 1."),
        ([NAN, 1.0], "sample_weight must be finite; got nan in row 0."),
        ([0.0, 0.0], "sample_weight must not be all 0; got"),
        ([1j, 1.0], "sample_weight must hold real numbers; got"),
    ],
)
def test_invalid_weights_are_refused(weight, message, place):
    with pytest.raises(ArgumentError) as error:
        check_weight(place.array(weight), 2)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("weight", [[0.0, 1.0], [2, 0], [True, False]], ids=repr)
def test_valid_weights_pass(weight, place):
    check_weight(place.array(weight), 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Huber(0), "delta must be a finite number, above 0; got 0."),
        (lambda: Huber(NAN), "delta must be a finite number, above 0; got nan."),
        (
            lambda: CrossEntropy(1.0),
            "label_smoothing must be a finite number, at least 0 and below 1; got 1.0.",
        ),
        (
            lambda: QuantileLoss(()),
            "quantiles must be a tuple of numbers; got (). Write a tuple, such as (0.1, 0.5, 0.9).",
        ),
        (
            lambda: QuantileLoss((0.5, 0.1)),
            "quantiles must be ascending; got (0.5, 0.1).",
        ),
        (
            lambda: QuantileLoss((0.1, 1.0)),
            "quantiles[1] must be a finite number, above 0 and below 1; got 1.0.",
        ),
        (lambda: Expectile(0), "tau must be a finite number, above 0 and below 1; got 0."),
        (lambda: StudentTNLL(0), "df must be a finite number, above 0; got 0."),
        (lambda: StudentTNLL(1, -1.0), "scale must be a finite number, above 0; got -1.0."),
        (lambda: TweedieNLL(2), "power must be a finite number, above 1 and below 2; got 2."),
        (lambda: NegativeBinomialNLL(0), "dispersion must be a finite number, above 0; got 0."),
        (lambda: Focal(-1), "gamma must be a finite number, at least 0; got -1."),
        (lambda: BinaryFocal(-1), "gamma must be a finite number, at least 0; got -1."),
        (
            lambda: BinaryFocal(2, 1.0),
            "alpha must be a finite number, above 0 and below 1; got 1.0.",
        ),
        (
            lambda: CrossEntropy(-0.1),
            "label_smoothing must be a finite number, at least 0 and below 1; got -0.1.",
        ),
    ],
)
def test_invalid_hyperparameters_are_refused(make, message):
    with pytest.raises(ArgumentError) as error:
        make()
    assert str(error.value) == message


def test_rows_that_nearly_sum_to_one_have_the_gradient(rng):
    output = rng.standard_normal((2, 3))
    target = np.array([[0.2, 0.3, 0.50005], [0.1, 0.1, 0.79995]])
    grad = CrossEntropy().value_and_grad(output, target)[1]
    nudge = rng.standard_normal((2, 3)) * 1e-5
    ahead = CrossEntropy().value(output + nudge, target)
    behind = CrossEntropy().value(output - nudge, target)
    assert (ahead - behind) / 2 == pytest.approx(float(np.sum(grad * nudge)), rel=1e-8)
