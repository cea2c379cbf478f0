"""A classifier of numbers in onnxruntime: sequences in well-shaped runs of the graph."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocketrnn.engines.batching import rectangle, runs
from pocketrnn.engines.engine import Floats, Options
from pocketrnn.engines.onnxruntime import (
    LARGEST_KEPT,
    open_session,
    reopen_after_fork,
    shrinking,
    signature_of,
)
from pocketrnn.errors import BundleError, PocketRNNError, first_line
from pocketrnn.numbers.manifest import NumberManifest, StepLimits

__all__ = ["NumberEngine"]

_EXPORT_AGAIN: Final = "Export the bundle again."


class NumberEngine:
    """The graph of a classifier of numbers.

    Thread-safe: the only mutable state is the session of a forked process, which is opened under a lock.

    Args:
        folder: the bundle's folder.
        manifest: its classifier.json.
        options: how onnxruntime is asked to work; `max_batch_tokens` counts steps.

    Raises:
        BundleError: the graph is missing, damaged, or does not fit classifier.json.
    """

    def __init__(self, folder: Path, manifest: NumberManifest, options: Options) -> None:
        self._folder = folder
        self._manifest = manifest
        self._options = options
        self._lock = threading.RLock()
        self._session: onnxruntime.InferenceSession | None = self._opened()
        # From here on the current folder may change.
        self._folder = folder.absolute()
        self._check_answer()
        reopen_after_fork(self)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the ONNX file says of itself (`metadata_props`)."""
        return dict(self._whole().get_modelmeta().custom_metadata_map)

    def logits(self, sequences: list[Floats]) -> Floats:
        """The logits of many sequences.

        Args:
            sequences: float32 [time, channels] each, of at least one step.

        Returns:
            float32 [sequences, labels].

        Raises:
            PocketRNNError: the graph fails.
        """
        graph, rules = self._manifest.graph, self._manifest.numbers
        logits = np.empty((len(sequences), len(self._manifest.labels)), np.float32)
        if not sequences:
            return logits
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        # The last row is what stands after the end of a shorter sequence.
        padding = np.full((1, len(rules.channels)), rules.pad_value, np.float32)
        samples = np.concatenate([*sequences, padding])
        places = np.arange(len(samples), dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        most = graph.batch or (None if graph.limits is None else graph.limits.max_batch)
        shapes = runs(lengths, padding=graph.padding, max_tokens=self._options.max_batch_tokens, max_texts=most)
        for rows in shapes:
            given = samples[rectangle(places, starts[rows], lengths[rows], len(samples) - 1)]
            logits[rows] = self._run(given, lengths[rows])
        return logits

    def _run(self, samples: Floats, lengths: NDArray[np.int64]) -> Floats:
        """One run: float32 [batch, time, channels], int64 [batch] -> float32 [batch, labels]."""
        feed: dict[str, NDArray[Any]] = {"samples": samples}
        if "lengths" in self._manifest.graph.inputs:
            feed["lengths"] = lengths
        large = samples.shape[0] * samples.shape[1] > max(LARGEST_KEPT, self._options.max_batch_tokens)
        name, rows = self._manifest.name, len(samples)
        try:
            (logits,) = self._whole().run(["logits"], feed, shrinking() if large else None)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise PocketRNNError(
                f"The graph of {name} failed on {rows} sequences of up to {samples.shape[1]} steps: "
                f"{first_line(error)}.",
                "If a sequence is very long, shorten it; else check the bundle with: pocketrnn verify",
            ) from error
        if logits.shape != (rows, len(self._manifest.labels)):
            raise PocketRNNError(f"The graph of {name} gave numbers of shape {list(logits.shape)}.", _EXPORT_AGAIN)
        return logits  # type: ignore[no-any-return]

    def _whole(self) -> onnxruntime.InferenceSession:
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = self._opened()
        return self._session

    def _opened(self) -> onnxruntime.InferenceSession:
        graph = self._manifest.graph
        path = self._folder / graph.file
        session = open_session(path, graph.sha256, self._options)
        _check_signature(session, self._manifest, path)
        return session

    def _check_answer(self) -> None:
        """Ask the graph once: does it take so many channels and give as many numbers as there are labels?"""
        limits, rules = self._manifest.graph.limits or StepLimits(), self._manifest.numbers
        steps = rules.steps or limits.min_steps or 1
        try:
            self.logits([np.zeros((steps, len(rules.channels)), np.float32)])
        except PocketRNNError as error:
            raise BundleError(f"{error.problem}", _EXPORT_AGAIN) from None

    def start_anew(self) -> None:
        """Leave everything of onnxruntime to the process that this one was forked from; see
        `OnnxRuntimeEngine.start_anew`."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
        self._session = None
        self._lock = threading.RLock()


def _check_signature(session: onnxruntime.InferenceSession, manifest: NumberManifest, path: Path) -> None:
    """Compare the graph's inputs and outputs with classifier.json. A string or None in a shape is a dynamic axis."""
    known = {"samples": ("tensor(float)", 3), "lengths": ("tensor(int64)", 1)}
    expected = {name: known[name] for name in manifest.graph.inputs}
    inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
    outputs = {node.name: (node.type, len(node.shape)) for node in session.get_outputs()}
    if inputs != expected or outputs != {"logits": ("tensor(float)", 2)}:
        raise BundleError(
            f"{path} takes {signature_of(inputs)} and gives {signature_of(outputs)}; classifier.json says "
            f"{signature_of(expected)}, and logits (tensor(float), rank 2).",
            _EXPORT_AGAIN,
        )
    channels = session.get_inputs()[0].shape[2]
    if channels != len(manifest.numbers.channels):
        raise BundleError(
            f"{path} takes {channels} channels, and classifier.json names {len(manifest.numbers.channels)}.",
            _EXPORT_AGAIN,
        )
