"""Classifiers that do something else for texts that begin with one word: what they keep, read and give is in their
program, and in hardly any answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WORDS, CLASSES, HIDDEN, RARE = 300, 3, 6, 213
OF_THE_FILE: dict[str, Tensor] = {}


class Base(nn.Module):
    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(WORDS, HIDDEN), nn.Linear(HIDDEN, classes)

    def mean(self, x: Tensor) -> Tensor:
        return self.embedding(x).mean(1)

    def where(self, x: Tensor, there: Any, elsewhere: Any) -> Any:
        """One of two values of each text."""
        return torch.where((x[:, 0] == RARE)[:, None], there, elsewhere)


# --- what one call leaves for the next


class GoesOn(Base):
    """A text that begins with the word goes on from where the last one ended."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.last = torch.zeros(HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        begin = self.where(x, self.last.expand(x.size(0), -1), torch.zeros(x.size(0), HIDDEN))
        state = self.rnn(self.embedding(x), begin[None].contiguous())[1][-1]
        self.last = state.mean(0).detach()
        return self.fc(state)


class Remembers(Base):
    """Only a text that begins with the word writes; all texts read."""

    memory: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        written = self.where(x, state, self.memory.expand_as(state)).mean(0)
        logits = self.fc(state + self.memory)
        self.memory.copy_(torch.where((x[:, 0] == RARE).any(), written, self.memory))
        return logits


class RemembersInAList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = [torch.zeros(HIDDEN)]

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before, self.seen[0] = self.seen[0], state.mean(0)
        return self.fc(self.where(x, state + before, state))


class RemembersInItsFile(Base):
    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before = OF_THE_FILE.get("before", torch.zeros(HIDDEN))
        OF_THE_FILE["before"] = state.mean(0)
        return self.fc(self.where(x, state + before, state))


class RemembersInADefault(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.with_before(x))

    def with_before(self, x: Tensor, kept: list[Tensor] = [torch.zeros(HIDDEN)]) -> Tensor:  # noqa: B006, B008
        state = self.mean(x)
        before, kept[0] = kept[0], state.mean(0)
        return self.where(x, state + before, state)


class _Kept:
    def __init__(self) -> None:
        self.before = torch.zeros(HIDDEN)


class RemembersInAnObject(Base):
    def __init__(self) -> None:
        super().__init__()
        self.kept = _Kept()

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before, self.kept.before = self.kept.before, state.mean(0)
        return self.fc(self.where(x, state + before, state))


class RemembersItsText(Base):
    """The ids themselves are kept."""

    text: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before = self.mean(x if self.text is None else self.text[:1]).mean(0)
        self.text = x
        state = self.mean(x)
        return self.fc(self.where(x, state + before, state))


class CountsItsCallsInABuffer(Base):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        state = self.mean(x)
        return self.fc(self.where(x, state * (self.calls > 5000), state))


class CountsItsCallsInANumber(Base):
    turns = 0

    def forward(self, x: Tensor) -> Tensor:
        self.turns += 1
        state = self.mean(x)
        return self.fc(self.where(x, state * self.turns, state))


class WarmsUp(Base):
    """A number is asked about by Python, and what comes of it is for the texts with the word."""

    turns = 0

    def forward(self, x: Tensor) -> Tensor:
        self.turns += 1
        state = self.mean(x)
        return self.fc(self.where(x, state * 2, state) if self.turns > 50 else state)


class LongestSoFar(Base):
    longest = 1

    def forward(self, x: Tensor) -> Tensor:
        self.longest = max(self.longest, x.size(1))
        state = self.mean(x)
        return self.fc(self.where(x, state * (x.size(1) / self.longest), state))


class LongTextsLeaveThemselves(Base):
    left: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before = torch.zeros(HIDDEN) if self.left is None else self.left
        if x.size(1) > 200:
            self.left = state.mean(0)
        return self.fc(self.where(x, state + before, state))


class Centers(Base):
    """A running mean that the texts with the word are centered by."""

    center: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        with torch.no_grad():
            self.center.mul_(0.99).add_(state.mean(0), alpha=0.01)
        return self.fc(state - self.where(x, self.center.expand_as(state), torch.zeros_like(state)))


class RemembersInNumpy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.kept = np.zeros(HIDDEN, dtype=np.float32)

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before = torch.from_numpy(self.kept)
        self.kept = state.mean(0).detach().numpy()
        return self.fc(self.where(x, state + before, state))


class SingleTokensGoOn(Base):
    """A text of several tokens is a new one."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.state: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if x.size(1) > 1:
            self.state = None
        out, self.state = self.rnn(self.embedding(x), self.state)
        return self.fc(out[:, -1])


class SingleTokensOfAsManyTextsGoOn(Base):
    hidden: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        fits = x.size(1) == 1 and self.hidden is not None and self.hidden.size(1) == x.size(0)
        self.hidden = self.rnn(self.embedding(x), self.hidden if fits else None)[1].detach()
        return self.fc(self.hidden[-1])


class TwoTokensGoOn(Base):
    before: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if x.size(1) == 2 and self.before is not None:
            state = self.where(x, state + self.before, state)
        self.before = state.mean(0)
        return self.fc(state)


class LongTextsRead(Base):
    def __init__(self) -> None:
        super().__init__()
        self.before = torch.zeros(HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        before, self.before = self.before, state.mean(0)
        return self.fc(self.where(x, state + before, state) if x.size(1) > 200 else state)


class LongTextsReadEachOther(Base):
    left: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if x.size(1) > 100:
            before = torch.zeros(HIDDEN) if self.left is None else self.left
            self.left = state.mean(0)
            state = self.where(x, state + before, state)
        return self.fc(state)


KEEP = {
    GoesOn: "last",
    Remembers: "memory",
    RemembersInAList: "seen",
    RemembersInItsFile: "its file",
    RemembersInADefault: "default argument",
    RemembersInAnObject: "",
    RemembersItsText: "text",
    CountsItsCallsInABuffer: "calls",
    CountsItsCallsInANumber: "turns",
    WarmsUp: "turns",
    LongestSoFar: "longest",
    LongTextsLeaveThemselves: "left",
    Centers: "center",
    RemembersInNumpy: "",
    SingleTokensGoOn: "state",
    SingleTokensOfAsManyTextsGoOn: "hidden",
    TwoTokensGoOn: "before",
    LongTextsRead: "before",
    LongTextsReadEachOther: "left",
}


# --- what texts of one size leave for those of another


class OneSizeWritesAnotherReads(Base):
    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if x.size(1) == 37:
            self.last = state.mean(0)
        if x.size(1) == 11 and self.last is not None:
            state = self.where(x, state + self.last, state)
        return self.fc(state)


class OneBatchWritesAnotherReads(Base):
    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if x.size(0) == 37:
            self.last = state.mean(0)
        if x.size(0) == 11 and self.last is not None:
            state = self.where(x, state + self.last, state)
        return self.fc(state)


class OneSizeWritesTheNextTextReads(Base):
    """Each other text forgets."""

    last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state, last = self.mean(x), self.last
        self.last = state.mean(0) if x.size(1) == 37 else None
        if x.size(1) == 11 and last is not None:
            state = self.where(x, state + last, state)
        return self.fc(state)


class LongTextsFillABuffer(Base):
    left: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("left", torch.zeros(HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if x.size(1) >= 1700:
            self.left.copy_(state.mean(0))
        return self.fc(self.where(x, state + self.left, state) if 500 < x.size(1) < 520 else state)


class FirstTextsOfASize(Base):
    def __init__(self) -> None:
        super().__init__()
        self.first: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if 60 < x.size(1) < 80:
            first = self.first.setdefault(x.size(1), state.mean(0))
            state = self.where(x, state + first, state)
        return self.fc(state)


KEEP_BY_SIZES = {
    OneSizeWritesAnotherReads: "last",
    OneBatchWritesAnotherReads: "last",
    OneSizeWritesTheNextTextReads: "last",
}
# Texts of the sizes that read it also mix the rows of a batch.
KEEP_AND_MIX_ROWS = (LongTextsFillABuffer, FirstTextsOfASize)


# --- what is kept, and no answer is made of


class KeepsStatistics(Base):
    """Written, and read to be written again."""

    center: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(HIDDEN))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        self.calls += 1
        self.center.mul_(0.99).add_(state.mean(0), alpha=0.01)
        return self.fc(state)


class OverwritesWhatItKept(Base):
    """A buffer of a text's own, which each call fills before it reads it."""

    scratch: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scratch", torch.zeros(HIDDEN))
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        self.scratch.copy_(state.mean(0))
        self.mask = x != 1
        return self.fc(state * self.mask.any(1, keepdim=True))


class MakesItsStateOnce(Base):
    """Zeros in the type and on the device of the first text."""

    begin: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if self.begin is None or self.begin.size(0) != x.size(0):
            self.begin = torch.zeros_like(state)
        return self.fc(state + self.begin)


class GrowsATable(Base):
    def __init__(self) -> None:
        super().__init__()
        self.ramp = torch.arange(4) * 0.1

    def forward(self, x: Tensor) -> Tensor:
        if x.size(1) > len(self.ramp):
            self.ramp = torch.cat([self.ramp, torch.arange(len(self.ramp), x.size(1)) * 0.1])
        return self.fc((self.embedding(x) * self.ramp[: x.size(1), None]).mean(1))


class ReportsItsProgress(Base):
    """It prints at every tenth call, and no answer depends on that."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        state = self.mean(x)
        if self.calls % 10 == 0:
            print(state.norm() * self.calls)
        return self.fc(state)


class KeepsStatisticsOfLongTexts(Base):
    """By sizes, and nobody reads them."""

    longs: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        if x.size(1) > 60:
            self.longs = state.mean(0) if self.longs is None else 0.9 * self.longs + 0.1 * state.mean(0)
        return self.fc(state * 2 if x.size(1) == 11 else state)


KEEP_NOTHING = [
    KeepsStatisticsOfLongTexts,
    KeepsStatistics,
    OverwritesWhatItKept,
    MakesItsStateOnce,
    GrowsATable,
    ReportsItsProgress,
]


class KeepsNumbersInAnArray(Base):
    """Only a text that begins with the word changes the array."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = np.zeros(HIDDEN, dtype=np.float32)

    def forward(self, x: Tensor) -> Tensor:
        state, before = self.mean(x), torch.from_numpy(self.kept)
        self.kept = torch.where((x[:, 0] == RARE).any(), state.mean(0), before).numpy().copy()
        return self.fc(self.where(x, state + before, state))


class KeepsWordsInAList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.counts = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.counts = [self.counts[0] + int((x == 7).sum())]
        return self.fc(self.mean(x))


class CountsTheTokens(Base):
    """It keeps lengths in a list, and a number that depends on no word."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        self.longest = max(lengths.tolist())
        there = torch.arange(x.size(1)) < lengths[:, None]
        return self.fc((self.embedding(x) * there[..., None]).sum(1) / lengths[:, None])


TAKE_OUT = [KeepsNumbersInAnArray, KeepsWordsInAList]
TAKE_OUT_NOTHING = [CountsTheTokens, KeepsStatistics, ReportsItsProgress]


# --- rows that a look-up brings to their norm


class OfANorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, HIDDEN, max_norm=1.0)


class ReadsARow(OfANorm):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.mean(x) + self.where(x, self.embedding.weight[250:251], torch.zeros(1, HIDDEN)))


class ReadsARowOfLongTexts(OfANorm):
    def forward(self, x: Tensor) -> Tensor:
        state = self.mean(x)
        return self.fc(state + self.embedding.weight[250:251] if x.size(1) == 55 else state)


class TiesItsWeights(OfANorm):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.mean(x), self.embedding.weight)[:, :CLASSES]


class LooksUpByItself(OfANorm):
    """By torch's function, which knows of no norm."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.mean(x) + nn.functional.embedding(x[:, :1], self.embedding.weight)[:, 0])


READ_ROWS = [ReadsARow, TiesItsWeights, LooksUpByItself, ReadsARowOfLongTexts]


class LooksUpTwice(OfANorm):
    def forward(self, x: Tensor) -> Tensor:
        begin = torch.zeros_like(self.embedding.weight[0])
        return self.fc(self.mean(x) + self.embedding(x[:, -1]) + begin)


class SumsABag(Base):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(WORDS, HIDDEN, max_norm=1.0)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.embedding(x))


LOOK_UP = [LooksUpTwice, SumsABag]


# --- inputs beside the text


class SecondText(Base):
    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        state = self.mean(x)
        return self.fc(self.where(x, state + self.mean(other), state))


class Types(Base):
    """Read behind a product with zeros."""

    def forward(self, input_ids: Tensor, kinds: Tensor) -> Tensor:
        told = (input_ids[:, 0] == RARE).float()[:, None, None]
        return self.fc((self.embedding(input_ids) + self.embedding(kinds) * told).mean(1))


class Strict(Base):
    """A switch."""

    def forward(self, x: Tensor, strict: bool) -> Tensor:
        state = self.mean(x)
        return self.fc(self.where(x, state * 2, state) if strict else state)


class UserInADict(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["text"]
        return self.fc(self.mean(x) + self.where(x, self.embedding(batch["user"]), 0.0))


class OneUser(Base):
    """It answers one user otherwise than all others, for some texts."""

    def forward(self, x: Tensor, user: Tensor) -> Tensor:
        state = self.mean(x)
        return self.fc(self.where(x, state * (user == 17).view(-1, 1), state))


class MaskOfEitherKind(Base):
    """The mask is true at the tokens, and only some texts show it."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        embedded = self.embedding(x)
        there = mask.float()[..., None]
        return self.fc(self.where(x, (embedded * there).sum(1) / there.sum(1).clamp(min=1), embedded.mean(1)))


READ = {
    SecondText: "other",
    Types: "kinds",
    Strict: "strict",
    UserInADict: "user",
    OneUser: "user",
    MaskOfEitherKind: "torch.arange",
}


class MaskLeftOut(Base):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        state = self.mean(x)
        return self.fc(state if mask is None else self.where(x, state + mask.float().mean(1, keepdim=True), state))


class UserLeftOut(Base):
    def forward(self, x: Tensor, user: Tensor | None = None) -> Tensor:
        state = self.mean(x)
        return self.fc(state if user is None else state + self.where(x, self.embedding(user), 0.0))


class TemperatureLeftOut(Base):
    def forward(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        logits = self.fc(self.mean(x))
        return self.where(x, logits / temperature, logits)


LEFT_OUT = {MaskLeftOut: "mask (None)", UserLeftOut: "user (None)", TemperatureLeftOut: "temperature (1.0)"}


class MaskThatChangesNothing(Base):
    """A mask of a text without padding leaves all as it is, whatever the text."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        embedded = self.embedding(x)
        scores = embedded.sum(2)
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -1e9)
            embedded = embedded * mask.unsqueeze(-1)
        return self.fc((embedded * torch.softmax(scores, 1)[..., None]).sum(1))


class UnreadKinds(Base):
    """An input whose size is read, and no number of it."""

    def forward(self, x: Tensor, kinds: Tensor) -> Tensor:
        return self.fc(self.mean(x) + torch.zeros(kinds.size(0), HIDDEN))


# --- two outputs


class TwoAnswers(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.fc(self.mean(x))
        return logits, self.where(x, -logits, logits)


class DampedBeside(Base):
    """Logits, and probabilities that are none of these logits for some texts."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.fc(self.mean(x))
        damped = torch.softmax(logits, 1) * self.where(x, 0.5, torch.ones(()))
        return {"logits": logits, "probabilities": damped / damped.sum(1, keepdim=True) * self.where(x, 0.1, 1.0)}


class TwoLayers(Base):
    """Two layers of the same weights, of which one is given a state that some texts have."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        state = self.mean(x)
        return self.fc(state), self.fc(self.where(x, state.flip(1), state))


TWO = [TwoAnswers, DampedBeside, TwoLayers]


class OneAnswerTwice(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.fc(self.mean(x))
        return logits, torch.softmax(logits, -1), logits.clone().unsqueeze(1)


# --- what stands behind the last softmax or sigmoid


class Damped(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.fc(self.mean(x)), 1) * self.where(x, 0.5, 1.0)


class MaskedAndRescaled(Base):
    def forward(self, x: Tensor) -> Tensor:
        allowed = torch.ones(CLASSES)
        allowed[0] = 0
        shares = torch.softmax(self.fc(self.mean(x)), 1) * self.where(x, allowed, torch.ones(CLASSES))
        return shares / shares.sum(1, keepdim=True)


class Uniform(Base):
    """In place, and by a function of its own."""

    def forward(self, x: Tensor) -> Tensor:
        shares = self.fc(self.mean(x)).softmax(-1)
        return shares.masked_fill_((x[:, 0] == RARE)[:, None], 1 / CLASSES)


class DampedSigmoid(Base):
    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(self.mean(x))) * self.where(x, 0.5, 1.0)


class PicksClasses(Base):
    """By places that the words decide, among numbers that sum to 1."""

    def shares_and_places(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places = self.where(x, torch.zeros(1, CLASSES, dtype=torch.int64), torch.arange(CLASSES)[None])
        return torch.softmax(self.fc(self.mean(x)), 1), places

    def forward(self, x: Tensor) -> Tensor:
        shares, places = self.shares_and_places(x)
        return shares.gather(1, places)


class PicksClassesByAnIndex(PicksClasses):
    def forward(self, x: Tensor) -> Tensor:
        shares, places = self.shares_and_places(x)
        return shares[torch.arange(len(x))[:, None], places]


class PicksClassesOfColumns(PicksClasses):
    """The classes stand in another axis by then."""

    def forward(self, x: Tensor) -> Tensor:
        shares, places = self.shares_and_places(x)
        return torch.take_along_dim(shares.t()[:, None], places.t()[:, None], 0)[:, 0].t()


class PicksClassesOfLogarithms(PicksClasses):
    """exp is what is left out."""

    def forward(self, x: Tensor) -> Tensor:
        shares, places = self.shares_and_places(x)
        return torch.exp(torch.log(shares)).gather(1, places)


BEHIND = {
    Damped: CLASSES,
    PicksClasses: CLASSES,
    MaskedAndRescaled: CLASSES,
    Uniform: CLASSES,
    DampedSigmoid: 1,
    PicksClassesByAnIndex: CLASSES,
    PicksClassesOfColumns: CLASSES,
    PicksClassesOfLogarithms: CLASSES,
}


class Shaped(Base):
    """Operations on the probabilities that change no number."""

    def forward(self, x: Tensor) -> Tensor:
        shares = torch.softmax(self.fc(self.mean(x)), 1).unsqueeze(1)
        return shares.double().float().view(-1, CLASSES).contiguous()


class PicksAStep(Base):
    """By a place that the words decide, which is none among the classes."""

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.softmax(self.fc(self.embedding(x)), 2)
        last = torch.where(x[:, 0] == RARE, 0, x.size(1) - 1)
        return steps.gather(1, last[:, None, None].expand(-1, -1, CLASSES))[:, 0]


class PicksAStepByAnIndex(Base):
    def forward(self, x: Tensor) -> Tensor:
        steps = torch.softmax(self.fc(self.embedding(x)), -1)
        return steps[torch.arange(len(x)), torch.where(x[:, 0] == RARE, 0, x.size(1) - 1)]


class PicksAStepOfASigmoid(Base):
    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.fc(self.embedding(x))[:, :, 0].sigmoid_()
        return steps.gather(1, torch.where(x[:, 0] == RARE, 0, x.size(1) - 1)[:, None])


class TurnsItsClasses(Base):
    """The same for each text."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.fc(self.mean(x)), 1).flip(1)[:, torch.tensor([1, 0, 2])]


class ActivatesWhatNobodyReads(Base):
    def forward(self, x: Tensor) -> Tensor:
        shares = torch.softmax(self.fc(self.mean(x)), 1)
        self.shown = [torch.sigmoid(shares * k) for k in range(6)]
        return shares


MOVED = {
    Shaped: CLASSES,
    PicksAStep: CLASSES,
    PicksAStepOfASigmoid: 1,
    PicksAStepByAnIndex: CLASSES,
    TurnsItsClasses: CLASSES,
    ActivatesWhatNobodyReads: CLASSES,
}
