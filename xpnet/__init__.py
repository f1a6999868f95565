"""Neural networks as one flat vector: the same code on NumPy and CuPy, every number checkable.

>>> import xpnet
>>> model = xpnet.MLP(2, [8], 2, activation=xpnet.Tanh(), rng=1)
>>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
>>> history = model.fit(X, y, loss=xpnet.CrossEntropy(), optimizer=xpnet.Adam(lr=0.05),
...                     epochs=100, progress=False)
>>> model.predict(X).tolist()
[0, 1, 1, 0]
"""

from xpnet import data, initializers, losses, metrics, optimizers
from xpnet._version import __version__
from xpnet.activations import (
    ELU,
    GELU,
    SELU,
    Affine,
    Exponential,
    GELUTanh,
    HardSigmoid,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
)
from xpnet.backend import Backend, backend_of, get_backend, to_numpy
from xpnet.data import MinMax, Standardize
from xpnet.errors import (
    ArgumentError,
    BackendUnavailableError,
    FallbackWarning,
    FileFormatError,
    MissingExtraError,
    NonFiniteError,
)
from xpnet.inspection import LayerRecorder, inspect_layers
from xpnet.layers import Activation, BatchNorm, Dense, Dropout
from xpnet.losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    CrossEntropy,
    GaussianNLL,
    HalfMSE,
    Hinge,
    Huber,
    PerceptronLoss,
    PoissonNLL,
)
from xpnet.model import MLP, Sequential, load
from xpnet.optimizers import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    ClipByNorm,
    ClipByValue,
    Lion,
    Momentum,
    Nadam,
    Nesterov,
    RAdam,
    RMSProp,
    schedules,
)
from xpnet.perceptron import Perceptron
from xpnet.training import Checkpoint, EarlyStopping, History, Run, batches

__all__ = [
    "ELU",
    "GELU",
    "MAE",
    "MLP",
    "MSE",
    "SELU",
    "SGD",
    "AMSGrad",
    "Activation",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Affine",
    "ArgumentError",
    "Backend",
    "BackendUnavailableError",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Checkpoint",
    "ClipByNorm",
    "ClipByValue",
    "CrossEntropy",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Exponential",
    "FallbackWarning",
    "FileFormatError",
    "GELUTanh",
    "GaussianNLL",
    "HalfMSE",
    "HardSigmoid",
    "Hinge",
    "History",
    "Huber",
    "Identity",
    "LayerRecorder",
    "LeakyReLU",
    "Lion",
    "MinMax",
    "MissingExtraError",
    "Momentum",
    "Nadam",
    "Nesterov",
    "NonFiniteError",
    "Perceptron",
    "PerceptronLoss",
    "PoissonNLL",
    "RAdam",
    "RMSProp",
    "ReLU",
    "Run",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Standardize",
    "Step",
    "Tanh",
    "__version__",
    "backend_of",
    "batches",
    "data",
    "get_backend",
    "initializers",
    "inspect_layers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "to_numpy",
]
