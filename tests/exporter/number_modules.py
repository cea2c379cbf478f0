"""Modules that take sequences of numbers, as people write them; `EXPORTED` has what each is asked with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CHANNELS = 3


class LastStep(nn.Module):
    """The last step of a layer."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, 8, batch_first=True)
        self.fc = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x)[0][:, -1])


class InitHidden(LastStep):
    """States that are made for a batch, and softmax at the end."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(1, x.size(0), 8).to(x.device)
        c = torch.zeros(1, x.size(0), 8).to(x.device)
        return torch.softmax(self.fc(self.lstm(x, (h, c))[0][:, -1, :]), dim=1)


class InDoubles(LastStep):
    """Weights in double precision, and states that are made in it."""

    def __init__(self) -> None:
        super().__init__()
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(1, x.size(0), 8).to(x.device, dtype=torch.double)
        return self.fc(self.lstm(x.double(), (state, torch.zeros(1, x.size(0), 8, dtype=torch.float64)))[0][:, -1])


class Packed(nn.Module):
    """Lengths and packing, and a mean over the real steps."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(CHANNELS, 6, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(12, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.fc(out.sum(1) / lengths[:, None])


class ConvolutionFirst(nn.Module):
    """[batch, channels, time], a convolution before the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, 8, 3, padding=1)
        self.gru = nn.GRU(8, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x)).permute(2, 0, 1)
        return torch.log_softmax(self.fc(self.gru(x)[0][-1]), dim=1)


class Pooled(nn.Module):
    """Convolutions, each with a pool behind it, which shorten what the layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(CHANNELS, 8, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(8, 8, 3), nn.ReLU(), nn.MaxPool1d(3, stride=2, padding=1), nn.MaxPool1d(2, dilation=2, stride=1),
        )  # fmt: skip
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(self.body(x.transpose(1, 2)).transpose(1, 2))[0][:, -1])


class OwnScale(LastStep):
    """Each recording scaled by its own mean and deviation, as an ECG is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, correction=0) + 1e-8))


class TimeFirst(LastStep):
    """[time, batch, channels]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x)[1][0][-1])


class Planes(nn.Module):
    """[batch, 1, time, channels], as convolutions over time take it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (5, 1), padding=(2, 0))
        self.lstm = nn.LSTM(4 * CHANNELS, 8, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x)).permute(0, 2, 1, 3).flatten(2)
        return self.fc(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    """Weights of the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, 8, batch_first=True, bidirectional=True)
        self.score = nn.Linear(16, 1)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        return self.fc((torch.softmax(self.score(out), dim=1) * out).sum(1))


class Cell(nn.Module):
    """A cell that a loop steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(CHANNELS, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), 8)
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
        return self.fc(h)


class Forecast(LastStep):
    """One value, without the last axis."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(-1)


class Horizon(LastStep):
    """Five values ahead, of one channel that has no axis of its own."""

    def __init__(self) -> None:
        super().__init__(5)
        self.lstm = nn.LSTM(1, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze(-1))


class Ahead(LastStep):
    """Two steps ahead, of all channels: [batch, 2, channels]."""

    def __init__(self) -> None:
        super().__init__(2 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).view(-1, 2, CHANNELS)


class Window(nn.Module):
    """All steps of a window of 20 into one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(CHANNELS, 4, batch_first=True)
        self.fc = nn.Linear(80, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gru(x)[0].flatten(1))


class Strides(nn.Module):
    """Two convolutions with strides, which take 136 steps together."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv1d(CHANNELS, 4, 16, 8), nn.Conv1d(4, 4, 16, 8))
        self.gru = nn.GRU(4, 4, batch_first=True)
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gru(self.convolutions(x.transpose(1, 2)).transpose(1, 2))[1][-1])


class FarStep(LastStep):
    """The state at step 40, which shorter sequences have not."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x)[0][:, 40])


class Positions(LastStep):
    """A table of 20 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(20, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.positions(torch.arange(x.size(1))))


class OverNumbers(nn.Module):
    """Attention over the numbers themselves, by one head of three: its scale is no number of float32."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(CHANNELS, 1, batch_first=True)
        self.gru = nn.GRU(CHANNELS, 8, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gru(self.attention(x, x, x)[0])[1][-1])


class MeanOfNumbers(nn.Module):
    """Its own attention over the numbers, whose mean over 3,000 steps of far numbers is beyond float32."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(CHANNELS, CHANNELS)
        self.gru = nn.GRU(CHANNELS, 16, batch_first=True)
        self.fc = nn.Linear(16 + CHANNELS, 4)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ x.transpose(1, 2) / math.sqrt(x.shape[-1])
        context = (torch.softmax(scores, -1) @ x).mean(1)
        return self.fc(torch.cat([self.gru(x)[1][-1], context], 1))


class Unread(LastStep):
    """Further inputs that forward does not read."""

    def forward(self, x_enc: Tensor, x_mark_enc: Tensor, x_dec: Tensor, x_mark_dec: Tensor) -> Tensor:
        del x_mark_enc, x_dec, x_mark_dec
        return super().forward(x_enc)


def in_order() -> nn.Module:
    """Layers in a row, which hold no class of their own."""

    class Last(nn.Module):
        def forward(self, found: tuple[Tensor, Any]) -> Tensor:
            return found[0][:, -1]

    return nn.Sequential(nn.GRU(CHANNELS, 8, batch_first=True), Last(), nn.Linear(8, 4))


LABELS = {"labels": ["a", "b", "c", "d"]}
XYZ = {"channels": ["x", "y", "z"], **LABELS}
# How each is called by its owner on samples [batch, time, channels], and how it is exported.
EXPORTED: dict[str, tuple[Any, Callable[..., Tensor], dict[str, Any]]] = {
    "LastStep": (LastStep, lambda module, x, _: module(x), XYZ),
    "InitHidden": (InitHidden, lambda module, x, _: torch.log(module(x)), XYZ),
    "InDoubles": (InDoubles, lambda module, x, _: module(x).float(), XYZ),
    "Packed": (Packed, lambda module, x, lengths: module(x, lengths), XYZ),
    "ConvolutionFirst": (ConvolutionFirst, lambda module, x, _: module(x.transpose(1, 2)), XYZ),
    "Pooled": (Pooled, lambda module, x, _: module(x), XYZ),
    "TimeFirst": (TimeFirst, lambda module, x, _: module(x.transpose(0, 1)), XYZ),
    "Planes": (Planes, lambda module, x, _: module(x.unsqueeze(1)), XYZ),
    "Attention": (Attention, lambda module, x, _: module(x), XYZ),
    "Cell": (Cell, lambda module, x, _: module(x), XYZ),
    "Forecast": (Forecast, lambda module, x, _: module(x)[:, None], {"channels": 3, "values": ["speed"]}),
    "Horizon": (
        Horizon,
        lambda module, x, _: module(x[..., 0]),
        {"channels": ["load"], "values": [f"t{n}" for n in range(5)]},
    ),
    "Ahead": (Ahead, lambda module, x, _: module(x).flatten(1), {"channels": 3, "values": list("uvwxyz")}),
    "Window": (Window, lambda module, x, _: module(x), {**XYZ, "steps": 20}),
    "Strides": (Strides, lambda module, x, _: module(x), XYZ),
    "FarStep": (FarStep, lambda module, x, _: module(x), XYZ),
    "OverNumbers": (OverNumbers, lambda module, x, _: module(x), XYZ),
    "MeanOfNumbers": (MeanOfNumbers, lambda module, x, _: module(x), XYZ),
    "Unread": (Unread, lambda module, x, _: module(x, None, None, None), XYZ),
    "in_order": (in_order, lambda module, x, _: module(x), XYZ),
}
