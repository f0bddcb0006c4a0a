"""Time the tokenizer in several languages, against spaCy on whole texts.

    taskset -c 1 python -m benchmarks.languages [--texts 6000] [--rounds 3]

The texts are generated: 200 words each, out of 30,000 made-up words whose frequency is inverse to their rank (Zipf's
law), with the accents, marks and capital letters of each language; Chinese is 400 random characters. Before the clock
starts, the tokens of both are compared. Each round then times a new tokenizer and a new pipeline of spaCy in turn,
without loading their rules. The table has the share of pieces between spaces that are distinct, and medians of the
rounds, whose seconds are those of the processor.
"""

import argparse
import random
import statistics
import time
from typing import Any, NamedTuple

import pyarrow as pa
import spacy

from sentiment.corpora.reviews import ROW_GROUP_REVIEWS
from sentiment.text.spacy_pieces import PieceTokenizer
from sentiment.text.tokenizer import ReviewTokenizer, TokenRules

WORDS_PER_TEXT = 200
DISTINCT_WORDS = 30_000
COMPARED = 200  # texts


class Spelling(NamedTuple):
    """Spelling of a language's words."""

    syllables: str
    before: str  # what stands before some words without a space
    after: str  # what stands after some words without a space
    capitals: float = 0.1  # share of words with a capital letter


SPELLINGS = {
    "en": Spelling("the ing er to re con ma li ty an th wi sh pro ble st o a", '( "', ", . . , ! ? ... 's n't .) :)"),
    "de": Spelling("sch ung en ge ver be lich ö ü ä ß ein heit st tr au ei kn", "( „", ", . . , ! ? : ;", 0.4),
    "es": Spelling("ción ar es la re ñ á é ó que do mi tra os ien to pa ll", "¿ ¡ («", ", . . , ! ? ... »"),
    "fr": Spelling(
        "eau tion é è ê ment re la oi ch que ou ai le ç in er des", "l' d' qu' j' («", ", . . , ! ? ... -là"
    ),
}


def generate_texts(language: str, count: int) -> list[str]:
    """Return texts of a language."""
    draw = random.Random(language)  # noqa: S311
    if language == "zh":
        characters = [*map(chr, range(0x4E00, 0x5A00)), *"\u3002\uff0c" * 200]
        return ["".join(draw.choices(characters, k=2 * WORDS_PER_TEXT)) for _ in range(count)]
    syllables, before, after = (marks.split() for marks in SPELLINGS[language][:3])
    words: set[str] = set()
    while len(words) < DISTINCT_WORDS:
        words.add("".join(draw.choices(syllables, k=draw.randint(1, 5))))
    by_length = sorted(words, key=lambda word: (len(word), word))  # short words are frequent

    def word() -> str:
        chosen = by_length[int(DISTINCT_WORDS ** draw.random()) - 1]
        chosen = chosen.capitalize() if draw.random() < SPELLINGS[language].capitals else chosen
        first = draw.choice(before) if draw.random() < 0.03 else ""
        return first + chosen + (draw.choice(after) if draw.random() < 0.15 else "")

    return [" ".join(word() for _ in range(WORDS_PER_TEXT)) for _ in range(count)]


def load(language: str) -> tuple[ReviewTokenizer, Any]:
    """Return a new tokenizer of this project and one of spaCy."""
    rules = TokenRules(lower=False, keep_breaks=True, max_tokens=None, language=language)
    return ReviewTokenizer(rules), spacy.blank(language).tokenizer


def measure(language: str, texts: list[str]) -> tuple[float, float]:
    """Return the texts a second of this project, in batches as large as the pipeline's, and of spaCy."""
    ours, spacys = load(language)
    batches = [pa.array(texts[start : start + ROW_GROUP_REVIEWS]) for start in range(0, len(texts), ROW_GROUP_REVIEWS)]
    started = time.process_time()
    for batch in batches:
        ours.tokenize(batch)
    middle = time.process_time()
    for text in texts:
        _ = [token.text for token in spacys(text)]
    return len(texts) / (middle - started), len(texts) / (time.process_time() - middle)


def check(language: str, texts: list[str]) -> None:
    """Raise an error unless the tokens of both are equal."""
    ours, spacys = load(language)
    tokenized = ours.tokenize(pa.array(texts))
    for text, ids in zip(texts, tokenized.ids, strict=True):
        if tokenized.types.take(ids.values).to_pylist() != [token.text for token in spacys(text)]:
            raise AssertionError(f"{language}: the tokens differ from spaCy's in {text!r}")


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print("| language | way | distinct | texts a second | spaCy, whole texts | ratio |\n|---|---|---|---|---|---|")
    for language in (*SPELLINGS, "zh"):
        texts = generate_texts(language, arguments.texts)
        check(language, texts[:COMPARED])
        rounds = [measure(language, texts) for _ in range(arguments.rounds)]
        ours, spacys = (statistics.median(rates) for rates in zip(*rounds, strict=True))
        by_piece = "by shape" if language == "en" else "by piece"
        way = by_piece if PieceTokenizer(language).reads_pieces else "whole texts"
        pieces = [piece for text in texts for piece in text.split(" ")]
        distinct = f"{len(set(pieces)) / len(pieces):.0%}"
        print(f"| {language} | {way} | {distinct} | {ours:,.0f} | {spacys:,.0f} | {ours / spacys:.1f} |", flush=True)


if __name__ == "__main__":
    main()
