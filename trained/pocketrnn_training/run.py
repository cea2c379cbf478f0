"""A run as a user starts it: read the data, train, keep every epoch in a folder, and write the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.bundle.folder import name_of
from pocketrnn.errors import InputError
from pocketrnn.numbers.rules import NumberRules
from pocketrnn_training import checkpoint as checkpoints
from pocketrnn_training import report as reports
from pocketrnn_training import run_folder
from pocketrnn_training.batches import EncodedSequences
from pocketrnn_training.checkpoint import Checkpoint
from pocketrnn_training.checkpoint_folder import check_output
from pocketrnn_training.convolution_baseline import ConvolutionBaseline, convolution_baseline
from pocketrnn_training.data import LabelledTexts, with_unlabelled
from pocketrnn_training.data_source import DataSource
from pocketrnn_training.folds import CrossValidation, cross_validated, fold_of_rows
from pocketrnn_training.going_on import settings_of, with_labels_of
from pocketrnn_training.linear_baseline import LinearBaseline, linear_baseline
from pocketrnn_training.preparation import parts
from pocketrnn_training.progress import Epoch, Notice, Progress, Step
from pocketrnn_training.sequences import LabelledSequences, sequence_parts
from pocketrnn_training.settings import Settings
from pocketrnn_training.teacher import read_teacher
from pocketrnn_training.threads import limited
from pocketrnn_training.training import TrainingState, refuse_for_numbers, train

__all__ = ["TrainingRun"]

_NAME_CHARACTERS: Final = 200
_FEWEST_FOLDS: Final = 2


@dataclass
class TrainingRun:
    """A run and its output folder (`pocketrnn_training.run_folder`).

    The folder is checked when the object is made, before any work; the state to resume from is read then.

    Attributes:
        source: the rows; a part of them is held out for validation where no validation files are given.
        output: the folder to write.
        settings: the choices.
        name: the name of the classifier; without it, that of the output folder, without an end such as `.ckpt`.
        validation: files of validation rows.
        word_vectors: a file in GloVe's format that the embedding starts from.
        teachers: files of probabilities, or checkpoints and bundles, that are learnt from; their mean, of several.
        teacher_logits: the files of teachers hold logits.
        unlabelled: files of texts without labels, which the teachers answer, too, after the rows of `source`.
        before: the folder of a checkpoint to go on from.
        folds: cross-validate with so many folds, too, after the training; None for no folds.
        force: replace a checkpoint in the output folder.
        resume: go on with the interrupted run in the output folder.
        state: the state of the last epoch: read from the folder to resume from, then kept by this run.
        has_kept: whether this run has written the folder.
        cross_validation: what the folds reached.

    Raises:
        OutputError: the output folder is taken or cannot be written.
        InputError: there is no run to resume in the output folder, or it has other settings; the checkpoint to go on
            from has another tokenizer or shape than is asked for.
        CheckpointError: the run to resume, or the checkpoint to go on from, is damaged.

    Example:
        >>> run = TrainingRun(DataSource(("reviews.csv",)), Path("reviews.checkpoint"), Settings(epochs=1))
        >>> checkpoint = run.train()
        >>> (run.output / "report.md").exists()
        True
    """

    source: DataSource
    output: Path
    settings: Settings
    name: str | None = None
    validation: tuple[Path, ...] = ()
    word_vectors: Path | None = None
    teachers: tuple[Path, ...] = ()
    teacher_logits: bool = False
    unlabelled: tuple[Path, ...] = ()
    before: Path | None = None
    force: bool = False
    resume: bool = False
    examples: bool = True
    folds: int | None = None
    state: TrainingState | None = field(default=None, init=False, repr=False)
    has_kept: bool = field(default=False, init=False)
    cross_validation: CrossValidation | None = field(default=None, init=False)
    _start: Checkpoint | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.before is not None:
            self._start = checkpoints.read(self.before)
            self.settings = settings_of(self._start, self.settings)
        if self.unlabelled and not self.teachers:
            raise InputError("Texts without labels teach nothing by themselves.", "Name a teacher, with --teacher.")
        if self.teachers and self.source.multi_label:
            raise InputError(
                "A teacher answers which one label a text has, and with --multi-label texts can have several.",
                "Leave out --teacher, or --multi-label.",
            )
        if self.folds is not None and (self.validation or self.teachers):
            raise InputError(
                "With folds, every row of DATA is measured by a classifier that has not seen it: there are no other "
                "validation rows, and no teacher that may have seen it.",
                f"Leave {'--validation' if self.validation else '--teacher'} out, or --folds.",
            )
        if self.teachers and self.source.outside is not None:
            raise InputError(
                "A teacher answers every row of the data, and rows that are outside are not learnt from.",
                "Leave --teacher out, or --outside.",
            )
        check_output(self.output, force=self.force, resume=self.resume)
        if self.resume:
            self.state = _state_to_resume(self.output, self.settings)
            if ("examples" in self.state.best.data) == self.examples:
                raise InputError(
                    f"The run in {self.output} was made {'without' if self.examples else 'with'} texts of the rows as "
                    "examples.",
                    f"{'Give' if self.examples else 'Leave out'} --no-examples.",
                )

    def train(self, report: Callable[[Progress | Epoch | Notice], None] = lambda _: None) -> Checkpoint:
        """Train to the end and return the checkpoint, which is then in the folder with its report.

        The folder is written after every epoch. If this raises, also by Ctrl-C, it holds the epochs until then.

        Args:
            report: called with the progress of the run, for display.

        Raises:
            InputError, DataError, TrainingError, ProcessError: see `pocketrnn_training.train`.
            OutputError: the folder cannot be written, or another run writes it.
        """
        with run_folder.claimed(self.output):
            return self._train(report)

    def _train(self, report: Callable[[Progress | Epoch | Notice], None]) -> Checkpoint:
        data, training_data, validation_data = self._numbers() if self.source.of_numbers else self._texts()
        if self.folds is not None:
            # Before the training, which may take long: whether there can be such folds.
            fold_of_rows(data, self.folds, np.random.default_rng(0))
            times = "as long" if self.folds <= _FEWEST_FOLDS else f"{self.folds - 1} times as long"
            report(Step(f"After the training, {self.folds} folds take about {times} again."))
        notices: list[Notice] = []

        def note(event: Progress | Epoch | Notice) -> None:
            if isinstance(event, Notice) and not isinstance(event, Step):
                notices.append(event)
            report(event)

        start = time.monotonic()
        best = train(
            training_data,
            self.settings,
            name=(self.name or name_of(self.output) or "classifier")[:_NAME_CHARACTERS],
            validation=validation_data,
            held_out=not self.validation,
            word_vectors=self.word_vectors,
            examples=None if self.examples else (),
            report=note,
            keep=self._keep,
            resume=self.state,
            before=self._start,
        )
        state = self.state
        assert state is not None  # noqa: S101 - it was kept after the first epoch at the latest
        answers = reports.ValidationAnswers.of_state(state)
        baseline = _compared(training_data, validation_data, best, report)
        if self.folds is not None:
            best = self._in_folds(best, data, self.folds, time.monotonic() - start, report)
            state = self.state = replace(state, best=best)
        found = reports.Found(notices, baseline, self.cross_validation)
        run_folder.finish(
            state,
            self.output,
            lambda folder: reports.write(folder, best, state.history, validation_data, answers, found),
        )
        return best

    def _in_folds(
        self,
        best: Checkpoint,
        data: LabelledTexts | LabelledSequences,
        folds: int,
        seconds: float,
        report: Callable[[Progress | Epoch | Notice], None],
    ) -> Checkpoint:
        """The checkpoint with what a cross-validation of the same settings reaches."""
        # What was resumed says little of how long a whole run takes.
        about = "" if self.resume else f", about {timedelta(seconds=max(1, round(seconds * (folds - 1))))}"
        report(
            Step(
                f"The classifier is trained and kept. {folds} folds of all {len(data):,} rows follow{about}. If they "
                "are interrupted, --resume begins them anew."
            )
        )
        vectors = self.word_vectors
        found = cross_validated(data, self.settings, folds, report=report, word_vectors=vectors, before=self._start)
        self.cross_validation = found
        return replace(best, metrics={**best.metrics, **found.metrics})

    def _numbers(self) -> tuple[LabelledSequences, LabelledSequences, LabelledSequences]:
        """All rows, the training and the validation sequences of numbers."""
        refuse_for_numbers(teacher=self.teachers, word_vectors=self.word_vectors, before=self.before)
        data = self.source.read_numbers(tuple(map(Path, self.source.names)))
        validation = None
        if self.validation:
            validation = self.source.read_numbers(self.validation, data.labels, data.rules)
        return data, *sequence_parts(data, validation, self.settings.validation_share, self.settings.seed)

    def _texts(self) -> tuple[LabelledTexts, LabelledTexts, LabelledTexts]:
        """All rows, the training and the validation rows. Split here, since the report needs the last, too."""
        data = self._taught() if self.teachers else self._with_labels(self.source.read("train"))
        validation = self.source.read_files(self.validation, data.labels) if self.validation else None
        return data, *parts(data, validation, self.settings)

    def _taught(self) -> LabelledTexts:
        """The rows with their teacher's answers."""
        columns = {"text_column": self.source.text_column}
        data = self._with_labels(self.source.read("train", blank_labels=True))
        if self.unlabelled:
            data = with_unlabelled(data, self.unlabelled, encoding=self.source.encoding, **columns)
        columns["label_column"] = self.source.label_column
        return data.with_answers(read_teacher(self.teachers, data, logits=self.teacher_logits, **columns))

    def _with_labels(self, data: LabelledTexts) -> LabelledTexts:
        return data if self._start is None else with_labels_of(self._start, data)

    def _keep(self, state: TrainingState) -> None:
        # From its second epoch on, a run replaces its own folder.
        run_folder.keep(state, self.output, force=self.force or self.resume or self.has_kept)
        self.state, self.has_kept = state, True


def _compared(
    training: LabelledTexts | LabelledSequences,
    validation: LabelledTexts | LabelledSequences,
    best: Checkpoint,
    report: Callable[[Notice], None],
) -> LinearBaseline | ConvolutionBaseline | None:
    """What a linear model reaches on the same rows: of words and characters, or of random convolutions."""
    report(Step("A linear model is fitted on the same rows, to compare with."))
    baseline: LinearBaseline | ConvolutionBaseline | None
    if isinstance(training, LabelledSequences) and isinstance(validation, LabelledSequences):
        assert isinstance(best.rules, NumberRules)  # noqa: S101 - it was trained on numbers
        of_training, of_validation = (EncodedSequences.of(d.sequences, best.rules) for d in (training, validation))
        with limited(best.training["threads"]):
            baseline = convolution_baseline(of_training, training.targets, of_validation, validation.targets)
    else:
        assert isinstance(training, LabelledTexts)  # noqa: S101 - both are of one kind
        assert isinstance(validation, LabelledTexts)  # noqa: S101
        baseline = linear_baseline(training, validation)
    if baseline is not None:
        report(Step(f"The linear model {baseline.said}."))
    else:
        report(Step("There is no such model: the rows have one class or no word, or it would be too large."))
    return baseline


def _state_to_resume(output: Path, settings: Settings) -> TrainingState:
    state = run_folder.read_state(output)
    if other := settings.other_than(state.best.training):
        raise InputError(f"The run in {output} was made with {other}.", "Give the settings that it was started with.")
    return state
