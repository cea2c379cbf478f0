"""What a Classifier needs of an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pocketrnn.engines.batching import MAX_TOKENS
from pocketrnn.errors import InputError

__all__ = ["CPU", "Answered", "Engine", "Floats", "Ids", "Options", "ReadsTexts", "checked_threads"]

CPU: Final = "CPUExecutionProvider"
_MOST_THREADS: Final = 1024
Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


def checked_threads(threads: int) -> int:
    """How many threads one call may use.

    Raises:
        InputError: it is no whole number from 1, or too many.

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
        logits: float32 [texts, labels].
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
    """Logits of token ids. Several threads may use one engine at the same time, also in a process that was forked.

    How texts share a run, and what a run may hold, is the engine's own affair.
    """

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the graph says of itself."""
        ...

    def logits_of_one(self, tokens: Ids) -> list[float]:
        """One text's logits.

        Args:
            tokens: its ids, int64 [1, tokens], at least one.

        Raises:
            LimitError: the engine bounds what a text may take, and this one would take more.
            PocketRNNError: the graph fails, for instance because the text is too long for this machine's memory.
        """
        ...

    def logits(self, ids: Ids, lengths: Ids) -> Answered:
        """The logits of many texts.

        Args:
            ids: int64 [tokens of all texts], one text's after the other's.
            lengths: int64 [texts], how many ids each text has, at least 1.

        Raises:
            PocketRNNError: the graph fails.
        """
        ...

    def embeddings(self, ids: Ids, lengths: Ids) -> Answered:
        """The numbers before the last linear layer, in place of the logits: float32 [texts, features].

        Args:
            ids: as for `Engine.logits`.
            lengths: as for `Engine.logits`.

        Raises:
            InputError: the graph has no last linear layer that is given one row of numbers for each text.
            PocketRNNError: the graph fails.
        """
        ...

    def open_step(self) -> None:
        """Open the step graph, so that what is wrong with it is said before any text is read.

        Raises:
            InputError: the bundle has no step graph.
            BundleError: the step graph is damaged or does not fit its classifier.json.
        """
        ...

    def step(self, ids: Sequence[int], state: Floats) -> tuple[Floats, Floats]:
        """Read on.

        Args:
            ids: the new token ids, at least one.
            state: the state before them, float32 [1, state_size].

        Returns:
            the logits, float32 [1, labels], and the state after them, float32 [1, state_size].

        Raises:
            LimitError: as `logits_of_one`.
            PocketRNNError: the graph fails.
        """
        ...


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
