"""Data sets: the digits included in the package, MNIST and Fashion-MNIST."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xpnet.backend import HostArray
from xpnet.data.checks import check_same_length
from xpnet.data.files import StrPath, read_npz, require_file
from xpnet.data.idx import read_idx
from xpnet.data.splitting import split_rows
from xpnet.errors import FileFormatError, MissingExtraError, Phrase, require
from xpnet.random import Rng

DIGITS_LICENCE = (
    "E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits (test part), UCI "
    "Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0"
)

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Names of the four IDX files; the SHA-256 hashes below are of the gzipped files, in this order."""

NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
IMAGE = (28, 28)
N_CLASSES = 10

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SHA256 = (
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
MNIST_LICENCE = "Y. LeCun, C. Cortes, C. Burges, The MNIST database (1998), CC BY-SA 3.0"

FASHION_URL = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)
FASHION_SHA256 = (
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)
FASHION_LICENCE = "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST (2017), MIT, © Zalando SE"
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set divided into a training and a test part, as NumPy arrays on the host.

    Attributes:
        X_train: features of the training part, shape (m, n), one row for each sample.
        y_train: targets of the training part, shape (m,) or (m, k): int64 class indices for
            classification.
        X_test: features of the test part, with n columns.
        y_test: targets of the test part.
        name: a short name, such as ``"digits"``.
        classes: the class names in the order of the indices; ``None`` for regression.
        feature_shape: the shape of one sample before flattening, such as (28, 28) for an image.
        feature_names: the n names of the columns; empty if they have no names.
        licence: the licence and the attribution of the data.

    Raises:
        ArgumentError: if the features and targets of a part differ in length, or the rows of the
            two parts differ in shape.

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
        rule = f"have rows of shape {self.X_train.shape[1:]}, as X_train has"
        require(ok, "X_test", rule, self.X_test)


def load_digits(test_fraction: float = 0.2, rng: Rng = 0) -> Dataset:
    """Load 1797 images of handwritten digits, included in the package, with a stratified split.

    An image has 8×8 pixels with values from 0 to 16: the number of set pixels in each 4×4 block
    of a 32×32 bitmap. Scale them before training:
    ``MinMax(0, 16, to=(-1, 1)).apply(data.X_train)``.

    Args:
        test_fraction: the fraction of rows in the test part, in (0, 1); default 0.2.
        rng: seed or ``numpy.random.Generator`` of the split; default 0.

    Returns:
        The data set: X uint8 of shape (m, 64), y int64 of shape (m,).

    Raises:
        ArgumentError: if ``test_fraction`` is not in (0, 1), or ``rng`` is not valid.

    Reference: E. Alpaydin, C. Kaynak, "Cascading Classifiers", Kybernetika 34, 1998. The licence
    notice is in ``digits.LICENSE``, in the folder of the data.

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
        licence=DIGITS_LICENCE,
    )


def load_mnist(data_dir: StrPath | None = None) -> Dataset:
    """Load MNIST: 60 000 training and 10 000 test images of handwritten digits, 28×28 uint8.

    Args:
        data_dir: a folder that contains the four IDX files under their usual names
            (``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte``, …), gzipped or not, or
            Keras's ``mnist.npz``. ``None`` (default) downloads the four files, 11 MB, to the
            user's cache folder on first use and verifies their SHA-256; this requires the extra
            ``data``.

    Returns:
        The data set: X uint8 of shape (m, 784), y int64 of shape (m,).
        ``MinMax(0, 255, to=(-1, 1)).apply(data.X_train)`` scales X to [−1, 1].

    Raises:
        ArgumentError: if ``data_dir`` does not contain these files.
        FileFormatError: if a file is damaged, does not contain images or labels of the expected
            shape, or a downloaded file does not have the expected hash.
        MissingExtraError: if a download is required and pooch is not installed.
        ConnectionError: if the download fails.

    Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to
    Document Recognition", Proc. IEEE 86, 1998.

    >>> load_mnist("/a/folder/that/does/not/exist")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: data_dir must be a folder; got '/a/folder/that/does/not/exist'.
    """
    arrays = _load("mnist", data_dir, MNIST_URL, MNIST_SHA256)
    return _dataset("mnist", arrays, tuple("0123456789"), MNIST_LICENCE)


def load_fashion_mnist(data_dir: StrPath | None = None) -> Dataset:
    """Load Fashion-MNIST: 60 000 training and 10 000 test images of clothes, 28×28 uint8.

    Args:
        data_dir: a folder that contains the four IDX files under their usual names
            (``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte``, …), gzipped or not, or
            ``fashion-mnist.npz`` or ``fashion_mnist.npz`` with the arrays ``x_train``,
            ``y_train``, ``x_test`` and ``y_test``. ``None`` (default) downloads the four files,
            30 MB, to the user's cache folder on first use and verifies their SHA-256; this
            requires the extra ``data``.

    Returns:
        The data set: X uint8 of shape (m, 784), y int64 of shape (m,).
        ``MinMax(0, 255, to=(-1, 1)).apply(data.X_train)`` scales X to [−1, 1].

    Raises:
        ArgumentError: if ``data_dir`` does not contain these files.
        FileFormatError: if a file is damaged, does not contain images or labels of the expected
            shape, or a downloaded file does not have the expected hash.
        MissingExtraError: if a download is required and pooch is not installed.
        ConnectionError: if the download fails.

    Reference: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
    Benchmarking Machine Learning Algorithms", 2017, arXiv:1708.07747.

    >>> load_fashion_mnist("/a/folder/that/does/not/exist")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: data_dir must be a folder; got '/a/folder/that/does/not/exist'.
    """
    arrays = _load("fashion-mnist", data_dir, FASHION_URL, FASHION_SHA256)
    return _dataset("fashion-mnist", arrays, FASHION_CLASSES, FASHION_LICENCE)


def _load(
    name: str, data_dir: StrPath | None, url: str, hashes: tuple[str, ...]
) -> list[tuple[Path, HostArray]]:
    """Return the four arrays in the order of `STEMS`, each with the path of its file."""
    if data_dir is None:
        return [(path, read_idx(path)) for path in _download(name, url, hashes)]
    folder = Path(data_dir)
    require(folder.is_dir(), "data_dir", "be a folder", str(data_dir))
    found = [_find(folder, *_file_names(stem)) for stem in STEMS]
    npz = _find(folder, f"{name}.npz", f"{name.replace('-', '_')}.npz")
    if npz is not None and None in found:
        return [(npz, array) for array in read_npz(npz, NPZ_ARRAYS)]
    missing = [stem for stem, path in zip(STEMS, found, strict=True) if path is None]
    rule = f"contain the IDX files of {name}, gzipped or not, or {name}.npz"
    require(not missing, "data_dir", rule, Phrase(f"{folder} without {', '.join(missing)}"))
    return [(path, read_idx(path)) for path in found if path is not None]


def _file_names(stem: str) -> tuple[str, ...]:
    """Return the possible names of a file: some copies have a dot before "idx", not a hyphen."""
    dotted = stem.replace("-idx", ".idx")
    return f"{stem}.gz", stem, f"{dotted}.gz", dotted


def _find(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _download(name: str, url: str, hashes: tuple[str, ...]) -> list[Path]:
    """Return the paths of the four files in the cache folder, after downloading those missing."""
    try:
        import pooch  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError(
            f"{name} is downloaded with pooch, which is not installed: pip install 'xpnet[data]'. "
            "Or give data_dir, the folder that contains its files."
        ) from None
    registry = dict(zip((f"{stem}.gz" for stem in STEMS), hashes, strict=True))
    folder = Path(pooch.os_cache("xpnet")) / name
    cache = pooch.create(path=folder, base_url=url, registry=registry)
    try:
        return [Path(cache.fetch(file)) for file in registry]
    except OSError as error:
        raise ConnectionError(
            f"{name} could not be downloaded from {url} ({error}). "
            "Give data_dir, the folder that contains its files."
        ) from error
    except ValueError as error:
        raise FileFormatError(
            f"{name} from {url} must have the expected SHA-256; {error}"
        ) from None


def _dataset(
    name: str, arrays: list[tuple[Path, HostArray]], classes: tuple[str, ...], licence: str
) -> Dataset:
    train_images, train_labels, test_images, test_labels = arrays
    X_train, y_train = _flatten(*train_images, *train_labels)
    X_test, y_test = _flatten(*test_images, *test_labels)
    return Dataset(
        X_train=X_train,
        y_train=y_train,
        X_test=X_test,
        y_test=y_test,
        name=name,
        classes=classes,
        feature_shape=IMAGE,
        licence=licence,
    )


def _flatten(
    images_path: Path, images: HostArray, labels_path: Path, labels: HostArray
) -> tuple[HostArray, HostArray]:
    """Return images as rows and labels as int64, after checking their shapes and values."""
    ok = images.dtype == np.uint8 and images.shape[1:] == IMAGE and len(images) >= 1
    got = f"{images.dtype} of shape {images.shape}"
    require_file(ok, images_path, "contain uint8 images of 28×28 pixels", got)
    ok = labels.shape == images.shape[:1] and labels.dtype.kind in "iu"
    got = f"{labels.dtype} of shape {labels.shape}"
    require_file(ok, labels_path, f"contain a label for each of {len(images)} images", got)
    ok = labels.min() >= 0 and labels.max() < N_CLASSES
    require_file(ok, labels_path, "contain labels from 0 to 9", f"{labels.min()} to {labels.max()}")
    return images.reshape(len(images), -1), labels.astype(np.int64)
