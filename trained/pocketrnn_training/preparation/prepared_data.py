"""The prepared data of a run: encoded rows, targets and architecture, the same for texts, numbers and tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.tags import has_span_prefixes
from pocketrnn.text import AnyTextRules
from pocketrnn_training.classifiers.architecture import AnyArchitecture, Architecture
from pocketrnn_training.classifiers.checkpoint import BY_FOLDS, Checkpoint
from pocketrnn_training.measures.logit_measures import compute_macro_or_best_micro_f1
from pocketrnn_training.measures.span_scores import SpanScores
from pocketrnn_training.preparation.batch_augmentation import Changes
from pocketrnn_training.preparation.distillation import TeacherTargets
from pocketrnn_training.rows.encoded_rows import EncodedRows, EncodedTexts, join_rows
from pocketrnn_training.rows.labelled_rows import LabelledRows
from pocketrnn_training.rows.teacher_answers import TeacherAnswers
from pocketrnn_training.texts import piece_learning, word_vectors
from pocketrnn_training.texts.linear_part import LinearPart
from pocketrnn_training.texts.spelling_embedding import Spelling
from pocketrnn_training.texts.weighted_sum_of_recurrent_and_linear_logits import RecurrentLinearWeights

__all__ = ["IGNORED", "OtherSources", "Task", "describe_rows", "label_first_piece_of_each_word"]

# The target of a step without a target: torch's `ignore_index`.
IGNORED: Final = -100


@dataclass(frozen=True)
class OtherSources:
    """The sources from which a training run on texts learns besides its rows. Each may be None.

    Attributes:
        teacher: a teacher's answers for the training rows.
        word_vectors: a file of word vectors that the embeddings start from.
        before: a checkpoint that the run continues from.
    """

    teacher: TeacherAnswers | None = None
    word_vectors: Path | None = None
    before: Checkpoint | None = None


@dataclass(frozen=True)
class Task:
    """Prepared data for training: everything that is the same in every epoch.

    A tagger is a classifier that labels each token. Attributes that a run does not need are None.

    Attributes:
        rules: the rules that turn a text into token ids, or that scale a sequence of numbers.
        vocabulary: the tokens, in the order of their ids; none for numbers.
        labels: the classes.
        architecture: the shape of the module's weights.
        rows: the training rows.
        targets: int64 [training rows], with the teacher's likeliest class for a row without a label. If a text can have
            several labels, bool [training rows, labels]; for a tagger, int64 [words of all training rows].
        class_weights: float32 [classes], the weight of a row of each class; the mean over the labelled rows is 1.
        validation_rows: the validation rows.
        validation_targets: the targets of the validation rows, as an array of the same kind as `targets`.
        examples: some validation texts, or sequences as lists of time steps.
        about: the description of the data for the checkpoint.
        changes: the random changes of a training batch (augmentation).
        vectors: the word vectors that the embedding starts from.
        spelling: the fragments of words, whose embedding rows are shared by all words that contain them.
        linear: the linear part, fitted on the training rows.
        parts: the weights of the recurrent and the linear part; None if the validation rows decide them.
        weights: the weights that the run continues from, by their names in the module; None for new weights.
        words: the training rows, then the validation rows, as words, which every epoch cuts into pieces anew; None if
            every epoch reads `rows`.
        piece_dropout: the share of merges that are skipped when words are cut into pieces.
        adversarial: how far the embeddings are moved for adversarial training; 0 for none.
        teaching: a teacher's answers for the training rows.
        outside_rows: rows that belong to none of the classes.
        groups: int64 [training rows], the number of the recording that each row is a window of.
        folds: int64 [training rows], the fold of each row for cross-validation, in which case the validation rows are
            the training rows; None if separate rows validate.
        unseen: float32 [training rows, classes], the logits of each row from classifiers that were trained on the
            other folds.
        step_targets: for a tagger, the target of each token of the training rows, or -100 for a token without one.
        validation_step_targets: the same for the validation rows.
        word_targets: for a tagger, the target of each of the `words`.
        ruled_out: bool [1 + labels, labels], the orders of labels that a CRF forbids (`CrfLayer.forbid_orders`).
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
    vectors: word_vectors.Vectors | None = None
    spelling: Spelling | None = None
    linear: LinearPart | None = None
    parts: RecurrentLinearWeights | None = None
    weights: Mapping[str, Tensor] | None = None
    words: piece_learning.RowWords | None = None
    piece_dropout: float = 0.0
    adversarial: float = 0.0
    teaching: TeacherTargets | None = None
    outside_rows: EncodedRows | None = None
    groups: npt.NDArray[np.int64] | None = None
    folds: npt.NDArray[np.int64] | None = None
    unseen: Tensor | None = None
    step_targets: EncodedTexts | None = None
    validation_step_targets: EncodedTexts | None = None
    word_targets: npt.NDArray[np.int64] | None = None
    ruled_out: npt.NDArray[np.bool_] | None = None

    @property
    def size(self) -> int:
        """The number of training rows."""
        return len(self.rows.offsets) - 1

    @property
    def several_labels(self) -> bool:
        """Whether a row can have any number of labels."""
        return self.targets.ndim == 2

    def add_validation_rows(self) -> Task:
        """Return a copy of the task that trains on the training rows and the validation rows, in this order.

        The task must not have a teacher, whose answers are only for the training rows.
        """
        rows = join_rows(self.rows, self.validation_rows)
        targets = np.concatenate((self.targets, self.validation_targets))
        linear = None if self.linear is None else self.linear.refit(rows, targets)
        steps = self.step_targets
        if steps is not None and self.validation_step_targets is not None:
            steps = join_rows(steps, self.validation_step_targets)
        return replace(self, rows=rows, targets=targets, linear=linear, groups=None, step_targets=steps)

    def draw_epoch(self, seed: np.random.SeedSequence) -> Task:
        """Return the task with the training rows of one epoch.

        With piece dropout, the words are split into pieces at random, by `seed`. Otherwise the task is unchanged.
        """
        if self.words is None:
            return self
        rows, begins = self.words.select_first_rows(self.size).draw_pieces_with_word_starts(self.piece_dropout, seed)
        if self.word_targets is None:
            return replace(self, rows=rows)
        return replace(self, rows=rows, step_targets=label_first_piece_of_each_word(rows, begins, self.word_targets))

    def select_batch_targets(self, chosen: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the targets of a batch of training rows, whose numbers are `chosen`.

        If tokens are labelled, the targets are one row after the other, int64 [rows * longest row], with -100 for steps
        without a target.
        """
        if self.step_targets is None:
            return self.targets[chosen]
        return self.step_targets.batch(chosen, IGNORED)[0].ravel()

    def select_logits_with_validation_target(self, logits: Tensor) -> Tensor:
        """Select the logits of the validation rows or, if words are labelled, of the first pieces of words.

        `logits` are those of all validation rows or of all their tokens; only first pieces of words have a target.
        """
        steps = self.validation_step_targets
        return logits if steps is None else logits[torch.from_numpy(steps.ids != IGNORED)]

    @property
    def validation_lengths(self) -> npt.NDArray[np.int64]:
        """The length of the row that each validation target belongs to, int64 [validation targets].

        The length is counted in tokens or time steps or, if tokens are labelled, in words.
        """
        words = self.validation_words
        if words is not None:
            return np.repeat(words, words)
        # The mark between two texts is not a token.
        has_mark = isinstance(self.architecture, Architecture) and self.architecture.two_texts
        return self.validation_rows.lengths - int(has_mark)

    def validation_f1(self, logits: Tensor) -> float:
        """Compute F1 from the logits of the validation rows.

        It is the F1 of spans if the labels mark spans, such as B-PER; micro F1 at the best threshold if a row can have
        several labels; otherwise macro F1.
        """
        words = self.validation_words
        if words is None or not has_span_prefixes(self.labels):
            return compute_macro_or_best_micro_f1(logits, torch.from_numpy(self.validation_targets))
        predicted = logits.argmax(dim=1).numpy()
        return SpanScores.from_predictions(self.labels, words, self.validation_targets, predicted).f1

    @property
    def validation_words(self) -> npt.NDArray[np.int64] | None:
        """The number of words of each validation sentence, int64 [validation rows]; None unless tokens are labelled."""
        steps = self.validation_step_targets
        return None if steps is None else np.add.reduceat((steps.ids != IGNORED).astype(np.int64), steps.offsets[:-1])

    def select_training_rows(self, chosen: npt.NDArray[np.int64]) -> Task:
        """Return a task with only the chosen training rows. The task must not have a linear part or a teacher."""
        groups, folds = (None if some is None else some[chosen] for some in (self.groups, self.folds))
        return replace(
            self, rows=self.rows.select_rows(chosen), targets=self.targets[chosen], groups=groups, folds=folds
        )


def label_first_piece_of_each_word(
    rows: EncodedTexts, begins: npt.NDArray[np.int64], word_targets: npt.NDArray[np.int64]
) -> EncodedTexts:
    """Make the target of each piece of a word: the word's target for its first piece, -100 (ignored) for the others.

    Args:
        rows: the ids of the pieces.
        begins: int64 [words of these rows], the position of each word's first piece among the pieces of all rows.
        word_targets: int64, the target of each word; targets of words after those of `rows` are not used.

    Returns:
        The targets, in rows of the same lengths as `rows`.
    """
    targets = np.full(len(rows.ids), IGNORED, np.int32)
    targets[begins] = word_targets[: len(begins)]
    return EncodedTexts(targets, rows.offsets)


def describe_rows(data: LabelledRows, validation: LabelledRows) -> dict[str, Any]:
    """Describe the rows for a checkpoint's `data`: source, licence, and the numbers of training and validation rows.

    In cross-validation, both arguments are the same object.
    """
    by_folds = validation is data
    return {
        "source": data.source,
        "licence": data.licence,
        "rows": len(data) + (0 if by_folds else len(validation)),
        "training_rows": len(data),
        "validation_rows": len(validation),
        **({BY_FOLDS: True} if by_folds else {}),
    }
