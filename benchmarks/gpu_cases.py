"""The networks measured on a GPU, how much of each is measured, and bounds of a step's work."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.cases import CASES as HOST_CASES
from benchmarks.cases import Case

LARGE = Case("8192-8192-8192-1000, batch 8192", (8192, 8192, 8192, 1000), "relu", 8192)
LARGE_NORMED = Case("8192-8192-8192-1000, batch norm", LARGE.widths, "relu", 8192, batch_norm=True)
CASES = (
    HOST_CASES["784-200-10, batch 64"],
    HOST_CASES["784-512-512-10, batch 256"],
    HOST_CASES["784-512-512-10, batch norm"],
    LARGE,
)
MEMORY_CASES = CASES[1], LARGE, LARGE_NORMED
"""The cases whose memory is measured."""

SMALL_CASES = CASES[:3]

STEPS = {64: 640, 256: 320, 8192: 8}
"""Batch size → steps timed together."""

FEW_STEPS = 8
"""Steps timed together in other cases, and batches of an epoch whose memory is measured."""

FLOAT = 4
"""The bytes of a float32."""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        repeats: the timed runs of each row after a warm-up; one less for `LARGE`.
        divisor: the number by which the widths of networks are divided.
        copied: the float32 numbers that are copied to measure the bandwidth.
        side: the rows and columns of the arrays of single kernels.
        rows: the images of the reference experiment.
        epochs: its epochs.
    """

    repeats: int = 3
    divisor: int = 1
    copied: int = 1 << 28  # 1 GiB, far more than any cache
    side: int = 8192
    rows: int = 20_000
    epochs: int = 20

    def case(self, case: Case) -> Case:
        """The network that is measured under the name of a case."""
        if self.divisor == 1:
            return case
        widths = tuple(max(width // self.divisor, 2) for width in case.widths)
        return replace(case, widths=widths, batch=8)

    def repeats_of(self, case: Case) -> int:
        """The timed runs of a case."""
        return max(self.repeats - (case.batch >= LARGE.batch), 1)


FULL = Scale()
DRY_RUN = Scale(repeats=1, divisor=64, copied=1 << 12, side=64, rows=200, epochs=2)
"""Tiny networks, to see that everything runs; the numbers mean nothing."""


def n_steps(case: Case) -> int:
    """The steps that are timed together, which is the number of batches of an epoch.

    >>> n_steps(LARGE)
    8
    """
    return STEPS.get(case.batch, FEW_STEPS)


def products(case: Case) -> list[tuple[str, int, int, int]]:
    """The matrix products of a step: name, and ``m, n, k`` of ``(m, k) (k, n)``.

    >>> products(Case("small", (3, 4, 2), "relu", 8))
    [('z', 8, 4, 3), ('dW', 3, 4, 8), ('z', 8, 2, 4), ('dW', 4, 2, 8), ('dx', 8, 4, 2)]
    """
    found = []
    for layer, (a, b) in enumerate(zip(case.widths[:-1], case.widths[1:], strict=True)):
        found += [("z", case.batch, b, a), ("dW", a, b, case.batch)]
        if layer:
            found.append(("dx", case.batch, a, b))
    return found


def n_parameters(case: Case) -> int:
    """The size of θ, without drawing it.

    >>> n_parameters(Case("small", (3, 4, 2), "relu", 8))
    26
    """
    pairs = list(zip(case.widths[:-1], case.widths[1:], strict=True))
    extra = sum(b for _, b in pairs[:-1]) if case.batch_norm else 0
    return sum((a + 1) * b for a, b in pairs) + extra


def bytes_beside_products(case: Case) -> int:
    """The least bytes that a step of Adam reads and writes beside its matrix products.

    The rows of the batch are read and written. A hidden layer reads z and writes φ; its backward
    pass reads φ and its gradient and writes ∂z, with the column sums in the same pass. Batch norm
    also reads z, writes x̂, and reads x̂ again. The output layer reads z and writes its gradient. The
    update reads θ, g and Adam's two moments and writes all but g.

    >>> bytes_beside_products(Case("small", (3, 4, 2), "relu", 8)) // 4
    422
    """
    rows, hidden = case.batch, sum(case.widths[1:-1])
    each = 8 if case.batch_norm else 5
    numbers = 2 * rows * case.widths[0] + each * rows * hidden + 2 * rows * case.widths[-1]
    return FLOAT * (numbers + 7 * n_parameters(case))


def n_activations(case: Case) -> int:
    """The size of a batch, of each layer's output and of its gradient.

    With batch norm a hidden layer is three layers (product, batch norm, activation); without it,
    one.

    >>> n_activations(Case("small", (3, 4, 2), "relu", 8)) // 8
    15
    >>> n_activations(Case("small", (3, 4, 2), "relu", 8, batch_norm=True)) // 8
    31
    """
    n_in, *hidden, n_out = case.widths
    outputs = (3 if case.batch_norm else 1) * sum(hidden) + n_out
    return case.batch * (n_in + 2 * outputs)


def allowed_memory(case: Case) -> float:
    """θ, g, Adam's two moments, the activations, and 5 %, without the workspace of products."""
    return 1.05 * FLOAT * (4 * n_parameters(case) + n_activations(case))
