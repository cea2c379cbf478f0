"""The runtime on whole texts or sequences of numbers: what a user of the written bundle gets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.classifier import Classifier, logits_of_steps
from pocketrnn.text.text_input import TextInput
from pocketrnn.verification import streamed_logits
from pocketrnn_export.comparing.cases import Case, Logits, each_row
from pocketrnn_export.comparing.comparing import LEAST_TOLERANCE, Compared, Difference, difference, summary
from pocketrnn_export.proof.reference_answers import ReferenceAnswers

__all__ = ["end_to_end", "rows_end_to_end"]

_ROWS_OF_A_CASE: Final = 12


def end_to_end(
    classifier: Classifier, given: Sequence[Any], answers: ReferenceAnswers, *, reference: str
) -> list[Compared]:
    """Compare the runtime with the reference, and with itself, on texts or on sequences of numbers.

    Args:
        classifier: the bundle, as the runtime loads it.
        given: strings or their ids, or samples as the graph is given them, all in one call and each alone; as a stream
            too, where the bundle can do that, which takes strings.
        answers: the reference's, with each text or sequence as a case of its own.
        reference: what the proof calls the reference.
    """
    cases, expected = zip(*answers.of("texts", one_row=False), strict=True)
    of_texts = isinstance(classifier.manifest.input, TextInput)
    logits: Any = classifier.logits if of_texts else partial(logits_of_steps, classifier)
    if classifier.manifest.output.of_tokens:
        given, logits = list(map(classifier.encode, given)), partial(logits_of_steps, classifier)
    together = logits(given)
    each = [logits([one]) for one in given]
    pairs = [(reference, "runtime", expected, together), ("alone", "together", each, together)]
    if of_texts and classifier.manifest.stream is not None:
        streamed = streamed_logits(classifier, [text for text in given if isinstance(text, str)])
        pairs.append((reference, "runtime, as a stream", expected, streamed))
    return [
        _compared_rows(candidate, rows, cases, wanted, answers, reference=against, inputs="texts")
        for against, candidate, wanted, rows in pairs
    ]


def rows_end_to_end(
    classifier: Classifier, answers: ReferenceAnswers, rows: NDArray[np.float32] | None = None
) -> list[Compared]:
    """Compare each row of the hazards, as the runtime answers it in its own batches, with the same row alone.

    Among them are rows that hold the padding inside, at the begin and at the end, and nothing else, beside rows of
    their length and of others.

    Args:
        classifier: the bundle, as the runtime loads it.
        answers: the reference's, whose cases are taken.
        rows: of a classifier of numbers, the samples that ids stand for, float32 [ids, channels].

    Returns:
        one line; none for a graph that takes one text a run.
    """
    if classifier.manifest.graph.batch == 1 or "hazards" not in answers.kinds:
        return []
    # The first rows of a batch of 300 show as much as all.
    hazards = [case for case, _ in answers.of("hazards", one_row=False)]
    cases = [row for case in hazards for row in each_row([case])[:_ROWS_OF_A_CASE]]
    given = [case.tokens[0] if rows is None else rows[case.tokens[0]] for case in cases]
    together, alone = logits_of_steps(classifier, given), [logits_of_steps(classifier, [one]) for one in given]
    inputs = f"rows of special {'ids' if rows is None else 'numbers'}"
    return [_compared_rows("together", together, cases, alone, answers, reference="alone", inputs=inputs)]


def _compared_rows(
    candidate: str,
    given: Logits,
    cases: Sequence[Case],
    expected: Sequence[Logits],
    answers: ReferenceAnswers,
    *,
    reference: str,
    inputs: str,
) -> Compared:
    """Compare answers that were given together [rows, labels], those to one case after the other's, with those to each
    case."""
    parts = np.split(given, np.cumsum(list(map(len, expected)))[:-1])
    differences = [
        _difference(candidate, case, rows, part, answers)
        for case, rows, part in zip(cases, expected, parts, strict=True)
    ]
    return summary(differences, reference=reference, inputs=inputs, rows=len(cases))


def _difference(candidate: str, case: Case, expected: Logits, given: Logits, answers: ReferenceAnswers) -> Difference:
    found = difference(candidate, case.name, expected, given)
    if found.largest <= LEAST_TOLERANCE and not found.labels_differing:
        return found
    return difference(candidate, case.name, expected, given, answers.with_spread(case))
