"""NumberClassifier: a bundle that takes sequences of numbers, ready to answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.answers import Answers, Prediction
from pocketrnn.bundle.manifest import Limits, Manifest, read
from pocketrnn.bundle.packed_file import is_packed, takes_numbers
from pocketrnn.bundle.refused_texts import too_costly
from pocketrnn.bundle.zoo import bundle_folder
from pocketrnn.carried_stream import CarriedStream, Window
from pocketrnn.engines.batching import MAX_TOKENS
from pocketrnn.engines.engine import CPU, Engine, Floats, Options, checked_threads
from pocketrnn.engines.parallel import Workers
from pocketrnn.errors import BundleError, InputError, PocketRNNError, SequenceError, shown
from pocketrnn.estimator import TrainedEstimator
from pocketrnn.numbers.number_input import array_of, step_or_steps
from pocketrnn.numbers.range_watch import OutOfRange, RangeWatch
from pocketrnn.text.checked_texts import OnError

__all__ = ["NumberClassifier", "NumberStream", "Window"]

# So many sequences are prepared at a time.
_CHUNK: Final = 256
_log: Final = logging.getLogger(__name__)


class NumberClassifier(TrainedEstimator):
    """A classifier of sequences of numbers, read from a bundle. `Classifier.load` and `NumberClassifier.load` make one.

    A sequence is an array of numbers [time, channels] as the sensor gives them: what the module was trained on is made
    of it by the rules in the bundle. Of a single channel it may be [time]. Lists, tables with a column for each channel
    and arrays of Arrow are taken, too.

    Thread-safe. A pickled one is loaded again from its folder.

    Attributes:
        manifest: all that classifier.json says.

    Example:
        >>> clf = Classifier.load("walking")
        >>> clf.classify([[0.1, 0.2, 9.7], [0.3, 0.1, 9.9]]).label
        'standing'
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        engine: Engine,
        options: Options,
        threads: int = 1,
        out_of_range: str = "warn",
    ) -> None:
        self.manifest = manifest
        self._watch = RangeWatch(manifest.name, manifest.numbers, out_of_range)
        self._folder = folder
        self._options = options
        self._workers = Workers(threads)
        self._engine = engine
        self._gives_values = manifest.output.activation == "values"
        self._answers = Answers.of(manifest)

    @classmethod
    def load(
        cls,
        path_or_name: str | os.PathLike[str],
        *,
        threads: int = 1,
        max_batch_tokens: int = MAX_TOKENS,
        providers: Sequence[str] = (CPU,),
        trust: bool = False,
        out_of_range: OutOfRange = "warn",
    ) -> NumberClassifier:
        """Read and check a bundle, or a packed file.

        Args:
            path_or_name: a bundle's folder, its address on a model hub, or a file that `pocketrnn pack` wrote, which
                the native engine answers (pip install pocketrnn-native).
            threads: how many processor cores one call for several sequences may use.
            max_batch_tokens: how many steps one run of the graph may hold, padding included.
            providers: onnxruntime's execution providers, most wanted first.
            trust: allow graphs with any operator; see SECURITY.md.
            out_of_range: what becomes of numbers far outside of the range of the training rows, where the bundle knows
                it: `warn` says it once, `refuse` refuses the sequence, `ignore` does neither.

        Raises:
            InputError: an option cannot be used.
            BundleError: there is no such bundle, it is damaged, or takes texts.

        Example:
            >>> NumberClassifier.load("har")
            <NumberClassifier 'har': 3 channels, 6 labels>
        """
        checked_threads(threads)
        folder = bundle_folder(path_or_name)
        if is_packed(folder):
            options = Options(max_batch_tokens, tuple(providers), trust)
            return _of_packed(folder.absolute(), options, threads, out_of_range)
        # A packed classifier does without onnxruntime, which takes most of the time of a start.
        from pocketrnn.engines.onnxruntime import checked_options

        options = checked_options(max_batch_tokens, providers, trust=trust)
        return _of_bundle(folder.absolute(), read(folder), options, threads, out_of_range)

    @property
    def name(self) -> str:
        """What the classifier is called."""
        return self.manifest.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `predict_proba`; of values, their names."""
        return self.manifest.labels

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of a sequence, in their order."""
        return self.manifest.numbers.channels

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """For each label the probability from which `predict_labels` gives it; None where the bundle keeps none."""
        return self.manifest.output.thresholds

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the ONNX file says of itself."""
        return self._engine.metadata

    def prepared(self, sequence: object) -> Floats:
        """What the graph is given for a sequence, float32 [time, channels].

        Raises:
            SequenceError: it is no such sequence, or beyond the graph's limits.

        Example:
            >>> classifier.prepared([[0.1, 0.2, 9.7]]).shape
            (1, 3)
        """
        samples = self.manifest.numbers.prepared(sequence, self._watch)
        limits = self.manifest.graph.limits or Limits()
        if not limits.allow(len(samples)):
            short = len(samples) < (limits.min_tokens or 1)
            bound = f"at least {limits.min_tokens:,}" if short else f"at most {limits.max_tokens:,}"
            raise SequenceError(
                f"The sequence has {len(samples):,} steps, and {self.name} takes {bound}.",
                "Give a longer one." if short else "Divide it; a recording in windows: stream(window=...).",
            )
        return samples

    def check_arrived(self, samples: NDArray[Any], first: int) -> None:
        """Refuse samples [time, channels] of a recording that the rules refuse, or that are far outside of the training
        range where that is refused.

        Args:
            samples: as the sensor gives them.
            first: which step of the recording the first is.

        Raises:
            SequenceError: one is.

        Example:
            >>> classifier.check_arrived(np.array([[0.1, 0.2, 9.7]]), 0)
        """
        self.manifest.numbers.check_samples(samples, first)
        self._watch(self.manifest.numbers.in_units(samples), first)

    def classify(self, sequence: object, top: int = 1) -> Prediction:
        """Classify one sequence.

        Args:
            sequence: numbers [time, channels].
            top: how many labels to give.

        Raises:
            SequenceError: it is no such sequence, or beyond the graph's limits.
            InputError: `top` is out of its range, or the bundle gives values.

        Example:
            >>> classifier.classify([[0.1, 0.2, 9.7], [0.3, 0.1, 9.9]]).label
            'standing'
        """
        self._check_labels("values")
        self._answers.check_top(top)
        answer: Prediction
        (answer,) = self.answers_of([self.prepared(sequence)], top)
        return answer

    def classify_all(
        self, sequences: Iterable[object], *, top: int = 1, on_error: OnError = "raise"
    ) -> Iterator[Prediction | None]:
        """Yields predictions lazily, in the sequences' order; None for one that was skipped.

        Example:
            >>> [prediction.label for prediction in classifier.classify_all([[[0.1, 0.2, 9.7]]])]
            ['standing']
        """
        self._check_labels("values")
        self._answers.check_top(top)
        yield from self._answers.predictions(self._of_chunks(sequences, on_error), top)

    def predict(self, sequences: Iterable[object], *, on_error: OnError = "raise") -> Any:
        """The likeliest label of every sequence; of a bundle that gives values, `values`.

        Args:
            sequences: a list of arrays [time, channels], or one array [sequences, time, channels].
            on_error: what becomes of an item that is no such sequence: `raise` refuses it, `skip` gives None (NaN where
                there are values).

        Raises:
            SequenceError: an item is no such sequence, or beyond the graph's limits.

        Example:
            >>> classifier.predict([[[0.1, 0.2, 9.7], [0.3, 0.1, 9.9]]])
            ['standing']
        """
        if self._gives_values:
            return self.values(sequences, on_error=on_error)
        return self._answers.likeliest(self._of_chunks(sequences, on_error))

    def values(self, sequences: Iterable[object], *, on_error: OnError = "raise") -> Floats:
        """The values of every sequence, float32 [sequences, values], the columns in the order of `labels`.

        Raises:
            InputError: the bundle gives labels.
            SequenceError: as `predict`.

        Example:
            >>> forecast.values([[[0.4], [0.5]]]).shape
            (1, 1)
        """
        if not self._gives_values:
            raise InputError(f"{self.name} gives labels, not values.", "Use predict() or predict_proba().")
        return self.logits(sequences, on_error=on_error)

    def predict_proba(self, sequences: Iterable[object], *, on_error: OnError = "raise") -> Floats:
        """The probabilities of every label, float32 [sequences, labels].

        Raises:
            SequenceError: as `predict`.
            InputError: the bundle gives values.

        Example:
            >>> classifier.predict_proba([[[0.1, 0.2, 9.7]]]).shape
            (1, 6)
        """
        self._check_labels("values")
        return self._answers.probabilities(self.logits(sequences, on_error=on_error))

    def predict_labels(
        self, sequences: Iterable[object], threshold: float | None = None, *, on_error: OnError = "raise"
    ) -> list[tuple[str, ...]]:
        """Every label of every sequence that reaches its threshold; see `Classifier.predict_labels`.

        Example:
            >>> classifier.predict_labels([[[0.1, 0.2, 9.7]]], 0.5)
            [('standing',)]
        """
        return self._answers.labels_reached(self.predict_proba(sequences, on_error=on_error), threshold)

    def logits(self, sequences: Iterable[object], *, on_error: OnError = "raise") -> Floats:
        """The graph's own answers, float32 [sequences, labels].

        Raises:
            SequenceError: as `predict`.
            PocketRNNError: the graph fails, or its answers are NaN or infinite.

        Example:
            >>> classifier.logits([[[0.1, 0.2, 9.7]]]).shape
            (1, 6)
        """
        return self._answers.joined(self._of_chunks(sequences, on_error))

    def stream(
        self, *, window: int | None = None, hop: int | None = None, top: int = 1, saved: bytes | None = None
    ) -> NumberStream | CarriedStream:
        """A recording that arrives: answered window by window; or, where neither the bundle nor you say a window and
        the bundle was exported with `streaming=True`, for all samples so far, at the cost of the new ones.

        Args:
            window: how many steps are answered at once; by default as the bundle says.
            hop: how far the next window begins after; by default as the bundle says, else the window.
            top: how many labels an answer has.
            saved: what `CarriedStream.save` gave, to go on from there.

        Raises:
            InputError: neither the bundle nor you say a window, and it has no step graph; or a window cannot be one; or
                `saved` is damaged or another bundle's.

        Example:
            >>> stream = classifier.stream(window=128, hop=64)
            >>> [answer.start for answer in stream.push(np.zeros((200, 3)))]
            [0, 64]
        """
        windows = self._windows(window, hop, top)
        if windows is None:
            return self._carried(saved, top)
        if saved is not None:
            raise InputError("A stream in windows has no saved state.", "Leave out saved, or the window.")
        return windows

    def _windows(self, window: int | None, hop: int | None, top: int) -> NumberStream | None:
        """The stream of windows; None where neither the bundle nor the caller says of any."""
        rules = self.manifest.numbers
        size = window or rules.window or rules.steps
        if size is None and (self.manifest.stream is None or hop is not None):
            raise InputError(
                f"{self.name} does not say how long a window of a recording is.",
                "Say it: stream(window=128, hop=64); or export it with a window.",
            )
        after = hop or (rules.hop if window is None else None) or size
        if size is None or after is None:
            return None
        for name, number in (("window", size), ("hop", after)):
            if type(number) is not int or number < 1:
                raise InputError(f"{name} is {shown(number)}.", "Give a whole number from 1.")
        return NumberStream(self, size, after, top)

    def _carried(self, saved: bytes | None, top: int) -> CarriedStream:
        if not self._gives_values:
            self._answers.check_top(top)
        return CarriedStream(
            self.manifest, self._engine, lambda logits: self._answered_with(logits, top), saved, self._watch
        )

    def recording(
        self, recording: object, *, window: int | None = None, hop: int | None = None, top: int = 1
    ) -> list[Window]:
        """The answers to the windows of a whole recording; see `stream`. What is left at the end is not answered.

        Raises:
            SequenceError: it has fewer steps than a window.

        Example:
            >>> [window.start for window in classifier.recording(np.zeros((300, 3)), window=128, hop=64)]
            [0, 64, 128]
        """
        stream = self._windows(window, hop, top)
        if stream is None:
            return self._carried(None, top).push(recording)
        given = array_of(recording, self.channels)
        steps = len(given)
        if steps < stream.window:
            raise SequenceError(
                f"The recording has {steps:,} steps, fewer than a window of {stream.window:,}.",
                "Give a longer one; or in Python another window: recording(..., window=...).",
            )
        return stream.push(given)

    def answers_of(self, sequences: list[Floats], top: int) -> list[Any]:
        """The answers to sequences that `prepared` gave: predictions, or values.

        Example:
            >>> classifier.answers_of([classifier.prepared([[0.1, 0.2, 9.7]])], top=1)[0].label
            'standing'
        """
        return self._answered_with(self.logits_of_prepared(sequences), top)

    def _answered_with(self, logits: Floats, top: int) -> list[Any]:
        self._check_finite(logits)
        if self._gives_values:
            return list(logits)
        return [self._answers.prediction(row, top) for row in logits.tolist()]

    def logits_of_prepared(self, sequences: list[Floats]) -> Floats:
        """The logits of sequences as the graph is given them, float32 [time, channels] each: what the proof asks.

        Example:
            >>> classifier.logits_of_prepared([classifier.prepared([[0.1, 0.2, 9.7]])]).shape
            (1, 6)
        """
        if not sequences:
            return np.empty((0, len(self.labels)), np.float32)
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        logits, refused = self._engine.logits(np.concatenate(sequences), lengths)
        if refused:
            raise too_costly(self.name, "sequence")
        self._check_finite(logits)
        return logits

    def _check_finite(self, logits: Floats) -> None:
        # Values are finite, and logits have probabilities.
        answers = logits if self._gives_values else logits.max(1, initial=-np.inf)
        if len(logits) and not np.isfinite(answers).all():
            raise PocketRNNError(
                f"The graph of {self.name} answered with numbers that are NaN or infinite.",
                "Check the sequence: numbers far from those of training; then the bundle, with: pocketrnn verify",
            )

    def _of_chunks(
        self, sequences: Iterable[object], on_error: OnError
    ) -> Generator[tuple[Floats, set[int]], None, None]:
        """Chunk by chunk, in order: the logits, and the indices of what was skipped, whose logits mean nothing."""
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error is {shown(on_error)}.", "Use 'raise' or 'skip'.")
        skipped = 0
        work = partial(self._answered, on_error=on_error)
        for _, (logits, passed_over) in self._workers.mapped(work, _chunks(sequences)):
            skipped += len(passed_over)
            yield logits, passed_over
        if skipped:
            _log.warning("%s passed over %d items that are no sequences for it", self.name, skipped)

    def _answered(self, chunk: tuple[int, list[object]], on_error: OnError) -> tuple[Floats, set[int]]:
        first, items = chunk
        prepared: list[Floats] = []
        skipped: set[int] = set()
        for index, item in enumerate(items):
            try:
                prepared.append(self.prepared(item))
            except SequenceError as error:
                if on_error == "raise":
                    problem = error.problem.replace("The sequence", f"The sequence at position {first + index}", 1)
                    if problem == error.problem:
                        problem = f"Of the sequence at position {first + index}: {problem}"
                    raise SequenceError(problem, error.remedy) from None
                skipped.add(index)
        kept = [index for index in range(len(items)) if index not in skipped]
        logits = np.zeros((len(items), len(self.labels)), np.float32)
        logits[kept] = self.logits_of_prepared(prepared)
        return logits, skipped

    def _check_labels(self, instead: str) -> None:
        if self._gives_values:
            raise InputError(f"{self.name} gives values, not labels.", f"Use {instead}() or predict().")

    def __reduce__(self) -> tuple[Any, ...]:
        if is_packed(self._folder):
            return _of_packed, (self._folder, self._options, self._workers.threads, self._watch.out_of_range)
        return _of_bundle, (
            self._folder, self.manifest, self._options, self._workers.threads, self._watch.out_of_range,
        )  # fmt: skip

    def __repr__(self) -> str:
        what = "values" if self._gives_values else "labels"
        return f"<NumberClassifier {self.name!r}: {len(self.channels)} channels, {len(self.labels)} {what}>"


def _of_packed(path: Path, options: Options, threads: int, out_of_range: str = "warn") -> NumberClassifier:
    from pocketrnn.engines.native import NativeEngine

    if not takes_numbers(path):
        raise BundleError(f"{path} is of a classifier of texts.", "Use pocketrnn.Classifier.")
    engine = NativeEngine(path)
    return NumberClassifier(path, engine.manifest, engine, options, threads, out_of_range)


def _of_bundle(
    folder: Path, manifest: Manifest, options: Options, threads: int, out_of_range: str = "warn"
) -> NumberClassifier:
    from pocketrnn.engines.onnxruntime import OnnxRuntimeEngine

    engine = OnnxRuntimeEngine(folder, manifest, options)
    return NumberClassifier(folder, manifest, engine, options, threads, out_of_range)


def _chunks(sequences: Iterable[object]) -> Iterator[tuple[int, list[object]]]:
    if isinstance(sequences, str | bytes | Mapping) or not isinstance(sequences, Iterable):
        raise SequenceError(
            f"{shown(sequences, 40)} is no list of sequences.", "Give a list of arrays [time, channels]."
        )
    waiting, first = iter(sequences), 0
    while items := list(islice(waiting, _CHUNK)):
        yield first, items
        first += len(items)


class NumberStream:
    """A recording that arrives in pieces of any length; `NumberClassifier.stream` makes one. Not thread-safe.

    Attributes:
        window, hop: in steps.
    """

    def __init__(self, classifier: NumberClassifier, window: int, hop: int, top: int) -> None:
        self._classifier = classifier
        self._top = top
        self.window = window
        self.hop = hop
        self._held: NDArray[Any] = np.empty((0, len(classifier.channels)), np.float64)
        # The step at which what is held begins, and that of the next window.
        self._first = self._next = 0

    def push(self, samples: object) -> list[Window]:
        """The answers to the windows that are whole with these samples, in their order; none, one or several.

        Args:
            samples: the next steps, numbers [time, channels]; or one step, [channels].

        Raises:
            SequenceError: they are no such samples. The stream is then as it was before.

        Example:
            >>> classifier.stream(window=2).push([[0.1, 0.2, 9.7], [0.3, 0.1, 9.9]])[0].answer.label
            'standing'
        """
        given = step_or_steps(samples, self._classifier.channels)
        if self._classifier.manifest.numbers.integer_scale is None:
            # Whole numbers are numbers as others are.
            given = given.astype(np.float64)
        if len(self._held) and given.dtype.kind != self._held.dtype.kind:
            raise SequenceError(
                f"The samples are of {given.dtype}, and those before of {self._held.dtype}.",
                "Give all of a recording as integers, or all as floats.",
            )
        # Here, and not in each window that holds it: what is refused is no part of the recording.
        self._classifier.check_arrived(given, self._first + len(self._held))
        held = np.concatenate([self._held, given]) if len(self._held) else given
        starts = list(range(self._next, self._first + len(held) - self.window + 1, self.hop))
        prepared = [
            self._classifier.prepared(held[start - self._first : start - self._first + self.window]) for start in starts
        ]
        answers = self._classifier.answers_of(prepared, self._top)
        if starts:
            self._next = starts[-1] + self.hop
        # Of a window that begins later, nothing is held yet.
        dropped = min(self._next - self._first, len(held))
        self._held, self._first = held[dropped:].copy(), self._first + dropped
        return [Window(start, start + self.window, answer) for start, answer in zip(starts, answers, strict=True)]
