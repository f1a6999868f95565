"""The classifiers that can be calibrated, and the likelihood of their labels."""

from __future__ import annotations

from xpnet.errors import require, require_type
from xpnet.losses import BinaryCrossEntropy, CrossEntropy, Distillation
from xpnet.model import Sequential


def likelihood_of(model: Sequential) -> CrossEntropy | BinaryCrossEntropy:
    """Return the loss that is the negative log-likelihood of labels under ``model``.

    It is the loss of the model without label smoothing and without the soft targets of a teacher.

    Raises:
        ArgumentError: if ``model`` is no model, or its loss defines no probabilities of classes.

    >>> from xpnet import MLP
    >>> likelihood_of(MLP(2, [], 3, loss=CrossEntropy(label_smoothing=0.1)))
    CrossEntropy(label_smoothing=0.0)
    """
    require_type(model, Sequential, "model")
    rule = "be CrossEntropy, BinaryCrossEntropy or Distillation, which define probabilities"
    do = "Call fit first, or give loss= when building the model." if model.loss is None else ""
    ok = isinstance(model.loss, (CrossEntropy, BinaryCrossEntropy, Distillation))
    require(ok, "the loss of model", rule, model.loss, do)
    return BinaryCrossEntropy() if isinstance(model.loss, BinaryCrossEntropy) else CrossEntropy()
