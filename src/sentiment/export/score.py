"""Score texts with the exported model in this script's folder.

    pip install numpy onnxruntime spacy
    python score.py "A film to forget." "I laughed, and then I cried."
    python score.py < texts.txt

Prints a line for each text: a probability, the text's label, and the text. Of two labels, the probability is that of
the second, which is positive; of more, that of the text's label. A text of only white space and HTML line breaks has
neither. Give --model model.int8.onnx for the smaller model.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import spacy

FOLDER = Path(__file__).resolve().parent
UNKNOWN, PADDING = 0, 1  # ids; the words come after them
# HTML line breaks in upper or lower case, with or without attributes, and the white space around them.
SPACE = r"[\t-\r\x1c- \x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
BREAKS = re.compile(rf"(?:{SPACE}*</?[Bb][Rr](?:(?:{SPACE}|/)[^<>]*)?>{SPACE}*)+")


class Scorer:
    """An ONNX model with the vocabulary and the token rules that it was trained with."""

    def __init__(self, folder: Path = FOLDER, name: str = "model.onnx") -> None:
        saved = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        counts, self.rules = saved["counts"], saved["rules"]
        self.labels = saved.get("labels", ["negative", "positive"])
        words = sorted(counts, key=lambda word: (-counts[word], word))
        self.ids = {word: number for number, word in enumerate(words, start=PADDING + 1)}
        self.tokenizer = spacy.blank(self.rules.get("language", "en")).tokenizer
        self.session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        linear = folder / "linear.npz"
        self.linear: dict[str, npt.NDArray[Any]] = dict(np.load(linear)) if linear.exists() else {}

    def __call__(self, texts: Sequence[str], batch_size: int = 64) -> npt.NDArray[np.float32]:
        """Return the probability of each label, (N, K) float32, for N texts."""
        encoded = [self.encode(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda number: len(encoded[number]))  # batches of similar length
        probabilities = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            lengths = np.array([len(encoded[row]) for row in rows])
            tokens = np.full((len(rows), lengths.max()), PADDING, dtype=np.int64)
            for place, row in enumerate(rows):
                tokens[place, : lengths[place]] = encoded[row]
            inputs = {"tokens": tokens, "lengths": lengths}
            if self.linear:
                inputs["added"] = np.stack([self.linear_logits(encoded[row]) for row in rows])
            (probabilities[rows],) = self.session.run(None, inputs)
        return probabilities

    def linear_logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return what the linear model of n-grams adds to the logits, (1,) for two labels and (K,) for more."""
        known, weights, bias = (self.linear[name] for name in ("ngrams", "weights", "bias"))
        base, digits = int(self.linear["vocabulary_size"]) + 1, np.array(ids, dtype=np.int64) + 1
        ngrams, all_ngrams = np.zeros(len(ids) + 1, dtype=np.int64), []
        for words in range(1, min(int(self.linear["order"]), len(ids)) + 1):
            ngrams = ngrams[:-1] * base + digits[words - 1 :]
            all_ngrams.append(ngrams)
        distinct = np.unique(np.concatenate(all_ngrams))
        places = np.searchsorted(known, distinct).clip(max=len(known) - 1)
        found = weights[places[known[places] == distinct]]
        logits: npt.NDArray[np.float64] = bias + found.sum(axis=0, dtype=np.float64) / max(1, len(found)) ** 0.5
        return logits.astype(np.float32)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, at least one."""
        if not self.rules["keep_breaks"]:
            text = BREAKS.sub(" ", text)
        words = [token.text for token in self.tokenizer(text)][: self.rules["max_tokens"]]
        if self.rules["lower"]:
            words = [word.lower() for word in words]
        ids = [self.ids.get(word, UNKNOWN) for word in words] or [UNKNOWN]
        return ids + [PADDING] * ((self.rules["pad_to"] or 0) - len(ids))


def main(arguments: Sequence[str]) -> Iterator[str]:
    """Yield a line for each text on the command line or, without any, for each line of standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    parser.add_argument(
        "--model", default="model.onnx", metavar="NAME", help="a file in the script's folder (%(default)s)"
    )
    options = parser.parse_args(arguments)
    texts = options.texts or [line.decode("utf-8", "replace").rstrip("\r\n") for line in sys.stdin.buffer]
    scorer = Scorer(name=options.model)
    for text, probabilities in zip(texts, scorer(texts), strict=True):
        label = int(probabilities.argmax())
        shown = probabilities[1 if len(scorer.labels) == 2 else label]
        is_blank = not BREAKS.sub("", text).strip()
        yield "-       -" if is_blank else f"{shown:.4f}  {scorer.labels[label]}  {text}"


if __name__ == "__main__":
    print(*main(sys.argv[1:]), sep="\n")
