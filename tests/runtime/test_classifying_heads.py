"""A bundle with several heads: one run of the graph answers all of them, and a head by itself is a classifier."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner

from pocketrnn import Classifier, HeadsOutput, LabelOutput, verify
from pocketrnn.bundle import manifest as manifests
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, InputError, ParityError
from pocketrnn.verification_page import proof_page

HEADS = HeadsOutput(
    {
        "topic": LabelOutput(("oil", "cup", "war")),
        "mood": LabelOutput(("bad", "good")),
        "tone": LabelOutput(("loud", "long"), "sigmoid", (0.4, 0.6)),
    }
)
PLACES = {"topic": slice(0, 3), "mood": slice(3, 5), "tone": slice(5, 7)}
TEXTS = ["the oil", "team wins", "", "the team wins the cup", "war, peace and talks"]


def make(folder: Path, output: HeadsOutput = HEADS, **options: Any) -> Path:
    return bundle_maker.make(
        folder, labels=output.labels, change=lambda manifest: replace(manifest, output=output), **options
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("heads") / "reviews", name="reviews")


@pytest.fixture
def classifier(folder: Path) -> Classifier:
    return Classifier.load(folder)


def ran(*arguments: str, given: str | None = None) -> str:
    result = CliRunner().invoke(main, ["classify", *arguments], input=given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def probabilities(logits: np.ndarray, head: str) -> np.ndarray:
    part = logits[:, PLACES[head]].astype(np.float64)
    if head == "tone":
        return 1 / (1 + np.exp(-part))
    powers = np.exp(part - part.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_what_is_read_is_what_was_written(folder: Path, classifier: Classifier) -> None:
    document = json.loads((folder / "classifier.json").read_text())
    assert [one["name"] for one in document["heads"]] == ["topic", "mood", "tone"]
    assert document["heads"][2] == {
        "name": "tone", "labels": ["loud", "long"], "activation": "sigmoid", "thresholds": [0.4, 0.6],
    }  # fmt: skip
    assert not {"labels", "activation", "thresholds"} & document.keys()
    assert classifier.manifest.output == HEADS
    assert classifier.heads == ("topic", "mood", "tone")
    assert classifier.labels[:4] == ("topic: oil", "topic: cup", "topic: war", "mood: bad")
    assert "topic, mood, tone" in repr(classifier)


def test_all_heads_are_answered_at_once(classifier: Classifier) -> None:
    logits = classifier.logits(TEXTS)
    given: Any = classifier.predict_proba(TEXTS)
    assert logits.shape == (len(TEXTS), 7)
    for head in PLACES:
        np.testing.assert_allclose(given[head], probabilities(logits, head), atol=1e-6)
    likeliest: Any = classifier.predict(TEXTS)
    each: Any = [classifier.classify(text, top=2) for text in TEXTS]
    assert each == list(classifier.classify_all(TEXTS, top=2))
    for row, text in enumerate(TEXTS):
        for head, place in PLACES.items():
            label = HEADS.heads[head].labels[int(logits[row, place].argmax())]
            assert likeliest[row][head] == each[row][head].label == label
            assert len(each[row][head].top) == 2
        assert classifier.classify(text) == {head: replace_top(answer, 1) for head, answer in each[row].items()}
    reached: Any = classifier.predict_labels(TEXTS)
    expected = probabilities(logits, "tone") >= [0.4, 0.6]
    assert [row["tone"] for row in reached] == [
        tuple(label for label, is_one in zip(("loud", "long"), row, strict=True) if is_one) for row in expected
    ]


def replace_top(answer: Any, top: int) -> Any:
    return replace(answer, top=answer.top[:top])


@pytest.mark.parametrize("head", PLACES)
def test_a_head_is_a_classifier_of_its_labels(classifier: Classifier, head: str) -> None:
    one, whole = classifier.head(head), classifier.predict_proba(TEXTS)
    assert one.heads == ()
    assert one.labels == HEADS.heads[head].labels
    assert one.thresholds == HEADS.heads[head].thresholds
    np.testing.assert_array_equal(one.predict_proba(TEXTS), whole[head])  # type: ignore[call-overload]
    assert one.predict(TEXTS) == [answers[head] for answers in classifier.predict(TEXTS)]  # type: ignore[index]
    assert one.classify(TEXTS[0]) == classifier.classify(TEXTS[0])[head]  # type: ignore[index]
    assert one.predict_labels(TEXTS) == [row[head] for row in classifier.predict_labels(TEXTS)]  # type: ignore[call-overload]
    again = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
    assert (again.labels, again.predict(TEXTS)) == (one.labels, one.predict(TEXTS))
    assert again.manifest.heads == classifier.heads


def test_a_head_chooses_among_its_labels_and_explains(classifier: Classifier) -> None:
    topic = classifier.head("topic")
    some = topic.among(["cup", "war"])
    assert some.labels == ("cup", "war")
    two = topic.predict_proba(TEXTS)[:, 1:]
    np.testing.assert_allclose(some.predict_proba(TEXTS), two / two.sum(1, keepdims=True), atol=1e-6)
    again = pickle.loads(pickle.dumps(some))  # noqa: S301 - our own
    np.testing.assert_array_equal(again.predict_proba(TEXTS), some.predict_proba(TEXTS))
    explained = topic.explain("the team wins")
    assert explained.label == topic.classify("the team wins").label
    assert [fragment.text for fragment in explained.fragments] == ["the", "team", "wins"]


def test_texts_that_are_passed_over_have_no_answer(classifier: Classifier) -> None:
    given: Any = ["the oil", None, "team wins"]
    labels: Any = classifier.predict(given, on_error="skip")
    assert labels[1] is None
    assert [labels[0], labels[2]] == classifier.predict(["the oil", "team wins"])
    found: Any = classifier.predict_proba(given, on_error="skip")
    assert np.isnan(found["mood"][1]).all()
    assert np.isfinite(found["mood"][[0, 2]]).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda one: one.head("moood"), r"reviews .*'moood'.*\bmood\?"),
        (lambda one: one.head("weather"), r"'weather'.*topic, mood, tone"),
        (lambda one: one.head("mood").head("mood"), "no heads"),
        (lambda one: one.head("mood").among(["oil"]), r"\(mood\).*'oil'.*bad, good"),
        (lambda one: one.among(["oil"]), r"topic, mood, tone.*among.*head\('topic'\)"),
        (lambda one: one.explain("the oil"), r"explain\(\).*head\('topic'\)"),
        (lambda one: one.stream(), r"stream.*head\('topic'\)"),
        (lambda one: one.classify("the oil", top=4), r"\(topic\) has 3 labels"),
        (lambda one: one.classify("the oil", among=["oil"]), r"among.*head\('topic'\)"),
        (lambda one: one.tag("the oil"), r"classify\(\)"),
        (lambda one: one.classes_, r"head\('topic'\)"),
    ],
)
def test_what_is_of_one_head_names_the_way_to_it(folder: Path, call: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        call(Classifier.load(folder))


def test_a_prior_is_of_one_head(folder: Path) -> None:
    with pytest.raises(InputError, match=r"prior .*head\('topic'\)"):
        Classifier.load(folder, prior={"oil": 1})


def test_the_golden_examples_are_replayed_for_every_head(folder: Path, tmp_path: Path) -> None:
    page = proof_page(verify(folder))
    assert "topic: " in page
    assert "of topic softmax, of mood softmax, of tone sigmoid" in page

    def swapped(manifest: manifests.Manifest) -> manifests.Manifest:
        first = manifest.golden_texts[0]
        logits = list(first.logits)
        # The largest logit of all stays the largest: only the second head has another label.
        logits[3:5] = logits[4], logits[3]
        examples = (replace(first, logits=tuple(logits)), *manifest.golden_texts[1:])
        return replace(manifest, output=HEADS, examples=examples)

    other = bundle_maker.make(tmp_path / "other", labels=HEADS.labels, change=swapped)
    with pytest.raises(ParityError, match=r"mood: \w+, not mood: "):
        verify(other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda heads: [heads[0], {**heads[1], "name": "topic"}, heads[2]], "name 'topic'"),
        (lambda heads: heads[:1], "heads has 1 items"),
        (lambda heads: [{**heads[0], "labels": ["oil"]}, *heads[1:]], "labels has 1 items"),
        (lambda heads: [{**heads[0], "activation": "values"}, *heads[1:]], "activation"),
        (lambda heads: [heads[0], heads[1], {**heads[2], "thresholds": [0.5, 0.5, 0.5]}], "3 thresholds"),
        (lambda heads: [*heads, {**heads[0], "name": "more"}], "does not fit 10"),
        (lambda heads: [{**heads[0], "of": 1}, *heads[1:]], "of"),
    ],
)
def test_heads_that_contradict_themselves_are_refused(folder: Path, tmp_path: Path, change: Any, says: str) -> None:
    document = json.loads((folder / "classifier.json").read_text())
    document["heads"] = change(document["heads"])
    del document["digest"]
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "classifier.json").write_bytes(manifests.encode_json_with_digest(document))
    with pytest.raises(BundleError, match=says):
        Classifier.load(tmp_path)


@pytest.mark.parametrize("member", ["labels", "activation", "thresholds", "labels_of", "priors"])
def test_members_of_one_head_stand_beside_no_heads(folder: Path, tmp_path: Path, member: str) -> None:
    document = json.loads((folder / "classifier.json").read_text())
    document[member] = {
        "labels": ["a", "b"], "activation": "softmax", "thresholds": [0.5, 0.5], "labels_of": "tokens",
        "priors": {"web": {"a": 1}},
    }[member]  # fmt: skip
    del document["digest"]
    (tmp_path / "classifier.json").write_bytes(manifests.encode_json_with_digest(document))
    with pytest.raises(BundleError, match=rf"{member}|heads|labels"):
        manifests.read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("heads", "says"),
    [
        ({"topic": LabelOutput(("a", "b"))}, "`heads` has 1"),
        ({}, "`heads` has 0"),
        ({"topic": LabelOutput(("a", "b")), "": LabelOutput(("a", "b"))}, "''"),
        ({"topic": LabelOutput(("a", "b")), "mood": LabelOutput(("a", "b"), priors={"web": {"a": 1}})}, "priors"),
    ],
)
def test_heads_that_are_none_are_refused(heads: dict[str, LabelOutput], says: str) -> None:
    with pytest.raises(InputError, match=says):
        HeadsOutput(heads)


def test_each_line_has_the_answer_of_every_head(folder: Path, classifier: Classifier) -> None:
    line = ran("-b", str(folder), "the team wins").rstrip("\n")
    topic, first, mood, second, tone, third, text = line.split("\t")
    answer: Any = classifier.classify("the team wins")
    assert (topic, mood) == (f"topic: {answer['topic'].label}", f"mood: {answer['mood'].label}")
    assert float(first) == pytest.approx(answer["topic"].probability, abs=1e-4)
    assert float(second) == pytest.approx(answer["mood"].probability, abs=1e-4)
    # The third has thresholds of its own.
    reached = classifier.head("tone").predict_labels(["the team wins"])[0]
    assert set(filter(None, tone.removeprefix("tone: ").split("|"))) == set(reached)
    assert third
    assert text == "the team wins"


def test_json_has_a_member_for_every_head(folder: Path, classifier: Classifier) -> None:
    lines = ran("-b", str(folder), "--json", "--top", "2", given="the oil\nteam wins\n").splitlines()
    for text, line in zip(["the oil", "team wins"], lines, strict=True):
        document = json.loads(line)
        assert document["text"] == text
        assert list(document["heads"]) == ["topic", "mood", "tone"]
        answer: Any = classifier.classify(text, top=2)
        for head, one in document["heads"].items():
            assert one["label"] == answer[head].label
            assert [pair["label"] for pair in one["top"]] == [label for label, _ in answer[head].top]


def test_one_head_is_chosen_on_the_command_line(folder: Path, classifier: Classifier) -> None:
    mood = classifier.head("mood").classify("the oil")
    assert ran("-b", str(folder), "--head", "mood", "the oil") == f"{mood.label}\t{mood.probability:.4f}\tthe oil\n"
    assert ran("-b", str(folder), "--head", "topic", "--among", "war", "the oil").startswith("war\t1.0000")
    refused = CliRunner().invoke(main, ["classify", "-b", str(folder), "--explain", "the oil"])
    assert refused.exit_code == 2
    assert "--head topic" in refused.stderr


def test_a_file_gets_columns_for_every_head(folder: Path, classifier: Classifier, tmp_path: Path) -> None:
    rows = "".join(f'"{text}"\n' for text in TEXTS)
    (tmp_path / "in.csv").write_text(f"text\n{rows}")
    ran("-b", str(folder), "-i", str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.csv"), "--top", "3")
    with (tmp_path / "out.csv").open() as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == [
        "text", "label_topic", "probability_topic", "label_topic_2", "probability_topic_2", "label_topic_3",
        "probability_topic_3", "label_mood", "probability_mood", "label_mood_2", "probability_mood_2", "label_tone",
        "probability_tone", "label_tone_2", "probability_tone_2",
    ]  # fmt: skip
    for row, answer in zip(found, classifier.classify_all(TEXTS, top=3), strict=True):
        for head, one in answer.items():  # type: ignore[union-attr]
            assert row[f"label_{head}"] == one.label
            assert float(row[f"probability_{head}_2"]) == pytest.approx(one.top[1][1], abs=1e-5)
    ran("-b", str(folder), "-i", str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["label_tone"] for line in lines] == [
        sorted(row["tone"], key=lambda label, row=line: row["label_tone"].index(label))
        for row, line in zip(classifier.predict_labels(TEXTS), lines, strict=True)  # type: ignore[call-overload]
    ]
    assert [line["label_topic"] for line in lines] == [row["topic"] for row in classifier.predict(TEXTS)]  # type: ignore[index]


def test_inspect_shows_every_head(folder: Path) -> None:
    shown = CliRunner().invoke(main, ["inspect", str(folder)]).stdout
    assert "head topic" in shown
    assert "3: oil, cup, war" in shown
    assert "sigmoid of its logits" in shown
    document = json.loads(CliRunner().invoke(main, ["inspect", "--json", str(folder)]).stdout)
    assert [one["name"] for one in document["heads"]] == ["topic", "mood", "tone"]
