"""Time layers in training beside PyTorch, eager and compiled, in turns.

    python -m benchmarks.layers [--rounds 9] [--seconds 0.5] [--only "layer norm"] [--threads 2]

A step of 784-512-512-10 on a batch of 256, forward, backward and SGD, with each layer after both
hidden products, or with a residual second hidden layer; and a layer alone, 256 × 512, forward and
backward. Each library runs in a separate process, which waits while another one is timed. The
tables have medians with minimum and maximum, and the median of the ratios of each round. What a
layer adds is the step with it less the step without it, in the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

from benchmarks.machine import THREADS, merged
from benchmarks.table import cell, row

WIDTHS, BATCH = (784, 512, 512, 10), 256
PLAIN = "no further layer"
NETWORKS = (PLAIN, "layer norm", "RMS norm", "batch norm", "PReLU", "SwiGLU", "maxout", "residual")
ALONE = ("layer norm alone", "RMS norm alone", "PReLU alone")
PEERS = "xpnet", "PyTorch", "PyTorch, compiled"
PAUSE = 0.02
"""Seconds before a measurement, in which idle threads of another library fall asleep."""

Call = Callable[[], object]


# --- xpnet ----------------------------------------------------------------------------------------


def by_xpnet(name: str) -> Call:
    """A step, or the passes of a layer, by xpnet."""
    import xpnet  # noqa: PLC0415

    n = WIDTHS[1]
    norms = {"layer": xpnet.LayerNorm(), "RMS": xpnet.RMSNorm(), "batch": xpnet.BatchNorm()}
    norm = norms.get(name.partition(" ")[0])
    if name in ALONE:
        return xpnet_passes(norm or xpnet.PReLU())
    relu, last = xpnet.Activation(xpnet.ReLU()), xpnet.Dense(WIDTHS[-1])
    hidden: list[Any] = [xpnet.Dense(n, xpnet.ReLU())]
    if norm is not None:
        hidden = [xpnet.Dense(n), norm, relu]
    elif name not in (PLAIN, "residual"):
        hidden = {
            "PReLU": [xpnet.Dense(n), xpnet.PReLU()],
            "SwiGLU": [xpnet.GatedDense(n, xpnet.SiLU())],
            "maxout": [xpnet.Maxout(n)],
        }[name]
    second = [xpnet.Residual(*hidden)] if name == "residual" else hidden
    model = xpnet.Sequential([*hidden, *second, last], WIDTHS[0], rng=0)
    step = xpnet.TrainingStep(model, xpnet.CrossEntropy(), xpnet.SGD(1e-4))
    X, y = data()
    return lambda: step(X, y)


def xpnet_passes(layer: Any) -> Call:
    """Forward and backward of a layer on the memory of earlier passes."""
    from xpnet.backend import get_backend  # noqa: PLC0415
    from xpnet.layers import Context  # noqa: PLC0415
    from xpnet.ops import operations_for  # noqa: PLC0415

    x, dy = rows()
    parameters = layer.specs(x.shape[1]).parameters
    p = {s.name: np.ones(s.shape, "float32") for s in parameters}
    g = {s.name: np.ones(s.shape, "float32") for s in parameters}
    ctx = Context(operations_for(x), training=True, memory=get_backend("numpy"))

    def passes() -> None:
        ctx.begin_pass()
        _, saved = layer.forward(p, x, ctx)
        layer.backward(p, g, saved, dy, ctx)

    return passes


# --- PyTorch --------------------------------------------------------------------------------------


def by_torch(name: str, compiled: bool) -> Call:
    """A step, or the passes of a layer, by PyTorch."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    norms = {"layer": nn.LayerNorm, "RMS": nn.RMSNorm, "batch": nn.BatchNorm1d, "PReLU": nn.PReLU}
    kind = norms.get(name.partition(" ")[0])
    if name in ALONE:
        assert kind is not None
        return torch_passes(kind(WIDTHS[1]), compiled)
    layers: list[Any] = []
    for a, b in (WIDTHS[:2], WIDTHS[1:3]):
        if name in ("SwiGLU", "maxout"):
            layers.append(two_products(nn, torch, a, b, name))
            continue
        layers += [nn.Linear(a, b), *([kind(b)] if kind else [])]
        layers += [] if name == "PReLU" else [nn.ReLU()]
    if name == "residual":
        layers[2:] = [residual(nn, *layers[2:])]
    model = nn.Sequential(*layers, nn.Linear(*WIDTHS[2:]))
    X, y = map(torch.from_numpy, data())

    def loss() -> Any:
        return nn.functional.cross_entropy(model(X), y)

    run, sgd = (
        torch.compile(loss) if compiled else loss,
        torch.optim.SGD(model.parameters(), lr=1e-4, fused=True),
    )

    def step() -> None:
        sgd.zero_grad()
        run().backward()
        sgd.step()

    return step


def two_products(nn: Any, torch: Any, a: int, b: int, name: str) -> Any:
    """A layer of ``2 b`` affine functions of which two make an output: one product, as `glu`."""

    class TwoProducts(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.both = nn.Linear(a, 2 * b)

        def forward(self, x: Any) -> Any:
            first, second = self.both(x).chunk(2, dim=1)
            if name == "maxout":
                return torch.maximum(first, second)
            return first * nn.functional.silu(second)

    return TwoProducts()


def residual(nn: Any, *layers: Any) -> Any:
    """Layers in a row, with their input added to their output."""

    class Residual(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            return x + self.inner(x)

    return Residual()


def torch_passes(layer: Any, compiled: bool) -> Call:
    """Forward and backward of a module, with the gradient of its input."""
    import torch  # noqa: PLC0415

    x, dy = map(torch.from_numpy, rows())
    x.requires_grad_()
    run = torch.compile(layer) if compiled else layer

    def passes() -> None:
        x.grad = None
        layer.zero_grad()
        run(x).backward(dy)

    return passes


# --- processes ------------------------------------------------------------------------------------


def data() -> tuple[Any, Any]:
    """A batch."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(BATCH, WIDTHS[0])).astype("float32")
    return X, rng.integers(0, WIDTHS[-1], BATCH)


def rows() -> tuple[Any, Any]:
    """The input of a layer, and the gradient of its output."""
    x, dy = np.random.default_rng(0).normal(size=(2, BATCH, WIDTHS[1])).astype("float32")
    return x, dy


def work(peer: str) -> None:
    """Answer each line, a name and seconds, by the median seconds of a call."""
    calls: dict[str, Call] = {}
    for line in sys.stdin:
        name, seconds = json.loads(line)
        if name not in calls:
            calls[name] = by_xpnet(name) if peer == "xpnet" else by_torch(name, "," in peer)
            for _ in range(20):
                calls[name]()
        sleep(PAUSE)
        print(json.dumps(median_of_blocks(calls[name], seconds)), flush=True)


def median_of_blocks(call: Call, seconds: float) -> float:
    """The median over blocks of calls, each of some 10 ms."""
    call()
    start = perf_counter()
    call()
    block = max(1, round(0.01 / (perf_counter() - start)))
    found: list[float] = []
    stop = perf_counter() + seconds
    while len(found) < 3 or perf_counter() < stop:
        start = perf_counter()
        for _ in range(block):
            call()
        found.append((perf_counter() - start) / block)
    return statistics.median(found)


class Worker:
    """A process of one library."""

    def __init__(self, peer: str, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.layers", "--peer", peer],
            cwd=Path(__file__).parents[1],
            env=merged(dict.fromkeys(THREADS, str(threads))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, name: str, seconds: float) -> float:
        """The time of a call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, seconds]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args}: the process has ended")
        found: float = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


Times = dict[str, dict[str, list[float]]]
"""What was measured → library → seconds, one number for each round."""


def measured(given: argparse.Namespace) -> Times:
    """The times of all, in turns, after a round that compiles."""
    names = [n for n in (*NETWORKS, *ALONE) if n == PLAIN or n.startswith(given.only)]
    workers = {peer: Worker(peer, given.threads) for peer in PEERS}
    times: Times = {name: {peer: [] for peer in PEERS} for name in names}
    try:
        for number in range(given.rounds + 1):
            for name in names:
                for peer, worker in workers.items():
                    found = worker.seconds(name, given.seconds if number else 0.0)
                    times[name][peer] += [found] if number else []
    finally:
        for worker in workers.values():
            worker.close()
    return times


def ratio(mine: Sequence[float], other: Sequence[float]) -> str:
    """The median of the ratios of each round, with the least and the largest."""
    found = sorted(a / b for a, b in zip(mine, other, strict=True))
    return f"{statistics.median(found):.2f} ({found[0]:.2f}–{found[-1]:.2f})"


def page(times: Times) -> str:
    """The tables."""
    ours, *others = PEERS
    heads = [*PEERS, *(f"xpnet / {peer}" for peer in others)]
    lines = [row(["step", *heads]), row(["---"] + ["---:"] * len(heads))]
    for name, found in times.items():
        ratios = [ratio(found[ours], found[peer]) for peer in others]
        lines.append(row([name, *(cell(found[peer]) for peer in PEERS), *ratios]))
    lines += ["", row(["what it adds to a step", *PEERS]), row(["---"] + ["---:"] * len(PEERS))]
    for name in (n for n in times if n not in (PLAIN, *ALONE)):
        pairs = (zip(times[name][p], times[PLAIN][p], strict=True) for p in PEERS)
        added = [[1e3 * (a - b) for a, b in each] for each in pairs]
        spreads = [f"{statistics.median(a):.2f} ms ({min(a):.2f}–{max(a):.2f})" for a in added]
        lines.append(row([name, *spreads]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--only", default="", help="only what begins with this")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        work(given.peer)
    else:
        print(page(measured(given)))


if __name__ == "__main__":
    main()
