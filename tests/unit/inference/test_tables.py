import csv
import json

import pytest

from xception.errors import InputError
from xception.inference.tables import ROWS_AT_ONCE, require_table, table_file

COLUMNS = {"path": str, "rank": int, "p": float, "error": str}
ROWS = [
    {"path": 'a "quoted", name\nwith a line\rand another.jpg', "rank": 1, "p": 0.25},
    {"path": "é.jpg", "error": "the file is truncated"},
]


def write(path, rows=ROWS):
    with table_file(path, COLUMNS) as table:
        for row in rows:
            table.write(row)


def test_csv_file_has_a_heading_and_empty_cells(tmp_path):
    write(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"path": ROWS[0]["path"], "rank": "1", "p": "0.25", "error": ""},
            {"path": "é.jpg", "rank": "", "p": "", "error": "the file is truncated"},
        ]


def test_json_lines_have_every_column(tmp_path):
    write(tmp_path / "t.jsonl")
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"path": ROWS[0]["path"], "rank": 1, "p": 0.25, "error": None},
        {"path": "é.jpg", "rank": None, "p": None, "error": "the file is truncated"},
    ]


def test_parquet_has_types_and_streams_in_row_groups(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    count = ROWS_AT_ONCE + 3
    write(tmp_path / "t.parquet", ({"path": str(i), "rank": i, "p": 0.5} for i in range(count)))
    table = parquet.read_table(tmp_path / "t.parquet")
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double", "string"]
    assert table.column("rank").to_pylist() == list(range(count))
    assert parquet.ParquetFile(tmp_path / "t.parquet").num_row_groups == 2


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_table_without_rows_is_still_a_table(tmp_path, ending):
    write(tmp_path / f"t{ending}", [])
    assert (tmp_path / f"t{ending}").exists()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_table_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    path.write_text("old")

    def rows():
        yield ROWS[0]
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write(path, rows())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_names_that_are_no_unicode_are_spelt_out(tmp_path, ending):
    write(tmp_path / f"t{ending}", [{"path": "caf\udce9.jpg"}])
    assert rb"caf\udce9.jpg" in (tmp_path / f"t{ending}").read_bytes().replace(rb"\\", b"\\")


def test_require_table_says_beforehand_what_would_fail(tmp_path):
    (tmp_path / "old.csv").touch()
    require_table(tmp_path / "new.csv", overwrite=False)
    require_table(tmp_path / "old.csv", overwrite=True)
    for name, message in (
        ("old.csv", "exists; add --overwrite"),
        ("new.cvs", "did you mean '.csv'"),
        ("new", "give one of .csv, .jsonl, .parquet"),
        ("no/new.csv", "there is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            require_table(tmp_path / name, overwrite=False)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        require_table(tmp_path / "folder.csv", overwrite=True)


def test_require_table_names_the_missing_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'xception\[parquet\]'"):
        require_table(tmp_path / "new.parquet", overwrite=False)
