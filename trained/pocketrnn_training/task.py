"""Prepared data: what `preparation` makes of texts, and `sequence_preparation` of sequences of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pocketrnn.numbers.rules import NumberRules
from pocketrnn.text import AnyTextRules
from pocketrnn_training import pieces, vectors
from pocketrnn_training.architecture import AnyArchitecture
from pocketrnn_training.batches import EncodedRows, joined
from pocketrnn_training.data import LabelledTexts
from pocketrnn_training.distillation import Teaching
from pocketrnn_training.linear_part import LinearPart
from pocketrnn_training.sequences import LabelledSequences
from pocketrnn_training.spelling import Spelling

__all__ = ["Task", "about_rows"]


@dataclass(frozen=True)
class Task:
    """Prepared data: all that is the same in every epoch.

    Attributes:
        rules: how a text becomes token ids, or what is done to a sequence of numbers.
        vocabulary: the tokens, in the order of their ids; none for numbers.
        labels: the classes.
        architecture: what decides the module's weights.
        vectors: the word vectors that the embedding starts from, or None.
        spelling: the fragments of words, whose rows of the embedding are learnt by all words that have them; or None.
        linear: the linear part, fitted on the training rows; or None.
        weights: the weights that the run goes on from, by their names in the module; None for new ones.
        rows: the training rows.
        words: the training rows as words, then the validation rows, of which the pieces of every epoch are drawn; or
            None where an epoch has `texts` as they are.
        targets: int64 [training rows]; of a row without a label, the class that the teacher thinks the likeliest. Or,
            where a text can have several labels, bool [training rows, labels].
        teaching: a teacher's answers for the training rows, or None without one.
        class_weights: float32 [classes], the weight of a row of each class; the mean over the labelled rows is 1.
        validation_rows: the validation rows.
        validation_targets: int64 [validation rows], or bool [validation rows, labels].
        outside_rows: rows that are of none of the classes, or None without any.
        examples: some validation texts, or sequences as lists of rows of numbers.
        about: the description of the data for the checkpoint.
    """

    rules: AnyTextRules | NumberRules
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]
    architecture: AnyArchitecture
    vectors: vectors.Vectors | None
    spelling: Spelling | None
    linear: LinearPart | None
    weights: Mapping[str, Tensor] | None
    rows: EncodedRows
    words: pieces.WordsOfRows | None
    targets: npt.NDArray[Any]
    teaching: Teaching | None
    class_weights: npt.NDArray[np.float32]
    validation_rows: EncodedRows
    validation_targets: npt.NDArray[Any]
    outside_rows: EncodedRows | None
    examples: tuple[Any, ...]
    about: dict[str, Any]

    @property
    def several_labels(self) -> bool:
        """Whether a row can have any number of labels."""
        return self.targets.ndim == 2

    def with_validation_rows(self) -> Task:
        """The same with the validation rows among the training rows, after them; for rows without a teacher."""
        rows = joined(self.rows, self.validation_rows)
        targets = np.concatenate((self.targets, self.validation_targets))
        linear = None if self.linear is None else self.linear.refitted(rows, targets)
        return replace(self, rows=rows, targets=targets, linear=linear)


def about_rows(
    data: LabelledTexts | LabelledSequences, validation: LabelledTexts | LabelledSequences
) -> dict[str, Any]:
    """What a checkpoint says of the training rows and the validation rows that it was made of."""
    return {
        "source": data.source,
        "licence": data.licence,
        "rows": len(data) + len(validation),
        "training_rows": len(data),
        "validation_rows": len(validation),
    }
