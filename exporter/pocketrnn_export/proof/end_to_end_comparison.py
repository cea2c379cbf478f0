"""Compare the answers of the runtime, which reads the written bundle, with the reference's answers, on whole texts or
sequences of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.classifier import Classifier, compute_logits_of_engine_input, encode_texts_as_engine_input
from pocketrnn.text.text_input import TextInput
from pocketrnn.verification import compute_streamed_logits
from pocketrnn_export.comparing.logit_comparison import (
    CandidateComparison,
    measure_difference_with_exact_answer_if_needed,
    summarize_differences,
)
from pocketrnn_export.comparing.proof_inputs import Case, Logits, split_cases_into_single_rows
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers

_ROWS_OF_A_CASE: Final = 12


def compare_runtime_with_reference(
    classifier: Classifier, rows: Sequence[Any], answers: ReferenceAnswers, *, reference: str
) -> list[CandidateComparison]:
    """Run the runtime on all texts or sequences in one call. Compare its answers with the reference's, and with the
    runtime's answers to each text alone. If the bundle supports streams, compare the answers of a stream, too.

    Args:
        classifier: the bundle, as the runtime loads it.
        rows: the texts, as strings or token ids, or the sequences of samples, as the graph takes them.
        answers: the reference's answers to the same texts or sequences, one batch for each.
        reference: the name of the reference in the proof.
    """
    cases, expected = zip(*answers.compute_answers("texts", one_row=False), strict=True)
    of_texts = isinstance(classifier.manifest.input, TextInput)
    logits: Any = classifier.logits if of_texts else partial(compute_logits_of_engine_input, classifier)
    if classifier.manifest.output.of_tokens:
        rows = encode_texts_as_engine_input(classifier, rows)
        logits = partial(compute_logits_of_engine_input, classifier)
    together = logits(rows)
    each = [logits([one]) for one in rows]
    pairs = [(reference, "runtime", expected, together), ("alone", "together", each, together)]
    if of_texts and classifier.manifest.stream is not None:
        streamed = compute_streamed_logits(classifier, [text for text in rows if isinstance(text, str)])
        pairs.append((reference, "runtime, as a stream", expected, streamed))
    return [
        _compare_batch_answers_with_case_answers(
            candidate, rows, cases, wanted, answers, reference=against, inputs="texts"
        )
        for against, candidate, wanted, rows in pairs
    ]


def compare_runtime_on_hard_rows_together_and_alone(
    classifier: Classifier, answers: ReferenceAnswers, engine_input_by_id: NDArray[Any] | None = None
) -> list[CandidateComparison]:
    """Run the runtime on difficult rows in one call and on each row alone, and compare the answers. Such rows hold
    padding inside, at the start, at the end, or only padding; they have several lengths.

    Args:
        classifier: the bundle, as the runtime loads it.
        answers: the reference's answers. The rows are taken from its batches of the kind `hazards`.
        engine_input_by_id: the engine's input for each id, if it is not the id itself: samples float32 [ids, channels],
            or words with their characters int64 [ids, 1 + width].

    Returns:
        A list of one comparison; an empty list for a graph that takes one text a run, or without `hazards`.
    """
    if classifier.manifest.graph.batch == 1 or "hazards" not in answers.kinds:
        return []
    # The first rows of a batch of 300 show as much as all of them.
    hazards = [case for case, _ in answers.compute_answers("hazards", one_row=False)]
    cases = [row for case in hazards for row in split_cases_into_single_rows([case])[:_ROWS_OF_A_CASE]]
    given = [case.tokens[0] if engine_input_by_id is None else engine_input_by_id[case.tokens[0]] for case in cases]
    together = compute_logits_of_engine_input(classifier, given)
    alone = [compute_logits_of_engine_input(classifier, [one]) for one in given]
    inputs = f"rows of special {'numbers' if classifier.manifest.golden_sequences else 'ids'}"
    return [
        _compare_batch_answers_with_case_answers(
            "together", together, cases, alone, answers, reference="alone", inputs=inputs
        )
    ]


def _compare_batch_answers_with_case_answers(
    candidate: str,
    given_together: Logits,
    cases: Sequence[Case],
    expected_by_case: Sequence[Logits],
    answers: ReferenceAnswers,
    *,
    reference: str,
    inputs: str,
) -> CandidateComparison:
    """Compare the answers to all batches from one call, [rows, labels], with the answers to each batch.

    Args:
        candidate: the name in the proof of the answers from one call.
        given_together: these answers.
        expected_by_case: the expected answer to each batch.
        answers: the reference, which says how far rounding may move an answer.
        reference: the name in the proof of the expected answers.
        inputs: the name in the proof of the batches.
    """
    parts = np.split(given_together, np.cumsum(list(map(len, expected_by_case)))[:-1])
    differences = [
        measure_difference_with_exact_answer_if_needed(
            candidate, case, rows, part, answers.compute_exact_answer_with_rounding, answers.reference.heads
        )
        for case, rows, part in zip(cases, expected_by_case, parts, strict=True)
    ]
    return summarize_differences(differences, reference=reference, inputs=inputs, rows=len(cases))
