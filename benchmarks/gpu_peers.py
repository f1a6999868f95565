"""Other libraries that take training steps on a GPU: functions of a case and a precision.

Each returns a `Contestant` with its data on the device, one batch for each timed step, and Adam
with its default settings. ``tf32`` and ``bf16`` are set as a user of the library sets them: by an
option of its products, or by ``autocast`` in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from benchmarks import gpu_device as device
from benchmarks.cases import Case, initial_parameters
from benchmarks.gpu_cases import n_parameters, n_steps
from benchmarks.gpu_device import MANY, Contestant, clock_of_host, labels
from xpnet.ops.operations import Precision

Maker = Callable[[Case, Precision], Contestant]

TORCH_DEVICE = "cuda"
JAX_PLATFORM = "gpu"
JAX_PRODUCTS = {"float32": "highest", "tf32": "TF32_TF32_F32", "bf16": "BF16_BF16_F32"}
"""Arguments of `jax.default_matmul_precision`; the default on a GPU is tf32."""


def by_torch(case: Case, precision: Precision, *, variant: str) -> Contestant:
    """PyTorch with its fused Adam: ``fused``, ``graph`` (CUDA graphs), or ``compiled``."""
    import torch as pt  # noqa: PLC0415

    from benchmarks.peers.torch_peer import network  # noqa: PLC0415

    pt.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    with pt.device(TORCH_DEVICE):
        net, graphs = network(case), variant == "graph"
    adam = pt.optim.Adam(net.parameters(), fused=True, capturable=graphs)
    X = pt.empty((n_steps(case) * case.batch, case.widths[0]), device=TORCH_DEVICE)
    y = pt.tensor(labels(case), device=TORCH_DEVICE)
    data = list(zip(X.normal_().split(case.batch), y.split(case.batch), strict=True))
    X_now, y_now = (part.clone() for part in data[0])

    def forward(X: Any, y: Any) -> Any:
        with _autocast(pt, precision):
            return pt.nn.functional.cross_entropy(net(X), y)

    if variant == "compiled":
        forward = pt.compile(forward, mode="reduce-overhead")

    def step(X: Any, y: Any) -> None:
        adam.zero_grad(set_to_none=True)  # a graph then overwrites gradients instead of adding
        forward(X, y).backward()
        adam.step()

    replay = _torch_graph(pt, lambda: step(X_now, y_now)) if graphs else None

    def copy_and_replay(X: Any, y: Any) -> None:
        assert replay is not None
        X_now.copy_(X)
        y_now.copy_(y)
        replay()

    def refresh(seed: int) -> None:
        pt.manual_seed(seed)
        X.normal_()

    def queue(steps: int) -> None:
        for i in range(steps):
            (copy_and_replay if graphs else step)(*data[i % len(data)])

    return Contestant(queue, refresh, device.torch_clock(pt))


def _autocast(pt: Any, precision: Precision) -> AbstractContextManager[Any]:
    if precision != "bf16":
        return nullcontext()
    context: AbstractContextManager[Any] = pt.autocast(TORCH_DEVICE, dtype=pt.bfloat16)
    return context


def _torch_graph(pt: Any, step: Callable[[], None]) -> Callable[[], None]:
    """Capture a step after a warm-up on a separate stream, as PyTorch documents it."""
    side = pt.cuda.Stream()
    side.wait_stream(pt.cuda.current_stream())
    with pt.cuda.stream(side):
        for _ in range(3):
            step()
    pt.cuda.current_stream().wait_stream(side)
    graph = pt.cuda.CUDAGraph()
    with pt.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


def jax_scan(case: Case, precision: Precision) -> Contestant:
    """JAX: ``lax.scan`` over an epoch; timed by the host, for lack of events."""
    import jax  # noqa: PLC0415

    from benchmarks.peers import jax_peer  # noqa: PLC0415

    if jax.default_backend() != JAX_PLATFORM:
        raise ImportError("JAX sees no GPU")
    one, rows = jax_peer.JaxContestant(case, _for_jax(jax, case), "scan"), len(labels(case))
    y, order = jax.numpy.array(labels(case), "int32"), np.arange(rows).reshape(-1, case.batch)
    whole: list[Any] = []

    def refresh(seed: int) -> None:
        whole[:] = [jax.random.normal(jax.random.key(seed), (rows, case.widths[0]), "float32")]

    def queue(steps: int) -> None:
        with jax.default_matmul_precision(JAX_PRODUCTS[precision]):
            for _ in range(max(steps // n_steps(case), 1)):
                one.carry = jax_peer.epoch(one.carry, case, *whole, y, order)

    def wait() -> None:
        jax.block_until_ready((one.carry, whole))  # type: ignore[no-untyped-call]

    return Contestant(queue, refresh, clock_of_host(wait))


def _for_jax(jax: Any, case: Case) -> list[Any]:
    """Initial parameters; the weights of a large network without batch norm are drawn there."""
    if n_parameters(case) <= MANY:
        return initial_parameters(case)
    arrays: list[Any] = []
    for a, b in zip(case.widths[:-1], case.widths[1:], strict=True):
        arrays += [0.01 * jax.random.normal(jax.random.key(a), (a, b)), jax.numpy.zeros(b)]
    return arrays


PEERS: dict[str, Maker] = {
    "PyTorch, CUDA graph": partial(by_torch, variant="graph"),
    "JAX, scan": jax_scan,
    "PyTorch, fused Adam": partial(by_torch, variant="fused"),
    "PyTorch, compiled (reduce-overhead)": partial(by_torch, variant="compiled"),
}
