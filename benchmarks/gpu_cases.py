"""The networks that are measured on a GPU, and the work that a step of each cannot do without."""

from __future__ import annotations

from typing import Any

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
"""Those whose memory is measured."""

STEPS = {64: 640, 256: 320, 8192: 8}
"""Steps that are timed at once, by the rows of a batch."""

FEW_STEPS = 8
"""Those of other cases, and the batches of an epoch whose memory is measured."""

FLOAT = 4
"""The bytes of a float32."""

Columns = dict[str, dict[str, list[float] | str]]
"""What was measured → who → the numbers, or a sentence that says why there are none."""


def n_steps(case: Case) -> int:
    """The steps that are timed at once: so many batches have all, and an epoch is as long.

    >>> n_steps(LARGE)
    8
    """
    return STEPS.get(case.batch, FEW_STEPS)


def products(case: Case) -> list[tuple[str, int, int, int]]:
    """The matrix products of a step: which, and ``m, n, k`` of ``(m, k) (k, n)``.

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
    """How many numbers θ has, without drawing them.

    >>> n_parameters(Case("small", (3, 4, 2), "relu", 8))
    26
    """
    pairs = list(zip(case.widths[:-1], case.widths[1:], strict=True))
    extra = sum(b for _, b in pairs[:-1]) if case.batch_norm else 0
    return sum((a + 1) * b for a, b in pairs) + extra


def bytes_beside_products(case: Case) -> int:
    """The least that a step of Adam reads and writes beside its matrix products.

    The rows of the batch are read and written. Of a hidden layer z is read and φ written, and
    backward φ and its gradient are read and ∂z written, with the column sums on the way; batch norm
    reads z and writes x̂ more, and reads x̂ again. Of the output z is read and its gradient written.
    Of θ, g and Adam's two states four are read and three written.

    >>> bytes_beside_products(Case("small", (3, 4, 2), "relu", 8)) // 4
    422
    """
    rows, hidden = case.batch, sum(case.widths[1:-1])
    each = 8 if case.batch_norm else 5
    numbers = 2 * rows * case.widths[0] + each * rows * hidden + 2 * rows * case.widths[-1]
    return FLOAT * (numbers + 7 * n_parameters(case))


def n_activations(case: Case) -> int:
    """The numbers of a batch, of each layer's output and of its gradient.

    A hidden layer of a network with batch norm is three layers: the product, batch norm and the
    activation; without, product and activation are one.

    >>> n_activations(Case("small", (3, 4, 2), "relu", 8)) // 8
    15
    >>> n_activations(Case("small", (3, 4, 2), "relu", 8, batch_norm=True)) // 8
    31
    """
    n_in, *hidden, n_out = case.widths
    outputs = (3 if case.batch_norm else 1) * sum(hidden) + n_out
    return case.batch * (n_in + 2 * outputs)


def allowed_memory(case: Case) -> float:
    """θ, g and Adam's two states, the activations, and 5 %; cuBLAS's workspace is not in it."""
    return 1.05 * FLOAT * (4 * n_parameters(case) + n_activations(case))


Line = dict[str, Any]
"""One of them, as a job tells it: its row, its column and its value."""


def add(found: Columns, line: Line) -> None:
    """Put what a job has told in its place."""
    found.setdefault(line["column"], {})[line["row"]] = line["value"]
