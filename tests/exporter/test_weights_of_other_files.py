"""The weights of files with the same shapes are tried if answers differ from those of the owner's classifier."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
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
from pocketrnn_export.commands.proposed_options import propose_labels, propose_pairs
from pocketrnn_export.intake.file_existence_check import check_weights_exist, find_kind_of_text
from pocketrnn_export.vocabularies.answer_distances import AnsweredText, AnswerSource
from pocketrnn_export.vocabularies.owner_texts_and_answers import read_pairs
from pocketrnn_export.vocabularies.weights_file_that_gives_owner_answers import find_agreeing_weights

pytestmark = pytest.mark.usefixtures("scant_proofs")
SYLLABLES = [a + b for a in "bdfgklmnprst" for b in ("ab", "em", "il", "on", "ur")]
WORDS = ["<unk>", "<pad>", *SYLLABLES]
MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(62, 8)
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.fc = nn.Linear(8, 2)
    def forward(self, tokens):
        return 4 * self.fc(self.gru(self.embedding(tokens))[0][:, -1])
"""


def drawn(number: int) -> list[str]:
    rng = np.random.default_rng(3)
    return [" ".join(rng.choice(SYLLABLES, int(rng.integers(3, 14)))) for _ in range(number)]


def source_of(weights: int, rules: TextRules) -> AnswerSource:
    encoder = TextEncoder(rules, WORDS)

    def answer_ids(ids: Sequence[int]) -> Any:
        number = hash((weights, *ids)) % 997 / 997
        return np.array([number, 1 - number])

    return AnswerSource("module", ["a", "b"], "softmax", TextInput(rules, WORDS), encoder.encode, answer_ids,
                        lambda read: answer_ids(encoder.encode(str(read))))  # fmt: skip


@pytest.mark.parametrize(
    ("owners", "of_other_rules", "is_found"),
    [
        (TextRules("whitespace", padding_id=1), False, True),
        (TextRules("whitespace", padding_id=1, min_width=10), False, True),
        (TextRules("whitespace", padding_id=1, max_tokens=2), False, True),
        (TextRules("characters", padding_id=1, unknown_id=0), False, False),
        (TextRules("characters", padding_id=1, unknown_id=0), True, True),
    ],
)
def test_weights_that_give_all_answers_are_found(owners: TextRules, of_other_rules: bool, is_found: bool) -> None:
    rules = TextRules("whitespace", padding_id=1)
    right = source_of(7, owners)
    texts = drawn(24)
    answered = [
        AnsweredText(one, one, dict(zip("ab", map(float, right.answer_text(one)), strict=True))) for one in texts
    ]
    sources = [("last.pt", source_of(8, rules)), ("best.pt", source_of(7, rules))]
    found = find_agreeing_weights(sources, answered, 1e-3, of_other_rules=of_other_rules)
    assert (found is not None) == is_found
    if found is not None:
        assert found.options == {"weights": "best.pt"}
        assert (found.agreeing is None) == (owners == rules)
        assert "24 texts" in found.advice
        assert "best.pt" in found.advice
    # One other answer is enough to name no file.
    answered[-1] = AnsweredText(texts[-1], texts[-1], {"a": 2.0, "b": 2.0})
    assert find_agreeing_weights(sources, answered, 1e-3, of_other_rules=of_other_rules) is None


@pytest.mark.slow
def test_the_line_to_write_has_the_weights_that_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODULE)
    Path("words.txt").write_text("\n".join(WORDS))
    made: dict[str, Any] = {}
    exec(MODULE, made)  # noqa: S102 - above
    for name, seed in (("last.pt", 1), ("best.pt", 2)):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = made["Net"]().eval()
        torch.save(net.state_dict(), name)
    rows = []
    for text in drawn(30):
        ids = [WORDS.index(word) for word in text.split()]
        padded = torch.tensor([ids + [1] * (20 - len(ids))])
        with torch.no_grad():
            rows.append({"text": text, "b": torch.softmax(net(padded)[0], 0)[1].item()})
    with Path("answers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "b"])
        writer.writeheader()
        writer.writerows(rows)
    line = "export net.py:Net --weights last.pt --vocabulary words.txt --labels a,b --pairs answers.csv -o made"
    shown = CliRunner().invoke(main, shlex.split(line))
    assert shown.exit_code == 3, shown.output
    (written,) = [one for one in shown.stderr.splitlines() if one.startswith("Write: ")]
    assert "--weights best.pt" in written
    assert '"min_width": 20' in written
    assert not Path("made").exists()


def test_thresholds_that_every_text_reaches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODULE)
    Path("words.txt").write_text("\n".join(WORDS))
    line = "export net.py:Net --random-weights --vocabulary words.txt --labels a,b --thresholds 0.2 -o made"
    shown = CliRunner().invoke(main, shlex.split(line))
    assert (shown.exit_code, "--thresholds 0.2" in shown.stderr) == (2, True), shown.output


ANSWERING = """
VOCAB = json.loads(pathlib.Path("words.json").read_text())

def predict_label(text):
    words = text.lower().split()
    return Net()(torch.tensor([[VOCAB.get(word, 0) for word in words]])).argmax()

def encode_message(text):
    return [VOCAB.get(word, 0) for word in text.split()]
"""


@pytest.mark.parametrize(
    "tokenizer",
    [
        pytest.param("predict_label", marks=pytest.mark.slow),
        "encode_message",
        pytest.param(None, marks=pytest.mark.slow),
    ],
)
def test_a_refusal_has_short_lines_and_never_the_same_command(
    tokenizer: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(f"import json, pathlib{MODULE}{ANSWERING}")
    Path("words.json").write_text(json.dumps({word: i for i, word in enumerate(WORDS)}))
    lines = [f"{text},{'ab'[i % 2]},{0.1 + 0.8 * (i % 2)}" for i, text in enumerate(drawn(6))]
    Path("answers.csv").write_text("\n".join(["text,label,probability", *lines]))
    made: dict[str, Any] = {}
    exec(MODULE, made)  # noqa: S102 - above
    torch.save(made["Net"]().state_dict(), "net.pt")
    line = "export net.py:Net --weights net.pt --vocabulary words.json --labels a,b --pairs answers.csv -o made"
    line += f" --tokenizer net.py:{tokenizer}" * bool(tokenizer)
    shown = CliRunner().invoke(main, shlex.split(line))
    assert shown.exit_code == 3, shown.output
    said = shown.stderr[shown.stderr.index("Error: ") :].splitlines()
    written = [one for one in said if one.startswith("Write: ")]
    assert len(said) - len(written) == 3
    assert max(map(len, said[:3])) < 400
    assert not any(f"net.py:{tokenizer}" in one for one in written)
    # The answering function comes first, and does not call the other one.
    assert not any("encode_message" in one for one in written)
    assert len(written) == (tokenizer != "predict_label")


def test_answers_in_another_order_of_the_labels_are_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("answers.csv").write_text("text,label,probability\nthe oil,a,0.1\nthe film,b,0.4\n")
    for labels, is_found in ((["a", "b"], True), (["b", "a"], True), (["b", "c"], False)):
        found = propose_pairs(labels, None, multi_label=False)
        assert (found is not None) == is_found
    Path("net.py").write_text('LABELS = ["b", "a"]')
    assert propose_labels(Path("net.py"), None, Path("answers.csv"), multi_label=False).value == "a,b"


def test_a_table_with_tabs_is_read_and_one_without_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sms.tsv"
    path.write_text("text\tlabel\nthe oil\ta\nfilm, too\tb\n")
    assert [(one.text, one.answer) for one in read_pairs(path, ["a", "b"])] == [("the oil", "a"), ("film, too", "b")]
    path.write_text("ham\tthe oil is up\nspam\tcall now\nham\tthe film\n")
    with pytest.raises(InputError, match=r"sms\.tsv .*'ham'"):
        read_pairs(path, ["ham", "spam"])


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("config.json", b'{"a": 1}', "JSON text"), ("a.pt", b"\n[1, 2]", "JSON text"), ("a.yaml", b"a: 1\n", "text"),
        ("a.pt", b"\x80\x02}", ""), ("a.pkl", b"(dp0\nS'a'\n", ""), ("a.safetensors", b"\x40\0\0\0\0\0\0\0{", ""),
    ],
)  # fmt: skip
def test_text_is_no_file_of_weights(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert find_kind_of_text(tmp_path / name) == kind
    if kind:
        with pytest.raises(InputError, match=kind):
            check_weights_exist(tmp_path / name)


@pytest.mark.parametrize("of_logits", [True, False])
@pytest.mark.parametrize("is_single", [True, False])
def test_the_mean_of_several_files_is_found_and_the_class_that_computes_it_written(
    of_logits: bool, is_single: bool
) -> None:
    rules = TextRules("whitespace", padding_id=1)
    encoder = TextEncoder(rules, WORDS)
    tables = [np.random.default_rng(seed).normal(size=(len(WORDS), 2)) * 5 for seed in range(4)]

    def softmax(logits: Any) -> Any:
        return np.exp(logits) / np.exp(logits).sum()

    def source(table: Any) -> AnswerSource:
        def answer_ids(ids: Sequence[int]) -> Any:
            return softmax(table[[*ids]].mean(0) * ([0, 1] if is_single else [1, 1]))

        return AnswerSource("module", ["a", "b"], "softmax", TextInput(rules, WORDS), encoder.encode, answer_ids,
                            lambda read: answer_ids(encoder.encode(str(read))), weights="fold_0.pt",
                            has_one_output=is_single)  # fmt: skip

    answered = []
    for text in drawn(24):
        logits = [table[encoder.encode(text)].mean(0) * ([0, 1] if is_single else [1, 1]) for table in tables[:3]]
        mean = softmax(np.mean(logits, 0)) if of_logits else np.mean([*map(softmax, logits)], 0)
        answered.append(AnsweredText(text, text, dict(zip("ab", map(float, mean), strict=True))))
    named = [("fold_1.pt", tables[1]), ("best.pt", tables[3]), ("fold_2.pt", tables[2])]
    sources = [(name, source(table)) for name, table in named]
    found = find_agreeing_weights(sources, answered, 1e-3, of_other_rules=False, own=source(tables[0]))
    assert found is not None
    assert f"mean of the {'logits' if of_logits else 'probabilities'} of 3 files: fold_0.pt, fold_1.pt" in found.advice
    assert found.options == {"source": "ensemble.py:Ensemble", "weights": None}
    # The labels of fewer than 8 texts do not show a mean.
    by_label = [AnsweredText(one.text, one.text, (max(one.answer, key=dict(one.answer).get),)) for one in answered]  # type: ignore[arg-type]
    own = source(tables[0])
    wrong = [one for one in by_label if "ab"[own.answer_text(one.text).argmax()] not in one.answer]
    right = [one for one in by_label if one not in wrong]
    assert wrong
    assert find_agreeing_weights(sources, [*right, *wrong[:7]], 1e-3, of_other_rules=False, own=own) is None
    # The code in the message gives these answers.
    code = "\n".join(one[2:] for one in found.advice.splitlines() if one.startswith("  "))
    made: dict[str, Any] = {}
    exec(code.replace("from model import Net\n", ""), made)  # noqa: S102 - above
    members = [lambda x, table=table: torch.tensor(table)[x].mean(1)[:, 1 if is_single else slice(2)]
               for table in tables[:3]]  # fmt: skip
    for one in answered:
        ids = torch.tensor([encoder.encode(one.text)])
        logits = made["Ensemble"].forward(type("Fake", (), {"members": members}), ids)
        number = float(logits.sigmoid()[0] if is_single else logits.softmax(1)[0, 1])
        assert number == pytest.approx(dict(one.answer)["b"], abs=1e-6)  # type: ignore[arg-type]
