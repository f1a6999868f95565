"""The documents are true: their Python runs, and their commands, links, names and paths exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import xpnet
from benchmarks.gpu_table import TARGETS
from benchmarks.table import duration

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in (".", "docs", "examples")
    for path in sorted((ROOT / folder).glob("*.md"))
}
README, STATUS = PAGES["README.md"], PAGES["docs/status.md"]
ARCHITECTURE, CONTRIBUTING = PAGES["docs/architecture.md"], PAGES["CONTRIBUTING.md"]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
every_page = pytest.mark.parametrize("page", PAGES)


# --- README ---------------------------------------------------------------------------------------


def test_readme_python_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    found = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(found) >= 4
    names: dict[str, object] = {"__name__": "readme"}
    for number, block in enumerate(found):
        exec(compile(block, f"README block {number}", "exec"), names)
        for said in re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE):
            assert said in capsys.readouterr().out
    model, digits = names["model"], names["digits"]
    result = model.evaluate(digits.X_test, digits.y_test, metrics=[xpnet.metrics.accuracy])
    assert result["accuracy"] >= 0.95
    assert (tmp_path / "digits.safetensors").is_file()
    wave = names["wave"].evaluate(names["X_wave"], names["y_wave"], metrics=[xpnet.metrics.rmse])
    assert wave["rmse"] < 0.12
    output = names["by_hand"].forward(digits.X_test / 16)
    assert np.mean(np.argmax(output, axis=1) == digits.y_test) >= 0.95


def test_readme_has_two_setup_commands():
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for command, last in zip(commands, ["xpnet train digits", "python -m pytest"], strict=True):
        made, installed, run = command.split(" && ")
        assert made == "python3 -m venv .venv"
        extras = re.fullmatch(r"\.venv/bin/pip install -q -e '\.\[(.*)\]'", installed)
        assert extras is not None
        assert set(extras[1].split(",")) <= set(EXTRAS)
        assert run == f".venv/bin/{last}"
    assert "xpnet" in project["scripts"]


@pytest.mark.parametrize(
    ("row", "module"),
    [
        ("activations", xpnet),
        ("losses", xpnet.losses),
        ("optimizers", xpnet.optimizers),
        ("schedules", xpnet.schedules),
    ],
)
def test_readme_table_names_exist(row: str, module: object):
    cells = re.search(rf"^\| {row} \| (.*) \|$", README, re.MULTILINE)
    assert cells is not None
    names = cells[1].partition(";")[0].split(", ")
    assert len(names) > 5
    assert [name for name in names if not hasattr(module, name)] == []


# --- every page -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "limit"), [("README.md", 1200), ("docs/architecture.md", 1000)])
def test_page_is_short(page: str, limit: int):
    """As `wc -w` counts, with nothing folded away."""
    assert len(PAGES[page].split()) <= limit
    assert "<details" not in PAGES[page]


@every_page
def test_links_have_targets(page: str):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert "://" in target or (folder / target).exists(), target


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/engines.md", "CONTRIBUTING.md"])
def test_paths_exist(page: str):
    """A path in backticks is relative to the package, or to the repository."""
    found = set(re.findall(r"`((?:[\w.]+/)*[\w.]+(?:/|\.py|\.md|\.yml))`", PAGES[page]))
    assert found
    missing = [p for p in found if not any((root / p).exists() for root in (ROOT, ROOT / "xpnet"))]
    assert missing == []


def test_architecture_lists_every_module():
    rows = re.findall(r"^\| (`.*?) \|.*\|$", ARCHITECTURE.split("## Path")[0], re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)/?`", row)}
    modules = {path.stem for path in (ROOT / "xpnet").iterdir() if path.name[0] not in "_."}
    assert listed == modules - {"py"}


# --- CONTRIBUTING ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "n_files"), [("activation", 4), ("optimizer", 4), ("layer", 3), ("backend", 2)]
)
def test_recipe_is_short(recipe: str, n_files: int):
    section = re.search(rf"^## An? {recipe}\n(.*?)^##", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert 1 <= len(re.findall(r"^- ", section[1], re.MULTILINE)) <= 8
    edited = set(re.findall(r"\*\*`([^`]+)`\*\*", section[1])) - {"CHANGELOG.md"}
    assert len(edited) == n_files


# --- figures --------------------------------------------------------------------------------------


def test_status_has_the_targets_of_the_gpu_benchmark():
    rows = re.findall(r"^\| (.*) \| not measured yet: needs a GPU \|$", STATUS, re.MULTILINE)
    for target in TARGETS:
        what = target.what.removeprefix("step, ")
        limit = duration(target.limit) if target.seconds else f"{target.limit:.2f}"
        wanted = f"{'≥' if target.at_least else '≤'} {limit.replace('.0 ', ' ')}"
        if what.startswith("memory"):
            what, wanted = "memory", "θ × (1 + 1 + the optimizer's states) + activations + 5 %"
        name = re.split(", batch|, bf16", what)[0]
        assert any(name in row and wanted in row for row in rows), (name, wanted)


def test_status_agrees_with_the_experiment():
    measured = dict(
        re.findall(r"^\| (.*?) \| \*\*(.*?)\*\*", PAGES["docs/reference_experiment.md"], re.M)
    )
    rows = re.findall(r"^\| (\w+) \| (0\.\d{4}) \| (0\.\d{4}) \|$", STATUS, re.MULTILINE)
    assert len(rows) == 6
    for name, plain, normalized in rows:
        assert (plain, normalized) == (measured[name], measured[f"{name} + BN"])


# --- settings of the repository -------------------------------------------------------------------


@pytest.mark.parametrize("major", ["12", "13"])
def test_extra_has_the_cupy_of_its_cuda(major: str):
    """With the toolkit, in which cuda-pathfinder finds cublasLt."""
    assert EXTRAS[f"cuda{major}"] == [f"cupy-cuda{major}x[ctk]>=14"]


def test_hooks_have_the_versions_of_the_extra():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    given = set(re.findall(r'"((?:ruff|mypy)\W[^"]*)"', text))
    assert given == set(EXTRAS["dev"])


def test_workflow_covers_the_systems_of_status():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    versions = re.findall(r'"(3\.\d+)"', text)
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    assert all(version in STATUS for version in versions)
    for image, system in {"ubuntu": "Linux", "macos": "macOS", "windows": "Windows"}.items():
        assert f"{image}-latest" in text
        assert f"| {system}" in STATUS
    assert "grep '^python3 -m venv' README.md" in text
