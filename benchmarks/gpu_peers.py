"""What is measured on a GPU: each entry makes of a case a function that takes steps and waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from typing import Any

import numpy as np

from benchmarks.cases import Case, batches, initial_parameters
from xpnet import MLP, Adam, CrossEntropy, ReLU, Sequential, Sigmoid
from xpnet.ops.reference import Precision
from xpnet.training.graph import engine_for
from xpnet.training.loop import Settings
from xpnet.training.raw import rows_of

Run = Callable[[int], None]
N_BATCHES = 8
"""Batches in rotation; an epoch, where there are epochs."""


def _model(case: Case) -> Sequential:
    phi = Sigmoid() if case.activation == "sigmoid" else ReLU()
    n_in, *hidden, n_out = case.widths
    norm = case.batch_norm
    return MLP(n_in, hidden, n_out, activation=phi, batch_norm=norm, backend="cupy")


def xpnet_eager(case: Case) -> Run:
    """`fit` with the plain path, over batches that lie on the device."""
    import cupy  # noqa: PLC0415

    model, (X, y) = _model(case), _on_device(case)
    how: dict[str, Any] = {"loss": CrossEntropy(), "optimizer": Adam(), "progress": False}

    def run(steps: int) -> None:
        epochs = max(steps // N_BATCHES, 1)
        model.fit(X, y, epochs=epochs, batch_size=case.batch, engine="eager", **how)
        cupy.cuda.Device().synchronize()

    return run


def xpnet_graph(case: Case, precision: Precision = "float32") -> Run:
    """The epochs that `fit` takes by captured steps; the capture itself is before the first."""
    model, (X, y) = _model(case), _on_device(case)
    how = Settings(CrossEntropy(), Adam(), batch_size=case.batch, engine="graph")
    state = how.optimizer.init(model.theta, model.layout)
    model.gradient.multiply_in(precision)
    captured, _ = engine_for(model, rows_of(model, X, y, None), how, state)
    assert captured is not None
    rng, lrs = np.random.default_rng(0), [how.optimizer.lr] * captured.n_steps

    def run(steps: int) -> None:
        for _ in range(max(steps // captured.n_steps, 1)):
            captured.epoch(rng.permutation(len(X)), lrs)

    return run


def _on_device(case: Case) -> tuple[Any, Any]:
    import cupy  # noqa: PLC0415

    X, y = (np.concatenate(part) for part in zip(*batches(case, N_BATCHES), strict=True))
    return cupy.asarray(X), cupy.asarray(y)


def cupy_plain(case: Case) -> Run:
    """CuPy as a textbook writes NumPy: an array for every operation, parameters in lists."""
    import cupy  # noqa: PLC0415

    if case.batch_norm:
        raise NotImplementedError("the textbook has no batch norm here")
    theta = [cupy.asarray(p) for p in initial_parameters(case)]
    data = cycle([(cupy.asarray(X), cupy.asarray(y)) for X, y in batches(case, N_BATCHES)])
    s, r, t = [p * 0 for p in theta], [p * 0 for p in theta], 0
    sigmoid = case.activation == "sigmoid"

    def step(X: Any, y: Any) -> None:
        nonlocal t
        outputs, n = [X], len(theta) // 2
        for i in range(n):
            z = outputs[-1] @ theta[2 * i] + theta[2 * i + 1]
            if i < n - 1:
                z = 1 / (1 + cupy.exp(-z)) if sigmoid else cupy.maximum(z, 0)
            outputs.append(z)
        e = cupy.exp(outputs[-1] - outputs[-1].max(axis=1, keepdims=True))
        delta = e / e.sum(axis=1, keepdims=True)
        delta[cupy.arange(len(y)), y] -= 1
        delta /= len(y)
        grads: list[Any] = [None] * len(theta)
        for i in reversed(range(n)):
            grads[2 * i], grads[2 * i + 1] = outputs[i].T @ delta, delta.sum(axis=0)
            if i:
                a = outputs[i]
                delta = (delta @ theta[2 * i].T) * (a * (1 - a) if sigmoid else a > 0)
        t += 1
        for k, g in enumerate(grads):
            s[k] = 0.9 * s[k] + 0.1 * g
            r[k] = 0.999 * r[k] + 0.001 * g * g
            root = cupy.sqrt(r[k] / (1 - 0.999**t)) + 1e-8
            theta[k] = theta[k] - 1e-3 / (1 - 0.9**t) * s[k] / root

    def run(steps: int) -> None:
        for X, y in islice(data, steps):
            step(X, y)
        cupy.cuda.Device().synchronize()

    return run


def _torch_network(case: Case) -> Any:
    from torch import nn  # noqa: PLC0415

    layers: list[Any] = []
    last = len(case.widths) - 2
    for i, (n_in, n_out) in enumerate(zip(case.widths[:-1], case.widths[1:], strict=True)):
        normed = case.batch_norm and i < last
        layers.append(nn.Linear(n_in, n_out, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(n_out))
        if i < last:
            layers.append(nn.Sigmoid() if case.activation == "sigmoid" else nn.ReLU())
    return nn.Sequential(*layers).cuda()


def torch(case: Case, variant: str) -> Run:
    """PyTorch: ``eager``, ``fused``, ``graph`` (CUDA graphs), ``compiled`` (reduce-overhead)."""
    import torch as pt  # noqa: PLC0415

    net = _torch_network(case)
    graphs = variant == "graph"
    adam = pt.optim.Adam(net.parameters(), fused=variant != "eager", capturable=graphs)
    data = [(pt.tensor(X).cuda(), pt.tensor(y).cuda()) for X, y in batches(case, N_BATCHES)]
    X_now, y_now = (part.clone() for part in data[0])

    def forward(X: Any, y: Any) -> Any:
        return pt.nn.functional.cross_entropy(net(X), y)

    if variant == "compiled":
        forward = pt.compile(forward, mode="reduce-overhead")

    def step(X: Any, y: Any) -> None:
        adam.zero_grad(set_to_none=not graphs)
        forward(X, y).backward()
        adam.step()

    replay = _torch_graph(pt, lambda: step(X_now, y_now)) if graphs else None

    def run(steps: int) -> None:
        for X, y in islice(cycle(data), steps):
            if replay is None:
                step(X, y)
            else:
                X_now.copy_(X)
                y_now.copy_(y)
                replay()
        pt.cuda.synchronize()

    return run


def _torch_graph(pt: Any, step: Callable[[], None]) -> Callable[[], None]:
    """A captured step, warmed up on a stream of its own as PyTorch's documentation has it."""
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


def jax(case: Case, by_scan: bool) -> Run:
    """JAX: a jitted step, or ``lax.scan`` over an epoch."""
    from benchmarks.peers import jax_peer  # noqa: PLC0415

    if jax_peer.jax.default_backend() != "gpu":
        raise ImportError("JAX sees no GPU")
    one = jax_peer.JaxContestant(case, initial_parameters(case), "scan" if by_scan else "step")
    pairs = batches(case, N_BATCHES)
    data = [one.prepare(*pair) for pair in pairs]
    whole = one.prepare(*(np.concatenate(part) for part in zip(*pairs, strict=True)))
    order = np.arange(N_BATCHES * case.batch).reshape(N_BATCHES, case.batch)

    def run(steps: int) -> None:
        if not by_scan:
            one.steps(list(islice(cycle(data), steps)))
            return
        for _ in range(max(steps // N_BATCHES, 1)):
            one.carry = jax_peer.epoch(one.carry, case, *whole, order)
        jax_peer.jax.block_until_ready(one.carry)

    return run


def floor(case: Case, precision: Precision = "float32") -> Run:
    """The products of a step alone through cuBLAS, into arrays made once, replayed as a graph."""
    import cupy  # noqa: PLC0415

    from xpnet.ops.cuda.gemm import product_of_own  # noqa: PLC0415
    from xpnet.training.graph import CudaCapture  # noqa: PLC0415

    product = product_of_own(precision)
    if product is None:
        raise ImportError("nvmath-python")
    shapes = [(case.batch, a, b) for a, b in zip(case.widths[:-1], case.widths[1:], strict=True)]
    work = []
    for index, (m, a, b) in enumerate(shapes):
        x, w, z = (cupy.ones(shape, "float32") for shape in ((m, a), (a, b), (m, b)))
        work += [(x, w, z), (x.T, z, w.copy())] + ([(z, w.T, x.copy())] if index else [])

    def products() -> None:
        for a, b, out in work:
            product(a, b, out)

    device = CudaCapture()
    device.begin()
    products()
    replay = device.capture(products)
    device.end()

    def run(steps: int) -> None:
        device.begin()
        for _ in range(steps):
            replay()
        device.end()

    return run


CONTESTANTS: dict[str, Callable[[Case], Run]] = {
    "xpnet, graph": xpnet_graph,
    "xpnet, graph, tf32": partial(xpnet_graph, precision="tf32"),
    "xpnet, graph, bf16": partial(xpnet_graph, precision="bf16"),
    "xpnet, eager": xpnet_eager,
    "PyTorch, eager": partial(torch, variant="eager"),
    "PyTorch, fused Adam": partial(torch, variant="fused"),
    "PyTorch, CUDA graph": partial(torch, variant="graph"),
    "PyTorch, compiled (reduce-overhead)": partial(torch, variant="compiled"),
    "JAX, jit": partial(jax, by_scan=False),
    "JAX, scan": partial(jax, by_scan=True),
    "CuPy, plain": cupy_plain,
    "the products alone": floor,
    "the products alone, tf32": partial(floor, precision="tf32"),
    "the products alone, bf16": partial(floor, precision="bf16"),
}
