"""`stages.predict` and `make predict`: any text is scored as it stands, or refused in one line that names the text."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sentiment.dataset.vocabulary import fit_vocabulary, save_vocabulary
from sentiment.errors import InputError
from sentiment.models.checkpoint import save_checkpoint
from sentiment.text.tokenizer import TokenRules
from stages.predict import main
from tests.clone import ROOT
from tests.conftest import small_model

HOSTILE = [
    'He said "not good at all" and left',
    "It's a 5\" screen",
    "cost $100, ${HOME} $$ $ $(",
    "worth $(shell touch trace) it $(error no) $(eval X := 1)",
    "a `touch trace` b $(touch trace) ; touch trace & touch trace | touch trace > trace",
    "a # b \\# c",
    "a back\\slash\\",
    "two\nlines \\\n touch trace",
    "endef\n\ttouch trace",
    *("-h", "--", "--help", "--model", "-", "@touch trace", "+touch trace", "\t@touch trace"),
    *('"', "'", "`", "$", "\\", "!", "%", "*", "~", "a=b", "a:=$(shell touch trace)", "() { :; }; touch trace"),
    "caf\u00e9 \U0001f600 \u975e\u5e38",
]


@pytest.fixture
def model(model_folder: Path) -> str:
    """The folder of a model, as an option."""
    return str(model_folder)


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put bytes on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def rows(printed: str) -> list[tuple[str, str, str]]:
    """Return the probability, the label and the text of each line that was printed, and nothing else was."""
    assert printed.endswith("\n")
    lines = printed.removesuffix("\n").split("\n")
    return [(line[:6].strip(), line[8:16].strip(), line[18:]) for line in lines]


@pytest.mark.slow
def test_texts_are_options_lines_of_standard_input_or_rows_of_files(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    texts = ["A good film.", "bad", "caf\u00e9 \U0001f600"]
    main(["--model", model, *(f"--text={text}" for text in texts)])
    as_options = rows(capsys.readouterr().out)
    assert [text for _, _, text in as_options] == texts
    for probability, label, _ in as_options:
        assert label == ("positive" if float(probability) > 0.5 else "negative")
    for content in (
        "\n".join(texts),
        "\n".join(texts) + "\n",
        "\r\n".join(texts) + "\r\n",
        "\ufeff" + "\n".join(texts),
    ):
        for place in ([], ["-"]):
            give(monkeypatch, content.encode())
            main(["--model", model, *place])
            assert rows(capsys.readouterr().out) == as_options
        (tmp_path / "texts.txt").write_text(content, encoding="utf-8", newline="")
        main(["--model", model, str(tmp_path / "texts.txt")])
        assert rows(capsys.readouterr().out) == as_options


@pytest.mark.slow
@pytest.mark.parametrize("text", [*HOSTILE, "a\0b", "\x1b[31mred", "a\u2028b\x85c", "x" * 100_000])
def test_any_text_is_printed_on_one_line(model: str, capsys: pytest.CaptureFixture[str], text: str) -> None:
    main(["--model", model, f"--text={text}", f"--text={text}"])
    first, second = rows(capsys.readouterr().out)
    assert first == second
    assert first[2].isprintable() or "\t" in text
    assert first[2] == text or any(character in text for character in "\n\0\x1b\x85")


def test_scores_go_to_a_file_with_the_ids_of_the_rows(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text('key,body\na,A good film.\nb,\nc,"bad, bad"\nd\n')
    options = ["--model", model, "--text-column", "body", "--id-column", "key"]
    main([*options, str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.jsonl"), "--top", "2"])
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in found] == ["a", "b", "c", None]
    assert [row["label"] is None for row in found] == [False, True, False, True]
    assert len(found[0]["words"].split(", ")) == 2
    assert found[1]["words"] is None
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("4 rows in ")
    assert "2 without a score: missing, blank or unreadable; the first that could not be read: " in printed.err
    assert printed.err.endswith("put double quotes around a text that contains commas\n")


def test_ids_of_several_files_begin_with_their_names(model: str, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("good\nbad\n")
    main(["--model", model, str(tmp_path), "--output", str(tmp_path / "scored.csv")])
    ids = [line.split(",")[0].strip('"') for line in (tmp_path / "scored.csv").read_text().splitlines()]
    assert ids == ["id", *(f"{tmp_path}/{name}.txt:{row}" for name in "ab" for row in "12")]


def test_an_output_that_is_an_input_is_refused(model: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\ngood\n")
    with pytest.raises(InputError, match=r"a\.csv: is an input, too; name another file \(--output\)$"):
        main(["--model", model, str(tmp_path), "--output", str(tmp_path / "." / "a.csv")])
    assert (tmp_path / "a.csv").read_text() == "text\ngood\n"


@pytest.mark.parametrize(
    "option", ["--threshold=2", "--threshold=nan", "--top=-1", "--encoding=hex", '--delimiter="', "--delimiter=;;"]
)
def test_a_wrong_value_of_an_option_is_an_error_of_one_line(model: str, option: str) -> None:
    with pytest.raises(InputError, match=rf"^{option.split('=')[0]} must be .*; got"):
        main(["--model", model, "--text=good", option])


@pytest.mark.parametrize("content", [None, b""])
def test_without_a_text_the_message_says_how_to_pass_one(
    model: str, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is None:
        monkeypatch.setattr(sys, "stdin", None)
    else:
        give(monkeypatch, content)
    expected = (
        "no text given; name a file of texts, pass a text with --text" if content is None else "the input has no texts"
    )
    with pytest.raises(InputError, match=f"^{expected}"):
        main(["--model", model])


@pytest.mark.parametrize(
    "blank", [b"", b" ", b"\t", "\u00a0\u2003".encode(), b"<br />", b"caf\xe9", b"caf\xed\xa0\x80"]
)
def test_a_text_that_cannot_be_scored_gets_no_number_and_is_counted(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], blank: bytes
) -> None:
    give(monkeypatch, b"good\n" + blank + b"\nbad\n")
    main(["--model", model])
    printed = capsys.readouterr()
    assert [probability == "-" for probability, _, _ in rows(printed.out)] == [False, True, False]
    assert "; 1 without a score: missing, blank or unreadable" in printed.err
    with pytest.raises(InputError, match=r"^of 1 rows none has a text.*; no output was written$"):
        main(["--model", model, f"--text={os.fsdecode(blank)}"])


@pytest.mark.parametrize(
    ("encoding", "expected"), [("latin-1", b"caf\xe9 \\U0001f600\n"), ("ascii", b"caf\\xe9 \\U0001f600\n")]
)
def test_any_text_is_printed_in_any_encoding(
    model: str, monkeypatch: pytest.MonkeyPatch, encoding: str, expected: bytes
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding))
    main(["--model", model, "--text=caf\u00e9 \U0001f600"])
    assert printed.getvalue().endswith(expected)


def test_a_closed_standard_output_is_reported(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match=r"^standard output is closed"):
        main(["--model", model, "--text=good"])


def test_the_message_for_a_full_gpu_says_how_to_use_the_cpu(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **options: object) -> None:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    monkeypatch.setattr("sentiment.models.classifier.Classifier.forward", refuse)
    with pytest.raises(InputError, match=r"^scoring the texts: the GPU's memory is full; free some, or put CUDA_"):
        main(["--model", model, "--text=good"])


def test_a_model_whose_vocabulary_does_not_fit_its_weights_is_refused(model: str, tmp_path: Path) -> None:
    vocabulary = fit_vocabulary(Counter(["good"]), 9, 1)
    save_vocabulary(tmp_path / "words", vocabulary, TokenRules(True, False, None))
    save_checkpoint(tmp_path / "model", small_model(vocabulary_size=8), tmp_path / "words")
    with pytest.raises(InputError, match=r"vocabulary\.json: must have 8 words, like the model; got 3"):
        main(["--model", str(tmp_path / "model"), "--text=good"])


def run(command: str, model: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in a folder that holds nothing of the pipeline."""
    paths = {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "MODEL": model}
    return subprocess.run(
        ["bash", "-c", command.replace("predict", '"$PYTHON" -m stages.predict --model "$MODEL"')],
        cwd=folder,
        env={**os.environ, **paths, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "environment", "output", "errors"),
    [
        (r"predict --text $'caf\xe9'", {}, b"-       -", b"error: of 1 rows none has a text"),
        (
            r"predict --text $'\xf0\x9f\x98\x80'",
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            rb"\U0001f600",
            b"",
        ),
        ("yes good | head -5000 | predict | head -1", {}, b"  good", b""),
        ("predict --text good > /dev/full", {}, b"", b"error: standard output: cannot write: No space left on device"),
        ("predict <&-", {}, b"", b"error: no text given"),
    ],
)
def test_encodings_and_closed_files_cause_no_traceback(
    model: str, tmp_path: Path, command: str, environment: dict[str, str], output: bytes, errors: bytes
) -> None:
    result = run(command, model, tmp_path, **environment)
    assert output in result.stdout
    assert result.stderr.startswith(errors)
    assert result.stderr.count(b"\n") == bool(errors)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with the Makefile and, in the place of Python, a script that prints its arguments as JSON."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for file in ROOT.glob("requirements*.txt"):
        shutil.copy(file, tmp_path)
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").write_text(
        f"#!{sys.executable} -I\nimport json, sys\nprint(json.dumps(sys.argv[1:]), json.dumps(sys.stdin.read()))\n"
    )
    (bin_folder / "python").chmod(0o755)
    (bin_folder / ".run").touch()
    return tmp_path


def make(folder: Path, *arguments: str, given: str = "", **environment: str) -> str:
    result = subprocess.run(
        ["make", "--silent", "predict", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        input=given,
        capture_output=True,
        text=True,
    )
    assert not (folder / "trace").exists(), "a part of the text was executed"
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE)
def test_make_passes_any_text_unchanged(made: Path, text: str) -> None:
    expected = json.dumps(["-m", "stages.predict", f"--text={text}"])
    assert make(made, TEXT=text) == f'{expected} ""\n'
    expected = json.dumps(
        ["-m", "stages.predict", f"--text={text.lstrip(chr(9))}"]
    )  # make drops what stands before a value
    assert make(made, f"TEXT={text}") == f'{expected} ""\n'


def test_without_a_text_make_passes_standard_input(made: Path) -> None:
    given = "\n".join(HOSTILE)
    assert make(made, given=given) == f'["-m", "stages.predict"] {json.dumps(given)}\n'


def test_make_passes_an_empty_text(made: Path) -> None:
    assert make(made, "TEXT=") == '["-m", "stages.predict", "--text="] ""\n'
