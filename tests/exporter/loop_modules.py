"""Recurrent classifiers that step their cells, or gates of their own, in a Python loop; as people write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from user_modules import CLASSES, WORDS


class _Embedded(nn.Module):
    def __init__(self, features: int = 10):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.out = nn.Linear(features, CLASSES)


class StepsAnLstmCell(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(12, 10)

    def forward(self, x):
        e = self.emb(x)
        h = c = torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h, c = self.cell(e[:, t], (h, c))
        return self.out(h)


class IteratesOverATensor(_Embedded):
    """Time first, and the mean of all states."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        h, outs = torch.zeros(x.size(0), 10), []
        for step in self.emb(x).transpose(0, 1):
            h = self.cell(step, h)
            outs.append(h)
        return self.out(torch.stack(outs, 1).mean(1))


class UnbindsWithoutAState(_Embedded):
    """The first call of the cell is given no state; another activation; outputs put together by cat."""

    def __init__(self):
        super().__init__()
        self.cell = nn.RNNCell(12, 10, nonlinearity="relu")

    def forward(self, x):
        h, outs = None, []
        for _, step in enumerate(self.emb(x).unbind(1)):
            h = self.cell(step, h)
            outs.append(h.unsqueeze(1))
        return self.out(torch.cat(outs, dim=1).max(1)[0])


class SplitsAndAttends(_Embedded):
    """Two outputs a step, and attention over them after the loop."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)
        self.score = nn.Linear(10, 1)

    def forward(self, x):
        e = self.emb(x)
        h, hs, scores = e.new_zeros(x.size(0), 10), [], []
        for step in torch.split(e, 1, dim=1):
            h = self.cell(step.squeeze(1), h)
            hs.append(h)
            scores.append(self.score(torch.tanh(h)))
        weights = torch.softmax(torch.cat(scores, 1), 1)
        return self.out((torch.stack(hs, 1) * weights.unsqueeze(2)).sum(1))


class TwoCellsInOneLoop(_Embedded):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LSTMCell(12, 9), nn.LSTMCell(9, 10)
        self.drop = nn.Dropout(0.3)

    def init_hidden(self, batch, size):
        return torch.zeros(batch, size), torch.zeros(batch, size)

    def forward(self, x):
        e = self.emb(x)
        h1, c1 = self.init_hidden(x.size(0), 9)
        h2, c2 = self.init_hidden(x.size(0), 10)
        for t in range(x.size(1)):
            h1, c1 = self.first(e[:, t, :], (h1, c1))
            h2, c2 = self.second(self.drop(h1), (h2, c2))
        return self.out(h2)


class CellsOfAList(_Embedded):
    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(12, 10), nn.GRUCell(10, 10)])

    def forward(self, x):
        e = self.emb(x).permute(1, 0, 2)
        h = [torch.zeros(x.size(0), 10) for _ in range(2)]
        for t in range(e.size(0)):
            step = e[t]
            for layer in range(2):
                h[layer] = self.cells[layer](step, h[layer])
                step = h[layer]
        return self.out(h[-1])


class ALoopForEachLayer(_Embedded):
    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(12, 10), nn.LSTMCell(10, 10)])

    def forward(self, x):
        steps = self.emb(x).transpose(0, 1)
        for cell in self.cells:
            h = c = torch.zeros(x.size(0), 10)
            outs = []
            for t in range(steps.size(0)):
                h, c = cell(steps[t], (h, c))
                outs.append(h)
            steps = torch.stack(outs, dim=0)
        return self.out(steps[-1])


class ALoopForEachDirection(_Embedded):
    def __init__(self):
        super().__init__(20)
        self.forth, self.back = nn.LSTMCell(12, 10), nn.LSTMCell(12, 10)

    def forward(self, x):
        e, rows, steps = self.emb(x), x.size(0), x.size(1)
        h, c = torch.zeros(rows, 10), torch.zeros(rows, 10)
        forth, back = [], []
        for t in range(steps):
            h, c = self.forth(e[:, t], (h, c))
            forth.append(h)
        h, c = torch.zeros(rows, 10), torch.zeros(rows, 10)
        for t in reversed(range(steps)):
            h, c = self.back(e[:, t], (h, c))
            back.insert(0, h)
        return self.out(torch.cat([torch.stack(forth), torch.stack(back)], 2).mean(0))


class BothDirectionsInOneLoop(_Embedded):
    def __init__(self):
        super().__init__(20)
        self.forth, self.back = nn.GRUCell(12, 10), nn.GRUCell(12, 10)

    def forward(self, x):
        e, n = self.emb(x), x.size(1)
        h, g = torch.zeros(x.size(0), 10), torch.zeros(x.size(0), 10)
        forth, back = [], []
        for t in range(n):
            h = self.forth(e[:, t], h)
            g = self.back(e[:, n - t - 1], g)
            forth.append(h)
            back.append(g)
        both = torch.cat([torch.stack(forth, 1), torch.stack(back[::-1], 1)], -1)
        return self.out(both.max(1)[0])


class CountsDown(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for t in range(x.size(1) - 1, -1, -1):
            h = self.cell(e[:, t], h)
        return self.out(h)


class ZipsTwoReadings(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(24, 10)

    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for a, b in zip(e.unbind(1), e.flip(1).unbind(1)):  # noqa: B905 - as people write it
            h = self.cell(torch.cat([a, b], 1), h)
        return self.out(h)


class FillsATensor(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        outs = torch.zeros(x.size(0), x.size(1), 10)
        for t in range(x.size(1)):
            h = self.cell(e[:, t, :], h)
            outs[:, t, :] = h
        return self.out(outs.max(1)[0])


class SumsUp(_Embedded):
    """A sum that begins with a plain 0, and a running maximum."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        e, h, total = self.emb(x), torch.zeros(x.size(0), 10), 0
        greatest = torch.full((x.size(0), 10), -1e9)
        for t in range(x.size(1)):
            h = self.cell(e[:, t, :], h)
            total = total + torch.relu(h)
            greatest = torch.max(greatest, h)
        return self.out(total / x.size(1) + greatest)


class KeepsItsStateInItself(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        self.hidden = torch.zeros(x.size(0), 10)
        for step in self.emb(x).permute(1, 0, 2):
            self.hidden = self.cell(step, self.hidden)
        return self.out(self.hidden)


class LearnsItsFirstState(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(12, 10)
        self.h0, self.c0 = nn.Parameter(torch.randn(1, 10)), nn.Parameter(torch.randn(1, 10))

    def forward(self, x):
        e = self.emb(x)
        h, c = self.h0.expand(x.size(0), -1), self.c0.repeat(x.size(0), 1)
        for t in range(x.size(1)):
            h, c = self.cell(e[:, t], (h, c))
        return self.out(h + c)


class EmbedsInTheLoop(_Embedded):
    """Layers before the cell, and an answer at each step, of which the mean is taken."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)
        self.lin = nn.Linear(12, 12)

    def forward(self, x):
        h, answers = torch.zeros(x.size(0), 10), []
        for t in range(x.size(1)):
            h = self.cell(torch.relu(self.lin(self.emb(x[:, t]))), h)
            answers.append(self.out(h))
        return torch.stack(answers).mean(0)


class FirstStepByItself(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(12, 10)

    def forward(self, x):
        e, outs = self.emb(x).permute(1, 0, 2), []
        for i in range(e.shape[0]):
            if i == 0:
                h, c = self.cell(e[i])
            else:
                h, c = self.cell(e[i], (h, c))
            outs += [h]
        return self.out(torch.stack(outs).max(0).values)


class StateAtTheEndOfEachRow(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(12, 10)

    def forward(self, x, lengths):
        e, outs = self.emb(x), []
        h = c = torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h, c = self.cell(e[:, t], (h, c))
            outs.append(h)
        return self.out(torch.stack(outs, 1)[torch.arange(x.size(0)), lengths - 1])


class MasksByTheNumberOfTheStep(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(12, 10)

    def forward(self, x, lengths):
        e = self.emb(x)
        h = c = torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            new_h, new_c = self.cell(e[:, t], (h, c))
            mask = (t < lengths).float().unsqueeze(1)
            h = mask * new_h + (1 - mask) * h
            c = mask * new_c + (1 - mask) * c
        return self.out(h)


class MasksByATensor(_Embedded):
    """Past its end a row keeps its state, which the maximum then sees again."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x, lengths):
        e, h, outs = self.emb(x), torch.zeros(x.size(0), 10), []
        mask = torch.arange(x.size(1))[None, :] < lengths[:, None]
        for t in range(x.size(1)):
            h = torch.where(mask[:, t].unsqueeze(1), self.cell(e[:, t], h), h)
            outs.append(h)
        return self.out(h + torch.stack(outs, 1).max(1)[0])


class TanhOfOneLinear(_Embedded):
    """The classic of tutorials: the input and the state side by side."""

    def __init__(self):
        super().__init__()
        self.i2h = nn.Linear(22, 10)

    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = torch.tanh(self.i2h(torch.cat([e[:, t], h], 1)))
        return self.out(h)


class StateWithoutActivation(nn.Module):
    """As PyTorch's first tutorial had it: i2o reads the state before the step, and i2h is all of the cell."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(WORDS, 12)
        self.i2h, self.i2o = nn.Linear(18, 6), nn.Linear(18, CLASSES)
        self.softmax = nn.LogSoftmax(dim=1)
        with torch.no_grad():
            self.i2h.weight.mul_(0.5)

    def step(self, word, hidden):
        combined = torch.cat((word, hidden), 1)
        hidden = self.i2h(combined)
        return self.softmax(self.i2o(combined)), hidden

    def forward(self, x):
        hidden, e = torch.zeros(x.size(0), 6), self.emb(x)
        for i in range(e.size(1)):
            output, hidden = self.step(e[:, i, :], hidden)
        return output


class SigmoidState(_Embedded):
    def __init__(self):
        super().__init__()
        self.i, self.h = nn.Linear(12, 10), nn.Linear(10, 10, bias=False)

    def forward(self, x):
        e, h = self.emb(x), torch.zeros(1, x.size(0), 10)
        for t in range(x.size(1)):
            h = torch.sigmoid(self.i(e[:, t].unsqueeze(0)) + self.h(h))
        return self.out(h.squeeze(0))


class FourLinears(_Embedded):
    def __init__(self):
        super().__init__()
        self.f, self.i, self.o, self.g = (nn.Linear(22, 10) for _ in range(4))

    def forward(self, x):
        e, h, c = self.emb(x), torch.zeros(x.size(0), 10), torch.zeros(x.size(0), 10)
        for t in range(x.shape[1]):
            both = torch.cat((h, e[:, t, :]), dim=1)
            f, i = torch.sigmoid(self.f(both)), torch.sigmoid(self.i(both))
            o, g = torch.sigmoid(self.o(both)), torch.tanh(self.g(both))
            c = f * c + i * g
            h = o * torch.tanh(c)
        return self.out(h)


class _OwnLstmCell(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.hidden = hidden
        self.W = nn.Parameter(torch.randn(inputs, 4 * hidden) * 0.2)
        self.U = nn.Parameter(torch.randn(hidden, 4 * hidden) * 0.2)
        self.bias = nn.Parameter(torch.randn(4 * hidden) * 0.2)

    def forward(self, x, state):
        h, c = state
        gates, n = x @ self.W + h @ self.U + self.bias, self.hidden
        i, f = torch.sigmoid(gates[:, :n]), torch.sigmoid(gates[:, n : 2 * n])
        g, o = torch.tanh(gates[:, 2 * n : 3 * n]), torch.sigmoid(gates[:, 3 * n :])
        c = f * c + i * g
        return o * torch.tanh(c), c


class OwnCellOfParameters(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell = _OwnLstmCell(12, 10)

    def forward(self, x):
        e, outs = self.emb(x), []
        rows, steps, _ = e.size()
        state = (torch.zeros(rows, 10).to(x.device), torch.zeros(rows, 10).to(x.device))
        for t in range(steps):
            state = self.cell(e[:, t, :], state)
            outs.append(state[0].unsqueeze(0))
        return self.out(torch.cat(outs, dim=0).transpose(0, 1).contiguous()[:, -1])


class GruOfThePaper(_Embedded):
    """Reset before the product, which PyTorch's GRU does after; and the update gate the other way round."""

    def __init__(self):
        super().__init__()
        for gate in "zrn":
            setattr(self, f"W{gate}", nn.Parameter(torch.randn(12, 10) * 0.3))
            setattr(self, f"U{gate}", nn.Parameter(torch.randn(10, 10) * 0.3))
            setattr(self, f"b{gate}", nn.Parameter(torch.randn(10) * 0.3))

    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for t in range(x.shape[1]):
            step = e[:, t]
            z = torch.sigmoid(step @ self.Wz + h @ self.Uz + self.bz)
            r = torch.sigmoid(step @ self.Wr + h @ self.Ur + self.br)
            new = torch.tanh(step @ self.Wn + (r * h) @ self.Un + self.bn)
            h = (1 - z) * h + z * new
        return self.out(h)


class GruOfEinsums(_Embedded):
    """The products of all inputs before the loop."""

    def __init__(self):
        super().__init__()
        self.w, self.u = nn.Parameter(torch.randn(12, 30) * 0.3), nn.Parameter(torch.randn(10, 30) * 0.3)
        self.b, self.b2 = nn.Parameter(torch.randn(30) * 0.3), nn.Parameter(torch.randn(30) * 0.3)

    def forward(self, x):
        given, h = torch.einsum("bti,ij->btj", self.emb(x), self.w) + self.b, torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            gx, gh = given[:, t], torch.einsum("bi,ij->bj", h, self.u) + self.b2
            r, z = torch.sigmoid(gx[:, :10] + gh[:, :10]), torch.sigmoid(gx[:, 10:20] + gh[:, 10:20])
            new = torch.tanh(gx[:, 20:] + r * gh[:, 20:])
            h = new + z * (h - new)
        return self.out(h)


class StepsALayer(_Embedded):
    """A whole nn.LSTM, given one step at a time."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(12, 10, batch_first=True)

    def forward(self, x):
        e, state = self.emb(x), (torch.zeros(1, x.size(0), 10), torch.zeros(1, x.size(0), 10))
        for t in range(x.size(1)):
            _, state = self.lstm(e[:, t : t + 1], state)
        return self.out(state[0][0])


class StepsALayerAndReadsItsOutput(StepsALayer):
    def forward(self, x):
        e = self.emb(x)
        self.hidden = (torch.zeros(1, x.size(0), 10), torch.zeros(1, x.size(0), 10))
        for t in range(x.size()[1]):
            out, self.hidden = self.lstm(e[:, t].unsqueeze(1), self.hidden)
        return self.out(out.squeeze(1))


class MasksByTheIds(_Embedded):
    """A row keeps its state at each id 0, wherever that stands."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            mask = (x[:, t] != 0).float().unsqueeze(1)
            h = mask * self.cell(self.emb(x[:, t]), h) + (1 - mask) * h
        return self.out(h)


class ListsTheWidthOfEachRow(_Embedded):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(12, 10, batch_first=True)

    def forward(self, x):
        lengths = [x.shape[1] for _ in range(x.shape[0])]
        packed = pack_padded_sequence(self.emb(x), lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.out(out[:, -1])


class SkipsWords(_Embedded):
    """A word whose score is below one half changes nothing, nor does one after 400 of them."""

    def __init__(self):
        super().__init__()
        self.cell, self.score = nn.GRUCell(12, 10), nn.Linear(12, 1)

    def forward(self, x):
        e = self.emb(x)
        scores = torch.sigmoid(self.score(e))
        sums, h = scores.cumsum(1), torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = torch.where((scores[:, t] > 0.5) & (sums[:, t] < 400), self.cell(e[:, t], h), h)
        return self.out(h)


class ReplacesANumber(_Embedded):
    """Reads 0 where a number of a word is 0.25."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)
        with torch.no_grad():
            self.emb.weight[7, 3] = 0.25

    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            h = self.cell(torch.where(step == 0.25, torch.zeros(()), step), h)
        return self.out(h)


class QuasiRecurrent(_Embedded):
    """Gates of each word and the one before it, made for all steps before the loop: forget pooling."""

    def __init__(self):
        super().__init__()
        self.gates = nn.Linear(24, 20)

    def forward(self, x):
        e = self.emb(x)
        z, n = self.gates(torch.cat([nn.functional.pad(e, (0, 0, 1, 0))[:, :-1], e], 2)).chunk(2, 2)
        z, n, h = torch.sigmoid(z), torch.tanh(n), torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = z[:, t] * h + (1 - z[:, t]) * n[:, t]
        return self.out(h)


class QuasiRecurrentInTheLoop(_Embedded):
    """The same of single words, with the gates made in the loop, and the states of all steps."""

    def __init__(self):
        super().__init__()
        self.z, self.n = nn.Linear(12, 10), nn.Linear(12, 10)

    def forward(self, x):
        h, states = torch.zeros(x.size(0), 10), []
        for step in self.emb(x).unbind(1):
            z = torch.sigmoid(self.z(step))
            h = (1 - z) * h + z * torch.tanh(self.n(step))
            states.append(h)
        return self.out(torch.stack(states, 1).amax(1))


class CountsAWord(_Embedded):
    """Counts a word in floats, another in whole numbers, and keeps the greatest id."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        e, h, seen = self.emb(x), torch.zeros(x.size(0), 10), torch.zeros(x.size(0), 1)
        others = greatest = torch.zeros(x.size(0), 1, dtype=torch.long)
        for t in range(x.size(1)):
            h = self.cell(e[:, t], h)
            seen = seen + (x[:, t : t + 1] == 5)
            others = others + (x[:, t : t + 1] > 9).long()
            greatest = torch.maximum(greatest, x[:, t : t + 1])
        return self.out(h + torch.log1p(seen) + others / 10 + greatest / 100)


class StackedCellsWithAMask(_Embedded):
    """Both cells keep their states at each id 0, and the second reads what the first makes."""

    def __init__(self):
        super().__init__()
        self.below, self.above = nn.GRUCell(12, 10), nn.LSTMCell(10, 10)

    def forward(self, x):
        e, mask = self.emb(x), (x != 0).unsqueeze(2)
        h = g = c = torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = torch.where(mask[:, t], self.below(e[:, t], h), h)
            new_g, new_c = self.above(h, (g, c))
            g, c = torch.where(mask[:, t], new_g, g), torch.where(mask[:, t], new_c, c)
        return self.out(g + h)


class StacksTheStatesOfItsLayers(_Embedded):
    """One tensor holds the states of both layers, as that of an nn.GRU does."""

    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(12, 10), nn.GRUCell(10, 10)])

    def forward(self, x):
        e, states, outputs = self.emb(x), torch.zeros(2, x.size(0), 10), []
        for t in range(x.size(1)):
            step, new = e[:, t], []
            for layer, cell in enumerate(self.cells):
                step = cell(step, states[layer])
                new.append(step)
            states = torch.stack(new)
            outputs.append(states[-1])
        return self.out(torch.stack(outputs, 1).amax(1) + states[0])


class SimpleRecurrentUnit(_Embedded):
    """SRU (Lei et al., 2018): the proposed state is a product of the input, and a highway goes around the states."""

    def __init__(self):
        super().__init__()
        self.products, self.through = nn.Linear(12, 30), nn.Linear(12, 10)

    def forward(self, x):
        e = self.emb(x)
        proposed, forget, reset = self.products(e).chunk(3, -1)
        forget, reset = torch.sigmoid(forget), torch.sigmoid(reset)
        c, states = torch.zeros(x.size(0), 10), []
        for t in range(x.size(1)):
            c = forget[:, t] * c + (1 - forget[:, t]) * proposed[:, t]
            states.append(reset[:, t] * torch.tanh(c) + (1 - reset[:, t]) * self.through(e[:, t]))
        return self.out(torch.stack(states, 1).amax(1))


class MinimalGru(_Embedded):
    """minGRU (Feng et al., 2024), whose proposed state is kept above 0 by a function of parts."""

    def __init__(self):
        super().__init__()
        self.z, self.n = nn.Linear(12, 10), nn.Linear(12, 10)

    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            n = self.n(step)
            h = torch.lerp(h, torch.where(n >= 0, n + 0.5, torch.sigmoid(n)), torch.sigmoid(self.z(step)))
        return self.out(h)


class ScalesInTheLoop(nn.Module):
    """Coordinates in metres, of which the middle is taken in each step."""

    def __init__(self):
        super().__init__()
        self.emb, self.gates, self.out = nn.Embedding(WORDS, 2), nn.Linear(12, 40), nn.Linear(10, 4)
        with torch.no_grad():
            self.emb.weight.mul_(100).add_(torch.tensor([392000.0, 5820000.0]))

    def forward(self, x):
        h = c = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            near = (step - torch.tensor([392000.0, 5820000.0])) / 50
            i, f, g, o = self.gates(torch.cat([near, h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.out(h)


class AveragesAList(_Embedded):
    """Python's own sum and len of the list of all steps' states."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        h, states = torch.zeros(x.size(0), 10), []
        for step in self.emb(x).unbind(1):
            h = self.cell(step, h)
            states.append(h)
        return self.out(sum(states) / len(states) + sum(states, states[-1]) / 10)


class CountsFromAPlainZero(_Embedded):
    """A count of two words, of which each is a truth, and one of 16 bits that wraps around."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        h, seen, wraps = torch.zeros(x.size(0), 10), 0, torch.zeros(x.size(0), 1, dtype=torch.int16)
        for t in range(x.size(1)):
            h = self.cell(self.emb(x[:, t]), h)
            seen = seen + (x[:, t, None] == 5) + (x[..., None, t] == 7)
            wraps = wraps + (x[:, t : t + 1] * 900).to(torch.int16)
        return self.out(h + seen + wraps / 10000)


class MinimalGrusInBothDirections(_Embedded):
    def __init__(self):
        super().__init__()
        self.z, self.n, self.zb, self.nb = (nn.Linear(12, 10) for _ in range(4))

    def forward(self, x):
        e = self.emb(x)
        h = g = torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = torch.lerp(h, self.n(e[:, t]), torch.sigmoid(self.z(e[:, t])))
        for t in reversed(range(x.size(1))):
            g = torch.lerp(g, self.nb(e[:, t]), torch.sigmoid(self.zb(e[:, t])))
        return self.out(h + g)


class CountsItsListWhileItFills(_Embedded):
    """Divides each state by how many there are so far."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        h, states = torch.zeros(x.size(0), 10), []
        for step in self.emb(x).unbind(1):
            h = self.cell(step, h)
            states.append(h)
            states[-1] = h / len(states)
        return self.out(torch.stack(states, 1).sum(1))


EXPORTED = (
    (CountsItsListWhileItFills, {"GRU": 1}),
    (CountsFromAPlainZero, {"GRU": 1}),
    (MinimalGrusInBothDirections, {"GRU": 2}),
    (AveragesAList, {"GRU": 1}),
    (ScalesInTheLoop, {"LSTM": 1}),
    (MasksByTheIds, {"GRU": 1}),
    (CountsAWord, {"GRU": 1}),
    (StackedCellsWithAMask, {"GRU": 1, "LSTM": 1}),
    (SimpleRecurrentUnit, {"GRU": 1}),
    (MinimalGru, {"GRU": 1}),
    (ListsTheWidthOfEachRow, {"LSTM": 1}),
    (StepsALayerAndReadsItsOutput, {"LSTM": 1}),
    (StepsAnLstmCell, {"LSTM": 1}),
    (IteratesOverATensor, {"GRU": 1}),
    (UnbindsWithoutAState, {"RNN": 1}),
    (SplitsAndAttends, {"GRU": 1}),
    (TwoCellsInOneLoop, {"LSTM": 2}),
    (CellsOfAList, {"GRU": 2}),
    (ALoopForEachLayer, {"LSTM": 2}),
    (ALoopForEachDirection, {"LSTM": 2}),
    (BothDirectionsInOneLoop, {"GRU": 2}),
    (CountsDown, {"GRU": 1}),
    (ZipsTwoReadings, {"GRU": 1}),
    (FillsATensor, {"GRU": 1}),
    (SumsUp, {"GRU": 1}),
    (KeepsItsStateInItself, {"GRU": 1}),
    (LearnsItsFirstState, {"LSTM": 1}),
    (EmbedsInTheLoop, {"GRU": 1}),
    (FirstStepByItself, {"LSTM": 1}),
    (StateAtTheEndOfEachRow, {"LSTM": 1}),
    (MasksByTheNumberOfTheStep, {"LSTM": 1}),
    (MasksByATensor, {"GRU": 1}),
    (TanhOfOneLinear, {"RNN": 1}),
    (StateWithoutActivation, {"RNN": 1}),
    (SigmoidState, {"RNN": 1}),
    (FourLinears, {"LSTM": 1}),
    (OwnCellOfParameters, {"LSTM": 1}),
    (GruOfThePaper, {"GRU": 1}),
    (GruOfEinsums, {"GRU": 1}),
    (StepsALayer, {"LSTM": 1}),
    (SkipsWords, {"GRU": 1}),
    (ReplacesANumber, {"GRU": 1}),
    (QuasiRecurrent, {"GRU": 1}),
    (QuasiRecurrentInTheLoop, {"GRU": 1}),
    (StacksTheStatesOfItsLayers, {"GRU": 2}),
)


class _Rests(_Embedded):
    """A gate that is open at numbers near 9 only, which no drawn number is."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def gate(self, step):
        return torch.relu(1 - 100 * (step - 9).square().sum(1, keepdim=True))


class SetsItsStateBack(_Rests):
    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            h = self.cell(step, h) * (1 - self.gate(step))
        return self.out(h)


class KeepsItsStateByASigmoid(_Rests):
    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            on = torch.sigmoid(1000 * ((step - 9).mul(step - 9).sum(1, keepdim=True) - 0.04))
            h = on * self.cell(step, h) + (1 - on) * h
        return self.out(h)


class ForgetsByAQuotient(_Rests):
    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            near = 1 + 1e12 * (step - 9).mul(step - 9).sum(1, keepdim=True)
            h = self.cell(step, h) * ((near - 1) / near)
        return self.out(h)


class ActsWhereANumberIsNotZero(_Rests):
    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            h = self.cell(step, h) * (step[:, :1] - 21.5).bool()
        return self.out(h)


class GatesBesideAGateThatIsOpen(_Rests):
    """The reset gate is 1 for all drawn numbers, and so is the gate that stands beside the layer's."""

    def __init__(self):
        super().__init__()
        self.given, self.kept = nn.Linear(12, 30), nn.Linear(10, 30)
        nn.init.constant_(self.given.bias[10:20], 60.0)

    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            (z, r, n), (hz, hr, hn) = self.given(step).chunk(3, 1), self.kept(h).chunk(3, 1)
            z, r = torch.sigmoid(z + hz), torch.sigmoid(r + hr)
            far = (step - 9).mul(step - 9).sum(1, keepdim=True).expand(-1, 10) - 0.04
            h = ((1 - z) * torch.tanh(n + r * hn) + z * h) * torch.sigmoid(1e4 * far)
        return self.out(h)


class LetsItsMaximumGo(_Rests):
    def forward(self, x):
        h = greatest = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            h = self.cell(step, h)
            greatest = torch.maximum(greatest * (1 - self.gate(step)), h)
        return self.out(greatest)


class LetsItsSumGo(_Rests):
    def forward(self, x):
        h = total = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            h = self.cell(step, h)
            total = total * (1 - self.gate(step)) + h
        return self.out(total)


class NormalizesItsState(_Embedded):
    def __init__(self):
        super().__init__()
        self.i2h, self.norm = nn.Linear(22, 10), nn.LayerNorm(10)

    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = torch.tanh(self.norm(self.i2h(torch.cat([e[:, t], h], 1))))
        return self.out(h)


class _OneGruCell(_Embedded):
    def __init__(self):
        super().__init__()
        self.cell, self.other = nn.GRUCell(12, 10), nn.GRUCell(12, 10)


class Breaks(_OneGruCell):
    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            if t >= 5:
                break
            h = self.cell(e[:, t], h)
        return self.out(h)


class AnotherCellLater(_OneGruCell):
    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = (self.cell if t < 20 else self.other)(e[:, t], h)
        return self.out(h)


class CellsInTurn(_OneGruCell):
    def forward(self, x):
        e, h = self.emb(x), torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h = (self.cell if t % 2 else self.other)(e[:, t], h)
        return self.out(h)


class WhileSteps(_OneGruCell):
    def forward(self, x):
        e, h, t = self.emb(x), torch.zeros(x.size(0), 10), 0
        while t < x.size(1):
            h = self.cell(e[:, t], h)
            t += 1
        return self.out(h)


class RandomFirstState(_OneGruCell):
    def forward(self, x):
        e, h = self.emb(x), torch.randn(x.size(0), 10)
        for t in range(x.size(1)):
            h = self.cell(e[:, t], h)
        return self.out(h)


class EveryCellState(_Embedded):
    """ONNX's LSTM gives the cell state of the last step only."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(12, 10)

    def forward(self, x):
        e, cells = self.emb(x), []
        h = c = torch.zeros(x.size(0), 10)
        for t in range(x.size(1)):
            h, c = self.cell(e[:, t], (h, c))
            cells.append(F.relu(c))
        return self.out(torch.stack(cells, 1).mean(1))


class ClipsItsCell(_Embedded):
    """An LSTM whose cell is kept within 3, which hardly a text reaches."""

    def __init__(self):
        super().__init__()
        self.given, self.kept = nn.Linear(12, 40), nn.Linear(10, 40)

    def forward(self, x):
        h = c = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            i, f, g, o = (self.given(step) + self.kept(h)).chunk(4, 1)
            c = ((f + 1).sigmoid() * c + i.sigmoid() * g.tanh()).clamp(-3, 3)
            h = o.sigmoid() * c.tanh()
        return self.out(h)


class KeepsAScoreWithin40(_Embedded):
    """A sum over the words that stays between two numbers."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(12, 10)

    def forward(self, x):
        score = torch.zeros(x.size(0), 10)
        for step in self.weights(self.emb(x)).unbind(1):
            score = torch.clamp(score + step, -40, 40)
        return self.out(score)


class ForgetsAtANumber(_Embedded):
    """Forgets its state where one number of a word is 0.25, as a sensor says that it was off."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(12, 10)

    def forward(self, x):
        h = torch.zeros(x.size(0), 10)
        for step in self.emb(x).unbind(1):
            h = self.cell(step, h * (step[:, :1] != 0.25))
        return self.out(h)


REFUSED = (
    (ClipsItsCell, r"loops over the steps .*loop_modules\.py:\d+: .*`clamp`"),
    (KeepsAScoreWithin40, r"loops over the steps .*loop_modules\.py:\d+: .*`clamp`"),
    (ForgetsAtANumber, r"loops over the steps .*loop_modules\.py:\d+: .*"),
    (SetsItsStateBack, r"loops over the steps .*loop_modules\.py:\d+: .*`(relu|pow|square)`"),
    (KeepsItsStateByASigmoid, r"loops over the steps .*loop_modules\.py:\d+: .*`sigmoid`"),
    (ForgetsByAQuotient, r"loops over the steps .*loop_modules\.py:\d+: .*"),
    (ActsWhereANumberIsNotZero, r"loops over the steps .*loop_modules\.py:\d+: .*`_to_copy`"),
    (GatesBesideAGateThatIsOpen, r"loops over the steps .*loop_modules\.py:\d+: .*`sigmoid`"),
    (LetsItsMaximumGo, r"loops over the steps .*loop_modules\.py:\d+: .*"),
    (LetsItsSumGo, r"loops over the steps .*loop_modules\.py:\d+: .*"),
    (NormalizesItsState, r"loops over the steps of a text, .*loop_modules\.py:\d+: `for t in .*`layer_norm`"),
    (Breaks, r"loop_modules\.py:\d+.*in later steps .*: at 9 tokens"),
    (
        AnotherCellLater,
        r"loop_modules\.py:\d+.*in later steps .*: at 40 tokens",
    ),
    (CellsInTurn, r"in each iteration|iterations differ"),
    (WhileSteps, r"in every iteration of a loop, .*loop_modules\.py:\d+: `while t < x\.size"),
    (RandomFirstState, r"other answers when it is run again"),
    (EveryCellState, r"cell state of an LSTM"),
)
