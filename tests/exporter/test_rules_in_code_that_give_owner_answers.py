"""Where answers differ and no option says how texts are split, the rules of the owner's code are tried first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketrnn.text import TextEncoder, TextRules, cleaning
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.commands.export_with_rules_from_answers import list_rules_in_code
from pocketrnn_export.vocabularies.answer_distances import AnsweredText, AnswerSource
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError, refuse_other_answers
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText

WORDS = ["<pad>", "<unk>", *(a + b for a in "bdfgklmn" for b in ("ab", "em", "il"))]
GIVEN = TextRules("whitespace", padding_id=0, unknown_id=1)
# No usual rules do so.
OWN = replace(GIVEN, steps=cleaning(("x", "")))
TABLE = np.random.default_rng(0).normal(size=(len(WORDS), 2)) * 9
LABELS = ["bad", "good"]


def compute(ids: Sequence[int]) -> Any:
    raised = np.exp(TABLE[[*ids]].mean(0) - TABLE[[*ids]].mean(0).max())
    return raised / raised.sum()


def make_source() -> AnswerSource:
    encoder = TextEncoder(GIVEN, WORDS)
    return AnswerSource(
        "module", LABELS, "softmax", TextInput(GIVEN, tuple(WORDS)), lambda read: encoder.encode(str(read)),
        compute, lambda read: compute(encoder.encode(str(read))),
    )  # fmt: skip


def answer(rules: TextRules, *, by_label: bool = False) -> list[AnsweredText]:
    draw, encoder = np.random.default_rng(1), TextEncoder(rules, WORDS)
    found = []
    for _ in range(60):
        words = draw.choice(WORDS[2:], int(draw.integers(2, 9)))
        text = " ".join(f"{one[0]}x{one[1:]}" if draw.random() < 0.3 else str(one) for one in words)
        numbers = compute(encoder.encode(text))
        named = dict(zip(LABELS, map(float, numbers), strict=True))
        found.append(AnsweredText(text, text, (max(named, key=named.__getitem__),) if by_label else named))
    return found


@pytest.mark.parametrize(
    ("more", "by_label", "options"),
    [({}, False, {}), ({"max_tokens": 2}, False, {}), ({}, True, {"tokenizer": "net.py:cut"})],
    ids=["probabilities", "a cut", "labels"],
)
def test_the_rules_of_the_owners_code_are_taken_before_others_are_searched(
    more: dict[str, Any], by_label: bool, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    answered = answer(replace(OWN, **more), by_label=by_label)
    with caplog.at_level(logging.INFO), pytest.raises(OtherAnswersError, match=r"net\.py:cut") as caught:
        refuse_other_answers(
            make_source(), answered[:40], answered[40:],
            list_rules_in_code=lambda _: [("net.py:other", None), ("net.py:cut", OWN)],
        )  # fmt: skip
    assert caught.value.agreeing == (None if options else replace(OWN, **more))
    assert caught.value.options == options
    assert "trying others" not in caplog.text


def test_a_function_whose_rules_are_not_known_is_named_before_the_search(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(OtherAnswersError):
        refuse_other_answers(make_source(), answer(OWN)[:20], list_rules_in_code=lambda _: [("net.py:other", None)])
    told = caplog.messages
    assert told[0].endswith("--tokenizer net.py:other")
    assert any("trying others" in one for one in told[1:])


def test_functions_are_listed_with_their_rules_unless_an_option_says_how_texts_are_split(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import re\n\ndef predict(text):\n    return model(encode(tokenize(text)))\n\n"
        "def tokenize(text):\n    return re.sub('[^a-g ]', 'e', text).split()\n"
    )
    options = {"source": f"{tmp_path / 'net.py'}:Net", "rules": None, "tokenizer": None}
    description = {"example_ids": [OwnersText("a", answer="bad")]}
    found = dict(list_rules_in_code(GIVEN, description, options))
    assert found[f"{tmp_path / 'net.py'}:tokenize"] == replace(
        GIVEN, lowercase=False, steps=cleaning(("sub", "[^a-g ]", "e"))
    )
    assert not [*list_rules_in_code(GIVEN, description, {**options, "tokenizer": "basic_english"})]
