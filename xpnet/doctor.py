"""The report of ``xpnet doctor``: versions, backends, the BLAS and the time of the import."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np

from xpnet._version import __version__
from xpnet.backend import NAMES, get_backend, unavailable
from xpnet.blas import advice, cpu_name, loaded_openblas
from xpnet.ops.select import why_not_compiled
from xpnet.training.environment import version_of

Rows = list[tuple[str, str]]

HARD = ("numpy", "array-api-compat", "safetensors")
OPTIONAL = {
    "numba": "cpu",
    "platformdirs": "cpu",
    "cupy-cuda12x": "cuda12",
    "cupy-cuda13x": "cuda13",
    "typer": "cli",
    "rich": "cli",
    "threadpoolctl": "cli",
    "matplotlib": "plots",
    "pooch": "data",
    "torch": "",
    "array-api-strict": "test",
}
"""Optional packages, and the extra that installs them."""

REPEATS = 5
CLOCK = "from time import perf_counter as t; a = t(); import {}; print(t() - a)"


def report(*, timing: bool = False) -> list[tuple[str, Rows]]:
    """Return the sections of the report: a title, and rows of a name and a finding.

    Args:
        timing: whether to measure the time of the import, which takes some seconds.

    >>> [title for title, rows in report()]
    ['versions', 'backends', 'computing']
    """
    sections = [("versions", versions()), ("backends", backends()), ("computing", computing())]
    if timing:
        sections.append(("import", import_time()))
    return sections


def versions() -> Rows:
    """Return the versions of Python, xpnet and the packages that it uses."""
    rows = [("python", f"{platform.python_version()} on {platform.platform(terse=True)}")]
    rows += [("xpnet", __version__)] + [(name, version_of(name) or "missing") for name in HARD]
    for name, extra in OPTIONAL.items():
        how = f"pip install 'xpnet[{extra}]'" if extra else f"pip install {name}"
        rows.append((name, version_of(name) or f"not installed ({how})"))
    return rows


def backends() -> Rows:
    """Return the device of each backend, or why an operation on it fails."""
    rows = []
    for name in NAMES:
        reason = unavailable(name)
        rows.append((name, f"works: {get_backend(name)}" if reason is None else f"no: {reason}"))
    chosen = next(finding for name, finding in rows if name == "cupy").startswith("works")
    return [*rows, ("auto", f"takes {'cupy' if chosen else 'numpy'}")]


def computing() -> Rows:
    """Return the CPUs, and the BLAS of NumPy with its kernel and threads."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = [("CPU", f"{cpu_name()}, {cpus} of {os.cpu_count()} usable"), *_blas()]
    rows.append(("loops", why_not_compiled() or f"compiled by Numba, and {_cached()}"))
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "XPNET_FALLBACK"):
        if name in os.environ:
            rows.append((name, os.environ[name]))
    return rows


def import_time() -> Rows:
    """Return the medians of the times of ``import numpy`` and ``import xpnet`` in new processes."""
    times: dict[str, list[float]] = {"numpy": [], "xpnet": []}
    for name in times:
        _seconds_to_import(name)  # fills the file cache
    for _ in range(REPEATS):
        for name, measured in times.items():
            measured.append(_seconds_to_import(name))
    base, whole = (statistics.median(times[name]) * 1e3 for name in ("numpy", "xpnet"))
    return [
        ("import numpy", f"{base:.0f} ms"),
        ("import xpnet", f"{whole:.0f} ms, {whole - base:.0f} ms more (median of {REPEATS})"),
    ]


def _blas() -> Rows:
    """Return the configuration of the loaded OpenBLAS, or of the BLAS that NumPy was built with."""
    found = loaded_openblas()
    if found is not None:
        threads = f"{found.threads} thread{'s' * (found.threads != 1)}"
        rows = [("BLAS", f"{found.config.strip()}; kernel {found.kernel}, {threads}")]
        return rows + [("advice", hint) for hint in (advice(),) if hint]
    config: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return [("BLAS", f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip())]


def _cached() -> str:
    if os.environ.get("NUMBA_CACHE_DIR") or find_spec("platformdirs") is not None:
        return "kept on disk"
    return "not kept on disk, since platformdirs is not installed: pip install 'xpnet[cpu]'"


def _seconds_to_import(name: str) -> float:
    """Return the time that a new process takes to import a module."""
    command = [sys.executable, "-c", CLOCK.format(name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)
