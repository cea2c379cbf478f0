"""The graph has also the effects of forward on steps that a recurrent layer forgets."""

from __future__ import annotations

from pathlib import Path

import forgetting_modules as zoo
import numpy as np
import pytest
import torch
from size_modules import WORDS, ClampsLengths
from torch import nn

from pocketrnn import Classifier
from pocketrnn.classifier import compute_logits_of_engine_input
from pocketrnn_export import export
from pocketrnn_export.comparing.module_and_graph_as_functions import make_onnx_run
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.proof.program_runs_and_nodes import make_runnable_program
from pocketrnn_export.proof.right_program_search import (
    copy_with_layers_that_forget_nothing,
    find_program_right_for_all_sizes,
)


# As a whole; in the fast suite, the next one asks the program.
@pytest.mark.slow
@pytest.mark.parametrize("kind", zoo.FORGET)
def test_steps_that_are_cut_are_cut_in_the_graph(kind: type[zoo.Base], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    words = ["<unk>", "<pad>", *(f"w{number}" for number in range(2, zoo.WORDS))]
    export(module, tmp_path / "b", labels=list("abc"), vocabulary=words, tokenizer="whitespace", torchscript=False)
    classifier = Classifier.load(tmp_path / "b")
    for held in (zoo.LONG - 20, zoo.LONG - 3, zoo.LONG - 2, zoo.LONG + 40):
        row = [7, 8, 9, 20, *[zoo.HELD] * held]
        with torch.no_grad():
            expected = module(torch.tensor([row])).numpy()
        np.testing.assert_allclose(
            compute_logits_of_engine_input(classifier, [row]), expected, atol=1e-4, err_msg=str(len(row))
        )


@pytest.mark.slow
def test_the_program_cuts_what_only_a_layer_that_lasts_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "LONG", 150)
    torch.manual_seed(0)
    module = zoo.LastStepsIfLong().eval()
    traced = find_program_right_for_all_sizes(module, (torch.full((3, 7), 2),))
    row = torch.tensor([[7, 8, 9, 20, *[zoo.HELD] * (zoo.LONG + 40)]])
    np.testing.assert_allclose(make_runnable_program(traced).run((row,)), module(row).detach(), atol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(4, 6, 2, batch_first=True),
        nn.LSTM(4, 6, batch_first=True),
        nn.RNN(4, 6, batch_first=True),
        nn.RNN(4, 6, nonlinearity="relu", batch_first=True),
    ],
)
def test_a_step_long_ago_shows_in_a_layer_that_lasts(layer: nn.RNNBase) -> None:
    torch.manual_seed(0)
    lasting = copy_with_layers_that_forget_nothing(layer)
    assert lasting is not None
    steps = torch.randn(1, 1500, 4)
    with torch.no_grad():
        whole, shorter = (lasting(given)[0][:, -1] for given in (steps, steps[:, 1:]))
    assert (whole - shorter).abs().max() > 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("short_proofs_in_one_test")
def test_a_program_that_cuts_to_the_longest_length_is_made_a_graph_twice() -> None:
    torch.manual_seed(0)
    module = ClampsLengths().eval()
    example = torch.randint(2, WORDS, (3, 7)), torch.tensor([7, 5, 3])
    graph = trace_onnx_graph(module, example, {})
    tokens, lengths = torch.randint(2, WORDS, (2, 33)), torch.tensor([33, 31])
    answers = make_onnx_run(graph.content, optimized=True)(tokens.numpy(), lengths.numpy())
    np.testing.assert_allclose(answers, module(tokens, lengths).detach(), atol=1e-5)


def test_the_layers_of_the_module_stay_as_they_are() -> None:
    layer = nn.GRU(4, 6)
    before = {name: weight.clone() for name, weight in layer.named_parameters()}
    copy_with_layers_that_forget_nothing(layer)
    for name, weight in layer.named_parameters():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)


def test_a_layer_without_biases_has_none_that_lasts() -> None:
    assert copy_with_layers_that_forget_nothing(nn.GRU(4, 6, bias=False)) is None
