"""Packed files that every reader must refuse, as changes of one that is right. Their sums fit, but of the first few.

A change is where, and the bytes to put there; `size` cuts the file or adds zeros to it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pocketrnn.bundle.packed_enums import Section, Storage
from pocketrnn.bundle.packed_file import compute_plain_and_weighted_checksums
from pocketrnn.text.tokenizers import PACKED_TOKENIZERS

__all__ = ["File", "changed", "refused"]

DOCUMENT, LABELS, RULES, STOPS = Section.DOCUMENT, Section.LABELS, Section.RULES, Section.STOPS
VOCABULARY, VALUES = Section.VOCABULARY, Section.VALUES
OPS, WEIGHTS, EXAMPLES = Section.OPS, Section.WEIGHTS, Section.EXAMPLES
STEP, TAGS, HEADS, FEATURES = Section.STEP, Section.TAGS, Section.HEADS, Section.FEATURES
_VALUE = 52
_INTEGERS = Storage.INTEGERS_BY_COLUMN
_LARGE = 0x7FFFFFF0
OPENED, ANSWERED = "opened", "a text is answered"


@dataclass
class File:
    """A packed file that is being changed."""

    content: bytearray

    def word(self, at: int) -> int:
        return int(struct.unpack_from("<I", self.content, at)[0])

    def put(self, at: int, *words: int) -> None:
        struct.pack_into(f"<{len(words)}I", self.content, at, *(word & 0xFFFFFFFF for word in words))

    def make_sums_fit(self) -> None:
        struct.pack_into("<2Q", self.content, 16, *compute_plain_and_weighted_checksums(self.content))

    def section(self, name: int) -> int:
        return self.word(128 + 8 * name)

    def op(self, code: int, section: int = OPS) -> int:
        """Where the first operation of a code stands."""
        at = self.section(section) + (24 if section == STEP else 0)
        while self.word(at) != code:
            at += 4 * self.word(at + 4)
        return at

    def constant(self, storage: int = 0) -> int:
        """Where the first constant stands that is no table, and is stored in some way."""
        at = self.section(VALUES)
        while self.word(at) >= 256 or self.word(at + 4) != 0xFFFFFFFF or self.word(at + 8) != storage:
            at += _VALUE
        return at

    def value(self, number: int) -> int:
        """Where a value stands."""
        return self.section(VALUES) + _VALUE * number

    def number_of_constant(self, storage: int = 0) -> int:
        return (self.constant(storage) - self.section(VALUES)) // _VALUE


Change = Callable[[File], None]
LOOKUP, RECURRENT, LINEAR, MATMUL, BINARY, POOL = 0, 4, 5, 6, 8, 14


def _in_the_place_of(f: File, written: int, read: int) -> None:
    """Give the value that one word names the region of the value that another names."""
    f.put(f.value(f.word(written)) + 4, f.word(f.value(f.word(read)) + 4))


def _written(f: File) -> int:
    """Where a layer names the first of the values that it writes."""
    first = f.op(RECURRENT) + 20
    return next(at for at in (first, first + 4, first + 8) if f.word(at) != 0xFFFFFFFF)


# Changes whose sums fit.
CHANGES: dict[str, Change] = {
    "another version": lambda f: f.put(4, 2),
    "no version": lambda f: f.put(4, 0),
    "channels of a text": lambda f: f.put(108, 1),
    "a byte of the header that is not 0": lambda f: f.put(112, 1),
    "a byte behind the sections that is not 0": lambda f: f.put(252, 1),
    "no labels": lambda f: f.put(64, 0),
    "more labels than strings": lambda f: f.put(64, f.word(64) + 1),
    "a third way to make probabilities": lambda f: f.put(68, 2),
    "no ids": lambda f: f.put(72, 0),
    "fewer ids than tokens": lambda f: f.put(72, 3),
    "texts of no ids": lambda f: f.put(76, 0),
    "more ids at least than at most": lambda f: f.put(76, 9, 8),
    "logits that are no value": lambda f: f.put(84, f.word(88)),
    "logits that are the ids": lambda f: f.put(84, 0),
    "logits that are a constant": lambda f: f.put(84, f.number_of_constant()),
    "no values": lambda f: f.put(88, 0),
    "a value more than there are": lambda f: f.put(88, f.word(88) + 1),
    "an operation more than there are": lambda f: f.put(92, f.word(92) + 1),
    "an operation fewer than there are": lambda f: f.put(92, f.word(92) - 1),
    "no regions": lambda f: f.put(96, 0),
    "more regions than values": lambda f: f.put(96, f.word(88) + 1),
    "an example more than there are": lambda f: f.put(100, f.word(100) + 1),
    "a word that must be known, twice": lambda f: f.put(104, 2),
    "a section in the header": lambda f: f.put(128 + 8 * LABELS, 0),
    "a section that is not aligned": lambda f: f.put(128 + 8 * LABELS, f.section(LABELS) + 4),
    "a section behind the end": lambda f: f.put(128 + 8 * WEIGHTS, _LARGE & ~63),
    "a section over the end": lambda f: f.put(128 + 8 * EXAMPLES + 4, _LARGE),
    "weights of fewer bytes": lambda f: f.put(128 + 8 * WEIGHTS + 4, 64),
    "more strings than there are": lambda f: f.put(f.section(VOCABULARY), _LARGE),
    "more slots than there are": lambda f: f.put(f.section(VOCABULARY) + 4, _LARGE),
    "fewer slots than strings": lambda f: f.put(f.section(VOCABULARY) + 4, 1),
    "numbers of strings of more bits than a slot has": lambda f: f.put(f.section(VOCABULARY) + 8, 16),
    "more bytes of strings than there are": lambda f: f.put(f.section(VOCABULARY) + 12, _LARGE),
    "strings that are neither small nor large": lambda f: f.put(f.section(VOCABULARY) + 16, 2),
    "strings that do not begin at 0": lambda f: f.put(f.section(LABELS) + 20, 1),
    "subwords without their rules": lambda f: f.put(f.section(RULES), PACKED_TOKENIZERS["subwords"]),
    "a sixth tokenizer": lambda f: f.put(f.section(RULES), 5),
    "n-grams of no tokens": lambda f: f.put(f.section(RULES) + 8, 0),
    "an unknown token's id out of range": lambda f: f.put(f.section(RULES) + 16, f.word(72)),
    "an empty text's id that there is not": lambda f: f.put(f.section(RULES) + 20, -1),
    "a step of the rules that there is not": lambda f: f.put(f.section(RULES) + 52, 1),
    "a fourth type": lambda f: f.put(f.section(VALUES), 3),
    "ids that are floats": lambda f: f.put(f.section(VALUES), 0),
    "a region that there is not": lambda f: f.put(f.section(VALUES) + 4, f.word(96)),
    "a sixth way to store": lambda f: f.put(f.constant() + 8, 5),
    "a constant that is not aligned": lambda f: f.put(f.constant() + 12, 4),
    "a constant behind the weights": lambda f: f.put(f.constant() + 12, _LARGE & ~63),
    "a constant of more numbers than there are": lambda f: f.put(f.constant() + 24, 1 << 20),
    "a constant whose size hangs on the tokens": lambda f: f.put(f.constant() + 20, 1),
    "an operation that there is not": lambda f: f.put(f.op(LINEAR), 18),
    "an operation of another length": lambda f: f.put(f.op(LINEAR) + 4, 9),
    "an operand that is no value": lambda f: f.put(f.op(LINEAR) + 8, f.word(88)),
    "an operand that is left out, and may not be": lambda f: f.put(f.op(LINEAR) + 8, -1),
    "an operand of another type": lambda f: f.put(f.op(LINEAR) + 8, 0),
    "weights that are no constant": lambda f: f.put(f.op(LINEAR) + 12, f.word(f.op(LINEAR) + 8)),
    "weights of fewer numbers than a product needs": lambda f: f.put(f.op(LINEAR) + 32, 1 << 20),
    "a table that is none": lambda f: f.put(f.op(LOOKUP) + 8, f.number_of_constant()),
    "an operation that writes a constant": lambda f: f.put(f.op(LINEAR) + 20, f.number_of_constant()),
    "an operation that writes the ids": lambda f: f.put(f.op(LOOKUP) + 16, 0),
    "an operation that writes where it reads": lambda f: _in_the_place_of(f, f.op(LINEAR) + 20, f.op(LINEAR) + 8),
    "an operation that writes what it reads": lambda f: f.put(f.op(LINEAR) + 20, f.word(f.op(LINEAR) + 8)),
    "a layer that writes where it reads": lambda f: _in_the_place_of(f, _written(f), f.op(RECURRENT) + 8),
    "a sixth kind of layer": lambda f: f.put(f.op(RECURRENT) + 32, 5),
    "a layer that forgets beside a bias of its states": lambda f: f.put(f.op(RECURRENT) + 32, 4),
    "a layer without weights of its inputs": lambda f: f.put(f.op(RECURRENT) + 56, -1),
    "a layer without a bias of its states": lambda f: f.put(f.op(RECURRENT) + 68, -1),
    "a layer of no direction": lambda f: f.put(f.op(RECURRENT) + 36, 0),
    "a layer of more states than it has weights for": lambda f: f.put(f.op(RECURRENT) + 44, 1 << 16),
    "an example of a longer text": lambda f: f.put(f.section(EXAMPLES), _LARGE),
}


def _weights(f: File) -> int:
    """Where the integers stand of the first weights that are such."""
    return f.section(WEIGHTS) + f.word(f.constant(_INTEGERS) + 12)


# Changes of products of integers.
INTEGER_CHANGES: dict[str, Change] = {
    "a weight of -128": lambda f: f.put(_weights(f), 0x80),
    "integers that are a table": lambda f: f.put(f.constant(_INTEGERS), 256),
    "integers that are no floats": lambda f: f.put(f.constant(_INTEGERS), 1),
    "integers of fewer rows than x has columns": lambda f: f.put(f.constant(_INTEGERS) + 24, 1),
    "integers of more rows than a sum holds": lambda f: f.put(f.constant(_INTEGERS) + 24, (1 << 17) + 4),
    "integers of no rows": lambda f: f.put(f.constant(_INTEGERS) + 24, 0),
    "integers of columns that are no eights": lambda f: f.put(f.constant(_INTEGERS) + 32, 4),
    "integers behind the weights": lambda f: f.put(f.constant(_INTEGERS) + 12, _LARGE & ~63),
    "scales of integers behind the weights": lambda f: f.put(f.constant(_INTEGERS) + 16, _LARGE & ~63),
    "integers that are biases": lambda f: f.put(f.op(RECURRENT) + 64, f.number_of_constant(_INTEGERS)),
    "integers that are added": lambda f: f.put(f.op(LINEAR) + 16, f.number_of_constant(_INTEGERS)),
    "integers that a product reads": lambda f: f.put(f.op(BINARY) + 12, f.number_of_constant(_INTEGERS)),
    "states without a bound as integers": lambda f: f.put(f.op(RECURRENT) + 32, 1),
}
# Changes of a file with a step.
STEP_CHANGES: dict[str, Change] = {
    "a step of no state": lambda f: f.put(f.section(STEP), 0),
    "a step of no values": lambda f: f.put(f.section(STEP) + 4, 0),
    "a step of a value more than there are": lambda f: f.put(f.section(STEP) + 4, f.word(f.section(STEP) + 4) + 1),
    "a step of an operation more than there are": lambda f: f.put(f.section(STEP) + 8, f.word(f.section(STEP) + 8) + 1),
    "a step of no operations": lambda f: f.put(f.section(STEP) + 8, 0),
    "a step of no regions": lambda f: f.put(f.section(STEP) + 12, 0),
    "a step whose logits are the other program's": lambda f: f.put(f.section(STEP) + 16, f.word(84)),
    "a step whose new state is no value": lambda f: f.put(f.section(STEP) + 20, _LARGE),
    "a step that reads the other program's value": lambda f: f.put(f.op(LINEAR, STEP) + 8, f.word(84)),
    "a step that writes the state": lambda f: f.put(f.op(LINEAR, STEP) + 20, f.word(88)),
    "a step that writes where it reads": lambda f: _in_the_place_of(f, f.op(LINEAR, STEP) + 20, f.op(LINEAR, STEP) + 8),
    "a step that writes a constant": lambda f: f.put(f.op(LINEAR, STEP) + 20, f.number_of_constant()),
    "a step cut short": lambda f: f.put(128 + 8 * STEP + 4, 20),
    "a step beside n-grams": lambda f: f.put(f.section(RULES) + 8, 2),
    "a step beside a token in front of every text": lambda f: f.put(f.section(RULES) + 28, 1),
    "a step beside texts of at least two ids": lambda f: f.put(76, 2),
    "a step beside a word that must be known": lambda f: f.put(104, 1),
}
# Changes of a step beside rules of subwords, which a stream could not follow then.
SUBWORD_STEP_CHANGES: dict[str, Change] = {
    "a step of subwords beside a width": lambda f: f.put(f.section(RULES) + 36, 40),
    "a step of subwords beside texts that are cut on the left": lambda f: f.put(f.section(RULES) + 44, 1),
    "a step of subwords beside texts of at least two ids": lambda f: f.put(76, 2),
    "a step of subwords whose words end in the space behind them": lambda f: f.put(_operation(f, 10) + 8, 2),
}
# Changes of a file that still opens: it is refused when a text is answered.
ANSWER_CHANGES: dict[str, Change] = {
    "a value of fewer numbers than are looked up": lambda f: f.put(
        f.section(VALUES) + _VALUE * f.word(f.op(LOOKUP) + 16) + 20, *[0, 1] * 4
    ),
    "a product of more rows than there are": lambda f: f.put(f.op(LINEAR) + 24, 0, 1 << 20),
    "logits of more numbers than there are labels": lambda f: f.put(
        f.section(VALUES) + _VALUE * f.word(84) + 20, *[0, 64], *[0, 1] * 3
    ),
}


# Files whose parts fit, and that ask for more than a file of their size may: of words.prnn and axes.prnn, by file.
COSTLY_CHANGES: dict[str, dict[str, Change]] = {
    "words": {
        "a value of 2 GiB": lambda f: f.put(f.value(f.word(f.op(LINEAR) + 20)) + 20, 0, 1 << 29, *[0, 1] * 3),
        "values that are larger than what may be addressed": lambda f: f.put(
            f.value(f.word(f.op(LINEAR) + 20)) + 20, 0, 1 << 20, 0, 1 << 20, *[0, 1] * 2
        ),
    },
    "axes": {
        "a pool over 2^32 places": lambda f: f.put(f.op(POOL) + 40, 1 << 16, 1 << 16),
        "many products of no columns": lambda f: f.put(f.op(MATMUL) + 20, 0, _LARGE, 0, 1, 0, 6, 0, 0, 0, 0),
    },
}


def _made_again_and_again(f: File) -> None:
    """All of the weights as float16, in so many constants that they take 1 MiB more than 16 times the file."""
    count, numbers = f.word(88), f.word(128 + 8 * WEIGHTS + 4) // 2
    record = struct.pack("<13I", 0, 0xFFFFFFFF, 1, 0, 0, 0, 1, 0, numbers, 0, 1, 0, 1)
    more = (1 << 20) // (4 * numbers) + 16
    while 4 * numbers * more < (1 << 20) + 16 * (len(f.content) + _VALUE * (count + more) + 64):
        more += 16
    values = f.content[f.section(VALUES) : f.section(VALUES) + _VALUE * count] + record * more
    f.content += bytes(-len(f.content) % 64)
    at = len(f.content)
    f.content += values + bytes(-len(values) % 4)
    f.put(8, len(f.content))
    f.put(88, count + more)
    f.put(128 + 8 * VALUES, at, len(values))


def _searched_from_end_to_end(f: File) -> None:
    """A vocabulary of no free slots, but for one: for every word more than 1,024 are looked at."""
    at, slots = f.section(VOCABULARY), 1100
    count, _, bits, size, small = (f.word(at + 4 * i) for i in range(5))
    starts = 4 * (count // 64 + 1) + 4 * ((count + 2) // 2) if small else 4 * (count + 1)
    width = 2 if small else 4
    made = f.content[at + 20 : at + 20 + starts] + b"\1".ljust(width, b"\0") * slots
    strings = at + 20 + starts + width * f.word(at + 4)
    strings += -strings % 4
    made += f.content[strings : strings + size]
    f.content += bytes(-len(f.content) % 64)
    start = len(f.content)
    f.content += struct.pack("<5I", count, slots, bits, size, small) + made
    f.content += bytes(-len(f.content) % 4)
    f.put(8, len(f.content))
    f.put(128 + 8 * VOCABULARY, start, len(f.content) - start)


COSTLY_TO_OPEN: dict[str, Change] = {"constants of many times the file's size": _made_again_and_again}
CHANGES["a vocabulary that is searched from end to end"] = _searched_from_end_to_end
CHANGES["more examples than any file may have"] = lambda f: f.put(100, (1 << 14) + 1)


BASES = (
    *("words", "streams", "axes", "integers", "trigrams", "subwords-wordpiece", "subwords-gpt2", "subwords-unigram"),
    *("subwords-ranks", "subwords-clusters", "subwords-longer-runs", "streams-wordpiece"),
    *("numbers-gesture", "numbers-load", "tags", "tags-subwords", "heads", "features", "pairs"),
)


def changed(content: bytes, vector: dict[str, Any]) -> bytes:
    """The file that a line of refused.jsonl describes."""
    file = bytearray(content[: vector["size"]].ljust(vector["size"], b"\0"))
    for at, by in vector["changes"]:
        file[at : at + len(by) // 2] = bytes.fromhex(by)
    return bytes(file)


def _model(f: File) -> int:
    """Where what the model has begins, in the rules of subwords."""
    at = f.section(RULES) + 4 * 14
    prefix, suffix, first, last, outside = (f.word(at + 4 * i) for i in range(3, 8))
    return at + 4 * (11 + (prefix + 3) // 4 + (suffix + 3) // 4 + first + last + outside)


def _operation(f: File, kind: int) -> int:
    """Where the first step or split of a kind stands, in rules without merges and scores."""
    at = _model(f)
    while f.word(at) != kind:
        at += 4 * f.word(at + 4)
    return at


def _last_word(f: File, kind: int) -> int:
    """The last word of the first step or split of a kind."""
    at = _operation(f, kind)
    return at + 4 * f.word(at + 4) - 4


def _parts(f: File, which: int = 0) -> int:
    """Where the first run of one of the splits at runs says how many parts it goes on with."""
    at = _operation(f, 15)
    for _ in range(which):
        at += 4 * f.word(at + 4)
    at += 16 + 8
    for _ in range(4):
        at += 4 * (5 + 2 * f.word(at))
    return at


def _trie(f: File) -> int:
    """Where the trie stands behind scores: its units, the base of its root, and the first unit."""
    return _model(f) + 8 * (f.word(72) + 1)


def _unit(f: File, bits: int) -> int:
    """Where a unit of the trie stands of whose bits 31 and 8 these are set, and no other of the two."""
    at = _trie(f) + 8
    while f.word(at) & 0x80000100 != bits:
        at += 4
    return at


def _table(f: File) -> int:
    """Where the first step stands behind scores and their trie."""
    return _trie(f) + 8 + 4 * f.word(_trie(f))


def _strings_at(f: File) -> int:
    return _table(f) + 16 + 4 * f.word(_table(f) + 8)


def _strings(f: File) -> bytes:
    return bytes(f.content[_strings_at(f) : _strings_at(f) + f.word(_table(f) + 12)])


def _table_head(f: File) -> int:
    return _strings_at(f) + (len(_strings(f)) + 3) // 4 * 4


def _value(f: File) -> int:
    """Where a unit stands that is a value."""
    at = _table(f) + 16
    while f.word(at) < 1 << 31:
        at += 4
    return at


def _more(f: File, which: int) -> int:
    return f.section(RULES) + 4 * (14 + which)


# Changes of subwords: wordpiece, merges, and scores.
SUBWORD_CHANGES: dict[str, dict[str, Change]] = {
    "subwords-wordpiece": {
        "words in a file of subwords": lambda f: f.put(f.section(RULES), 1),
        "subwords in lower case": lambda f: f.put(f.section(RULES) + 4, 1),
        "a model that there is not": lambda f: f.put(_more(f, 0), 4),
        "a seventh flag of a model": lambda f: f.put(_more(f, 1), 64),
        "a trie of a model without scores": lambda f: f.put(_more(f, 1), 32),
        "ranks of a model without merges": lambda f: f.put(_more(f, 1), 16),
        "a prefix behind the rules": lambda f: f.put(_more(f, 3), 128),
        "more first ids than there may be": lambda f: f.put(_more(f, 5), 65),
        "more ids outside than there are": lambda f: f.put(_more(f, 7), _LARGE),
        "merges of a model that has none": lambda f: f.put(_more(f, 8), 1),
        "more splits than there are": lambda f: f.put(_more(f, 10), f.word(_more(f, 10)) + 1),
        "fewer splits than there are": lambda f: f.put(_more(f, 10), f.word(_more(f, 10)) - 1),
        "a first id out of range": lambda f: f.put(_more(f, 12), f.word(72)),
        "a prefix that is not UTF-8": lambda f: f.put(_more(f, 11), 0xFFFF),
        "a step of subwords that there is not": lambda f: f.put(_operation(f, 5), 15),
        "a split among the steps": lambda f: f.put(_operation(f, 5), 10),
        "a step of another length": lambda f: f.put(_operation(f, 2) + 4, f.word(_operation(f, 2) + 4) + 1),
        "a step that is longer than the rules": lambda f: f.put(_operation(f, 2) + 4, _LARGE),
        "a set of more ranges than there are": lambda f: f.put(_operation(f, 2) + 16, _LARGE),
        "what is put around is not UTF-8": lambda f: f.put(
            _operation(f, 2) + 4 * f.word(_operation(f, 2) + 4) - 4, 0xFF
        ),
        "nothing that is replaced": lambda f: f.put(_operation(f, 0) + 8, 0),
        "a capital whose small letter is none": lambda f: f.put(_operation(f, 5) + 24, 0x110000),
        "a normal form of more rows than there are": lambda f: f.put(_operation(f, 9) + 20, _LARGE),
        "a normal form of fewer codes than its rows take": lambda f: f.put(_operation(f, 9) + 24, 1),
        "a third way to cut at a set": lambda f: f.put(_operation(f, 10) + 8, 5),
    },
    "subwords-longer-runs": {
        "a sixth way to cut at runs": lambda f: f.put(_operation(f, 15) + 8, 16 + 5),
        "runs of a kind that there is not": lambda f: f.put(_operation(f, 15) + 8, 32),
        "runs that go on with nothing": lambda f: f.put(_operation(f, 15) + 8, 1),
        "more runs than there may be": lambda f: f.put(_operation(f, 15) + 12, 17),
        "a run of nothing": lambda f: f.put(_operation(f, 15) + 16, 0),
        "a run with more parts than there may be": lambda f: f.put(_parts(f), 32),
        "a run with more parts than there are": lambda f: f.put(_parts(f), 31),
        "a part of more code points than there may be": lambda f: f.put(_parts(f, 1) + 4, 65),
        "a part of at most more than there may be": lambda f: f.put(_parts(f, 1) + 8, 65),
        "a part of a set of more ranges than there are": lambda f: f.put(_parts(f, 1) + 12, _LARGE),
    },
    "subwords-gpt2": {
        "more merges than there are": lambda f: f.put(_more(f, 8), _LARGE),
        "as many merges as slots": lambda f: f.put(_more(f, 9), f.word(_more(f, 8))),
        "slots of merges of 32 bits": lambda f: f.put(_model(f), 32),
        "a merge of what is no token": lambda f: f.put(_model(f) + 4, f.word(72)),
        "a merge that makes what is no token": lambda f: f.put(_model(f) + 12, -1),
        "a merge that there is not": lambda f: f.put(
            _model(f) + 4 + 12 * f.word(_more(f, 8)), (1 << f.word(_model(f))) - 1
        ),
    },
    "subwords-ranks": {"ranks that there are not": lambda f: f.put(_more(f, 8), f.word(_more(f, 8)) + 1)},
    "subwords-clusters": {
        "a table of no unit": lambda f: f.put(_table(f) + 8, 0),
        "a table of more units than there are": lambda f: f.put(_table(f) + 8, _LARGE),
        "a table of fewer strings than it names": lambda f: f.put(_table(f) + 12, 1),
        "a table whose units lead out of it": lambda f: f.put(_table(f) + 16, 0x1FFFFF << 10),
        "a table whose key ends in no string": lambda f: f.put(_table(f) + 16, 0x100 | f.word(_table(f) + 16)),
        "a table whose value lies behind its strings": lambda f: f.put(_value(f), (1 << 31) + 4096),
        "a table whose value lies within a character": lambda f: f.put(
            _value(f), (1 << 31) + _strings(f).index(b"\xc3\xa5") + 1
        ),
        "a table whose strings are not UTF-8": lambda f: f.put(_strings_at(f), 0xFFFFFFFF),
        "a table whose string is too long": lambda f: f.put(_strings_at(f), *8 * [0x61616161]),
        "a table of three kinds of clusters": lambda f: f.put(_table_head(f), 3),
        "a table of more to keep than it says": lambda f: f.put(
            _strings_at(f) + (len(_strings(f)) + 3) // 4 * 4 + 4, 9
        ),
    },
    "subwords-unigram": {
        "a score that is NaN": lambda f: f.put(_model(f) + 8, 0, 0x7FF80000),
        "scores without an unknown piece": lambda f: f.put(f.section(RULES) + 16, -1),
        "a trie of more units than there are": lambda f: f.put(_trie(f), _LARGE),
        "a trie of no unit": lambda f: f.put(_trie(f), 0),
        "a trie whose root is no unit": lambda f: f.put(_trie(f) + 4, f.word(_trie(f))),
        "a trie whose piece is no token": lambda f: f.put(_unit(f, 1 << 31), 1 << 31 | f.word(72) << 8),
        "a trie whose node leads out of it": lambda f: f.put(_unit(f, 0), 0x3FFFFF << 9),
        "a trie whose piece ends in a node": lambda f: f.put(
            _unit(f, 0x100), 0x100 | (_unit(f, 0) - _trie(f) - 8) << 7
        ),
    },
}


def _rule(f: File, word: int) -> int:
    """A word of the rules of numbers: flags, steps, window, hop, pad_value, then two for each number."""
    return f.section(RULES) + 4 * word


_NAN = (0, 0x7FF80000)
# Changes of sequences of numbers: three channels with all rules, and one with a length.
NUMBER_CHANGES: dict[str, dict[str, Change]] = {
    "numbers-gesture": {
        "numbers of no channel": lambda f: f.put(108, 0),
        "numbers of a channel that has no name": lambda f: f.put(108, 4),
        "numbers of more channels than there may be": lambda f: f.put(108, (1 << 16) + 1),
        "numbers that have ids": lambda f: f.put(72, 8),
        "numbers that must hold a known word": lambda f: f.put(104, 1),
        "a fourth way to make probabilities": lambda f: f.put(68, 3),
        "samples that are integers": lambda f: f.put(f.section(VALUES), 1),
        "samples that are a constant": lambda f: f.put(f.section(VALUES) + 4, -1),
        "a flag of rules of numbers that there is not": lambda f: f.put(_rule(f, 0), f.word(_rule(f, 0)) | 128),
        "a flag of rules of numbers fewer than there are": lambda f: f.put(_rule(f, 0), f.word(_rule(f, 0)) & ~16),
        "padding of any length": lambda f: f.put(_rule(f, 0), f.word(_rule(f, 0)) | 32),
        "padding on the left of what is not padded": lambda f: f.put(_rule(f, 0), f.word(_rule(f, 0)) | 64),
        "a window that never begins again": lambda f: f.put(_rule(f, 3), 0),
        "a hop without a window": lambda f: f.put(_rule(f, 2), 0),
        "padding that is NaN": lambda f: f.put(_rule(f, 4), 0x7FC00000),
        "an integer_scale of 0": lambda f: f.put(_rule(f, 5), 0, 0),
        "a mean that is NaN": lambda f: f.put(_rule(f, 11), *_NAN),
        "a scale of 0": lambda f: f.put(_rule(f, 17), 0, 0),
        "a clip to nothing": lambda f: f.put(_rule(f, 23), f.word(_rule(f, 25)), f.word(_rule(f, 26))),
        "a missing sample that becomes NaN": lambda f: f.put(_rule(f, 27), *_NAN),
        "rules of numbers cut short": lambda f: f.put(128 + 8 * RULES + 4, 16),
        "an example of no step": lambda f: f.put(f.section(EXAMPLES) + 4, 0),
        "an example of a text among numbers": lambda f: f.put(f.section(EXAMPLES), 4),
        "an example of more steps than there are": lambda f: f.put(f.section(EXAMPLES) + 4, _LARGE),
        "stop words of numbers": lambda f: f.put(f.section(STOPS), f.word(f.section(STOPS)) + 1),
        "a step of numbers": lambda f: f.put(128 + 8 * STEP, f.section(OPS), f.word(128 + 8 * OPS + 4)),
    },
    "numbers-load": {
        "steps that the limits do not allow": lambda f: f.put(_rule(f, 1), 8),
        "limits beside a number of steps": lambda f: f.put(76, 1),
        "a window of more steps than there are": lambda f: f.put(_rule(f, 2), 10, 10),
    },
}


TAG_CHANGES: dict[str, dict[str, Change]] = {
    "tags": {
        "tags of fewer bytes than their head": lambda f: f.put(128 + 8 * TAGS + 4, 4),
        "tags behind the end": lambda f: f.put(128 + 8 * TAGS, _LARGE & ~63),
        "a third way to decode": lambda f: f.put(f.section(TAGS), 3),
        "a CRF of numbers that nobody reads": lambda f: f.put(f.section(TAGS), 0),
        "marks of a tokenizer that knows none": lambda f: f.put(f.section(TAGS) + 4, 1),
        "more marks than there are numbers for": lambda f: f.put(f.section(TAGS) + 4, _LARGE),
        "a number of a CRF that is infinite": lambda f: f.put(f.section(TAGS) + 12, 0x7FF00000),
        "a number of a CRF that is NaN": lambda f: f.put(f.section(TAGS) + 12, 0xFFF80000),
        "labels of tokens that are right by themselves": lambda f: f.put(68, 1),
        "labels of tokens beside a step": lambda f: f.put(128 + 8 * STEP, f.section(OPS), 24),
        "examples of fewer logits than tokens": lambda f: f.put(
            128 + 8 * EXAMPLES + 4, f.word(128 + 8 * EXAMPLES + 4) - 4
        ),
    },
    "tags-subwords": {
        "marks that end before they begin": lambda f: f.put(f.section(TAGS) + 8, f.word(f.section(TAGS) + 12) + 1),
        "marks that are not in order": lambda f: f.put(f.section(TAGS) + 16, 0x80),
        "marks beyond all code points": lambda f: f.put(
            f.section(TAGS) + 4 + 8 * f.word(f.section(TAGS) + 4), 0x110000
        ),
    },
}


INPUT_OUTPUT_CHANGES: dict[str, dict[str, Change]] = {
    "heads": {
        "one head": lambda f: f.put(f.section(HEADS), 1),
        "more heads than there are": lambda f: f.put(f.section(HEADS), 3),
        "as many heads as there can be": lambda f: f.put(f.section(HEADS), 0xFFFFFFFF),
        "a head of fewer labels": lambda f: f.put(f.section(HEADS) + 4, 2),
        "a head without labels": lambda f: f.put(f.section(HEADS) + 4, 5, 0, 0),
        "heads whose labels wrap": lambda f: f.put(f.section(HEADS) + 4, 0xFFFFFFFF, 0, 6),
        "a head of values": lambda f: f.put(f.section(HEADS) + 8, 2),
        "another number of names": lambda f: f.put(f.section(HEADS) + 20, 1),
        "heads that the header does not say": lambda f: f.put(68, 0),
        "heads that are not there": lambda f: f.put(128 + 8 * HEADS, 0, 0),
        "heads cut short": lambda f: f.put(128 + 8 * HEADS + 4, 12),
        "heads beside a step": lambda f: f.put(128 + 8 * STEP, f.section(OPS), 24),
    },
    "features": {
        "fewer features than names": lambda f: f.put(112, 3),
        "more features than there are": lambda f: f.put(112, 5),
        "as many features as there can be": lambda f: f.put(112, 0xFFFFFFFF),
        "features that the header does not say": lambda f: f.put(112, 0),
        "features that are not there": lambda f: f.put(128 + 8 * FEATURES, 0, 0),
        "features of two texts": lambda f: f.put(116, 1),
        "features beside a step": lambda f: f.put(128 + 8 * STEP, f.section(OPS), 24),
        "features beside labels of tokens": lambda f: f.put(128 + 8 * TAGS, f.section(LABELS), 8),
        "features cut short": lambda f: f.put(128 + 8 * FEATURES + 4, f.word(128 + 8 * FEATURES + 4) - 4),
        "a feature of a third kind": lambda f: f.put(_feature(f, 0), 2),
        "a feature of no words": lambda f: f.put(_feature(f, 0) + 4, 0),
        "a feature beyond the others": lambda f: f.put(_feature(f, 0) + 4, 0xFFFFFFFF),
        "a number of more words": lambda f: f.put(_feature(f, 0) + 4, 8),
        "a number divided by 0": lambda f: f.put(_feature(f, 0) + 16, 0, 0x80000000),
        "a number less NaN": lambda f: f.put(_feature(f, 0) + 8, 0, 0x7FF80000),
        "a category that is a number": lambda f: f.put(_feature(f, 1), 0),
        "a category of more values": lambda f: f.put(_feature(f, 1) + 12, f.word(_feature(f, 1) + 12) + 1),
        "an id of unknown values beyond all": lambda f: f.put(_feature(f, 2) + 8, 1 << 24),
        "an id of a value beyond all": lambda f: f.put(_feature(f, 3) - 4, 1 << 24),
        "features that are constants": lambda f: f.put(f.section(VALUES) + _VALUE + 4, 0xFFFFFFFF),
        "features that are whole numbers": lambda f: f.put(f.section(VALUES) + _VALUE, 1),
    },
    "pairs": {
        "two texts and more": lambda f: f.put(116, 2),
        "two texts with features": lambda f: f.put(112, 1),
        "two texts beside a step": lambda f: f.put(128 + 8 * STEP, f.section(OPS), 24),
        "two texts beside labels of tokens": lambda f: f.put(128 + 8 * TAGS, f.section(LABELS), 8),
        "a second text that is floats": lambda f: f.put(f.section(VALUES) + _VALUE, 0),
        "a second text that is a constant": lambda f: f.put(f.section(VALUES) + _VALUE + 4, 0xFFFFFFFF),
        "an operation that writes to the second text": lambda f: f.put(f.op(0) + 16, 1),
    },
    "words": {
        "features of a text alone": lambda f: f.put(112, 1),
        "a pair in a program of one text": lambda f: f.put(116, 1),
    },
    "tags": {
        "labels of tokens by heads": lambda f: f.put(68, 3),
        "labels of tokens of two texts": lambda f: f.put(116, 1),
    },
    "numbers-gesture": {"heads of numbers": lambda f: f.put(68, 3), "two texts of numbers": lambda f: f.put(116, 1)},
}


def _feature(f: File, index: int) -> int:
    """Where a feature stands, behind the names, which are in the small form."""
    at = f.section(FEATURES)
    count, slots, _, size, _ = (f.word(at + 4 * i) for i in range(5))
    at += 20 + 4 * (count // 64 + 1) + 4 * ((count + 2) // 2) + 4 * ((slots + 1) // 2) + size + -size % 4
    for _ in range(index):
        at += 4 * f.word(at + 4)
    return at


def refused(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The lines of refused.jsonl.

    Args:
        files: those of BASES by name. Most lines change words.prnn; streams.prnn has a step.
    """
    words = files["words"]
    lines = [
        _line("words", words, "a byte that was changed", words[:-1] + bytes([words[-1] ^ 1])),
        _line("words", words, "another file's begin", b"PK" + words[2:]),
        _line("words", words, "cut short", words[:-4]),
        _line("words", words, "more behind it", words + bytes(4)),
        _line("words", words, "a header alone", words[:256]),
    ]
    for name, changes, when, costly in (
        ("words", CHANGES, OPENED, False),
        ("streams", STEP_CHANGES, OPENED, False),
        ("streams-wordpiece", SUBWORD_STEP_CHANGES, OPENED, False),
        ("integers", INTEGER_CHANGES, OPENED, False),
        *(
            (name, changes, OPENED, False)
            for of in (SUBWORD_CHANGES, NUMBER_CHANGES, TAG_CHANGES, INPUT_OUTPUT_CHANGES)
            for name, changes in of.items()
        ),
        ("words", ANSWER_CHANGES, ANSWERED, False),
        ("trigrams", COSTLY_TO_OPEN, OPENED, True),
        *((name, changes, ANSWERED, True) for name, changes in COSTLY_CHANGES.items()),
    ):
        for why, change in changes.items():
            file = File(bytearray(files[name]))
            change(file)
            file.make_sums_fit()
            lines.append(_line(name, files[name], why, bytes(file.content), when, costly=costly))
    return lines


def _line(
    name: str, content: bytes, why: str, made: bytes, when: str = OPENED, *, costly: bool = False
) -> dict[str, Any]:
    padded = content[: len(made)].ljust(len(made), b"\0")
    places = [at for at in range(0, len(made), 4) if padded[at : at + 4] != made[at : at + 4]]
    changes: list[tuple[int, str]] = []
    for at in places:
        word = made[at : at + 4].hex()
        if changes and changes[-1][0] + len(changes[-1][1]) // 2 == at:
            changes[-1] = (changes[-1][0], changes[-1][1] + word)
        else:
            changes.append((at, word))
    line: dict[str, Any] = {"file": f"{name}.prnn", "why": why, "when": when, "size": len(made), "changes": changes}
    return {**line, "costly": True} if costly else line
