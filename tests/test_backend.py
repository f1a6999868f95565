"""Backends: availability, and arrays that are never moved implicitly."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.cases import warns_here

from xpnet import MLP
from xpnet import backend as backends
from xpnet.backend import (
    NAMES,
    Snapshot,
    backend_of,
    get_backend,
    namespace_of,
    to_numpy,
    unavailable,
)
from xpnet.errors import ArgumentError, BackendUnavailableError


@pytest.fixture
def no_cupy(monkeypatch):
    """A machine without a CUDA device."""
    monkeypatch.delenv("XPNET_FALLBACK", raising=False)
    real = unavailable

    def absent(name, device=None):
        return "no GPU here." if name == "cupy" else real(name, device)

    monkeypatch.setattr(backends, "unavailable", absent)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: get_backend("numpi"),
            f"backend must be one of {', '.join(sorted((*NAMES, 'auto')))}; got 'numpi'. "
            "Did you mean 'numpy'?",
        ),
        (lambda: get_backend("CuPy"), "Did you mean 'cupy'?"),
        (lambda: get_backend("pytorch"), "Did you mean 'torch'?"),
        (lambda: get_backend("jax"), "got 'jax', which has immutable arrays. Use 'numpy'"),
        (
            lambda: get_backend("numpy", dtype="float16"),
            "dtype must be one of float32, float64; got 'float16'.",
        ),
        (lambda: get_backend("numpy", device="cuda"), "device must be 'cpu' for NumPy; got 'cuda'"),
    ],
)
def test_unknown_names_are_refused(call, message):
    with pytest.raises(ArgumentError) as error:
        call()
    assert message in str(error.value)


def test_get_backend_returns_a_backend_unchanged(place):
    assert get_backend(place.backend) is place.backend


def test_backends_compare_by_value():
    assert get_backend("numpy") == get_backend("numpy", device="cpu")
    assert get_backend("numpy") != get_backend("numpy", dtype="float64")


# --- availability ---------------------------------------------------------------------------------


def test_cupy_without_a_gpu_is_an_error(no_cupy):
    with pytest.raises(BackendUnavailableError) as error:
        get_backend("cupy")
    assert str(error.value) == "backend 'cupy' does not work here: no GPU here."


def test_auto_without_a_gpu_is_numpy(no_cupy):
    for device in (None, 1):
        found = get_backend("auto", dtype="float64", device=device)
        assert found == get_backend("numpy", dtype="float64")


def test_fallback_to_numpy_warns(no_cupy, monkeypatch):
    monkeypatch.setenv("XPNET_FALLBACK", "numpy")
    with warns_here(r"'cupy' is unavailable \(no GPU here\.\)"):
        backend = get_backend("cupy", dtype="float64")
    assert backend == get_backend("numpy", dtype="float64")
    with warns_here("using NumPy"):  # at the line of the user, although the call is nested
        assert MLP(2, [3], 2, backend="cupy").backend.name == "numpy"


@pytest.mark.parametrize("value", ["", "0", "cupy"])
def test_other_fallbacks_are_ignored(value, no_cupy, monkeypatch):
    monkeypatch.setenv("XPNET_FALLBACK", value)
    with pytest.raises(BackendUnavailableError):
        get_backend("cupy")


def fails(error):
    def namespace(name):
        raise error

    return namespace


@pytest.mark.parametrize("name", ["cupy", "torch", "array_api_strict"])
def test_missing_package_error_says_how_to_install(name, monkeypatch):
    monkeypatch.setattr(backends.ArrayLibrary, "namespace", fails(ImportError("No module")))
    reason = unavailable(name)
    assert reason.startswith("it cannot be imported (No module). Install it")
    assert "pip install" in reason


def test_driver_error_is_reported(monkeypatch):
    monkeypatch.setattr(backends.ArrayLibrary, "namespace", fails(RuntimeError("driver too old")))
    assert unavailable("cupy") == (
        "an operation on its device failed (RuntimeError: driver too old). Is there a CUDA GPU?"
    )
    reason = unavailable("torch")
    assert reason == "an operation on its device failed (RuntimeError: driver too old)."


# --- arrays ---------------------------------------------------------------------------------------


def test_asarray_returns_own_arrays_uncopied(place):
    x = place.array(np.arange(3.0))
    assert place.backend.asarray(x) is x
    assert place.backend.asarray(x, dtype=x.dtype) is x


@pytest.mark.parametrize("data", [[1.0, 2.0], (1.0, 2.0), np.array([1.0, 2.0])])
def test_asarray_moves_host_data(data, place):
    x = place.backend.asarray(data, dtype=place.backend.dtype)
    assert place.backend.owns(x)
    assert x.dtype == place.backend.dtype
    assert place.backend.asarray(x) is x
    assert place.host(x).tolist() == [1.0, 2.0]


def test_asarray_converts_on_request(place):
    xp = place.xp
    assert place.backend.asarray(place.array([1.0]), dtype=xp.float32).dtype == xp.float32
    assert place.backend.asarray(np.array([3])).dtype == xp.int64


def test_zeros_and_empty_have_shape_and_dtype(place32):
    backend = place32.backend
    zeros, empty = backend.zeros(2, 3), backend.empty(4)
    assert place32.host(zeros).tolist() == [[0.0] * 3] * 2
    assert (tuple(empty.shape), empty.dtype) == ((4,), backend.dtype)
    assert backend.zeros(1, dtype=place32.xp.int64).dtype == place32.xp.int64


def test_backend_of_finds_the_backend(place):
    found = backend_of(place.backend.zeros(2))
    assert (found.name, found.dtype_name) == (place.backend.name, "float64")
    assert tuple(found.zeros(2).shape) == (2,)
    assert namespace_of(place.backend.zeros(1)) is found.xp


def test_arrays_of_another_library_are_refused(torch):
    strict = pytest.importorskip("array_api_strict", reason="no second library to refuse")
    with pytest.raises(ArgumentError) as error:
        get_backend("numpy").asarray(torch.zeros(2))
    assert str(error.value) == (
        "an array must be a NumPy array or an array of the backend 'numpy'; "
        "got a float32 array of shape (2,). "
        "It belongs to torch: move it first, with xpnet.to_numpy(x)."
    )
    with pytest.raises(ArgumentError, match="It belongs to array_api_strict"):
        get_backend("torch").asarray(strict.zeros(2))


@pytest.mark.parametrize("x", ["text", {1: 2}, None])
def test_values_that_are_no_arrays_are_refused(x):
    with pytest.raises(ArgumentError, match=rf"an array must be a NumPy array .*; got {x!r}\.$"):
        get_backend("numpy").asarray(x)
    with pytest.raises(ArgumentError):
        namespace_of(object())


def test_backend_of_integers_is_refused():
    with pytest.raises(ArgumentError, match="the dtype of an array must be one of float32"):
        backend_of(np.arange(3))


def test_to_numpy_reads_every_backend(place):
    x = place.array(np.arange(4.0))
    host = to_numpy(x)
    assert type(host) is np.ndarray
    assert host.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_to_numpy_returns_host_arrays_unchanged():
    x = np.zeros(3)
    assert to_numpy(x) is x


def test_str_of_a_backend_names_device_and_dtype(place):
    assert str(place.backend).startswith(place.backend.name + ", ")
    assert str(place.backend).endswith(", float64")


# --- what is put back -----------------------------------------------------------------------------


def test_snapshot_restores_arrays(place32):
    arrays = [place32.writable([1.0, 2.0, 3.0]), place32.writable([])]
    saved = Snapshot(arrays)
    arrays[0][...] = 7.0
    saved.restore()
    assert place32.host(arrays[0]).tolist() == [1.0, 2.0, 3.0]
    arrays[0][1:] = 5.0
    saved.take()
    arrays[0][...] = 7.0
    saved.restore()
    assert place32.host(arrays[0]).tolist() == [1.0, 5.0, 5.0]


def test_snapshot_copies_device_arrays_once(monkeypatch):
    """Into the same host memory every time, and back without further device memory.

    A writer waits for the stream of the copy only.
    """
    done, stream = [], SimpleNamespace(synchronize=lambda: done.append(len(array.back)))
    cuda = SimpleNamespace(get_current_stream=lambda: stream)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))

    class Array:
        shape, dtype, device, __module__ = (3,), "float32", nullcontext(), "cupy"

        def __init__(self):
            self.number, self.into, self.back = 1.0, [], []

        def __getitem__(self, part):
            assert part == slice(0, 3)
            return self

        def get(self, out):
            out[...] = self.number
            self.into.append(out)

        def set(self, host, of):
            assert of is stream
            self.back.append(host.tolist())

    array = Array()
    saved = Snapshot([array])
    saved.restore()
    array.number = 2.0
    saved.take()
    saved.restore()
    assert array.into[0] is array.into[1]
    assert array.back == [[1.0] * 3, [2.0] * 3]
    assert done == [1, 2]  # a copy to the host may still run
