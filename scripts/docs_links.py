"""For mkdocs: links out of docs/ become the path in the repository, since the site holds only docs/.

On a site like GitHub such links lead somewhere; tests/test_documentation.py holds that the files are there.
"""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`[the tests](../tests/vectors)` as `the tests (tests/vectors)`."""
    return re.sub(r"\[([^\]]+)\]\(\.\./([^)#]+)(?:#[^)]*)?\)", _named, markdown)


def _named(link: re.Match[str]) -> str:
    text, path = link[1], link[2].rstrip("/")
    return text if text.strip("`") == path else f"{text} (`{path}`)"
