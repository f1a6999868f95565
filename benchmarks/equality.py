"""Compare what two checkouts compute, to the bit: ``python -m benchmarks.equality --against PATH``.

Each checkout trains, predicts, differentiates and minimizes in processes of its own, with Numba and
without, from the same parameters on the same data: the cases of `benchmarks.equality_cases`. The
report lists each case with a digest that differs. The exit status is 1 if a difference is not one
of those in `ALLOWED`, or if replayed steps differ from eager ones where they did not before.

    python -m benchmarks.equality --against ../base               # some two minutes a checkout
    python -m benchmarks.equality --against ../base --only /Adam  # cases with this in their name
    python -m benchmarks.equality --against ../base --values      # and by how much they differ
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.equality_cases import ALLOWED

HERE = Path(__file__).resolve().parents[1]
CASES = HERE / "benchmarks" / "equality_cases.py"
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SETTINGS = {"with Numba": {"NUMBA_DISABLE_JIT": "0"}, "without Numba": {"NUMBA_DISABLE_JIT": "1"}}

Found = dict[str, Any]
"""What `equality_cases.digests` returns."""


@dataclass(frozen=True)
class Difference:
    """A digest that is not what it should be.

    Attributes:
        path: the case and the part of it.
        note: how it differs, or why it is missing.
        allowed: whether `ALLOWED` has it.
        share: by how much the numbers differ, as a share of the largest.
    """

    path: str
    note: str
    allowed: bool = False
    share: float = np.inf


def measure(checkout: Path, settings: dict[str, str], only: str, values: bool) -> Found:
    """Run the cases on a checkout, in a process of its own.

    Raises:
        RuntimeError: if the process fails, or imports xpnet from elsewhere.
    """
    environment = os.environ | ONE_THREAD | settings | {"PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digests.json"
        # -P: the folder of the script, which has modules of other names, stays off the path.
        call = [sys.executable, "-P", "-W", "ignore", str(CASES), str(file), "--only", only]
        call += ["--values"] if values else []
        done = subprocess.run(call, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the cases failed on {checkout}:\n{done.stderr[-2000:]}")
        found: Found = json.loads(file.read_text(encoding="utf-8"))
    if Path(found["xpnet"]) != checkout / "xpnet":
        raise RuntimeError(f"xpnet must be that of {checkout}; Python imported {found['xpnet']}.")
    return found


def compare(earlier: Found, here: Found) -> list[Difference]:
    """Every digest of ``earlier`` that ``here`` does not have, and every case that failed.

    Cases that only ``here`` has are not compared: the earlier checkout lacks what they test.
    """
    errors = {**earlier["errors"], **here["errors"]}
    found = [Difference(case, f"failed: {text}") for case, text in errors.items()]
    for path, digest in earlier["digests"].items():
        case = path.rpartition("/")[0]
        if case in errors or here["digests"].get(path) == digest:
            continue
        if path not in here["digests"]:
            found.append(Difference(path, "missing here"))
            continue
        share, ulps = distance(earlier["values"].get(path), here["values"].get(path))
        note = "another digest" if ulps is None else f"{share:.1e} of the largest, {ulps:.3g} ulp"
        # By the type of the model: its history is a list of Python's floats.
        eps = np.finfo("float32" if " float32" in path else "float64").eps
        limits = [limit + n * eps for part, (limit, n) in ALLOWED.items() if part in path]
        allowed = ulps is not None and any(share <= limit for limit in limits)
        found.append(Difference(path, note, allowed, share))
    return found


def compare_engines(earlier: Found, here: Found) -> list[Difference]:
    """Every digest of a replayed training that is not the eager one's.

    Allowed if the case has such a digest in ``earlier`` too: the engines call different BLAS
    routines for some products, those with one column for example.
    """
    before = {path.rpartition("/")[0] for path in engines_differ(earlier)}
    return [
        Difference(path, "differs from eager", path.rpartition("/")[0] in before)
        for path in sorted(engines_differ(here))
    ]


def engines_differ(found: Found) -> set[str]:
    """The digests of replayed trainings that are not the eager ones'."""
    digests = found["digests"]
    pairs = {path: path.replace(" replay/", " eager/", 1) for path in digests if " replay/" in path}
    return {path for path, eager in pairs.items() if digests[path] != digests.get(eager)}


def distance(earlier: Found | None, here: Found | None) -> tuple[float, float | None]:
    """The largest difference, as a share of the largest number, and in ulp of each number.

    Without values, or with those of other types or shapes, it is infinite.
    """
    if earlier is None or here is None:
        return np.inf, None
    a, b = decoded(earlier), decoded(here)
    if a.dtype != b.dtype or a.shape != b.shape or a.dtype.kind != "f":
        return np.inf, None
    gap, size = np.abs(a - b), np.maximum(np.abs(a), np.abs(b))
    if not np.all(np.isfinite(gap)):
        return np.inf, None
    share = gap.max() / max(size.max(), np.finfo(a.dtype).tiny)
    return float(share), float((gap / np.spacing(size)).max())


def decoded(kept: Found) -> np.ndarray[Any, Any]:
    """The array that `equality_cases.record` kept as text."""
    return np.frombuffer(base64.b64decode(kept["base64"]), kept["dtype"]).reshape(kept["shape"])


def report(differences: list[Difference]) -> str:
    """A table with a row for each case, its parts that differ, and the largest difference."""
    rows: dict[tuple[bool, str], list[Difference]] = {}
    for each in differences:
        rows.setdefault((each.allowed, each.path.rpartition("/")[0]), []).append(each)
    lines = ["| allowed | case | part | largest difference |", "|---|---|---|---|"]
    for (allowed, case), found in sorted(rows.items()):
        parts = ", ".join(dict.fromkeys(each.path.rpartition("/")[2] for each in found))
        note = max(found, key=lambda each: each.share).note
        lines.append(f"| {'yes' if allowed else '**no**'} | {case} | {parts} | {note} |")
    return "\n".join(lines)


def differences_of(
    checkouts: list[Path], setting: str, only: str, values: bool
) -> list[Difference]:
    """Measure and compare both checkouts, the earlier one first.

    Raises:
        RuntimeError: if they have no case in common.
    """
    results = []
    for checkout in checkouts:
        start = perf_counter()
        results.append(measure(checkout, SETTINGS[setting], only, values))
        n, seconds = len(results[-1]["digests"]), perf_counter() - start
        print(f"{setting}, {checkout}: {n} digests in {seconds:.0f} s", flush=True)
    earlier, here = (result["digests"].keys() for result in results)
    if not earlier & here:
        raise RuntimeError(f"no case has {only!r} in its name.")
    found = compare(*results) + compare_engines(*results)
    wrong = sum(not each.allowed for each in found)
    print(
        f"{len(earlier & here)} compared: {len(found) - wrong} differ as allowed, {wrong} "
        f"otherwise; {len(here - earlier)} are of this checkout alone",
        flush=True,
    )
    return found


def main() -> int:
    """Compare and report; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, required=True, help="the earlier checkout")
    parser.add_argument("--only", default="", help="a part of the names of the cases to run")
    parser.add_argument("--values", action="store_true", help="measure every difference")
    given = parser.parse_args()
    checkouts, failed = [given.against.resolve(), HERE], False
    for setting in SETTINGS:
        found = differences_of(checkouts, setting, given.only, given.values)
        if not all(each.allowed for each in found):
            # A process that compiles a loop runs another copy of it than those that read it from
            # the code cache, whose sums may be rounded otherwise; now both have read it.
            print(f"\n{report(found)}\n\nAgain, with every loop from the code cache:", flush=True)
            found = differences_of(checkouts, setting, given.only, given.values)
        print(f"\n{report(found)}\n" if found else "", flush=True)
        failed = failed or not all(each.allowed for each in found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
