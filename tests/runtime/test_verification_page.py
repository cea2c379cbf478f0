"""The proof as a page: what it shows, and that nothing in a bundle becomes markup in it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import bundle_maker
import pytest
from click.testing import CliRunner, Result

from pocketrnn import verify
from pocketrnn.bundle.manifest import Comparison, Example, Manifest
from pocketrnn.commands.cli import main
from pocketrnn.verification_page import _compute_x_position, proof_page

HOSTILE = (
    "<script>alert(1)</script>",
    "\" onmouseover='alert(1)",
    "&lt;b&gt; <!-- ]]> </title></style></pre></svg>",
    "\u202egnp.exe\u2066\x1b[31m\0\n\u2028",
)
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "div", "p", "strong", "ul", "li", "pre"),
    *("table", "thead", "tbody", "tr", "th", "td", "svg", "line", "text", "circle"),
}


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta" and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(manifest: Manifest) -> Manifest:
    comparison = Comparison(HOSTILE[0], HOSTILE[1], HOSTILE[2], 1, 2, 0.0, 1, 3.5)
    return replace(
        manifest,
        parity=replace(manifest.parity, comparisons=(*manifest.parity.comparisons, comparison)),
        provenance={HOSTILE[0]: {HOSTILE[1]: list(HOSTILE)}, "</pre>": ["</pre><img src=x>"] * 500},
    )


def written(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def test_nothing_of_a_bundle_becomes_markup(tmp_path: Path) -> None:
    bundle = bundle_maker.make(tmp_path / "bundle", name=HOSTILE[2], labels=HOSTILE, change=hostile)
    assert written(bundle, "--html", tmp_path / "p.html").exit_code == 0
    content = (tmp_path / "p.html").read_bytes()
    page = Page(content.decode("ascii"))
    assert set(page.tags) <= TAGS
    assert page.open == []
    assert not {name for name in page.attributes if name.startswith("on") or name in ("href", "src", "style")}
    assert page.tags.count("title") == content.count(b"<title>")
    for text in HOSTILE[:3]:
        assert text in page.text
    assert "\\u202egnp.exe\\u2066\\x1b[31m\\x00\\n\\u2028" in page.text
    assert b"default-src 'none'" in content
    assert len(content) < 100_000


def test_hostile_examples_are_shown_as_text(tmp_path: Path) -> None:
    bundle = bundle_maker.make(tmp_path / "bundle")
    verified = verify(bundle)
    examples = [replace(example, text=text) for example, text in zip(verified.manifest.examples, HOSTILE, strict=False)]
    long = Example("x" * 10_000, (1,), (0.0, 1.0, 2.0, 3.0))
    manifest = replace(verified.manifest, examples=(*examples, *verified.manifest.examples[len(examples) + 1 :], long))
    page = Page(proof_page(replace(verified, manifest=manifest)))
    assert set(page.tags) <= TAGS
    assert HOSTILE[0] in page.text
    assert "x" * 400 not in page.text


def test_the_page_says_what_was_compared_and_how_far_apart_it_was(padded: Path) -> None:
    verified = verify(padded)
    page = Page(proof_page(verified, now=datetime(2026, 11, 25, 12, 0, tzinfo=UTC)))
    assert "It answers here as it did when it was made." in page.text
    assert "Checked on 2026-11-25 12:00 UTC" in page.text
    for comparison in verified.manifest.parity.comparisons:
        assert f"{comparison.largest_difference:.1e}" in page.text
    assert verified.manifest.graph.sha256 in page.text
    assert "(the empty text)" in page.text
    dots = len(verified.manifest.parity.comparisons) + sum(len(replay.differences) for replay in verified.replays)
    assert page.tags.count("circle") == dots
    for replay in verified.replays:
        assert len(replay.differences) == replay.examples
        assert max(replay.differences) == replay.largest_difference


def test_differences_stand_in_their_order_within_the_drawing() -> None:
    places = [_compute_x_position(difference) for difference in (0.0, 1e-300, 1e-17, 1e-8, 1e-3, 1.0, 1e9)]
    assert places == sorted(places)
    assert places[0] == places[1] == 250
    assert places[-1] == places[-2] == 770


def test_a_page_is_never_written_over_a_file_unless_asked(padded: Path, tmp_path: Path) -> None:
    page = tmp_path / "proof.html"
    page.write_text("mine")
    refused = written(padded, "--html", page)
    assert refused.exit_code == 2
    assert page.read_text() == "mine"
    assert "--force" in refused.stderr
    replaced = written(padded, "--html", page, "--force")
    assert replaced.exit_code == 0, replaced.stderr
    assert replaced.stdout.endswith(f"Wrote {page}.\n")
    assert page.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["proof.html"]


def test_no_page_is_written_for_a_bundle_that_is_wrong(padded: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(padded, tmp_path / "damaged")
    graph = damaged / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    assert written(damaged, "--html", tmp_path / "p.html").exit_code == 2

    def other_answers(manifest: Manifest) -> Manifest:
        first, *rest = manifest.examples
        return replace(manifest, examples=(replace(first, logits=first.logits[::-1]), *rest))

    other = bundle_maker.make(tmp_path / "other", change=other_answers)
    assert written(other, "--html", tmp_path / "p.html").exit_code == 3
    assert not (tmp_path / "p.html").exists()


def test_a_page_that_cannot_be_written_is_said_in_one_line(padded: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "p.html"):
        refused = written(padded, "--html", place)
        assert refused.exit_code == 2
        assert re.fullmatch(r"Error: [^\n]+\n", refused.stderr)


@pytest.mark.parametrize("name", ["ag_news", "ag_news-small"])
def test_the_shipped_classifiers_have_a_page(name: str) -> None:
    assert f"<h1>{name}: the proof</h1>" in proof_page(verify(name))
