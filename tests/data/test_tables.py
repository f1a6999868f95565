"""Readers of CSV, .npy and .npz tables: valid, damaged and malicious files."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnet.data import read_table
from xpnet.errors import ArgumentError, FileFormatError

PLAIN = b"a,b,t\n1,2,0\n3,4.5,1\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.rstrip(),
        PLAIN.replace(b"\n", b"\n\n") + b"\n",
        b" a , b,t\n 1,2, 0\n3,4.5e0,1\n",
        b'"a",b,"t"\n"1", 2,"0"\n3,+4.5,1\n',
        b",a,b,t\n0,1,2,0\n1,3,4.5,1\n",
        b'"","a","b","t"\n"Mazda RX4",1,2,0\n"",3,4.5,1\n',
        b"a,b,t,\n1,2,0,\n3,4.5,1,\n",
        b"a,b,t,,,\n1,2,0\n3,4.5,1, ,,,\n",
        b"a,b,t\n1,2,0,\n3,4.5,1,\n",
        b",a,b,t,\n0,1,2,0,\n1,3,4.5,1,\n",
        PLAIN + b",,\n,,\n",
        PLAIN + b" , , \n\n,\n",
        PLAIN + b"   \n\t\n",
        PLAIN.replace(b",", b";"),
        PLAIN.replace(b",", b";").replace(b".", b","),
        b"a;b;t\n1,0;2;0\n3e0;+4,5;1\n",
        PLAIN.replace(b",", b"\t"),
        b"a,b,t\nTrue,2,0\n3,4.5,1\n",
    ],
    ids=[
        *("plain", "BOM", "CRLF", "no last newline", "blank lines", "spaces", "quotes"),
        *("index of pandas", "index of R", "trailing commas", "trailing commas that differ"),
        *("trailing commas below the header", "index and trailing commas", "empty rows"),
        *("shorter empty rows", "lines of blanks", "semicolons", "decimal commas", "more of them"),
        *("tabs", "boolean"),
    ],
)
def test_csv_variants_are_read(tmp_path: Path, content: bytes):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    table = read_table(path, "t")
    np.testing.assert_array_equal(table.X, [[1, 2], [3, 4.5]])
    np.testing.assert_array_equal(table.y, [0, 1])
    assert table.X.dtype == np.float64
    assert table.y.dtype == np.int64
    assert (table.feature_names, table.target_name) == (("a", "b"), "t")


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["3", "-1"], "i", [3, -1]),
        (["3", "-1.5"], "f", [3, -1.5]),
        (["1", "99999999999999999999"], "f", [1, 1e20]),
        (["cat", "3 dogs"], "U", ["cat", "3 dogs"]),
        (["x", "nan"], "U", ["x", "nan"]),
        (["02134", "10115"], "U", ["02134", "10115"]),
        (["007", "7"], "U", ["007", "7"]),
        (["+1", "-1"], "U", ["+1", "-1"]),
        (["2024_01", "2024_02"], "U", ["2024_01", "2024_02"]),
        (["True", "False"], "U", ["True", "False"]),
        (["-0", "3"], "i", [0, 3]),
        (["01.5", "2"], "f", [1.5, 2]),
        (["9007199254740993", "9223372036854775807"], "i", [2**53 + 1, 2**63 - 1]),
    ],
)
def test_csv_target_has_the_dtype_of_its_cells(
    tmp_path: Path, cells: list[str], kind: str, values: list[object]
):
    path = tmp_path / "t.csv"
    path.write_text("t,a\n" + "".join(f"{cell},0\n" for cell in cells))
    table = read_table(path, "t")
    assert table.y.dtype.kind == kind
    assert table.y.tolist() == values


LABELS = ["E11", "401", "007", "7", "1.0", "1_0", "99999999999999999999", "True", "nan"]


def test_target_is_text_as_in_the_file(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("t,a\n" + "".join(f" {label} ,0\n" for label in LABELS))
    assert read_table(path, "t", target_type="text").y.tolist() == LABELS


def test_target_is_read_as_numbers(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("t;a\n007;0\n+3;0\n1,5;0\n")
    y = read_table(path, "t", target_type="number").y
    assert y.dtype == np.float64
    assert y.tolist() == [7, 3, 1.5]
    path.write_text("t,a\n007,0\nTrue,0\n")
    with pytest.raises(FileFormatError, match=r"only numbers .*; got 'True' in row 2 \(line 3\)"):
        read_table(path, "t", target_type="number")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".tsv.gz", ".CSV.GZ", ".TSV"])
def test_suffixes_of_text_are_read(tmp_path: Path, suffix: str):
    content = PLAIN.replace(b",", b"\t") if "tsv" in suffix.lower() else PLAIN
    if suffix.lower().endswith("gz"):
        content = gzip.compress(content)
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    table = read_table(path, "t")
    assert table.X.tolist() == [[1, 2], [3, 4.5]]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("length, mm;width\n5.1;3\n", ("length, mm", "width")),
        ("length, mm;width, mm;n\n5,1;3,5;7\n", ("length, mm", "width, mm", "n")),
        ("a;b,c\n1,2\n", ("a;b", "c")),
        ('"a;b;c",d\n1,2\n', ("a;b;c", "d")),
        ("a\tb, c\n1\t2\n", ("a", "b, c")),
        ("a,b,c,\n1,2,3\n", ("a", "b", "c")),
        ("a\n1\n", ("a",)),
    ],
)
def test_delimiter_is_found(tmp_path: Path, content: str, names: tuple[str, ...]):
    path = tmp_path / "t.csv"
    path.write_text(content)
    assert read_table(path).feature_names == names


def test_tsv_has_tabs_even_with_commas_in_names(tmp_path: Path):
    path = tmp_path / "t.tsv"
    path.write_text("a, cm\tb, cm, x\n1\t2\n")
    assert read_table(path).feature_names == ("a, cm", "b, cm, x")


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-6], lambda c: c[:20] + c, lambda c: b"a,t\n1,2\n"]
)
def test_damaged_gzip_is_refused(tmp_path: Path, damage):
    path = tmp_path / "t.csv.gz"
    rows = "".join(f"{i},{i * i}\n" for i in range(500))
    path.write_bytes(damage(gzip.compress(b"a,t\n" + rows.encode())))
    with pytest.raises(FileFormatError, match="be UTF-8 text of cells"):
        read_table(path, "t")


def test_columns_are_chosen_and_ordered(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("id,a,b,t\nx,1,2,\n,3,4,\n")
    table = read_table(path, columns=["b", "a"])
    assert table.X.tolist() == [[2, 1], [4, 3]]
    assert (table.feature_names, table.y) == (("b", "a"), None)
    with pytest.raises(ArgumentError, match="columns must be one of a, b, id, t; got 'c'"):
        read_table(path, columns=["c"])


def test_csv_without_target_has_only_features(tmp_path: Path):
    path = tmp_path / "t.CSV"
    path.write_text("a\n1\n2\n")
    table = read_table(path)
    assert table.X.tolist() == [[1.0], [2.0]]
    assert table.y is None
    assert table.target_name is None


def test_csv_finite_cells_may_overflow_in_sum(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1e308,1.5e308\n")
    assert read_table(path).X.tolist() == [[1e308, 1.5e308]]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    X=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 4)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_written_csv_is_read(tmp_path_factory: pytest.TempPathFactory, X: np.ndarray):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    lines = [",".join(f"c{j}" for j in range(X.shape[1]))]
    lines += [",".join(map(repr, row)) for row in X.tolist()]
    path.write_text("\n".join(lines))
    np.testing.assert_array_equal(read_table(path).X, X)


INVALID_CSV = [
    ("empty", b"", "start with a header line of column names; got an empty first line"),
    ("blank first line", b"\na,t\n1,2\n", "got an empty first line"),
    ("no header", b"1,2,3\n4,5,6\n", "column names; got the numbers 1, 2, 3"),
    ("no name", b"a,,t\n1,2,3\n", "name every column; got no name for column 2"),
    ("twice", b"a,b,a,t\n1,2,3,4\n", "distinct column names; got 'a' twice"),
    ("only the target", b"t\n1\n", "have a column of features; got only 't'"),
    ("no row", b"a,t\n", "have a row below its header; got none"),
    ("short row", b"a,b,t\n1,2,0\n3,1\n", "3 cells in every row; got 2 in row 2 (line 3)"),
    ("long row", b"a,t\n\n1,2,3\n", "2 cells in every row; got 3 in row 1 (line 3)"),
    ("word", b"a,b,t\n1,2,0\n3,x1,1\n", "got 'x1' in row 2 (line 3), column 'b'"),
    ("missing", b"a,b,t\n,2,0\n", "got '' in row 1 (line 2), column 'a'"),
    ("nan", b"a,t\n1,0\nnan,0\n", "got 'nan' in row 2 (line 3), column 'a'"),
    ("infinite", b"a,b,t\n1,-inf,0\n", "got '-inf' in row 1 (line 2), column 'b'"),
    ("overflow", b"a,t\n1e999,0\n", "got '1e999' in row 1 (line 2), column 'a'"),
    ("missing target", b"a,t\n1,0\n1, \n", "target column 't'; got '' in row 2 (line 3)"),
    ("mistyped target", b"a,t\n1,0.5\n1,O.5\n", "column 't'; got 'O.5' in row 2 (line 3)"),
    ("number among strings", b"a,t\n1,x\n1,5\n", "column 't'; got '5' in row 2 (line 3)"),
    ("open quote", b'a,t\n"1,0\n', "UTF-8 text of cells separated by commas"),
    ("Latin-1", b"a,t\n1,caf\xe9\n", "UTF-8 text of cells separated by commas"),
    ("UTF-16", "a,t\n1,2\n".encode("utf-16"), "UTF-8 text of cells separated by commas"),
    ("huge cell", b"a,t\n" + b"1" * 200_000 + b",0\n", "UTF-8 text of cells"),
    ("underscore", b"a,t\n1_000,0\n", "got '1_000' in row 1 (line 2), column 'a'"),
    ("thousands", b'a,t\n"1,000",0\n', "without separators of thousands"),
    ("other digits", "a,t\n１２,0\n".encode(), "got '１２' in row 1 (line 2), column 'a'"),
    ("advice about words", b"a,t\nred,0\n", "Encode words as numbers"),
    ("advice about a missing number", b"a,t\nNA,0\n", "Fill in the missing number"),
    ("advice about commas", b"a,b,t\n1;2;3\n", "They are separated by commas."),
    ("advice about semicolons", b"a;b;t\n1;2\n", "They are separated by semicolons."),
    ("advice about names", b"a,t\n1,E11\n2,401\n", "use --task classification, or target_type"),
    ("empty row", b"a,b,t\n1,2,3\n,,\n1,2,3\n", "before others; got row 2 (line 3)"),
    ("two decimal marks", b"a;b;t\n1,5;2.5;3\n", "the same decimal mark"),
    ("points of thousands", b"a;b;t\n1.234,5;2;3\n", "got '1.234,5' in row 1"),
    ("only delimiters", b",,\n1,2,3\n", "got an empty first line"),
    ("only an index", b",t\n0,1\n", "have a column of features; got only 't'"),
]


@pytest.mark.parametrize(
    ("content", "message"), [h[1:] for h in INVALID_CSV], ids=[h[0] for h in INVALID_CSV]
)
def test_invalid_csv_is_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "invalid.csv"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as error:
        read_table(path, "t")
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_unknown_target_suggests_the_closest_name(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("length,species\n1,a\n")
    with pytest.raises(ArgumentError, match=r"target must be one of .*Did you mean 'species'\?"):
        read_table(path, "speces")


def test_unknown_suffix_is_refused(tmp_path: Path):
    with pytest.raises(
        ArgumentError,
        match=r"suffix of path must be one of .csv, .csv.gz, .npy, .npz, .tsv, .tsv.gz",
    ):
        read_table(tmp_path / "t.xlsx")


def test_npy_is_mapped_if_float64_else_converted(tmp_path: Path):
    np.save(tmp_path / "f8.npy", np.eye(3))
    np.save(tmp_path / "u1.npy", np.arange(12, dtype="uint8").reshape(3, 2, 2))
    mapped = read_table(tmp_path / "f8.npy")
    converted = read_table(tmp_path / "u1.npy")
    assert isinstance(mapped.X.base, np.memmap) or isinstance(mapped.X, np.memmap)
    np.testing.assert_array_equal(mapped.X, np.eye(3))
    np.testing.assert_array_equal(converted.X, np.arange(12.0).reshape(3, 4))
    assert mapped.y is None


@pytest.mark.parametrize(
    ("arrays", "target", "y", "name"),
    [
        ({"X": np.eye(2), "y": [0, 1]}, None, [0, 1], "y"),
        ({"x_train": np.eye(2), "y_train": [0, 1], "x_test": np.eye(3)}, None, [0, 1], "y_train"),
        ({"X": np.eye(2), "y": [0, 1], "z": ["a", "b"]}, "z", ["a", "b"], "z"),
        ({"X": np.eye(2)}, None, None, None),
    ],
)
def test_npz_arrays_are_found_by_name(
    tmp_path: Path, arrays: dict, target: str | None, y: list | None, name: str | None
):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "t.npz", **arrays)
        table = read_table(tmp_path / "t.npz", target)
        np.testing.assert_array_equal(table.X, np.eye(2))
        assert (None if table.y is None else table.y.tolist()) == y
        assert table.target_name == name


@pytest.mark.parametrize(
    ("arrays", "target", "message"),
    [
        ({"x": np.zeros(3)}, None, r"X of .* must have shape \(rows, columns\)"),
        ({"x": np.zeros((0, 3))}, None, "must not be empty"),
        ({"x": np.array([["a"]])}, None, "must hold real numbers"),
        ({"x": np.array([[0, np.inf]])}, None, "must be finite; got inf in row 0, column 1"),
        ({"X": np.eye(2), "y": [1]}, None, "must have one row for each of the 2 rows"),
        ({"X": np.eye(2), "label": [1, 2]}, "lable", "Did you mean 'label'"),
    ],
)
def test_invalid_npz_arrays_are_refused(
    tmp_path: Path, arrays: dict, target: str | None, message: str
):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(ArgumentError, match=message):
        read_table(tmp_path / "t.npz", target)


def test_npy_with_a_target_is_refused(tmp_path: Path):
    np.save(tmp_path / "t.npy", np.eye(2))
    with pytest.raises(ArgumentError, match=r"target must be None for a \.npy"):
        read_table(tmp_path / "t.npy", "y")


def npy_bytes(tmp_path: Path, array: object) -> bytes:
    np.save(tmp_path / "source.npy", np.asarray(array), allow_pickle=True)
    return (tmp_path / "source.npy").read_bytes()


def relabel(content: bytes, shape: str) -> bytes:
    """Return the file with another shape in its header, of the same length."""
    old = b"'shape': (2, 2), }"
    assert old in content
    new = f"'shape': {shape}, }}".encode()
    return content.replace(old + b" " * (len(new) - len(old)), new)


INVALID_NPY = [
    ("empty", lambda good: b""),
    ("text", lambda good: b"a,b\n1,2\n"),
    ("truncated", lambda good: good[:-1]),
    ("oversized", lambda good: good + b"\0"),
    ("half a header", lambda good: good[:40]),
    ("huge", lambda good: relabel(good, "(1099511627776, 2)")),
    ("overflowing", lambda good: relabel(good, "(4294967296, 4294967296)")),
    ("negative", lambda good: relabel(good, "(-2, -2)")),
    ("code", lambda good: relabel(good, "(print(), 2)")),
    ("zip", lambda good: b"PK\x03\x04" + good),
]


@pytest.mark.parametrize("spoil", [h[1] for h in INVALID_NPY], ids=[h[0] for h in INVALID_NPY])
@pytest.mark.parametrize("suffix", ["npy", "npz", "npz-deflated"])
def test_invalid_npy_and_npz_are_refused(tmp_path: Path, spoil, suffix: str):
    content = spoil(npy_bytes(tmp_path, np.eye(2)))
    path = tmp_path / f"invalid.{suffix[:3]}"
    if suffix == "npy":
        path.write_bytes(content)
    else:
        method = zipfile.ZIP_DEFLATED if suffix == "npz-deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("X.npy", content)
    with pytest.raises(FileFormatError, match=r"invalid\.np[yz] must"):
        read_table(path)


@pytest.mark.parametrize("name", ["t.npy", "t.npz"])
def test_pickles_are_refused(tmp_path: Path, name: str):
    array = np.array([[{"a": 1}, None]], dtype=object)
    if name == "t.npy":
        np.save(tmp_path / name, array, allow_pickle=True)
    else:
        np.savez(tmp_path / name, X=array)
    with pytest.raises(FileFormatError, match=r"hold no Python objects|Python objects in dtype"):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "be an .npz file"),
        (b"not a zip", "be an .npz file"),
        (b"PK\x03\x04 nor this", "be a whole .npz file"),
    ],
)
def test_npz_that_is_no_zip_is_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        read_table(tmp_path / "t.npz")


def test_npz_without_features_is_refused(tmp_path: Path):
    np.savez(tmp_path / "t.npz", weights=np.eye(2))
    with pytest.raises(FileFormatError, match="an array named X or x_train; got weights"):
        read_table(tmp_path / "t.npz")


def test_zip_with_wrong_lengths_is_refused(tmp_path: Path):
    path = tmp_path / "t.npz"
    np.savez_compressed(path, X=np.zeros((100, 100)))
    content = path.read_bytes()
    length = (80_128).to_bytes(4, "little")
    assert length in content
    path.write_bytes(content.replace(length, (1 << 30).to_bytes(4, "little")))
    with pytest.raises(FileFormatError):
        read_table(path)
