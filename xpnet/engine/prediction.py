"""The output on few rows as a recorded list of compiled calls: there Python takes the longest."""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.engine.recorded import Input, Room, new_recorder, why_not_recorded
from xpnet.engine.user_defined import strangers
from xpnet.engine.value_and_grad import Evaluation
from xpnet.layers.base import Views
from xpnet.network import Network

OFTEN = 16
"""After how many passes over as many rows one is written down: it takes as long as some hundred."""

NEVER = -(1 << 62)
"""A count of passes that will not come to `OFTEN`."""


def evaluation_of(
    network: Network, backend: Backend, theta: Array, statistics: Array
) -> Evaluation:
    """The evaluation of a network, replayed where it may be."""
    kind = ReplayedEvaluation if type(theta) is np.ndarray else Evaluation
    return kind(network, backend, theta, statistics)


class ReplayedEvaluation(Evaluation):
    """`Evaluation` on NumPy; what is asked for often and has few rows is replayed.

    Each thread has programs and buffers of its own, so that several may ask at once.
    """

    def __init__(self, network: Network, backend: Backend, theta: Array, statistics: Array) -> None:
        super().__init__(network, backend, theta, statistics)
        self._theta, self._own = theta, local()

    def few(self, p: Sequence[Views], inputs: Array) -> Array:
        """See `Evaluation.few`."""
        if p is not self._p:
            return super().few(p, inputs)
        passes = self._own.__dict__
        known = passes.get(inputs.shape[0], 0)
        if isinstance(known, int):
            passes[inputs.shape[0]] = known + 1 if known < OFTEN else self._written(inputs)
            return super().few(p, inputs)
        program, taken = known
        taken.take(inputs)
        program.replay()
        return program.result.copy()

    def _written(self, inputs: Array) -> Any:
        """The pass over as many rows, and what takes them; `NEVER` if it cannot be written down."""
        if strangers(self._network.layers) or why_not_recorded():
            return NEVER
        recorder = new_recorder()
        trace, own = recorder.traced, np.array(inputs, order="C")
        views = self._network.by_layer(trace(self._theta))
        room = Room(trace, self._theta.dtype)
        contexts = self._network.contexts(room, trace(self._statistics), reuse=True)
        try:
            program = recorder.record(lambda: self._network.forward(views, trace(own), contexts)[0])
        except Exception:  # as of a layer that looks at a number: it is never written down
            return NEVER
        return program, Input(program, own)
