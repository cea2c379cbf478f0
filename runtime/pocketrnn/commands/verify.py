"""`pocketrnn verify`: a bundle's files are checked, and its golden examples are answered again."""

from __future__ import annotations

import sys

import click

from pocketrnn.commands.command import Command
from pocketrnn.commands.standard_streams import say
from pocketrnn.commands.terminal import aligned, one_line

__all__ = ["verify"]


@click.command(cls=Command, short_help="Check a bundle and replay its examples.")
@click.argument("bundle", metavar="PATH_OR_NAME")
def verify(bundle: str) -> None:
    """Check a bundle's digests and replay its golden examples, without PyTorch.

    PATH_OR_NAME is the bundle's folder, or the name of a classifier that ships with pocketrnn. The exit status is 0 if
    all is right, 2 if the bundle is damaged, 3 if it answers differently here than where it was made.

    \b
    Examples:
      pocketrnn verify ag_news
    """
    from pocketrnn.verification import verify as verified

    result = verified(bundle)
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
    say("\n".join(aligned(rows)))
    say(f"OK: {one_line(result.name)} answers here as it did when it was made (tolerance {result.tolerance:g}).")
