"""Measure the start of a process: ``python -m benchmarks.startup``.

Import time beyond NumPy's, installed size with dependencies, and the time from the start of a
process to the end of its first training epoch (64-64-10 on the embedded digits): cold, with an
empty code cache as after installation, and warm. Each is a process of its own; medians, with
minimum and maximum in brackets.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.machine import description, environment, merged, sentence
from benchmarks.table import cell, row
from xpnet.doctor import HARD

ROOT = Path(__file__).parents[1]
FIRST_EPOCH = """
from xpnet import MLP, Adam, CrossEntropy, MinMax
from xpnet.data import load_digits
digits = load_digits()
model = MLP(64, [64], 10, preprocessing=MinMax(0, 16, to=(-1, 1)))
model.fit(digits.X_train, digits.y_train, loss=CrossEntropy(), optimizer=Adam(), epochs=1,
          progress=False)
"""
CLOCK = "from time import perf_counter as t; import numpy; a = t(); import xpnet; print(t() - a)"
PEERS = {"PyTorch": ("torch",), "JAX": ("jax", "jaxlib"), "scikit-learn": ("scikit-learn", "scipy")}


def process_seconds(code: str, variables: dict[str, str]) -> tuple[float, str]:
    """The duration of a process, and its output."""
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=merged(variables),
        capture_output=True,
        text=True,
        check=True,
    )
    return perf_counter() - start, done.stdout


def import_seconds(variables: dict[str, str], repeats: int) -> list[float]:
    """Seconds of ``import xpnet`` after NumPy; the first process is not counted."""
    return [float(process_seconds(CLOCK, variables)[1]) for _ in range(repeats + 1)][1:]


def first_epochs(variables: dict[str, str], repeats: int) -> dict[str, list[float]]:
    """Times of alternating cold and warm processes; each pair starts with an empty cache."""
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    process_seconds("import xpnet", variables)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            there = {**variables, "NUMBA_CACHE_DIR": cache}
            for measured in times.values():
                measured.append(process_seconds(FIRST_EPOCH, there)[0])
    return times


def megabytes(names: tuple[str, ...]) -> float | None:
    """The size of installed packages; ``None`` if one is not installed."""
    total = 0
    for name in names:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            return None
        paths = (Path(str(file.locate())) for file in files)
        total += sum(path.stat().st_size for path in paths if path.is_file())
    return total / 1e6


def sizes() -> dict[str, float | None]:
    """The sizes of xpnet, of its dependencies, and of its peers without NumPy."""
    own = sum(path.stat().st_size for path in (ROOT / "xpnet").rglob("*") if is_installed(path))
    found: dict[str, float | None] = {"xpnet": own / 1e6}
    found["what xpnet needs: " + ", ".join(HARD)] = megabytes(HARD)
    found["Numba and llvmlite, the extra cpu"] = megabytes(("numba", "llvmlite"))
    for label, names in PEERS.items():
        found[f"{label} without NumPy: {', '.join(names)}"] = megabytes(names)
    return found


def is_installed(path: Path) -> bool:
    """Whether a file is part of the package and not a cache."""
    return path.is_file() and "__pycache__" not in path.parts


def page(results: dict[str, Any]) -> str:
    """A Markdown table."""
    lines = [f"## Start-up\n\n{sentence(results['machine'])}\n", row(["what", "figure"])]
    lines += [row(["---", "---:"]), row(["import xpnet after NumPy", cell(results["import"])])]
    for kind, what in (("cold", "nothing compiled yet"), ("warm", "compiled code on disk")):
        name = f"process start to the end of the first epoch, {what}"
        lines.append(row([name, cell(results["first_epoch"][kind])]))
    for name, size in results["megabytes"].items():
        lines.append(row([f"size of {name}", "absent" if size is None else f"{size:.1f} MB"]))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one repeat")
    parser.add_argument("--repeats", type=int, help="default 5, quick 1")
    parser.add_argument("--coretype", default="best", help="best, as-is, detect, or a name")
    parser.add_argument("--no-numba", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args()
    repeats = given.repeats or (1 if given.quick else 5)
    variables = environment(given.coretype, not given.no_numba, blas=True)
    results = {
        "machine": description(given.coretype, not given.no_numba),
        "import": import_seconds(variables, repeats),
        "first_epoch": first_epochs(variables, repeats),
        "megabytes": sizes(),
    }
    print(page(results))
    middle = statistics.median(results["first_epoch"]["cold"])
    warm = statistics.median(results["first_epoch"]["warm"])
    print(f"Compiling takes about {middle - warm:.1f} s, once after installation.")
    if given.out:
        given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
