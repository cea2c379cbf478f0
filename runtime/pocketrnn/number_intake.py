"""Sequences of numbers as a classifier is given them: prepared within the limits, and answered by the engine."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.answers import Answers
from pocketrnn.bundle.manifest import Limits, Manifest
from pocketrnn.engines.engine import Engine, Floats, answered
from pocketrnn.errors import SequenceError, shown
from pocketrnn.numbers.range_watch import RangeWatch
from pocketrnn.text.checked_texts import OnError, check_on_error

__all__ = ["NumberIntake"]

# So many sequences are prepared at a time.
_CHUNK: Final = 256
# The position of the first among all, and the sequences.
_Chunk = tuple[int, list[object]]


class NumberIntake:
    """Makes an engine's input of users' sequences of numbers.

    Args:
        manifest: of a classifier of numbers.
        engine: who answers samples.
        answers: what the logits mean.
        out_of_range: what becomes of numbers far outside of those of training: `warn`, `refuse` or `ignore`.

    Attributes:
        input: channels, their scale, steps.
        watch: what looks at samples before they are scaled.

    Raises:
        InputError: `out_of_range` is none of these.
    """

    kinds_skipped: Final = ("that are not sequences for it",)

    def __init__(self, manifest: Manifest, engine: Engine, answers: Answers, out_of_range: str = "warn") -> None:
        self._name, self._engine, self._answers = manifest.name, engine, answers
        self._limits = manifest.graph.limits or Limits()
        self.input = manifest.numbers
        self.watch = RangeWatch(manifest.name, self.input, out_of_range)

    def logits_of_one(self, sequence: object) -> list[float]:
        """The logits of one sequence.

        Raises:
            SequenceError: it is not such a sequence, or beyond the limits.
        """
        return self._engine.logits_of_one(self.prepared(sequence)[None])

    def prepared(self, sequence: object) -> Floats:
        """The input of the graph for a sequence, float32 [time, channels].

        Raises:
            SequenceError: it is not such a sequence, or beyond the limits.
        """
        samples, limits = self.input.prepared(sequence, self.watch), self._limits
        if not limits.allow(len(samples)):
            short = len(samples) < (limits.min_tokens or 1)
            bound = f"at least {limits.min_tokens:,}" if short else f"at most {limits.max_tokens:,}"
            raise SequenceError(
                f"The sequence has {len(samples):,} steps, and {self._name} takes {bound}.",
                "Give a longer one." if short else "Divide it; a recording in windows: stream(window=...).",
            )
        return samples

    def check_arrived(self, samples: NDArray[Any], first: int) -> None:
        """Refuse samples [time, channels] of a recording that are infinite or missing, or that are far outside of the
        training range where that is refused.

        Args:
            samples: as the sensor gives them.
            first: which step of the recording the first is.

        Raises:
            SequenceError: one is.
        """
        self.input.check_samples(samples, first)
        self.watch(self.input.in_units(samples), first)

    def answered_by(self, engine: Engine, answers: Answers) -> NumberIntake:
        """The same for another engine."""
        other = copy.copy(self)
        other._engine, other._answers = engine, answers
        return other

    def chunks(self, sequences: Iterable[object], on_error: OnError, threads: int) -> Iterator[_Chunk]:  # noqa: ARG002
        """Sequences, some at a time; each is checked where it is answered.

        Raises:
            SequenceError: `sequences` is not a list of sequences.
            InputError: `on_error` is neither `raise` nor `skip`.
        """
        check_on_error(on_error)
        if isinstance(sequences, str | bytes | Mapping) or not isinstance(sequences, Iterable):
            raise SequenceError(
                f"{shown(sequences, 40)} is not a list of sequences.", "Give a list of arrays [time, channels]."
            )
        return _chunks(iter(sequences))

    def logits(self, chunk: _Chunk, on_error: OnError) -> tuple[Floats, list[int]]:
        """float32 [sequences, labels], and the indices of what was skipped, whose logits mean nothing.

        Raises:
            SequenceError: one is not such a sequence, where errors are raised.
        """
        first, items = chunk
        prepared: list[Floats] = []
        kept, skipped = [], []
        for index, item in enumerate(items):
            try:
                prepared.append(self.prepared(item))
                kept.append(index)
            except SequenceError as error:
                if on_error == "raise":
                    raise _named(error, first + index) from None
                skipped.append(index)
        logits = np.zeros((len(items), len(self._answers.labels)), np.float32)
        logits[kept] = self.logits_of_prepared(prepared)
        return logits, skipped

    def logits_of_prepared(self, sequences: list[Floats]) -> Floats:
        """The logits of sequences as the graph is given them, float32 [time, channels] each.

        Raises:
            LimitError: one would take more than the native engine allows.
        """
        if not sequences:
            return np.empty((0, len(self._answers.labels)), np.float32)
        logits = answered(self._engine, self._name, sequences)
        self._answers.check_finite(logits)
        return logits

    def stop(self) -> None:
        """Nothing is to be ended: what the engine does for a sequence is short."""


def _chunks(waiting: Iterator[object]) -> Iterator[_Chunk]:
    first = 0
    while items := list(islice(waiting, _CHUNK)):
        yield first, items
        first += len(items)


def _named(error: SequenceError, position: int) -> SequenceError:
    """The error of a sequence, with its position among all."""
    problem = error.problem.replace("The sequence", f"The sequence at position {position}", 1)
    if problem == error.problem:
        problem = f"The sequence at position {position}: {problem}"
    return SequenceError(problem, error.remedy)
