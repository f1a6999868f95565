"""Measure how time and memory grow: ``python -m benchmarks.growth``.

Time per step and peak memory against width, depth, batch size and parameters; time per epoch
against rows; and an epoch over a `numpy.memmap` that is larger than the memory limit of the
process. Each point is a process of its own. Memory is the resident set: its peak (``VmHWM``), of
which NumPy, xpnet and compiled code take about 100 MB; for the file also ``VmRSS``, which includes
mapped pages of files.

    python -m benchmarks.growth --quick
    python -m benchmarks.growth --only memmap --gigabytes 6
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.cases import Array
from benchmarks.machine import description, environment, merged, sentence
from benchmarks.process import timed
from benchmarks.table import duration, row
from xpnet import MLP, Adam, CrossEntropy, TrainingStep
from xpnet.figure import new_figure
from xpnet.random import as_generator

LIMIT_MB = 1_000
COLUMNS = 784
RESULTS = Path(__file__).parent / "results"
BASE = {"n_in": 64, "width": 128, "depth": 2, "batch": 128}
SERIES: dict[str, list[dict[str, int]]] = {
    "width": [{**BASE, "width": width} for width in (16, 32, 64, 128, 256, 512, 1024, 2048)],
    "depth": [{**BASE, "depth": depth} for depth in (1, 2, 4, 8, 16, 32)],
    "batch": [{**BASE, "batch": batch} for batch in (8, 32, 128, 512, 2048, 8192)],
    # depth 2: 64 w + w² + 10 w and the biases
    "parameters": [{**BASE, "width": width} for width in (10, 70, 280, 960, 3_125, 5_440)],
    "rows": [{**BASE, "rows": rows} for rows in (1_000, 4_000, 16_000, 64_000, 256_000)],
}
QUICK = 3


def point(setting: dict[str, int], seconds: float) -> dict[str, float]:
    """Seconds of a step, or of an epoch if rows are given, with parameters and memory."""
    model = MLP(setting["n_in"], [setting["width"]] * setting["depth"], 10)
    if "rows" in setting:
        found = epoch_seconds(model, setting["rows"], setting["batch"])
    else:
        found = step_seconds(model, setting["n_in"], setting["batch"], seconds)
    return {
        **setting,
        "seconds": found,
        "n_parameters": model.layout.size,
        "peak_mb": memory("VmHWM"),
    }


def step_seconds(model: Any, n_in: int, batch: int, seconds: float) -> float:
    """The median over blocks, each from the initial parameters."""
    rng, step = as_generator(0), TrainingStep(model, CrossEntropy(), Adam())
    data = [
        (rng.standard_normal((batch, n_in), np.float32), rng.integers(0, 10, batch))
        for _ in range(4)
    ]
    begin = model.theta.copy()
    times: list[float] = []
    stop = perf_counter() + seconds
    while len(times) < 4 or perf_counter() < stop:
        model.theta[...] = begin
        start = perf_counter()
        for X, y in data:
            step(X, y, check=False)
        times.append((perf_counter() - start) / len(data))
    return statistics.median(times[1:])


def epoch_seconds(model: Any, rows: int, batch: int) -> float:
    """The faster of two epochs after a warm-up."""
    rng = as_generator(0)
    X = rng.standard_normal((rows, model.n_in), np.float32)
    y = rng.integers(0, 10, rows)
    history = model.fit(
        X,
        y,
        loss=CrossEntropy(),
        optimizer=Adam(),
        epochs=3,
        batch_size=batch,
        progress=False,
    )
    return float(min(history["seconds"][1:]))


def memory(key: str) -> float:
    """A value of /proc/self/status, in MB; NaN on other systems."""
    path = Path("/proc/self/status")
    if not path.exists():
        return float("nan")
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    return float("nan")


class Watch:
    """Records the memory of the process at every tenth step."""

    def __init__(self) -> None:
        self.peak, self.steps = 0.0, 0

    def apply(self, grad: Array) -> None:
        """Record it; called in every step like `Clip`, without changing the gradient."""
        self.steps += 1
        if self.steps % 10 == 0:
            self.peak = max(self.peak, memory("VmRSS"))


def train_from_file(path: str, rows: int) -> dict[str, float]:
    """An epoch over the file in batches of 1 024."""
    X = np.memmap(path, np.float32, "r", shape=(rows, COLUMNS))
    y = as_generator(0).integers(0, 10, rows)
    model, watch = MLP(COLUMNS, [200], 10), Watch()
    seconds = timed(
        lambda: model.fit(
            X,
            y,
            loss=CrossEntropy(),
            optimizer=Adam(),
            epochs=1,
            batch_size=1024,
            clip=watch,
            progress=False,
        )
    )
    return {"seconds": seconds, "largest_rss_mb": watch.peak, "peak_mb": memory("VmHWM")}


def memmap(gigabytes: float, variables: dict[str, str]) -> dict[str, Any]:
    """Write the file, train in a new process, remove the file."""
    rows = int(gigabytes * 1e9 / 4 / COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < 1.2 * gigabytes * 1e9:
            return {"skipped": f"{free / 1e9:.1f} GB free in {folder} are too few"}
        path = Path(folder) / "features.f32"
        rng = as_generator(0)
        with path.open("wb") as file:
            for start in range(0, rows, 8192):
                shape = min(8192, rows - start), COLUMNS
                file.write(rng.standard_normal(shape, np.float32).tobytes())
        found = in_process({"path": str(path), "rows": rows}, variables)
    return {"gigabytes": gigabytes, "rows": rows, "limit_mb": LIMIT_MB, **found}


def in_process(task: dict[str, Any], variables: dict[str, str]) -> dict[str, float]:
    """A point or the file in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", "--task", json.dumps(task)],
        cwd=Path(__file__).parents[1],
        env=merged(variables),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def page(results: dict[str, Any]) -> str:
    """Tables in Markdown."""
    parts = [f"## Growth\n\n{sentence(results['machine'])}"]
    for name, points in results["series"].items():
        lines = [row([name, "parameters", "time", "peak memory"]), row(["---:"] * 4)]
        for p in points:
            x = p["n_parameters"] if name == "parameters" else p[name]
            cells = [f"{x:,}", f"{p['n_parameters']:,}", duration(p["seconds"])]
            lines.append(row([*cells, f"{p['peak_mb']:.0f} MB"]))
        what = "an epoch against rows" if name == "rows" else f"a step against {name}"
        parts.append(f"Time of {what}:\n\n" + "\n".join(lines))
    file = results.get("memmap")
    if file:
        parts.append(file_sentence(file))
    return "\n\n".join(parts) + "\n"


def file_sentence(file: dict[str, Any]) -> str:
    """A sentence about the training from the file."""
    if "skipped" in file:
        return f"The file larger than memory was not trained on: {file['skipped']}."
    met = "within" if file["peak_mb"] < file["limit_mb"] else "**over**"
    return (
        f"An epoch over a numpy.memmap of {file['gigabytes']:g} GB ({file['rows']:,} rows of "
        f"{COLUMNS}, batch 1 024): {file['seconds']:.0f} s, resident at most "
        f"{file['peak_mb']:.0f} MB, mapped pages included ({met} {file['limit_mb']} MB)."
    )


def picture(results: dict[str, Any]) -> Any:
    """Time above, memory below, for each series; log axes."""
    series = results["series"]
    fig = new_figure(figsize=(3 * len(series), 5.4))
    axes = fig.subplots(2, len(series), squeeze=False, sharey="row")
    for (name, points), (time, space) in zip(series.items(), axes.T, strict=True):
        x = [p["n_parameters"] if name == "parameters" else p[name] for p in points]
        time.loglog(x, [1e3 * p["seconds"] for p in points], "o-", color="#0072B2", ms=4)
        space.loglog(x, [p["peak_mb"] for p in points], "s-", color="#D55E00", ms=4)
        space.set_xlabel(name)
        time.set_title("ms an epoch" if name == "rows" else "ms a step", fontsize=10)
        space.set_title("peak memory, MB", fontsize=10)
        for ax in (time, space):
            ax.grid(which="major", alpha=0.3)
            ax.spines[["top", "right"]].set_visible(False)
            ax.xaxis.set_major_formatter(plain)
            ax.xaxis.set_minor_formatter("")
            ax.yaxis.set_major_formatter(plain)
            ax.yaxis.set_minor_formatter("")
        time.set_xlim(min(x) / 1.5, max(10 * min(x), 1.5 * max(x)))
        space.set_xlim(time.get_xlim())
    peaks = [p["peak_mb"] for points in series.values() for p in points]
    axes[1, 0].set_ylim(min(100, *peaks) / 1.2, 1.2 * max(1000, *peaks))
    return fig


def plain(value: float, _: int) -> str:
    """Format numbers below ten thousand as digits, others as powers."""
    return f"{value:,g}" if 1e-3 <= value < 1e4 else f"{value:.0e}".replace("e+0", "e")


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Measure all selected points."""
    variables = environment(given.coretype, not given.no_numba, blas=True)
    results: dict[str, Any] = {"machine": description(given.coretype, not given.no_numba)}
    results["series"], seconds = {}, 0.2 if given.quick else 2.0
    for name, settings in SERIES.items():
        if name.startswith(given.only):
            chosen = settings[:QUICK] if given.quick else settings
            results["series"][name] = [
                repeated({"setting": s, "seconds": seconds}, variables, given.repeats)
                for s in chosen
            ]
    if "memmap".startswith(given.only):
        results["memmap"] = memmap(given.gigabytes, variables)
    return results


def repeated(task: dict[str, Any], variables: dict[str, str], repeats: int) -> dict[str, float]:
    """The repeat with the median time."""
    found = sorted((in_process(task, variables) for _ in range(repeats)), key=by_seconds)
    return found[len(found) // 2]


def by_seconds(point: dict[str, float]) -> float:
    """For sorting."""
    return point["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small points, one repeat, 0.2 GB")
    parser.add_argument("--only", default="", help="a series, or memmap")
    parser.add_argument("--repeats", type=int, help="default 3, quick 1")
    parser.add_argument("--gigabytes", type=float, help="of the file; default 6")
    parser.add_argument("--coretype", default="best", help="best, as-is, detect, or a name")
    parser.add_argument("--no-numba", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON file; a .md is written beside it")
    parser.add_argument("--picture", type=Path, help="default docs/growth.png, quick: none")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        task = json.loads(given.task)
        print(json.dumps(train_from_file(**task) if "path" in task else point(**task)))
        return
    given.repeats = given.repeats or (1 if given.quick else 3)
    given.gigabytes = given.gigabytes or (0.2 if given.quick else 6.0)
    results = run(given)
    print(page(results))
    write(results, given)


def write(results: dict[str, Any], given: argparse.Namespace) -> None:
    """Write JSON, Markdown and the figure."""
    date = results["machine"]["date"]
    out = given.out or RESULTS / f"growth-{'quick-' if given.quick else ''}{date}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(page(results), encoding="utf-8")
    drawn = given.picture or (None if given.quick else Path("docs") / "growth.png")
    if drawn is not None and results["series"]:
        picture(results).savefig(drawn, dpi=120)
    print(f"Wrote {os.fspath(out)}{'' if drawn is None else f' and {drawn}'}.")


if __name__ == "__main__":
    main()
