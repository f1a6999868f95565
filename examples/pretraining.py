"""Pre-train five sigmoid layers one after the other.

The gradient of a deep sigmoid network shrinks to about a quarter from layer to layer, so the first
layers hardly learn (see vanishing_gradients.py). Pre-training gives each hidden layer a temporary
output layer and trains it alone, from the first to the last: no gradient passes through more than
one layer. Fine-tuning then trains all layers together. Both networks have the same number of passes
over the data, and both are trained by SGD; Adam, which divides the gradient by its size, trains
this network without pre-training. Y. Bengio et al., "Greedy layer-wise training of deep networks",
2006, algorithm 3.

    python examples/pretraining.py [--epochs 10]
"""

from __future__ import annotations

from pathlib import Path

from lesson import BLUE, GREY, ORANGE, arguments, new_figure, save

from xpnet import MLP, SGD, CrossEntropy, MinMax, Sequential, Sigmoid, pretrain_layers
from xpnet.data import load_digits
from xpnet.metrics import accuracy

DEPTH = 5


def deep() -> Sequential:
    scaling = MinMax(0, 16, to=(-1, 1))
    return MLP(64, [32] * DEPTH, 10, activation=Sigmoid(), preprocessing=scaling)


def main(epochs: int, out: Path) -> None:
    digits = load_digits()
    data, test = (digits.X_train, digits.y_train), (digits.X_test, digits.y_test)
    sgd, how = SGD(lr=0.5), {"loss": CrossEntropy(), "progress": False}

    def right(model: Sequential) -> float:
        return model.evaluate(*test, metrics=[accuracy])["accuracy"]

    plain, helped = deep(), deep()
    alone = plain.fit(*data, optimizer=sgd, epochs=(DEPTH + 3) * epochs, **how)
    pretraining = pretrain_layers(helped, *data, optimizer=sgd, epochs=epochs, **how)
    pretrained = right(helped)
    tuning = helped.fit(*data, optimizer=sgd, epochs=3 * epochs, **how)

    print(f"{'training':26} {'loss':>7} {'test accuracy':>14}")
    print(f"{'all layers at once':26} {alone['loss'][-1]:7.3f} {right(plain):14.3f}")
    for number, history in enumerate(pretraining, start=1):
        last = f"{pretrained:14.3f}" if number == DEPTH else ""
        print(f"{f'pre-training, layer {number}':26} {history['loss'][-1]:7.3f} {last}")
    print(f"{'then fine-tuning':26} {tuning['loss'][-1]:7.3f} {right(helped):14.3f}")

    figure, ax = new_figure(1, 1, (7, 4))
    ax.plot(alone["epoch"], alone["loss"], color=GREY, label="all layers at once")
    for layer, history in enumerate(pretraining):
        at = [layer * epochs + epoch for epoch in history["epoch"]]
        ax.plot(at, history["loss"], color=BLUE, label=None if layer else "one layer at a time")
        ax.text(at[0] + 2.2, 1.75, f"layer {layer + 1}", fontsize=8, color=BLUE)
    at = [DEPTH * epochs + epoch for epoch in tuning["epoch"]]
    ax.plot(at, tuning["loss"], color=ORANGE, label="then all together")
    ax.set(xlabel="epoch", ylabel="training loss", ylim=(0, 2.6))
    ax.set_title(f"{DEPTH} layers of 32 sigmoid units on the digits")
    ax.legend(loc="upper right", bbox_to_anchor=(1, 0.65))
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("pretraining", __doc__, epochs=10))
