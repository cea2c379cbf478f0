"""A training run from start to end: read the rows, train, save every epoch in a folder, and write the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.bundle.names_from_paths import make_classifier_name
from pocketrnn.errors import InputError
from pocketrnn_training import run_folder
from pocketrnn_training.baselines.baseline_accuracy import Baseline
from pocketrnn_training.classifiers import checkpoint as checkpoints
from pocketrnn_training.classifiers.checkpoint import Checkpoint
from pocketrnn_training.classifiers.checkpoint_file_names import check_run_can_write_folder
from pocketrnn_training.cross_validation import CrossValidation, cross_validate_rows
from pocketrnn_training.preparation.continued_training import add_checkpoint_labels, make_settings_from_checkpoint
from pocketrnn_training.preparation.teacher_reader import read_teacher
from pocketrnn_training.report import run_report as reports
from pocketrnn_training.rows.data_source import DataSource
from pocketrnn_training.rows.labelled_rows import LabelledRows, assign_folds
from pocketrnn_training.rows.text_files import with_unlabelled
from pocketrnn_training.settings.settings_of_all_runs import Settings
from pocketrnn_training.training import TrainingState, train
from pocketrnn_training.training_events import Epoch, Notice, Progress, StageNotice
from pocketrnn_training.training_parts_by_row_kind import find_row_kind

__all__ = ["TrainingRun"]

_NAME_CHARACTERS: Final = 200


@dataclass
class TrainingRun:
    """A training run from files of rows to an output folder, which holds the checkpoint, its history and its report.

    The output folder is checked when the object is made, before any work.

    Attributes:
        source: the rows. If no validation files are given, a part of them is held out for validation.
        output: the folder to write.
        settings: the settings, of the class that fits the rows (`DataSource.settings`).
        name: the name of the classifier; None for the name of the output folder without a suffix such as `.ckpt`.
        validation: files of validation rows.
        word_vectors: a file of word vectors to start from; None to try installed ones.
        teachers: the teachers to learn from: files of probabilities, checkpoints or bundles. Their answers are
            averaged.
        teacher_logits: whether the files of teachers hold logits.
        unlabelled: files of texts without labels. In a teacher's file, their answers follow those for `source`.
        before: the folder of a checkpoint to continue from; None to start anew.
        folds: the number of folds for a cross-validation after the training; None for no cross-validation.
        force: whether to replace a checkpoint in the output folder.
        resume: whether to continue the interrupted run in the output folder.
        examples: whether the checkpoint stores validation texts; otherwise it stores random texts of words.
        state: the state after the last epoch of this run, or of the interrupted run; None before the first epoch.
        has_kept: whether this run has written the folder.
        cross_validation: the result of the cross-validation; None before it.

    Raises:
        OutputError: the output folder is taken or cannot be written.
        InputError: the output folder holds no run to resume, or one with other settings; or `settings` ask for another
            tokenizer or architecture than the checkpoint `before` has.
        CheckpointError: the run to resume, or the checkpoint `before`, is damaged.

    Example:
        >>> run = TrainingRun(DataSource(("reviews.csv",)), Path("reviews.checkpoint"), TextSettings(epochs=1))
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
        self.settings.refuse_unsupported_sources(
            teacher=self.teachers, word_vectors=self.word_vectors, before=self.before
        )
        if self.before is not None:
            self._start = checkpoints.read(self.before)
            self.settings = make_settings_from_checkpoint(self._start, self.settings)
        if self.unlabelled and not self.teachers:
            raise InputError(
                "--unlabelled gives texts without labels, so a teacher must label them, but none is given.",
                "Name a teacher with --teacher, or leave out --unlabelled.",
            )
        if self.teachers and self.source.multi_label:
            raise InputError(
                "--teacher cannot be used with --multi-label: a teacher gives each text exactly one label.",
                "Leave out --teacher or --multi-label.",
            )
        if self.folds is not None and self.source.of_tokens:
            raise InputError(
                "--folds cannot be used with --labels-of tokens, where each word of a row has a label.",
                "Leave out --folds.",
            )
        if self.folds is not None and (self.validation or self.teachers):
            given = "--validation" if self.validation else "--teacher"
            raise InputError(
                f"--folds cannot be used with {given}: each fold of DATA is the validation rows of a training on the "
                "other folds.",
                f"Leave out {given} or --folds.",
            )
        if self.teachers and self.source.outside is not None:
            raise InputError(
                "--teacher cannot be used with --outside: a teacher answers every row of DATA, but no classifier is "
                "trained on the rows of --outside.",
                "Leave out --teacher or --outside.",
            )
        check_run_can_write_folder(self.output, force=self.force, resume=self.resume)
        if self.resume:
            self.state = _read_resume_state(self.output, self.settings)
            if ("examples" in self.state.best.data) == self.examples:
                raise InputError(
                    f"The run in {self.output} was started {'with' if self.examples else 'without'} --no-examples, so "
                    "it must be resumed in the same way.",
                    f"{'Add' if self.examples else 'Leave out'} --no-examples.",
                )

    def train(self, report: Callable[[Progress | Epoch | Notice], None] = lambda _: None) -> Checkpoint:
        """Train to the end, write the checkpoint and its report into the output folder, and return the checkpoint.

        The folder is written after every epoch. After an error or Ctrl-C, it holds the run up to the last whole epoch,
        which can be resumed.

        Args:
            report: the function to call with the progress of the run, for display.

        Raises:
            InputError: the settings do not fit the rows, the device is missing, or the run to resume had other data.
            DataError: the rows or the word vectors cannot be used.
            TrainingError: the loss is no longer a finite number.
            ProcessError: one of several training processes ended before its work was done.
            OutputError: the folder cannot be written, or another run writes it.
        """
        with run_folder.lock_folder(self.output):
            return self._train_and_report(report)

    def _train_and_report(self, report: Callable[[Progress | Epoch | Notice], None]) -> Checkpoint:
        """Read the rows, train, measure the baseline, cross-validate if asked, and write the report."""
        data = self._read_all_rows()
        given = self.source.read_more(self.validation, data) if self.validation else None
        if self.folds is not None:
            # Checked before the training, which may take long: whether the rows can be divided into these folds.
            assign_folds(data, self.folds, np.random.default_rng(0))
            times = "as long" if self.folds == 2 else f"{self.folds - 1} times as long"
            report(StageNotice(f"After the training, {self.folds} folds take about {times} as the training."))
        notices: list[Notice] = []

        def collect_notice(event: Progress | Epoch | Notice) -> None:
            if isinstance(event, Notice) and not isinstance(event, StageNotice):
                notices.append(event)
            report(event)

        start = time.monotonic()
        best = self._add_reading_options_to_checkpoint(
            train(
                data,
                self.settings,
                name=(self.name or make_classifier_name(self.output) or "classifier")[:_NAME_CHARACTERS],
                validation=given,
                word_vectors=self.word_vectors,
                examples=None if self.examples else (),
                report=collect_notice,
                keep=self._write_epoch,
                resume=self.state,
                before=self._start,
            )
        )
        state = self.state
        assert state is not None  # noqa: S101 - it was kept after the first epoch at the latest
        answers = reports.ValidationAnswers.from_state(state)
        # The same split as in the training.
        of_folds = best.measured_by_folds
        training_data, validation_data = (data, data) if of_folds else data.split(given, self.settings)
        baseline = _measure_baseline(training_data, validation_data, best, report)
        if self.folds is not None:
            best = self._cross_validate(best, data, self.folds, time.monotonic() - start, report)
            state = self.state = replace(state, best=best)
        others = reports.OtherResults(notices, baseline, self.cross_validation)
        run_folder.write_finished_run(
            state,
            self.output,
            lambda folder: reports.write_report(folder, best, state.history, validation_data, answers, others),
        )
        return best

    def _cross_validate(
        self,
        best: Checkpoint,
        data: LabelledRows,
        folds: int,
        seconds: float,
        report: Callable[[Progress | Epoch | Notice], None],
    ) -> Checkpoint:
        """Cross-validate with the settings of the run, and return the checkpoint `best` with the result in its metrics.

        Args:
            best: the trained checkpoint.
            data: all rows; they are divided into the folds.
            folds: the number of folds.
            seconds: how long the first training took; a notice estimates the time of the folds from it.
            report: the function to call with each event of the progress.
        """
        # The time of a resumed run does not say how long a whole run takes.
        about = "" if self.resume else f", about {timedelta(seconds=max(1, round(seconds * (folds - 1))))}"
        report(
            StageNotice(
                f"The classifier is trained and kept. {folds} folds of all {len(data):,} rows follow{about}. If they "
                "are interrupted, --resume begins them anew."
            )
        )
        vectors = self.word_vectors
        found = cross_validate_rows(data, self.settings, folds, report=report, word_vectors=vectors, before=self._start)
        self.cross_validation = found
        return replace(best, metrics={**best.metrics, **found.metrics})

    def _read_all_rows(self) -> LabelledRows:
        """Read all rows, including those that will be held out, with texts without labels and the teachers' answers."""
        if self._start is None and not self.teachers:
            return self.source.read()
        columns = {"text_column": self.source.text_column}
        data = self.source.read_texts("train", blank_labels=bool(self.teachers))
        if self._start is not None:
            data = add_checkpoint_labels(self._start, data)
        if self.unlabelled:
            data = with_unlabelled(data, self.unlabelled, encoding=self.source.encoding, **columns)
        if not self.teachers:
            return data
        columns["label_column"] = self.source.label_column
        return data.add_teacher_answers(read_teacher(self.teachers, data, logits=self.teacher_logits, **columns))

    def _add_reading_options_to_checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint with the reading options of the rows, such as column names, added to its `data`.

        `pocketrnn evaluate` reads other rows with the same options.
        """
        columns = self.source.columns
        return replace(checkpoint, data={**checkpoint.data, "columns": columns}) if columns else checkpoint

    def _write_epoch(self, state: TrainingState) -> None:
        """Write the run's folder after an epoch, and remember the state of that epoch."""
        state = replace(state, best=self._add_reading_options_to_checkpoint(state.best))
        # From its second epoch on, a run replaces its own folder.
        run_folder.write_epoch(state, self.output, force=self.force or self.resume or self.has_kept)
        self.state, self.has_kept = state, True


def _measure_baseline(
    training: LabelledRows, validation: LabelledRows, best: Checkpoint, report: Callable[[Notice], None]
) -> Baseline | None:
    """Fit a simple model on the training rows, and measure it on the validation rows, for comparison.

    Args:
        training: the training rows.
        validation: the validation rows.
        best: the trained classifier; its rules decide how the simple model reads the rows.
        report: the function to call with notices about the result.

    Returns:
        The scores of the simple model; None if it cannot be fitted, for example if the rows have only one class.
    """
    report(StageNotice("A simple model is fitted on the same rows, to compare with."))
    baseline = find_row_kind(training).baseline(training, validation, best)
    if baseline is not None:
        report(StageNotice(f"The {baseline.NAME} {baseline.summary}."))
    else:
        report(
            StageNotice(
                "A simple model cannot be fitted: the rows have one class or no word, or it would be too large."
            )
        )
    return baseline


def _read_resume_state(output: Path, settings: Settings) -> TrainingState:
    """Read the state of the interrupted run in the folder `output`, to resume the run.

    Raises:
        CheckpointError: the folder holds no interrupted run, or its files are damaged.
        InputError: `settings` differ from those of the run.
    """
    state = run_folder.read_state(output)
    if other := settings.describe_first_difference(state.best.training):
        raise InputError(
            f"The run in {output} was started with other settings: {other}.",
            "Give the same settings again, or start anew with --force in place of --resume.",
        )
    return state
