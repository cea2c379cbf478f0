"""Prove a graph in two precisions: in double precision it equals its module, and its float32 forms are near enough.

docs/proof.md states the rule in plain words and gives the figures behind both limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from pocketrnn.errors import ExportError, ParityError, first_line
from pocketrnn_export.comparing.answer_spread_by_rounding import ExactAnswer
from pocketrnn_export.comparing.float64_graph import make_float64_onnx_run
from pocketrnn_export.comparing.float64_module import make_float64_copy, make_float64_copy_run
from pocketrnn_export.comparing.proof_inputs import Case, Run64
from pocketrnn_export.progress import log_item_progress

# A right graph agrees with its module to 1e-13 in double precision; the nearest wrong one of 200 is 1.3e-9 from it
# (docs/proof.md).
DOUBLE_TOLERANCE: Final = 1e-10
# How many spreads a float32 answer may lie from the exact one.
SPREADS: Final = 40.0
# Rounding in float64 is 2**-29 of rounding in float32. It matters where a network is chaotic: where float32 loses an
# answer completely (a spread of 1), float64 may differ by 7e-8.
_DOUBLE_TO_SINGLE: Final = 2.0**-29
# A larger difference is not caused by rounding in float64.
_ROUNDING_AT_MOST: Final = 1e-6
_LEAST_TOLERANCE: Final = 1e-5
_MOST_TOLERANCE: Final = 1e-2

Retrace = Callable[[nn.Module], bytes]
Numbers = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Float64Agreement:
    """How well a graph agrees with its module in double precision.

    Attributes:
        cases: the number of cases that were compared.
        rows: the number of texts in them.
        largest_difference: the largest difference of a logit: relative for logits above 1, otherwise absolute.
        case: the case with this difference.
        numbers_rounded: whether a graph with the unrounded numbers of forward was compared in place of the bundle's
            graph, which is the same graph with these numbers rounded to float32.
    """

    cases: int
    rows: int
    largest_difference: float
    case: str
    numbers_rounded: bool = False


@dataclass(frozen=True)
class DistanceToExactAnswer:
    """How far a float32 answer to a case is from the exact answer, which is computed in double precision.

    Attributes:
        candidate: the name of the candidate.
        case: the name of the case.
        largest_difference: the largest difference of a logit from the exact one.
        spreads: the largest difference of a row, in units of that row's spread.
        labels_differing: the number of rows whose label differs from the exact answer's.
    """

    candidate: str
    case: str
    largest_difference: float
    spreads: float
    labels_differing: int

    @property
    def passes(self) -> bool:
        """Whether the float32 answer is near enough to the exact answer. If the labels of the two answers differ, they
        are then tied: their exact logits differ by at most twice the allowed distance."""
        return self.spreads <= SPREADS


def prove_graph_in_double_precision(
    run: Run64,
    exact: Sequence[ExactAnswer],
    *,
    content: bytes = b"",
    retraced: Callable[[], bytes] | None = None,
    spreads: Callable[[Case], ExactAnswer | None] = lambda _: None,
    inputs: str = "cases",
) -> Float64Agreement:
    """Run a graph in double precision, and measure how well its answers agree with the exact answers, those of the
    module in double precision. Raise an error if they differ by more than 1e-10 and rounding does not explain this.

    Args:
        run: runs the graph in double precision.
        exact: the exact answers.
        content: the bytes of the graph's ONNX file.
        retraced: traces the module in double precision, and returns the new ONNX file. It is called only if a
            difference exceeds 1e-10, since forward may have numbers that float32 cannot represent.
        spreads: returns the exact answer to a batch, with how far rounding may move the answer. It is called only if a
            difference exceeds 1e-10, since rounding may change even the float64 answers of a chaotic network.
        inputs: the name of the batches in progress messages.

    Raises:
        ParityError: the graph computes something else; the message says where.
        ExportError: the graph cannot be computed in double precision.
    """
    found = measure_agreement_in_double_precision(run, exact, inputs)
    if found.largest_difference <= DOUBLE_TOLERANCE:
        return found
    reason = "rounding of numbers in forward to float32 does not explain this difference"
    if retraced is not None and math.isfinite(found.largest_difference):
        again, reason = _explain_difference_by_rounded_numbers(content, exact, retraced)
        if again is not None:
            return again
    if found.largest_difference < _ROUNDING_AT_MOST:
        off = [measure_agreement_in_double_precision(run, [one]).largest_difference > DOUBLE_TOLERANCE for one in exact]
        exact = [(spreads(one.case) or one) if is_off else one for one, is_off in zip(exact, off, strict=True)]
        found = measure_agreement_in_double_precision(run, exact)
        if found.largest_difference <= DOUBLE_TOLERANCE:
            return found
    raise ParityError(
        f"In double precision, the graph's answer to {found.case} differs from the module's by "
        f"{found.largest_difference:.1e}, but the two may differ by at most {DOUBLE_TOLERANCE:g}; {reason}.",
        "Nothing was written. Use another operation in forward in place of the one that this message names. If the "
        "message names none, report the module to pocketrnn.",
    )


class _RetracedComparison(NamedTuple):
    """How well a graph that was traced in double precision agrees with the exact answers; or None, with the reason why
    this comparison says nothing about the bundle's graph."""

    agreement: Float64Agreement | None
    why_not: str


def _explain_difference_by_rounded_numbers(
    content: bytes, exact: Sequence[ExactAnswer], retraced: Callable[[], bytes]
) -> _RetracedComparison:
    """Trace the module in double precision, and compare the new graph with the exact answers, if the bundle's graph is
    the new graph with its numbers rounded to float32. Return the agreement, or the reason why there is none.

    Args:
        content: the bytes of the bundle's ONNX file.
        exact: the exact answers.
        retraced: traces the module in double precision, and returns the new ONNX file.
    """
    try:
        double = retraced()
        again = measure_agreement_in_double_precision(make_float64_onnx_run(double, restores_constants=True), exact)
    except ExportError as error:
        return _RetracedComparison(None, f"a trace of the module in double precision fails: {first_line(error)}")
    different = find_difference_beyond_rounding(content, double)
    if different is not None:
        return _RetracedComparison(
            None, f"a trace of the module in double precision gives a different graph ({different})"
        )
    if again.largest_difference > DOUBLE_TOLERANCE:
        return _RetracedComparison(
            None,
            "a graph that is traced in double precision also differs from the module, by "
            f"{again.largest_difference:.1e}",
        )
    found = Float64Agreement(again.cases, again.rows, again.largest_difference, again.case, numbers_rounded=True)
    return _RetracedComparison(found, "")


def prove_graph_of_module_in_double_precision(
    module: nn.Module,
    content: bytes,
    exact: Sequence[ExactAnswer],
    *,
    takes_lengths: bool,
    every_id: Sequence[Case] = (),
    retrace: Retrace | None = None,
) -> Float64Agreement:
    """Run a module and its graph in double precision, and measure how well their answers agree. Raise an error if they
    differ by more than 1e-10 and rounding does not explain this.

    Args:
        module: the module, in eval mode and on the CPU. It is copied and not changed.
        content: the bytes of the ONNX file.
        exact: the module's answers in double precision.
        takes_lengths: whether forward takes lengths.
        every_id: more batches to compare.
        retrace: traces a module, and returns the ONNX file. It is called only if a difference exceeds 1e-10, since
            forward may have numbers that float32 cannot represent, such as 0.1 in `x * 0.1`.

    Raises:
        ParityError: the graph computes something else; the message says where.
        ExportError: the module or the graph cannot be computed in double precision.
    """
    reference = make_float64_copy_run(make_float64_copy(module), takes_lengths=takes_lengths)
    exact = [*exact, *(ExactAnswer(c, reference(c.tokens, c.lengths), np.zeros(len(c.lengths))) for c in every_id)]
    return prove_graph_in_double_precision(
        make_float64_onnx_run(content),
        exact,
        content=content,
        retraced=None if retrace is None else lambda: retrace(make_float64_copy(module)),
    )


def measure_agreement_in_double_precision(
    run: Run64, exact: Sequence[ExactAnswer], inputs: str = "cases"
) -> Float64Agreement:
    """Run a graph in double precision, and measure how far its answers are from the exact answers.

    Args:
        run: runs the graph in double precision.
        exact: the exact answers, each with its batch.
        inputs: the name of the batches in progress messages.

    Raises:
        ParityError: the graph fails on a batch that the module answers.
    """
    largest, where, rows = 0.0, exact[0].case.name, 0
    for answer in log_item_progress(exact, f"Comparing the graph on {inputs} in double precision"):
        try:
            given = run(answer.case.tokens, answer.case.lengths)
        except ExportError as error:
            # The error's own problem begins with the same words as this one.
            said = error.problem if error.__cause__ is None else f"{first_line(error.__cause__)}."
            raise ParityError(
                f"The module answers {answer.case.name} in double precision, but the graph fails on it: {said}",
                f"{error.remedy} Nothing was written.".strip(),
            ) from error
        rows += len(answer.case.lengths)
        apart = _compute_absolute_differences(answer.logits, given)
        if apart.size and answer.logits.shape == given.shape:
            allowed = np.maximum(DOUBLE_TOLERANCE, SPREADS * _DOUBLE_TO_SINGLE * answer.spread)[:, None]
            size = np.maximum(1.0, np.abs(np.nan_to_num(answer.logits, posinf=0.0, neginf=0.0)))
            # If rounding allows more than the tolerance, the difference is scaled down by the same factor.
            apart = apart / size * (DOUBLE_TOLERANCE / allowed)
        worst = float(apart.max(initial=0.0))
        if worst > largest:
            largest, where = worst, answer.case.name
    return Float64Agreement(len(exact), rows, largest, where)


def _compute_absolute_differences(exact: Numbers, given: Numbers) -> npt.NDArray[np.float64]:
    """Return the absolute differences between two answers, [rows, classes]. They are infinite if the shapes differ, and
    0 in rows that are NaN in both answers."""
    if exact.shape != given.shape:
        return np.full((1, 1), np.inf)
    with np.errstate(invalid="ignore"):
        apart = np.abs(exact.astype(np.float64) - given.astype(np.float64))
    apart = np.where((exact == given) | (np.isnan(exact) & np.isnan(given)).all(1, keepdims=True), 0.0, apart)
    return np.where(np.isnan(apart), np.inf, apart)


def measure_distance_to_exact_answer(
    candidate: str, exact: ExactAnswer, given: npt.NDArray[np.float32]
) -> DistanceToExactAnswer:
    """Measure how far the float32 answer `given` is from the exact answer, which was computed in double precision.
    `candidate` is the name of the graph or engine that gave the answer."""
    apart = _compute_absolute_differences(exact.logits, given)
    if exact.logits.shape != given.shape:
        return DistanceToExactAnswer(candidate, exact.case.name, math.inf, math.inf, len(exact.logits))
    return DistanceToExactAnswer(
        candidate,
        exact.case.name,
        largest_difference=float(apart.max()),
        spreads=float((apart.max(1) / exact.spread).max()),
        labels_differing=int((exact.logits.argmax(1) != given.argmax(1)).sum()),
    )


def compute_rounding_tolerance(exact: Sequence[ExactAnswer]) -> float:
    """Return the largest difference by which two float32 answers may differ if both are right but rounded differently:
    80 times as much as rounding of the weights moves the exact answers, rounded up to one digit, and at least 1e-5 and
    at most 1e-2."""
    largest = 2 * SPREADS * max(float(answer.spread.max()) for answer in exact)
    if not _LEAST_TOLERANCE < largest < _MOST_TOLERANCE:
        return _LEAST_TOLERANCE if largest <= _LEAST_TOLERANCE else _MOST_TOLERANCE
    unit = 10.0 ** math.floor(math.log10(largest))
    return float(f"{math.ceil(largest / unit - 1e-9) * unit:.0e}")


# --- Rounded graph equality ---
# Find out whether two graphs differ only because their numbers are rounded to float32.
#
# A number that forward or an exporter computes in double precision (0.1, the square root of 2 in GELU, a product of
# two weights) is rounded in a float32 graph. Such a graph is correct, and yet 1e-9 from the module in double
# precision. So the module is traced once more in double precision: that graph must agree with the module, and the
# shipped graph must be that graph, node by node, with each number rounded to the nearest float32.

# A number computed in float32, such as one that an exporter folded, may be this many ulps from the number computed
# in float64 and then rounded. In 31 user modules all differ by 0 or 1. The ulps are those of the largest number of the
# tensor: the last of `1 - torch.arange(1, 10) / 10` is 3 of its own ulps from 0.1, and the middle of
# `torch.linspace(-1, 1, 11)` is 0 or nearly. Numbers above a million, such as a mask's, do not set the scale of others.
_ULPS: Final = 4
_LARGE: Final = 2.0**20
_LARGEST: Final = float(np.finfo(np.float32).max)
_TYPES: Final = {int(TensorProto.DOUBLE): int(TensorProto.FLOAT)}
_ZERO: Final = helper.make_tensor("", TensorProto.FLOAT, [1], [0.0])


def find_difference_beyond_rounding(shipped: bytes, double: bytes) -> str | None:
    """Describe the first difference between two graphs that does not come from rounding their numbers, such as "5 and 6
    nodes". Return None if there is no such difference.

    Args:
        shipped: an ONNX file in float32.
        double: an ONNX file in float64. Its values may have other names.
    """
    a, b = onnx.load_from_string(shipped), onnx.load_from_string(double)
    opsets = [sorted((o.domain, o.version) for o in model.opset_import) for model in (a, b)]
    if opsets[0] != opsets[1] or a.functions or b.functions:
        return "other opsets"
    return _describe_first_graph_difference(a.graph, b.graph, {})


def _describe_first_graph_difference(a: GraphProto, b: GraphProto, names_in_b: dict[str, str]) -> str | None:
    """Describe the first difference, beyond rounding, between a float32 graph and a float64 graph. Return None if there
    is no such difference.

    Args:
        a: the float32 graph.
        b: the float64 graph.
        names_in_b: for inner graphs, the name in the outer graph of `b` of each value of the outer graph of `a`.
    """
    b = _remove_widening_casts(b)
    if (len(a.node), len(a.input), len(a.output)) != (len(b.node), len(b.input), len(b.output)):
        return f"{len(a.node)} and {len(b.node)} nodes"
    names_in_b = {**names_in_b, "": ""} | {x.name: y.name for x, y in zip(a.input, b.input, strict=True)}
    numbers = {tensor.name: tensor for tensor in a.initializer}, {tensor.name: tensor for tensor in b.initializer}
    for x, y in zip(a.node, b.node, strict=True):
        different = _describe_first_node_difference(x, y, names_in_b, numbers)
        if different:
            return f"{x.op_type} {x.name or x.output[0]}: {different}"
        names_in_b.update(zip(x.output, y.output, strict=True))
    wired = [names_in_b.get(x.name) == y.name for x, y in zip(a.output, b.output, strict=True)]
    return None if all(wired) else "the outputs"


def _remove_widening_casts(graph: GraphProto) -> GraphProto:
    """Return a copy of a float64 graph without its casts from float32 to float64. They change no number, and the
    float32 graph does not have them."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    made = GraphProto()
    made.CopyFrom(graph)
    del made.node[:]
    names: dict[str, str] = {}
    for node in graph.node:
        to_double = node.op_type == "Cast" and node.attribute[0].i == TensorProto.DOUBLE
        if to_double and kinds.get(node.input[0]) == TensorProto.FLOAT:
            names[node.output[0]] = names.get(node.input[0], node.input[0])
            continue
        kept = made.node.add()
        kept.CopyFrom(node)
        kept.input[:] = [names.get(name, name) for name in node.input]
    return made


def _describe_first_node_difference(
    a: NodeProto,
    b: NodeProto,
    names_in_b: dict[str, str],
    initializers: tuple[dict[str, TensorProto], dict[str, TensorProto]],
) -> str | None:
    """Describe the first difference, beyond rounding, between two nodes: their operators, inputs or attributes. Return
    None if there is no difference.

    Args:
        a: the node of the float32 graph.
        b: the node of the float64 graph.
        names_in_b: the name in the float64 graph of each value in the float32 graph.
        initializers: the weights of the float32 graph, and those of the float64 graph, by name.
    """
    if (a.op_type, a.domain, len(a.input), len(a.output)) != (b.op_type, b.domain, len(b.input), len(b.output)):
        return f"is in the place of {b.op_type}"
    for x, y in zip(a.input, b.input, strict=True):
        if x in names_in_b:
            if names_in_b[x] != y:
                return f"its input {x}"
        elif (
            x not in initializers[0]
            or y not in initializers[1]
            or not _is_rounded_to_float32(initializers[0][x], initializers[1][y])
        ):
            return f"its number {x}"
    theirs, others = _read_node_attributes(a), _read_node_attributes(b)
    if [x.name for x in theirs] != [y.name for y in others]:
        return "its attributes"
    for x, y in zip(theirs, others, strict=True):
        if not _are_attributes_equal_after_rounding(x, y, names_in_b):
            return f"its attribute {x.name}"
    return None


def _read_node_attributes(node: NodeProto) -> Sequence[AttributeProto]:
    """Read the attributes of a node. A ConstantOfShape without a value gets its default, zero in float32."""
    if node.op_type == "ConstantOfShape" and not node.attribute:
        return [helper.make_attribute("value", _ZERO)]
    return [*node.attribute]


def _are_attributes_equal_after_rounding(a: AttributeProto, b: AttributeProto, names_in_b: dict[str, str]) -> bool:
    """Return whether attribute `a` of a float32 graph equals attribute `b` of a float64 graph after the numbers of `b`
    are rounded to float32. An attribute that names the type float32 equals one that names float64.

    Args:
        a: the attribute in the float32 graph.
        b: the attribute in the float64 graph.
        names_in_b: the name in the float64 graph of each value in the float32 graph.
    """
    if a.type != b.type:
        return False
    if a.type == AttributeProto.TENSOR:
        return _is_rounded_to_float32(a.t, b.t)
    if a.type == AttributeProto.GRAPH:
        return _describe_first_graph_difference(a.g, b.g, names_in_b) is None
    if a.type == AttributeProto.INT and a.name in {"to", "dtype"}:
        return bool(_TYPES.get(b.i, b.i) == a.i)
    return bool(a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True))


def _is_rounded_to_float32(single: TensorProto, double: TensorProto) -> bool:
    """Return whether a tensor holds the numbers of a float64 tensor, rounded to float32, up to 4 ulps."""
    if _TYPES.get(double.data_type, double.data_type) != single.data_type or list(single.dims) != list(double.dims):
        return False
    a: npt.NDArray[Any] = numpy_helper.to_array(single)
    b: npt.NDArray[Any] = numpy_helper.to_array(double)
    if double.data_type != TensorProto.DOUBLE:
        return bool(np.array_equal(a, b))
    # The lowest float64 in a mask is the counterpart of the lowest float32.
    b = np.where(np.isfinite(b), np.clip(b, -_LARGEST, _LARGEST), b)
    rounded = b.astype(np.float32)
    with np.errstate(invalid="ignore"):
        sizes = np.abs(rounded)
        scale = np.where(sizes < _LARGE, np.max(sizes, where=sizes < _LARGE, initial=0.0), sizes)
        near = np.abs(a - b) <= _ULPS * np.spacing(scale).astype(np.float64)
    return bool((near | (a == rounded) | (np.isnan(a) & np.isnan(b))).all())
