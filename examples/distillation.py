"""Distill a network: the probabilities of a teacher contain more information than labels.

A label names one class. A trained teacher also says how likely each other class is. Its logits v,
softened by a temperature T, are the student's targets beside the label:

    loss = 0.9 T² H(softmax(v/T), softmax(z/T)) + 0.1 H(label, softmax(z))

The teacher was trained on all images; the student is narrow and sees few of them. At T = 1 the
teacher's probabilities are close to 0 and 1 and add little to the label; a higher T adds more. G.
Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015.

    python examples/distillation.py [--epochs 150] [--seeds 3]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLUE, GREEN, ORANGE, SKY, arguments, new_figure, save

from xpnet import MLP, Adam, CrossEntropy, Distillation, MinMax, distillation_targets
from xpnet.data import load_digits
from xpnet.metrics import accuracy

SCALING = MinMax(0, 16, to=(-1, 1))
WAYS = {
    "labels alone": (CrossEntropy(), ORANGE),
    "teacher, T = 1": (Distillation(1.0), GREEN),
    "teacher, T = 4": (Distillation(4.0), SKY),
    "teacher, T = 10": (Distillation(10.0), BLUE),
}
SIZES = (2, 5, 10, 20)


def main(epochs: int, seeds: int, out: Path) -> None:
    digits = load_digits()
    y, test = digits.y_train, (digits.X_test, digits.y_test)
    teacher = MLP(64, [256], 10, preprocessing=SCALING)
    teacher.fit(
        digits.X_train, y, loss=CrossEntropy(), optimizer=Adam(lr=3e-3), epochs=30, progress=False
    )

    def score(loss: CrossEntropy | Distillation, per_digit: int, seed: int) -> float:
        rng = np.random.default_rng(seed)
        of_each = [rng.choice(np.flatnonzero(y == k), per_digit, replace=False) for k in range(10)]
        rows = np.concatenate(of_each)
        X, targets = digits.X_train[rows], y[rows]
        if isinstance(loss, Distillation):
            targets = distillation_targets(teacher, X, targets)
        student = MLP(64, [16], 10, preprocessing=SCALING, rng=seed)
        how = {"optimizer": Adam(lr=0.01), "epochs": epochs, "batch_size": 10, "rng": seed}
        student.fit(X, targets, loss=loss, progress=False, **how)
        return student.evaluate(*test, metrics=[accuracy])["accuracy"]

    right = teacher.evaluate(*test, metrics=[accuracy])["accuracy"]
    figure, ax = new_figure(1, 1, (6.5, 4))
    labelled = [10 * size for size in SIZES]
    print(f"test accuracy of the teacher, 64-256-10, on all images: {right:.3f}")
    print(f"{'64-16-10, on images':20}" + "".join(f"{n:>8}" for n in labelled))
    for way, (loss, colour) in WAYS.items():
        scores = np.array([[score(loss, size, seed) for seed in range(seeds)] for size in SIZES])
        print(f"{way:20}" + "".join(f"{mean:8.3f}" for mean in scores.mean(axis=1)))
        ax.plot(labelled, scores.mean(axis=1), "o-", ms=4, color=colour, label=way)
    ax.axhline(right, color="0.5", ls=":", label="the teacher")
    ax.set(xscale="log", xlabel="training images of the student", ylabel="test accuracy")
    ax.set_xticks(labelled, [str(n) for n in labelled])
    ax.minorticks_off()
    ax.set_title("A thin student of 16 hidden units")
    ax.legend(loc="lower right")
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("distillation", __doc__, epochs=150, seeds=3))
