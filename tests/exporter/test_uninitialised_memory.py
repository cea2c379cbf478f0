"""An empty tensor has whatever the memory held: no check takes its numbers for a fact about the module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node

from pocketrnn_export.proof.program_runs_and_nodes import NodeValues, find_batch_symbols
from pocketrnn_export.proof.row_index_dependence import find_line_that_uses_row_number


class SortedBack(nn.Module):
    """Sorts rows by their lengths, and puts them back by an order that is written into an empty tensor. A TorchScript
    copy of a module with packed sequences does so."""

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].sort()[1]
        back = torch.empty_like(order)
        back.scatter_(0, order, torch.arange(order.shape[0]))
        return x[order][back]


@pytest.mark.parametrize("filled", [0, 1])
def test_numbers_of_an_empty_tensor_are_not_taken_for_row_numbers(filled: int) -> None:
    shapes = {"x": {0: torch.export.Dim("batch", min=2, max=64)}}
    program = torch.export.export(SortedBack(), (torch.arange(12).reshape(4, 3),), dynamic_shapes=shapes)
    own = NodeValues(program)

    def run(inputs: tuple[Tensor, ...]) -> Mapping[Node, Any]:
        values = own(inputs)
        return {node: torch.arange(4) * filled if "empty" in str(node.target) else one for node, one in values.items()}

    def make_inputs(rows: int, steps: int) -> tuple[Tensor, ...]:
        return (torch.ones(rows, steps // 2, dtype=torch.int64),)

    assert not find_line_that_uses_row_number(program, run, make_inputs, find_batch_symbols(program))
