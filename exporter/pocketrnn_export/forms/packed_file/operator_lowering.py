"""Translate an ONNX graph into the program of a packed file. This file has the main loop, the operators that move
numbers, and elementwise operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from pocketrnn.bundle.packed_enums import Binary, Unary
from pocketrnn.errors import ExportError, PocketRNNError, first_line
from pocketrnn_export.forms.packed_file.float32_in_place_of_double import (
    MOST_WHOLE,
    Float32Decisions,
    makes_integers_from_integers,
)
from pocketrnn_export.forms.packed_file.integer_bounds import (
    LARGEST,
    Bound,
    compute_bound_of_numbers_between,
    compute_bound_of_sum,
    compute_bound_of_sum_over_axes,
    compute_common_bound,
    find_most_tokens_within_bound,
)
from pocketrnn_export.forms.packed_file.previous_step_folded_into_layer import fold_previous_step_into_layers
from pocketrnn_export.forms.packed_file.program import (
    BOOL,
    COMPUTE_IN_FLOAT32,
    FLOAT,
    INT,
    USE_OTHER_OPERATIONS,
    Program,
    UnsupportedOperatorError,
    convert_float_to_bits,
)
from pocketrnn_export.forms.packed_file.size_dependent_values import (
    Numbers,
    Size,
    fit_number_as_affine_in_length,
    multiply_sizes,
    read_attributes,
)
from pocketrnn_export.forms.packed_file.sizes_of_two_texts import Lengths, compute_size
from pocketrnn_export.forms.packed_file.values_that_depend_on_tokens import (
    ObservedGraph,
    compute_node_outputs,
    select_nodes_needed_for_outputs,
)

Array = npt.NDArray[Any]
_ONE: Final = (0, 1)
# A program that takes fewer tokens, since its integers have 32 bits, is refused.
_FEWEST: Final = 512
# A limit of more tokens is not stored; the engine refuses texts whose integers would overflow.
_MANY: Final = 1 << 30
_MOST_AXES: Final = 4
_MOST_MOVED_AXES: Final = 5
_TYPES: Final = {"f": FLOAT, "i": INT, "u": INT, "b": BOOL}
# Attributes that are 0 or 1. Engines read other values in different ways.
_FLAGS: Final = frozenset(
    {"ceil_mode", "count_include_pad", "exclusive", "input_forget", "keepdims", "layout", "linear_before_reset",
     "noop_with_empty_axes", "reverse", "select_last_index", "training_mode", "transA", "transB"}
)  # fmt: skip
# Operators that only move numbers.
_MOVES: Final = frozenset(
    {"Compress", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity",
     "Reshape", "ReverseSequence", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
# Operators that only choose among their input numbers: integers of 8 and 16 bits do not wrap in them.
_NO_ARITHMETIC: Final = _MOVES | {"CastLike", "Cast", "Concat", "Max", "Min", "Pad", "ReduceMax", "ReduceMin", "Where"}


class Lowering:
    """Translates an ONNX graph into the program of a packed file, one operator after the other.

    Attributes:
        graph: the graph, with the arrays that its values had in several runs.
        program: the program so far.
        known: maps the name of each translated graph value to the index of the program's value with the same numbers.
        bounds: maps the name of a graph value to the bound of its integers; also for floats that are always integers.
        precision: decides where float32 may replace other types.
    """

    def __init__(self, graph: ObservedGraph) -> None:
        self.graph = graph
        self.program = Program(graph.state_size, graph.channels, graph.features, graph.second)
        self.known: dict[str, int] = {"samples" if graph.channels else "tokens": 0}
        # The bounds of integers, by the names of the graph's values; also of floats that are integers.
        self.bounds: dict[str, Bound] = {"tokens": (max(0, graph.ids - 1),)}
        self.precision = Float32Decisions(graph, self.find_integer_bound)
        for name, is_given in (
            ("state", graph.state_size),
            ("features", graph.features),
            ("second_tokens", graph.second is not None),
        ):
            self.known |= {name: 1} if is_given else {}
        self.bounds["second_tokens"] = self.bounds["tokens"]

    def lower_operators(self) -> None:
        """Translate all operators of the graph into the program.

        Raises:
            ExportError: the engine has no operation for an operator; the message names it and its place.
        """
        answers = ("logits", "new_state") if self.graph.state_size else ("logits",)
        known = self.graph.size_values.known
        for node in select_nodes_needed_for_outputs(self.graph.model.graph.node, answers, given=known):
            handler = HANDLERS.get(node.op_type)
            try:
                if handler is None:
                    raise UnsupportedOperatorError(
                        "The native engine, which runs packed files, does not have this operator.", USE_OTHER_OPERATIONS
                    )
                self._refuse_inexpressible_operator(node)
                self._record_precision_of_floats(node)
                handler(self, node)
                self._record_bounds_of_integers(node)
            except PocketRNNError as error:
                raise make_packing_error(node, error.problem, error.remedy) from error
            # A graph may contain something that no handler expects, and that onnxruntime accepts.
            except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise make_packing_error(
                    node,
                    "The native engine does not have this operator with these inputs or attributes "
                    f"({type(error).__name__}: {first_line(error)}).",
                ) from error
        for name in answers:
            output = self.find_or_add_whole_value(name)
            if self.program.values[output].constant is not None or output == 0:
                raise ExportError(
                    f"The graph's output {name} is the same for every text.",
                    "Check forward: it must compute this output from the token ids.",
                )
            self.program.outputs.append(output)
        self.program.turns = frozenset(self.graph.size_values.span.turns)
        if self.graph.second is None:
            fold_previous_step_into_layers(self.program)

    def find_integer_bound(self, name: str) -> Bound:
        """Return an upper bound of the integers in a graph value: the coefficients of a polynomial in the number of
        tokens, [1, tokens, tokens ^ 2, ...]. Return None if the bound is unknown, or if some numbers are not
        integers."""
        if not self.depends_only_on_token_count(name):
            return self.bounds.get(name)
        known = self.graph.size_values.known[name]
        if known == Numbers(None):
            array = np.abs(self.graph.values[name][0])
            return (int(array.max()),) if np.isfinite(array).all() and (array == np.rint(array)).all() else None
        is_whole = all(np.isfinite(b) and b == int(b) for _, b in known.numbers_with_smallest_and_largest)
        return compute_bound_of_numbers_between(known.numbers_with_smallest_and_largest) if is_whole else None

    def limit_text_length_so_that_integers_fit(
        self, bound: Bound, largest: int = LARGEST, remedy: str = USE_OTHER_OPERATIONS
    ) -> None:
        """Limit the number of tokens in a text so that no integer with this bound exceeds `largest`.

        Args:
            bound: the coefficients of a polynomial in the number of tokens; None for an unknown bound, which sets no
                limit.
            largest: the largest integer that the engine holds exactly.
            remedy: the sentence of the error message that says what to do.

        Raises:
            ExportError: a text of 512 tokens would exceed the limit.
        """
        span = self.graph.size_values.span
        most = span.end if bound is None else find_most_tokens_within_bound(bound, span.end, largest)
        if most < min(span.end, max(_FEWEST, span.least)):
            raise ExportError(
                f"In texts of more than {most:,} tokens, an integer may exceed {largest:,}, but the native engine "
                "holds integers exactly only up to there.",
                remedy,
            )
        if most < min(span.end, _MANY):
            self.program.most = min(most, self.program.most or most)

    def _record_precision_of_floats(self, node: onnx.NodeProto) -> None:
        """Record how exactly float32 holds the floats in an operator's output, and an upper bound of those floats that
        are always integers. Raise an UnsupportedOperatorError for an operator whose result could differ in float32."""
        floats = [name for name in node.input if name and self.graph.values[name][0].dtype.kind == "f"]
        outputs = [name for name in node.output if name and not self.depends_only_on_token_count(name)]
        is_whole = makes_integers_from_integers(node) and all(
            self.find_integer_bound(name) is not None for name in floats
        )
        bound = None
        if is_whole and outputs and self.graph.values[outputs[0]][0].dtype.kind == "f":
            bound = _compute_integer_bound_of_output(self, node)
            self.bounds |= dict.fromkeys(outputs, bound)
        self.limit_text_length_so_that_integers_fit(
            self.precision.decide_on_float32_and_find_bound_of_exact_integers(node, bound),
            MOST_WHOLE,
            COMPUTE_IN_FLOAT32,
        )

    def _record_bounds_of_integers(self, node: onnx.NodeProto) -> None:
        """Record the bounds of the integers in an operator's outputs. Limit the length of texts so that these integers
        fit the engine's 32 bits."""
        for name in filter(None, node.output):
            if not self.depends_only_on_token_count(name) and self.graph.values[name][0].dtype.kind in "iu":
                self.bounds[name] = bound = _compute_integer_bound_of_output(self, node)
                # Where the bound is not known, the engine itself refuses texts whose integers exceed 32 bits.
                self.limit_text_length_so_that_integers_fit(bound)

    def _refuse_inexpressible_operator(self, node: onnx.NodeProto) -> None:
        """Raise an UnsupportedOperatorError for an operator with inputs, attributes or types that the native engine
        does not support."""
        if not node.input or not node.input[0]:
            raise UnsupportedOperatorError(
                "The operator has no first input, but the native engine needs one.", USE_OTHER_OPERATIONS
            )
        self._refuse_inexact_computation_from_sizes(node)
        for name, value in read_attributes(node).items():
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(number, float) and not np.isfinite(number) for number in numbers):
                raise UnsupportedOperatorError(
                    f"The operator has the value {value} for `{name}`, but the native engine needs finite numbers.",
                    USE_OTHER_OPERATIONS,
                )
            rank = self.graph.values[node.input[0]][0].ndim
            if name == "axis" and not -rank - 1 <= value <= rank:
                raise UnsupportedOperatorError(
                    f"The attribute axis is {value}, but the input has only {rank} axes.",
                    "Correct the axis in forward.",
                )
            if name in _FLAGS and value not in (0, 1):
                raise UnsupportedOperatorError(
                    f"The attribute {name} is {value}, but must be 0 or 1.", USE_OTHER_OPERATIONS
                )
        for name in filter(None, node.output):
            kind = self.graph.values[name][0].dtype
            if self.depends_only_on_token_count(name) or kind.kind not in "iu" or kind.itemsize >= 4:
                continue
            source = self.graph.values[node.input[0]][0].dtype
            if node.op_type not in _NO_ARITHMETIC or (node.op_type.startswith("Cast") and source not in (bool, kind)):
                raise UnsupportedOperatorError(
                    f"The operator computes in {kind}, whose results wrap around on overflow. The native engine "
                    "would give other results, since it computes with 32-bit integers.",
                    "Convert the input to int64 in forward, x.long(); or use the bundle with onnxruntime.",
                )

    def _refuse_inexact_computation_from_sizes(self, node: onnx.NodeProto) -> None:
        """Raise an UnsupportedOperatorError if an operator rounds or compares numbers that are computed from the number
        of tokens, in a type that the native engine does not have. The engine's result could differ for some number of
        tokens."""
        names = [*filter(None, node.input)]
        if self.graph.of_tokens.intersection(names):
            return
        kinds = [self.graph.values[name][0].dtype for name in names if name in self.graph.values]
        made = self.graph.values[next(filter(None, node.output))][0].dtype
        if made == np.float16:
            raise UnsupportedOperatorError(
                "The operator computes with the number of tokens in float16, but the native engine does not have "
                "float16.",
                COMPUTE_IN_FLOAT32,
            )
        if made.kind in "iu" and any(kind.kind == "f" for kind in kinds) and node.op_type in ("Cast", "CastLike"):
            raise UnsupportedOperatorError(
                "The operator computes a float from the number of tokens and rounds it to an integer. The native "
                "engine computes in float32, so it may round to another integer.",
                "Compute with integers only, such as n * 3 // 10 for int(n * 0.3); or use the bundle with onnxruntime.",
            )
        rounded = made.kind == "b" or node.op_type in ("Ceil", "Floor", "Mod", "Round", "Sign")
        if rounded and any(kind == np.float64 for kind in kinds):
            raise UnsupportedOperatorError(
                "The operator computes a number from the number of tokens in float64, and compares or rounds it. "
                "The native engine does not have float64, so its result may differ.",
                COMPUTE_IN_FLOAT32,
            )

    def depends_only_on_token_count(self, name: str) -> bool:
        """Return whether each number of a graph value is a * tokens + b with constant a and b, where `tokens` is the
        number of tokens: the numbers then do not depend on the token ids."""
        return name in self.graph.size_values.known

    def read_constant(self, name: str) -> Array:
        """Return the array of a graph value that must be the same for every text.

        Raises:
            UnsupportedOperatorError: the value differs between texts.
        """
        values = self.graph.values[name]
        if not self.depends_only_on_token_count(name):
            raise UnsupportedOperatorError(
                f"The operator's input {name} depends on the tokens, but the native engine needs the same {name} "
                "for every text.",
                USE_OTHER_OPERATIONS,
            )
        if any(v.shape != values[0].shape or v.tobytes() != values[0].tobytes() for v in values[1:]):
            raise UnsupportedOperatorError(
                f"The operator's input {name} depends on the number of tokens, but the native engine needs the "
                f"same {name} for every text.",
                USE_OTHER_OPERATIONS,
            )
        return values[0]

    def find_input_name_or_none(self, node: onnx.NodeProto, index: int) -> str | None:
        """Return the name of a node's input with this index; None if the node does not have this input."""
        return node.input[index] if index < len(node.input) and node.input[index] else None

    def find_sizes(self, name: str) -> list[Size]:
        """Return the size of each axis of a graph value as a pair (a, b), which stands for a * tokens + b.

        Raises:
            ExportError: a size is not a * tokens + b with constant a and b.
        """
        return self.graph.find_sizes(name)

    def find_type(self, name: str) -> int:
        """Return the number type, FLOAT, INT or BOOL, that a graph value has in the program.

        Raises:
            UnsupportedOperatorError: the engine does not have the value's type.
        """
        kind = self.graph.values[name][0].dtype
        if kind.kind not in _TYPES or kind in (np.uint32, np.uint64):
            raise UnsupportedOperatorError(
                f"{name} has the type {kind}, but the native engine has only float32, signed integers and bool.",
                "Convert it in forward, for example by x.float() or x.long(); or use the bundle with onnxruntime.",
            )
        return _TYPES[kind.kind]

    def add_value(self, name: str) -> int:
        """Add an empty value to the program, which an operation that is added next fills with the numbers of a graph
        value. Return the index of the program's value."""
        self.known[name] = self.program.add_value(self.find_type(name), self.find_sizes(name))
        return self.known[name]

    def add_scalar_if_all_elements_are_equal(self, name: str) -> int | None:
        """If all elements of a graph value are equal and do not depend on the token ids, add a program value that holds
        this one number, and return its index. Otherwise, return None."""
        if not self.depends_only_on_token_count(name):
            return None
        numbers = [value.ravel() for value in self.graph.values[name]]
        if any(n.size == 0 or not (n == n[0]).all() for n in numbers):
            return None
        firsts = [n[0] for n in numbers]
        kind = self.find_type(name)
        if kind == INT:
            self.limit_text_length_so_that_integers_fit(self.find_integer_bound(name))
        if len(set(firsts)) == 1:
            return self.program.add_constant(np.array([firsts[0]]).astype(["<f4", "<i4", "?"][kind]))
        size = None if kind == BOOL else fit_number_as_affine_in_length(self.graph.lengths, firsts)
        if size is None:
            return None
        made = self.program.add_value(kind, [])
        self.program.add_operation("count", [made], _ONE, _ONE, _ONE, size, 0)
        return made

    def find_or_add_whole_value(self, name: str) -> int:
        """Return the index of the program's value that holds all elements of a graph value. If the program has none
        yet, add one: a constant, or a value that the program computes from the number of tokens.

        Raises:
            UnsupportedOperatorError: the program cannot compute the value from the number of tokens.
        """
        if name in self.known:
            return self.known[name]
        if not self.depends_only_on_token_count(name):
            raise UnsupportedOperatorError(
                f"The input {name} comes from an operator that the native engine cannot compute.", USE_OTHER_OPERATIONS
            )
        values = self.graph.values[name]
        if self.find_type(name) == INT:
            self.limit_text_length_so_that_integers_fit(self.find_integer_bound(name))
        if all(v.shape == values[0].shape and v.tobytes() == values[0].tobytes() for v in values[1:]):
            array = values[0]
            self.known[name] = self.program.add_constant(array if array.ndim == 2 else array.reshape(-1))
            return self.known[name]
        scalar = self.add_scalar_if_all_elements_are_equal(name)
        made = self.program.add_value(self.find_type(name), self.find_sizes(name))
        if scalar is not None:
            sizes = self.find_sizes(name)
            self.add_copy(scalar, made, sizes, (0, 0), [(0, 0)] * len(sizes), (0, 0), compute_array_strides(sizes))
        else:
            self._add_index_range(name, made)
        self.known[name] = made
        return made

    def _add_index_range(self, name: str, target: int) -> None:
        """Add an operation that writes a range, start + step * index along one axis. Raise an UnsupportedOperatorError
        if the graph value is not such a range.

        Args:
            name: the name of the graph value.
            target: the index of the program's value to write to.
        """
        values, sizes = self.graph.values[name], self.find_sizes(name)
        longest = values[-1]
        for axis in range(longest.ndim):
            if any(0 in v.shape[:axis] + v.shape[axis + 1 :] or not np.isfinite(v).all() for v in values):
                continue
            first = [v[tuple(slice(None) if i == axis else 0 for i in range(v.ndim))] for v in values]
            if len(first[-1]) < 2 or not all(map(len, first)):
                continue
            step = int(first[-1][1]) - int(first[-1][0])
            start = fit_number_as_affine_in_length(self.graph.lengths, [f[0] for f in first])
            if start is None:
                continue
            if all(
                (v == np.expand_dims(f[0] + step * np.arange(len(f)), tuple(range(1, v.ndim - axis)))).all()
                for v, f in zip(values, first, strict=True)
            ):
                outer, inner = multiply_sizes(sizes[:axis]), multiply_sizes(sizes[axis + 1 :])
                if outer is not None and inner is not None:
                    self.program.add_operation("count", [target], outer, sizes[axis], inner, start, step)
                    return
        raise UnsupportedOperatorError(
            f"The numbers in {name} depend on the number of tokens. The native engine can compute them only if "
            "they are a range, start + step * index, but they are not.",
            USE_OTHER_OPERATIONS,
        )

    def add_copy(
        self,
        source: int,
        target: int,
        sizes: Sequence[Size],
        source_offset: Size,
        source_strides: Sequence[Size],
        target_offset: Size,
        target_strides: Sequence[Size],
    ) -> None:
        """Add an operation that copies numbers from one value of the program into another. The number at an index (i,
        j, ...) is read at source_offset + i * source_strides[0] + j * source_strides[1] + ..., and written likewise.
        All sizes, offsets and strides are pairs (a, b), which stand for a * tokens + b.

        Args:
            source, target: the indices of the two values in the program.
            sizes: how many numbers are copied along each axis.

        Raises:
            UnsupportedOperatorError: more than five axes have a size other than 1.
        """
        axes = [axis for axis in zip(sizes, source_strides, target_strides, strict=True) if axis[0] != _ONE]
        if len(axes) > _MOST_MOVED_AXES:
            raise UnsupportedOperatorError(
                f"The operator moves numbers along {len(axes)} axes, but the native engine supports at most "
                f"{_MOST_MOVED_AXES}.",
                "Merge some axes with reshape in forward; or use the bundle with onnxruntime.",
            )
        counts, read, written = zip(*[(_ONE, (0, 0), (0, 0))] * (_MOST_MOVED_AXES - len(axes)), *axes, strict=True)
        words: list[int | Size] = [*counts, source_offset, *read, target_offset, *written]
        self.program.add_operation("copy", [source, target], *words)

    def record_existing_value_for(self, name: str, value: int) -> None:
        """Record that an existing value of the program also holds a graph value: the same numbers in the same order.

        Args:
            name: the name of the graph value.
            value: the index of the program's value.
        """
        self.known[name] = value

    def find_elementwise_operands_and_parameters(
        self, names: Sequence[str], out: str
    ) -> tuple[list[int], list[int | Size]]:
        """Return the operands and the parameters of an elementwise operation.

        Args:
            names: the names of the graph values that are its operands; those that the program does not have yet are
                added.
            out: the name of the graph value that is its result.

        Returns:
            two lists: the indices of the operands in the program; and the integers that describe the axes in the packed
                file. These are the four sizes of the result, and for each operand a bit mask of the axes that it has.
        """
        sizes = self.find_sizes(out)
        operands, there = [], []
        for name in names:
            scalar = self.add_scalar_if_all_elements_are_equal(name)
            own = self.find_sizes(name)
            own = [_ONE] * (len(sizes) - len(own)) + own
            operands.append(self.find_or_add_whole_value(name) if scalar is None else scalar)
            there.append([scalar is None and size != _ONE for size in own])
        axes: list[tuple[Size, tuple[bool, ...]]] = []
        for size, pattern in zip(sizes, zip(*there, strict=True), strict=True):
            if size == _ONE:
                continue
            merged = multiply_sizes([axes[-1][0], size]) if axes and axes[-1][1] == pattern else None
            if merged is not None:
                axes[-1] = (merged, pattern)
            else:
                axes.append((size, pattern))
        if len(axes) > _MOST_AXES:
            raise UnsupportedOperatorError(
                f"The operator needs {len(axes)} axes, but the native engine supports at most {_MOST_AXES}.",
                "Merge some axes with reshape in forward; or use the bundle with onnxruntime.",
            )
        axes = [(_ONE, (False,) * len(names))] * (_MOST_AXES - len(axes)) + axes
        masks = [sum(1 << i for i, (_, pattern) in enumerate(axes) if pattern[k]) for k in range(len(names))]
        return operands, [*(size for size, _ in axes), *masks]

    def find_outer_middle_inner_sizes(self, name: str, first: int, last: int) -> tuple[Size, Size, Size]:
        """Return three products of a graph value's sizes: of the axes before `first`, of the axes from `first` to
        `last` inclusive, and of the axes after `last`.

        Raises:
            UnsupportedOperatorError: one of these groups has two axes whose sizes depend on the number of tokens.
        """
        return compute_outer_middle_inner_sizes(self.find_sizes(name), first, last)

    def add_unary_operation(self, kind: str, source: int, target: int, alpha: float = 0.0, beta: float = 0.0) -> None:
        """Add an elementwise operation with one operand to the program.

        Args:
            kind: ONNX's operator, such as Exp.
            source, target: the indices of the operand and of the result in the program.
            alpha, beta: the operator's parameters, such as the slope of a LeakyRelu.
        """
        self.program.add_operation(
            "unary", [source, target], UNARY[kind], convert_float_to_bits(alpha), convert_float_to_bits(beta)
        )


Handler = Callable[[Lowering, onnx.NodeProto], None]
HANDLERS: Final[dict[str, Handler]] = {}
# ONNX's operators, and their kinds in a packed file; GeluTanh is ONNX's Gelu with an attribute.
UNARY: Final = {
    "Neg": Unary.NEGATIVE,
    "Abs": Unary.ABSOLUTE,
    "Exp": Unary.EXP,
    "Log": Unary.LOG,
    "Sqrt": Unary.SQRT,
    "Tanh": Unary.TANH,
    "Sigmoid": Unary.SIGMOID,
    "Relu": Unary.RELU,
    "Erf": Unary.ERF,
    "Reciprocal": Unary.RECIPROCAL,
    "Floor": Unary.FLOOR,
    "Ceil": Unary.CEIL,
    "Round": Unary.ROUND,
    "Sign": Unary.SIGN,
    "LeakyRelu": Unary.LEAKY,
    "Elu": Unary.ELU,
    "Clip": Unary.CLIP,
    "Softplus": Unary.SOFTPLUS,
    "Gelu": Unary.GELU,
    "GeluTanh": Unary.GELU_TANH,
    "Sin": Unary.SIN,
    "Cos": Unary.COS,
    "HardSigmoid": Unary.HARD_SIGMOID,
    "Not": Unary.NOT,
    "Cast": Unary.CAST,
}
BINARY: Final = {
    "Add": Binary.ADD,
    "Sub": Binary.SUB,
    "Mul": Binary.MUL,
    "Div": Binary.DIV,
    "Pow": Binary.POW,
    "Min": Binary.MIN,
    "Max": Binary.MAX,
    "Equal": Binary.EQUAL,
    "Less": Binary.LESS,
    "LessOrEqual": Binary.LESS_EQUAL,
    "Greater": Binary.GREATER,
    "GreaterOrEqual": Binary.GREATER_EQUAL,
    "And": Binary.AND,
    "Or": Binary.OR,
    "Xor": Binary.XOR,
}


def register_translation_of(*names: str) -> Callable[[Handler], Handler]:
    """Register the decorated function as the translation of the ONNX operators with these names."""

    def register_handler(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register_handler


def _find_module_path_of_node(node: onnx.NodeProto) -> str:
    """Return the path of the layer in the module that a node was exported from, as the exporter noted it in the node.
    If it noted none, return the node's name."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    scopes = [value for key, value in notes.items() if key.endswith("name_scopes")]
    return str(scopes[0] if scopes else node.name or next(name for name in node.output if name))


def make_packing_error(node: onnx.NodeProto, problem: str, remedy: str = USE_OTHER_OPERATIONS) -> ExportError:
    """Return the error for an operator that a packed file cannot contain.

    Args:
        node: the operator. The message names its type and its layer.
        problem: the reason, a sentence.
        remedy: the sentence that says what to do; if empty, a general one is used.
    """
    return ExportError(
        f"The operator {node.op_type} cannot be packed, at {_find_module_path_of_node(node)}: {problem}",
        remedy or USE_OTHER_OPERATIONS,
    )


def multiply_sizes_or_refuse(
    sizes: Iterable[Size], problem: str = "The operator merges two axes whose sizes depend on the number of tokens."
) -> Size:
    """Return the product of sizes (a, b), each of which stands for a * tokens + b. Raise an UnsupportedOperatorError
    with the message `problem` if more than one of the sizes depends on the number of tokens, since the product would
    not have this form."""
    found = multiply_sizes(sizes)
    if found is None:
        raise UnsupportedOperatorError(problem, USE_OTHER_OPERATIONS)
    return found


def compute_outer_middle_inner_sizes(sizes: Sequence[Size], first: int, last: int) -> tuple[Size, Size, Size]:
    """Return three products of an array's sizes: of the axes before `first`, of the axes from `first` to `last`
    inclusive, and of the axes after `last`. Raise an UnsupportedOperatorError if one of these groups has two axes whose
    sizes depend on the number of tokens."""
    outer, middle, inner = sizes[:first], sizes[first : last + 1], sizes[last + 1 :]
    return multiply_sizes_or_refuse(outer), multiply_sizes_or_refuse(middle), multiply_sizes_or_refuse(inner)


def compute_array_strides(sizes: Sequence[Size]) -> list[Size]:
    """Return the stride of each axis of a contiguous array as a pair (a, b), which stands for a * tokens + b. The
    stride of an axis of size 1 is (0, 0).

    Raises:
        UnsupportedOperatorError: a stride would be a product of two sizes that depend on the number of tokens.
    """
    made = []
    for axis in range(len(sizes)):
        # Nothing is moved along an axis of one number.
        follow = "Two axes whose sizes depend on the number of tokens follow another axis."
        made.append((0, 0) if sizes[axis] == _ONE else multiply_sizes_or_refuse(sizes[axis + 1 :], follow))
    return made


def _compute_integer_bound_of_output(lowering: Lowering, node: onnx.NodeProto) -> Bound:
    """Return an upper bound of the integers in an operator's output, computed from the bounds of its inputs; None if it
    is unknown."""
    names, kind = [*filter(None, node.input)], node.op_type
    bounds = [lowering.find_integer_bound(name) for name in names]
    if kind in ("Add", "Sub"):
        return compute_bound_of_sum(*bounds)
    if kind in ("Min", "Max", "Concat"):
        return compute_common_bound(*bounds)
    if kind in ("Where", "Pad"):
        return compute_common_bound(*bounds[1:]) if kind == "Where" else compute_common_bound(bounds[0], *bounds[2:3])
    if kind == "Clip":
        ends = [lowering.read_constant(name).item() if name else 0 for name in (*node.input[1:], "")[:2]]
        if len(node.input) == 3 and all(node.input):
            return (max(map(abs, ends)),)
        return compute_common_bound(bounds[0], (max(0, *ends[:1], *(-end for end in ends[1:])),))
    if kind == "Mod":
        return bounds[1]
    if kind in ("Cast", "CastLike"):
        return (1,) if lowering.graph.values[names[0]][0].dtype == bool else bounds[0]
    if kind in ("ArgMax", "ArgMin"):
        return compute_common_bound(
            *(compute_bound_of_numbers_between([size]) for size in lowering.find_sizes(names[0]))
        )
    if kind == "Mul":
        return _compute_bound_of_product(*bounds)
    if kind in ("ReduceSum", "CumSum"):
        sizes, left = lowering.find_sizes(names[0]), lowering.find_sizes(node.output[0])
        axes = [size for size in sizes if size not in left or sizes.count(size) > left.count(size)]
        return compute_bound_of_sum_over_axes(
            bounds[0], *(sizes if kind == "CumSum" and len(sizes) == 1 else axes or sizes)
        )
    known = _MOVES | {"Abs", "Div", "Neg", "Relu", "ReduceMax", "ReduceMean", "ReduceMin", "Sign"}
    return bounds[0] if kind in known else None


def _compute_bound_of_product(left: Bound, right: Bound) -> Bound:
    """Return an upper bound of a product of integers from the bounds of both factors; None if one of these is unknown.
    A bound is the list of coefficients of a polynomial in the number of tokens."""
    if left is None or right is None:
        return None
    made = [0] * (len(left) + len(right) - 1)
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            made[i + j] += one * other
    return tuple(made)


def _find_source_index_of_each_element(lowering: Lowering, node: onnx.NodeProto) -> list[list[Array]]:
    """Find where an operator that only moves numbers reads each number of its outputs. Return one list for each output.
    The list has one array for each observed run, in the shape of the output, with the position in the flattened first
    input that each element comes from."""
    graph, maps = lowering.graph, []
    integral = onnx.NodeProto()
    integral.CopyFrom(node)
    for run in range(len(graph.lengths)):
        feed = {name: graph.values[name][run] for name in node.input if name}
        source = feed[node.input[0]]
        feed[node.input[0]] = np.arange(source.size, dtype=np.int64).reshape(source.shape)
        maps.append(compute_node_outputs(integral, graph.opset, feed))
    return [list(some) for some in zip(*maps, strict=True)]


def _fit_offset_and_strides(lengths: Sequence[Lengths], index_maps: Sequence[Array]) -> tuple[Size, list[Size]] | None:
    """Find an offset and strides such that each element of an output comes from the position offset + the sum of stride
    * index over all axes.

    Args:
        lengths: the numbers of tokens of the observed runs.
        index_maps: for each run, the positions from which the elements come, in the shape of the output.

    Returns:
        the offset and the strides as pairs (a, b), which stand for a * tokens + b; None if none fit all runs.
    """
    # A text may be so short that nothing is left to move.
    some = [(length, m) for length, m in zip(lengths, index_maps, strict=True) if m.size]
    if not some:
        return None
    lengths, index_maps = [length for length, _ in some], [m for _, m in some]
    offset = fit_number_as_affine_in_length(lengths, [m.ravel()[0] for m in index_maps])
    if offset is None:
        return None
    strides: list[Size] = []
    for axis in range(index_maps[0].ndim):
        seen = [
            (length, int(np.take(m, 1, axis).ravel()[0]) - int(m.ravel()[0]))
            for length, m in zip(lengths, index_maps, strict=True)
            if m.shape[axis] > 1
        ]
        stride = (
            fit_number_as_affine_in_length([length for length, _ in seen], [s for _, s in seen]) if seen else (0, 0)
        )
        if stride is None:
            return None
        strides.append(stride)
    for length, m in zip(lengths, index_maps, strict=True):
        expected = np.full(m.shape, compute_size(offset, length))
        for axis, stride in enumerate(strides):
            along = compute_size(stride, length) * np.arange(m.shape[axis])
            expected = expected + along.reshape([-1 if i == axis else 1 for i in range(m.ndim)])
        if not (expected == m).all():
            return None
    return offset, strides


@register_translation_of(*_MOVES)
def _lower_move(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a node that only moves numbers, such as Reshape or Slice, into a copy or a lookup of the packed
    program. If the order of the numbers stays the same, no operation is needed."""
    if any(not lowering.depends_only_on_token_count(name) for name in node.input[1:] if name):
        if node.op_type.startswith("Gather"):
            _lower_gather(lowering, node)
            return
        raise UnsupportedOperatorError(
            "The operator's indices depend on the token ids, or on the number of tokens other than by a * tokens "
            "+ b with constant a and b. The native engine cannot compute such indices.",
            USE_OTHER_OPERATIONS,
        )
    if node.op_type.startswith("Gather") and not _has_indices_of_one_sign(lowering, node.input[1]):
        # A negative index counts from the end; the engine handles that for each index.
        _lower_gather(lowering, node)
        return
    source, numbers = node.input[0], [v.size for v in lowering.graph.values[node.input[0]]]
    for name, maps in zip(
        [n for n in node.output if n], _find_source_index_of_each_element(lowering, node), strict=True
    ):
        if all(m.size == n and (m.ravel() == np.arange(n)).all() for m, n in zip(maps, numbers, strict=True)):
            lowering.record_existing_value_for(name, lowering.find_or_add_whole_value(source))
            continue
        found = _fit_offset_and_strides(lowering.graph.lengths, maps)
        if found is None:
            if node.op_type == "Gather":
                _lower_gather(lowering, node)
                return
            raise UnsupportedOperatorError(
                "The operator moves numbers in an irregular order, but the native engine can move them only with "
                "a fixed stride along each axis.",
                USE_OTHER_OPERATIONS,
            )
        offset, strides = found
        sizes = lowering.find_sizes(name)
        made = lowering.add_value(name)
        own = compute_array_strides(sizes)
        lowering.add_copy(lowering.find_or_add_whole_value(source), made, sizes, offset, strides, (0, 0), own)


def _has_indices_of_one_sign(lowering: Lowering, name: str) -> bool:
    """Return whether the indices in a graph value are all at least 0, or are all negative, for every number of
    tokens."""
    values = lowering.graph.size_values
    below = {
        values.span.decide_comparison("Less", number, (0, 0))
        for number in values.known[name].numbers_with_smallest_and_largest
    }
    return len(below) == 1 and None not in below


def _lower_gather(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Gather, GatherND or GatherElements node into an operation of the packed program: a lookup of table
    rows, or a selection along one axis."""
    source, indices, out = node.input[0], node.input[1], node.output[0]
    if node.op_type != "Gather":
        axis, places = (
            _find_gather_nd_axis_and_indices if node.op_type == "GatherND" else _find_gather_elements_axis_and_indices
        )(lowering, node)
        view = lowering.find_outer_middle_inner_sizes(source, axis, axis)
        lowering.program.add_operation(
            "gather", [lowering.find_or_add_whole_value(source), places, lowering.add_value(out)], *view
        )
        return
    axis = read_attributes(node).get("axis", 0) % lowering.graph.values[source][0].ndim
    from_zero = not lowering.depends_only_on_token_count(indices) or _has_indices_of_one_sign(lowering, indices)
    is_table = (
        lowering.depends_only_on_token_count(source)
        and axis == 0
        and lowering.graph.values[source][0].dtype == np.float32
    )
    if is_table and from_zero:
        table = lowering.read_constant(source)
        table = np.ascontiguousarray(table.reshape(len(table), -1))
        number = lowering.program.add_constant(table, is_table=True)
        read = lowering.find_or_add_whole_value(indices)
        lowering.program.add_operation("lookup", [number, read, lowering.add_value(out)])
        return
    outer, middle, inner = lowering.find_outer_middle_inner_sizes(source, axis, axis)
    operands = [lowering.find_or_add_whole_value(source), lowering.find_or_add_whole_value(indices)]
    lowering.program.add_operation("gather", [*operands, lowering.add_value(out)], outer, middle, inner)


def _find_gather_nd_axis_and_indices(lowering: Lowering, node: onnx.NodeProto) -> tuple[int, int]:
    """Return the one axis along which a GatherND selects elements, and the index of the program's value that holds its
    indices. Raise an UnsupportedOperatorError if it selects along several axes."""
    sizes, of_indices = lowering.find_sizes(node.input[0]), lowering.find_sizes(node.input[1])
    first, (_, width) = read_attributes(node).get("batch_dims", 0), of_indices[-1]
    named = range(first, first + width)
    axes = [axis for axis in named if sizes[axis] != _ONE] or [first]
    count = multiply_sizes(of_indices[:-1])
    if len(axes) > 1 or any(size != _ONE for size in sizes[:first]) or count is None:
        raise UnsupportedOperatorError(
            "The operator selects elements by indices along several axes, but the native engine can select along "
            "only one axis.",
            USE_OTHER_OPERATIONS,
        )
    made = lowering.program.add_value(INT, [count])
    place = (0, axes[0] - first)
    lowering.add_copy(
        lowering.find_or_add_whole_value(node.input[1]), made, [count], place, [(0, width)], (0, 0), [_ONE]
    )
    return axes[0], made


def _find_gather_elements_axis_and_indices(lowering: Lowering, node: onnx.NodeProto) -> tuple[int, int]:
    """Return the one axis along which a GatherElements selects elements, and the index of the program's value that
    holds its indices. Raise an UnsupportedOperatorError if the indices also differ along another axis."""
    source, indices = node.input
    axis = read_attributes(node).get("axis", 0) % len(lowering.find_sizes(source))
    made_by = {name: one for one in lowering.graph.model.graph.node for name in one.output}.get(indices)
    given = made_by.input[0] if made_by is not None and made_by.op_type == "Expand" else indices
    own, spread = lowering.find_sizes(given), lowering.find_sizes(indices)
    own = [_ONE] * (len(spread) - len(own)) + own
    others = [i for i in range(len(spread)) if i != axis]
    same = own[axis] == spread[axis] and all(own[i] == _ONE for i in others)
    if not same or any(spread[i] != lowering.find_sizes(source)[i] for i in others):
        raise UnsupportedOperatorError(
            "The operator selects elements by indices that depend on the tokens and differ along several axes. "
            "The native engine can select only with indices that differ along one axis.",
            USE_OTHER_OPERATIONS,
        )
    return axis, lowering.find_or_add_whole_value(given)


@register_translation_of("Concat")
def _lower_concat(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Concat node into operations of the packed program: one copy for each operand."""
    out = node.output[0]
    sizes = lowering.find_sizes(out)
    axis = read_attributes(node)["axis"] % len(sizes)
    made, strides, before = lowering.add_value(out), compute_array_strides(sizes), (0, 0)
    for name in node.input:
        own = lowering.find_sizes(name)
        if (0, 0) in own:
            continue
        offset = multiply_sizes_or_refuse(
            [before, strides[axis]],
            "A size is a product of two sizes that depend on the number of tokens, which the engine does not support.",
        )
        scalar = lowering.add_scalar_if_all_elements_are_equal(name)
        steps = compute_array_strides(own) if scalar is None else [(0, 0)] * len(own)
        read = lowering.find_or_add_whole_value(name) if scalar is None else scalar
        lowering.add_copy(read, made, own, (0, 0), steps, offset, strides)
        before = (before[0] + own[axis][0], before[1] + own[axis][1])


@register_translation_of("Pad")
def _lower_pad(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Pad node with a constant into two operations of the packed program: fill the result with the
    constant, and copy the input into it. A negative amount of padding removes numbers."""
    attributes = read_attributes(node)
    if attributes.get("mode", b"constant") != b"constant":
        raise UnsupportedOperatorError(
            f"The padding mode is {attributes['mode'].decode(errors='replace')}, but the native engine pads only "
            "with a constant.",
            "Use F.pad with mode='constant'; or use the bundle with onnxruntime.",
        )
    out, source = node.output[0], node.input[0]
    rank = lowering.graph.values[source][0].ndim
    axes_name, value_name = lowering.find_input_name_or_none(node, 3), lowering.find_input_name_or_none(node, 2)
    axes = list(range(rank)) if axes_name is None else [int(a) % rank for a in lowering.read_constant(axes_name)]
    pads = lowering.graph.values[node.input[1]]
    value = 0.0 if value_name is None else float(lowering.read_constant(value_name).ravel()[0])
    made, kind = lowering.add_value(out), lowering.find_type(out)
    lowering.program.add_operation("fill", [made], convert_float_to_bits(value) if kind == FLOAT else int(value))
    before, shift, sizes = [(0, 0)] * rank, [(0, 0)] * rank, lowering.find_sizes(source)
    lengths = lowering.graph.lengths
    for i, axis in enumerate(axes):
        begins, ends = [int(p[i]) for p in pads], [int(p[i + len(axes)]) for p in pads]
        shapes = [v.shape[axis] for v in lowering.graph.values[source]]
        found = [
            fit_number_as_affine_in_length(lengths, [max(b, 0) for b in begins]),
            fit_number_as_affine_in_length(lengths, [-min(b, 0) for b in begins]),
            fit_number_as_affine_in_length(
                lengths, [n + min(b, 0) + min(e, 0) for n, b, e in zip(shapes, begins, ends, strict=True)]
            ),
        ]
        if any(one is None for one in found):
            raise UnsupportedOperatorError(
                "The size of the padding depends on the number of tokens other than by a * tokens + b with "
                "constant a and b. The native engine cannot compute such a size.",
                "Pad by a fixed number of steps; or use the bundle with onnxruntime.",
            )
        before[axis], shift[axis], sizes[axis] = (one for one in found if one is not None)
    strides, own = compute_array_strides(lowering.find_sizes(out)), compute_array_strides(lowering.find_sizes(source))
    offsets = []
    for amounts, steps in ((shift, own), (before, strides)):
        squared = (
            "A size is a product of two sizes that depend on the number of tokens, which the engine does not support."
        )
        parts = [multiply_sizes_or_refuse(pair, squared) for pair in zip(amounts, steps, strict=True)]
        offsets.append((sum(a for a, _ in parts), sum(b for _, b in parts)))
    lowering.add_copy(lowering.find_or_add_whole_value(source), made, sizes, offsets[0], own, offsets[1], strides)


@register_translation_of(*BINARY)
def _lower_binary(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate an elementwise node with two operands, such as Add, into an operation of the packed program. Adding 0
    or multiplying by 1 needs no operation."""
    left, out = node.input[0], node.output[0]
    if len(node.input) == 1:
        lowering.record_existing_value_for(out, lowering.find_or_add_whole_value(left))
        return
    neutral = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}.get(node.op_type)
    for one, other in ((left, node.input[1]), (node.input[1], left))[: 2 if node.op_type in ("Add", "Mul") else 1]:
        if neutral is not None and len(node.input) == 2 and lowering.depends_only_on_token_count(other):
            same = all((v == neutral).all() for v in lowering.graph.values[other])
            if same and lowering.find_sizes(one) == lowering.find_sizes(out):
                lowering.record_existing_value_for(out, lowering.find_or_add_whole_value(one))
                return
    if len(node.input) > 2:
        raise UnsupportedOperatorError(
            f"The operator has {len(node.input)} operands, but the native engine takes exactly two.",
            "Apply the operation to two tensors at a time; or use the bundle with onnxruntime.",
        )
    if node.op_type == "Pow" and lowering.find_type(left) != lowering.find_type(node.input[1]):
        _lower_power_with_integer_exponent(lowering, node)
        return
    made = lowering.add_value(out)
    operands, words = lowering.find_elementwise_operands_and_parameters([left, node.input[1]], out)
    lowering.program.add_operation("binary", [*operands, made], BINARY[node.op_type], *words)


def _lower_power_with_integer_exponent(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Pow node with a float base and an integer exponent into operations of the packed program: the
    exponent is cast to float first."""
    left, right, out = node.input[0], node.input[1], node.output[0]
    if lowering.find_type(left) != FLOAT:
        raise UnsupportedOperatorError(
            "The operator raises an integer to a power that is a float, but the native engine needs a float as "
            "the base.",
            "Convert the base to float in forward, x.float(); or use the bundle with onnxruntime.",
        )
    if (bound := lowering.find_integer_bound(right)) is None:
        raise UnsupportedOperatorError(
            f"The exponent is an integer that may exceed {MOST_WHOLE:,}. The native engine computes powers in "
            "float32, which does not hold all larger integers exactly.",
            COMPUTE_IN_FLOAT32,
        )
    lowering.limit_text_length_so_that_integers_fit(bound, MOST_WHOLE, COMPUTE_IN_FLOAT32)
    program = lowering.program
    (base, exponent), words = lowering.find_elementwise_operands_and_parameters([left, right], out)
    power, constant = program.add_value(FLOAT, program.values[exponent].factors), program.values[exponent].constant
    if constant is None:
        lowering.add_unary_operation("Cast", exponent, power)
    else:
        power = program.add_constant(constant.astype(np.float32))
    program.add_operation("binary", [base, power, lowering.add_value(out)], Binary.POW, *words)


@register_translation_of("Where")
def _lower_where(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Where node into an operation of the packed program. No operation is needed if the node chooses the
    same operand for all texts and all elements."""
    condition, out = node.input[0], node.output[0]
    if lowering.depends_only_on_token_count(condition):
        values = lowering.graph.values[condition]
        for chosen, all_are in ((node.input[1], all(v.all() for v in values)),
                                (node.input[2], not any(v.any() for v in values))):  # fmt: skip
            if (
                all_are
                and lowering.find_sizes(chosen) == lowering.find_sizes(out)
                and not lowering.depends_only_on_token_count(chosen)
            ):
                lowering.record_existing_value_for(out, lowering.find_or_add_whole_value(chosen))
                return
    made = lowering.add_value(out)
    operands, words = lowering.find_elementwise_operands_and_parameters(list(node.input), out)
    lowering.program.add_operation("where", [*operands, made], *words)


@register_translation_of(*(UNARY.keys() - {"Cast", "Clip", "GeluTanh"}))
def _lower_unary(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate an elementwise node with one operand, such as Exp, into an operation of the packed program."""
    attributes = read_attributes(node)
    kind = node.op_type
    alpha = {"LeakyRelu": 0.01, "Elu": 1.0, "HardSigmoid": 0.2}.get(kind, 0.0)
    if kind == "Gelu" and attributes.get("approximate", b"none") == b"tanh":
        kind = "GeluTanh"
    if kind in ("Abs", "Neg", "Relu") and lowering.find_type(node.input[0]) == INT:
        _lower_integer_unary(lowering, node)
        return
    wanted, named = (BOOL, "bools") if kind == "Not" else (FLOAT, "floats")
    if lowering.find_type(node.input[0]) != wanted:
        raise UnsupportedOperatorError(
            f"The native engine computes this operator only for {named}, but the input {node.input[0]} has another "
            "type.",
            f"Convert the input to {named} in forward; or use the bundle with onnxruntime.",
        )
    source = lowering.find_or_add_whole_value(node.input[0])
    lowering.add_unary_operation(
        kind, source, lowering.add_value(node.output[0]), attributes.get("alpha", alpha), attributes.get("beta", 0.5)
    )


def _lower_integer_unary(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Neg, Abs or Relu node of integers into operations of the packed program that compute 0 - x, max(x,
    -x) or max(x, 0)."""
    out, program, zero = node.output[0], lowering.program, lowering.program.add_constant(np.array([0]))
    (value,), (*sizes, axes) = lowering.find_elementwise_operands_and_parameters([node.input[0]], out)
    other = zero
    if node.op_type != "Relu":
        other = program.add_value(INT, lowering.find_sizes(out))
        program.add_operation("binary", [zero, value, other], Binary.SUB, *sizes, 0, axes)
    if node.op_type == "Neg":
        lowering.record_existing_value_for(out, other)
        return
    everywhere = sum(1 << i for i, size in enumerate(sizes) if size != _ONE) if other != zero else 0
    program.add_operation("binary", [value, other, lowering.add_value(out)], Binary.MAX, *sizes, axes, everywhere)


@register_translation_of("Clip")
def _lower_clip(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Clip node into operations of the packed program: for floats one operation, for integers a maximum and
    a minimum."""
    # Before opset 11 the bounds are attributes.
    attributes = read_attributes(node)
    bounds = [
        attributes.get(word, default) if name is None else float(lowering.read_constant(name).ravel()[0])
        for name, word, default in zip(
            (lowering.find_input_name_or_none(node, i) for i in (1, 2)), ("min", "max"), (-np.inf, np.inf), strict=True
        )
    ]
    # Where min is above max, ONNX gives max.
    bounds[0] = min(bounds)
    out, kind = node.output[0], lowering.find_type(node.output[0])
    value = lowering.find_or_add_whole_value(node.input[0])
    if kind == FLOAT:
        lowering.add_unary_operation("Clip", value, lowering.add_value(out), *bounds)
        return
    _, words = lowering.find_elementwise_operands_and_parameters([node.input[0]], out)
    for name, bound in zip(("Max", "Min"), bounds, strict=True):
        if np.isfinite(bound):
            limit = lowering.program.add_constant(np.array([bound]).clip(-LARGEST, LARGEST).astype("<i4"))
            made = lowering.program.add_value(kind, lowering.find_sizes(out))
            lowering.program.add_operation("binary", [value, limit, made], BINARY[name], *words, 0)
            value = made
    lowering.record_existing_value_for(out, value)


@register_translation_of("Mod")
def _lower_mod(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Mod node of integers with a positive divisor into operations of the packed program. They compute x -
    x / divisor * divisor, which has the sign of x. Where the node's result must be at least 0, further operations add
    the divisor and compute the remainder again."""
    left, right, out = node.input[0], node.input[1], node.output[0]
    if lowering.find_type(left) != INT:
        raise UnsupportedOperatorError(
            f"The input {left} has floats, but the native engine computes remainders of integers only.",
            "Compute x - (x / y).floor() * y in forward; or use the bundle with onnxruntime.",
        )
    if (lowering.read_constant(right) < 1).any():
        raise UnsupportedOperatorError(
            "The divisor of the remainder is smaller than 1, but the native engine needs a divisor of at least 1.",
            "Use a positive divisor in forward; or use the bundle with onnxruntime.",
        )
    known, program = lowering.graph.size_values, lowering.program
    from_zero = left in ("tokens", "second_tokens") or (
        left in known.known
        and all(
            known.span.decide_comparison("GreaterOrEqual", number, (0, 0))
            for number in known.known[left].numbers_with_smallest_and_largest
        )
    )
    (value, by), (*sizes, of_value, of_divisor) = lowering.find_elementwise_operands_and_parameters([left, right], out)
    everywhere = sum(1 << i for i, size in enumerate(sizes) if size != _ONE)

    def add_integer_operation(
        kind: int, left: int, right: int, left_axes: int | Size, right_axes: int | Size, result: int | None = None
    ) -> int:
        result = program.add_value(INT, lowering.find_sizes(out)) if result is None else result
        program.add_operation("binary", [left, right, result], kind, *sizes, left_axes, right_axes)
        return result

    def add_remainder(value: int, value_axes: int | Size, result: int | None) -> int:
        whole = add_integer_operation(
            Binary.MUL, add_integer_operation(Binary.DIV, value, by, value_axes, of_divisor), by, everywhere, of_divisor
        )
        return add_integer_operation(Binary.SUB, value, whole, value_axes, everywhere, result)

    if from_zero or read_attributes(node).get("fmod"):
        add_remainder(value, of_value, lowering.add_value(out))
        return
    signed = add_remainder(value, of_value, None)
    add_remainder(
        add_integer_operation(Binary.ADD, signed, by, everywhere, of_divisor), everywhere, lowering.add_value(out)
    )


@register_translation_of("Cast", "CastLike")
def _lower_cast(lowering: Lowering, node: onnx.NodeProto) -> None:
    source, out = node.input[0], node.output[0]
    if lowering.find_type(source) == lowering.find_type(out):
        lowering.record_existing_value_for(out, lowering.find_or_add_whole_value(source))
        return
    read = lowering.find_or_add_whole_value(source)
    lowering.add_unary_operation("Cast", read, lowering.add_value(out))


@register_translation_of("OneHot")
def _lower_one_hot(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a OneHot node into a lookup in a table of the packed program. The rows of the table are the one-hot
    rows."""
    depth = int(lowering.read_constant(node.input[1]).ravel()[0])
    off, on = (float(number) for number in lowering.read_constant(node.input[2]))
    axis = read_attributes(node).get("axis", -1)
    if axis not in (-1, lowering.graph.values[node.input[0]][0].ndim):
        raise UnsupportedOperatorError(
            f"The attribute axis is {axis}, but the native engine adds the axis of one-hot rows only at the end.",
            "Move the axis after F.one_hot; or use the bundle with onnxruntime.",
        )
    if depth > 1 << 12:
        raise UnsupportedOperatorError(
            f"The one-hot rows have {depth:,} numbers, but the native engine supports at most 4,096.",
            "Use an nn.Embedding in place of F.one_hot and a matrix; or use the bundle with onnxruntime.",
        )
    table = np.full((depth, depth), off, np.float32)
    np.fill_diagonal(table, on)
    number = lowering.program.add_constant(table, is_table=True)
    read, out = lowering.find_or_add_whole_value(node.input[0]), lowering.add_value(node.output[0])
    floats = out
    if lowering.find_type(node.output[0]) != FLOAT:
        if max(abs(off), abs(on)) > MOST_WHOLE:
            raise UnsupportedOperatorError(
                f"The one-hot rows have an integer above {MOST_WHOLE:,}, the largest that float32 and thus the "
                "native engine hold exactly.",
                COMPUTE_IN_FLOAT32,
            )
        floats = lowering.program.add_value(FLOAT, lowering.find_sizes(node.output[0]))
    lowering.program.add_operation("lookup", [number, read, floats])
    if floats != out:
        lowering.add_unary_operation("Cast", floats, out)
