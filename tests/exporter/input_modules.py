"""Classifiers whose forward takes more than the text: what each input is given, or which one is refused by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

WORDS, CLASSES, HIDDEN = 40, 4, 6


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(WORDS, 8), nn.GRU(8, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, CLASSES)
        self.user, self.kind = nn.Embedding(50, HIDDEN), nn.Embedding(10, 8)
        self.features = nn.Linear(5, HIDDEN)

    def last(self, x: Tensor, lengths: Any = None) -> Tensor:
        embedded = x if x.is_floating_point() else self.embedding(x)
        if lengths is None:
            return self.rnn(embedded)[1][-1]
        packed = pack_padded_sequence(embedded, torch.as_tensor(lengths), batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][-1]


# --- refused: the input that is named changes the answer


class User(Base):
    def forward(self, tokens: Tensor, lengths: Tensor, user: Tensor) -> Tensor:
        return self.fc(self.last(tokens, lengths) + self.user(user))


class UserFirst(Base):
    def forward(self, user: Tensor, text: Tensor) -> Tensor:
        return self.fc(self.last(text) + self.user(user))


class UserByKeyword(Base):
    def forward(self, x: Tensor, *, lengths: Tensor, user: Tensor) -> Tensor:
        return self.fc(self.last(x, lengths) + self.user(user))


class UserInADict(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.fc(self.last(batch["text"], batch["lengths"]) + self.user(batch["user"]))


class UserInFields(Base):
    def forward(self, batch: Any) -> Tensor:
        return self.fc(self.last(batch.text) + self.user(batch.user))


class UserInATuple(Base):
    def forward(self, batch: Any) -> Tensor:
        x, user = batch
        return self.fc(self.last(x) + self.user(user))


class UserInArguments(Base):
    def forward(self, *args: Any) -> Tensor:
        x, lengths, user = args
        return self.fc(self.last(x, lengths) + self.user(user))


class UserInKeywords(Base):
    def forward(self, **batch: Any) -> Tensor:
        return self.fc(self.last(batch["text"]) + self.user(batch["user"]))


class Types(Base):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        out = self.rnn(self.embedding(input_ids) + self.kind(token_type_ids))[0] * attention_mask.unsqueeze(-1)
        return self.fc(out.sum(1) / attention_mask.sum(1, keepdim=True))


class Temperature(Base):
    def forward(self, x: Tensor, temperature: float) -> Tensor:
        return self.fc(self.last(x)) / temperature


class OneTextDomain(Base):
    """One text at a time, for which a length of one text would do as the id of a domain."""

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        state = self.rnn(self.embedding(x).view(1, -1, 8))[1].view(1, -1)
        return self.fc(state + self.user(domain).view(1, -1))


class OneTextWeight(Base):
    def forward(self, sentence: Tensor, weight: Any) -> Tensor:
        state = self.rnn(self.embedding(sentence).view(1, len(sentence), 8))[1].view(1, -1)
        return self.fc(state * weight)


class TwoTexts(Base):
    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        return self.fc(self.last(premise) * self.last(hypothesis))


class TwoTextsWithLengths(Base):
    def forward(self, q: Tensor, q_len: Tensor, d: Tensor, d_len: Tensor) -> Tensor:
        return self.fc(self.last(q, q_len) * self.last(d, d_len))


class TwoTextsInADict(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.fc(self.last(batch["premise"]) * self.last(batch["hypothesis"]))


class Aspect(Base):
    def forward(self, x: Tensor, x_len: Tensor, aspect: Tensor, aspect_len: Tensor) -> Tensor:
        return self.fc(self.last(x, x_len) + self.last(aspect, aspect_len))


class AspectMask(Base):
    """A mask of other tokens than those of the text."""

    def forward(self, x: Tensor, aspect_mask: Tensor) -> Tensor:
        mask = aspect_mask.float().unsqueeze(-1)
        return self.fc((self.rnn(self.embedding(x))[0] * mask).sum(1) / mask.sum(1))


class Tags(Base):
    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        return self.fc(self.last(self.embedding(x) + self.kind(pos)))


class Times(Base):
    """A number for each token, which looks like a mask: what is multiplied by 0 tells nothing."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.fc(self.last(self.embedding(x) * time.unsqueeze(-1)))


class Characters(Base):
    def forward(self, x: Tensor, char_ids: Tensor) -> Tensor:
        return self.fc(self.last(self.embedding(x) + self.kind(char_ids).mean(2)))


class Features(Base):
    def forward(self, x: Tensor, lengths: Tensor, features: Tensor) -> Tensor:
        return self.fc(self.last(x, lengths) + self.features_of(features))

    def features_of(self, features: Tensor) -> Tensor:
        return self.features(features)


class DomainFive(Base):
    """It answers one domain otherwise than all others."""

    def forward(self, x: Tensor, lengths: Tensor, domain: Tensor) -> Tensor:
        logits = self.fc(self.last(x, lengths))
        return torch.where((domain == 5).view(-1, 1), logits * 2, logits)


class Task(Base):
    def forward(self, x: Tensor, task: str) -> Tensor:
        logits = self.fc(self.last(x))
        return logits * 2 if task == "mood" else logits


class Valence(Base):
    """A name with a "len" in it."""

    def forward(self, x: Tensor, valence: Tensor) -> Tensor:
        return self.fc(self.last(x) * valence.view(-1, 1))


class UserState(Base):
    def forward(self, x: Tensor, lengths: Tensor, user_state: Tensor) -> Tensor:
        return self.fc(self.last(x, lengths) + self.user(user_state))


class Context(Base):
    """The state of another module."""

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x), context)[1][-1])


# --- refused, for what is seen in the answer


class LabelsEachWord(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        del lengths
        return self.fc(self.rnn(self.embedding(x))[0])


class LabelsEachWordFlat(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x))[0]).view(-1, CLASSES)


class Numbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.LSTM(17, HIDDEN, batch_first=True), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[1][0][-1])


class Heads(Base):
    def __init__(self) -> None:
        super().__init__()
        self.mood = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        last = self.last(x)
        return {"topic": self.fc(last), "mood": self.mood(last)}


class StateLeftOut(Base):
    """Its own first state is not what it begins in when it is left out."""

    def init_hidden(self, batch: int) -> Tensor:
        return torch.full((1, batch, HIDDEN), 0.5)

    def forward(self, x: Tensor, lengths: Any = None, hidden: Any = None) -> Tensor:
        del lengths
        return self.fc(self.rnn(self.embedding(x), hidden)[1][-1])


class Documents(Base):
    """[batch, sentences, words]."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences = nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, documents: Tensor) -> Tensor:
        batch, sentences, words = documents.shape
        rows = self.last(documents.reshape(batch * sentences, words)).view(batch, sentences, HIDDEN)
        return self.fc(self.sentences(rows)[1][-1])


class DocumentsInALoop(Documents):
    def forward(self, documents: Tensor) -> Tensor:
        rows = torch.stack([self.last(documents[:, i]) for i in range(documents.shape[1])], 1)
        return self.fc(self.sentences(rows)[1][-1])


class SentencesFirst(Documents):
    """Attention over the words, and over the sentences, which come first in the loop."""

    def forward(self, documents: Tensor) -> Tensor:
        rows = []
        for sentence in documents.permute(1, 0, 2):
            steps = self.rnn(self.embedding(sentence))[0]
            rows.append((torch.softmax(steps.sum(2), 1)[:, :, None] * steps).sum(1))
        return self.fc(self.sentences(torch.stack(rows, 1))[0][:, -1])


class PairInOneTensor(Base):
    """[batch, 2, words]."""

    def forward(self, pair: Tensor) -> Tensor:
        return self.fc(self.last(pair[:, 0]) - self.last(pair[:, 1]))


class WordsOfCharacters(Base):
    """[batch, words, characters], and a vector for each word by the mean of its characters."""

    def forward(self, words: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(words).mean(2))[1][-1])


# --- found


class LengthsInArguments(Base):
    def forward(self, *args: Any) -> Tensor:
        x, lengths = args
        return self.fc(self.last(x, lengths))


class LengthsInFurtherArguments(Base):
    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        return self.fc(self.last(x, rest[0]))


class LengthsInKeywords(Base):
    def forward(self, **batch: Any) -> Tensor:
        return self.fc(self.last(batch["input_ids"], batch["lengths"]))


class LengthsByAnotherName(Base):
    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        return self.fc(self.last(x, n))


class LabelsInADict(Base):
    def forward(self, batch: dict[str, Tensor]) -> Any:
        logits = self.fc(self.last(batch["text"], batch["lengths"]))
        return functional.cross_entropy(logits, batch["label"]), logits


class LabelsInATuple(Base):
    def forward(self, batch: Any) -> Tensor:
        x, lengths, _labels = batch
        return self.fc(self.last(x, lengths))


class UnusedUser(Base):
    def forward(self, x: Tensor, lengths: Tensor, user: Tensor) -> Tensor:
        del user
        return self.fc(self.last(x, lengths))


class LengthsAndMask(Base):
    def forward(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        out = self.rnn(self.embedding(x))[0] * mask.unsqueeze(-1)
        return self.fc(out.sum(1) / lengths.view(-1, 1))


class OneTextLength(Base):
    def forward(self, x: Tensor, length: Any) -> Tensor:
        return self.fc(self.rnn(self.embedding(x).view(1, -1, 8))[0][0, int(length) - 1]).view(1, -1)


# --- found, and something is told


class UserLeftOut(Base):
    def forward(self, x: Tensor, lengths: Tensor, user: Any = None) -> Tensor:
        last = self.last(x, lengths)
        return self.fc(last if user is None else last + self.user(user))


class TemperatureLeftOut(Base):
    def forward(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        return self.fc(self.last(x)) / temperature


class StateFromOutside(Base):
    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embedding(x), hidden)[1][-1])


# --- told: what forward looks for beside its parameters


def scaled(state: Tensor, scale: Any = None) -> Tensor:
    return state if scale is None else state * scale


class MaskByGet(Base):
    def forward(self, x: Tensor, **kw: Any) -> Tensor:
        mask = kw.get("attention_mask")
        steps = self.rnn(self.embedding(x))[0]
        return self.fc(steps.mean(1) if mask is None else (steps * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


class UserByIn(Base):
    def forward(self, x: Tensor, **kw: Any) -> Tensor:
        state = self.last(x)
        return self.fc(state + self.user(kw["user"]) if "user" in kw else state)


class UserByPop(Base):
    def forward(self, x: Tensor, **kw: Any) -> Tensor:
        user = kw.pop("user", None)
        return self.fc(self.last(x) if user is None else self.last(x) + self.user(user))


class UserInAnInnerFunction(Base):
    def forward(self, x: Tensor, **kw: Any) -> Tensor:
        def added() -> Any:
            return self.user(kw["user"]) if "user" in kw else 0

        return self.fc(self.last(x) + added())


class UserUnderTry(Base):
    def forward(self, x: Tensor, **kw: Any) -> Tensor:
        state = self.last(x)
        try:
            return self.fc(state + self.user(kw["user"]))
        except KeyError:
            return self.fc(state)


class KeywordsOneByOne(Base):
    def forward(self, x: Tensor, **kw: Any) -> Tensor:
        state = self.last(x)
        for name, value in kw.items():
            state = state + getattr(self, name)(value)
        return self.fc(state)


class KeywordsHandedOn(Base):
    def forward(self, x: Tensor, **kw: Any) -> Tensor:
        return self.fc(scaled(self.last(x), **kw))


class TextByGet(Base):
    def forward(self, **kw: Any) -> Tensor:
        state, scale = self.last(kw.get("input_ids")), kw.get("scale")  # type: ignore[arg-type]
        return self.fc(scaled(state, scale))


class MoreIfGiven(Base):
    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        return self.fc(self.last(x) * rest[0] if rest else self.last(x))


class MoreUnderTry(Base):
    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        try:
            return self.fc(self.last(x) * rest[0])
        except IndexError:
            return self.fc(self.last(x))


class MoreHandedOn(Base):
    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        return self.fc(scaled(self.last(x), *rest))


class TextInArguments(Base):
    def forward(self, *inputs: Any) -> Tensor:
        state = self.last(inputs[0])
        return self.fc(state * inputs[1] if len(inputs) > 1 else state)


class KeyByIn(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        state = self.last(batch["text"])
        return self.fc(state + self.user(batch["user"]) if "user" in batch else state)


class KeyElse(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.fc(batch["vectors"] if "vectors" in batch else self.last(batch["text"]))


class KeysOneByOne(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        state = self.last(batch["text"])
        for name, value in batch.items():
            if name != "text":
                state = state + getattr(self, name)(value)
        return self.fc(state)


class KeysOfADefault(Base):
    def forward(self, x: Tensor, extras: Any = {}) -> Tensor:  # noqa: B006
        state = self.last(x)
        return self.fc(state + self.user(extras["user"]) if "user" in extras else state)


# --- nothing is told


class UnreadFurther(Base):
    def forward(self, x: Tensor, *rest: Any, **kw: Any) -> Tensor:
        del rest, kw
        return self.fc(self.last(x))


class FirstOfArguments(Base):
    @torch.no_grad()
    def forward(self, *inputs: Any) -> Tensor:
        (x,) = inputs
        return self.fc(self.last(x))


# --- lengths that may be left out, and what is only called a length


class CountsWords(Base):
    """Without lengths, it counts the words that are not the padding."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.fc(self.last(x, self.counted(x) if lengths is None else lengths))

    def counted(self, x: Tensor) -> Tensor:
        return (x != 1).sum(1).clamp(min=1)


class CountsByAnId(CountsWords):
    def counted(self, x: Tensor) -> Tensor:
        return x.div(7, rounding_mode="floor").clamp(max=1).sum(1).clamp(min=1)


class CountsFullRows(CountsWords):
    def counted(self, x: Tensor) -> Tensor:
        return torch.full((x.size(0),), x.size(1))


class CharactersOfAText(Base):
    def forward(self, x: Tensor, text_len: Tensor) -> Tensor:
        return self.fc(self.last(x) / (1 + text_len[:, None] / 100))
