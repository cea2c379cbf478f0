"""The loss of a student, which learns from labels and from a teacher's probabilities.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, arXiv 1503.02531.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pocketrnn.errors import DataError
from pocketrnn_training.measures.logit_measures import compute_summed_multi_label_loss
from pocketrnn_training.rows.labelled_rows import UNLABELLED, check_labelled
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.teacher_answers import TeacherAnswers

__all__ = [
    "TeacherBatch",
    "TeacherSummary",
    "TeacherTargets",
    "compute_summed_student_loss",
    "get_targets_filled_with_teacher_answers",
    "make_teacher_targets",
    "measure_teacher",
]


@dataclass(frozen=True)
class TeacherBatch:
    """A teacher's answers for the rows of a batch, on their device.

    Attributes:
        answers: float32 [rows, classes], the teacher's probabilities, softened by the temperature; zeros for a row
            without an answer.
        label_share: float32 [rows], from 0 to 1: the weight of the label in a row's loss. The teacher's answer has the
            weight 1 - label_share.
        temperature: the number by which logits are divided before they are compared with the answers.
    """

    answers: Tensor
    label_share: Tensor
    temperature: float


@dataclass(frozen=True)
class TeacherTargets:
    """A teacher's answers for the training rows, and how the loss uses them.

    Attributes:
        answers: the answers for some or all rows.
        label_share: float32 [rows], the weight of the label in a row's loss: 1 for a row without an answer, 0 for a row
            without a label, and between 0 and 1 for a row with both. The answer has the weight 1 - label_share.
        temperature: 1 for the teacher's probabilities as they are, more for softer probabilities.
    """

    answers: TeacherAnswers
    label_share: npt.NDArray[np.float32]
    temperature: float

    @classmethod
    def from_answers(
        cls, answers: TeacherAnswers, labelled: npt.NDArray[np.bool_], answer_weight: float, temperature: float
    ) -> TeacherTargets:
        """Make the targets from a teacher's answers.

        Args:
            answers: the answers for some or all rows.
            labelled: bool [rows], whether each row has a label.
            answer_weight: the weight of the answer in a row with both a label and an answer.
            temperature: 1 for the probabilities as they are, more for softer ones.
        """
        share = np.where(answers.answered, np.where(labelled, 1 - answer_weight, 0.0), 1.0)
        return cls(answers, share.astype(np.float32), temperature)

    def replace_values(self, values: npt.NDArray[np.float32]) -> TeacherTargets:
        """Return the same targets with the array `values` in place of the teacher's probabilities, float32 [answers,
        classes]."""
        return replace(self, answers=replace(self.answers, values=values))

    def soften_answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Compute the teacher's probabilities for the chosen rows, softened by the temperature.

        Returns:
            float32 [chosen rows, classes]; zeros for a row without an answer.
        """
        answers = self.answers.probabilities(rows)
        if self.temperature == 1:
            return answers
        # softmax(logits / temperature): the logits are the logarithms of the probabilities, up to a constant.
        raised = answers ** np.float32(1 / self.temperature)
        softer: npt.NDArray[np.float32] = raised / np.maximum(
            raised.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny
        )
        return softer

    def row_weights(
        self,
        rows: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        class_weights: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float32]:
        """Compute the weight of each chosen row in the loss, float32 [chosen rows].

        The weight of a row is the class weight of its label, mixed with the mean class weight of the teacher's answer.

        Args:
            rows: int64, the numbers of the chosen rows.
            targets: int64 [chosen rows], the class of each chosen row.
            class_weights: float32 [classes].
        """
        share = self.label_share[rows]
        weights: npt.NDArray[np.float32] = share * class_weights[targets] + (1 - share) * (
            self.soften_answers(rows) @ class_weights
        )
        return weights

    def select_teacher_batch(self, rows: npt.NDArray[np.int64], device: torch.device) -> TeacherBatch:
        """Return the teacher's answers for the rows of a batch as tensors on `device`.

        `rows` is int64 [batch], the numbers of the rows.
        """
        answers, share = torch.from_numpy(self.soften_answers(rows)), torch.from_numpy(self.label_share[rows])
        return TeacherBatch(answers.to(device), share.to(device), self.temperature)


@dataclass(frozen=True)
class TeacherSummary:
    """How well a teacher classifies the rows, measured on its answers.

    Attributes:
        figures: the numbers to store in the checkpoint, by name.
        notice: the same as a sentence for the user.
    """

    figures: dict[str, Any]
    notice: str


def make_teacher_targets(data: LabelledTexts, answer_weight: float, temperature: float) -> TeacherTargets | None:
    """Make the training targets that come from a teacher, from its answers in `data.answers`.

    Args:
        data: the training rows.
        answer_weight: the weight of the answer in a row that has both a label and an answer, from 0 to 1.
        temperature: 1 for the teacher's probabilities as they are, more for softer ones.

    Returns:
        the targets; None without a teacher.

    Raises:
        DataError: a row has neither a label nor an answer; or there is a teacher, but a text can have several labels.
    """
    labelled, answers = data.labelled, data.answers
    if answers is None:
        check_labelled(data, "training row", "Give every row a label, or give the answers of a teacher.")
        return None
    if data.several_labels:
        raise DataError(
            "A teacher gives each text exactly one label, but the texts of the data can have several.",
            "Leave out the teacher, or give every text one label.",
        )
    if bare := int((~labelled & ~answers.answered).sum()):
        raise DataError(
            f"{bare:,} training rows have neither a label nor a teacher's answer.",
            "Give each of these rows a label or a teacher's answer, or delete the row.",
        )
    return TeacherTargets.from_answers(answers, labelled, answer_weight, temperature)


def get_targets_filled_with_teacher_answers(data: LabelledTexts) -> npt.NDArray[np.int64]:
    """Return the label of each row as a class index, int64 [rows]; for a row without one, the teacher's class."""
    if data.answers is None:
        return data.targets
    return np.where(data.targets == UNLABELLED, data.answers.likeliest_classes(), data.targets)


def measure_teacher(data: LabelledTexts, validation: LabelledTexts) -> TeacherSummary | None:
    """Measure how often the teacher's likeliest class is the label of a row, in the training and the validation rows.

    Return None if the rows have no answers of a teacher (`data.answers`).
    """
    answers = data.answers
    if answers is None:
        return None
    unlabelled, answered = int((data.targets == UNLABELLED).sum()), int(answers.answered.sum())
    of_training, of_validation = _compute_teacher_accuracy(data), _compute_teacher_accuracy(validation)
    figures = {
        "sources": list(answers.sources),
        "answered_rows": answered,
        "unlabelled_rows": unlabelled,
        "training_accuracy": of_training,
        "validation_accuracy": of_validation,
    }
    rows = f"The teacher answers {answered:,} of {len(data):,} training rows"
    if unlabelled:
        rows += f", and {unlabelled:,} rows have no label"
    shares = [
        f"{accuracy:.1%} of the {part} rows with a label"
        for accuracy, part in ((of_training, "training"), (of_validation, "validation"))
        if accuracy is not None
    ]
    return TeacherSummary(figures, f"{rows}; it is right in {' and '.join(shares)}." if shares else f"{rows}.")


def _compute_teacher_accuracy(data: LabelledTexts) -> float | None:
    """Compute the accuracy of the teacher on the rows with a label and an answer; None if there are none."""
    if data.answers is None:
        return None
    both = data.answers.answered & (data.targets != UNLABELLED)
    return float((data.answers.likeliest_classes() == data.targets)[both].mean()) if both.any() else None


def compute_summed_student_loss(
    logits: Tensor, targets: Tensor, lesson: TeacherBatch | None, class_weights: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Compute the training loss, with or without a teacher, summed over the rows of a batch.

    Without a teacher, the loss of a row is the cross-entropy with its label; if a row can have several labels, it is
    the sum of the binary cross-entropies. With a teacher, it is

        share * cross_entropy(logits, label) + (1 - share) * temperature^2 * divergence(answer, logits / temperature)

    where the Kullback-Leibler divergence is 0 if the logits give the teacher's answer. The factor temperature^2 keeps
    the size of its gradient, which otherwise shrinks with the square of the temperature.

    Args:
        logits: float32 [rows, classes].
        targets: int64 [rows], with any class for a row without a label; or bool [rows, labels].
        lesson: the teacher's answers for the rows, or None without a teacher.
        class_weights: float32 [classes], the weight of each class, in labels and in answers.
        smoothing: the label smoothing, from 0 to 1; the teacher's answers are not smoothed.
    """
    if targets.dim() == 2:
        return compute_summed_multi_label_loss(logits, targets, smoothing)
    if lesson is None:
        return cross_entropy(logits, targets, class_weights, reduction="sum", label_smoothing=smoothing)
    of_labels = cross_entropy(logits, targets, class_weights, reduction="none", label_smoothing=smoothing)
    of_answers = cross_entropy(logits / lesson.temperature, lesson.answers, class_weights, reduction="none")
    of_answers -= torch.special.entr(lesson.answers) @ class_weights
    factor = (1 - lesson.label_share) * lesson.temperature**2
    loss: Tensor = (lesson.label_share * of_labels + factor * of_answers).sum()
    return loss
