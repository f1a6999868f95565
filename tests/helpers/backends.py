"""The backends that tests run on, and which of them this machine lacks."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from helpers import strict_cupy
from xpnet.backend import Array, Backend, get_backend, to_numpy, unavailable
from xpnet.errors import FallbackWarning
from xpnet.ops import operations_for


@dataclass(frozen=True)
class Place:
    """A backend to test on, with a way to create test data there.

    Attributes:
        backend: the backend.
        readonly: whether `array` returns read-only arrays (NumPy only).
    """

    backend: Backend
    readonly: bool = False

    @property
    def xp(self) -> Any:
        return self.backend.xp

    @property
    def eps(self) -> float:
        return float(np.finfo(self.backend.dtype_name).eps)

    def array(self, x: Any, dtype: str | None = None) -> Array:
        """``x`` on the backend; floats are converted to its dtype unless ``dtype`` is given."""
        host = np.array(x)
        if dtype is None and host.dtype.kind == "f":
            dtype = self.backend.dtype_name
        if dtype is not None:
            host = host.astype(dtype)
        if self.readonly:
            host.flags.writeable = False
            return host
        return self.backend.asarray(host)

    def writable(self, x: Any) -> Array:
        """A floating-point array on the backend that a test may write to."""
        return self.backend.asarray(np.array(x, dtype=self.backend.dtype_name))

    def host(self, x: Array) -> np.ndarray:
        return to_numpy(x)


PLACES = {
    "numpy": ("numpy", None, False),
    "numpy-readonly": ("numpy", None, True),
    "strict": ("array_api_strict", None, False),
    "strict-device1": ("array_api_strict", "device1", False),
    "torch": ("torch", None, False),
    "cupy": ("cupy", None, False),
}
"""The name of a backend, a device, and whether its arrays are read-only."""

FLOAT64 = [name for name in PLACES if name != "strict"]
FLOAT32 = [name for name in PLACES if name != "strict-device1"]
"""The places of tests in each dtype, one of both devices of the strict library in each.

Its arrays are slow, and its namespace is the same on both devices.
"""

OPTIONAL = {name for name, _, _ in PLACES.values()} - {"numpy"}
"""The backends that may be missing; their tests are deselected then."""

REQUIRE_GPU = "XPNET_REQUIRE_GPU"
"""If this environment variable is set, tests of a missing CUDA device fail."""

FIXTURES = {"cuda": "cupy", "torch": "torch"}
"""The backend that a fixture needs."""


@cache
def why_absent(backend_name: str) -> str | None:
    """Why tests cannot run on a backend, or ``None``; warnings of its library are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", FallbackWarning)
        reason = unavailable(backend_name)
        if reason is None and backend_name == "cupy":
            operations_for(get_backend("cupy").zeros(1))  # checks the kernels and loads cuBLAS
    return reason


@cache
def why_no_device() -> str | None:
    """Why tests cannot run on a CUDA device, or ``None``. CuPy may be installed without one."""
    if importlib.util.find_spec("cupy") is None:
        return "cupy is not installed"
    return why_absent("cupy")


@cache
def why_not_collected(backend_name: str) -> str | None:
    """Why the tests of a backend are deselected, or ``None``.

    Those of CuPy run on the stand-in without a device. Loading PyTorch takes seconds, which a run
    of other tests need not spend.
    """
    if backend_name == "cupy":
        reason, stand_in = why_no_device(), strict_cupy.why_not()
        return reason and stand_in and f"{reason}, and {stand_in}"
    missing = importlib.util.find_spec(backend_name) is None
    return f"{backend_name} is not installed" if missing else None


def uses_stand_in() -> bool:
    """Whether the tests that need CuPy run on `strict_cupy`, because there is no device."""
    return not os.environ.get(REQUIRE_GPU) and why_no_device() is not None


def without_device(item: pytest.Item) -> AbstractContextManager[Any]:
    """What a test runs in: the stand-in for CuPy if it needs CuPy and there is no device."""
    needed = "cupy" in backends_of(item) and uses_stand_in()
    return strict_cupy.installed() if needed else nullcontext()


def require_backend(backend_name: str) -> None:
    """Skip a test whose backend does not work; fail if a GPU is required and does not."""
    if backend_name == "cupy" and uses_stand_in():
        return
    reason = why_absent(backend_name)
    if reason is not None and backend_name == "cupy" and os.environ.get(REQUIRE_GPU):
        pytest.fail(f"{REQUIRE_GPU} is set, and backend 'cupy': {reason}")
    if reason is not None:
        pytest.skip(f"backend {backend_name!r}: {reason}")


def open_place(name: str, dtype: str) -> Place:
    """The place called ``name``, in float32 or float64."""
    backend_name, device, readonly = PLACES[name]
    require_backend(backend_name)
    if device is not None:
        device = importlib.import_module(backend_name).Device(device)
    return Place(get_backend(backend_name, dtype=dtype, device=device), readonly)


def places(names: Iterable[str]) -> list[Any]:
    """Fixture parameters for places, marked with the backend that each needs."""
    return [pytest.param(name, marks=marks_of(PLACES[name][0])) for name in names]


def marks_of(backend_name: str) -> tuple[Any, ...]:
    """The marks of a test that needs a backend."""
    marks = (pytest.mark.backend(backend_name),) if backend_name in OPTIONAL else ()
    return (*marks, pytest.mark.gpu) if backend_name == "cupy" else marks


def backends_of(item: pytest.Item) -> set[str]:
    """The optional backends that a test needs, by its marks and fixtures."""
    needed = {mark.args[0] for mark in item.iter_markers("backend")}
    if item.get_closest_marker("gpu"):
        needed.add("cupy")
    fixtures = getattr(item, "fixturenames", ())
    return needed | {backend for name, backend in FIXTURES.items() if name in fixtures}


def divide(items: list[pytest.Item]) -> tuple[list[pytest.Item], dict[str, list[pytest.Item]]]:
    """The tests that can run here, and the others by the reason."""
    kept: list[pytest.Item] = []
    absent: dict[str, list[pytest.Item]] = {}
    for item in items:
        reasons = [reason for name in backends_of(item) if (reason := _absent(name))]
        if item.get_closest_marker("device") and uses_stand_in():
            reasons.append(f"needs a CUDA device: {why_no_device()}")
        if reasons:
            absent.setdefault(sorted(reasons)[0], []).append(item)
        else:
            kept.append(item)
    return kept, absent


def _absent(backend_name: str) -> str | None:
    if backend_name == "cupy" and os.environ.get(REQUIRE_GPU):
        return None
    reason = why_not_collected(backend_name)
    return reason and f"backend {backend_name!r}: {reason}"
