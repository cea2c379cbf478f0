"""Read a vocabulary from a list, a file or a torchtext Vocab, as tokens and the id of unknown words.

Reading needs neither PyTorch nor torchtext, and does not run code in a file.
"""

from __future__ import annotations

import ast
import codecs
import collections
import contextlib
import csv
import io
import itertools
import json
import logging
import operator
import os
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from pocketrnn.bundle.atomic_writing import write_whole_file
from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import DataError, InputError, OutputError, first_line
from pocketrnn.text import TextRules
from pocketrnn_export.json_reading_and_writing import brief_text, parse_json
from pocketrnn_export.progress import ABOUT_FIRST_ID, AFTER_AN_ERROR
from pocketrnn_export.safe_pickle_reader import read_pickle
from pocketrnn_export.vocabularies.ids_or_counts import FEWEST_IDS, MOST_IDS, IdEvidence, count_ids
from pocketrnn_export.vocabularies.keras_tokenizer_split import KerasSplit, read_keras_split
from pocketrnn_export.vocabularies.pickled_vocabulary import (
    SAVE_PLAIN,
    SavedVocab,
    read_pickled_vocabulary,
    read_zipped_vocabulary,
)
from pocketrnn_export.vocabularies.text_lines_and_compressed_files import decompress_content
from pocketrnn_training.rows.array_files import read_array_header

_log = logging.getLogger(__name__)

UNKNOWN: Final = "<unk>"
PADDING: Final = "<pad>"
# The token for an id without one. A tokenizer never gives a token of several characters that begins with a space, nor
# do joined tokens.
PLACEHOLDER: Final = " <unused "
# Other usual names of the two, in lower case; upper case counts as the same. Signs are at both ends, unlike in words.
_OTHER_UNKNOWN: Final = re.compile(r"[<\[{#_|$@%*]+(unk|oov)(_token)?[>\]}#_|$@%*]+|<unknown>|\[unknown\]")
_OTHER_PADDING: Final = re.compile(r"[<\[{#_|$@%*]+pad(_token)?[>\]}#_|$@%*]+|<padding>|\[padding\]")

# Two million tokens, the largest vocabulary in common use, are 20 to 50 MB in every form that is read. The costliest
# file of this size that was found, JSON full of empty lists, takes 8 s and 1.7 GB to be refused.
LARGEST_FILE: Final = 64 * 2**20

_GIVE_LIST: Final = "Give a list of tokens in the order of their ids, or a dict from token to id."
_GIVE_FILE: Final = (
    "Give a text file with one token in each line, a JSON list of tokens, a JSON object from token to id (or the same "
    "as Python writes it), or a saved torchtext Vocab."
)
# For words that other code may read otherwise.
SAVE_AS_JSON: Final = (
    'Save the dict of your code, json.dump(word2id, open("vocab.json", "w")), and give it: --vocabulary vocab.json.'
)
_KNOWN_BINARIES: Final = {
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"PAR1": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
}
_NUMPY: Final = b"\x93NUMPY"
# A pickle of protocol 0 or 1 has no signature: it is recognized only by the file's suffix.
_PICKLE_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".pth", ".pt"})
_OLD_PICKLE: Final = re.compile(rb"[(\]})c].*\.\Z", re.DOTALL)
# The usual keys for a map from token to id, and for a map from id to token or a list; `word_to_idx` is `word2idx`.
_TO_ID: Final = frozenset({
    "word2idx", "word2id", "word2index", "word2ix", "token2idx", "token2id", "token2index", "char2idx", "char2id",
    "stoi", "vocab", "vocabulary", "wordindex", "wordids",
})  # fmt: skip
_TO_TOKEN: Final = frozenset({
    "itos", "idx2word", "id2word", "index2word", "indexword", "idx2token", "id2token", "index2token", "idx2char",
})  # fmt: skip
# The parsed form of a Python literal takes some 100 times the file's size.
_LARGEST_LITERAL: Final = 16 * 2**20
_LITERAL: Final = re.compile(r"\s*[\[({]\s*[\[('\"\d]")
# One line of so many parts is a list or a text, and not the only token: n-grams have few words.
_PARTS_OF_DATA: Final = 8
_NAMED_LINES: Final = 3
_NAMED_WORDS: Final = 5
_NO_EVIDENCE: Final = IdEvidence()
_JSON: Final = re.compile(r'\s*[\[{]\s*"|\s*\[\s*\[\s*["\d]|\s*(\[\s*\]|\{\s*\})\s*\Z')


class TorchtextVocab(Protocol):
    """The methods of a `torchtext.vocab.Vocab` that pocketrnn uses. A scripted Vocab has them, too."""

    def get_itos(self) -> list[str]: ...

    def get_default_index(self) -> int | None: ...


@dataclass(frozen=True)
class Vocabulary:
    """The tokens in the order of their ids, and the id of unknown words.

    Attributes:
        tokens: the tokens; a token's position is its id.
        default_index: the id that an unknown word gets; None to drop unknown words. It may be higher than the ids of
            all tokens if the embedding has more rows than the vocabulary.
        keras: how a Keras Tokenizer splits a text, if the tokens come from one; otherwise None.
        doubtful_lines: the ids of the tokens of a text file that code with `line.strip()` or `splitlines()` would read
            differently.
        left_out: a pair (word, id) for each word that the bundle takes for unknown, since its id has no row in the
            embedding or is the id of unknown words.

    Raises:
        DataError: there are no tokens; a token is not a string or occurs twice; or default_index is not an integer.
    """

    tokens: tuple[str, ...] = field(repr=False)
    default_index: int | None
    keras: KerasSplit | None = field(default=None, repr=False, compare=False)
    doubtful_lines: tuple[int, ...] = field(default=(), repr=False, compare=False)
    left_out: tuple[tuple[str, int], ...] = field(default=(), repr=False, compare=False)

    @property
    def word_ids(self) -> dict[str, int]:
        """The dict from words to ids that the vocabulary was read from. Words that the bundle takes for unknown are in
        it; tokens that only fill gaps between the ids are not."""
        named = {token: i for i, token in enumerate(self.tokens) if not token.startswith(PLACEHOLDER)}
        return {**named, **dict(self.left_out)}

    def __post_init__(self) -> None:
        _refuse_invalid_tokens(self.tokens, "The vocabulary", "id", 0)
        if self.default_index is not None and type(self.default_index) is not int:
            raise DataError(
                f"The vocabulary's `default_index` is {brief_text(self.default_index)}, but it must be a whole number "
                "or None.",
                "Give the id of the token for unknown words, or None to drop unknown words.",
            )


@dataclass(frozen=True)
class _Origin:
    """The object or file that a vocabulary is read from.

    Attributes:
        name: the name of the object or file in messages.
        evidence: facts that show whether the numbers beside the words are ids or counts.
        file: the path of the file; None for an object.
    """

    name: str
    evidence: IdEvidence
    file: Path | None = None

    def __str__(self) -> str:
        return self.name

    def name_ids(self) -> _Origin:
        """Return a copy of this origin with the evidence that the numbers are ids, since a name such as `word2idx`
        says so."""
        return replace(self, evidence=replace(self.evidence, are_named_ids=True))


class UnclearIdsError(DataError):
    """Raised if the numbers beside the words may not be the module's ids, but counts or the ids of another module.

    Args:
        problem: a sentence that says what is wrong.
        remedy: a sentence that says what to do.
        may_be_ids: whether the numbers are accepted as ids if the user says that they are.
    """

    def __init__(self, problem: str, remedy: str, *, may_be_ids: bool) -> None:
        super().__init__(problem, remedy)
        self.may_be_ids = may_be_ids


VocabularySource = Vocabulary | Sequence[str] | Mapping[str, int] | str | os.PathLike[str] | TorchtextVocab


def read_vocabulary(source: VocabularySource, evidence: IdEvidence = _NO_EVIDENCE) -> Vocabulary:
    """Read a vocabulary from an object or a file.

    An object is one of these:

    - a `Vocabulary`, which is returned unchanged
    - a list or tuple of tokens in the order of their ids, of pairs (token, id), or of pairs (token, count) with falling
      counts, as `Counter.most_common` gives them; the position of a token is then its id
    - a dict from tokens to ids or from ids to tokens. Up to half of the ids may have no token: a missing id 0 becomes
      "<pad>" if there is no padding token, and each other missing id gets a token that no text contains. Words whose
      ids have no row in the embedding, or are the id of unknown words, are left out, and a warning names them
    - a `torchtext.vocab.Vocab`, also scripted or from an old release
    - a dict or an object of another class with such a list or dict under a name like `word2idx`, `stoi` or `itos`

    A file is recognized by its content, and no code in it is run. It may be compressed by zlib, gzip, bzip2 or xz:

    - text in UTF-8 with one token in each line. Spaces belong to the token; only the last lines may be empty
    - a list, a tuple or a dict as JSON or as Python prints it, such as `{'<unk>': 0, 'oil': 1}`
    - the `to_json()` of a Keras tokenizer, or a file of `write_vocabulary`
    - a Vocab, a list, a tuple, a dict or a checkpoint that `torch.save`, `pickle.dump` or `joblib.dump` wrote
    - a .csv or .tsv file with names of columns in its first line, a column of words and a column of their ids
    - an array of strings, a list or a dict that `numpy.save` wrote

    The default index of a torchtext Vocab is kept. For other sources it is the id of "<unk>", or of the only token with
    a name like it, such as "[UNK]" or "<OOV>"; it is None if there is no such token.

    Args:
        source: the object, or the path of the file.
        evidence: facts that show whether numbers with gaps are ids, such as the number of rows of the embedding.

    Raises:
        UnclearIdsError: the numbers beside the words may be counts, or the ids of another module.
        DataError: the source holds no vocabulary, or an id belongs to no token or to several.
    """
    if isinstance(source, Vocabulary):
        return source
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source), evidence)
    origin = _Origin("The vocabulary", evidence)
    if callable(itos := getattr(source, "get_itos", None)):
        default = getattr(source, "get_default_index", None)
        return Vocabulary(_convert_to_plain_strings(itos()), default() if callable(default) else None)
    if isinstance(itos := getattr(source, "itos", None), list):
        # torchtext up to 0.8: `unk_index`, or, before 0.5, the default of `stoi`. An owner's class rarely has one.
        default = source.unk_index if hasattr(source, "unk_index") else _find_default_of_stoi(source)
        if hasattr(source, "unk_index") or default is not None:
            return Vocabulary(_convert_to_plain_strings(itos), default)
    if isinstance(source, Mapping):
        return _read_document(source, origin)
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray | memoryview):
        return _read_document(list(source), origin)
    if named := {
        name: value for name, value in getattr(source, "__dict__", {}).items() if _is_vocabulary_member(name, value)
    }:
        return _read_document(named, origin)
    raise DataError(
        f"The vocabulary is of type {type(source).__name__}, but must be a list, a dict, a torchtext Vocab or a path.",
        _GIVE_LIST,
    )


def make_implied_rules(vocabulary: Vocabulary, tokenizer: str = "basic_english") -> TextRules:
    """Return text rules whose ids for unknown words, for padding and for empty texts come from a vocabulary.

    An unknown word gets the default index; without a default index, it is dropped. The padding id is that of "<pad>",
    or of the only token with a name like it, such as "[PAD]", or else 0. A text without a token gets the id of unknown
    words, or the padding id if unknown words are dropped.

    Raises:
        InputError: the tokenizer is unknown, or the default index is negative.
    """
    if vocabulary.default_index is not None and vocabulary.default_index < 0:
        raise InputError(
            f"The vocabulary's default index, the id of unknown words, is {brief_text(vocabulary.default_index)}, but "
            "it must be 0 or more.",
            "Give the id that unknown words had when the model was trained. To drop unknown words, set `default_index` "
            "to null in the file that `pocketrnn import-vocab VOCABULARY -o vocab.json` writes.",
        )
    padding = _find_token(vocabulary.tokens, PADDING, _OTHER_PADDING) or 0
    return TextRules(
        tokenizer=tokenizer,
        unknown_id=vocabulary.default_index,
        empty_id=padding if vocabulary.default_index is None else vocabulary.default_index,
        padding_id=padding,
    )


def write_vocabulary(vocabulary: Vocabulary, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a vocabulary as JSON in UTF-8, `{"default_index": id or null, "tokens": [...]}` with one token in each
    line, so that `read_vocabulary` reads an equal vocabulary. The file is written whole or not at all.

    Args:
        vocabulary: the vocabulary.
        path: the file; its folder must exist.
        force: whether to replace an existing file.

    Raises:
        OutputError: the file exists and `force` is false, or the file cannot be written.
    """
    path = Path(path)
    content = json.dumps({"default_index": vocabulary.default_index, "tokens": vocabulary.tokens}, indent=1,
                         ensure_ascii=any(map(_has_surrogate, vocabulary.tokens)))  # fmt: skip
    # `write_whole_file` would write through a link, to a file that the user did not name.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OutputError(
            f"{path} is a folder, a link or a device, so no vocabulary can be written to it.",
            "Give the name of a new or an ordinary file.",
        )
    with write_whole_file(path, force=force) as file:
        file.write(content.encode() + b"\n")


def _convert_to_plain_strings(tokens: Sequence[Any]) -> tuple[Any, ...]:
    """Return the tokens as plain strings. Subclasses of str, such as numpy's, are converted."""
    return tuple(str.__str__(token) if isinstance(token, str) else token for token in tokens)


def make_vocabulary_with_unknown(tokens: tuple[Any, ...]) -> Vocabulary:
    """Make a vocabulary from tokens in the order of their ids. Unknown words get the id of "<unk>", or of the only
    token with a name like it, such as "[UNK]". If there is no such token, unknown words are dropped."""
    return Vocabulary(tokens, _find_token(tokens, UNKNOWN, _OTHER_UNKNOWN))


def _find_token(tokens: Sequence[Any], name: str, other_names: re.Pattern[str]) -> int | None:
    """Return the id of the token `name`. If there is no such token, return the id of the only token that, in lower
    case, matches `other_names`. Return None if no token or several tokens match."""
    if name in tokens:
        return tokens.index(name)
    found = [i for i, token in enumerate(tokens) if isinstance(token, str) and other_names.fullmatch(token.lower())]
    return found[0] if len(found) == 1 else None


def _find_default_of_stoi(vocab: object) -> int | None:
    """Return the id of unknown words in a Vocab of torchtext before 0.5: the default value of its dict `stoi`. Return
    None for any other object."""
    factory = getattr(getattr(vocab, "stoi", None), "default_factory", None)
    default = factory() if factory is not None else None
    return default if type(default) is int else None


def _refuse_invalid_tokens(tokens: Sequence[Any], source: str, unit: str, first: int) -> None:
    """Raise a DataError if there are no tokens, if a token is not a string, or if a token occurs twice. Messages name
    the place of a token by `unit` and count from `first`, such as lines from 1 or ids from 0."""
    if not tokens:
        raise DataError(f"{source} holds no tokens.", "Give the vocabulary that the model was trained with.")
    # Both checks are made in C for the usual case: 100,000 tokens take 6 ms.
    if set(map(type, tokens)) != {str}:
        index, token = next((i, token) for i, token in enumerate(tokens) if type(token) is not str)
        raise DataError(
            f"{source} holds {brief_text(token)} at {unit} {index + first}, but each token must be a string, not of "
            f"type {type(token).__name__}.",
            _GIVE_LIST,
        )
    if len(set(tokens)) != len(tokens):
        seen: dict[str, int] = {}
        for i, token in enumerate(tokens):
            if (before := seen.setdefault(token, i)) != i:
                raise DataError(
                    f"{source} holds {brief_text(token)} twice, at {unit} {before + first} and {unit} {i + first}.",
                    "Give each token once, at the position that is its id.",
                )


def _read_ids(ids: Mapping[Any, Any], source: _Origin) -> Vocabulary:
    """Return the vocabulary of a dict from tokens to ids. An id without a token gets a token that no text contains.

    Raises:
        UnclearIdsError: two tokens have the same id, or the numbers may be counts or the ids of another module.
        DataError: the dict is a Counter or a whole tokenizer, or an id is not a whole number of 0 or more.
    """
    if isinstance(ids, collections.Counter):
        raise DataError(f"{source} is a Counter, so its numbers are counts of words and not ids.", _GIVE_LIST)
    if isinstance(ids.get("model"), Mapping) and "added_tokens" in ids:
        raise DataError(
            f"{source} is a whole tokenizer of Hugging Face's `tokenizers`, not only a vocabulary.",
            "Give the file as --tokenizer FILE and leave out --vocabulary (in Python: tokenizer=, not vocabulary=).",
        )
    taken: dict[int, str] = {}
    for token, value in _leave_out_unknown_words(ids, source).items():
        number = _convert_id_to_int(token, value, source)
        if taken.setdefault(number, token) is not token:
            raise UnclearIdsError(
                f"{source} gives the id {brief_text(number)} to {brief_text(taken[number])} and to "
                f"{brief_text(token)}.",
                "Give each token an id that no other token has.",
                may_be_ids=False,
            )
    if min(taken, default=0) < 0:
        raise DataError(
            f"{source} gives {brief_text(taken[min(taken)])} the id {brief_text(min(taken))}, but an id must be 0 or "
            "more.",
            _GIVE_LIST,
        )
    tokens = [*taken.values()]
    special = [_find_token(tokens, UNKNOWN, _OTHER_UNKNOWN), _find_token(tokens, PADDING, _OTHER_PADDING)]
    size = count_ids([*taken], [[*taken][place] for place in special if place is not None], source.evidence)
    if taken and not size:
        raise _make_unclear_ids_error(taken, source)
    if size <= max(taken, default=-1):
        taken = _leave_out_ids_without_rows(taken, source.evidence.count_rows(), str(source))
    if len(taken) < size:
        _fill_missing_ids(taken, size - 1, source)
    found = make_vocabulary_with_unknown(_check_tokens_by_id([taken[i] for i in range(size)], str(source)))
    held = {*found.tokens}
    left_out = [(word, operator.index(number)) for word, number in ids.items() if word not in held]
    return replace(found, left_out=tuple(left_out))


def _leave_out_unknown_words(ids: Mapping[Any, Any], source: _Origin) -> Mapping[Any, Any]:
    """Return a dict from tokens to ids without the words that have the same id as the token for unknown words, and log
    these words. A `defaultdict` contains such words, since each look-up of an unknown word adds the word to it."""
    words = [*ids]
    place = _find_token(words, UNKNOWN, _OTHER_UNKNOWN)
    if place is None or type(number := ids[words[place]]) is not int:
        return ids
    alike = [one for one, held in ids.items() if type(held) is int and held == number and one is not words[place]]
    if not alike or _find_token(alike, PADDING, _OTHER_PADDING) is not None:
        return ids
    _log.warning(
        "%s gives %s the id of %s, %s: the bundle takes them for unknown words.", source,
        _name_words([*map(brief_text, alike)]), brief_text(words[place]), brief_text(number),
    )  # fmt: skip
    kept = ids.keys() - {*alike}
    return {one: held for one, held in ids.items() if one in kept}


def _make_unclear_ids_error(taken: Mapping[int, str], source: _Origin) -> UnclearIdsError:
    """Make the error which says that the numbers beside the words may be counts, or the ids of another module. `taken`
    is a dict from these numbers to the words, and `source` is the object or file that holds both."""
    highest, rows = max(taken), source.evidence.count_rows()
    missing = next(i for i in range(len(taken) + 1) if i not in taken)
    known = f" The embedding has {rows:,} rows." if rows else ""
    remedy = f"Give the ids of your module, from 0 to {len(taken) - 1}, and not counts of words."
    if may_be_ids := highest < MOST_IDS and not source.evidence.are_trusted:
        where = "" if rows else ", where ROWS is the number of rows of the embedding"
        by_python = (
            "by_id = {i: word for word, i in ids.items()}; vocabulary = "
            f"[by_id.get(i, f'{PLACEHOLDER}{{i}}>') for i in range({rows or 'ROWS'})]"
        )
        write = write_import_command_that_fills_id_gaps(source.file, rows) if source.file else by_python
        remedy = (
            f"If the numbers are ids of this module, write a vocabulary without gaps: {write}{where}. If they are "
            "counts, give a list of the words in the order of their ids."
        )
    return UnclearIdsError(
        f"{source} holds {len(taken):,} words: {brief_text(taken[highest])} has the id {brief_text(highest)}, but no "
        f"token has the id {missing}, so the numbers may be counts, or ids of another module.{known}",
        remedy,
        may_be_ids=may_be_ids,
    )


def write_import_command_that_fills_id_gaps(file: Path, rows: int, output: str = "vocab.json") -> str:
    """Return the command `pocketrnn import-vocab ...` that writes a vocabulary without gaps: the words of `file` in the
    order of their ids, with an extra token for each id without a word.

    Args:
        file: the file that holds the words and their ids.
        rows: the number of rows of the embedding; 0 if it is not known.
        output: the file that the command writes.
    """
    return f"pocketrnn import-vocab {shlex.quote(str(file))} --rows {rows or 'ROWS'} -o {shlex.quote(output)}"


def leave_out_words_without_rows(vocabulary: Vocabulary, rows: int, source: str) -> Vocabulary:
    """Return a vocabulary without the words whose ids have no row in the embedding, and log a warning with these words.

    Args:
        vocabulary: the vocabulary with all words.
        rows: the number of rows of the embedding.
        source: the name of the vocabulary in messages, such as its file.

    Raises:
        DataError: the token for unknown words has no row.
    """
    if (vocabulary.default_index or 0) >= rows:
        raise DataError(
            f"{source} gives unknown words the id {vocabulary.default_index}, but an embedding of {rows:,} rows has "
            f"only the ids 0 to {rows - 1:,}.",
            "Give the number of rows of the module's embedding as `--rows`, or the vocabulary that belongs to this "
            "module.",
        )
    if len(vocabulary.tokens) <= rows:
        return vocabulary
    kept = _leave_out_ids_without_rows(dict(enumerate(vocabulary.tokens)), rows, source)
    return replace(vocabulary, tokens=tuple(kept.values()))


def _leave_out_ids_without_rows(taken: Mapping[int, str], rows: int, source: str) -> dict[int, str]:
    """Return a dict from ids to tokens without the ids that have no row in the embedding, and log a warning with their
    tokens. `rows` is the number of rows."""
    beyond = [f"{brief_text(token)} ({number})" for number, token in taken.items() if number >= rows]
    _log.warning(
        "%s gives %s ids without a row in the embedding of %s rows: your module fails for such ids, and the bundle "
        "takes these for unknown words.", source, _name_words(beyond), f"{rows:,}",
    )  # fmt: skip
    return {number: token for number, token in taken.items() if number < rows}


def _name_words(words: Sequence[str]) -> str:
    """Return a phrase for a message with the number of words and the first few words, such as "7 words ('oil', 'gas',
    ...)". The words must already be in quotes."""
    more = ", ..." * (len(words) > _NAMED_WORDS)
    return f"{len(words):,} word{'s' * (len(words) > 1)} ({', '.join(words[:_NAMED_WORDS])}{more})"


def _fill_missing_ids(taken: dict[int, str], highest: int, source: _Origin) -> None:
    """Add a token that no text contains to `taken`, a dict from ids to tokens, for each missing id up to `highest`. A
    missing id 0 gets the padding token "<pad>" instead, unless `taken` has a padding token already."""
    missing = [i for i in range(highest + 1) if i not in taken]
    if missing[0] == 0 and _find_token([*taken.values()], PADDING, _OTHER_PADDING) is None:
        _log.warning(
            "%s has no token with the id 0. The bundle gives this id the name %s.", source, PADDING,
            extra={AFTER_AN_ERROR: ABOUT_FIRST_ID},
        )  # fmt: skip
        taken[missing.pop(0)] = PADDING
    if missing:
        more = f", ..., {len(missing):,} in all" if len(missing) > _NAMED_WORDS else ""
        _log.warning(
            "%s has no tokens with the ids %s%s. No text gets these ids.",
            source,
            ", ".join(map(str, missing[:_NAMED_WORDS])),
            more,
        )
    taken.update({i: f"{PLACEHOLDER}{i}>" for i in missing})


def _convert_id_to_int(token: Any, value: Any, source: _Origin) -> int:
    """Return the id of a token as an int. Raise a DataError if it is not an integer of Python, numpy or torch."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise DataError(
            f"{source} gives {brief_text(token)} the id {brief_text(value)}, but an id must be a whole number.",
            _GIVE_LIST,
        ) from None


def _read_file(path: Path, evidence: IdEvidence) -> Vocabulary:
    """Read the vocabulary in a file: a pickle, a numpy array, a Python literal, JSON, a table or lines of tokens. The
    content of the file decides which of these it is."""
    content = _read_content(path)
    origin = _Origin(str(path), evidence, path)
    origin = origin.name_ids() if _is_name_of_ids(path.stem) else origin
    if not content:
        raise DataError(f"{path} is empty.", _GIVE_FILE)
    if content.startswith(b"PK\x03\x04"):
        return _convert_pickled_to_vocabulary(read_zipped_vocabulary(content, str(path)), origin)
    if content.startswith(b"\x80") or (path.suffix.lower() in _PICKLE_SUFFIXES and _OLD_PICKLE.match(content)):
        return _convert_pickled_to_vocabulary(read_pickled_vocabulary(content, str(path)), origin)
    if content.startswith(_NUMPY):
        return _read_document(_read_array(content, path), origin)
    text = _decode_text(content, path)
    if (document := _parse_literal(text)) is not None:
        return _read_document(document, origin)
    if path.suffix.lower() == ".json" or _JSON.match(text):
        return _read_json(text, path, origin)
    if (ids := _read_lines_of_words_and_ids(text) or _read_table_of_words_and_ids(text, path)) is not None:
        return _read_document(ids, origin)
    found = make_vocabulary_with_unknown(_read_token_lines(text, path))
    doubtful = [i for i, one in enumerate(found.tokens) if one != one.strip() or len(one.splitlines()) > 1]
    return replace(found, doubtful_lines=tuple(doubtful))


def _read_lines_of_words_and_ids(text: str) -> dict[str, int] | None:
    """Return a dict from words to ids, read from lines such as `oil,7` with a comma, a tab or a space before the id.
    Return None for another text, and if a number occurs twice, since the numbers are then counts."""
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    for separator in ",\t ":
        parts = [line.rpartition(separator) for line in lines]
        if len(lines) < FEWEST_IDS or not all(word and re.fullmatch("[0-9]{1,9}", number) for word, _, number in parts):
            continue
        ids = {word: int(number) for word, _, number in parts}
        if len(ids) == len(lines) == len({*ids.values()}):
            return ids
    return None


def _read_table_of_words_and_ids(text: str, path: Path) -> dict[str, int] | None:
    """Return a dict from words to ids, read from a .csv or .tsv file whose first line has the names of the columns.
    The column of ids is the first with whole numbers that may be ids and differ in all rows. The column of words is the
    first with strings that differ in all rows. Return None if there are no such columns."""
    for rows in _read_tables(text, path):
        columns = [[row[place] for row in rows[1:]] for place in range(len(rows[0]))]
        count = len(rows) - 1
        for ids in (one for one in columns if all(re.fullmatch("[0-9]{1,9}", number) for number in one)):
            words = [one for one in columns if one is not ids and len({*one}) == count and any(map(str.strip, one))]
            words = [one for one in words if not all(word.isdecimal() for word in one)]
            if words and len({*ids}) == count and count_ids([*map(int, ids)], [], _NO_EVIDENCE):
                return dict(zip(words[0], map(int, ids), strict=True))
    return None


def _read_tables(text: str, path: Path) -> Iterator[list[list[str]]]:
    """Yield the rows of a .csv or .tsv file, once for each separator that splits all rows into the same number of
    fields, two or more. Yield nothing for a file of few rows, since it may be a list of tokens."""
    for separator in {".csv": ",;", ".tsv": "\t"}.get(path.suffix.lower(), ""):
        with contextlib.suppress(csv.Error):
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
            if len(rows) > FEWEST_IDS and {*map(len, rows)} == {len(rows[0])} != {1}:
                yield rows


def _read_array(content: bytes, path: Path) -> Sequence[Any] | Mapping[Any, Any]:
    """Return the list or dict of words in a file that `numpy.save` wrote from an array, a list or a dict. No code in
    the file is run."""
    try:
        header = read_array_header(content)
        if header.dtype.hasobject:
            found = read_pickle(content[header.size :], ())
        else:
            found = np.load(io.BytesIO(content), allow_pickle=False)
        plain = found.tolist() if isinstance(found, np.ndarray) else found
    # Damaged bytes may raise any exception.
    except Exception as error:
        raise DataError(f"The array in {path} cannot be read: {first_line(error)}.", _GIVE_FILE) from None
    if not isinstance(plain, list | tuple | dict):
        raise DataError(f"{path} holds {brief_text(plain)}, but must hold a list or a dict of words.", _GIVE_FILE)
    return plain


def _parse_literal(text: str) -> Sequence[Any] | Mapping[Any, Any] | None:
    """Parse the text of a list, tuple or dict as Python prints it. Return None for JSON and for any other text. No code
    in the text is run."""
    if not _LITERAL.match(text) or text.rstrip()[-1] not in "])}" or len(text) > _LARGEST_LITERAL:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(text)
        return None
    try:
        # A backslash before another character is a warning.
        with warnings.catch_warnings(action="ignore"):
            document = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return document if isinstance(document, list | tuple | dict) else None


def _read_content(path: Path) -> bytes:
    """Return the decompressed content of a file. Raise a DataError if the file does not exist, cannot be read, or is
    too large for a vocabulary."""
    try:
        with path.open("rb") as file:
            content = decompress_content(file.read(LARGEST_FILE + 1), LARGEST_FILE)
    except FileNotFoundError:
        near = suggest_near_file(path, (".txt", ".json", ".pt", ".pth", ".pkl", path.suffix.lower()))
        raise DataError(f"The file {path} does not exist.", near or _GIVE_FILE) from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a vocabulary.", _GIVE_FILE) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be read: {reason}.", "Check that the file exists and that you may read it."
        ) from None
    if len(content) > LARGEST_FILE:
        raise DataError(
            f"{path} is too large: a file of a vocabulary may have at most {LARGEST_FILE >> 20} MiB.",
            "If it is a file of weights, give it as --weights. If it holds word vectors, save only its words.",
        )
    return content


def _decode_text(content: bytes, path: Path) -> str:
    """Return the text of a UTF-8 file. Raise a DataError if the content is not UTF-8; the message names UTF-16,
    safetensors and other known kinds of files."""
    kind = next((kind for start, kind in _KNOWN_BINARIES.items() if content.startswith(start)), None)
    # A safetensors file starts with the length of its JSON header, in 8 bytes.
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content):
        raise DataError(
            f"{path} is a safetensors file of weights, not a vocabulary.", "Give it as --weights, not as --vocabulary."
        )
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path} is text in UTF-16, but must be in UTF-8.", "Save the file in UTF-8.")
    if kind is not None or b"\0" in content:
        raise DataError(f"{path} is {kind or 'a binary file'}, not a vocabulary.", _GIVE_FILE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} must be text in UTF-8, but its line {line} is not valid UTF-8.", "Save the file in UTF-8."
        ) from None


def _read_token_lines(text: str, path: Path) -> tuple[str, ...]:
    """Return the tokens of a text with one token in each line. Raise a DataError if a line is empty, or if the lines
    look like a table, word vectors, counts or other data."""
    if text.count("\r\n") == text.count("\n"):
        text = text.replace("\r\n", "\n")
    # Not splitlines: it splits at characters that tokens may contain.
    lines = text.rstrip("\n").split("\n")
    if lines == [""]:
        raise DataError(f"{path} holds no tokens.", _GIVE_FILE)
    if any(_read_tables(text, path)):
        raise DataError(
            f"{path} is a table, but has no column of different words beside a column of their ids.",
            _GIVE_FILE,
        )
    for wrong, what, remedy in (
        ("\r" in text, "\r", "Write all line breaks as LF or all as CR LF. If tokens hold it, give a JSON list."),
        (
            "\t" in text,
            "\t",
            "Give one token in each line, without counts or ids. If tokens hold it, give a JSON list.",
        ),
    ):
        # A line of only a tab is a token of a character vocabulary.
        if wrong and (number := next((i for i, line in enumerate(lines, 1) if what in line and line != "\t"), None)):
            raise DataError(f"{path} holds the character {what!r} in line {number}.", remedy)
    if "" in lines:
        raise DataError(
            f"Line {lines.index('') + 1} of {path} is empty, so it is not clear whether the id of each later token "
            "counts this line.",
            'Delete the line. If the empty string is a token of your vocabulary, give a JSON list with "".',
        )
    if all(map(_is_vector_line, lines[1:6])) and len(lines) > 2:
        raise DataError(
            f"{path} holds words and their vectors, but not the ids of the words.",
            "Give the module's weights too, so that pocketrnn can find the ids: --weights FILE. In Python, give the "
            'words in the order of their ids, such as ["<pad>", *words] if "<pad>" is the first row of the embedding.',
        )
    if len(lines) >= FEWEST_IDS and all(re.fullmatch(r"\S+[ ,][0-9]{1,9}", line) for line in lines):
        raise DataError(
            f"{path} has a word and a number in each line, such as {brief_text(lines[0])}, but the numbers are not ids "
            "from 0 or 1 on. They seem to be counts.",
            "Give only the words, in the order of their ids, with the special tokens that your code adds, such as "
            "<pad>.",
        )
    if len(lines) == 1 and len(re.split(r"[\s,;:]+", lines[0].strip())) >= _PARTS_OF_DATA:
        raise DataError(
            f"{path} has only one line, {brief_text(lines[0])}, and it looks like data and not like a token.",
            _GIVE_FILE,
        )
    _refuse_invalid_tokens(lines, str(path), "line", 1)
    return tuple(lines)


def describe_doubtful_lines(vocabulary: Vocabulary, file: Path) -> str:
    """Return a phrase such as "vocab.txt has white space in line 3 (' ')". It names the lines of a vocabulary's file
    whose tokens begin or end with white space, or contain a line break of Unicode."""
    ids = vocabulary.doubtful_lines
    lines = ", ".join(f"{i + 1} ({brief_text(vocabulary.tokens[i])})" for i in ids[:_NAMED_LINES])
    more = f" and {len(ids) - _NAMED_LINES:,} more" if len(ids) > _NAMED_LINES else ""
    return f"{file} has white space in {'line' if len(ids) == 1 else 'lines'} {lines}{more}"


def log_doubtful_lines(vocabulary: Vocabulary, file: Path) -> None:
    """Log a warning with the lines of a vocabulary's file that other code may read differently, since their tokens
    begin or end with white space or contain a line break of Unicode."""
    if vocabulary.doubtful_lines:
        _log.warning(
            "%s: the words keep it, but code that strips or splits such lines has other words. If yours does: %s",
            describe_doubtful_lines(vocabulary, file), SAVE_AS_JSON, extra={AFTER_AN_ERROR: ""},
        )  # fmt: skip


def is_word_vector_file(path: Path) -> bool:
    """Return whether the first lines of a file are words with their vectors, as in files of GloVe and word2vec. The
    very first line may be something else, such as the number of words."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = [line.rstrip("\n") for line in itertools.islice(file, 6)]
    except (OSError, UnicodeDecodeError):
        return False
    return len(lines) > 2 and all(map(_is_vector_line, lines[1:]))


def _is_vector_line(line: str) -> bool:
    """Return whether a line looks like a line of a GloVe file: a word, and at least 5 numbers with a decimal point."""
    return re.fullmatch(r"\S+(?: -?\d+\.\d+(?:e-?\d+)?){5,} ?", line) is not None


def _read_json(text: str, path: Path, origin: _Origin) -> Vocabulary:
    """Read the vocabulary in a JSON list or object, or in the JSON string that a Keras tokenizer's `to_json()` gives.
    `text` is the content of the file `path`."""
    document = parse_json(text, str(path), _GIVE_FILE)
    # Keras' `to_json()` gives a string, which many save by json.dump.
    if isinstance(document, str) and document.lstrip().startswith("{"):
        document = parse_json(document, str(path), _GIVE_FILE)
    if not isinstance(document, list | dict):
        raise DataError(f"{path} must hold a JSON list or a JSON object, but holds neither.", _GIVE_FILE)
    if isinstance(document, dict) and isinstance(document.get("tokens"), list):
        if "default_index" not in document:
            # A class of the owner's saved its members: the tokens, and often their ids once more.
            found = _read_document(document["tokens"], origin)
            ids = {token: i for i, token in enumerate(found.tokens)}
            for name, member in document.items():
                if isinstance(member, dict) and member.keys() == ids.keys() and member != ids:
                    raise DataError(
                        f"{path} has the list `tokens` in another order than the ids under {brief_text(name)} give.",
                        "Save only the dict from tokens to ids, and give that file.",
                    )
            return found
        if document.keys() != {"tokens", "default_index"}:
            more = sorted(document.keys() - {"tokens", "default_index"})
            raise DataError(
                f"{path} has unknown keys beside `tokens` and `default_index`: {', '.join(map(brief_text, more[:6]))}.",
                "Delete these keys. `default_index` is the id of unknown words, or null to drop unknown words.",
            )
        return Vocabulary(_check_tokens_by_id(document["tokens"], path), document["default_index"])
    return _read_document(document, origin)


def _read_document(document: Sequence[Any] | Mapping[Any, Any], source: _Origin, depth: int = 0) -> Vocabulary:
    """Read the vocabulary in a list or a dict. A dict may map tokens to ids or ids to tokens, be the `to_json()` of a
    Keras tokenizer, or have a vocabulary under a key such as `word2idx`; `depth` counts the keys so far."""
    if not isinstance(document, Mapping):
        found = _read_tokens_in_list_or_pairs(document, source)
        if isinstance(found, Vocabulary):
            return found
        return make_vocabulary_with_unknown(_check_tokens_by_id(_convert_to_plain_strings(found), str(source)))
    if not document or all(isinstance(value, int) for value in document.values()):
        return _read_ids(document, source)
    if all(isinstance(value, str) for value in document.values()) and all(map(_is_id_key, document)):
        tokens = list(document.values())
        _refuse_invalid_tokens(tokens, str(source), "position", 0)
        ids = dict(zip(tokens, map(int, document), strict=True))
        return _read_ids(ids, source.name_ids())
    config = document.get("config")
    if document.get("class_name") == "Tokenizer" and isinstance(config, Mapping):
        return _read_keras(config, source)
    named = [
        (name, value)
        for kind in (_TO_ID, _TO_TOKEN)
        for name, value in document.items()
        if _normalize_key(name) in kind and _is_vocabulary_member(name, value)
    ]
    if named and depth < 3:
        return _read_vocabulary_under_keys(named, source, depth + 1)
    return _read_ids(document, source)


def _read_vocabulary_under_keys(named: Sequence[tuple[Any, Any]], source: _Origin, depth: int) -> Vocabulary:
    """Read the vocabulary in `named`, pairs (key, value) of a dict. The first value must be a vocabulary. Later values
    that are vocabularies must be equal to the first, or a DataError is raised; others, such as counts, are ignored."""
    first, vocabulary = named[0][0], _read_vocabulary_under_key(*named[0], source, depth)
    for name, value in named[1:]:
        try:
            other = _read_vocabulary_under_key(name, value, source, depth)
        except DataError:
            continue
        if other.tokens != vocabulary.tokens:
            raise DataError(
                f"{source} holds different vocabularies under {brief_text(first)} and {brief_text(name)}.",
                "Give only the vocabulary that the model was trained with.",
            )
    return vocabulary


def _read_vocabulary_under_key(name: Any, value: Any, source: _Origin, depth: int) -> Vocabulary:
    """Read the vocabulary `value` under the key `name`. If it maps numbers to numbers, the key shows which of them are
    the words: for {"word2idx": {"7": "0"}}, the word is "7"."""
    source = source.name_ids() if _is_name_of_ids(name) else source
    says_ids = "2" in _normalize_key(name) and _normalize_key(name) in _TO_ID
    if isinstance(value, Mapping) and says_ids and all(isinstance(number, str) for number in value.values()):
        return _read_ids(value, source)
    if isinstance(value, Mapping) and _normalize_key(name) in _TO_TOKEN - {"itos"} and all(map(_is_id_key, value)):
        tokens = list(value.values())
        _refuse_invalid_tokens(tokens, str(source), "position", 0)
    return _read_document(value, source, depth)


def _is_name_of_ids(name: Any) -> bool:
    """Return whether a name says that the numbers beside words are ids. `word2idx` says so, but `vocab` does not, since
    its numbers may be counts."""
    return _normalize_key(name) in (_TO_ID | _TO_TOKEN) - {"vocab", "vocabulary"}


def _is_vocabulary_member(name: Any, value: object) -> bool:
    return _normalize_key(name) in _TO_ID | _TO_TOKEN and isinstance(value, Mapping | list)


def _normalize_key(name: Any) -> str:
    """Return the common form of keys that mean the same: `word2idx` for `word_to_idx` and `Word2Idx`."""
    return str(name).lower().replace("_to_", "2").replace("_", "")


def _is_id_key(name: Any) -> bool:
    """Return whether a key of a dict is an id: an int, or digits, since the keys of JSON are strings."""
    if isinstance(name, str):
        return name.isascii() and name.isdecimal() and len(name) < 10
    return type(name) is int


def _read_tokens_in_list_or_pairs(items: Sequence[Any], source: _Origin) -> Sequence[Any] | Vocabulary:
    """Return the vocabulary in a list of pairs (token, id) or (id, token). For a list of pairs (token, count) with
    falling counts, return the list of its tokens. Return any other list unchanged."""
    if not items or not all(isinstance(item, list | tuple) and len(item) == 2 for item in items):
        return items
    pairs = [(b, a) if isinstance(b, str) and type(a) is int else (a, b) for a, b in items]
    tokens, numbers = (
        [token for token, _ in pairs],
        [_convert_id_to_int(token, number, source) for token, number in pairs],
    )
    _refuse_invalid_tokens(tokens, str(source), "position", 0)
    are_contiguous = sorted(numbers) in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))
    if are_contiguous or numbers != sorted(numbers, reverse=True):
        return _read_ids(dict(zip(tokens, numbers, strict=True)), source)
    _log.warning("%s holds tokens with counts: the position of a token, from 0, is used as its id.", source)
    return tokens


def _read_keras(config: Mapping[str, Any], source: _Origin) -> Vocabulary:
    """Read the vocabulary in the settings `config` of a `tf.keras.preprocessing.text.Tokenizer`. Its ids begin at 1,
    and only ids below `num_words` are used (`texts_to_sequences` in keras/src/legacy/preprocessing/text.py)."""
    index, most, unknown = config.get("word_index"), config.get("num_words"), config.get("oov_token")
    ids = parse_json(index, f"{source}: word_index", _GIVE_FILE) if isinstance(index, str) else index
    if not isinstance(ids, Mapping) or not (most is None or type(most) is int):
        raise DataError(
            f"{source} is a Keras tokenizer, but has no dict `word_index`, or its `num_words` is not a whole number.",
            "Save the tokenizer again: write the string that `tokenizer.to_json()` returns to a file.",
        )
    if most is not None:
        ids = {token: number for token, number in ids.items() if isinstance(number, int) and number < most}
    found = _read_ids(ids, source.name_ids())
    split = read_keras_split(config)
    line = "" if split is None else split.write_tokens("text")
    advice = (
        f"A string that your --tokenizer function gives is split so. If it gives tokens, end it with: return {line}"
    )
    _log.warning(
        "%s is a Keras tokenizer: its words are read, but not its way to split a text (lower: %s, filters: %s). %s",
        source, brief_text(config.get("lower")), brief_text(config.get("filters")), advice * bool(line),
    )  # fmt: skip
    default = found.tokens.index(unknown) if unknown in found.tokens else None
    return replace(found, default_index=default, keras=split)


def _convert_pickled_to_vocabulary(saved: SavedVocab | list[Any] | dict[str, Any], source: _Origin) -> Vocabulary:
    """Convert a torchtext Vocab, a list or a dict that was read from a pickle to a `Vocabulary`."""
    if isinstance(saved, SavedVocab):
        if saved.default_index is not None and type(saved.default_index) is not int:
            raise DataError(
                f"{source} holds a Vocab with the default index {brief_text(saved.default_index)}, but it must be a "
                "whole number or None.",
                SAVE_PLAIN,
            )
        return Vocabulary(_check_tokens_by_id(saved.tokens, str(source)), saved.default_index)
    return _read_document(saved, source)


def _check_tokens_by_id(tokens: Sequence[Any], source: Path | str) -> tuple[str, ...]:
    """Return tokens in the order of their ids as a tuple. Raise a DataError if there are none, or if a token is not a
    string or occurs twice; the message has its id."""
    _refuse_invalid_tokens(tokens, str(source), "id", 0)
    return tuple(tokens)


def _has_surrogate(token: str) -> bool:
    """Return whether a token contains half of a surrogate pair, which UTF-8 cannot encode but JSON can escape."""
    return not token.isascii() and any("\ud800" <= character <= "\udfff" for character in token)
