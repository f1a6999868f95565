"""Raw features, targets and weights on their way to a network: checked, prepared, split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from xpnet.backend import Array, Backend, as_array
from xpnet.data.batching import Rows, is_bytes
from xpnet.data.checks import are_finite, check_features, check_table, first_not_finite
from xpnet.data.preprocessing import MinMax, Standardize, columns_of
from xpnet.data.streaming import stays_on_host
from xpnet.data.targets import encode_targets
from xpnet.errors import Phrase, require
from xpnet.losses import Loss
from xpnet.losses.base import check_weight, is_kind
from xpnet.parameters import Layout

REAL = ("bool", "integral", "real floating")
"""The kinds of dtypes that directions and parameters may come in."""


class Prepares(Protocol):
    """What the way to a network needs of a model."""

    preprocessing: Standardize | MinMax | None

    @property
    def backend(self) -> Backend:
        """Where the arrays go."""
        ...

    @property
    def n_in(self) -> int:
        """The number of features."""
        ...

    @property
    def n_out(self) -> int:
        """The number of outputs."""
        ...

    def inputs(self, X: Array) -> Array:
        """Rows as the network takes them."""
        ...


Validation = tuple[Array, Array] | float | None
"""What to validate on: ``(X, y)``, a share of the rows, or nothing."""


def checked_features(model: Prepares, X: Any) -> Array:
    """``X`` as an array of ``n_in`` finite columns.

    Raises:
        ArgumentError: if it is not that.
    """
    X = _array(model, X)
    check_features(X, model.n_in)
    return X


def checked_by_part(
    model: Prepares, X: Any, prepare: Callable[[Array], Array]
) -> tuple[Array, Callable[[Array], Array]]:
    """``X`` as an array of ``n_in`` columns, and what prepares a part of it that is finite.

    A part is in the cache when it has been looked at: the whole would be read twice.

    Raises:
        ArgumentError: if it is not that; a number that is not finite is told when its part comes.
    """
    X = _array(model, X)
    check_table(X, model.n_in)

    def checked(part: Array) -> Array:
        if not are_finite(part):
            check_features(X, model.n_in)  # tells which number of all it is
        return prepare(part)

    return X, checked


def _array(model: Prepares, X: Any) -> Array:
    X = as_array(X)
    if not isinstance(X, np.ndarray):
        model.backend.asarray(X)  # refuses the arrays of another device library
    return X


def batch_of(
    model: Prepares, loss: Loss, X: Array, y: Array, weight: Array | None, check: bool
) -> tuple[Array, Array, Array | None]:
    """Network inputs, targets and weights on the backend of ``model``, checked if asked for."""
    if check:
        X = checked_features(model, X)
        y = as_array(y)
        loss.check(y, model.n_out, X.shape[0])
        if weight is not None:
            weight = as_array(weight)
            check_weight(weight, X.shape[0], "weight")
    backend = model.backend
    weight = None if weight is None else backend.asarray(weight, backend.dtype)
    return backend.asarray(X, backend.dtype), backend.asarray(y), weight


def real_numbers(backend: Backend, value: Array, name: str) -> Array:
    """``value`` on the backend in its dtype, if it holds real numbers."""
    require(is_kind(value, REAL), name, "hold real numbers", value)
    return backend.asarray(value, backend.dtype)


def vector(backend: Backend, layout: Layout, value: Any, name: str) -> Array:
    """``value`` on the backend in its dtype, if it is one number a parameter."""
    value = as_array(value)
    rule = f"have the shape ({layout.size},), one number a parameter"
    require(tuple(value.shape) == (layout.size,), name, rule, value)
    return real_numbers(backend, value, name)


def finite_vector(backend: Backend, layout: Layout, value: Any, name: str) -> Array:
    """`vector`, if its numbers are finite; on a device this waits for it."""
    given = vector(backend, layout, value, name)
    index = first_not_finite(given)
    if index is not None:
        got = Phrase(f"{float(given[index])} in {layout.where(index)}")
        require(False, name, "be finite", got)
    return given


def rows_of(model: Prepares, X: Array, y: Array, weight: Array | None) -> Rows:
    """Rows on the backend; a `numpy.memmap` and what is too large for a device stay where they are.

    On a device bytes stay bytes, a quarter of the memory: each batch is scaled on its way.
    """
    backend, columns = model.backend, None
    keep = not backend.is_host and backend.dtype_name == "float32" and is_bytes(X)
    if not stays_on_host(backend, X, X.dtype if keep else backend.dtype_name):
        if keep and model.preprocessing is not None:
            columns = columns_of(model.preprocessing, model.n_in).astype(np.float32)
        X = backend.asarray(X) if keep else model.inputs(X)
    y = model.backend.asarray(y)
    if model.backend.xp.isdtype(y.dtype, "real floating"):
        y = model.backend.asarray(y, model.backend.dtype)
    return Rows(model.backend, X, y, weight, model.inputs, columns)


def split_rows(
    model: Prepares,
    X: Array,
    y: Array,
    weight: Array | None,
    validation: Validation,
    loss: Loss,
    classes: Sequence[Any] | None,
    stream: np.random.Generator,
) -> tuple[Rows, Rows | None]:
    """The rows to train on and the rows to validate on.

    Raises:
        ArgumentError: if ``validation`` is neither a pair nor a share that leaves rows on both
            sides.
    """
    if validation is None:
        return rows_of(model, X, y, weight), None
    if isinstance(validation, (tuple, list)) and len(validation) == 2:
        X_val = checked_features(model, validation[0])
        names = None if classes is None else tuple(classes)
        y_val, _ = encode_targets(validation[1], loss, model.n_out, X_val.shape[0], names)
        return rows_of(model, X, y, weight), rows_of(model, X_val, y_val, None)
    ok = isinstance(validation, float) and 0 < validation < 1
    rule = "be a pair (X, y) or a fraction between 0 and 1"
    require(ok, "validation", rule, validation)
    return _held_out(model, rows_of(model, X, y, weight), float(validation), stream)


def _held_out(
    model: Prepares, rows: Rows, fraction: float, stream: np.random.Generator
) -> tuple[Rows, Rows]:
    order = stream.permutation(rows.n_rows)
    n_held = round(fraction * rows.n_rows)
    rule = f"leave rows on both sides of {rows.n_rows}"
    require(0 < n_held < rows.n_rows, "validation", rule, fraction)
    is_file = isinstance(rows.X, np.memmap)
    require(not is_file, "validation", "be a pair (X, y) for data in a file", fraction)
    xp, parts = model.backend.xp, []
    for indices in map(np.sort, (order[n_held:], order[:n_held])):
        index = model.backend.asarray(indices)
        weight = None if rows.weight is None else xp.take(rows.weight, index, axis=0)
        y = xp.take(rows.y, index, axis=0)
        X = rows.X[indices] if rows.streamed else xp.take(rows.X, index, axis=0)
        parts.append(Rows(model.backend, X, y, weight, model.inputs, rows.columns))
    return parts[0], parts[1]
