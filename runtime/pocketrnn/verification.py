"""Is a bundle what it was when it was made, and does it answer the same here? Without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import check_digest, is_packed
from pocketrnn.bundle.zoo import bundle_folder
from pocketrnn.classifier import Classifier, graph_metadata
from pocketrnn.errors import BundleError, ParityError, PocketRNNError
from pocketrnn.text import EXTERNAL

if TYPE_CHECKING:
    from pocketrnn.number_classifier import NumberClassifier

__all__ = ["Replay", "Verification", "logit_differences", "streamed_logits", "verify"]

_MAKE_AGAIN: Final = "Copy the bundle again from where it was made, or export it again."
_SHOWN: Final = 5
# No word's length, so that fragments begin and end within words.
_FRAGMENT: Final = 7


@dataclass(frozen=True)
class Replay:
    """The golden examples answered anew: `how`, the largest of their `logit_differences`, and each of them."""

    how: str
    examples: int
    largest_difference: float
    differences: tuple[float, ...] = field(repr=False, default=())


@dataclass(frozen=True)
class Verification:
    """What was found right.

    Attributes:
        name: what the classifier is called.
        files: the files whose sha256 was checked.
        replays: the golden examples, each alone and all in one batch.
        tolerance: the largest logit difference that passes.
        manifest: what the bundle says of itself, with the proof that was made at its export.
    """

    name: str
    files: tuple[str, ...]
    replays: tuple[Replay, ...]
    tolerance: float
    manifest: Manifest = field(repr=False)


def logit_differences(expected: NDArray[Any], given: NDArray[Any]) -> NDArray[Any]:
    """How far the logits of every text lie apart: what a bundle's `tolerance` and `largest_difference` measure.

    It is the largest absolute difference of a text's logits. Where its largest logit is beyond 10, the difference is
    taken relative to that, tenfold: float32 keeps seven digits, so that at logits of 100 two exact ways to add up 257
    steps were seen 5e-5 apart.

    Args:
        expected, given: float [texts, labels].

    Returns:
        float [texts]; NaN where either holds one.
    """
    apart: NDArray[Any] = np.abs(given - expected).max(axis=1) / np.maximum(1.0, np.abs(expected).max(axis=1) / 10.0)
    return apart


def verify(bundle: str | os.PathLike[str]) -> Verification:
    """Check every digest of a bundle and replay its golden examples on this machine.

    Every example must give the ids, the label and, within the bundle's tolerance, the logits that the PyTorch module
    gave when the bundle was made, alone, in a batch with all the others, and, where the bundle can, as a stream.

    Args:
        bundle: a bundle's folder, a shipped classifier's name, or a packed file.

    Raises:
        BundleError: the bundle is missing or damaged, or its parts do not belong together.
        ParityError: an example is answered differently here; the message names it.

    Example:
        >>> verify("ag_news").name
        'ag_news'
    """
    folder = bundle_folder(bundle)
    if is_packed(folder):
        check_digest(folder)
    classifier: Any = Classifier.load(folder)
    if not isinstance(classifier, Classifier):
        return _verified_numbers(classifier, folder)
    manifest = classifier.manifest
    if is_packed(folder):
        return Verification(manifest.name, (folder.name,), _replayed(classifier), manifest.parity.tolerance, manifest)
    # The graph's digest was checked when it was loaded; the step graph's is when the examples are replayed.
    if manifest.torchscript is not None:
        path = folder / manifest.torchscript.file
        if manifests.sha256_of(path) != manifest.torchscript.sha256:
            raise BundleError(f"{path} was changed after it was made: its digest does not match.", _MAKE_AGAIN)
    _check_metadata(classifier, folder / manifest.graph.file)
    files = manifests.files_of(manifest)
    return Verification(manifest.name, files, _replayed(classifier), manifest.parity.tolerance, manifest)


def _verified_numbers(classifier: NumberClassifier, folder: Path) -> Verification:
    """What is found right of a classifier of numbers, whose graph's digest was checked when it was loaded."""
    manifest, tolerance = classifier.manifest, classifier.manifest.parity.tolerance
    if not manifests.digest_entry(manifest.labels, manifest.input).items() <= classifier.metadata.items():
        raise BundleError(
            f"{manifest.graph.file} does not say that it was made for these labels and numbers.", "Export it again."
        )
    sequences = [np.array(example.samples, np.float32) for example in manifest.sequences]
    golden = np.array([example.logits for example in manifest.examples], np.float64)
    answers = {
        "each alone": np.concatenate([classifier.logits_of_prepared([sequence]) for sequence in sequences]),
        "all in one batch": classifier.logits_of_prepared(sequences),
    }
    replays = []
    for how, logits in answers.items():
        differences = logit_differences(golden, logits)
        of_labels = manifest.output.activation != "values"
        wrong = ~(differences <= tolerance) | (of_labels & (golden.argmax(1) != logits.argmax(1)))
        if wrong.any():
            raise _answered_otherwise(
                manifest.name, f"number {int(wrong.argmax()) + 1}, {how}, differs by {differences[wrong].max():.2g}"
            )
        replays.append(Replay(how, len(sequences), float(differences.max()), tuple(differences.tolist())))
    files = (folder.name,) if is_packed(folder) else manifests.files_of(manifest)
    return Verification(manifest.name, files, tuple(replays), tolerance, manifest)


def _answered_otherwise(name: str, faults: str) -> ParityError:
    return ParityError(
        f"{name} does not answer its golden examples as it did when it was made: {faults}.",
        "Do not use it on this machine; report the versions of Python, numpy and onnxruntime and the processor.",
    )


def streamed_logits(classifier: Classifier, texts: Sequence[str]) -> NDArray[np.float32]:
    """The logits of texts that arrive in fragments of some characters: the answers to the last fragments.

    Returns:
        float32 [texts, labels].
    """
    rows = []
    for text in texts:
        stream = classifier.stream()
        fragments = [text[i : i + _FRAGMENT] for i in range(0, len(text), _FRAGMENT)] or [""]
        rows.append([stream.logits(fragment) for fragment in fragments][-1])
    return np.array(rows, np.float32)


def _check_metadata(classifier: Classifier, path: Path) -> None:
    """Does the graph say itself that it belongs to these labels, text rules and this vocabulary?

    Loading leaves this out: there the graph's sha256 in classifier.json has already tied the two together, and this
    takes another 1.7 ms where loading a 20,000-word bundle takes 15. It is what a lone graph can be recognised by.
    """
    manifest = classifier.manifest
    stated = graph_metadata(classifier)
    expected = manifests.digest_entry(manifest.labels, manifest.input)
    if not expected.items() <= stated.items():
        problem = (
            "was made for other labels, text rules or another vocabulary than classifier.json holds"
            if expected.keys() <= stated.keys()
            else "does not say which labels, text rules and vocabulary it was made for"
        )
        raise BundleError(f"{path} {problem}.", "Export the bundle again.")


def _replayed(classifier: Classifier) -> tuple[Replay, ...]:
    manifest = classifier.manifest
    # Texts that the bundle cannot split are given as ids.
    splits = manifest.text.rules.tokenizer != EXTERNAL
    texts = [example.text if splits else list(example.ids) for example in manifest.texts]
    golden = np.array([example.logits for example in manifest.examples], np.float64)
    try:
        answers = {
            "each alone": np.concatenate([classifier.logits([text]) for text in texts]),
            "all in one batch": classifier.logits(texts),
        }
        if manifest.stream is not None:
            answers["each as a stream"] = streamed_logits(classifier, [example.text for example in manifest.texts])
    except BundleError:
        raise
    except PocketRNNError as error:
        raise BundleError(f"A golden example cannot be answered. {error.problem}", _MAKE_AGAIN) from error
    ids = [classifier.encode(text) == list(example.ids) for text, example in zip(texts, manifest.texts, strict=True)]
    faults = [
        f"{e.text[:40]!r} becomes other token ids" for e, equal in zip(manifest.texts, ids, strict=True) if not equal
    ]
    for how, logits in answers.items():
        faults += _faults(manifest, golden, logits, how)
    if faults:
        shown = "; ".join(faults[:_SHOWN]) + (f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else "")
        raise _answered_otherwise(manifest.name, shown)
    apart = {how: tuple(logit_differences(golden, logits).tolist()) for how, logits in answers.items()}
    return tuple(Replay(how, len(texts), max(differences), differences) for how, differences in apart.items())


def _faults(manifest: Manifest, golden: NDArray[np.float64], logits: NDArray[np.float32], how: str) -> list[str]:
    faults = []
    differences = logit_differences(golden, logits)
    for example, was, now, difference in zip(
        manifest.texts, golden.argmax(1), logits.argmax(1), differences, strict=True
    ):
        # Not "difference > tolerance": a NaN is no pass.
        if was != now or not difference <= manifest.parity.tolerance:
            label = "" if was == now else f", the label {manifest.labels[now]}, not {manifest.labels[was]}"
            faults.append(f"{example.text[:40]!r}, {how}, differs by {difference:.2g}{label}")
    return faults
