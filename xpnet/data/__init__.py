"""Data preparation: reading, validation, splitting, scaling, encoding and batching.

>>> from xpnet.data import MinMax, load_digits
>>> data = load_digits()
>>> scaling = MinMax(0, 16, to=(-1, 1))
>>> scaling.apply(data.X_train).shape
(1438, 64)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xpnet.data.checks import check_features, check_same_length
from xpnet.data.labels import balanced_class_weights, encode_labels, one_hot, sample_weights
from xpnet.data.preprocessing import MinMax, Standardize
from xpnet.data.splitting import train_test_split

if TYPE_CHECKING:
    from xpnet.data.datasets import Dataset, load_digits, load_fashion_mnist, load_mnist
    from xpnet.data.idx import read_idx
    from xpnet.data.tables import Table, read_table

__all__ = [
    "Dataset",
    "MinMax",
    "Standardize",
    "Table",
    "balanced_class_weights",
    "check_features",
    "check_same_length",
    "encode_labels",
    "load_digits",
    "load_fashion_mnist",
    "load_mnist",
    "one_hot",
    "read_idx",
    "read_table",
    "sample_weights",
    "train_test_split",
]

_READERS = {
    "Dataset": "datasets",
    "Table": "tables",
    "load_digits": "datasets",
    "load_fashion_mnist": "datasets",
    "load_mnist": "datasets",
    "read_idx": "idx",
    "read_table": "tables",
}


def __getattr__(name: str) -> Any:
    """Import a reader when it is first accessed, which keeps ``import xpnet`` fast."""
    if name not in _READERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_READERS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
