"""Draw the pictures of the report of a run: the learning curve, the confusion matrix, and the accuracy by length."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pocketrnn_training.measures.evaluation import Evaluation
from pocketrnn_training.training_events import Epoch

__all__ = [
    "DRAWN_CLASSES",
    "NUMBERED_CLASSES",
    "LengthBin",
    "draw_accuracy_by_length",
    "draw_confusion_matrix_of_most_confused_classes",
    "draw_learning_curve",
    "format_range",
    "make_tick_label",
]

# In a larger matrix the numbers would overlap.
NUMBERED_CLASSES: Final = 12
# With more classes, the picture has those that are confused most: the names of all would be too small to be read.
DRAWN_CLASSES: Final = 80
_TICK_CHARACTERS: Final = 30
# With up to this many classes, the names have the usual font size.
_LARGE_TICKS: Final = 25


def draw_learning_curve(history: Sequence[Epoch]) -> Figure:
    """Draw the loss and the accuracy of the training and the validation rows by epoch."""
    figure = _make_figure(9.6)
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = [epoch.epoch for epoch in history]
        for part in ("training", "validation"):
            axes.plot(epochs, [getattr(epoch, f"{part}_{what}") for epoch in history], marker="o", ms=3, label=part)
        axes.set_xlabel("epoch")
        axes.set_title(what)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def draw_confusion_matrix_of_most_confused_classes(result: Evaluation, counts: npt.NDArray[np.int64]) -> Figure:
    """Draw the part of a confusion matrix with the classes that are confused most, or all of it if there are few.

    Args:
        result: the evaluation, which has the names of the classes.
        counts: int64 [classes, classes], how often each true class (row) gets each class (column).
    """
    chosen, of_class = _find_most_confused_classes(counts), counts.sum(axis=1)
    counts = counts[np.ix_(chosen, chosen)]
    # As shares of the true class, so that a large class does not hide the others.
    shares = counts / np.maximum(of_class[chosen, None], 1)
    names = [make_tick_label(i, result.classes[i].label) for i in chosen.tolist()]
    classes = len(names)
    # Room for the names beside the matrix, and for a row of each name.
    side = 1.5 + 0.07 * max(map(len, names)) + max(2.5 + 0.12 * classes, 0.15 * classes)
    figure = _make_figure(side + 1, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 10 if classes <= _LARGE_TICKS else 7
    axes.set_xticks(range(classes), names, parse_math=False, rotation=90, fontsize=size)
    axes.set_yticks(range(classes), names, parse_math=False, fontsize=size)
    if classes <= NUMBERED_CLASSES:
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                axes.text(
                    j, i, f"{count:,}", ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black"
                )
    axes.set_xlabel("class given")
    axes.set_ylabel("true class")
    figure.colorbar(image, label="share of the true class")
    return figure


class LengthBin(NamedTuple):
    """Rows of similar length: the smallest and the largest length, the number of rows, and their accuracy."""

    least: int
    most: int
    rows: int
    accuracy: float


def draw_accuracy_by_length(bins: Sequence[LengthBin], length_unit: str) -> Figure:
    """Draw the accuracy of rows by their length, with a bar for each bin. `length_unit` names the axis: "tokens"."""
    figure = _make_figure()
    axes = figure.subplots()
    axes.bar(range(len(bins)), [one.accuracy for one in bins], color="tab:blue")
    axes.set_xticks(range(len(bins)), [format_range(one.least, one.most) for one in bins], rotation=45)
    # The axis starts at 0: otherwise bars show a difference larger than it is.
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel(length_unit)
    axes.set_ylabel("accuracy")
    axes.grid(axis="y", alpha=0.3)
    return figure


def format_range(least: int, most: int) -> str:
    """Format a range of lengths, such as `3 to 7`."""
    return f"{least}" if least == most else f"{least} to {most}"


def make_tick_label(index: int, label: str) -> str:
    """Make the text by which a picture names a class on an axis.

    It is the name of the class, shortened if it is long; or its number, from 1, if the name is blank or the font lacks
    a character of it.

    Args:
        index: the index of the class, from 0.
        label: the name of the class.
    """
    font = _load_font()
    if not label.strip() or not label.isprintable() or not all(font.get_char_index(ord(one)) for one in label):
        return str(index + 1)
    # Two long names may begin alike.
    return label if len(label) <= _TICK_CHARACTERS else f"{label[:_TICK_CHARACTERS]}... ({index + 1})"


def _find_most_confused_classes(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Find the classes that occur in the most wrong answers, as the true class or as the answer; return their indices.

    Args:
        counts: int64 [classes, classes], how often each true class (row) gets each class (column).

    Returns:
        int64, ascending.
    """
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:DRAWN_CLASSES])


def _make_figure(width: float = 6.4, height: float = 4.0) -> Figure:
    """Make an empty figure of matplotlib with this size in inches."""
    # Not pyplot: its figures are global state, and it may need a display.
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@functools.cache
def _load_font() -> Any:
    from matplotlib import font_manager

    return font_manager.get_font(font_manager.findfont("DejaVu Sans"))
