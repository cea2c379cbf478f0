"""Pack a bundle into one file for the native engine.

The file is proven equal to the bundle's graph; with integers, the difference is measured.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.atomic_writing import write_whole_file
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.manifest import (
    INTEGERS,
    Example,
    Limits,
    Manifest,
    NumberExample,
    StepGraph,
)
from pocketrnn.bundle.output_kinds import HeadsOutput
from pocketrnn.bundle.packed_file import (
    PackedProgram,
    encode_packed_file,
    is_packed_file,
    make_manifest_entry_of_program,
    make_manifest_entry_of_step_program,
)
from pocketrnn.classifier import Classifier, compute_logits_of_engine_input
from pocketrnn.engines.native import import_native_module
from pocketrnn.errors import ExportError, InputError
from pocketrnn.graph_check.graph_file import read_graph
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import EXTERNAL, AnyTextRules, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn.verdicts import find_graph_name_in_proof
from pocketrnn_export.bundle_description import Description, require_onnx_graph
from pocketrnn_export.bundle_proof import (
    ProofPlan,
    compare_form_on_cases,
    require_passed_comparisons,
    reword_proof_for_numbers,
    select_texts_within_limits,
)
from pocketrnn_export.bundle_writer import read_package_versions
from pocketrnn_export.comparing.logit_comparison import (
    CandidateComparison,
    Reference,
    compare_logits_of_candidate,
    make_graph_reference,
)
from pocketrnn_export.comparing.parity_decision_and_report import prove_parity
from pocketrnn_export.comparing.proof_inputs import (
    Case,
    Ids,
    Logits,
    choose_pairs_for_proof,
    choose_texts_for_proof,
    encode_each_text_as_case,
)
from pocketrnn_export.comparing.torch_threads import use_one_thread
from pocketrnn_export.export_arguments import choose_texts_with_features
from pocketrnn_export.forms.form import Form
from pocketrnn_export.forms.onnx.nan_propagation import LAYERS, remove_nan_guards
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.packed_file.operator_lowering import Lowering
from pocketrnn_export.forms.packed_file.packed_forms import (
    WAYS,
    make_packed_form,
    make_packed_run,
    make_packed_step_form,
)
from pocketrnn_export.forms.packed_file.packed_operator_comparison import (
    refuse_operators_that_engine_computes_differently,
)
from pocketrnn_export.forms.step_graph_that_continues_from_state import wrap_step_graph_as_form
from pocketrnn_export.integer_accuracy import AllowedChange, measure_integer_change
from pocketrnn_export.microcontroller import compute_required_memory, convert_to_c_array, make_array_name
from pocketrnn_export.numbers.message_rewording import reword_messages_for_numbers
from pocketrnn_export.numbers.packed_number_proof import (
    compare_scaling_of_engine_and_python,
    make_proof_plan_for_packed_numbers,
)
from pocketrnn_export.numbers.step_graph_of_number_classifier import (
    make_step_graph_of_samples,
    refuse_rules_that_cannot_stream,
)
from pocketrnn_export.packing_with_integer_products import (
    NOT_MEASURED,
    Programs,
    add_integer_measurement,
    compare_integer_answers,
    compute_integer_tolerance,
    encode_program_sections,
    make_integer_programs,
)
from pocketrnn_export.predicted_labels_and_data_labels import check_data_labels
from pocketrnn_export.progress import show_progress
from pocketrnn_export.proof.c_and_python_tag_and_feature_comparison import (
    compare_features_of_engine_and_runtime,
    compare_tags_of_engine_and_runtime,
)
from pocketrnn_export.proof.case_selection import choose_cases_for_graph_of_bundle, find_text_widths
from pocketrnn_export.proof.end_to_end_comparison import compare_runtime_with_reference
from pocketrnn_export.proof.integer_product_comparison import compare_integer_products_with_numpy
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketrnn_training.rows.labelled_sequences import LabelledSequences
    from pocketrnn_training.rows.labelled_texts import LabelledTexts

# The number format of products.
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
    """Write a bundle as one file for the native engine. With float32, the file is proven equal to the bundle's graph.

    With `arithmetic="int8"`, recurrent layers multiply 8-bit integers, which halves the time of wide layers. The
    integers are compared exactly with a reference implementation, and their effect on the answers is measured.

    Args:
        bundle: a bundle's folder, or a shipped classifier's name.
        path: the file to write, by convention with the ending .prnn.
        arithmetic: the number format of the layers' products, "float32" or "int8".
        streaming: whether the file can also answer while a text arrives. The file of a bundle with a step graph always
            can. For other bundles, the step is made from the graph, which must read in one direction.
        data: texts to measure the effect of integers on, labelled or not, with the classifier's labels in its order; by
            default the golden examples.
        allowed: the largest change of answers by integers; by default, the labels of 0.2 % of the texts and 0.1
            percentage points of accuracy.
        force: whether to replace a file at `path`.
        c_array: whether to write the file's bytes as a C array, for a program that has no files. `path` is then a C
            header, after which the array is named.
        progress: whether to print progress on standard error, as `export` does.

    Returns:
        the file's manifest, with the proof.

    Raises:
        InputError: the bundle gives values, but `arithmetic` is int8; the data is of another kind than the bundle's
            input; or the graph of the bundle is not an ONNX file.
        OutputError: `path` exists, and `force` is not set.
        ExportError: the engine does not have an operator of the graph; or the graph cannot answer while a text arrives.
        BundleError: the text rules cannot be followed while a text arrives.
        MissingExtraError: the native engine is not installed.
        ParityError: the packed file answers otherwise than the graph, or an integer differs from the reference. Nothing
            was written.
        CompressionError: integers change more answers than is allowed. Nothing was written.

    Example:
        >>> pack("ag_news", "news.prnn").name
        'ag_news'
        >>> pack("ag_news", "fast.prnn", arithmetic="int8").parity.comparisons[-1].largest_difference
        0.0
    """
    import_native_module()
    if arithmetic not in ("float32", "int8"):
        raise InputError(
            f"`arithmetic` is {arithmetic!r}, but must be 'float32' or 'int8'.",
            "Give 'float32' for the same answers, or 'int8' for faster wide layers.",
        )
    if arithmetic == "float32" and (data, allowed) != (None, None):
        raise InputError(
            "`data` and `allowed` measure the effect of integers, but `arithmetic` is 'float32', which changes no "
            "answer.",
            "Give arithmetic='int8', or leave out `data` and `allowed`.",
        )
    path = Path(path)
    with show_progress(progress), write_whole_file(path, force=force) as work:
        folder, manifest = read_packable_manifest(bundle, arithmetic)
        _refuse_data_of_other_kind(manifest, data)
        check_data_labels(manifest, data)
        of_values, of_texts = manifest.output.activation == "values", isinstance(manifest.input, TextInput)
        with contextlib.nullcontext() if of_texts else reword_messages_for_numbers(of_values=of_values):
            made, content = _pack_bundle(folder, manifest, arithmetic, data, allowed or AllowedChange(), streaming)
        work.write(_make_c_array_with_memory_sizes(made, content, make_array_name(path)) if c_array else content)
    return made


def _make_c_array_with_memory_sizes(made: Manifest, content: bytes, name: str) -> bytes:
    """Return the bytes of a C header with a packed file as an array. For sequences of numbers, the header also states
    the memory that a program needs."""
    needed = compute_required_memory(made, content) if isinstance(made.input, NumberInput) else None
    return convert_to_c_array(content, name, "" if needed is None else needed.format_definitions(name)).encode("ascii")


def _refuse_data_of_other_kind(manifest: Manifest, data: LabelledTexts | LabelledSequences | None) -> None:
    """Raise an InputError if the data has sequences of numbers but the bundle takes texts, or the reverse."""
    if isinstance(manifest.input, TextInput) and hasattr(data, "sequences"):
        raise InputError(
            f"{manifest.name} takes texts, but `data` has sequences of numbers.", "Give labelled texts as `data`."
        )
    if isinstance(manifest.input, NumberInput) and hasattr(data, "texts"):
        raise InputError(
            f"{manifest.name} takes sequences of numbers, but `data` has texts.", "Give labelled sequences as `data`."
        )


def _pack_bundle(
    folder: Path,
    manifest: Manifest,
    arithmetic: Arithmetic,
    data: LabelledTexts | LabelledSequences | None,
    allowed: AllowedChange,
    streaming: bool,
) -> tuple[Manifest, bytes]:
    """Pack a bundle into one file, and prove the file equal to the bundle's graph; with int8, measure the difference.
    Return the file's manifest and its bytes."""
    # Checked as in the runtime: the bundle may be a stranger's.
    content = read_graph(folder / manifest.graph.file, manifest.graph.sha256)
    step = None
    if manifest.stream is not None:
        step = read_graph(folder / manifest.stream.file, manifest.stream.sha256)
    elif streaming:
        manifest.require_single_text("a stream")
        manifest.require_single_head("a stream")
        if manifest.output.of_tokens:
            raise InputError(
                f"{manifest.name} gives a label for each token, so it cannot be packed for streams: a stream has "
                "one answer for the whole text.",
                "Pack it without `--streaming`.",
            )
        limits = manifest.graph.limits
        if isinstance(manifest.input, NumberInput):
            refuse_rules_that_cannot_stream(manifest.input, limits)
        stream, step = make_step_graph_of_samples(content, limits)
        manifest = replace(manifest, stream=stream)
    packed = _pack_and_prove(manifest, content, step)
    if arithmetic == "float32":
        return packed.manifest, packed.content
    return _pack_with_integers(packed, data, allowed)


def read_packable_manifest(bundle: str | Path, arithmetic: Arithmetic = "float32") -> tuple[Path, Manifest]:
    """Return the folder of a bundle and its manifest, if the bundle can be packed with this arithmetic.

    Raises:
        BundleError: the bundle does not exist, or is damaged.
        InputError: the bundle is packed already, its graph is not an ONNX file, or its tokenizer is external; or
            arithmetic is int8, but the bundle gives values or labels of tokens, or has several heads.
    """
    folder = find_or_download_bundle(bundle)
    if is_packed_file(folder):
        raise InputError(f"{folder} is already a packed file.", "Give the bundle that it was made from.")
    manifest = manifests.read_manifest(folder)
    if manifest.characters is not None:
        manifest.require_single_text("a packed file")
    if isinstance(manifest.input, TextInput):
        check_packable_rules(manifest.input.rules, manifest.name)
    if arithmetic == "int8":
        if manifest.output.of_tokens:
            raise InputError(
                f"{manifest.name} gives a label for each token, so it cannot be packed with int8: the effect of "
                "integers is measured by labels of whole texts.",
                "Pack it in float32: leave out `--arithmetic`.",
            )
        manifest.require_single_text("integer arithmetic")
        manifest.require_single_head("integer arithmetic")
        if manifest.output.activation == "values":
            raise InputError(
                f"{manifest.name} gives values, so it cannot be packed with int8: the effect of integers is "
                "measured by labels.",
                "Pack it in float32: leave out `--arithmetic`.",
            )
    require_onnx_graph(manifest)
    return folder, manifest


def check_packable_rules(rules: AnyTextRules, name: str) -> None:
    """Raise an InputError if text rules cannot be packed because their tokenizer is external: the user's own code
    splits texts. `name` is the name of the bundle for the message."""
    if rules.tokenizer == EXTERNAL:
        raise InputError(
            f"{name} cannot be packed, because a packed file must split texts itself, but your own code splits the "
            "texts of this bundle (its tokenizer is external).",
            "Use the bundle. It takes tokens and ids.",
        )


def make_bundle_program(manifest: Manifest, content: bytes, step_content: bytes | None) -> PackedProgram:
    """Translate the bundle's graph, and its step graph if there is one, into programs of the native engine. Return the
    programs as sections of a packed file.

    Raises:
        ExportError: the engine does not have an operator of one of the graphs.
    """
    whole, of_step = _lower_graphs(manifest, content, step_content)
    return whole.program.encode_sections(None if of_step is None else of_step.program)


def _lower_graphs(manifest: Manifest, content: bytes, step_content: bytes | None) -> tuple[Lowering, Lowering | None]:
    """Translate the bundle's graph, and its step graph if there is one, into programs of the engine. Return both
    translations; the second is None if there is no step graph."""
    given, graph = manifest.input, manifest.graph
    numbers, padding_id = (None, given.rules.padding_id) if isinstance(given, TextInput) else (given, None)
    if numbers is not None:
        # The engine's layers keep NaN themselves.
        content, step_content = (
            remove_nan_guards(content, LAYERS),
            step_content and remove_nan_guards(step_content, LAYERS),
        )
    whole = translate_graph_into_program(
        content, graph, numbers=numbers, padding_id=padding_id, features=manifest.features
    )
    if manifest.stream is None or step_content is None:
        return whole, None
    return whole, translate_graph_into_program(
        step_content, graph, numbers=numbers, state_size=manifest.stream.state_size
    )


# A limit of this many tokens or more is not logged: no such text fits in memory.
_BEYOND_MEMORY: Final = 1 << 24


@dataclass(frozen=True)
class _ProvenPackedFile:
    """A packed file in float32 that was proven equal to the graph of its bundle.

    Attributes:
        content: the bytes of the file.
        programs: the engine's two programs in the file: one for whole texts, and one for a single step, or None without
            streams.
        plan: the reference and the cases of the proof.
    """

    manifest: Manifest
    content: bytes
    programs: Programs
    plan: ProofPlan


def _pack_and_prove(manifest: Manifest, content: bytes, step_content: bytes | None) -> _ProvenPackedFile:
    """Pack the graphs of a bundle in float32, and prove the file equal to them."""
    _log.info("Making the program")
    if isinstance(manifest.input, TextInput) and not manifest.has_two_texts:
        widths = find_text_widths(manifest.input.rules)
        manifest = _limit_token_count_of_graph(manifest, widths.least, widths.most)
    whole, of_step = _lower_graphs(manifest, content, step_content)
    programs = whole.program, None if of_step is None else of_step.program
    each = [program for program in programs if program is not None]
    # With more tokens, or steps, an integer of the programs would not fit into 32 bits.
    manifest = _limit_tokens_to_engine_integers(
        manifest, min((program.most for program in each if program.most), default=None)
    )
    program = encode_program_sections(programs)
    made = replace(
        manifest,
        graph=make_manifest_entry_of_program(manifest.graph, program),
        torchscript=None,
        stream=make_manifest_entry_of_step_program(program),
        provenance={
            **manifest.provenance,
            "packed": {"from_graph": manifest.graph.sha256, "versions": read_package_versions()},
        },
    )
    if manifest.has_two_texts:
        # The operators are compared one by one on texts of equal length.
        whole = translate_graph_into_program(
            content, manifest.graph, padding_id=manifest.text.rules.padding_id, equal_lengths=True
        )
    for lowering in filter(None, (whole, of_step)):
        refuse_operators_that_engine_computes_differently(lowering)
    _log.info("Proving it equal to the bundle's graph")
    # The numbers of tokens, or of steps, near which one size in the graphs becomes larger than another.
    turns = frozenset[int]().union(*(program.turns for program in each))
    plan = _make_proof_plan(manifest, content, turns)
    answers = ReferenceAnswers(plan.reference, plan.cases, rows_alone=plan.rows_alone)
    with use_one_thread(), _write_temporary_packed_file(encode_packed_file(made, program)) as file:
        compared = _compare_packed_file(file, made, plan, answers)
        if step_content is not None and made.stream is not None:
            compared += _compare_steps_with_step_graph(
                file, wrap_step_graph_as_form(step_content, made.stream, plan.rows), made.stream, plan, answers
            )
        rules = [] if plan.rows is None else [compare_scaling_of_engine_and_python(file, plan.rows, made.numbers)]
        rules += [compare_tags_of_engine_and_runtime(file, plan.texts)] if made.output.of_tokens else []
        rules += [compare_features_of_engine_and_runtime(file, made.features)] if made.features else []
    # The bundle's own proof stays part of the proof; the golden examples are still the module's.
    parity = require_passed_comparisons(plan, compared, answers)
    made = replace(made, parity=replace(parity, comparisons=(*parity.comparisons, *rules)))
    return _ProvenPackedFile(made, encode_packed_file(made, program), programs, plan)


@contextlib.contextmanager
def _write_temporary_packed_file(content: bytes) -> Iterator[Path]:
    """Write a temporary packed file that exists while the block runs, and yield its path."""
    with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
        file = Path(folder) / "packed.prnn"
        file.write_bytes(content)
        yield file


def _limit_tokens_to_engine_integers(manifest: Manifest, most_tokens: int | None) -> Manifest:
    """Return the manifest with its graph limited to texts of `most_tokens`, for which the engine's 32-bit integers
    suffice. Raise an ExportError for a bundle of two texts, since its manifest cannot state such a limit."""
    if most_tokens is None or (manifest.has_two_texts and most_tokens >= _BEYOND_MEMORY):
        return manifest
    if manifest.has_two_texts:
        raise ExportError(
            f"In texts of more than {most_tokens:,} tokens, a sum or product of integers may exceed the engine's "
            "32 bits. A packed file of two texts cannot refuse such long texts.",
            "Use the bundle with onnxruntime.",
        )
    if most_tokens < _BEYOND_MEMORY:
        _log.warning(
            "The packed file takes texts of at most %s tokens: in longer ones, a sum or a product of whole numbers "
            "may exceed the engine's integers of 32 bits", f"{most_tokens:,}",
        )  # fmt: skip
    return _limit_token_count_of_graph(manifest, 1, most_tokens)


def _limit_token_count_of_graph(manifest: Manifest, least_tokens: int, most_tokens: int | None) -> Manifest:
    """Return the manifest with its graph limited to texts of `least_tokens` to `most_tokens` tokens, where None is no
    upper limit. Limits in the manifest that are already narrower are kept."""
    limits = manifest.graph.limits or Limits()
    least_tokens = max(least_tokens, limits.min_tokens or 1)
    most_tokens = min(most_tokens or sys.maxsize, limits.max_tokens or sys.maxsize)
    narrowed = replace(
        limits,
        min_tokens=None if least_tokens == 1 else least_tokens,
        max_tokens=None if most_tokens == sys.maxsize else most_tokens,
    )
    return replace(manifest, graph=replace(manifest.graph, limits=None if narrowed == Limits() else narrowed))


def _compare_packed_file(
    file: Path, made: Manifest, plan: ProofPlan, answers: ReferenceAnswers
) -> list[CandidateComparison]:
    """Compare a packed file with the reference in each way in which the file can be opened: its program for whole
    texts, its program for one step, and its streams. Also compare the runtime's answers to texts. Return the lines of
    the proof."""
    given = plan.make_runtime_inputs(Description.from_manifest(made))
    compared = compare_form_on_cases(make_packed_form(file, made.graph, plan.rows), answers)
    if made.stream is not None:
        compared += compare_form_on_cases(make_packed_step_form(file, made.stream, plan.rows), answers)
        # The engine's own streams take words only; Python's, also of subwords, are among the runtime's answers.
        words = isinstance(made.input, TextInput) and isinstance(made.input.rules, TextRules)
        for opened, in_place in WAYS.items() if words else ():
            compared.append(_compare_streamed_answers(file, given, answers, way_to_open=opened, in_place=in_place))
    return compared + compare_runtime_with_reference(
        Classifier.load(file), given, answers, reference=answers.reference.name
    )


def _pack_with_integers(
    packed: _ProvenPackedFile, data: LabelledTexts | LabelledSequences | None, allowed: AllowedChange
) -> tuple[Manifest, bytes]:
    """From a packed file that was proven in float32, make a packed file that multiplies integers. Compare each integer
    product exactly with a reference, and measure the effect on the answers. Return the manifest of the new file and its
    bytes.

    Raises:
        InputError: no weights of the program have an integer form.
        ParityError: an integer differs from the reference, or two ways to open the file give different answers.
        CompressionError: more answers change than `allowed` says.
    """
    _log.info("Making the program of integers")
    plan = packed.plan
    form, program = make_integer_programs(packed.programs, packed.manifest.name)
    made = replace(
        packed.manifest,
        graph=make_manifest_entry_of_program(packed.manifest.graph, program),
        stream=make_manifest_entry_of_step_program(program),
    )
    # The runtime refuses a file without this line, since it must not show a file with integers as proven equal.
    made = replace(made, parity=replace(made.parity, comparisons=(*made.parity.comparisons, NOT_MEASURED)))
    with (
        use_one_thread(),
        _write_temporary_packed_file(packed.content) as before,
        _write_temporary_packed_file(encode_packed_file(made, program)) as file,
    ):
        _log.info("Comparing its integers with the reference of the arithmetic")
        exact = [compare_integer_products_with_numpy(file, program, in_place=in_place) for in_place in WAYS.values()]
        _log.info("Measuring the effect of the integers")
        first, run = (make_packed_run(path, rows=plan.rows) for path in (before, file))
        changed = compare_integer_answers(made, plan.cases, first, run)
        apart = compute_integer_tolerance(changed)
        answers = ReferenceAnswers(Reference(INTEGERS, run), plan.cases, rows_alone=True)
        parity = prove_parity(_compare_packed_file(file, made, plan, answers), apart)
        classifier = Classifier.load(file)
        changes = measure_integer_change(Classifier.load(before), classifier, data, allowed)
        examples: Any = tuple(_replace_answer_of_example(one, classifier) for one in made.examples)
    lines = [*(one.line for one in (*exact, *changed)), *parity.comparisons]
    lines = lines if plan.rows is None else reword_proof_for_numbers(lines)
    made = add_integer_measurement(
        replace(made, examples=examples), packed.manifest.parity, lines, apart, form, changes
    )
    return made, encode_packed_file(made, program)


def _replace_answer_of_example(example: Example | NumberExample, classifier: Classifier) -> Example | NumberExample:
    """Return a copy of a golden example with the logits of `classifier` in place of its own."""
    given = example.ids if isinstance(example, Example) else np.array(example.samples, np.float32)
    return replace(example, logits=tuple(compute_logits_of_engine_input(classifier, [given])[0].tolist()))


def _make_proof_plan(manifest: Manifest, content: bytes, sizes_of_other_path: frozenset[int]) -> ProofPlan:
    """Make the plan for the proof of a packed file: the reference and the cases. `sizes_of_other_path` are text lengths
    at which the engine takes another path through its program; they get cases of their own."""
    given, texts, rows = manifest.input, list[Any](), None
    cases: Mapping[str, Sequence[Case]]
    if not isinstance(given, TextInput):
        reference, cases, rows = make_proof_plan_for_packed_numbers(manifest, content, sizes_of_other_path)
    else:
        description = Description.from_manifest(manifest)
        reference = make_graph_reference(find_graph_name_in_proof(manifest), content)
        if isinstance(manifest.output, HeadsOutput):
            reference = replace(reference, heads=tuple(len(head.labels) for head in manifest.output.heads.values()))
        texts = select_texts_within_limits(
            manifest.graph.limits, _choose_texts_of_proof(manifest, description), description
        )
        drawn = choose_cases_for_graph_of_bundle(
            given.rules,
            manifest.graph,
            manifest.provenance,
            further_tokens=sizes_of_other_path,
            features=manifest.features,
        )
        cases = {**drawn, "texts": encode_each_text_as_case(texts, description.encoder())}
    rows_alone = manifest.graph.batch != 1
    return ProofPlan(reference, cases, texts, rows_alone=rows_alone, earlier=manifest.parity, rows=rows)


def _choose_texts_of_proof(manifest: Manifest, description: Description) -> list[Any]:
    """Choose the texts for the proof of a packed file: the golden examples, and texts without a known token."""
    shown: list[Any] = [example.text for example in manifest.golden_texts]
    if manifest.features:
        return choose_texts_with_features(shown, description, made_too=False)
    if manifest.has_two_texts:
        return choose_pairs_for_proof(shown, description.text.vocabulary, description.text.rules)
    return choose_texts_for_proof(shown, description.text.vocabulary, description.text.rules)


def _compare_steps_with_step_graph(
    file: Path, step_form: Form, stream: StepGraph, plan: ProofPlan, answers: ReferenceAnswers
) -> list[CandidateComparison]:
    """After each token or sample, compare the answers of a packed file's step program with those of the step graph.
    Return the lines of the proof."""
    cases = [case for case, _ in answers.compute_answers("texts", one_row=True)]
    stepped = next(run for name, run in step_form.runs.items() if name.endswith(" each"))
    expected = [stepped(case.tokens, case.lengths) for case in cases]
    steps = make_packed_step_form(file, stream, plan.rows)
    return [
        compare_logits_of_candidate(
            name.partition(",")[0], run, cases, expected,
            inputs="texts", reference="step graph", exact=answers.compute_exact_answer_with_rounding,
        )
        for name, run in steps.runs.items()
        if name.endswith(" each")
    ]  # fmt: skip


def _compare_streamed_answers(
    file: Path, texts: Sequence[str], answers: ReferenceAnswers, *, way_to_open: str, in_place: bool
) -> CandidateComparison:
    """Compare the engine's answers to texts that arrive in pieces with the answers of the reference. Each text is cut
    at random bytes, even within a character. Return a line of the proof."""
    from pocketrnn_native import PRODUCTS_MEMORY

    engine, generator = import_native_module(), np.random.default_rng(0)
    packed = engine.Packed(file.read_bytes(), 0 if in_place else PRODUCTS_MEMORY, in_place)
    cases, expected = zip(*answers.compute_answers("texts", one_row=True), strict=True)
    left = iter(texts)

    def stream_texts(_tokens: Ids, _lengths: Ids) -> Logits:
        content = next(left).encode("utf-8", "surrogatepass")
        places = [0, *sorted(generator.integers(0, len(content) + 1, 4).tolist()), len(content)]
        stream = engine.Stream(packed)
        rows = [stream.push(content[a:b]) for a, b in itertools.pairwise(places)]
        return np.array(rows[-1:], np.float32)

    return compare_logits_of_candidate(
        f"{way_to_open}, as a stream", stream_texts, cases, expected, inputs="texts", reference=answers.reference.name,
        exact=answers.compute_exact_answer_with_rounding,
    )  # fmt: skip
