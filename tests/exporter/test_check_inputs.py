"""`pocketrnn check`: which inputs it draws for a module and a file, and how near their answers must be."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from exported_files import TOKENS, Steps, Words, checked, traced, written
from onnx import helper, numpy_helper
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export import check
from pocketrnn_export.checking.exported_file import CheckedFile, Port
from pocketrnn_export.checking.forward_call_recording import RecordedCall
from pocketrnn_export.checking.input_output_matching import match_inputs

pytestmark = pytest.mark.usefixtures("short_proofs")
AXES = {0: "batch", 1: "sequence"}
MASK = (torch.arange(7) < torch.tensor([7, 5, 2])[:, None]).long()
NUMBERS = torch.randn(2, 9, 2, generator=torch.Generator().manual_seed(1))


def edited(path: Path, *, index: int = 0, before: bool = False, node: str, **constants: Any) -> Path:
    """The file with a node put before an input or behind an output; its other inputs are constants."""
    model = onnx.load(path)
    attributes = {name: constants.pop(name) for name in ("axis",) if name in constants}
    graph = model.graph
    name = (graph.input if before else graph.output)[index].name
    for one in graph.node:
        names = one.input if before else one.output
        names[:] = [f"{name} as it was" if given == name else given for given in names]
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items())
    ends = (name, f"{name} as it was") if before else (f"{name} as it was", name)
    made = helper.make_node(node, [ends[0], *constants], [ends[1]], **attributes)
    graph.node.insert(0 if before else len(graph.node), made)
    onnx.save(model, path)
    return path


class Attended(Words):
    """A bidirectional layer reads the padding, so that a mask and its opposite seem as good."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4, batch_first=True, bidirectional=True)
        self.score, self.out = nn.Linear(8, 1), nn.Linear(8, 3)

    def forward(self, text: Tensor, mask: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text))
        shares = self.score(states).squeeze(-1).masked_fill(mask == 0, -1e9).softmax(1)
        return self.out((shares.unsqueeze(-1) * states).sum(1)), shares


@pytest.mark.slow
def test_a_mask_whose_meaning_is_not_found_out_is_given_as_the_file_declares_it(tmp_path: Path) -> None:
    file = written(Attended(), tmp_path / "attended.onnx", TOKENS, MASK, names=["text", "mask"])
    assert checked(Attended(), file).lines[0].startswith("Right for every size")


class Averaged(Words):
    def forward(self, text: Tensor, mask: Tensor) -> Any:
        real = mask.unsqueeze(-1).float()
        return self.out[0]((self.embedding(text) * real).sum(1) / real.sum(1).clamp(min=1))

    def __init__(self) -> None:
        super().__init__()
        self.out: Any = nn.ModuleList([nn.Linear(5, 3)])


class AveragedFirst(Averaged):
    """It takes as many of the first tokens as the mask has ones."""

    def forward(self, text: Tensor, mask: Tensor) -> Any:
        return super().forward(text, torch.arange(text.shape[1]) < mask.sum(1, keepdim=True))


@pytest.mark.slow
def test_masks_that_hide_the_beginning_of_rows_are_looked_at(tmp_path: Path) -> None:
    names = ["text", "mask"]
    assert checked(Averaged(), written(Averaged(), tmp_path / "1.onnx", TOKENS, MASK, names=names)).is_right
    found = checked(Averaged(), written(AveragedFirst(), tmp_path / "2.onnx", TOKENS, MASK, names=names))
    assert (found.kind, found.sizes) == ("wrong", "masks that hide the end of rows")


class Marked(Steps):
    """Its mask must be true at one step of each row."""

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        return self.out(self.rnn(x)[0][mask].view(x.size(0), -1))


class Hiding(Marked):
    """Its mask is true at padding, and may not hide a whole row."""

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        if not torch.jit.is_tracing() and mask.all(1).any():
            raise ValueError("A row has no steps.")
        real = (1 - mask.float()).unsqueeze(2)
        return self.out((self.rnn(x)[0] * real).sum(1) / real.sum(1))


class HidingNothing(Hiding):
    def forward(self, x: Tensor, mask: Tensor) -> Any:
        return super().forward(x, torch.zeros_like(mask))


class MarkedLast(Marked):
    """It reads the last step, whatever the mask says."""

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        return super().forward(x, torch.arange(x.size(1)).expand(mask.shape) == mask.size(1) - 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "other", "write"),
    [(Marked, MarkedLast, written), (Marked, MarkedLast, traced), (Hiding, HidingNothing, written)],
)
def test_a_mask_may_have_to_leave_one_step_of_each_row(
    module: type[Marked], other: type[Marked], write: Any, tmp_path: Path
) -> None:
    places, last = torch.arange(9), torch.tensor([[8], [5]])
    given = NUMBERS, places == last if module is Marked else places > last
    names: Any = {"names": ["x", "mask"]} if write is written else {}
    found = checked(module(), write(module(), tmp_path / "1", *given, **names))
    assert found.kind == "right"
    assert " and of 1 to " in found.looked_at
    assert checked(module(), write(other(), tmp_path / "2", *given, **names)).kind == "wrong"


class Standardised(Steps):
    """A row of equal numbers has a deviation of nearly zero."""

    def forward(self, x: Tensor) -> Any:
        return super().forward((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5))


class WithInstanceNorm(Steps):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(2)

    def forward(self, x: Tensor) -> Any:
        return super().forward(self.norm(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("module", mostly_slow([Standardised, WithInstanceNorm], 2))
def test_rows_divided_by_their_own_deviation_depend_on_their_last_digits(module: type[Steps], tmp_path: Path) -> None:
    file = written(module(), tmp_path / "steps.onnx", NUMBERS, names=["x"], axes={"x": AXES})
    assert checked(module(), file).lines[0].startswith("Right for every size")
    found = checked(module(), edited(file, node="Mul", by=np.float32(1.0001)))
    assert found.kind == "wrong"


class Priced(Steps):
    """A price of some 250,000 and a share, in one output."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * torch.tensor([2e4, 1.0]) + torch.tensor([2.5e5, 0.0])


@pytest.mark.slow
def test_a_share_beside_a_price_is_compared_by_its_own_size(tmp_path: Path) -> None:
    file = written(Priced(), tmp_path / "priced.onnx", NUMBERS, names=["x"], axes={"x": AXES})
    assert checked(Priced(), file).is_right
    found = checked(Priced(), edited(file, node="Add", more=np.array([0, 0.01], np.float32)))
    assert found.kind == "wrong"


class InUnitsOfItsInput(Steps):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + 40 * x[:, -1]


@pytest.mark.slow
def test_large_answers_to_some_inputs_hide_no_difference_in_others(tmp_path: Path) -> None:
    file = written(InUnitsOfItsInput(), tmp_path / "units.onnx", NUMBERS, names=["x"], axes={"x": AXES})
    assert checked(InUnitsOfItsInput(), file).is_right
    assert checked(InUnitsOfItsInput(), edited(file, node="Add", more=np.float32(1e-3))).kind == "wrong"


class Columns(nn.Module):
    """Three columns of categories, each with its table."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.tables = nn.ModuleList([nn.Embedding(size, 3) for size in sizes])
        self.out = nn.Linear(9, 2)

    def forward(self, categories: Tensor) -> Any:
        return self.out(torch.cat([table(categories[:, i]) for i, table in enumerate(self.tables)], 1))


CATEGORIES = torch.tensor([[1, 2, 3], [0, 1, 2]])
ROWS = {"categories": {0: "batch"}}


@pytest.mark.slow
def test_columns_of_categories_have_tables_of_their_own(tmp_path: Path) -> None:
    module = Columns(9, 4, 6).eval()
    file = written(module, tmp_path / "columns.onnx", CATEGORIES, names=["categories"], axes=ROWS)
    found = checked(module, file)
    # More columns than three are taken, and not read.
    assert (found.is_right, found.called) == (True, "module(categories [batch, 3])")
    with torch.no_grad():
        module.tables[0].weight[8] += 1
    assert checked(module, file).kind == "wrong"


def test_columns_of_categories_have_ids_of_their_own(tmp_path: Path) -> None:
    module = Columns(5, 5, 5).eval()
    file = written(module, tmp_path / "alike.onnx", CATEGORIES, names=["categories"], axes=ROWS)
    exchanged = edited(file, before=True, node="Gather", places=np.array([0, 2, 1]), axis=1)
    assert checked(module, exchanged).kind == "wrong"


class Spelled(Words):
    """The characters of words: an id at each of three axes."""

    def forward(self, text: Tensor) -> Any:
        return self.out[0](self.embedding(text).amax(2))

    def __init__(self) -> None:
        super().__init__()
        self.out: Any = nn.ModuleList([nn.Linear(5, 3)])


@pytest.mark.slow
def test_the_characters_of_a_word_are_not_all_the_same(tmp_path: Path) -> None:
    axes = {"text": {0: "batch", 1: "sequence", 2: "characters"}}
    file = written(Spelled(), tmp_path / "spelled.onnx", torch.randint(0, 20, (2, 3, 5)), axes=axes)
    assert checked(Spelled(), file).is_right
    cut = edited(file, before=True, node="Slice", begin=np.array([0]), end=np.array([5]), axes=np.array([2]))
    assert checked(Spelled(), cut).kind == "wrong"


class AsOfTransformers(Words):
    """A mask and types may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.types = nn.Embedding(2, 5)

    def forward(self, input_ids: Tensor, attention_mask: Any = None, token_type_ids: Any = None) -> Any:
        states = self.embedding(input_ids) + (0 if token_type_ids is None else self.types(token_type_ids))
        states, _ = self.rnn(states)
        return self.out((states if attention_mask is None else states * attention_mask.unsqueeze(-1)).mean(1))


class WithTypes(AsOfTransformers):
    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> Any:  # type: ignore[override]
        return super().forward(input_ids, token_type_ids=token_type_ids)


# The first input with a default is the likelier one to be found by chance.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "second"),
    mostly_slow([(AsOfTransformers, "attention_mask"), (WithTypes, "token_type_ids")], 2, first=1, several=True),
)
def test_the_file_takes_some_of_the_inputs_that_have_a_default(
    module: type[Words], second: str, tmp_path: Path
) -> None:
    names = ["input_ids", second]
    file = written(module(), tmp_path / "some.onnx", TOKENS, MASK, names=names)
    found = checked(AsOfTransformers(), file)
    assert (found.is_right, found.inputs) == (True, {name: name for name in names})


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [pytest.param(["input_ids", "attention_mask"], marks=pytest.mark.slow), ["onnx::0", "onnx::1"]]
)
def test_the_file_takes_all_inputs_that_have_a_default(names: list[str], tmp_path: Path) -> None:
    class Masked(Words):
        def forward(self, input_ids: Tensor, attention_mask: Any = None) -> Any:
            states = self.embedding(input_ids)
            return self.out(self.rnn(states if attention_mask is None else states * attention_mask[..., None])[0][:, 0])

    file = written(Masked(), tmp_path / "masked.onnx", TOKENS, MASK, names=names)
    found = checked(Masked(), file)
    assert (found.is_right, list(found.inputs.values())) == (True, ["input_ids", "attention_mask"])


class OfOneText(Words):
    def forward(self, text: Tensor) -> Any:
        return self.out(self.rnn(self.embedding(text).unsqueeze(0))[0][0])


class LastTwice(OfOneText):
    def forward(self, text: Tensor) -> Any:
        return super().forward(torch.cat([text[:-1], text[:1]]))


@pytest.mark.parametrize(
    ("given", "kind"), [pytest.param(OfOneText, "right", marks=pytest.mark.slow), (LastTwice, "wrong")]
)
def test_a_text_without_a_batch_axis(given: type[Words], kind: str, tmp_path: Path) -> None:
    file = written(given(), tmp_path / "one.onnx", TOKENS[0], axes={"text": {0: "sequence"}})
    found = checked(OfOneText(), file)
    assert (found.kind, found.called) == (kind, "module(tokens[0])")


def test_a_text_without_a_batch_axis_of_one_length(tmp_path: Path) -> None:
    found = checked(OfOneText(), written(OfOneText(), tmp_path / "one.onnx", TOKENS[0], fixed=[0]))
    assert (found.kind, found.sizes) == ("some sizes", "rows of 7 tokens only")


class TwoTexts(Words):
    def forward(self, text: Tensor, other: Tensor) -> Any:  # type: ignore[override]
        return super().forward(text) - super().forward(other)


@pytest.mark.slow
def test_two_texts_of_unequal_declared_lengths(tmp_path: Path) -> None:
    names = ["text", "other"]
    file = written(TwoTexts(), tmp_path / "two.onnx", TOKENS, TOKENS[:, :4], names=names, fixed=[1])
    found = checked(TwoTexts(), file)
    assert (found.kind, found.sizes) == ("some sizes", "rows of 7 tokens only")
    assert "sequence - 3" in str(found.called)


class WithState(Steps):
    def forward(self, x: Tensor, state: Any) -> Any:  # type: ignore[override]
        states, state = self.rnn(x, state)
        return self.out(states), state


def test_a_tuple_of_states_is_filled_from_the_inputs_of_the_file(tmp_path: Path) -> None:
    state = torch.zeros(1, 2, 3)
    axes = {"x": AXES, "h": {1: "batch"}, "c": {1: "batch"}}
    file = tmp_path / "state.onnx"
    arguments: Any = (NUMBERS, (state, state))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            WithState().eval(), arguments, file, input_names=["x", "h", "c"], dynamic_axes=axes, dynamo=False
        )
    found = checked(WithState(), file)
    assert (found.is_right, found.inputs["c"]) == (True, "state.1")


class OfTwelve(Steps):
    """It takes twelve steps, which its file does not say."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.Linear(36, 2)

    def forward(self, x: Tensor) -> Any:
        return self.all(self.rnn(x)[0].flatten(1))


def test_a_number_of_steps_that_the_module_alone_knows(tmp_path: Path) -> None:
    file = written(OfTwelve(), tmp_path / "twelve.onnx", torch.randn(2, 12, 2), names=["x"], axes={"x": AXES})
    found = checked(OfTwelve(), file)
    assert found.is_right
    assert "12 steps" in found.looked_at
    assert int(found.looked_at.split()[2]) > 10


class FirstIsCategory(Steps):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn = nn.Embedding(6, 3), nn.LSTM(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return super().forward(torch.cat([self.table(x[:, :, 0].long()), x[:, :, 1:]], 2))


@pytest.mark.slow
def test_a_column_of_ids_among_numbers(tmp_path: Path) -> None:
    file = written(FirstIsCategory(), tmp_path / "category.onnx", NUMBERS.abs(), names=["x"], axes={"x": AXES})
    found = checked(FirstIsCategory(), file)
    assert (found.is_right, found.notes) == (
        True,
        ("Only whole numbers were tried: FirstIsCategory has no finite answer to some others.",),
    )
    other = FirstIsCategory()
    with torch.no_grad():
        other.table.weight[5] += 1
    assert checked(other, file).kind == "wrong"


class Dropping(Words):
    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.out = nn.Dropout(0.5), nn.Linear(5, 3)

    def forward(self, text: Tensor) -> Any:
        return self.out(self.dropout(self.embedding(text).mean(1)))


@pytest.mark.slow
def test_a_torchscript_file_in_training_mode_is_run_as_it_is(tmp_path: Path) -> None:
    right = traced(Dropping(), tmp_path / "eval.pt")
    assert checked(Dropping(), right).is_right
    torch.jit.script(Dropping().train()).save(tmp_path / "train.pt")
    found = checked(Dropping(), tmp_path / "train.pt")
    assert (found.kind, "eval" in found.reason) == ("not comparable", True)


class Remembering(Steps):
    """It goes on from the state of its last call."""

    state: Any = None

    def forward(self, x: Tensor) -> Any:
        begin = self.state if self.state is not None and self.state[0].shape[1] == len(x) else None
        states, self.state = self.rnn(x, begin)
        return self.out(states[:, -1])


@pytest.mark.slow
def test_a_state_that_the_module_keeps_is_told(tmp_path: Path) -> None:
    file = written(Steps(), tmp_path / "steps.onnx", NUMBERS, names=["x"], axes={"x": AXES})
    (note,) = checked(Remembering(), file).notes
    assert "Remembering keeps a state" in note


class WithDeviation(Steps):
    """One step has no deviation: it is NaN."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x[:, :, 0].std(1)


@pytest.mark.slow
def test_only_the_numbers_that_are_nan_are_left_out(tmp_path: Path) -> None:
    file = written(WithDeviation(), tmp_path / "nan.onnx", NUMBERS, names=["x"], axes={"x": AXES})
    assert checked(WithDeviation(), file).is_right
    model = onnx.load(file)
    numbers, deviation = (one.name for one in model.graph.output)
    for node in model.graph.node:
        node.output[:] = [f"{name} as it was" if name == numbers else name for name in node.output]
    model.graph.node.extend(
        [
            helper.make_node("IsNaN", [deviation], ["is nan"]),
            helper.make_node("Cast", ["is nan"], ["as number"], to=1),
            helper.make_node("Unsqueeze", ["as number", "one"], ["column"]),
            helper.make_node("Add", [f"{numbers} as it was", "column"], [numbers]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    onnx.save(model, file)
    found = checked(WithDeviation(), file)
    assert (found.kind, found.sizes) == ("wrong", "2 steps or more")


class Sigmoids(Words):
    def forward(self, text: Tensor) -> Any:
        return torch.sigmoid(super().forward(text) * 4)


class Softmax(Words):
    def forward(self, text: Tensor) -> Any:
        return torch.softmax(super().forward(text) * 4, 1)


def test_another_activation_is_wrong_and_not_a_missing_one(tmp_path: Path) -> None:
    found = checked(Softmax(), written(Sigmoids(), tmp_path / "sigmoid.onnx", TOKENS))
    assert (found.kind, found.activation) == ("wrong", "")


def test_another_shape_is_told_with_both(tmp_path: Path) -> None:
    file = written(Words(), tmp_path / "turned.onnx", TOKENS)
    turned = edited(file, before=True, node="Transpose")
    assert (
        "  the file gives an answer of the shape [1, 3], where the module's is [2, 3]" in checked(Words(), turned).lines
    )


class ByTwo(Steps):
    """A number for each step, of even numbers of steps only."""

    def forward(self, x: Tensor) -> Any:
        return self.rnn(x.reshape(x.size(0), -1, 2))[0].sum(2).repeat_interleave(2, 1) * 100


def test_the_numbers_of_steps_are_not_columns(tmp_path: Path) -> None:
    file = written(ByTwo(), tmp_path / "two.onnx", torch.randn(3, 64), names=["x"], axes={"x": AXES})
    assert checked(ByTwo(), file).is_right


def test_axes_are_not_turned_where_the_answers_then_have_another_shape() -> None:
    """torch.onnx.export(dynamo=True) names axes s52 and s98, and this file fails on rows of more than eight."""

    def run(arrays: Any) -> list[Any]:
        if arrays[0].shape[1] > 8:
            raise ExportError("too long", "")
        return [np.zeros((len(arrays[0]), 3))]

    sizes = ((3, 7), (2, 29), (5, 64))
    calls = [RecordedCall({"x": np.zeros(size)}, {"0": np.zeros((size[0], 3))}) for size in sizes]
    file = CheckedFile(Path("theirs.onnx"), (Port("x", "float32", ("s52", "s98")),), (), run, None, [], 1.0)
    (fed,) = match_inputs(file, calls, {}, sizes)
    assert fed.order is None


class Additive(nn.Module):
    """Attention whose steps come first, as recurrent layers give them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.both, self.score = nn.Linear(8, 5), nn.Linear(5, 1)

    def forward(self, hidden: Tensor, states: Tensor) -> Any:
        every = hidden.repeat(states.size(0), 1, 1)
        scores = self.score(torch.tanh(self.both(torch.cat((every, states), 2)))).squeeze(2)
        return scores.t().softmax(1)


class AdditiveByStep(Additive):
    """The traced number of steps stays."""

    def forward(self, hidden: Tensor, states: Tensor) -> Any:
        both = [torch.cat((hidden, states[step]), 1) for step in range(states.size(0))]
        return self.score(torch.tanh(self.both(torch.stack(both)))).squeeze(2).t().softmax(1)


class Scaled(nn.Module):
    """Attention without weights: the trace keeps the root of the size."""

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Any:
        scores = (keys @ query.unsqueeze(2)).squeeze(2) / query.size(1) ** 0.5
        return (scores.masked_fill(mask == 0, -1e9).softmax(1).unsqueeze(2) * values).sum(1)


class OneStep(nn.Module):
    """A step of a decoder: ids, a state, and the states of another layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embedding, self.additive, self.rnn = nn.Embedding(20, 3), Additive(), nn.GRU(7, 4)

    def forward(self, word: Tensor, hidden: Tensor, states: Tensor) -> Any:
        shares = self.additive(hidden[-1], states)
        context = (shares.t().unsqueeze(2) * states).sum(0, keepdim=True)
        return self.rnn(torch.cat((self.embedding(word).unsqueeze(0), context), 2), hidden)


HIDDEN, STATES = torch.randn(3, 4), torch.randn(7, 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "given", "kind", "sizes"),
    [
        (Additive, (HIDDEN, STATES), "right", ""),
        pytest.param(AdditiveByStep, (HIDDEN, STATES), "wrong", "rows of 7 steps only", marks=pytest.mark.slow),
        pytest.param(
            Scaled, (HIDDEN, STATES.transpose(0, 1), STATES.transpose(0, 1), MASK), "right", "", marks=pytest.mark.slow
        ),
        pytest.param(
            OneStep, (torch.tensor([1, 2, 3]), HIDDEN[None], STATES), "right", "", marks=pytest.mark.slow
        ),
    ],
)  # fmt: skip
def test_the_inputs_of_a_torchscript_file_are_found_by_where_forward_fails(
    module: type[nn.Module], given: tuple[Tensor, ...], kind: str, sizes: str, tmp_path: Path
) -> None:
    found = checked(module(), traced(module(), tmp_path / "traced.pt", *given))
    assert (found.kind, found.sizes) == (kind, sizes)


class WithTuple(Steps):
    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> Any:
        states, (hidden, cell) = self.rnn(x, state)
        return self.out(states[:, -1]), hidden, cell


@pytest.mark.slow
def test_a_torchscript_file_may_take_a_tuple(tmp_path: Path) -> None:
    first = torch.zeros(1, 2, 3)
    given: Any = NUMBERS, (first, first)
    assert checked(WithTuple(), traced(WithTuple(), tmp_path / "tuple.pt", *given)).kind == "right"


class BatchAsSteps(Words):
    """The layer takes the batch for the steps: each row depends on those before it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)


@pytest.mark.slow
def test_rows_that_depend_on_their_order_keep_it_in_double_precision(tmp_path: Path) -> None:
    file = written(BatchAsSteps(), tmp_path / "order.onnx", TOKENS)
    cut = "module(tokens * (torch.arange(tokens.size(1)) < lengths[:, None]))"
    assert check(BatchAsSteps(), file, call=cut, progress=False).kind == "right"


class TupleCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.cell = nn.LSTMCell(2, 3)

    def forward(self, x: Tensor, states: tuple[Tensor, Tensor]) -> Any:
        return self.cell(x, states)


@pytest.mark.slow
def test_a_pt2_file_may_take_a_tuple(tmp_path: Path) -> None:
    given: Any = torch.randn(3, 2), (torch.zeros(3, 3), torch.zeros(3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(TupleCell().eval(), given), tmp_path / "tuple.pt2")
    found = checked(TupleCell(), tmp_path / "tuple.pt2")
    # With torch 2.8 the inputs of this file are not found out.
    known = torch.__version__ >= "2.13"
    assert (found.kind, found.sizes) == (("some sizes", "batch 3 only") if known else ("not comparable", ""))


class InThreeRows(Words):
    """A reshape holds the traced sizes, and takes one row of as many numbers in all."""

    def forward(self, text: Tensor) -> Any:
        states, _ = self.rnn(self.embedding(text))
        return self.out(states.reshape(3, 9, 4).mean(1)) + 0 * text[:, :1]


@pytest.mark.slow
@pytest.mark.parametrize("call", [pytest.param(None, marks=pytest.mark.slow), "module(tokens[:, :int(lengths.max())])"])
def test_rows_that_a_frozen_reshape_takes_for_others_are_looked_at(call: str | None, tmp_path: Path) -> None:
    file = written(InThreeRows(), tmp_path / "frozen.onnx", TOKENS[:, [0, 1, 2, 3, 4, 5, 6, 0, 1]])
    found = checked(Words(), file, call=call)
    assert (found.kind, found.sizes) == ("wrong", "batch 3 only and rows of 9 tokens only")
    assert found.shown is not None
    assert len(found.shown.given) == 1
