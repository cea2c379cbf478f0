"""A packed file that takes sequences of numbers, in the native engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pocketrnn.bundle.manifest import digest_entry
from pocketrnn.bundle.packed_file import mapped
from pocketrnn.bundle.packed_numbers import number_manifest_of
from pocketrnn.engines.engine import Floats
from pocketrnn.engines.native import engine_failure, native_module, opened, opening, out_of_memory
from pocketrnn.errors import InputError, LimitError, PocketRNNError

__all__ = ["NativeNumberEngine"]


class NativeNumberEngine:
    """A packed file that takes sequences of numbers. Thread-safe.

    Args:
        path: the file.
        in_place: leave weights as they are in the file, as on a machine with little memory; for the proof.

    Raises:
        MissingExtraError: the native engine is not installed.
        BundleError: the file cannot be read, is no such file, or is damaged.
    """

    def __init__(self, path: Path, *, in_place: bool = False) -> None:
        self._module = native_module()
        content = mapped(path)
        with opening(path):
            # Held, so that the next classifier of this file finds it open.
            self._file = opened(path)
            self._packed = self._module.Packed(content, 0, True) if in_place else self._file.packed
        self.manifest = number_manifest_of(content, path)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself. Its rules are those of its document, or it does not open."""
        return digest_entry(self.manifest.labels, self.manifest.input)

    def logits(self, sequences: list[Floats]) -> Floats:
        """The logits of many sequences.

        Args:
            sequences: float32 [time, channels] each, as the program is given them, of at least one step.

        Returns:
            float32 [sequences, labels].

        Raises:
            LimitError: one would take more memory or time than a file of this size may ask for.
            PocketRNNError: the program fails.
        """
        module, name = self._module, self.manifest.name
        logits = np.empty((len(sequences), len(self.manifest.labels)), np.float32)
        if not sequences:
            return logits
        steps, statuses = np.array([len(one) for one in sequences], np.int64), np.zeros(len(sequences), np.uint8)
        samples = np.ascontiguousarray(np.concatenate(sequences), np.float32)
        try:
            self._packed.logits_of_samples(samples, steps, logits, statuses)
        except module.EngineError as error:
            raise self._failed(*error.args) from None
        except MemoryError:
            raise out_of_memory(name) from None
        if statuses.any():
            status = int(statuses[statuses != module.OK][0])
            raise self._failed(status, module.sentence(status))
        return logits

    def open_step(self) -> None:
        """See whether the file has a step; the engine has opened it with the file.

        Raises:
            InputError: it has none.
        """
        if self.manifest.stream is None:
            raise InputError(
                f"The packed file of {self.manifest.name} cannot answer while a recording arrives, but in windows: it "
                "holds no step.",
                "Say how long a window is: stream(window=128, hop=64); or pack its bundle with --streaming.",
            )

    def step(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Read on from a state; see `NumberEngine.step`."""
        self.open_step()
        logits, new_state = np.empty((1, len(self.manifest.labels)), np.float32), np.empty_like(state)
        try:
            self._packed.step(np.ascontiguousarray(samples, np.float32), state, logits, new_state)
        except self._module.EngineError as error:
            raise self._failed(*error.args) from None
        except MemoryError:
            raise out_of_memory(self.manifest.name) from None
        return logits, new_state

    def _failed(self, status: int, sentence: str) -> PocketRNNError:
        name = self.manifest.name
        if status == self._module.COSTLY:
            return LimitError(
                f"A sequence would take more memory or time than {name} may ask for.", "Give shorter sequences."
            )
        if status == self._module.LARGE:
            return LimitError(
                f"A sequence leads {name} to a whole number that 32 bits do not hold, and a packed file has no others.",
                "Give it to the bundle that the file was made from, or give shorter sequences.",
            )
        return engine_failure(name, status, sentence)
