"""Taggers with a CRF: the graph gives the emissions, the bundle has the transitions, and decodes as the owner does."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tag_modules as zoo
import torch
from torch import Tensor, nn

from pocketrnn import Classifier, TagOutput, TextInput
from pocketrnn.errors import ExportError, InputError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.bundle_writer import compare_decoded_labels
from pocketrnn_export.comparing.logit_comparison import Reference
from pocketrnn_export.comparing.proof_inputs import encode_each_text_as_case
from pocketrnn_export.crf_of_tagger import OwnersLabels, add_crf
from pocketrnn_export.intake.compiled_call_line import given_to
from pocketrnn_export.intake.crf_discovery import (
    find_decoder_or_unknown_layers,
    make_neutral_crf,
    read_labels_in_answer,
)
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.packing import pack
from pocketrnn_export.proof.reference_answers_on_demand import ReferenceAnswers

pytestmark = pytest.mark.usefixtures("scant_proofs")

VOCABULARY = ["<pad>", "<unk>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
LABELS = ["O", "B-PER", "I-PER", "<start>", "<stop>"]


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return kind().eval()


def exported(kind: type[nn.Module], path: Path, **options: Any) -> Classifier:
    given = {"labels": LABELS, "vocabulary": VOCABULARY, "torchscript": False, "progress": False, **options}
    export(made(kind), path, labels_of="tokens", **given)
    return Classifier.load(path)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return exported(zoo.WithCrf, tmp_path_factory.mktemp("crf") / "tagger")


@pytest.mark.slow
def test_the_bundle_decodes_as_the_modules_forward_does(tagger: Classifier) -> None:
    module, generator = made(zoo.WithCrf), np.random.default_rng(0)
    texts = [" ".join(generator.choice(VOCABULARY[2:], n)) for n in (1, 2, 3, 7, 20, 60)]
    for text, tags in zip(texts, tagger.predict_tags(texts), strict=True):
        with torch.no_grad():
            (path,) = module(torch.tensor([tagger.encode(text)]))
        assert [tag.label for tag in tags] == [LABELS[i] for i in path]
        assert all(0 < tag.probability <= 1 for tag in tags)


@pytest.mark.slow
def test_a_packed_file_decodes_as_the_modules_forward_does(tagger: Classifier, tmp_path: Path) -> None:
    engine = pytest.importorskip("pocketrnn_native")
    module, generator = made(zoo.WithCrf), np.random.default_rng(1)
    manifest = pack(tagger._folder, tmp_path / "tagger.prnn", progress=False)
    (line,) = [one for one in manifest.parity.comparisons if one.candidate == "tags in C"]
    assert (line.labels_differing, line.largest_difference < 1e-6) == (0, True)
    packed, runtime = engine.map_packed_file(tmp_path / "tagger.prnn"), Classifier.load(tmp_path / "tagger.prnn")
    for text in [" ".join(generator.choice(VOCABULARY[2:], n)) for n in (1, 2, 7, 60)]:
        with torch.no_grad():
            (path,) = module(torch.tensor([tagger.encode(text)]))
        assert [label for _, _, label, _ in packed.tag(text)] == path
        assert [tag.label for tag in runtime.tag(text)] == [LABELS[i] for i in path]


def test_a_crf_moves_labels_and_the_manifest_has_its_numbers(tagger: Classifier) -> None:
    output, module = tagger.manifest.output, made(zoo.WithCrf)
    assert isinstance(output, TagOutput)
    assert output.crf is not None
    np.testing.assert_array_equal(np.array(output.crf.transitions, np.float32), module.crf.transitions.detach().numpy())
    assert tagger.manifest.provenance["crf"] == "crf.decode"
    (line,) = [one for one in tagger.manifest.parity.comparisons if one.candidate == "decoding"]
    assert (line.labels_differing, line.largest_difference) == (0, 0)
    with pytest.raises(InputError, match="CRF"):
        tagger.among(["O", "B-PER"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "line", "where"),
    [
        (zoo.WithCrf, "given_to(module.crf.decode, lambda: module(tokens))", "crf.decode"),
        (zoo.EmissionsBesideCrf, "module(tokens)", "crf.decode"),
        (zoo.WithCrfTimeFirst, "lambda: module(tokens)).transpose(0, 1)", "crf.decode"),
        (zoo.WithConstraints, "lengths[:, None]))", "crf.viterbi_tags"),
        (zoo.BothWithCrf, "given_to(module.crf.decode, lambda: module(tokens))", "crf.decode"),
        (zoo.Loss, "viterbi_decode, lambda: module.predict(tokens, lengths))", "crf.viterbi_decode"),
        (zoo.MaskOfNumbers, "(torch.arange(tokens.size(1)) < lengths[:, None]).float()))", "crf.decode"),
        (zoo.NoForward, "given_to(module.crf.decode, lambda: module.predict(tokens.unsqueeze(2)))", "crf.decode"),
        (zoo.Tutorial, "given_to(module._viterbi_decode, lambda: module(tokens))", "_viterbi_decode"),
    ],
)  # fmt: skip
def test_what_goes_into_a_crf_and_its_numbers_are_found_out(kind: type[nn.Module], line: str, where: str) -> None:
    found = prepare_module(
        made(kind), lengths=None, ids=zoo.WORDS, padding_id=0, classes=5, multi_label=False, of_tokens=True
    ).convention
    assert found.line.endswith(line)
    decoder, _ = find_decoder_or_unknown_layers(made(kind), zoo.CLASSES)
    assert decoder is not None
    assert decoder.where == where
    emissions = torch.randn(40, zoo.CLASSES, generator=torch.Generator().manual_seed(1)).numpy()
    assert decoder.crf.decode_labels(emissions).tolist() == decoder.decode_labels(emissions)


@pytest.mark.slow
def test_labels_are_decoded_where_the_crf_is_in_a_part_and_forward_gives_none(tmp_path: Path) -> None:
    for kind in (zoo.Nested, zoo.Loss):
        tagger, ids = exported(kind, tmp_path / kind.__name__), torch.tensor([[4, 9, 3, 11]])
        module = made(kind)
        with torch.no_grad():
            (path,) = module.predict(ids, torch.tensor([4])) if kind is zoo.Loss else module(ids)
        assert [tag.label for tag in tagger.tag("w2 w7 w1 w9")] == [LABELS[i] for i in path]


@pytest.mark.slow
def test_a_call_that_decodes_itself_is_compared_with_what_is_exported(tmp_path: Path) -> None:
    def found(kind: type[nn.Module]) -> tuple[Description, OwnersLabels | None]:
        module = prepare_module(
            made(kind), lengths=None, ids=zoo.WORDS, padding_id=0, classes=5, multi_label=False, of_tokens=True
        )
        assert module.convention.line == "module.emissions(tokens)"
        return add_crf(module, described(TextRules()))

    description, owners = found(zoo.Decodes)
    assert owners is not None
    assert (owners.decoder, description.output) == (None, TagOutput(tuple(LABELS)))
    description, owners = found(zoo.DecodesInside)
    assert owners is not None
    assert isinstance(description.output, TagOutput)
    assert description.output.crf is not None
    transitions = made(zoo.DecodesInside).transitions.detach().numpy()
    np.testing.assert_array_equal(np.array(description.output.crf.transitions, np.float32), transitions)
    with pytest.raises(ExportError, match=r"module\(tokens\).*module\.emissions\(tokens\).*--no-crf"):
        found(zoo.NextLabels)


# As a whole; that labels are compared is held above.
@pytest.mark.slow
@pytest.mark.parametrize("kind", [zoo.Decodes, zoo.DecodesInside])
def test_labels_that_forward_gives_are_those_of_the_bundle(tmp_path: Path, kind: type[nn.Module]) -> None:
    tagger = exported(kind, tmp_path / "tagger")
    (line,) = [one for one in tagger.manifest.parity.comparisons if one.candidate == "decoding"]
    assert line.labels_differing == 0
    with torch.no_grad():
        (path,) = made(kind)(torch.tensor([tagger.encode("w3 w7 w1 w9")]))
    assert [tag.label for tag in tagger.tag("w3 w7 w1 w9")] == [LABELS[i] for i in path]


def test_what_a_method_is_given_is_taken_from_a_call_that_reaches_it() -> None:
    module, ids = made(zoo.WithCrf), torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        assert given_to(module.crf.decode, lambda: module(ids)).equal(module.fc(module.states(ids)))
        assert module(ids) == module.crf.decode(module.fc(module.states(ids)))
        for call, said in (
            (lambda: module(ids, ids), "never calls"),
            (lambda: module.crf.decode(ids), "no float tensor"),
        ):
            with pytest.raises(ValueError, match=said):
                given_to(module.crf.decode, call)


@pytest.mark.slow
def test_a_crf_after_the_tutorial_is_exported(tmp_path: Path) -> None:
    # As a whole; that its numbers are found out is held above.
    tags = exported(zoo.Tutorial, tmp_path / "tagger").tag("w3 w7 w1")
    with torch.no_grad():
        _, path = made(zoo.Tutorial)(torch.tensor([VOCABULARY.index(word) for word in ("w3", "w7", "w1")]))
    assert [tag.label for tag in tags] == [LABELS[i] for i in path]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [zoo.WithConstraints, zoo.BothWithCrf])
def test_labels_beside_the_emissions_are_compared(tmp_path: Path, kind: type[nn.Module]) -> None:
    tagger = exported(kind, tmp_path / "tagger")
    (line,) = [one for one in tagger.manifest.parity.comparisons if one.candidate == "decoding"]
    assert line.labels_differing == 0
    ids = torch.tensor([tagger.encode("w3 w7 w1 w9")])
    with torch.no_grad():
        answer = made(kind)(ids, ids != 0) if kind is zoo.WithConstraints else made(kind)(ids)
    path = read_labels_in_answer(answer)
    assert path is not None
    assert [tag.label for tag in tagger.tag("w3 w7 w1 w9")] == [LABELS[i] for i in path]


# As a whole; in the fast suite, the next one asks what refuses it.
@pytest.mark.slow
def test_a_module_that_decodes_by_rules_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"crf.*--no-crf"):
        exported(zoo.OddCrf, tmp_path / "tagger")
    assert not (tmp_path / "tagger").exists()


def test_so_is_one_that_decodes_long_texts_in_windows() -> None:
    module = made(zoo.WithCrf)
    module.add_module("crf", made(zoo.DecodesInWindows))
    assert find_decoder_or_unknown_layers(module, zoo.CLASSES) == (None, "crf")


@pytest.mark.slow
def test_so_is_one_whose_owner_decodes_outside_of_forward() -> None:
    assert find_decoder_or_unknown_layers(made(zoo.OddCrf), zoo.CLASSES) == (None, "crf")
    module = prepare_module(
        made(zoo.EmissionsBesideOddCrf), lengths=None, ids=zoo.WORDS, padding_id=0, classes=5, multi_label=False,
        of_tokens=True,
    )  # fmt: skip
    with pytest.raises(ExportError, match=r"\(crf\).*--no-crf"):
        add_crf(module, described(TextRules()))
    assert add_crf(module, described(TextRules()), crf_option=False)[1] is None


# As a whole; that no CRF is looked for then is held above.
@pytest.mark.slow
def test_the_way_out_gives_each_token_its_likeliest_label(tmp_path: Path) -> None:
    tagger = exported(zoo.OddCrf, tmp_path / "tagger", crf=False)
    assert tagger.manifest.output == TagOutput(tuple(LABELS))


def described(rules: TextRules) -> Description:
    return Description("t", TextInput(rules, tuple(VOCABULARY)), TagOutput(tuple(LABELS)), {})


@pytest.mark.slow
def test_a_crf_that_forward_does_not_call_is_told(caplog: pytest.LogCaptureFixture) -> None:
    module = prepare_module(
        made(zoo.EmissionsBesideCrf), lengths=None, ids=zoo.WORDS, padding_id=0, classes=5, multi_label=False,
        of_tokens=True,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        found, owners = add_crf(module, described(TextRules()))
    assert "--no-crf" in caplog.text
    assert owners is not None
    assert owners.whole is None
    assert found.output != TagOutput(tuple(LABELS))
    assert add_crf(module, described(TextRules()), crf_option=False)[1] is None
    with pytest.raises(InputError, match="min_width"):
        add_crf(module, described(TextRules(min_width=4)))
    numbers = make_neutral_crf(len(LABELS))
    for rules in (TextRules(), TextRules(min_width=4)):
        over_tokens = replace(numbers, over_tokens=True)
        assert add_crf(module, described(rules), crf_option=over_tokens)[0].output == TagOutput(
            tuple(LABELS), over_tokens
        )
    with pytest.raises(InputError, match="min_width"):
        add_crf(module, described(TextRules(min_width=4)), crf_option=numbers)


def test_labels_that_the_owner_decodes_otherwise_are_seen(tagger: Classifier) -> None:
    def run(tokens: Any, _lengths: Any) -> Any:
        module = made(zoo.EmissionsBesideCrf)
        with torch.no_grad():
            answer: Tensor = module(torch.from_numpy(tokens))
        return answer[0].numpy()

    cases = {"texts": encode_each_text_as_case(["w3 w7 w1"], tagger.manifest.text.encoder())}
    answers = ReferenceAnswers(Reference("pytorch", run), cases, rows_alone=True)
    decoder, _ = find_decoder_or_unknown_layers(made(zoo.WithCrf), zoo.CLASSES)
    assert decoder is not None

    def right(tokens: Any) -> list[int]:
        return [int(i) for i in decoder.crf.decode_labels(run(tokens, None))]

    def wrong(tokens: Any, least: int = 1) -> list[int]:
        first, *others = right(tokens)
        return [(first + (len(others) >= least)) % 3, *others]

    (line,) = compare_decoded_labels(tagger, OwnersLabels(decoder, right), answers)
    assert line.line.labels_differing == 0
    for whole in (wrong, functools.partial(wrong, least=100)):
        with pytest.raises(ParityError, match="decodes other labels"):
            compare_decoded_labels(tagger, OwnersLabels(decoder, whole), answers)


def test_whole_numbers_are_labels_wherever_they_stand() -> None:
    assert read_labels_in_answer({"logits": torch.ones(2), "mask": torch.tensor([True]), "tags": [[1, 0]]}) == [1, 0]
    assert read_labels_in_answer((torch.tensor(0.5), [[1, 0, 2]])) == [1, 0, 2]
    assert read_labels_in_answer((torch.tensor([0.5]), torch.tensor([[1, 2]]))) == [1, 2]
    assert read_labels_in_answer([np.array([3])]) == [3]
    assert read_labels_in_answer(torch.rand(3)) is None
