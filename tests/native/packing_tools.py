"""Packed files of bundles and modules, without the proof that `pack` makes: the tests hold the engine to their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import INTEGERS, Comparison, Example, Graph, Limits, Manifest, Parity, StepGraph
from pocketrnn.bundle.output_kinds import LabelOutput, TagOutput
from pocketrnn.bundle.packed_file import (
    PackedProgram,
    encode_packed_file,
    has_integer_weights,
    make_manifest_entry_of_program,
    make_manifest_entry_of_step_program,
)
from pocketrnn.errors import PocketRNNError
from pocketrnn.text import AnyTextRules, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.proof_inputs import Widths
from pocketrnn_export.forms.onnx.onnx_form import ONNX
from pocketrnn_export.forms.packed_file.conversion_to_integer_products import convert_products_to_integers
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.packing import make_bundle_program
from pocketrnn_native._engine import OK

if TYPE_CHECKING:
    from pocketrnn_native import Packed

__all__ = [
    "graph_of",
    "logits_of",
    "packed_bundle",
    "packed_graph",
    "packed_manifest",
    "packed_tagger",
    "program_of_folder",
    "tagger_program",
]


def packed_bundle(folder: Path) -> bytes:
    """A bundle's folder as the bytes of a packed file."""
    manifest, program = program_of_folder(folder)
    return encode_packed_file(packed_manifest(manifest, program), program)


def program_of_folder(folder: Path) -> tuple[Manifest, PackedProgram]:
    """The manifest of a bundle's folder, and the program of its graphs."""
    manifest = manifests.read_manifest(folder)
    step = None if manifest.stream is None else (folder / manifest.stream.file).read_bytes()
    return manifest, make_bundle_program(manifest, (folder / manifest.graph.file).read_bytes(), step)


def packed_manifest(manifest: Manifest, program: PackedProgram) -> Manifest:
    """The manifest of a packed file, of a bundle's."""
    return replace(
        manifest,
        graph=make_manifest_entry_of_program(manifest.graph, program),
        torchscript=None,
        stream=make_manifest_entry_of_step_program(program),
        provenance={},
    )


def packed_graph(
    content: bytes,
    graph: Graph,
    vocabulary: tuple[str, ...],
    labels: tuple[str, ...],
    step: tuple[bytes, StepGraph] | None = None,
    *,
    integers: bool = False,
) -> bytes:
    """An ONNX graph, and a step graph, as the bytes of a packed file of plain text rules; with products of integers."""
    steps = (
        None if step is None else translate_graph_into_program(step[0], graph, state_size=step[1].state_size).program
    )
    whole = translate_graph_into_program(content, graph).program
    if integers:
        whole, steps = (
            convert_products_to_integers(whole).program,
            None if steps is None else convert_products_to_integers(steps).program,
        )
    program = whole.encode_sections(steps)
    reference = INTEGERS if has_integer_weights(program.values) else "onnx"
    manifest = Manifest(
        name="graph",
        input=TextInput(TextRules(padding_id=1), vocabulary),
        output=LabelOutput(labels),
        graph=make_manifest_entry_of_program(graph, program),
        torchscript=None,
        stream=make_manifest_entry_of_step_program(program),
        examples=(Example(vocabulary[2], (2,), (0.0,) * len(labels)),),
        parity=Parity(1e-5, (Comparison("packed", reference, "nothing", 1, 1, 0.0, 0),)),
    )
    return encode_packed_file(manifest, program)


class Tagger(nn.Module):
    """Labels each token by a layer that reads both ways, with weights that stand for themselves."""

    def __init__(self, words: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 3)
        self.rnn = nn.LSTM(3, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(4, labels)
        for parameter in self.parameters():
            numbers = torch.arange(parameter.numel()) * 37 % 29 / 16 - 0.875
            parameter.data = numbers.reshape(parameter.shape)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.fc(self.rnn(self.embedding(tokens))[0])
        return answer


def tagger_program(words: int, labels: int) -> tuple[Graph, PackedProgram]:
    """The entry and the program of a tagger of so many words."""
    names = tuple(map(str, range(labels)))
    given = TextInput(TextRules(padding_id=1), tuple(map(str, range(words))))
    prepared = prepare_module(
        Tagger(words, labels).eval(), lengths=None, ids=words, padding_id=1, classes=labels, multi_label=False,
        of_tokens=True,
    )  # fmt: skip
    form = ONNX.make(prepared, Description("tagger", given, TagOutput(names), {}), ())
    assert isinstance(form.entry, Graph)
    return form.entry, translate_graph_into_program(form.content, form.entry, padding_id=1).program.encode_sections(
        None
    )


def packed_tagger(
    made: tuple[Graph, PackedProgram],
    rules: AnyTextRules,
    vocabulary: tuple[str, ...],
    output: TagOutput,
    *,
    name: str = "tagger",
    text: str = "",
    limits: Limits | None = None,
) -> bytes:
    """A tagger of these text rules as the bytes of a packed file, whose golden example is a text."""
    (entry, program), given, labels = made, TextInput(rules, vocabulary), output.labels
    ids = given.encoder().encode(text)
    with torch.no_grad():
        # In single precision, the last digit depends on the processor.
        rows = Tagger(len(vocabulary), len(labels)).double().eval()(torch.tensor([ids]))[0].float().numpy()
    manifest = Manifest(
        name=name,
        input=given,
        output=output,
        graph=replace(make_manifest_entry_of_program(entry, program), limits=limits),
        torchscript=None,
        examples=(Example(text, tuple(ids), tuple(tuple(float(str(one)) for one in row) for row in rows)),),
        parity=Parity(1e-5, (Comparison("packed", "onnx", "nothing", 1, 1, 0.0, 0),)),
    )
    return encode_packed_file(manifest, program)


def graph_of(module: nn.Module, vocabulary: tuple[str, ...], labels: tuple[str, ...]) -> tuple[bytes, Graph]:
    """The ONNX graph of a module as `export` traces it, for one text at a time where there is none for batches."""
    description = Description("graph", TextInput(TextRules(padding_id=1), vocabulary), LabelOutput(labels), {})
    for one_text in (False, True):
        try:
            prepared = prepare_module(
                module.eval(), lengths=None, ids=description.token_id_count, padding_id=1, classes=len(labels),
                multi_label=False, call=None, gives=None, widths=Widths(), one_text=one_text,
            )  # fmt: skip
            form = ONNX.make(prepared, description, ())
        except PocketRNNError:
            if one_text:
                raise
            continue
        assert isinstance(form.entry, Graph)
        return form.content, form.entry
    raise AssertionError


def logits_of(engine: Packed, ids: np.ndarray) -> np.ndarray:
    """The logits of one row of ids, float32 [labels]; with a mark for each feature before them."""
    logits = np.empty(len(engine.labels()), np.float32)
    status = bytearray(1)
    engine.logits_of_ids(ids.astype(np.int32), np.array([len(ids)], np.int64), logits, status)
    assert status[0] == OK
    return logits
