"""Prepared data: what `preparation` makes of texts, and `sequence_preparation` of sequences of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import AnyTextRules
from pocketrnn_training.classifiers.architecture import AnyArchitecture
from pocketrnn_training.classifiers.checkpoint import BY_FOLDS, Checkpoint
from pocketrnn_training.preparation.augmentation import Changes
from pocketrnn_training.preparation.distillation import Teaching
from pocketrnn_training.rows.batches import EncodedRows, joined
from pocketrnn_training.rows.labelled_rows import LabelledRows
from pocketrnn_training.rows.teacher_answers import TeacherAnswers
from pocketrnn_training.texts import pieces, vectors
from pocketrnn_training.texts.linear_part import LinearPart
from pocketrnn_training.texts.part_weights import PartWeights
from pocketrnn_training.texts.spelling import Spelling

__all__ = ["Beside", "Task", "about_rows"]


@dataclass(frozen=True)
class Beside:
    """The sources that a run learns from beside its rows; all of them are for texts.

    Attributes:
        teacher: a teacher's answers for the training rows.
        word_vectors: a file of word vectors to start from (`texts.vectors.read`).
        before: a checkpoint that the run goes on from.
    """

    teacher: TeacherAnswers | None = None
    word_vectors: Path | None = None
    before: Checkpoint | None = None


@dataclass(frozen=True)
class Task:
    """Prepared data: all that is the same in every epoch.

    Attributes:
        rules: how a text becomes token ids, or what is done to a sequence of numbers.
        vocabulary: the tokens, in the order of their ids; none for numbers.
        labels: the classes.
        architecture: what decides the module's weights.
        rows: the training rows.
        targets: int64 [training rows]; of a row without a label, the class that the teacher thinks the likeliest. Or,
            where a text can have several labels, bool [training rows, labels].
        class_weights: float32 [classes], the weight of a row of each class; the mean over the labelled rows is 1.
        validation_rows: the validation rows.
        validation_targets: int64 [validation rows], or bool [validation rows, labels].
        examples: some validation texts, or sequences as lists of rows of numbers.
        about: the description of the data for the checkpoint.
        changes: how a batch is changed at random while it is learnt from; None where it is read as it is.
        vectors: the word vectors that the embedding starts from, or None.
        spelling: the fragments of words, whose rows of the embedding are learnt by all words that have them; or None.
        linear: the linear part, fitted on the training rows; or None.
        parts: what the recurrent and the linear part weigh; None where the validation rows are to say it.
        weights: the weights that the run goes on from, by their names in the module; None for new ones.
        words: the training rows as words, then the validation rows, of which the pieces of every epoch are drawn; or
            None where an epoch has `rows` as they are.
        piece_dropout: the share of merges that are skipped where they are drawn.
        adversarial: how far the embeddings are moved for adversarial training; 0 for none.
        teaching: a teacher's answers for the training rows, or None without one.
        outside_rows: rows that are of none of the classes, or None without any.
        groups: int64 [training rows]: rows of one number are windows of one recording; or None where each stands alone.
        folds: int64 [training rows], the fold of each row; or None where other rows validate. With folds, the
            validation rows are the training rows.
        unseen: float32 [training rows, classes], what classifiers of the other folds say of each row, where that is
            known; or None.
    """

    rules: AnyTextRules | NumberInput
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]
    architecture: AnyArchitecture
    rows: EncodedRows
    targets: npt.NDArray[Any]
    class_weights: npt.NDArray[np.float32]
    validation_rows: EncodedRows
    validation_targets: npt.NDArray[Any]
    examples: tuple[Any, ...]
    about: dict[str, Any]
    changes: Changes | None = None
    vectors: vectors.Vectors | None = None
    spelling: Spelling | None = None
    linear: LinearPart | None = None
    parts: PartWeights | None = None
    weights: Mapping[str, Tensor] | None = None
    words: pieces.WordsOfRows | None = None
    piece_dropout: float = 0.0
    adversarial: float = 0.0
    teaching: Teaching | None = None
    outside_rows: EncodedRows | None = None
    groups: npt.NDArray[np.int64] | None = None
    folds: npt.NDArray[np.int64] | None = None
    unseen: Tensor | None = None

    @property
    def several_labels(self) -> bool:
        """Whether a row can have any number of labels."""
        return self.targets.ndim == 2

    def with_validation_rows(self) -> Task:
        """The same with the validation rows among the training rows, after them; for rows without a teacher."""
        rows = joined(self.rows, self.validation_rows)
        targets = np.concatenate((self.targets, self.validation_targets))
        linear = None if self.linear is None else self.linear.refitted(rows, targets)
        return replace(self, rows=rows, targets=targets, linear=linear, groups=None)

    def of_rows(self, chosen: npt.NDArray[np.int64]) -> Task:
        """The same with some of the training rows only, of a task without a linear part and a teacher."""
        groups, folds = (None if some is None else some[chosen] for some in (self.groups, self.folds))
        return replace(self, rows=self.rows.chosen(chosen), targets=self.targets[chosen], groups=groups, folds=folds)


def about_rows(data: LabelledRows, validation: LabelledRows) -> dict[str, Any]:
    """A checkpoint's entries on the training rows and the validation rows that it was made of; those of folds are the
    same."""
    by_folds = validation is data
    return {
        "source": data.source,
        "licence": data.licence,
        "rows": len(data) + (0 if by_folds else len(validation)),
        "training_rows": len(data),
        "validation_rows": len(validation),
        **({BY_FOLDS: True} if by_folds else {}),
    }
