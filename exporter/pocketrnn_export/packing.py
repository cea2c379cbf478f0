"""A bundle packed into one file for the native engine, proven to answer as the bundle's graph does."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn import manifest as manifests
from pocketrnn.classifier import Classifier
from pocketrnn.engines.native import native_module
from pocketrnn.errors import InputError
from pocketrnn.folder import file_written_whole
from pocketrnn.manifest import Manifest
from pocketrnn.packed_file import graph_entry, is_packed, to_packed
from pocketrnn.shipped import bundle_folder
from pocketrnn_export.bundle import cases_for, texts_within, versions
from pocketrnn_export.forms.packed import program_of
from pocketrnn_export.intake.description import Description
from pocketrnn_export.proof.answered import Answered
from pocketrnn_export.proof.cases import Ids, Logits, Run, text_cases, texts_for_proof
from pocketrnn_export.proof.comparing import Compared, compare, graph_reference
from pocketrnn_export.proof.end_to_end import texts_end_to_end
from pocketrnn_export.proof.float64_operators import one_thread
from pocketrnn_export.proof.verdict import proven

__all__ = ["pack", "run_of_packed"]

REFERENCE: Final = "onnx"
CANDIDATE: Final = "packed"

_log = logging.getLogger(__name__)


def pack(bundle: str | Path, path: str | Path, *, force: bool = False) -> Manifest:
    """Write a bundle as one file for the native engine, proven equal to its graph.

    Args:
        bundle: a bundle's folder, or a shipped classifier's name.
        path: the file to write, by convention with the ending .prnn.
        force: replace a file at `path`.

    Returns:
        what the file says of itself, with the proof.

    Raises:
        InputError: the bundle's graph is not an ONNX file; among them OutputError, when `path` is taken.
        ExportError: the engine has no operation for an operator of the graph; the message names it and its place.
        MissingExtraError: the native engine is not installed.
        ParityError: the packed file does not answer as the graph does. Nothing was written.

    Example:
        >>> pack("ag_news", "news.prnn").name
        'ag_news'
    """
    native_module()
    path = Path(path)
    with file_written_whole(path, force=force) as work:
        folder = bundle_folder(bundle)
        if is_packed(folder):
            raise InputError(f"{folder} is packed already.", "Give the bundle that it was made from.")
        manifest = manifests.read(folder)
        if not manifest.graph.file.endswith(".onnx"):
            raise InputError(f"The graph of {manifest.name} is no ONNX file.", "Give the bundle that it was made from.")
        if manifest.graph.limits is not None and manifest.graph.limits.real_token:
            raise InputError(
                f"{manifest.name} takes no text of padding only, a limit that a packed file cannot hold.",
                "Count at least one token in forward, as in lengths.clamp(min=1), and export it again; or use the "
                "bundle.",
            )
        content = manifests.checked_bytes(folder / manifest.graph.file, manifest.graph.sha256)
        made, written = _packed_and_proven(manifest, content)
        work.write(written)
    return made


def _packed_and_proven(manifest: Manifest, content: bytes) -> tuple[Manifest, bytes]:
    _log.info("Making the program")
    program = program_of(content, manifest.graph).finished()
    graph = graph_entry(manifest.graph, program)
    made = replace(
        manifest,
        graph=graph,
        torchscript=None,
        stream=None,
        provenance={**manifest.provenance, "packed": {"from_graph": manifest.graph.sha256, "versions": versions()}},
    )
    _log.info("Proving it equal to the bundle's graph")
    answers, texts = _answers(manifest, content)
    with one_thread(), _written(to_packed(made, program)) as file:
        compared = _compared(run_of_packed(file), answers)
        compared += texts_end_to_end(Classifier.load(file), texts, answers, reference=REFERENCE)
    parity = proven(compared, None, allowed=answers.tolerance, float64_error=answers.float64_error)
    # What the bundle was proven with stays part of the proof; the golden examples are still those of its module.
    allowed = max(parity.tolerance, manifest.parity.tolerance)
    parity = replace(parity, tolerance=allowed, comparisons=(*manifest.parity.comparisons, *parity.comparisons))
    made = replace(made, parity=parity)
    return made, to_packed(made, program)


def _answers(manifest: Manifest, content: bytes) -> tuple[Answered, list[str]]:
    """The graph's answers to the cases of the proof, and the texts among them."""
    graph = manifest.graph
    description = Description.of(manifest)
    given = texts_for_proof([example.text for example in manifest.examples], manifest.vocabulary, manifest.text)
    texts = texts_within(graph.limits, given, description)
    cases = cases_for(
        manifest.text, ids=graph.embedding_rows, ragged=graph.padding, limits=graph.limits, one_row=graph.batch == 1
    )
    answers = Answered(
        graph_reference(REFERENCE, content),
        {**cases, "texts": text_cases(texts, description.encoder())},
        rows_alone=graph.batch != 1,
    )
    return answers, texts


def _compared(run: Run, answers: Answered) -> list[Compared]:
    compared = []
    for inputs in answers.kinds:
        cases, logits = zip(*answers.of(inputs, one_row=True), strict=True)
        compared.append(
            compare(
                CANDIDATE, run, cases, logits, inputs=inputs, reference=answers.reference.name,
                exact=answers.with_spread,
            )
        )  # fmt: skip
    return compared


@contextmanager
def _written(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
        file = Path(folder) / "packed.prnn"
        file.write_bytes(content)
        yield file


def run_of_packed(path: Path) -> Run:
    """A packed file as a run on arrays, each row alone.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: it does not open.
    """
    from pocketrnn.engines.native import NativeEngine

    engine = NativeEngine(path)

    def run(tokens: Ids, lengths: Ids) -> Logits:
        rows = [row[:length] for row, length in zip(tokens, lengths, strict=True)]
        return engine.logits(np.concatenate(rows), lengths)

    return run
