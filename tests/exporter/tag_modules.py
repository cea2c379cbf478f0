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


class Crf(nn.Module):
    """A linear chain as pytorch-crf has it: numbers for the first and the last token, and from label to label."""

    def __init__(self, labels: int, *, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.start_transitions = nn.Parameter(torch.randn(labels))
        self.end_transitions = nn.Parameter(torch.randn(labels))
        self.transitions = nn.Parameter(torch.randn(labels, labels))

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        if self.batch_first:
            emissions = emissions.transpose(0, 1)
        if mask is None:
            mask = torch.ones(emissions.shape[:2], dtype=torch.bool)
        elif self.batch_first:
            mask = mask.transpose(0, 1)
        score, history = self.start_transitions + emissions[0], []
        for i in range(1, len(emissions)):
            best, before = (score.unsqueeze(2) + self.transitions + emissions[i].unsqueeze(1)).max(dim=1)
            score = torch.where(mask[i].unsqueeze(1), best, score)
            history.append(before)
        score = score + self.end_transitions
        paths = []
        for row, last in enumerate((mask.long().sum(0) - 1).tolist()):
            path = [int(score[row].argmax())]
            for before in reversed(history[:last]):
                path.append(int(before[row][path[-1]]))
            paths.append(path[::-1])
        return paths


class WithCrf(Base):
    """Gives the tags of its CRF, or a loss where it is given some."""

    def __init__(self) -> None:
        super().__init__()
        self.crf = Crf(CLASSES)

    def forward(self, tokens: Tensor, tags: Tensor | None = None, mask: Tensor | None = None) -> Any:
        emissions = self.fc(self.states(tokens))
        return -emissions.sum() if tags is not None else self.crf.decode(emissions, mask)


class EmissionsBesideCrf(WithCrf):
    """Gives what goes into its CRF, which its owner calls."""

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.states(tokens))


class WithCrfTimeFirst(WithCrf):
    def __init__(self) -> None:
        super().__init__()
        self.crf = Crf(CLASSES, batch_first=False)

    def forward(self, tokens: Tensor) -> Any:
        return self.crf.decode(self.fc(self.states(tokens)).transpose(0, 1))


START, STOP = CLASSES - 2, CLASSES - 1


class Tutorial(Base):
    """As in PyTorch's tutorial: transitions to a label from another, and two labels for the begin and the end."""

    def __init__(self) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.randn(CLASSES, CLASSES))
        self.transitions.data[START, :] = self.transitions.data[:, STOP] = -10000.0

    def _viterbi_decode(self, feats: Tensor) -> tuple[Tensor, list[int]]:
        forward_var = torch.full((1, CLASSES), -10000.0)
        forward_var[0][START] = 0.0
        pointers = []
        for feat in feats:
            best, before = (forward_var + self.transitions).max(1)
            pointers.append(before.tolist())
            forward_var = (best + feat).view(1, -1)
        last = (forward_var + self.transitions[STOP])[0]
        path = [int(last.argmax())]
        for before in reversed(pointers):
            path.append(before[path[-1]])
        assert path.pop() == START
        return last.max(), path[::-1]

    def forward(self, sentence: Tensor) -> tuple[Tensor, list[int]]:
        return self._viterbi_decode(self.fc(self.states(sentence.view(1, -1)))[0])


class OddCrf(WithCrf):
    """Decodes by rules of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.crf = OddDecoder(CLASSES)


class EmissionsBesideOddCrf(OddCrf):
    """Gives what goes into a layer that decodes by rules of its own."""

    forward = EmissionsBesideCrf.forward


class OddDecoder(Crf):
    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        return [[(tag + 1) % CLASSES for tag in path] for path in super().decode(emissions, mask)]


class DecodesInWindows(Crf):
    """Each window of 100 tokens by itself."""

    def __init__(self) -> None:
        super().__init__(CLASSES)

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        assert mask is None
        windows = [super(DecodesInWindows, self).decode(part) for part in emissions.split(100, 1)]
        return [[label for (path,) in windows for label in path]]


class Constrained(Crf):
    """A mask says which label may follow which, with the begin and the end behind the labels, as in AllenNLP."""

    def __init__(self, labels: int) -> None:
        super().__init__(labels)
        mask = torch.ones(labels + 2, labels + 2)
        mask[0, 2] = mask[labels, 2] = mask[1, labels + 1] = 0.0
        self._constraint_mask = nn.Parameter(mask, requires_grad=False)

    def viterbi_tags(self, logits: Tensor, mask: Tensor) -> list[tuple[list[int], float]]:
        labels, allowed = logits.shape[-1], self._constraint_mask
        ruled_out = -10000.0 * (1 - allowed)
        start = self.start_transitions * allowed[labels, :labels] + ruled_out[labels, :labels]
        end = self.end_transitions * allowed[:labels, labels + 1] + ruled_out[:labels, labels + 1]
        moves = self.transitions * allowed[:labels, :labels] + ruled_out[:labels, :labels]
        found = []
        for rows, real in zip(logits, mask, strict=True):
            score, history = start + rows[0], []
            for row in rows[1 : int(real.sum())]:
                best, before = (score[:, None] + moves).max(0)
                score = best + row
                history.append(before.tolist())
            path = [int((score + end).argmax())]
            for before in reversed(history):
                path.append(before[path[-1]])
            found.append((path[::-1], 0.5))
        return found


class WithConstraints(Base):
    def __init__(self) -> None:
        super().__init__()
        self.crf = Constrained(CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Any]:
        logits = self.fc(self.states(tokens))
        return {"logits": logits, "tags": [tags for tags, _ in self.crf.viterbi_tags(logits, mask)]}


class BothWithCrf(WithCrf):
    """Gives the labels, and what goes into its CRF."""

    def forward(self, tokens: Tensor) -> Any:
        emissions = self.fc(self.states(tokens))
        return self.crf.decode(emissions), emissions


class Loss(Base):
    """Forward gives a loss; its owner asks another method for the labels, which are decoded from lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.crf = CrfOfLengths(CLASSES)

    def forward(self, tokens: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        return self.emissions(tokens, lengths).gather(2, tags.unsqueeze(2)).sum()

    def emissions(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return self.fc(self.packed(tokens, lengths))

    def predict(self, tokens: Tensor, lengths: Tensor) -> list[list[int]]:
        return self.crf.viterbi_decode(self.emissions(tokens, lengths), lengths)


class CrfOfLengths(Crf):
    """Its numbers have other names, and it is told lengths."""

    def __init__(self, labels: int) -> None:
        super().__init__(labels)
        for name in ("start", "end"):
            setattr(self, f"{name}_trans", getattr(self, f"{name}_transitions"))
            delattr(self, f"{name}_transitions")

    def viterbi_decode(self, emissions: Tensor, lengths: Tensor) -> list[list[int]]:
        found = []
        for rows, n in zip(emissions, lengths.tolist(), strict=True):
            score, history = self.start_trans + rows[0], []
            for row in rows[1:n]:
                best, before = (score[:, None] + self.transitions).max(0)
                score = best + row
                history.append(before.tolist())
            path = [int((score + self.end_trans).argmax())]
            for before in reversed(history):
                path.append(before[path[-1]])
            found.append(path[::-1])
        return found


class MaskOfNumbers(Base):
    """Its CRF subtracts the mask, so that it is no bool."""

    def __init__(self) -> None:
        super().__init__()
        self.crf = CrfOfNumbers(CLASSES)

    def forward(self, tokens: Tensor, mask: Tensor) -> list[list[int]]:
        return self.crf.decode(self.fc(self.packed(tokens, mask.sum(1).long())), mask)


class CrfOfNumbers(Crf):
    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        return super().decode(emissions, None if mask is None else 1 - mask < 1)


class NoForward(WithCrf):
    """Its owner calls predict, of [batch, sequence, 1]."""

    forward = nn.Module.forward

    def predict(self, tokens: Tensor) -> Tensor:
        # As a tensor of whole numbers, which no emissions become.
        return torch.LongTensor(self.crf.decode(self.fc(self.states(tokens.squeeze(2)))))


class DecodesInside(Base):
    """No method takes emissions; forward gives the labels, by the numbers of a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.transitions = nn.Parameter(3 * torch.randn(CLASSES, CLASSES))

    def emissions(self, tokens: Tensor) -> Tensor:
        return self.fc(self.states(tokens))

    def forward(self, tokens: Tensor) -> list[list[int]]:
        paths = []
        for rows in self.emissions(tokens):
            score, history = rows[0], []
            for row in rows[1:]:
                best, before = (score[:, None] + self.transitions).max(0)
                score = best + row
                history.append(before.tolist())
            path = [int(score.argmax())]
            for before in reversed(history):
                path.append(before[path[-1]])
            paths.append(path[::-1])
        return paths


class NextLabels(Decodes):
    """Gives for each token another label than the likeliest, by no CRF."""

    def forward(self, tokens: Tensor) -> list[list[int]]:
        return [[(tag + 1) % CLASSES for tag in path] for path in super().forward(tokens)]


class Nested(nn.Module):
    """The CRF is called in the forward of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.tagger = WithCrf()

    def forward(self, tokens: Tensor) -> Any:
        return self.tagger(tokens)


class InATuple(Base):
    def forward(self, inputs: tuple[Tensor, Tensor], labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        tokens, mask = inputs
        numbers = self.fc(self.packed(tokens, mask.sum(1)))
        return numbers, None if labels is None else numbers.sum()


class AlongTheText(Base):
    """The softmax runs over the tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.log_softmax(self.fc(self.states(tokens)), dim=1)


class TrainsItself(Plain):
    def train(self, epochs: Any = 10) -> Any:
        return 1 / epochs


class WithCharacters(Base):
    def forward(self, words: Tensor, chars: Tensor, lengths: Tensor) -> Tensor:
        return self.fc(self.packed(words, lengths) + self.embedding(chars).sum(2)[..., :1])


class ManyIds(Base):
    def forward(self, word: Tensor, bound: Tensor, flag: Tensor, radical: Tensor, pinyin: Tensor) -> Tensor:
        beside = torch.cat([self.embedding(one)[..., None, :] for one in (bound, flag, radical, pinyin)], 2)
        return self.fc(self.states(word) + beside.sum((2, 3))[..., None])
