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

    A file that ends in `.conllu` must have the ten columns of CoNLL-U: FORM is the word, and UPOS its label. Lines of
    multiword tokens (`3-4`) and of empty nodes (`5.1`) are skipped. In every other file, the first column is the word
    and the last column its label; tabs or spaces separate the columns, and each line has the same number of them. In
    both formats, an empty line ends a sentence, and lines with `#` before a sentence are comments.

    Args:
        paths: the files.
        labels: the labels and their order; without it, the labels that occur, sorted.
        encoding: the encoding of the files, by its name in Python.

    Raises:
        DataError: a file is missing, empty or in another encoding; a line is not a word with its label; a label is not
            one of `labels`; or `labels` is None, and all words have the same label.

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
                        f"{path}:{word.line} has the label {short_repr(word.label, 40)}, which is not one of the "
                        f"labels {list_first_names(labels or ())}.",
                        "Give only sentences with labels that the classifier was trained with.",
                    )
                given.append(word.label)
        if len(sentences) == before:
            raise DataError(f"{path} holds no sentence.", _ONE_A_LINE)
    found = tuple(sorted(set(given))) if labels is None else labels
    source = ", ".join(path.name for path in paths)
    if len(found) < 2:
        raise DataError(
            f"All words of {source} have the label {short_repr(found[0], 40)}.",
            "Give words with at least two different labels.",
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
        """Parse the word and its label on a line. Return None for a comment, a multiword token and an empty node.

        Args:
            line: the line without its line break.
            line_number: the number of the line, from 1.
            words_before: how many words of the sentence come before this line.

        Raises:
            DataError: the line does not have ten columns, its word has the wrong number in the sentence, or it has no
            label.
        """
        if line.startswith("#"):
            return None
        columns = line.split("\t")
        if len(columns) != _COLUMNS_OF_CONLLU:
            raise DataError(
                f"{self.path}:{line_number} has {len(columns)} column{'s' * (len(columns) > 1)} between tabs, but a "
                f"line of CoNLL-U must have {_COLUMNS_OF_CONLLU}.",
                "Correct the line. If the file is not CoNLL-U, and each line begins with a word and ends with its "
                f"label, rename the file: only the names of CoNLL-U files may end in {_CONLLU}.",
            )
        if _NO_WORD.fullmatch(columns[0]):
            return None
        if not _NUMBER.fullmatch(columns[0]) or int(columns[0]) != words_before + 1:
            raise DataError(
                f"{self.path}:{line_number} begins with {short_repr(columns[0], 40)}, but must begin with "
                f"{words_before + 1}, the number of its word in the sentence.",
                "Number the words of each sentence from 1, and write an empty line after each sentence.",
            )
        if columns[3] == "_":
            raise DataError(
                f"{self.path}:{line_number} has no label: its fourth column, UPOS, is _.",
                "Write the label of the word in this column.",
            )
        return _Word(columns[1], columns[3], line_number)


@dataclass
class _ColumnLines:
    """Parses the lines of a file whose first column is a word and whose last column is its label.

    The first line with a word sets the number of columns, and whether tabs or spaces separate them.

    Attributes:
        path: the file, for errors.
        tabs: whether tabs separate the columns.
        columns: the number of columns; 0 before the first word.
        first: the number of the line with the first word.
    """

    path: Path
    tabs: bool = False
    columns: int = field(default=0)
    first: int = field(default=0)

    def parse_word(self, line: str, line_number: int, words_before: int) -> _Word | None:
        """Parse the word in the first column and the label in the last one.

        Return None for a comment (`#`) before the first word of a sentence, and for the line -DOCSTART-.

        Args:
            line: the line without its line break.
            line_number: the number of the line, from 1.
            words_before: how many words of the sentence come before this line.

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
                raise DataError(
                    f"{self.path}:{line_number} has only one column, {short_repr(line, 40)}, but must have at least "
                    "two.",
                    _ONE_A_LINE,
                )
            self.tabs, self.columns, self.first = tabs, len(parts), line_number
        if len(parts) != self.columns:
            between = "tabs" if self.tabs else "spaces"
            raise DataError(
                f"{self.path}:{line_number} has {len(parts)} column{'' if len(parts) == 1 else 's'} between {between}, "
                f"but must have {self.columns}, as line {self.first} has.",
                "Write the same number of columns on each line, with the word first and its label last.",
            )
        return _Word(parts[0], parts[-1], line_number)
