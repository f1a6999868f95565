"""JAX: a step by ``value_and_grad`` and Adam in one jit, old parameters and state donated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Array, Case


def forward(case: Case, parameters: list[Any], X: Any, running: list[Any] | None) -> Any:
    """The output and the new running statistics; ``running`` is ``None`` without batch norm."""
    left, new = iter(parameters), []
    n_layers = len(case.widths) - 1
    for i in range(n_layers):
        z = X @ next(left)
        if case.batch_norm and i < n_layers - 1:
            mean, var = z.mean(axis=0), z.var(axis=0)
            z = (z - mean) * jax.lax.rsqrt(var + 1e-5) * next(left) + next(left)
            if running is not None:
                old, m = running[i], X.shape[0]
                new.append((0.9 * old[0] + 0.1 * mean, 0.9 * old[1] + 0.1 * var * (m / (m - 1))))
        else:
            z = z + next(left)
        if i < n_layers - 1:
            z = jax.nn.relu(z) if case.activation == "relu" else jax.nn.sigmoid(z)
        X = z
    return X, new


def mean_loss(parameters: list[Any], case: Case, running: list[Any], X: Any, y: Any) -> Any:
    """Softmax cross-entropy, and the running statistics."""
    output, new = forward(case, parameters, X, running)
    picked = jnp.take_along_axis(output, y[:, None], axis=1)[:, 0]
    return (jax.nn.logsumexp(output, axis=1) - picked).mean(), new


def adam(carry: Any, case: Case, X: Any, y: Any) -> Any:
    """One step of Adam with its usual settings."""
    parameters, s, r, t, running = carry
    g, running = jax.grad(mean_loss, has_aux=True)(parameters, case, running, X, y)
    t = t + 1
    s = [0.9 * a + 0.1 * b for a, b in zip(s, g, strict=True)]
    r = [0.999 * a + 0.001 * b * b for a, b in zip(r, g, strict=True)]
    lr, root = 1e-3 / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
    parameters = [
        p - lr * a / (jnp.sqrt(b) / root + 1e-8) for p, a, b in zip(parameters, s, r, strict=True)
    ]
    return parameters, s, r, t, running


step = partial(jax.jit, static_argnums=1, donate_argnums=0)(adam)


@partial(jax.jit, static_argnums=1, donate_argnums=0)
def epoch(carry: Any, case: Case, X: Any, y: Any, order: Any) -> Any:
    """A step on every row of ``order: (n_steps, batch)``."""

    def body(carry: Any, rows: Any) -> Any:
        return adam(carry, case, X[rows], y[rows]), None

    return jax.lax.scan(body, carry, order)[0]


class JaxContestant:
    """Parameters and state of Adam, replaced by each step."""

    def __init__(self, case: Case, parameters: list[Array], variant: str) -> None:
        self.case, self.first, self.by_scan = case, parameters, variant == "scan"
        self.reset()

    def reset(self) -> None:
        """Restore the initial state in new arrays, since the old ones may have been donated."""
        p = [jnp.array(a) for a in self.first]
        s, r = ([jnp.zeros_like(a) for a in p] for _ in range(2))
        n_normed = len(self.case.widths) - 2 if self.case.batch_norm else 0
        widths = self.case.widths[1 : 1 + n_normed]
        running = [(jnp.zeros(width), jnp.ones(width)) for width in widths]
        self.carry = p, s, r, jnp.zeros((), jnp.float32), running
        jax.block_until_ready(self.carry)

    def prepare(self, X: Array, y: Array) -> tuple[Any, Any]:
        """Arrays of JAX, with int32 labels."""
        return jax.block_until_ready((jnp.array(X), jnp.array(y, jnp.int32)))

    def steps(self, batches: list[Any]) -> None:
        """Dispatch one step after the other and wait for the last."""
        for X, y in batches:
            self.carry = step(self.carry, self.case, X, y)
        jax.block_until_ready(self.carry)

    def parameters(self) -> list[Array]:
        """As NumPy arrays."""
        return [np.array(p) for p in self.carry[0]]

    def fit(self, X: Array, y: Array, epochs: int, batch: int) -> None:
        """On device arrays, indexed there; by ``scan`` an epoch of full batches is one call."""
        features = jnp.array(X).astype(jnp.float32) * (2 / 255) - 1
        labels = jnp.array(y, jnp.int32)
        rng, full = np.random.default_rng(0), len(X) // batch * batch
        for _ in range(epochs):
            order = rng.permutation(len(X))
            if self.by_scan:
                rows = order[:full].reshape(-1, batch)
                self.carry = epoch(self.carry, self.case, features, labels, rows)
                order = order[full:]
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                self.carry = step(self.carry, self.case, *taken(features, labels, rows))
        jax.block_until_ready(self.carry)

    def predictor(self, X: Array) -> Callable[[], Any]:
        """A jitted forward pass."""
        features = jnp.array(X).astype(jnp.float32) * (2 / 255) - 1
        parameters = self.carry[0]

        @jax.jit
        def classes(parameters: list[Any], X: Any) -> Any:
            return forward(self.case, parameters, X, None)[0].argmax(axis=1)

        return lambda: jax.block_until_ready(classes(parameters, features))


@jax.jit
def taken(X: Any, y: Any, rows: Any) -> Any:
    """The rows of a batch."""
    return X[rows], y[rows]


def contestant(case: Case, parameters: list[Array], variant: str) -> JaxContestant:
    return JaxContestant(case, parameters, variant)
