"""A bundle answers as its owner's pipeline did: cleaned, cut and padded as there, and not only as the bare module."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from pocketrnn import Classifier, verify
from pocketrnn.bundle.manifest import Limits, read_manifest
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, ExportError, InputError
from pocketrnn.text import TextRules, cleaning, make_rules_document
from pocketrnn_export import export
from pocketrnn_export.vocabularies.text_rules_file import read_rules
from pocketrnn_export.vocabularies.vocabulary import Vocabulary
from pocketrnn_training.classifiers.architecture import Architecture
from pocketrnn_training.classifiers.recurrent_classifiers import RecurrentClassifier

pytestmark = pytest.mark.usefixtures("scant_proofs")
WORDS = [
    "<pad>", "<unk>", "<sos>", "<eos>", "good", "bad", "film", "plot", "great", "awful", "the", "a", "was", "is", "it",
    "and", "not", "cant", "won't", "actor",
]  # fmt: skip
LABELS = ["negative", "positive"]
TEXTS = [
    "The plot was bad, and it CAN'T be good!",
    "A great, great film<br />with a good actor",
    "awful",
    "...",
    "",
    "film " * 30,
    "it   was \t not:the plot\n",
]
WIDTH = 12
ALWAYS_THERE = {"tokenizer", "lowercase", "ngrams", "max_tokens", "unknown_id", "empty_id", "padding_id"}


class LastState(nn.Module):
    """Reads what it is given, padding included: the padding after a text changes its answer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), 6)
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.out = nn.Linear(5, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        _, (h, _) = self.lstm(self.embedding(tokens))
        logits: Tensor = self.out(h[-1])
        return logits


class Packed(LastState):
    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (h, _) = self.lstm(packed)
        logits: Tensor = self.out(h[-1])
        return logits


class OfOneWidth(LastState):
    """Takes rows of 12 ids and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5 * WIDTH, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.out(states.reshape(-1, 5 * WIDTH))
        return logits


class PackedOfOneWidth(Packed):
    """Takes rows of 12 ids, and packs by their real lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5 * WIDTH, 2)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=tokens.size(1)
        )
        logits: Tensor = self.out(states.reshape(-1, 5 * WIDTH))
        return logits


class OverFiveTokens(LastState):
    """Takes no text of fewer than 5 ids."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 6, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        _, (h, _) = self.lstm(self.conv(self.embedding(tokens).transpose(1, 2)).transpose(1, 2))
        logits: Tensor = self.out(h[-1])
        return logits


def keras_ids(text: str) -> list[int]:
    """Tokenizer().texts_to_sequences, then pad_sequences(maxlen=12)."""
    filters = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
    words = text.lower().translate({ord(point): " " for point in filters}).split(" ")
    ids = [WORDS.index(word) for word in words if word in WORDS][-WIDTH:]
    return [0] * (WIDTH - len(ids)) + ids


def punctuation_removed_ids(text: str) -> list[int]:
    words = "".join(c for c in text.lower() if c not in string.punctuation).split()
    ids = [WORDS.index(word) if word in WORDS else 1 for word in words][:WIDTH]
    return ids + [0] * (WIDTH - len(ids))


def sentence_ids(text: str) -> list[int]:
    words = [word for word in re.sub("[^a-zA-Z']", " ", text).lower().split() if word not in ("the", "a")]
    return [2, *(WORDS.index(word) if word in WORDS else 1 for word in words[:10]), 3]


PIPELINES: dict[str, tuple[Callable[[str], list[int]], str]] = {
    "keras": (
        keras_ids,
        """{"tokenizer": "space", "steps": ["keras_filters"], "stop_words": [""], "unknown_id": null,
            "min_width": 12, "max_width": 12, "pad_side": "left", "cut_side": "left"}""",
    ),
    "punctuation removed": (
        punctuation_removed_ids,
        '{"tokenizer": "whitespace", "steps": ["remove_punctuation"], "min_width": 12, "max_width": 12}',
    ),
    "sentences": (
        sentence_ids,
        """{"tokenizer": "whitespace", "lowercase": false, "stop_words": ["the", "a"], "max_tokens": 10,
            "steps": [{"keep": ["az", "AZ", "'"], "by": " "}, "lowercase"], "first_id": "<sos>", "last_id": "<eos>"}""",
    ),
}
VOCABULARY = Vocabulary(tuple(WORDS), 1)


def expected(module: nn.Module, ids_of: Callable[[str], list[int]], texts: list[str]) -> np.ndarray:
    module.eval()
    rows = [torch.tensor([ids_of(text)]) for text in texts]
    with torch.no_grad():
        if isinstance(module, Packed):
            # The real length, of at least one token, whatever the row is padded to.
            answers = [module(row, (row != 0).sum(1).clamp(min=1)) for row in rows]
        else:
            answers = [module(row) for row in rows]
    return torch.cat(answers).numpy()


@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.slow
@pytest.mark.parametrize("make", [LastState, Packed])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_bundle_answers_as_the_owners_pipeline(
    tmp_path: Path, pipeline: str, make: type[LastState], *, edge: bool
) -> None:
    ids_of, rules = PIPELINES[pipeline]
    module = make()
    if edge and make is Packed and "width" in rules:
        with pytest.raises(ExportError, match=r"profile edge .*min_width"):
            export(module, tmp_path / "none", labels=LABELS, vocabulary=WORDS, rules=read_rules(rules, VOCABULARY),
                   edge=True)  # fmt: skip
        return
    export(module, tmp_path / "bundle", labels=LABELS, vocabulary=WORDS, rules=read_rules(rules, VOCABULARY),
           example_texts=TEXTS, torchscript=False, edge=edge)  # fmt: skip
    check_answers(tmp_path / "bundle", module, ids_of)


def check_answers(bundle: Path, module: nn.Module, ids_of: Callable[[str], list[int]]) -> None:
    verify(bundle)
    classifier = Classifier.load(bundle)
    logits = expected(module, ids_of, TEXTS)
    probabilities = torch.tensor(logits).softmax(1).numpy()
    assert [classifier.encode(text) for text in TEXTS] == [ids_of(text) for text in TEXTS]
    assert [list(example.ids) for example in classifier.manifest.examples[: len(TEXTS)]] == [ids_of(t) for t in TEXTS]
    np.testing.assert_allclose(classifier.logits(TEXTS), logits, atol=1e-5)
    np.testing.assert_allclose(classifier.predict_proba(TEXTS), probabilities, atol=1e-5)
    assert classifier.predict(TEXTS) == [LABELS[i] for i in logits.argmax(1)]
    for text, row in zip(TEXTS, probabilities, strict=True):
        answer = classifier.classify(text)
        assert (answer.label, answer.probability) == (LABELS[row.argmax()], pytest.approx(row.max(), abs=1e-5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "edge"),
    [
        (PackedOfOneWidth, False),
        pytest.param(OfOneWidth, False, marks=pytest.mark.slow),
        pytest.param(OfOneWidth, True, marks=pytest.mark.slow),
    ],
)
def test_a_module_of_one_width_is_exported_with_the_rules_that_pad_to_it(
    tmp_path: Path, make: type[nn.Module], *, edge: bool
) -> None:
    ids_of, rules = PIPELINES["keras"]
    module = make()
    manifest = export(module, tmp_path / "bundle", labels=LABELS, vocabulary=WORDS, rules=read_rules(rules, VOCABULARY),
                      example_texts=TEXTS, torchscript=False, edge=edge)  # fmt: skip
    assert manifest.graph.limits == Limits(min_tokens=WIDTH, max_tokens=WIDTH)
    check_answers(tmp_path / "bundle", module, ids_of)


# test_right_programs.py has such a module in the fast suite.
@pytest.mark.slow
def test_texts_that_a_module_takes_no_shorter_are_filled_up_to_a_least_width(tmp_path: Path) -> None:
    module, rules = OverFiveTokens(), TextRules("whitespace", unknown_id=1, min_width=5)
    manifest = export(module, tmp_path / "bundle", labels=LABELS, vocabulary=WORDS, rules=rules, example_texts=TEXTS,
                      torchscript=False)  # fmt: skip
    assert manifest.graph.limits is not None
    assert manifest.graph.limits.min_tokens == 5

    def owners_ids(text: str) -> list[int]:
        ids = [WORDS.index(word) if word in WORDS else 1 for word in text.lower().split()]
        return ids + [0] * (5 - len(ids))

    logits = Classifier.load(tmp_path / "bundle").logits(TEXTS)
    np.testing.assert_allclose(logits, expected(module, owners_ids, TEXTS), atol=1e-5)


def test_what_plain_rules_say_has_the_members_of_version_1() -> None:
    assert make_rules_document(TextRules()).keys() == ALWAYS_THERE


# In the fast suite, test_padding_id_inside_texts.py exports with such rules.
@pytest.mark.slow
def test_members_whose_absence_means_the_same_are_left_out(tmp_path: Path) -> None:
    manifest = export(Packed(), tmp_path / "bundle", labels=LABELS, vocabulary=WORDS, torchscript=False)
    document = json.loads((tmp_path / "bundle" / "classifier.json").read_bytes())
    assert document["text"].keys() == ALWAYS_THERE
    assert not document.keys() & {"torchscript", "stream", "thresholds"}
    assert manifest.text.rules.is_plain


@pytest.mark.slow
def test_a_stream_of_rules_that_it_cannot_follow_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one_way = RecurrentClassifier(Architecture("lstm", len(WORDS), 4, 4, 1, False, 0.0, "last", True, 2, 0))
    rules = TextRules("whitespace", unknown_id=1, steps=cleaning("letters"), min_width=3)
    with pytest.raises(ExportError, match="steps, min_width"):
        export(one_way, tmp_path / "bundle", labels=LABELS, vocabulary=WORDS, rules=rules, streaming=True)
    export(one_way, tmp_path / "bundle", labels=LABELS, vocabulary=WORDS, rules=rules, torchscript=False)
    classifier = Classifier.load(tmp_path / "bundle")
    with pytest.raises(InputError, match="stream"):
        classifier.stream()
    plain = export(one_way, tmp_path / "plain", labels=LABELS, vocabulary=WORDS, streaming=True, torchscript=False)
    with pytest.raises(BundleError, match="steps, min_width"):
        replace(plain, input=replace(plain.text, rules=rules))


MODULE = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.gru = nn.GRU(6, 5, batch_first=True)
        self.out = nn.Linear(5, 2)
        for number, weight in enumerate(self.parameters(), 1):
            weight.data = torch.sin(torch.arange(weight.numel()) * number / 3.0).reshape(weight.shape)
    def forward(self, tokens):
        return self.out(self.gru(self.embedding(tokens))[1][-1])
"""


def run(folder: Path, *options: str) -> tuple[int, str]:
    (folder / "net.py").write_text(MODULE)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    made = ["export", f"{folder / 'net.py'}:Net", "--vocabulary", str(folder / "vocab.txt"), "--labels", "a,b"]
    done = CliRunner().invoke(main, [*made, "--no-torchscript", "-o", str(folder / "made"), *options])
    return done.exit_code, done.output


RULES = '{"tokenizer": "whitespace", "steps": ["lowercase", ["&", " and "], "remove_punctuation"], "min_width": 9}'


def rules_given(folder: Path, *, as_file: bool) -> str:
    """The argument of `--rules`: the rules, or a file of them."""
    (folder / "rules.json").write_text(RULES)
    return str(folder / "rules.json") if as_file else RULES


@pytest.mark.parametrize("as_file", [True, False])
def test_the_command_compares_pairs_with_rules_that_are_json_or_a_file(tmp_path: Path, *, as_file: bool) -> None:
    ids = [WORDS.index(word) for word in ("good", "and", "film")]
    pairs = [["Good&film!", [*ids, *[0] * 6]], ["film", [6, 7]]]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    status, said = run(tmp_path, "--rules", rules_given(tmp_path, as_file=as_file), "--pairs",
                       str(tmp_path / "pairs.jsonl"), "--random-weights")  # fmt: skip
    assert (status, "Text 2 of your pipeline" in said) == (2, True), said


@pytest.mark.slow
@pytest.mark.parametrize("as_file", [True, False])
def test_the_command_takes_rules_as_json_and_as_a_file(tmp_path: Path, *, as_file: bool) -> None:
    status, said = run(tmp_path, "--rules", rules_given(tmp_path, as_file=as_file))
    assert status == 0, said
    text = read_manifest(tmp_path / "made").text.rules
    assert (text.tokenizer, text.min_width, text.unknown_id, text.padding_id) == ("whitespace", 9, 1, 0)
    assert text.steps == cleaning("lowercase", ("&", " and "), "remove_punctuation")
    shown = CliRunner().invoke(main, ["inspect", str(tmp_path / "made")]).output
    assert "padded on the right to 9 ids" in shown


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        pytest.param("absent.json", "absent.json cannot be read: No such file", marks=pytest.mark.slow),
        ('{"widht": 200}', "'widht' is not a known member"),
    ],
)
def test_the_command_refuses_what_are_no_rules(tmp_path: Path, rules: str, sentence: str) -> None:
    status, said = run(tmp_path, "--rules", rules)
    assert sentence in said.replace("\n", " ")
    assert status in (1, 2)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ("{", "JSON"),
        ('{"first_id": "<bos>"}', "`first_id` .*is '<bos>', .*vocabulary"),
        ('{"min_width": "200"}', "min_width is '200', .*integer"),
        ('{"min_width": 100000}', "min_width is 100000, .*65536"),
        ('{"steps": "letters"}', "steps is 'letters', .*array"),
        ('{"steps": ["stem"]}', "the name 'stem'"),
        ('{"steps": [["a", "aa"], ["a", "aa"], ["a", "a"], ["a", 1]]}', "is 1, .*string"),
        (r'{"steps": [{"sub": ["a^", ""]}]}', r"'\^'.*--tokenizer external"),
        ('{"steps": [{"sub": ["a"]}]}', "a cleaning step"),
        ('{"steps": [{"sub": ["a", 1]}]}', "1"),
        ('{"steps": [["", " "]]}', "step .*0 characters"),
        ('{"tokenizer": "spacy"}', "tokenizer is 'spacy'"),
        ('{"stop_words": "the"}', "stop_words is 'the', .*array"),
    ],
)
def test_what_are_no_rules_is_refused(rules: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_rules(rules, VOCABULARY)


@pytest.mark.parametrize("call", ["module(tokens)", pytest.param(None, marks=pytest.mark.slow)])
def test_an_id_that_the_embedding_has_no_row_for_is_refused(tmp_path: Path, call: str | None) -> None:
    with pytest.raises(ExportError, match="embedding"):
        export(LastState(), tmp_path / "bundle", labels=LABELS, vocabulary=WORDS, rules=TextRules(last_id=99),
               call=call)  # fmt: skip
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_a_named_tokenizer_is_the_one_of_the_rules_beside_it(tmp_path: Path) -> None:
    status, said = run(tmp_path, "--rules", "{}", "--tokenizer", "whitespace")
    assert status == 0, said
    assert read_manifest(tmp_path / "made").text.rules.tokenizer == "whitespace"
