"""The characters of each token beside its id: what a token becomes, tags, the command line, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pocketrnn import CharacterInput, Characters, Classifier, verify
from pocketrnn.bundle.manifest import Example, Manifest, encode_json_with_digest, read_manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, InputError
from pocketrnn.text import TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.token_characters import add_character_ids
from pocketrnn.text.token_positions import locate_split_tokens

LETTERS = Characters(["<pad>", "<unk>", *"Naoils"], width=4)
WEIGHT = np.array([1.0, -2.0, 0.5, 0.25], np.float32)
TEXTS = ("oil", "NASA oil", "Oil, war")


def add_characters(proto: onnx.ModelProto) -> None:
    """Add the sum of the ids of each token's characters, times a weight of each label."""
    graph = proto.graph
    for node in graph.node:
        node.output[:] = ["of_words" if name == "logits" else name for name in node.output]
    graph.input.append(helper.make_tensor_value_info("characters", TensorProto.INT64, ["batch", "sequence", 4]))
    graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), "last_axis"))
    graph.initializer.append(numpy_helper.from_array(WEIGHT, "label_weights"))
    graph.node.extend(
        [
            helper.make_node("Cast", ["characters"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["numbers", "last_axis"], ["sums"], keepdims=1),
            helper.make_node("Mul", ["sums", "label_weights"], ["of_characters"]),
            helper.make_node("Add", ["of_words", "of_characters"], ["logits"]),
        ]
    )


def with_characters(manifest: Manifest) -> Manifest:
    text = manifest.text
    encoder = TextInput(text.rules, text.vocabulary).encoder()
    examples = []
    for example in manifest.golden_texts:
        words = str(example.text).replace(",", " ,").split()
        placed = replace(locate_split_tokens(encoder, words), ids=encoder.encode(str(example.text)))
        sums = add_character_ids(LETTERS, placed)[:, 1:].sum(1)
        rows = np.array(example.logits, np.float32) + sums[:, None].astype(np.float32) * WEIGHT
        examples.append(Example(example.text, example.ids, tuple(tuple(map(float, row)) for row in rows)))
    return replace(
        manifest,
        input=CharacterInput(text.rules, text.vocabulary, LETTERS),
        graph=replace(manifest.graph, inputs=("tokens", "lengths", "characters")),
        examples=tuple(examples),
    )


def metadata(proto: onnx.ModelProto) -> None:
    from pocketrnn.bundle.manifest import make_input_digest_metadata

    add_characters(proto)
    given = CharacterInput(TextRules(), tuple(bundle_maker.WORDS), LETTERS)
    own = make_input_digest_metadata(bundle_maker.LABELS, given)
    for entry in proto.metadata_props:
        entry.value = own.get(entry.key, entry.value)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_maker.make(
        tmp_path_factory.mktemp("characters") / "spelled", of_tokens=True, torchscript=False, texts=TEXTS,
        change_graph=metadata, change=with_characters,
    )  # fmt: skip


def changed(bundle: Path, folder: Path, **members: Any) -> Path:
    document = json.loads((bundle / "classifier.json").read_text("utf-8"))
    document.pop("digest")
    document = {name: value for name, value in {**document, **members}.items() if value is not None}
    folder.mkdir()
    (folder / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes())
    (folder / "classifier.json").write_bytes(encode_json_with_digest(document))
    return folder


@given(st.text(max_size=12), st.integers(1, 6), st.booleans())
def test_a_token_becomes_as_many_ids_as_the_width(token: str, width: int, lowercase: bool) -> None:
    characters = Characters(["<pad>", "<unk>", *"abc"], width=width, lowercase=lowercase)
    spelled = token.lower() if lowercase else token
    known = [" abc".find(c) + 1 if c in "abc" else 1 for c in spelled][:width]
    assert characters.encode(token) == known + [0] * (width - len(known))


HOSTILE = {
    "": [0, 0, 0, 0],
    "o" * 10_000: [4, 4, 4, 4],
    "o\u0308l": [4, 1, 6, 0],
    "\ud800i": [1, 5, 0, 0],
    "\U0001f600i": [1, 5, 0, 0],
    "<pad>": [1, 1, 3, 1],
}


@pytest.mark.parametrize("token", HOSTILE)
def test_a_hostile_token_is_spelled_by_its_code_points(token: str) -> None:
    assert LETTERS.encode(token) == HOSTILE[token]


def test_an_unknown_character_without_an_id_is_left_out_before_the_token_is_cut() -> None:
    assert Characters({"a": 1, "b": 2}, width=2).encode("xaxb") == [1, 2]


def test_ids_of_padding_and_unknown_characters_are_those_of_entries_named_so() -> None:
    found = Characters({"UNK": 3, "a": 0, "[PAD]": 7})
    assert (found.padding_id, found.unknown_id, found.ids) == (7, 3, (0, 3, 7))


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "two characters": (["<pad>", "ab"], {}, "'ab' of 2"),
    "a combined one": (["<pad>", "o\u0308"], {}, "of 2 characters"),
    "no entries": ([], {}, "empty"),
    "an empty entry": (["<pad>", ""], {}, "not a character"),
    "twice": (["<pad>", "a", "a"], {}, "'a' is given twice"),
    "one string": ("abc", {}, "'abc'"),
    "an id below 0": ({"a": -1}, {}, "'a' is -1"),
    "a truth value": ({"a": True}, {}, "'a' is True"),
    "no width": (["<pad>"], {"width": 0}, "\\b0\\b.*1,024"),
    "a wide width": (["<pad>"], {"width": 1025}, "\\b1025\\b.*1,024"),
    "padding of a character": (["a", "b"], {}, "'a'.* id, 0"),
    "lowercase": (["<pad>"], {"lowercase": 1}, "lowercase.* is 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_vocabulary_of_characters_that_cannot_be_is_refused(name: str) -> None:
    vocabulary, options, what = REFUSED[name]
    with pytest.raises(InputError, match=what):
        Characters(vocabulary, **options)


def test_tags_are_of_words_with_their_characters(bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    assert classifier.manifest.characters == LETTERS
    # Both words are unknown, and differ in their characters only.
    alone = [tag.probability for tag in classifier.tag(["aaaa", "NNNN"])]
    other = [tag.probability for tag in classifier.tag(["NNNN", "NNNN"])]
    assert alone[0] != other[0]
    texts = ["NASA", "oil and Oil, oil", "", "o" * 10_000 + " oil"]
    together = classifier.predict_tags(texts)
    for text, tags in zip(texts, together, strict=True):
        assert [tag.label for tag in tags] == [tag.label for tag in classifier.tag(text)]
        assert [tag.probability for tag in tags] == pytest.approx([tag.probability for tag in classifier.tag(text)])
    assert verify(bundle).replays[0].examples == len(TEXTS)


def test_the_command_line_tags_and_says_what_is_taken(bundle: Path) -> None:
    done = CliRunner().invoke(main, ["classify", "-b", str(bundle), "--conll", "NASA oil"])
    assert (done.exit_code, [line.split("\t")[0] for line in done.stdout.split("\n")[:2]]) == (0, ["NASA", "oil"])
    done = CliRunner().invoke(main, ["inspect", str(bundle)])
    assert "the first 4 of each token: 6; others are the id 1" in done.stdout
    assert CliRunner().invoke(main, ["verify", str(bundle)]).exit_code == 0


def test_what_reads_words_alone_is_refused(bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    for call in (classifier.stream, lambda: classifier.explain("oil"), lambda: classifier.embed(["oil"])):
        with pytest.raises(InputError):
            call()
    with pytest.raises(InputError, match=r"characters.*a packed file"):
        classifier.manifest.require_single_text("a packed file")
    with pytest.raises(InputError):
        classifier.classify("oil")


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no width": ({"characters": {"vocabulary": {"a": 1}, "padding_id": 0}}, "width"),
    "width 0": ({"characters": {"vocabulary": {"a": 1}, "padding_id": 0, "width": 0}}, "width"),
    "other width": ({"characters": {"vocabulary": {"a": 1}, "padding_id": 0, "width": 5}}, "fixed shape"),
    "two characters": ({"characters": {"vocabulary": {"ab": 1}, "padding_id": 0, "width": 4}}, "'ab'"),
    "none": ({"characters": None}, "inputs"),
    "of texts": ({"labels_of": None}, "labels_of"),
    "features": ({"features": [{"name": "stars"}]}, "characters"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bundle_whose_characters_do_not_fit_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    members, what = FAULTS[name]
    with pytest.raises((BundleError, InputError), match=what):
        Classifier.load(changed(bundle, tmp_path / "changed", **members))


def test_characters_are_part_of_the_digest_of_the_rules(bundle: Path, tmp_path: Path) -> None:
    other = {**LETTERS.document, "lowercase": True}
    with pytest.raises(BundleError, match=r"model\.onnx"):
        verify(changed(bundle, tmp_path / "changed", characters=other))
    assert read_manifest(bundle).text.characters == LETTERS


def test_rules_that_make_no_words_have_no_characters() -> None:
    with pytest.raises(InputError, match="external"):
        CharacterInput(TextRules("external"), ("<unk>",), LETTERS)
    with pytest.raises(InputError, match="characters is None"):
        CharacterInput(TextRules(), ("<unk>",))
