"""Graphs in onnxruntime's own format (`.ort`), for small builds of onnxruntime, and the operators that they need."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnxruntime

from pocketrnn.bundle.manifest import Graph, StepGraph
from pocketrnn_export.comparing.comparing import run_of_onnx
from pocketrnn_export.forms.form import Form, sha256
from pocketrnn_export.forms.step import step_form

__all__ = ["OPERATORS_FILE", "operators_of", "ort_graph", "ort_step_graph"]

ORT_FILE: Final = "model.ort"
ORT_STEP_FILE: Final = "model.step.ort"
# The file that onnxruntime's build takes with --include_ops_by_config.
OPERATORS_FILE: Final = "required_operators.config"


def ort_graph(content: bytes, graph: Graph) -> Form:
    """An ONNX graph in onnxruntime's format.

    Args:
        content: the ONNX file's bytes.
        graph: what classifier.json says of it.
    """
    made = _ort(content)
    entry = replace(graph, file=ORT_FILE, sha256=sha256(made))
    return Form(entry, "graph", made, {"ort": run_of_onnx(made, optimized=True)}, one_row=graph.batch == 1)


def ort_step_graph(content: bytes, graph: StepGraph) -> Form:
    """A step graph in onnxruntime's format; arguments as for `ort_graph`."""
    # The reference evaluator of ONNX cannot read this format.
    return replace(step_form(_ort(content), replace(graph, file=ORT_STEP_FILE)), float64_run=None)


def _ort(content: bytes) -> bytes:
    """An ONNX file in onnxruntime's format, simplified, and independent of this processor."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.save_model_format", "ORT")
    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
        path = Path(folder) / "model.ort"
        options.optimized_model_filepath = str(path)
        # This folds constants: weights of layers that are stored in int8 become float32 again, since onnxruntime does
        # not do that when it opens its own format (the compressed ag_news takes 98 us a text unfolded, 59 folded).
        # The embedding stays int8.
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def operators_of(files: Mapping[str, bytes]) -> bytes:
    """The operators that graphs in onnxruntime's format need, as its build reads them.

    Args:
        files: the graphs' bytes, by the names of their files.
    """
    from onnxruntime.tools.ort_format_model import create_config_from_models

    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder, warnings.catch_warnings():
        # It leaves the files that it reads to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        paths = [Path(folder) / name for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        config = Path(folder) / OPERATORS_FILE
        create_config_from_models(paths, config, False)
        # Its comment names the temporary folder.
        lines = config.read_text(encoding="utf-8").splitlines()
    return ("\n".join(line for line in lines if not line.startswith("#")) + "\n").encode()
