"""Time metrics of a million rows beside scikit-learn, in turns.

Run: ``python -m benchmarks.metrics [--rows 1000000] [--repeats 9]``. It prints the medians with
minimum and maximum, and the ratio of the medians; each value is compared with that of scikit-learn
first. The area under the ROC curve is to take at most 1.2 times as long.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from time import perf_counter

import numpy as np
import sklearn.metrics as peer

from benchmarks.table import cell, row
from xpnet.metrics import AUC, F1, AveragePrecision, accuracy, balanced_accuracy, brier, log_loss

LIMIT = 1.2
"""The largest ratio of the times of an area under the ROC curve."""

N_CLASSES = 10
Pair = tuple[Callable[[], object], Callable[[], object]]


def areas(rng: np.random.Generator, m: int) -> dict[str, Pair]:
    """Areas of two classes: scores with and without ties, in both dtypes, with weights."""
    target = (rng.random(m) < 0.3).astype(np.int64)
    score, weight = rng.normal(size=m) + target, rng.uniform(0, 2, m)
    kinds = {
        "float64": score,
        "float64, ties": np.round(score, 2),
        "float64, two scores": (score > 0.5).astype(float),
        "float32": score.astype(np.float32),
    }
    found: dict[str, Pair] = {}
    for kind, s in kinds.items():
        for name, w in (("", None), (", weights", weight)):
            found[f"AUC, {kind}{name}"] = (
                lambda s=s, w=w: AUC()(s, target, w),
                lambda s=s, w=w: peer.roc_auc_score(target, s, sample_weight=w),
            )
    found["average precision, float64"] = (
        lambda: AveragePrecision()(score, target),
        lambda: peer.average_precision_score(target, score),
    )
    return found


def others(rng: np.random.Generator, m: int) -> dict[str, Pair]:
    """Metrics of ten classes."""
    target = rng.integers(0, N_CLASSES, m)
    z = np.where(rng.random(m) < 0.7, target, rng.integers(0, N_CLASSES, m))
    p, weight = rng.dirichlet(np.ones(N_CLASSES), m), rng.uniform(0, 2, m)
    two, q = target % 2, p[:, 1]
    known = {"n_classes": N_CLASSES}
    return {
        "log loss, 2 classes": (lambda: log_loss(q, two), lambda: peer.log_loss(two, q)),
        "log loss, 10 classes": (lambda: log_loss(p, target), lambda: peer.log_loss(target, p)),
        "Brier, 10 classes": (lambda: brier(p, target), lambda: peer.brier_score_loss(target, p)),
        "accuracy": (lambda: accuracy(z, target), lambda: peer.accuracy_score(target, z)),
        "balanced accuracy": (
            lambda: balanced_accuracy(z, target, **known),
            lambda: peer.balanced_accuracy_score(target, z),
        ),
        "F1, macro": (
            lambda: F1()(z, target, **known),
            lambda: peer.f1_score(target, z, average="macro"),
        ),
        "F1, macro, weights": (
            lambda: F1()(z, target, weight, **known),
            lambda: peer.f1_score(target, z, average="macro", sample_weight=weight),
        ),
    }


def in_turns(pair: Pair, repeats: int) -> tuple[list[float], list[float]]:
    """The seconds of both, after a call of each that must agree."""
    ours, theirs = (float(call()) for call in pair)  # type: ignore[arg-type]
    if not abs(ours - theirs) <= 1e-12 * abs(theirs):
        raise AssertionError(f"{ours} differs from {theirs}")
    times: tuple[list[float], list[float]] = [], []
    for _ in range(repeats):
        for call, measured in zip(pair, times, strict=True):
            start = perf_counter()
            call()
            measured.append(perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    warnings.simplefilter("ignore")
    print(row([f"{given.rows} rows", "xpnet", "scikit-learn", "ratio", ""]))
    print(row(["---", "---:", "---:", "---:", "---"]))
    for name, pair in (areas(rng, given.rows) | others(rng, given.rows)).items():
        times = in_turns(pair, given.repeats)
        ratio = statistics.median(times[0]) / statistics.median(times[1])
        is_target = name.startswith("AUC")
        met = ("met" if ratio <= LIMIT else "**not met**") if is_target else ""
        print(row([name, *map(cell, times), f"{ratio:.2f}", met]))


if __name__ == "__main__":
    main()
