"""The command `pocketrnn compress`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import click

from pocketrnn.commands.grouped_help_and_shared_options import Command, Text
from pocketrnn.commands.standard_streams import print_line, print_line_if_slow
from pocketrnn.errors import require_module
from pocketrnn_export.commands.compression_and_integer_options import (
    COLUMNS,
    check_is_bundle,
    data_options,
    read_rows_to_measure,
    write_compressed_bundle,
)
from pocketrnn_export.commands.lines_after_export import format_example_note, print_next_step, print_verdicts
from pocketrnn_export.commands.printed_stages import print_stages

_STORAGES: Final = click.Choice(["int8", "float16", "float32"])


@click.command(
    cls=Command,
    short_help="Make a bundle smaller.",
    groups={
        "Options": ("output", "words", "data", "max_loss", "name", "no_examples", "force"),
        "Rare options": ("embedding", "weights", "text_column", "label_column", "label_separator"),
    },
)
@click.argument("source", metavar="PATH_OR_NAME")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="The folder of the new bundle.",
)
@click.option("--words", type=click.IntRange(min=1), metavar="N",
              help="Keep the first N words of the vocabulary: the most frequent words, if pocketrnn made it.  "
              "[default: all]")  # fmt: skip
@click.option(
    "--embedding", type=_STORAGES, default="int8", show_default=True, help="The number format of the embedding."
)
@click.option(
    "--weights", type=_STORAGES, default="int8", show_default=True, help="The number format of the other weights."
)
@data_options
@click.option("--name", type=Text(), metavar="TEXT", help="The classifier's name.  [default: the old name]")
@click.option("--no-examples", is_flag=True, help="Keep no texts of the checkpoint in the bundle.")
@click.option("--force", is_flag=True, help="Replace a bundle at OUTPUT.")
def compress(
    source: str,
    output: Path,
    words: int | None,
    embedding: str,
    weights: str,
    name: str | None,
    no_examples: bool,
    **options: Any,
) -> None:
    """Write a smaller bundle: weights in fewer bytes, fewer words, no TorchScript copy.

    PATH_OR_NAME is a bundle's folder, the name of a classifier that ships with pocketrnn, or a checkpoint's folder.
    Each line of the table includes the steps above it. All readers of bundles run the result like the original.

    The new graph is proven equal to the old one with rounded weights: exit status 3 if it is not. The loss of accuracy
    by rounding is measured on --data; exit status 1 if it is more than --max-loss. Nothing is written then.

    \b
    Examples:
      pocketrnn compress reviews -o small
      pocketrnn compress reviews.checkpoint -o small --words 5000 --data dev.csv --max-loss 0.2
    """
    if not (Path(source) / "config.json").is_file():
        check_is_bundle(source)
    with print_line_if_slow("Loading PyTorch ..."):
        for package in ("torch", "onnx", "onnxscript", "safetensors"):
            require_module(package, "export")
        from pocketrnn.bundle import manifest as manifests
        from pocketrnn.bundle.atomic_writing import check_output_folder
        from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
        from pocketrnn_export.compression import check_kept_word_count
        from pocketrnn_export.forms.weight_quantization import Storage
        from pocketrnn_training.classifiers import checkpoint

    storage = Storage(embedding, weights, words)
    check_output_folder(output, force=options["force"], marker_file="classifier.json")
    measure = {option: options[option] for option in ("data", "max_loss", *COLUMNS)}
    how = {"name": name, "force": options["force"], "max_loss": options["max_loss"]}
    if (Path(source) / checkpoint.CONFIG_JSON).is_file():
        from pocketrnn_export.bundle_export import export
        from pocketrnn_export.checkpoint_export import read_export_arguments_from_checkpoint

        module, description = read_export_arguments_from_checkpoint(Path(source))
        if words is not None and "vocabulary" in description:
            check_kept_word_count(words, len(description["vocabulary"]))
        if "channels" in description:
            raise click.UsageError(
                f"{source} takes sequences of numbers, but only classifiers of texts can be compressed. Use it as "
                "it is, or make it smaller with `pocketrnn pack`."
            )
        rows = read_rows_to_measure(
            description["labels"], several_labels=description.get("multi_label", False), **measure
        )
        with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
            with print_stages():
                export(module, Path(folder) / "bundle", **description, torchscript=False, examples=not no_examples)
            manifest = write_compressed_bundle(Path(folder) / "bundle", output, storage, rows=rows, **how)
        told = format_example_note(manifest)
    else:
        if no_examples:
            raise click.UsageError(
                f"--no-examples applies to a checkpoint, but {source} is a bundle, whose golden examples are kept. "
                "To remove them, export the classifier again with --no-examples."
            )
        before = manifests.read_manifest(find_or_download_bundle(source))
        rows = read_rows_to_measure(before.labels, several_labels=before.output.activation == "sigmoid", **measure)
        manifest, told = write_compressed_bundle(source, output, storage, rows=rows, **how), []
    print_verdicts(manifest)
    for line in told:
        print_line(line)
    print_line(f"Wrote {output}.")
    print_next_step(manifest, output)
