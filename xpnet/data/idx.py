"""Reader of the IDX format, in which MNIST is distributed."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np

from xpnet.backend import HostArray
from xpnet.data.files import MAX_DEFLATE_RATIO, StrPath, require_file
from xpnet.errors import FileFormatError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 32
_GZIP = b"\x1f\x8b"


def read_idx(path: StrPath) -> HostArray:
    """Read the array of an IDX file, which may be gzipped.

    An IDX file consists of two zero bytes, a dtype code (8 uint8, 9 int8, 11 int16, 12 int32,
    13 float32, 14 float64), the number of dimensions, the length of each dimension as a big-endian
    uint32, and the big-endian elements in row-major order. The declared size is compared with the
    size of the file before memory is allocated.

    Args:
        path: the file, of any name; its first two bytes determine whether it is gzipped.

    Returns:
        A new array of the declared shape, in native byte order.

    Raises:
        FileFormatError: if the magic number, the dtype code or a dimension is not valid, the file
            does not have the declared size, or the gzip stream is damaged. The message names the
            file, the rule and the value found.
        OSError: if the file cannot be opened.

    Reference: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "File formats".

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "labels-idx1-ubyte"
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(file)
    array([7, 8, 9], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as raw:
        is_gzipped = raw.read(2) == _GZIP
        raw.seek(0)
        max_bytes = path.stat().st_size * (MAX_DEFLATE_RATIO if is_gzipped else 1)
        if not is_gzipped:
            return _read(raw, path, max_bytes)
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read(stream, path, max_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{path} must be a whole gzip file; got {error}") from None


def _read(stream: io.BufferedIOBase, path: Path, max_bytes: int) -> HostArray:
    dtype, shape = _read_header(stream, path)
    n_bytes = math.prod(shape) * dtype.itemsize
    rule = f"hold {n_bytes} bytes of data, for {dtype.name} values of shape {shape}"
    require_file(n_bytes <= max_bytes, path, rule, f"a file that can hold at most {max_bytes}")
    data = stream.read(n_bytes + 1)
    found = len(data) if len(data) <= n_bytes else "more"
    require_file(len(data) == n_bytes, path, rule, found)
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _read_header(
    stream: io.BufferedIOBase, path: Path
) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    magic = stream.read(4)
    ok = len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in DTYPES
    rule = "start with an IDX magic number, two zero bytes and a dtype code of " + ", ".join(
        f"{code:#04x}" for code in DTYPES
    )
    require_file(ok, path, rule, magic.hex(" ") or "an empty file")
    n_dimensions = magic[3]
    ok = 1 <= n_dimensions <= MAX_DIMENSIONS
    require_file(ok, path, f"have 1 to {MAX_DIMENSIONS} dimensions", n_dimensions)
    lengths = stream.read(4 * n_dimensions)
    rule = f"hold the lengths of its {n_dimensions} dimensions, {4 * n_dimensions} bytes"
    require_file(len(lengths) == 4 * n_dimensions, path, rule, len(lengths))
    shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
    require_file(min(shape) >= 1, path, "have no dimension of length 0", f"the shape {shape}")
    return np.dtype(DTYPES[magic[2]]), shape
