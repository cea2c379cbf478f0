"""A packed file for a microcontroller: write it as a constant array in C, which a linker puts into flash, and compute
the memory that is needed to open and run it."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from pocketrnn.bundle.manifest import Manifest
from pocketrnn.engines.native import import_native_module

_NUMBERS_A_LINE = 10
# The reserved words of C11 and C++ that a file's stem may be.
_KEYWORDS = {
    "alignas", "alignof", "and", "asm", "auto", "bool", "break", "case", "catch", "char", "class", "concept", "const",
    "continue", "default", "delete", "do", "double", "else", "enum", "explicit", "export", "extern", "false", "float",
    "for", "friend", "goto", "if", "inline", "int", "long", "main", "mutable", "namespace", "new", "not", "nullptr",
    "operator", "or", "private", "protected", "public", "register", "requires", "restrict", "return", "short",
    "signed", "sizeof", "static", "struct", "switch", "template", "this", "throw", "true", "try", "typedef", "typeid",
    "typename", "union", "unsigned", "using", "virtual", "void", "volatile", "while", "xor",
}  # fmt: skip


def make_array_name(path: Path) -> str:
    """Return a valid name in C and C++, in ASCII, for the array with a packed file, made from the name of the file at
    `path`."""
    name = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    # A name that begins with _ and a capital letter, or with two _, is reserved for the compiler.
    return f"model_{name}" if name in _KEYWORDS or not name[:1].isalpha() else name


def extract_packed_bytes_from_c_header(file: bytes) -> bytes:
    """Return the bytes of the packed file that a C header contains as an array. If `file` is a packed file itself,
    return it unchanged."""
    if file[:4] == b"PRNN":
        return file
    found = re.findall(rb"0x([0-9a-f]{8})\b", file)
    return struct.pack(f"<{len(found)}I", *(int(number, 16) for number in found))


def convert_to_c_array(content: bytes, name: str, definitions: str = "") -> str:
    """Return a C header that contains a packed file as an array.

    Args:
        content: the packed file's bytes; their number is a multiple of 4.
        name: the array's name. A constant `NAME_size` has the size of the file in bytes.
        definitions: further lines of C, such as those of `EngineMemory.format_definitions`.

    Returns:
        a header with an array of uint32_t, which is aligned as `prnn_open` requires. The array has the bytes of the
            file on a little-endian machine; other machines cannot open packed files.
    """
    numbers = [f"0x{number:08x}" for (number,) in struct.iter_unpack("<I", content)]
    lines = (", ".join(numbers[at : at + _NUMBERS_A_LINE]) for at in range(0, len(numbers), _NUMBERS_A_LINE))
    guard = f"POCKETRNN_{name.upper()}_H"
    return (
        "/* A packed classifier, written by `pocketrnn pack --c-array`, for prnn_open and prnn_open_in_place. */\n"
        f"#ifndef {guard}\n#define {guard}\n#include <stdint.h>\n\n"
        f"static const uint32_t {name}[{len(numbers)}] = {{\n" + ",\n".join(lines) + "\n};\n"
        f"enum {{ {name}_size = sizeof {name} }};\n{definitions}#endif\n"
    )


# --- Memory that a packed file of numbers needs ---


@dataclass(frozen=True)
class EngineMemory:
    """The largest amounts of memory, in bytes, that the engine uses for a packed file.

    It is computed with the pointer size of this machine.

    Attributes:
        window: the number of steps of a window; 0 if the file does not state a window.
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
        """Return the sizes as lines `#define NAME_work 1024` in C, where `name` is the name of the array. Sizes of 0
        are left out."""
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
        """A sentence for the user with the memory that a program needs."""
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
    that has neither a window nor a step graph, since its sequences have any length."""
    window = manifest.numbers.window or manifest.numbers.steps or 0
    if not (window or manifest.stream):
        return None
    opened, work, stream, stream_work = import_native_module().Packed(content, 0, True).memory(window)
    return EngineMemory(window, len(manifest.numbers.channels), opened, work, stream, stream_work)
