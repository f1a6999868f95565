"""Class labels: encoding as indices, one-hot encoding, and class weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpnet.backend import DTYPES, Array, HostArray, as_array, is_kind, namespace_of
from xpnet.data.checks import as_host_vector, as_vector
from xpnet.errors import Phrase, require, require_count, require_number, unknown_name


def encode_labels(y: Any, classes: Any = None) -> tuple[HostArray, HostArray]:
    """Encode labels, such as class names, as class indices.

    ``classes[indices]`` recovers the labels. Encode test labels with the classes of the training
    labels, so that both use the same indices.

    Args:
        y: m labels, a list or an array of any backend: strings, integers or booleans.
        classes: the known classes, in the order of their indices; ``None`` (default) takes the
            sorted distinct labels of ``y``.

    Returns:
        The indices, int64 of shape (m,), and the classes, shape (K,), as NumPy arrays.

    Raises:
        ArgumentError: if ``y`` is not 1-D, is empty or holds floating-point numbers, or a label is
            not in ``classes``; the message names the first such label and its row.

    >>> indices, classes = encode_labels(["cat", "dog", "cat"])
    >>> indices.tolist(), classes.tolist()
    ([0, 1, 0], ['cat', 'dog'])
    >>> encode_labels(["dog"], classes)[0].tolist()
    [1]
    """
    labels = _as_labels(y, "y")
    if classes is None:
        known, indices = np.unique(labels, return_inverse=True)
        return indices.astype(np.int64), known
    known = _as_labels(classes, "classes")
    require(len(np.unique(known)) == len(known), "classes", "be distinct", known)
    same = (known.dtype.kind == "U") == (labels.dtype.kind == "U")
    require(same, "y", f"hold labels of the kind of classes, {known.dtype.name}", labels)
    order = np.argsort(known)
    position = np.minimum(np.searchsorted(known[order], labels), len(known) - 1)
    indices = order[position]
    unknown = np.flatnonzero(known[indices] != labels)
    if unknown.size:
        row = int(unknown[0])
        names = [str(label) for label in known.tolist()]
        raise unknown_name(f"the label in row {row} of y", str(labels[row]), names)
    return indices.astype(np.int64), known


def one_hot(y: Array, n_classes: int, dtype: str = "float32") -> Array:
    """Encode class indices as rows ``Y[i, k] = 1 if y[i] == k else 0``, k = 0, …, K − 1.

    Args:
        y: class indices, integers of shape (m,), an array of any backend.
        n_classes: K, at least 1 and greater than the largest index.
        dtype: ``"float32"`` (default) or ``"float64"``.

    Returns:
        An array of shape (m, K) on the backend and device of ``y``.

    Raises:
        ArgumentError: if ``y`` is not 1-D integers in [0, K), or ``dtype`` is unknown.

    >>> one_hot(np.array([1, 0]), 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    require_count(n_classes, "n_classes")
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    y = as_array(y, "y")
    xp = namespace_of(y)
    require(is_kind(y, "integral"), "y", "hold class indices, which are integers", y)
    require(y.ndim == 1 and y.shape[0] >= 1, "y", "be 1-D and not empty", y)
    low, high = int(xp.min(y)), int(xp.max(y))
    rule = f"hold class indices of 0 to {n_classes - 1}"
    require(low >= 0 and high < n_classes, "y", rule, low if low < 0 else high)
    columns = xp.arange(n_classes, dtype=xp.int64, device=y.device)
    is_class = xp.astype(y, xp.int64)[:, None] == columns[None, :]
    return xp.astype(is_class, getattr(xp, dtype))


def balanced_class_weights(y: Any) -> HostArray:
    """Return class weights inversely proportional to class frequency: ``w_k = m / (K · m_k)``.

    With these weights every class has the same total weight, and the weights of the m samples have
    mean 1. K is the number of classes that occur in ``y``, and ``m_k`` the number of samples of
    class k; a class that does not occur has weight 0.

    Args:
        y: m class indices or class names, a list or an array of any backend.

    Returns:
        The weights of the classes 0 to ``max(y)``, or of the class names in sorted order, a float64
        NumPy array: the argument ``class_weight`` of `Sequential.fit`.

    Raises:
        ArgumentError: if ``y`` does not hold integers of at least 0 or strings, or is empty.

    Reference: G. King, L. Zeng, "Logistic Regression in Rare Events Data", 2001.

    >>> balanced_class_weights([0, 0, 0, 1]).round(3).tolist()
    [0.667, 2.0]
    """
    y = as_vector(as_array(y, "y"))
    has_names = isinstance(y, np.ndarray) and y.dtype.kind in "OUST"
    indices = encode_labels(y)[0] if has_names else _as_indices(y)
    counts = np.bincount(indices)
    share = len(indices) / np.count_nonzero(counts)
    return np.where(counts > 0, share / np.maximum(counts, 1), 0.0)


def sample_weights(
    y: Any,
    class_weight: Mapping[int, float] | Sequence[float],
    n_classes: int | None = None,
) -> HostArray:
    """Return the weight of each sample, which is that of its class: ``class_weight[y]``.

    Args:
        y: m class indices, a list or an array of any backend.
        class_weight: weights of at least 0, a sequence in the order of the class indices or a
            mapping from class indices; a class missing in a mapping has weight 1.
        n_classes: the number of classes, which ``class_weight`` must not exceed; ``None``
            (default) sets no limit.

    Returns:
        Weights of shape (m,), a float64 NumPy array.

    Raises:
        ArgumentError: if ``y`` is not 1-D integers of at least 0, a weight is negative or not
            finite, a key is not a class index, or a sequence does not fit the number of classes.

    >>> sample_weights([0, 2, 1], {2: 5.0}).tolist()
    [1.0, 5.0, 1.0]
    """
    indices = _as_indices(y)
    needed = int(indices.max()) + 1
    limit = needed if n_classes is None else n_classes
    if isinstance(class_weight, Mapping):
        for index in class_weight:
            _check_key(index, n_classes)
        weights = [class_weight.get(k, 1.0) for k in range(limit)]
    else:
        do = "balanced_class_weights(y) computes weights."
        ok = hasattr(class_weight, "__len__") and not isinstance(class_weight, str)
        rule = "be a mapping by class, or numbers in order"
        require(ok, "class_weight", rule, class_weight, do)
        weights = list(class_weight)
        got = Phrase(f"{len(weights)} weights")
        rule = f"have a weight for each of {needed} classes"
        require(len(weights) >= needed, "class_weight", rule, got)
        if n_classes is not None:
            rule = f"have at most one weight for each of {n_classes} classes"
            require(len(weights) <= n_classes, "class_weight", rule, got)
    for index, weight in enumerate(weights):
        require_number(weight, f"class_weight[{index}]", low=0)
    return np.array(weights, dtype=np.float64)[indices]


def whole_numbers(y: Array) -> Array:
    """Return booleans and floating-point whole numbers as int64; other arrays unchanged.

    >>> whole_numbers(np.array([0.0, 1.0])), whole_numbers(np.array([0.5, 1.0]))
    (array([0, 1]), array([0.5, 1. ]))
    """
    xp = namespace_of(y)
    if is_kind(y, "bool"):
        return xp.astype(y, xp.int64)
    if not is_kind(y, "real floating"):
        return y
    is_whole = (xp.abs(y) <= 2.0**53) & (y == xp.round(y))
    return xp.astype(y, xp.int64) if bool(xp.all(is_whole)) else y


def _check_key(index: Any, n_classes: int | None) -> None:
    """Refuse a key of ``class_weight`` that is not a class index."""
    is_label = isinstance(index, (bool, np.bool, float, np.floating))
    if is_label and float(index).is_integer():
        index = int(index)
    require_count(index, "a key of class_weight", low=0)
    if n_classes is not None:
        rule = f"be a class index of 0 to {n_classes - 1}"
        require(index < n_classes, "a key of class_weight", rule, index)


def _as_labels(values: Any, argument: str) -> HostArray:
    labels = as_host_vector(values, argument)
    if labels.dtype.kind in "OT" and all(isinstance(label, str) for label in labels):
        labels = labels.astype(np.str_)  # a column of a pandas data frame
    do = "Targets of a regression need no encoding."
    require(labels.dtype.kind in "iubU", argument, "hold strings or integers", labels, do)
    return labels


def _as_indices(y: Any) -> HostArray:
    indices: HostArray = whole_numbers(as_host_vector(y, "y"))
    rule = "hold class indices, which are integers"
    require(indices.dtype.kind in "iu", "y", rule, indices, "See encode_labels.")
    require(indices.min() >= 0, "y", "hold class indices of at least 0", int(indices.min()))
    return indices.astype(np.int64)
