"""Graphs in onnxruntime's own format (`.ort`) for small builds of onnxruntime, and the list of operators that such a
build needs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnxruntime

from pocketrnn.bundle.manifest import Graph, StepGraph
from pocketrnn_export.comparing.module_and_graph_as_functions import make_onnx_run
from pocketrnn_export.forms.form import Form, sha256
from pocketrnn_export.forms.step_graph_that_continues_from_state import wrap_step_graph_as_form

ORT_FILE: Final = "model.ort"
ORT_STEP_FILE: Final = "model.step.ort"
# The file that onnxruntime's build takes with --include_ops_by_config.
OPERATORS_FILE: Final = "required_operators.config"


def make_ort_form(content: bytes, graph: Graph) -> Form:
    """Convert a graph to onnxruntime's own format (`.ort`). Return the result as a form, a file with the functions that
    run it in the proof.

    Args:
        content: the graph's ONNX file.
        graph: the ONNX file's entry in classifier.json.
    """
    made = _convert_to_ort(content)
    entry = replace(graph, file=ORT_FILE, sha256=sha256(made))
    return Form(entry, "graph", made, {"ort": make_onnx_run(made, optimized=True)}, one_row=graph.batch == 1)


def make_ort_step_form(content: bytes, graph: StepGraph) -> Form:
    """Convert a step graph to onnxruntime's own format (`.ort`). Return the result as a form, a file with the functions
    that run it in the proof.

    Args:
        content: the step graph's ONNX file.
        graph: the ONNX file's entry in classifier.json.
    """
    # The reference evaluator of ONNX cannot read this format.
    return replace(
        wrap_step_graph_as_form(_convert_to_ort(content), replace(graph, file=ORT_STEP_FILE)), float64_run=None
    )


def _convert_to_ort(content: bytes) -> bytes:
    """Convert an ONNX file to onnxruntime's own format, and return its bytes. The graph is simplified, but not for a
    specific processor."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.save_model_format", "ORT")
    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
        path = Path(folder) / "model.ort"
        options.optimized_model_filepath = str(path)
        # This folds constants, so that int8 weights of layers become float32 again: onnxruntime does not fold them when
        # it opens its own format (the compressed ag_news takes 98 us a text without folding, and 59 with it). The
        # embedding stays int8.
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def make_operator_configuration(files: Mapping[str, bytes]) -> bytes:
    """Return the configuration file that lists the operators of some graphs. A small build of onnxruntime contains only
    the operators in this file. `files` are the graphs as `.ort` files, by file name."""
    from onnxruntime.tools.ort_format_model import create_config_from_models

    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder, warnings.catch_warnings():
        # It does not close the files that it reads.
        warnings.simplefilter("ignore", ResourceWarning)
        paths = [Path(folder) / name for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        config = Path(folder) / OPERATORS_FILE
        create_config_from_models(paths, config, False)
        # Its comment names the temporary folder.
        lines = config.read_text(encoding="utf-8").splitlines()
    return ("\n".join(line for line in lines if not line.startswith("#")) + "\n").encode()
