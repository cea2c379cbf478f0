"""The step graph of a one-directional classifier: it continues where it stopped, and answers for all it has read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pocketrnn.bundle.manifest import StepGraph
from pocketrnn.errors import ExportError
from pocketrnn.text import AnyTextRules, TextRules
from pocketrnn.text.text_input import held_against_streams
from pocketrnn_export.description import Description
from pocketrnn_export.forms.form import Form, FormKind, sha256
from pocketrnn_export.forms.onnx.onnx_graph import STEPS, onnx_graph
from pocketrnn_export.intake.exportable import ExportableModule
from pocketrnn_export.proof.cases import EXAMPLE_ROWS, EXAMPLE_STEPS, Ids, Logits, Run
from pocketrnn_export.proof.comparing import session_of
from pocketrnn_export.proof.float64_graph import Doubles, Run64, evaluator, in_float64
from pocketrnn_training.architecture import RecurrentClassifier, with_step_before
from pocketrnn_training.settings import QRNN

__all__ = ["STEP", "STEP_FILE", "chunks_read", "read_in_chunks", "step_form"]

STEP_FILE: Final = "model.step.onnx"
Floats = NDArray[np.float32]
# Reads on from a state: some ids or samples, the state -> the logits, the new state.
ReadOn = Callable[[NDArray[Any], Floats], tuple[Floats, Floats]]
# Each step by itself.
_EACH: Final = 10**9


class _Step(nn.Module):
    """A classifier that continues from a state: (tokens [batch, sequence], state [batch, size]) -> (logits, new state).

    The state is, one after the other: every layer's hidden state; for an LSTM every layer's cell state; for pooling by
    mean or max the sum or maximum of the outputs so far, and how many there were; for a `qrnn` the embedding of the
    last token. All zeros is the state before the first token, whatever the pooling: a maximum counts only where there
    were outputs.
    """

    def __init__(self, classifier: RecurrentClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        a = classifier.architecture
        states = a.layers * (2 if a.cell == "lstm" else 1)
        before = [a.embedding_dim] if a.cell == QRNN else []
        self.sizes = [a.hidden_dim] * states + ([] if a.pooling == "last" else [a.hidden_dim, 1]) + before

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        a, classifier = self.classifier.architecture, self.classifier
        parts = torch.split(state, self.sizes, dim=1)
        hidden, embedded = torch.stack(parts[: a.layers]), classifier.embedding(tokens)
        steps = with_step_before(embedded, parts[-1]) if a.cell == QRNN else embedded
        if a.cell == "lstm":
            cell = torch.stack(parts[a.layers : 2 * a.layers])
            outputs, (hidden, cell) = classifier.rnn(steps, (hidden, cell))
            new = [*hidden.unbind(), *cell.unbind()]
        else:
            outputs, hidden = classifier.rnn(steps, hidden)
            new = [*hidden.unbind()]
        if a.pooling == "last":
            pooled = hidden[-1]
        else:
            so_far, read = parts[len(new)], parts[len(new) + 1]
            count = read + outputs.size(1)
            if a.pooling == "mean":
                kept = so_far + outputs.sum(dim=1)
                pooled = kept / count
            else:
                newest = outputs.amax(dim=1)
                kept = pooled = torch.where(read > 0, torch.maximum(so_far, newest), newest)
            new += [kept, count]
        if a.cell == QRNN:
            new.append(embedded[:, -1])
        return classifier.fc(pooled), torch.cat(new, dim=1)


def chunks_read(each: str) -> dict[str, int | None]:
    """Into how many chunks a text or sequence is cut, as the proof calls them; None: at random.

    Args:
        each: what a step is: `token`, `step`.

    Example:
        >>> list(chunks_read("token"))
        ['3 chunks', '1 token each', 'chunks at random']
    """
    return {"3 chunks": 3, f"1 {each} each": _EACH, "chunks at random": None}


def step_form(content: bytes, graph: StepGraph, rows: Floats | None = None) -> Form:
    """A step graph as a form: run on whole texts or sequences, each read step by step and in chunks.

    What a text begins with is a text too: reading it step by step covers every beginning of the cases.

    Args:
        content: the file's bytes.
        graph: what classifier.json says of it; the digest is set here.
        rows: of one that takes samples, those that ids stand for. Each sequence is read alone, also in random chunks.
    """
    chunks = chunks_read("token" if rows is None else "step")
    if rows is None:
        del chunks["chunks at random"]
    session, name = session_of(content), "tokens" if rows is None else "samples"

    def read_on(some: NDArray[Any], state: Floats) -> tuple[Floats, Floats]:
        logits, new = session.run(["logits", "new_state"], {name: some[None], "state": state})
        return logits, new

    return Form(
        replace(graph, sha256=sha256(content)),
        "stream",
        content,
        {f"step graph, {cut}": read_in_chunks(read_on, graph.state_size, parts, rows) for cut, parts in chunks.items()},
        one_row=rows is not None,
        float64_run=lambda: _float64_run_of_steps(content, graph.state_size, name, rows),
    )


def _check(module: nn.Module, rules: AnyTextRules) -> None:
    _streaming_classifier(module, rules)


def _make(prepared: ExportableModule, description: Description) -> Form:
    if held := held_against_streams(description.text.rules, description.text.vocabulary):
        raise _unfollowed(held)
    step = _Step(_streaming_classifier(prepared.module, description.text.rules))
    size = sum(step.sizes)
    example = (torch.zeros(EXAMPLE_ROWS, EXAMPLE_STEPS, dtype=torch.int64), torch.zeros(EXAMPLE_ROWS, size))
    content = onnx_graph(step, example, description.metadata, names=STEPS).content
    return step_form(content, StepGraph(STEP_FILE, "", size))


STEP: Final = FormKind("streaming", _make, _check)


def _streaming_classifier(module: nn.Module, rules: AnyTextRules) -> RecurrentClassifier:
    """The module, if it can answer while a text arrives.

    Raises:
        ExportError: it cannot, with the reason.
    """
    if not isinstance(module, RecurrentClassifier):
        raise ExportError(
            f"A {type(module).__name__} cannot be exported for streaming: what it keeps from one token to the next is "
            "not known.",
            "Leave streaming out, or train a classifier with `pocketrnn train --one-direction`.",
        )
    if module.architecture.bidirectional:
        raise ExportError(
            "A bidirectional classifier cannot answer while a text arrives: it reads from both ends, and each new word "
            "would change what was computed for all the words before it.",
            "Train one with `pocketrnn train --one-direction`, or leave streaming out.",
        )
    if module.linear is not None:
        raise ExportError(
            "A classifier with a linear part cannot be exported for streaming.",
            "Train one with `pocketrnn train --one-direction --no-linear`, or leave streaming out.",
        )
    if isinstance(rules, TextRules) and rules.ngrams > 1:
        raise ExportError(
            "A classifier of n-grams cannot answer while a text arrives: they stand after all single tokens, so that "
            "each new word would come in the middle.",
            "Train one with `pocketrnn train --ngrams 1`, or leave streaming out.",
        )
    # What holds against rules of subwords is seen with their vocabulary.
    if isinstance(rules, TextRules) and (held := held_against_streams(rules, ())):
        raise _unfollowed(held)
    return module


def _unfollowed(held: str) -> ExportError:
    return ExportError(f"The text rules hold {held}, which a stream cannot follow.", "Leave streaming out.")


def read_in_chunks(read_on: ReadOn, state_size: int, parts: int | None, rows: Floats | None = None) -> Run:
    """A run on whole texts or sequences, each read in so many chunks of equal length, or fewer where it is short.

    Args:
        read_on: what reads some more.
        state_size: of the state that it begins with, zeros.
        parts: as `chunks_read` has them.
        rows: as for `step_form`.
    """
    generator = np.random.default_rng(0)

    def run(tokens: Ids, lengths: Ids) -> Logits:
        answers = []
        for ids, length in zip(tokens, lengths, strict=True):
            state = np.zeros((1, state_size), np.float32)
            for some in _cut(ids[:length], parts, generator):
                logits, state = read_on(some if rows is None else rows[some], state)
            answers.append(logits)
        return np.concatenate(answers)

    return run


def _cut(ids: Ids, parts: int | None, generator: np.random.Generator) -> Iterator[Ids]:
    places: Any = min(parts or 0, len(ids))
    if parts is None:
        places = np.sort(generator.integers(0, len(ids) + 1, len(ids) // 3))
    yield from (some for some in np.array_split(ids, places) if len(some))


def _float64_run_of_steps(content: bytes, state_size: int, name: str, rows: Floats | None) -> Run64:
    """A step graph in double precision, each text or sequence read in three chunks."""
    evaluate = evaluator(in_float64(onnx.load_from_string(content)))

    def run(tokens: Ids, lengths: Ids) -> Doubles:
        # Rows of one length are read together: the graph takes a batch, and Python is slow.
        logits = np.empty((len(lengths), 0))
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            state = np.zeros((len(alike), state_size))
            for some in np.array_split(tokens[alike, :length], min(3, length), axis=1):
                given = some if rows is None else rows[some].astype(np.float64)
                answer, state = evaluate({name: given, "state": state})
            if not logits.size:
                logits = np.empty((len(lengths), answer.shape[1]))
            logits[alike] = answer
        return logits

    return run
