"""A graph's arithmetic of sizes equals Python's, at every length."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from slow_case_sampling import examples, mostly_slow
from torch import nn

from pocketrnn.bundle.manifest import Graph
from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.float64_graph import make_float64_onnx_run
from pocketrnn_export.comparing.float64_module import make_float64_module_run
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program

EXAMPLE = (torch.randint(2, 30, (3, 7), generator=torch.Generator().manual_seed(0)),)
MOST = examples(700, 3000)

WHOLE: list[Callable[[Any], tuple[Any, ...]]] = [
    lambda n: (-n // 2, (-n - 1) // 3, n // 2, n % 7, -n % 5, n // 2 + 1, n >> 3),
    lambda n: (int(n * 0.7), int(n * 0.3), int(0.1 * n), int(n / 3), int(n * 0.7 * 10), int(n * 1.1 - 0.1)),
    lambda n: (round(n * 0.15), round(n / 2), round(n * 2.5), round(-n / 4), round(n)),
    lambda n: (math.ceil(n * 0.1), math.ceil(n / 2), math.floor(n * 0.29), math.trunc(-n * 0.7), math.ceil(n)),
    lambda n: (int(math.sqrt(n)), int(n**0.5), math.ceil(math.sqrt(n)), int(np.sqrt(n)), int(np.ceil(n * 0.1))),
    lambda n: (max(1, int(n * 0.02)), min(n, 77), max(n - 5, 0), *divmod(n, 12), int(float(n) / 7), abs(3 - n)),
]
FLOATS: list[Callable[[Any], tuple[Any, ...]]] = [
    lambda n: (1.0 / n, n / 7, n * 0.1, math.sqrt(n), n**0.5, 1 / math.sqrt(n), float(n), 0.3 - n / 11),
    lambda n: (math.log(n), math.log(n + 1, 2), math.log2(n), math.log10(n), math.log1p(n), math.exp(-n / 50)),
    lambda n: (math.tanh(n / 9), math.sin(n), math.cos(n / 3), np.sqrt(n), np.log(n), np.floor(n / 3), 0.99**n),
    lambda n: (max(1.5, n / 3), min(n / 3, 2), 1 / (math.log(n) + 1), np.log1p(n) * 3 - 1, (n / 3) ** 1.5),
]


class Numbers(nn.Module):
    """Gives [batch, numbers]: what a function makes of the number of tokens, beside nothing of the embedding."""

    def __init__(self, numbers: Callable[[Any], tuple[Any, ...]], *, scale: float) -> None:
        super().__init__()
        self.embedding, self.numbers, self.scale = nn.Embedding(30, 2), numbers, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.embedding(x)[:, 0, 0] * self.scale + 1
        return torch.stack([one * number for number in self.numbers(x.size(1))], dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", mostly_slow(WHOLE, 9))
def test_a_whole_number_of_a_size_is_pythons_at_every_length(numbers: Callable[[Any], tuple[Any, ...]]) -> None:
    session = open_session(trace_onnx_graph(Numbers(numbers, scale=0.0), EXAMPLE, {}).content)
    for n in range(1, MOST + 1):
        given = session.run(None, {"tokens": np.full((1, n), 3)})[0][0]
        np.testing.assert_array_equal(given, np.array(numbers(n), np.float32), err_msg=f"{n} tokens")


@pytest.mark.slow
@pytest.mark.parametrize("numbers", mostly_slow(FLOATS, 9))
def test_a_number_of_a_size_is_pythons_rounded_to_float32(numbers: Callable[[Any], tuple[Any, ...]]) -> None:
    content = trace_onnx_graph(Numbers(numbers, scale=0.0), EXAMPLE, {}).content
    session, in_doubles = open_session(content), make_float64_onnx_run(content)
    for n in (*range(1, 130), 1000, 2999):
        tokens = np.full((1, n), 3)
        expected = np.array([float(number) for number in numbers(n)])
        np.testing.assert_allclose(session.run(None, {"tokens": tokens})[0][0], expected, rtol=1.5e-7, atol=1e-12)
        exact = in_doubles(tokens, np.array([n]))[0]
        np.testing.assert_allclose(exact, expected.astype(np.float32), rtol=1e-12, err_msg=f"{n} tokens")


@pytest.mark.parametrize(
    "numbers",
    mostly_slow([lambda n: (round(n / 7, 1), n), lambda n: (int(n**0.7), n), lambda n: (int(math.log2(n)), n)], 3),
)
def test_what_a_graph_rounds_otherwise_is_refused_with_its_line(numbers: Callable[[Any], tuple[Any, ...]]) -> None:
    with pytest.raises(ExportError, match=r"test_size_arithmetic.py:\d+: `"):
        trace_onnx_graph(Numbers(numbers, scale=0.0), EXAMPLE, {})


@pytest.mark.slow
def test_a_packed_file_makes_no_whole_number_in_float32() -> None:
    content = trace_onnx_graph(Numbers(lambda n: (n, int(n * 0.0001)), scale=1.0), EXAMPLE, {}).content
    graph = Graph(file="model.onnx", sha256="", opset=18, inputs=("tokens",), padding=False, embedding_rows=30)
    with pytest.raises(ExportError, match=r"\bCast\b"):
        translate_graph_into_program(content, graph)


class Spread(nn.Module):
    """Weights from 0 to 1 over the steps, and as many of them as there are steps."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(30, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, e = x.size(1), self.embedding(x)
        weights = torch.linspace(0, 1, n) + torch.linspace(start=2.5, end=-1, steps=x.size(1))
        weights = weights + torch.logspace(0, -1, n) + torch.arange(n) / n + torch.tensor(1.0 / n)
        return self.fc((e * weights[None, :, None]).mean(1)) * torch.tensor([n, 1, n // 3]) / n


@pytest.mark.slow
def test_weights_spread_over_the_steps_are_pytorchs() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Spread().eval()
    session = open_session(trace_onnx_graph(module, EXAMPLE, {}).content)
    for n in (*range(1, 40), 64, 257, 1000):
        tokens = torch.randint(2, 30, (2, n), generator=torch.Generator().manual_seed(n))
        given = session.run(None, {"tokens": tokens.numpy()})[0]
        np.testing.assert_allclose(given, module(tokens).detach().numpy(), atol=2e-6, rtol=1e-5)


class Features(nn.Module):
    """Tensors of numbers that are made of a size beside others, in a list and in lists of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(30, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.size(1)
        flat = torch.tensor([1.0, math.log(n), 2])
        nested = torch.tensor([[n / 100, math.log(n), 1], [1, math.sqrt(n), 0.5]])
        return self.fc(self.embedding(x).mean(1)) * flat + nested.sum(0) + torch.tensor([n, 1, n // 3]) / 7


@pytest.mark.slow
def test_a_list_of_numbers_of_a_size_is_the_tensor_of_pytorch() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Features().eval()
    session = open_session(trace_onnx_graph(module, EXAMPLE, {}).content)
    for n in (1, 2, 9, 100):
        tokens = torch.randint(2, 30, (2, n), generator=torch.Generator().manual_seed(n))
        given = session.run(None, {"tokens": tokens.numpy()})[0]
        np.testing.assert_allclose(given, module(tokens).detach().numpy(), atol=2e-6, rtol=1e-5)


class Buckets(nn.Module):
    """Tensors of ids and of steps, times, minus and plus fractions made of a size."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(30, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.size(1)
        bucket = (torch.arange(n) * (10 / n)).long()
        share = x * (1 / n) + torch.arange(n) / (n * 1.5) - (torch.arange(n) - n / 3) + (x + n)
        return self.fc((self.embedding(x) * share[..., None] + bucket[:, None]).mean(1))


@pytest.mark.slow
def test_a_tensor_and_a_fraction_of_a_size_give_what_pytorch_gives() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Buckets().eval()
    content = trace_onnx_graph(module, EXAMPLE, {}).content
    session, in_doubles = open_session(content), make_float64_onnx_run(content)
    exact = make_float64_module_run(module, takes_lengths=False)
    for n in (*range(1, 40), 64, 257, 1000):
        tokens = torch.randint(2, 30, (2, n), generator=torch.Generator().manual_seed(n))
        given = session.run(None, {"tokens": tokens.numpy()})[0]
        np.testing.assert_allclose(given, module(tokens).detach().numpy(), rtol=2e-5, atol=1e-5)
        lengths = np.full(2, n)
        np.testing.assert_allclose(in_doubles(tokens.numpy(), lengths), exact(tokens.numpy(), lengths), rtol=1e-11)


class FromTheEnd(nn.Module):
    """Steps and places counted down, and from below 0 on: onnxruntime cuts such a range out of a table elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.places, self.fc = nn.Embedding(30, 6), nn.Embedding(300, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, e = x.size(1), self.embedding(x)
        backwards = e.index_select(1, torch.arange(n - 1, -1, -1)) + self.places(torch.arange(n - 1, -1, step=-1))
        few = e[:, torch.arange(n - 4, n, 2)].sum(1) + self.places(torch.arange(start=n, end=0, step=-3)).mean(0)
        return self.fc((backwards * torch.arange(1, n + 1)[:, None]).mean(1) + few)


@pytest.mark.slow
def test_a_range_that_ends_or_begins_below_0_is_pytorchs() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = FromTheEnd().eval()
    session = open_session(trace_onnx_graph(module, EXAMPLE, {}).content)
    for n in (2, 3, 4, 5, 64, 257):
        tokens = torch.randint(2, 30, (2, n), generator=torch.Generator().manual_seed(n))
        given = session.run(None, {"tokens": tokens.numpy()})[0]
        np.testing.assert_allclose(given, module(tokens).detach().numpy(), rtol=2e-5, atol=2e-5)
