"""The profile `mobile`: a bundle whose graphs are in onnxruntime's own format, for small builds of onnxruntime."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnxruntime

from pocketrnn import manifest as manifests
from pocketrnn.classifier import Classifier
from pocketrnn.errors import InputError
from pocketrnn.folder import check_free, written_whole
from pocketrnn.manifest import CLASSIFIER_JSON, Manifest, sha256_of, to_bytes
from pocketrnn.text import TextEncoder
from pocketrnn_export.bundle import alone, cases_for, texts_end_to_end
from pocketrnn_export.forms.step import StepFile, proof_of_steps
from pocketrnn_export.proof.parity import compare, proven, run_of_onnx

__all__ = ["OPERATORS_FILE", "mobile"]

# What onnxruntime's build takes with --include_ops_by_config.
OPERATORS_FILE: Final = "required_operators.config"


def mobile(bundle: str | Path, path: str | Path, *, name: str | None = None, force: bool = False) -> Manifest:
    """Write a bundle with its graphs in onnxruntime's own format (`.ort`) and the list of operators that they need.

    Args:
        bundle: a bundle's folder, with ONNX graphs.
        path: the folder to write: `model.ort` in the place of `model.onnx`, and no TorchScript twin.
        name: what the classifier is called; by default as before.
        force: replace a bundle that stands at `path`.

    Raises:
        InputError: the bundle's graph takes the form already; among them OutputError, when `path` is taken.
        ParityError: the new graphs do not answer as the old ones. Nothing was written.
    """
    folder, path = Path(bundle), Path(path)
    check_free(path, force=force, made_by=CLASSIFIER_JSON)
    manifest = manifests.read(folder)
    if not manifest.graph.file.endswith(".onnx"):
        raise InputError(f"The graph of {manifest.name} is no ONNX file.", "Give a bundle that was exported as ONNX.")
    graph, stream = manifest.graph, manifest.stream
    content = manifests.checked_bytes(folder / graph.file, graph.sha256)
    texts = [example.text for example in manifest.examples]
    cases = {**cases_for(graph, manifest.text), "texts": alone(texts, TextEncoder(manifest.text, manifest.vocabulary))}
    reference = run_of_onnx(content, optimized=False)
    expected = {inputs: [reference(case.tokens, case.lengths) for case in some] for inputs, some in cases.items()}
    with written_whole(path, force=force, made_by=CLASSIFIER_JSON) as work:
        files = [work / "model.ort"]
        files[0].write_bytes(_ort(content))
        run = run_of_onnx(files[0].read_bytes(), optimized=True)
        proof = [compare("ort", run, cases[i], expected[i], inputs=i, reference="onnx") for i in cases]
        if stream is not None:
            files.append(work / "model.step.ort")
            files[1].write_bytes(_ort(manifests.checked_bytes(folder / stream.file, stream.sha256)))
            step = StepFile(files[1].read_bytes(), stream.state_size)
            proof += proof_of_steps(step, cases, reference, name="onnx")
            stream = replace(stream, file=files[1].name, sha256=sha256_of(files[1]))
        made = replace(
            manifest,
            name=name or manifest.name,
            graph=replace(graph, file=files[0].name, sha256=sha256_of(files[0])),
            torchscript=None,
            stream=stream,
        )
        (work / CLASSIFIER_JSON).write_bytes(to_bytes(made))
        proof += texts_end_to_end(Classifier.load(work), texts, expected["texts"], reference="onnx")
        tolerance = manifest.parity.tolerance
        parity = replace(
            manifest.parity, comparisons=(*manifest.parity.comparisons, *proven(proof, tolerance).comparisons)
        )
        (work / CLASSIFIER_JSON).write_bytes(to_bytes(replace(made, parity=parity)))
        _write_operators(files, work / OPERATORS_FILE)
    return replace(made, parity=parity)


def _ort(content: bytes) -> bytes:
    """An ONNX file in onnxruntime's format, simplified, and with nothing in it that hangs on this processor."""
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


def _write_operators(files: Sequence[Path], path: Path) -> None:
    from onnxruntime.tools.ort_format_model import create_config_from_models

    with warnings.catch_warnings():
        # It leaves the files that it reads to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        create_config_from_models(files, path, False)
    # Its comment names the folder that the graphs were in meanwhile.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("#")) + "\n", encoding="utf-8")
