"""Numbers of several types in one operation are computed by the graph as by PyTorch, which brings them to one type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.forms.onnx.onnx_conversion import convert_program
from pocketrnn_export.tracing.module_trace import trace_program
from pocketrnn_export.tracing.rules.order_statistics_and_search import ORDER_STATISTICS
from pocketrnn_export.tracing.rules.type_promotion import MIXED_NUMBERS
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog
from pocketrnn_export.tracing.trace_session import DeclinedRule, TraceSession

ROWS: Final = torch.tensor([[-3, 0, 1, 2], [4, 4, -1, 0], [0, 0, 0, 0]])
EDGES: Final = torch.tensor([-1, 0, 2])
Call = Callable[[Tensor], Tensor]
# One of each rule: each call takes 0.15 s to trace and convert.
CALLS: Final[tuple[Call, ...]] = (
    lambda x: x.clamp(None, 0.5),
    lambda x: torch.clip(x, min=0.5, max=3),
    lambda x: x.float().clamp_(-1, 0.5),
    lambda x: nn.Hardtanh(-1, 0.5, inplace=True)(x.float()),
    lambda x: functional.hardtanh(x, -1, 2.5),
    lambda x: torch.rsub(x, 0.5, alpha=2),
    lambda x: x // 2.5,
    lambda x: (x > 0) + True,
    lambda x: torch.minimum(x > 0, x > 1),
    lambda x: (x == 4).max(1, keepdim=True).values,
    lambda x: (x == 4).amax(1, keepdim=True),
    lambda x: torch.pow(x.abs(), x.abs() * 0.37),
    lambda x: torch.searchsorted(EDGES, x, right=True),
    lambda x: x.nansum(1, keepdim=True),
    lambda x: torch.stack([x.sum(1), x.float().mean(1), (x > 0).any(1)], 1),
)
MORE_CALLS: Final[tuple[Call, ...]] = (
    *(
        lambda x, low=low, high=high, kind=kind: kind(x).clamp(low, high)
        for low, high in ((-1, 0.5), (0.5, 2), (None, 0.5), (True, 2))
        for kind in (Tensor.float, Tensor.long, Tensor.bool)
    ),
    lambda x: functional.hardtanh(x.float(), max_val=2),
    lambda x: 0.3 - x,
    lambda x: 1.5 - (x > 0).int(),
    lambda x: (x > 0) + (x > 1),
    lambda x: torch.maximum(x > 0, x > 1),
    lambda x: (x == 4).max(1, keepdim=True).indices,
    lambda x: (x == 4).min(1, keepdim=True).values,
    lambda x: torch.aminmax(x == 4, dim=1, keepdim=True).min,
    lambda x: (x == 4).sort(dim=1, stable=True).values,
    lambda x: (x == 4).sort(dim=1, descending=True, stable=True).indices,
    lambda x: x.abs() ** (x.abs() * 0.37),
    lambda x: torch.searchsorted(EDGES, x),
    lambda x: torch.searchsorted(EDGES.float(), x * 0.5, side="right"),
)


class ModuleFacts(nn.Module):
    def __init__(self, calls: tuple[Call, ...]) -> None:
        super().__init__()
        self.calls = calls
        self.register_buffer("table", ROWS)
        self.embedding = nn.Embedding(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.table[x][:, 0].contiguous()  # type: ignore[index]
        found = torch.cat([call(rows).double() for call in self.calls], 1)
        answer: Tensor = found + 0 * self.embedding(x)[:, 0, :1]
        return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    "calls", [CALLS, pytest.param(MORE_CALLS, marks=pytest.mark.slow)], ids=["one of each rule", "more"]
)
def test_the_graph_computes_what_pytorch_does(calls: tuple[Call, ...]) -> None:
    ids = torch.arange(3)[:, None].repeat(1, 2)
    module = ModuleFacts(calls).eval()
    graph = convert_program(trace_program(module, (ids,), None, TraceLog()), {}, ("tokens",))
    (found,) = open_session(graph.content).run(None, {"tokens": ids.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(ids).numpy(), rtol=1e-6)


SIDE_BY_SIDE: Final[tuple[Call, ...]] = (
    lambda x: torch.hstack([x, x.float() / 3]),
    lambda x: torch.hstack((x[0], x[0, 0], x[1])).expand(len(x), -1),
    lambda x: torch.column_stack([x[:, 0], x, x[:, 1]]),
    lambda x: torch.vstack([x, x[0]])[1:],
    lambda x: torch.dstack([x, x * 2]).flatten(1),
    lambda x: torch.dstack([x[0], x[1]]).reshape(1, -1).expand(len(x), -1),
)


@pytest.mark.slow
def test_tensors_side_by_side_are_joined_without_a_sequence() -> None:
    ids = torch.arange(3)[:, None].repeat(1, 2)
    module = ModuleFacts(SIDE_BY_SIDE).eval()
    graph = convert_program(trace_program(module, (ids,), None, TraceLog()), {}, ("tokens",))
    assert not [node for node in onnx.load_from_string(graph.content).graph.node if "Sequence" in node.op_type]
    (found,) = open_session(graph.content).run(None, {"tokens": ids.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(ids).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("clamp", (torch.ones(2), 0.5, 1.5)),
        ("clamp", (torch.ones(2), torch.zeros(2), 0.5)),
        ("clamp", (ROWS, 0, 1)),
        ("clamp_", (ROWS, 0.5, 1)),
        ("hardtanh", (torch.ones(2),)),
        ("rsub", (ROWS, 1)),
        ("floor_divide", (torch.ones(2), 0.5)),
        ("add", (ROWS > 0, ROWS)),
        ("max", (ROWS, 1)),
        ("searchsorted", (torch.zeros(3), 0.5)),
        ("nansum", (torch.ones(2),)),
        ("stack", ([torch.ones(2), torch.zeros(2)],)),
    ],
)
def test_numbers_of_one_type_are_left_as_they_are(name: str, given: tuple[object, ...]) -> None:
    (rule,) = (one for one in (*MIXED_NUMBERS, *ORDER_STATISTICS) if name in one.names)
    assert isinstance(rule(TraceSession(nn.Identity()), *given), DeclinedRule)
