"""Modules of two texts: how they are called, that both sides are proven, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pair_modules as zoo
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from slow_case_sampling import mostly_slow
from torch import Tensor, nn

from pocketrnn import Classifier, PairInput, verify
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError
from pocketrnn.text import TextRules
from pocketrnn.text.pairs import make_pair_inputs
from pocketrnn_export import export
from pocketrnn_export.comparing import proof_inputs as cases
from pocketrnn_export.comparing.logit_comparison import are_rows_independent
from pocketrnn_export.comparing.proof_inputs import (
    Case,
    cut_rows_into_text_pairs,
    make_cases_for_grid_of_shapes,
    make_cases_for_module_of_two_texts,
    put_real_token_in_padding_rows,
)
from pocketrnn_export.compression import compress
from pocketrnn_export.intake.call_discovery.character_pair_and_feature_inputs import list_pair_lines
from pocketrnn_export.intake.character_pair_and_feature_calls import PairCall, split_pairs
from pocketrnn_export.intake.compiled_call_line import compile_call
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.mobile_profile import write_mobile_bundle
from pocketrnn_export.packing import pack, read_packable_manifest
from pocketrnn_export.standalone_text_rules_file import pack_text_rules
from pocketrnn_export.tracing.python_semantics.user_files_and_globals import find_users_globals

pytestmark = pytest.mark.usefixtures("scant_proofs")

VOCABULARY = ["<pad>", "<unk>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
LABELS = ["entails", "neither", "contradicts"]


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def prepared(kind: type[nn.Module], **options: Any) -> ExportableModule:
    given = {"lengths": None, "ids": zoo.WORDS, "padding_id": 0, "classes": zoo.CLASSES, **options}
    return prepare_module(made(kind), multi_label=False, two_texts=True, **given)


def exported(kind: type[nn.Module], path: Path, **options: Any) -> Classifier:
    given = {"labels": LABELS, "vocabulary": VOCABULARY, "two_texts": True, **options}
    export(made(kind), path, progress=False, **given)
    return Classifier.load(path)


FOUND = {
    zoo.Siamese: "module(first, second)",
    zoo.InTime: "module(first.t(), second.t())",
    zoo.InOneTuple: "module((first, second))",
    zoo.Packed: "module(first, first_lengths, second, second_lengths)",
    zoo.PackedBehind: "module(first, second, first_lengths, second_lengths)",
    zoo.OfPairs: "module((first.t(), first_lengths), (second.t(), second_lengths))",
    zoo.Attending: "module(first, second)",
}


# The inputs that are given the first and the second text, which a caller must know.
NAMES = {
    zoo.Siamese: ("premise", "hypothesis"),
    zoo.InTime: ("premise", "hypothesis"),
    zoo.InOneTuple: ("a", "b"),  # forward unpacks the tuple into them
    zoo.Packed: ("q1", "q2"),
    zoo.PackedBehind: ("a", "b"),
    zoo.OfPairs: ("s1", "s2"),
}


@pytest.mark.parametrize(("kind", "line"), mostly_slow(list(FOUND.items()), 7, several=True))
def test_how_two_texts_are_given_is_found_out(kind: type[nn.Module], line: str) -> None:
    found = prepared(kind)
    assert found.convention.line == line
    assert found.convention.pair == NAMES.get(kind)
    assert found.takes_lengths is found.padding is ("lengths" in line)


# The calls that the owners write.
CALLS = {
    zoo.Siamese: lambda m, a, b, _la, _lb: m(a, b),
    zoo.InTime: lambda m, a, b, _la, _lb: m(a.t(), b.t()),
    zoo.InOneTuple: lambda m, a, b, _la, _lb: m((a, b)),
    zoo.Packed: lambda m, a, b, la, lb: m(a, la, b, lb),
    zoo.PackedBehind: lambda m, a, b, la, lb: m(a, b, la, lb),
    zoo.OfPairs: lambda m, a, b, la, lb: m((a.t(), la), (b.t(), lb)),
    zoo.Attending: lambda m, a, b, _la, _lb: m(a, b),
    zoo.PaddedToLonger: lambda m, a, b, _la, _lb: m(a, b),
    zoo.Joined: lambda m, a, b, _la, _lb: m(a, b),
    zoo.RowByRow: lambda m, a, b, la, lb: m(a, la, b, lb),
}
SIZES = [(1, 1), (1, 30), (30, 1), (3, 9), (3, 9), (17, 2), (9, 3), (5, 5), (3, 9)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(list(CALLS), 7))
def test_a_bundle_answers_pairs_as_their_owners_module_does(tmp_path: Path, kind: type[nn.Module]) -> None:
    classifier, module = exported(kind, tmp_path / "nli"), made(kind)
    generator = np.random.default_rng(0)
    pairs = [tuple(generator.integers(0, zoo.WORDS, size).tolist() for size in sizes) for sizes in SIZES]
    expected = []
    for first, second in pairs:
        a, b = torch.tensor([first]), torch.tensor([second])
        with torch.no_grad():
            lengths = torch.tensor([len(first)]), torch.tensor([len(second)])
            expected.append(CALLS[kind](module, a, b, *lengths)[0].numpy())
    alone = np.concatenate([classifier.logits([pair]) for pair in pairs])
    assert np.abs(alone - expected).max() < 1e-5
    assert np.abs(classifier.logits(pairs) - expected).max() < 1e-5
    assert verify(tmp_path / "nli").replays[0].examples > 2
    assert (classifier.manifest.graph.batch == 1) is (kind is zoo.RowByRow)
    if kind is zoo.PaddedToLonger:
        with pytest.raises(ExportError, match="node_pad"):
            pack(tmp_path / "nli", tmp_path / "nli.prnn")
        return
    made_of = pack(tmp_path / "nli", tmp_path / "nli.prnn")
    assert {("packed", "pairs"), ("packed, in place", "pairs")} <= {
        (line.candidate, line.inputs) for line in made_of.parity.comparisons
    }
    assert np.abs(Classifier.load(tmp_path / "nli.prnn").logits(pairs) - expected).max() < 1e-5


@pytest.mark.slow
def test_lengths_stay_arrays_where_pairs_are_answered_one_at_a_time(tmp_path: Path) -> None:
    classifier, module = exported(zoo.SortedByNumpy, tmp_path / "nli"), made(zoo.SortedByNumpy)
    assert classifier.manifest.graph.batch == 1
    assert "second_lengths.numpy()" in classifier.manifest.provenance["call"]
    pairs = [([3, 4, 9], [5]), ([6], [7, 8, 9]), ([3, 4], [9, 2])]
    with torch.no_grad():
        expected = [
            module(torch.tensor([a]), np.array([len(a)]), torch.tensor([b]), np.array([len(b)]))[0].numpy()
            for a, b in pairs
        ]
    assert np.abs(classifier.logits(pairs) - expected).max() < 1e-5


@pytest.mark.slow
def test_a_module_that_mixes_pairs_is_exported_for_one_at_a_time_where_its_owner_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="beside other texts") as refused:
        exported(zoo.OverTheBatch, tmp_path / "nli")
    assert "one_text=True" in refused.value.remedy
    classifier, module = exported(zoo.OverTheBatch, tmp_path / "nli", one_text=True), made(zoo.OverTheBatch)
    assert (classifier.manifest.graph.batch, classifier.manifest.graph.inputs) == (1, ("tokens", "second_tokens"))
    pairs = [([3, 4], [5]), ([6], [7, 8, 9]), ([3, 4], [9])]
    with torch.no_grad():
        expected = [module(torch.tensor([first]), torch.tensor([second]))[0].numpy() for first, second in pairs]
    assert np.abs(classifier.logits(pairs) - expected).max() < 1e-5


class CountsPairs(zoo.Siamese):
    """Sums the ids of one text, times those of the other."""

    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        product = premise.sum(1) * hypothesis.sum(1)
        return super().forward(premise, hypothesis) + (product % 7)[:, None]


@pytest.mark.slow
def test_whole_numbers_beyond_the_engines_are_refused_where_no_limit_can_be_stated(tmp_path: Path) -> None:
    exported(CountsPairs, tmp_path / "nli")
    with pytest.raises(ExportError, match="32 bits"):
        pack(tmp_path / "nli", tmp_path / "nli.prnn")
    assert not (tmp_path / "nli.prnn").exists()


@pytest.mark.slow
def test_torchscript_of_two_texts_is_exported(tmp_path: Path) -> None:
    script = torch.jit.script(made(zoo.Scripted))
    export(script, tmp_path / "nli", labels=LABELS, vocabulary=VOCABULARY, two_texts=True, progress=False)
    classifier = Classifier.load(tmp_path / "nli")
    first, second = [3, 4, 5, 6], [7]
    with torch.no_grad():
        expected = script(torch.tensor([first]), torch.tensor([second])).numpy()
    assert np.abs(classifier.logits([(first, second)]) - expected).max() < 1e-5


@pytest.mark.slow
def test_golden_examples_are_the_pairs_that_were_given(tmp_path: Path) -> None:
    pairs = [("w1 w2 w3", "w4"), ("W5", "w6 w7, unknown")]
    classifier = exported(zoo.Siamese, tmp_path / "nli", example_texts=pairs)
    assert [example.text for example in classifier.manifest.golden_texts][:2] == pairs
    assert classifier.manifest.provenance["call"] == "module(first, second)"
    assert classifier.manifest.provenance["pair"] == "premise, hypothesis"
    kinds = {line.inputs for line in classifier.manifest.parity.comparisons}
    assert {"pairs", "every id", "texts"} <= kinds
    assert classifier.encode(pairs[1]) == [7, -1, 8, 9, 1, 1]
    private = exported(zoo.Siamese, tmp_path / "private", example_texts=pairs, examples=False)
    assert not {example.text for example in private.manifest.golden_texts} & set(pairs)


@pytest.mark.slow
def test_a_call_by_a_line_or_a_function_and_an_input_in_full(tmp_path: Path) -> None:
    line = "module(second, first)"
    by_line = exported(zoo.Siamese, tmp_path / "line", call=line)

    def exchanged(module: nn.Module, first: Tensor, second: Tensor, _first_lengths: Any, _second_lengths: Any) -> Any:
        return module(second, first)

    by_function = exported(zoo.Siamese, tmp_path / "function", call=exchanged)
    assert by_function.manifest.graph.inputs == by_line.manifest.graph.inputs == ("tokens", "second_tokens")
    stated = PairInput(TextRules(unknown_id=1, padding_id=0), tuple(VOCABULARY))
    export(made(zoo.Siamese), tmp_path / "full", input=stated, output=by_line.manifest.output, progress=False)
    pair = ("w1 w2", "w3")
    logits = [one.logits([one_pair]) for one, one_pair in
              ((by_line, pair), (by_function, pair), (Classifier.load(tmp_path / "full"), pair[::-1]))]  # fmt: skip
    assert np.allclose(logits[0], logits[1], atol=1e-6)
    assert np.allclose(logits[0], logits[2], atol=1e-6)


REFUSED = {
    zoo.AsksForLength: "second",
    zoo.OfOneLength: r"tokens|The size of tensor a",
    zoo.LooksBeside: "second",
    zoo.Deviation: "one token",
    zoo.Windows: "tokens >= 3|tokens - 2 > 0",
    zoo.WithPositions: f"tokens <= {zoo.WORDS}",
    zoo.WithMasks: "a_mask",
    zoo.OfThree: "first_lengths",
}


@pytest.mark.parametrize(("kind", "said"), mostly_slow(list(REFUSED.items()), 8, first=2, several=True))
def test_what_cannot_be_followed_is_refused(tmp_path: Path, kind: type[nn.Module], said: str) -> None:
    with pytest.raises(ExportError, match=said):
        exported(kind, tmp_path / "nli")
    assert not (tmp_path / "nli").exists()


@pytest.mark.slow
def test_masks_are_given_by_the_line_that_the_refusal_proposes(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="a_mask") as refused:
        exported(zoo.WithMasks, tmp_path / "nli")
    (line,) = re.findall('--call "(.*?)"', str(refused.value))
    assert line.count("< first_lengths") == 1
    assert exported(zoo.WithMasks, tmp_path / "nli", call=line).manifest.graph.inputs[2:] == (
        "lengths", "second_lengths"
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", [zoo.Packed, zoo.PackedBehind])
def test_both_texts_of_a_pair_are_cut_to_the_width_of_the_rules(kind: type[nn.Module], tmp_path: Path) -> None:
    rules = TextRules(tokenizer="whitespace", max_width=6)
    classifier = exported(kind, tmp_path / "nli", rules=rules)
    long, short = " ".join(VOCABULARY[2:12]), VOCABULARY[3]
    answers = classifier.logits([(long, long), (" ".join(VOCABULARY[2:8]),) * 2, (long, short), (short, long)])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)
    assert abs(answers[2] - answers[3]).max() > 1e-3


def test_len_of_a_text_in_a_line_is_its_size_in_a_trace() -> None:
    module = prepared(zoo.InTime, call="module(first.t() + 0 * torch.arange(len(first)), second.t())").module
    line = compile_call("module(first, len(first))")
    assert isinstance(line, PairCall)
    named = [names["call"].__code__.co_varnames for names in find_users_globals(module) if "call" in names]
    assert line.wrapped.__code__.co_varnames in named


@pytest.mark.slow
def test_a_question_about_the_second_text_names_its_line() -> None:
    from pocketrnn_export.forms.onnx.onnx_form import make_onnx_form

    with pytest.raises(ExportError, match=r"pair_modules\.py.*second > 20"):
        make_onnx_form(prepared(zoo.AsksForLength), {}, ids=zoo.WORDS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"streaming": True}, "streaming"),
        ({"edge": True}, "edge"),
        ({"torchscript": True}, "torchscript"),
        ({"labels_of": "tokens"}, "labels_of"),
        ({"rules": TextRules(unknown_id=1, padding_id=0, min_width=9)}, "min_width"),
        ({"tokenizer": "external"}, "external"),
        ({"example_ids": [("w1", [3], LABELS[0])]}, "example_ids"),
        ({"example_texts": ["w1"]}, "'w1'"),
        ({"call": "module(tokens, tokens)"}, "second"),
    ],
)
def test_what_two_texts_do_not_have_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        exported(zoo.Siamese, tmp_path / "nli", **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [zoo.Siamese, zoo.Packed])
def test_who_does_not_say_that_there_are_two_texts_is_told(tmp_path: Path, kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError, match="--two-texts"):
        exported(kind, tmp_path / "nli", two_texts=False)


def test_a_call_that_names_two_texts_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two_texts=True"):
        exported(zoo.Siamese, tmp_path / "nli", call="module(first, second)", two_texts=False)


@pytest.mark.slow
def test_the_other_forms_of_a_bundle(tmp_path: Path) -> None:
    exported(zoo.Packed, tmp_path / "nli")
    for make in (
        lambda: read_packable_manifest(tmp_path / "nli", "int8"),
        lambda: pack(tmp_path / "nli", tmp_path / "nli.prnn", streaming=True),
        lambda: compress(tmp_path / "nli", tmp_path / "small"),
        lambda: pack_text_rules(tmp_path / "nli", tmp_path / "text.prnn"),
    ):
        with pytest.raises(InputError, match="two texts"):
            make()
    write_mobile_bundle(tmp_path / "nli", tmp_path / "mobile")
    pairs = [("w1 w2", "w3"), ("w4", "w5 w6 w7")]
    given = [Classifier.load(tmp_path / name).logits(pairs) for name in ("nli", "mobile")]
    assert np.allclose(*given, atol=1e-6)


@pytest.mark.slow
def test_the_command_line_exports_two_texts(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("\n".join(VOCABULARY))
    (tmp_path / "texts.txt").write_text("w1 w2\tw3\nw4\tw5 w6\n")
    (tmp_path / "one.txt").write_text("w1 w2\n")
    source = f"{Path(zoo.__file__)}:Siamese"
    given = ("export", source, "--random-weights", "--vocabulary", str(tmp_path / "vocabulary.txt"), "--labels",
             "a,b,c", "-o", str(tmp_path / "nli"), "--two-texts")  # fmt: skip
    refused = CliRunner().invoke(main, [*given, "--texts", str(tmp_path / "one.txt")])
    assert refused.exit_code == 2
    assert "Line 1" in refused.stderr
    done = CliRunner().invoke(main, [*given, "--texts", str(tmp_path / "texts.txt")])
    assert done.exit_code == 0, done.stderr
    assert Classifier.load(tmp_path / "nli").manifest.golden_texts[0].text == ("w1 w2", "w3")


@pytest.mark.slow
def test_evaluate_reads_the_second_texts_of_labelled_rows(tmp_path: Path) -> None:
    classifier = exported(zoo.Siamese, tmp_path / "nli")
    pairs = [("w1 w2", "w3"), ("w4", "w5 w6"), ("w7", "w8"), ("w9 w1 w1", "w2")]
    labels = [*classifier.predict(pairs[:2]), *classifier.predict([pair[::-1] for pair in pairs[2:]])]
    rows = "".join(f"{first},{second},{label}\n" for (first, second), label in zip(pairs, labels, strict=True))
    (tmp_path / "rows.csv").write_text("premise,hypothesis,label\n" + rows)
    right = np.mean([given == label for given, label in zip(classifier.predict(pairs), labels, strict=True)])
    given = ("evaluate", "--json", str(tmp_path / "nli"), str(tmp_path / "rows.csv"), "--text-column", "premise")
    done = CliRunner().invoke(main, [*given, "--second-text-column", "hypothesis"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == pytest.approx(right)
    missing = CliRunner().invoke(main, given)
    assert missing.exit_code == 2
    assert "--second-text-column" in missing.stderr
    one = CliRunner().invoke(main, [*given[:2], "ag_news", *given[3:], "--second-text-column", "hypothesis"])
    assert one.exit_code == 2


@pytest.mark.slow
def test_single_texts_with_ids_are_compared_with_the_rules_of_both(tmp_path: Path) -> None:
    right = [("w1 W2", [3, 4]), ("none", [1])]
    classifier = exported(zoo.Siamese, tmp_path / "nli", example_ids=right)
    assert classifier.manifest.provenance["text_rules"]["verdict"] == "compared"
    with pytest.raises(InputError, match="w1"):
        exported(zoo.Siamese, tmp_path / "other", example_ids=[("w1", [4])])


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), min_size=1, max_size=5), st.booleans())
def test_rows_with_and_without_a_mark_are_parted_alike(rows: list[list[int]], marked: bool) -> None:
    lengths = np.array([len(row) for row in rows])
    tokens = np.full((len(rows), lengths.max()), 0)
    for made, row in zip(tokens, rows, strict=True):
        made[: len(row)] = row
    case = Case("", tokens, lengths)
    pairs = cut_rows_into_text_pairs(case, 0)
    expected = make_pair_inputs(pairs.tokens, pairs.lengths)
    asked = pairs if marked else case
    first, second, *both = split_pairs(torch.from_numpy(asked.tokens), torch.from_numpy(asked.lengths))
    assert first.tolist() == expected.tokens.tolist()
    assert second.tolist() == expected.second_tokens.tolist()
    assert [one.tolist() for one in both] == [expected.lengths.tolist(), expected.second_lengths.tolist()]


def test_the_cases_of_pairs_hold_every_id_on_both_sides_and_long_beside_short() -> None:
    every = np.arange(12).reshape(4, 3)
    found = make_cases_for_module_of_two_texts({"every id": [Case("", every, np.full(4, 3))]}, 12, 0, ragged=True)
    for side in (0, 1):
        inputs = [make_pair_inputs(case.tokens, case.lengths) for case in found["every id"]]
        assert set(np.concatenate([one[side].ravel() for one in inputs])) == set(range(12))
    both = [make_pair_inputs(case.tokens, case.lengths) for case in found["pairs"]]
    sizes = {(one.tokens.shape[1], one.second_tokens.shape[1]) for one in both}
    longest = max(cases.SEQUENCES)
    assert {(1, longest), (longest, 1), (1, 1), (2, longest)} <= sizes
    assert len(both[-1].lengths) == len(cases.SEQUENCES) ** 2


def test_each_text_of_a_pair_gets_a_real_token() -> None:
    case = Case("", np.array([[0, 0, -1, 5], [5, -1, 0, 0]]), np.array([4, 4]))
    assert put_real_token_in_padding_rows([case], 0)[0].tokens.tolist() == [[1, 0, -1, 5], [5, -1, 1, 0]]


@pytest.mark.slow
def test_pairs_that_look_at_their_neighbours_are_seen() -> None:
    found = prepared(zoo.Packed)
    grid = found.fit_cases_to_module(make_cases_for_grid_of_shapes(zoo.WORDS, 0, ragged=True)[:8])
    assert are_rows_independent(found.make_reference().run, grid)


@pytest.mark.parametrize(
    ("line", "of_two"),
    [
        ("module(first, second)", True),
        ("both = (first, second); module(both)", True),
        ("first = module(tokens); first[0]", False),
        ("[first for first, second in [module(tokens)]][0]", False),
        ("(lambda second: second)(module(tokens))", False),
    ],
)
def test_names_that_a_line_sets_itself_are_no_texts(line: str, of_two: bool) -> None:
    assert isinstance(compile_call(line), PairCall) == of_two


def test_no_line_is_tried_where_it_is_not_known_which_two_inputs_are_the_texts() -> None:
    assert list(list_pair_lines(made(zoo.OfThree), with_lengths=None)) == []
    assert all("_lengths" not in line for line in list_pair_lines(made(zoo.Siamese), with_lengths=False))
