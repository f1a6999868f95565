"""Greedy layer-wise supervised pre-training."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array
from xpnet.errors import require, require_type
from xpnet.layers import Dense
from xpnet.losses import Loss
from xpnet.model import Sequential
from xpnet.optimizers import Optimizer
from xpnet.random import Rng, as_generator
from xpnet.training import History
from xpnet.transfer.layers import copy_layers, first_layers


def pretrain_layers(
    model: Sequential,
    X: Array,
    y: Array,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int = 10,
    rng: Rng = 0,
    **settings: Any,
) -> tuple[History, ...]:
    """Train one hidden layer at a time, each under a temporary output layer; then fine-tune.

    Layer ``l`` learns to predict ``y`` from what the layers before it emit, which stay as they
    are; its temporary output layer is then thrown away, but the last one becomes the model's own,
    so that it can predict. No gradient has to come down through more than one hidden layer. A
    hidden layer is a `Dense` with all that follows before the next: batch norm, activation,
    dropout. Afterwards the whole model is trained::

        pretrain_layers(model, X, y, loss=CrossEntropy(), optimizer=SGD(lr=0.5))
        model.fit(X, y, loss=CrossEntropy(), optimizer=SGD(lr=0.1))

    Args:
        model: layers of which the last is a `Dense` and at least one more is; changed in place.
        X: features, as `Sequential.fit` takes them.
        y: targets, as `Sequential.fit` takes them.
        loss: the loss of every temporary model.
        optimizer: the optimizer, begun anew for every layer.
        epochs: passes over the data for every layer, at least 1; default 10.
        rng: seed or generator of the temporary output layers, the batches and the masks.
        **settings: more of what `Sequential.fit` takes, such as ``batch_size``; ``validation`` as a
            share of the rows only.

    Returns:
        A `History` for each hidden layer.

    Raises:
        ArgumentError: if the model has no hidden layer, or another argument is not what it must be.

    Reference: Y. Bengio et al., "Greedy layer-wise training of deep networks", NIPS 2006,
    appendix, algorithm 3 (TrainGreedySupervisedDeepNet).

    >>> from xpnet import MLP, SGD, CrossEntropy, Sigmoid
    >>> from xpnet.data import load_digits
    >>> digits = load_digits()
    >>> model = MLP(64, [16, 16], 10, activation=Sigmoid())
    >>> histories = pretrain_layers(
    ...     model, digits.X_train, digits.y_train, loss=CrossEntropy(), optimizer=SGD(lr=0.1),
    ...     epochs=2, progress=False,
    ... )
    >>> [len(history) for history in histories]
    [2, 2]
    """
    require_type(model, Sequential, "model")
    is_pair = isinstance(settings.get("validation"), (tuple, list))
    require(not is_pair, "validation", "be a share of the rows", settings.get("validation"))
    dense = [i for i, layer in enumerate(model.layers) if isinstance(layer, Dense)]
    ok = len(dense) > 1 and dense[-1] == len(model.layers) - 1
    require(ok, "model", "have hidden Dense layers and end in a Dense one", model)
    stream = as_generator(rng)
    histories = []
    for start, stop in zip([0, *dense[1:-1]], dense[1:], strict=True):
        features = first_layers(model, start).predict(X) if start else X
        hidden = _under_an_output(model, start, stop, stream)
        history = hidden.fit(
            features, y, loss=loss, optimizer=optimizer, epochs=epochs, rng=stream, **settings
        )
        histories.append(history)
        last = stop == dense[-1]
        copy_layers(hidden, model, {i - start: i for i in range(start, stop + last)})
        if last:
            model.loss, model.classes = hidden.loss, hidden.classes
    return tuple(histories)


def _under_an_output(model: Sequential, start: int, stop: int, rng: Rng) -> Sequential:
    """The layers from ``start`` on as they are, and a new output layer instead of ``stop``."""
    hidden = Sequential(
        [*model.layers[start:stop], model.layers[-1]],
        model.network.widths[start - 1] if start else model.n_in,
        backend=model.backend,
        rng=rng,
        preprocessing=None if start else model.preprocessing,
        classes=model.classes,
    )
    copy_layers(model, hidden, {i: i - start for i in range(start, stop)})
    return hidden
