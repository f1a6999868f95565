"""A network as in a textbook: NumPy only, one new array for every formula.

Dense layers, sigmoid or ReLU, batch normalization, softmax cross-entropy, Adam.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def relu(z: Array) -> Array:
    return np.maximum(z, 0)


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Network:
    """Layers as dictionaries of arrays: W and b, or W, gamma and beta with batch norm."""

    def __init__(self, layers: list[dict[str, Array]], activation: str) -> None:
        self.layers = layers
        self.activation = activation
        self.running: list[dict[str, Any]] = [{"mean": 0.0, "var": 1.0} for _ in layers]

    def activate(self, z: Array) -> Array:
        """The activation of the hidden layers."""
        return relu(z) if self.activation == "relu" else sigmoid(z)

    def derivative(self, z: Array, a: Array) -> Array:
        """Its derivative."""
        if self.activation == "relu":
            return (z > 0).astype(z.dtype)
        return a * (1 - a)

    def forward(self, X: Array) -> tuple[Array, list[dict[str, Array]]]:
        """The output, and the values that the backward pass needs."""
        tapes = []
        for i, layer in enumerate(self.layers):
            tape = {"x": X}
            z = X @ layer["W"]
            if "gamma" in layer:
                mean, var = z.mean(axis=0), z.var(axis=0)
                tape["std"] = np.sqrt(var + 1e-5)
                tape["x_hat"] = (z - mean) / tape["std"]
                z = layer["gamma"] * tape["x_hat"] + layer["beta"]
                m, running = len(X), self.running[i]
                running["mean"] = 0.9 * running["mean"] + 0.1 * mean
                running["var"] = 0.9 * running["var"] + 0.1 * var * (m / (m - 1))
            else:
                z = z + layer["b"]
            X = z
            if i < len(self.layers) - 1:
                X = self.activate(z)
                tape["z"], tape["a"] = z, X
            tapes.append(tape)
        return X, tapes

    def gradients(self, X: Array, y: Array) -> tuple[float, list[dict[str, Array]]]:
        """The mean cross-entropy and its gradient by every parameter."""
        output, tapes = self.forward(X)
        p = softmax(output)
        m = len(y)
        loss = float(-np.log(p[np.arange(m), y]).mean())
        one_hot = np.eye(output.shape[1], dtype=output.dtype)[y]
        dz = (p - one_hot) / m
        grads: list[dict[str, Array]] = []
        for i in reversed(range(len(self.layers))):
            layer, tape = self.layers[i], tapes[i]
            if i < len(self.layers) - 1:
                dz = dz * self.derivative(tape["z"], tape["a"])
            grad = {}
            if "gamma" in layer:
                x_hat = tape["x_hat"]
                grad["gamma"], grad["beta"] = (dz * x_hat).sum(axis=0), dz.sum(axis=0)
                d_hat = dz * layer["gamma"]
                dz = m * d_hat - d_hat.sum(axis=0) - x_hat * (d_hat * x_hat).sum(axis=0)
                dz = dz / (m * tape["std"])
            else:
                grad["b"] = dz.sum(axis=0)
            grad["W"] = tape["x"].T @ dz
            grads.insert(0, grad)
            if i > 0:
                dz = dz @ layer["W"].T
        return loss, grads

    def predict(self, X: Array) -> Array:
        """The class of each row; batch norm with its running statistics."""
        for i, layer in enumerate(self.layers):
            X = X @ layer["W"]
            if "gamma" in layer:
                mean, var = self.running[i]["mean"], self.running[i]["var"]
                X = layer["gamma"] * (X - mean) / np.sqrt(var + 1e-5) + layer["beta"]
            else:
                X = X + layer["b"]
            if i < len(self.layers) - 1:
                X = self.activate(X)
        return X.argmax(axis=1)


class Adam:
    """Kingma and Ba, 2015."""

    def __init__(self, layers: list[dict[str, Array]], lr: float = 1e-3) -> None:
        self.lr, self.beta1, self.beta2, self.eps = lr, 0.9, 0.999, 1e-8
        self.m = [{name: np.zeros_like(p) for name, p in layer.items()} for layer in layers]
        self.v = [{name: np.zeros_like(p) for name, p in layer.items()} for layer in layers]
        self.t = 0

    def step(self, layers: list[dict[str, Array]], grads: list[dict[str, Array]]) -> None:
        """New parameters in the dictionaries."""
        self.t += 1
        for i, layer in enumerate(layers):
            for name in layer:
                g = grads[i][name]
                self.m[i][name] = self.beta1 * self.m[i][name] + (1 - self.beta1) * g
                self.v[i][name] = self.beta2 * self.v[i][name] + (1 - self.beta2) * g**2
                m_hat = self.m[i][name] / (1 - self.beta1**self.t)
                v_hat = self.v[i][name] / (1 - self.beta2**self.t)
                layer[name] = layer[name] - self.lr * m_hat / (np.sqrt(v_hat) + self.eps)
