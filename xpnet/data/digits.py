"""The 1797 handwritten digits that come with the package: real data without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet.data.dataset import Dataset
from xpnet.data.files import read_npz
from xpnet.data.splitting import split_rows
from xpnet.random import Rng

LICENCE = (
    "E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits (test part), UCI "
    "Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0"
)


def load_digits(test_fraction: float = 0.2, rng: Rng = 0) -> Dataset:
    """1797 handwritten digits of 8×8 pixels with values of 0 to 16, and a stratified split.

    Each pixel counts the ink in a block of 4×4 of a 32×32 bitmap. Scale them first:
    ``MinMax(0, 16, to=(-1, 1)).apply(data.X_train)``.

    Args:
        test_fraction: the share of the test part, above 0 and below 1 (default: 0.2).
        rng: a seed or a numpy Generator for the split (default: 0).

    Returns:
        The data set: X uint8 of shape (m, 64), y int64 of shape (m,).

    Raises:
        ArgumentError: if ``test_fraction`` or ``rng`` is out of its range.

    Reference: E. Alpaydin, C. Kaynak, "Cascading Classifiers", Kybernetika 34, 1998. The file
    ``digits.LICENSE`` beside the data has the notice that goes with them.

    >>> data = load_digits()
    >>> data.X_train.shape, data.X_test.shape, data.feature_shape
    ((1438, 64), (359, 64), (8, 8))
    """
    X, y = read_npz(Path(__file__).with_name("digits.npz"), ["X", "y"])
    y = y.astype(np.int64)
    train, test = split_rows(len(y), test_fraction, rng, y)
    return Dataset(
        X_train=X[train],
        y_train=y[train],
        X_test=X[test],
        y_test=y[test],
        name="digits",
        classes=tuple("0123456789"),
        feature_shape=(8, 8),
        licence=LICENCE,
    )
