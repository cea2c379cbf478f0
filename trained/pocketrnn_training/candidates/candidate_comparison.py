"""Compare the candidates of a run by folds: words or pieces, word vectors or none, both parts or the linear part.

A tenth of the rows is too few to choose by: with 360 rows, the standard error of an accuracy is 2.4 points. Where rows
are few, training is cheap. So each way of cutting the texts is trained on the rows of all folds but one, and classifies
the rows of that fold, which it has not seen. The weights of both parts are fitted on these answers
(`pocketrnn_training.texts.weighted_sum_of_recurrent_and_linear_logits`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pocketrnn.errors import DataError
from pocketrnn_training.candidates.candidate import Candidate, make_checkpoint_member_of_candidates
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.logits_of_encoded_rows import compute_logits
from pocketrnn_training.loop.fit_on_all_rows import LoopFit
from pocketrnn_training.loop.thread_limit import limit_threads
from pocketrnn_training.loop.training_loop import TrainingLoop
from pocketrnn_training.loop.training_processes import Loop
from pocketrnn_training.measures.fold_scores import FoldScores
from pocketrnn_training.preparation.prepared_data import OtherSources, Task
from pocketrnn_training.preparation.text_preparation import prepare_texts
from pocketrnn_training.rows.labelled_rows import assign_folds
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.settings_of_all_runs import FEW_VALIDATION_ROWS, Settings
from pocketrnn_training.settings.text_settings import BPE, WORDS, TextSettings
from pocketrnn_training.texts.weighted_sum_of_recurrent_and_linear_logits import (
    RecurrentLinearWeights,
    fit_recurrent_linear_weights,
)
from pocketrnn_training.training_events import Notice, StageNotice

__all__ = ["Comparison", "compare_candidates", "should_compare_candidates", "should_measure_by_folds"]

Floats = npt.NDArray[np.float64]

# Called with the work, its settings, and the function that receives its events.
Run = Callable[[Loop, Settings, Callable[[Any], None]], None]

_FOLDS: Final = 4
# After this many folds only the better variant is trained further, and only if it is better than the linear part alone.
_FOLDS_OF_ALL: Final = 2
# A variant that is worse than another by this many standard errors is not trained further.
_CLEARLY: Final = 2
# From this many rows on, validation rows are enough, and the folds take too long.
_MANY_ROWS: Final = 10_000
# With fewer different rows, the accuracy of a fold is mostly chance.
_FEWEST_ROWS: Final = 100


def should_compare_candidates(data: LabelledTexts, settings: TextSettings, other_sources: OtherSources) -> bool:
    """Return whether a run should train several variants of a classifier on folds of the rows, and choose the best one.

    It should not if `settings.compare` is false, the rows are too few or too many, the classifier has no linear part, a
    setting applies only to some variants, or the run learns from a teacher or an earlier checkpoint.

    Args:
        data: all rows, including those that will be held out.
        settings: the user's settings.
        other_sources: what the run learns from in addition to the rows.
    """
    if (
        settings.compare is False
        or not _FEWEST_ROWS <= len(data) < _MANY_ROWS
        or other_sources.teacher is not None
        or other_sources.before is not None
        or data.answers is not None
    ):
        return False
    default = TextSettings()
    of_one_way = ("max_vocabulary", "spelling", "piece_dropout")
    named = settings.tokenizer is not None or settings.asks_for_pieces
    if not named and any(getattr(settings, name) != getattr(default, name) for name in of_one_way):
        return False
    decided = settings.fill_missing_values(len(data), len(data.labels), several_labels=data.several_labels)
    return bool(decided.linear) and len(np.unique(data.groups)) >= _FEWEST_ROWS // 2


def should_measure_by_folds(data: LabelledTexts, settings: TextSettings, other_sources: OtherSources) -> bool:
    """Return whether cross-validation should measure the classifier, since held-out rows would be too few.

    Args:
        data: all rows.
        settings: the user's settings.
        other_sources: what the run learns from in addition to the rows.
    """
    few = len(data) * settings.validation_share < FEW_VALIDATION_ROWS
    # With patience, validation rows decide when training ends.
    return few and settings.patience is None and should_compare_candidates(data, settings, other_sources)


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison of candidates, which are the variants of a classifier that a run may train.

    Attributes:
        candidates: all candidates, the chosen one first.
        folds: int64 [rows], the fold of each training row; None if separate rows are held out for validation.
        unseen: float32 [rows, classes], the logits of the chosen candidate for each row, when it was fitted on the
            other folds; None if `folds` is None.
    """

    candidates: tuple[Candidate, ...]
    folds: npt.NDArray[np.int64] | None = None
    unseen: Tensor | None = None

    @property
    def chosen_candidate(self) -> Candidate:
        """The candidate that the comparison chose; it is the first in `candidates`."""
        return self.candidates[0]

    def apply_to(self, task: Task) -> Task:
        """Return a copy of the prepared data `task` with the results of the comparison, to train the chosen candidate.

        These are the weights of the candidate's two parts, the folds, and the logits of rows that it has not seen.
        """
        architecture = task.architecture
        if self.chosen_candidate.is_linear and isinstance(architecture, Architecture):
            architecture = architecture.linear_only_architecture
        about = task.about | make_checkpoint_member_of_candidates(self.candidates)
        return replace(
            task,
            architecture=architecture,
            parts=self.chosen_candidate.weights,
            about=about,
            folds=self.folds,
            unseen=self.unseen,
        )


def compare_candidates(
    data: LabelledTexts,
    settings: TextSettings,
    run: Run,
    report: Callable[[Notice], None],
    *,
    vector_files: Sequence[Path | None] = (None,),
    with_unseen_logits: bool = False,
) -> Comparison | None:
    """Train several variants of a classifier on folds, and choose the one with the lowest loss on rows it has not seen.

    Variants differ in their tokens (words or pieces of words), in their word vectors, and in whether they have a
    recurrent and a linear part or only the linear part. All linear parts are fitted first, since this is fast. Then a
    recurrent part is trained beside the best linear part of each kind of tokens, unless this linear part is clearly
    worse than the best of all. After two folds, only the best recurrent part is trained on, and only if it lowered the
    loss.

    Args:
        data: the training rows.
        settings: the user's settings.
        run: the function that runs a training. Its arguments are the training (a `Loop`), its settings, and a function
            that receives its events.
        report: the function to call with a `StageNotice` about each candidate, and with a notice of the choice.
        vector_files: the files of word vectors to try; None stands for a variant without word vectors.
        with_unseen_logits: whether the result has `folds` and `unseen`.

    Returns:
        The comparison; None if not one linear part can be fitted.
    """
    fold_of = assign_folds(data, _FOLDS, np.random.default_rng(settings.seed))
    tokenizers = _list_tokenizers_to_compare(settings)
    chosen = [("how texts are split", len(tokenizers) > 1), ("whether word vectors help", len(vector_files) > 1)]
    what = "".join(f"{one}, " for one, is_open in chosen if is_open) + ("and " if any(o for _, o in chosen) else "")
    report(StageNotice(f"Before the training, {_FOLDS} folds of the rows choose {what}the weight of each part."))
    tried = itertools.product(tokenizers, vector_files)
    read = (_Variant.encode_and_fit_linear_parts(*one, data, settings, fold_of) for one in tried)
    ways = [way for way in read if way is not None]
    if not ways:
        return None
    ways.sort(key=lambda way: way.linear_answers.losses.mean())
    best_of = {way.tokenizer: way for way in reversed(ways)}
    rivals = [
        way
        for way in best_of.values()
        if not _are_losses_lower_beyond_chance(ways[0].linear_answers.losses, way.linear_answers.losses)
    ]
    for fold in range(_FOLDS):
        for way in rivals:
            way.train_recurrent_part(fold, run)
        if fold + 1 == _FOLDS_OF_ALL and rivals:
            best = min(rivals, key=lambda way: way.joint_answers.losses.mean())
            linear = ways[0].compute_linear_answers(fold + 1)
            gain, _ = _compute_mean_loss_reduction_and_error(best.joint_answers.losses, linear.losses)
            rivals = [best] if gain > 0 else []
    taken, is_linear = ways[0], True
    for way in rivals:
        gain, error = _compute_mean_loss_reduction_and_error(way.joint_answers.losses, ways[0].linear_answers.losses)
        if gain > error:
            taken, is_linear = way, False
    first = taken.make_candidate(with_recurrent=not is_linear)
    others = [
        way.make_candidate(with_recurrent=one)
        for way in ways
        for one in (True, False)
        if way.has_logits_for_candidate(with_recurrent=one)
    ]
    candidates = (first, *(other for other in sorted(others, key=lambda other: other.loss) if other != first))
    for candidate in candidates:
        fewer = f"; not the best of these {candidate.rows:,} rows" if candidate.folds < first.folds else ""
        report(StageNotice(f"{candidate.accuracy_summary}{fewer}."))
    said = f"The folds choose {first.display_name}"
    report(Notice(f"{said}: a recurrent part does not add more than chance." if is_linear else f"{said}."))
    if not with_unseen_logits:
        return Comparison(candidates)
    answered = taken.linear_answers if is_linear else taken.joint_answers
    unseen = np.empty_like(answered.logits)
    unseen[answered.rows] = answered.logits
    return Comparison(candidates, fold_of, torch.from_numpy(unseen.astype(np.float32)))


def _list_tokenizers_to_compare(settings: TextSettings) -> tuple[str, ...]:
    """List the names of the tokenizers to compare: the user's, or those of words and of pieces if it is left open."""
    if settings.asks_for_pieces:
        return (BPE,)
    return (WORDS, BPE) if settings.tokenizer is None else (settings.tokenizer,)


def _compute_mean_loss_reduction_and_error(losses: Floats, over_losses: Floats) -> tuple[float, float]:
    """Compute by how much `losses` are lower than `over_losses`, the losses of the same rows by another classifier.

    Returns:
        The mean of the differences, negative if `losses` are higher; and the standard error of this mean.
    """
    gains = over_losses - losses
    return float(gains.mean()), float(gains.std(ddof=1) / len(gains) ** 0.5)


def _are_losses_lower_beyond_chance(losses: Floats, others: Floats) -> bool:
    """Return whether `losses` are significantly lower than `others`, the losses of the same rows."""
    gain, error = _compute_mean_loss_reduction_and_error(losses, others)
    return gain > _CLEARLY * error


@dataclass(frozen=True)
class _FoldAnswers:
    """The logits and losses of a variant for the rows of some folds; all weights were fitted on other folds.

    Attributes:
        rows: int64 [answered], the numbers of these rows.
        logits: float64 [answered, classes].
        losses: float64 [answered].
        scores: the accuracy of each fold.
    """

    rows: npt.NDArray[np.int64]
    logits: Floats
    losses: Floats
    scores: FoldScores


@dataclass
class _Fold:
    """One fold of a variant: the rows of the fold, the training task, and the logits of both parts for these rows."""

    rows: npt.NDArray[np.int64]
    task: Task
    settings: TextSettings
    linear: Floats
    recurrent: Floats | None = None


@dataclass
class _Variant:
    """One way to split the texts into tokens, with the logits of the parts that were trained so far."""

    tokenizer: str
    vector_file: Path | None
    targets: npt.NDArray[np.int64]
    folds: list[_Fold]

    @classmethod
    def encode_and_fit_linear_parts(
        cls,
        tokenizer: str,
        vector_file: Path | None,
        data: LabelledTexts,
        settings: TextSettings,
        fold_of: npt.NDArray[np.int64],
    ) -> Self | None:
        """Encode the texts with a tokenizer, and fit a linear part for each fold on the rows of the other folds.

        Args:
            tokenizer: the name of the tokenizer.
            vector_file: a file of word vectors to start from, or None.
            data: the training rows.
            settings: the user's settings.
            fold_of: int64 [rows], the fold of each row.

        Returns:
            The variant; None if the linear part cannot be fitted for a fold.
        """
        settings = replace(
            settings,
            tokenizer=tokenizer,
            # A fold keeps the same words as all rows would.
            min_freq=settings.min_freq_for(len(data), of_words=tokenizer != BPE),
            final_fit=False,
        )
        other_sources = OtherSources(word_vectors=vector_file)
        folds = []
        for fold in range(_FOLDS):
            others, rows = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            try:
                task, decided = prepare_texts(
                    data.rows(others),
                    data.rows(rows),
                    settings,
                    lambda _: None,
                    examples=(),
                    other_sources=other_sources,
                )
            except DataError:
                return None
            if task.linear is None:
                return None
            logits = task.linear.logits(task.validation_rows).astype(np.float64)
            folds.append(_Fold(rows, task, decided, logits))
        return cls(tokenizer, vector_file, data.targets, folds)

    def train_recurrent_part(self, fold: int, run: Run) -> None:
        """Train the recurrent part on all folds but the fold number `fold`, and store its logits for that fold's rows.

        `run` is the function that runs a training (see `compare_candidates`).
        """
        one = self.folds[fold]
        answered: list[Tensor] = []
        work = _RecurrentLogitsFit(TrainingLoop(one.task, one.settings, "fold", ""))
        run(work, one.settings, lambda event: answered.append(event) if isinstance(event, Tensor) else None)
        one.recurrent = answered[0].double().numpy()

    def has_logits_for_candidate(self, *, with_recurrent: bool) -> bool:
        """Return whether a candidate can be made: with a recurrent part, one fold of it must have been trained."""
        return not with_recurrent or self.folds[0].recurrent is not None

    @property
    def joint_answers(self) -> _FoldAnswers:
        """The weighted sums of the logits of both parts, with their losses and scores, for the folds whose recurrent
        part was trained."""
        return self._make_fold_answers([fold for fold in self.folds if fold.recurrent is not None], with_recurrent=True)

    @cached_property
    def linear_answers(self) -> _FoldAnswers:
        """The weighted logits of the linear part, with their losses and scores, for all folds."""
        return self.compute_linear_answers(len(self.folds))

    def compute_linear_answers(self, first_folds: int) -> _FoldAnswers:
        """Compute the weighted logits of the linear part, with losses and scores, for the first `first_folds` folds."""
        return self._make_fold_answers(self.folds[:first_folds], with_recurrent=False)

    def make_candidate(self, *, with_recurrent: bool) -> Candidate:
        """Make a candidate from this variant's logits, with both parts or with only the linear part."""
        answered = self.joint_answers if with_recurrent else self.linear_answers
        folds = [fold for fold in self.folds if not with_recurrent or fold.recurrent is not None]
        weights, of_recurrent = (
            self._fit_weights_of_recurrent_and_linear_part(folds, with_recurrent=with_recurrent),
            None,
        )
        if with_recurrent:
            right = np.concatenate([f.recurrent.argmax(axis=1) == self.targets[f.rows] for f in folds])  # type: ignore[union-attr]
            of_recurrent = float(right.mean())
        return Candidate(
            tokenizer=self.tokenizer,
            recurrent_weight=weights.recurrent,
            linear_weight=weights.linear,
            rows=answered.scores.rows,
            folds=answered.scores.folds,
            accuracy=answered.scores.mean,
            deviation=answered.scores.deviation,
            loss=float(answered.losses.mean()),
            recurrent_accuracy=of_recurrent,
            vectors=None if self.vector_file is None else self.vector_file.name,
        )

    def _make_fold_answers(self, folds: Sequence[_Fold], *, with_recurrent: bool) -> _FoldAnswers:
        """Sum the weighted logits of both parts for the rows of some folds, and compute their losses and scores.

        The two weights for a fold are fitted on the other folds. If `with_recurrent` is false, only the linear part is
        used.
        """
        from scipy.special import log_softmax

        found = []
        for fold in folds:
            weights = self._fit_weights_of_recurrent_and_linear_part(
                [other for other in folds if other is not fold], with_recurrent=with_recurrent
            )
            found.append(weights.add_weighted_logits(fold.recurrent if with_recurrent else 0.0, fold.linear))
        rows, logits = np.concatenate([fold.rows for fold in folds]), np.concatenate(found)
        targets = self.targets[rows]
        number = np.repeat(np.arange(len(folds)), [len(fold.rows) for fold in folds])
        scores = FoldScores.from_right_rows(logits.argmax(axis=1) == targets, number)
        return _FoldAnswers(rows, logits, -log_softmax(logits, axis=1)[np.arange(len(rows)), targets], scores)

    def _fit_weights_of_recurrent_and_linear_part(
        self, folds: Sequence[_Fold], *, with_recurrent: bool
    ) -> RecurrentLinearWeights:
        """Fit the two weights by which the logits of the recurrent and the linear part are multiplied, on some folds.

        If `with_recurrent` is false, the weight of the recurrent part is 0.
        """
        of_recurrent = [fold.recurrent for fold in folds if with_recurrent and fold.recurrent is not None]
        return fit_recurrent_linear_weights(
            np.concatenate(of_recurrent) if of_recurrent else None,
            np.concatenate([fold.linear for fold in folds]),
            self.targets[np.concatenate([fold.rows for fold in folds])],
        )


class _RecurrentLogitsFit(LoopFit):
    """Trains the recurrent part without the linear part; the result is its logits for the validation rows."""

    def fit(self, fabric: Fabric, emit: Callable[[Any], None], stopped: Callable[[], bool]) -> None:
        loop = self.loop
        with limit_threads(loop.settings.threads):
            if (learner := loop.fit_without_validation(fabric, lambda _: None, stopped)) is None:
                return
            batch_size = loop.settings.batch_size_for(loop.settings.epoch_size or len(loop.task.targets))
            emit(compute_logits(learner.module, loop.task.validation_rows, batch_size, fabric))
