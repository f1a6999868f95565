"""Greedy layer-wise supervised pre-training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xpnet.backend import Array, on_device_of
from xpnet.errors import require, require_type
from xpnet.layers import Dense
from xpnet.losses import Loss
from xpnet.model import Sequential
from xpnet.optimizers import Optimizer
from xpnet.random import Rng, as_generator
from xpnet.training import History
from xpnet.transfer.layers import copy_layers, first_layers


@on_device_of("model")
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
    """Train the hidden layers one after another, each with a temporary output layer.

    Layer ``l`` and its output layer are trained to predict ``y`` from the output of the layers
    before, which are fixed. The temporary output layers are discarded, except that the last one
    becomes the output layer of the model. No gradient passes through more than one hidden layer. A
    hidden layer is a `Dense` layer with all layers up to the next one: batch norm, activation,
    dropout. Afterwards, train the whole model::

        pretrain_layers(model, X, y, loss=CrossEntropy(), optimizer=SGD(lr=0.5))
        model.fit(X, y, loss=CrossEntropy(), optimizer=SGD(lr=0.1))

    Args:
        model: a model with at least two `Dense` layers, one of which is the last layer; changed in
            place.
        X: the features, as for `Sequential.fit`.
        y: the targets, as for `Sequential.fit`.
        loss: the loss of every temporary model.
        optimizer: the optimizer, with a new state for every layer.
        epochs: the number of passes over the data for every layer, at least 1. Default 10.
        rng: the seed or generator of the temporary output layers, the batches and the dropout
            masks.
        **settings: further arguments of `Sequential.fit`, such as ``batch_size``; ``validation``
            must be a fraction of the rows.

    Returns:
        The `History` of each hidden layer.

    Raises:
        ArgumentError: if the model has no hidden layer, or another argument is invalid.

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
    require(not is_pair, "validation", "be a fraction of the rows", settings.get("validation"))
    dense = [i for i, layer in enumerate(model.layers) if isinstance(layer, Dense)]
    ok = len(dense) > 1 and dense[-1] == len(model.layers) - 1
    require(ok, "model", "have hidden Dense layers and end in a Dense layer", model)
    stream = as_generator(rng)
    histories = []
    for start, stop in zip([0, *dense[1:-1]], dense[1:], strict=True):
        features = first_layers(model, start).predict(X) if start else X
        hidden = _with_output_layer(model, start, stop, stream)
        history = hidden.fit(
            features, y, loss=loss, optimizer=optimizer, epochs=epochs, rng=stream, **settings
        )
        histories.append(history)
        last = stop == dense[-1]
        copy_layers(hidden, model, {i - start: i for i in range(start, stop + last)})
        if last:
            model.loss, model.classes, model.trained = hidden.loss, hidden.classes, True
            targets = hidden.input_spec.targets
            model.input_spec = replace(model.input_spec, targets=targets)
    return tuple(histories)


def _with_output_layer(model: Sequential, start: int, stop: int, rng: Rng) -> Sequential:
    """Return the layers from ``start`` to before ``stop``, followed by a new output layer."""
    hidden = Sequential(
        [*model.layers[start:stop], model.layers[-1]],
        model.network.widths[start - 1] if start else model.n_in,
        backend=model.backend,
        rng=rng,
        preprocessing=None if start else model.preprocessing,
        classes=model.classes,
    )
    hidden.input_spec = replace(hidden.input_spec, targets=model.input_spec.targets)
    copy_layers(model, hidden, {i: i - start for i in range(start, stop)})
    return hidden
