"""Bundles whose texts are split by the owner's code: exported, proven, made smaller, refused where that is due."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from module_sources import make_net

from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.verdicts import TextVerdict, read_text_verdict
from pocketrnn_export import bundle_export, export
from pocketrnn_export.commands.export import _write_bundle
from pocketrnn_export.compression import compress
from pocketrnn_export.forms.weight_quantization import Storage
from pocketrnn_export.packing import pack
from pocketrnn_export.vocabularies.doubtful_ids_refusal import refuse_doubtful_ids
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText
from pocketrnn_export.vocabularies.texts_with_known_ids import collect_given_ids
from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = ["<unk>", "<pad>", "<s>", "</s>", *(f"w{i}" for i in range(40))]
TEXTS = ("w1,w2", "w3;w4!", "w5w6", "unheard-of")
FRAMED = TextRules("external", padding_id=1, first_id=2, last_id=3)
MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(44, 16)
        self.gru = torch.nn.GRU(16, 8, batch_first=True)
        self.fc = torch.nn.Linear(8, 2)

    def forward(self, tokens):
        return self.fc(self.gru(self.embedding(tokens))[0].max(dim=1).values)
"""


def split(text: str) -> list[str]:
    return re.findall(r"w\d+|\w+|\S", text)


def encoded(text: str) -> list[int]:
    return [2, *(WORDS.index(word) if word in WORDS else 0 for word in split(text)), 3]


def exported(path: Path, **more: Any) -> Manifest:
    return export(make_net(MODULE), path, labels=["no", "yes"], vocabulary=WORDS, torchscript=False, **more)


PAIRS = [(text, encoded(text)) for text in TEXTS]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("external") / "framed"
    exported(path, rules=FRAMED, tokenizer=split, example_ids=PAIRS)
    return path


# In the fast suite, runtime/test_pretokenized_texts.py asks so, and the command makes such a bundle.
@pytest.mark.slow
def test_a_bundle_answers_tokens_ids_and_texts_by_the_owners_code_alike(bundle: Path) -> None:
    manifest = manifests.read_manifest(bundle)
    assert manifests.make_manifest_document(manifest)["text"]["tokenizer"] == "external"
    assert read_text_verdict(manifest) == TextVerdict("compared", 4, "ids")
    assert [example.text for example in manifest.examples][:4] == list(TEXTS)
    assert verify(bundle).replays
    plain, own = Classifier.load(bundle), Classifier.load(bundle, tokenizer=split)
    with torch.no_grad():
        for text, ids in PAIRS:
            expected = torch.softmax(make_net(MODULE)(torch.tensor([ids]))[0], 0)
            assert own.classify(text) == plain.classify(split(text)) == plain.classify(ids)
            assert own.predict_proba([text])[0].tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.slow
def test_a_function_that_gives_other_ids_than_at_the_export_is_refused(tmp_path: Path) -> None:
    exported(tmp_path / "b", rules=FRAMED, tokenizer=split, example_texts=TEXTS)
    assert Classifier.load(tmp_path / "b", tokenizer=split).classify("w1,w2")
    with pytest.raises(InputError, match="4 of the 4 golden examples"):
        Classifier.load(tmp_path / "b", tokenizer=lambda _: ["a word without an id"])
    # Tokens that were given do not show how a function splits their text.
    exported(tmp_path / "tokens", tokenizer="external", example_texts=[["w1 w2", "w3"]])
    assert Classifier.load(tmp_path / "tokens", tokenizer=split).classify("w1,w2")


@pytest.mark.slow
def test_what_is_made_of_such_a_bundle_takes_the_same(bundle: Path, tmp_path: Path) -> None:
    made = compress(bundle, tmp_path / "small", storage=Storage("int8", "float32", 8))
    assert max(i for example in made.manifest.examples for i in example.ids) < 8
    verify(tmp_path / "small")
    small = Classifier.load(tmp_path / "small", tokenizer=split)
    assert small.encode("w1,w39") == [2, 5, 0, 0, 3]
    with pytest.raises(InputError, match=r"packed, .*external"):
        pack(bundle, tmp_path / "b.prnn")
    assert not (tmp_path / "b.prnn").exists()


@pytest.mark.parametrize(
    ("given", "verdict", "examples"),
    [
        ({"tokenizer": "external"}, TextVerdict("external"), 12),
        ({"tokenizer": "external", "example_ids": PAIRS}, TextVerdict("external"), 6),
        ({"tokenizer": "external", "example_texts": [["w1", ","], [5, 6]]}, TextVerdict("external"), 4),
        ({"rules": TextRules("external"), "tokenizer": encoded, "example_texts": TEXTS}, TextVerdict("external"), 6),
        (
            {"rules": FRAMED, "tokenizer": split, "example_ids": PAIRS, "examples": False},
            TextVerdict("compared", 4),
            12,
        ),
        # The first of several pairs with one text is taken.
        ({"tokenizer": "external", "example_ids": [("a", [5]), ("a", [6])]}, TextVerdict("external"), 3),
    ],
)
@pytest.mark.slow
def test_every_way_to_give_the_proof_its_texts(
    given: dict[str, Any], verdict: TextVerdict, examples: int, tmp_path: Path
) -> None:
    manifest = exported(tmp_path / "b", **given)
    assert read_text_verdict(manifest) == verdict
    assert len(manifest.examples) == examples
    assert given.get("examples", True) or not {e.text for e in manifest.examples} & set(TEXTS)
    verify(tmp_path / "b")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tokenizer": "external", "example_texts": TEXTS}, "cannot be split"),
        ({"tokenizer": "external", "example_ids": [("x", [99])]}, "has the id 99"),
        ({"tokenizer": "external", "example_texts": [[True]]}, "ids with True"),
        (
            {"rules": TextRules("external", first_id=2), "tokenizer": split, "example_ids": PAIRS},
            "tokenizer gives",
        ),
        ({"rules": TextRules("external", last_id=4), "example_ids": PAIRS}, "the id 4"),
        ({"tokenizer": "external", "example_ids": [OwnersText("w1-w2", [5], ["w1", "w2"])]}, "--max-tokens 1"),
        ({"tokenizer": "external", "example_ids": [OwnersText("w1-w2", [6, 5], ["w1", "w2"])]}, "its tokens"),
        ({"tokenizer": "external", "example_ids": [OwnersText("w1-w2", [2, 5, 6], ["w1", "w2"])]}, '"first_id": 2}'),
        (
            {"tokenizer": "external", "example_ids": [OwnersText("w1", [2, 5, 3], ["w1"])]},
            '"first_id": 2, "last_id": 3',
        ),
        ({"tokenizer": "whitespace", "example_ids": [("w1 w2", ["w1", "w2"])]}, "w1 w2.* whitespace"),
        ({"tokenizer": "external", "example_ids": [("w1 w2", None, "yes")]}, "tokenizer .*external"),
        ({"rules": TextRules("external", max_tokens=2), "example_ids": PAIRS}, "every text to 2"),
        ({"rules": FRAMED, "tokenizer": lambda _: 5, "example_texts": TEXTS}, "return a list"),
        ({"rules": FRAMED, "tokenizer": lambda _: [None], "example_texts": TEXTS}, "tokenizer.*cannot be used"),
        ({"rules": FRAMED, "tokenizer": lambda text: text.no, "example_texts": TEXTS}, "raises AttributeError"),
    ],
)
def test_texts_that_do_not_fit_are_refused_before_anything_is_traced(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        exported(tmp_path / "b", **given)
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_the_refusals_of_other_rules_name_the_way(tmp_path: Path) -> None:
    many = [f"w{i},w{i + 1};w{i + 2}x w{i}" for i in range(30)]
    for given in (
        {"tokenizer": split, "example_texts": many},
        {"tokenizer": split, "example_texts": ["w1;w2"]},
        {"tokenizer": "whitespace", "example_ids": [(text, encoded(text)[1:-1]) for text in many]},
    ):
        with pytest.raises(InputError) as caught:
            exported(tmp_path / "b", **given)
        assert "--tokenizer external" in str(caught.value)
        assert "Classifier.load(..., tokenizer=function)" in str(caught.value)
        # The recommended rules are those that the command line makes from the vocabulary.
        written = re.search(r"rules=(TextRules\(.*?\)) in Python", str(caught.value))
        assert written is not None
        most = re.search(r"--tokenizer external --max-tokens (\d+)", str(caught.value))
        named = make_implied_rules(read_vocabulary(WORDS), "external")
        expected = replace(named, max_tokens=None if most is None else int(most[1]))
        assert eval(written[1], {"TextRules": TextRules}) == expected  # noqa: S307 - ours


@pytest.mark.parametrize("rules", [{"steps": ["lowercase"]}, {"lowercase": True}])
def test_rules_for_texts_that_are_not_split_here_are_refused(rules: dict[str, Any], tmp_path: Path) -> None:
    result = command(tmp_path, "--rules", json.dumps({"tokenizer": "external", **rules}))
    assert result.exit_code == 2
    assert "external" in result.stderr


def command(folder: Path, *more: str) -> Result:
    (folder / "model.py").write_text(MODULE, encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    lines = [json.dumps({"text": text, "ids": ids}) for text, ids in PAIRS]
    (folder / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    arguments = [
        "export",
        f"{folder / 'model.py'}:Net()",
        "--random-weights",
        "--vocabulary",
        str(folder / "vocab.txt"),
    ]
    arguments += ["--labels", "no,yes", "-o", str(folder / "b"), "--no-torchscript", *more]
    return CliRunner().invoke(main, arguments)


@pytest.mark.slow
def test_the_command_makes_such_a_bundle_of_pairs(tmp_path: Path) -> None:
    rules = json.dumps({"tokenizer": "external", "first_id": "<s>", "last_id": "</s>"})
    result = command(tmp_path, "--rules", rules, "--pairs", str(tmp_path / "pairs.jsonl"))
    assert result.exit_code == 0, result.output
    assert "Text rules: texts are split by your code" in result.stdout
    # Tokens may be looked up otherwise than the ids that were compared.
    shown = shlex.split(result.stdout.splitlines()[-1])
    assert json.loads(shown[-1]) in [ids for _, ids in PAIRS], shown
    assert shown[-2] == "--tokens"
    assert '/b", tokenizer=words)' in result.stdout.splitlines()[-2]
    asked = CliRunner().invoke(main, ["classify", "-b", str(tmp_path / "b"), "--tokens", '["w1"]', "[2, 5, 3]"])
    assert len({line.split("\t")[1] for line in asked.stdout.splitlines()}) == 1


@pytest.mark.slow
def test_the_command_makes_such_a_bundle_without_texts(tmp_path: Path) -> None:
    named = command(tmp_path, "--tokenizer", "external")
    assert named.exit_code == 0, named.output


def test_the_command_takes_such_texts_by_the_name_of_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "ids.jsonl").write_text('{"text": "x", "ids": [99]}\n', encoding="utf-8")
    named = command(tmp_path, "--tokenizer", "external", "--pairs", str(tmp_path / "ids.jsonl"))
    assert named.exit_code == 2
    assert "has the id 99" in " ".join(named.stderr.split())


@pytest.mark.parametrize("of_function", [False, True])
@pytest.mark.parametrize(
    "frame",
    [
        {"min_width": 6, "max_width": 6},
        {"min_width": 6, "max_width": 6, "pad_side": "left", "unknown_id": 4},
        {"min_width": 8, "max_width": 8, "first_id": 2, "last_id": 3, "padding_id": 9},
    ],
)
def test_padded_ids_beside_tokens_give_the_whole_rules(frame: dict[str, Any], of_function: bool) -> None:
    texts = ["w1 w2", "w3", "w5 !! w4", "w1 w2 w3 w4", "w2 zz", "yy w1", "w6 ww w3"]
    own = TextEncoder(TextRules("whitespace", **{"padding_id": 1, **frame}), WORDS)
    pairs = [OwnersText(text, own.encode(text), None if of_function else text.split()) for text in texts]
    function = str.split if of_function else None
    with pytest.raises(InputError) as caught:
        collect_given_ids(
            TextRules("external", padding_id=1), WORDS, rows=99, tokenizer=function, pairs=pairs, texts=[]
        )
    words = shlex.split(str(caught.value)[str(caught.value).index("--rules") :])
    written = json.loads(words[1].removesuffix(","))
    assert written == {"tokenizer": "external", **frame}


@pytest.mark.parametrize(
    ("rows", "frame"),
    [
        ([[0, 0, 4], [0, 3, 2], [0, 0, 0]], {"min_width": 3, "max_width": 3, "pad_side": "left"}),
        # One text is cut behind its padding word.
        ([[0, 0, 4], [0, 3, 2], [5, 4, 0]], {"min_width": 3, "max_width": 3, "pad_side": "left"}),
        (
            [[5, i, 6, 0] for i in (2, 3, 4, 2)],
            {"min_width": 4, "max_width": 4, "pad_side": "right", "first_id": 5, "last_id": 6},
        ),
        ([[5, 2, 0], [5, 3, 0], [5, 0, 0]], {"min_width": 3, "max_width": 3, "pad_side": "right"}),
    ],
)
def test_padded_ids_of_one_width_give_the_whole_rules(rows: list[list[int]], frame: dict[str, Any]) -> None:
    given = {f"text {i}": row for i, row in enumerate(rows)}
    with pytest.raises(InputError, match=r"--rules.*unknown_id") as caught:
        refuse_doubtful_ids(TextRules("external", unknown_id=1), ["<pad>", "<unk>", *"abcdef"], given)
    words = shlex.split(str(caught.value)[str(caught.value).index("--rules") :])
    written = json.loads(words[1])
    assert {"pad_side": "right", **written} == {"tokenizer": "external", **frame}


def test_a_bundle_keeps_the_names_of_the_files_that_its_function_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("helpers.py").write_text("STOP = 'stop.json'\n")
    Path("stop.json").write_text("[]")
    Path("cut.py").write_text("from helpers import STOP\ndef words(text):\n    return open('stop.json').read()\n")
    given: dict[str, Any] = {}
    monkeypatch.setattr(bundle_export, "export", lambda *_, **description: given.update(description))
    options = {"source": "net.py:Net", "tokenizer": "cut.py:words", "compress": None, "profile": None, "force": False}
    _write_bundle(None, Path("b"), {"rules": FRAMED, "provenance": {"data": "mine"}}, options)
    files = ["cut.py", "helpers.py", "stop.json"]
    assert given["provenance"] == {"data": "mine", "source": "net.py:Net", "tokenizer_files": files}
    given.clear()
    _write_bundle(None, Path("b"), {"rules": TextRules()}, options)
    assert given["provenance"] == {"source": "net.py:Net"}
