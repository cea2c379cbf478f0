"""Small packed files in which every operation stands by itself: each logit is the result of one of them for the text.

The labels say which. The expected results are written out in numpy here, from docs/packed-format.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.manifest import INTEGERS, Comparison, Example, Graph, Manifest, Parity
from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.bundle.packed_enums import Binary, Reduction, Unary
from pocketrnn.bundle.packed_file import encode_packed_file, has_integer_weights, make_manifest_entry_of_program
from pocketrnn.text import TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.forms.packed_file.program import (
    BOOL,
    FLOAT,
    INT,
    NONE,
    Program,
    convert_float_to_bits,
    round_columns_to_int8,
    round_table_to_int8_multiples,
)
from pocketrnn_export.forms.packed_file.size_dependent_values import Size

__all__ = ["FILES", "Made", "made"]

Array = npt.NDArray[Any]
Reference = Callable[[Array], Array]

WORDS, WIDTH = 12, 6
TEXTS = ("w3", "w1 w7", "w0 w11 w4", "w5 w5 w2 w9 w8", "w10 w6 w1 w0 w3 w2 w7 w9 w11 w4 w5 w8 w6")
_ONE, _TOKENS, _COLUMNS = (0, 1), (1, 0), (0, WIDTH)
_ALL = (WIDTH, 0)


@dataclass
class Made:
    """A packed file, and its texts with the ids and logits that must come out."""

    content: bytes = field(repr=False)
    vectors: list[dict[str, Any]]


@dataclass
class _Maker:
    """A program that makes one number after the other of the embeddings of a text, x and y [tokens, 6]."""

    program: Program = field(default_factory=Program)
    labels: list[str] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    means: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = np.random.default_rng(4)
        self.generator = generator
        self.tables = [generator.normal(0, 0.8, (WORDS, WIDTH)).astype(np.float32) for _ in range(2)]
        self.x, self.y = (self._looked_up(table) for table in self.tables)

    def _looked_up(self, table: Array) -> int:
        made = self.value(FLOAT, _TOKENS, _COLUMNS)
        self.program.add_operation("lookup", [self.program.add_constant(table, is_table=True), 0, made])
        return made

    def value(self, kind: int, *sizes: Size) -> int:
        return self.program.add_value(kind, sizes)

    def constant(self, *shape: int) -> tuple[int, Array]:
        numbers = self.generator.normal(0, 0.8, shape).astype(np.float32)
        return self.program.add_constant(numbers if len(shape) == 2 else numbers.reshape(-1)), numbers

    def number(self, text: float, like: type = np.float32) -> int:
        return self.program.add_constant(np.array([text], like))

    def unary(
        self, kind: int, source: int, alpha: float = 0, beta: float = 0, *, to: int = FLOAT, size: Size = _ALL
    ) -> int:
        made = self.value(to, size)
        self.program.add_operation(
            "unary", [source, made], kind, convert_float_to_bits(alpha), convert_float_to_bits(beta)
        )
        return made

    def binary(self, kind: int, a: int, b: int, *, masks: tuple[int, int] = (12, 12), to: int = FLOAT) -> int:
        made = self.value(to, _TOKENS, _COLUMNS)
        self.program.add_operation("binary", [a, b, made], kind, _ONE, _ONE, _TOKENS, _COLUMNS, *masks)
        return made

    def keep(self, label: str, value: int, rows: Size, columns: int, reference: Reference) -> None:
        """One logit: the mean of a value [rows, columns] times a number for each column."""
        weights = np.linspace(-1, 2, columns).astype(np.float32)
        whole = (rows[0] * columns, rows[1] * columns)
        weighted, mean = self.value(FLOAT, whole), self.value(FLOAT)
        row = self.program.add_constant(weights)
        self.program.add_operation("binary", [value, row, weighted], Binary.MUL, _ONE, _ONE, rows, (0, columns), 12, 8)
        self.program.add_operation("reduce", [weighted, mean], Reduction.MEAN, _ONE, whole, _ONE)
        self.labels.append(label)
        self.references.append(
            lambda ids: (np.asarray(reference(ids), np.float64).reshape(-1, columns) * weights).mean()
        )
        self.means.append(mean)

    def rows(self, ids: Array) -> tuple[Array, Array]:
        """x and y of a text, in double precision."""
        return self.tables[0][ids].astype(np.float64), self.tables[1][ids].astype(np.float64)

    def finished(self, name: str) -> Made:
        program, count = self.program, len(self.labels)
        logits = self.value(FLOAT, (0, count))
        for place, mean in enumerate(self.means):
            zeros: list[Size] = [(0, 0)] * 6
            program.add_operation("copy", [mean, logits], *[_ONE] * 5, *zeros, (0, place), *zeros[1:])
        program.outputs.append(logits)
        finished = program.encode_sections()
        vectors = []
        for text in TEXTS:
            ids = np.array([int(word[1:]) for word in text.split()])
            exact = [np.float32(reference(ids)) for reference in self.references]
            vectors.append({"text": text, "ids": ids.tolist(), "logits": [float(str(number)) for number in exact]})
        graph = Graph("model.onnx", "0" * 64, 17, ("tokens",), False, WORDS)
        candidate = INTEGERS if has_integer_weights(finished.values) else "numpy"
        manifest = Manifest(
            name=name,
            input=TextInput(
                TextRules(tokenizer="whitespace", unknown_id=0, padding_id=0), tuple(f"w{i}" for i in range(WORDS))
            ),
            output=LabelOutput(tuple(self.labels)),
            graph=make_manifest_entry_of_program(graph, finished),
            torchscript=None,
            examples=(Example(TEXTS[0], tuple(vectors[0]["ids"]), tuple(vectors[0]["logits"])),),
            parity=Parity(1e-5, (Comparison("numpy", candidate, "texts", len(TEXTS), len(TEXTS), 0.0, 0),)),
        )
        return Made(encode_packed_file(manifest, finished), vectors)


erf = np.vectorize(math.erf)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


UNARY: dict[str, tuple[float, float, Callable[[Array], Array]]] = {
    "negative": (0, 0, lambda x: -x),
    "absolute": (0, 0, np.abs),
    "exp": (0, 0, np.exp),
    "log": (0, 0, np.log),
    "sqrt": (0, 0, np.sqrt),
    "tanh": (0, 0, np.tanh),
    "sigmoid": (0, 0, _sigmoid),
    "relu": (0, 0, lambda x: np.maximum(x, 0)),
    "erf": (0, 0, erf),
    "reciprocal": (0, 0, lambda x: 1 / x),
    "floor": (0, 0, np.floor),
    "ceil": (0, 0, np.ceil),
    "round": (0, 0, np.rint),
    "sign": (0, 0, np.sign),
    "leaky relu": (0.1, 0, lambda x: np.where(x < 0, np.float32(0.1) * x, x)),
    "elu": (0.7, 0, lambda x: np.where(x < 0, np.float32(0.7) * np.expm1(x), x)),
    "clip": (-0.25, 0.5, lambda x: np.clip(x, -0.25, 0.5)),
    "softplus": (0, 0, lambda x: np.log1p(np.exp(x))),
    "gelu": (0, 0, lambda x: x / 2 * (1 + erf(x / np.sqrt(2)))),
    "gelu by tanh": (0, 0, lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    "sin": (0, 0, np.sin),
    "cos": (0, 0, np.cos),
    "hard sigmoid": (0.5, 0.25, lambda x: np.clip(0.5 * x + 0.25, 0, 1)),
}
NOT, CAST = Unary.NOT, Unary.CAST
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "min": np.minimum,
    "max": np.maximum,
    "equal": np.equal,
    "less": np.less,
    "less or equal": np.less_equal,
    "greater": np.greater,
    "greater or equal": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "exclusive or": np.logical_xor,
}


def _unary() -> Made:
    m = _Maker()
    positive = m.binary(0, m.unary(1, m.x), m.number(0.5), masks=(12, 0))
    for kind, (label, (alpha, beta, function)) in enumerate(UNARY.items()):
        is_positive = label in ("log", "sqrt", "reciprocal")

        def reference(ids: Array, f: Any = function, is_positive: bool = is_positive) -> Array:
            x = m.rows(ids)[0]
            return f(np.abs(x) + 0.5 if is_positive else x)  # type: ignore[no-any-return]

        made = m.unary(kind, positive if is_positive else m.x, alpha, beta)
        m.keep(label, made, _TOKENS, WIDTH, reference)
    less = m.binary(8, m.x, m.y, to=BOOL)
    turned = m.unary(CAST, m.unary(NOT, less, to=BOOL))
    m.keep("not", turned, _TOKENS, WIDTH, lambda ids: ~(m.rows(ids)[0] < m.rows(ids)[1]))
    whole = m.unary(CAST, m.unary(CAST, m.binary(2, m.x, m.number(3), masks=(12, 0)), to=INT))
    m.keep("cast to an integer", whole, _TOKENS, WIDTH, lambda ids: np.trunc(m.rows(ids)[0] * 3))
    return m.finished("unary")


def _binary() -> Made:
    m = _Maker()
    row, row_numbers = m.constant(WIDTH)
    rounded = [m.unary(12, value) for value in (m.x, m.y)]
    above = [m.binary(10, value, m.number(0.0), masks=(12, 0), to=BOOL) for value in (m.x, m.y)]
    positive = m.unary(1, m.x)
    for kind, (label, function) in enumerate(BINARY.items()):
        a, b, masks = m.x, row if kind % 2 else m.y, (12, 8 if kind % 2 else 12)
        if label == "power":
            a, b, masks = positive, m.y, (12, 12)
        elif kind >= 7:
            a, b, masks = *(rounded if kind < 12 else above), (12, 12)

        def reference(ids: Array, f: Any = function, kind: int = kind, label: str = label) -> Array:
            x, y = m.rows(ids)
            if label == "power":
                return np.abs(x) ** y
            if kind >= 7:
                x, y = (np.rint(x), np.rint(y)) if kind < 12 else (x > 0, y > 0)
            return f(x, row_numbers if kind < 7 and kind % 2 else y)  # type: ignore[no-any-return]

        made = m.binary(kind, a, b, masks=masks, to=FLOAT if kind < 7 else BOOL)
        m.keep(label, made if kind < 7 else m.unary(CAST, made), _TOKENS, WIDTH, reference)
    sevens = m.value(INT, _TOKENS, _COLUMNS)
    m.program.add_operation("count", [sevens], _ONE, _TOKENS, _COLUMNS, (-1, 3), 5)
    parts = m.unary(CAST, m.binary(3, sevens, m.number(4, np.int32), masks=(12, 0), to=INT))
    m.keep(
        "divide integers", parts, _TOKENS, WIDTH,
        lambda ids: np.repeat(np.trunc((3 - len(ids) + 5 * np.arange(len(ids))) / 4)[:, None], WIDTH, 1),
    )  # fmt: skip
    return m.finished("binary")


KINDS = ("tanh", "relu", "lstm", "gru", "forget")
HIDDEN = 3


def _one_way(kind: str, x: Array, w: Array, r: Array, b: Array, c: Array, h: Array, cell: Array) -> list[Array]:
    """Every state of a layer's direction, then the last ones; the gates along the last axis of the weights."""
    rows = []
    for step in x:
        h, cell = _one_step(kind, step @ w + b, h @ r + c, h, cell)
        rows.append(h)
    return [np.array(rows), h, cell]


def _one_step(kind: str, gates: Array, hidden: Array, h: Array, cell: Array) -> tuple[Array, Array]:
    """The new state and cell, of the sums of the input and of the state with their biases."""
    if kind in ("tanh", "relu"):
        return np.tanh(gates + hidden) if kind == "tanh" else np.maximum(gates + hidden, 0), cell
    if kind == "lstm":
        entry, forget, output, new = np.split(gates + hidden, 4)
        cell = _sigmoid(forget) * cell + _sigmoid(entry) * np.tanh(new)
        return _sigmoid(output) * np.tanh(cell), cell
    update, reset, new = np.split(gates, 3)
    update_h, reset_h, new_h = np.split(hidden, 3)
    update = _sigmoid(update + update_h)
    new = np.tanh(new + _sigmoid(reset + reset_h) * new_h)
    return (1 - update) * new + update * h, cell


def _layers() -> Made:
    m = _Maker()
    for kind, gates in enumerate((1, 1, 4, 3)):
        drawn = [
            [m.generator.normal(0, 0.7, (rows, gates, HIDDEN)).astype(np.float32) for rows in (WIDTH, HIDDEN, 1, 1)]
            for _ in range(2)
        ]
        states = [m.constant(2 * HIDDEN) for _ in range(2)]
        for directions in (1, 2, 3):
            _layer(m, kind, directions, drawn, states)
    for kind, gates in enumerate((1, 1, 4, 3)):
        drawn = [
            [m.generator.normal(0, 0.7, (rows, gates, HIDDEN)).astype(np.float32) for rows in (WIDTH, 1, 1)]
            for _ in range(2)
        ]
        for some in drawn:
            some.insert(1, np.zeros((HIDDEN, gates, HIDDEN), np.float32))
        _layer(m, kind, 3, drawn, states)
    for directions, hidden, has_window, begins in (
        (1, 3, True, True),
        (2, 24, True, False),
        (3, 24, True, False),
        (3, 3, False, False),
    ):
        _forgetting(m, directions, hidden, has_window=has_window, begins=begins)
    return m.finished("layers")


def _forgetting(m: _Maker, directions: int, hidden: int, *, has_window: bool, begins: bool) -> None:
    """A layer without a product of its states, of inputs of one step or two; it may begin behind other steps."""
    both = 2 if directions == 3 else 1
    width = -(-hidden // 8) * 8
    of_directions, weights = [], []
    for _ in range(both):
        drawn = [m.generator.normal(0, 0.7, (rows, 2, hidden)).astype(np.float32) for rows in (WIDTH, WIDTH, 1)]
        drawn[1] *= has_window
        of_directions.append([array.reshape(len(array), -1).astype(np.float64) for array in drawn])
        flat = [np.pad(array, ((0, 0), (0, 0), (0, width - hidden))).reshape(len(array), -1) for array in drawn]
        weights += [m.program.add_constant(flat[0]), m.program.add_constant(flat[1]) if has_window else NONE]
        weights += [m.program.add_constant(flat[2].reshape(-1)), NONE]
    weights += [NONE] * 4 if both == 1 else []
    (h0, first), (x0, before) = (m.constant(both * hidden), m.constant(WIDTH)) if begins else 2 * [(NONE, np.zeros(0))]
    made = [m.value(FLOAT, _TOKENS, (0, both * hidden)), m.value(FLOAT, (0, both * hidden)), NONE]
    number = KINDS.index("forget")
    m.program.add_operation(
        "recurrent", [m.x, h0, x0, *made], number, directions, WIDTH, hidden, _TOKENS, weights=weights
    )

    def reference(ids: Array) -> list[Array]:
        found = []
        x = m.rows(ids)[0]
        earlier = np.concatenate([before.reshape(-1, WIDTH) if begins else np.zeros((1, WIDTH)), x[:-1]])
        for i, (w, v, b) in enumerate(of_directions):
            order = slice(None, None, -1 if directions == 2 or i == 1 else 1)
            h = first.astype(np.float64) if begins else np.zeros(hidden)
            rows = []
            for gates in (x @ w + earlier @ v + b[0])[order]:
                keep, new = _sigmoid(gates[:hidden]), np.tanh(gates[hidden:])
                h = keep * h + (1 - keep) * new
                rows.append(h)
            found.append([np.array(rows)[order], h])
        return [np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)]

    what = (
        f"forget {hidden} {('forward', 'backward', 'both ways')[directions - 1]}{', two steps' if has_window else ''}"
    )
    for part, index, rows in (("states", 0, _TOKENS), ("last state", 1, _ONE)):
        m.keep(f"{what}, {part}", made[index], rows, both * hidden, lambda ids, i=index: reference(ids)[i])  # type: ignore[misc]


def _layer(m: _Maker, kind: int, directions: int, drawn: list[list[Array]], states: list[tuple[int, Array]]) -> None:
    label, both = KINDS[kind], 2 if directions == 3 else 1
    of_directions, weights = [], []
    for some in drawn[:both]:
        gates = some[0].shape[1]
        of_directions.append([array.reshape(len(array), -1).astype(np.float64) for array in some])
        for place, array in enumerate(some):
            wide = np.zeros((len(array), gates, 8), np.float32)
            wide[:, :, :HIDDEN] = array
            flat = wide.reshape(len(array), -1)
            # States that nothing multiplies.
            is_left_out = place == 1 and not array.any()
            weights.append(
                NONE if is_left_out else m.program.add_constant(flat if len(array) > 1 else flat.reshape(-1))
            )
    weights += [NONE] * 4 if both == 1 else []
    # One direction alone begins with the first of the states of both.
    given = [states[0][0], states[1][0] if label == "lstm" else NONE]
    made = [m.value(FLOAT, _TOKENS, (0, both * HIDDEN)), m.value(FLOAT, (0, both * HIDDEN))]
    made.append(m.value(FLOAT, (0, both * HIDDEN)) if label == "lstm" else NONE)
    m.program.add_operation(
        "recurrent", [m.x, *given, *made], kind, directions, WIDTH, HIDDEN, _TOKENS, weights=weights
    )

    def reference(ids: Array) -> list[Array]:
        found = []
        for i, (w, r, b, c) in enumerate(of_directions):
            back = directions == 2 or i == 1
            h, cell = (numbers.reshape(2, HIDDEN)[i].astype(np.float64) for _, numbers in states)
            x = m.rows(ids)[0]
            y, last, last_cell = _one_way(label, x[::-1] if back else x, w, r, b[0], c[0], h, cell)
            found.append([y[::-1] if back else y, last, last_cell])
        return [np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)]

    way = ("forward", "backward", "both ways")[directions - 1] + ("" if drawn[0][1].any() else ", without product")
    parts = [("states", 0, _TOKENS), ("last state", 1, _ONE), *([("last cell", 2, _ONE)] if label == "lstm" else [])]
    for what, index, rows in parts:
        m.keep(f"{label} {way}, {what}", made[index], rows, both * HIDDEN, lambda ids, i=index: reference(ids)[i])  # type: ignore[misc]


def _axes() -> Made:
    m = _Maker()
    program, tokens_first = m.program, (_ONE, _TOKENS, _COLUMNS)

    def x(ids: Array) -> Array:
        return m.rows(ids)[0]

    for kind, (label, function) in enumerate(
        {"sum": np.sum, "mean": np.mean, "largest": np.max, "smallest": np.min, "product": np.prod}.items()
    ):
        made = m.value(FLOAT, _COLUMNS)
        program.add_operation("reduce", [m.x, made], kind, *tokens_first)
        m.keep(f"reduce, {label}", made, _ONE, WIDTH, lambda ids, f=function: f(x(ids), axis=0))  # type: ignore[misc, call-overload]
    for flag in (0, 1):
        made = m.value(FLOAT, _TOKENS, _COLUMNS)
        program.add_operation("softmax", [m.x, made], flag, *tokens_first)

        def softmax(ids: Array, is_log: int = flag) -> Array:
            powers = np.exp(x(ids))
            shares: Array = powers / powers.sum(0)
            return np.log(shares) if is_log else shares

        m.keep("logarithm of softmax" if flag else "softmax", made, _TOKENS, WIDTH, softmax)
        made = m.value(INT, _COLUMNS)
        program.add_operation("argmax", [m.x, made], flag, *tokens_first)
        chosen = np.argmin if flag else np.argmax
        m.keep("argmin" if flag else "argmax", m.unary(CAST, made, size=_COLUMNS), _ONE, WIDTH,
               lambda ids, f=chosen: f(x(ids), axis=0))  # type: ignore[misc]  # fmt: skip
    for flags, label in enumerate(("", ", without itself", ", from the end", ", without itself from the end")):
        made = m.value(FLOAT, _TOKENS, _COLUMNS)
        program.add_operation("cumsum", [m.x, made], flags, *tokens_first)

        def cumsum(ids: Array, flags: int = flags) -> Array:
            rows = x(ids)[::-1] if flags & 2 else x(ids)
            sums = np.cumsum(rows, 0) - (rows if flags & 1 else 0)
            return sums[::-1] if flags & 2 else sums

        m.keep(f"cumsum{label}", made, _TOKENS, WIDTH, cumsum)
    scale, scale_numbers = m.constant(WIDTH)
    bias, bias_numbers = m.constant(WIDTH)
    made = m.value(FLOAT, _TOKENS, _COLUMNS)
    program.add_operation("norm", [m.x, scale, bias, made], _TOKENS, _COLUMNS, convert_float_to_bits(1e-3))

    def norm(ids: Array) -> Array:
        rows = x(ids)
        spread = np.sqrt(rows.var(1, keepdims=True) + np.float32(1e-3))
        return (rows - rows.mean(1, keepdims=True)) / spread * scale_numbers + bias_numbers  # type: ignore[no-any-return]

    m.keep("norm", made, _TOKENS, WIDTH, norm)
    _moves(m)
    _products(m)
    _planes(m)
    return m.finished("axes")


def _moves(m: _Maker) -> None:
    program = m.program
    zeros: list[Size] = [(0, 0)] * 3
    turned = m.value(FLOAT, _COLUMNS, _TOKENS)
    program.add_operation("copy", [m.x, turned], *[_ONE] * 3, _TOKENS, _COLUMNS, (WIDTH, -WIDTH), *zeros, (0, -WIDTH),
                          (0, 1), (0, 0), *zeros, (0, 1), (1, 0))  # fmt: skip
    columns = m.value(FLOAT, _TOKENS, _COLUMNS)
    program.add_operation("copy", [turned, columns], *[_ONE] * 3, _TOKENS, _COLUMNS, (0, 0), *zeros, (0, 1), (1, 0),
                          (0, 0), *zeros, (0, WIDTH), (0, 1))  # fmt: skip
    m.keep(
        "copy, transposed from the last token on and back", columns, _TOKENS, WIDTH, lambda ids: m.rows(ids)[0][::-1]
    )
    filled = m.value(FLOAT, _TOKENS, _COLUMNS)
    program.add_operation("fill", [filled], convert_float_to_bits(0.75))
    m.keep("fill", filled, _TOKENS, WIDTH, lambda ids: np.full((len(ids), WIDTH), 0.75))
    counted = m.value(FLOAT, _TOKENS, _COLUMNS)
    program.add_operation("count", [counted], _TOKENS, _COLUMNS, _ONE, (-2, 1), 3)
    m.keep(
        "count", counted, _TOKENS, WIDTH, lambda ids: np.tile(1 - 2 * len(ids) + 3 * np.arange(WIDTH), (len(ids), 1))
    )
    indices = program.add_constant(np.array([2, -1, 0, 2], np.int32))
    gathered = m.value(FLOAT, _TOKENS, (0, 4))
    program.add_operation("gather", [m.x, indices, gathered], _TOKENS, _COLUMNS, _ONE)
    m.keep("gather", gathered, _TOKENS, 4, lambda ids: m.rows(ids)[0][:, [2, -1, 0, 2]])
    less, chosen = m.binary(8, m.x, m.y, to=BOOL), m.value(FLOAT, _TOKENS, _COLUMNS)
    row, numbers = m.constant(WIDTH)
    program.add_operation("where", [less, m.y, row, chosen], _ONE, _ONE, _TOKENS, _COLUMNS, 12, 12, 8)
    m.keep("where", chosen, _TOKENS, WIDTH,
           lambda ids: np.where(m.rows(ids)[0] < m.rows(ids)[1], m.rows(ids)[1], numbers))  # fmt: skip


def _products(m: _Maker) -> None:
    program = m.program
    weights = m.generator.normal(0, 0.8, (WIDTH, 5)).astype(np.float32)
    wide, bias = np.zeros((WIDTH, 8), np.float32), np.zeros(8, np.float32)
    wide[:, :5], bias[:5] = weights, np.linspace(-1, 1, 5)
    made = m.value(FLOAT, _TOKENS, (0, 5))
    program.add_operation(
        "linear", [m.x, program.add_constant(wide), program.add_constant(bias), made], _TOKENS, WIDTH, 5
    )
    m.keep("linear", made, _TOKENS, 5, lambda ids: m.rows(ids)[0] @ weights + bias[:5])
    right, numbers = m.constant(2 * WIDTH * 4)
    cubes = numbers.reshape(2, WIDTH, 4).astype(np.float64)
    for label, batch, a_has, b_has, m_size in (
        ("one with one", 1, 0, 0, _TOKENS), ("one with each", 2, 0, 1, _TOKENS), ("each with one", 0, 1, 0, _ONE),
    ):  # fmt: skip
        size: Size = (1, 0) if not batch else (0, batch)
        rows: Size = (2, 0) if batch == 2 else _TOKENS
        made = m.value(FLOAT, rows, (0, 4))
        program.add_operation("matmul", [m.x, right, made], size, m_size, _COLUMNS, (0, 4), a_has, b_has)

        def product(ids: Array, each: bool = bool(b_has)) -> Array:
            return m.rows(ids)[0] @ (cubes if each else cubes[0])  # type: ignore[no-any-return]

        m.keep(f"matmul, {label}", made, rows, 4, product)


def _planes(m: _Maker) -> None:
    """One channel of the height of the tokens and the width 6; padded by one on each side."""
    program, taller = m.program, (1, 1)

    def windows(ids: Array, outside: float) -> Array:
        """[tokens + 1, 3, 2, 3]: windows of 2 x 3, two columns apart."""
        padded = np.pad(m.rows(ids)[0], 1, constant_values=outside)
        return np.lib.stride_tricks.sliding_window_view(padded, (2, 3))[:, ::2]  # type: ignore[no-any-return]

    kernel, numbers = m.constant(2 * 2 * 3)
    bias, bias_numbers = m.constant(2)
    made = m.value(FLOAT, (0, 2), taller, (0, 3))
    program.add_operation(
        "conv", [m.x, kernel, bias, made], 1, _TOKENS, _COLUMNS, 2, 1, 2, 3, 1, 2, 1, 1, 1, 1, taller, (0, 3)
    )
    m.keep("conv", made, (2, 2), 3, lambda ids: np.einsum("ijab,oab->oij", windows(ids, 0), numbers.reshape(2, 2, 3))
           + bias_numbers[:, None, None])  # fmt: skip
    wide, wide_numbers = m.constant(2)
    made = m.value(FLOAT, _TOKENS, (0, 4))
    program.add_operation(
        "conv", [m.x, wide, NONE, made], 1, _TOKENS, _COLUMNS, 1, 1, 1, 2, 1, 1, 0, 0, 1, 2, _TOKENS, (0, 4)
    )
    m.keep("conv, dilated", made, _TOKENS, 4,
           lambda ids: m.rows(ids)[0][:, :4] * wide_numbers[0] + m.rows(ids)[0][:, 2:] * wide_numbers[1])  # fmt: skip
    for kind, label in enumerate(("largest", "mean of what is inside", "mean")):
        made = m.value(FLOAT, taller, (0, 3))
        program.add_operation("pool", [m.x, made], kind, 1, _TOKENS, _COLUMNS, 2, 3, 1, 2, 1, 1, taller, (0, 3))

        def pooled(ids: Array, kind: int = kind) -> Array:
            seen = windows(ids, (-np.inf, np.nan, 0)[kind])
            over: Array = (np.max, np.nanmean, np.mean)[kind](seen, axis=(2, 3))  # type: ignore[operator]
            return over

        m.keep(f"pool, {label}", made, taller, 3, pooled)


def _storage() -> Made:
    """Constants as they may be stored, each as a table and as the weights of a product."""
    m = _Maker()
    program, columns, outs = m.program, 22, 48
    numbers = m.generator.normal(0, 0.5, (WORDS + WIDTH, outs)).astype(np.float32)
    scales = np.float32(1) / np.arange(20, 20 + WORDS, dtype=np.float32)
    whole = np.clip(np.rint(numbers * 100), -127, 127)
    whole[:, 0] = whole[:WORDS, 0] = 127
    whole[0] = 127
    half = numbers.astype(np.float16).astype(np.float32)
    tables = {"float16": half[:WORDS, :columns], "int8": whole[:WORDS, :columns] * scales[:, None]}
    for label, table in tables.items():
        made = m.value(FLOAT, _TOKENS, (0, columns))
        program.add_operation("lookup", [program.add_constant(np.ascontiguousarray(table), is_table=True), 0, made])
        m.keep(f"table of {label}", made, _TOKENS, columns, lambda ids, t=table: t[ids])  # type: ignore[misc]
    by_column = np.arange(1, outs + 1, dtype=np.float32) / np.float32(2000)
    products = {"float32": numbers[:WIDTH], "float16": half[:WIDTH], "int8": whole[:WIDTH] * by_column}
    for label, weights in products.items():
        made = m.value(FLOAT, _TOKENS, (0, outs))
        program.add_operation(
            "linear", [m.x, program.add_constant(np.ascontiguousarray(weights)), NONE, made], _TOKENS, WIDTH, outs
        )
        m.keep(f"weights of {label}", made, _TOKENS, outs,
               lambda ids, w=weights: m.rows(ids)[0] @ w.astype(np.float64))  # type: ignore[misc]  # fmt: skip
    return m.finished("storage")


def _parts(x: Array) -> tuple[Array, Array]:
    """Rows of x as whole numbers of 127 parts of the largest, and what a part is."""
    largest = np.abs(x.astype(np.float32)).max(-1, keepdims=True)
    return np.rint(x.astype(np.float32) * (np.float32(127) / largest)), (largest / np.float32(127)).astype(np.float64)


@dataclass
class _IntegerLayer:
    """One direction of a layer that multiplies integers: int8 weights with a scale for each column, float32 biases."""

    kind: str
    w: tuple[Array, Array]
    r: tuple[Array, Array]
    b: Array
    c: Array

    def states(self, x: Array, h: Array, cell: Array) -> list[Array]:
        """As `_one_way`, with integers in the place of x, of the states, and of the weights."""
        rows = []
        whole, part = _parts(x)
        gates_of_x = (whole @ self.w[0].astype(np.float64)) * part * self.w[1] + self.b
        for gates in gates_of_x:
            hidden = np.rint(np.clip(h, -1, 1) * 127) @ self.r[0].astype(np.float64) / 127 * self.r[1] + self.c
            h, cell = _one_step(self.kind, gates, hidden, h, cell)
            rows.append(h)
        return [np.array(rows), h, cell]


def _integers() -> Made:
    """Products of integers: of rows of a table in int8, of rows of floats, and of states, which begin at -1 to 1."""
    m = _Maker()
    inputs, hidden = 24, 5
    table = round_table_to_int8_multiples(m.generator.normal(0, 0.8, (WORDS, inputs)).astype(np.float32))
    words = m.value(FLOAT, _TOKENS, (0, inputs))
    m.program.add_operation("lookup", [m.program.add_constant(table, is_table=True), 0, words])
    states = np.linspace([-1, 0.9], [1, -2], 2 * hidden, axis=1).astype(np.float32)
    begun = [(m.program.add_constant(state), state.astype(np.float64)) for state in states]
    for kind, gates in (("tanh", 1), ("lstm", 4), ("gru", 3)):
        for directions in (1, 2, 3):
            source, size = (words, inputs) if directions == 3 else (m.x, WIDTH)
            _integer_layer(m, (kind, gates, directions), (source, size), hidden, begun, table)
    _forgetting_integers(m, words, inputs, table)
    outs = 9
    numbers = np.zeros((WIDTH, 16), np.float32)
    numbers[:, :outs] = m.generator.normal(0, 0.5, (WIDTH, outs))
    whole, scales = round_columns_to_int8(numbers)
    made = m.value(FLOAT, _TOKENS, (0, outs))
    m.program.add_operation(
        "linear", [m.x, m.program.add_matrix_multiplied_as_integers(whole, scales), NONE, made], _TOKENS, WIDTH, outs
    )

    def linear(ids: Array) -> Array:
        parts, part = _parts(m.rows(ids)[0])
        product: Array = (parts @ whole.astype(np.float64)) * part * scales
        return product[:, :outs]

    m.keep("linear", made, _TOKENS, outs, linear)
    return m.finished("integers")


def _forgetting_integers(m: _Maker, x: int, inputs: int, table: Array) -> None:
    """A layer without a product of its states, of inputs of two steps, each rounded by its own largest number."""
    hidden = 8
    drawn = [
        round_columns_to_int8(m.generator.normal(0, 0.5, (inputs, 2 * hidden)).astype(np.float32)) for _ in range(2)
    ]
    bias = m.generator.normal(0, 0.5, 2 * hidden).astype(np.float32)
    weights = [
        *(m.program.add_matrix_multiplied_as_integers(*some) for some in drawn),
        m.program.add_constant(bias),
        *[NONE] * 5,
    ]
    made = m.value(FLOAT, _TOKENS, (0, hidden))
    number = KINDS.index("forget")
    m.program.add_operation(
        "recurrent", [x, NONE, NONE, made, NONE, NONE], number, 1, inputs, hidden, _TOKENS, weights=weights
    )

    def reference(ids: Array) -> Array:
        whole, part = _parts(table[ids].astype(np.float64))
        now, later = ((whole @ w.astype(np.float64)) * part * scales for w, scales in drawn)
        h, rows = np.zeros(hidden), []
        for gates in now + bias + np.concatenate([np.zeros((1, 2 * hidden)), later[:-1]]):
            keep = _sigmoid(gates[:hidden])
            h = keep * h + (1 - keep) * np.tanh(gates[hidden:])
            rows.append(h)
        return np.array(rows)

    m.keep("forget, states", made, _TOKENS, hidden, reference)


def _integer_layer(
    m: _Maker,
    shape: tuple[str, int, int],
    source: tuple[int, int],
    hidden: int,
    begun: list[tuple[int, Array]],
    table: Array,
) -> None:
    (kind, gates, directions), (x, inputs) = shape, source
    both = 2 if directions == 3 else 1
    layers, weights = [], []
    for _ in range(both):
        wide = [np.zeros((rows, gates, 8), np.float32) for rows in (inputs, hidden, 1, 1)]
        for array in wide:
            array[:, :, :hidden] = m.generator.normal(0, 0.5, (len(array), gates, hidden))
        flat = [array.reshape(len(array), -1) for array in wide]
        w, r = round_columns_to_int8(flat[0]), round_columns_to_int8(flat[1])
        weights += [
            m.program.add_matrix_multiplied_as_integers(*w),
            m.program.add_matrix_multiplied_as_integers(*r),
            *(m.program.add_constant(b.reshape(-1)) for b in flat[2:]),
        ]
        there = (np.arange(8 * gates) % 8) < hidden
        numbers = [tuple(array[..., there] for array in one) for one in (w, r)]
        layers.append(_IntegerLayer(kind, *numbers, *(bias[0, there] for bias in flat[2:])))  # type: ignore[arg-type]
    weights += [NONE] * 4 if both == 1 else []
    given = [begun[0][0], begun[1][0] if kind == "lstm" else NONE]
    made = [m.value(FLOAT, _TOKENS, (0, both * hidden)), m.value(FLOAT, (0, both * hidden))]
    made.append(m.value(FLOAT, (0, both * hidden)) if kind == "lstm" else NONE)
    number = KINDS.index(kind)
    m.program.add_operation(
        "recurrent", [x, *given, *made], number, directions, inputs, hidden, _TOKENS, weights=weights
    )

    def reference(ids: Array) -> list[Array]:
        found = []
        for i, layer in enumerate(layers):
            back = directions == 2 or i == 1
            h, cell = (numbers.reshape(2, hidden)[i] for _, numbers in begun)
            rows = table[ids].astype(np.float64) if inputs == table.shape[1] else m.rows(ids)[0]
            y, last, last_cell = layer.states(rows[::-1] if back else rows, h, cell)
            found.append([y[::-1] if back else y, last, last_cell])
        return [np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)]

    way = ("forward", "backward", "both ways")[directions - 1]
    for what, index, rows in (("states", 0, _TOKENS), ("last state", 1, _ONE)):
        m.keep(f"{kind} {way}, {what}", made[index], rows, both * hidden, lambda ids, i=index: reference(ids)[i])  # type: ignore[misc]


FILES: dict[str, Callable[[], Made]] = {
    "unary": _unary,
    "binary": _binary,
    "layers": _layers,
    "axes": _axes,
    "storage": _storage,
    "integers": _integers,
}


def made(name: str) -> Made:
    """The file of a name, with what must come out.

    Example:
        >>> made("unary").vectors[0]["ids"]
        [3]
    """
    return FILES[name]()
