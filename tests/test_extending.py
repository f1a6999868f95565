"""The programs of docs/extending.md and docs/physics.md run on every backend, as they are."""

from __future__ import annotations

import io
import re
import sys
import tokenize
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers.backends import marks_of, require_backend

import xpnet

DOCS = Path(__file__).parents[1] / "docs"
EXTENDING, PHYSICS = (
    (DOCS / name).read_text(encoding="utf-8") for name in ("extending.md", "physics.md")
)
MAX_LINES = 20


def programs(page: str) -> dict[str, str]:
    """The programs of a page by their heading, with a number from the second on."""
    found: dict[str, str] = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        blocks = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        found |= {f"{heading}{f', {i + 1}' if i else ''}": b for i, b in enumerate(blocks)}
    return found


def code_lines(program: str) -> int:
    """The lines of a program that are not blank, a docstring or a comment."""
    skipped = tokenize.NL, tokenize.COMMENT, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT
    lines, starts = set(), True
    for token in tokenize.generate_tokens(io.StringIO(program).readline):
        if token.type in (*skipped, tokenize.ENDMARKER):
            starts = starts or token.type == tokenize.NEWLINE
            continue
        if not (starts and token.type == tokenize.STRING):
            lines |= {*range(token.start[0], token.end[0] + 1)}
        starts = False
    return len(lines)


PARTS = programs(EXTENDING)
backends = pytest.mark.parametrize(
    "backend",
    [pytest.param(name, marks=marks_of(name)) for name in ("numpy", "torch", "array_api_strict")],
)


def run(program: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a program after it has run on a backend, as a module."""
    require_backend(backend)
    module = ModuleType("program")
    monkeypatch.setitem(sys.modules, "program", module)
    source = program.replace('"numpy"', f'"{backend}"')
    exec(compile(source, "a program", "exec", dont_inherit=True), vars(module))
    return vars(module)


def test_page_has_every_part():
    kinds = ["activation", "loss", "layer", "residual block", "optimizer", "schedule"]
    found = {heading.partition(",")[0].split(" ", 1)[1] for heading in PARTS}
    assert found == {*kinds, "metric", "callback"}
    assert len(PARTS) == 9  # two residual blocks


@pytest.mark.parametrize("name", PARTS)
def test_program_of_a_part_is_short(name: str):
    program = PARTS[name]
    assert code_lines(program) <= MAX_LINES
    if any(word in name for word in ("activation", "loss", "layer", "block")):
        assert program.rstrip().endswith(".raise_if_wrong()")
    assert 'backend="numpy"' in program


@backends
@pytest.mark.parametrize("name", PARTS)
def test_program_of_a_part_runs(
    name: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    names = run(PARTS[name], backend, monkeypatch)
    model = names["model"]
    assert model.backend.name == backend
    (file,) = tmp_path.iterdir()
    own = [v for v in names.values() if isinstance(v, type) and v.__module__ == "program"]
    loaded = xpnet.load(file, types=own if "types=[" in PARTS[name] else [])
    np.testing.assert_array_equal(xpnet.to_numpy(loaded.theta), xpnet.to_numpy(model.theta))
    if "types=[" in PARTS[name] and "resume" not in PARTS[name]:
        with pytest.raises(xpnet.FileFormatError, match=rf"program\.{own[0].__name__}, which no"):
            xpnet.load(file)
    losses = model.history["loss"] if "loss" in model.history.columns else [1.0, 0.0]
    assert losses[-1] < losses[0]


# --- docs/physics.md ------------------------------------------------------------------------------

WAYS = programs(PHYSICS)


def test_every_way_is_a_program():
    assert [heading.partition(" ")[0] for heading in WAYS] == ["Differences", "Layers", "Autograd"]
    assert all(way.rstrip().endswith("assert error < 0.005") for way in WAYS.values())


@backends
@pytest.mark.parametrize("name", WAYS)
def test_equation_is_solved(
    name: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if name.startswith("Autograd") and backend != "torch":
        pytest.skip("PyTorch differentiates its own tensors")
    monkeypatch.chdir(tmp_path)
    names = run(WAYS[name], backend, monkeypatch)
    assert names["model"].backend.name == backend
    assert 0.0 < names["error"] < 0.005


def test_lines_of_code_are_counted():
    program = 'import a\n\n\ndef f():\n    """Text\n    over lines."""\n    # why\n    return (\n'
    assert code_lines(program + "        1\n    )\n") == 5
