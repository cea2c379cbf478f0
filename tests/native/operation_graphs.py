"""Graphs of one operator each, in the forms that a packed file takes, behind what makes its operands of samples.

A case is the operator, its operands by names, its attributes and its constants. Nothing holds its numbers back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pocketrnn.bundle.manifest import Graph
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.packed_file.operator_lowering import Lowering

__all__ = ["CASES", "Case", "lowered_case"]

CHANNELS = 4
# How each operand is made: an operator, what it reads, and its attributes. `samples` is float32 [1, n, 4].
OPERANDS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "x": ("Neg", ("samples",), {}),
    "y": ("Abs", ("samples",), {}),
    "large": ("Mul", ("samples", "ten"), {}),
    "i": ("Cast", ("large",), {"to": TensorProto.INT64}),
    "j": ("Cast", ("x",), {"to": TensorProto.INT64}),
    "i32": ("Cast", ("large",), {"to": TensorProto.INT32}),
    "few": ("Clip", ("i", "-50", "50"), {}),
    "p": ("Greater", ("samples", "half"), {}),
    "q": ("Less", ("x", "half"), {}),
    "x2": ("Squeeze", ("samples", "[0]"), {}),
    "x1": ("Gather", ("x2", "1"), {"axis": 1}),
    "i2": ("Squeeze", ("few", "[0]"), {}),
    "i1": ("Gather", ("i2", "1"), {"axis": 1}),
    "i0": ("Gather", ("i1", "0"), {"axis": 0}),
    "xt": ("Transpose", ("samples",), {"perm": (0, 2, 1)}),
    "steps": ("Transpose", ("samples",), {"perm": (1, 0, 2)}),
    "x4": ("Unsqueeze", ("samples", "[1]"), {}),
    "planes": ("Transpose", ("x4",), {"perm": (0, 3, 1, 2)}),
    "scores": ("MatMul", ("samples", "xt"), {}),
    "sum": ("ReduceSum", ("samples", "[1]"), {"keepdims": 1}),
    "shape": ("Shape", ("samples",), {}),
    "n": ("Gather", ("shape", "1"), {}),
    "lengths": ("Gather", ("shape", "v1"), {}),
    "tail": ("Slice", ("samples", "v1", "far", "[1]"), {}),
    "state": ("Gather", ("sum", "three"), {"axis": 2}),
    # Places: 0 is the only one that a text of one step has.
    "z3": ("Clip", ("i", "0", "0"), {}),
    "z2": ("Squeeze", ("z3", "[0]"), {}),
    "z1": ("Gather", ("z2", "1"), {"axis": 1}),
    "z0": ("Gather", ("z1", "0"), {"axis": 0}),
    "column": ("Unsqueeze", ("z1", "[1]"), {}),
    "of one": ("Reshape", ("z0", "1 1 1"), {}),
    "rows": ("Expand", ("of one", "1 1 4"), {}),
}


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


CONSTANTS: dict[str, Any] = {
    "ten": np.float32(10), "half": np.float32(0.5), "0": 0, "1": 1, "-50": -50, "50": 50, "[0]": [0], "[1]": [1],
    "[2]": [2], "v1": [1], "far": [1 << 40], "three": [0, 1, 2], "1 1 1": [1, 1, 1], "1 1 4": [1, 1, 4],
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One operator: its operands, attributes and constants, and which of its outputs is looked at."""

    operator: str
    operands: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    opset: int = 18
    output: int = 0

    def __str__(self) -> str:
        shapes = {name: np.shape(value) for name, value in self.constants.items()}
        return f"{self.operator} {self.operands} {self.attributes} {shapes} {self.opset} {self.output}"


def lowered_case(case: Case) -> Lowering:
    """The graph of a case, lowered. The node has the name `it`."""
    constants, nodes = CONSTANTS | case.constants, dict[str, Any]()

    def make(name: str) -> None:
        if name in OPERANDS and name not in nodes and name not in case.constants:
            operator, read, attributes = OPERANDS[name]
            for one in read:
                make(one)
            axes = operator in ("ReduceSum", "Squeeze", "Unsqueeze") and case.opset < 13
            attributes |= {"axes": constants[read[1]]} if axes else {}
            nodes[name] = helper.make_node(operator, read[: 1 if axes else None], [name], **attributes)

    for name in case.operands:
        make(name)
    outputs = [*(f"unused {i}" for i in range(case.output)), "logits"]
    last = helper.make_node(case.operator, case.operands, outputs, name="it", **case.attributes)
    used = {name for node in (*nodes.values(), last) for name in node.input}
    graph = helper.make_graph(
        [*nodes.values(), last],
        "one",
        [helper.make_tensor_value_info("samples", TensorProto.FLOAT, [1, "n", CHANNELS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=9)
    entry = Graph("model.onnx", "0" * 64, case.opset, ("samples",), False, 0)
    return translate_graph_into_program(model.SerializeToString(), entry, numbers=NumberInput(tuple("abcd")))


def _one_by_one() -> Iterator[Case]:
    functions = (
        "Neg Abs Exp Log Sqrt Tanh Sigmoid Relu Erf Reciprocal Floor Ceil Round Sign Softplus Sin Cos LeakyRelu Elu "
        "HardSigmoid"
    )
    for name in functions.split():
        yield Case(name, ("x",))
    for name, alpha in itertools.product(("LeakyRelu", "Elu"), (-0.5, 0.001, 2.0)):
        yield Case(name, ("x",), {"alpha": alpha})
    yield Case("HardSigmoid", ("x",), {"alpha": -0.3, "beta": 0.1})
    yield Case("Gelu", ("x",), opset=20)
    yield Case("Gelu", ("x",), {"approximate": "tanh"}, opset=20)
    yield from (Case(name, (kind,)) for name in ("Neg", "Abs", "Relu") for kind in ("i", "i32"))
    yield Case("Not", ("p",))
    ends = ((-1, 1), (None, 1), (-1, None), (1, -1), (-16777217, 33554433))
    for (low, high), (x, kind) in itertools.product(ends, (("x", np.float32), ("i", np.int64))):
        found = {"low": low, "high": high}
        constants = {name: kind(end) for name, end in found.items() if end is not None}
        yield Case("Clip", (x, *(name if name in constants else "" for name in found)), constants=constants)
    kinds = [("x", TensorProto.INT64), ("x", TensorProto.INT32), ("x", TensorProto.BOOL), ("i", TensorProto.FLOAT)]
    kinds += [("i", TensorProto.BOOL), ("p", TensorProto.FLOAT), ("p", TensorProto.INT64)]
    yield from (Case("Cast", (x,), {"to": to}) for x, to in kinds)
    yield Case("CastLike", ("p", "x"))


def _pairs() -> Iterator[Case]:
    constants = {"row": np.float32([2, -1, 0.5, 0]), "two": np.float32(2), "blocks": _random(3, 1, 4)}
    names = [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Min",
        "Max",
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
    ]
    of_floats = [
        ("x", "y"), ("x", "two"), ("x", "row"), ("row", "x"), ("x", "sum"), ("sum", "x"), ("x", "x"), ("xt", "x1"),
        ("blocks", "x"), ("scores", "x1"),
    ]  # fmt: skip
    whole = {"three": 3, "factors": [2, -1, 7, 1], "of 32": np.int32(3)}
    of_whole = [("i", "j"), ("i", "three"), ("i", "factors"), ("three", "i"), ("i32", "of 32"), ("i", "n")]
    for name in names:
        yield from (Case(name, pair, constants=constants) for pair in of_floats)
        # onnxruntime runs no quotient by whole numbers that may be 0.
        kept = [pair for pair in of_whole if name != "Div" or pair[1] not in ("i", "j")]
        yield from (Case(name, pair, constants=whole) for pair in kept if name != "Pow" or "n" not in pair)
    for power in (0.0, 0.5, 1.0, 2.0, 3.0, -1.0, -0.5, 4.0, 2.5):
        yield Case("Pow", ("x", "power"), constants={"power": np.float32(power)})
    for power, base in itertools.product((0, 1, 2, 3, -1, -2), ("x", "i")):
        yield Case("Pow", (base, "power"), constants={"power": power})
    yield Case("Pow", ("x", "few"))
    for name in ("And", "Or", "Xor", "Equal"):
        yield Case(name, ("p", "q"))
        yield Case(name, ("p", "truths"), constants={"truths": [True, False, True, True]})
    for divisor, remains, x in itertools.product((1, 2, 7), (0, 1), ("i", "i0")):
        yield Case("Mod", (x, "divisor"), {"fmod": remains}, {"divisor": divisor})
    yield Case("Mod", ("i", "divisors"), constants={"divisors": [2, 3, 4, 5]})
    constants = {"two": np.float32(2), "least": np.float32(-np.inf), "mask": [True, False, True, False]}
    for pair in (("x", "y"), ("x", "two"), ("least", "x"), ("x1", "xt"), ("sum", "y")):
        yield Case("Where", ("p" if pair[1] != "xt" else "shorter", *pair), constants=constants | _SHORTER)
    yield Case("Where", ("p", "i", "j"))
    yield Case("Where", ("mask", "x", "y"), constants=constants)


_SHORTER = {"shorter": [[[True], [False], [True], [False]]]}


def _reductions() -> Iterator[Case]:
    names = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", "ReduceL2")
    for name, x, axes in itertools.product(names, ("x", "planes", "i", "scores", "tail"), ([1], [2], [1, 2], None)):
        squares = name in ("ReduceSumSquare", "ReduceL2")
        if (x == "i" and name == "ReduceL2") or (x == "scores" and (squares or axes in ([1, 2], None))):
            continue
        operands = (x,) if axes is None else (x, "axes")
        yield Case(name, operands, {"keepdims": 0}, {} if axes is None else {"axes": axes})
    yield from (Case(name, ("x",), {"axes": [1], "keepdims": 1}, opset=11) for name in names)
    for name, x, axis in itertools.product(("ArgMax", "ArgMin"), ("x", "few", "xt"), (1, -1)):
        yield Case(name, (x,), {"axis": axis, "keepdims": 0})
    for x, axis, itself, back in itertools.product(("x", "i", "xt"), (1, 2), (0, 1), (0, 1)):
        yield Case("CumSum", (x, "axis"), {"exclusive": itself, "reverse": back}, {"axis": axis})
    for name, x, (axis, opset) in itertools.product(
        ("Softmax", "LogSoftmax"), ("x", "xt", "scores"), ((1, 13), (-1, 13), (2, 11), (1, 11))
    ):
        if x != "scores" or (axis, opset) != (1, 11):
            yield Case(name, (x,), {"axis": axis}, opset=opset)
    constants = {"scale": _random(4), "bias": _random(4) + 1, "mean": _random(4) * 2, "variance": np.abs(_random(4))}
    yield Case("LayerNormalization", ("x", "scale", "bias"), {"axis": -1}, constants)
    yield Case("LayerNormalization", ("x", "scale"), {"axis": 2, "epsilon": 0.001}, constants)
    for x in ("xt", "x2", "planes"):
        yield Case("BatchNormalization", (x, "scale", "bias", "mean", "variance"), {"epsilon": 0.1}, constants)


def _moves() -> Iterator[Case]:
    yield from (Case("Transpose", ("x",), {"perm": perm}) for perm in itertools.permutations(range(3)))
    yield Case("Transpose", ("p",), {"perm": (2, 1, 0)})
    cuts = ((0, 1, 1, 1), (-1, 1 << 40, 1, 1), (1, 3, 2, 1), (-1, -(1 << 40), 1, -1), (3, -9, 2, -2), (0, -1, 1, 1))
    for (start, end, axis, step), x in itertools.product(cuts, ("x", "i", "p")):
        constants = {"start": [start], "end": [end], "axis": [axis], "step": [step]}
        yield Case("Slice", (x, "start", "end", "axis", "step"), constants=constants)
    for places, x in itertools.product((-1, 2, [0, 2], [-1, 0], [3, 3, 1], [[0, 1], [2, 3]]), ("x", "i", "p")):
        yield Case("Gather", (x, "places"), {"axis": 2}, {"places": places})
    for axis, x, places in itertools.product((0, 1, 2), ("x", "i", "p"), ("z1", "z0")):
        yield Case("Gather", (x, places), {"axis": axis})
    for shape, places in itertools.product(((1, 3), (5, 3), (7, 1), (6,), (4, 2, 3)), ("z2", "z1", "z0")):
        yield Case("Gather", ("table", places), {"axis": 0}, {"table": _random(*shape)})
    yield Case("Gather", ("table", "z1"), {"axis": 0}, {"table": [5, -7, 40_000_000]})
    yield Case("Gather", ("table", "z1"), {"axis": 1}, {"table": _random(5, 3)})
    yield Case("GatherElements", ("x", "rows"), {"axis": 1})
    yield Case("GatherND", ("x2", "column"))
    for span in (np.float32([0, 1]), np.float32([-1, 2]), [0, 1]):
        yield Case("OneHot", ("z1", "depth", "span"), {"axis": -1}, {"depth": 5, "span": span})
    for shape in ([1, -1], [-1], [4, -1], [1, -1, 1]):
        yield from (Case("Reshape", (x, "sizes"), constants={"sizes": shape}) for x in ("x", "xt"))
    yield Case("Reshape", ("x", "sizes"), constants={"sizes": [0, 0, 2, 2]})
    yield from (Case("Expand", ("x", "sizes"), constants={"sizes": sizes}) for sizes in ([3, 1, 4], [2, 1, 1, 4]))
    yield Case("Expand", ("sum", "shape"))
    yield from (Case("Tile", ("sum", "times"), constants={"times": times}) for times in ([1, 3, 1], [2, 1, 1]))
    for pads, x in itertools.product(([0, 1, 0, 0, 0, 0], [0, 0, 2, 0, 0, 1], [0, 2, 0, 0, 3, -1]), ("x", "i", "p")):
        value = {"x": np.float32(-1.5), "i": 7, "p": True}[x]
        yield Case("Pad", (x, "pads", "value"), constants={"pads": pads, "value": value})
    yield from (Case("Concat", ("x", "y", "x"), {"axis": axis}) for axis in (0, 1, 2))
    yield Case("Concat", ("front", "x"), {"axis": 1}, {"front": _random(1, 2, 4)})
    yield Case("Concat", ("x", "ones"), {"axis": 1}, {"ones": np.ones((1, 2, 4), np.float32)})
    yield Case("Split", ("x", "parts"), {"axis": 2}, {"parts": [1, 3]}, 13, output=1)
    yield Case("Compress", ("x", "kept"), {"axis": 2}, {"kept": [True, False, True, False]})
    yield Case("ReverseSequence", ("x", "lengths"), {"batch_axis": 0, "time_axis": 1})


_POOLS: list[tuple[str, dict[str, Any]]] = [
    ("MaxPool", {}),
    ("AveragePool", {}),
    ("AveragePool", {"count_include_pad": 1}),
]


def _products() -> Iterator[Case]:
    for shape, x in itertools.product(((4, 1), (4, 8), (4, 9), (4,), (4, 33)), ("x", "x2")):
        yield Case("MatMul", (x, "weights"), constants={"weights": _random(*shape)})
    constants = {"left": _random(3, 4), "one": _random(1, 5, 4), "three": _random(3, 4, 4), "vector": _random(4)}
    for pair in (
        ("left", "xt"), ("one", "xt"), ("x", "xt"), ("xt", "x"), ("x1", "x2"), ("x", "three"),
        ("three", "xt"), ("planes", "scores"), ("vector", "xt"), ("x1", "x1"),
    ):  # fmt: skip
        yield Case("MatMul", pair, constants=constants)
    for turned, bias in itertools.product((0, 1), (_random(5), _random(1, 5), _random(1), None)):
        constants = {"weights": _random(5, 4) if turned else _random(4, 5)} | ({} if bias is None else {"bias": bias})
        operands = ("x2", "weights", *(["bias"] if bias is not None else []))
        yield Case("Gemm", operands, {"transB": turned, "alpha": 0.5, "beta": -2.0}, constants)
    shapes = (
        (1, 1, (0, 0), 1, 1),
        (2, 1, (1, 0), 1, 2),
        (3, 1, (1, 1), 1, 4),
        (3, 1, (2, 0), 1, 1),
        (3, 1, (2, 2), 2, 2),
    )
    for size, stride, pads, apart, groups in (*shapes, (5, 1, (2, 2), 1, 1)):
        attributes = {"strides": [stride], "pads": pads, "dilations": [apart], "group": groups}
        constants = {"weights": _random(4, 4 // groups, size), "bias": _random(4)}
        yield Case("Conv", ("xt", "weights", "bias"), attributes, constants)
    for kernel, pads in (((1, 4), (0, 0, 0, 0)), ((3, 4), (2, 0, 0, 0)), ((3, 2), (1, 1, 1, 0))):
        yield Case("Conv", ("x4", "weights"), {"pads": pads}, {"weights": _random(5, 1, *kernel)})
    for name, inside in _POOLS:
        for size, pads in ((2, (1, 0)), (3, (1, 1)), (1, (0, 0))):
            yield Case(name, ("xt",), {"kernel_shape": [size], "pads": pads, **inside})
        yield Case(name, ("x4",), {"kernel_shape": [1, 3], "strides": [1, 2], "pads": [0, 1, 0, 0], **inside})
        yield Case(name, ("x4",), {"kernel_shape": [2, 3], "pads": [1, 0, 0, 1], **inside})
    yield from (Case(name, (x,)) for name in ("GlobalMaxPool", "GlobalAveragePool") for x in ("xt", "planes", "x"))


def _layers() -> Iterator[Case]:
    for (name, gates), way, width in itertools.product(
        (("RNN", 1), ("LSTM", 4), ("GRU", 3)), ("forward", "reverse", "bidirectional"), (1, 8, 9)
    ):
        ways = 2 if way == "bidirectional" else 1
        attributes = {"hidden_size": width, "direction": way, **({"linear_before_reset": 1} if name == "GRU" else {})}
        constants = {"w": _random(ways, gates * width, 4) / 2, "r": _random(ways, gates * width, width) / 2}
        constants |= {"b": _random(ways, 2 * gates * width), "zeros": np.zeros_like(constants["r"])}
        yield Case(name, ("steps", "w", "r"), attributes, constants)
        for output in range(3 if name == "LSTM" else 2):
            yield Case(name, ("steps", "w", "r", "b"), attributes, constants, output=output)
        yield Case(name, ("steps", "w", "zeros", "b"), attributes, constants)
        if ways == 1 and width == 1:
            attributes = attributes | {"hidden_size": 3}
            constants = {"w": _random(1, gates * 3, 4), "r": _random(1, gates * 3, 3), "b": _random(1, gates * 6)}
            states = ("state", "state") if name == "LSTM" else ("state",)
            yield Case(name, ("steps", "w", "r", "b", "", *states), attributes, constants)
    constants = {"w": _random(1, 9, 4), "r": _random(1, 9, 9), "b": _random(1, 18)}
    yield Case("RNN", ("steps", "w", "r", "b"), {"hidden_size": 9, "activations": ["Relu"]}, constants)


def _composed() -> Iterator[Case]:
    yield Case("HardSwish", ("x",))
    for x, slope in (("x", _random(1)), ("x", _random(4)), ("planes", _random(4, 1, 1))):
        yield Case("PRelu", (x, "slope"), constants={"slope": slope})
    for (x, axis), kept in itertools.product((("x", 1), ("x", 2), ("planes", 3), ("scores", 1)), (0, 1)):
        yield Case("ReduceLogSumExp", (x, "axis"), {"keepdims": kept}, {"axis": [axis]})
        yield Case("ReduceL1", (x, "axis"), {"keepdims": kept}, {"axis": [axis]})
    constants = {"scale": _random(4), "bias": _random(4) + 1}
    yield from (Case("InstanceNormalization", (x, "scale", "bias"), {}, constants) for x in ("xt", "planes"))
    for (x, axis), largest in itertools.product((("x", 1), ("x", 2), ("xt", -1)), (0, 1)):
        yield Case("TopK", (x, "v1"), {"axis": axis, "largest": largest}, output=1)


CASES = [*_one_by_one(), *_pairs(), *_reductions(), *_moves(), *_products(), *_layers(), *_composed()]
