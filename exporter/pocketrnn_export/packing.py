"""A bundle packed into one file for the native engine: proven to answer as the bundle's graph does or, with integers,
measured."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.folder import file_written_whole
from pocketrnn.bundle.manifest import INTEGERS, Example, Limits, Manifest, StepGraph
from pocketrnn.bundle.packed_file import PackedProgram, graph_entry, is_packed, step_entry, to_packed
from pocketrnn.bundle.zoo import bundle_folder
from pocketrnn.classifier import Classifier
from pocketrnn.engines.native import native_module
from pocketrnn.errors import InputError
from pocketrnn.graph_check.graph_file import read_graph
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import EXTERNAL, AnyTextRules, TextRules
from pocketrnn.verdicts import graph_name
from pocketrnn_export.board_memory import memory_of
from pocketrnn_export.bundle_proof import compared_on_cases, texts_within
from pocketrnn_export.bundle_writer import versions
from pocketrnn_export.c_array import array_name, to_c_array
from pocketrnn_export.description import Description
from pocketrnn_export.forms.form import sha256
from pocketrnn_export.forms.packed_file.packed import (
    WAYS,
    packed_form,
    packed_step_form,
    run_of_packed,
    run_of_packed_steps,
)
from pocketrnn_export.forms.packed_file.program_of_graph import program_of
from pocketrnn_export.forms.step import STEP_FILE, run_of_steps
from pocketrnn_export.forms.step_of_graph import step_of_graph
from pocketrnn_export.integer_accuracy import AllowedChange, changed_by_integers
from pocketrnn_export.integer_packing import (
    Programs,
    changed_by_integers_on,
    finished,
    integer_programs,
    integer_tolerance,
    measured,
    most_of,
    not_measured,
    turns_of,
    written,
)
from pocketrnn_export.labels_given import check_data
from pocketrnn_export.numbers.number_packing import packed_numbers, packed_numbers_with_integers
from pocketrnn_export.progress import told_on_stderr
from pocketrnn_export.proof.cases import Case, Ids, Logits, Run, text_cases, texts_for_proof
from pocketrnn_export.proof.chosen_cases import cases_for_graph, widths_of
from pocketrnn_export.proof.comparing import Compared, Reference, compare, graph_reference
from pocketrnn_export.proof.end_to_end import texts_end_to_end
from pocketrnn_export.proof.float64_operators import one_thread
from pocketrnn_export.proof.integer_products import products_compared
from pocketrnn_export.proof.reference_answers import ReferenceAnswers
from pocketrnn_export.proof.verdict import proven

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketrnn_training.data import LabelledTexts
    from pocketrnn_training.sequences import LabelledSequences

__all__ = ["Arithmetic", "bundle_takes_numbers", "check_packable", "pack", "packable", "program_of_bundle"]

# What products are computed in.
Arithmetic = Literal["float32", "int8"]

# Memory for products of words, as pocketrnn_native gives it.
_WORDS_SIZE: Final = 1 << 22

_log = logging.getLogger(__name__)


def pack(
    bundle: str | Path,
    path: str | Path,
    *,
    arithmetic: Arithmetic = "float32",
    streaming: bool = False,
    data: LabelledTexts | LabelledSequences | None = None,
    allowed: AllowedChange | None = None,
    force: bool = False,
    c_array: bool = False,
    progress: bool = True,
) -> Manifest:
    """Write a bundle as one file for the native engine, proven equal to its graph.

    With `arithmetic="int8"` it is not: recurrent layers multiply integers of 8 bits, which takes half of the time of
    wide ones. The integers are compared with a plain statement of the arithmetic, exactly, and what they change is
    measured.

    Args:
        bundle: a bundle's folder, or a shipped classifier's name.
        path: the file to write, by convention with the ending .prnn.
        arithmetic: what layers multiply.
        streaming: whether it answers while a text arrives, too. A bundle that was exported for that gives a file that
            does, anyway; of others the step is made of their graph, if they read in one direction.
        data: texts to measure with what integers change, labelled or not, of the classifier's labels in its order;
            without them, the golden examples.
        allowed: what they may change; by default the label of 0.2 % of the texts, and 0.1 points of accuracy.
        force: replace a file at `path`.
        c_array: write the file's bytes as an array in C, for a program that has no files; `path` is then a header,
            and gives the array its name.
        progress: say on standard error what is done, as `export` does.

    Returns:
        what the file says of itself, with the proof; of a bundle that takes sequences of numbers a Manifest.

    Raises:
        InputError: the bundle gives values, and integers are asked for; the data is of another kind than the bundle;
            its graph is not an ONNX file; among them OutputError, when `path` is taken.
        ExportError: the engine has no operation for an operator of the graph; the message names it and its place. Or
            the graph cannot be made to answer while a text arrives.
        BundleError: the text rules cannot be followed while a text arrives.
        MissingExtraError: the native engine is not installed.
        ParityError: the packed file does not answer as the graph does, or an integer is another. Nothing was written.
        CompressionError: integers change more than is allowed. Nothing was written.

    Example:
        >>> pack("ag_news", "news.prnn").name
        'ag_news'
        >>> pack("ag_news", "fast.prnn", arithmetic="int8").parity.comparisons[-1].largest_difference
        0.0
    """
    native_module()
    if arithmetic not in ("float32", "int8"):
        raise InputError(f"arithmetic is {arithmetic!r}.", "Use 'float32' or 'int8'.")
    if arithmetic == "float32" and (data, allowed) != (None, None):
        raise InputError("Products in float32 change nothing that data could measure.", "Use arithmetic='int8'.")
    path = Path(path)
    with told_on_stderr(progress), file_written_whole(path, force=force) as work:
        made: Manifest
        if bundle_takes_numbers(bundle):
            made, content = _packed_numbers(bundle_folder(bundle), arithmetic, data, allowed, streaming=streaming)
        else:
            if hasattr(data, "sequences"):
                raise InputError(f"{bundle} takes texts, and the data holds sequences of numbers.", "Give texts.")
            made, content = _packed_texts(bundle, arithmetic, data, allowed, streaming=streaming)
        work.write(_c_array(made, content, array_name(path)) if c_array else content)
    return made


def _c_array(made: Manifest, content: bytes, name: str) -> bytes:
    needed = memory_of(made, content) if isinstance(made.input, NumberInput) else None
    return to_c_array(content, name, "" if needed is None else needed.definitions(name)).encode("ascii")


def _packed_numbers(
    folder: Path,
    arithmetic: Arithmetic,
    data: LabelledTexts | LabelledSequences | None,
    allowed: AllowedChange | None,
    *,
    streaming: bool,
) -> tuple[Manifest, bytes]:
    if hasattr(data, "texts"):
        raise InputError(f"{folder.name} takes sequences of numbers, and the data holds texts.", "Give sequences.")
    if arithmetic == "float32":
        return packed_numbers(folder, streaming=streaming)
    return packed_numbers_with_integers(folder, data, allowed or AllowedChange(), streaming=streaming)


def _packed_texts(
    bundle: str | Path,
    arithmetic: Arithmetic,
    data: LabelledTexts | None,
    allowed: AllowedChange | None,
    *,
    streaming: bool,
) -> tuple[Manifest, bytes]:
    folder, manifest = packable(bundle)
    check_data(manifest, data)
    # As the runtime does: a bundle may be a stranger's.
    content = read_graph(folder / manifest.graph.file, manifest.graph.sha256)
    step = None
    if manifest.stream is not None:
        step = read_graph(folder / manifest.stream.file, manifest.stream.sha256)
    elif streaming:
        limits = manifest.graph.limits
        step, size = step_of_graph(content, most=None if limits is None else limits.max_tokens)
        manifest = replace(manifest, stream=StepGraph(STEP_FILE, sha256(step), size))
    packed = _packed_and_proven(manifest, content, step)
    if arithmetic == "float32":
        return packed.manifest, packed.content
    return _with_integers(packed, data, allowed or AllowedChange())


def bundle_takes_numbers(bundle: str | Path) -> bool:
    """Whether a bundle, packed or not, takes sequences of numbers.

    Raises:
        BundleError: there is no such bundle, or it is damaged.

    Example:
        >>> bundle_takes_numbers("ag_news")
        False
    """
    folder = bundle_folder(bundle)
    if is_packed(folder):
        return False
    return isinstance(manifests.read(folder).input, NumberInput)


def packable(bundle: str | Path) -> tuple[Path, Manifest]:
    """The folder of a bundle that can be packed, and what it says.

    Raises:
        InputError: it is packed already, its graph is not an ONNX file, or the engine takes no text by its rules.

    Example:
        >>> packable("ag_news")[1].name
        'ag_news'
    """
    folder = bundle_folder(bundle)
    if is_packed(folder):
        raise InputError(f"{folder} is packed already.", "Give the bundle that it was made from.")
    manifest = manifests.read(folder)
    check_packable(manifest.text.rules, manifest.name)
    if not manifest.graph.file.endswith(".onnx"):
        raise InputError(f"The graph of {manifest.name} is no ONNX file.", "Give the bundle that it was made from.")
    return folder, manifest


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
    whole, of_step = _programs(manifest, content, step)
    return whole.finished(of_step)


def _programs(manifest: Manifest, content: bytes, step: bytes | None) -> Programs:
    whole = program_of(content, manifest.graph, padding_id=manifest.text.rules.padding_id)
    if manifest.stream is None or step is None:
        return whole, None
    return whole, program_of(step, manifest.graph, state_size=manifest.stream.state_size)


@dataclass(frozen=True)
class _Packed:
    """A packed file that was proven: what it says, its bytes, its programs before they were finished, and what it was
    proven with."""

    manifest: Manifest
    content: bytes
    programs: Programs
    cases: Mapping[str, Sequence[Case]]
    texts: Sequence[str]


def _packed_and_proven(manifest: Manifest, content: bytes, step: bytes | None) -> _Packed:
    _log.info("Making the program")
    widths = widths_of(manifest.text.rules)
    manifest = _held_to(manifest, widths.least, widths.most)
    programs = _programs(manifest, content, step)
    if (most := most_of(programs)) is not None:
        _log.warning(
            "The packed file takes texts of at most %s tokens: of longer ones, a sum or a product of whole numbers may "
            "have more than the 32 bits of the engine's", f"{most:,}",
        )  # fmt: skip
        manifest = _held_to(manifest, 1, most)
    program = finished(programs)
    made = replace(
        manifest,
        graph=graph_entry(manifest.graph, program),
        torchscript=None,
        stream=step_entry(program),
        provenance={**manifest.provenance, "packed": {"from_graph": manifest.graph.sha256, "versions": versions()}},
    )
    _log.info("Proving it equal to the bundle's graph")
    cases, texts = _cases(manifest, turns_of(programs))
    answers = ReferenceAnswers(
        graph_reference(graph_name(manifest), content), cases, rows_alone=manifest.graph.batch != 1
    )
    with one_thread(), written(to_packed(made, program)) as file:
        compared = _compared(file, made, answers, texts)
        if step is not None and made.stream is not None:
            for opened, in_place in WAYS.items():
                compared.append(_as_the_step_graph(file, made.stream, step, answers, opened=opened, in_place=in_place))
    parity = proven(compared, None, allowed=answers.tolerance, float64_error=answers.float64_error)
    # What the bundle was proven with stays part of the proof; the golden examples are still those of its module.
    allowed = max(parity.tolerance, manifest.parity.tolerance)
    parity = replace(parity, tolerance=allowed, comparisons=(*manifest.parity.comparisons, *parity.comparisons))
    made = replace(made, parity=parity)
    return _Packed(made, to_packed(made, program), programs, cases, texts)


def _held_to(manifest: Manifest, least: int, most: int | None) -> Manifest:
    """What a bundle says, with the limits of its graph where these are narrower than the numbers of tokens from `least`
    to `most`; else these."""
    limits = manifest.graph.limits or Limits()
    least = max(least, limits.min_tokens or 1)
    most = min(most or sys.maxsize, limits.max_tokens or sys.maxsize)
    narrowed = replace(
        limits, min_tokens=None if least == 1 else least, max_tokens=None if most == sys.maxsize else most
    )
    return replace(manifest, graph=replace(manifest.graph, limits=None if narrowed == Limits() else narrowed))


def _compared(file: Path, made: Manifest, answers: ReferenceAnswers, texts: Sequence[str]) -> list[Compared]:
    """A packed file with a reference: both ways of opening it, its step and streams, and the runtime on texts."""
    compared = compared_on_cases(packed_form(file, made.graph), answers)
    if made.stream is not None:
        compared += compared_on_cases(packed_step_form(file, made.stream), answers)
        # The engine's own streams are of words; Python's, of subwords too, are among the runtime's answers.
        for opened, in_place in WAYS.items() if isinstance(made.text.rules, TextRules) else ():
            compared.append(_streams_compared(file, texts, answers, opened=opened, in_place=in_place))
    return compared + texts_end_to_end(Classifier.load(file), texts, answers, reference=answers.reference.name)


def _with_integers(packed: _Packed, data: LabelledTexts | None, allowed: AllowedChange) -> tuple[Manifest, bytes]:
    """The same with products of integers: each of them exact, and what they change measured.

    Raises:
        InputError: nothing of the program has an integer form.
        ParityError: an integer differs, or the ways to open the file do not give one answer.
        CompressionError: more has changed than is allowed.
    """
    _log.info("Making the program of integers")
    form, program = integer_programs(packed.programs, packed.manifest.name, "token")
    made = replace(packed.manifest, graph=graph_entry(packed.manifest.graph, program), stream=step_entry(program))
    made = replace(made, parity=not_measured(made.parity))
    with one_thread(), written(packed.content) as before, written(to_packed(made, program)) as file:
        _log.info("Comparing its integers with the statement of the arithmetic")
        exact = [products_compared(file, program, in_place=in_place) for in_place in WAYS.values()]
        _log.info("Measuring what they change")
        changed = changed_by_integers_on(made, packed.cases, run_of_packed(before), run_of_packed(file))
        apart = integer_tolerance(changed)
        answers = ReferenceAnswers(Reference(INTEGERS, run_of_packed(file)), packed.cases, rows_alone=True)
        parity = proven(_compared(file, made, answers, packed.texts), apart)
        verdict = changed_by_integers(Classifier.load(before), Classifier.load(file), data, allowed)
        examples = _answered_anew(made.texts, run_of_packed(file))
    lines = (*(one.line for one in (*exact, *changed)), *parity.comparisons)
    made = measured(replace(made, examples=examples), packed.manifest.parity, lines, apart, form, verdict)
    return made, to_packed(made, program)


def _answered_anew(examples: Sequence[Example], run: Run) -> tuple[Example, ...]:
    """The golden examples with the answers of a run."""
    return tuple(
        replace(one, logits=tuple(run(np.array([one.ids], np.int64), np.array([len(one.ids)], np.int64))[0].tolist()))
        for one in examples
    )


def _cases(manifest: Manifest, turns: frozenset[int]) -> tuple[dict[str, Sequence[Case]], list[str]]:
    """The cases of the proof by kind, those of the sizes at which the programs turn among them; and the texts."""
    graph = manifest.graph
    description = Description.of(manifest)
    given = texts_for_proof([example.text for example in manifest.texts], manifest.text.vocabulary, manifest.text.rules)
    texts = texts_within(graph.limits, given, description)
    cases = cases_for_graph(manifest.text.rules, graph, manifest.provenance, turns=turns)
    return {**cases, "texts": text_cases(texts, description.encoder())}, texts


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
