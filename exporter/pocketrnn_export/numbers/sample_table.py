"""The rows of numbers that a proof's sequences are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["EVERYWHERE", "NEAR", "POSITIVE", "SampleTable", "sample_table"]

Samples = npt.NDArray[np.float32]

# The kinds of drawn numbers.
EVERYWHERE: Final = "numbers of every size"
NEAR: Final = "numbers up to 12"
POSITIVE: Final = "numbers from 0 to 1"
# How many rows are drawn. Each stands in the proof three times at least.
_DRAWN: Final = 768
_NEAR: Final = 12.0
# At most so many steps of given sequences are rows of the table.
_MOST_GIVEN: Final = 20_000
# How many steps the sequences have that are made where none are given.
_MADE_STEPS: Final = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
# A module may take the first ids for padding, so that the first rows are the special ones.
_SPECIAL: Final = 8


@dataclass(frozen=True)
class SampleTable:
    """Rows of numbers, and sequences made of them.

    Attributes:
        rows: float32 [rows, channels]. The first is what stands past the end of a sequence.
        sequences: the indices of the rows of each sequence that was given.
        made: those of sequences that were made.
        kind: what was drawn: `EVERYWHERE`, `NEAR` or `POSITIVE`.
    """

    rows: Samples
    sequences: tuple[npt.NDArray[np.int64], ...]
    made: tuple[npt.NDArray[np.int64], ...]
    kind: str


def sample_table(
    channels: int,
    *,
    padding: float = 0.0,
    given: Sequence[Samples] = (),
    steps: int | None = None,
    least: int = 1,
    kind: str = EVERYWHERE,
    clip: tuple[float, float] | None = None,
    seed: int = 0,
) -> SampleTable:
    """Rows of numbers as a module may be given them: of unit size for the most part, as scaled data is, with zeros,
    constants, spikes, tiny and large ones; half of them like given data, where there is some.

    Args:
        channels: how many numbers a row has.
        padding: what stands past the end of a sequence.
        given: sequences as the module is given them, float32 [time, channels].
        steps: how many steps every sequence has; None for any number.
        least: how many steps a sequence has at least.
        kind: what is drawn.
        clip: the least and the largest number that the module is given.
        seed: of what is drawn.

    Example:
        >>> table = sample_table(3)
        >>> table.rows.shape[1], table.rows[0].tolist()
        (3, [0.0, 0.0, 0.0])
    """
    generator = np.random.default_rng(seed)
    drawn = _drawn(generator, channels, kind, given)
    if kind != EVERYWHERE:
        drawn = np.clip(drawn, 0 if kind == POSITIVE else -_NEAR, 1 if kind == POSITIVE else _NEAR)
    first = np.concatenate([np.full((1, channels), padding), _special(channels)])[:_SPECIAL]
    if kind == POSITIVE:
        first[1:] = np.abs(first[1:]).clip(0, 1)
    lengths = dict.fromkeys(max(n, least + n % least) for n in _MADE_STEPS)
    made = [_signal(generator, n, channels, kind) for n in ((steps,) * 4 if steps else lengths)]
    given = _first_of(given)
    parts: list[npt.NDArray[Any]] = [first, drawn, *given, *made]
    ends = np.cumsum([len(part) for part in parts])
    indices = [np.arange(end - len(part), end, dtype=np.int64) for part, end in zip(parts, ends, strict=True)][2:]
    # The last row is an ordinary one: the highest id stands in every sequence that the module is first tried on.
    rows = np.concatenate([*parts, drawn[:1]]).astype(np.float32)
    if clip is not None:
        rows[1:] = rows[1:].clip(*clip)
    return SampleTable(rows, tuple(indices[: len(given)]), tuple(indices[len(given) :]), kind)


def _first_of(given: Sequence[Samples]) -> list[Samples]:
    """The first sequences, as far as they have so many steps together."""
    ends = np.cumsum([len(sequence) for sequence in given])
    return [s for s, end in zip(given, ends, strict=True) if end <= _MOST_GIVEN] or list(given[:1])


def _special(channels: int) -> npt.NDArray[np.float64]:
    """Rows that mean something: zeros, constants, and one channel far from the others."""
    rows = np.zeros((7, channels))
    rows[1], rows[2], rows[3] = 1.0, -1.0, 1e-3
    rows[4, 0], rows[5, -1] = 8.0, -8.0
    rows[6] = np.where(np.arange(channels) % 2, 1.0, -1.0)
    return rows


def _drawn(
    generator: np.random.Generator, channels: int, kind: str, given: Sequence[Samples]
) -> npt.NDArray[np.float64]:
    """Rows that were drawn, in no order, the ordinary ones first."""

    def normal(rows: int, size: float) -> npt.NDArray[np.float64]:
        return generator.normal(0, size, (rows, channels))

    parts = [
        normal(300, 1.0),
        generator.uniform(-1, 1, (100, channels)),
        generator.uniform(0, 1, (100, channels)),
        normal(100, 3.0),
        normal(40, 1e-3),
        normal(40, 2.0) * (generator.random((40, channels)) < 1 / channels),
        generator.integers(-3, 4, (40, channels)).astype(float),
        normal(24, 10.0),
    ]
    if kind == EVERYWHERE:
        # Spikes, numbers far outside of any scale, and those below the smallest that float32 holds in full.
        parts += [normal(12, 100.0), normal(6, 1e4), normal(6, 1e-40)]
    rows = np.concatenate(parts)[:_DRAWN]
    if given:
        real = np.concatenate(given).astype(float)
        like = real[generator.integers(0, len(real), len(rows) // 2)]
        rows[: len(like)] = like + normal(len(like), 1.0) * real.std(0) * (generator.random((len(like), 1)) < 0.5) * 0.3
    return rows


def _signal(generator: np.random.Generator, steps: int, channels: int, kind: str) -> npt.NDArray[np.float64]:
    """A smooth signal with noise, of unit size."""
    time = np.arange(steps)[:, None]
    waves = np.sin(time * generator.uniform(0.02, 0.5, channels) + generator.uniform(0, 6, channels))
    signal: npt.NDArray[np.float64] = waves + generator.normal(0, 0.2, (steps, channels))
    return (signal + 2.5) / 5 if kind == POSITIVE else signal
