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
    """Verify a bundle of an earlier version of the format, and write it as this pocketrnn writes bundles.

    Every version since the first is read as it is: no bundle has to be upgraded to be asked. The new bundle is verified
    too, and gives the same numbers as the old one. Its version is the oldest that can say what is in it, which may be
    the one that it had. What only an export can add is not added: nobody asks the PyTorch module again. A packed file
    is refused, since it is of the oldest version already; pack its bundle again.

    The exit status is 2 if the bundle is damaged or of a newer version than this pocketrnn reads, 3 if it answers
    differently here than where it was made. Nothing is written then.

    \b
    Examples:
      pocketrnn upgrade old-news -o news
    """
    from pocketrnn.upgrading import upgrade as upgraded

    done = upgraded(bundle, output, force=force)
    versions = f"version {done.before}" if done.before == done.after else f"version {done.before}, now {done.after}"
    same = "classifier.json is written anew" if done.changed else "every byte is as before"
    examples = done.verification.replays[0].examples
    name = one_line(done.verification.name)
    say(f"{name}: {versions}; {same}. {examples} golden examples are answered as they were.")
    say(f"Wrote {one_line(str(output))}.")
