"""Verify without PyTorch that a bundle is unchanged, and that it gives the same answers as when it was made."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.answers_by_head import build_answers, find_likeliest_label_indices
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
from pocketrnn.bundle.checked_files import MAKE_AGAIN, compute_file_sha256
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import check_packed_file_sha256, is_packed_file
from pocketrnn.classifier import (
    Classifier,
    compute_logits_of_engine_input,
    encode_texts_as_engine_input,
    read_graph_metadata,
)
from pocketrnn.errors import BundleError, ParityError, PocketRNNError
from pocketrnn.text import EXTERNAL
from pocketrnn.text.text_input import TextInput

__all__ = ["Replay", "Verification", "compute_largest_logit_differences", "compute_streamed_logits", "verify"]

_SHOWN: Final = 5
_ALONE: Final = "each alone"
_TOGETHER: Final = "all in one batch"
# A length at which fragments begin and end within words.
_FRAGMENT: Final = 7


@dataclass(frozen=True)
class Replay:
    """How far the logits of the golden examples on this machine are from the logits that the bundle states.

    Attributes:
        how: how the examples were answered: "each alone", "all in one batch" or "each as a stream".
        examples: how many examples there are.
        largest_difference: the largest of `differences`.
        differences: the largest difference of a logit of each example.
    """

    how: str
    examples: int
    largest_difference: float
    differences: tuple[float, ...] = field(repr=False, default=())


@dataclass(frozen=True)
class Verification:
    """The result of a verification that passed.

    Attributes:
        name: the classifier's name.
        files: the names of the files whose sha256 was checked.
        replays: the answers to the golden examples, given in several ways.
        tolerance: the largest difference of logits that is allowed.
        manifest: the bundle's manifest, with the proof that was made at its export.
    """

    name: str
    files: tuple[str, ...]
    replays: tuple[Replay, ...]
    tolerance: float
    manifest: Manifest = field(repr=False)


def compute_largest_logit_differences(expected: NDArray[Any], given: NDArray[Any]) -> NDArray[Any]:
    """Compute for every text the largest difference between two sets of logits. A bundle's `tolerance` and
    `largest_difference` are such differences.

    For each text, this is the largest absolute difference of its logits. If the largest absolute value of the expected
    logits is above 10, the difference is divided by a tenth of that value: float32 has seven digits, so that at logits
    of 100 two exact ways to add up 257 steps differed by 5e-5.

    Args:
        expected, given: the two sets of logits, float [texts, labels].

    Returns:
        float [texts]; NaN for a text with a NaN in either set.
    """
    # The logarithm of a probability of 0 is minus infinity, in both.
    off = np.zeros(expected.shape, np.result_type(expected, given))
    np.abs(np.subtract(given, expected, out=off, where=given != expected), out=off)
    sizes = np.where(np.isinf(expected), 0.0, np.abs(expected))
    apart: NDArray[Any] = off.max(axis=1) / np.maximum(1.0, sizes.max(axis=1) / 10.0)
    return apart


def verify(bundle: str | os.PathLike[str]) -> Verification:
    """Check every digest of a bundle, and answer its golden examples again on this machine.

    Every example is answered alone, in a batch with all the others and, if the bundle has a step graph, as a stream.
    Each time, it must get the same label as when the bundle was made and, within the bundle's tolerance, the same
    logits. A text must also become the same token ids.

    Args:
        bundle: a bundle's folder, the name of a shipped classifier, or a packed file.

    Raises:
        BundleError: the bundle is missing or damaged, or its parts do not belong together.
        ParityError: an example is answered differently here; the message names the example.

    Example:
        >>> verify("ag_news").name
        'ag_news'
    """
    folder = find_or_download_bundle(bundle)
    if is_packed_file(folder):
        check_packed_file_sha256(folder)
    classifier = Classifier.load(folder)
    manifest = classifier.manifest
    files: tuple[str, ...] = (folder.name,)
    if not is_packed_file(folder):
        # The graph's digest was checked when it was loaded; the step graph's is when the examples are replayed.
        if manifest.torchscript is not None:
            path = folder / manifest.torchscript.file
            if compute_file_sha256(path) != manifest.torchscript.sha256:
                raise BundleError(f"{path} was changed after it was made: its digest does not match.", MAKE_AGAIN)
        _check_graph_metadata_fits_manifest(classifier, folder / manifest.graph.file)
        files = manifests.list_bundle_files(manifest)
    return Verification(manifest.name, files, _replay_examples(classifier), manifest.parity.tolerance, manifest)


def compute_streamed_logits(classifier: Classifier, texts: Sequence[str]) -> NDArray[np.float32]:
    """Stream each text in fragments of seven characters; return the logits after its last fragment.

    Returns:
        float32 [texts, labels].
    """
    rows = []
    for text in texts:
        stream = classifier.stream()
        fragments = [text[i : i + _FRAGMENT] for i in range(0, len(text), _FRAGMENT)] or [""]
        rows.append([stream.logits(fragment) for fragment in fragments][-1])
    return np.array(rows, np.float32)


def _check_graph_metadata_fits_manifest(classifier: Classifier, path: Path) -> None:
    """Raise a BundleError if the digest in the graph's metadata is not that of the manifest's labels and input rules.

    This is not checked when a bundle is loaded: the graph's sha256 in classifier.json already ties the two together,
    and the check would add 1.7 ms to the 15 ms of loading a bundle of 20,000 words.
    """
    manifest = classifier.manifest
    stated = read_graph_metadata(classifier)
    expected = manifests.make_input_digest_metadata(manifest.labels, manifest.input)
    if not expected.items() <= stated.items():
        what = "text rules and vocabulary" if manifest.golden_texts else "channels"
        problem = (
            f"was made for other labels or {what} than classifier.json holds"
            if expected.keys() <= stated.keys()
            else f"does not say for which labels and {what} it was made"
        )
        raise BundleError(f"The graph of {path} {problem}.", "Export the bundle again.")


def _replay_examples(classifier: Classifier) -> tuple[Replay, ...]:
    """Answer the golden examples again in each way: alone, in one batch, and as streams. Raise a ParityError if an
    answer differs from that of the export."""
    manifest = classifier.manifest
    rows = manifest.golden_logit_rows
    golden = np.array([row for each in rows for row in each], np.float64)
    try:
        answers, faults = _answer_examples_and_describe_id_faults(classifier)
    except BundleError:
        raise
    except PocketRNNError as error:
        raise BundleError(f"A golden example cannot be answered. {error.problem}", MAKE_AGAIN) from error
    for how, logits in answers.items():
        faults += _describe_wrong_answers(manifest, golden, logits, how)
    if faults:
        shown = "; ".join(faults[:_SHOWN]) + (f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else "")
        raise ParityError(
            f"{manifest.name} does not answer its golden examples as it did when it was made: {shown}.",
            "Do not use it on this machine. Report the versions of Python, numpy and onnxruntime, and the processor.",
        )
    replays = []
    for how, logits in answers.items():
        row_differences = iter(compute_largest_logit_differences(golden, logits).tolist())
        differences = tuple(max(next(row_differences) for _ in example) for example in rows)
        replays.append(Replay(how, len(rows), max(differences), differences))
    return tuple(replays)


def _answer_examples_and_describe_id_faults(classifier: Classifier) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Answer the golden examples alone, in one batch, and as streams.

    Returns:
        a dict from the name of each way to its logits; and for each text whose ids differ from those in the bundle a
        message.
    """
    manifest = classifier.manifest
    given: list[Any] = [np.array(example.samples, np.float32) for example in manifest.golden_sequences]
    logits: Callable[[Any], NDArray[np.float32]] = partial(compute_logits_of_engine_input, classifier)
    if isinstance(manifest.input, TextInput):
        # Texts that the bundle cannot split are given as ids.
        splits = manifest.input.rules.tokenizer != EXTERNAL
        given = [e.text if splits else list(e.ids) for e in manifest.golden_texts]
        logits = classifier.logits
        if manifest.output.of_tokens:

            def logits(texts: Any) -> NDArray[np.float32]:
                return compute_logits_of_engine_input(classifier, encode_texts_as_engine_input(classifier, texts))

    answers = {_ALONE: np.concatenate([logits([one]) for one in given]), _TOGETHER: logits(given)}
    if manifest.golden_texts and manifest.stream is not None:
        answers["each as a stream"] = compute_streamed_logits(
            classifier, [str(example.text) for example in manifest.golden_texts]
        )
    return answers, [
        f"{example.shown[:40]!r} becomes other token ids"
        for one, example in zip(given, manifest.golden_texts, strict=False)
        if classifier.encode(one) != list(example.ids)
    ]


def _describe_wrong_answers(
    manifest: Manifest, golden: NDArray[np.float64], logits: NDArray[np.float32], way: str
) -> list[str]:
    """Describe each answer whose label is not the golden one, or whose logits differ from the golden logits by more
    than the tolerance.

    Args:
        golden: the logits of the golden examples, float64 [rows, labels].
        logits: the logits on this machine, of the same shape.
        way: how the examples were answered, for the message.
    """
    faults = []
    differences = compute_largest_logit_differences(golden, logits)
    of_labels = manifest.output.activation != "values"
    examples = [i for i, example in enumerate(manifest.golden_logit_rows) for _ in example]
    likeliest = (find_likeliest_label_indices(build_answers(manifest), rows).tolist() for rows in (golden, logits))
    for number, (was, now, difference) in enumerate(zip(*likeliest, differences, strict=True)):
        other = of_labels and was != now
        # Not "difference > tolerance": a NaN is not a pass.
        if other or not difference <= manifest.parity.tolerance:
            apart = [pair for pair in zip(now, was, strict=True) if pair[0] != pair[1]]
            told = (f", the label {manifest.labels[one]}, not {manifest.labels[two]}" for one, two in apart)
            label = "".join(told) if other else ""
            example = examples[number]
            called = (
                repr(manifest.golden_texts[example].shown[:40]) if manifest.golden_texts else f"number {example + 1}"
            )
            faults.append(f"{called}, {way}, differs by {difference:.2g}{label}")
    return faults
