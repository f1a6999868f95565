"""A seeded sample of benchmarks/kills.py: killed trainings end as those that were not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.machine import THREADS, merged


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_killed_trainings_end_with_equal_bits():
    """In a process of its own: JAX, which other tests may have imported, warns about forks."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kills", "--kills", "20", "--seed", "4641"],
        cwd=Path(__file__).parents[2],
        env=merged(dict.fromkeys(THREADS, "1")),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("20 kills")
