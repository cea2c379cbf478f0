"""Modules with several heads: their outputs are found and joined, and each head answers as its owner's does."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import head_modules as zoo
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from slow_case_sampling import mostly_slow
from torch import nn

from pocketrnn import Classifier, HeadsOutput, LabelOutput, TextInput, verify
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError, ParityError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.comparing.logit_comparison import measure_difference
from pocketrnn_export.compression import compress
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule, prepare_module
from pocketrnn_export.packing import pack
from pocketrnn_export.standalone_text_rules_file import pack_text_rules

pytestmark = pytest.mark.usefixtures("short_proofs")

VOCABULARY = ["<unk>", "<pad>", *(f"w{i}" for i in range(zoo.WORDS - 2))]
TOPICS, MOODS, XYZ = ("oil", "cup", "war", "art"), ("bad", "good"), ("x", "y", "z")
HEADS = {"topic": TOPICS, "mood": MOODS}
TEXTS = ["w3 w4", "w5", "w9 w8 w7 w6 w5 w4"]


def module(kind: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def prepared(kind: Callable[[], nn.Module], heads: dict[str, Any] | None = None, **options: Any) -> ExportableModule:
    given = {
        name: labels if isinstance(labels, LabelOutput) else LabelOutput(tuple(labels))
        for name, labels in (heads or HEADS).items()
    }
    known = {"lengths": None, "ids": zoo.WORDS, "padding_id": 1, "multi_label": False, "heads": given}
    classes = sum(len(head.labels) for head in given.values())
    return prepare_module(module(kind), classes=classes, **{**known, **options})


def joined(*parts: str) -> str:
    return f"out = module(tokens); torch.cat([{', '.join(f'out{part}' for part in parts)}], 1)"


FOUND: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "a tuple": (zoo.Tuple, HEADS, joined("[0]", "[1]")),
    "a tuple in another order": (zoo.Tuple, {"mood": MOODS, "topic": TOPICS}, joined("[1]", "[0]")),
    "a dict": (zoo.Dict, HEADS, joined("['topic']", "['mood']")),
    "logits beside probabilities": (zoo.DictOfLogits, HEADS, joined("['logits']['topic']", "['logits']['mood']")),
    "a named tuple": (zoo.NamedTuple, HEADS, joined("[1]", "[0]")),
    "an object": (zoo.Object, HEADS, joined(".topic", ".mood")),
    "one tensor": (zoo.One, HEADS, "module(tokens)"),
    "a stack": (zoo.Stacked, {"a": XYZ, "b": XYZ}, "module(tokens).flatten(1)"),
    "a stack, heads first": (
        zoo.StackedFirst,
        dict.fromkeys("abcd", XYZ),
        "module(tokens).transpose(0, 1).flatten(1)",
    ),
    "as many labels": (lambda: zoo.Tuple(3, 3), {"a": XYZ, "b": XYZ}, joined("[0]", "[1]")),
    "other names": (zoo.Dict, {"theme": TOPICS, "tone": MOODS}, joined("['topic']", "['mood']")),
    "one number": (
        zoo.Squeezed,
        HEADS,
        joined("[0]", "[1].reshape(tokens.size(0), 1)"),
    ),
}


@pytest.mark.parametrize("name", mostly_slow(FOUND, 5))
def test_the_output_of_each_head_is_found(name: str) -> None:
    kind, heads, line = FOUND[name]
    found = prepared(kind, heads)
    assert found.convention.line == line
    assert found.convention.left_out == ""
    assert [part.units for part in found.convention.heads] == [
        1 if name == "one number" and head == "mood" else len(labels) for head, labels in heads.items()
    ]


@pytest.mark.parametrize(
    ("kind", "said"),
    [(zoo.Stacked, "a row"), pytest.param(lambda: zoo.Tuple(3, 3), r"a is answer\[0\]", marks=pytest.mark.slow)],
)
def test_heads_of_as_many_labels_are_taken_in_order_and_it_is_said(
    kind: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = prepared(kind, {"a": XYZ, "b": XYZ})
    assert said.replace("\\", "") in found.convention.provenance["assumed"]
    assert any(record.levelno == logging.WARNING and "order" in record.message for record in caplog.records)


def softmax(logits: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits, -1)


def both(number: torch.Tensor) -> torch.Tensor:
    return torch.stack([1 - number, number], -1).reshape(1, 2)


# Each with its heads, further options, and what its owner makes of the answer to one text.
Read = Callable[[Any], list[torch.Tensor]]
OWNERS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], dict[str, Any], Read]] = {
    "a dict": (zoo.Dict, HEADS, {}, lambda out: [softmax(out["topic"]), softmax(out["mood"])]),
    "sigmoid of one head": (
        zoo.Tuple, {"topic": LabelOutput(TOPICS, "sigmoid", (0.3, 0.5, 0.6, 0.5)), "mood": MOODS}, {},
        lambda out: [torch.sigmoid(out[0]), softmax(out[1])],
    ),
    "probabilities, and one number": (zoo.Squeezed, HEADS, {}, lambda out: [out[0], both(out[1])]),
    "a softmax for each head": (zoo.InALoop, {"topic": TOPICS, "mood": XYZ}, {}, list),
    "a head of a head": (zoo.Dependent, {"topic": TOPICS, "mood": XYZ}, {}, list),
    "lengths": (zoo.WithLengths, HEADS, {}, lambda out: [softmax(out["topic"]), softmax(out["mood"])]),
    "a task": (
        zoo.ByTask, HEADS, {"call": "{task: module(tokens, task) for task in ('topic', 'mood')}"},
        lambda out: [softmax(out["topic"]), softmax(out["mood"])],
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(OWNERS, 4))
def test_every_head_answers_as_its_owner_does(name: str, tmp_path: Path) -> None:
    kind, heads, options, read = OWNERS[name]
    given = module(kind)
    manifest = export(given, tmp_path / "b", heads=heads, vocabulary=VOCABULARY, torchscript=False, **options)
    classifier = Classifier.load(tmp_path / "b")
    assert manifest.heads == classifier.heads == tuple(heads)
    assert verify(tmp_path / "b").name == "b"
    for text in TEXTS:
        tokens = torch.tensor([classifier.encode(text)])
        with torch.no_grad():
            if name == "a task":
                answer: Any = {task: given(tokens, task) for task in ("topic", "mood")}
            else:
                answer = given(tokens, *([torch.tensor([tokens.shape[1]])] if name == "lengths" else []))
        ours: Any = classifier.predict_proba([text])
        for head, expected in zip(heads, read(answer), strict=True):
            np.testing.assert_allclose(ours[head], expected, atol=1e-5)
            np.testing.assert_allclose(classifier.head(head).predict_proba([text]), expected, atol=1e-5)


def test_a_head_that_another_reads_is_brought_to_logits_by_its_logarithm() -> None:
    found = prepared(zoo.Dependent, {"topic": TOPICS, "mood": XYZ}).convention
    assert [part.undone for part in found.heads] == ["softmax", None]
    assert found.heads[1].activation is not None
    assert "another head" in found.provenance["gives"]


def test_what_is_beside_the_heads_is_told(caplog: pytest.LogCaptureFixture) -> None:
    found = prepared(zoo.WithFeatures).convention
    assert "answer[2], 5 numbers" in found.left_out
    assert "answer[3]" not in found.left_out
    assert any("answer[2]" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("kind", "heads", "says"),
    [
        pytest.param(zoo.Dict, {"topic": TOPICS, "moood": MOODS}, r"'moood'.*\bmood\?", marks=pytest.mark.slow),
        (zoo.Dict, {"topic": TOPICS, "weather": MOODS}, r"'weather'.*mood, topic"),
        (zoo.Dict, {"topic": TOPICS, "mood": XYZ}, r"2 numbers as answer\['mood'\].*'mood'.* 3 labels"),
        (zoo.Tuple, {"topic": TOPICS, "mood": XYZ}, r"\[0\] with 4, answer\[1\] with 2.*3 labels.*'mood'.*call="),
        (zoo.Tuple, {"a": MOODS, "b": MOODS}, r"answer\[1\] with 2.* 2 labels.*'a' and 'b'"),
        (zoo.Tuple, {"topic": TOPICS, "mood": MOODS, "tone": XYZ}, r"3 labels.*'tone'"),
        (lambda: zoo.Dict(3, 3), {"a": XYZ, "b": XYZ}, r"mood, topic.*a, b"),
        (zoo.WithTags, HEADS, r"2 numbers .* token .*answer\[1\].*'mood'.*labels_of='tokens'"),
        (zoo.One, {"topic": TOPICS, "mood": XYZ}, r"answer with 6.*call="),
        pytest.param(zoo.ByTask, HEADS, "task", marks=pytest.mark.slow),
        (zoo.Dict, {"mood": MOODS, "mood_logits": MOODS}, "mood, mood_logits"),
    ],
)  # fmt: skip
def test_heads_that_fit_no_output_are_refused(kind: Any, heads: dict[str, Any], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        prepared(kind, heads)


@pytest.mark.slow
def test_the_owner_joins_heads_by_a_line_or_a_function() -> None:
    line = "out = module(tokens); torch.cat([out[0], out[1]], 1)"
    assert prepared(zoo.Tuple, call=line).convention.line == line
    tokens = torch.tensor([[5, 6, 7]])
    own = prepared(zoo.Tuple).reference(tokens)
    given = prepared(zoo.Tuple, call=lambda module, tokens, _lengths: module(tokens)).reference(tokens)
    torch.testing.assert_close(given, own)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heads": {"topic": TOPICS}}, "`heads` has 1"),
        ({"heads": {}}, "`heads` has 0"),
        ({"heads": {"topic": TOPICS, "mood": []}}, "'mood'.* is none"),
        ({"heads": {"topic": TOPICS, "mood": ["good"]}}, "'mood'.*only one"),
        ({"heads": {"topic": TOPICS, "mood": ["good", "good"]}}, "'mood'.*'good'.* 2 times"),
        ({"heads": {"topic": TOPICS, "mood": 2}}, "'mood'"),
        ({"heads": {"topic": TOPICS, 7: MOODS}}, "7"),
        ({"heads": [TOPICS, MOODS]}, "dict"),
        ({"labels": TOPICS}, "`labels` and `heads`"),
        ({"thresholds": (0.5, 0.5)}, "LabelOutput"),
        ({"two_texts": True}, "two texts"),
        ({"labels_of": "tokens"}, "labels_of"),
        ({"streaming": True}, "streaming"),
        ({"channels": 3}, "heads.*channels"),
        ({"example_ids": [("w3", [5], "oil")]}, "'oil'.*topic, mood"),
        ({"example_ids": [("w3", [5], {"moood": "good"})]}, r"'moood'.*\bmood\?"),
        ({"example_ids": [("w3", [5], {"mood": "oil"})]}, "'oil'.*'bad'"),
    ],
)
def test_arguments_that_heads_cannot_have_are_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"heads": HEADS, "vocabulary": VOCABULARY, **options}
    if "channels" in options:
        del given["vocabulary"]
    with pytest.raises(InputError, match=says):
        export(module(zoo.Tuple), tmp_path / "b", **given)
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_an_output_of_heads_is_described(tmp_path: Path) -> None:
    output = HeadsOutput({"topic": LabelOutput(TOPICS), "mood": LabelOutput(MOODS, "sigmoid", (0.4, 0.6))})
    texts = TextInput(TextRules(unknown_id=0, padding_id=1), tuple(VOCABULARY))
    manifest = export(module(zoo.Dict), tmp_path / "b", input=texts, output=output, torchscript=False)
    assert manifest.output == output
    with pytest.raises(InputError, match="heads"):
        export(module(zoo.Dict), tmp_path / "c", input=texts, output=output, heads=HEADS)  # type: ignore[call-overload]


@pytest.mark.slow
def test_answers_of_the_owner_are_compared_by_head(tmp_path: Path) -> None:
    given = module(zoo.Dict)
    tokens = [VOCABULARY.index(word) for word in ("w3", "w4")]
    with torch.no_grad():
        answer = {name: logits[0] for name, logits in given(torch.tensor([tokens])).items()}
    topic, mood = TOPICS[int(answer["topic"].argmax())], torch.softmax(answer["mood"], 0).tolist()
    pairs = [("w3 w4", tokens, {"topic": topic, "mood": mood})]
    common: dict[str, Any] = {"heads": HEADS, "vocabulary": VOCABULARY, "torchscript": False}
    manifest = export(given, tmp_path / "b", example_ids=pairs, **common)
    stated = manifest.provenance["text_rules"]["answers"]
    assert (stated["labels"], stated["probabilities"]) == (1, 1)
    wrong = [("w3 w4", tokens, {"topic": topic, "mood": mood[::-1]})]
    with pytest.raises(ParityError, match="'mood'"):
        export(given, tmp_path / "c", example_ids=wrong, **common)


def test_labels_that_differ_are_counted_in_every_head() -> None:
    expected = np.array([[5, 1, 0.2, 0.1], [5, 1, 0.1, 0.2]], np.float32)
    given = np.array([[5, 1, 0.1, 0.2], [5, 1, 0.1, 0.2]], np.float32)
    assert measure_difference("", "", expected, given).labels_differing == 0
    assert measure_difference("", "", expected, given, heads=(2, 2)).labels_differing == 1


@pytest.mark.slow
def test_without_heads_the_message_names_them(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ExportError, match=r"heads=") as refusal:
        prepare_module(
            module(lambda: zoo.Tuple(3, 3)), lengths=None, ids=zoo.WORDS, padding_id=1, classes=3, multi_label=False
        )
    assert "--call" in refusal.value.remedy
    found = prepare_module(module(zoo.Tuple), lengths=None, ids=zoo.WORDS, padding_id=1, classes=4, multi_label=False)
    assert "heads=" in found.convention.left_out
    with pytest.raises(ExportError, match=r"4 labels or 2 labels.*heads="):
        prepare_module(module(zoo.Tuple), lengths=None, ids=zoo.WORDS, padding_id=1, classes=7, multi_label=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "reviews"
    export(module(zoo.Dict), folder, heads=HEADS, vocabulary=VOCABULARY)
    return folder


@pytest.mark.slow
def test_its_torchscript_copy_gives_the_logits_of_all_heads(bundle: Path) -> None:
    script = torch.jit.load(str(bundle / "model.torchscript.pt"))  # type: ignore[no-untyped-call]
    classifier = Classifier.load(bundle)
    given = script(torch.tensor([classifier.encode("w3 w4")])).detach().numpy()
    np.testing.assert_allclose(given, classifier.logits(["w3 w4"]), atol=1e-5)


@pytest.mark.slow
def test_what_holds_one_head_refuses_several_by_a_sentence(bundle: Path, tmp_path: Path) -> None:
    for made in (
        lambda: pack(bundle, tmp_path / "b.prnn", arithmetic="int8"),
        lambda: pack(bundle, tmp_path / "b.prnn", streaming=True),
        lambda: pack_text_rules(bundle, tmp_path / "b.rules"),
        lambda: compress(bundle, tmp_path / "small"),
    ):
        with pytest.raises(InputError, match=r"topic, mood.*head\('topic'\)"):
            made()


def test_a_packed_file_answers_as_its_bundle(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("pocketrnn_native")
    file = tmp_path / "reviews.prnn"
    made = pack(bundle, file)
    assert {line.candidate for line in made.parity.comparisons} >= {"packed", "packed, in place", "runtime"}
    packed, whole = Classifier.load(file), Classifier.load(bundle)
    assert packed.heads == ("topic", "mood")
    assert packed.predict(TEXTS) == whole.predict(TEXTS)
    np.testing.assert_allclose(packed.logits(TEXTS), whole.logits(TEXTS), atol=1e-5)
    assert packed.head("mood").predict(TEXTS) == whole.head("mood").predict(TEXTS)
    shown, expected = (CliRunner().invoke(main, ["classify", "-b", str(one), "w3 w4"]) for one in (file, bundle))
    assert shown.stdout == expected.stdout
    assert verify(file).replays[0].examples > 2


@pytest.mark.slow
def test_heads_are_given_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "moods").write_text("bad\ngood\n")
    (tmp_path / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    file = Path(zoo.__file__)
    given = [
        "export", f"{file}:Dict", "--random-weights", "--vocabulary", str(tmp_path / "vocabulary.json"),
        "--head", "topic=oil,cup,war,art", "-o", str(tmp_path / "b"), "--no-torchscript",
    ]  # fmt: skip
    result = CliRunner().invoke(main, [*given, "--head", f"mood={tmp_path / 'moods'}"])
    assert result.exit_code == 0, result.output
    assert "topic, mood" in result.output
    assert Classifier.load(tmp_path / "b").head("mood").labels == MOODS
    shown = CliRunner().invoke(main, ["classify", "-b", str(tmp_path / "b"), "w3 w4"])
    assert shown.stdout.startswith("topic: ")
    for more, says in (
        ([], "one head"),
        (["--head", "topic=bad,good"], "'topic'.*twice"),
        (["--head", "mood"], "mood=bad,good"),
        (["--head", "mood=bad,good", "--labels", "a,b"], "--labels and --head"),
        (["--head", "mood=bad,good", "--profile", "packed", "--arithmetic", "int8"], "--arithmetic int8"),
        (["--head", "mood=bad,good", "--compress"], "--compress"),
    ):
        refused = CliRunner().invoke(main, [*given, *more, "--force"])
        assert refused.exit_code == 2
        assert re.search(says, refused.output), refused.output


def test_a_head_is_evaluated_by_its_name(bundle: Path, tmp_path: Path) -> None:
    texts = [f"w{i} w{i + 1}" for i in range(12)]
    data, likeliest = tmp_path / "moods.csv", Classifier.load(bundle).head("mood").predict(texts)
    rows = [f"{text},{'bad' if i < 9 else 'good'}" for i, text in enumerate(texts)]
    data.write_text("\n".join(["text,label", *rows]))
    asked = ["evaluate", str(bundle), str(data), "--json"]
    shown = CliRunner().invoke(main, [*asked, "--head", "mood"])
    right = sum(label == row.split(",")[1] for label, row in zip(likeliest, rows, strict=True))
    assert json.loads(shown.stdout)["accuracy"] == pytest.approx(right / len(texts)), shown.output
    refused = CliRunner().invoke(main, asked)
    assert refused.exit_code == 2
    assert "--head topic" in refused.output
