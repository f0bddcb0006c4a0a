"""Score texts with a trained model; not a pipeline stage, but a command for its users.

python -m stages.predict "A film to forget." "I laughed, and then I cried."
python -m stages.predict --model best < texts.txt

The texts are the arguments or, without arguments, the lines of standard input, in UTF-8. The command prints one line
per text: the probability that the text is positive, two spaces, and the text. If a text is blank or not UTF-8, the
error names it and no text is scored, so that lines of output and input always correspond.
"""

import os
import re
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from sentiment.errors import InputError
from stages.paths import MODEL
from stages.run import one_line_errors

# Characters that move a terminal's cursor or end a line; a tab does neither.
CONTROLS = re.compile("[\0-\x08\n-\x1f\x7f-\x9f\u2028\u2029]")

Texts = dict[str, str]  # texts by location, for error messages


def main(arguments: list[str]) -> None:
    """Score the texts on the command line, or the lines of standard input if the command line has no texts."""
    parser = ArgumentParser(prog="python -m stages.predict", description="Score texts.", allow_abbrev=False)
    parser.add_argument("--model", type=Path, default=MODEL, metavar="FOLDER", help="the model's folder (%(default)s)")
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="a text to score; put -- before texts that begin with a dash"
    )
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise InputError(f"{unknown[0]}: is not an option; put -- before texts that begin with a dash")
    texts = dict(read_arguments(parsed.texts) if parsed.texts else read_lines())
    check_texts(texts)
    write_rows(predict(texts, parsed.model), texts)


def read_arguments(arguments: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the location and the text of each argument."""
    for number, argument in enumerate(arguments, start=1):
        place = f"text {number}"
        try:
            argument.encode()
        except UnicodeEncodeError:  # Python decoded invalid bytes as surrogates; fsencode restores the bytes
            yield place, decode(os.fsencode(argument), place)
        else:
            yield place, argument


def read_lines() -> Iterator[tuple[str, str]]:
    """Yield the location and text of each line of standard input, without a byte order mark; nothing on a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        return
    for number, line in enumerate(sys.stdin.buffer, start=1):
        place = f"standard input:{number}"
        text = decode(line, place).removesuffix("\n").removesuffix("\r")
        yield place, text.removeprefix("\ufeff") if number == 1 else text


def decode(text: bytes, place: str) -> str:
    """Decode UTF-8, or raise InputError with the location of the text."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: is not UTF-8 at byte {error.start}; convert it, for example with iconv") from error


def check_texts(texts: Texts) -> None:
    """Raise InputError if there is no text or any text is blank."""
    if not texts:
        raise InputError(
            "no text given; pass texts as arguments or, one per line, on standard input: "
            'echo "I would never call it dull." | make predict'
        )
    import pyarrow as pa

    from sentiment.text.tokenizer import are_blank

    blank = [place for place, is_blank in zip(texts, are_blank(pa.array(texts.values())), strict=True) if is_blank]
    if blank:
        more = f" (and {len(blank) - 1:,} more like it)" if len(blank) > 1 else ""
        raise InputError(f"{blank[0]}: is blank{more}; remove it or fill in its text")


def predict(texts: Texts, folder: Path) -> list[float]:
    """Return the probability that each text is positive, using the model in a folder."""
    from sentiment.dataset.vocabulary import encode_texts, load_vocabulary
    from sentiment.models.checkpoint import VOCABULARY_NAME, load_checkpoint
    from sentiment.models.inference import predict_logits
    from sentiment.runtime.device import catch_out_of_memory, choose_device

    model = load_checkpoint(folder)
    vocabulary, rules = load_vocabulary(folder / VOCABULARY_NAME, model.config.vocabulary_size)
    reviews = encode_texts(list(texts.values()), vocabulary, rules)
    with catch_out_of_memory("scoring the texts"):
        probabilities: list[float] = predict_logits(model, reviews, choose_device()).sigmoid().tolist()
    return probabilities


def write_rows(probabilities: list[float], texts: Texts) -> None:
    """Print one line for each text, with line breaks and unprintable characters escaped."""
    if sys.stdout is None:
        raise InputError("standard output is closed; open it to see the probabilities")
    try:
        for probability, text in zip(probabilities, texts.values(), strict=True):
            print(f"{probability:.4f}  {printable(text, sys.stdout.encoding)}")
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
