"""A subword tokenizer in a checkpoint is found at any place, used in place of the vocabulary beside it, or named."""

from __future__ import annotations

import io
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from module_sources import make_net

from pocketrnn import Classifier
from pocketrnn.bundle.manifest import read_manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn_export import read_tokenizer
from pocketrnn_export.vocabularies.checkpoint_text_settings import (
    describe_unread_tokenizer,
    find_tokenizer_in_checkpoint,
)

pytestmark = pytest.mark.usefixtures("scant_proofs")
PIECES = {"<unk>": 0, "<pad>": 1, "oil": 2, "film": 3, "##s": 4, "good": 5, "bad": 6}
DOCUMENT: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "model": {
        "type": "WordPiece",
        "unk_token": "<unk>",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": PIECES,
    },
}
FILE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, words=7, dim=6):
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.fc = nn.Linear(dim, 3)

    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[0][:, -1])
"""
PLACES: dict[str, Any] = {
    "text": {"tokenizer_json": json.dumps(DOCUMENT)},
    "text within": {"tokenizer_state": {"type": "x", "state": {"tokenizer_json": json.dumps(DOCUMENT, indent=1)}}},
    "dict": {"extra": [{"tok": DOCUMENT}]},
    "bytes": {"tokenizer": json.dumps(DOCUMENT).encode()},
    "twice": {"a": DOCUMENT, "b": {"c": json.dumps(DOCUMENT, indent=2)}},
}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(FILE)
    return {"model_state_dict": make_net(FILE).state_dict(), "vocab": PIECES, "labels": ["a", "b", "c"]}


def export(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", "net.py:Net", *arguments, "-o", "out", "--no-torchscript"])


@pytest.mark.parametrize("place", PLACES)
def test_a_tokenizer_in_a_checkpoint_is_found_at_any_place(place: str, state: dict[str, Any]) -> None:
    torch.save({**state, **PLACES[place]}, "best.pt")
    read = read_tokenizer("best.pt")
    assert read.tokens == tuple(PIECES)
    Path("tokenizer.json").write_text(json.dumps(DOCUMENT))
    assert read.rules == read_tokenizer("tokenizer.json").rules


def test_a_pickled_tokenizer_of_the_library_is_found(state: dict[str, Any]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer.from_str(json.dumps(DOCUMENT))
    for protocol in (2, 4):
        torch.save({**state, "tokenizer": made}, "best.pt", pickle_protocol=protocol)
        assert read_tokenizer("best.pt").tokens == tuple(PIECES)
    Path("tokenizer.pkl").write_bytes(pickle.dumps(made))
    assert read_tokenizer("tokenizer.pkl").tokens == tuple(PIECES)


def test_a_sentencepiece_model_in_a_checkpoint_is_found(state: dict[str, Any]) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    made = io.BytesIO()
    texts = [f"{a} {b}" for a in PIECES for b in PIECES] * 3
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=made, vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    torch.save({**state, "sp_model": made.getvalue()}, "best.pt")
    Path("sp.model").write_bytes(made.getvalue())
    assert read_tokenizer("best.pt").tokens == read_tokenizer("sp.model").tokens


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--vocabulary", "best.pt"], ["--tokenizer", "best.pt"]])
def test_the_tokenizer_is_used_in_place_of_the_vocabulary_beside_it(options: list[str], state: dict[str, Any]) -> None:
    torch.save({**state, **PLACES["text within"]}, "best.pt")
    result = export("--weights", "best.pt", "--max-tokens", "4", *options)
    assert result.exit_code == 0, result.output
    assert re.search(r"The tokenizer is its 'tokenizer_state\.state\.tokenizer_json'", result.stderr)
    assert Classifier.load("out").encode("Films, good oils good") == [3, 4, 0, 5]


@pytest.mark.slow
def test_another_option_says_how_texts_are_split(state: dict[str, Any]) -> None:
    torch.save({**state, **PLACES["dict"]}, "best.pt")
    words = {word: i for i, word in enumerate(PIECES)}
    Path("words.json").write_text(json.dumps(words))
    result = export("--weights", "best.pt", "--vocabulary", "words.json")
    assert result.exit_code == 2
    assert re.search(r"extra\.0\.tok.*words\.json.*--tokenizer best\.pt", result.stderr.replace("\n", " "))
    assert "--vocabulary words.json" not in result.stderr.partition("Write: ")[2]
    result = export("--weights", "best.pt", "--vocabulary", "words.json", "--tokenizer", "whitespace")
    assert result.exit_code == 0, result.output
    assert read_manifest(Path("out")).text.rules.tokenizer == "whitespace"


def test_several_tokenizers_or_none_are_refused(state: dict[str, Any]) -> None:
    other = {**DOCUMENT, "normalizer": None}
    torch.save({**state, "a": DOCUMENT, "b": other}, "best.pt")
    with pytest.raises(InputError, match=r"'a'.*'b'"):
        read_tokenizer("best.pt")
    torch.save({**state, "config": {"model": {"type": "lstm"}}, "note": '{"model": 3}'}, "best.pt")
    assert find_tokenizer_in_checkpoint(Path("best.pt")) is None
    with pytest.raises(InputError, match=r"best\.pt .*no tokenizer"):
        read_tokenizer("best.pt")


@pytest.mark.slow
def test_a_part_of_a_tokenizer_that_is_not_read_is_named(state: dict[str, Any]) -> None:
    torch.save({**state, "bpe": {"merges": [["o", "i"]]}}, "best.pt")
    assert re.search(r"bpe.*--tokenizer FILE", describe_unread_tokenizer(Path("best.pt")))
    assert "--tokenizer FILE" in export("--weights", "best.pt").stderr
    torch.save({**state, "tokenizer": {"word_index": PIECES}}, "best.pt")
    assert describe_unread_tokenizer(Path("best.pt")) == ""
