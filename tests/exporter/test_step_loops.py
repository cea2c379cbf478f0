"""Cells and gates stepped by a Python loop: one recurrent layer, for every length, or refused with the loop's line."""

from __future__ import annotations

import builtins
import collections
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loop_modules
import numpy as np
import onnx
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import nn
from user_modules import WORDS

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.comparing.module_and_graph_as_functions import make_onnx_run
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes

pytestmark = pytest.mark.usefixtures("short_proofs")
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(WORDS - 2))]
LABELS = ["World", "Sports", "Business", "Sci/Tech"]


@pytest.fixture(autouse=True)
def _python_is_as_it_was() -> Iterator[None]:
    """A trace counts the iterations of a loop by what it puts in the place of `range` and of methods of tensors."""
    yield
    assert "range" not in vars(loop_modules)
    assert range is builtins.range
    assert [*torch.eye(2).unbind(0)][1].tolist() == [0.0, 1.0]


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind()


def name_of(case: tuple[type[nn.Module], Any]) -> str:
    return case[0].__name__


def layers_of(model: onnx.ModelProto) -> dict[str, int]:
    operators = collections.Counter(node.op_type for node in model.graph.node)
    return {name: operators[name] for name in ("RNN", "LSTM", "GRU") if operators[name]}


GRAPHS = (
    (loop_modules.StepsAnLstmCell, {"LSTM": 1}),
    (loop_modules.CountsAWord, {"GRU": 1}),
    (loop_modules.StackedCellsWithAMask, {"GRU": 1, "LSTM": 1}),
    (loop_modules.SimpleRecurrentUnit, {"GRU": 1}),
    (loop_modules.MinimalGru, {"GRU": 1}),
    (loop_modules.AveragesAList, {"GRU": 1}),
    (loop_modules.CountsItsListWhileItFills, {"GRU": 1}),
    (loop_modules.CountsFromAPlainZero, {"GRU": 1}),
    (loop_modules.MinimalGrusInBothDirections, {"GRU": 2}),
    (loop_modules.MasksByTheIds, {"GRU": 1}),
    (loop_modules.EmbedsInTheLoop, {"GRU": 1}),
    # The proof allows more where weights are large, which this is not about: the differences are computed as they are.
    (loop_modules.ScalesInTheLoop, {"LSTM": 1}),
    (loop_modules.StacksTheStatesOfItsLayers, {"GRU": 2}),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", mostly_slow(GRAPHS, 4), ids=name_of)
def test_a_stepped_cell_becomes_a_recurrent_layer_of_the_graph(case: tuple[type[nn.Module], dict[str, int]]) -> None:
    kind, layers = case
    module = made(kind).eval()
    graph = trace_onnx_graph(module, (torch.full((3, 7), 2),), {})
    assert layers_of(onnx.load_from_string(graph.content)) == layers
    run = make_onnx_run(graph.content, optimized=True)
    for length in (1, 2, 3, 4, 5, 31):
        ids = torch.randint(2, WORDS, (2, length))
        given = run(ids.numpy(), np.full(2, length))
        np.testing.assert_allclose(given, module(ids).detach(), atol=1e-5, rtol=1e-5)


# test_right_programs.py checks every sixth in the fast suite: whether its loop is put back.
@pytest.mark.slow
@pytest.mark.parametrize("case", loop_modules.EXPORTED, ids=name_of)
def test_a_loop_becomes_recurrent_layers(case: tuple[type[nn.Module], dict[str, int]], tmp_path: Path) -> None:
    kind, layers = case
    module = made(kind)
    manifest = export(module, tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY, torchscript=False)

    assert layers_of(onnx.load(tmp_path / "bundle" / "model.onnx")) == layers
    assert all(c.labels_differing == 0 for c in manifest.parity.comparisons)
    classifier = Classifier.load(tmp_path / "bundle")
    generator = np.random.default_rng(5)
    alone = copy.deepcopy(module).eval()
    for length in (1, 2, 3, 4, 5, 31):
        ids = generator.integers(2, len(VOCABULARY), length)
        inputs = [torch.tensor(ids)[None], torch.tensor([length])][: len(manifest.graph.inputs)]
        with torch.no_grad():
            expected = alone(*inputs).numpy()
        given = classifier.logits([" ".join(VOCABULARY[i] for i in ids)])
        np.testing.assert_allclose(given, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", mostly_slow(loop_modules.REFUSED, 30, first=2), ids=name_of)
def test_a_loop_that_is_no_layer_is_refused_with_its_line(case: tuple[type[nn.Module], str], tmp_path: Path) -> None:
    kind, says = case
    with pytest.raises(ExportError, match=says):
        export(made(kind), tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY, torchscript=False)
    assert not (tmp_path / "bundle").exists()


GATED = (
    loop_modules.SetsItsStateBack,
    loop_modules.KeepsItsStateByASigmoid,
    loop_modules.ForgetsByAQuotient,
    loop_modules.ActsWhereANumberIsNotZero,
    loop_modules.GatesBesideAGateThatIsOpen,
    loop_modules.LetsItsMaximumGo,
    loop_modules.LetsItsSumGo,
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(GATED, 7, first=6))
def test_a_gate_that_no_drawn_number_opens_is_no_part_of_a_layer(kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError, match=r"loop_modules\.py:\d+"):
        find_program_right_for_all_sizes(made(kind).eval(), (torch.full((3, 7), 2),))


def test_a_loop_of_two_cells_in_turn_has_no_program() -> None:
    with pytest.raises(ExportError, match=r"(each iteration|iterations differ).* max_width"):
        find_program_right_for_all_sizes(made(loop_modules.CellsInTurn).eval(), (torch.full((3, 7), 2),))


@pytest.mark.slow
def test_a_copy_in_torchscript_that_holds_one_length_only_is_left_out(tmp_path: Path) -> None:
    manifest = export(made(loop_modules.StepsAnLstmCell), tmp_path / "b", labels=LABELS, vocabulary=VOCABULARY)
    assert manifest.torchscript is None
    assert not list((tmp_path / "b").glob("*.pt"))
