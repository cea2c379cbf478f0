"""Read the mean and the scale of each channel from a scaler, or from the scaler's file. No code in the file is run.

A file is `.npz` or `.json` with `mean` and `scale` (or `std`), or a scikit-learn scaler that `joblib.dump` or
`pickle.dump` wrote (`safe_pickle_reader.py`).
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from pocketrnn.errors import InputError, find_file_error_reason, first_line, short_repr
from pocketrnn_export.json_reading_and_writing import brief_text
from pocketrnn_export.safe_pickle_reader import UnsupportedPickleError, read_pickle
from pocketrnn_training.rows.array_files import read_arrays

# A scaler of 65,536 channels takes 4 MB.
_LARGEST: Final = 1 << 25
_SCALERS: Final = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
# The allowed keys of a mapping: mean and scale; the switches that turn one of them off; and the other attributes of a
# StandardScaler and a RobustScaler.
_MEAN: Final = ("mean", "mean_", "center_", "means")
_SCALE: Final = ("scale", "scale_", "std", "stds")
_MEANT: Final = frozenset({
    *_MEAN, *_SCALE, "clip", "copy", "feature_names_in_", "n_features_in_", "n_samples_seen_", "quantile_range",
    "unit_variance", "with_centering", "with_mean", "with_scaling", "with_std",
})  # fmt: skip
_OTHER: Final = "Give a .npz or .json file with `mean` and `scale`, or a StandardScaler that joblib or pickle saved."

MeanAndScale = tuple[tuple[float, ...], tuple[float, ...]]


def read_scaler(path: Path, channels: Sequence[str] | None = None) -> MeanAndScale:
    """Return the mean and the scale of each channel from a scaler's file. No code in the file is run.

    Args:
        path: a .npz or .json file with `mean` and `scale`, or a scaler of scikit-learn that joblib or pickle saved.
        channels: the names of the channels. If the file has names of columns, the numbers of the columns with these
            names are returned. None to return all numbers in their order.

    Raises:
        InputError: the file cannot be read, is too large or damaged, or does not contain a scaler.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(
                f"{path} has {path.stat().st_size:,} bytes, but a scaler's file may have at most {_LARGEST:,} bytes.",
                _OTHER,
            )
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {find_file_error_reason(error)}.",
            "Check the file's name, and that you may read the file.",
        ) from None
    try:
        if path.suffix == ".json":
            found: Any = json.loads(content)
        elif path.suffix == ".npz":
            found = read_arrays(path, _OTHER, most=_LARGEST)
        else:
            found = read_pickle(content, _SCALERS)
    except InputError:
        raise
    except UnsupportedPickleError as error:
        raise InputError(
            f"{path} is a pickle with {error}. A scaler does not need this, and nothing in the file was run.", _OTHER
        ) from None
    # Damaged bytes raise many errors: ValueError, UnpicklingError, KeyError, EOFError, BadZipFile, MemoryError.
    except Exception as error:
        said = type(error).__name__ if isinstance(error, KeyError | ValueError) else first_line(error)
        raise InputError(f"No scaler can be read from {path}: {said}.", _OTHER) from None
    return find_mean_and_scale(found, str(path), channels)


def find_mean_and_scale(
    scaler: object, name: str = "The scaler", channels: Sequence[str] | None = None
) -> MeanAndScale:
    """Return the mean and the scale of each channel from a scaler. If the scaler has a method `transform`, check on
    five rows of numbers that the method only subtracts the mean and divides by the scale.

    Args:
        scaler: a scaler of scikit-learn, a similar object, or a dict with `mean` and `scale`.
        name: the scaler's name in error messages.
        channels: the names of the channels. If the scaler has names of columns, the numbers of the columns with these
            names are returned. None to return all numbers in their order.

    Raises:
        InputError: the scaler has no mean and no scale, contains other numbers, limits the scaled numbers (clip=True),
            or its `transform` does more than scale.
    """
    values = scaler if isinstance(scaler, Mapping) else vars(scaler) if hasattr(scaler, "__dict__") else {}
    kind = type(scaler).__name__
    if not (values.get("clip") is None or values.get("clip") is False):
        raise InputError(
            f"{name} is a {short_repr(kind)} that also limits the scaled numbers (clip=True), but pocketrnn takes only "
            "the mean and the scale from a scaler.",
            "Leave out `scaler`, and give the arguments `mean`, `scale` and `clip` as numbers.",
        )
    asked = not isinstance(scaler, Mapping) and callable(getattr(scaler, "transform", None))
    meant = _MEANT | {"var", "var_"} if values.keys() & set(_SCALE) else _MEANT
    if kind not in _SCALERS and not asked and (other := sorted(map(str, values.keys() - meant))):
        raise InputError(
            f"{name} also contains {short_repr(other[0])}, which is neither mean nor scale.",
            "If the scaler only subtracts the mean and divides by the scale, give only `mean` and `scale` (the square "
            "root of the variance). If it does more, do its work in the module's forward.",
        )
    pair = _read_mean_and_scale(values, kind, name)
    if asked:
        _refuse_transform_that_does_more_than_scale(getattr(scaler, "transform", None), pair, name)
    columns = {tuple(found) for key in (*_MEAN, *_SCALE) if (found := read_column_names(values.get(key))) is not None}
    if len(columns) > 1:
        raise InputError(
            f"{name} has a mean and a scale for different columns, or for the same columns in different orders.",
            "Give the mean and the scale for the same columns, in the same order.",
        )
    known = values.get("feature_names_in_", next(iter(columns), None))
    if known is None or channels is None:
        return pair
    names = [str(column) for column in np.asarray(known, object).reshape(-1)]
    mean, scale = (tuple(select_numbers_of_channels(numbers, names, channels, name)) for numbers in pair)
    return mean, scale


def read_column_names(numbers: object) -> list[str] | None:
    """Return the names of the columns that some numbers belong to: the keys of a dict, or the index of a pandas Series
    such as `table.mean()`. Return None for numbers without such names.

    Example:
        >>> read_column_names({"ax": 1.0}), read_column_names([1.0])
        (['ax'], None)
    """
    index = numbers if isinstance(numbers, Mapping) else getattr(numbers, "index", None)
    if index is None or callable(index):
        return None
    names = list(index)
    return names if names and all(isinstance(name, str) for name in names) else None


def select_numbers_of_channels(
    numbers: Sequence[Any], column_names: list[str], channels: Sequence[str], name: str
) -> list[Any]:
    """Return the number of each channel, in the order of the channels. The number of a channel is that of the column
    with the same name. If no channel has the name of a column, return all numbers in their order.

    Args:
        numbers: one number for each column.
        column_names: the names of the columns.
        channels: the names of the channels.
        name: the name of the numbers in the error message, such as `mean`.

    Raises:
        InputError: some channels have the name of a column and others have not, or two columns have the name of one
            channel.

    Example:
        >>> select_numbers_of_channels([1.0, 2.0], ["az", "ax"], ["ax", "az"], "mean")
        [2.0, 1.0]
    """
    if not set(column_names) & set(channels):
        return list(numbers)
    if unknown := [channel for channel in channels if column_names.count(channel) != 1]:
        raise InputError(
            f"{name} has numbers for the columns {', '.join(column_names[:6])}, but the channel {unknown[0]!r} is not "
            "exactly one of these columns.",
            "Name the channels like the columns, or give the numbers as a list in the order of the channels.",
        )
    return [numbers[column_names.index(channel)] for channel in channels]


def _read_mean_and_scale(values: Mapping[str, Any], kind: str, name: str) -> MeanAndScale:
    """Return the mean and the scale of each channel from `values`, the attributes of a scaler or the entries of a dict.
    A missing mean is 0, and a missing scale is 1.

    Args:
        values: the attributes or entries by name.
        kind: the name of the scaler's class.
        name: the scaler's name in error messages.

    Raises:
        InputError: both the mean and the scale are missing, or one of their numbers is not finite.
    """
    if kind == "MinMaxScaler" and {"scale_", "min_"} <= values.keys():
        scale = _read_finite_numbers(values["scale_"], name)
        return tuple(-low / s for low, s in zip(_read_finite_numbers(values["min_"], name), scale, strict=True)), tuple(
            1 / s for s in scale
        )
    if values.get("with_mean") is False or values.get("with_centering") is False:
        values = {**values, "mean_": None, "center_": None}
    if values.get("with_std") is False or values.get("with_scaling") is False:
        values = {**values, "scale_": None}
    found, scales = _find_numbers_under_keys(_MEAN, values, name), _find_numbers_under_keys(_SCALE, values, name)
    if found is None and scales is None:
        raise InputError(
            f"{name} is of type {short_repr(kind)} and has neither a mean nor a scale, but it needs one.", _OTHER
        )
    channels = len(found or scales or ())
    return found or (0.0,) * channels, scales or (1.0,) * channels


def _find_numbers_under_keys(keys: Sequence[str], values: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    """Return the numbers of a scaler that are under one of `keys`, such as `mean` and `mean_`, in its attributes
    `values`. Return None if there is none of these keys. Raise an InputError if two of the keys have different numbers;
    `name` is the scaler's name in the message."""
    said = {key: _read_finite_numbers(values[key], name) for key in keys if values.get(key) is not None}
    if len(set(said.values())) > 1:
        raise InputError(
            f"{name} has different numbers under {' and '.join(said)}.", "Delete all but one of these keys."
        )
    return next(iter(said.values()), None)


def _refuse_transform_that_does_more_than_scale(transform: Any, mean_and_scale: MeanAndScale, name: str) -> None:
    """Raise an InputError if a scaler's method `transform` does more than subtract the mean and divide by the scale, or
    fails. The method is called with five rows of numbers; `name` is the scaler's name in the message."""
    mean, scale = map(np.array, mean_and_scale)
    wanted = np.array([[0.0], [1.0], [-1.5], [100.0], [-10_000.0]]) * np.ones(len(mean))
    rows = mean + scale * wanted
    # The owner's own scaler may take tensors.
    for given in (rows, torch.from_numpy(rows)):
        try:
            with warnings.catch_warnings():
                # scikit-learn warns that an array has no column names, where the scaler was fitted on a table.
                warnings.simplefilter("ignore")
                scaled = np.asarray(transform(given), np.float64)
            break
        except Exception as error:
            said = first_line(error)
    else:
        raise InputError(
            f"{name} cannot be tested, since its method `transform` fails on five rows of numbers: {said}.", _OTHER
        )
    if scaled.shape != rows.shape:
        said = f"an array of the shape {list(scaled.shape)} for one of the shape {list(rows.shape)}"
    elif (wrong := ~np.isclose(scaled, wanted, rtol=1e-4, atol=1e-4)).any():
        said = f"{scaled[wrong][0]:.4g} for {rows[wrong][0]:.4g}, not {wanted[wrong][0]:.4g}"
    else:
        return
    raise InputError(
        f"{name} must only subtract its mean and divide by its scale, but its method `transform` gives {said}.",
        "If mean, scale and clip are enough, give the arguments `mean`, `scale` and `clip` as numbers. Otherwise scale "
        "the numbers with your scaler before you give them to the classifier.",
    )


def _read_finite_numbers(value: object, name: str) -> tuple[float, ...]:
    """Return the numbers in an array or list as a tuple. Raise an InputError if there are none, or if a number is not
    finite; `name` is the scaler's name in the message."""
    try:
        # A list inside a list of lists: a crafted pickle can contain itself many times.
        if isinstance(value, list | tuple) and any(
            isinstance(i, list | tuple) for row in value if isinstance(row, list | tuple) for i in row
        ):
            raise ValueError
        numbers = tuple(np.asarray(value, np.float64).reshape(-1).tolist())
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        shown = short_repr(value, 40) if isinstance(value, np.ndarray) else brief_text(value)
        raise InputError(f"{name} contains {shown}, but must have one finite number for each channel.", _OTHER)
    return numbers
