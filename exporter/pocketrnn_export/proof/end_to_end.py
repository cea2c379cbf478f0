"""The runtime on whole texts: what a user of the written bundle gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pocketrnn.classifier import Classifier, logits_of_steps
from pocketrnn.verification import streamed_logits
from pocketrnn_export.proof.cases import Case, Logits, each_row
from pocketrnn_export.proof.comparing import LEAST_TOLERANCE, Compared, Difference, difference, summary
from pocketrnn_export.proof.reference_answers import ReferenceAnswers

__all__ = ["compared_rows", "hazard_rows", "rows_end_to_end", "texts_end_to_end"]

_ROWS_OF_A_CASE: Final = 12


def texts_end_to_end(
    classifier: Classifier, texts: Sequence[str | list[int]], answers: ReferenceAnswers, *, reference: str
) -> list[Compared]:
    """Compare the runtime with the reference, and with itself, on texts.

    Args:
        classifier: the bundle, as the runtime loads it.
        texts: what it is given, strings or their ids, all in one call and each alone; as a stream too, where the bundle
            can do that, which takes strings.
        answers: the reference's, with each text as a case of its own.
        reference: what the proof calls the reference.
    """
    cases, expected = zip(*answers.of("texts", one_row=False), strict=True)
    together = classifier.logits(texts)
    each = [classifier.logits([text]) for text in texts]
    pairs = [(reference, "runtime", expected, together), ("alone", "together", each, together)]
    if classifier.manifest.stream is not None:
        streamed = streamed_logits(classifier, [text for text in texts if isinstance(text, str)])
        pairs.append((reference, "runtime, as a stream", expected, streamed))
    return [
        compared_rows(candidate, given, cases, rows, answers, reference=against, inputs="texts")
        for against, candidate, rows, given in pairs
    ]


def rows_end_to_end(classifier: Classifier, answers: ReferenceAnswers) -> list[Compared]:
    """Compare each row of the hazards, as the runtime answers it in its own batches, with the same row alone.

    Among them are rows that hold the padding inside, at the begin and at the end, and nothing else, beside rows of
    their length and of others.

    Args:
        classifier: the bundle, as the runtime loads it.
        answers: the reference's, whose cases are taken.

    Returns:
        one line; none for a graph that takes one text a run.
    """
    if classifier.manifest.graph.batch == 1 or "hazards" not in answers.kinds:
        return []
    # Of a batch of 300 rows, the first ones show as much.
    rows = hazard_rows(answers)
    together = logits_of_steps(classifier, [row.tokens[0] for row in rows])
    alone = [logits_of_steps(classifier, [row.tokens[0]]) for row in rows]
    return [compared_rows("together", together, rows, alone, answers, reference="alone", inputs="rows of special ids")]


def hazard_rows(answers: ReferenceAnswers) -> list[Case]:
    """The first rows of each hazard: of a batch of 300 rows, they show as much.

    Example:
        >>> len(hazard_rows(answers))
        64
    """
    cases = [case for case, _ in answers.of("hazards", one_row=False)]
    return [row for case in cases for row in each_row([case])[:_ROWS_OF_A_CASE]]


def compared_rows(
    candidate: str,
    given: Logits,
    cases: Sequence[Case],
    expected: Sequence[Logits],
    answers: ReferenceAnswers,
    *,
    reference: str,
    inputs: str,
) -> Compared:
    """Compare answers that were given together, a row for each case, with those to each case.

    Args:
        candidate: what the proof calls who gave them.
        given: [cases, labels].
        cases: of one row each.
        expected: [1, labels] for each case.
        answers: of the reference, which know how far rounding may move one.
        reference, inputs: what the proof calls who gave the expected ones, and the cases.

    Example:
        >>> compared_rows("runtime", logits, cases, expected, answers, reference="pytorch", inputs="texts").line.rows
        12
    """
    differences = [
        _difference(candidate, case, row, given[i : i + 1], answers)
        for i, (case, row) in enumerate(zip(cases, expected, strict=True))
    ]
    return summary(differences, reference=reference, inputs=inputs, rows=len(cases))


def _difference(candidate: str, case: Case, expected: Logits, given: Logits, answers: ReferenceAnswers) -> Difference:
    found = difference(candidate, case.name, expected, given)
    if found.largest <= LEAST_TOLERANCE and not found.labels_differing:
        return found
    return difference(candidate, case.name, expected, given, answers.with_spread(case))
