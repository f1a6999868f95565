"""The libraries that are compared. Each module here has one function, ``contestant``.

``contestant(case, parameters, variant)`` makes an object with as many of these methods as the
library can do:

- ``prepare(X, y)``: a batch as the library's own arrays;
- ``steps(batches)``: one training step on each, and wait for the last;
- ``reset()``: the initial parameters again, and the optimizer as at its beginning;
- ``parameters()``: the parameters as NumPy arrays in the order of `cases.initial_parameters`;
- ``fit(X, y, epochs, batch)``: a whole training from bytes: scaling, shuffling, batches, steps;
- ``predictor(X)``: a function without arguments that gives the class of each row of ``X``.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.cases import Array, Case

KINDS = "step", "fit", "predict"


class Contestant(Protocol):
    """What a peer's module makes of a case; a peer that cannot train has ``predictor`` alone."""

    def prepare(self, X: Array, y: Array) -> Any:
        """A batch as the library's own arrays."""

    def steps(self, batches: list[Any]) -> None:
        """One training step on each batch."""

    def reset(self) -> None:
        """Everything as at the beginning."""

    def parameters(self) -> list[Array]:
        """As NumPy arrays."""

    def fit(self, X: Array, y: Array, epochs: int, batch: int) -> None:
        """A whole training from bytes."""

    def predictor(self, X: Array) -> Any:
        """A function that gives the class of each row."""


@dataclass(frozen=True)
class Peer:
    """Who takes part.

    Attributes:
        label: the name in tables.
        module: the module of this package.
        variant: what the module is told.
        needs: the packages that must be installed.
        kinds: what it takes part in.
        blas: whether its matrix products are NumPy's, whose kernel ``--coretype`` chooses.
        batch_norm: whether it has that.
    """

    label: str
    module: str
    variant: str = ""
    needs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    blas: bool = False
    batch_norm: bool = True

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def takes(self, kind: str, case: Case) -> bool:
        """Whether it can do this."""
        return kind in self.kinds and (self.batch_norm or not case.batch_norm)

    def contestant(self, case: Case, parameters: list[Array]) -> Contestant:
        """The object that does the work; imports the library."""
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
