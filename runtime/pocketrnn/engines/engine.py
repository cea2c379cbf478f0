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
    """The words for messages about a bundle's input: a text of tokens, or a sequence of steps.

    Attributes:
        row: what the classifier answers: `text`.
        step: what a row consists of: `token`.
        arrival: what a classifier without streaming cannot do, as the end of a sentence.
        step_graph_remedy: what to do about a bundle without a step graph.
        step_program_remedy: what to do about a packed file without a step program.
    """

    row: str
    step: str
    arrival: str
    step_graph_remedy: str
    step_program_remedy: str


_OF_TEXTS: Final = MessageWords(
    "text",
    "token",
    "while a text arrives",
    "If it reads in one direction, `pocketrnn pack BUNDLE --streaming -o FILE.prnn`; if not, train one that does "
    "with `pocketrnn train DATA --one-direction`.",
    "Pack the bundle with --streaming, which classifiers allow that read in one direction.",
)
_WINDOWS: Final = "Say how long a window is: stream(window=128, hop=64); or"
_OF_NUMBERS: Final = MessageWords(
    "sequence",
    "step",
    "while a recording arrives, but in windows",
    f"{_WINDOWS} export it with streaming=True (--streaming).",
    f"{_WINDOWS} pack its bundle with --streaming.",
)


def choose_message_words(manifest: Manifest) -> MessageWords:
    """Choose the words for messages about a bundle's input."""
    return _OF_TEXTS if isinstance(manifest.input, TextInput) else _OF_NUMBERS


def find_step_dtype(manifest: Manifest) -> type[np.int64 | np.float32]:
    """Return the dtype of a step of the graph's input: int64 for token ids, float32 for numbers."""
    return np.int64 if isinstance(manifest.input, TextInput) else np.float32


def choose_padding_value(manifest: Manifest) -> float | list[int]:
    """Choose the number, or the token id, that pads short rows in a run. If the module reads characters, the ids of the
    padding token's characters follow."""
    given = manifest.input
    if not isinstance(given, TextInput):
        return given.pad_value
    padding_id = given.rules.padding_id
    return padding_id if given.characters is None else make_row_without_characters(given.characters, padding_id)


def check_threads(threads: int) -> int:
    """Check the number of threads that one call may use, and return it.

    Raises:
        InputError: `threads` is not a whole number from 1, or is too large.
    """
    if not isinstance(threads, int) or not 1 <= threads <= _MOST_THREADS:
        raise InputError(f"threads is {threads!r}.", f"Use a whole number from 1 to {_MOST_THREADS}.")
    return threads


class EngineAnswer(NamedTuple):
    """The logits of many texts, and the indices of the texts that the engine refused.

    Attributes:
        logits: float32 [texts, labels]; [tokens of all texts, labels] where the labels are of tokens.
        refused: the indices of texts that are not answered, in order: they would take more memory or time than the
            engine allows, or larger integers than it has. Their rows of logits hold no answer.
    """

    logits: Floats
    refused: list[int]


@dataclass(frozen=True)
class Options:
    """The options of onnxruntime; see `Classifier.load`. The native engine ignores them."""

    max_batch_tokens: int = MAX_TOKENS
    providers: tuple[str, ...] = (CPU,)
    trust: bool = False


class Engine(Protocol):
    """Computes logits from steps: the token ids of a text, or the samples of a sequence.

    The samples have the form of the graph's input. Several threads may use one engine at the same time, also in a
    forked process.

    The engine itself decides how texts share a run, and how large a run may be.
    """

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of the graph."""
        ...

    def compute_item_logits(self, steps: Steps) -> list[float]:
        """Compute the logits of one text or sequence.

        Args:
            steps: its ids, int64 [1, tokens], or samples, float32 [1, time, channels]; at least one.

        Raises:
            LimitError: the text would take more memory or time than the engine allows.
            PocketRNNError: the graph fails, for instance because the text is too long for this machine's memory.
        """
        ...

    def logits(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        """Compute the logits of many texts or sequences.

        Args:
            steps: int64 [tokens of all texts], with the characters of each [tokens of all texts, 1 + width]; or float32
                [time of all sequences, channels], concatenated.
            lengths: int64 [texts], how many steps each has, at least 1.

        Raises:
            PocketRNNError: the graph fails.
        """
        ...

    def embeddings(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        """Compute embeddings in place of logits: the input of the last linear layer, float32 [texts, features].

        Args:
            steps: as for `Engine.logits`.
            lengths: as for `Engine.logits`.

        Raises:
            InputError: the graph does not end with a linear layer of one input row for each text.
            PocketRNNError: the graph fails.
        """
        ...

    def open_step(self) -> None:
        """Open the step graph. Its errors are thus reported before the first input is read.

        Raises:
            InputError: the bundle has no step graph.
            BundleError: the step graph is damaged or does not fit its classifier.json.
        """
        ...

    def step(self, steps: Sequence[int] | Floats, state: Floats) -> tuple[Floats, Floats]:
        """Read further steps of a text or recording, beginning with the state after the earlier ones; return the new
        logits and the new state.

        Args:
            steps: the new token ids, or samples float32 [time, channels]; at least one.
            state: the state before them, float32 [1, state_size].

        Returns:
            the logits, float32 [1, labels], and the state after them, float32 [1, state_size].

        Raises:
            LimitError: as `compute_item_logits`.
            PocketRNNError: the graph fails.
        """
        ...


def compute_logits(engine: Engine, name: str, rows: Sequence[NDArray[Any]]) -> Floats:
    """Compute the logits of texts or sequences, and raise an error if the engine refuses one.

    Args:
        engine: the engine that answers.
        name: the classifier's name.
        rows: int64 [tokens] or float32 [time, channels] each; at least one row, each with at least one step.

    Returns:
        float32 [rows, labels]; [tokens of all rows, labels] where the labels are of tokens.

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
    """An engine that encodes texts to token ids itself. It uses the same rules, but is faster."""

    def compute_logits_of_text(self, text: str) -> list[float] | None:
        """Compute the logits of one text; None if the text is beyond the limits of the manifest.

        Raises:
            LimitError: the text would take more memory or time than the engine allows.
            PocketRNNError: the logits cannot be computed.
        """
        ...

    def logits_of_texts(self, texts: Sequence[str]) -> EngineAnswer:
        """Compute the logits of many texts. Texts beyond the limits of the manifest are refused.

        Raises:
            PocketRNNError: the logits cannot be computed.
        """
        ...

    def stop(self) -> None:
        """Stop the calls that run in all threads. These calls then raise an error."""
        ...
