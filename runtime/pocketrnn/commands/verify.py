"""The command `pocketrnn verify`: it checks a bundle's files, and answers its golden examples again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pocketrnn.commands.grouped_help_and_shared_options import Command
from pocketrnn.commands.standard_streams import print_text
from pocketrnn.commands.terminal_text import align_columns, escape_line
from pocketrnn.errors import InputError

__all__ = ["verify"]


@click.command(cls=Command, short_help="Check a bundle and replay its examples.")
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the proof as a page, too: the comparisons, and plots of their differences.",
)
@click.option("--force", is_flag=True, help="Replace the page if it exists.")
def verify(bundle: str, page: Path | None, force: bool) -> None:
    """Check a bundle's digests and replay its golden examples, without PyTorch.

    PATH_OR_NAME is the bundle's folder, a packed file, or the name of a classifier that ships with pocketrnn. The exit
    status is 0 if all is right, 2 if the bundle is damaged, 3 if it answers differently here than where it was made.

    The page of --html is one file without scripts, for a colleague who has to sign the bundle off. It is written only
    if all is right.

    \b
    Examples:
      pocketrnn verify ag_news
      pocketrnn verify ag_news --html proof.html
    """
    from pocketrnn.text.text_input import TextInput
    from pocketrnn.verification import verify as verify_bundle

    if page is not None:
        from pocketrnn.bundle.atomic_writing import check_output_file

        check_output_file(page, force=force)
    result = verify_bundle(bundle)
    if page is not None and not isinstance(result.manifest.input, TextInput):
        raise InputError(
            f"--html works only for classifiers of texts, but {result.name} takes sequences of numbers.",
            "Leave --html out.",
        )
    if page is not None:
        from pocketrnn.bundle.atomic_writing import write_whole_file
        from pocketrnn.verification_page import proof_page

        with write_whole_file(page, force=force) as file:
            file.write(proof_page(result).encode("ascii"))
    if sys.stdout is None:
        # The exit status is an answer too.
        return
    rows = [("file", name, "sha256 as stated") for name in result.files]
    rows += [
        (
            "golden examples",
            f"{replay.examples}, {replay.how}",
            f"largest logit difference {replay.largest_difference:.1e}",
        )
        for replay in result.replays
    ]
    print_text("\n".join(align_columns(rows)))
    print_text(
        f"OK: {escape_line(result.name)} answers here as it did when it was made (tolerance {result.tolerance:g})."
    )
    if page is not None:
        print_text(f"Wrote {escape_line(str(page))}.")
