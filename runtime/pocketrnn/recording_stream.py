"""Answer a recording of numbers while it arrives: window by window, or for all samples so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Limits, Manifest
from pocketrnn.engines.engine import Engine, Floats
from pocketrnn.errors import InputError, SequenceError, short_repr
from pocketrnn.label_subset_and_prior import ChosenLabels
from pocketrnn.number_intake import NumberIntake
from pocketrnn.numbers.number_input import NumberInput, convert_sequence_to_array, convert_steps_to_array
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.saved_stream import decode_stream, encode_stream, make_damaged_stream_error

__all__ = ["CarriedStream", "NumberStream", "Window", "choose_window_and_hop"]


@dataclass(frozen=True, slots=True)
class Window:
    """The answer to one window of a recording, a number of consecutive steps.

    Attributes:
        start, stop: the index of the window's first step, from 0, and the index after its last step.
        answer: a `Prediction`; with several heads, a dict from each head's name to its `Prediction`; for a bundle that
            gives values, float32 [values].
    """

    start: int
    stop: int
    answer: Any


def choose_window_and_hop(manifest: Manifest, window: int | None, hop: int | None) -> tuple[int, int] | None:
    """Return the number of steps of a window, and the number of steps from the beginning of a window to the next.
    Return None if there is no window, and the bundle has a step graph, which answers without one.

    Args:
        window: the number of steps that the caller wants; None for the bundle's.
        hop: the number of steps that the caller wants; None for the bundle's, or else for the length of the window.

    Raises:
        InputError: there is no window, and `hop` is given or the bundle has no step graph; or a number is not a whole
            number of 1 or more.
    """
    rules = manifest.numbers
    size = window if window is not None else rules.window or rules.steps
    if size is None and (manifest.stream is None or hop is not None):
        raise InputError(
            f"{manifest.name} cannot answer a recording window by window, because no window is set.",
            "Give the number of steps of a window, as in stream(window=128, hop=64), or export the classifier with a "
            "window.",
        )
    after = hop if hop is not None else (rules.hop if window is None else None) or size
    if size is None or after is None:
        return None
    for name, number in (("window", size), ("hop", after)):
        if type(number) is not int or number < 1:
            raise InputError(
                f"{name} is {short_repr(number)}, but it must be a whole number of 1 or more.",
                "Give a number of time steps.",
            )
    return size, after


class CarriedStream:
    """A stream of a recording that answers for all samples so far. It keeps the state of the network, so that each push
    reads only the new samples.

    `Classifier.stream` makes one; a stream may be used by one thread at a time.

    Attributes:
        steps: how many steps were read.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        intake: NumberIntake,
        answers: Answers,
        top: int,
        saved: bytes | None = None,
        chosen: ChosenLabels | None = None,
    ) -> None:
        # Opened now, so that a fault of the step graph is reported before the first sample is read.
        engine.open_step()
        self._manifest, self._engine, self._intake = manifest, engine, intake
        self._answers, self._top, self._chosen = answers, top, chosen
        self.steps = 0
        # The type of the samples before; None if there were none, or if the stream was saved after them.
        self._dtype: np.dtype[Any] | None = None
        self._state: Floats = np.zeros((1, 0 if manifest.stream is None else manifest.stream.state_size), np.float32)
        self._logits: Floats | None = None
        if saved is not None:
            self._resume(saved)

    def push(self, samples: object) -> list[Window]:
        """Read the next samples, and answer for all samples so far. Return a list with one `Window` that begins at the
        first step of the recording.

        Args:
            samples: the next steps, numbers [time, channels]; or one step, [channels].

        Raises:
            SequenceError: the argument is not such samples, or the recording would have more steps than the graph
                takes. After an error, the stream is as it was before.

        Example:
            >>> stream = classifier.stream()                  # a bundle exported with streaming=True
            >>> stream.push([0.1, 0.2, 9.7])[0].answer.label
            'standing'
        """
        rules, limits = self._intake.input, self._manifest.graph.limits or Limits()
        given = convert_steps_to_array(samples, rules.channels, rules.integer_scale)
        _refuse_mixed_integers_and_floats(rules, given.dtype, self._dtype)
        prepared = rules.scaled(given, self.steps, self._intake.check_numbers)
        if not limits.allows_length(self.steps + len(prepared)):
            raise SequenceError(
                f"The recording has {self.steps + len(prepared):,} steps, but {self._manifest.name} takes at most "
                f"{limits.max_tokens:,}.",
                "Open another stream for the rest of the recording.",
            )
        logits, state = self._engine.step(prepared, self._state)
        chosen = logits if self._chosen is None else self._chosen.select_and_weight_logits_of_rows(logits)
        (answer,) = self._answers.make_predictions_or_values(chosen, self._top)
        self._logits, self._state, self.steps = logits, state, self.steps + len(prepared)
        self._dtype = given.dtype
        return [Window(0, self.steps, answer)]

    def answer_whole_recording(self, recording: object) -> list[Window]:
        """Answer for all samples of a complete recording, [time, channels]. Return a list with one `Window`."""
        return self.push(recording)

    def save(self) -> bytes:
        """Save the stream as some kilobytes of JSON. `Classifier.stream(saved=...)` continues it elsewhere with the
        same bundle.

        Example:
            >>> stream = classifier.stream(saved=stream.save())
        """
        return encode_stream(self._manifest, "steps", self.steps, self._state, self._logits)

    def _resume(self, saved: bytes) -> None:
        """Continue from a saved stream. Raise an InputError if it is damaged or comes from another bundle."""
        self.steps, self._state, self._logits = decode_stream(saved, self._manifest, "steps")
        if type(self.steps) is not int or self.steps < 0 or (self.steps > 0) != (self._logits is not None):
            raise make_damaged_stream_error("holds an impossible position")


class NumberStream:
    """A stream of a recording that arrives in pieces of any length and is answered in windows.

    `Classifier.stream` makes one; a stream may be used by one thread at a time.

    Attributes:
        window: how many steps a window has.
        hop: how many steps after the beginning of a window the next window begins.
    """

    def __init__(self, intake: NumberIntake, answers: Answers, window: int, hop: int, top: int) -> None:
        self._intake, self._answers, self._top = intake, answers, top
        self.window = window
        self.hop = hop
        # In the channels' units.
        self._held: NDArray[np.float64] = np.empty((0, len(intake.input.channels)), np.float64)
        self._dtype: np.dtype[Any] | None = None
        # The step at which the held samples begin, and the step at which the next window begins.
        self._first = self._next = 0

    def push(self, samples: object) -> list[Window]:
        """Read the next samples, and answer the windows that are now complete, in order. The list of answers may be
        empty.

        Args:
            samples: the next steps, numbers [time, channels]; or one step, [channels].

        Raises:
            SequenceError: the argument is not such samples. After an error, the stream is as it was before.

        Example:
            >>> classifier.stream(window=2).push([[0.1, 0.2, 9.7], [0.3, 0.1, 9.9]])[0].answer.label
            'standing'
        """
        rules = self._intake.input
        given = convert_steps_to_array(samples, rules.channels, rules.integer_scale)
        _refuse_mixed_integers_and_floats(rules, given.dtype, self._dtype if len(self._held) else None)
        # Checked here, and not in each window: refused samples do not become part of the recording.
        self._intake.check_arriving_samples(given, self._first + len(self._held))
        held = np.concatenate([self._held, rules.convert_to_channel_units(given)])
        starts = list(range(self._next, self._first + len(held) - self.window + 1, self.hop))
        prepared = [
            self._intake.prepared(held[start - self._first : start - self._first + self.window]) for start in starts
        ]
        answers = self._answers.make_predictions_or_values(
            self._intake.compute_logits_of_prepared_sequences(prepared), self._top
        )
        if starts:
            self._next = starts[-1] + self.hop
        # With a hop longer than the window, the next window may begin after all held samples.
        dropped = min(self._next - self._first, len(held))
        self._held, self._first, self._dtype = held[dropped:].copy(), self._first + dropped, given.dtype
        return [Window(start, start + self.window, answer) for start, answer in zip(starts, answers, strict=True)]

    def answer_whole_recording(self, recording: object) -> list[Window]:
        """Answer all windows of a complete recording. Its last steps are ignored if they do not fill a window. Raise a
        SequenceError if the recording has fewer steps than a window."""
        rules = self._intake.input
        given = convert_sequence_to_array(recording, rules.channels, rules.integer_scale)
        if len(given) < self.window:
            raise SequenceError(
                f"The recording has {len(given):,} steps, but a window needs {self.window:,}.",
                "Give a longer recording, or in Python a shorter window: recording(..., window=...).",
            )
        return self.push(given)


def _refuse_mixed_integers_and_floats(rules: NumberInput, given: np.dtype[Any], before: np.dtype[Any] | None) -> None:
    """Raise a SequenceError if a recording has both integers and floats, and the rules multiply integers by a factor.

    Args:
        before: the type of the samples before them; None if there are none.
    """
    if rules.integer_scale is not None and before is not None and (given.kind in "iu") != (before.kind in "iu"):
        raise SequenceError(
            f"The samples have the type {given}, but the earlier samples of the recording have the type {before}.",
            "Give all samples of a recording as integers, or all as floats.",
        )
