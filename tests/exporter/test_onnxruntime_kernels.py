"""onnxruntime computes what PyTorch does, at every magnitude of float32, of NaN and infinities, and of no numbers.

Where its own kernels do not, or torch's translations lose digits, the graph is written otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
import torch
from slow_case_sampling import examples, mostly_slow
from torch import Tensor, nn
from torch.nn import functional

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.forms.onnx.onnx_conversion import convert_program
from pocketrnn_export.tracing.module_trace import trace_program
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog

Function = Callable[[Tensor], Tensor]
Pair = tuple[np.ndarray, np.ndarray]

# In the fast suite every third function.
_EACH: Final = 3
_SIZES: Final = np.unique(np.concatenate([np.logspace(-38, 38, 300), np.linspace(0, 110, 441)])).astype(np.float32)
_NUMBERS: Final = np.concatenate([_SIZES, -_SIZES, [0.0, np.inf, -np.inf, np.nan]]).astype(np.float32)
# Functions of single numbers, whose results keep their digits however small they are.
OF_NUMBERS: Final[dict[str, Function]] = {
    "log of sigmoid": lambda x: torch.log(torch.sigmoid(x)),
    "odds": lambda x: (torch.sigmoid(x) / (1 - torch.sigmoid(x))).clamp(max=10),
    "inverse of sigmoid": lambda x: 1 / torch.sigmoid(x.clamp(max=80)),
    "power of sigmoid": lambda x: torch.sigmoid(x) ** 0.3,
    "large factor": lambda x: torch.sigmoid(x) * 1e9,
    "sigmoid above a threshold": lambda x: (torch.sigmoid(x) > 1e-12).float(),
    "whether a sigmoid is something": lambda x: torch.sigmoid(x).bool().float(),
    "sigmoid times a large number that is computed": lambda x: torch.sigmoid(x) * torch.exp(-x.clamp(-80, 80)),
    "sigmoid times factors": lambda x: torch.sigmoid(x) * 50 * 50 * 50 * 50,
    "sigmoid in a product of sums": lambda x: torch.einsum("bi,bi->bi", torch.sigmoid(x), torch.full_like(x, 1e10)),
    "elu over itself": lambda x: functional.elu(x) / x.abs().clamp(min=1e-37, max=1e37),
    "selu over itself": lambda x: functional.selu(x.clamp(max=1e30)) / x.abs().clamp(min=1e-37, max=1e37),
    "celu over itself": lambda x: functional.celu(x, 0.5) / x.abs().clamp(min=1e-37, max=1e37),
    "silu over itself": lambda x: (
        functional.silu(x.clamp(-80, 80)) / functional.silu(x.clamp(-80, 80)).abs().clamp(min=1e-37)
    ),
    "log of glu": lambda x: torch.log(functional.glu(torch.stack([torch.ones_like(x), x], -1), -1).squeeze(-1)),
    "logsigmoid": functional.logsigmoid,
    "softplus": functional.softplus,
    "log of softplus": lambda x: torch.log(functional.softplus(x.clamp(min=-80))),
    "logaddexp": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "logaddexp of equal ones": lambda x: torch.logaddexp(x, x),
    "logaddexp2": lambda x: torch.logaddexp2(x, torch.zeros_like(x)),
    "logsumexp": lambda x: torch.logsumexp(torch.stack([x, torch.zeros_like(x)], -1), -1),
    "erfc": torch.erfc,
    "xlogy": lambda x: torch.xlogy(torch.zeros_like(x), x),
    "xlog1py": lambda x: torch.special.xlog1py(torch.zeros_like(x), x),
    "atan2": lambda x: torch.atan2(x, torch.ones_like(x)) + torch.atan2(-torch.ones_like(x), x),
    "atan2 to the left": lambda x: torch.atan2(x, -torch.ones_like(x)),
    "logit": lambda x: torch.logit(x, 1e-6),
    "heaviside": lambda x: torch.heaviside(x, torch.full_like(x, 0.5)),
    "log1p": torch.log1p,
    "expm1": torch.expm1,
    "exp": torch.exp,
    "log": torch.log,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "softmax": lambda x: torch.softmax(torch.stack([x.clamp(-80, 80), torch.zeros_like(x)], -1), -1)[..., 0],
    "log_softmax": lambda x: torch.log_softmax(torch.stack([x, torch.zeros_like(x)], -1), -1)[..., 0],
    "remainder": lambda x: torch.remainder(x, 3.0),
    "remainder of a negative divisor": lambda x: x % -0.7,
    "remainder by each": lambda x: 3.0 % x,
    "floor division": lambda x: x // 0.1,
    "floor division by a negative": lambda x: torch.div(x, -3.0, rounding_mode="floor"),
    "whole division": lambda x: torch.div(x, 3.0, rounding_mode="trunc"),
    "fmod": lambda x: torch.fmod(x, 3.0),
    "roots by powers": lambda x: x**0.5 + x**-0.5,
    "sign": torch.sign,
    "powers of counts": lambda x: ((x > 0).sum(1, keepdim=True) ** 0.5).type_as(x) + (x > 0).sum(1, keepdim=True) ** 2,
    "powers by tensors": lambda x: torch.sigmoid(x) ** torch.arange(x.shape[1]) + torch.sigmoid(x) ** (x > 0),
    "sign of another": lambda x: torch.copysign(torch.ones_like(x), torch.where(x.isnan(), 1.0, x)),
    "leaky with a mean slope": lambda x: functional.rrelu(x, 0.1, 0.3),
    "clamp": lambda x: x.clamp(-1, 1),
    "clamp from below": lambda x: x.clamp(min=-1) + x.clamp(min=1),
    "clamp from above": lambda x: x.clamp(max=1) + torch.clip(x, max=-1),
    "relu": torch.relu,
    "nan_to_num": torch.nan_to_num,
}
# Functions of rows, in which NaN and infinities stand at every place.
OF_ROWS: Final[dict[str, Function]] = {
    "amax": lambda x: x.amax(1, keepdim=True),
    "amin": lambda x: x.amin(1, keepdim=True),
    "largest": lambda x: x.max(1, keepdim=True).values,
    "place of the largest": lambda x: x.max(1, keepdim=True).indices.float(),
    "argmax": lambda x: x.argmax(1, keepdim=True).float(),
    "argmin": lambda x: x.argmin(1, keepdim=True).float(),
    "topk": lambda x: x.topk(3, 1).values,
    "least of topk": lambda x: x.topk(2, 1, largest=False).values,
    "sort": lambda x: x.sort(1).values,
    "sort down": lambda x: x.sort(1, descending=True).values,
    "median": lambda x: x.median(1, keepdim=True).values,
    "quantile": lambda x: torch.cat([torch.quantile(x, q, dim=1, keepdim=True) for q in (0.3, 0.5, 0.75)], 1),
    "means of windows": lambda x: functional.adaptive_avg_pool1d(x[:, None], 4)[:, 0],
    "as many steps as there are": lambda x: functional.interpolate(x[:, None], size=6, mode="linear")[:, 0],
    "max_pool1d": lambda x: functional.max_pool1d(x[:, None], 2, 1)[:, 0],
    "atan2": lambda x: torch.atan2(x[:, :3], x[:, 3:]),
    "atan2 of zeros": lambda x: torch.atan2(-x.sign() * 0, x.sign() * 0),
    "powers and shifts of whole numbers": lambda x: torch.cat(
        [
            made.float()
            for kind in (torch.int64, torch.int32, torch.uint8)
            for whole in [(x.nan_to_num(0, 9, -9).clamp(-9, 200) * 3).to(kind)]
            for made in (whole**9 % 97, whole**4 % 97, whole << 3, whole >> 2, (whole << 70) + (whole >> 70))
        ],
        1,
    ),
    "clamps of clamps": lambda x: torch.cat(
        [
            x.clamp(max=0.1).clamp(min=0.2),
            torch.relu(x.clamp(-3, -1)),
            torch.relu(x).clamp(max=-1),
            torch.minimum(torch.maximum(x, torch.tensor(2.0)), torch.tensor(1.0)),
        ],
        1,
    ),
    "third norm": lambda x: torch.cat([x.norm(3, 1, True), torch.linalg.vector_norm(x, 2.5, 1, True)], 1),
    "steps at places": lambda x: torch.cat(
        [
            torch.take_along_dim(x, (x > 0).sum(1, keepdim=True).clamp(max=3), 1),
            x[:, :, None].take_along_dim(x.argmax(1)[:, None, None], dim=1)[:, 0],
            torch.take_along_dim(x[:, None], x[:, :, None].argmax(1, keepdim=True) % torch.ones(6, 1).long(), 2)[:, 0],
        ],
        1,
    ),
    "largest that are put together": lambda x: torch.zeros_like(x).scatter_reduce(
        1, torch.tensor([[0, 1, 0, 2, 5, 5]]).expand(len(x), -1), x, "amax", include_self=False
    ),
    "means that are put together": lambda x: torch.cat(
        [
            x.nan_to_num(0, 9, -9).scatter_reduce(
                1, torch.tensor([[0, 1, 0, 2, 5]]).expand(len(x), -1), x.nan_to_num(7, 8, 9), "mean", include_self=own
            )
            for own in (True, False)
        ],
        1,
    ),
    "diagonals": lambda x: torch.cat(
        [torch.diagonal(x[:, :, None] * x[:, None, :4].sign(), k, 1, 2) for k in (0, 2, -3)]
        + [(x[:, None, :, None] * x[:, :3, None, None]).diagonal(1, 2, 1)[..., 0]],
        1,
    ),
    "attention by one query": lambda x: functional.multi_head_attention_forward(
        x[:, None].nan_to_num(0, 1, -1)[:1],
        *[x[:, None].nan_to_num(0, 1, -1)] * 2,
        6,
        2,
        torch.eye(6).repeat(3, 1),
        torch.zeros(18),
        None,
        None,
        False,
        0.0,
        torch.eye(6),
        torch.zeros(6),
        training=False,
    )[0][0].expand(len(x), -1),
    "attention to nothing": lambda x: functional.scaled_dot_product_attention(
        *[x.nan_to_num(0, 1, -1)[:, :, None]] * 3, attn_mask=((x > 0) & (x[:, :1] > 0))[:, None]
    )[..., 0],
    "largest of truths": lambda x: torch.cat([one.float() for one in (x > 0).max(1, keepdim=True)], 1),
    "places among others": lambda x: torch.searchsorted(torch.tensor([-1.5, 0.0, 2.5]), x, right=True).float(),
    "variance of nothing": lambda x: x[:, x.shape[1] - x.shape[1] :].var(1, unbiased=False, keepdim=True),
    "nearest steps": lambda x: functional.interpolate(x[:, None], size=4)[:, 0],
    "filled": lambda x: torch.nan_to_num(x.amin(1, keepdim=True), nan=-1.0),
    "mean": lambda x: x.mean(1, keepdim=True),
    "any": lambda x: (x > 0).any(1, keepdim=True).float(),
}


# Functions of numbers of double precision and of 0.57, which float32 does not hold.
OF_DOUBLES: Final[dict[str, Function]] = {
    "product": lambda x: x * 0.57,
    "difference": lambda x: 0.57 - x,
    "quotient": lambda x: 0.57 / (x.abs() + 1) + x / 0.57,
    "remainder": lambda x: torch.remainder(x, 0.57),
    "clamped": lambda x: x.clamp(-0.13, 0.57),
    "chosen": lambda x: torch.where(x > 0, x, 0.57),
    "filled": lambda x: x.masked_fill(x > 0, 0.57) + torch.full((len(x), 1), 0.57, dtype=torch.float64),
    "full as others": lambda x: torch.full_like(x, 0.57),
    "norm": lambda x: x.norm(3, 1, keepdim=True).expand_as(x) + x.norm(1.5, 1, keepdim=True),
    "equal": lambda x: (x * 0 + torch.tensor(0.57, dtype=torch.float64) == 0.57).double(),
    "product of two": lambda x: torch.addcmul(x, x, x, value=0.57),
    "quotient of two": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.57),
    "logarithms": lambda x: torch.log2(x.abs() + 0.57) + torch.log10(x.abs() + 0.57),
    "share of a count": lambda x: (x.abs() * 100).long() * torch.tensor(0.57, dtype=torch.float64),
}


def in_two_parts(function: Function) -> Function:
    """The part of a float64 result that float32 holds, and the rest."""

    def parts(x: Tensor) -> Tensor:
        given = function(x.double())
        return torch.cat([given.float(), ((given - given.float().double()) * 2.0**24).float()], 1)

    return parts


class OfTable(nn.Module):
    """Functions of the rows of a table, side by side."""

    def __init__(self, functions: dict[str, Function], table: np.ndarray) -> None:
        super().__init__()
        self.functions = list(functions.values())
        self.table = nn.Embedding.from_pretrained(torch.from_numpy(table))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.table(x)[:, 0]
        return torch.cat([function(rows) for function in self.functions], 1)


def in_both(functions: dict[str, Function], table: np.ndarray) -> dict[str, Pair]:
    """By function what PyTorch gives of the rows of a table, and what onnxruntime does."""
    module = OfTable(functions, table).eval()
    ids = torch.arange(len(table))[:, None].repeat(1, 2)
    traced = trace_program(module, (ids,), None, TraceLog(), one_text=False, cut_counted=True)
    session = open_session(convert_program(traced, {}, ("tokens",)).content)
    given = session.run(None, {"tokens": ids.numpy()})[0]
    expected = [function(torch.from_numpy(table)).numpy() for function in functions.values()]
    ends = np.cumsum([one.shape[1] for one in expected])[:-1]
    return dict(zip(functions, zip(expected, np.split(given, ends, axis=1), strict=True), strict=True))


def tried(functions: dict[str, Function]) -> dict[str, Function]:
    """Those that are tested: each is a part of one graph, whose trace takes the time."""
    return dict(itertools.islice(functions.items(), 0, None, examples(_EACH, 1)))


@pytest.fixture(scope="module")
def of_numbers() -> dict[str, Pair]:
    width = 12
    padded = np.concatenate([_NUMBERS, np.ones(-len(_NUMBERS) % width, np.float32)])
    return in_both(tried(OF_NUMBERS), padded.reshape(-1, width))


@pytest.fixture(scope="module")
def of_rows() -> dict[str, Pair]:
    strange = [np.nan, np.inf, -np.inf, 0.0, 2.5, -1.5]
    drawn = np.random.default_rng(3).choice(strange, (60, 6), p=[0.1, 0.1, 0.1, 0.1, 0.3, 0.3])
    return in_both(tried(OF_ROWS), drawn.astype(np.float32))


def assert_alike(expected: np.ndarray, given: np.ndarray) -> None:
    """Equal within a few steps of float32, whatever their size; below its normal numbers within one of the largest."""
    np.testing.assert_array_equal(np.isnan(given), np.isnan(expected))
    there = ~np.isnan(expected)
    np.testing.assert_allclose(given[there], expected[there], rtol=2e-5, atol=1e-42)


@pytest.mark.parametrize("name", mostly_slow(list(OF_NUMBERS), _EACH))
def test_a_function_keeps_its_digits(name: str, of_numbers: dict[str, Pair]) -> None:
    assert_alike(*of_numbers[name])


@pytest.mark.parametrize("name", mostly_slow(list(OF_ROWS), _EACH))
def test_nan_is_what_it_is_in_pytorch(name: str, of_rows: dict[str, Pair]) -> None:
    expected, given = of_rows[name]
    np.testing.assert_allclose(given, expected, rtol=1e-6)


@pytest.mark.slow
def test_numbers_in_double_precision_keep_their_digits() -> None:
    table = np.random.default_rng(5).normal(size=(40, 5)).astype(np.float32) * 2
    for name, both in in_both({name: in_two_parts(one) for name, one in OF_DOUBLES.items()}, table).items():
        (whole, rest), (given, left) = (np.split(one.astype(np.float64), 2, axis=1) for one in both)
        np.testing.assert_allclose(given + left / 2**24, whole + rest / 2**24, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("width", mostly_slow([1, 3, 16], 3, first=1))
def test_logarithms_of_powers_are_whole(width: int) -> None:
    powers = {"log2": np.float32(2.0) ** np.arange(-30, 60), "log10": np.float32([10.0**k for k in range(-30, 37)])}
    for name, numbers in powers.items():
        function = getattr(torch, name)
        table = np.repeat(numbers.astype(np.float32)[:, None], width, 1)
        both = {"single": function, "double": lambda x, log=function: log(x.double()).float()}
        for expected, given in in_both(both, table).values():
            np.testing.assert_array_equal(np.floor(given), np.floor(expected), err_msg=name)


@pytest.mark.parametrize(
    ("function", "number"),
    [
        pytest.param(lambda x: functional.leaky_relu(x, 0.57), "0.57", marks=pytest.mark.slow),
        (lambda x: torch.add(x, x.sin(), alpha=0.57), "0.57"),
    ],
)
def test_a_number_that_would_be_rounded_beside_doubles_is_refused(function: Function, number: str) -> None:
    with pytest.raises(ExportError, match=rf"{number} .*test_onnxruntime_kernels\.py"):
        in_both({"function": lambda x: function(x.double()).float()}, np.ones((4, 5), np.float32))
