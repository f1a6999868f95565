"""The interface of layers, the specifications of their parameters, and layers inside layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from inspect import signature
from numbers import Real
from typing import Any, Protocol, TypeAlias

from xpnet.activations import ActivationFunction
from xpnet.backend import Array
from xpnet.errors import require, require_type
from xpnet.initializers import Fans, Initializer
from xpnet.layers.context import Context
from xpnet.parameters import Role

Views: TypeAlias = Mapping[str, Array]
"""A layer's parameters, gradients or tangents by name: views of one flat vector."""


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter of a layer.

    Attributes:
        name: its name, without a dot.
        shape: its shape.
        role: its role, such as ``"weight"`` or ``"bias"``.
        init: its initializer.
        fans: the numbers of inputs and outputs of its units, for initializers that scale by them.
            ``None`` (default): those of the layer for a bias, otherwise those of its shape.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    init: Initializer
    fans: Fans | None = None

    def with_fans(self, n_in: int, n_out: int) -> ParameterSpec:
        """This specification; a bias without fans gets ``n_in`` and ``n_out`` of its layer."""
        is_set = self.fans is not None or self.role != "bias"
        return self if is_set else replace(self, fans=(n_in, n_out))


@dataclass(frozen=True)
class LayerSpec:
    """The specification of a layer for one input width.

    Attributes:
        n_out: the width of its output.
        parameters: the parameters, which are views of θ.
        statistics: the running statistics, which are views of a second vector.
    """

    n_out: int
    parameters: tuple[ParameterSpec, ...] = ()
    statistics: tuple[ParameterSpec, ...] = ()


class Layer(Protocol):
    """A frozen dataclass of hyperparameters with these methods; it stores no array.

    ``x`` and ``dy`` are rows, ``(m, n_in)`` and ``(m, n_out)``. ``forward`` returns ``saved``
    for the other methods. Those of `TangentLayer` are required only where a derivative uses them.

    A layer may also have these attributes, which are false where they are missing:

    - ``batch_statistics``: in training it computes with statistics of the batch, so that a batch of
      one row is refused; it keeps running statistics named ``mean``, ``var`` and ``count``, and
      may keep ``mean_rest``, what rounding loses of the mean. A training pass updates them only if
      ``ctx.update_statistics`` is true.
    - ``stochastic``: in training its output is random.
    - ``masks_by_row``: its random numbers are those of the rows from ``ctx.first_row`` on, so that
      a batch may be computed in parts (``accumulate`` of `Sequential.fit`). Only the class that
      sets it has this attribute.
    - ``releases_dy``: ``backward`` takes at most two arrays from ``ctx.scratch`` and does not read
      ``dy`` once it writes to the second, so that all layers may share two scratch arrays; and
      inner layers get contexts from `Context.child`. Only the class that sets it has this
      attribute: subclasses do not inherit it.
    - ``replayable``: ``True`` vouches that the methods use only their arguments, so that a recorded
      step may repeat their calls; subclasses do not inherit it. ``False`` forbids replays, also of
      subclasses. Without it user-defined layers are checked. Activations, losses, optimizers and
      clips may have it too.
    """

    def specs(self, n_in: int) -> LayerSpec:
        """Parameters, statistics and output width for an input of width ``n_in``."""
        ...

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Any]:
        """The output ``y`` for the input ``x``, and the values saved for the other methods."""
        ...

    def backward(self, p: Views, g: Views, saved: Any, dy: Array, ctx: Context) -> Array | None:
        """Write ∂L/∂p into ``g`` and return ∂L/∂x (``None`` if ``ctx.need_dx`` is false).

        Earlier layers reuse the memory of ``dy``: keep no reference to it.
        """
        ...


class TangentLayer(Layer, Protocol):
    """A layer with derivatives along a direction, for `xpnet.derivatives`.

    Training, `check_gradients` and reverse mode need `Layer` alone. ``jvp`` is for forward mode and
    products with the Gauss-Newton and Fisher matrices; ``backward_jvp``, with ``jvp``, for second
    derivatives. Dotted letters are tangents, derivatives along one direction.
    """

    def jvp(
        self, p: Views, dp: Views, saved: Any, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, Any]:
        """The tangents of the output and of ``saved``, for tangents ``ẋ`` and ``ṗ``.

        ``dx = None`` and empty ``dp`` stand for 0, and so does ``None`` in the result.
        """
        ...

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Any,
        dsaved: Any,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """The derivative of `backward` along ``ṗ``, the tangent of ``saved`` and ``ḋy``.

        It writes the tangent of ∂L/∂p into ``dg`` and returns ∂L/∂x and its tangent (``None``
        twice if ``ctx.need_dx`` is false).
        """
        ...


def require_initializer(value: object, argument: str) -> None:
    """Raise `ArgumentError` unless ``value`` is an initializer; for a number it says what to write.

    >>> require_initializer(0.1, "scale_init")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: scale_init must be an Initializer; got 0.1. Write Constant(0.1).
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    require_type(value, Initializer, argument, f"Write Constant({value!r})." if is_number else "")


def require_layer(layer: Any, argument: str, example: str = "Dense(10)") -> None:
    """Raise `ArgumentError` unless ``layer`` is a layer; the message says what to write."""
    ok = hasattr(layer, "specs") and not isinstance(layer, type)
    require(ok, argument, f"be a layer such as {example}", layer, _advice(layer))


def _advice(value: Any) -> str:
    """What to write where a layer is required and ``value`` is none."""
    if isinstance(value, ActivationFunction):
        return f"Write Activation({value!r})."
    if isinstance(value, type) and issubclass(value, ActivationFunction):
        return f"Write Activation({value.__name__}())."
    return f"Write {value.__name__}(...)." if isinstance(value, type) else ""


def nested_specs(layers: Sequence[Layer], n_in: int) -> LayerSpec:
    """The specification of layers in a row inside one layer.

    Parameter ``name`` of layer ``i`` is named ``f"{i}_{name}"``. `child_views` and `Context.child`
    select the parameters and statistics of a layer by this prefix.

    Args:
        layers: the layers, each of which has the output of the previous one as its input.
        n_in: the width of the first layer's input.

    >>> from xpnet import Dense
    >>> spec = nested_specs([Dense(3), Dense(2)], n_in=4)
    >>> [(p.name, p.shape) for p in spec.parameters], spec.n_out
    ([('0_weight', (4, 3)), ('0_bias', (3,)), ('1_weight', (3, 2)), ('1_bias', (2,))], 2)
    """
    specs = []
    for layer in layers:
        spec = layer.specs(n_in)
        own = tuple(p.with_fans(n_in, spec.n_out) for p in spec.parameters)
        specs.append(replace(spec, parameters=own))
        n_in = spec.n_out
    return joined_specs(specs, n_in)


def joined_specs(specs: Sequence[LayerSpec], n_out: int) -> LayerSpec:
    """The specification of a layer that holds others, named as `nested_specs` names them.

    Args:
        specs: the specifications of the layers inside, in the order of their positions.
        n_out: the width of the output.
    """

    def named(i: int, found: Sequence[ParameterSpec]) -> list[ParameterSpec]:
        return [replace(spec, name=f"{i}_{spec.name}") for spec in found]

    parameters = [x for i, spec in enumerate(specs) for x in named(i, spec.parameters)]
    statistics = [x for i, spec in enumerate(specs) for x in named(i, spec.statistics)]
    return LayerSpec(n_out, tuple(parameters), tuple(statistics))


def repeated_field(kind: type[Any]) -> str | None:
    """The field of a dataclass that its constructor takes as positional arguments, or ``None``.

    ``Residual(*layers)`` has the field ``layers``.
    """
    found = signature(kind).parameters.values()
    return next((p.name for p in found if p.kind is p.VAR_POSITIONAL), None)


def components(value: Any, leave_out: type | tuple[type, ...] = ()) -> Iterator[Any]:
    """Yield a layer, loss or optimizer and all values in its dataclass fields, tuples and lists.

    Args:
        value: the root of the traversal.
        leave_out: types of values that are skipped together with their contents.

    >>> from xpnet import Dense, Tanh
    >>> [type(part).__name__ for part in components(Dense(3, Tanh()))]
    ['Dense', 'int', 'Tanh', 'NoneType', 'Zeros', 'bool']
    """
    if isinstance(value, leave_out):
        return
    inner: list[Any] = []
    if isinstance(value, (tuple, list)):
        inner = list(value)
    else:
        yield value
    if is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, field.name) for field in fields(value)]
    for part in inner:
        yield from components(part, leave_out)


def lacking(layer: Any, *methods: str) -> tuple[Any, list[str]] | None:
    """The first of a layer and those inside it that lacks a method, and the methods it lacks.

    >>> from xpnet import Dense
    >>> lacking(Dense(3), "jvp") is None
    True
    """
    for part in components(layer):
        if hasattr(part, "forward") and hasattr(part, "specs"):
            missing = [name for name in methods if not hasattr(part, name)]
            if missing:
                return part, missing
    return None


def is_any(layer: Layer, flag: str) -> bool:
    """Whether a layer, or one inside it, has a true attribute ``flag``, such as ``stochastic``."""
    return any(getattr(part, flag, False) for part in components(layer))
