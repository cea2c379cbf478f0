"""`pocketrnn inspect`: what a bundle is, as its classifier.json tells it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pocketrnn.commands.command import Command
from pocketrnn.commands.standard_streams import json_line, say
from pocketrnn.commands.terminal import aligned, one_line, outline

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Graph, Limits, Manifest
    from pocketrnn.text import AnyTextRules

__all__ = ["inspect"]


@click.command(cls=Command, short_help="Show what a bundle is.")
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, without vocabulary and golden examples.")
def inspect(bundle: str, as_json: bool) -> None:
    """Show what a bundle is: labels, text rules, graph, sizes, proof and provenance.

    There are two verdicts: what is proven of the graph, and what the text rules were compared with. The proof has a
    line for each form and what it was made from; --json has each kind of input.

    PATH_OR_NAME is the bundle's folder, the name of a classifier that ships with pocketrnn, or a packed file. Of a
    bundle, only classifier.json is read; `pocketrnn verify` checks the other files.

    \b
    Examples:
      pocketrnn inspect ag_news
      pocketrnn inspect --json ag_news
    """
    from pocketrnn.bundle import manifest as manifests
    from pocketrnn.bundle.packed_file import is_packed
    from pocketrnn.bundle.zoo import bundle_folder

    folder = bundle_folder(bundle)
    try:
        if is_packed(folder):
            from pocketrnn.engines.native import NativeEngine

            _say(NativeEngine(folder).manifest, {folder.name: manifests.size_of(folder)}, as_json=as_json)
            return
        manifest = manifests.read(folder)
    except manifests.NumbersError:
        from pocketrnn.commands.inspect_numbers import described

        say(described(folder, as_json=as_json))
        return
    sizes = {name: manifests.size_of(folder / name) for name in manifests.files_of(manifest)}
    _say(manifest, sizes, as_json=as_json)


def _say(manifest: Manifest, sizes: Mapping[str, int], *, as_json: bool) -> None:
    say(json_line(_described(manifest, sizes)) if as_json else "\n".join(_shown(manifest, sizes)))


def _described(manifest: Manifest, sizes: Mapping[str, int]) -> dict[str, Any]:
    from pocketrnn.text import rules_document
    from pocketrnn.verdicts import graph_sentence, text_verdict

    described = asdict(manifest)
    described["vocabulary_size"] = len(described.pop("vocabulary"))
    described["examples"] = len(manifest.examples)
    described["text"] = rules_document(manifest.text)
    described["verdicts"] = {"graph": graph_sentence(manifest), "text_rules": text_verdict(manifest).document}
    return {**described, "bytes": dict(sizes)}


def _shown(manifest: Manifest, sizes: Mapping[str, int]) -> Iterator[str]:
    from pocketrnn.bundle.manifest import padding_told
    from pocketrnn.text import TextRules

    graph, text = manifest.graph, manifest.text
    unknown = "dropped" if text.unknown_id is None else f"id {text.unknown_id}"
    facts = [
        ("name", manifest.name),
        ("labels", f"{len(manifest.labels)}: {', '.join(manifest.labels)}"),
        ("probabilities", f"{manifest.activation} of the logits"),
        *([("thresholds", _thresholds(manifest.thresholds))] if manifest.thresholds is not None else []),
        ("tokenizer", _tokenizer(text)),
        *([("n-grams", f"up to {text.ngrams}" if text.ngrams > 1 else "none")] if isinstance(text, TextRules) else []),
        *([("cleaning", f"{len(text.steps)} step{'s' * (len(text.steps) > 1)} before it")] if text.steps else []),
        *([("stop words", f"{len(words):,}")] if (words := getattr(text, "stop_words", ())) else []),
        ("tokens read", _tokens_read(text)),
        ("unknown word", unknown),
        ("empty text", f"id {text.empty_id}"),
        *([("around a text", _around(text))] if _around(text) else []),
        ("vocabulary", f"{len(manifest.vocabulary):,} tokens; {graph.embedding_rows:,} embedding rows"),
        ("graph", f"opset {graph.opset}; inputs {', '.join(graph.inputs)}"),
        *(() if manifest.stream is None else [("streams", f"yes; a state of {manifest.stream.state_size:,} numbers")]),
        ("batches", _batches(graph)),
        *([("padding", f"none is given; {told}")] if (told := padding_told(manifest.provenance)) else []),
        *(() if graph.limits is None else [("limits", _limits(graph.limits))]),
        *([("not compared", str(left))] if (left := manifest.provenance.get("not_compared")) else []),
        *((name, f"{size:,} bytes") for name, size in sizes.items()),
        ("golden examples", f"{len(manifest.examples)}"),
    ]
    yield from aligned([(name, one_line(value)) for name, value in facts])
    yield ""
    yield from _proof(manifest)
    if manifest.provenance:
        yield ""
        yield "Provenance"
        yield from outline(manifest.provenance)


def _thresholds(thresholds: Sequence[float]) -> str:
    least, most = min(thresholds), max(thresholds)
    return f"{least:g}" if least == most else f"{least:g} to {most:g}; --json has that of each label"


def _proof(manifest: Manifest) -> Iterator[str]:
    """The two verdicts, and the chain from the module to the file, a line for each form. --json has every line."""
    from pocketrnn.verdicts import graph_sentence, links_of, text_verdict

    verdict = text_verdict(manifest)
    yield f"Graph: {one_line(graph_sentence(manifest))}"
    yield f"Text rules: {verdict.sentence} {verdict.remedy}".rstrip()
    yield ""
    yield f"Proof: largest logit difference allowed {manifest.parity.tolerance:g}"
    links = [link.line for link in links_of(manifest.parity.comparisons)]
    rows = [
        (
            line.reference,
            f"{line.candidate} (what {'rounding' if line.is_rounding else 'it'} changed)"
            if line.is_rounding or line.is_of_integers
            else line.candidate,
            line.inputs,
            f"{line.rows}",
            f"{line.largest_difference:.1e}",
            f"{line.labels_differing}",
        )
        for line in links
    ]
    head = ("reference", "candidate", "inputs", "texts", "difference", "labels differing")
    yield from (f"  {line}" for line in aligned([head, *(tuple(map(one_line, row)) for row in rows)]))


def _tokenizer(text: AnyTextRules) -> str:
    from pocketrnn.text import TextRules, rules_document

    if not isinstance(text, TextRules):
        return f"subwords: {rules_document(text)['model']['kind']}"
    if text.tokenizer == "external":
        return "external: the owner's code splits texts, which are given as tokens or ids"
    return text.tokenizer + ("" if text.lowercase else ", case kept")


def _tokens_read(text: AnyTextRules) -> str:
    if text.max_tokens is None:
        return "all"
    return f"the {'first' if text.cut_side == 'right' else 'last'} {text.max_tokens}"


def _around(text: AnyTextRules) -> str:
    """What stands around the ids of a text, and how many there are."""
    stated = (
        *(("id {} before it", number) for number in text.first_ids),
        *(("id {} after it", number) for number in text.last_ids),
        (f"cut on the {text.cut_side} to {{:,}} ids", text.max_width),
        (f"padded on the {text.pad_side} to {{:,}} ids", text.min_width),
    )
    return "; ".join(what.format(number) for what, number in stated if number is not None)


def _batches(graph: Graph) -> str:
    if graph.batch == 1:
        return "of one text"
    shared = "padded" if graph.padding else "of one length, since padding would change the answers"
    if not graph.alone:
        return shared
    ids = ", ".join(map(str, graph.alone[:5])) + (f" and {len(graph.alone) - 5:,} more" if len(graph.alone) > 5 else "")
    return f"{shared}; a text that holds the id {ids.replace(', ', ' or ')} alone, since others would change its answer"


def _limits(limits: Limits) -> str:
    stated = (
        ("a text of at least", limits.min_tokens, "tokens"),
        ("a text of at most", limits.max_tokens, "tokens"),
        ("a run of at most", limits.max_batch, "texts"),
    )
    sizes = [f"{what} {number:,} {unit}" for what, number, unit in stated if number is not None]
    return "; ".join([*sizes, *(["a text with a known word"] if limits.real_token else [])])
