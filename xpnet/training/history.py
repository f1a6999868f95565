"""The history of a training: one row of numbers per epoch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from xpnet.errors import unknown_name


@dataclass
class History:
    """The numbers of every finished epoch, by column.

    Attributes:
        columns: the numbers of each column, one per epoch. ``epoch`` counts from 1; ``loss`` is the
            mean training loss over the batches of the epoch, without penalties; ``penalty`` is the
            value of the L1 and L2 penalties; ``val_loss`` and ``val_<metric>`` are measured on the
            validation data, ``<metric>`` on the training data if there is no validation data;
            ``lr`` is the last learning rate, ``seconds`` the duration of the epoch. For a method
            of `xpnet.minimize` an epoch is an iteration, ``loss`` the loss of all rows at its end,
            and the columns ``step``, the step length, and ``grad_norm``, ``max_i |∂f/∂θ_i|``,
            replace ``lr``.
        stopped: why training ended before its last epoch; empty if it did not. For a method of
            `xpnet.minimize` it is always the reason for stopping.
        engine: ``"replay"`` and how steps were replayed, or ``"eager"`` and why they were not.

    >>> history = History()
    >>> history.append({"epoch": 1, "loss": 0.5})
    >>> history["loss"], len(history)
    ([0.5], 1)
    """

    columns: dict[str, list[float]] = field(default_factory=dict)
    stopped: str = ""
    engine: str = ""

    def append(self, row: dict[str, float]) -> None:
        """Add the row of an epoch."""
        for name, value in row.items():
            self.columns.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.columns:
            raise unknown_name("a column of the history", name, self.columns)
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        return len(self.columns.get("epoch", ()))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file with a header and one line per epoch."""
        lines = [",".join(self.columns)]
        rows = zip(*self.columns.values(), strict=True)
        lines += [",".join(format(value, ".9g") for value in row) for row in rows]
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
