"""List the integers near the constants of a graph: forward may compare ids with a constant."""

from __future__ import annotations

import math
from typing import Final

import onnx

# A constant with more numbers is a weight.
_SMALL: Final = 64


def list_integers_near_constants(content: bytes) -> list[int]:
    """Return the integers of at least 0 in the small constants (at most 64 numbers) of an ONNX file, and the neighbours
    of these integers: `x > 3` in forward is first true for 4."""
    graph = onnx.load_model_from_string(content).graph
    tensors = [*graph.initializer, *(a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute)]
    small = (onnx.numpy_helper.to_array(tensor).ravel() for tensor in tensors if math.prod(tensor.dims) <= _SMALL)
    numbers = (float(number) for array in small if array.dtype.kind in "iuf" for number in array)
    found = [int(number) for number in numbers if 0 <= number < 1 << 31 and number == int(number)]
    return list(dict.fromkeys([*found, *(n + 1 for n in found), *(n - 1 for n in found if n)]))
