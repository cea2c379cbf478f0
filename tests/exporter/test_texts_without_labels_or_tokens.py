"""A text to which the owner gives no label counts among the compared ones, and the last lines say what a text without a
token meets in the owner's code."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.text import TextRules, cleaning
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.commands.lines_after_export import describe_empty_texts
from pocketrnn_export.vocabularies.answer_distances import AnsweredText
from pocketrnn_export.vocabularies.candidate_text_rules import describe_rules
from pocketrnn_export.vocabularies.owner_answer_comparison import compare_answers
from pocketrnn_export.vocabularies.owner_function_call import OwnersFunction
from pocketrnn_export.vocabularies.owner_texts_and_answers import map_answers_to_labels, read_pairs

LABELS = ("rude", "loud", "dull")
ROWS = {"oil": [0.9, 0.69, 0.1], "cup": [0.2, 0.3, 0.1], "war": [0.1, 0.6, 0.2]}


def compare(labels: dict[str, Any]) -> Any:
    """Compare a bundle, which gives the probabilities of ROWS, with answers that hold these and the given labels."""
    output = LabelOutput(LABELS, "sigmoid")
    classifier: Any = SimpleNamespace(
        labels=LABELS, thresholds=None, heads=(), encode=lambda _: [1],
        manifest=SimpleNamespace(output=output, text=TextInput(TextRules(), ())),
        predict_proba=lambda texts: np.float32([ROWS[one] for one in texts]),
        _answers=Answers("mood", LABELS, "sigmoid"),
    )  # fmt: skip
    answered = [
        AnsweredText(text, text, dict(zip(LABELS, row, strict=True)), label=labels.get(text))
        for text, row in ROWS.items()
    ]
    return compare_answers(classifier, answered)


@pytest.mark.parametrize(
    "file",
    {
        "pairs.csv": "text,label,rude,loud,dull\noil,rude|loud,0.9,0.7,0.1\ncup,,0.2,0.3,0.1\nwar,loud,0.1,0.6,0.2\n",
        "pairs.jsonl": '{"text": "oil", "label": ["rude", "loud"], "probabilities": [0.9, 0.7, 0.1]}\n'
        '{"text": "cup", "label": [], "probabilities": [0.2, 0.3, 0.1]}\n'
        '{"text": "war", "label": "loud", "probabilities": [0.1, 0.6, 0.2]}\n',
    }.items(),
    ids=["csv", "json"],
)
def test_an_empty_label_beside_probabilities_counts_as_compared(tmp_path: Path, file: tuple[str, str]) -> None:
    path = tmp_path / file[0]
    path.write_text(file[1])
    found = map_answers_to_labels(read_pairs(path, LABELS, multi_label=True), LABELS, multi_label=True)
    assert [one.label for one, _ in found] == [["rude", "loud"], [], found[2][0].label]
    compared = compare({"oil": ("rude", "loud"), "cup": tuple(found[1][0].label), "war": ("loud",)})
    assert (compared.labels, compared.probabilities, compared.texts) == (3, 3, 3)
    assert compared.sentence.startswith("On 3 texts it answers as your classifier: the same labels and")


def test_a_column_of_labels_that_is_empty_throughout_holds_no_answers(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("text,label,rude,loud,dull\noil,,0.9,0.7,0.1\ncup,,0.2,0.3,0.1\n")
    assert [one.label for one in read_pairs(tmp_path / "pairs.csv", LABELS, multi_label=True)] == [None, None]


@pytest.mark.parametrize(("given", "option"), [(("rude",), "--thresholds 0.7"), (("loud",), "--thresholds")])
def test_labels_beside_agreeing_probabilities_that_differ_are_told(
    given: tuple[str, ...], option: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        compared = compare({"oil": given, "cup": (), "war": ()})
    assert (compared.labels, compared.probabilities) == (1, 3)
    assert caplog.messages[-1].startswith("2 of 3 texts")
    assert caplog.messages[-1].endswith(option)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (("letters", "lowercase"), "whitespace with letters and lowercase"),
        ((("sub", r"[^\w]", " "), "lowercase"), "whitespace with 2 steps (lower case by step 2)"),
        (("letters",), "whitespace with lowercase=False and letters"),
    ],
)
def test_rules_whose_step_lower_cases_are_not_described_as_keeping_the_case(steps: Any, said: str) -> None:
    assert describe_rules(TextRules("whitespace", lowercase=False, steps=cleaning(*steps))) == said


class Recurrent(nn.Module):
    """It fails on a text without a token, as the layers of PyTorch do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn, self.fc = nn.Embedding(3, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(self.embedding(tokens))[1][-1])  # type: ignore[no-any-return]


class Summing(Recurrent):
    """It answers a text without a token."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc(self.embedding(tokens).sum(1))  # type: ignore[no-any-return]


def split_with_first_word(text: str) -> list[str]:
    words = text.split()
    return [words[0], *words[1:]]


@pytest.mark.parametrize(
    ("module", "split", "rules", "said"),
    [
        (Recurrent(), str.split, {}, "Your module raises RuntimeError if it gets no ids. For another"),
        (Recurrent(), split_with_first_word, {}, "Your tokenizer raises IndexError on an empty text. For another"),
        (Summing(), str.split, {}, ""),
        # The module gets ids.
        (Recurrent(), str.split, {"min_width": 2}, ""),
        (Recurrent(), split_with_first_word, {"min_width": 2}, "Your tokenizer raises IndexError on an empty text."),
    ],
)
def test_a_text_without_a_token_on_which_the_users_code_raises_is_told(
    module: Any, split: Any, rules: dict[str, Any], said: str
) -> None:
    function = OwnersFunction(split, "", {}, takes_list=False)
    function("oil")
    text = TextInput(TextRules("whitespace", unknown_id=1, empty_id=1, **rules), ("<pad>", "<unk>", "oil"))
    manifest: Any = SimpleNamespace(text=text, features=(), provenance={"call": "module(tokens)"})
    (line,) = describe_empty_texts(manifest, module, function)
    told = line.partition(". ")[2]
    assert told.startswith(said)
    assert bool(told) == bool(said)
    assert ("empty_id" in line) == ("For another" in said)


@pytest.mark.parametrize("call", ["other(tokens)", "module(tokens, tokens)"])
def test_a_call_that_fails_on_every_text_says_nothing_of_one_without_a_token(call: str) -> None:
    text = TextInput(TextRules("whitespace", unknown_id=1, empty_id=1), ("<pad>", "<unk>", "oil"))
    manifest: Any = SimpleNamespace(text=text, features=(), provenance={"call": call})
    assert "raises" not in describe_empty_texts(manifest, Recurrent(), lambda _: 1 / 0)[0]
