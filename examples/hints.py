"""Train a thin deep student with hints: first it learns the features of a teacher.

SGD alone cannot train five layers of sixteen sigmoid units, because the gradient vanishes. (Adam,
which divides the gradient by its size, reaches 0.94 from labels alone.) FitNets first regress a
middle layer of the student onto a hidden layer of a shallow, wide teacher, through a temporary
linear layer, and then train the whole student on labels. All students have the same number of
passes over the data. Hints to the first layer do not help: the layers above it still learn nothing.
A. Romero et al., "FitNets: hints for thin deep nets", 2015.

    python examples/hints.py [--epochs 100]
"""

from __future__ import annotations

from pathlib import Path

from lesson import BLUE, GREEN, GREY, ORANGE, PURPLE, arguments, new_figure, save

from xpnet import MLP, SGD, Adam, CrossEntropy, MinMax, Sigmoid, fit_hints
from xpnet.data import load_digits
from xpnet.metrics import accuracy

SCALING = MinMax(0, 16, to=(-1, 1))


def main(epochs: int, out: Path) -> None:
    digits = load_digits()
    data, test = (digits.X_train, digits.y_train), (digits.X_test, digits.y_test)
    how = {"batch_size": 32, "progress": False}
    teacher = MLP(64, [64], 10, preprocessing=SCALING)
    teacher.fit(*data, loss=CrossEntropy(), optimizer=Adam(lr=3e-3), epochs=30, **how)
    right = teacher.evaluate(*test, metrics=[accuracy])["accuracy"]
    print(f"test accuracy of the teacher, 64-64-10: {right:.3f}")

    figure, ax = new_figure(1, 1, (6.5, 4))
    print(f"{'student, 64-16-16-16-16-16-10':32} {'loss':>7} {'test accuracy':>14}")
    hinted = {"labels alone": None} | {f"hints to layer {n + 1}": n for n in range(3)}
    for (name, layer), colour in zip(hinted.items(), (GREY, ORANGE, PURPLE, BLUE), strict=True):
        student = MLP(64, [16] * 5, 10, activation=Sigmoid(), preprocessing=SCALING)
        left = epochs
        if layer is not None:
            places = {"student_layer": layer, "teacher_layer": 0}
            fit_hints(
                student,
                teacher,
                digits.X_train,
                optimizer=Adam(lr=3e-3),
                epochs=epochs // 4,
                **places,
                **how,
            )
            left = epochs - epochs // 4
        history = student.fit(
            *data,
            loss=CrossEntropy(),
            optimizer=SGD(lr=0.1),
            epochs=left,
            validation=test,
            metrics=[accuracy],
            **how,
        )
        print(f"{name:32} {history['loss'][-1]:7.3f} {history['val_accuracy'][-1]:14.3f}")
        at = [epochs - left + epoch for epoch in history["epoch"]]
        ax.plot(at, history["val_accuracy"], color=colour, label=name)
    ax.axhline(right, color=GREEN, ls=":", label="the teacher")
    ax.set(xlabel="epoch, hints included", ylabel="test accuracy", ylim=(0, 1))
    ax.set_title("Five layers of 16 sigmoid units on the digits")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.95))
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("hints", __doc__, epochs=100))
