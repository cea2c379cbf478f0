"""Cross-validate: divide rows into folds, and measure each fold with a classifier trained on the other folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.measures.evaluation import evaluate
from pocketrnn_training.measures.fold_scores import FoldScores
from pocketrnn_training.rows.labelled_rows import LabelledRows, assign_folds, check_labelled
from pocketrnn_training.settings.settings_of_all_runs import Settings
from pocketrnn_training.training import train
from pocketrnn_training.training_events import Epoch, Notice, Progress, StageNotice
from pocketrnn_training.training_parts_by_row_kind import find_row_kind

__all__ = ["CrossValidation", "Fold", "cross_validate_rows"]


@dataclass(frozen=True)
class Fold:
    """The scores on one fold of a classifier and of a linear model, which were both trained on the other folds.

    Attributes:
        rows: the number of rows of the fold.
        accuracy: the share of rows that get the correct label or, if a row can have several, exactly its labels.
        micro_f1: the micro F1; it equals the accuracy if each row has one label.
        macro_f1: the mean of the F1 of all classes.
        linear: the accuracy of the linear model or, if a row can have several labels, its micro F1. None if no linear
            model was trained.
    """

    rows: int
    accuracy: float
    micro_f1: float
    macro_f1: float
    linear: float | None


@dataclass(frozen=True)
class CrossValidation:
    """The result of cross-validation: the accuracy to expect on new rows.

    Attributes:
        folds: the scores on each fold.
        several_labels: whether a row can have several labels, so that `scores` are micro F1 and not accuracy.

    Example:
        >>> result = cross_validate(["so good", "so bad"] * 9, [1, 0] * 9, 2, epochs=1, min_freq=1)
        >>> isinstance(result, CrossValidation), len(result.folds)
        (True, 2)
    """

    folds: tuple[Fold, ...]
    several_labels: bool

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The accuracy of each fold, float64 [folds]; or its micro F1 if a text can have several labels.

        Example:
            >>> cross_validation.scores.tolist()
            [0.9, 0.86]
        """
        return np.array([fold.micro_f1 if self.several_labels else fold.accuracy for fold in self.folds])

    @property
    def linear_scores(self) -> npt.NDArray[np.float64] | None:
        """The accuracy of the linear model on each fold, float64 [folds]; None without a linear model.

        Example:
            >>> cross_validation.linear_scores.tolist()
            [0.88, 0.84]
        """
        found = [fold.linear for fold in self.folds if fold.linear is not None]
        return np.array(found) if len(found) == len(self.folds) else None

    @property
    def spread(self) -> FoldScores:
        """The mean and the standard deviation of `scores`, with the number of folds and rows."""
        rows = sum(fold.rows for fold in self.folds)
        return FoldScores.from_scores(self.scores, rows, several_labels=self.several_labels)

    @property
    def mean(self) -> float:
        """The mean of `scores`, which are the accuracy or micro F1 of each fold.

        Example:
            >>> round(cross_validation.mean, 2)
            0.88
        """
        return self.spread.mean

    @property
    def deviation(self) -> float:
        """The sample standard deviation (divisor n - 1) of `scores`, the accuracy or micro F1 of each fold.

        Example:
            >>> round(cross_validation.deviation, 3)
            0.028
        """
        return self.spread.deviation

    @property
    def summary(self) -> str:
        """The result as a sentence.

        Example:
            >>> cross_validation.summary
            'accuracy 88.0% ± 2.8% of 50 rows, by 2 folds; the linear model 86.0% ± 2.8%.'
        """
        said, linear = self.spread.summary, self.linear_scores
        if linear is not None:
            said += f"; the linear model {linear.mean():.1%} ± {linear.std(ddof=1):.1%}"
        return f"{said}."

    @property
    def metrics(self) -> dict[str, float]:
        """The result as metrics for a checkpoint: the number of folds, and the mean and deviation of their scores.

        Example:
            >>> cross_validation.metrics["folds"]
            2
        """
        return self.spread.metrics


def cross_validate_rows(
    data: LabelledRows,
    settings: Settings,
    folds: int,
    *,
    report: Callable[[Progress | Epoch | Notice], None] = lambda _: None,
    word_vectors: Path | None = None,
    before: Checkpoint | None = None,
) -> CrossValidation:
    """Train a classifier for each fold on the rows of the other folds, and measure it on the rows of the fold.

    Each training takes its validation rows from its own training rows, never from the fold.

    Args:
        data: the rows, all of which have a label.
        settings: the settings of each training; the seed also decides the folds.
        folds: the number of folds, at least 2.
        report: the function to call with the progress: a `StageNotice` after each fold, and a `Progress` whose epochs
            are counted over all folds.
        word_vectors: a file of word vectors to start each training from; None to use installed ones, if there are any.
        before: a checkpoint that each training continues from; None to start with new weights.

    Raises:
        InputError: there are fewer than two folds, or the settings are for another kind of rows.
        DataError: a row has no label, or there are fewer different rows than folds.
        TrainingError: the loss is no longer a finite number.
        ProcessError: one of several training processes ended before its work was done.
    """
    check_labelled(data, "row", "Leave out rows without a label: a fold is measured by its labels.")
    baseline_of = find_row_kind(data).baseline
    fold_of = assign_folds(data, folds, np.random.default_rng(settings.seed))
    measured: list[Fold] = []

    def report_progress_over_folds(event: Progress | Epoch | Notice) -> None:
        if isinstance(event, Progress):
            done = event.epochs * len(measured)
            report(replace(event, epoch=done + event.epoch, epochs=event.epochs * folds))

    for fold in range(folds):
        others, rows = (data.rows(np.flatnonzero(some)) for some in (fold_of != fold, fold_of == fold))
        made = train(
            others, settings, word_vectors=word_vectors, examples=(), report=report_progress_over_folds, before=before
        )
        found = evaluate(made, rows)
        baseline = baseline_of(others, rows, made)
        linear = None if baseline is None else baseline.compared_score
        measured.append(Fold(len(rows), found.accuracy, found.micro_f1, found.macro_f1, linear))
        what, figure = ("micro F1", found.micro_f1) if data.several_labels else ("accuracy", found.accuracy)
        beside = "" if linear is None else f"; the linear model {linear:.1%}"
        report(StageNotice(f"Fold {fold + 1} of {folds}: {what} {figure:.1%}, {len(rows):,} rows{beside}."))
    return CrossValidation(tuple(measured), data.several_labels)
