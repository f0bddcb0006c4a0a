"""Report what a change does to parameters, metrics and curves, as a comment for its pull request.

    python -m experiments.pull_request --base main --output comparison

runs `dvc repro`, compares the result with another revision, and writes `comparison/comment.md` and the pictures that it
shows. The other revision's metrics are in git. Its curves, test cases and predictions are in DVC's cache, or are
fetched from its remote if there is one; without them the comment says what is missing.
"""

import argparse
import csv
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc_data.index import DataIndexDirError
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sentiment.errors import InputError
from sentiment.evaluation.metrics import mcnemar
from sentiment.storage.outputs import atomic_output
from stages.params import parse_yaml
from stages.paths import CORPUS, CURVES, EVALUATION, METRICS
from stages.run import one_line_errors

MARK = "<!-- comparison by experiments.pull_request -->"  # by which the workflow finds its comment to update it
NOISE = 0.05  # a p-value above which a difference may be chance
# Metrics of which more, or less, is better, by the end of their names. Others have no direction.
BETTER_MORE = ("accuracy", "f1", "f1_weighted", "precision", "recall", "auc", "behaviour", "in_vocabulary")
BETTER_LESS = ("loss", "error", "perplexity")
ABSENT = "-"  # in a table, in place of what one of the two lacks
SERIES = {"validation loss, nats": "validation/loss", "validation accuracy": "validation/accuracy"}

Flat = dict[str, Any]  # values by dotted key
Columns = dict[str, list[str]]  # of a CSV file, by name


@dataclass(frozen=True)
class Result:
    """Results of a revision of the repository, or of the work tree; None where neither git nor DVC has them."""

    name: str
    corpus: str | None  # checksum of the texts
    params: Flat
    metrics: Flat
    curves: dict[str, list[float] | None]  # by name, a number for each epoch
    behaviour: Columns | None
    predictions: Columns | None


def read_result(name: str, revision: str | None) -> Result:
    """Read the results of a revision, or of the work tree if it is None."""
    files = DVCFileSystem(rev=revision)

    def text(path: Path) -> str | None:
        try:
            content: str = files.read_text(path.as_posix())
        except (OSError, DvcException, DataIndexDirError):
            return None
        return content

    params = text(Path("params.yaml"))
    if params is None:
        raise InputError(f"{name}: has no params.yaml; name a revision of this project")
    lock = text(Path("dvc.lock"))
    read = {stage: text(paths[0]) for stage, paths in METRICS.items()}
    curves = {label: text(CURVES / "plots" / "metrics" / f"{path}.tsv") for label, path in SERIES.items()}
    return Result(
        name=name,
        corpus=recorded_md5(parse_yaml(lock)["stages"] if lock else {}, "download_corpus", CORPUS.as_posix()),
        params=flatten(parse_yaml(params)),
        metrics=flatten({stage: json.loads(content) for stage, content in read.items() if content}),
        curves={label: last_column(columns(curve, "\t")) for label, curve in curves.items()},
        behaviour=columns(text(EVALUATION / "behaviour.csv"), ","),
        predictions=columns(text(EVALUATION / "predictions.csv"), ","),
    )


def recorded_md5(stages: Mapping[str, Any], stage: str, path: str) -> str | None:
    """Return the checksum of a stage's output, given the stages of dvc.lock; None if they record none."""
    outputs = stages.get(stage, {}).get("outs", [])
    return next((output["md5"] for output in outputs if output["path"] == path), None)


def last_column(table: Columns | None) -> list[float] | None:
    """Return the numbers in the last column, which is that of the metric in DVCLive's files."""
    return None if table is None else [float(value) for value in [*table.values()][-1]]


def flatten(section: Mapping[str, Any], prefix: str = "") -> Flat:
    """Return the values of nested mappings by dotted keys."""
    flat: Flat = {}
    for key, value in section.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def columns(content: str | None, delimiter: str) -> Columns | None:
    """Return the columns of a CSV or TSV file; None of None."""
    if content is None:
        return None
    header, *rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def reproduce() -> list[str]:
    """Run the pipeline, and return lines on which stages ran and how long it took; its output goes on to the terminal.

    Raises InputError if it fails.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as pipeline:
        assert pipeline.stdout is not None
        output = []
        for line in pipeline.stdout:
            print(line, end="", flush=True)
            output.append(line)
    if pipeline.returncode:
        raise InputError("dvc repro failed; its last lines say why")
    ran, restored = (
        re.findall(pattern, "".join(output))
        for pattern in (r"Running stage '(\w+)'", r"Stage '(\w+)' is cached - skipping run")
    )
    return [
        f"- Stages that ran: {', '.join(ran) or 'none'}, in {(time.monotonic() - started) / 60:.1f} minutes.",
        f"- Restored from the cache: {', '.join(restored) or 'none'}.",
    ]


def comment(base: Result, here: Result, stages: Sequence[str], images: str) -> str:
    """Return the comment in Markdown; `images` is the address of the folder with the pictures, ending in a slash."""
    parts = [MARK, f"## Compared with `{base.name}`", verdict(base, here), "\n".join(stages)]
    parts += ["### Parameters", parameter_table(base, here), "### Metrics", metric_table(base, here)]
    parts += ["### Curves"]
    lacking = [result.name for result in (base, here) if None in result.curves.values()]
    parts += [f"The curves of {' and '.join(lacking)} are neither in the cache nor on the remote."] if lacking else []
    parts += [f"![Validation loss and accuracy by epoch]({images}curves.png)"] if len(lacking) < 2 else []
    parts += ["### Written test cases", behaviour_table(base, here)]
    return "\n\n".join(parts) + "\n"


def verdict(base: Result, here: Result) -> str:
    """Return a sentence on the test accuracies, which says whether the difference may be chance."""
    before, after, low, high = (
        result.metrics.get(f"test.accuracy{end}")
        for result, end in ((base, ""), (here, ""), (here, "_low"), (here, "_high"))
    )
    if before is None or after is None or low is None or high is None:
        return "There are no test accuracies to compare."
    text = f"Test accuracy **{after:.2%}** (95 % interval {low:.2%} to {high:.2%}), `{base.name}` {before:.2%}"
    if base.corpus and here.corpus and base.corpus != here.corpus:
        return f"{text}. The texts differ, so the two accuracies cannot be compared."
    if (right := common_predictions(base, here)) is None:
        is_inside = low <= before <= high
        return f"{text}, which is {'inside' if is_inside else 'outside'} that interval."
    was_right, is_right = right
    gained, lost, p = (is_right & ~was_right).sum(), (was_right & ~is_right).sum(), mcnemar(is_right, was_right)
    judged = "may be chance" if p > NOISE else "is more than chance"
    return f"{text}. {gained:,} texts gained, {lost:,} lost: the difference {judged} (McNemar's p {p:.2g})."


def common_predictions(base: Result, here: Result) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None:
    """Return which of N test texts each got right, (N,) both; None unless both have predictions of the same texts."""
    if base.predictions is None or here.predictions is None:
        return None
    before, after = (
        {
            (name, actual): actual == predicted
            for name, actual, predicted in zip(*(found[key] for key in ("id", "actual", "predicted")), strict=True)
        }
        for found in (base.predictions, here.predictions)
    )
    if before.keys() != after.keys():
        return None
    return np.array([*before.values()]), np.array([after[text] for text in before])


def parameter_table(base: Result, here: Result) -> str:
    """Return a table of the parameters that differ."""
    rows = []
    for key in {**base.params, **here.params}:
        before, after = (result.params.get(key, ABSENT) for result in (base, here))
        if before != after:
            rows.append([f"`{key}`", spell(before), spell(after)])
    return table(["", base.name, "here"], rows) if rows else "No parameter differs."


def metric_table(base: Result, here: Result) -> str:
    """Return a table of the metrics that differ, each with an arrow, and whether more or less of it is better."""
    rows = []
    for key in {**base.metrics, **here.metrics}:
        before, after = (result.metrics.get(key, ABSENT) for result in (base, here))
        if before == after:
            continue
        change = "" if ABSENT in (before, after) else describe_change(key, before, after)
        rows.append([f"`{key}`", spell(before), spell(after), change])
    return table(["", base.name, "here", "change"], rows) if rows else "No metric differs."


def describe_change(key: str, before: float, after: float) -> str:
    """Return the difference between two values of a metric and, if it has a direction, whether that is better."""
    change = f"{'▲' if after > before else '▼'} {after - before:+.4g}"
    if not key.endswith(BETTER_MORE + BETTER_LESS):
        return change
    return f"{change} {'better' if (after > before) == key.endswith(BETTER_MORE) else 'worse'}"


def behaviour_table(base: Result, here: Result) -> str:
    """Return a table of the shares of written test cases passed, by kind."""
    if here.behaviour is None or not here.behaviour["capability"]:
        return "There are none."
    before = dict(zip(base.behaviour["capability"], base.behaviour["model"], strict=True)) if base.behaviour else {}
    rows = (
        [kind, cases, f"{float(before[kind]):.0%}" if kind in before else ABSENT, f"{float(share):.0%}"]
        for kind, share, cases in zip(*(here.behaviour[name] for name in ("capability", "model", "cases")), strict=True)
    )
    return table(["kind", "cases", base.name, "here"], rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*header], ["---"] * len(header), *rows))


def spell(value: object) -> str:
    """Return a value other than ABSENT as JSON spells it, numbers with at most six digits, without what ends a cell."""
    if value == ABSENT:
        return ABSENT
    text = f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
    return text.replace("|", "\\|")


def plot(base: Result, here: Result) -> Figure:
    """Draw the curves of both, a panel for each series."""
    figure = Figure(figsize=(9, 3.4), layout="constrained", facecolor="white")
    for axes, label in zip(figure.subplots(1, len(SERIES)), SERIES, strict=True):
        for result, style in ((base, {"color": "#999999", "linestyle": "--"}), (here, {"color": "#0072b2"})):
            if curve := result.curves[label]:
                axes.plot(range(1, len(curve) + 1), curve, label=result.name, marker=".", **style)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    return figure


def main() -> None:
    """Run the pipeline and write the comment."""
    parser = argparse.ArgumentParser(prog="python -m experiments.pull_request", allow_abbrev=False)
    parser.add_argument("--base", default="main", help="revision to compare with (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("comparison"), help="folder to write (%(default)s)")
    parser.add_argument("--images", default="", metavar="URL", help="address at which the pictures will be published")
    options = parser.parse_args()
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{options.base}^{{commit}}"], capture_output=True
    )
    if found.returncode:
        raise InputError(f"{options.base}: is no revision that git knows; fetch it, or name another with --base")
    stages = reproduce()
    base, here = read_result(options.base, options.base), read_result("here", None)
    images = f"{options.images.rstrip('/')}/" if options.images else ""
    with atomic_output(options.output / "curves.png") as picture:  # other files in the folder stay
        plot(base, here).savefig(picture, format="png", dpi=110, metadata={"Software": None})
    with atomic_output(options.output / "comment.md") as text:
        text.write_text(comment(base, here, stages, images), encoding="utf-8")
    print(f"{options.output / 'comment.md'}: the comparison with {options.base}")


if __name__ == "__main__":
    with one_line_errors():
        main()
