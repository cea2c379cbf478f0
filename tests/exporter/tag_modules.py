"""Taggers as people write them: a label for each token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS, CLASSES = 40, 5


class Base(nn.Module):
    def __init__(self, *, batch_first: bool = True, outputs: int = CLASSES) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6, padding_idx=0)
        self.rnn = nn.LSTM(6, 4, bidirectional=True, batch_first=batch_first)
        self.fc = nn.Linear(8, outputs)

    def packed(self, tokens: Tensor, lengths: Tensor, *, is_sorted: bool = False) -> Tensor:
        given = pack_padded_sequence(self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=is_sorted)
        outputs, _ = pad_packed_sequence(self.rnn(given)[0], batch_first=True)
        return outputs

    def states(self, tokens: Tensor) -> Tensor:
        outputs: Tensor = self.rnn(self.embedding(tokens))[0]
        return outputs


class Plain(Base):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.states(tokens))


class OtherNinth(Plain):
    """Another label at one step of texts that have it."""

    def forward(self, tokens: Tensor) -> Tensor:
        ninth = torch.arange(tokens.size(1)) == 8
        return super().forward(tokens) + ninth[:, None]


class Packed(Base):
    """Cut to the longest of the batch, as pad_packed_sequence does."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return self.fc(self.packed(tokens, lengths))


class PackedSorted(Base):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.log_softmax(self.fc(self.packed(tokens, lengths, is_sorted=True)).view(-1, CLASSES), 1)


class Masked(Base):
    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.fc(self.packed(tokens, mask.sum(1))) * mask.unsqueeze(-1)


class CountsItself(Base):
    """Reads no further than the last word that is no padding."""

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.packed(tokens, (tokens != 0).sum(1).clamp(min=1)))


class TimeFirst(Base):
    def __init__(self) -> None:
        super().__init__(batch_first=False)

    def forward(self, text: Tensor) -> Tensor:
        return torch.log_softmax(self.fc(self.states(text)), -1)


class Flat(Base):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.states(tokens)).view(-1, CLASSES)


class FlatTimeFirst(TimeFirst):
    def forward(self, text: Tensor) -> Tensor:
        return self.fc(self.states(text)).view(-1, CLASSES)


class ClassesFirst(Base):
    """As nn.CrossEntropyLoss takes the numbers of tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.softmax(self.fc(self.states(tokens)), -1).permute(0, 2, 1)


class OneSentence(nn.Module):
    """As in PyTorch's tutorial on sequence models."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm, self.hidden2tag = nn.Embedding(WORDS, 6), nn.LSTM(6, 4), nn.Linear(4, CLASSES)

    def forward(self, sentence: Tensor) -> Tensor:
        out, _ = self.lstm(self.embedding(sentence).view(len(sentence), 1, -1))
        return torch.log_softmax(self.hidden2tag(out.view(len(sentence), -1)), dim=1)


class OneNumber(Base):
    """Whether each token ends a sentence: one number, the logit of the second label."""

    def __init__(self) -> None:
        super().__init__(outputs=1)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(self.states(tokens)).squeeze(-1))


class BesideAnIntent(Base):
    def __init__(self) -> None:
        super().__init__()
        self.intent = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        states = self.states(tokens)
        return self.intent(states[:, -1]), self.fc(states)


class OfTexts(Base):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.states(tokens)[:, -1])


class EachByItself(Base):
    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.embedding(tokens).repeat(1, 1, 2)[:, :, :8])


class Decodes(Base):
    """Gives tags, as a CRF does, of the numbers of a method."""

    def emissions(self, tokens: Tensor) -> Tensor:
        return self.fc(self.states(tokens))

    def forward(self, tokens: Tensor) -> list[list[int]]:
        tags: list[list[int]] = self.emissions(tokens).argmax(-1).tolist()
        return tags


class OfOtherLabels(Base):
    def __init__(self) -> None:
        super().__init__(outputs=7)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.states(tokens))


class TellsTheNext(Base):
    def __init__(self) -> None:
        super().__init__(outputs=WORDS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.states(tokens))


class LooksAtItsNeighbours(Base):
    """Takes off what the batch has in the mean."""

    def forward(self, tokens: Tensor) -> Any:
        states = self.states(tokens)
        return self.fc(states - states.mean(0, keepdim=True))


class MaximumOfTheBatch(Base):
    """A maximum over all steps reaches into the padding of shorter texts."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        states = self.packed(tokens, lengths)
        return self.fc(states + states.amax(1, keepdim=True))
