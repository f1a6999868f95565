"""Fixtures for every backend, workers by default, and one line for each absent backend."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import emulated_cuda, workers
from helpers.backends import (
    FLOAT32,
    FLOAT64,
    Place,
    divide,
    open_place,
    places,
    require_backend,
    without_device,
)
from helpers.fake_cublas import Devices

from xpnet.ops.cuda.self_check import checked_product

ABSENT = pytest.StashKey[dict[str, int]]()
"""The number of deselected tests by the reason."""


@pytest.fixture(params=places(FLOAT64))
def place(request: pytest.FixtureRequest) -> Place:
    """Every backend, in float64."""
    return open_place(request.param, "float64")


@pytest.fixture(params=places(FLOAT32))
def place32(request: pytest.FixtureRequest) -> Place:
    """Every backend, in float32."""
    return open_place(request.param, "float32")


@pytest.fixture
def cuda() -> None:
    """For tests that need a CUDA device."""
    require_backend("cupy")


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Devices]:
    """CuPy and cublasLt on a machine with CUDA devices, faked on host memory."""
    checked_product.cache_clear()
    yield Devices(monkeypatch)
    checked_product.cache_clear()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    workers.use_workers(config)


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("cacheprovider"):
        emulated_cuda.Cache.use(config.cache.mkdir("emulated-cuda"))


@pytest.hookimpl(trylast=True)  # after -m and -k, so that only their tests are counted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:], absent = divide(items)
    config.stash[ABSENT] = {reason: len(tests) for reason, tests in absent.items()}
    deselected = [test for tests in absent.values() for test in tests]
    if deselected:
        config.hook.pytest_deselected(items=deselected)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with without_device(item):
        return (yield)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of collected tests, which live until the end."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if workers.is_worker(session.config):
        session.config.workeroutput["absent"] = session.config.stash.get(ABSENT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    node.config.stash[ABSENT] = getattr(node, "workeroutput", {}).get("absent", {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for reason, count in config.stash.get(ABSENT, {}).items():
        terminalreporter.write_line(f"DESELECTED [{count}] {reason}")
