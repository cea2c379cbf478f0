"""Classifiers of two texts as people write them, small."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS: Final = 24
CLASSES: Final = 3


class Siamese(nn.Module):
    """One encoder for both: the last states, their difference and product."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 5, padding_idx=0)
        self.lstm = nn.LSTM(5, 4, batch_first=True)
        self.fc = nn.Linear(16, CLASSES)

    def encoded(self, x: Tensor) -> Tensor:
        last: Tensor = self.lstm(self.embedding(x))[1][0][-1]
        return last

    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        u, v = self.encoded(premise), self.encoded(hypothesis)
        logits: Tensor = self.fc(torch.cat([u, v, (u - v).abs(), u * v], dim=1))
        return logits


class InTime(Siamese):
    """Time goes first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 4)


class InOneTuple(Siamese):
    def forward(self, batch: Any) -> Tensor:  # type: ignore[override]
        a, b = batch
        return super().forward(a, b)


class Packed(nn.Module):
    """Lengths of both, each behind its text."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 5, padding_idx=0)
        self.gru = nn.GRU(5, 4, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(16, CLASSES)

    def encoded(self, x: Tensor, lengths: Any) -> Tensor:
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        return torch.cat(list(self.gru(packed)[1]), dim=1)

    def forward(self, q1: Tensor, q1_len: Tensor, q2: Tensor, q2_len: Tensor) -> Tensor:
        logits: Tensor = self.fc(torch.cat([self.encoded(q1, q1_len), self.encoded(q2, q2_len)], dim=1))
        return logits


class PackedBehind(Packed):
    """Both lengths behind both texts; the other label is what the second text says of the first."""

    def forward(self, a: Tensor, b: Tensor, a_lengths: Tensor, b_lengths: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(a, a_lengths, b, b_lengths)


class OfPairs(Packed):
    """InferSent's way: two tuples of a text, time first, and its lengths; the rows are sorted, and put back."""

    def pooled(self, both: Any) -> Tensor:
        x, lengths = both
        ordered, order = torch.sort(lengths, descending=True)
        packed = pack_padded_sequence(self.embedding(x.t())[order], ordered, batch_first=True)
        steps = pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0]
        steps = steps.masked_fill(steps == 0, -1e9)
        back: Tensor = steps.amax(1)[torch.argsort(order)]
        return back

    def forward(self, s1: Any, s2: Any) -> Tensor:  # type: ignore[override]
        logits: Tensor = self.fc(torch.cat([self.pooled(s1), self.pooled(s2)], dim=1))
        return logits


class Attending(nn.Module):
    """ESIM, small: each word is aligned with the other text's, whose padding is found by its id."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 5, padding_idx=0)
        self.first = nn.LSTM(5, 3, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(24, 3, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, *inputs: Tensor) -> Tensor:
        a, b = inputs[0], inputs[1]
        u, v = self.first(self.embedding(a))[0], self.first(self.embedding(b))[0]
        scores = u @ v.transpose(1, 2)
        of_a = scores.masked_fill((b == 0)[:, None], -1e7).softmax(2) @ v
        of_b = scores.masked_fill((a == 0)[:, :, None], -1e7).softmax(1).transpose(1, 2) @ u
        found = []
        for x, y in ((u, of_a), (v, of_b)):
            found.append(self.second(torch.cat([x, y, x - y, x * y], dim=2))[0].amax(1))
        logits: Tensor = self.fc(torch.cat(found, dim=1))
        return logits


class AsksForLength(Siamese):
    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        hypothesis = hypothesis[:, :20] if hypothesis.size(1) > 20 else hypothesis
        return super().forward(premise, hypothesis)


class OfOneLength(Siamese):
    """The two texts have as many tokens."""

    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        steps = self.lstm(self.embedding(premise))[0] * self.lstm(self.embedding(hypothesis))[0]
        logits: Tensor = self.fc(steps.mean(1).repeat(1, 4))
        return logits


class LooksBeside(Siamese):
    """The answer to a pair depends on the second text of the pair beside it."""

    def encoded(self, x: Tensor) -> Tensor:
        last = super().encoded(x)
        return last - last.mean(0)


class WithMasks(Siamese):
    def forward(self, a: Tensor, b: Tensor, a_mask: Tensor, b_mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(a * a_mask, b * b_mask)


class OfThree(Siamese):
    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(a, torch.cat([b, c], dim=1))


class PaddedToLonger(Siamese):
    """The shorter of the two texts is padded to the longer; which it is, an operation asks."""

    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        width = max(premise.size(1), hypothesis.size(1))
        a, b = (nn.functional.pad(x, (0, width - x.size(1))) for x in (premise, hypothesis))
        steps = self.lstm(self.embedding(a))[0] * self.lstm(self.embedding(b))[0]
        logits: Tensor = self.fc(steps.mean(1).repeat(1, 4))
        return logits


class WithPositions(Siamese):
    """A table of as many positions as words, which ends."""

    def encoded(self, x: Tensor) -> Tensor:
        places = self.embedding(torch.arange(x.size(1)))
        last: Tensor = self.lstm(self.embedding(x) + places)[1][0][-1]
        return last


class Deviation(Siamese):
    """A text of one token has no standard deviation over its steps."""

    def encoded(self, x: Tensor) -> Tensor:
        return self.lstm(self.embedding(x))[0].std(1)


class Windows(Siamese):
    """A convolution over three words."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3)

    def encoded(self, x: Tensor) -> Tensor:
        return self.conv(self.lstm(self.embedding(x))[0].transpose(1, 2)).amax(2)


class Scripted(nn.Module):
    """As TorchScript compiles it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 5, padding_idx=0)
        self.lstm = nn.LSTM(5, 4, batch_first=True)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        u, v = self.lstm(self.embedding(premise))[0][:, -1], self.lstm(self.embedding(hypothesis))[0][:, -1]
        logits: Tensor = self.fc(torch.cat([u, v], dim=1))
        return logits


class Joined(Siamese):
    """Reads one text after the other, and the words of both beside each other."""

    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        joined = self.embedding(torch.cat([premise, hypothesis[:, 1:], hypothesis], dim=1))
        states = self.lstm(joined)[0]
        return self.fc(torch.cat([states[:, -1], states.mean(1), self.encoded(hypothesis), states.amax(1)], dim=1))


class RowByRow(Siamese):
    """The largest state of each text, in a loop over the rows of the batch, each cut at its length."""

    def pooled(self, x: Tensor, lengths: Tensor) -> Tensor:
        states = self.lstm(self.embedding(x))[0]
        return torch.stack([row[:length].max(0).values for row, length in zip(states, lengths, strict=True)])

    def forward(self, a: Tensor, a_lengths: Tensor, b: Tensor, b_lengths: Tensor) -> Tensor:
        u, v = self.pooled(a, a_lengths), self.pooled(b, b_lengths)
        logits: Tensor = self.fc(torch.cat([u, v, (u - v).abs(), u * v], dim=1))
        return logits


class SortedByNumpy(RowByRow):
    """The lengths are arrays, which numpy sorts."""

    def pooled(self, x: Tensor, lengths: Any) -> Tensor:
        order = np.argsort(-lengths)
        states = self.lstm(self.embedding(x[torch.from_numpy(order)]))[0][torch.from_numpy(np.argsort(order))]
        return torch.stack([states[i, :length].max(0).values for i, length in enumerate(list(lengths))])


class OverTheBatch(Siamese):
    """Each pair is compared with the mean of the batch."""

    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        logits = super().forward(premise, hypothesis)
        return logits - logits.mean(0) / 2
