"""Hints: train the hidden layer of a student to predict that of a teacher."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, on_device_of, to_numpy
from xpnet.errors import require, require_count, require_type
from xpnet.layers import Dense
from xpnet.losses import HalfMSE
from xpnet.model import Sequential
from xpnet.optimizers import Optimizer
from xpnet.random import Rng, as_generator
from xpnet.training import History
from xpnet.transfer.layers import copy_layers, first_layers


@on_device_of("student")
def fit_hints(
    student: Sequential,
    teacher: Sequential,
    X: Array,
    *,
    student_layer: int,
    teacher_layer: int,
    optimizer: Optimizer,
    epochs: int = 20,
    rng: Rng = 0,
    **settings: Any,
) -> History:
    """Train the first layers of a student to predict a layer of a teacher, the first FitNets stage.

    The layers of the student up to ``student_layer`` and a temporary linear layer ``r`` minimize
    ``½ ‖u(x) − r(v(x))‖²``, with the output ``u`` of ``teacher_layer`` and the output ``v`` of
    ``student_layer``. Labels are not needed. The second stage trains the whole student, on labels
    or with `xpnet.Distillation`.

    Args:
        student: the model to train; changed in place.
        teacher: the trained model; not changed. Each model applies its own preprocessing.
        X: the features, as for `Sequential.fit`.
        student_layer: the index of the guided layer, from 0.
        teacher_layer: the index of the hint layer, from 0.
        optimizer: the optimizer.
        epochs: the number of passes over the data, at least 1. Default 20.
        rng: the seed or generator of the regressor, the batches and the dropout masks.
        **settings: further arguments of `Sequential.fit`, such as ``batch_size``.

    Returns:
        The `History` of the regression.

    Raises:
        ArgumentError: if a model has no such layer, or another argument is invalid.

    Reference: A. Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, equation 3 and
    algorithm 1. The regressor here is linear.

    >>> from xpnet import MLP, Adam
    >>> from xpnet.data import load_digits
    >>> X, student, teacher = load_digits().X_train, MLP(64, [8, 8], 10), MLP(64, [32], 10, rng=1)
    >>> guided = {"student_layer": 0, "teacher_layer": 0}
    >>> history = fit_hints(student, teacher, X, optimizer=Adam(), progress=False, **guided)
    >>> history["loss"][-1] < history["loss"][0]
    True
    """
    for name, model, index in (
        ("student", student, student_layer),
        ("teacher", teacher, teacher_layer),
    ):
        require_type(model, Sequential, name)
        require_count(index, f"{name}_layer", low=0)
        last = len(model.layers) - 1
        require(index <= last, f"{name}_layer", f"be at most {last}, its last layer", index)
    stream = as_generator(rng)
    hint = to_numpy(first_layers(teacher, teacher_layer + 1).predict(X))
    guided = range(student_layer + 1)
    regressed = Sequential(
        [*(student.layers[i] for i in guided), Dense(hint.shape[1])],
        student.n_in,
        backend=student.backend,
        rng=stream,
        preprocessing=student.preprocessing,
    )
    copy_layers(student, regressed, guided)
    history = regressed.fit(
        X, hint, loss=HalfMSE(), optimizer=optimizer, epochs=epochs, rng=stream, **settings
    )
    copy_layers(regressed, student, guided)
    return history
