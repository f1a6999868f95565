"""The paired timing of two checkouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import beside

EARLIER = Path("earlier")
TASK = {"kind": "step", "case": "32-64-64-2, batch 32", "seconds": 0.01}


def test_pairs_alternate_the_order(monkeypatch):
    asked = []

    def seconds(checkout, task):
        asked.append(checkout)
        return 2.0 if checkout == EARLIER else 1.0

    monkeypatch.setattr(beside, "seconds", seconds)
    assert beside.pairs(EARLIER, TASK, 3) == [(2.0, 1.0)] * 3
    assert asked == [EARLIER, beside.HERE, beside.HERE, EARLIER, EARLIER, beside.HERE]


def test_failing_process_shows_its_output():
    with pytest.raises(RuntimeError, match="KeyError: 'no such case'"):
        beside.seconds(beside.HERE, TASK | {"case": "no such case"})


def test_process_times_the_given_checkout():
    assert 0 < beside.seconds(beside.HERE, TASK) < 60
