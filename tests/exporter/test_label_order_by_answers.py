"""The order of the labels is compared with the owner's answers also where other things are wrong, or nobody asks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.commands.proposed_options import describe_label_order, read_answers_in_near_folders
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.vocabularies.answer_distances import AnsweredText, AnswerSource
from pocketrnn_export.vocabularies.label_order_by_answers import find_likelier_order
from pocketrnn_export.vocabularies.label_order_in_pairs import read_pairs_in_label_order
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError, refuse_other_answers
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText, map_answers_to_labels, read_pairs

pytestmark = pytest.mark.usefixtures("scant_proofs")
LABELS = ["bad", "good"]
WORDS = ["<unk>", "<pad>", *"abcdefgh"]
MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(10, 4)
        self.gru = torch.nn.GRU(4, 3, batch_first=True)
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, tokens):
        return 6 * self.fc(self.gru(self.embedding(tokens))[0].mean(dim=1))
"""


def answers(given: Sequence[int], found: Sequence[int], labels: Sequence[str] = LABELS) -> Any:
    """A module that answers with the labels of the numbers `found`, and texts to which the owner's gives `given`."""
    chosen = {str(i): np.eye(len(labels))[number] * 0.8 + 0.1 for i, number in enumerate(found)}
    source = AnswerSource(
        "module", labels, "softmax", TextInput(TextRules(tokenizer="external", padding_id=1), tuple(WORDS)),
        lambda _: [2], lambda _: chosen["0"], lambda text: chosen[str(text)],
    )  # fmt: skip
    rows = [AnsweredText(str(i), str(i), (labels[number],), ids_agree=True) for i, number in enumerate(given)]
    return source, rows


@pytest.mark.parametrize(
    ("given", "found", "turned", "sure"),
    [
        ([0, 1] * 20, [1, 0] * 16 + [0, 1] * 4, True, True),
        ([0, 1] * 20, [0, 1] * 16 + [1, 0] * 4, False, True),
        # A module that gives one label to nearly all texts agrees with most by chance.
        ([0] * 32 + [1] * 8, [1] * 40, True, False),
        ([0, 1] * 2, [1, 0] * 2, True, False),
        ([0, 1] * 20, [0, 0, 1, 1] * 10, False, False),
    ],
)
def test_an_order_is_sure_if_the_answers_agree_with_it_more_than_by_chance(
    given: list[int], found: list[int], turned: bool, sure: bool
) -> None:
    source, rows = answers(given, found)
    order = find_likelier_order(source, [(one, source.answer_text(one.read)) for one in rows])
    assert (order.labels == LABELS[::-1], order.is_sure) == (turned, sure)


def test_the_refusal_of_other_answers_names_the_order_with_which_most_of_them_agree() -> None:
    source, rows = answers([0, 1, 2] * 14, [0, 2, 1] * 12 + [0, 1, 2] * 2, ["low", "fair", "high"])
    with pytest.raises(OtherAnswersError, match="38 of 42") as caught:
        refuse_other_answers(source, rows)
    assert caught.value.nearer_options == {"labels": "low,high,fair"}


@pytest.fixture
def owners_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module, its weights and vocabulary, and its own answers."""
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(MODULE, made)  # noqa: S102 - above
    net = made["Net"]().eval()
    Path("net.py").write_text(MODULE)
    Path("words.txt").write_text("\n".join(WORDS))
    texts = [f"{a} {b} {c}" for a in "abcdefgh" for b in "abc" for c in "de"]
    with torch.no_grad():
        ids = torch.tensor([[WORDS.index(one) for one in text.split()] for text in texts])
        # Half of the texts have each label.
        net.fc.bias[0] -= net(ids).diff(dim=1).neg().median() / 6
        best = net(ids).argmax(1).tolist()
    torch.save(net.state_dict(), "net.pt")
    rows = [f"{text},{LABELS[number]}" for text, number in zip(texts, best, strict=True)]
    Path("answers.csv").write_text("\n".join(["text,label", *rows]))
    return tmp_path


def test_labels_in_another_order_than_answers_that_lie_beside_are_not_written(owners_folder: Path) -> None:
    given = ["net.py:Net", "--weights", "net.pt", "--vocabulary", "words.txt", "-o", "out", "--no-torchscript"]
    result = CliRunner().invoke(main, ["export", *given, "--labels", "good,bad"])
    assert result.exit_code == 3, result.output
    assert "--labels bad,good --pairs answers.csv" in result.stderr
    assert not (owners_folder / "out").exists()


def test_a_note_says_that_the_order_of_labels_is_taken_from_the_option_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("net.py")
    path.touch()
    assert "bad,good, is taken from --labels alone" in describe_label_order(path, LABELS, None)
    path.write_text("x = 'good' if tahmin == 0 else 'bad'")
    assert "good,bad (net.py, line 1)" in describe_label_order(path, LABELS, None)
    assert describe_label_order(path, LABELS[::-1], None) == ""


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("text,label\na b,good\nc d,bad\n", [("good",), ("bad",)]),
        # The probability is that of the second label, and the labels are in another order.
        ("text,label,probability\na b,bad,0.75\nc d,good,0.25\n", [{"good": 0.25, "bad": 0.75}] * 2),
        ("text,label\na b,1\nc d,0\n", []),
    ],
)
def test_answers_beside_are_read_in_any_order_of_labels(
    table: str, named: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("answers.csv").write_text(table)
    found = [answer for _, answer in read_answers_in_near_folders(LABELS, None)[1]]
    assert [{*one} for one in found] == [{*one} for one in named]


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        (["Bad", "Good"], "good", ("Good",)),
        (["bad", "good"], " GOOD ", ("good",)),
        (["Bad", "Good"], {"bad": 0.25, "good": 0.75}, {"Bad": 0.25, "Good": 0.75}),
        # These are two labels.
        (["good", "Good"], "Good", ("Good",)),
        (["good", "Good"], "GOOD", None),
    ],
)
def test_answers_may_be_spelled_with_other_case_and_blanks(labels: list[str], given: Any, expected: Any) -> None:
    with pytest.raises(InputError, match="'GOOD'") if expected is None else nullcontext():
        assert map_answers_to_labels([OwnersText("a film", answer=given)], labels)[0][1] == expected


@pytest.mark.parametrize(
    ("columns", "row"),
    [("logit_0,logit_1,logit_2", "{},{},{}"), ("p_0,p_1,p_2", "{},{},{}"), ("logits", "[{} {} {}]")],
)
def test_numbers_that_name_no_labels_do_not_show_their_order(columns: str, row: str, tmp_path: Path) -> None:
    numbers = [(0.1, 0.7, 0.2), (0.8, 0.1, 0.1), (0.2, 0.2, 0.6)]
    given, path = "abc", tmp_path / "answers.csv"
    path.write_text("\n".join([f"text,{columns}", *(f"t{i},{row.format(*one)}" for i, one in enumerate(numbers))]))
    assert [one.answer for one in read_pairs(path, [*given])] == [[*one] for one in numbers]
    rows = [f"t{i},{label},{row.format(*one)}" for i, (label, one) in enumerate(zip(given, numbers, strict=True))]
    path.write_text("\n".join([f"text,label,{columns}", *rows]))
    with pytest.raises(OptionCorrectionsError) as caught:
        read_pairs_in_label_order(path, [*given])
    assert caught.value.changes == {"labels": "b,a,c"}


def test_a_message_shows_unknown_words_whose_id_is_that_of_padding() -> None:
    source, rows = answers([0], [1])
    rules = TextRules(tokenizer="external", padding_id=0, unknown_id=0)
    source = replace(source, text=TextInput(rules, tuple(WORDS)), encode=lambda _: [2, 0, 3])
    with pytest.raises(OtherAnswersError, match="'a' '<unk>' 'b'"):
        refuse_other_answers(source, rows)


def test_the_order_is_found_with_the_rules_that_fit_best_before_the_splitting_is_blamed() -> None:
    tokens, labels = ["<unk>", *"天地人山水火"], ["low", "fair", "high"]
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice([*tokens[1:]], 9)) for _ in range(40)]
    table = rng.normal(size=(len(tokens), 3))

    def answer_ids(ids: Sequence[int]) -> Any:
        raised = np.exp(table[[*ids]].sum(0))
        return raised / raised.sum()

    def encode(text: Any) -> list[int]:
        return TextEncoder(TextRules("whitespace", unknown_id=0), tokens).encode(text)

    source = AnswerSource(
        "module", labels, "softmax", TextInput(TextRules("whitespace", unknown_id=0), tuple(tokens)),
        encode, answer_ids, lambda text: answer_ids(encode(text)),
    )  # fmt: skip
    characters = TextEncoder(TextRules("characters", unknown_id=0), tokens)
    best = [answer_ids(characters.encode(text)).argmax() for text in texts]
    rows = [AnsweredText(text, text, (labels[::-1][i],)) for text, i in zip(texts, best, strict=True)]
    with pytest.raises(OtherAnswersError, match="high, fair, low") as caught:
        refuse_other_answers(source, rows)
    assert caught.value.options == {"labels": "high,fair,low"}
    assert caught.value.agreeing.tokenizer == "characters"
