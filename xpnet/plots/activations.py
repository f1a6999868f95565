"""Activation functions beside their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.activations import ActivationFunction, Softmax, Step
from xpnet.errors import require, require_number, require_type
from xpnet.figure import new_figure
from xpnet.ops import operations_for
from xpnet.plots.style import COLOURS, tidy

STYLES = ("-", "--", "-.", ":")


def activation_curves(
    functions: ActivationFunction | Sequence[ActivationFunction],
    *,
    low: float = -4.0,
    high: float = 4.0,
    axes: Any = None,
) -> Any:
    """Draw activation functions φ, and beside them their derivatives φ'.

    Args:
        functions: an activation, or several: ``[Sigmoid(), Tanh()]``. The derivative of `Step`,
            which has none, is left out.
        low: the left end, finite; default -4.
        high: the right end, above ``low``; default 4.
        axes: two Matplotlib axes, for φ and φ'; default new ones.

    Returns:
        The axes, an array of two.

    Raises:
        ArgumentError: if there is no activation, one works on whole rows (softmax), or ``high`` is
            not above ``low``.
        MissingExtraError: if Matplotlib is not installed.

    >>> from xpnet import ReLU, Tanh
    >>> left, right = activation_curves([ReLU(), Tanh()])
    >>> [line.get_label() for line in left.get_lines()]
    ['ReLU', 'Tanh']
    """
    several = _several(functions)
    require_number(low, "low")
    require_number(high, "high", above=low)
    if axes is None:
        axes = new_figure(figsize=(9, 3.6)).subplots(1, 2)
    left, right = axes
    z = np.linspace(low, high, 1601)[None, :]
    ops = operations_for(z)
    for index, function in enumerate(several):
        value = function.forward(ops, z)
        name = repr(function).removesuffix("()")
        style = {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": STYLES[index % len(STYLES)],
            "linewidth": 1.8,
        }
        left.plot(z[0], value[0], label=name, **style)
        if not isinstance(function, Step):
            saved = z if function.saves == "input" else value
            derivative = function.backward(ops, saved, np.ones_like(z))
            right.plot(z[0], derivative[0], label=name, **style)
    for ax, title in ((left, r"$\varphi(z)$"), (right, r"$\varphi'(z)$")):
        ax.set(title=title, xlabel="$z$", xlim=(low, high))
        tidy(ax)
    left.legend(frameon=False)
    return axes


def _several(functions: Any) -> list[ActivationFunction]:
    """The activations, checked."""
    if not isinstance(functions, Sequence):
        require_type(functions, ActivationFunction, "functions")
        functions = [functions]
    require(functions, "functions", "hold at least one activation", functions)
    for function in functions:
        require_type(function, ActivationFunction, "a function")
        require(not isinstance(function, Softmax), "a function", "be elementwise", function)
    return list(functions)
