"""Targets of a student from the logits of its teacher."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, on_device_of, to_numpy
from xpnet.data.prepare import as_features
from xpnet.data.targets import encode_targets
from xpnet.errors import require, require_type
from xpnet.losses import CrossEntropy, Distillation
from xpnet.model import Sequential


@on_device_of("teacher")
def distillation_targets(teacher: Sequential, X: Array, y: Array) -> np.ndarray[Any, Any]:
    """Return the targets of `Distillation`: rows of the logits of the teacher and the label.

    Train a student on these targets, and evaluate it on labels::

        targets = distillation_targets(teacher, X, y)
        student.fit(X, targets, loss=Distillation(temperature=4.0, share=0.9), optimizer=Adam())

    Args:
        teacher: a model trained with `CrossEntropy` or `Distillation`.
        X: the features, as for ``teacher.predict``.
        y: the labels, ``(m,)``: class indices, or class names of the teacher.

    Returns:
        A NumPy array of rows ``[v_1 … v_K, label]``, ``(m, K + 1)``.

    Raises:
        ArgumentError: if the teacher has another loss, or a label is not one of its classes.

    >>> from xpnet import MLP
    >>> teacher = MLP(4, [8], 3, loss=CrossEntropy())
    >>> distillation_targets(teacher, np.zeros((2, 4)), np.array([0, 2]))
    array([[0., 0., 0., 0.],
           [0., 0., 0., 2.]], dtype=float32)
    """
    require_type(teacher, Sequential, "teacher")
    ok = isinstance(teacher.loss, (CrossEntropy, Distillation))
    do = "Its outputs must be logits of classes."
    require(ok, "teacher", "have been trained with CrossEntropy", teacher.loss, do)
    X = as_features(teacher.input_spec, X)
    logits = to_numpy(teacher.forward(teacher.input_spec.network_inputs(X)))
    labels, _ = encode_targets(y, CrossEntropy(), teacher.n_out, len(logits), teacher.classes)
    rule = f"have the shape ({len(logits)},)"
    require(labels.ndim == 1, "y", rule, labels, "Distillation takes one label per row.")
    column = to_numpy(labels)[:, None].astype(logits.dtype)
    return np.concatenate([logits, column], axis=1)
