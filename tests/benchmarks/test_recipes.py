"""The programs of docs/logging.md, which `benchmarks.recipes` runs where their packages are."""

from __future__ import annotations

import ast
import struct

import pytest

from benchmarks.recipes import BLOCK, CHECKS, PAGE, check_column, leveldb_records, programs

PROGRAMS = programs(PAGE.read_text(encoding="utf-8"))


def test_every_program_of_the_page_is_run():
    assert PROGRAMS.keys() == CHECKS.keys()
    for name, program in PROGRAMS.items():
        ast.parse(program)
        package, _ = CHECKS[name]
        assert f"import {package}" in program or f"from {package}" in program
        assert "import xpnet" in program


@pytest.mark.parametrize("length", [0, 10, BLOCK - 15, BLOCK, 3 * BLOCK])
def test_leveldb_records_are_read(length):
    """The parts of records are cut at the ends of blocks, as the format says."""
    records, content = [b"first", b"x" * length, b"last" * 5], b":W&B" + bytes(3)
    for record in records:
        rest, is_first = record, True
        while True:
            room = BLOCK - len(content) % BLOCK
            if room < 7:
                content += bytes(room)
                continue
            part, rest = rest[: room - 7], rest[room - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}
            content += bytes(4) + struct.pack("<HB", len(part), kind[is_first, not rest]) + part
            is_first = False
            if not rest:
                break
    assert list(leveldb_records(content)) == records


@pytest.mark.parametrize(
    ("name", "values"),
    [("loss", [1.0, 2.0]), ("loss", [1.0, float("nan")]), ("val_accuracy", [0.9, 0.8])],
)
def test_columns_that_do_not_improve_are_found(name, values):
    with pytest.raises(AssertionError):
        check_column(name, values)
