"""Modules that label each token: how they are called, that every real step is proven, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tag_modules as zoo
import torch
from click.testing import CliRunner
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier, LabelOutput, NumberInput, TagOutput, TextInput, verify
from pocketrnn.bundle.crf import Crf
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError, ParityError, PocketRNNError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.bundle_proof import ProofPlan
from pocketrnn_export.bundle_writer import write_bundle
from pocketrnn_export.comparing.answer_rows_without_padding import (
    drop_padding_rows_of_answer,
    split_answer_rows_by_text,
)
from pocketrnn_export.comparing.logit_comparison import are_rows_independent, measure_difference
from pocketrnn_export.comparing.module_and_graph_as_functions import make_module_run
from pocketrnn_export.comparing.proof_inputs import Case
from pocketrnn_export.compression import compress
from pocketrnn_export.forms.onnx.onnx_form import ONNX
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.mobile_profile import write_mobile_bundle
from pocketrnn_export.module_runs.quiet_cpu_run import set_eval_mode
from pocketrnn_export.packing import pack, read_packable_manifest
from pocketrnn_export.proof.case_selection import choose_cases_for_text_rules

pytestmark = pytest.mark.usefixtures("scant_proofs")

VOCABULARY = ["<pad>", "<unk>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TEXT = "W3 w7, w38 \N{GRINNING FACE} w3"


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def prepared(kind: type[nn.Module], classes: int = zoo.CLASSES, **options: Any) -> ExportableModule:
    return prepare_module(
        made(kind), lengths=None, ids=zoo.WORDS, padding_id=0, classes=classes, multi_label=False, of_tokens=True,
        **options,
    )  # fmt: skip


def exported(kind: type[nn.Module], path: Path, **options: Any) -> Classifier:
    given = {"labels": LABELS, "vocabulary": VOCABULARY, "torchscript": False, **options}
    export(made(kind), path, labels_of="tokens", progress=False, **given)
    return Classifier.load(path)


FOUND = {
    zoo.Plain: "module(tokens)",
    zoo.Packed: "module(tokens, lengths)",
    zoo.PackedSorted: "module(tokens, lengths).reshape(tokens.size(0), -1, 5)",
    zoo.Masked: "module(tokens, torch.arange(tokens.size(1)) < lengths[:, None])",
    zoo.CountsItself: "module(tokens)",
    zoo.TimeFirst: "module(tokens.t()).transpose(0, 1)",
    zoo.Flat: "module(tokens).reshape(tokens.size(0), -1, 5)",
    zoo.FlatTimeFirst: "module(tokens.t()).reshape(tokens.size(1), -1, 5).transpose(0, 1)",
    zoo.ClassesFirst: "module(tokens).transpose(-1, -2)",
    zoo.BesideAnIntent: "module(tokens)[1]",
    zoo.InATuple: "module((tokens, torch.arange(tokens.size(1)) < lengths[:, None]), labels=None)[0]",
    zoo.Decodes: "module.emissions(tokens)",
}


@pytest.mark.parametrize("kind", mostly_slow(FOUND, 12))
def test_how_a_tagger_is_called_and_how_its_axes_stand_is_found_out(kind: type[nn.Module]) -> None:
    assert prepared(kind).convention.line == FOUND[kind]


def test_a_softmax_over_the_tokens_gives_logits() -> None:
    found = prepared(zoo.AlongTheText).convention
    assert found.gives.startswith("logits")
    assert "tokens" in found.gives


def test_a_module_whose_train_is_its_own_is_brought_to_eval_mode() -> None:
    module = made(zoo.Plain)
    module.__class__ = zoo.TrainsItself
    with pytest.raises(ZeroDivisionError):
        module.eval()
    module.training = module.rnn.training = True
    assert not any(layer.training for layer in set_eval_mode(module).modules())
    found = prepare_module(
        module, lengths=None, ids=zoo.WORDS, padding_id=0, classes=5, multi_label=False, of_tokens=True
    ).convention
    assert found.line == "module(tokens)"


def test_one_number_a_token_is_that_of_the_second_of_two_labels() -> None:
    found = prepared(zoo.OneNumber, classes=2).convention
    assert (found.line, found.units, found.activation is not None) == ("module(tokens)", 1, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    mostly_slow(
        [zoo.Packed, zoo.Plain, zoo.TimeFirst, zoo.OneSentence, zoo.FlatTimeFirst, zoo.Masked, zoo.ClassesFirst],
        every=3,
    ),
)
def test_the_bundle_gives_the_labels_and_probabilities_of_the_module(kind: type[nn.Module], tmp_path: Path) -> None:
    tagger, module = exported(kind, tmp_path / "tagger"), made(kind)
    texts = [TEXT, "w5", " ".join(VOCABULARY[2:]), "w9 " * 30]
    for text, tags in zip(texts, tagger.predict_tags(texts), strict=True):
        ids = torch.tensor([tagger.encode(text)])
        given = called(module, ids)
        assert [tag.label for tag in tags] == [LABELS[i] for i in given.argmax(-1).tolist()]
        np.testing.assert_allclose([tag.probability for tag in tags], given.amax(-1).numpy(), atol=1e-5)
    verify(tmp_path / "tagger")


def called(module: nn.Module, ids: Tensor) -> Tensor:
    """The probabilities [sequence, labels] of a text, from the module as its owner calls it."""
    with torch.no_grad():
        match module:
            case zoo.Masked():
                answer = module(ids, torch.ones_like(ids))[0]
            case zoo.Packed():
                answer = module(ids, torch.tensor([ids.shape[1]]))[0]
            case zoo.OneSentence():
                answer = module(ids[0])
            case zoo.ClassesFirst():
                return module(ids)[0].t()
            case zoo.TimeFirst():
                answer = module(ids.t()).reshape(-1, zoo.CLASSES)
            case _:
                answer = module(ids)[0]
    return answer.softmax(-1)


@pytest.mark.slow
def test_a_module_that_counts_its_tokens_leaves_the_last_unanswered(tmp_path: Path) -> None:
    tagger = exported(zoo.CountsItself, tmp_path / "tagger", rules=TextRules("whitespace", unknown_id=0))
    tags = tagger.tag("w3 new w7 new york")
    # It counts two, and reads the first two.
    assert made(zoo.CountsItself)(torch.tensor([tagger.encode(tags.text)])).shape == (1, 2, zoo.CLASSES)
    assert [tag.token for tag in tags] == ["w3", "new"]
    assert [token for token, _, _ in tags.untagged] == ["w7", "new", "york"]
    assert [list(each) for each in tagger.predict_tags(["w3 new", "w3 w4"])] == [
        list(tagger.tag("w3 new")), list(tagger.tag("w3 w4"))
    ]  # fmt: skip


@pytest.mark.slow
def test_padding_that_reaches_the_labels_keeps_texts_of_other_lengths_apart(tmp_path: Path) -> None:
    tagger = exported(zoo.MaximumOfTheBatch, tmp_path / "tagger")
    assert not tagger.manifest.graph.padding
    texts = ["w3 " * n for n in range(1, 9)]
    assert [[t.label for t in tags] for tags in tagger.predict_tags(texts)] == [
        [t.label for t in tagger.tag(text)] for text in texts
    ]


REFUSED: dict[type[nn.Module], str] = {
    zoo.OfTexts: r"\[3, 5\].*without --labels-of",
    zoo.EachByItself: "labels each token by itself",
    zoo.WithCharacters: r"characters of each word.*\(chars\)",
    zoo.ManyIds: "bound and flag and radical and pinyin",
    zoo.OfOtherLabels: r"\[3, 5, 7\].*5 labels.*\(7\)",
    zoo.LooksAtItsNeighbours: "beside other texts",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_what_labels_no_tokens_is_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError, match=REFUSED[kind]):
        prepared(kind)


def test_a_module_that_tells_the_next_token_is_no_tagger() -> None:
    with pytest.raises(ExportError, match="next token"):
        prepared(zoo.TellsTheNext, classes=zoo.WORDS)


@pytest.mark.slow
def test_the_way_out_of_each_refusal_works() -> None:
    with pytest.raises(ExportError, match=r'--call "module\(tokens\)"'):
        prepared(zoo.EachByItself)
    found = prepared(zoo.EachByItself, call="module(tokens)").convention
    assert (found.line, "by itself" in " ".join(found.notes)) == ("module(tokens)", True)
    given: dict[str, Any] = {"lengths": None, "ids": zoo.WORDS, "padding_id": 0, "classes": 5, "multi_label": False}
    assert prepare_module(made(zoo.OfTexts), **given).convention.line == "module(tokens)"
    with pytest.raises(ExportError, match=r"--labels-of tokens.*labels_of='tokens'"):
        prepare_module(made(zoo.Plain), **given)
    assert prepare_module(made(zoo.Plain), **given, of_tokens=True).convention.of_tokens


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"labels_of": "words"}, "'words'"),
        ({"multi_label": True}, "multi_label"),
        ({"thresholds": [0.5] * 5}, "thresholds"),
        ({"streaming": True}, "streaming"),
        ({"edge": True}, "edge"),
        ({"rules": TextRules(ngrams=2)}, "ngrams"),
        ({"example_ids": [("w3", [5], "O")]}, "example_ids"),
    ],
)
def test_what_has_no_meaning_for_labels_of_tokens_is_refused(
    options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=named):
        export(
            made(zoo.Plain), tmp_path / "tagger", labels=LABELS, vocabulary=VOCABULARY,
            **{"labels_of": "tokens", **options},
        )  # fmt: skip


@pytest.mark.slow
def test_input_and_output_may_be_given_as_they_are(tmp_path: Path) -> None:
    given = TextInput(TextRules("whitespace"), tuple(VOCABULARY))
    output = TagOutput(tuple(LABELS), Crf((0.5,) * 5, (0.0,) * 5, ((0.0,) * 5,) * 5, over_tokens=True))
    manifest = export(made(zoo.Plain), tmp_path / "tagger", input=given, output=output, torchscript=False)
    assert manifest.output == output
    with pytest.raises(InputError, match="labels_of"):
        export(made(zoo.Plain), tmp_path / "a", input=given, output=LabelOutput(("a", "b")), labels_of="tokens")
    with pytest.raises(InputError, match="labels_of"):
        export(made(zoo.Plain), tmp_path / "b", input=NumberInput(("x",)), output=output)


@pytest.mark.slow
def test_other_forms_of_a_tagger_are_made_or_refused_by_name(tmp_path: Path) -> None:
    exported(zoo.Plain, tmp_path / "tagger", torchscript=True)
    assert write_mobile_bundle(tmp_path / "tagger", tmp_path / "mobile").output.of_tokens
    texts = ["w3 w4", TEXT]
    assert (
        Classifier.load(tmp_path / "mobile").predict_tags(texts)[1].spans
        == Classifier.load(tmp_path / "tagger").predict_tags(texts)[1].spans
    )
    with pytest.raises(InputError, match="float32"):
        read_packable_manifest(tmp_path / "tagger", "int8")
    with pytest.raises(InputError, match="--streaming"):
        pack(tmp_path / "tagger", tmp_path / "streams.prnn", streaming=True, progress=False)
    with pytest.raises(InputError, match="each token"):
        compress(tmp_path / "tagger", tmp_path / "small")


class TestTheComparison:
    """A wrong step is seen wherever it is, and padding is not looked at."""

    LENGTHS = np.array([3, 1])

    def test_the_rows_of_an_answer_are_those_of_the_texts_own_tokens(self) -> None:
        answer = np.arange(12.0).reshape(2, 3, 2)
        rows = drop_padding_rows_of_answer(answer, self.LENGTHS)
        assert rows.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
        assert [part.tolist() for part in split_answer_rows_by_text(rows, self.LENGTHS)] == [
            rows[:3].tolist(),
            rows[3:].tolist(),
        ]
        assert drop_padding_rows_of_answer(answer[:, 0], self.LENGTHS).tolist() == answer[:, 0].tolist()
        assert [len(part) for part in split_answer_rows_by_text(answer[:, 0], self.LENGTHS)] == [1, 1]
        with pytest.raises(ValueError, match="3 rows"):
            split_answer_rows_by_text(rows[:3], self.LENGTHS)

    def test_tokens_without_an_answer_are_so_in_both(self) -> None:
        cut = drop_padding_rows_of_answer(np.ones((2, 2, 2)), self.LENGTHS)
        assert np.isnan(cut).all(1).tolist() == [False, False, True, False]
        assert measure_difference("", "", cut, cut).largest == 0
        assert measure_difference("", "", cut, np.ones((4, 2))).largest == float("inf")

    @pytest.mark.parametrize(("row", "step", "seen"), [(0, 2, True), (1, 0, True), (1, 1, False), (1, 2, False)])
    def test_one_wrong_step_is_a_difference(self, row: int, step: int, seen: bool) -> None:
        given = np.zeros((2, 3, 2), np.float32)
        given[row, step, 1] = 1.0
        found = measure_difference(
            "",
            "",
            drop_padding_rows_of_answer(np.zeros((2, 3, 2), np.float32), self.LENGTHS),
            drop_padding_rows_of_answer(given, self.LENGTHS),
        )
        assert (found.largest > 0, found.labels_differing) == (seen, int(seen))

    @pytest.mark.parametrize("wrong", [0, 1])
    def test_a_text_that_is_answered_otherwise_beside_others_is_seen(self, wrong: int) -> None:
        case = Case("two", np.array([[3, 4, 5], [6, 0, 0]]), self.LENGTHS)

        def run(tokens: Any, lengths: Any) -> Any:
            answer = np.repeat(tokens[:, :, None].astype(np.float32), 2, axis=2)
            if len(tokens) > 1 and wrong:
                answer[-1, 0] += 1
            return drop_padding_rows_of_answer(answer, lengths)

        assert are_rows_independent(run, [case]) == (not wrong)

    @pytest.mark.slow
    def test_a_graph_that_differs_in_one_step_of_longer_texts_is_not_written(self, tmp_path: Path) -> None:
        rules = TextRules(unknown_id=1)
        description = Description("t", TextInput(rules, tuple(VOCABULARY)), TagOutput(tuple(LABELS)), {})
        module, other = prepared(zoo.Plain), prepared(zoo.OtherNinth)
        plan = ProofPlan.from_module(
            module, choose_cases_for_text_rules(rules, ids=zoo.WORDS, ragged=False), texts=["w3"]
        )
        for kind in (module, other):
            forms = [ONNX.make(kind, description, ())]
            if kind is module:
                write_bundle(tmp_path / "t", description, forms, plan)
                continue
            with pytest.raises(ParityError):
                write_bundle(tmp_path / "u", description, forms, plan)

    def test_runs_of_a_module_have_the_rows_of_their_texts_in_order(self) -> None:
        run = make_module_run(made(zoo.Packed), takes_lengths=True)
        tokens = np.array([[5, 0, 0], [3, 4, 5]])
        together = run(tokens, np.array([1, 3]))
        np.testing.assert_allclose(together[:1], run(tokens[:1, :1], np.array([1])), atol=1e-6)
        np.testing.assert_allclose(together[1:], run(tokens[1:], np.array([3])), atol=1e-6)


SOURCE = """
import torch
from torch import nn

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 6)
        self.lstm = nn.LSTM(6, 4, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.fc(self.lstm(self.embedding(tokens))[0])
"""


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, arguments)
    assert not done.exception or isinstance(done.exception, (SystemExit, PocketRNNError))
    return done.exit_code, done.output


@pytest.mark.slow
def test_the_command_exports_a_tagger_and_refuses_what_none_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tagger.py").write_text(SOURCE)
    Path("words.txt").write_text("<pad>\n<unk>\nada\nin\nberlin\n")
    given = ["export", "tagger.py:Tagger", "--random-weights", "--vocabulary", "words.txt", "--labels", "O,B-PER,B-LOC"]
    code, said = command(*given, "-o", "people")
    assert (code, "--labels-of tokens" in said) == (1, True)
    for option in (["--compress"], ["--streaming"], ["--profile", "edge"]):
        code, said = command(*given, "--labels-of", "tokens", *option, "-o", "people")
        assert (code, " ".join(option) in said) == (2, True)
    code, said = command(*given, "--labels-of", "tokens", "--profile", "packed", "-o", "people.prnn")
    assert (code, "3 labels of tokens" in said) == (0, True), said
    assert command("classify", "-b", "people.prnn", "--conll", "Ada in Berlin")[1].count("\t") == 3
    code, said = command(*given, "--labels-of", "tokens", "--no-torchscript", "-o", "people")
    assert (code, "3 labels of tokens" in said) == (0, True), said
    assert command("classify", "-b", "people", "--conll", "Ada in Berlin")[1].count("\t") == 3
