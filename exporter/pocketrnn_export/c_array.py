"""Write a packed file as a constant array in C. A linker puts it into a microcontroller's flash."""

from __future__ import annotations

import re
import struct
from pathlib import Path

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
    """Make the name of the C array for a file with this path.

    Returns:
        a valid name in C and C++, in ASCII.
    """
    name = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    # A name that begins with _ and a capital letter, or with two _, is reserved for the compiler.
    return f"model_{name}" if name in _KEYWORDS or not name[:1].isalpha() else name


def extract_packed_bytes_from_c_header(file: bytes) -> bytes:
    """Read the bytes of a packed file from a C header. A packed file is returned as it is."""
    if file[:4] == b"PRNN":
        return file
    found = re.findall(rb"0x([0-9a-f]{8})\b", file)
    return struct.pack(f"<{len(found)}I", *(int(number, 16) for number in found))


def convert_to_c_array(content: bytes, name: str, definitions: str = "") -> str:
    """Return a packed file as C source.

    Args:
        content: the packed file's bytes; their number is a multiple of 4.
        name: the array's name; the constant with its size in bytes is called `name` with `_size` behind it.
        definitions: further lines of C, as `EngineMemory.format_definitions` gives them.

    Returns:
        a header with an array of uint32_t, which is aligned as `prnn_open` requires. Its numbers are the file's on a
        little-endian machine; no other machine opens packed files.
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
