"""Classifiers with several heads, as people give their outputs."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WORDS, FEATURES, HIDDEN = 40, 8, 6
Named = namedtuple("Named", ["mood_logits", "topic_logits"])


@dataclass
class Fields:
    topic: Tensor
    mood: Tensor


class Base(nn.Module):
    """An embedding, a recurrent layer, a linear layer for each head: topic and mood."""

    def __init__(self, topics: int = 4, moods: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.topic, self.mood = nn.Linear(HIDDEN, topics), nn.Linear(HIDDEN, moods)

    def last(self, x: Tensor) -> Tensor:
        return self.rnn(self.embedding(x))[1][-1]

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self.last(x)
        return self.topic(last), self.mood(last)


class Tuple(Base):
    def forward(self, x: Tensor) -> Any:
        return self.heads(x)


class Dict(Base):
    def forward(self, x: Tensor) -> Any:
        topic, mood = self.heads(x)
        return {"mood": mood, "topic": topic}


class DictOfLogits(Base):
    """Logits and probabilities of each head, and a loss."""

    def forward(self, x: Tensor) -> Any:
        topic, mood = self.heads(x)
        probabilities = {"topic": topic.softmax(1), "mood": mood.softmax(1)}
        return {"loss": topic.sum(), "probs": probabilities, "logits": {"topic": topic, "mood": mood}}


class NamedTuple(Base):
    def forward(self, x: Tensor) -> Any:
        topic, mood = self.heads(x)
        return Named(mood, topic)


class Object(Base):
    def forward(self, x: Tensor) -> Any:
        return Fields(*self.heads(x))


class One(Base):
    """The numbers of both heads in one tensor."""

    def forward(self, x: Tensor) -> Any:
        return torch.cat(self.heads(x), 1)


class Stacked(Base):
    """[batch, heads, labels]."""

    def __init__(self) -> None:
        super().__init__(3, 3)

    def forward(self, x: Tensor) -> Any:
        return torch.stack(self.heads(x), 1)


class StackedFirst(Stacked):
    """[heads, batch, labels], of four heads."""

    def forward(self, x: Tensor) -> Any:
        stacked = super().forward(x)
        return torch.stack([*stacked.unbind(1), *stacked.neg().unbind(1)])


class Squeezed(Base):
    """One number for the second of two labels, without its axis; and probabilities."""

    def __init__(self) -> None:
        super().__init__(4, 1)

    def forward(self, x: Tensor) -> Any:
        topic, mood = self.heads(x)
        return topic.softmax(-1), torch.sigmoid(mood).squeeze()


class InALoop(nn.Module):
    """Each head's softmax at the same line."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Base(4, 3)

    def forward(self, x: Tensor) -> Any:
        last = self.base.last(x)
        return [torch.softmax(head(last), 1) for head in (self.base.topic, self.base.mood)]


class Dependent(Base):
    """The second head reads the probabilities of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.after = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        topic = torch.softmax(self.topic(self.last(x)), 1)
        return topic, torch.softmax(self.after(4 * topic), 1)


class WithTags(Base):
    """A head of the text and one of its tokens."""

    def forward(self, x: Tensor) -> Any:
        steps, last = self.rnn(self.embedding(x))
        return self.topic(last[-1]), self.mood(steps)


class WithFeatures(Base):
    """Beside the heads a third one, and the state."""

    def __init__(self) -> None:
        super().__init__()
        self.tone = nn.Linear(HIDDEN, 5)

    def forward(self, x: Tensor) -> Any:
        last = self.last(x)
        return self.topic(last), self.mood(last), self.tone(last), last


class ByTask(Base):
    """The head is an argument."""

    def forward(self, x: Tensor, task: str) -> Any:
        return getattr(self, task)(self.last(x))


class WithLengths(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        last = self.rnn(packed)[1][-1]
        return {"topic": self.topic(last), "mood": self.mood(last)}
