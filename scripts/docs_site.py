"""Hooks for mkdocs: the navigation of the site, and links that differ from those of the pages in the repository.

scripts/site puts the page with `languages` beside the pages, in try/; the overview then links to it. The navigation is
that of docs/README.md: a section for each of its headings, a page for each of its links. Links out of docs/ become the
path in the repository, since the site holds only docs/; tests/test_documentation.py holds that the files are there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Called before anything is built."""
    index = Path(config["docs_dir"], "README.md").read_text(encoding="utf-8")
    config["nav"] = make_navigation(index)
    return config


def make_navigation(index: str) -> list[dict[str, Any]]:
    """Make the navigation: the pages that the index links to, each once, in its order."""
    introduction, *sections = re.split(r"(?m)^## ", index)
    seen: set[str] = set()
    entries: list[dict[str, Any]] = [{"Overview": "README.md"}, *_list_pages(introduction, seen)]
    for section in sections:
        title, _, content = section.partition("\n")
        entries.append({title.strip(): _list_pages(content, seen)})
    return entries


def _list_pages(text: str, seen: set[str]) -> list[dict[str, Any]]:
    found = []
    for title, page in re.findall(r"\[([^\]]+)\]\(([\w-]+\.md)\)", text):
        if page not in seen:
            seen.add(page)
            found.append({title[0].upper() + title[1:]: page})
    return found


def on_page_markdown(markdown: str, page: Any = None, **_: Any) -> str:
    """Show `[the tests](../tests/vectors)` as `the tests (tests/vectors)`; the overview links to the page in try/."""
    if os.environ.get("TRY_PAGE") and page is not None and page.file.src_uri == "README.md":
        title, _, rest = markdown.partition("\n")
        markdown = f'{title}\n\n<a href="try/">Try it: which language is this?</a>\n{rest}'
    return re.sub(r"\[([^\]]+)\]\(\.\./([^)#]+)(?:#[^)]*)?\)", _name_link_target, markdown)


def _name_link_target(link: re.Match[str]) -> str:
    text, path = link[1], link[2].rstrip("/")
    return text if text.strip("`") == path else f"{text} (`{path}`)"
