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
from pocketrnn_export.comparing.answer_row_selection import select_answer_rows
from pocketrnn_export.comparing.proof_inputs import Ids, Logits, Run
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer

if TYPE_CHECKING:
    import onnxruntime


def make_module_run(module: Callable[..., Any], *, takes_lengths: bool) -> Run:
    """Wrap a module, in eval mode on the CPU, as a function of arrays. The function sorts the rows by decreasing length
    for the module.

    PyTorch's warnings are silenced: the module's owner has seen them before.
    """

    def run_module(tokens: Ids, lengths: Ids) -> Logits:
        logits = compute_rows_by_length(module, tokens, lengths, takes_lengths=takes_lengths)
        result: Logits = select_answer_rows(logits.float().numpy(), lengths)
        return result

    return run_module


def compute_rows_by_length(
    module: Callable[..., Any], tokens: Ids, lengths: Ids, *, takes_lengths: bool, sorts_rows: bool = True
) -> Tensor:
    """Sort the rows by decreasing length, compute the module's answer, and return the answer with the rows in their
    original order.

    A module that packs with `enforce_sorted=True` needs such rows; their order does not matter to other modules.

    Args:
        module: in eval mode, on the CPU.
        tokens: int64 [batch, sequence].
        lengths: int64 [batch].
        takes_lengths: whether forward takes lengths.
        sorts_rows: False to leave the rows in their order.
    """
    order = np.argsort(-lengths, kind="stable") if sorts_rows else np.arange(len(lengths))
    inputs = [torch.from_numpy(tokens[order])]
    if takes_lengths:
        inputs.append(torch.from_numpy(lengths[order]))
    answer: Tensor = compute_answer(module, inputs)
    return answer[torch.from_numpy(np.argsort(order))]


def make_onnx_run(content: bytes, *, optimized: bool) -> Run:
    """Wrap an ONNX file's bytes as a function of arrays, run by onnxruntime as `open_session` opens it."""
    session = open_session(content, optimized=optimized)
    names = [node.name for node in session.get_inputs()]

    def run_graph(tokens: Ids, lengths: Ids) -> Logits:
        logits: Logits = session.run(
            ["logits"], dict(zip(names, list_graph_inputs(names, tokens, lengths), strict=False))
        )[0]
        rows: Logits = select_answer_rows(logits, lengths)
        return rows

    return run_graph


def open_session(content: bytes, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    """Open an ONNX file in onnxruntime on one thread, with or without graph optimization.

    Raises:
        ExportError: onnxruntime cannot open it.
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
            f"onnxruntime cannot run the graph: {first_line(error)}.",
            "Compute in float32 in forward, and only with operations that ONNX has.",
        ) from error


def list_graph_inputs(names: Sequence[str], tokens: Ids, lengths: Ids) -> tuple[npt.NDArray[Any], ...]:
    """Return the arrays for a graph's inputs with these names, made from rows of ids: tokens, lengths, second texts,
    features.

    Args:
        names: the names of its inputs.
        tokens: int64 [batch, sequence].
        lengths: int64 [batch].
    """
    if "features" in names:
        rows = separate_features_from_ids(tokens, lengths)
        return (rows.tokens, rows.lengths, rows.features) if "lengths" in names else (rows.tokens, rows.features)
    return make_pair_inputs(tokens, lengths) if "second_tokens" in names else (tokens, lengths)
