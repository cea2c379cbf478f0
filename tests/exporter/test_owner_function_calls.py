"""Functions of owners that take a list of texts or a vocabulary, and give arrays, padded or not."""

from __future__ import annotations

import functools
import json
import logging
import pickle
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from module_sources import run_source

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.commands.tokenizer_function import load_tokenizer_function
from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn_export import export
from pocketrnn_export.commands.tokenizer_function_written_to_file import replace_tokenizer_by_own_file
from pocketrnn_export.intake.module_file import load_text_function
from pocketrnn_export.intake.module_name_with_arguments import ModuleName, parse_module_name
from pocketrnn_export.source_code.splitting_part_of_function import find_changed_text, write_tokenizer_of_function
from pocketrnn_export.source_code.text_function_in_own_file import list_read_attributes, write_text_function
from pocketrnn_export.vocabularies import owner_function_call, rules_from_function
from pocketrnn_export.vocabularies.checkpoint_text_settings import find_attributes_of_saved_object
from pocketrnn_export.vocabularies.owner_function_call import (
    OwnersFunction,
    find_how_to_call_owner_function,
    find_vocabulary_argument,
)
from pocketrnn_export.vocabularies.rules_from_code import read_rules_in_code
from pocketrnn_export.vocabularies.text_rule_selection import choose_rules
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = ["<pad>", "<unk>", *re.findall(r"\w+", "oil film good bad movie great not running the plot actor music so fun")]
STOI = {word: i for i, word in enumerate(WORDS)}
KNOWN = read_vocabulary(WORDS)


def clean(text: str) -> list[str]:
    return re.sub(r"[^a-z0-9\s]", "", text.lower()).split()


def padded_rows(texts: Sequence[str], stoi: Mapping[str, int], max_len: int = 20) -> torch.Tensor:
    rows = []
    for text in texts:
        ids = [stoi.get(word, stoi["<unk>"]) for word in clean(text)][:max_len]
        rows.append(ids + [stoi["<pad>"]] * (max_len - len(ids)))
    return torch.tensor(rows, dtype=torch.long)


def rows_and_lengths(texts: Sequence[str], vocab: Any) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [torch.tensor([vocab.stoi.get(w, 1) for w in clean(text)]).long() for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def row_and_length(text: str, vocab2index: Mapping[str, int], N: int = 30) -> tuple[Any, int]:  # noqa: N803 - as published
    encoded = np.zeros(N, dtype=int)
    ids = np.array([vocab2index.get(word, vocab2index["<unk>"]) for word in clean(text)])
    length = min(N, len(ids))
    encoded[:length] = ids[:length]
    return encoded, length


def floats_on_the_left(word_index: Mapping[str, int], text: str) -> Any:
    row = []
    for word in clean(text):
        if word in word_index:
            row.append(word_index[word])
        else:
            row.append(1)
    features = np.zeros((1, 25))
    if row:
        features[0, -len(row) :] = np.array(row)[:25]
    return features


def column(text: str) -> Any:
    return torch.tensor([STOI.get(word, 1) for word in clean(text)]).unsqueeze(1)


def other_padding(text: str) -> Any:
    ids = torch.tensor([STOI.get(word, 1) for word in clean(text)])[:600]
    return torch.nn.functional.pad(ids, (0, 600 - len(ids)), value=40)


def tokens_and_ids(text: str, word_to_id: Mapping[str, int]) -> tuple[list[str], list[int]]:
    tokens = clean(text)
    return tokens, [word_to_id.get(token, 1) for token in tokens]


def texts_to_words(sentences: Sequence[str]) -> list[list[str]]:
    return [clean(one) for _, one in enumerate(sentences)]


def a_text_or_several(data: Any, vocab: Mapping[str, int], most: int = 50) -> list[Any]:
    if isinstance(data, str):
        data = [data]
    rows = []
    for one in data:
        words = one if isinstance(one, list) else clean(one)
        row = [vocab.get(word, 1) for word in words]
        if len(row) < most:
            rows.append([0] * (most - len(row)) + row)
        else:
            rows.append(row[:most])
    return rows[0] if len(rows) == 1 else rows


@pytest.mark.parametrize(
    ("function", "changed"),
    [
        pytest.param(padded_rows, {"max_tokens": 20, "min_width": 20, "max_width": 20}, marks=pytest.mark.slow),
        pytest.param(
            functools.partial(padded_rows, max_len=31),
            {"max_tokens": 31, "min_width": 31, "max_width": 31},
            marks=pytest.mark.slow,
        ),
        pytest.param(rows_and_lengths, {}, marks=pytest.mark.slow),
        pytest.param(row_and_length, {"min_width": 30, "max_width": 30}, marks=pytest.mark.slow),
        pytest.param(
            floats_on_the_left, {"min_width": 25, "max_width": 25, "pad_side": "left"}, marks=pytest.mark.slow
        ),
        pytest.param(column, {}, marks=pytest.mark.slow),
        pytest.param(
            other_padding,
            {"max_tokens": 600, "min_width": 600, "max_width": 600, "padding_id": 40},
            marks=pytest.mark.slow,
        ),
        pytest.param(tokens_and_ids, {}, marks=pytest.mark.slow),
        (texts_to_words, {}),
        pytest.param(
            a_text_or_several,
            {"max_tokens": 50, "min_width": 50, "max_width": 50, "pad_side": "left"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_function_of_texts_and_a_vocabulary_shows_the_rules(
    function: Callable[..., Any], changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    rules = choose_rules(KNOWN, None, function, [], [])
    assert isinstance(rules, TextRules)
    assert [step.what for step in rules.steps if hasattr(step, "what")] == []
    names = ("max_tokens", "min_width", "max_width", "pad_side", "padding_id")
    usual = {"pad_side": "right", "padding_id": 0}
    assert {name: getattr(rules, name) for name in names} == dict.fromkeys(names) | usual | changed
    assert "your tokenizer split" in caplog.text
    assert "No rule says" not in caplog.text


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.slow
@pytest.mark.parametrize("with_batch", [True, False])
def test_one_hot_rows_are_read_as_ids(with_batch: bool) -> None:
    def make_rows(text: str) -> torch.Tensor:
        rows = torch.zeros(len(text), 1, len(LETTERS))
        for i, letter in enumerate(text):
            # An unknown letter has the last place.
            rows[i][0][LETTERS.find(letter)] = 1
        return rows if with_batch else rows[:, 0]

    known = read_vocabulary(list(LETTERS))
    function = find_how_to_call_owner_function(make_rows, known)
    assert function("Nai-") == [39, 0, 8, 51]
    if with_batch:
        rules = choose_rules(known, None, function, [], [])
        assert isinstance(rules, TextRules)
        assert (rules.tokenizer, rules.lowercase, rules.unknown_id) == ("characters", False, 51)


def test_a_function_may_take_a_vocabulary_of_letters() -> None:
    def encode(text: str, vocabulary: Mapping[str, int]) -> list[int]:
        return [1, *(vocabulary.get(letter, 3) for letter in text), 2]

    known = read_vocabulary(["<pad>", "<sos>", "<eos>", "<unk>", " ", *"abcde"])
    assert find_how_to_call_owner_function(encode, known)("a bz") == [1, 5, 4, 6, 3, 2]


def test_a_string_is_words_or_characters_as_the_vocabulary_has_them() -> None:
    letters = read_vocabulary(["<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz "])
    assert find_how_to_call_owner_function(str.lower, letters)("Oil on") == [*"oil on"]
    assert find_how_to_call_owner_function(str.lower, KNOWN)("Oil on") == ["oil", "on"]
    rules = choose_rules(letters, None, str.lower, [], ["Oil on", "a film"])
    assert isinstance(rules, TextRules)
    assert (rules.tokenizer, rules.lowercase) == ("characters", True)


def test_a_function_that_gives_ids_is_compared_on_a_long_text() -> None:
    def cut(text: str) -> list[int]:
        return [STOI.get(word, 1) for word in text.split()][:512]

    rules = choose_rules(KNOWN, None, find_how_to_call_owner_function(cut, KNOWN), [], [])
    assert isinstance(rules, TextRules)
    assert 512 in (rules.max_tokens, rules.max_width)


@pytest.mark.parametrize("cut", [None, 3])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_function_that_gives_ids_agrees_with_widths_up_to_padding(
    cut: int | None, side: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def encode(text: str) -> list[int]:
        return [STOI.get(word, 1) for word in text.split()][:cut]

    widths = TextRules("whitespace", unknown_id=1, min_width=3, max_width=3, pad_side=side, lowercase=False)
    function = find_how_to_call_owner_function(encode, KNOWN)
    with caplog.at_level("INFO"):
        assert choose_rules(KNOWN, widths, function, [], []) == widths
    assert "up to padding" in caplog.text
    assert not function.gives_ids
    with pytest.raises(InputError):
        choose_rules(KNOWN, replace(widths, unknown_id=2), find_how_to_call_owner_function(encode, KNOWN), [], [])


def test_a_word_that_is_changed_is_named_and_what_is_done_to_ids_is_not() -> None:
    def stemmed(text: str) -> Any:
        ids = [STOI.get(word[:-1] if word.endswith("s") else word, 1) for word in text.split()]
        return np.array(ids + [0] * (40 - len(ids)))

    found = read_rules_in_code(find_how_to_call_owner_function(stemmed, KNOWN))
    assert found is not None
    assert ["endswith" in one for one in found.unsaid] == [True]


def of_words(words: Sequence[str], vocab: Mapping[str, int]) -> list[int]:
    return [vocab.get(word, 1) for word in words]


def of_a_map_of_words(text: str, dictionary: Mapping[str, str]) -> str:
    return " ".join(dictionary.get(word, word) for word in text.split())


def of_a_table_of_words(text: str, word_dict: Mapping[str, str]) -> list[str]:
    return [word_dict.get(word, word) for word in text.split()]


def with_a_length(text: str, vocab: Mapping[str, int], max_length: int) -> list[int]:
    return [vocab.get(word, 1) for word in text.split()][:max_length]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (of_words, "takes the words"),
        (of_a_map_of_words, r"vocabulary as dictionary.*TypeError.*dictionary=\.\.\."),
        (of_a_table_of_words, r"vocabulary as word_dict.*word_dict=\.\.\."),
        (lambda text, abbrev_dict: [abbrev_dict.get(word, word) for word in text.split()], "text, abbrev_dict"),
        (with_a_length, r"text, vocab, max_length.*\(max_length=\.\.\.\)"),
        (lambda: [], "takes nothing"),
    ],
)
def test_another_function_is_refused_by_what_it_takes(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_how_to_call_owner_function(function, KNOWN)


def test_the_argument_that_takes_a_vocabulary_is_known_by_its_name() -> None:
    names = ["vocab", "stoi", "word2idx", "word_to_ix", "w2i", "token2id", "word_index", "vocabulary", "char2idx"]
    assert [find_vocabulary_argument(["text", name]) for name in names] == names
    assert [find_vocabulary_argument([name, "texts"]) for name in names] == names
    assert find_vocabulary_argument(["text", "max_len"]) is None
    assert [find_vocabulary_argument(["text", name]) for name in ("label2idx", "idx_to_word")] == [None, None]


@pytest.mark.parametrize(
    "line",
    [
        "table = json.load(open('short.json'))",
        "frame = pd.read_csv('short.csv')\ntable = dict(zip(frame['a'], frame['b']))",
        "with open('short.pkl', 'rb') as file:\n    table = pickle.load(file)",
    ],
)
def test_a_table_that_is_read_from_a_file_is_not_proposed_as_an_option(line: str, tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    function = "def words(text):\n    return [table.get(w, w) for w in text.split()]"
    path.write_text(f"import json, pickle\nimport pandas as pd\n{line}\n{function}\nfor _ in range(3):\n    pass\n")
    with pytest.raises(InputError, match=r"Copy words,.*table") as caught:
        load_text_function(ModuleName(path, "words"))
    assert "--set" not in str(caught.value)


TOKENIZERS = """
class Plain:
    def encode(self, text):
        return text.split()

class WithWords:
    def __init__(self, vocab, lower=True):
        self.vocab = vocab
    def encode(self, text):
        return [self.vocab.get(word, 0) for word in text.split()]

class WithFile:
    def __init__(self, folder, size):
        open(folder)
    def encode(self, text):
        return self.cut(text)[:self.size]
    def cut(self, text):
        return text.split()

class WithWidth(WithWords):
    def encode(self, text, width):
        return super().encode(text)[:width]

class Settings:
    lower: bool = True

class Counted:
    def __init__(self, settings: Settings):
        self.stoi, self.lower = {"<pad>": 0}, settings.lower
    def encode(self, text):
        return [self.stoi.get(word, 0) for word in text.split()]

made = WithWords({"oil": 5})
for _ in range(3):
    pass

import string

class Script:
    def encode(self, text):
        return self.split(text)
    def split(self, text):
        return text.strip(string.punctuation).split()
"""


@pytest.mark.parametrize(
    ("name", "given"),
    [("Plain.encode", ["oil", "x"]), ("WithWords.encode", [7, 0]), ("WithFile.cut", ["oil", "x"]),
     ("made.encode", [5, 0]), ("WithWords({'oil': 3}).encode", [3, 0]), ("Counted(Settings()).encode", [7, 0]),
     ("Script.encode", ["oil", "x"]), ("WithWidth.encode(width=1)", [7]),
     ("WithWidth({'oil': 3}, lower=False).encode(width=1)", [3])],
)  # fmt: skip
def test_a_method_of_a_class_or_an_object_splits_texts(name: str, given: list[Any], tmp_path: Path) -> None:
    (tmp_path / "split.py").write_text(TOKENIZERS)
    named = parse_module_name(f"{tmp_path}/split.py:{name}")
    assert named is not None
    assert load_text_function(named, ids_of_words={"oil": 7})("oil x") == given


@pytest.mark.parametrize(
    ("name", "said"),
    [("WithFile.encode", "folder, size.*self.size in line 16.*WithFile(folder=..., size=...).encode"),
     ("WithFile('no', 3).encode", "'no'"),
     ("made.absent", "made.absent")],
)  # fmt: skip
def test_a_class_that_needs_more_than_words_is_refused_with_the_lines(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "split.py").write_text(TOKENIZERS)
    named = parse_module_name(f"{tmp_path}/split.py:{name}")
    assert named is not None
    with pytest.raises(InputError, match=".*".join(map(re.escape, said.split(".*")))):
        load_text_function(named)


def adapt(function: Any, tokens: list[str]) -> OwnersFunction:
    return find_how_to_call_owner_function(function, read_vocabulary(tokens))


PROCESSOR = """
import re
import string
import torch
from functools import partial

MARKS = string.punctuation

class Base:
    def clean(self, text):
        return text.strip(MARKS)

class Processor(Base):
    '''Texts to ids.'''
    lower: bool = True
    def __init__(self, net, size=9, most=200):
        self.net, self.size, self.most, self.stoi = net, size, most, {}
    def cut(self, text):
        return self.clean(text.lower() if self.lower else text).split()[:self.most]
    def encode(self, text):
        return [self.stoi.get(word, 0) for word in self.cut(text)]
    def answer(self, text):
        return self.net(torch.tensor(self.encode(text)))
    def given_on(self, text):
        return str(self)
class Settled(Processor):
    def __init__(self, most=200):
        self.most, self.stoi = most, {}
class Needy(Base):
    def __init__(self, net, stoi):
        self.net, self.stoi = net, stoi
    def encode(self, text):
        return [self.stoi.get(word, 0) for word in self.clean(text).split()]
def words(text, mark=MARKS):
    return re.split("[" + re.escape(mark) + " ]+", text)
def other(text):
    return words(text)
split = partial(re.split, "[/ ]")
def cleaned(text, mark=MARKS):
    return [text.strip(mark)]
"""


def test_a_saved_object_of_the_class_gives_a_method_its_attributes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text.py").write_text(PROCESSOR)
    saved = run_source(PROCESSOR.replace("import torch", ""))["Processor"](None, most=2)
    saved.stoi, saved.net = {"oil": 5, "film": 3, "price": 4}, Path("an object of another class")
    # A class of a module that is not imported when the file is read.
    module = types.ModuleType("text_of_saved_object")
    sys.modules[module.__name__] = module
    module.Processor = type(saved)  # type: ignore[attr-defined]
    type(saved).__module__ = module.__name__
    (tmp_path / "processor.pkl").write_bytes(pickle.dumps({"processor": saved}))
    del sys.modules[module.__name__]
    held = find_attributes_of_saved_object(tmp_path / "processor.pkl", "Processor")
    assert (held["most"], held["stoi"]["film"], "net" in held) == (2, 3, False)
    assert find_attributes_of_saved_object(tmp_path / "processor.pkl", "Other") == {}
    named = parse_module_name(f"{tmp_path}/text.py:Processor.encode")
    assert named is not None
    function = load_text_function(named, ids_of_words={"film": 3}, saved_attributes=held)
    assert function("Film price, oil!") == [3, 0] or function("Film price oil!") == [3, 4]
    # Without a saved object, the defaults are told, and how to give others.
    named = parse_module_name(f"{tmp_path}/text.py:Settled.cut")
    assert named is not None
    load_text_function(named)
    assert f"--tokenizer '{tmp_path}/text.py:Settled(most=200).cut'" in caplog.text


@pytest.mark.parametrize(
    ("name", "method", "arguments", "attributes", "calls_init", "given"),
    [
        ("Processor", "cut", "", {"most": 2, "size": 3}, False, ["film", "of"]),
        ("Processor", "encode", "", {"most": 2, "stoi": {"film": 7}}, False, [7, 0]),
        ("Processor", "encode", "", {"most": 2}, False, None),
        ("Processor", "answer", "", {"most": 2, "stoi": {}, "net": None}, False, None),
        ("Processor", "given_on", "", {}, True, None),
        ("Settled", "cut", "most=1", {}, True, ["film"]),
        ("Settled", "cut", "", {"most": 1}, True, ["film"]),
        ("words", "", "", {}, True, ["Film", "of", "oil", ""]),
        ("split", "", "", {}, True, ["Film", "of", "oil!"]),
        ("cleaned", "", "mark='!'", {}, True, ["Film of oil"]),
        # Another function has the name of the written one.
        ("other", "", "", {}, True, ["Film", "of", "oil", ""]),
        ("absent", "", "", {}, True, None),
    ],
)
def test_a_function_is_written_without_torch_with_what_it_needs(
    name: str, method: str, arguments: str, attributes: dict[str, Any], calls_init: bool, given: Any, tmp_path: Path
) -> None:
    (tmp_path / "text.py").write_text(PROCESSOR)
    code = write_text_function(tmp_path / "text.py", name, method, arguments, attributes, calls_init=calls_init)
    assert (code is None) == (given is None)
    if code is not None:
        assert "torch" not in code
        assert run_source(code)["words"]("Film of oil!") == given


@pytest.mark.parametrize(
    ("name", "saved", "given"),
    [
        ("Settled.cut", {"most": 1}, ["film"]),
        ("Settled(most=2).cut", {}, ["film", "of"]),
        ("Needy.encode", {}, [0, 0, 4]),
        ("words", {}, ["Film", "of", "oil", ""]),
    ],
)
def test_classify_takes_the_file_in_place_of_a_function_beside_torch(
    name: str, saved: dict[str, Any], given: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "text.py").write_text(PROCESSOR)
    options = {"tokenizer": f"{tmp_path}/text.py:{name}"}
    named = parse_module_name(options["tokenizer"])
    assert named is not None
    function = load_text_function(named, ids_of_words={"oil": 4}, saved_attributes=saved)
    with click.Context(click.Command("export")) as context:
        context.params = {"output": tmp_path / "mine"}
        assert replace_tokenizer_by_own_file(options, function, saved, adapt(function, ["oil"]))
        assert context.params["tokenizer"] == options["tokenizer"] == f"{tmp_path}/mine_words.py:words"
        words = load_tokenizer_function(options["tokenizer"])
        assert not replace_tokenizer_by_own_file(options, words, saved, adapt(words, ["oil"]))
    assert "torch" not in (tmp_path / "mine_words.py").read_text()
    assert load_tokenizer_function(options["tokenizer"])("Film of oil!") == given


@pytest.mark.parametrize(
    ("code", "name", "given"),
    [
        ("def ids(text, stoi): return [stoi.get(word, 0) for word in text.split()]", "ids", [1, 0]),
        ("def ids(text, most, stoi): return [stoi.get(word, 0) for word in text.split()][:most]", "ids(most=1)", [1]),
        ("def ids(texts, stoi): return [[stoi.get(word, 0) for word in one.split()] for one in texts]", "ids", [1, 0]),
        ("def ids(text, vocab): return [[vocab.get(word, 0) for word in text.split()]], 2", "ids", [1, 0]),
        ("def cut(texts): return [one.split() for one in texts]", "cut", ["oil", "x"]),
        (
            "from near import cut\ndef ids(text, vocab): return [vocab.get(word, 0) for word in cut(text)]",
            "ids",
            [1, 0],
        ),
        ("def cut(text): return text.split()", "cut", None),
    ],
)
def test_classify_calls_a_function_as_the_export_does(code: str, name: str, given: Any, tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text("def cut(text): return text.split()")
    (tmp_path / "text.py").write_text(code)
    options = {"tokenizer": f"{tmp_path}/text.py:{name}"}
    named = parse_module_name(options["tokenizer"])
    assert named is not None
    function = load_text_function(named)
    with click.Context(click.Command("export")) as context:
        context.params = {"output": tmp_path / "mine"}
        replaced = replace_tokenizer_by_own_file(options, function, {}, adapt(function, ["<unk>", "oil"]))
    assert replaced == (given is not None)
    if given is not None:
        assert load_tokenizer_function(options["tokenizer"])("oil x") == given


def test_a_file_near_the_function_is_not_written_with_it(tmp_path: Path) -> None:
    (tmp_path / "clean.py").write_text("")
    (tmp_path / "text.py").write_text("from clean import clean\ndef cut(text):\n    return clean(text).split()\n")
    assert write_text_function(tmp_path / "text.py", "cut") is None


NEAR = {
    "app.py": """
from flask import Flask
from model import Net
from preprocess import clean, ids_of as look_up, tokenize
def answer(text):
    text = clean(text)
    ids = look_up(tokenize(text), vocab)
    return net(ids[:9])
def handle(data):
    return answer(data.get("text", ""))
""",
    "preprocess.py": """
import re
import torch
from more.marks import MARKS
spaces = re.compile(" +")
def clean(text):
    return remove(text.lower())
def remove(text):
    return re.sub(MARKS, " ", text)
def tokenize(text):
    return spaces.split(text.strip())
def ids_of(tokens, vocab):
    return [vocab.get(one, 1) for one in tokens]
class Rows(torch.utils.data.Dataset):
    pass
""",
    "more/marks.py": "import torch\nMARKS = '[!?]'\n",
}


def test_what_the_function_imports_from_files_near_it_is_written_with_it(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name, code in NEAR.items():
        (tmp_path / name).write_text(code)
    written = write_tokenizer_of_function(tmp_path / "app.py", "answer")
    assert written is not None
    assert not re.search("torch|flask|import clean|more", written.code)
    assert run_source(written.code)["words"]("A  FILM! of?") == ["a", "film", "of"]
    # A field of a request is the text itself.
    assert find_changed_text(tmp_path / "app.py", "answer") is None
    # Where a name has another meaning in each file, the import stays.
    (tmp_path / "app.py").write_text(
        NEAR["app.py"].replace("def answer(text):", "spaces = 3\ndef answer(text, n=spaces):")
    )
    own = write_tokenizer_of_function(tmp_path / "app.py", "answer")
    assert own is None or "spaces = 3" not in own.code or "from preprocess import" in own.code


FILE = """
import re
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, words):
        super().__init__()
        self.embedding = nn.Embedding(words, 6)
        self.gru = nn.GRU(6, 6, batch_first=True)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.gru(self.embedding(x))[0][:, -1])

def text_to_tensor(texts, stoi, max_len=9):
    rows = [[stoi.get(w, 1) for w in re.sub(r"[^a-z ]", "", t.lower()).split()] for t in texts]
    return torch.tensor([row[:max_len] + [0] * (max_len - len(row)) for row in rows])
"""


@pytest.mark.slow
def test_a_function_of_texts_and_a_vocabulary_needs_no_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("api.py").write_text(FILE)
    names: dict[str, Any] = {}
    # The whole path: another test of this process may have had another api.py in its folder.
    exec(compile(FILE, str(tmp_path / "api.py"), "exec"), names)  # noqa: S102 - above
    module = names["Net"](len(WORDS)).eval()
    torch.save(module.state_dict(), "net.pt")
    Path("stoi.json").write_text(json.dumps(STOI))
    given = ["--weights", "net.pt", "--vocabulary", "stoi.json", "--labels", "bad,good", "--no-torchscript"]
    result = CliRunner().invoke(
        main, ["export", "api.py:Net", *given, "--tokenizer", "api.py:text_to_tensor", "-o", "out"]
    )
    assert result.exit_code == 0, result.output
    assert "the same ids" in result.stdout
    assert "ext rules: not compared" not in result.output
    texts = ["A good film, isn't it?", "bad", "so good " * 9]
    found = Classifier.load("out")
    wanted = module(names["text_to_tensor"](texts, STOI)).detach().numpy()
    assert np.allclose(found.logits(texts), wanted, atol=1e-5)
    export(
        module, "again", labels=["bad", "good"], vocabulary=STOI, tokenizer=names["text_to_tensor"], torchscript=False
    )
    assert [Classifier.load("again").encode(text) for text in texts] == [found.encode(text) for text in texts]


def metin_kodla(metin: str, sozluk: Mapping[str, int]) -> list[int]:
    return [sozluk.get(word, 1) for word in clean(metin)]


def test_the_vocabulary_is_found_where_no_name_tells_it() -> None:
    assert find_how_to_call_owner_function(metin_kodla, KNOWN)("Good film, zzz!") == [STOI["good"], STOI["film"], 1]


def test_the_way_out_calls_another_function() -> None:
    def encode(text: str, most: int, least: int) -> list[str]:
        return text.split()[least:most]

    with pytest.raises(InputError, match=r"def encode_text\(text\): return encode\(text, \.\.\.\).*not a label"):
        find_how_to_call_owner_function(encode, KNOWN, "a.py:encode")


def test_a_function_is_called_once_for_each_text_and_long_calls_are_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    function = find_how_to_call_owner_function(lambda text: called.append(text) or text.split(), KNOWN)
    asked = len(called)
    monkeypatch.setattr(owner_function_call.time, "monotonic", lambda: 0.1 * (len(called) - asked))
    caplog.set_level(logging.INFO)
    choose_rules(KNOWN, None, function, [], ["oil, film"])
    compared = rules_from_function.list_compared_texts(function, KNOWN, ["oil, film"])
    texts = [text for text in called if isinstance(text, str) and text in compared]
    assert len(texts) == len({*texts}) == len(compared)
    told = [one.getMessage() for one in caplog.records if one.getMessage().startswith("Calling your tokenizer with")]
    assert len(told) == 1
    number, seconds = map(int, re.findall(r"\d+", told[0]))
    assert number > 100
    assert 0.05 * number < seconds < 0.15 * number


def test_a_slow_function_is_called_for_a_minute_and_for_seconds_if_no_rules_do_as_it_does(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(owner_function_call.time, "monotonic", lambda: float(len(called)))
    choose_rules(KNOWN, None, lambda text: called.append(text) or text.split(), [], ["oil, film"])
    assert 60 < len(called) < 80
    assert re.search(r"called for 6\d seconds, and \d+ of the \d+ texts", caplog.text)
    called.clear()
    with pytest.raises(InputError, match="agree on"):
        choose_rules(KNOWN, None, lambda text: called.append(text) or sorted(text.split()), [], ["oil film"])
    assert len(called) < 40, len(called)


@pytest.mark.slow
def test_the_ids_of_characters_are_compared_also_with_a_vocabulary_of_words() -> None:
    def encode(text: str, vocab: dict[str, int]) -> list[int]:
        return [vocab.get(char, 0) for char in text]

    known = read_vocabulary(["<pad>", "oil", "film", "o", "a", "good", "words", "of", "texts"])
    function = find_how_to_call_owner_function(encode, known)
    assert function.gives_ids
    rules = choose_rules(known, None, function, [], ["o a", "film oo"])
    assert TextEncoder(rules, known.tokens).encode("o film a") == encode("o film a", {"o": 3, "a": 4})


def test_a_method_that_reads_nothing_of_its_object_needs_no_base_class(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "class Rows(Dataset):\n    def encode(self, text, vocab):\n        return [vocab.get(c, 0) for c in text]\n"
        "    def cut(self, text):\n        return text[:self.most]\n"
    )
    assert list_read_attributes(tmp_path / "data.py", "Rows", "encode") == {}
    assert list_read_attributes(tmp_path / "data.py", "Rows", "cut") is None
