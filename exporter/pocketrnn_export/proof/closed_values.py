"""Values of a program that no text of a proof changes: what waits behind them was not compared with the module.

Forward may ask a text for something that hardly one has: `torch.where(has_phrase, rare, usual)`. Where no text of the
proof has it, the graph was compared on one side of that question only, and an export says so, with the line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from pocketrnn_export.comparing.cases import Case, each_row
from pocketrnn_export.comparing.float64_graph import graph_inputs
from pocketrnn_export.intake.user_frames import line_of_node
from pocketrnn_export.module_runs.operations import GIVES_NO_NUMBERS
from pocketrnn_export.proof.across_rows import needed_nodes
from pocketrnn_export.proof.pytorch_run import ValuesOfNodes
from pocketrnn_export.proof.what_of_words import name_of_node

__all__ = ["closed_values", "notes_of_closed_values"]

# Numbers that differ by less of the largest are one.
_APART: Final = 1e-6
_LARGE: Final = 1e30
# A value whose last axes have at most so many places in all is looked at place by place.
_PLACES: Final = 16
# Each is a line of a note.
_MOST_LINES: Final = 5
_ORDER: Final = ("texts", "drawn shapes", "asked ids", "hazards", "shapes", "every id", "bounds")
# They give one number of whatever they are given, or say that it is one.
_LIKE: Final = frozenset({"isfinite", "isinf", "isnan", "scalar_tensor", "zeros_like", "ones_like", "full_like"})


def notes_of_closed_values(
    program: torch.export.ExportedProgram | None,
    cases: Mapping[str, Sequence[Case]],
    names: Sequence[str],
    *,
    one_row: bool,
) -> tuple[str, ...]:
    """A sentence on each line whose value no text of a proof changes; see `closed_values`.

    Args:
        program: of torch.export; None where there is none to look at.
        cases: of the proof, by kind of inputs.
        names: of the inputs that its graph has.
        one_row: whether it takes one text at a time.

    Example:
        >>> notes_of_closed_values(program, cases, ["tokens"], one_row=False)
        ('A value is False for all texts of the proof, model.py:12: `rare = phrase.any(1)`: what forward does ...',)
    """
    if program is None:
        return ()
    lines: dict[str, str] = {}
    for node, shown in closed_values(program, _runs_of(cases, names, one_row=one_row)).items():
        lines.setdefault(line_of_node(node) or "a line that is not known", shown)
    return tuple(
        f"A value is {shown} for all texts of the proof, {line}: what forward does with another was compared operator "
        "by operator only. Give example texts for which it is another (example_texts=, --texts)."
        for line, shown in [*lines.items()][:_MOST_LINES]
    )


def closed_values(program: torch.export.ExportedProgram, runs: Iterable[tuple[Tensor, ...]]) -> Mapping[Node, str]:
    """The operators of a program that give one value for all inputs, though all that they are given differs; with that
    value, as it is told.

    Args:
        program: of torch.export.
        runs: inputs, as the program takes them; no more of them are run than it takes to see each value change.

    Example:
        >>> closed_values(program, inputs)
        {any_1: 'False'}
    """
    waiting = _of_texts(program)
    seen = _Spans(program, waiting)
    for inputs in runs:
        if not seen.left:
            break
        seen(inputs)
    closed = seen.left & seen.spans.keys()
    return {
        node: seen.spans[node].shown(is_truth=node.meta["val"].dtype == torch.bool)
        for node in waiting
        if node in closed and closed.isdisjoint(node.all_input_nodes)
    }


def _of_texts(program: torch.export.ExportedProgram) -> dict[Node, None]:
    """The nodes that depend on more of the texts than on their sizes, in the program's order."""
    inputs = set(program.graph_signature.user_inputs)
    found: dict[Node, None] = {}
    for node in needed_nodes(program):
        if node.op == "placeholder" and node.name in inputs:
            found[node] = None
        elif node.op == "call_function":
            name = name_of_node(node)
            if not name.startswith(GIVES_NO_NUMBERS) and any(one in found for one in node.all_input_nodes):
                found[node] = None
    return found


class _Span:
    """The least and the largest number of each place of a value; those beyond 1e30 are one."""

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None

    def add(self, value: Tensor, places: int) -> None:
        numbers = value.detach()
        numbers = numbers.to(torch.uint8) if numbers.dtype == torch.bool else numbers
        rows = numbers.reshape(-1, places)
        low, high = (np.clip(one.double().numpy(), -_LARGE, _LARGE) for one in (rows.amin(0), rows.amax(0)))
        if self.low is not None:
            low, high = np.minimum(low, self.low), np.maximum(high, self.high)
        self.low, self.high = low, high

    @property
    def closed(self) -> Any:
        """The number of each place that has one; something that is no number is not looked at."""
        return self.low[self.high - self.low <= _APART * np.maximum(1.0, np.abs(self.high))]

    def shown(self, *, is_truth: bool) -> str:
        """The value as it is told, in the first place that no text changes."""
        same = self.closed[0]
        if is_truth:
            return str(bool(same))
        if abs(same) >= _LARGE:
            return "infinite"
        if np.all(self.low == self.high):
            return f"{same:.7g}"
        return f"nearly {same:.2g}" if abs(same) > _APART else "nearly 0"


class _Spans(ValuesOfNodes):
    """Runs a program, and keeps of each value that no run has changed yet between which numbers it lies."""

    def __init__(self, program: torch.export.ExportedProgram, nodes: Iterable[Node]) -> None:
        super().__init__(program)
        self.left = {node for node in nodes if node.op == "call_function" and name_of_node(node) not in _LIKE}
        self.spans: dict[Node, _Span] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n not in self.left:
            return result
        if not isinstance(result, Tensor) or result.is_complex():
            self.left.discard(n)
        elif result.numel():
            span = self.spans.setdefault(n, _Span())
            span.add(result, _places_of(n, result))
            if not span.closed.size:
                self.left.discard(n)
        return result


def _places_of(node: Node, value: Tensor) -> int:
    """How many places of a value are looked at one by one: those of its last axis, where these are few truths or whole
    numbers and neither texts nor steps."""
    size = node.meta["val"].shape[-1] if value.dim() > 1 and not value.is_floating_point() else 1
    return size if isinstance(size, int) and size <= _PLACES else 1


def _runs_of(
    cases: Mapping[str, Sequence[Case]], names: Sequence[str], *, one_row: bool
) -> Iterator[tuple[Tensor, ...]]:
    """The cases as a program takes them, those first that change most."""
    kinds = sorted(cases, key=lambda kind: _ORDER.index(kind) if kind in _ORDER else len(_ORDER))
    for case in itertools.chain.from_iterable(cases[kind] for kind in kinds):
        for one in each_row([case]) if one_row else [case]:
            # A module may pack its texts sorted.
            order = np.argsort(-one.lengths, kind="stable")
            given = graph_inputs(names, one.tokens[order], one.lengths[order])
            yield tuple(map(torch.from_numpy, given[: len(names)]))
