"""Compare L-BFGS on all rows with Adam on mini-batches, by the same ``fit``.

Both minimize f(θ) = mean cross-entropy + ½ λ Σ W² on the digits, once for a linear model, where f
has one minimum, and once for a network with a hidden layer. Adam takes 64 images a step, so one
epoch is 23 steps; a method of ``xpnet.minimize`` uses every image in each evaluation of f and ∇f.
The table shows how near each method came to a stationary point, and its test accuracy. Run it with

    python examples/full_batch.py [--passes 100]
"""

from __future__ import annotations

import argparse
import time

from xpnet import MLP, Adam, CrossEntropy, MinMax, Sequential, Tanh
from xpnet.data import load_digits
from xpnet.metrics import accuracy
from xpnet.minimize import LBFGS, FirstOrder, Method, NonlinearCG, minimize
from xpnet.optimizers import Optimizer

L2 = 1e-3
OPTIMIZERS: dict[str, Optimizer | Method] = {
    "Adam, mini-batches of 64": Adam(lr=1e-3),
    "Adam, all rows": FirstOrder(Adam(lr=1e-2)),
    "conjugate gradients": NonlinearCG(),
    "L-BFGS": LBFGS(),
}


def model_of(hidden: list[int]) -> Sequential:
    """Return a network on the 64 pixels of a digit, always with the same initial θ."""
    return MLP(64, hidden, 10, activation=Tanh(), preprocessing=MinMax(0, 16), dtype="float64")


def main(passes: int) -> None:
    data = load_digits()
    X, y, loss = data.X_train, data.y_train, CrossEntropy()
    for hidden in ([], [32]):
        print("-".join(map(str, [64, *hidden, 10])))
        print(f"  {'':26}{'epochs':>8}{'f(θ)':>12}{'max |∂f/∂θ|':>14}{'test':>8}{'seconds':>9}")
        for name, optimizer in OPTIMIZERS.items():
            model = model_of(hidden)
            begin = time.perf_counter()
            history = model.fit(
                X, y, loss=loss, optimizer=optimizer, epochs=passes, l2=L2, progress=False
            )
            seconds = time.perf_counter() - begin
            value, gradient = model.objective(X, y, loss, l2=L2).value_and_grad(model.theta)
            test = model.evaluate(data.X_test, data.y_test, metrics=[accuracy])["accuracy"]
            print(
                f"  {name:26}{len(history):>8}{value:>12.8f}{abs(gradient).max():>14.1e}"
                f"{test:>8.4f}{seconds:>9.2f}"
            )

    model = model_of([])
    print("\nTo the minimum of the linear model, by minimize(model.objective(...), model.theta):\n")
    result = minimize(model.objective(X, y, loss, l2=L2), model.theta, LBFGS(m=20))
    print(result)
    model.theta, model.loss = result.x, loss
    test = model.evaluate(data.X_test, data.y_test, metrics=[accuracy])["accuracy"]
    print(f"test accuracy  {test:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="L-BFGS on all rows beside Adam on mini-batches.")
    parser.add_argument("--passes", type=int, default=100, help="epochs, or iterations at most")
    main(parser.parse_args().passes)
