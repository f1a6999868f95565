"""The vectors of a model and the network that they belong to: what trains and evaluates it."""

from __future__ import annotations

from dataclasses import dataclass, field

from xpnet.backend import Array, Backend
from xpnet.network import Network
from xpnet.random import MaskStream


@dataclass(frozen=True, eq=False)
class ModelState:
    """A network with its vectors. Training changes their numbers in place.

    Attributes:
        network: the layers, as a function of θ and X.
        backend: the array library, device and dtype of the vectors.
        theta: θ, the flat vector of all parameters.
        grad: the gradient of the last pass, in the order of θ.
        statistics: the running statistics of batch norm, one flat vector.
        masks: the stream of dropout masks.
    """

    network: Network
    backend: Backend
    theta: Array
    grad: Array
    statistics: Array
    masks: MaskStream = field(default_factory=MaskStream)
