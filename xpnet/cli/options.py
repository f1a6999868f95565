"""The options of ``xpnet train`` as values that ``config.json`` keeps, and what they describe."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from xpnet._version import __version__
from xpnet.backend import get_backend
from xpnet.cli import names
from xpnet.cli.data import DataSource
from xpnet.cli.training import TrainingPlan
from xpnet.errors import ArgumentError, FileFormatError, require_count, require_number, warn_caller

OF_OPTIMIZER = "lr", "settings"
"""The options that belong to the optimizer: another optimizer does not take them over."""


@dataclass(frozen=True)
class TrainingOptions:
    """The options of ``xpnet train`` that determine its result, as they are written.

    The attributes have the names of the options; ``settings`` is ``--set``. ``None`` is the default
    that depends on the data or on the optimizer.
    """

    data: str | None
    target: str | None
    task: str | None
    data_dir: str | None
    hidden: list[str]
    activation: str
    batch_norm: bool
    dropout: float | None
    optimizer: str
    lr: float | None
    settings: list[str]
    schedule: str
    epochs: int | None
    batch_size: int
    l2: float
    backend: str
    dtype: str
    seed: int
    test_fraction: float
    validation: float
    limit: int | None
    metric: list[str] = field(default_factory=list)
    accumulate: int = 1

    def source(self) -> DataSource:
        """Return the origin of the data.

        Raises:
            ArgumentError: if there is none, or its seed is not an integer of at least 0.
        """
        if self.data is None:
            raise ArgumentError(
                "DATA must be the name of a data set or a file; got none. With --config it is that "
                "of the run."
            )
        require_count(self.seed, "--seed", low=0)
        return DataSource(self.data, self.target, self.data_dir, self.test_fraction, self.seed)

    def plan(self) -> TrainingPlan:
        """Return the network and the training as objects.

        Raises:
            ArgumentError: if an option is outside its range or not a known name.
            BackendUnavailableError: if the backend does not work here.
        """
        require_count(self.batch_size, "--batch-size")
        require_count(self.accumulate, "--accumulate")
        if self.epochs is not None:
            require_count(self.epochs, "--epochs")
        require_number(self.validation, "--validation", low=0, below=1)
        if self.limit is not None:
            require_count(self.limit, "--limit", low=2)
        backend = get_backend(self.backend, dtype=self.dtype)
        dropout = self.dropout
        if dropout is None:
            dropout = 0.3 if self.source().is_named else 0.0
        return TrainingPlan(
            names.widths(self.hidden or ["256,128"]),
            names.activation(self.activation),
            self.batch_norm,
            dropout,
            names.optimizer(self.optimizer, self.settings, self.lr),
            names.schedule(self.schedule),
            self.epochs,
            self.batch_size,
            self.l2,
            self.seed,
            self.validation,
            backend,
            names.metrics(self.metric),
            self.accumulate,
        )

    def resolved(self, plan: TrainingPlan) -> TrainingOptions:
        """Return the options with the values that ``plan`` has for defaults, and absolute paths.

        They repeat the training in any folder, and also if the defaults change.
        """
        data = self.source()
        return replace(
            self,
            data=data.name if data.is_named else os.path.abspath(data.data),
            data_dir=None if self.data_dir is None else os.path.abspath(self.data_dir),
            hidden=[",".join(map(str, plan.hidden)) or "none"],
            dropout=plan.dropout,
            epochs=plan.epochs,
            backend=plan.backend.name,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the options as an entry of ``config.json``."""
        return asdict(self)

    def over(self, kept: TrainingOptions, given: Collection[str]) -> TrainingOptions:
        """Return the options ``kept`` of a run, replaced by those of these that were ``given``.

        The settings of ``--set`` are replaced one by one. Another optimizer begins with its
        defaults, without the learning rate and the settings of the run.
        """
        changes = {name: getattr(self, name) for name in given}
        if "optimizer" in given:
            changes = {name: getattr(self, name) for name in OF_OPTIMIZER} | changes
        elif "settings" in given:
            keys = {text.partition("=")[0].strip() for text in self.settings}
            rest = [text for text in kept.settings if text.partition("=")[0].strip() not in keys]
            changes["settings"] = [*rest, *self.settings]
        return replace(kept, **changes)


def options_of(config: Mapping[str, Any], path: Path) -> TrainingOptions:
    """Return the options in the ``config.json`` of a run.

    A file of another version of xpnet warns.

    Raises:
        FileFormatError: if it is damaged, or of a format without options.
    """
    kept = config.get("options")
    if kept is None and config.get("format", 1) < 3:
        raise FileFormatError(
            f"{path} must hold the options of a run, which xpnet wrote from format 3 on; got "
            f"format {config.get('format', 1)}."
        )
    known = {option.name: str(option.type) for option in fields(TrainingOptions)}
    if isinstance(kept, dict) and config.get("format") == 3:  # which had no metrics
        kept = {"metric": [], **kept}
    if isinstance(kept, dict) and config.get("format") in (3, 4):  # which had whole batches only
        kept = {"accumulate": 1, **kept}
    if (
        not isinstance(kept, dict)
        or kept.keys() != known.keys()
        or not all(_is_of(kept[name], kind) for name, kind in known.items())
    ):
        raise FileFormatError(f"{path} must hold the options of a run; they are damaged.")
    if config.get("xpnet") != __version__:
        warn_caller(
            f"{path} was written by xpnet {config.get('xpnet')}; with the same options xpnet "
            f"{__version__} may have other results."
        )
    return TrainingOptions(**kept)


def _is_of(value: Any, kind: str) -> bool:
    """Return whether a JSON value has the type of a field."""
    if value is None:
        return kind.endswith("| None")
    match kind.removesuffix(" | None"):
        case "float":
            return type(value) in (int, float) and math.isfinite(value)
        case "list[str]":
            return isinstance(value, list) and all(isinstance(text, str) for text in value)
        case name:
            return type(value).__name__ == name
