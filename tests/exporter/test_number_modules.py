"""Modules of sequences of numbers: exported, and answered as PyTorch answers."""

from __future__ import annotations

import ast
import copy
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from number_modules import (
    EXPORTED,
    XYZ,
    FarStep,
    Forecast,
    InDoubles,
    LastStep,
    OverNumbers,
    OwnScale,
    Positions,
    Strides,
    Unread,
    Window,
)
from torch import Tensor, nn

import pocketrnn_export
from pocketrnn import Classifier, LabelOutput, NumberInput, TextInput, ValueOutput, verify
from pocketrnn.errors import BundleError, ExportError, InputError, ParityError, PocketRNNError, SequenceError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.comparing.float64_module import make_float64_copy
from pocketrnn_export.comparing.logit_comparison import Reference
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.forms.onnx.nan_propagation import remove_nan_guards
from pocketrnn_export.intake.module_copy_for_export import copy_for_export
from pocketrnn_export.numbers.message_rewording import ADVICE_FOR_TEXTS, reword_sentence_on_texts_for_numbers
from pocketrnn_export.numbers.number_arguments import make_number_rules
from pocketrnn_export.numbers.number_export import drop_constant_sequences_if_answers_are_unstable
from pocketrnn_export.numbers.table_of_proof_samples import NEAR, make_sample_table, replace_ids_by_samples
from pocketrnn_export.packing import pack

# Only the first test is about proofs.
pytestmark = pytest.mark.usefixtures("scant_proofs")


REAL = [np.full((5, 3), 7.25) + np.arange(3)]
MEAN, SCALE = [1.0, 2.0, 3.0], [2.0, 4.0, 0.5]


def made(name: str) -> tuple[nn.Module, Callable[..., Tensor], dict[str, Any]]:
    kind, call, how = EXPORTED[name]
    torch.manual_seed(0)
    return kind().eval(), call, how


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A module of sequences and lengths, and its bundle, which scales what it is given."""
    module, _, how = made("Packed")
    path = tmp_path_factory.mktemp("numbers") / "packed"
    manifest: Any = export(module, path, **how, mean=MEAN, scale=SCALE, sequences=REAL)
    assert (manifest.graph.inputs, manifest.graph.padding) == (("samples", "lengths"), True)
    assert "pocketrnn_samples" not in dict(module.named_modules())
    return module, path


# In the fast suite, the tests below ask the one above.
@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_a_bundle_answers_as_its_module(name: str, tmp_path: Path) -> None:
    module, call, how = made(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    manifest = export(module, tmp_path / "b", **how)
    classifier: Any = Classifier.load(tmp_path / "b")
    assert isinstance(classifier, Classifier)
    generator = np.random.default_rng(5)
    lengths = [20] * 4 if "steps" in how else [1, 2, 19, 64, 200]
    limits = manifest.graph.limits
    least = 1 if limits is None else limits.min_tokens or 1
    assert (least > 1) == (name in {"Pooled", "Window", "Strides", "FarStep"})
    lengths = [max(n, least) for n in lengths]
    sequences = [generator.normal(0, 2, (n, len(classifier.channels))).astype(np.float32) for n in lengths]
    given = classifier.logits(sequences)
    for sequence, found in zip(sequences, given, strict=True):
        x = torch.from_numpy(sequence)[None]
        with torch.no_grad():
            answer = call(module, x, torch.tensor([len(sequence)]))
        wanted = answer[0] - (answer[0].logsumexp(0) - torch.tensor(found).logsumexp(0) if name == "InitHidden" else 0)
        assert np.allclose(found, wanted.numpy(), atol=2e-5)
    # The module is its owner's: of its class, with its weights, and nothing more in it.
    assert type(module) is type(made(name)[0]) or name == "in_order"
    assert {key: torch.equal(value, before[key]) for key, value in module.state_dict().items()} == dict.fromkeys(
        before, True
    )
    assert manifest.provenance["call"].startswith("module(samples")
    assert verify(tmp_path / "b").name == "b"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [(FarStep, 41, None), (Positions, None, 20), pytest.param(Strides, 136, None, marks=pytest.mark.slow)],
)
def test_the_fewest_and_the_most_steps_are_found_and_stated(
    kind: Callable[[], nn.Module], least: int | None, most: int | None, tmp_path: Path
) -> None:
    limits = export(kind().eval(), tmp_path / "b", **XYZ).graph.limits
    assert limits is not None
    assert (limits.min_tokens, limits.max_tokens) == (least, most)
    classifier = Classifier.load(tmp_path / "b")
    refused, named = (least - 1, f"{least - 1} steps.*{least}") if least else (21, "21 steps.*20")
    with pytest.raises(SequenceError, match=named):
        classifier.classify(np.zeros((refused, 3)))


class Normalised(LastStep):
    """A batch norm, whose statistics a run in training mode changes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.slow
def test_statistics_of_a_module_in_training_mode_stay_as_they_were(tmp_path: Path) -> None:
    module = Normalised().train()
    before = copy.deepcopy(module)
    export(module, tmp_path / "b", **XYZ)
    assert module.training
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in module.state_dict().items())
    samples = torch.randn(5, 3)
    expected = before.eval()(samples[None]).detach().numpy()
    np.testing.assert_allclose(Classifier.load(tmp_path / "b").logits([samples.numpy()]), expected, atol=1e-5)


def test_a_module_of_one_number_of_steps_is_told_how_to_say_it(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"20 steps.*--steps 20"):
        export(Window().eval(), tmp_path / "b", **XYZ)


class Relaxes(nn.Module):
    """A cell of its own, whose state a step divides: no recurrent layer of ONNX does so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.fc = nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 5)
        for t in range(x.size(1)):
            gate = torch.sigmoid(self.gate(x[:, t]))
            state = (state + gate) / (1 + gate)
        return self.fc(state)


@pytest.mark.slow
def test_a_loop_that_is_no_layer_is_written_out_where_all_sequences_have_so_many_steps(tmp_path: Path) -> None:
    module = Relaxes().eval()
    export(module, tmp_path / "b", steps=4, **XYZ)
    sequence = np.ones((4, 3), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(sequence)[None]).softmax(-1)
    np.testing.assert_allclose(Classifier.load(tmp_path / "b").predict_proba([sequence]), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [OverNumbers, Unread])
def test_attention_over_numbers_and_inputs_that_are_not_read_are_no_hindrance(
    kind: Callable[[], nn.Module], tmp_path: Path
) -> None:
    made = export(kind().eval(), tmp_path / "b", **XYZ)
    assert (made.graph.inputs, made.provenance["numbers_in_proof"]) == (("samples",), "numbers of every size")


def test_a_number_that_is_taken_out_of_a_tensor_is_told_as_such(tmp_path: Path) -> None:
    class Least(LastStep):
        def forward(self, x: Tensor) -> Tensor:
            least = float(x.min())
            return super().forward(x - least)  # type: ignore[no-any-return]

    with pytest.raises(ExportError, match=r"float\(x\.min\(\)\).*x\.amin\(1, keepdim=True\)"):
        export(Least().eval(), tmp_path / "b", one_text=True, **XYZ)


@pytest.mark.slow
def test_refusals_speak_of_numbers_and_of_values(tmp_path: Path) -> None:
    class Few(Positions):
        def __init__(self) -> None:
            super().__init__()
            self.positions = nn.Embedding(4, 3)

    with pytest.raises(ExportError, match=r"steps=4.*--steps 4") as error:
        export(Few().eval(), tmp_path / "b", **XYZ)
    assert "max_width" not in str(error.value)
    with pytest.raises(ExportError, match=r"4 numbers.*2 values") as error:
        export(LastStep().eval(), tmp_path / "b", channels=3, values=["speed", "load"])
    assert "label" not in str(error.value)


class Overflowing(nn.Module):
    """Squares of samples, or float16, before a layer whose kernel takes NaN for a number."""

    def __init__(self, kind: type[nn.RNNBase], make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.make = make
        self.rnn = kind(3, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.make(x))[0].amax(1))  # type: ignore[no-any-return]


def squared(x: Tensor) -> Tensor:
    return x * x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "make", "streaming"),
    [
        (nn.GRU, squared, True),
        (nn.LSTM, lambda x: x**3, False),
        (nn.GRU, lambda x: x.half().float() - x.half().float().roll(1, 2), False),
        (nn.GRU, lambda x: x * 3e37, False),
        (nn.LSTM, lambda x: x @ x.transpose(1, 2) @ x, False),
    ],
)
def test_a_recording_that_has_no_answer_in_pytorch_has_none(
    kind: type[nn.RNNBase], make: Callable[[Tensor], Tensor], streaming: bool, tmp_path: Path
) -> None:
    module = Overflowing(kind, make).eval()
    export(module, tmp_path / "b", channels=3, labels=["a", "b", "c"], streaming=streaming)
    usual = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    large = usual.copy()
    large[4] = [3e37, -2e37, 1e37]
    with torch.no_grad():
        expected = [module(torch.from_numpy(x)[None]) for x in (usual, large)]
    assert [bool(logits.isnan().any()) for logits in expected] == [False, True]
    files = [tmp_path / "b"]
    if streaming:
        pack(tmp_path / "b", tmp_path / "b.pocketrnn", progress=False)
        files.append(tmp_path / "b.pocketrnn")
    for file in files:
        classifier = Classifier.load(file, out_of_range="ignore")
        np.testing.assert_allclose(classifier.logits([usual]), expected[0].numpy(), atol=1e-5)
        with pytest.raises(PocketRNNError, match="NaN"):
            classifier.logits([large])
        if streaming:
            stream = classifier.stream()
            stream.push(large[:4])
            with pytest.raises(PocketRNNError, match="NaN"):
                stream.push(large[4:])


@pytest.mark.slow
def test_a_layer_of_plain_samples_has_no_guards(packed: tuple[nn.Module, Path]) -> None:
    content = (packed[1] / "model.onnx").read_bytes()
    assert remove_nan_guards(content) == content
    assert "CumSum" not in {node.op_type for node in onnx.load_model_from_string(content).graph.node}


def test_what_a_module_makes_in_doubles_is_of_float32_in_the_copy_that_is_exported() -> None:
    module, x = InDoubles().eval(), torch.randn(2, 5, 3)
    copied = copy_for_export(module)
    answers, exact = copied(x), module(x)
    assert answers.dtype == torch.float32
    assert torch.allclose(answers.double(), exact, atol=1e-6)
    assert torch.equal(make_float64_copy(copied)(x.double()), exact)
    assert type(module) is InDoubles
    assert module.fc.weight.dtype == torch.float64


def test_sequences_of_several_lengths_are_answered_as_each_alone_and_by_the_module(
    packed: tuple[nn.Module, Path],
) -> None:
    classifier = Classifier.load(packed[1], threads=2)
    sequences = [np.random.default_rng(n).normal(0, 3, (1 + n % 9, 3)) for n in range(100)]
    together = classifier.logits(sequences)
    assert np.allclose(together, np.concatenate([classifier.logits([s]) for s in sequences]), atol=1e-6)
    scaled = [torch.from_numpy(((s - MEAN) / SCALE).astype(np.float32))[None] for s in sequences]
    with torch.no_grad():
        expected = torch.cat([packed[0](x, torch.tensor([x.shape[1]])) for x in scaled])
    assert np.allclose(together, expected.numpy(), atol=2e-5)
    labels = [classifier.labels[i] for i in together.argmax(1)]
    assert classifier.predict(sequences) == labels
    assert [p.label for p in classifier.classify_all(sequences) if p is not None] == labels
    assert np.allclose(classifier.predict_proba(np.stack(sequences[3:4] * 5)).sum(1), 1)


def test_a_number_classifier_can_be_pickled(packed: tuple[nn.Module, Path]) -> None:
    classifier = Classifier.load(packed[1])
    sequence = [[1.0, 2.0, 3.0]]
    again = pickle.loads(pickle.dumps(classifier))  # noqa: S301 - it was made above
    assert again.classify(sequence) == classifier.classify(sequence)


def test_bad_sequences_are_named_by_their_place_or_passed_over(
    packed: tuple[nn.Module, Path], caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier.load(packed[1])
    given = [[[1, 2, 3]], [[1, 2]], "text", [[1, 2, float("nan")]]]
    with pytest.raises(SequenceError, match="position 1"):
        classifier.predict(given)
    assert [label is None for label in classifier.predict(given, on_error="skip")] == [False, True, True, True]
    assert "3 items" in caplog.text
    for wrong in ("text", 5, None, {"a": 1}):
        with pytest.raises(SequenceError):
            classifier.predict(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        classifier.predict([], on_error="pass")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        classifier.classify([[1, 2, 3]], top=5)
    assert classifier.logits([]).shape == (0, 4)


def test_a_recording_is_answered_window_by_window_however_it_arrives(packed: tuple[nn.Module, Path]) -> None:
    classifier = Classifier.load(packed[1])
    recording = np.random.default_rng(0).normal(0, 2, (103, 3))
    whole = classifier.recording(recording, window=20, hop=7)
    assert [w.start for w in whole] == list(range(0, 84, 7))
    assert whole[2].answer == classifier.classify(recording[14:34])
    for sizes in ([1], [3, 50, 1], [103]):
        stream, answers, at = classifier.stream(window=20, hop=7), [], 0
        while at < len(recording):
            size = sizes[len(answers) % len(sizes)] if len(sizes) > 1 else sizes[0]
            part = recording[at : at + size]
            answers += stream.push(part[0] if len(part) == 1 else part)
            at += size
        assert [(w.start, w.answer.label) for w in answers] == [(w.start, w.answer.label) for w in whole]
    # A hop beyond the window leaves steps out.
    assert [w.start for w in classifier.recording(recording, window=5, hop=40)] == [0, 40, 80]
    with pytest.raises(SequenceError):
        classifier.recording(recording[:3], window=20)
    with pytest.raises(InputError):
        classifier.stream()
    for steps in ({"window": 0}, {"window": 2, "hop": 0}):
        with pytest.raises(InputError, match="is 0"):
            classifier.stream(**steps)
    stream = classifier.stream(window=2)
    stream.push([1.0, 2.0, 3.0])
    with pytest.raises(SequenceError):
        stream.push([[1.0, 2.0]])
    # Refused steps are not part of the recording, and are named by their place there.
    with pytest.raises(SequenceError, match="step 2 "):
        stream.push([[0.0, 0.0, 0.0], [0.0, float("nan"), 0.0]])
    with pytest.raises(SequenceError, match="step 60 "):
        classifier.recording(np.where(np.arange(100)[:, None] == 60, np.nan, np.zeros((100, 3))), window=20)
    assert len(stream.push([1.0, 2.0, 3.0])) == 1


@pytest.mark.slow
def test_integers_of_a_sensor_are_scaled_and_those_of_others_are_not(tmp_path: Path) -> None:
    module, _, how = made("LastStep")
    export(module, tmp_path / "b", **how, integer_scale=[0.5, 0.25, 0.125])
    classifier: Any = Classifier.load(tmp_path / "b")
    raw = np.array([[2, 4, 8], [100, -8, 16]], np.int16)
    assert np.array_equal(classifier.logits([raw]), classifier.logits([raw * np.array([0.5, 0.25, 0.125])]))


@pytest.mark.slow
def test_given_sequences_become_golden_examples_only_where_they_may(
    packed: tuple[nn.Module, Path], beside: tuple[nn.Module, Path]
) -> None:
    shown, hidden = (Classifier.load(bundle).manifest for _, bundle in (packed, beside))
    assert np.array_equal(np.array(shown.examples[0].samples) * SCALE + MEAN, REAL[0])
    assert shown.provenance["golden_examples"] == "given sequences"
    assert "7.25" not in (beside[1] / "classifier.json").read_text()
    assert hidden.provenance["golden_examples"] == "made signals"


class SeesZeros(nn.Module):
    """Takes steps of zeros for padding, up to the longest of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 8, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        real = (x != 0).any(-1)
        out = self.gru(x)[0] * real[..., None]
        return self.fc(out.sum(1) / real.sum(1).clamp(min=1).max())


def test_a_module_that_answers_by_the_zeros_of_its_neighbours_goes_one_by_one_or_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = SeesZeros().eval()
    try:
        manifest = export(module, tmp_path / "b", **XYZ)
    except ExportError:
        return
    assert manifest.graph.batch == 1
    classifier = Classifier.load(tmp_path / "b")
    sequences = [np.zeros((6, 3)), np.ones((6, 3)), np.eye(6)[:, :3]]
    for sequence, found in zip(sequences, classifier.logits(sequences), strict=True):
        with torch.no_grad():
            wanted = module(torch.tensor(sequence, dtype=torch.float32)[None])[0]
        assert np.allclose(found, wanted.numpy(), atol=1e-5)


class Logarithm(LastStep):
    """It takes only numbers above 0."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.sqrt(x))


@pytest.mark.slow
def test_numbers_without_a_finite_answer_are_left_out_of_the_proof_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        manifest = export(Logarithm().eval(), tmp_path / "b", **XYZ, call="module(samples)")
    assert manifest.provenance["numbers_in_proof"] == "numbers from 0 to 1"
    assert "numbers from 0 to 1" in caplog.text


@pytest.mark.slow
def test_recordings_without_a_steady_answer_are_left_out_of_the_proof_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    module = OwnScale().eval()
    with caplog.at_level(logging.WARNING):
        export(module, tmp_path / "b", **XYZ)
    assert "never change" in caplog.text
    sequence = np.random.default_rng(0).normal(3, 2, (40, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(sequence)[None])[0].numpy()
    assert np.allclose(Classifier.load(tmp_path / "b").logits([sequence])[0], wanted, atol=1e-5)


class Tagger(LastStep):
    """An answer for each step."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x)[0])


class Neighbours(LastStep):
    """Norms the batch."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out - out.mean(0)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        pytest.param(Tagger(), "step", marks=pytest.mark.slow),
        pytest.param(Neighbours(), "sequence", marks=pytest.mark.slow),
        (nn.Linear(3, 4), "sequence"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_exported_is_refused_in_the_words_of_numbers(
    module: nn.Module, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        export(module, tmp_path / "b", **XYZ)
    message = str(caught.value)
    assert said in message
    assert "token" not in message
    assert " text" not in message
    assert not (tmp_path / "b").exists()
    assert "pocketrnn_samples" not in dict(module.named_modules())


class Kinds(nn.Module):
    """Takes numbers, a mask and the time since the last number as [batch, kind, time, channels]."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 8, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x[:, 0, :, :], x[:, 1, :, :], x[:, 2, :, :])

    def last(self, values: Tensor, mask: Tensor, since: Tensor) -> Tensor:
        return self.fc(self.gru(values * mask * torch.exp(-since))[0][:, -1])


class UnboundKinds(Kinds):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(*x.unbind(1))


class Since(Kinds):
    """The same as an input beside the numbers."""

    def forward(self, x: Tensor, since: Tensor) -> Tensor:
        return self.last(x, since[:, :, None], since[:, :, None])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "named"), [(Kinds, "torch.stack"), (UnboundKinds, "unsqueeze"), (Since, "samples[..., -1]")]
)
def test_a_form_or_an_input_that_samples_have_not_is_refused_with_the_way_to_make_it(
    kind: type[nn.Module], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"--call") as caught:
        export(kind().eval(), tmp_path / "b", **XYZ)
    assert named in caught.value.remedy
    assert "features" not in caught.value.remedy


class RowsAsTime(nn.Module):
    """Takes [batch, channels, time], and its LSTM reads the batch as time."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.lstm, self.fc = nn.Conv1d(3, 5, 1), nn.LSTM(5, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(self.convolution(x).transpose(1, 2))[0][:, -1])


@pytest.mark.slow
def test_a_layout_that_runs_for_one_sequence_only_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"--layout bct"):
        export(RowsAsTime().eval(), tmp_path / "b", one_text=True, **XYZ)


class AnyShape(nn.Module):
    """Views whatever it is given as its batch size says, which is that of a probe by chance."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 3
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x.reshape(self.size, -1, 3))[0][:, -1])


def test_a_layout_that_only_runs_is_not_guessed_where_a_likelier_one_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(ExportError):
        export(AnyShape().eval(), tmp_path / "b", **XYZ)


@pytest.mark.slow
def test_a_call_that_the_owner_writes_is_taken(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Tagger().eval()
    manifest = export(module, tmp_path / "b", **XYZ, call="module(samples)[:, 0]")
    assert manifest.provenance["call"] == "module(samples)[:, 0]"
    other = export(module, tmp_path / "c", **XYZ, call=lambda m, samples, _lengths: m(samples)[:, 0])
    assert other.examples[0].logits == manifest.examples[0].logits


class WhichAndSamples(LastStep):
    """A whole number for each sequence goes before it."""

    def forward(self, which: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x) + which[:, None]


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A module of whole numbers beside sequences, and its bundle, which keeps no given sequence."""
    torch.manual_seed(0)
    module, path = WhichAndSamples().eval(), tmp_path_factory.mktemp("numbers") / "beside"
    call = "module(torch.full((samples.shape[0],), 7), samples)"
    export(module, path, **XYZ, call=call, sequences=REAL, examples=False)
    return module, path


def test_whole_numbers_of_a_call_are_not_taken_for_ids(beside: tuple[nn.Module, Path]) -> None:
    module, samples = beside[0], torch.randn(1, 9, 3)
    found = Classifier.load(beside[1]).logits([samples[0].numpy()])
    assert np.allclose(found, module(torch.tensor([7]), samples).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"labels": ["a", "b"], "values": ["v"]},
        {"labels": ["a"]},
        {"values": []},
        {"values": ["a", "a"]},
        {"values": ["a"], "multi_label": True},
        {"values": ["a"], "value_units": ["m", "s"]},
        {"labels": ["a", "b"], "value_units": ["m"]},
        {"labels": ["a", "b"], "layout": "cbt"},
        {"labels": ["a", "b"], "mean": [1.0]},
        {"labels": ["a", "b"], "mean": "abc"},
        {"labels": ["a", "b"], "speed": 3},
        {"labels": ["a", "b"], "scaler": 5},
        {"labels": ["a", "b"], "scaler": "no-such-file.npz"},
        {"labels": ["a", "b"], "sequences": [[[1.0]]]},
        {"labels": ["a", "b"], "tolerance": -1},
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_any_work(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        export(LastStep(), tmp_path / "b", channels=3, **arguments)
    assert not (tmp_path / "b").exists()


def test_arguments_of_texts_and_of_numbers_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vocabulary"):
        export(LastStep(), tmp_path / "b", labels=["a", "b"], vocabulary=["a"], channels=3)
    with pytest.raises(InputError, match="channels"):
        export(LastStep(), tmp_path / "b", labels=["a", "b"], vocabulary=["a"], mean=[1.0])
    with pytest.raises(InputError, match="labels"):
        export(LastStep(), tmp_path / "b", vocabulary=["a"])


def test_a_damaged_bundle_of_numbers_is_refused(packed: tuple[nn.Module, Path], tmp_path: Path) -> None:
    content = (packed[1] / "classifier.json").read_bytes()
    graph = (packed[1] / "model.onnx").read_bytes()
    for name, changed in {
        "another mean": content.replace(b"1.0", b"1.5", 1),
        "half": content[: len(content) // 2],
        "another version": content.replace(b'"version": 1', b'"version": 2'),
        "of texts": content.replace(b'"numbers":', b'"text":'),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "classifier.json").write_bytes(changed)
        (folder / "model.onnx").write_bytes(graph)
        with pytest.raises(BundleError):
            Classifier.load(folder)
    folder = tmp_path / "graph"
    folder.mkdir()
    (folder / "classifier.json").write_bytes(content)
    (folder / "model.onnx").write_bytes(graph[:-1] + b"x")
    with pytest.raises(BundleError):
        verify(folder)


def test_a_graph_whose_ids_are_more_than_looked_up_is_not_cut() -> None:
    class Numbers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.table(tokens).sum(1) + tokens.sum(1, keepdim=True)

    from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph

    made = trace_onnx_graph(Numbers().eval(), (torch.zeros(3, 7, dtype=torch.int64),), {})
    with pytest.raises(ExportError):
        replace_ids_by_samples(made.content, "table.weight", 3)


def test_steps_that_are_picked_in_other_ways_are_looked_up_by_their_place() -> None:
    class Picked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            padded = nn.functional.pad(tokens, (2, 1))
            return self.table(padded).cumsum(1).mean(1) + self.table(tokens).sum(1)

    from pocketrnn_export.forms.onnx.onnx_form import trace_onnx_graph

    module = Picked().eval()
    table, tokens = module.table.weight.detach().numpy(), np.array([[1, 5, 8, 0, 3], [4, 4, 2, 7, 6]])
    made = trace_onnx_graph(module, (torch.zeros(3, 7, dtype=torch.int64),), {})
    session = open_session(replace_ids_by_samples(made.content, "table.weight", 3))
    assert {one.name: one.shape[-1] for one in session.get_inputs()} == {"samples": 3}
    (found,) = session.run(None, {"samples": table[tokens]})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(torch.from_numpy(tokens)).numpy(), atol=1e-5)


def test_recordings_that_never_change_are_left_out_where_float32_has_no_steady_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def run(tokens: Any, lengths: Any, error: float = 0.0) -> Any:
        return np.full((len(tokens), 2), error, np.float32)

    constant, other = Case("a", np.array([[3, 3]]), np.array([2])), Case("b", np.array([[3, 4]]), np.array([2]))
    for error, kept in ((0.1, [other]), (0.0, [constant, other])):
        reference = Reference("graph", lambda tokens, lengths, e=error: run(tokens, lengths, e), run)
        assert drop_constant_sequences_if_answers_are_unstable(reference, {"shapes": [constant, other]}) == {
            "shapes": kept
        }
        assert bool(caplog.records) == bool(error)
        caplog.clear()


def test_one_scale_is_for_all_channels() -> None:
    rules = make_number_rules(3, None, {"integer_scale": 0.25, "units": "g"})
    assert (rules.integer_scale, rules.units) == ((0.25,) * 3, ("g",) * 3)
    assert make_number_rules(2, None, {"integer_scale": np.float32([1, 2])}).integer_scale == (1, 2)
    with pytest.raises(InputError, match=r"integer_scale.* is 'x'"):
        make_number_rules(3, None, {"integer_scale": "x"})


class NoDeviation(nn.Module):
    """Takes a deviation of 0 for 1, which no rounding of a mean leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 12, batch_first=True)
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        deviation = x.std(1, keepdim=True, unbiased=False)
        deviation = torch.where(deviation == 0, torch.ones_like(deviation), deviation)
        return self.fc(self.rnn((x - x.mean(1, keepdim=True)) / deviation)[0][:, -1]) * 3  # type: ignore[no-any-return]


@pytest.mark.slow
def test_rounding_that_is_too_far_apart_near_zero_too_is_a_refusal_of_its_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(ParityError):
        export(NoDeviation().eval(), tmp_path / "b", channels=3, labels=["a", "b", "c"])


def test_rows_that_are_drawn_hold_what_a_sensor_gives() -> None:
    rows = make_sample_table(3).rows
    assert (rows[0] == 0).all()
    assert np.isfinite(rows).all()
    assert np.abs(rows).max() > 1e3
    assert (np.abs(rows[np.abs(rows) > 0]) < 1e-38).any()
    assert np.abs(make_sample_table(3, kind=NEAR).rows).max() <= 12
    assert (make_sample_table(2, clip=(-1.0, 1.0)).rows[1:] <= 1).all()


@pytest.mark.slow
def test_each_advice_that_is_reworded_for_numbers_is_given_somewhere() -> None:
    written: list[str] = []
    for path in Path(pocketrnn_export.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())) if path.name != "number_export.py" else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                written.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                written.append("".join(str(one.value) if isinstance(one, ast.Constant) else "7" for one in node.values))
    for of_texts, _ in ADVICE_FOR_TEXTS:
        assert any(map(of_texts.search, written)), of_texts.pattern


def test_words_of_texts_become_those_of_numbers() -> None:
    called = reword_sentence_on_texts_for_numbers(
        "called as samples = x = module.pocketrnn_samples(tokens); module(samples)[:, 0]."
    )
    assert called == "called as module(samples)[:, 0]."
    said = reword_sentence_on_texts_for_numbers(
        'The module gives 3 texts of 5 tokens: --call "module(tokens.t(), lengths)[0]".'
    )
    assert said == ('The module gives 3 sequences of 5 steps: --call "module(samples.transpose(0, 1), lengths)[0]".')
    kept = "the context of a keyword, texts/word.py:3: `text = self.words(tokens)`, docs/text-rules.md, label 'text'"
    assert reword_sentence_on_texts_for_numbers(kept) == kept
    assert (
        reword_sentence_on_texts_for_numbers("the context, a text; module(x, tokens)")
        == "the context, a sequence; module(x, samples)"
    )
    assert "module, samples and lengths" in reword_sentence_on_texts_for_numbers("that uses module, tokens and lengths")
    assert "samples[..., -1]" in reword_sentence_on_texts_for_numbers("A bundle is given nothing but a text.")
    assert "--steps" in reword_sentence_on_texts_for_numbers(
        "the same number of tokens (min_width and max_width of the rules)"
    )
    assert "--steps" in reword_sentence_on_texts_for_numbers(
        "let the text rules cut or pad texts: max_width, min_width."
    )


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that knows its range, from four sequences of which each channel is within -2 and 2 g."""
    path = tmp_path_factory.mktemp("ranged") / "moves"
    generator = np.random.default_rng(0)
    sequences = [generator.uniform(-2, 2, (20, 3)) for _ in range(4)]
    export(LastStep().eval(), path, **XYZ, units=["g"] * 3, integer_scale=[0.001] * 3, sequences=sequences)
    return path


def test_numbers_far_outside_of_the_training_range_are_said_once(
    ranged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = Classifier.load(ranged)
    known = classifier.manifest.numbers.training_range
    assert known is not None
    assert all(-2 <= least < -1.8 and 1.8 < most <= 2 for least, most in known)
    near = np.full((5, 3), 6.0)
    counts = (near * 1000).astype(np.int16)
    classifier.predict([near, counts])
    assert not caplog.records
    for _ in range(2):
        classifier.classify(near * 1000)
        classifier.classify([[0, 0, 0], [0, 1e30, 0]])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert all(said in caplog.text for said in ("'x' is 6000 at step 0", " g,", "moves"))


def test_numbers_far_outside_are_refused_where_that_is_wanted(ranged: Path) -> None:
    classifier = pickle.loads(pickle.dumps(Classifier.load(ranged, out_of_range="refuse")))  # noqa: S301 - own
    with pytest.raises(SequenceError, match=r"position 1.*'y' is 1e\+30 at step 1.*integer_scale"):
        classifier.predict([[[0, 0, 0]], [[0, 0, 0], [0, 1e30, 0]]])
    stream = classifier.stream(window=2)
    stream.push([[0.1, 0.2, 0.3]])
    with pytest.raises(SequenceError, match="at step 1"):
        stream.push([[900.0, 0.2, 0.3]])
    assert len(stream.push([[0.3, 0.2, 0.1]])) == 1
    with pytest.raises(SequenceError, match="far outside"):
        Classifier.load(ranged, out_of_range="refuse").classify([[0, 1e30, 0]])
    with pytest.raises(InputError, match="out_of_range"):
        Classifier.load("ag_news", out_of_range="refuse")
    Classifier.load(ranged, out_of_range="ignore").classify([[0, 1e30, 0]])
    with pytest.raises(InputError, match="'never'"):
        Classifier.load(ranged, out_of_range="never")  # type: ignore[arg-type]


def test_a_range_may_be_said_and_is_checked(tmp_path: Path) -> None:
    made = export(LastStep().eval(), tmp_path / "b", **XYZ, training_range=[[-1, 1], [0, 0], [5, 5]])
    rules = Classifier.load(tmp_path / "b").manifest.numbers
    assert rules.training_range == made.numbers.training_range == ((-1.0, 1.0), (0.0, 0.0), (5.0, 5.0))
    # The width of a channel that never changed is its size, or 1.
    assert rules.mark_numbers_far_outside_training(
        np.array([[9.0, 4.0, 25.0], [9.1, -4.1, -15.1], [np.nan, np.nan, np.nan]])
    ).tolist() == [
        [False] * 3,
        [True] * 3,
        [False] * 3,
    ]
    for wrong in ([[1, -1]] * 3, [[0, float("nan")]] * 3, [[0, 1]], [[0, 1, 2]] * 3, 5):
        with pytest.raises(InputError, match="training_range"):
            export(LastStep().eval(), tmp_path / "c", **XYZ, training_range=wrong)


@pytest.mark.slow
def test_an_input_and_an_output_say_what_the_short_form_says(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module, scaled = LastStep().eval(), {"mean": (0.5, 0.0, 1.0), "scale": (2.0, 1.0, 3.0)}
    short = export(module, tmp_path / "short", **XYZ, **scaled, multi_label=True, thresholds=[0.5] * 4)
    given, gives = NumberInput(("x", "y", "z"), **scaled), LabelOutput(tuple("abcd"), "sigmoid", (0.5,) * 4)
    described = export(module, tmp_path / "described", input=given, output=gives, name="short")
    assert (described.input, described.output) == (short.input, short.output) == (given, gives)
    assert described.graph == short.graph
    expecting = LabelOutput(tuple("abcd"), priors={"still": {"a": 3, "b": 1}})
    assert export(module, tmp_path / "expecting", input=given, output=expecting).output == expecting
    forecast = export(Forecast().eval(), tmp_path / "f", input=NumberInput(("x", "y", "z")), output=ValueOutput(("v",)))
    assert forecast.output == ValueOutput(("v",))


TEXTS = TextInput(TextRules(unknown_id=0), ("<unk>", "oil"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"input": NumberInput(("x",))}, "`output` is missing"),
        ({"output": ValueOutput(("v",))}, "`input` is missing"),
        ({"input": NumberInput(("x",)), "output": LabelOutput(("a", "b")), "labels": ["a", "b"]}, "labels"),
        ({"input": NumberInput(("x",)), "output": LabelOutput(("a", "b")), "mean": [1.0]}, "mean"),
        ({"input": TEXTS, "output": LabelOutput(("a", "b")), "vocabulary": ["a"]}, "vocabulary"),
        ({"input": TEXTS, "output": ValueOutput(("v",))}, "LabelOutput"),
        ({"input": 3, "output": 4}, "int.*TextInput"),
    ],
)
def test_what_contradicts_an_input_or_an_output_is_refused(
    arguments: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=named):
        export(LastStep().eval(), tmp_path / "b", **arguments)
