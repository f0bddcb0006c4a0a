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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of an untrained model, which stands apart from any pipeline."""
    folder = tmp_path_factory.mktemp("predict")
    vocabulary = fit_vocabulary(Counter(["good", "bad", "film", "a", "h", "-"]), 9, 1)
    save_vocabulary(folder / "words", vocabulary, TokenRules(True, False, None))
    save_checkpoint(folder / "model", small_model(vocabulary_size=len(vocabulary.itos)), folder / "words")
    (folder / "words").unlink()
    return str(folder / "model")


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put bytes on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def rows(printed: str) -> list[tuple[float, str]]:
    """Return the probability and the text of each line that was printed, and nothing else was."""
    assert printed.endswith("\n")
    return [(float(line[:6]), line[8:]) for line in printed.removesuffix("\n").split("\n")]


@pytest.mark.slow
def test_texts_are_arguments_or_lines_of_standard_input(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["A good film.", "bad", "caf\u00e9 \U0001f600"]
    main(["--model", model, *texts])
    as_arguments = rows(capsys.readouterr().out)
    assert [text for _, text in as_arguments] == texts
    assert all(0 < probability < 1 for probability, _ in as_arguments)
    for content in (
        "\n".join(texts),
        "\n".join(texts) + "\n",
        "\r\n".join(texts) + "\r\n",
        "\ufeff" + "\n".join(texts),
    ):
        give(monkeypatch, content.encode())
        main(["--model", model])
        assert rows(capsys.readouterr().out) == as_arguments


@pytest.mark.slow
@pytest.mark.parametrize("text", [*HOSTILE, "a\0b", "\x1b[31mred", "a\u2028b\x85c", "x" * 100_000])
def test_any_text_is_printed_on_one_line(model: str, capsys: pytest.CaptureFixture[str], text: str) -> None:
    main(["--model", model, "--", text, text])
    first, second = rows(capsys.readouterr().out)
    assert first == second
    assert first[1].isprintable() or "\t" in text
    assert first[1] == text or any(character in text for character in "\n\0\x1b\x85")


@pytest.mark.parametrize("content", [None, b""])
def test_without_a_text_the_message_says_how_to_pass_one(
    model: str, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is None:
        monkeypatch.setattr(sys, "stdin", None)
    else:
        give(monkeypatch, content)
    with pytest.raises(InputError, match=r"^no text given; pass texts as arguments or, one per line, on standard inp"):
        main(["--model", model])


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0\u2003", "<br />", " <BR> <br/>"])
def test_a_blank_text_is_reported_and_nothing_is_scored(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], blank: str
) -> None:
    with pytest.raises(InputError, match=r"^text 2: is blank; remove it"):
        main(["--model", model, "good", blank])
    give(monkeypatch, f"good\n{blank}\nbad\n{blank}\n".encode())
    with pytest.raises(InputError, match=r"^standard input:2: is blank \(and 1 more like it\)"):
        main(["--model", model])
    assert capsys.readouterr().out == ""


def test_a_text_that_is_not_utf8_is_reported_and_nothing_is_scored(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"^text 2: is not UTF-8 at byte 3"):
        main(["--model", model, "good", os.fsdecode(b"caf\xe9")])
    for content in (b"good\ncaf\xe9\n", b"good\ncaf\xed\xa0\x80\n"):  # Latin-1; half a surrogate pair
        give(monkeypatch, content)
        with pytest.raises(InputError, match=r"^standard input:2: is not UTF-8 at byte 3"):
            main(["--model", model])
    give(monkeypatch, "good".encode("utf-16"))
    with pytest.raises(InputError, match=r"^standard input:1: is not UTF-8 at byte 0"):
        main(["--model", model])
    assert capsys.readouterr().out == ""


def test_for_a_text_that_looks_like_an_option_the_message_says_to_use_dashes(model: str) -> None:
    with pytest.raises(InputError, match=r"^--great: is not an option; put -- before texts that begin with a dash"):
        main(["--model", model, "--great"])


@pytest.mark.parametrize(
    ("encoding", "expected"), [("latin-1", b"caf\xe9 \\U0001f600\n"), ("ascii", b"caf\\xe9 \\U0001f600\n")]
)
def test_any_text_is_printed_in_any_encoding(
    model: str, monkeypatch: pytest.MonkeyPatch, encoding: str, expected: bytes
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding))
    main(["--model", model, "caf\u00e9 \U0001f600"])
    assert printed.getvalue().endswith(expected)


def test_a_closed_standard_output_is_reported(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match=r"^standard output is closed"):
        main(["--model", model, "good"])


def test_the_message_for_a_full_gpu_says_how_to_use_the_cpu(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    monkeypatch.setattr("sentiment.models.classifier.Classifier.forward", refuse)
    with pytest.raises(InputError, match=r"^scoring the texts: the GPU's memory is full; free some, or put CUDA_"):
        main(["--model", model, "good"])


def test_a_model_whose_vocabulary_does_not_fit_its_weights_is_refused(model: str, tmp_path: Path) -> None:
    vocabulary = fit_vocabulary(Counter(["good"]), 9, 1)
    save_vocabulary(tmp_path / "words", vocabulary, TokenRules(True, False, None))
    save_checkpoint(tmp_path / "model", small_model(vocabulary_size=8), tmp_path / "words")
    with pytest.raises(InputError, match=r"vocabulary\.json: must have 8 words, like the model; got 3"):
        main(["--model", str(tmp_path / "model"), "good"])


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
        (r"predict $'caf\xe9'", {}, b"", b"error: text 1: is not UTF-8 at byte 3"),
        (
            r"predict $'\xf0\x9f\x98\x80'",
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            rb"\U0001f600",
            b"",
        ),
        ("yes good | head -5000 | predict | head -1", {}, b"  good", b""),
        ("predict good > /dev/full", {}, b"", b"error: standard output: cannot write: No space left on device"),
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
    expected = json.dumps(["-m", "stages.predict", "--", text])
    assert make(made, TEXT=text) == f'{expected} ""\n'
    expected = json.dumps(["-m", "stages.predict", "--", text.lstrip("\t")])  # make drops what stands before a value
    assert make(made, f"TEXT={text}") == f'{expected} ""\n'


def test_without_a_text_make_passes_standard_input(made: Path) -> None:
    given = "\n".join(HOSTILE)
    assert make(made, given=given) == f'["-m", "stages.predict"] {json.dumps(given)}\n'


def test_make_passes_an_empty_text(made: Path) -> None:
    assert make(made, "TEXT=") == '["-m", "stages.predict", "--", ""] ""\n'
