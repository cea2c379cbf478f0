"""The output that has as many numbers as there are labels is the answer to them, or it is refused; what is left out is
said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import convention_modules
import numpy as np
import output_modules as zoo
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.errors import ExportError, InputError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.comparing.proof_inputs import Widths
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module

pytestmark = pytest.mark.usefixtures("short_proofs")

VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
Made = Callable[[], nn.Module]

# Each with the number of labels, and the text rules.
ANY, TWO, THREE, FOUR, SIX = Widths(), Widths(2, 2), Widths(3, 3), Widths(4, 40), Widths(6, 6)
FOLLOWING: dict[str, tuple[Made, int, Widths, str]] = {
    "weights": (lambda: zoo.WithWeights(4), 3, THREE, r"gives 4 numbers .* 3 labels \(answer\[0\]; .*Give 4 labels"),
    "weights, any width": (lambda: zoo.WithWeights(4), 3, ANY, r"gives 4 numbers .* 3 labels.*Give 4 labels"),
    "weights, up to a width": (lambda: zoo.WithWeights(4), 3, Widths(1, 3), r"gives 4 numbers .* 3 labels"),
    "weights of two": (lambda: zoo.WithWeights(5), 2, TWO, r"gives 5 numbers .* 2 labels"),
    "weights of six": (lambda: zoo.WithWeights(3), 6, SIX, r"gives 3 numbers .* 6 labels"),
    "weights of one": (lambda: zoo.ScoresOfSteps(5), 2, Widths(1, 1), r"answer\[0\] \[3, 5\].* 2 labels"),
    "weights first": (lambda: zoo.WeightsFirst(4), 3, THREE, r"gives 4 numbers .* 3 labels \(answer\[1\]"),
    "weights by name": (lambda: zoo.WeightsByName(4), 3, THREE, r"4 numbers .* 3 labels \(answer\['logits'\]"),
    "weights in a field": (lambda: zoo.WeightsInAField(4), 3, THREE, r"4 numbers .* 3 labels \(answer\.logits"),
    "weights inside": (lambda: zoo.WeightsInside(4), 3, THREE, r"4 numbers .* 3 labels \(answer\['scores'\]"),
    "named tuple": (lambda: zoo.WeightsInANamedTuple(4), 3, THREE, r"4 numbers .* 3 labels \(answer\[1\]"),
    "scores of steps": (lambda: zoo.ScoresOfSteps(4), 3, THREE, r"4 numbers .* 3 labels"),
    "half of the steps": (lambda: zoo.HalfOfTheSteps(4), 3, SIX, r"4 numbers .* 3 labels"),
    "the first four": (lambda: zoo.FirstWeights(3), 4, ANY, r"3 numbers .* 4 labels"),
    "the first four of long texts": (lambda: zoo.FirstWeights(3), 4, FOUR, r"3 numbers .* 4 labels"),
    "the first six": (lambda: zoo.FirstWeightsOfMany(3), 6, ANY, r"3 numbers .* 6 labels"),
    "steps alone": (lambda: zoo.StepsAlone(4), 3, THREE, r"longer text \(answer\), .* 3 labels"),
    "of a width": (lambda: zoo.OfAWidth(4), 3, THREE, r'4 numbers .*answer\[1\].*only texts of.*tokens\)\[1\]"'),
    "of one text": (lambda: zoo.OfOneText(4), 3, THREE, r"gives 4 numbers .* 3 labels"),
}  # fmt: skip
# Each with the number of labels, the output that is taken, and what is left out.
LEFT_OUT: dict[str, tuple[Made, int, str, str]] = {
    "two heads": (lambda: zoo.TwoHeads(3, 5), 3, "[1]", "answer[0], 5 numbers"),
    "the other head": (lambda: zoo.TwoHeads(3, 5), 5, "[0]", "answer[1], 3 numbers"),
    "by name": (lambda: zoo.TwoHeadsByName(3, 5), 3, "['topic']", "answer['mood'], 5 numbers"),
    "in turn": (lambda: zoo.HeadsInTurn(3, 5), 3, "[1]", "answer[0], 5 numbers"),
    "in turn, the first": (lambda: zoo.HeadsInTurn(3, 5), 5, "[0]", "answer[1], 3 numbers"),
    "in TorchScript": (lambda: zoo.HeadBesideScript(3, 5), 3, "[1]", "answer[0], 5 numbers"),
    "a value": (lambda: zoo.ValueBeside(3, 5), 3, "[0]", "answer[1], 1 number "),
    "of each token": (lambda: zoo.EveryTokenBeside(3, 5), 3, "[0]", "answer[1], [4, 5, 5] for 4 texts"),
    "of two labels": (lambda: zoo.TwoHeads(1, 5), 2, "[1]", "answer[0], 5 numbers"),
    "in an object": (lambda: zoo.HeadInAnObject(3, 5), 3, "[0]", "answer[1].logits, 5 numbers"),
    "deep in a list": (lambda: zoo.HeadInAList(3, 5), 3, "['a']['b'][0]", "answer['a']['b'][1][0], 5 numbers"),
    "in a slot": (lambda: zoo.HeadInASlot(3, 5), 5, ".more", "answer.logits, 3 numbers"),
    "too deep": (lambda: zoo.HeadTooDeep(3, 3), 3, "[0]", "answer[1]" + 7 * "[0]" + " (list)"),
    "in a generator": (lambda: zoo.HeadInAGenerator(3, 3), 3, "['logits']", "answer['more'] (generator)"),
    "in a set": (lambda: zoo.HeadInASet(3, 3), 3, "[0]", "answer[1] (set)"),
    "in a function": (lambda: zoo.HeadInAFunction(3, 3), 3, "[0]", "answer[1] (function)"),
}
# Two heads of as many numbers, with where the second lies.
DEEPER: dict[str, tuple[type[zoo.Heads], str]] = {
    "in a list": (zoo.HeadInAList, "answer['a']['b'][1][0]"),
    "in an object": (zoo.HeadInAnObject, "answer[1].logits"),
    "in a circle": (zoo.HeadInACircle, "answer.all[1]['more']"),
    "in a slot": (zoo.HeadInASlot, "answer.more"),
    "on a tensor": (zoo.HeadOnATensor, "answer.more"),
    "in a deque": (zoo.HeadInADeque, "answer[1]"),
    "in a mapping": (zoo.HeadInAMapping, "answer[1]['more']"),
}
# Answers that code computes of what it keeps, with how each is read.
COMPUTED: dict[str, tuple[Any, str]] = {
    "property": (zoo.ByAProperty, ".logits"),
    "cached property": (zoo.ByACachedProperty, ".probs"),
    "method": (zoo.ByAMethod, ".logits()"),
    "descriptor": (zoo.ByADescriptor, ".total"),
    "getattr": (zoo.ByGetattr, ".calibrated"),
    "getattribute": (zoo.ByGetattribute, ".final"),
    "getitem": (zoo.ByGetitem, "['adjusted']"),
    "names it holds": (zoo.ByNamesItHolds, ".mood"),
    "missing": (zoo.ByMissing, "['fused']"),
    "named tuple": (zoo.ByATuple, ".logits"),
}
COMPUTED_UNSEEN: dict[str, tuple[Any, str]] = {
    "method": (zoo.ByAnUnknownMethod, "answer.combine() (computed when it is asked)"),
    "name": (zoo.ByAnUnknownName, "answer.<name> (computed when it is asked)"),
    "iteration": (zoo.ByIteration, "answer.__iter__() (computed when it is asked)"),
}
NOTHING_LEFT_OUT: dict[str, tuple[Made, int, str]] = {
    "state": (lambda: zoo.WithState(4), 4, "[0]"),
    "features": (lambda: zoo.WithFeatures(4), 4, "[0]"),
    "confidence": (lambda: zoo.WithConfidence(4), 4, "[0]"),
    "weights": (lambda: zoo.WithWeights(4), 4, "[0]"),
    "means of weights": (lambda: zoo.MeansOfWeights(4), 4, "[0]"),
    "of three steps": (lambda: zoo.OfThreeSteps(4), 4, "[0]"),
    "lengths": (lambda: zoo.WithLengths(4), 4, "[0]"),
    "one number of two": (lambda: zoo.Doubt(2), 2, "[0]"),
    "plain values": (lambda: zoo.NoFurtherHead(3, 3), 3, "['logits']"),
    "computed": (lambda: zoo.Computed(zoo.OfTheSame, 3), 3, ".scores"),
    "a distribution": (lambda: zoo.Distribution(3), 3, ".logits"),
}
OTHER: dict[str, tuple[Made, int, str]] = {
    "state": (lambda: zoo.StateOfThatSize(4, hidden=3), 3, r"gives 4 numbers .*answer\[1\].* state .*tokens\)\[1\]"),
    "state of a next letter": (lambda: zoo.EveryTokenBesideAState(7), 7, r"\[15, 40\] .*answer\[1\].* state "),
    "features": (lambda: zoo.FeaturesOfThatSize(5, 3), 3, r"5 numb.*'features'.*used to compute answer\['logits'\]"),
    "the best": (lambda: zoo.Best(5), 3, r"gives 5 numbers .*answer\[1\].* computed from answer\[0\]"),
    "doubt": (lambda: zoo.Doubt(5), 2, r"gives 5 numbers .*answer\[1\].* computed from answer\[0\]"),
    "the largest": (lambda: zoo.LargestWeights(4), 3, r"gives 4 numbers .*answer\[1\].* layer "),
    "of three steps": (lambda: zoo.OfThreeSteps(4), 3, r"gives 4 numbers .*answer\[1\].* layer "),
    "the lengths": (lambda: zoo.WithLengths(4), 2, r"gives 4 numbers .*answer\[1\].* without weights"),
    "the deviation": (lambda: zoo.MeanAndDeviation(5, 3), 3, r"5 numbers .*answer.*used to compute answer\[0\]"),
    "next letter of more": (zoo.NextLetterOfMore, zoo.WORDS + 10, r"50 numbers, one for each token id"),
    "next letter": (lambda: zoo.NextLetter(zoo.WORDS), zoo.WORDS, r"40 numbers, one .*--call \"module\(tokens\)\""),
    "next letter of all": (lambda: zoo.NextLetterOfAll(zoo.WORDS), zoo.WORDS, r"40 num.*--call \"module\(tokens\)\[0"),
    "next letter, tied": (lambda: zoo.NextLetterTied(zoo.WORDS), zoo.WORDS, r"40 numbers, one for each token id"),
    "a rating": (zoo.Rating, 2, r"from 2\.\d+ to 3\.\d+ .*--gives logits.* --call \"module\(tokens\) - 3\""),
    "a rating of four": (zoo.Rating, 4, r"1 number .* 4 labels.* rating"),
}  # fmt: skip


def prepared(made: Made, classes: int, widths: Widths | None = None, **options: Any) -> ExportableModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = made().eval()
    known = {"lengths": None, "ids": zoo.WORDS, "padding_id": 1, "multi_label": False}
    return prepare_module(module, classes=classes, widths=widths, **{**known, **options})


@pytest.mark.parametrize("name", mostly_slow(list(FOLLOWING), 19))
def test_numbers_that_follow_the_number_of_tokens_are_no_answer(name: str) -> None:
    made, classes, widths, said = FOLLOWING[name]
    with pytest.raises(ExportError, match=said) as refusal:
        prepared(made, classes, widths)
    assert "max_width" not in str(refusal.value)


@pytest.mark.parametrize("name", mostly_slow(list(LEFT_OUT), 16))
def test_an_answer_that_is_left_out_is_told_and_stands_in_the_bundle(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, classes, suffix, left = LEFT_OUT[name]
    found = prepared(made, classes).convention
    assert found.line == f"module(tokens){suffix}"
    assert left in found.provenance["left_out"]
    assert any(left in record.message for record in caplog.records if record.levelno == logging.WARNING)


@pytest.mark.parametrize("name", mostly_slow(DEEPER, 4))
def test_a_second_head_is_asked_about_wherever_it_lies(name: str) -> None:
    kind, place = DEEPER[name]
    with pytest.raises(ExportError, match="several heads") as refusal:
        prepared(lambda: kind(3, 3), 3)
    assert place in refusal.value.problem


@pytest.mark.parametrize("name", mostly_slow(COMPUTED, 10))
def test_an_answer_that_code_computes_is_asked_about_with_both_lines(name: str) -> None:
    kind, place = COMPUTED[name]
    with pytest.raises(ExportError) as refusal:
        prepared(lambda: zoo.Computed(kind, 3), 3)
    kept = {"missing": "['scores']", "named tuple": "[0]"}.get(name, ".scores")
    assert f'--call "module(tokens){kept}"' in refusal.value.remedy
    assert f'--call "module(tokens){place}"' in refusal.value.remedy
    if "logits" in place or "probs" in place:
        assert refusal.value.remedy.index(place) < refusal.value.remedy.index(kept)
    taken = [
        prepared(lambda: zoo.Computed(kind, 3), 3, call=f"module(tokens){part}").reference(torch.tensor([[5, 6, 7]]))
        for part in (place, kept)
    ]
    assert not torch.allclose(*taken)


@pytest.mark.parametrize("name", mostly_slow(COMPUTED_UNSEEN, 3))
def test_code_of_an_answer_that_is_not_called_is_told(name: str) -> None:
    kind, said = COMPUTED_UNSEEN[name]
    assert said in prepared(lambda: zoo.Computed(kind, 3), 3).convention.provenance["left_out"]


@pytest.mark.slow
def test_the_logits_of_a_distribution_are_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = zoo.Distribution(3).eval()
    export(module, tmp_path / "b", labels=["a", "b", "c"], vocabulary=VOCABULARY, torchscript=False)
    given = Classifier.load(tmp_path / "b").predict_proba(["w3 w4"])
    np.testing.assert_allclose(given, module(torch.tensor([[5, 6]])).probs.detach(), atol=1e-5)


@pytest.mark.parametrize("name", mostly_slow(list(NOTHING_LEFT_OUT), 11))
def test_what_belongs_to_the_answer_is_not_told(name: str) -> None:
    made, classes, suffix = NOTHING_LEFT_OUT[name]
    found = prepared(made, classes).convention
    assert found.line.removesuffix(suffix) in {"module(tokens)", "module(tokens, lengths)"}
    assert "left_out" not in found.provenance


@pytest.mark.parametrize("name", mostly_slow(list(OTHER), 15))
def test_numbers_that_are_rather_something_else_are_asked_about(name: str) -> None:
    made, classes, said = OTHER[name]
    with pytest.raises(ExportError, match=said):
        prepared(made, classes)


@pytest.mark.parametrize(
    ("made", "classes", "widths", "options"),
    mostly_slow(
        [
            (OTHER["next letter"][0], zoo.WORDS, ANY, {"call": "module(tokens)"}),
            (zoo.Rating, 2, ANY, {"call": "module(tokens) - 3", "gives": "logits"}),
            (zoo.Rating, 2, ANY, {"gives": "logits"}),
            (OTHER["state"][0], 3, ANY, {"call": "module(tokens)[1]"}),
            (OTHER["features"][0], 3, ANY, {"call": "module(tokens)['features']"}),
            (FOLLOWING["of a width"][0], 4, THREE, {}),
            (FOLLOWING["weights"][0], 4, THREE, {}),
            (FOLLOWING["steps alone"][0], 3, THREE, {"call": "module(tokens)[:, :3]"}),
            (FOLLOWING["of one text"][0], 4, ANY, {}),
        ],
        9,
        several=True,
    ),
)
def test_the_ways_out_lead_on(made: Made, classes: int, widths: Widths, options: dict[str, Any]) -> None:
    expected = options.get("call", "module(tokens)" if made is zoo.Rating else "module(tokens)[0]")
    assert prepared(made, classes, widths, **options).convention.line == expected


def test_a_line_that_ends_before_one_of_several_outputs_is_refused_with_its_end() -> None:
    for call in ("module(tokens)", "module(tokens + 0)"):
        with pytest.raises(ExportError, match=r"answer\['logits'\].*\b4\b.*\['logits'\]"):
            prepared(lambda: zoo.WeightsByName(4), 4, call=call)


class Stars(zoo.Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.steps(x)[:, -1])  # type: ignore[no-any-return]


@pytest.mark.slow
def test_one_number_of_a_file_that_trains_values_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stars.py"
    monkeypatch.setattr(zoo, "__file__", str(file))
    monkeypatch.setattr(Stars, "__module__", zoo.__name__)
    file.write_text("loss = nn.MSELoss()")
    with pytest.raises(ExportError, match=r"MSELoss.*--gives logits.* - 3"):
        prepared(lambda: Stars(1), 2)
    with pytest.raises(ExportError, match=r"gives 3 numbers .*MSELoss.*--gives logits"):
        prepared(lambda: Stars(3), 3)
    assert prepared(lambda: Stars(1), 2, call="module(tokens) - 3").convention.units == 1
    file.write_text("losses = nn.MSELoss(), nn.BCEWithLogitsLoss()")
    assert prepared(lambda: Stars(1), 2).convention.units == 1


def test_one_number_below_0_is_asked_about_in_words_of_a_sigmoid() -> None:
    with pytest.raises(ExportError, match=r"one number .*BCEWithLogitsLoss.*torch\.logit") as refusal:
        prepared(convention_modules.LogOfASigmoid, 2)
    assert "softmax" not in str(refusal.value)


class LargestStates(zoo.Base):
    """A maximum over the steps is above 0, and its layer gives one sign."""

    def __init__(self, classes: int, sign: float) -> None:
        super().__init__(classes)
        with torch.no_grad():
            self.fc.weight.copy_(sign * 3 * self.fc.weight.abs())

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.steps(x).max(1).values)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("classes", "sign"), mostly_slow([(1, -1.0), (4, -1.0), (1, 0.3)], 3, several=True))
def test_the_sign_of_the_last_layer_below_a_maximum_is_not_asked_about(classes: int, sign: float) -> None:
    found = prepared(lambda: LargestStates(classes, sign), max(2, classes)).convention
    assert found.gives.startswith("logits: numbers")


def test_one_label_is_refused_with_what_a_value_becomes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'only one.*--call "module\(tokens\) - 3"'):
        export(zoo.Rating().eval(), tmp_path / "b", labels=["stars"], vocabulary=VOCABULARY)


@pytest.mark.slow
def test_rules_that_make_the_weights_as_many_as_the_labels_write_no_bundle(tmp_path: Path) -> None:
    rules = TextRules("whitespace", unknown_id=0, padding_id=1, min_width=3, max_width=3, pad_side="right")
    module, path = zoo.WithWeights(4).eval(), tmp_path / "b"
    with pytest.raises(ExportError, match=r"gives 4 numbers .* 3 labels"):
        export(module, path, labels=["a", "b", "c"], vocabulary=VOCABULARY, rules=rules)
    assert not path.exists()
    export(module, path, labels=["a", "b", "c", "d"], vocabulary=VOCABULARY, rules=rules, torchscript=False)
    with torch.no_grad():
        own = module(torch.tensor([[4, 2, 9]]))[0]
    np.testing.assert_allclose(Classifier.load(path).logits(["w2 w0 w7"]), own.numpy(), atol=1e-5)


class OfSamples(nn.Module):
    """A score for each step beside the answer, and a second head."""

    def __init__(self, outputs: int, other: int = 0) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.rnn, self.score = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 1)
        self.fc, self.other = nn.Linear(6, outputs), nn.Linear(6, other) if other else None

    def forward(self, x: Tensor) -> Any:
        steps = self.rnn(x)[0]
        return self.score(steps) if self.other is None else self.other(steps[:, -1]), self.fc(steps[:, -1])


@pytest.mark.parametrize("named", mostly_slow([{"labels": list("abcdef")}, {"values": list("abcdef")}], 2))
def test_numbers_that_follow_the_steps_of_a_sequence_are_no_answer(named: dict[str, Any], tmp_path: Path) -> None:
    said = rf"4 numbers .* 6 {next(iter(named))} \(answer\[1\]; answer\[0\] .* sequence\)"
    with pytest.raises(ExportError, match=said):
        export(OfSamples(4).eval(), tmp_path / "b", channels=3, steps=6, **named)


@pytest.mark.slow
def test_a_second_head_of_sequences_is_told_in_their_words(tmp_path: Path) -> None:
    manifest = export(OfSamples(3, other=5).eval(), tmp_path / "b", channels=3, steps=6, labels=list("abc"))
    assert "answer[0], 5 numbers for each sequence" in manifest.provenance["left_out"]


class OfAToyVocabulary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru, self.fc = nn.Embedding(5, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(4, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        numbers: Tensor = self.fc(self.gru(self.embedding(tokens))[1][-1])
        return numbers


@pytest.mark.slow
def test_as_many_labels_as_words_are_labels_unless_they_are_the_words(tmp_path: Path) -> None:
    words = ["<unk>", "<pad>", "oil", "film", "good"]
    with pytest.raises(ExportError, match=r"next token.*--call"):
        export(OfAToyVocabulary(), tmp_path / "b", labels=words, vocabulary=words, torchscript=False)
    labels = ["World", "Sports", "Business", "Science", "good"]
    manifest = export(OfAToyVocabulary(), tmp_path / "b", labels=labels, vocabulary=words, torchscript=False)
    assert manifest.labels == tuple(labels)
