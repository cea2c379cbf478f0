"""Taggers that take the characters of words, too: how they are called, that both are proven, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tag_modules as tags
import torch
from click.testing import CliRunner
from slow_case_sampling import mostly_slow
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from pocketrnn import Characters, Classifier, verify
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError
from pocketrnn.text import TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export import export
from pocketrnn_export.compression import compress
from pocketrnn_export.export_arguments import (
    compare_characters_for_provenance,
    read_characters,
    separate_characters_from_texts,
)
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.mobile_profile import write_mobile_bundle
from pocketrnn_export.packing import read_packable_manifest
from pocketrnn_export.vocabularies.spelled_word_ids import make_spellings_for_proof

pytestmark = pytest.mark.usefixtures("scant_proofs")

VOCABULARY = ("<pad>", "<unk>", *(f"w{i}" for i in range(tags.WORDS - 2)))
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
LETTERS = ["<pad>", "<unk>", *"w0123456789AZ"]
WIDTH = 6
CHARACTERS = Characters(LETTERS, width=WIDTH)


class Spelled(tags.Base):
    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(LETTERS), 3, padding_idx=0)
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.of_characters = nn.Linear(4, tags.CLASSES)

    def spelled(self, chars: Tensor) -> Tensor:
        rows = self.characters(chars.reshape(-1, chars.size(-1))).transpose(1, 2)
        return self.of_characters(self.conv(rows).max(2).values)


class Convolved(Spelled):
    def forward(self, words: Tensor, chars: Tensor) -> Tensor:
        return self.fc(self.states(words)) + self.spelled(chars).view(*words.shape, -1)


class CharactersFirst(Convolved):
    def forward(self, char_ids: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, char_ids)


class PackedWords(Spelled):
    def forward(self, words: Tensor, lengths: Tensor, chars: Tensor) -> Tensor:
        found = self.fc(self.packed(words, lengths))
        return found + self.spelled(chars).view(*words.shape, -1)[:, : found.size(1)]


class OneBelowTheOther(Spelled):
    def forward(self, words: Tensor, chars: Tensor) -> Tensor:
        if chars.dim() != 2:
            raise ValueError("the words of all texts")
        return self.fc(self.states(words)) + self.spelled(chars).view(*words.shape, -1)


class PackedCharacters(Spelled):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 2, batch_first=True, bidirectional=True)

    def forward(self, words: Tensor, chars: Tensor, char_lengths: Tensor) -> Tensor:
        rows = self.characters(chars.flatten(0, 1))
        packed = pack_padded_sequence(rows, char_lengths.flatten(), batch_first=True, enforce_sorted=False)
        last = self.lstm(packed)[1][0].transpose(0, 1).reshape(-1, 4)
        return self.fc(self.states(words)) + self.of_characters(last).view(*words.shape, -1)


class MixesSpellings(Spelled):
    """The spelling of a text's first word reaches the next text."""

    def forward(self, words: Tensor, chars: Tensor) -> Tensor:
        first = self.spelled(chars).view(*words.shape, -1)[:, :1]
        return self.fc(self.states(words)) + first.roll(1, 0)


class Unspelled(Spelled):
    def forward(self, words: Tensor, chars: Tensor) -> Tensor:
        return self.fc(self.states(words)) + 0.0 * self.characters(chars).sum((2, 3))[..., None]


class HasFewCharacters(Convolved):
    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(LETTERS) - 1, 3, padding_idx=0)


def made(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def prepared(kind: type[nn.Module], **options: Any) -> ExportableModule:
    spellings = make_spellings_for_proof(TextInput(TextRules(unknown_id=1), VOCABULARY), CHARACTERS, [])
    return prepare_module(
        made(kind), lengths=None, ids=len(spellings.rows), padding_id=0, classes=tags.CLASSES, multi_label=False,
        of_tokens=True, spellings=spellings, **options,
    )  # fmt: skip


def exported(kind: type[nn.Module], path: Path, **options: Any) -> Classifier:
    given = {"labels": LABELS, "vocabulary": VOCABULARY, "labels_of": "tokens", "characters": CHARACTERS, **options}
    export(made(kind), path, progress=False, **given)
    return Classifier.load(path)


Owner = Callable[[Any, Tensor, Tensor], Tensor]
# For each module, the line, and the owner's own call of (module, words [1, n], characters [1, n, width]).
CALLS: dict[type[nn.Module], tuple[str, Owner]] = {
    Convolved: ("module(tokens, characters)", lambda m, w, c: m(w, c)),
    PackedWords: ("module(tokens, lengths, characters)", lambda m, w, c: m(w, torch.tensor([w.size(1)]), c)),
    CharactersFirst: ("module(characters, tokens)", lambda m, w, c: m(c, w)),
    OneBelowTheOther: ("module(tokens, characters.flatten(0, 1))", lambda m, w, c: m(w, c[0])),
    PackedCharacters: (
        "module(tokens, characters, (characters != 0).sum(2).clamp(min=1))",
        lambda m, w, c: m(w, c, (c != 0).sum(2).clamp(min=1)),
    ),
}  # fmt: skip
WORDS = ["w7", "w11", "Zw99AA", "unseen", "w7", "wwwwwwwww", "é", "W7"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_slow(CALLS, 2))
def test_words_and_characters_are_answered_as_their_owner_calls_the_module(
    kind: type[nn.Module], tmp_path: Path
) -> None:
    classifier = exported(kind, tmp_path / "bundle")
    line, owner = CALLS[kind]
    assert classifier.manifest.provenance["call"] == line
    ids = torch.tensor([[VOCABULARY.index(w) if w in VOCABULARY else 1 for w in WORDS]])
    spelled = torch.tensor([[CHARACTERS.encode(word) for word in WORDS]])
    with torch.no_grad():
        expected = owner(made(kind), ids, spelled).softmax(-1)[0]
    for found in (classifier.tag(WORDS), classifier.predict_tags([WORDS[:3], WORDS])[1]):
        assert [tag.label for tag in found] == [LABELS[int(i)] for i in expected.argmax(-1)]
        assert [tag.probability for tag in found] == pytest.approx(expected.max(-1).values.tolist(), abs=1e-5)
    assert verify(tmp_path / "bundle").replays


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("characters") / "bundle"
    spelled = [CHARACTERS.encode(word) for word in ("w1", "Zw9", "w3")]
    exported(Convolved, path, example_texts=["w1 Zw9 w3", "w7"], example_ids=[("w1 Zw9 w3", [3, 1, 5], spelled)])
    return path


@pytest.mark.slow
def test_a_text_is_spelled_before_it_is_in_lower_case(bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    small, large = classifier.tag("w7 w7"), classifier.tag("W7 w7")
    assert classifier.encode("W7 w7") == classifier.encode("w7 w7")
    assert small[0].probability != large[0].probability


@pytest.mark.slow
def test_the_proof_compares_the_graph_of_characters_and_the_golden_examples_have_words(bundle: Path) -> None:
    manifest = Classifier.load(bundle).manifest
    compared = {line.candidate for line in manifest.parity.comparisons}
    assert {"onnx", "onnx, float64", "onnx on characters", "runtime"} <= compared
    assert manifest.graph.inputs == ("tokens", "characters")
    assert manifest.graph.embedding_rows == tags.WORDS
    assert manifest.golden_texts[0].ids == (3, 1, 5)
    assert manifest.provenance["characters"] == "compared: 1 text"


def test_a_spelling_that_reaches_another_text_is_refused() -> None:
    with pytest.raises(ExportError, match="other texts"):
        prepared(MixesSpellings)


def test_a_module_with_fewer_characters_is_refused() -> None:
    with pytest.raises(ExportError, match=r"0 to 14.*IndexError"):
        prepared(HasFewCharacters)


def test_a_module_that_leaves_its_characters_unused_is_refused() -> None:
    with pytest.raises(InputError, match=r"change no answer.*module\(tokens, characters\)"):
        prepared(Unspelled)


def test_a_line_without_the_characters_is_refused() -> None:
    with pytest.raises(InputError, match=r"does not use.*module\(tokens, characters\)"):
        prepared(Convolved, call="module(tokens, tokens)")


@pytest.mark.slow
def test_a_module_of_characters_says_which_option_names_them() -> None:
    with pytest.raises(ExportError, match=r"\(chars\).*--characters"):
        prepare_module(
            made(Convolved), lengths=None, ids=40, padding_id=0, classes=5, multi_label=False, of_tokens=True
        )


def test_a_function_is_given_words_lengths_and_characters() -> None:
    def own(module: Any, tokens: Tensor, _lengths: Tensor, characters: Tensor) -> Any:
        return module(tokens, characters)

    found = prepared(Convolved, call=own).convention
    assert found.line == "own(module, tokens, lengths, characters)"


def test_every_character_and_unknown_words_are_among_the_ids_of_a_proof() -> None:
    given = TextInput(TextRules(unknown_id=1), VOCABULARY)
    spellings = make_spellings_for_proof(given, CHARACTERS, ["Zw9 w7"])
    assert set(np.unique(spellings.rows[tags.WORDS :, 1:])) == set(CHARACTERS.ids)
    assert spellings.words[: tags.WORDS].tolist() == list(range(tags.WORDS))
    assert (spellings.words[tags.WORDS :] == 1).sum() > 20
    assert spellings.rows[0].tolist() == [0] * (1 + WIDTH)
    assert len({tuple(row) for row in spellings.rows.tolist()}) == len(spellings.rows) == len(spellings.places)
    assert (1, *CHARACTERS.encode("Zw9")) in spellings.places


def test_the_owners_characters_are_compared() -> None:
    given, own = TextInput(TextRules(unknown_id=1), VOCABULARY), [CHARACTERS.encode("W7"), [2, 4]]
    assert compare_characters_for_provenance(given, CHARACTERS, [("W7 w1", own)]) == "compared: 1 text"
    for other, what in (([own[0], [2, 5]], "token 1"), (own[:1], "2 tokens")):
        with pytest.raises(InputError, match=what):
            compare_characters_for_provenance(given, CHARACTERS, [("W7 w1", other)])
    pairs, spelled = separate_characters_from_texts([("w1", [3], np.array([[2, 4]])), ("w2", [4]), ("w3", [5], "O")])
    assert (pairs, spelled) == ([("w1", [3]), ("w2", [4]), ("w3", [5], "O")], [("w1", [[2, 4]])])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "texts": ({"labels_of": "texts"}, "labels are of texts"),
    "streaming": ({"streaming": True}, "streaming"),
    "edge": ({"edge": True}, "edge"),
    "torchscript": ({"torchscript": True}, "torchscript"),
    "one_text": ({"one_text": True}, "one_text"),
    "features": ({"features": ["stars"]}, "features"),
    "two_texts": ({"two_texts": True}, "two_texts"),
    "external": ({"rules": TextRules("external")}, "external"),
    "width": ({"characters": {"a": -1}}, "-1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_a_bundle_with_characters_cannot_have_are_refused(name: str, tmp_path: Path) -> None:
    options, what = REFUSED[name]
    with pytest.raises(InputError, match=what):
        exported(Convolved, tmp_path / "bundle", **options)


def test_other_forms_of_the_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    for make in (
        lambda: compress(bundle, tmp_path / "int8"),
        lambda: read_packable_manifest(bundle),
        lambda: write_mobile_bundle(bundle, tmp_path / "mobile"),
    ):
        with pytest.raises(InputError, match="characters"):
            make()


@pytest.mark.slow
def test_the_command_line_exports_with_a_file_of_characters(tmp_path: Path) -> None:
    (tmp_path / "chars.json").write_text(json.dumps({c: i for i, c in enumerate(LETTERS)}), "utf-8")
    (tmp_path / "words.json").write_text(json.dumps(list(VOCABULARY)), "utf-8")
    assert read_characters(tmp_path / "chars.json") == Characters(LETTERS)
    (tmp_path / "model.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass T(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.e, self.c = nn.Embedding(40, 4), nn.Embedding(15, 3)\n"
        "        self.r, self.f = nn.GRU(7, 4, batch_first=True), nn.Linear(4, 5)\n\n"
        "    def forward(self, words, chars):\n"
        "        return self.f(self.r(torch.cat([self.e(words), self.c(chars).mean(2)], 2))[0])\n"
    )
    options = [
        "export", f"{tmp_path / 'model.py'}:T", "--random-weights", "--vocabulary", str(tmp_path / "words.json"),
        "--labels", ",".join(LABELS), "--labels-of", "tokens",
    ]  # fmt: skip
    done = CliRunner().invoke(main, [*options, "--characters-width", "6", "-o", str(tmp_path / "b")])
    assert (done.exit_code, "--characters" in done.stderr) == (2, True)
    characters = ["--characters", str(tmp_path / "chars.json"), "--characters-width", "6"]
    done = CliRunner().invoke(main, [*options, *characters, "-o", str(tmp_path / "b")])
    assert done.exit_code == 0, done.stderr
    assert Classifier.load(tmp_path / "b").manifest.characters == CHARACTERS
