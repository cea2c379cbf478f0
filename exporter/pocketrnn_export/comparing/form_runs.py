"""Run a module or an ONNX graph in float32 as a function of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.comparing.answer_rows import select_answer_rows
from pocketrnn_export.comparing.float64_graph import list_graph_inputs
from pocketrnn_export.comparing.proof_inputs import Ids, Logits, Run
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer


def make_module_run(module: Callable[..., Any], *, takes_lengths: bool) -> Run:
    """Wrap a module, in eval mode on the CPU, as a function of arrays.

    A module that packs with `enforce_sorted=True` needs rows sorted by falling length. So the rows are sorted, and the
    answers are put back in order; the order of rows does not matter to other modules.
    PyTorch's warnings are silenced: the module's owner has seen them before.
    """

    def run_module(tokens: Ids, lengths: Ids) -> Logits:
        order = np.argsort(-lengths, kind="stable")
        inputs = [torch.from_numpy(tokens[order])]
        if takes_lengths:
            inputs.append(torch.from_numpy(lengths[order]))
        logits = compute_answer(module, inputs)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        result: Logits = select_answer_rows(logits.float().numpy()[back], lengths)
        return result

    return run_module


def make_onnx_run(content: bytes, *, optimized: bool) -> Run:
    """Wrap an ONNX file's bytes as a function of arrays. onnxruntime runs it on one thread.

    Graph optimization is on or off.
    """
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
            "Compute in float32 in forward, by usual operations.",
        ) from error
