"""Describe the machine (CPU, libraries, BLAS) and select the kernels of OpenBLAS."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib import metadata
from pathlib import Path

from xpnet.blas import better_kernel, cpu_info

PACKAGES = "xpnet", "numpy", "numba", "torch", "jax", "scikit-learn", "onnxruntime"
INHERITED = "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"
"""Environment variables that OpenBLAS reads."""

THREADS = "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"
"""Environment variables that set numbers of threads."""


def environment(coretype: str, numba: bool, blas: bool) -> dict[str, str]:
    """The environment variables of a measured process; empty ones are removed.

    Args:
        coretype: a kernel of OpenBLAS, ``"best"`` for what `xpnet.blas` advises, ``"as-is"`` for
            the environment as it is, ``"detect"`` for OpenBLAS's own choice.
        numba: whether xpnet may compile.
        blas: whether the process's matrix products are NumPy's.
    """
    found = {} if numba else {"NUMBA_DISABLE_JIT": "1"}
    if coretype == "best":
        coretype = best_coretype()
    if blas and coretype != "as-is":
        found["OPENBLAS_CORETYPE"] = "" if coretype == "detect" else coretype
    return found


@cache
def best_coretype() -> str:
    """The kernel that `xpnet.blas` advises instead of the current one, or ``as-is``."""
    return better_kernel(kernel({}), set(cpu_info("flags").split())) or "as-is"


def merged(variables: dict[str, str]) -> dict[str, str]:
    """The environment of this process with these variables, without the empty ones."""
    return {name: value for name, value in {**os.environ, **variables}.items() if value}


def kernel(variables: dict[str, str]) -> str:
    """The kernel that NumPy's OpenBLAS selects with these variables; empty if unknown."""
    code = (
        "import numpy; from xpnet.blas import loaded_openblas; blas = loaded_openblas(); "
        "print('' if blas is None else blas.kernel)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env=merged(variables),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def description(coretype: str, numba: bool) -> dict[str, object]:
    """The description of the machine, for tables and the JSON."""
    variables = environment(coretype, numba, blas=True)
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_info("model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "kernel": kernel(variables) or "unknown",
        "variables": variables,
        "inherited": {name: os.environ[name] for name in INHERITED if name in os.environ},
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of the packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def sentence(machine: dict[str, object]) -> str:
    """The description in words."""
    packages = machine["packages"]
    assert isinstance(packages, dict)
    libraries = ", ".join(f"{name} {version}" for name, version in packages.items())
    threads = machine["threads"]
    assert isinstance(threads, dict)
    given = ", ".join(f"{name}={value}" for name, value in threads.items())
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Python "
        f"{machine['python']}, {libraries}; NumPy's OpenBLAS with its {machine['kernel']} kernel; "
        f"every library with {given or 'its default number of threads'}."
    )
