"""Read a sentencepiece `.model` file as text rules of subwords. The library sentencepiece is not needed.

google/sentencepiece defines the file's protobuf message in src/sentencepiece_model.proto, the normalization in
src/normalizer.cc, and the models in src/unigram_model.cc (`EncodeOptimized`) and src/bpe_model.cc.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import Replace, SubwordRules
from pocketrnn.text.sentencepiece_charsmap import Charsmap
from pocketrnn.text.subword_models import MOST_PIECES, Bpe, Unigram
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_steps import Fold, Prepend, Strip, SubwordStep, Table
from pocketrnn_export.vocabularies.tokenizer_json import EXTERNAL_WAY, Subwords

_NOT_ONE: Final = "Fetch the `.model` file again, or train it again with sentencepiece."
_KINDS: Final = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
# SentencePiece.Type
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_UNIGRAM, _CHAR = 1, 4
_MARK: Final = "\u2581"


class _DamagedModelError(ValueError):
    """Raised if bytes are not a sentencepiece model."""


class _Piece(NamedTuple):
    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class _ModelSettings:
    """The settings of the trainer and the normalizer in a sentencepiece model. The default replaces a missing setting.

    Attributes:
        kind: the type of the model: 1 unigram, 2 BPE, 3 words, 4 characters.
        byte_fallback: whether an unknown character becomes the pieces of its bytes.
        suffix: whether a space is marked at the end of a word, and not at its beginning.
        charsmap: the table that replaces characters; empty if there is none.
        dummy_prefix: whether a space is put before each text.
        extra_spaces: whether repeated spaces are removed.
        escaped: whether a space becomes the character U+2581.
    """

    kind: int
    byte_fallback: bool
    suffix: bool
    charsmap: bytes
    dummy_prefix: bool
    extra_spaces: bool
    escaped: bool


def read_sentencepiece(content: bytes, source: str) -> Subwords:
    """Read the text rules in a `.model` file of sentencepiece. The rules give the same ids as
    `SentencePieceProcessor.encode(text)`.

    Args:
        content: the bytes of the file.
        source: the name of the file in messages.

    Raises:
        InputError: the file is damaged, or text rules cannot express a part of it; the message names the part.
    """
    try:
        pieces, spec = _read_model(content)
    except _DamagedModelError as error:
        raise InputError(f"{source} is damaged, or is not a model of sentencepiece: {error}.", _NOT_ONE) from None
    odd = ""
    if spec.kind not in (1, 2, 4):
        odd = f"the type {_KINDS.get(spec.kind, spec.kind)}"
    elif spec.suffix or not spec.escaped:
        odd = "treat_whitespace_as_suffix=true" if spec.suffix else "escape_whitespaces=false"
    if odd:
        raise InputError(
            f"{source}: pocketrnn's text rules cannot express a sentencepiece model with {odd}.",
            "Convert the model to a tokenizer.json with transformers: "
            f"AutoTokenizer.from_pretrained(...).save_pretrained(folder). {EXTERNAL_WAY}",
        )
    return replace(_make_subwords(pieces, spec, source), content=content)


def read_charsmap(content: bytes) -> bytes:
    """Return the table by which a sentencepiece model replaces characters (`precompiled_charsmap`), or empty bytes if
    the model has no such table. `content` has the bytes of the `.model` file."""
    return _read_model(content)[1].charsmap


def _make_subwords(pieces: Sequence[_Piece], spec: _ModelSettings, source: str) -> Subwords:
    """Make the text rules and the list of tokens from the pieces and the settings of a sentencepiece model."""
    kinds = [piece.kind for piece in pieces]
    unknown = [i for i, kind in enumerate(kinds) if kind == _UNKNOWN]
    if len(unknown) != 1:
        raise InputError(
            f"{source} has {len(unknown)} pieces of the type UNKNOWN, but must have exactly one.", _NOT_ONE
        )
    tokens = tuple(piece.text for piece in pieces)
    if len(set(tokens)) != len(tokens):
        twice = next(token for i, token in enumerate(tokens) if token in tokens[:i])
        raise InputError(f"{source} is damaged: it holds the piece {short_repr(twice, 40)} twice.", _NOT_ONE)
    if spec.byte_fallback and kinds.count(_BYTE) != 256:
        raise InputError(
            f"{source} has `byte_fallback`, but {kinds.count(_BYTE)} pieces for bytes in place of exactly 256.",
            _NOT_ONE,
        )
    padding = next((i for i, token in enumerate(tokens) if token == "<pad>"), unknown[0])  # noqa: S105
    unigram = spec.kind == _UNIGRAM
    model = _make_unigram(pieces, spec, source) if unigram else _make_bpe(pieces, spec, source)
    given = (_NORMAL, _USER_DEFINED if unigram else _BYTE)
    rules = SubwordRules(
        model,
        unknown_id=unknown[0],
        empty_id=unknown[0],
        padding_id=padding,
        steps=_make_steps(spec, [piece.text for piece in pieces if piece.kind == _USER_DEFINED], source),
        added=()
        if unigram
        else tuple(
            AddedToken(i, after_steps=True, as_it_stands=True) for i, kind in enumerate(kinds) if kind == _USER_DEFINED
        ),
        outside=tuple(i for i, kind in enumerate(kinds) if kind not in given),
    )
    return Subwords(rules, tokens, "a .model of sentencepiece")


def _make_steps(spec: _ModelSettings, user_defined: Sequence[str], source: str) -> tuple[SubwordStep, ...]:
    """Make the steps that clean a text, from the settings of a sentencepiece model. The steps do not change the pieces
    in `user_defined`. Raise an InputError if text rules cannot express the settings."""
    # The strings follow the array, whose size is the first number.
    strings = spec.charsmap[4 + int.from_bytes(spec.charsmap[:4], "little") :]
    if spec.extra_spaces and (b"  " in strings or any("  " in text for text in user_defined)):
        raise InputError(
            f"{source} removes repeated spaces, but its table of replaced characters or a user-defined piece has two "
            "spaces in a row. pocketrnn's text rules cannot express this.",
            EXTERNAL_WAY,
        )
    table = [Table(spec.charsmap, kept=tuple(user_defined))] if spec.charsmap else []
    prefix: list[SubwordStep] = [Prepend(" ")] if spec.dummy_prefix else []
    mark = Replace(" ", _MARK)
    if spec.extra_spaces:
        # A mark at the end of the text is removed, too.
        return (*table, Fold((" ",), 2, " "), Strip("left", " "), *prefix, mark, Strip("right", _MARK))
    # The space is also put before a text from which the table removes everything.
    if prefix and (any(text[0] == " " for text in user_defined) or (table and Charsmap(spec.charsmap).starts_key(" "))):
        raise InputError(
            f"{source} puts a space before each text, but its table of replaced characters or a user-defined piece has "
            "a string with a space before it. pocketrnn's text rules cannot express this.",
            EXTERNAL_WAY,
        )
    return (*prefix, *table, mark)


def _make_unigram(pieces: Sequence[_Piece], spec: _ModelSettings, source: str) -> Unigram:
    """Make the unigram model of a sentencepiece file. The score of a user-defined piece is computed from its length, as
    in sentencepiece's `GetUserDefinedScore`. Raise an InputError if user-defined pieces and a score of 0 or more occur
    together."""
    best = max((piece.score for piece in pieces if piece.kind == _NORMAL), default=0.0)
    whole = [piece.text for piece in pieces if piece.kind == _USER_DEFINED]
    if whole and best >= 0:
        raise InputError(
            f"{source} has a piece with the score {best:g}, but all scores must be below 0, since the model has "
            f"user-defined pieces, such as {short_repr(whole[0], 40)}.",
            EXTERNAL_WAY,
        )
    scores = (
        float(np.float32(0.1 * (len(piece.text.encode()) - 1))) if piece.kind == _USER_DEFINED else piece.score
        for piece in pieces
    )
    return Unigram(tuple(scores), spec.byte_fallback, exact=False)


def _make_bpe(pieces: Sequence[_Piece], spec: _ModelSettings, source: str) -> Bpe:
    """Make the BPE model of a sentencepiece file. Its merges are all ways to split a piece into two pieces, and the
    merge of the piece with the highest score comes first (src/bpe_model.cc).

    Raises:
        InputError: there is an unused piece, a control piece of one character, or a piece with a character that is not
            itself a piece.
    """
    for text, _, kind in pieces:
        # Releases of sentencepiece differ in how they treat the second.
        if kind == _UNUSED or (kind == _CONTROL and len(text) == 1):
            what = "unused piece" if kind == _UNUSED else "control piece of one character"
            raise InputError(
                f"{source} has the {what} {short_repr(text, 40)}. pocketrnn's text rules cannot express it.",
                EXTERNAL_WAY,
            )
    ids = {piece.text: i for i, piece in enumerate(pieces) if piece.kind == _NORMAL}
    whole = {piece.text for piece in pieces if piece.kind == _USER_DEFINED}
    merged = [] if spec.kind == _CHAR else [text for text in ids if len(text) > 1]
    alone = next(((text, point) for text in merged for point in text if point not in ids and point not in whole), None)
    if alone is not None:
        raise InputError(
            f"{source} holds the piece {short_repr(alone[0], 40)}, but not its character {short_repr(alone[1])} as a "
            "piece of its own. pocketrnn's text rules cannot express this.",
            EXTERNAL_WAY,
        )
    rank_of = {score: rank for rank, score in enumerate(sorted({pieces[ids[text]].score for text in merged})[::-1])}
    ranked = sorted(
        (rank_of[pieces[ids[text]].score], ids[text[:cut]], ids[text[cut:]])
        for text in merged
        for cut in range(1, len(text))
        if text[:cut] in ids and text[cut:] in ids
    )
    return Bpe(
        tuple(side for _, left, right in ranked for side in (left, right)),
        fuse_unknown=True,
        byte_fallback=spec.byte_fallback,
        ranks=tuple(rank for rank, _, _ in ranked),
    )


# --- The message ---


def _read_model(content: bytes) -> tuple[list[_Piece], _ModelSettings]:
    """Read the pieces and the settings in the bytes of a `.model` file."""
    pieces: list[_Piece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _read_fields(content):
        if number == 1:
            pieces.append(_read_piece(_require_bytes(value)))
            if len(pieces) > MOST_PIECES:
                raise _DamagedModelError(f"it has more than {MOST_PIECES:,} pieces, the most that pocketrnn takes")
        elif number == 2:
            trainer = dict(_read_fields(_require_bytes(value)))
        elif number == 3:
            normalizer = dict(_read_fields(_require_bytes(value)))
    if not pieces:
        raise _DamagedModelError("it has no pieces")
    spec = _ModelSettings(
        kind=_require_int(trainer.get(3, 1)),
        byte_fallback=bool(_require_int(trainer.get(35, 0))),
        suffix=bool(_require_int(trainer.get(24, 0))),
        charsmap=_require_bytes(normalizer.get(2, b"")),
        dummy_prefix=bool(_require_int(normalizer.get(3, 1))),
        extra_spaces=bool(_require_int(normalizer.get(4, 1))),
        escaped=bool(_require_int(normalizer.get(5, 1))),
    )
    return pieces, spec


def _read_piece(content: bytes) -> _Piece:
    """Read the text, the score and the type of a piece from its protobuf message."""
    members = dict(_read_fields(content))
    try:
        text = _require_bytes(members.get(1, b"")).decode()
    except UnicodeDecodeError:
        raise _DamagedModelError("the text of a piece is not valid UTF-8") from None
    score = struct.unpack("<f", _require_bytes(members.get(2, b"\0\0\0\0")))[0]
    kind = _require_int(members.get(3, _NORMAL))
    if not text:
        raise _DamagedModelError("the text of a piece is empty")
    if not math.isfinite(score):
        raise _DamagedModelError(f"the piece {short_repr(text, 40)} has the score {score}, which must be finite")
    if not _NORMAL <= kind <= _BYTE:
        raise _DamagedModelError(f"the piece {short_repr(text, 40)} has the type {kind}, which must be from 1 to 6")
    return _Piece(text, score, kind)


def _require_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _DamagedModelError("a protobuf field holds a number, but must hold a string")
    return value


def _require_int(value: Any) -> int:
    if not isinstance(value, int):
        raise _DamagedModelError("a protobuf field holds a string, but must hold a whole number")
    return value


def _read_fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield a pair (field number, value) for each field of a protobuf message. A value is an integer or bytes; a float
    is yielded as its bytes."""
    offset = 0
    while offset < len(content):
        tag, offset = _read_varint(content, offset)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, offset = _read_varint(content, offset)
            yield number, value
            continue
        if wire == 2:
            size, offset = _read_varint(content, offset)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _DamagedModelError(f"a protobuf field has the wire type {wire}, which is not 0, 1, 2 or 5")
        if size > len(content) - offset:
            raise _DamagedModelError("the file ends within a protobuf field")
        yield number, content[offset : offset + size]
        offset += size


def _read_varint(content: bytes, offset: int) -> tuple[int, int]:
    """Return the integer that begins at an offset of a protobuf message, and the offset of the byte after the
    integer."""
    value = 0
    for place in range(10):
        if offset >= len(content):
            raise _DamagedModelError("the file ends within a number of the protobuf message")
        byte = content[offset]
        offset += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, offset
    raise _DamagedModelError("a number of the protobuf message has more than 10 bytes")
