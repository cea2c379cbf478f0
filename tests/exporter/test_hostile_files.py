"""Files that are made to fail: a value of another type anywhere in a JSON file, archives that unpack to what no memory
holds, pickles that ask for it. Each is read, or refused in a sentence before it takes memory."""

from __future__ import annotations

import copy
import io
import json
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from slow_case_sampling import mostly_slow
from tokenizer_families import families
from torch import nn

from pocketrnn.bundle import manifest
from pocketrnn.errors import InputError, PocketRNNError
from pocketrnn.tables import recording_reader
from pocketrnn.text import TextEncoder
from pocketrnn_export.intake.torchscript_saving_and_loading import load_torchscript, save_to_bytes
from pocketrnn_export.json_reading_and_writing import parse_serde_float
from pocketrnn_export.numbers.number_arguments import make_number_rules
from pocketrnn_export.numbers.scaler_file import read_scaler
from pocketrnn_export.safe_pickle_reader import read_checkpoint, read_pickle
from pocketrnn_export.source_code.notebook import read_notebook
from pocketrnn_export.vocabularies.labels import read_labels
from pocketrnn_export.vocabularies.owner_texts_and_answers import (
    convert_example_pairs,
    list_texts_with_ids,
    map_answers_to_labels,
    read_pairs,
)
from pocketrnn_export.vocabularies.subword_tokenizer_files import read_tokenizer
from pocketrnn_export.vocabularies.text_rule_selection import choose_rules
from pocketrnn_export.vocabularies.text_rules_file import read_rules
from pocketrnn_export.vocabularies.tokenizer_json import read_tokenizer_json
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, make_implied_rules, read_vocabulary
from pocketrnn_training.rows.array_files import read_arrays
from pocketrnn_training.rows.sequence_files import read_sequences

VECTORS: Final = Path(__file__).parents[1] / "vectors"
# One of each type of JSON, and what Python takes for another: true for 1, a number beyond a float, half a character.
OTHERS: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1.5, 10**400, "", "x", "\ud800", [], ["Isolated"], [None], [[1, "a"]], {}, {"a": 1},
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = (), most: int = 12) -> Iterator[tuple[Any, ...]]:
    """The paths to all values of a document; of a large container to the first and last ones."""
    yield at
    items: list[tuple[Any, Any]] = list(enumerate(value)) if isinstance(value, list) else []
    if isinstance(value, dict):
        items = list(value.items())
    if len(items) > most:
        items = items[: most // 2] + items[-most // 2 :]
    for name, item in items:
        yield from places(item, (*at, name), most)


def changed_in_one_place(document: Any, most: int = 12) -> Iterator[tuple[tuple[Any, ...], Any, str]]:
    """Each place of a document with each other value there, and the whole as JSON."""
    for at in places(document, most=most):
        for other in OTHERS:
            whole = other
            if at:
                whole = holder = copy.deepcopy(document)
                for name in at[:-1]:
                    holder = holder[name]
                holder[at[-1]] = other
            yield at, other, json.dumps(whole)


def assert_each_read_or_refused(document: Any, read: Callable[[str], object], most: int = 12) -> None:
    """Assert that each changed document is read, or refused in a sentence that can be printed."""
    refused = []
    for at, other, text in changed_in_one_place(document, most):
        try:
            read(text)
        except PocketRNNError as error:
            refused.append((error.exit_status, error.problem))
        except Exception as error:
            raise AssertionError(f"{other!r:.60} at {at}") from error
    assert refused
    assert {status for status, _ in refused} == {2}
    for _, problem in refused:
        assert "\n" not in problem
        assert len(problem.encode()) < 1000


FAMILIES: Final = families()


@pytest.mark.parametrize("name", mostly_slow(sorted(FAMILIES), 28))
def test_a_tokenizer_json_with_another_value_anywhere_is_read_or_refused(name: str) -> None:
    def read(text: str) -> None:
        made = read_tokenizer_json(text, "tokenizer.json")
        TextEncoder(made.rules, made.tokens).encode("Some text, 12 é")

    assert_each_read_or_refused(json.loads(FAMILIES[name].to_str()), read, most=4)


KNOWN: Final = Vocabulary(("<unk>", "<pad>", "<eos>", "oil"), 0)
KERAS: Final = {
    "class_name": "Tokenizer",
    "config": {"num_words": 3, "lower": True, "filters": "!", "oov_token": "a", "word_index": '{"a": 1, "b": 2}'},
}
CELL: Final = {"cell_type": "code", "source": ["x = 1\n", "y = 2"], "execution_count": 1}
STEPS: Final = ["lowercase", "letters", ["a", "b"], "remove_punctuation"]
LABELS: Final = {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
RULES: Final = {"mean": [0.5], "scale": [2.0], "rate": 50, "units": ["g"], "clip": [-1, 1], "window": 10, "hop": 5}


def of_file(read: Callable[[Path], object], name: str) -> Callable[[Path], Callable[[str], object]]:
    """A function that writes a text into a file of that name, and reads it."""

    def in_folder(folder: Path) -> Callable[[str], object]:
        def written(text: str) -> object:
            (folder / name).write_text(text)
            return read(folder / name)

        return written

    return in_folder


def compared_pairs(path: Path) -> None:
    """A file of pairs, read and compared with rules and labels, as an export does."""
    pairs = convert_example_pairs(read_pairs(path))
    map_answers_to_labels(pairs, ("a", "b"))
    choose_rules(KNOWN, None, "whitespace", list_texts_with_ids(pairs), [])


@pytest.mark.parametrize(
    ("document", "reader"),
    [
        pytest.param(["<unk>", "<pad>", "oil"], of_file(read_vocabulary, "v.json"), id="tokens"),
        pytest.param({"<unk>": 0, "oil": 1}, of_file(read_vocabulary, "v.json"), id="ids"),
        pytest.param({"0": "<unk>", "1": "oil"}, of_file(read_vocabulary, "v.json"), id="ids to tokens"),
        pytest.param({"word2idx": {"a": 0}, "idx2word": {"0": "a"}}, of_file(read_vocabulary, "v.json"), id="named"),
        pytest.param([["<unk>", 0], ["oil", 1]], of_file(read_vocabulary, "v.json"), id="pairs of tokens"),
        pytest.param(
            {"default_index": 0, "tokens": ["<unk>", "a"]},
            of_file(lambda path: make_implied_rules(read_vocabulary(path)), "v.json"),
            id="vocabulary",
        ),
        pytest.param(KERAS, of_file(read_vocabulary, "v.json"), id="Keras"),
        pytest.param(["a", "b"], of_file(lambda path: read_labels(str(path)), "l.json"), id="labels"),
        pytest.param(LABELS, of_file(lambda path: read_labels(str(path)), "l.json"), id="config of labels"),
        pytest.param(
            {"tokenizer": "whitespace", "steps": STEPS, "last_id": "<eos>", "max_tokens": 5},
            lambda _: lambda text: read_rules(text, KNOWN) if text[0] == "{" else read_rules(f"{{{text}}}", KNOWN),
            id="rules",
        ),
        pytest.param(
            {"text": "oil", "ids": [3], "tokens": ["oil"], "label": "a", "probabilities": {"a": 0.75, "b": 0.25}},
            of_file(compared_pairs, "pairs.jsonl"),
            id="pairs", marks=pytest.mark.slow),
        pytest.param({"mean": [1, 2], "scale": [1, 2]}, of_file(read_scaler, "s.json"), id="scaler"),
        pytest.param({"cells": [CELL], "metadata": {"kernelspec": {"language": "python"}}},
                     of_file(read_notebook, "n.ipynb"), id="notebook"),
    ],
)  # fmt: skip
def test_a_json_file_with_another_value_anywhere_is_read_or_refused(
    document: Any, reader: Callable[[Path], Callable[[str], object]], tmp_path: Path
) -> None:
    assert_each_read_or_refused(document, reader(tmp_path))


def test_rules_of_numbers_with_another_value_anywhere_are_read_or_refused() -> None:
    def read(text: str) -> object:
        found = json.loads(text)
        return make_number_rules(1, None, found if isinstance(found, dict) else {"mean": found})

    assert_each_read_or_refused(RULES, read)


def test_a_tokenizer_of_several_files_with_another_value_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    def in_folder(name: str) -> Callable[[str], object]:
        folder = tmp_path / name.partition("/")[0]

        def read(text: str) -> object:
            (tmp_path / name).write_text(text)
            return read_tokenizer(folder)

        return read

    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "sep_token": {"content": "[SEP]"}}
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\noil\n##s\n")
    assert_each_read_or_refused(config, in_folder("bert/tokenizer_config.json"))
    (tmp_path / "roberta").mkdir()
    (tmp_path / "roberta" / "merges.txt").write_text("#version: 0.2\no i\n")
    ids = {token: number for number, token in enumerate(("<s>", "<pad>", "</s>", "<unk>", "<mask>", "o", "i", "oi"))}
    (tmp_path / "roberta" / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
    assert_each_read_or_refused(ids, in_folder("roberta/vocab.json"))
    (tmp_path / "roberta" / "vocab.json").write_text(json.dumps(ids))
    assert_each_read_or_refused({"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True},
               in_folder("roberta/tokenizer_config.json"))  # fmt: skip


def test_a_manifest_with_another_value_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    def read(text: str) -> object:
        found = json.loads(text)
        # With the digest that it then has: else this alone would refuse it.
        content = manifest.encode_json_with_digest(found) if isinstance(found, dict) else text.encode()
        (tmp_path / "classifier.json").write_bytes(content)
        return manifest.read_manifest(tmp_path)

    document = json.loads((VECTORS / "words" / "classifier.json").read_bytes())
    del document["digest"]
    assert read(json.dumps(document))
    assert_each_read_or_refused(document, read, most=4)


@pytest.mark.parametrize("digits", ["0e-400", "-0e-400", "1e-99999", "0.0e-999999999999"])
def test_a_score_that_is_nothing_is_zero(digits: str) -> None:
    assert parse_serde_float(digits) == 0.0


# --- Archives ---


def header(shape: object, descr: str = "<f8", version: int = 1, length: int | None = None) -> bytes:
    said = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    size = (len(said) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + said


def archive(path: Path, start: bytes, zeros: int, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A .npz whose array `mean` begins with these bytes, and zeros follow; with a `scale` of three."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("scale.npy", header((3,)) + np.ones(3).tobytes())
        with file.open("mean.npy", "w") as entry:
            entry.write(start)
            for _ in range(zeros >> 20):
                entry.write(bytes(1 << 20))
    return path


BOMBS: Final = {
    "large": (header((8 << 20,)), 64 << 20, "8388608 items, which take 67,108,864 bytes"),
    "longer than it says": (header((3,)), 64 << 20, "more bytes"),
    "shorter than it says": (header((1 << 20,)), 1 << 20, "fewer bytes"),
    "no numbers of no bytes": (header((10**12,), "|V0"), 0, "1000000000000 items"),
    "an axis of none": (header((10**12, 0)), 0, "1000000000000 x 0 items"),
    "below none": (header((-1,)), 0, r"shape in its header is \(-1,\)"),
    "a header of 4 GB": (header((3,), version=2, length=0xFFFFFF00), 64 << 20, "header"),
    "objects": (header((1,), "|O"), 0, "objects"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_archive_that_unpacks_to_more_than_is_read_is_refused_before_it_is_unpacked(
    name: str, tmp_path: Path
) -> None:
    start, zeros, said = BOMBS[name]
    path = archive(tmp_path / "scaler.npz", start, zeros)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=said):
            read_scaler(path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_sizes_in_an_archive_may_lie(tmp_path: Path) -> None:
    path = archive(tmp_path / "scaler.npz", header((8 << 20,)), 64 << 20)
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02", content.find(b"PK\x01\x02") + 1)
    # The size that stands in the directory.
    content[at + 24 : at + 28] = (100).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="mean"):
        read_scaler(path)
    with pytest.raises(InputError, match=r"scale.*numpy"):
        read_scaler(archive(path, header((3,)), 0, zipfile.ZIP_LZMA))


def test_every_reader_of_arrays_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(header((10**12,)))
    with pytest.raises(InputError, match="8,000,000,000,000 bytes"):
        read_arrays(tmp_path / "a.npy", "Give another.", most=1 << 40)
    # A small file unpacks to 1 GiB at most, whatever else is allowed.
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", header((200_000, 1000, 1)))
    (tmp_path / "d.npz").write_bytes(content.getvalue())
    with pytest.raises(InputError, match="1,073,741,824"):
        read_sequences([tmp_path / "d.npz"])


def test_what_numpy_writes_is_read_as_it_is(tmp_path: Path) -> None:
    arrays = {
        "rows": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "strings": np.array(["a", "bcd"]),
        "none": np.zeros((0, 3), np.float32),
        "one": np.array(7),
        "bools": np.array([True, False]),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz", "", most=1 << 20)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert list(read_arrays(tmp_path / "a.npz", "", most=1 << 20, wanted=["one"])) == ["one"]


def test_a_parquet_file_is_read_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"ax": np.zeros(1 << 20)}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 16
    assert len(recording_reader.read_columns(str(tmp_path / "a.parquet"), "parquet", ["ax"])["ax"]) == 1 << 20
    monkeypatch.setattr(recording_reader, "_LARGEST", 1 << 20)
    with pytest.raises(InputError, match="1,048,576 bytes"):
        recording_reader.read_columns(str(tmp_path / "a.parquet"), "parquet", ["ax"])


def test_a_torchscript_file_may_not_say_that_a_few_numbers_are_many(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    module.register_buffer("large", torch.zeros(1).expand(10**10))
    (tmp_path / "m.pt").write_bytes(save_to_bytes(torch.jit.script(module)))
    with pytest.raises(InputError, match=r"large.* 40,000,000,000 bytes"):
        load_torchscript(tmp_path / "m.pt")
    module.register_buffer("large", torch.zeros(1).expand(1000))
    (tmp_path / "m.pt").write_bytes(save_to_bytes(torch.jit.script(module)))
    load_torchscript(tmp_path / "m.pt")


# --- Pickles ---

NESTED: Final = b"\x80\x02K\x01" + b"\x86".join([b"q\x00h\x00"] * 40) + b"\x86."


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02Nr\xff\xff\xff\x7f.", id="a place of 2 billion"),
        pytest.param(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"a.", id="bytes of a terabyte"),
        pytest.param(b"\x80\x02}(X\x04\x00\x00\x00mean" + NESTED[2:-1] + b"u.", id="a list in itself, 40 deep"),
        pytest.param(b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RK\x01\x85b.", id="a type of a size"),
        pytest.param(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01J\xff\xff\xff\x7f\x85"
                     b"cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R\x89]tb.", id="objects beyond a list"),
    ],
)  # fmt: skip
def test_a_pickle_that_asks_for_memory_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "scaler.pkl").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            read_scaler(tmp_path / "scaler.pkl")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_nothing_of_a_pickle_changes_what_reads_it(tmp_path: Path) -> None:
    """Attributes that a pickle gives to a class or a function, and calls of what is no class."""
    for content in (b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.", b"\x80\x02K\x01)R.", b"\x80\x02]}b."):
        with pytest.raises(Exception, match=r"object|class"):
            read_pickle(content, ["StandardScaler"])


def test_a_part_that_a_pickle_names_often_is_unwrapped_once() -> None:
    held: Any = {"labels": ["no", "yes"]}
    for _ in range(4):
        held = dict.fromkeys(map(str, range(30)), held)
    read = read_checkpoint(pickle.dumps(held))
    assert read["0"] is read["29"]
