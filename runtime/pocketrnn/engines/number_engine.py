"""A classifier of numbers in onnxruntime: sequences in well-shaped runs of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Limits, Manifest
from pocketrnn.engines.batching import rectangle, runs
from pocketrnn.engines.engine import Floats, Options
from pocketrnn.engines.onnxruntime import GraphEngine, signature_of
from pocketrnn.errors import BundleError, PocketRNNError

__all__ = ["NumberEngine"]

_EXPORT_AGAIN: Final = "Export the bundle again."


class NumberEngine(GraphEngine):
    """The graph of a classifier of numbers.

    Args:
        folder: the bundle's folder.
        manifest: its classifier.json.
        options: how onnxruntime is asked to work; `max_batch_tokens` counts steps.

    Raises:
        BundleError: the graph is missing, damaged, or does not fit classifier.json.
    """

    _input = "samples"
    _input_type = ("tensor(float)", 3)
    _rows = "sequences"
    _steps_of_a_row = "steps"
    _without_step = (
        "while a recording arrives, but in windows",
        "Say how long a window is: stream(window=128, hop=64); or export it with streaming=True (--streaming).",
    )

    def __init__(self, folder: Path, manifest: Manifest, options: Options) -> None:
        self._manifest = manifest
        super().__init__(folder, manifest, options)
        self._check_answer()

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
        logits = np.empty((len(sequences), self._classes), np.float32)
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

    def step(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Read on from a state.

        Args:
            samples: float32 [time, channels], as the graph is given them.
            state: float32 [1, state_size]; before the first sample zeros.

        Returns:
            the logits of all that was read, float32 [1, labels]; the new state.

        Raises:
            InputError: the bundle has no step graph.
            PocketRNNError: the graph fails.
        """
        return self._read_on(samples[None], state)

    def _run(self, samples: Floats, lengths: NDArray[np.int64]) -> Floats:
        """One run: float32 [batch, time, channels], int64 [batch] -> float32 [batch, labels]."""
        logits, rows = self._output(self._whole(), "logits", samples, lengths), len(samples)
        if logits.shape != (rows, self._classes):
            raise PocketRNNError(
                f"The graph of {self._name} gave numbers of shape {list(logits.shape)}.", _EXPORT_AGAIN
            )
        return logits

    def _check_answer(self) -> None:
        """Ask the graph once: does it take so many channels and give as many numbers as there are labels?"""
        limits, rules = self._manifest.graph.limits or Limits(), self._manifest.numbers
        steps = rules.steps or limits.min_tokens or 1
        try:
            self.logits([np.zeros((steps, len(rules.channels)), np.float32)])
        except PocketRNNError as error:
            raise BundleError(f"{error.problem}", _EXPORT_AGAIN) from None

    def _check_signature(self, session: onnxruntime.InferenceSession, path: Path) -> None:
        manifest = self._manifest
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
