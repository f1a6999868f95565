"""The BLAS behind NumPy's matrix products: what is loaded, and whether the CPU offers more.

OpenBLAS chooses its kernels when it is loaded and asks for them by the CPU's name. For a CPU that
came out after it, it falls back to kernels without AVX-512, at half the speed. The environment
variable ``OPENBLAS_CORETYPE``, read once at that moment, names better ones. Importing xpnet never
changes it; the command `xpnet` sets it for its own process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
REPLACED = "XPNET_REPLACED_KERNEL"
"""The variable by which the command tells itself which kernel it has replaced."""

WITHOUT_AVX512 = ("haswell", "zen", "sandybridge", "nehalem", "prescott", "core2")
NEEDED = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
"""What the kernel SkylakeX asks of a CPU."""

NAMES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")


@dataclass(frozen=True)
class OpenBlas:
    """A loaded OpenBLAS: its version and build, the kernel in use, and its threads."""

    config: str
    kernel: str
    threads: int


def loaded_openblas() -> OpenBlas | None:
    """The OpenBLAS in this process, asked itself; ``None`` for another BLAS or another system."""
    for path in _loaded_libraries("openblas"):
        library = ctypes.CDLL(str(path))
        for name in NAMES:
            if hasattr(library, name.format("get_corename")):
                config = _text(library, name.format("get_config"))
                kernel = _text(library, name.format("get_corename"))
                return OpenBlas(config, kernel, library[name.format("get_num_threads")]())
    return None


def better_kernel(kernel: str, cpu_flags: set[str]) -> str:
    """The kernel to ask for in place of ``kernel``; empty where that is good enough.

    >>> better_kernel("Haswell", NEEDED), better_kernel("SkylakeX", NEEDED)
    ('SkylakeX', '')
    >>> better_kernel("Haswell", {"avx2"})
    ''
    """
    return "SkylakeX" if kernel.lower() in WITHOUT_AVX512 and cpu_flags >= NEEDED else ""


def cpu_info(key: str) -> str:
    """The first value of a key in Linux's list of CPUs; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def advice(environment: Mapping[str, str] = os.environ) -> str:
    """What a user should know of the kernel; empty where the CPU's best is in use."""
    found = loaded_openblas()
    better = "" if found is None else better_kernel(found.kernel, set(cpu_info("flags").split()))
    if found is not None and REPLACED in environment:
        was = environment[REPLACED]
        return (
            f"the command xpnet has set {VARIABLE}={found.kernel} for itself, since OpenBLAS would "
            f"take {was} here; for Python itself export it, or use xpnet run SCRIPT"
        )
    if found is None or not better:
        return ""
    how = "is set to that" if VARIABLE in environment else "is not set"
    return (
        f"the CPU has AVX-512, which the kernel {found.kernel} does not use ({VARIABLE} {how}): "
        f"export {VARIABLE}={better}"
    )


def restart_with_better_kernel() -> None:
    """Begin this process anew with a better kernel, if there is one and the user named none.

    The process keeps its number, its streams and its arguments; only NumPy is loaded again.
    """
    found = None if VARIABLE in os.environ else loaded_openblas()
    if found is None:
        return
    better = better_kernel(found.kernel, set(cpu_info("flags").split()))
    if better:
        sys.stdout.flush()
        environment = os.environ | {VARIABLE: better, REPLACED: found.kernel}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _loaded_libraries(word: str) -> list[Path]:
    """The shared libraries of this process with ``word`` in their file's name (Linux)."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    lines = maps.read_text(encoding="utf-8", errors="replace").splitlines()
    files = {Path(line.split(maxsplit=5)[5]) for line in lines if line.count("/")}
    return sorted(path for path in files if word in path.name and ".so" in path.name)


def _text(library: ctypes.CDLL, name: str) -> str:
    function = library[name]
    function.restype = ctypes.c_char_p
    return bytes(function()).decode()
