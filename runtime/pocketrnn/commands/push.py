"""The command `pocketrnn push`: it uploads a classifier to a model hub."""

from __future__ import annotations

import click

from pocketrnn.commands.grouped_help_and_shared_options import Command
from pocketrnn.commands.standard_streams import print_line, print_text

__all__ = ["push"]


@click.command(cls=Command, short_help="Put a classifier on a model hub.")
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.argument("address", metavar="hf://USER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository that only you can read.")
@click.option("--message", metavar="TEXT", help="The message of the commit.")
def push(bundle: str, address: str, private: bool, message: str | None) -> None:
    """Verify a bundle or a packed file, and upload it in one commit to a model hub with Hugging Face's interface.

    PATH_OR_NAME is the bundle's folder, a packed file, or the name of a classifier that ships with pocketrnn. A missing
    repository is created, with a card. Log in first: hf auth login, or the variable HF_TOKEN. HF_ENDPOINT names another
    hub.

    Everybody who can read the repository can read the golden examples, which are texts: `pocketrnn export
    --no-examples` leaves yours out.

    \b
    Examples:
      pocketrnn push news hf://someone/news
      pocketrnn classify -b hf://someone/news "Oil prices rise again"
    """
    from pocketrnn.hub_upload import push as push_bundle

    print_line("Verifying ...", err=True)
    made = push_bundle(bundle, address, private=private, message=message)
    print_text(f"{made}")
