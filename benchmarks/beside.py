"""Time two checkouts in turn: ``python -m benchmarks.beside EARLIER``.

Each task of `benchmarks.cpu` runs in a process of the earlier checkout and in one of this checkout,
in alternating order. The table has the median of the paired ratios, this over earlier, with the
least and the largest, so that a machine with fast and slow minutes moves both sides of a pair.

    python -m benchmarks.beside ../earlier --pairs 7
    python -m benchmarks.beside ../earlier --only "32-64-64-2" --quick
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.cpu import DATA, tasks
from benchmarks.machine import merged
from benchmarks.peers import XPNET
from benchmarks.process import Task
from benchmarks.table import cell

HERE = Path(__file__).resolve().parents[1]


def seconds(checkout: Path, task: Task) -> float:
    """The time of a task by the xpnet of a checkout, in a new process.

    Raises:
        RuntimeError: if the process fails, with the end of its output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.process", json.dumps({**task, "peer": XPNET.label})],
        cwd=checkout,
        env=merged({"PYTHONPATH": str(checkout)}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{checkout}, {task['kind']}:\n{done.stderr[-2000:]}")
    found: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return found


def pairs(earlier: Path, task: Task, count: int) -> list[tuple[float, float]]:
    """The times of the earlier and of this checkout, in alternating order."""
    found = []
    for number in range(count):
        order = [earlier, HERE] if number % 2 == 0 else [HERE, earlier]
        times = {checkout: seconds(checkout, task) for checkout in order}
        found.append((times[earlier], times[HERE]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("earlier", type=Path, help="the folder of the earlier checkout")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of processes per task")
    parser.add_argument("--only", default="", help="tasks with this prefix")
    parser.add_argument("--quick", action="store_true", help="short measurements")
    parser.add_argument("--data-dir", type=Path, default=DATA if DATA.is_dir() else None)
    given = parser.parse_args()
    print("| task | earlier | this | this / earlier |\n|---|---:|---:|---:|")
    for name, task in tasks(given).items():
        found = pairs(given.earlier.resolve(), task, given.pairs)
        before, after = ([pair[i] for pair in found] for i in (0, 1))
        ratios = sorted(new / old for old, new in found)
        middle = statistics.median(ratios)
        spread = f"{middle:.3f} ({ratios[0]:.3f}–{ratios[-1]:.3f})"
        print(f"| {name} | {cell(before)} | {cell(after)} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
