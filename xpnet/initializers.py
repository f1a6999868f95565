"""Initializers of parameters.

Values are drawn on the host in float64, so that a seed gives the same weights on every backend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from xpnet.errors import require, require_number, require_type

Host: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

Fans: TypeAlias = tuple[int, int]
"""The numbers of inputs and of outputs of the units of a layer."""

TRUNCATED_STD = math.sqrt(
    1.0 - 4.0 * math.exp(-2.0) / math.sqrt(2.0 * math.pi) / math.erf(math.sqrt(2.0))
)
"""0.8796, the standard deviation of N(0, 1) on [-2, 2]: ``√(1 - 4φ(2)/(Φ(2) - Φ(-2)))``."""


@dataclass(frozen=True)
class Initializer:
    """Base class of the initializers, frozen dataclasses of their hyperparameters."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Draw the initial values of one parameter; the caller casts and moves them.

        Args:
            rng: the generator to draw from; its state advances.
            shape: the shape of the parameter. ``fan_in, fan_out`` are the two entries of
                ``(n_in, n_out)``; both are ``n`` for ``(n,)``. An initializer that depends on
                them takes a third argument, ``fans=None``: the fan-in and fan-out to use instead.
                A network passes those of the layer when it draws a bias.

        Returns:
            A new float64 NumPy array.

        Raises:
            ArgumentError: if the initializer is not defined for ``shape``.

        >>> GlorotUniform().draw(np.random.default_rng(0), (2, 3)).round(2)
        array([[ 0.3 , -0.5 , -1.01],
               [-1.06,  0.69,  0.9 ]])
        """
        raise NotImplementedError(f"{type(self).__name__} must define draw(rng, shape)")


class Zeros(Initializer):
    """All zeros, for biases. Weights of zeros keep all units of a layer identical.

    >>> Zeros().draw(np.random.default_rng(0), (2,))
    array([0., 0.])
    """

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Return zeros; ``rng`` is not used."""
        return np.zeros(shape)


class Ones(Initializer):
    """All ones, for the scale of batch norm.

    >>> Ones().draw(np.random.default_rng(0), (2,))
    array([1., 1.])
    """

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Return ones; ``rng`` is not used."""
        return np.ones(shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """All entries equal to ``value``.

    Args:
        value: any finite number.

    Raises:
        ArgumentError: if ``value`` is not a finite number.

    >>> Constant(0.1).draw(np.random.default_rng(0), (2,))
    array([0.1, 0.1])
    """

    value: float

    def __post_init__(self) -> None:
        require_number(self.value, "value")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Return an array filled with ``value``; ``rng`` is not used."""
        return np.full(shape, float(self.value))


@dataclass(frozen=True)
class Uniform(Initializer):
    """The uniform distribution ``U(-b, b)``, which has variance ``b²/3``.

    Args:
        b: the bound, above 0. Default 1.

    Raises:
        ArgumentError: if ``b`` is not above 0.

    >>> Uniform(0.5).draw(np.random.default_rng(0), (3,)).round(4)
    array([ 0.137 , -0.2302, -0.459 ])
    """

    b: float = 1.0

    def __post_init__(self) -> None:
        require_number(self.b, "b", above=0)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Draw from the uniform distribution on ``[-b, b)``."""
        return rng.uniform(-self.b, self.b, shape)


@dataclass(frozen=True)
class Normal(Initializer):
    """The normal distribution ``N(0, std²)``.

    Args:
        std: the standard deviation, above 0. Default 1.
        truncated: draw again every value beyond two standard deviations. Truncation reduces the
            standard deviation by the factor 0.8796, so the underlying normal distribution is
            widened by its inverse: the variance remains ``std²`` and the values lie within
            ``±2.274 std``. Default False.

    Raises:
        ArgumentError: if ``std`` is not above 0, or ``truncated`` is not True or False.

    >>> Normal(0.01, truncated=True).draw(np.random.default_rng(0), (3,)).round(4)
    array([ 0.0014, -0.0015,  0.0073])
    """

    std: float = 1.0
    truncated: bool = False

    def __post_init__(self) -> None:
        require_number(self.std, "std", above=0)
        require_type(self.truncated, bool, "truncated")

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Draw normal values with variance ``std²``."""
        return _normal(rng, shape, self.std, self.truncated)


class FanInUniform(Initializer):
    """``U(-b, b)`` with ``b = 1/√fan_in``, which has variance ``1/(3 fan_in)``.

    The distribution of the weights of PyTorch's ``torch.nn.Linear`` and the heuristic "1/√n" that
    Glorot and Bengio compare with theirs. In format 1 of xpnet's files it is named LecunUniform.

    Reference: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010, equation 1.

    >>> FanInUniform().draw(np.random.default_rng(0), (4, 2)).max() < 0.5
    np.True_
    """

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], fans: Fans | None = None
    ) -> Host:
        """Draw uniform values with variance ``1/(3 fan_in)``."""
        b = 1.0 / math.sqrt(_fans(shape, fans)[0])
        return rng.uniform(-b, b, shape)


class LecunUniform(Initializer):
    """``U(-b, b)`` with ``b = √(3/fan_in)``, which has variance ``1/fan_in``.

    The same distribution as Keras's and JAX's ``lecun_uniform``. `FanInUniform` is the one with
    ``b = 1/√fan_in``.

    Reference: Y. LeCun et al., "Efficient BackProp", 1998, equation 16.

    >>> LecunUniform().draw(np.random.default_rng(0), (3, 2)).max() < 1
    np.True_
    """

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], fans: Fans | None = None
    ) -> Host:
        """Draw uniform values with variance ``1/fan_in``."""
        b = math.sqrt(3.0 / _fans(shape, fans)[0])
        return rng.uniform(-b, b, shape)


@dataclass(frozen=True)
class LecunNormal(Initializer):
    """The normal distribution ``N(0, 1/fan_in)``, for `SELU`.

    Args:
        truncated: see `Normal`. Default False.

    Raises:
        ArgumentError: if ``truncated`` is not True or False.

    Reference: Y. LeCun et al., "Efficient BackProp", 1998, equation 16.

    >>> LecunNormal().draw(np.random.default_rng(0), (4, 1)).round(4).ravel()
    array([ 0.0629, -0.0661,  0.3202,  0.0525])
    """

    truncated: bool = False

    def __post_init__(self) -> None:
        require_type(self.truncated, bool, "truncated")

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], fans: Fans | None = None
    ) -> Host:
        """Draw normal values with variance ``1/fan_in``."""
        return _normal(rng, shape, math.sqrt(1.0 / _fans(shape, fans)[0]), self.truncated)


@dataclass(frozen=True)
class GlorotUniform(Initializer):
    """``U(-b, b)`` with ``b = gain·√(6/(fan_in + fan_out))``, for tanh and sigmoid.

    Args:
        gain: a factor, above 0. Default 1.

    Raises:
        ArgumentError: if ``gain`` is not above 0.

    Reference: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010, equation 16.

    >>> GlorotUniform().draw(np.random.default_rng(0), (3, 3)).max() < 1
    np.True_
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        require_number(self.gain, "gain", above=0)

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], fans: Fans | None = None
    ) -> Host:
        """Draw uniform values with variance ``2 gain²/(fan_in + fan_out)``."""
        b = self.gain * math.sqrt(6.0 / sum(_fans(shape, fans)))
        return rng.uniform(-b, b, shape)


@dataclass(frozen=True)
class GlorotNormal(Initializer):
    """The normal distribution ``N(0, 2 gain²/(fan_in + fan_out))``, for tanh and sigmoid.

    Args:
        gain: a factor, above 0. Default 1.
        truncated: see `Normal`. Default False.

    Raises:
        ArgumentError: if ``gain`` is not above 0, or ``truncated`` is not True or False.

    Reference: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010, equation 12.

    >>> GlorotNormal().draw(np.random.default_rng(0), (1, 3)).round(4)
    array([[ 0.0889, -0.0934,  0.4528]])
    """

    gain: float = 1.0
    truncated: bool = False

    def __post_init__(self) -> None:
        require_number(self.gain, "gain", above=0)
        require_type(self.truncated, bool, "truncated")

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], fans: Fans | None = None
    ) -> Host:
        """Draw normal values with variance ``2 gain²/(fan_in + fan_out)``."""
        std = self.gain * math.sqrt(2.0 / sum(_fans(shape, fans)))
        return _normal(rng, shape, std, self.truncated)


class HeUniform(Initializer):
    """``U(-b, b)`` with ``b = √(6/fan_in)``, which has variance ``2/fan_in``, for ReLU.

    Reference: K. He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 10.

    >>> HeUniform().draw(np.random.default_rng(0), (6, 2)).max() < 1
    np.True_
    """

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], fans: Fans | None = None
    ) -> Host:
        """Draw uniform values with variance ``2/fan_in``."""
        b = math.sqrt(6.0 / _fans(shape, fans)[0])
        return rng.uniform(-b, b, shape)


@dataclass(frozen=True)
class HeNormal(Initializer):
    """The normal distribution ``N(0, 2/fan_in)``, for ReLU.

    Args:
        truncated: see `Normal`. Default False.

    Raises:
        ArgumentError: if ``truncated`` is not True or False.

    Reference: K. He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 10.

    >>> HeNormal().draw(np.random.default_rng(0), (2, 2)).round(4)
    array([[ 0.1257, -0.1321],
           [ 0.6404,  0.1049]])
    """

    truncated: bool = False

    def __post_init__(self) -> None:
        require_type(self.truncated, bool, "truncated")

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, ...], fans: Fans | None = None
    ) -> Host:
        """Draw normal values with variance ``2/fan_in``."""
        return _normal(rng, shape, math.sqrt(2.0 / _fans(shape, fans)[0]), self.truncated)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """``gain·Q`` with a random matrix Q of orthonormal columns, or rows if there are fewer rows.

    Q is uniformly distributed: it is the factor of the QR decomposition of a Gaussian matrix, with
    the signs fixed by ``R_ii > 0``.

    Args:
        gain: a factor, above 0. Default 1.

    Raises:
        ArgumentError: if ``gain`` is not above 0.

    Reference: A. Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", ICLR 2014; for the signs F. Mezzadri, "How to generate random
    matrices from the classical compact groups", 2007.

    >>> weight = Orthogonal(gain=2.0).draw(np.random.default_rng(0), (3, 2))
    >>> np.allclose(weight.T @ weight, 4.0 * np.eye(2))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        require_number(self.gain, "gain", above=0)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        """Draw a matrix with ``WᵀW = gain² I`` or ``WWᵀ = gain² I``; ``shape`` has two axes."""
        require(len(shape) == 2, "shape", "have two axes for an orthogonal matrix", shape)
        q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
        weight = self.gain * q * np.where(np.diag(r) < 0, -1.0, 1.0)
        return weight if shape[0] >= shape[1] else weight.T.copy()


def _fans(shape: tuple[int, ...], fans: Fans | None) -> Fans:
    """Return ``fan_in, fan_out``."""
    if fans is not None:
        return fans
    ok = len(shape) in (1, 2) and min(shape) >= 1
    require(ok, "shape", "have one or two axes, none of them empty", shape)
    return shape[0], shape[-1]


def _normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, truncated: bool) -> Host:
    """Draw from ``N(0, std²)``, or from a truncated normal distribution of the same variance."""
    draw = rng.standard_normal(shape)
    if not truncated:
        return std * draw
    while (beyond := np.abs(draw) > 2).any():
        draw[beyond] = rng.standard_normal(np.count_nonzero(beyond))
    return std / TRUNCATED_STD * draw
