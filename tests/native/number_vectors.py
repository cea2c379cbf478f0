"""Small packed files of sequences of numbers, and the expected answers to samples as a sensor gives them.

The rules for samples, and the layers, are written out in numpy here, from docs/packed-format.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from pocketrnn.bundle.manifest import INTEGERS, Comparison, Graph, Manifest, NumberExample, Parity
from pocketrnn.bundle.output_kinds import Activation, build_output
from pocketrnn.bundle.packed_file import (
    encode_packed_file,
    make_manifest_entry_of_program,
    make_manifest_entry_of_step_program,
)
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.forms.packed_file.conversion_to_integer_products import convert_products_to_integers
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.step_graph_conversion import convert_to_step_graph

__all__ = ["CARRIED", "FILES", "OF_INTEGERS", "MadeOfNumbers", "made"]

Array = npt.NDArray[Any]
HIDDEN = 7
# name -> rules, whether the module ends in values, labels
FILES: dict[str, tuple[NumberInput, Activation, tuple[str, ...]]] = {
    "numbers-gesture": (
        NumberInput(
            ("ax", "ay", "az"),
            units=("g", "g", "g"),
            integer_scale=(2**-11, 2**-11, 0.0005),
            mean=(0.01, -0.02, 0.981),
            scale=(0.3, 1.7, 0.45),
            clip=(-6.0, 6.0),
            missing=0.5,
            window=16,
            hop=4,
            rate=50.0,
        ),
        "softmax",
        ("swipe", "tap", "Größe"),
    ),
    "numbers-load": (
        NumberInput(("load",), scale=(3.0,), steps=9, pad_side="left", pad_value=-0.25),
        "values",
        ("next hour", "next day"),
    ),
    "numbers-plain": (NumberInput(("x", "y")), "sigmoid", ("rain", "wind")),
    "numbers-carried": (
        NumberInput(("x", "y"), integer_scale=(2**-12, 0.001), mean=(0.1, -3.0), scale=(0.7, 2.0), clip=(-4.0, 4.0)),
        "softmax",
        ("rest", "shake", "tap"),
    ),
    "numbers-integers": (
        NumberInput(("x", "y", "z"), integer_scale=(2**-12, 0.001, 0.5), mean=(0.1, -3.0, 7.0), missing=0.0),
        "softmax",
        ("still", "turn"),
    ),
}
# Which of them carry a state from sample to sample.
CARRIED = frozenset({"numbers-carried", "numbers-integers"})
# The files whose layer multiplies integers.
OF_INTEGERS = frozenset({"numbers-integers"})
# Samples of each file, by their type.
_STEPS = {
    "numbers-gesture": (2, 16),
    "numbers-load": (1, 9),
    "numbers-plain": (1, 12),
    "numbers-carried": (1, 23),
    "numbers-integers": (1, 9),
}
KINDS = {"float32": np.float32, "float64": np.float64, "int16": np.int16, "int32": np.int32}


@dataclass
class MadeOfNumbers:
    """A packed file, its graph, and samples with what the program is given for them, and the logits."""

    content: bytes = field(repr=False)
    graph: bytes = field(repr=False)
    manifest: Manifest
    vectors: list[dict[str, Any]]


@dataclass
class _Layer:
    """A GRU, and a linear layer of its last state."""

    w: Array
    r: Array
    b: Array
    weight: Array
    bias: Array

    @classmethod
    def drawn(cls, generator: np.random.Generator, channels: int, labels: int) -> _Layer:
        def some(*shape: int) -> Array:
            return generator.normal(0, 0.6, shape).astype(np.float32)

        return cls(some(1, 3 * HIDDEN, channels), some(1, 3 * HIDDEN, HIDDEN), some(1, 6 * HIDDEN),
                   some(labels, HIDDEN), some(labels))  # fmt: skip

    def logits(self, samples: Array, *, of_integers: bool = False) -> Array:
        """The logits of a GRU: update z, reset r, new state n."""
        w, r, b = (x[0].astype(np.float64) for x in (self.w, self.r, self.b))
        of_x, of_h = b[: 3 * HIDDEN], b[3 * HIDDEN :]
        h = np.zeros(HIDDEN)
        for x in samples.astype(np.float64):
            if of_integers:
                gates = _in_integers(self.w[0], x, np.float32(np.abs(x).max())) + of_x
                state = _in_integers(self.r[0], h, np.float32(1)) + of_h
            else:
                gates, state = w @ x + of_x, r @ h + of_h
            z, reset = (0.5 + 0.5 * np.tanh((gates + state)[i * HIDDEN : (i + 1) * HIDDEN] / 2) for i in (0, 1))
            new = np.tanh(gates[2 * HIDDEN :] + reset * state[2 * HIDDEN :])
            h = (1 - z) * new + z * h
        made: Array = self.weight.astype(np.float64) @ h + self.bias
        return made

    def graph(self, channels: int) -> bytes:
        """The same as an ONNX file."""
        tensors = [numpy_helper.from_array(x, name) for name, x in (
            ("W", self.w), ("R", self.r), ("B", self.b), ("weight", self.weight), ("bias", self.bias),
            ("shape", np.array([-1, HIDDEN])))]  # fmt: skip
        nodes = [
            helper.make_node("Transpose", ["samples"], ["x"], perm=[1, 0, 2]),
            helper.make_node("GRU", ["x", "W", "R", "B"], ["", "h"], hidden_size=HIDDEN, linear_before_reset=1),
            helper.make_node("Reshape", ["h", "shape"], ["last"]),
            helper.make_node("Gemm", ["last", "weight", "bias"], ["logits"], transB=1),
        ]
        graph = helper.make_graph(
            nodes, "numbers",
            [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", "time", channels])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(self.weight)])], tensors,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        made: bytes = model.SerializeToString()
        return made


def _in_integers(weights: Array, x: Array, largest: np.float32) -> Array:
    """weights @ x, of integers of 8 bits: docs/packed-format.md, "Products of integers"."""
    scales = np.abs(weights).max(1) / np.float32(127)
    whole = np.rint(weights / scales[:, None])
    factor = np.float32(127) / largest if largest > 1e-30 else np.float32(0)
    rounded = np.rint(np.clip(x.astype(np.float32) * factor, -127, 127))
    made: Array = (whole @ rounded) * scales * (largest / np.float32(127))
    return made.astype(np.float64)


def made(name: str) -> MadeOfNumbers:
    """A file of `FILES`, by its name."""
    rules, activation, labels = FILES[name]
    of_integers = name in OF_INTEGERS
    generator = np.random.default_rng(sum(map(ord, name)))
    layer = _Layer.drawn(generator, len(rules.channels), len(labels))
    content = layer.graph(len(rules.channels))
    graph = Graph("model.onnx", "0" * 64, 18, ("samples",), padding=False)
    step = None
    if name in CARRIED:
        of_step, size = convert_to_step_graph(content)
        step = translate_graph_into_program(of_step, graph, numbers=rules, state_size=size).program
    whole = translate_graph_into_program(content, graph, numbers=rules).program
    if of_integers:
        whole, step = (
            convert_products_to_integers(whole).program,
            None if step is None else convert_products_to_integers(step).program,
        )
    program = whole.encode_sections(step)
    answered = functools.partial(layer.logits, of_integers=of_integers)
    golden = [_golden(generator, answered, rules, steps) for steps in ((rules.steps or 3), (rules.steps or 8))]
    line = Comparison("numpy", INTEGERS if of_integers else "packed", "samples of each type", 1, 1, 0.0, 0)
    manifest = Manifest(
        name=name,
        input=rules,
        output=build_output(labels, activation, value_units=("kW", "kW") if activation == "values" else None),
        graph=make_manifest_entry_of_program(graph, program),
        examples=tuple(golden),
        parity=Parity(1e-5, (line,)),
        stream=make_manifest_entry_of_step_program(program),
    )
    vectors = [
        _vector(answered, rules, kind, _as_a_sensor_gives(generator, rules, kind, steps))
        for steps in _STEPS[name]
        for kind in KINDS
    ]
    return MadeOfNumbers(encode_packed_file(manifest, program), content, manifest, [*vectors, *_refused(rules)])


def _golden(
    generator: np.random.Generator, answered: Callable[[Array], Array], rules: NumberInput, steps: int
) -> NumberExample:
    samples = generator.normal(0, 1, (steps, len(rules.channels))).astype(np.float32)
    return NumberExample(tuple(map(tuple, samples.tolist())), tuple(answered(samples).tolist()))


def _as_a_sensor_gives(generator: np.random.Generator, rules: NumberInput, kind: str, steps: int) -> Array:
    if kind.startswith("int"):
        most = 9 if rules.integer_scale is None else 30_000 if kind == "int16" else 90_000
        return generator.integers(-most, most, (steps, len(rules.channels))).astype(KINDS[kind])
    samples = (generator.normal(0, 2, (steps, len(rules.channels)))).astype(KINDS[kind])
    if rules.missing is not None and steps > 1:
        samples[1, 0] = np.nan
    return samples


def _vector(answered: Callable[[Array], Array], rules: NumberInput, kind: str, samples: Array) -> dict[str, Any]:
    prepared = _prepared(rules, samples)
    numbers = [[None if isinstance(x, float) and math.isnan(x) else x for x in row] for row in samples.tolist()]
    logits = answered(prepared).tolist()
    return {"kind": kind, "samples": numbers, "prepared": prepared.tolist(), "logits": logits}


def _prepared(rules: NumberInput, samples: Array) -> Array:
    """In double precision, and rounded once."""
    rows = []
    for row in samples:
        made = []
        for channel, sample in enumerate(row):
            x = float(sample)
            if rules.integer_scale is not None and samples.dtype.kind == "i":
                x *= rules.integer_scale[channel]
            if math.isnan(x) and rules.missing is not None:
                x = rules.missing
            x -= rules.mean[channel] if rules.mean else 0.0
            x /= rules.scale[channel] if rules.scale else 1.0
            if rules.clip is not None:
                x = min(max(x, rules.clip[0]), rules.clip[1])
            made.append(np.float32(x))
        rows.append(made)
    padding = [np.float32(rules.pad_value)] * len(rules.channels)
    before = [padding] * (0 if rules.steps is None else rules.steps - len(rows))
    return np.array([*before, *rows], np.float32)


def _refused(rules: NumberInput) -> Sequence[dict[str, Any]]:
    """Samples that must be refused, and why: by the name of a status."""
    row = [0.5] * len(rules.channels)
    found: list[dict[str, Any]] = [{"kind": "float64", "samples": [], "said": "TOO_SHORT"}]
    if rules.missing is None:
        found.append({"kind": "float32", "samples": [[None] * len(row)], "said": "MISSING"})
    if rules.steps is not None:
        found.append({"kind": "float32", "samples": [row] * (rules.steps + 1), "said": "TOO_LONG"})
    if rules.clip is None:
        found.append({"kind": "float64", "samples": [[1e40] * len(row)], "said": "NOT_FINITE"})
    return found
