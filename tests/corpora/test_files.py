"""The shapes that labelled text comes in: each is read by parameters alone, and what was guessed is said."""

import csv
import gzip
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.corpora.custom import Columns, Labels, Source, find_parts, read_custom, read_parts
from sentiment.corpora.files import Dialect, read_rows
from sentiment.errors import InputError

ROWS = [
    ("pos", 'A fine film; really, "fine".'),
    ("neg", "Dull,\tlong | and caf\u00e9 dialogue"),
    ("pos", "Tr\u00e8s bon"),
    ("neg", "Never again"),
]


class Shape(NamedTuple):
    """Files, the parameters with which they are read, and what is said."""

    files: dict[str, bytes]
    columns: Columns = Columns("text", "label", None, None)
    labels: Labels = Labels([["neg"], ["pos"]])
    dialect: Dialect = Dialect()
    drop: bool = False
    says: str = ""
    pattern: str | None = None
    rows: list[tuple[str, str]] = ROWS


def table(delimiter: str, header: str | None = "label{}text", rows: list[tuple[str, str]] = ROWS) -> bytes:
    """Return rows with quotes around each field."""
    lines = [] if header is None else [header.format(delimiter)]
    for label, text in rows:
        lines.append(f'"{label}"{delimiter}"{text.replace(chr(34), 2 * chr(34))}"')
    return "".join(f"{line}\n" for line in lines).encode()


def lines(rows: list[tuple[str, str]] = ROWS, **more: Any) -> bytes:
    return "".join(json.dumps({"label": label, "text": text, **more}) + "\n" for label, text in rows).encode()


def parquet(rows: dict[str, list[Any]], metadata: dict[str, Any] | None = None) -> bytes:
    content = io.BytesIO()
    found = pa.table(rows)
    if metadata is not None:
        found = found.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(found, content)
    return content.getvalue()


def zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def renamed(**names: str) -> list[tuple[str, str]]:
    return [(names[label], text) for label, text in ROWS]


PLAIN = [(label, text.replace("\t", " ")) for label, text in ROWS]
TEXTS = [text for _, text in ROWS]


def texts_of(label: str) -> bytes:
    return "".join(f"{text}\n" for each, text in PLAIN if each == label).encode()


HUGGING_FACE = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}

SHAPES = {
    "commas": Shape({"a.csv": table(",")}),
    "semicolons": Shape({"a.csv": table(";")}, says="with semicolons between fields (download.custom.delimiter)"),
    "tabs in .csv": Shape({"a.csv": table("\t")}, says="with tabs between fields"),
    "vertical bars": Shape({"a.csv": table("|")}, says="with vertical bars between fields"),
    "tabs": Shape({"a.tsv": table("\t")}),
    "tabs, quotes are text": Shape(
        {"a.tsv": b"label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in PLAIN).encode()},
        rows=PLAIN,
    ),
    "tabs, quotes are text, some open": Shape(
        {"a.tsv": b'label\ttext\npos\t"Fine" they said\nneg\t"Dull\npos\tso so\nneg\tbad\n'},
        rows=[("pos", '"Fine" they said'), ("neg", '"Dull'), ("pos", "so so"), ("neg", "bad")],
        says="without quotes around fields (download.custom.quotes)",
    ),
    "a delimiter of one's own": Shape({"a.csv": table("^")}, dialect=Dialect(delimiter="^")),
    "no header, columns by number": Shape(
        {"a.csv": table(",", None)}, Columns(2, 1, None, None), dialect=Dialect(header=False)
    ),
    "a header, columns by number": Shape({"a.csv": table(",", "stars{}review")}, Columns(2, 1, None, None)),
    "labels 0 and 4, Latin-1, no header": Shape(
        {"a.csv": table(",", None, renamed(neg="0", pos="4")).decode().encode("latin-1")},
        Columns(2, 1, None, None),
        Labels([["0"], ["4"]]),
        Dialect(header=False),
        says="in the encoding windows-1252 (download.custom.encoding)",
    ),
    "a byte order mark, CR LF": Shape({"a.csv": b"\xef\xbb\xbf" + table(",").replace(b"\n", b"\r\n")}),
    "CR alone": Shape({"a.csv": table(",").replace(b"\n", b"\r")}),
    "UTF-16": Shape({"a.csv": table(",").decode().encode("utf-16")}, says="in the encoding utf-16"),
    "windows-1252": Shape({"a.csv": table(";").decode().encode("cp1252")}, says="in the encoding windows-1252"),
    "an encoding of one's own": Shape(
        {"a.csv": table(",").decode().encode("mac-roman")}, dialect=Dialect(encoding="mac-roman")
    ),
    "blank lines": Shape({"a.csv": table(",").replace(b"\n", b"\n\n") + b",\n"}),
    "stars, those in the middle left out": Shape(
        {"a.csv": table(",", rows=[*zip("5142", TEXTS, strict=True), ("3", "so so")])},
        labels=Labels([["1", "2"], ["4", "5"]], leave_out=True),
        says="left out 1 of 5 rows, which have other labels: '3' (1)",
    ),
    "rows that cannot be used": Shape(
        {"a.csv": table(",") + b"pos,\nneg\n,no label\n"},
        drop=True,
        says="left out 3 of 7 rows, which cannot be used; the first: ",
    ),
    "gzip": Shape({"a.csv.gz": gzip.compress(table(","))}),
    "ZIP of a table": Shape({"a.csv.zip": zipped(**{"a.csv": table(","), "__MACOSX/._a.csv": b""})}),
    "Zstandard": Shape({"a.jsonl.zst": pa.compress(lines(), "zstd", asbytes=True)}),
    "JSON Lines": Shape({"a.jsonl": lines()}),
    "JSON Lines, as .ndjson": Shape({"a.ndjson": lines(more=[{"x": 1}])}),
    "a JSON array": Shape({"a.json": json.dumps([{"text": text, "label": label} for label, text in ROWS]).encode()}),
    "objects, as .json": Shape({"a.json": lines()}),
    "numbers and truth in JSON": Shape(
        {"a.jsonl": b"".join(json.dumps({"text": t, "label": n == "pos"}).encode() + b"\n" for n, t in ROWS)},
        labels=Labels([["false"], ["true"]]),
    ),
    "Parquet": Shape({"a.parquet": parquet({"text": TEXTS, "label": [label for label, _ in ROWS]})}),
    "Parquet, numbers with names": Shape({"a.parquet": parquet({"text": TEXTS, "label": [1, 0, 1, 0]}, HUGGING_FACE)}),
    "Parquet, numbers": Shape(
        {"a.parquet": parquet({"text": TEXTS, "label": [1, 0, 1, 0]})}, labels=Labels([["0"], ["1"]])
    ),
    "fastText": Shape({"a.txt": "".join(f"__label__{label} {text}\n" for label, text in ROWS).encode()}),
    "a folder of tables": Shape({"a.csv": table(",", rows=ROWS[:2]), "b/c.jsonl": lines(ROWS[2:])}),
    "a pattern": Shape(
        {"a1.csv": table(",", rows=ROWS[:2]), "a2.csv": table(",", rows=ROWS[2:]), "b.csv": b"x"}, pattern="a*.csv"
    ),
    "label/*.txt": Shape({f"{label}/{n}.txt": text.encode() for n, (label, text) in enumerate(ROWS)}),
    "label/*.txt, one of them left out": Shape(
        {f"{label}/{n}.txt": text.encode() for n, (label, text) in enumerate([*ROWS, ("other", "x")])},
        labels=Labels([["neg"], ["pos"]], leave_out=True),
        says="left out 1 of 5 rows, which have other labels: 'other' (1)",
    ),
    "label.txt": Shape(
        {f"{name}.txt": texts_of(name) for name in ("neg", "pos")},
        rows=PLAIN,
    ),
    "*.label": Shape(
        {f"film.{name}": texts_of(name) for name in ("neg", "pos")},
        rows=PLAIN,
    ),
}


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def source_of(folder: Path, shape: Shape) -> Source:
    name = next(iter(shape.files)) if len(shape.files) == 1 else ""
    return Source(str(folder / name), shape.columns, shape.labels, shape.dialect, shape.pattern, shape.drop)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_the_same_reviews(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    put(tmp_path, shape.files)
    source = source_of(tmp_path, shape)
    parts, columns = find_parts(source)
    said: list[str] = []
    reviews = list(read_parts(replace(source, columns=columns), parts, said.append))
    found = [("neg" if review.label == 0 else "pos", review.text) for review in reviews]
    assert sorted(found) == sorted(shape.rows)
    assert len(said) == bool(shape.says)
    assert shape.says in "".join(said)


def test_there_are_many_shapes() -> None:
    assert len(SHAPES) >= 25


@pytest.mark.parametrize(
    "files",
    [
        {"train.csv": table(","), "test.csv": table(",", rows=[("pos", "a"), ("neg", "b")])},
        {"train-0.jsonl": lines(), "train-1.jsonl": b"", "test-0.jsonl": lines([("pos", "a"), ("neg", "b")])},
        {
            f"aclImdb/{split}/{label}/{n}.txt": text.encode()
            for split, rows in (("train", ROWS), ("test", [("pos", "a"), ("neg", "b")]))
            for n, (label, text) in enumerate(rows)
        },
    ],
    ids=["tables", "shards", "texts"],
)
def test_the_place_of_a_file_gives_its_split(tmp_path: Path, files: dict[str, bytes]) -> None:
    put(tmp_path, files)
    folder = tmp_path / "aclImdb" if "aclImdb" in "".join(files) else tmp_path
    reviews = list(
        read_custom(Source(str(folder), Columns("text", "label", None, None), SHAPES["commas"].labels), 0.2, 1)
    )
    assert sorted(review.text for review in reviews if review.split == "test") == ["a", "b"]
    assert sum(review.split == "train" for review in reviews) == len(ROWS)


def test_texts_of_unsup_have_no_label_wherever_they_lie(tmp_path: Path) -> None:
    put(tmp_path, {f"{name}/1.txt": name.encode() for name in ("train/pos", "train/neg", "train/unsup", "unsup/unsup")})
    source = Source(str(tmp_path), Columns("text", "label", None, None), SHAPES["commas"].labels)
    unsup = [review for review in read_custom(source, 0.2, 1) if review.split == "unsup"]
    assert [(review.text, review.label) for review in unsup] == [("train/unsup", None), ("unsup/unsup", None)]


def test_a_zip_archive_of_several_files_is_refused(tmp_path: Path) -> None:
    put(tmp_path, {"a.csv.zip": zipped(a=b"", b=b"")})
    with pytest.raises(InputError, match=r"a\.csv\.zip: must hold a single file; holds 2; unpack it$"):
        list(read_rows(tmp_path / "a.csv.zip"))


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    source = replace(source_of(tmp_path, SHAPES["a pattern"]), path=str(tmp_path))
    with pytest.raises(InputError, match=r"holds no file like a\*\.csv \(download\.custom\.pattern\)$"):
        find_parts(source)


def test_what_is_said_of_a_file_whose_name_is_not_utf_8_can_be_printed(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.csv"
    path.write_bytes(table(";"))
    said: list[str] = []
    list(read_rows(path, ["text", "label"], say=said.append))
    assert said == [f"{tmp_path}/caf\ufffd.csv: read with semicolons between fields (download.custom.delimiter)"]


@pytest.mark.parametrize(
    ("name", "dialect", "content", "columns"),
    [
        ("a.csv", Dialect(header=False), "pos,{}\nneg,b\n", [1, 2]),
        ("a.tsv", Dialect(), 'label\ttext\npos\t"a\t{}"\nneg\t"b"\n', ["label", "text"]),
    ],
)
def test_guessing_reads_texts_that_are_longer_than_the_csv_modules_limit(
    tmp_path: Path, name: str, dialect: Dialect, content: str, columns: list[str | int]
) -> None:
    csv.field_size_limit(1 << 17)  # the default, which earlier reading may have raised
    put(tmp_path, {name: content.format("x" * 200_000).encode()})
    said: list[str] = []
    rows = list(read_rows(tmp_path / name, columns, dialect, say=said.append))
    assert [row.problem for row in rows] == [None, None]
    assert said == []


def test_what_is_given_is_neither_guessed_nor_said(tmp_path: Path) -> None:
    put(tmp_path, {"a.csv": table(";").decode().encode("cp1252")})
    said: list[str] = []
    known = Dialect(";", "windows-1252", True)
    rows = list(read_rows(tmp_path / "a.csv", ["text", "label"], known, say=said.append))
    assert [row.values["text"] for row in rows] == TEXTS
    assert said == []


def test_a_wrong_encoding_is_an_error_that_names_the_parameter(tmp_path: Path) -> None:
    put(tmp_path, {"a.csv": table(",").decode().encode("cp1252")})
    rows = list(read_rows(tmp_path / "a.csv", dialect=Dialect(encoding="utf-8")))
    assert [row.problem for row in rows if row.problem] == [
        "holds the byte 0xe9, which is not UTF-8 (download.custom.encoding)",
        "holds the byte 0xe8, which is not UTF-8 (download.custom.encoding)",
    ]
