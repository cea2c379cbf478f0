"""A mistaken SOURCE, file or output is refused once, with one whole line to copy: what is meant is put in its place."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.core import ParameterSource
from click.testing import CliRunner

import pocketrnn_export.commands.export as command
from pocketrnn.bundle.names_from_paths import find_near_file
from pocketrnn.commands.cli import main
from pocketrnn.errors import ParityError
from pocketrnn_export.commands.collected_refusals import remember_command, write_line_to_copy
from pocketrnn_export.commands.export_with_rules_from_answers import export_with_rules_from_answers
from pocketrnn_export.source_code.code_and_data_files_near_module import write_first_line_of_exported_file
from pocketrnn_export.vocabularies import owner_answer_comparison
from pocketrnn_export.vocabularies.answer_distances import AnsweredText, AnswerSource
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError

MODULE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, words=4, classes=2):
        super().__init__()
        self.embedding = nn.Embedding(words, 2)
        self.fc = nn.Linear(2, classes)

    def forward(self, x):
        return self.fc(self.embedding(x).mean(1))
"""
ANSWERING = """
import torch
from net import Net


def split_words(text):
    return text.lower().split()


class Service:
    def __init__(self, path):
        self.model = Net()
        self.model.load_state_dict(torch.load(path))

    @classmethod
    def load(cls, path):
        return cls(path)

    def predict(self, text):
        return self.model(split_words(text))


def save():
    torch.save(Net().state_dict(), "models/net.pt")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODULE)
    Path("service.py").write_text(ANSWERING)
    Path("models").mkdir()
    state = {"embedding.weight": torch.zeros(4, 2), "fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)}
    held = {"word2idx": {"<pad>": 0, "oil": 1, "bad": 2, "good": 3}, "classes": ["bad", "good"]}
    torch.save({"model_state_dict": state, **held}, "models/net.pt")
    Path("answers.csv").write_text("text,label\noil,bad\ngood oil,good\n")

    def load() -> None:
        raise AssertionError("PyTorch is loaded")

    monkeypatch.setattr(command, "_load_pytorch", load)
    return tmp_path


def read_line_to_copy(*arguments: str) -> dict[str, str]:
    """Return the options of the line that the refused command proposes, with SOURCE under an empty name."""
    result = CliRunner().invoke(main, ["export", *arguments])
    assert result.exit_code == 2, result.output
    assert "\nWrite: pocketrnn export " in result.stderr, result.stderr
    words = shlex.split(result.stderr.split("\nWrite: pocketrnn export ")[1])
    flags = [one for one in words if one == "--force"]
    words = [one for one in words if one != "--force"]
    return {"": words[0], **dict(zip(words[1::2], words[2::2], strict=True)), **dict.fromkeys(flags, "")}


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("service.py:Service", []),
        ("service.py:Service.load('models/net.pt').model", []),
        ("service.py:Service.load", []),
        ("net.py:Net().eval", []),
        ("service.py", []),
        ("models/net.pt", []),
        (".", []),
        ("nett.py:Net", []),
        ("src\\net.py:Net", []),
        ("net.py:Net", ["--weights", "net.pt"]),
        ("net.py:Net", ["--weights", "models"]),
        ("net.py:Net", ["--weights", "models\\net.pt"]),
        ("net.py:Net", ["--weights", "models/net.pt", "--pairs", "answer.csv"]),
        ("nett.py:Net", ["--weights", "net.pt", "--pairs", "C:\\data\\answers.csv"]),
        ("net.py:Net", ["--weights", "models/net.pt", "--tokenizer", "servce.py:split_words"]),
    ],
)
def test_one_refusal_has_the_whole_line(source: str, given: list[str], folder: Path) -> None:
    found = read_line_to_copy(source, *given)
    assert (found[""].partition("(")[0], found["--weights"]) == ("net.py:Net", "models/net.pt")
    assert "--vocabulary" not in found
    if "--pairs" not in given:
        assert found["--tokenizer"] == "service.py:split_words"
    assert found.get("--pairs", "answers.csv") == "answers.csv"
    assert ("--pairs" in found) == ("--tokenizer" not in given or "--pairs" in found)


def test_a_bundle_in_the_way_is_told_with_what_is_missing(folder: Path) -> None:
    Path("out").mkdir()
    Path("out/classifier.json").write_text("{}")
    found = read_line_to_copy("net.py:Net", "-o", "out")
    assert found["--weights"] == "models/net.pt"
    assert "--force" in found
    assert "--force" in read_line_to_copy("nett.py:Net", "-o", "out")
    Path("out/classifier.json").rename("out/thesis.txt")
    result = CliRunner().invoke(main, ["export", "net.py:Net", "-o", "out"])
    assert (result.exit_code, "--force" in result.stderr) == (2, False)


def test_a_file_of_another_name_is_not_taken(folder: Path) -> None:
    Path("vocab.json").write_text(json.dumps(["a", "b"]))
    assert find_near_file(Path("chars.json")) is None
    for one in ("rnn1.pt", "rnn2.pt"):
        Path(one).touch()
    assert find_near_file(Path("rnn3.pt")) is None
    assert find_near_file(Path("elsewhere/vocab.json")) == Path("vocab.json")


@pytest.mark.parametrize(
    ("own", "tokenizer"), [(True, "service.py:split_words"), (True, None), (False, "service.py:f")]
)
def test_true_labels_are_told_first_with_the_file_of_answers(own: bool, tokenizer: str | None, folder: Path) -> None:
    if not own:
        Path("answers.csv").unlink()

    def write(_: object) -> None:
        raise OtherAnswersError("7 differ.", "Give the text rules.", seem_true_labels=True)

    options = {"rules": None, "tokenizer": tokenizer, "pairs": Path("test.csv"), "multi_label": False,
               "source": "net.py:Net", "max_tokens": None}  # fmt: skip
    running = click.Context(command.export, info_name="pocketrnn export")
    running.params = {**dict.fromkeys(str(one.name) for one in command.export.params), "output": "out"}
    with running, pytest.raises(ParityError) as caught:
        export_with_rules_from_answers(write, {}, options, tokenizer)  # type: ignore[arg-type]
    said = str(caught.value)
    assert "test.csv seems to hold the true labels" in said
    assert ("Write: pocketrnn export --pairs answers.csv" in said) == own
    assert own or "Write:" not in said


@pytest.mark.parametrize(("wrong", "seem"), [(8, True), (20, False)])
def test_labels_agree_like_true_ones_far_above_chance(wrong: int, seem: bool) -> None:
    rows = [
        (AnsweredText("", "", (("bad", "good")[(i + (i < wrong)) % 2],)), np.eye(2, dtype=np.float32)[i % 2])
        for i in range(40)
    ]
    source = AnswerSource.__new__(AnswerSource)
    object.__setattr__(source, "labels", ["bad", "good"])
    assert owner_answer_comparison._agree_like_true_labels(source, rows, range(wrong)) is seem


def test_a_vocabulary_with_another_ending_is_the_file_that_lies_there(folder: Path) -> None:
    Path("out_vocabulary.py").write_text(write_first_line_of_exported_file("x = 1\n") + "x = 1\n")
    given = ("net.py:Net", "--vocabulary", "out_vocabulary.jsn", "--weights", "models/net.pt")
    refused = CliRunner().invoke(main, ["export", *given, "--labels", "bad,good", "-o", "out"])
    assert "out_vocabulary.json yet. The script out_vocabulary.py writes it." in refused.stderr
    assert "--vocabulary out_vocabulary.json" in refused.stderr.splitlines()[-1]
    Path("out_vocabulary.json").write_text('["<pad>", "oil", "bad", "good"]')
    assert read_line_to_copy(*given, "--labels", "bad,good", "-o", "out")["--vocabulary"] == "out_vocabulary.json"


def test_a_command_that_was_just_refused_is_not_proposed_again() -> None:
    with click.Context(command.export, info_name="export") as context:
        context.params = {one.name: None for one in command.export.params} | {
            "source": "net.py:Net",
            "tokenizer": "a.py:cut",
        }
        for name in ("source", "tokenizer"):
            context.set_parameter_source(name, ParameterSource.COMMANDLINE)
        remember_command()
        # The options are completed while the command runs.
        context.params["tokenizer"] = "out_words.py:words"
        for tokenizer, is_written in (("a.py:cut", False), ("out_words.py:words", False), ("b.py:cut", True)):
            line = write_line_to_copy({"tokenizer": tokenizer})
            assert (f"Write: export net.py:Net --tokenizer {tokenizer}" in line) == is_written
            assert bool(line) == is_written


def test_two_refusals_do_not_propose_each_other(folder: Path) -> None:
    code = "def predict(text, model):\n    return model([vocab.get(word, 1) for word in text.split()])\n\n"
    Path("net.py").write_text(
        f"{MODULE}\n{code}print(predict(clean(line), net))\n\ndef clean(text):\n    return text\n"
    )

    def write(_: object) -> None:
        raise OtherAnswersError("7 differ.", "Give the text rules.")

    tokenizer, proposed = "net.py:predict", []
    for _ in range(2):
        running = click.Context(command.export, info_name="pocketrnn export")
        options = {**dict.fromkeys(str(one.name) for one in command.export.params), "output": "out"}
        running.params = {**options, "tokenizer": tokenizer, "source": "net.py:Net"}
        with running, pytest.raises(ParityError) as caught:
            export_with_rules_from_answers(write, {}, running.params, tokenizer)  # type: ignore[arg-type]
        line = shlex.split(str(caught.value).partition("Write: ")[2])
        proposed.append(line[line.index("--tokenizer") + 1] if "--tokenizer" in line else "")
        tokenizer = proposed[-1]
    assert proposed == ["out_changed_words.py:words", ""]


def test_a_line_with_corrected_labels_has_the_answers_beside_and_all_that_was_given(folder: Path) -> None:
    kept = {"--name": "news", "--texts": "texts.txt", "-o": "out"}
    Path("texts.txt").write_text("oil\n")
    held = torch.load("models/net.pt")
    # No layer takes the outputs of the last one: their number is that of the labels.
    held["model_state_dict"] |= {"embedding.weight": torch.zeros(4, 5), "fc.weight": torch.zeros(2, 5)}
    torch.save(held, "models/net.pt")
    given = [part for one in kept.items() for part in one]
    for labels in ("bad", "bad,good,fair", "good"):
        vocabulary = ["--vocabulary", "models/net.pt", "--weights", "models/net.pt"]
        found = read_line_to_copy("nett.py:Net", *vocabulary, "--labels", labels, *given)
        # The file of weights holds the right labels.
        assert (found["--labels"], found["--pairs"]) == ("models/net.pt", "answers.csv"), labels
        assert {one: found.get(one) for one in kept} == kept


@pytest.mark.parametrize("name", ["split_words", "split_word", "load", "nothing_like_it"])
def test_a_line_names_a_tokenizer_function_with_its_file(name: str, folder: Path) -> None:
    found = read_line_to_copy("net.py:Net", "--tokenizer", name, "--weights", "models/net.pt")
    assert found["--tokenizer"] == "service.py:split_words"
    state = torch.load("models/net.pt")
    torch.save(state["model_state_dict"], "models/net.pt")
    # A vocabulary that is missing beside it is told in the same message.
    found = read_line_to_copy("net.py:Net", "--tokenizer", name, "--weights", "models/net.pt")
    assert (found["--tokenizer"], "--vocabulary" in found) == ("service.py:split_words", True)


@pytest.mark.parametrize(
    ("code", "rules"),
    [
        ("    return ids[:SEQ_LEN]", {"max_tokens": 40}),
        ("    return ids[:SEQ_LEN] + [0] * (SEQ_LEN - len(ids))", {"min_width": 40, "max_width": 40}),
        (
            "    return [0] * (SEQ_LEN - len(ids)) + ids[:SEQ_LEN]",
            {"min_width": 40, "max_width": 40, "pad_side": "left"},
        ),
    ],
)
def test_the_first_line_has_the_width_in_code_beside_a_function_that_gives_tokens(
    code: str, rules: dict[str, object], folder: Path
) -> None:
    padding = f"SEQ_LEN = 40\n\n\ndef pad(ids):\n{code}\n"
    Path("service.py").write_text(ANSWERING.replace("split_words(text))", "pad(split_words(text)))") + padding)
    found = read_line_to_copy("nett.py:Net")
    assert (found["--tokenizer"], found["--pairs"]) == ("service.py:split_words", "answers.csv")
    shown = json.loads(found["--rules"]) if "--rules" in found else {"max_tokens": int(found["--max-tokens"])}
    assert shown == rules
