"""Copy layers from one model to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xpnet.backend import Array, on_device_of, to_numpy
from xpnet.errors import Phrase, require, require_count, require_type
from xpnet.model import Sequential
from xpnet.parameters import Layout


@on_device_of("target")
def copy_layers(
    source: Sequential, target: Sequential, layers: Iterable[int] | Mapping[int, int]
) -> None:
    """Copy the parameters and running statistics of layers from one model to another.

    To train only the other layers, wrap the optimizer in `xpnet.Frozen`::

        copy_layers(source, target, [0, 1])
        optimizer = Frozen(Adam(), target.layout, [0, 1])

    Weights from other libraries are written through ``model.layout.views(model.theta)``. The
    weights of a `Dense` layer have the shape ``(n_in, n_out)``, the transpose of PyTorch's
    ``Linear.weight``::

        views = model.layout.views(model.theta)
        views["layers.0.weight"][...] = linear.weight.detach().numpy().T

    If the last layer of the source becomes the last layer of the target, the target also gets
    ``source.target_scaling``, because the parameters of that layer determine outputs in its units.

    Args:
        source: the trained model; not changed.
        target: the model to copy to, of any backend and dtype; changed in place.
        layers: the indices of the layers, the same in both models, or a mapping from indices in
            ``source`` to indices in ``target``.

    Raises:
        ArgumentError: if there is no such layer, or if the parameters of two layers differ in name
            or shape; ``target`` is then not changed.

    >>> from xpnet import MLP
    >>> source, target = MLP(4, [8], 3, rng=1), MLP(4, [8], 5)
    >>> copy_layers(source, target, [0])
    >>> weights = [m.layout.views(m.theta)["layers.0.weight"] for m in (source, target)]
    >>> bool((weights[0] == weights[1]).all())
    True
    """
    require_type(source, Sequential, "source")
    require_type(target, Sequential, "target")
    pairs = dict(layers) if isinstance(layers, Mapping) else {index: index for index in layers}
    for a, b in pairs.items():
        _require_layer(a, source, "source")
        _require_layer(b, target, "target")
        shapes = _shapes(source, a), _shapes(target, b)
        rule = f"be like the source's layers.{a}, with {_as_text(shapes[0])}"
        require(shapes[0] == shapes[1], f"the target's layers.{b}", rule, _as_text(shapes[1]))
    copies = []  # read all before writing any, because both models may be the same
    for a, b in pairs.items():
        for from_layout, to_layout, from_vector, to_vector in (
            (source.layout, target.layout, source.theta, target.theta),
            (
                source.network.statistics_layout,
                target.network.statistics_layout,
                source.statistics,
                target.statistics,
            ),
        ):
            written = _of_layer(to_layout, to_vector, b)
            for name, view in _of_layer(from_layout, from_vector, a).items():
                copies.append((written[name], to_numpy(view).copy()))
    for view, host in copies:
        view[...] = target.backend.asarray(host, target.backend.dtype)
    is_output = pairs.get(len(source.layers) - 1) == len(target.layers) - 1
    if is_output and source.n_out == target.n_out:
        target.target_scaling = source.target_scaling


@on_device_of("model")
def first_layers(model: Sequential, n: int) -> Sequential:
    """Return a model of the first ``n`` layers, with copies of their parameters and statistics.

    Its ``predict`` computes the output of layer ``n − 1`` in evaluation mode, the features that
    the model has learned.

    Args:
        model: the model; not changed.
        n: the number of layers, from 1 to all.

    Returns:
        A model on the same backend with the same preprocessing, without loss and class names.

    Raises:
        ArgumentError: if ``n`` is out of its range.

    >>> import numpy as np
    >>> from xpnet import MLP
    >>> first_layers(MLP(4, [8, 5], 3), 2).predict(np.zeros((1, 4))).shape
    (1, 5)
    """
    require_type(model, Sequential, "model")
    require_count(n, "n")
    require(n <= len(model.layers), "n", f"be at most the {len(model.layers)} layers", n)
    first = Sequential(
        model.layers[:n], model.n_in, backend=model.backend, preprocessing=model.preprocessing
    )
    copy_layers(model, first, range(n))
    return first


Shapes = dict[str, tuple[int, ...]]


def _require_layer(index: int, model: Sequential, which: str) -> None:
    """Refuse the index of a layer that ``model`` does not have."""
    require_count(index, f"a layer of the {which}", low=0)
    n = len(model.layers)
    require(index < n, f"a layer of the {which}", f"be one of its {n} layers, 0 to {n - 1}", index)


def _shapes(model: Sequential, index: int) -> Shapes:
    """Return the shapes of the parameters and statistics of a layer, by name."""
    prefix = f"layers.{index}."
    entries = (*model.layout.entries, *model.network.statistics_layout.entries)
    return {e.path.removeprefix(prefix): e.shape for e in entries if e.path.startswith(prefix)}


def _as_text(shapes: Shapes) -> Phrase:
    """Return names and shapes as text."""
    text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    return Phrase(text or "no parameters")


def _of_layer(layout: Layout, vector: Array, index: int) -> dict[str, Array]:
    """Return the views of a layer in ``vector``, by name."""
    prefix = f"layers.{index}."
    views = layout.views(vector)
    return {p.removeprefix(prefix): view for p, view in views.items() if p.startswith(prefix)}
