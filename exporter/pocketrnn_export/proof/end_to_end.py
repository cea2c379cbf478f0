"""The runtime on whole texts: what a user of the written bundle gets."""

from __future__ import annotations

from collections.abc import Sequence

from pocketrnn.classifier import Classifier
from pocketrnn.verification import streamed_logits
from pocketrnn_export.proof.comparing import Compared, Logits, difference, summary

__all__ = ["texts_end_to_end"]


def texts_end_to_end(
    classifier: Classifier, texts: Sequence[str], expected: Sequence[Logits], *, reference: str
) -> list[Compared]:
    """Compare the runtime with the reference, and with itself, on texts.

    Args:
        classifier: the bundle, as the runtime loads it.
        texts: what it is given, all in one call and each alone; as a stream too, where the bundle can do that.
        expected: the reference's logits for each text, float32 [1, classes].
        reference: what the proof calls the reference.
    """
    together = classifier.logits(texts)
    each = [classifier.logits([text]) for text in texts]
    pairs = [(reference, "runtime", expected, together), ("alone", "together", each, together)]
    if classifier.manifest.stream is not None:
        pairs.append((reference, "runtime, as a stream", expected, streamed_logits(classifier, texts)))
    compared = []
    for against, candidate, rows, given in pairs:
        differences = [difference(candidate, f"text {i}", row, given[i : i + 1]) for i, row in enumerate(rows)]
        compared.append(summary(differences, reference=against, inputs="texts", rows=len(texts)))
    return compared
