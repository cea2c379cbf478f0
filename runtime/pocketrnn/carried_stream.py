"""A recording of numbers that arrives, whose state is carried from sample to sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.manifest import Limits, Manifest
from pocketrnn.engines.engine import Engine, Floats
from pocketrnn.errors import InputError, SequenceError
from pocketrnn.numbers.number_input import Watch, step_or_steps
from pocketrnn.saved_stream import as_floats, as_text, bundle_digest, damaged, parsed, written

__all__ = ["CarriedStream", "Window"]

_MEMBERS: Final = frozenset({"bundle", "steps", "state", "logits"})


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


class CarriedStream:
    """A recording that arrives, answered for all samples so far at the cost of the new ones; `NumberClassifier.stream`
    makes one. For one thread at a time.

    Attributes:
        steps: how many were read.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        answers_of: Callable[[Floats], list[Any]],
        saved: bytes | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._watch = watch
        # Opened now, so that what is wrong with the step graph is said before any sample is read.
        engine.open_step()
        self._manifest, self._engine, self._answers_of = manifest, engine, answers_of
        self._size = 0 if manifest.stream is None else manifest.stream.state_size
        self.steps = 0
        self._state: Floats = np.zeros((1, self._size), np.float32)
        self._logits: Floats | None = None
        if saved is not None:
            self._resume(saved)

    def push(self, samples: object) -> list[Window]:
        """The answer to all samples so far, as the one window that they are.

        Args:
            samples: the next steps, numbers [time, channels]; or one step, [channels].

        Raises:
            SequenceError: they are no such samples, or the recording gets more steps than the graph takes. The stream
                is then as it was before.

        Example:
            >>> stream = classifier.stream()                  # of a bundle exported with streaming=True
            >>> stream.push([0.1, 0.2, 9.7])[0].answer.label
            'standing'
        """
        rules, limits = self._manifest.numbers, self._manifest.graph.limits or Limits()
        given = step_or_steps(samples, rules.channels)
        prepared = rules.scaled(given, self.steps, self._watch)
        if not limits.allow(self.steps + len(prepared)):
            raise SequenceError(
                f"The recording has {self.steps + len(prepared):,} steps, and {self._manifest.name} takes at most "
                f"{limits.max_tokens:,}.",
                "Begin another stream.",
            )
        logits, state = self._engine.step(prepared, self._state)
        (answer,) = self._answers_of(logits)
        self._logits, self._state, self.steps = logits, state, self.steps + len(prepared)
        return [Window(0, self.steps, answer)]

    def save(self) -> bytes:
        """All that is needed to go on elsewhere, with `stream(saved=...)` of the same bundle: JSON, some kilobytes.

        Example:
            >>> stream = classifier.stream(saved=stream.save())
        """
        logits = None if self._logits is None else as_text(self._logits)
        return written({
            "bundle": bundle_digest(self._manifest), "steps": self.steps, "state": as_text(self._state),
            "logits": logits,
        })  # fmt: skip

    def _resume(self, saved: bytes) -> None:
        document = parsed(saved, _MEMBERS)
        if document["bundle"] != bundle_digest(self._manifest):
            raise InputError(
                f"The stream was saved by another bundle than {self._manifest.name}.",
                "Resume it with the bundle that it was begun with, byte for byte.",
            )
        steps, logits = document["steps"], document["logits"]
        if type(steps) is not int or steps < 0 or (steps > 0) != (logits is not None):
            raise damaged("says where it stands in a way that cannot be")
        self.steps = steps
        self._state = as_floats(document["state"], self._size)
        self._logits = None if logits is None else as_floats(logits, len(self._manifest.labels))
