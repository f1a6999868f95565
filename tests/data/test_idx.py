"""The reader of IDX files: valid, damaged and malicious files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnet.data.idx import DTYPES, read_idx
from xpnet.errors import FileFormatError

CODES = {np.dtype(name).newbyteorder("="): code for code, name in DTYPES.items()}
FASHION = Path(__file__).parents[3] / "shared" / "data" / "fashion-mnist"


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, CODES[array.dtype], array.ndim])
    lengths = np.array(array.shape, dtype=">u4").tobytes()
    return header + lengths + array.astype(array.dtype.newbyteorder(">")).tobytes()


LABELS = idx_bytes(np.arange(5, dtype="uint8"))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@settings(derandomize=True, deadline=None, max_examples=40)
@given(data=st.data())
def test_written_arrays_are_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, packed: bool
):
    dtype = data.draw(st.sampled_from(list(CODES)))
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=5))
    array = data.draw(hnp.arrays(dtype, shape))
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))

    found = read_idx(path)

    assert found.dtype == dtype
    assert found.dtype.isnative
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array)


INVALID = [
    ("empty", b"", "an empty file"),
    ("three bytes", LABELS[:3], "got 00 00 08"),
    ("wrong magic", b"\x01" + LABELS[1:], "start with an IDX magic number"),
    ("unknown dtype", b"\0\0\x0a" + LABELS[3:], "dtype code"),
    ("no dimension", bytes([0, 0, 8, 0, 7]), "1 to 32 dimensions; got 0"),
    ("too many dimensions", bytes([0, 0, 8, 33]) + bytes(200), "1 to 32 dimensions; got 33"),
    ("missing lengths", bytes([0, 0, 8, 3, 0, 0, 0, 1]), "3 dimensions, 12 bytes; got 4"),
    ("a length of 0", bytes([0, 0, 8, 1, 0, 0, 0, 0]), "no dimension of length 0"),
    ("truncated", LABELS[:-1], "5 bytes of data, for uint8 values of shape (5,); got 4"),
    ("oversized", LABELS + b"\0", "5 bytes of data, for uint8 values of shape (5,); got more"),
    ("huge", bytes([0, 0, 14, 4]) + b"\xff" * 16 + b"1", "a file that can hold at most"),
]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "message"), [h[1:] for h in INVALID], ids=[h[0] for h in INVALID]
)
def test_invalid_files_are_refused(tmp_path: Path, content: bytes, message: str, packed: bool):
    path = tmp_path / "invalid-idx"
    path.write_bytes(gzip.compress(content) if packed else content)

    with pytest.raises(FileFormatError) as error:
        read_idx(path)

    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("cut", [3, 12, 20, -1], ids=lambda n: f"cut at {n}")
def test_truncated_gzip_is_refused(tmp_path: Path, cut: int):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(LABELS)[:cut])
    with pytest.raises(FileFormatError, match=r"cut\.gz must be a whole gzip file"):
        read_idx(path)


def test_gzip_with_a_wrong_checksum_is_refused(tmp_path: Path):
    content = bytearray(gzip.compress(LABELS))
    content[-8] ^= 1
    path = tmp_path / "damaged.gz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="CRC"):
        read_idx(path)


def test_missing_file_raises_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nowhere")


@pytest.mark.skipif(not FASHION.is_dir(), reason="the Fashion-MNIST files are missing")
def test_fashion_mnist_is_read():
    images = read_idx(FASHION / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(FASHION / "t10k-labels-idx1-ubyte.gz")
    assert images.shape == (10_000, 28, 28)
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)
    assert images.mean() / 255 == pytest.approx(0.2868, abs=1e-4)
