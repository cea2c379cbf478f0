"""Each operator beside its nodes in the graph, on numbers that no text of a proof sends to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnxscript import opset18
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.forms.onnx import onnx_conversion
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.proof.operator_comparison import find_first_wrong_number

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
    return module, trace_onnx_graph(module, EXAMPLE, {}).content


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "function"),
    [
        ({torch.ops.aten.relu.default: lambda x: op.Max(x, op.Neg(x))}, lambda state, _: torch.relu(state - 0.5)),
        pytest.param(
            {torch.ops.aten.remainder.Scalar: lambda x, other: op.Mod(x, op.Constant(value_int=other), fmod=1)},
            lambda state, count: state + (3 - count * 5) % 7,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["of floats", "of whole numbers"],
)
def test_a_wrong_translation_behind_a_rare_gate_is_refused_by_its_line(
    wrong: dict[Any, Any], function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {**onnx_conversion.FUNCTION_TRANSLATIONS, **wrong}
    monkeypatch.setattr(onnx_conversion, "FUNCTION_TRANSLATIONS", table)
    name = str(next(iter(wrong))).split(".")[1]
    with pytest.raises(ExportError, match=rf"`{name}`.*test_operator_comparison\.py"):
        graph_of(function)


@pytest.mark.parametrize(("off", "found"), [(1e-3, None), (0.5, 0)])
def test_a_sum_may_be_rounded_by_a_share_of_its_absolute_terms(off: float, found: int | None) -> None:
    expected, terms = np.float32([3.892468]), np.array([2000.0])
    other = np.float32([3.892468 + off])
    assert find_first_wrong_number(other, expected, expected.astype(np.float64), [], terms) == found
    assert find_first_wrong_number(other, expected, expected.astype(np.float64), []) == 0


@pytest.mark.slow
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
    with pytest.raises(ExportError, match=r"16 bits.*test_operator_comparison\.py"):
        graph_of(function)


def filled(numbers: Tensor) -> Tensor:
    return torch.nan_to_num(numbers.amax(1, keepdim=True), nan=0.5).expand(-1, 5)


def opened(count: Tensor) -> Tensor:
    return (count > 0).float()


def logarithm_of_a_rounded_number(state: Tensor, count: Tensor) -> Tensor:
    weights = torch.floor(torch.relu(state.abs() + 1 - 2 * opened(count)) + 0.5)
    return filled(weights * torch.log(weights))


def divided_by_a_square_that_is_0(state: Tensor, count: Tensor) -> Tensor:
    weights = (1 - opened(count)) * state.abs()
    return filled(weights / ((weights + 1e-25) * (weights + 1e-25)))


def three_large_factors(state: Tensor, count: Tensor) -> Tensor:
    large = 1 + opened(count) * 1e15
    product = state * large * large * large
    return filled(product / (1 + product.abs()))


def equal_counts_without_an_epsilon(state: Tensor, count: Tensor) -> Tensor:
    counts = torch.cat([count.float(), count.float(), torch.full_like(count, 3).float()], dim=1)
    return filled(torch.cat([state, nn.functional.layer_norm(counts, (3,), eps=0.0), state], dim=1))


def doubles_beyond_float32(state: Tensor, count: Tensor) -> Tensor:
    large = (state.double() * (1 + opened(count) * 1e60)).float()
    return filled(large - large * 2 + large)


def a_small_share_of_a_count(state: Tensor, count: Tensor) -> Tensor:
    return torch.tanh(torch.sigmoid(state - 19 * opened(count)) * count.float() * count.float() * 1e6)


def a_small_share_by_a_slope(state: Tensor, count: Tensor) -> Tensor:
    return torch.tanh(nn.functional.leaky_relu(-torch.sigmoid(state - 19 * opened(count)), 1e8))


def a_slope_below_0(state: Tensor, count: Tensor) -> Tensor:
    above = nn.functional.leaky_relu(-2000 * opened(count), -1.0)
    return filled(torch.cat([state, torch.log(1999.5 - above), state], dim=1))


def a_small_share_multiplied_by_weights(state: Tensor, count: Tensor) -> Tensor:
    return torch.tanh(torch.sigmoid(state - 19 * opened(count)) @ torch.full((5, 5), 0.3) * 1e8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        lambda state, _: (torch.softmax(state, 1, dtype=torch.float64) - shares(state) > 1e-12).float(),
        pytest.param(
            lambda state, _: (state.log_softmax(1, dtype=torch.float64) - shares(state).log() > 1e-12).float(),
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda state, count: state + ((count.to(torch.uint8) * 17) << 3).float(), marks=pytest.mark.slow),
        pytest.param(
            lambda state, _: state.clamp(max=0.1).clamp(min=0.2) + torch.relu(state.clamp(-3, -1)),
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda state, _: state.half().float(), marks=pytest.mark.slow),
        pytest.param(
            lambda state, _: (state.mean(1, keepdim=True) * state.mean(1, keepdim=True)).expand(-1, 5),
            marks=pytest.mark.slow,
        ),
        pytest.param(logarithm_of_a_rounded_number, marks=pytest.mark.slow),
        pytest.param(divided_by_a_square_that_is_0, marks=pytest.mark.slow),
        pytest.param(three_large_factors, marks=pytest.mark.slow),
        pytest.param(doubles_beyond_float32, marks=pytest.mark.slow),
        pytest.param(equal_counts_without_an_epsilon, marks=pytest.mark.slow),
        pytest.param(a_small_share_by_a_slope, marks=pytest.mark.slow),
        pytest.param(a_slope_below_0, marks=pytest.mark.slow),
        pytest.param(a_small_share_of_a_count, marks=pytest.mark.slow),
        pytest.param(
            lambda state, count: torch.tanh(torch.sigmoid(state - 19 * opened(count)) / 1e-8), marks=pytest.mark.slow
        ),
        pytest.param(a_small_share_multiplied_by_weights, marks=pytest.mark.slow),
        pytest.param(
            lambda state, count: state + torch.isinf(state.double() * (1 + 1e60 * opened(count).double())).float(),
            marks=pytest.mark.slow,
        ),
    ],
    ids=[
        "softmax",
        "log_softmax",
        "shift",
        "clamps",
        "rounded to 16 bits",
        "twice the same",
        "log of 0",
        "square of 0",
        "three factors",
        "doubles",
        "equal counts",
        "a slope",
        "a slope below 0",
        "a count",
        "a small divisor",
        "weights",
        "isinf of doubles",
    ],
)
def test_a_rare_text_is_answered_as_by_the_module(function: Function) -> None:
    module, content = graph_of(function)
    tokens = torch.tensor([[5, *[31, 30, 29, 28] * 3, 8]])
    with torch.no_grad():
        expected = module(tokens).numpy()
    found = open_session(content).run(None, {"tokens": tokens.numpy()})[0]
    assert abs(found - expected).max() < 2e-3


class AttendsByStates(nn.Module):
    """Both states of a cell begin with zeros and are repeated alike, so that the graph has one of both for the first
    step, beside the words that each step reads again."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell = nn.Embedding(40, 6), nn.LSTMCell(6, 5)
        self.score, self.fc = nn.Linear(10, 4), nn.Linear(5, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        words = self.embedding(tokens[:, :4])
        hidden, cell = torch.zeros(1, tokens.size(0), 5), torch.zeros(1, tokens.size(0), 5)
        for step in range(2):
            states = torch.cat((hidden.repeat(4, 1, 1).permute(1, 0, 2), cell.repeat(4, 1, 1).permute(1, 0, 2)), dim=2)
            weights = torch.softmax(torch.tanh(self.score(states)).sum(2), dim=1)
            found = self.cell((weights.unsqueeze(2) * words).sum(1) + words[:, step], (hidden[0], cell[0]))
            hidden, cell = found[0].unsqueeze(0), found[1].unsqueeze(0)
        return self.fc(hidden[0])  # type: ignore[no-any-return]


@pytest.mark.slow
def test_operators_that_the_graph_merges_are_given_the_same_numbers() -> None:
    module = AttendsByStates().eval()
    session = open_session(trace_onnx_graph(module, EXAMPLE, {}).content)
    given = session.run(None, {session.get_inputs()[0].name: EXAMPLE[0].numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(given), module(*EXAMPLE).detach(), atol=1e-5, rtol=1e-5)
