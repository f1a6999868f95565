"""Write a file in a thread, while a training continues."""

from __future__ import annotations

import os
from threading import Thread
from typing import NamedTuple

from safetensors.numpy import save

from xpnet.atomic import StrPath, write_atomically
from xpnet.tensor_file import Tensors


class FileContents(NamedTuple):
    """The contents of a safetensors file: tensors on the host, and texts by their key."""

    tensors: Tensors
    metadata: dict[str, str]


class BackgroundWrite:
    """A write of a file in a thread, which begins at once; the disk takes longer than a copy of θ.

    Args:
        contents: the contents of the file, which must not change.
        path: the file, which appears completely or not at all.
    """

    def __init__(self, contents: FileContents, path: StrPath) -> None:
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, args=(contents, path))
        self._thread.start()

    def _run(self, contents: FileContents, path: StrPath) -> None:
        try:
            write_atomically(path, save(contents.tensors, metadata=contents.metadata))
        except BaseException as error:  # `wait` raises it in the thread of the training
            if isinstance(error, OSError) and error.errno and error.filename is None:
                error.filename = os.fsdecode(path)  # for its message
            self._error = error

    @property
    def has_ended(self) -> bool:
        """Whether the file is written, or an error has occurred."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Wait for the end of the write, and raise the error that it may have ended with.

        Raises:
            OSError: if the file cannot be written; the previous one remains.
        """
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
