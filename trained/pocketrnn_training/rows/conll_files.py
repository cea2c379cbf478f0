"""Read files of sentences with a word and its label on each line: columns as in CoNLL, or CoNLL-U."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.errors import DataError, short_repr
from pocketrnn.tables.column_and_label_checks import list_first_names
from pocketrnn.tables.encodings import UTF8, check_encoding
from pocketrnn_training.rows.table_files import read_text_lines
from pocketrnn_training.rows.tagged_sentences import TaggedSentences

__all__ = ["read_tagged"]

# The suffix of files in CoNLL-U, and how many columns they have.
_CONLLU: Final = ".conllu"
_COLUMNS_OF_CONLLU: Final = 10
# The number of a word; then the number of a multiword token (3-4) or of an empty node (5.1), which are skipped.
_NUMBER: Final = re.compile(r"([1-9][0-9]*)")
_NO_WORD: Final = re.compile(r"[0-9]+(-[0-9]+|\.[0-9]+)")
# A line with this word separates documents.
_DOCUMENT: Final = "-DOCSTART-"
_ONE_A_LINE: Final = "Write a word and its label in each line, and an empty line after each sentence."


def read_tagged(
    paths: tuple[Path, ...], labels: tuple[str, ...] | None = None, *, encoding: str = UTF8
) -> TaggedSentences:
    """Read files of sentences with a label for each word.

    A file that ends in `.conllu` has the ten columns of CoNLL-U, where FORM is the word and UPOS the label. Lines of
    multiword tokens (`3-4`) and of empty nodes (`5.1`) are skipped. In all other files the first column is the word and
    the last one the label, with tabs or else spaces between columns, and the same number of columns in each line. Empty
    lines end sentences; lines with `#` before a sentence are comments.

    Args:
        paths: the files.
        labels: the labels and their order; without it, the labels that occur, sorted.
        encoding: the encoding of the files, by its name in Python.

    Raises:
        DataError: a file is missing, empty, or in another encoding; a line is not a word with a label; a label is not
            one of `labels`; without `labels`, there is only one label.

    Example:
        >>> read_tagged((Path("people.conll"),)).labels
        ('B-LOC', 'B-PER', 'I-LOC', 'O')
    """
    sentences: list[tuple[str, ...]] = []
    given: list[str] = []
    known = None if labels is None else frozenset(labels)
    for path in paths:
        before = len(sentences)
        for sentence in _read_sentences(path, check_encoding(encoding)):
            sentences.append(tuple(word.text for word in sentence))
            for word in sentence:
                if known is not None and word.label not in known:
                    raise DataError(
                        f"{path}:{word.line} has the label {short_repr(word.label, 40)}, which is not one of "
                        f"{list_first_names(labels or ())}.",
                        "Use sentences with the labels that the classifier was trained with.",
                    )
                given.append(word.label)
        if len(sentences) == before:
            raise DataError(f"{path} holds no sentence.", _ONE_A_LINE)
    found = tuple(sorted(set(given))) if labels is None else labels
    source = ", ".join(path.name for path in paths)
    if len(found) < 2:
        raise DataError(
            f"All words of {source} have the label {short_repr(found[0], 40)}.",
            "Give words with two labels or more.",
        )
    index = {label: target for target, label in enumerate(found)}
    return TaggedSentences(sentences, np.array([index[label] for label in given], np.int64), found, source)


@dataclass(frozen=True, slots=True)
class _Word:
    """A word, its label, and its line number."""

    text: str
    label: str
    line: int


def _read_sentences(path: Path, encoding: str) -> Iterator[list[_Word]]:
    """Yield the sentences of a file of words with labels. Each sentence has at least one word.

    Raises:
        DataError: a line does not have the format of the file, or a word or a label is empty.
    """
    of_file = _ConlluLines(path) if path.suffix.lower() == _CONLLU else _ColumnLines(path)
    sentence: list[_Word] = []
    before = 0
    for number, line in read_text_lines(path, encoding):
        # `read_text_lines` skips empty lines: a gap in the numbers shows them.
        if number > before + 1:
            if sentence:
                yield sentence
            sentence = []
        before = number
        word = of_file.parse_word(line.rstrip("\r\n"), number, len(sentence))
        if word is not None:
            if not word.text.strip() or not word.label.strip():
                what = "word" if not word.text.strip() else "label"
                raise DataError(f"{path}:{number} has an empty {what}.", _ONE_A_LINE)
            sentence.append(word)
    if sentence:
        yield sentence


@dataclass
class _ConlluLines:
    """Parses the lines of a file in CoNLL-U."""

    path: Path

    def parse_word(self, line: str, line_number: int, words_before: int) -> _Word | None:
        """Parse the word and its label on a line; return None for a comment or a line that is not for a word.

        Args:
            line: the line without its line break.
            line_number: the number of the line, from 1.
            words_before: how many words of the sentence come before this line.

        Raises:
            DataError: the line has a wrong number of columns, a wrong word number or no label.
        """
        if line.startswith("#"):
            return None
        columns = line.split("\t")
        if len(columns) != _COLUMNS_OF_CONLLU:
            raise DataError(
                f"{self.path}:{line_number} has {len(columns)} columns between tabs, but CoNLL-U has "
                f"{_COLUMNS_OF_CONLLU}.",
                "Correct the line. If each line has only a word first and its label last, rename the file: only "
                f"CoNLL-U ends in {_CONLLU}.",
            )
        if _NO_WORD.fullmatch(columns[0]):
            return None
        if not _NUMBER.fullmatch(columns[0]) or int(columns[0]) != words_before + 1:
            raise DataError(
                f"{self.path}:{line_number} begins with {short_repr(columns[0], 40)}, but its word is number "
                f"{words_before + 1} of the sentence.",
                "Number the words of each sentence from 1, and write an empty line after each sentence.",
            )
        if columns[3] == "_":
            raise DataError(
                f"{self.path}:{line_number} has no label: UPOS, its fourth column, is _.",
                "Write a label there.",
            )
        return _Word(columns[1], columns[3], line_number)


@dataclass
class _ColumnLines:
    """Parses the lines of a file of columns.

    The first word determines the number of columns, and whether tabs or spaces separate them.
    """

    path: Path
    tabs: bool = False
    columns: int = field(default=0)
    first: int = field(default=0)

    def parse_word(self, line: str, line_number: int, words_before: int) -> _Word | None:
        """Parse the word in the first column and the label in the last; return None for a comment, or for a line that
        separates documents.

        Args:
            line: the line without its line break.
            line_number: the number of the line, from 1.
            words_before: how many words of the sentence come before this line; only before the first, `#` begins a
                comment.

        Raises:
            DataError: the line has one column, or another number of columns than the lines before.
        """
        tabs = self.tabs if self.columns else "\t" in line
        # Not split at other white space: a word may contain it.
        parts = line.split("\t") if tabs else [part for part in re.split("[ \t]+", line) if part]
        # A comment has another number of columns than the words; before the first word, a space follows its #.
        is_comment = line.startswith("#") and not words_before
        if is_comment and (len(parts) != self.columns if self.columns else line.startswith("# ")):
            return None
        if parts[0] == _DOCUMENT:
            return None
        if not self.columns:
            if len(parts) < 2:
                raise DataError(f"{self.path}:{line_number} has one column, {short_repr(line, 40)}.", _ONE_A_LINE)
            self.tabs, self.columns, self.first = tabs, len(parts), line_number
        if len(parts) != self.columns:
            between = "tabs" if self.tabs else "spaces"
            raise DataError(
                f"{self.path}:{line_number} has {len(parts)} column{'' if len(parts) == 1 else 's'} between {between}, "
                f"but line {self.first} has {self.columns}.",
                "Write the same number of columns in each line, with the word first and its label last.",
            )
        return _Word(parts[0], parts[-1], line_number)
