"""Data preparation: reading, validation, splitting, scaling, encoding and batching.

>>> from xpnet.data import MinMax, load_digits
>>> data = load_digits()
>>> scaling = MinMax(0, 16, to=(-1, 1))
>>> scaling.apply(data.X_train).shape
(1438, 64)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpnet.data.checks import check_features, check_same_length
from xpnet.data.labels import balanced_class_weights, encode_labels, one_hot, sample_weights
from xpnet.data.preprocessing import MinMax, Standardize
from xpnet.data.splitting import train_test_split
from xpnet.lazy import attributes

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


__getattr__ = attributes(__name__, _READERS)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
