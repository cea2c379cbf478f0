"""A bundle of a classifier of numbers as a packed file, proven to answer as its graph does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pocketrnn.bundle.manifest import INTEGERS, Comparison, Limits, Manifest, NumberExample, StepGraph, read
from pocketrnn.bundle.packed_file import graph_entry, step_entry, to_packed
from pocketrnn.classifier import Classifier, logits_of_steps
from pocketrnn.engines.engine import answered
from pocketrnn.engines.native import NativeEngine, native_module
from pocketrnn.errors import ExportError, InputError, ParityError
from pocketrnn.graph_check.graph_file import read_graph
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn_export.bundle_proof import compared_on_cases
from pocketrnn_export.bundle_writer import versions
from pocketrnn_export.forms.form import Form, OtherFile
from pocketrnn_export.forms.onnx.kept_nans import LAYERS, without_guards
from pocketrnn_export.forms.packed_file.packed import WAYS
from pocketrnn_export.forms.packed_file.program_of_graph import program_on_samples
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
from pocketrnn_export.numbers.number_export import NumberExport, answered_steadily, in_words_of_numbers
from pocketrnn_export.numbers.number_step import (
    CHUNKS,
    check_carrying,
    in_one_line,
    read_in_chunks,
    step_graph,
    step_on_samples,
)
from pocketrnn_export.numbers.sample_table import EVERYWHERE, NEAR, POSITIVE, Samples, SampleTable, sample_table
from pocketrnn_export.proof.cases import Case, Ids, Logits, Run
from pocketrnn_export.proof.chosen_cases import asked_sizes, cases_for
from pocketrnn_export.proof.comparing import Compared, Reference, compare, graph_reference
from pocketrnn_export.proof.float64_operators import one_thread
from pocketrnn_export.proof.integer_products import products_compared
from pocketrnn_export.proof.reference_answers import ReferenceAnswers
from pocketrnn_export.proof.verdict import proven

if TYPE_CHECKING:
    from pocketrnn_training.sequences import LabelledSequences

__all__ = ["packable_numbers", "packed_numbers", "packed_numbers_with_integers", "with_table_as_input"]

_log = logging.getLogger(__name__)
# What the proof calls the graph that takes samples.
_GRAPH: Final = "onnx on samples"
_NATIVE_TYPES: Final = {"f8": "FLOAT64", "f4": "FLOAT32", "i2": "INT16", "i4": "INT32"}


def packed_numbers(folder: Path, *, streaming: bool = False) -> tuple[Manifest, bytes]:
    """The packed file of a bundle that takes sequences of numbers.

    Args:
        folder: the bundle's.
        streaming: whether it carries a state from sample to sample, too. A bundle with a step graph gives a file that
            does anyhow; of one without, the step is made of its graph.

    Returns:
        what the file says of itself, with the proof; and its bytes.

    Raises:
        BundleError: the bundle is damaged.
        InputError: the rules say of windows, or of how many steps a sequence has, and a state was to be carried.
        ExportError: the engine has no operation for an operator of the graph; the message names it and its place. Or
            the graph cannot be made to read on from a state.
        MissingExtraError: the native engine is not installed.
        ParityError: the packed file does not answer as the graph does.

    Example:
        >>> packed_numbers(Path("har"))[0].graph.file
        'program'
    """
    packed = _packed_and_proven(folder, read(folder), streaming=streaming)
    return packed.manifest, packed.content


def packed_numbers_with_integers(
    folder: Path, data: LabelledSequences | None, allowed: AllowedChange, *, streaming: bool = False
) -> tuple[Manifest, bytes]:
    """The same with products of integers: each of them exact, and what they change measured.

    Args:
        folder: the bundle's.
        data: labelled sequences to measure it on; without, the golden examples.
        allowed: what may change.
        streaming: as for `packed_numbers`.

    Raises:
        InputError: it gives values, of which no label says what changes; or nothing of the program has an integer form.
        ParityError: an integer differs, or the ways to open the file do not give one answer.
        CompressionError: more has changed than is allowed.
        All that `packed_numbers` raises.

    Example:
        >>> packed_numbers_with_integers(Path("har"), None, AllowedChange())[0].graph.file
        'program'
    """
    manifest = packable_numbers(folder)
    check_data(manifest, data)
    return _with_integers(_packed_and_proven(folder, manifest, streaming=streaming), data, allowed)


def packable_numbers(folder: Path) -> Manifest:
    """What a bundle says whose layers are to multiply integers, looked at before anything is made or proven.

    Raises:
        BundleError: the bundle is damaged.
        InputError: it gives values.

    Example:
        >>> packable_numbers(Path("har")).name
        'har'
    """
    manifest = read(folder)
    if manifest.output.activation == "values":
        raise InputError(
            f"{manifest.name} gives values, and what integers change is measured by labels.", "Pack it in float32."
        )
    return manifest


@dataclass(frozen=True)
class _Packed:
    """A packed file that was proven: what it says, its bytes, its programs before they were finished, and what it was
    proven with."""

    manifest: Manifest
    content: bytes
    programs: Programs
    table: SampleTable
    cases: Mapping[str, Sequence[Case]]


def _packed_and_proven(folder: Path, manifest: Manifest, *, streaming: bool) -> _Packed:
    if not manifest.graph.file.endswith(".onnx"):
        raise InputError(f"The graph of {manifest.name} is no ONNX file.", "Give the bundle that it was made from.")
    content = read_graph(folder / manifest.graph.file, manifest.graph.sha256)
    _log.info("Making the program")
    manifest, step = _with_step(folder, manifest, content, streaming=streaming)
    programs = _programs(manifest, content, step)
    if (most := most_of(programs)) is not None:
        limits = manifest.graph.limits or Limits()
        manifest = replace(manifest, graph=replace(manifest.graph, limits=replace(limits, max_tokens=most)))
        _log.warning(
            "The packed file takes sequences of at most %s steps: of longer ones, a sum or a product of whole numbers "
            "may have more than the 32 bits of the engine's", f"{most:,}",
        )  # fmt: skip
    program = finished(programs)
    made = replace(
        manifest,
        graph=graph_entry(manifest.graph, program),
        stream=step_entry(program),
        provenance={**manifest.provenance, "packed": {"from_graph": manifest.graph.sha256, "versions": versions()}},
    )
    _log.info("Proving it equal to the bundle's graph")
    table = _table(manifest)
    reference = graph_reference(_GRAPH, with_table_as_input(content, table.rows))
    cases = answered_steadily(reference, _cases(manifest, table, turns_of(programs)))
    answers = ReferenceAnswers(reference, cases, rows_alone=manifest.graph.batch != 1)
    with one_thread(), written(to_packed(made, program)) as file:
        compared = _compared(file, table, answers)
        if made.stream is not None:
            compared += _steps_compared(file, made.stream.state_size, table, answers)
            compared += _as_the_step_graph(file, step, made.stream.state_size, table, answers)
        rules = _rules_compared(file, table, manifest.numbers)
    parity = proven(compared, None, allowed=answers.tolerance, float64_error=answers.float64_error)
    lines = [replace(line, inputs=in_words_of_numbers(line.inputs)) for line in parity.comparisons]
    # What the bundle was proven with stays part of the proof; the golden examples are still those of its module.
    allowed = max(parity.tolerance, manifest.parity.tolerance)
    whole = replace(parity, tolerance=allowed, comparisons=(*manifest.parity.comparisons, *in_one_line(lines), rules))
    made = replace(made, parity=whole)
    return _Packed(made, to_packed(made, program), programs, table, cases)


def _with_integers(packed: _Packed, data: LabelledSequences | None, allowed: AllowedChange) -> tuple[Manifest, bytes]:
    _log.info("Making the program of integers")
    form, program = integer_programs(packed.programs, packed.manifest.name, "step")
    made = replace(packed.manifest, graph=graph_entry(packed.manifest.graph, program), stream=step_entry(program))
    made = replace(made, parity=not_measured(made.parity))
    with one_thread(), written(packed.content) as before, written(to_packed(made, program)) as file:
        _log.info("Comparing its integers with the statement of the arithmetic")
        exact = [products_compared(file, program, in_place=in_place) for in_place in WAYS.values()]
        _log.info("Measuring what they change")
        run = _run(NativeEngine(file), packed.table)
        changed = changed_by_integers_on(made, packed.cases, _run(NativeEngine(before), packed.table), run)
        apart = integer_tolerance(changed)
        answers = ReferenceAnswers(Reference(INTEGERS, run), packed.cases, rows_alone=True)
        compared = _compared(file, packed.table, answers)
        if made.stream is not None:
            compared += _steps_compared(file, made.stream.state_size, packed.table, answers)
        parity = proven(compared, apart)
        classifier = Classifier.load(file)
        verdict = changed_by_integers(Classifier.load(before), classifier, data, allowed)
        examples = _answered_anew(made.sequences, classifier)
    lines = [*(one.line for one in (*exact, *changed)), *in_one_line(parity.comparisons)]
    lines = [replace(line, inputs=in_words_of_numbers(line.inputs)) for line in lines]
    made = measured(replace(made, examples=examples), packed.manifest.parity, lines, apart, form, verdict)
    return made, to_packed(made, program)


def _answered_anew(examples: Sequence[NumberExample], classifier: Classifier) -> tuple[NumberExample, ...]:
    """The golden examples with the answers of a classifier."""
    return tuple(
        replace(one, logits=tuple(logits_of_steps(classifier, [np.array(one.samples, np.float32)])[0].tolist()))
        for one in examples
    )


def _with_step(folder: Path, manifest: Manifest, content: bytes, *, streaming: bool) -> tuple[Manifest, bytes]:
    """What the bundle says, with its step graph or that of its graph; and the step graph's file, empty where there is
    none."""
    if manifest.stream is not None:
        return manifest, read_graph(folder / manifest.stream.file, manifest.stream.sha256)
    if not streaming:
        return manifest, b""
    limits = manifest.graph.limits
    check_carrying(manifest.numbers, limits)
    stream, step = step_graph(content, most=None if limits is None else limits.max_tokens)
    return replace(manifest, stream=stream), step


def _programs(manifest: Manifest, content: bytes, step: bytes) -> Programs:
    graph, rules = manifest.graph, manifest.numbers
    try:
        # The engine's own layers keep NaN.
        whole = program_on_samples(without_guards(content, LAYERS), graph, rules)
        if manifest.stream is None:
            return whole, None
        step = without_guards(step, LAYERS)
        return whole, program_on_samples(step, graph, rules, state_size=manifest.stream.state_size)
    except ExportError as error:
        said = (in_words_of_numbers(sentence) for sentence in (error.problem, error.remedy))
        raise ExportError(*said) from error.__cause__


def with_table_as_input(content: bytes, rows: Samples) -> bytes:
    """A graph that takes samples, as one that takes ids of rows of a table; `with_samples_as_input` is its other way.

    Args:
        content: the ONNX file, whose first input is `samples` float32 [batch, time, channels].
        rows: float32 [rows, channels].

    Returns:
        an ONNX file whose first input is `tokens` int64 [batch, time].

    Example:
        >>> with_table_as_input(content, rows)[:2]
        b'\\x08\\n'
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    samples = graph.input[0].name
    axes = [axis.dim_param or (axis.dim_value if axis.HasField("dim_value") else None)
            for axis in graph.input[0].type.tensor_type.shape.dim[:2]]  # fmt: skip
    graph.input[0].CopyFrom(helper.make_tensor_value_info("tokens", TensorProto.INT64, axes))
    graph.initializer.append(numpy_helper.from_array(rows, "pocketrnn.rows"))
    graph.node.insert(0, helper.make_node("Gather", ["pocketrnn.rows", "tokens"], [samples], axis=0))
    made: bytes = model.SerializeToString()
    return made


def _table(manifest: Manifest) -> SampleTable:
    """Rows of numbers as the bundle's own proof drew them, and its golden examples."""
    rules, stated = manifest.numbers, manifest.provenance.get("numbers_in_proof")
    return sample_table(
        len(rules.channels),
        padding=rules.pad_value,
        given=[np.array(example.samples, np.float32) for example in manifest.sequences],
        steps=rules.steps,
        kind=stated if stated in (NEAR, POSITIVE) else EVERYWHERE,
        clip=rules.clip,
    )


def _cases(manifest: Manifest, table: SampleTable, turns: frozenset[int]) -> dict[str, Sequence[Case]]:
    graph, limits = manifest.graph, manifest.graph.limits
    least = 1 if limits is None else limits.min_tokens or 1
    wanted = NumberExport(manifest.name, manifest.labels, manifest.numbers, least=least)
    cases = cases_for(
        wanted.rules_of_ids,
        ids=len(table.rows),
        ragged=graph.padding,
        limits=limits,
        bounds=asked_sizes(manifest.provenance, turns),
        one_row=graph.batch == 1,
    )
    golden = [Case(f"sequence {i}", ids[None], np.array([len(ids)])) for i, ids in enumerate(table.sequences)]
    return {**cases, "texts": golden}


def _compared(file: Path, table: SampleTable, answers: ReferenceAnswers) -> list[Compared]:
    """The packed file with the graph: both ways of opening it on all cases, and the runtime on sequences."""
    runs = {opened: _run(NativeEngine(file, in_place=in_place), table) for opened, in_place in WAYS.items()}
    form = Form(OtherFile(file.name), None, file.read_bytes(), runs, one_row=True)
    compared = compared_on_cases(form, answers)
    cases, expected = zip(*answers.of("texts", one_row=True), strict=True)
    together = logits_of_steps(Classifier.load(file), [table.rows[case.tokens[0]] for case in cases])
    rows = iter(together)
    compared.append(
        compare(
            "runtime", lambda _tokens, _lengths: next(rows)[None], cases, expected,
            inputs="texts", reference=answers.reference.name, exact=answers.with_spread,
        )
    )  # fmt: skip
    return compared


def _step_runs(file: Path, state_size: int, table: SampleTable) -> dict[str, Run]:
    return {
        f"{opened} step, {name}": read_in_chunks(NativeEngine(file, in_place=in_place).step, state_size, table, parts)
        for opened, in_place in WAYS.items()
        for name, parts in CHUNKS.items()
    }


def _steps_compared(file: Path, state_size: int, table: SampleTable, answers: ReferenceAnswers) -> list[Compared]:
    """The step in both ways of opening the file, with the reference for whole sequences."""
    runs = _step_runs(file, state_size, table)
    return compared_on_cases(Form(OtherFile(file.name), None, file.read_bytes(), runs, one_row=True), answers)


def _as_the_step_graph(
    file: Path, step: bytes, state_size: int, table: SampleTable, answers: ReferenceAnswers
) -> list[Compared]:
    """The step with the step graph, sample by sample."""
    runs = _step_runs(file, state_size, table)
    stepped = step_on_samples(step, StepGraph("step", "", state_size), table).runs["step graph, 1 step each"]
    cases = [case for case, _ in answers.of("texts", one_row=True)]
    expected = [stepped(case.tokens, case.lengths) for case in cases]
    return [
        compare(
            f"{opened} step", runs[f"{opened} step, 1 step each"], cases, expected,
            inputs="texts", reference="step graph", exact=answers.with_spread,
        )
        for opened in WAYS
    ]  # fmt: skip


def _run(engine: NativeEngine, table: SampleTable) -> Run:
    def run(tokens: Ids, lengths: Ids) -> Logits:
        rows = [table.rows[row[:length]] for row, length in zip(tokens, lengths, strict=True)]
        return answered(engine, engine.manifest.name, rows)

    return run


def _rules_compared(file: Path, table: SampleTable, rules: NumberInput) -> Comparison:
    """The engine's own arithmetic of the rules with Python's, bit by bit.

    Raises:
        ParityError: they differ.
    """
    module = native_module()
    packed = module.Packed(file.read_bytes())
    given = _as_the_sensor_gives(table.rows.astype(np.float64), rules)
    for samples in given:
        expected = replace(rules, steps=None, pad_side=None, window=None, hop=None).prepared(samples)
        found = np.empty_like(expected)
        packed.prepare(samples, getattr(module, _NATIVE_TYPES[samples.dtype.str[1:]]), found)
        if found.tobytes() != expected.tobytes():
            raise ParityError(
                f"The engine makes other numbers of samples ({samples.dtype}) than the runtime does.",
                "Report it with the rules and the compiler: this is a fault of pocketrnn.",
            )
    rows = sum(map(len, given))
    return Comparison("rules in Python", "rules in C", "samples of each type", len(given), rows, 0.0, 0)


def _as_the_sensor_gives(rows: npt.NDArray[np.float64], rules: NumberInput) -> list[npt.NDArray[Any]]:
    """Rows of numbers from which the rules make about the given ones, in each type of samples; within their range."""
    raw = rows * (rules.scale or 1.0) + (rules.mean or 0.0)
    whole = np.rint(raw / (rules.integer_scale or 1.0))
    made: list[npt.NDArray[Any]] = [raw, raw.clip(-3e38, 3e38).astype(np.float32)]
    for kind in (np.int16, np.int32):
        bounds = np.iinfo(kind)
        made.append(whole.clip(bounds.min, bounds.max).astype(kind))
    return made
