"""The command `pocketrnn bench`: it measures how fast a bundle answers on this machine."""

from __future__ import annotations

from typing import IO

import click

from pocketrnn.commands.grouped_help_and_shared_options import Command
from pocketrnn.commands.standard_streams import print_text, read_arriving_lines

__all__ = ["bench"]


@click.command(cls=Command, short_help="Measure how fast a bundle answers here.")
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.argument("texts", type=click.File("rb"), required=False)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Rounds that count."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Measure predict on N processor cores too.",
)
def bench(bundle: str, texts: IO[bytes] | None, rounds: int, threads: int) -> None:
    """Measure how fast a bundle answers here, compared with the bare graph in onnxruntime.

    PATH_OR_NAME is the bundle's folder, a packed file, or the name of a classifier that ships with pocketrnn. A packed
    file has no bare graph to compare with. TEXTS is a file with one text on each line, or - for standard input. Without
    it, the golden examples are used, repeated to about 1,000 texts. The table is Markdown.

    \b
    Examples:
      pocketrnn bench ag_news
      pocketrnn bench ag_news headlines.txt
    """
    from pocketrnn.benchmark import bench as measure_bundle
    from pocketrnn.benchmark import format_speed_table
    from pocketrnn.bundle import manifest as manifests
    from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
    from pocketrnn.bundle.packed_file import is_packed_file
    from pocketrnn.engines.native import NativeEngine

    folder = find_or_download_bundle(bundle)
    manifest = NativeEngine(folder).manifest if is_packed_file(folder) else manifests.read_manifest(folder)
    manifest.require_single_text("pocketrnn bench")
    if texts is None:
        external = manifest.text.rules.tokenizer == "external"
        examples = [list(example.ids) if external else example.text for example in manifest.golden_texts]
        given = examples * max(1, 1000 // max(1, len(examples)))
    else:
        given = [text for lines in read_arriving_lines(texts) for text in lines]
    print_text(format_speed_table(measure_bundle(bundle, given, rounds=rounds, threads=threads)))
