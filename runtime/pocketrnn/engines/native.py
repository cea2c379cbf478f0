"""The native engine for packed files, from the distribution pocketrnn-native. Only this file uses that distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from pocketrnn.bundle.manifest import make_input_digest_metadata
from pocketrnn.bundle.packed_file import PACK_AGAIN, map_file, read_packed_manifest
from pocketrnn.bundle.texts_beyond_limits import make_engine_memory_or_time_error, make_integer_overflow_error
from pocketrnn.engines.engine import EngineAnswer, Floats, Ids, Steps, choose_message_words
from pocketrnn.errors import BundleError, InputError, MissingExtraError, PocketRNNError, first_line
from pocketrnn.text.text_input import TextInput

__all__ = ["NativeEngine", "import_native_module"]

# The version of the extension's functions and of the files that it reads. It is raised on both sides, here and in
# runtime/native/pocketrnn_native/_engine.c.
_INTERFACE: Final = 7


def import_native_module() -> ModuleType:
    """Import the C extension of the native engine. Raise a MissingExtraError if the extension is not installed, cannot
    be loaded, or has another version."""
    try:
        from pocketrnn_native import _engine
    except ImportError as error:
        from pocketrnn.install_commands import make_native_install_command

        is_missing = isinstance(error, ModuleNotFoundError)
        raise MissingExtraError(
            "A packed file needs the native engine, but its package pocketrnn-native "
            f"{'is not installed' if is_missing else f'cannot be loaded: {first_line(error)}'}.",
            "Use a bundle, or install the package (without a wheel for this machine, this needs a C compiler): "
            f"{make_native_install_command()}",
        ) from None
    if getattr(_engine, "INTERFACE", 0) != _INTERFACE:
        from pocketrnn.install_commands import make_native_install_command

        raise MissingExtraError(
            "The installed packages pocketrnn and pocketrnn-native have different versions.",
            f"Install the same version of both: {make_native_install_command()}",
        )
    return _engine


class NativeEngine:
    """Runs the program of a packed file with the native engine, written in C. It implements `Engine` and `TextEngine`.

    Args:
        in_place: whether to use the weights in the file without unpacking them first, as machines with little memory
            do. The proof tests this.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: the file cannot be read, is not a packed classifier, or is damaged.
        PocketRNNError: there is not enough memory.
    """

    def __init__(self, path: Path, *, in_place: bool = False) -> None:
        self._module = import_native_module()
        content = map_file(path)
        from pocketrnn_native import open_once

        try:
            # Kept, so that the next Classifier for this file reuses the open file.
            self._file: Any = open_once(path)
            self._packed = self._module.Packed(content, 0, True) if in_place else self._file.packed
            self.manifest = read_packed_manifest(content, self._packed.tokens, path)
        except self._module.EngineError as error:
            if error.args[0] == self._module.MEMORY:
                raise _make_out_of_memory_error(path.name) from None
            raise BundleError(f"{path} cannot be opened: {error.args[1]}", PACK_AGAIN) from None
        except OSError as error:
            raise BundleError(
                f"{path} cannot be read: {error.strerror}.", "Check the file and its permissions."
            ) from None
        except MemoryError:
            raise _make_out_of_memory_error(path.name) from None
        of_texts = isinstance(self.manifest.input, TextInput)
        # The type of a step for the engine, and the function that answers many texts or sequences.
        self._type: type[np.int32 | np.float32] = np.int32 if of_texts else np.float32
        self._many = self._packed.logits_of_ids if of_texts else self._packed.logits_of_samples
        self._words = choose_message_words(self.manifest)
        self._classes, self._of_tokens = len(self.manifest.labels), self.manifest.output.of_tokens
        self._beyond = [self._module.TOO_SHORT, self._module.TOO_LONG, self._module.NO_WORD]
        self._refused = [self._module.COSTLY, self._module.LARGE]

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata that the graph of the same bundle has, computed from the file's manifest."""
        manifest = self.manifest
        return make_input_digest_metadata(manifest.labels, manifest.input)

    def compute_logits_of_text(self, text: str) -> list[float] | None:
        """Compute the logits of one text; return None if the text is beyond the limits of the manifest."""
        try:
            logits: list[float] = self._packed.logits(text)
        except self._module.EngineError as error:
            if error.args[0] in self._beyond:
                return None
            raise self._convert_error(error) from None
        except MemoryError:
            raise _make_out_of_memory_error(self.manifest.name) from None
        return logits

    def logits_of_texts(self, texts: Sequence[str]) -> EngineAnswer:
        """Compute the logits of many texts. Texts beyond the limits of the manifest, or too costly, are among the
        refused texts of the answer."""
        refusal_statuses = [*self._beyond, *self._refused]
        return self._call_extension(self._packed.logits_of_texts, len(texts), refusal_statuses, list(texts))

    def compute_item_logits(self, steps: Steps) -> list[float]:
        """Compute the logits of one text or sequence from its ids, int64 [1, tokens], or samples, float32 [1, time,
        channels]."""
        given = np.ascontiguousarray(steps[0], self._type), np.array([steps.shape[1]], np.int64)
        rows = steps.shape[1] if self._of_tokens else 1
        return self._call_extension(self._many, 1, [], *given, row_count=rows).logits[0].tolist()  # type: ignore[no-any-return]

    def logits(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        """Compute the logits of many texts or sequences, whose steps are given one after the other, with the number of
        steps of each. Texts that are too costly are among the refused texts of the answer."""
        given = np.ascontiguousarray(steps, self._type), np.ascontiguousarray(lengths, np.int64)
        rows = len(steps) if self._of_tokens else len(lengths)
        return self._call_extension(self._many, len(lengths), self._refused, *given, row_count=rows)

    def embeddings(self, steps: Steps, lengths: Ids) -> EngineAnswer:
        """Compute the embeddings of many texts, whose ids are given one after the other, with the number of ids of
        each. Raise an InputError if the program does not end with a linear layer that takes one row for each text."""
        width = self._packed.embedding_size()
        if not width:
            raise InputError(
                f"{self.manifest.name} cannot give embeddings of texts: its program does not end with a linear layer "
                "that takes one row for each text.",
                "Use the logits or the probabilities instead.",
            )
        given = steps.astype(np.int32), np.ascontiguousarray(lengths, np.int64)
        return self._call_extension(
            self._packed.embeddings_of_ids, len(lengths), self._refused, *given, row_width=width
        )

    def _call_extension(
        self,
        function: Callable[..., None],
        text_count: int,
        refusal_statuses: list[int],
        *given: object,
        row_count: int | None = None,
        row_width: int | None = None,
    ) -> EngineAnswer:
        """Call a function of the C extension for many texts, and check the status of each text.

        Args:
            function: the function. It takes `given`, and then the arrays that it fills with logits and statuses.
            refusal_statuses: the statuses that mean that a text is refused, but the other texts are answered.
            given: the texts, in the form that the function takes.
            row_count: the number of rows of the answer; None for the number of texts.
            row_width: the length of a row; None for the number of labels.

        Raises:
            LimitError: a text would take more memory or time than the engine allows, or too large integers, and this is
                not among `refusal_statuses`.
            PocketRNNError: the call fails, or a text has any other status.
        """
        try:
            shape = text_count if row_count is None else row_count, self._classes if row_width is None else row_width
            logits, statuses = np.empty(shape, np.float32), np.zeros(text_count, np.uint8)
            function(*given, logits, statuses)
        except self._module.EngineError as error:
            raise self._convert_error(error) from None
        except MemoryError:
            raise _make_out_of_memory_error(self.manifest.name) from None
        is_refused = np.isin(statuses, refusal_statuses)
        if (failed := statuses[~is_refused]).any():
            status = int(failed.max())
            raise self._convert_error(self._module.EngineError(status, self._module.sentence(status)))
        return EngineAnswer(logits, np.flatnonzero(is_refused).tolist())

    def open_step(self) -> None:
        """Check that the file has a step program, which the engine opened together with the file. Raise an InputError
        if the file has no step program."""
        if self.manifest.stream is None:
            raise InputError(
                f"The packed file of {self.manifest.name} cannot answer {self._words.arrival}: it holds no step "
                "program, which a stream needs.",
                self._words.step_program_remedy,
            )

    def step(self, steps: Sequence[int] | Floats, state: Floats) -> tuple[Floats, Floats]:
        """Read further steps of a text or recording, from the state after the earlier steps; return the logits, float32
        [1, labels], and the new state."""
        logits, new_state = np.empty((1, self._classes), np.float32), np.empty_like(state)
        try:
            self._packed.step(np.ascontiguousarray(steps, self._type), state, logits, new_state)
        except self._module.EngineError as error:
            raise self._convert_error(error) from None
        except MemoryError:
            raise _make_out_of_memory_error(self.manifest.name) from None
        return logits, new_state

    def stop(self) -> None:
        """Stop the engine's work in all threads: the calls that run raise an error."""
        self._packed.stop()

    def _convert_error(self, error: Exception) -> PocketRNNError:
        """Convert an error of the C extension to an error of pocketrnn, with a remedy."""
        status, sentence = error.args
        if status == self._module.COSTLY:
            return make_engine_memory_or_time_error(self.manifest.name, self._words.row)
        if status == self._module.LARGE:
            return make_integer_overflow_error(self.manifest.name, self._words.row)
        if status == self._module.MEMORY:
            return _make_out_of_memory_error(self.manifest.name)
        return PocketRNNError(
            f"The engine of {self.manifest.name} failed: {sentence}", "Check the file with: pocketrnn verify"
        )


def _make_out_of_memory_error(name: str) -> PocketRNNError:
    """Make the error for a classifier, `name`, that needs more memory than is available."""
    return PocketRNNError(
        f"{name} needs more memory than is available.", "Give shorter inputs, or use a larger machine."
    )
