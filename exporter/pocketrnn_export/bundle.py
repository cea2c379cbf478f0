"""A module, its vocabulary, labels and text rules as one proven bundle, written whole or not at all."""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

import pocketrnn
from pocketrnn.classifier import Classifier
from pocketrnn.errors import ExportError, InputError, OutputError, require
from pocketrnn.folder import check_free, written_whole
from pocketrnn.manifest import (
    CLASSIFIER_JSON,
    VERSION,
    Comparison,
    Example,
    Graph,
    Manifest,
    StepGraph,
    TorchScript,
    sha256_of,
    text_digest,
    to_bytes,
)
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.verification import streamed_logits
from pocketrnn_export.forms.edge import edge_graph, run_of_tract
from pocketrnn_export.forms.onnx_graph import OPSET, onnx_graph
from pocketrnn_export.forms.step import STEP_FILE, check_streams, proof_of_steps, step_graph
from pocketrnn_export.forms.torchscript import torchscript as torchscript_twin
from pocketrnn_export.intake.source import Source, source_of
from pocketrnn_export.intake.vocabulary import VocabularySource, read_vocabulary, text_rules
from pocketrnn_export.proof.parity import (
    Case,
    Difference,
    Ids,
    Logits,
    Run,
    compare,
    difference,
    drawn_cases,
    each_row,
    proven,
    rows_stand_alone,
    run_of,
    run_of_onnx,
    shape_grid,
    summary,
)
from pocketrnn_export.proof.parity import (
    report as report_of,
)

__all__ = [
    "alone",
    "cases_for",
    "export",
    "golden_examples",
    "runs_of",
    "texts_end_to_end",
    "texts_for_proof",
    "versions",
]

ONNX_FILE: Final = "model.onnx"
TORCHSCRIPT_FILE: Final = "model.torchscript.pt"
# The golden examples that a bundle carries: enough to show a difference, little enough to read.
GOLDEN_EXAMPLES: Final = 12

_log = logging.getLogger(__name__)
# Neither torch.export nor the way Python hides warnings can be used by two threads at once.
_one_at_a_time = threading.Lock()


def export(
    module: nn.Module,
    path: str | Path,
    *,
    labels: Sequence[str],
    vocabulary: VocabularySource,
    tokenizer: str = "basic_english",
    rules: TextRules | None = None,
    lengths: bool | None = None,
    multi_label: bool = False,
    example_texts: Sequence[str] = (),
    name: str | None = None,
    torchscript: bool = True,
    streaming: bool = False,
    edge: bool = False,
    tolerance: float = 1e-5,
    provenance: Mapping[str, Any] | None = None,
    report: str | Path | None = None,
    force: bool = False,
) -> Manifest:
    """Export a recurrent text classifier as a bundle that is proven to answer as it does.

    The module is not changed: a copy of it in float32, in eval mode, on the CPU is exported. Its `forward` takes token
    ids int64 [batch, sequence], or these and lengths int64 [batch], under any names, and returns logits
    [batch, classes].

    Args:
        module: the classifier; nn.RNN, nn.LSTM and nn.GRU in it are exported with dynamic batch and sequence length,
            packed or not.
        path: the folder to write.
        labels: the classes, in the order of the logits.
        vocabulary: the tokens in the order of their ids, or whatever else `read_vocabulary` takes: a token -> id map, a
            torchtext Vocab, or the path of a file that holds one of these.
        tokenizer: `basic_english`, `whitespace` or `characters`; used where `rules` is None.
        rules: all text rules; by default what the vocabulary says: its default index, else its "<unk>", stands for
            unknown words, and its "<pad>" is the padding. With neither of the first two, unknown words are dropped.
        lengths: whether forward is given lengths; by default its signature decides: they are given where it needs two
            arguments, or where its second one is optional and has "len" in its name.
        multi_label: whether each label is right or wrong by itself, so that probabilities are a sigmoid of each logit
            and not a softmax of all.
        example_texts: real texts for the proof, the first of which become golden examples. Where there are none, texts
            are made of the vocabulary's words.
        name: what the classifier is called; by default the folder's name.
        torchscript: whether to write a TorchScript twin.
        streaming: whether to write a step graph too, which answers while a text arrives; for one-directional
            classifiers that `pocketrnn train` made. It holds the weights a second time.
        edge: write a graph for small engines: one text a run, no lengths, no If, Loop or Scan, the lowest opset that
            its operators allow. It is proven with tract too, and without a TorchScript twin or a step graph.
        tolerance: the largest absolute difference of two logits that passes.
        provenance: what to say of the origin: data, metrics, licence. Versions are added.
        report: a file to write the proof to with every single case, as JSON, also where it fails.
        force: replace a bundle that stands at `path`.

    Returns:
        what was written to classifier.json, with the proof.

    Raises:
        InputError: an argument is unusable; among them OutputError, when `path` is taken.
        ExportError: the module cannot be traced, is not reproducible or does not take a batch.
        ParityError: PyTorch, TorchScript, ONNX and the runtime do not agree. Nothing was written.
    """
    path = Path(path)
    check_free(path, force=force, made_by=CLASSIFIER_JSON)
    labels, known = _checked_labels(labels), read_vocabulary(vocabulary)
    name = _checked_name(name if name is not None else path.absolute().name)
    if not 0 <= tolerance < float("inf"):
        raise InputError(f"The tolerance is {tolerance}.", "Give a finite number from 0, such as 1e-5.")
    _write_report(report, [], tolerance)
    if torchscript and sys.version_info >= (3, 14):
        raise InputError(
            "TorchScript does not support Python 3.14.", "Export without it: torchscript=False, or --no-torchscript."
        )
    rules = rules if rules is not None else text_rules(known, tokenizer)
    if streaming:
        check_streams(module, rules)
    if edge:
        if streaming or torchscript:
            raise InputError(
                "The profile edge has neither a step graph nor a TorchScript twin.",
                "Export with torchscript=False and streaming=False.",
            )
        require("tract", "edge")
    encoder = TextEncoder(rules, known.tokens)
    texts = texts_for_proof(example_texts, known.tokens, rules)

    with _one_at_a_time:
        ids = max(len(known.tokens), rules.highest_id + 1)
        source = source_of(module, lengths=lengths, ids=ids, classes=len(labels), multi_label=multi_label)
        pytorch = run_of(source.reference, takes_lengths=source.takes_lengths)
        grid = shape_grid(ids, rules.padding_id, ragged=source.takes_lengths)
        drawn = drawn_cases(ids, rules.padding_id, ragged=source.takes_lengths)
        text_cases = alone(texts, encoder)
        _refuse_neighbours(pytorch, ids)
        padding = source.takes_lengths and rows_stand_alone(pytorch, grid[12:14])

        _log.info("Tracing the module for ONNX")
        example = _example(rules.padding_id, takes_lengths=source.takes_lengths)
        metadata = {
            "pocketrnn.version": str(VERSION),
            "pocketrnn.name": name,
            "pocketrnn.labels": json.dumps(labels),
            "pocketrnn.text_digest": text_digest(labels, rules, known.tokens),
        }
        if edge:
            graph, opset = edge_graph(source.module, metadata, takes_lengths=source.takes_lengths)
        else:
            graph, opset = onnx_graph(source.module, example, metadata), OPSET
        step = step_graph(check_streams(source.module, rules), metadata) if streaming else None
        _log.info("Proving the ONNX graph equal to PyTorch")
        described = Graph(
            file=ONNX_FILE,
            sha256=hashlib.sha256(graph.content).hexdigest(),
            opset=opset,
            inputs=("tokens", "lengths")[: 1 + (source.takes_lengths and not edge)],
            padding=padding and not edge,
            embedding_rows=graph.embedding_rows,
            batch=1 if edge else None,
        )
        shapes = (("shapes", grid), ("drawn shapes", drawn), ("texts", text_cases))
        expected = {
            inputs: (cases, [pytorch(case.tokens, case.lengths) for case in cases])
            for inputs, cases in ((inputs, each_row(some) if edge else some) for inputs, some in shapes)
        }
        candidates = runs_of(graph.content, described)
        with written_whole(path, force=force, made_by=CLASSIFIER_JSON) as work:
            (work / ONNX_FILE).write_bytes(graph.content)
            if torchscript:
                _log.info("Tracing the module for TorchScript, and proving that too")
                content, twin = torchscript_twin(source.to_script, example)
                (work / TORCHSCRIPT_FILE).write_bytes(content)
                candidates["torchscript"] = run_of(twin, takes_lengths=source.takes_lengths)
            proof = [
                compare(candidate, run, cases, logits, inputs=inputs)
                for candidate, run in candidates.items()
                for inputs, (cases, logits) in expected.items()
            ]
            if step is not None:
                _log.info("Proving the step graph equal to PyTorch")
                (work / STEP_FILE).write_bytes(step.content)
                proof += proof_of_steps(step, {inputs: cases for inputs, (cases, _) in expected.items()}, pytorch)
            text_logits = expected["texts"][1]
            _write_report(report, proof, tolerance)
            manifest = Manifest(
                name=name,
                labels=labels,
                activation="sigmoid" if multi_label else "softmax",
                text=rules,
                vocabulary=known.tokens,
                graph=described,
                torchscript=TorchScript(TORCHSCRIPT_FILE, sha256_of(work / TORCHSCRIPT_FILE)) if torchscript else None,
                stream=None if step is None else StepGraph(STEP_FILE, sha256_of(work / STEP_FILE), step.state_size),
                examples=golden_examples(texts, text_cases, text_logits),
                parity=proven(proof, tolerance, _in_doubles(source, expected)),
                provenance={**(provenance or {}), "versions": versions()},
            )
            (work / CLASSIFIER_JSON).write_bytes(to_bytes(manifest))
            _log.info("Proving the runtime equal to PyTorch on texts")
            proof += texts_end_to_end(Classifier.load(work), texts, text_logits)
            _write_report(report, proof, tolerance)
            manifest = replace(manifest, parity=proven(proof, tolerance, _in_doubles(source, expected)))
            (work / CLASSIFIER_JSON).write_bytes(to_bytes(manifest))
    return manifest


def runs_of(content: bytes, graph: Graph) -> dict[str, Run]:
    """The engines that a graph is proven with: onnxruntime in two ways, and tract where it is made for it.

    Raises:
        MissingExtraError: the graph takes one text a run, and tract is not installed.
        ExportError: tract does not take the graph.
    """
    runs = {
        "onnx": run_of_onnx(content, optimized=True),
        "onnx as written": run_of_onnx(content, optimized=False),
    }
    if graph.batch == 1:
        runs["tract"] = run_of_tract(content)
    return runs


def cases_for(graph: Graph, rules: TextRules) -> dict[str, list[Case]]:
    """Shapes that a graph takes, fixed and drawn, of random tokens."""
    ragged = graph.padding
    cases = {
        "shapes": shape_grid(graph.embedding_rows, rules.padding_id, ragged=ragged),
        "drawn shapes": drawn_cases(graph.embedding_rows, rules.padding_id, ragged=ragged),
    }
    return {inputs: each_row(some) for inputs, some in cases.items()} if graph.batch == 1 else cases


def _checked_name(name: str) -> str:
    if not name or len(name) > 200 or not name.isprintable():
        raise InputError(
            f"The name {name[:40]!r} is empty, longer than 200 characters, or cannot be printed.", "Give another name."
        )
    return name


def _write_report(
    path: str | Path | None, proof: Sequence[tuple[Comparison, list[Difference]]], tolerance: float
) -> None:
    """Write what is proven so far; at first nothing is, which shows that the place can be written."""
    if path is None:
        return
    try:
        Path(path).write_text(report_of(proof, tolerance), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The report {path} cannot be written: {error.strerror or error}.", "Give the name of a file."
        ) from None


def _in_doubles(
    source: Source, expected: Mapping[str, tuple[Sequence[Case], Sequence[Logits]]]
) -> Callable[[str, str], float | None]:
    """How far PyTorch in single precision lies from itself in double precision, on a case of the proof."""

    def difference_on(inputs: str, name: str) -> float | None:
        if isinstance(source.reference, torch.jit.ScriptModule) or inputs not in expected:
            return None
        doubles = run_of(copy.deepcopy(source.reference).double(), takes_lengths=source.takes_lengths)
        for case, logits in zip(*expected[inputs], strict=True):
            if case.name == name:
                return difference("", name, doubles(case.tokens, case.lengths), logits).largest
        return None

    return difference_on


def _checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(labels, str) or not all(isinstance(label, str) and label for label in labels):
        raise InputError("labels holds something that is not a string, or is empty.", "Give a list of names.")
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise InputError(
            f"There are {len(labels)} labels, {len(set(labels))} of them different.", "Give at least 2, each once."
        )
    return tuple(labels)


def _refuse_neighbours(pytorch: Run, ids: int) -> None:
    """Refuse a module that answers a text according to the other texts of its batch, even at equal lengths."""
    full = shape_grid(ids, 0, ragged=False)[12:14]
    if not rows_stand_alone(pytorch, full):
        raise ExportError(
            "The module answers a text differently beside other texts of the same length.",
            "Compute nothing across the batch and branch on no values: each row may depend on its own tokens only.",
        )


def _example(padding_id: int, *, takes_lengths: bool) -> tuple[Tensor, ...]:
    """What the module is traced on: three rows by falling length, seven steps; sizes that occur nowhere else."""
    lengths = torch.tensor([7, 5, 3])
    tokens = torch.zeros(3, 7, dtype=torch.int64)
    if not takes_lengths:
        return (tokens,)
    tokens[torch.arange(7) >= lengths[:, None]] = padding_id
    return tokens, lengths


def texts_for_proof(given: Sequence[str], vocabulary: Sequence[str], rules: TextRules) -> list[str]:
    """The given texts, or made ones; and in either case texts without a known token, which every runtime will meet."""
    if isinstance(given, str) or not all(isinstance(text, str) for text in given):
        raise InputError("example_texts holds something that is not a string.", "Give a list of strings.")
    texts = list(given)
    if not texts:
        generator = np.random.default_rng(0)
        between = "" if rules.tokenizer == "characters" else " "
        texts = [between.join(generator.choice(vocabulary, size)) for size in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)]
    return [*texts, "", "\N{REPLACEMENT CHARACTER}" * 3]


def alone(texts: Sequence[str], encoder: TextEncoder) -> list[Case]:
    """Each text as a batch of its own."""
    cases = []
    for i, text in enumerate(texts):
        tokens: Ids = np.array([encoder.encode(text)], dtype=np.int64)
        cases.append(Case(f"text {i}", tokens, np.array([tokens.shape[1]], dtype=np.int64)))
    return cases


def texts_end_to_end(
    classifier: Classifier, texts: Sequence[str], expected: Sequence[Logits], *, reference: str = "pytorch"
) -> list[tuple[Comparison, list[Difference]]]:
    """The runtime on whole texts, against `reference` and, each text alone against all in one call, against itself; and
    where it can, on texts that arrive in pieces."""
    together = classifier.logits(texts)
    each = [classifier.logits([text]) for text in texts]
    compared = [(reference, "runtime", expected, together), ("alone", "together", each, together)]
    if classifier.manifest.stream is not None:
        compared.append((reference, "runtime, as a stream", expected, streamed_logits(classifier, texts)))
    comparisons = []
    for against, candidate, rows, given in compared:
        differences = [difference(candidate, f"text {i}", row, given[i : i + 1]) for i, row in enumerate(rows)]
        comparisons.append((summary(differences, reference=against, inputs="texts", rows=len(texts)), differences))
    return comparisons


def golden_examples(texts: Sequence[str], cases: Sequence[Case], logits: Sequence[Logits]) -> tuple[Example, ...]:
    """The first texts and the two that hold no known token. Logits are kept as the shortest digits that give them."""
    chosen = [*range(min(GOLDEN_EXAMPLES, len(texts)) - 2), len(texts) - 2, len(texts) - 1]
    return tuple(
        Example(
            text=texts[i],
            ids=tuple(map(int, cases[i].tokens[0])),
            logits=tuple(float(str(logit)) for logit in logits[i][0]),
        )
        for i in chosen
    )


def versions() -> dict[str, str]:
    return {
        "pocketrnn": pocketrnn.__version__,
        "python": sys.version.split()[0],
        **{package: importlib.metadata.version(package) for package in ("torch", "onnx", "onnxscript", "onnxruntime")},
    }
