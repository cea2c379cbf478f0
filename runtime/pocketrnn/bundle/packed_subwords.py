"""Encode and decode subword rules in a packed file, with their pieces as a trie.

docs/packed-format.md, "Rules of subwords", defines them.

The trie finds all pieces that begin at one position of a text. It is a double array (Aoe 1989): the child of a node for
a byte is the unit at the node's base xor the byte, and stores the byte. A node with a single piece below it stores that
piece's id; the piece's other bytes are in the vocabulary.
"""

from __future__ import annotations

import base64
import struct
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.packed_enums import Cut, PatternKind, SubwordModel, SubwordOperation
from pocketrnn.bundle.packed_strings import (
    encode_as_32_bit_words,
    encode_code_point_run,
    encode_code_point_set,
    encode_strings,
    encode_utf8,
    mix_hash,
    pad_to_word,
)
from pocketrnn.text import SUBWORDS, Keep, Replace, SubwordRules
from pocketrnn.text.subword_models import UNKNOWN_PENALTY, Bpe, Unigram, WholeWords, WordPiece
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_splits import Pattern, PrependTo, Split, SplitAt, SplitAtRuns, SplitAtText
from pocketrnn.text.subword_steps import (
    LATER_CAPITALS,
    Bytes,
    Fold,
    LowercaseEach,
    Normalize,
    Prepend,
    Strip,
    SubwordStep,
    Surround,
    Table,
    make_subword_steps_function,
)
from pocketrnn.text.tokenizers import PACKED_TOKENIZERS

__all__ = [
    "Forms",
    "encode_pieces_trie",
    "encode_subwords_section",
    "make_reader_of_normal_forms",
    "remove_model_numbers_and_tables",
    "restore_model_numbers_and_tables",
]

_MODELS: Final = {
    WordPiece: SubwordModel.WORD_PIECE,
    WholeWords: SubwordModel.WHOLE_WORDS,
    Bpe: SubwordModel.PAIRS,
    Unigram: SubwordModel.SCORES,
}
_HEAD: Final = 14
_MORE: Final = 11
_RANKED, _TRIE = 1 << 4, 1 << 5
_HOW: Final = {
    "removed": Cut.REMOVED,
    "isolated": Cut.ISOLATED,
    "with_previous": Cut.WITH_PREVIOUS,
    "with_next": Cut.WITH_NEXT,
    "runs": Cut.RUNS,
}
_PATTERNS: Final = {
    "gpt2": PatternKind.GPT2,
    "clip": PatternKind.CLIP,
    "cl100k": PatternKind.CL100K,
    "o200k": PatternKind.O200K,
    "deepseek": PatternKind.DEEPSEEK,
}
_SIDES: Final = {"left": 1, "right": 2, "both": 3}
# Bits that are added to the digits of a pattern, or to the way in which a split cuts.
_WITHOUT_CONTRACTIONS, _INVERTED, _GOES_ON = 4, 8, 16
_ASCII: Final = 0x80
_HANGUL: Final = range(0xAC00, 0xAC00 + 11172)
_HASHED_LEFT, _HASHED_RIGHT = 0x9E3779B1, 0x85EBCA6B
Forms = Callable[[Normalize], bytes]
# A cleaning step or split in the section: its kind, the numbers a and b, and its content.
_KindNumbersAndContent = tuple[int, int, int, bytes]
_FirstLastAndOffset = tuple[int, int, int]
_MergeCountSlotCountAndBytes = tuple[int, int, bytes]


def encode_subwords_section(
    rules: SubwordRules, vocabulary: Sequence[str], encode_normal_form: Forms | None = None
) -> bytes:
    """Encode subword rules as the rules section of a packed file.

    Args:
        encode_normal_form: encodes the tables of a Unicode normal form; None for those of this Python's Unicode
            version.
    """
    encode_normal_form = encode_normal_form or _encode_normal_form
    model = rules.model
    prefix, suffix = encode_utf8(getattr(model, "prefix", "")), encode_utf8(getattr(model, "suffix", ""))
    unknown = -1 if rules.unknown_id is None else rules.unknown_id
    head = [PACKED_TOKENIZERS[SUBWORDS], 0, 1, rules.max_tokens or 0, unknown, rules.empty_id, rules.padding_id, -1, -1]
    head += [rules.max_width or 0, rules.min_width or 0, int(rules.cut_side == "left"), int(rules.pad_side == "left")]
    head.append(len(rules.steps))
    flags = sum(
        int(getattr(model, name, False)) << bit
        for bit, name in enumerate(("fuse_unknown", "byte_fallback", "whole_words"))
    )
    flags |= int(not getattr(model, "exact", True)) << 3
    flags |= _RANKED if getattr(model, "ranks", ()) else 0
    merges, slots, of_model = _encode_model(rules, vocabulary)
    trie = b""
    if isinstance(model, Unigram):
        outside = set(rules.outside)
        # An empty token never matches.
        trie = encode_pieces_trie({token: i for i, token in enumerate(vocabulary) if token and i not in outside})
    flags |= _TRIE if trie else 0
    more = [_MODELS[type(model)], flags, getattr(model, "most_characters", 0), len(prefix), len(suffix)]
    more += [len(rules.first_ids), len(rules.last_ids), len(rules.outside), merges, slots, len(rules.splits)]
    parts = [
        encode_as_32_bit_words([*head, *more]),
        pad_to_word(prefix),
        pad_to_word(suffix),
        encode_as_32_bit_words([*rules.first_ids, *rules.last_ids]),
    ]
    parts += [encode_as_32_bit_words(sorted(rules.outside)), of_model, trie]
    parts += [_encode_operation(step, encode_normal_form) for step in (*rules.steps, *rules.splits)]
    steps = make_subword_steps_function(rules.steps) if rules.steps else str
    early = {vocabulary[token.id]: token for token in rules.added if not token.after_steps}
    late = {
        vocabulary[token.id] if token.as_it_stands else steps(vocabulary[token.id]): token
        for token in rules.added
        if token.after_steps
    }
    return b"".join([*parts, _encode_added_tokens(early), _encode_added_tokens(late)])


def remove_model_numbers_and_tables(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a packed file's document without the merges, ranks and scores of the subword model and without
    the tables of cleaning steps. The rules section of the file stores them."""
    text = document["text"]
    model = {name: value for name, value in text["model"].items() if name not in ("merges", "ranks", "scores")}
    made = {**text, "model": model}
    if "steps" in text:
        made["steps"] = [{**step, "table": ""} if "table" in step else step for step in text["steps"]]
    return {**document, "text": made}


def restore_model_numbers_and_tables(
    document: Mapping[str, Any], section: bytes, token_count: int
) -> Mapping[str, Any]:
    """Undo `remove_model_numbers_and_tables`: return a packed file's document with the merges, ranks, scores and tables
    from the rules section. Return a document without subword rules unchanged.

    Args:
        section: the rules section, which the engine must have checked before.
    """
    text = document.get("text")
    model = text.get("model") if isinstance(text, dict) else None
    if not isinstance(text, dict) or not isinstance(model, dict) or not _is_subwords_section(section):
        return document
    more = struct.unpack_from(f"<{_MORE}I", section, 4 * _HEAD)
    kind, at, given = more[0], _compute_model_offset(more), {}
    if kind == SubwordModel.PAIRS:
        rows = np.frombuffer(section, "<u4", 3 * more[8], at + 4).reshape(-1, 3)
        given = {"merges": rows[:, :2].reshape(-1).tolist()}
        if more[1] & _RANKED:
            ranks_at = at + 4 + 12 * more[8] + 4 * more[9]
            given["ranks"] = np.frombuffer(section, "<u4", more[8], ranks_at).tolist()
    elif kind == SubwordModel.SCORES:
        given = {"scores": np.frombuffer(section, "<f8", token_count, at + 8).tolist()}
    made = {**text, "model": {**model, **given}}
    steps = text.get("steps")
    if isinstance(steps, list) and any(isinstance(step, dict) and "table" in step for step in steps):
        operations = _read_step_operations(section, token_count)
        found = iter(
            [_encode_table_as_base64(operation) for operation in operations if operation[0] == SubwordOperation.TABLE]
        )
        made["steps"] = [
            {**step, "table": next(found, "")} if isinstance(step, dict) and "table" in step else step for step in steps
        ]
    return {**document, "text": made}


def _encode_table_as_base64(table_parts: _KindNumbersAndContent) -> str:
    """Encode the character map of a `Table` step from the rules section in base64, as classifier.json stores it."""
    _, units, size, content = table_parts
    return base64.b64encode(struct.pack("<I", 4 * units) + content[: 4 * units + size]).decode("ascii")


def make_reader_of_normal_forms(section: bytes, token_count: int) -> Forms:
    """Make a function that returns at each call the encoded tables of the next Unicode normal form in the rules section
    of a packed file. They are read from the file because Python's tables may belong to another version of Unicode."""
    found = (
        content
        for kind, _, _, content in _read_step_operations(section, token_count)
        if kind == SubwordOperation.NORMAL
    )
    return lambda _: next(found, b"")


def _read_step_operations(section: bytes, token_count: int) -> Iterator[_KindNumbersAndContent]:
    """Yield each cleaning step in the rules section of a packed file: its kind, its numbers a and b, and its content.
    The engine must have checked the section before."""
    if not _is_subwords_section(section):
        return
    more = struct.unpack_from(f"<{_MORE}I", section, 4 * _HEAD)
    at = _compute_model_offset(more)
    if more[0] == SubwordModel.PAIRS:
        at += 4 + 12 * more[8] + 4 * more[9] + (4 * more[8] if more[1] & _RANKED else 0)
    elif more[0] == SubwordModel.SCORES:
        at += 8 * (token_count + 1)
        if more[1] & _TRIE:
            at += 8 + 4 * struct.unpack_from("<I", section, at)[0]
    for _ in range(struct.unpack_from("<I", section, 4 * (_HEAD - 1))[0]):
        kind, size, a, b = struct.unpack_from("<4I", section, at)
        yield kind, a, b, section[at + 16 : at + 4 * size]
        at += 4 * size


def _is_subwords_section(section: bytes) -> bool:
    """Return whether the rules section of a packed file holds subword rules."""
    return len(section) >= 4 * (_HEAD + _MORE) and struct.unpack_from("<I", section)[0] == PACKED_TOKENIZERS[SUBWORDS]


def _compute_model_offset(numbers_after_head: Sequence[int]) -> int:
    """Compute the offset in bytes at which the subword model begins in the rules section.

    Args:
        numbers_after_head: the 11 numbers that follow the 14 numbers of the section's head.
    """
    prefix, suffix, first, last, outside = numbers_after_head[3:8]
    return 4 * (_HEAD + _MORE + (prefix + 3) // 4 + (suffix + 3) // 4 + first + last + outside)


def _encode_model(rules: SubwordRules, vocabulary: Sequence[str]) -> _MergeCountSlotCountAndBytes:
    """Encode the merges or scores of a subword model. Return the number of merges, the size of the hash table of
    merges, and the bytes; all are 0 or empty for a model without merges and scores."""
    model, outside = rules.model, set(rules.outside)
    if isinstance(model, Unigram):
        least = min(score for i, score in enumerate(model.scores) if i not in outside)
        penalty = least - UNKNOWN_PENALTY
        with np.errstate(over="ignore"):
            penalty = penalty if model.exact else float(np.float32(penalty))
        return 0, 0, np.array([penalty, *model.scores], "<f8").tobytes()
    if not isinstance(model, Bpe):
        return 0, 0, b""
    of_token = {token: i for i, token in enumerate(vocabulary)}
    cut = len(model.prefix)
    pairs = list(zip(model.merges[::2], model.merges[1::2], strict=True))
    rows = [(left, right, of_token[vocabulary[left] + vocabulary[right][cut:]]) for left, right in pairs]
    bits = (len(pairs) + 1).bit_length()
    slots = [0] * (2 * len(pairs) + 1 if pairs else 0)
    for number, (left, right) in enumerate(pairs):
        made = mix_hash((left * _HASHED_LEFT ^ right * _HASHED_RIGHT) & 0xFFFFFFFF)
        at = made * len(slots) >> 32
        while slots[at]:
            at = (at + 1) % len(slots)
        slots[at] = (made << bits & 0xFFFFFFFF) | (number + 1)
    content = encode_as_32_bit_words([bits, *(number for row in rows for number in row), *slots, *model.ranks])
    return len(pairs), len(slots), content


def _encode_added_tokens(tokens: Mapping[str, AddedToken]) -> bytes:
    """Encode the added tokens (special tokens that are found before a text is split), by their texts: the texts, then
    each id with its flags."""
    found = {text: token for text, token in tokens.items() if text}
    flags = [token.id | token.strip_left << 30 | token.strip_right << 31 for token in found.values()]
    return encode_strings(list(found), looked_up=True) + encode_as_32_bit_words(flags)


def _encode_operation(step: SubwordStep | Split, encode_normal_form: Forms) -> bytes:
    """Encode a cleaning step or a split with its kind and size in front.

    Args:
        encode_normal_form: encodes the tables of a Unicode normal form.
    """
    kind, a, b, content = _encode_operation_parts(step, encode_normal_form)
    return encode_as_32_bit_words([kind, 4 + len(content) // 4, a, b]) + content


def _encode_operation_parts(step: SubwordStep | Split, encode_normal_form: Forms) -> _KindNumbersAndContent:
    """Encode a cleaning step or a split; return its kind, its two numbers, and its content.

    Args:
        encode_normal_form: encodes the tables of a Unicode normal form.
    """
    match step:
        case Replace(what, by):
            return (
                SubwordOperation.REPLACE,
                len(encode_utf8(what)),
                len(encode_utf8(by)),
                pad_to_word(encode_utf8(what)) + pad_to_word(encode_utf8(by)),
            )
        case Keep(ranges, by) | Surround(ranges, by) | Fold(ranges, by=by):
            kind = SubwordOperation.KEEP if isinstance(step, Keep) else SubwordOperation.SURROUND
            if isinstance(step, Fold):
                kind = SubwordOperation.FOLD if step.least == 1 else SubwordOperation.FOLD_RUNS
            return kind, 0, len(encode_utf8(by)), encode_code_point_set(ranges) + pad_to_word(encode_utf8(by))
        case LowercaseEach():
            rows = _list_capital_ranges_beyond_engine_table()
            return (
                SubwordOperation.LOWERCASE,
                len(rows),
                0,
                encode_as_32_bit_words(number for row in rows for number in row),
            )
        case Strip(sides, of):
            points = encode_code_point_set(tuple(of)) if of else b""
            return SubwordOperation.STRIP, _SIDES[sides], int(bool(of)), points
        case Prepend(text):
            return SubwordOperation.PREPEND, 0, len(encode_utf8(text)), pad_to_word(encode_utf8(text))
        case PrependTo(text, first):
            return SubwordOperation.PREPEND_TO, int(first), len(encode_utf8(text)), pad_to_word(encode_utf8(text))
        case Bytes():
            return SubwordOperation.BYTES, 0, 0, b""
        case Table():
            return _encode_table_parts(step)
        case Normalize(form):
            return SubwordOperation.NORMAL, int(form.endswith("C")), 0, encode_normal_form(step)
        case SplitAt(ranges, how):
            return SubwordOperation.AT, _HOW[how], 0, encode_code_point_set(ranges)
        case SplitAtText(text, how):
            return SubwordOperation.AT_TEXT, len(encode_utf8(text)), _HOW[how], pad_to_word(encode_utf8(text))
        case SplitAtRuns(runs, how, inverted):
            goes_on = any(run.ends_at or run.not_before or run.then for run in runs)
            flags = (_INVERTED if inverted else 0) + (_GOES_ON if goes_on else 0)
            return (
                SubwordOperation.RUNS,
                _HOW[how] + flags,
                len(runs),
                b"".join(encode_code_point_run(run, first_part_only=not goes_on) for run in runs),
            )
        case Pattern(name):
            digits = step.digits + (0 if step.contractions else _WITHOUT_CONTRACTIONS)
            return SubwordOperation.PATTERN, _PATTERNS[name], digits, b"".join(map(encode_code_point_set, step.sets))


def _encode_table_parts(step: Table) -> _KindNumbersAndContent:
    """Encode a table step, a character map of SentencePiece; return its kind, its two sizes, and its content."""
    size = struct.unpack_from("<I", step.charsmap)[0]
    texts = step.charsmap[4 + size :]
    longest = max((len(encode_utf8(text)) for text in step.kept), default=0)
    more = encode_as_32_bit_words([int(bool(step.clusters)), longest]) + b"".join(
        map(encode_code_point_set, step.clusters)
    )
    kept = encode_strings(list(dict.fromkeys(step.kept)), looked_up=True)
    return SubwordOperation.TABLE, size // 4, len(texts), step.charsmap[4 : 4 + size] + pad_to_word(texts) + more + kept


def _list_capital_ranges_beyond_engine_table() -> list[_FirstLastAndOffset]:
    """List the ranges of capital letters that the engine's own table lacks: the first and the last code point, and what
    must be added to get the lower-case letter, modulo 2^32."""
    rows: list[_FirstLastAndOffset] = []
    for code, small in sorted(LATER_CAPITALS.items()):
        added = (small - code) & 0xFFFFFFFF
        if rows and rows[-1][1] + 1 == code and rows[-1][2] == added:
            rows[-1] = (rows[-1][0], code, added)
        else:
            rows.append((code, code, added))
    return rows


@lru_cache(maxsize=8)
def _encode_normal_form(step: Normalize) -> bytes:
    """Encode the tables of a Unicode normal form from this Python's Unicode version: decompositions, combining classes
    and composed pairs. Hangul is left out, since the engine computes it."""
    inert = {code for some in step.inert for code in range(ord(some[0]), ord(some[-1]) + 1)}
    apart: dict[int, list[int]] = {}
    classes: list[tuple[int, int, int]] = []
    pairs: list[tuple[int, int, int]] = []
    taken: Any = f"{step.form[:-1]}D"
    for code in range(0x110000):
        point = chr(code)
        if code in inert or 0xD800 <= code < 0xE000 or unicodedata.category(point) in ("Cn", "Co"):
            continue
        of_class = unicodedata.combining(point)
        if of_class and classes and classes[-1][1] + 1 == code and classes[-1][2] == of_class:
            classes[-1] = (classes[-1][0], code, of_class)
        elif of_class:
            classes.append((code, code, of_class))
        if code in _HANGUL:
            continue
        made = unicodedata.normalize(taken, point)
        if made != point:
            apart[code] = list(map(ord, made))
        two = unicodedata.decomposition(point).split()
        if len(two) == 2 and not two[0].startswith("<") and unicodedata.normalize("NFC", point) == point:
            pairs.append((int(two[0], 16), int(two[1], 16), code))
    pairs = sorted(pairs) if step.form.endswith("C") else []
    # A mark that is left as it is in a text has its class in a letter that is taken apart: U+0301 in "\u00c9".
    marks = {mark for made in apart.values() for mark in made if mark in inert and unicodedata.combining(chr(mark))}
    classes = sorted([*classes, *((mark, mark, unicodedata.combining(chr(mark))) for mark in marks)])
    starts = np.cumsum([0, *map(len, apart.values())]).tolist()
    codes = [code for made in apart.values() for code in made]
    rows = zip([*apart, 0xFFFFFFFF], starts, strict=True)
    # Jamo are composed without a row, and composition stops at code points that are left as they are.
    least = min([*inert, *apart, *(first for first, _, _ in classes), *(code for _, code, _ in pairs), _HANGUL[0]])
    head = encode_as_32_bit_words([least, len(apart), len(codes), len(classes), len(pairs)])
    tables = [(number for row in table for number in row) for table in (rows, classes, pairs)]
    return (
        head
        + (encode_code_point_set(step.inert) if step.inert else bytes(20))
        + b"".join(map(encode_as_32_bit_words, tables))
        + encode_as_32_bit_words(codes)
    )


_PIECE: Final = 1 << 31
_ENDS: Final = 1 << 8
_PIECE_SHIFT, _BASE_SHIFT = 8, 9
_MOST_UNITS: Final = 1 << 22
_ALL: Final = (1 << 256) - 1
# A node is placed in one of this many last blocks of 256 units: with T5's 32,100 pieces, 7 units in 1,000 stay empty.
_OPEN: Final = 2
# Masks that select every other group of bits, for groups of 1, 2, 4 and so on.
_GROUPS: Final = [sum(((1 << size) - 1) << at for at in range(0, 256, 2 * size)) for size in (1 << k for k in range(8))]
# A byte that can follow, and the first and the end of the pieces that have it.
_ByteFirstAndStop = tuple[int, int, int]


class _Block:
    """A block of 256 units (array elements) of the trie, with a bit mask of the free units and one of the free
    bases."""

    def __init__(self, start: int) -> None:
        self.start, self.free, self.bases = start, _ALL, _ALL

    def find_base(self, labels: Sequence[int]) -> int | None:
        """Find the first free base at which a node's children fit into the block; None if there is no such base.

        Args:
            labels: the bytes that can follow the node. A child is stored in the unit at base xor byte, which must be
                free.
        """
        fitting = self.bases
        for label in labels:
            fitting &= _permute_bits_by_xor(self.free, label)
            if not fitting:
                return None
        return (fitting & -fitting).bit_length() - 1

    def mark_taken(self, base: int, labels: Sequence[int]) -> None:
        """Mark a base, and the units of a node's children at that base, as taken."""
        self.bases &= ~(1 << base)
        for label in labels:
            self.free &= ~(1 << (base ^ label))


def _permute_bits_by_xor(bits: int, index_mask: int) -> int:
    """Permute 256 bits: bit i of the result is bit (i xor `index_mask`) of `bits`."""
    for k, group in enumerate(_GROUPS):
        if index_mask >> k & 1:
            bits = (bits & group) << (1 << k) | bits >> (1 << k) & group
    return bits


def encode_pieces_trie(pieces: Mapping[str, int]) -> bytes:
    """Encode pieces of words as a trie: the number of units, the base of the root, and the units. Return no bytes if
    there are no pieces, a piece contains the byte 0, or the trie would be too large.

    Args:
        pieces: the id of each piece. A piece is not empty, and an id is below 2^22.
    """
    encoded = sorted((encode_utf8(piece), number) for piece, number in pieces.items())
    # Byte 0 stands for the end of a piece.
    if not encoded or any(0 in piece for piece, _ in encoded):
        return b""
    units: list[int] = []
    blocks: deque[_Block] = deque(maxlen=_OPEN)

    def reserve_units_for_children(labels: Sequence[int]) -> int:
        """Take free units for a node's children, in one of the last blocks or else in a new one; return the base of the
        node."""
        for block in blocks:
            if (base := block.find_base(labels)) is not None:
                block.mark_taken(base, labels)
                return block.start + base
        blocks.append(_Block(len(units)))
        units.extend([0] * 256)
        blocks[-1].mark_taken(0, labels)
        return blocks[-1].start

    root = 0
    # A node: the range of pieces below it, its depth in bytes, and the index of its unit.
    waiting = [(0, len(encoded), 0, -1)]
    while waiting:
        first, stop, depth, place = waiting.pop()
        children = list(_iterate_following_bytes_with_pieces(encoded, first, stop, depth))
        base = reserve_units_for_children([label for label, _, _ in children])
        if len(units) > _MOST_UNITS:
            return b""
        if place < 0:
            root = base
        else:
            units[place] |= base << _BASE_SHIFT | (0 if children[0][0] else _ENDS)
        for label, start, end in children:
            units[base ^ label] = label
            if end - start == 1:
                units[base ^ label] |= _PIECE | encoded[start][1] << _PIECE_SHIFT
            else:
                waiting.append((start, end, depth + 1, base ^ label))
    return encode_as_32_bit_words([len(units), root, *units])


def _iterate_following_bytes_with_pieces(
    encoded: Sequence[tuple[bytes, int]], first: int, stop: int, depth: int
) -> Iterator[_ByteFirstAndStop]:
    """Yield each byte that can follow the first `depth` bytes of some pieces, with the first and the end index of the
    pieces that have this byte. The byte 0 stands for the end of a piece.

    Args:
        encoded: all pieces in UTF-8 with their ids, sorted.
        first: the index of the first of these pieces, which begin with the same `depth` bytes.
        stop: the index after the last of them.
        depth: the number of bytes before the byte.
    """
    while first < stop:
        piece = encoded[first][0]
        label, start = piece[depth] if depth < len(piece) else 0, first
        while first < stop and (encoded[first][0][depth : depth + 1] or b"\0")[0] == label:
            first += 1
        yield label, start, first
