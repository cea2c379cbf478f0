"""How a module is called is found out, told, and held to; what cannot be told apart is refused with a way out."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import convention_modules as zoo
import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.errors import ExportError, InputError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.comparing.proof_inputs import Widths
from pocketrnn_export.intake.compiled_call_line import compile_call
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module

pytestmark = pytest.mark.usefixtures("short_proofs")
VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
LABELS = ["World", "Sports", "Business", "Sci/Tech"]
PAIR = ["good", "bad"]

BATCH = {
    zoo.TimeMajor: "module(tokens.t())",
    zoo.TimeMajorPacked: "module(tokens.t(), lengths)[0]",
    zoo.LengthsFirst: "module(lengths, tokens)",
    zoo.LengthsUnused: "module(tokens.t(), lengths)",
    zoo.Mask: "module(tokens, torch.arange(tokens.size(1)) < lengths[:, None])",
    zoo.PaddingMask: "module(tokens, torch.arange(tokens.size(1)) >= lengths[:, None])",
    zoo.Pair: "module((tokens, lengths))",
    zoo.Dict: "module({'input_ids': tokens})['logits']",
    zoo.DictWithMask: "module({'ids': tokens, 'mask': torch.arange(tokens.size(1)) < lengths[:, None]})",
    zoo.LettersInADict: f"module({{'inputs': F.one_hot(tokens, {zoo.WORDS}).float(), 'lengths': lengths}})",
    zoo.Fields: "module(SimpleNamespace(text=(tokens.t(), lengths)))",
    zoo.InputIds: "module(SimpleNamespace(input_ids=tokens))",
    zoo.DeviceAndLabels: "module(tokens, torch.zeros(tokens.size(0), dtype=torch.long), tokens.device, False)[1]",
    zoo.AxisOfOne: "module(tokens.unsqueeze(1))",
    zoo.LengthInTheFirstColumn: "module(torch.cat([lengths[:, None], tokens], dim=1))",
    zoo.Packed: "module(pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False))",
    zoo.PackedBesideLengths: (
        "module(pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False), lengths)"
    ),
    zoo.TakesState: "module(tokens, module.init_hidden(tokens.size(0)))[0]",
    zoo.TwoStates: "module(tokens, torch.zeros(1, tokens.size(0), 6), torch.zeros(1, tokens.size(0), 6))[0]",
    zoo.MadeStates: ("module(tokens, module.init_hidden(tokens.size(0))[1], module.init_hidden(tokens.size(0))[0])"),
    zoo.StateOrNone: "module(tokens)[0]",
    zoo.BatchSizeGiven: "module(tokens, tokens.size(0))",
    zoo.BatchSizeOfTheFile: "module.forward.__globals__['batch_size'] = tokens.size(0); module(tokens)",
    zoo.BatchSizeOfTheFileInAMethod: "module.forward.__globals__['batch_size'] = tokens.size(0); module(tokens)",
    zoo.BatchSizeOfSettings: "module.args.batch_size = tokens.size(0); module(tokens)",
    zoo.BatchSizeKept: "module.batch_size = tokens.size(0); module(tokens)",
    zoo.StateKept: "module.batch_size = tokens.size(0); module.hidden = module.init_hidden(); module(tokens)",
    zoo.ZerosKept: "module.h0 = torch.zeros(1, tokens.size(0), 6); module(tokens)",
    zoo.WithAttention: "module(tokens)[1]",
    zoo.Nested: "module(tokens).scores['logits']",
    zoo.LayerAxis: "module(tokens)",
    zoo.LogSoftmax: "module(tokens)",
    zoo.LogitsAndProbabilities: "module(tokens)[0]",
    zoo.Softmax: "module(tokens)",
    zoo.SoftmaxLayer: "module(tokens)",
    zoo.ExpOfLog: "module(tokens)",
    zoo.OneSigmoid: "module(tokens)",
    zoo.EveryStepSigmoid: "module(tokens)[0]",
    zoo.LogitsAndLabels: "module(tokens)[0]",
}
NAMES = {"F": torch.nn.functional, "torch": torch, "SimpleNamespace": SimpleNamespace}
ONE_NUMBER = {
    zoo.LogOfASigmoid,
    zoo.OneNumberBesideTwo,
    zoo.OneSigmoid,
    zoo.EveryStepSigmoid,
    zoo.LogitsAndLabels,
    zoo.OneNumberOfEveryStep,
    zoo.OwnSigmoid,
}
PROBABILITIES = {zoo.Softmax, zoo.SoftmaxLayer, zoo.ExpOfLog, zoo.OneSigmoid, zoo.EveryStepSigmoid}
REFUSED = {
    zoo.LogOfASigmoid: "below 0 only, .*BCEWithLogitsLoss.*torch.logit",
    zoo.NegativeLogProbabilities: 'negative log-probabilities.*--call "-module',
    zoo.OneNumberBesideTwo: "2 outputs .* several heads",
    zoo.AlwaysTheSame: "the same answer for every text",
    zoo.MixesStates: "beside other texts of the same length.*--one-text",
    zoo.DependsOnLabels: "takes labels .* beside the text, and its value changes the answer",
    zoo.Speaker: "takes speaker_id .* beside the text",
    zoo.RandomInitHidden: "Its init_hidden draws a random state .*lambda",
    zoo.RandomState: "other answers when it is run again",
    zoo.Remembers: "other answers when it is run again",
    zoo.Mixes: "beside other texts of the same length",
    # An attribute that the line itself sets is not a state of the module's.
    zoo.MixesByItsBatchSize: r"called as module.batch_size = .*one_text=True\.$",
    zoo.MixesSomeTexts: "beside other texts of the same length, called as module.tokens.",
    zoo.TwoScores: r"2 outputs .*answer\[0\], answer\[1\].* several heads",
    zoo.EveryStep: r"tensor of shape \[3, 5, 4\].* labels each word.*module\(tokens\)\[:, -1\]",
    zoo.OneNumberOfEveryStep: r"tensor of shape \[3, 5, 1\].* labels each word.*module\(tokens\)\[:, -1\]",
    zoo.NumberOfWords: r"takes maxlen beside.*tokens\.size\(1\)",
    zoo.MarksTwoWords: r"takes labels beside.*\(TypeError",
    zoo.Labels: "tensor of torch.int64",
    zoo.OwnSigmoid: "between 0 and 1, which may be logits or probabilities",
    zoo.EachSigmoid: "a sigmoid of each label .*, which need not sum to 1",
    zoo.Fails: r"fails at convention_modules.py:\d+: RuntimeError",
}


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def prepared(kind: type[nn.Module], **options: Any) -> ExportableModule:
    classes = 2 if kind in ONE_NUMBER else 4
    known = {"lengths": None, "ids": zoo.WORDS, "padding_id": 1, "classes": classes, "multi_label": False}
    return prepare_module(made(kind), **{**known, **options})


def exported(kind: type[nn.Module], path: Path, **options: Any) -> Classifier:
    labels = PAIR if kind in ONE_NUMBER else LABELS
    export(made(kind), path, labels=labels, vocabulary=VOCABULARY, tokenizer="whitespace", **options)
    return Classifier.load(path)


def text(length: int) -> tuple[str, Tensor]:
    ids = torch.tensor([2 + (5 * i + length) % (zoo.WORDS - 2) for i in range(length)])
    return " ".join(VOCABULARY[i] for i in ids), ids[None]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [zoo.FirstOfATuple, zoo.PlacesOfATuple], ids=lambda kind: kind.__name__)
def test_a_forward_that_reads_places_of_its_one_argument_is_given_a_tuple(kind: type[nn.Module]) -> None:
    assert prepared(kind).convention.line == "module((tokens, lengths))"


@pytest.mark.parametrize("kind", mostly_slow(list(BATCH), 37, first=20), ids=lambda kind: kind.__name__)
def test_the_way_a_module_is_called_is_found_out(kind: type[nn.Module]) -> None:
    found = prepared(kind)
    assert found.convention.line == BATCH[kind]
    assert (found.convention.activation is not None) == (kind in PROBABILITIES)
    assert found.convention.units == (1 if kind in ONE_NUMBER else 4)


@pytest.mark.parametrize("width", mostly_slow(range(6, zoo.WORDS - 2, 3), 99))
def test_a_row_that_begins_with_its_length_is_no_row_of_ids_whichever_ids_are_drawn(width: int) -> None:
    found = prepared(zoo.LengthInTheFirstColumn, widths=Widths(width, width))
    assert found.convention.line == BATCH[zoo.LengthInTheFirstColumn]


@pytest.mark.slow
@pytest.mark.parametrize("width", [zoo.WORDS, pytest.param(100, marks=pytest.mark.slow)])
def test_a_row_that_may_begin_with_its_length_or_with_an_id_is_asked_about(width: int) -> None:
    # Every id is a length of such a text too, so that both ways run.
    with pytest.raises(ExportError, match="2 ways") as asked:
        prepared(zoo.LengthInTheFirstColumn, widths=Widths(width, width))
    assert BATCH[zoo.LengthInTheFirstColumn] in asked.value.problem
    assert prepared(zoo.TimeMajor, widths=Widths(width, width)).convention.line == BATCH[zoo.TimeMajor]


# One that is called by a function is asked in the fast suite by test_module_files.py.
@pytest.mark.slow
@pytest.mark.parametrize("kind", BATCH, ids=lambda kind: kind.__name__)
def test_a_bundle_answers_as_the_module_that_is_called_in_its_own_way(
    kind: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = exported(kind, tmp_path / "bundle", torchscript=False)
    assert classifier.manifest.provenance["call"] == BATCH[kind]
    module = made(kind)
    reading = eval(f"lambda module, tokens, lengths: {BATCH[kind].split('; ')[-1]}", vars(zoo) | NAMES)  # noqa: S307
    monkeypatch.setattr(zoo, "batch_size", 1)
    texts, expected = [], []
    for length in (1, 2, 9, 40):
        words, tokens = text(length)
        texts.append(words)
        if hasattr(module, "batch_size"):
            module.batch_size = 1
        if isinstance(module, zoo.BatchSizeOfSettings):
            module.args.batch_size = 1
        if isinstance(module, zoo.StateKept):
            module.hidden = module.init_hidden()
        if isinstance(module, zoo.ZerosKept):
            module.h0 = torch.zeros(1, 1, zoo.HIDDEN)
        with torch.no_grad():
            answer = reading(module, tokens, torch.tensor([length])).reshape(1, -1)
        if kind in PROBABILITIES:
            given = torch.cat([1 - answer, answer], 1) if kind in ONE_NUMBER else answer
        else:
            given = torch.softmax(torch.cat([torch.zeros(1, 1), answer], 1) if kind in ONE_NUMBER else answer, 1)
        expected.append(given.numpy())
    np.testing.assert_allclose(classifier.predict_proba(texts), np.concatenate(expected), atol=1e-5)


@pytest.mark.parametrize("kind", mostly_slow(list(REFUSED), 22), ids=lambda kind: kind.__name__)
def test_what_cannot_be_told_apart_is_refused_with_what_to_write(kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError, match=REFUSED[kind]) as refusal:
        prepared(kind)
    assert refusal.value.remedy


def test_a_large_number_of_one_label_hides_no_difference_of_the_others() -> None:
    assert prepared(zoo.NeverTheFirst).convention.line == "module(tokens)"


def test_minus_infinity_is_refused_with_its_line_and_a_number_to_take() -> None:
    with pytest.raises(ExportError, match=r"convention_modules.py:\d+: `logits\[:, 0\] = -math.inf`.*-1e4"):
        prepared(zoo.InfiniteForTheFirst)


@pytest.mark.slow
def test_a_module_for_one_sentence_is_run_on_one_text_at_a_time() -> None:
    found = prepared(zoo.OneSentence)
    assert found.one_text
    _, tokens = text(3)
    with torch.no_grad():
        expected = made(zoo.OneSentence)(tokens[0])
    given = found.make_reference().run(tokens.numpy(), np.array([3]))
    np.testing.assert_allclose(given, expected.numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_module_for_one_sentence_is_exported_for_one_text_at_a_time(tmp_path: Path) -> None:
    classifier = exported(zoo.OneSentence, tmp_path / "bundle", torchscript=False)
    assert classifier.manifest.graph.batch == 1
    module = made(zoo.OneSentence)
    texts = [text(length) for length in (1, 3, 17)]
    with torch.no_grad():
        expected = torch.cat([module(tokens[0]) for _, tokens in texts]).exp()
    np.testing.assert_allclose(classifier.predict_proba([words for words, _ in texts]), expected.numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_module_that_mixes_its_texts_can_be_asked_one_at_a_time(tmp_path: Path) -> None:
    classifier = exported(zoo.Mixes, tmp_path / "bundle", one_text=True, torchscript=False)
    words, tokens = text(5)
    with torch.no_grad():
        expected = torch.softmax(made(zoo.Mixes)(tokens), 1)
    np.testing.assert_allclose(classifier.predict_proba([words]), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "case",
    mostly_slow(
        [
            (zoo.EveryStep, "module(tokens)[:, -1]"),
            (zoo.TwoScores, "module(tokens)[1]"),
            (zoo.Speaker, "module(tokens, torch.zeros(tokens.size(0), dtype=torch.long))"),
            (zoo.Remembers, "module.memory = None; module(tokens)"),
            (
                zoo.RandomInitHidden,
                "module.init_hidden = lambda *_: (torch.zeros(1, tokens.size(0), 6), "
                "torch.zeros(1, tokens.size(0), 6)); module(tokens)",
            ),
        ],
        5,
    ),
    ids=lambda case: case[0].__name__,
)
def test_a_line_says_how_a_module_is_called(case: tuple[type[nn.Module], str]) -> None:
    kind, call = case
    found = prepared(kind, call=call)
    assert found.convention.line == call
    assert not found.takes_lengths


def test_a_function_says_how_a_module_is_called() -> None:
    def second(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Tensor:
        return module(tokens)[1] * (lengths[:, None] > 0)

    found = prepared(zoo.TwoScores, call=second)
    _, tokens = text(6)
    with torch.no_grad():
        expected = made(zoo.TwoScores)(tokens)[1]
    given = found.make_reference().run(tokens.numpy(), np.array([6]))
    np.testing.assert_allclose(given, expected.numpy(), atol=1e-5)
    assert found.convention.provenance["call"] == "second(module, tokens, lengths)"


@pytest.mark.parametrize("call", ["module(tokens", "x = module(tokens)", "", "module(nothing)", "module.gone(tokens)"])
def test_a_call_that_does_not_work_is_refused(call: str) -> None:
    with pytest.raises((InputError, ExportError)):
        prepared(zoo.TimeMajor, call=call)


@pytest.mark.parametrize("call", mostly_slow(["module(tokens)", "module(tokens) * tokens.size(0)"], 2))
def test_a_call_that_mixes_texts_is_refused_as_a_way_that_is_found(call: str) -> None:
    with pytest.raises(ExportError, match="--one-text"):
        prepared(zoo.MixesStates, call=call)
    assert prepared(zoo.MixesStates, call="module(tokens)", one_text=True).one_text


@pytest.mark.parametrize(
    "call", ["await module(tokens)", "break; module(tokens)", "*module(tokens)", "global module; module(tokens)",
             "from __future__ import nothing; module(tokens)", "nonlocal q; module(tokens)", "yield module(tokens)"],
)  # fmt: skip
def test_a_call_that_does_not_compile_is_refused_as_input(call: str) -> None:
    with pytest.raises(InputError, match="The call "):
        compile_call(call)


@pytest.mark.slow
def test_what_its_owner_says_of_the_output_is_believed() -> None:
    assert prepared(zoo.OwnSigmoid, gives="logits").convention.undone is None
    assert prepared(zoo.OwnSigmoid, gives="probabilities").convention.undone == "softmax"
    assert prepared(zoo.EachSigmoid, gives="logits").convention.activation is None
    assert prepared(zoo.EachSigmoid, multi_label=True).convention.activation is not None
    with pytest.raises(ExportError, match="gives probabilities"):
        prepared(zoo.TimeMajor, gives="probabilities")


@pytest.mark.slow
def test_probabilities_whose_logits_are_not_found_are_brought_to_logits(tmp_path: Path) -> None:
    classifier = exported(zoo.OwnSigmoid, tmp_path / "bundle", gives="probabilities", torchscript=False)
    words, tokens = text(8)
    with torch.no_grad():
        expected = made(zoo.OwnSigmoid)(tokens)[0, 0].item()
    np.testing.assert_allclose(classifier.predict_proba([words]), [[1 - expected, expected]], atol=1e-5)


@pytest.mark.slow
def test_asking_leaves_a_module_as_it_was() -> None:
    module = made(zoo.StateKept)
    before, state = copy.deepcopy(module.state_dict()), module.hidden
    prepare_module(module, lengths=None, ids=zoo.WORDS, padding_id=1, classes=4, multi_label=False)
    assert module.hidden is state
    assert module.batch_size == 16
    prepare_module(
        made(zoo.BatchSizeOfTheFile), lengths=None, ids=zoo.WORDS, padding_id=1, classes=4, multi_label=False
    )
    assert zoo.batch_size == 32
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.slow
def test_how_a_module_is_called_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pocketrnn_export"):
        prepared(zoo.EveryStepSigmoid)
    assert "forward is called as module(tokens)[0]" in caplog.text
    concluded = next(record for record in caplog.records if "are taken for probabilities" in record.message)
    assert concluded.levelno == logging.WARNING
    assert "convention_modules.py:" in concluded.message
    assert "second label" in concluded.message
    assert "beside a copy" not in caplog.text
    with caplog.at_level(logging.INFO, logger="pocketrnn_export"):
        prepared(zoo.LosesTheBatchAxis)
    assert "beside a copy" in caplog.text


def padded_rules(side: str) -> TextRules:
    return TextRules(
        "whitespace", unknown_id=0, padding_id=1, min_width=12, max_width=12, pad_side=side, cut_side="right"
    )  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (zoo.TimeMajorPacked, "module(tokens.t(), lengths)[0]"),
        (zoo.Mask, "module(tokens, tokens != 1)"),
        (zoo.BothWaysMasked, "module(tokens, tokens != 1)"),
        (zoo.TimeMajor, "module(tokens.t())"),
    ],
)
def test_where_the_rules_pad_every_text_lengths_and_masks_are_of_its_real_tokens(
    kind: type[nn.Module], line: str, side: str, tmp_path: Path
) -> None:
    rules = padded_rules(side)
    export(made(kind), tmp_path / "bundle", labels=LABELS, vocabulary=VOCABULARY, rules=rules, torchscript=False)
    classifier = Classifier.load(tmp_path / "bundle")
    assert classifier.manifest.provenance["call"] == line
    for length in (1, 5, 11, 12, 40):
        words, tokens = text(length)
        real = tokens[0, :12].tolist()
        padding = [1] * (12 - len(real))
        row = torch.tensor([padding + real if side == "left" else real + padding])
        with torch.no_grad():
            expected = compile_call(line)(made(kind), row, torch.tensor([len(real)]))
        np.testing.assert_allclose(classifier.logits([words]), expected.numpy().reshape(1, -1), atol=1e-5)


@pytest.mark.slow
def test_where_the_rules_pad_every_text_an_optional_mask_is_asked_for() -> None:
    widths = Widths(12, 12)
    with pytest.raises(ExportError, match=r'2 ways .*"module\(tokens\)" and "module\(tokens, tokens != 1\)"'):
        prepared(zoo.OptionalMask, widths=widths)
    assert prepared(zoo.OptionalMask, widths=widths, call="module(tokens)").convention.line == "module(tokens)"
    assert prepared(zoo.OptionalMask).convention.line == "module(tokens)"


@pytest.mark.slow
def test_where_the_rules_pad_every_text_optional_lengths_are_asked_for() -> None:
    with pytest.raises(ExportError, match=r'2 ways .*"module\(tokens, lengths\)" and "module\(tokens\)"'):
        prepared(zoo.OptionalLengths, widths=Widths(12, 12))
    assert prepared(zoo.OptionalLengths).convention.line == "module(tokens, lengths)"


@pytest.mark.slow
def test_a_layer_that_reads_backwards_is_run_on_rows_of_one_length(tmp_path: Path) -> None:
    classifier = exported(zoo.BothWaysMasked, tmp_path / "bundle", torchscript=False)
    assert "torch.arange(tokens.size(1)) < lengths" in classifier.manifest.provenance["call"]
    assert not classifier.manifest.graph.padding


def test_a_layer_of_torch_that_a_file_has_replaced_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class MyGRU(nn.GRU):
        """A notebook's replacement for nn.GRU."""

    monkeypatch.setattr(nn, "GRU", MyGRU)
    with pytest.raises(ExportError, match=r"torch\.nn\.GRU.*MyGRU"):
        prepared(zoo.LengthInTheFirstColumn)
