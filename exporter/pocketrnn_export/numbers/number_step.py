"""The step graph of a classifier of numbers: it reads on from a state, and answers for all that it has read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from pocketrnn.bundle.manifest import Comparison, Limits, StepGraph, held_against_carrying
from pocketrnn.errors import InputError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.forms.form import Form, OtherFile, sha256
from pocketrnn_export.forms.onnx.kept_nans import with_guards, without_guards
from pocketrnn_export.forms.step import STEP_FILE
from pocketrnn_export.forms.step_of_graph import step_of_graph
from pocketrnn_export.numbers.sample_table import Samples, SampleTable
from pocketrnn_export.proof.cases import Ids, Logits, Run
from pocketrnn_export.proof.comparing import session_of
from pocketrnn_export.proof.float64_graph import Doubles, Run64, evaluator, in_float64

__all__ = ["CHUNKS", "check_carrying", "in_one_line", "read_in_chunks", "step_graph", "step_on_samples"]

# Reads on from a state: samples [steps, channels], the state -> the logits, the new state.
ReadOn = Callable[[Samples, Samples], tuple[Samples, Samples]]
# Into how many chunks a sequence is cut, as the proof calls them; None: at random.
CHUNKS: Final = {"3 chunks": 3, "1 step each": 10**9, "chunks at random": None}


def check_carrying(rules: NumberInput, limits: Limits | None) -> None:
    """Refuse rules by which a recording cannot be answered step by step.

    Raises:
        InputError: they say of windows, or of how many steps a sequence has.

    Example:
        >>> check_carrying(NumberInput(("x",)), None)
    """
    if held := held_against_carrying(rules, limits or Limits()):
        raise InputError(
            f"No state is carried from sample to sample here: {held}.",
            "Leave streaming out, or leave out what says so.",
        )


def step_graph(content: bytes, *, most: int | None) -> tuple[StepGraph, bytes]:
    """The step graph of a graph that takes samples, and what classifier.json says of it.

    Args:
        content: the ONNX file.
        most: the most steps that it takes.

    Raises:
        ExportError: the graph looks ahead, or what it does is not known to go on from a state.
    """
    bare = without_guards(content)
    made, size = step_of_graph(bare, most=most)
    # A state holds NaN where a step before had it.
    made = made if bare == content else with_guards(made)
    return StepGraph(STEP_FILE, sha256(made), size), made


def step_on_samples(content: bytes, graph: StepGraph, table: SampleTable) -> Form:
    """A step graph as a form that is asked for ids of a table's rows, each sequence read step by step and in chunks.

    A sequence's beginning is a sequence too: reading it step by step covers every beginning of the cases.
    """
    session = session_of(content)

    def read_on(samples: Samples, state: Samples) -> tuple[Samples, Samples]:
        logits, new = session.run(["logits", "new_state"], {"samples": samples[None], "state": state})
        return logits, new

    runs = {
        f"step graph, {name}": read_in_chunks(read_on, graph.state_size, table, parts) for name, parts in CHUNKS.items()
    }

    def float64_run() -> Run64:
        return _float64_run(content, graph.state_size, table)

    return Form(OtherFile(graph.file), None, content, runs, one_row=True, float64_run=float64_run)


def read_in_chunks(read_on: ReadOn, state_size: int, table: SampleTable, parts: int | None) -> Run:
    """A run on ids of a table's rows that reads each sequence in so many chunks; None: cut at random."""
    generator = np.random.default_rng(0)

    def run(tokens: Ids, lengths: Ids) -> Logits:
        rows = []
        for row, length in zip(tokens, lengths, strict=True):
            state = np.zeros((1, state_size), np.float32)
            for some in _cut(table.rows[row[:length]], parts, generator):
                logits, state = read_on(some, state)
            rows.append(logits)
        return np.concatenate(rows)

    return run


def in_one_line(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Lines of a proof, of which those of a step are one for all kinds of inputs: a microcontroller has them in flash.

    Example:
        >>> in_one_line([])
        []
    """
    lines: dict[tuple[str, ...], Comparison] = {}
    for line in comparisons:
        of_step = " step" in line.candidate or line.candidate.startswith("step")
        key = (line.reference, line.candidate, *(() if of_step else (line.inputs,)))
        before = lines.get(key)
        if before is None or not of_step:
            lines[key] = line
            continue
        spreads = [one.spreads for one in (before, line) if one.spreads is not None]
        lines[key] = Comparison(
            line.reference,
            line.candidate,
            "all cases",
            before.cases + line.cases,
            before.rows + line.rows,
            max(before.largest_difference, line.largest_difference),
            before.labels_differing + line.labels_differing,
            max(spreads) if spreads else None,
        )
    return [*lines.values()]


def _cut(samples: npt.NDArray[Any], parts: int | None, generator: np.random.Generator) -> Iterator[npt.NDArray[Any]]:
    length = len(samples)
    if parts is None:
        places: Any = np.sort(generator.integers(0, length + 1, length // 3))
    else:
        places = min(parts, length)
    yield from (some for some in np.array_split(samples, places) if len(some))


def _float64_run(content: bytes, state_size: int, table: SampleTable) -> Run64:
    evaluate, generator = evaluator(in_float64(onnx.load_from_string(content))), np.random.default_rng(0)

    def run(tokens: Ids, lengths: Ids) -> Doubles:
        rows = []
        for row, length in zip(tokens, lengths, strict=True):
            state = np.zeros((1, state_size))
            for some in _cut(table.rows[row[:length]].astype(np.float64), CHUNKS["3 chunks"], generator):
                logits, state = evaluate({"samples": some[None], "state": state})
            rows.append(logits)
        return np.concatenate(rows)

    return run
