"""The command `pocketrnn compress`, and what `pocketrnn export --compress` shares with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pocketrnn.errors import require

if TYPE_CHECKING:
    from pocketrnn_export.forms.quantized import Storage
    from pocketrnn_training.data import LabelledTexts

__all__ = ["compress", "data_options", "write_compressed"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STORAGES: Final = click.Choice(["int8", "float16", "float32"])


def data_options(command: _Command) -> _Command:
    """The options that hold a smaller bundle to labelled texts."""
    for option in reversed(
        (
            click.option("--data", type=click.Path(path_type=Path), metavar="FILE",
                         help="Labelled texts to measure a smaller bundle with: .csv, .tsv, .jsonl or .parquet."),
            click.option("--max-loss", type=click.FloatRange(0, 100), metavar="POINTS",
                         help="Write nothing if more points of accuracy are lost on the data."),
            click.option("--text-column", default="text", show_default=True, help="The data's column of texts."),
            click.option("--label-column", default="label", show_default=True, help="The data's column of labels."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(short_help="Make a bundle smaller.")
@click.argument("source", metavar="PATH_OR_NAME")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The bundle's folder to write.")
@click.option("--words", type=click.IntRange(min=1), metavar="N",
              help="Keep the first N words of the vocabulary: the most frequent, where pocketrnn made it.  "
              "[default: all]")  # fmt: skip
@click.option("--embedding", type=_STORAGES, default="int8", show_default=True, help="How the embedding is stored.")
@click.option("--weights", type=_STORAGES, default="int8", show_default=True, help="How other weights are stored.")
@data_options
@click.option("--name", help="What the classifier is called.  [default: as before]")
@click.option("--force", is_flag=True, help="Replace a bundle that stands at OUTPUT.")
def compress(
    source: str, output: Path, words: int | None, embedding: str, weights: str, name: str | None, **options: Any
) -> None:
    """Write a smaller bundle: weights in fewer bytes, fewer words, no TorchScript twin.

    PATH_OR_NAME is a bundle's folder, the name of a classifier that ships with pocketrnn, or a checkpoint's folder. The
    table shows each step with those before it. All readers of bundles run the result as they run the original.

    The new graph is proven equal to the old one with rounded weights: exit status 3 if it is not. What the rounding
    costs is measured on --data; exit status 1 if that is more than --max-loss. Nothing is written then.

    \b
    Examples:
      pocketrnn compress reviews -o small
      pocketrnn compress reviews.checkpoint -o small --words 5000 --data dev.csv --max-loss 0.2
    """
    for package in ("torch", "onnx", "onnxscript", "safetensors"):
        require(package, "export")
    from pocketrnn.folder import check_free
    from pocketrnn_export.forms.quantized import Storage
    from pocketrnn_training import checkpoint

    storage = Storage(embedding, weights, words)
    check_free(output, force=options["force"], made_by="classifier.json")
    if (Path(source) / checkpoint.CONFIG_JSON).is_file():
        from pocketrnn_export.bundle import export
        from pocketrnn_export.commands.export import of_checkpoint, stages_on_stderr

        module, description = of_checkpoint(Path(source))
        with tempfile.TemporaryDirectory(prefix="pocketrnn.") as folder:
            with stages_on_stderr():
                export(module, Path(folder) / "bundle", **description, torchscript=False)
            write_compressed(Path(folder) / "bundle", output, storage, name=name, **options)
    else:
        write_compressed(source, output, storage, name=name, **options)
    click.echo(f"Wrote {output}.")
    click.echo(f'Next: pocketrnn classify --bundle {output} "a text"')


def write_compressed(
    bundle: str | Path,
    output: Path,
    storage: Storage,
    *,
    name: str | None,
    force: bool,
    data: Path | None,
    max_loss: float | None,
    text_column: str,
    label_column: str,
) -> None:
    """Compress a bundle as the options say, and show what each step brought and cost."""
    if max_loss is not None and data is None:
        raise click.UsageError("--max-loss needs --data to be measured on.")
    from pocketrnn.folder import check_free
    from pocketrnn_export.commands.export import stages_on_stderr
    from pocketrnn_export.compression import compress as compress_bundle
    from pocketrnn_export.compression import table

    check_free(output, force=force, made_by="classifier.json")
    rows = None if data is None else _read(data, bundle, text_column, label_column)
    with stages_on_stderr():
        made = compress_bundle(bundle, output, storage=storage, data=rows, max_loss=max_loss, name=name, force=force)
    click.echo(table(made.steps))


def _read(path: Path, bundle: str | Path, text_column: str, label_column: str) -> LabelledTexts:
    require("pyarrow", "train")
    from pocketrnn import manifest
    from pocketrnn.shipped import bundle_folder
    from pocketrnn_training.data import read_files

    labels = manifest.read(bundle_folder(bundle)).labels
    return read_files([path], text_column=text_column, label_column=label_column, labels=labels)
