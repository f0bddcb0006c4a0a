"""Compare classifiers that a user might train instead of this project's network, on the same reviews.

    taskset -c 1 python -m benchmarks.opponents [--only TF-IDF fastText] [--python PATH] [--minutes 20] [--threads 1]

Run in a clone whose pipeline has prepared a corpus with two labels. HTML line breaks become spaces; apart from that,
every opponent reads the text as written. An opponent trains on the split `train`, keeps the settings with the highest
validation accuracy (the first of equals), and reads the split `test` once, with those. The opponents:

    TF-IDF      scikit-learn's TfidfVectorizer on words and pairs, and LogisticRegression
    fastText    words and pairs, lower-cased, with punctuation split off
    spaCy-bow   spaCy's textcat with TextCatBOW, n-grams up to a size
    spaCy       spaCy's textcat as it is by default: TextCatEnsemble
    Keras       the bidirectional LSTM of Keras' IMDb example, with the torch backend

Each runs in a process of its own, in an environment created in a temporary folder; --python names the interpreter of an
existing environment instead. Once an opponent has used --minutes, it starts no other setting, and its row says so.
Seconds are those of the processor: with one thread, those of a clock on an idle core. `train` is what the chosen
settings took, `all` adds every other setting and the validation. Tests a second are texts in, labels out, in one
process. MB is the peak resident memory of the process, all settings included.
"""

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

# At this level, only the standard library is imported, since the other environment runs this file as a script.

PINNED = ("torch", "spacy", "scikit-learn", "pyarrow")  # at the versions of requirements.txt
PACKAGES = ("fasttext-wheel==0.9.2", "keras==3.15.1", *PINNED)
REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
REVIEWS = "reviews.parquet"
BREAK = r"(\s*<br\s*/?>\s*)+"
SEED = 1

Predict = Callable[[Sequence[str]], Sequence[int]]  # texts to labels, 0 or 1


class Reviews(NamedTuple):
    """Reviews of one split."""

    texts: list[str]
    labels: list[int]  # 0 or 1


class Trial(NamedTuple):
    """One of the settings tried."""

    settings: str
    seconds: float  # of training, preparing the training text included
    accuracy: float  # on the validation reviews
    restore: Callable[[], Predict]  # return the trained model


Opponent = Callable[[Reviews, Reviews], Iterator[Trial]]  # the training and the validation reviews to trials


def measure_accuracy(found: Sequence[int], labels: Sequence[int]) -> float:
    """Return the share of labels found."""
    return sum(ours == theirs for ours, theirs in zip(found, labels, strict=True)) / len(labels)


def try_tfidf(training: Reviews, validation: Reviews) -> Iterator[Trial]:
    """Train logistic regressions on the TF-IDF of words and pairs, from strong to weak regularization."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    started = time.process_time()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2))
    features = vectorizer.fit_transform(training.texts)
    vectorizing_seconds = time.process_time() - started
    validation_features = vectorizer.transform(validation.texts)

    def predictor(model: Any) -> Predict:
        return lambda texts: model.predict(vectorizer.transform(texts)).tolist()

    for strength in (3, 10, 30, 100):
        started = time.process_time()
        model = LogisticRegression(C=strength, max_iter=1000, random_state=SEED).fit(features, training.labels)
        seconds = vectorizing_seconds + time.process_time() - started
        accuracy = measure_accuracy(model.predict(validation_features).tolist(), validation.labels)
        yield Trial(f"C {strength}", seconds, accuracy, partial(predictor, model))


def normalize(text: str) -> str:
    """Return a text as fastText's tutorial prepares it: lower case, on one line, punctuation split off."""
    return " ".join(re.sub(r"""([.!?,'"/():;])""", r" \1 ", text).lower().split())


FASTTEXT_GRID = (  # dim, lr, epoch
    *((10, rate, epochs) for rate in (0.1, 0.5, 1.0) for epochs in (5, 25)),
    *((100, rate, 5) for rate in (0.1, 0.5)),
)


def try_fasttext(training: Reviews, validation: Reviews) -> Iterator[Trial]:
    """Train fastText models by size, learning rate and number of epochs; write them to the current folder."""
    fasttext = import_module("fasttext")

    def predict(model: Any, texts: Sequence[str]) -> list[int]:
        # model.predict fails with NumPy 2; the compiled method that it calls returns (probability, label) pairs
        pairs = [model.f.predict(normalize(text) + "\n", 1, 0.0, "strict")[0] for text in texts]
        return [int(label.removeprefix("__label__")) for _, label in pairs]

    def restore(path: str) -> Predict:
        model = fasttext.load_model(path)
        return lambda texts: predict(model, texts)

    started = time.process_time()
    lines = zip(training.labels, map(normalize, training.texts), strict=True)
    Path("training.txt").write_text("".join(f"__label__{label} {text}\n" for label, text in lines), "utf-8")
    writing_seconds = time.process_time() - started
    for dimension, rate, epochs in FASTTEXT_GRID:
        started = time.process_time()
        model = fasttext.train_supervised(
            "training.txt", dim=dimension, lr=rate, epoch=epochs, wordNgrams=2, thread=1, seed=SEED, verbose=0
        )
        seconds = writing_seconds + time.process_time() - started
        accuracy = measure_accuracy(predict(model, validation.texts), validation.labels)
        settings = f"dim {dimension}, lr {rate}, {epochs} epochs"
        model.save_model(f"{settings}.bin")  # in memory, the model would count towards the peak of the next
        del model
        yield Trial(settings, seconds, accuracy, partial(restore, f"{settings}.bin"))


def train_spacy(config: dict[str, Any], name: str, epochs: int, training: Reviews, tests: Reviews) -> Iterator[Trial]:
    """Train a textcat pipeline, in batches that grow from 4 to 32; yield a trial for each epoch."""
    import spacy
    from spacy.training import Example

    util: Any = spacy.util  # partly without types
    util.fix_random_seed(SEED)
    started = time.process_time()
    language = spacy.blank("en")
    component: Any = language.add_pipe("textcat", config=config)
    examples = [
        Example.from_dict(language.make_doc(text), {"cats": {"negative": 1.0 - label, "positive": float(label)}})
        for text, label in zip(*training, strict=True)
    ]
    optimizer = language.initialize(lambda: examples)
    seconds = time.process_time() - started
    validation = [language.make_doc(text) for text in tests.texts]

    def predict(texts: Sequence[Any]) -> list[int]:
        docs = language.pipe(texts, batch_size=64)
        return [int(doc.cats["positive"] > doc.cats["negative"]) for doc in docs]

    def restore(weights: bytes) -> Predict:
        component.model.from_bytes(weights)
        return predict

    sizes = iter(util.compounding(4.0, 32.0, 1.001))
    shuffle = random.Random(SEED).shuffle  # noqa: S311
    for epoch in range(1, epochs + 1):
        started = time.process_time()
        shuffle(examples)
        for batch in util.minibatch(examples, sizes):
            language.update(batch, sgd=optimizer, drop=0.1)
        seconds += time.process_time() - started
        accuracy = measure_accuracy(predict(validation), tests.labels)
        weights: bytes = component.model.to_bytes()
        settings = f"{name}{epoch} epoch{'s' * (epoch > 1)}"
        yield Trial(settings, seconds, accuracy, partial(restore, weights))


def try_spacy_words(training: Reviews, validation: Reviews) -> Iterator[Trial]:
    """Train spaCy's bags of n-grams, by the greatest n and the number of epochs."""
    for size in (1, 2, 3):
        model = {
            "@architectures": "spacy.TextCatBOW.v3",
            "exclusive_classes": True,
            "ngram_size": size,
            "no_output_layer": False,
            "length": 262_144,
        }
        yield from train_spacy({"model": model}, f"n-grams up to {size}, ", 5, training, validation)


def try_spacy(training: Reviews, validation: Reviews) -> Iterator[Trial]:
    """Train spaCy's default text classifier, by the number of epochs."""
    yield from train_spacy({}, "", 3, training, validation)


VOCABULARY_SIZE = 20_000  # 0 is padding, 1 any other word
MAX_TOKENS = 200


def find_words(text: str) -> list[str]:
    """Return the lower-cased words of a text, without punctuation but with the apostrophes in words."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def try_keras(training: Reviews, validation: Reviews) -> Iterator[Trial]:
    """Train the network of https://keras.io/examples/nlp/bidirectional_lstm_imdb/, by the number of epochs."""
    import numpy as np

    keras = import_module("keras")
    keras.utils.set_random_seed(SEED)
    started = time.process_time()
    words = [find_words(text) for text in training.texts]
    frequent = Counter(word for review in words for word in review).most_common(VOCABULARY_SIZE - 2)
    numbers = {word: number for number, (word, _) in enumerate(frequent, start=2)}

    def encode(reviews: Sequence[list[str]]) -> Any:
        """Return the numbers of the last words, (N, MAX_TOKENS), padded on the left."""
        tokens = np.zeros((len(reviews), MAX_TOKENS), np.int32)
        for row, review in zip(tokens, reviews, strict=True):
            last = review[-MAX_TOKENS:]
            row[MAX_TOKENS - len(last) :] = [numbers.get(word, 1) for word in last]
        return tokens

    network = keras.Sequential(
        [
            keras.layers.Embedding(VOCABULARY_SIZE, 128),
            keras.layers.Bidirectional(keras.layers.LSTM(64, return_sequences=True)),
            keras.layers.Bidirectional(keras.layers.LSTM(64)),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    network.compile(optimizer="adam", loss="binary_crossentropy")
    tokens, labels = encode(words), np.array(training.labels)
    seconds = time.process_time() - started

    def predict(texts: Sequence[str]) -> list[int]:
        probabilities = network.predict(encode([find_words(text) for text in texts]), batch_size=64, verbose=0)
        return [int(probability > 0.5) for probability in probabilities[:, 0]]

    def restore(weights: list[Any]) -> Predict:
        network.set_weights(weights)
        return predict

    for epoch in range(1, 5):
        started = time.process_time()
        network.fit(tokens, labels, batch_size=32, epochs=1, verbose=0)
        seconds += time.process_time() - started
        accuracy = measure_accuracy(predict(validation.texts), validation.labels)
        settings = f"{epoch} epoch{'s' * (epoch > 1)}"
        weights = network.get_weights()
        yield Trial(settings, seconds, accuracy, partial(restore, weights))


OPPONENTS: dict[str, Opponent] = {
    "TF-IDF": try_tfidf,
    "fastText": try_fasttext,
    "spaCy-bow": try_spacy_words,
    "spaCy": try_spacy,
    "Keras": try_keras,
}


def read_reviews(split: str) -> Reviews:
    """Return the reviews of one split; the current folder has the file that `write_reviews` wrote."""
    import pyarrow.parquet as pq

    columns = pq.read_table(REVIEWS, columns=["text", "label"], filters=[("split", "==", split)], use_threads=False)
    return Reviews(columns["text"].to_pylist(), columns["label"].to_pylist())


def run(name: str, minutes: float) -> list[str]:
    """Try the settings of an opponent in this process; return the cells of its row of the table."""
    training, validation = read_reviews("train"), read_reviews("validation")
    started = time.process_time()
    best: Trial | None = None
    tried, limit = 0, ""
    for trial in OPPONENTS[name](training, validation):
        tried += 1
        search_seconds = time.process_time() - started
        line = f"{name}: {trial.settings}: validation {trial.accuracy:.2%}, {trial.seconds:,.0f} s"
        print(line, f"of {search_seconds:,.0f} s", file=sys.stderr, flush=True)
        best = trial if best is None or trial.accuracy > best.accuracy else best
        if search_seconds > 60 * minutes:
            limit = f"; limit of {minutes:g} minutes reached"
            break
    assert best is not None
    predict = best.restore()
    test = read_reviews("test")
    started = time.process_time()
    found = predict(test.texts)
    rate = len(found) / (time.process_time() - started)
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # ru_maxrss is in KiB on Linux
    return [
        f"{best.settings} (best of {tried}{limit})",
        f"{best.accuracy:.2%}",
        f"{measure_accuracy(found, test.labels):.2%}",
        *(f"{value:,.0f}" for value in (best.seconds, search_seconds, rate, memory_mb)),
    ]


def write_reviews(path: Path, rows_per_split: int | None) -> None:
    """Write the labelled reviews of the prepared splits, or some of each, to a Parquet file of split, label, text.

    Raises InputError for a corpus whose labels are not two.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    import stages  # noqa: F401, puts the library on the path
    from sentiment.corpora.reviews import read_labels
    from sentiment.dataset.encoded import SPLIT_DTYPES
    from sentiment.errors import InputError
    from sentiment.storage.tensors import load_tensors
    from stages.paths import CORPUS, SPLITS

    labels = read_labels(CORPUS)
    if len(labels) != 2:
        raise InputError(f"{CORPUS}: these opponents need two labels; got {', '.join(labels)}")
    reviews = pq.read_table(CORPUS, columns=["label", "text"])
    tables = []
    for split in ("train", "validation", "test"):
        rows = load_tensors(SPLITS, SPLIT_DTYPES)[split].numpy()
        # shuffled: the corpus is sorted by label, and fastText reads its file in order
        chosen = reviews.take(np.random.default_rng(SEED).permutation(rows)[:rows_per_split])
        text = pc.replace_substring_regex(chosen["text"], BREAK, " ")
        tables.append(pa.table({"split": pa.repeat(split, len(chosen)), "label": chosen["label"], "text": text}))
    pq.write_table(pa.concat_tables(tables), path)


def create_environment(folder: Path) -> Path:
    """Create a virtual environment with the opponents' packages; return its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(REQUIREMENTS), *PACKAGES]
    subprocess.run(command, check=True)  # noqa: S603
    return python


def main() -> None:
    """Print the table, a row as each opponent ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=OPPONENTS, default=list(OPPONENTS), metavar="NAME")
    parser.add_argument("--python", type=Path, help="the interpreter of an environment with the packages")
    parser.add_argument("--minutes", type=float, default=20, help="of the processor, after which no setting is begun")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, help="read so many of each split, to try the benchmark")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run(arguments.run, arguments.minutes)))
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        # in another process: Linux counts the memory of this one towards that of the processes it starts
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(write_reviews, folder / REVIEWS, arguments.rows).result()
        python = arguments.python.absolute() if arguments.python else create_environment(folder / "environment")
        columns = ("opponent", "chosen", "validation", "test", "train, s", "all, s", "tests a second", "MB")
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
        environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "KERAS_BACKEND": "torch"}
        # -I, or this file's folder would come first on the import path, with modules of common names
        command = [str(python), "-I", __file__, "--minutes", str(arguments.minutes), "--run"]
        for opponent in arguments.only:
            output = subprocess.check_output([*command, opponent], cwd=folder, env=environment, text=True)  # noqa: S603
            print(f"| {' | '.join([opponent, *json.loads(output.splitlines()[-1])])} |", flush=True)


if __name__ == "__main__":
    main()
