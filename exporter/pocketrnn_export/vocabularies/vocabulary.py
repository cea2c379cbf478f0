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
from pocketrnn_export.vocabularies.keras_split import KerasSplit, read_keras_split
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
    """The methods of a `torchtext.vocab.Vocab` that pocketrnn uses. Its TorchScript form has them, too."""

    def get_itos(self) -> list[str]: ...

    def get_default_index(self) -> int | None: ...


@dataclass(frozen=True)
class Vocabulary:
    """The tokens in the order of their ids, and the id of unknown words.

    Attributes:
        tokens: the tokens; a token's position is its id.
        default_index: the id that an unknown word gets; None to drop unknown words. It may be higher than the ids of
            all tokens if the embedding has more rows than the vocabulary.
        keras: the settings by which the Keras Tokenizer with these tokens splits a text; None if the tokens have
            another source.
        doubtful_lines: the ids of those tokens of a text file that other code may read differently, by `line.strip()`
            or `splitlines()`.
        left_out: pairs (word, id) of the words that the bundle takes for unknown, since the embedding has no row for
            the id, or since the id is that of unknown words.

    Raises:
        DataError: there are no tokens, a token is not a string or occurs twice, or default_index is not an integer.
    """

    tokens: tuple[str, ...] = field(repr=False)
    default_index: int | None
    keras: KerasSplit | None = field(default=None, repr=False, compare=False)
    doubtful_lines: tuple[int, ...] = field(default=(), repr=False, compare=False)
    left_out: tuple[tuple[str, int], ...] = field(default=(), repr=False, compare=False)

    @property
    def word_ids(self) -> dict[str, int]:
        """The dict from words to ids as the source has it: with the words that the bundle takes for unknown, and
        without tokens that only fill gaps."""
        named = {token: i for i, token in enumerate(self.tokens) if not token.startswith(PLACEHOLDER)}
        return {**named, **dict(self.left_out)}

    def __post_init__(self) -> None:
        _refuse_invalid_tokens(self.tokens, "The vocabulary", "id", 0)
        if self.default_index is not None and type(self.default_index) is not int:
            raise DataError(
                f"The vocabulary's default index is {brief_text(self.default_index)}, not a whole number.",
                "Give the id of the token that stands for unknown words, or None.",
            )


@dataclass(frozen=True)
class _Origin:
    """The source of a vocabulary.

    Attributes:
        name: its name, for messages.
        evidence: what shows whether the numbers beside its words are ids.
        file: its file; None if it is an object.
    """

    name: str
    evidence: IdEvidence
    file: Path | None = None

    def __str__(self) -> str:
        return self.name

    def name_ids(self) -> _Origin:
        """Return a copy that says that a name, such as `word2idx`, marks the numbers as ids."""
        return replace(self, evidence=replace(self.evidence, are_named_ids=True))


class UnclearIdsError(DataError):
    """Raised if the numbers beside words may be counts, or the ids of another module.

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
    """Read a vocabulary from any object or file that holds one.

    A file's kind is recognized by its content; its extension only decides between two possible kinds.

    - a `Vocabulary`: returned as it is - tokens in a list or tuple, in the order of their ids; pairs (token, id), or
    (token, count) by falling count, as
      `Counter.most_common` gives them: a token's position is its id then
    - a dict token -> id or id -> token, each id once. Up to half of the ids may have no token: id 0 becomes "<pad>"
      where there is none, and another becomes a token that no text can give. Words whose ids have no row in the
      embedding are left out, and so are words that share the id of the token for unknown words. That is logged
    - a dict that holds one of these as `word2idx`, `stoi`, `itos` or under a name like these - an object with
    `get_itos()` and `get_default_index()` (`torchtext.vocab.Vocab`, also scripted) or with a list
      `itos` and an `unk_index`, or a `stoi` with a default (torchtext up to 0.8)
    - an object of your own class that holds such a dict or list as `word2idx`, `stoi`, `itos` or the like - the path of
    a text file in UTF-8, a token a line: spaces belong to the token, since n-grams hold some; the line
      breaks are LF or CR LF; empty lines at the end are not tokens, and one elsewhere is an error
    - the path of a list, a tuple or a dict as Python prints it: `{'<unk>': 0, 'oil': 1}`. No code in it is run - the
    path of the same as JSON, of a Keras tokenizer's `to_json()`, or of what `write_vocabulary` wrote - the path of a
    Vocab, a list, a tuple or a dict that `torch.save`, `pickle.dump` or `joblib.dump` wrote. Nothing in
      it is run; see `pickled_vocabulary.py`. A checkpoint may hold it under any key, beside weights: the key is logged
    - the path of a table, .csv or .tsv, with a line of names, a column of words and one of their ids - the path of an
    array of strings, or of a list or dict, that `numpy.save` wrote. Nothing in it is run - the path of one of these
    files, compressed by zlib, gzip, bzip2 or xz

    A torchtext Vocab's default index, or its absence, is kept. For sources that cannot have one (lists, dicts, your own
    class, text files), the default index is the id of "<unk>", of the one token with a name like it ("[UNK]", "<OOV>"),
    or None.

    Args:
        source: the object, or the path of the file.
        evidence: what shows whether numbers with gaps are ids, such as the number of rows of the embedding.

    Raises:
        UnclearIdsError: the numbers of the words may be counts, or the ids of another module.
        DataError: the source holds no vocabulary, or an id does not stand for exactly one token.
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
    raise DataError(f"The vocabulary is of type {type(source).__name__}.", _GIVE_LIST)


def make_implied_rules(vocabulary: Vocabulary, tokenizer: str = "basic_english") -> TextRules:
    """Return text rules with the ids that a vocabulary implies: those of unknown words, of padding and of empty texts.

    An unknown word gets the default index as its id; without a default index it is dropped. Rows are padded with
    "<pad>" or the one token with a name like it ("[PAD]"), else with id 0. A text without a token gets the id of
    unknown words, else that of padding.

    Raises:
        InputError: the tokenizer is unknown, or the default index is negative, which no embedding can look up.
    """
    if vocabulary.default_index is not None and vocabulary.default_index < 0:
        raise InputError(
            f"The vocabulary's default index is {brief_text(vocabulary.default_index)}, but an embedding has no row "
            "with a negative number.",
            "Give the id that the model was trained with for unknown words, or none (null in the file that "
            "`pocketrnn import-vocab -o` writes) to drop them.",
        )
    padding = _find_token(vocabulary.tokens, PADDING, _OTHER_PADDING) or 0
    return TextRules(
        tokenizer=tokenizer,
        unknown_id=vocabulary.default_index,
        empty_id=padding if vocabulary.default_index is None else vocabulary.default_index,
        padding_id=padding,
    )


def write_vocabulary(vocabulary: Vocabulary, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a vocabulary as JSON in UTF-8: `{"default_index": id or null, "tokens": [...]}`, with one token in each
    line. The file is written whole or not at all.

    `read_vocabulary` gives back an equal vocabulary.

    Args:
        vocabulary: the vocabulary.
        path: the file; its folder must exist.
        force: whether to replace an existing file.

    Raises:
        OutputError: there is a file already, or the file cannot be written.
    """
    path = Path(path)
    content = json.dumps({"default_index": vocabulary.default_index, "tokens": vocabulary.tokens}, indent=1,
                         ensure_ascii=any(map(_has_surrogate, vocabulary.tokens)))  # fmt: skip
    # `write_whole_file` would write through a link, to a file that the user did not name.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise OutputError(f"{path} is a folder, a link or a device.", "Give the name of a file to write.")
    with write_whole_file(path, force=force) as file:
        file.write(content.encode() + b"\n")


def _convert_to_plain_strings(tokens: Sequence[Any]) -> tuple[Any, ...]:
    """Return the tokens as plain strings. Subclasses of str, such as numpy's, are converted."""
    return tuple(str.__str__(token) if isinstance(token, str) else token for token in tokens)


def make_vocabulary_with_unknown(tokens: tuple[Any, ...]) -> Vocabulary:
    """Make a vocabulary from tokens in the order of their ids. Unknown words get the id of "<unk>", or of the only
    token with a name like it, such as "[UNK]"; without one, they are dropped."""
    return Vocabulary(tokens, _find_token(tokens, UNKNOWN, _OTHER_UNKNOWN))


def _find_token(tokens: Sequence[Any], name: str, other_names: re.Pattern[str]) -> int | None:
    """Return the id of the token `name`. If there is no such token, return the id of the only token that matches
    `other_names`, whatever its case. Return None if no token or several tokens match."""
    if name in tokens:
        return tokens.index(name)
    found = [i for i, token in enumerate(tokens) if isinstance(token, str) and other_names.fullmatch(token.lower())]
    return found[0] if len(found) == 1 else None


def _find_default_of_stoi(vocab: object) -> int | None:
    """Return the id that the `stoi` of an old torchtext Vocab gives to unknown words. Return None for any other
    object."""
    factory = getattr(getattr(vocab, "stoi", None), "default_factory", None)
    default = factory() if factory is not None else None
    return default if type(default) is int else None


def _refuse_invalid_tokens(tokens: Sequence[Any], source: str, unit: str, first: int) -> None:
    """Raise a DataError for an empty vocabulary, for a token that is not a string, and for a token that occurs twice.
    `unit` and `first` say how messages count tokens: lines from 1, or ids from 0."""
    if not tokens:
        raise DataError(f"{source} holds no token.", "Give the vocabulary that the model was trained with.")
    # Both checks are made in C for the usual case: 100,000 tokens take 6 ms.
    if set(map(type, tokens)) != {str}:
        index, token = next((i, token) for i, token in enumerate(tokens) if type(token) is not str)
        raise DataError(
            f"{source} holds {brief_text(token)} at {unit} {index + first}, of type {type(token).__name__} and not a "
            "string.",
            _GIVE_LIST,
        )
    if len(set(tokens)) != len(tokens):
        seen: dict[str, int] = {}
        for i, token in enumerate(tokens):
            if (before := seen.setdefault(token, i)) != i:
                raise DataError(
                    f"{source} holds {brief_text(token)} twice, at {unit} {before + first} and {unit} {i + first}.",
                    "Give every token once; a token's position is its id.",
                )


def _read_ids(ids: Mapping[Any, Any], source: _Origin) -> Vocabulary:
    """Return the vocabulary of a dict from tokens to ids. Tokens that no text contains are added for ids without a
    token."""
    if isinstance(ids, collections.Counter):
        raise DataError(f"{source} is a Counter, which holds counts and not ids.", _GIVE_LIST)
    if isinstance(ids.get("model"), Mapping) and "added_tokens" in ids:
        raise DataError(
            f"{source} is a tokenizer of Hugging Face's library, which is more than a vocabulary.",
            "Give it with --tokenizer FILE, and leave --vocabulary out; in Python, give tokenizer=, not vocabulary=.",
        )
    taken: dict[int, str] = {}
    for token, value in _leave_out_unknown_words(ids, source).items():
        number = _convert_id_to_int(token, value, source)
        if taken.setdefault(number, token) is not token:
            raise UnclearIdsError(
                f"{source} gives the id {brief_text(number)} to {brief_text(taken[number])} and to "
                f"{brief_text(token)}.",
                "Give every token an id of its own.",
                may_be_ids=False,
            )
    if min(taken, default=0) < 0:
        raise DataError(
            f"{source}: {brief_text(taken[min(taken)])} has the id {brief_text(min(taken))}, which is below 0.",
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
    """Return a dict from tokens to ids without the words whose id is that of the token for unknown words. A dict that
    adds each word that is looked up, such as a `defaultdict`, contains such words."""
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
    """Make the error of numbers that may be counts, or the ids of another module.

    Args:
        taken: a dict from the numbers to the words.
        source: what holds them.
    """
    highest, rows = max(taken), source.evidence.count_rows()
    missing = next(i for i in range(len(taken) + 1) if i not in taken)
    known = f" The embedding has {rows:,} rows." if rows else ""
    remedy = f"Number the words from 0 to {len(taken) - 1}, as your module does; counts are not ids."
    if may_be_ids := highest < MOST_IDS and not source.evidence.are_trusted:
        where = "" if rows else ", where ROWS is the number of rows of the embedding"
        by_python = (
            "by_id = {i: word for word, i in ids.items()}; vocabulary = "
            f"[by_id.get(i, f'{PLACEHOLDER}{{i}}>') for i in range({rows or 'ROWS'})]"
        )
        write = write_import_command_that_fills_id_gaps(source.file, rows) if source.file else by_python
        remedy = (
            f"If they are ids of this module, write them without gaps: {write}{where}. If they are counts, give the "
            "words in the order of their ids."
        )
    return UnclearIdsError(
        f"{source} holds {len(taken):,} words: {brief_text(taken[highest])} has the id {brief_text(highest)}, but no "
        f"token has the id {missing}, so the numbers may be counts, or ids of another module.{known}",
        remedy,
        may_be_ids=may_be_ids,
    )


def write_import_command_that_fills_id_gaps(file: Path, rows: int, output: str = "vocab.json") -> str:
    """Return the command `pocketrnn import-vocab ...` that writes the words of a file in the order of their ids, with a
    token for each id without a word.

    Args:
        file: the file.
        rows: the number of rows of the embedding; 0 if it is not known.
        output: the file that the command writes.
    """
    return f"pocketrnn import-vocab {shlex.quote(str(file))} --rows {rows or 'ROWS'} -o {shlex.quote(output)}"


def leave_out_words_without_rows(vocabulary: Vocabulary, rows: int, source: str) -> Vocabulary:
    """Return a vocabulary without the words whose ids have no row in the embedding, and log a warning that names them.

    Args:
        vocabulary: the words.
        rows: the number of rows of the embedding.
        source: what holds the words, for messages.

    Raises:
        DataError: the token for unknown words has no row.
    """
    if (vocabulary.default_index or 0) >= rows:
        raise DataError(
            f"{source}: unknown words have the id {vocabulary.default_index}, but the highest id of {rows:,} rows is "
            f"{rows - 1:,}.",
            "Give the number of rows of the module's embedding, or the vocabulary of this module.",
        )
    if len(vocabulary.tokens) <= rows:
        return vocabulary
    kept = _leave_out_ids_without_rows(dict(enumerate(vocabulary.tokens)), rows, source)
    return replace(vocabulary, tokens=tuple(kept.values()))


def _leave_out_ids_without_rows(taken: Mapping[int, str], rows: int, source: str) -> dict[int, str]:
    """Return a dict from ids to tokens without the ids that have no row in the embedding, and log a warning. `rows` is
    the number of rows."""
    beyond = [f"{brief_text(token)} ({number})" for number, token in taken.items() if number >= rows]
    _log.warning(
        "%s gives %s ids without a row in the embedding of %s rows: your module fails for such ids, and the bundle "
        "takes these for unknown words.", source, _name_words(beyond), f"{rows:,}",
    )  # fmt: skip
    return {number: token for number, token in taken.items() if number < rows}


def _name_words(words: Sequence[str]) -> str:
    """Return the number of some words and the first of them in quotes, for a message, such as "7 words ('oil', 'gas',
    ...)"."""
    more = ", ..." * (len(words) > _NAMED_WORDS)
    return f"{len(words):,} word{'s' * (len(words) > 1)} ({', '.join(words[:_NAMED_WORDS])}{more})"


def _fill_missing_ids(taken: dict[int, str], highest: int, source: _Origin) -> None:
    """Add a placeholder to `taken`, a dict from ids to tokens, for each id up to `highest` that has no token. If the id
    0 is missing, it becomes the padding token, unless there is one already."""
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
    """Return an id as an int. Integers of numpy and torch are accepted, but True is not."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise DataError(
            f"{source} gives {brief_text(token)} the id {brief_text(value)}, which is not a whole number.",
            _GIVE_LIST,
        ) from None


def _read_file(path: Path, evidence: IdEvidence) -> Vocabulary:
    """Read the vocabulary in a file, whose kind its content shows: a pickle, a Python literal, JSON or lines."""
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
    """Return the ids of words from lines such as `oil,7`, with a comma, a tab or a space before the number. Return None
    for other texts, and if a number occurs twice, since the numbers are then counts."""
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
    """Return the ids of words from a .csv or .tsv file whose first line has names of columns. The ids are the first
    column whose values may be ids, each once; the words are the first other column with as many different values.
    Return None for other files."""
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
    """Yield the rows of a .csv or .tsv file, once for each separator that divides all rows into the same number of
    fields, at least two. Tables of few rows are left out, since such a file may be a list of tokens."""
    for separator in {".csv": ",;", ".tsv": "\t"}.get(path.suffix.lower(), ""):
        with contextlib.suppress(csv.Error):
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
            if len(rows) > FEWEST_IDS and {*map(len, rows)} == {len(rows[0])} != {1}:
                yield rows


def _read_array(content: bytes, path: Path) -> Sequence[Any] | Mapping[Any, Any]:
    """Return the words in a file that `numpy.save` wrote: an array of strings, or a list or dict as an object. No code
    in the file is run."""
    try:
        header = read_array_header(content)
        if header.dtype.hasobject:
            found = read_pickle(content[header.size :], ())
        else:
            found = np.load(io.BytesIO(content), allow_pickle=False)
        plain = found.tolist() if isinstance(found, np.ndarray) else found
    # Damaged bytes may raise any exception.
    except Exception as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}.", _GIVE_FILE) from None
    if not isinstance(plain, list | tuple | dict):
        raise DataError(f"{path} holds {brief_text(plain)}, not a vocabulary.", _GIVE_FILE)
    return plain


def _parse_literal(text: str) -> Sequence[Any] | Mapping[Any, Any] | None:
    """Parse a list, tuple or dict as Python prints it. Return None for other texts, and for JSON. No name in the text
    is looked up, and nothing is called."""
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
    """Read the bytes of a file, and decompress them. Raise a DataError if the file is too large for a vocabulary."""
    try:
        with path.open("rb") as file:
            content = decompress_content(file.read(LARGEST_FILE + 1), LARGEST_FILE)
    except FileNotFoundError:
        near = suggest_near_file(path, (".txt", ".json", ".pt", ".pth", ".pkl", path.suffix.lower()))
        raise DataError(f"There is no file {path}.", near or _GIVE_FILE) from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a vocabulary.", _GIVE_FILE) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be read: {reason}.", "Check that the file exists and that you may read it."
        ) from None
    if len(content) > LARGEST_FILE:
        raise DataError(
            f"{path} is larger than {LARGEST_FILE >> 20} MiB, too large for a vocabulary.",
            "Give a file of weights with --weights. If it also holds word vectors, save only its tokens.",
        )
    return content


def _decode_text(content: bytes, path: Path) -> str:
    """Decode a UTF-8 file. Raise a DataError for another file; it names UTF-16 and known kinds of binary files."""
    kind = next((kind for start, kind in _KNOWN_BINARIES.items() if content.startswith(start)), None)
    # A safetensors file starts with the length of its JSON header, in 8 bytes.
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content):
        raise DataError(
            f"{path} is a safetensors file: weights, not a vocabulary.", "`pocketrnn export` takes it with --weights."
        )
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path} is UTF-16 text, not UTF-8.", "Save it as UTF-8.")
    if kind is not None or b"\0" in content:
        raise DataError(f"{path} is {kind or 'a binary file'}, not a vocabulary.", _GIVE_FILE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} is not UTF-8 text: line {line} cannot be decoded.", "Save it as UTF-8.") from None


def _read_token_lines(text: str, path: Path) -> tuple[str, ...]:
    """Return the tokens of a text with one token in each line. Raise a DataError if the lines look like data or word
    vectors."""
    if text.count("\r\n") == text.count("\n"):
        text = text.replace("\r\n", "\n")
    # Not splitlines: it splits at characters that tokens may contain.
    lines = text.rstrip("\n").split("\n")
    if lines == [""]:
        raise DataError(f"{path} holds no token.", _GIVE_FILE)
    if any(_read_tables(text, path)):
        raise DataError(
            f"{path} is not a vocabulary: it is a table without a column of words and a column of their ids.",
            _GIVE_FILE,
        )
    for wrong, what, remedy in (
        ("\r" in text, "\r", "Use one kind of line break, LF or CR LF; a token with a carriage return needs JSON."),
        ("\t" in text, "\t", "Give one token in each line, without counts or ids. A token with a tab needs JSON."),
    ):
        # A line of only a tab is a token of a character vocabulary.
        if wrong and (number := next((i for i, line in enumerate(lines, 1) if what in line and line != "\t"), None)):
            raise DataError(f"{path} holds {what!r} in line {number}.", remedy)
    if "" in lines:
        raise DataError(
            f"Line {lines.index('') + 1} of {path} is empty, so it is not clear which ids follow.",
            'Delete the line, or give a JSON list if "" is a token.',
        )
    if all(map(_is_vector_line, lines[1:6])) and len(lines) > 2:
        raise DataError(
            f"{path} holds word vectors, but not the ids of the words.",
            "Give the weights, too, which show these ids: --weights FILE. In Python, give the words in the order of "
            'their ids, such as ["<pad>", *words] if the embedding has one row more than the file.',
        )
    if len(lines) >= FEWEST_IDS and all(re.fullmatch(r"\S+[ ,][0-9]{1,9}", line) for line in lines):
        raise DataError(
            f"{path} has a word and a number in each line, as {brief_text(lines[0])}, and the numbers are not ids from "
            "0 or 1 on: they seem to be counts.",
            "Give the words alone, in the order of their ids, with those that your code puts before or after them.",
        )
    if len(lines) == 1 and len(re.split(r"[\s,;:]+", lines[0].strip())) >= _PARTS_OF_DATA:
        raise DataError(
            f"{path} holds one line, {brief_text(lines[0])}, which looks like data and not like a token.", _GIVE_FILE
        )
    _refuse_invalid_tokens(lines, str(path), "line", 1)
    return tuple(lines)


def describe_doubtful_lines(vocabulary: Vocabulary, file: Path) -> str:
    """Return a phrase that names the lines of a vocabulary's file whose tokens begin or end with white space, or
    contain a line break of Unicode, such as "vocab.txt has white space in line 3 (' ')"."""
    ids = vocabulary.doubtful_lines
    lines = ", ".join(f"{i + 1} ({brief_text(vocabulary.tokens[i])})" for i in ids[:_NAMED_LINES])
    more = f" and {len(ids) - _NAMED_LINES:,} more" if len(ids) > _NAMED_LINES else ""
    return f"{file} has white space in {'line' if len(ids) == 1 else 'lines'} {lines}{more}"


def log_doubtful_lines(vocabulary: Vocabulary, file: Path) -> None:
    """Log a warning about the lines that `describe_doubtful_lines` names, since other code may read them
    differently."""
    if vocabulary.doubtful_lines:
        _log.warning(
            "%s: the words keep it, but code that strips or splits such lines has other words. If yours does: %s",
            describe_doubtful_lines(vocabulary, file), SAVE_AS_JSON, extra={AFTER_AN_ERROR: ""},
        )  # fmt: skip


def is_word_vector_file(path: Path) -> bool:
    """Return whether each line of a file has a word and its vector, as in files of GloVe. The first line may have the
    number of words instead, as in word2vec's text files."""
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
    """Read the vocabulary in a JSON list or object, or in the JSON string that Keras' `to_json()` gives."""
    document = parse_json(text, str(path), _GIVE_FILE)
    # Keras' `to_json()` gives a string, which many save by json.dump.
    if isinstance(document, str) and document.lstrip().startswith("{"):
        document = parse_json(document, str(path), _GIVE_FILE)
    if not isinstance(document, list | dict):
        raise DataError(f"{path} holds neither a list nor an object.", _GIVE_FILE)
    if isinstance(document, dict) and isinstance(document.get("tokens"), list):
        if "default_index" not in document:
            # A class of the owner's saved its members: the tokens, and often their ids once more.
            found = _read_document(document["tokens"], origin)
            ids = {token: i for i, token in enumerate(found.tokens)}
            for name, member in document.items():
                if isinstance(member, dict) and member.keys() == ids.keys() and member != ids:
                    raise DataError(
                        f"{path} has tokens in another order than the ids of {brief_text(name)}.",
                        "Save only the dict from tokens to ids.",
                    )
            return found
        if document.keys() != {"tokens", "default_index"}:
            more = sorted(document.keys() - {"tokens", "default_index"})
            raise DataError(
                f"{path} has more members than tokens and default_index: {', '.join(map(brief_text, more[:6]))}.",
                "Leave only these two members: default_index is the id of unknown words, or null to drop them.",
            )
        return Vocabulary(_check_tokens_by_id(document["tokens"], path), document["default_index"])
    return _read_document(document, origin)


def _read_document(document: Sequence[Any] | Mapping[Any, Any], source: _Origin, depth: int = 0) -> Vocabulary:
    """Read the vocabulary in a list or a dict, in one of the forms that `read_vocabulary` lists."""
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
    """Read the vocabulary in `named`, pairs (key, value) of a dict. If several of them have a vocabulary, these must be
    equal; otherwise, raise a DataError.

    A member that cannot be read is ignored if another can, such as `vocab` with counts.
    """
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
    """Read the vocabulary under a key. If a dict maps numbers to numbers, the key may show which of them are the words:
    the keys in {"word2idx": {"7": "0"}}."""
    source = source.name_ids() if _is_name_of_ids(name) else source
    says_ids = "2" in _normalize_key(name) and _normalize_key(name) in _TO_ID
    if isinstance(value, Mapping) and says_ids and all(isinstance(number, str) for number in value.values()):
        return _read_ids(value, source)
    if isinstance(value, Mapping) and _normalize_key(name) in _TO_TOKEN - {"itos"} and all(map(_is_id_key, value)):
        tokens = list(value.values())
        _refuse_invalid_tokens(tokens, str(source), "position", 0)
    return _read_document(value, source, depth)


def _is_name_of_ids(name: Any) -> bool:
    """Return whether a name, such as `word2idx`, says that the numbers beside words are ids. The numbers in a `vocab`
    may be counts."""
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
    """Return the tokens or the vocabulary in a list. Its items are tokens, pairs of a token and its id in either order,
    or pairs (token, count) with falling counts."""
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
    """Read a `tf.keras.preprocessing.text.Tokenizer`. Its ids begin at 1, and only ids below `num_words` are used.

    The source: `texts_to_sequences` in keras/src/legacy/preprocessing/text.py.
    """
    index, most, unknown = config.get("word_index"), config.get("num_words"), config.get("oov_token")
    ids = parse_json(index, f"{source}: word_index", _GIVE_FILE) if isinstance(index, str) else index
    if not isinstance(ids, Mapping) or not (most is None or type(most) is int):
        raise DataError(f"{source} is a Keras tokenizer without a word_index.", _GIVE_FILE)
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
    """Convert what a pickle holds, a torchtext Vocab, a list or a dict, to a `Vocabulary`. `source` names the file in
    errors."""
    if isinstance(saved, SavedVocab):
        if saved.default_index is not None and type(saved.default_index) is not int:
            raise DataError(f"{source} holds a Vocab whose default index is not a whole number.", SAVE_PLAIN)
        return Vocabulary(_check_tokens_by_id(saved.tokens, str(source)), saved.default_index)
    return _read_document(saved, source)


def _check_tokens_by_id(tokens: Sequence[Any], source: Path | str) -> tuple[str, ...]:
    """Return the tokens, in the order of their ids, as a tuple. Raise a DataError that names the id of a token that is
    not valid."""
    _refuse_invalid_tokens(tokens, str(source), "id", 0)
    return tuple(tokens)


def _has_surrogate(token: str) -> bool:
    """Return whether a token contains half of a surrogate pair. UTF-8 cannot encode it, but JSON writes it as an
    escape."""
    return not token.isascii() and any("\ud800" <= character <= "\udfff" for character in token)
