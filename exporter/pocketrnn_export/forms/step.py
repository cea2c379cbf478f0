"""The step graph of a one-directional classifier: it continues where it stopped, and answers for all it has read."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import onnx
import torch
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
from pocketrnn_training.architecture import RecurrentClassifier

__all__ = ["STEP", "STEP_FILE", "run_of_steps", "step_form"]

STEP_FILE: Final = "model.step.onnx"


class _Step(nn.Module):
    """A classifier that continues from a state: (tokens [batch, sequence], state [batch, size]) -> (logits, new state).

    The state is, one after the other: every layer's hidden state; for an LSTM every layer's cell state; for pooling by
    mean or max the sum or maximum of the outputs so far, and how many there were. All zeros is the state before the
    first token, whatever the pooling: a maximum counts only where there were outputs.
    """

    def __init__(self, classifier: RecurrentClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        a = classifier.architecture
        states = a.layers * (2 if a.cell == "lstm" else 1)
        self.sizes = [a.hidden_dim] * states + ([] if a.pooling == "last" else [a.hidden_dim, 1])

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        a, classifier = self.classifier.architecture, self.classifier
        parts = torch.split(state, self.sizes, dim=1)
        hidden = torch.stack(parts[: a.layers])
        if a.cell == "lstm":
            cell = torch.stack(parts[a.layers : 2 * a.layers])
            outputs, (hidden, cell) = classifier.rnn(classifier.embedding(tokens), (hidden, cell))
            new = [*hidden.unbind(), *cell.unbind()]
        else:
            outputs, hidden = classifier.rnn(classifier.embedding(tokens), hidden)
            new = [*hidden.unbind()]
        if a.pooling == "last":
            pooled = hidden[-1]
        else:
            so_far, count = parts[-2], parts[-1]
            count = count + outputs.size(1)
            if a.pooling == "mean":
                kept = so_far + outputs.sum(dim=1)
                pooled = kept / count
            else:
                newest = outputs.amax(dim=1)
                kept = pooled = torch.where(parts[-1] > 0, torch.maximum(so_far, newest), newest)
            new += [kept, count]
        return classifier.fc(pooled), torch.cat(new, dim=1)


def step_form(content: bytes, graph: StepGraph) -> Form:
    """A step graph as a form: run on whole texts, each read token by token, and in three chunks.

    A text's prefix is a text too: reading it token by token covers every prefix of the cases.

    Args:
        content: the file's bytes.
        graph: what classifier.json says of it; the digest is set here.
    """
    runs = {
        "step graph, 3 chunks": run_of_steps(content, graph.state_size, cuts=2),
        "step graph, 1 token each": run_of_steps(content, graph.state_size, cuts=10**9),
    }
    return Form(
        replace(graph, sha256=sha256(content)),
        "stream",
        content,
        runs,
        float64_run=lambda: float64_run_of_steps(content, graph.state_size, cuts=2),
    )


def _check(module: nn.Module, rules: AnyTextRules) -> None:
    _streaming_classifier(module, rules)


def _make(prepared: ExportableModule, description: Description) -> Form:
    if held := held_against_streams(description.rules, description.vocabulary):
        raise _unfollowed(held)
    step = _Step(_streaming_classifier(prepared.module, description.rules))
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


def run_of_steps(content: bytes, state_size: int, *, cuts: int) -> Run:
    """A step graph as a run on whole texts, each read in `cuts` + 1 chunks of equal length (fewer for a short text)."""
    session = session_of(content)

    def run(tokens: Ids, lengths: Ids) -> Logits:
        rows = []
        for row, length in zip(tokens, lengths, strict=True):
            state = np.zeros((1, state_size), np.float32)
            for some in np.array_split(row[None, :length], min(cuts + 1, length), axis=1):
                logits, state = session.run(["logits", "new_state"], {"tokens": some, "state": state})
            rows.append(logits)
        return np.concatenate(rows)

    return run


def float64_run_of_steps(content: bytes, state_size: int, *, cuts: int) -> Run64:
    """A step graph in double precision, as `run_of_steps` runs it."""
    evaluate = evaluator(in_float64(onnx.load_from_string(content)))

    def run(tokens: Ids, lengths: Ids) -> Doubles:
        # Rows of one length are read together: the graph takes a batch, and Python is slow.
        logits = np.empty((len(lengths), 0))
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            state = np.zeros((len(rows), state_size))
            for some in np.array_split(tokens[rows, :length], min(cuts + 1, length), axis=1):
                answer, state = evaluate({"tokens": some, "state": state})
            if not logits.size:
                logits = np.empty((len(lengths), answer.shape[1]))
            logits[rows] = answer
        return logits

    return run
