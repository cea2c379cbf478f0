"""Prepare labelled texts for training: split the rows, choose the vocabulary, encode the texts, and make notices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pocketrnn.errors import InputError, short_repr
from pocketrnn.tables.row_batches import LABEL_SEPARATOR
from pocketrnn.text import SUBWORDS, AnyTextRules, TextEncoder
from pocketrnn.text.pairs import PairEncoder
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.checkpoint import MADE_EXAMPLES, Checkpoint
from pocketrnn_training.preparation.batch_augmentation import WordDropout
from pocketrnn_training.preparation.class_weights_and_notices import compute_class_weights, make_class_notices
from pocketrnn_training.preparation.continued_training import (
    StartingCheckpoint,
    add_checkpoint_labels,
    make_settings_from_checkpoint,
)
from pocketrnn_training.preparation.distillation import (
    TeacherSummary,
    get_targets_filled_with_teacher_answers,
    make_teacher_targets,
    measure_teacher,
)
from pocketrnn_training.preparation.example_texts import choose_short_texts, make_random_texts
from pocketrnn_training.preparation.prepared_data import OtherSources, Task, describe_rows
from pocketrnn_training.rows.encoded_rows import EncodedTexts
from pocketrnn_training.rows.labelled_pairs import LabelledPairs
from pocketrnn_training.rows.labelled_texts import LabelledTexts
from pocketrnn_training.settings.text_settings import BPE, TextSettings
from pocketrnn_training.texts import vocabulary, word_vectors
from pocketrnn_training.texts.linear_part import LinearPart
from pocketrnn_training.texts.spelling_embedding import Spelling
from pocketrnn_training.texts.word_or_piece_choice import TokenChoice, TokenizedTexts, encode_with_rules_and_fit
from pocketrnn_training.training_events import Notice

__all__ = ["prepare_texts"]

_NO_OTHER_SOURCES: Final = OtherSources()


def prepare_texts(
    data: LabelledTexts,
    validation: LabelledTexts | None,
    settings: TextSettings,
    report: Callable[[Notice], None],
    *,
    examples: Sequence[str] | None = None,
    other_sources: OtherSources = _NO_OTHER_SOURCES,
) -> tuple[Task, TextSettings]:
    """Prepare labelled texts for training: hold out validation rows, check the rows, and encode all texts as ids.

    Args:
        data: the training rows, from which validation rows are held out if `validation` is None.
        validation: the validation rows, or None.
        settings: the user's settings.
        report: the function to call with notices for the owner of the data.
        examples: texts to store in the checkpoint; None for some validation texts; an empty sequence for random texts
            made of the vocabulary's words.
        other_sources: what the run learns from in addition to the rows.

    Returns:
        the prepared data; and the settings, with a value for each None that the data decides.

    Raises:
        InputError: a setting does not fit the others, the data or the vectors.
        DataError: the data or the word vectors cannot be used.
    """
    before = other_sources.before
    if before is not None:
        data, validation, settings = _adapt_rows_and_settings_to_checkpoint(
            data, validation, settings, other_sources, before
        )
    data = data if other_sources.teacher is None else data.add_teacher_answers(other_sources.teacher)
    _refuse_unfit_settings(data, settings)
    data, validation = data.split(validation, settings)
    outside = [*data.outside, *validation.outside]
    teacher = measure_teacher(data, validation)
    for text in [*_make_notices(data, validation, settings), *([] if teacher is None else [teacher.notice])]:
        report(Notice(text))
    decided = settings.fill_missing_values(len(data), len(data.labels), several_labels=data.several_labels)
    encoded, architecture, weights = _encode_texts(data, validation, settings, decided, other_sources, report)
    rules, tokens, start = encoded.rules, encoded.vocabulary, encoded.vectors
    encoder = (PairEncoder if architecture.two_texts else TextEncoder)(rules, tokens)
    task = Task(
        rules=rules,
        vocabulary=tokens,
        labels=data.labels,
        architecture=_set_or_remove_linear_part(architecture, encoded.linear),
        changes=_make_word_dropout(settings.word_dropout, rules),
        vectors=start,
        spelling=_find_shared_word_fragments(decided, rules, tokens) if before is None else None,
        linear=encoded.linear,
        weights=weights,
        rows=encoded.texts,
        words=encoded.words,
        piece_dropout=settings.piece_dropout,
        adversarial=settings.adversarial,
        targets=get_targets_filled_with_teacher_answers(data),
        teaching=make_teacher_targets(data, settings.teacher_weight, settings.teacher_temperature),
        class_weights=compute_class_weights(data.counts(), balanced=settings.class_weights == "balanced"),
        validation_rows=encoded.validation_texts,
        validation_targets=validation.targets,
        outside_rows=EncodedTexts.from_texts(outside, encoder) if outside else None,
        examples=tuple(examples or _choose_examples(validation, tokens, rules, random_texts=examples is not None)),
        about=describe_rows(data, validation)
        | {"word_vectors": None if start is None else _describe_vectors(start)}
        | _describe_other_sources_for_checkpoint(
            len(outside), teacher, before, random_examples=examples is not None and not examples
        ),
    )
    return task, _record_choices_of_encoding_in_settings(decided, rules, task, len(data.single_texts))


def _encode_texts(
    data: LabelledTexts,
    validation: LabelledTexts,
    settings: TextSettings,
    decided: TextSettings,
    other_sources: OtherSources,
    report: Callable[[Notice], None],
) -> tuple[TokenizedTexts, Architecture, dict[str, Tensor] | None]:
    """Encode the training and validation rows as ids, and choose the architecture of the module.

    The two texts of a pair are first cut into tokens, and then joined to one row.

    Args:
        data: the training rows.
        validation: the validation rows.
        settings: the settings as the user gave them.
        decided: the settings with a value for each one that the user left open.
        other_sources: the word vectors, and the checkpoint from which the run continues.
        report: the function to call with each notice for the user.

    Returns:
        The encoded rows; the architecture, to which the linear part of a new classifier is added later; and the weights
        from which the run continues, by name, or None for new weights.
    """
    texts, held_out, before = data.single_texts, validation.single_texts, other_sources.before
    weights = None
    if before is None:
        encoded = TokenChoice(texts, held_out, settings, decided, other_sources.word_vectors, report).tokenize_texts()
        architecture = _make_architecture(decided, len(encoded.vocabulary), len(data.labels), encoded.vectors)
    else:
        going_on = StartingCheckpoint.from_checkpoint(before, texts.texts, settings)
        report(Notice(going_on.make_notice(data)))
        architecture = going_on.make_architecture(len(data.labels), decided.dropout or 0.0)
        vocabulary_of, pairs = going_on.vocabulary, architecture.pairs
        encoded = encode_with_rules_and_fit(texts, held_out, settings, before.text_rules, vocabulary_of, pairs)
        weights = going_on.make_weights(data, settings.seed)
    _report_long_texts(encoded.texts.lengths, encoded.rules.max_tokens, report)
    if isinstance(data, LabelledPairs):
        return encoded.join_pairs(), replace(architecture, two_texts=True), weights
    return encoded, architecture, weights


def _choose_examples(
    validation: LabelledTexts, tokens: Sequence[str], rules: AnyTextRules, *, random_texts: bool
) -> Sequence[Any]:
    """Choose some validation texts as examples for the checkpoint; if `random_texts`, make them of random tokens."""
    if not random_texts:
        return choose_short_texts(validation.inputs)
    texts = make_random_texts(tokens, rules)
    return list(zip(texts, reversed(texts), strict=True)) if isinstance(validation, LabelledPairs) else texts


def _adapt_rows_and_settings_to_checkpoint(
    data: LabelledTexts,
    validation: LabelledTexts | None,
    settings: TextSettings,
    other_sources: OtherSources,
    before: Checkpoint,
) -> tuple[LabelledTexts, LabelledTexts | None, TextSettings]:
    """Adapt rows and settings to the labels, tokenizer and architecture of the checkpoint that the run continues from.

    Args:
        data: the training rows.
        validation: the validation rows, or None.
        settings: the user's settings.
        other_sources: word vectors among them are refused.
        before: the checkpoint.

    Returns:
        the training rows, the validation rows or None, and the settings.

    Raises:
        InputError: the user asks for word vectors, for `spelling`, or for another tokenizer or architecture.
    """
    if other_sources.word_vectors is not None:
        raise InputError(
            "Word vectors (--vectors) cannot be used in a run that continues from a checkpoint (--from): the run keeps "
            "the embeddings of the checkpoint.",
            "Leave out --vectors.",
        )
    settings, data = make_settings_from_checkpoint(before, settings), add_checkpoint_labels(before, data)
    if settings.spelling:
        raise InputError(
            "--spelling cannot be used in a run that continues from a checkpoint (--from), since the run keeps the "
            "embeddings of the checkpoint.",
            "Leave out --spelling.",
        )
    return data, None if validation is None else add_checkpoint_labels(before, validation), settings


def _set_or_remove_linear_part(architecture: Architecture, linear: LinearPart | None) -> Architecture:
    """Return the architecture with the table sizes of the linear part, or without a linear part if `linear` is None."""
    if linear is None:
        return architecture.without_linear_part
    return replace(architecture, pairs=linear.counted.pairs, joints=linear.counted.joints)


def _make_word_dropout(share: float, rules: AnyTextRules) -> WordDropout | None:
    """Make the word dropout with this share; None if the share is 0 or the rules have no unknown token."""
    if not share or rules.unknown_id is None:
        return None
    return WordDropout(share, rules.unknown_id, rules.padding_id)


def _record_choices_of_encoding_in_settings(
    decided: TextSettings, rules: AnyTextRules, task: Task, text_count: int
) -> TextSettings:
    """Return the settings with the values that the encoding of the texts has decided.

    These are `tokenizer`, `min_freq`, `spelling` and `linear`.

    Args:
        decided: the settings so far.
        rules: the chosen tokenizer.
        task: the prepared data.
        text_count: the number of training texts, which decides the least frequency.
    """
    tokenizer = BPE if rules.tokenizer == SUBWORDS else rules.tokenizer
    return replace(
        decided,
        tokenizer=tokenizer,
        min_freq=decided.min_freq_for(text_count, of_words=tokenizer != BPE),
        spelling=task.spelling is not None,
        linear=task.linear is not None,
    )


def _report_long_texts(
    lengths: npt.NDArray[np.int64], max_tokens: int | None, report: Callable[[Notice], None]
) -> None:
    """Report how many training rows have `max_tokens` tokens, after which texts are cut off; None for no limit.

    `lengths`, int64 [rows], is the number of tokens of each row.
    """
    if max_tokens is not None and (long := int((lengths >= max_tokens).sum())):
        report(
            Notice(
                f"{long:,} of {len(lengths):,} training rows have {max_tokens:,} tokens or more. Only the "
                f"first {max_tokens:,} are read; --max-tokens reads more."
            )
        )


def _describe_other_sources_for_checkpoint(
    outside_rows: int, teacher: TeacherSummary | None, before: Checkpoint | None, *, random_examples: bool
) -> dict[str, Any]:
    """Describe for a checkpoint's `data` what the run learnt from besides its rows; absent sources are left out.

    Args:
        outside_rows: the number of texts of none of the classes.
        teacher: the scores of the teacher, or None.
        before: the checkpoint that the run continued from, or None.
        random_examples: whether the examples are random texts.
    """
    return (
        ({"outside_rows": outside_rows} if outside_rows else {})
        | ({} if teacher is None else {"teacher": teacher.figures})
        | ({} if before is None else {"from": {"name": before.name, "data": dict(before.data)}})
        | ({"examples": MADE_EXAMPLES} if random_examples else {})
    )


def _refuse_unfit_settings(data: LabelledTexts, settings: TextSettings) -> None:
    """Raise an InputError if settings do not fit each other or the labels of the texts."""
    settings.check_tokens()
    if settings.linear and (data.several_labels or data.answers is not None):
        what = "texts with several labels" if data.several_labels else "a teacher's answers"
        raise InputError(
            f"--linear needs exactly one label for each text, but the data has {what}.",
            "Leave out --linear.",
        )
    if data.several_labels and settings.class_weights != "none":
        raise InputError(
            "Class weights (--class-weights) are for texts with one label, but these texts can have several.",
            "Leave out --class-weights: the threshold that is chosen for each label serves the same purpose.",
        )
    if data.several_labels and settings.none_of_these is not None:
        raise InputError(
            "--none-of-these is for texts with one label, but these texts can have several, and each label has a "
            "threshold anyway.",
            "Leave out --none-of-these.",
        )


def _find_shared_word_fragments(decided: TextSettings, rules: AnyTextRules, tokens: Sequence[str]) -> Spelling | None:
    """Find the fragments that words of the vocabulary have in common, such as `-ing`; training shares their embeddings.

    Return None if there are no such fragments, the setting `spelling` is off, or the tokens are pieces of words.
    """
    if not decided.spelling or rules.tokenizer == SUBWORDS:
        return None
    found = Spelling.from_vocabulary(tokens, first_word_id=len(vocabulary.SPECIALS))
    return found if found.size else None


def _make_notices(data: LabelledTexts, validation: LabelledTexts, settings: TextSettings) -> list[str]:
    """Make sentences for the user about problems of the rows.

    The problems are empty or repeated texts, the same text with different labels, validation rows whose text is also a
    training text, and classes with few rows.
    """
    notices = []
    texts = data.single_texts.texts
    if empty := sum(not text.strip() for text in texts):
        are = "rows have an empty text" if texts is data.texts else "texts are empty"
        notices.append(f"{empty:,} of {len(texts):,} training {are}, which is learnt from as it is.")
    hashes = data.hashes
    _, first, groups = np.unique(hashes, return_index=True, return_inverse=True)
    if copies := len(hashes) - len(first):
        notices.append(f"{copies:,} of {len(data):,} training rows repeat the {data.ROW} of another.")
    labelled = np.flatnonzero(data.labelled)
    # With several labels, a hash that is the same for the same set of labels.
    codes = _hash_label_sets(data.targets) if data.several_labels else data.targets
    label_of_group = np.empty(len(first), dtype=np.int64)
    label_of_group[groups[labelled]] = codes[labelled]
    in_conflict = np.zeros(len(first), dtype=bool)
    in_conflict[groups[labelled[codes[labelled] != label_of_group[groups[labelled]]]]] = True
    conflicts = np.flatnonzero(in_conflict)
    if len(conflicts):
        text = data.format_row(int(first[conflicts[0]]))
        how = "are labelled in several ways" if data.several_labels else "have several labels"
        notices.append(f"{len(conflicts):,} {data.ROW}s of the training rows {how}, such as {short_repr(text)}.")
    notices += _make_multi_label_notices(data)
    skewed = settings.class_weights == "none" and not data.several_labels
    if validation is data:
        return [*notices, *make_class_notices(data.labels, data.counts(), None, warn_of_skew=skewed)]
    leaked = np.flatnonzero(np.isin(validation.hashes, hashes))
    if len(leaked):
        text = validation.format_row(int(leaked[0]))
        notices.append(
            f"{len(leaked):,} of {len(validation):,} validation rows have a {data.ROW} that is trained on, such as "
            f"{short_repr(text)}: the accuracy on new texts may be lower."
        )
    return [*notices, *make_class_notices(data.labels, data.counts(), validation.counts(), warn_of_skew=skewed)]


def _make_multi_label_notices(data: LabelledTexts) -> list[str]:
    """Make a notice if the option --multi-label seems to be missing, or has no effect; else an empty list."""
    if data.several_labels:
        if data.targets.sum(axis=1).max() <= 1:
            return ["No training row has several labels. If each text has one, train without --multi-label."]
        return []
    joined = [label for label in data.labels if LABEL_SEPARATOR in label]
    parts_of = [{part.strip() for part in label.split(LABEL_SEPARATOR)} for label in joined]
    occur = Counter(chain(*parts_of, data.labels))
    if not any(occur[part] > 1 for part in chain(*parts_of)):
        return []
    return [
        f"{len(joined):,} classes hold {LABEL_SEPARATOR!r}, such as {short_repr(joined[0], 40)}, and are learnt as "
        "such. If these are several labels of one text, train with --multi-label."
    ]


def _hash_label_sets(targets: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Compute a hash of each row's labels, int64 [rows]."""
    return np.fromiter((hash(row.tobytes()) for row in np.packbits(targets, axis=1)), np.int64, len(targets))


def _make_architecture(
    settings: TextSettings, vocabulary_size: int, classes: int, vectors: word_vectors.Vectors | None
) -> Architecture:
    assert settings.dropout is not None  # noqa: S101 - it was decided
    assert settings.hidden_dim is not None  # noqa: S101 - it was, too
    return Architecture(
        cell=settings.cell,
        vocabulary_size=vocabulary_size,
        embedding_dim=_choose_embedding_dim(settings.embedding_dim, vectors),
        hidden_dim=settings.hidden_dim,
        layers=settings.layers,
        bidirectional=settings.bidirectional,
        dropout=settings.dropout,
        pooling=settings.pooling,
        packed=settings.packed,
        classes=classes,
        padding_id=vocabulary.PADDING,
    )


def _choose_embedding_dim(asked: int | None, vectors: word_vectors.Vectors | None) -> int:
    """Return the dimension of the embeddings: that of the word vectors; without vectors, the one asked for, or 64.

    Raises:
        InputError: the user asks for another dimension than that of the word vectors.
    """
    if vectors is None:
        return 64 if asked is None else asked
    dimensions = int(vectors.values.shape[1])
    if asked not in (None, dimensions):
        raise InputError(
            f"embedding_dim is {asked}, but the word vectors have {dimensions} dimensions.",
            f"Leave out embedding_dim, or set it to {dimensions}.",
        )
    return dimensions


def _describe_vectors(vectors: word_vectors.Vectors) -> dict[str, Any]:
    """Describe the word vectors for a checkpoint's `data`: their file, and how many words they had or added."""
    added = len(vectors.added)
    return {"source": vectors.source, "words_found": len(vectors.ids) - added, "words_added": added}
