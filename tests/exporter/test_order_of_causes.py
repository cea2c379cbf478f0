"""The cause that explains the most of the owner's answers with the fewest changes is told first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.vocabularies.answer_distances import AnsweredText, AnswerSource
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError, refuse_other_answers

WORDS = ["<pad>", "<unk>", *(a + b for a in "bdfgklmn" for b in ("ab", "em", "il"))]
RULES = TextRules("whitespace", padding_id=0, unknown_id=1)
LABELS = ["calm", "glad", "sad", "wild"]
GIVEN = TextEncoder(RULES, WORDS)


def draw_texts(number: int, marks: float = 0.0) -> list[str]:
    """Texts of which a part has a mark at a word, so that the word is unknown."""
    rng = np.random.default_rng(2)
    texts = [[*rng.choice(WORDS[2:], int(rng.integers(4, 12)))] for _ in range(number)]
    return [" ".join([*one[:-1], one[-1] + "?" * (rng.random() < marks)]) for one in texts]


def softmax(logits: Any) -> Any:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


def sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


def make_logits(classes: int, seed: int = 0, bias: float = 0.0) -> Any:
    """A classifier whose logits are the mean of a row of a table for each id. With a bias, several are above 0."""
    table = np.random.default_rng(seed).normal(size=(len(WORDS), classes)) * 9

    def compute(ids: Sequence[int]) -> Any:
        return table[[*ids]].mean(0) + bias

    return compute


def make_source(logits: Any, labels: Sequence[str], activation: str = "softmax") -> AnswerSource:
    def make(apply: Any, name: str) -> AnswerSource:
        return AnswerSource(
            "module", labels, name, TextInput(RULES, tuple(WORDS)), lambda read: GIVEN.encode(str(read)),
            lambda ids: apply(logits(ids)), lambda read: apply(logits(GIVEN.encode(str(read)))),
        )  # fmt: skip

    both = make(softmax, "softmax"), make(sigmoid, "sigmoid")
    first, other = both if activation == "softmax" else both[::-1]
    return replace(first, other=other)


def answer(texts: Sequence[str], logits: Any, labels: Sequence[str], form: str, apply: Any = softmax) -> Any:
    """The owner's answers, by a tokenizer that leaves marks out: labels, one probability, or one for each label."""
    rows = []
    for text in texts:
        numbers = apply(logits(GIVEN.encode(text.replace("?", ""))))
        best = int(numbers.argmax())
        named: Any = dict(zip(labels, map(float, numbers), strict=True))
        if form == "one":
            named = {labels[best]: named[labels[best]]}
        rows.append(AnsweredText(text, text, (labels[best],) if form == "label" else named, label=(labels[best],)))
    return rows


ORDERS = {
    "swapped": (["bad", "good"], ["good", "bad"]),
    "rotated": (["low", "fair", "high"], ["high", "low", "fair"]),
    "sorted": (["wild", "calm", "sad", "glad"], ["calm", "glad", "sad", "wild"]),
}


@pytest.mark.parametrize("marks", [0.0, 0.1])
@pytest.mark.parametrize("form", ["label", "one", "each"])
@pytest.mark.parametrize("order", [*ORDERS])
def test_labels_in_another_order_are_told_before_anything_else(order: str, form: str, marks: float) -> None:
    own, given = ORDERS[order]
    logits = make_logits(len(own), bias=6.0)
    answered = answer(draw_texts(80, marks), logits, own, form)
    with pytest.raises(OtherAnswersError, match="another order") as caught:
        refuse_other_answers(make_source(logits, given), answered)
    changed = {**caught.value.options, **caught.value.nearer_options}
    assert changed == {"labels": ",".join(own)}


@pytest.mark.parametrize("form", ["label", "one", "each"])
def test_the_order_is_told_also_where_some_answers_have_a_cause_that_is_not_found(form: str) -> None:
    own, given = ORDERS["rotated"]
    logits = make_logits(3, bias=6.0)
    answered = answer(draw_texts(80), logits, own, form)
    # These are answers to other texts.
    answered[::20] = [replace(one, answer=answered[i + 1].answer) for i, one in enumerate(answered[::20])]
    with pytest.raises(OtherAnswersError, match="another order") as caught:
        refuse_other_answers(make_source(logits, given), answered)
    changed = {**caught.value.options, **caught.value.nearer_options}
    assert changed == {"labels": ",".join(own)}


def test_rules_explain_the_labels_of_a_few_texts_before_a_threshold_does() -> None:
    logits, labels = make_logits(2), ["bad", "good"]
    source = make_source(logits, labels)
    answered = answer(draw_texts(400, 0.3), logits, labels, "label")
    numbers = [float(source.answer_text(one.text)[1]) for one in answered]
    rows = [*zip(answered, numbers, strict=True)]
    surely = [one for one, number in rows if not 0.1 < number < 0.9 and ("good" in one.answer) == (number > 0.5)]
    wrong = [one for one, number in rows if 0.1 < number < 0.5 and "good" in one.answer]
    assert len(wrong) > 3
    with pytest.raises(OtherAnswersError, match="--rules") as caught:
        refuse_other_answers(source, [*surely, *wrong[:3]])
    assert not caught.value.options


def test_labels_of_texts_of_one_unknown_word_agree_with_no_width() -> None:
    # Their ids are those of an empty text, which may become all padding: both ways together would explain any label.
    def logits(ids: Sequence[int]) -> Any:
        return np.mean([[0.0, 40.5] if one else [1.0, 0.0] for one in ids], axis=0)

    labels, rules = ["bad", "good"], replace(RULES, empty_id=RULES.unknown_id)
    source = replace(make_source(logits, labels), text=TextInput(rules, tuple(WORDS)))
    texts = [f"unheard{i}" for i in range(40)]
    answered = [AnsweredText(text, text, (labels[i % 2],)) for i, text in enumerate(texts)]
    with pytest.raises(OtherAnswersError) as caught:
        refuse_other_answers(source, answered)
    assert caught.value.agreeing is None
    assert "width" not in str(caught.value)


def test_a_threshold_that_only_a_few_labels_show_is_no_line_to_copy() -> None:
    logits = make_logits(2)
    source = make_source(logits, ["bad", "good"])
    rows = [(text, float(source.answer_text(text)[1])) for text in draw_texts(400)]
    surely = [
        AnsweredText(text, text, (source.labels[number > 0.5],)) for text, number in rows if abs(number - 0.5) > 0.4
    ]
    near = [AnsweredText(text, text, ("good",)) for text, number in rows if 0.3 < number < 0.5]
    with pytest.raises(OtherAnswersError, match="from a probability") as caught:
        refuse_other_answers(source, [*surely, *near[:2]])
    assert not caught.value.options


@pytest.mark.parametrize("kept", [None, (0.4, 0.6)])
def test_labels_that_a_threshold_decides_are_explained_by_it(kept: tuple[float, float] | None) -> None:
    logits, labels = make_logits(2), ["bad", "good"]
    source = replace(make_source(logits, labels), thresholds=kept)
    rows = [(text, float(source.answer_text(text)[1])) for text in draw_texts(2000)]
    answered = [AnsweredText(text, text, (labels[number >= 0.2],)) for text, number in rows]
    with pytest.raises(OtherAnswersError, match=r"from a probability") as caught:
        refuse_other_answers(source, answered)
    assert caught.value.options == {"thresholds": "0.8,0.2"}
    assert refuse_other_answers(replace(source, thresholds=(0.8, 0.2)), answered)
