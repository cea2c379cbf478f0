"""Compare a module with the answers of its owner's classifier, before the module is traced.

So wrong text rules, labels or weights are refused within seconds. The written bundle is compared once more.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from torch import nn

from pocketrnn.bundle.output_kinds import HeadsOutput, LabelOutput
from pocketrnn.errors import LimitError, ParityError, PocketRNNError
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.text import TextEncoder
from pocketrnn.text.text_row_encoder import Text
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule
from pocketrnn_export.vocabularies.answer_distances import (
    AnsweredText,
    AnswerSource,
    Probabilities,
    find_reach_of_probabilities_as_logits,
)
from pocketrnn_export.vocabularies.checkpoint_text_settings import NamedLength
from pocketrnn_export.vocabularies.label_order_by_answers import find_likelier_order
from pocketrnn_export.vocabularies.labels import write_labels
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError, refuse_other_answers
from pocketrnn_export.vocabularies.rules_in_code_that_give_owner_answers import ListRulesInCode

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnswersBeside:
    """Answers of the user's classifier in a file near the module that no option names. Only the order of the labels is
    compared with them.

    Attributes:
        file: the file of the answers.
        answered: the texts with the answers; empty if there are none.
        note: what to log if the answers do not show the order of the labels; empty to log nothing.
    """

    file: str
    answered: Sequence[AnsweredText]
    note: str


_beside: Final[ContextVar[AnswersBeside | None]] = ContextVar("beside", default=None)
_others: Final[ContextVar[Callable[[], Iterable[tuple[str, nn.Module]]]]] = ContextVar("others", default=tuple)
_lengths: Final[ContextVar[Callable[[], Sequence[NamedLength]]]] = ContextVar("lengths", default=tuple)
_weights: Final[ContextVar[str]] = ContextVar("weights", default="")
_stop_words: Final[ContextVar[Callable[[], Sequence[Sequence[str]]]]] = ContextVar("stop_words", default=tuple)
_rules_in_code: Final[ContextVar[ListRulesInCode]] = ContextVar("rules_in_code", default=lambda _: ())
# The texts that are answered one by one before the work: a slow module takes some 10 ms for each. Some have characters
# outside ASCII, and some are the longest: these tell most about text rules.
_TEXTS: Final = 200
_OUTSIDE_ASCII: Final = 40
_LONGEST: Final = 10
# The logits that are kept, since rules and activations that are tried often ask for the same ids.
_KEPT_ANSWERS: Final = 20_000


@contextlib.contextmanager
def try_weights_lengths_and_stop_words_if_answers_differ(
    list_modules: Callable[[], Iterable[tuple[str, nn.Module]]],
    list_lengths: Callable[[], Sequence[NamedLength]],
    list_stop_words: Callable[[], Sequence[Sequence[str]]],
    weights: str = "",
    list_rules_in_code: ListRulesInCode = lambda _: (),
) -> Iterator[None]:
    """While the block runs, let an export whose module gives other answers than the user's classifier also try other
    weights, lengths of texts and stop words, which the user's files name, and the text rules of the user's functions.

    Args:
        list_modules: returns pairs (file of weights, module with these weights).
        list_lengths: returns the lengths of texts.
        list_stop_words: returns a list of stop words for each file that has some.
        weights: the file of the module's own weights; empty if it is not known.
        list_rules_in_code: lists the functions of the user's code that may split texts, with their text rules.
    """
    before = _others.set(list_modules), _lengths.set(list_lengths), _stop_words.set(list_stop_words)
    own, of_code = _weights.set(weights), _rules_in_code.set(list_rules_in_code)
    try:
        yield
    finally:
        _others.reset(before[0])
        _lengths.reset(before[1])
        _stop_words.reset(before[2])
        _weights.reset(own)
        _rules_in_code.reset(of_code)


@contextlib.contextmanager
def compare_label_order(beside: AnswersBeside) -> Iterator[None]:
    """While the block runs, let an export compare the order of the labels with `beside`, answers of the user's
    classifier that no argument of `export` names."""
    before = _beside.set(beside)
    try:
        yield
    finally:
        _beside.reset(before)


def _refuse_other_label_order(prepared: ExportableModule, description: Description) -> None:
    """Raise an OtherAnswersError if most of the answers that `compare_label_order` was given would agree with the
    labels in another order. Other differences are ignored, since the text rules may be wrong."""
    beside, output = _beside.get(), description.output
    if beside is None or not isinstance(output, LabelOutput) or output.activation == "sigmoid":
        return
    source = _make_answer_source(prepared, description, output, slice(0, len(output.labels)))
    rows = []
    for one in beside.answered:
        with contextlib.suppress(PocketRNNError):
            rows.append((one, source.answer_text(one.read)))
    order = find_likelier_order(source, rows)
    if order.is_sure and order.labels != [*output.labels]:
        raise OtherAnswersError(
            f"The labels are in another order than the answers in {beside.file} show.",
            f"{order.sentence} Give the labels in the order of your classifier's logits.",
            options={"labels": write_labels(order.labels), "pairs": beside.file},
        )
    if not order.is_sure and beside.note:
        _log.warning("%s", beside.note)


def list_modules_with_other_weights() -> Iterator[tuple[str, nn.Module]]:
    """Yield pairs (file, module), one for each further file of weights that may be tried. The module has the weights of
    this file."""
    yield from _others.get()()


def refuse_module_with_other_answers(
    prepared: ExportableModule,
    description: Description,
    answered: Sequence[AnsweredText],
    prepare_others: Callable[[ExportableModule], Iterable[tuple[str, ExportableModule]]] = lambda _: (),
) -> None:
    """Raise a ParityError if the answers of a module to some texts differ from those of the user's classifier. Texts
    with features, two texts and labels of tokens are not compared here, but later with the written bundle.

    Args:
        answered: texts with the user's answers.
        prepare_others: returns pairs (file of weights, prepared module with these weights) to try if answers differ.

    Raises:
        ParityError: an answer differs. The message has the likely cause.
    """
    text, output = description.text, description.output
    if text.pairs or text.features or description.spellings is not None or output.of_tokens:
        return
    if not answered:
        _refuse_other_label_order(prepared, description)
        return
    _log.info("Comparing the module with your classifier's answers")
    heads = output.heads if isinstance(output, HeadsOutput) else {"": output}
    begin = 0
    for name, one in heads.items():
        if not isinstance(one, LabelOutput):
            return
        of_head = [row for row in answered if row.head == name]
        columns = slice(begin, begin + len(one.labels))
        source = _make_answer_source(prepared, description, one, columns)
        others = (
            (file, _make_answer_source(other, description, one, columns))
            for file, other in (prepare_others(prepared) if not name else ())
        )
        begin += len(one.labels)
        try:
            compared = choose_texts_to_compare(of_head)
            taken = {id(row) for row in compared}
            rest = [row for row in of_head if id(row) not in taken]
            refuse_other_answers(source, compared, rest, others, _rules_in_code.get())
        except OtherAnswersError as error:
            if not name:
                raise
            raise ParityError(f"In the head {name!r}, answers differ: {error.problem}", error.remedy) from None


def choose_texts_to_compare(rows: Sequence[AnsweredText]) -> list[AnsweredText]:
    """Choose the texts that are compared, in their order: some with characters outside ASCII, some of the longest, and
    the first of the others. Return all texts if there are few."""
    odd = [i for i, row in enumerate(rows) if not row.text.isascii()][:_OUTSIDE_ASCII]
    longest = sorted(range(len(rows)), key=lambda i: -len(rows[i].text))[:_LONGEST]
    chosen = [*dict.fromkeys([*odd, *longest, *range(len(rows))])][:_TEXTS]
    return [rows[i] for i in sorted(chosen)]


def encode_text_or_tokens(encoder: TextEncoder, read: Text) -> list[int]:
    """Return the ids of what a bundle gets for a text: the text itself, its tokens, or its ids."""
    if isinstance(read, str):
        return encoder.encode(read)
    given: list[Any] = list(read)
    return given if given and not isinstance(given[0], str) else encoder.encode_tokens(given)


def _make_answer_source(
    prepared: ExportableModule, description: Description, output: LabelOutput, columns: slice
) -> AnswerSource:
    """Make an `AnswerSource` that answers with a module. The answers come from the slice `columns` of the logits, which
    belongs to the head with this `output`."""
    run = prepared.make_reference().run
    encode = functools.partial(encode_text_or_tokens, description.encoder())

    @functools.lru_cache(_KEPT_ANSWERS)
    def compute_logits(ids: tuple[int, ...]) -> Any:
        row = np.asarray([ids], np.int64)
        if len(ids) < prepared.least or (prepared.needs_real_token and not (row != prepared.padding_id).any()):
            raise LimitError("The module does not take a text of this length.", "Give a text of another length.")
        logits = run(row, np.asarray([len(ids)], np.int64))[:, columns]
        if not np.isfinite(logits).all():
            raise LimitError("The module's answer to this text is infinite or NaN.", "Give another text.")
        return np.asarray(logits, np.float32)

    convention = prepared.convention
    rows = max((one.num_embeddings for one in prepared.module.modules() if isinstance(one, nn.Embedding)), default=0)

    def make(
        activation: str, thresholds: tuple[float, ...] | None, other: AnswerSource | None = None, gives: str = ""
    ) -> AnswerSource:
        chosen = Answers(description.name, output.labels, activation, thresholds)
        as_logits = find_reach_of_probabilities_as_logits(len(output.labels), multi_label=activation == "sigmoid")

        def answer_ids(ids: Sequence[int]) -> Probabilities:
            logits = compute_logits(tuple(ids))
            if gives:
                logits = _take_otherwise(logits, output, convention)
            numbers = logits if gives == "probabilities" else chosen.probabilities(logits)
            return np.asarray(numbers[0], np.float64)

        return AnswerSource(
            "module", output.labels, activation, description.text, encode, answer_ids,
            lambda read: answer_ids(encode(read)), thresholds, convention.units == 1,
            rows, _lengths.get()(), _stop_words.get()(), other, weights=_weights.get(), gives=gives,
            reach=as_logits if gives == "logits" else (0.0, 1.0),
        )  # fmt: skip

    # Probabilities were made by one of the two, and one number has only a sigmoid.
    has_other = convention.units > 1 and not convention.gives_probabilities and not prepared.heads
    inactive = "sigmoid" if output.activation == "softmax" else "softmax"
    other = make(inactive, None) if has_other else None
    readings: tuple[AnswerSource, ...] = ()
    if not prepared.heads:
        gives = "logits" if convention.gives_probabilities else "probabilities"
        activations = [output.activation, *([inactive] if convention.units > 1 else [])]
        readings = (*(make(one, None, gives=gives) for one in activations),)
    return replace(make(output.activation, output.thresholds, other), readings=readings)


def _take_otherwise(logits: Any, output: LabelOutput, convention: Convention) -> Any:
    """Return what the module itself gives, from the logits that an export makes of it: its probabilities, or, if the
    export takes its numbers for logits, these numbers. A module's single number becomes that of the second label.

    Args:
        logits: the logits of the bundle, [texts, labels].
        output: the labels, with their activation.
        convention: how the module is called, and what it gives.
    """
    own = logits
    if convention.gives_probabilities:
        own = Answers("", output.labels, output.activation).probabilities(logits)
        if convention.units == 1:
            own = np.stack([np.zeros_like(own[:, 1]), own[:, 1]], 1)
    elif convention.units == 1:
        own = np.stack([1 - own[:, 1], own[:, 1]], 1)
    return np.asarray(own, np.float32)
