"""The README keeps its promises: its Python runs, its commands and links exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import xpnet

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "docs" / "design.md", ROOT / "examples" / "README.md"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_python_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    found = blocks("python")
    assert len(found) >= 4
    names: dict[str, object] = {"__name__": "readme"}
    for number, block in enumerate(found):
        exec(compile(block, f"README block {number}", "exec"), names)
        for said in re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE):
            assert said in capsys.readouterr().out
    model, digits = names["model"], names["digits"]
    result = model.evaluate(digits.X_test, digits.y_test, metrics=[xpnet.metrics.accuracy])
    assert result["accuracy"] >= 0.95
    wave = names["wave"].evaluate(names["X_wave"], names["y_wave"], metrics=[xpnet.metrics.rmse])
    assert wave["rmse"] < 0.12
    assert (tmp_path / "digits.safetensors").is_file()


def test_two_commands_set_everything_up():
    commands = re.findall(r"^python3 -m venv .*$", TEXT, re.MULTILINE)
    assert len(commands) == 2
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for command, last in zip(commands, ["xpnet train digits", "python -m pytest"], strict=True):
        made, installed, run = command.split(" && ")
        assert made == "python3 -m venv .venv"
        extras = re.fullmatch(r"\.venv/bin/pip install -q -e '\.\[(.*)\]'", installed)
        assert extras is not None
        assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
        assert run == f".venv/bin/{last}"
    assert "xpnet" in project["scripts"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize(
    ("row", "module"),
    [
        ("activations", xpnet),
        ("losses", xpnet.losses),
        ("optimizers", xpnet.optimizers),
        ("schedules", xpnet.schedules),
    ],
)
def test_the_table_names_what_exists(row: str, module: object):
    cells = re.search(rf"^\| {row} \| (.*) \|$", TEXT, re.MULTILINE)
    assert cells is not None
    names = cells[1].partition(";")[0].split(", ")
    assert len(names) > 5
    assert [name for name in names if not hasattr(module, name)] == []
