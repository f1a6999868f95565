"""What every layer is: a value that names its parameters and maps rows to rows and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from xpnet.backend import Array
from xpnet.initializers import Initializer
from xpnet.layers.context import Context
from xpnet.parameters import Role

Views: TypeAlias = Mapping[str, Array]
"""A layer's parameters, gradients or tangents by name: views of one flat vector."""


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter that a layer asks for: its name, shape, role and initializer."""

    name: str
    shape: tuple[int, ...]
    role: Role
    init: Initializer


@dataclass(frozen=True)
class LayerSpec:
    """What a layer becomes for a given input width.

    Attributes:
        n_out: the width of its output.
        parameters: what it learns, views of θ.
        statistics: what it keeps without learning it, views of a second vector.
    """

    n_out: int
    parameters: tuple[ParameterSpec, ...] = ()
    statistics: tuple[ParameterSpec, ...] = ()


class Layer(Protocol):
    """A frozen dataclass of hyperparameters with these methods; it stores no array.

    ``x`` and ``dy`` are rows, ``(m, n_in)`` and ``(m, n_out)``. ``tape`` is whatever ``forward``
    leaves for the others. Dotted letters are tangents, derivatives along one direction.
    """

    def specs(self, n_in: int) -> LayerSpec:
        """Parameters, statistics and output width for an input of width ``n_in``."""
        ...

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Any]:
        """The output ``y`` for the input ``x``, and the tape."""
        ...

    def backward(self, p: Views, g: Views, tape: Any, dy: Array, ctx: Context) -> Array | None:
        """Write ∂L/∂p into ``g`` and return ∂L/∂x (``None`` if ``ctx.need_dx`` is false).

        The memory of ``dy`` is used again by layers before: nobody may read it later.
        """
        ...

    def jvp(
        self, p: Views, dp: Views, tape: Any, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, Any]:
        """The tangent ``ẏ`` of the output and that of the tape, for tangents ``ẋ`` and ``ṗ``.

        ``dx = None`` and empty ``dp`` stand for 0, and so does ``None`` in what is returned.
        """
        ...

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        tape: Any,
        dtape: Any,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """The derivative of `backward` along ``ṗ``, the tape's tangent and ``ḋy``.

        It writes the tangent of ∂L/∂p into ``dg``, and returns ∂L/∂x and its tangent (``None``
        twice if ``ctx.need_dx`` is false).
        """
        ...
