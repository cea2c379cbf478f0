"""`pocketrnn import-vocab` says what a vocabulary file holds, and writes it in one form."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pocketrnn.errors import DataError, OutputError, PocketRNNError
from pocketrnn_export.commands.import_vocab import import_vocab
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, read_vocabulary

TOKENS = ["<unk>", "<pad>", *(f"word {i}" for i in range(1998))]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(import_vocab, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit | PocketRNNError):
        raise result.exception
    return result


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n")
    return path


@pytest.mark.parametrize("to", [(), ("-o", "-")])
def test_without_an_output_the_vocabulary_is_described_and_nothing_written(source: Path, to: tuple[str, ...]) -> None:
    result = run(source, *to)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{source}: 2,000 tokens",
        "First: '<unk>', '<pad>', 'word 0', 'word 1', 'word 2', 'word 3', 'word 4', 'word 5', 'word 6', 'word 7', ...",
        "Unknown words become '<unk>': the default index is 0.",
    ]
    assert [entry.name for entry in source.parent.iterdir()] == ["vocab.txt"]


def test_the_output_reads_back_equal_and_is_plain_to_read(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "vocab.json"
    result = run(source, "-o", output)
    assert result.exit_code == 0
    assert f"Wrote {output}." in result.output
    assert read_vocabulary(output) == read_vocabulary(source) == Vocabulary(tuple(TOKENS), 0)
    assert json.loads(output.read_text()) == {"default_index": 0, "tokens": TOKENS}
    assert output.read_text().splitlines()[:4] == ["{", ' "default_index": 0,', ' "tokens": [', '  "<unk>",']
    umask = os.umask(0)
    os.umask(umask)
    assert output.stat().st_mode & 0o777 == 0o666 & ~umask
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["vocab.json", "vocab.txt"]


@pytest.mark.parametrize(
    ("default", "says"),
    [
        (None, "Unknown words are dropped: there is no default index."),
        (1, "Unknown words become 'b': the default index is 1."),
        (2, "Unknown words get the default index 2, but no token has this id."),
        (-1, "Unknown words get the default index -1, but no token has this id."),
    ],
)
def test_the_default_index_is_told_and_kept(tmp_path: Path, default: int | None, says: str) -> None:
    source, output = tmp_path / "in.json", tmp_path / "out.json"
    source.write_text(json.dumps({"tokens": ["a", "b"], "default_index": default}))
    result = run(source, "-o", output)
    assert result.output.splitlines()[1:] == ["First: 'a', 'b'", says, f"Wrote {output}."]
    assert read_vocabulary(output) == Vocabulary(("a", "b"), default)


def test_a_file_is_replaced_only_with_force(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "vocab.json"
    output.write_text("mine")
    result = run(source, "-o", output)
    assert isinstance(result.exception, OutputError)
    assert "--force" in result.exception.remedy
    assert result.exception.exit_status == 2
    assert output.read_text() == "mine"
    assert run(source, "-o", output, "--force").exit_code == 0
    assert read_vocabulary(output).tokens == tuple(TOKENS)


def test_a_refused_vocabulary_writes_nothing(tmp_path: Path) -> None:
    source, output = tmp_path / "evil.pkl", tmp_path / "vocab.json"
    source.write_bytes(pickle.dumps([print]))
    result = run(source, "-o", output)
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_status == 2
    assert not output.exists()
    assert isinstance(run(tmp_path / "missing").exception, DataError)


def test_tokens_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    source = tmp_path / "vocab.json"
    source.write_text(json.dumps(["\x1b[31mred", "x" * 1000, "\ud800", "猫"]))
    assert run(source).output.isascii()
    assert "\x1b" not in run(source).output
    assert len(run(source).output) < 500


def test_wrong_usage_is_exit_status_2(tmp_path: Path) -> None:
    assert run().exit_code == 2
    assert run(tmp_path, "--unknown").exit_code == 2
    assert "Examples" in run("--help").output


def test_a_link_or_a_device_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("<unk>\noil\n", encoding="utf-8")
    (tmp_path / "kept").write_text("kept", encoding="utf-8")
    (tmp_path / "link.json").symlink_to(tmp_path / "kept")
    result = CliRunner().invoke(import_vocab, [str(tmp_path / "v.txt"), "-o", str(tmp_path / "link.json"), "--force"])
    assert result.exit_code != 0
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "kept").read_text(encoding="utf-8") == "kept"
