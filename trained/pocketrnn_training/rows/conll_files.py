"""Files of sentences with a word and its label in each line: CoNLL's columns, and CoNLL-U of Universal Dependencies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.errors import DataError, shown
from pocketrnn.tables.checks import listed
from pocketrnn.tables.encodings import UTF8, check_encoding
from pocketrnn_training.rows.column_files import text_lines
from pocketrnn_training.rows.tagged_sentences import TaggedSentences

__all__ = ["read_tagged"]

# The ending of files in CoNLL-U, and how many columns they have.
_CONLLU: Final = ".conllu"
_COLUMNS_OF_CONLLU: Final = 10
# The number of a word; of words that are written as one; and of one that is not written.
_NUMBER: Final = re.compile(r"([1-9][0-9]*)")
_NO_WORD: Final = re.compile(r"[0-9]+(-[0-9]+|\.[0-9]+)")
# Stands between documents, in the form of a word.
_DOCUMENT: Final = "-DOCSTART-"
_ONE_A_LINE: Final = "Write a word and its label in each line, and an empty line behind each sentence."


def read_tagged(
    paths: tuple[Path, ...], labels: tuple[str, ...] | None = None, *, encoding: str = UTF8
) -> TaggedSentences:
    """Read files of sentences with a label for each word.

    A file that ends in `.conllu` has the ten columns of CoNLL-U, of which FORM is the word and UPOS the label. Lines
    of words that are written as one (`3-4`) and of words that are not written (`5.1`) are passed over. In all other
    files the first column is the word and the last one the label, with tabs or else spaces between columns, and as many
    columns in each line. Empty lines end sentences; lines with `#` before a sentence are comments.

    Args:
        paths: the files.
        labels: the labels and their order; without it, those that occur, sorted.
        encoding: of the files, by a name of Python's.

    Raises:
        DataError: a file is missing, empty, or in another encoding; a line is no word with a label; a label is not one
            of `labels`; without `labels`, there is one only.

    Example:
        >>> read_tagged((Path("people.conll"),)).labels
        ('B-LOC', 'B-PER', 'I-LOC', 'O')
    """
    sentences: list[tuple[str, ...]] = []
    given: list[str] = []
    known = None if labels is None else frozenset(labels)
    for path in paths:
        before = len(sentences)
        for sentence in _sentences(path, check_encoding(encoding)):
            sentences.append(tuple(word.text for word in sentence))
            for word in sentence:
                if known is not None and word.label not in known:
                    raise DataError(
                        f"{path}:{word.line} has the label {shown(word.label, 40)}, which is not one of "
                        f"{listed(labels or ())}.",
                        "Use sentences with the labels that the classifier was trained with.",
                    )
                given.append(word.label)
        if len(sentences) == before:
            raise DataError(f"{path} holds no sentence.", _ONE_A_LINE)
    found = tuple(sorted(set(given))) if labels is None else labels
    source = ", ".join(path.name for path in paths)
    if len(found) < 2:
        raise DataError(
            f"All words of {source} have the label {shown(found[0], 40)}.", "Give words with two labels or more."
        )
    index = {label: target for target, label in enumerate(found)}
    return TaggedSentences(sentences, np.array([index[label] for label in given], np.int64), found, source)


@dataclass(frozen=True, slots=True)
class _Word:
    """A word, its label, and the line in which they stand."""

    text: str
    label: str
    line: int


def _sentences(path: Path, encoding: str) -> Iterator[list[_Word]]:
    """The sentences of a file, each with one word at least."""
    of_file = _OfConllu(path) if path.suffix.lower() == _CONLLU else _OfColumns(path)
    sentence: list[_Word] = []
    before = 0
    for number, line in text_lines(path, encoding):
        # Empty lines are not given: the numbers tell of them.
        if number > before + 1:
            if sentence:
                yield sentence
            sentence = []
        before = number
        word = of_file.word(line.rstrip("\r\n"), number, len(sentence))
        if word is not None:
            if not word.text.strip() or not word.label.strip():
                what = "word" if not word.text.strip() else "label"
                raise DataError(f"{path}:{number} has an empty {what}.", _ONE_A_LINE)
            sentence.append(word)
    if sentence:
        yield sentence


@dataclass
class _OfConllu:
    """The lines of a file in CoNLL-U."""

    path: Path

    def word(self, line: str, number: int, before: int) -> _Word | None:
        """The word of a line; None for a comment, or a line of no word.

        Args:
            line: without its end.
            number: its number, from 1.
            before: how many words of the sentence stand before it.
        """
        if line.startswith("#"):
            return None
        columns = line.split("\t")
        if len(columns) != _COLUMNS_OF_CONLLU:
            raise DataError(
                f"{self.path}:{number} has {len(columns)} columns between tabs, and CoNLL-U has {_COLUMNS_OF_CONLLU}.",
                "Correct the line; if the file has a word first and its label last, name it without the ending "
                f"{_CONLLU}.",
            )
        if _NO_WORD.fullmatch(columns[0]):
            return None
        if not _NUMBER.fullmatch(columns[0]) or int(columns[0]) != before + 1:
            raise DataError(
                f"{self.path}:{number} begins with {shown(columns[0], 40)}, and the word is number {before + 1} of its "
                "sentence.",
                "Number the words of each sentence from 1, and write an empty line behind each.",
            )
        if columns[3] == "_":
            raise DataError(
                f"{self.path}:{number} has no label: UPOS, its fourth column, is _.", "Give words with a label each."
            )
        return _Word(columns[1], columns[3], number)


@dataclass
class _OfColumns:
    """The lines of a file of columns; the first word says how many there are, and what stands between them."""

    path: Path
    tabs: bool = False
    columns: int = field(default=0)
    first: int = field(default=0)

    def word(self, line: str, number: int, before: int) -> _Word | None:
        """As that of `_OfConllu`."""
        tabs = self.tabs if self.columns else "\t" in line
        # Not at other white space: a word may hold it.
        parts = line.split("\t") if tabs else [part for part in re.split("[ \t]+", line) if part]
        # A comment has other columns than the words; before the first word, where these are not known, a space.
        is_comment = line.startswith("#") and not before
        if is_comment and (len(parts) != self.columns if self.columns else line.startswith("# ")):
            return None
        if parts[0] == _DOCUMENT:
            return None
        if not self.columns:
            if len(parts) < 2:
                raise DataError(f"{self.path}:{number} has one column, {shown(line, 40)}.", _ONE_A_LINE)
            self.tabs, self.columns, self.first = tabs, len(parts), number
        if len(parts) != self.columns:
            between = "tabs" if self.tabs else "spaces"
            raise DataError(
                f"{self.path}:{number} has {len(parts)} column{'' if len(parts) == 1 else 's'} between {between}, and "
                f"line {self.first} has {self.columns}.",
                "Write as many in each line, with the word first and its label last.",
            )
        return _Word(parts[0], parts[-1], number)
