"""Compare xpnet with other libraries on the CPU: ``python -m benchmarks.cpu``.

Every library trains the same network from the same parameters on the same batches, in a process of
its own; the order is reversed in every second repeat. A training step is the median over blocks of
steps in a process; the table has the median over the repeats, with minimum and maximum in brackets.
Compilation before the first step is not counted; it is in the JSON as ``first``.

    python -m benchmarks.cpu --quick                 # a minute or two, to check that it works
    python -m benchmarks.cpu --data-dir FOLDER       # with Fashion-MNIST for the whole fit
    python -m benchmarks.cpu --only "784-200-10"     # names with this prefix
    python -m benchmarks.cpu --coretype as-is        # OpenBLAS with the kernels it selects
    python -m benchmarks.cpu --no-numba              # xpnet without compiled loops
    python -m benchmarks.cpu --all                   # these three settings one after the other

PyTorch is measured with ``pip install torch==2.13.0``, the others with the extra ``bench``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, REFERENCE, Case
from benchmarks.machine import description, environment, sentence
from benchmarks.peers import PEERS, XPNET, Peer
from benchmarks.process import Task, measure, reference_steps
from benchmarks.table import FIT, MANY_ROWS, ONE_ROW, cell, markdown, verdicts

SETTINGS = {
    "OpenBLAS set right": {},
    "OpenBLAS as it is": {"coretype": "as-is"},
    "without Numba": {"no_numba": True},
}
RESULTS = Path(__file__).parent / "results"
DATA = Path(__file__).parents[2] / "shared" / "data" / "fashion-mnist"


def tasks(given: argparse.Namespace) -> dict[str, Task]:
    """Column name → what is measured."""
    seconds = 0.2 if given.quick else 2.0
    found: dict[str, Task] = {
        name: {"kind": "step", "case": name, "seconds": seconds} for name in CASES
    }
    fit = {"rows": 2_000, "epochs": 2} if given.quick else {"rows": 20_000, "epochs": 20}
    data_dir = None if given.data_dir is None else str(given.data_dir)
    found[FIT] = {"kind": "fit", "case": REFERENCE.name, "data_dir": data_dir, **fit}
    for name, rows in ((ONE_ROW, 1), (MANY_ROWS, 10_000)):
        found[name] = {
            "kind": "predict",
            "case": REFERENCE.name,
            "rows": rows,
            "seconds": seconds,
        }
    return {name: task for name, task in found.items() if name.startswith(given.only)}


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Run every repeat; return the contents of the JSON file."""
    times: dict[str, dict[str, list[float]]] = {}
    first: dict[str, dict[str, list[float]]] = {}
    accuracies: dict[str, list[float]] = {}
    for column, task in tasks(given).items():
        for peer, answer in in_turns(task, given):
            times.setdefault(column, {}).setdefault(peer, []).append(answer["seconds"])
            first.setdefault(column, {}).setdefault(peer, []).append(answer["first"])
            if "training_accuracy" in answer:
                accuracies.setdefault(peer, []).append(answer["training_accuracy"])
        for peer, values in times[column].items():
            print(f"{column}: {peer}: {cell(values)}", flush=True)
    add_sum_of_steps(times, given)
    return {
        "machine": description(given.coretype, not given.no_numba),
        "settings": {
            "quick": given.quick,
            "repeats": given.repeats,
            "coretype": given.coretype,
            "numba": not given.no_numba,
            "data": "Fashion-MNIST" if given.data_dir else "blobs of Fashion-MNIST's size",
        },
        "absent": absent(),
        "times": times,
        "first": first,
        "training_accuracy": accuracies,
    }


def in_turns(task: Task, given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run every library that supports the task, in alternating order."""
    case: Case = CASES[task["case"]]
    begins = tuple(given.peers.split(","))
    peers = [
        peer
        for peer in PEERS.values()
        if peer.takes(task["kind"], case) and not peer.missing() and peer.label.startswith(begins)
    ]
    for repeat in range(given.repeats):
        for peer in peers if repeat % 2 == 0 else peers[::-1]:
            yield peer.label, measure({**task, "peer": peer.label}, variables(peer, given))


def variables(peer: Peer, given: argparse.Namespace) -> dict[str, str]:
    """The environment of a peer's process; only xpnet runs without Numba."""
    numba = not given.no_numba or peer != XPNET
    return environment(given.coretype, numba, peer.blas)


def add_sum_of_steps(times: dict[str, dict[str, list[float]]], given: argparse.Namespace) -> None:
    """The number of steps of the whole fit times the time of one step, measured in the same run."""
    steps = times.get(REFERENCE.name, {}).get(XPNET.label)
    if FIT in times and steps:
        task = tasks(given)[FIT]
        n_steps = reference_steps(task["rows"], task["epochs"])
        times[FIT]["steps × step time"] = [n_steps * statistics.median(steps)]


def absent() -> dict[str, str]:
    """The peers that are not measured, with the reason."""
    missing = {label: peer.missing() for label, peer in PEERS.items()}
    return {label: f"{', '.join(names)} not installed" for label, names in missing.items() if names}


def page(results: dict[str, Any], title: str) -> str:
    """The results in Markdown."""
    settings = results["settings"]
    quick = " **Quick run: figures mean nothing.**" if settings["quick"] else ""
    accuracies = "; ".join(
        f"{name} {statistics.median(values):.3f}"
        for name, values in results["training_accuracy"].items()
    )
    parts = [
        f"## {title}\n\n{sentence(results['machine'])} Medians of {settings['repeats']} repeats "
        f"(least–most). Data of the whole fit: {settings['data']}.{quick}",
        markdown(results["times"], results["absent"]),
        verdicts(results["times"]),
    ]
    if accuracies:
        parts.append(f"Share of the training images right after the whole fit: {accuracies}.")
    return "\n\n".join(parts) + "\n"


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short, one repeat")
    parser.add_argument("--only", default="", help="only what begins with this")
    parser.add_argument("--peers", default="", help="only those that begin so, with commas")
    parser.add_argument("--repeats", type=int, help="default 5, quick 1")
    parser.add_argument("--out", type=Path, help="JSON file; a .md is written beside it")
    parser.add_argument(
        "--coretype", default="best", help="of OpenBLAS: best, as-is, detect, or a name"
    )
    parser.add_argument("--no-numba", action="store_true", help="xpnet without Numba")
    parser.add_argument("--all", action="store_true", help="the three settings")
    parser.add_argument("--data-dir", type=Path, default=DATA if DATA.is_dir() else None)
    given = parser.parse_args(words)
    given.repeats = given.repeats or (1 if given.quick else 5)
    return given


def main() -> None:
    given = arguments()
    name = "OpenBLAS " + given.coretype + ", no Numba" * given.no_numba
    chosen = SETTINGS if given.all else {name.replace("best", "set right"): {}}
    found, pages = {}, []
    for title, settings in chosen.items():
        found[title] = run(argparse.Namespace(**{**vars(given), **settings}))
        pages.append(page(found[title], title))
        print("\n" + pages[-1], flush=True)
    date = next(iter(found.values()))["machine"]["date"]
    out = given.out or RESULTS / f"cpu-{'quick-' if given.quick else ''}{date}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text("\n".join(pages), encoding="utf-8")
    print(f"Wrote {out} and {out.with_suffix('.md').name}.")


if __name__ == "__main__":
    main()
