"""Score the texts of files: in this process, or with many processes and machines through Ray Data."""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

import sentiment
from sentiment.errors import InputError
from sentiment.scoring.scorer import Scorer
from sentiment.scoring.tables import Source, read_texts

WORDS = pa.field("words", pa.string())
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to Ray's makers
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else it warns of its own doings
}
RAY_ADDS = r"\nFailed to apply UDF"  # from there on, the message of an error in a process is not ours
BLOCK = 1 << 20  # bytes of the texts that a process scores at once: about two seconds of work


def score_here(scorer: Scorer, batches: Iterable[pa.RecordBatch], top: int = 0) -> Iterator[pa.RecordBatch]:
    """Score batches with the columns of `tables.TEXTS`, one after the other.

    A batch of N rows gives one of N rows with the columns of `scorer.schema`; WORDS, if `top` is more than 0: the `top`
    words that weighed most; and the batch's own columns but its id.
    """
    for batch in batches:
        scores = scorer(batch)
        if top:
            scores = scores.append_column(WORDS, _heaviest_words(scorer, batch, scores, top))
        for name in batch.schema.names:
            if name != "id":
                scores = scores.append_column(name, batch[name])
        yield scores


def score_on_ray(
    scorer: Scorer, sources: list[Source], top: int = 0, workers: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Read and score files on a Ray cluster; yield the batches of `score_here` in the same order, without the texts.

    `workers` processes, each with one thread and a model of its own, score the texts. Whatever a process had in hand
    when it died is scored again by another, and each row is in the result once. The cluster is the one that the
    environment variable RAY_ADDRESS names, whose machines must see the files and the model's folder under the same
    paths; without that variable, it is this machine. By default there are as many workers as the cluster has cores.

    Raises InputError as reading and scoring here do, and where Ray is not installed.
    """
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray.data import ActorPoolStrategy, DataContext
    except ModuleNotFoundError as error:
        raise InputError("Ray is not installed: pip install -r requirements-ray.txt") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # an error is raised, too
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors")  # a file of less than a block
    address = os.environ.get("RAY_ADDRESS", "local")
    ray.init(
        address,
        num_cpus=workers if address == "local" else None,
        include_dashboard=False if address == "local" else None,
        runtime_env={"py_modules": [str(Path(sentiment.__file__).parent)]},
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        context = DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK
        size = workers or int(ray.cluster_resources()["CPU"])
        numbers = [{"number": number} for number in range(len(sources))]
        scores = (
            ray.data.from_items(numbers, override_num_blocks=len(sources))
            .map_batches(partial(_read, sources), batch_format="pyarrow", num_cpus=0)  # reading takes little
            .map_batches(
                _Worker,
                fn_constructor_args=(scorer, top),
                batch_format="pyarrow",
                batch_size=None,
                num_cpus=1,
                compute=ActorPoolStrategy(size=size),
            )
        )
        blocks: Iterator[Any] = iter(scores.iter_batches(batch_format="pyarrow", batch_size=None))
        yield from chain.from_iterable(block.to_batches() for block in blocks)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause).partition(RAY_ADDS)[0]) from error
        raise
    finally:
        ray.shutdown()


def _read(sources: list[Source], numbers: pa.Table) -> Iterator[pa.Table]:
    for number in numbers["number"].to_pylist():
        for batch in read_texts(sources[number]):
            yield pa.Table.from_batches([batch])


class _Worker:
    """Actor of Ray: scores blocks of texts in a process of its own."""

    def __init__(self, scorer: Scorer, top: int) -> None:
        self.score = partial(score_here, scorer, top=top)

    def __call__(self, texts: pa.Table) -> pa.Table:
        return pa.Table.from_batches(self.score(texts.to_batches())).drop_columns("text")


def _heaviest_words(scorer: Scorer, texts: pa.RecordBatch, scores: pa.RecordBatch, top: int) -> pa.Array:
    """Return the `top` words that weighed most in each text, with their weights relative to the largest."""
    scored = scores["label"].is_valid()
    explained = iter(scorer.explain(texts["text"].filter(scored)))
    words: list[str | None] = []
    for is_scored in scored.to_pylist():
        heaviest = sorted(next(explained), key=lambda word: -abs(word.weight))[:top] if is_scored else []
        words.append(", ".join(f"{word.text} {word.weight:+.2f}" for word in heaviest) if is_scored else None)
    return pa.array(words, WORDS.type)
