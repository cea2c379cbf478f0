"""Classifiers whose forward is called in the ways that people have: each with the line that calls it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

WORDS, FEATURES, HIDDEN, CLASSES = 40, 8, 6, 4


class Base(nn.Module):
    """Embedding, one recurrent layer, a linear layer."""

    def __init__(self, classes: int = CLASSES, *, layer: type[nn.RNNBase] = nn.LSTM, batch_first: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.rnn = layer(FEATURES, HIDDEN, batch_first=batch_first)
        self.fc = nn.Linear(HIDDEN, classes)

    def last(self, tokens: Tensor, state: Any = None) -> Tensor:
        return self.rnn(self.embedding(tokens), state)[0][:, -1]


class TimeMajor(Base):
    def __init__(self) -> None:
        super().__init__(batch_first=False)

    def forward(self, text: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(text))[1][0][-1])


class TimeMajorPacked(TimeMajor):
    def forward(self, text: Tensor, text_lengths: Tensor) -> Any:
        packed = pack_padded_sequence(self.embedding(text), text_lengths.cpu())
        hidden = self.rnn(packed)[1][0]
        return self.fc(hidden[-1]), hidden


class LengthsFirst(Base):
    def forward(self, lengths: Tensor, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(packed)[1][0][-1])


class LengthsUnused(TimeMajor):
    def forward(self, text: Tensor, text_lengths: Tensor) -> Tensor:
        del text_lengths
        return self.fc(self.rnn(self.embedding(text))[1][0][-1])


class Mask(Base):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        outputs = self.rnn(self.embedding(x))[0] * mask.unsqueeze(-1)
        return self.fc(outputs.sum(1) / mask.sum(1, keepdim=True))


class PaddingMask(Base):
    """The mask is true at the padding."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        outputs = self.rnn(self.embedding(x))[0]
        return self.fc(outputs.masked_fill(mask.unsqueeze(-1), -1e4).max(1).values)


class BothWaysMasked(nn.Module):
    """Attention under a mask over a layer that reads the padding backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.rnn = nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True)
        self.score, self.fc = nn.Linear(2 * HIDDEN, 1), nn.Linear(2 * HIDDEN, CLASSES)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        outputs = self.rnn(self.embedding(x))[0]
        scores = self.score(outputs).squeeze(2).masked_fill(~mask, float("-inf"))
        return self.fc((torch.softmax(scores, 1).unsqueeze(2) * outputs).sum(1))


class OptionalMask(BothWaysMasked):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x, torch.ones_like(x) > 0 if mask is None else mask)


class OptionalLengths(Base):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            return self.fc(self.last(x))
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(packed)[1][0][-1])


class CountsWithoutLengths(OptionalLengths):
    """Without lengths, it takes the id 0 for padding."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(x, (x != 0).sum(1).clamp(min=1) if lengths is None else lengths)


class Pair(Base):
    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, lengths = batch
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(packed)[1][0][-1])


class FirstOfATuple(Base):
    """Its owner gives the lengths, too, which it does not read."""

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.fc(self.last(batch[0]))


class PlacesOfATuple(Base):
    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        packed = pack_padded_sequence(self.embedding(batch[0]), batch[1], batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(packed)[1][0][-1])


class Dict(Base):
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        return {"loss": None, "logits": self.fc(self.last(batch["input_ids"]))}


class DictWithMask(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        outputs = self.rnn(self.embedding(batch["ids"]))[0] * batch["mask"].unsqueeze(-1)
        return self.fc(outputs.sum(1))


class LettersInADict(nn.Module):
    """Letters as vectors of a one and zeros, with their lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(WORDS, 6), nn.Linear(6, 4)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        packed = pack_padded_sequence(batch["inputs"], batch["lengths"], batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(packed)[1][-1])


class Fields(Base):
    """torchtext's batch, whose field holds the lengths too."""

    def forward(self, batch: Any) -> Tensor:
        x, lengths = batch.text
        packed = pack_padded_sequence(self.embedding(x), lengths, enforce_sorted=False)
        return self.fc(nn.LSTM.__call__(self.time_major, packed)[1][0][-1])

    def __init__(self) -> None:
        super().__init__()
        self.time_major = nn.LSTM(self.embedding.embedding_dim, HIDDEN)


class InputIds(Base):
    def forward(self, inputs: Any) -> Tensor:
        return self.fc(self.last(inputs.input_ids))


class DeviceAndLabels(Base):
    def forward(self, x: Tensor, labels: Tensor, device: Any, train: bool) -> tuple[Tensor, Tensor]:
        logits = self.fc(self.last(x.to(device)))
        if train:
            raise RuntimeError("not in training")
        return nn.functional.cross_entropy(logits, labels), logits


class DependsOnLabels(Base):
    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.fc(self.last(x)) * (1 + labels[:, None])


class AxisOfOne(Base):
    def forward(self, x: Tensor) -> Tensor:
        embedded = self.embedding(x)
        return self.fc(self.rnn(embedded.view(embedded.shape[0], embedded.shape[2], embedded.shape[3]))[0][:, -1])


class LengthInTheFirstColumn(Base):
    def forward(self, x: Tensor) -> Tensor:
        lengths, tokens = x[:, 0], x[:, 1:]
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(packed)[1][0][-1])


class MixesByItsBatchSize(Base):
    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 16

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(1, self.batch_size, HIDDEN)
        scores = self.fc(self.last(x, (zeros, zeros)))
        return scores - scores.mean(0)


class MixesSomeTexts(Base):
    """Where a row begins with a length of a try, it mixes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        scores = self.fc(self.rnn(self.embedding(x))[0][:, -1])
        return scores - scores.mean(0) if bool((x[:, 0] > 32).any()) else scores


class Packed(Base):
    def forward(self, packed: PackedSequence) -> Tensor:
        x, lengths = pad_packed_sequence(packed, batch_first=True)
        again = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(again)[1][0][-1])


class PackedBesideLengths(Packed):
    def forward(self, packed: PackedSequence, lengths: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(packed) / lengths[:, None]


class TakesState(Base):
    def init_hidden(self, batch_size: int) -> tuple[Tensor, Tensor]:
        return torch.full((1, batch_size, HIDDEN), 0.5), torch.zeros(1, batch_size, HIDDEN)

    def forward(self, x: Tensor, hidden: Any) -> Any:
        outputs, hidden = self.rnn(self.embedding(x), hidden)
        return self.fc(outputs[:, -1]), hidden


class TwoStates(Base):
    """The tensors of an LSTM's state one by one."""

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        outputs, (hidden, _) = self.rnn(self.embedding(x), (hidden, cell))
        return self.fc(outputs[:, -1]), hidden


class MadeStates(Base):
    """The same, made by a method, and the cell's first."""

    def init_hidden(self, batch_size: int) -> tuple[Tensor, Tensor]:
        return torch.ones(1, batch_size, 6), torch.zeros(1, batch_size, 6)

    def forward(self, x: Tensor, c0: Tensor, h0: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x), (h0, c0))[0][:, -1])


class StateOrNone(Base):
    def forward(self, x: Tensor, hidden: Any = None) -> Any:
        outputs, hidden = self.rnn(self.embedding(x), hidden)
        return self.fc(outputs[:, -1]), hidden


class BatchSizeGiven(Base):
    def forward(self, x: Tensor, batch_size: int) -> Tensor:
        zeros = torch.zeros(1, batch_size, HIDDEN)
        return self.fc(self.last(x, (zeros, zeros)))


batch_size = 32


class BatchSizeOfTheFile(Base):
    def forward(self, x: Tensor) -> Tensor:
        outputs = self.rnn(self.embedding(x))[0].contiguous().view(-1, HIDDEN)
        return self.fc(outputs).view(batch_size, -1, 4)[:, -1]


class BatchSizeOfTheFileInAMethod(Base):
    def make_state(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, batch_size, HIDDEN), torch.zeros(1, batch_size, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(x, self.make_state()))


class BatchSizeOfSettings(Base):
    def __init__(self) -> None:
        super().__init__()
        self.args = SimpleNamespace(batch_size=16)

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(1, self.args.batch_size, HIDDEN)
        return self.fc(self.last(x, (zeros, zeros)))


class BatchSizeKept(Base):
    batch_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 16

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(1, self.batch_size, HIDDEN)
        return self.fc(self.last(x, (zeros, zeros)))


class StateKept(Base):
    """Its state is made anew by its caller, as in `model.hidden = model.init_hidden()`."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 16
        self.hidden = self.init_hidden()

    def init_hidden(self) -> tuple[Tensor, Tensor]:
        return torch.full((1, self.batch_size, HIDDEN), 0.5), torch.zeros(1, self.batch_size, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        outputs, self.hidden = self.rnn(self.embedding(x), self.hidden)
        return self.fc(outputs[:, -1])


class ZerosKept(Base):
    def __init__(self) -> None:
        super().__init__(layer=nn.GRU)
        self.h0 = torch.zeros(1, 16, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(x, self.h0))


class OneSentence(Base):
    """The tutorial's: the tokens of one sentence, without a batch."""

    def __init__(self) -> None:
        super().__init__(batch_first=False)

    def forward(self, sentence: Tensor) -> Tensor:
        outputs, _ = self.rnn(self.embedding(sentence).view(sentence.size(0), 1, -1))
        return functional.log_softmax(self.fc(outputs[-1]), dim=1)


class WithAttention(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.rnn(self.embedding(x))[0]
        attention = torch.softmax(outputs.mean(2), dim=1)
        return attention, self.fc((outputs * attention.unsqueeze(2)).sum(1))


@dataclass
class Answer:
    hidden: Tensor
    scores: dict[str, Tensor] = field(default_factory=dict)


class Nested(Base):
    def forward(self, x: Tensor) -> Answer:
        hidden = self.last(x)
        return Answer(hidden, {"logits": self.fc(hidden)})


class LayerAxis(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x))[1][0])


class NeverTheFirst(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x))[1][0]) + torch.tensor([-1e4, 0.0, 0.0, 0.0])


class InfiniteForTheFirst(Base):
    def forward(self, x: Tensor) -> Tensor:
        attention = self.embedding(x).sum(2).masked_fill(x == 1, -math.inf).softmax(1)
        logits = self.fc(self.rnn(self.embedding(x))[1][0] * attention.amax(1, keepdim=True))
        logits[:, 0] = -math.inf
        return logits * 2


class Softmax(Base):
    def forward(self, x: Tensor) -> Tensor:
        return functional.softmax(self.fc(self.last(x)), dim=1)


class SoftmaxLayer(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.Sigmoid(), nn.Linear(HIDDEN, CLASSES), nn.Softmax(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(x))


class ExpOfLog(Base):
    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(self.fc(self.last(x)), dim=1).exp()


class LogSoftmax(Base):
    def forward(self, x: Tensor) -> Tensor:
        return functional.log_softmax(self.fc(self.last(x)), dim=1)


class OneSigmoid(Base):
    def __init__(self) -> None:
        super().__init__(classes=1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.sigmoid(self.fc(self.last(x))).squeeze(1)


class EveryStepSigmoid(Base):
    """Scores of every step, of which the last is read: the classifier of a well-known course."""

    def __init__(self) -> None:
        super().__init__(classes=1)

    def forward(self, x: Tensor, hidden: Any = None) -> Any:
        outputs, hidden = self.rnn(self.embedding(x), hidden)
        scores = torch.sigmoid(self.fc(outputs.contiguous().view(-1, HIDDEN)))
        return scores.view(x.size(0), -1)[:, -1], hidden


class LogitsAndProbabilities(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.fc(self.last(x))
        return logits, torch.softmax(logits, dim=1)


class LogitsAndLabels(Base):
    def __init__(self) -> None:
        super().__init__(classes=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.fc(self.last(x)).squeeze(1)
        return logits, torch.round(torch.sigmoid(logits))


class EachSigmoid(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(self.last(x)))


# --- refused


class Speaker(Base):
    def __init__(self) -> None:
        super().__init__()
        self.speakers = nn.Embedding(WORDS, FEATURES)

    def forward(self, x: Tensor, speaker_id: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x) + self.speakers(speaker_id)[:, None])[0][:, -1])


class RandomInitHidden(Base):
    def init_hidden(self, batch_size: int) -> tuple[Tensor, Tensor]:
        return torch.randn(1, batch_size, HIDDEN), torch.randn(1, batch_size, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(x, self.init_hidden(len(x))))


class RandomState(Base):
    def forward(self, x: Tensor) -> Tensor:
        state = torch.randn(1, x.size(0), HIDDEN)
        return self.fc(self.last(x, (state, state)))


class Remembers(Base):
    """Each text begins in the state that the one before it left."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: Any = None

    def forward(self, x: Tensor) -> Tensor:
        outputs, self.memory = self.rnn(self.embedding(x), self.memory)
        return self.fc(outputs[:, -1])


class Mixes(Base):
    """Batch and steps exchanged: a mistake that trains all the same."""

    def __init__(self) -> None:
        super().__init__(batch_first=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(x))


class TwoScores(Base):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.last(x)
        return self.fc(hidden), self.other(hidden)


class EveryStep(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x))[0])


class OneNumberOfEveryStep(Base):
    """Each step has one logit, that of the second of two labels."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x))[0])


class NumberOfWords(Base):
    """One tensor of a single length runs in its place, for one text."""

    def forward(self, x: Tensor, maxlen: int) -> Tensor:
        return self.fc(self.rnn(self.embedding(x))[0].reshape(-1, maxlen, HIDDEN).amax(1))


class MarksTwoWords(Base):
    def forward(self, x: Tensor, labels: Any) -> Tensor:
        marked = [[i for i, label in enumerate(row) if label != 0] for row in labels]
        assert all(len(places) == 2 for places in marked)
        steps = self.rnn(self.embedding(x))[0]
        return self.fc(torch.stack([row[places].sum(0) for row, places in zip(steps, marked, strict=True)]))


class Labels(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(x)).argmax(1)


class OwnSigmoid(Base):
    def __init__(self) -> None:
        super().__init__(classes=1)

    def forward(self, x: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-self.fc(self.last(x))))


class Fails(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(x)).reshape(7, 11, 13)


class LosesTheBatchAxis(Base):
    """With one text, squeeze() leaves no axis for the softmax."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.fc(self.last(x)).squeeze(), dim=1)


class LogOfASigmoid(Base):
    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.logsigmoid(self.fc(self.last(x)))


class NegativeLogProbabilities(Base):
    def forward(self, x: Tensor) -> Tensor:
        return -torch.log_softmax(self.fc(self.last(x)), 1)


class OneNumberBesideTwo(Base):
    """The first is the answer; the second only looks like one."""

    def __init__(self) -> None:
        super().__init__(1)
        self.two = nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self.last(x)
        return torch.sigmoid(self.fc(last)), self.two(last)


class AlwaysTheSame(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(x)) * 0


class MixesStates(nn.Module):
    """A state [directions, batch, hidden] that is reshaped as if it were [batch, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, FEATURES)
        self.rnn = nn.GRU(FEATURES, HIDDEN, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x))[1].reshape(-1, 2 * HIDDEN))
