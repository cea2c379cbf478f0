"""The numbers that stand for names in a packed file.

`runtime/native/src/file_layout.inc` has the same names in C; docs/packed-format.md says what each means; a test checks
that they agree. Each class is only a list of constants and is never instantiated.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "Binary",
    "Cut",
    "Layer",
    "NumberType",
    "PatternKind",
    "Pooling",
    "Reduction",
    "Section",
    "Storage",
    "SubwordModel",
    "SubwordOperation",
    "Unary",
]


class Section:
    """The sections of a packed file, in the order of the header's table."""

    DOCUMENT: Final = 0
    LABELS: Final = 1
    RULES: Final = 2
    STOPS: Final = 3
    VOCABULARY: Final = 4
    VALUES: Final = 5
    OPS: Final = 6
    WEIGHTS: Final = 7
    EXAMPLES: Final = 8
    STEP: Final = 9
    TAGS: Final = 10
    HEADS: Final = 11
    FEATURES: Final = 12


class SubwordModel:
    """The kinds of subword models, which split a word into pieces."""

    WORD_PIECE: Final = 0
    WHOLE_WORDS: Final = 1
    PAIRS: Final = 2
    SCORES: Final = 3


class SubwordOperation:
    """The kinds of cleaning steps before a text is split into words, and the kinds of splits."""

    REPLACE: Final = 0
    KEEP: Final = 1
    SURROUND: Final = 2
    FOLD: Final = 3
    FOLD_RUNS: Final = 4
    LOWERCASE: Final = 5
    STRIP: Final = 6
    PREPEND: Final = 7
    BYTES: Final = 8
    NORMAL: Final = 9
    AT: Final = 10
    AT_TEXT: Final = 11
    PATTERN: Final = 12
    PREPEND_TO: Final = 13
    TABLE: Final = 14
    RUNS: Final = 15


class Cut:
    """The ways to cut a text at a match: the match is removed, isolated, joined to the text before it or after it, or
    joined to neighbouring matches."""

    REMOVED: Final = 0
    ISOLATED: Final = 1
    WITH_PREVIOUS: Final = 2
    WITH_NEXT: Final = 3
    RUNS: Final = 4


class PatternKind:
    """The patterns by which known tokenizers split a text into words."""

    GPT2: Final = 0
    CLIP: Final = 1
    CL100K: Final = 2
    O200K: Final = 3
    DEEPSEEK: Final = 4


class NumberType:
    """The number types (dtypes) of the tensors that a packed program computes."""

    FLOAT: Final = 0
    INT: Final = 1
    BOOL: Final = 2


class Storage:
    """The ways in which a packed file stores a constant."""

    AS_IS: Final = 0
    HALF: Final = 1
    BYTES_BY_ROW: Final = 2
    BYTES_BY_COLUMN: Final = 3
    INTEGERS_BY_COLUMN: Final = 4


class Layer:
    """The recurrent layers that the operation `recurrent` of a packed program computes."""

    RNN_TANH: Final = 0
    RNN_RELU: Final = 1
    LSTM: Final = 2
    GRU: Final = 3
    FORGET: Final = 4


class Unary:
    """The functions of one tensor that the operation `unary` of a packed program computes."""

    NEGATIVE: Final = 0
    ABSOLUTE: Final = 1
    EXP: Final = 2
    LOG: Final = 3
    SQRT: Final = 4
    TANH: Final = 5
    SIGMOID: Final = 6
    RELU: Final = 7
    ERF: Final = 8
    RECIPROCAL: Final = 9
    FLOOR: Final = 10
    CEIL: Final = 11
    ROUND: Final = 12
    SIGN: Final = 13
    LEAKY: Final = 14
    ELU: Final = 15
    CLIP: Final = 16
    SOFTPLUS: Final = 17
    GELU: Final = 18
    GELU_TANH: Final = 19
    SIN: Final = 20
    COS: Final = 21
    HARD_SIGMOID: Final = 22
    NOT: Final = 23
    CAST: Final = 24


class Binary:
    """The functions of two tensors that the operation `binary` of a packed program computes."""

    ADD: Final = 0
    SUB: Final = 1
    MUL: Final = 2
    DIV: Final = 3
    POW: Final = 4
    MIN: Final = 5
    MAX: Final = 6
    EQUAL: Final = 7
    LESS: Final = 8
    LESS_EQUAL: Final = 9
    GREATER: Final = 10
    GREATER_EQUAL: Final = 11
    AND: Final = 12
    OR: Final = 13
    XOR: Final = 14


class Reduction:
    """The ways in which the operation `reduce` of a packed program reduces a tensor."""

    SUM: Final = 0
    MEAN: Final = 1
    LARGEST: Final = 2
    SMALLEST: Final = 3
    PRODUCT: Final = 4


class Pooling:
    """The ways in which the operation `pool` of a packed program pools a window: its largest number, or its mean.

    A mean is over the part of the window inside the input, or over the whole window.
    """

    LARGEST: Final = 0
    MEAN_INSIDE: Final = 1
    MEAN: Final = 2
