"""Score texts with a trained model; not a pipeline stage, but a command for its users.

python -m stages.predict reviews.csv --output scored.parquet
python -m stages.predict --text "A film to forget." --text "I laughed, and then I cried."
python -m stages.predict < texts.txt

A FILE is a CSV, TSV, JSON, JSONL or Parquet file with a column of texts (--text-column), or a .txt file with a text a
line or, with --whole-files, of one text; all but Parquet may be packed (.gz, .zip, .zst). Encoding and delimiter are
guessed unless they are given. A folder stands for all such files in it, and - for standard input, a text a line. With
--output, each row gives a row of a .csv, .tsv, .jsonl or .parquet file: its id (--id-column, or else the number of the
row), the label, and the probability of each label. Without --output, each text gives a line: a probability, the text's
label, and the text. Of two labels, the probability is that of the second, which is positive; of more, that of the
text's label.

A text that is missing or blank and a row that cannot be read get no label and no probability; the last message says how
many there are. An output file appears once it is whole; a run that was interrupted starts from the beginning.

With --engine ray, as many processes as --workers says score the texts, on this machine or on the Ray cluster at
RAY_ADDRESS; the output is the same.
"""

import itertools
import os
import re
import signal
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment.errors import InputError
from stages.params import check_delimiter, check_encoding
from stages.paths import PACKAGE
from stages.run import one_line_errors

if TYPE_CHECKING:
    import pyarrow as pa

    from sentiment.corpora.files import Dialect
    from sentiment.scoring.scorer import Scorer
    from sentiment.scoring.tables import Source, TextRow

    Write = Callable[[pa.RecordBatch], None]  # takes a batch of scores

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
    paths = find_paths(options)
    from sentiment.runtime.device import tune_memory
    from sentiment.scoring.engines import score_here, score_on_ray
    from sentiment.scoring.scorer import Scorer

    tune_memory()
    scorer = Scorer(options.model, threshold=options.threshold, precision=options.precision)
    scorer.load()  # load the model now: a wrong one is found at once, and its loading is not timed
    if options.engine == "ray":
        scores = score_on_ray(scorer, make_sources(paths, options), options.top, options.workers)
    else:
        scores = score_here(scorer, read(paths, options), options.top)
    with open_output(options.output, scorer, options.top) as write:
        message = consume(scores, write, size=0 if STANDARD_INPUT in paths else sum(map(size_of, paths)))
    if options.output is not None or "without a score" in message:
        print(message, file=sys.stderr)


def parse(arguments: list[str]) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(prog="python -m stages.predict", description="Score texts.", allow_abbrev=False)
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="a file or folder with texts, or - for standard input")
    add("--text", action="append", default=[], dest="texts", metavar="TEXT", help="a text; may be given several times")
    add("--id-column", metavar="NAME", help="the column of ids (default: the number of the row is the id)")
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="the file to write: .csv, .tsv, .jsonl or .parquet (default: lines are printed)",
    )
    add("--model", type=Path, default=PACKAGE, metavar="FOLDER", help="the model's folder (default: %(default)s)")
    add(
        "--threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="of two labels, the probability above which a text has the second (default: 0.5)",
    )
    add("--top", type=int, default=0, metavar="K", help="how many of the words that weighed most to add (default: 0)")
    add_reading_options(parser)
    add(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of matrix products; bfloat16: faster where the processor has it, less exact (default: %(default)s)",
    )
    add(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="ray: in many processes or machines (default: %(default)s)",
    )
    add("--workers", type=int, metavar="N", help="how many processes for --engine ray (default: one for each core)")
    options = parser.parse_args(arguments)
    options.texts = ["--" if text == [] else text for text in options.texts]  # for `--text=--` in Python before 3.13
    if not 0 <= options.threshold <= 1:
        raise InputError(f"--threshold must be between 0 and 1; got {options.threshold}")
    if options.top < 0:
        raise InputError(f"--top must be 0 or more; got {options.top}")
    check_reading_options(options)
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers must be 1 or more; got {options.workers}")
    if options.workers is not None and options.engine != "ray":
        raise InputError("--workers is for --engine ray")
    return options


def add_reading_options(parser: ArgumentParser) -> None:
    """Add the options that say how files of texts are written, which other commands have too."""
    add = parser.add_argument
    add("--text-column", default="text", metavar="NAME", help="the column of texts (default: %(default)s)")
    add("--delimiter", metavar="CHARACTER", help="the character between two fields of a CSV file (default: guessed)")
    add(
        "--encoding",
        metavar="NAME",
        help="the encoding of text files, such as utf-8 or windows-1252 (default: guessed)",
    )
    add(
        "--quotes",
        action=BooleanOptionalAction,
        help="whether double quotes enclose fields of a CSV file (default: guessed)",
    )
    add(
        "--header",
        action=BooleanOptionalAction,
        default=True,
        help="whether the first row names the columns, which are else called 1, 2, ... (default: it does)",
    )
    add(
        "--whole-files",
        action="store_true",
        help="each .txt file is one text, with its path as its id (default: each line is one)",
    )


def check_reading_options(options: Namespace) -> None:
    """Raise InputError for a wrong value of an option from `add_reading_options`."""
    for name, check in (("delimiter", check_delimiter), ("encoding", check_encoding)):
        value = getattr(options, name)
        try:
            if value is not None:
                check(value)
        except ValueError as error:
            raise InputError(f"--{name} {error}") from error


def dialect_of(options: Namespace) -> "Dialect":
    """Return how files are written, from the options of `add_reading_options`."""
    from sentiment.corpora.files import Dialect

    return Dialect(
        options.delimiter, options.encoding, options.quotes, options.header, options.whole_files, prefix="--"
    )


def find_paths(options: Namespace) -> list[Path]:
    """Return the files to read, with STANDARD_INPUT for `-`; raise InputError if there is nothing to score."""
    from sentiment.scoring.tables import find_files

    is_piped = sys.stdin is not None and not sys.stdin.isatty()
    places = options.files or ([STANDARD_INPUT] if is_piped and not options.texts else [])
    if not places and not options.texts:
        raise InputError(NO_TEXT)
    paths = [path for place in places for path in ([place] if place == STANDARD_INPUT else find_files(place))]
    if options.output is not None and options.output.resolve() in {path.resolve() for path in paths}:
        raise InputError(f"{options.output}: is an input, too; name another file (--output)")
    if options.engine == "ray" and (options.output is None or options.texts or STANDARD_INPUT in paths):
        raise InputError("--engine ray reads files and writes a file (--output)")
    return paths


def size_of(path: Path) -> int:
    """Return the number of bytes of a file, 0 for standard input."""
    return 0 if path == STANDARD_INPUT else path.stat().st_size


def make_sources(paths: list[Path], options: Namespace) -> "list[Source]":
    """Return the files to read, each with its columns, its dialect and its offset among the bytes of all files."""
    from sentiment.scoring.tables import Source

    dialect = dialect_of(options)
    is_one_of_several = len(paths) + bool(options.texts) > 1
    offsets = [0, *itertools.accumulate(map(size_of, paths))]
    return [
        Source(path, options.text_column, options.id_column, f"{path}:" if is_one_of_several else "", dialect, offset)
        for path, offset in zip(paths, offsets, strict=False)
    ]


def read(paths: list[Path], options: Namespace) -> "Iterator[pa.RecordBatch]":
    """Yield the texts on the command line, then those of the files."""
    from sentiment.scoring.tables import gather, read_lines, read_texts

    yield from gather(map(read_argument, options.texts), prefix="--text:" if paths else "")
    for source in make_sources(paths, options):
        if source.path == STANDARD_INPUT:
            yield from gather(read_lines("standard input", sys.stdin.buffer), source.prefix)
        else:
            yield from read_texts(source)


def read_argument(text: str) -> "TextRow":
    """Return a text from the command line, which Python has decoded as the locale says."""
    from sentiment.scoring.tables import TextRow

    try:
        return TextRow(None, os.fsencode(text).decode())
    except UnicodeDecodeError:
        return TextRow(None, None, "--text: is not UTF-8")


def consume(scores: "Iterable[pa.RecordBatch]", write: "Write", size: int) -> str:
    """Write all scores; return a message on how many rows there were and how many have no score.

    Raises InputError if no row has a text.
    """
    from tqdm import tqdm

    rows = unscored = 0
    problem = ""
    start = time.monotonic()
    with tqdm(desc="score", total=size or None, unit="B", unit_scale=True, disable=None) as bar:
        for batch in scores:
            write(batch)
            rows += len(batch)
            unscored += batch["label"].null_count
            problem = problem or next(iter(batch["problem"].drop_null().to_pylist()), "")
            bar.set_postfix_str(f"{rows:,} rows, {rows / (time.monotonic() - start):,.0f} a second", refresh=False)
            bar.update(batch["position"][-1].as_py() - bar.n)
    seconds = time.monotonic() - start
    message = f"{rows:,} {'row' if rows == 1 else 'rows'} in {seconds:.1f} s, {rows / seconds:,.0f} a second; "
    message += f"{unscored:,} without a score: missing, blank or unreadable" if unscored else "all have a score"
    first = f"; the first that could not be read: {problem}" if problem else ""
    if unscored == rows:
        raise InputError(
            f"of {rows:,} rows none has a text{first}; no output was written" if rows else "the input has no texts"
        )
    return message + first


@contextmanager
def open_output(path: Path | None, scorer: "Scorer", top: int) -> "Iterator[Write]":
    """Yield a function that writes a batch of scores to a file or, without a path, prints a line for each text."""
    from sentiment.scoring.engines import WORDS
    from sentiment.scoring.tables import open_writer

    if path is None:
        yield partial(print_lines, labels=scorer.labels)
        return
    schema = scorer.schema.append(WORDS) if top else scorer.schema
    with open_writer(path, schema) as write:
        yield lambda scores: write(scores.select(schema.names))


def print_lines(scores: "pa.RecordBatch", labels: Sequence[str]) -> None:
    """Print one line for each text, with line breaks and unprintable characters escaped.

    The probability is that of the second of two labels, and of more that of the text's own label.
    """
    width = max(map(len, labels))
    if sys.stdout is None:
        raise InputError("standard output is closed; open it to see the probabilities")
    try:
        for row in scores.to_pylist():
            shown = labels[1] if len(labels) == 2 else row["label"]
            probability = "-" if row["label"] is None else f"{row[f'probability_{shown}']:.4f}"
            words = f"  [{row['words']}]" if row.get("words") else ""
            line = f"{probability:6}  {row['label'] or '-':{width}}  {row['text'] or ''}{words}"
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
