"""Tests of reading texts from files and writing scores to files."""

import contextlib
import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.corpora.files import Dialect
from sentiment.errors import InputError
from sentiment.scoring import tables
from sentiment.scoring.tables import Source, find_files, gather, open_writer, read_lines, read_texts

ROWS = [("a", "A film, to forget."), ("b", None), ("c", 'They said "no".\nI said yes.'), ("d", "caf\u00e9")]
SCORES = pa.record_batch({"id": ["a", 'b"c'], "label": ["positive", None], "probability": [0.25, None]})


def as_jsonl(rows: list[tuple[str, str | None]]) -> bytes:
    return "".join(json.dumps({"key": key, "body": text}) + "\n" for key, text in rows).encode()


def as_csv(rows: list[tuple[str, str | None]], separator: str = ",") -> bytes:
    table = pa.table({"key": [key for key, _ in rows], "body": [text for _, text in rows]})
    content = io.BytesIO()
    pa.csv.write_csv(table, content, pa.csv.WriteOptions(delimiter=separator))
    return content.getvalue()


def as_parquet(rows: list[tuple[str, str | None]]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"key": [key for key, _ in rows], "body": [text for _, text in rows]}), content)
    return content.getvalue()


FILES: dict[str, Callable[[list[tuple[str, str | None]]], bytes]] = {
    "t.csv": as_csv,
    "t.tsv": lambda rows: as_csv(rows, "\t"),
    "t.jsonl": as_jsonl,
    "t.parquet": as_parquet,
    "t.CSV.gz": lambda rows: gzip.compress(as_csv(rows)),
    "t.jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
}


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def read(path: Path, text: str = "body", key: str | None = "key") -> tuple[list[tuple[str, str | None]], list[str]]:
    """Return all rows, where CSV's empty text counts as none, and all problems without the path."""
    source = Source(path, text, key, dialect=Dialect(prefix="--"))
    rows = [row for batch in read_texts(source) for row in batch.to_pylist()]
    problems = [row["problem"].removeprefix(f"{path}:") for row in rows if row["problem"] is not None]
    return [(row["id"], row["text"] or None) for row in rows], problems


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, FILES[name](ROWS))
    assert read(path) == (ROWS, [])
    numbered = [(str(number), text) for number, (_, text) in enumerate(ROWS, start=1)]
    assert read(path, key=None) == (numbered, [])
    (batch,) = read_texts(Source(path, "body", prefix="x:"))
    assert batch["id"].to_pylist() == [f"x:{number}" for number, _ in numbered]


@pytest.mark.parametrize("name", FILES)
def test_a_long_file_is_read_in_batches_whose_positions_grow_to_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(tables, "ROWS", 100)
    rows: list[tuple[str, str | None]] = [(str(number), "word " * 20) for number in range(950)]
    path = write(tmp_path, name, FILES[name](rows))
    batches = list(read_texts(Source(path, "body", "key", offset=7)))
    assert [len(batch) for batch in batches] == [100] * 9 + [50]
    positions = [position for batch in batches for position in batch["position"].to_pylist()]
    assert positions == sorted(positions)
    assert positions[-1] == 7 + path.stat().st_size


def test_a_batch_ends_early_where_texts_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHARACTERS", 100)
    batches = list(gather(tables.TextRow(None, "x" * 60) for _ in range(5)))
    assert [len(batch) for batch in batches] == [2, 2, 1]


@pytest.mark.parametrize(
    ("name", "content", "rows", "problem"),
    [
        ("t.csv", b"key,body\na,b,c\n1,good\n", [(None, None), ("1", "good")], "2: must have 2 columns"),
        ("t.csv", b'key,body\na,"b"c\n1,good\n', [(None, None), ("1", "good")], "2: is not valid CSV: a clos"),
        ("t.csv", b'key,body\n1,good\n2,"b\n3,c\n', [("1", "good"), (None, None)], "4: is not valid CSV: a q"),
        (
            "t.csv",
            b"key,body\n1,caf\xe9\n2,caf\xc3\xa9\n",
            [(None, None), ("2", "caf\u00e9")],
            "2: holds the byte 0xe9, which is not UTF-8 (--encoding)",
        ),
        ("t.csv", b"\xef\xbb\xbfkey,body\r\n1,good\r\n\r\n", [("1", "good")], ""),
        ("t.csv", b"key;body\n1;good\n2;caf\xe9\n", [("1", "good"), ("2", "caf\u00e9")], ""),
        ("t.jsonl", b'{"body": \n{"key": 1, "body": "good"}\n', [(None, None), ("1", "good")], "1: is not valid JSON"),
        (
            "t.jsonl",
            b'5\n{"key": null, "body": "good"}\n',
            [(None, None), (None, "good")],
            "1: each line must be a JSON",
        ),
        ("t.jsonl", b'{"body": 5}\n\n{"key": "", "body": "good"}', [(None, None), ("", "good")], "1: the text must be"),
        ("t.jsonl", b'{"key": "1", "body": "\\ud800"}\n', [("1", None)], "1: the text must be a string; got"),
        ("t.jsonl", b'{"key": "1"}\n{"key": "2", "body": "good"}\n', [("1", None), ("2", "good")], ""),
        (
            "t.json",
            b'[{"key": 1, "body": "good"}, 5]',
            [("1", "good"), (None, None)],
            " element 2: must be a JSON object",
        ),
        (
            "t.txt",
            b"\xef\xbb\xbfgood\r\n\ncaf\xe9\nbad",
            [("1", "good"), ("2", None), ("3", None), ("4", "bad")],
            "3: is not UTF-8",
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_kept_without_a_text(
    tmp_path: Path, name: str, content: bytes, rows: list[tuple[str, str | None]], problem: str
) -> None:
    found, problems = read(write(tmp_path, name, content))
    assert found == rows
    assert [each[: len(problem)] for each in problems] == ([problem] if problem else [])


@pytest.mark.parametrize("name", FILES)
def test_a_missing_column_is_reported_with_the_option_and_the_columns(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, FILES[name](ROWS))
    with pytest.raises(InputError, match=r"has no column 'text' \(--text-column\); its columns are 'key', 'body'$"):
        read(path, text="text")
    with pytest.raises(InputError, match=r"has no column 'id' \(--id-column\); its columns are 'key', 'body'$"):
        read(path, key="id")


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("t.csv.gz", gzip.compress(b"key,body\n1,good\n")[:-6], "is damaged or incomplete"),
        ("t.csv.gz", b"key,body\n", "is damaged or incomplete"),
        ("t.parquet", b"key,body\n", "is not valid Parquet"),
        ("t.csv", b'"key"x,body\n', "1: the header is not valid CSV"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_file_is_an_error_of_one_line(tmp_path: Path, name: str, content: bytes, cause: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=f"^{path}: ?{cause}"):
        read(path)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.txt", "t.csv.gz", "t.parquet"])
@given(content=st.binary(max_size=200) | st.text('",\n\r{}[]:1a\\', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    path = write(tmp_path_factory.getbasetemp(), name, content)
    with contextlib.suppress(InputError):
        read(path, text="a", key=None)


def test_a_folder_stands_for_the_files_of_known_formats_in_it(tmp_path: Path) -> None:
    for name in ("b.csv", "a.jsonl.gz", "notes.md", ".hidden.csv", "parts/1.parquet", "parts/2.parquet.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_files(tmp_path)]
    assert found == ["a.jsonl.gz", "b.csv", "parts/1.parquet"]
    assert find_files(tmp_path / "b.csv") == [tmp_path / "b.csv"]


def test_what_cannot_be_read_at_all_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: does not exist$"):
        find_files(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no files of type \.csv, \.tsv, .*, \.txt$"):
        find_files(tmp_path)
    for name in ("t.xlsx", "t.parquet.gz", "t", ".csv"):
        with pytest.raises(
            InputError, match=r"must be a folder or a file of type \.csv, .*, or one packed as \.gz, \.zip, \.zst$"
        ):
            find_files(write(tmp_path, name, b""))


@pytest.mark.parametrize(
    ("content", "encoding", "said"),
    [
        ("Süß\n\nÄrger\r\n".encode("windows-1252"), None, "read in the encoding windows-1252 (--encoding)"),
        ("Süß\n\nÄrger\r\n".encode("utf-16"), None, "read in the encoding utf-16 (--encoding)"),
        ("Süß\n\nÄrger\r\n".encode("mac-roman"), "mac-roman", ""),
    ],
    ids=["windows-1252", "utf-16", "mac-roman"],
)
def test_the_encoding_of_lines_is_guessed_unless_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, encoding: str | None, said: str
) -> None:
    path = write(tmp_path, "t.txt", content)
    batches = list(read_texts(Source(path, "text", dialect=Dialect(encoding=encoding, prefix="--"))))
    assert [text for batch in batches for text in batch["text"].to_pylist()] == ["Süß", "", "Ärger"]
    assert capsys.readouterr().err == (f"{path}: {said}\n" if said else "")


def test_a_file_may_be_one_text(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", b"Two\n\nparagraphs.\n")
    write(tmp_path, "b.txt.gz", gzip.compress("caf\u00e9".encode()))
    write(tmp_path, "c.txt", b"caf\xe9")
    write(tmp_path, "d.txt", b"")
    dialect = Dialect(whole=True, encoding="utf-8", prefix="--")
    files = find_files(tmp_path)
    rows = [
        row
        for file in files
        for batch in read_texts(Source(file, "text", dialect=dialect))
        for row in batch.to_pylist()
    ]
    assert [row["id"] for row in rows] == list(map(str, files))
    assert [row["text"] for row in rows] == ["Two\n\nparagraphs.\n", "caf\u00e9", None, None]
    assert [row["problem"] is not None for row in rows] == [False, False, True, False]
    assert rows[2]["problem"].startswith(f"{files[2]}: is not UTF-8: ")
    assert rows[2]["problem"].endswith("(--encoding)")


@pytest.mark.parametrize("name", ["t.csv", "t.CSV.gz", "t.jsonl", "t.txt", "t.parquet"])
def test_the_name_of_a_file_may_be_in_another_encoding_than_utf_8(tmp_path: Path, name: str) -> None:
    content = b"good\n" if name == "t.txt" else FILES[name](ROWS[:1])
    path = write(tmp_path, os.fsdecode(f"caf\u00e9-{name}".encode("latin-1")), content)
    (batch,) = read_texts(Source(path, "body", prefix=f"{path}:"))
    assert batch["id"].to_pylist() == [f"{tmp_path}/caf\ufffd-{name}:1"]


def test_a_problem_may_be_in_a_file_whose_name_is_in_another_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, os.fsdecode(b"caf\xe9.jsonl"), b'{"body": 5}\n')
    (batch,) = read_texts(Source(path, "body"))
    assert batch["problem"].to_pylist() == [f"{tmp_path}/caf\ufffd.jsonl:1: the text must be a string; got 5"]


def test_lines_keep_all_but_their_line_ends() -> None:
    rows = list(read_lines("t", io.BytesIO(b" a \r\n\n\tb\x0bc\n")))
    assert [row.text for row in rows] == [" a ", "", "\tb\x0bc"]


@pytest.mark.parametrize("name", ["o.csv", "o.tsv", "o.jsonl", "o.parquet", "o.csv.gz", "o.JSONL.gz"])
def test_written_scores_are_read_back_unchanged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with open_writer(path, SCORES.schema) as write_batch:
        write_batch(SCORES)
        write_batch(SCORES)
        assert not path.exists()
    if name == "o.parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
        if "json" in name.lower():
            rows = [json.loads(line) for line in content.splitlines()]
        else:
            separator = "\t" if "tsv" in name else ","
            options = pa.csv.ParseOptions(delimiter=separator)
            convert = pa.csv.ConvertOptions(strings_can_be_null=True)
            rows = pa.csv.read_csv(io.BytesIO(content), parse_options=options, convert_options=convert).to_pylist()
    assert rows == SCORES.to_pylist() * 2


@pytest.mark.parametrize("name", ["o.xlsx", "o.txt", "o.parquet.gz", "o"])
def test_an_output_of_an_unknown_format_is_refused(tmp_path: Path, name: str) -> None:
    cause = r"must be a file of type \.csv, \.tsv, \.jsonl, \.parquet; all but Parquet may be \.gz \(--output\)$"
    with pytest.raises(InputError, match=cause), open_writer(tmp_path / name, SCORES.schema):
        pass


def test_an_error_leaves_the_last_output_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, "o.csv", b"before")

    def interrupt() -> None:
        with open_writer(path, SCORES.schema) as write_batch:
            write_batch(SCORES)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", FILES)
def test_a_batch_has_the_schema_that_is_documented(tmp_path: Path, name: str) -> None:
    for key in ("key", None):
        (batch,) = read_texts(Source(write(tmp_path, name, FILES[name](ROWS)), "body", key))
        assert batch.schema == tables.TEXTS
