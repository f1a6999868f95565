"""The entry of a training in the metadata of its file."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from xpnet.atomic import StrPath
from xpnet.errors import FileFormatError
from xpnet.state_dict import parse_bounded, require_file
from xpnet.tensor_file import open_tensors

FORMAT = 3
"""The format of the entry `KEY`.

Format 2 added metrics with settings, and directions that are unknown; 3 added losses made of
formulas.
"""

KEY = "xpnet-training"
"""The key of a training in the metadata of its file."""


class Progress(NamedTuple):
    """How far a saved training has come.

    Attributes:
        completed: the number of completed epochs or iterations.
        taken: the number of steps taken in the next epoch.
        ended: whether it has ended, or a callback has stopped it.
        epochs: the number of epochs requested.
    """

    completed: int
    taken: int
    ended: bool
    epochs: int


def progress_of(path: StrPath) -> Progress | None:
    """Return the progress of the training in a file; ``None`` if it is no such file."""
    name = os.fsdecode(path)
    try:
        require_file(name, "a file")
        with open_tensors(name) as file:
            entry: Any = parse_bounded(file.metadata() or {}, KEY, name)
        state, settings = entry["state"], entry["record"]["settings"]
        taken, ended = state.get("taken", 0), bool(state.get("ended"))
        numbers = state["completed"], taken, settings["epochs"]
    except (FileFormatError, TypeError, KeyError, AttributeError):
        return None
    if not all(type(number) is int for number in numbers):
        return None
    return Progress(numbers[0], taken, ended or bool(state["history"]["stopped"]), numbers[2])
