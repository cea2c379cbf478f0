"""Read a file of word vectors, such as GloVe's, as the vocabulary of a module whose embedding was made of it.

The embedding often has rows before those of the file, for padding and unknown words. The rows themselves show where the
file's vectors begin.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pocketrnn.errors import DataError, InputError, find_file_error_reason
from pocketrnn_export.intake.weights_file import SavedWeights
from pocketrnn_export.source_code.code_and_data_files_near_module import list_files_near
from pocketrnn_export.vocabularies.vocabulary import PADDING, PLACEHOLDER, UNKNOWN, Vocabulary

_log = logging.getLogger(__name__)

# A word and at least 5 numbers, of which one has a decimal point at least.
_LINE: Final = re.compile(r"\S.*?((?: -?\d+(?:\.\d+)?(?:e-?\d+)?){5,})\s*")
# Rows besides those of the file: padding, unknown, start and end.
_MOST_OTHER_ROWS: Final = 4
_COMPARED: Final = 200
# Training moves a vector by less than its length; two vectors of different words have a cosine of some 0.1 to 0.4.
_ALIKE: Final = 0.7
# A call of pandas that reads words and numbers with spaces between them.
_IN_CALL: Final = r"(?:[^()]|\([^()]*\))*"
_PANDAS_READ: Final = re.compile(rf"read_(?:csv|table)\({_IN_CALL}sep\s*=\s*r?['\"](?: |\\s\+?)['\"]{_IN_CALL}\)")
# The words that pandas reads as missing values (`pandas._libs.parsers.STR_NA_VALUES`).
_MISSING: Final = frozenset(
    ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
     "NaN", "None", "n/a", "nan", "null")
)  # fmt: skip
_FIRST_TOKENS: Final = ((), (PADDING,), (PADDING, UNKNOWN))


def read_word_vector_vocabulary(path: Path, weights: SavedWeights) -> Vocabulary:
    """Read the words in a file of word vectors as a vocabulary. Their ids are their rows in the module's embedding.

    Args:
        weights: the weights that hold the embedding.

    Raises:
        DataError: the file is damaged, or no embedding in the weights was made from it.
    """
    words, vectors = _read_words_and_some_vectors(path)
    words = _replace_words_read_as_missing(words, path)
    width = len(next(iter(vectors.values())))
    tables = {
        name: tensor
        for name, tensor in weights.tensors.items()
        if tensor.dim() == 2 and tensor.shape[1] == width and 0 <= len(tensor) - len(words) <= _MOST_OTHER_ROWS
    }
    if not tables:
        raise DataError(
            f"{path} has vectors of {len(words):,} words with {width} numbers each, but no embedding in "
            f"{weights.path} has this shape. Its words are not the vocabulary of the module.",
            "Give the vocabulary that your code makes: a file with one token in each line, or a JSON object from "
            "token to id.",
        )
    name, table = next(iter(tables.items()))
    others = len(table) - len(words)
    begin, share = _find_first_row_and_share(table, vectors, others)
    first = _FIRST_TOKENS[begin] if begin < len(_FIRST_TOKENS) else tuple(f"{PLACEHOLDER}{i}>" for i in range(begin))
    unknown = begin - 1 if begin else len(words) if others else None
    reason = (
        f"from row {begin} on, the rows of {name} are the vectors of the file"
        if share
        else f"{name} has {others} rows more than the file, but none is a vector of it; compare the ids with --pairs"
    )
    unknown_words = "no id" if unknown is None else f"the id {unknown}"
    _log.warning(
        "%s holds word vectors. Its words have the ids from %s on (%s). Unknown words get %s.",
        path, begin, reason, unknown_words,
    )  # fmt: skip
    return Vocabulary((*first, *words), unknown)


def _replace_words_read_as_missing(words: list[str], path: Path) -> list[str]:
    """Replace the words that pandas would read as missing values by placeholders, if code near the file reads it by
    pandas. Such code treats these words as unknown."""
    found = sorted(_MISSING.intersection(words))
    if not found or not any(map(_reads_words_by_pandas, list_files_near(path))):
        return words
    _log.warning(
        "%s: your code reads word vectors by pandas, which takes %s for missing values. So they are unknown words",
        path, ", ".join(map(repr, found)),
    )  # fmt: skip
    return [f"{PLACEHOLDER}{i}>" if word in _MISSING else word for i, word in enumerate(words)]


def _reads_words_by_pandas(file: Path) -> bool:
    """Return whether a file of code reads words by pandas, which reads some of them as missing values."""
    try:
        code = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return any(not re.search("keep_default_na|na_filter", one[0]) for one in _PANDAS_READ.finditer(code))


def _read_words_and_some_vectors(path: Path) -> tuple[list[str], dict[int, Tensor]]:
    """Return the words in a file, and a dict of the vectors of some words, by their positions. A word that occurs a
    second time is replaced by a placeholder, since no text gets its second id."""
    size = path.stat().st_size
    words: list[str] = []
    vectors: dict[int, Tensor] = {}
    known: set[str] = set()
    step, width = 0, 0
    for number, line in enumerate(_read_lines(path), 1):
        if not width:
            found = _LINE.fullmatch(line)
            if found is None:
                if number == 1:
                    # The number of words and of columns.
                    continue
                raise DataError(
                    f"Line {number} of {path} must be a word and its vector, but is not.",
                    "Correct or delete this line.",
                )
            width, step = len(found[1].split()), max(1, size // (len(line) + 1) // _COMPARED)
        word, *numbers = line.rstrip().rsplit(" ", width)
        if len(words) % step == 0:
            try:
                vectors[len(words)] = torch.tensor([float(one) for one in numbers])
            except ValueError:
                raise DataError(
                    f"Line {number} of {path} must be a word and its vector, but is not.",
                    "Correct or delete this line.",
                ) from None
        words.append(f"{PLACEHOLDER}{len(words)}>" if word in known or not word else word)
        known.add(word)
    return words, {place: one for place, one in vectors.items() if len(one) == width}


def _read_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.", "Save the file with the encoding UTF-8.") from None
    except OSError as error:
        reason = find_file_error_reason(error)
        raise InputError(f"{path} cannot be read: {reason}.", "Check that you may read the file.") from None


def _find_first_row_and_share(table: Tensor, vectors: dict[int, Tensor], other_rows: int) -> tuple[int, float]:
    """Find where the vectors of a file begin in an embedding. Return the first row, and the share of the vectors that
    are nearly equal to the rows from there on. If no row gives a share above a half, return a share of 0; the first row
    is then a guess, with `<pad>` and `<unk>` before it as far as the embedding has `other_rows` more rows than the
    file."""
    places: Sequence[int] = sorted(vectors)
    rows = torch.stack([vectors[place] for place in places])
    shares = {}
    for begin in range(other_rows + 1):
        there = table[torch.tensor(places) + begin].float()
        shares[begin] = float((torch.cosine_similarity(rows, there) > _ALIKE).float().mean())
    begin = max(shares, key=lambda one: shares[one])
    return (begin, shares[begin]) if shares[begin] > 0.5 else (min(other_rows, len(_FIRST_TOKENS) - 1), 0.0)
