"""Loops that one process compiled and another reads from the disk are those of their own rule."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

SCRIPT = """
import sys
import numpy as np
from xpnet.ops.compiled.compile import loop_of
from xpnet.ops.compiled.loops import shift_and_apply
from xpnet.ops.compiled.program import Recorder
from xpnet.ops.rules import activations


def own(slope):
    def rule(xp, z):
        for i in range(3):
            z = xp.exp(0.1 * z) + xp.tanh(z) / (xp.exp(-z * z) + slope)
        return z

    return rule


for name in sys.argv[1:]:
    rule = own(float(name)) if name.isdigit() else getattr(activations, name)
    zeros, bias = np.zeros((3, 4), np.float32), np.linspace(-2, 2, 4, dtype=np.float32)
    want = rule(np, zeros + bias)

    recorder, recorded = Recorder(), zeros.copy()
    z, b = recorder.traced(recorded), recorder.traced(bias)
    recorder.record(lambda: recorder.operations.shift_and_apply(rule, z, b))
    np.testing.assert_allclose(recorded, want, rtol=1e-5)

    direct = zeros.copy()
    loop = loop_of(shift_and_apply, rule, direct.dtype, 2, 0)
    loop(direct, bias, ())
    np.testing.assert_allclose(direct, want, rtol=1e-5)
    print("read" if loop.stats.cache_hits else "compiled")
"""


@pytest.mark.parametrize("names", [["relu", "identity", "tanh"], ["1", "2", "3"]])
def test_a_third_process_runs_each_rule_in_its_own_loop(tmp_path, names):
    def done(*given):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, *given],
            env=environment,
            text=True,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout.split()

    for name in names:
        assert done(name) == ["compiled"]
    assert done(*names) == ["read"] * len(names)
