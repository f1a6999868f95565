"""What a fresh process pays before its first epoch: ``python -m benchmarks.startup``.

The import is measured in processes of their own (medians of five); the first epoch, on the embedded
digits, in this one.
"""

from __future__ import annotations

import time

from xpnet import MLP, Adam, CrossEntropy, MinMax
from xpnet.data import load_digits
from xpnet.doctor import import_time


def first_epoch() -> float:
    """Seconds from the embedded file to the end of the first epoch of 64-64-10."""
    start = time.perf_counter()
    digits = load_digits()
    model = MLP(64, [64], 10, preprocessing=MinMax(0, 16, to=(-1, 1)))
    X, y = digits.X_train, digits.y_train
    model.fit(X, y, loss=CrossEntropy(), optimizer=Adam(), epochs=1, progress=False)
    return time.perf_counter() - start


def main() -> None:
    """Print a Markdown table."""
    print("| what | figure |\n|---|---|")
    for name, value in import_time():
        print(f"| {name} | {value} |")
    print(f"| first epoch on the digits, data included | {1e3 * first_epoch():.0f} ms |")


if __name__ == "__main__":
    main()
