"""A module trained in front of a tokenizer of subwords, exported with that tokenizer's own file."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.verdicts import TextVerdict, read_text_verdict
from pocketrnn_export import export, read_tokenizer
from pocketrnn_export.vocabularies.text_to_id_arguments import read_text_arguments
from pocketrnn_export.vocabularies.tokenizer_library_comparison import compare_with_library
from pocketrnn_export.vocabularies.tokenizer_width_rules import add_widths_to_tokenizer_rules

pytest.importorskip("tokenizers")

from tokenizer_families import SENTENCES, families, texts

pytestmark = pytest.mark.usefixtures("scant_proofs")
FAMILIES = families()
MODULE = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, rows):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.gru, self.linear = nn.Embedding(rows, 4), nn.GRU(4, 3, batch_first=True), nn.Linear(3, 2)
    def forward(self, tokens):
        return self.linear(self.gru(self.embedding(tokens))[0][:, -1])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODULE, "utf-8")
    FAMILIES["BERT uncased"].save("tokenizer.json")
    pairs = [json.dumps({"text": text, "ids": FAMILIES["BERT uncased"].encode(text).ids}) for text in SENTENCES]
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs), "utf-8")
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.output


EXPORT = ("export", "model.py:Net(600)", "--random-weights", "--labels", "a,b", "--no-torchscript", "-o", "out")


# In the fast suite, test_tokenizer_json.py asks for the ids of this tokenizer, native/ packs one, and below another is
# exported.
@pytest.mark.slow
def test_a_module_goes_through_with_its_tokenizer_and_answers_as_in_front_of_it(folder: Path) -> None:
    status, said = run(*EXPORT, "--tokenizer", "tokenizer.json", "--pairs", "pairs.jsonl")
    assert (status, "the same ids" in said) == (0, True), said
    names: dict[str, type[nn.Module]] = {}
    exec(MODULE, names)  # noqa: S102
    module = names["Net"](600).eval()
    classifier = Classifier.load("out")
    for text in texts(20, seed=5):
        ids = FAMILIES["BERT uncased"].encode(text).ids
        with torch.no_grad():
            expected = module(torch.tensor([ids]))
        torch.testing.assert_close(torch.from_numpy(classifier.logits([text])), expected)
    assert "subwords: wordpiece" in run("inspect", "out")[1]
    status, said = run("pack", "out", "-o", "out.prnn")
    assert status == 0, said
    some = list(texts(20, seed=6))
    packed = Classifier.load("out.prnn")
    assert [packed.encode(text) for text in some] == [classifier.encode(text) for text in some]


@pytest.mark.slow
def test_the_profile_packed_takes_a_tokenizer(folder: Path) -> None:
    status, said = run(*EXPORT[:-1], "out.prnn", "--tokenizer", "tokenizer.json", "--profile", "packed")
    assert status == 0, said
    assert Classifier.load("out.prnn").encode("unable") == FAMILIES["BERT uncased"].encode("unable").ids


def test_the_ids_of_another_tokenizer_are_not_taken_for_these(folder: Path) -> None:
    FAMILIES["BERT cased"].save("other.json")
    status, said = run(*EXPORT, "--tokenizer", "other.json", "--pairs", "pairs.jsonl")
    assert (status, "Text 1 of your pipeline" in said) == (2, True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--tokenizer", "nowhere.json"], "nowhere.json"),
        (["--tokenizer", "basic_englisch"], "basic_english"),
        (["--tokenizer", "tokenizer.json", "--vocabulary", "tokenizer.json"], "--vocabulary"),
        (["--tokenizer", "tokenizer.json", "--rules", '{"last_id": 3}'], "last_id"),
        (["--tokenizer", "tokenizer.json", "--rules", '{"max_tokens": 3}', "--max-tokens", "3"], "--max-tokens"),
        (["--tokenizer", "model.py"], "model.py:NAME"),
        (["--tokenizer", "."], "tokenizer.json|Net"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_proven(folder: Path, options: list[str], named: str) -> None:
    if options[-1] == ".":
        (folder / "tokenizer.json").unlink()
    status, said = run(*EXPORT, *options)
    assert (status, any(part in said for part in named.split("|"))) == (2, True), said
    assert not (folder / "out").exists()


# --- Files beside tokenizer.json ---


def vocab_txt(name: str) -> str:
    vocabulary = FAMILIES[name].get_vocab()
    return "\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n"


def same_ids(source: object, name: str) -> bool:
    made = read_tokenizer(source)
    encoder = TextEncoder(made.rules, made.tokens)
    theirs = [(text, FAMILIES[name].encode(text).ids or [made.rules.empty_id]) for text in texts(200, seed=4)]
    assert compare_with_library(made, []) > 800
    return all(encoder.encode(text) == ids for text, ids in theirs)


def test_a_vocabulary_of_bert_is_read(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(vocab_txt("BERT uncased"), "utf-8")
    assert same_ids(tmp_path / "vocab.txt", "BERT uncased")
    assert same_ids(str(tmp_path), "BERT uncased")


def test_a_vocabulary_with_capitals_is_taken_when_it_is_said_whether_texts_are_lower_cased(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(vocab_txt("BERT cased"), "utf-8")
    with pytest.raises(InputError, match="lower-cased"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}', "utf-8")
    assert same_ids(tmp_path, "BERT cased")


def test_vocabulary_and_merges_are_read_where_it_is_said_whose_they_are(tmp_path: Path) -> None:
    FAMILIES["GPT-2"].model.save(str(tmp_path))
    with pytest.raises(InputError, match=r"merges\.txt"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}', "utf-8")
    assert same_ids(tmp_path, "GPT-2")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}', "utf-8")
    with pytest.raises(InputError, match="<s>"):
        read_tokenizer(tmp_path)


def test_a_tokenizer_itself_is_taken() -> None:
    assert same_ids(FAMILIES["Llama"], "Llama")

    class Fast:
        backend_tokenizer = FAMILIES["Unigram"]

    made = read_tokenizer(Fast())
    assert made.tokens[0] == "<unk>"


def test_a_token_of_another_name_fills_up_if_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(vocab_txt("BERT uncased").replace("[PAD]", "[FILL]"), "utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "[FILL]"}', "utf-8")
    made = read_tokenizer(tmp_path)
    assert made.tokens[made.rules.padding_id] == "[FILL]"


def test_a_file_that_its_library_does_not_read_is_refused_with_what_it_says(tmp_path: Path) -> None:
    document = json.loads(FAMILIES["GPT-2"].to_str())
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated"}
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, document["pre_tokenizer"]]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(InputError, match=r"not read .*tokenizer\.json: .+"):
        compare_with_library(read_tokenizer(tmp_path), [])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[PAD]\n[PAD]\n", b"the\nand\n", b"[UNK]\n[SEP]\n[CLS]\nThe\n"])
def test_a_damaged_vocabulary_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(InputError):
        read_tokenizer(tmp_path / "vocab.txt")


def test_what_is_no_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.model").write_bytes(b"\x0a")
    for source in (tmp_path / "none.json", tmp_path, tmp_path / "a.model", 7, None, "/dev/null"):
        with pytest.raises(InputError):
            read_tokenizer(source)


# In the fast suite, the arguments are read, and the command exports such a bundle, below.
@pytest.mark.slow
def test_a_bundle_is_exported_in_python(tmp_path: Path) -> None:
    names: dict[str, type[nn.Module]] = {}
    exec(MODULE, names)  # noqa: S102
    manifest = export(
        names["Net"](700), tmp_path / "out", labels=["a", "b"], tokenizer=FAMILIES["GPT-2"],
        torchscript=False, example_texts=["Oil prices rise"],
    )  # fmt: skip
    assert manifest.text.rules == read_tokenizer(FAMILIES["GPT-2"]).rules
    assert Classifier.load(shutil.copytree(tmp_path / "out", tmp_path / "copy")).predict(["Oil"])


def test_a_tokenizer_holds_the_vocabulary_and_the_rules(folder: Path) -> None:
    made = read_tokenizer("tokenizer.json")
    for tokenizer in ("tokenizer.json", "./", Path("tokenizer.json"), FAMILIES["BERT uncased"]):
        read = read_text_arguments(None, tokenizer, None)
        assert (read.vocabulary.tokens, read.rules, read.tokenizer) == (made.tokens, made.rules, None)
    # Rules that were read bring their tokens; a function beside them is compared with them.
    read = read_text_arguments(None, str.split, made)
    assert (read.vocabulary.tokens, read.rules, read.tokenizer) == (made.tokens, made.rules, str.split)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((None, None, None), "vocabulary="),
        ((None, "nowhere.json", None), "nowhere.json"),
        ((["a"], "tokenizer.json", None), "vocabulary"),
        ((None, "tokenizer.json", TextRules()), "rules={'min_width'"),
        ((None, "tokenizer.json", {"min_width": "9"}), "min_width"),
        ((None, "tokenizer.json", {"padding_id": "<none>"}), "<none>"),
        ((["a"], None, 7), "int"),
        ((None, Path("nowhere"), None), "nowhere"),
    ],
)
def test_arguments_that_contradict_each_other_or_are_missing_are_named(
    folder: Path, arguments: tuple[Any, Any, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        read_text_arguments(*arguments)


# --- Widths that the owner's code adds ---


@pytest.mark.slow
def test_widths_beside_a_tokenizer_are_those_of_the_owners_code(folder: Path) -> None:
    def pad(text: str) -> list[int]:
        ids = FAMILIES["BERT uncased"].encode(text).ids[:9]
        return [0] * (9 - len(ids)) + ids

    sentences = [*SENTENCES, "", "unable"]
    lines = [json.dumps({"text": text, "ids": pad(text)}) for text in sentences]
    (folder / "padded.jsonl").write_text("\n".join(lines), "utf-8")
    status, said = run(*EXPORT, "--tokenizer", "tokenizer.json", "--pairs", "padded.jsonl")
    assert status == 2
    option = re.search(r"--rules '(\{.*?\})'", " ".join(said.split()))
    assert option is not None, said
    assert json.loads(option[1]) == {"max_width": 9, "min_width": 9, "padding_id": 0, "pad_side": "left"}
    status, said = run(*EXPORT, "--tokenizer", "tokenizer.json", "--pairs", "padded.jsonl", "--rules", option[1])
    assert (status, "the same ids" in said) == (0, True), said
    status, said = run("pack", "out", "-o", "out.prnn")
    assert status == 0, said
    classifier, packed = Classifier.load("out"), Classifier.load("out.prnn")
    for text in [*sentences, *texts(20, seed=7)]:
        assert classifier.encode(text) == packed.encode(text) == pad(text)


def test_widths_beside_a_tokenizer_are_not_compared_with_its_library(folder: Path) -> None:
    widths = {"min_width": 9, "max_width": 9}
    read = read_text_arguments(None, "tokenizer.json", widths).subwords
    assert read is not None
    assert (read.rules.sizes, read.rules.padding_id) == ((9, 9), read.tokens.index("[PAD]"))
    assert compare_with_library(read, SENTENCES) > 800


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"min_width": 12}, "min_width=16"),
        ({"max_width": 12}, "max_width is only 12"),
        ({"min_width": 16, "pad_side": "right"}, "pad_side='left'"),
        ({"padding_id": 3}, "padding_id=1"),
        ({"max_tokens": 3}, "max_tokens=5"),
        ({"cut_side": "left"}, "cut_side='right'"),
        ({"min_width": 16, "max_width": 16, "padding_id": "[PAD]"}, ""),
    ],
)
def test_widths_that_the_tokenizers_file_says_otherwise_are_refused(
    folder: Path, given: dict[str, Any], named: str
) -> None:
    tokenizer = type(FAMILIES["BERT uncased"]).from_file("tokenizer.json")
    tokenizer.enable_truncation(7)
    tokenizer.enable_padding(direction="left", length=16, pad_id=1)
    with pytest.raises(InputError, match=re.escape(named)) if named else contextlib.nullcontext():
        read_text_arguments(None, tokenizer, given)


def test_an_id_for_padding_that_no_token_names_is_asked_for(folder: Path) -> None:
    found = read_tokenizer("tokenizer.json")
    # Readers take 0 where no token is named so.
    read = replace(found, rules=replace(found.rules, padding_id=0))
    assert read.tokens[0] == "[UNK]"
    with pytest.raises(InputError, match="padding_id"):
        add_widths_to_tokenizer_rules(read, {"min_width": 9}, "tokenizer.json")
    assert add_widths_to_tokenizer_rules(read, {"min_width": 9, "padding_id": 0}, "tokenizer.json").rules.min_width == 9
    assert add_widths_to_tokenizer_rules(read, {"max_width": 9}, "tokenizer.json").rules.max_width == 9


@pytest.mark.slow
def test_rules_that_were_read_say_on_how_many_texts_the_library_gave_the_same_ids(folder: Path) -> None:
    status, said = run(*EXPORT, "--tokenizer", "tokenizer.json", "--max-tokens", "5")
    assert status == 0, said
    assert "Text rules: read from a tokenizer.json, and compared with tokenizers on " in said
    verdict = read_text_verdict(Classifier.load("out").manifest)
    assert (verdict.kind, verdict.by, verdict.source) == ("read", "tokenizers", "a tokenizer.json")
    assert verdict.texts > 900
    assert "compared with tokenizers" in run("inspect", "out")[1]
    assert Classifier.load(shutil.copytree("out", "copy")).predict(["Oil"])


def test_without_the_library_that_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert compare_with_library(read_tokenizer("tokenizer.json"), ["a"]) == 0
    sentence = TextVerdict("read", 0, "tokenizers", "a tokenizer.json").sentence
    assert sentence == "read from a tokenizer.json; not compared with tokenizers, which is not installed here."


def test_rules_that_differ_from_the_library_are_refused(folder: Path) -> None:
    read = read_tokenizer("tokenizer.json")
    with pytest.raises(InputError, match="the text rules"):
        compare_with_library(replace(read, rules=replace(read.rules, steps=())), [])
