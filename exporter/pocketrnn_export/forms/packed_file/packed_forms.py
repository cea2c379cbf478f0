"""The forms of a packed file: its program, and its step graph. The engine opens each form with copied weights, and with
weights left in the file's memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Graph, StepGraph
from pocketrnn.engines.native import NativeEngine
from pocketrnn.errors import ExportError, LimitError
from pocketrnn_export.comparing.proof_inputs import Ids, Logits, Run
from pocketrnn_export.forms.chunked_step_graph_runs import list_chunk_counts_for_proof, make_step_graph_run_in_chunks
from pocketrnn_export.forms.form import Form

# The two ways to open a packed file, by their names in the proof; and whether weights stay in place, to save memory.
WAYS: Final = {"packed": False, "packed, in place": True}
Floats = NDArray[np.float32]


def make_packed_form(path: Path, graph: Graph, rows_of_ids: Floats | None = None) -> Form:
    """Return a packed file's program as a form, a file with the functions that run it in the proof. It is run in two
    ways: the engine copies the weights, or leaves them in the file's memory.

    Args:
        graph: the program's entry in classifier.json.
        rows_of_ids: float32 [ids, channels], the sample that each id stands for, if the program takes samples; None if
            it takes ids.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: the engine cannot open the file.
    """
    runs = {opened: make_packed_run(path, in_place=in_place, rows=rows_of_ids) for opened, in_place in WAYS.items()}
    return Form(graph, "graph", path.read_bytes(), runs, one_row=True)


def make_packed_step_form(path: Path, step: StepGraph, rows_of_ids: Floats | None = None) -> Form:
    """Return a packed file's step graph as a form, a file with the functions that run it in the proof. It is run in two
    ways: the engine copies the weights, or leaves them in the file's memory.

    Args:
        step: the step graph's entry in classifier.json.
        rows_of_ids: float32 [ids, channels], the sample that each id stands for, if the step graph takes samples; None
            if it takes ids.
    """
    runs = {
        f"{opened} step, {chunks}": make_packed_step_run(
            path, chunk_count=chunk_count, in_place=in_place, rows=rows_of_ids
        )
        for opened, in_place in WAYS.items()
        for chunks, chunk_count in list_chunk_counts_for_proof("token" if rows_of_ids is None else "step").items()
    }
    return Form(step, "stream", path.read_bytes(), runs, one_row=True)


def make_packed_run(path: Path, *, in_place: bool = False, rows: Floats | None = None) -> Run:
    """Return a function that runs a packed file on arrays of ids and lengths, each row alone. It raises an ExportError
    if the engine refuses a row.

    Args:
        in_place: whether the engine leaves the weights in the file's memory, in place of a copy.
        rows: float32 [ids, channels], the sample that each id stands for, if the program takes samples; None if it
            takes ids.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: the engine cannot open the file.
    """
    engine = NativeEngine(path, in_place=in_place)

    def run_packed_file(tokens: Ids, lengths: Ids) -> Logits:
        ids = [row[:length] for row, length in zip(tokens, lengths, strict=True)]
        given = ids if rows is None else [rows[some] for some in ids]
        logits, refused = engine.logits(np.concatenate(given), lengths)
        for index in refused[:1]:
            with _convert_limit_errors():
                engine.compute_item_logits(given[index][None])
        return logits

    return run_packed_file


@contextmanager
def _convert_limit_errors() -> Iterator[None]:
    """While the block runs, convert an engine's refusal of a text (LimitError) to an ExportError that says what to
    change in forward."""
    try:
        yield
    except LimitError as error:
        raise ExportError(
            error.problem,
            "Clamp numbers before they become integers, as in x.clamp(-1000, 1000).long(); or let the text rules cut "
            "texts: max_width; or use the bundle with onnxruntime.",
        ) from error


def make_packed_step_run(
    path: Path, *, chunk_count: int | None, in_place: bool = False, rows: Floats | None = None
) -> Run:
    """Return a function that runs a packed file's step graph on whole texts or sequences, cut into chunks. It raises an
    ExportError if the engine refuses a chunk.

    Args:
        chunk_count: the number of chunks of each text; None for chunks of random lengths.
        in_place: whether the engine leaves the weights in the file's memory, in place of a copy.
        rows: float32 [ids, channels], the sample that each id stands for, if the step graph takes samples; None if it
            takes ids.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: the engine cannot open the file.
    """
    engine = NativeEngine(path, in_place=in_place)

    def read_on(chunk: NDArray[Any], state: Floats) -> tuple[Floats, Floats]:
        with _convert_limit_errors():
            return engine.step(chunk, state)

    stream = engine.manifest.stream
    return make_step_graph_run_in_chunks(read_on, 0 if stream is None else stream.state_size, chunk_count, rows)
