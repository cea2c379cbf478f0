"""A packed file as forms: its program, and its step, opened both ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.bundle.manifest import Graph, StepGraph
from pocketrnn.engines.native import NativeEngine
from pocketrnn.errors import ExportError, LimitError
from pocketrnn_export.forms.form import Form
from pocketrnn_export.proof.cases import Ids, Logits, Run

__all__ = ["WAYS", "packed_form", "packed_step_form", "run_of_packed", "run_of_packed_steps"]

# The two ways to open a packed file, as the proof calls them; whether weights stay in place, as where memory is scarce.
WAYS: Final = {"packed": False, "packed, in place": True}
# Into how many chunks a text is cut for the step, as the proof calls them; see `run_of_packed_steps`.
_CHUNKS: Final = {"3 chunks": 2, "1 token each": 10**9, "chunks at random": None}


def packed_form(path: Path, graph: Graph) -> Form:
    """The program of a packed file as a form, opened both ways.

    Args:
        path: the file.
        graph: what it says of its program.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: the file does not open.

    Example:
        >>> list(packed_form(Path("news.prnn"), manifest.graph).runs)
        ['packed', 'packed, in place']
    """
    runs = {opened: run_of_packed(path, in_place=in_place) for opened, in_place in WAYS.items()}
    return Form(graph, "graph", path.read_bytes(), runs, one_row=True)


def packed_step_form(path: Path, step: StepGraph) -> Form:
    """The step of a packed file as a form, opened both ways, with each text in chunks of ids; as for `packed_form`."""
    runs = {
        f"{opened} step, {chunks}": run_of_packed_steps(path, cuts=cuts, in_place=in_place)
        for opened, in_place in WAYS.items()
        for chunks, cuts in _CHUNKS.items()
    }
    return Form(step, "stream", path.read_bytes(), runs, one_row=True)


def run_of_packed(path: Path, *, in_place: bool = False) -> Run:
    """A packed file as a run on arrays, each row alone.

    Args:
        path: the file.
        in_place: open it as on a machine with little memory.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: it does not open. The run raises an ExportError where the engine refuses a row.
    """
    engine = NativeEngine(path, in_place=in_place)

    def run(tokens: Ids, lengths: Ids) -> Logits:
        rows = [row[:length] for row, length in zip(tokens, lengths, strict=True)]
        logits, refused = engine.logits(np.concatenate(rows), lengths)
        for index in refused[:1]:
            with _answering():
                engine.logits_of_one(rows[index][None])
        return logits

    return run


@contextmanager
def _answering() -> Iterator[None]:
    """That an engine answers a text of the proof.

    Raises:
        ExportError: it refuses it.
    """
    try:
        yield
    except LimitError as error:
        raise ExportError(
            error.problem,
            "Bound what becomes a whole number before it does, as in x.clamp(-1000, 1000).long(); or let the text "
            "rules cut texts: max_width; or use the bundle with onnxruntime.",
        ) from error


def run_of_packed_steps(path: Path, *, cuts: int | None, in_place: bool = False) -> Run:
    """A packed file's step as a run on whole texts.

    Args:
        path: the file.
        cuts: each text is read in `cuts` + 1 chunks of equal length (fewer for a short text); None: drawn at random.
        in_place: open it as on a machine with little memory.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: it does not open. The run raises an ExportError where the engine refuses a row.
    """
    engine, generator = NativeEngine(path, in_place=in_place), np.random.default_rng(0)
    size = 0 if engine.manifest.stream is None else engine.manifest.stream.state_size

    def run(tokens: Ids, lengths: Ids) -> Logits:
        rows = []
        for row, length in zip(tokens, lengths, strict=True):
            drawn = length if cuts is None else min(cuts + 1, length)
            places = np.sort(generator.integers(1, length, drawn // 3)) if cuts is None and length > 1 else drawn
            state = np.zeros((1, size), np.float32)
            for some in np.array_split(row[:length], places):
                if some.size:
                    with _answering():
                        logits, state = engine.step(some.tolist(), state)
            rows.append(logits)
        return np.concatenate(rows)

    return run
