"""The interface of an engine, as a Classifier needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.refused_texts import too_costly
from pocketrnn.engines.batching import MAX_TOKENS, Steps
from pocketrnn.errors import InputError
from pocketrnn.text.text_input import TextInput

__all__ = [
    "CPU",
    "Answered",
    "Engine",
    "Floats",
    "Ids",
    "Options",
    "ReadsTexts",
    "Steps",
    "Words",
    "answered",
    "checked_threads",
    "padding_of",
    "type_of",
    "words_of",
]

CPU: Final = "CPUExecutionProvider"
_MOST_THREADS: Final = 1024
Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Words:
    """The words of messages for a text or a sequence of numbers and for each of its steps; and the problem and the
    remedy where none can be read on because the bundle has no step graph, or the packed file no step."""

    row: str
    step: str
    without_step_graph: tuple[str, str]
    without_step: tuple[str, str]


_OF_TEXTS: Final = Words(
    "text",
    "token",
    (
        "while a text arrives",
        "If it reads in one direction, `pocketrnn pack BUNDLE --streaming -o FILE.prnn`; if not, train one that does "
        "with `pocketrnn train DATA --one-direction`.",
    ),
    (
        "while a text arrives",
        "Pack the bundle with --streaming, which classifiers allow that read in one direction.",
    ),
)
_OF_NUMBERS: Final = Words(
    "sequence",
    "step",
    (
        "while a recording arrives, but in windows",
        "Say how long a window is: stream(window=128, hop=64); or export it with streaming=True (--streaming).",
    ),
    (
        "while a recording arrives, but in windows",
        "Say how long a window is: stream(window=128, hop=64); or pack its bundle with --streaming.",
    ),
)


def words_of(manifest: Manifest) -> Words:
    """The words of messages about a bundle.

    Example:
        >>> words_of(Classifier.load("ag_news").manifest).row
        'text'
    """
    return _OF_TEXTS if isinstance(manifest.input, TextInput) else _OF_NUMBERS


def type_of(manifest: Manifest) -> type[np.int64 | np.float32]:
    """The type of a step for the graph: an id, or numbers.

    Example:
        >>> type_of(Classifier.load("ag_news").manifest).__name__
        'int64'
    """
    return np.int64 if isinstance(manifest.input, TextInput) else np.float32


def padding_of(manifest: Manifest) -> float:
    """The padding after a shorter text or sequence in a run: an id, or a number.

    Example:
        >>> padding_of(Classifier.load("ag_news").manifest)
        1
    """
    given = manifest.input
    return given.rules.padding_id if isinstance(given, TextInput) else given.pad_value


def checked_threads(threads: int) -> int:
    """How many threads one call may use.

    Raises:
        InputError: it is not a whole number from 1, or too many.

    Example:
        >>> checked_threads(2)
        2
    """
    if not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise InputError(f"threads is {threads!r}.", f"Use a whole number from 1 to {_MOST_THREADS}.")
    return threads


class Answered(NamedTuple):
    """The logits of many texts.

    Attributes:
        logits: float32 [texts, labels]; [tokens of all texts, labels] where the labels are of tokens.
        refused: the indices of texts that are not answered, in their order: the engine bounds what a text may take, and
            they would take more, or lead to larger whole numbers than it has. Their logits mean nothing.
    """

    logits: Floats
    refused: list[int]


@dataclass(frozen=True)
class Options:
    """How onnxruntime is asked to work; see `Classifier.load`. The native engine has no use for them."""

    max_batch_tokens: int = MAX_TOKENS
    providers: tuple[str, ...] = (CPU,)
    trust: bool = False


class Engine(Protocol):
    """Logits of steps: of a text its token ids, of a sequence its samples as the graph is given them. Several threads
    may use one engine at the same time, also in a process that was forked.

    How texts share a run, and what a run may hold, is the engine's own affair.
    """

    @property
    def metadata(self) -> Mapping[str, str]:
        """The graph's metadata."""
        ...

    def logits_of_one(self, steps: Steps) -> list[float]:
        """The logits of one text or sequence.

        Args:
            steps: its ids, int64 [1, tokens], or samples, float32 [1, time, channels]; at least one.

        Raises:
            LimitError: the engine bounds what a text may take, and this one would take more.
            PocketRNNError: the graph fails, for instance because the text is too long for this machine's memory.
        """
        ...

    def logits(self, steps: Steps, lengths: Ids) -> Answered:
        """The logits of many texts or sequences.

        Args:
            steps: int64 [tokens of all texts], or float32 [time of all sequences, channels], one's after the other's.
            lengths: int64 [texts], how many steps each has, at least 1.

        Raises:
            PocketRNNError: the graph fails.
        """
        ...

    def embeddings(self, steps: Steps, lengths: Ids) -> Answered:
        """The numbers before the last linear layer, in place of the logits: float32 [texts, features].

        Args:
            steps: as for `Engine.logits`.
            lengths: as for `Engine.logits`.

        Raises:
            InputError: the graph has no last linear layer that is given one row of numbers for each text.
            PocketRNNError: the graph fails.
        """
        ...

    def open_step(self) -> None:
        """Open the step graph, so that what is wrong with it is said before anything is read.

        Raises:
            InputError: the bundle has no step graph.
            BundleError: the step graph is damaged or does not fit its classifier.json.
        """
        ...

    def step(self, steps: Sequence[int] | Floats, state: Floats) -> tuple[Floats, Floats]:
        """Read on.

        Args:
            steps: the new token ids, or samples float32 [time, channels]; at least one.
            state: the state before them, float32 [1, state_size].

        Returns:
            the logits, float32 [1, labels], and the state after them, float32 [1, state_size].

        Raises:
            LimitError: as `logits_of_one`.
            PocketRNNError: the graph fails.
        """
        ...


def answered(engine: Engine, name: str, rows: Sequence[NDArray[Any]]) -> Floats:
    """The logits of texts or sequences of which none may be refused.

    Args:
        engine: who answers.
        name: what the classifier is called.
        rows: int64 [tokens] or float32 [time, channels] each, at least one of at least one step.

    Returns:
        float32 [rows, labels]; [tokens of all rows, labels] where the labels are of tokens.

    Raises:
        LimitError: one is not answered by the native engine, which allows no more work or larger whole numbers.
        PocketRNNError: the graph fails.

    Example:
        >>> answered(engine, "news", [np.array([17, 254])]).shape
        (1, 4)
    """
    steps: Any = np.concatenate(rows)
    logits, refused = engine.logits(steps, np.array([len(row) for row in rows], np.int64))
    if refused:
        # Asked for alone, it is refused with the reason.
        engine.logits_of_one(rows[refused[0]][None])
        raise too_costly(name)
    return logits


@runtime_checkable
class ReadsTexts(Protocol):
    """An engine that makes token ids itself, by the same rules, in less time."""

    def logits_of_text(self, text: str) -> list[float] | None:
        """One text's logits; None where it is beyond the limits of the manifest.

        Raises:
            LimitError: the text would take more memory or time than the engine allows.
            PocketRNNError: the logits cannot be computed.
        """
        ...

    def logits_of_texts(self, texts: Sequence[str]) -> Answered:
        """The logits of many texts. Refused are also those beyond the limits of the manifest.

        Raises:
            PocketRNNError: the logits cannot be computed.
        """
        ...

    def stop(self) -> None:
        """End the calls of all threads that are under way; they raise."""
        ...
