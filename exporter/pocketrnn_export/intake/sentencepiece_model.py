"""A `.model` of sentencepiece, a protobuf message, read without sentencepiece: as text rules of subwords.

The message is that of google/sentencepiece, src/sentencepiece_model.proto; what a text goes through is its
src/normalizer.cc, and the model its src/unigram_model.cc (`EncodeOptimized`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pocketrnn.errors import InputError, shown
from pocketrnn.text import Replace, SubwordRules
from pocketrnn.text.subword_models import MOST_PIECES, Unigram
from pocketrnn.text.subword_steps import Fold, Prepend, Strip, SubwordStep, Table
from pocketrnn_export.intake.tokenizer_json import EXTERNAL_WAY, Subwords

__all__ = ["charsmap_of", "subwords_of_model"]

_NOT_ONE: Final = "Give the .model that sentencepiece wrote."
_KINDS: Final = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
# SentencePiece.Type
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_MARK: Final = "\u2581"


class _DamagedError(ValueError):
    """The bytes are no such message."""


@dataclass(frozen=True)
class _Spec:
    """What the trainer's and the normalizer's part say, or what holds where they say nothing."""

    kind: int
    byte_fallback: bool
    suffix: bool
    charsmap: bytes
    dummy_prefix: bool
    extra_spaces: bool
    escaped: bool


def subwords_of_model(content: bytes, source: str) -> Subwords:
    """The rules that a `.model` says: the ids of `SentencePieceProcessor.encode(text)`.

    Args:
        content: its bytes.
        source: what it is called in messages.

    Raises:
        InputError: it is damaged, or has a part that the rules cannot say; the message names it.

    Example:
        >>> subwords_of_model(Path("spiece.model").read_bytes(), "spiece.model").rules.model.exact
        False
    """
    try:
        pieces, spec = _read(content)
    except _DamagedError as error:
        raise InputError(f"{source} is no model of sentencepiece: {error}.", _NOT_ONE) from None
    if spec.kind != 1 or spec.suffix or not spec.escaped:
        what = _KINDS.get(spec.kind, "odd") if spec.kind != 1 else "white space as a suffix, or not escaped"
        raise InputError(
            f"{source}: the text rules cannot say the model of sentencepiece with {what}.",
            f"transformers makes a tokenizer.json of it: AutoTokenizer...save_pretrained(folder). {EXTERNAL_WAY}",
        )
    return _made(pieces, spec, source)


def charsmap_of(content: bytes) -> bytes:
    """The table of what becomes what, as it stands in a `.model`.

    Example:
        >>> len(charsmap_of(Path("spiece.model").read_bytes()))
        242838
    """
    return _read(content)[1].charsmap


def _made(pieces: Sequence[tuple[str, float, int]], spec: _Spec, source: str) -> Subwords:
    kinds = [kind for _, _, kind in pieces]
    unknown = [i for i, kind in enumerate(kinds) if kind == _UNKNOWN]
    if len(unknown) != 1:
        raise InputError(f"{source} has {len(unknown)} unknown pieces.", _NOT_ONE)
    if _USER_DEFINED in kinds:
        piece = pieces[kinds.index(_USER_DEFINED)][0]
        raise InputError(f"{source}: the text rules cannot say the user-defined piece {shown(piece)}.", EXTERNAL_WAY)
    tokens = tuple(piece for piece, _, _ in pieces)
    if len(set(tokens)) != len(tokens):
        twice = next(token for i, token in enumerate(tokens) if token in tokens[:i])
        raise InputError(f"{source} holds the piece {shown(twice, 40)} twice.", _NOT_ONE)
    # The strings stand behind the array, whose size is the first number.
    strings = spec.charsmap[4 + int.from_bytes(spec.charsmap[:4], "little") :]
    if spec.extra_spaces and b"  " in strings:
        raise InputError(f"{source}: its table makes two spaces of something, which are not folded.", EXTERNAL_WAY)
    if spec.byte_fallback and kinds.count(_BYTE) != 256:
        raise InputError(f"{source} has {kinds.count(_BYTE)} pieces for bytes.", _NOT_ONE)
    steps: list[SubwordStep] = [Table(spec.charsmap)] if spec.charsmap else []
    if spec.extra_spaces:
        steps += [Fold((" ",), 2, " "), Strip("left", " ")]
    if spec.dummy_prefix:
        steps.append(Prepend(" "))
    steps.append(Replace(" ", _MARK))
    if spec.extra_spaces:
        # A mark that stands in the text goes too.
        steps.append(Strip("right", _MARK))
    padding = next((i for i, token in enumerate(tokens) if token == "<pad>"), unknown[0])  # noqa: S105
    rules = SubwordRules(
        Unigram(tuple(score for _, score, _ in pieces), spec.byte_fallback, exact=False),
        unknown_id=unknown[0],
        empty_id=unknown[0],
        padding_id=padding,
        steps=tuple(steps),
        outside=tuple(i for i, kind in enumerate(kinds) if kind != _NORMAL),
    )
    return Subwords(rules, tokens)


# --- The message ---


def _read(content: bytes) -> tuple[list[tuple[str, float, int]], _Spec]:
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(content):
        if number == 1:
            pieces.append(_piece(_bytes(value)))
            if len(pieces) > MOST_PIECES:
                raise _DamagedError(f"it has more than {MOST_PIECES:,} pieces")
        elif number == 2:
            trainer = dict(_fields(_bytes(value)))
        elif number == 3:
            normalizer = dict(_fields(_bytes(value)))
    if not pieces:
        raise _DamagedError("it has no piece")
    spec = _Spec(
        kind=_whole(trainer.get(3, 1)),
        byte_fallback=bool(_whole(trainer.get(35, 0))),
        suffix=bool(_whole(trainer.get(24, 0))),
        charsmap=_bytes(normalizer.get(2, b"")),
        dummy_prefix=bool(_whole(normalizer.get(3, 1))),
        extra_spaces=bool(_whole(normalizer.get(4, 1))),
        escaped=bool(_whole(normalizer.get(5, 1))),
    )
    return pieces, spec


def _piece(content: bytes) -> tuple[str, float, int]:
    members = dict(_fields(content))
    try:
        text = _bytes(members.get(1, b"")).decode()
    except UnicodeDecodeError:
        raise _DamagedError("a piece is not UTF-8") from None
    score = struct.unpack("<f", _bytes(members.get(2, b"\0\0\0\0")))[0]
    kind = _whole(members.get(3, _NORMAL))
    if not text or not math.isfinite(score) or not _NORMAL <= kind <= _BYTE:
        raise _DamagedError(f"the piece {shown(text, 40)} has the score {score} and the type {kind}")
    return text, score, kind


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _DamagedError("a number stands where there should be a string")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise _DamagedError("a string stands where there should be a number")
    return value


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbers of a message's fields with their values: whole numbers, or bytes (also those of a float)."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(content, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _DamagedError(f"it has a field of the kind {wire}")
        if size > len(content) - at:
            raise _DamagedError("it ends within a field")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at >= len(content):
            raise _DamagedError("it ends within a number")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at
    raise _DamagedError("a number has more than 10 bytes")
