"""A plugin of pytest that prints the counts of tests while they run, and each failure at once.

``python -m pytest -p benchmarks.gpu_pytest --row NAME`` names the row of the results.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

COUNTED = "failed", "passed", "skipped"
OFTEN = 10
"""The tests after which their counts are printed again."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--row", default="tests", help="the row of the results")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Counter(config), "counter")


class Counter:
    """Counts the outcomes of tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._row = config, config.getoption("--row")
        self._counts, self._reports = dict.fromkeys(COUNTED, 0), 0

    def _say(self, row: str, column: str, value: object, **more: bool) -> None:
        terminal: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        terminal.ensure_newline()
        terminal.write_line(json.dumps({"row": row, "column": column, "value": value} | more))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test when its call ends, and a setup or teardown that does not pass."""
        if report.when != "call" and report.passed:
            return
        self._count(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that cannot be imported."""
        if report.failed:
            self._count(report)

    def _count(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        self._counts[report.outcome] += 1
        self._reports += 1
        if report.failed:
            found = [text[1:] for text in report.longreprtext.splitlines() if text[:2] == "E "]
            why = (found or report.longreprtext.splitlines() or [""])[0].strip()
            self._say(report.nodeid, f"failed: {self._row}", why[:200].replace("|", "/"))
        if report.failed or self._reports % OFTEN == 0:
            self._say(self._row, "tests", [*self._counts.values()], more=True)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Print the last counts; a run that did not end well is no result."""
        well = int(exitstatus) in (0, 1)
        value = [*self._counts.values()] if well else f"failed (pytest ended with {exitstatus})"
        self._say(self._row, "tests", value)
