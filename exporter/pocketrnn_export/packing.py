"""A bundle packed into one file for the native engine: proven to answer as the bundle's graph does or, with integers,
measured."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.folder import file_written_whole
from pocketrnn.bundle.manifest import (
    INTEGERS,
    Example,
    Limits,
    Manifest,
    NumberExample,
    StepGraph,
)
from pocketrnn.bundle.packed_file import PackedProgram, graph_entry, is_packed, step_entry, to_packed
from pocketrnn.bundle.zoo import bundle_folder
from pocketrnn.classifier import Classifier, logits_of_steps
from pocketrnn.engines.native import native_module
from pocketrnn.errors import InputError
from pocketrnn.graph_check.graph_file import read_graph
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import EXTERNAL, AnyTextRules, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn.verdicts import graph_name
from pocketrnn_export.board_memory import memory_of
from pocketrnn_export.bundle_proof import ProofPlan, compared_on_cases, lines_of_numbers, texts_within, verdict
from pocketrnn_export.bundle_writer import versions
from pocketrnn_export.c_array import array_name, to_c_array
from pocketrnn_export.comparing.cases import Case, Ids, Logits, text_cases, texts_for_proof
from pocketrnn_export.comparing.comparing import Compared, Reference, compare, graph_reference
from pocketrnn_export.comparing.float64_operators import one_thread
from pocketrnn_export.comparing.verdict import proven
from pocketrnn_export.description import Description
from pocketrnn_export.forms.form import Form
from pocketrnn_export.forms.onnx.kept_nans import LAYERS, without_guards
from pocketrnn_export.forms.packed_file.each_operation import refuse_other_operations
from pocketrnn_export.forms.packed_file.lowering import Lowering
from pocketrnn_export.forms.packed_file.packed import (
    WAYS,
    packed_form,
    packed_step_form,
    run_of_packed,
)
from pocketrnn_export.forms.packed_file.program_of_graph import lowered
from pocketrnn_export.forms.step import step_form
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
from pocketrnn_export.numbers.number_export import told_of_numbers
from pocketrnn_export.numbers.number_packing import number_proof, number_rules_compared
from pocketrnn_export.numbers.number_step import check_carrying, step_graph
from pocketrnn_export.progress import told_on_stderr
from pocketrnn_export.proof.chosen_cases import cases_for_graph, widths_of
from pocketrnn_export.proof.end_to_end import end_to_end
from pocketrnn_export.proof.integer_products import products_compared
from pocketrnn_export.proof.packed_tags import tags_compared
from pocketrnn_export.proof.reference_answers import ReferenceAnswers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketrnn_training.rows.data import LabelledTexts
    from pocketrnn_training.rows.sequences import LabelledSequences

__all__ = ["Arithmetic", "check_packable", "pack", "packable", "program_of_bundle"]

# The numbers in which products are computed.
Arithmetic = Literal["float32", "int8"]

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
        folder, manifest = packable(bundle, arithmetic)
        _check_kind(manifest, data)
        check_data(manifest, data)
        with _told_of(manifest):
            made, content = _packed(folder, manifest, arithmetic, data, allowed or AllowedChange(), streaming)
        work.write(_c_array(made, content, array_name(path)) if c_array else content)
    return made


def _c_array(made: Manifest, content: bytes, name: str) -> bytes:
    needed = memory_of(made, content) if isinstance(made.input, NumberInput) else None
    return to_c_array(content, name, "" if needed is None else needed.definitions(name)).encode("ascii")


def _check_kind(manifest: Manifest, data: LabelledTexts | LabelledSequences | None) -> None:
    if isinstance(manifest.input, TextInput) and hasattr(data, "sequences"):
        raise InputError(f"{manifest.name} takes texts, and the data holds sequences of numbers.", "Give texts.")
    if isinstance(manifest.input, NumberInput) and hasattr(data, "texts"):
        raise InputError(f"{manifest.name} takes sequences of numbers, and the data holds texts.", "Give sequences.")


def _told_of(manifest: Manifest) -> contextlib.AbstractContextManager[None]:
    """For the block, all that is logged and raised in the words of what a bundle takes."""
    if isinstance(manifest.input, TextInput):
        return contextlib.nullcontext()
    return told_of_numbers(of_values=manifest.output.activation == "values")


def _packed(
    folder: Path,
    manifest: Manifest,
    arithmetic: Arithmetic,
    data: LabelledTexts | LabelledSequences | None,
    allowed: AllowedChange,
    streaming: bool,
) -> tuple[Manifest, bytes]:
    # As the runtime does: a bundle may be a stranger's.
    content = read_graph(folder / manifest.graph.file, manifest.graph.sha256)
    step = None
    if manifest.stream is not None:
        step = read_graph(folder / manifest.stream.file, manifest.stream.sha256)
    elif streaming:
        if manifest.output.of_tokens:
            raise InputError(
                f"{manifest.name} gives a label for each token, and a stream answers for a text.",
                "Pack it without --streaming.",
            )
        limits = manifest.graph.limits
        if isinstance(manifest.input, NumberInput):
            check_carrying(manifest.input, limits)
        stream, step = step_graph(content, most=None if limits is None else limits.max_tokens)
        manifest = replace(manifest, stream=stream)
    packed = _packed_and_proven(manifest, content, step)
    if arithmetic == "float32":
        return packed.manifest, packed.content
    return _with_integers(packed, data, allowed)


def packable(bundle: str | Path, arithmetic: Arithmetic = "float32") -> tuple[Path, Manifest]:
    """The folder of a bundle that can be packed, and what it says.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        InputError: it is packed already, its graph is not an ONNX file, or the engine takes no text by its rules; or
            integers are asked for, and it gives values or labels of tokens.

    Example:
        >>> packable("ag_news")[1].name
        'ag_news'
    """
    folder = bundle_folder(bundle)
    if is_packed(folder):
        raise InputError(f"{folder} is packed already.", "Give the bundle that it was made from.")
    manifest = manifests.read(folder)
    manifest.check_one_text("a packed file takes")
    if isinstance(manifest.input, TextInput):
        check_packable(manifest.input.rules, manifest.name)
    if arithmetic == "int8" and manifest.output.of_tokens:
        raise InputError(
            f"{manifest.name} gives a label for each token, and what integers change is measured by labels of texts.",
            "Pack it in float32.",
        )
    if arithmetic == "int8" and manifest.output.activation == "values":
        raise InputError(
            f"{manifest.name} gives values, and what integers change is measured by labels.", "Pack it in float32."
        )
    if not manifest.graph.file.endswith(".onnx"):
        raise InputError(f"The graph of {manifest.name} is not an ONNX file.", "Give the bundle that it was made from.")
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
    whole, of_step = _lowered(manifest, content, step)
    return whole.program, None if of_step is None else of_step.program


def _lowered(manifest: Manifest, content: bytes, step: bytes | None) -> tuple[Lowering, Lowering | None]:
    given, graph = manifest.input, manifest.graph
    numbers, padding_id = (None, given.rules.padding_id) if isinstance(given, TextInput) else (given, None)
    if numbers is not None:
        # The engine's own layers keep NaN.
        content, step = without_guards(content, LAYERS), step and without_guards(step, LAYERS)
    whole = lowered(content, graph, numbers=numbers, padding_id=padding_id)
    if manifest.stream is None or step is None:
        return whole, None
    return whole, lowered(step, graph, numbers=numbers, state_size=manifest.stream.state_size)


# A limit of so many tokens is noted in the file and not told: no such text fits in memory.
_BEYOND_MEMORY: Final = 1 << 24


@dataclass(frozen=True)
class _Packed:
    """A packed file that was proven: what it says, its bytes, its programs before they were finished, and what it was
    proven with."""

    manifest: Manifest
    content: bytes
    programs: Programs
    plan: ProofPlan


def _packed_and_proven(manifest: Manifest, content: bytes, step: bytes | None) -> _Packed:
    _log.info("Making the program")
    if isinstance(manifest.input, TextInput):
        widths = widths_of(manifest.input.rules)
        manifest = _held_to(manifest, widths.least, widths.most)
    whole, of_step = _lowered(manifest, content, step)
    programs = whole.program, None if of_step is None else of_step.program
    if (most := most_of(programs)) is not None:
        if most < _BEYOND_MEMORY:
            _log.warning(
                "The packed file takes texts of at most %s tokens: of longer ones, a sum or a product of whole numbers "
                "may have more than the 32 bits of the engine's", f"{most:,}",
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
    for lowering in filter(None, (whole, of_step)):
        refuse_other_operations(lowering)
    _log.info("Proving it equal to the bundle's graph")
    plan = _plan(manifest, content, turns_of(programs))
    answers = ReferenceAnswers(plan.reference, plan.cases, rows_alone=plan.rows_alone)
    with one_thread(), written(to_packed(made, program)) as file:
        compared = _compared(file, made, plan, answers)
        if step is not None and made.stream is not None:
            compared += _as_the_step_graph(file, step_form(step, made.stream, plan.rows), made.stream, plan, answers)
        rules = [] if plan.rows is None else [number_rules_compared(file, plan.rows, made.numbers)]
        rules += [tags_compared(file, plan.texts)] if made.output.of_tokens else []
    # The bundle's own proof stays part of the proof; the golden examples are still those of its module.
    parity = verdict(plan, compared, answers)
    made = replace(made, parity=replace(parity, comparisons=(*parity.comparisons, *rules)))
    return _Packed(made, to_packed(made, program), programs, plan)


def _held_to(manifest: Manifest, least: int, most: int | None) -> Manifest:
    """The bundle's manifest, with the numbers of tokens from `least` to `most` as its limits, or the limits of its
    graph where these are narrower."""
    limits = manifest.graph.limits or Limits()
    least = max(least, limits.min_tokens or 1)
    most = min(most or sys.maxsize, limits.max_tokens or sys.maxsize)
    narrowed = replace(
        limits, min_tokens=None if least == 1 else least, max_tokens=None if most == sys.maxsize else most
    )
    return replace(manifest, graph=replace(manifest.graph, limits=None if narrowed == Limits() else narrowed))


def _compared(file: Path, made: Manifest, plan: ProofPlan, answers: ReferenceAnswers) -> list[Compared]:
    """A packed file with a reference: both ways of opening it, its step and streams, and the runtime."""
    given = plan.runtime_given(Description.of(made))
    compared = compared_on_cases(packed_form(file, made.graph, plan.rows), answers)
    if made.stream is not None:
        compared += compared_on_cases(packed_step_form(file, made.stream, plan.rows), answers)
        # The engine's own streams are of words; Python's, of subwords too, are among the runtime's answers.
        words = isinstance(made.input, TextInput) and isinstance(made.input.rules, TextRules)
        for opened, in_place in WAYS.items() if words else ():
            compared.append(_streams_compared(file, given, answers, opened=opened, in_place=in_place))
    return compared + end_to_end(Classifier.load(file), given, answers, reference=answers.reference.name)


def _with_integers(
    packed: _Packed, data: LabelledTexts | LabelledSequences | None, allowed: AllowedChange
) -> tuple[Manifest, bytes]:
    """The same with products of integers: each of them exact, and what they change measured.

    Raises:
        InputError: nothing of the program has an integer form.
        ParityError: an integer differs, or the ways to open the file do not give one answer.
        CompressionError: more has changed than is allowed.
    """
    _log.info("Making the program of integers")
    plan = packed.plan
    form, program = integer_programs(packed.programs, packed.manifest.name)
    made = replace(packed.manifest, graph=graph_entry(packed.manifest.graph, program), stream=step_entry(program))
    made = replace(made, parity=not_measured(made.parity))
    with one_thread(), written(packed.content) as before, written(to_packed(made, program)) as file:
        _log.info("Comparing its integers with the statement of the arithmetic")
        exact = [products_compared(file, program, in_place=in_place) for in_place in WAYS.values()]
        _log.info("Measuring what they change")
        first, run = (run_of_packed(path, rows=plan.rows) for path in (before, file))
        changed = changed_by_integers_on(made, plan.cases, first, run)
        apart = integer_tolerance(changed)
        answers = ReferenceAnswers(Reference(INTEGERS, run), plan.cases, rows_alone=True)
        parity = proven(_compared(file, made, plan, answers), apart)
        classifier = Classifier.load(file)
        changes = changed_by_integers(Classifier.load(before), classifier, data, allowed)
        examples: Any = tuple(_answered_anew(one, classifier) for one in made.examples)
    lines = [*(one.line for one in (*exact, *changed)), *parity.comparisons]
    lines = lines if plan.rows is None else lines_of_numbers(lines)
    made = measured(replace(made, examples=examples), packed.manifest.parity, lines, apart, form, changes)
    return made, to_packed(made, program)


def _answered_anew(example: Example | NumberExample, classifier: Classifier) -> Example | NumberExample:
    """A golden example with the answer of a classifier."""
    given = example.ids if isinstance(example, Example) else np.array(example.samples, np.float32)
    return replace(example, logits=tuple(logits_of_steps(classifier, [given])[0].tolist()))


def _plan(manifest: Manifest, content: bytes, turns: frozenset[int]) -> ProofPlan:
    """The reference and the cases for a packed file, with the sizes at which the programs take another path."""
    given, texts, rows = manifest.input, list[str](), None
    cases: Mapping[str, Sequence[Case]]
    if not isinstance(given, TextInput):
        reference, cases, rows = number_proof(manifest, content, turns)
    else:
        reference, description = graph_reference(graph_name(manifest), content), Description.of(manifest)
        texts = texts_for_proof([example.shown for example in manifest.texts], given.vocabulary, given.rules)
        texts = texts_within(manifest.graph.limits, texts, description)
        drawn = cases_for_graph(given.rules, manifest.graph, manifest.provenance, turns=turns)
        cases = {**drawn, "texts": text_cases(texts, description.encoder())}
    rows_alone = manifest.graph.batch != 1
    return ProofPlan(reference, cases, texts, rows_alone=rows_alone, earlier=manifest.parity, rows=rows)


def _as_the_step_graph(
    file: Path, graph: Form, stream: StepGraph, plan: ProofPlan, answers: ReferenceAnswers
) -> list[Compared]:
    """The step against the step graph, token by token or sample by sample."""
    cases = [case for case, _ in answers.of("texts", one_row=True)]
    stepped = next(run for name, run in graph.runs.items() if name.endswith(" each"))
    expected, steps = [stepped(case.tokens, case.lengths) for case in cases], packed_step_form(file, stream, plan.rows)
    return [
        compare(
            name.partition(",")[0], run, cases, expected,
            inputs="texts", reference="step graph", exact=answers.with_spread,
        )
        for name, run in steps.runs.items()
        if name.endswith(" each")
    ]  # fmt: skip


def _streams_compared(
    file: Path, texts: Sequence[str], answers: ReferenceAnswers, *, opened: str, in_place: bool
) -> Compared:
    """The engine's own streams, of texts cut at random, also inside of characters."""
    from pocketrnn_native import PRODUCTS_MEMORY

    engine, generator = native_module(), np.random.default_rng(0)
    packed = engine.Packed(file.read_bytes(), 0 if in_place else PRODUCTS_MEMORY, in_place)
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
