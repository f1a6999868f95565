"""Every loss written a second time in PyTorch, of which autograd knows the derivatives.

`LOSSES` has at least one row for each loss. A row may also be of a loss that this version of xpnet
does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpnet
from xpnet import Dense, losses

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional


def values(rng, m, k):
    return rng.normal(size=(m, k))


def bits(rng, m, k):
    return rng.integers(0, 2, (m, k))


def signs(rng, m, k):
    return rng.choice([-1.0, 1.0], (m, k))


def counts(rng, m, k):
    return rng.poisson(2.0, (m, k)).astype(float)


def positive(rng, m, k):
    return rng.uniform(0.5, 3.0, (m, k))


def classes(rng, m, k):
    return rng.integers(0, k, m)


def rows_of_probabilities(rng, m, k):
    return rng.dirichlet(np.ones(k), m)


def taught(rng, m, k):
    return np.column_stack([rng.normal(size=(m, k)), rng.integers(0, k, m)])


class Row(NamedTuple):
    """A row of `LOSSES`.

    Attributes:
        arguments: those of the loss, or a function that returns it.
        n_out: the number of outputs.
        targets: a function of a generator, a number of rows and of columns or classes.
        rows: the loss of each row in PyTorch, ``f(loss, z, t)``.
        width: the number of columns or classes of the targets; ``None``: that of the outputs.
        last: returns the last layers of a network; ``None``: a linear layer.
    """

    arguments: tuple[Any, ...] | Callable[[], Any]
    n_out: int
    targets: Any
    rows: Any
    width: int | None = None
    last: Callable[[], list[Any]] | None = None

    def target(self, rng, m):
        return self.targets(rng, m, self.n_out if self.width is None else self.width)

    def last_layers(self):
        return [Dense(self.n_out)] if self.last is None else self.last()


def cross_entropy(loss, z, t):
    t = t.long() if t.ndim == 1 else t
    return F.cross_entropy(z, t, reduction="none", label_smoothing=loss.label_smoothing)


def gaussian(loss, z, t):
    k = z.shape[1] // 2
    return F.gaussian_nll_loss(z[:, :k], t, z[:, k:].exp(), reduction="none", eps=0).sum(1)


def distillation(loss, z, t):
    T, teacher, label = loss.temperature, t[:, :-1], t[:, -1].long()
    soft = F.cross_entropy(z / T, torch.softmax(teacher / T, 1), reduction="none")
    hard = F.cross_entropy(z, label, reduction="none")
    return loss.share * T * T * soft + (1 - loss.share) * hard


def heads(loss, z, t):
    """Three classes, a mean with its variance, and two values."""
    c, (first, second, third) = loss.weights, loss.losses
    return (
        c[0] * cross_entropy(first, z[:, :3], t[:, 0])
        + c[1] * gaussian(second, z[:, 3:5], t[:, 1:2])
        + c[2] * F.huber_loss(z[:, 5:], t[:, 2:], reduction="none", delta=third.delta).mean(1)
    )


def targets_of_heads(rng, m, k):
    return np.column_stack([rng.integers(0, 3, m), rng.normal(size=(m, k - 1))])


def quantiles(loss, z, t):
    q = torch.tensor(loss.quantiles, dtype=z.dtype)
    d = t[:, :, None] - z.reshape(len(z), t.shape[1], len(q))
    return torch.maximum(q * d, (q - 1) * d).mean((1, 2))


def expectile(loss, z, t):
    above = (t < z).to(z.dtype)
    return ((above * (1 - loss.tau) + (1 - above) * loss.tau) * (z - t) ** 2).mean(1)


def focal(loss, z, t):
    log_p = torch.log_softmax(z, 1).gather(1, t.long()[:, None])[:, 0]
    return -((1 - log_p.exp()) ** loss.gamma) * log_p


def binary_focal(loss, z, t):
    p, alpha = torch.sigmoid(z), loss.alpha
    one = alpha * t * (1 - p) ** loss.gamma * -torch.log(p)
    return (one + (1 - alpha) * (1 - t) * p**loss.gamma * -torch.log(1 - p)).sum(1)


def student(loss, z, t):
    inside = 1 + ((z - t) / loss.scale) ** 2 / loss.df
    return 0.5 * (loss.df + 1) * torch.log(inside).sum(1)


def tweedie(loss, z, t):
    p, mean = loss.power, z.exp()
    return (t * mean ** (1 - p) / (p - 1) + mean ** (2 - p) / (2 - p)).sum(1)


def negative_binomial(loss, z, t):
    a, mean = loss.dispersion, z.exp()
    return (t * torch.log1p(1 / (a * mean)) + torch.log1p(a * mean) / a).sum(1)


def ordinal(loss, z, t):
    at_least = torch.sigmoid(z)
    ends = torch.ones_like(z[:, :1]), torch.zeros_like(z[:, :1])
    p = torch.cat([ends[0], at_least], 1) - torch.cat([at_least, ends[1]], 1)
    return -torch.log(p.gather(1, t.long()[:, None])[:, 0])


def formula():
    return losses.from_formula(lambda xp, z, t, c: xp.log(xp.cosh(c * (z - t))), name="f", c=1.3)


LOSSES = {
    "HalfMSE": Row((), 3, values, lambda _, z, t: 0.5 * ((z - t) ** 2).sum(1)),
    "MSE": Row((), 3, values, lambda _, z, t: ((z - t) ** 2).mean(1)),
    "MAE": Row((), 3, values, lambda _, z, t: (z - t).abs().mean(1)),
    "Huber": Row(
        (0.8,),
        3,
        values,
        lambda loss, z, t: F.huber_loss(z, t, reduction="none", delta=loss.delta).mean(1),
    ),
    "CrossEntropy": Row((), 3, classes, cross_entropy),
    "CrossEntropy of rows": Row((0.1,), 3, rows_of_probabilities, cross_entropy),
    "BinaryCrossEntropy": Row(
        (),
        2,
        bits,
        lambda _, z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1),
    ),
    "Hinge": Row((), 2, signs, lambda _, z, t: F.relu(1 - t * z).sum(1)),
    "PerceptronLoss": Row((), 2, signs, lambda _, z, t: F.relu(-t * z).sum(1)),
    "PoissonNLL": Row((), 2, counts, lambda _, z, t: (z.exp() - t * z).sum(1)),
    "GaussianNLL": Row((), 4, values, gaussian, width=2),
    "Distillation": Row((2.0,), 3, taught, distillation),
    "FormulaLoss": Row(
        formula, 2, values, lambda _, z, t: torch.log(torch.cosh(1.3 * (z - t))).sum(1)
    ),
    "Heads": Row(
        lambda: losses.Heads(
            [losses.CrossEntropy(0.1), losses.GaussianNLL(), losses.Huber(0.8)],
            widths=[3, 2, 2],
            weights=[1.0, 0.3, 2.0],
        ),
        7,
        targets_of_heads,
        heads,
        width=4,
    ),
    "QuantileLoss": Row(((0.1, 0.5, 0.8),), 6, values, quantiles, width=2),
    "Expectile": Row((0.8,), 2, values, expectile),
    "LogCosh": Row((), 2, values, lambda _, z, t: torch.log(torch.cosh(z - t)).mean(1)),
    "StudentTNLL": Row(
        (
            3.0,
            0.7,
        ),
        2,
        values,
        student,
    ),
    "GammaNLL": Row((), 2, positive, lambda _, z, t: (z + t * torch.exp(-z)).sum(1)),
    "TweedieNLL": Row((1.3,), 2, positive, tweedie),
    "NegativeBinomialNLL": Row((0.6,), 2, counts, negative_binomial),
    "SoftMargin": Row((), 2, signs, lambda _, z, t: F.softplus(-t * z).sum(1)),
    "BinaryFocal": Row((), 2, bits, binary_focal),
    "Focal": Row((1.5,), 3, classes, focal),
    "Ordinal": Row(
        (),
        3,
        classes,
        ordinal,
        width=4,
        last=lambda: [Dense(1), xpnet.OrderedThresholds(3)],
    ),
}


def loss_of(name):
    """The loss of a row, which has its name up to the first space."""
    given = LOSSES[name].arguments
    return given() if callable(given) else getattr(losses, name.split()[0])(*given)


def mean_loss(row, loss, z, t, weight=None):
    """The weighted mean over the rows."""
    each = row.rows(loss, z, t)
    return each.mean() if weight is None else (weight * each).sum() / weight.sum()
