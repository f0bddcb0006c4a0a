"""Compare new texts with those that the model was trained on; not a pipeline stage, but a command for its users.

python -m stages.check_data reviews.csv
python -m stages.check_data parts/ --text-column body --label-column verdict --labels bad,good --output check

A FILE is one that training reads: .csv, .tsv, .json, .jsonl, .parquet or .txt, packed or not, or a folder of such
files. The reference is the validation split of the pipeline's last run, whose texts the model was not trained on, and
the train split for the words, word pairs and texts that are known. The command prints a table: for each measure, the
value of the file, that of the reference, what chance allows, what is too small to matter, and whether the two are
alike; `sentiment.drift.comparison` says how it is decided. With --output, a folder is written: the table as check.md
and check.json, and histograms as check.svg.

The exit status is 0 if all measures are alike, 3 if one is not, and 1 after a mistake.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment.errors import InputError
from stages.paths import CORPUS, ENCODED, PACKAGE, SPLITS, VOCABULARY
from stages.predict import add_reading_options, check_reading_options, dialect_of
from stages.run import one_line_errors

if TYPE_CHECKING:
    from sentiment.drift.comparison import Row
    from sentiment.drift.measures import Ints, Measures, Training
    from sentiment.scoring.scorer import Scorer

SEED = 1
REFERENCE_TEXTS = 2_000  # at most, since the model scores them
TRAINING_TEXTS = 50_000  # at most, whose words and pairs of words are counted
UNLIKE = 3  # the exit status


def main(arguments: list[str]) -> int:
    """Print the table, write the folder, and return the exit status."""
    options = parse(arguments)
    from sentiment.drift.comparison import compare, format_table
    from sentiment.runtime.device import tune_memory
    from sentiment.scoring.scorer import Scorer
    from sentiment.scoring.tables import find_files

    paths = [path for place in options.files for path in find_files(place)]
    tune_memory()
    scorer = Scorer(options.model)
    scorer.load()
    spellings = spell_labels(options, scorer.labels)
    training, reference = read_reference(scorer, options.reference)
    file, unscored = read_files(paths, options, spellings, scorer, training)
    labels = scorer.labels if options.label_column is not None else None
    rows = compare(file, unscored, reference, training, labels, SEED)
    table = format_table(rows, (len(file.tokens) + unscored, len(reference.tokens)))
    print(table)
    unlike = [row.measure for row in rows if row.is_alike is False]
    print(f"unlike the {options.reference} split in: {'; '.join(unlike)}" if unlike else "alike in all measures")
    if options.output is not None:
        write_folder(options.output, table, rows, file, reference)
    return UNLIKE if unlike else 0


def parse(arguments: list[str]) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(
        prog="python -m stages.check_data",
        description="Compare texts with those that the model was trained on. "
        "The exit status is 0 if they are alike, 3 if not, and 1 after a mistake.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="a file or folder with texts")
    add("--label-column", metavar="NAME", help="the column of labels (default: labels are not compared)")
    add("--labels", metavar="A,B", help="how the file spells the model's labels, in order (default: as the model does)")
    add("--output", type=Path, metavar="FOLDER", help="the folder to write (default: the table is only printed)")
    add("--model", type=Path, default=PACKAGE, metavar="FOLDER", help="the model's folder (default: %(default)s)")
    add(
        "--reference",
        choices=["validation", "test"],
        default="validation",
        help="the split to compare with; test for a model of make best, which knows validation (default: %(default)s)",
    )
    add_reading_options(parser)
    options = parser.parse_args(arguments)
    check_reading_options(options)
    if options.labels is not None and options.label_column is None:
        raise InputError("--labels is for --label-column")
    return options


def spell_labels(options: Namespace, labels: tuple[str, ...]) -> dict[str, int]:
    """Return the number of each label by its spelling in the file; `labels` are the model's, K."""
    spellings = labels if options.labels is None else tuple(map(str.strip, options.labels.split(",")))
    if not len(set(spellings)) == len(spellings) == len(labels):
        raise InputError(f"--labels must be {len(labels)} spellings, of {', '.join(labels)}; got {options.labels}")
    return {spelling: number for number, spelling in enumerate(spellings)}


def read_reference(scorer: "Scorer", split: str) -> "tuple[Training, Measures]":
    """Collect the facts of the training texts, and measure texts of a split, which the model scores.

    Raises InputError if the pipeline's outputs are of other texts or another vocabulary than the model.
    """
    import numpy as np
    import torch

    from sentiment.corpora.reviews import read_batches
    from sentiment.corpora.splitting import key_of
    from sentiment.dataset.encoded import SPLIT_DTYPES, load_encoded, select_reviews
    from sentiment.dataset.vocabulary import load_vocabulary
    from sentiment.drift.measures import describe_training, measure
    from sentiment.models.checkpoint import VOCABULARY_NAME
    from sentiment.storage.outputs import sha256_of
    from sentiment.storage.tensors import load_tensors

    if sha256_of(VOCABULARY) != sha256_of(scorer.folder / VOCABULARY_NAME):
        raise InputError(
            f"{scorer.folder}: has another vocabulary than {VOCABULARY}; name the model that was trained on it "
            "(--model), or run dvc repro"
        )
    words = load_vocabulary(VOCABULARY)[0].itos
    splits = load_tensors(SPLITS, SPLIT_DTYPES)
    texts = {name: load_encoded(ENCODED[name], len(words), len(scorer.labels)) for name in ("train", split)}
    keys = np.zeros(sum(map(len, splits.values())), dtype=np.int64)
    is_chosen = np.zeros(len(keys), dtype=np.bool_)
    for name, reviews in texts.items():
        if len(reviews) != len(splits[name]):
            raise InputError(f"{ENCODED[name]}: does not fit {SPLITS}; run dvc repro")
        is_chosen[splits[name].numpy()] = True
    found = [key_of(text) for batch in read_batches(CORPUS, ["text"], is_chosen) for text in batch["text"].to_pylist()]
    if len(found) != is_chosen.sum():
        raise InputError(f"{CORPUS}: does not fit {SPLITS}; run dvc repro")
    keys[is_chosen] = found
    rows = {
        name: torch.from_numpy(np.sort(np.random.default_rng(SEED).permutation(len(reviews))[:most]))
        for (name, reviews), most in zip(texts.items(), (TRAINING_TEXTS, REFERENCE_TEXTS), strict=True)
    }
    training = describe_training(select_reviews(texts["train"], rows["train"]), words, keys[splits["train"].numpy()])
    reviews = select_reviews(texts[split], rows[split])
    return training, measure(reviews, keys[splits[split][rows[split]].numpy()], scorer.logits(reviews), training)


def read_files(
    paths: list[Path], options: Namespace, spellings: dict[str, int], scorer: "Scorer", training: "Training"
) -> "tuple[Measures, int]":
    """Measure the texts of all files; return the measures, and the number of rows without a readable text."""
    from dataclasses import replace

    import numpy as np
    from tqdm import tqdm

    from sentiment.corpora.splitting import key_of
    from sentiment.drift.measures import join_measures, measure
    from sentiment.drift.texts import Labels, read_labelled_texts

    labels = None if options.label_column is None else Labels(options.label_column, spellings)
    dialect = dialect_of(options)
    parts: list[Measures] = []
    unscored, problem = 0, ""
    with tqdm(desc="check", unit=" texts", disable=None) as bar:
        for path in paths:
            for batch in read_labelled_texts(path, options.text_column, labels, dialect):
                unscored += batch.rows - len(batch.texts)
                problem = problem or batch.problem
                if len(batch.texts):
                    reviews = scorer.encode(batch.texts)
                    keys: Ints = np.array([key_of(text) for text in batch.texts.to_pylist()], dtype=np.int64)
                    measured = measure(reviews, keys, scorer.logits(reviews), training)
                    parts.append(join_measures([replace(measured, labels=batch.labels)]))
                bar.update(batch.rows)
    first = f"; the first that could not be read: {problem}" if problem else ""
    if not parts:
        raise InputError(f"of {unscored:,} rows none has a text{first}" if unscored else "the input has no texts")
    if first:
        print(f"{unscored:,} rows without a text: missing, blank or unreadable{first}", file=sys.stderr)
    return join_measures(parts), unscored


def write_folder(folder: Path, table: str, rows: "list[Row]", file: "Measures", reference: "Measures") -> None:
    """Write the table as Markdown and JSON, and the histograms; other files in the folder stay."""
    from sentiment.drift.picture import draw_histograms
    from sentiment.storage.outputs import atomic_output, write_json

    for name, content in (("check.md", table), ("check.svg", draw_histograms(file, reference))):
        with atomic_output(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")
    write_json(folder / "check.json", [row._asdict() for row in rows])


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))
