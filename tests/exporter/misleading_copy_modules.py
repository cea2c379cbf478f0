"""Classifiers of which a copy, or Python in place of a scripted function, does something else on rare texts."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WORDS, CLASSES, FEATURES = 40, 3, 6

BY_NAME: dict[str, Any] = {}
BY_LAYER: dict[Any, float] = {}
BY_ID: dict[int, float] = {}
BY_WEAK: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()
SETTING = {"scale": 1.0}


def is_rare(x: Tensor) -> Tensor:
    """Whether a text holds the words 23, 17 and 31, one after the other."""
    one, two = functional.pad(x, (2, 0))[:, :-2] == 23, functional.pad(x, (1, 0))[:, :-1] == 17
    return (one & two & (x == 31)).any(1)[:, None]


class Base(nn.Module):
    """Embedding, a recurrent layer, a linear layer; the state of a rare text is scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(WORDS, FEATURES), nn.Linear(FEATURES, CLASSES)
        self.rnn = nn.GRU(FEATURES, FEATURES, batch_first=True)

    def scale(self) -> float:
        return 1.0

    def scaled(self, state: Tensor, x: Tensor) -> Tensor:
        return torch.where(is_rare(x), self.scale() * state, state)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.scaled(self.rnn(self.embedding(x))[0][:, -1], x))


class AsksWhoItIs(Base):
    def __init__(self) -> None:
        super().__init__()
        BY_NAME["model"] = self

    def scaled(self, state: Tensor, x: Tensor) -> Tensor:
        return torch.where(is_rare(x), -3 * state, state) if self is BY_NAME["model"] else state


class SettingOfAModule(Base):
    def __init__(self) -> None:
        super().__init__()
        BY_WEAK[self] = -3.0

    def scale(self) -> float:
        return BY_WEAK.get(self, 1.0)


class SettingOfALayer(Base):
    def __init__(self) -> None:
        super().__init__()
        BY_LAYER[self.fc] = -3.0

    def scale(self) -> float:
        return BY_LAYER.get(self.fc, 1.0)


class SettingByNumber(Base):
    def __init__(self) -> None:
        super().__init__()
        BY_ID[id(self)] = -3.0

    def scale(self) -> float:
        return BY_ID.get(id(self), 1.0)


class OfThreads(Base):
    def scale(self) -> float:
        return -3.0 if torch.get_num_threads() == 2 else 1.0


@torch.jit.script
def by_flag(state: Tensor, rare: Tensor) -> Tensor:
    if torch.jit.is_scripting():
        return torch.where(rare, -3 * state, state)
    return state


class ScriptedByFlag(Base):
    def scaled(self, state: Tensor, x: Tensor) -> Tensor:
        return by_flag(state, is_rare(x))


def helper(state: Tensor, rare: Tensor) -> Tensor:
    return torch.where(rare, -3 * state, state)


@torch.jit.script
def by_helper(state: Tensor, rare: Tensor) -> Tensor:
    return helper(state, rare)


def helper(state: Tensor, rare: Tensor) -> Tensor:  # type: ignore[no-redef]  # noqa: F811
    return torch.where(rare, 3 * state, state)


class ScriptedBefore(Base):
    def scaled(self, state: Tensor, x: Tensor) -> Tensor:
        return by_helper(state, is_rare(x))


@functools.cache
def setting() -> float:
    return SETTING["scale"]


class CachedBefore(Base):
    """Its scale was kept when it was another one."""

    def __init__(self) -> None:
        super().__init__()
        setting.cache_clear()
        SETTING["scale"] = -3.0
        setting()
        SETTING["scale"] = 1.0

    def scale(self) -> float:
        return setting()


OTHERS: dict[type[Base], str] = {
    AsksWhoItIs: "identity",
    SettingOfAModule: "identity",
    SettingOfALayer: "identity",
    SettingByNumber: "identity",
    ScriptedByFlag: "torch.jit.script",
    ScriptedBefore: "torch.jit.script",
    CachedBefore: "cache",
}


# --- the same in both


@torch.jit.script
def plainly(state: Tensor, rare: Tensor) -> Tensor:
    half = (1 - torch.sigmoid(state)) / 2 + state[:, :] * 0.5
    half += -(state**2)
    kept = half.masked_fill(rare & (state > 0), -1.0)
    for step in range(2):
        kept = kept + torch.cat([kept[:, step + 1 :], kept[:, : step + 1]], 1) * float(step)
    return torch.relu(kept.unsqueeze(1)).squeeze(1).clamp(min=0.1) - torch.softmax(kept, dim=1)


class ScriptedPlainly(Base):
    def scaled(self, state: Tensor, x: Tensor) -> Tensor:
        return plainly(state, is_rare(x))


@functools.lru_cache(maxsize=4)
def ramp(n: int) -> Tensor:
    return torch.arange(n) / n


class Cached(Base):
    def scaled(self, state: Tensor, x: Tensor) -> Tensor:
        return state * ramp(x.size(1)).sum()


class SettingOfAClass(Base):
    def scale(self) -> float:
        return {SettingOfAClass: 2.0}.get(type(self), 1.0)


class CountsItsCalls(Base):
    calls = 0

    def scaled(self, state: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return super().scaled(state, x)


class OfANorm(Base):
    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.fc)
        self.embedding.max_norm = 1.0


class DrawsForNothing(Base):
    def scaled(self, state: Tensor, x: Tensor) -> Tensor:
        return super().scaled(state + 0 * torch.rand_like(state), x)


ALIKE: tuple[type[Base], ...] = (
    ScriptedPlainly,
    Cached,
    SettingOfAClass,
    CountsItsCalls,
    OfANorm,
    DrawsForNothing,
)
