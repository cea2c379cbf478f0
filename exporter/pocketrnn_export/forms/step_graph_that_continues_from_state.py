"""The step graph of a text classifier. It continues from a state, and its answer is for all tokens read so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from pocketrnn.bundle.manifest import Graph, StepGraph
from pocketrnn.errors import ExportError
from pocketrnn.text import AnyTextRules, TextRules
from pocketrnn.text.text_input import name_rules_against_streaming
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.float64_graph import convert_model_to_float64, make_function_of_float64_model
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.comparing.proof_inputs import Doubles, Ids, Run64
from pocketrnn_export.forms.chunked_step_graph_runs import (
    Floats,
    list_chunk_counts_for_proof,
    make_step_graph_run_in_chunks,
)
from pocketrnn_export.forms.form import Form, FormKind, sha256
from pocketrnn_export.forms.step_graph_conversion import convert_to_step_graph, make_bidirectional_streaming_error
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule
from pocketrnn_training.classifiers.linear_classifier import LinearClassifier
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier

STEP_FILE: Final = "model.step.onnx"


def wrap_step_graph_as_form(content: bytes, graph: StepGraph, rows_of_ids: Floats | None = None) -> Form:
    """Return a step graph as a form, a file with the functions that run it in the proof: on whole texts or sequences,
    one step at a time and in chunks. The answers after each single step also compare the beginnings of the texts.

    Args:
        graph: the file's entry in classifier.json, to which its digest is added.
        rows_of_ids: float32 [ids, channels], the sample that each id stands for, if the step graph takes samples; each
            sequence is then run alone. None if it takes ids.
    """
    chunks = list_chunk_counts_for_proof("token" if rows_of_ids is None else "step")
    if rows_of_ids is None:
        del chunks["chunks at random"]
    session, name = open_session(content), "tokens" if rows_of_ids is None else "samples"

    def read_on(chunk: NDArray[Any], state: Floats) -> tuple[Floats, Floats]:
        logits, new = session.run(["logits", "new_state"], {name: chunk[None], "state": state})
        return logits, new

    return Form(
        replace(graph, sha256=sha256(content)),
        "stream",
        content,
        {
            f"step graph, {cut}": make_step_graph_run_in_chunks(read_on, graph.state_size, parts, rows_of_ids)
            for cut, parts in chunks.items()
        },
        one_row=rows_of_ids is not None,
        float64_run=lambda: _make_float64_step_run(content, graph.state_size, name, rows_of_ids),
    )


def _refuse_classifier_that_cannot_stream(module: nn.Module, rules: AnyTextRules) -> None:
    """Raise an ExportError if a module or its text rules cannot stream: a bidirectional module, one with a linear part,
    rules with n-grams, or other rules that need the whole text."""
    if isinstance(module, RecurrentClassifier) and module.architecture.bidirectional:
        raise make_bidirectional_streaming_error("text", "word")
    if isinstance(module, RecurrentClassifier | LinearClassifier) and module.linear is not None:
        raise ExportError(
            "The classifier has a linear part that needs the whole text, so it cannot answer while a text arrives.",
            "Train a classifier with `pocketrnn train --one-direction --no-linear`, or leave out `streaming`.",
        )
    if isinstance(rules, TextRules) and rules.ngrams > 1:
        raise ExportError(
            "The text rules make n-grams, so the classifier cannot answer while a text arrives: the n-grams come "
            "after all single tokens, so each new word would be inserted in the middle.",
            "Train a classifier with `pocketrnn train --ngrams 1`, or leave out `streaming`.",
        )
    # Rules of subwords are checked later, with their vocabulary.
    if isinstance(rules, TextRules) and (held := name_rules_against_streaming(rules, ())):
        raise _make_streaming_error(held)


def _make_step_form(_prepared: ExportableModule, description: Description, forms: Sequence[Form]) -> Form:
    if held := name_rules_against_streaming(description.text.rules, description.text.vocabulary):
        raise _make_streaming_error(held)
    ((graph, whole),) = ((form.entry, form.content) for form in forms if isinstance(form.entry, Graph))
    content, size = convert_to_step_graph(whole, most=None if graph.limits is None else graph.limits.max_tokens)
    return wrap_step_graph_as_form(content, StepGraph(STEP_FILE, "", size))


STEP: Final = FormKind("streaming", _make_step_form, _refuse_classifier_that_cannot_stream)


def _make_streaming_error(unsupported_rule: str) -> ExportError:
    return ExportError(
        f"The text rules contain {unsupported_rule}, which needs the whole text. So the classifier cannot answer while "
        "a text arrives.",
        "Leave this rule out of the text rules, or leave streaming out.",
    )


def _make_float64_step_run(content: bytes, state_size: int, input_name: str, rows_of_ids: Floats | None) -> Run64:
    """Return a function that runs a step graph in double precision. It feeds each text or sequence in three chunks.

    Args:
        content: the ONNX file of the step graph.
        state_size: the number of floats in the state.
        input_name: the name of the graph's first input: `tokens` or `samples`.
        rows_of_ids: float32 [ids, channels], the sample that each id stands for, if the input is `samples`; else None.
    """
    evaluate = make_function_of_float64_model(convert_model_to_float64(onnx.load_from_string(content)))

    def run_step_graph(tokens: Ids, lengths: Ids) -> Doubles:
        # Rows of one length are read together: the graph takes a batch, and Python is slow.
        logits = np.empty((len(lengths), 0))
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            state = np.zeros((len(alike), state_size))
            for some in np.array_split(tokens[alike, :length], min(3, length), axis=1):
                given = some if rows_of_ids is None else rows_of_ids[some].astype(np.float64)
                answer, state = evaluate({input_name: given, "state": state})
            if not logits.size:
                logits = np.empty((len(lengths), answer.shape[1]))
            logits[alike] = answer
        return logits

    return run_step_graph
