"""State that a module keeps between calls: it is exported where no answer depends on it, else refused by its name."""

from __future__ import annotations

import copy
import inspect
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest
import rare_word_modules as rare
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.forms.onnx.onnx_conversion import OnnxGraph
from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.proof import every_size_comparison

WORDS = 20
OF_THE_FILE: dict[str, Tensor] = {}
STICKS = [1.0]
CALLS = {"all": 0}


class Base(nn.Module):
    """Without a recurrent layer where none is needed: each trace of one takes half a second."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.fc = nn.Linear(6, 2)

    def mean(self, x: Tensor) -> Any:
        return self.fc(self.embedding(x).mean(1))


class Recurrent(Base):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 6, batch_first=True)


class LongestSoFar(Base):
    longest = 1

    def forward(self, x: Tensor) -> Any:
        self.longest = max(self.longest, x.size(1))
        return self.mean(x) * (x.size(1) / self.longest)


class StateOfTheSameShape(Recurrent):
    def __init__(self) -> None:
        super().__init__()
        self.states: dict[Any, Tensor] = {}

    def forward(self, x: Tensor) -> Any:
        before = self.states.get(tuple(x.shape))
        out, after = self.gru(self.embedding(x), before)
        self.states[tuple(x.shape)] = after
        return self.fc(out.mean(1))


class FirstAnswerOfAShape(Base):
    """Asked the same twice, it answers the same."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[Any, Tensor] = {}

    def forward(self, x: Tensor) -> Any:
        return self.mean(x) + self.answers.setdefault(tuple(x.shape), self.mean(x))


class LastHiddenState(Recurrent):
    hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        fits = self.hidden is not None and self.hidden.size(1) == x.size(0)
        out, self.hidden = self.gru(self.embedding(x), self.hidden if fits else None)
        return self.fc(out.mean(1))


class LongestOfTheFile(Base):
    def forward(self, x: Tensor) -> Any:
        seen = OF_THE_FILE.setdefault("longest", torch.ones(()))
        seen.clamp_(min=x.size(1))
        return self.mean(x) * x.size(1) / seen


class WarmsUp(Base):
    steps = 0

    def forward(self, x: Tensor) -> Any:
        self.steps += 1
        return self.mean(x) * (0.5 if self.steps < 100 else 1.0)


class CoolsDownLate(Base):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Identity()
        self.part.calls = 0  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Any:
        self.part.calls += 1  # type: ignore[assignment,operator]
        return self.mean(x) * (0.5 if self.part.calls > 250_000 else 1.0)  # type: ignore[operator]


class Decays(Base):
    alpha = 1.0

    def forward(self, x: Tensor) -> Any:
        self.alpha *= 0.999
        return self.mean(x) * self.alpha


class RunningMean(Recurrent):
    mean_state: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_state", torch.zeros(6))

    def forward(self, x: Tensor) -> Any:
        states = self.gru(self.embedding(x))[0].mean(1)
        self.mean_state.mul_(0.99).add_(states.mean(0), alpha=0.01)
        return self.fc(states - self.mean_state)


class SizesInAList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.sizes = [0]

    def forward(self, x: Tensor) -> Any:
        self.sizes.append(x.size(1))
        return self.mean(x) * (-1 if len(self.sizes) > 2 and min(self.sizes[-2:]) > 300 else 1)


class ManyInADeque(Base):
    def __init__(self) -> None:
        super().__init__()
        self.seen: deque[Tensor] = deque()

    def forward(self, x: Tensor) -> Any:
        states = self.mean(x)
        self.seen.append(states.detach())
        return states if len(self.seen) < 500 else states - self.seen[0]


class ManyInAListOfTheFirstCall(Base):
    """The list is no attribute before a text was answered."""

    def forward(self, x: Tensor) -> Any:
        if not hasattr(self, "seen"):
            self.seen: list[Tensor] = []
        states = self.mean(x)
        self.seen.append(states.detach())
        return states if len(self.seen) < 500 else states - self.seen[0]


DEPENDS = [
    (ManyInAListOfTheFirstCall, "seen"),
    (SizesInAList, "sizes"),
    (ManyInADeque, "seen"),
    (LongestSoFar, "module.longest = 1; module(tokens)"),
    (RunningMean, "module.mean_state.zero_(); module(tokens)"),
    (FirstAnswerOfAShape, "answers"),
    (LastHiddenState, "module.hidden = None; module(tokens)"),
    (LongestOfTheFile, "keep anything"),
    (WarmsUp, "module.steps = 0; module(tokens)"),
    (CoolsDownLate, "module.part.calls = 0; module(tokens)"),
    (Decays, "module.alpha = 1.0; module(tokens)"),
    (StateOfTheSameShape, "states"),
]


class SticksInAnAttribute(Base):
    scale = 1.0

    def forward(self, x: Tensor) -> Any:
        if x.size(1) > 700:
            self.scale = 3.0
        return self.mean(x) * self.scale


class SticksInTheFile(Base):
    def forward(self, x: Tensor) -> Any:
        if x.size(1) > 300:
            STICKS[0] = 3.0
        return self.mean(x) * STICKS[0]


class SticksInItsClass(Base):
    scale = 1.0

    def forward(self, x: Tensor) -> Any:
        if x.size(1) == 77:
            type(self).scale = 3.0
        return self.mean(x) * self.scale


class SticksAfterManyTexts(Base):
    seen = False

    def forward(self, x: Tensor) -> Any:
        self.seen = self.seen or x.size(0) > 20
        return self.mean(x) * (2.0 if self.seen else 1.0)


class AsksAndSticksNot(Base):
    def forward(self, x: Tensor) -> Any:
        self.width = x.size(1)
        return self.mean(x[:, :700] if self.width > 700 else x)


class CountsItsCalls(Base):
    calls = 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.mean(x)


class SaysHowOftenItWasCalled(Base):
    """Its forward does more at some calls, and this changes no answer."""

    calls = 0
    said: str | None = None

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        if self.calls % 100 == 0:
            self.said = f"{self.calls} calls"
        return self.mean(x)


class KeepsItsAttention(Recurrent):
    def forward(self, x: Tensor) -> Any:
        states = self.gru(self.embedding(x))[0]
        self.attention = torch.softmax(states.sum(2), 1)
        return self.fc((states * self.attention[..., None]).sum(1))


class KeepsItsLastStates(Base):
    """None before the first call, and a list after it."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Any:
        states = self.mean(x)
        self.states = [states, x]
        return states


class KeepsAListOfTheFirstCall(Base):
    def forward(self, x: Tensor) -> Any:
        if not hasattr(self, "seen"):
            self.seen: list[Tensor] = []
        self.seen.append(x)
        return self.mean(x)


class KeepsAListOfAttention(Base):
    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Any:
        self.shown.append(x)
        return self.mean(x)


class CachesByLength(Base):
    def __init__(self) -> None:
        super().__init__()
        self.ramps: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Any:
        ramp = self.ramps.setdefault(x.size(1), torch.linspace(0, 1, x.size(1)))
        return self.mean(x) * ramp.mean()


class CacheThatGrows(Base):
    def __init__(self) -> None:
        super().__init__()
        self.ramp = torch.arange(4) * 0.1

    def forward(self, x: Tensor) -> Any:
        if x.size(1) > len(self.ramp):
            self.ramp = torch.arange(x.size(1)) * 0.1
        return self.mean(x) * self.ramp[: x.size(1)].mean()


DEPENDS_NOT = [
    KeepsItsLastStates,
    KeepsAListOfTheFirstCall,
    CountsItsCalls,
    SaysHowOftenItWasCalled,
    KeepsItsAttention,
    KeepsAListOfAttention,
    CachesByLength,
    CacheThatGrows,
]


def prepared(module: nn.Module, call: str | None = None) -> ExportableModule:
    return prepare_module(module.eval(), lengths=None, ids=WORDS, padding_id=1, classes=2, multi_label=False, call=call)


# A list of the first call, a buffer, and a number.
@pytest.mark.parametrize("case", mostly_slow(DEPENDS, 12), ids=lambda case: case[0].__name__)
def test_a_module_whose_answers_depend_on_earlier_calls_is_refused_by_what_it_keeps(
    case: tuple[type[Base], str],
) -> None:
    kind, remedy = case
    with pytest.raises(ExportError) as refused:
        prepared(kind())
    assert remedy in refused.value.remedy


class CountsInTheFile(Base):
    def forward(self, x: Tensor) -> Any:
        CALLS["all"] += 1
        return self.mean(x) * (1.0 if CALLS["all"] < 20_000 else 2.0)


class CountsInItsClass(Base):
    calls = 0

    def forward(self, x: Tensor) -> Any:
        type(self).calls += 1
        return self.mean(x) * (1.0 if self.calls < 20_000 else 2.0)


class CountsInAList(Base):
    def forward(self, x: Tensor, seen: Any = [0]) -> Any:  # noqa: B006
        seen[0] += 1
        return self.mean(x) * (1.0 if seen[0] < 20_000 else 2.0)


class CountsByItself(Base):
    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def forward(self, x: Tensor) -> Any:
        self._calls += 1
        return self.mean(x) * (2.0 if self._calls % 1733 == 1600 else 1.0)


class CountsInAnObject(Base):
    def __init__(self) -> None:
        super().__init__()
        self.of_user = CountsOfAUser()

    def forward(self, x: Tensor) -> Any:
        self.of_user.calls += 1
        return self.mean(x) * (2.0 if self.of_user.calls == 9_177 else 1.0)


class CountsOfAUser:
    calls = 0

    def __init__(self) -> None:
        self.calls = 0


class TakesTheNextNumber(Base):
    """A count of calls is the next value of an iterator, or a number in any place that a call can change."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(3, 2)

    def count(self) -> Any:
        return next(self.numbers)

    def forward(self, x: Tensor) -> Any:
        return self.mean(x) * (1.0 if self.count() < 20_000 else 2.0)


class TakesTheNextNumberOfADefault(TakesTheNextNumber):
    def count(self, numbers: Any = itertools.count()) -> Any:  # noqa: B008
        return next(numbers)


class CountsInAFunction(TakesTheNextNumber):
    def count(self) -> Any:
        CountsInAFunction.count.calls = getattr(CountsInAFunction.count, "calls", 0) + 1  # type: ignore[attr-defined]
        return CountsInAFunction.count.calls  # type: ignore[attr-defined]


class CountsInACounter(TakesTheNextNumber):
    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()

    def count(self) -> Any:
        self.counts["calls"] += 1
        return self.counts["calls"]


class CountsInAnArray(TakesTheNextNumber):
    def __init__(self) -> None:
        super().__init__()
        self.counts = np.zeros(2, np.int64)

    def count(self) -> Any:
        self.counts[1] += 1
        return self.counts[1]


class CountsInANumberOfNumpy(TakesTheNextNumber):
    def __init__(self) -> None:
        super().__init__()
        self.calls = np.int64(0)

    def count(self) -> Any:
        self.calls = self.calls + 1
        return self.calls


class Slots:
    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class CountsInSlots(TakesTheNextNumber):
    def __init__(self) -> None:
        super().__init__()
        self.counts = (Slots(),)

    def count(self) -> Any:
        self.counts[0].calls += 1
        return self.counts[0].calls


COUNTS: Final = [
    TakesTheNextNumber,
    CountsInSlots,
    CountsInACounter,
    CountsInAnArray,
    CountsInANumberOfNumpy,
    TakesTheNextNumberOfADefault,
    CountsInAFunction,
]


@pytest.mark.parametrize("kind", mostly_slow(COUNTS, 3))
def test_a_count_of_calls_is_found_in_each_place_that_a_call_can_change(kind: type[TakesTheNextNumber]) -> None:
    with pytest.raises(ExportError, match="number of calls") as refused:
        prepared(kind())
    # A number in the place of an iterator would be an error in forward.
    assert "module.numbers" not in refused.value.remedy
    module = kind()
    for _ in range(3):
        assert module.count() < 1_000


def test_a_count_that_no_answer_depends_on_is_none() -> None:
    class Logs(TakesTheNextNumber):
        def forward(self, x: Tensor) -> Any:
            self.last = self.count()
            return self.mean(x)

    assert prepared(Logs()).convention.line == "module(tokens)"


@pytest.mark.parametrize(
    "values",
    [lambda: itertools.cycle([1.0, 1.0]), lambda: (1.0 for _ in itertools.count()), lambda: iter([1.0] * 5000)],
)
def test_an_iterator_whose_later_values_are_not_known_is_refused(values: Callable[[], Any]) -> None:
    class Takes(Base):
        def __init__(self) -> None:
            super().__init__()
            self.values = values()

        def forward(self, x: Tensor) -> Any:
            return self.mean(x) * next(self.values)

    class Keeps(Takes):
        def forward(self, x: Tensor) -> Any:
            return self.mean(x)

    with pytest.raises(ExportError, match="keeps: values"):
        prepared(Takes())
    assert prepared(Keeps()).convention.line == "module(tokens)"


def test_a_module_with_a_part_that_cannot_be_copied_may_give_probabilities() -> None:
    class Keeps(Base):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

        def forward(self, x: Tensor) -> Any:
            return self.mean(x).softmax(1)

    assert prepared(Keeps()).convention.line == "module(tokens)"


@pytest.mark.parametrize(
    ("first", "extend"),
    [
        (set(), lambda held: held.add(len(held)) or held),
        pytest.param((), lambda held: (*held, 1), marks=pytest.mark.slow),
        pytest.param("", lambda held: held + ".", marks=pytest.mark.slow),
        pytest.param({}, lambda held: held.update({len(held): 1}) or held, marks=pytest.mark.slow),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_collection_whose_size_counts_calls_is_refused(first: Any, extend: Callable[[Any], Any]) -> None:
    class Grows(Base):
        def __init__(self) -> None:
            super().__init__()
            self.seen = copy.copy(first)

        def forward(self, x: Tensor) -> Any:
            self.seen = extend(self.seen)
            return self.mean(x) * (1.0 if len(self.seen) < 900 else 2.0)

    with pytest.raises(ExportError, match="earlier texts") as refused:
        prepared(Grows())
    assert "seen" in refused.value.remedy


@pytest.mark.parametrize(
    "kind", mostly_slow([CountsByItself, CountsInTheFile, CountsInAnObject, CountsInItsClass, CountsInAList], 2)
)
def test_a_count_of_calls_is_found_where_it_is_and_whatever_is_asked_of_it(kind: type[Base]) -> None:
    with pytest.raises(ExportError, match="number of calls") as refused:
        prepared(kind())
    assert ("module._calls = 0" in refused.value.remedy) == (kind is CountsByItself)
    # The counts are restored, up to those of the last calls.
    assert max(CALLS["all"], CountsInItsClass.calls, *CountsInAList.forward.__defaults__[0]) < 1_000  # type: ignore[index]


def test_a_weight_that_each_call_changes_is_named_and_no_call_sets_it_to_zero() -> None:
    class Decays(Base):
        def forward(self, x: Tensor) -> Any:
            self.fc.weight.mul_(0.9)
            return self.mean(x)

    with pytest.raises(ExportError, match=r"fc\.weight") as refused:
        prepared(Decays())
    assert "--call" not in refused.value.remedy


def test_a_weight_whose_data_each_call_assigns_is_named_with_what_to_write_instead() -> None:
    class Bounded(Base):
        def forward(self, x: Tensor) -> Any:
            self.fc.weight.data = torch.renorm(self.fc.weight.data, 2, 0, 0.25)
            return self.mean(x)

    with pytest.raises(ExportError, match=r"depends") as refused:
        prepared(Bounded())
    assert "fc.weight" in refused.value.remedy
    assert "torch.renorm" in refused.value.remedy


@pytest.mark.parametrize("kind", mostly_slow(DEPENDS_NOT, 10))
def test_what_no_answer_depends_on_may_be_kept(kind: type[Base]) -> None:
    assert prepared(kind()).convention.line == "module(tokens)"


@pytest.mark.parametrize("kind", mostly_slow([LongestSoFar, LastHiddenState, WarmsUp, CoolsDownLate, Decays], 5))
def test_the_call_that_the_refusal_offers_is_taken(kind: type[Base]) -> None:
    with pytest.raises(ExportError) as refused:
        prepared(kind())
    call = refused.value.remedy.partition('--call "')[2].partition('"')[0]
    assert prepared(kind(), call).convention.line == call


def of_rare_texts(module: type[rare.Base] | nn.Module, call: str | None = None) -> ExportableModule:
    if isinstance(module, type):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = module()
    known = {"ids": rare.WORDS, "padding_id": 1, "classes": rare.CLASSES, "multi_label": False}
    return prepare_module(module.eval(), lengths=None, call=call, **known)


# A state, a count in a buffer and one in a number, and what stands in no attribute.
@pytest.mark.parametrize("kind", mostly_slow(list(rare.KEEP), 19, first=8), ids=lambda kind: kind.__name__)
def test_what_only_rare_texts_read_or_write_is_refused(kind: type[rare.Base]) -> None:
    with pytest.raises(ExportError) as refused:
        of_rare_texts(kind)
    assert rare.KEEP[kind] in refused.value.remedy
    call = refused.value.remedy.partition('--call "')[2].partition('"')[0]
    # The way out is one, where there is one.
    assert not call or of_rare_texts(kind, call).convention.line == call


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(list(rare.KEEP_BY_SIZES), 6), ids=lambda kind: kind.__name__)
def test_what_one_size_writes_and_another_reads_is_refused(
    kind: type[rare.Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_size_comparison, "SECONDS", 0.2)
    bounds = [(sizes.batch, sizes.tokens) for sizes in program_of(kind()).bounds]
    with pytest.raises(ExportError, match="earlier texts") as refused:
        of_rare_texts(kind).refuse_kept(bounds)
    assert rare.KEEP_BY_SIZES[kind] in refused.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize("kind", rare.KEEP_AND_MIX_ROWS, ids=lambda kind: kind.__name__)
def test_a_size_that_reads_what_another_writes_is_refused_already_for_its_rows(kind: type[rare.Base]) -> None:
    with pytest.raises(ExportError):
        program_of(kind())


# In the fast suite, what no text of any size reads is not refused either.
@pytest.mark.slow
def test_what_one_size_writes_and_none_reads_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_size_comparison, "SECONDS", 0.2)
    asked = program_of(rare.KeepsStatisticsOfLongTexts()).bounds
    bounds = [(sizes.batch, sizes.tokens) for sizes in asked]
    assert {11, 60, 61} <= {tokens for _, tokens in bounds}
    of_rare_texts(rare.KeepsStatisticsOfLongTexts).refuse_kept(bounds)


@pytest.mark.parametrize("kind", mostly_slow(rare.KEEP_NOTHING, 6), ids=lambda kind: kind.__name__)
def test_what_is_kept_and_flows_into_no_answer_is_not_refused(kind: type[rare.Base]) -> None:
    assert of_rare_texts(kind).convention.line == "module(tokens)"


@pytest.mark.parametrize("kind", mostly_slow(rare.READ_ROWS, 4), ids=lambda kind: kind.__name__)
def test_a_weight_of_a_norm_that_is_read_beside_its_look_up_is_refused_until_its_rows_have_it(
    kind: type[rare.Base],
) -> None:
    def asked(module: nn.Module) -> None:
        of_rare_texts(module).refuse_kept([(3, 54), (3, 55), (3, 56)])

    module = kind()
    with pytest.raises(ExportError, match=r"embedding\.weight") as refused:
        asked(module)
    exec(refused.value.remedy.partition(": ")[2].removesuffix("."), {"torch": torch, "module": module})  # noqa: S102
    asked(module)


@pytest.mark.parametrize("kind", mostly_slow(rare.LOOK_UP, 2), ids=lambda kind: kind.__name__)
def test_look_ups_alone_may_bring_rows_to_their_norm(kind: type[rare.Base]) -> None:
    assert of_rare_texts(kind).convention.line == "module(tokens)"


@pytest.mark.parametrize("kind", rare.TAKE_OUT, ids=lambda kind: kind.__name__)
def test_what_numbers_taken_out_of_tensors_may_keep_is_said_with_the_line(kind: type[rare.Base]) -> None:
    (note,) = of_rare_texts(kind).notes
    line = inspect.getsourcelines(kind.forward)[1] + 2 - (kind is rare.KeepsWordsInAList)
    assert f"rare_word_modules.py:{line}" in note


@pytest.mark.parametrize("kind", mostly_slow(rare.TAKE_OUT_NOTHING, 3), ids=lambda kind: kind.__name__)
def test_where_no_number_of_a_word_is_taken_out_nothing_is_said(kind: type[rare.Base]) -> None:
    assert of_rare_texts(kind).notes == ()


@pytest.mark.slow
def test_a_module_is_left_with_what_it_kept() -> None:
    module = CountsItsCalls()
    prepared(module)
    assert module.calls == 0


def program_of(module: nn.Module) -> OnnxGraph:
    return trace_onnx_graph(module.eval(), (torch.zeros(3, 7, dtype=torch.int64),), {})


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", mostly_slow([SticksInItsClass, SticksInAnAttribute, SticksInTheFile, SticksAfterManyTexts], 4)
)
def test_what_a_text_of_one_size_leaves_behind_for_others_is_refused(
    kind: type[Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_size_comparison, "SECONDS", 0.2)
    with pytest.raises(ExportError, match="earlier texts"):
        program_of(kind())
    # A value outside of attributes is restored, too.
    assert (STICKS, SticksInItsClass.scale) == ([1.0], 1.0)


@pytest.mark.usefixtures("usual_proofs")
@pytest.mark.parametrize("kind", mostly_slow([SticksInTheFile, SticksInAnAttribute], 2))
def test_what_a_long_text_leaves_behind_is_seen_before_anything_is_traced(kind: type[Base]) -> None:
    with pytest.raises(ExportError, match="earlier texts"):
        prepared(kind())
    assert STICKS == [1.0]


# In the fast suite, what is kept and read by no answer is none either.
@pytest.mark.slow
def test_a_size_that_is_kept_and_not_read_later_is_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_size_comparison, "SECONDS", 0.2)
    assert program_of(AsksAndSticksNot()).bounds
