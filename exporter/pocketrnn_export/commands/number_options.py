"""The options of `pocketrnn export` for modules of sequences of numbers, and the functions that read them."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pocketrnn.commands.grouped_help_and_shared_options import Text
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import InputError, find_file_error_reason, short_repr
from pocketrnn_export.commands.lines_after_export import format_example_note, format_proof_summary, format_proof_table

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Manifest

# The most bytes of a file of sequences.
_LARGEST: Final = 1 << 32
_Command = TypeVar("_Command", bound=Callable[..., Any])
# The options of modules that take texts.
_OF_TEXTS: Final = (
    "vocabulary", "tokenizer", "pairs", "rules", "max_tokens", "texts", "profile", "arithmetic", "compress",
    "torchscript",
)  # fmt: skip


@dataclass(frozen=True)
class NumberOptions:
    """The options for sequences of numbers. The help texts in `number_options` describe each option."""

    channels: str | None
    values: str | None
    scaler: Path | None
    mean: str | None
    scale: str | None
    integer_scale: str | None
    units: str | None
    steps: int | None
    window: int | None
    hop: int | None
    layout: str | None
    numbers: str | None
    sequences: Path | None

    @property
    def are_given(self) -> bool:
        """Whether the command exports a module that takes sequences of numbers: --channels is given.

        Raises:
            click.UsageError: another option for numbers is given without --channels.
        """
        names = [field.name for field in fields(self) if field.name not in ("channels", *OF_CHECKPOINTS)]
        others = [name for name in names if getattr(self, name) is not None]
        if others and self.channels is None:
            raise click.UsageError(
                f"--{others[0]} applies to a module that takes sequences of numbers, but --channels is not given. "
                f"Give the module's channels with --channels, or leave --{others[0]} out."
            )
        return self.channels is not None


_OPTIONS: Final = (
    click.option("--channels", type=Text(), metavar="NAMES",
                 help="The channels of a module that takes sequences of numbers: ax,ay,az; or how many channels."),
    click.option("--values", type=Text(), metavar="NAMES",
                 help="The names of the values, if the module gives values and not labels; with units: speed:m/s."),
    click.option("--scaler", type=click.Path(path_type=Path), metavar="FILE",
                 help="Mean and scale of the channels: a scaler of scikit-learn saved by joblib or pickle (nothing in "
                 "it is executed), or .npz or .json with mean and scale."),
    click.option("--mean", type=Text(), metavar="NUMBERS", help="The number to subtract from each channel: 0.1,0.2."),
    click.option("--scale", type=Text(), metavar="NUMBERS", help="The number to divide each channel by afterwards."),
    click.option("--integer-scale", type=Text(), metavar="NUMBERS",
                 help="The factor for the whole numbers that a sensor gives: 0.001 for all channels, or one for each: "
                 "0.001,0.001,0.01. Also for the checkpoint of a classifier of numbers."),
    click.option("--units", type=Text(), metavar="UNITS", help="The unit of each channel: g,g,m/s. Also for the "
                 "checkpoint of a classifier of numbers."),
    click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Every sequence has this many steps.  "
                 "[default: any number]"),
    click.option("--window", type=click.IntRange(min=1), metavar="N",
                 help="A recording is answered in windows of this many steps."),
    click.option("--hop", type=click.IntRange(min=1), metavar="N",
                 help="The next window begins this many steps later.  [default: the window]"),
    click.option("--layout", type=click.Choice(["btc", "bct", "bt"]),
                 help="The axes of the input: [batch, time, channels], [batch, channels, time] or [batch, time].  "
                 "[default: pocketrnn finds it out]"),
    click.option("--numbers", metavar="FILE", help="The rules for a sequence, as JSON or a JSON file: mean, "
                 "scale, clip, missing, steps, pad_side, rate and more (docs/numbers.md)."),
    click.option("--sequences", type=click.Path(path_type=Path), metavar="FILE",
                 help="Real sequences for the proof: .npy or .npz with arrays [sequences, time, channels], or one "
                 "array [time, channels] for each sequence. The first sequences become golden examples."),
)  # fmt: skip
# The options that an export of a checkpoint accepts. Its other rules were fixed by its training.
OF_CHECKPOINTS: Final = ("integer_scale", "units")
NUMBER_OPTIONS: Final = tuple(field.name for field in fields(NumberOptions))


def number_options(command: _Command) -> _Command:
    """Add the options of `NumberOptions` to a command. The command receives them as the argument `numbers`."""

    @functools.wraps(command)
    def with_numbers(**options: Any) -> Any:
        numbers = NumberOptions(**{name: options.pop(name) for name in NUMBER_OPTIONS})
        return command(numbers=numbers, **options)

    for option in reversed(_OPTIONS):
        with_numbers = option(with_numbers)
    return with_numbers  # type: ignore[return-value]


def read_number_arguments(numbers: NumberOptions, options: dict[str, Any]) -> dict[str, Any]:
    """Read the arguments of the function `export` for a module of sequences of numbers.

    Raises:
        click.UsageError: an option applies to texts only.
        InputError: an option's value is unusable.
    """
    from pocketrnn_export.commands.proposed_options import read_labels

    refuse_text_options(options, "--channels")
    if (options["labels"] is None) == (numbers.values is None):
        raise click.UsageError(
            "A module of sequences of numbers needs exactly one of --labels and --values. Give --labels for a "
            "classifier, or --values for a module that computes values."
        )
    values, units = (None, None) if numbers.values is None else _parse_values(numbers.values)
    return {
        "channels": _parse_channels(str(numbers.channels)),
        "labels": None if options["labels"] is None else read_labels(options["labels"]),
        "values": values,
        "value_units": units,
        "scaler": numbers.scaler,
        "layout": numbers.layout,
        "sequences": [] if numbers.sequences is None else _read_sequences_from_numpy(numbers.sequences),
        **{name: options[name] for name in ("call", "gives", "one_text", "multi_label")},
        **_read_number_rules(numbers),
    }


def read_scale_and_unit_options(numbers: NumberOptions, channels: int) -> dict[str, Any]:
    """Return the values of --integer-scale and --units as arguments of `export`. A single value is repeated for each of
    the `channels` channels."""
    found: dict[str, Any] = {}
    if (scale := _parse_numbers("integer-scale", numbers.integer_scale)) is not None:
        found["integer_scale"] = scale * channels if len(scale) == 1 else scale
    if numbers.units is not None:
        units = [unit.strip() for unit in numbers.units.split(",")]
        found["units"] = units * channels if len(units) == 1 else units
    return found


def refuse_text_options(options: dict[str, Any], option_or_source: str) -> None:
    """Raise a UsageError if an option that applies only to texts is given in the export of a module that takes numbers.
    `option_or_source` is the option or the source that shows that the module takes numbers."""
    if given := [f"--{name.replace('_', '-')}" for name in _OF_TEXTS if options.get(name) not in (None, False)
                 and (name, options[name]) != ("arithmetic", "float32")]:  # fmt: skip
        raise click.UsageError(
            f"{given[0]} applies to texts, but {option_or_source} says that the module takes numbers. Leave "
            f"{given[0]} out."
        )


def format_number_summary(manifest: Manifest, output: Path, *, with_comparisons: bool = False) -> list[str]:
    """Return the lines that `export` prints for a classifier of numbers: the bundle, the proof and the next command.

    Args:
        output: the bundle.
        with_comparisons: whether to add each comparison of the proof.
    """
    from pocketrnn.verdicts import SCALE, describe_graph_proof, describe_origin_of_number_scale

    scaled = manifest.numbers.mean is not None or manifest.numbers.scale is not None
    said = "scaled by your mean and scale" if scaled else "not scaled, since no mean and no scale are given"
    known = f"Numbers: {said}; this was not compared with the numbers that the module was trained on."
    if manifest.provenance.get(SCALE) == "trained":
        known = f"Numbers: {describe_origin_of_number_scale(manifest)}"
    kind = "values" if manifest.output.activation == "values" else "labels"
    summary = format_proof_summary(manifest, "sequences", str(output))
    return [
        f"Wrote {output}: {manifest.name}, {len(manifest.numbers.channels)} channels, {len(manifest.labels)} {kind}.",
        f"Graph: {escape_line(describe_graph_proof(manifest))} {summary}".rstrip(),
        known,
        *format_example_note(manifest),
        *(format_proof_table(manifest.parity, "sequences", of_labels=False) if with_comparisons else []),
        f"Next: pocketrnn classify --bundle {shlex.quote(str(output))} --input recording.csv",
    ]  # fmt: skip


def _parse_channels(given: str) -> list[str] | int:
    """Return the channels in the value of --channels: a list of the names in `x,y,z`, or the integer if the value is a
    number of channels."""
    if given.isascii() and given.isdigit():
        return int(given)
    return [name.strip() for name in given.split(",")]


def _parse_values(given: str) -> tuple[list[str], list[str] | None]:
    """Parse the value of --values, such as `speed:m/s,angle:deg`. Return a list of the names, and a list of the units;
    None in place of the second list if no unit is given."""
    pairs = [name.strip().partition(":") for name in given.split(",")]
    names, units = [name for name, _, _ in pairs], [unit for _, _, unit in pairs]
    return names, units if any(units) else None


def _read_number_rules(numbers: NumberOptions) -> dict[str, Any]:
    """Collect the rules for a sequence of numbers from --numbers and all other options that state a rule."""
    said: dict[str, Any] = {} if numbers.numbers is None else _read_json_object(numbers.numbers)
    single: dict[str, Any] = {
        "mean": _parse_numbers("mean", numbers.mean),
        "scale": _parse_numbers("scale", numbers.scale),
    }
    single |= {name: getattr(numbers, name) for name in ("steps", "window", "hop")}
    count = len(names) if isinstance(names := _parse_channels(str(numbers.channels)), list) else names
    single |= read_scale_and_unit_options(numbers, count)
    for name, value in single.items():
        if value is not None and name in said:
            option = name.replace("_", "-")
            raise click.UsageError(
                f"Both --numbers and --{option} give {name}, but only one may. Leave --{option} out, or remove "
                f"{name} from --numbers."
            )
    if "channels" in said:
        raise click.UsageError(
            "Both --channels and --numbers give the channels, but only one may. Leave --channels out, or "
            'remove "channels" from the JSON object of --numbers.'
        )
    return {**said, **{name: value for name, value in single.items() if value is not None}}


def _read_json_object(given: str) -> dict[str, Any]:
    """Read the JSON object in the value of the option --numbers, which is JSON or the name of a JSON file."""
    text = given
    if not given.lstrip().startswith("{"):
        try:
            text = Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{given} cannot be read: {find_file_error_reason(error)}.",
                "Give --numbers as JSON, or as the path of a JSON file.",
            ) from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"--numbers is {short_repr(given, 40)}, which is not a JSON object.",
            'Write {"mean": [0.1, 9.8], "rate": 50}.',
        )
    return found


def _parse_numbers(name: str, given: str | None) -> list[float] | None:
    """Return the numbers in the value of an option, such as `0.1,9.8`, as a list. Return None if the option is not
    given. `name` is the option, for messages."""
    if given is None:
        return None
    try:
        return [float(number) for number in given.split(",")]
    except ValueError:
        raise InputError(
            f"--{name} is {short_repr(given, 40)}, but must be a list of numbers.",
            "Give one number for each channel, with commas between them: 0.1,0.2,9.8.",
        ) from None


def _read_sequences_from_numpy(path: Path) -> list[Any]:
    """Read the sequences in a .npy or .npz file."""
    from pocketrnn_training.rows.array_files import read_arrays

    arrays = read_arrays(path, "Give a .npy or .npz file of numbers, without objects.", most=_LARGEST).values()
    if any(array.dtype.kind not in "biuf" or not array.size for array in arrays):
        raise InputError(
            f"{path} has an array that is empty, or whose values are not numbers.",
            "Save arrays of numbers in this file, each with the shape [sequences, time, channels].",
        )
    return [sequence for array in arrays for sequence in (array if array.ndim == 3 else [array])]
