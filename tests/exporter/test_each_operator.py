"""Each operator beside its nodes in the graph, on numbers that no text of a proof sends to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from onnxscript import opset18
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.comparing import session_of
from pocketrnn_export.forms.onnx import onnx_trace
from pocketrnn_export.forms.onnx.onnx_graph import onnx_graph

pytestmark = pytest.mark.usefixtures("short_proofs")
EXAMPLE = (torch.randint(2, 40, (3, 7)),)
Function = Callable[[Tensor, Tensor], Tensor]
op: Any = opset18


class Gated(nn.Module):
    """Does something to the last state where four words follow each other, and to the count of that."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.embedding, self.gru, self.fc = nn.Embedding(40, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        state = self.gru(self.embedding(tokens))[1][-1]
        padded = nn.functional.pad(tokens, (3, 0))
        found = [padded[:, place : place + tokens.size(1)] == word for place, word in enumerate((31, 30, 29, 28))]
        count = (found[0] & found[1] & found[2] & found[3]).sum(1, keepdim=True)
        return self.fc(torch.where(count > 0, self.function(state, count), state))  # type: ignore[no-any-return]


def shares(state: Tensor) -> Tensor:
    raised = torch.exp(state.double())
    return raised / raised.sum(1, keepdim=True)


def graph_of(function: Function) -> tuple[nn.Module, bytes]:
    module = Gated(function).eval()
    return module, onnx_graph(module, EXAMPLE, {}).content


@pytest.mark.parametrize(
    ("wrong", "function"),
    [
        ({torch.ops.aten.relu.default: lambda x: op.Max(x, op.Neg(x))}, lambda state, _: torch.relu(state - 0.5)),
        (
            {torch.ops.aten.remainder.Scalar: lambda x, other: op.Mod(x, op.Constant(value_int=other), fmod=1)},
            lambda state, count: state + (3 - count * 5) % 7,
        ),
    ],
    ids=["of floats", "of whole numbers"],
)
def test_a_wrong_translation_behind_a_rare_gate_is_refused_by_its_line(
    wrong: dict[Any, Any], function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {**onnx_trace.FUNCTION_TRANSLATIONS, **wrong}
    monkeypatch.setattr(onnx_trace, "FUNCTION_TRANSLATIONS", table)
    name = str(next(iter(wrong))).split(".")[1]
    with pytest.raises(ExportError, match=rf"`{name}`.*test_each_operator\.py"):
        graph_of(function)


@pytest.mark.parametrize(
    "function",
    [
        lambda state, _: (state.half() + 2048 - 2048).float(),
        pytest.param(
            lambda state, count: state + ((count * 30).half() ** 2).float().clamp(max=1e5), marks=pytest.mark.slow
        ),
        pytest.param(lambda state, _: torch.sigmoid(state.bfloat16()).float(), marks=pytest.mark.slow),
    ],
)
def test_arithmetic_in_16_bits_is_refused_by_its_line(function: Function) -> None:
    with pytest.raises(ExportError, match=r"16 bits.*test_each_operator\.py"):
        graph_of(function)


@pytest.mark.parametrize(
    "function",
    [
        lambda state, _: (torch.softmax(state, 1, dtype=torch.float64) - shares(state) > 1e-12).float(),
        pytest.param(
            lambda state, _: (state.log_softmax(1, dtype=torch.float64) - shares(state).log() > 1e-12).float(),
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda state, count: state + ((count.to(torch.uint8) * 17) << 3).float(), marks=pytest.mark.slow),
        lambda state, _: state.clamp(max=0.1).clamp(min=0.2) + torch.relu(state.clamp(-3, -1)),
        lambda state, _: state.half().float(),
        lambda state, _: (state.mean(1, keepdim=True) * state.mean(1, keepdim=True)).expand(-1, 5),
    ],
    ids=["softmax", "log_softmax", "shift", "clamps", "rounded to 16 bits", "twice the same"],
)
def test_a_rare_text_is_answered_as_by_the_module(function: Function) -> None:
    module, content = graph_of(function)
    tokens = torch.tensor([[5, *[31, 30, 29, 28] * 3, 8]])
    with torch.no_grad():
        expected = module(tokens).numpy()
    found = session_of(content).run(None, {"tokens": tokens.numpy()})[0]
    assert abs(found - expected).max() < 2e-3
