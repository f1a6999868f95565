"""The arrays that a step overwrites, which their owner may have changed since the last step."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.errors import Phrase, require
from xpnet.optimizers import Optimizer, OptimizerState
from xpnet.state import VECTORS, ModelState


class StepArrays:
    """The vectors of a model and the slots of an optimizer's state.

    Args:
        model: the model that is trained.
        optimizer: the optimizer.
        state: its state.
    """

    def __init__(self, model: ModelState, optimizer: Optimizer, state: OptimizerState) -> None:
        self._model, self._optimizer, self._state = model, optimizer, state
        self._slots: Any = None  # the checked slots
        self._arrays: list[tuple[str, Array, tuple[int, ...], Any]] = []

    def check(self) -> None:
        """Refuse slots of another dtype or size, and read-only or reshaped arrays of NumPy.

        Raises:
            ArgumentError: naming the array.
        """
        if self._state.slots is not self._slots:
            self._collect()
        for argument, x, shape, dtype in self._arrays:
            if not (x.flags.writeable and x.shape == shape and x.dtype == dtype):
                self._optimizer.require_fits(self._model.theta, self._state)
                got = x if x.flags.writeable else Phrase("a read-only array")
                rule = f"be a writeable {dtype} array of shape {shape}"
                do = "Assign numbers to its elements, as in x[...] = values."
                require(False, argument, rule, got, do)

    def _collect(self) -> None:
        """Check the slots against the optimizer, and list all arrays."""
        model, slots = self._model, self._state.slots
        self._optimizer.require_fits(model.theta, self._state)
        self._arrays = []
        if model.backend.library.records_steps:
            dtype = np.dtype(model.backend.dtype)
            layouts = [model.network.layout] * 2 + [model.network.statistics_layout]
            for name, layout in zip(VECTORS, layouts, strict=True):
                self._arrays.append((name, getattr(model, name), (layout.size,), dtype))
            for i, slot in enumerate(slots):
                self._arrays.append((f"state.slots[{i}]", slot, slot.shape[:1], dtype))
        self._slots = slots if type(slots) is tuple else None  # a list may change
