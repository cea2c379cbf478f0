"""CRF decoding finds the best of all label sequences, which the test enumerates."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn import Classifier
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.output_kinds import TagOutput, build_output
from pocketrnn.errors import BundleError, InputError
from pocketrnn.text import TextRules

LABELS = ("O", "B-A", "I-A")


def drawn(seed: int, labels: int = 3) -> Crf:
    generator = np.random.default_rng(seed)
    start, end, *rows = generator.normal(size=(2 + labels, labels)).round(3).tolist()
    return Crf(tuple(start), tuple(end), tuple(map(tuple, rows)))


@given(seed=st.integers(0, 1000), tokens=st.integers(1, 5))
@settings(max_examples=examples(30, 300))
def test_the_best_of_all_orders_is_decoded_and_probabilities_are_their_shares(seed: int, tokens: int) -> None:
    crf, logits = drawn(seed), np.random.default_rng(seed + 1).normal(size=(tokens, 3)).astype(np.float32)
    orders = [np.array(order) for order in itertools.product(range(3), repeat=tokens)]
    scores = np.array([crf.score(logits, order) for order in orders])
    assert crf.decode_labels(logits).tolist() == orders[int(scores.argmax())].tolist()
    weights = np.exp(scores - scores.max())
    shares = np.zeros((tokens, 3))
    for order, weight in zip(orders, weights / weights.sum(), strict=True):
        shares[np.arange(tokens), order] += weight
    np.testing.assert_allclose(crf.probabilities(logits), shares, atol=1e-9)


def test_labels_that_never_follow_have_no_share() -> None:
    crf = Crf((0.0, -1e4), (0.0, 0.0), ((0.0, 0.0), (-1e4, 0.0)))
    logits = np.array([[0.0, 90.0], [3.0, 2.0], [0.0, 0.0]])
    assert crf.decode_labels(logits).tolist() == [0, 0, 0]
    assert np.isfinite(crf.probabilities(logits)).all()


def with_crf(crf: Crf) -> Any:
    def change(manifest: Any) -> Any:
        return bundle_maker.replace(manifest, output=TagOutput(manifest.labels, crf))

    return change


def test_a_bundle_gives_the_decoded_labels(tmp_path: Path) -> None:
    crf = Crf((-9.0, 0.0, -9.0), (0.0,) * 3, ((0.0,) * 3, (-99.0, -99.0, 99.0), (0.0,) * 3))
    folder = bundle_maker.make(tmp_path / "tagger", labels=LABELS, of_tokens=True, change=with_crf(crf))
    assert [tag.label for tag in Classifier.load(folder).tag("oil prices")] == ["B-A", "I-A"]
    assert manifests.read_manifest(folder).output == TagOutput(LABELS, crf)
    assert set(json.loads((folder / "classifier.json").read_text())["crf"]) == {"start", "end", "transitions"}


def test_a_crf_over_tokens_does_not_read_the_ids_around_them(tmp_path: Path) -> None:
    # The first label is B-A, and O stands behind it: over all ids, B-A is that of the id before the tokens.
    crf = Crf((-99.0, 99.0, -99.0), (0.0,) * 3, ((99.0, -99.0, 0.0), (99.0, 0.0, -99.0), (0.0,) * 3), over_tokens=True)
    folder = bundle_maker.make(
        tmp_path / "tagger", labels=LABELS, of_tokens=True, rules=TextRules(first_id=1), change=with_crf(crf)
    )
    classifier = Classifier.load(folder)
    assert [tag.label for tag in classifier.tag("oil prices")] == ["B-A", "O"]
    assert manifests.read_manifest(folder).output == TagOutput(LABELS, crf)
    whole = bundle_maker.make(
        tmp_path / "whole", labels=LABELS, of_tokens=True, rules=TextRules(first_id=1),
        change=with_crf(replace(crf, over_tokens=False)),
    )  # fmt: skip
    assert [tag.label for tag in Classifier.load(whole).tag("oil prices")] == ["O", "O"]


def test_a_crf_of_other_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 labels"):
        TagOutput(LABELS, Crf((0.0, 0.0), (0.0, 0.0), ((0.0, 0.0), (0.0, 0.0))))
    with pytest.raises(InputError, match="transitions has"):
        Crf((0.0, 0.0), (0.0, 0.0), ((0.0, 0.0),))
    members = {"start": [0, 0], "end": [0, 0], "transitions": [[0, 0], [0, 0]]}
    assert build_output(("a", "b"), labels_of="tokens", crf=members).crf == Crf(
        (0.0, 0.0), (0.0, 0.0), ((0.0, 0.0),) * 2
    )
    folder = bundle_maker.make(tmp_path / "tagger", labels=LABELS, of_tokens=True, change=with_crf(drawn(1)))
    document = json.loads((folder / "classifier.json").read_text())
    document["crf"]["start"].pop()
    (folder / "classifier.json").write_bytes(
        manifests.encode_json_with_digest({k: v for k, v in document.items() if k != "digest"})
    )
    with pytest.raises(BundleError, match="CRF"):
        manifests.read_manifest(folder)
    document["crf"] = {"start": [0.0, 0.0]}
    (folder / "classifier.json").write_bytes(
        manifests.encode_json_with_digest({k: v for k, v in document.items() if k != "digest"})
    )
    with pytest.raises(BundleError, match="not valid"):
        manifests.read_manifest(folder)
