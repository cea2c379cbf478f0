"""Whole numbers that run over: exported as PyTorch computes them, or refused with their line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes

pytestmark = pytest.mark.usefixtures("short_proofs")
EXAMPLE = (torch.randint(2, 40, (3, 7)),)
Number = Callable[[Tensor], Tensor]


class Counting(nn.Module):
    """The last state, and a number of each text."""

    def __init__(self, number: Number) -> None:
        super().__init__()
        self.number = number
        self.embedding, self.gru, self.fc = nn.Embedding(40, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        state = self.gru(self.embedding(tokens))[1][-1]
        return self.fc(torch.cat([state, self.number(tokens)[:, None].float()], 1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "number",
    mostly_slow(
        [
            lambda x: torch.prod(torch.where(x == 7, 2, 1), 1) % 1000 / 1e3,
            lambda x: torch.pow(2, (x == 7).sum(1)) % 1000 / 1e3,
            lambda x: 3 ** (x == 7).sum(1) % 1000 / 1e3,
            lambda x: (x == 7).sum(1) ** (x == 8).sum(1) / 1e3,
        ],
        4,
        first=2,
    ),
)
def test_products_and_powers_that_depend_on_the_words_are_refused(number: Number) -> None:
    with pytest.raises(ExportError, match=r"test_integer_overflow\.py:\d+: .*floats"):
        find_program_right_for_all_sizes(Counting(number).eval(), EXAMPLE)


# The first runs over at 430 words.
OTHERS: list[Number] = [
    lambda x: torch.sum((x == 7).int() * 5_000_000, 1, dtype=torch.int32) / 1e9,
    lambda x: (x == 7).to(torch.int32).mul(5_000_000).sum(dim=1, dtype=torch.int32) / 1e9,
    lambda x: (x != 7).prod(1),
    lambda x: (x**2 % 1000).sum(1) / 1e5,
    lambda x: (2 ** torch.arange(8) * x[:, :1]).sum(1) / 1e4,
    lambda x: 0.9 ** (x == 7).sum(1),
    lambda x: (x.to(torch.int8) * 9 - 100).sum(1) / 1e3,
]


@pytest.mark.slow
def test_a_whole_number_that_runs_over_is_that_of_pytorch_in_a_graph() -> None:
    module = Counting(OTHERS[0]).eval()
    session = open_session(trace_onnx_graph(module, EXAMPLE, {}).content)
    for count in (1, 64, 430, 900):
        ids = torch.full((1, count), 7)
        with torch.no_grad():
            np.testing.assert_allclose(session.run(None, {"tokens": ids.numpy()})[0], module(ids), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", mostly_slow(OTHERS[::-1], 4))
def test_other_whole_numbers_are_those_of_pytorch(number: Number, tmp_path: Path) -> None:
    module = Counting(number).eval()
    export(
        module, tmp_path / "b", labels=["a", "b"], vocabulary=["<pad>", *(f"w{i}" for i in range(39))],
        torchscript=False,
    )  # fmt: skip
    classifier = Classifier.load(tmp_path / "b")
    for count in (1, 64, 430, 900):
        ids = torch.full((1, count), 7)
        with torch.no_grad():
            np.testing.assert_allclose(classifier.logits([ids[0].tolist()]), module(ids), atol=1e-4)
