"""First-order optimizers of a flat vector; schedules, clipping, penalties, averages, groups."""

from xpnet.optimizers.adam import Adam, Adamax, AdamW, AMSGrad, Nadam, RAdam
from xpnet.optimizers.adaptive import AdaDelta, AdaGrad, RMSProp, Rprop
from xpnet.optimizers.averaging import Averaged, ExponentialAverage, PolyakAverage
from xpnet.optimizers.base import Optimizer, OptimizerState
from xpnet.optimizers.clipping import ClipByNorm, ClipByValue
from xpnet.optimizers.freezing import Frozen
from xpnet.optimizers.grouping import ByFunction, ByLayer, ByPath, ByRole, Grouped
from xpnet.optimizers.lookahead import Lookahead
from xpnet.optimizers.momentum import SGD, Lion, Momentum, Nesterov
from xpnet.optimizers.muon import Muon
from xpnet.optimizers.penalty import Penalty
from xpnet.optimizers.resuming import Resumed
from xpnet.optimizers.schedule_free import ScheduleFreeAdam
from xpnet.optimizers.schedules import (
    ConstantRate,
    Cosine,
    ExponentialDecay,
    LinearWarmup,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
)
from xpnet.optimizers.sharpness import SAM

__all__ = [
    "SAM",
    "SGD",
    "AMSGrad",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Averaged",
    "ByFunction",
    "ByLayer",
    "ByPath",
    "ByRole",
    "ClipByNorm",
    "ClipByValue",
    "ConstantRate",
    "Cosine",
    "ExponentialAverage",
    "ExponentialDecay",
    "Frozen",
    "Grouped",
    "LinearWarmup",
    "Lion",
    "Lookahead",
    "Momentum",
    "Muon",
    "Nadam",
    "Nesterov",
    "OneCycle",
    "Optimizer",
    "OptimizerState",
    "Penalty",
    "PolyakAverage",
    "RAdam",
    "RMSProp",
    "ReduceOnPlateau",
    "Resumed",
    "Rprop",
    "Schedule",
    "ScheduleFreeAdam",
    "StepDecay",
]
