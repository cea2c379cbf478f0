"""Classifiers that look for the padding among the ids: they count, mask, pack and pool by it, as people write."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

__all__ = ["MODULES", "Reads"]


class Reads(nn.Module):
    """An embedding, a recurrent layer and a last layer; what stands between them is for subclasses."""

    bidirectional, cell, zeros = False, nn.GRU, True

    def __init__(self, pad: int, ids: int) -> None:
        super().__init__()
        self.pad = pad
        self.emb = nn.Embedding(ids, 6, padding_idx=pad if self.zeros else None)
        self.rnn = self.cell(6, 5, batch_first=True, bidirectional=self.bidirectional)
        self.width = 5 * (1 + self.bidirectional)
        self.score = nn.Linear(self.width, 1)
        self.out = nn.Linear(self.width, 3)

    def counted(self, x: Tensor) -> Tensor:
        return (x != self.pad).sum(1).clamp(min=1)

    def packed(self, x: Tensor, lengths: Tensor, **more: Any) -> Any:
        packed = pack_padded_sequence(self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, last = self.rnn(packed)
        return pad_packed_sequence(outputs, batch_first=True, **more)[0], last


class CountMean(Reads):
    def forward(self, x: Tensor) -> Any:
        return self.out(self.packed(x, self.counted(x))[0].mean(1))


class CountMeanBoth(CountMean):
    bidirectional = True


class CountMeanLSTM(CountMean):
    cell = nn.LSTM


class CountMax(Reads):
    def forward(self, x: Tensor) -> Any:
        return self.out(self.packed(x, self.counted(x))[0].max(1)[0])


class CountSoftmax(Reads):
    """Attention over what unpacking gives, its padding too."""

    def forward(self, x: Tensor) -> Any:
        outputs = self.packed(x, self.counted(x))[0]
        weights = self.score(outputs).softmax(1)
        return self.out((weights * outputs).sum(1))


class CountNe(Reads):
    def counted(self, x: Tensor) -> Tensor:
        return x.ne(self.pad).long().sum(dim=1).clamp(min=1)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.packed(x, self.counted(x))[0].mean(1))


class CountGt(CountNe):
    """Right only where the padding is 0."""

    def counted(self, x: Tensor) -> Tensor:
        return x.gt(0).sum(dim=1).clamp(min=1)


class CountSign(CountNe):
    def counted(self, x: Tensor) -> Tensor:
        return torch.sign(x).sum(dim=1).clamp(min=1)


class CountBool(CountNe):
    def counted(self, x: Tensor) -> Tensor:
        return x.bool().sum(-1).clamp(min=1)


class CountOfVectors(CountNe):
    """Counts embedded vectors that are not zero."""

    def counted(self, x: Tensor) -> Tensor:
        return (self.emb(x).abs().sum(2) != 0).sum(1).clamp(min=1)


class CountAboveSpecials(CountNe):
    """Ids up to 3 are special to it."""

    def counted(self, x: Tensor) -> Tensor:
        return (x > 3).sum(1).clamp(min=1)


class CountTwo(CountNe):
    """Neither padding nor the last id counts."""

    def counted(self, x: Tensor) -> Tensor:
        return ((x != self.pad) & (x != self.emb.num_embeddings - 1)).sum(1).clamp(min=1)


class CountLast(Reads):
    """The state at the last real step: right in any batch."""

    def forward(self, x: Tensor) -> Any:
        return self.out(self.packed(x, self.counted(x))[1][-1])


class CountSorted(Reads):
    """Packs without sorting: a batch whose texts do not fall in length is an error."""

    def forward(self, x: Tensor) -> Any:
        packed = pack_padded_sequence(self.emb(x), self.counted(x), batch_first=True)
        return self.out(self.rnn(packed)[1][-1])


class SortsItself(Reads):
    def forward(self, x: Tensor) -> Any:
        lengths, order = self.counted(x).sort(descending=True)
        packed = pack_padded_sequence(self.emb(x[order]), lengths, batch_first=True)
        outputs, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.out(outputs.mean(1)[order.argsort()])


class SortsLast(Reads):
    def forward(self, x: Tensor) -> Any:
        lengths, order = self.counted(x).sort(descending=True)
        packed = pack_padded_sequence(self.emb(x[order]), lengths, batch_first=True)
        return self.out(self.rnn(packed)[1][-1][order.argsort()])


class CutsToLongest(Reads):
    """Cuts the batch to its longest text before it pools all of it."""

    def forward(self, x: Tensor) -> Any:
        x = x[:, : int(self.counted(x).max())]
        return self.out(self.rnn(self.emb(x))[0].mean(1))


class CutsAndTakesTheLast(Reads):
    def forward(self, x: Tensor) -> Any:
        x = x[:, : self.counted(x).max()]
        return self.out(self.rnn(self.emb(x))[0][:, -1])


class TotalLength(Reads):
    """Unpacks to the whole width: right in any batch of one width."""

    def forward(self, x: Tensor) -> Any:
        return self.out(self.packed(x, self.counted(x), total_length=x.size(1))[0].mean(1))


class MaskedMean(Reads):
    def forward(self, x: Tensor) -> Any:
        mask = (x != self.pad).float()[:, :, None]
        return self.out((self.rnn(self.emb(x))[0] * mask).sum(1) / mask.sum(1).clamp(min=1))


class MeanOverLongest(Reads):
    """Divides by the longest count of the batch."""

    def forward(self, x: Tensor) -> Any:
        mask = (x != self.pad).float()[:, :, None]
        return self.out((self.rnn(self.emb(x))[0] * mask).sum(1) / self.counted(x).max())


class MaskedMax(Reads):
    def forward(self, x: Tensor) -> Any:
        outputs = self.rnn(self.emb(x))[0].masked_fill((x == self.pad)[:, :, None], -1e4)
        return self.out(outputs.max(1)[0])


class MaskedAttention(Reads):
    bidirectional = True

    def forward(self, x: Tensor) -> Any:
        outputs = self.rnn(self.emb(x))[0]
        weights = self.score(outputs).squeeze(2).masked_fill(x == self.pad, -1e9).softmax(1)
        return self.out((weights[:, :, None] * outputs).sum(1))


class PackedAttention(Reads):
    """Packs by its counts, masks by them too."""

    def forward(self, x: Tensor) -> Any:
        lengths = self.counted(x)
        outputs = self.packed(x, lengths)[0]
        past = torch.arange(outputs.size(1))[None] >= lengths[:, None]
        weights = self.score(outputs).squeeze(2).masked_fill(past, -1e9).softmax(1)
        return self.out((weights[:, :, None] * outputs).sum(1))


class AttentionAddsMask(Reads):
    """Subtracts a mask that is too weak to hide the padding."""

    def forward(self, x: Tensor) -> Any:
        outputs = self.packed(x, self.counted(x))[0]
        weights = (self.score(outputs).squeeze(2) - 2.0 * (outputs.abs().sum(2) == 0)).softmax(1)
        return self.out((weights[:, :, None] * outputs).sum(1))


class LastByIndex(Reads):
    def forward(self, x: Tensor) -> Any:
        outputs, last = self.rnn(self.emb(x))[0], self.counted(x) - 1
        return self.out(outputs[torch.arange(x.size(0)), last])


class LoopOverCounts(Reads):
    """A cell by hand, whose state stays where the padding is."""

    def __init__(self, pad: int, ids: int) -> None:
        super().__init__(pad, ids)
        self.step = nn.GRUCell(6, 5)

    def forward(self, x: Tensor) -> Any:
        h = torch.zeros(x.size(0), 5)
        for t in range(x.size(1)):
            new = self.step(self.emb(x[:, t]), h)
            keep = (x[:, t] != self.pad).float()[:, None]
            h = keep * new + (1 - keep) * h
        return self.out(h)


class LoopToLongest(LoopOverCounts):
    """The same loop ends at the longest count of the batch."""

    def forward(self, x: Tensor) -> Any:
        h = torch.zeros(x.size(0), 5)
        for t in range(int(self.counted(x).max())):
            h = self.step(self.emb(x[:, t]), h)
        return self.out(h)


class LengthsBesideMask(Reads):
    """Lengths of its owner for the packing, a mask by ids for the pooling."""

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        outputs = self.packed(x, lengths)[0]
        mask = (x != self.pad)[:, : outputs.size(1), None].float()
        return self.out((outputs * mask).sum(1) / mask.sum(1).clamp(min=1))


class LengthsBesideCountMean(Reads):
    """Packs by the lengths, and divides by the longest count."""

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        outputs = self.packed(x, lengths)[0]
        return self.out(outputs.sum(1) / self.counted(x).max())


class LengthsBesideMax(Reads):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        outputs = self.packed(x, lengths)[0].masked_fill((x == self.pad)[:, :, None], -1e4)
        return self.out(outputs.max(1)[0])


class LengthsMeanOverWidth(Reads):
    """Mean over all that unpacking gives: the padding tells although lengths are given."""

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self.out(self.packed(x, lengths)[0].mean(1))


class LengthsAttentionOverWidth(Reads):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        outputs = self.packed(x, lengths)[0]
        return self.out((self.score(outputs).softmax(1) * outputs).sum(1))


class LengthsPacked(Reads):
    bidirectional, cell = True, nn.LSTM

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        h = self.packed(x, lengths)[1][0]
        return self.out(torch.cat([h[-2], h[-1]], 1))


class LengthsSorted(Reads):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(self.emb(x), lengths, batch_first=True)
        return self.out(self.rnn(packed)[1][-1])


class LengthsAndCountsPacked(Reads):
    """Given lengths are a bound: it packs by the smaller of both."""

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self.out(self.packed(x, torch.minimum(lengths, self.counted(x)))[0].mean(1))


class PlainLast(Reads):
    """Knows nothing of padding; the padding has a vector of zeros."""

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(self.emb(x))[1][-1])


class PlainMean(Reads):
    zeros = False

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(self.emb(x))[0].mean(1))


class PlainMax(Reads):
    bidirectional = True

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(self.emb(x))[0].max(1)[0])


class TimeMajor(Reads):
    """Steps first, counts over them."""

    def __init__(self, pad: int, ids: int) -> None:
        super().__init__(pad, ids)
        self.rnn = nn.LSTM(6, 5)

    def forward(self, x: Tensor) -> Any:
        lengths = (x != self.pad).sum(0).clamp(min=1)
        packed = pack_padded_sequence(self.emb(x), lengths, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.rnn(packed)[0])
        return self.out(outputs.mean(0))


class ConvolvesUnpacked(Reads):
    def __init__(self, pad: int, ids: int) -> None:
        super().__init__(pad, ids)
        self.conv = nn.Conv1d(5, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        outputs = self.packed(x, self.counted(x))[0]
        return self.out(self.conv(outputs.transpose(1, 2)).max(2)[0])


class HalfTheWeight(Reads):
    """Weighs each text by its part of the longest."""

    def forward(self, x: Tensor) -> Any:
        lengths = self.counted(x).float()
        return self.out(self.packed(x, self.counted(x))[1][-1] * (lengths / lengths.max())[:, None])


class AnyPadding(Reads):
    """One text with padding changes a whole batch."""

    def forward(self, x: Tensor) -> Any:
        share = (x == self.pad).float().mean()
        return self.out(self.rnn(self.emb(x))[1][-1] * (1 - share))


MODULES: tuple[type[Reads], ...] = tuple(
    kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Reads) and kind != Reads
)
