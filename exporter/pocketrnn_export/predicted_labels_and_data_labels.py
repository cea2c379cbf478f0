"""Compute the labels that a classifier predicts, read the labels of data, and compare the labels of two forms.

The labels of a row are a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.errors import InputError
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.tables.column_and_label_checks import check_same_labels
from pocketrnn_export.comparing.logit_comparison import CandidateComparison, compare_logits_of_candidate
from pocketrnn_export.comparing.proof_inputs import Case, Ids, Logits, Run

if TYPE_CHECKING:
    from pocketrnn_training.rows.labelled_sequences import LabelledSequences
    from pocketrnn_training.rows.labelled_texts import LabelledTexts

Flags = NDArray[np.bool_]


def compute_predicted_labels(manifest: Manifest, logits: Logits) -> Flags:
    """Compute the labels that `predict_labels` gives to rows of logits, with the thresholds of the classifier.

    If each row has one label and there are no thresholds, this is the likeliest label.

    Args:
        manifest: the classifier's manifest.
        logits: float32 [rows, labels], without NaN.

    Returns:
        bool [rows, labels].
    """
    answers = Answers.from_manifest(manifest)
    one_is_given = manifest.output.activation == "softmax" and manifest.output.thresholds is None
    return answers.mark_reached_labels(answers.probabilities(logits), 0.0 if one_is_given else None)


def compute_label_margins(manifest: Manifest, logits: Logits) -> NDArray[np.float64]:
    """Compute how far the logits of each row are from values that would change the row's predicted labels. For logits
    above 10, the distance is divided by a tenth of the logit.

    Args:
        logits: float32 [rows, labels].

    Returns:
        float64 [rows].
    """
    exact = logits.astype(np.float64)
    thresholds = np.array(manifest.output.thresholds or (0.5,) * len(manifest.labels))
    # A threshold of 0 or 1 is infinitely far.
    with np.errstate(divide="ignore"):
        needed = np.log(thresholds) - np.log1p(-thresholds)
    rows = np.arange(len(exact))
    if manifest.output.activation == "sigmoid":
        apart = np.abs(exact - needed)
        nearest = apart.argmin(1)
        return np.asarray(apart[rows, nearest] / np.maximum(1.0, np.abs(exact[rows, nearest]) / 10))
    highest = np.sort(exact, axis=1)[:, -2:]
    margin = highest[:, 1] - highest[:, 0]
    if manifest.output.thresholds is not None:
        best, others = exact.argmax(1), exact.copy()
        others[rows, best] = -np.inf
        odds = highest[:, 1] - np.logaddexp.reduce(others, axis=1)
        margin = np.minimum(margin, np.abs(odds - needed[best]))
    return np.asarray(margin / np.maximum(1.0, np.abs(highest).max(axis=1) / 10))


def check_data_labels(manifest: Manifest, data: LabelledTexts | LabelledSequences | None) -> None:
    """Check that the labels of data fit the classifier's labels, before the work starts.

    Raises:
        DataError: the data has other labels than the classifier, or the same in another order.
        InputError: a row of the data may have several labels, but the classifier gives one; or the targets have a wrong
            shape or type, or are not indices of labels.
    """
    if data is None:
        return
    check_same_labels(data.labels, manifest.labels)
    targets = np.asarray(data.targets)
    if targets.ndim == 2 and manifest.output.activation != "sigmoid":
        raise InputError(
            f"The data has several labels for each row (targets [rows, labels]), but {manifest.name} gives exactly "
            "one.",
            "Give the targets as integers [rows], the index of each row's label.",
        )
    rows = len(data.inputs)
    fits = (rows,) if targets.ndim < 2 else (rows, len(manifest.labels))
    if targets.shape != fits or targets.dtype.kind not in ("b" if targets.ndim == 2 else "iu"):
        raise InputError(
            f"The targets of the data are {targets.dtype} {list(targets.shape)}, but there are {rows:,} rows and "
            f"{len(manifest.labels)} labels.",
            f"Give integers [{rows}], the index of each row's label; or booleans [{rows}, {len(manifest.labels)}].",
        )
    if targets.ndim < 2 and len(odd := np.flatnonzero((targets < -1) | (targets >= len(manifest.labels)))):
        raise InputError(
            f"The target of row {odd[0]:,} is {targets[odd[0]]}, but must be from 0 to {len(manifest.labels) - 1}, "
            "or -1.",
            "Give the index of the row's label, or -1 if the row has none.",
        )


def read_target_labels_and_whether_known(data: LabelledTexts | LabelledSequences) -> tuple[Flags, Flags]:
    """Return the labels of the rows of the data, bool [rows, labels], and whether each row has a label, bool [rows]."""
    targets = np.asarray(data.targets)
    if targets.ndim == 2:
        return targets, np.ones(len(targets), bool)
    return targets[:, None] == np.arange(len(data.labels)), targets >= 0


def compare_answers_and_labels(
    manifest: Manifest,
    name: str,
    candidate: Run,
    cases: Sequence[Case],
    expected: Sequence[Logits],
    *,
    inputs: str,
    reference: str,
) -> CandidateComparison:
    """Compare the answers of a form with the expected logits, as `compare_logits_of_candidate` does. Also count rows
    that get other predicted labels."""
    found = []

    def run_candidate(tokens: Ids, lengths: Ids) -> Logits:
        found.append(candidate(tokens, lengths))
        return found[-1]

    compared = compare_logits_of_candidate(name, run_candidate, cases, expected, inputs=inputs, reference=reference)
    pairs = zip(expected, found, strict=True)
    differing = sum(
        int((compute_predicted_labels(manifest, a) != compute_predicted_labels(manifest, b)).any(1).sum())
        for a, b in pairs
    )
    return replace(compared, line=replace(compared.line, labels_differing=differing))
