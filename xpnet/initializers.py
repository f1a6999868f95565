"""Initial values of weights, drawn on the host so that a seed gives the same on every backend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from xpnet.errors import require, require_number, require_type

Host: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

TRUNCATED_STD = 0.8796256610342398
"""The standard deviation of a standard normal cut at ±2: √(1 − 4 φ(2)/(2 Φ(2) − 1))."""


class Initializer:
    """A frozen dataclass with a ``draw``; what it returns is cast and moved by the caller."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Numbers of ``shape`` in float64 on the host.

        Args:
            rng: the stream to draw from.
            shape: the parameter's shape; of ``(n_in, n_out)`` the fans are the two numbers, of
                ``(n,)`` both are ``n``.
        """
        raise NotImplementedError


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """``fan_in, fan_out`` of a weight of shape ``(n_in, n_out)``.

    >>> fans((784, 200))
    (784, 200)
    """
    require(len(shape) > 0, "shape", "have at least one axis", shape)
    return shape[0], shape[-1]


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> Host:
    return rng.uniform(-bound, bound, shape)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, truncated: bool) -> Host:
    """``N(0, std²)``; cut at two nominal deviations and widened to keep std² if ``truncated``."""
    draw = rng.standard_normal(shape)
    if not truncated:
        return std * draw
    beyond = np.abs(draw) > 2
    while beyond.any():
        draw[beyond] = rng.standard_normal(int(beyond.sum()))
        beyond = np.abs(draw) > 2
    return std / TRUNCATED_STD * draw


@dataclass(frozen=True)
class Constant(Initializer):
    """Every number is ``value``.

    Args:
        value: any finite number.
    """

    value: float

    def __post_init__(self) -> None:
        require_number(self.value, "value")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """``value`` everywhere; the stream is not used."""
        return np.full(shape, float(self.value))


@dataclass(frozen=True)
class Zeros(Initializer):
    """Every number is 0: for biases. As weights it leaves all units of a layer alike."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Zeros; the stream is not used."""
        return np.zeros(shape)


@dataclass(frozen=True)
class Ones(Initializer):
    """Every number is 1: for the scale of batch norm."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Ones; the stream is not used."""
        return np.ones(shape)


@dataclass(frozen=True)
class Uniform(Initializer):
    """``U(−b, b)``.

    Args:
        b: the bound, above 0; default 1.
    """

    b: float = 1.0

    def __post_init__(self) -> None:
        require_number(self.b, "b", above=0)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Uniform numbers between ``−b`` and ``b``."""
        return _uniform(rng, shape, self.b)


@dataclass(frozen=True)
class Normal(Initializer):
    """``N(0, std²)``.

    Args:
        std: the standard deviation, above 0; default 1.
        truncated: reject beyond two nominal deviations; the result still has variance ``std²``
            (most libraries leave it smaller by the factor 0.774).
    """

    std: float = 1.0
    truncated: bool = False

    def __post_init__(self) -> None:
        require_number(self.std, "std", above=0)
        require_type(self.truncated, bool, "truncated")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Normal numbers of variance ``std²``."""
        return _normal(rng, shape, self.std, self.truncated)


@dataclass(frozen=True)
class LecunUniform(Initializer):
    """``U(−1/√fan_in, 1/√fan_in)``, the "1/√n rule", of variance ``1/(3 fan_in)``."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Uniform numbers within ``1/√fan_in``."""
        return _uniform(rng, shape, 1.0 / math.sqrt(fans(shape)[0]))


@dataclass(frozen=True)
class LecunNormal(Initializer):
    """``N(0, 1/fan_in)``.

    Args:
        truncated: as in `Normal`.
    """

    truncated: bool = False

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Normal numbers of variance ``1/fan_in``."""
        return _normal(rng, shape, math.sqrt(1.0 / fans(shape)[0]), self.truncated)


@dataclass(frozen=True)
class GlorotUniform(Initializer):
    """``U(±gain √(6/(fan_in + fan_out)))``.

    Args:
        gain: a factor above 0; default 1.

    Reference: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010, equation 16.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        require_number(self.gain, "gain", above=0)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Uniform numbers of variance ``2 gain²/(fan_in + fan_out)``."""
        return _uniform(rng, shape, self.gain * math.sqrt(6.0 / sum(fans(shape))))


@dataclass(frozen=True)
class GlorotNormal(Initializer):
    """``N(0, 2 gain²/(fan_in + fan_out))``.

    Args:
        gain: a factor above 0; default 1.
        truncated: as in `Normal`.
    """

    gain: float = 1.0
    truncated: bool = False

    def __post_init__(self) -> None:
        require_number(self.gain, "gain", above=0)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Normal numbers of variance ``2 gain²/(fan_in + fan_out)``."""
        return _normal(rng, shape, self.gain * math.sqrt(2.0 / sum(fans(shape))), self.truncated)


@dataclass(frozen=True)
class HeUniform(Initializer):
    """``U(±√(6/fan_in))``."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Uniform numbers of variance ``2/fan_in``."""
        return _uniform(rng, shape, math.sqrt(6.0 / fans(shape)[0]))


@dataclass(frozen=True)
class HeNormal(Initializer):
    """``N(0, 2/fan_in)``, for ReLU.

    Args:
        truncated: as in `Normal`.

    Reference: K. He et al., "Delving deep into rectifiers", ICCV 2015, equation 10.
    """

    truncated: bool = False

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Normal numbers of variance ``2/fan_in``."""
        return _normal(rng, shape, math.sqrt(2.0 / fans(shape)[0]), self.truncated)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """``gain Q`` with orthonormal columns, or rows where there are fewer, uniformly distributed.

    Q of the QR decomposition of a Gaussian matrix, its signs fixed by ``R_ii > 0``.

    Args:
        gain: a factor above 0; default 1.

    Reference: A. Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", ICLR 2014; signs as in F. Mezzadri, 2007.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        require_number(self.gain, "gain", above=0)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """A matrix with ``WᵀW = gain² I`` or ``WWᵀ = gain² I``."""
        require(len(shape) == 2, "shape", "have two axes for an orthogonal matrix", shape)
        rows, columns = max(shape), min(shape)
        q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
        q = self.gain * q * np.sign(np.diag(r))
        return q if shape[0] >= shape[1] else q.T


