"""Read word vectors from a text file in GloVe's format or from a table of 8-bit integers, and write such a table."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import DataError, find_file_error_reason

__all__ = ["TABLE", "Vectors", "read_vectors", "write_table"]

# The suffix of a table's file name.
TABLE: Final = ".npz"
# In characters. GloVe's longest lines have about 4,000.
_LONGEST_LINE: Final = 1 << 20

# A word, and a function that returns the numbers of its vector.
_WordAndNumbers = tuple[str, Callable[[], Sequence[float]]]


@dataclass(frozen=True)
class Vectors:
    """The vectors of the words of a vocabulary.

    Attributes:
        ids: int64 [found], the ids of the words of the vocabulary that the file holds, in the file's order.
        values: float32 [found, dimensions].
        source: the file's name.
        added: the words that were added to the vocabulary; their ids come after it.
    """

    ids: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    source: str
    added: tuple[str, ...] = ()

    def make_token_vectors(self, token_count: int) -> npt.NDArray[np.float32]:
        """Return the vector of each token, float32 [tokens, dimensions]; zeros for a token without a vector."""
        values = np.zeros((token_count, self.values.shape[1]), np.float32)
        values[self.ids] = self.values
        return values

    @property
    def scale(self) -> float:
        """The root mean square of all numbers: the standard deviation of random vectors that are about as long."""
        return float(np.sqrt(np.mean(np.square(self.values, dtype=np.float64))))


def read_vectors(
    path: Path, vocabulary: Sequence[str], most_added: int = 0, is_token: Callable[[str], bool] = lambda _: True
) -> Vectors:
    """Read from a file the vectors of the words in `vocabulary`, and of up to `most_added` other words.

    If its name ends in `.npz`, the file must come from `write_table`. Otherwise it must be UTF-8 text in GloVe's format
    (https://nlp.stanford.edu/projects/glove/), with a word and its numbers on each line, separated by single spaces;
    it is compressed if its name ends in `.gz`. The header line of word2vec and fastText is skipped. If a word occurs
    twice, the first line is used.

    Args:
        path: the file.
        vocabulary: the tokens, in the order of their ids; empty to read only added words.
        most_added: the largest number of other words to add. Published files list the frequent words first.
        is_token: a function that returns whether another word may be added.

    Raises:
        DataError: the file is missing, unreadable or not UTF-8; a line has another number of values than the first
            line, or a value that is not a number; or the file has no word of the vocabulary.
    """
    index = {token: i for i, token in enumerate(vocabulary)}
    found: dict[int, Sequence[float]] = {}
    added: list[str] = []
    try:
        # A device may have no end.
        if path.exists() and not path.is_file():
            raise DataError(
                f"{path} is not a regular file: it is a folder, a device or a pipe.",
                "Give the path of a file of word vectors.",
            )
        for word, numbers in _read_vector_table(path) if path.suffix == TABLE else _read_vector_lines(path):
            if word not in index and len(added) < most_added and is_token(word):
                index[word] = len(vocabulary) + len(added)
                added.append(word)
            if (i := index.get(word)) is not None and i not in found:
                found[i] = numbers()
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist.", suggest_near_file(path) or "Check the path of the file of word vectors."
        ) from None
    except (OSError, ValueError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read: {find_file_error_reason(error)}.", "Check the file and its access rights."
        ) from None
    if vocabulary and len(found) == len(added):
        raise DataError(
            f"{path} has no vector for any word of the texts.", "Give word vectors for the language of the texts."
        )
    ids = np.fromiter(found, dtype=np.int64, count=len(found))
    return Vectors(ids, np.array(list(found.values()), dtype=np.float32), path.name, tuple(added))


def write_table(path: Path, words: Sequence[str], vectors: npt.NDArray[np.floating[Any]]) -> None:
    """Write a compressed file of words and their vectors, with 8 bits for each number and a scale for each word.

    Args:
        path: the file, whose name ends in `.npz`.
        words: the words, the most frequent first, without line breaks.
        vectors: float [words, dimensions].
    """
    scales = np.maximum(np.abs(vectors).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    numbers = np.rint(vectors / scales).astype(np.int8)
    text = np.frombuffer("\n".join(words).encode(), np.uint8)
    np.savez_compressed(path, words=text, numbers=numbers, scales=scales)


def _read_vector_table(path: Path) -> Iterator[_WordAndNumbers]:
    """Yield the words of a table, each with a function that returns the numbers of its vector."""
    with path.open("rb") as file, np.load(file) as table:
        words = table["words"].tobytes().decode().split("\n")
        values = table["numbers"] * table["scales"]
    if len(words) != len(values):
        raise ValueError(f"it has {len(words):,} words, but {len(values):,} vectors")
    for word, numbers in zip(words, values, strict=True):
        yield word, numbers.tolist


def _read_vector_lines(path: Path) -> Iterator[_WordAndNumbers]:
    """Yield the words of a text file, each with a function that parses the numbers of its vector."""
    dimensions = number = 0
    try:
        # A carriage return or another line separator may be part of a word.
        with (
            gzip.open(path, "rt", encoding="utf-8", newline="\n")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8", newline="\n")
        ) as lines:
            for number, line in enumerate(iter(partial(lines.readline, _LONGEST_LINE + 1), ""), start=1):
                if len(line) > _LONGEST_LINE:
                    raise DataError(
                        f"Line {number} of {path} is too long to be one word with its vector.",
                        "Give a file with one word and its numbers on each line, in GloVe's format.",
                    )
                if number == 1 and _is_word2vec_header(line):
                    continue
                line = line.rstrip(" \r\n")
                dimensions = dimensions or line.count(" ")
                # From the right: GloVe's largest file has words with spaces in them.
                word, *numbers = line.rsplit(" ", dimensions) if dimensions else (line,)
                if not numbers or len(numbers) != dimensions or (" " in word and _is_number(word.rpartition(" ")[2])):
                    expected = f"{dimensions}, as the lines before" if dimensions else "one or more"
                    raise DataError(
                        f"Line {number} of {path} has {line.count(' ')} numbers after the word, but must have "
                        f"{expected}.",
                        "Give a file in GloVe's format, with a word and the same number of numbers on each line.",
                    )
                yield word, partial(_parse_numbers, numbers, number, path)
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is not UTF-8 text: line {number + 1}, or one soon after it, has other bytes.",
            "Save the file in UTF-8.",
        ) from None


def _is_word2vec_header(line: str) -> bool:
    """Return whether the first line of a file is the header that word2vec writes: two whole numbers."""
    fields = line.split()
    return len(fields) == 2 and all(field.isdecimal() for field in fields)


def _is_number(text: str) -> bool:
    """Return whether Python's `float` can parse the text."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_numbers(fields: Sequence[str], line_number: int, path: Path) -> list[float]:
    """Parse the numbers of a word's vector.

    Raises:
        DataError: a field is not a number, or is 1e30 or larger. The error names the line and the file.
    """
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = [math.nan]
    if not all(abs(value) < 1e30 for value in values):
        raise DataError(
            f"Line {line_number} of {path} holds a value that is not a number, or is 1e30 or more.",
            "Correct the line, or delete it.",
        )
    return values
