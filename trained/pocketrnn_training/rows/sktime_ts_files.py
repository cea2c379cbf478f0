"""Read the format `.ts` of sktime and aeon: lines that begin with @, then a line for each sequence.

https://www.aeon-toolkit.org/en/stable/api_reference/file_specifications/ts.html: colons separate the channels of a
sequence, commas the samples of a channel; the label is after the last colon; `?` is a missing sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.errors import DataError, short_repr
from pocketrnn_training.rows.column_files import read_text_lines
from pocketrnn_training.rows.labelled_sequences import Recording

__all__ = ["read_ts_file"]

_MISSING: Final = frozenset({"?", "nan"})
_FLAGS: Final = ("timestamps", "missing", "univariate", "equallength", "targetlabel")
_SEE: Final = "Write it as aeon's write_to_ts_file does."


@dataclass
class _Header:
    """The header of a `.ts` file: what its lines that begin with @ say.

    Attributes:
        flags: the values of the lines that are true or false, by name.
        labels: the labels that may occur; None if the header does not say that there are labels.
        sizes: the values of `dimensions` and `serieslength`.
    """

    flags: dict[str, bool]
    labels: tuple[str, ...] | None
    sizes: dict[str, int]


def read_ts_file(path: Path) -> Iterator[Recording]:
    """Yield the sequences of a `.ts` file with their labels.

    Raises:
        DataError: the file is missing, unreadable or not UTF-8; the header is wrong, or says that there are time stamps
            or no labels; a line has a wrong number of channels or of samples, a field that is not a number, or a label
            that the header does not name.
    """
    lines = read_text_lines(path)
    header = _read_header(lines, path)
    channels = header.sizes.get("dimensions", 1 if header.flags.get("univariate", False) else None)
    steps = header.sizes.get("serieslength") if header.flags.get("equallength", False) else None
    for number, text in lines:
        recording = _parse_sequence(text, f"line {number} of {path}", header)
        found_steps, found_channels = recording.samples.shape
        if channels is not None and found_channels != channels:
            raise DataError(
                f"Line {number} of {path} has {found_channels} channels, but the lines before it or the header have "
                f"{channels}.",
                "Give every sequence the same channels, with a colon between two.",
            )
        if steps is not None and found_steps != steps:
            raise DataError(
                f"Line {number} of {path} has {found_steps} steps, but the header says that all have {steps}.",
                "Correct the line, or write @equalLength false.",
            )
        channels = found_channels
        yield recording


def _read_header(lines: Iterator[tuple[int, str]], path: Path) -> _Header:
    """Read the header of a `.ts` file, up to the line @data."""
    header = _Header({}, None, {})
    for number, text in lines:
        if text.lstrip().startswith("#"):
            continue
        words = text.split()
        if not words[0].startswith("@"):
            raise DataError(f"Line {number} of {path} comes before @data, and does not begin with @.", _SEE)
        name = words[0][1:].lower()
        if name == "data":
            _check_header(header, path)
            return header
        where = f"Line {number} of {path}"
        if name in _FLAGS or name == "classlabel":
            said = words[1].lower() if len(words) > 1 else ""
            if said not in ("true", "false"):
                raise DataError(f"{where} says {short_repr(text.strip(), 40)}, neither true nor false.", _SEE)
            header.flags[name] = said == "true"
            if name == "classlabel" and said == "true":
                header.labels = tuple(words[2:])
        elif name in ("dimensions", "dimension", "serieslength"):
            if len(words) != 2 or not words[1].isascii() or not words[1].isdigit() or int(words[1]) < 1:
                raise DataError(f"{where} says {short_repr(text.strip(), 40)}, which is not a number from 1.", _SEE)
            header.sizes["serieslength" if name == "serieslength" else "dimensions"] = int(words[1])
    raise DataError(f"{path} has no line @data.", f"Give a file in the format .ts. {_SEE}")


def _check_header(header: _Header, path: Path) -> None:
    """Refuse a header with time stamps, with values in place of labels, or without labels."""
    if header.flags.get("timestamps"):
        raise DataError(
            f"The sequences of {path} have time stamps, which are not read.",
            "Write samples at equal distances without time stamps: @timeStamps false.",
        )
    if header.flags.get("targetlabel"):
        raise DataError(
            f"{path} has values to learn (@targetLabel), but pocketrnn train learns labels.",
            "Train a module of your own, and export it: pocketrnn export --values.",
        )
    if header.labels is None:
        raise DataError(
            f"The header of {path} does not declare labels.", "Write @classLabel true and the labels in its header."
        )


def _parse_sequence(text: str, where: str, header: _Header) -> Recording:
    """Parse the channels and the label of one line. `where` names the line in errors."""
    *channels, label = text.strip().split(":")
    label = label.strip()
    if not channels or not label:
        raise DataError(f"There is no label after a colon in {where}.", _SEE)
    if header.labels and label not in header.labels:
        raise DataError(
            f"The header does not name the label {short_repr(label, 40)} of {where}.",
            "Correct the label, or name it after @classLabel true.",
        )
    samples = [[_parse_number(field, where, header) for field in channel.split(",")] for channel in channels]
    if len({len(channel) for channel in samples}) > 1:
        sizes = ", ".join(str(len(channel)) for channel in samples[:6])
        raise DataError(
            f"The channels of {where} have different numbers of samples: {sizes}.",
            "Give each channel the same number of samples; ? is a missing one.",
        )
    return Recording(where, np.array(samples, np.float64).T, label)


def _parse_number(field: str, where: str, header: _Header) -> float:
    """Parse a sample of a sequence; NaN for a missing one."""
    field = field.strip()
    if field.lower() in _MISSING:
        if header.flags.get("missing") is False:
            raise DataError(
                f"A sample of {where} is missing, but the header says @missing false.",
                "Write a number, or @missing true.",
            )
        return math.nan
    try:
        return float(field)
    except ValueError:
        raise DataError(
            f"{short_repr(field, 30)} in {where} is not a number.", "Write a number, or ? for a missing sample."
        ) from None
