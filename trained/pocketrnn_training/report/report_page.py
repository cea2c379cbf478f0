"""Make one HTML file of the report of a run, from its Markdown and its pictures.

The page loads nothing and runs nothing. Only the Markdown that `pocketrnn_training.report.run_report` writes is
supported: headings, paragraphs, lists, tables and pictures; in a line `**bold**`, `` `code` `` and characters after a
backslash.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

__all__ = ["render_page"]

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { text-align: left; padding: 0.2rem 0.6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td { overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; }
@media print { body { margin: 0; } }
"""
_SAFE: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PICTURE: Final = re.compile(r"!\[(.*)\]\((.*)\)")
# An escaped character, bold text, or code: whichever comes first.
_MARK: Final = re.compile(r"\\(?P<plain>.)|\*\*(?P<bold>(?:\\.|[^*\\])*)\*\*|`(?P<code>[^`]*)`", re.DOTALL)
_BETWEEN_CELLS: Final = re.compile(r"(?<!\\)\|")


def render_page(lines: Sequence[str], pictures: Mapping[str, bytes]) -> str:
    """Render Markdown and its pictures as an HTML page.

    Args:
        lines: the lines of the Markdown, which begins with a heading.
        pictures: the content of the PNG files that it shows, by name.

    Returns:
        a complete HTML document, ASCII only.
    """
    title = re.sub(r"\\(.)", r"\1", lines[0].removeprefix("# "))
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_SAFE}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
    ]
    whole = "\n".join([*head, *_render_blocks(lines, pictures), "</body></html>"]) + "\n"
    return whole.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _render_blocks(lines: Sequence[str], pictures: Mapping[str, bytes]) -> Iterator[str]:
    for kind, found in groupby(lines, _find_line_kind):
        some = list(found)
        if kind == "heading":
            for line in some:
                marks, _, text = line.partition(" ")
                yield f"<h{len(marks)}>{_render_inline(text)}</h{len(marks)}>"
        elif kind == "picture":
            yield from (_render_picture(line, pictures) for line in some)
        elif kind == "list":
            yield "<ul>" + "".join(f"<li>{_render_inline(line[2:])}</li>" for line in some) + "</ul>"
        elif kind == "table":
            yield from _render_table(some)
        elif kind == "text":
            yield f"<p>{_render_inline(chr(10).join(some))}</p>"


def _find_line_kind(line: str) -> str:
    """Return which kind of block a line of Markdown belongs to; "" for an empty line."""
    beginnings = {"#": "heading", "![": "picture", "- ": "list", "|": "table"}
    return next((kind for mark, kind in beginnings.items() if line.startswith(mark)), "text" if line else "")


def _render_picture(line: str, pictures: Mapping[str, bytes]) -> str:
    match = _PICTURE.fullmatch(line)
    assert match is not None  # noqa: S101 - the report writes no other
    content = base64.b64encode(pictures[match[2]]).decode()
    return f'<img alt="{html.escape(match[1])}" src="data:image/png;base64,{content}">'


def _render_table(lines: Sequence[str]) -> Iterator[str]:
    head, aligned, *rows = ([cell.strip() for cell in _BETWEEN_CELLS.split(line)[1:-1]] for line in lines)
    cell_attributes = [' class="number"' if cell.endswith(":") else "" for cell in aligned]
    yield "<table>"
    if any(head):
        yield _render_row(head, cell_attributes, "th")
    yield from (_render_row(row, cell_attributes, "td") for row in rows)
    yield "</table>"


def _render_row(cells: Sequence[str], cell_attributes: Sequence[str], tag: str) -> str:
    inside = (f"<{tag}{kind}>{_render_inline(cell)}</{tag}>" for cell, kind in zip(cells, cell_attributes, strict=True))
    return f"<tr>{''.join(inside)}</tr>"


def _render_inline(text: str) -> str:
    """Render the escaped characters, bold text and code in a line as HTML."""
    made, end = [], 0
    for match in _MARK.finditer(text):
        made.append(html.escape(text[end : match.start()]))
        end = match.end()
        if match["plain"] is not None:
            made.append(html.escape(match["plain"]))
        elif match["bold"] is not None:
            made.append(f"<strong>{_render_inline(match['bold'])}</strong>")
        else:
            made.append(f"<code>{html.escape(match['code'])}</code>")
    return "".join([*made, html.escape(text[end:])])
