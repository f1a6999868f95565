"""The GPU engine: tests on the device, then xpnet beside its peers and the floor, in one run.

Run: ``python -m benchmarks.gpu`` on a machine with a CUDA device. It needs no network. It prints a
Markdown table and writes it, dated, to ``benchmarks/results/``. Peers that are not installed are
left out and named. Exit status: 0 done, 1 a test failed, 2 no CUDA device.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from importlib import metadata
from pathlib import Path
from time import perf_counter

from benchmarks import gpu_peers
from benchmarks.cases import Case
from xpnet.backend import unavailable

CASES = (
    Case("784-200-10, batch 64", (784, 200, 10), "sigmoid", 64),
    Case("784-512-512-10, batch 256", (784, 512, 512, 10), "relu", 256),
    Case("784-512-512-10, batch norm", (784, 512, 512, 10), "relu", 256, batch_norm=True),
    Case("8192-8192-8192-1000, batch 8192", (8192, 8192, 8192, 1000), "relu", 8192),
)
REPEATS = 7
STEPS = {64: 640, 256: 320, 8192: 8}
PACKAGES = "xpnet", "numpy", "cupy-cuda13x", "cupy-cuda12x", "nvmath-python", "torch", "jax"


def seconds_a_step(run: Callable[[int], None], steps: int) -> list[float]:
    """One number a repeat, after a warm-up; ``run`` returns when the device is done."""
    run(steps)
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        run(steps)
        times.append((perf_counter() - start) / steps)
    return times


def measure(case: Case) -> dict[str, list[float] | str]:
    """Seconds a step by contestant; a sentence for one that cannot run."""
    found: dict[str, list[float] | str] = {}
    for label, make in gpu_peers.CONTESTANTS.items():
        try:
            found[label] = seconds_a_step(make(case), STEPS[case.batch])
        except ImportError as error:
            found[label] = f"not installed ({error})"
        except Exception as error:  # a peer that fails is reported, and the others go on
            found[label] = f"failed ({type(error).__name__}: {error})"
        print(f"  {label}: {cell(found[label])}", flush=True)
    return found


def cell(times: list[float] | str) -> str:
    """The median and the spread in microseconds, or the sentence."""
    if isinstance(times, str):
        return times
    least, most = (f"{bound(times) * 1e6:.1f}" for bound in (min, max))
    return f"{statistics.median(times) * 1e6:.1f} µs ({least}–{most})"


def table(results: dict[str, dict[str, list[float] | str]]) -> str:
    """A row a contestant, a column a case."""
    names = list(results)
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for label in gpu_peers.CONTESTANTS:
        lines.append(f"| {label} | " + " | ".join(cell(results[n][label]) for n in names) + " |")
    return "\n".join(lines)


def machine() -> str:
    """GPU, driver and libraries."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    gpu = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{date.today().isoformat()}, {gpu or 'unknown GPU'}, {', '.join(versions)}"


def tests_pass() -> bool:
    """Run the tests that need a device."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
    return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--no-tests", action="store_true", help="measure alone")
    arguments = parser.parse_args()
    reason = unavailable("cupy")
    if reason is not None:
        print(f"No CUDA device to measure on: backend 'cupy': {reason}")
        return 2
    if not arguments.no_tests and not tests_pass():
        print("Tests on the device failed: nothing is measured. --no-tests measures all the same.")
        return 1
    results = {}
    for case in CASES:
        print(case.name, flush=True)
        results[case.name] = measure(case)
    text = (
        f"{machine()}\n\nTime of a training step with Adam, in float32 unless said: the median of "
        f"{REPEATS} runs after one to warm up, in brackets the least and the most; each run "
        f"waits for the device once, at its end.\n\n{table(results)}\n"
    )
    print(text)
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"gpu-{date.today().isoformat()}.md"
    path.write_text(text, encoding="utf-8")
    print(f"Written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
