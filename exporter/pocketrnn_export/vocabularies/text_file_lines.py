"""Read the lines of a text file: labels, texts for a proof, or a JSON object in each line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import InputError

# The most bytes of a text file: far more than a vocabulary, or texts for a proof.
_LARGEST: Final = 1 << 28


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file, without an empty line at the end.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or is empty.
    """
    try:
        with path.open("rb") as file:
            # A device may have no end.
            content = file.read(_LARGEST + 1)
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text.", "Save the file as UTF-8.") from None
    except OSError as error:
        near = suggest_near_file(path, (".txt", path.suffix.lower())) if isinstance(error, FileNotFoundError) else ""
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", near or "Give a text file with one entry in each line."
        ) from None
    if len(content) > _LARGEST:
        raise InputError(
            f"{path} is larger than {_LARGEST >> 20} MiB.", "Give a text file with one entry in each line."
        )
    if lines[-1] == "":
        del lines[-1]
    if not lines:
        raise InputError(f"{path} is empty.", "Give a text file with one entry in each line.")
    return lines
