"""Nothing that is made from a module changes it, and a bundle answers as the module that was given."""

from __future__ import annotations

import contextlib
import copy
import random
import types
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import changing_modules
import numpy as np
import pytest
import torch
from changing_modules import KINDS, Base, BatchNorm, Counter, CountsInItsFile, LazyBuffer, NoGradLeft, of_numbers
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.errors import ExportError
from pocketrnn_export import bundle_export, export
from pocketrnn_export.checking.check import check
from pocketrnn_export.numbers import number_export

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = ["<pad>", "<unk>", *(f"w{i}" for i in range(10))]
LABELS = ["a", "b", "c"]


def made(kind: type[Base], *, training: bool = True) -> Base:
    torch.manual_seed(3)
    # The weight that weight_norm computes can be copied only if it was made without gradients.
    with torch.no_grad() if issubclass(kind, changing_modules.OldWeightNorm) else contextlib.nullcontext():
        return kind().train(training)


def find_differences(one: Any, other: Any, at: str, known: set[tuple[int, int]]) -> list[str]:
    """Where two objects differ: in tensors and what is recorded for them, attributes, lists, hooks or flags."""
    if (id(one), id(other)) in known or isinstance(one, type | types.ModuleType | types.FunctionType):
        return []
    known.add((id(one), id(other)))
    if type(one).__qualname__ != type(other).__qualname__:
        return [f"{at} is {type(other).__qualname__}"]
    if isinstance(one, Tensor):
        same = one.dtype == other.dtype and one.requires_grad == other.requires_grad and torch.equal(one, other)
        return [] if same else [at]
    if isinstance(one, np.ndarray):
        return [] if np.array_equal(one, other) else [at]
    if isinstance(one, nn.Module | types.SimpleNamespace):
        one, other = vars(one), vars(other)
    if isinstance(one, dict):
        if {str(key) for key in one} != {str(key) for key in other}:
            return [f"{at} has {list(other)}"]
        pairs = [(key, one[key], other[key]) for key in one]
    elif isinstance(one, list | tuple | deque):
        if len(one) != len(other):
            return [f"{at} has {len(other)} items"]
        pairs = [(number, *both) for number, both in enumerate(zip(one, other, strict=True))]
    else:
        return [at] if isinstance(one, int | float | str) and one != other else []
    return [found for key, a, b in pairs for found in find_differences(a, b, f"{at}.{key}", known)]


def read_process_state() -> dict[str, Any]:
    """All that forward can change outside of a module."""
    return {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "random": random.getstate(),
        "dtype": str(torch.get_default_dtype()),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "calls": list(changing_modules.CALLS),
        "settings": dict(changing_modules.SETTINGS),
    }


@contextlib.contextmanager
def nothing_changes(module: nn.Module) -> Any:
    """Give a copy of the module; afterwards, the module and the process must be as before."""
    before, state = copy.deepcopy(module), read_process_state()
    yield before
    assert not find_differences(state, read_process_state(), "process", set())
    assert not find_differences(before, module, "module", set())


def assert_answers_as(before: nn.Module, path: Path, *, numbers: bool) -> None:
    classifier, drawn = Classifier.load(path), np.random.default_rng(0)
    before.eval()
    for steps in (1, 2, 5, 40):
        given: Any = drawn.normal(size=(steps, 6)).astype(np.float32) if numbers else drawn.integers(2, 12, steps)
        with torch.no_grad():
            expected = copy.deepcopy(before)(torch.from_numpy(given)[None])[0].numpy()
        found = classifier.logits([given if numbers else " ".join(WORDS[i] for i in given)])[0]
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("training", mostly_slow([True, False], every=2))
@pytest.mark.parametrize("kind", mostly_slow(KINDS, every=len(KINDS)))
def test_an_export_of_texts(kind: type[Base], training: bool, tmp_path: Path) -> None:
    if issubclass(kind, changing_modules.NoGradLeft) and torch.__version__ < "2.13":
        pytest.skip("torch 2.8 cannot decompose a program that freezes a weight, and the export refuses it")
    module = made(kind, training=training)
    with nothing_changes(module) as before:
        export(module, tmp_path / "b", labels=LABELS, vocabulary=WORDS, progress=False)
    assert_answers_as(before, tmp_path / "b", numbers=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([one for one in KINDS if one.__name__ != "MaxNorm"], 21, first=18))
def test_an_export_of_numbers(kind: type[Base], tmp_path: Path) -> None:
    module = made(of_numbers(kind))
    with nothing_changes(module) as before:
        export(module, tmp_path / "b", labels=LABELS, channels=6, progress=False)
    assert_answers_as(before, tmp_path / "b", numbers=True)


class OfTags(BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        changing_modules.CALLS.append(len(x))
        return self.fc(self.lstm(self.embed(x))[0])


class OfTwoTexts(BatchNorm):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        changing_modules.CALLS.append(len(first))
        return super().forward(first) - super().forward(second)


class OfHeads(BatchNorm):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        changing_modules.CALLS.append(len(x))
        out = super().forward(x)
        return {"mood": out, "topic": out[:, :2] - out[:, 1:]}


class OfFeatures(BatchNorm):
    def forward(self, x: Tensor, price: Tensor) -> Tensor:
        changing_modules.CALLS.append(len(x))
        return super().forward(x) + price[:, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param(OfTags, {"labels": LABELS, "labels_of": "tokens"}, marks=pytest.mark.slow),
        pytest.param(OfTwoTexts, {"labels": LABELS, "two_texts": True}, marks=pytest.mark.slow),
        pytest.param(OfHeads, {"heads": {"mood": LABELS, "topic": ["d", "e"]}}, marks=pytest.mark.slow),
        pytest.param(OfFeatures, {"labels": LABELS, "features": ["price"]}, marks=pytest.mark.slow),
        pytest.param(BatchNorm, {"labels": LABELS, "one_text": True}, marks=pytest.mark.slow),
        (CountsInItsFile, {"labels": LABELS, "call": "module(tokens)", "streaming": True}),
    ],
)
def test_other_ways_to_export(kind: type[Base], options: dict[str, Any], tmp_path: Path) -> None:
    module = made(kind)
    with nothing_changes(module):
        export(module, tmp_path / "b", vocabulary=WORDS, progress=False, **options)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(BatchNorm, marks=pytest.mark.slow),
        pytest.param(Counter, marks=pytest.mark.slow),
        CountsInItsFile,
        LazyBuffer,
        NoGradLeft,
    ],
)
def test_a_check(kind: type[Base], tmp_path: Path) -> None:
    module, given = made(kind), torch.ones(2, 5, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(made(kind, training=False), given, check_trace=False).save(tmp_path / "theirs.pt")
    changing_modules.CALLS.clear()
    with nothing_changes(module):
        assert check(module, tmp_path / "theirs.pt", progress=False).kind != "not comparable"


class Tally:
    calls = 0
    sizes: list[int] = []  # noqa: RUF012 - what a user writes


class CountsInAClass(Base):
    def forward(self, x: Tensor) -> Tensor:
        Tally.calls += 1
        Tally.sizes.append(len(x))
        return super().forward(x)


@pytest.mark.slow
def test_a_class_that_forward_writes_to(tmp_path: Path) -> None:
    export(made(CountsInAClass), tmp_path / "b", labels=LABELS, vocabulary=WORDS, progress=False)
    assert (Tally.calls, Tally.sizes) == (0, [])


class Refused(CountsInItsFile):
    def forward(self, x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return super().forward(x) + torch.rand(1)


def test_a_refusal(tmp_path: Path) -> None:
    module = made(Refused)
    with nothing_changes(module), pytest.raises(ExportError):
        export(module, tmp_path / "b", labels=LABELS, vocabulary=WORDS, progress=False)


class StaysInTraining(BatchNorm):
    """A batch norm that takes the statistics of the batch after eval(), too."""

    def train(self, mode: bool = True) -> StaysInTraining:
        super().train(mode)
        self.norm.train()
        return self


class AlwaysDraws(Base):
    """Dropout that draws after eval(), too."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def eval(self) -> AlwaysDraws:
        super().eval()
        self.drop.train()
        return self

    def embed(self, x: Tensor) -> Tensor:
        return self.drop(super().embed(x))


@pytest.mark.parametrize(
    ("kind", "numbers"),
    mostly_slow(
        [(StaysInTraining, False), (AlwaysDraws, True), (StaysInTraining, True), (AlwaysDraws, False)], 3, several=True
    ),
)
def test_a_layer_that_eval_leaves_in_training_mode(kind: type[Base], numbers: bool, tmp_path: Path) -> None:
    how: dict[str, Any] = {"channels": 6} if numbers else {"vocabulary": WORDS}
    module = made(of_numbers(kind) if numbers else kind)
    with nothing_changes(module), pytest.raises(ExportError, match=r"other answers|differently beside"):
        export(module, tmp_path / "b", labels=LABELS, progress=False, **how)


class TrainsOtherwise(BatchNorm):
    """`train` that fits the module."""

    def train(self, data: Any = None) -> None:  # type: ignore[override]
        self.fitted = data


@pytest.mark.slow
def test_a_module_with_another_train(tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = TrainsOtherwise()
    module.fitted, before = None, copy.deepcopy(module)
    export(module, tmp_path / "b", labels=LABELS, vocabulary=WORDS, progress=False)
    for layer in before.modules():
        layer.training = False
    assert_answers_as(before, tmp_path / "b", numbers=False)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [False, True])
def test_a_module_made_in_inference_mode(numbers: bool, tmp_path: Path) -> None:
    with torch.inference_mode():
        module = made(of_numbers(BatchNorm) if numbers else BatchNorm, training=False)
    how: dict[str, Any] = {"channels": 6} if numbers else {"vocabulary": WORDS}
    export(module, tmp_path / "b", labels=LABELS, progress=False, **how)
    assert_answers_as(module, tmp_path / "b", numbers=numbers)


@pytest.mark.slow
@pytest.mark.parametrize(("numbers", "where"), [(False, bundle_export), (True, number_export)])
def test_a_run_that_undoes_nothing_changes_no_answer(
    numbers: bool, where: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare: Callable[..., Any] = where.prepare_module

    def run_and_undo_nothing(module: Base, **options: Any) -> Any:
        module.train()
        module.norm(torch.randn(4, 6, 3) + 50)
        module.extra, module.fc.weight.requires_grad = 1, False
        return prepare(module, **options)

    monkeypatch.setattr(where, "prepare_module", run_and_undo_nothing)
    module = made(of_numbers(BatchNorm) if numbers else BatchNorm, training=False)
    how: dict[str, Any] = {"channels": 6} if numbers else {"vocabulary": WORDS}
    with nothing_changes(module) as before:
        export(module, tmp_path / "b", labels=LABELS, progress=False, **how)
    assert_answers_as(before, tmp_path / "b", numbers=numbers)
