"""`pocketrnn upgrade`: a bundle of an earlier version of the format is written as this version writes it."""

from __future__ import annotations

from pathlib import Path

import click

from pocketrnn.commands.command import Command
from pocketrnn.commands.standard_streams import say
from pocketrnn.commands.terminal import one_line

__all__ = ["upgrade"]


@click.command(cls=Command, short_help="Write an earlier bundle as today's.")
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="The new bundle's folder to write.",
)
@click.option("--force", is_flag=True, help="Replace a bundle at FOLDER.")
def upgrade(bundle: str, output: Path, force: bool) -> None:
    """Write a bundle that an earlier pocketrnn made as this one would write it.

    You need not: bundles of all earlier versions are read as they are. Both bundles are verified, and the new one gives
    the same numbers. The version of its format is the oldest that can hold what is in it, so that it may stay as it
    was. Nothing is added that only an export can find out: the PyTorch module is not asked again. A packed file is
    refused: pack its bundle again.

    The exit status is 2 if the bundle is damaged or of a newer version than this pocketrnn reads, 3 if it answers
    differently here than where it was made. Nothing is written then.

    \b
    Examples:
      pocketrnn upgrade old-news -o news
    """
    from pocketrnn.upgrading import upgrade as upgraded

    done = upgraded(bundle, output, force=force)
    if done.before != done.after:
        what = f"it is of version {done.after} of the format, which can hold all of it; it was of {done.before}"
    elif done.changed:
        what = f"classifier.json is written as today; version {done.after} of the format stays"
    else:
        what = "nothing had to change; this is a copy"
    examples = done.verification.replays[0].examples
    say(f"{one_line(done.verification.name)}: {what}. {examples} golden examples are answered as they were.")
    say(f"Wrote {one_line(str(output))}.")
