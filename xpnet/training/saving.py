"""Copy a training for its file, from which it can be resumed.

The file is a safetensors file. Its metadata hold two JSON objects: ``"xpnet"``, the model as in its
own file (`xpnet.serialization`); and ``"xpnet-training"``, with the entries

- ``version``, the format, and ``xpnet``, the version that wrote it;
- ``record``: ``settings``, the arguments of `fit` by name, with ``kind``, mini-batch or full-batch;
  ``data``, the shape, dtype and digest of each array; ``environment``, versions, CPU and threads;
- ``state``: ``completed``, the number of epochs; ``history``, its columns; ``callbacks``, the type
  and the state of each that has one; ``engine``. Of a mini-batch training also ``taken``,
  ``losses``, ``counts`` and ``seconds``, the steps of the next epoch; ``streams``, the seed and the
  numbers of orders and masks; ``optimizer``, its slots, step and scalars; ``scale``, that of a loss
  in fp16; ``rng``, the state of a generator. Of a full-batch training ``loop``, that of the method.

An array in ``state`` is a tensor ``training.<path>``, to which ``{"$tensor": name}`` refers. The
other tensors are those of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from xpnet._version import __version__
from xpnet.serialization import (
    TRAINING,
    entry_text,
    model_entry,
    model_tensors,
)
from xpnet.state_dict import StateDict, as_json, pack
from xpnet.training.background_write import FileContents
from xpnet.training.settings_record import described
from xpnet.training.training_file import FORMAT, KEY


class Resumable(Protocol):
    """A training that can be saved."""

    @property
    def position(self) -> tuple[int, int, bool]:
        """The completed epochs or iterations, the steps taken in the next epoch, and the end."""
        ...

    def is_finite(self) -> bool:
        """Return whether it can be resumed here: no number is NaN or infinite."""
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
        resumed: the name of the file from which it was resumed, or ``None``.
    """

    model: Any
    record: Mapping[str, Any]
    training: Resumable
    resumed: str | None = None

    def snapshot(self) -> FileContents:
        """Return a copy of the training on the host, to be written while it continues.

        Raises:
            ArgumentError: if the state of a callback cannot be saved.
        """
        state, tensors = pack(self.training.state_dict(), "state_dict()", TRAINING[:-1])
        entry = {"version": FORMAT, "xpnet": __version__, "record": self.record, "state": state}
        own = model_tensors(self.model)
        model = entry_text(model_entry(self.model, described), own)
        metadata = {KEY: as_json(entry, "state_dict()"), "xpnet": model}
        return FileContents(own | tensors, metadata)
