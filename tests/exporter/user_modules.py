"""Recurrent classifiers as people write them, one class a case. None of them knows of pocketrnn."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
import torch.nn.utils.rnn as rnn_utils
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.nn.utils.rnn import pack_padded_sequence as pack

WORDS, CLASSES, PAD = 60, 4, 1


class PackedLastState(nn.Module):
    """One packed layer whose output is thrown away: the commonest of all, on which the stock exporters crash."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 12, padding_idx=PAD)
        self.rnn = nn.LSTM(12, 10, batch_first=True)
        self.fc = nn.Linear(10, CLASSES)

    def forward(self, text, text_lengths):
        packed = pack_padded_sequence(self.embedding(text), text_lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.rnn(packed)
        return self.fc(hidden[-1])


class TimeMajorSorted(nn.Module):
    """Time-major, and wants its rows sorted; packing reached through the package."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.gru = nn.GRU(12, 10)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x, lens):
        _, h = self.gru(torch.nn.utils.rnn.pack_padded_sequence(self.emb(x.t()), lens))
        return self.out(h.squeeze(0))


class SortsByHand(nn.Module):
    """Sorts rows before packing and puts them back after; packing imported under another name."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, bidirectional=True, batch_first=True)
        self.out = nn.Linear(20, CLASSES)

    def forward(self, x, lens):
        lens, order = lens.sort(descending=True)
        _, (h, _) = self.lstm(pack(self.emb(x[order]), lens.cpu(), batch_first=True))
        _, back = order.sort()
        return self.out(torch.cat([h[0], h[1]], dim=1)[back])


class TotalLength(nn.Module):
    """`total_length` from the input's width, `padding_value` minus infinity for a max over steps."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.gru = nn.GRU(12, 10, bidirectional=True, batch_first=True)
        self.out = nn.Linear(20, CLASSES)

    def forward(self, x, lens):
        packed = rnn_utils.pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = self.gru(packed)
        out, _ = rnn_utils.pad_packed_sequence(
            out, batch_first=True, padding_value=float("-inf"), total_length=x.size(1)
        )
        return self.out(out.max(dim=1).values)


class PackedIntoPacked(nn.Module):
    """A packed output handed on to another recurrent layer as it is."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.first = nn.GRU(12, 10, bidirectional=True, batch_first=True)
        self.second = nn.LSTM(20, 8, batch_first=True)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x, lens):
        packed = pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False)
        packed, _ = self.first(packed)
        packed, _ = self.second(packed)
        out, lens = pad_packed_sequence(packed, batch_first=True)
        return self.out(out.sum(1) / lens.unsqueeze(1))


class WordDropout(nn.Module):
    """A PackedSequence rebuilt around its data; the tokens are packed, and embedded after."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.drop = nn.Dropout(0.3)
        self.norm = nn.LayerNorm(12)
        self.rnn = nn.RNN(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x, lens):
        p = pack_padded_sequence(x, lens.cpu(), batch_first=True, enforce_sorted=False)
        data = self.norm(self.drop(self.emb(p.data)))
        p = PackedSequence(data, p.batch_sizes, p.sorted_indices, p.unsorted_indices)
        _, h = self.rnn(p)
        return self.out(h[-1])


class BiasOnPackedData(nn.Module):
    """A linear layer on the packed data moves the padding away from zero; unpacking must put the zeros back."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.rnn = nn.GRU(12, 10, batch_first=True)
        self.lin = nn.Linear(10, CLASSES)

    def forward(self, x, lens):
        p, _ = self.rnn(pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False))
        p = PackedSequence(self.lin(p.data), p.batch_sizes, p.sorted_indices, p.unsorted_indices)
        out, _ = pad_packed_sequence(p, batch_first=True)
        return out.sum(dim=1)


class CellState(nn.Module):
    """The final cell state is used, beside the hidden one."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, batch_first=True)
        self.out = nn.Linear(20, CLASSES)

    def forward(self, x, lens):
        _, (h, c) = self.lstm(pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False))
        return self.out(torch.cat((h[-1], c[-1]), dim=-1))


class ZerosByHand(nn.Module):
    """Initial states of zeros, built from the batch size, with Variable-era habits."""

    def __init__(self):
        super().__init__()
        self.layers, self.hidden = 2, 10
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def init_hidden(self, batch, device):
        return (
            torch.zeros(self.layers, batch, self.hidden, device=device),
            torch.zeros(self.layers, batch, self.hidden, device=device),
        )

    def forward(self, x):
        out, _ = self.lstm(self.emb(x), self.init_hidden(x.size(0), x.device))
        return self.out(out[:, -1, :])


class LearnedStates(nn.Module):
    """Learned initial states, expanded over the batch."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.gru = nn.GRU(12, 10, bidirectional=True, batch_first=True)
        self.h0 = nn.Parameter(torch.randn(2, 1, 10))
        self.out = nn.Linear(20, CLASSES)

    def forward(self, x, lens):
        h0 = self.h0.expand(-1, x.shape[0], -1).contiguous()
        p = pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.gru(p, h0)[0], batch_first=True)
        return self.out(out.sum(1))


class EncoderStates(nn.Module):
    """A first layer's final states start the second."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.encoder = nn.LSTM(12, 10, batch_first=True)
        self.decoder = nn.LSTM(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x):
        e = self.emb(x)
        _, states = self.encoder(e)
        out, _ = self.decoder(e, states)
        return self.out(out[:, -1])


class Siblings(nn.Module):
    """An LSTM beside a GRU on the same text."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 6, batch_first=True)
        self.gru = nn.GRU(12, 6, batch_first=True)
        self.out = nn.Linear(12, CLASSES)

    def forward(self, x, lens):
        p = pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False)
        _, (a, _) = self.lstm(p)
        _, b = self.gru(p)
        return self.out(torch.cat([a[-1], b[-1]], 1))


class ResidualStack(nn.Module):
    """Layers in a ModuleList with residual connections and layer normalisation."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.layers = nn.ModuleList(nn.LSTM(12, 12, batch_first=True) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in range(3))
        self.out = nn.Linear(12, CLASSES)

    def forward(self, x):
        h = self.emb(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = norm(h + layer(h)[0])
        return self.out(h.mean(1))


class ConvolutionFirst(nn.Module):
    """A 1-d convolution and batch normalisation before the recurrent layer."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.conv = nn.Conv1d(12, 16, kernel_size=3, padding=1)
        self.bn = nn.BatchNorm1d(16)
        self.gru = nn.GRU(16, 10, batch_first=True, bidirectional=True)
        self.out = nn.Linear(20, CLASSES)

    def forward(self, x):
        h = F.relu(self.bn(self.conv(self.emb(x).transpose(1, 2)))).transpose(1, 2)
        out, _ = self.gru(h)
        return self.out(F.adaptive_max_pool1d(out.transpose(1, 2), 1).squeeze(2))


class MaskedAttention(nn.Module):
    """Attention over the steps with a mask made of the lengths."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, batch_first=True, bidirectional=True)
        self.score = nn.Linear(20, 1)
        self.out = nn.Linear(20, CLASSES)

    def forward(self, x, lengths):
        p = pack_padded_sequence(self.emb(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(p)[0], batch_first=True)
        mask = torch.arange(out.size(1), device=out.device)[None, :] < lengths[:, None]
        weights = torch.softmax(self.score(out).squeeze(-1).masked_fill(~mask, -1e9), dim=1)
        return self.out(torch.bmm(weights.unsqueeze(1), out).squeeze(1))


class AttentionFromTokens(nn.Module):
    """The mask is made of the padding token; no lengths at all."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12, padding_idx=PAD)
        self.lstm = nn.LSTM(12, 10, batch_first=True)
        self.score = nn.Linear(10, 1)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, input_ids):
        out, _ = self.lstm(self.emb(input_ids))
        scores = self.score(torch.tanh(out)).masked_fill((input_ids == PAD).unsqueeze(-1), float("-1e9"))
        return self.out((F.softmax(scores, dim=1) * out).sum(1))


class GathersLast(nn.Module):
    """Padded run, the last real step gathered by lengths - 1."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.rnn = nn.RNN(12, 10, nonlinearity="relu", batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x, lengths):
        out, _ = self.rnn(self.emb(x))
        index = (lengths - 1).view(-1, 1, 1).expand(-1, 1, out.size(2))
        return self.out(out.gather(1, index).squeeze(1))


class IndexesLast(nn.Module):
    """Padded run, the last real step by advanced indexing."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.rnn = nn.LSTM(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x, lengths):
        out, _ = self.rnn(self.emb(x))
        return self.out(out[torch.arange(x.size(0)), lengths - 1])


class ViewsStates(nn.Module):
    """Final states reshaped to (layers, directions, batch, hidden)."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2)
        self.out = nn.Linear(20, CLASSES)

    def forward(self, x, lens):
        p = pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(p)
        h = h.view(2, 2, x.size(0), 10)[-1]
        return self.out(h.transpose(0, 1).reshape(x.size(0), -1))


class LockedLSTM(nn.LSTM):
    """A subclass that drops whole features, and then runs what it inherits."""

    def forward(self, x, hx=None):
        if self.training:
            x = x * torch.bernoulli(torch.full((x.size(0), 1, x.size(2)), 0.8)) / 0.8
        return super().forward(x, hx)


class Subclassed(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = LockedLSTM(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x):
        return self.out(self.lstm(self.emb(x))[0].mean(1))


class NoBiasLogSoftmax(nn.Module):
    """bias=False, and a head that ends in log_softmax."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.gru = nn.GRU(12, 10, bias=False, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x, lens):
        _, h = self.gru(pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False))
        return F.log_softmax(self.out(h[-1]), dim=1)


class MeanOverPadding(nn.Module):
    """A common slip: packed, but the mean runs over the padding, so that an answer depends on its neighbours."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x, lens):
        p = pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(p)[0], batch_first=True)
        return self.out(out.mean(dim=1))


class Frozen(nn.Module):
    """nn.Embedding.from_pretrained, spatial dropout, max and mean pooling, a deep head: the competition classic."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.randn(WORDS, 12), freeze=True)
        self.spatial = nn.Dropout2d(0.3)
        self.lstm = nn.LSTM(12, 10, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(20, 10, bidirectional=True, batch_first=True)
        self.head = nn.Sequential(nn.Linear(60, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, CLASSES))

    def forward(self, x):
        e = self.embedding(x)
        e = self.spatial(e.unsqueeze(2).permute(0, 3, 2, 1)).permute(0, 3, 2, 1).squeeze(2)
        out, _ = self.lstm(e)
        out, h = self.gru(out)
        average, biggest = torch.mean(out, 1), torch.max(out, 1)[0]
        h = h.permute(1, 0, 2).contiguous().view(x.size(0), -1)
        return self.head(torch.cat((h, average, biggest), 1))


class EmbeddingOfCharactersAndPositions(nn.Module):
    """Two embeddings: tokens, and positions built from the width."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.scale = nn.Parameter(torch.ones(12))
        self.gru = nn.GRU(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x):
        steps = torch.arange(x.size(1), device=x.device).float().unsqueeze(-1)
        h, _ = self.gru(self.emb(x) + torch.sin(steps * self.scale))
        return self.out(h[:, -1])


class FlattensParameters(nn.Module):
    """flatten_parameters, keyword arguments, and lengths moved about."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(input_size=12, hidden_size=10, num_layers=1, batch_first=True, bidirectional=True)
        self.out = nn.Linear(20, CLASSES)

    def forward(self, inputs, input_lengths):
        self.lstm.flatten_parameters()
        lengths = input_lengths.to("cpu", dtype=torch.int64)
        packed = nn.utils.rnn.pack_padded_sequence(
            input=self.emb(inputs), lengths=lengths, batch_first=True, enforce_sorted=False
        )
        outputs, (hn, _) = self.lstm(packed)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(sequence=outputs, batch_first=True, total_length=inputs.shape[1])
        return self.out(torch.cat([hn[0], hn[1]], dim=1) + outputs[:, 0] * 0.5)


class Projected(nn.Module):
    """proj_size, in two layers of two directions, packed."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, num_layers=2, proj_size=4, bidirectional=True, batch_first=True)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, x, lens):
        p = pack_padded_sequence(self.emb(x), lens.cpu(), batch_first=True, enforce_sorted=False)
        out, (h, _) = self.lstm(p)
        out, _ = pad_packed_sequence(out, batch_first=True)
        return self.out(torch.cat([out.sum(1) / lens[:, None], h[-2], h[-1]], 1))


class ProjectedFromLearnedStates(nn.Module):
    """proj_size, and initial states that are not zero."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, proj_size=4, batch_first=True)
        self.h0 = nn.Parameter(torch.randn(1, 1, 4))
        self.c0 = nn.Parameter(torch.randn(1, 1, 10))
        self.out = nn.Linear(4, CLASSES)

    def forward(self, x):
        b = x.size(0)
        out, _ = self.lstm(self.emb(x), (self.h0.repeat(1, b, 1), self.c0.repeat(1, b, 1)))
        return self.out(out.mean(1))


class WeightDrop(nn.Module):
    """Recurrent weights that are set anew in every forward, as in AWD-LSTM."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 10, batch_first=True)
        self.raw = nn.Parameter(self.lstm.weight_hh_l0.detach() * 2)
        del self.lstm._parameters["weight_hh_l0"]
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x):
        self.lstm.weight_hh_l0 = F.dropout(self.raw, 0.5, training=self.training)
        return self.out(self.lstm(self.emb(x))[0][:, -1])


class Doubled(nn.Module):
    """In double precision."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.gru = nn.GRU(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)
        self.double()

    def forward(self, x):
        return self.out(self.gru(self.emb(x))[1][-1])


class _Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.rnn = nn.GRU(12, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)


class StepsACell(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.encoder = nn.Sequential()
        self.encoder.add_module("step", nn.LSTMCell(12, 10))
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x):
        e = self.emb(x)
        h = c = torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h, c = self.encoder.step(e[:, t], (h, c))
        return self.out(h)


class LoopsByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.step = nn.Linear(22, 10)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = torch.tanh(self.step(torch.cat([e[:, t], h], dim=1)))
        return self.out(h)


class LengthsAsList(_Embedded):
    def forward(self, x, lengths):
        p = pack_padded_sequence(self.emb(x), lengths.tolist(), batch_first=True, enforce_sorted=False)
        return self.out(self.rnn(p)[1][-1])


class BranchesOnValues(_Embedded):
    def forward(self, x, lengths):
        h = self.rnn(self.emb(x))[1][-1]
        return self.out(h * 2 if int(lengths.max()) > 5 else h)


class OneTextAtATime(_Embedded):
    def forward(self, x):
        return torch.stack([self.out(self.rnn(self.emb(row))[1][-1]) for row in x])


class OneHot(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(WORDS, 10, batch_first=True)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x):
        return self.out(self.rnn(F.one_hot(x, WORDS).float())[1][-1])


EXPORTED = (
    StepsACell,
    LoopsByHand,
    LengthsAsList,
    BranchesOnValues,
    OneTextAtATime,
    OneHot,
    Projected,
    ProjectedFromLearnedStates,
    WeightDrop,
    Doubled,
    PackedLastState,
    TimeMajorSorted,
    SortsByHand,
    TotalLength,
    PackedIntoPacked,
    WordDropout,
    BiasOnPackedData,
    CellState,
    ZerosByHand,
    LearnedStates,
    EncoderStates,
    Siblings,
    ResidualStack,
    ConvolutionFirst,
    MaskedAttention,
    AttentionFromTokens,
    GathersLast,
    IndexesLast,
    ViewsStates,
    Subclassed,
    NoBiasLogSoftmax,
    MeanOverPadding,
    Frozen,
    EmbeddingOfCharactersAndPositions,
    FlattensParameters,
)
