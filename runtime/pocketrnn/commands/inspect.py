"""The command `pocketrnn inspect`: it shows what a bundle's classifier.json says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from pocketrnn.bundle.checked_files import read_file_size
from pocketrnn.commands.grouped_help_and_shared_options import Command
from pocketrnn.commands.standard_streams import format_json_line, print_text
from pocketrnn.commands.terminal_text import align_columns, escape_line, format_nested_members

if TYPE_CHECKING:
    from pocketrnn.bundle.manifest import Graph, Limits, Manifest
    from pocketrnn.bundle.output_kinds import LabelOutput
    from pocketrnn.numbers.number_input import NumberInput
    from pocketrnn.text import AnyTextRules
    from pocketrnn.text.features_beside_text import Feature
    from pocketrnn.text.text_input import TextInput
    from pocketrnn.text.token_characters import Characters

__all__ = ["describe_limits", "inspect"]

# The most values of a category that are shown.
_SHOWN_VALUES: Final = 10
# The most characters of a cleaning step that are shown: a set of letters has hundreds of ranges.
_LONGEST_STEP: Final = 300


@click.command(cls=Command, short_help="Show what a bundle is.")
@click.argument("bundle", metavar="PATH_OR_NAME")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, without vocabulary and golden examples.")
def inspect(bundle: str, as_json: bool) -> None:
    """Show a bundle's labels, text rules, graph, sizes, proof and provenance.

    Two verdicts say what is proven of the graph, and with what the text rules were compared. The proof has one line for
    each form of the classifier, such as ONNX, compared with the form that it was made from. With --json, it has a line
    for each kind of input.

    PATH_OR_NAME is the bundle's folder, the name of a classifier that ships with pocketrnn, or a packed file. Only a
    bundle's classifier.json is read; `pocketrnn verify` checks the other files.

    \b
    Examples:
      pocketrnn inspect ag_news
      pocketrnn inspect --json ag_news
    """
    from pocketrnn.bundle import manifest as manifests
    from pocketrnn.bundle.bundle_lookup import find_or_download_bundle
    from pocketrnn.bundle.packed_file import is_packed_file

    folder = find_or_download_bundle(bundle)
    if is_packed_file(folder):
        from pocketrnn.engines.native import NativeEngine

        manifest, sizes = NativeEngine(folder).manifest, {folder.name: read_file_size(folder)}
    else:
        manifest = manifests.read_manifest(folder)
        sizes = {name: read_file_size(folder / name) for name in manifests.list_bundle_files(manifest)}
    print_text(
        format_json_line(_describe_as_document(manifest, sizes))
        if as_json
        else "\n".join(_describe_as_lines(manifest, sizes))
    )


def _describe_as_document(manifest: Manifest, file_sizes: Mapping[str, int]) -> dict[str, Any]:
    """Describe a bundle as a JSON object for `pocketrnn inspect --json`. `file_sizes` are the sizes of its files in
    bytes."""
    from pocketrnn.bundle.manifest import make_manifest_document
    from pocketrnn.text.text_input import TextInput
    from pocketrnn.verdicts import describe_graph_proof, read_text_verdict

    verdicts: dict[str, Any] = {"graph": describe_graph_proof(manifest)}
    described = {**make_manifest_document(manifest), "examples": len(manifest.examples), "verdicts": verdicts}
    if isinstance(manifest.input, TextInput):
        described["vocabulary_size"] = len(manifest.input.vocabulary)
        verdicts["text_rules"] = read_text_verdict(manifest).document
    return {**described, "bytes": dict(file_sizes)}


def _describe_as_lines(manifest: Manifest, file_sizes: Mapping[str, int]) -> Iterator[str]:
    """Describe a bundle as lines for a reader: facts, verdicts, proof and provenance. `file_sizes` are the sizes of its
    files in bytes."""
    from pocketrnn.bundle.manifest import describe_padding_effect
    from pocketrnn.text.text_input import TextInput

    graph, given, thresholds = manifest.graph, manifest.input, manifest.output.thresholds
    of_texts = isinstance(given, TextInput)
    padded = isinstance(given, TextInput) and given.rules.min_width is not None
    facts = [
        ("name", manifest.name),
        *_describe_output(manifest),
        *([("thresholds", _describe_thresholds(thresholds))] if thresholds is not None else []),
        *(
            _describe_text_input(given, graph)
            if isinstance(given, TextInput)
            else _describe_number_input(given, graph.limits)
        ),
        ("graph", f"opset {graph.opset}; inputs {', '.join(graph.inputs)}"),
        *(() if manifest.stream is None else [("streams", f"yes; a state of {manifest.stream.state_size:,} numbers")]),
        ("batches", _describe_batches(graph, "text" if of_texts else "sequence")),
        *(
            [("padding", f"{'none beyond its width' if padded else 'none'} is given; {told}")]
            if (told := describe_padding_effect(manifest.provenance))
            else []
        ),
        *(
            [("limits", told)]
            if isinstance(given, TextInput)
            and graph.limits is not None
            and (told := describe_limits(graph.limits, given.rules))
            else []
        ),
        *([("not compared", str(left))] if (left := manifest.provenance.get("not_compared")) else []),
        *((name, f"{size:,} bytes") for name, size in file_sizes.items()),
        ("golden examples", f"{len(manifest.examples)}"),
    ]
    yield from align_columns([(name, escape_line(value)) for name, value in facts])
    yield ""
    yield from _format_verdicts_and_proof_table(manifest, "texts" if of_texts else "sequences")
    if manifest.provenance:
        yield ""
        yield "Provenance"
        yield from format_nested_members(manifest.provenance)


def _describe_output(manifest: Manifest) -> list[tuple[str, str]]:
    """Describe a classifier's labels and activation, its heads, or its values. Return pairs of a name and a
    description."""
    from pocketrnn.bundle.output_kinds import HeadsOutput, ValueOutput

    output, count = manifest.output, len(manifest.labels)
    if isinstance(output, HeadsOutput):
        return [fact for name, head in output.heads.items() for fact in _describe_head(name, head)]
    if not isinstance(output, ValueOutput):
        names, of = ", ".join(output.labels), " of each token" if output.of_tokens else ""
        # The graph gives two logits, 0 and the module's, whose softmax is the sigmoid of this one.
        is_one = bool(manifest.provenance.get("one_number"))
        sigmoid = f"sigmoid of one logit, that of {output.labels[-1]}"
        kind = sigmoid if is_one else f"{output.activation} of the logits"
        return [(f"labels{of}", f"{count}: {names}"), ("probabilities", kind)]
    return [("values", f"{count}: {_join_with_units(output.names, output.units)}")]


def _describe_head(name: str, head: LabelOutput) -> list[tuple[str, str]]:
    """Describe the labels, activation and thresholds of one head. Return pairs of a name and a description."""
    facts = [(f"head {escape_line(name)}", f"{len(head.labels)}: {', '.join(head.labels)}")]
    facts.append(("  probabilities", f"{head.activation} of its logits"))
    return facts if head.thresholds is None else [*facts, ("  thresholds", _describe_thresholds(head.thresholds))]


def _join_with_units(names: Sequence[str], units: Sequence[str] | None) -> str:
    """Join names with commas, each with its unit in brackets if there is one: "ax (m/s^2), temperature"."""
    pairs = zip(names, units or ("",) * len(names), strict=True)
    return ", ".join(f"{name} ({unit})" if unit else name for name, unit in pairs)


def _describe_text_input(given: TextInput, graph: Graph) -> list[tuple[str, str]]:
    """Describe the text rules and the vocabulary. Return pairs of a name and a description."""
    from pocketrnn.text import TextRules

    text = given.rules
    side = "first" if text.cut_side == "right" else "last"
    return [
        *([("takes", "two texts, both by these rules")] if given.pairs else []),
        *[(f"takes {name}", _describe_feature(feature)) for name, feature in given.features],
        *([] if given.characters is None else [("takes characters", _describe_characters(given.characters))]),
        ("tokenizer", _describe_tokenizer(text)),
        *([("n-grams", f"up to {text.ngrams}" if text.ngrams > 1 else "none")] if isinstance(text, TextRules) else []),
        *[("cleaning" * (not number), one) for number, one in enumerate(_describe_cleaning_steps(text))],
        *([("stop words", f"{len(words):,}")] if (words := getattr(text, "stop_words", ())) else []),
        ("tokens read", "all" if text.max_tokens is None else f"the {side} {text.max_tokens}"),
        ("unknown word", "dropped" if text.unknown_id is None else f"id {text.unknown_id}"),
        *([] if text.min_width or text.first_ids or text.last_ids else [("empty text", f"id {text.empty_id}")]),
        *([("around a text", told)] if (told := _describe_added_ids_and_width(text)) else []),
        ("vocabulary", f"{len(given.vocabulary):,} tokens; {graph.embedding_rows:,} embedding rows"),
    ]


def _describe_feature(feature: Feature) -> str:
    """Describe a feature: a number and how it is scaled, or a category and its values."""
    from pocketrnn.text.features_beside_text import Number

    if isinstance(feature, Number):
        plain = (feature.mean, feature.scale) == (0, 1)
        return "a number" + ("" if plain else f": (number - {feature.mean:g}) / {feature.scale:g}")
    some = ", ".join(list(feature.values)[:_SHOWN_VALUES])
    more = "" if len(feature.values) <= _SHOWN_VALUES else f" and {len(feature.values) - _SHOWN_VALUES:,} more"
    others = "others are refused" if feature.unknown is None else f"others are the id {feature.unknown}"
    return f"a category: {some}{more}; {others}"


def _describe_characters(given: Characters) -> str:
    """Describe which characters of each token the classifier reads."""
    known = sum(len(entry) == 1 for entry in given.vocabulary)
    others = "are left out" if given.unknown_id is None else f"are the id {given.unknown_id}"
    return f"the first {given.width} of each token{', in lower case' * given.lowercase}: {known:,}; others {others}"


def _describe_number_input(given: NumberInput, limits: Limits | None) -> list[tuple[str, str]]:
    """Describe the rules for sequences of numbers. Return pairs of a name and a description."""
    scaled = "(number - mean) / scale" if given.mean or given.scale else "no: numbers are used as they are"
    window = f"{given.window}, the next {given.hop or given.window} later"
    return [
        ("channels", f"{len(given.channels)}: {_join_with_units(given.channels, given.units)}"),
        ("scaled", scaled),
        ("whole numbers", "multiplied by integer_scale" if given.integer_scale else "taken as they are"),
        ("missing samples", "refused" if given.missing is None else f"become {given.missing:g}"),
        ("steps", _describe_step_count(given, limits)),
        *([] if given.window is None else [("window", window)]),
        *([] if given.rate is None else [("rate", f"{given.rate:g} samples a second")]),
    ]


def _describe_step_count(given: NumberInput, limits: Limits | None) -> str:
    """Describe how many steps a sequence may have."""
    if given.steps is not None:
        return f"{given.steps:,}" + (f"; shorter ones are padded on the {given.pad_side}" if given.pad_side else "")
    bounds = () if limits is None else (("at least", limits.min_tokens), ("at most", limits.max_tokens))
    return ", ".join(f"{what} {size:,}" for what, size in bounds if size is not None) or "any number"


def _describe_thresholds(thresholds: Sequence[float]) -> str:
    """Describe the thresholds of all labels as one number, or as a range."""
    least, most = min(thresholds), max(thresholds)
    return f"{least:g}" if least == most else f"{least:g} to {most:g}; --json has that of each label"


def _format_verdicts_and_proof_table(manifest: Manifest, row_word: str) -> Iterator[str]:
    """Yield the verdict on the graph; the verdict on the text rules, or on the scale of numbers; and a table of the
    proof. The table has one line for each form of the classifier, such as ONNX.

    `row_word` is `texts` or `sequences`: what the numbers of rows in the table count.
    """
    from pocketrnn.proof_comparison_chain import group_comparisons_into_links
    from pocketrnn.verdicts import describe_graph_proof, describe_origin_of_number_scale, read_text_verdict

    yield f"Graph: {escape_line(describe_graph_proof(manifest))}"
    if row_word == "texts":
        verdict = read_text_verdict(manifest)
        yield f"Text rules: {verdict.sentence} {verdict.remedy}".rstrip()
    else:
        yield f"Numbers: {describe_origin_of_number_scale(manifest)}"
    yield ""
    yield f"Proof: largest logit difference allowed {manifest.parity.tolerance:g}"
    links = [link.line for link in group_comparisons_into_links(manifest.parity.comparisons)]
    rows = [
        (
            line.reference,
            f"{line.candidate} (what {'rounding' if line.measures_rounding else 'it'} changed)"
            if line.measures_rounding or line.measures_integer_arithmetic
            else line.candidate,
            line.inputs,
            f"{line.rows}",
            f"{line.largest_difference:.1e}",
            f"{line.labels_differing}",
        )
        for line in links
    ]
    head = ("reference", "candidate", "inputs", row_word, "difference", "labels differing")
    yield from (f"  {line}" for line in align_columns([head, *(tuple(map(escape_line, row)) for row in rows)]))


def _describe_tokenizer(text: AnyTextRules) -> str:
    """Describe the tokenizer of the text rules, or the kind of their subword model."""
    from pocketrnn.text import TextRules, make_rules_document
    from pocketrnn.text.cleaning_steps import find_lowercasing_step

    if not isinstance(text, TextRules):
        return f"subwords: {make_rules_document(text)['model']['kind']}"
    if text.tokenizer == "external":
        return "external: your code splits texts, which are given as tokens or ids"
    step = find_lowercasing_step(text.steps)
    case = f"lower case by cleaning step {step}" if step else "case kept"
    return text.tokenizer + ("" if text.lowercase else f", {case}")


def _describe_cleaning_steps(text: AnyTextRules) -> list[str]:
    """Describe each step that cleans a text before it is split, as classifier.json has it. Long ones are shortened."""
    from pocketrnn.text import make_rules_document

    written = [json.dumps(step, ensure_ascii=False) for step in make_rules_document(text).get("steps", ())]
    return [one if len(one) <= _LONGEST_STEP else f"{one[:_LONGEST_STEP]} ... (--json has it all)" for one in written]


def _describe_added_ids_and_width(text: AnyTextRules) -> str:
    """Describe the ids that are added before and after a text's own ids, and the numbers of ids to which a text is cut
    or padded; an empty string if there are none."""
    stated = (
        *(("id {} before it", number) for number in text.first_ids),
        *(("id {} after it", number) for number in text.last_ids),
        (f"cut on the {text.cut_side} to {{:,}} ids", text.max_width),
        (f"padded on the {text.pad_side} to {{:,}} ids", text.min_width),
    )
    return "; ".join(what.format(number) for what, number in stated if number is not None)


def _describe_batches(graph: Graph, row_word: str) -> str:
    """Describe which texts or sequences may share a batch; `row_word` is `text` or `sequence`."""
    # The program of a packed file takes one, also where its document does not state it.
    if graph.batch == 1 or graph.file == "program":
        return f"of one {row_word}"
    shared = "padded" if graph.padding else "of one length, since padding would change the answers"
    if not graph.alone:
        return shared
    ids = ", ".join(map(str, graph.alone[:5])) + (f" and {len(graph.alone) - 5:,} more" if len(graph.alone) > 5 else "")
    return f"{shared}; a text that holds the id {ids.replace(', ', ' or ')} alone, since others would change its answer"


def describe_limits(limits: Limits, rules: AnyTextRules | None = None) -> str:
    """Describe the limits of a graph for texts and batches, such as "a text of at most 300 tokens"; an empty string if
    there are none.

    Args:
        rules: the text rules; None if they are not known. A limit that every text meets by these rules is left out.
    """
    # The rules pad and cut texts: a limit that every text then meets is left out.
    padded, cut = (0, None) if rules is None else rules.sizes
    least = None if (limits.min_tokens or 0) <= padded else limits.min_tokens
    most = None if cut is not None and (limits.max_tokens or cut) >= cut else limits.max_tokens
    stated = (
        ("a text of at least", least, "tokens"),
        ("a text of at most", most, "tokens"),
        ("a run of at most", limits.max_batch, "texts"),
    )
    sizes = [f"{what} {number:,} {unit}" for what, number, unit in stated if number is not None]
    has_id = rules is not None and rules.unknown_id not in (None, rules.padding_id)
    word = "a text with a word other than the padding's" if has_id else "a text with a known word"
    return "; ".join([*sizes, *([word] if limits.real_token else [])])
