"""Prepare sequences of numbers in the same way as the module's training did: channels, scale, missing samples, length.

The arithmetic is in double precision and rounded once, to float32, as with a scaler of scikit-learn before
`torch.tensor(..., dtype=torch.float32)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pocketrnn.errors import InputError, SequenceError, short_repr

__all__ = [
    "FAR",
    "NumberCheck",
    "NumberInput",
    "convert_sequence_to_array",
    "convert_steps_to_array",
    "join_columns",
    "mask_gaps_among_integers",
]

Samples = NDArray[np.float32]
# More channels than this are not those of a sensor, but an image or a mistake.
MOST_CHANNELS: Final = 65_536
# A number is far if its distance from the training range is more than this many times the range's width. In aeon's
# classification sets (motions, gestures, speech, outlines, power) no test row is further than 0.5 from the range of the
# training rows, but counts of infections 2.1; from the range of a tenth of the rows only these are further than 1.8. A
# wrong unit is off by 10 to 1,000.
FAR: Final = 4.0
# A function that gets numbers [time, channels] in the channels' own units, and the index of the first step.
NumberCheck = Callable[[NDArray[np.float64], int], None]
MOST_STEPS: Final = (1 << 31) - 1


@dataclass(frozen=True)
class NumberInput:
    """The rules that convert a sequence of numbers to the graph's input.

    The steps have this order: integers are multiplied by `integer_scale`, a missing sample becomes `missing`, `mean` is
    subtracted, the result is divided by `scale` and clipped to `clip`.

    Attributes:
        channels: the names of the channels, in the order of the module's input.
        units: the unit of each channel, such as "m/s^2"; None if the units are not stated.
        integer_scale: for each channel the factor for integers, as for int16 from a sensor; None for 1.
        mean, scale: for each channel: the module gets (number - mean) / scale. None for the mean 0 and the scale 1.
        clip: the smallest and the largest number that the module gets; None for no limit.
        missing: the value that replaces a missing sample (NaN), in the channel's own unit; None refuses a sequence with
            one.
        steps: the exact number of time steps that the module takes; None for any number.
        pad_side: the side on which a sequence of fewer than `steps` steps is padded; None refuses such a sequence.
        pad_value: the value of the padding, as the module gets it.
        window: how many steps of a recording are answered at once; None if a recording is one sequence.
        hop: how many steps after the beginning of a window the next window begins; None for the length of the window.
        rate: how many samples a second the sensor gives; None if this is not stated.
        training_range: for each channel the smallest and the largest number in training, in the channel's own unit;
            None if they are not stated. Numbers are not clipped to them; see `mark_numbers_far_outside_training`.

    Raises:
        InputError: a member does not have one value for each channel, or has an invalid value.

    Example:
        >>> rules = NumberInput(("x", "y"), mean=(1.0, 0.0), scale=(2.0, 1.0))
        >>> rules.prepared([[3, 5], [1, 6]]).tolist()
        [[1.0, 5.0], [0.0, 6.0]]
    """

    kind: ClassVar[str] = "numbers"

    channels: tuple[str, ...]
    units: tuple[str, ...] | None = None
    integer_scale: tuple[float, ...] | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    clip: tuple[float, float] | None = None
    missing: float | None = None
    steps: int | None = None
    pad_side: Literal["left", "right"] | None = None
    pad_value: float = 0.0
    window: int | None = None
    hop: int | None = None
    rate: float | None = None
    training_range: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        _check_channel_names(self.channels)
        for name in ("units", "integer_scale", "mean", "scale", "training_range"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.channels):
                raise InputError(
                    f"{name} has {len(given)} values, but there are {len(self.channels)} channels.",
                    "Give one value for each channel, in the order of `channels`.",
                )
        for name in ("integer_scale", "mean", "scale"):
            for number in getattr(self, name) or ():
                if not _is_finite(number) or (number == 0 and name != "mean"):
                    raise InputError(
                        f"{name} holds {short_repr(number)}, which is not a finite number"
                        f"{'' if name == 'mean' else ' other than 0'}.",
                        "Give finite numbers. For a channel that never changes, give the scale 1, as scikit-learn "
                        "does.",
                    )
        if self.clip is not None and not (
            len(self.clip) == 2 and all(map(_is_number, self.clip)) and self.clip[0] < self.clip[1]
        ):
            raise InputError(
                f"clip is {short_repr(self.clip)}, but it must be a pair of numbers, the smaller one first.",
                "Give the smallest and the largest number that the module gets, such as (-5.0, 5.0).",
            )
        for name in ("missing", "pad_value"):
            if (number := getattr(self, name)) is not None and not _is_finite(number):
                raise InputError(f"{name} is {short_repr(number)}, but it must be a finite number.", "Give a number.")
        for pair in self.training_range or ():
            if len(pair) != 2 or not all(map(_is_finite, pair)) or pair[0] > pair[1]:
                raise InputError(
                    f"training_range holds {short_repr(pair)}, but each item must be a pair of finite numbers, the "
                    "smaller one first.",
                    "Give for each channel the smallest and the largest number in training.",
                )
        self._check_steps()

    def _check_steps(self) -> None:
        """Raise an InputError if the rules for steps, windows, rate or padding are not valid."""
        for name in ("steps", "window", "hop"):
            number = getattr(self, name)
            if number is not None and (type(number) is not int or not 1 <= number <= MOST_STEPS):
                raise InputError(
                    f"{name} is {short_repr(number)}, but it must be a whole number from 1 to {MOST_STEPS:,}.",
                    "Give a number of time steps.",
                )
        if self.rate is not None and not (_is_finite(self.rate) and self.rate > 0):
            raise InputError(
                f"rate is {short_repr(self.rate)}, but it must be a finite number above 0.",
                "Give the number of samples per second.",
            )
        if self.pad_side not in (None, "left", "right"):
            raise InputError(
                f"pad_side is {short_repr(self.pad_side)}, but it must be 'left' or 'right'.", "Give one of these."
            )
        if self.pad_side is not None and self.steps is None:
            raise InputError(
                "`pad_side` is given, but `steps` is not.",
                "Also give `steps`, the number of steps to which sequences are padded.",
            )
        if self.hop is not None and self.window is None:
            raise InputError(
                "`hop` is given, but `window` is not.", "Also give `window`, the number of steps of a window."
            )
        if self.steps is not None and self.window is not None and self.window > self.steps:
            raise InputError(
                f"`window` is {self.window} steps, but the module takes exactly {self.steps} steps (`steps`).",
                f"Give a window of at most {self.steps} steps.",
            )

    @property
    def document(self) -> dict[str, Any]:
        """The rules as members of classifier.json, without the rules that are not stated.

        Example:
            >>> NumberInput(("x",), rate=50.0).document
            {'channels': ['x'], 'rate': 50.0}
        """
        members = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in members.items()}
        if self.training_range is not None:
            lists["training_range"] = [list(pair) for pair in self.training_range]
        return {name: value for name, value in lists.items() if value is not None and (name, value) != ("pad_value", 0)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> NumberInput:
        """Build the rules from the member `numbers` of classifier.json.

        Raises:
            InputError: a member does not have one value for each channel, or has an invalid value.

        Example:
            >>> NumberInput.from_document({"channels": ["x"], "rate": 50.0}).rate
            50.0
        """
        whole = {"steps", "window", "hop"}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else int(value) if name in whole else value
            for name, value in document.items()
        }
        if "training_range" in values:
            values["training_range"] = tuple(tuple(map(float, pair)) for pair in values["training_range"])
        return cls(**values)

    def prepared(self, sequence: object, check_numbers: NumberCheck | None = None) -> Samples:
        """Prepare a sequence as the input of the graph: scale it, and pad it if it is too short and the rules allow
        this.

        Args:
            sequence: numbers [time, channels], or [time] for a single channel: an array, lists, or a table with a
                column for each channel by its name.
            check_numbers: called with the numbers in the channels' own units and the index 0 before they are scaled; it
                may refuse them. None for no check.

        Returns:
            float32 [time, channels].

        Raises:
            SequenceError: the sequence has other channels or another number of steps, is empty, or holds something
                other than finite numbers.

        Example:
            >>> NumberInput(("x",), missing=0.0).prepared([1.0, float("nan")]).tolist()
            [[1.0], [0.0]]
        """
        given = convert_sequence_to_array(sequence, self.channels, self.integer_scale)
        samples = self.scaled(given, check_numbers=check_numbers)
        steps = len(samples)
        if self.steps is None or steps == self.steps:
            return samples
        limit = "exactly" if self.pad_side is None else "at most"
        if steps > self.steps:
            raise SequenceError(
                f"The sequence has {steps:,} steps, but the classifier takes {limit} {self.steps:,}.",
                f"Cut the sequence to {self.steps:,} steps. To answer a long recording window by window, call "
                "recording() or stream().",
            )
        if self.pad_side is None:
            raise SequenceError(
                f"The sequence has {steps:,} steps, but the classifier takes {limit} {self.steps:,}.",
                f"Give exactly {self.steps:,} steps. If the module was trained on padded sequences, export it with "
                "pad_side, so that shorter sequences are padded.",
            )
        filled = np.full((self.steps, len(self.channels)), self.pad_value, np.float32)
        start = self.steps - steps if self.pad_side == "left" else 0
        filled[start : start + steps] = samples
        return filled

    def check_samples(self, samples: NDArray[Any], first_step: int = 0) -> None:
        """Check that samples [time, channels] are finite. A missing sample (NaN) is accepted if `missing` is set.

        Args:
            samples: an array that `convert_sequence_to_array` returned.
            first_step: the index in the recording of the first of these steps.

        Raises:
            SequenceError: a sample is infinite, or missing without a value for it. The message names its channel and
                its step.

        Example:
            >>> NumberInput(("x",)).check_samples(np.array([[1.0]]))
        """
        infinite, gaps = np.isinf(np.ma.getdata(samples)), np.isnan(_fill_gaps(samples))
        if infinite.any():
            raise _make_sample_error(infinite, self.channels, "infinite", "Give finite numbers.", first_step)
        if gaps.any() and self.missing is None:
            raise _make_sample_error(
                gaps, self.channels, "missing (NaN)",
                "Fill the gap, or export the classifier with missing=NUMBER, which then replaces each gap.", first_step,
            )  # fmt: skip

    def convert_to_channel_units(self, samples: NDArray[Any]) -> NDArray[np.float64]:
        """Convert samples [time, channels] to float64 in the channels' units: integers are multiplied by
        `integer_scale`.

        Example:
            >>> NumberInput(("x",), integer_scale=(0.001,)).convert_to_channel_units(np.array([[1000]])).tolist()
            [[1.0]]
        """
        numbers = _fill_gaps(samples).astype(np.float64)
        if self.integer_scale is not None and samples.dtype.kind in "iu":
            numbers *= self.integer_scale
        return numbers

    def mark_numbers_far_outside_training(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark the numbers that lie outside the training range by more than `FAR` (4) times its width.

        If a channel never changed in training, its absolute value counts as the width; if this was 0, the width is 1.

        Args:
            numbers: [time, channels], in the channels' own units.

        Returns:
            bool [time, channels], True for such a number; all False if the training range is unknown.

        Example:
            >>> rules = NumberInput(("x",), training_range=((-1.0, 1.0),))
            >>> rules.mark_numbers_far_outside_training(np.array([[2.0], [980.0]])).tolist()
            [[False], [True]]
        """
        if self.training_range is None:
            return np.zeros(numbers.shape, bool)
        least, most = np.array(self.training_range).T
        width = np.where(most > least, most - least, np.maximum(np.abs(least), np.abs(most)))
        beyond = FAR * np.where(width > 0, width, 1.0)
        far: NDArray[np.bool_] = (numbers < least - beyond) | (numbers > most + beyond)
        return far

    def scaled(self, samples: NDArray[Any], first_step: int = 0, check_numbers: NumberCheck | None = None) -> Samples:
        """Scale samples [time, channels] to the graph's input, float32 [time, channels], without checking the number of
        steps.

        Args:
            samples: an array that `convert_sequence_to_array` returned.
            first_step: the index in the recording of the first of these steps.
            check_numbers: called with the numbers in the channels' own units and `first_step` before they are scaled;
                it may refuse them. None for no check.

        Raises:
            SequenceError: a sample is infinite, missing, or too large for float32.

        Example:
            >>> NumberInput(("x",), scale=(2.0,)).scaled(np.array([[3.0]])).tolist()
            [[1.5]]
        """
        numbers = self.convert_to_channel_units(samples)
        self.check_samples(numbers, first_step)
        if check_numbers is not None:
            check_numbers(numbers, first_step)
        if self.missing is not None:
            numbers[np.isnan(numbers)] = self.missing
        if self.mean is not None:
            numbers -= self.mean
        if self.scale is not None:
            numbers /= self.scale
        if self.clip is not None:
            np.clip(numbers, *self.clip, out=numbers)
        with np.errstate(over="ignore"):
            made = numbers.astype(np.float32)
        if np.isinf(made).any():
            raise _make_sample_error(
                np.isinf(made), self.channels, "too large for float32", "Check the sensor's unit.", first_step
            )
        return made


def convert_steps_to_array(
    samples: object, channels: Sequence[str], integer_scale: Sequence[float] | None = None
) -> NDArray[Any]:
    """Convert samples that arrive to an array [time, channels].

    Args:
        samples: several steps [time, channels], or one step [channels].
        integer_scale: for each channel the factor for integers; None for 1.

    Raises:
        SequenceError: `samples` are not numbers of one of these shapes.
    """
    one = len(channels) > 1 and np.ndim(samples) == 1 and len(samples) == len(channels)  # type: ignore[arg-type]
    if one:
        samples = samples[np.newaxis] if isinstance(samples, np.ma.MaskedArray) else [samples]
    return convert_sequence_to_array(samples, channels, integer_scale)


def convert_sequence_to_array(
    sequence: object, channels: Sequence[str], integer_scale: Sequence[float] | None = None
) -> NDArray[Any]:
    """Convert a sequence to an array of numbers [time, channels].

    A gap (None or a masked item) becomes NaN. If `integer_scale` is given and all numbers are integers, the result has
    integers, and a gap is a masked item. The factors are applied later.

    Args:
        sequence: numbers [time, channels], or [time] for a single channel: an array, lists, or a table with a column
            for each channel by its name.
        integer_scale: for each channel the factor for integers; None for 1.

    Raises:
        SequenceError: the argument is not a sequence of numbers with these channels.
    """
    by_name = getattr(sequence, "columns", None)
    if by_name is not None and not isinstance(sequence, np.ndarray):
        names = [str(name) for name in getattr(sequence, "column_names", by_name)]
        sequence = _select_channel_columns(sequence, names, channels, integer_scale)
    if isinstance(sequence, str | bytes | Mapping):
        raise SequenceError(
            f"{_describe_sequence(sequence)} is not a sequence of numbers.",
            "Give an array [time, channels], or a list with one row of numbers for each time step.",
        )
    try:
        # An Arrow array holds lists, which become Python lists first.
        given = sequence.to_pylist() if hasattr(sequence, "to_pylist") else sequence
        if isinstance(given, list | tuple) and any(value is None for value in _flatten_rows(given)):
            given = _mask_gaps_of_rows(given)
        found = np.asanyarray(given) if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
        if integer_scale is None or found.dtype.kind == "f":
            found = _fill_gaps(found)
    # An object's conversion may raise any exception; rows of different lengths raise a ValueError.
    except Exception:
        found = np.empty(0, object)
    if found.dtype.kind not in "iufb" or found.ndim not in (1, 2):
        raise SequenceError(
            f"{_describe_sequence(sequence)} is not a sequence of numbers [time, channels].",
            f"Give an array [time, {len(channels)}], or a list of rows of {len(channels)} numbers.",
        )
    if found.ndim == 1 and (len(channels) == 1 or not found.size):
        found = found.reshape(-1, len(channels))
    if found.ndim == 1 or found.shape[1] != len(channels):
        wanted = f"{len(channels)} channel{'s' * (len(channels) != 1)} ({', '.join(channels[:6])})"
        raise SequenceError(
            f"The sequence has the shape {list(found.shape)}, but the classifier takes {wanted}.",
            f"Give an array [time, {len(channels)}].",
        )
    if not len(found):
        raise SequenceError("The sequence is empty.", "Give at least one time step.")
    return found


def _describe_sequence(sequence: object) -> str:
    """Describe a sequence for a message: an array by its type and shape, since its numbers would take several lines;
    anything else by the beginning of its `repr`."""
    if isinstance(sequence, np.ndarray):
        return f"An array of {sequence.dtype} and the shape {list(sequence.shape)}"
    return short_repr(sequence, 40).replace("\n", " ")


def _flatten_rows(rows: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a list of rows as one flat list; return a flat list unchanged."""
    if rows and isinstance(rows[0], list | tuple):
        return [value for row in rows if isinstance(row, list | tuple) for value in row]
    return rows


def join_columns(columns: Sequence[NDArray[Any]], integer_scale: Sequence[float] | None) -> NDArray[Any]:
    """Join the columns of channels to an array [time, channels].

    The array has integers if all columns do, and else floats. In the latter case, the integer columns are multiplied by
    their factors of `integer_scale`, but only if the factor of each float column is 1.

    Args:
        columns: the numbers of each channel; in a masked array of integers, gaps are masked.
        integer_scale: for each channel the factor for integers; None for 1.

    Example:
        >>> join_columns([np.array([2, 4]), np.array([36.5, 36.6])], (0.5, 1.0)).tolist()
        [[1.0, 36.5], [2.0, 36.6]]
    """
    are_whole = [column.dtype.kind in "iu" for column in columns]
    if integer_scale is None:
        return np.stack([_fill_gaps(column) for column in columns], axis=1)
    if all(are_whole):
        has_gaps = any(map(np.ma.is_masked, columns))
        return np.ma.stack(columns, axis=1) if has_gaps else np.stack(list(map(np.ma.getdata, columns)), axis=1)
    filled = [_fill_gaps(column) for column in columns]
    empty = [is_whole or bool(np.isnan(column).all()) for is_whole, column in zip(are_whole, filled, strict=True)]
    if all(scale == 1 or is_empty for scale, is_empty in zip(integer_scale, empty, strict=True)):
        filled = [
            column * scale if is_whole else column
            for column, scale, is_whole in zip(filled, integer_scale, are_whole, strict=True)
        ]
    return np.stack(filled, axis=1)


def mask_gaps_among_integers(column: NDArray[Any]) -> NDArray[Any]:
    """Convert a column of floats whose numbers are all integers, with gaps between them, to integers whose gaps are
    masked. Return any other column unchanged.

    Example:
        >>> mask_gaps_among_integers(np.array([3.0, np.nan]))
        masked_array(data=[3, --],
                     mask=[False,  True],
               fill_value=0)
    """
    gaps = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)
    numbers = column[~gaps]
    if not gaps.any() or not len(numbers) or not (np.abs(numbers) < 2**53).all() or (numbers % 1 != 0).any():
        return column
    return np.ma.MaskedArray(np.where(gaps, 0, column).astype(np.int64), gaps, fill_value=0)


def _mask_gaps_of_rows(rows: Sequence[Any]) -> Any:
    """Convert rows, or a flat list, in which None stands for a gap. If all numbers are integers, return an array in
    which the gaps are masked; else return lists with NaN for each gap."""
    is_whole = all(value is None or type(value) is int for value in _flatten_rows(rows))
    other = 0 if is_whole else math.nan
    filled = [
        [other if v is None else v for v in row] if isinstance(row, list | tuple) else other if row is None else row
        for row in rows
    ]
    if not is_whole:
        return filled
    gaps = [[v is None for v in row] if isinstance(row, list | tuple) else row is None for row in rows]
    found = np.asarray(filled)
    return np.ma.MaskedArray(found, gaps) if found.dtype.kind in "iu" and any(_flatten_rows(gaps)) else filled


def _fill_gaps(samples: NDArray[Any]) -> NDArray[Any]:
    """Replace the masked items of a masked array by NaN; return any other array unchanged."""
    if not isinstance(samples, np.ma.MaskedArray):
        return samples
    return (
        np.where(np.ma.getmaskarray(samples), np.nan, np.ma.getdata(samples))
        if np.ma.is_masked(samples)
        else np.ma.getdata(samples)
    )


def _select_channel_columns(
    table: Any, column_names: Sequence[str], channels: Sequence[str], integer_scale: Sequence[float] | None
) -> Any:
    """Select the columns of the channels from a table, such as one of pandas or Arrow, and join them to an array [time,
    channels].

    Args:
        channels: the names of the wanted columns, in the order of the result.
        integer_scale: for each channel the factor for integers; None for 1.
    """
    if missing := [name for name in channels if name not in column_names]:
        raise SequenceError(
            f"The table has no column {missing[0]!r}; its columns are "
            f"{', '.join(map(repr, column_names[:6])) or 'none'}.",
            f"Give a table with a column for each channel: {', '.join(channels[:6])}.",
        )
    try:
        columns = [np.asarray(table[name]) for name in channels]
        types = [str(getattr(table[name], "type", columns[i].dtype)) for i, name in enumerate(channels)]
        # Both pandas and Arrow give a column of integers with a gap as floats; Arrow still says its type.
        if integer_scale is not None and any(kind.startswith(("int", "uint")) for kind in types):
            columns = list(map(mask_gaps_among_integers, columns))
        return join_columns(columns, integer_scale)
    # A table may raise any exception.
    except Exception:
        raise SequenceError(
            "The columns of the table cannot be read as numbers.", "Give a column of numbers for each channel."
        ) from None


def _make_sample_error(
    is_faulty: NDArray[np.bool_], channels: Sequence[str], fault: str, remedy: str, first_step: int
) -> SequenceError:
    """Make the error for faulty samples. It names the channel and the step of the first one, and says how many more
    there are.

    Args:
        is_faulty: bool [time, channels], True for a faulty sample.
        fault: what is wrong, as the end of a sentence: `infinite`.
        remedy: what to do, as a sentence.
        first_step: the index in the recording of the first step.
    """
    step, channel = (int(found[0]) for found in np.nonzero(is_faulty))
    count = int(is_faulty.sum())
    more = f", and {count - 1:,} more are" if count > 1 else ""
    return SequenceError(
        f"Channel {channels[channel]!r} is {fault} at step {first_step + step} (counted from 0){more}.", remedy
    )


def _check_channel_names(channels: object) -> None:
    """Raise an InputError unless `channels` is a tuple of 1 to 65,536 different names of 1 to 200 printable
    characters."""
    if isinstance(channels, str) or not isinstance(channels, tuple) or not channels:
        raise InputError(
            f"channels is {short_repr(channels)}, but it must be a tuple of the names of the channels.",
            "Give a tuple such as ('ax', 'ay', 'az').",
        )
    if len(channels) > MOST_CHANNELS:
        raise InputError(
            f"There are {len(channels):,} channels, but at most {MOST_CHANNELS:,} are allowed.", "Give fewer channels."
        )
    for name in channels:
        if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 200:
            raise InputError(
                f"{short_repr(name)} is not a valid name of a channel.", "Give a name of 1 to 200 printable characters."
            )
    if len(set(channels)) < len(channels):
        twice = next(name for name in channels if channels.count(name) > 1)
        raise InputError(f"The channel {short_repr(twice, 40)} is given twice.", "Give each channel once.")


def _is_number(value: object) -> bool:
    """Return whether a value is a number of Python or numpy, but not NaN or a bool."""
    return isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool) and value == value


def _is_finite(value: object) -> bool:
    try:
        return _is_number(value) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        # An integer that is too large for a float.
        return False
