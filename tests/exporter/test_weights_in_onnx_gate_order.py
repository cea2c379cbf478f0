"""The weights of a recurrent layer as a graph has them stand for those of PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pocketrnn_export.tracing.layers import recurrence
from pocketrnn_export.tracing.layers.recurrence import OPERATOR
from pocketrnn_export.tracing.layers.weights_in_onnx_gate_order import add_onnx_weights, read_layer_weights


@pytest.mark.parametrize(("hidden", "projected"), [(10, 4), (64, 60)])
def test_first_states_of_a_projected_layer_are_multiplied_nearly_as_in_double_precision(
    hidden: int, projected: int
) -> None:
    # The exporter multiplies first states that are numbers, and the proof allows them 2 ulps of each.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.LSTM(7, hidden, proj_size=projected, bidirectional=True)
        states = torch.randn(2, 1, projected).double()
    add_onnx_weights(layer)
    weights = read_layer_weights(layer, 0)
    assert weights.projection is not None
    exact = states @ torch.linalg.pinv(weights.projection.double())

    def ulps_off(given: Tensor) -> float:
        ulps = torch.nextafter(exact.abs().float(), torch.tensor(torch.inf)).double() - exact.abs().float().double()
        return float(((given - exact).abs() / ulps).max())

    parts = (weights.unprojection, weights.unprojection_rest)
    whole, rest = (states @ part.double() for part in parts if part is not None)
    assert ulps_off(whole + rest) < 0.1
    # Without the rest, the test would say nothing.
    assert ulps_off(whole) > 2


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("mode", ["RNN_TANH", "RNN_RELU", "LSTM", "GRU"])
def test_a_layer_of_full_rows_is_computed_whole_as_step_by_step(
    mode: str, both_ways: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways, gates = 1 + both_ways, {"LSTM": 4, "GRU": 3}.get(mode, 1)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / 2

    x, w, r = draw(9, 3, 4), draw(ways, gates * 5, 4), draw(ways, gates * 5, 5)
    b, h0, c0 = draw(ways, 2 * gates * 5), draw(ways, 3, 5), draw(ways, 3, 5)
    for given in ((None, None, None), (b, h0, c0)):
        found = []
        for few in (0, 99):
            monkeypatch.setattr(recurrence, "_FEW_STEPS", few)
            found.append(OPERATOR(x, w, r, given[0], None, *given[1:], mode))
        for whole, steps in zip(*found, strict=True):
            torch.testing.assert_close(whole, steps, rtol=0, atol=1e-14)
