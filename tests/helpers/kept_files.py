"""Keep every file that a `TrainingCheckpoint` writes, not only the last one."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpnet import TrainingCheckpoint


def keep_files(patch: pytest.MonkeyPatch, folder: Path) -> list[Path]:
    """Give each file a name of its own until ``patch`` is undone; return the growing list."""
    paths: list[Path] = []
    save = TrainingCheckpoint.save

    def kept(self, run):
        self.path = folder / f"training {len(paths)}"
        save(self, run)
        self.wait()
        if self.path.exists():
            paths.append(self.path)

    patch.setattr(TrainingCheckpoint, "save", kept)
    return paths
