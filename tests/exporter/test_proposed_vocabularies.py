"""The vocabulary that `export` proposes fits the embedding of the weights; one that failed is not proposed again."""

from __future__ import annotations

import csv
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from pocketrnn import Classifier
from pocketrnn.commands.cli import main
from pocketrnn.errors import DataError
from pocketrnn_export import export
from pocketrnn_export.commands.proposed_options import propose_vocabulary
from pocketrnn_export.intake.missing_constructor_arguments import MissingArgumentsError
from pocketrnn_export.intake.module_file import set_values_of_vocabulary_and_weights
from pocketrnn_export.intake.module_name_with_arguments import parse_module_name
from pocketrnn_export.source_code.code_and_data_files_near_module import list_data_files_named_in_code
from pocketrnn_export.source_code.text_settings_in_code import find_code_that_limits_ids_to_embedding
from pocketrnn_export.vocabularies.ids_or_counts import IdEvidence
from pocketrnn_export.vocabularies.owner_function_call import (
    find_how_to_call_owner_function,
    list_left_out_words_whose_ids_have_rows,
)
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

pytestmark = pytest.mark.usefixtures("scant_proofs")
ROWS = 30
NET = """
import pickle
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.embedding(x).mean(1))
"""
COUNTS = """
def build_vocab(texts):
    return {word: i for i, word in enumerate(texts)}

if __name__ == "__main__":
    with open("words.pkl", "rb") as file:
        texts = pickle.load(file)["texts"]
    vocab = build_vocab(texts)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of 30 words, and a file that it names with 40."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET + COUNTS)
    sizes = {"embedding.weight": (ROWS, 4), "fc.weight": (2, 4), "fc.bias": (2,)}
    torch.save({name: torch.rand(size) for name, size in sizes.items()}, "net.pt")
    held = {"word2idx": {f"w{i}": i for i in range(40)}, "texts": [f"w{i}" for i in range(ROWS)]}
    Path("words.pkl").write_bytes(pickle.dumps(held))
    return tmp_path


def write_words(file: str, count: int) -> None:
    Path(file).write_text(json.dumps([f"w{i}" for i in range(count)]))


@pytest.mark.parametrize(
    ("sizes", "proposed", "note"),
    [
        ({"a.json": ROWS + 1}, "", ""),
        ({"a.json": ROWS - 1}, "a.json", "29 words, but the embedding has 30 rows"),
        ({"a.json": ROWS + 1, "b.json": ROWS, "c.json": ROWS - 1}, "b.json", ""),
        ({"char.json": ROWS, "word.json": ROWS}, "word.json", ""),
        ({"a.json": ROWS - 1, "b.json": ROWS - 2}, "", ""),
    ],
)
def test_a_vocabulary_with_as_many_words_as_the_embedding_has_rows_is_proposed(
    folder: Path, sizes: dict[str, int], proposed: str, note: str
) -> None:
    for file, count in sizes.items():
        write_words(file, count)
    Path("net.py").write_text(f"files = {[*sizes]}\n")
    found = propose_vocabulary(Path("net.py"), Path("net.pt"))
    assert ("" if found is None else found.path.name) == proposed
    assert found is None or (note in found.note and bool(note) == bool(found.note))


def test_the_embedding_may_have_any_name(folder: Path) -> None:
    write_words("a.json", 90)
    Path("net.py").write_text('open("a.json")\n')
    torch.save({"pos_emb.weight": torch.zeros(8, 4), "table.weight": torch.zeros(90, 4),
                "fc.weight": torch.zeros(2, 4), "fc.bias": torch.zeros(2)}, "net.pt")  # fmt: skip
    found = propose_vocabulary(Path("net.py"), Path("net.pt"))
    assert found is not None
    assert not found.note


@pytest.mark.slow
def test_after_a_vocabulary_that_is_too_large_the_code_that_counts_one_is_written(folder: Path) -> None:
    given = ["export", "net.py:Net", "-o", "out", "--weights", "net.pt", "--labels", "a,b"]
    for arguments in (given, [*given, "--vocabulary", "words.pkl"]):
        said = CliRunner().invoke(main, arguments).stderr
        assert "python out_vocabulary.py" in said
        assert "Write: pocketrnn export net.py:Net" in said
        assert "--vocabulary words.pkl" not in said.partition("Write: ")[2]
        assert "import-vocab" not in said
    # Where the code takes no ids without a row, it says so.
    Path("use.py").write_text("ids = [i if i < 30 else 1 for i in ids]\n")
    said = CliRunner().invoke(main, [*given, "--vocabulary", "words.pkl"]).stderr
    assert "use.py, line 1" in said
    assert "import-vocab words.pkl --rows 30 -o out-vocabulary.json" in said
    assert "--vocabulary out-vocabulary.json" in said.partition("Write: ")[2]


@pytest.mark.parametrize(
    ("code", "is_limit"),
    [
        ("ids = [i if i < 30 else 1 for i in ids]", True),
        ("SIZE = 30\nids = [i for i in ids if i < SIZE]", True),
        ("ids.clamp(max=29)", True),
        ("imdb.load_data(num_words=30)", True),
        ("while len(vocab) < 30:\n    add(vocab)", False),
        ("if epoch > 20: stop()", False),
        ("net = Net(vocab_size=30)", False),
    ],
)
def test_code_that_takes_no_ids_without_a_row_is_found(folder: Path, code: str, *, is_limit: bool) -> None:
    Path("net.py").write_text(code)
    assert bool(find_code_that_limits_ids_to_embedding(Path("net.py"), ROWS)) == is_limit


WORDS = {f"w{i}": i for i in range(ROWS)}


def write_table(file: str) -> None:
    with Path(file).open("w", newline="") as table:
        csv.writer(table).writerows([("word", "count", "id"), *((word, 3, i) for word, i in WORDS.items())])


def write_vectors(file: str) -> None:
    lines = [f"{word} {' '.join(f'{i + j}.5' for j in range(5))}" for word, i in WORDS.items()]
    Path(file).write_text("\n".join([f"{ROWS} 5", *lines, ""]))


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("vocab.csv", write_table),
        ("list.npy", lambda file: np.save(file, np.array([*WORDS]))),
        ("dict.npy", lambda file: np.save(file, np.array(WORDS, dtype=object), allow_pickle=True)),
        ("words.txt", write_vectors),
        ("inner.pt", lambda file: torch.save({"meta": {"text": {"tok2i": WORDS}, "sizes": {"a": 0, "b": 1}}}, file)),
        # No code names it.
        ("words.lst", lambda file: Path(file).write_text("\n".join(WORDS))),
    ],
)
def test_vocabularies_of_further_kinds_are_read_and_proposed(
    file: str, write: Callable[[str], object], folder: Path
) -> None:
    Path("words.pkl").unlink()
    torch.save({"embedding.weight": torch.rand(ROWS, 5), "fc.weight": torch.zeros(2, 5), "fc.bias": torch.zeros(2)},
               "net.pt")  # fmt: skip
    write(file)
    Path("net.py").write_text("" if file.endswith(".lst") else f"open({file!r})\n")
    found = propose_vocabulary(Path("net.py"), Path("net.pt"))
    assert found is not None
    assert str(found.path) == file
    if file != "words.txt":
        assert read_vocabulary(file).tokens == (*WORDS,)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("with open('words.txt') as file:\n    words = file.read().split()\n"
         "vocab = {w: i + 2 for i, w in enumerate(words)}\n", "out_vocabulary.json"),
        ("def predict(text, folder):\n    vocab = {}\n    for word in ('<pad>', '<unk>'):\n"
         "        vocab[word] = len(vocab)\n    for line in open(folder + '/words.txt'):\n"
         "        vocab[line.strip()] = len(vocab)\n    return [vocab.get(w, 1) for w in text.split()]\n",
         "vocab.json"),
    ],
)  # fmt: skip
def test_a_file_without_the_words_that_code_adds_is_neither_proposed_nor_taken(
    code: str, value: str, folder: Path
) -> None:
    Path("words.txt").write_text("".join(f"w{i}\n" for i in range(ROWS - 2)))
    Path("net.py").write_text(NET + code)
    given = ["export", "net.py:Net", "--labels", "a,b", "--weights", "net.pt", "-o", "out"]
    for more in ([], ["--vocabulary", "words.txt"]):
        refused = CliRunner().invoke(main, [*given, *more])
        assert f"--vocabulary {value}" in refused.stderr.partition("Write: ")[2], refused.stderr


@pytest.mark.parametrize("content", [b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00{", b"a,id\nx,1\n" * 20])
def test_a_damaged_array_or_a_table_without_ids_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"words\.csv"):
        read_vocabulary(tmp_path / "words.csv")


def test_files_in_commands_are_found_those_of_a_command_that_answers_first(folder: Path) -> None:
    for name in ("a.pt", "b.pt", "c.pt"):
        Path(name).touch()
    Path("net.py").write_text('save("a.pt")\n')
    Path("README.md").write_text("It writes c.pt in the end.\n\n    python predict.py --model b.pt text\n")
    assert list_data_files_named_in_code(Path("net.py"), "pt") == {
        Path("b.pt"): "README.md, line 3", Path("a.pt"): "net.py, line 1",
    }  # fmt: skip


# Numbers that fall with wide gaps, as counts do, and ids of which some have no row.
UNCLEAR = {f"w{i}": 20 - 2 * i for i in range(9)}
BEYOND = {f"w{i}": i + (i > 4) + 3 * (i > 20) for i in range(ROWS)}
EXPORT = ["export", "net.py:Net", "-o", "out", "--labels", "a,b"]


def write_and_export(ids: dict[str, int], *options: str) -> str:
    Path("ids.json").write_text(json.dumps(ids))
    return CliRunner().invoke(main, [*EXPORT, "--vocabulary", "ids.json", *options]).stderr


def test_numbers_that_may_be_counts_are_refused_with_the_command_that_takes_them_for_ids(folder: Path) -> None:
    Path("net.py").write_text(NET)
    said = write_and_export(UNCLEAR | {"a": 3, "b": 0}, "--weights", "net.pt")
    assert "--vocabulary out-vocabulary.json" in said.partition("Write: ")[2]
    line = re.search(r"run pocketrnn (import-vocab ids.json --rows 30 -o out-vocabulary.json)\. ", said)
    assert line is not None
    assert CliRunner().invoke(main, line[1].split()).exit_code == 0
    tokens = read_vocabulary(Path("out-vocabulary.json")).tokens
    assert [tokens.index(one) for one in ("w0", "w8", "a", "b")] == [20, 4, 3, 0]


def test_the_weights_that_the_code_names_decide_whether_numbers_are_ids(folder: Path) -> None:
    Path("net.py").write_text(NET + 'weights = "net.pt"\n')
    said = write_and_export({"a": 29, "b": 11, "c": 0})
    assert "their rows show that these are ids" in said
    assert "--weights net.pt" in said.partition("Write: ")[2]
    assert "import-vocab" not in said


def test_an_id_of_two_words_is_refused_before_the_module_is_made_and_without_a_script(folder: Path) -> None:
    said = write_and_export({"a": 0, "b": 1, "c": 1}, "--weights", "net.pt")
    assert "to 'b' and to 'c'" in said
    assert "Loading" not in said
    assert "out_vocabulary.py" not in said


def test_a_vocabulary_with_words_without_a_row_is_proposed_with_their_number(folder: Path) -> None:
    Path("ids.json").write_text(json.dumps(BEYOND))
    Path("net.py").write_text(NET + 'json.load(open("ids.json"))\n')
    found = propose_vocabulary(Path("net.py"), Path("net.pt"))
    assert found is not None
    assert "no row of its own for 4 of" in found.note
    # One with as many words as rows is preferred.
    write_words("words.json", ROWS)
    Path("net.py").write_text(NET + 'json.load(open("ids.json"))\njson.load(open("words.json"))\n')
    found = propose_vocabulary(Path("net.py"), Path("net.pt"))
    assert found is not None
    assert found.path.name == "words.json"


def test_a_vocabulary_whose_numbers_may_be_counts_is_proposed_where_nothing_else_is_found(folder: Path) -> None:
    Path("ids.json").write_text(json.dumps({f"w{i}": 29 - i - i // 3 for i in range(21)} | {"z": 0}))
    Path("net.py").write_text(NET + 'vocab = json.load(open("ids.json"))\n')
    weights = {"embedding.weight": (90, 4), "fc.weight": (2, 4), "fc.bias": (2,)}
    torch.save({name: torch.rand(size) for name, size in weights.items()}, "net.pt")
    said = CliRunner().invoke(main, [*EXPORT, "--weights", "net.pt"]).stderr
    assert "ids.json (net.py, line 14), if its numbers are ids" in said
    assert "--vocabulary ids.json" in said.partition("Write: ")[2]


def test_the_words_of_an_owners_module_include_those_without_a_row(folder: Path) -> None:
    Path("net.py").write_text(NET.replace("vocab_size)", "vocab)").replace("vocab_size,", "len(vocab),"))
    words = read_vocabulary(BEYOND, IdEvidence(lambda: ROWS))
    error = MissingArgumentsError("", "", vocabularies=["vocab"])
    named = parse_module_name("net.py:Net")
    assert named is not None
    given = set_values_of_vocabulary_and_weights(named, error, words.tokens, words.left_out).kwargs
    assert given is not None
    assert given["vocab"].value == BEYOND == words.word_ids  # type: ignore[attr-defined]


@pytest.mark.parametrize(("largest", "listed"), [(99, 0), (29, 4), (1, 4)])
def test_left_out_words_are_compared_where_the_owners_function_gives_them_ids_with_rows(
    largest: int, listed: int
) -> None:
    words = read_vocabulary(BEYOND, IdEvidence(lambda: ROWS))
    function = find_how_to_call_owner_function(lambda text: [min(BEYOND[one], largest) for one in text.split()], words)
    assert len(list_left_out_words_whose_ids_have_rows(function, words)) == listed


def test_the_modules_own_rows_leave_words_out_in_python(folder: Path) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.fc = torch.nn.Embedding(ROWS, 4), torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.embedding(x).mean(1))  # type: ignore[no-any-return]

    export(Net(), "out", vocabulary=BEYOND, labels=["a", "b"], torchscript=False)
    assert len(Classifier.load("out").manifest.text.vocabulary) == ROWS


def test_a_module_that_loads_its_own_weights_shows_the_rows(folder: Path) -> None:
    Path("net.py").write_text(
        f"{NET}\ndef load():\n    net = Net({ROWS})\n    net.load_state_dict(torch.load('net.pt'))\n    return net\n"
    )
    Path("ids.json").write_text(json.dumps(BEYOND))
    given = ["export", "net.py:load", "-o", "out", "--labels", "a,b", "--vocabulary", "ids.json"]
    said = CliRunner().invoke(main, given).stderr
    assert "import-vocab ids.json --rows 30 -o out-vocabulary.json" in said
    assert "--vocabulary out-vocabulary.json" in said.partition("Write: ")[2]


@pytest.mark.parametrize("mark", ["requirements.txt", "pyproject.toml", ".git", ""])
def test_files_at_the_top_of_the_project_are_found_from_a_folder_in_it(
    mark: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("src", "data"):
        Path(name).mkdir()
    code = "import json\n\nWORDS = json.load(open('words.json'))\nLABELS = json.load(open('labels.json'))\n"
    Path("src/net.py").write_text(f"{NET}WEIGHTS = 'weights.pt'\n")
    Path("net.py").unlink()
    Path("train.py").write_text(f"from src.net import Net\n{code}")
    write_words("data/words.json", ROWS)
    Path("labels.json").write_text(json.dumps(["bad", "good"]))
    Path("net.pt").rename("weights.pt")
    Path("answers.csv").write_text("text,label\nw1 w2,good\n")
    if mark:
        Path(mark).touch()
    monkeypatch.chdir("src")
    refused = CliRunner().invoke(main, ["export", "net.py"])
    line = refused.stderr.partition("Write: ")[2]
    for option in ("--weights ../weights.pt", "--vocabulary ../data/words.json", "--labels ../labels.json",
                   "--pairs ../answers.csv"):  # fmt: skip
        assert (option in line) == bool(mark), refused.stderr
