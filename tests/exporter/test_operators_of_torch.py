"""The operators of torch that an export keeps between calls are those that torch itself finds."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._export.utils import _collect_all_valid_cia_ops
from torch.onnx._internal.exporter._registration import ONNXRegistry

from pocketrnn_export.forms.onnx.onnx_conversion import OPSET
from pocketrnn_export.torch_internals import cache_known_operators, cache_onnx_registry, writes_in_place


def known(registry: ONNXRegistry) -> dict[Any, list[Any]]:
    return {
        target: [(one.onnx_function, one.fx_target, one.is_complex, one.is_custom, one.device) for one in found]
        for target, found in registry.functions.items()
    }


def test_the_translations_are_those_that_torch_finds() -> None:
    torchs = ONNXRegistry.from_torchlib
    found = known(torchs(OPSET))
    with cache_onnx_registry():
        assert ONNXRegistry.from_torchlib != torchs
        assert known(ONNXRegistry.from_torchlib(opset_version=OPSET)) == found
    assert ONNXRegistry.from_torchlib == torchs


def test_operators_that_a_library_brings_later_are_found() -> None:
    with cache_onnx_registry():
        known(ONNXRegistry.from_torchlib(OPSET))
        import torch.ao.quantization.fx._decomposed  # noqa: F401 - registers operators

        found = known(ONNXRegistry.from_torchlib(OPSET))
    assert found == known(ONNXRegistry.from_torchlib(OPSET))
    assert any(str(target).startswith("quantized_decomposed") for target in found)


def test_a_translation_of_one_export_is_none_of_the_next() -> None:
    with cache_onnx_registry():
        own, next_one = ONNXRegistry.from_torchlib(OPSET), ONNXRegistry.from_torchlib(OPSET)
        before = known(next_one)
        own.register_op(torch.ops.aten.relu.default, lambda x: x)
    assert known(own) != before
    assert known(next_one) == before


def test_the_operators_to_decompose_are_those_that_torch_finds() -> None:
    found = _collect_all_valid_cia_ops()
    with cache_known_operators():
        assert _collect_all_valid_cia_ops() == found


def test_the_translations_of_an_export_stand_alone() -> None:
    relu = torch.ops.aten.relu.default
    with cache_onnx_registry({relu}):
        assert not ONNXRegistry.from_torchlib(OPSET).get_decomps(relu)
        assert ONNXRegistry.from_torchlib(OPSET).get_decomps(torch.ops.aten.tanh.default)


def test_an_operator_that_writes_is_known_by_its_schema_and_a_part_of_a_graph_may_write() -> None:
    aten = torch.ops.aten
    assert all(map(writes_in_place, (aten.add_.Tensor, aten.copy_.default, aten.add.out, torch.ops.higher_order.cond)))
    assert not any(map(writes_in_place, (aten.add.Tensor, aten.view.default, operator.getitem, torch.sym_max, "x")))
