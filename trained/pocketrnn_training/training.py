"""Train a classifier of texts or numbers, or a tagger, on a CPU, on a GPU, or in several processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric

from pocketrnn.errors import InputError
from pocketrnn_training.candidates.candidate import read_candidates
from pocketrnn_training.candidates.candidate_comparison import (
    Comparison,
    compare_candidates,
    should_compare_candidates,
    should_measure_by_folds,
)
from pocketrnn_training.candidates.fit_without_epochs import fit_classifier_without_epochs, should_fit_without_epochs
from pocketrnn_training.classifiers.checkpoint import Checkpoint, make_rules_member
from pocketrnn_training.loop.duration_estimate import time_steps_and_estimate_duration
from pocketrnn_training.loop.fit_on_all_rows import FinalFit, OnlyFit
from pocketrnn_training.loop.training_loop import TrainingError, TrainingLoop, TrainingState
from pocketrnn_training.loop.training_processes import Loop, run_in_processes, silence_fabric
from pocketrnn_training.preparation.prepared_data import OtherSources, Task
from pocketrnn_training.rows.labelled_rows import LabelledRows
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.rows.teacher_answers import TeacherAnswers
from pocketrnn_training.settings.pair_settings import PairSettings
from pocketrnn_training.settings.settings_of_all_runs import ANY_TIME, Settings
from pocketrnn_training.settings.text_settings import TextSettings
from pocketrnn_training.texts import installed_vectors
from pocketrnn_training.training_events import Epoch, Notice, Progress, StageNotice
from pocketrnn_training.training_parts_by_row_kind import find_row_kind

__all__ = ["TrainingError", "TrainingState", "train"]

# The linear part has memorized the training rows, so that training scores of both parts would say nothing.
_SCORED_PARTS: Final = "The linear part is already fitted: training scores are those of the recurrent part{}."


def train(
    data: LabelledRows,
    settings: Settings,
    *,
    name: str = "classifier",
    validation: LabelledRows | None = None,
    teacher: TeacherAnswers | None = None,
    word_vectors: Path | None = None,
    examples: Sequence[str] | None = None,
    report: Callable[[Progress | Epoch | Notice], None] = lambda _: None,
    keep: Callable[[TrainingState], None] = lambda _: None,
    resume: TrainingState | None = None,
    before: Checkpoint | None = None,
) -> Checkpoint:
    """Train a classifier; return the checkpoint of the best epoch by validation, or that of the final fit on all rows.

    The validation rows also set the temperature that divides the checkpoint's logits, so that its probabilities match
    the accuracy (`pocketrnn_training.measures.temperature_scaling`). If a text can have several labels, the validation
    rows set a threshold for each label, too (`pocketrnn_training.measures.thresholds`).

    Two runs with the same arguments on the same CPU, torch and number of threads give the same weights, bit for bit,
    also if a run is interrupted and resumed. The state of torch's global generators is restored at the end.

    If `settings.processes` is above 1, the processes are spawned, so that a script must call this function under
    `if __name__ == "__main__":`. Each process reads its part of every batch, and the gradients are averaged.

    Args:
        data: the training rows: texts, pairs of texts, sequences of numbers, or sentences with a label for each word.
            Word vectors and `before` are for texts and pairs only, a teacher for texts only.
        settings: `TextSettings` for texts, `PairSettings` for pairs, `NumberSettings` for sequences of numbers,
            `TagSettings` for sentences.
        name: the name of the classifier.
        validation: rows to validate with, with the labels of `data`; None to hold out a part of `data`.
        teacher: a teacher's answers for the rows of `data` (`read_teacher`, `TeacherAnswers.of`). A row with an answer
            needs no label.
        word_vectors: a file of word vectors to start from, in GloVe's format or as
            `pocketrnn_training.texts.word_vectors.write_table` writes it. Other words start at random. With None,
            installed word vectors for the language of the rows are tried, if there are any.
        examples: texts to store in the checkpoint, which everyone who has the checkpoint can read. With None, up to 32
            validation texts are stored; with an empty list, random texts of the vocabulary's words.
        report: the function to call with each event of the progress.
        keep: the function to call after each epoch with the state from which an interrupted run can be resumed.
        resume: the state of the interrupted run that `keep` was last called with; None for a new run.
        before: a checkpoint to continue from, with its tokenizer, architecture and labels. New words and labels of
            `data` are added. The classifier forgets what it has learnt from rows that `data` lacks.

    Raises:
        InputError: the settings are for another kind of rows; the device is missing; the run of `resume` had other
            settings or data; or `settings` ask for another tokenizer or architecture than `before` has.
        DataError: the data or the word vectors cannot be used.
        TrainingError: the loss is no longer a finite number.
        ProcessError: one of several processes ended before its work was done.

    Example:
        >>> checkpoint = train(read_files([Path("reviews.csv")]), TextSettings(cell="lstm", epochs=1), name="reviews")
        >>> checkpoint.labels
        ('bad', 'good')
    """
    kind = find_row_kind(data)
    if validation is not None and (other := find_row_kind(validation)) is not kind:
        raise InputError(
            f"The training rows are {kind.settings.ROWS}, but the validation rows are {other.settings.ROWS}.",
            "Give training and validation rows of the same kind.",
        )
    if type(settings) is not kind.settings:
        raise InputError(
            f"The settings are for {settings.ROWS}, but the data holds {kind.settings.ROWS}.",
            f"Give settings of the class {kind.settings.__name__}, which is for such rows.",
        )
    settings.refuse_unsupported_sources(teacher=teacher, word_vectors=word_vectors, before=before)
    fabric = _make_fabric(settings)
    other_sources = OtherSources(teacher, word_vectors, before)
    of_same_data = validation is None
    _refuse_final_fit_if_impossible(settings, possible=of_same_data)
    sources = _list_word_vector_files_to_try(data, settings, other_sources, report)
    if isinstance(settings, PairSettings):
        # They are not compared: docs/training-measurements.md, "Two texts".
        other_sources = replace(other_sources, word_vectors=sources[-1])
    found = _compare_or_read_candidates(data, validation, settings, other_sources, sources, resume, report)
    if found is not None:
        settings = replace(settings, tokenizer=found.chosen_candidate.tokenizer)  # type: ignore[call-arg]
        other_sources = replace(
            other_sources, word_vectors=next(s for s in sources if (s and s.name) == found.chosen_candidate.vectors)
        )
        validation = validation if found.folds is None else data
    task, decided = kind.prepare(data, validation, settings, report, examples=examples, other_sources=other_sources)
    if found is not None:
        task = found.apply_to(task)
    may_fit_all = of_same_data and task.teaching is None
    _refuse_final_fit_if_impossible(settings, possible=may_fit_all)
    settings = replace(decided, final_fit=decided.final_fit and may_fit_all)
    loop = TrainingLoop(task, settings, name, _compute_run_digest(task, settings), resume)
    if resume is not None and resume.task != loop.digest:
        raise _make_different_run_error(resume, settings)
    if should_fit_without_epochs(task):
        return fit_classifier_without_epochs(loop, report, keep)
    with silence_fabric(), _restore_random_generators():
        alone = fabric if settings.processes == 1 else _make_fabric(replace(settings, processes=1))
        report(StageNotice(time_steps_and_estimate_duration(loop, alone)))
    if task.linear is not None:
        report(
            StageNotice(_SCORED_PARTS.format(", validation scores those of both parts" if task.folds is None else ""))
        )
    return _train_then_fit_on_all_rows(loop, report, keep)


def _refuse_final_fit_if_impossible(settings: Settings, *, possible: bool) -> None:
    """Raise an InputError if the settings ask for a final fit on all rows, and `possible` is false."""
    if settings.final_fit and not possible:
        raise InputError(
            "--final-fit asks for a last fit on the training and the validation rows together, which is not possible "
            "with --validation or --teacher.",
            "Leave out --final-fit.",
        )


def _list_word_vector_files_to_try(
    data: LabelledRows, settings: Settings, other_sources: OtherSources, report: Callable[[Notice], None]
) -> tuple[Path | None, ...]:
    """List the files of word vectors to compare by their accuracy; None in the list stands for no word vectors.

    If the user gives a file, the list has only this file. Otherwise the list begins with None, and the word vectors
    that are installed for the language of the texts come next, if there are any and the settings allow their use.
    """
    if other_sources.word_vectors is not None:
        return (other_sources.word_vectors,)
    if not (isinstance(data, LabelledTexts) and isinstance(settings, TextSettings)):
        return (None,)
    wanted = settings.shipped_vectors and settings.embedding_dim is None
    of_new_pairs = isinstance(settings, PairSettings) and other_sources.before is None
    if not wanted or not (of_new_pairs or should_compare_candidates(data, settings, other_sources)):
        return (None,)
    found = installed_vectors.find_installed_vectors(data.single_texts.texts, report)
    return (None,) if found is None else (None, found)


def _compare_or_read_candidates(
    data: LabelledRows,
    validation: LabelledRows | None,
    settings: Settings,
    other_sources: OtherSources,
    sources: Sequence[Path | None],
    resume: TrainingState | None,
    report: Callable[[Progress | Epoch | Notice], None],
) -> Comparison | None:
    """Compare the tokenizers and word vectors that the training may use, by cross-validation.

    A run that is resumed takes the result of its first comparison from `resume`. Return None if only one choice is
    left, so that nothing is compared.

    Args:
        sources: the files of word vectors to compare; None stands for no word vectors.
        resume: the state of the run to resume, or None.
    """
    if not (isinstance(data, LabelledTexts) and isinstance(settings, TextSettings)):
        return None
    assert isinstance(validation, LabelledTexts | None)  # noqa: S101 - others were refused
    if not should_compare_candidates(data, settings, other_sources):
        return None
    if validation is None and should_measure_by_folds(data, settings, other_sources):
        # A run that is measured by folds is saved only at its end: it cannot be resumed before.
        return compare_candidates(data, settings, _run_training, report, vector_files=sources, with_unseen_logits=True)
    if resume is not None:
        candidates = read_candidates(resume.best.data)
        return Comparison(candidates) if candidates else None
    return compare_candidates(
        data.split(validation, settings)[0], settings, _run_training, report, vector_files=sources
    )


def _make_different_run_error(state: TrainingState, settings: Settings) -> InputError:
    """Make the error for a run that is resumed with other settings or data, which names the first difference."""
    other = settings.describe_first_difference(state.best.training)
    return InputError(
        f"The run to resume was made with {other or 'other data, word vectors or teacher answers'}.",
        "Give the same settings, rows, word vectors and teacher's answers, or train anew.",
    )


def _train_then_fit_on_all_rows(
    loop: TrainingLoop,
    report: Callable[[Progress | Epoch | Notice], None],
    keep: Callable[[TrainingState], None],
) -> Checkpoint:
    """Run the training loop, then the final fit on all rows if the settings ask for it; return the checkpoint.

    Args:
        loop: the training; if it has a state to resume, its finished parts are skipped.
        report: the function to call with each event of the progress.
        keep: the function to call after each epoch with the state to resume from.
    """
    state = loop.resume
    work: Loop = loop if loop.task.folds is None else OnlyFit(loop)

    def emit(event: Progress | Epoch | Notice | TrainingState) -> None:
        nonlocal state
        if isinstance(event, TrainingState):
            state = event
            keep(event)
        else:
            report(event)

    if state is None or not state.fitted:
        _run_training(work, loop.settings, emit)
    assert state is not None  # noqa: S101 - it was kept after the first epoch at the latest
    if loop.task.folds is not None:
        return state.best
    epochs = loop.max_epochs if loop.keeps_last_epoch else int(state.best.metrics["epoch"])
    if loop.settings.final_fit and state.fitted < epochs:
        whole = loop.replace_task(loop.task.add_validation_rows()).replace_epochs(epochs)
        as_many = (
            "" if loop.keeps_last_epoch else f", for {epochs} epoch{'' if epochs == 1 else 's'}, as many as were kept"
        )
        report(StageNotice(f"The classifier is fitted once more, on all {whole.task.size:,} rows{as_many}."))
        _run_training(FinalFit(whole, state), loop.settings, emit)
    return state.best


def _run_training(work: Loop, settings: Settings, emit: Callable[[Any], None]) -> None:
    """Run a training in this process, or in several new ones if `settings.processes` says so.

    Args:
        work: the training to run.
        settings: the settings of the run.
        emit: the function to call with each event, and with the state after each epoch.
    """
    with silence_fabric():
        fabric = _make_fabric(settings)
        if settings.processes > 1:
            run_in_processes(fabric, work, emit)
        else:
            with _restore_random_generators():
                work.fit(fabric, emit, lambda: False)


def _make_fabric(settings: Settings) -> Fabric:
    """Make the `Fabric` that runs a training with the device, the number of processes and the precision of the
    settings."""
    has_cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not has_cuda:
        raise InputError(
            "--device is cuda, but PyTorch finds no CUDA device.",
            "Give --device cpu, or install a PyTorch that is built for CUDA.",
        )
    accelerator = "cuda" if has_cuda and settings.device != "cpu" else "cpu"
    if accelerator == "cuda" and settings.processes > torch.cuda.device_count():
        raise InputError(
            f"--processes is {settings.processes}, and each process needs a CUDA device of its own, but there are only "
            f"{torch.cuda.device_count()}.",
            "Give a smaller number of processes, or --device cpu.",
        )
    with silence_fabric():
        return Fabric(
            accelerator=accelerator,
            devices=settings.processes,
            strategy="auto" if settings.processes == 1 else "ddp_spawn",
            precision={"fp32": "32-true", "bf16": "bf16-mixed"}[settings.precision],  # type: ignore[arg-type]
        )


def _compute_run_digest(task: Task, settings: Settings) -> str:
    """Compute a SHA-256 of all that determines the trained weights: the encoded rows and most settings.

    Settings that may change when a run is resumed, such as `device`, are left out.
    """
    digest = hashlib.sha256()
    if task.teaching is not None:
        for part in (task.teaching.answers.values, task.teaching.answers.places, task.teaching.label_share):
            digest.update(np.ascontiguousarray(part).data)
    for rows, targets in ((task.rows, task.targets), (task.validation_rows, task.validation_targets)):
        for array in (rows.values, rows.offsets, targets):
            digest.update(np.ascontiguousarray(array).data)
    for steps in (task.step_targets, task.validation_step_targets):
        if steps is not None:
            digest.update(steps.ids.data)
    if task.outside_rows is not None:
        for array in (task.outside_rows.values, task.outside_rows.offsets):
            digest.update(np.ascontiguousarray(array).data)
    decisive = {n: v for n, v in asdict(settings).items() if n not in ANY_TIME}
    parts = None if task.parts is None else asdict(task.parts)
    start = None if task.vectors is None else hashlib.sha256(task.vectors.values.data).hexdigest()
    for name, tensor in sorted((task.weights or {}).items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().data)
    names = [task.vocabulary, task.labels, start, parts]
    digest.update(json.dumps([decisive, make_rules_member(task.rules), *names]).encode())
    return digest.hexdigest()


@contextmanager
def _restore_random_generators() -> Iterator[None]:
    """Restore the state of torch's global random generators at the end of the `with` block."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        yield
