"""Classifier: a bundle, ready to answer."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, isfinite, tanh
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocketrnn import artifact as artifacts
from pocketrnn.artifact import Artifact
from pocketrnn.batching import rectangle, runs
from pocketrnn.errors import BundleError, InputError, PocketRNNError, TextError
from pocketrnn.shipped import bundle_folder
from pocketrnn.text import TextEncoder

__all__ = ["Classifier", "Prediction"]

Floats = NDArray[np.float32]

_EXPORT_AGAIN: Final = "Export the bundle again."
# Texts are encoded this many at a time, so that a million texts do not stand in memory as lists of ids. Runs are shaped
# as well from 4,096 texts as from more: AG News' 3,801 test rows fall into 44 runs, all but two of them full.
_ENCODED_AT_ONCE: Final = 4096
_MOST_THREADS: Final = 1024
# In onnx.proto, TensorProto.external_data (field 13: byte 6a, a length) and in it the key (field 1) "location".
# onnxruntime 1.20 reads such a file from the current folder, even "../weights", where it is given a graph's bytes.
# The search takes 1 ms a megabyte.
_EXTERNAL_DATA: Final = re.compile(rb"\x6a[\x80-\xff]*[\x00-\x7f]\x0a\x08location")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One text's answer.

    Attributes:
        label: the likeliest label.
        probability: its probability.
        top: the likeliest labels with their probabilities, likeliest first; as many as were asked for, at least one.

    The probabilities of a multi-label classifier are each label's own, and do not add up to 1.
    """

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


class Classifier:
    """A classifier read from a bundle. Make one with `Classifier.load`.

    It holds nothing that changes, so several Python threads may use one; a pickled one is loaded again from its folder.

    Attributes:
        artifact: all that classifier.json says.
    """

    def __init__(self, folder: Path, artifact: Artifact, session: onnxruntime.InferenceSession, threads: int) -> None:
        self.artifact = artifact
        self._folder = folder
        self._session = session
        self._threads = threads
        self._encoder = TextEncoder(artifact.text, artifact.vocabulary)
        self._takes_lengths = "lengths" in artifact.graph.inputs

    @classmethod
    def load(cls, path_or_name: str | os.PathLike[str], *, threads: int = 1) -> Classifier:
        """Read and check a bundle.

        Args:
            path_or_name: a bundle's folder, or the name of a classifier that ships with pocketrnn.
            threads: how many processor cores one call may use.

        Raises:
            InputError: `threads` is not a number from 1.
            BundleError: there is no such bundle, it is damaged, or its graph does not fit its classifier.json.
        """
        if not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
            raise InputError(f"threads is {threads!r}.", f"Use a whole number from 1 to {_MOST_THREADS}.")
        folder = bundle_folder(path_or_name)
        artifact = artifacts.read(folder)
        session = _session(folder, artifact, threads)
        classifier = cls(folder.absolute(), artifact, session, threads)
        classifier._check_answer()
        return classifier

    @property
    def name(self) -> str:
        """What the classifier is called."""
        return self.artifact.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `predict_proba`."""
        return self.artifact.labels

    @property
    def graph_metadata(self) -> dict[str, str]:
        """What the ONNX file says of itself (`metadata_props`)."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def encode(self, text: str) -> list[int]:
        """The token ids of one text; never empty."""
        return self._encoder.encode(text)

    def classify(self, text: str, top: int = 1) -> Prediction:
        """Classify one text.

        Args:
            text: any string; one without a known token is answered as the empty text is.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            TextError: `text` is not a string.
            InputError: `top` is out of its range.
        """
        if not isinstance(text, str):
            raise TextError(
                f"A text must be a string, not {type(text).__name__}.",
                "Use predict or predict_proba for several texts.",
            )
        if top != 1:
            self.check_top(top)
        ids = self._encoder.encode(text)
        logits = self._run(np.array((ids,), np.int64), np.array((len(ids),), np.int64))
        return self.prediction(logits[0].tolist(), top)

    def predict(self, texts: Iterable[str]) -> list[str]:
        """The likeliest label of every text, in the texts' order.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
        """
        labels = self.labels
        return [labels[i] for i in self.logits(texts).argmax(1).tolist()]

    def predict_proba(self, texts: Iterable[str]) -> Floats:
        """The probabilities of every label for every text.

        Returns:
            float32 [texts, labels], the columns in the order of `labels`; each row adds up to 1, unless the classifier
            is multi-label.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
        """
        logits = self.logits(texts)
        return _softmax(logits) if self.artifact.activation == "softmax" else _sigmoid(logits)

    def predict_labels(self, texts: Iterable[str], threshold: float = 0.5) -> list[tuple[str, ...]]:
        """Every label of every text whose probability reaches `threshold`: what a multi-label classifier is asked for.

        Returns:
            for each text its labels, in the order of `labels`; none, one or several.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
        """
        reached = self.predict_proba(texts) >= threshold
        return [tuple(label for label, is_one in zip(self.labels, row, strict=True) if is_one) for row in reached]

    def logits(self, texts: Iterable[str]) -> Floats:
        """The graph's own answers, before they are made probabilities.

        Returns:
            float32 [texts, labels], the columns in the order of `labels`.

        Raises:
            TextError: `texts` is one string, or an item of it is not a string.
            PocketRNNError: the graph fails, for instance because a text is too long for this machine's memory, or its
                logits are no probabilities (NaN or infinite).
        """
        checked = _texts(texts)
        logits = np.empty((len(checked), len(self.labels)), np.float32)
        for start in range(0, len(checked), _ENCODED_AT_ONCE):
            rows = [self._encoder.encode(text) for text in checked[start : start + _ENCODED_AT_ONCE]]
            logits[start : start + len(rows)] = self._logits_of(rows)
        # Single logits of minus infinity are a probability of 0; NaN, or infinity as the largest one, is none at all.
        if not np.isfinite(logits.max(1)).all():
            raise self._no_number()
        return logits

    def prediction(self, logits: Sequence[float], top: int = 1) -> Prediction:
        """The answer that one row of `logits` stands for; of equal probabilities, the earlier label comes first.

        This is the softmax of one row in Python's own floats: 2 us where numpy's calls take 9 of a text's 56, and the
        same to 1e-7.

        Args:
            logits: one row, as a list.
            top: how many labels to give, from 1 to the number of labels.

        Raises:
            InputError: `top` is out of its range.
            PocketRNNError: the logits are no probabilities (NaN or infinite).
        """
        labels = self.artifact.labels
        largest = max(logits)
        if self.artifact.activation == "softmax":
            powers = [exp(logit - largest) for logit in logits]
            total = sum(powers)
        else:
            powers, total = [_sigmoid_of(logit) for logit in logits], 1.0
        if not isfinite(largest) or total != total:
            raise self._no_number()
        if top == 1:
            best = logits.index(largest)
            label, probability = labels[best], powers[best] / total
            return Prediction(label, probability, ((label, probability),))
        self.check_top(top)
        # By logit: far from zero, several of them have the probability 1.0 or 0.0.
        order = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)[:top]
        likeliest = tuple((labels[i], powers[i] / total) for i in order)
        return Prediction(*likeliest[0], likeliest)

    def check_top(self, top: int) -> None:
        """Refuse a number of labels that cannot be given.

        Raises:
            InputError: `top` is not a whole number from 1 to the number of labels.
        """
        try:
            number = operator.index(top)
        except TypeError:
            number = 0
        if not 1 <= number <= len(self.labels):
            raise InputError(
                f"top is {top!r}, but {self.name} has {len(self.labels)} labels.",
                f"Use a whole number from 1 to {len(self.labels)}.",
            )

    def _logits_of(self, rows: Sequence[Sequence[int]]) -> Floats:
        """float32 [len(rows), labels] for rows of ids."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        logits = np.empty((len(rows), len(self.labels)), np.float32)
        for places in runs(lengths, padding=self.artifact.graph.padding):
            some = lengths[places]
            tokens = rectangle([rows[i] for i in places.tolist()], some, self.artifact.text.padding_id)
            logits[places] = self._run(tokens, some)
        return logits

    def _run(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> Floats:
        """One run of the graph: int64 [batch, sequence], int64 [batch] -> float32 [batch, labels]."""
        feed = {"tokens": tokens, "lengths": lengths} if self._takes_lengths else {"tokens": tokens}
        try:
            (logits,) = self._session.run(["logits"], feed)
        except Exception as error:  # onnxruntime's errors share no base of their own
            rows, width = tokens.shape
            raise PocketRNNError(
                f"The graph of {self.name} failed on {rows} texts of up to {width} tokens: {_first_line(error)}",
                "If a text is very long, shorten it; else check the bundle with: pocketrnn verify",
            ) from error
        return logits  # type: ignore[no-any-return]

    def _check_answer(self) -> None:
        """Ask the graph once, for the embedding's last row: does it have so many, and as many logits as labels?"""
        rows = self.artifact.graph.embedding_rows
        try:
            tokens = np.array([[rows - 1]], np.int64)
            shape = self._run(tokens, np.ones(1, np.int64)).shape
        except (PocketRNNError, OverflowError) as error:
            raise BundleError(
                f"The graph of {self.name} cannot be run with the highest token id, {rows - 1}: {_first_line(error)}",
                _EXPORT_AGAIN,
            ) from None
        if shape != (1, len(self.labels)):
            raise BundleError(
                f"The graph of {self.name} gives logits of shape {list(shape)}, not {[1, len(self.labels)]}.",
                _EXPORT_AGAIN,
            )

    def _no_number(self) -> PocketRNNError:
        return PocketRNNError(
            f"The graph of {self.name} answered with logits that are NaN or infinite.",
            "Check the bundle with: pocketrnn verify",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded_again, (self._folder, self._threads)

    def __repr__(self) -> str:
        return f"<Classifier {self.name!r}: {len(self.labels)} labels>"


def _loaded_again(folder: Path, threads: int) -> Classifier:
    return Classifier.load(folder, threads=threads)


def _texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, (str, bytes)):
        raise TextError(
            f"This takes a list of texts, not one {type(texts).__name__}.", "Use classify for one text, or give a list."
        )
    try:
        checked = list(texts)
    except TypeError:
        raise TextError(f"This takes a list of texts, not {type(texts).__name__}.", "Give a list of strings.") from None
    for i, text in enumerate(checked):
        if not isinstance(text, str):
            raise TextError(
                f"The text at position {i} (counted from 0) is not a string but {type(text).__name__}.",
                "Give strings only.",
            )
    return checked


def _session(folder: Path, artifact: Artifact, threads: int) -> onnxruntime.InferenceSession:
    """The graph, opened from the very bytes whose digest was checked."""
    path = folder / artifact.graph.file
    content = artifacts.checked_bytes(path, artifact.graph.sha256)
    if _EXTERNAL_DATA.search(content):
        raise BundleError(
            f"{path} keeps weights in further files, which no digest covers.", "Export it with its weights inside."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Idle threads sleep: spinning ones keep their cores at 100 % between two calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Fatal errors only. What goes wrong is raised, and then said once, in our words.
    options.log_severity_level = 4
    # With the arena, memory never shrinks: after one text of a million tokens 1,121 MiB stay (peak 1,121), without it
    # and without patterns 109 MiB, which is what it was before (peak 841). One text takes 33 us without, 35 us with it;
    # 3,000 shapes leave no trace either way.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} cannot open {path}: {_first_line(error)}",
            "Upgrade onnxruntime, or export the bundle again.",
        ) from error
    _check_signature(session, artifact, path)
    return session


def _check_signature(session: onnxruntime.InferenceSession, artifact: Artifact, path: Path) -> None:
    """Hold the graph's inputs and outputs against classifier.json. A string or None in a shape is a dynamic axis."""
    ranks = {"tokens": 2, "lengths": 1}
    expected = {name: ("tensor(int64)", ranks[name]) for name in artifact.graph.inputs}
    inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
    if inputs != expected:
        raise BundleError(
            f"{path} has the inputs {_signature(inputs)}; classifier.json says {_signature(expected)}.", _EXPORT_AGAIN
        )
    outputs = {node.name: (node.type, len(node.shape)) for node in session.get_outputs()}
    if outputs != {"logits": ("tensor(float)", 2)}:
        raise BundleError(
            f"{path} has the outputs {_signature(outputs)}; a classifier gives logits (tensor(float), rank 2).",
            _EXPORT_AGAIN,
        )
    for node in session.get_inputs():
        if any(isinstance(size, int) for size in node.shape):
            raise BundleError(f"{path} takes {node.name} of the fixed shape {node.shape} only.", _EXPORT_AGAIN)
    classes = session.get_outputs()[0].shape[1]
    if isinstance(classes, int) and classes != len(artifact.labels):
        raise BundleError(
            f"{path} gives {classes} logits, but classifier.json names {len(artifact.labels)} labels.", _EXPORT_AGAIN
        )


def _signature(nodes: dict[str, tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({kind}, rank {rank})" for name, (kind, rank) in nodes.items()) or "none"


def _softmax(logits: Floats) -> Floats:
    """Probabilities, float32 [n, classes]. The largest logit is taken off first, so that none overflows."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers  # type: ignore[no-any-return]


def _sigmoid(logits: Floats) -> Floats:
    """Probabilities, float32 [n, classes], each by itself. The tanh form overflows for no logit."""
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * logits) + np.float32(1))  # type: ignore[no-any-return]


def _sigmoid_of(logit: float) -> float:
    return 0.5 * (tanh(0.5 * logit) + 1.0)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
