"""Compare the experiments that DVC ran on this commit, in a table and a plot.

    python -m experiments.compare ladder

writes `experiments/ladder.md` and `experiments/ladder.svg`; equal experiments give equal bytes.
"""

import argparse
import csv
import json
import re
from collections.abc import Callable
from statistics import mean, stdev
from typing import NamedTuple

import dvc.api
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.rows import FOLDER, Comparison, read_comparison, stem
from sentiment.errors import InputError
from sentiment.storage.outputs import atomic_output
from stages.run import one_line_errors

COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#cc79a7", "#d55e00")  # Okabe and Ito's
DASHES = ("-", "--", ":", "-.")  # the next style when all colours are used


class Accuracies(NamedTuple):
    """Accuracies of an experiment on the test reviews."""

    network: float
    model: float  # of the network with the linear baseline's logits added, if the experiment adds them
    baseline: float  # of the linear baseline alone


class Run(NamedTuple):
    """The results of one experiment."""

    seed: int
    validation_accuracy: float  # of the network
    test: Accuracies
    best_epoch: int
    validation_losses: list[float]  # by epoch


def compare(name: str) -> None:
    """Write a table of the results, and a plot of the validation loss by epoch."""
    comparison = read_comparison(name)
    # by revision, because experiments of other commits may have the same names
    finished = {
        shown["Experiment"]: shown["rev"] for shown in dvc.api.exp_show() if shown["State"] in (None, "Success")
    }
    runs = {row.name: read_runs(stem(name, row), finished) for row in comparison.rows}
    if not any(runs.values()):
        raise InputError(
            f"no experiment of {name} has run on this commit; queue them with python -m experiments.enqueue {name}"
        )
    with atomic_output(FOLDER / f"{name}.md") as path:
        path.write_text(table(comparison, runs), encoding="utf-8")
    with atomic_output(FOLDER / f"{name}.svg") as path, rc_context({"svg.hashsalt": name}):
        plot(runs).savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def read_runs(name: str, revisions: dict[str | None, str]) -> list[Run]:
    """Read the results of a row's experiments, sorted by seed."""
    runs = []
    for experiment, revision in revisions.items():
        if match := re.fullmatch(rf"{name}-(\d+)", experiment or ""):  # the workspace and the commit have no name
            runs.append(read_run(revision, int(match[1])))
    return sorted(runs)


def read_run(revision: str, seed: int) -> Run:
    """Read the results of an experiment, from git and from DVC's cache."""
    files = dvc.api.DVCFileSystem(rev=revision)
    training = json.loads(files.read_text("metrics/train.json"))
    test = json.loads(files.read_text("metrics/test.json"))
    curve = csv.DictReader(files.read_text("curves/plots/metrics/validation/loss.tsv").splitlines(), delimiter="\t")
    losses = [float(epoch["loss"]) for epoch in curve]
    return Run(
        seed,
        training["validation_accuracy"],
        Accuracies(test["network_accuracy"], test["accuracy"], test["baseline_accuracy"]),
        training["best_epoch"],
        losses,
    )


def table(comparison: Comparison, runs: dict[str, list[Run]]) -> str:
    """Return the rows as a Markdown table, with means and standard deviations over the seeds.

    A table for choosing has no test results.
    """
    figures: dict[str, Callable[[list[Run]], str]] = {
        "validation accuracy": lambda done: spread([run.validation_accuracy for run in done])
    }
    if comparison.is_for_choosing:
        figures["least validation loss"] = lambda done: spread([min(run.validation_losses) for run in done], ".4f")
    else:
        figures["test accuracy"] = lambda done: spread([run.test.network for run in done])
        figures["with the baseline's logits"] = lambda done: spread([run.test.model for run in done])
        figures["baseline alone"] = lambda done: spread([run.test.baseline for run in done])
    figures["epochs kept"] = lambda done: ", ".join(str(run.best_epoch) for run in done)
    figures["seeds"] = lambda done: ", ".join(str(run.seed) for run in done)
    lines = [["", "what it adds", *figures], ["---"] * (len(figures) + 2)]
    for row in comparison.rows:
        lines.append([row.name, row.adds, *(figure(runs[row.name]) for figure in figures.values())])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def spread(values: list[float], form: str = ".2%") -> str:
    """Format the mean and the standard deviation, by default as percentages."""
    if not values:
        return "not run"
    figures = [mean(values)] if len(values) == 1 else [mean(values), stdev(values)]
    return " ± ".join(format(value, form).removesuffix("%") for value in figures) + " %" * form.endswith("%")


def plot(runs: dict[str, list[Run]]) -> Figure:
    """Plot the validation loss by epoch: a line through the means over the seeds, with their range shaded."""
    figure = Figure(figsize=(8, 4.5), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for number, (name, done) in enumerate(runs.items()):
        losses = list(zip(*(run.validation_losses for run in done), strict=False))  # up to the shortest run
        epochs = range(1, len(losses) + 1)
        turn, place = divmod(number, len(COLOURS))
        colour, dashes = COLOURS[place], DASHES[turn % len(DASHES)]
        axes.plot(epochs, [mean(seeds) for seeds in losses], color=colour, linestyle=dashes, label=name)
        axes.fill_between(epochs, [min(s) for s in losses], [max(s) for s in losses], color=colour, alpha=0.15, lw=0)
    axes.set(xlabel="epoch", ylabel="validation loss, nats", xmargin=0, ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.compare", description=compare.__doc__)
    parser.add_argument("comparison", help="the name of a file in experiments without .yaml, for example ladder")
    with one_line_errors():
        compare(parser.parse_args().comparison)
