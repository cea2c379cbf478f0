"""Nothing that PyTorch chooses by itself is a condition of a module: a kernel, unused results, rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pocketrnn_export.proof.forward_values_and_choices import ForwardValues
from pocketrnn_export.proof.fresh_copies_and_random_inputs import FreshCopyModule
from pocketrnn_export.tracing.module_trace import find_exception_of_forward_at_sizes, trace_program
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog


class Convolution(nn.Module):
    """A convolution over the characters of each token, or over the tokens of each text."""

    def __init__(self, layer: nn.Module, arrange: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.layer = layer
        self.arrange = arrange

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(self.arrange(self.embedding(tokens))).flatten(1).sum(1)


@pytest.mark.parametrize(
    ("layer", "arrange"),
    [
        (nn.Conv1d(8, 4, 3, padding=1), lambda x: x.transpose(1, 2)),
        (nn.Conv1d(8, 4, 3), lambda x: x.reshape(-1, 8, 1).expand(-1, 8, 5)),
        (nn.Conv2d(1, 4, (3, 8), padding=(1, 0)), lambda x: x.unsqueeze(1)),
        (nn.Conv2d(1, 4, 3), lambda x: x.reshape(-1, 1, 8, 1).expand(-1, 1, 8, 5)),
        (nn.ConvTranspose1d(8, 4, 3), lambda x: x.transpose(1, 2)),
        (nn.Conv3d(1, 2, 3, padding=1), lambda x: x[:, None, None]),
    ],
)
@pytest.mark.parametrize("batch", [pytest.param(3, marks=pytest.mark.slow), 20])
def test_a_convolution_has_no_condition_on_the_number_of_rows(
    layer: nn.Module, arrange: Callable[[Tensor], Tensor], batch: int
) -> None:
    log = TraceLog()
    tokens = torch.zeros(batch, 7, dtype=torch.int64)
    error = find_exception_of_forward_at_sizes(Convolution(layer, arrange).eval(), (tokens,), Sizes(batch, 7), log)
    assert error is None
    assert not [question for question in log.questions if "16" in str(question.condition)]
    assert torch.backends.mkldnn.enabled


class SortedByLength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        order = lengths.sort(descending=True)[1]
        return self.embedding(tokens[order]).sum(1)[order.argsort()]


def test_a_program_that_only_has_the_indices_of_a_sort_computes_the_sort() -> None:
    module = SortedByLength().eval()
    own = torch.randint(20, (3, 7)), torch.tensor([7, 5, 3])
    with torch.no_grad():
        traced = trace_program(module, own, None, TraceLog())
    assert ForwardValues(module).are_computed_by_program(
        traced, own, (torch.randint(20, (40, 1)), torch.ones(40).long())
    )


class ZerosAsState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.gru = nn.GRU(8, 4, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.gru(self.embedding(tokens), torch.zeros(1, len(tokens), 4))[1][0]


def test_rounding_is_measured_where_forward_makes_float32_tensors() -> None:
    module = FreshCopyModule(ZerosAsState().eval(), (torch.zeros(3, 7, dtype=torch.int64),), 20)
    answer = module.compute_float64_logits(Sizes(3, 7))
    assert answer.dtype == np.float64
    assert 0 < abs(answer - module(module.draw_inputs(Sizes(3, 7)))).max() < 1e-5
