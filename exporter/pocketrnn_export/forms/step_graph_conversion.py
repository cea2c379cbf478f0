"""Make the step graph from a graph for whole texts or sequences of numbers. The step graph has the same layers, but it
continues from a state.

A bundle that was exported without streaming has the layers that a step needs. Only their surroundings differ: a step
begins with a state, and has no padding to hide. The result is proven like any step graph, against the graph that it was
made from.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pocketrnn.errors import ExportError
from pocketrnn_export.forms.packed_file.size_dependent_values import Affine, SizeValues, read_attributes
from pocketrnn_export.forms.packed_file.values_that_depend_on_tokens import (
    find_values_that_depend_only_on_token_count,
    select_nodes_needed_for_outputs,
)

_GATES: Final = frozenset({"RNN", "LSTM", "GRU"})
# The operators that compute each token by itself, if their other inputs are the same for every token.
_OF_EACH: Final = frozenset(
    {"Gather", "Cast", "Mul", "Add", "Transpose", "Squeeze", "Identity", "MatMul"}
    | {"Sub", "Div", "Neg", "Relu", "LeakyRelu", "Elu", "Gelu", "Erf", "Sigmoid", "Tanh", "Clip", "Min", "Max"}
)
# The operators that look at several steps at once.
_OF_NEIGHBOURS: Final = frozenset({"Conv", "MaxPool", "AveragePool"})
# The operators that make zeros of zeros.
_ZEROS_OF_ZEROS: Final = frozenset(
    {"Expand", "Slice", "Gather", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Transpose", "Cast", "Tile"}
)
# The number of tokens itself.
_COUNT: Final = (1, 0)
# The index of the last token.
_LAST: Final = (1, -1)
# The index of a layer's input with the lengths.
_LENGTHS_AT: Final = 4
_IN_WINDOWS: Final = (
    "Leave streaming out, and answer in windows: stream(window=...). Or train a classifier that carries a state: "
    "`pocketrnn train --convolution 0 --one-direction --pooling last`."
)
_STATE_AT: Final = 5


# The step graph as an ONNX file, and the size of its state.
ContentAndStateSize = tuple[bytes, int]


def make_bidirectional_streaming_error(input_word: str, step_word: str) -> ExportError:
    """Return the error for a bidirectional classifier, which cannot stream.

    Args:
        input_word: the message's word for the input: `text` or `recording`.
        step_word: the message's word for one step of the input: `word` or `step`.
    """
    return ExportError(
        f"A bidirectional classifier cannot answer while a {input_word} arrives: it reads from both ends, so each new "
        f"{step_word} changes the values of all {step_word}s before it.",
        "Train a classifier with `pocketrnn train --one-direction`, or leave streaming out."
        if input_word == "text"
        else "Leave streaming out, and answer in windows: stream(window=...).",
    )


class _ValueSource(Enum):
    """The part of the input from which a value of the graph is computed.

    Attributes:
        WEIGHTS: no part of the input: the value is a weight, or computed from weights.
        TOKENS: each step of the value is computed from the tokens up to this step.
        LENGTHS: the lengths, or the size of the input.
        MASKED: the tokens, with padding replaced by a number of the mask.
        SUM: the sum of all steps.
        PADDED: the tokens, with one step of zeros in front.
        TEXT: the whole text so far, as for the logits.
    """

    WEIGHTS = "weights"
    TOKENS = "tokens"
    LENGTHS = "lengths"
    MASKED = "masked tokens"
    SUM = "sum"
    PADDED = "tokens behind one of zeros"
    TEXT = "text"


def convert_to_step_graph(content: bytes, *, most: int | None = None) -> ContentAndStateSize:
    """Make the step graph from a graph for whole texts. The step graph takes some tokens and a state, and gives the
    logits for all tokens so far and the new state. Return the step graph as an ONNX file, and the number of floats in
    its state.

    The state has every layer's hidden state; for an LSTM, every layer's cell state; for pooling by mean or max, the
    value so far and the number of tokens; and if a layer reads each token joined with the one before, the last token's
    embedding.

    Args:
        content: an ONNX file that maps tokens int64 [batch, sequence], or samples float32 [batch, sequence, channels],
            and perhaps lengths int64 [batch], to logits.
        most: the most tokens or samples that the graph takes; None for any number.

    Raises:
        ExportError: the graph is bidirectional; it does not read token by token; or it has an operator that cannot
            continue from a state, which the message names.
    """
    return _StepBuilder(content, most).build_step_graph()


class _StepBuilder:
    """Converts a graph for whole texts to a step graph. It reads the nodes in order, records from which part of the
    input each value is computed, and collects the nodes of the step graph."""

    def __init__(self, content: bytes, most: int | None) -> None:
        self.content, self.most = content, most
        self.model = model = onnx.load_from_string(content)
        self.sources = dict.fromkeys((tensor.name for tensor in model.graph.initializer), _ValueSource.WEIGHTS)
        self.given = model.graph.input[0]
        self.takes_numbers = self.given.name == "samples"
        self.sources |= {
            self.given.name: _ValueSource.TOKENS,
            "lengths": _ValueSource.LENGTHS,
            "": _ValueSource.WEIGHTS,
        }
        # The time axis of each value.
        self.axis = {self.given.name: 1}
        self.made = {name: node for node in model.graph.node for name in node.output if name}
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.unmasked: dict[str, str] = {}
        self.nodes: list[NodeProto] = []
        self.hidden: list[tuple[str, int]] = []
        self.cells: list[tuple[str, int]] = []
        self.pooled: tuple[str, int] | None = None
        self.before: list[tuple[str, int]] = []
        self.constants: dict[str, np.ndarray] = {}

    def build_step_graph(self) -> ContentAndStateSize:
        """Convert all nodes. Return the step graph as an ONNX file, and the number of floats in its state."""
        for node in self.model.graph.node:
            self._convert_graph_node(node)
        if not self.hidden or self.sources.get("logits") is not _ValueSource.TEXT:
            raise self._make_unsupported_error("its logits do not come from a recurrent layer")
        states = [*self.hidden, *self.cells]
        sizes = [size for _, size in states]
        new = [name for name, _ in states]
        if self.pooled is not None:
            sizes += [self.pooled[1], 1]
            new += [self.pooled[0], "step.count"]
        sizes += [size for _, size in self.before]
        new += [name for name, _ in self.before]
        self.constants["step.sizes"] = np.array(sizes, np.int64)
        parts = [f"step.before.{i}" for i in range(len(sizes))]
        # The order of the state's parts: layers first, then cells, then the pooling, then the last token.
        renamed = dict(zip([*(f"{name}.before" for name in new)], parts, strict=True))
        begin = [helper.make_node("Split", ["state", "step.sizes"], parts, axis=1)]
        for node in self.nodes:
            for i, name in enumerate(node.input):
                node.input[i] = renamed.get(name, name)
        end = [helper.make_node("Concat", new, ["new_state"], axis=1)]
        return self._encode_step_graph([*begin, *self.nodes, *end], sum(sizes)), sum(sizes)

    def _convert_graph_node(self, node: NodeProto) -> None:
        """Add the nodes that do a graph node's work in the step graph, and record from which part of the input its
        outputs are computed. Raise an ExportError for a node that cannot continue from a state."""
        kinds = {self.sources.get(name) for name in node.input if name}
        if None in kinds:
            raise self._make_unsupported_error(
                f"{node.op_type} {node.name} reads a value that does not come from an input or a weight of the graph"
            )
        if kinds <= {_ValueSource.WEIGHTS}:
            self._add_unchanged_node(node, _ValueSource.WEIGHTS)
        elif node.op_type in _GATES:
            self._add_recurrent_layer_with_state(node)
        elif node.op_type == "Shape" or kinds <= {_ValueSource.WEIGHTS, _ValueSource.LENGTHS}:
            self._set_source(node, _ValueSource.LENGTHS)
        elif kinds <= {_ValueSource.WEIGHTS, _ValueSource.TEXT}:
            self._add_unchanged_node(node, _ValueSource.TEXT)
        elif (
            node.op_type == "Where"
            and self.sources[node.input[0]] is _ValueSource.LENGTHS
            and self.sources[node.input[2]] is _ValueSource.TOKENS
            # The mask keeps all tokens of the text.
            and self._all_elements_equal_affine_number(node.input[0], (0, False))
        ):
            self._set_source(node, _ValueSource.MASKED)
            self.unmasked[node.output[0]] = node.input[2]
        elif node.op_type == "ReduceMax" and kinds <= {_ValueSource.WEIGHTS, _ValueSource.TOKENS, _ValueSource.MASKED}:
            self._add_running_maximum(node)
        elif node.op_type == "ReduceSum" and kinds <= {_ValueSource.WEIGHTS, _ValueSource.TOKENS}:
            # A layer that knows the lengths gives zeros for padding.
            self._set_source(node, _ValueSource.SUM)
            self.unmasked[node.output[0]] = node.input[0]
            self._add_running_sum(node)
        elif node.op_type == "ReduceMean" and kinds <= {_ValueSource.WEIGHTS, _ValueSource.TOKENS}:
            self._add_running_sum(node)
            self._divide_by_step_count(node.output[0], f"{node.output[0]}.sum")
        elif (
            node.op_type == "Div"
            and self.sources[node.input[0]] is _ValueSource.SUM
            and self.sources[node.input[1]] is _ValueSource.LENGTHS
            and self._all_elements_equal_affine_number(node.input[1], _COUNT)
        ):
            self._divide_by_step_count(node.output[0], f"{node.input[0]}.sum")
        elif (index := self._find_index_if_node_selects_last_step(node)) is not None:
            self.constants["step.last"] = np.array(index, np.int64)
            self._add_new_node("Gather", [node.input[0], "step.last"], node.output[0], axis=1)
            self._set_source(node, _ValueSource.TEXT)
        elif kinds <= {_ValueSource.WEIGHTS, _ValueSource.TOKENS} and self._selects_last_step(node):
            self._add_unchanged_node(node, _ValueSource.TEXT)
        elif self._adds_step_of_zeros_in_front(node):
            self._set_source(node, _ValueSource.PADDED)
            self.unmasked[node.output[0]] = node.input[0]
        elif self.sources[node.input[0]] is _ValueSource.PADDED and self._drops_last_step(node):
            self._add_shift_by_one_step(node)
        elif kinds <= {_ValueSource.WEIGHTS, _ValueSource.TOKENS} and self._computes_each_step_separately(node):
            self._add_unchanged_node(node, _ValueSource.TOKENS)
            self._record_time_axis_of_output(node)
        elif node.op_type in _OF_NEIGHBOURS:
            raise self._make_unsupported_error(f"{node.op_type} {node.name} needs several {self._step_words} at once")
        else:
            raise self._make_unsupported_error(
                f"{node.op_type} {node.name} cannot continue with new {self._step_words}: it needs all of them at once"
            )

    @property
    def _step_words(self) -> str:
        return "steps" if self.takes_numbers else "words"

    def _selects_last_step(self, node: NodeProto) -> bool:
        """Return whether a node selects the last step of a value with a constant index -1: `outputs[:, -1]` in
        PyTorch."""
        index = self.weights.get(node.input[1]) if node.op_type == "Gather" else None
        if index is None or self.sources[node.input[0]] is not _ValueSource.TOKENS:
            return False
        axis = read_attributes(node).get("axis", 0)
        return bool(axis == self.axis.get(node.input[0])) and numpy_helper.to_array(index).tolist() == -1

    def _find_index_if_node_selects_last_step(self, node: NodeProto) -> int | list[int] | None:
        """If a GatherElements or GatherND selects the last step of each text by the text's length, return the index
        with which a Gather in the step graph selects this step: [-1] if the axis is kept, -1 if it is dropped. Return
        None for other nodes."""
        if node.op_type not in ("GatherElements", "GatherND"):
            return None
        steps, index = node.input
        if self.sources[steps] is not _ValueSource.TOKENS or self.axis.get(steps) != 1:
            return None
        known, attributes = self._size_values_of_original_graph.known.get(index), read_attributes(node)
        whole = [(0, 1), (0, 1), (0, self._find_feature_count_of_steps(steps))]
        if node.op_type == "GatherElements":
            each = attributes.get("axis", 0) == 1 and self._size_values_of_original_graph.find_sizes(index) == whole
            return [-1] if each and self._all_elements_equal_affine_number(index, _LAST) else None
        picks = (
            known is not None
            and known.numbers_with_smallest_and_largest == ((0, 0), _LAST)
            and not attributes.get("batch_dims", 0)
        )
        return -1 if picks and self._size_values_of_original_graph.find_sizes(index) == [(0, 1), (0, 2)] else None

    def _computes_each_step_separately(self, node: NodeProto) -> bool:
        """Return whether a node computes each step of its output from the same step of its inputs only. A Gather does
        so only if it looks up rows of a weight."""
        if node.op_type == "Gather":
            return self.sources[node.input[0]] is _ValueSource.WEIGHTS
        if node.op_type == "Concat":
            each = [(self.sources[name], self.axis.get(name)) for name in node.input]
            return {*each} == {(_ValueSource.TOKENS, 1)} and bool(read_attributes(node)["axis"] == 2)
        if node.op_type == "LayerNormalization":
            return bool(read_attributes(node).get("axis", -1) == -1)
        of_steps = [name for name in node.input if self.sources.get(name) is _ValueSource.TOKENS]
        if len(of_steps) > 1 and (
            node.op_type == "MatMul" or len(set(map(self._find_negative_time_axis, of_steps))) > 1
        ):
            return False
        return node.op_type in _OF_EACH

    def _find_negative_time_axis(self, name: str) -> int:
        """Return the index of a value's time axis as a negative number: -2 for [batch, time, features]."""
        sizes = self._size_values_of_original_graph.find_sizes(name)
        return self.axis.get(name, 0) - len(sizes or ())

    def _read_weight_numbers(self, name: str) -> list[int]:
        """Return the numbers of a weight, or an empty list for a value that is not a weight."""
        return numpy_helper.to_array(self.weights[name]).tolist() if name in self.weights else []

    def _adds_step_of_zeros_in_front(self, node: NodeProto) -> bool:
        """Return whether a node is a Pad that adds one step of zeros before the first step of a value [batch, sequence,
        n]."""
        if (
            node.op_type != "Pad"
            or self.sources[node.input[0]] is not _ValueSource.TOKENS
            or self.axis.get(node.input[0]) != 1
        ):
            return False
        of_zeros = read_attributes(node).get("mode", b"constant") == b"constant" and (
            len(node.input) < 3 or not node.input[2] or self._contains_only_zeros(node.input[2])
        )
        return of_zeros and len(node.input) < 4 and self._read_weight_numbers(node.input[1]) == [0, 1, 0, 0, 0, 0]

    def _drops_last_step(self, node: NodeProto) -> bool:
        """Return whether a node is a Slice that selects all steps except the last one: `x[:, :-1]`."""
        if node.op_type != "Slice" or len(node.input) < 4:
            return False
        return [self._read_weight_numbers(name) for name in node.input[1:]] in (
            [[0], [-1], [1]],
            [[0], [-1], [1], [1]],
        )

    def _add_shift_by_one_step(self, node: NodeProto) -> None:
        """Add nodes that give each step the value of the step before. The first new step gets the last step of the
        tokens read earlier, which the state holds."""
        steps, before = self.unmasked[node.input[0]], f"{node.output[0]}.last"
        self.constants |= {"step.second": np.array([1], np.int64), "step.end": np.array(-1, np.int64)}
        self._add_new_node("Unsqueeze", [f"{before}.before", "step.second"], f"{before}.first")
        self._add_new_node("Concat", [f"{before}.first", steps], f"{before}.all", axis=1)
        node.input[0] = f"{before}.all"
        self._add_unchanged_node(node, _ValueSource.TOKENS)
        self._add_new_node("Gather", [steps, "step.end"], before, axis=1)
        self.axis[node.output[0]] = 1
        self.before.append((before, self._find_feature_count_of_steps(steps)))

    def _all_elements_equal_affine_number(self, name: str, number: Affine) -> bool:
        """Return whether all elements of a value equal the same number a * tokens + b, whatever the number of tokens
        is.

        Args:
            name: the name of the value.
            number: the pair (a, b).
        """
        known = self._size_values_of_original_graph.known.get(name)
        return known is not None and {*known.numbers_with_smallest_and_largest} == {number}

    @functools.cached_property
    def _size_values_of_original_graph(self) -> SizeValues:
        """The values of the original graph whose numbers depend only on the number of tokens."""
        # `self.model` has changed nodes.
        return find_values_that_depend_only_on_token_count(onnx.load_from_string(self.content), self.most)

    def _record_time_axis_of_output(self, node: NodeProto) -> None:
        """Record which axis of a node's output is the time axis, from the time axis of its inputs."""
        axis = next((self.axis[name] for name in node.input if name in self.axis), None)
        if axis is None:
            return
        if node.op_type == "Transpose":
            axis = list(read_attributes(node)["perm"]).index(axis)
        elif node.op_type == "Squeeze":
            axes = self.weights.get(node.input[1]) if len(node.input) > 1 else None
            cut = [] if axes is None else numpy_helper.to_array(axes).tolist()
            axis -= sum(0 <= one < axis for one in cut)
        self.axis[node.output[0]] = axis

    @property
    def _input_word(self) -> str:
        return "recording" if self.takes_numbers else "text"

    def _make_unsupported_error(self, reason: str) -> ExportError:
        return ExportError(
            f"The classifier cannot answer while a {self._input_word} arrives: {reason}.",
            _IN_WINDOWS
            if self.takes_numbers
            else "Leave streaming out, or train a classifier with `pocketrnn train --one-direction`.",
        )

    def _contains_only_zeros(self, name: str) -> bool:
        """Return whether a value that does not depend on the tokens consists of zeros."""
        if name in self.weights:
            return not numpy_helper.to_array(self.weights[name]).any()
        node = self.made.get(name)
        if node is not None and node.op_type == "ConstantOfShape":
            value = read_attributes(node).get("value")
            return value is None or not numpy_helper.to_array(value).any()
        return node is not None and node.op_type in _ZEROS_OF_ZEROS and self._contains_only_zeros(node.input[0])

    def _add_unchanged_node(self, node: NodeProto, source: _ValueSource) -> None:
        self.nodes.append(node)
        self._set_source(node, source)

    def _set_source(self, node: NodeProto, source: _ValueSource) -> None:
        self.sources |= dict.fromkeys((name for name in node.output if name), source)

    def _add_new_node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def _add_recurrent_layer_with_state(self, node: NodeProto) -> None:
        """Add a recurrent layer that starts from the layer's part of the state, and record the layer's last hidden
        state (and last cell state) as the new state. Raise an ExportError for a layer that cannot start from a state,
        such as a bidirectional one."""
        attributes = read_attributes(node)
        if attributes.get("direction", b"forward") != b"forward":
            raise make_bidirectional_streaming_error(self._input_word, self._step_words[:-1])
        inputs = [*node.input, *[""] * 8][:8]
        of_weights = [*inputs[1:_LENGTHS_AT], inputs[7]]
        if (
            self.sources[inputs[0]] is not _ValueSource.TOKENS
            or attributes.get("layout", 0)
            or any(self.sources[name] is not _ValueSource.WEIGHTS for name in of_weights)
            or not (not inputs[_LENGTHS_AT] or self._all_elements_equal_affine_number(inputs[_LENGTHS_AT], _COUNT))
            or self.axis.get(inputs[0]) != 0
        ):
            raise self._make_unsupported_error(
                f"the layer {node.op_type} {node.name} does not read all {self._step_words} in order"
            )
        if any(name and not self._contains_only_zeros(name) for name in inputs[_STATE_AT:7]):
            raise self._make_unsupported_error(
                f"the layer {node.op_type} {node.name} does not start from zeros, but from another state"
            )
        size, name = int(attributes["hidden_size"]), f"step.{node.output[0] or node.output[1]}"
        # The states of all tokens, the last one, and of an LSTM the last cell.
        given = [*node.output, "", "", ""][: 3 if node.op_type == "LSTM" else 2]
        outputs = [given[0], *(output or f"{name}.last.{i}" for i, output in enumerate(given[1:]))]
        inputs[_LENGTHS_AT:7] = ["", "", ""]
        self.constants["step.first"] = np.array([0], np.int64)
        for i, kind in enumerate((self.hidden, self.cells)[: len(outputs) - 1]):
            new = f"{name}.new.{i}"
            self._add_new_node("Unsqueeze", [f"{new}.before", "step.first"], f"{name}.before.{i}")
            inputs[_STATE_AT + i] = f"{name}.before.{i}"
            kind.append((new, size))
        while not inputs[-1]:
            inputs.pop()
        node.input[:], node.output[:] = inputs, outputs
        self.nodes.append(node)
        for i, last in enumerate(outputs[1:]):
            self._add_new_node("Squeeze", [last, "step.first"], f"{name}.new.{i}")
        self.sources |= {outputs[0]: _ValueSource.TOKENS, **dict.fromkeys(outputs[1:], _ValueSource.TEXT)}
        self.axis[outputs[0]] = 0

    def _refuse_unsupported_pooling(self, node: NodeProto) -> None:
        """Raise an ExportError for a pooling (a sum, mean or maximum) that a step graph cannot compute: over another
        axis than the sequence, before the first recurrent layer, or as the second pooling of the graph."""
        if not self.hidden:
            raise self._make_unsupported_error(
                "forward takes a sum, mean or maximum of values that no recurrent layer computed"
            )
        attributes = read_attributes(node)
        axes = attributes.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1] in self.weights:
            axes = numpy_helper.to_array(self.weights[node.input[1]]).tolist()
        if list(axes or ()) not in ([1], [-2]) or attributes.get("keepdims", 1):
            raise self._make_unsupported_error(
                f"{node.op_type} {node.name} reduces another axis than the {self._step_words} of the {self._input_word}"
            )
        if self.pooled is not None:
            raise self._make_unsupported_error(
                f"{node.op_type} {node.name} is a second sum, mean or maximum over the {self._step_words}, but "
                "only one is possible"
            )

    def _add_reduction_of_new_steps(self, node: NodeProto, operator: str) -> str:
        """Add nodes that reduce only the new steps, and that count all steps so far. Return the name of the reduced
        value.

        Args:
            node: the node that reduces all steps of a text.
            operator: the operator for the new steps: ReduceMax or ReduceSum.
        """
        self._refuse_unsupported_pooling(node)
        newest, tokens = f"{node.output[0]}.newest", self.unmasked.get(node.input[0], node.input[0])
        self.constants["step.second"] = np.array([1], np.int64)
        # The axes are an attribute of ReduceMax before opset 18, and of ReduceSum before 13.
        if any(attribute.name == "axes" for attribute in node.attribute):
            self._add_new_node(operator, [tokens], newest, axes=[1], keepdims=0)
        else:
            self._add_new_node(operator, [tokens, "step.second"], newest, keepdims=0)
        self._add_new_node("Shape", [self.given.name], "step.shape", start=1, end=2)
        self._add_new_node("Cast", ["step.shape"], "step.read", to=TensorProto.FLOAT)
        self._add_new_node("Add", ["step.count.before", "step.read"], "step.count")
        return newest

    def _add_running_maximum(self, node: NodeProto) -> None:
        """Replace a maximum over all steps: add nodes that compute the larger of the maximum of the new steps and the
        maximum in the state."""
        newest, pooled = self._add_reduction_of_new_steps(node, "ReduceMax"), node.output[0]
        self.constants["step.none"] = np.array(0, np.float32)
        self._add_new_node("Greater", ["step.count.before", "step.none"], "step.began")
        self._add_new_node("Max", [f"{pooled}.before", newest], f"{pooled}.larger")
        self._add_new_node("Where", ["step.began", f"{pooled}.larger", newest], pooled)
        self._set_source(node, _ValueSource.TEXT)
        self.pooled = pooled, self._find_feature_count_of_steps(node.input[0])

    def _add_running_sum(self, node: NodeProto) -> None:
        """Replace a sum over all steps: add nodes that add the sum of the new steps to the sum in the state."""
        newest, kept = self._add_reduction_of_new_steps(node, "ReduceSum"), f"{node.output[0]}.sum"
        self._add_new_node("Add", [f"{kept}.before", newest], kept)
        self.pooled = kept, self._find_feature_count_of_steps(node.input[0])

    def _divide_by_step_count(self, output: str, total: str) -> None:
        self._add_new_node("Div", [total, "step.count"], output)
        self.sources[output] = _ValueSource.TEXT

    def _find_feature_count_of_steps(self, name: str) -> int:
        """Return the number of features in each step of a value [batch, sequence, features]. Raise an ExportError if
        the number is not fixed."""
        sizes = self._size_values_of_original_graph.find_sizes(name)
        if not sizes or sizes[-1][0]:
            raise self._make_unsupported_error(f"the number of features in each step of {name} is not fixed")
        return sizes[-1][1]

    def _encode_step_graph(self, nodes: Sequence[NodeProto], state_size: int) -> bytes:
        """Return the ONNX file of the step graph, without the nodes that neither the logits nor the new state need."""
        kind = self.given.type.tensor_type
        more = [kind.shape.dim[2].dim_value] if self.takes_numbers else []
        inputs = [
            helper.make_tensor_value_info(self.given.name, kind.elem_type, ["batch", "sequence", *more]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", state_size]),
        ]
        logits = next(value for value in self.model.graph.output if value.name == "logits")
        outputs = [logits, helper.make_tensor_value_info("new_state", TensorProto.FLOAT, ["batch", state_size])]
        kept = select_nodes_needed_for_outputs(nodes, [output.name for output in outputs])
        read = {name for node in kept for name in node.input}
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in read]
        weights = [tensor for tensor in self.model.graph.initializer if tensor.name in read]
        graph = helper.make_graph(kept, "step", inputs, outputs, [*weights, *constants])
        made = helper.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version, producer_name="pocketrnn"
        )
        helper.set_model_props(made, {entry.key: entry.value for entry in self.model.metadata_props})
        onnx.checker.check_model(made)
        written: bytes = made.SerializeToString()
        return written
