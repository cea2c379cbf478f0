"""Check and prepare users' sequences of numbers, and run the engine on them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Limits, Manifest
from pocketrnn.engines.engine import Engine, Floats, compute_logits
from pocketrnn.errors import SequenceError, replace_error_subject, short_repr
from pocketrnn.numbers.training_range import TrainingRangeCheck
from pocketrnn.predictions_from_logits import Answers, LogitsAndSkipped
from pocketrnn.text.chunks_of_checked_texts import OnError, check_on_error

__all__ = ["NumberIntake"]

# How many sequences are prepared at a time.
_CHUNK: Final = 256
# The position of a chunk's first sequence among all, and the chunk's sequences.
_FirstIndexAndSequences = tuple[int, list[object]]


class NumberIntake:
    """Converts users' sequences of numbers to the engine's input, and runs the engine on them.

    Args:
        answers: turns logits into labels and probabilities, or values.
        out_of_range: what to do about numbers far outside the training range: `warn`, `refuse` or `ignore`.

    Attributes:
        input: the rules for channels, scale and steps.
        check_numbers: called with samples before they are scaled; warns of numbers far outside the training range, or
            refuses them.

    Raises:
        InputError: `out_of_range` has another value.
    """

    skip_reasons: Final = ("that are not valid sequences of numbers",)

    def __init__(self, manifest: Manifest, engine: Engine, answers: Answers, out_of_range: str = "warn") -> None:
        self._name, self._engine, self._answers = manifest.name, engine, answers
        self._limits = manifest.graph.limits or Limits()
        self.input = manifest.numbers
        self.check_numbers = TrainingRangeCheck(manifest.name, self.input, out_of_range)

    def compute_item_logits(self, sequence: object) -> list[float]:
        """Compute the logits of one sequence. Raise a SequenceError if the argument is not a sequence that the
        classifier takes, or is too short or too long for the graph."""
        return self._engine.compute_item_logits(self.prepared(sequence)[None])

    def prepared(self, sequence: object) -> Floats:
        """Prepare a sequence as the graph's input, float32 [time, channels]. Raise a SequenceError if the argument is
        not a sequence that the classifier takes, or is too short or too long for the graph."""
        samples, limits = self.input.prepared(sequence, self.check_numbers), self._limits
        if not limits.allows_length(len(samples)):
            short = len(samples) < (limits.min_tokens or 1)
            bound = f"at least {limits.min_tokens:,}" if short else f"at most {limits.max_tokens:,}"
            raise SequenceError(
                f"The sequence has {len(samples):,} steps, but {self._name} takes {bound}.",
                "Give a longer sequence."
                if short
                else "Divide the sequence, or call stream(window=...) to answer a recording window by window.",
            )
        return samples

    def check_arriving_samples(self, samples: NDArray[Any], first_step: int) -> None:
        """Check samples of a recording, [time, channels], as they arrive: they must be finite. A missing sample is
        accepted if the rules have a value for it.

        If the user chose `refuse`, samples far outside the training range are refused, too.

        Args:
            samples: the samples as the sensor gives them.
            first_step: the index in the recording of the first of these steps.

        Raises:
            SequenceError: a sample is refused.
        """
        self.input.check_samples(samples, first_step)
        self.check_numbers(self.input.convert_to_channel_units(samples), first_step)

    def copy_with_engine(self, engine: Engine, answers: Answers) -> NumberIntake:
        """Return a copy of this object with another engine, and with other `Answers` for its logits."""
        other = copy.copy(self)
        other._engine, other._answers = engine, answers
        return other

    def divide_into_chunks(
        self,
        sequences: Iterable[object],
        on_error: OnError,
        threads: int,  # noqa: ARG002 - as for texts
    ) -> Iterator[_FirstIndexAndSequences]:
        """Divide sequences into chunks of at most 256 sequences. The sequences themselves are checked later, when they
        are answered. `threads` is ignored.

        Raises:
            SequenceError: `sequences` is not a list or another iterable of sequences.
            InputError: `on_error` is neither `raise` nor `skip`.
        """
        check_on_error(on_error)
        if isinstance(sequences, str | bytes | Mapping) or not isinstance(sequences, Iterable):
            raise SequenceError(
                f"A list of sequences is needed, but {short_repr(sequences, 40)} was given.",
                "Give a list of arrays [time, channels].",
            )
        return _divide_into_chunks(iter(sequences))

    def compute_chunk_logits(self, chunk: _FirstIndexAndSequences, on_error: OnError) -> LogitsAndSkipped:
        """Compute the logits of a chunk, float32 [sequences, labels]; also return the indices in the chunk of the
        skipped sequences, whose rows of logits have no meaning. Raise a SequenceError if the classifier does not take
        one of the sequences, and `on_error` is `raise`."""
        first, items = chunk
        prepared: list[Floats] = []
        kept, skipped = [], []
        for index, item in enumerate(items):
            try:
                prepared.append(self.prepared(item))
                kept.append(index)
            except SequenceError as error:
                if on_error == "raise":
                    name = f"The sequence at position {first + index}"
                    raise replace_error_subject(error, "The sequence", name) from None
                skipped.append(index)
        logits = np.zeros((len(items), len(self._answers.labels)), np.float32)
        logits[kept] = self.compute_logits_of_prepared_sequences(prepared)
        return logits, skipped

    def compute_logits_of_prepared_sequences(self, sequences: list[Floats]) -> Floats:
        """Compute the logits of sequences that are prepared already, each float32 [time, channels]. The list may be
        empty. Raise a LimitError if a sequence would take more memory or time than the native engine allows."""
        if not sequences:
            return np.empty((0, len(self._answers.labels)), np.float32)
        logits = compute_logits(self._engine, self._name, sequences)
        self._answers.check_finite(logits)
        return logits

    def stop(self) -> None:
        """Do nothing: the engine's work for one sequence is short, so a signal need not interrupt it."""


def _divide_into_chunks(sequences: Iterator[object]) -> Iterator[_FirstIndexAndSequences]:
    """Yield chunks of at most 256 sequences, each with the index of its first sequence."""
    first = 0
    while items := list(islice(sequences, _CHUNK)):
        yield first, items
        first += len(items)
