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
from pocketrnn_export.forms.packed_program.float32_in_place_of_double import (
    MOST_WHOLE,
    Precision,
    makes_integers_from_integers,
)
from pocketrnn_export.forms.packed_program.graph_observation import (
    ObservedGraph,
    evaluate_node,
    find_nodes_that_answer_needs,
)
from pocketrnn_export.forms.packed_program.integer_bounds import (
    LARGEST,
    Bound,
    compute_bound_between,
    find_most_tokens,
    join_bounds,
    multiply_bound_by_sizes,
    sum_bounds,
)
from pocketrnn_export.forms.packed_program.packed_program import (
    BOOL,
    COMPUTE_IN_FLOAT32,
    FLOAT,
    INT,
    USE_OTHER_OPERATIONS,
    Program,
    UnsupportedOperatorError,
    convert_float_to_bits,
)
from pocketrnn_export.forms.packed_program.pair_size_factors import Lengths, compute_size
from pocketrnn_export.forms.packed_program.previous_step_folding import fold_previous_step_into_layers
from pocketrnn_export.forms.packed_program.size_dependent_values import (
    Numbers,
    Size,
    fit_affine,
    multiply_sizes,
    read_attributes,
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
    """Translates a graph into a program, one operator after the other.

    Attributes:
        graph: the observed graph.
        program: the program that is made.
        known: the program's values by the names of the graph's values.
    """

    def __init__(self, graph: ObservedGraph) -> None:
        self.graph = graph
        self.program = Program(graph.state_size, graph.channels, graph.features, graph.second)
        self.known: dict[str, int] = {"samples" if graph.channels else "tokens": 0}
        # The bounds of integers, by the names of the graph's values; also of floats that are integers.
        self.bounds: dict[str, Bound] = {"tokens": (max(0, graph.ids - 1),)}
        self.precision = Precision(graph, self.find_integer_bound)
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
        for node in find_nodes_that_answer_needs(self.graph.model.graph.node, answers, given=known):
            handler = HANDLERS.get(node.op_type)
            try:
                if handler is None:
                    raise UnsupportedOperatorError("The native engine does not have this operator.")
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
                    f"The engine does not support these inputs or attributes ({type(error).__name__}: "
                    f"{first_line(error)}).",
                ) from error
        for name in answers:
            output = self.add_whole_value(name)
            if self.program.values[output].constant is not None or output == 0:
                raise ExportError(
                    f"The graph's output {name} would be the same for every text.",
                    "Let forward compute its answer from the tokens.",
                )
            self.program.outputs.append(output)
        self.program.turns = frozenset(self.graph.size_values.span.turns)
        if self.graph.second is None:
            fold_previous_step_into_layers(self.program)

    def find_integer_bound(self, name: str) -> Bound:
        """Return the bound of a value's integers. Return None if the bound is unknown, or if some numbers are not
        integers."""
        if not self.depends_only_on_size(name):
            return self.bounds.get(name)
        known = self.graph.size_values.known[name]
        if known == Numbers(None):
            array = np.abs(self.graph.values[name][0])
            return (int(array.max()),) if np.isfinite(array).all() and (array == np.rint(array)).all() else None
        is_whole = all(np.isfinite(b) and b == int(b) for _, b in known.extreme_numbers)
        return compute_bound_between(known.extreme_numbers) if is_whole else None

    def limit_text_length(self, bound: Bound, largest: int = LARGEST, remedy: str = USE_OTHER_OPERATIONS) -> None:
        """Limit how many tokens a text may have, so that no integer with this bound exceeds `largest`.

        Raises:
            ExportError: only very short texts would be left.
        """
        span = self.graph.size_values.span
        most = span.end if bound is None else find_most_tokens(bound, span.end, largest)
        if most < min(span.end, max(_FEWEST, span.least)):
            raise ExportError(
                f"In long texts, integers may exceed {largest:,}. The engine cannot represent all larger integers.",
                remedy,
            )
        if most < min(span.end, _MANY):
            self.program.most = min(most, self.program.most or most)

    def _record_precision_of_floats(self, node: onnx.NodeProto) -> None:
        """Record how exactly float32 holds the floats of an operator's output, and the bounds of those that are always
        integers. Raise an UnsupportedOperatorError for an operator that may choose another result in float32."""
        floats = [name for name in node.input if name and self.graph.values[name][0].dtype.kind == "f"]
        outputs = [name for name in node.output if name and not self.depends_only_on_size(name)]
        is_whole = makes_integers_from_integers(node) and all(
            self.find_integer_bound(name) is not None for name in floats
        )
        bound = None
        if is_whole and outputs and self.graph.values[outputs[0]][0].dtype.kind == "f":
            bound = _compute_output_bound(self, node)
            self.bounds |= dict.fromkeys(outputs, bound)
        self.limit_text_length(
            self.precision.record_precision_and_find_needed_bound(node, bound), MOST_WHOLE, COMPUTE_IN_FLOAT32
        )

    def _record_bounds_of_integers(self, node: onnx.NodeProto) -> None:
        """Record the bounds of the integers in an operator's outputs. Limit the length of texts so that the engine can
        hold the integers."""
        for name in filter(None, node.output):
            if not self.depends_only_on_size(name) and self.graph.values[name][0].dtype.kind in "iu":
                self.bounds[name] = bound = _compute_output_bound(self, node)
                # Where the bound is not known, the engine itself refuses texts whose integers exceed 32 bits.
                self.limit_text_length(bound)

    def _refuse_inexpressible_operator(self, node: onnx.NodeProto) -> None:
        """Raise an UnsupportedOperatorError if the engine's operations cannot express an operator."""
        if not node.input or not node.input[0]:
            raise UnsupportedOperatorError("The operator's first input is missing.")
        self._refuse_inexact_operator(node)
        for name, value in read_attributes(node).items():
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(number, float) and not np.isfinite(number) for number in numbers):
                raise UnsupportedOperatorError(f"The attribute {name} is not finite.")
            rank = self.graph.values[node.input[0]][0].ndim
            if name == "axis" and not -rank - 1 <= value <= rank:
                raise UnsupportedOperatorError(f"The attribute axis is {value}, but the input does not have this axis.")
            if name in _FLAGS and value not in (0, 1):
                raise UnsupportedOperatorError(f"The attribute {name} is {value}, not 0 or 1.")
        for name in filter(None, node.output):
            kind = self.graph.values[name][0].dtype
            if self.depends_only_on_size(name) or kind.kind not in "iu" or kind.itemsize >= 4:
                continue
            source = self.graph.values[node.input[0]][0].dtype
            if node.op_type not in _NO_ARITHMETIC or (node.op_type.startswith("Cast") and source not in (bool, kind)):
                raise UnsupportedOperatorError(
                    f"The operator computes with {kind}, which wraps around on overflow, but the engine does not."
                )

    def _refuse_inexact_operator(self, node: onnx.NodeProto) -> None:
        """Raise an UnsupportedOperatorError if the engine's result of an operator may differ from the graph's for some
        number of tokens."""
        names = [*filter(None, node.input)]
        if self.graph.of_tokens.intersection(names):
            return
        kinds = [self.graph.values[name][0].dtype for name in names if name in self.graph.values]
        made = self.graph.values[next(filter(None, node.output))][0].dtype
        if made == np.float16:
            raise UnsupportedOperatorError(
                "The operator computes with the number of tokens in float16, which the engine does not have."
            )
        if made.kind in "iu" and any(kind.kind == "f" for kind in kinds) and node.op_type in ("Cast", "CastLike"):
            raise UnsupportedOperatorError(
                "The operator computes an integer from the number of tokens in floating point, and the engine may "
                "round this differently."
            )
        rounded = made.kind == "b" or node.op_type in ("Ceil", "Floor", "Mod", "Round", "Sign")
        if rounded and any(kind == np.float64 for kind in kinds):
            raise UnsupportedOperatorError(
                "The operator compares the number of tokens in float64, which the engine does not have."
            )

    def depends_only_on_size(self, name: str) -> bool:
        """Return whether the numbers of a value are a * tokens + b, for every number of tokens and whatever the tokens
        are."""
        return name in self.graph.size_values.known

    def read_constant(self, name: str) -> Array:
        """Return a value that must be the same for every text.

        Raises:
            UnsupportedOperatorError: the value differs between texts.
        """
        values = self.graph.values[name]
        if not self.depends_only_on_size(name):
            raise UnsupportedOperatorError(
                f"The value {name} must be the same for every text, but depends on the tokens."
            )
        if any(v.shape != values[0].shape or v.tobytes() != values[0].tobytes() for v in values[1:]):
            raise UnsupportedOperatorError(
                f"The value {name} must be the same for every text, but depends on the number of tokens."
            )
        return values[0]

    def find_optional_input(self, node: onnx.NodeProto, index: int) -> str | None:
        """Return the name of an optional input of a node, or None if the node does not have this input."""
        return node.input[index] if index < len(node.input) and node.input[index] else None

    def find_sizes(self, name: str) -> list[Size]:
        """Return the sizes of a graph value's axes, each as (a, b), which stands for a * tokens + b."""
        return self.graph.find_sizes(name)

    def find_type(self, name: str) -> int:
        """Return the number type that a value of the graph has in the program: FLOAT, INT or BOOL.

        Raises:
            UnsupportedOperatorError: the engine does not have the value's type.
        """
        kind = self.graph.values[name][0].dtype
        if kind.kind not in _TYPES or kind in (np.uint32, np.uint64):
            raise UnsupportedOperatorError(f"{name} has the type {kind}, which the engine does not have.")
        return _TYPES[kind.kind]

    def add_value(self, name: str) -> int:
        """Add a value to the program for a value of the graph. Return its number in the program."""
        self.known[name] = self.program.add_value(self.find_type(name), self.find_sizes(name))
        return self.known[name]

    def add_scalar(self, name: str) -> int | None:
        """If all elements of a graph value are equal, add a program value of one element, and return its number in the
        program; else return None."""
        if not self.depends_only_on_size(name):
            return None
        numbers = [value.ravel() for value in self.graph.values[name]]
        if any(n.size == 0 or not (n == n[0]).all() for n in numbers):
            return None
        firsts = [n[0] for n in numbers]
        kind = self.find_type(name)
        if kind == INT:
            self.limit_text_length(self.find_integer_bound(name))
        if len(set(firsts)) == 1:
            return self.program.add_constant(np.array([firsts[0]]).astype(["<f4", "<i4", "?"][kind]))
        size = None if kind == BOOL else fit_affine(self.graph.lengths, firsts)
        if size is None:
            return None
        made = self.program.add_value(kind, [])
        self.program.add("count", [made], _ONE, _ONE, _ONE, size, 0)
        return made

    def add_whole_value(self, name: str) -> int:
        """Add a program value that holds all elements of a graph value, unless there is one. Return its number in the
        program.

        Raises:
            UnsupportedOperatorError: the program cannot compute the value from the number of tokens.
        """
        if name in self.known:
            return self.known[name]
        if not self.depends_only_on_size(name):
            raise UnsupportedOperatorError(f"The engine does not compute the value {name}.")
        values = self.graph.values[name]
        if self.find_type(name) == INT:
            self.limit_text_length(self.find_integer_bound(name))
        if all(v.shape == values[0].shape and v.tobytes() == values[0].tobytes() for v in values[1:]):
            array = values[0]
            self.known[name] = self.program.add_constant(array if array.ndim == 2 else array.reshape(-1))
            return self.known[name]
        scalar = self.add_scalar(name)
        made = self.program.add_value(self.find_type(name), self.find_sizes(name))
        if scalar is not None:
            sizes = self.find_sizes(name)
            self.add_copy(scalar, made, sizes, (0, 0), [(0, 0)] * len(sizes), (0, 0), compute_array_strides(sizes))
        else:
            self._add_index_range(name, made)
        self.known[name] = made
        return made

    def _add_index_range(self, name: str, target: int) -> None:
        """Add an operation that writes a graph value whose numbers increase by a fixed step along one axis, and are
        equal along the other axes."""
        values, sizes = self.graph.values[name], self.find_sizes(name)
        longest = values[-1]
        for axis in range(longest.ndim):
            if any(0 in v.shape[:axis] + v.shape[axis + 1 :] or not np.isfinite(v).all() for v in values):
                continue
            first = [v[tuple(slice(None) if i == axis else 0 for i in range(v.ndim))] for v in values]
            if len(first[-1]) < 2 or not all(map(len, first)):
                continue
            step = int(first[-1][1]) - int(first[-1][0])
            start = fit_affine(self.graph.lengths, [f[0] for f in first])
            if start is None:
                continue
            if all(
                (v == np.expand_dims(f[0] + step * np.arange(len(f)), tuple(range(1, v.ndim - axis)))).all()
                for v, f in zip(values, first, strict=True)
            ):
                outer, inner = multiply_sizes(sizes[:axis]), multiply_sizes(sizes[axis + 1 :])
                if outer is not None and inner is not None:
                    self.program.add("count", [target], outer, sizes[axis], inner, start, step)
                    return
        raise UnsupportedOperatorError(f"The engine cannot compute {name} from the number of tokens.")

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
        """Add an operation that copies numbers from one value into another. In each value, the number with some indices
        is at offset + sum of strides * indices. Axes of size 1 need no strides.

        Raises:
            UnsupportedOperatorError: there are too many axes.
        """
        axes = [axis for axis in zip(sizes, source_strides, target_strides, strict=True) if axis[0] != _ONE]
        if len(axes) > _MOST_MOVED_AXES:
            raise UnsupportedOperatorError(f"The operator moves more than {_MOST_MOVED_AXES} axes.")
        counts, read, written = zip(*[(_ONE, (0, 0), (0, 0))] * (_MOST_MOVED_AXES - len(axes)), *axes, strict=True)
        words: list[int | Size] = [*counts, source_offset, *read, target_offset, *written]
        self.program.add("copy", [source, target], *words)

    def reuse_value(self, name: str, value: int) -> None:
        """Let a graph value use an existing value of the program, which has the same numbers in the same order."""
        self.known[name] = value

    def find_elementwise_operands_and_words(self, names: Sequence[str], out: str) -> tuple[list[int], list[int | Size]]:
        """Return two lists for an elementwise operation: the numbers of its operands in the program, and the integers
        that follow them in the file. These integers are four sizes, and for each operand a bit mask of the axes that it
        has."""
        sizes = self.find_sizes(out)
        operands, there = [], []
        for name in names:
            scalar = self.add_scalar(name)
            own = self.find_sizes(name)
            own = [_ONE] * (len(sizes) - len(own)) + own
            operands.append(self.add_whole_value(name) if scalar is None else scalar)
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
            raise UnsupportedOperatorError(f"The operator needs more than {_MOST_AXES} axes.")
        axes = [(_ONE, (False,) * len(names))] * (_MOST_AXES - len(axes)) + axes
        masks = [sum(1 << i for i, (_, pattern) in enumerate(axes) if pattern[k]) for k in range(len(names))]
        return operands, [*(size for size, _ in axes), *masks]

    def find_outer_middle_inner_sizes(self, name: str, first: int, last: int) -> tuple[Size, Size, Size]:
        """Return the sizes of a value's axes as three products: of the axes before `first`, of the axes `first` to
        `last`, both included, and of the axes after `last`.

        Raises:
            UnsupportedOperatorError: two axes of the text's length become one.
        """
        return compute_outer_middle_inner_sizes(self.find_sizes(name), first, last)

    def add_unary(self, kind: str, source: int, target: int, alpha: float = 0.0, beta: float = 0.0) -> None:
        """Add the elementwise operation target = kind(source)."""
        self.program.add(
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


def lowers(*names: str) -> Callable[[Handler], Handler]:
    """Register the decorated function as the translation of the operators with these names."""

    def register_handler(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register_handler


def _find_node_place(node: onnx.NodeProto) -> str:
    """Return a node's path in the module, as the exporter wrote it. Without a path, return the node's name."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    scopes = [value for key, value in notes.items() if key.endswith("name_scopes")]
    return str(scopes[0] if scopes else node.name or next(name for name in node.output if name))


def make_packing_error(node: onnx.NodeProto, problem: str, remedy: str = USE_OTHER_OPERATIONS) -> ExportError:
    """Return the error for an operator that a packed file cannot contain, with the reason and what to do."""
    return ExportError(
        f"The operator {node.op_type} cannot be packed, at {_find_node_place(node)}: {problem}",
        remedy or USE_OTHER_OPERATIONS,
    )


def multiply_or_refuse(
    sizes: Iterable[Size], problem: str = "The operator merges two axes whose sizes depend on the number of tokens."
) -> Size:
    """Return the product of sizes. Raise an UnsupportedOperatorError if more than one size depends on the number of
    tokens."""
    found = multiply_sizes(sizes)
    if found is None:
        raise UnsupportedOperatorError(problem)
    return found


def compute_outer_middle_inner_sizes(sizes: Sequence[Size], first: int, last: int) -> tuple[Size, Size, Size]:
    """Return the sizes of an array's axes as three products: of the axes before `first`, of the axes `first` to `last`,
    both included, and of the axes after `last`."""
    outer, middle, inner = sizes[:first], sizes[first : last + 1], sizes[last + 1 :]
    return multiply_or_refuse(outer), multiply_or_refuse(middle), multiply_or_refuse(inner)


def compute_array_strides(sizes: Sequence[Size]) -> list[Size]:
    """Return the stride of each axis of a contiguous array; (0, 0) for an axis of size 1.

    Raises:
        UnsupportedOperatorError: a stride would be a product of two numbers of tokens.
    """
    made = []
    for axis in range(len(sizes)):
        # Nothing is moved along an axis of one number.
        follow = "Two axes whose sizes depend on the number of tokens follow another axis."
        made.append((0, 0) if sizes[axis] == _ONE else multiply_or_refuse(sizes[axis + 1 :], follow))
    return made


def _compute_output_bound(lowering: Lowering, node: onnx.NodeProto) -> Bound:
    """Return the bound of the integers in an operator's output, or None if the bound is unknown."""
    names, kind = [*filter(None, node.input)], node.op_type
    bounds = [lowering.find_integer_bound(name) for name in names]
    if kind in ("Add", "Sub"):
        return sum_bounds(*bounds)
    if kind in ("Min", "Max", "Concat"):
        return join_bounds(*bounds)
    if kind in ("Where", "Pad"):
        return join_bounds(*bounds[1:]) if kind == "Where" else join_bounds(bounds[0], *bounds[2:3])
    if kind == "Clip":
        ends = [lowering.read_constant(name).item() if name else 0 for name in (*node.input[1:], "")[:2]]
        if len(node.input) == 3 and all(node.input):
            return (max(map(abs, ends)),)
        return join_bounds(bounds[0], (max(0, *ends[:1], *(-end for end in ends[1:])),))
    if kind == "Mod":
        return bounds[1]
    if kind in ("Cast", "CastLike"):
        return (1,) if lowering.graph.values[names[0]][0].dtype == bool else bounds[0]
    if kind in ("ArgMax", "ArgMin"):
        return join_bounds(*(compute_bound_between([size]) for size in lowering.find_sizes(names[0])))
    if kind == "Mul":
        return _multiply_bounds(*bounds)
    if kind in ("ReduceSum", "CumSum"):
        sizes, left = lowering.find_sizes(names[0]), lowering.find_sizes(node.output[0])
        axes = [size for size in sizes if size not in left or sizes.count(size) > left.count(size)]
        return multiply_bound_by_sizes(bounds[0], *(sizes if kind == "CumSum" and len(sizes) == 1 else axes or sizes))
    known = _MOVES | {"Abs", "Div", "Neg", "Relu", "ReduceMax", "ReduceMean", "ReduceMin", "Sign"}
    return bounds[0] if kind in known else None


def _multiply_bounds(left: Bound, right: Bound) -> Bound:
    """Return the bound of a product, from the bounds of both factors."""
    if left is None or right is None:
        return None
    made = [0] * (len(left) + len(right) - 1)
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            made[i + j] += one * other
    return tuple(made)


def _find_source_indices(lowering: Lowering, node: onnx.NodeProto) -> list[list[Array]]:
    """For an operator that moves elements of its first input, return a list for each output. The list has an array for
    each observed length: the positions of the output's elements in the flat first input."""
    graph, maps = lowering.graph, []
    integral = onnx.NodeProto()
    integral.CopyFrom(node)
    for run in range(len(graph.lengths)):
        feed = {name: graph.values[name][run] for name in node.input if name}
        source = feed[node.input[0]]
        feed[node.input[0]] = np.arange(source.size, dtype=np.int64).reshape(source.shape)
        maps.append(evaluate_node(integral, graph.opset, feed))
    return [list(some) for some in zip(*maps, strict=True)]


def _fit_strides(lengths: Sequence[Lengths], index_maps: Sequence[Array]) -> tuple[Size, list[Size]] | None:
    """Find an offset and strides that describe index maps. A map is an array that says for each output element which
    input element it is: offset + the sum of strides * its own indices. Return them, or None if none fit at every
    length."""
    # A text may be so short that nothing is left to move.
    some = [(length, m) for length, m in zip(lengths, index_maps, strict=True) if m.size]
    if not some:
        return None
    lengths, index_maps = [length for length, _ in some], [m for _, m in some]
    offset = fit_affine(lengths, [m.ravel()[0] for m in index_maps])
    if offset is None:
        return None
    strides: list[Size] = []
    for axis in range(index_maps[0].ndim):
        seen = [
            (length, int(np.take(m, 1, axis).ravel()[0]) - int(m.ravel()[0]))
            for length, m in zip(lengths, index_maps, strict=True)
            if m.shape[axis] > 1
        ]
        stride = fit_affine([length for length, _ in seen], [s for _, s in seen]) if seen else (0, 0)
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


@lowers(*_MOVES)
def _lower_move(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate an operator that only moves numbers."""
    if any(not lowering.depends_only_on_size(name) for name in node.input[1:] if name):
        if node.op_type.startswith("Gather"):
            _lower_gather(lowering, node)
            return
        raise UnsupportedOperatorError(
            "The indices depend on the token ids, or on the number of tokens in another way than a * tokens + b."
        )
    if node.op_type.startswith("Gather") and not _has_indices_of_one_sign(lowering, node.input[1]):
        # A negative index counts from the end; the engine handles that for each index.
        _lower_gather(lowering, node)
        return
    source, numbers = node.input[0], [v.size for v in lowering.graph.values[node.input[0]]]
    for name, maps in zip([n for n in node.output if n], _find_source_indices(lowering, node), strict=True):
        if all(m.size == n and (m.ravel() == np.arange(n)).all() for m, n in zip(maps, numbers, strict=True)):
            lowering.reuse_value(name, lowering.add_whole_value(source))
            continue
        found = _fit_strides(lowering.graph.lengths, maps)
        if found is None:
            if node.op_type == "Gather":
                _lower_gather(lowering, node)
                return
            raise UnsupportedOperatorError("The engine moves numbers by fixed strides, but this operator does not.")
        offset, strides = found
        sizes = lowering.find_sizes(name)
        made = lowering.add_value(name)
        own = compute_array_strides(sizes)
        lowering.add_copy(lowering.add_whole_value(source), made, sizes, offset, strides, (0, 0), own)


def _has_indices_of_one_sign(lowering: Lowering, name: str) -> bool:
    """Return whether the indices in a value are all at least 0, or all negative, for every number of tokens."""
    values = lowering.graph.size_values
    below = {values.span.decide_comparison("Less", number, (0, 0)) for number in values.known[name].extreme_numbers}
    return len(below) == 1 and None not in below


def _lower_gather(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Gather into a lookup of table rows, or into a selection of elements along an axis."""
    source, indices, out = node.input[0], node.input[1], node.output[0]
    if node.op_type != "Gather":
        axis, places = (
            _find_gather_nd_axis_and_indices if node.op_type == "GatherND" else _find_gather_elements_axis_and_indices
        )(lowering, node)
        view = lowering.find_outer_middle_inner_sizes(source, axis, axis)
        lowering.program.add("gather", [lowering.add_whole_value(source), places, lowering.add_value(out)], *view)
        return
    axis = read_attributes(node).get("axis", 0) % lowering.graph.values[source][0].ndim
    from_zero = not lowering.depends_only_on_size(indices) or _has_indices_of_one_sign(lowering, indices)
    is_table = (
        lowering.depends_only_on_size(source) and axis == 0 and lowering.graph.values[source][0].dtype == np.float32
    )
    if is_table and from_zero:
        table = lowering.read_constant(source)
        table = np.ascontiguousarray(table.reshape(len(table), -1))
        number = lowering.program.add_constant(table, is_table=True)
        read = lowering.add_whole_value(indices)
        lowering.program.add("lookup", [number, read, lowering.add_value(out)])
        return
    outer, middle, inner = lowering.find_outer_middle_inner_sizes(source, axis, axis)
    operands = [lowering.add_whole_value(source), lowering.add_whole_value(indices)]
    lowering.program.add("gather", [*operands, lowering.add_value(out)], outer, middle, inner)


def _find_gather_nd_axis_and_indices(lowering: Lowering, node: onnx.NodeProto) -> tuple[int, int]:
    """Return the only axis along which GatherND selects elements, and the number of the program's value that holds the
    indices along this axis."""
    sizes, of_indices = lowering.find_sizes(node.input[0]), lowering.find_sizes(node.input[1])
    first, (_, width) = read_attributes(node).get("batch_dims", 0), of_indices[-1]
    named = range(first, first + width)
    axes = [axis for axis in named if sizes[axis] != _ONE] or [first]
    count = multiply_sizes(of_indices[:-1])
    if len(axes) > 1 or any(size != _ONE for size in sizes[:first]) or count is None:
        raise UnsupportedOperatorError("The indices along several axes depend on the tokens.")
    made = lowering.program.add_value(INT, [count])
    place = (0, axes[0] - first)
    lowering.add_copy(lowering.add_whole_value(node.input[1]), made, [count], place, [(0, width)], (0, 0), [_ONE])
    return axes[0], made


def _find_gather_elements_axis_and_indices(lowering: Lowering, node: onnx.NodeProto) -> tuple[int, int]:
    """Return the axis of GatherElements, and the number of the program's value that holds the indices, which are equal
    along other axes."""
    source, indices = node.input
    axis = read_attributes(node).get("axis", 0) % len(lowering.find_sizes(source))
    made_by = {name: one for one in lowering.graph.model.graph.node for name in one.output}.get(indices)
    given = made_by.input[0] if made_by is not None and made_by.op_type == "Expand" else indices
    own, spread = lowering.find_sizes(given), lowering.find_sizes(indices)
    own = [_ONE] * (len(spread) - len(own)) + own
    others = [i for i in range(len(spread)) if i != axis]
    same = own[axis] == spread[axis] and all(own[i] == _ONE for i in others)
    if not same or any(spread[i] != lowering.find_sizes(source)[i] for i in others):
        raise UnsupportedOperatorError("The indices depend on the tokens, and differ along more than one axis.")
    return axis, lowering.add_whole_value(given)


@lowers("Concat")
def _lower_concat(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Concat into one copy for each operand."""
    out = node.output[0]
    sizes = lowering.find_sizes(out)
    axis = read_attributes(node)["axis"] % len(sizes)
    made, strides, before = lowering.add_value(out), compute_array_strides(sizes), (0, 0)
    for name in node.input:
        own = lowering.find_sizes(name)
        if (0, 0) in own:
            continue
        offset = multiply_or_refuse([before, strides[axis]], "A size is a product of two numbers of tokens.")
        scalar = lowering.add_scalar(name)
        steps = compute_array_strides(own) if scalar is None else [(0, 0)] * len(own)
        read = lowering.add_whole_value(name) if scalar is None else scalar
        lowering.add_copy(read, made, own, (0, 0), steps, offset, strides)
        before = (before[0] + own[axis][0], before[1] + own[axis][1])


@lowers("Pad")
def _lower_pad(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Pad: numbers are added before and after each axis. For a negative amount, numbers are removed."""
    attributes = read_attributes(node)
    if attributes.get("mode", b"constant") != b"constant":
        raise UnsupportedOperatorError("The engine pads by a constant only.")
    out, source = node.output[0], node.input[0]
    rank = lowering.graph.values[source][0].ndim
    axes_name, value_name = lowering.find_optional_input(node, 3), lowering.find_optional_input(node, 2)
    axes = list(range(rank)) if axes_name is None else [int(a) % rank for a in lowering.read_constant(axes_name)]
    pads = lowering.graph.values[node.input[1]]
    value = 0.0 if value_name is None else float(lowering.read_constant(value_name).ravel()[0])
    made, kind = lowering.add_value(out), lowering.find_type(out)
    lowering.program.add("fill", [made], convert_float_to_bits(value) if kind == FLOAT else int(value))
    before, shift, sizes = [(0, 0)] * rank, [(0, 0)] * rank, lowering.find_sizes(source)
    lengths = lowering.graph.lengths
    for i, axis in enumerate(axes):
        begins, ends = [int(p[i]) for p in pads], [int(p[i + len(axes)]) for p in pads]
        shapes = [v.shape[axis] for v in lowering.graph.values[source]]
        found = [
            fit_affine(lengths, [max(b, 0) for b in begins]),
            fit_affine(lengths, [-min(b, 0) for b in begins]),
            fit_affine(lengths, [n + min(b, 0) + min(e, 0) for n, b, e in zip(shapes, begins, ends, strict=True)]),
        ]
        if any(one is None for one in found):
            raise UnsupportedOperatorError("The padded size is not a * tokens + b for fixed a and b.")
        before[axis], shift[axis], sizes[axis] = (one for one in found if one is not None)
    strides, own = compute_array_strides(lowering.find_sizes(out)), compute_array_strides(lowering.find_sizes(source))
    offsets = []
    for amounts, steps in ((shift, own), (before, strides)):
        squared = "A size is a product of two numbers of tokens."
        parts = [multiply_or_refuse(pair, squared) for pair in zip(amounts, steps, strict=True)]
        offsets.append((sum(a for a, _ in parts), sum(b for _, b in parts)))
    lowering.add_copy(lowering.add_whole_value(source), made, sizes, offsets[0], own, offsets[1], strides)


@lowers(*BINARY)
def _lower_binary(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate an elementwise operator with two operands."""
    left, out = node.input[0], node.output[0]
    if len(node.input) == 1:
        lowering.reuse_value(out, lowering.add_whole_value(left))
        return
    neutral = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}.get(node.op_type)
    for one, other in ((left, node.input[1]), (node.input[1], left))[: 2 if node.op_type in ("Add", "Mul") else 1]:
        if neutral is not None and len(node.input) == 2 and lowering.depends_only_on_size(other):
            same = all((v == neutral).all() for v in lowering.graph.values[other])
            if same and lowering.find_sizes(one) == lowering.find_sizes(out):
                lowering.reuse_value(out, lowering.add_whole_value(one))
                return
    if len(node.input) > 2:
        raise UnsupportedOperatorError("The operator has more than two operands, but the engine takes two.")
    if node.op_type == "Pow" and lowering.find_type(left) != lowering.find_type(node.input[1]):
        _lower_power(lowering, node)
        return
    made = lowering.add_value(out)
    operands, words = lowering.find_elementwise_operands_and_words([left, node.input[1]], out)
    lowering.program.add("binary", [*operands, made], BINARY[node.op_type], *words)


def _lower_power(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a power of floats. Integer exponents are cast to floats."""
    left, right, out = node.input[0], node.input[1], node.output[0]
    if lowering.find_type(left) != FLOAT:
        raise UnsupportedOperatorError(
            "The operator raises an integer to a power that is a float, which the engine does not do."
        )
    if (bound := lowering.find_integer_bound(right)) is None:
        raise UnsupportedOperatorError(
            f"The exponent is an integer that may exceed {MOST_WHOLE:,}.", COMPUTE_IN_FLOAT32
        )
    lowering.limit_text_length(bound, MOST_WHOLE, COMPUTE_IN_FLOAT32)
    program = lowering.program
    (base, exponent), words = lowering.find_elementwise_operands_and_words([left, right], out)
    power, constant = program.add_value(FLOAT, program.values[exponent].factors), program.values[exponent].constant
    if constant is None:
        lowering.add_unary("Cast", exponent, power)
    else:
        power = program.add_constant(constant.astype(np.float32))
    program.add("binary", [base, power, lowering.add_value(out)], Binary.POW, *words)


@lowers("Where")
def _lower_where(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Where. If the condition is the same for all texts, use the chosen operand itself."""
    condition, out = node.input[0], node.output[0]
    if lowering.depends_only_on_size(condition):
        values = lowering.graph.values[condition]
        for chosen, all_are in ((node.input[1], all(v.all() for v in values)),
                                (node.input[2], not any(v.any() for v in values))):  # fmt: skip
            if (
                all_are
                and lowering.find_sizes(chosen) == lowering.find_sizes(out)
                and not lowering.depends_only_on_size(chosen)
            ):
                lowering.reuse_value(out, lowering.add_whole_value(chosen))
                return
    made = lowering.add_value(out)
    operands, words = lowering.find_elementwise_operands_and_words(list(node.input), out)
    lowering.program.add("where", [*operands, made], *words)


@lowers(*(UNARY.keys() - {"Cast", "Clip", "GeluTanh"}))
def _lower_unary(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate an elementwise operator with one operand."""
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
            f"The engine computes this operator for {named} only, but the input has another type."
        )
    source = lowering.add_whole_value(node.input[0])
    lowering.add_unary(
        kind, source, lowering.add_value(node.output[0]), attributes.get("alpha", alpha), attributes.get("beta", 0.5)
    )


def _lower_integer_unary(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Neg, Abs or Relu of integers into 0 - x, max(x, -x) or max(x, 0)."""
    out, program, zero = node.output[0], lowering.program, lowering.program.add_constant(np.array([0]))
    (value,), (*sizes, axes) = lowering.find_elementwise_operands_and_words([node.input[0]], out)
    other = zero
    if node.op_type != "Relu":
        other = program.add_value(INT, lowering.find_sizes(out))
        program.add("binary", [zero, value, other], Binary.SUB, *sizes, 0, axes)
    if node.op_type == "Neg":
        lowering.reuse_value(out, other)
        return
    everywhere = sum(1 << i for i, size in enumerate(sizes) if size != _ONE) if other != zero else 0
    program.add("binary", [value, other, lowering.add_value(out)], Binary.MAX, *sizes, axes, everywhere)


@lowers("Clip")
def _lower_clip(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Clip of floats, or of integers into a maximum and a minimum."""
    # Before opset 11 the bounds are attributes.
    attributes = read_attributes(node)
    bounds = [
        attributes.get(word, default) if name is None else float(lowering.read_constant(name).ravel()[0])
        for name, word, default in zip(
            (lowering.find_optional_input(node, i) for i in (1, 2)), ("min", "max"), (-np.inf, np.inf), strict=True
        )
    ]
    # Where min is above max, ONNX gives max.
    bounds[0] = min(bounds)
    out, kind = node.output[0], lowering.find_type(node.output[0])
    value = lowering.add_whole_value(node.input[0])
    if kind == FLOAT:
        lowering.add_unary("Clip", value, lowering.add_value(out), *bounds)
        return
    _, words = lowering.find_elementwise_operands_and_words([node.input[0]], out)
    for name, bound in zip(("Max", "Min"), bounds, strict=True):
        if np.isfinite(bound):
            limit = lowering.program.add_constant(np.array([bound]).clip(-LARGEST, LARGEST).astype("<i4"))
            made = lowering.program.add_value(kind, lowering.find_sizes(out))
            lowering.program.add("binary", [value, limit, made], BINARY[name], *words, 0)
            value = made
    lowering.reuse_value(out, value)


@lowers("Mod")
def _lower_mod(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a Mod of integers. x - x / divisor * divisor has the sign of x. To get a result of at least 0, add the
    divisor and take the remainder again."""
    left, right, out = node.input[0], node.input[1], node.output[0]
    if lowering.find_type(left) != INT:
        raise UnsupportedOperatorError("The engine computes remainders of integers only.")
    if (lowering.read_constant(right) < 1).any():
        raise UnsupportedOperatorError("The operator divides by a number that is not above 0.")
    known, program = lowering.graph.size_values, lowering.program
    from_zero = left in ("tokens", "second_tokens") or (
        left in known.known
        and all(
            known.span.decide_comparison("GreaterOrEqual", number, (0, 0))
            for number in known.known[left].extreme_numbers
        )
    )
    (value, by), (*sizes, of_value, of_divisor) = lowering.find_elementwise_operands_and_words([left, right], out)
    everywhere = sum(1 << i for i, size in enumerate(sizes) if size != _ONE)

    def add_integer_operation(
        kind: int, left: int, right: int, left_axes: int | Size, right_axes: int | Size, result: int | None = None
    ) -> int:
        result = program.add_value(INT, lowering.find_sizes(out)) if result is None else result
        program.add("binary", [left, right, result], kind, *sizes, left_axes, right_axes)
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


@lowers("Cast", "CastLike")
def _lower_cast(lowering: Lowering, node: onnx.NodeProto) -> None:
    source, out = node.input[0], node.output[0]
    if lowering.find_type(source) == lowering.find_type(out):
        lowering.reuse_value(out, lowering.add_whole_value(source))
        return
    read = lowering.add_whole_value(source)
    lowering.add_unary("Cast", read, lowering.add_value(out))


@lowers("OneHot")
def _lower_one_hot(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Translate a OneHot into a lookup in a table of one-hot rows."""
    depth = int(lowering.read_constant(node.input[1]).ravel()[0])
    off, on = (float(number) for number in lowering.read_constant(node.input[2]))
    axis = read_attributes(node).get("axis", -1)
    if axis not in (-1, lowering.graph.values[node.input[0]][0].ndim):
        raise UnsupportedOperatorError("OneHot adds its new axis in front of another axis, not at the end.")
    if depth > 1 << 12:
        raise UnsupportedOperatorError(f"The operator makes rows of {depth:,} numbers, more than 4,096.")
    table = np.full((depth, depth), off, np.float32)
    np.fill_diagonal(table, on)
    number = lowering.program.add_constant(table, is_table=True)
    read, out = lowering.add_whole_value(node.input[0]), lowering.add_value(node.output[0])
    floats = out
    if lowering.find_type(node.output[0]) != FLOAT:
        if max(abs(off), abs(on)) > MOST_WHOLE:
            raise UnsupportedOperatorError(f"OneHot fills in integers above {MOST_WHOLE:,}.", COMPUTE_IN_FLOAT32)
        floats = lowering.program.add_value(FLOAT, lowering.find_sizes(node.output[0]))
    lowering.program.add("lookup", [number, read, floats])
    if floats != out:
        lowering.add_unary("Cast", floats, out)
