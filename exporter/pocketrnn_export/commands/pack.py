"""The command `pocketrnn pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocketrnn.commands.grouped_options import Command
from pocketrnn.commands.standard_streams import print_line, print_line_if_slow
from pocketrnn.commands.terminal_text import escape_line
from pocketrnn.errors import require_module
from pocketrnn_export.commands.arithmetic_options import (
    arithmetic_options,
    check_measure_options,
    format_integer_warning,
    read_integer_arguments,
)
from pocketrnn_export.commands.bundle_compression import check_is_bundle, data_options
from pocketrnn_export.commands.progress_lines import print_stages
from pocketrnn_export.commands.verdict_lines import print_next_step, print_verdicts

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
    help="Write a C header in place of the packed file, news.h with the array `news`: for microcontrollers.",
)
@arithmetic_options
@click.option(
    "--streaming",
    is_flag=True,
    help="Answer while a text arrives, too, also where the bundle does not: for one-directional classifiers.",
)
@click.option(
    "--text-rules",
    is_flag=True,
    help="Write the text rules alone, text.prnn: for browsers and C++, which run the bundle's graph by themselves.",
)
@data_options
@click.option("--force", is_flag=True, help="Replace a file that is there.")
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
    text rules, vocabulary, weights and a program for one text. It is proven equal to the bundle's graph, and its golden
    examples are inside. Exit status 3 if it is not equal; nothing is written then. If the engine lacks an operation,
    the error names it and its place.

    With --arithmetic int8, recurrent layers multiply integers of 8 bits. Such a file is not equal to the graph: what
    changes is measured on --data, texts with or without labels, and shown by inspect. Exit status 1 if that is more
    than --max-changed and --max-loss (by default 0.1 points) allow; nothing is written then.

    A bundle that takes sequences of numbers is packed in the same way, with the preprocessing of its samples. --data is
    then labelled sequences: .ts, .npz, .csv, .parquet.

    A bundle with a step graph gives a file that answers while a text arrives. With --streaming, the step is made of
    the graph where the bundle has none: for classifiers that read in one direction.

    With --text-rules the file holds no program: it makes the ids of texts where onnxruntime runs the bundle's graph, in
    a browser or a program in C++. The rules of every bundle of texts can be written so.

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
        raise click.UsageError("Give either -o or --c-array, with the file to write.")
    if text_rules and (c_array or streaming or arithmetic != "float32"):
        raise click.UsageError("--text-rules writes no program: leave out --c-array, --streaming and --arithmetic.")
    check_measure_options(arithmetic, measured_with)
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
        data, allowed = read_integer_arguments(before.labels, several_labels=several, numbers=numbers, **measured_with)
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
    _print_verdict(manifest)
    print_line(f"Wrote {path}: {path.stat().st_size:,} bytes.")
    of_numbers = isinstance(manifest.input, NumberInput)
    if of_numbers and (needed := _make_memory_sentence(path, manifest)) is not None:
        print_line(needed)
    if output is not None:
        print_next_step(manifest, output)


def _pack_text_rules(bundle: str, path: Path, *, force: bool) -> None:
    from pocketrnn_export.packed_text_rules import pack_text_rules

    with print_stages():
        name = pack_text_rules(bundle, path, force=force).name
    print_line(f"Wrote {path}: {path.stat().st_size:,} bytes. It makes the ids of {name}, beside its graph.")


def _make_memory_sentence(path: Path, manifest: Any) -> str | None:
    """Return a sentence with the memory that a program needs for a packed file, or its array."""
    from pocketrnn_export.c_array import extract_packed_content
    from pocketrnn_export.microcontroller_memory import compute_required_memory

    needed = compute_required_memory(manifest, extract_packed_content(path.read_bytes()))
    return None if needed is None else needed.sentence


def _print_verdict(manifest: Manifest) -> None:
    """Print the verdict on the file, and a note on its thresholds."""
    from pocketrnn.bundle.output_kinds import HeadsOutput
    from pocketrnn.text.text_input import TextInput
    from pocketrnn.verdicts import describe_graph_proof

    if isinstance(manifest.input, TextInput):
        print_verdicts(manifest)
    else:
        print_line(f"Graph: {escape_line(describe_graph_proof(manifest))}")
    for line in format_integer_warning(manifest):
        print_line(line)
    outputs = manifest.output.heads.values() if isinstance(manifest.output, HeadsOutput) else [manifest.output]
    if any(output.thresholds is not None for output in outputs):
        print_line(
            "Thresholds: Python and JavaScript give no label below those that the file keeps. The C interface gives "
            "probabilities: compare them with `thresholds` of prnn_document."
        )
