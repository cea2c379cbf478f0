"""The words of --vocabulary stand for the vocabulary objects that owners' code reads."""

from __future__ import annotations

import ast
import copy
import json
import logging
import pickle
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from module_sources import make_net

from pocketrnn.commands.cli import main
from pocketrnn.commands.standard_streams import get_lines_to_print_at_end
from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.cleaning_from_shorthand import cleaning
from pocketrnn_export.commands.export import load_module_and_call, parse_source
from pocketrnn_export.commands.printed_stages import print_stages
from pocketrnn_export.intake.missing_constructor_arguments import MissingArgumentsError
from pocketrnn_export.intake.module_file import set_values_of_vocabulary_and_weights
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.source_code.needed_code import NeededNamesError
from pocketrnn_export.vocabularies.checkpoint_file import describe_member
from pocketrnn_export.vocabularies.unreachable_words import warn_of_unreachable_words
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary
from pocketrnn_export.vocabularies.words_as_vocabulary_object import WordIds, is_used_as_vocabulary

WORDS = ["<unk>", "<pad>", "oil", "war"]
IDS = {word: i for i, word in enumerate(WORDS)}
NET = """
import torch
from torch import nn
BEFORE
class Net(nn.Module):
    def __init__(self, ARGUMENTS):
        super().__init__()
        self.embedding = nn.Embedding(ROWS, 6, padding_idx=PAD)
        self.gru = nn.GRU(6, 5, batch_first=True)
        self.fc = nn.Linear(5, LABELS)

    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[1][-1])
"""
PLAIN = {"BEFORE": "", "ARGUMENTS": "dim=6", "ROWS": "4", "PAD": "1", "LABELS": "2"}


def write(**parts: str) -> str:
    code = NET
    for name, part in {**PLAIN, **parts}.items():
        code = code.replace(name, part)
    return code


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("v.stoi['oil']", 2), ("v.vocab.itos[2]", "oil"), ("v.get_stoi()['war']", 3), ("v.get_itos()", WORDS),
        ("v.lookup_tokens([3, 2])", ["war", "oil"]), ("v.lookup_indices(['war'])", [3]), ("v.word_index['oil']", 2),
        ("v.index_word[2]", "oil"), ("v.word2index['oil'], v.index2word[2]", (2, "oil")), ("v(['oil'])", [2]),
        ("v.word_to_idx('oil')", 2), ("v.token2id.get('x', v.unk_id)", 0), ("v.pad_token, v.pad_idx", ("<pad>", 1)),
        ("v.stoi[v.unk_token]", 0), ("v.n_words, v.vocab_size, len(v)", (4, 4, 4)), ("v.get_vocab()", IDS),
        ("v.lookup_token(1)", "<pad>"),
    ],
)  # fmt: skip
def test_the_words_can_be_read_as_libraries_and_own_classes_offer(code: str, value: object) -> None:
    assert eval(code, {"v": copy.deepcopy(WordIds(IDS))}) == value  # noqa: S307 - above


def test_a_word_for_padding_that_the_vocabulary_lacks_is_not_made_up() -> None:
    with pytest.raises(AttributeError, match="pad_token"):
        _ = WordIds({"oil": 0, "war": 1}).pad_token
    assert not hasattr(WordIds(IDS), "freqs")


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ("len(x.vocab)", True), ("x.stoi['a']", True), ("len(x)", False), ("x.freqs, x.stoi", False),
        ("self.vocab = x", False), ("x.size(0)", False),
    ],
)  # fmt: skip
def test_a_name_is_a_vocabulary_if_code_reads_what_only_vocabularies_have(code: str, used: bool) -> None:
    assert is_used_as_vocabulary([ast.parse(code)], "x") is used
    assert is_used_as_vocabulary([ast.parse(code.replace("x", "label_field"))], "label_field") is False
    assert is_used_as_vocabulary([ast.parse("n = len(word2idx)")], "word2idx") is True


@pytest.mark.parametrize(
    "parts",
    [
        {"ARGUMENTS": "text_field", "ROWS": "len(text_field.vocab)", "PAD": "text_field.vocab.stoi['<pad>']"},
        {"ARGUMENTS": "vocab", "ROWS": "len(vocab)", "PAD": "vocab.pad_idx"},
        {
            "BEFORE": "TEXT, LABEL = make_fields(), None\nTEXT = Field()\nLABEL = Field()\nTEXT.build_vocab(read())",
            "ROWS": "len(TEXT.vocab)", "PAD": "TEXT.vocab.stoi[TEXT.pad_token]", "LABELS": "len(LABEL.vocab)",
        },
        {
            "BEFORE": "with open('v.json') as f:\n    vocab = json.load(f)\ncount = len(vocab)\nfill = vocab['<pad>']",
            "ROWS": "count", "PAD": "fill",
        },
    ],
)  # fmt: skip
def test_a_module_that_reads_a_vocabulary_object_is_made_with_the_words_of_the_option(
    parts: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(write(**parts))
    Path("words.json").write_text(json.dumps(IDS))
    torch.save(make_net(write()).state_dict(), "net.pt")
    options = {"set": (), "call": None, "weights": Path("net.pt"), "vocabulary": Path("words.json"), "tokenizer": None,
               "random_weights": False, "run_notebook": None}  # fmt: skip
    module, _ = load_module_and_call("net.py:Net", parse_source("net.py:Net", options), options)
    assert module.embedding.padding_idx == 1


def test_the_members_of_a_pickled_tuple_are_named_by_their_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for members, said in (((IDS, 40), "its first member."), ([3, 40, 7, IDS], "its member 4.")):
        (tmp_path / "v.pkl").write_bytes(pickle.dumps(members))
        assert read_vocabulary(tmp_path / "v.pkl").tokens == tuple(WORDS)
        assert said in caplog.text
    assert describe_member("2.words") == "the 'words' of its third member"
    assert describe_member("model.vocab") == "its 'model.vocab'"


def test_characters_with_a_vocabulary_of_words_are_told_plainly(caplog: pytest.LogCaptureFixture) -> None:
    tokens = ["<unk>", "a", *(f"film{i}" for i in range(1_200))]
    warn_of_unreachable_words(TextEncoder(TextRules("characters"), tokens), tokens)
    assert "single characters" in caplog.text
    assert "1,200 of 1,202" in caplog.text
    caplog.clear()
    reviews = [f"{i} a long review" * 40 for i in range(9)]
    warn_of_unreachable_words(TextEncoder(TextRules("whitespace"), reviews), reviews)
    assert len(caplog.messages[0]) < 300


def test_a_stage_and_the_note_on_words_are_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(main) as context:
        for rules in (TextRules("whitespace", lowercase=True), TextRules("basic_english")) * 2:
            with print_stages():
                logging.getLogger("pocketrnn_export").info("Finding out how forward is called")
                warn_of_unreachable_words(TextEncoder(rules, ["<unk>", "Don't"]), ["<unk>", "Don't"])
        kept = [line for line, _ in get_lines_to_print_at_end(context)]
    assert len(kept) == 1
    assert "basic_english" in kept[0]
    assert capsys.readouterr().err.count("Finding out how") == 1


def test_a_blank_is_found_between_letters_and_words_around_a_text_have_a_note_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ["<pad>", "<unk>", "<SOS>", "<EOS>", " ", "a", "b"]
    rules = TextRules("characters", unknown_id=1, padding_id=0, steps=cleaning(("sub", r"^ +", "")))
    warn_of_unreachable_words(TextEncoder(rules, words), words)
    (note,) = caplog.messages
    assert '--rules: {"first_id": "<SOS>", "last_id": "<EOS>"}' in note
    caplog.clear()
    warn_of_unreachable_words(TextEncoder(replace(rules, first_id=2), words), words)
    (note,) = caplog.messages
    assert "1 word of the vocabulary" in note
    assert "<EOS>" in note


def test_dots_in_place_of_a_value_are_refused_and_sizes_after_a_star_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(write(ARGUMENTS="table, kind", ROWS="*table.shape").replace(", 6, padding", ", padding"))
    for given in ("kind=...", "table=Table(shape=...), kind=1"):
        with pytest.raises(InputError, match="argument"):
            parse_module_name(f"net.py:Net({given})")
    torch.save(make_net(write()).state_dict(), "net.pt")
    Path("words.json").write_text(json.dumps(IDS))
    result = CliRunner().invoke(main, ["export", "net.py:Net", "--weights", "net.pt", "--vocabulary", "words.json",
                                       "--labels", "a,b", "-o", "out"])  # fmt: skip
    assert result.exit_code == 2
    assert "needs table" in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MissingArgumentsError("It needs vocab.", "Give it.", vocabularies=["vocab"]),
        NeededNamesError("It needs PAD.", "Give it.", {"PAD": 'vocab["<pad>"]'}, {}),
        NeededNamesError("It needs WIDTH.", "Give it.", {}, {}, {"WIDTH": "8"}),
    ],
)
def test_a_value_that_did_not_help_is_not_set_again(error: InputError, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("PAD = WIDTH = None\n")
    named = parse_module_name(f"{tmp_path}/net.py:Net")
    assert named is not None
    once = set_values_of_vocabulary_and_weights(named, error, WORDS)
    with pytest.raises(type(error)) as again:
        set_values_of_vocabulary_and_weights(once, error, WORDS)
    assert again.value is error


class Settings:
    """A user's object that a checkpoint holds beside the weights."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns


@pytest.mark.parametrize(("rows", "is_vocabulary"), [(30, True), (50, False)])
def test_a_long_list_without_a_name_of_words_is_a_vocabulary_if_the_embedding_has_as_many_rows(
    rows: int, is_vocabulary: bool, tmp_path: Path
) -> None:
    columns = [f"column{i}" for i in range(30)]
    torch.save({"model": {"e.weight": torch.zeros(rows, 4)}, "settings": Settings(columns)}, tmp_path / "w.pt")
    if is_vocabulary:
        assert [*read_vocabulary(tmp_path / "w.pt").tokens] == columns
    else:
        with pytest.raises(InputError):
            read_vocabulary(tmp_path / "w.pt")
