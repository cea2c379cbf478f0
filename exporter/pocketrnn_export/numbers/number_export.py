"""Export a module that takes sequences of numbers as a bundle."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from pocketrnn.bundle.manifest import (
    Graph,
    Manifest,
    NumberExample,
)
from pocketrnn.errors import ExportError, ParityError, PocketRNNError, SequenceError
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.text import TextRules
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.bundle_proof import (
    ProofPlan,
    compare_in_float64,
    make_module_proof_cases,
    refuse_dependence_on_batch_calls_or_copy,
)
from pocketrnn_export.bundle_writer import read_package_versions, write_bundle
from pocketrnn_export.comparing.logit_comparison import Reference
from pocketrnn_export.comparing.module_and_graph_as_functions import make_onnx_run
from pocketrnn_export.comparing.proof_inputs import Case, Logits, Run, Widths, split_cases_into_single_rows
from pocketrnn_export.export_arguments import ExportOptions
from pocketrnn_export.forms.form import Form, OtherFile, log_uncompared_parts_and_make_provenance_entry, sha256
from pocketrnn_export.forms.onnx.integers_near_graph_constants import list_integers_near_constants
from pocketrnn_export.forms.onnx.onnx_form import make_onnx_form
from pocketrnn_export.forms.step_graph_that_continues_from_state import wrap_step_graph_as_form
from pocketrnn_export.intake.compiled_call_line import compile_call
from pocketrnn_export.intake.module_copy_for_export import unwrap_module
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu, set_eval_mode
from pocketrnn_export.module_runs.state_restoration import restore_module
from pocketrnn_export.numbers.message_rewording import reword_messages_for_numbers, reword_sentence_on_texts_for_numbers
from pocketrnn_export.numbers.step_graph_of_number_classifier import (
    make_step_graph_of_samples,
    refuse_rules_that_cannot_stream,
)
from pocketrnn_export.numbers.table_of_proof_samples import (
    EVERYWHERE,
    LAYOUTS,
    NEAR,
    POSITIVE,
    TABLE,
    Layout,
    Samples,
    SampleTable,
    make_module_take_ids,
    make_sample_table,
    replace_ids_by_samples,
    rewrite_call_for_ids,
)
from pocketrnn_export.progress import filter_log_records
from pocketrnn_export.proof.case_selection import find_text_widths, make_provenance_entry_of_condition_sizes
from pocketrnn_export.proof.notes_on_values_equal_for_all_texts import write_notes_on_values_equal_for_all_texts
from pocketrnn_export.proof.proof_duration import describe_duration_of_long_work, estimate_proof_seconds
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers
from pocketrnn_export.single_text_fallback import run_with_single_text_fallback

_log = logging.getLogger(__name__)
# Padding is the first row of the table.
_PADDING: Final = 0
_GOLDEN: Final = 8
# A stack of convolutions needs some dozens of steps.
_SHORTEST: Final = 64
# The numbers of steps that every module is tried on; the larger ones are tried where it fails on these.
_FEW_STEPS: Final = 5
_USUAL_STEPS: Final = 29
_FEWER_STEPS: Final = (12, 7, _FEW_STEPS)
_MORE_STEPS: Final = (58, 116, 232, 464, 928, 1856, 3712)
_MOST_FIXED: Final = 513
# A float32 error on a recording that is larger than this is not only rounding; the largest error seen was 33 spreads,
# some 1e-4.
_STEADY: Final = 1e-3
# The attributes in which layers store the size of their input.
_INPUT_SIZES: Final = ("input_size", "in_features", "in_channels", "num_features")
# The most numbers in a golden example, if there are sequences this small.
_SMALL: Final = 4096
# Other calls change the samples, for example by moving time before the batch, and may be right for only one of the
# layouts.
_LIKELY_CALLS: Final = ("module(tokens)", "module(tokens, ")


@dataclass(frozen=True)
class NumberExport:
    """The arguments of an export of a module of numbers, except the module.

    Attributes:
        description: everything in the bundle except the graphs.
        wanted: how the module is called, and the files to make for the bundle.
        layout: the order of the axes of forward's input, such as `btc`; None to find it.
        sequences: real sequences, as the sensor gives them.
        least: the fewest steps on which the module runs; 1 if it runs on 5 or on 29 steps.
    """

    description: Description
    wanted: ExportOptions
    layout: Layout | None = None
    sequences: Sequence[object] = ()
    least: int = 1

    @property
    def rules(self) -> NumberInput:
        """The rules that turn a sequence into the module's input."""
        return self.description.numbers

    @property
    def gives_values(self) -> bool:
        """Whether the module gives values, such as a speed, and not logits."""
        return self.description.output.activation == "values"

    @property
    def layouts_to_try(self) -> tuple[Layout, ...]:
        """The orders of the axes of forward's input to try, the likeliest first."""
        if self.layout is not None:
            return (self.layout,)
        if self.wanted.call is not None:
            return ("btc",)
        return ("btc", "bct", "bt") if len(self.rules.channels) == 1 else ("btc", "bct")

    @property
    def widths(self) -> Widths:
        """The numbers of steps that a sequence may have."""
        return replace(find_text_widths(make_text_rules_for_proof(self.rules, self.least)), filled=self.least == 1)


def make_text_rules_for_proof(rules: NumberInput, least_steps: int) -> TextRules:
    """Return text rules for the proof of a module of numbers, in which ids stand for rows of numbers. `rules` are the
    rules for numbers. The text rules pad sequences that are shorter than `least_steps`."""
    return TextRules(
        "external",
        unknown_id=1,
        empty_id=1,
        padding_id=_PADDING,
        min_width=rules.steps if least_steps == 1 else least_steps,
        max_width=rules.steps,
        pad_side=rules.pad_side or "right",
    )


def export_number_module(module: nn.Module, path: Path, arguments: NumberExport, *, force: bool = False) -> Manifest:
    """Export a recurrent module of sequences of numbers as a bundle in the folder `path`, and prove that the bundle
    gives the module's answers. Return the content of classifier.json. With `force`, an existing bundle is replaced.

    Raises:
        InputError: one of the user's sequences or the user's call of the module is not valid.
        ExportError: the module cannot be called with sequences of numbers, cannot be traced, or gives different answers
            to the same input.
        ParityError: the graph or the runtime does not give the module's answers. Nothing was written.
    """
    module = unwrap_module(module)
    if arguments.wanted.streaming:
        refuse_rules_that_cannot_stream(arguments.rules, None)
    given = [
        _prepare_sequence_for_proof(arguments, number, sequence) for number, sequence in enumerate(arguments.sequences)
    ]
    with reword_messages_for_numbers(of_values=arguments.gives_values):
        arguments = _find_fewest_steps_and_add_to_arguments(module, arguments)
        held = _find_layout_and_kind_of_numbers(module, arguments, given)
        for record in held.said:
            logging.getLogger(record.name).handle(record)
        kind = held.table.kind
        if kind != EVERYWHERE:
            _log.warning("The module's answers to some numbers are not finite, so the proof uses only %s", kind)
        with (
            contextlib.suppress(_RoundingError),
            _make_module_take_ids(module, arguments, held.table, held.layout) as of_ids,
        ):
            return _export_module_that_takes_ids(of_ids, path, arguments, held, force=force)
        held = _find_layout_and_kind_of_numbers(module, arguments, given, (NEAR, POSITIVE))
        _log.warning(
            "For numbers of up to 10,000 the graph equals the module in double precision, but in float32 rounding "
            "changes the answers by more than a proof allows. So the proof uses only %s. If the module was trained on "
            "scaled numbers, give their mean and scale, or the scaler",
            held.table.kind,
        )
        with _make_module_take_ids(module, arguments, held.table, held.layout) as of_ids:
            return _export_module_that_takes_ids(of_ids, path, arguments, held, force=force)


def _prepare_sequence_for_proof(arguments: NumberExport, index: int, sequence: object) -> Samples:
    """Return the user's sequence with the index `index` as the module takes it: scaled by the rules. Raise a
    SequenceError with this index if the rules do not accept the sequence."""
    try:
        return arguments.rules.prepared(sequence)
    except SequenceError as error:
        raise SequenceError(
            f"Sequence {index} of your sequences, counted from 0: {error.problem}", error.remedy
        ) from None


def _make_table_for_proof(arguments: NumberExport, given_sequences: Sequence[Samples], kind: str) -> SampleTable:
    """Make the table of random rows of numbers for the proof, with the user's channels, steps and limits.

    Args:
        arguments: the arguments of the export.
        given_sequences: the user's sequences, scaled as the module takes them.
        kind: the size of the random numbers: EVERYWHERE, NEAR or POSITIVE.
    """
    rules = arguments.rules
    return make_sample_table(
        len(rules.channels),
        padding=rules.pad_value,
        given_sequences=given_sequences,
        steps=rules.steps,
        least_steps=arguments.least,
        kind=kind,
        clip=rules.clip,
    )


def _prepare_module_on_ids(
    module: nn.Module, arguments: NumberExport, table: SampleTable, *, one_text: bool, call_line: str | None = None
) -> ExportableModule:
    """Prepare a module of numbers for export by the code that exports modules of texts.

    Args:
        module: the module, which already takes ids in place of samples.
        arguments: the arguments of the export.
        table: the rows of numbers that the ids stand for.
        one_text: whether the module takes one sequence at a time.
        call_line: the line of Python that calls the module; None to find it.
    """
    call = arguments.wanted.call
    return prepare_module(
        module,
        lengths=arguments.wanted.lengths,
        ids=len(table.rows),
        padding_id=_PADDING,
        classes=len(arguments.description.output.labels),
        multi_label=arguments.description.output.activation == "sigmoid",
        call=call_line if call is None else rewrite_call_for_ids(call),
        gives=arguments.wanted.gives,
        one_text=one_text,
        widths=arguments.widths,
        values=arguments.gives_values,
        samples=True,
        shortest=_SHORTEST,
    )


def _find_fewest_steps_and_add_to_arguments(module: nn.Module, arguments: NumberExport) -> NumberExport:
    """Return the arguments with `least` set to the fewest steps on which the module runs, or unchanged if it runs on 29
    or on 5 steps. A module with strided convolutions, for example, may need dozens of steps. Raise an ExportError if it
    runs on exactly one of the numbers of steps that are tried."""
    if arguments.rules.steps is not None:
        return arguments
    table = _make_table_for_proof(arguments, (), NEAR)

    @functools.cache
    def can_run_on_steps(steps: int) -> bool:
        for layout in arguments.layouts_to_try:
            with _collect_and_hide_log_records(), _make_module_take_ids(module, arguments, table, layout) as of_ids:
                if _can_run_on_ids(of_ids, arguments, len(table.rows), steps):
                    return True
        return False

    if can_run_on_steps(_USUAL_STEPS) or can_run_on_steps(_FEW_STEPS):
        return arguments
    longer = next((steps for steps in _MORE_STEPS if can_run_on_steps(steps)), None)
    if longer is None:
        if (only := next(filter(can_run_on_steps, range(_FEW_STEPS + 1, _MOST_FIXED)), None)) is not None:
            raise ExportError(
                f"The module runs on sequences of {only:,} steps, but fails on all other numbers of steps that were "
                "tried.",
                f"If all your sequences have exactly {only} steps, give steps={only} (on the command line, --steps "
                f"{only}).",
            )
        return arguments
    failing = longer // 2
    while longer - failing > 1:
        middle = (failing + longer) // 2
        failing, longer = (failing, middle) if can_run_on_steps(middle) else (middle, longer)
    return replace(arguments, least=longer)


def _find_layout_and_kind_of_numbers(
    module: nn.Module,
    arguments: NumberExport,
    given_sequences: Sequence[Samples],
    kinds_of_numbers: Sequence[str] = (EVERYWHERE, NEAR, POSITIVE),
) -> _FoundLayout:
    """Find the order of axes with which the module can be called and exported, and a kind of random numbers for which
    the module's answers are finite.

    Args:
        module: the module.
        arguments: the arguments of the export, with the orders of axes to try.
        given_sequences: the user's sequences, scaled as the module takes them.
        kinds_of_numbers: the kinds of random numbers to try, in order.

    Raises:
        ExportError: the module runs with none of the orders, or with several and different answers.
    """
    first: PocketRNNError | None = None
    for kind in kinds_of_numbers:
        table = _make_table_for_proof(arguments, given_sequences, kind)
        held: list[_FoundLayout] = []
        for layout in arguments.layouts_to_try:
            try:
                held.append(
                    _prepare_module_with_layout(
                        module, arguments, table, layout, call_line=_find_likely_call_line(held)
                    )
                )
            except _LayoutNotExportableError as error:
                # view() accepts any layout: if the likelier one runs, another that fits is only a guess.
                if not held:
                    raise error.refusal from error.refusal.__cause__
                continue
            except ExportError as error:
                first = first or error
        # The owner's layout is the one with which the module takes a batch. A single sequence may by chance run in
        # another layout, too.
        of_batches = [one for one in held if not one.prepared.one_text]
        of_batches = of_batches or [one for one in held if one.layout == arguments.layouts_to_try[0]]
        if held and not of_batches and arguments.wanted.one_text:
            runs = " or ".join(LAYOUTS[one.layout] for one in held)
            raise ExportError(
                f"With one sequence at a time, the module fails on an input {LAYOUTS[arguments.layouts_to_try[0]]}, "
                f"but runs on {runs}.",
                f"Give the order of the axes of your module's input, such as layout={held[0].layout!r} (on the command "
                f"line, --layout {held[0].layout}).",
            )
        if len(of_batches) > 1 and not all(np.array_equal(one.answers, of_batches[0].answers) for one in of_batches):
            said = " and ".join(f"{LAYOUTS[one.layout]} ({one.layout!r})" for one in of_batches)
            raise ExportError(
                f"The module runs with several orders of the input's axes and answers differently: {said}.",
                f"Give the order that your module expects, such as layout={of_batches[0].layout!r} (on the command "
                f"line, --layout {of_batches[0].layout}).",
            )
        if of_batches:
            return of_batches[0]
        if first is not None and "finite" not in str(first):
            break
    assert first is not None  # noqa: S101 - no layout held
    if (taken := _find_other_channel_count(module, arguments)) is not None:
        raise ExportError(
            f"The module takes exactly {taken} channels, but `channels` gives {len(arguments.rules.channels)}.",
            f"Give the names of the {taken} channels, or their number: channels={taken} (on the command line, "
            f"--channels {taken}).",
        ) from first
    raise first


def _find_other_channel_count(module: nn.Module, arguments: NumberExport) -> int | None:
    """Find a number of channels, other than the user's, with which the module runs, for an error message. The input
    sizes of the module's layers are tried. Return None if the module runs with none of them."""
    rules, given = arguments.rules, len(arguments.rules.channels)
    said = {getattr(layer, name, None) for layer in module.modules() for name in _INPUT_SIZES}
    for count in sorted(size for size in said if isinstance(size, int) and 0 < size != given):
        table = make_sample_table(count, padding=rules.pad_value, steps=rules.steps, kind=NEAR)
        for layout in arguments.layouts_to_try:
            with _collect_and_hide_log_records(), make_module_take_ids(module, table.rows, layout) as of_ids:
                if _can_run_on_ids(of_ids, arguments, len(table.rows)):
                    return count
    return None


class _LayoutNotExportableError(Exception):
    """Raised if the module runs with an order of axes but cannot be exported with it. `refusal` is the error of the
    export."""

    def __init__(self, refusal: ExportError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class _RoundingError(Exception):
    """Raised if the graph equals the module in double precision, but float32 rounding changes the answers to large
    numbers by more than a proof allows."""


@dataclass(frozen=True)
class _FoundLayout:
    """An order of axes with which the module can be called and exported.

    Attributes:
        layout: the order, such as `btc`.
        table: the rows of numbers that the module's ids stand for.
        prepared: the module, ready to export.
        answers: the module's answer to one sequence.
        said: the log records of the trial with this order, which are shown if the order is chosen.
    """

    layout: Layout
    table: SampleTable
    prepared: ExportableModule
    answers: Logits
    said: tuple[logging.LogRecord, ...]


def _find_likely_call_line(found_layouts: Sequence[_FoundLayout]) -> str | None:
    """Return the line of Python that calls the module with the first order of axes that was found, so that the other
    orders are tried with this line only. Return None if no order was found yet, or if the line is unusual."""
    line = found_layouts[0].prepared.convention.line if found_layouts else ""
    return line if line.startswith(_LIKELY_CALLS) else None


def _prepare_module_with_layout(
    module: nn.Module, arguments: NumberExport, table: SampleTable, layout: Layout, *, call_line: str | None
) -> _FoundLayout:
    """Prepare the module for export with the order of axes `layout`. Raise a _LayoutNotExportableError if the module
    runs with this order but cannot be exported, and an ExportError if it does not run.

    Args:
        module: the module.
        arguments: the arguments of the export.
        table: the rows of numbers that the ids stand for.
        layout: the order of axes.
        call_line: the line of Python that calls the module; None to find it.
    """
    with _collect_and_hide_log_records() as said, _make_module_take_ids(module, arguments, table, layout) as of_ids:
        try:
            prepared = _prepare_module_on_ids(
                of_ids, arguments, table, one_text=arguments.wanted.one_text, call_line=call_line
            )
        except ExportError as error:
            if (
                arguments.wanted.call is None
                and "finite" not in str(error)
                and _can_run_on_ids(of_ids, arguments, len(table.rows))
            ):
                raise _LayoutNotExportableError(error) from error
            raise
        answers = _compute_one_answer(prepared)
    return _FoundLayout(layout, table, prepared, answers, tuple(said))


def _compute_one_answer(prepared: ExportableModule) -> Logits:
    """Return the module's answer to one sequence of ids: 31 steps, or fewer if the module fails on these."""
    for steps in (_USUAL_STEPS + 2, *_FEWER_STEPS):
        width = prepared.widths.clip(steps)
        ids = 8 + np.arange(width, dtype=np.int64)[None] % (prepared.ids - 8)
        try:
            return prepared.make_reference().run(ids, np.array([width], np.int64))
        except ExportError:
            if steps == _FEWER_STEPS[-1]:
                raise
    raise AssertionError("_FEWER_STEPS is empty")


def _make_module_take_ids(
    module: nn.Module, arguments: NumberExport, table: SampleTable, layout: Layout
) -> contextlib.AbstractContextManager[nn.Module]:
    """While the block runs, make the module take ids and look up the samples that the ids stand for. If the user gave a
    call of the module, the call must look up the samples itself."""
    return make_module_take_ids(module, table.rows, layout if arguments.wanted.call is None else None)


def _can_run_on_ids(module: nn.Module, arguments: NumberExport, id_count: int, steps: int | None = None) -> bool:
    """Return whether the module runs on random ids without an error. Its answer is not checked.

    Args:
        module: the module, which takes ids.
        arguments: the arguments of the export. If they have the user's call of the module, it is enough that the call
            runs on a batch of one row.
        id_count: the number of ids.
        steps: the number of steps; None for 31 or the nearest number that the rules allow.
    """
    width = arguments.widths.clip(31) if steps is None else steps
    tokens = torch.from_numpy(8 + np.arange(3 * width).reshape(3, width) % (id_count - 8))
    lengths = torch.full((3,), width)
    calls: list[Callable[[], Any]] = [lambda: module(tokens), lambda: module(tokens, lengths)]
    if arguments.wanted.call is not None:
        call = rewrite_call_for_ids(arguments.wanted.call)
        function = compile_call(call) if isinstance(call, str) else call
        calls = [lambda: function(module, tokens, lengths), lambda: function(module, tokens[:1], lengths[:1])]
    for call_once in calls:
        # Whatever a user's module raises. It is the user's own, perhaps in training mode, where a batch norm would
        # change its statistics.
        with (
            restore_module(module),
            torch.no_grad(),
            run_quietly_on_cpu(),
            contextlib.suppress(Exception, SystemExit),
        ):
            set_eval_mode(module)
            call_once()
            return True
    return False


@contextmanager
def _collect_and_hide_log_records() -> Iterator[list[logging.LogRecord]]:
    """While the block runs, hide the log records of the exporter. Yield the list that collects them."""
    records: list[logging.LogRecord] = []

    def collect_and_hide(record: logging.LogRecord) -> bool:
        records.append(record)
        return False

    with filter_log_records(collect_and_hide):
        yield records


def _export_module_that_takes_ids(
    module: nn.Module, path: Path, arguments: NumberExport, found_layout: _FoundLayout, *, force: bool
) -> Manifest:
    """Trace a module of numbers with the order of axes that was found, prove its graph, and write the bundle to the
    folder `path`. Return the content of classifier.json.

    Args:
        module: the module, which takes ids in place of samples.
        path: the bundle's folder.
        arguments: the arguments of the export.
        found_layout: the order of axes, with the prepared module.
        force: whether an existing bundle is replaced.
    """
    table = found_layout.table
    prepared, form = _trace_module_with_single_sequence_fallback(module, arguments, found_layout)
    graph = form.entry
    assert isinstance(graph, Graph)  # noqa: S101 - it is the ONNX form
    refuse_dependence_on_batch_calls_or_copy(
        prepared, graph.limits, form.bounds, list_integers_near_constants(form.content)
    )
    every = [*table.sequences, *table.made]
    sequences = [Case(f"sequence {i}", ids[None], np.array([len(ids)])) for i, ids in enumerate(every)]
    inside = [case for case in sequences if graph.limits is None or graph.limits.allows_length(case.tokens.shape[1])]
    proof = make_module_proof_cases(
        prepared, make_text_rules_for_proof(arguments.rules, arguments.least), graph, condition_sizes=form.bounds
    )
    cases = drop_constant_sequences_if_answers_are_unstable(prepared.make_reference(), proof)
    cases["texts"] = inside or [next(iter(cases.values()))[0]]
    wanted = arguments.wanted
    closed = write_notes_on_values_equal_for_all_texts(form.program, cases, graph.inputs, one_row=form.one_row)
    plan = ProofPlan.from_module(prepared, cases, tolerance=wanted.tolerance, report=wanted.report, rows=table.rows)
    seconds = estimate_proof_seconds(plan.reference, cases, [*form.runs.values()])
    _log.info(
        "Proving the graph, and the runtime on sequences, equal to PyTorch%s", describe_duration_of_long_work(seconds)
    )
    said = {name: reword_sentence_on_texts_for_numbers(value) for name, value in prepared.convention.provenance.items()}
    description = arguments.description.add_provenance({
        **log_uncompared_parts_and_make_provenance_entry([form], closed),
        **said,
        **make_provenance_entry_of_condition_sizes(form.bounds),
        "layout": LAYOUTS[found_layout.layout],
        "numbers_in_proof": table.kind,
        "golden_examples": "given sequences" if table.sequences and wanted.examples else "made signals",
        "versions": read_package_versions(),
    })  # fmt: skip
    examples = functools.partial(_make_golden_examples, arguments, table)
    try:
        return write_bundle(
            path, description, _make_forms_of_bundle(form, arguments, table), plan, examples=examples, force=force
        )
    except ParityError:
        if table.kind == EVERYWHERE and _equals_module_in_float64(form, plan):
            raise _RoundingError from None
        raise


def _equals_module_in_float64(form: Form, plan: ProofPlan) -> bool:
    """Return whether a graph gives the module's answers if both compute in double precision."""
    with contextlib.suppress(ParityError):
        answers = ReferenceAnswers(plan.reference, plan.cases, rows_alone=plan.rows_alone)
        return bool(compare_in_float64([form], answers))
    return False


def drop_constant_sequences_if_answers_are_unstable(
    reference: Reference, cases: Mapping[str, Sequence[Case]]
) -> dict[str, Sequence[Case]]:
    """Return the cases of a proof without those that contain a sequence of equal steps, if the module's float32 answers
    to such sequences differ much from its answers in double precision, and log this. Otherwise, return all cases.

    A module that divides each recording by the standard deviation of the recording divides by about 0 there. Its answer
    then depends on the rounding of the mean, which differs between engines, and between a batch and one recording.

    Args:
        reference: runs the module in float32 and in double precision.
        cases: the cases by kind.
    """
    furthest = 0.0
    # One by one: a graph may take one sequence a run.
    for case in filter(
        _has_sequence_of_equal_steps, split_cases_into_single_rows(case for some in cases.values() for case in some)
    ):
        # If the module has no answer, or none in double precision, the proof reports it.
        with contextlib.suppress(ExportError):
            if reference.float64_run is not None:
                given = reference.run(case.tokens, case.lengths)
                exact = reference.float64_run(case.tokens, case.lengths)
                size = np.maximum(1.0, np.abs(exact).max(axis=1, initial=0.0))
                furthest = max(furthest, float(np.nan_to_num(np.abs(given - exact).max(axis=1) / size).max()))
    if furthest <= _STEADY:
        return dict(cases)
    _log.warning(
        "For recordings that never change, the module's own float32 answers are up to %.2g off: the module divides by "
        "about 0 there, as by a standard deviation, and its answer depends on the rounding of a mean. Answers to "
        "recordings with one constant channel may be off, too. The proof leaves such recordings out and promises "
        "nothing for them. With x.std(...).clamp(min=0.01) in forward, they get an answer",
        furthest,
    )
    kept = {inputs: [case for case in some if not _has_sequence_of_equal_steps(case)] for inputs, some in cases.items()}
    return {inputs: some for inputs, some in kept.items() if some}


def _has_sequence_of_equal_steps(case: Case) -> bool:
    """Return whether a case contains a sequence of two or more steps that are all equal."""
    rows = zip(case.tokens, case.lengths, strict=True)
    return any(length > 1 and bool((row[:length] == row[0]).all()) for row, length in rows)


def _trace_module_with_single_sequence_fallback(
    module: nn.Module, arguments: NumberExport, found_layout: _FoundLayout
) -> tuple[ExportableModule, Form]:
    """Trace the module, and return the prepared module and its graph. If the module cannot take batches, prepare it
    again for one sequence at a time. Raise an ExportError if the module has no finite answer to a sequence of zeros."""
    prepared, table = found_layout.prepared, found_layout.table
    if prepared.needs_real_token:
        raise ExportError(
            "The module fails on a sequence in which every number is 0, or its answer to this sequence is not finite.",
            "Change forward so that it counts at least one step of such a sequence, as with lengths.clamp(min=1).",
        )
    if prepared.alone and not prepared.one_text:
        _log.warning(
            "A sequence with zeros inside gets another answer in a batch than alone. So each sequence is answered "
            "alone, which takes longer for many sequences"
        )
        prepared = _prepare_module_on_ids(module, arguments, table, one_text=True)

    def make_module_and_form(prepared: ExportableModule) -> tuple[ExportableModule, Form]:
        _log.info("Tracing the module for ONNX")
        return prepared, make_onnx_form(prepared, arguments.description.metadata, ids=len(table.rows))

    return run_with_single_text_fallback(
        prepared, make_module_and_form, functools.partial(_prepare_module_on_ids, module, arguments, table)
    )


def _make_forms_of_bundle(form: Form, arguments: NumberExport, table: SampleTable) -> list[Form]:
    """Return a list of the graphs to prove: the graph that takes ids, which the bundle does not contain; the graph that
    takes samples, which it contains; and the step graph, if streaming is wanted.

    Args:
        form: the graph that takes ids.
        arguments: the arguments of the export.
        table: the rows of numbers that the ids stand for.
    """
    content, graph = replace_ids_by_samples(form.content, f"{TABLE}.weight", len(arguments.rules.channels)), form.entry
    assert isinstance(graph, Graph)  # noqa: S101 - it is the ONNX form
    limits = graph.limits and replace(graph.limits, real_token=None)
    inputs = ("samples", "lengths")[: len(graph.inputs)]
    graph = replace(graph, sha256=sha256(content), inputs=inputs, embedding_rows=0, limits=limits, alone=())

    def make_sample_run(*, optimized: bool) -> Run:
        graph = make_onnx_run(content, optimized=optimized)
        # Inputs go by position: the first one takes the samples of the ids.
        return lambda tokens, lengths: graph(table.rows[tokens], lengths)  # type: ignore[arg-type]

    runs = {
        "onnx on samples": make_sample_run(optimized=True),
        "onnx on samples, as written": make_sample_run(optimized=False),
    }
    of_ids = replace(form, entry=OtherFile(form.file), member=None)
    forms = [of_ids, Form(graph, "graph", content, runs, one_row=form.one_row)]
    if arguments.wanted.streaming:
        stream, step = make_step_graph_of_samples(content, limits)
        forms.append(wrap_step_graph_as_form(step, stream, table.rows))
    return forms


def _make_golden_examples(
    arguments: NumberExport, table: SampleTable, answers: ReferenceAnswers
) -> tuple[NumberExample, ...]:
    """Make the bundle's golden examples: small sequences with the module's answers. If the user does not allow examples
    from the given sequences, only generated sequences are used.

    Args:
        arguments: the arguments of the export.
        table: the rows of numbers, and the sequences of these rows.
        answers: the module's answers to the cases of the proof.
    """
    pairs = answers.compute_answers("texts", one_row=False)
    if not arguments.wanted.examples:
        # Rows of the table may resemble a given sequence; generated signals contain nobody's data.
        own = {ids.tobytes() for ids in table.made}
        pairs = [pair for pair in pairs if pair[0].tokens[0].tobytes() in own]
    small = [pair for pair in pairs if pair[0].tokens.size * len(arguments.rules.channels) <= _SMALL]
    chosen = (small or sorted(pairs, key=lambda pair: pair[0].tokens.size)[:1])[:_GOLDEN]
    return tuple(
        NumberExample(
            samples=tuple(tuple(float(str(x)) for x in row) for row in table.rows[case.tokens[0]]),
            logits=tuple(float(str(logit)) for logit in logits[0]),
        )
        for case, logits in chosen
    )
