"""Classifiers of a text with numbers or categories beside it, as people write them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

WORDS = 30
CLASSES = 3
KINDS = 4
USERS = 6


class Reader(nn.Module):
    """An embedding, a GRU, and a linear layer of its last state and `beside` numbers, which all others have."""

    def __init__(self, beside: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6, padding_idx=0)
        self.rnn = nn.GRU(6, 5, batch_first=True)
        self.fc = nn.Linear(5 + beside, CLASSES)

    def read(self, tokens: Tensor) -> Tensor:
        last: Tensor = self.rnn(self.embedding(tokens))[1][-1]
        return last

    def judged(self, *parts: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.cat(parts, dim=1))
        return logits


class Priced(Reader):
    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        return self.judged(self.read(text), price)


class FlatPrice(Reader):
    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        return self.judged(self.read(text), torch.stack([price], dim=1))


class Packed(Reader):
    """Metadata as a matrix, behind the lengths."""

    def __init__(self) -> None:
        super().__init__(3)

    def forward(self, text: Tensor, text_lengths: Tensor, meta: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(text), text_lengths, batch_first=True, enforce_sorted=False)
        return self.judged(self.rnn(packed)[1][-1], meta)


class Film(Reader):
    def __init__(self) -> None:
        super().__init__(2)
        self.kinds = nn.Embedding(KINDS, 2)

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        return self.judged(self.read(x), self.kinds(kind))


class OneHotKind(Reader):
    def __init__(self) -> None:
        super().__init__(2)
        self.kinds = nn.Linear(KINDS, 2)

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        return self.judged(self.read(x), self.kinds(kind))


class ByNames(Reader):
    """In another order than the features are given."""

    def __init__(self) -> None:
        super().__init__(2 + 2 + 1)
        self.kinds, self.users = nn.Embedding(KINDS, 2), nn.Embedding(USERS, 2)

    def forward(self, user_ids: Tensor, price: Tensor, sentence: Tensor, kind: Tensor) -> Tensor:
        return self.judged(self.read(sentence), self.kinds(kind), self.users(user_ids), price)


class ByOrder(Reader):
    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, text: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self.judged(self.read(text), a, 2 * b)


class InDict(Reader):
    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.judged(self.read(batch["text"]), batch["price"])


class NumbersAndKinds(Reader):
    """A matrix of numbers, and one of categories."""

    def __init__(self) -> None:
        super().__init__(2 + 2)
        self.kinds = nn.Embedding(USERS, 2)

    def forward(self, text: Tensor, numbers: Tensor, ids: Tensor) -> Tensor:
        return self.judged(self.read(text), numbers, self.kinds(ids).mean(1))


class MaybeMeta(Reader):
    """Features that it does without."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, text: Tensor, features: Tensor | None = None) -> Tensor:
        own = self.read(text)
        return self.judged(own, own[:, :2] if features is None else features)


class InTime(nn.Module):
    """Time first, and the category begins the text."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.kinds = nn.Embedding(WORDS, 6), nn.Embedding(KINDS, 6)
        self.lstm = nn.LSTM(6, 5)
        self.fc = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor, kind: Tensor) -> Tensor:
        steps = torch.cat([self.kinds(kind)[None], self.embedding(x)])
        logits: Tensor = self.fc(self.lstm(steps)[0][-1])
        return logits


# --- what cannot be exported


class MeanOfBatch(Reader):
    """The numbers are compared with their mean over the batch."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        return self.judged(self.read(text), price - price.mean(0))


class RolledPrices(Reader):
    """A text is given the price of its neighbour where that is high."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        return self.judged(self.read(text), torch.where(price.roll(1, 0) > 1e6, price.roll(1, 0), price))


class BranchOnPrice(Reader):
    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        if bool((price > 50).any()):
            price = price * 0
        return self.judged(self.read(text), price)


class OfTokens(nn.Module):
    """Numbers of each token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.rnn = nn.GRU(8, 5, batch_first=True)
        self.fc = nn.Linear(5, CLASSES)

    def forward(self, text: Tensor, extra: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.rnn(torch.cat([self.embedding(text), extra], dim=2))[1][-1])
        return logits


class Deaf(Reader):
    """It reads no price."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        return self.judged(self.read(text), price * 0)


class Blind(Reader):
    """It reads no text."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        return self.judged(self.read(text) * 0, price)


class RootOfPrice(Reader):
    """A negative price has no answer."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        return self.judged(self.read(text), price.sqrt())


class HourOfDay(Reader):
    """A number that is the row of a table."""

    def __init__(self) -> None:
        super().__init__(2)
        self.hours = nn.Embedding(24, 2)

    def forward(self, text: Tensor, hour: Tensor) -> Tensor:
        return self.judged(self.read(text), self.hours(hour.long().flatten()))


class PricePerStar(Reader):
    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, numbers: Tensor) -> Tensor:
        return self.judged(self.read(text), (numbers[:, :1].long() // numbers[:, 1:].long()).float())


class CutAtNineTokens(Reader):
    """A large price is cut in texts of 9 tokens."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        if text.size(1) == 9:
            price = price.clamp(max=2_500.0)
        return self.judged(self.read(text), price / 1_000)


class InMeta(Reader):
    """Numbers and a category in a dict beside the text."""

    def __init__(self) -> None:
        super().__init__(3)
        self.kinds = nn.Embedding(KINDS, 2)

    def forward(self, text: Tensor, meta: dict[str, Tensor]) -> Tensor:
        return self.judged(self.read(text), meta["price"].unsqueeze(1), self.kinds(meta["kind"]))


class Clipped(Reader):
    """It writes into the numbers that it is given."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, text: Tensor, numbers: Tensor) -> Tensor:
        numbers.clamp_(min=-3)
        numbers[numbers > 3] = 3
        return self.judged(self.read(text), numbers)


class Angle(Reader):
    """The angle is a sum with pi, which float32 does not hold."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, text: Tensor, price: Tensor) -> Tensor:
        return self.judged(self.read(text), torch.atan2(price, -torch.ones_like(price)))


class OneTensor(Reader):
    """The number is the first column of the ids."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.judged(self.read(x[:, 1:].long()), x[:, :1])


class Experts(Reader):
    """A layer for each category, of the rows that have it."""

    def __init__(self) -> None:
        super().__init__(0)
        self.experts = nn.ModuleList(nn.Linear(5, CLASSES) for _ in range(KINDS))

    def forward(self, text: Tensor, kind: Tensor) -> Tensor:
        hidden = self.read(text)
        out = torch.zeros(len(text), CLASSES)
        for i, expert in enumerate(self.experts):
            out[kind == i] = expert(hidden[kind == i])
        return out


class ChosenExperts(Experts):
    """The same by a choice for each row."""

    def forward(self, text: Tensor, kind: Tensor) -> Tensor:
        hidden = self.read(text)
        out = torch.zeros(len(text), CLASSES)
        for i, expert in enumerate(self.experts):
            out = torch.where((kind == i)[:, None], expert(hidden), out)
        return out


class MeanOfLogits(Reader):
    """The answers are compared with their mean over the batch; a category has a row of a table."""

    def __init__(self) -> None:
        super().__init__(1)
        self.kinds = nn.Embedding(KINDS, CLASSES)

    def forward(self, text: Tensor, price: Tensor, kind: Tensor) -> Tensor:
        logits = self.judged(self.read(text), price) + self.kinds(kind)
        return logits - logits.mean(0) / 2


def columns(values: Any) -> Tensor:
    """Numbers as [1, n]."""
    return torch.tensor([values], dtype=torch.float32)
