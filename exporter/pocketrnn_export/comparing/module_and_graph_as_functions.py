"""Wrap a module or an ONNX graph as a function of arrays that computes in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pocketrnn.errors import ExportError, first_line
from pocketrnn.text.features_beside_text import separate_features_from_ids
from pocketrnn.text.pairs import make_pair_inputs
from pocketrnn_export.comparing.answer_rows_without_padding import drop_padding_rows_of_answer
from pocketrnn_export.comparing.proof_inputs import Ids, Logits, Run
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer

if TYPE_CHECKING:
    import onnxruntime


def make_module_run(module: Callable[..., Any], *, takes_lengths: bool) -> Run:
    """Return a function that computes a module's logits from arrays of tokens and lengths. The module must be in eval
    mode and on the CPU; it gets the rows sorted by decreasing length. PyTorch's warnings are silenced."""

    def run_module(tokens: Ids, lengths: Ids) -> Logits:
        logits = compute_answer_with_rows_sorted_by_length(module, tokens, lengths, takes_lengths=takes_lengths)
        result: Logits = drop_padding_rows_of_answer(logits.float().numpy(), lengths)
        return result

    return run_module


def compute_answer_with_rows_sorted_by_length(
    module: Callable[..., Any], tokens: Ids, lengths: Ids, *, takes_lengths: bool, sorts_rows: bool = True
) -> Tensor:
    """Run a module on rows that are sorted by decreasing length, as `pack_padded_sequence` with `enforce_sorted=True`
    needs them. Return the answer with the rows in their original order.

    Args:
        module: in eval mode, on the CPU.
        tokens: int64 [batch, sequence].
        lengths: int64 [batch].
        takes_lengths: whether forward takes lengths.
        sorts_rows: whether the rows are sorted; if false, the module gets them in their original order.
    """
    order = np.argsort(-lengths, kind="stable") if sorts_rows else np.arange(len(lengths))
    inputs = [torch.from_numpy(tokens[order])]
    if takes_lengths:
        inputs.append(torch.from_numpy(lengths[order]))
    answer: Tensor = compute_answer(module, inputs)
    return answer[torch.from_numpy(np.argsort(order))]


def make_onnx_run(content: bytes, *, optimized: bool) -> Run:
    """Return a function that computes the logits of an ONNX graph from arrays of tokens and lengths, by onnxruntime on
    one thread. `content` has the bytes of the ONNX file; `optimized` turns on onnxruntime's graph optimization."""
    session = open_session(content, optimized=optimized)
    names = [node.name for node in session.get_inputs()]

    def run_graph(tokens: Ids, lengths: Ids) -> Logits:
        logits: Logits = session.run(
            ["logits"], dict(zip(names, make_graph_inputs_from_ids(names, tokens, lengths), strict=False))
        )[0]
        rows: Logits = drop_padding_rows_of_answer(logits, lengths)
        return rows

    return run_graph


def open_session(content: bytes, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    """Open an ONNX file in onnxruntime on one thread, with or without graph optimization.

    Raises:
        ExportError: onnxruntime cannot open the file.
    """
    # The right program of a module is found without it.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Log fatal errors only: a failure is raised and need not be printed too.
    options.log_severity_level = 4
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # onnxruntime's errors share no base of their own.
    except Exception as error:
        raise ExportError(
            f"onnxruntime cannot run the module's graph: {first_line(error)}.",
            "Change forward so that it computes in float32, and only with operations that ONNX has.",
        ) from error


def make_graph_inputs_from_ids(names: Sequence[str], tokens: Ids, lengths: Ids) -> tuple[npt.NDArray[Any], ...]:
    """Return the arrays for a graph's inputs, made from rows of ids: the tokens, and the lengths if the graph has this
    input. For a graph with features, also return the features that negative ids stand for; for a graph of two texts,
    return the tokens of both texts.

    Args:
        names: the names of the graph's inputs.
        tokens: int64 [batch, sequence].
        lengths: int64 [batch].
    """
    if "features" in names:
        rows = separate_features_from_ids(tokens, lengths)
        return (rows.tokens, rows.lengths, rows.features) if "lengths" in names else (rows.tokens, rows.features)
    return make_pair_inputs(tokens, lengths) if "second_tokens" in names else (tokens, lengths)
