"""Prove the forms of a bundle, and write them with its description to a folder, whole or not at all."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import pocketrnn
from pocketrnn.bundle.atomic_writing import write_whole_folder
from pocketrnn.bundle.crf import Crf
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, Example, Manifest, NumberExample, encode_manifest
from pocketrnn.bundle.output_kinds import TagOutput
from pocketrnn.classifier import Classifier, compute_logits_of_engine_input
from pocketrnn.errors import ParityError
from pocketrnn.verdicts import TEXT_RULES, AnswerComparison
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.bundle_proof import (
    ProofPlan,
    compare_in_float64,
    require_equal_forms,
    require_passed_comparisons,
    select_provable_forms,
)
from pocketrnn_export.comparing.logit_comparison import CandidateComparison, Difference, summarize_differences
from pocketrnn_export.comparing.proof_inputs import Case, Ids, Logits, encode_each_text_as_case
from pocketrnn_export.comparing.torch_threads import use_one_thread
from pocketrnn_export.crf_of_tagger import OwnersLabels
from pocketrnn_export.forms.form import Form
from pocketrnn_export.intake.crf_discovery import make_neutral_crf
from pocketrnn_export.proof.end_to_end_comparison import (
    compare_runtime_on_hard_rows_together_and_alone,
    compare_runtime_with_reference,
)
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
        description: the parts of the bundle besides its graphs.
        forms: the forms of the module, such as its ONNX graph, before their proof.
        plan: the reference with which the forms are compared, and the cases.
        examples: the golden examples, or a function that makes them from the reference's answers; by default they are
            made of the plan's texts.
        other_files: further files, by name, that readers of bundles do not need.
        force: whether to replace a bundle at `path`.

    Raises:
        OutputError: `path` is taken, or cannot be written.
        ParityError: a form or the runtime gives other answers than the reference, or the bundle gives other answers
            than the user's classifier. Nothing was written.
    """
    cases = dict(plan.cases)
    if plan.rows is None:
        cases["texts"] = encode_each_text_as_case(plan.texts, description.encoder())
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
        compared += compare_runtime_with_reference(classifier, given, answers, reference=plan.reference.name)
        compared += compare_runtime_on_hard_rows_together_and_alone(classifier, answers, plan.engine_rows)
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
    """Compare the answers of the exported copy of the module with those of the user's own module, on all cases. Return
    the lines of the proof, or an empty list if the plan has no such module."""
    if plan.given is None:
        return []
    copy_answers = answers.compute_all_answers(one_row=all(form.one_row for form in forms))
    return plan.given.compare_with_copy(copy_answers, answers.compute_exact_answer_with_rounding)


def _add_answer_comparison(provenance: Mapping[str, Any], answers: AnswerComparison | None) -> Mapping[str, Any]:
    """Return the provenance with the result of the comparison with the user's answers added to its entry on the text
    rules. Return it unchanged if `answers` is None."""
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
    """Return the versions of Python, of pocketrnn and of the packages that make a bundle, by name."""
    return {
        "pocketrnn": pocketrnn.__version__,
        "python": sys.version.split()[0],
        **{package: importlib.metadata.version(package) for package in ("torch", "onnx", "onnxscript", "onnxruntime")},
    }


# --- Labels of a tagger ---
# Compare the labels that the runtime decodes for a tagger with the labels of its owner's module.

# Two label sequences are equally good if their scores for each token differ by less than this: that is float32's
# rounding.
_TIE: Final = 1e-4
_LONG: Final = (130, 600)


def compare_decoded_labels(
    classifier: Classifier,
    owners: OwnersLabels | None,
    answers: ReferenceAnswers,
    input_by_id: Ids | None = None,
) -> list[CandidateComparison]:
    """Compare the labels that a written bundle of a tagger gives to tokens with those of the user's own decoder and
    module. Return a list with one line of the proof, or an empty list if there is no decoder to compare.

    Args:
        classifier: the bundle, as the runtime loads it.
        owners: the user's own ways to decode labels; None if there are none.
        answers: the reference's answers, with each text as a case of its own.
        input_by_id: the ids of the word and of its characters for which each id of a case stands, int64 [ids, 1 +
            width], if the module takes characters; otherwise None.

    Raises:
        ParityError: the labels differ, and are not equally good.
    """
    output = classifier.manifest.output
    if owners is None or not isinstance(output, TagOutput):
        return []
    # Without a CRF, each token has its likeliest label.
    crf = output.crf or make_neutral_crf(len(output.labels))
    differences, other, padding_id = list[Difference](), 0, classifier.manifest.text.rules.padding_id
    pairs = answers.compute_answers("texts", one_row=False)
    for case, emissions in pairs:
        answered, tokens = np.isfinite(emissions).all(axis=1), case.tokens[0]
        given = tokens if input_by_id is None else input_by_id[tokens]
        own = crf.decode_labels(compute_logits_of_engine_input(classifier, [given])[answered])
        found = (
            [] if owners.decoder is None else [np.array(owners.decoder.decode_labels(emissions[answered]), np.int64)]
        )
        words = case.tokens if input_by_id is None else input_by_id[case.tokens][..., 0]
        if owners.whole is not None and padding_id not in words:
            # A forward that masks the padding id also leaves it out in the middle of a text.
            found.append(np.array(owners.whole(case.tokens), np.int64))
        for labels in found:
            gap = _check_and_measure_score_gap(crf, emissions[answered], own, labels, case)
            other += int((own != labels).sum())
            differences.append(Difference("decoding", case.name, gap, 0))
    if owners.whole is not None:
        for tokens in _draw_ids_of_long_texts(classifier, padding_id):
            emissions = compute_logits_of_engine_input(
                classifier, [tokens[0] if input_by_id is None else input_by_id[tokens[0]]]
            )
            labels = np.array(owners.whole(tokens), np.int64)
            case = Case(f"{tokens.shape[1]} tokens", tokens, np.array([tokens.shape[1]]))
            _check_and_measure_score_gap(crf, emissions, crf.decode_labels(emissions), labels, case)
    compared = summarize_differences(differences, reference=answers.reference.name, inputs="texts", rows=len(pairs))
    return [CandidateComparison(replace(compared.line, labels_differing=other), ())]


def _draw_ids_of_long_texts(classifier: Classifier, padding_id: int) -> Iterator[Ids]:
    """Yield random texts, as ids int64 [1, sequence], with more tokens than the texts of the proof, since forward may
    cut the sequence that it decodes. Lengths over the limit of the graph are left out."""
    graph, generator = classifier.manifest.graph, np.random.default_rng(0)
    most = None if graph.limits is None else graph.limits.max_tokens
    for length in _LONG:
        if most is None or length <= most:
            ids = generator.integers(0, graph.embedding_rows - 1, (1, length))
            yield np.where(ids >= padding_id, ids + 1, ids)


def _check_and_measure_score_gap(
    crf: Crf, emissions: Any, decoded_labels: Any, owners_labels: Any, case: Case
) -> float:
    """Return the difference of the CRF scores per token between the labels that the bundle and the user's module give
    to a text; 0 for equal labels. Raise a ParityError for a difference that rounding does not explain."""
    if owners_labels.shape == decoded_labels.shape:
        gap = abs(crf.score(emissions, decoded_labels) - crf.score(emissions, owners_labels)) / len(decoded_labels)
        if (decoded_labels == owners_labels).all() or gap <= _TIE:
            return 0.0 if (decoded_labels == owners_labels).all() else gap
    raise ParityError(
        f"The bundle decodes other labels than the module, on {case.name}, ids {case.tokens[0, :8].tolist()}... "
        "Nothing was written.",
        "Give the call that computes the input of the CRF: --call LINE, or call= in Python.",
    )
