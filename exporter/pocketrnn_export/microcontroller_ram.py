"""Compute the memory that a microcontroller needs to open and run a packed file of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.engines.native import import_native_module


@dataclass(frozen=True)
class EngineMemory:
    """The most memory that the engine uses, in bytes.

    It is computed with the pointer size of this machine.

    Attributes:
        window: the number of steps of a window; 0 if the file does not say.
        channels: the number of channels of a step.
        opened: the memory that `prnn_open_in_place` keeps.
        work: working memory for one window; 0 without a window.
        stream: the memory that a stream keeps; 0 if the file has no step graph.
        stream_work: working memory for one step of a stream.
    """

    window: int
    channels: int
    opened: int
    work: int
    stream: int
    stream_work: int

    def format_definitions(self, name: str) -> str:
        """Write the sizes as `#define` lines in C, for an array with this name."""
        stated = {
            "memory": self.opened,
            "window": self.window,
            "channels": self.channels,
            "work": self.work,
            "stream": self.stream,
            "stream_work": self.stream_work,
        }
        return "".join(f"#define {name}_{what} {size}\n" for what, size in stated.items() if size)

    @property
    def sentence(self) -> str:
        """The sizes as one sentence for the user."""
        parts = [f"{self.opened:,} bytes to open it in place"]
        if self.work:
            held = 4 * self.window * self.channels
            parts.append(
                f"{held:,} for a window of {self.window:,} steps and {self.work:,} of working memory to answer it"
            )
        if self.stream:
            parts.append(f"{self.stream:,} for a stream and {self.stream_work:,} of working memory for each step of it")
        return f"A program without files needs {'; '.join(parts)}."


def compute_required_memory(manifest: Manifest, content: bytes) -> EngineMemory | None:
    """Compute how much memory a C program needs to run a packed file of sequences of numbers. Return None for a file
    that has neither a window nor a step graph."""
    window = manifest.numbers.window or manifest.numbers.steps or 0
    if not (window or manifest.stream):
        return None
    opened, work, stream, stream_work = import_native_module().Packed(content, 0, True).memory(window)
    return EngineMemory(window, len(manifest.numbers.channels), opened, work, stream, stream_work)
