"""Recorded products by NumPy's own BLAS, beside `numpy.dot`."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(f"nothing is compiled: {why_not_compiled()}", allow_module_level=True)

from xpnet.engine.recorder import Recorder
from xpnet.ops.cpu.jit import NotCompiled
from xpnet.ops.cpu.product import products

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
transposes = pytest.mark.parametrize("transposed", [False, True])


def matrices(rng, shapes, dtype, transposed):
    """``a``, ``b`` as a transpose or not, and an output full of NaN, which a product overwrites."""
    m, k, n = shapes
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    b = np.ascontiguousarray(b.T).T if transposed else b
    return a, b, np.full((m, n), np.nan, dtype)


@dtypes
@transposes
@pytest.mark.parametrize(("k", "n"), [(1, 2), (4, 3), (33, 47), (200, 10), (784, 200)])
def test_product_of_one_row_equals_dot_exactly(k, n, transposed, dtype, rng):
    a, b, out = matrices(rng, (1, k, n), dtype, transposed)
    Recorder().product(a, b, out)
    np.testing.assert_array_equal(out, np.dot(a, b))


@dtypes
@transposes
@pytest.mark.parametrize("shapes", [(1, 7, 1), (2, 7, 1), (5, 3, 4), (32, 64, 96), (2, 1, 9)])
def test_product_agrees_with_matmul(shapes, transposed, dtype, rng):
    a, b, out = matrices(rng, shapes, dtype, transposed)
    Recorder().product(a, b, out)
    rtol = 1e4 * np.finfo(dtype).eps
    np.testing.assert_allclose(out, a @ b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("rows", [1, 2])
def test_product_refuses_what_blas_does_not_accept(rows):
    a, b, out = np.ones((rows, 4)), np.ones((4, 3)), np.empty((rows, 3))
    products(a, b, out)
    for refused in [
        (a.astype("float32"), b, out),
        (a, b[:3], out),
        (a, np.ones((8, 6))[::2, ::2], out),
        (np.ones((rows, 8))[:, ::2], b, out),
        (a, b, np.empty((3, rows)).T if rows > 1 else np.empty((1, 6))[:, ::2]),
        (a, np.ones((4, 4)), a),
        (a[0], b, out[0]),
    ]:
        with pytest.raises(NotCompiled):
            products(*refused)
