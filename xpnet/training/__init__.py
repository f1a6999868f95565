"""Training: the loop, its data, what it reports, and what may happen after an epoch."""

from xpnet.training.callbacks import Callback, Checkpoint, EarlyStopping, Run
from xpnet.training.history import History
from xpnet.training.objective import NetworkObjective
from xpnet.training.rows import batches

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "NetworkObjective",
    "Run",
    "batches",
]
