"""Logits or probabilities, the file of weights and the width of texts are found together by the owner's answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.text import SubwordRules, TextEncoder, TextRules
from pocketrnn.text.subword_rules import WordPiece
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.module_check_by_owner_answers import (
    refuse_module_with_other_answers,
    try_weights_lengths_and_stop_words_if_answers_differ,
)
from pocketrnn_export.vocabularies.answer_distances import AnsweredText, AnswerSource
from pocketrnn_export.vocabularies.causes_of_different_answers import find_other_truncation_or_padding
from pocketrnn_export.vocabularies.checkpoint_text_settings import NamedLength
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError
from pocketrnn_export.vocabularies.weights_file_that_gives_owner_answers import find_agreeing_weights

WORDS = ["<pad>", "<unk>", *(a + b for a in "bdfgklmn" for b in ("ab", "em", "il"))]
RULES = TextRules("whitespace", padding_id=0, unknown_id=1)
LABELS = ("low", "fair", "high")


class Net(nn.Module):
    """A classifier whose forward ends with an activation."""

    def __init__(self, seed: int, outputs: int, last: Callable[[Any], Any]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding, self.gru = nn.Embedding(len(WORDS), 8), nn.GRU(8, 8, batch_first=True)
            self.fc = nn.Linear(8, outputs)
        self.last = last

    def forward(self, tokens: Any) -> Any:
        return self.last(9 * self.fc(self.gru(self.embedding(tokens))[0][:, -1]))


def softmax(numbers: Any) -> Any:
    return torch.softmax(numbers, 1)


def keep(numbers: Any) -> Any:
    return numbers


def draw_texts(number: int) -> list[str]:
    rng = np.random.default_rng(5)
    return [" ".join(rng.choice(WORDS[2:], int(rng.integers(3, 12)))) for _ in range(number)]


def answer(net: Any, then: Callable[[Any], Any], labels: Sequence[str], width: int | None = None) -> list[AnsweredText]:
    """The owner's answers: those of a module, with what the answering code does to its numbers."""
    encoder = TextEncoder(replace(RULES, min_width=width, max_width=width), WORDS)
    rows = []
    for text in draw_texts(24):
        with torch.no_grad():
            numbers = then(net(torch.tensor([encoder.encode(text)])))[0]
        named = dict(zip(labels[-len(numbers) :], numbers.tolist(), strict=True))
        rows.append(AnsweredText(text, text, named))
    return rows


def refuse(
    own: Any, answered: Sequence[AnsweredText], labels: Sequence[str], others: Sequence[tuple[str, Any]] = (),
    lengths: Sequence[int] = (), gives: str | None = None,
) -> OtherAnswersError:  # fmt: skip
    """Compare a module with answers, and return the refusal."""

    def prepare(net: Any) -> Any:
        return prepare_module(
            net.eval(), lengths=None, ids=len(WORDS), padding_id=0, classes=len(labels), multi_label=False, gives=gives,
            call="module(tokens)",
        )  # fmt: skip

    text = TextInput(RULES, tuple(WORDS))
    output = LabelOutput(tuple(labels), "softmax")
    description: Any = SimpleNamespace(
        text=text, output=output, spellings=None, name="net", encoder=lambda: TextEncoder(RULES, WORDS)
    )
    named = [NamedLength("api.py, line 3,", "max_length", one) for one in lengths]
    with (
        try_weights_lengths_and_stop_words_if_answers_differ(tuple, lambda: named, tuple, "own.pt"),
        pytest.raises(OtherAnswersError) as raised,
    ):
        refuse_module_with_other_answers(
            prepare(own), description, answered, lambda _: [(name, prepare(net)) for name, net in others]
        )
    return raised.value


@pytest.mark.parametrize(
    ("outputs", "last", "then", "gives", "options"),
    [
        (3, softmax, softmax, None, {"gives": "logits"}),
        (3, softmax, torch.sigmoid, None, {"gives": "logits", "multi_label": "given"}),
        (1, torch.sigmoid, torch.sigmoid, None, {"gives": "logits"}),
        (3, softmax, keep, "logits", {"gives": "probabilities"}),
        (1, torch.sigmoid, keep, "logits", {"gives": "probabilities"}),
        (3, torch.sigmoid, keep, "logits", {"gives": "probabilities", "multi_label": "given"}),
    ],
)  # fmt: skip
def test_answers_show_whether_the_numbers_of_a_module_are_logits(
    outputs: int, last: Any, then: Any, gives: str | None, options: dict[str, str]
) -> None:
    labels = LABELS if outputs == 3 else ("no", "yes")
    net = Net(1, outputs, last)
    error = refuse(net, answer(net, then, labels), labels, gives=gives)
    assert error.options == options
    assert f"--gives {options['gives']}" in error.remedy


def test_numbers_weights_and_width_are_found_in_one_step() -> None:
    nets = [(f"{seed}.pt", Net(seed, 3, softmax)) for seed in (2, 3)]
    answered = answer(nets[1][1], softmax, LABELS, 64)
    error = refuse(Net(1, 3, softmax), answered, LABELS, nets, lengths=[64])
    assert error.options == {"weights": "3.pt", "gives": "logits"}
    assert getattr(error.agreeing, "min_width", None) == 64
    assert "24 texts" in error.remedy


def test_a_softmax_of_logarithms_of_probabilities_asks_for_nothing() -> None:
    net = Net(1, 3, lambda numbers: torch.log_softmax(numbers, 1))
    with pytest.raises(pytest.fail.Exception):
        refuse(net, answer(net, torch.exp, LABELS), LABELS)


def test_numbers_and_weights_with_which_most_texts_agree_are_told() -> None:
    def make(seed: int, gives: str = "") -> AnswerSource:
        def answer_text(read: object) -> Any:
            raised = np.exp(np.random.default_rng([seed, int(str(read))]).normal(size=3))
            raised = np.exp(raised / raised.sum()) if gives else raised
            return raised / raised.sum()

        rules = SubwordRules(WordPiece(), unknown_id=1)
        return AnswerSource(
            "module", LABELS, "softmax", SimpleNamespace(rules=rules, vocabulary=WORDS), lambda read: [int(str(read))],
            lambda ids: answer_text(ids[0]), answer_text, weights=f"{seed}.pt", gives=gives,
            reach=(0.2, 0.6) if gives else (0.0, 1.0), readings=() if gives else (make(seed, "logits"),),
        )  # fmt: skip

    right = make(3, "logits")
    # The owner's code changes some texts in a way that no rules have.
    asked = [(str(n), str(n + 50 * (n % 6 == 5))) for n in range(40)]
    answered = [AnsweredText(text, text, dict(zip(LABELS, map(float, right.answer_text(read)), strict=True)))
                for text, read in asked]  # fmt: skip
    sources = [("3.pt", make(3)), ("4.pt", make(4))]
    found = find_agreeing_weights(sources, answered, 1e-3, of_other_rules=True, own=make(1))
    assert found is not None
    assert (found.options, found.nearer_options) == ({}, {"weights": "3.pt", "gives": "logits"})
    assert re.search(r"1\d of 14 texts", found.advice)


def test_labels_alone_do_not_ask_for_logits() -> None:
    net = Net(1, 3, softmax)
    named = [replace(one, answer=(max(one.answer, key=dict(one.answer).__getitem__),)) for one in
             answer(Net(2, 3, softmax), softmax, LABELS)]  # fmt: skip
    error = refuse(net, named, LABELS, [("other.pt", Net(2, 3, softmax))])
    assert error.options == {"weights": "other.pt"}


def test_a_named_length_counts_the_marks_around_a_text() -> None:
    rules = SubwordRules(WordPiece(), unknown_id=1, first_ids=(2,), last_ids=(3,))
    table = np.random.default_rng(0).normal(size=(40, 3))

    def answer_ids(ids: Sequence[int]) -> Any:
        raised = np.exp(sum(table[one] * (1 + i % 7) for i, one in enumerate(ids)) / 9)
        return raised / raised.sum()

    texts = [str(n) for n in range(4, 30)]
    given = {text: [2, *(4 + (7 * int(text) + i) % 36 for i in range(int(text))), 3] for text in texts}
    source = AnswerSource(
        "module", LABELS, "softmax", SimpleNamespace(rules=rules, vocabulary=WORDS), lambda read: given[str(read)],
        answer_ids, lambda read: answer_ids(given[str(read)]),
        lengths=[NamedLength("api.py, line 3,", "max_length", 16)],
    )  # fmt: skip
    for padding in (0, 1):
        rows = []
        for text, ids in given.items():
            cut = [*ids[:15], 3] if len(ids) > 16 else ids
            right = answer_ids([*cut, *[0] * padding * (16 - len(cut))])
            one = AnsweredText(text, text, dict(zip(LABELS, map(float, right), strict=True)))
            rows.append((one, source.answer_text(text)))
        wrong = [i for i, (one, found) in enumerate(rows) if abs(one.answer["low"] - found[0]) > 1e-3]  # type: ignore[call-overload]
        way = find_other_truncation_or_padding(source, rows, wrong, 1e-3)
        assert way is not None
        assert (way.rules.max_tokens, way.rules.min_width) == (14, 16 if padding else None)
