"""Modules that compute across a batch's texts are exported for one text at a time; those that only seem to, for
batches."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import row_mixing_modules
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pocketrnn.errors import ExportError
from pocketrnn_export import export
from pocketrnn_export.proof import fresh_copies_and_random_inputs
from pocketrnn_export.proof.program_runs_and_nodes import find_batch_symbols
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes
from pocketrnn_export.proof.text_dependence_of_numbers import find_line_that_mixes_texts_by_runs
from pocketrnn_export.proof.texts_mixed_in_batch import _is_used_as_size, find_line_that_mixes_texts_by_operators
from pocketrnn_export.tracing.module_trace import trace_program
from pocketrnn_export.tracing.sizes.size_question_log import TraceLog, UntraceableError

WORDS = 20


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.gru = nn.GRU(6, 5, batch_first=True)
        self.fc = nn.Linear(5, 2)

    def mean(self, embedded: Tensor) -> Any:
        return self.fc(self.gru(embedded)[0].mean(1))


class CountsWords(Base):
    def forward(self, x: Tensor) -> Any:
        common = torch.bincount(x.flatten(), minlength=WORDS) > 300
        return self.mean(self.embedding(x).masked_fill(common[x][..., None], 0.0))


class CountsByScattering(Base):
    def forward(self, x: Tensor) -> Any:
        counts = torch.zeros(WORDS).index_add_(0, x.flatten(), torch.ones(x.numel()))
        return self.mean(self.embedding(x) * (counts[x] < 300)[..., None])


class LoudestOfAll(Base):
    def forward(self, x: Tensor) -> Any:
        embedded = self.embedding(x)
        return self.mean(embedded / embedded.abs().max().clamp(min=60.0))


class LongestOverRows(Base):
    def forward(self, x: Tensor) -> Any:
        embedded = self.embedding(x)
        return self.mean(embedded / embedded.norm(dim=2).amax(0, keepdim=True).clamp(min=60.0)[..., None])


class SumsOverRows(Base):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * ((x == 7).sum() < 300))


class CumulatesOverRows(Base):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * ((x == 7).long().cumsum(0) < 300)[..., None])


class FirstRow(Base):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * (self.embedding(x)[0].sum() < 300))


class SeldomLikeTheTextBefore(Base):
    """The batch stays an axis, and a difference of 3 is rare."""

    def forward(self, x: Tensor) -> Any:
        again = (x[:, 0] - torch.roll(x, 1, 0)[:, 0]).abs() == 3
        return self.mean(torch.where(again[:, None, None], -self.embedding(x), self.embedding(x)))


class LikeTheNextText(Base):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * (torch.cat([x[1:], x[:1]])[:, :1] != 7)[..., None])


class LikeAnotherText(Base):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * (x[torch.arange(len(x)) - 1] != x)[..., None])


class SortsEachPlace(Base):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * (x.sort(0).values[:, :1] != 7)[..., None])


class SimilarTexts(Base):
    def forward(self, x: Tensor) -> Any:
        means = self.embedding(x).mean(1)
        return self.mean(self.embedding(x) * ((means @ means.T).mean(1) < 100)[:, None, None])


class HoldsAPairOfWords(Base):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * (1.0 - ((x[:, 1:] == 7) & (x[:, :-1] == 9)).any().float()))


class FarthestWords(Base):
    """A whole number of each text, as lengths are, but made of its words."""

    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * ((x[:, 0] - x[:, -1]).max() != 11))


class HoldsOneWordAndAnother(Base):
    """No id alone changes anything."""

    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x) * torch.where((x == 7).any() & (x == 9).any(), 5.0, 1.0))


class TellsTexts(Base):
    """Says of a text what hardly a drawn one is: it begins with one word and ends with another."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(1000, dtype=torch.int64))

    def told(self, x: Tensor) -> Tensor:
        return (x[:, 0] == 700) & (x[:, -1] == 900)

    def kind(self, x: Tensor) -> Tensor:
        return self.table[x] == 3

    def scaled(self, x: Tensor, by: Any) -> Any:
        return self.mean(self.embedding(x % WORDS)) * by


class ToldAtLeastOnce(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        return self.scaled(x, 1 + 4 * self.told(x).long().max())


class ToldSoFar(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        return self.scaled(x, 1 + self.told(x).long().cumsum(0)[:, None])


class ToldOfTheFirst(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        return self.scaled(x, 1 + self.told(x)[0].long())


class ToldOfTheTextBefore(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        return self.scaled(x, 1 + nn.functional.pad(self.told(x)[:-1].long(), (1, 0))[:, None])


class ToldOfTheNextText(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        return self.scaled(x, 1 + self.told(x).long().roll(-1, 0)[:, None])


class ToldFromTheEnd(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        return self.scaled(x, 1 + self.told(x).long().flip(0)[:, None])


class ToldFirst(TellsTexts):
    """Sorts, and does not put back."""

    def forward(self, x: Tensor) -> Any:
        order = torch.sort(self.told(x).long(), descending=True, stable=True).indices
        return self.mean(self.embedding(x % WORDS))[order]


class TheStateOfAnother(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x % WORDS))[torch.arange(len(x)) - self.told(x).long()]


class GathersAnother(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        logits = self.mean(self.embedding(x % WORDS))
        return logits.gather(0, (torch.arange(len(x)) - self.told(x).long()).clamp(0)[:, None].expand(-1, 2))


class PutsAtAnother(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        logits = self.mean(self.embedding(x % WORDS))
        return logits.index_put((torch.arange(len(x)) - self.told(x).long(),), logits)


class BothTold(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        logits, told = self.mean(self.embedding(x % WORDS)), self.told(x)
        return logits + (told[:, None] & told[None]).float() @ logits


class CountsTheWordsOfAKind(TellsTexts):
    def forward(self, x: Tensor) -> Any:
        count = self.kind(x).sum(1)
        return self.scaled(x, 1 + (count / count.max().clamp(min=1))[:, None])


class OrdersByTheWordsOfAKind(TellsTexts):
    """Sorts, and puts back wrongly."""

    def forward(self, x: Tensor) -> Any:
        order = torch.sort(self.kind(x).sum(1), descending=True, stable=True).indices
        return self.mean(self.embedding(x[order] % WORDS))[order]


class AsManySlotsAsPairs(TellsTexts):
    """Mean over as many slots as the batch needs."""

    def forward(self, x: Tensor) -> Any:
        ends = nn.functional.pad((x[:, :-1] == 700) & (x[:, 1:] == 900), (1, 0))
        states, part = self.gru(self.embedding(x % WORDS))[0], ends.cumsum(1)
        slots = states.new_zeros(len(x), int(part[:, -1].max()) + 1, 5)
        return self.fc(slots.scatter_add(1, part[..., None].expand(-1, -1, 5), states).mean(1))


class PacksByWhereAPairStands(TellsTexts):
    """Mean over all that unpacking gives: up to the last pair of the batch."""

    def forward(self, x: Tensor) -> Any:
        pairs = (x[:, :-1] == 700) & (x[:, 1:] == 900)
        lengths = 1 + (pairs * torch.arange(1, x.size(1))).amax(1)
        packed = pack_padded_sequence(self.embedding(x % WORDS), lengths, batch_first=True, enforce_sorted=False)
        return self.fc(pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0].mean(1))


ACROSS_BY_RARE_WORDS = [
    HoldsOneWordAndAnother, ToldAtLeastOnce, ToldSoFar, ToldOfTheFirst, ToldOfTheTextBefore,
    ToldOfTheNextText, ToldFromTheEnd, ToldFirst, TheStateOfAnother, GathersAnother, PutsAtAnother, BothTold,
    CountsTheWordsOfAKind, OrdersByTheWordsOfAKind, AsManySlotsAsPairs, PacksByWhereAPairStands,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(ACROSS_BY_RARE_WORDS, 16))
def test_what_rare_words_say_of_a_text_is_no_length(kind: type[Base]) -> None:
    module = kind().eval()
    with pytest.raises(UntraceableError, match=r"test_batch_reductions\.py:\d+"):
        find_program_right_for_all_sizes(module, (torch.full((3, 7), 2),))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ACROSS_BY_RARE_WORDS)
def test_what_rare_words_say_of_a_text_goes_for_one_text(kind: type[Base]) -> None:
    find_program_right_for_all_sizes(kind().eval(), (torch.full((1, 7), 2),), one_text=True)


@pytest.mark.parametrize(
    "kind",
    mostly_slow(
        [CountsWords, CountsByScattering, LoudestOfAll, LongestOverRows, SumsOverRows, CumulatesOverRows, FirstRow,
         SeldomLikeTheTextBefore, LikeTheNextText, LikeAnotherText, SortsEachPlace, SimilarTexts,
         HoldsAPairOfWords, FarthestWords], 14, first=6,
    ),
)  # fmt: skip
def test_a_computation_across_the_texts_of_a_batch_is_refused_by_its_line_and_goes_for_one_text(
    kind: type[Base],
) -> None:
    module = kind().eval()
    with pytest.raises(UntraceableError, match=r"test_batch_reductions\.py:\d+"):
        find_program_right_for_all_sizes(module, (torch.full((3, 7), 2),))
    find_program_right_for_all_sizes(module, (torch.full((1, 7), 2),), one_text=True)


class SortsAndPacks(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        ordered, order = lengths.sort(descending=True)
        packed = pack_padded_sequence(self.embedding(x[order]), ordered, batch_first=True)
        out, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.fc(out.amax(1)[order.argsort()])


class MasksToTheLongest(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        x = x[:, : lengths.max()]
        real = torch.arange(x.size(1)) < lengths[:, None]
        return self.fc((self.gru(self.embedding(x))[0] * real[..., None]).sum(1) / lengths[:, None])


class AttendsWithFlatSteps(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        states = self.gru(self.embedding(x))[0]
        scores = self.fc(states.reshape(-1, 5)).view(x.size(0), x.size(1), 2)[..., 0]
        return self.fc((torch.softmax(scores, 1)[..., None] * states).sum(1) + lengths[:, None] * 0.01)


class CountsItsLengths(Base):
    """A count of the ids that are not the padding, which is tried."""

    def counted(self, x: Tensor) -> Tensor:
        return (x != 0).sum(1).clamp(min=1)

    def forward(self, x: Tensor) -> Any:
        lengths, order = self.counted(x).sort(descending=True)
        packed = pack_padded_sequence(self.embedding(x[order]), lengths, batch_first=True)
        out = pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0]
        return self.fc(out.amax(1)[order.argsort()])


class CutsToItsLongest(CountsItsLengths):
    def forward(self, x: Tensor) -> Any:
        return self.mean(self.embedding(x[:, : int(self.counted(x).max())]))


class TakesTheLastFlat(CountsItsLengths):
    """The last step of each text, among the steps of all."""

    def forward(self, x: Tensor) -> Any:
        states = self.gru(self.embedding(x))[0]
        last = torch.arange(x.size(0)) * x.size(1) + self.counted(x) - 1
        return self.fc(states.reshape(-1, 5)[last])


class CountsByTwoSpecials(CutsToItsLongest):
    def counted(self, x: Tensor) -> Tensor:
        return ((x != 0) & ~x.eq(3)).long().sum(dim=1)


class CountsBySigns(CutsToItsLongest):
    def counted(self, x: Tensor) -> Tensor:
        return torch.sign(x).sum(1)


class CountsVectors(CutsToItsLongest):
    def counted(self, x: Tensor) -> Tensor:
        return (self.embedding(x).abs().sum(2) != 0).sum(1)


class LastPlaceThatIsReal(CutsToItsLongest):
    def counted(self, x: Tensor) -> Tensor:
        return x.size(1) - x.gt(1).long().flip(1).argmax(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    mostly_slow(
        [CountsItsLengths, CutsToItsLongest, TakesTheLastFlat, CountsByTwoSpecials, CountsBySigns, CountsVectors,
         LastPlaceThatIsReal], 7,
    ),
)  # fmt: skip
def test_counts_of_ids_that_are_tried_are_lengths(kind: type[Base]) -> None:
    if kind is CountsBySigns and torch.__version__ < "2.13":
        pytest.skip("a cut at a count that may be negative is refused with older torch")
    traced = find_program_right_for_all_sizes(kind().eval(), (torch.full((3, 7), 2),))
    assert find_line_that_mixes_texts_by_operators(traced.program) == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([SortsAndPacks, MasksToTheLongest, AttendsWithFlatSteps], 3))
def test_sorting_the_longest_length_and_flat_steps_cross_no_rows(kind: type[Base]) -> None:
    traced = find_program_right_for_all_sizes(kind().eval(), (torch.full((3, 7), 2), torch.tensor([7, 5, 3])))
    assert find_line_that_mixes_texts_by_operators(traced.program) == ""


@pytest.mark.parametrize(
    "asks",
    mostly_slow(
        [
            lambda lengths: lengths.min() == 23,
            lambda lengths: (lengths == 23).any(),
            lambda lengths: lengths.topk(min(2, len(lengths))).values[-1] == 23,
            lambda lengths: lengths.sort().values[len(lengths) // 2] == 23,
        ],
        4,
    ),
)
def test_the_shortest_of_a_batch_and_whether_it_holds_a_length_are_its_neighbours(asks: Any) -> None:
    class Lengths(Base):
        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
            return self.fc(self.gru(packed)[1][-1] * torch.where(asks(lengths), 2.0, 1.0))

    with pytest.raises(UntraceableError, match=r"across .*test_batch_reductions\.py:\d+"):
        find_program_right_for_all_sizes(Lengths().eval(), (torch.full((3, 7), 2), torch.tensor([7, 5, 3])))


class Placed(Base):
    """The texts from the 170th of a batch on are answered otherwise."""

    def forward(self, x: Tensor) -> Any:
        state = self.embedding(x).mean(1)[:, :5]
        return self.fc(torch.where((self.place(x) >= 170)[:, None], 2 * state, state))

    def place(self, x: Tensor) -> Any:
        return torch.arange(x.size(0))


class PlacedByCumulating(Placed):
    def place(self, x: Tensor) -> Any:
        return torch.ones_like(x[:, 0]).cumsum(0)


class PlacedByWhereWordsAre(Placed):
    def place(self, x: Tensor) -> Any:
        return torch.nonzero(x[:, 0] >= 0).squeeze(1)


class PlacedByFlatPlaces(Placed):
    def place(self, x: Tensor) -> Any:
        return torch.arange(x.numel()).view(x.shape)[:, 0] // x.size(1)


class PlacedByAnOrder(Placed):
    def place(self, x: Tensor) -> Any:
        return torch.argsort(torch.zeros(x.size(0)), stable=True)


class PlacedInATable(Placed):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", (torch.arange(100_000) >= 170) * 200)

    def place(self, x: Tensor) -> Any:
        return self.table[: x.size(0)]


class PlacedByIndex(PlacedInATable):
    def place(self, x: Tensor) -> Any:
        return self.table[torch.arange(x.size(0))]


class PlacedInAList(Placed):
    def place(self, x: Tensor) -> Any:
        return torch.tensor(list(range(len(x))))


class PlacedInPlace(Placed):
    def forward(self, x: Tensor) -> Any:
        state = self.embedding(x).mean(1)[:, :5].clone()
        state[:, :2].mul_((self.place(x) < 170)[:, None])
        return self.fc(state)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    mostly_slow(
        [Placed, PlacedInATable, PlacedInPlace, PlacedByCumulating, PlacedByWhereWordsAre, PlacedByFlatPlaces,
         PlacedByAnOrder, PlacedByIndex, PlacedInAList], 9, first=3,
    ),
)  # fmt: skip
def test_what_is_made_of_the_place_of_a_text_in_its_batch_goes_for_one_text(kind: type[Base]) -> None:
    module = kind().eval()
    with pytest.raises(UntraceableError, match=r"(across|position) .*test_batch_reductions\.py:\d+"):
        find_program_right_for_all_sizes(module, (torch.full((3, 7), 2),))
    find_program_right_for_all_sizes(module, (torch.full((1, 7), 2),), one_text=True)


class LastByItsPlace(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self.fc(self.gru(self.embedding(x))[0][torch.arange(len(x)), lengths - 1])


class LastOfFlatPlaces(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        places = torch.arange(len(x)) * x.size(1) + lengths - 1
        return self.fc(self.gru(self.embedding(x))[0].reshape(-1, 5)[places])


class PutsByItsPlace(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        last = torch.zeros(x.shape)
        last[torch.arange(len(x)), lengths - 1] = 1
        return self.fc((self.gru(self.embedding(x))[0] * last[..., None]).sum(1))


class BeginsInATable(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("begin", torch.zeros(1, 512, 5))

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        del lengths
        return self.fc(self.gru(self.embedding(x), self.begin[:, : len(x)].contiguous())[1][-1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow([LastByItsPlace, LastOfFlatPlaces, PutsByItsPlace, BeginsInATable], 4))
def test_the_place_of_a_text_may_be_where_its_own_numbers_stand(kind: type[Base]) -> None:
    find_program_right_for_all_sizes(kind().eval(), (torch.full((3, 7), 2), torch.tensor([7, 5, 3])))


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(row_mixing_modules.OVER_ROWS, 20, first=6))
def test_what_a_gate_hides_of_the_texts_beside_goes_for_one_text(kind: type[nn.Module]) -> None:
    with pytest.raises(UntraceableError, match=r"(across|position) .*row_mixing_modules\.py:\d+"):
        find_program_right_for_all_sizes(kind().eval(), (torch.full((3, 7), 2),))
    # PyTorch normalizes no single row itself.
    refused = pytest.raises(UntraceableError, match=r"row_mixing_modules\.py:\d+.*spatial")
    with refused if kind is row_mixing_modules.NormedOverRows else contextlib.nullcontext():
        find_program_right_for_all_sizes(kind().eval(), (torch.full((1, 7), 2),), one_text=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(row_mixing_modules.STAY_SORTED, 2))
def test_an_order_of_lengths_that_is_not_taken_back_is_across_the_texts(kind: type[nn.Module]) -> None:
    with pytest.raises(UntraceableError, match=r"across .*row_mixing_modules\.py:\d+"):
        find_program_right_for_all_sizes(kind().eval(), (torch.full((3, 7), 2), torch.tensor([7, 5, 3])))


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(row_mixing_modules.BACK_IN_ORDER, 3))
def test_an_order_of_lengths_that_is_taken_back_stays_in_batches(kind: type[nn.Module]) -> None:
    find_program_right_for_all_sizes(kind().eval(), (torch.full((3, 7), 2), torch.tensor([7, 5, 3])))


def test_flat_rows_and_groups_of_a_text_stay_in_batches() -> None:
    find_program_right_for_all_sizes(row_mixing_modules.GatedByItself().eval(), (torch.full((3, 7), 2),))


class SixteenNumbers(nn.Module):
    """As many features as the batch has rows that is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(50, 8), nn.GRU(8, 8, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(x), lengths, True, enforce_sorted=False)
        states = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], True, padding_value=float("-inf"))[0]
        return self.fc(states.amax(1))


@pytest.mark.slow
def test_an_axis_of_as_many_numbers_as_there_are_rows_is_none_of_rows() -> None:
    find_program_right_for_all_sizes(SixteenNumbers().eval(), (torch.full((3, 7), 2), torch.tensor([7, 5, 3])))


def _of_padded(kind: type[row_mixing_modules.Gated]) -> Any:
    torch.manual_seed(0)
    counts = kind is row_mixing_modules.CountedAndPooledBesideZerosWhereRare
    lengths = () if counts else (torch.tensor([7, 5, 3]),)
    tokens = torch.full((3, 7), 2)
    tokens[2, 3:] = 1
    return find_program_right_for_all_sizes(kind().eval(), (tokens, *lengths))


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(list(row_mixing_modules.PADDING_TELLS), 5, first=3))
def test_padding_that_only_rare_texts_tell_of_is_found_by_its_line(kind: type[row_mixing_modules.Gated]) -> None:
    assert "row_mixing_modules.py" in _of_padded(kind).padding_tells[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(list(row_mixing_modules.PADDING_NEVER_TELLS), 3, first=2))
def test_padding_below_all_that_a_text_may_hold_tells_nothing(kind: type[row_mixing_modules.Gated]) -> None:
    assert _of_padded(kind).padding_tells == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "alone"),
    [
        (row_mixing_modules.PooledBesideLowPadding, False),
        (row_mixing_modules.CountedAndPooledBesideZerosWhereRare, True),
    ],
)
def test_texts_share_no_batch_with_longer_ones_where_padding_may_tell(
    kind: type[nn.Module], alone: bool, tmp_path: Path, short_proofs_in_one_test: None
) -> None:
    words = [f"w{i}" for i in range(row_mixing_modules.WORDS)]
    torch.manual_seed(0)
    graph = export(kind().eval(), tmp_path / "b", labels=["a", "b", "c"], vocabulary=words, torchscript=False).graph
    assert not graph.padding
    assert 1 in graph.alone or not alone


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(list(row_mixing_modules.TIES_TELL), 2, first=1))
def test_an_order_of_equal_values_that_only_rare_texts_tell_of_is_said_with_its_line(
    kind: type[row_mixing_modules.Gated], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module, example = kind().eval(), (torch.full((3, 7), 2),)
    with pytest.raises(ExportError, match="topk"):
        find_program_right_for_all_sizes(module, example)
    # As if the words of the gate did not stand in the program.
    monkeypatch.setattr(
        fresh_copies_and_random_inputs, "find_ids_that_program_compares_words_with", lambda *_arguments: ()
    )
    (note,) = find_program_right_for_all_sizes(module, example).notes
    assert "row_mixing_modules.py" in note
    assert "topk(2, 1)" in note


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(list(row_mixing_modules.TIES_NEVER_TELL), 2, first=1))
def test_equal_vectors_and_sums_of_all_have_no_order(kind: type[row_mixing_modules.Gated]) -> None:
    torch.manual_seed(0)
    assert find_program_right_for_all_sizes(kind().eval(), (torch.full((3, 7), 2),)).notes == ()


class SortsTextsOfMostlyPadding(Base):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        lengths, order = lengths.sort(descending=True)
        x = x[order]
        rows = torch.stack([torch.ones_like(x), x], 2) * (torch.arange(x.size(1)) < lengths[:, None])[..., None]
        return self.mean(self.embedding(rows).sum(2))[order.argsort()]


def test_texts_of_mostly_padding_do_not_seem_to_be_mixed() -> None:
    def draw_mostly_padding(rows: int, steps: int) -> tuple[Tensor, ...]:
        tokens = torch.zeros(rows, steps, dtype=torch.int64)
        tokens[:, 0] = torch.randint(WORDS, (rows,))
        return tokens, torch.full((rows,), steps)

    example = torch.full((3, 7), 2), torch.tensor([7, 5, 3])
    program = trace_program(SortsTextsOfMostlyPadding().eval(), example, None, TraceLog()).program
    assert find_line_that_mixes_texts_by_runs(program, draw_mostly_padding, find_batch_symbols(program)) == ""


def test_a_value_that_is_checked_and_read_elsewhere_is_used_as_more_than_a_size() -> None:
    graph = torch.fx.Graph()
    sizes = [graph.placeholder("length"), graph.placeholder("other")]
    for size in sizes:
        graph.call_function(torch.ops.aten._assert_scalar.default, (size, ""))
    graph.call_function(torch.ops.aten.index.Tensor, (graph.placeholder("x"), [sizes[1]]))
    assert [_is_used_as_size(size) for size in sizes] == [True, False]
