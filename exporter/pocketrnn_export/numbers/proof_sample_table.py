"""Make the rows of numbers that the sequences of a proof consist of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

# The kinds of drawn numbers.
EVERYWHERE: Final = "numbers of every size"
NEAR: Final = "numbers up to 12"
POSITIVE: Final = "numbers from 0 to 1"
# How many rows are drawn. Each occurs in the proof at least three times.
_DRAWN: Final = 768
_NEAR: Final = 12.0
# The most steps of given sequences that become rows of the table.
_MOST_GIVEN: Final = 20_000
# The steps of the generated sequences, where no number of steps is given.
_MADE_STEPS: Final = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
# A module may treat the first ids as padding, so the first rows are the special ones.
_SPECIAL: Final = 8


@dataclass(frozen=True)
class SampleTable:
    """Rows of numbers, and sequences that consist of these rows.

    Attributes:
        rows: float32 [rows, channels]. The first row is the padding after a sequence.
        sequences: the row indices of each given sequence.
        made: the row indices of each generated sequence.
        kind: the kind of the drawn numbers: `EVERYWHERE`, `NEAR` or `POSITIVE`.
    """

    rows: Samples
    sequences: tuple[npt.NDArray[np.int64], ...]
    made: tuple[npt.NDArray[np.int64], ...]
    kind: str


def make_sample_table(
    channels: int,
    *,
    padding: float = 0.0,
    given_sequences: Sequence[Samples] = (),
    steps: int | None = None,
    least_steps: int = 1,
    kind: str = EVERYWHERE,
    clip: tuple[float, float] | None = None,
) -> SampleTable:
    """Make the rows of numbers, and the sequences of these rows, on which a proof compares a module of numbers with its
    forms. Most numbers are near 1 in size, like scaled data; some rows are zeros, constants, spikes, tiny or large
    numbers. If sequences are given, half of the random rows are similar to rows of these sequences.

    Args:
        channels: how many numbers a row has.
        padding: the number that pads a sequence after its end.
        given_sequences: sequences in the form that the module takes, float32 [time, channels].
        steps: how many steps every sequence has; None for any number.
        least_steps: how many steps a sequence has at least.
        kind: the size of the random numbers: `EVERYWHERE`, `NEAR` or `POSITIVE`.
        clip: the least and the largest number that the rules let through to the module.
    """
    generator = np.random.default_rng(0)
    drawn = _draw_rows(generator, channels, kind, given_sequences)
    if kind != EVERYWHERE:
        drawn = np.clip(drawn, 0 if kind == POSITIVE else -_NEAR, 1 if kind == POSITIVE else _NEAR)
    first = np.concatenate([np.full((1, channels), padding), _make_special_rows(channels)])[:_SPECIAL]
    if kind == POSITIVE:
        first[1:] = np.abs(first[1:]).clip(0, 1)
    lengths = dict.fromkeys(max(n, least_steps + n % least_steps) for n in _MADE_STEPS)
    made = [_make_signal(generator, n, channels, kind) for n in ((steps,) * 4 if steps else lengths)]
    given_sequences = _select_first_sequences(given_sequences)
    parts: list[npt.NDArray[Any]] = [first, drawn, *given_sequences, *made]
    ends = np.cumsum([len(part) for part in parts])
    indices = [np.arange(end - len(part), end, dtype=np.int64) for part, end in zip(parts, ends, strict=True)][2:]
    # The last row is an ordinary one: every sequence of the first trials contains the highest id.
    rows = np.concatenate([*parts, drawn[:1]]).astype(np.float32)
    if clip is not None:
        rows[1:] = rows[1:].clip(*clip)
    return SampleTable(rows, tuple(indices[: len(given_sequences)]), tuple(indices[len(given_sequences) :]), kind)


def _select_first_sequences(sequences: Sequence[Samples]) -> list[Samples]:
    """Return as many of the first sequences as have at most _MOST_GIVEN steps together, but at least one."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    return [s for s, end in zip(sequences, ends, strict=True) if end <= _MOST_GIVEN] or list(sequences[:1])


def _make_special_rows(channels: int) -> npt.NDArray[np.float64]:
    """Return rows of unusual numbers: zeros, constants, rows in which one channel is far from the others, and a row
    with alternating signs."""
    rows = np.zeros((7, channels))
    rows[1], rows[2], rows[3] = 1.0, -1.0, 1e-3
    rows[4, 0], rows[5, -1] = 8.0, -8.0
    rows[6] = np.where(np.arange(channels) % 2, 1.0, -1.0)
    return rows


def _draw_rows(
    generator: np.random.Generator, channels: int, kind: str, given_sequences: Sequence[Samples]
) -> npt.NDArray[np.float64]:
    """Draw independent rows of random numbers, [rows, channels]: normal and uniform numbers, and for the kind
    `EVERYWHERE` very large and very small ones at the end."""

    def draw_normal_numbers(rows: int, size: float) -> npt.NDArray[np.float64]:
        return generator.normal(0, size, (rows, channels))

    parts = [
        draw_normal_numbers(300, 1.0),
        generator.uniform(-1, 1, (100, channels)),
        generator.uniform(0, 1, (100, channels)),
        draw_normal_numbers(100, 3.0),
        draw_normal_numbers(40, 1e-3),
        draw_normal_numbers(40, 2.0) * (generator.random((40, channels)) < 1 / channels),
        generator.integers(-3, 4, (40, channels)).astype(float),
        draw_normal_numbers(24, 10.0),
    ]
    if kind == EVERYWHERE:
        # Spikes, numbers far outside of any scale, and those below the smallest that float32 holds in full.
        parts += [draw_normal_numbers(12, 100.0), draw_normal_numbers(6, 1e4), draw_normal_numbers(6, 1e-40)]
    rows = np.concatenate(parts)[:_DRAWN]
    if given_sequences:
        real = np.concatenate(given_sequences).astype(float)
        like = real[generator.integers(0, len(real), len(rows) // 2)]
        rows[: len(like)] = (
            like + draw_normal_numbers(len(like), 1.0) * real.std(0) * (generator.random((len(like), 1)) < 0.5) * 0.3
        )
    return rows


def _make_signal(generator: np.random.Generator, steps: int, channels: int, kind: str) -> npt.NDArray[np.float64]:
    """Make a sequence [steps, channels] that looks like a measured signal: sine waves with noise. The kind `POSITIVE`
    gives numbers around 0.5, and other kinds numbers between about -1.5 and 1.5."""
    time = np.arange(steps)[:, None]
    waves = np.sin(time * generator.uniform(0.02, 0.5, channels) + generator.uniform(0, 6, channels))
    signal: npt.NDArray[np.float64] = waves + generator.normal(0, 0.2, (steps, channels))
    return (signal + 2.5) / 5 if kind == POSITIVE else signal
