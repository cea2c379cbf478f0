"""Refuse a graph that computes in double precision with a number that ONNX holds in float32, such as an attribute."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.user_frames import describe_last_user_line


def find_float32_numbers(graph: ir.Graph) -> frozenset[float]:
    """Return the numbers that translations store in float32, although the graph may use them with doubles: attributes,
    constants that are cast later, and the steps of ranges. Float32 tensors of forward itself are left out.

    Args:
        graph: the translated graph, before its constants are folded.
    """
    found: set[float] = set()
    for node in graph.all_nodes():
        found |= {float(a.value) for a in node.attributes.values() if a.type == ir.AttributeType.FLOAT}
        to = node.attributes.get("to")
        if node.op_type == "CastLike" or (node.op_type == "Cast" and to is not None and to.value == ir.DataType.DOUBLE):
            found |= set(_read_float32_constant(node.inputs[0]))
        if node.op_type == "Range":
            ends = [number for value in node.inputs for number in _read_float32_constant(value)]
            found |= {*ends, sum(ends[::2])}
    with np.errstate(over="ignore"):
        return frozenset(float(np.float32(number)) for number in found)


def _read_float32_constant(value: ir.Value | None) -> list[float]:
    """Return a list with the number of a float32 or int64 constant, also if it is cast. Return an empty list for any
    other value."""
    maker = None if value is None else value.producer()
    if maker is not None and maker.op_type == "Cast":
        maker = None if maker.inputs[0] is None else maker.inputs[0].producer()
    if maker is None or maker.op_type != "Constant" or "value" not in maker.attributes:
        return []
    tensor = maker.attributes["value"].as_tensor()
    is_single = tensor.size == 1 and tensor.dtype in (ir.DataType.FLOAT, ir.DataType.INT64)
    return [float(tensor.numpy().reshape(()))] if is_single else []


def refuse_rounded_doubles(graph: ir.Graph, float32_numbers: Collection[float]) -> None:
    """Refuse a graph that computes in double precision with a number that a translation rounded to float32, such as the
    slope of a LeakyRelu. If forward rounds the result down, the graph may get another integer.

    Args:
        graph: without operations on constants.
        float32_numbers: the result of `find_float32_numbers`.
    """
    for node in graph.all_nodes():
        given = [value for value in node.inputs if value is not None]
        numbers = [number for value in given for number in _read_doubles_that_float32_holds(value)]
        if any(value.dtype == ir.DataType.DOUBLE for value in (*given, *node.outputs)):
            # An epsilon that is off in its eighth digit moves no result by 1e-12.
            singles = [a for a in node.attributes.values() if a.type == ir.AttributeType.FLOAT and a.name != "epsilon"]
            numbers += [float(np.float32(single.value)) for single in singles]
        if (rounded := next((n for n in numbers if n in float32_numbers and _was_rounded(n)), None)) is not None:
            line = describe_last_user_line(node.metadata_props.get("pkg.torch.onnx.stack_trace", ""))
            raise ExportError(
                f"ONNX rounds the number {rounded:.7g} to single precision, but the module computes with it in double "
                f"precision{line and ', '}{line}.",
                "On that line, use sums, products and quotients, such as x * 0.57; or compute in single precision.",
            )


def _read_doubles_that_float32_holds(value: ir.Value) -> list[float]:
    """Return the numbers of a float64 constant if float32 holds all of them exactly, or else an empty list."""
    maker, constant = value.producer(), value.const_value
    if constant is None and maker is not None and maker.op_type == "Constant" and "value" in maker.attributes:
        constant = maker.attributes["value"].as_tensor()
    if constant is None or constant.dtype != ir.DataType.DOUBLE:
        return []
    numbers = constant.numpy().ravel()
    with np.errstate(over="ignore"):
        return [] if (numbers.astype(np.float32) != numbers).any() else numbers.tolist()


def _was_rounded(number: float) -> bool:
    """Return whether a number looks rounded: float32 holds it exactly, but prints it as another short decimal."""
    with np.errstate(over="ignore"):
        single = np.float32(number)
    return math.isfinite(number) and float(single) == number and float(str(single)) != number
