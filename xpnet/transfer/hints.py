"""Hints: a student's hidden layer learns to say what a teacher's says."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, to_numpy
from xpnet.errors import require, require_count, require_type
from xpnet.layers import Dense
from xpnet.losses import HalfMSE
from xpnet.model import Sequential
from xpnet.optimizers import Optimizer
from xpnet.random import Rng, as_generator
from xpnet.training import History
from xpnet.transfer.layers import copy_layers, first_layers


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
    """FitNets' first stage: regress a student's layer onto a teacher's, through a regressor.

    The student's layers up to ``student_layer`` and a temporary linear layer ``r`` minimize
    ``½ ‖u(x) − r(v(x))‖²``, where ``u`` is what ``teacher_layer`` emits and ``v`` what
    ``student_layer`` does. No labels are needed. The second stage trains the whole student, on
    labels or by `xpnet.Distillation`.

    Args:
        student: the model whose layers are trained; changed in place.
        teacher: the trained model; unchanged. Each model applies its own preprocessing.
        X: features, as `Sequential.fit` takes them.
        student_layer: the index of the guided layer, from 0.
        teacher_layer: the index of the hint layer, from 0.
        optimizer: the optimizer.
        epochs: passes over the data, at least 1; default 20.
        rng: seed or generator of the regressor, the batches and the masks.
        **settings: more of what `Sequential.fit` takes, such as ``batch_size``.

    Returns:
        The `History` of the regression.

    Raises:
        ArgumentError: if a model has no such layer, or another argument is not what it must be.

    Reference: A. Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, equation 3 and
    algorithm 1. The regressor here is linear.

    >>> from xpnet import MLP, Adam
    >>> from xpnet.data import load_digits
    >>> X, student, teacher = load_digits().X_train, MLP(64, [8, 8], 10), MLP(64, [32], 10, rng=1)
    >>> places = {"student_layer": 0, "teacher_layer": 0}
    >>> history = fit_hints(student, teacher, X, optimizer=Adam(), progress=False, **places)
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
