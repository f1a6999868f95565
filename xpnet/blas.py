"""The BLAS that computes NumPy's matrix products, and a faster kernel where the CPU has one.

OpenBLAS selects its kernels by the name of the CPU when it is loaded. For a CPU that is newer than
itself it selects kernels without AVX-512, which are half as fast. The environment variable
``OPENBLAS_CORETYPE``, read at that moment only, selects others. Importing xpnet never changes the
environment; the command `xpnet` sets the variable for its own process.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np  # noqa: F401 - which loads the BLAS

VARIABLE = "OPENBLAS_CORETYPE"
REPLACED = "XPNET_REPLACED_KERNEL"
"""The variable in which the command passes the replaced kernel to its restarted process."""

WITHOUT_AVX512 = ("haswell", "zen", "sandybridge", "nehalem", "prescott", "core2")
NEEDED = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
"""The CPU flags that the kernel SkylakeX needs."""


@dataclass(frozen=True)
class OpenBlas:
    """A loaded OpenBLAS.

    Attributes:
        config: its version and its threading layer, as text.
        kernel: the kernel in use, such as ``"SkylakeX"``.
        threads: the number of threads.
    """

    config: str
    kernel: str
    threads: int


def loaded_openblas() -> OpenBlas | None:
    """The OpenBLAS that this process has loaded, on Linux, macOS and Windows.

    Returns:
        The one with the first path, since NumPy's folder precedes SciPy's; ``None`` if none is
        loaded, or threadpoolctl (the extra ``cli``) is not installed.
    """
    try:
        threadpoolctl = import_module("threadpoolctl")
    except ImportError:
        return None
    found = [lib for lib in threadpoolctl.threadpool_info() if lib["internal_api"] == "openblas"]
    if not found:
        return None
    first = min(found, key=lambda library: str(library["filepath"]))
    config = f"OpenBLAS {first['version']} ({first['threading_layer']})"
    return OpenBlas(config, str(first["architecture"]), int(first["num_threads"]))


def better_kernel(kernel: str, cpu_flags: set[str]) -> str:
    """The kernel that is faster than ``kernel`` on this CPU; empty if there is none.

    >>> better_kernel("Haswell", NEEDED), better_kernel("SkylakeX", NEEDED)
    ('SkylakeX', '')
    >>> better_kernel("Haswell", {"avx2"})
    ''
    """
    return "SkylakeX" if kernel.lower() in WITHOUT_AVX512 and cpu_flags >= NEEDED else ""


def cpu_info(key: str) -> str:
    """The first value of a key in Linux's list of CPUs; empty on other systems."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def cpu_name() -> str:
    """The name of the CPU, or else of its architecture."""
    return cpu_info("model name") or platform.processor() or platform.machine()


def advice(environment: Mapping[str, str] = os.environ) -> str:
    """Advice about the kernel for the user; empty if the fastest for the CPU is in use."""
    found = loaded_openblas()
    better = "" if found is None else better_kernel(found.kernel, set(cpu_info("flags").split()))
    if found is not None and REPLACED in environment:
        default = environment[REPLACED]
        return (
            f"the command xpnet has set {VARIABLE}={found.kernel} for itself, because OpenBLAS "
            f"selects {default} on this CPU; export it to use it in Python, or use xpnet run SCRIPT"
        )
    if found is None or not better:
        return ""
    state = "is set to that" if VARIABLE in environment else "is not set"
    return (
        f"the CPU has AVX-512, which the kernel {found.kernel} does not use ({VARIABLE} {state}): "
        f"export {VARIABLE}={better}"
    )


def restart_with_better_kernel() -> None:
    """Restart this process with a faster kernel, if there is one and the user has selected none.

    The process keeps its identifier, its streams and its arguments; it imports NumPy again.
    """
    found = None if VARIABLE in os.environ else loaded_openblas()
    if found is None:
        return
    better = better_kernel(found.kernel, set(cpu_info("flags").split()))
    if better:
        sys.stdout.flush()
        environment = os.environ | {VARIABLE: better, REPLACED: found.kernel}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
