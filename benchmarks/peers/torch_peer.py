"""PyTorch: ``torch.nn`` and ``torch.optim.Adam``; default, fused, or the whole step compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.cases import Array, Case


class TorchContestant:
    """A module, its optimizer and the step."""

    def __init__(self, case: Case, parameters: list[Array], variant: str) -> None:
        self.compiled = variant == "compiled"
        self.model = network(case)
        # The parameters of a module are ordered by layer; weights are (n_out, n_in).
        arrays = [p.T if p.ndim == 2 else p for p in parameters]
        with torch.no_grad():
            for mine, array in zip(self.model.parameters(), arrays, strict=True):
                mine.copy_(torch.from_numpy(array.copy()))
        self.first = {name: x.clone() for name, x in self.model.state_dict().items()}
        # A compiled Adam needs lr as a tensor: a number would become a constant.
        lr = torch.tensor(1e-3) if self.compiled else 1e-3
        fused = True if variant == "fused" else None
        self.adam = torch.optim.Adam(self.model.parameters(), lr=lr, fused=fused)
        self.step = torch.compile(self._step) if self.compiled else self._step

    def reset(self) -> None:
        """Restore the initial parameters, and zeros in the state of Adam, in place."""
        self.model.load_state_dict(self.first)
        for state in self.adam.state.values():
            for tensor in state.values():
                tensor.zero_()

    def prepare(self, X: Array, y: Array) -> tuple[Any, Any]:
        """Tensors."""
        return torch.from_numpy(X), torch.from_numpy(y)

    def _step(self, X: Any, y: Any) -> None:
        self.adam.zero_grad()
        nn.functional.cross_entropy(self.model(X), y).backward()
        self.adam.step()

    def steps(self, batches: list[Any]) -> None:
        """One after the other."""
        for X, y in batches:
            self.step(X, y)

    def parameters(self) -> list[Array]:
        """Weights as ``(n_in, n_out)``."""
        arrays = [p.detach().numpy().copy() for p in self.model.parameters()]
        return [a.T if a.ndim == 2 else a for a in arrays]

    def fit(self, X: Array, y: Array, epochs: int, batch: int) -> None:
        """Tensors indexed by a permutation: a ``DataLoader`` takes several times as long."""
        features = torch.from_numpy(X).to(torch.float32).mul_(2 / 255).sub_(1)
        labels = torch.from_numpy(y).long()
        for _ in range(epochs):
            for rows in torch.randperm(len(features)).split(batch):
                self.step(features[rows], labels[rows])

    def predictor(self, X: Array) -> Callable[[], Any]:
        """In evaluation and inference mode."""
        features = torch.from_numpy(X).to(torch.float32).mul_(2 / 255).sub_(1)
        self.model.eval()
        model = torch.compile(self.model) if self.compiled else self.model

        def predict() -> Any:
            with torch.inference_mode():
                return model(features).argmax(dim=1)

        return predict


def network(case: Case) -> Any:
    """Linear layers, each but the last followed by optional batch norm and φ."""
    layers: list[Any] = []
    last = len(case.widths) - 2
    for i, (n_in, n_out) in enumerate(zip(case.widths[:-1], case.widths[1:], strict=True)):
        normed = case.batch_norm and i < last
        layers.append(nn.Linear(n_in, n_out, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(n_out))
        if i < last:
            layers.append(nn.ReLU() if case.activation == "relu" else nn.Sigmoid())
    return nn.Sequential(*layers)


def contestant(case: Case, parameters: list[Array], variant: str) -> TorchContestant:
    return TorchContestant(case, parameters, variant)
