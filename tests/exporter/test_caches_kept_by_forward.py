"""Caches that forward keeps by a size are exported; none keeps a tensor of a trace, or of another precision."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn_export import export
from pocketrnn_export.module_runs.function_caches import find_cached_functions, use_fresh_caches
from pocketrnn_export.proof.program_runs_and_nodes import make_runnable_program
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes

WORDS = ["<unk>", "<pad>", *(f"w{i}" for i in range(18))]


@functools.lru_cache(maxsize=8)
def ramp_of(n: int) -> Tensor:
    return torch.linspace(0, 1, n)


@functools.cache
def scaled_ramp(n: int, scale: float = 1.0) -> Tensor:
    return torch.arange(n) * 0.1 * scale


@torch.jit.script
def scripted_pool(x: Tensor) -> Tensor:
    if x.size(1) > 9:
        return x.amax(1)
    return x.mean(1)


class Base(nn.Module):
    """Without a recurrent layer, which caches have nothing to do with, and each trace of which takes half a second."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 6)
        self.fc = nn.Linear(6, 2)
        self.ramps: dict[Any, Tensor] = {}

    def ramp(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Any:
        return self.fc((self.embedding(x) * self.ramp(x)[None, :, None]).mean(1))


class InADict(Base):
    def ramp(self, x: Tensor) -> Tensor:
        n = x.size(1)
        if n not in self.ramps:
            self.ramps[n] = torch.arange(n) * 0.1
        return self.ramps[n]


class InADictByAPair(Base):
    def ramp(self, x: Tensor) -> Tensor:
        key = (x.size(1), x.device)
        found = self.ramps.get(key)
        if found is None:
            found = self.ramps[key] = torch.arange(x.size(1)) * 0.1
        return found


class InADictByTrying(Base):
    def ramp(self, x: Tensor) -> Tensor:
        try:
            return self.ramps[x.size(1)]
        except KeyError:
            return self.ramps.setdefault(x.size(1), torch.arange(x.size(1)) * 0.1)


class OfAFunction(Base):
    def ramp(self, x: Tensor) -> Tensor:
        return ramp_of(x.size(1))


class OfAFunctionWithMore(Base):
    def ramp(self, x: Tensor) -> Tensor:
        return scaled_ramp(x.shape[1], scale=2.0)


class OfAMethod(Base):
    @functools.lru_cache(maxsize=4)  # noqa: B019 - as people write it
    def made(self, n: int) -> Tensor:
        return torch.arange(n) * 0.1

    def ramp(self, x: Tensor) -> Tensor:
        return self.made(x.size(1))


class OfAStaticMethod(Base):
    @staticmethod
    @functools.lru_cache(maxsize=4)
    def made(n: int) -> Tensor:
        return torch.arange(n) * 0.1

    def ramp(self, x: Tensor) -> Tensor:
        return self.made(x.size(1))


class OfAClassMethod(OfAStaticMethod):
    @classmethod
    @functools.cache
    def made_of(cls, n: int) -> Tensor:
        return torch.arange(n) * 0.1

    def ramp(self, x: Tensor) -> Tensor:
        return self.made_of(x.size(1))


class OfAnAttribute(Base):
    def __init__(self) -> None:
        super().__init__()
        self.made = functools.lru_cache(self.make)

    def make(self, n: int) -> Tensor:
        return torch.arange(n) * 0.1

    def ramp(self, x: Tensor) -> Tensor:
        return self.made(x.size(1))


class Grows(Base):
    def __init__(self) -> None:
        super().__init__()
        # Numbers that float32 has: what is kept in single precision is no other in double.
        self.kept = torch.arange(40) * 0.125

    def ramp(self, x: Tensor) -> Tensor:
        if x.size(1) > len(self.kept):
            self.kept = torch.arange(x.size(1)) * 0.125
        return self.kept[: x.size(1)]


CACHES = [
    OfAStaticMethod,
    OfAClassMethod,
    InADict,
    OfAFunctionWithMore,
    InADictByAPair,
    InADictByTrying,
    OfAFunction,
    OfAMethod,
    OfAnAttribute,
    Grows,
]


@pytest.mark.parametrize("kind", [OfAStaticMethod, OfAClassMethod, OfAMethod])
def test_the_cache_of_a_method_of_any_kind_is_empty_in_each_run(kind: type[Base]) -> None:
    module = kind()
    ids = torch.zeros(1, 5, dtype=torch.int64)
    kept = module.ramp(ids)
    with use_fresh_caches(find_cached_functions(module)):
        assert module.ramp(ids) is not kept
    assert module.ramp(ids) is kept


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(CACHES, every=8))
def test_a_cache_by_length_is_exported(kind: type[Base], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    export(module, tmp_path / "b", labels=["a", "b"], vocabulary=WORDS, tokenizer="whitespace", torchscript=False)
    classifier = Classifier.load(tmp_path / "b")
    for count in (1, 2, 7, 39, 41, 700):
        ids = torch.randint(2, len(WORDS), (1, count))
        given = torch.from_numpy(classifier.logits([" ".join(WORDS[i] for i in ids[0])]))
        torch.testing.assert_close(given, module(ids).detach(), atol=1e-4, rtol=1e-5)


@pytest.mark.slow
def test_the_owners_caches_keep_what_they_hold(tmp_path: Path) -> None:
    class Kept(OfAMethod):
        scale = 2.0

        @functools.cache  # noqa: B019 - as people write it
        def setting(self) -> float:
            return self.scale

        def ramp(self, x: Tensor) -> Tensor:
            return self.setting() * scaled_ramp(x.size(1))

    module = Kept().eval()
    held = scaled_ramp(3)
    before = module(torch.tensor([[5, 6, 7]]))
    export(module, tmp_path / "b", labels=["a", "b"], vocabulary=WORDS, tokenizer="whitespace", torchscript=False)
    Kept.scale = 1.0
    assert scaled_ramp(3) is held
    torch.testing.assert_close(module(torch.tensor([[5, 6, 7]])), before)


@pytest.mark.parametrize("kind", mostly_slow(CACHES, 8, first=2))
def test_a_trace_asks_no_cache_and_leaves_nothing_in_one(kind: type[Base]) -> None:
    module = kind().eval()
    program = find_program_right_for_all_sizes(module, (torch.full((3, 7), 2),))
    tokens = torch.randint(2, len(WORDS), (2, 11))
    torch.testing.assert_close(torch.from_numpy(make_runnable_program(program).run((tokens,))), module(tokens).detach())


class CountsSteps(Base):
    def forward(self, x: Tensor) -> Any:
        states = self.embedding(x)
        return self.fc(states.sum(1) / len(states.unbind(1)) + states[:, 0] / len(states.split(1, 1)))


class RollsByHalf(Base):
    def forward(self, x: Tensor) -> Any:
        states = self.embedding(x)
        return self.fc((states * torch.roll(states, x.size(1) // 2, 1)).mean(1) + states.roll(-x.size(1) // 3, 1)[:, 0])


class MatchesAnInt(Base):
    def forward(self, x: Tensor) -> Any:
        match x.size(1):
            case 1 | 2:
                scale = 2.0
            case int(n):
                scale = 1 + 1 / n
        return self.fc(self.embedding(x).mean(1) * scale)


class PoolsByAScriptedFunction(Base):
    def forward(self, x: Tensor) -> Any:
        return self.fc(scripted_pool(self.embedding(x)))


@pytest.mark.parametrize("kind", mostly_slow([CountsSteps, RollsByHalf, MatchesAnInt, PoolsByAScriptedFunction], 4))
def test_sizes_counted_rolled_by_matched_and_asked_in_a_script_hold_for_every_length(kind: type[Base]) -> None:
    module = kind().eval()
    program = make_runnable_program(find_program_right_for_all_sizes(module, (torch.full((3, 7), 2),)))
    for count in (1, 2, 3, 9, 10, 50):
        tokens = torch.randint(2, len(WORDS), (2, count))
        torch.testing.assert_close(
            torch.from_numpy(program.run((tokens,))), module(tokens).detach(), atol=1e-5, rtol=1e-5
        )
