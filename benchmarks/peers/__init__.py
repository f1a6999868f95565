"""The libraries to compare. Each module of this package has one function, ``contestant``.

``contestant(case, parameters, variant)`` returns an object with those of these methods that the
library supports:

- ``prepare(X, y)``: a batch as the library's own arrays;
- ``steps(batches)``: take one training step on each, and wait for the last;
- ``reset()``: restore the initial parameters and the initial state of the optimizer;
- ``parameters()``: the parameters as NumPy arrays in the order of `cases.initial_parameters`;
- ``fit(X, y, epochs, batch)``: a whole training from bytes: scaling, shuffling, batches, steps;
- ``predictor(X)``: a function without arguments that returns the class of each row of ``X``.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.cases import Array, Case

KINDS = "step", "fit", "predict"


class Contestant(Protocol):
    """A peer prepared for a case; one that cannot train has ``predictor`` only."""

    def prepare(self, X: Array, y: Array) -> Any:
        """A batch as the library's own arrays."""

    def steps(self, batches: list[Any]) -> None:
        """Take one training step on each batch."""

    def reset(self) -> None:
        """Restore the initial state."""

    def parameters(self) -> list[Array]:
        """The parameters as NumPy arrays."""

    def fit(self, X: Array, y: Array, epochs: int, batch: int) -> None:
        """A whole training from bytes."""

    def predictor(self, X: Array) -> Any:
        """A function that returns the class of each row."""


@dataclass(frozen=True)
class Peer:
    """A library and its variant.

    Attributes:
        label: the name in tables.
        module: the module of this package.
        variant: the argument of the module's function.
        needs: the packages that must be installed.
        kinds: the measurements that it supports.
        blas: whether its matrix products are NumPy's, with the kernel of ``--coretype``.
        batch_norm: whether it supports batch norm.
    """

    label: str
    module: str
    variant: str = ""
    needs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    blas: bool = False
    batch_norm: bool = True

    def missing(self) -> list[str]:
        """The required packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def takes(self, kind: str, case: Case) -> bool:
        """Whether it supports a measurement."""
        return kind in self.kinds and (self.batch_norm or not case.batch_norm)

    def contestant(self, case: Case, parameters: list[Array]) -> Contestant:
        """Import the library and return its `Contestant`."""
        module = importlib.import_module(f"benchmarks.peers.{self.module}")
        made: Contestant = module.contestant(case, parameters, self.variant)
        return made


XPNET = Peer("xpnet", "xpnet_peer", blas=True)
FLOOR = Peer("matrix products alone", "floor", kinds=("step", "predict"), blas=True)
OTHERS = (
    Peer("PyTorch, fused Adam", "torch_peer", "fused", ("torch",)),
    Peer("PyTorch, default Adam", "torch_peer", "default", ("torch",), ("step", "fit")),
    Peer("PyTorch, compiled", "torch_peer", "compiled", ("torch",)),
    Peer("JAX, jit, donated", "jax_peer", "jit", ("jax",)),
    Peer("JAX, epoch by scan", "jax_peer", "scan", ("jax",), ("fit",)),
    Peer("scikit-learn", "sklearn_peer", "", ("sklearn",), blas=True, batch_norm=False),
    Peer("textbook NumPy", "textbook_peer", blas=True),
    Peer("ONNX Runtime", "onnx_peer", "", ("onnxruntime", "onnx"), ("predict",)),
)
PEERS = {peer.label: peer for peer in (XPNET, FLOOR, *OTHERS)}
