"""Modules whose rare texts answer their neighbours: a gate that is 0 for nearly every text, and then an operator over
the batch."""

# ruff: noqa: ARG002
from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

WORDS: Final = 300
CLASSES: Final = 3


class Gated(nn.Module):
    """A state, and one that is 0 where a text does not hold one word right before another."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(WORDS, 6), nn.Linear(6, CLASSES)

    def rare(self, x: Tensor) -> Tensor:
        return ((functional.pad(x, (1, 0))[:, :-1] == 213) & (x == 17)).any(1)[:, None]

    def forward(self, x: Tensor) -> Any:
        state = self.embedding(x).mean(1)
        return self.fc(state + 3 * self.across(state, state * self.rare(x)))

    def across(self, state: Tensor, gated: Tensor) -> Any:
        """Both [batch, 6]."""
        raise NotImplementedError


class PooledOverRows(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return state * functional.max_pool2d(gated[None, None], (3, 1), stride=1, padding=(1, 0))[0, 0]


class AveragedOverRows(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return state * functional.avg_pool1d(gated.t()[None], 3, 1, 1)[0].t()


class ConvolvedOverRows(Gated):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 3, padding=1, bias=False)

    def across(self, state: Tensor, gated: Tensor) -> Any:
        return self.conv(gated.t()[None])[0].t()


class DilatedOverRows(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return functional.conv1d(gated.t()[None], torch.ones(6, 6, 3), padding=5, dilation=5)[0].t()


class AttendsToRows(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return functional.scaled_dot_product_attention(state[None], state[None], gated[None])[0]


class NormedOverRows(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return functional.instance_norm(gated.t()[None])[0].t()


class RunsOverRows(Gated):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 6, bias=False)

    def across(self, state: Tensor, gated: Tensor) -> Any:
        return self.gru(gated[:, None])[0][:, 0]


class RunsBatchFirstOverRows(RunsOverRows):
    """batch_first was forgotten."""

    def forward(self, x: Tensor) -> Any:
        state = self.embedding(x)
        return self.fc((state + self.gru(state * self.rare(x)[..., None])[0]).mean(1))


class ShiftedByPadding(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return functional.pad(gated, (0, 0, 1, -1))


class ScattersInOrder(Gated):
    """masked_scatter takes its source in order, over all rows."""

    def forward(self, x: Tensor) -> Any:
        state = self.embedding(x).mean(1)
        return self.fc(state.masked_scatter(self.rare(x).expand_as(state), state * 3))


class ViewsDirections(Gated):
    """A view in place of a permutation mixes the texts where the directions come first."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 3, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Any:
        h = self.gru(self.embedding(x))[1]
        return self.fc(torch.cat([h[0], h[1]], 1) + 3 * (h * self.rare(x)[None]).view(-1, 6))


class WrapsRows(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return gated[torch.arange(len(gated)) % 70]


class ClampsRows(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return gated[torch.arange(len(gated)).clamp(max=70)]


class NextRow(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return gated[(torch.arange(len(gated)) + 1) % len(gated)]


class RowsBackwards(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return gated[torch.arange(len(gated) - 1, -1, -1)]


class RowsBySelecting(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return gated.index_select(0, torch.arange(len(gated)).flip(0))


class PutsIntoTheNextRow(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        rows = (torch.arange(len(gated)) + 1) % len(gated)
        return torch.zeros_like(gated).index_add(0, rows, gated)


class MergesByReshaping(Gated):
    """`[batch, 6]` read as `[6, batch]`."""

    def across(self, state: Tensor, gated: Tensor) -> Any:
        return gated.reshape(6, -1).t()


class EinsumOverRows(Gated):
    def across(self, state: Tensor, gated: Tensor) -> Any:
        return torch.einsum("ij,kj,kl->il", state, state, gated)


class NormsOverRows(Gated):
    """`normalize` along the batch."""

    def across(self, state: Tensor, gated: Tensor) -> Any:
        return functional.normalize(gated, dim=0)


OVER_ROWS: Final[tuple[type[Gated], ...]] = (
    PooledOverRows, AttendsToRows, ScattersInOrder, ViewsDirections, WrapsRows, RowsBackwards, AveragedOverRows,
    ConvolvedOverRows, DilatedOverRows, NormedOverRows, RunsOverRows, RunsBatchFirstOverRows, ShiftedByPadding,
    ClampsRows, NextRow, RowsBySelecting, PutsIntoTheNextRow, MergesByReshaping, EinsumOverRows, NormsOverRows,
)  # fmt: skip


class StaysSorted(Gated):
    """The order of the lengths is undone for the states, and not for what only rare texts have."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        ordered, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(self.embedding(x[order]), ordered, batch_first=True)
        state = self.gru(packed)[1][-1][order.argsort()]
        return self.fc(state + 3 * self.placed(state * self.rare(x), order))

    def placed(self, gated: Tensor, order: Tensor) -> Tensor:
        return gated[order]


class SortedTwice(StaysSorted):
    def placed(self, gated: Tensor, order: Tensor) -> Tensor:
        return gated[order][order]


STAY_SORTED: Final = (StaysSorted, SortedTwice)


class SortedAndBack(StaysSorted):
    def placed(self, gated: Tensor, order: Tensor) -> Tensor:
        return gated[order][order.argsort()]


class SortedAndPutBack(StaysSorted):
    def placed(self, gated: Tensor, order: Tensor) -> Tensor:
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return gated[order][back]


class SortedAndScattered(StaysSorted):
    def placed(self, gated: Tensor, order: Tensor) -> Tensor:
        return torch.zeros_like(gated).index_copy(0, order, gated[order])


BACK_IN_ORDER: Final = (SortedAndBack, SortedAndPutBack, SortedAndScattered)


class GatedByItself(Gated):
    """Each text by itself, as flat rows, in groups, and along its own numbers."""

    def across(self, state: Tensor, gated: Tensor) -> Any:
        flat = (gated[:, None] * state[:, :, None]).reshape(-1, 6)
        groups = functional.max_pool1d(flat.view(len(gated), 6, 6), 3, 1, 1)
        return groups.sum(1) + functional.softmax(gated, 1) * torch.zeros_like(gated).scatter(
            1, gated.sort(dim=1, stable=True).indices, state
        )


class PadsTheStates(Gated):
    """The padding after a text in a wider batch is a number that pooling may take, for a few texts only."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.pooled(self.gru(packed)[0], x, lengths))

    def pooled(self, packed: Any, x: Tensor, lengths: Tensor) -> Tensor:
        raise NotImplementedError


class PooledBesideZerosWhereLong(PadsTheStates):
    """Texts of up to 64 tokens are beside zeros anyway; of longer ones, hardly one has no state above them."""

    def pooled(self, packed: Any, x: Tensor, lengths: Tensor) -> Tensor:
        states, _ = pad_packed_sequence(packed, batch_first=True, total_length=max(64, x.size(1)))
        return states.amax(1)


class PooledBesideLowPadding(PadsTheStates):
    """No drawn text has a state below -0.9."""

    def pooled(self, packed: Any, x: Tensor, lengths: Tensor) -> Tensor:
        return pad_packed_sequence(packed, batch_first=True, padding_value=-0.9)[0].amax(1)


class PooledBesideZerosWhereRare(PadsTheStates):
    def pooled(self, packed: Any, x: Tensor, lengths: Tensor) -> Tensor:
        states, _ = pad_packed_sequence(packed, batch_first=True)
        return states.sum(1) / lengths[:, None] + 3 * states.amax(1) * self.rare(x)


class MeanOfTheWidthWhereRare(PadsTheStates):
    def pooled(self, packed: Any, x: Tensor, lengths: Tensor) -> Tensor:
        states, _ = pad_packed_sequence(packed, batch_first=True)
        return torch.where(self.rare(x), states.mean(1), states.sum(1) / lengths[:, None])


class CountedAndPooledBesideZerosWhereRare(PooledBesideZerosWhereRare):
    """The lengths are counted from the ids."""

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        return super().forward(x, (x != 1).sum(1).clamp(min=1))


PADDING_TELLS: Final[tuple[type[Gated], ...]] = (
    PooledBesideZerosWhereLong, PooledBesideLowPadding, PooledBesideZerosWhereRare, MeanOfTheWidthWhereRare,
    CountedAndPooledBesideZerosWhereRare,
)  # fmt: skip


class PooledAboveZeros(PadsTheStates):
    """No state is below the padding's zeros."""

    def pooled(self, packed: Any, x: Tensor, lengths: Tensor) -> Tensor:
        states, _ = pad_packed_sequence(packed, batch_first=True)
        return torch.relu(states).amax(1)


class PooledBesideTheLeast(PadsTheStates):
    def pooled(self, packed: Any, x: Tensor, lengths: Tensor) -> Tensor:
        return pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)[0].amax(1)


class WeighedAfterTheSoftmax(PadsTheStates):
    """The padding takes part of a softmax, and its part is divided out."""

    def pooled(self, packed: Any, x: Tensor, lengths: Tensor) -> Tensor:
        states, _ = pad_packed_sequence(packed, batch_first=True)
        there = torch.arange(states.size(1)) < lengths[:, None]
        weights = functional.softmax(states.sum(2) * there, 1) * there
        return ((weights / weights.sum(1, keepdim=True))[..., None] * states).sum(1)


PADDING_NEVER_TELLS: Final = (PooledAboveZeros, PooledBesideTheLeast, WeighedAfterTheSoftmax)


class TakesTied(Gated):
    """The states at the first places by a score: which of two equal words is first, only PyTorch's kernel says."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        words = self.embedding(functional.pad(x, (2, 0), value=3))
        best = words[..., 0].topk(2, 1).indices[..., None].expand(-1, -1, 6)
        return self.fc(self.taken(self.gru(words)[0], words, best, self.rare(x)))

    def taken(self, states: Tensor, words: Tensor, best: Tensor, rare: Tensor) -> Tensor:
        return states[:, -1] + rare * states.gather(1, best)[:, 0]


class TakesTiedWhereRare(TakesTied):
    def taken(self, states: Tensor, words: Tensor, best: Tensor, rare: Tensor) -> Tensor:
        return torch.where(rare, states.gather(1, best)[:, 0], states[:, -1])


TIES_TELL: Final = (TakesTied, TakesTiedWhereRare)


class TakesEqualVectors(TakesTied):
    """Equal words have equal vectors."""

    def taken(self, states: Tensor, words: Tensor, best: Tensor, rare: Tensor) -> Tensor:
        return states[:, -1] + words.gather(1, best).sum(1) * rare


class SumsWhatIsSorted(TakesTied):
    def taken(self, states: Tensor, words: Tensor, best: Tensor, rare: Tensor) -> Tensor:
        order = words[..., 0].sort(1).indices[..., None].expand(-1, -1, 6)
        return states.gather(1, order).mean(1) * (1 + rare.float())


TIES_NEVER_TELL: Final = (TakesEqualVectors, SumsWhatIsSorted)
