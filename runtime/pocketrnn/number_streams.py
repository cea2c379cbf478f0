"""A recording of numbers that arrives: answered in windows, or by a state that is carried from sample to sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketrnn.answers import Answers
from pocketrnn.bundle.manifest import Limits, Manifest
from pocketrnn.chosen_labels import ChosenLabels
from pocketrnn.engines.engine import Engine, Floats
from pocketrnn.errors import InputError, SequenceError, shown
from pocketrnn.number_intake import NumberIntake
from pocketrnn.numbers.number_input import array_of, step_or_steps
from pocketrnn.saved_stream import damaged, resumed, written

__all__ = ["CarriedStream", "NumberStream", "Window", "window_and_hop"]


@dataclass(frozen=True, slots=True)
class Window:
    """The answer to one window of a recording.

    Attributes:
        start, stop: its first step, counted from 0, and the one after its last.
        answer: a `Prediction`; of a bundle that gives values, float32 [values].
    """

    start: int
    stop: int
    answer: Any


def window_and_hop(manifest: Manifest, window: int | None, hop: int | None) -> tuple[int, int] | None:
    """How many steps of a recording are answered at once, and how far the next begin after; None where neither the
    bundle nor the caller says, and the bundle can carry a state.

    Raises:
        InputError: nobody says and it cannot; or a number is none from 1.

    Example:
        >>> window_and_hop(manifest, window=128, hop=None)
        (128, 128)
    """
    rules = manifest.numbers
    size = window or rules.window or rules.steps
    if size is None and (manifest.stream is None or hop is not None):
        raise InputError(
            f"{manifest.name} does not say how long a window of a recording is.",
            "Say it: stream(window=128, hop=64); or export it with a window.",
        )
    after = hop or (rules.hop if window is None else None) or size
    if size is None or after is None:
        return None
    for name, number in (("window", size), ("hop", after)):
        if type(number) is not int or number < 1:
            raise InputError(f"{name} is {shown(number)}.", "Give a whole number from 1.")
    return size, after


class CarriedStream:
    """A recording that arrives, answered for all samples so far at the cost of the new ones; `Classifier.stream`
    makes one. For one thread at a time.

    Attributes:
        steps: how many were read.
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
        # Opened now, so that what is wrong with the step graph is said before any sample is read.
        engine.open_step()
        self._manifest, self._engine, self._intake = manifest, engine, intake
        self._answers, self._top, self._chosen = answers, top, chosen
        self.steps = 0
        self._state: Floats = np.zeros((1, 0 if manifest.stream is None else manifest.stream.state_size), np.float32)
        self._logits: Floats | None = None
        if saved is not None:
            self._resume(saved)

    def push(self, samples: object) -> list[Window]:
        """The answer to all samples so far, as the one window that they are.

        Args:
            samples: the next steps, numbers [time, channels]; or one step, [channels].

        Raises:
            SequenceError: they are not such samples, or the recording gets more steps than the graph takes. The stream
                is then as it was before.

        Example:
            >>> stream = classifier.stream()                  # of a bundle exported with streaming=True
            >>> stream.push([0.1, 0.2, 9.7])[0].answer.label
            'standing'
        """
        rules, limits = self._intake.input, self._manifest.graph.limits or Limits()
        given = step_or_steps(samples, rules.channels)
        prepared = rules.scaled(given, self.steps, self._intake.watch)
        if not limits.allow(self.steps + len(prepared)):
            raise SequenceError(
                f"The recording has {self.steps + len(prepared):,} steps, and {self._manifest.name} takes at most "
                f"{limits.max_tokens:,}.",
                "Begin another stream.",
            )
        logits, state = self._engine.step(prepared, self._state)
        given = logits if self._chosen is None else self._chosen.of_rows(logits)
        (answer,) = self._answers.answered(given, self._top)
        self._logits, self._state, self.steps = logits, state, self.steps + len(prepared)
        return [Window(0, self.steps, answer)]

    def whole(self, recording: object) -> list[Window]:
        """The answer to a whole recording, as `push` gives it."""
        return self.push(recording)

    def save(self) -> bytes:
        """All that is needed to go on elsewhere, with `stream(saved=...)` of the same bundle: JSON, some kilobytes.

        Example:
            >>> stream = classifier.stream(saved=stream.save())
        """
        return written(self._manifest, {"steps": self.steps}, self._state, self._logits)

    def _resume(self, saved: bytes) -> None:
        self.steps, self._state, self._logits = resumed(saved, self._manifest, "steps")
        if type(self.steps) is not int or self.steps < 0 or (self.steps > 0) != (self._logits is not None):
            raise damaged("says where it stands in a way that cannot be")


class NumberStream:
    """A recording that arrives in pieces of any length; `Classifier.stream` makes one. Not thread-safe.

    Attributes:
        window, hop: in steps.
    """

    def __init__(self, intake: NumberIntake, answers: Answers, window: int, hop: int, top: int) -> None:
        self._intake, self._answers, self._top = intake, answers, top
        self.window = window
        self.hop = hop
        self._held: NDArray[Any] = np.empty((0, len(intake.input.channels)), np.float64)
        # The step at which what is held begins, and that of the next window.
        self._first = self._next = 0

    def push(self, samples: object) -> list[Window]:
        """The answers to the windows that are whole with these samples, in their order; none, one or several.

        Args:
            samples: the next steps, numbers [time, channels]; or one step, [channels].

        Raises:
            SequenceError: they are not such samples. The stream is then as it was before.

        Example:
            >>> classifier.stream(window=2).push([[0.1, 0.2, 9.7], [0.3, 0.1, 9.9]])[0].answer.label
            'standing'
        """
        given = step_or_steps(samples, self._intake.input.channels)
        if self._intake.input.integer_scale is None:
            # Whole numbers are numbers as others are.
            given = given.astype(np.float64)
        if len(self._held) and given.dtype.kind != self._held.dtype.kind:
            raise SequenceError(
                f"The samples have the type {given.dtype}, and those before {self._held.dtype}.",
                "Give all of a recording as integers, or all as floats.",
            )
        # Here, and not in each window that holds it: what is refused is not part of the recording.
        self._intake.check_arrived(given, self._first + len(self._held))
        held = np.concatenate([self._held, given]) if len(self._held) else given
        starts = list(range(self._next, self._first + len(held) - self.window + 1, self.hop))
        prepared = [
            self._intake.prepared(held[start - self._first : start - self._first + self.window]) for start in starts
        ]
        answers = self._answers.answered(self._intake.logits_of_prepared(prepared), self._top)
        if starts:
            self._next = starts[-1] + self.hop
        # The steps of a window that begins later are not held yet.
        dropped = min(self._next - self._first, len(held))
        self._held, self._first = held[dropped:].copy(), self._first + dropped
        return [Window(start, start + self.window, answer) for start, answer in zip(starts, answers, strict=True)]

    def whole(self, recording: object) -> list[Window]:
        """The answers to the windows of a whole recording.

        Raises:
            SequenceError: it has fewer steps than a window.
        """
        given = array_of(recording, self._intake.input.channels)
        if len(given) < self.window:
            raise SequenceError(
                f"The recording has {len(given):,} steps, fewer than a window of {self.window:,}.",
                "Give a longer one; or in Python another window: recording(..., window=...).",
            )
        return self.push(given)
