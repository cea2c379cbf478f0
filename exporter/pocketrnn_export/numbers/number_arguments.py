"""Check the arguments of `export` for a classifier of sequences of numbers, and collect them in one object."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from pocketrnn.bundle.output_kinds import NO_PRIORS, Output, Priors, ValueOutput
from pocketrnn.errors import InputError, SequenceError, short_repr, suggest_similar_name
from pocketrnn.numbers.number_input import NumberInput
from pocketrnn.numbers.training_range import find_channel_ranges
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.bundle_description import Description, make_label_output, validate_name
from pocketrnn_export.export_arguments import ExportOptions
from pocketrnn_export.numbers.number_export import NumberExport
from pocketrnn_export.numbers.scaler_file import (
    find_mean_and_scale,
    read_column_names,
    read_scaler,
    select_numbers_of_channels,
)
from pocketrnn_export.numbers.table_of_proof_samples import LAYOUTS

# The fewest sequences that give a range of numbers.
_ENOUGH: Final = 4
_RULES: Final = frozenset(field.name for field in fields(NumberInput)) - {"channels"}


def collect_number_arguments(
    name: str,
    wanted: ExportOptions,
    provenance: Mapping[str, object] | None,
    *,
    given: NumberInput | None,
    channels: Sequence[str] | int | None = None,
    labels: Sequence[str] | None = None,
    values: Sequence[str] | None = None,
    value_units: Sequence[str] | None = None,
    scaler: object = None,
    layout: str | None = None,
    sequences: Iterable[object] = (),
    multi_label: bool = False,
    thresholds: Sequence[float] | None = None,
    priors: Priors = NO_PRIORS,
    **rules: object,
) -> NumberExport:
    """Check the arguments of `export` for a module of sequences of numbers, and return them as one object.

    Args:
        name: the name of the classifier.
        wanted: how the module is called, and the files to make for the bundle.
        provenance: facts on the origin of the classifier, which the bundle stores; None for none.
        given: the argument `input`; None if `channels`, `scaler` and `rules` describe the input.
        channels: the names of the channels, or how many there are.
        labels: the labels of the classes; None if `values` is given.
        values, value_units: the names and units of the numbers that a regression module returns, in place of labels.
        scaler: the scaler of the channels, or its file; None if there is none.
        layout: the order of the axes of forward's input, such as `btc`; None to find it.
        sequences: the user's own sequences, for the proof and for the usual range of each channel.
        multi_label: whether a sequence can have several labels.
        thresholds: the probability from which each label applies; None for the default thresholds.
        priors: the shares of the classes in training and in use.
        rules: the other members of NumberInput, by name.

    Raises:
        InputError: an argument has a wrong value, is missing, or cannot be combined with another.
    """
    if (values is not None) == (labels is not None):
        raise InputError(
            "Both `labels` and `values` are given, but a module has only one of them."
            if labels is not None
            else "Neither `labels` nor `values` is given, but exactly one of them is needed.",
            "Give `labels` for a classifier, or `values`, the names of the numbers that the module returns, for a "
            "regression.",
        )
    of_labels = {"multi_label": multi_label or None, "thresholds": thresholds, "gives": wanted.gives}
    if values is not None and (said := [name for name, value in of_labels.items() if value is not None]):
        raise InputError(
            f"The argument `{said[0]}` is for a classifier with labels, but `values` is given.",
            f"Leave out `{said[0]}`, or give `labels` in place of `values`.",
        )
    if layout is not None and layout not in LAYOUTS:
        raise InputError(
            f"`layout` is {short_repr(layout)}, but must be one of {', '.join(LAYOUTS)}.",
            "Give the order of the axes of forward's input: b is the batch, t is the time, and c is the channels.",
        )
    names = () if values is None else check_value_names_and_convert_to_tuple(values)
    units = None if value_units is None else _check_value_units_and_convert_to_tuple(value_units, len(names))
    output: Output
    if values is not None:
        output = ValueOutput(names, units)
    else:
        output = make_label_output(labels or (), thresholds, priors, multi_label=multi_label)
    samples = list(sequences)
    made = _add_channel_ranges_of_sequences(given or make_number_rules(channels, scaler, rules), samples)
    description = Description(validate_name(name), made, output, provenance or {})
    return NumberExport(description, wanted, layout, samples)  # type: ignore[arg-type]


def _add_channel_ranges_of_sequences(rules: NumberInput, sequences: Sequence[object]) -> NumberInput:
    """Return the rules with the usual range of each channel, its smallest and its largest number in the sequences.
    Return the rules unchanged if they have ranges already, or if there are fewer than four sequences. If the rules have
    a scale, each range covers at least two standard deviations around the mean, since a few sequences may show only one
    class."""
    if rules.training_range is not None or len(sequences) < _ENOUGH:
        return rules
    try:
        found = find_channel_ranges(rules, sequences)
    except SequenceError:
        # The same error is reported where the sequences are prepared for the proof.
        return rules
    if found is None or rules.scale is None:
        return replace(rules, training_range=found)
    means = rules.mean or (0.0,) * len(found)
    around = [(mean - 2 * abs(scale), mean + 2 * abs(scale)) for mean, scale in zip(means, rules.scale, strict=True)]
    wide = tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(found, around, strict=True))
    return replace(rules, training_range=wide)


def make_number_rules(channels: Sequence[str] | int | None, scaler: object, rules: Mapping[str, Any]) -> NumberInput:
    """Make a `NumberInput`, the rules for sequences of numbers, from the arguments of `export`.

    Args:
        channels: the names of the channels, or how many there are.
        scaler: the scaler of the channels, or its file; None if there is none.
        rules: the other members of `NumberInput`, by name.

    Raises:
        InputError: a name in `rules` is unknown, an argument has a wrong value, or the scaler cannot be used.
    """
    if isinstance(channels, int) and not isinstance(channels, bool) and channels > 0:
        names: Any = tuple(f"channel_{number}" for number in range(1, min(channels, 1 << 20) + 1))
    else:
        names = tuple(channels) if isinstance(channels, list | tuple) else channels
    if unknown := sorted(rules.keys() - _RULES):
        near = suggest_similar_name(unknown[0], _RULES)
        raise InputError(
            f"`export` has no argument `{unknown[0]}`.",
            near or f"Give one of the arguments for numbers: {', '.join(sorted(_RULES))}.",
        )
    lists = ("units", "integer_scale", "mean", "scale", "clip", "training_range")
    values: dict[str, Any] = {
        name: _convert_channel_argument_to_tuple(name, value, names) if name in lists and value is not None else value
        for name, value in rules.items()
    }
    for name in ("integer_scale", "units"):
        # A single value is for all channels, as on the command line.
        if isinstance(names, tuple) and len(values.get(name) or ()) == 1:
            values[name] *= len(names)
    made = NumberInput(names, **values)
    if scaler is None:
        return made
    if made.mean is not None or made.scale is not None:
        raise InputError(
            "Both `scaler` and `mean` or `scale` are given, but the scaler has a mean and a scale of its own.",
            "Give either `scaler`, or `mean` and `scale`.",
        )
    if isinstance(scaler, str | os.PathLike):
        mean, scale = read_scaler(Path(scaler), made.channels)
    else:
        mean, scale = find_mean_and_scale(scaler, channels=made.channels)
    return replace(made, mean=mean, scale=scale)


def _convert_channel_argument_to_tuple(argument_name: str, value: object, channels: object) -> tuple[Any, ...]:
    """Convert an argument with a value for each channel, such as `mean`, to a tuple in the order of the channels.

    Args:
        argument_name: the argument's name. For `units` and `integer_scale`, a single value is also allowed.
        value: a list or an array of values, or a dict or a pandas Series from the names of channels to values.
        channels: the names of the channels.

    Raises:
        InputError: the argument is none of these.
    """
    columns = read_column_names(value)
    if columns is not None and isinstance(channels, tuple):
        items_of_columns = list(value.values()) if isinstance(value, Mapping) else list(value)  # type: ignore[call-overload]
        value = select_numbers_of_channels(items_of_columns, columns, channels, argument_name)
    try:
        # Scalars of torch and numpy are single values, too.
        is_one = isinstance(value, str) if argument_name == "units" else (
            argument_name == "integer_scale" and getattr(value, "ndim", 0) == 0 and hasattr(value, "__float__")
        )  # fmt: skip
        items: list[Any] = [value] if is_one else list(value)  # type: ignore[call-overload]
        if argument_name == "training_range":
            return tuple(tuple(map(float, pair)) for pair in items)
        return tuple(items if argument_name == "units" else map(float, items))
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"`{argument_name}` is {short_repr(value)}, but must be a list of values.",
            "Give the smallest and the largest allowed number: clip=(-3, 3)."
            if argument_name == "clip"
            else f"Give a list with one value for each channel: {argument_name}=[...].",
        ) from None


def check_value_names_and_convert_to_tuple(values: Sequence[str]) -> tuple[str, ...]:
    """Return `values`, the names of the numbers that a regression module returns, as a tuple. Raise an InputError if it
    is a string or is empty, or if a name occurs twice, is empty or is not a string."""
    names = [] if isinstance(values, str) else list(values)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise InputError(
            f"`values` is {short_repr(values)}, but must be a list of different names, each a string.",
            "Give one name for each number that the module returns, such as values=['speed'].",
        )
    return tuple(names)


def _check_value_units_and_convert_to_tuple(units: Sequence[str], value_count: int) -> tuple[str, ...]:
    """Return the units of the numbers that a regression module returns as a tuple. Raise an InputError unless there is
    one string for each of these `value_count` numbers."""
    if not value_count:
        raise InputError(
            "`value_units` is given, but `values` is not.",
            "Give the names of the values, such as values=['speed'], or leave out `value_units` if the module is a "
            "classifier.",
        )
    if isinstance(units, str) or len(units) != value_count or not all(isinstance(u, str) for u in units):
        raise InputError(
            f"`value_units` is {short_repr(units)}, but must be a list of exactly {value_count} strings, one for each "
            "name in `values`.",
            "Give one unit for each value, such as value_units=['m/s'].",
        )
    return tuple(units)


def refuse_arguments_that_input_and_output_contain(others: Mapping[str, object], given: object, output: object) -> None:
    """Raise an InputError if only one of the arguments `input` and `output` of `export` is given, if one of the two has
    a wrong type, or if arguments that they contain, such as `labels`, are given beside them.

    Args:
        others: the other arguments, by name.
        given, output: the values of `input` and `output`.
    """
    if given is None or output is None:
        missing = "input" if given is None else "output"
        raise InputError(
            f"Only one of `input` and `output` is given: `{missing}` is missing.",
            "Give both `input` and `output`, or neither.",
        )
    if not isinstance(given, TextInput | NumberInput) or not isinstance(output, Output):
        raise InputError(
            f"`input` is of type {type(given).__name__} and `output` of type {type(output).__name__}, but one of these "
            "types is wrong.",
            "Give a TextInput or NumberInput as `input`, and a LabelOutput, TagOutput or ValueOutput as `output`.",
        )
    beside = ("layout", "sequences")
    said = [name for name, value in others.items() if value is not None and value is not False and name not in beside]
    if said:
        raise InputError(
            f"The arguments {', '.join(said)} are given beside `input` and `output`, which contain the same settings.",
            "Leave out these arguments, or leave out `input` and `output`.",
        )


def refuse_text_arguments_for_numbers_and_reverse(
    of_texts: Mapping[str, object], channels: object, of_numbers: Mapping[str, object]
) -> None:
    """Raise an InputError if arguments of `export` for texts are given for a module of numbers, or arguments for
    numbers for a module of texts.

    Args:
        of_texts: the arguments for texts, by name. None, False or () means that an argument is not given.
        channels: the argument `channels`; None for a module of texts.
        of_numbers: the given arguments for numbers, by name.
    """
    if channels is None:
        name = sorted(of_numbers)[0]
        raise InputError(
            f"The argument `{name}` is not for a classifier of texts, and without `channels` this is one.",
            f"Leave out `{name}`. For a classifier of numbers, also give channels=['ax', 'ay', 'az'].",
        )
    if said := [name for name, value in of_texts.items() if value is not None and value is not False and value != ()]:
        raise InputError(
            f"The argument `{said[0]}` is for texts, but `channels` is for sequences of numbers.",
            f"For a classifier of numbers, leave out `{said[0]}`. For a classifier of texts, leave out `channels`.",
        )
