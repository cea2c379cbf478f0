"""The command `pocketrnn pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocketrnn.commands.grouped_help_and_shared_options import Command
from pocketrnn.commands.standard_streams import print_line, print_line_if_slow
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import require_module
from pocketrnn_export.commands.compression_and_integer_options import (
    arithmetic_options,
    check_is_bundle,
    data_options,
    format_int8_warning,
    read_int8_measure_arguments,
    refuse_measure_options_for_float32,
)
from pocketrnn_export.commands.lines_after_export import print_next_step, print_verdicts
from pocketrnn_export.commands.printed_stages import print_stages

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Manifest


@click.command(
    cls=Command,
    short_help="Pack a bundle into one file for the native engine.",
    groups={
        "Options": ("output", "c_array", "arithmetic", "streaming", "text_rules", "force"),
        "Measuring int8": ("data", "max_changed", "max_loss", "text_column", "label_column", "label_separator"),
    },
)
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write: news.prnn.",
)
@click.option(
    "--c-array",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a C header instead of a packed file, for microcontrollers: news.h with the array `news`.",
)
@arithmetic_options
@click.option(
    "--streaming",
    is_flag=True,
    help="Write a file that also answers while a text arrives; for classifiers that read in one direction.",
)
@click.option(
    "--text-rules",
    is_flag=True,
    help="Write only the text rules, text.prnn, for browsers and C++ programs that run the bundle's graph themselves.",
)
@data_options
@click.option("--force", is_flag=True, help="Replace an existing file.")
def pack(
    bundle: str,
    output: Path | None,
    c_array: Path | None,
    arithmetic: Any,
    streaming: bool,
    text_rules: bool,
    force: bool,
    **measured_with: Any,
) -> None:
    """Pack a bundle into one file, which the native engine opens in place and runs without onnxruntime.

    PATH_OR_NAME is a bundle's folder, or the name of a classifier that ships with pocketrnn. The file holds labels,
    text rules, vocabulary, weights, golden examples and a program for one text. It is proven equal to the bundle's
    graph. If it is not equal, nothing is written and the exit status is 3. If the engine lacks an operation, the error
    names the operation and its place.

    With --arithmetic int8, recurrent layers multiply integers of 8 bits. Such a file is not equal to the graph. The
    difference is measured on --data, texts with or without labels, and shown by inspect. If it is more than
    --max-changed or --max-loss (by default 0.1 points) allow, nothing is written and the exit status is 1.

    A bundle that takes sequences of numbers is packed in the same way, with the preprocessing of its samples. --data is
    then labelled sequences: .ts, .npz, .csv, .parquet.

    If the bundle has a step graph, the file also answers while a text arrives. With --streaming, the step is made from
    the bundle's graph, for classifiers that read in one direction.

    With --text-rules the file holds no program. It makes the ids of texts for a browser or a C++ program that runs the
    bundle's graph with onnxruntime. The rules of every bundle of texts can be written in this way.

    \b
    Examples:
      pocketrnn pack ag_news -o news.prnn
      pocketrnn pack ag_news-small --c-array news.h
      pocketrnn pack ag_news -o fast.prnn --arithmetic int8 --data dev.csv
      pocketrnn pack languages -o languages.prnn --arithmetic int8 --streaming
      pocketrnn pack my-bundle --text-rules -o site/bundle/text.prnn
    """
    path = c_array or output
    if path is None or (c_array and output):
        raise click.UsageError(
            "The file to write must be given exactly once. Give it with -o, or with --c-array for a C array."
        )
    if text_rules and (c_array or streaming or arithmetic != "float32"):
        raise click.UsageError(
            "--text-rules writes only text rules, without a program, so --c-array, --streaming and --arithmetic "
            "have no effect. Leave them out."
        )
    refuse_measure_options_for_float32(arithmetic, measured_with)
    check_is_bundle(bundle)
    with print_line_if_slow("Loading PyTorch ..."):
        for package in ("torch", "onnx", "onnxscript"):
            require_module(package, "export")
        from pocketrnn.numbers.number_input import NumberInput
        from pocketrnn_export.packing import pack as packed
        from pocketrnn_export.packing import read_packable_manifest

    if text_rules:
        _pack_text_rules(bundle, path, force=force)
        return
    data: Any = None
    allowed = None
    if arithmetic == "int8":
        before = read_packable_manifest(bundle, arithmetic)[1]
        numbers = before.input if isinstance(before.input, NumberInput) else None
        several = before.output.activation == "sigmoid"
        data, allowed = read_int8_measure_arguments(
            before.labels, several_labels=several, numbers=numbers, **measured_with
        )
    with print_stages():
        manifest = packed(
            bundle,
            path,
            arithmetic=arithmetic,
            streaming=streaming,
            data=data,
            allowed=allowed,
            force=force,
            c_array=c_array is not None,
        )
    _print_verdicts_and_threshold_note(manifest)
    print_line(f"Wrote {path}: {path.stat().st_size:,} bytes.")
    of_numbers = isinstance(manifest.input, NumberInput)
    if of_numbers and (needed := _make_memory_sentence(path, manifest)) is not None:
        print_line(needed)
    if output is not None:
        print_next_step(manifest, output)


def _pack_text_rules(bundle: str, path: Path, *, force: bool) -> None:
    """Write only the text rules and the labels of a bundle to a file, and print its size."""
    from pocketrnn_export.standalone_text_rules_file import pack_text_rules

    with print_stages():
        name = pack_text_rules(bundle, path, force=force).name
    print_line(f"Wrote {path}: {path.stat().st_size:,} bytes. It makes the ids for the graph of {name}.")


def _make_memory_sentence(path: Path, manifest: Any) -> str | None:
    """Return a sentence with the memory that a C program needs to run a packed file. Return None if this is not known,
    as for texts."""
    from pocketrnn_export.microcontroller import compute_required_memory, extract_packed_bytes_from_c_header

    needed = compute_required_memory(manifest, extract_packed_bytes_from_c_header(path.read_bytes()))
    return None if needed is None else needed.sentence


def _print_verdicts_and_threshold_note(manifest: Manifest) -> None:
    """Print the verdict on the packed file, and a note on the file's thresholds."""
    from pocketrnn.bundle.output_kinds import HeadsOutput
    from pocketrnn.text.text_input import TextInput
    from pocketrnn.verdicts import describe_graph_proof

    if isinstance(manifest.input, TextInput):
        print_verdicts(manifest)
    else:
        print_line(f"Graph: {escape_line(describe_graph_proof(manifest))}")
    for line in format_int8_warning(manifest):
        print_line(line)
    outputs = manifest.output.heads.values() if isinstance(manifest.output, HeadsOutput) else [manifest.output]
    if any(output.thresholds is not None for output in outputs):
        print_line(
            "Thresholds: Python and JavaScript give only labels that reach the file's thresholds. The C interface "
            "gives probabilities: compare them with `thresholds` of prnn_document."
        )
