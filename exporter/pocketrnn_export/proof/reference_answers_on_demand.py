"""Compute the reference's answers to the cases of a proof when they are needed, in single and double precision."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.comparing.answer_rows_without_padding import split_answer_rows_by_text
from pocketrnn_export.comparing.answer_spread_by_rounding import ExactAnswer
from pocketrnn_export.comparing.float64_proof import compute_rounding_tolerance
from pocketrnn_export.comparing.logit_comparison import LEAST_TOLERANCE, Reference, measure_difference
from pocketrnn_export.comparing.proof_inputs import Case, Logits, split_cases_into_single_rows
from pocketrnn_export.progress import log_item_progress

_log = logging.getLogger(__name__)
# The kind of inputs that a module may refuse, since its owner never gives them: a text that begins with padding.
_MAY_FAIL: Final = "hazards"
# The tokens of a batch of texts that are answered together in double precision.
JOINED_TOKENS: Final = 8_192


class ReferenceAnswers:
    """The answers of the reference, which is the module or a bundle's graph, to the cases of a proof.

    Args:
        reference: a function that computes the answers.
        cases: the cases by kind of inputs; the kind of the texts is `texts`.
        rows_alone: whether each row's answer is independent of the other rows of a case and of its padding: then the
            exact answers to single rows are taken from those to the whole case.
    """

    def __init__(self, reference: Reference, cases: Mapping[str, Sequence[Case]], *, rows_alone: bool) -> None:
        self.reference = reference
        self.kinds = tuple(cases)
        # The reason if there are no answers in double precision.
        self.not_exact: str | None = None
        self._cases = cases
        self._rows_alone = rows_alone
        self._spreads: dict[int, ExactAnswer] = {}

    @functools.cache  # noqa: B019 - it lives as long as one proof
    def compute_answers(self, inputs: str, *, one_row: bool) -> list[tuple[Case, Logits]]:
        """Return the batches of the kind `inputs`, such as "texts", each with the reference's answer in single
        precision. Rows without a finite answer are left out. With `one_row`, each row is a batch of its own.

        Raises:
            ExportError: the reference fails, or its answer to one of the user's texts is not finite.
        """
        cases = split_cases_into_single_rows(self._cases[inputs]) if one_row else self._cases[inputs]
        answered = []
        for case in log_item_progress(cases, f"Running {self.reference.name} on {inputs}"):
            try:
                answered += self._run_and_drop_rows_without_answer(case, inputs)
            # A user's module may raise anything; the run of a prepared module raises a clear error already.
            except Exception as error:
                if inputs != _MAY_FAIL and isinstance(error, PocketRNNError):
                    raise
                if inputs != _MAY_FAIL:
                    raise ExportError(
                        f"{self.reference.name} fails on an input of the proof ({inputs}, {case.name}): "
                        f"{first_line(error)}.",
                        "Change forward so that it answers texts of any length and with any token id. For an empty "
                        "text, forward gets the single id `empty_id` of the text rules.",
                    ) from error
                _log.info("Left out of the proof: %s fails on %s", self.reference.name, case.name)
        return answered

    def compute_all_answers(self, *, one_row: bool) -> list[tuple[Case, Logits]]:
        """Return the batches of all kinds, each with the reference's answer in single precision. With `one_row`, each
        row is a batch of its own."""
        return [pair for inputs in self.kinds for pair in self.compute_answers(inputs, one_row=one_row)]

    def _run_and_drop_rows_without_answer(self, case: Case, inputs: str) -> list[tuple[Case, Logits]]:
        """Run the reference on a batch, and drop the rows whose answer is not finite, such as a text that consists of
        padding. Return a list of one pair, the remaining rows and their answer, or an empty list if no row remains.

        Args:
            inputs: its kind, "texts" for the user's texts.

        Raises:
            ExportError: the answer to one of the user's texts is not finite.
        """
        logits = self.reference.run(case.tokens, case.lengths)
        answered = np.array([_is_answer_finite(rows) for rows in split_answer_rows_by_text(logits, case.lengths)])
        if answered.all():
            return [(case, logits)]
        if inputs == "texts":
            raise ExportError(
                f"{self.reference.name} gives NaN or infinity for {case.name}, whose first token ids are "
                f"{case.tokens[0, :10].tolist()}.",
                "If this is the empty text, set another `empty_id` in the text rules. Otherwise, fill masked values "
                "with a large negative number, such as -1e9, and not with minus infinity.",
            )
        _log.info("Left out of the proof: the rows without a finite answer in %s", case.name)
        if not answered.any():
            return []
        lengths = case.lengths[answered]
        rest = Case(case.name, np.ascontiguousarray(case.tokens[answered, : lengths.max()]), lengths)
        return self._run_and_drop_rows_without_answer(rest, inputs)

    @functools.cache  # noqa: B019 - it lives as long as one proof
    def compute_exact_answers_of_kind(self, inputs: str, *, one_row: bool) -> list[ExactAnswer] | None:
        """Return the reference's answers in double precision to the batches of the kind `inputs`, or to each of their
        rows if `one_row`. If the reference cannot compute these answers, return None and store the reason in
        `not_exact`."""
        try:
            if one_row and self._rows_alone:
                whole = self.compute_exact_answers_of_kind(inputs, one_row=False)
                rows = [case for case, _ in self.compute_answers(inputs, one_row=True)]
                return None if whole is None else _split_batch_answers_into_texts(whole, rows)
            if inputs == "texts" and not one_row:
                return self._compute_text_answers(spreads=False)
            cases = [case for case, _ in self.compute_answers(inputs, one_row=one_row)]
            return self.reference.compute_exact_answers(cases, spreads=False, inputs=inputs)
        except ExportError as error:
            self.not_exact = first_line(error)
            return None

    def compute_exact_answer_with_rounding(self, case: Case) -> ExactAnswer | None:
        """Return the reference's answer to a batch in double precision, with how far rounding may move each number of
        the answer. If the reference cannot compute them, return None and store the reason in `not_exact`."""
        if id(case) not in self._spreads:
            try:
                (self._spreads[id(case)],) = self.reference.compute_exact_answers(
                    [case], spreads=True, inputs=case.name
                )
            except ExportError as error:
                self.not_exact = first_line(error)
                return None
        return self._spreads[id(case)]

    def measure_float64_error(self, inputs: str, case_name: str) -> float | None:
        """Return the largest difference between the reference's answers to a batch in single and in double precision.
        The batch is given by its kind, `inputs`, and its name. Return None if there is no such batch, or no answer in
        double precision."""
        for one_row in (False, True):
            for case, logits in self.compute_answers(inputs, one_row=one_row):
                if case.name == case_name:
                    exact = self.compute_exact_answer_with_rounding(case)
                    return None if exact is None else measure_difference("", case_name, exact.logits, logits).largest
        return None

    @functools.cached_property
    def tolerance(self) -> float:
        """The largest difference from the reference's answers to the texts that `pocketrnn verify` accepts when it runs
        a bundle again: the difference that rounding can cause, but at least 1e-5."""
        try:
            return compute_rounding_tolerance(self._compute_text_answers(spreads=True))
        except ExportError as error:
            self.not_exact = first_line(error)
            return LEAST_TOLERANCE

    @functools.cache  # noqa: B019 - it lives as long as one proof
    def _compute_text_answers(self, *, spreads: bool) -> list[ExactAnswer]:
        """Compute the answers to the texts in double precision. With `spreads`, also compute how far rounding may move
        each answer.

        If a text's answer is independent of its batch, texts with equally many tokens run in batches, which is quicker.
        If a batch gives other answers than its texts alone, all texts run alone.
        """
        groups: dict[tuple[int, ...], list[tuple[Case, Logits]]] = {}
        answered = self.compute_answers("texts", one_row=False)
        for number, (case, logits) in enumerate(answered if self._rows_alone else ()):
            width = case.tokens.shape[1]
            groups.setdefault((width, *case.lengths, number * width // JOINED_TOKENS), []).append((case, logits))
        joined = [_join_cases_of_equal_length([case for case, _ in group]) for group in groups.values()]
        whole = self.reference.compute_exact_answers(joined, spreads=spreads, inputs="texts") if joined else []
        pairs = [pair for group in groups.values() for pair in group]
        found = _split_batch_answers_into_texts(whole, [case for case, _ in pairs])
        if not joined or not all(
            one.logits.shape == logits.shape and np.allclose(one.logits, logits, 1e-3, 1e-3)
            for one, (_, logits) in zip(found, pairs, strict=True)
        ):
            cases = [case for case, _ in answered]
            return self.reference.compute_exact_answers(cases, spreads=spreads, inputs="texts")
        places = {id(case): place for place, (case, _) in enumerate(answered)}
        return sorted(found, key=lambda one: places[id(one.case)])


def _join_cases_of_equal_length(cases: Sequence[Case]) -> Case:
    """Join batches whose rows all have equally many tokens into one batch with all their rows."""
    tokens, lengths = (np.concatenate([getattr(case, name) for case in cases]) for name in ("tokens", "lengths"))
    return Case(cases[0].name, tokens, lengths)


def _is_answer_finite(rows: Logits) -> bool:
    """Return whether an answer to a text is finite. It has the shape [tokens, labels] for a tagger, and [1, labels]
    otherwise. A tagger's answers to the last tokens of a text may be NaN or infinite."""
    finite = np.isfinite(rows.max(1))
    return bool(finite[0] and (finite[:-1] >= finite[1:]).all())


def _split_batch_answers_into_texts(whole: Sequence[ExactAnswer], rows: Sequence[Case]) -> list[ExactAnswer]:
    """Split the answers to batches, in double precision, into answers to single texts. Return the answers to the texts
    in `rows`, which have the same order as in the batches `whole`; other texts of the batches are skipped."""
    of_rows = (
        each
        for answer in whole
        for each in zip(
            split_cases_into_single_rows([answer.case]),
            split_answer_rows_by_text(answer.logits, answer.case.lengths),
            split_answer_rows_by_text(answer.spread, answer.case.lengths),
            strict=True,
        )
    )
    found = []
    for wanted in rows:
        _, logits, spread = next(each for each in of_rows if np.array_equal(each[0].tokens, wanted.tokens))
        found.append(ExactAnswer(wanted, logits, spread))
    return found
