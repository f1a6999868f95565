"""Compare the initializers: the signal in five layers, and what the network learns.

The network is 64-64-64-64-64-64-10 with tanh, on the digits. A layer of n inputs multiplies the
variance of the signal by about n Var(W), as long as tanh is nearly linear:

    too small (N(0, 0.01²)): the signal vanishes within five layers, and so does the gradient;
    all weights equal (zeros, ones, a constant): all units of a layer compute and learn the same;
    too large (N(0, 1), U(−1, 1)): most tanh saturate at ±1, where the derivative is nearly 0;
    Var(W) of the order 1/n (LeCun, Glorot, He, orthogonal): the signal keeps its size.

FanInUniform, the default of PyTorch's Linear, is the smallest of the last group, and the signal
fades: the variance of U(−1/√n, 1/√n) is not 1/n but 1/(3n). Between layers of one width LecunNormal
and GlorotNormal are the same. X. Glorot, Y. Bengio, "Understanding the difficulty of training deep
feedforward neural networks", 2010. The left plot shows the network before training, the right one
the training. Run it with

    python examples/initializers_compared.py [--epochs 20]
"""

from __future__ import annotations

from pathlib import Path

from lesson import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    YELLOW,
    arguments,
    new_figure,
    save,
)

from xpnet import MLP, SGD, CrossEntropy, MinMax, Tanh, initializers, inspect_layers, metrics
from xpnet.data import load_digits

DEPTH = 5
SETTINGS = {
    "Zeros": (initializers.Zeros(), GREY, "-"),
    "Ones": (initializers.Ones(), BLACK, "-"),
    "Constant(0.1)": (initializers.Constant(0.1), BLACK, ":"),
    "Normal(0.01)": (initializers.Normal(0.01), YELLOW, "-"),
    "Normal(1)": (initializers.Normal(1.0), ORANGE, "-"),
    "Uniform(1)": (initializers.Uniform(1.0), ORANGE, "--"),
    "LecunNormal": (initializers.LecunNormal(), SKY, "-"),
    "LecunUniform": (initializers.LecunUniform(), SKY, "--"),
    "FanInUniform": (initializers.FanInUniform(), SKY, ":"),
    "GlorotNormal": (initializers.GlorotNormal(), BLUE, "-"),
    "GlorotUniform": (initializers.GlorotUniform(), BLUE, "--"),
    "HeNormal": (initializers.HeNormal(), GREEN, "-"),
    "HeUniform": (initializers.HeUniform(), GREEN, "--"),
    "Orthogonal": (initializers.Orthogonal(), PURPLE, "-"),
}


def main(epochs: int, out: Path) -> None:
    digits = load_digits()
    X, y = digits.X_train, digits.y_train
    figure, (left, right) = new_figure(1, 2, (11, 4.4))
    print(f"{'':12} {'std of output, by layer':23} {'saturated':>11} {'training':>9} {'test':>9}")
    print(f"{'initializer':13} {1:>6} {3:>6} {5:>6} {'in layer 5':>12} {'loss':>9} {'accuracy':>9}")
    for name, (initializer, colour, dashes) in SETTINGS.items():
        model = MLP(
            *(64, [64] * DEPTH, 10),
            activation=Tanh(),
            weight_init=initializer,
            preprocessing=MinMax(0, 16, to=(-1, 1)),
        )
        report = inspect_layers(model, X)
        spread = [layer.output.std for layer in report][:DEPTH]
        history = model.fit(
            *(X, y), loss=CrossEntropy(), optimizer=SGD(0.05), epochs=epochs, progress=False
        )
        test = model.evaluate(digits.X_test, digits.y_test, metrics=[metrics.accuracy])
        sizes = " ".join(f"{spread[layer]:6.3f}" for layer in (0, 2, 4))
        learned = f"{history['loss'][-1]:9.3f} {test['accuracy']:9.3f}"
        print(f"{name:13} {sizes} {report[DEPTH - 1].saturated:12.2f} {learned}")
        left.plot(range(1, DEPTH + 1), spread, color=colour, ls=dashes, label=name)
        right.semilogy(history["epoch"], history["loss"], color=colour, ls=dashes, label=name)
    left.set(xlabel="hidden layer", ylabel="standard deviation of its output")
    left.set(title="Before training", ylim=(-0.03, 1.05))
    right.set(xlabel="epoch", ylabel="training loss", title="While training (SGD, rate 0.05)")
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.25)
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("initializers_compared", __doc__, epochs=20))
