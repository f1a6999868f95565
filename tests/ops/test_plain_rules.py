"""Plain rules on CuPy: what no kernel computes must still run inside a captured step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.rules import (
    CURVATURES,
    CURVATURES_OF_LOSSES,
    DERIVATIVES,
    LOSSES,
    SCALARS,
    UPDATES,
    VALUES,
    counts_of,
    matrix,
)

from xpnet import metrics, to_numpy
from xpnet.backend import get_backend, namespace_of
from xpnet.minimize import ElasticNet
from xpnet.ops.rules import erf, layers, scaling

RULES = [*VALUES, *DERIVATIVES, *CURVATURES, *LOSSES, *CURVATURES_OF_LOSSES, *UPDATES]
RULES += [erf.erf, layers.normalize, scaling.next_scale]


@pytest.fixture
def backend(cuda):
    return get_backend("cupy")


def captured(function):
    """The results of a function whose work is captured and launched."""
    import cupy  # noqa: PLC0415

    function()  # compiles its kernels
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        results = function()
        graph = stream.end_capture()
        graph.launch()
        stream.synchronize()
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.gpu
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_plain_rules_can_be_captured(rule, backend):
    n_arrays, n_scalars = counts_of(rule)
    host = [matrix("float32", seed, 0.1, 2.0) for seed in range(n_arrays)]
    arrays, scalars = [backend.asarray(x) for x in host], SCALARS[:n_scalars]
    actual = captured(lambda: rule(backend.xp, *arrays, *scalars))
    expected = rule(np, *host, *scalars)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for ours, theirs in zip(actual, expected, strict=True):
        host = to_numpy(ours) if hasattr(ours, "shape") else ours
        np.testing.assert_allclose(host, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_sign_propagates_nan_without_a_mask(dtype, backend):
    values = [-3, 0, 2] if dtype == "int64" else [-math.inf, -1e-30, -0.0, 0, 2, math.inf, math.nan]
    host = np.array(values, dtype)
    x = backend.asarray(host)
    assert namespace_of(x) is backend.xp
    (signs,) = captured(lambda: backend.xp.sign(x))
    assert signs.dtype == x.dtype
    np.testing.assert_array_equal(to_numpy(signs), np.sign(host))


@pytest.mark.gpu
def test_sign_outside_of_rules_can_be_captured(backend):
    X, y = matrix("float32"), matrix("float32", 1)[:, 0]
    w = matrix("float32", 2)[0]

    def results(X, y, w):
        return ElasticNet(X, y, l1=0.1)._soft(w), metrics.r2(y, y + 1.0)

    arrays = [backend.asarray(x) for x in (X, y, w)]
    actual = captured(lambda: results(*arrays))
    for ours, theirs in zip(actual, results(X, y, w), strict=True):
        np.testing.assert_allclose(to_numpy(ours), theirs, rtol=1e-4, atol=1e-5)
