"""The lines of a vocabulary file that strip() or splitlines() changes become the words that the owner's code reads."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pocketrnn.errors import DataError
from pocketrnn_export.source_code.vocabulary_lines_in_code import read_vocabulary_lines_as_owners_code_does
from pocketrnn_export.vocabularies.vocabulary import read_vocabulary

LINES = ("<unk>", "a", "\u2028", "b ", "new york")
STRIPPED = ("<unk>", "a", "", "b", "new york")
LOADER = "def load_vocab(path):\n    with open(path) as f:\n        return {one: i for i, one in enumerate(f)}\n"


def read(code: str, lines: tuple[str, ...] = LINES, rows: int = 0, *, is_compared: bool = True) -> tuple[str, ...]:
    Path("net.py").write_text(code)
    Path("vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = read_vocabulary("vocab.txt")
    return read_vocabulary_lines_as_owners_code_does(
        found, Path("vocab.txt"), Path("net.py"), rows, is_compared=is_compared
    ).tokens


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("one.strip()", STRIPPED),
        (r"one.rstrip('\n')", LINES),
        ("one.split()[0] if one else 0", None),
        ("one[:-1]", LINES),
        ("one.rstrip().lower()", STRIPPED),
    ],
)
def test_the_code_that_opens_the_file_shows_its_words(line: str, words: tuple[str, ...] | None) -> None:
    assert read(LOADER.replace("one: i", f"{line}: i")) == (words or LINES)


def test_code_that_names_the_file_comes_before_code_of_another_vocabulary() -> None:
    other = (
        "def read_rows(path):\n    return [one.strip() for one in open(path)]\n\nwords = read_rows('data/vocab.txt')\n"
    )
    assert read(LOADER + other) == STRIPPED
    assert read("words = [one.strip() for one in open('vocab.txt', encoding='utf-8')]\n") == STRIPPED
    # Neither a file that is written nor one of stop words.
    assert (
        read("open('vocab.txt', 'w').write(' '.strip())\nstop = [one.strip() for one in open('stop.txt')]\n") == LINES
    )


@pytest.mark.parametrize("opened", ["open(path).read().splitlines()", "codecs.open(path, 'r', 'utf-8')"])
def test_code_that_splits_lines_elsewhere_moves_the_ids(opened: str) -> None:
    code = f"def load_vocab(path):\n    return [one for one in {opened}]\n"
    assert read(code, ("<unk>", "a\x85b", "c")) == ("<unk>", "a", "b", "c")
    with pytest.raises(DataError, match=r"line 1 .*''.*--vocabulary vocab\.json"):
        read(code)


@pytest.mark.parametrize("make", [LOADER.replace("one: i", "one.strip(): i")])
def test_two_lines_that_code_reads_as_one_word_are_refused(make: str) -> None:
    with pytest.raises(DataError, match=r"'a'.*vocab\.json"):
        read(make, ("<unk>", "a", "a ", "b"))


def test_without_code_the_lines_are_named_and_ids_that_may_move_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert read("", rows=len(LINES), is_compared=False) == LINES
        assert read("", rows=9, is_compared=True) == LINES
    assert all("3 ('\\u2028'), 4 ('b ')" in one.getMessage() for one in caplog.records)
    assert len(caplog.records) == 2
    for rows in (0, 9):
        with pytest.raises(DataError, match="splitlines"):
            read("", rows=rows, is_compared=False)
    # Two spaces in a word change with none of the ways.
    caplog.clear()
    assert read("", ("<unk>", "a  b"), is_compared=False) == ("<unk>", "a  b")
    assert not caplog.records
