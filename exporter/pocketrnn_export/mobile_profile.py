"""The profile `mobile`: a bundle whose graphs are in onnxruntime's own format, for small builds of onnxruntime."""

from __future__ import annotations

from pathlib import Path

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.atomic_writing import check_output_folder
from pocketrnn.bundle.checked_files import read_checked_bytes
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, Manifest
from pocketrnn.errors import InputError
from pocketrnn.verdicts import find_graph_name_in_proof
from pocketrnn_export.bundle_description import Description, require_onnx_graph
from pocketrnn_export.bundle_proof import ProofPlan
from pocketrnn_export.bundle_writer import write_bundle
from pocketrnn_export.comparing.logit_comparison import make_graph_reference
from pocketrnn_export.forms.ort_format import (
    OPERATORS_FILE,
    make_operator_configuration,
    make_ort_form,
    make_ort_step_form,
)
from pocketrnn_export.proof.case_selection import choose_cases_for_graph_of_bundle


def write_mobile_bundle(bundle: str | Path, path: str | Path, *, force: bool = False) -> Manifest:
    """Write a bundle with its graphs in onnxruntime's own format (`.ort`).

    The bundle also gets the list of operators that the graphs need, from which a small onnxruntime can be built.

    Args:
        bundle: a bundle's folder, with ONNX graphs.
        path: the folder to write: `model.ort` instead of `model.onnx`, and no TorchScript copy.
        force: replace a bundle at `path`.

    Raises:
        InputError: the bundle's graph is already in onnxruntime's format, or the bundle takes the characters of words.
        OutputError: something is at `path` already.
        ParityError: the new graphs do not answer as the old ones. Nothing was written.
    """
    folder, path = Path(bundle), Path(path)
    check_output_folder(path, force=force, marker_file=CLASSIFIER_JSON)
    manifest = manifests.read_manifest(folder)
    if manifest.characters is not None:
        raise InputError(
            f"{manifest.name} takes the characters of each word, but the profile mobile supports only words.",
            "Use the bundle itself: Classifier.load(bundle).tag(text).",
        )
    require_onnx_graph(manifest)
    graph, stream, description = manifest.graph, manifest.stream, Description.from_manifest(manifest)
    content = read_checked_bytes(folder / graph.file, graph.sha256)
    forms = [make_ort_form(content, graph)]
    if stream is not None:
        forms.append(make_ort_step_form(read_checked_bytes(folder / stream.file, stream.sha256), stream))
    plan = ProofPlan(
        reference=make_graph_reference(find_graph_name_in_proof(manifest), content),
        cases=choose_cases_for_graph_of_bundle(
            manifest.text.rules, graph, manifest.provenance, features=manifest.features
        ),
        rows_alone=graph.batch != 1,
        texts=[example.text for example in manifest.golden_texts],
        earlier=manifest.parity,
    )
    return write_bundle(
        path,
        description,
        forms,
        plan,
        examples=manifest.golden_texts,
        other_files={OPERATORS_FILE: make_operator_configuration({form.file: form.content for form in forms})},
        force=force,
    )
