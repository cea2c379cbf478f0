"""Find out whether padding, or the order of equal values, may change the answer to some text: find the first operator
whose results are equal in two runs for one text, but may differ for another text.

An operator's inputs may differ between the runs while its results are equal: a gate that is 0 for nearly every text
hides the difference, or a maximum at another place. So the operator runs alone, with other numbers in place of the
inputs that are equal in both runs.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.module_runs.operator_recording import GIVES_NO_NUMBERS
from pocketrnn_export.proof.fresh_copies_and_random_inputs import is_text, set_lengths_to_full_width
from pocketrnn_export.proof.program_runs_and_nodes import (
    NodeValues,
    describe_first_known_line_of_nodes,
    find_batch_symbols,
    read_operator_name,
    select_nodes_needed_for_outputs,
)
from pocketrnn_export.proof.texts_mixed_in_batch import BY_POSITION
from pocketrnn_export.proof.word_dependence_of_values import WordDependence, find_word_dependence
from pocketrnn_export.torch_internals import flatten_tree, read_size_expression, unflatten_tree, writes_in_place
from pocketrnn_export.tracing.sort_with_equal_values_reversed import ORDERS, call_with_reversed_ties
from pocketrnn_export.tracing.trace_session import takes_lengths, takes_two_texts

# The row of the text that is compared, of the two in a batch.
TEXT: Final = 1
_DRAWS: Final = 12
_SAME: Final = 1e-3
_UNBOUNDED: Final = float("inf")
# An index of a tensor: one slice for each axis.
_Index = tuple[slice, ...]
# The operators that only move numbers, or fill in numbers that do not come from the text.
MOVES: Final = frozenset({
    "_to_copy", "alias", "clone", "contiguous", "cut", "cut_to_longest", "detach", "expand", "flip", "gather",
    "getitem", "index", "index_select", "masked_fill", "permute", "reshape", "select", "slice", "squeeze", "step", "t",
    "to", "transpose", "unsqueeze", "view",
})  # fmt: skip
_RANGES: Final = {
    **dict.fromkeys(("cos", "recurrence", "sin", "tanh"), (-1.0, 1.0)),
    **dict.fromkeys(("_softmax", "hardsigmoid", "sigmoid", "softmax"), (0.0, 1.0)),
    **dict.fromkeys(
        ("abs", "exp", "linalg_vector_norm", "norm", "relu", "softplus", "sqrt", "std", "var"), (0.0, _UNBOUNDED)
    ),
}  # fmt: skip
# The output of a recurrent layer whose numbers may exceed 1: the last one, the cell of an LSTM.
_CELL: Final = 2


@dataclass(frozen=True)
class _NodeRun:
    """The inputs and outputs of a node as flat lists. They are copied if later writes may change them."""

    given: list[Any]
    form: Any
    nodes: list[Any]
    results: list[Any]


class RecordedRun(NodeValues):
    """A run of a program that records the inputs and outputs of each operator."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program)
        self.ran: dict[Node, _NodeRun] = {}
        # Else a value stays as it was recorded, and a large embedding need not be copied for each run.
        self._is_overwritten = any(writes_in_place(node.target) for node in program.graph.nodes)

    def run_node(self, n: Node) -> Any:
        """Compute the value of a node, and record the inputs and outputs of its operator."""
        if n.op != "call_function":
            value = super().run_node(n)
            self.ran[n] = _NodeRun([], None, [], self._copy_if_overwritten([value]))
            return value
        given, form = flatten_tree(self.fetch_args_kwargs_from_env(n))
        given = self._copy_if_overwritten(given)
        value = super().run_node(n)
        results = self._copy_if_overwritten(flatten_tree(value)[0])
        self.ran[n] = _NodeRun(given, form, flatten_tree((n.args, n.kwargs))[0], results)
        return value

    def _copy_if_overwritten(self, values: list[Any]) -> list[Any]:
        return _clone_tensors(values) if self._is_overwritten else values


def _clone_tensors(values: Sequence[Any]) -> list[Any]:
    return [value.clone() if isinstance(value, Tensor) else value for value in values]


class HiddenDifferences:
    """Compares two runs of a program, each on a batch of two texts. The text in row 1 is the same in both runs. The
    batch of the second run may be wider.

    Args:
        program: from torch.export.
        narrow, wide: the first and the second run.
    """

    def __init__(self, program: torch.export.ExportedProgram, narrow: RecordedRun, wide: RecordedRun) -> None:
        self._narrow, self._wide, self._batch = narrow, wide, find_batch_symbols(program)
        self._words, self._needed = find_word_dependence(program), select_nodes_needed_for_outputs(program)
        self._same = {
            node: self._is_value_equal_for_compared_text(node, narrow.ran[node].results, wide.ran[node].results)
            for node in self._needed
            if node in narrow.ran and node in wide.ran
        }
        answers = program.graph_signature.user_outputs
        self._answer = next((node for node in self._needed if node.name in answers), None)
        self._generator = torch.Generator().manual_seed(3)

    def find_first_node_that_may_differ_between_runs(
        self, deadline: float = float("inf"), operators_left_out: Collection[str] = ()
    ) -> Node | None:
        """Return the program's first node whose result may differ between the two runs for some other text, although it
        is equal for the text in row 1. If the answer itself differs for the text in row 1, return the node of the
        answer. Return None if nothing may differ.

        Args:
            deadline: the search stops at this `time.process_time()`.
            operators_left_out: names of operators that are not checked, such as "index".
        """
        if self._answer is not None and self._same.get(self._answer) is False:
            return self._answer
        for node in self._needed:
            if time.process_time() > deadline:
                return None
            name = read_operator_name(node)
            if not hasattr(node.target, "overloadpacket") or name in ("recurrence", *operators_left_out):
                continue
            if name.startswith(GIVES_NO_NUMBERS):
                continue
            if self._same.get(node) and self._may_differ_for_some_text(node):
                return node
        return None

    def _is_value_equal_for_compared_text(self, node: Node, narrow: Sequence[Any], wide: Sequence[Any]) -> bool | None:
        """Return whether a node's results in the first run, `narrow`, and in the second run, `wide`, are equal for the
        text in row 1, up to rounding. Return None if the numbers of this text cannot be selected from the results."""
        stated = flatten_tree(node.meta.get("val"))[0]
        found = False
        for one, other, like in zip(narrow, wide, stated, strict=False):
            if not isinstance(one, Tensor) or not isinstance(other, Tensor):
                continue
            if (part := self._find_index_of_compared_text(like, one, other)) is None:
                return None
            # The weights of both runs are the same.
            if one is other or (one.dtype == other.dtype and torch.equal(one[part], other[part])):
                found = True
                continue
            own, beside = one[part].double(), other[part].double()
            scale = max(1.0, float(own.nan_to_num(0.0, 0.0, 0.0).abs().max())) if own.numel() else 1.0
            if not torch.allclose(own, beside, rtol=0, atol=_SAME * scale, equal_nan=True):
                return False
            found = True
        return found or None

    def _find_index_of_compared_text(self, stated: Any, narrow: Tensor, wide: Tensor) -> _Index | None:
        """Return the index, a tuple of slices, that selects the numbers of the text in row 1 from a value in both runs.
        Return None if there is no such index.

        Args:
            stated: the value in the program, with symbolic sizes.
            narrow, wide: the value in the first and in the second run.
        """
        if not isinstance(stated, Tensor) or not stated.dim() == narrow.dim() == wide.dim():
            return None
        found: list[Any] = []
        for size, own, other in zip(stated.shape, narrow.shape, wide.shape, strict=True):
            symbols: set[Any] = read_size_expression(size).free_symbols if isinstance(size, torch.SymInt) else set()
            is_batch = isinstance(size, torch.SymInt) and read_size_expression(size) in self._batch
            if other < own or (symbols & self._batch and not is_batch) or (is_batch and (own, other) != (2, 2)):
                return None
            found.append(slice(TEXT, TEXT + 1) if is_batch else slice(own))
        return tuple(found)

    def _may_differ_for_some_text(self, node: Node) -> bool:
        """Return whether a node can give different results in the two runs for some text. To find out, the node's
        operands are changed at random, in the same way in both runs, and its operator runs on them."""
        narrow, wide = self._narrow.ran[node], self._wide.ran[node]
        changing: dict[int, _Index] = {}
        differing: dict[int, _Index] = {}
        reached = False
        for i, source in enumerate(narrow.nodes[: len(narrow.given)]):
            one, other = narrow.given[i], wide.given[i]
            if not isinstance(source, Node) or not isinstance(one, Tensor):
                continue
            part = self._find_index_of_compared_text(source.meta.get("val"), one, other)
            if part is None:
                return False
            same = self._same.get(source)
            reached |= one.shape != other.shape or same is False
            if same and self._words[source] is not WordDependence.NOTHING:
                changing[i] = part
            elif same is False and one.dtype != torch.bool:
                differing[i] = part
        if not reached:
            return False
        # A flat part of a function, such as of `relu`, may hide a difference of its operand. Two operands that differ
        # may depend on each other, such as shares and their sum.
        if len(differing) > 1:
            differing = {}
        return any(
            self._differs_with_changed_operands(node, changing, differing if draw % 2 or not changing else {})
            for draw in range(_DRAWS if changing or differing else 0)
        )

    def _differs_with_changed_operands(
        self, node: Node, equal_operands: Mapping[int, _Index], differing_operands: Mapping[int, _Index]
    ) -> bool:
        """Return whether a node gives different results in the two runs after its operands are changed for the text in
        row 1.

        Args:
            node: the node, whose operator runs alone.
            equal_operands: the operands that are equal in both runs; the same random numbers replace them. Each is
                given by its position and the index that selects the text.
            differing_operands: the operands that differ, given likewise; the same number is added to both.
        """
        narrow, wide = self._narrow.ran[node], self._wide.ran[node]
        own, beside = list(narrow.given), list(wide.given)
        for i in range(len(own)) if writes_in_place(node.target) else (*equal_operands, *differing_operands):
            own[i], beside[i] = _clone_tensors([own[i], beside[i]])
        for i, part in equal_operands.items():
            own[i][part] = beside[i][part] = self._draw_numbers_for_compared_text(
                narrow.nodes[i], own[i], part, beside[i].shape
            )
        ends = [0.0, *(float(one) for one in own if isinstance(one, int | float))]
        for i, part in differing_operands.items():
            numbers = own[i][part].double().flatten().nan_to_num(0.0, 0.0, 0.0)
            apart = (numbers - beside[i][part].double().flatten()).abs().max().clamp(min=1.0)
            # Move it near a number at which the operator may have a step, or leave it near its own.
            places = [float(numbers[0]), *ends]
            place = places[int(torch.randint(len(places), (), generator=self._generator))]
            by = place - numbers[0] + apart * torch.randn((), generator=self._generator, dtype=torch.float64)
            by = by if own[i].is_floating_point() else by.round()
            own[i][part], beside[i][part] = own[i][part] + by.to(own[i].dtype), beside[i][part] + by.to(own[i].dtype)
        # An operator may raise anything on other numbers.
        with contextlib.suppress(Exception):
            results = (self._call_with_flat_arguments(node, one, narrow.form) for one in (own, beside))
            return self._is_value_equal_for_compared_text(node, *results) is False
        return False

    def _call_with_flat_arguments(self, node: Node, arguments: list[Any], tree_form: Any) -> list[Any]:
        args, kwargs = unflatten_tree(arguments, tree_form)
        with torch.no_grad():
            return flatten_tree(self._narrow.call_function(node.target, args, kwargs))[0]

    def _draw_numbers_for_compared_text(
        self, source: Node, narrow_value: Tensor, text_index: _Index, wide_shape: torch.Size
    ) -> Tensor:
        """Draw random numbers for the text in row 1, in the shape that this text has in an operand. Along an axis that
        is longer in the second run, all numbers are close to one random number. So in some draws they are all smaller
        than the numbers of the padding, and in other draws all larger.

        Args:
            source: the node of the operand, which limits the range of the numbers.
            narrow_value: the operand in the first run.
            text_index: the index that selects the text from the operand.
            wide_shape: the operand's shape in the second run.
        """
        shape = narrow_value[text_index].shape
        of_text = [
            1 if own != other else size for size, own, other in zip(shape, narrow_value.shape, wide_shape, strict=True)
        ]
        if narrow_value.dtype == torch.bool:
            return torch.rand(shape, generator=self._generator) < torch.rand(of_text, generator=self._generator).round()
        if not narrow_value.is_floating_point():
            known = torch.cat([narrow_value[text_index].flatten(), torch.tensor([0, 1, 2], dtype=narrow_value.dtype)])
            return known[torch.randint(len(known), shape, generator=self._generator)]
        low, high = self._find_range_of_possible_results(source)
        if high < _UNBOUNDED:
            middle = low + (high - low) * torch.rand(of_text, generator=self._generator)
        else:
            middle = torch.randn(of_text, generator=self._generator) * max(
                1.0, float(narrow_value[text_index].abs().max())
            )
            middle = middle if low < 0 else middle.abs()
        near = middle + 0.05 * torch.randn(shape, generator=self._generator)
        return near.clamp(low, high).to(narrow_value.dtype)

    def _find_range_of_possible_results(self, node: Node) -> tuple[float, float]:
        """Return the smallest and the largest number that a node can give for any text, such as (0, 1) for a sigmoid;
        infinite where there is no bound."""
        name = read_operator_name(node).removesuffix("_")
        sources = node.all_input_nodes
        if name == "getitem" and read_operator_name(sources[0]) == "recurrence":
            mode = str(sources[0].args[-1])
            is_cell = node.args[1] == _CELL or mode in ("RNN_RELU", "RNN_LINEAR", "GRU_LINEAR")
            return (-_UNBOUNDED, _UNBOUNDED) if is_cell else _RANGES["recurrence"]
        if name in _RANGES:
            return _RANGES[name]
        texts = [one for one in sources if self._words[one] is not WordDependence.NOTHING]
        if name in MOVES and sources:
            return self._find_range_of_possible_results(sources[0])
        # One operand is a mask of lengths.
        if name in ("mul", "where") and len(texts) == 1 < len(sources):
            return self._find_range_of_possible_results(texts[0])
        return -_UNBOUNDED, _UNBOUNDED


# --- Padding ---
# Find out whether the padding after a text, which a wider batch adds, may change the answer to some text.
#
# A maximum over all steps of a batch is correct as long as one of a text's own steps is above the padding's zero, as
# it is for nearly every random text of 70 words. So the program runs on a text beside one of its own length and
# beside a longer one, and its operators are checked one by one (`HiddenDifferences`), with the padding left as it is.

# The numbers of tokens of a text, and how many more the longer text in the first row has: a few, and as many as a
# condition on the amount of padding may need.
_LENGTHS: Final = (3, 40)
_MORE: Final = 9
_MANY_MORE: Final = 400
# Conditions on longer texts are not tried.
_LONGEST: Final = 2_000


def find_padding_sensitive_line(
    program: torch.export.ExportedProgram,
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    lengths_near_conditions: Sequence[int] = (),
    *,
    padding_id: int,
    deadline: float = float("inf"),
) -> str:
    """Return the line of user code at which the padding after a text may change the answer to some text, or "" if there
    is no such line.

    Args:
        program: from torch.export.
        inputs_of: a function that makes random inputs, as the program takes them, from the number of texts and of
            tokens.
        lengths_near_conditions: text lengths near each condition on a length in forward, such as 100 and 101 for
            `x.size(1) > 100`; they are tried, too.
        padding_id: the id that fills the places after a text.
        deadline: the search stops at this `time.process_time()`.
    """
    asked = sorted({n for n in lengths_near_conditions if 1 < n <= _LONGEST} - set(_LENGTHS))
    few, many = ((n, _MORE) for n in (*_LENGTHS, *asked)), ((n, _MANY_MORE) for n in _LENGTHS[-1:])
    sides = range(2 if takes_two_texts(inputs_of(2, _MORE)) else 1)
    for (length, more), side in itertools.product((*few, *many), sides):
        pair = _run_with_and_without_padding(program, inputs_of, length, length + more, padding_id, side)
        if (
            pair is not None
            and (node := HiddenDifferences(program, *pair).find_first_node_that_may_differ_between_runs(deadline))
            is not None
        ):
            return describe_first_known_line_of_nodes(node)
        if time.process_time() > deadline:
            break
    return ""


def _run_with_and_without_padding(
    program: torch.export.ExportedProgram,
    inputs_of: Callable[[int, int], tuple[Tensor, ...]],
    length: int,
    width: int,
    padding_id: int,
    padded_text_index: int,
) -> tuple[RecordedRun, RecordedRun] | None:
    """Run a program on a text beside another text of the same length, and on the same text beside a longer one, so that
    the text is followed by padding. Return both runs, or None if the program fails. A program without lengths gets the
    same padding in both runs, since it may count the lengths.

    Args:
        program: from torch.export.
        inputs_of: a function that makes random inputs from the number of texts and of tokens.
        length: the number of tokens of the text.
        width: the number of tokens of the longer text.
        padding_id: the id that fills the places after a text.
        padded_text_index: which text of a pair is padded, 0 or 1, in a program that takes pairs of texts; else 0.
    """
    inputs = [value.clone() for value in inputs_of(2, width)]
    texts = 2 if takes_two_texts(inputs) else 1
    words = inputs[0][inputs[0] != padding_id]
    if not len(words):
        return None
    tokens = words[torch.arange(2 * width).view(2, width) % len(words)]
    tokens[TEXT, length:] = padding_id
    alone, beside = list(inputs), list(inputs)
    alone[padded_text_index] = torch.where(torch.arange(width) < length, tokens, padding_id)
    beside[padded_text_index] = tokens
    if takes_lengths(inputs):
        alone[padded_text_index] = tokens[:, :length].contiguous()
        alone[texts + padded_text_index] = torch.full((2,), length)
        beside[texts + padded_text_index] = torch.tensor([width, length])
    narrow, wide = RecordedRun(program), RecordedRun(program)
    return (narrow, wide) if narrow(tuple(alone)) and wide(tuple(beside)) else None


# --- Order of equal values ---
# Find out whether the order of equal values, which PyTorch leaves undefined, may change the answer to some text.
#
# A word that occurs twice in a text has equal scores. If the answer depends on which one is taken, the module is
# refused (`traced_program_checks.refuse_answers_that_depend_on_tie_order`); but a gate may hide the difference for
# every text that was tried. So the program runs with equal values in both orders, and its operators are checked one by
# one (`HiddenDifferences`).

_STEPS: Final = (2, 9, 40)
# The values at the places of equal scores may also be equal, as the vectors of one word are. Then their order does not
# matter.
_TAKES: Final = (*BY_POSITION, "embedding", "index", "take")


def find_tie_sensitive_line(
    program: torch.export.ExportedProgram, inputs_of: Callable[[int, int], tuple[Tensor, ...]], *, one_text: bool
) -> str:
    """Return the line of user code with a sort, or a similar function, whose order of equal values may change an
    answer. Return "" if there is no such line.

    Args:
        program: from torch.export.
        inputs_of: a function that makes random inputs, as the program takes them, from the number of texts and of
            tokens.
        one_text: whether the batch size is always 1.
    """
    for steps in _STEPS:
        given = inputs_of(1 if one_text else 2, steps)
        inputs = set_lengths_to_full_width([_repeat_each_token(value) if is_text(value) else value for value in given])
        one, other = RecordedRun(program), _ReversedTieRun(program)
        if not (one(inputs) and other(inputs)):
            continue
        if (
            HiddenDifferences(program, one, other).find_first_node_that_may_differ_between_runs(
                operators_left_out=_TAKES
            )
            is not None
        ):
            orders = [node for node in program.graph.nodes if read_operator_name(node) in ORDERS]
            return describe_first_known_line_of_nodes(*orders)
    return ""


def _repeat_each_token(tokens: Tensor) -> Tensor:
    """Return tokens of the same shape in which each row holds the first half of the first row, each token twice: a
    first row [1, 2, 3, 4] becomes [1, 1, 2, 2]."""
    return tokens[:1, torch.arange(tokens.shape[1]) // 2].expand(len(tokens), -1).contiguous()


class _ReversedTieRun(RecordedRun):
    """A run of a program in which sorts give equal values in reverse order."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        name = str(target).removeprefix("aten.").partition(".")[0]
        run = super().call_function
        return call_with_reversed_ties(lambda *given, **named: run(target, given, named), name, args, kwargs)
