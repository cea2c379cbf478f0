"""A classifier restricted to some of its labels, or weighted by a prior of their frequencies."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner

from pocketrnn import Classifier, LabelOutput
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError

LABELS = ("de", "en", "fr", "und")
TEXTS = ["the oil", "team wins", "", "the team wins the cup"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundle_maker.make(tmp_path / "tongue", labels=LABELS)


def expected(classifier: Classifier, labels: Sequence[str]) -> np.ndarray:
    """The probabilities of all labels, of which these are made to add up to 1 again."""
    chosen = classifier.predict_proba(TEXTS)[:, [LABELS.index(label) for label in labels]]
    return chosen / chosen.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("among", "labels"),
    [
        (["en", "de"], ["de", "en", "und"]),
        (["en", "de", "-und"], ["de", "en"]),
        (["-fr"], ["de", "en", "und"]),
        (["und", "fr"], ["fr", "und"]),
    ],
)
def test_probabilities_are_those_of_the_chosen_labels_alone(folder: Path, among: list[str], labels: list[str]) -> None:
    classifier = Classifier.load(folder)
    some = classifier.among(among)
    assert some.labels == tuple(labels)
    np.testing.assert_allclose(some.predict_proba(TEXTS), expected(classifier, labels), atol=1e-6)
    whole = [some.classify(text, len(labels)) for text in TEXTS]
    assert whole == [classifier.classify(text, len(labels), among=among) for text in TEXTS]
    assert [answer.label for answer in whole] == some.predict(TEXTS)
    assert [answer.label for answer in some.classify_all(iter(TEXTS)) if answer] == some.predict(TEXTS)
    assert all(sum(p for _, p in answer.top) == pytest.approx(1) for answer in whole)
    assert classifier.labels == LABELS


def test_a_pickled_one_has_them_too_and_they_can_be_chosen_among_again(folder: Path) -> None:
    some = pickle.loads(pickle.dumps(Classifier.load(folder).among(["en", "de"])))  # noqa: S301 - our own
    assert some.labels == ("de", "en", "und")
    np.testing.assert_allclose(
        some.among(["en", "-und"]).predict_proba(TEXTS), expected(Classifier.load(folder), ["en"]), atol=1e-6
    )


def test_thresholds_hold_after_it(tmp_path: Path) -> None:
    kept = bundle_maker.make(
        tmp_path / "kept",
        labels=LABELS,
        change=lambda manifest: bundle_maker.with_output(manifest, "softmax", (0.1, 0.2, 0.3, 0.4)),
    )
    some = Classifier.load(kept).among(["fr"])
    assert some.thresholds == (0.3, 0.4)
    assert [bool(labels) for labels in some.predict_labels(TEXTS)] == [True] * len(TEXTS)


@pytest.mark.parametrize(
    ("among", "says"),
    [
        (["en", "dee"], r"'dee'.*\bde\?"),
        (["-xyz"], "'-xyz'"),
        ("en", "'en', but .*list of labels"),
        ([], "an empty list"),
        (["en", "-en", "-und"], "en and -en"),
        (["-de", "-en", "-fr", "-und"], "among"),
        ([None], "None"),
    ],
)
def test_labels_that_are_none_are_refused(folder: Path, among: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Classifier.load(folder).among(among)  # type: ignore[arg-type]


def test_a_classifier_of_several_labels_a_text_has_none_to_choose_among(tmp_path: Path) -> None:
    tags = bundle_maker.make(
        tmp_path / "tags", labels=LABELS, change=lambda manifest: bundle_maker.with_output(manifest, "sigmoid", None)
    )
    with pytest.raises(InputError, match=r"predict_proba\(\)"):
        Classifier.load(tags).among(["en"])
    with pytest.raises(InputError, match=r"predict_proba\(\)"):
        Classifier.load(tags, prior={"en": 1})


def test_a_prior_multiplies_the_probabilities(folder: Path) -> None:
    plain = Classifier.load(folder).predict_proba(TEXTS)
    # The labels that it does not name are together expected as often as the rarest that it names.
    weighed = plain * np.array([20, 70, 10, 10])
    classifier = Classifier.load(folder, prior={"en": 70, "de": 20})
    np.testing.assert_allclose(
        classifier.predict_proba(TEXTS), weighed / weighed.sum(1, keepdims=True), rtol=1e-4, atol=1e-6
    )
    assert Classifier.load(folder, prior={"en": 1, "de": 0, "fr": 0, "und": 0}).predict(TEXTS) == ["en"] * len(TEXTS)
    some = classifier.among(["de", "en", "-und"]).predict_proba(TEXTS)
    np.testing.assert_allclose(some, weighed[:, :2] / weighed[:, :2].sum(1, keepdims=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("prior", [["en"], 7, {"ex": 1}, {"en": -1}, {"en": float("nan")}, {"en": 0}, {}, {"en": "1"}])
def test_a_prior_that_is_none_is_refused(folder: Path, prior: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"prior|'ex'"):
        Classifier.load(folder, prior=prior)


def test_a_prior_has_a_name(tmp_path: Path) -> None:
    web = {"en": 70, "de": 20}

    def change(manifest: Manifest) -> Manifest:
        return replace(manifest, output=replace(manifest.output, priors={"web": web}))

    named = bundle_maker.make(tmp_path / "named", labels=LABELS, change=change)
    assert manifests.read_manifest(named).output.priors == {"web": web}
    by_name = Classifier.load(named, prior="web")
    assert by_name.classify("team wins", 4) == Classifier.load(named, prior=web).classify("team wins", 4)
    with pytest.raises(InputError, match=r"'wbe'.*: web\."):
        Classifier.load(named, prior="wbe")
    answer = by_name.classify("team wins")
    given = CliRunner().invoke(main, ["classify", "-b", str(named), "--prior", "web", "team wins"])
    assert given.output == f"{answer.label}\t{answer.probability:.4f}\tteam wins\n"
    assert CliRunner().invoke(main, ["classify", "-b", str(named), "--prior", "wbe", "team wins"]).exit_code == 2
    with pytest.raises(InputError, match="'nl'"):
        LabelOutput(LABELS, priors={"web": {"nl": 1}})


def test_a_bundle_without_priors_has_no_name_of_one(folder: Path) -> None:
    with pytest.raises(InputError, match="'web'"):
        Classifier.load(folder, prior="web")


def test_a_stream_answers_with_the_chosen_labels_and_is_saved_whole(tmp_path: Path) -> None:
    bundle = bundle_maker.make(tmp_path / "arriving", labels=LABELS, stream=True)
    some = Classifier.load(bundle).among(["en", "-und", "fr"])
    stream = some.stream()
    stream.push("the team ")
    answer = stream.push("wins", 2)
    assert {label for label, _ in answer.top} == {"en", "fr"}
    assert answer.label == some.classify("the team wins").label
    # The saved state is of all labels, so that it goes on with any of them.
    assert Classifier.load(bundle).stream(stream.save()).push("", 4).top[0][1] <= 1


def test_an_explanation_is_of_the_chosen_labels(folder: Path) -> None:
    some = Classifier.load(folder).among(["en", "-und", "fr"])
    assert some.explain("team wins").label in ("en", "fr")
    with pytest.raises(InputError, match="en, fr"):
        some.explain("team wins", "de")


def test_the_command_line_takes_them_for_texts_and_files(folder: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(main, ["classify", "-b", str(folder), *map(str, arguments)])
        return result.output if result.exit_code == 0 else f"{result.exit_code} {result.output}"

    some = Classifier.load(folder).among(["en", "fr", "-und"])
    first = some.classify("team wins")
    assert run("--among", "en, fr,-und", "team wins") == f"{first.label}\t{first.probability:.4f}\tteam wins\n"
    assert run("--among", "enn", "team wins").startswith("2 ")
    table = tmp_path / "in.csv"
    table.write_text("text\nteam wins\nthe oil\n")
    run("--among=en,fr,-und", "--input", table, "--output", tmp_path / "out.csv")
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == some.predict(["team wins", "the oil"])
