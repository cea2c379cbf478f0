"""Find values of a program that are equal for all texts of a proof. The proof did not compare any other values there.

Forward may test for something that hardly any text has: `torch.where(has_phrase, rare, usual)`. If no text of the proof
has it, the graph was compared for one result of this test only. The export then says so and names the line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.comparing.module_and_graph_as_functions import make_graph_inputs_from_ids
from pocketrnn_export.comparing.proof_inputs import Case, split_cases_into_single_rows
from pocketrnn_export.intake.user_code_lines_for_messages import UNKNOWN_LINE, describe_user_line_of_node
from pocketrnn_export.module_runs.operator_recording import GIVES_NO_NUMBERS
from pocketrnn_export.proof.program_runs_and_nodes import (
    NodeValues,
    read_operator_name,
    select_nodes_needed_for_outputs,
)

# Numbers that differ by less, relative to the largest, count as equal.
_APART: Final = 1e-6
_LARGE: Final = 1e30
# A value whose last axis has at most this many places is checked place by place.
_PLACES: Final = 16
# The most lines of code that get a note.
_MOST_LINES: Final = 5
# The classifiers of `pocketrnn train` ask nothing of a text: a linear part that weighs 0 is 0 for all texts.
_TRAINED_HERE: Final = "pocketrnn_training"
_ORDER: Final = ("texts", "drawn shapes", "asked ids", "hazards", "shapes", "every id", "bounds")
# These operators give one number for nearly all inputs, so a constant result means nothing.
_LIKE: Final = frozenset({"isfinite", "isinf", "isnan", "scalar_tensor", "zeros_like", "ones_like", "full_like"})


def write_notes_on_values_equal_for_all_texts(
    program: torch.export.ExportedProgram | None,
    cases: Mapping[str, Sequence[Case]],
    input_names: Sequence[str],
    *,
    one_row: bool,
) -> tuple[str, ...]:
    """Run a program on all inputs of a proof, and find the lines of user code that compute a value which is equal for
    all texts, so that the proof compared no other value there. Return a note for each of the first five such lines.

    Args:
        program: from torch.export; None returns no notes.
        cases: batches of texts by kind.
        input_names: the names of the program's inputs.
        one_row: whether to run each text alone.
    """
    if program is None:
        return ()
    lines: dict[str, str] = {}
    for node, shown in find_constant_values(program, _make_program_inputs(cases, input_names, one_row=one_row)).items():
        line = describe_user_line_of_node(node)
        if _TRAINED_HERE not in line:
            lines.setdefault(line or UNKNOWN_LINE, shown)
    return tuple(
        f"A value is {shown} for all texts of the proof, {line}. The effect of other values was compared only operator "
        "by operator. Give example texts for which this value is different (example_texts=, --texts)."
        for line, shown in [*lines.items()][:_MOST_LINES]
    )


def find_constant_values(
    program: torch.export.ExportedProgram, runs: Iterable[tuple[Tensor, ...]]
) -> Mapping[Node, str]:
    """Run a program on several inputs. Return the nodes whose results are equal in all runs although the operands of
    these nodes differ, each with its result as a string, such as "True" or "nearly 0".

    Args:
        program: from torch.export.
        runs: the inputs of each run; no further run is made when each value has changed.
    """
    waiting = _find_nodes_that_depend_on_words(program)
    seen = _RangeRecorder(program, waiting)
    for inputs in runs:
        if not seen.left:
            break
        seen(inputs)
    closed = seen.left & seen.spans.keys()
    return {
        node: seen.spans[node].format_first_constant(is_truth=node.meta["val"].dtype == torch.bool)
        for node in waiting
        if node in closed and closed.isdisjoint(node.all_input_nodes)
    }


def _find_nodes_that_depend_on_words(program: torch.export.ExportedProgram) -> dict[Node, None]:
    """Return the nodes that depend on the words of texts and not only on their sizes, in the program's order."""
    inputs = set(program.graph_signature.user_inputs)
    found: dict[Node, None] = {}
    for node in select_nodes_needed_for_outputs(program):
        if node.op == "placeholder" and node.name in inputs:
            found[node] = None
        elif node.op == "call_function":
            name = read_operator_name(node)
            if not name.startswith(GIVES_NO_NUMBERS) and any(one in found for one in node.all_input_nodes):
                found[node] = None
    return found


class _ValueRange:
    """The smallest and the largest number that a value has had in all runs, for each index of the value's last axis or
    for the whole value. All numbers beyond 1e30 are treated as equal."""

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None

    def add(self, value: Tensor, columns: int) -> None:
        numbers = value.detach()
        numbers = numbers.to(torch.uint8) if numbers.dtype == torch.bool else numbers
        rows = numbers.reshape(-1, columns)
        low, high = (np.clip(one.double().numpy(), -_LARGE, _LARGE) for one in (rows.amin(0), rows.amax(0)))
        if self.low is not None:
            low, high = np.minimum(low, self.low), np.maximum(high, self.high)
        self.low, self.high = low, high

    @property
    def numbers_equal_in_all_runs(self) -> Any:
        """The numbers that were equal in all runs, at most one for each index of the value's last axis; without NaN."""
        return self.low[self.high - self.low <= _APART * np.maximum(1.0, np.abs(self.high))]

    def format_first_constant(self, *, is_truth: bool) -> str:
        """Return the first of the numbers that were equal in all runs as a string, such as "0.5" or "nearly 0". With
        `is_truth`, the string is "True" or "False"."""
        same = self.numbers_equal_in_all_runs[0]
        if is_truth:
            return str(bool(same))
        if abs(same) >= _LARGE:
            return "infinite"
        if np.all(self.low == self.high):
            return f"{same:.7g}"
        return f"nearly {same:.2g}" if abs(same) > _APART else "nearly 0"


class _RangeRecorder(NodeValues):
    """Runs a program on several inputs, and records the smallest and largest number of each value that has been
    constant so far."""

    def __init__(self, program: torch.export.ExportedProgram, nodes: Iterable[Node]) -> None:
        super().__init__(program)
        self.left = {node for node in nodes if node.op == "call_function" and read_operator_name(node) not in _LIKE}
        self.spans: dict[Node, _ValueRange] = {}

    def run_node(self, n: Node) -> Any:
        """Compute the value of a node, and update the smallest and largest number that it has had in all runs, which
        show whether it is constant. A node is no longer recorded once all of its numbers have changed."""
        result = super().run_node(n)
        if n not in self.left:
            return result
        if not isinstance(result, Tensor) or result.is_complex():
            self.left.discard(n)
        elif result.numel():
            span = self.spans.setdefault(n, _ValueRange())
            span.add(result, _count_parts_checked_for_being_constant(n, result))
            if not span.numbers_equal_in_all_runs.size:
                self.left.discard(n)
        return result


def _count_parts_checked_for_being_constant(node: Node, value: Tensor) -> int:
    """Return how many parts of a node's value are checked separately for being constant in all runs: the size of the
    last axis if the value has integers or bools and this size is at most 16, else 1."""
    size = node.meta["val"].shape[-1] if value.dim() > 1 and not value.is_floating_point() else 1
    return size if isinstance(size, int) and size <= _PLACES else 1


def _make_program_inputs(
    cases: Mapping[str, Sequence[Case]], input_names: Sequence[str], *, one_row: bool
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the inputs of a program as tensors, one tuple for each batch in `cases`, or for each text if `one_row`. The
    kinds of batches that change the most values of a program come first."""
    kinds = sorted(cases, key=lambda kind: _ORDER.index(kind) if kind in _ORDER else len(_ORDER))
    for case in itertools.chain.from_iterable(cases[kind] for kind in kinds):
        for one in split_cases_into_single_rows([case]) if one_row else [case]:
            # A module may need its texts sorted by length.
            order = np.argsort(-one.lengths, kind="stable")
            given = make_graph_inputs_from_ids(input_names, one.tokens[order], one.lengths[order])
            yield tuple(map(torch.from_numpy, given[: len(input_names)]))
