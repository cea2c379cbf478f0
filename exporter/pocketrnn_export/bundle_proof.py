"""The proof of a bundle: what its forms are compared with, on what, and whether that is a proof."""

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
from pocketrnn_export.comparing.cases import Case, bound_cases
from pocketrnn_export.comparing.comparing import Compared, Reference, compare, run_of
from pocketrnn_export.comparing.exact import graph_proof
from pocketrnn_export.comparing.verdict import passes, proven, write_report
from pocketrnn_export.decoded_labels import OwnersLabels
from pocketrnn_export.description import Description
from pocketrnn_export.forms.form import Form
from pocketrnn_export.intake.as_given import AsGiven
from pocketrnn_export.intake.exportable import ExportableModule
from pocketrnn_export.module_runs.whole_copy import copied_again
from pocketrnn_export.proof.chosen_cases import cases_for
from pocketrnn_export.proof.every_size import check_beside_others
from pocketrnn_export.proof.reference_answers import ReferenceAnswers
from pocketrnn_export.proof.same_operators import refuse_other_operators
from pocketrnn_export.vocabularies.owners_answers import Answered

__all__ = [
    "FormsDifferError",
    "ProofPlan",
    "compared_in_float64",
    "compared_on_cases",
    "first_verdict",
    "lines_of_numbers",
    "proof_cases",
    "provable",
    "refuse_mixed_texts",
    "texts_within",
    "verdict",
]

_log = logging.getLogger(__name__)
# Texts and tokens of the inputs on which the operators of the owner's module and of its copy are compared.
_SIZES: Final = ((3, 7), (1, 1), (2, 40))


class FormsDifferError(ParityError):
    """A form answers otherwise than the reference.

    Args:
        problem, remedy: as of every error.
        forms: what was compared.
        answers: the reference's, on all cases; None where there are none to look further at.
    """

    def __init__(
        self, problem: str, remedy: str, forms: Sequence[Form] = (), answers: ReferenceAnswers | None = None
    ) -> None:
        super().__init__(problem, remedy)
        self.forms, self.answers = forms, answers


@dataclass(frozen=True)
class ProofPlan:
    """The reference that the forms of a bundle are compared with, and the cases.

    Attributes:
        reference: every form is compared with it.
        cases: by kind of inputs. The cases of the texts are added.
        texts: also answered by the runtime, from the written bundle; strings, or pairs of these. The golden examples
            are taken from them.
        private: those of the texts that become no golden example.
        rows_alone: whether no row's answer depends on the other rows of a case, nor on its padding.
        tolerance: as for `comparing.verdict.passes`.
        report: a file to write every single case to, also where the proof fails.
        earlier: the proof of what the reference itself was made from, which stays part of the bundle's proof.
        given: the user's own module, where the reference is a copy of it.
        answered: texts with the answers of the owner's own classifier, for the written bundle.
        rows: of a classifier of numbers, the samples that the ids of cases stand for, float32 [ids, channels]; its
            sequences are the cases of the texts.
        labels: what decodes the labels of tokens, where something does.
    """

    reference: Reference
    cases: Mapping[str, Sequence[Case]]
    texts: Sequence[Any]
    private: frozenset[Any] = frozenset()
    rows_alone: bool = True
    tolerance: float | None = None
    report: str | Path | None = None
    earlier: Parity | None = None
    given: AsGiven | None = None
    answered: Sequence[Answered] = ()
    rows: NDArray[np.float32] | None = None
    labels: OwnersLabels | None = None

    @classmethod
    def of(
        cls,
        prepared: ExportableModule,
        cases: Mapping[str, Sequence[Case]],
        *,
        texts: Sequence[Any] = (),
        private: frozenset[Any] = frozenset(),
        tolerance: float | None = None,
        report: str | Path | None = None,
        rows: NDArray[np.float32] | None = None,
    ) -> ProofPlan:
        """The plan of a module's own forms.

        Args:
            prepared: the module.
            cases, texts, private, tolerance, report, rows: as the attributes.

        Example:
            >>> ProofPlan.of(prepared, cases).reference.name
            'pytorch'
        """
        return cls(
            reference=prepared.as_reference(),
            cases=cases,
            texts=texts,
            private=private,
            rows_alone=not prepared.one_text and (prepared.padding or not prepared.takes_lengths),
            tolerance=tolerance,
            report=report,
            given=prepared.given,
            rows=rows,
        )

    def runtime_given(self, description: Description) -> list[Any]:
        """The inputs that a Classifier is given for the texts, or its graph for the sequences."""
        if self.rows is None:
            return description.inputs_for(self.texts)
        return [self.rows[case.tokens[0]] for case in self.cases["texts"]]


def refuse_mixed_texts(
    prepared: ExportableModule, limits: Limits | None, bounds: Sequence[tuple[int, int]], numbers: Iterable[int]
) -> None:
    """Refuse a module that answers a text by the length of the one beside it, by how many there are, or by one of
    another size before it; or of which a copy runs other operators.

    Args:
        prepared: the module.
        limits: of its graph.
        bounds: (batch, sequence) on both sides of everything that forward asks about a size.
        numbers: the small constants of its graph.

    Raises:
        ExportError: it does.
    """
    ids, padding_id = prepared.ids, prepared.padding_id
    if prepared.given is not None:
        sizes = [(1 if prepared.one_text else batch, tokens) for batch, tokens in _SIZES]
        cases = bound_cases(sizes, ids, padding_id, ragged=prepared.takes_lengths)
        refuse_other_operators(prepared.given, prepared.asked(cases))
    prepared.refuse_kept(bounds)
    if not prepared.one_text and prepared.widths.fixed is None:
        _log.info("Asking the module for a text beside others, at each of their lengths")
        # A copy: what it keeps by a length, it would keep in single precision for the runs in double.
        run = run_of(copied_again(prepared.reference), takes_lengths=prepared.takes_lengths)
        usual = [i for i in range(ids) if i != padding_id and i not in prepared.alone]
        ragged = prepared.padding
        try:
            check_beside_others(run, usual or [0], padding_id, limits, ragged=ragged, bounds=bounds, numbers=numbers)
        except ExportError as error:
            if not prepared.two_texts:
                raise
            advice = "Let a pair's answer depend on its own tokens only, and on no size of its batch."
            raise ExportError(error.problem, advice) from error
    prepared.check_neighbours(bound_cases(bounds, ids, padding_id, ragged=False))


def proof_cases(
    prepared: ExportableModule,
    rules: AnyTextRules,
    graph: Graph,
    bounds: Sequence[tuple[int, int]],
    *,
    loud: Sequence[int] = (),
    tried: Sequence[int] = (),
    phrase: Sequence[int] = (),
) -> dict[str, list[Case]]:
    """The inputs of a proof of a module's own forms but for the texts, by kind.

    Args:
        prepared: the module.
        rules: the text rules.
        graph: what classifier.json says of its graph.
        bounds: as for `refuse_mixed_texts`.
        loud, tried, phrase: as for `cases_for`.

    Example:
        >>> list(proof_cases(prepared, TextRules(), graph, ()))
        ['shapes', 'drawn shapes', 'hazards', 'every id']
    """
    return cases_for(
        rules,
        ids=prepared.ids,
        ragged=prepared.takes_lengths,
        limits=graph.limits,
        bounds=bounds,
        one_row=graph.batch == 1,
        alone=tuple(prepared.alone),
        loud=loud,
        tried=tried,
        phrase=phrase,
        two_texts=prepared.two_texts,
    )


def texts_within(limits: Limits | None, texts: Sequence[Any], description: Description) -> list[Any]:
    """Those of the texts that a graph of such limits takes.

    Example:
        >>> texts_within(Limits(max_tokens=1), ["oil prices", "oil"], description)
        ['oil']
    """
    encoder, padding_id = description.encoder(), description.text.rules.padding_id
    return [text for text in texts if limits is None or limits.take(encoder.encode(text), padding_id)]


def provable(forms: Iterable[Form], plan: ProofPlan, answers: ReferenceAnswers) -> tuple[list[Form], list[Compared]]:
    """The forms without those that are not required and answer otherwise than the reference, which is said; and their
    lines of the proof.

    Raises:
        FormsDifferError: a required form cannot be run.
    """
    kept, compared = [], []
    for form in forms:
        try:
            found = compared_on_cases(form, answers)
        except ParityError as error:
            if form.required:
                raise FormsDifferError(error.problem, error.remedy) from error
            _log.warning("%s is left out. %s", form.file, error.problem)
            continue
        if not form.required and not _all_pass(found, plan.tolerance):
            _log.warning("%s is left out: its answers are not those of %s", form.file, plan.reference.name)
            continue
        kept.append(form)
        compared += found
    return kept, compared


def compared_on_cases(form: Form, answers: ReferenceAnswers) -> list[Compared]:
    """A form in all its runs, on all the cases that it takes; a line for each kind of inputs."""
    compared = []
    for candidate, run in form.runs.items():
        for inputs in answers.kinds:
            pairs = answers.of(inputs, one_row=form.one_row)
            compared.append(
                compare(
                    candidate,
                    run,
                    [case for case, _ in pairs],
                    [logits for _, logits in pairs],
                    inputs=inputs,
                    reference=answers.reference.name,
                    exact=answers.with_spread,
                )
            )
    return compared


def _all_pass(compared: Iterable[Compared], tolerance: float | None) -> bool:
    return all(passes(found, tolerance) for one in compared for found in one.each)


def compared_in_float64(forms: Sequence[Form], answers: ReferenceAnswers) -> list[Compared]:
    """The forms in double precision, which agree with the reference to 1e-10.

    Raises:
        FormsDifferError: one does not.
    """
    try:
        return _exact_lines(forms, answers)
    except ParityError as error:
        raise FormsDifferError(error.problem, error.remedy, forms, answers) from None


def _exact_lines(forms: Iterable[Form], answers: ReferenceAnswers) -> list[Compared]:
    lines = []
    for form in forms:
        if form.float64_run is None:
            continue
        candidate = f"{next(iter(form.runs))}, float64"
        run = form.float64_run()
        retraced = None if form.retraced is None else functools.cache(form.retraced)
        for inputs in answers.kinds:
            exact = answers.exact(inputs, one_row=form.one_row)
            if exact is None:
                _log.warning("Not proven in double precision. %s", answers.not_exact)
                return []
            found = graph_proof(
                run,
                exact,
                content=form.content,
                retraced=retraced,
                spreads=answers.with_spread,
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
            lines.append(Compared(line, ()))
    return lines


def first_verdict(
    plan: ProofPlan, compared: Sequence[Compared], forms: Sequence[Form], answers: ReferenceAnswers
) -> Parity:
    """`verdict` on the forms alone, before the runtime reads them.

    Raises:
        FormsDifferError: something that was compared differs by too much.
    """
    try:
        return verdict(plan, compared, answers)
    except ParityError as error:
        raise FormsDifferError(error.problem, error.remedy, forms, answers) from None


def verdict(plan: ProofPlan, compared: Sequence[Compared], answers: ReferenceAnswers) -> Parity:
    """The proof so far, after it is written to the report.

    Raises:
        ParityError: something that was compared differs by too much.
    """
    if plan.report is not None:
        write_report(plan.report, compared, plan.tolerance)
    allowed = answers.tolerance if plan.tolerance is None else plan.tolerance
    parity = proven(compared, plan.tolerance, allowed=allowed, float64_error=answers.float64_error)
    if plan.rows is not None:
        parity = replace(parity, comparisons=tuple(lines_of_numbers(parity.comparisons)))
    if plan.earlier is None:
        return parity
    allowed = max(parity.tolerance, plan.earlier.tolerance)
    return Parity(allowed, (*plan.earlier.comparisons, *parity.comparisons))


def lines_of_numbers(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The lines of a proof in the words of numbers. Those of a step are one for all kinds of inputs: a microcontroller
    has them in flash.

    Example:
        >>> lines_of_numbers([Comparison("onnx", "packed", "texts", 9, 9, 0.0, 0)])[0].inputs
        'sequences'
    """
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
