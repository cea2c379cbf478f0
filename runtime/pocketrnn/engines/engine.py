"""The interface that every engine implements and that Classifier uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.texts_beyond_limits import make_engine_memory_or_time_error
from pocketrnn.engines.batching import MAX_TOKENS, Steps
from pocketrnn.errors import InputError
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.token_characters import make_row_without_characters

__all__ = [
    "CPU",
    "Engine",
    "EngineAnswer",
    "Floats",
    "Ids",
    "MessageWords",
    "Options",
    "Steps",
    "TextEngine",
    "check_threads",
    "choose_message_words",
    "choose_padding_value",
    "compute_logits",
    "find_step_dtype",
]

CPU: Final = "CPUExecutionProvider"
_MOST_THREADS: Final = 1024
Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class MessageWords:
    """The words with which messages name a classifier's input: a text of tokens, or a sequence of steps.

    Attributes:
        row: one input of the classifier: `text` or `sequence`.
        step: one element of an input: `token` or `step`.
        arrival: the end of the phrase "cannot answer ..." for a classifier without streaming: `while a text arrives`.
        step_graph_remedy: what to do about a bundle without a step graph.
        step_program_remedy: what to do about a packed file without a step program.
    """

    row: str
    step: str
    arrival: str
    step_graph_remedy: str
    step_program_remedy: str


_WORDS_FOR_TEXTS: Final = MessageWords(
    "text",
    "token",
    "while a text arrives",
    "If it reads in one direction, `pocketrnn pack BUNDLE --streaming -o FILE.prnn`; if not, train one that does "
    "with `pocketrnn train DATA --one-direction`.",
    "Pack the bundle with --streaming, which classifiers allow that read in one direction.",
)
_WINDOWS: Final = "Say how long a window is: stream(window=128, hop=64); or"
_WORDS_FOR_NUMBERS: Final = MessageWords(
    "sequence",
    "step",
    "while a recording arrives, but in windows",
    f"{_WINDOWS} export it with streaming=True (--streaming).",
    f"{_WINDOWS} pack its bundle with --streaming.",
)


def choose_message_words(manifest: Manifest) -> MessageWords:
    """Choose the words for messages about the input of a classifier of texts, or of numbers."""
    return _WORDS_FOR_TEXTS if isinstance(manifest.input, TextInput) else _WORDS_FOR_NUMBERS


def find_step_dtype(manifest: Manifest) -> type[np.int64 | np.float32]:
    """Return the dtype of the graph's input: int64 for token ids, float32 for samples."""
    return np.int64 if isinstance(manifest.input, TextInput) else np.float32


def choose_padding_value(manifest: Manifest) -> float | list[int]:
    """Choose what pads short rows in a run of the graph: the padding id for texts, a number for sequences. If the
    module reads the characters of tokens, choose a list: the padding id, then the ids of its characters."""
    given = manifest.input
    if not isinstance(given, TextInput):
        return given.pad_value
    padding_id = given.rules.padding_id
    return padding_id if given.characters is None else make_row_without_characters(given.characters, padding_id)


def check_threads(threads: int) -> int:
    """Check the number of threads that one call may use, and return it. Raise an InputError if `threads` is not a whole
    number from 1 to 1,024."""
    if not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise InputError(
            f"threads is {threads!r}, but it must be a whole number from 1 to {_MOST_THREADS}.",
            "Give the number of processor cores that a call may use.",
        )
    return threads


class EngineAnswer(NamedTuple):
    """The logits of many texts, and the indices of the texts that the engine refused.

    Attributes:
        logits: float32 [texts, labels]; if the classifier labels tokens, [ids of all texts, labels].
        refused: the indices of the texts without an answer, in order. Such a text would take more memory or time than
            the engine allows, or integers beyond 32 bits. Its row of `logits` has no meaning.
    """

    logits: Floats
    refused: list[int]


@dataclass(frozen=True)
class Options:
    """The options of onnxruntime, with the meaning that they have in `Classifier.load`. The native engine ignores
    them."""

    max_batch_tokens: int = MAX_TOKENS
    providers: tuple[str, ...] = (CPU,)
    trust: bool = False


class Engine(Protocol):
    """Computes logits from steps: the token ids of texts, or the samples of sequences, which were prepared as the
    graph's input.

    The engine decides how texts share a run of the graph, and how large a run may be. Several threads may use one
    engine at the same time, also in a forked process.
    """

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of the graph, by name."""
        ...

    def compute_item_logits(self, steps: Steps) -> list[float]:
        """Compute the logits of one text or sequence.

        Args:
            steps: the ids, int64 [1, tokens], or the samples, float32 [1, time, channels]; there is at least one step.

        Raises:
            LimitError: the text would take more memory or time than the engine allows.
            PocketRNNError: the graph fails, for instance because the text is too long for this machine's memory.
        """
        ...

    def logits(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        """Compute the logits of many texts or sequences.

        Args:
            steps: the steps of all texts, one text after the other: int64 [tokens]; with the characters of each token,
                int64 [tokens, 1 + width]; or float32 [time, channels].
            lengths: int64 [texts], how many steps each has, at least 1.

        Raises:
            PocketRNNError: the graph fails.
        """
        ...

    def embeddings(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        """Compute embeddings in place of logits: the input of the graph's last linear layer, float32 [texts, features].

        Args:
            steps: the token ids of all texts, one text after the other: int64 [tokens]; with the characters of each
                token, int64 [tokens, 1 + width].
            lengths: int64 [texts], how many steps each has, at least 1.

        Raises:
            InputError: the graph does not end with a linear layer that takes one row for each text.
            PocketRNNError: the graph fails.
        """
        ...

    def open_step(self) -> None:
        """Open the step graph, so that its errors are reported before the first input is read.

        Raises:
            InputError: the bundle has no step graph.
            BundleError: the step graph is damaged or does not fit its classifier.json.
        """
        ...

    def step(self, steps: Sequence[int] | Floats, state: Floats) -> tuple[Floats, Floats]:
        """Read further steps of a text or recording, from the state after the earlier steps; return the logits for all
        steps so far, and the new state.

        Args:
            steps: the new token ids, or samples float32 [time, channels]; at least one step.
            state: the state after the earlier steps, float32 [1, state_size]; zeros at the beginning.

        Returns:
            the logits, float32 [1, labels], and the new state, float32 [1, state_size].

        Raises:
            LimitError: the text would take more memory or time than the engine allows.
            PocketRNNError: the graph fails.
        """
        ...


def compute_logits(engine: Engine, name: str, rows: Sequence[NDArray[Any]]) -> Floats:
    """Compute the logits of texts or sequences. Raise an error if the engine refuses one of them.

    Args:
        rows: for each text its ids, int64 [tokens], or for each sequence its samples, float32 [time, channels]. There
            is at least one row, and each has at least one step.

    Returns:
        float32 [rows, labels]; if the classifier labels tokens, [ids of all rows, labels].

    Raises:
        LimitError: the native engine would need too much memory or time for a row, or too large integers.
        PocketRNNError: the graph fails.
    """
    steps: Any = np.concatenate(rows)
    logits, refused = engine.logits(steps, np.array([len(row) for row in rows], np.int64))
    if refused:
        # Run alone, the row raises an error with the reason.
        engine.compute_item_logits(rows[refused[0]][None])
        raise make_engine_memory_or_time_error(name)
    return logits


@runtime_checkable
class TextEngine(Protocol):
    """An engine that encodes texts to token ids itself, by the same rules but faster."""

    def compute_logits_of_text(self, text: str) -> list[float] | None:
        """Compute the logits of one text; return None if the text has too few or too many tokens for the graph, or no
        known word where the graph needs one.

        Raises:
            LimitError: the text would take more memory or time than the engine allows.
            PocketRNNError: the logits cannot be computed.
        """
        ...

    def logits_of_texts(self, texts: Sequence[str]) -> EngineAnswer:
        """Compute the logits of many texts. Texts beyond the graph's limits are among the refused texts of the answer.
        Raise a PocketRNNError if the logits cannot be computed."""
        ...

    def stop(self) -> None:
        """Stop the calls of this engine that run in any thread: they raise an error."""
        ...
