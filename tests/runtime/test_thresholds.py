"""Labels by thresholds: those that a bundle keeps, and one that is named; in Python, on a line, in files of rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketrnn import Classifier
from pocketrnn.bundle import manifest as manifests
from pocketrnn.commands.cli import main
from pocketrnn.commands.threshold_without_effect import describe_threshold_without_effect
from pocketrnn.errors import InputError
from pocketrnn.predictions_from_logits import Answers

TEXTS = ["the oil", "team wins", "", "the team wins the cup", "of the"]


def made(folder: Path, activation: str, thresholds: tuple[float, ...] | None, labels: tuple[str, ...] = ()) -> Path:
    return bundle_maker.make(
        folder,
        labels=labels or bundle_maker.LABELS,
        change=lambda manifest: bundle_maker.with_output(manifest, activation, thresholds),
    )


def between(folder: Path, activation: str) -> tuple[float, ...]:
    """Thresholds that some of the texts reach and some do not."""
    made(folder, activation, None)
    middle = np.median(Classifier.load(folder).predict_proba(TEXTS), axis=0)
    return tuple(float(round(one, 4)) for one in middle)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["classify", *map(str, arguments)])


@pytest.fixture
def tags(tmp_path: Path) -> Path:
    return made(tmp_path / "tags", "sigmoid", between(tmp_path / "before", "sigmoid"))


def test_a_bundle_keeps_them(tags: Path, tmp_path: Path) -> None:
    assert Classifier.load(tags).thresholds == manifests.read_manifest(tags).output.thresholds
    assert Classifier.load(tmp_path / "before").thresholds is None
    with pytest.raises(InputError, match=r"\b2 thresholds.*\b4 labels"):
        bundle_maker.with_output(manifests.read_manifest(tags), "sigmoid", (0.5, 0.5))


def test_every_label_that_reaches_its_own_threshold_is_given(tags: Path) -> None:
    classifier = Classifier.load(tags)
    probabilities = classifier.predict_proba(TEXTS)
    expected = [
        tuple(label for label, p, t in zip(classifier.labels, row, classifier.thresholds or (), strict=True) if p >= t)
        for row in probabilities.astype(float)
    ]
    assert classifier.predict_labels(TEXTS) == expected
    assert len({len(labels) for labels in expected}) > 1
    assert classifier.predict_labels(TEXTS, 0.0) == [classifier.labels] * len(TEXTS)
    assert classifier.predict_labels(TEXTS, 1.0) == [()] * len(TEXTS)


def test_where_one_label_is_right_the_likeliest_is_given_or_none(tmp_path: Path) -> None:
    probabilities = Classifier.load(made(tmp_path / "before", "softmax", None)).predict_proba(TEXTS)
    middle = float(np.median(probabilities.max(axis=1)))
    classifier = Classifier.load(made(tmp_path / "b", "softmax", (middle,) * 4))
    assert {len(labels) for labels in classifier.predict_labels(TEXTS)} == {0, 1}
    assert classifier.predict_labels(TEXTS, 0.0) == [(label,) for label in classifier.predict(TEXTS)]


def test_two_thresholds_that_add_up_to_one_decide_between_two_labels(tmp_path: Path) -> None:
    labels = ("ham", "spam")
    of_second = Classifier.load(made(tmp_path / "before", "softmax", None, labels)).predict_proba(TEXTS)[:, 1]
    # The likelier label would be the same for all of these texts.
    ordered = np.unique(of_second[of_second < 0.5])
    second = round(float(ordered[-2:].mean()), 5)
    classifier = Classifier.load(made(tmp_path / "b", "softmax", (1 - second, second), labels))
    expected = [(labels[int(p >= second)],) for p in of_second]
    assert classifier.predict_labels(TEXTS) == expected
    assert set(expected) == {("ham",), ("spam",)}
    assert expected != [(label,) for label in classifier.predict(TEXTS)]
    shown = [line.split("\t") for line in run("-b", tmp_path / "b", *TEXTS).stdout.splitlines()]
    index = [labels.index(label) for (label,) in expected]
    chosen = classifier.predict_proba(TEXTS)[np.arange(len(TEXTS)), index]
    assert shown == [[*one, f"{p:.4f}", text] for one, p, text in zip(expected, chosen, TEXTS, strict=True)]
    rows = tmp_path / "rows.csv"
    rows.write_text("text\n" + "\n".join(f'"{text}"' for text in TEXTS) + "\n")
    assert run("-b", tmp_path / "b", "-i", rows, "-o", tmp_path / "out.csv").exit_code == 0
    assert [row["label"] for row in rows_of(tmp_path / "out.csv")] == [label for (label,) in expected]


@settings(deadline=None)
@given(st.floats(0.01, 0.99), st.lists(st.floats(0, 1, width=32), min_size=1))
def test_one_of_two_labels_is_given_whatever_the_probability(second: float, of_second: list[float]) -> None:
    second = round(second, 6)
    answers = Answers("x", ("a", "b"), "softmax", (round(1 - second, 6), second))
    rows = np.array([[1 - p, p] for p in of_second], np.float32)
    marked = answers.mark_reached_labels(rows)
    if second != 0.5:
        assert marked.sum(1).tolist() == [1] * len(rows)
        assert marked[:, 1].tolist() == (rows[:, 1] >= np.float32(second)).tolist()
    assert not answers.mark_reached_labels(np.full((1, 2), np.nan, np.float32)).any()


def test_a_line_has_one_column_of_labels_and_one_of_probabilities(tags: Path) -> None:
    classifier = Classifier.load(tags)
    for options, threshold in (((), None), (("--threshold", 0.5), 0.5), (("--threshold", 1), 1.0)):
        result = run("-b", tags, *options, *TEXTS)
        assert result.exit_code == 0, result.output
        rows = [line.split("\t") for line in result.stdout.splitlines()]
        assert [row[2] for row in rows] == TEXTS
        for (labels, figures, text), expected in zip(rows, classifier.predict_labels(TEXTS, threshold), strict=True):
            top = dict(classifier.classify(text, top=4).top)
            given = [label for label in labels.split("|") if label]
            assert set(given) == set(expected)
            assert given == sorted(given, key=lambda label: -top[label])
            shown = [f"{top[label]:.4f}" for label in given] or [f"{max(top.values()):.4f}"]
            assert figures.split("|") == shown
        as_json = [json.loads(line) for line in run("-b", tags, *options, "--json", *TEXTS).stdout.splitlines()]
        assert [{pair["label"] for pair in row["top"]} for row in as_json] == [
            set(labels) for labels in classifier.predict_labels(TEXTS, threshold)
        ]
        assert all((row["label"] == "") == (row["top"] == []) for row in as_json)


def test_top_asks_for_the_likeliest_labels_as_before(tags: Path) -> None:
    classifier = Classifier.load(tags)
    (line,) = run("-b", tags, "--top", 2, TEXTS[0]).stdout.splitlines()
    assert line.split("\t")[::2] == [*(label for label, _ in classifier.classify(TEXTS[0], top=2).top), TEXTS[0]]
    (line,) = run("-b", tags, "--top", 1, TEXTS[0]).stdout.splitlines()
    assert line.split("\t")[0] == classifier.classify(TEXTS[0]).label
    assert run("-b", tags, "--top", 2, "--threshold", 0.5, "x").exit_code == 2


def test_nothing_given_leaves_the_label_empty_in_one_layout(tmp_path: Path) -> None:
    bundle = made(tmp_path / "b", "softmax", None)
    classifier = Classifier.load(bundle)
    rows = [line.split("\t") for line in run("-b", bundle, "--threshold", 0.9, *TEXTS).stdout.splitlines()]
    assert rows == [["", f"{classifier.classify(text).probability:.4f}", text] for text in TEXTS]


@pytest.mark.parametrize("labels", [("ham", "spam"), ("a", "b", "c")])
def test_a_threshold_that_every_text_reaches_is_refused(labels: tuple[str, ...]) -> None:
    n = len(labels)
    assert describe_threshold_without_effect([1 / n], labels) == ""
    assert describe_threshold_without_effect([0.9, *[0.1] * (n - 1)], labels) == ""
    told = describe_threshold_without_effect([0.9 / n], labels)
    assert ("--thresholds 0.55,0.45" in told) == (n == 2)


def test_a_threshold_below_an_equal_share_is_refused_unless_a_text_may_have_several_labels(tmp_path: Path) -> None:
    share = 1 / len(bundle_maker.LABELS)
    for activation, status in (("softmax", 2), ("sigmoid", 0)):
        bundle = made(tmp_path / activation, activation, None)
        shown = run("-b", bundle, "--threshold", share / 2, *TEXTS)
        assert shown.exit_code == status
        assert ("--threshold" in shown.stderr) == bool(status)
        assert run("-b", bundle, "--threshold", 1.1 * share, *TEXTS).exit_code == 0


def rows_of(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        return pyarrow.parquet.read_table(file).to_pylist()
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter={".csv": ",", ".tsv": "\t"}[file.suffix]))


def test_a_bundle_without_thresholds_gives_each_label_from_a_half_on_if_it_is_multi_label(tmp_path: Path) -> None:
    bundle = made(tmp_path / "b", "sigmoid", None)
    by_default, by_half = run("-b", bundle, *TEXTS), run("-b", bundle, "--threshold", "0.5", *TEXTS)
    assert by_default.exit_code == 0, by_default.output
    assert by_default.output == by_half.output
    given = [line.split("\t")[0] for line in by_default.output.splitlines()]
    assert [set(one.split("|")) - {""} for one in given] == [*map(set, Classifier.load(bundle).predict_labels(TEXTS))]
    likeliest = run("-b", bundle, "--top", "1", *TEXTS).output.splitlines()
    assert [line.split("\t")[0] for line in likeliest] == Classifier.load(bundle).predict(TEXTS)
    assert run("-b", made(tmp_path / "s", "softmax", None), "").output.split("\t")[0]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_files_of_rows_have_one_column_of_labels(tags: Path, tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / f"out.{kind}"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS) + '{"text": null}\n')
    result = run("-b", tags, "-i", source, "-o", target, "--on-error", "skip")
    assert result.exit_code == 0, result.output
    classifier = Classifier.load(tags)
    expected = [*map(set, classifier.predict_labels(TEXTS)), None]
    rows = rows_of(target)
    if kind in ("csv", "tsv"):
        assert list(rows[0]) == ["text", "label", "probability"]
        assert [set(filter(None, row["label"].split("|"))) for row in rows] == [one or set() for one in expected]
        assert rows[-1]["probability"] == ""
        assert all(row["probability"] for row in rows[:-1])
        return
    assert [None if row["label"] is None else set(row["label"]) for row in rows] == expected
    assert all(len(row["probability"]) == max(1, len(row["label"])) for row in rows[:-1])


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_where_one_label_is_right_files_keep_their_two_plain_columns(tmp_path: Path, kind: str) -> None:
    bundle = made(tmp_path / "b", "softmax", None)
    best = Classifier.load(bundle).predict_proba(TEXTS).max(axis=1)
    threshold = round(float(np.median(best)), 4)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    target = tmp_path / f"out.{kind}"
    assert run("-b", bundle, "-i", tmp_path / "in.jsonl", "-o", target, "--threshold", threshold).exit_code == 0
    rows = rows_of(target)
    expected = ["".join(labels) for labels in Classifier.load(bundle).predict_labels(TEXTS, threshold)]
    assert [row["label"] for row in rows] == expected
    assert "" in expected
    assert [float(row["probability"]) for row in rows] == pytest.approx(best, abs=1e-5)


def test_labels_that_could_not_be_told_apart_are_refused_with_a_way_out(tmp_path: Path) -> None:
    bundle = made(tmp_path / "b", "sigmoid", (0.2,) * 4, labels=("a|b", "a", "b", "c"))
    refused = run("-b", bundle, "x")
    assert refused.exit_code == 2
    assert "'a|b'" in refused.stderr
    assert "--json" in refused.stderr
    assert run("-b", bundle, "--json", "x").exit_code == 0
    assert run("-b", bundle, "--top", 1, "x").exit_code == 0
    (tmp_path / "in.csv").write_text("text\nx\n")
    assert "jsonl" in run("-b", bundle, "-i", tmp_path / "in.csv").stderr
    assert run("-b", bundle, "-i", tmp_path / "in.csv", "--output-format", "jsonl").exit_code == 0
    single = made(tmp_path / "s", "softmax", (0.2,) * 4, labels=("a|b", "a", "b", "c"))
    assert run("-b", single, "x").exit_code == 0


def test_inspect_shows_them(tags: Path) -> None:
    shown = CliRunner().invoke(main, ["inspect", str(tags)]).stdout
    assert "thresholds" in shown
    described = json.loads(CliRunner().invoke(main, ["inspect", "--json", str(tags)]).stdout)
    assert tuple(described["thresholds"]) == Classifier.load(tags).thresholds
