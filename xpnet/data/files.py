"""Readers of untrusted NumPy files: no pickles, and sizes are checked before allocation."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from xpnet.backend import HostArray
from xpnet.errors import FileFormatError

StrPath: TypeAlias = str | os.PathLike[str]

MAX_DEFLATE_RATIO = 1032
"""Upper bound of the compression ratio of a deflate stream."""


def require_file(ok: Any, path: StrPath, rule: str, got: object, do: str = "") -> None:
    """Raise `FileFormatError` with "`path` must `rule`; got `got`. `do`" unless ``ok``."""
    if not ok:
        raise FileFormatError(f"{path} must {rule}; got {got}." + (f" {do}" if do else ""))


def read_npy(path: StrPath) -> HostArray:
    """Map the array of a ``.npy`` file into memory, read-only.

    Args:
        path: the file.

    Returns:
        A read-only `numpy.memmap`.

    Raises:
        FileFormatError: if the file is not a ``.npy`` file, contains Python objects, or does not
            have the length that its header declares.
        OSError: if the file cannot be opened.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "a.npy", [1.0, 2.0])
    ...     read_npy(Path(folder) / "a.npy").tolist()
    [1.0, 2.0]
    """
    try:
        with np.errstate(over="ignore"):  # an overflowing shape is refused below
            array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # damaged files raise many types of exceptions
        raise FileFormatError(
            f"{path} must be a whole .npy file of numbers; got {error}."
        ) from None
    n_bytes = array.offset + array.nbytes
    size = Path(path).stat().st_size
    require_file(size == n_bytes, path, f"have the {n_bytes} bytes that its header declares", size)
    return array


def npz_names(path: StrPath) -> list[str]:
    """Return the names of the arrays in an ``.npz`` file.

    Raises:
        FileFormatError: if the file is not an ``.npz`` file.
    """
    with _open_npz(path) as archive:
        return list(archive.files)


def read_npz(path: StrPath, names: Sequence[str]) -> list[HostArray]:
    """Read the arrays ``names`` of an ``.npz`` file; other members are not decompressed.

    Args:
        path: a file written by `numpy.savez` or `numpy.savez_compressed`.
        names: the names of the arrays to read.

    Returns:
        The arrays, in the order of ``names``.

    Raises:
        FileFormatError: if the file is not an ``.npz`` file, lacks a name or contains Python
            objects, or a member does not have the length that its header declares.
        OSError: if the file cannot be opened.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder) / "a.npz", X=[[1.0]], y=[0])
    ...     read_npz(Path(folder) / "a.npz", ["y", "X"])
    [array([0]), array([[1.]])]
    """
    with _open_npz(path) as archive:
        known = ", ".join(archive.files) or "no array"
        for name in names:
            require_file(name in archive.files, path, f"hold an array named {name!r}", known)
        try:
            for name in names:
                _check_member(archive.zip, name, path)
            return [archive[name] for name in names]
        except FileFormatError:
            raise
        except Exception as error:  # damaged files raise many types of exceptions
            raise FileFormatError(f"{path} must be a whole .npz file; got {error}.") from None


@contextmanager
def _open_npz(path: StrPath) -> Iterator[Any]:
    with Path(path).open("rb") as stream:
        start = stream.read(2)
        require_file(start == b"PK", path, "be an .npz file, which starts with b'PK'", start)
        stream.seek(0)
        try:
            archive = np.load(stream, allow_pickle=False)
        except Exception as error:  # damaged files raise many types of exceptions
            raise FileFormatError(f"{path} must be a whole .npz file; got {error}.") from None
        with archive:
            yield archive


def _check_member(archive: Any, name: str, path: StrPath) -> None:
    """Refuse a member with an inconsistent header, declared length and compressed length."""
    info = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        require_file(read is not None, path, "hold arrays of format 1.0 or 2.0", version)
        shape, _, dtype = read(stream)  # type: ignore[misc]
        header = stream.tell()
    require_file(not dtype.hasobject, path, "hold no Python objects", f"some in {name!r}")
    n_bytes = header + math.prod(shape) * dtype.itemsize
    ok = n_bytes == info.file_size <= MAX_DEFLATE_RATIO * info.compress_size
    rule = f"have {n_bytes} bytes in {name!r}, as its header declares"
    require_file(ok, path, rule, f"{info.file_size}, compressed to {info.compress_size}")
