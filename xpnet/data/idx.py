"""The IDX format of MNIST: a short header, then big-endian numbers; plain or gzipped."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np

from xpnet.data.files import MAX_DEFLATE_RATIO, HostArray, StrPath, require_file
from xpnet.errors import FileFormatError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 32
_GZIP = b"\x1f\x8b"


def read_idx(path: StrPath) -> HostArray:
    """The array of an IDX file, gzipped or not, which its first two bytes tell.

    An IDX file is two zero bytes, a dtype code (8 uint8, 9 int8, 11 int16, 12 int32, 13 float32,
    14 float64), the number of dimensions, each length as a big-endian uint32, and then the values
    in row-major order. Every length is compared with the file's before memory is taken for it.

    Args:
        path: the file; its name does not matter.

    Returns:
        A new array of the declared shape, in the machine's byte order.

    Raises:
        FileFormatError: if the magic number, the dtype code or a dimension is not IDX, or the file
            is shorter or longer than they say, or the gzip stream is damaged. The message names
            the file, the rule and what was found.
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
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        most = path.stat().st_size * (MAX_DEFLATE_RATIO if packed else 1)
        if not packed:
            return _read(raw, path, most)
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read(unpacked, path, most)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{path} must be a whole gzip file; got {error}") from None


def _read(stream: io.BufferedIOBase, path: Path, most: int) -> HostArray:
    dtype, shape = _read_header(stream, path)
    n_bytes = math.prod(shape) * dtype.itemsize
    rule = f"hold {n_bytes} bytes of data, for {dtype.name} values of shape {shape}"
    require_file(n_bytes <= most, path, rule, f"a file that can hold at most {most}")
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
