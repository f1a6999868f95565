"""User-defined parts of a network, as values of frozen dataclasses."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from xpnet import SGD, HalfMSE, Tanh
from xpnet.activations import ActivationFunction
from xpnet.initializers import Initializer, Ones
from xpnet.layers import Layer, LayerSpec, ParameterSpec
from xpnet.losses import Loss
from xpnet.optimizers.schedules import Schedule

TANH, ONES = Tanh(), Ones()


@dataclass(frozen=True)
class Bump(ActivationFunction):
    """``φ(z) = z / (1 + a z²)``."""

    a: float = 1.0

    value = staticmethod(lambda xp, z, a: z / (1.0 + a * z * z))


class Cube(ActivationFunction):
    """``φ(z) = z³``, without fields."""

    value = staticmethod(lambda xp, z: z * z * z)


@dataclass(frozen=True)
class Ramp(Initializer):
    """Numbers from ``low`` to 1."""

    low: float = -1.0

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.linspace(self.low, 1.0, int(np.prod(shape))).reshape(shape)


@dataclass(frozen=True)
class Options:
    """Settings in a class that is no part of a network."""

    names: tuple[str, ...] = ()
    pairs: tuple[tuple[int, float], ...] = ()
    other: Options | None = None


@dataclass(frozen=True)
class Scaled:
    """``Y = φ(s ⊙ X)``, with every kind of setting."""

    activation: ActivationFunction = TANH
    start: Initializer = ONES
    _: KW_ONLY
    factor: float = 1.0
    options: Options = Options()
    note: str = ""
    flag: bool = True
    bound: int | None = None
    double: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "double", 2.0 * self.factor)

    def specs(self, n_in: int) -> LayerSpec:
        return LayerSpec(n_in, (ParameterSpec("s", (n_in,), "scale", self.start),))

    def forward(self, p: Any, x: Any, ctx: Any) -> tuple[Any, Any]:
        y, saved = self.activation.kept(ctx.ops, self.factor * p["s"] * x)[::-1]
        return y, (x, saved)

    def backward(self, p: Any, g: Any, saved: Any, dy: Any, ctx: Any) -> Any:
        x, kept = saved
        dz = self.factor * self.activation.backward(ctx.ops, kept, dy)
        g["s"][...] = ctx.ops.column_sum(dz * x)
        return p["s"] * dz


@dataclass(frozen=True)
class Around:
    """A layer around another one."""

    inner: Layer

    def specs(self, n_in: int) -> LayerSpec:
        return self.inner.specs(n_in)

    def forward(self, p: Any, x: Any, ctx: Any) -> tuple[Any, Any]:
        return self.inner.forward(p, x, ctx.child(0))

    def backward(self, p: Any, g: Any, saved: Any, dy: Any, ctx: Any) -> Any:
        return self.inner.backward(p, g, saved, dy, ctx.child(0))


@dataclass(frozen=True)
class Quartic(Loss):
    """``ℓ = k (z − t)⁴``."""

    k: float = 0.25

    rule = staticmethod(lambda xp, z, t, k: k * (z - t) ** 4)


class Renamed(HalfMSE):
    """A loss of xpnet with another name."""


@dataclass(frozen=True)
class Halved(SGD):
    """A user-defined optimizer."""

    rule = staticmethod(lambda xp, theta, grad, lr: theta - 0.5 * lr * grad)


@dataclass(frozen=True)
class Falling(Schedule):
    """A user-defined schedule."""

    power: float = 1.0

    def factor(self, epoch: int, n_epochs: int, values: Any = ()) -> float:
        return (1.0 + epoch) ** -self.power


TYPES = [Bump, Cube, Ramp, Options, Scaled, Around, Quartic, Renamed, Halved, Falling]
