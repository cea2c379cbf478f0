"""Classifiers whose answer holds more than the logits, or other numbers than these, each of which fits the labels."""

from __future__ import annotations

import functools
from collections import UserDict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WORDS, FEATURES, HIDDEN = 40, 8, 6


class Base(nn.Module):
    """Embedding, a recurrent layer, attention over its steps, a linear layer."""

    def __init__(self, classes: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.rnn = nn.GRU(FEATURES, hidden, batch_first=True)
        self.score, self.fc = nn.Linear(hidden, 1), nn.Linear(hidden, classes)

    def steps(self, x: Tensor) -> Tensor:
        return self.rnn(self.embedding(x))[0]

    def attended(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of the steps [batch, hidden], and their weights [batch, sequence]."""
        steps = self.steps(x)
        weights = torch.softmax(self.score(steps).squeeze(2), 1)
        return (steps * weights.unsqueeze(2)).sum(1), weights


# --- numbers whose count follows the number of tokens


class WithWeights(Base):
    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(x)
        return self.fc(mean), weights


class WeightsFirst(Base):
    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(x)
        return weights, self.fc(mean)


class WeightsByName(Base):
    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(x)
        return {"logits": self.fc(mean), "weights": weights}


@dataclass
class Attended:
    logits: Tensor
    weights: Tensor


class WeightsInAField(Base):
    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(x)
        return Attended(self.fc(mean), weights)


class WeightsInside(Base):
    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(x)
        return {"scores": self.fc(mean), "seen": (weights.unsqueeze(1), [weights.t()])}


Named = namedtuple("Named", ["weights", "logits"])


class WeightsInANamedTuple(Base):
    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(x)
        return Named(weights.unsqueeze(2), self.fc(mean))


class ScoresOfSteps(Base):
    """Scores that are not normalized: of both signs, as logits are."""

    def forward(self, x: Tensor) -> Any:
        steps = self.steps(x)
        return self.fc(steps[:, -1]), self.score(steps).squeeze(2)


class FirstWeights(Base):
    """Weights of the first four tokens: as many for every longer text."""

    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(x)
        return self.fc(mean), weights[:, :4]


class FirstWeightsOfMany(Base):
    """Weights of the first six tokens, that differ at the shorter of two lengths only."""

    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(x)
        return self.fc(mean), weights[:, :6]


class HalfOfTheSteps(Base):
    def forward(self, x: Tensor) -> Any:
        pairs = functional.avg_pool1d(self.score(self.steps(x)).transpose(1, 2), 2, 2, ceil_mode=True)
        return self.fc(self.steps(x)[:, -1]), pairs.squeeze(1)


class StepsAlone(Base):
    """One number for each step, and nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.steps(x)).squeeze(2)


class OfAWidth(Base):
    """Answers texts of three tokens only, and gives their weights."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.wide = nn.Linear(3 * HIDDEN, classes)

    def forward(self, x: Tensor) -> Any:
        return self.wide(self.steps(x).reshape(-1, 3 * HIDDEN)), self.attended(x)[1]


class OfOneText(Base):
    """The tokens of one text, without a batch."""

    def forward(self, x: Tensor) -> Any:
        steps = self.rnn(self.embedding(x.view(1, -1)))[0][0]
        weights = torch.softmax(self.score(steps)[:, 0], 0)
        return self.fc(weights @ steps), weights


# --- two heads


class TwoHeads(Base):
    def __init__(self, classes: int, other: int) -> None:
        super().__init__(classes)
        self.other = nn.Linear(HIDDEN, other)

    def forward(self, x: Tensor) -> Any:
        last = self.steps(x)[:, -1]
        return self.other(last), self.fc(last)


class TwoHeadsByName(TwoHeads):
    def forward(self, x: Tensor) -> Any:
        other, own = super().forward(x)
        return {"topic": own, "mood": torch.softmax(other, 1)}


class HeadsInTurn(TwoHeads):
    """The second head reads the first."""

    def __init__(self, classes: int, other: int) -> None:
        super().__init__(classes, other)
        self.fc = nn.Linear(HIDDEN + other, classes)

    def forward(self, x: Tensor) -> Any:
        last = self.steps(x)[:, -1]
        coarse = self.other(last)
        return coarse, self.fc(torch.cat([last, coarse], 1))


class HeadBesideScript(TwoHeads):
    """Its heads are TorchScript, in which no call is seen."""

    def __init__(self, classes: int, other: int) -> None:
        super().__init__(classes, other)
        self.fc, self.other = torch.jit.script(self.fc), torch.jit.script(self.other)


class ValueBeside(TwoHeads):
    """A number for each text beside the logits."""

    def forward(self, x: Tensor) -> Any:
        other, own = super().forward(x)
        return own, other[:, 0]


class EveryTokenBeside(TwoHeads):
    """A head for the labels of each token."""

    def forward(self, x: Tensor) -> Any:
        steps = self.steps(x)
        return self.fc(steps[:, -1]), self.other(steps).masked_fill((x == 1).unsqueeze(2), -1e4)


# --- what is not a second head


class MeansOfWeights(Base):
    """Attention with three heads, of whose weights the mean is given, and that of torch."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.scores, self.fc = nn.Linear(HIDDEN, 3), nn.Linear(3 * HIDDEN, classes)
        self.attention = nn.MultiheadAttention(FEATURES, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        embedded = self.embedding(x)
        attended, inner = self.attention(embedded, embedded, embedded)
        steps = self.rnn(attended)[0]
        weights = torch.softmax(self.scores(steps), 1)
        return self.fc(torch.bmm(weights.transpose(1, 2), steps).flatten(1)), weights.mean(2), inner, steps


class WithState(Base):
    def forward(self, x: Tensor) -> Any:
        steps, state = self.rnn(self.embedding(x))
        return self.fc(steps[:, -1]), state


class WithFeatures(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.dense = nn.Linear(HIDDEN, 10)
        self.fc = nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Any:
        features = torch.relu(self.dense(self.steps(x)[:, -1]))
        return self.fc(features), features


class WithConfidence(Base):
    def forward(self, x: Tensor) -> Any:
        logits = self.fc(self.steps(x)[:, -1])
        return logits, torch.softmax(logits, 1).max(1).values


# --- numbers that are made of the logits, or that the logits are made of


class StateOfThatSize(Base):
    """A state of as many numbers as there are labels; the logits are more."""

    def forward(self, x: Tensor) -> Any:
        steps, state = self.rnn(self.embedding(x))
        return self.fc(steps[:, -1]), state


class EveryTokenBesideAState(Base):
    """A model of the next letter: the letters of all steps in one axis, and the state."""

    def __init__(self, hidden: int) -> None:
        super().__init__(WORDS, hidden)
        self.rnn = nn.GRU(FEATURES, hidden)

    def forward(self, x: Tensor) -> Any:
        steps, state = self.rnn(self.embedding(x))
        return self.fc(steps.reshape(-1, self.rnn.hidden_size)), state


class FeaturesOfThatSize(Base):
    def __init__(self, classes: int, features: int) -> None:
        super().__init__(classes)
        self.dense, self.fc = nn.Linear(HIDDEN, features), nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Any:
        features = self.dense(self.steps(x)[:, -1])
        return {"features": features, "logits": self.fc(torch.relu(features))}


class Best(Base):
    """The three largest of the logits."""

    def forward(self, x: Tensor) -> Any:
        logits = self.fc(self.steps(x)[:, -1])
        return logits, logits.topk(3).values


class Doubt(Base):
    """How sure it is: one number, which with two labels looks like a logit."""

    def forward(self, x: Tensor) -> Any:
        logits = self.fc(self.steps(x)[:, -1])
        return logits, logits.logsumexp(1) - 1.5


class LargestWeights(Base):
    """The three largest scores of the steps."""

    def forward(self, x: Tensor) -> Any:
        steps = self.steps(functional.pad(x, (0, 2), value=3))
        return self.fc(steps[:, -1]), self.score(steps).squeeze(2).topk(3).values


class OfThreeSteps(Base):
    """Cuts and pads every text to three tokens, and gives their weights."""

    def forward(self, x: Tensor) -> Any:
        mean, weights = self.attended(functional.pad(x, (0, 3), value=1)[:, :3])
        return self.fc(mean), weights


class WithLengths(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self.fc(self.steps(x)[:, -1]), 3.5 - lengths.float()


class MeanAndDeviation(Base):
    """Features that are drawn around a mean in training: one of two goes into the logits."""

    def __init__(self, classes: int, features: int) -> None:
        super().__init__(classes)
        self.mean, self.deviation, self.fc = (
            nn.Linear(n, m) for n, m in ((6, features), (6, features), (features, classes))
        )

    def forward(self, x: Tensor) -> Any:
        last = self.steps(x)[:, -1]
        mean = self.mean(last)
        return self.fc(mean), mean, self.deviation(last)


# --- no classifiers


class NextLetter(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.steps(x)[:, -1])


class NextLetterOfAll(Base):
    def forward(self, x: Tensor) -> Any:
        steps = self.steps(x)
        return self.fc(steps.reshape(-1, HIDDEN)).view(len(x), -1, self.fc.out_features)[:, -1], steps


class NextLetterTied(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.back = nn.Linear(HIDDEN, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(self.back(self.steps(x)[:, -1]) @ self.embedding.weight.t(), 1)


class NextLetterOfMore(Base):
    """Knows more ids than there are words."""

    def __init__(self) -> None:
        super().__init__(WORDS + 10)
        self.embedding = nn.Embedding(WORDS + 10, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.steps(x)[:, -1])


class Rating(Base):
    """A number of stars, from 1 to 5."""

    def __init__(self) -> None:
        super().__init__(1)
        with torch.no_grad():
            self.fc.bias.fill_(3.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.steps(x)[:, -1]).squeeze(1)


# --- a second head that lies deeper, or in an object


class Heads(Base):
    """A head of the labels, and one of `more` numbers, as `give` gives them."""

    def __init__(self, classes: int, more: int) -> None:
        super().__init__(classes)
        self.more = nn.Linear(HIDDEN, more)

    def forward(self, x: Tensor) -> Any:
        state = self.steps(x)[:, -1]
        return self.give(self.fc(state), self.more(state))

    def give(self, logits: Tensor, more: Tensor) -> Any:
        raise NotImplementedError


class HeadInAList(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        return {"a": {"b": [logits, (more,)]}}


class HeadInAnObject(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        return [logits, SimpleNamespace(logits=more)]


class HeadInACircle(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        answer = SimpleNamespace(logits=logits)
        answer.all = [answer, {"more": more}]
        return answer


class Slots:
    __slots__ = ("logits", "more", "unset")


class HeadInASlot(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        answer = Slots()
        answer.logits, answer.more = logits, more
        return answer


class HeadOnATensor(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        logits.more = more  # type: ignore[attr-defined]
        return logits


class HeadInADeque(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        return deque([logits, more])


class HeadInAMapping(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        return logits, UserDict(more=more)


# --- a second head that is not looked into


class HeadTooDeep(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        deep: Any = more
        for _ in range(12):
            deep = [deep]
        return logits, deep


class HeadInAGenerator(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        return {"logits": logits, "more": (one for one in [more])}


class HeadInASet(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        return logits, {more}


class HeadInAFunction(Heads):
    def give(self, logits: Tensor, more: Tensor) -> Any:
        return logits, lambda: more


class NoFurtherHead(Heads):
    """Plain values, and the same tensor by another name, are nothing that is left out."""

    def give(self, logits: Tensor, more: Tensor) -> Any:
        del more
        held = SimpleNamespace(names=["a"], kinds={1, 2}, rows=range(10**9), scores=logits)
        return {"logits": logits, "loss": None, "held": held}


# --- answers that code computes when they are asked


@dataclass
class Scores:
    """The tensors that are kept; each class below gives more by its code."""

    scores: Tensor
    prior: Tensor


class ByAProperty(Scores):
    @property
    def logits(self) -> Tensor:
        return self.scores + self.prior


class ByACachedProperty(Scores):
    @functools.cached_property
    def probs(self) -> Tensor:
        return torch.softmax(self.scores + self.prior, 1)


class ByAMethod(Scores):
    def logits(self) -> Tensor:
        return self.scores + self.prior


class Sum:
    def __get__(self, held: Any, kind: Any) -> Any:
        return self if held is None else held.scores + held.prior


class ByADescriptor(Scores):
    total = Sum()


class ByGetattr(Scores):
    def __getattr__(self, name: str) -> Any:
        if name == "calibrated":
            return self.scores + self.prior
        raise AttributeError(name)


class ByGetattribute(Scores):
    def __getattribute__(self, name: str) -> Any:
        held = object.__getattribute__(self, "__dict__")
        return held["scores"] + held["prior"] if name == "final" else object.__getattribute__(self, name)


class ByGetitem(Scores):
    def __getitem__(self, name: str) -> Any:
        return {"adjusted": self.scores + self.prior}[name]


class ByNamesItHolds(Scores):
    def __init__(self, scores: Tensor, prior: Tensor) -> None:
        super().__init__(scores, prior)
        self.made = {"mood": lambda: scores + prior}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.made:
            raise AttributeError(name)
        return self.made[name]()


class ByMissing(dict[str, Tensor]):
    def __missing__(self, name: str) -> Tensor:
        if name != "fused":
            raise KeyError(name)
        return self["scores"] + self["prior"]


class ByATuple(namedtuple("ByATuple", "scores prior")):
    @property
    def logits(self) -> Tensor:
        return self.scores + self.prior


class ByAnUnknownMethod(Scores):
    def combine(self) -> Tensor:
        return self.scores + self.prior


class ByAnUnknownName(Scores):
    def __getattr__(self, name: str) -> Any:
        if name[::-1] != "doom":
            raise AttributeError(name)
        return self.scores + self.prior


class ByIteration(Scores):
    def __iter__(self) -> Iterator[Tensor]:
        yield self.scores + self.prior


class OfTheSame(Scores):
    """Its code computes from the answer alone: it gives no other answer."""

    @property
    def probs(self) -> Tensor:
        return torch.softmax(self.scores, 1)

    @property
    def label(self) -> Tensor:
        return self.scores.argmax(1)

    @property
    def broken(self) -> Tensor:
        raise RuntimeError("no answer")

    @property
    def logits(self) -> Tensor:
        return self.scores

    def to_dict(self) -> dict[str, Tensor]:
        return vars(self)

    def less(self, other: Tensor) -> Tensor:
        return self.scores - other

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.scores, self.prior))


class Computed(Base):
    """An answer of which `kind` gives more by its code than it keeps."""

    def __init__(self, kind: Any, classes: int) -> None:
        super().__init__(classes)
        self.kind = kind
        self.register_buffer("prior", torch.linspace(0, 2, classes))

    def forward(self, x: Tensor) -> Any:
        return self.kind(scores=self.fc(self.steps(x)[:, -1]), prior=self.prior)


class Distribution(Base):
    def forward(self, x: Tensor) -> Any:
        return torch.distributions.Categorical(logits=self.fc(self.steps(x)[:, -1]))
