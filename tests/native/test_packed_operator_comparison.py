"""Each operator beside its operations in a packed file, on numbers that no text of a proof sends to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from operation_graphs import CASES, Case, lowered_case
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn.bundle.packed_enums import Binary, Unary
from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.forms.packed_file import operator_lowering as lowering
from pocketrnn_export.forms.packed_file.operator_lowering import Lowering
from pocketrnn_export.forms.packed_file.packed_operator_comparison import (
    refuse_operators_that_engine_computes_differently,
    run_each_operator_without_its_graph,
)
from pocketrnn_export.forms.packed_file.size_dependent_values import read_attributes
from pocketrnn_export.packing import pack

pytestmark = pytest.mark.usefixtures("short_proofs")


@pytest.mark.parametrize("case", mostly_slow(CASES, 805), ids=str)
def test_every_operator_answers_as_onnxruntime_does(case: Case) -> None:
    lowered = lowered_case(case)
    refuse_operators_that_engine_computes_differently(lowered)
    assert any(one.node.op_type == case.operator for one in run_each_operator_without_its_graph(lowered))


def _otherwise(operator: str, **attributes: int) -> Callable[[Lowering, onnx.NodeProto], None]:
    """A lowering that takes an operator for one of other attributes."""
    handler = lowering.HANDLERS[operator]

    def wrong(program: Lowering, node: onnx.NodeProto) -> None:
        other = onnx.helper.make_node(operator, node.input, node.output, **read_attributes(node) | attributes)
        handler(program, other)

    return wrong


SEVEN, ZERO = {"seven": 7}, {"zero": np.float32(0)}
WRONG: list[tuple[dict[str, Any], Any, Case]] = [
    (lowering.UNARY, Unary.ABSOLUTE, Case("Relu", ("x",))),
    (lowering.UNARY, Unary.FLOOR, Case("Round", ("x",))),
    (lowering.BINARY, Binary.LESS_EQUAL, Case("Less", ("x", "zero"), constants=ZERO)),
    (lowering.HANDLERS, _otherwise("Mod", fmod=1), Case("Mod", ("i", "seven"), {"fmod": 0}, SEVEN)),
    (lowering.HANDLERS, _otherwise("Softmax", axis=1), Case("Softmax", ("x",), {"axis": 2})),
    (lowering.HANDLERS, _otherwise("CumSum", exclusive=1), Case("CumSum", ("i", "1"), {"exclusive": 0})),
    (lowering.HANDLERS, _otherwise("ArgMax", axis=1), Case("ArgMax", ("xt",), {"axis": 2})),
]


@pytest.mark.parametrize(("table", "wrong", "case"), WRONG, ids=lambda value: getattr(value, "operator", ""))
def test_a_wrong_lowering_is_refused_by_the_name_and_place_of_the_operator(
    table: dict[str, Any], wrong: Any, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(table, case.operator, wrong)
    with pytest.raises(ExportError, match=rf"operator {case.operator} .* it: .* onnxruntime gives"):
        refuse_operators_that_engine_computes_differently(lowered_case(case))


class Gated(nn.Module):
    """Asks something of the last state where four words follow each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru, self.fc = nn.Embedding(40, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        state = self.gru(self.embedding(tokens))[1][-1]
        padded = nn.functional.pad(tokens, (3, 0))
        found = [padded[:, place : place + tokens.size(1)] == word for place, word in enumerate((31, 30, 29, 28))]
        is_there = (found[0] & found[1] & found[2] & found[3]).any(1, keepdim=True)
        return self.fc(torch.where(is_there, torch.tanh(state * 3), state))  # type: ignore[no-any-return]


# The comparison of whole programs sees nothing of it: its texts seldom hold the four words in this order.
@pytest.mark.slow
def test_a_wrong_operation_behind_a_gate_refuses_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {f"w{i}": i for i in range(40)}
    export(Gated(), tmp_path / "gated", labels=["a", "b"], vocabulary=words, progress=False)
    pack(tmp_path / "gated", tmp_path / "gated.prnn", progress=False)
    monkeypatch.setitem(lowering.UNARY, "Tanh", Unary.RELU)
    with pytest.raises(ExportError, match="operator Tanh "):
        pack(tmp_path / "gated", tmp_path / "wrong.prnn", progress=False)
    assert not (tmp_path / "wrong.prnn").exists()


@pytest.mark.parametrize("operator", ["Abs", "Ceil", "Floor", "Neg", "Relu", "Round", "Sqrt"])
def test_a_zero_has_the_sign_that_onnxruntime_gives_it(operator: str) -> None:
    for one in run_each_operator_without_its_graph(lowered_case(Case(operator, ("y" if operator == "Sqrt" else "x",)))):
        if one.node.op_type == operator:
            with np.errstate(invalid="ignore"):
                np.testing.assert_array_equal(np.signbit(one.found), np.signbit(one.expected))


# Its file would not open: the engine has powers of floats by floats, and of whole numbers by whole ones.
def test_what_the_engine_has_no_types_for_is_refused_by_its_name() -> None:
    for case in (Case("Pow", ("i", "half")), Case("Pow", ("x", "i")), Case("ReduceL2", ("i",))):
        with pytest.raises(ExportError, match=rf"operator {case.operator} "):
            lowered_case(case)
