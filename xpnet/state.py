"""The state of a model, which is its network and vectors, and the validation of such vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, as_array, is_real
from xpnet.errors import Phrase, require
from xpnet.finite import first_not_finite
from xpnet.network import Network
from xpnet.parameters import Layout
from xpnet.random import MaskStream, RandomStreams

VECTORS = "theta", "grad", "statistics"
"""The vectors of a model; its other arrays are views of these, or buffers."""


@dataclass(frozen=True, eq=False)
class ModelState:
    """A network and its vectors, which training overwrites in place.

    Vectors of NumPy are views. The layers keep views of them, and ``ndarray.resize`` could free the
    memory of an array that owns it.

    Attributes:
        network: the layers, as a function of θ and X.
        backend: the array library, device and dtype of the vectors.
        theta: θ, the flat vector of all parameters, ``(P,)``.
        grad: the gradient of the last backward pass, in the order of θ.
        statistics: the running statistics of batch norm, one flat vector.
        streams: the random numbers of trainings.
    """

    network: Network
    backend: Backend
    theta: Array
    grad: Array
    statistics: Array
    streams: RandomStreams = field(default_factory=RandomStreams)

    @property
    def masks(self) -> MaskStream:
        """The stream of dropout masks."""
        return self.streams.masks

    def __post_init__(self) -> None:
        for name in VECTORS:
            array = getattr(self, name)
            if type(array) is np.ndarray:
                object.__setattr__(self, name, array[:])


def real_numbers(backend: Backend, value: Array, argument: str) -> Array:
    """Return ``value`` on the backend in its floating dtype.

    Raises:
        ArgumentError: if ``value`` does not hold real numbers; the message names ``argument``.
    """
    require(is_real(value), argument, "hold real numbers", value)
    with np.errstate(over="ignore"):  # an infinite element is for the caller to refuse
        return backend.asarray(value, backend.dtype, argument)


def vector(backend: Backend, layout: Layout, value: Any, argument: str) -> Array:
    """Return ``value``, such as θ or a direction, as a vector ``(P,)`` on the backend.

    Args:
        backend: the backend of the vector, which has its floating dtype.
        layout: the layout of θ, which determines P.
        value: P real numbers: an array of any library, or a list.
        argument: the name of ``value`` in error messages.

    Raises:
        ArgumentError: if ``value`` has another shape or does not hold real numbers.
    """
    value = as_array(value, argument)
    rule = f"have the shape ({layout.size},), one number a parameter"
    require(tuple(value.shape) == (layout.size,), argument, rule, value)
    return real_numbers(backend, value, argument)


def finite_vector(backend: Backend, layout: Layout, value: Any, argument: str) -> Array:
    """Return ``value`` like `vector`, after checking that it is finite.

    On a GPU this waits for the device.

    Raises:
        ArgumentError: as `vector`, and if ``value`` holds NaN or infinity; the message names the
            parameter.
    """
    checked = vector(backend, layout, value, argument)
    index = first_not_finite(checked)
    if index is not None:
        got = Phrase(f"{float(checked[index])} in {layout.where(index)}")
        require(False, argument, "be finite", got)
    return checked
