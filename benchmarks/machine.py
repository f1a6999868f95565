"""What was measured on: the CPU, the libraries, the BLAS; and which kernel it is told to take."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import date
from importlib import metadata

from xpnet import doctor

PACKAGES = (
    *("xpnet", "numpy", "numba", "torch", "jax", "scikit-learn", "onnxruntime"),
    "threadpoolctl",
)
SETTINGS = "best", "as-is", "no-numba"


def environment(coretype: str, numba: bool, blas: bool) -> dict[str, str]:
    """What a measured process finds in its environment.

    Args:
        coretype: a kernel of OpenBLAS, ``"best"`` for what `doctor` advises, ``"as-is"``.
        numba: whether xpnet may compile.
        blas: whether the process's matrix products are NumPy's.
    """
    found = {} if numba else {"NUMBA_DISABLE_JIT": "1"}
    if coretype == "best":
        coretype = best_coretype()
    if blas and coretype != "as-is":
        found["OPENBLAS_CORETYPE"] = coretype
    return found


def best_coretype() -> str:
    """The kernel that `doctor.advice` tells to take where OpenBLAS is left alone, or ``as-is``."""
    flags = doctor._cpu_info("flags").split()
    hint = doctor.advice(kernel({"OPENBLAS_CORETYPE": ""}), "avx512f" in flags)
    return hint.rpartition("=")[2] if hint else "as-is"


def kernel(variables: dict[str, str]) -> str:
    """The kernel that NumPy's OpenBLAS takes with these variables; empty if it cannot be known."""
    code = (
        "import json, numpy, threadpoolctl; print(json.dumps([i.get('architecture', '') for i in "
        "threadpoolctl.threadpool_info() if i['user_api'] == 'blas']))"
    )
    kept = {k: v for k, v in {**os.environ, **variables}.items() if v}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=False
    )
    names = json.loads(done.stdout) if done.returncode == 0 else []
    return str(names[0]) if names else ""


def description(coretype: str, numba: bool) -> dict[str, object]:
    """For the top of a table and for the JSON."""
    variables = environment(coretype, numba, blas=True)
    return {
        "date": date.today().isoformat(),
        "cpu": doctor._cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": versions(),
        "kernel": kernel(variables) or "unknown (threadpoolctl is not installed)",
        "variables": variables,
    }


def versions() -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in PACKAGES:
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
    return (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Python "
        f"{machine['python']}, {libraries}; NumPy's OpenBLAS with its {machine['kernel']} kernel; "
        "every library with its default number of threads."
    )
