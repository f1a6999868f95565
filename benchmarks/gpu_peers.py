"""Libraries that take training steps on a GPU: functions of a case and a precision.

Each returns a `Contestant` with its data on the device, one batch for each timed step, and Adam
with its default settings. An epoch has as many steps, so that work done once an epoch counts once.
``tf32`` and ``bf16`` are set as a user of the library sets them: by an option of its products, or
by ``autocast`` in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import gpu_device as device
from benchmarks.cases import Case, initial_parameters
from benchmarks.gpu_cases import n_steps
from benchmarks.gpu_device import Contestant, clock_of_host
from xpnet import Adam, CrossEntropy
from xpnet.backend import Snapshot
from xpnet.data.prepare import prepare
from xpnet.engine.captured_epochs import CapturedEpochs
from xpnet.engine.eager_step import StepSettings
from xpnet.engine.select import step_for, steps_for
from xpnet.finite import first_not_finite
from xpnet.ops.cuda import operations
from xpnet.ops.cuda.matmul import Product, cublas_product
from xpnet.ops.operations import Precision

Maker = Callable[[Case, Precision], Contestant]

TORCH_DEVICE = "cuda"
JAX_PLATFORM = "gpu"
JAX_PRODUCTS = {"float32": "highest", "tf32": "TF32_TF32_F32", "bf16": "BF16_BF16_F32"}
"""Arguments of `jax.default_matmul_precision`; the default on a GPU is tf32."""


def labels(case: Case) -> np.ndarray[Any, Any]:
    """A class label for each row of all batches."""
    return np.random.default_rng(2).integers(0, case.widths[-1], n_steps(case) * case.batch)


def _rows(case: Case) -> tuple[Any, Any]:
    """Uninitialized features, and labels, on the device."""
    shape = n_steps(case) * case.batch, case.widths[0]
    return device.cupy().empty(shape, dtype="float32"), device.move(labels(case))


def _unfused(precision: Precision) -> Product | None:
    """The products of a precision without epilogues."""
    product = cublas_product(precision)
    return product and replace(product, epilogues=frozenset())


def xpnet_graph(case: Case, precision: Precision, epilogues: bool = True) -> Contestant:
    """The steps of `fit`, captured before the first; `beside_steps` measures the rest of an epoch.

    Without ``epilogues`` a separate kernel computes what could be fused into a product.
    """
    model, (X, y) = device.model_of(case), _rows(case)
    device.fill_normal(X, 0)
    how = StepSettings(CrossEntropy(), Adam(), engine="replay", precision=precision)
    state = how.optimizer.init(model.theta, model.layout)
    without = patch.object(operations, "checked_product", lambda xp, precision: _unfused(precision))
    rows = prepare(model.input_spec, X, y, how.loss).data
    with nullcontext() if epilogues else without:
        captured = steps_for(model.state, rows, how, state, batch_size=case.batch, drop_last=False)
    assert isinstance(captured, CapturedEpochs)
    rng, lrs = np.random.default_rng(0), [how.optimizer.lr] * captured.n_steps

    def queue(steps: int) -> None:
        for _ in range(max(steps // captured.n_steps, 1)):
            captured.epoch(rng.permutation(len(X)), lrs)

    return Contestant(queue, partial(device.fill_normal, X), device.cupy_clock())


def beside_steps(case: Case, precision: Precision) -> Contestant:
    """The work of `fit` once an epoch: copy θ to the host and check that it is finite."""
    model = device.model_of(case)
    good = Snapshot([model.theta, model.statistics])

    def queue(times: int) -> None:
        for _ in range(times):
            good.take()
            assert first_not_finite(model.theta) is None

    return Contestant(queue, lambda seed: None, device.cupy_clock())


def xpnet_eager(case: Case, precision: Precision) -> Contestant:
    """The steps of the eager engine."""
    model, (X, y) = device.model_of(case), _rows(case)
    how = StepSettings(CrossEntropy(), Adam(), engine="eager", precision=precision)
    state = how.optimizer.init(model.theta, model.layout)
    eager = step_for(model.state, how, state)

    def step(X: Any, y: Any) -> None:
        eager(X, y, None, how.optimizer.lr)

    return Contestant(
        partial(_rotate, step, _parts(case, X, y)),
        partial(device.fill_normal, X),
        device.cupy_clock(),
    )


def cupy_plain(case: Case, precision: Precision) -> Contestant:
    """CuPy in the style of a NumPy textbook: an array for every operation, parameters in lists."""
    if case.batch_norm:
        raise NotImplementedError("the textbook has no batch norm here")
    cupy, (X, y) = device.cupy(), _rows(case)
    theta = [device.move(p) for p in initial_parameters(case)]
    s, r, steps_taken = [p * 0 for p in theta], [p * 0 for p in theta], count(1)
    sigmoid = case.activation == "sigmoid"

    def step(X: Any, y: Any) -> None:
        outputs, n, t = [X], len(theta) // 2, next(steps_taken)
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
        for k, g in enumerate(grads):
            s[k] = 0.9 * s[k] + 0.1 * g
            r[k] = 0.999 * r[k] + 0.001 * g * g
            root = cupy.sqrt(r[k] / (1 - 0.999**t)) + 1e-8
            theta[k] = theta[k] - 1e-3 / (1 - 0.9**t) * s[k] / root

    return Contestant(
        partial(_rotate, step, _parts(case, X, y)),
        partial(device.fill_normal, X),
        device.cupy_clock(),
    )


def _parts(case: Case, X: Any, y: Any) -> list[tuple[Any, Any]]:
    """The batches in rotation, views of all rows."""
    starts = range(0, n_steps(case) * case.batch, case.batch)
    return [(X[i : i + case.batch], y[i : i + case.batch]) for i in starts]


def _rotate(step: Callable[[Any, Any], None], data: list[tuple[Any, Any]], steps: int) -> None:
    """Take a step on each batch."""
    for i in range(steps):
        step(*data[i % len(data)])


def by_torch(case: Case, precision: Precision, *, variant: str) -> Contestant:
    """PyTorch: ``eager``, ``fused``, ``graph`` (CUDA graphs), ``compiled`` (reduce-overhead)."""
    import torch as pt  # noqa: PLC0415

    from benchmarks.peers.torch_peer import network  # noqa: PLC0415

    pt.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    net, graphs = network(case).to(TORCH_DEVICE), variant == "graph"
    fused = None if variant == "eager" else True  # None: PyTorch's default
    adam = pt.optim.Adam(net.parameters(), fused=fused, capturable=graphs)
    X = pt.empty((n_steps(case) * case.batch, case.widths[0]), device=TORCH_DEVICE)
    y = pt.tensor(labels(case), device=TORCH_DEVICE)
    data = _parts(case, X.normal_(), y)
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

    one = copy_and_replay if graphs else step
    return Contestant(partial(_rotate, one, data), refresh, device.torch_clock(pt))


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


def by_jax(case: Case, precision: Precision, *, by_scan: bool) -> Contestant:
    """JAX: a jitted step, or ``lax.scan`` over an epoch; timed by the host, for lack of events."""
    import jax  # noqa: PLC0415

    from benchmarks.peers import jax_peer  # noqa: PLC0415

    if jax.default_backend() != JAX_PLATFORM:
        raise ImportError("JAX sees no GPU")
    one = jax_peer.JaxContestant(case, initial_parameters(case), "scan" if by_scan else "step")
    y, shape = jax.numpy.array(labels(case), "int32"), (n_steps(case) * case.batch, case.widths[0])
    order = np.arange(n_steps(case) * case.batch).reshape(-1, case.batch)
    whole: list[Any] = []
    data: list[tuple[Any, Any]] = []

    def refresh(seed: int) -> None:
        whole[:] = [jax.random.normal(jax.random.key(seed), shape, "float32")]
        data[:] = [] if by_scan else _parts(case, whole[0], y)

    def step(X: Any, y: Any) -> None:
        one.carry = jax_peer.step(one.carry, case, X, y)

    def queue(steps: int) -> None:
        with jax.default_matmul_precision(JAX_PRODUCTS[precision]):
            if not by_scan:
                _rotate(step, data, steps)
                return
            for _ in range(max(steps // n_steps(case), 1)):
                one.carry = jax_peer.epoch(one.carry, case, *whole, y, order)

    def wait() -> None:
        jax.block_until_ready((one.carry, whole, data))  # type: ignore[no-untyped-call]

    return Contestant(queue, refresh, clock_of_host(wait))


IN_BITS: tuple[Precision, ...] = ("float32", "tf32", "bf16")
PEERS: dict[str, tuple[Maker, tuple[Precision, ...]]] = {
    "PyTorch, eager": (partial(by_torch, variant="eager"), ("float32",)),
    "PyTorch, fused Adam": (partial(by_torch, variant="fused"), IN_BITS),
    "PyTorch, CUDA graph": (partial(by_torch, variant="graph"), IN_BITS),
    "PyTorch, compiled (reduce-overhead)": (partial(by_torch, variant="compiled"), IN_BITS),
    "JAX, jit": (partial(by_jax, by_scan=False), IN_BITS),
    "JAX, scan": (partial(by_jax, by_scan=True), IN_BITS),
    "CuPy, plain": (cupy_plain, ("float32",)),
}
OURS: dict[str, tuple[Maker, tuple[Precision, ...]]] = {
    "xpnet, graph": (xpnet_graph, (*IN_BITS, "fp16")),
    "xpnet, graph, no epilogues": (partial(xpnet_graph, epilogues=False), IN_BITS),
    "xpnet, eager": (xpnet_eager, ("float32",)),
    "xpnet, what an epoch of fit adds": (beside_steps, ("float32",)),
}
