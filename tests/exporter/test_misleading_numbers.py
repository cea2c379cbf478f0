"""Classifiers of sequences of numbers that do something else for some sizes: right in each form, or refused."""

from __future__ import annotations

from pathlib import Path

import misleading_number_modules as zoo
import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import nn

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.packing import pack

XYZ = {"channels": ["x", "y", "z"], "labels": ["a", "b", "c", "d"]}
LENGTHS = (1, 2, 3, 20, 399, 400, 401, 600, 601, 620, 621, 700)


def compared(module: nn.Module, path: Path) -> None:
    """Small and large numbers, with a step of zeros, alone and in one batch, against the module."""
    generator, classifier = np.random.default_rng(0), Classifier.load(path)
    sequences = [generator.normal(0, scale, (n, 3)).astype(np.float32) for n in LENGTHS for scale in (1, 300)]
    for sequence in sequences:
        sequence[2:3] = 0
    together = classifier.logits(sequences)
    for sequence, beside in zip(sequences, together, strict=True):
        with torch.no_grad():
            own = module(torch.from_numpy(sequence)[None])[0].numpy()
        np.testing.assert_allclose(classifier.logits([sequence])[0], own, atol=1e-4)
        np.testing.assert_allclose(beside, own, atol=1e-4)


@pytest.mark.parametrize(
    "kind", mostly_slow([*zoo.PACKED, *zoo.NOT_PACKED], 24, first=1), ids=lambda kind: kind.__name__
)
def test_the_bundle_answers_as_the_module_and_so_does_its_packed_file(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    export(module, tmp_path / "b", **XYZ)
    compared(module, tmp_path / "b")
    if kind in zoo.PACKED:
        pytest.importorskip("pocketrnn_native")
        pack(tmp_path / "b", tmp_path / "b.prnn")
        compared(module, tmp_path / "b.prnn")
    else:
        with pytest.raises(ExportError, match="packed"):
            pack(tmp_path / "b", tmp_path / "b.prnn")


@pytest.mark.parametrize("kind", mostly_slow(zoo.REFUSED, 2), ids=lambda kind: kind.__name__)
def test_what_asks_other_rows_or_calls_is_refused(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(ExportError, match=r"batch|values"):
        export(kind().eval(), tmp_path / "b", **XYZ)
