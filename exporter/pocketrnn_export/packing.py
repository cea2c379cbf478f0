"""A bundle packed into one file for the native engine, proven to answer as the bundle's graph does."""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.folder import file_written_whole
from pocketrnn.bundle.manifest import Manifest, StepGraph
from pocketrnn.bundle.packed_file import PackedProgram, graph_entry, is_packed, step_entry, to_packed
from pocketrnn.bundle.zoo import bundle_folder
from pocketrnn.classifier import Classifier
from pocketrnn.engines.native import native_module
from pocketrnn.errors import InputError
from pocketrnn.graph_check.graph_file import read_graph
from pocketrnn.text import EXTERNAL, AnyTextRules, TextRules
from pocketrnn.verdicts import graph_name
from pocketrnn_export.bundle_proof import compared_on_cases, texts_within
from pocketrnn_export.bundle_writer import versions
from pocketrnn_export.c_array import array_name, to_c_array
from pocketrnn_export.forms.packed import WAYS, packed_form, packed_step_form, run_of_packed_steps
from pocketrnn_export.forms.program_of_graph import program_of
from pocketrnn_export.forms.step import run_of_steps
from pocketrnn_export.intake.description import Description
from pocketrnn_export.proof.cases import Ids, Logits, text_cases, texts_for_proof
from pocketrnn_export.proof.chosen_cases import cases_for_graph
from pocketrnn_export.proof.comparing import Compared, compare, graph_reference
from pocketrnn_export.proof.end_to_end import texts_end_to_end
from pocketrnn_export.proof.float64_operators import one_thread
from pocketrnn_export.proof.reference_answers import ReferenceAnswers
from pocketrnn_export.proof.verdict import proven

__all__ = ["check_packable", "pack", "program_of_bundle"]

# Memory for products of words, as pocketrnn_native gives it.
_WORDS_SIZE: Final = 1 << 22

_log = logging.getLogger(__name__)


def pack(bundle: str | Path, path: str | Path, *, force: bool = False, c_array: bool = False) -> Manifest:
    """Write a bundle as one file for the native engine, proven equal to its graph.

    Args:
        bundle: a bundle's folder, or a shipped classifier's name.
        path: the file to write, by convention with the ending .prnn.
        force: replace a file at `path`.
        c_array: write the file's bytes as an array in C, for a program that has no files; `path` is then a header,
            and gives the array its name.

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
        check_packable(manifest.text, manifest.name)
        if not manifest.graph.file.endswith(".onnx"):
            raise InputError(f"The graph of {manifest.name} is no ONNX file.", "Give the bundle that it was made from.")
        # As the runtime does: a bundle may be a stranger's.
        content = read_graph(folder / manifest.graph.file, manifest.graph.sha256)
        step = None
        if manifest.stream is not None:
            step = read_graph(folder / manifest.stream.file, manifest.stream.sha256)
        made, written = _packed_and_proven(manifest, content, step)
        work.write(to_c_array(written, array_name(path)).encode("ascii") if c_array else written)
    return made


def check_packable(rules: AnyTextRules, name: str) -> None:
    """Refuse text rules that no packed file holds, before anything is made or proven.

    Args:
        rules: the text rules.
        name: what they are of, for the message.

    Raises:
        InputError: the engine takes no text by these rules.

    Example:
        >>> check_packable(TextRules(), "news")
    """
    if rules.tokenizer == EXTERNAL:
        raise InputError(
            f"{name} cannot be packed: its tokenizer is external, and the native engine takes texts only.",
            "Use a bundle in the place of a packed file: it takes tokens and ids.",
        )


def program_of_bundle(manifest: Manifest, content: bytes, step: bytes | None) -> PackedProgram:
    """The program of a bundle's graph, and that of its step graph where it has one.

    Args:
        manifest: what the bundle says.
        content: the graph's file.
        step: the step graph's.

    Raises:
        ExportError: the engine has no operation for an operator of one of them.

    Example:
        >>> program_of_bundle(manifest, (folder / "model.onnx").read_bytes(), None).step
        b''
    """
    whole = program_of(content, manifest.graph, padding_id=manifest.text.padding_id)
    if manifest.stream is None or step is None:
        return whole.finished()
    return whole.finished(program_of(step, manifest.graph, state_size=manifest.stream.state_size))


def _packed_and_proven(manifest: Manifest, content: bytes, step: bytes | None) -> tuple[Manifest, bytes]:
    _log.info("Making the program")
    program = program_of_bundle(manifest, content, step)
    made = replace(
        manifest,
        graph=graph_entry(manifest.graph, program),
        torchscript=None,
        stream=step_entry(program),
        provenance={**manifest.provenance, "packed": {"from_graph": manifest.graph.sha256, "versions": versions()}},
    )
    _log.info("Proving it equal to the bundle's graph")
    answers, texts = _answers(manifest, content)
    with one_thread(), _written(to_packed(made, program)) as file:
        compared = compared_on_cases(packed_form(file, made.graph), answers)
        if step is not None and made.stream is not None:
            compared += compared_on_cases(packed_step_form(file, made.stream), answers)
            for opened, in_place in WAYS.items():
                compared.append(_as_the_step_graph(file, made.stream, step, answers, opened=opened, in_place=in_place))
                # The engine's own streams are of words; Python's, of subwords too, are among the runtime's answers.
                if isinstance(made.text, TextRules):
                    compared.append(_streams_compared(file, texts, answers, opened=opened, in_place=in_place))
        compared += texts_end_to_end(Classifier.load(file), texts, answers, reference=graph_name(manifest))
    parity = proven(compared, None, allowed=answers.tolerance, float64_error=answers.float64_error)
    # What the bundle was proven with stays part of the proof; the golden examples are still those of its module.
    allowed = max(parity.tolerance, manifest.parity.tolerance)
    parity = replace(parity, tolerance=allowed, comparisons=(*manifest.parity.comparisons, *parity.comparisons))
    made = replace(made, parity=parity)
    return made, to_packed(made, program)


def _answers(manifest: Manifest, content: bytes) -> tuple[ReferenceAnswers, list[str]]:
    """The graph's answers to the cases of the proof, and the texts among them."""
    graph = manifest.graph
    description = Description.of(manifest)
    given = texts_for_proof([example.text for example in manifest.examples], manifest.vocabulary, manifest.text)
    texts = texts_within(graph.limits, given, description)
    cases = cases_for_graph(manifest.text, graph)
    answers = ReferenceAnswers(
        graph_reference(graph_name(manifest), content),
        {**cases, "texts": text_cases(texts, description.encoder())},
        rows_alone=graph.batch != 1,
    )
    return answers, texts


@contextmanager
def _written(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
        file = Path(folder) / "packed.prnn"
        file.write_bytes(content)
        yield file


def _as_the_step_graph(
    file: Path, stream: StepGraph, step: bytes, answers: ReferenceAnswers, *, opened: str, in_place: bool
) -> Compared:
    """The step against the step graph, token by token."""
    cases = [case for case, _ in answers.of("texts", one_row=True)]
    stepped = run_of_steps(step, stream.state_size, cuts=10**9)
    expected = [stepped(case.tokens, case.lengths) for case in cases]
    run = run_of_packed_steps(file, cuts=10**9, in_place=in_place)
    return compare(
        f"{opened} step", run, cases, expected, inputs="texts", reference="step graph", exact=answers.with_spread
    )


def _streams_compared(
    file: Path, texts: Sequence[str], answers: ReferenceAnswers, *, opened: str, in_place: bool
) -> Compared:
    """The engine's own streams, of texts cut at random, also inside of characters."""
    engine, generator = native_module(), np.random.default_rng(0)
    packed = engine.Packed(file.read_bytes(), 0 if in_place else _WORDS_SIZE, in_place)
    cases, expected = zip(*answers.of("texts", one_row=True), strict=True)
    left = iter(texts)

    def run(_tokens: Ids, _lengths: Ids) -> Logits:
        content = next(left).encode("utf-8", "surrogatepass")
        places = [0, *sorted(generator.integers(0, len(content) + 1, 4).tolist()), len(content)]
        stream = engine.Stream(packed)
        rows = [stream.push(content[a:b]) for a, b in itertools.pairwise(places)]
        return np.array(rows[-1:], np.float32)

    return compare(
        f"{opened}, as a stream", run, cases, expected, inputs="texts", reference=answers.reference.name,
        exact=answers.with_spread,
    )  # fmt: skip
