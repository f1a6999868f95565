"""Several threads that use one model at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier, Event

import numpy as np
import pytest
from helpers.backends import require_backend
from helpers.nested_layers import Chain

from xpnet import MLP, Adam, CrossEntropy, Dense, Sequential, Tanh
from xpnet.layers import LayerSpec

N_THREADS = 3


@dataclass(frozen=True)
class Meets:
    """A layer without parameters, in which the threads wait for each other."""

    barrier: Barrier = field(default_factory=lambda: Barrier(N_THREADS, timeout=60))
    passes: list = field(default_factory=list)

    def specs(self, n_in):
        return LayerSpec(n_in)

    def forward(self, p, x, ctx):
        ctx.claim()
        self.barrier.wait()  # every thread has claimed its context
        self.passes.append((ctx, int(ctx.key)))
        return x, None


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("backend", ["numpy", "array_api_strict"])
def test_threads_share_no_context(backend, nested):
    require_backend(backend)
    layer = Meets()
    model = Sequential([Dense(3), Chain((layer,)) if nested else layer], 4, backend=backend)
    rows = np.ones((2, 4), np.float32)
    with ThreadPoolExecutor(N_THREADS) as pool:
        for output in pool.map(model.forward, [rows] * N_THREADS):
            assert output.shape == (2, 3)
    contexts, keys = zip(*layer.passes, strict=True)
    assert len(set(map(id, contexts))) == N_THREADS
    assert len(set(keys)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", [None, "eager"])
def test_fit_equals_fit_while_threads_predict(engine, rng):
    X, y = rng.normal(size=(200, 4)), np.arange(200) % 3
    settings = {"loss": CrossEntropy(), "optimizer": Adam(), "epochs": 10, "progress": False}
    ends = []
    for n_threads in (0, N_THREADS):
        model = MLP(4, [8, 6], 3, activation=Tanh(), batch_norm=True, dropout=0.2, dtype="float64")
        trained = Event()

        def predict(n_rows, model=model, trained=trained):
            """Predict at least once, and until the training has ended."""
            while True:
                output = model.forward(X[:n_rows])
                assert output.shape == (n_rows, 3)
                assert np.isfinite(output).all()
                if trained.is_set():
                    return

        with ThreadPoolExecutor(N_THREADS) as pool:
            running = [pool.submit(predict, n_rows) for n_rows in (1, 30, 150)[:n_threads]]
            try:
                model.fit(X, y, engine=engine, **settings)
            finally:
                trained.set()
            for each in running:
                each.result()
        ends.append((model.theta, model.statistics, model.forward(X)))
    for alone, together in zip(*ends, strict=True):
        np.testing.assert_array_equal(together, alone)
