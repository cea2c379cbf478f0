"""Hook for hatchling: make the README for a package index, where links to files of the repository do not work.

A link to a file becomes the file's path, and pictures are left out. The names of files stay true: all of them are in
the source distribution too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class LongDescription(MetadataHookInterface):
    """Gives the package its long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called when the package's metadata is made."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": replace_file_links(readme)}


def replace_file_links(markdown: str) -> str:
    """Replace `[the proof](docs/proof.md)` by `` the proof (`docs/proof.md`) ``; links to other hosts and to headings
    are unchanged."""
    markdown = re.sub(r"!\[[^\]]*\]\((?![a-z]+:)[^)]+\)\n*", "", markdown)
    return re.sub(r"\[([^\]]+)\]\((?!#|[a-z]+:)([^)#]+)(?:#[^)]*)?\)", _name_link_target, markdown)


def _name_link_target(link: re.Match[str]) -> str:
    text, path = link[1], link[2].rstrip("/")
    return f"`{path}`" if text.strip("`") in (path, Path(path).name) else f"{text} (`{path}`)"
