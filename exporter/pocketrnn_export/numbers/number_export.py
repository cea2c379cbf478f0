"""From a module that takes sequences of numbers to its bundle."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
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
from pocketrnn_export.bundle_proof import (
    ProofPlan,
    compared_in_float64,
    proof_cases,
    refuse_mixed_texts,
)
from pocketrnn_export.bundle_writer import versions, write_bundle
from pocketrnn_export.comparing.cases import Case, Logits, Run, Widths, each_row
from pocketrnn_export.comparing.comparing import Reference, run_of_onnx
from pocketrnn_export.description import Description
from pocketrnn_export.forms.form import Form, OtherFile, not_compared, sha256
from pocketrnn_export.forms.onnx.onnx_graph import form_of_module, whole_numbers_of
from pocketrnn_export.forms.step import step_form
from pocketrnn_export.intake.convention import compiled, left_as_it_was
from pocketrnn_export.intake.export_copy import unwrapped
from pocketrnn_export.intake.exportable import ExportableModule, prepare
from pocketrnn_export.numbers.input_cut import with_samples_as_input
from pocketrnn_export.numbers.number_step import check_carrying, step_graph
from pocketrnn_export.numbers.sample_lookup import (
    LAYOUTS,
    LOOKUP,
    TABLE,
    Layout,
    call_on_samples,
    given_ids,
)
from pocketrnn_export.numbers.sample_table import EVERYWHERE, NEAR, POSITIVE, Samples, SampleTable, sample_table
from pocketrnn_export.one_export import Wanted, or_one_text
from pocketrnn_export.progress import records_filtered
from pocketrnn_export.proof.chosen_cases import noted_sizes, widths_of
from pocketrnn_export.proof.closed_values import notes_of_closed_values
from pocketrnn_export.proof.reference_answers import ReferenceAnswers

__all__ = [
    "NumberExport",
    "answered_steadily",
    "export_numbers_of",
    "in_words_of_numbers",
    "rules_of_ids",
    "told_of_numbers",
]

_log = logging.getLogger(__name__)
# Padding is the first row of the table.
_PADDING: Final = 0
_GOLDEN: Final = 8
# Convolutions one after the other need some dozens of steps.
_SHORTEST: Final = 64
# The numbers of steps that every module is tried on; and the larger ones where it runs on none of these.
_FEW_STEPS: Final = 5
_USUAL_STEPS: Final = 29
_FEWER_STEPS: Final = (12, 7, _FEW_STEPS)
_MORE_STEPS: Final = (58, 116, 232, 464, 928, 1856, 3712)
_MOST_FIXED: Final = 513
# The largest error of float32 on a recording by rounding alone; PyTorch was 33 spreads off at most, some 1e-4.
_STEADY: Final = 1e-3
# The names by which layers keep the size of their input.
_INPUT_SIZES: Final = ("input_size", "in_features", "in_channels", "num_features")
# A golden example is at most so many numbers, where there are some of so few.
_SMALL: Final = 4096
# Other calls change samples, for example to have time before the batch, which may be right for one layout only.
_LIKELY_CALLS: Final = ("module(tokens)", "module(tokens, ")


@dataclass(frozen=True)
class NumberExport:
    """A classifier of numbers without its module.

    Attributes:
        description: all of its bundle that is not a graph.
        wanted: how it is called, and the forms to make of it.
        layout: the axes of forward's input; None to find out.
        sequences: real ones, as the sensor gives them.
        least: the fewest steps that the module answers, where these are more than modules are tried on; else 1.
    """

    description: Description
    wanted: Wanted
    layout: Layout | None = None
    sequences: Sequence[object] = ()
    least: int = 1

    @property
    def rules(self) -> NumberInput:
        """How a sequence is brought to what the module takes."""
        return self.description.numbers

    @property
    def gives_values(self) -> bool:
        """Whether the module's numbers are not logits."""
        return self.description.output.activation == "values"

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The layouts that forward may take, the likeliest first."""
        if self.layout is not None:
            return (self.layout,)
        if self.wanted.call is not None:
            return ("btc",)
        return ("btc", "bct", "bt") if len(self.rules.channels) == 1 else ("btc", "bct")

    @property
    def widths(self) -> Widths:
        """How many steps a sequence has that the module is given."""
        return replace(widths_of(rules_of_ids(self.rules, self.least)), filled=self.least == 1)


def rules_of_ids(rules: NumberInput, least: int) -> TextRules:
    """The rules of a proof whose sequences are ids of rows, and have at least so many steps."""
    return TextRules(
        "external",
        unknown_id=1,
        empty_id=1,
        padding_id=_PADDING,
        min_width=rules.steps if least == 1 else least,
        max_width=rules.steps,
        pad_side=rules.pad_side or "right",
    )


def export_numbers_of(module: nn.Module, path: Path, known: NumberExport, *, force: bool = False) -> Manifest:
    """Export a recurrent module that takes sequences of numbers, as a bundle that is proven to give the same answers.

    Args:
        module: the owner's. It is left as it was.
        path: the folder to write.
        known: what else is known.
        force: replace a bundle at `path`.

    Raises:
        InputError: a sequence or a call cannot be used.
        ExportError: the module cannot be called with sequences of numbers, traced, or is not reproducible.
        ParityError: the graph or the runtime does not give the module's answers. Nothing was written.
    """
    module = unwrapped(module)
    if known.wanted.streaming:
        check_carrying(known.rules, None)
    given = [_prepared(known, number, sequence) for number, sequence in enumerate(known.sequences)]
    with told_of_numbers(of_values=known.gives_values):
        known = _with_least_steps(module, known)
        held = _find_layout(module, known, given)
        for record in held.said:
            logging.getLogger(record.name).handle(record)
        kind = held.table.kind
        if kind != EVERYWHERE:
            _log.warning("The module has no finite answer to numbers of every size: the proof looks at %s", kind)
        with contextlib.suppress(_RoundedApartError), _of_ids(module, known, held.table, held.layout) as of_ids:
            return _exported(of_ids, path, known, held, force=force)
        held = _find_layout(module, known, given, (NEAR, POSITIVE))
        _log.warning(
            "To numbers of up to 10,000 the graph is equal in double precision; in float32 rounding moves the answers "
            "by more than a proof allows: the proof looks at %s. If it was trained on scaled numbers, give their mean "
            "and scale, or the scaler",
            held.table.kind,
        )
        with _of_ids(module, known, held.table, held.layout) as of_ids:
            return _exported(of_ids, path, known, held, force=force)


def _prepared(known: NumberExport, number: int, sequence: object) -> Samples:
    try:
        return known.rules.prepared(sequence)
    except SequenceError as error:
        raise SequenceError(f"Sequence {number} for the proof: {error.problem}", error.remedy) from None


def _table(known: NumberExport, given: Sequence[Samples], kind: str) -> SampleTable:
    rules = known.rules
    return sample_table(
        len(rules.channels),
        padding=rules.pad_value,
        given=given,
        steps=rules.steps,
        least=known.least,
        kind=kind,
        clip=rules.clip,
    )


def _asked(
    module: nn.Module, known: NumberExport, table: SampleTable, *, one_text: bool, line: str | None = None
) -> ExportableModule:
    call = known.wanted.call
    return prepare(
        module,
        lengths=known.wanted.lengths,
        ids=len(table.rows),
        padding_id=_PADDING,
        classes=len(known.description.output.labels),
        multi_label=known.description.output.activation == "sigmoid",
        call=line if call is None else call_on_samples(call),
        gives=known.wanted.gives,
        one_text=one_text,
        widths=known.widths,
        values=known.gives_values,
        samples=True,
        shortest=_SHORTEST,
    )


def _with_least_steps(module: nn.Module, known: NumberExport) -> NumberExport:
    """The same classifier with the fewest steps that the module runs on, where these are more than modules are tried
    on: convolutions with strides, or a step that is looked up, take dozens.

    Raises:
        ExportError: it runs on sequences of one number of steps only.
    """
    if known.rules.steps is not None:
        return known
    table = _table(known, (), NEAR)

    @functools.cache
    def runs(steps: int) -> bool:
        for layout in known.layouts:
            with _said_later(), _of_ids(module, known, table, layout) as of_ids:
                if _runs(of_ids, known, len(table.rows), steps):
                    return True
        return False

    if runs(_USUAL_STEPS) or runs(_FEW_STEPS):
        return known
    longer = next((steps for steps in _MORE_STEPS if runs(steps)), None)
    if longer is None:
        if (only := next(filter(runs, range(_FEW_STEPS + 1, _MOST_FIXED)), None)) is not None:
            raise ExportError(
                f"The module takes sequences of {only:,} steps, and fails on longer ones.",
                f"If all have so many, say so: steps={only}, or --steps {only}.",
            )
        return known
    failing = longer // 2
    while longer - failing > 1:
        middle = (failing + longer) // 2
        failing, longer = (failing, middle) if runs(middle) else (middle, longer)
    return replace(known, least=longer)


def _find_layout(
    module: nn.Module,
    known: NumberExport,
    given: Sequence[Samples],
    kinds: Sequence[str] = (EVERYWHERE, NEAR, POSITIVE),
) -> _Held:
    """The layout that the module takes, with numbers that it has finite answers to.

    Raises:
        ExportError: there is none; or there are several.
    """
    first: PocketRNNError | None = None
    for kind in kinds:
        table = _table(known, given, kind)
        held: list[_Held] = []
        for layout in known.layouts:
            try:
                held.append(_tried(module, known, table, layout, line=_likely_line(held)))
            except _RunsOtherwiseError as error:
                # A view takes any layout: where the likelier one runs, another that holds is a guess.
                if not held:
                    raise error.refusal from error.refusal.__cause__
                continue
            except ExportError as error:
                first = first or error
        # The owner means the layout that takes a batch; one sequence may fit another layout by chance.
        of_batches = [one for one in held if not one.prepared.one_text]
        of_batches = of_batches or [one for one in held if one.layout == known.layouts[0]]
        if len(of_batches) > 1 and not all(np.array_equal(one.answers, of_batches[0].answers) for one in of_batches):
            said = " or ".join(f"{LAYOUTS[one.layout]} ({one.layout!r})" for one in of_batches)
            raise ExportError(f"The module can be given {said}.", f"Say which: layout={of_batches[0].layout!r}.")
        if of_batches:
            return of_batches[0]
        if first is not None and "finite" not in str(first):
            break
    assert first is not None  # noqa: S101 - no layout held
    if (taken := _channels_taken(module, known)) is not None:
        raise ExportError(
            f"The module takes {taken} channels, and {len(known.rules.channels)} are given.",
            "Give the number or the names of its channels: channels=, or --channels.",
        ) from first
    raise first


def _channels_taken(module: nn.Module, known: NumberExport) -> int | None:
    """Another number of channels with which the module runs, of those that its layers say they take; or None."""
    rules, given = known.rules, len(known.rules.channels)
    said = {getattr(layer, name, None) for layer in module.modules() for name in _INPUT_SIZES}
    for count in sorted(size for size in said if isinstance(size, int) and 0 < size != given):
        table = sample_table(count, padding=rules.pad_value, steps=rules.steps, kind=NEAR)
        for layout in known.layouts:
            with _said_later(), given_ids(module, table.rows, layout) as of_ids:
                if _runs(of_ids, known, len(table.rows)):
                    return count
    return None


class _RunsOtherwiseError(Exception):
    """A module runs in a layout, and cannot be exported so."""

    def __init__(self, refusal: ExportError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class _RoundedApartError(Exception):
    """A graph is equal to its module in double precision, and in float32 too far from it, to numbers of every size."""


@dataclass(frozen=True)
class _Held:
    """A layout in which the module can be called.

    Attributes:
        layout: of what forward takes.
        table: the rows that its ids stand for.
        prepared: the module as it is called.
        answers: its own to a sequence.
        said: what was logged on the way, which counts where the layout is taken.
    """

    layout: Layout
    table: SampleTable
    prepared: ExportableModule
    answers: Logits
    said: tuple[logging.LogRecord, ...]


def _likely_line(held: Sequence[_Held]) -> str | None:
    """How a module is called in a layout that holds, where it is called as most are: it is asked in further layouts
    with this line only. All the others, of which each fails, were a third of an export."""
    line = held[0].prepared.convention.line if held else ""
    return line if line.startswith(_LIKELY_CALLS) else None


def _tried(module: nn.Module, known: NumberExport, table: SampleTable, layout: Layout, *, line: str | None) -> _Held:
    with _said_later() as said, _of_ids(module, known, table, layout) as of_ids:
        try:
            prepared = _asked(of_ids, known, table, one_text=known.wanted.one_text, line=line)
        except ExportError as error:
            if known.wanted.call is None and "finite" not in str(error) and _runs(of_ids, known, len(table.rows)):
                raise _RunsOtherwiseError(error) from error
            raise
        answers = _answer_to_one(prepared)
    return _Held(layout, table, prepared, answers, tuple(said))


def _answer_to_one(prepared: ExportableModule) -> Logits:
    """The module's answer to one sequence, of 31 steps if it takes so many."""
    for steps in (_USUAL_STEPS + 2, *_FEWER_STEPS):
        width = prepared.widths.clip(steps)
        ids = 8 + np.arange(width, dtype=np.int64)[None] % (prepared.ids - 8)
        try:
            return prepared.as_reference().run(ids, np.array([width], np.int64))
        except ExportError:
            if steps == _FEWER_STEPS[-1]:
                raise
    raise AssertionError("no steps")


def _of_ids(
    module: nn.Module, known: NumberExport, table: SampleTable, layout: Layout
) -> contextlib.AbstractContextManager[nn.Module]:
    """The module as one that takes ids, or whose owner's call does."""
    return given_ids(module, table.rows, layout if known.wanted.call is None else None)


def _runs(module: nn.Module, known: NumberExport, ids: int, steps: int | None = None) -> bool:
    """Whether a module gives numbers to a batch in this layout, whatever they are; of so many steps, if they are
    said."""
    width = known.widths.clip(31) if steps is None else steps
    tokens = torch.from_numpy(8 + np.arange(3 * width).reshape(3, width) % (ids - 8))
    lengths = torch.full((3,), width)
    calls: list[Callable[[], Any]] = [lambda: module(tokens), lambda: module(tokens, lengths)]
    if known.wanted.call is not None:
        call = call_on_samples(known.wanted.call)
        function = compiled(call) if isinstance(call, str) else call
        calls = [lambda: function(module, tokens, lengths), lambda: function(module, tokens[:1], lengths[:1])]
    for call_once in calls:
        # Whatever a user's module raises.
        with contextlib.suppress(Exception, SystemExit), torch.no_grad(), left_as_it_was(module):
            call_once()
            return True
    return False


@contextmanager
def _said_later() -> Iterator[list[logging.LogRecord]]:
    """The log records of the block, of which none is shown: they are about a layout that is only tried."""
    records: list[logging.LogRecord] = []

    def kept(record: logging.LogRecord) -> bool:
        records.append(record)
        return False

    with records_filtered(kept):
        yield records


def _exported(module: nn.Module, path: Path, known: NumberExport, held: _Held, *, force: bool) -> Manifest:
    """The bundle of a module that takes ids."""
    table = held.table
    prepared, form = _make_form(module, known, held)
    graph = form.entry
    assert isinstance(graph, Graph)  # noqa: S101 - it is the ONNX form
    refuse_mixed_texts(prepared, graph.limits, form.bounds, whole_numbers_of(form.content))
    every = [*table.sequences, *table.made]
    sequences = [Case(f"sequence {i}", ids[None], np.array([len(ids)])) for i, ids in enumerate(every)]
    inside = [case for case in sequences if graph.limits is None or graph.limits.allow(case.tokens.shape[1])]
    proof = proof_cases(prepared, rules_of_ids(known.rules, known.least), graph, form.bounds)
    cases = answered_steadily(prepared.as_reference(), proof)
    cases["texts"] = inside or [next(iter(cases.values()))[0]]
    wanted = known.wanted
    closed = notes_of_closed_values(form.program, cases, graph.inputs, one_row=form.one_row)
    plan = ProofPlan.of(prepared, cases, tolerance=wanted.tolerance, report=wanted.report, rows=table.rows)
    _log.info("Proving the graph, and the runtime on sequences, equal to PyTorch")
    said = {name: in_words_of_numbers(value) for name, value in prepared.convention.provenance.items()}
    description = known.description.noting({
        **not_compared([form], closed),
        **said,
        **noted_sizes(form.bounds),
        "layout": LAYOUTS[held.layout],
        "numbers_in_proof": table.kind,
        "golden_examples": "given sequences" if table.sequences and wanted.examples else "made signals",
        "versions": versions(),
    })  # fmt: skip
    examples = functools.partial(_golden, known, table)
    try:
        return write_bundle(path, description, _forms(form, known, table), plan, examples=examples, force=force)
    except ParityError:
        if table.kind == EVERYWHERE and _is_equal_in_doubles(form, plan):
            raise _RoundedApartError from None
        raise


def _is_equal_in_doubles(form: Form, plan: ProofPlan) -> bool:
    with contextlib.suppress(ParityError):
        answers = ReferenceAnswers(plan.reference, plan.cases, rows_alone=plan.rows_alone)
        return bool(compared_in_float64([form], answers))
    return False


def answered_steadily(reference: Reference, cases: Mapping[str, Sequence[Case]]) -> dict[str, Sequence[Case]]:
    """The cases; without those that hold a recording that never changes where the reference's own float32 has no steady
    answer to one, which is said.

    A module that scales each recording by its own mean and deviation divides by nothing there: what is left is the
    rounding of the mean, in any engine another, and in one batch another than alone.
    """
    furthest = 0.0
    # Each alone: a graph may take one sequence a run.
    for case in filter(_never_changes, each_row(case for some in cases.values() for case in some)):
        # A module that has no answer, or none in double precision, is told so by the proof.
        with contextlib.suppress(ExportError):
            if reference.float64_run is not None:
                given = reference.run(case.tokens, case.lengths)
                exact = reference.float64_run(case.tokens, case.lengths)
                size = np.maximum(1.0, np.abs(exact).max(axis=1, initial=0.0))
                furthest = max(furthest, float(np.nan_to_num(np.abs(given - exact).max(axis=1) / size).max()))
    if furthest <= _STEADY:
        return dict(cases)
    _log.warning(
        "To recordings that never change the module's own float32 answers are up to %.2g off, as they may be to those "
        "of which one channel never changes: it divides by about 0 there, as by a deviation, and answers the rounding "
        "of a mean. The proof leaves such recordings out, and promises no answer to them; with "
        "x.std(...).clamp(min=0.01) in forward they have an answer",
        furthest,
    )
    kept = {inputs: [case for case in some if not _never_changes(case)] for inputs, some in cases.items()}
    return {inputs: some for inputs, some in kept.items() if some}


def _never_changes(case: Case) -> bool:
    """Whether a row of a case is one step, again and again."""
    rows = zip(case.tokens, case.lengths, strict=True)
    return any(length > 1 and bool((row[:length] == row[0]).all()) for row, length in rows)


def _make_form(module: nn.Module, known: NumberExport, held: _Held) -> tuple[ExportableModule, Form]:
    """The module as it is called, and its graph: for one sequence a run, where there is none for batches."""
    prepared, table = held.prepared, held.table
    if prepared.real_token:
        raise ExportError(
            "The module fails on a sequence of zeros only.",
            "Let forward answer one: count at least one step, as in lengths.clamp(min=1).",
        )
    if prepared.alone and not prepared.one_text:
        _log.warning(
            "A sequence with zeros inside is answered otherwise beside others than alone; each is answered alone, "
            "which takes longer where there are many"
        )
        prepared = _asked(module, known, table, one_text=True)

    def made(prepared: ExportableModule) -> tuple[ExportableModule, Form]:
        _log.info("Tracing the module for ONNX")
        return prepared, form_of_module(prepared, known.description.metadata, ids=len(table.rows))

    return or_one_text(prepared, made, functools.partial(_asked, module, known, table))


def _forms(form: Form, known: NumberExport, table: SampleTable) -> list[Form]:
    """The graph that is asked for ids, which is proven in double precision too; the one without its table, which takes
    its place; and the step of that."""
    content, graph = with_samples_as_input(form.content, f"{TABLE}.weight", len(known.rules.channels)), form.entry
    assert isinstance(graph, Graph)  # noqa: S101 - it is the ONNX form
    limits = graph.limits and replace(graph.limits, real_token=None)
    inputs = ("samples", "lengths")[: len(graph.inputs)]
    graph = replace(graph, sha256=sha256(content), inputs=inputs, embedding_rows=0, limits=limits, alone=())

    def run(*, optimized: bool) -> Run:
        graph = run_of_onnx(content, optimized=optimized)
        # By their places: the first input takes the samples of the ids.
        return lambda tokens, lengths: graph(table.rows[tokens], lengths)  # type: ignore[arg-type]

    runs = {"onnx on samples": run(optimized=True), "onnx on samples, as written": run(optimized=False)}
    of_ids = replace(form, entry=OtherFile(form.file), member=None)
    forms = [of_ids, Form(graph, "graph", content, runs, one_row=form.one_row)]
    if known.wanted.streaming:
        stream, step = step_graph(content, most=None if limits is None else limits.max_tokens)
        forms.append(step_form(step, stream, table.rows))
    return forms


def _golden(known: NumberExport, table: SampleTable, answers: ReferenceAnswers) -> tuple[NumberExample, ...]:
    pairs = answers.of("texts", one_row=False)
    if not known.wanted.examples:
        # Rows of the table may be like those of a given sequence; made signals are nobody's.
        own = {ids.tobytes() for ids in table.made}
        pairs = [pair for pair in pairs if pair[0].tokens[0].tobytes() in own]
    small = [pair for pair in pairs if pair[0].tokens.size * len(known.rules.channels) <= _SMALL]
    chosen = (small or sorted(pairs, key=lambda pair: pair[0].tokens.size)[:1])[:_GOLDEN]
    return tuple(
        NumberExample(
            samples=tuple(tuple(float(str(x)) for x in row) for row in table.rows[case.tokens[0]]),
            logits=tuple(float(str(logit)) for logit in logits[0]),
        )
        for case, logits in chosen
    )


# The words for texts in messages of code that serves both, and their words for sequences; the characters around a word
# tell a call from a sentence.
_WORDS: Final = (
    (r"token ids", "samples"), (r"texts", "sequences"), (r"text", "sequence"), (r"Texts", "Sequences"),
    (r"Text", "Sequence"), (r"tokens\.t\(\)", "samples.transpose(0, 1)"), (r"(?<=[(=])tokens", "samples"),
    (r"tokens(?=\.\w|\[)", "samples"), (r"(?<=, )tokens(?=\))", "samples"), (r"tokens", "steps"), (r"token", "step"),
    (r"vocabulary", "table"), (r"words", "steps"), (r"word", "step"), (r"ids", "rows"), (r"id", "row"),
)  # fmt: skip
# Lines of the owner's code, files and pages stay as they are; so does a word that is a part of another.
_KEPT: Final = r"`[^`]*`|[\w.~-]*/[\w./-]+|[\w-]+\.(?:py|ipynb|json|md)\b"
# The advice on text rules, and the same for rules of numbers: these never cut a longer sequence.
_RULES_OF_TEXTS: Final = (
    (re.compile(r'If no text is longer, have the rest cut off: "max_width": (\d+) in the rules\.'),
     r"If every sequence has \1 steps, say so: steps=\1, or --steps \1."),
    (re.compile(r"let the text rules cut texts: max_width"), "cut sequences before the bundle is given them"),
    (re.compile(r"Call it by itself on ids, module\(torch\.randint\(\d+, \(3, 7\)\)\)"),
     "Call it by itself on samples [batch, time, channels], such as torch.randn(3, 7, channels)"),
    (re.compile(r"let the text rules pad and cut \(min_width, max_width\), outside of forward"),
     "have every sequence of one number of steps: steps=, or --steps"),
    (re.compile(r"Give example texts for which it is another \(example_texts=, --texts\)"),
     "Give sequences for which it is another: sequences=, or --sequences"),
)  # fmt: skip
# The words for logits of labels, in place of which a module of values gives values.
_OF_LABELS: Final = re.compile(r"(?<![\w'\"-])(?:label for each logit|label|logit)(s)?(?![\w'\"-]| each)")
_SAID_OF_TEXTS: Final = re.compile(
    rf"({_KEPT})|(?<![\w'\"-])(?:{'|'.join(f'({word})' for word, _ in _WORDS)})(?![\w'\"-])"
)


def in_words_of_numbers(said: str) -> str:
    """A sentence about a module of texts, as one about a module of numbers.

    Example:
        >>> in_words_of_numbers("The module answers a text differently beside other texts.")
        'The module answers a sequence differently beside other sequences.'
    """

    def of_numbers(found: re.Match[str]) -> str:
        which = found.lastindex or 1
        return found[0] if which == 1 else _WORDS[which - 2][1]

    for of_texts, of_sequences in _RULES_OF_TEXTS:
        said = of_texts.sub(of_sequences, said)
    return _SAID_OF_TEXTS.sub(of_numbers, said.replace(LOOKUP, ""))


def _of_a_value(found: re.Match[str]) -> str:
    return f"{'name for each ' * (' ' in found[0])}value{found[1] or ''}"


@contextmanager
def told_of_numbers(*, of_values: bool) -> Iterator[None]:
    """For the block, all that is logged and raised in the words of numbers, and where these are values, in theirs."""

    def said(sentence: str) -> str:
        sentence = in_words_of_numbers(sentence)
        return _OF_LABELS.sub(_of_a_value, sentence) if of_values else sentence

    def logged(record: logging.LogRecord) -> bool:
        record.msg, record.args = said(record.getMessage()), ()
        return True

    try:
        with records_filtered(logged):
            yield
    except SequenceError:
        raise
    except PocketRNNError as error:
        kind: Callable[[str, str], PocketRNNError] = type(error)
        told = kind(said(error.problem), said(error.remedy))
        # Beside its words, an error has what the line is looked for with.
        vars(told).update({**vars(error), **{name: getattr(told, name) for name in ("problem", "remedy")}})
        raise told from error.__cause__
