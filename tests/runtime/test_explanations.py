"""Which words decided: `Classifier.explain` and `pocketrnn classify --explain`."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketrnn import Classifier
from pocketrnn.bundle.manifest import Limits
from pocketrnn.classifier import get_answers_of_chosen_labels
from pocketrnn.commands.cli import main
from pocketrnn.commands.explanation_output import format_explanation_as_coloured_line, format_explanation_as_json
from pocketrnn.errors import InputError, LimitError, TextError
from pocketrnn.explanation import Explainer, Explanation, Fragment
from pocketrnn.text import SubwordRules, TextRules
from pocketrnn.text.subword_models import WordPiece
from pocketrnn.text.subword_splits import SplitAt

TEXT = "The oil  prices,\tteam wins!"
PIECES = st.sampled_from(
    [*bundle_maker.WORDS, "Σ", "é", "\ud800", "\u3000", "\x1c", "\n", "\ufeff", "'s", "<br />", " "]
)


def log_odds(classifier: Classifier, text: str, label: str) -> float:
    row = classifier.logits([text])[0].astype(np.float64)
    k = classifier.labels.index(label)
    if classifier.manifest.output.activation == "sigmoid":
        return float(row[k])
    return float(row[k] - np.log(np.exp(np.delete(row, k)).sum()))


def test_each_word_is_told_with_what_the_label_loses_without_it(classifier: Classifier) -> None:
    explanation = classifier.explain(TEXT)
    expected = classifier.classify(TEXT)
    assert explanation.label == expected.label
    assert explanation.probability == pytest.approx(expected.probability, abs=1e-6)
    assert [f.text for f in explanation.fragments] == TEXT.split()
    for fragment in explanation.fragments:
        assert TEXT[fragment.start : fragment.end] == fragment.text
        rest = TEXT[: fragment.start] + TEXT[fragment.end :]
        lost = log_odds(classifier, TEXT, expected.label) - log_odds(classifier, rest, expected.label)
        assert fragment.log_odds == pytest.approx(lost, abs=1e-5)
        (row,) = classifier.predict_proba([rest])
        fallen = expected.probability - float(row[classifier.labels.index(expected.label)])
        assert fragment.probability == pytest.approx(fallen, abs=1e-6)
        assert type(fragment.log_odds) is type(fragment.probability) is float


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=90).map("".join), st.integers(1, 70))
def test_fragments_stand_in_order_and_hold_every_word(classifier: Classifier, text: str, most: int) -> None:
    fragments = classifier.explain(text, most_fragments=most).fragments
    words = text.split()
    if most == 1 and len(words) > 1:
        assert fragments == ()
        return
    assert len(fragments) <= most
    assert [word for fragment in fragments for word in fragment.text.split()] == words
    ends = [place for fragment in fragments for place in (fragment.start, fragment.end)]
    assert ends == sorted(ends)
    assert all(math.isfinite(fragment.log_odds) for fragment in fragments)


def test_another_label_than_the_likeliest_is_explained_when_asked(classifier: Classifier) -> None:
    for label in classifier.labels:
        explanation = classifier.explain(TEXT, label)
        assert explanation.label == label
        (row,) = classifier.predict_proba([TEXT])
        assert explanation.probability == pytest.approx(float(row[classifier.labels.index(label)]), abs=1e-6)


def test_a_long_text_is_explained_in_few_fragments_and_one_too_long_in_none(classifier: Classifier) -> None:
    assert len(classifier.explain("oil " * 200).fragments) == math.ceil(200 / math.ceil(200 / 64))
    assert len(classifier.explain("oil " * 5000).fragments) == 10
    assert classifier.explain("oil " * 60_000).fragments == ()
    assert [f.text for f in classifier.explain("." * 60_000).fragments] == ["." * 60_000]


def test_all_shortened_texts_are_answered_in_one_call(classifier: Classifier) -> None:
    calls: list[int] = []

    def logits(texts: object) -> object:
        calls.append(len(list(texts)))  # type: ignore[call-overload]
        return classifier.logits(texts), []  # type: ignore[arg-type]

    explainer = Explainer(classifier.manifest, get_answers_of_chosen_labels(classifier), classifier.encode, logits)  # type: ignore[arg-type]
    explainer.explain_label(TEXT, None, 64)
    assert calls == [6]


def test_a_text_without_words_has_a_label_and_no_fragments(classifier: Classifier) -> None:
    assert classifier.explain(" \n") == Explanation(
        classifier.classify("").label, pytest.approx(classifier.classify("").probability, abs=1e-6), ()
    )


def test_where_characters_are_tokens_each_is_a_fragment(tmp_path: Path) -> None:
    rules = TextRules(tokenizer="characters", lowercase=True)
    bundle = bundle_maker.make(tmp_path / "b", rules=rules, vocabulary=("<unk>", *"abc de"), texts=("a bc", "d"))
    assert [f.text for f in Classifier.load(bundle).explain("aé c").fragments] == ["a", "é", " ", "c"]


def test_of_subwords_code_points_of_scripts_without_spaces_are_fragments(tmp_path: Path) -> None:
    rules = SubwordRules(WordPiece(), 0, splits=(SplitAt((" ",), "removed"),))
    bundle = bundle_maker.make(tmp_path / "b", rules=rules, vocabulary=("<unk>", "a"), texts=("a", "a a"))
    text = "well-known \u4e2d\u6587ok\u3002 \u30ab\u306a \u0e17\u0e35 \U00020000!"
    wanted = [
        *("well-known", "\u4e2d", "\u6587", "ok\u3002", "\u30ab", "\u306a", "\u0e17", "\u0e35", "\U00020000", "!"),
    ]
    assert [f.text for f in Classifier.load(bundle).explain(text).fragments] == wanted


def test_words_that_a_text_cannot_do_without_are_left_out(tmp_path: Path) -> None:
    bundle = bundle_maker.make(
        tmp_path / "b", limits=Limits(min_tokens=2, max_tokens=6), texts=("the oil", "oil , war")
    )
    classifier = Classifier.load(bundle)
    assert classifier.explain("the oil").fragments == ()
    assert [f.text for f in classifier.explain("the oil prices").fragments] == ["the", "oil", "prices"]
    assert [f.text for f in classifier.explain("the oil, (").fragments] == ["the", "oil,", "("]
    with pytest.raises(LimitError, match=r"\b7 .*small.*\b6\b"):
        classifier.explain("oil " * 7)
    result = CliRunner().invoke(main, ["classify", "-b", str(bundle), "--explain"], input="the oil\noil\n")
    assert result.exit_code == 2
    assert result.stdout.count("\n") == 1
    assert re.search(r"Line 2 .*\b1 token id, .*small .*at least 2", result.stderr)


def test_infinite_log_odds_are_no_fault(classifier: Classifier) -> None:
    never = -np.inf
    rows = np.array([[0, never, never, never], [0, never, never, never], [0, 1, 2, 3]], np.float32)
    explainer = Explainer(
        classifier.manifest,
        get_answers_of_chosen_labels(classifier),
        lambda text: [0] * max(1, len(text.split())),
        lambda _: (rows, []),
    )
    explanation = explainer.explain_label("x y", None, 64)
    assert [fragment.log_odds for fragment in explanation.fragments] == [0.0, math.inf]
    assert json.loads(format_explanation_as_json("x y", explanation))["fragments"][1]["log_odds"] is None
    assert "x" in format_explanation_as_coloured_line("x y", explanation)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("oil", "Nothing"), "has no label 'Nothing'"),
        (("oil", 3), "has no label 3"),
        (("oil", None, 0), "most_fragments is 0"),
        (("oil", None, 1.5), "most_fragments is 1.5"),
    ],
)
def test_what_cannot_be_explained_is_refused(classifier: Classifier, arguments: tuple[str, ...], problem: str) -> None:
    text, label, *most = arguments
    with pytest.raises(InputError, match=re.escape(problem)):
        classifier.explain(text, label, **({"most_fragments": most[0]} if most else {}))  # type: ignore[arg-type]


def test_what_is_no_text_is_refused(classifier: Classifier) -> None:
    with pytest.raises(TextError, match="NoneType"):
        classifier.explain(None)  # type: ignore[arg-type]


def test_the_command_gives_json_where_there_is_no_terminal(padded: Path, classifier: Classifier) -> None:
    texts = [TEXT, "", "a\nb \ud800".encode("utf-8", "backslashreplace").decode()]
    result = CliRunner().invoke(main, ["classify", "-b", str(padded), "--explain", *texts])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"] for row in rows] == texts
    for text, row in zip(texts, rows, strict=True):
        explanation = classifier.explain(text)
        assert (row["label"], row["probability"]) == (explanation.label, explanation.probability)
        assert row["fragments"] == [
            {"text": f.text, "start": f.start, "end": f.end, "log_odds": f.log_odds, "probability": f.probability}
            for f in explanation.fragments
        ]


def test_words_are_coloured_by_what_they_did_and_escape_nothing_to_the_terminal() -> None:
    text = "for\x1b[31m weak no"
    explanation = Explanation(
        "a\x07b",
        0.75,
        (
            Fragment("for\x1b[31m", 0, 8, 2.0, 0.2),
            Fragment("weak", 9, 13, 0.1, 0.0),
            Fragment("no", 14, 16, -0.5, -0.1),
        ),
    )
    line = format_explanation_as_coloured_line(text, explanation)
    assert line == "a\\x07b\t0.7500\t\x1b[32m\x1b[1mfor\\x1b[31m\x1b[0m weak \x1b[31m\x1b[4mno\x1b[0m"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
def test_a_terminal_is_shown_colours_and_json_when_asked(padded: Path) -> None:
    import pty

    def shown(*options: str) -> str:
        master, slave = pty.openpty()
        command = [
            sys.executable,
            "-m",
            "pocketrnn",
            "classify",
            "-b",
            str(padded),
            "--explain",
            *options,
            "oil prices",
        ]
        with os.fdopen(slave, "wb") as terminal:
            subprocess.run(command, stdout=terminal, timeout=60, check=True)
        with os.fdopen(master, "rb") as reader:
            return reader.read1(1 << 16).decode()

    coloured = shown()
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured).rstrip().endswith("\toil prices")
    assert json.loads(shown("--json"))["text"] == "oil prices"


@pytest.mark.parametrize("options", [["--stream"], ["--top", "2"], ["--threshold", "0.5"], ["--input", "x.csv"]])
def test_options_that_explain_cannot_follow_are_refused(padded: Path, options: list[str]) -> None:
    result = CliRunner().invoke(main, ["classify", "-b", str(padded), "--explain", *options])
    assert result.exit_code == 2
    assert "--explain" in result.stderr
