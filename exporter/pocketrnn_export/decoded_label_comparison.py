"""Compare the labels that the runtime decodes for a tagger with the labels of its owner's module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.output_kinds import TagOutput
from pocketrnn.classifier import Classifier, compute_logits_of_engine_input
from pocketrnn.errors import ParityError
from pocketrnn_export.comparing.logit_comparison import CandidateComparison, Difference, summarize_differences
from pocketrnn_export.comparing.proof_inputs import Case, Ids
from pocketrnn_export.crf_of_tagger import OwnersLabels
from pocketrnn_export.intake.crf_discovery import make_neutral_crf
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers

# Two label sequences are equally good if their scores for each token differ by less than this: that is float32's
# rounding.
_TIE: Final = 1e-4
_LONG: Final = (130, 600)


def compare_decoded_labels(
    classifier: Classifier,
    owners: OwnersLabels | None,
    answers: ReferenceAnswers,
    input_by_id: Ids | None = None,
) -> list[CandidateComparison]:
    """Compare the labels that a written tagger bundle gives with those that the owner's CRF layer and the owner's
    module give. Return a list with one line of the proof, or an empty list if the owner has no decoder.

    Args:
        classifier: the bundle, as the runtime loads it.
        owners: the owner's ways to decode labels; None if there are none.
        answers: the reference's answers, with each text as a case of its own.
        input_by_id: the ids of the word and of its characters for which each id of a case stands, int64 [ids, 1 +
            width], if the module takes characters; else None.

    Raises:
        ParityError: the labels differ, and are not equally good.
    """
    output = classifier.manifest.output
    if owners is None or not isinstance(output, TagOutput):
        return []
    # Without a CRF, each token has its likeliest label.
    crf = output.crf or make_neutral_crf(len(output.labels))
    differences, other, padding_id = list[Difference](), 0, classifier.manifest.text.rules.padding_id
    pairs = answers.compute_answers("texts", one_row=False)
    for case, emissions in pairs:
        answered, tokens = np.isfinite(emissions).all(axis=1), case.tokens[0]
        given = tokens if input_by_id is None else input_by_id[tokens]
        own = crf.decode_labels(compute_logits_of_engine_input(classifier, [given])[answered])
        found = (
            [] if owners.decoder is None else [np.array(owners.decoder.decode_labels(emissions[answered]), np.int64)]
        )
        words = case.tokens if input_by_id is None else input_by_id[case.tokens][..., 0]
        if owners.whole is not None and padding_id not in words:
            # A forward that masks the padding id also leaves it out in the middle of a text.
            found.append(np.array(owners.whole(case.tokens), np.int64))
        for labels in found:
            gap = _check_and_measure_score_gap(crf, emissions[answered], own, labels, case)
            other += int((own != labels).sum())
            differences.append(Difference("decoding", case.name, gap, 0))
    if owners.whole is not None:
        for tokens in _draw_long_texts(classifier, padding_id):
            emissions = compute_logits_of_engine_input(
                classifier, [tokens[0] if input_by_id is None else input_by_id[tokens[0]]]
            )
            labels = np.array(owners.whole(tokens), np.int64)
            case = Case(f"{tokens.shape[1]} tokens", tokens, np.array([tokens.shape[1]]))
            _check_and_measure_score_gap(crf, emissions, crf.decode_labels(emissions), labels, case)
    compared = summarize_differences(differences, reference=answers.reference.name, inputs="texts", rows=len(pairs))
    return [CandidateComparison(replace(compared.line, labels_differing=other), ())]


def _draw_long_texts(classifier: Classifier, padding_id: int) -> Iterator[Ids]:
    """Draw texts, as ids, with more tokens than the texts of the proof: forward may cut the sequence that it
    decodes."""
    graph, generator = classifier.manifest.graph, np.random.default_rng(0)
    most = None if graph.limits is None else graph.limits.max_tokens
    for length in _LONG:
        if most is None or length <= most:
            ids = generator.integers(0, graph.embedding_rows - 1, (1, length))
            yield np.where(ids >= padding_id, ids + 1, ids)


def _check_and_measure_score_gap(
    crf: Crf, emissions: Any, decoded_labels: Any, owners_labels: Any, case: Case
) -> float:
    """Compare the bundle's and the owner's labels of a text. Return the difference of their CRF scores, per token, and
    0 for equal labels. Refuse a difference that rounding does not explain."""
    if owners_labels.shape == decoded_labels.shape:
        gap = abs(crf.score(emissions, decoded_labels) - crf.score(emissions, owners_labels)) / len(decoded_labels)
        if (decoded_labels == owners_labels).all() or gap <= _TIE:
            return 0.0 if (decoded_labels == owners_labels).all() else gap
    raise ParityError(
        f"The bundle decodes other labels than the module, on {case.name}, ids {case.tokens[0, :8].tolist()}...",
        "Nothing was written. Give the call that computes the CRF's input: --call, or call=.",
    )
