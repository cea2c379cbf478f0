"""Word vectors in GloVe's format."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pocketrnn.errors import DataError
from pocketrnn_training.texts.word_vectors import read_vectors, write_table

VOCABULARY = ("<unk>", "<pad>", "the", "cat", "zebra")
PLAIN = "the 0.1 -0.2 3e-1\nof 1 2 3\ncat 4 5 6\n"


def write(folder: Path, content: str | bytes, name: str = "vectors.txt") -> Path:
    raw = content if isinstance(content, bytes) else content.encode()
    path = folder / name
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_vectors(path, VOCABULARY)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.txt", PLAIN),
        ("v.gz", PLAIN),
        ("v.vec", "3 3\n" + PLAIN),
        ("v.vec", PLAIN.replace("\n", " \n")),
        ("v.txt", PLAIN.replace("\n", "\r\n")),
        ("v.txt", PLAIN.removesuffix("\n")),
        ("v.txt", PLAIN + "cat 9 9 9\n"),
        ("v.txt", PLAIN + "at name@example.com 9 9 9\n. . . 9 9 9\na\u2028b 1 1 1\nc\rd 1 1 1\n"),
    ],
)
def test_the_words_of_the_vocabulary_are_found(tmp_path: Path, name: str, content: str) -> None:
    vectors = read_vectors(write(tmp_path, content, name), VOCABULARY)
    assert vectors.ids.tolist() == [2, 3]
    np.testing.assert_array_equal(vectors.values, np.array([[0.1, -0.2, 0.3], [4, 5, 6]], dtype=np.float32))
    assert vectors.values.dtype == np.float32
    assert vectors.scale == pytest.approx(np.sqrt(np.mean(np.square([0.1, -0.2, 0.3, 4, 5, 6]))))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("the 1 2 3\nof 1 2\n", "Line 2 .* 2 numbers .*, but .* 3"),
        ("the 1 2 3\nof 1 2 3 4\n", "Line 2 .* 4 numbers .*, but .* 3"),
        ("the 1 2 3\n\ncat 1 2 3\n", "Line 2"),
        ("the\n", "Line 1 .*one or more"),
        ("of 1 2 3\nthe 1 two 3\n", "Line 2 .* not a number"),
        ("the 1 nan 3\n", "Line 1 .* not a number"),
        ("the 1 inf 3\n", "Line 1 .* not a number"),
        ("the 1 1e39 3\n", "Line 1 .* not a number"),
        ("of 1 2 3\n", "no vector for"),
        ("", "no vector for"),
        ("3 3\n", "no vector for"),
    ],
)
def test_bad_lines_are_refused_by_number(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_vectors(write(tmp_path, content), VOCABULARY)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.txt")
    assert "does not exist" in refusal(tmp_path / "none.gz")
    assert "not a regular file" in refusal(tmp_path)
    assert "not UTF-8" in refusal(write(tmp_path, b"the 1 2 3\ncaf\xe9 1 2 3\n"))
    whole = gzip.compress((PLAIN * 2000).encode())
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refusal(tmp_path / "cut.gz")
    (tmp_path / "plain.gz").write_text(PLAIN)
    assert "cannot be read" in refusal(tmp_path / "plain.gz")


def test_a_table_is_read_as_a_file_is_and_each_number_is_near(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((4, 8)) * [[1], [30], [0.01], [0]]
    write_table(tmp_path / "t.npz", ["the", "of", "cat", "b\u2028c"], values)
    found = read_vectors(tmp_path / "t.npz", VOCABULARY, 2)
    assert found.ids.tolist() == [2, 5, 3, 6]
    assert found.added == ("of", "b\u2028c")
    steps = np.abs(values).max(axis=1, keepdims=True) / 127
    assert (np.abs(found.values - values) <= steps / 2 + 1e-6).all()
    assert found.make_token_vectors(7)[[0, 1, 4]].tolist() == [[0.0] * 8] * 3
    np.testing.assert_array_equal(found.make_token_vectors(7)[3], found.values[2])
    assert read_vectors(tmp_path / "t.npz", (), 2).added == ("the", "of")


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    write_table(path, ["the", "of"], np.ones((2, 3)))
    with pytest.raises(DataError, match="no vector for"):
        read_vectors(path, ("<unk>", "<pad>", "zebra"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "t.npz cannot be read" in refusal(path)
    np.savez(path, words=np.frombuffer(b"the", np.uint8), numbers=np.ones((2, 3), np.int8), scales=np.ones((2, 1)))
    assert "1 words, but 2 vectors" in refusal(path)
    np.savez(path, numbers=np.ones((2, 3)))
    assert "t.npz cannot be read" in refusal(path)
