"""Training: mini-batch and full-batch loops, their reports and callbacks."""

from xpnet.data.batching import batches
from xpnet.training.averages import StochasticWeightAveraging, UseAverage
from xpnet.training.batch_norm_statistics import recompute_statistics
from xpnet.training.callbacks import Callback, Run
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.history import History
from xpnet.training.learning_rate_range import LearningRateRange, learning_rate_range
from xpnet.training.loggers import CSVLogger, JSONLinesLogger
from xpnet.training.objective import NetworkObjective
from xpnet.training.training_checkpoint import TrainingCheckpoint
from xpnet.training.training_step import TrainingStep

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "JSONLinesLogger",
    "LearningRateRange",
    "NetworkObjective",
    "Run",
    "StochasticWeightAveraging",
    "TrainingCheckpoint",
    "TrainingStep",
    "UseAverage",
    "batches",
    "learning_rate_range",
    "recompute_statistics",
]
