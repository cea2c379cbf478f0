"""Recurrent classifiers whose forward uses Python and old PyTorch where a trace needs tensors, as in notebooks."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch.autograd import Variable
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS, CLASSES, PAD = 60, 4, 1


class _Layers(nn.Module):
    """An embedding, a recurrent layer and a linear one, which most of the classes here have."""

    def __init__(self, layers=1, bidirectional=False, cell=nn.LSTM):
        super().__init__()
        self.hidden_dim, self.layers, self.directions = 10, layers, 2 if bidirectional else 1
        self.embedding = nn.Embedding(WORDS, 12)
        self.rnn = cell(12, 10, layers, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(10 * self.directions, CLASSES)


class LenOfTheBatch(_Layers):
    """`len(x)` in a view and for the initial state."""

    def init_hidden(self, batch_size):
        return (torch.zeros(self.layers, batch_size, 10), torch.zeros(self.layers, batch_size, 10))

    def forward(self, x):
        out, _ = self.rnn(self.embedding(x), self.init_hidden(len(x)))
        return self.fc(out[:, -1].contiguous().view(len(x), -1))


class PairsAndAStableOrder(_Layers):
    """Pairs of neighbours, of which one word has none; and an order that is defined for equal values too."""

    def forward(self, x):
        pair = ((x[:, :-1] > 30) & (x[:, 1:] < 30)).any(1)
        order = torch.sort(x // 7, dim=1, stable=True).indices
        embedded = self.embedding(x).gather(1, order.unsqueeze(2).expand(-1, -1, 12))
        scores = self.fc(self.rnn(embedded)[0][:, -1])
        return torch.where(pair[:, None], -scores, scores)


class LengthsCutInPlace(_Layers):
    """Lengths that are written into are the given ones no more: the packed steps end before the width."""

    def forward(self, x, lengths):
        lengths[lengths > 9] = 9
        packed = pack_padded_sequence(self.embedding(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.fc(out.amax(1))


class LenOfTimeMajor(_Layers):
    def forward(self, x):
        x = self.embedding(x).permute(1, 0, 2)
        steps = len(x)
        out, _ = self.rnn(x.transpose(0, 1))
        return self.fc(out.sum(1) / steps)


class NewFromAWeight(_Layers):
    """The usual init_hidden."""

    def init_hidden(self, batch_size):
        weight = next(self.parameters()).data
        return (
            weight.new(self.layers, batch_size, self.hidden_dim).zero_(),
            weight.new(self.layers, batch_size, self.hidden_dim).zero_(),
        )

    def forward(self, x):
        batch_size = x.size(0)
        hidden = self.init_hidden(batch_size)
        out, hidden = self.rnn(self.embedding(x), hidden)
        out = out.contiguous().view(-1, self.hidden_dim)
        out = self.fc(out).view(batch_size, -1, CLASSES)
        return out[:, -1]


class NewGru(_Layers):
    def __init__(self):
        super().__init__(2, cell=nn.GRU)

    def forward(self, x):
        h = next(self.parameters()).data.new(2, x.size(0), 10).zero_()
        _, h = self.rnn(self.embedding(x), h)
        return self.fc(h[-1])


class VariableZeros(_Layers):
    """Variables, as PyTorch 0.3 wanted them, and a state that forward keeps on the module."""

    def init_hidden(self, batch):
        h0 = Variable(torch.zeros(1, batch, 10))
        c0 = Variable(torch.zeros(1, batch, 10))
        return h0, c0

    def forward(self, sentence):
        self.hidden = self.init_hidden(sentence.size(0))
        x = self.embedding(sentence)
        x = Variable(x)
        lstm_out, self.hidden = self.rnn(x, self.hidden)
        return self.fc(lstm_out[:, -1, :])


class FloatTensorOfSizes(_Layers):
    def forward(self, x):
        h = torch.FloatTensor(1, x.size(0), 10).zero_()
        c = Variable(torch.Tensor(1, len(x), 10).fill_(0))
        out, _ = self.rnn(self.embedding(x.type(torch.LongTensor)), (h, c))
        return self.fc(out[:, -1])


class NewOfInput(_Layers):
    def forward(self, x):
        e = self.embedding(x.long())
        h = e.data.new(1, x.size(0), 10).fill_(0.0)
        c = e.new_zeros(1, x.size(0), 10).requires_grad_()
        self.rnn.flatten_parameters()
        _, (h, c) = self.rnn(e, (h.detach(), c.data))
        return self.fc(h.data.squeeze(0))


class WholeMaxPool(_Layers):
    def __init__(self):
        super().__init__(1, True, nn.GRU)

    def forward(self, x):
        out, _ = self.rnn(self.embedding(x))
        out = out.permute(0, 2, 1)
        return self.fc(F.max_pool1d(F.relu(out), out.size(2)).squeeze(2))


class WholeMaxPoolAndSqueeze(_Layers):
    """TextRCNN: a max over all steps, and `squeeze()` that loses the batch axis at batch 1."""

    def __init__(self):
        super().__init__(1, True)
        self.conv = nn.Conv1d(32, 10, 3, padding=1)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x):
        e = self.embedding(x)
        out, _ = self.rnn(e)
        out = torch.cat((e, out), 2).permute(0, 2, 1)
        out = torch.tanh(self.conv(out))
        out = F.max_pool1d(out, out.shape[2]).squeeze()
        return self.out(out)


class WholeAveragePool(_Layers):
    def forward(self, x):
        out, _ = self.rnn(self.embedding(x))
        out = out.transpose(1, 2)
        mean = F.avg_pool1d(out, kernel_size=out.size(-1)).squeeze(-1)
        most = F.adaptive_max_pool1d(out, 1).squeeze(-1)
        middle = F.adaptive_avg_pool1d(out, output_size=1).view(len(x), -1)
        return self.fc(mean + most * 0.5 + middle)


class WholePool2d(_Layers):
    def forward(self, x):
        out, _ = self.rnn(self.embedding(x))
        out = out.unsqueeze(1)
        most = F.max_pool2d(out, (out.size(2), 1)).squeeze(1).squeeze(1)
        mean = F.avg_pool2d(out, (out.shape[2], 1))[:, 0, 0]
        return self.fc(most + mean)


class PoolLayerMadeInForward(_Layers):
    def forward(self, x):
        out, _ = self.rnn(self.embedding(x))
        out = out.transpose(1, 2)
        return self.fc(nn.MaxPool1d(out.size(2))(out)[:, :, 0])


class PackedByNumpy(_Layers):
    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), lengths.cpu().numpy(), batch_first=True, enforce_sorted=False)
        out, (h, _) = self.rnn(packed)
        out, _ = pad_packed_sequence(out, batch_first=True)
        return self.fc(out.max(1)[0] + h[-1])


class RowsOfAPackedSequence(_Layers):
    """The largest of a packed sequence's batch sizes is the number of rows, in four forms; its lengths stay lengths."""

    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        state = torch.zeros(1, packed.batch_sizes[0], 10)
        out, (h, _) = self.rnn(packed, (state, torch.zeros(1, int(packed.batch_sizes.max()), 10)))
        rows = max(out.batch_sizes)
        out, lengths = pad_packed_sequence(out, batch_first=True)
        last = out[torch.arange(out.size(0)), lengths - 1]
        return self.fc(h.view(rows, -1) + out.sum(1) / lengths.max().item() + last)


class PackedByList(_Layers):
    def forward(self, x, lengths):
        lengths = lengths.tolist()
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True)
        out, _ = self.rnn(packed)
        out, _ = pad_packed_sequence(out, batch_first=True, total_length=max(lengths))
        mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
        return self.fc((out * mask.unsqueeze(-1).float()).sum(1))


class PackedByListOfTensors(_Layers):
    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), list(lengths), batch_first=True, enforce_sorted=False)
        _, (h, _) = self.rnn(packed)
        return self.fc(h[-1])


class SortedByNumpy(_Layers):
    """Sorts its rows by numpy and puts them back, as InferSent does."""

    def forward(self, x, x_len):
        x_len = x_len.cpu().numpy()
        sorted_len, order = np.sort(x_len)[::-1], np.argsort(-x_len)
        back = np.argsort(order)
        e = self.embedding(x).index_select(0, Variable(torch.from_numpy(order)))
        packed = pack_padded_sequence(e, sorted_len.copy(), batch_first=True)
        out, _ = self.rnn(packed)
        out = pad_packed_sequence(out, batch_first=True)[0]
        out = out.index_select(0, Variable(torch.from_numpy(back)))
        length = torch.FloatTensor(x_len.copy()).unsqueeze(1)
        return self.fc(out.sum(1) / length.expand_as(out.sum(1)))


class SortedByTorch(_Layers):
    def forward(self, x, lengths):
        lengths, perm = torch.sort(lengths, descending=True)
        e = self.embedding(x[perm])
        packed = pack_padded_sequence(e, list(lengths.data), batch_first=True)
        _, (h, _) = self.rnn(packed)
        _, unperm = torch.sort(perm)
        return self.fc(h.squeeze(0)[unperm])


class MaskOfMaxLength(_Layers):
    def forward(self, x, lengths):
        max_len = lengths.max().item()
        out, _ = self.rnn(self.embedding(x))
        mask = torch.arange(max_len).expand(len(lengths), max_len) < lengths.unsqueeze(1)
        scores = out.sum(-1).masked_fill(~mask, -1e9)
        return self.fc((torch.softmax(scores, 1).unsqueeze(-1) * out).sum(1))


class IntOfMaxLength(_Layers):
    def forward(self, x, lengths):
        longest = int(torch.max(lengths))
        x = x[:, :longest]
        out, _ = self.rnn(self.embedding(x))
        last = out[torch.arange(x.size(0)), lengths - 1]
        steps = int(x.size(1))
        return self.fc(last + out.sum(1) / steps)


class GathersTheLast(_Layers):
    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), lengths.tolist(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        index = torch.LongTensor(lengths.numpy() - 1).view(-1, 1, 1).expand(out.size(0), 1, out.size(2))
        return self.fc(out.gather(1, index).squeeze())


class OnAGpu(_Layers):
    def forward(self, x, lengths):
        device = torch.device("cuda")
        x = x.cuda()
        h = torch.zeros(1, x.size(0), 10, device=device)
        c = Variable(torch.zeros(1, x.size(0), 10)).cuda()
        out, (h, _) = self.rnn(self.embedding(x.to("cuda:0")), (h.to(device), c))
        mask = torch.arange(x.size(1), device="cuda")[None] < lengths.to(device, non_blocking=True)[:, None]
        return self.fc((out * mask[..., None].to(device=device, dtype=torch.float)).mean(1))


class CudaTypes(_Layers):
    def forward(self, x):
        h = torch.cuda.FloatTensor(1, x.size(0), 10).fill_(0)
        c = torch.zeros(1, x.size(0), 10).type(torch.cuda.FloatTensor)
        out, _ = self.rnn(self.embedding(x.type(torch.cuda.LongTensor)), (h, c))
        return self.fc(out[:, -1])


class SqueezesHidden(_Layers):
    """`hidden[-1].squeeze(0)`: nothing at larger batches, and the batch axis itself at batch 1."""

    def forward(self, x):
        _, (h, _) = self.rnn(self.embedding(x))
        return self.fc(h[-1].squeeze(0))


class SqueezesAll(_Layers):
    def forward(self, x):
        _, (h, _) = self.rnn(self.embedding(x))
        return self.fc(torch.squeeze(h)).squeeze()


class AssertsAndPrints(_Layers):
    def forward(self, x, lengths):
        assert (lengths > 0).all()
        assert torch.equal(x, x.clone())
        assert torch.allclose(lengths.float(), lengths.double().float()), "lengths are numbers"
        assert lengths.max() <= x.size(1) and x.min() >= 0, "ids from 0"  # noqa: PT018
        print("input", x.shape, lengths)
        out, _ = self.rnn(self.embedding(x))
        print(f"{out.size()} {len(out)}")
        return self.fc(out.mean(1))


class KeepsItsAttention(_Layers):
    """Attributes that forward assigns, among them nested ones."""

    def __init__(self):
        super().__init__()
        self.kept = {}

    def forward(self, x):
        out, self.hidden = self.rnn(self.embedding(x))
        self.attention = torch.softmax(out.sum(-1), 1)
        self.kept["last"] = [self.hidden, self.attention]
        return self.fc(torch.bmm(self.attention.unsqueeze(1), out).squeeze(1))


class MaxNorm(_Layers):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 12, max_norm=1.0)

    def forward(self, x):
        return self.fc(self.rnn(self.embedding(x))[0].mean(1))


class CopiesIntoZeros(_Layers):
    def forward(self, x):
        first = torch.zeros(1, x.size(0), 10)
        first.copy_(self.embedding(x)[:, 0, :10].unsqueeze(0))
        _, (h, _) = self.rnn(self.embedding(x), (first, torch.zeros_like(first)))
        return self.fc(h.view(len(x), -1))


class OwnMaskOfLengths(_Layers):
    """`len()` of the lengths, `max()` of a tensor, a loop that nothing needs."""

    def forward(self, x, lengths):
        out, _ = self.rnn(self.embedding(x))
        mask = (
            torch.arange(0, max(lengths))
            .type_as(lengths)
            .unsqueeze(0)
            .expand(len(lengths), -1)
            .lt(lengths.unsqueeze(1))
        )
        return self.fc((out * mask.unsqueeze(2).type(torch.FloatTensor)).sum(1))


class LastByOneHot(_Layers):
    def forward(self, x, lengths):
        lens = np.array(lengths.cpu())
        out, _ = self.rnn(self.embedding(x))
        idx = torch.from_numpy(lens - 1).long().to(x.device)
        return self.fc(out[range(len(x)), idx])


class LayersInAPlainList(_Layers):
    """A list in place of nn.ModuleList, so that the layers are no children of the module."""

    def __init__(self):
        super().__init__()
        self.convolutions = [nn.Conv1d(10, 10, size, padding=2) for size in (2, 3)]

    def forward(self, x):
        out, _ = self.rnn(self.embedding(x))
        out = out.transpose(1, 2)
        found = [F.max_pool1d(torch.tanh(conv(out)), conv(out).size(2)).squeeze(2) for conv in self.convolutions]
        return self.fc(found[0] + found[1])


class PlacesOfASortedAxis(_Layers):
    """The median, the second smallest and a quantile of all steps."""

    def forward(self, x):
        outputs, _ = self.rnn(self.embedding(x))
        middle, third = outputs.median(1)[0], torch.quantile(outputs, 0.3, dim=1, keepdim=True).squeeze(1)
        return self.fc(middle + torch.kthvalue(outputs, 1, dim=1).values * 0.5 + third)


class WithoutManyWords(_Layers):
    """The mean of the steps whose words are none of many."""

    def forward(self, x):
        outputs, _ = self.rnn(self.embedding(x))
        kept = torch.isin(x, torch.arange(2, 30), invert=True).unsqueeze(2)
        return self.fc((outputs * kept).sum(1) / kept.sum(1).clamp(min=1))


class SeveralAtOnce(_Layers):
    """The idioms that the fast tests export: asserts, prints, a state of `len(x)` rows, an int of the longest
    length."""

    def forward(self, x, lengths):
        assert (lengths > 0).all()
        assert torch.equal(x, x.clone())
        x = x[:, : int(torch.max(lengths))]
        print("input", x.shape, lengths)
        state = torch.zeros(self.layers, len(x), 10)
        out, _ = self.rnn(self.embedding(x), (state, state))
        print(f"{out.size()} {len(out)}")
        last = out[torch.arange(x.size(0)), lengths - 1].contiguous().view(len(x), -1)
        return self.fc(last + out.sum(1) / int(x.size(1)))


EXPORTED = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, _Layers) and value is not _Layers
]


class _Outputs(_Layers):
    """It takes the outputs of each text by a list of numbers, in a Python loop over the batch."""

    def outputs(self, x):
        return self.rnn(self.embedding(x))[0]


class IndexedByTolist(_Outputs):
    def forward(self, x, lengths):
        lengths = lengths.tolist()
        return self.fc(self.outputs(x)[range(len(lengths)), [n - 1 for n in lengths]])


class IndexedByListOfTensors(_Outputs):
    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        out, lengths = pad_packed_sequence(self.rnn(packed)[0])
        lengths = [length - 1 for length in lengths]
        return self.fc(out[lengths, range(len(lengths))])


class IndexedByTwoLists(_Outputs):
    def forward(self, x, lengths):
        last = list(map(lambda n: n - 1, lengths))  # noqa: C417 - as people write it
        return self.fc(self.outputs(x)[[i for i in range(len(x))], last])  # noqa: C416


class GathersByLongTensor(_Outputs):
    def forward(self, x, lengths):
        last = torch.LongTensor([n - 1 for n in lengths]).to(x.device)
        return self.fc(self.outputs(x).gather(1, last.view(-1, 1, 1).expand(-1, 1, 10)).squeeze(1))


class IndexedByCounts(_Outputs):
    def forward(self, x):
        lengths = [int(n) for n in (x != PAD).sum(1).clamp(min=1)]
        return self.fc(self.outputs(x)[np.arange(len(x)), [n - 1 for n in lengths]])


class StacksRowByRow(_Outputs):
    def forward(self, x, lengths):
        h = self.outputs(x)
        return self.fc(torch.stack([h[i, n - 1] for i, n in enumerate(lengths.tolist())]))


class FillsRowByRow(_Outputs):
    def forward(self, x, lengths):
        h = self.outputs(x)
        last = torch.zeros(x.size(0), 10)
        for i in range(x.size(0)):
            last[i] = h[i, : lengths[i]].mean(0)
        return self.fc(last)


class WritesBehindEachRow(_Outputs):
    def forward(self, x, lengths):
        h = self.outputs(x)
        scores = h.sum(2, keepdim=True)
        for i in range(x.size(0)):
            scores[i, lengths[i] :, 0] = -np.inf
        return self.fc((torch.softmax(scores, 1) * h).sum(1))


ROW_BY_ROW = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, _Outputs) and value is not _Outputs
]
