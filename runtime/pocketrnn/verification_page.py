"""Show a verification as an HTML page for a person who approves it.

The page has the comparisons, and a drawing of their differences.

The page is one file. It loads nothing and runs nothing: it has no script, and its Content-Security-Policy allows none.
Everything from a bundle - labels, texts, names, provenance - is shown as text.
"""

from __future__ import annotations

import html
import json
import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from pocketrnn.answers_by_head import build_answers, join_likeliest_labels
from pocketrnn.bundle.manifest import Comparison, Manifest, describe_padding_effect
from pocketrnn.bundle.output_kinds import HeadsOutput
from pocketrnn.proof_comparison_chain import group_comparisons_into_links
from pocketrnn.text import EXTERNAL
from pocketrnn.verdicts import describe_graph_proof, read_text_verdict
from pocketrnn.verification import Verification

__all__ = ["proof_page"]

# The largest difference that is "equal in double precision"; see docs/proof.md.
_EXACT: Final = 1e-10
# The largest distance of a float32 answer from the exact one, in spreads.
_SPREADS: Final = 40
_LONGEST: Final = 300
# The axis of the drawings: the powers of ten at its left end, where 0 is drawn, and at its right end.
_FIRST, _LAST = -18, 0
_LEFT, _WIDTH, _ROW = 250, 520, 26
# The attribute that highlights a verdict that leaves something open.
_OPEN: Final = ' class="open"'
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { text-align: left; padding: 0.2rem 0.6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td, pre { overflow-wrap: anywhere; }
pre { white-space: pre-wrap; background: #f6f6f6; padding: 0.8rem; font-size: 0.85rem; }
.verdict { border-left: 0.4rem solid #1b7f5c; padding: 0.4rem 1rem; background: #eef7f3; }
.verdict p.open { border-left: 0.4rem solid #b7791f; margin-left: -1.4rem; padding-left: 1rem; background: #fff8e6; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.sign { margin-top: 3rem; border-top: 1px solid #222; width: 24rem; }
@media print { body { margin: 0; } }
"""


def proof_page(verified: Verification, *, now: datetime | None = None) -> str:
    """Make an HTML page for a bundle that passed `verify`: its proof, and how its golden examples were answered here.

    Args:
        verified: the result of `verify`.
        now: the time of the verification; None for the present time.

    Returns:
        a complete HTML document in ASCII.

    Example:
        >>> from pocketrnn import verify
        >>> proof_page(verify("ag_news")).startswith("<!doctype html>")
        True
    """
    manifest, when = verified.manifest, now or datetime.now(UTC)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{_escape_html(manifest.name)}: the proof</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_escape_html(manifest.name)}: the proof</h1>",
        *_render_verdict(verified, when),
        *_render_labels_vocabulary_and_digests(manifest),
        *_render_export_proof(manifest.parity.comparisons),
        *_render_replays(verified),
        *_render_limits_of_proof(manifest),
        *_render_provenance(manifest),
        '<p class="sign">Date, name</p>',
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _escape_html(value: object, longest: int = _LONGEST) -> str:
    """Return a value as HTML text of at most `longest` characters. Markup in it is shown as text, and unprintable
    characters as escapes."""
    text = str(value)
    text = text if len(text) <= longest else f"{text[: longest - 3]}..."
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return html.escape(shown).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _render_html_table(
    head: Sequence[str], rows: Iterable[Sequence[object]], first_number_column: int
) -> Iterator[str]:
    """Yield the parts of an HTML table. The columns from the index `first_number_column` on are right-aligned."""
    yield "<table><thead><tr>" + "".join(f"<th>{_escape_html(cell)}</th>" for cell in head) + "</tr></thead><tbody>"
    for row in rows:
        cells = (
            f'<td class="number">{_escape_html(c)}</td>' if i >= first_number_column else f"<td>{_escape_html(c)}</td>"
            for i, c in enumerate(row)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table>"


def _render_verdict(verified: Verification, when: datetime) -> Iterator[str]:
    """Yield the box at the top of the page: the verdicts on graph and text rules, the result of the verification, and
    the versions that computed it."""
    largest = max(replay.largest_difference for replay in verified.replays)
    examples = len(verified.manifest.examples)
    yield '<div class="verdict">'
    yield f"<p><strong>The graph:</strong> {_escape_html(describe_graph_proof(verified.manifest), 10 * _LONGEST)}</p>"
    verdict = read_text_verdict(verified.manifest)
    told = _escape_html(f"{verdict.sentence} {verdict.remedy}".rstrip(), 10 * _LONGEST)
    yield f"<p{_OPEN if verdict.is_open else ''}><strong>The text rules:</strong> {told}</p>"
    same = "the same token ids and the same labels"
    if verified.manifest.text.rules.tokenizer == EXTERNAL:
        same = "the same labels; they were given as token ids, since the owner's code splits the texts"
    yield (
        f"<p><strong>It answers here as it did when it was made.</strong> Every file has the digest that was stated. "
        f"{examples} golden examples give {same}; their logits differ by at most "
        f"{largest:.1e}, where {verified.tolerance:g} is allowed.</p>"
    )
    yield (
        f"<p>Checked on {when:%Y-%m-%d %H:%M} UTC, on {_escape_html(platform.machine())} with "
        f"{_escape_html(platform.system())}: Python {_escape_html(platform.python_version())}, "
        f"{_escape_html(_read_installed_versions())}.</p></div>"
    )


def _read_installed_versions() -> str:
    """Return the names and versions of the installed packages that computed the answers, joined with commas."""
    found = []
    for package in ("pocketrnn", "numpy", "onnxruntime", "pocketrnn-native"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _render_labels_vocabulary_and_digests(manifest: Manifest) -> Iterator[str]:
    """Yield the table with the labels, the size of the vocabulary, and the sha256 of each file."""
    graph = manifest.graph
    files = [(graph.file, graph.sha256)]
    files += [(form.file, form.sha256) for form in (manifest.torchscript, manifest.stream) if form is not None]
    yield "<h2>What was checked</h2>"
    facts = [
        ("labels", f"{len(manifest.labels)}: {', '.join(manifest.labels)}"),
        ("probabilities", _describe_activations(manifest)),
        ("vocabulary", f"{len(manifest.text.vocabulary):,} tokens, tokenizer {manifest.text.rules.tokenizer}"),
        *((f"sha256 of {name}", digest) for name, digest in files),
    ]
    yield from _render_html_table(("", ""), facts, 2)


def _render_export_proof(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yield the comparisons that were made at the export, as a drawing and as a table."""
    yield "<h2>At export: every form against what it was made from</h2>"
    yield (
        "<p>Before the bundle was written, each form was run on the same token ids as what it was made from, from the "
        "PyTorch module to this file. The logits were compared. In "
        f"double precision they must agree to {_EXACT:g}. In single precision, rounding moves every answer a little, "
        "that of the module too. The unit for it is the spread: how far the exact answer moves when the weights are "
        f"rounded. A form may be {_SPREADS} spreads from the exact answer. Each dot is one kind of input.</p>"
    )
    if any(c.measures_rounding for c in comparisons):
        yield (
            "<p>One link of the chain is not proven: where weights are stored in fewer bytes, they are rounded, which "
            "changes answers. The change is measured, and drawn as the rest. The links after it are proven equal to "
            "the graph with these rounded weights.</p>"
        )
    if any(c.measures_integer_arithmetic for c in comparisons):
        yield (
            "<p>One link of the chain is not proven: after it the program multiplies integers of 8 bits, which changes "
            "answers. The change is measured, and drawn as the rest. The integers themselves are compared with a plain "
            "statement of the arithmetic, and are the same to the last bit; the links after it are compared with the "
            "program of integers.</p>"
        )
    rows = [
        (
            f"{link.line.candidate}{' (measured)' if link.line.is_only_measured else ''}",
            [(c.largest_difference, f"{c.inputs}: {c.largest_difference:.1e}") for c in link.each],
            _EXACT if link.line.candidate.endswith("float64") else None,
        )
        for link in group_comparisons_into_links(comparisons)
    ]
    yield _draw_dots(rows, "Largest difference of a logit, by form")
    yield from _render_html_table(
        ("form", "against", "inputs", "runs", "texts", "largest difference", "spreads", "labels differing"),
        (
            (c.candidate, c.reference, c.inputs, f"{c.cases:,}", f"{c.rows:,}", f"{c.largest_difference:.1e}",
             "" if c.spreads is None else f"{c.spreads:.1f}", f"{c.labels_differing:,}")
            for c in comparisons
        ),
        3,
    )  # fmt: skip
    differing = sum(c.labels_differing for c in comparisons if not c.is_only_measured)
    if differing:
        yield f"<p>{differing:,} labels differ: there, two labels were equally likely within rounding.</p>"


def _render_replays(verified: Verification) -> Iterator[str]:
    """Yield how far the golden examples' logits on this machine differ from those at the export, as a drawing and as a
    table."""
    manifest, answers = verified.manifest, build_answers(verified.manifest)
    yield "<h2>Here: the golden examples again</h2>"
    rows = [
        (replay.how, [(d, f"{d:.1e}") for d in replay.differences], verified.tolerance) for replay in verified.replays
    ]
    yield _draw_dots(rows, "Difference of the logits from those at export, by golden example")
    worst = [max(apart) for apart in zip(*(replay.differences for replay in verified.replays), strict=True)]
    yield from _render_html_table(
        ("text", "label", "largest difference"),
        (
            (
                example.shown or "(the empty text)",
                # One label of a text, or one of each of its tokens.
                " ".join(join_likeliest_labels(answers, row) for row in example.rows),
                f"{difference:.1e}",
            )
            for example, difference in zip(manifest.golden_texts, worst, strict=True)
        ),
        2,
    )


def _describe_activations(manifest: Manifest) -> str:
    """Return how logits become probabilities: "softmax of the logits", or the activation of each head."""
    if isinstance(manifest.output, HeadsOutput):
        each = (f"of {name} {head.activation}" for name, head in manifest.output.heads.items())
        return f"{', '.join(each)} of its logits"
    return f"{manifest.output.activation} of the logits"


def _render_limits_of_proof(manifest: Manifest) -> Iterator[str]:
    """Yield a list of what neither the proof nor the verification shows."""
    yield "<h2>What this does not say</h2><ul>"
    as_what = (
        "the program in float32 does, but for what was measured"
        if any(line.measures_integer_arithmetic for line in manifest.parity.comparisons)
        else "the PyTorch module does"
    )
    yield f"<li>Whether the classifier is right: only that it answers as {as_what}.</li>"
    yield "<li>Who made the bundle: a digest finds a changed byte and is not a signature.</li>"
    if read_text_verdict(manifest).kind in ("not compared", "external"):
        rules = "the owner's code makes them" if manifest.text.rules.tokenizer == EXTERNAL else "the text rules say so"
        yield f"<li>That texts became these token ids in training: {rules}, and nothing was compared.</li>"
    if told := describe_padding_effect(manifest.provenance):
        yield (
            f"<li>What other programs answer that pad texts: {_escape_html(told)}. Here each is answered without.</li>"
        )
    if manifest.graph.alone:
        yield (
            "<li>What other programs answer in batches: a text that holds one of the token ids "
            f"{_escape_html(', '.join(map(str, manifest.graph.alone)))} would get another answer beside longer texts. "
            "Here it "
            "is answered alone.</li>"
        )
    if manifest.graph.limits is not None:
        yield "<li>Anything about texts beyond the limits that the bundle states; they are refused.</li>"
    yield "</ul>"


def _render_provenance(manifest: Manifest) -> Iterator[str]:
    """Yield the provenance as indented JSON, at most 300 lines; nothing if there is none."""
    if manifest.provenance:
        yield "<h2>Its origin, as stated by its maker</h2>"
        stated = json.dumps(manifest.provenance, indent=1, ensure_ascii=True, default=str)
        lines = stated.splitlines()
        yield "<pre>" + "\n".join(_escape_html(line) for line in lines[:_LONGEST]) + "</pre>"
        if len(lines) > _LONGEST:
            yield f"<p>{len(lines) - _LONGEST:,} lines more are in classifier.json.</p>"


def _draw_dots(
    names_dots_and_limits: Sequence[tuple[str, Sequence[tuple[float, str]], float | None]], title: str
) -> str:
    """Draw differences as dots on a logarithmic axis, with one line for each row; return the SVG.

    Args:
        names_dots_and_limits: for each row its name, its dots (each a difference and its description), and the largest
            allowed difference, which is drawn as a bar; None for no bar.
        title: the title of the drawing, for screen readers.
    """
    height = _ROW * len(names_dots_and_limits) + 46
    right = _LEFT + _WIDTH
    parts = [f'<svg viewBox="0 0 {right + 20} {height}" role="img"><title>{_escape_html(title)}</title>']
    for power in range(_FIRST + 1, _LAST + 1):
        x = _compute_x_position(10.0**power)
        parts.append(f'<line x1="{x:.1f}" y1="8" x2="{x:.1f}" y2="{height - 34}" stroke="#eee"/>')
        if power % 4 == 0:
            parts.append(f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle">1e{power}</text>')
    parts.append(f'<text x="{_compute_x_position(0.0):.1f}" y="{height - 18}" text-anchor="middle">0</text>')
    for i, (name, dots, limit) in enumerate(names_dots_and_limits):
        y = _ROW * i + 20
        parts.append(f'<text x="0" y="{y + 4}">{_escape_html(name, 38)}</text>')
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#ccc"/>')
        if limit is not None:
            x = _compute_x_position(limit)
            told = f"<title>at most {limit:g}</title>"
            parts.append(f'<line x1="{x:.1f}" y1="{y - 9}" x2="{x:.1f}" y2="{y + 9}" stroke="#b3261e" stroke-width="3">'
                         f"{told}</line>")  # fmt: skip
        parts += [
            f'<circle cx="{_compute_x_position(difference):.1f}" cy="{y}" r="4.5" fill="#1b7f5c" fill-opacity="0.55">'
            f"<title>{_escape_html(told)}</title></circle>"
            for difference, told in dots
        ]
    parts.append(f'<text x="{_LEFT}" y="{height - 2}">dots: differences; red bar: what is allowed</text></svg>')
    return "".join(parts)


def _compute_x_position(difference: Any) -> float:
    """Compute the x coordinate of a difference on the logarithmic axis. A difference beyond the axis, such as 0, is
    drawn at its end."""
    power = math.log10(difference) if difference > 0 else -math.inf
    return _LEFT + _WIDTH * (min(max(power, _FIRST), _LAST) - _FIRST) / (_LAST - _FIRST)
