"""What a data set is: two parts on the host, and what its numbers mean."""

from __future__ import annotations

from dataclasses import dataclass, field

from xpnet.backend import HostArray
from xpnet.data.checks import check_same_length
from xpnet.errors import require


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set divided into a training and a test part, as NumPy arrays on the host.

    Attributes:
        X_train: features of shape (m, n), one row a sample.
        y_train: targets of shape (m,) or (m, k): int64 class indices in a classification.
        X_test: the other samples, of as many columns.
        y_test: their targets.
        name: a short name, such as ``"digits"``.
        classes: the name of every class, in the order of the indices; ``None`` in a regression.
        feature_shape: the shape of one sample before it was flattened: (28, 28) for an image.
        feature_names: the n names of the columns; empty if they have none.
        licence: the licence of the data and whom to name.

    Raises:
        ArgumentError: if a part has not one target a row, or the parts differ in columns.

    >>> import numpy as np
    >>> data = Dataset(np.zeros((3, 2)), np.zeros(3), np.zeros((1, 2)), np.zeros(1), name="zeros")
    >>> data
    Dataset(name='zeros', classes=None, feature_shape=(), feature_names=())
    """

    X_train: HostArray = field(repr=False)
    y_train: HostArray = field(repr=False)
    X_test: HostArray = field(repr=False)
    y_test: HostArray = field(repr=False)
    name: str
    classes: tuple[str, ...] | None = None
    feature_shape: tuple[int, ...] = ()
    feature_names: tuple[str, ...] = ()
    licence: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        check_same_length(self.X_train, self.y_train, "X_train", "y_train")
        check_same_length(self.X_test, self.y_test, "X_test", "y_test")
        ok = self.X_train.shape[1:] == self.X_test.shape[1:]
        words = f"have rows of shape {self.X_train.shape[1:]}, as X_train has"
        require(ok, "X_test", words, self.X_test)
