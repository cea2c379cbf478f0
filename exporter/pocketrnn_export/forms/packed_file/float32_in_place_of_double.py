"""Decide where float32 may replace the double and half precision of a graph. The engine computes in float32 only.

A sum in double precision differs from one in float32 in its last digits. An answer computed from it differs as little,
unless an operator on the way has a step: a comparison, or a rounding to integers. There, the last digit decides. So
values in other precisions that depend on the tokens are followed through the graph, and refused where a step operator
uses them. Integers, such as counts, are exact in float32 up to 2^24, and pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from pocketrnn_export.forms.packed_file.integer_bounds import (
    Bound,
    compute_common_bound,
    find_most_tokens_within_bound,
)
from pocketrnn_export.forms.packed_file.program import COMPUTE_IN_FLOAT32, UnsupportedOperatorError
from pocketrnn_export.forms.packed_file.size_dependent_values import HOLDS, read_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pocketrnn_export.forms.packed_file.values_that_depend_on_tokens import ObservedGraph

# Up to these, float32 and float16 hold every integer exactly.
MOST_WHOLE: Final = HOLDS["float32"]
_MOST_HALF: Final = HOLDS["float16"]
# How exactly float32 holds a number of the graph: exactly, for integers up to 2^24; or up to the last digits of the
# number; or, for a sum, up to the last digits of its terms, which may be much larger.
_HELD, _CLOSE, _ROUGH = range(3)
_STEPS: Final = frozenset(
    {"ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Round",
     "Sign", "TopK"}
)  # fmt: skip
# Operators that return some of their input numbers, or these with another sign.
_CHOOSES: Final = frozenset(
    {"Abs", "Cast", "CastLike", "Clip", "Compress", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather",
     "GatherElements", "GatherND", "Identity", "Max", "Min", "Neg", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape",
     "ReverseSequence", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"}
)  # fmt: skip
# Operators that make integers from integers.
_KEEPS_WHOLE: Final = _CHOOSES | {"Add", "Ceil", "CumSum", "Floor", "Mul", "ReduceSum", "Round", "Sub"}
_SUMS: Final = frozenset({"Add", "CumSum", "ReduceSum", "Sub"})
# Operators that keep the relative error of their inputs.
_KEEPS_DIGITS: Final = frozenset({"Div", "Mul", "Reciprocal", "Sqrt"})
# Operators that make a small difference large near 0; in a quotient, the divisor does.
_STEEP: Final = frozenset({"Div", "Log", "Reciprocal", "Sqrt"})
# Powers that are a product or two.
_PRODUCTS: Final = (2.0, 3.0)
# Operators whose results differ by at most the sum of the differences of their inputs.
_SMOOTH: Final = frozenset(
    {"Add", "Cos", "CumSum", "Elu", "Erf", "Gelu", "Gemm", "HardSigmoid", "LeakyRelu", "LogSoftmax", "MatMul",
     "ReduceMean", "ReduceSum", "Sigmoid", "Sin", "Softmax", "Softplus", "Sub", "Tanh"}
)  # fmt: skip
# Such differences are small if the numbers are: those up to this one are exact to 1e-4 in float32. The largest numbers
# are estimated for texts of at most this many tokens; a sum over steps, which a mean usually divides again, counts as
# one step.
_MOST_SUMMED: Final = 1_000.0
_TOKENS: Final = 1_000
# The relative rounding error of float32; and the largest error that is accepted after later products.
_ROUNDING: Final = 2.0**-24
_MOST_ERROR: Final = 1e-4
# The assumed largest output of a layer.
_USUAL: Final = 64.0
_AT_MOST_ONE: Final = frozenset({"Cos", "Erf", "GRU", "HardSigmoid", "Sigmoid", "Sin", "Softmax", "Tanh"})
_AS_NEAR_AS_SMALL: Final = (_SMOOTH - _AT_MOST_ONE) | {"Cos", "Sin"}
_KEEPS_SIZE: Final = _CHOOSES | {"CumSum", "ReduceMean", "ReduceSum"}


class Float32Decisions:
    """Decides for each operator of a graph whether the native engine may compute it in float32, although the graph
    computes in double or half precision. The operators must be visited in their order in the graph.

    Args:
        graph: the graph, with the arrays that its values had in several runs.
        bound: returns the bound of a value's integers, by the value's name; None if some of its numbers are not
            integers.
    """

    def __init__(self, graph: ObservedGraph, bound: Callable[[str], Bound]) -> None:
        self._graph, self._bound = graph, bound
        self._states: dict[str, int] = {}
        # The largest float of a value, where a limit is known.
        self._most: dict[str, float] = {}
        # The largest error of a value's numbers against double precision.
        self._errors: dict[str, float] = {}
        # The bounds of the integers in double precision that a value was computed from.
        self._needs: dict[str, Bound] = {}
        # Values computed from numbers of tokens in double precision: `n * 0.3` is 15 for 50 tokens, and 15.000001 in
        # float32.
        self._of_sizes: set[str] = set()

    def decide_on_float32_and_find_bound_of_exact_integers(self, node: onnx.NodeProto, integer_bound: Bound) -> Bound:
        """Decide whether the engine may compute an operator in float32, and record how exactly float32 holds the
        operator's outputs.

        Args:
            integer_bound: if the output consists of floats that are always integers, their bound; else None.

        Returns:
            the bound of integers that must not exceed 2^24, so that float32 gives the graph's result. The bound is (0,)
                if there are no such integers.

        Raises:
            UnsupportedOperatorError: float32 may give another result, for example because the operator compares or
                rounds numbers in double precision.
        """
        outputs = [name for name in node.output if name in self._graph.of_tokens]
        if not outputs:
            self._record_inexact_sizes(node)
            return (0,)
        inputs = [name for name in node.input if name and self._read_dtype(name).kind not in "iub"]
        made = self._read_dtype(outputs[0])
        self._most[outputs[0]] = self._estimate_magnitude(node)
        input_precisions = [self._find_float32_exactness(name) for name in inputs]
        need = compute_common_bound((0,), *(self._find_bound_of_double_integers_behind(name) for name in inputs))
        if made.kind not in "fiub":
            raise UnsupportedOperatorError(
                f"The operator computes in {made}, but the native engine does not have this type.", COMPUTE_IN_FLOAT32
            )
        if made == np.float16 and not self._is_exact_in_float16(node, inputs, integer_bound):
            raise UnsupportedOperatorError(
                "The operator computes in float16, but the native engine does not have this type.", COMPUTE_IN_FLOAT32
            )
        if made.kind != "f" or node.op_type in _STEPS:
            if any(input_precisions):
                raise UnsupportedOperatorError(
                    "The operator compares or rounds numbers that are computed from the tokens in double "
                    "precision. The native engine computes these numbers in float32, which may give another "
                    "result.",
                    COMPUTE_IN_FLOAT32,
                )
            return need
        self._needs |= dict.fromkeys(
            outputs, compute_common_bound(need, integer_bound) if integer_bound and made == np.float64 else need
        )
        state = self._find_float32_exactness_of_output(node, inputs, input_precisions, integer_bound)
        self._states |= dict.fromkeys(outputs, state)
        self._errors |= dict.fromkeys(outputs, self._estimate_float32_error(node, inputs, outputs[0]))
        if state == _ROUGH and self._errors[outputs[0]] > _MOST_ERROR:
            raise UnsupportedOperatorError(
                "The operator multiplies small differences of numbers in double precision. The native engine "
                "computes in float32, which may lose these differences.",
                COMPUTE_IN_FLOAT32,
            )
        # A result that is not an integer needs inputs that float32 holds exactly. Integers in double precision may
        # cancel: the sum of 2^30 + 1 and -2^30 is 0 in float32.
        cancels = node.op_type in _SUMS and made == np.float64 and state == _HELD
        return self._needs[outputs[0]] if cancels else need if state != _HELD and node.op_type in _SMOOTH else (0,)

    def _estimate_magnitude(self, node: onnx.NodeProto) -> float:
        """Return an upper bound of the absolute values of the numbers in an operator's output; infinity if no bound is
        known."""
        kind, sizes = node.op_type, [self._find_largest_number(name) for name in node.input if name]
        if kind in _AT_MOST_ONE:
            return 1.0
        if kind in _KEEPS_SIZE:
            return max(sizes, default=np.inf)
        if kind in ("Add", "Sub", "Mul"):
            return sum(sizes) if kind != "Mul" else float(np.prod(sizes))
        # An integer divisor is at least 1; a division by 0 is the same in the engine and in the graph.
        whole = kind == "Div" and (
            self._read_dtype(node.input[1]).kind in "iu" or self._bound(node.input[1]) is not None
        )
        return sizes[0] if whole else np.inf

    def _estimate_float32_error(self, node: onnx.NodeProto, inputs: Sequence[str], output: str) -> float:
        """Estimate the largest difference between an operator's output computed in float32 and in double precision.

        Args:
            inputs: the names of its float inputs.
            output: the name of its output.
        """
        errors = [self._errors.get(name, 0.0) for name in inputs]
        if node.op_type == "Mul":
            errors = [
                error and error * self._find_largest_factor(other)
                for error, other in zip(errors, reversed(inputs), strict=True)
            ]
        elif node.op_type == "LayerNormalization":
            epsilon = max(read_attributes(node).get("epsilon", 1e-5), 1e-45)
            errors = [error and error / epsilon**0.5 for error in errors]
        elif node.op_type == "Div" and inputs[1] not in self._graph.of_tokens:
            least = float(np.abs(self._list_observed_numbers(inputs[1])).min(initial=1.0))
            errors = [error and error / least for error in errors[:1]]
        most = self._most[output]
        own = _ROUNDING * most if self._read_dtype(output) == np.float64 and np.isfinite(most) else 0.0
        return sum(errors) + own

    def _find_largest_factor(self, name: str) -> float:
        """Return an upper bound of the absolute numbers in a factor of a product; 64 if no bound is known."""
        most = self._find_largest_number(name)
        return most if np.isfinite(most) else _USUAL

    def _find_largest_number(self, name: str) -> float:
        """Return an upper bound of a value's absolute numbers for texts of up to 1,000 tokens; infinity if none is
        known."""
        if self._read_dtype(name).kind == "b":
            return 1.0
        if name not in self._graph.of_tokens:
            numbers = np.abs(self._graph.values[name][0].astype(np.float64))
            same = all(value.tobytes() == self._graph.values[name][0].tobytes() for value in self._graph.values[name])
            return float(numbers.max(initial=0.0)) if same else np.inf
        if name in self._most and np.isfinite(self._most[name]):
            return self._most[name]
        bound = self._bound(name)
        return np.inf if bound is None else float(sum(c * _TOKENS**power for power, c in enumerate(bound)))

    def _record_inexact_sizes(self, node: onnx.NodeProto) -> None:
        """Record those outputs of an operator that are computed from the number of tokens and that differ between
        float32 and double precision. Raise an UnsupportedOperatorError if the operator compares or rounds such an
        input."""
        outputs = [name for name in node.output if name in self._graph.values]
        given = self._of_sizes.intersection(node.input)
        if given and outputs and (self._read_dtype(outputs[0]).kind != "f" or node.op_type in _STEPS):
            raise UnsupportedOperatorError(
                "The operator compares or rounds a number that is computed from the number of tokens in double "
                "precision. The native engine computes it in float32, which may give another result.",
                COMPUTE_IN_FLOAT32,
            )
        doubles = [name for name in outputs if self._read_dtype(name) == np.float64]
        varying = [
            n for n in doubles if any(v.tobytes() != self._graph.values[n][0].tobytes() for v in self._graph.values[n])
        ]
        held = self._graph.size_values.known
        self._of_sizes.update(
            outputs if given else [n for n in varying if n not in held or self._classify_float32_exactness(n) != _HELD]
        )

    def _classify_float32_exactness(self, name: str) -> int:
        """Return whether float32 holds the numbers of a value in all observed runs exactly (`_HELD`), or only up to
        their last digits (`_CLOSE`)."""
        numbers = self._list_observed_numbers(name)
        with np.errstate(all="ignore"):
            return _HELD if (numbers.astype(np.float32) == numbers).all() else _CLOSE

    def _list_observed_numbers(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the finite numbers of a value in all observed runs of the graph, as one flat array."""
        numbers = np.concatenate([value.ravel() for value in self._graph.values[name]])
        finite: np.ndarray[Any, np.dtype[np.float64]] = numbers[np.isfinite(numbers)]
        return finite

    def _read_dtype(self, name: str) -> np.dtype[Any]:
        return self._graph.values[name][0].dtype

    def _find_bound_of_double_integers_behind(self, name: str) -> Bound:
        """Return the bound of those integers in double precision from which a value was computed: the coefficients of a
        polynomial in the number of tokens. Return (0,) if there are no such integers."""
        if name in self._graph.of_tokens:
            return self._needs.get(name, (0,))
        bound = self._bound(name) if self._read_dtype(name) == np.float64 else None
        # The numbers of a constant are known.
        return bound if bound is not None and any(bound[1:]) else (0,)

    def _find_float32_exactness(self, name: str) -> int:
        """Return how exactly float32 holds a value: exactly (`_HELD`); up to the last digits of each number (`_CLOSE`);
        or with an error that may be large beside small numbers (`_ROUGH`). Raise an UnsupportedOperatorError for a
        constant that is too large or too small for float32."""
        if name in self._of_sizes:
            return _CLOSE
        if name in self._graph.of_tokens or self._read_dtype(name) != np.float64:
            return self._states.get(name, _HELD)
        numbers = self._list_observed_numbers(name)
        with np.errstate(over="ignore", under="ignore"):
            held = numbers.astype(np.float32)
        if not np.isfinite(held).all() or ((held == 0) != (numbers == 0)).any():
            raise UnsupportedOperatorError(
                f"The constant {name} has a number that is too large or too small for float32.", COMPUTE_IN_FLOAT32
            )
        return self._classify_float32_exactness(name)

    def _is_exact_in_float16(self, node: onnx.NodeProto, inputs: Sequence[str], integer_bound: Bound) -> bool:
        """Return whether float16 holds all numbers of an operator's output exactly, for every number of tokens. The
        engine then gives the same numbers in float32.

        Args:
            inputs: the names of the operator's float inputs.
            integer_bound: the bound of the output if it consists of integers; else None.
        """
        end = self._graph.size_values.span.end
        if integer_bound is not None and find_most_tokens_within_bound(integer_bound, end, _MOST_HALF) == end:
            return True
        return node.op_type in _CHOOSES and all(
            self._read_dtype(name) == np.float16 for name in inputs or node.input[:1]
        )

    def _find_float32_exactness_of_output(
        self, node: onnx.NodeProto, inputs: Sequence[str], input_precisions: Sequence[int], integer_bound: Bound
    ) -> int:
        """Return how exactly float32 holds an operator's output: exactly (`_HELD`); up to the last digits of each
        number (`_CLOSE`); or with an error that may be large beside small numbers (`_ROUGH`). Raise an
        UnsupportedOperatorError if the numbers may be too large, too small or too near 0 for float32.

        Args:
            inputs: the names of its float inputs.
            input_precisions: how exactly float32 holds each of these.
            integer_bound: the bound of the output, if it consists of integers; else None.
        """
        kind, worst = node.op_type, max(input_precisions, default=_HELD)
        if kind == "Pow" and node.input[1] not in self._graph.of_tokens:
            exponents = self._graph.values[node.input[1]]
            kind = "Mul" if all(np.isin(one, _PRODUCTS).all() for one in exponents) else kind
        is_double = self._read_dtype(next(filter(None, node.output))) == np.float64
        if worst == _HELD and (integer_bound is not None or not is_double):
            return _HELD
        if kind in _CHOOSES:
            # Integers without a known bound may lose digits.
            return worst if inputs else _CLOSE
        steep = input_precisions[1:] if kind == "Div" else input_precisions
        if kind in _STEEP and _ROUGH in steep:
            raise UnsupportedOperatorError(
                "The operator's input is a sum in double precision that may be near 0. The native engine computes "
                "the sum in float32, which is not exact enough there.",
                COMPUTE_IN_FLOAT32,
            )
        if kind == "ReduceMean" and worst == _HELD and self._bound(inputs[0]) is not None:
            return _CLOSE
        large = kind in _AS_NEAR_AS_SMALL and any(
            self._read_dtype(name) == np.float64 and self._find_largest_number(name) > _MOST_SUMMED for name in inputs
        )
        if is_double and (large or kind not in _KEEPS_DIGITS | _SMOOTH | {"Log"}):
            raise UnsupportedOperatorError(
                "The operator computes in double precision with numbers that may be too large or too small for "
                "float32. The native engine computes in float32.",
                COMPUTE_IN_FLOAT32,
            )
        return _CLOSE if kind in _KEEPS_DIGITS and worst != _ROUGH else _ROUGH


def makes_integers_from_integers(node: onnx.NodeProto) -> bool:
    """Return whether an operator's results are integers whenever its inputs are integers, as for Add."""
    return node.op_type in _KEEPS_WHOLE
