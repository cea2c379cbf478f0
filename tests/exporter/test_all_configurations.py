"""The whole family of classifiers: 4 cells x {1, 2} layers x {one, both} directions x {padded, packed} x poolings."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from pocketrnn import verify
from pocketrnn_export import export
from pocketrnn_export.comparing import proof_inputs as cases
from pocketrnn_training.classifiers.architecture import CELLS, Architecture
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier

VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(48))]
# The 64 configurations that the stock exporters are measured on; max pooling beside them on the larger half.
CONFIGURATIONS = [
    *itertools.product(CELLS, (1, 2), (False, True), (False, True), ("last", "mean")),
    *itertools.product(CELLS, (2,), (True,), (False, True), ("max",)),
]


def named(configuration: tuple[str, int, bool, bool, str]) -> str:
    cell, layers, bidirectional, packed, pooling = configuration
    return f"{cell}-{layers}-{'both' if bidirectional else 'one'}-{'packed' if packed else 'padded'}-{pooling}"


def classifier(cell: str, layers: int, bidirectional: bool, packed: bool, pooling: str) -> RecurrentClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RecurrentClassifier(
            Architecture(
                cell=cell,
                vocabulary_size=len(VOCABULARY),
                embedding_dim=16,
                hidden_dim=12,
                layers=layers,
                bidirectional=bidirectional,
                dropout=0.1,
                pooling=pooling,
                packed=packed,
                classes=4,
                padding_id=1,
            )
        )


@pytest.mark.slow
@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=named)
def test_every_configuration_agrees_with_pytorch_as_onnx_and_as_torchscript(
    configuration: tuple[str, int, bool, bool, str], tmp_path: Path
) -> None:
    packed = configuration[3]
    manifest = export(
        classifier(*configuration), tmp_path / "bundle", labels=list("abcd"), vocabulary=VOCABULARY, lengths=packed
    )
    on_shapes = {c.candidate: c for c in manifest.parity.comparisons if c.inputs == "shapes"}
    assert set(on_shapes) == {"onnx, float64", "onnx", "onnx as written", "torchscript"}
    assert on_shapes["onnx, float64"].largest_difference <= 1e-10
    for comparison in manifest.parity.comparisons:
        assert comparison.largest_difference <= 1e-5
        assert comparison.labels_differing == 0
    assert all(c.cases == len(cases.BATCHES) * len(cases.SEQUENCES) for c in on_shapes.values())
    assert manifest.graph.inputs == (("tokens", "lengths") if packed else ("tokens",))
    assert manifest.graph.padding == packed
    verify(tmp_path / "bundle")
