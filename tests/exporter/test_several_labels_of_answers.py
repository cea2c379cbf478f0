"""Answers with a sigmoid of each label are told from those with a softmax over all, in both directions, and a label of
several that is the likeliest one is compared as such."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from pocketrnn.commands.cli import main
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn.verdicts import AnswerComparison
from pocketrnn_export.vocabularies.answer_distances import (
    AnsweredText,
    AnswerSource,
    choose_likeliest_label_or_thresholds_as_owner,
)
from pocketrnn_export.vocabularies.causes_of_different_answers import find_activation_by_sums
from pocketrnn_export.vocabularies.checkpoint_text_settings import NamedLength
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError, refuse_other_answers

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = ["<unk>", "<pad>", *(a + b for a in "bdfgklmn" for b in ("ab", "em", "il"))]
LABELS = ["calm", "glad", "sad"]
TEXTS = [" ".join(np.random.default_rng(i).choice(WORDS[2:], 3 + i % 4)) for i in range(24)]
RULES = TextRules("whitespace", padding_id=1)
ENCODER = TextEncoder(RULES, WORDS)
WIDTH = 9
MODULE = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(26, 8)
        self.gru = torch.nn.GRU(8, 6, batch_first=True)
        self.fc = torch.nn.Linear(6, 3)
    def forward(self, tokens):
        return 6 * self.fc(self.gru(self.embedding(tokens))[0].mean(dim=1))
"""


def compute_logits(ids: Sequence[int]) -> NDArray[np.float64]:
    return np.random.default_rng(sum(ids) * len(ids)).normal(size=3) * 2


def sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


def softmax(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum()


def make_source(kind: str) -> AnswerSource:
    def make(activation: str) -> AnswerSource:
        apply = sigmoid if activation == "sigmoid" else softmax
        return AnswerSource(
            "module", LABELS, activation, TextInput(RULES, WORDS), lambda read: ENCODER.encode(str(read)),
            lambda ids: apply(compute_logits(ids)), lambda read: apply(compute_logits(ENCODER.encode(str(read)))),
            lengths=[NamedLength("net.pt", "max_len", WIDTH)],
        )  # fmt: skip

    return replace(make(kind), other=make("softmax" if kind == "sigmoid" else "sigmoid"))


def answer(apply: Any, width: int = 0, most: int = 3) -> list[AnsweredText]:
    found = []
    for text in TEXTS:
        ids = ENCODER.encode(text)
        numbers = apply(compute_logits(ids + [1] * (width - len(ids))))
        first = np.argsort(-numbers)[:most]
        named = {LABELS[i]: float(numbers[i]) for i in first}
        found.append(AnsweredText(text, text, named, label=(LABELS[first[0]],)))
    return found


@pytest.mark.parametrize("width", [0, WIDTH])
@pytest.mark.parametrize(
    ("given", "own", "option"), [("softmax", sigmoid, "given"), ("sigmoid", softmax, None)], ids=["sigmoid", "softmax"]
)
def test_the_other_activation_is_tried_before_text_rules_also_with_a_named_length(
    given: str, own: Any, option: str | None, width: int
) -> None:
    for most in (1, 3):
        with pytest.raises(OtherAnswersError, match="--multi-label") as caught:
            refuse_other_answers(make_source(given), answer(own, width, most))
        assert caught.value.options == {"multi_label": option}
        assert getattr(caught.value.agreeing, "min_width", None) == (width or None)


@pytest.mark.parametrize(
    ("apply", "most", "shown"), [(sigmoid, 3, "sigmoid"), (softmax, 3, "softmax"), (softmax, 2, ""), (sigmoid, 1, "")]
)
def test_sums_of_probabilities_show_the_activation(apply: Any, most: int, shown: str) -> None:
    rows = [(one, np.zeros(3)) for one in answer(apply, WIDTH, most)]
    assert find_activation_by_sums(rows, len(LABELS)) == shown


def test_an_agreeing_activation_is_kept() -> None:
    for kind, apply in (("softmax", softmax), ("sigmoid", sigmoid)):
        assert len(refuse_other_answers(make_source(kind), answer(apply))) == len(TEXTS)
        # A text without its padding has another cause.
        with pytest.raises(OtherAnswersError) as caught:
            refuse_other_answers(make_source(kind), answer(apply, WIDTH))
        assert caught.value.options == {}


def test_the_only_label_of_each_answer_is_the_likeliest_if_thresholds_give_others() -> None:
    likeliest = [replace(one, answer=one.label) for one in answer(sigmoid)]
    assert len(refuse_other_answers(make_source("sigmoid"), likeliest)) == len(TEXTS)
    reached = [
        replace(one, answer=tuple(name for name, number in dict(one.answer).items() if number >= 0.5), label=())
        for one in answer(sigmoid)
        if isinstance(one.answer, dict)
    ]
    assert any(len(one.answer) != 1 for one in reached)
    assert len(refuse_other_answers(make_source("sigmoid"), reached)) == len(TEXTS)
    # An answer with two labels beside them shows that the labels are not the likeliest ones.
    source = make_source("sigmoid")
    for some, is_likeliest in ((likeliest, True), ([*likeliest, replace(reached[0], answer=("calm", "glad"))], False)):
        found = choose_likeliest_label_or_thresholds_as_owner(
            source, [(one, source.answer_text(one.read)) for one in some]
        )
        assert found.gives_likeliest == is_likeliest


def test_the_verdict_names_the_likeliest_label() -> None:
    compared = AnswerComparison(3, 3, 0.0, 0.001, texts=3, of_likeliest=True)
    assert "the same likeliest label and probabilities" in compared.sentence
    assert compared.document["of_likeliest"] is True
    assert "of_likeliest" not in replace(compared, of_likeliest=False).document


@pytest.mark.slow
def test_answers_with_a_sigmoid_are_two_lines_to_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODULE)
    made: dict[str, Any] = {}
    exec(MODULE, made)  # noqa: S102 - above
    net = made["Net"]().eval()
    torch.save(net.state_dict(), "net.pt")
    Path("vocab.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    rows = ["text,label,probability"]
    for text in TEXTS:
        with torch.no_grad():
            numbers = net(torch.tensor([ENCODER.encode(text)]))[0].sigmoid()
        rows.append(f"{text},{LABELS[int(numbers.argmax())]},{numbers.max():.6f}")
    Path("answers.csv").write_text("\n".join(rows))
    given = ["net.py:Net", "--weights", "net.pt", "--vocabulary", "vocab.json", "--labels", ",".join(LABELS)]
    refused = CliRunner().invoke(main, ["export", *given, "--pairs", "answers.csv", "-o", "out"])
    assert refused.exit_code == 3, refused.output
    line = shlex.split(refused.stderr.split("Write: ")[1].splitlines()[0])
    assert "--multi-label" in line
    written = CliRunner().invoke(main, line[1:])
    assert written.exit_code == 0, written.output
    assert f"On {len(TEXTS)} texts it answers as your classifier: the same likeliest label" in written.stdout
    assert "--top 1" in written.stdout.splitlines()[-1]
