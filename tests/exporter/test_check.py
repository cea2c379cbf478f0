"""`pocketrnn check`: files that somebody exported, beside their modules."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from exported_files import TOKENS, Steps, Words, checked, traced, written
from onnx import TensorProto, helper
from torch import Tensor, nn

from pocketrnn.commands.cli import main
from pocketrnn_export import check_files
from pocketrnn_export.checking.sizes_with_correct_answers import (
    NO_PADDING,
    Bounds,
    ComparedSize,
    find_simplest_bounds_of_right_sizes,
)

pytestmark = pytest.mark.usefixtures("short_proofs")


class Scaled(Words):
    def forward(self, text: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text))
        louder = states * 1.5
        return self.out(louder.mean(1))


class ForSix(Words):
    """The same for texts of up to six tokens."""

    def forward(self, text: Tensor) -> Any:
        return super().forward(text[:, :6])


class WithLengths(Words):
    def forward(self, text: Tensor, lengths: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text))
        real = torch.arange(text.shape[1]) < lengths[:, None]
        return self.out((states * real[..., None]).sum(1) / lengths[:, None])


class LastOfPacked(Words):
    """pad_packed_sequence cuts a batch to its longest row."""

    def forward(self, text: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(text), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.out(states[:, -1])


class SortedByLength(WithLengths):
    """It sorts its rows, and answers in that order."""

    def forward(self, text: Tensor, lengths: Tensor) -> Any:
        lengths, order = lengths.sort(descending=True)
        return super().forward(text[order], lengths)


class OfSortedRows(WithLengths):
    def forward(self, text: Tensor, lengths: Tensor) -> Any:
        if not torch.jit.is_tracing() and (lengths[1:] > lengths[:-1]).any():
            raise ValueError("not sorted")
        return super().forward(text, lengths)


class Masked(Words):
    def forward(self, text: Tensor, types: Tensor, mask: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text) + 2 * self.embedding(types))
        real = mask.unsqueeze(-1).float()
        return self.out((states * real).sum(1) / real.sum(1))


class Unmasked(Masked):
    def forward(self, text: Tensor, types: Tensor, mask: Tensor) -> Any:
        return super().forward(text, types, mask.clamp(min=1))


class LengthsIfAny(WithLengths):
    def forward(self, text: Tensor, lengths: Tensor | None = None) -> Any:
        return Words.forward(self, text) if lengths is None else super().forward(text, lengths)


class WithoutZeros(Words):
    """A text of the id 0 only has no mean."""

    def forward(self, text: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text))
        real = (text != 0).unsqueeze(-1).float()
        return self.out((states * real).sum(1) / real.sum(1))


class NeverWithoutTokens(WithoutZeros):
    def forward(self, text: Tensor) -> Any:
        return torch.nan_to_num(super().forward(text), nan=7.0)


class Doubled(Words):
    """Its first output is a thousand times as large as the second."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.first, self.second = first * 1000.0, second

    def forward(self, text: Tensor) -> Any:
        numbers = super().forward(text)
        return numbers * self.first, torch.tanh(numbers) * self.second


class WithLabels(Words):
    """Numbers and the label of the largest; of the smallest, if it is told so."""

    def __init__(self, *, smallest: bool = False) -> None:
        super().__init__()
        self.smallest = smallest

    def forward(self, text: Tensor) -> Any:
        numbers = super().forward(text)
        return numbers, (numbers.argmin(1) if self.smallest else numbers.argmax(1))


class Paired(Words):
    """Two ids a step, of one table: which input is which, the shapes do not tell."""

    def forward(self, words: Tensor, shapes: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(words) + 2 * self.embedding(shapes))
        return self.out(states.mean(1)), states


class TwoTexts(Words):
    def forward(self, question: Tensor, answer: Tensor) -> Any:
        _, first = self.rnn(self.embedding(question))
        _, second = self.rnn(self.embedding(answer))
        return self.out(first[-1] + 2 * second[-1])


class TwoTextsTurned(TwoTexts):
    def forward(self, question: Tensor, answer: Tensor) -> Any:
        return super().forward(answer, question)


class Typed(Words):
    """Ids and types of two kinds, each with a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.types = nn.Embedding(2, 5)

    def forward(self, text: Tensor, types: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text) + self.types(types))
        return self.out(states.mean(1))


class OfSix(Steps):
    """A module that takes six steps, and no other number of them."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(x)[0].flatten(1))


class OfOneRow(Steps):
    """The same numbers for one row; an exporter is told that there may be more."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).reshape(1, 2)


class Carried(nn.Module):
    """A module of a step that is given the states of two layers; of one row and step only, or of any."""

    def __init__(self, *, one: bool) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.first, self.second = nn.LSTM(2, 3, batch_first=True), nn.LSTM(3, 3, batch_first=True)
        self.one = one

    def forward(self, x: Tensor, h1: Tensor, c1: Tensor, h2: Tensor, c2: Tensor) -> Any:
        states, _ = self.first(x, (h1, c1))
        states, _ = self.second(states, (h2, c2))
        return states.view(1, 1, 3) if self.one else states


class OneHot(nn.Module):
    """A module without a table: of vectors of six numbers, or of ids below six."""

    def __init__(self, *, of_ids: bool) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.rnn, self.of_ids = nn.GRU(6, 4, batch_first=True), of_ids

    def forward(self, x: Tensor) -> Any:
        return self.rnn(nn.functional.one_hot(x, 6).float() if self.of_ids else x)[0][:, -1]


class Drawn(Words):
    def forward(self, text: Tensor) -> Any:
        return super().forward(text) + torch.rand(1)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(Words(), tmp_path_factory.mktemp("right") / "words.onnx", TOKENS)


def test_a_right_file_passes(right: Path) -> None:
    found = checked(Words(), right)
    assert (found.kind, found.exit_status) == ("right", 0)
    assert found.inputs == {"text": "text"}
    assert {"shapes", "drawn shapes", "hazards", "every id"} <= {line.inputs for line in found.comparisons}
    assert found.float64_difference is not None
    assert found.float64_difference < 1e-12


def test_a_wrong_file_is_shown_by_one_token_with_the_line_and_the_node(right: Path) -> None:
    found = checked(Scaled(), right)
    assert (found.kind, found.exit_status) == ("wrong", 3)
    assert found.shown is not None
    assert np.shape(found.shown.given) == (1, 1)
    assert "`mul`" in found.departs
    assert "states * 1.5" in found.departs
    assert "ReduceMean" in found.departs


def test_other_weights_are_told(right: Path) -> None:
    other = Words()
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(-2)
    found = checked(other, right)
    assert found.kind == "wrong"
    assert any("weights" in note for note in found.notes)
    assert found.departs == ""


def test_a_file_with_a_fixed_batch_is_right_for_that(tmp_path: Path) -> None:
    found = checked(Words(), written(Words(), tmp_path / "one.onnx", TOKENS[:1], fixed=[0]))
    assert (found.kind, found.sizes, found.exit_status) == ("some sizes", "batch 1 only", 3)


def test_a_large_batch_that_is_wrong_by_its_ids_limits_no_rows() -> None:
    right = [ComparedSize(rows, 3, NO_PADDING, True) for rows in range(1, 8)]
    looked = [*right, ComparedSize(34, 3, NO_PADDING, False)]
    assert find_simplest_bounds_of_right_sizes(looked, lambda rows, _steps: rows <= 7) == Bounds(rows=(1, 7))
    assert find_simplest_bounds_of_right_sizes(looked, lambda _rows, _steps: True) is None


def test_other_weights_of_a_layer_are_told_with_the_line(right: Path) -> None:
    other = Words()
    with torch.no_grad():
        other.rnn.weight_ih_l0.mul_(-2)
    found = checked(other, right)
    assert any("rnn.weight_ih_l0" in note for note in found.notes)
    assert "`gru`" in found.departs


def test_sizes_are_told_where_the_file_declares_one_of_them_only(tmp_path: Path) -> None:
    found = checked(Steps(), written(OfOneRow(), tmp_path / "one.onnx", torch.randn(1, 7, 2), names=["x"], fixed=[1]))
    assert found.kind == "some sizes"
    assert "batch 1" in found.sizes
    assert "7 steps" in found.sizes


@pytest.mark.slow
def test_a_module_that_takes_one_number_of_steps(tmp_path: Path) -> None:
    found = checked(OfSix(), written(OfSix(), tmp_path / "six.onnx", torch.randn(3, 6, 2), names=["x"], fixed=[1]))
    assert found.kind == "right"
    assert "[batch, 6, 2]" in found.called


@pytest.mark.slow
@pytest.mark.parametrize("one", [True, False])
def test_states_that_are_inputs(one: bool, tmp_path: Path) -> None:
    names = ["x", "h1", "c1", "h2", "c2"]
    inputs = (torch.randn(1, 1, 2), *(torch.randn(1, 1, 3) for _ in range(4)))
    file = written(Carried(one=one), tmp_path / "step.onnx", *inputs, names=names, fixed=[0, 1])
    found = checked(Carried(one=one), file)
    assert (found.kind, "of 1 row" in found.looked_at) == ("some sizes", one)
    assert "batch 1" in found.sizes
    assert found.inputs == dict(zip(names, names, strict=True))


def test_a_file_of_the_traced_shape_is_right_for_that(tmp_path: Path) -> None:
    found = checked(Words(), written(Words(), tmp_path / "one.onnx", TOKENS, fixed=[0, 1]))
    assert found.kind == "some sizes"
    assert "batch 3" in found.sizes
    assert "7 tokens" in found.sizes


def test_a_file_that_cuts_longer_texts_is_wrong_from_there_on(tmp_path: Path) -> None:
    found = checked(Words(), written(ForSix(), tmp_path / "six.onnx", TOKENS))
    assert (found.kind, found.sizes) == ("wrong", "up to 6 tokens")
    assert found.shown is not None
    assert np.shape(found.shown.given) == (1, 7)


@pytest.mark.slow
def test_a_file_that_forgets_the_lengths_is_right_for_rows_of_one_length(tmp_path: Path) -> None:
    given = (TOKENS, torch.tensor([7, 5, 3]))
    right = written(WithLengths(), tmp_path / "right.onnx", *given, names=["text", "lengths"])
    assert checked(WithLengths(), right).is_right
    assert checked(SortedByLength(), right).departs == ""
    found = checked(WithLengths(), written(Words(), tmp_path / "none.onnx", TOKENS))
    assert (found.kind, found.sizes) == ("wrong", "rows of one length")


def test_batches_wider_than_their_longest_row(tmp_path: Path) -> None:
    given = (TOKENS, torch.tensor([7, 5, 3]))
    found = checked(LastOfPacked(), written(LastOfPacked(), tmp_path / "f.onnx", *given, names=["text", "lengths"]))
    assert (found.kind, found.sizes) == ("wrong", "batches as wide as their longest row")
    assert found.shown is not None
    (_, text), (_, lengths) = found.shown.given
    assert len(text) > lengths


@pytest.mark.slow
def test_rows_are_sorted_only_where_the_module_wants_it(tmp_path: Path) -> None:
    given, names = (TOKENS, torch.tensor([7, 5, 3])), ["text", "lengths"]
    file = written(SortedByLength(), tmp_path / "sorted.onnx", *given, names=names)
    assert checked(WithLengths(), file).kind == "wrong"
    found = checked(OfSortedRows(), written(OfSortedRows(), tmp_path / "right.onnx", *given, names=names))
    assert found.is_right
    assert "uneven rows" in {line.inputs for line in found.comparisons}


@pytest.mark.slow
def test_masks_hide_padding(tmp_path: Path) -> None:
    given, names = (TOKENS, TOKENS, torch.ones_like(TOKENS)), ["text", "types", "mask"]
    assert checked(Masked(), written(Masked(), tmp_path / "right.onnx", *given, names=names)).is_right
    found = checked(Masked(), written(Unmasked(), tmp_path / "none.onnx", *given, names=names))
    assert (found.kind, found.sizes) == ("wrong", "rows of one length")


class Small(Steps):
    """Numbers of about 1e-7, beside larger ones."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor * 1e-7

    def forward(self, x: Tensor) -> Any:
        numbers = super().forward(x)
        return numbers * self.factor, numbers


@pytest.mark.slow
def test_small_numbers_are_compared_by_their_size(tmp_path: Path) -> None:
    right, wrong = (
        written(Small(factor), tmp_path / f"{factor}.onnx", torch.randn(3, 7, 2), names=["x"]) for factor in (1, 1.1)
    )
    assert checked(Small(), right).is_right
    assert checked(Small(), wrong).kind == "wrong"


@pytest.mark.slow
def test_whole_numbers_are_compared_and_lacking_outputs_told(tmp_path: Path) -> None:
    right = checked(WithLabels(), written(WithLabels(), tmp_path / "right.onnx", TOKENS, outputs=["p", "best"]))
    assert right.notes == ("Compared: the outputs p with output 0 of WithLabels, best with output 1 of WithLabels.",)
    found = checked(WithLabels(), written(WithLabels(smallest=True), tmp_path / "smallest.onnx", TOKENS))
    assert found.kind == "wrong"
    first = checked(WithLabels(), written(Words(), tmp_path / "first.onnx", TOKENS))
    assert first.is_right
    assert any("output 1 of WithLabels" in note for note in first.notes)


@pytest.mark.slow
def test_a_difference_names_the_output_and_shows_its_numbers(tmp_path: Path) -> None:
    for larger, factor, named in ((False, 2.0, "few"), (True, 2.0, "many")):
        file = written(
            Doubled(factor, 1.0) if larger else Doubled(1.0, factor),
            tmp_path / f"{named}.onnx", TOKENS, outputs=["many", "few"],
        )  # fmt: skip
        found = checked(Doubled(1.0, 1.0), file)
        assert found.shown is not None
        assert found.shown.output == named
        assert np.allclose(np.multiply(found.shown.expected, 2.0), found.shown.answer, rtol=1e-4)
        assert any(line.startswith("Shown by") and line.endswith(f", output {named}") for line in found.lines)


@pytest.mark.slow
def test_an_input_with_a_default_that_the_file_lacks_is_left_out(tmp_path: Path) -> None:
    found = checked(LengthsIfAny(), written(LengthsIfAny(), tmp_path / "text.onnx", TOKENS))
    assert (found.kind, found.called) == ("right", "module(tokens)")
    given = (TOKENS, torch.tensor([7, 5, 3]))
    both = checked(LengthsIfAny(), written(LengthsIfAny(), tmp_path / "both.onnx", *given, names=["text", "lengths"]))
    assert (both.kind, "lengths" in both.called) == ("right", True)


@pytest.mark.slow
def test_rows_that_the_module_answers_with_nan_are_left_out(tmp_path: Path) -> None:
    assert checked(WithoutZeros(), written(NeverWithoutTokens(), tmp_path / "words.onnx", TOKENS)).is_right
    assert checked(NeverWithoutTokens(), written(WithoutZeros(), tmp_path / "nan.onnx", TOKENS)).kind == "wrong"


def test_a_module_of_numbers(tmp_path: Path) -> None:
    file = written(Steps(), tmp_path / "steps.onnx", torch.randn(3, 7, 2), names=["x"])
    assert checked(Steps(), file).is_right
    other = Steps()
    torch.nn.init.zeros_(other.out.bias)
    assert checked(other, file).kind == "wrong"


@pytest.mark.slow
def test_ids_of_one_hot_vectors(tmp_path: Path) -> None:
    of_ids = written(OneHot(of_ids=True), tmp_path / "ids.onnx", TOKENS % 6, names=["x"])
    assert checked(OneHot(of_ids=True), of_ids).is_right
    vectors = nn.functional.one_hot(TOKENS % 6, 6).float()
    of_vectors = written(OneHot(of_ids=False), tmp_path / "vectors.onnx", vectors, names=["x"])
    found = checked(OneHot(of_ids=False), of_vectors, call="module(F.one_hot(tokens, 6).float())", ids=6)
    assert (found.kind, found.called) == ("right", "module(F.one_hot(tokens, 6).float())")


@pytest.mark.slow
def test_inputs_are_told_where_nothing_tells_them(tmp_path: Path) -> None:
    file = written(Paired(), tmp_path / "two.onnx", TOKENS, TOKENS.flip(1), names=["b", "a"])
    call = "module(tokens, tokens.flip(1))"
    assert checked(Paired(), file, call=call).inputs == {"b": "words", "a": "shapes"}
    assert checked(Paired(), file, call=call).is_right
    swapped = checked(Paired(), file, call=call, inputs={"words": "a", "shapes": "b"})
    assert swapped.kind == "wrong"
    with_typo = checked(Paired(), file, call=call, inputs={"word": "a"})
    assert with_typo.kind == "not comparable"
    assert "words" in with_typo.reason


@pytest.mark.slow
def test_inputs_with_equal_axes_are_given_different_ids(tmp_path: Path) -> None:
    names = ["question", "answer"]
    right = written(TwoTexts(), tmp_path / "right.onnx", TOKENS, TOKENS.flip(1), names=names)
    assert checked(TwoTexts(), right).is_right
    turned = written(TwoTextsTurned(), tmp_path / "turned.onnx", TOKENS, TOKENS.flip(1), names=names)
    found = checked(TwoTexts(), turned)
    assert found.kind == "wrong"
    assert found.shown is not None
    assert [name for name, *_ in found.shown.given] == names
    assert found.shown.given[0][1] != found.shown.given[1][1]


class SecondTextCut(TwoTexts):
    def forward(self, question: Tensor, answer: Tensor) -> Any:
        return super().forward(question, answer[:, : question.shape[1]])


class SecondTextWhole(TwoTexts):
    """It fails where the second text is shorter than the first."""

    def forward(self, question: Tensor, answer: Tensor) -> Any:
        return super().forward(question, answer) + 0 * (question + answer[:, : question.shape[1]]).sum()


@pytest.mark.slow
def test_two_texts_are_given_unequal_lengths(tmp_path: Path) -> None:
    names = ["question", "answer"]
    axes = {name: {0: "batch", 1: f"{name}_length"} for name in names}
    given = (TOKENS, TOKENS.flip(1))
    right, cut, whole = (
        written(module, tmp_path / f"{type(module).__name__}.onnx", *given, names=names, axes=axes)
        for module in (TwoTexts(), SecondTextCut(), SecondTextWhole())
    )
    found = checked(TwoTexts(), right)
    assert (found.kind, "question, answer is shorter" in found.notes[-1]) == ("right", True)
    for wrong in (checked(TwoTexts(), cut), check_files(right, cut, progress=False)):
        assert (wrong.exit_status, wrong.sizes) == (3, "inputs of equal length")
        assert wrong.shown is not None
        assert len(wrong.shown.given[0][1]) < len(wrong.shown.given[1][1])
    assert checked(TwoTexts(), whole).kind == "some sizes"
    paired = checked(Paired(), written(Paired(), tmp_path / "p.onnx", *given, names=["words", "shapes"]))
    assert [note.split()[0] for note in paired.notes] == ["Compared:"]
    alike = written(TwoTexts(), tmp_path / "alike.onnx", *given, names=names)
    assert "not looked at" in checked(TwoTexts(), alike).notes[-1]


class WithParameter(Steps):
    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(x)[0][:, -1]), self.out.weight


@pytest.mark.slow
def test_a_torchscript_file_that_returns_a_parameter(tmp_path: Path) -> None:
    assert checked(WithParameter(), traced(WithParameter(), tmp_path / "p.pt")).is_right


class ByCell(nn.Module):
    """A loop over the steps, [batch, steps], which a trace unrolls."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.cell, self.out = nn.GRUCell(1, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Any:
        state, said = torch.zeros(x.size(0), 8), []
        for step in x.split(1, dim=1):
            state = self.cell(step, state)
            said.append(self.out(state))
        return torch.cat(said, 1)


# 5 is a number of rows of the first calls, and 8 the size of a layer.
@pytest.mark.parametrize(
    "steps", [pytest.param(5, marks=pytest.mark.slow), 8, pytest.param(12, marks=pytest.mark.slow)]
)
def test_torchscript_of_the_traced_steps_is_right_for_these_only(steps: int, tmp_path: Path) -> None:
    found = checked(ByCell(), traced(ByCell(), tmp_path / "cell.pt", torch.randn(3, steps)))
    assert (found.kind, found.sizes) == ("some sizes", f"rows of {steps} steps only")


@pytest.mark.parametrize("axes", [pytest.param("batch sequence", marks=pytest.mark.slow), "axis_0 axis_1"])
def test_axes_are_not_turned_since_a_batch_has_as_many_rows_as_the_file_steps(axes: str, tmp_path: Path) -> None:
    named = {"x": dict(enumerate(axes.split()))}
    file = written(ByCell(), tmp_path / "cell.onnx", torch.randn(3, 5), names=["x"], axes=named)
    found = checked(ByCell(), file)
    assert (found.kind, found.sizes) == ("some sizes", "rows of 5 steps only")


class Bags(nn.Module):
    """The texts of a batch one after the other, and where each begins."""

    def __init__(self, *, last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.embedding, self.out, self.last = nn.EmbeddingBag(20, 5), nn.Linear(5, 3), last

    def forward(self, text: Tensor, offsets: Tensor) -> Any:
        return self.out(self.embedding(text[:-1] if self.last else text, offsets))


@pytest.mark.slow
def test_texts_one_after_the_other_with_their_offsets(tmp_path: Path) -> None:
    given = (TOKENS.flatten(), torch.tensor([0, 7, 14]))
    axes = {"text": {0: "tokens"}, "offsets": {0: "batch"}}
    right, short = (
        written(module, tmp_path / f"{name}.onnx", *given, names=list(axes), axes=axes)
        for name, module in (("right", Bags()), ("short", Bags(last=True)))
    )
    assert check_files(right, right, progress=False).is_right
    assert checked(Bags(), right).is_right
    assert checked(Bags(), traced(Bags(), tmp_path / "bags.pt", *given)).is_right
    assert checked(Bags(), short).kind == "wrong"
    assert check_files(right, short, progress=False).kind == "changed"


class OfStepAndState(nn.Module):
    """A step of five numbers, joined with a state of three. The softmax is over the first axis of three axes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.state, self.out, self.softmax = nn.Linear(8, 3), nn.Linear(8, 4), nn.LogSoftmax()

    def forward(self, x: Tensor, state: Tensor) -> Any:
        joined = torch.cat((x, state), 1)
        return self.softmax(self.out(joined)), self.state(joined)


@pytest.mark.slow
def test_torchscript_of_a_step_and_a_state_that_are_joined(tmp_path: Path) -> None:
    given = (torch.randn(3, 5), torch.randn(3, 3))
    found = checked(OfStepAndState(), traced(OfStepAndState(), tmp_path / "step.pt", *given))
    assert (found.kind, "x [batch, 5], state [batch, 3]" in found.called) == ("right", True)


@pytest.mark.slow
def test_each_input_is_given_the_ids_of_its_own_table(tmp_path: Path) -> None:
    given = (TOKENS, torch.zeros_like(TOKENS))
    assert checked(Typed(), written(Typed(), tmp_path / "right.onnx", *given, names=["text", "types"])).is_right
    other = Typed()
    with torch.no_grad():
        other.embedding.weight[2:] += 1
    found = checked(Typed(), written(other, tmp_path / "other.onnx", *given, names=["text", "types"]))
    assert found.kind == "wrong"


def test_all_ids_of_the_module_are_asked_where_the_file_has_fewer(tmp_path: Path) -> None:
    fewer = Words()
    fewer.embedding = nn.Embedding.from_pretrained(fewer.embedding.weight[:18])
    found = checked(Words(), written(fewer, tmp_path / "fewer.onnx", TOKENS % 18))
    assert found.exit_status == 3
    assert found.shown is not None
    assert np.max(found.shown.given) >= 18


@pytest.mark.slow
def test_an_input_that_the_module_has_not_is_named(tmp_path: Path) -> None:
    file = written(Paired(), tmp_path / "two.onnx", TOKENS, TOKENS, names=["words", "shapes"])
    found = checked(Words(), file)
    assert (found.kind, found.exit_status) == ("not comparable", 2)
    assert "shapes" in found.reason or "words" in found.reason


@pytest.mark.slow
def test_random_answers_are_not_compared(right: Path) -> None:
    found = checked(Drawn(), right)
    assert found.kind == "not comparable"
    assert "torch.rand(1)" in found.reason


def test_torchscript_and_torch_export(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Words().eval(), TOKENS).save(tmp_path / "words.pt")
        program = torch.export.export(Words().eval(), (TOKENS,))
        torch.export.save(program, tmp_path / "words.pt2")
        assert checked(Words(), tmp_path / "words.pt").is_right
        of_export = checked(Words(), tmp_path / "words.pt2")
    assert (of_export.kind, "batch 3" in of_export.sizes) == ("some sizes", True)


def test_torchscript_of_numbers_beside_a_module_and_as_one(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(Steps().eval(), torch.randn(3, 7, 2))
        script.save(tmp_path / "steps.pt")
        found = checked(Steps(), tmp_path / "steps.pt")
        of_script = checked(script, written(Steps(), tmp_path / "steps.onnx", torch.randn(3, 7, 2), names=["x"]))
    assert found.is_right
    assert "2]" in found.called
    assert (of_script.kind, of_script.name) == ("right", "Steps")


def weights_of(path: Path, **changes: Any) -> onnx.ModelProto:
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        for name, value in changes.items():
            if name == "dims":
                tensor.ClearField("dims")
                tensor.dims.extend(value)
            elif name == "location":
                onnx.external_data_helper.set_external_data(tensor, value)
                tensor.ClearField("raw_data")
    return model


def hostile(kind: str, right: Path) -> bytes:
    whole = right.read_bytes()
    if kind == "large":
        return weights_of(right, dims=[1 << 31]).SerializeToString()
    if kind == "negative":
        return weights_of(right, dims=[-1]).SerializeToString()
    if kind == "missing":
        return weights_of(right, location="weights.bin").SerializeToString()
    if kind == "outside":
        return weights_of(right, location="../../../etc/hostname").SerializeToString()
    if kind == "custom":
        node = helper.make_node("Magic", ["text"], ["out"], domain="their.own")
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            [node], "g", [value("text", TensorProto.INT64, ["b", "s"])], [value("out", TensorProto.FLOAT, ["b", 3])]
        )
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("their.own", 1)]
        made: bytes = helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
        return made
    return {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no graph at all\n", "zip": b"PK\x03\x04" + whole}[
        kind
    ]


@pytest.mark.parametrize("kind", ["large", "negative", "missing", "outside", "custom", "cut", "empty", "text", "zip"])
def test_a_file_that_cannot_be_opened_is_told_in_a_sentence(kind: str, right: Path, tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(hostile(kind, right))
    found = checked(Words(), path)
    assert (found.kind, found.exit_status) == ("not comparable", 2)
    assert str(path) in found.reason
    assert "\n" not in found.reason


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    torch.save(Words().state_dict(), tmp_path / "words.pt")
    assert "--weights" in checked(Words(), tmp_path / "words.pt").reason
    (tmp_path / "words.json").write_text('{"no": "graph"}')
    assert "not an ONNX file" in checked(Words(), tmp_path / "words.json").reason


def test_there_is_no_such_file(tmp_path: Path) -> None:
    assert checked(Words(), tmp_path / "none.onnx").exit_status == 2


def test_two_files(tmp_path: Path) -> None:
    right = written(Words(), tmp_path / "words.onnx", TOKENS, outputs=["logits"])
    assert check_files(right, right, progress=False).is_right
    model = onnx.load(right)
    for tensor in model.graph.initializer:
        if tensor.dims == [3]:
            moved = onnx.numpy_helper.to_array(tensor) + np.array([0, 0, 9], np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(moved, tensor.name))
    onnx.save(model, tmp_path / "after.onnx")
    found = check_files(right, tmp_path / "after.onnx", progress=False)
    assert (found.kind, found.exit_status) == ("changed", 3)
    assert 0 < found.labels_changed <= 1
    assert max(line.largest_difference for line in found.comparisons) > 1
    assert check_files(right, tmp_path / "after.onnx", max_changed=1, progress=False).exit_status == 0


class OneNumber(Steps):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Any:
        return super().forward(x)[:, :1] * self.factor


def test_two_files_of_one_number_are_judged_by_the_difference(tmp_path: Path) -> None:
    before, after = (
        written(OneNumber(factor), tmp_path / f"{factor}.onnx", torch.randn(3, 7, 2), names=["x"])
        for factor in (1, 1.1)
    )
    found = check_files(before, after, progress=False)
    assert (found.kind, found.exit_status) == ("changed", 3)
    assert 0.05 < found.numbers_changed < 0.2
    assert f"{found.numbers_changed:.2%}" in found.reason
    assert check_files(before, after, max_changed=0.2, progress=False).is_right


MODULE_FILE = """
import torch
from torch import nn


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 5)
        self.rnn = nn.GRU(5, 4, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, text):
        states, _ = self.rnn(self.embedding(text))
        return self.out(states.mean(1))
"""


@pytest.mark.slow
def test_the_command_says_the_verdict_by_its_exit_status(right: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODULE_FILE)
    torch.save(Words().state_dict(), tmp_path / "weights.pt")
    words = ["check", f"{tmp_path / 'model.py'}:Words", "--weights", str(tmp_path / "weights.pt"), "--onnx", str(right)]
    done = CliRunner().invoke(main, [*words, "--json", "--html", str(tmp_path / "page.html")])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["kind"] == "right"
    assert "<table>" in (tmp_path / "page.html").read_text()
    assert CliRunner().invoke(main, [*words, "--input", "text"]).exit_code == 2
    assert CliRunner().invoke(main, [*words, "--input", "text=other"]).exit_code == 2
    fixed = written(Words(), tmp_path / "fixed.onnx", TOKENS, fixed=[0, 1])
    done = CliRunner().invoke(main, [*words[:-1], str(fixed)])
    assert done.exit_code == 3
    assert "batch 3 only" in done.stdout


def test_the_command_compares_two_files(right: Path) -> None:
    assert CliRunner().invoke(main, ["check", str(right), str(right)]).exit_code == 0
    assert CliRunner().invoke(main, ["check", str(right)]).exit_code == 2
    named = CliRunner().invoke(main, ["check", "net.py:Net", str(right)])
    assert (named.exit_code, f"--onnx {right}" in " ".join(named.output.split())) == (2, True)
    assert CliRunner().invoke(main, ["check", str(right), str(right), "--call", "module(tokens)"]).exit_code == 2


class Attention(Words):
    """It weighs the steps, with a mask [batch, sequence]."""

    def forward(self, text: Tensor, mask: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text))
        weights = states.sum(2).masked_fill(mask == 0, -1e9).softmax(1)
        return self.out((states * weights.unsqueeze(-1)).sum(1))


class AttentionOfTurnedMask(Attention):
    """The same with a mask [sequence, batch]."""

    def forward(self, text: Tensor, mask: Tensor) -> Any:
        return super().forward(text, mask.t())


AXES = {"text": {0: "batch", 1: "sequence"}, "mask": {0: "batch", 1: "sequence"}}
TURNED = {"text": {0: "batch", 1: "sequence"}, "mask": {0: "sequence", 1: "batch"}}
NO_NAMES = {"text": {0: "a", 1: "b"}, "mask": {0: "c", 1: "d"}}


@pytest.mark.slow
@pytest.mark.parametrize("axes", [True, False])
@pytest.mark.parametrize("turned", [True, False])
def test_a_mask_with_its_axes_turned_is_given_so(axes: bool, turned: bool, tmp_path: Path) -> None:
    inside, outside = (AttentionOfTurnedMask(), Attention()) if turned else (Attention(), AttentionOfTurnedMask())
    mask = torch.ones_like(TOKENS).t() if turned else torch.ones_like(TOKENS)
    named = (TURNED if turned else AXES) if axes else NO_NAMES
    file = written(inside, tmp_path / "turned.onnx", TOKENS, mask, names=["text", "mask"], axes=named)
    found = checked(outside, file)
    assert found.is_right
    assert any("mask" in note and "1, 0" in note for note in found.notes)
    assert not any("1, 0" in note for note in checked(inside, file).notes)


@pytest.mark.slow
def test_a_mask_that_fits_only_since_sizes_are_equal_is_wrong(tmp_path: Path) -> None:
    given = (TOKENS[:, :3], torch.ones(3, 3, dtype=torch.int64))
    file = written(AttentionOfTurnedMask(), tmp_path / "f.onnx", *given, names=["text", "mask"], fixed=[0, 1])
    assert checked(Attention(), file).kind == "wrong"
    assert checked(AttentionOfTurnedMask(), file).kind == "some sizes"


class Weighted(Steps):
    """Steps with a mask of numbers."""

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        states = self.rnn(x)[0]
        return self.out((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


class Hidden(Words):
    """The mask of PyTorch's attention is true where there is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(5, 1, batch_first=True)

    def forward(self, text: Tensor, mask: Tensor) -> Any:
        vectors = self.embedding(text)
        return self.out(self.attention(vectors, vectors, vectors, key_padding_mask=mask)[0].mean(1)[:, :4])


@pytest.mark.slow
def test_masks_of_numbers_and_masks_that_hide(tmp_path: Path) -> None:
    given = (torch.randn(3, 7, 2), torch.ones(3, 7))
    assert checked(Weighted(), written(Weighted(), tmp_path / "m.onnx", *given, names=["x", "mask"])).is_right
    hiding = (TOKENS, torch.zeros(3, 7, dtype=torch.bool))
    # torch.onnx.export keeps the traced length in the reshape of the attention.
    found = checked(Hidden(), written(Hidden(), tmp_path / "h.onnx", *hiding, names=["text", "mask"]))
    assert (found.kind, found.sizes) == ("some sizes", "rows of 7 tokens only")


class ByStep(nn.Module):
    """It takes [sequence, batch, 2]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.rnn, self.out = nn.GRU(2, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(x)[0][-1])


class ByRow(ByStep):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.transpose(0, 1))


@pytest.mark.slow
def test_rows_are_the_axis_whose_parts_are_answered_by_themselves(tmp_path: Path) -> None:
    numbers = torch.randn(7, 3, 2)
    first = checked(ByStep(), written(ByStep(), tmp_path / "steps.onnx", numbers, names=["x"]))
    assert (first.kind, first.called) == ("right", "module(x [sequence, batch, 2])")
    axes = {"x": {0: "sequence", 1: "batch"}}
    turned = checked(ByRow(), written(ByStep(), tmp_path / "turned.onnx", numbers, names=["x"], axes=axes))
    assert (turned.kind, turned.called) == ("right", "module(x [batch, sequence, 2])")
    # The file runs on the module's own call: its axes are not turned until the answers fit.
    assert checked(ByRow(), traced(ByStep(), tmp_path / "steps.pt", numbers)).kind == "wrong"


class Kept(Steps):
    """The state of one row is kept from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.state = (torch.zeros(1, 1, 3), torch.zeros(1, 1, 3))

    def forward(self, x: Tensor) -> Any:
        states, self.state = self.rnn(x, self.state)
        return self.out(states[:, -1])


class Squeezed(Steps):
    """The first axis is squeezed: with several rows it answers something else."""

    def forward(self, x: Tensor) -> Any:
        return self.out(self.rnn(x)[0].squeeze(0))[-1]


class ForOneRow(Steps):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).view(1, 2)


@pytest.mark.parametrize("fixed", [[0], pytest.param([0, 1], marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "module", [Kept, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (Squeezed, ForOneRow))]
)
def test_a_file_of_one_row_is_right_for_that_only(module: type[Steps], fixed: list[int], tmp_path: Path) -> None:
    file = written(module(), tmp_path / "one.onnx", torch.randn(1, 7, 2), names=["x"], fixed=fixed)
    found = checked(module(), file)
    assert (found.kind, found.exit_status) == ("some sizes", 3)
    assert "batch 1 only" in found.sizes or found.sizes == "x [1, 7, 2] only"


class BesideTheOthers(Steps):
    """A row's answer is a share of those of its batch."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).softmax(0)


class TextBesideTheOthers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.embedding, self.steps = nn.Embedding(30, 2), BesideTheOthers()

    def forward(self, x: Tensor) -> Any:
        return self.steps(self.embedding(x))


@pytest.mark.parametrize(
    ("fixed", "sizes"),
    [
        pytest.param([0, 1], "x [3, 7{}] only", marks=pytest.mark.slow),
        ([0], "batch 3 only"),
        pytest.param([1], "rows of 7 {} only", marks=pytest.mark.slow),
        ([], ""),
    ],
)
@pytest.mark.parametrize("module", [BesideTheOthers, pytest.param(TextBesideTheOthers, marks=pytest.mark.slow)])
def test_a_file_whose_rows_depend_on_each_other_is_right_for_its_sizes(
    module: type[nn.Module], fixed: list[int], sizes: str, tmp_path: Path
) -> None:
    takes_ids = module is TextBesideTheOthers
    given = torch.randint(0, 30, (3, 7)) if takes_ids else torch.randn(3, 7, 2)
    found = checked(module(), written(module(), tmp_path / "beside.onnx", given, names=["x"], fixed=fixed))
    unit = ("" if takes_ids else ", 2") if len(fixed) > 1 else "tokens" if takes_ids else "steps"
    assert (found.kind, found.sizes) == ("some sizes" if fixed else "right", sizes.format(unit))


def halved(path: Path, after: Path, *, computes: bool) -> Path:
    """The file with its weights in half precision, and its arithmetic, too, or cast back at once."""
    model = onnx.load(path)
    half, casts = TensorProto.FLOAT16, []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            name = tensor.name if computes else f"{tensor.name} stored"
            casts += [] if computes else [helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT)]
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if computes:
        for value in (*model.graph.input, *model.graph.output):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                value.type.tensor_type.elem_type = half
        for attribute in (a for node in model.graph.node for a in node.attribute if a.t.data_type == TensorProto.FLOAT):
            number = onnx.numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(number))
    onnx.save(model, after)
    return after


class TwoLabels(Words):
    """Two labels, of which the first is far ahead; or as near as half precision."""

    def __init__(self, ahead: float) -> None:
        super().__init__()
        with torch.no_grad():
            self.out.weight[1:] = self.out.weight[:1] * (1 + 2e-5)
            self.out.bias[:] = torch.tensor([ahead, 0.0, -1.0])


@pytest.mark.slow
@pytest.mark.parametrize("computes", [True, False])
def test_half_precision_is_judged_by_what_it_may_do(computes: bool, tmp_path: Path) -> None:
    file = halved(written(TwoLabels(1), tmp_path / "f.onnx", TOKENS), tmp_path / "half.onnx", computes=computes)
    found = checked(TwoLabels(1), file)
    assert found.is_right
    assert any("half precision" in note and "apart" in note for note in found.notes)
    moved = TwoLabels(1)
    with torch.no_grad():
        moved.out.bias += 0.02
    assert checked(moved, file).kind == "wrong"
    near = halved(written(TwoLabels(0), tmp_path / "n.onnx", TOKENS), tmp_path / "near.onnx", computes=computes)
    changed = checked(TwoLabels(0), near)
    assert (changed.kind, changed.exit_status) == ("changed", 3)
    assert 0 < changed.labels_changed < 1


@pytest.mark.slow
def test_half_precision_of_numbers_and_of_torchscript(tmp_path: Path) -> None:
    whole = written(Steps(), tmp_path / "steps.onnx", torch.randn(3, 7, 2), names=["x"])
    assert checked(Steps(), halved(whole, tmp_path / "half.onnx", computes=True)).kind in ("right", "changed")
    assert checked(OfSix(), halved(whole, tmp_path / "half.onnx", computes=True)).exit_status != 0
    script = traced(Steps().half(), tmp_path / "half.pt", torch.randn(3, 7, 2).half())
    assert checked(Steps(), script).kind in ("right", "changed")


class Counting(Steps):
    """A state in a buffer, from which the next call goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(1, 1, 3))

    def forward(self, x: Tensor) -> Any:
        states, (self.state, _) = self.rnn(x, (self.state, torch.zeros_like(self.state)))
        return self.out(states[:, -1])


@pytest.mark.slow
def test_torchscript_that_keeps_a_state_begins_anew(tmp_path: Path) -> None:
    found = checked(Counting(), traced(Counting(), tmp_path / "state.pt"))
    assert (found.kind, found.sizes) == ("some sizes", "batch 1 only")


@pytest.mark.slow
def test_torchscript_is_called_in_a_way_in_which_it_runs(tmp_path: Path) -> None:
    turned = traced(AttentionOfTurnedMask(), tmp_path / "t.pt", TOKENS, torch.ones_like(TOKENS).t())
    assert any("1, 0" in note for note in checked(Attention(), turned).notes)
    lost = checked(Words(), traced(Steps(), tmp_path / "steps.pt", torch.randn(3, 7, 2)))
    assert (lost.kind, "fails" in lost.reason) == ("not comparable", True)


class Probable(Words):
    def forward(self, text: Tensor) -> Any:
        return super().forward(text).softmax(-1)


def test_an_activation_that_one_side_has_is_told(tmp_path: Path) -> None:
    logits = written(Words(), tmp_path / "logits.onnx", TOKENS)
    shares = written(Probable(), tmp_path / "softmax.onnx", TOKENS)
    for before, after in ((logits, shares), (shares, logits)):
        found = check_files(before, after, max_changed=1, progress=False)
        assert (found.kind, found.labels_changed) == ("changed", 0)
        assert f"{shares.name} gives the softmax" in found.reason
        assert max(line.largest_difference for line in found.comparisons) < 1e-5
    of_module = checked(Words(), shares)
    assert (of_module.kind, "softmax" in of_module.reason) == ("wrong", True)
    # The node behind the last line of forward.
    assert "Softmax" in of_module.departs
    assert checked(Probable(), logits).kind == "wrong"


def test_two_files_of_several_values_are_judged_by_the_difference(tmp_path: Path) -> None:
    before = written(Steps(), tmp_path / "1.onnx", torch.randn(3, 7, 2), names=["x"])
    moved = Steps()
    with torch.no_grad():
        moved.out.weight *= 1.01
        moved.out.bias *= 1.01
    after = written(moved, tmp_path / "2.onnx", torch.randn(3, 7, 2), names=["x"])
    found = check_files(before, after, progress=False)
    assert (found.kind, found.labels_changed) == ("changed", 0)
    assert 0.005 < found.numbers_changed < 0.02
    assert check_files(before, after, max_changed=0.02, progress=False).is_right


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.layer, self.out = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.layer(x).relu().mean((2, 3)))


def test_pictures_of_any_size(tmp_path: Path) -> None:
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    found = checked(
        Pictures(), written(Pictures(), tmp_path / "p.onnx", torch.randn(3, 1, 8, 9), names=["x"], axes=axes)
    )
    assert found.is_right
    # TorchScript says nothing of its axes.
    assert checked(Pictures(), traced(Pictures(), tmp_path / "p.pt", torch.randn(3, 1, 8, 9))).is_right


class Going(Steps):
    """A step that is given the state before it, [1, batch, 3]."""

    def forward(self, x: Tensor, h: Tensor) -> Any:
        return self.out(self.rnn(x, (h, h))[0][:, -1])


def test_torchscript_that_takes_a_state(tmp_path: Path) -> None:
    given = (torch.randn(3, 7, 2), torch.zeros(1, 3, 3))
    found = checked(Going(), traced(Going(), tmp_path / "going.pt", *given))
    assert (found.kind, "h [1, batch, 3]" in found.called) == ("right", True)


@pytest.mark.parametrize("content", ["import no_such_package\n", "def f(:\n", "raise RuntimeError\n"])
def test_a_module_file_that_cannot_be_imported_is_wrong_input(content: str, right: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(f"{content}class Words(no_such_package.Base): pass\n")
    words = ["check", f"{tmp_path / 'model.py'}:Words", "--random-weights", "--onnx", str(right)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert done.output.strip().splitlines()[-1].startswith("Error: ")


@pytest.mark.slow
def test_the_page_about_tests_and_actions_works_in_a_fresh_folder(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "check.md"
    for name, content in re.findall(r"<!-- saved as (\S+) -->\n```python\n(.*?)```", page.read_text(), re.DOTALL):
        (tmp_path / name).write_text(content)
    exporting = (
        "import sys, torch; from net import Net; torch.manual_seed(0); module = Net().eval();"
        "torch.save(module.state_dict(), 'net.pt'); given = torch.randint(0, 50, (3, 7));"
        "torch.onnx.export(module, (given,), 'theirs.onnx', input_names=['text'], dynamo=False,"
        "dynamic_axes={'text': {0: 'batch', 1: 'sequence'}})"
    )
    ran = [
        subprocess.run([sys.executable, "-W", "ignore", *words], cwd=tmp_path, capture_output=True, text=True)
        for words in (
            ["-c", exporting],
            ["-m", "pytest", "-q", "-p", "no:cacheprovider"],
            ["-m", *re.findall(r"- run: (pocketrnn check .*)", page.read_text())[0].split()],
        )
    ]
    assert [done.returncode for done in ran] == [0, 1, 3]
    assert "Wrong: theirs.onnx gives other answers than Net." in ran[1].stdout
    assert "rows of 7 tokens only" in ran[2].stdout
