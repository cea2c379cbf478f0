"""A bundle from its forms and its description: proven, and written whole or not at all."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import pocketrnn
from pocketrnn.bundle.folder import written_whole
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, Example, Manifest, NumberExample, to_bytes
from pocketrnn.classifier import Classifier
from pocketrnn.verdicts import TEXT_RULES, AnswersCompared
from pocketrnn_export.bundle_proof import ProofPlan, compared_in_float64, first_verdict, provable, verdict
from pocketrnn_export.comparing.cases import Case, Logits, text_cases
from pocketrnn_export.comparing.float64_operators import one_thread
from pocketrnn_export.decoded_labels import decoded_compared
from pocketrnn_export.description import Description
from pocketrnn_export.forms.form import Form
from pocketrnn_export.proof.end_to_end import end_to_end, rows_end_to_end
from pocketrnn_export.proof.reference_answers import ReferenceAnswers
from pocketrnn_export.vocabularies.owners_answers import compared_answers

__all__ = ["golden_examples", "versions", "write_bundle"]

# The golden examples that a bundle carries: enough to show a difference, few enough to read.
GOLDEN_EXAMPLES: Final = 12
Examples = tuple[Example, ...] | tuple[NumberExample, ...]


def write_bundle(
    path: Path,
    description: Description,
    forms: Sequence[Form],
    plan: ProofPlan,
    *,
    examples: Examples | Callable[[ReferenceAnswers], Examples] | None = None,
    other_files: Mapping[str, bytes] | None = None,
    force: bool = False,
) -> Manifest:
    """Prove every form, write the bundle, load it with the runtime, and prove the texts end to end.

    Args:
        path: the folder to write, whole or not at all.
        description: all of the bundle that is not a form.
        forms: made, and not proven yet.
        plan: what they are compared with, and on what.
        examples: the golden examples, or what makes them of the reference's answers; by default they are made of the
            plan's texts.
        other_files: further files, by name, which no reader of bundles needs.
        force: replace a bundle at `path`.

    Raises:
        OutputError: `path` is taken, or cannot be written.
        ParityError: a form or the runtime does not give the reference's answers, or the bundle not those of its owner's
            classifier. Nothing was written.

    Example:
        >>> forms = [ONNX.make(prepared, description, ())]
        >>> cases = cases_for(description.text.rules, ids=8000, ragged=True)
        >>> plan = ProofPlan(prepared.as_reference(), cases, ["oil prices"])
        >>> write_bundle(Path("news"), description, forms, plan).graph.file
        'model.onnx'
    """
    cases = dict(plan.cases)
    if plan.rows is None:
        cases["texts"] = text_cases(plan.texts, description.encoder())
    answers = ReferenceAnswers(plan.reference, cases, rows_alone=plan.rows_alone)
    if examples is None:
        texts = [answer for _, answer in answers.of("texts", one_row=False)]
        examples = golden_examples(
            plan.texts, cases["texts"], texts, plan.private, of_tokens=description.output.of_tokens
        )
    as_given = (
        []
        if plan.given is None
        else plan.given.compared(answers.all(one_row=all(form.one_row for form in forms)), answers.with_spread)
    )
    with one_thread(), written_whole(path, force=force, made_by=CLASSIFIER_JSON) as work:
        proven_forms, compared = provable(forms, plan, answers)
        for form in proven_forms:
            (work / form.file).write_bytes(form.content)
        compared += as_given
        for name, content in (other_files or {}).items():
            (work / name).write_bytes(content)
        manifest = Manifest(
            name=description.name,
            input=description.input,
            output=description.output,
            provenance=description.provenance,
            examples=examples(answers) if callable(examples) else examples,
            parity=first_verdict(plan, compared, proven_forms, answers),
            **_entries(proven_forms),
        )
        compared = [*compared_in_float64(proven_forms, answers), *compared]
        (work / CLASSIFIER_JSON).write_bytes(to_bytes(manifest))
        classifier, given = Classifier.load(work), plan.runtime_given(description)
        compared += end_to_end(classifier, given, answers, reference=plan.reference.name)
        compared += rows_end_to_end(classifier, answers, plan.rows)
        compared += decoded_compared(classifier, plan.labels, answers)
        manifest = replace(
            manifest,
            parity=verdict(plan, compared, answers),
            provenance=_with_answers(manifest.provenance, compared_answers(classifier, plan.answered)),
        )
        (work / CLASSIFIER_JSON).write_bytes(to_bytes(manifest))
    return manifest


def _with_answers(provenance: Mapping[str, Any], answers: AnswersCompared | None) -> Mapping[str, Any]:
    """The provenance, with what the owner's answers say of the text rules."""
    stated = provenance.get(TEXT_RULES)
    if answers is None or not isinstance(stated, Mapping):
        return provenance
    # Texts that the bundle does not take were not compared.
    texts = {"texts": answers.labels + answers.probabilities} if stated.get("by") == "answers" else {}
    return {**provenance, TEXT_RULES: {**stated, **texts, "answers": answers.document}}


def _entries(forms: Iterable[Form]) -> dict[str, Any]:
    """The parts of a manifest that say something of the forms."""
    return {"torchscript": None, **{form.member: form.entry for form in forms if form.member is not None}}


def golden_examples(
    texts: Sequence[Any],
    cases: Sequence[Case],
    logits: Sequence[Logits],
    private: Container[str] = (),
    *,
    of_tokens: bool = False,
) -> tuple[Example, ...]:
    """The first texts that are not private and the last two of them, which usually hold no known token. Logits are kept
    as the shortest digits that give them."""
    shown = [i for i, text in enumerate(texts) if text not in private and np.isfinite(logits[i]).all()]
    chosen = sorted({*shown[: GOLDEN_EXAMPLES - 2], *shown[-2:]})
    made = []
    for i in chosen:
        rows = tuple(tuple(float(str(logit)) for logit in row) for row in logits[i])
        made.append(Example(texts[i], tuple(map(int, cases[i].tokens[0])), rows if of_tokens else rows[0]))
    return tuple(made)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a bundle was made with."""
    return {
        "pocketrnn": pocketrnn.__version__,
        "python": sys.version.split()[0],
        **{package: importlib.metadata.version(package) for package in ("torch", "onnx", "onnxscript", "onnxruntime")},
    }
