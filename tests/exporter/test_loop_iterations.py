"""A loop over the steps of a text that does something else far behind is found, whatever counts its steps."""

from __future__ import annotations

import array
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import loop_modules
import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import ExportError
from pocketrnn_export.intake.wrappers_for_trace import FixedWidthModule
from pocketrnn_export.proof import loop_iteration_comparison
from pocketrnn_export.proof.program_runs_and_nodes import make_runnable_program
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes

EXAMPLE = (torch.randint(2, 40, (3, 7)),)
# Maps (number of the step, its word [batch, 6], state [batch, 5]) to the word and the state for the cell.
Step = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


@pytest.fixture(autouse=True)
def _as_in_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_iteration_comparison, "MOST_STEPS", 3000)


def stepping(step: Step, steps: Callable[[Tensor], Iterator[Any]] = lambda e: enumerate(e.unbind(1))) -> nn.Module:
    class Stepping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.cell, self.fc = nn.Embedding(40, 6), nn.GRUCell(6, 5), nn.Linear(5, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            h = torch.zeros(tokens.size(0), 5)
            for t, word in steps(self.embedding(tokens)):
                h = self.cell(*step(t, word, h))
            return self.fc(h)  # type: ignore[no-any-return]

    return Stepping().eval()


GAINS = [1.0] * 700 + [0.0] * 200 + [1.0] * 5000


@pytest.mark.slow
def test_a_step_that_does_something_else_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_iteration_comparison, "MOST_STEPS", 100)
    assert_refused_at(71, lambda t, word, h: (word, -h if t == 70 else h))
    marks = np.zeros((5000, 6), np.float32)
    marks[70] = 2
    assert_refused_at(71, lambda t, word, h: (word + torch.tensor(marks[t]), h))
    rows = [array.array("f", row) for row in marks]
    assert_refused_at(71, lambda t, word, h: (word + torch.tensor(rows[t]), h))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "at"),
    [
        (lambda t, word, h: (word, -h if t == 560 else h), 561),
        (lambda t, word, h: (word * 0 if t // 520 == 1 else word, h), 521),
        (lambda t, word, h: (word * GAINS[t], h), 701),
        (lambda t, word, h: (word, torch.zeros_like(h) if t in {2530, 2560} else h), 2531),
        (lambda t, word, h: (word + float(t > 999), h), 1001),
        (lambda t, word, h: (word, [h, -h][t % 900 == 899]), 900),
    ],
)
def test_a_step_far_behind_that_does_something_else_is_refused_with_its_place(step: Step, at: int) -> None:
    assert_refused_at(at, step)


def assert_refused_at(at: int, step: Step) -> None:
    with pytest.raises(ExportError, match=rf"test_loop_iterations\.py:\d+: `for t, .*\b{at} tokens"):
        find_program_right_for_all_sizes(stepping(step), EXAMPLE)


def turned_by_a_rare_word(words: Tensor, h: Tensor) -> Tensor:
    return torch.where(words[:, :1] > 1e6, -h, h)


@pytest.mark.slow
@pytest.mark.parametrize("at", mostly_slow([4, 20, 45, 70], 4, first=2))
def test_a_step_that_does_something_else_for_a_rare_word_only_is_refused(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_iteration_comparison, "MOST_STEPS", 100)
    assert_refused_at(at + 1, lambda t, word, h: (word, turned_by_a_rare_word(word, h) if t == at else h))
    # The same functions, with another number.
    assert_refused_at(at + 1, lambda t, word, h: (word.clamp(max=250.0 if t == at else 1e9), h))


@pytest.mark.slow
def test_a_step_that_lacks_a_call_of_the_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_iteration_comparison, "MOST_STEPS", 100)
    assert_refused_at(46, lambda t, word, h: (word if t == 45 else word.clamp(max=1e6), h))


class Shortened(nn.Module):
    """Fills short texts up, and cuts long ones: its steps are alike."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell, self.fc = nn.Embedding(40, 6), nn.GRUCell(6, 5), nn.Linear(5, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = nn.functional.pad(tokens, (0, 1))[:, :50]
        h = torch.zeros(tokens.size(0), 5)
        for t in range(tokens.size(1)):
            h = self.cell(self.embedding(tokens[:, t]), h)
            if t % 7 == 0:
                # A number that is printed.
                h.mean().item()
        return self.fc(h)  # type: ignore[no-any-return]


def test_the_steps_of_texts_that_are_cut_are_alike() -> None:
    def inputs_of(sizes: Any) -> tuple[Tensor, ...]:
        return (torch.randint(2, 40, (sizes.batch, sizes.tokens)),)

    loop_iteration_comparison.refuse_loop_with_unequal_steps(
        Shortened().eval(), Limits(max_tokens=200), "", inputs_of, lambda _: True, one_text=True
    )


@pytest.mark.slow
def test_whatever_counts_the_steps() -> None:
    def counted(embedded: Tensor) -> Iterator[Any]:
        numbers = itertools.count()
        for word in embedded.unbind(1):
            yield next(numbers), word

    with pytest.raises(ExportError, match=r"\b801\b"):
        find_program_right_for_all_sizes(
            stepping(lambda t, word, h: (word, h * 2 if t == 800 else h), counted), EXAMPLE
        )


@pytest.mark.slow
def test_a_state_that_is_detached_every_so_many_steps_is_the_same_state() -> None:
    module = stepping(lambda t, word, h: (word, h.detach() if t % 100 == 99 else h))
    tokens = torch.randint(2, 40, (1, 150))
    run = make_runnable_program(find_program_right_for_all_sizes(module, EXAMPLE)).run
    np.testing.assert_allclose(run((tokens,)), module(tokens).detach(), atol=1e-5)


def comparable() -> list[type[nn.Module]]:
    classes = [kind for _, kind in inspect.getmembers(loop_modules, inspect.isclass) if "forward" in vars(kind)]
    with_tokens = [
        c for c in classes if list(inspect.signature(c.forward).parameters) in (["self", "x"], ["self", "t"])
    ]
    # One has no step by itself, the other loops over rows and gives each row's length as a number.
    others = (loop_modules.CellsInTurn, loop_modules.ListsTheWidthOfEachRow)
    return [c for c in with_tokens if not c.__name__.startswith("_") and c not in others]


@pytest.mark.parametrize("kind", mostly_slow(comparable(), 20), ids=lambda kind: kind.__name__)
def test_the_iterations_of_loops_as_people_write_them_are_alike(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    asked = []

    def inputs_of(sizes: Any) -> tuple[Tensor, ...]:
        asked.append(sizes.tokens)
        return (torch.randint(2, loop_modules.WORDS, (sizes.batch, sizes.tokens)),)

    # The program is asked only where iterations differ.
    loop_iteration_comparison.refuse_loop_with_unequal_steps(
        module, Limits(max_tokens=200), "", inputs_of, lambda _: False, one_text=True
    )
    assert asked == [40, 41, 60, 3, 4, 200]


def test_nothing_is_said_beyond_the_limits_of_the_program() -> None:
    module = stepping(lambda t, word, h: (word, -h if t == 560 else h))
    for most in (30, 500):
        loop_iteration_comparison.refuse_loop_with_unequal_steps(
            module, Limits(max_tokens=most), "", lambda sizes: (torch.ones(1, sizes.tokens, dtype=torch.int64),),
            lambda _: False, one_text=False,
        )  # fmt: skip


@pytest.mark.slow
def test_a_step_of_several_texts_alone_is_found() -> None:
    with pytest.raises(ExportError, match=r"\b701\b"):
        find_program_right_for_all_sizes(
            stepping(lambda t, word, h: (word, -h if t == 700 and len(h) > 2 else h)), EXAMPLE
        )


@torch.jit.script
def turned_at_70(embedded: Tensor, weight: Tensor) -> Tensor:
    h = torch.zeros(embedded.size(0), 5)
    for t in range(embedded.size(1)):
        h = torch.tanh(embedded[:, t, :5] + h @ weight)
        if t == 70:
            h = -h
    return h


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(40, 6), nn.Linear(5, 2)
        self.weight = nn.Parameter(torch.eye(5) * 0.4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(turned_at_70(self.embedding(tokens), self.weight))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_step_of_a_scripted_loop_that_does_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_iteration_comparison, "MOST_STEPS", 100)
    with pytest.raises(ExportError, match=r"test_loop_iterations\.py:\d+: .*\b71 tokens"):
        find_program_right_for_all_sizes(Scripted().eval(), EXAMPLE)


def irregular(t: int, word: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    if int(t**0.5) ** 2 == t:
        h.norm()
    return word, h


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "names"),
    [(lambda _, word, h: (word, h), "step 100"), (irregular, "first 60")],
)
def test_the_steps_that_are_not_looked_at_are_told(step: Step, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_iteration_comparison, "MOST_STEPS", 100)
    (note,) = find_program_right_for_all_sizes(stepping(step), EXAMPLE).notes
    assert names in note
    assert "test_loop_iterations.py:" in note


def is_rolled(step: Step, width: int = 24) -> bool:
    """Whether a loop over exactly so many tokens is traced as a loop. Its program gives the module's answers."""
    module, ids = stepping(step), torch.randint(2, 40, (3, width))
    found = find_program_right_for_all_sizes(FixedWidthModule(module, width).eval(), (ids,))
    assert found.rolled == (len(found.program.graph.nodes) < 30)
    torch.testing.assert_close(found.program.module()(ids), module(ids))
    return found.rolled


def test_a_loop_over_a_fixed_width_is_traced_as_a_loop() -> None:
    assert is_rolled(lambda _, word, h: (word, h))


# The steps are compared as those of a loop over any width.
@pytest.mark.slow
def test_a_loop_over_a_fixed_width_is_traced_step_by_step_if_one_step_differs() -> None:
    assert not is_rolled(lambda t, word, h: (word, -h if t == 20 else h))
    gains = [1 / (1 + t) for t in range(70)]
    assert not is_rolled(lambda t, word, h: (word, h * gains[t]))
