"""Make a bundle smaller with fewer words and with weights in fewer bytes, and measure the loss.

The new graph is proven equal to the old one with rounded weights, in onnxruntime. The effect of the rounding itself
cannot be proven; it is measured on labelled data.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.benchmark import make_one_by_one_run, measure_interleaved
from pocketrnn.bundle.atomic_writing import check_output_folder, write_whole_folder
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.checked_files import read_checked_bytes
from pocketrnn.bundle.manifest import CLASSIFIER_JSON, ROUNDED, Comparison, Example, Manifest, encode_manifest
from pocketrnn.bundle.packed_file import is_packed_file
from pocketrnn.classifier import Classifier
from pocketrnn.errors import CompressionError, InputError
from pocketrnn.text import EXTERNAL
from pocketrnn.text.text_row_encoder import Text
from pocketrnn.verdicts import COMPRESSED
from pocketrnn_export.bundle_description import Description, require_onnx_graph
from pocketrnn_export.bundle_proof import ProofPlan, select_texts_within_limits
from pocketrnn_export.bundle_writer import read_package_versions, write_bundle
from pocketrnn_export.comparing.logit_comparison import make_graph_reference
from pocketrnn_export.comparing.module_and_graph_as_functions import make_onnx_run
from pocketrnn_export.comparing.proof_inputs import Case, choose_texts_for_proof, encode_each_text_as_case
from pocketrnn_export.forms.edge_profile_graph import wrap_edge_graph_as_form
from pocketrnn_export.forms.form import Form
from pocketrnn_export.forms.onnx.onnx_form import wrap_onnx_graph_as_form
from pocketrnn_export.forms.step_graph_that_continues_from_state import wrap_step_graph_as_form
from pocketrnn_export.forms.weight_quantization import STORAGES, Storage, quantize_graph
from pocketrnn_export.predicted_labels_and_data_labels import (
    check_data_labels,
    compare_answers_and_labels,
    compute_label_margins,
    compute_predicted_labels,
    read_target_labels_and_whether_known,
)
from pocketrnn_export.progress import show_progress
from pocketrnn_export.proof.case_selection import choose_cases_for_graph_of_bundle, drop_compared_ids_of_cut_words
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers
from pocketrnn_export.vocabularies.texts_with_known_ids import replace_ids_without_rows

if TYPE_CHECKING:
    from pocketrnn_training.rows.labelled_texts import LabelledTexts

# With fewer texts, one text makes more than one point of accuracy.
_FEW_TEXTS: Final = 100
# How many texts are timed for p50.
_TIMED_TEXTS: Final = 300

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageMeasurement:
    """The measurements of a bundle after a step of compression and all steps before it.

    Attributes:
        name: the name of the step. It begins with "and" if another step came before.
        size: the size of all files in bytes.
        accuracy: the share of the data's rows for which the predicted labels are exactly right; None without data.
        agreeing: the number of texts with the same label or labels as from the original bundle.
        texts: the number of compared texts. These are the rows of the data or, without data, the golden examples. Texts
            without a known word are left out, and so are texts with two equally likely labels in the original bundle.
        p50: the median time of an answer to one text, in microseconds.
    """

    name: str
    size: int
    accuracy: float | None
    agreeing: int
    texts: int
    p50: float

    @property
    def agreement(self) -> float | None:
        """The share of the texts with the same label as from the original bundle; None without texts."""
        return self.agreeing / self.texts if self.texts else None


@dataclass(frozen=True)
class CompressedBundle:
    """A compressed bundle: its manifest, and the measurements after each step of the compression."""

    manifest: Manifest
    steps: tuple[StageMeasurement, ...]


def compress(
    bundle: str | Path,
    path: str | Path,
    *,
    storage: Storage | None = None,
    data: LabelledTexts | None = None,
    max_loss: float | None = None,
    name: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> CompressedBundle:
    """Write a smaller bundle, and prove that it gives the same answers as the original bundle with rounded weights.

    Args:
        bundle: a bundle's folder, or a shipped classifier's name.
        path: the folder to write.
        storage: how the weights are stored, and how many words are kept. These are the first words of the vocabulary,
            which are the most frequent ones if pocketrnn made the vocabulary. By default, weights are stored as int8
            and all words are kept.
        data: labelled texts to measure accuracy with. Their labels must be the classifier's, in its order.
        max_loss: how many percentage points of accuracy on the data may be lost; 0.2 allows 91.4 % to become 91.2 %.
        name: the classifier's name; by default the original one.
        force: whether to replace a bundle at `path`.
        progress: whether to print progress on standard error, as `export` does.

    Raises:
        InputError: an argument is unusable; the bundle is compressed already; or its graph is not an ONNX file.
        OutputError: `path` exists, and `force` is not set.
        CompressionError: more accuracy is lost than `max_loss`. Nothing was written.
        ParityError: the new graph answers otherwise than the old one with rounded weights. Nothing was written.

    Example:
        >>> made = compress("news", "news-small", storage=Storage(embedding="int8", weights="float32"))
        >>> [step.name for step in made.steps]
        ['original', 'without TorchScript', 'and embedding in int8']
    """
    path, storage = Path(path), storage or Storage()
    check_output_folder(path, force=force, marker_file=CLASSIFIER_JSON)
    folder = find_or_download_bundle(bundle)
    if is_packed_file(folder):
        raise InputError(
            f"{folder} is a packed file, but only a bundle can be compressed.",
            "Give the bundle that the packed file was made from.",
        )
    original = Classifier.load(folder)
    manifest = original.manifest if name is None else replace(original.manifest, name=name)
    _check_arguments(manifest, storage, data, max_loss)
    with show_progress(progress), tempfile.TemporaryDirectory(prefix="pocketrnn.") as made:
        stages, rounding = [_Stage("original", folder, original)], []
        for what, so_far in _list_compression_steps(manifest, storage):
            _log.info("Making and proving: %s", what.removeprefix("and "))
            smaller = Path(made) / str(len(stages))
            rounding = _write_smaller_bundle(folder, manifest, so_far, smaller)
            stages.append(_Stage(what, smaller, Classifier.load(smaller)))
        steps = _measure_compression_stages(stages, data)
        _check_loss(steps, max_loss)
        last = stages[-1]
        proof = last.classifier.manifest.parity
        # The whole chain: the original's proof, the effect of rounding, and the proof of this graph.
        chain = (*manifest.parity.comparisons, *rounding, *proof.comparisons)
        compressed = replace(
            last.classifier.manifest,
            parity=replace(proof, comparisons=chain),
            provenance=_make_compressed_provenance(manifest, storage, steps, data),
        )
        # The last stage is proven. Only its provenance changes: it gets the measurements.
        with write_whole_folder(path, force=force, marker_file=CLASSIFIER_JSON) as work:
            for file in last.folder.iterdir():
                (work / file.name).write_bytes(file.read_bytes())
            (work / CLASSIFIER_JSON).write_bytes(encode_manifest(compressed))
            size = _measure_folder_size(work)
    return CompressedBundle(compressed, (*steps[:-1], replace(steps[-1], size=size)))


@dataclass(frozen=True)
class _Stage:
    """The original bundle, or the bundle after a step of compression.

    Attributes:
        name: the name of the step, or "original".
    """

    name: str
    folder: Path
    classifier: Classifier


def check_kept_word_count(kept_words: int, vocabulary_size: int) -> None:
    """Raise an InputError if a number of words to keep is below 1, or does not shorten the vocabulary."""
    if not 1 <= kept_words < vocabulary_size:
        raise InputError(
            f"The number of words to keep is {kept_words}, but the vocabulary has {vocabulary_size} words, and at "
            "least one must be left out.",
            f"Give a number from 1 to {vocabulary_size - 1}.",
        )


def _check_arguments(manifest: Manifest, storage: Storage, data: LabelledTexts | None, max_loss: float | None) -> None:
    """Raise an InputError if a bundle cannot be compressed, or if an argument does not apply to the bundle."""
    rules = manifest.text.rules
    manifest.require_single_text("compress()")
    manifest.require_single_head("compress()")
    if manifest.output.of_tokens:
        raise InputError(
            f"{manifest.name} gives a label for each token. Such a bundle cannot be compressed, because the loss "
            "is measured by the labels of whole texts.",
            "Use the bundle as it is.",
        )
    if "compression" in manifest.provenance:
        raise InputError(
            f"{manifest.name} is already compressed, and cannot be compressed a second time.",
            "Give the bundle that it was made from.",
        )
    require_onnx_graph(manifest)
    if data is not None and rules.tokenizer == EXTERNAL:
        raise InputError(
            f"The loss of accuracy of {manifest.name} cannot be measured on texts, since the bundle does not split "
            "texts (its tokenizer is external).",
            "Compress it without `data`.",
        )
    check_data_labels(manifest, data)
    if max_loss is not None and data is None:
        raise InputError(
            f"`max_loss` is {max_loss}, but there is no data to measure the loss of accuracy on.",
            "Give labelled texts as `data`, or leave out `max_loss`.",
        )
    if max_loss is not None and not 0 <= max_loss <= 100:
        raise InputError(
            f"`max_loss` is {max_loss}, but must be from 0 to 100.",
            "Give the largest loss of accuracy in percentage points.",
        )
    for what in (storage.embedding, storage.weights):
        if what not in STORAGES:
            raise InputError(f"{what!r} is not a way to store weights.", f"Give one of these: {', '.join(STORAGES)}.")
    rows = storage.rows
    if rows is None:
        if not _list_compression_steps(manifest, storage):
            raise InputError(
                "With these options, the compressed bundle would be the same as the original one.",
                "Store weights as int8 or float16, or keep fewer words.",
            )
        return
    check_kept_word_count(rows, len(manifest.text.vocabulary))
    if (highest := manifest.text.rules.highest_id) >= rows:
        raise InputError(
            f"The text rules use the token id {highest}, but with {rows} words to keep, the largest id is {rows - 1}.",
            f"Keep at least {highest + 1} words.",
        )


def _list_compression_steps(manifest: Manifest, storage: Storage) -> list[tuple[str, Storage]]:
    """List the steps of a compression as pairs (name, storage): the name of the step, such as "embedding in int8", and
    how all weights are stored after the step."""
    so_far, steps = Storage("float32", "float32"), []
    if manifest.torchscript is not None:
        steps.append(("without TorchScript", so_far))
    if storage.rows is not None:
        so_far = replace(so_far, rows=storage.rows)
        steps.append((f"the first {storage.rows:,} words", so_far))
    if storage.embedding != so_far.embedding:
        so_far = replace(so_far, embedding=storage.embedding)
        steps.append((f"embedding in {storage.embedding}", so_far))
    if storage.weights != so_far.weights:
        so_far = replace(so_far, weights=storage.weights)
        steps.append((f"other weights in {storage.weights}", so_far))
    return [("and " * (i > 0) + name, stored) for i, (name, stored) in enumerate(steps)]


def _write_smaller_bundle(folder: Path, manifest: Manifest, storage: Storage, path: Path) -> list[Comparison]:
    """Write a bundle whose weights are stored as `storage` says, and prove it equal to the original bundle with rounded
    weights. Return the comparisons of the original graph with the graph of rounded weights."""
    kept_words = replace(manifest.text, vocabulary=manifest.text.vocabulary[: storage.rows])
    provenance = drop_compared_ids_of_cut_words(manifest.provenance, storage.rows)
    description = replace(Description.from_manifest(manifest), input=kept_words, provenance=provenance)
    if storage.rows is not None:
        cut = {
            text: replace_ids_without_rows(ids, manifest.text.rules, storage.rows)
            for text, ids in description.known.items()
        }
        description = replace(description, known=cut)
    metadata, graph = description.metadata, manifest.graph
    content = read_checked_bytes(folder / graph.file, graph.sha256)
    small = quantize_graph(content, storage, metadata)
    if storage.rows is not None:
        kept = tuple(i for i in graph.alone if i < storage.rows)
        graph = replace(graph, embedding_rows=storage.rows, alone=kept)
    wrap = wrap_edge_graph_as_form if graph.batch == 1 else wrap_onnx_graph_as_form
    form: Form = wrap(small.content, graph)
    forms = [replace(form, runs={name.replace("onnx", COMPRESSED): run for name, run in form.runs.items()})]
    if (stream := manifest.stream) is not None:
        steps = quantize_graph(read_checked_bytes(folder / stream.file, stream.sha256), storage, metadata)
        forms.append(wrap_step_graph_as_form(steps.content, stream))
    texts = list(description.known) or choose_texts_for_proof(
        [e.shown for e in manifest.golden_texts], description.text.vocabulary, manifest.text.rules
    )
    texts = select_texts_within_limits(graph.limits, texts, description)
    if not texts:
        raise CompressionError(
            f"With {len(kept_words.vocabulary)} words, each golden example has fewer known words than the graph "
            "needs, so that no example is left.",
            "Keep more words.",
        )
    plan = ProofPlan(
        # The reference has all rows of the embedding; the smaller one's ids mean the same in both.
        reference=make_graph_reference(ROUNDED, small.rounded),
        cases=choose_cases_for_graph_of_bundle(manifest.text.rules, graph, provenance),
        rows_alone=graph.batch != 1,
        texts=texts,
    )
    write_bundle(path, description, forms, plan)
    return _compare_rounded_graph(
        manifest, content, small.rounded, plan, encode_each_text_as_case(texts, description.encoder())
    )


def _compare_rounded_graph(
    manifest: Manifest, content: bytes, rounded: bytes, plan: ProofPlan, text_cases: Sequence[Case]
) -> list[Comparison]:
    """Compare the original graph with the graph of rounded weights, and return the lines of the comparison. Raise a
    CompressionError if rounding makes an answer infinite or NaN."""
    before = ReferenceAnswers(
        make_graph_reference("onnx", content), {**plan.cases, "texts": text_cases}, rows_alone=plan.rows_alone
    )
    run = make_onnx_run(rounded, optimized=False)
    lines = []
    for inputs in before.kinds:
        cases, logits = zip(*before.compute_answers(inputs, one_row=not plan.rows_alone), strict=True)
        lines.append(
            compare_answers_and_labels(manifest, ROUNDED, run, cases, logits, inputs=inputs, reference="onnx").line
        )
    if not all(np.isfinite(line.largest_difference) for line in lines):
        raise CompressionError(
            "With rounded weights, an answer becomes infinite or NaN; with the original weights, all answers are "
            "finite.",
            "Store the weights as float16 or float32.",
        )
    return lines


def _measure_compression_stages(stages: Sequence[_Stage], data: LabelledTexts | None) -> tuple[StageMeasurement, ...]:
    """Measure each stage of a compression: its size, accuracy and speed, and how many labels equal those of the
    original bundle."""
    examples = stages[0].classifier.manifest.golden_texts
    texts = [example.text for example in examples] if data is None else list(data.texts)
    given = [
        _make_inputs_from_golden_examples(stage.classifier.manifest, examples) if data is None else texts
        for stage in stages
    ]
    answers = [stage.classifier.logits(some, on_error="skip") for stage, some in zip(stages, given, strict=True)]
    # A text that the original cannot take is not measured. A text that only the smaller classifier cannot take counts
    # as wrong.
    without = np.array([np.isnan(logits[:, 0]) for logits in answers])
    measured: NDArray[np.bool_] = ~without[0]
    if not measured.any():
        raise InputError(
            "The classifier accepts none of the texts in the data: each has too few or too many tokens.",
            "Give texts within the limits of the classifier. The command `pocketrnn inspect` shows these limits.",
        )
    manifest = stages[0].classifier.manifest
    # The labels of a text that is not taken are never used.
    labels = [compute_predicted_labels(manifest, np.nan_to_num(logits)) for logits in answers]
    right = labels[0] if data is None else read_target_labels_and_whether_known(data)[0]
    asked = measured & _mark_texts_that_can_show_lost_labels(stages[0].classifier, given[0], np.nan_to_num(answers[0]))
    # All stages take the golden examples of the last.
    taken = [text for text, none in zip(given[-1], without.max(axis=0), strict=True) if not none]
    taken = taken or _make_inputs_from_golden_examples(last := stages[-1].classifier.manifest, last.golden_texts)
    timed = (taken * (_TIMED_TEXTS // len(taken) + 1))[:_TIMED_TEXTS]
    speeds = measure_interleaved(
        {stage.name: make_one_by_one_run(stage.classifier.classify, timed) for stage in stages}, len(timed), rounds=3
    )
    return tuple(
        StageMeasurement(
            name=stage.name,
            size=_measure_folder_size(stage.folder),
            accuracy=None if data is None else float(((some == right).all(1) & ~none)[measured].mean()),
            agreeing=int(((some == labels[0]).all(1) & ~none)[asked].sum()),
            texts=int(asked.sum()),
            p50=speed.p50 or 0.0,
        )
        for stage, some, none, speed in zip(stages, labels, without, speeds, strict=True)
    )


def _make_inputs_from_golden_examples(manifest: Manifest, examples: Sequence[Example]) -> list[Text]:
    """Return inputs for the classifier that stand for golden examples: the texts or, if the user's own code splits
    texts, their ids. Ids without a row in the graph's embedding are replaced by the id of unknown words."""
    if manifest.text.rules.tokenizer != EXTERNAL:
        return [example.text for example in examples]
    return [
        replace_ids_without_rows(example.ids, manifest.text.rules, manifest.graph.embedding_rows)
        for example in examples
    ]


def _mark_texts_that_can_show_lost_labels(
    classifier: Classifier, texts: Sequence[Text], logits: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return a mask, bool [texts], of the texts whose labels can show a loss: texts with a known word and a label that
    is so much more likely than the next that rounding cannot decide between them."""
    rules = classifier.manifest.text.rules
    nothing = {rules.unknown_id, rules.empty_id, rules.padding_id, *rules.first_ids, *rules.last_ids}
    known = [not nothing.issuperset(classifier.encode(text)) for text in texts]
    apart = compute_label_margins(classifier.manifest, logits) > 2 * classifier.manifest.parity.tolerance
    telling: NDArray[np.bool_] = np.array(known) & apart
    return telling


def _measure_folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _check_loss(steps: Sequence[StageMeasurement], max_loss: float | None) -> None:
    """Raise a CompressionError if a compressed bundle loses more than `max_loss` percentage points of accuracy."""
    before, after = steps[0].accuracy, steps[-1].accuracy
    if max_loss is None or before is None or after is None:
        return
    loss = 100 * (before - after)
    # 1e-9: a share of whole rows that is nearer than this is equal.
    if loss > max_loss + 1e-9:
        raise CompressionError(
            f"The compressed bundle loses {loss:.2f} percentage points of accuracy on the data, but at most "
            f"{max_loss:g} are allowed. Nothing was written.\n"
            f"{format_steps_table(steps)}\n",
            "Keep more words, store weights as float16 or float32, or allow a larger loss.",
        )


def _make_compressed_provenance(
    manifest: Manifest, storage: Storage, steps: Sequence[StageMeasurement], data: LabelledTexts | None
) -> dict[str, Any]:
    """Return the provenance of a bundle with a further entry: how it was compressed, and the measurements after the
    last step."""
    done: dict[str, Any] = {
        "from_graph": manifest.graph.sha256,
        "words": storage.rows or len(manifest.text.vocabulary),
        "words_before": len(manifest.text.vocabulary),
        "embedding": storage.embedding,
        "weights": storage.weights,
        "label_agreement": steps[-1].agreement,
        "label_agreement_of": {"texts": steps[-1].texts, "source": "golden examples" if data is None else "data"},
        "versions": read_package_versions(),
    }
    if data is not None:
        measured = {"accuracy_before": steps[0].accuracy, "accuracy": steps[-1].accuracy}
        done |= {"data": {"source": data.source, "rows": len(data)}, **measured}
    return {**drop_compared_ids_of_cut_words(manifest.provenance, storage.rows), "compression": done}


def format_steps_table(steps: Sequence[StageMeasurement]) -> str:
    """Return the measurements of a compression as a Markdown table with one row for each step. If there are few texts,
    the column of equal labels has counts, since a percentage would suggest too much precision."""
    texts = steps[0].texts
    lines = [
        f"| | bytes, all files | accuracy | label as the original, {texts:,} texts | one text, p50, us |",
        "|---|---:|---:|---:|---:|",
    ]
    for step in steps:
        accuracy = "" if step.accuracy is None else f"{step.accuracy:.2%}"
        few = step.agreement is None or texts < _FEW_TEXTS
        agreement = f"{step.agreeing} of {texts}" if few else f"{step.agreement:.2%}"
        lines.append(f"| {step.name} | {step.size:,} | {accuracy} | {agreement} | {step.p50:.0f} |")
    return "\n".join(lines)
