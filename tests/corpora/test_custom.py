import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.corpora.custom import Columns, Labels, Source, read_custom
from sentiment.corpora.reviews import Review, write_corpus
from sentiment.errors import InputError
from tests.conftest import write_own_csv

COLUMNS = Columns(text="text", label="label", split="split", group="about")
ROWS = [
    {"text": "Line one,\nline two", "label": "good", "split": "train", "about": "x"},
    {"text": 'A "quoted" é', "label": "bad", "split": "test", "about": ""},
    {"text": "Nobody said", "label": "", "split": "unsup", "about": "x"},
]


def read(
    path: Path, columns: Columns = COLUMNS, labels: tuple[str, str] = ("bad", "good"), **more: Any
) -> list[Review]:
    source = Source(str(path), columns, Labels([[label] for label in labels], labels), **more)
    return list(read_custom(source, test_share=0.25, seed=1))


def write_csv(path: Path) -> None:
    lines = ['\ufefftext,label,split,about\r\n"Line one,\nline two",good,train,x\r\n', '"A ""quoted"" é",bad,test,\r\n']
    path.write_bytes("".join([*lines, "Nobody said,,unsup,x\r\n"]).encode())


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"), [("own.csv", write_csv), ("own.jsonl", write_jsonl), ("own.PARQUET", write_parquet)]
)
def test_files_of_each_format_give_the_same_reviews(tmp_path: Path, name: str, write: object) -> None:
    write(tmp_path / name)  # type: ignore[operator]
    found = [(review.text, review.label, review.split, review.group) for review in read(tmp_path / name)]
    assert found == [
        ("Line one,\nline two", 1, "train", "x"),
        ('A "quoted" é', 0, "test", None),
        ("Nobody said", None, "unsup", "x"),
    ]


def test_a_folder_names_split_and_label(tmp_path: Path) -> None:
    for name in ("train/good/2.txt", "train/bad/1.txt", "test/good/1.txt", "unsup/any/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\nand more", encoding="utf-8")
    assert [(review.split, review.label, review.text) for review in read(tmp_path)] == [
        ("test", 1, "test/good/1.txt\nand more"),
        ("train", 0, "train/bad/1.txt\nand more"),
        ("train", 1, "train/good/2.txt\nand more"),
        ("unsup", None, "unsup/any/1.txt\nand more"),
    ]


def test_without_a_split_column_a_test_split_is_drawn_by_film(tmp_path: Path) -> None:
    path = write_own_csv(tmp_path / "own.csv", 200)
    columns = Columns(text="comment", label="verdict", split=None, group="film")
    reviews = read(path, columns)
    assert reviews == read(path, columns)
    films = {split: {review.group for review in reviews if review.split == split} for split in ("train", "test")}
    assert not films["train"] & films["test"]
    for label in (0, 1):
        of_label = [review.split for review in reviews if review.label == label]
        assert 0.1 < of_label.count("test") / len(of_label) <= 0.26


@pytest.mark.parametrize("value", [True, 1])
def test_labels_are_spelt_as_json_spells_them(tmp_path: Path, value: object) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps({"text": "x", "label": value, "split": "train"}))
    columns = Columns("text", "label", "split", None)
    assert read(tmp_path / "own.jsonl", columns, ("no", json.dumps(value)))[0].label == 1


@pytest.mark.parametrize("known", [("4", "5"), ("4.0", "5.0"), ("5", "5.0")])
def test_a_star_with_a_decimal_point_is_the_whole_number_unless_both_are_labels(
    tmp_path: Path, known: tuple[str, str]
) -> None:
    (tmp_path / "own.jsonl").write_text('{"text": "x", "label": 5.0, "split": "train"}')
    assert read(tmp_path / "own.jsonl", Columns("text", "label", "split", None), known)[0].label == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            b"text,label,split\nx,good,train\n",
            r"a\.csv:2: has no column 'about' \(download\.custom\.group_column\); its columns are 'text', 'la",
        ),
        ("a.csv", b"text,label,split,about\nx,good\n", r"a\.csv:2: must have 4 columns, like the header; got 2"),
        ("a.csv", b"text,label,split,about\nx,fine,train,\n", r"a\.csv:2: label must be one of bad, good; got 'fine'"),
        ("a.csv", b'text,label,split,about\n"x,fine,train,\n', r"a\.csv:2: is not valid CSV"),
        (
            "a.csv",
            b"text,label,split,about\n\ncaf\xc3\xa9,good,train,\ncaf\xe9,good,train,\n",
            r"a\.csv:4: holds the byte 0xe9, which is not UTF-8 \(download\.custom\.encoding\)$",
        ),
        ("a.csv", b"text,label,split,about\n", r"a\.csv: holds no reviews"),
        ("a.csv", b"", r"a\.csv: holds no reviews"),
        ("a.jsonl", b'{"text": "x"\n', r"a\.jsonl:1: is not valid JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: each line must be a JSON object; got '\[1\]'"),
        ("a.jsonl", b'{"text": 5, "label": "good", "split": "train", "about": 1}\n', r"text must be a string; got 5"),
        ("a.jsonl", b"[" * 9999, r"a\.jsonl:1: is not valid JSON: maximum recursion depth"),
        (
            "a.jsonl",
            b'{"text": "x", "label": [[[[1]]]], "split": "train", "about": 1}\n',
            r"label must be a single value",
        ),
        ("a.parquet", b"PAR1", r"a\.parquet: is not valid Parquet"),
        (
            "a.txt",
            b"just a text\n",
            r"a\.txt:1: has no column 'label' ",
        ),
    ],
)
def test_a_mistake_in_a_file_is_reported_with_its_location(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_a_missing_file_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.csv: does not exist; set download\.custom\.path to your file or folder$"
    ):
        read(tmp_path / "none.csv")


def test_without_a_split_column_every_review_needs_a_label(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("text,label\nx,good\ny,\n")
    with pytest.raises(InputError, match=r"own\.csv:3: has no label"):
        read(tmp_path / "own.csv", Columns("text", "label", None, None))


def test_a_review_may_be_longer_than_the_csv_modules_default_limit(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("text,label,split\n" + "long " * 100_000 + ",good,train\n")
    assert len(read(tmp_path / "own.csv", Columns("text", "label", "split", None))[0].text) == 500_000


@pytest.mark.parametrize("name", ["text", "about"])
def test_half_a_surrogate_pair_is_refused(tmp_path: Path, name: str) -> None:
    rows = [
        {"text": f"Text {number}", "label": label, "about": f"{number}"}
        for number, label in enumerate(["bad", "good"] * 9)
    ]
    rows[0][name] = "\ud800"
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"own\.jsonl:1: the (text|group) contains half a surrogate pair"):
        write_corpus(tmp_path / "corpus", read(tmp_path / "own.jsonl", Columns("text", "label", None, "about")))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**62], pa.timestamp("us")),
        pa.array([2**30], pa.date32()),
        pa.array([1], pa.timestamp("us", tz="Nowhere")),
    ],
)
def test_a_date_outside_pythons_range_is_refused(tmp_path: Path, column: pa.Array) -> None:
    table = {"text": ["x"], "label": ["good"], "split": ["train"], "about": column}
    pq.write_table(pa.table(table), tmp_path / "own.parquet")
    with pytest.raises(InputError, match=r"own\.parquet: is not valid Parquet"):
        read(tmp_path / "own.parquet")


REPEATED = [
    ("a.csv", b"text,label,label\nfine,good,bad\n", r"a\.csv:1: has two columns named 'label'"),
    (
        "a.csv",
        b"\n\xef\xbb\xbf".strip() + b"id,text,label,id\r\n1,fine,good,1\r\n",
        r"a\.csv:1: has two columns named 'id'",
    ),
    ("a.csv", b'\n"text","label","text"\n', r"a\.csv:2: has two columns named 'text'"),
    (
        "a.jsonl",
        b'{"text": "a", "label": "good"}\n{"label": "bad", "text": "a", "label": "good"}',
        r"a\.jsonl:2: .*'label'",
    ),
    (
        "a.jsonl",
        b'{"text": "a", "label": "good", "more": [{"x": 1, "x": 2}]}',
        r"a\.jsonl:1: .*the key 'x' is given twice",
    ),
    ("a.jsonl", b'{"label": "bad", "lab\\u0065l": "good", "text": "a"}', r"the key 'label' is given twice"),
]


@pytest.mark.parametrize(("name", "content", "message"), REPEATED)
def test_a_repeated_column_or_key_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name, Columns("text", "label", None, None))


def test_a_repeated_column_of_a_parquet_file_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([["fine"], ["good"], ["bad"]], names=["text", "label", "label"])
    pq.write_table(table, tmp_path / "own.parquet")
    with pytest.raises(InputError, match=r"own\.parquet: has two columns named 'label'"):
        read(tmp_path / "own.parquet", Columns("text", "label", None, None))


def test_several_columns_may_have_no_name(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("text,label,split,,\nfine,good,train,,\n")
    assert read(tmp_path / "own.csv", Columns("text", "label", "split", None))[0].label == 1


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.csv", b"\ntext,label,split\r\n\r\nfine,good,train\n  \n,,\nso so,bad,test\n\n\n", (4, 7)),
        (
            "a.jsonl",
            b'\n{"text": "fine", "label": "good", "split": "train"}\n \r\n'
            b'{"text": "so so", "label": "bad", "split": "test"}\n\n',
            (2, 4),
        ),
    ],
)
def test_blank_lines_are_skipped(tmp_path: Path, name: str, content: bytes, lines: tuple[int, int]) -> None:
    (tmp_path / name).write_bytes(content)
    reviews = read(tmp_path / name, Columns("text", "label", "split", None))
    assert [(review.id, review.text) for review in reviews] == [
        (f"{name}:{lines[0]}", "fine"),
        (f"{name}:{lines[1]}", "so so"),
    ]


def test_an_id_is_a_place_below_the_path_that_was_given(tmp_path: Path) -> None:
    for name in ("train/good/1.txt", "train/bad/\udcff.txt", "test/good/1.txt", "test/bad/1.txt"):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name.encode(errors="replace").decode())
    ids = [review.id for review in read(tmp_path / "own")]
    assert ids == ["own/test/bad/1.txt", "own/test/good/1.txt", "own/train/bad/\ufffd.txt", "own/train/good/1.txt"]


def test_a_blank_line_inside_a_quoted_text_is_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text('text,label,split\n"one\n\ntwo",good,train\n')
    assert read(tmp_path / "own.csv", Columns("text", "label", "split", None))[0].text == "one\n\ntwo"


OTHER_FORMATS = [
    (
        "a.csv",
        'text,label\n"fine" ,good\n',
        r"a\.csv:2: is not valid CSV: a closing quote must be followed by the delim",
    ),
    ("a.csv", 'text,label\n"a "good" one",good\n', r"a\.csv:2: .*write a quote inside a text twice"),
    ("a.csv", 'text,label\n"fine,good\n', r"a\.csv:2: .*a quote is opened and never closed"),
    (
        "a.csv",
        "text,label\nfine, but long,good\n",
        r"a\.csv:2: must have 2 columns, .*put double quotes around a text that contains commas",
    ),
    ("a.csv", "comment;label\ngood;1\n", r"a\.csv:2: has no column 'text' .*its columns are 'comment', 'label'"),
    ("a.xlsx", "PK", r"a\.xlsx: must be a file of type \.csv, .*save it as \.csv"),
    ("a.tar", "", r"a\.tar: .*unpack it"),
    ("a.csv.gz", "text", r"a\.csv\.gz: is damaged or incomplete: Not a gzipped file"),
    ("a.csv.zst", "text", r"a\.csv\.zst: is damaged or incomplete: "),
    ("a.csv.zip", "text", r"a\.csv\.zip: is damaged or incomplete: File is not a zip file"),
    ("a.json", "[5]", r"a\.json: element 1: must be a JSON object; got 5"),
    ("a.json", '[{"text": "x"},', r"a\.json: is not valid JSON: "),
    ("a.jsonl", '[\n{"text": "x"},\n', r"a\.jsonl:1: is not valid JSON: .*each line must be one JSON object"),
    (
        "a.txt",
        "__label__good __label__long Fine.\n",
        r"a\.txt:1: must have a single label; got __label__good __label__l",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), OTHER_FORMATS)
def test_the_message_for_another_format_names_the_format(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, newline="")
    with pytest.raises(InputError, match=message):
        read(tmp_path / name, Columns("text", "label", None, None))


WANTED = r"a folder must contain tables \(\.csv, .*\), or texts named split/label/\*\.txt, .*; found"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], f"custom: {WANTED} no files"),
        (["a/train/pos/1.txt", "a/train/neg/1.txt"], rf"{WANTED} 2 like a/train/neg/1\.txt \(download\.custom\.path\)"),
        (
            ["good/1.txt", "bad/1.txt", "fine/1.txt", "positive/1.txt"],
            r"custom: the folders of texts must be among bad, good; got fine, positive \(download\.custom\.labels\)$",
        ),
        (["train/fine/1.txt"], r"train/fine/1\.txt: label must be one of bad, good; got 'fine'"),
    ],
)
def test_the_message_for_a_folder_with_another_layout_says_how_to_fix_it(
    tmp_path: Path, files: list[str], message: str
) -> None:
    folder = tmp_path / "custom"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    with pytest.raises(InputError, match=message):
        read(folder)


def test_the_message_for_a_path_with_a_tilde_says_to_write_it_in_full() -> None:
    with pytest.raises(InputError, match=r"~/none\.csv: does not exist; .* ~ is not expanded; write the full path"):
        read(Path("~/none.csv"))


def test_a_test_share_that_equal_texts_do_not_allow_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text("text,label\n" + "yes,good\nno,bad\n" * 30)
    message = (
        r"two\.csv: download\.custom\.test_share: .* 0 of 30 labelled bad and 0 of 30 labelled good; "
        r".*60 reviews have 2 distinct"
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path / "two.csv", Columns("text", "label", None, None))


def test_reviews_of_one_label_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("text,label\na,good\nb,good\n")
    with pytest.raises(InputError, match=r"own\.csv: no review has the label bad; each label is needed"):
        read(tmp_path / "own.csv", Columns("text", "label", None, None))


def test_the_share_drawn_for_test_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{film} {number},{label},{film}\n" for film in "abcde" for number in range(9) for label in ("good", "bad")]
    (tmp_path / "own.csv").write_text("text,label,film\n" + "".join(rows))
    read(tmp_path / "own.csv", Columns("text", "label", None, "film"))
    assert capsys.readouterr().out == "test: 18 of 90 reviews, 20.0% (requested: 25.0%)\n"
