"""The places that tests run on: every backend and device, read-only inputs where NumPy has them."""

from __future__ import annotations

import importlib
import os
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from xpnet.backend import Array, Backend, get_backend, to_numpy, unavailable
from xpnet.errors import FallbackWarning
from xpnet.ops import operations_for


@dataclass(frozen=True)
class Place:
    """A backend to test on, and how test data get there."""

    backend: Backend
    readonly: bool = False

    @property
    def xp(self) -> Any:
        return self.backend.xp

    @property
    def eps(self) -> float:
        return float(np.finfo(self.backend.dtype_name).eps)

    def array(self, x: Any, dtype: str | None = None) -> Array:
        """``x`` on the backend; floats in its dtype, unless ``dtype`` names another."""
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
        """A floating array on the backend that a test may write to."""
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


REQUIRE_GPU = "XPNET_REQUIRE_GPU"
"""In the environment it lets tests that need a device fail where there is none."""


@cache
def why_not(backend_name: str) -> str | None:
    """Why there is no testing on a backend. What its library warns of when loaded is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", FallbackWarning)
        reason = unavailable(backend_name)
        if reason is None and backend_name == "cupy":
            operations_for(get_backend("cupy").zeros(1))  # proves the kernels, loads cuBLAS
    return reason


def skip_without(backend_name: str) -> None:
    reason = why_not(backend_name)
    if reason is not None and backend_name == "cupy" and os.environ.get(REQUIRE_GPU):
        pytest.fail(f"{REQUIRE_GPU} is set, and backend 'cupy': {reason}")
    if reason is not None:
        pytest.skip(f"backend {backend_name!r}: {reason}")


@pytest.fixture
def cuda() -> None:
    """For tests that need a CUDA device."""
    skip_without("cupy")


def open_place(name: str, dtype: str) -> Place:
    backend_name, device, readonly = PLACES[name]
    skip_without(backend_name)
    if device is not None:
        device = importlib.import_module(backend_name).Device(device)
    return Place(get_backend(backend_name, dtype=dtype, device=device), readonly)


def _cases(names: list[str]) -> list[Any]:
    gpu = {"cupy": (pytest.mark.gpu,)}
    return [pytest.param(name, marks=gpu.get(name, ())) for name in names]


@pytest.fixture(params=_cases(list(PLACES)))
def place(request: pytest.FixtureRequest) -> Place:
    """Every backend and device, in float64."""
    return open_place(request.param, "float64")


@pytest.fixture(params=_cases(list(PLACES)))
def place32(request: pytest.FixtureRequest) -> Place:
    """Every backend and device, in float32."""
    return open_place(request.param, "float32")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed: no parity to check")
