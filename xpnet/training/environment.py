"""What the rounding of a training depends on beside its settings: versions, CPU, BLAS, threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from xpnet._version import __version__
from xpnet.backend import Backend
from xpnet.blas import cpu_name, loaded_openblas
from xpnet.errors import warn_caller

THREAD_VARIABLES = "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"
"""The variables that set the number of threads of a BLAS, if it cannot be read."""


def environment(backend: Backend) -> dict[str, Any]:
    """Return what the rounding of a training depends on beside its settings, by name."""
    blas = loaded_openblas()
    threads: Any = None if blas is None else blas.threads
    if blas is None:
        threads = next((os.environ[name] for name in THREAD_VARIABLES if name in os.environ), None)
    return {
        "xpnet": __version__,
        "NumPy": np.__version__,
        "Numba": version_of("numba"),
        "CPU": cpu_name(),
        "BLAS": None if blas is None else f"{blas.config}, {blas.kernel}",
        "BLAS threads": threads,
        "backend": backend.name,
    }


def version_of(package: str) -> str | None:
    """Return the version of an installed package, which need not be imported yet."""
    metadata = import_module("importlib.metadata")  # importing it takes 20 ms
    try:
        return str(metadata.version(package))
    except metadata.PackageNotFoundError:
        return None


def warn_of_differences(saved: Any, now: Mapping[str, Any]) -> None:
    """Warn once of the parts of the environment that are not those of the saved training.

    What could not be determined in one of them is not compared.
    """
    saved = saved if isinstance(saved, Mapping) else {}
    pairs = {name: (saved.get(name), now[name]) for name in now}
    different = [
        f"{name} {was!s:.80} then, {is_now} now"
        for name, (was, is_now) in pairs.items()
        if was != is_now and None not in (was, is_now)
    ]
    if different:
        warn_caller(
            "the training continues, but not with the same bits as without the interruption: "
            + "; ".join(different)
            + "."
        )


def training_record(
    backend: Backend, settings: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the result of a training depends on, as its file holds it."""
    return {"settings": settings, "data": data, "environment": environment(backend)}
