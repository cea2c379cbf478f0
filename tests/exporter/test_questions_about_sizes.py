"""Modules that ask about sizes, as graphs: right at every length, with PyTorch's own limits, or refused by line."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnxruntime
import pytest
import size_modules
import torch
from slow_case_sampling import mostly_slow
from torch import nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.diagnosis import add_first_difference_to_error
from pocketrnn_export.forms.onnx.onnx_conversion import OnnxGraph
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.tracing.module_trace import find_exception_of_forward_at_sizes
from pocketrnn_export.tracing.sizes.program_answers_at_some_sizes import AnswerJudge, ProgramAttempt
from pocketrnn_export.tracing.sizes.right_program_for_each_size import make_size_refusal_error
from pocketrnn_export.tracing.sizes.size_conditions import Sizes
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog

BATCHES = ((1, 9), (2, 9), (3, 9), (40, 9), (200, 9), (65, 3), (128, 2))
LENGTHS = (1, 2, 7, 29, 30, 31, 60, 77, 85, 294, 297, 299, 300, 301, 302, 600, 2000)


def made(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().eval()


def takes_lengths(module: nn.Module) -> bool:
    return module.forward.__code__.co_argcount == 3


def graph_of(module: nn.Module) -> OnnxGraph:
    tokens, lengths = torch.zeros(3, 7, dtype=torch.int64), torch.tensor([7, 5, 3])
    return trace_onnx_graph(module, (tokens, lengths)[: 1 + takes_lengths(module)], {})


def inputs_of(module: nn.Module, batch: int, length: int) -> tuple[torch.Tensor, ...]:
    generator = np.random.default_rng(batch * 10_007 + length)
    tokens = torch.from_numpy(generator.integers(0, size_modules.WORDS, (batch, length)))
    if not takes_lengths(module):
        return (tokens,)
    lengths = generator.integers(1, length + 1, batch)
    lengths[-1] = length
    return tokens, torch.from_numpy(lengths)


def compute_largest_difference(module: nn.Module, graph: OnnxGraph, sizes: list[tuple[int, int]]) -> float:
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.content, options)
    differences = []
    for batch, length in sizes:
        inputs = inputs_of(module, batch, length)
        with torch.no_grad():
            expected = copy.deepcopy(module)(*inputs).numpy()
        names = [value.name for value in session.get_inputs()]
        given = session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]
        assert given.shape == expected.shape, (batch, length)
        differences.append(float(np.abs(given - expected).max()))
    return max(differences)


# In the fast suite, test_size_arithmetic.py asks at every length, and test_right_programs.py has a branch on it.
@pytest.mark.slow
@pytest.mark.parametrize("kind", size_modules.HONOURED, ids=lambda kind: kind.__name__)
def test_what_a_module_asks_about_sizes_is_honoured_at_every_length(kind: type[nn.Module]) -> None:
    module = made(kind)
    graph = graph_of(module)
    assert graph.limits == Limits()
    assert compute_largest_difference(module, graph, [*BATCHES, *((1, n) for n in LENGTHS), (3, 31), (3, 301)]) < 1e-5


@pytest.mark.slow
def test_a_branch_for_texts_of_one_token_is_traced_with_one_step() -> None:
    module = made(size_modules.AttendsUnlessOneToken)
    sizes = [*BATCHES, (1, 1), (4, 1), (1, 2), (3, 2)]
    assert compute_largest_difference(module, graph_of(module), sizes) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("case", size_modules.LIMITED, ids=lambda case: case[0].__name__)
def test_where_pytorch_fails_beyond_a_size_that_is_a_stated_limit(case: tuple[type[nn.Module], dict[str, int]]) -> None:
    kind, limits = case
    module = made(kind)
    graph = graph_of(module)
    assert graph.limits == Limits(**limits)
    least, most, largest = (limits.get(name, usual) for name, usual in
                            (("min_tokens", 1), ("max_tokens", 600), ("max_batch", 200)))  # fmt: skip
    tried = (*BATCHES, *((1, n) for n in (1, 2, 3, 7, 89, 90, 600)))
    sizes = [(batch, n) for batch, n in tried if least <= n <= most and batch <= largest]
    assert compute_largest_difference(module, graph, sizes) < 1e-5


def test_a_trace_fails_where_a_text_is_longer_than_the_length_to_which_it_is_unpacked() -> None:
    module = made(size_modules.UnpacksToALength).eval()
    for tokens, fails in ((90, False), (91, True)):
        given = find_exception_of_forward_at_sizes(module, inputs_of(module, 2, tokens), Sizes(2, tokens), TraceLog())
        assert isinstance(given, ValueError) == fails


@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize("case", mostly_slow(size_modules.REFUSED, 12, first=1), ids=lambda case: case[0].__name__)
def test_what_cannot_be_honoured_is_refused_with_the_line(case: tuple[type[nn.Module], str]) -> None:
    kind, reason = case
    with pytest.raises(ExportError, match=reason), add_first_difference_to_error():
        graph_of(made(kind))


# In the fast suite, test_real_tokens.py exports a module that counts and sorts.
@pytest.mark.slow
@pytest.mark.parametrize("kind", size_modules.COUNTED, ids=lambda kind: kind.__name__)
def test_lengths_that_a_module_counts_or_clamps_itself_come_out_right(kind: type[nn.Module]) -> None:
    module = made(kind)
    graph = graph_of(module)
    session = onnxruntime.InferenceSession(graph.content)
    for batch, length in ((1, 4), (1, 31), (3, 9), (5, 60), (40, 7)):
        tokens, *lengths = inputs_of(module, batch, length)
        tokens[:, 1::3] = 0
        tokens[:, 0] = 5
        with torch.no_grad():
            expected = module(tokens, *lengths).numpy()
        values = [tokens.numpy(), *(value.numpy() for value in lengths)]
        given = session.run(None, dict(zip(("tokens", "lengths"), values, strict=False)))[0]
        np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize("case", mostly_slow(size_modules.CAUGHT, 5, first=1), ids=lambda case: case[0].__name__)
def test_what_only_tracing_does_or_pytorch_leaves_open_is_refused(case: tuple[type[nn.Module], str]) -> None:
    kind, reason = case
    with pytest.raises(ExportError, match=reason):
        graph_of(made(kind))


@pytest.mark.parametrize(("graph", "of_rounding"), [(1.002, True), (1.2, False)])
def test_a_module_whose_answer_float32_rounds_away_is_refused_for_that(graph: float, of_rounding: bool) -> None:
    def answer(number: float) -> Any:
        return lambda _: np.array([[number, 0.0]], np.float32)

    judge = AnswerJudge(answer(1.0), answer(1.0005), None)
    attempt = ProgramAttempt(None, TraceLog(), answer(graph))
    assert not judge.agrees_with_module(attempt, Sizes(3, 9))
    assert (judge.find_rounding_that_explains_difference(attempt, Sizes(3, 9)) > 0) == of_rounding
    if of_rounding:
        error = make_size_refusal_error([], [attempt], [Sizes(3, 9)], judge, None)
        assert "float32" in error.problem
        assert "3 texts of 9 tokens" in error.problem
