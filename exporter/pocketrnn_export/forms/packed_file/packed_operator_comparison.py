"""Compare each operator of a graph with its operations in a packed file, on numbers that texts rarely produce.

`proof/operator_comparison.py` does the same for the graph itself: comparisons of whole programs do not see the
numbers that a gate hides in every random text. So each operator is lowered once more, into a packed file of its own
that takes its inputs as samples; the native engine's answers are compared with onnxruntime's, which runs that operator
alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper

from pocketrnn.bundle.packed_enums import Binary, Section
from pocketrnn.bundle.packed_file import LARGEST as MOST_STEPS
from pocketrnn.bundle.packed_file import PackedProgram, assemble_packed_file
from pocketrnn.bundle.packed_number_sections import encode_number_rules
from pocketrnn.bundle.packed_strings import encode_strings
from pocketrnn.engines.native import import_native_module
from pocketrnn.errors import ExportError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.comparing.float64_graph import convert_model_to_float64, make_function_of_float64_model
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.forms.packed_file.operator_lowering import (
    HANDLERS,
    Lowering,
    compute_array_strides,
    make_packing_error,
)
from pocketrnn_export.forms.packed_file.program import (
    FLOAT,
    INT,
    USE_OTHER_OPERATIONS,
    Program,
    UnsupportedOperatorError,
)
from pocketrnn_export.forms.packed_file.size_dependent_values import Size, multiply_sizes, read_attributes
from pocketrnn_export.forms.packed_file.values_that_depend_on_tokens import select_nodes_needed_for_outputs
from pocketrnn_export.proof.operator_comparison import draw_difficult_numbers, find_first_wrong_number

Array = npt.NDArray[Any]
# Lengths around the vector widths, which are 4 to 16 numbers.
_LENGTHS: Final = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33)
# Texts up to this length are drawn more often.
_SHORT: Final = 3
_DRAWS: Final = 8
_SECONDS: Final = 4.0
# Larger operators are left to the comparison of whole programs.
_MOST_NUMBERS: Final = 1 << 20
_MOST_CHANNELS: Final = 1 << 16
_MOST_ANSWERS: Final = 1 << 14
_HALF: Final = 1 << 16
_ONE: Final = (0, 1)
# The runtime opens a file with the same limit.
_PRODUCTS_MEMORY: Final = 1 << 23
# Numbers up to this one are used to compare rounding.
_LARGE: Final = 1_000.0
# Floats near halves, near the ends of exact integers, and near the ends of float32; integers at the ends of the
# engine's integers, and of the integers that float32 holds.
_FAR: Final = (
    (0.49999997, -0.49999997, 4194303.5, -4194304.5, 8388609.0, 16777217.0, 3e9, -3e9, 1e-30, -1e-38, 1e30, -3e38),
    (0, 1, -1, 46341, 4097, -65537, 16777215, 16777216, 1 << 30, (1 << 31) - 128, -(1 << 31)),
)
_NOT_FINITE: Final = ((np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5), (0, 1, -1, 2))
_LARGE_SUMMED: Final = (_NOT_FINITE[0][2:], _FAR[1])
# onnxruntime makes -infinity, or infinity beyond a bound that is left out, the largest float; PyTorch does not.
_BOUNDED: Final = ("Clip", "GlobalMaxPool", "MaxPool")
# Operators with sums: for large numbers, another order of the sums gives another number.
_SUMS: Final = frozenset(
    {"AveragePool", "BatchNormalization", "Conv", "CumSum", "GRU", "Gemm", "GlobalAveragePool", "InstanceNormalization",
     "LSTM", "LayerNormalization", "MatMul", "RNN", "ReduceL1", "ReduceL2", "ReduceMean", "ReduceProd", "ReduceSum",
     "ReduceSumSquare"}
)  # fmt: skip
# Operators that pick by index: their indices must exist.
_PICKS: Final = ("Gather", "GatherElements", "GatherND", "OneHot")


@dataclass(frozen=True)
class _OperatorWithExpands:
    """An operator that is run without the rest of its graph, together with the Expand nodes that compute its inputs.

    Attributes:
        nodes: the Expand nodes, and the operator as the last one.
        given: the names of the inputs that depend on the tokens. They get random numbers in these runs.
        fixed: the names of the other inputs. They keep the numbers that they have in the graph.
        made: the names of the operator's outputs.
    """

    nodes: tuple[onnx.NodeProto, ...]
    given: tuple[str, ...]
    fixed: tuple[str, ...]
    made: tuple[str, ...]

    @property
    def last(self) -> onnx.NodeProto:
        """The operator itself, which is the last node."""
        return self.nodes[-1]


@dataclass(frozen=True)
class OperatorOutput:
    """One output of an operator for some input numbers, from the engine and from onnxruntime.

    Attributes:
        node: the operator.
        drawn: the input numbers by the names of the inputs.
        found, expected: the output of the engine, and that of onnxruntime. Floats are float32.
        exact: computes the output in double precision; returns None if that is impossible.
    """

    node: onnx.NodeProto
    drawn: Mapping[str, Array]
    found: Array
    expected: Array
    exact: Callable[[], Array | None]


def refuse_operators_that_engine_computes_differently(lowering: Lowering) -> None:
    """Compare the engine with onnxruntime on each operator of a graph, with numbers that texts rarely produce. Refuse
    the graph if an operator's results differ.

    Raises:
        ExportError: the results of an operator differ; the message names the operator and its place.
        MissingExtraError: the native engine is not installed.
    """
    for one in run_each_operator_without_its_graph(lowering):
        drawn = [torch.from_numpy(array) for array in one.drawn.values() if np.abs(array).max(initial=0) <= _LARGE]
        place = find_first_wrong_number(one.found, one.expected, None, drawn)
        if place is not None and one.expected.dtype.kind == "f":
            place = find_first_wrong_number(one.found, one.expected, one.exact(), drawn)
        if place is not None:
            here, there = (f"{array.ravel()[place]:.7g}" for array in (one.found, one.expected))
            raise make_packing_error(
                one.node,
                f"For the same inputs, the native engine gives {here}, but onnxruntime gives {there}.",
                USE_OTHER_OPERATIONS,
            )


def run_each_operator_without_its_graph(lowering: Lowering) -> Iterator[OperatorOutput]:
    """Run each operator of a graph without the rest of the graph, on numbers that texts rarely produce, in the engine
    and in onnxruntime. Yield the outputs of each. After 4 seconds, no further operators are run.

    Raises:
        MissingExtraError: the native engine is not installed.
    """
    graph = lowering.graph
    span = graph.size_values.span
    lengths = [n for n in _LENGTHS if span.least <= n <= span.end] or [n for n in graph.lengths if isinstance(n, int)]
    values = graph.compute_all_values_at_lengths(lengths)
    answers = ("logits", "new_state") if graph.state_size else ("logits",)
    nodes = select_nodes_needed_for_outputs(graph.model.graph.node, answers, given=graph.size_values.known)
    parts = [part for node in nodes if (part := _find_operator_with_expands(lowering, node)).made]
    # A sum in double precision has other last digits in float32, and cancellation may leave only these.
    parts = [part for part in parts if part.last.op_type not in _SUMS or values[part.made[0]][0].dtype != np.float64]
    started, seen = time.process_time(), set[str]()
    for part in sorted(parts, key=lambda part: _count_numbers_read_and_written(part, values)):
        if time.process_time() - started > _SECONDS or _count_numbers_read_and_written(part, values) > _MOST_NUMBERS:
            return
        if (key := _make_operator_key(lowering, part, values)) not in seen:
            seen.add(key)
            yield from _run_operator_without_its_graph(lowering, part, lengths, values)


def _find_operator_with_expands(lowering: Lowering, node: onnx.NodeProto) -> _OperatorWithExpands:
    """Return an operator of the graph together with the Expand nodes that compute its inputs from tokens."""
    makers = {name: one for one in lowering.graph.model.graph.node for name in one.output}
    before = [makers[name] for name in node.input if name in makers and makers[name].op_type == "Expand"]
    before = [one for one in before if not lowering.depends_only_on_token_count(one.output[0])]
    nodes = (*{one.output[0]: one for one in before}.values(), node)
    inner = {name for one in before for name in one.output}
    read = [*dict.fromkeys(name for one in nodes for name in one.input if name and name not in inner)]
    return _OperatorWithExpands(
        nodes,
        tuple(name for name in read if not lowering.depends_only_on_token_count(name)),
        tuple(name for name in read if lowering.depends_only_on_token_count(name)),
        tuple(name for name in node.output if name in lowering.known),
    )


def _count_numbers_read_and_written(part: _OperatorWithExpands, values: Mapping[str, Sequence[Array]]) -> int:
    """Return how many numbers an operator reads and writes for the longest of the observed texts. `values` has the
    arrays of each value."""
    return sum(values[name][-1].size for name in (*part.given, *part.fixed, *part.made))


def _make_operator_key(lowering: Lowering, part: _OperatorWithExpands, values: Mapping[str, Sequence[Array]]) -> str:
    """Return a string that is equal for two operators if they compute the same with the same constants, so that only
    one of them is run."""
    places = {name: str(i) for i, name in enumerate(part.given)}
    shown = []
    for node in part.nodes:
        inputs = [
            f"{places[name]} {values[name][0].dtype} {lowering.find_sizes(name)} {lowering.find_integer_bound(name)}"
            if name in places
            else str(
                [_compute_array_digest(value) for value in {id(one): one for one in values.get(name, ())}.values()]
            )
            for name in node.input
        ]
        attributes = sorted(attribute.SerializeToString() for attribute in node.attribute)
        shown.append(f"{node.op_type} {attributes} {inputs} {[*map(bool, node.output)]}")
    return str(shown)


def _compute_array_digest(array: Array) -> str:
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def _run_operator_without_its_graph(
    lowering: Lowering, part: _OperatorWithExpands, lengths: Sequence[int], values: Mapping[str, Sequence[Array]]
) -> Iterator[OperatorOutput]:
    """Run an operator without its graph on random numbers at all lengths: in the engine, with copied weights and with
    weights left in the file's memory, and in onnxruntime. Yield each output from both.

    Args:
        lengths: the numbers of tokens of the texts from which sizes are taken.
        values: the arrays of each value of the graph, one for each length.
    """
    rows = [
        (place, drawn)
        for place, length in enumerate(lengths)
        for drawn in _draw_rare_inputs(lowering, part, length, {name: values[name][place] for name in part.given})
    ]
    try:
        alone, model = _OperatorFile(lowering, part, lengths, values), _make_operator_model(lowering, part, values)
        session = open_session(model.SerializeToString())
    # Operators that cannot run alone are tested only by the comparison of whole programs.
    except ExportError:
        return
    feeds = [{**drawn, **{name: values[name][place] for name in part.fixed}} for place, drawn in rows]
    expected = [_run_session(session, feed) for feed in feeds]
    for in_place in (False, True):
        found = alone.run_rows([(lengths[place], drawn) for place, drawn in rows], in_place=in_place)
        for feed, (_, drawn), here, there in zip(feeds, rows, found, expected, strict=True):
            for output, (one, other) in enumerate(zip(here or (), there or (), strict=False)):
                with np.errstate(over="ignore"):
                    wanted = other.astype(np.float32) if other.dtype.kind == "f" else other
                numbers = one[: wanted.size].reshape(wanted.shape).astype(wanted.dtype)
                yield OperatorOutput(part.last, drawn, numbers, wanted, partial(_run_in_float64, model, feed, output))


def _run_session(session: Any, feed: Mapping[str, Array]) -> list[Array] | None:
    """Return the outputs that onnxruntime computes from the inputs in `feed`, or None if it refuses these numbers."""
    taken = {one.name for one in session.get_inputs()}
    try:
        return [*session.run(None, {name: array for name, array in feed.items() if name in taken})]
    # onnxruntime's errors have no common base class.
    except Exception:
        return None


def _run_in_float64(model: onnx.ModelProto, feed: Mapping[str, Array], output: int) -> Array | None:
    doubles = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in feed.items()}
    try:
        return np.asarray(make_function_of_float64_model(convert_model_to_float64(model))(doubles)[output])
    except ExportError:
        return None


def _make_operator_model(
    lowering: Lowering, part: _OperatorWithExpands, values: Mapping[str, Sequence[Array]]
) -> onnx.ModelProto:
    """Return an ONNX model that consists of only an operator and the Expand nodes that compute its inputs. `values` has
    the arrays of each value."""
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(values[name][0].dtype), [None] * values[name][0].ndim
        )
        for name in (*part.given, *part.fixed)
    ]
    outputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values[name][0].dtype), None)
        for name in part.made
    ]
    graph = helper.make_graph([*part.nodes], "alone", inputs, outputs)
    opset = [helper.make_opsetid("", lowering.graph.opset)]
    return helper.make_model(graph, opset_imports=opset, ir_version=lowering.graph.model.ir_version)


def _draw_rare_inputs(
    lowering: Lowering, part: _OperatorWithExpands, tokens: int, given: Mapping[str, Array]
) -> Iterator[dict[str, Array]]:
    """Draw numbers for an operator's inputs that depend on the tokens. Yield dicts from an input's name to an array,
    whose numbers are possible in the graph but rare.

    Args:
        tokens: the number of tokens of the text.
        given: arrays of the shapes and dtypes of the inputs.
    """
    if not given:
        yield {}
        return
    if any(array.size == 0 for array in given.values()):
        return
    alike = [torch.from_numpy(np.zeros(array.shape, array.dtype)) for array in given.values()]
    kind = part.last.op_type
    more = (_LARGE_SUMMED,) if kind in _SUMS else (_FAR,) if kind in _BOUNDED else (_FAR, _NOT_FINITE)
    for drawn in draw_difficult_numbers(alike, more, _DRAWS if tokens <= _SHORT else 1):
        made = {}
        for (name, array), numbers in zip(given.items(), drawn, strict=True):
            made[name] = _limit_to_numbers_possible_in_graph(lowering, part, name, tokens, numbers.numpy()).astype(
                array.dtype
            )
        yield made


def _limit_to_numbers_possible_in_graph(
    lowering: Lowering, part: _OperatorWithExpands, name: str, tokens: int, numbers: Array
) -> Array:
    """Change random numbers to numbers that an operator's input can have in the graph: float32 numbers, existing ids or
    indices, or integers within the known bound. Return the changed numbers.

    Args:
        name: the name of the input.
        tokens: the number of tokens of the text.
        numbers: the random numbers.
    """
    if numbers.dtype == bool:
        return numbers
    numbers = numbers.astype(np.float32)
    if name in ("tokens", "second_tokens"):
        return np.asarray(np.mod(numbers.astype(np.int64), max(1, lowering.graph.ids)))
    if (most := _count_elements_that_indices_select_from(lowering, part, name, tokens)) is not None:
        return np.asarray(np.fmod(numbers.astype(np.int64), most))
    bound = lowering.find_integer_bound(name)
    if bound is None:
        return numbers
    most = sum(factor * tokens**power for power, factor in enumerate(bound))
    return np.asarray(np.fmod(np.rint(np.nan_to_num(numbers, posinf=1, neginf=-1)), most + 1))


def _count_elements_that_indices_select_from(
    lowering: Lowering, part: _OperatorWithExpands, name: str, tokens: int
) -> Any:
    """Return the number of elements from which an operator selects by the indices in one of its inputs; None if this
    input does not hold indices.

    Args:
        name: the name of the input.
        tokens: the number of tokens of the text.
    """
    node = part.last
    if node.op_type not in _PICKS:
        return None
    index = 0 if node.op_type == "OneHot" else 1
    makers = {one.output[0]: one.input[0] for one in part.nodes[:-1]}
    if makers.get(node.input[index], node.input[index]) != name:
        return None
    if node.op_type == "OneHot":
        return int(lowering.read_constant(node.input[1]).ravel()[0])
    sizes = [a * tokens + b for a, b in lowering.find_sizes(node.input[0])]
    attributes = read_attributes(node)
    if node.op_type == "GatherND":
        first = attributes.get("batch_dims", 0)
        return np.array(sizes[first : first + lowering.find_sizes(name)[-1][1]])
    return sizes[attributes.get("axis", 0)]


class _OperatorFile:
    """A packed file that consists of one operator. It takes the operator's inputs as samples, and gives the operator's
    outputs as logits."""

    def __init__(
        self,
        lowering: Lowering,
        part: _OperatorWithExpands,
        lengths: Sequence[int],
        values: Mapping[str, Sequence[Array]],
    ) -> None:
        """Make the packed file of an operator.

        Args:
            lengths: the numbers of tokens of the texts that the file will get.
            values: the arrays of each value of the graph, one for each length.

        Raises:
            UnsupportedOperatorError: the operator cannot run without its graph.
        """
        self._node = part.last
        # The numbers of each value in a step.
        self._widths = [max(-(-v.size // n) for v, n in zip(values[name], lengths, strict=True)) for name in part.given]
        self._given, self._channels = part.given, max(1, sum(self._widths))
        self._made, self._answers = list[tuple[int, int, bool]](), 0
        for name in part.made:
            most = max(value.size for value in values[name])
            is_whole = values[name][0].dtype.kind in "iu"
            self._made.append((self._answers, most, is_whole))
            self._answers += most * (2 if is_whole else 1)
        if self._channels > _MOST_CHANNELS or not 0 < self._answers <= _MOST_ANSWERS:
            raise UnsupportedOperatorError(
                "The operator's inputs or outputs are too large to compare the operator alone in the native "
                "engine and in onnxruntime.",
                USE_OTHER_OPERATIONS,
            )
        self._content = self._pack_program(self._make_program(lowering, part).encode_sections())

    def _make_program(self, lowering: Lowering, part: _OperatorWithExpands) -> Program:
        """Return the program of the file: it reads the operator's inputs from the samples, computes the operator, and
        copies the outputs to the logits."""
        alone = Lowering(replace(lowering.graph, state_size=0, channels=self._channels))
        alone.known, alone.bounds, begin = {}, lowering.bounds, 0
        for name, width in zip(part.given, self._widths, strict=True):
            sizes = lowering.find_sizes(name)
            kind = lowering.find_type(name)
            value = alone.program.add_value(FLOAT, sizes)
            _add_copy_of_contiguous_array(alone, 0, value, sizes, (begin, 0), (0, 0))
            alone.known[name] = value if kind == FLOAT else alone.program.add_value(kind, sizes)
            if kind != FLOAT:
                alone.add_unary_operation("Cast", value, alone.known[name])
            begin += width
        for node in part.nodes:
            HANDLERS[node.op_type](alone, node)
        logits = alone.program.add_value(FLOAT, [(0, self._answers)])
        alone.program.add_operation("fill", [logits], 0)
        for name, (offset, most, is_whole) in zip(part.made, self._made, strict=True):
            self._copy_to_logits(alone, name, logits, offset, most if is_whole else 0)
        alone.program.outputs.append(logits)
        return alone.program

    def _copy_to_logits(self, alone: Lowering, name: str, logits: int, offset: int, low_offset: int) -> None:
        """Add operations that copy an output of the operator to the logits. Large integers are not exact as floats, so
        an integer becomes two floats: its quotient by 2^16, and the remainder.

        Args:
            name: the name of the output.
            logits: the index of the program's value for the logits.
            offset: the place of the output in the logits.
            low_offset: how much further the remainders stand; 0 if the output does not consist of integers.
        """
        program, sizes, value = alone.program, alone.find_sizes(name), alone.find_or_add_whole_value(name)
        kind = program.values[value].type

        def add_float_copy(value: int, offset: int) -> None:
            made = value
            if kind != FLOAT:
                made = program.add_value(FLOAT, sizes)
                alone.add_unary_operation("Cast", value, made)
            _add_copy_of_contiguous_array(alone, made, logits, sizes, (0, 0), (0, offset))

        if not low_offset:
            add_float_copy(value, offset)
            return
        count = program.add_constant(np.array([_HALF], np.int32))
        axes = _merge_neighbouring_axes(sizes)
        words = [*[_ONE] * (4 - len(axes)), *axes]
        all_axes = sum(1 << i for i, size in enumerate(words) if size != _ONE)
        high, part, low = (program.add_value(INT, sizes) for _ in range(3))
        program.add_operation("binary", [value, count, high], Binary.DIV, *words, all_axes, 0)
        program.add_operation("binary", [high, count, part], Binary.MUL, *words, all_axes, 0)
        program.add_operation("binary", [value, part, low], Binary.SUB, *words, all_axes, all_axes)
        add_float_copy(high, offset)
        add_float_copy(low, offset + low_offset)

    def _pack_program(self, program: PackedProgram) -> bytes:
        """Return the bytes of a packed file with this program, and with empty labels, rules and examples."""
        takes = NumberInput(tuple(map(str, range(self._channels))))
        head = [self._answers, 2, 0, 1, MOST_STEPS, *program.numbers, 0, 0, self._channels]
        sections = {
            Section.DOCUMENT: b"{}",
            Section.LABELS: encode_strings([""] * self._answers),
            Section.RULES: encode_number_rules(takes),
            Section.STOPS: encode_strings([], looked_up=True),
            Section.VOCABULARY: encode_strings(takes.channels),
            Section.VALUES: program.values,
            Section.OPS: program.ops,
            Section.WEIGHTS: program.weights,
            Section.EXAMPLES: b"",
        }
        return assemble_packed_file(head, [sections[name] for name in sorted(sections)])

    def run_rows(self, rows: Sequence[tuple[int, Mapping[str, Array]]], *, in_place: bool) -> list[list[Array] | None]:
        """Run the operator in the engine. Return for each row the outputs as flat arrays, which may be longer than the
        output; None for a row that the engine refuses.

        Args:
            rows: pairs (number of tokens, input numbers by name).
            in_place: whether the engine leaves the weights in the file's memory.

        Raises:
            ExportError: the engine cannot open the file.
        """
        engine = import_native_module()
        try:
            packed = engine.Packed(self._content, 0 if in_place else _PRODUCTS_MEMORY, in_place)
        except engine.EngineError as error:
            raise make_packing_error(
                self._node, f"The native engine cannot run this operator: {error.args[1]}", USE_OTHER_OPERATIONS
            ) from None
        samples = [self._make_samples(tokens, drawn) for tokens, drawn in rows]
        given = np.concatenate(samples) if samples else np.zeros(0, np.float32)
        logits, statuses = np.empty((len(rows), self._answers), np.float32), np.zeros(len(rows), np.uint8)
        packed.logits_of_samples(given, np.array([n for n, _ in rows], np.int64), logits, statuses)
        return [
            self._split_outputs(row) if status == engine.OK else None
            for row, status in zip(logits, statuses, strict=True)
        ]

    def _make_samples(self, tokens: int, drawn: Mapping[str, Array]) -> Array:
        made, begin = np.zeros(tokens * self._channels, np.float32), 0
        for name, width in zip(self._given, self._widths, strict=True):
            made[begin : begin + drawn[name].size] = drawn[name].ravel()
            begin += tokens * width
        return made

    def _split_outputs(self, row: Array) -> list[Array]:
        """Return the operator's outputs as flat arrays, taken from one row of logits."""
        made = []
        for offset, most, is_whole in self._made:
            numbers = row[offset : offset + most]
            if is_whole:
                low = row[offset + most : offset + 2 * most]
                numbers = numbers.astype(np.int64) * _HALF + low.astype(np.int64)
            made.append(numbers)
        return made


def _merge_neighbouring_axes(sizes: Sequence[Size]) -> list[Size]:
    """Merge neighbouring axes of a contiguous array, so that as few as possible remain. Return their sizes (a, b), each
    of which stands for a * tokens + b."""
    made: list[Size] = []
    for size in sizes:
        together = multiply_sizes([made[-1], size]) if made else None
        made = [*made, size] if together is None else [*made[:-1], together]
    return made


def _add_copy_of_contiguous_array(
    alone: Lowering, source: int, target: int, sizes: Sequence[Size], begin: Size, offset: Size
) -> None:
    """Add an operation that copies a contiguous array from one value to another.

    Args:
        alone: the translation, whose program gets the operation.
        source, target: the indices of the two values in the program.
        sizes: the sizes of the array.
        begin: where the array begins in the source, as (a, b), which stands for a * tokens + b.
        offset: where it begins in the target.
    """
    axes = _merge_neighbouring_axes(sizes)
    strides = compute_array_strides(axes)
    alone.add_copy(source, target, axes, begin, strides, offset, strides)
