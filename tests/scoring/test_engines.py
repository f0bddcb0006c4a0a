"""Tests of scoring many texts: here, on a Ray cluster of two processes, and from a database."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.corpora.reviews import SENTIMENT
from sentiment.scoring.engines import score_here
from sentiment.scoring.scorer import Scorer, score_schema
from sentiment.scoring.tables import TEXTS
from tests.clone import ROOT

SCHEMA = score_schema(SENTIMENT)

BLOCKS = re.findall(r"```python\n(.+?)```", (ROOT / "docs" / "many-texts.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def scorer(model_folder: Path) -> Scorer:
    return Scorer(model_folder)


def test_scores_keep_the_columns_of_the_texts(scorer: Scorer) -> None:
    texts = pa.record_batch([["a", "b"], ["A good film.", None], [None, "row 2: is not UTF-8"], [9, 9]], TEXTS)
    (scores,) = score_here(scorer, [texts])
    assert scores.select(SCHEMA.names) == scorer(texts)
    assert scores.select(["text", "problem", "position"]) == texts.select(["text", "problem", "position"])


def test_the_heaviest_words_stand_beside_the_scores(scorer: Scorer) -> None:
    texts = pa.record_batch([["a", "b"], ["A good, good film.", None], [None, None], [9, 9]], TEXTS)
    (scores,) = score_here(scorer, [texts], top=2)
    words, none = scores["words"].to_pylist()
    assert none is None
    assert re.fullmatch(r"\S+ [+-]1\.00, \S+ [+-]\d\.\d\d", words)


def test_of_blank_texts_alone_no_words_weigh(mixed_model: Path) -> None:
    texts = pa.record_batch([["a", "b"], [" ", None], [None, None], [9, 9]], TEXTS)
    (scores,) = score_here(Scorer(mixed_model), [texts], top=2)
    assert scores["words"].to_pylist() == [None, None]


def write_files(folder: Path, rows: int) -> None:
    """Write texts in three formats, one of which has a row that cannot be read and one without a text."""
    texts = [f"A film of {number} minutes. " * 40 for number in range(rows)]
    pq.write_table(pa.table({"text": texts}), folder / "a.parquet")
    (folder / "b.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts) + "good,bad\n\u00a0\n")
    (folder / "c.txt").write_text("\n".join(texts))


def predict(model: Path, folder: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stages.predict", "--model", str(model), str(folder), "--output", str(output)]
    return subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def find_busy_worker(process: subprocess.Popen[str]) -> psutil.Process:
    """Wait for a process that scores texts."""
    for _ in range(1_200):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                if re.match(r"ray::MapWorker\(.*\)\.submit", " ".join(child.cmdline())):
                    return child
        time.sleep(0.1)
    raise AssertionError("no process scored anything")


@pytest.mark.slow
def test_two_processes_give_the_same_file_though_one_is_killed(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_files(tmp_path / "in", 3_000)
    here = predict(model_folder, tmp_path / "in", tmp_path / "here.parquet")
    said_here = here.communicate()[1]
    with predict(model_folder, tmp_path / "in", tmp_path / "ray.parquet", "--engine=ray", "--workers=2") as process:
        killed = find_busy_worker(process)
        os.kill(killed.pid, signal.SIGKILL)
        said = process.communicate()[1]
    assert (here.returncode, process.returncode) == (0, 0), said_here + said
    expected, scores = (pq.read_table(tmp_path / name) for name in ("here.parquet", "ray.parquet"))
    assert scores["id"].to_pylist() == expected["id"].to_pylist()
    assert len(set(scores["id"].to_pylist())) == len(scores) == 9_002
    assert scores["label"] == expected["label"]
    for name in SCHEMA.names[2:]:
        pairs = zip(scores[name].to_pylist(), expected[name].to_pylist(), strict=True)
        assert all(a == b or abs(a - b) < 1e-6 for a, b in pairs)
    assert said.partition(";")[2] == said_here.partition(";")[2]
    assert "; 2 without a score: " in said
    assert "b.csv:3002: must have 1 columns" in said


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--engine=ray", "--workers=1"]])
def test_an_error_of_the_input_is_one_line_from_either_engine(
    model_folder: Path, tmp_path: Path, options: list[str]
) -> None:
    (tmp_path / "a.csv").write_text("body\ngood\n")
    process = predict(model_folder, tmp_path, tmp_path / "out.csv", *options)
    said = process.communicate()[1]
    assert process.returncode == 1
    message = f"error: {tmp_path}/a.csv: has no column 'text' (--text-column); its columns are 'body'\n"
    assert said.endswith(message)
    assert "Traceback" not in said
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.slow
def test_a_database_scores_its_rows_as_documented(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = (block for block in BLOCKS if "duckdb" in block)
    (tmp_path / "classifier").symlink_to(model_folder)
    (tmp_path / "reviews").mkdir()
    for part in range(2):
        rows = {"id": [part, part + 2], "text": ["A good film.", None]}
        pq.write_table(pa.table(rows), tmp_path / "reviews" / f"{part}.parquet")
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    scores = pq.read_table(tmp_path / "scored.parquet")
    assert scores.schema.names == SCHEMA.names
    assert sorted(scores["id"].to_pylist()) == ["0", "1", "2", "3"]
    assert scores["label"].null_count == 2
