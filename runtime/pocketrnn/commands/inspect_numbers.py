"""What `pocketrnn inspect` shows of a classifier of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.packed_file import is_packed
from pocketrnn.commands.standard_streams import json_line
from pocketrnn.commands.terminal import aligned, one_line, outline
from pocketrnn.numbers.manifest import NumberManifest, document_of, read
from pocketrnn.verdicts import graph_sentence, links_of, numbers_sentence

__all__ = ["described"]


def described(folder: Path, *, as_json: bool) -> str:
    """A bundle of numbers, or a packed file, in words, or as one JSON object without its golden examples.

    Raises:
        BundleError: it is damaged.

    Example:
        >>> described(Path("har"), as_json=False).splitlines()[0]
        'name             har'
    """
    if is_packed(folder):
        from pocketrnn.engines.native_numbers import NativeNumberEngine

        manifest, sizes = NativeNumberEngine(folder).manifest, {folder.name: manifests.size_of(folder)}
    else:
        manifest = read(folder)
        names = (manifests.CLASSIFIER_JSON, manifest.graph.file)
        sizes = {name: manifests.size_of(folder / name) for name in names}
    if as_json:
        verdicts = {"graph": graph_sentence(manifest)}
        return json_line(
            {**document_of(manifest), "examples": len(manifest.examples), "verdicts": verdicts, "bytes": sizes}
        )
    return "\n".join(_shown(manifest, sizes))


def _shown(manifest: NumberManifest, sizes: Mapping[str, int]) -> Iterator[str]:
    rules, graph = manifest.numbers, manifest.graph
    units = rules.units or ("",) * len(rules.channels)
    channels = ", ".join(f"{name} ({unit})" if unit else name for name, unit in zip(rules.channels, units, strict=True))
    what = "values" if manifest.activation == "values" else "labels"
    named = manifest.labels
    if manifest.value_units is not None:
        named = tuple(f"{name} ({unit})" for name, unit in zip(named, manifest.value_units, strict=True))
    facts: list[tuple[str, object]] = [
        ("name", manifest.name),
        (what, f"{len(named)}: {', '.join(named)}"),
        *([] if what == "values" else [("probabilities", f"{manifest.activation} of the logits")]),
        ("channels", f"{len(rules.channels)}: {channels}"),
        (
            "scaled",
            "(number - mean) / scale" if rules.mean or rules.scale else "no: they are taken as they are",
        ),
        ("whole numbers", "multiplied by integer_scale" if rules.integer_scale else "taken as they are"),
        ("missing samples", "refused" if rules.missing is None else f"become {rules.missing:g}"),
        ("steps", _steps(manifest)),
        *([] if rules.window is None else [("window", f"{rules.window}, the next {rules.hop or rules.window} later")]),
        *([] if rules.rate is None else [("rate", f"{rules.rate:g} samples a second")]),
        ("graph", f"opset {graph.opset}; inputs {', '.join(graph.inputs)}"),
        ("batches", "of one sequence" if graph.batch == 1 else "padded" if graph.padding else "of one length"),
        *((name, f"{size:,} bytes") for name, size in sizes.items()),
        ("golden examples", f"{len(manifest.examples)}"),
    ]
    yield from aligned([(name, one_line(str(value))) for name, value in facts])
    yield ""
    yield f"Graph: {one_line(graph_sentence(manifest))}"
    yield f"Numbers: {numbers_sentence(manifest)}"
    yield ""
    yield f"Proof: largest difference allowed {manifest.parity.tolerance:g}"
    head = ("reference", "candidate", "inputs", "sequences", "difference")
    lines = [link.line for link in links_of(manifest.parity.comparisons)]
    rows = [
        (
            c.reference,
            f"{c.candidate} (what it changed)" if c.is_of_integers else c.candidate,
            c.inputs,
            f"{c.rows}",
            f"{c.largest_difference:.1e}",
        )
        for c in lines
    ]
    yield from (f"  {line}" for line in aligned([head, *(tuple(map(one_line, row)) for row in rows)]))
    yield ""
    yield "Provenance"
    yield from outline(manifest.provenance)


def _steps(manifest: NumberManifest) -> str:
    rules, limits = manifest.numbers, manifest.graph.limits
    if rules.steps is not None:
        return f"{rules.steps:,}" + (f"; shorter ones are filled up on the {rules.pad_side}" if rules.pad_side else "")
    bounds: list[Any] = [] if limits is None else [("at least", limits.min_steps), ("at most", limits.max_steps)]
    return ", ".join(f"{what} {size:,}" for what, size in bounds if size is not None) or "any number"
