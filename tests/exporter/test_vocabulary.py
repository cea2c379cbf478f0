"""Vocabularies are read from all that people have, without torchtext, and nothing that a file holds is run."""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import pickle
import pickletools
import pprint
import re
import struct
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import joblib
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import LabelEncoder
from slow_case_sampling import examples
from torch import nn

from pocketrnn.errors import DataError, InputError, OutputError
from pocketrnn.text import TOKENIZERS, TextEncoder, TextRules
from pocketrnn_export.vocabularies import pickled_vocabulary, vocabulary
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, make_implied_rules, read_vocabulary, write_vocabulary

# Written by a real torchtext 0.18; its make.py says how. The second folder holds larger ones, where it is.
FOLDERS = [
    folder
    for folder in (
        Path(__file__).parents[1] / "fixtures" / "torchtext018",
        Path(__file__).parents[3] / "shared" / "fixtures" / "torchtext018",
    )
    if folder.is_dir()
]
TOKENS = ("<unk>", "<pad>", ".", "the", "new york", "naïve", "猫", "\N{PILE OF POO}")
# Half of a UTF-16 pair is a Python string too; json and pickle carry it.
token = st.text(st.characters(exclude_categories=()), max_size=8)
vocabularies = st.builds(
    Vocabulary,
    st.lists(token, min_size=1, max_size=30, unique=True).map(tuple),
    st.one_of(st.none(), st.integers(-3, 40)),
)


# Stand-ins for torchtext's classes, as pickle sees them. Their modules exist only while a test pickles.


class NativeVocab:
    """torchtext._torchtext.Vocab, a pybind11 class whose state is `_serialize_vocab`'s tuple."""

    def __init__(self, tokens: list[str], default: int | None) -> None:
        self.tokens, self.default = tokens, default

    def __getstate__(self) -> tuple[Any, ...]:
        return ("0.0.2", [] if self.default is None else [self.default], self.tokens, [])


class Vocab(nn.Module):
    """torchtext.vocab.vocab.Vocab."""

    def __init__(self, vocab: NativeVocab) -> None:
        super().__init__()
        self.vocab = vocab


class OldVocab:
    """torchtext.vocab.Vocab of torchtext 0.5 to 0.8."""

    def __init__(self, tokens: list[str], unk_index: int | None, vectors: torch.Tensor | None = None) -> None:
        self.freqs = collections.Counter(dict.fromkeys(tokens, 2))
        self.itos = tokens
        self.unk_index = unk_index
        self.stoi = {token: i for i, token in enumerate(tokens)}
        self.vectors = vectors


class OldestVocab:
    """torchtext.vocab.Vocab of torchtext 0.2 to 0.4."""

    def __init__(self, tokens: list[str]) -> None:
        self.freqs = collections.Counter(tokens)
        self.itos = tokens
        self.stoi = collections.defaultdict(_default_unk_index, {token: i for i, token in enumerate(tokens)})
        self.stoi["seen later, not a token"] = 0
        self.vectors = None


def _default_unk_index() -> int:
    return 0


@contextlib.contextmanager
def torchtext_modules(vocab_class: type = Vocab, vocab_module: str = "torchtext.vocab.vocab") -> Iterator[None]:
    names = {NativeVocab: "torchtext._torchtext", vocab_class: vocab_module, _default_unk_index: "torchtext.vocab"}
    modules = {name: types.ModuleType(name) for name in ("torchtext", *names.values())}
    before = {name: sys.modules.get(name) for name in modules}
    kept = [(thing, thing.__module__, thing.__qualname__) for thing in names]
    sys.modules.update(modules)
    try:
        for thing, module in names.items():
            public = "_default_unk_index" if thing is _default_unk_index else "Vocab"
            thing.__module__, thing.__qualname__ = module, public
            setattr(modules[module], public, thing)
        yield
    finally:
        for thing, module, qualname in kept:
            thing.__module__, thing.__qualname__ = module, qualname
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def pickled(thing: Any, protocol: int = 4) -> bytes:
    return pickle.dumps(thing, protocol=protocol)


def torch_saved(thing: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


def torch_saved_legacy(thing: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def joblib_dumped(thing: Any, protocol: int = 4) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(thing, buffer, protocol=protocol)
    return buffer.getvalue()


SAVERS: list[Callable[..., bytes]] = [pickled, torch_saved, torch_saved_legacy]
# torch.save needs a binary protocol; it writes 2 unless told otherwise, pickle 4 or 5.
WAYS = [(saver, protocol) for saver in SAVERS for protocol in range(6) if protocol >= 2 or saver is pickled]
# torch.save's older form keeps the source of a module's class, and warns where there is none, as here.
without_source = pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")


def saved_vocab(tokens: tuple[str, ...], default: int | None, saver: Callable[..., bytes], protocol: int = 2) -> bytes:
    with torchtext_modules():
        return saver(Vocab(NativeVocab(list(tokens), default)), protocol)


def zipped(data_pkl: bytes, name: str = "vocab/data.pkl", compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive as torch.save writes it: stored entries in one folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, data_pkl)
        archive.writestr("vocab/version", b"3\n")
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(content: bytes | str, name: str = "vocab") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refusal(source: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_vocabulary(source)
    assert caught.value.problem.endswith(".")
    assert caught.value.remedy
    return str(caught.value)


# Python objects


@pytest.mark.parametrize("kind", [list, tuple, collections.deque])
def test_a_sequence_gives_its_tokens_in_order_and_finds_the_unknown_word_by_name(kind: Callable[..., Any]) -> None:
    assert read_vocabulary(kind(TOKENS)) == Vocabulary(TOKENS, 0)
    assert read_vocabulary(kind(TOKENS[1:])) == Vocabulary(TOKENS[1:], None)


def test_a_vocabulary_is_read_as_it_is() -> None:
    given_one = Vocabulary(TOKENS, None)
    assert read_vocabulary(given_one) is given_one


def test_numpy_strings_and_ids_become_plain_ones() -> None:
    read = read_vocabulary(list(np.array(["a", "b"])))
    assert [type(token) for token in read.tokens] == [str, str]
    assert read_vocabulary({"b": np.int64(1), "a": torch.tensor(0)}).tokens == ("a", "b")


def test_a_dict_is_ordered_by_its_ids() -> None:
    assert read_vocabulary({"b": 1, "<unk>": 2, "a": 0}) == Vocabulary(("a", "b", "<unk>"), 2)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ([], "no token"),
        ({}, "no token"),
        (["a", 1], "1 at id 1, but each token must be a string"),
        (["a", None], "None at id 1"),
        (["a", "b", "a"], "'a' twice, at id 0 and id 2"),
        ({"a": 0, "b": 5}, "'b' has the id 5, but no token has the id 1"),
        ({"a": 9, "b": 5, "c": 4}, "If they are counts"),
        ({"a": 2**70, "b": 1}, "an enormous number"),
        ([("a", 3), ("b", 9)], "'b' has the id 9, but no token has the id 0"),
        ([("a", 3), ("b", 3.5)], "the id 3.5"),
        ([("a", 2), ("a", 1)], "'a' twice"),
        ([("a", 2), "b"], "a tuple at id 0"),
        ({"word2idx": {"a": "0"}}, "id '0'"),
        ({"word_to_idx": {"0": "1", "1": "0"}}, "'0' the id '1'"),
        ({"idx2word": {"0": 1, "1": 0}}, "1 at position 0, but each token must be a string"),
        ({"stoi": {"stoi": {"stoi": {"stoi": {"a": 0}}}}}, "a dict"),
        ({"word2idx": {"oil": 0, "gas": 1}, "idx2word": ["gas", "oil"]}, "under 'word2idx' and 'idx2word'"),
        ({"0": "a", "00": "b"}, "the id 0 to 'a' and to 'b'"),
        ({"0": "a", "1": "a"}, "'a' twice"),
        ({"class_name": "Tokenizer", "config": {}}, "has no dict `word_index`"),
        ({"class_name": "Tokenizer", "config": {"word_index": "{", "num_words": None}}, "not valid JSON"),
        ({"a": -1, "b": 0}, "'a' the id -1"),
        ({"a": 0, "b": 0}, "the id 0 to 'a' and to 'b'"),
        ({"a": False, "b": 1}, "id False"),
        ({"a": 0, "b": 1.0}, "id 1.0"),
        ({"a": "0"}, "id '0'"),
        ({0: 0}, "0 at id 0"),
        ({"a": np.True_}, "must be a whole number"),
        (collections.Counter("aab"), "Counter"),
        (b"bytes", "bytes"),
        (7, "int"),
        (None, "NoneType"),
        (nn.LSTM(2, 2), "LSTM"),
    ],
)
def test_what_is_no_vocabulary_is_refused(source: Any, says: str) -> None:
    assert says in refusal(source)


KERAS = {"class_name": "Tokenizer", "config": {"num_words": 4, "oov_token": "<OOV>", "lower": True, "filters": "!",
         "word_index": json.dumps({"<OOV>": 1, "oil": 2, "rises": 3, "today": 4})}}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "tokens", "default"),
    [
        ({"word2idx": {"<UNK>": 0, "oil": 1}, "idx2word": {"0": "<UNK>", "1": "oil"}}, ("<UNK>", "oil"), 0),
        ({"stoi": {"oil": 0}}, ("oil",), None),
        ({"word2idx": {"oil": 0, "gas": 1}, "idx2word": {"0": "oil", "1": "gas"}}, ("oil", "gas"), None),
        ({"stoi": {"oil": 0, "gas": 1}, "vocab": {"oil": 70, "gas": 900}}, ("oil", "gas"), None),
        ({"itos": ["[PAD]", "[UNK]", "oil"]}, ("[PAD]", "[UNK]", "oil"), 1),
        ({"token_to_idx": {"oil": 0}, "max_len": 30}, ("oil",), None),
        ({"config": {"a": 1}, "vocab": {"stoi": {"oil": 0, "gas": 1}}}, ("oil", "gas"), None),
        ({"0": "<unk>", "1": "oil"}, ("<unk>", "oil"), 0),
        ({1: "oil", 0: "gas"}, ("gas", "oil"), None),
        ([["oil", 9], ["gas", 9], ["<unk>", 3]], ("oil", "gas", "<unk>"), 2),
        (collections.Counter("aaab").most_common(), ("a", "b"), None),
        ([["gas", 1], ["oil", 0]], ("oil", "gas"), None),
        ([[0, "oil"], [1, "gas"]], ("oil", "gas"), None),
        ({"oil": 1, "<OOV>": 2}, ("<pad>", "oil", "<OOV>"), 2),
        ({"oil": 1, "<PAD>": 3, "gas": 4}, (" <unused 0>", "oil", " <unused 2>", "<PAD>", "gas"), None),
        ({"a": 0, "<unk>": 1, "[UNK]": 2}, ("a", "<unk>", "[UNK]"), 1),
        ({"[UNK]": 0, "<OOV>": 1}, ("[UNK]", "<OOV>"), None),
        ({"#PAD#": 0, "#UNK#": 1, "#unk": 2, "unk": 3}, ("#PAD#", "#UNK#", "#unk", "unk"), 1),
        ({"#unk": 0, "(unknown)": 1, "*unknown*": 2}, ("#unk", "(unknown)", "*unknown*"), None),
        ({"word2idx": 0, "itos": 1}, ("word2idx", "itos"), None),
        (KERAS, ("<pad>", "<OOV>", "oil", "rises"), 1),
    ],
)
def test_the_forms_that_people_have_are_read_in_python_and_as_json(
    source: Any, tokens: tuple[str, ...], default: int | None, tmp_path: Path
) -> None:
    assert read_vocabulary(source) == Vocabulary(tokens, default)
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(source), encoding="utf-8")
    assert read_vocabulary(path) == Vocabulary(tokens, default)


def test_a_keras_tokenizer_that_was_dumped_twice_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.dumps(KERAS)), encoding="utf-8")
    assert read_vocabulary(path).tokens == ("<pad>", "<OOV>", "oil", "rises")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"oil": 1, "gas": 2}, "no token with the id 0. The bundle gives this id the name <pad>"),
        ({"oil": 2, "gas": 3, "x": 4}, "no tokens with the ids 1. No text gets"),
        ([("oil", 9), ("gas", 2)], "the position of a token, from 0, is used as its id"),
        (KERAS, "its words are read, but not its way to split a text"),
    ],
)
def test_what_is_taken_for_granted_of_a_vocabulary_is_said(
    source: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    read_vocabulary(source)
    assert said in caplog.text


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({"filters": "!\\\n'", "lower": True}, ["oil", "is", "up", "a\tb"]),
        ({"filters": "", "lower": False, "split": "i"}, ["O", "l\n ", "s\\up!  a\tb"]),
        ({"filters": "!", "lower": True, "char_level": True}, list("oil\n is\\up!  a\tb")),
    ],
)
def test_the_line_that_splits_as_a_keras_tokenizer_does_is_said(
    settings: dict[str, Any], tokens: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    read_vocabulary({**KERAS, "config": {**KERAS["config"], **settings}})  # type: ignore[dict-item]
    line = caplog.text.strip().rpartition("end it with: return ")[2]
    assert eval(line, {"text": "Oil\n is\\up!  a\tb"}) == tokens  # noqa: S307


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("ngrams", [1, 3])
def test_no_text_gives_the_token_of_an_unused_id(tokenizer: str, ngrams: int) -> None:
    vocabulary = read_vocabulary({"a": 0, "b": 1, "c": 2, "d": 4})
    rules = TextRules(tokenizer=tokenizer, lowercase=True, ngrams=ngrams, unknown_id=None)
    encoder = TextEncoder(rules, vocabulary.tokens)
    placeholder = vocabulary.tokens[3]
    for text in (placeholder, f"a{placeholder}", f" {placeholder} b", " ".join(placeholder), "< unused 3>"):
        assert 3 not in encoder.encode(text)


@pytest.mark.parametrize("default", [None, 0, 3, 100])
def test_a_living_torchtext_vocab_keeps_its_default_index_or_its_lack_of_one(default: int | None) -> None:
    class Living:
        def get_itos(self) -> list[str]:
            return list(TOKENS)

        def get_default_index(self) -> int | None:
            return default

    assert read_vocabulary(Living()) == Vocabulary(TOKENS, default)


def test_a_living_vocab_of_the_old_torchtext_is_read() -> None:
    assert read_vocabulary(OldVocab(list(TOKENS), 0)) == Vocabulary(TOKENS, 0)  # type: ignore[arg-type]
    assert read_vocabulary(OldVocab(list(TOKENS), None)) == Vocabulary(TOKENS, None)  # type: ignore[arg-type]
    assert read_vocabulary(OldestVocab(list(TOKENS))) == Vocabulary(TOKENS, 0)  # type: ignore[arg-type]


class OwnVocab:
    """A vocabulary class as notebooks have it."""

    UNK = "<unk>"

    def __init__(self, tokens: list[str], **names: object) -> None:
        self.min_freq = 2
        self.counts = collections.Counter(tokens)
        self.__dict__.update(names)


@pytest.mark.parametrize("names", [("itos", "stoi"), ("itos",), ("word2idx", "idx2word"), ("word_to_idx",), ("stoi",)])
def test_the_owners_own_class_has_the_unknown_word_that_its_tokens_name(names: tuple[str, ...]) -> None:
    tokens = ["<pad>", "<unk>", "oil", "price"]
    to_id = {token: i for i, token in enumerate(tokens)}
    held = {"itos": tokens, "stoi": to_id, "word2idx": to_id, "word_to_idx": to_id, "idx2word": dict(enumerate(tokens))}
    vocabulary = read_vocabulary(OwnVocab(tokens, **{name: held[name] for name in names}))  # type: ignore[arg-type]
    assert vocabulary == Vocabulary(tuple(tokens), 1)


def test_the_default_of_the_owners_map_is_the_id_of_unknown_words() -> None:
    to_id = collections.defaultdict(lambda: 2, {"<pad>": 0, "oil": 1, "<unk>": 2})
    own = OwnVocab([], itos=["<pad>", "oil", "<unk>"], stoi=to_id)
    assert read_vocabulary(own) == Vocabulary(("<pad>", "oil", "<unk>"), 2)  # type: ignore[arg-type]


# Text files


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [0, 1, 3])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_text_file_holds_a_token_a_line(file: Callable[..., Path], ending: str, last: int, mark: str) -> None:
    assert read_vocabulary(file(mark + ending.join(TOKENS) + ending * last)) == Vocabulary(TOKENS, 0)


@pytest.mark.parametrize("separator", [",", "\t", " "])
@pytest.mark.parametrize("first", [0, 1])
def test_lines_of_words_and_ids_are_read_by_the_ids(separator: str, first: int, tmp_path: Path) -> None:
    words = ["<unk>", "很", "a,b", *(f"w{i}" for i in range(9))]
    ids = {word: (i * 5) % len(words) + first for i, word in enumerate(words)}
    path = tmp_path / "dict"
    path.write_text("\n".join(f"{word}{separator}{i}" for word, i in ids.items()), encoding="utf-8")
    tokens = read_vocabulary(path).tokens
    assert {word: tokens.index(word) for word in words} == ids
    # Counts are not ids.
    path.write_text("\n".join(f"{word} {i * i + 3}" for i, word in enumerate(words)), encoding="utf-8")
    with pytest.raises(DataError, match="'w8' has the id 124"):
        read_vocabulary(path)
    path.write_text("\n".join(f"{word} {i // 2 + 3}" for i, word in enumerate(words)), encoding="utf-8")
    with pytest.raises(DataError, match=r"'<unk> 3'.* counts"):
        read_vocabulary(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_without_ids_is_no_vocabulary(end: str, file: Callable[..., Path]) -> None:
    rows = [f'"oil, {row}{end}",4,x' for row in range(12)]
    assert "is a table, but has no column" in refusal(file("\n".join(["text,sentiment,user", *rows]), "train.csv"))
    # Lines with some commas are tokens.
    lines = [*"abcdefghijk", ",", "1,5"]
    assert read_vocabulary(file("\n".join(lines), "vocab.csv")).tokens == tuple(lines)


def test_a_text_file_keeps_spaces_and_the_characters_that_splitlines_would_split_at(file: Callable[..., Path]) -> None:
    tokens = (" ", "  a", "b ", "new york city", "x\x85y", "x\u2028y", "x\x0cy", "\t", "[PAD]", "{", "80.5")
    assert read_vocabulary(str(file("\n".join(tokens)))).tokens == tokens


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n\n", "holds no token"),
        ("a\nb\na\n", "'a' twice, at line 1 and line 3"),
        ("a\n\nb\n", "is empty, so"),
        ("a\r\nb\nc\n", "'\\r' in line 1"),
        ("the\t0\n.\t1\n", "'\\t' in line 1"),
        (
            "".join(f"w{i} 0.25 -1.5 3.25 0.5 1e-05 0.125 0.1\n" for i in range(9)).replace("1e-05", "1.0e-05"),
            "vectors",
        ),
        (b"caf\xe9\n", "line 1 is not valid UTF-8"),
        ("a\nb".encode("utf-16"), "UTF-16"),
        (b"a\0b\n", "a binary file"),
        (b"\x1f\x8b\x08\x00abc", "a binary file"),
        (struct.pack("<Q", 20) + b'{"w":{"dtype":"F32"}}    ', "safetensors"),
        (b"\x08\x08\x12\x07pytorch\x00", "a binary file"),
        ("Counter({'the': 9, 'of': 8, 'and': 7, 'a': 6})", "looks like data"),
        ("{'a': 0, 'b': 1, 'c': 2, 'd': 3, 'e': len('abcd')}\n", "looks like data"),
        ("the of and a to in is it\n", "looks like data"),
    ],
)
def test_a_file_that_is_no_list_of_tokens_is_refused(
    file: Callable[..., Path], content: str | bytes, says: str
) -> None:
    assert says in refusal(file(content))


@pytest.mark.parametrize("name", ["vocab.txt", "vocab.json", "vocab"])
@pytest.mark.parametrize("tokens", [TOKENS, ("it's", *TOKENS[1:]), ("\n", "\\d", "'", '"', "\u5e03", "<unk>")])
def test_the_text_of_a_python_dict_or_list_is_read(
    file: Callable[..., Path], name: str, tokens: tuple[str, ...]
) -> None:
    ids = {token: i for i, token in enumerate(tokens)}
    back = dict(enumerate(tokens))
    for held in (ids, back, [*tokens], tokens, [*ids.items()], {"word2idx": ids}):
        for written in (str(held), pprint.pformat(held, sort_dicts=False), f"\n{held!r}\r\n"):
            assert read_vocabulary(file(written, name)).tokens == tokens, written


def test_a_text_in_brackets_that_is_no_literal_is_a_token_a_line_and_runs_nothing(
    file: Callable[..., Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    held = f"['a', open({str(run)!r}, 'w')]"
    assert read_vocabulary(file(held)).tokens == (held,)
    assert not run.exists()
    assert read_vocabulary(file("['\nb\n]")).tokens == ("['", "b", "]")
    assert read_vocabulary(file("(" * 100_000 + "1" + ")" * 100_000)).tokens[0].startswith("((")


def test_a_missing_file_a_folder_and_an_enormous_file_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "missing")
    assert "is a folder" in refusal(tmp_path)
    assert "cannot be read" in refusal("a\0b")
    with (tmp_path / "large").open("wb") as sparse:
        sparse.truncate(vocabulary.LARGEST_FILE + 1)
    assert "64 MiB" in refusal(tmp_path / "large")


# JSON


@pytest.mark.parametrize("name", ["vocab.json", "vocab.txt", "vocab"])
def test_json_is_known_by_its_content(file: Callable[..., Path], name: str) -> None:
    ids = {token: i for i, token in reversed(list(enumerate(TOKENS)))}
    for content in (list(TOKENS), ids, {"tokens": TOKENS, "default_index": 0}):
        for indent in (None, 2):
            assert read_vocabulary(file(json.dumps(content, indent=indent), name)) == Vocabulary(TOKENS, 0)
    named = {"tokens": 0, "default_index": 1}
    assert read_vocabulary(file(json.dumps(named), name)).tokens == ("tokens", "default_index")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "no token"),
        ("{}", "no token"),
        ('["a", "b"', "not valid JSON"),
        ('["a", 1]', "1 at id 1"),
        ('["a", "a"]', "'a' twice"),
        ('{"a": 0, "b": 1, "a": 2}', "'a' twice"),
        ('{"a": 0, "b": true}', "id True"),
        ('{"a": 0.0}', "id 0.0"),
        ('{"a": 0, "b": 5}', "no token has the id 1"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1' + "0" * 5000 + "}", "not valid JSON"),
        ('{"a": 1' + "0" * 4000 + "}", "id an enormous number"),
        ('{"model": {"vocab": {"a": 0}}}', "a dict"),
        ('{"tokens": ["a", "b"], "ids": {"a": 1, "b": 0}}', "in another order than"),
        ('{"tokens": ["a"], "default_index": 0, "more": 1}', "'more'"),
        ('{"tokens": ["a"], "default_index": true}', "`default_index` is True"),
        ('{"tokens": ["a"], "default_index": 0.0}', "`default_index` is 0.0"),
        ('["a", ' + "[" * 100_000, "not valid JSON"),
    ],
)
def test_json_that_is_no_vocabulary_is_refused(file: Callable[..., Path], content: str, says: str) -> None:
    assert says in refusal(file(content))


@pytest.mark.parametrize(
    "more", ['"tokens_to_id": {"<unk>": 0, "oil": 1}', '"size": 2', '"id_to_token": ["<unk>", "oil"]']
)
def test_the_saved_members_of_an_owners_class_give_its_tokens(file: Callable[..., Path], more: str) -> None:
    found = read_vocabulary(file('{"tokens": ["<unk>", "oil"], ' + more + "}"))
    assert (found.tokens, found.default_index) == (("<unk>", "oil"), 0)


def test_a_json_file_that_is_neither_list_nor_object_is_refused(file: Callable[..., Path]) -> None:
    assert "vocab.json must hold a JSON list" in refusal(file('"a"', "vocab.json"))


@given(given_one=vocabularies)
@settings(deadline=None, max_examples=examples(12, 1000))
def test_what_is_written_reads_back_equal(given_one: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("written") / "vocab.json"
    write_vocabulary(given_one, path)
    assert read_vocabulary(path) == given_one
    assert [entry.name for entry in path.parent.iterdir()] == ["vocab.json"]


def test_a_file_is_replaced_only_when_asked_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vocab.json"
    write_vocabulary(Vocabulary(("a",), None), path)
    with pytest.raises(OutputError, match="exists already"):
        write_vocabulary(Vocabulary(("b",), None), path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match=r"no room .*vocab\.json"):
            write_vocabulary(Vocabulary(("b",), None), path, force=True)
    assert read_vocabulary(path).tokens == ("a",)
    write_vocabulary(Vocabulary(("b",), None), path, force=True)
    assert read_vocabulary(path).tokens == ("b",)
    assert os.listdir(tmp_path) == ["vocab.json"]  # noqa: PTH208 - hidden files too
    with pytest.raises(OutputError, match="folder"):
        write_vocabulary(Vocabulary(("b",), None), tmp_path, force=True)
    with pytest.raises(OutputError, match=r"missing.vocab\.json .*written"):
        write_vocabulary(Vocabulary(("b",), None), tmp_path / "missing" / "vocab.json")


# Saved Vocabs


@without_source
@pytest.mark.parametrize(("saver", "protocol"), WAYS)
@pytest.mark.parametrize("default", [None, 0, 7, 300, 70_000, -1])
def test_a_saved_vocab_keeps_its_tokens_and_default_index(
    file: Callable[..., Path], saver: Callable[..., bytes], protocol: int, default: int | None
) -> None:
    path = file(saved_vocab(TOKENS, default, saver, protocol), "vocab.pth")
    assert read_vocabulary(path) == Vocabulary(TOKENS, default)


@given(given_one=vocabularies, protocol=st.integers(0, 5))
@settings(deadline=None, max_examples=examples(12, 1000))
def test_any_pickled_vocab_reads_back_equal(
    given_one: Vocabulary, protocol: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pickled") / "vocab.pkl"
    path.write_bytes(saved_vocab(given_one.tokens, given_one.default_index, pickled, protocol))
    assert read_vocabulary(path) == given_one


@without_source
@pytest.mark.parametrize("saver", SAVERS)
def test_saved_vocabs_of_the_old_torchtext_are_read(file: Callable[..., Path], saver: Callable[..., bytes]) -> None:
    for module in ("torchtext.vocab", "torchtext.legacy.vocab"):
        for old in (OldVocab(list(TOKENS), 0), OldVocab(list(TOKENS), None)):
            with torchtext_modules(OldVocab, module):
                content = saver(old)
            assert read_vocabulary(file(content)) == Vocabulary(TOKENS, old.unk_index)
    with torchtext_modules(OldestVocab, "torchtext.vocab"):
        content = saver(OldestVocab(list(TOKENS)))
    assert read_vocabulary(file(content)) == Vocabulary(TOKENS, 0)


class WithWords:
    """Such as a Field of torchtext."""

    def __init__(self, vocab: OldVocab) -> None:
        self.lower, self.vocab = True, vocab


VECTORS: dict[str, Callable[[], Any]] = {
    "a tensor": lambda: torch.ones(len(TOKENS), 5),
    "half precision": lambda: torch.ones(len(TOKENS), 5).half(),
    "a parameter": lambda: nn.Parameter(torch.ones(len(TOKENS), 5)),
    "a storage": lambda: torch.ones(len(TOKENS), 5).untyped_storage(),
    "an array": lambda: np.ones((len(TOKENS), 5)),
}
HOLDERS: list[Callable[[OldVocab], Any]] = [
    lambda vocab: vocab,
    WithWords,
    lambda vocab: {"vocab": vocab, "max_len": 9},
    lambda vocab: (vocab, 9),
]


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("saver", [*SAVERS, joblib_dumped])
def test_an_old_vocab_is_read_without_its_word_vectors(
    file: Callable[..., Path], saver: Callable[..., bytes], vectors: str
) -> None:
    for hold in HOLDERS:
        with torchtext_modules(OldVocab, "torchtext.vocab"):
            content = saver(hold(OldVocab(list(TOKENS), 0, VECTORS[vectors]())))
        assert read_vocabulary(file(content, "vocab.pkl")) == Vocabulary(TOKENS, 0)


def test_the_bytes_of_word_vectors_are_never_loaded(file: Callable[..., Path], tmp_path: Path) -> None:
    old, canary = OldVocab(list(TOKENS), 0), tmp_path / "canary"
    old.vectors = cast("Any", Payload(torch.storage._load_from_bytes, pickled(Payload(Path.touch, canary))))
    with torchtext_modules(OldVocab, "torchtext.vocab"):
        content = pickled(old)
    assert read_vocabulary(file(content)) == Vocabulary(TOKENS, 0)
    assert not canary.exists()
    old.vectors = cast("Any", Payload(Path.touch, canary))
    with torchtext_modules(OldVocab, "torchtext.vocab"):
        content = pickled(old)
    assert "othing in the file was run" in refusal(file(content))
    assert not canary.exists()


@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize(
    "plain",
    [list(TOKENS), TOKENS, {token: i for i, token in enumerate(TOKENS)},
     collections.OrderedDict((token, i) for i, token in enumerate(TOKENS))],
)  # fmt: skip
def test_saved_lists_and_dicts_are_read(file: Callable[..., Path], saver: Callable[..., bytes], plain: Any) -> None:
    assert read_vocabulary(file(saver(plain))) == Vocabulary(TOKENS, 0)


def test_a_large_vocabulary_is_read_with_long_memo_numbers_and_many_batches(file: Callable[..., Path]) -> None:
    tokens = ("<unk>", *(f"w{i}" for i in range(5000)))
    assert read_vocabulary(file(saved_vocab(tokens, 0, torch_saved))) == Vocabulary(tokens, 0)


def test_reading_a_saved_vocab_needs_neither_torch_nor_torchtext(file: Callable[..., Path]) -> None:
    path = file(saved_vocab(TOKENS, 0, torch_saved))
    code = (
        "import sys; from pocketrnn_export.vocabularies.vocabulary import read_vocabulary, make_implied_rules\n"
        "make_implied_rules(read_vocabulary(sys.argv[1]))\n"
        "assert not {'torch', 'torchtext'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", ["vocab_no_specials.pth", "vocab_specials.pth"])
def test_the_files_of_a_real_torchtext_are_read(name: str, folder: Path) -> None:
    expected = json.loads((folder / "vocab_expected.json").read_text())[name]
    read = read_vocabulary(folder / name)
    assert len(read.tokens) == expected["size"]
    assert list(read.tokens[:20]) == expected["first"]
    assert list(read.tokens[-len(expected["last"]) :]) == expected["last"]
    assert read.default_index == expected["default_index"]
    # The imitation that the other tests use is pickled by the same instructions, from the compiled Vocab on.
    ours = saved_vocab(read.tokens, read.default_index, torch_saved)
    assert _native_part(ours) == _native_part((folder / name).read_bytes())


@pytest.mark.parametrize("folder", FOLDERS)
def test_texts_get_the_ids_that_torchtext_gave(folder: Path) -> None:
    read = read_vocabulary(folder / "vocab_specials.pth")
    encoder = TextEncoder(make_implied_rules(read), read.tokens)
    rows = [json.loads(line) for line in (folder / "basic_english.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 20
    for row in rows:
        assert encoder.encode(row["text"]) == (row["ids"] or [0])


def _native_part(archive: bytes) -> list[tuple[str, Any]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        name = next(name for name in opened.namelist() if name.endswith("/data.pkl"))
        instructions = [(op.name, arg) for op, arg, _ in pickletools.genops(opened.read(name))]
    start = instructions.index(("GLOBAL", "torchtext._torchtext Vocab"))
    return [(name, None if "PUT" in name else arg) for name, arg in instructions[start:] if name != "GLOBAL" or arg]


# Files that are something else


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(2, 2)


@pytest.mark.parametrize("saver", [torch_saved, torch_saved_legacy, pickled])
def test_a_whole_module_is_refused_with_the_way_out(file: Callable[..., Path], saver: Callable[..., bytes]) -> None:
    for module in (Classifier(), nn.LSTM(2, 2)):
        message = refusal(file(saver(module), "model.pt"))
        assert "a whole pickled module" in message
        assert "state_dict()" in message


@pytest.mark.parametrize("saver", [torch_saved, torch_saved_legacy])
def test_weights_are_told_from_a_vocabulary(file: Callable[..., Path], saver: Callable[..., bytes]) -> None:
    assert "weights (a state_dict)" in refusal(file(saver(Classifier().state_dict()), "weights.pt"))
    said = refusal(file(saver({"epoch": 3, "loss": 0.5, "model": Classifier().state_dict()}), "model.pt"))
    assert "'epoch', 'loss', 'model'" in said
    assert 'model.pt")["vocab"], open("vocab.json", "w"), default=int)' in said


@pytest.mark.parametrize("saver", [torch_saved, torch_saved_legacy])
def test_the_vocabulary_of_a_checkpoint_is_taken_and_its_key_named(
    file: Callable[..., Path], saver: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    words = {"<unk>": 0, "oil": 1, "rises": 2}
    rest = {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    for key, held in (("vocab_stoi", words), ("word2idx", words), ("token_to_idx", words), ("my words", [*words])):
        for more in ({}, {"classes": ["bad", "good"]}, {"label2id": {"bad": 0, "good": 1}}, {"vocab_itos": [*words]}):
            caplog.clear()
            read = read_vocabulary(file(saver({**rest, **more, key: held}), "model.pt"))
            assert (read.tokens, read.default_index) == (tuple(words), 0)
            assert repr(key) in caplog.text or "vocab_itos" in caplog.text


def test_a_checkpoint_of_several_vocabularies_is_refused_with_the_line_that_saves_one(
    file: Callable[..., Path],
) -> None:
    source, target = {"<unk>": 0, "oil": 1}, {"<unk>": 0, "huile": 1}
    path = file(torch_saved({"src_vocab": source, "trg_vocab": target, "counts": {"oil": 7, "war": 9}}), "model.pt")
    said = refusal(path)
    assert "'src_vocab', 'trg_vocab', 'counts'" in said
    assert f'json.dump(torch.load("{path}")["src_vocab"], open("vocab.json", "w"), default=int)' in said
    assert "does not show which" in refusal(file(torch_saved({"counts": {"oil": 7, "war": 9}, "epoch": 2})))


def test_other_archives_and_other_pickled_things_are_refused(file: Callable[..., Path]) -> None:
    assert "a TorchScript file" in refusal(file(zipped(pickled([]), "vocab/constants.pkl")))
    assert "torch.save did not write" in refusal(file(zipped(b"", "word/document.xml")))
    assert "compressed" in refusal(file(zipped(pickled(list(TOKENS)), compression=zipfile.ZIP_DEFLATED)))
    assert "damaged zip archive" in refusal(file(zipped(pickled(list(TOKENS)))[:-30]))
    assert "of type int" in refusal(file(pickled(7)))
    assert "Counter" in refusal(file(pickled(collections.Counter("aab"))))
    assert "neither strings nor integers" in refusal(file(pickled({0.5: "a"})))
    assert "must be a string" in refusal(file(pickled(["a", ["b"]])))


def test_an_archive_whose_directory_points_beyond_all_files_is_refused(file: Callable[..., Path]) -> None:
    content = bytearray(zipped(pickled(list(TOKENS))))
    entry, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    # the position of the entry as a 64-bit number, in the extra field of the directory
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    struct.pack_into("<I", content, end + 12, struct.unpack_from("<I", content, end + 12)[0] + len(extra))
    struct.pack_into("<I", content, entry + 42, 2**32 - 1)
    struct.pack_into("<H", content, entry + 30, len(extra))
    name_end = entry + 46 + len("vocab/data.pkl")
    content[name_end:name_end] = extra
    assert "damaged zip archive" in refusal(file(bytes(content)))


@pytest.mark.parametrize(
    "state",
    [
        ("0.0.1", [0], ["a"], []),
        ("0.0.2", [0, 1], ["a"], []),
        ("0.0.2", ["0"], ["a"], []),
        ("0.0.2", [True], ["a"], []),
        ("0.0.2", [], ["a", "a"], []),
        ("0.0.2", [], ["a", 1], []),
        ("0.0.2", [], [], []),
        ("0.0.2", [], ["a"], [1]),
        ("0.0.2", [], ["a"]),
        ("0.0.2", None, ["a"], []),
        {"itos": ["a"]},
    ],
)
def test_a_vocab_in_a_form_that_torchtext_would_not_read_is_refused(
    file: Callable[..., Path], state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NativeVocab, "__getstate__", lambda _: state)
    assert refusal(file(saved_vocab(TOKENS, 0, torch_saved)))


# Hostile pickles


class Payload:
    """The contents of a hostile pickle: a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def hostile(canary: Path) -> list[Payload]:
    """Calls that would make the file `canary`, straight or by way of what a Vocab needs."""
    write = f"open({str(canary)!r}, 'w').close()"
    return [
        Payload(os.system, f"touch {canary}"),
        Payload(exec, write),
        Payload(eval, write),
        Payload(open, str(canary), "w"),
        Payload(Path.touch, canary),
        Payload(subprocess.check_call, ["touch", str(canary)]),
        Payload(getattr, Payload(__import__, "os"), "system"),
        Payload(map, exec, [write]),
        Payload(torch.load, str(canary)),
    ]


def test_the_hostile_pickles_are_hostile(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(hostile(tmp_path / "canary")[3])).close()  # noqa: S301 - the point of the test
    assert (tmp_path / "canary").exists()


@without_source
@pytest.mark.parametrize(("saver", "protocol"), WAYS)
def test_nothing_in_a_hostile_pickle_is_run(
    file: Callable[..., Path], tmp_path: Path, saver: Callable[..., bytes], protocol: int
) -> None:
    canary = tmp_path / "canary"
    for payload in hostile(canary):
        vocab = Vocab(NativeVocab(list(TOKENS), 0))
        vocab.register_buffer("evil", None)
        vocab.__dict__["evil"] = payload
        with torchtext_modules():
            inside = saver(vocab, protocol)
        for content in (saver(payload, protocol), saver([*TOKENS, payload], protocol), inside):
            message = refusal(file(content, "vocab.pkl"))
            assert "othing in the file was run" in message
            assert "A vocabulary does not need this" in message or "a whole pickled module" in message
    assert not canary.exists()


def test_the_refused_name_is_named_and_cannot_write_to_the_terminal(file: Callable[..., Path]) -> None:
    assert f"is a pickle with {os.system.__module__}.system." in refusal(file(pickled(Payload(os.system, "true"))))
    assert "\x1b" not in refusal(file(b"\x80\x02cos\nsys\x1b[31mtem\n."))
    assert len(refusal(file(b"\x80\x02cos\n" + b"x" * 100_000 + b"\n."))) < 500


@pytest.mark.parametrize(("saver", "protocol"), WAYS)
def test_a_vocabulary_beside_objects_that_it_does_not_need_is_read_and_nothing_is_run(
    file: Callable[..., Path], tmp_path: Path, saver: Callable[..., bytes], protocol: int
) -> None:
    canary = tmp_path / "canary"
    encoder = LabelEncoder().fit(["a", "b"])
    for beside in (*hostile(canary)[:4], encoder, argparse.Namespace(lr=0.1), np.float32(0.5)):
        held = {"word2idx": {word: i for i, word in enumerate(TOKENS)}, "state": {"w": 0.5}, "beside": beside}
        assert read_vocabulary(file(saver(held, protocol), "model.pkl")).tokens == tuple(TOKENS)
    assert not canary.exists()


class OwnersVocab:
    def __init__(self) -> None:
        self.word2idx = {word: i for i, word in enumerate(TOKENS)}
        self.size = len(TOKENS)


@pytest.mark.parametrize(("saver", "protocol"), WAYS)
def test_a_pickled_object_of_the_owners_class_is_read_by_its_attributes(
    file: Callable[..., Path], saver: Callable[..., bytes], protocol: int
) -> None:
    assert read_vocabulary(file(saver(OwnersVocab(), protocol), "vocab.pkl")).tokens == tuple(TOKENS)


class SlottedVocab:
    __slots__ = ("itos", "unk_index")

    def __init__(self) -> None:
        self.itos, self.unk_index = dict(enumerate(TOKENS)), 0


class Settings(NamedTuple):
    path: Path
    words: OwnersVocab
    kinds: frozenset[str] = frozenset({"a"})


class TaggedVocab:
    def __init__(self) -> None:
        self.special_tokens = ["<unk>", "<pad>"]
        self.stoi = collections.defaultdict(int, {word: i for i, word in enumerate(TOKENS)})
        self.itos = dict(enumerate(TOKENS))
        self.tags = ["no", "yes"]
        self.by_score = {0.5: "oil"}


@pytest.mark.parametrize(("saver", "protocol"), [way for way in WAYS if way[1] >= 2])
def test_a_vocabulary_within_objects_of_the_owners_classes_is_read_beside_weights(
    file: Callable[..., Path], saver: Callable[..., bytes], protocol: int
) -> None:
    rows = {"embedding.weight": torch.zeros(len(TOKENS), 3), "out.weight": torch.zeros(2, 3)}
    processor = argparse.Namespace(vocab=TaggedVocab(), lower=True)
    settings = Settings(Path("checkpoints/gru.pt"), OwnersVocab())
    both = {"vocab": TaggedVocab(), "other_vocab": argparse.Namespace(words_to_ids={"x": 0, "y": 1, "z": 2})}
    for held in (
        {"vocab": TaggedVocab()}, {"vocab": SlottedVocab()}, {"processor": processor}, {"config": settings}, both,
    ):  # fmt: skip
        found = read_vocabulary(file(saver({"model": rows, **held, "accuracy": np.float64(0.9)}, protocol), "gru.pt"))
        assert found.tokens == tuple(TOKENS)


class Field:
    """As torchtext's, with the settings that are lists of strings."""

    def __init__(self, vocab: object) -> None:
        self.vocab, self.tokenizer_args, self.stop_words, self.unk_token = vocab, ("spacy", "en"), None, "<unk>"


class KerasTokenizer:
    def __init__(self) -> None:
        self.word_counts = collections.OrderedDict({"oil": 3, "cup": 2})
        self.word_docs = collections.defaultdict(int, {"oil": 1, "cup": 1})
        self.filters, self.lower, self.split, self.num_words, self.oov_token = "!.,\n", True, " ", 3, "[OOV]"
        self.word_index = {"[OOV]": 1, "oil": 2, "cup": 3}
        self.index_word = {1: "[OOV]", 2: "oil", 3: "cup"}


@pytest.mark.parametrize(("saver", "protocol"), WAYS)
def test_a_vocab_in_a_field_and_a_tokenizer_of_keras_are_read_also_beside_others(
    file: Callable[..., Path], saver: Callable[..., bytes], protocol: int
) -> None:
    encoder = LabelEncoder().fit(["a", "b"])
    with torchtext_modules(OldVocab, "torchtext.vocab"):
        field = Field(OldVocab(list(TOKENS), 0))
        fields = [saver(held, protocol) for held in (field, {"TEXT": field, "lr": 0.1}, (encoder, field))]
    for content in fields:
        assert read_vocabulary(file(content, "field.pkl")) == Vocabulary(TOKENS, 0)
    for held in (KerasTokenizer(), (KerasTokenizer(), encoder), {"tokenizer": KerasTokenizer(), "encoder": encoder}):
        found = read_vocabulary(file(saver(held, protocol), "tokenizer.pkl"))
        assert (found.tokens, found.default_index) == (("<pad>", "[OOV]", "oil"), 1)


@pytest.mark.parametrize("save", [joblib.dump, lambda held, path: path.write_bytes(pickle.dumps(held, 2))])
@pytest.mark.parametrize(
    "held",
    [
        {token: np.int64(i) for i, token in enumerate(TOKENS)},
        {np.int32(i): np.str_(token) for i, token in enumerate(TOKENS)},
        np.array(TOKENS),
        np.array(TOKENS, dtype=object),
        collections.defaultdict(int, {token: np.int64(i) for i, token in enumerate(TOKENS)}),
        {"vocab": np.array(TOKENS), "encoder": LabelEncoder().fit([2, 1]), "longest": np.int64(4)},
    ],
    ids=lambda held: type(held).__name__,
)
def test_numbers_and_arrays_of_numpy_in_a_vocabulary_are_read(
    held: Any, save: Callable[[Any, Path], object], tmp_path: Path
) -> None:
    save(held, tmp_path / "vocab.joblib")
    assert read_vocabulary(tmp_path / "vocab.joblib").tokens == tuple(TOKENS)


@pytest.mark.parametrize("instruction", ["INST", "OBJ", "EXT1", "NEWOBJ_EX", "DUP", "POP", "BINSTRING", "NEXT_BUFFER"])
def test_an_instruction_that_no_vocab_needs_ends_the_reading(file: Callable[..., Path], instruction: str) -> None:
    content = b"\x80\x04(]" + getattr(pickle, instruction) + b"os\nsystem\n\x01\x00\x00\x00."
    assert re.search(rf"instruction {instruction}\b", refusal(file(content)))


def test_allowed_names_called_with_hostile_arguments_stay_records(file: Callable[..., Path]) -> None:
    deep = pickle.GLOBAL + b"builtins\nset\n" + (b"\x85" + pickle.GLOBAL + b"builtins\nset\n") * 50
    assert refusal(file(b"\x80\x02" + deep + b"."))
    # setattr by BUILD on a class, which would change it for the whole process
    content = b"\x80\x02ccollections\nCounter\n}X\x03\x00\x00\x00popX\x01\x00\x00\x00xs\x86b."
    assert refusal(file(content))
    assert callable(collections.Counter.pop)


def test_bombs_are_refused_before_they_grow(file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # ten lists, each of ten times the one before: 10 ** 10 items, were they ever copied
    laughs = b"\x80\x02](X\x03\x00\x00\x00lolX\x03\x00\x00\x00haheq\x00" + b"".join(
        b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1]) for i in range(10)
    )
    assert "a list" in refusal(file(laughs + b"."))
    itself = b"\x80\x02]q\x00h\x00a."
    assert "a list at id 0" in refusal(file(itself))
    # a memo number or a length of 4 billion costs nothing by itself
    assert refusal(file(b"\x80\x02]r\xff\xff\xff\xff."))
    assert refusal(file(b"\x80\x02X\xff\xff\xff\xffabc."))
    assert refusal(file(b"\x80\x04\x8d" + b"\xff" * 8 + b"abc."))
    assert "containers" in refusal(file(b"\x80\x02" + b"(" * 200_000 + b"."))
    assert "containers" in refusal(file(b"\x80\x02" + b"]" * 200_000 + b"."))
    # one string of numpy, of 100,000 bytes, copied a thousand times
    size, name = b"S100000", b"B" + struct.pack("<I", 100_000) + b"x" * 100_000
    scalar = b"cnumpy.core.multiarray\nscalar\nq\x00cnumpy\ndtype\nX" + struct.pack("<I", len(size)) + size
    copies = b"\x85Rq\x01" + name + b"q\x02](" + b"h\x00h\x01h\x02\x86R" * 1000 + b"e."
    monkeypatch.setattr(pickled_vocabulary, "_MOST_INSTRUCTIONS", 100_000)
    assert "100,000 pickle instructions" in refusal(file(b"\x80\x03" + scalar + copies))
    monkeypatch.setattr(pickled_vocabulary, "_MOST_INSTRUCTIONS", 1000)
    assert "1,000 pickle instructions" in refusal(file(b"\x80\x02" + b"N" * 2000 + b"."))
    entries = io.BytesIO()
    with zipfile.ZipFile(entries, "w") as archive:
        for i in range(20):
            archive.writestr(str(i), b"")
    monkeypatch.setattr(pickled_vocabulary, "_MOST_ENTRIES", 10)
    assert "more than 10 files" in refusal(file(entries.getvalue()))


SEEDS = [
    saved_vocab(TOKENS, 0, pickled, 2),
    saved_vocab(TOKENS, None, pickled, 4),
    saved_vocab(TOKENS, 3, pickled, 0),
    pickled(hostile(Path("canary"))[1], 2),
    pickled(hostile(Path("canary"))[3], 4),
]


@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=6)), max_size=4),
    container=st.sampled_from([bytes, zipped, lambda content: zipped(content)[:-1]]),
)
@example(seed=SEEDS[0], edits=[], container=bytes)
# A name with a backslash.
@example(seed=SEEDS[0], edits=[(SEEDS[0].index(b"collections"), 0, b"\\")], container=bytes)
@settings(deadline=None, max_examples=examples(80, 1000))
def test_a_mutated_pickle_is_a_vocabulary_or_refused(
    seed: bytes,
    edits: list[tuple[int, int, bytes]],
    container: Callable[[bytes], bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    for index, removed, inserted in edits:
        at = index % len(seed)
        seed = seed[:at] + inserted + seed[at + removed :]
    assert isinstance(_read(container(seed), tmp_path_factory), Vocabulary | DataError)


@given(index=st.integers(0, 5000), inserted=st.binary(min_size=1, max_size=8), removed=st.integers(0, 8))
@settings(deadline=None, max_examples=examples(60, 1000))
def test_a_mutated_archive_is_a_vocabulary_or_refused(
    index: int, inserted: bytes, removed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = zipped(SEEDS[0])
    at = index % len(content)
    assert isinstance(
        _read(content[:at] + inserted + content[at + removed :], tmp_path_factory), Vocabulary | DataError
    )


instruction = st.sampled_from([ord(instruction.code) for instruction in pickletools.opcodes])
fragments = st.one_of(
    instruction.map(lambda code: bytes([code])),
    st.sampled_from(sorted(pickled_vocabulary._KNOWN)).map(
        lambda name: "c{}\n{}\n".format(*name.rsplit(".", 1)).encode()
    ),
    st.sampled_from([b"X\x01\x00\x00\x00a", b"\x8c\x01b", b"K\x00", b"]", b"}", b")", b"(", b"q\x00", b"h\x00"]),
    st.binary(max_size=3),
)


@given(program=st.lists(fragments, max_size=40).map(b"".join))
@settings(deadline=None, max_examples=examples(80, 1000))
def test_any_program_of_pickle_instructions_is_a_vocabulary_or_refused(
    program: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert isinstance(_read(b"\x80\x02" + program + b".", tmp_path_factory), Vocabulary | DataError)


@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode(errors="ignore"))))
@settings(deadline=None, max_examples=examples(8, 1000))
def test_any_file_is_a_vocabulary_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("vocab", "vocab.json", "vocab.pkl"):
        assert isinstance(_read(content, tmp_path_factory, name), Vocabulary | DataError)


def _read(content: bytes, tmp_path_factory: pytest.TempPathFactory, name: str = "vocab") -> Vocabulary | DataError:
    """The vocabulary of a file with this content, or its refusal; nothing in it may have been run."""
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    read: Vocabulary | DataError
    try:
        read = read_vocabulary(path)
    except DataError as error:
        read = error
    assert not Path("canary").exists()
    return read


# The text rules that a vocabulary implies


@pytest.mark.parametrize(
    ("tokens", "default", "unknown", "empty", "padding"),
    [
        (("<unk>", "<pad>", "a"), 0, 0, 0, 1),
        (("<unk>", "<pad>", "a"), None, None, 1, 1),
        (("a", "b"), None, None, 0, 0),
        (("a", "b"), 1, 1, 1, 0),
        (("a", "b"), 2, 2, 2, 0),
    ],
)
def test_the_default_index_decides_what_an_unknown_word_becomes(
    tokens: tuple[str, ...], default: int | None, unknown: int | None, empty: int, padding: int
) -> None:
    rules = make_implied_rules(Vocabulary(tokens, default), tokenizer="whitespace")
    assert (rules.tokenizer, rules.unknown_id, rules.empty_id, rules.padding_id) == (
        "whitespace",
        unknown,
        empty,
        padding,
    )


def test_a_negative_default_index_is_kept_but_gives_no_rules() -> None:
    with pytest.raises(InputError, match=r"\bindex, .*-1"):
        make_implied_rules(read_vocabulary(Vocabulary(("a",), -1)))


def test_a_tokenizer_of_hugging_face_is_named_as_that(tmp_path: Path) -> None:
    document = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"--tokenizer FILE.*tokenizer="):
        read_vocabulary(tmp_path / "tokenizer.json")
