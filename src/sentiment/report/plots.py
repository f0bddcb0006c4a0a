"""Plots of a run as SVG, drawn with Matplotlib once for a light page and once for a dark page."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import rcsetup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Columns = Mapping[str, Sequence[float]]  # of equal length

INCHES = (4.8, 3.2)
FEW, SMALL = 5, 6  # labels that are drawn in full size, and the size of the others, in points


class Theme(NamedTuple):
    """Colours of a page; the two line colours differ in lightness and hue, for colour-blind readers."""

    ink: str
    grid: str
    first: str
    second: str


LIGHT = Theme(ink="#1c1c1c", grid="#dcdcdc", first="#0b62a8", second="#d1660a")
DARK = Theme(ink="#e6e6e6", grid="#3f4246", first="#6fb7f2", second="#f5a65b")


class Plot(NamedTuple):
    """A plot in both themes, with its title and caption."""

    title: str
    caption: str
    light: str  # SVG
    dark: str  # SVG


def perplexity(curve: Columns) -> Plot:
    """Plot training and held-out perplexity by epoch, from the columns epochs, train and held_out."""

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot(curve["epochs"], curve["train"], marker=".", label="training")
        axes.plot(curve["epochs"], curve["held_out"], marker=".", label="held out")
        axes.set(xlabel="epoch", ylabel="perplexity", yscale="log")
        axes.legend()

    return _plot(
        "Language models",
        "Perplexity of the next token, over both directions; training perplexity is measured with dropout.",
        draw,
    )


def loss_by_epoch(train: Columns, validation: Columns, best_epoch: int) -> Plot:
    """Plot training and validation loss by epoch, each from the columns step and loss."""

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot(train["step"], train["loss"], marker=".", label="training")
        axes.plot(validation["step"], validation["loss"], marker=".", label="validation")
        _mark_epoch(axes, theme, best_epoch)
        axes.set(ylabel="cross entropy, nats", ylim=(0, None))
        axes.legend()

    return _plot("Loss by epoch", "Training loss is measured with dropout, while the weights change.", draw)


def accuracy_by_epoch(validation: Columns, best_epoch: int) -> Plot:
    """Plot validation accuracy by epoch, from the columns step and accuracy."""

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot(validation["step"], validation["accuracy"], marker=".", color=theme.second)
        _mark_epoch(axes, theme, best_epoch)
        axes.set(ylabel="share correct")

    return _plot(
        "Validation accuracy by epoch", f"Epoch {best_epoch} had the lowest validation loss and was kept.", draw
    )


def confusion(counts: Mapping[tuple[str, str], int], labels: Sequence[str]) -> Plot:
    """Draw the confusion matrix: the number of reviews for each pair of actual and predicted label."""
    table = [[counts.get((actual, predicted), 0) for predicted in labels] for actual in labels]

    def draw(axes: Axes, theme: Theme) -> None:
        colours = LinearSegmentedColormap.from_list("", [to_rgba(theme.first, 0.0), to_rgba(theme.first, 0.5)])
        axes.imshow(table, vmin=0, cmap=colours, aspect="auto")
        axes.grid(visible=False)
        ticks = range(len(labels))
        axes.set(
            xlabel="predicted", ylabel="actual", xticks=ticks, yticks=ticks, xticklabels=labels, yticklabels=labels
        )
        if len(labels) > FEW:
            axes.tick_params(labelsize=SMALL)
            axes.tick_params("x", rotation=90)
        for row, numbers in enumerate(table):
            for column, number in enumerate(numbers):
                if number or len(labels) <= FEW:
                    size = None if len(labels) <= FEW else SMALL
                    axes.text(column, row, f"{number:,}", ha="center", va="center", size=size)

    return _plot("Confusion matrix", "Test reviews by actual and predicted label.", draw)


def roc(curve: Columns, area: float, labels: Sequence[str]) -> Plot:
    """Plot the ROC curve: the columns false_positive_rate and true_positive_rate, and those of each of many labels."""

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot([0, 1], [0, 1], linestyle=":", color=theme.ink)
        _draw_curves(axes, theme, curve)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")

    return _plot("ROC", f"Area under the curve {area:.4f}; dotted: chance.{_explain_thin(labels)}", draw)


def precision_recall(curve: Columns, average: float, labels: Sequence[str]) -> Plot:
    """Plot the precision-recall curve: the columns recall and precision, and those of each of many labels."""

    def draw(axes: Axes, theme: Theme) -> None:
        _draw_curves(axes, theme, curve)
        axes.set(xlabel="recall", ylabel="precision", ylim=(None, 1.01))

    of_whom = f"Of the {labels[1]} label; average" if len(labels) == 2 else "Average"
    return _plot("Precision and recall", f"{of_whom} precision {average:.4f}.{_explain_thin(labels)}", draw)


def calibration(curve: Columns, error: float, labels: Sequence[str]) -> Plot:
    """Plot the calibration curve, from the columns predicted and positive."""

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot([0, 1], [0, 1], linestyle=":", color=theme.ink)
        axes.plot(curve["predicted"], curve["positive"], marker="o", color=theme.first)
        if len(labels) == 2:
            axes.set(xlabel=f"predicted probability of {labels[1]}", ylabel=f"share that is {labels[1]}")
        else:
            axes.set(xlabel="probability of the predicted label", ylabel="share that has it")

    return _plot("Calibration", f"Expected calibration error {error:.4f}; dotted: perfect.", draw)


def accuracy_by_length(curve: Columns) -> Plot:
    """Plot accuracy by review length, from the columns tokens and accuracy."""

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot(curve["tokens"], curve["accuracy"], marker="o")
        axes.set(xlabel="mean tokens per review", ylabel="share correct")

    return _plot("Accuracy by length", "Test reviews from short to long, in parts of equal size.", draw)


def behaviour(capabilities: Sequence[str], model: Sequence[float], baseline: Sequence[float], chance: float) -> Plot:
    """Plot the share of each capability's cases that the model and the baseline classify correctly."""

    def draw(axes: Axes, theme: Theme) -> None:
        places = range(len(capabilities))
        axes.barh([place - 0.2 for place in places], model, height=0.35, label="model")
        axes.barh([place + 0.2 for place in places], baseline, height=0.35, label="linear baseline")
        axes.axvline(chance, linestyle=":", color=theme.ink)
        axes.set(xlabel="share correct", xlim=(0, 1), yticks=places, yticklabels=capabilities)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.figure.legend(loc="outside upper center", ncols=2)

    return _plot(
        "Behaviour",
        "Share of short texts, each testing one capability, that are classified correctly; dotted: chance.",
        draw,
    )


def gradient_by_distance(curve: Columns) -> Plot:
    """Plot the norm of the gradient by distance, from the columns distance and log10_norm."""

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot(curve["distance"], [10**exponent for exponent in curve["log10_norm"]])
        axes.set(xlabel="tokens from the end of the review", ylabel="norm of d loss / d h", yscale="log")

    return _plot(
        "Gradient by time step",
        "Gradient at each step of the forward direction; mean over test reviews of similar length.",
        draw,
    )


def _draw_curves(axes: Axes, theme: Theme, curve: Columns) -> None:
    """Draw the second column over the first, and further columns as thin lines below it."""
    (_, x), (_, y), *of_labels = curve.items()
    for _, values in of_labels:
        axes.plot(x, values, color=theme.second, linewidth=0.5)
    axes.plot(x, y, color=theme.first)


def _explain_thin(labels: Sequence[str]) -> str:
    return "" if len(labels) == 2 else " Thin: each label against the rest; thick: their mean."


def _mark_epoch(axes: Axes, theme: Theme, epoch: int) -> None:
    axes.axvline(epoch, linestyle=":", color=theme.ink, label="kept")
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _plot(title: str, caption: str, draw: Callable[[Axes, Theme], None]) -> Plot:
    return Plot(title, caption, _svg(draw, LIGHT), _svg(draw, DARK))


def _svg(draw: Callable[[Axes, Theme], None], theme: Theme) -> str:
    settings: Any = {
        "axes.edgecolor": theme.grid,
        "axes.grid": True,
        "axes.labelcolor": theme.ink,
        "axes.prop_cycle": rcsetup.cycler(color=[theme.first, theme.second]),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 11,
        "grid.color": theme.grid,
        "legend.frameon": False,
        "svg.fonttype": "path",  # outlines, so that text looks the same in every browser
        "svg.hashsalt": "sentiment",  # otherwise the ids of elements are random
        "text.color": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
    }
    with mpl.rc_context(settings):
        canvas = Figure(INCHES, layout="constrained")
        draw(canvas.subplots(), theme)
        text = io.StringIO()
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()
