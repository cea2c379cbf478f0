"""How much memory a program without files needs for a packed file of numbers: opened in place, a window, a stream."""

from __future__ import annotations

from dataclasses import dataclass

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.engines.native import native_module

__all__ = ["BoardMemory", "memory_of"]


@dataclass(frozen=True)
class BoardMemory:
    """Bytes that the engine asks for, at most: pointers are counted as this machine has them.

    Attributes:
        window: how many steps are answered at once; 0 where the file does not say.
        channels: how many numbers a step has.
        opened: what `prnn_open_in_place` keeps.
        work: working memory for one window; 0 without a window.
        stream: what a stream keeps; 0 where the file has no step.
        stream_work: working memory for one step of a stream.

    Example:
        >>> BoardMemory(64, 6, 784, 3500, 0, 0).definitions("gesture").splitlines()[0]
        '#define gesture_memory 784'
    """

    window: int
    channels: int
    opened: int
    work: int
    stream: int
    stream_work: int

    def definitions(self, name: str) -> str:
        """The numbers as lines of C, for an array of that name."""
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
        """The figures as one sentence for the user."""
        parts = [f"{self.opened:,} bytes to open it in place"]
        if self.work:
            held = 4 * self.window * self.channels
            parts.append(
                f"{held:,} for a window of {self.window:,} steps and {self.work:,} of working memory to answer it"
            )
        if self.stream:
            parts.append(f"{self.stream:,} for a stream and {self.stream_work:,} of working memory for each step of it")
        return f"A program without files needs {'; '.join(parts)}."


def memory_of(manifest: Manifest, content: bytes) -> BoardMemory | None:
    """The memory that a packed file asks for; None where neither a window nor a stream says for how many steps.

    Args:
        manifest: what the file says.
        content: the packed file.

    Example:
        >>> memory_of(manifest, Path("gesture.prnn").read_bytes()).window
        64
    """
    window = manifest.numbers.window or manifest.numbers.steps or 0
    if not (window or manifest.stream):
        return None
    opened, work, stream, stream_work = native_module().Packed(content, 0, True).memory(window)
    return BoardMemory(window, len(manifest.numbers.channels), opened, work, stream, stream_work)
