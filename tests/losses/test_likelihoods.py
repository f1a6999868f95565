"""Likelihoods: beside SciPy's densities and scikit-learn's losses, and their Fisher information."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.losses import (
    GammaNLL,
    NegativeBinomialNLL,
    Ordinal,
    QuantileLoss,
    SoftMargin,
    StudentTNLL,
    TweedieNLL,
)

Z = np.array([[-1.3, 0.2], [0.7, 2.1], [3.0, -0.4]])
COUNTS = np.array([[0.0, 3.0], [1.0, 12.0], [20.0, 2.0]])
AMOUNTS = np.array([[0.4, 3.0], [1.5, 12.0], [20.0, 0.1]])


def student(stats, z, t):
    return stats.t.logpdf(t, 3.0, loc=z, scale=0.5)


def gamma(stats, z, t):
    return stats.gamma.logpdf(t, 2.5, scale=np.exp(z) / 2.5) / 2.5


def negative_binomial(stats, z, t):
    r = 1 / 0.7
    return stats.nbinom.logpmf(t, r, r / (r + np.exp(z)))


DENSITIES = {
    "student_t": (StudentTNLL(3.0, 0.5), AMOUNTS, student),
    "gamma": (GammaNLL(), AMOUNTS, gamma),
    "negative_binomial": (NegativeBinomialNLL(0.7), COUNTS, negative_binomial),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_losses_are_negative_log_densities(name):
    stats = pytest.importorskip("scipy.stats", reason="compares with SciPy")
    loss, target, log_density = DENSITIES[name]
    rise = float(loss.value(Z, target)) - float(loss.value(np.zeros_like(Z), target))
    expected = log_density(stats, 0.0, target) - log_density(stats, Z, target)
    assert rise == pytest.approx(expected.sum(axis=1).mean(), rel=1e-10)


def test_losses_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    z, t, mean = Z[:, :1], AMOUNTS[:, 0], np.exp(Z[:, 0])
    found = float(GammaNLL().value(z, t)) - np.mean(np.log(t)) - 1
    assert 2 * found == pytest.approx(metrics.mean_gamma_deviance(t, mean), rel=1e-12)
    for power in (1.1, 1.5, 1.9):
        of = TweedieNLL(power)
        found = float(of.value(z, t)) - float(of.value(np.log(t)[:, None], t))
        deviance = metrics.mean_tweedie_deviance(t, mean, power=power)
        assert 2 * found == pytest.approx(deviance, rel=1e-9)
    for q in (0.1, 0.7):
        found = QuantileLoss((q,)).value(Z, AMOUNTS)
        expected = metrics.mean_pinball_loss(AMOUNTS, Z, alpha=q)
        assert float(found) == pytest.approx(expected, rel=1e-12)


def test_quantiles_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="compares with scikit-learn")
    quantiles, target = (0.1, 0.5, 0.9), AMOUNTS
    z = np.random.default_rng(0).normal(size=(3, 6))
    each = z.reshape(3, 2, 3)
    expected = [
        metrics.mean_pinball_loss(target, each[:, :, j], alpha=q) for j, q in enumerate(quantiles)
    ]
    assert float(QuantileLoss(quantiles).value(z, target)) == pytest.approx(np.mean(expected))


def scores_of(loss, z, targets):
    """The gradient of each row for each of its possible targets, ``(len(targets), m, n)``."""
    grads = [loss.value_and_grad(z, np.full(z.shape[0], t))[1] for t in targets]
    return np.stack(grads) * z.shape[0]


def given_probabilities(loss, z):
    """Targets of a row, with the probabilities that the model gives them."""
    if isinstance(loss, SoftMargin):
        return [-1.0, 1.0], loss.probabilities(z)
    if isinstance(loss, Ordinal):
        return range(z.shape[1] + 1), loss.probabilities(z)
    stats = pytest.importorskip("scipy.stats", reason="takes densities of SciPy")
    if isinstance(loss, NegativeBinomialNLL):
        t = np.arange(3000.0)
        return t, np.exp(negative_binomial(stats, z, t))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    if isinstance(loss, StudentTNLL):
        s = nodes / (1 - nodes**2)  # over the real line
        density = np.exp(student(stats, z, s))
        return s, density * weights * (1 + nodes**2) / (1 - nodes**2) ** 2
    t = 50.0 * (nodes + 1)
    return t, stats.expon.pdf(t, scale=np.exp(z)) * weights * 50.0


FISHER = {
    "soft_margin": (SoftMargin(), Z[:, :1]),
    "negative_binomial": (NegativeBinomialNLL(0.7), Z[:, :1]),
    "gamma": (GammaNLL(), Z[:2, :1]),
    "student_t": (StudentTNLL(3.0, 0.5), Z[:, :1]),
    "ordinal": (Ordinal(), -np.sort(-np.random.default_rng(1).normal(size=(3, 4)), axis=1)),
    "ordinal-two-classes": (Ordinal(), Z[:, :1]),
}


@pytest.mark.parametrize("weight", [None, np.array([1.0, 0.5, 3.0])], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", FISHER)
def test_fisher_is_expected_product_of_scores(name, weight, place):
    loss, z = FISHER[name]
    m, w = len(z), None if weight is None else weight[: len(z)]
    targets, p = given_probabilities(loss, z)
    scores, v = scores_of(loss, z, targets), np.random.default_rng(2).normal(size=z.shape)
    expected = np.einsum("mt,tmi,tmj,mj->mi", p, scores, scores, v)
    expected *= np.full((m, 1), 1 / m) if w is None else (w / w.sum())[:, None]
    given = None if w is None else place.array(w)
    found = loss.fisher_product(place.array(z), place.array(v), given)
    np.testing.assert_allclose(place.host(found), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [GammaNLL(), TweedieNLL(1.3), NegativeBinomialNLL(0.7)], ids=repr)
def test_fisher_is_hessian_at_the_mean(loss):
    """The second derivative is linear in the target."""
    v = np.ones_like(Z)
    found = loss.fisher_product(Z, v)
    np.testing.assert_allclose(found, loss.hessian_product(Z, np.exp(Z), v), rtol=1e-13)
