"""Copy a training for its file, from which it can be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from xpnet._version import __version__
from xpnet.serialization import TRAINING, TRAINING_FORMAT, model_entry, model_tensors
from xpnet.state_dict import StateDict, as_json, pack
from xpnet.training.background_write import FileContents
from xpnet.training.settings_record import described

FORMAT = 1
"""The format of the entry `KEY`. It is raised with every change of its contents."""

KEY = "xpnet-training"
"""The key of a training in the metadata of its file."""


class Saved(Protocol):
    """A training that can be saved."""

    @property
    def position(self) -> tuple[int, int]:
        """The completed epochs or iterations, and the steps taken in the next epoch."""
        ...

    def state_dict(self) -> StateDict:
        """Return what the next steps depend on."""
        ...


@dataclass(frozen=True, eq=False)
class Saver:
    """Copies a training: the model as in its own file, and what the steps and callbacks hold.

    `xpnet.load` reads the model from such a file too.

    Attributes:
        model: the model in training.
        record: the settings, the data and the environment of the training, as JSON.
        training: its position and state.
    """

    model: Any
    record: Mapping[str, Any]
    training: Saved

    def snapshot(self) -> FileContents:
        """Return a copy of the training on the host, to be written while it goes on.

        Raises:
            ArgumentError: if the state of a callback cannot be saved.
        """
        state, tensors = pack(self.training.state_dict(), "state_dict()", TRAINING[:-1])
        entry = {"version": FORMAT, "xpnet": __version__, "record": self.record, "state": state}
        metadata = {
            KEY: as_json(entry, "state_dict()"),
            "xpnet": json.dumps(model_entry(self.model, TRAINING_FORMAT, described)),
        }
        return FileContents(model_tensors(self.model) | tensors, metadata)
