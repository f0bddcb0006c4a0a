"""Score texts with a trained model; not a pipeline stage, but a command for its users.

python -m stages.predict reviews.csv --output scored.parquet
python -m stages.predict --text "A film to forget." --text "I laughed, and then I cried."
python -m stages.predict < texts.txt

A FILE is a CSV, TSV, JSONL or Parquet file with a column of texts (--text-column), or a .txt file with one text a line;
all but Parquet may be gzipped, and all are in UTF-8. A folder stands for all such files in it, and - for the lines of
standard input. With --output, each row gives a row of a file in one of these formats: its id (--id-column, or else the
number of the row), the label, and the probability of each class. Without --output, each text gives a line: the
probability that the text is positive, the label, and the text.

A text that is missing, blank or not UTF-8 gets no label and no probability; the last message says how many there are.
An output file appears once it is whole: after an interruption, run the same command again.
"""

import os
import re
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment.errors import InputError
from stages.paths import MODEL
from stages.run import one_line_errors

if TYPE_CHECKING:
    import pyarrow as pa

    from sentiment.scoring.scorer import Scorer
    from sentiment.scoring.tables import Batch

    Write = Callable[[pa.RecordBatch, pa.RecordBatch], None]  # takes a batch of texts and their scores

STANDARD_INPUT = Path("-")
# Characters that move a terminal's cursor or end a line; a tab does neither.
CONTROLS = re.compile("[\0-\x08\n-\x1f\x7f-\x9f\u2028\u2029]")

NO_TEXT = (
    'no text given; name a file of texts, pass a text with --text "I would never call it dull.", or pipe texts, '
    'one per line: echo "I would never call it dull." | make predict'
)


def main(arguments: list[str]) -> None:
    """Score the texts on the command line, in files or on standard input."""
    options = parse(arguments)
    sources = find_sources(options)
    from sentiment.runtime.device import tune_memory
    from sentiment.scoring.scorer import Scorer

    tune_memory()
    scorer = Scorer(options.model, threshold=options.threshold)
    scorer.model.eval()  # load the model now, so that the time for that is not counted
    with open_output(options.output, options.top) as write:
        message = score(scorer, read(sources, options), write, options.top, sizes_of(sources))
    if options.output is not None or "without a score" in message:
        print(message, file=sys.stderr)


def parse(arguments: list[str]) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(prog="python -m stages.predict", description="Score texts.", allow_abbrev=False)
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="a file or folder with texts, or - for standard input")
    add("--text", action="append", default=[], dest="texts", metavar="TEXT", help="a text; may be given several times")
    add("--text-column", default="text", metavar="NAME", help="the column of texts (%(default)s)")
    add("--id-column", metavar="NAME", help="the column of ids (the id is the number of the row)")
    add("--output", type=Path, metavar="FILE", help="the file to write: .csv, .tsv, .jsonl or .parquet (print lines)")
    add("--model", type=Path, default=MODEL, metavar="FOLDER", help="the model's folder (%(default)s)")
    add("--threshold", type=float, default=0.5, metavar="P", help="probability above which a text is positive (0.5)")
    add("--top", type=int, default=0, metavar="K", help="how many of the words that weighed most to add (0)")
    options = parser.parse_args(arguments)
    options.texts = ["--" if text == [] else text for text in options.texts]  # for `--text=--` in Python before 3.13
    if not 0 <= options.threshold <= 1:
        raise InputError(f"--threshold must be between 0 and 1; got {options.threshold}")
    if options.top < 0:
        raise InputError(f"--top must be 0 or more; got {options.top}")
    return options


def find_sources(options: Namespace) -> list[Path]:
    """Return the files to read, with STANDARD_INPUT for `-`; raise InputError if there is nothing to score."""
    from sentiment.scoring.tables import find_files

    is_piped = sys.stdin is not None and not sys.stdin.isatty()
    paths = options.files or ([STANDARD_INPUT] if is_piped and not options.texts else [])
    if not paths and not options.texts:
        raise InputError(NO_TEXT)
    sources = [file for path in paths for file in ([path] if path == STANDARD_INPUT else find_files(path))]
    if options.output is not None and options.output.resolve() in {path.resolve() for path in sources}:
        raise InputError(f"{options.output}: is an input, too; name another file (--output)")
    return sources


def sizes_of(sources: list[Path]) -> int:
    """Return the bytes of all files, 0 if they are not known beforehand."""
    return 0 if STANDARD_INPUT in sources else sum(path.stat().st_size for path in sources)


def read(sources: list[Path], options: Namespace) -> "Iterator[Batch]":
    """Yield the texts on the command line, then those of the sources; a position counts the bytes of all files."""
    from sentiment.scoring.tables import Row, gather, read_lines, read_texts

    # Python decodes arguments as the locale says; bytes that are not UTF-8 become surrogates, which `gather` finds.
    texts = (os.fsencode(text).decode("utf-8", "surrogateescape") for text in options.texts)
    yield from gather("--text", (Row(None, text) for text in texts))
    done = 0
    for path in sources:
        if path == STANDARD_INPUT:
            yield from gather("standard input", read_lines(sys.stdin.buffer))
            continue
        prefix = f"{path}:" if len(sources) > 1 else ""
        for batch in read_texts(path, options.text_column, options.id_column, prefix):
            yield batch._replace(position=done + batch.position)
        done += path.stat().st_size


def score(scorer: "Scorer", batches: "Iterable[Batch]", write: "Write", top: int, size: int) -> str:
    """Score and write all batches; return a message on how many rows there were and how many have no score.

    Raises InputError if no row has a text.
    """
    from tqdm import tqdm

    rows = unscored = 0
    problem = ""
    start = time.monotonic()
    with tqdm(desc="score", total=size or None, unit="B", unit_scale=True, disable=None) as bar:
        for batch in batches:
            scores = scorer(batch.rows)
            write(batch.rows, add_words(scorer, batch.rows, scores, top) if top else scores)
            rows += len(scores)
            unscored += scores["label"].null_count
            problem = problem or next(iter(batch.problems), "")
            bar.set_postfix_str(f"{rows:,} rows, {rows / (time.monotonic() - start):,.0f} a second", refresh=False)
            bar.update(batch.position - bar.n)
    seconds = time.monotonic() - start
    message = f"{rows:,} {'row' if rows == 1 else 'rows'} in {seconds:.1f} s, {rows / seconds:,.0f} a second; "
    message += f"{unscored:,} without a score: missing, blank or not UTF-8" if unscored else "all have a score"
    message += f"; the first that could not be read: {problem}" if problem else ""
    if unscored == rows:
        raise InputError(message if rows else "the input has no rows; nothing was scored")
    return message


def add_words(scorer: "Scorer", texts: "pa.RecordBatch", scores: "pa.RecordBatch", top: int) -> "pa.RecordBatch":
    """Add the column `words`: the `top` words that weighed most and their weights, relative to the largest."""
    import pyarrow as pa

    scored = scores["label"].is_valid()
    explained = iter(scorer.explain(texts["text"].filter(scored)))
    words: list[str | None] = []
    for is_scored in scored.to_pylist():
        heaviest = sorted(next(explained), key=lambda word: -abs(word.weight))[:top] if is_scored else []
        words.append(", ".join(f"{word.text} {word.weight:+.2f}" for word in heaviest) if is_scored else None)
    return scores.append_column("words", pa.array(words, pa.string()))


@contextmanager
def open_output(path: Path | None, top: int) -> "Iterator[Write]":
    """Yield a function that writes a batch of scores to a file or, without a path, prints a line for each text."""
    import pyarrow as pa

    from sentiment.scoring.scorer import SCHEMA
    from sentiment.scoring.tables import open_writer

    if path is None:
        yield print_lines
        return
    with open_writer(path, SCHEMA.append(pa.field("words", pa.string())) if top else SCHEMA) as write:
        yield lambda _, scores: write(scores)


def print_lines(texts: "pa.RecordBatch", scores: "pa.RecordBatch") -> None:
    """Print one line for each text, with line breaks and unprintable characters escaped."""
    if sys.stdout is None:
        raise InputError("standard output is closed; open it to see the probabilities")
    try:
        for text, row in zip(texts["text"].to_pylist(), scores.to_pylist(), strict=True):
            probability = "-" if row["label"] is None else f"{row['probability_positive']:.4f}"
            words = f"  [{row['words']}]" if row.get("words") else ""
            line = f"{probability:6}  {row['label'] or '-':8}  {text or ''}{words}"
            print(printable(line, sys.stdout.encoding))
        sys.stdout.flush()
    except OSError as error:
        raise InputError(f"standard output: cannot write: {error.strerror}") from error


def printable(text: str, encoding: str) -> str:
    """Escape control characters and characters that the encoding cannot represent."""
    text = CONTROLS.sub(lambda control: control[0].encode("unicode_escape").decode(), text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # exit silently when the reader of the output exits, as in | head
    with one_line_errors():
        main(sys.argv[1:])
