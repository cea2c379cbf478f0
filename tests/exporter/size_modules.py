"""Classifiers whose forward asks about sizes: exported right at every length, with a limit of PyTorch's, or refused.

Each takes tokens [batch, sequence], or these and lengths. Its name says what it does.
"""

from __future__ import annotations

import json

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS, CLASSES = 50, 4


class _Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 8)
        self.rnn = nn.GRU(8, 6, batch_first=True, bidirectional=True)
        self.out = nn.Linear(12, CLASSES)

    def last(self, x):
        _, h = self.rnn(self.emb(x))
        return self.out(torch.cat([h[0], h[1]], 1))

    def mean(self, x):
        return self.out(self.rnn(self.emb(x))[0].mean(1))


class FirstTokens(_Embedded):
    def forward(self, x):
        return self.last(x[:, :30])


class LastTokens(_Embedded):
    def forward(self, x):
        return self.last(x[:, -30:])


class FirstTokensOfAnAttribute(_Embedded):
    max_len = 300

    def forward(self, x):
        e = self.emb(x)[:, : self.max_len]
        out, _ = self.rnn(e)
        return self.out(out.sum(1) / out.size(1))


class TimeMajorCut(_Embedded):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 6, bidirectional=True)

    def forward(self, x):
        out, _ = self.rnn(self.emb(x.t()[:30]))
        return self.out(out.mean(0))


class Narrows(_Embedded):
    def forward(self, x):
        return self.mean(x.narrow(1, 0, min(x.size(1), 30)))


class CutsToTheSmaller(_Embedded):
    def forward(self, x):
        n = min(30, x.shape[1])
        return self.mean(self.emb_free(x[:, :n]))

    def emb_free(self, x):
        return x


class HeadAndTail(_Embedded):
    def forward(self, x):
        return self.last(torch.cat([x[:, :10], x[:, -20:]], dim=1))


class HeadAndTailIfLong(_Embedded):
    def forward(self, x):
        if x.size(1) > 30:
            x = torch.cat([x[:, :10], x[:, -20:]], dim=1)
        return self.last(x)


class CutsIfLong(_Embedded):
    def forward(self, x):
        if x.size(1) > 30:
            x = x[:, :30]
        return self.mean(x)


class CutsHiddenOutputs(_Embedded):
    def forward(self, x):
        out, _ = self.rnn(self.emb(x))
        return self.out(out[:, :30].max(dim=1).values)


class AttentionOverACut(_Embedded):
    """A mask that is cut as the tokens are, and a softmax over the width that is left."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(12, 1)

    def forward(self, x):
        mask = (x != 0)[:, :30]
        out, _ = self.rnn(self.emb(x[:, :30]))
        scores = self.score(out).squeeze(2).masked_fill(~mask, -1e4)
        return self.out((out * scores.softmax(1).unsqueeze(2)).sum(1))


class PadsToAWidth(_Embedded):
    def forward(self, x):
        return self.mean(F.pad(x, (0, max(0, 30 - x.size(1)))))


class PadsIfShort(_Embedded):
    def forward(self, x):
        if x.size(1) < 30:
            x = F.pad(x, (0, 30 - x.size(1)))
        return self.mean(x)


class PadsAndCuts(_Embedded):
    def forward(self, x):
        n = x.size(1)
        x = F.pad(x, (0, 30 - n)) if n < 30 else x[:, :30]
        return self.last(x)


class PadsASingleToken(_Embedded):
    """A branch that torch.export does not see, since it takes every size to be 2 or more."""

    def forward(self, x):
        if x.size(1) == 1:
            x = torch.cat([x, x], dim=1)
        return self.mean(x)


class AttendsUnlessOneToken(_Embedded):
    """A text of one token needs no attention, and `squeeze` takes its only step away."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Linear(12, 1)

    def forward(self, x, lengths):
        states = self.rnn(self.emb(x))[0]
        if states.size(1) == 1:
            return self.out(states.squeeze(1) / lengths.unsqueeze(1))
        shares = torch.softmax(self.weight(torch.tanh(states)).squeeze(2), 1).unsqueeze(1)
        return self.out(torch.matmul(shares, states).squeeze(1))


class ClampsLengths(_Embedded):
    def forward(self, x, lengths):
        x = x[:, :30]
        p = pack_padded_sequence(self.emb(x), lengths.clamp(max=30).cpu(), batch_first=True, enforce_sorted=False)
        out, n = pad_packed_sequence(self.rnn(p)[0], batch_first=True)
        return self.out(out.sum(1) / n.unsqueeze(1))


class RangeOfPositionsInACut(_Embedded):
    def __init__(self):
        super().__init__()
        self.pos = nn.Embedding(30, 8)

    def forward(self, x):
        x = x[:, :30]
        out, _ = self.rnn(self.emb(x) + self.pos(torch.arange(x.size(1))))
        return self.out(out.mean(1))


class PositionTableInACut(_Embedded):
    def __init__(self):
        super().__init__()
        self.pos = nn.Parameter(torch.randn(30, 8))

    def forward(self, x):
        x = x[:, :30]
        out, _ = self.rnn(self.emb(x) + self.pos[: x.size(1)])
        return self.out(out.mean(1))


class PositionsClamped(_Embedded):
    def __init__(self):
        super().__init__()
        self.pos = nn.Embedding(30, 8)

    def forward(self, x):
        positions = torch.arange(x.size(1)).clamp(max=29)
        return self.out(self.rnn(self.emb(x) + self.pos(positions))[0].mean(1))


class SqueezesASingleRow(_Embedded):
    def forward(self, x):
        logits = self.last(x)
        if x.size(0) == 1:
            return logits.squeeze(0).unsqueeze(0)
        return logits


class BatchInParts(_Embedded):
    def forward(self, x):
        return torch.cat([self.last(part) for part in x.split(64)])


class SmallAndLargeBatchesAlike(_Embedded):
    def forward(self, x):
        if x.size()[1] * x.size()[0] <= 10000:
            return self.last(x)
        return self.out(torch.cat(list(self.rnn(self.emb(x))[1]), 1))


class MiddleTokens(_Embedded):
    def forward(self, x):
        return self.mean(torch.cat([x[:, :1], x[:, 5:30]], dim=1))


class EverySecondToken(_Embedded):
    def forward(self, x):
        return self.mean(x[:, ::2])


class AllButTheLast(_Embedded):
    def forward(self, x):
        return self.mean(torch.cat([x[:, :-1], x[:, -1:]], dim=1))


class LastTokensBySize(_Embedded):
    def forward(self, x):
        return self.mean(x[:, max(0, x.size(1) - 30) :])


class PositionTable(_Embedded):
    def __init__(self):
        super().__init__()
        self.pos = nn.Parameter(torch.randn(90, 8))

    def forward(self, x):
        return self.out(self.rnn(self.emb(x) + self.pos[: x.size(1)])[0].mean(1))


class PositionEmbedding(_Embedded):
    def __init__(self):
        super().__init__()
        self.pos = nn.Embedding(90, 8)

    def forward(self, x):
        return self.out(self.rnn(self.emb(x) + self.pos(torch.arange(x.size(1))))[0].mean(1))


class AssertsItsLength(_Embedded):
    def forward(self, x):
        assert x.size(1) <= 90, "too long"
        return self.mean(x)


class AssertsItsBatch(_Embedded):
    def forward(self, x):
        if x.shape[0] > 64:
            raise ValueError("at most 64 texts")
        return self.mean(x)


class NeedsThreeTokens(_Embedded):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3)

    def forward(self, x):
        e = self.conv(self.emb(x).transpose(1, 2)).transpose(1, 2)
        return self.out(self.rnn(e)[0].mean(1))


class OtherFormulaIfLong(_Embedded):
    def forward(self, x):
        out, _ = self.rnn(self.emb(x))
        return self.out(out.mean(1) if x.size(1) <= 300 else out.max(1).values)


class OtherFormulaForOneRow(_Embedded):
    def forward(self, x):
        h = self.mean(x)
        return h * 2 if x.size(0) == 1 else h


class OtherFormulaForLargeInput(_Embedded):
    def forward(self, x):
        if x.size()[1] * x.size()[0] <= 10000:
            return self.last(x)
        return self.last(x) * 2


class WindowsOfTime(_Embedded):
    def forward(self, x):
        return torch.stack([self.mean(part) for part in x.split(64, dim=1)]).mean(0)


class OddAndEven(_Embedded):
    def forward(self, x):
        return self.mean(x) if x.size(1) % 2 == 0 else self.last(x)


class LoopOverWindows(_Embedded):
    def forward(self, x):
        parts = [self.mean(x[:, i : i + 50]) for i in range(0, x.size(1), 50)]
        return torch.stack(parts).mean(0)


class SpecialAtSeven(_Embedded):
    def forward(self, x):
        h = self.mean(x)
        return h * 2 if x.size(1) == 7 else h


class PeriodicAndLong(_Embedded):
    """Where the second half is reached, the text is shorter than any that a proof has by itself."""

    def forward(self, x):
        n = x.size(1)
        return self.last(x) if n % 7 == 3 and n > 290 else self.mean(x)


class OneShape(_Embedded):
    def forward(self, x):
        return self.last(x) if x.shape == torch.Size([1, 77]) else self.mean(x)


class QuotientInABranch(_Embedded):
    def forward(self, x):
        n = x.size(1)
        if n > 100 and divmod(n, 90) == (3, 31):
            return self.last(x)
        return self.mean(x)


class ShiftedBits(_Embedded):
    def forward(self, x):
        n = x.size(1)
        return self.last(x) if n >> 3 == 37 or n ^ 5 == 80 else self.mean(x)


class SquareOfALength(_Embedded):
    def forward(self, x):
        return self.last(x) if x.size(1) * x.size(1) == 90_601 else self.mean(x)


class OneOfThreeByRemainder(_Embedded):
    """An index is a plain number, of which there are three."""

    def forward(self, x):
        return (self.mean, self.last, self.twice)[x.size(1) % 3](x)

    def twice(self, x):
        return self.mean(x) * 2


class BranchUnlessTraced(_Embedded):
    def forward(self, x):
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self.mean(x)
        return self.last(x) if x.size(1) == 301 else self.mean(x)


class KindOfASize(_Embedded):
    def forward(self, x):
        n = x.size(1)
        return self.last(x) if type(n) is int and isinstance(n, int) and n > 299 else self.mean(x)


class PrintsItsSize(_Embedded):
    def forward(self, x):
        print(f"{x.shape}, {x.size(1)} tokens")
        return self.mean(x)


class LengthAsText(_Embedded):
    def forward(self, x):
        return self.last(x) if str(x.size(1)) == "301" else self.mean(x)


class LengthAsAKey(_Embedded):
    def forward(self, x):
        try:
            special = {301: True}.get(x.size(1))
        except TypeError:
            special = False
        return self.last(x) if special else self.mean(x)


class LengthByIdentity(_Embedded):
    def forward(self, x):
        n, special = x.size(1), 23
        return self.last(x) if n is special else self.mean(x)


class ValueUnlessTraced(_Embedded):
    def forward(self, x):
        if not torch.compiler.is_compiling() and bool((x[:, 0] == 39).all()):
            return self.last(x)
        return self.mean(x)


class RaisesItsSizeAndCatches(_Embedded):
    def forward(self, x):
        try:
            raise ValueError(f"{x.size(1)}")
        except ValueError as error:
            return self.last(x) if str(error) == "301" else self.mean(x)


class LengthAsANumber(_Embedded):
    def forward(self, x):
        return self.mean(x) / float(int(x.size(1)))


class ThreeFormulas(_Embedded):
    def forward(self, x):
        h = self.mean(x)
        if x.size(1) > 20:
            h = h * 2
        if x.size(1) > 40:
            h = h.tanh()
        return h


class OtherPositionsBeyondTheTable(_Embedded):
    def __init__(self):
        super().__init__()
        self.register_buffer("pos", torch.randn(100, 8))

    def forward(self, x):
        n = x.shape[1]
        pos = self.pos[:n] if n <= 100 else torch.zeros(n, 8)
        return self.out(self.rnn(self.emb(x) + pos)[0].mean(1))


class FillsUpIfShort(_Embedded):
    def forward(self, x):
        if x.size(1) < 16:
            x = torch.cat([x, x.new_zeros(x.size(0), 16 - x.size(1))], 1)
        return self.mean(x)


class GroupsOfFour(_Embedded):
    def forward(self, x):
        e = self.emb(F.pad(x, (0, (4 - x.size(1) % 4) % 4)))
        return self.out(self.rnn(e.view(x.size(0), -1, 4, 8).mean(2))[0].mean(1))


HONOURED = (
    LengthAsANumber,
    OtherPositionsBeyondTheTable,
    FillsUpIfShort,
    GroupsOfFour,
    FirstTokens,
    LastTokens,
    FirstTokensOfAnAttribute,
    TimeMajorCut,
    Narrows,
    CutsToTheSmaller,
    HeadAndTail,
    HeadAndTailIfLong,
    CutsIfLong,
    CutsHiddenOutputs,
    AttentionOverACut,
    PadsToAWidth,
    PadsIfShort,
    PadsAndCuts,
    PadsASingleToken,
    AttendsUnlessOneToken,
    ClampsLengths,
    PositionTableInACut,
    RangeOfPositionsInACut,
    PositionsClamped,
    SqueezesASingleRow,
    BatchInParts,
    SmallAndLargeBatchesAlike,
    MiddleTokens,
    EverySecondToken,
    AllButTheLast,
    LastTokensBySize,
    OtherFormulaIfLong,
    OtherFormulaForOneRow,
    OtherFormulaForLargeInput,
    OddAndEven,
    SpecialAtSeven,
    ThreeFormulas,
    PeriodicAndLong,
    OneShape,
    QuotientInABranch,
    ShiftedBits,
    SquareOfALength,
    OneOfThreeByRemainder,
    BranchUnlessTraced,
    KindOfASize,
    PrintsItsSize,
)


class UnpacksToALength(_Embedded):
    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.emb(x), lengths, batch_first=True, enforce_sorted=False)
        return self.out(pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=90)[0].amax(1))


# (module, its limits)
LIMITED = (
    (UnpacksToALength, {"max_tokens": 90}),
    (PositionTable, {"max_tokens": 90}),
    (PositionEmbedding, {"max_tokens": 90}),
    (AssertsItsLength, {"max_tokens": 90}),
    (AssertsItsBatch, {"max_batch": 64}),
    (NeedsThreeTokens, {"min_tokens": 3}),
)


# (module, what the error says)
class BitsOfTheLength(_Embedded):
    def forward(self, x):
        n = x.size(1)
        return self.out(self.rnn(self.emb(x))[0].mean(1) * n.bit_length())


REFUSED = (
    (WindowsOfTime, r"For texts of more than 64 tokens.*x\.split\(64, dim=1\)"),
    (LoopOverWindows, r"range\(0, x\.size\(1\), 50\)"),
    (LengthAsText, r"plain number.*str\(x\.size\(1\)\)"),
    (LengthAsAKey, r"plain number.*special = \{301"),
    (BitsOfTheLength, r"plain number.*n\.bit_length\(\).*bit_length"),
    (LengthByIdentity, r"n is special"),
    (ValueUnlessTraced, r"is_compiling\(\) and bool"),
    (RaisesItsSizeAndCatches, r"raise ValueError"),
)


class CountsLengthsAndPacks(_Embedded):
    """Unknown words have id 0 too: a text that holds two is cut short by two, in PyTorch as well."""

    def forward(self, x):
        lengths = (x != 0).sum(1)
        p = pack_padded_sequence(self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(p)[0], batch_first=True)
        return self.out(out.mean(1))


class CountsLengthsAndAttends(CountsLengthsAndPacks):
    def forward(self, x):
        lengths = (x != 0).sum(1)
        p = pack_padded_sequence(self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(p)[0], batch_first=True)
        weights = out.sum(2).softmax(1)
        return self.out((out * weights.unsqueeze(2)).sum(1))


class ClampsLengthsOnly(_Embedded):
    def forward(self, x, lengths):
        p = pack_padded_sequence(self.emb(x), lengths.clamp(max=30).cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(p)[0], batch_first=True)
        return self.out(out.max(1).values + out[:, -1])


class SortsByLength(_Embedded):
    def forward(self, x, lengths):
        lengths, order = lengths.sort(descending=True)
        p = pack_padded_sequence(self.emb(x[order]), lengths.cpu(), batch_first=True)
        out, _ = pad_packed_sequence(self.rnn(p)[0], batch_first=True)
        return self.out(out.sum(1)[order.argsort()])


class ReadsAValueAndCatches(_Embedded):
    def forward(self, x):
        h = self.mean(x)
        try:
            if x.max().item() < 10**6:
                h = h * 2
        except Exception:  # noqa: S110 - that is what it is about
            pass
        return h


class _Swallows:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return True


class ReadsAValueInAWith(_Embedded):
    """The value that `__exit__` returns swallows the error."""

    def forward(self, x):
        h = self.mean(x)
        with _Swallows():
            h *= 2.0 if json.dumps(x[0, 0].numpy().tolist()) == "49" else 1.0
        return h


class ReadsAValueAndReturnsFinally(_Embedded):
    def forward(self, x):
        return self.mean(x) * self.scale(x)

    def scale(self, x):
        scale = 1.0
        try:
            scale = 2.0 if json.dumps(x[0, 0].numpy().tolist()) == "49" else 1.0
        finally:
            return scale  # noqa: B012 - that is what it is about


class PicksTheFirstOfEqualScores(_Embedded):
    """Two equal words score alike; which of their outputs is taken, PyTorch does not say."""

    def forward(self, x):
        e = self.emb(x)
        out, _ = self.rnn(e)
        best = e.sum(2).topk(1, dim=1).indices
        return self.out(out.gather(1, best.unsqueeze(2).expand(-1, -1, 12)).squeeze(1))


COUNTED = (CountsLengthsAndPacks, CountsLengthsAndAttends, ClampsLengthsOnly, SortsByLength)
CAUGHT = (
    (ReadsAValueAndCatches, r"catches an error that is raised only while it is traced.*if x\.max\(\)\.item"),
    (ReadsAValueInAWith, r"raised only while it is traced.*json\.dumps"),
    (ReadsAValueAndReturnsFinally, r"raised only while it is traced.*json\.dumps"),
    (PicksTheFirstOfEqualScores, r"order of equal values in topk"),
)
