"""Words or pieces, and how much each part weighs: compared by folds, in which each row is answered unseen.

A tenth of the rows cannot tell: of 360 rows, the standard error of an accuracy is 2.4 points. Where rows are few,
training is cheap, so that each way of cutting the texts is trained on the rows of all folds but one, and answers the
rows of that one. The weights of both parts are fitted on these answers (`pocketrnn_training.texts.part_weights`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from lightning_fabric import Fabric
from torch import Tensor

from pocketrnn.errors import DataError
from pocketrnn_training.classifiers.inference import logits_of
from pocketrnn_training.loop.learner import Learner
from pocketrnn_training.loop.processes import Loop
from pocketrnn_training.loop.threads import limited
from pocketrnn_training.loop.training_loop import TrainingLoop
from pocketrnn_training.preparation.task import Beside, Task
from pocketrnn_training.preparation.text_preparation import prepare
from pocketrnn_training.progress import Notice, Step
from pocketrnn_training.rows.data import LabelledTexts
from pocketrnn_training.rows.labelled_rows import fold_of_rows
from pocketrnn_training.settings.every_run import Settings
from pocketrnn_training.settings.text_settings import BPE, WORDS, TextSettings
from pocketrnn_training.texts.part_weights import Candidate, PartWeights, fitted_weights

__all__ = ["compared", "may_compare"]

# Called with work, its settings and what it emits to.
Run = Callable[[Loop, Settings, Callable[[Any], None]], None]

_FOLDS: Final = 4
# After so many folds the likelier way goes on alone, where there are enough rows to tell.
_FOLDS_OF_ALL: Final = 2
_ENOUGH_ROWS: Final = 1_000
# From so many rows on, validation rows say enough, and the folds take too long.
_MANY_ROWS: Final = 10_000
# With fewer different rows, folds say nothing.
_FEWEST_ROWS: Final = 100


def may_compare(data: LabelledTexts, settings: TextSettings, beside: Beside) -> bool:
    """Whether folds are to compare: where nothing is named that one way alone has, and there is a linear part.

    Args:
        data: the rows, with those that are held out.
        settings: the choices, as they were given.
        beside: what is learnt from beside the rows.
    """
    if (
        settings.compare is False
        or not _FEWEST_ROWS <= len(data) < _MANY_ROWS
        or beside != Beside()
        or data.answers is not None
    ):
        return False
    default = TextSettings()
    of_one_way = ("max_vocabulary", "spelling", "piece_dropout")
    named = settings.tokenizer is not None or settings.asks_for_pieces
    if not named and any(getattr(settings, name) != getattr(default, name) for name in of_one_way):
        return False
    decided = settings.decided(len(data), len(data.labels), several_labels=data.several_labels)
    return bool(decided.linear) and len(np.unique(data.groups)) >= _FEWEST_ROWS // 2


def compared(
    data: LabelledTexts, settings: TextSettings, run: Run, report: Callable[[Notice], None]
) -> tuple[Candidate, ...]:
    """The ways to cut the texts, the best first; none where no way can be trained.

    Args:
        data: the training rows.
        settings: the choices, as they were given.
        run: does the work of a loop.
        report: called with a `Step` about each way.
    """
    fold_of = fold_of_rows(data, _FOLDS, np.random.default_rng(settings.seed))
    ways = [_Way(tokenizer, data, settings, fold_of) for tokenizer in _tokenizers(settings)]
    what = "how texts are cut and " if len(ways) > 1 else ""
    report(Step(f"Before the training, {_FOLDS} folds of the rows choose {what}what each part weighs."))
    found: list[Candidate] = []
    for fold in range(_FOLDS):
        ways = [way for way in ways if way.answers_fold(fold, run)]
        if fold + 1 == _FOLDS_OF_ALL and len(data) >= _ENOUGH_ROWS:
            found = _in_order(ways)
            ways = [way for way in ways if way.tokenizer == found[0].tokenizer] if found else []
    found = [*_in_order(ways), *found[1:]]
    for candidate in found:
        report(Step(f"{_named(candidate)}: {candidate.reached}; {candidate.parts_said}."))
    if len(found) > 1:
        report(Notice(f"{_named(found[0])} answer rows that they have not seen best, so that texts are cut into them."))
    return tuple(found)


def _named(candidate: Candidate) -> str:
    return "Pieces of words" if candidate.tokenizer == BPE else "Words"


def _tokenizers(settings: TextSettings) -> tuple[str, ...]:
    if settings.asks_for_pieces:
        return (BPE,)
    return (WORDS, BPE) if settings.tokenizer is None else (settings.tokenizer,)


def _in_order(ways: list[_Way]) -> list[Candidate]:
    return sorted((way.candidate() for way in ways), key=lambda one: one.loss)


@dataclass
class _Way:
    """One way of cutting the texts, and its answers so far."""

    tokenizer: str
    data: LabelledTexts
    settings: TextSettings
    fold_of: npt.NDArray[np.int64]
    # The rows of each fold so far, and the logits of both parts.
    answers: list[tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any]]] = field(default_factory=list)

    def answers_fold(self, fold: int, run: Run) -> bool:
        """Answer the rows of a fold; whether the others can be learnt from."""
        of_words = self.tokenizer != BPE
        settings = replace(
            self.settings,
            tokenizer=self.tokenizer,
            # A fold is known by as many words as the whole.
            min_freq=self.settings.min_freq_for(len(self.data), of_words=of_words),
            final_fit=False,
        )
        others, rows = np.flatnonzero(self.fold_of != fold), np.flatnonzero(self.fold_of == fold)
        try:
            task, decided = prepare(self.data.rows(others), self.data.rows(rows), settings, lambda _: None, examples=())
        except DataError:
            return False
        if task.linear is None:
            return False
        answered: list[Tensor] = []
        loop = TrainingLoop(task, decided, "fold", "")
        run(_FoldFit(loop), decided, lambda event: answered.append(event) if isinstance(event, Tensor) else None)
        self.answers.append((rows, answered[0].numpy(), task.linear.logits(task.validation_rows)))
        return True

    def candidate(self) -> Candidate:
        """The candidate's result on the folds so far."""
        from scipy.special import log_softmax

        targets = [self.data.targets[rows] for rows, *_ in self.answers]
        right, losses = [], []
        for fold, (_, recurrent, linear) in enumerate(self.answers):
            weights = self._weights([i for i in range(len(self.answers)) if i != fold])
            logits = weights.total(recurrent.astype(np.float64), linear)
            right.append(logits.argmax(axis=1) == targets[fold])
            losses.append(-log_softmax(logits, axis=1)[np.arange(len(logits)), targets[fold]])
        weights = self._weights(range(len(self.answers)))
        parts = (np.concatenate([answer[part] for answer in self.answers]) for part in (1, 2))
        alone = [float((part.argmax(axis=1) == np.concatenate(targets)).mean()) for part in parts]
        return Candidate(
            tokenizer=self.tokenizer,
            recurrent_weight=weights.recurrent,
            linear_weight=weights.linear,
            rows=len(np.concatenate(targets)),
            folds=len(self.answers),
            accuracy=float(np.concatenate(right).mean()),
            deviation=float(np.std([one.mean() for one in right], ddof=1)),
            loss=float(np.concatenate(losses).mean()),
            recurrent_accuracy=alone[0],
            linear_accuracy=alone[1],
        )

    def _weights(self, folds: Any) -> PartWeights:
        rows, recurrent, linear = (np.concatenate(some) for some in zip(*(self.answers[i] for i in folds), strict=True))
        return fitted_weights(recurrent, linear, self.data.targets[rows])


@dataclass(frozen=True)
class _FoldFit:
    """The training of the recurrent part without a linear one, which emits its logits of the validation rows."""

    loop: TrainingLoop

    @property
    def task(self) -> Task:
        return self.loop.task

    def with_task(self, task: Task) -> _FoldFit:
        return replace(self, loop=self.loop.with_task(task))

    def fit(self, fabric: Fabric, emit: Callable[[Any], None], stopped: Callable[[], bool]) -> None:
        loop = self.loop
        with limited(loop.settings.threads):
            learner = Learner(loop.task, loop.settings, fabric)
            for epoch in range(1, loop.epochs + 1):
                if loop.run_epoch(learner, epoch, fabric, lambda _: None, stopped) is None:
                    return
            batch_size = loop.settings.batch_size_for(loop.settings.epoch_size or len(loop.task.targets))
            emit(logits_of(learner.module, loop.task.validation_rows, batch_size, fabric))
