"""The runtime on whole texts: what a user of the written bundle gets."""

from __future__ import annotations

from collections.abc import Sequence

from pocketrnn.classifier import Classifier
from pocketrnn.verification import streamed_logits
from pocketrnn_export.proof.answered import Answered
from pocketrnn_export.proof.cases import Case, Logits
from pocketrnn_export.proof.comparing import LEAST_TOLERANCE, Compared, Difference, difference, summary

__all__ = ["texts_end_to_end"]


def texts_end_to_end(
    classifier: Classifier, texts: Sequence[str | list[int]], answers: Answered, *, reference: str
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
    compared = []
    for against, candidate, rows, given in pairs:
        differences = [
            _difference(candidate, case, row, given[i : i + 1], answers)
            for i, (case, row) in enumerate(zip(cases, rows, strict=True))
        ]
        compared.append(summary(differences, reference=against, inputs="texts", rows=len(texts)))
    return compared


def _difference(candidate: str, case: Case, expected: Logits, given: Logits, answers: Answered) -> Difference:
    found = difference(candidate, case.name, expected, given)
    if found.largest <= LEAST_TOLERANCE and not found.labels_differing:
        return found
    return difference(candidate, case.name, expected, given, answers.with_spread(case))
