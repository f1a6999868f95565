"""Neural networks with their parameters in one flat vector, on NumPy, CuPy and PyTorch arrays.

>>> import xpnet
>>> model = xpnet.MLP(2, [8], 2, activation=xpnet.Tanh(), rng=1)
>>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
>>> history = model.fit(X, y, loss=xpnet.CrossEntropy(), optimizer=xpnet.Adam(lr=0.05),
...                     epochs=100, progress=False)
>>> model.predict(X).tolist()
[0, 1, 1, 0]

Names are loaded on first access, which keeps ``import xpnet`` fast.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from xpnet._version import __version__ as __version__

if TYPE_CHECKING:  # the names for type checkers; `__getattr__` finds them at run time
    from xpnet import calibration as calibration
    from xpnet import data as data
    from xpnet import derivatives as derivatives
    from xpnet import initializers as initializers
    from xpnet import metrics as metrics
    from xpnet import minimize as minimize
    from xpnet import plots as plots
    from xpnet.activations import *
    from xpnet.backend import Backend as Backend
    from xpnet.backend import backend_of as backend_of
    from xpnet.backend import get_backend as get_backend
    from xpnet.backend import to_numpy as to_numpy
    from xpnet.data import MinMax as MinMax
    from xpnet.data import Standardize as Standardize
    from xpnet.errors import ArgumentError as ArgumentError
    from xpnet.errors import BackendUnavailableError as BackendUnavailableError
    from xpnet.errors import FallbackWarning as FallbackWarning
    from xpnet.errors import FileFormatError as FileFormatError
    from xpnet.errors import MissingExtraError as MissingExtraError
    from xpnet.errors import NonFiniteError as NonFiniteError
    from xpnet.inspection import *
    from xpnet.layers import *
    from xpnet.losses import *
    from xpnet.metrics.protocol import metric as metric
    from xpnet.metrics.sklearn import sklearn_metric as sklearn_metric
    from xpnet.model import MLP as MLP
    from xpnet.model import Sequential as Sequential
    from xpnet.model import load as load
    from xpnet.model import resume as resume
    from xpnet.optimizers import *
    from xpnet.optimizers import schedules as schedules
    from xpnet.perceptron import Perceptron as Perceptron
    from xpnet.serialization import load_state as load_state
    from xpnet.serialization import save_state as save_state
    from xpnet.state_dict import load_state_dict as load_state_dict
    from xpnet.state_dict import save_state_dict as save_state_dict
    from xpnet.training import *
    from xpnet.transfer import *

_WHOLE = ("activations", "layers", "losses", "optimizers", "training", "transfer", "inspection")
"""Modules that are exported with all names in their ``__all__``."""

_NAMES = {
    "backend": ("Backend", "backend_of", "get_backend", "to_numpy"),
    "data": ("MinMax", "Standardize"),
    "errors": (
        *("ArgumentError", "BackendUnavailableError", "FallbackWarning", "FileFormatError"),
        *("MissingExtraError", "NonFiniteError"),
    ),
    "metrics.protocol": ("metric",),
    "metrics.sklearn": ("sklearn_metric",),
    "model": ("MLP", "Sequential", "load", "resume"),
    "optimizers": ("schedules",),
    "perceptron": ("Perceptron",),
    "serialization": ("load_state", "save_state"),
    "state_dict": ("load_state_dict", "save_state_dict"),
}
"""The other names, by their module."""

_MODULES = (
    *("activations", "calibration", "data", "derivatives", "initializers", "inspection", "layers"),
    *("losses", "metrics", "minimize", "optimizers", "plots"),
)
"""The public modules."""

_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module of ``name``, a public name or module, on first access."""
    if name == "__all__":
        return _all_names()
    module = _MODULE_OF.get(name)
    if module is None and not name.startswith("_"):
        # Modules first: the packages below import some of them, which must not import those again.
        if importlib.util.find_spec(f"xpnet.{name}") is not None:
            return _load(name)
        module = next((m for m in _WHOLE if name in _load(m).__all__), None)
    if module is None:
        raise AttributeError(f"module 'xpnet' has no attribute {name!r}")
    value = globals()[name] = getattr(_load(module), name)
    return value


def __dir__() -> list[str]:
    return [*_all_names(), "__all__", "__doc__", "__file__", "__name__", "__path__"]


def _load(module: str) -> Any:
    return importlib.import_module(f"xpnet.{module}")


def _all_names() -> list[str]:
    """Every public name: names in capitals, then classes, then functions and modules."""
    names = {*_MODULES, *_MODULE_OF, "__version__"}
    names.update(name for module in _WHOLE for name in _load(module).__all__)
    return sorted(names, key=lambda n: (0 if n.isupper() else 1 if n[:1].isupper() else 2, n))
