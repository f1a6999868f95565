"""Tests in parallel: one worker process for each CPU core, each of them with one thread."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from helpers.backends import REQUIRE_GPU, why_no_device

MOST = 8
"""The most workers by default: each of them loads the libraries and compiles its loops."""

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

SERIAL = ("usepdb", "trace", "collectonly", "setupplan", "setupshow")
"""Options under which a run stays in one process."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def uses_device() -> bool:
    """Whether tests of a CUDA device run here."""
    return bool(os.environ.get(REQUIRE_GPU)) or why_no_device() is None


def use_workers(config: pytest.Config) -> None:
    """Distribute a run over a folder to workers, unless the command line says how to run.

    One file runs in this process: workers would take longer to start than most files to run. So do
    tests of a CUDA device, some of which measure its free memory. Tests are handed out in
    contiguous blocks ("worksteal"), because those of one file share compiled loops.
    """
    option: Any = config.option
    if is_worker(config) or not config.pluginmanager.hasplugin("xdist"):
        return
    plain = option.numprocesses is None and option.dist == "no" and not option.tx
    serial = option.capture == "no" or any(getattr(option, name, False) for name in SERIAL)
    serial = serial or ("not gpu" not in option.markexpr and uses_device())
    if plain and not serial and any(Path(arg).is_dir() for arg in config.args):
        count = config.hook.pytest_xdist_auto_num_workers(config=config)
        option.numprocesses, option.dist = min(count, MOST), "worksteal"
    if option.numprocesses:
        for name in THREADS:  # the environment of the workers, before they load NumPy
            os.environ.setdefault(name, "1")
