"""Measure one peer in a process of its own, which prints one line of JSON.

`measure` starts the process; ``python -m benchmarks.process`` is that process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.cases import CASES, REFERENCE, Case, accuracy, batches, images, initial_parameters
from benchmarks.machine import merged
from benchmarks.peers import PEERS, Contestant, Peer

LONGEST_BLOCK = 320
"""Steps from the initial parameters to the end of a timed block: few enough that no moment of Adam
has decayed to a subnormal number, which is slow in every library."""

Task = dict[str, Any]
Answer = dict[str, Any]


def measure(task: Task, environment: dict[str, str]) -> Answer:
    """Run a task of `answer` in a new process.

    Raises:
        RuntimeError: if the process failed, with the end of its output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.process", json.dumps(task)],
        cwd=Path(__file__).parents[1],
        env=merged(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{task['peer']}, {task['kind']}:\n{done.stderr[-2000:]}")
    found: Answer = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(task: Task) -> Answer:
    """Seconds of a step, a whole training or a prediction, and of the first one, which compiles."""
    peer: Peer = PEERS[task["peer"]]
    case = CASES[task["case"]]
    if task["kind"] == "step":
        return time_step(peer, case, task["seconds"])
    if task["kind"] == "fit":
        return time_fit(peer, case, task)
    return time_predict(peer, case, task)


def time_step(peer: Peer, case: Case, seconds: float) -> Answer:
    """The median over blocks of steps, each from the initial parameters."""
    it = peer.contestant(case, initial_parameters(case))
    data = [it.prepare(X, y) for X, y in batches(case)]
    start = perf_counter()
    it.steps(data[:1])
    first = perf_counter() - start
    it.steps(data)
    it.reset()
    one = timed(lambda: it.steps(data))
    rounds = max(1, min(LONGEST_BLOCK // len(data), round(0.02 / one)))
    work = data * rounds
    blocks: list[float] = []
    stop = perf_counter() + seconds
    while len(blocks) < 3 or perf_counter() < stop:
        it.reset()
        blocks.append(timed(lambda: it.steps(work)) / len(work))
    return {"seconds": statistics.median(blocks), "first": first, "blocks": len(blocks)}


def time_fit(peer: Peer, case: Case, task: Task) -> Answer:
    """A whole training from bytes, after one epoch that compiles."""
    X, y = images(task["rows"], task["data_dir"])
    it = peer.contestant(case, initial_parameters(case))
    first = timed(lambda: it.fit(X, y, 1, case.batch))
    it.reset()
    seconds = timed(lambda: it.fit(X, y, task["epochs"], case.batch))
    found = accuracy(case, it.parameters(), X / 127.5 - 1, y)
    return {"seconds": seconds, "first": first, "training_accuracy": found}


def time_predict(peer: Peer, case: Case, task: Task) -> Answer:
    """The median over predictions of some rows."""
    X, _ = images(task["rows"], None)
    it: Contestant = peer.contestant(case, initial_parameters(case))
    predict = it.predictor(X)
    first = timed(predict)
    times: list[float] = []
    stop = perf_counter() + task["seconds"]
    while len(times) < 5 or perf_counter() < stop:
        times.append(timed(predict))
    half = len(times) // 2  # the first half is the warm-up
    return {"seconds": statistics.median(times[half:]), "first": first, "blocks": len(times)}


def timed(call: Callable[[], Any]) -> float:
    """Seconds of a call."""
    start = perf_counter()
    call()
    return perf_counter() - start


def reference_steps(rows: int, epochs: int) -> int:
    """The steps of a whole training of `REFERENCE`, short batches included."""
    return epochs * -(-rows // REFERENCE.batch)


if __name__ == "__main__":
    print(json.dumps(answer(json.loads(sys.argv[1]))))
