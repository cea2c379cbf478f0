"""Prove the forms of a bundle, and write them with its description to a folder, whole or not at all."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import pocketrnn
from pocketrnn.bundle.atomic_writing import write_whole_folder
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, Example, Manifest, NumberExample, encode_manifest
from pocketrnn.classifier import Classifier
from pocketrnn.verdicts import TEXT_RULES, AnswerComparison
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.bundle_proof import (
    ProofPlan,
    compare_in_float64,
    require_equal_forms,
    require_passed_comparisons,
    select_provable_forms,
)
from pocketrnn_export.comparing.logit_comparison import CandidateComparison
from pocketrnn_export.comparing.proof_inputs import Case, Logits, encode_text_cases
from pocketrnn_export.comparing.torch_threads import use_one_thread
from pocketrnn_export.decoded_label_comparison import compare_decoded_labels
from pocketrnn_export.forms.form import Form
from pocketrnn_export.proof.end_to_end_comparison import compare_difficult_rows_together_and_alone, compare_end_to_end
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers
from pocketrnn_export.vocabularies.owner_answer_comparison import compare_answers

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
    """Prove every form, write the bundle, load it with the runtime, and prove its answers to texts.

    Args:
        path: the folder to write, whole or not at all.
        description: the parts of the bundle that are not forms.
        forms: the forms, not proven yet.
        plan: the reference that they are compared with, and the cases.
        examples: the golden examples, or a function from the reference's answers to them; by default they are made of
            the plan's texts.
        other_files: further files, by name, that readers of bundles do not need.
        force: replace a bundle at `path`.

    Raises:
        OutputError: `path` is taken, or cannot be written.
        ParityError: the answers of a form or of the runtime differ from the reference's, or those of the bundle from
            its owner's classifier. Nothing was written.
    """
    cases = dict(plan.cases)
    if plan.rows is None:
        cases["texts"] = encode_text_cases(plan.texts, description.encoder())
    answers = ReferenceAnswers(plan.reference, cases, rows_alone=plan.rows_alone)
    if examples is None:
        texts, words = [answer for _, answer in answers.compute_answers("texts", one_row=False)], cases["texts"]
        if plan.spellings is not None:
            words = [replace(case, tokens=plan.spellings.words[case.tokens]) for case in words]
        examples = make_golden_examples(
            plan.texts,
            words,
            texts,
            plan.private,
            of_tokens=description.output.of_tokens,
        )
    as_given = _compare_copy_with_module(plan, forms, answers)
    with use_one_thread(), write_whole_folder(path, force=force, marker_file=CLASSIFIER_JSON) as work:
        proven_forms, compared = select_provable_forms(forms, plan, answers)
        for form in proven_forms:
            (work / form.file).write_bytes(form.content)
        entries: dict[str, Any] = {form.member: form.entry for form in proven_forms if form.member is not None}
        compared += as_given
        for name, content in (other_files or {}).items():
            (work / name).write_bytes(content)
        manifest = Manifest(
            name=description.name,
            input=description.input,
            output=description.output,
            provenance=description.provenance,
            examples=examples(answers) if callable(examples) else examples,
            parity=require_equal_forms(plan, compared, proven_forms, answers),
            **{"torchscript": None, **entries},
        )
        compared = [*compare_in_float64(proven_forms, answers), *compared]
        (work / CLASSIFIER_JSON).write_bytes(encode_manifest(manifest))
        classifier, given = Classifier.load(work), plan.make_runtime_inputs(description)
        compared += compare_end_to_end(classifier, given, answers, reference=plan.reference.name)
        compared += compare_difficult_rows_together_and_alone(classifier, answers, plan.engine_rows)
        compared += compare_decoded_labels(classifier, plan.labels, answers, plan.engine_rows)
        manifest = replace(
            manifest,
            parity=require_passed_comparisons(plan, compared, answers),
            provenance=_add_answer_comparison(manifest.provenance, compare_answers(classifier, plan.answered)),
        )
        (work / CLASSIFIER_JSON).write_bytes(encode_manifest(manifest))
    return manifest


def _compare_copy_with_module(
    plan: ProofPlan, forms: Sequence[Form], answers: ReferenceAnswers
) -> list[CandidateComparison]:
    """Compare the answers of the exported copy with those of the owner's module, on all cases. Return an empty list if
    the plan has no owner's module."""
    if plan.given is None:
        return []
    copy_answers = answers.compute_all_answers(one_row=all(form.one_row for form in forms))
    return plan.given.compare_with_copy(copy_answers, answers.compute_answer_and_its_rounding)


def _add_answer_comparison(provenance: Mapping[str, Any], answers: AnswerComparison | None) -> Mapping[str, Any]:
    """Return the provenance with the result of the comparison with the owner's answers added to its entry on the text
    rules."""
    stated = provenance.get(TEXT_RULES)
    if answers is None or not isinstance(stated, Mapping):
        return provenance
    # Only the texts that the bundle takes were compared.
    texts = {"texts": answers.texts} if stated.get("by") == "answers" else {}
    return {**provenance, TEXT_RULES: {**stated, **texts, "answers": answers.document}}


def make_golden_examples(
    texts: Sequence[Any],
    cases: Sequence[Case],
    logits: Sequence[Logits],
    private: Container[str] = (),
    *,
    of_tokens: bool = False,
) -> tuple[Example, ...]:
    """Make the golden examples of a bundle from texts that are not private and have finite logits.

    They are the first 10 of these texts, and the last two, which usually contain no known token. Each logit has the
    fewest digits that give the same number.
    """
    shown = [i for i, text in enumerate(texts) if text not in private and np.isfinite(logits[i]).all()]
    chosen = sorted({*shown[: GOLDEN_EXAMPLES - 2], *shown[-2:]})
    made = []
    for i in chosen:
        rows = tuple(tuple(float(str(logit)) for logit in row) for row in logits[i])
        made.append(Example(texts[i], tuple(map(int, cases[i].tokens[0])), rows if of_tokens else rows[0]))
    return tuple(made)


def read_package_versions() -> dict[str, str]:
    """Read the versions of Python and of the packages that make a bundle."""
    return {
        "pocketrnn": pocketrnn.__version__,
        "python": sys.version.split()[0],
        **{package: importlib.metadata.version(package) for package in ("torch", "onnx", "onnxscript", "onnxruntime")},
    }
