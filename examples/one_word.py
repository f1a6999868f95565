"""Train the same network on NumPy or CuPy, selected by one word on the command line.

The script trains an MLP on the digits inside the package and prints the device, the time and the
accuracy on the test images. Run it with

    python examples/one_word.py numpy
    python examples/one_word.py cupy

One seed gives the same initial weights and batches on both, so the accuracies differ by rounding
only. Without a usable GPU, ``cupy`` exits with the reason.
"""

from __future__ import annotations

import argparse
import sys
import time

from xpnet import MLP, Adam, BackendUnavailableError, CrossEntropy
from xpnet.data import MinMax, load_digits
from xpnet.metrics import accuracy


def main(backend: str, epochs: int) -> None:
    digits = load_digits()
    model = MLP(64, [128], 10, backend=backend, preprocessing=MinMax(0, 16, to=(-1, 1)))
    start = time.perf_counter()
    model.fit(
        digits.X_train,
        digits.y_train,
        loss=CrossEntropy(),
        optimizer=Adam(lr=0.001),
        epochs=epochs,
        batch_size=32,
        progress=False,
    )
    seconds = time.perf_counter() - start
    right = model.evaluate(digits.X_test, digits.y_test, metrics=[accuracy])["accuracy"]
    print(f"{model.backend}: {epochs} epochs in {seconds:.2f} s, test accuracy {right:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The same MLP on NumPy or CuPy.")
    parser.add_argument("backend", choices=["numpy", "cupy"], nargs="?", default="numpy")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    try:
        main(arguments.backend, arguments.epochs)
    except BackendUnavailableError as error:
        sys.exit(str(error))
