"""Recurrent classifiers that cannot be exported right, or not as they are; each with its error and the reason."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from user_modules import CLASSES, WORDS

from pocketrnn.errors import ExportError, ParityError


class _Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.rnn = nn.GRU(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)


class DropsInEvalMode(_Embedded):
    def forward(self, x):
        return self.out(F.dropout(self.rnn(self.emb(x))[1][-1], 0.5))


class MeanOfPackedData(_Embedded):
    """The rows of a packed sequence's data are all real steps of all texts; its mean belongs to no text."""

    def forward(self, x, lengths):
        p, h = self.rnn(pack_padded_sequence(self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False))
        return self.out(h[-1] + p.data.mean(dim=0))


class OtherwiseInOnnx(_Embedded):
    """A module sees no trace, but it can look for what takes part in one."""

    def forward(self, x):
        h = self.rnn(self.emb(x))[1][-1]
        return self.out(h * 1.5 if torch._C._len_torch_dispatch_stack() else h)


class OtherwiseInTorchScript(_Embedded):
    def forward(self, x):
        h = self.rnn(self.emb(x))[1][-1]
        return self.out(h * 1.5 if isinstance(x.size(0), torch.Tensor) else h)


class NeighboursMatter(_Embedded):
    def forward(self, x):
        h = self.rnn(self.emb(x))[1][-1]
        return self.out(h - h.mean(dim=0, keepdim=True))


class TooFewClasses(_Embedded):
    def forward(self, x):
        return self.out(self.rnn(self.emb(x))[1][-1])[:, :3]


class NotANumber(_Embedded):
    def forward(self, x):
        return self.out(self.rnn(self.emb(x))[1][-1]) * float("nan")


class SmallEmbedding(_Embedded):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS - 1, 12)

    def forward(self, x):
        return self.out(self.rnn(self.emb(x))[1][-1])


class ThreeArguments(_Embedded):
    def forward(self, x, lengths, mask):
        return self.out(self.rnn(self.emb(x))[1][-1]) + lengths + mask


class AsksForEquality(_Embedded):
    def forward(self, x):
        h = self.rnn(self.emb(x))[1][-1]
        return self.out(h * 2 if torch.equal(x, x.flip(1)) else h)


class AsksForNearness(_Embedded):
    def forward(self, x):
        h = self.rnn(self.emb(x))[1][-1]
        return self.out(h * 2 if torch.allclose(h, h.relu()) else h)


class LooksUpANumber(_Embedded):
    """The table has no tensors, so that a trace would always find the default."""

    table = {5: 1.0, 6: -1.0}  # noqa: RUF012 - as people write it

    def forward(self, x):
        if len(x) == 1:
            return self.out(self.rnn(self.emb(x))[1][-1]) + self.table.get(x[0, 0].item(), 0.0)
        return torch.cat([self(row[None]) for row in x])


class CutsByEachLength(_Embedded):
    """A mask that a loop over the texts fills, after one that asks about each length."""

    def forward(self, x, lengths):
        h, _ = self.rnn(self.emb(x))
        mask = torch.ones(x.shape)
        for i, n in enumerate(lengths):
            if n < x.size(1):
                mask[i, n:] = 0
        return self.out((h * mask.unsqueeze(2)).sum(1))


class RunningProduct(_Embedded):
    def forward(self, x):
        h = self.rnn(self.emb(x))[0]
        return self.out((h * torch.cumprod(h.sigmoid(), 1)).mean(1))


class RunningMaximum(_Embedded):
    def forward(self, x):
        return self.out(self.rnn(self.emb(x))[0].cummax(1)[0].mean(1))


class MostFrequent(_Embedded):
    def forward(self, x):
        return self.out(self.rnn(self.emb(x))[1][-1] + self.emb(torch.mode(x, 1).values)[:, :10])


class NoFormInOnnx(_Embedded):
    def forward(self, x):
        return self.out(torch.special.i0e(self.rnn(self.emb(x))[1][-1]))


REFUSED = (
    (DropsInEvalMode, ExportError, r"other answers when it is run again"),
    (MeanOfPackedData, ExportError, r"differently beside other texts"),
    (OtherwiseInOnnx, ParityError, r"onnx +shapes +batch 7"),
    (OtherwiseInTorchScript, ParityError, r"(?s):\s+torchscript +shapes +batch 1"),
    (NeighboursMatter, ExportError, r"differently beside other texts"),
    (TooFewClasses, ExportError, r"3 numbers .* 4 labels"),
    (NotANumber, ExportError, r"not finite.*refused_modules\.py:\d+: `return .*nan"),
    (SmallEmbedding, ExportError, r"out of range in self.*has 60 ids, .* embedding only \d+ rows"),
    (AsksForEquality, ExportError, r"tensors are equal, .*refused_modules\.py.*torch\.where"),
    (AsksForNearness, ExportError, r"tensors are equal, .*refused_modules\.py.*torch\.where"),
    (LooksUpANumber, ExportError, r"dict .*refused_modules\.py.*Embedding"),
    (CutsByEachLength, ExportError, r"refused_modules\.py.*torch\.arange\(x\.size\(1\)\) < lengths\[:, None\]"),
    (RunningProduct, ExportError, r"computes torch\.cumprod, .*refused_modules\.py.*cumsum"),
    (RunningMaximum, ExportError, r"computes torch\.cummax, .*refused_modules\.py.*max\(1\)"),
    (MostFrequent, ExportError, r"computes torch\.mode, .*refused_modules\.py.*one_hot"),
    (NoFormInOnnx, ExportError, r"i0e.*refused_modules\.py"),
    (ThreeArguments, ExportError, r"forward takes \(x, lengths, mask\)"),
)
