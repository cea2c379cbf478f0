"""Prove a bundle: compare all forms with the reference on the same cases."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Comparison, Graph, Limits, Parity
from pocketrnn.errors import ExportError, ParityError
from pocketrnn.text import AnyTextRules
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.float64_proof import prove_graph_in_double_precision
from pocketrnn_export.comparing.logit_comparison import CandidateComparison, Reference, compare_logits_of_candidate
from pocketrnn_export.comparing.module_and_graph_as_functions import make_module_run
from pocketrnn_export.comparing.parity_decision_and_report import (
    is_within_tolerance_or_rounding,
    prove_parity,
    write_comparison_report,
)
from pocketrnn_export.comparing.proof_inputs import Case, make_cases_of_given_sizes
from pocketrnn_export.crf_of_tagger import OwnersLabels
from pocketrnn_export.forms.form import Form
from pocketrnn_export.intake.exported_copy_comparison import OwnersModule
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule
from pocketrnn_export.module_runs.complete_deep_copy import copy_without_comparison
from pocketrnn_export.proof.case_selection import choose_cases_for_text_rules
from pocketrnn_export.proof.mixed_length_batches import refuse_answers_that_depend_on_batch
from pocketrnn_export.proof.operators_of_original_and_copy import refuse_copy_that_runs_other_operators
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers
from pocketrnn_export.vocabularies.answer_distances import AnsweredText
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

_log = logging.getLogger(__name__)
# (texts, tokens) of the inputs on which the operators of the owner's module and of its copy are compared.
_SIZES: Final = ((3, 7), (1, 1), (2, 40))


class FormsDifferError(ParityError):
    """Raised if a form of the classifier, such as its ONNX graph, gives other answers than the reference.

    Args:
        problem: a sentence that says what is wrong.
        remedy: a sentence that says what to do.
        forms: the forms that were compared.
        answers: the reference's answers to all cases; None if there are no answers to examine further.
    """

    def __init__(
        self, problem: str, remedy: str, forms: Sequence[Form] = (), answers: ReferenceAnswers | None = None
    ) -> None:
        super().__init__(problem, remedy)
        self.forms, self.answers = forms, answers


@dataclass(frozen=True)
class ProofPlan:
    """The plan of a bundle's proof: the reference, and the cases on which the forms are compared with it.

    Attributes:
        reference: the module or graph with which every form is compared.
        cases: the inputs, by their kind, such as "every id". The cases of the texts are added later.
        texts: texts or pairs of texts that the runtime also answers with the written bundle. The golden examples are
            chosen from these.
        private: the texts that must not become golden examples.
        rows_alone: whether a row's answer depends neither on the other rows of a case nor on its padding.
        tolerance: the largest allowed difference of two logits; None to allow what rounding explains.
        report: the file for the results of every single case, which is also written if the proof fails; None for no
            file.
        earlier: the proof of the graph that the reference was made from, which stays part of the bundle's proof; None
            if there is none.
        given: the user's own module, if the reference is a copy of it; otherwise None.
        answered: texts with the answers of the user's own classifier, with which the written bundle is compared.
        rows: for a classifier of numbers, the samples that the ids of cases stand for, float32 [ids, channels]. The
            cases of the texts are then its sequences.
        labels: the user's own decoder of the labels of tokens; None if there is none.
        spellings: the word and its characters for each id in the cases, if the module also takes the characters of
            words; otherwise None.
    """

    reference: Reference
    cases: Mapping[str, Sequence[Case]]
    texts: Sequence[Any]
    private: frozenset[Any] = frozenset()
    rows_alone: bool = True
    tolerance: float | None = None
    report: str | Path | None = None
    earlier: Parity | None = None
    given: OwnersModule | None = None
    answered: Sequence[AnsweredText] = ()
    rows: NDArray[np.float32] | None = None
    labels: OwnersLabels | None = None
    spellings: Spellings | None = None

    @property
    def engine_rows(self) -> NDArray[Any] | None:
        """The engine's input for each id of the cases, as an array: row i is a sample, or a word with its characters.
        It is None if the engine takes the ids themselves."""
        return self.rows if self.spellings is None else self.spellings.rows

    @classmethod
    def from_module(
        cls,
        prepared: ExportableModule,
        cases: Mapping[str, Sequence[Case]],
        texts: Sequence[Any] = (),
        **further_attributes: Any,
    ) -> ProofPlan:
        """Make the plan for the proof of a module's forms. `further_attributes` are attributes of the plan that the
        prepared module does not determine."""
        rows_alone = not prepared.one_text and (prepared.padding or not prepared.takes_lengths)
        return cls(
            prepared.make_reference(), cases, texts, rows_alone=rows_alone, given=prepared.given, **further_attributes
        )

    def make_runtime_inputs(self, description: Description) -> list[Any]:
        """Return the inputs with which the proof calls the written bundle: the plan's texts, the ids of the texts if
        the user's own code splits texts, or sequences of numbers."""
        if self.rows is None:
            return description.make_classifier_inputs(self.texts)
        return [self.rows[case.tokens[0]] for case in self.cases["texts"]]


def refuse_dependence_on_batch_calls_or_copy(
    prepared: ExportableModule,
    limits: Limits | None,
    condition_sizes: Sequence[tuple[int, int]],
    graph_constants: Iterable[int],
) -> None:
    """Raise an error for a module whose answer to a text depends on the other texts of the batch or on earlier calls,
    or whose exported copy runs other operators than the module itself. To see this, the module is run with several
    batch sizes and lengths of the other texts.

    Args:
        limits: the limits of the graph that was made from it.
        condition_sizes: pairs (batch size, sequence length) just below and above each condition on a size in forward.
        graph_constants: integers with which the graph may compare a length; such lengths are tried, too.

    Raises:
        ExportError: an answer depends on the batch or on earlier calls, or the operators differ.
    """
    ids, padding_id = prepared.ids, prepared.padding_id
    if prepared.given is not None:
        sizes = [(1 if prepared.one_text else batch, tokens) for batch, tokens in _SIZES]
        cases = make_cases_of_given_sizes(sizes, ids, padding_id, ragged=prepared.takes_lengths)
        refuse_copy_that_runs_other_operators(prepared.given, prepared.fit_cases_to_module(cases))
    prepared.refuse_kept(condition_sizes)
    if not prepared.one_text and prepared.widths.fixed is None:
        _log.info("Running the module on a text in batches with other texts of each length")
        # A copy: a cache by length would stay in single precision for the runs in double precision.
        run = make_module_run(copy_without_comparison(prepared.reference), takes_lengths=prepared.takes_lengths)
        usual = [i for i in range(ids) if i != padding_id and i not in prepared.alone]
        ragged = prepared.padding
        try:
            refuse_answers_that_depend_on_batch(
                run, usual or [0], padding_id, limits, ragged=ragged, bounds=condition_sizes, numbers=graph_constants
            )
        except ExportError as error:
            if not prepared.two_texts:
                raise
            advice = "A pair's answer must depend on its own tokens only, and not on the sizes of its batch."
            raise ExportError(error.problem, advice) from error
    prepared.refuse_batch_dependence(make_cases_of_given_sizes(condition_sizes, ids, padding_id, ragged=False))


def make_module_proof_cases(
    prepared: ExportableModule,
    rules: AnyTextRules,
    graph: Graph,
    **further_arguments: Any,
) -> dict[str, list[Case]]:
    """Make the inputs for the proof of a module, except texts. Return a dict from the kind of inputs, such as "every
    id", to its cases. `further_arguments` are arguments of `choose_cases_for_text_rules`."""
    return choose_cases_for_text_rules(
        rules,
        ids=prepared.ids,
        ragged=prepared.takes_lengths,
        limits=graph.limits,
        one_row=graph.batch == 1,
        ids_run_alone=tuple(prepared.alone),
        two_texts=prepared.two_texts,
        features=prepared.features,
        **further_arguments,
    )


def select_texts_within_limits(limits: Limits | None, texts: Sequence[Any], description: Description) -> list[Any]:
    """Return those of the texts that a graph with these limits accepts; all texts if `limits` is None."""
    encoder, padding_id = description.encoder(), description.text.rules.padding_id
    return [text for text in texts if limits is None or limits.accepts_ids(encoder.encode(text), padding_id)]


def select_provable_forms(
    forms: Iterable[Form], plan: ProofPlan, answers: ReferenceAnswers
) -> tuple[list[Form], list[CandidateComparison]]:
    """Compare each form with the reference on the cases. Return the forms that give the same answers, and the
    comparisons of these forms. A form that is not required is left out with a warning if its answers differ or it
    cannot be run.

    Raises:
        FormsDifferError: a required form cannot be run.
    """
    kept, compared = [], []
    for form in forms:
        try:
            found = compare_form_on_cases(form, answers)
        except ParityError as error:
            if form.required:
                raise FormsDifferError(error.problem, error.remedy) from error
            _log.warning("%s is left out. %s", form.file, error.problem)
            continue
        if not form.required and not all(
            is_within_tolerance_or_rounding(one, plan.tolerance) for line in found for one in line.each
        ):
            _log.warning("%s is left out: its answers differ from those of %s", form.file, plan.reference.name)
            continue
        kept.append(form)
        compared += found
    return kept, compared


def compare_form_on_cases(form: Form, answers: ReferenceAnswers) -> list[CandidateComparison]:
    """Compare a form with the reference on all cases that the form accepts. Return a line of the proof for each way to
    run the form, such as onnxruntime with and without optimizations, and for each kind of inputs."""
    compared = []
    for candidate, run in form.runs.items():
        for inputs in answers.kinds:
            pairs = answers.compute_answers(inputs, one_row=form.one_row)
            compared.append(
                compare_logits_of_candidate(
                    candidate,
                    run,
                    [case for case, _ in pairs],
                    [logits for _, logits in pairs],
                    inputs=inputs,
                    reference=answers.reference.name,
                    exact=answers.compute_exact_answer_with_rounding,
                    heads=answers.reference.heads,
                )
            )
    return compared


def compare_in_float64(forms: Sequence[Form], answers: ReferenceAnswers) -> list[CandidateComparison]:
    """Compare the forms with the reference in double precision. Return a line of the proof for each form and kind of
    inputs.

    Raises:
        FormsDifferError: a form differs by more than 1e-10, and rounding does not explain the difference.
    """
    try:
        return _compare_float64_runs_with_exact_answers(forms, answers)
    except ParityError as error:
        raise FormsDifferError(error.problem, error.remedy, forms, answers) from None


def _compare_float64_runs_with_exact_answers(
    forms: Iterable[Form], answers: ReferenceAnswers
) -> list[CandidateComparison]:
    """Compare the forms that can run in double precision with the reference's answers in double precision. Return a
    line of the proof for each form and kind of inputs, or an empty list if the reference has no such answers."""
    lines = []
    for form in forms:
        if form.float64_run is None:
            continue
        candidate = f"{next(iter(form.runs))}, float64"
        run = form.float64_run()
        retraced = None if form.retraced is None else functools.cache(form.retraced)
        for inputs in answers.kinds:
            exact = answers.compute_exact_answers_of_kind(inputs, one_row=form.one_row)
            if exact is None:
                _log.warning("Not proven in double precision. %s", answers.not_exact)
                return []
            found = prove_graph_in_double_precision(
                run,
                exact,
                content=form.content,
                retraced=retraced,
                spreads=answers.compute_exact_answer_with_rounding,
                inputs=inputs,
            )
            line = Comparison(
                reference=f"{answers.reference.name}, float64",
                candidate=candidate,
                inputs=inputs,
                cases=found.cases,
                rows=found.rows,
                largest_difference=found.largest_difference,
                labels_differing=0,
            )
            lines.append(CandidateComparison(line, ()))
    return lines


def require_equal_forms(
    plan: ProofPlan, compared: Sequence[CandidateComparison], forms: Sequence[Form], answers: ReferenceAnswers
) -> Parity:
    """Return the proof that consists of the comparisons of the forms, if all comparisons pass.

    Raises:
        FormsDifferError: a comparison differs by too much. The error has the forms and the answers, with which the
            cause can be found.
    """
    try:
        return require_passed_comparisons(plan, compared, answers)
    except ParityError as error:
        raise FormsDifferError(error.problem, error.remedy, forms, answers) from None


def require_passed_comparisons(
    plan: ProofPlan, compared: Sequence[CandidateComparison], answers: ReferenceAnswers
) -> Parity:
    """Return the proof of a bundle that consists of these comparisons and of the plan's earlier proof, if there is one.
    If the plan has a report, write it in any case.

    Raises:
        ParityError: a comparison differs by too much.
    """
    if plan.report is not None:
        write_comparison_report(plan.report, compared, plan.tolerance)
    allowed = answers.tolerance if plan.tolerance is None else plan.tolerance
    parity = prove_parity(compared, plan.tolerance, allowed=allowed, float64_error=answers.measure_float64_error)
    if plan.rows is not None:
        parity = replace(parity, comparisons=tuple(reword_proof_for_numbers(parity.comparisons)))
    if plan.earlier is None:
        return parity
    allowed = max(parity.tolerance, plan.earlier.tolerance)
    return Parity(allowed, (*plan.earlier.comparisons, *parity.comparisons))


def reword_proof_for_numbers(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return the lines of a proof with the word "sequences" in place of "texts". The lines of the step graph are joined
    to one for all kinds of inputs, since a microcontroller keeps them in its flash memory."""
    inputs = {"texts": "sequences", "every id": "every drawn row"}
    lines: dict[tuple[str, ...], Comparison] = {}
    for line in (replace(line, inputs=inputs.get(line.inputs, line.inputs)) for line in comparisons):
        of_step = " step" in line.candidate or line.candidate.startswith("step")
        key = (line.reference, line.candidate, *(() if of_step else (line.inputs,)))
        before = lines.get(key)
        if before is None or not of_step:
            lines[key] = line
            continue
        spreads = [one.spreads for one in (before, line) if one.spreads is not None]
        lines[key] = Comparison(
            line.reference,
            line.candidate,
            "all cases",
            before.cases + line.cases,
            before.rows + line.rows,
            max(before.largest_difference, line.largest_difference),
            before.labels_differing + line.labels_differing,
            max(spreads) if spreads else None,
        )
    return [*lines.values()]
