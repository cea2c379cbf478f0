"""A tagger labels each token at its position in the original text, finds spans, and refuses invalid input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner, Result

from pocketrnn import Classifier, Tag, spans_of, verify
from pocketrnn.bundle.output_kinds import TagOutput, build_output
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, InputError, LimitError, PocketRNNError, TextError
from pocketrnn.text import TextRules

LABELS = ("O", "B-ORG", "I-ORG", "B-LOC")
TEXT = "NASA's \N{GRINNING FACE} probe, İ cafe\N{COMBINING ACUTE ACCENT}"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_maker.make(tmp_path_factory.mktemp("tags") / "tagger", labels=LABELS, of_tokens=True)


def run(*arguments: str, exit_code: int = 0, input: str | None = None) -> Result:  # noqa: A002 - as click names it
    done = CliRunner().invoke(main, arguments, input=input)
    assert done.exit_code == exit_code, done.stderr
    return done


@pytest.fixture(scope="session")
def tagger(bundle: Path) -> Classifier:
    return Classifier.load(bundle)


def made(tmp_path: Path, **options: Any) -> Classifier:
    return Classifier.load(bundle_maker.make(tmp_path / "tagger", labels=LABELS, of_tokens=True, **options))


def test_each_token_has_the_label_of_its_step_and_its_place_in_the_text(tagger: Classifier) -> None:
    tags = tagger.tag(TEXT)
    assert [TEXT[tag.start : tag.end] for tag in tags] == [tag.token for tag in tags]
    assert [tag.token for tag in tags] == [
        "NASA", "'", "s", "\N{GRINNING FACE}", "probe", ",", "İ", "cafe\N{COMBINING ACUTE ACCENT}",
    ]  # fmt: skip
    model = bundle_maker.weights(len(bundle_maker.WORDS))
    ids = tagger.encode(TEXT)
    for i, tag in enumerate(tags):
        logits = bundle_maker.reference_logits(model, ids[: i + 1])
        assert tag.label == LABELS[logits.argmax()]
        assert tag.probability == pytest.approx(float(np.exp(logits.max()) / np.exp(logits).sum()), abs=1e-6)


def test_a_list_of_tokens_is_counted_in_tokens(tagger: Classifier) -> None:
    tags = tagger.tag(["nasa", "probe"])
    assert [(tag.token, tag.start, tag.end) for tag in tags] == [("nasa", 0, 1), ("probe", 1, 2)]
    assert [tag.label for tag in tags] == [tag.label for tag in tagger.tag("NASA probe")]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lengths", [True, False])
def test_many_texts_are_tagged_as_each_alone(tmp_path: Path, threads: int, lengths: bool) -> None:
    bundle_maker.make(tmp_path / "tagger", labels=LABELS, of_tokens=True, lengths=lengths)
    tagger = Classifier.load(tmp_path / "tagger", threads=threads, max_batch_tokens=16)
    texts = [*bundle_maker.TEXTS, ["the", "cup"], *("oil " * n for n in range(1, 30))]
    together = tagger.predict_tags(texts)
    assert [[(t.token, t.label) for t in tags] for tags in together] == [
        [(t.token, t.label) for t in tagger.tag(text)] for text in texts
    ]
    assert [tags.text for tags in tagger.tag_all(iter(texts))] == texts


def test_what_the_rules_cut_off_or_drop_has_no_tag(tmp_path: Path) -> None:
    rules = TextRules(max_width=3, first_id=1, min_width=3, stop_words=("the",), unknown_id=None)
    tags = made(tmp_path, rules=rules).tag("the oil what prices cup")
    assert [(tag.token, tag.start) for tag in tags] == [("oil", 4), ("prices", 13)]
    assert tags.untagged == (("what", 8, 12), ("cup", 20, 23))
    assert made(tmp_path / "2", rules=TextRules(max_tokens=1)).tag("oil cup").untagged == (("cup", 4, 7),)
    left = TextRules(max_width=1, cut_side="left")
    assert [tag.token for tag in made(tmp_path / "3", rules=left).tag("oil cup")] == ["cup"]


def test_an_empty_text_has_no_tags(tagger: Classifier) -> None:
    assert list(tagger.tag("")) == list(tagger.tag([])) == []
    assert [len(tags) for tags in tagger.predict_tags(["", "oil", ""])] == [0, 1, 0]
    assert tagger.predict_tags([]) == []


def test_the_callers_own_tokenizer_is_placed_in_the_text(bundle: Path) -> None:
    own = Classifier.load(bundle, tokenizer=str.split)
    assert [(tag.token, tag.start) for tag in own.tag("oil  oil")] == [("oil", 0), ("oil", 5)]
    lowering = Classifier.load(bundle, tokenizer=lambda text: text.lower().split())
    with pytest.raises(InputError, match="'oil'"):
        lowering.tag("Oil")


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.classify("oil"),
        lambda c: c.classify("oil", top=2),
        lambda c: c.predict(["oil"]),
        lambda c: c.predict_proba(["oil"]),
        lambda c: c.logits(["oil"]),
        lambda c: c.embed(["oil"]),
        lambda c: c.explain("oil"),
        lambda c: c.stream(),
        lambda c: list(c.classify_all(["oil"])),
    ],
)
def test_what_asks_for_the_answer_to_a_text_is_refused(tagger: Classifier, ask: Callable[[Classifier], Any]) -> None:
    with pytest.raises(InputError, match=r"tag\(\)"):
        ask(tagger)


def test_what_cannot_be_tagged_is_refused(tagger: Classifier, classifier: Classifier, tmp_path: Path) -> None:
    for ask in (lambda: classifier.tag("oil"), lambda: classifier.predict_tags(["oil"])):
        with pytest.raises(InputError, match=r"classify\(\)"):
            ask()
    for text in (5, [1, 2], ["oil", 2], ["oil prices"]):
        with pytest.raises(TextError):
            tagger.tag(text)  # type: ignore[arg-type]
    with pytest.raises(TextError, match="position 1"):
        tagger.predict_tags(["oil", None])  # type: ignore[list-item]
    with pytest.raises(TextError):
        tagger.predict_tags("oil")
    with pytest.raises(InputError, match="on_error"):
        tagger.predict_tags(["oil"], on_error="ignore")  # type: ignore[call-overload]
    short = made(tmp_path, limits=bundle_maker.Limits(max_tokens=7), texts=["oil"])
    with pytest.raises(LimitError, match="position 1"):
        short.predict_tags(["oil", "oil " * 8])
    assert [tags and len(tags) for tags in short.predict_tags(["oil", "oil " * 8, 3], on_error="skip")] == [
        1,
        None,
        None,
    ]


def test_labels_that_are_chosen_are_those_of_tokens(tagger: Classifier) -> None:
    assert {tag.label for tag in tagger.among(["O", "B-LOC"]).tag(TEXT)} <= {"O", "B-LOC"}


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ("B-A I-A O B-A", [("A", 0, 2), ("A", 3, 4)]),
        ("B-A B-A I-B I-B", [("A", 0, 1), ("A", 1, 2), ("B", 2, 4)]),
        ("I-A I-A I-B O I-B", [("A", 0, 2), ("B", 2, 3), ("B", 4, 5)]),
        ("B-A I-A E-A S-A S-A", [("A", 0, 3), ("A", 3, 4), ("A", 4, 5)]),
        ("B_A M_A E_A I_A", [("A", 0, 3), ("A", 3, 4)]),
        ("B-A L-A U-B", [("A", 0, 2), ("B", 2, 3)]),
        ("B-A <pad> I-A B", [("A", 0, 1), ("A", 2, 3)]),
        ("A A O B A", [("A", 0, 2), ("B", 3, 4), ("A", 4, 5)]),
        ("<pad> NOUN [SEP]", [("NOUN", 1, 2)]),
        ("O O", []),
        ("", []),
    ],
)
def test_labels_stand_for_spans(labels: str, spans: list[tuple[str, int, int]]) -> None:
    tokens = [f"w{i}" for i in range(len(labels.split()))]
    tags = [Tag(tokens[i], label, 0.9, i, i + 1) for i, label in enumerate(labels.split())]
    assert [(span.label, span.start, span.end) for span in spans_of(tags, tokens)] == spans
    assert all(span.text == " ".join(tokens[span.start : span.end]) for span in spans_of(tags, tokens))


def test_a_bundle_says_that_its_labels_are_of_tokens_and_is_verified(bundle: Path, tmp_path: Path) -> None:
    document = json.loads((bundle / "classifier.json").read_text(encoding="utf-8"))
    assert document["labels_of"] == "tokens"
    assert [len(example["logits"]) for example in document["examples"]] == [len(e["ids"]) for e in document["examples"]]
    verified = verify(bundle)
    assert [len(replay.differences) for replay in verified.replays] == [len(bundle_maker.TEXTS)] * 2
    assert run("verify", str(bundle)).exit_code == 0
    assert "labels of each token" in run("inspect", str(bundle)).stdout


def test_a_graph_of_texts_is_no_graph_of_tokens(tmp_path: Path) -> None:
    def of_tokens(manifest: Any) -> Any:
        rows = [example.logits for example in manifest.examples]
        examples = tuple(
            bundle_maker.replace(example, logits=(row,) * len(example.ids))
            for example, row in zip(manifest.examples, rows, strict=True)
        )
        return bundle_maker.replace(manifest, output=TagOutput(manifest.labels), examples=examples)

    with pytest.raises(BundleError, match="rank 3"):
        Classifier.load(bundle_maker.make(tmp_path / "bundle", change=of_tokens))


def test_an_answer_without_all_its_tokens_leaves_the_last_untagged(tmp_path: Path) -> None:
    def without_the_last(proto: Any) -> None:
        """As a module that counts its tokens itself, and takes the last for padding."""
        helper, graph = bundle_maker.helper, proto.graph
        last = next(node for node in graph.node if "logits" in node.output)
        last.output[0] = "all"
        numbers = {"from": [0], "to": [-1], "at": [1]}
        graph.initializer.extend(
            bundle_maker.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()
        )
        graph.node.append(helper.make_node("Slice", ["all", "from", "to", "at"], ["logits"]))
        graph.output[0].type.tensor_type.shape.dim[1].dim_param = "less"

    tags = made(tmp_path, change_graph=without_the_last).tag("oil cup war")
    assert [tag.token for tag in tags] == ["oil", "cup"]
    assert tags.untagged == (("war", 8, 11),)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    def broken(proto: Any) -> None:
        tensor = next(t for t in proto.graph.initializer if t.name == "bias")
        bias = bundle_maker.numpy_helper.to_array(tensor).copy()
        bias[1] = np.inf
        tensor.CopyFrom(bundle_maker.numpy_helper.from_array(bias, "bias"))

    with pytest.raises(PocketRNNError, match="NaN or infinite"):
        made(tmp_path, change_graph=broken).tag("oil cup")


def test_outputs_of_tokens_have_no_thresholds() -> None:
    assert build_output(("a", "b"), labels_of="tokens") == TagOutput(("a", "b"))
    for members in ({"activation": "sigmoid"}, {"thresholds": (0.5, 0.5)}):
        with pytest.raises(InputError, match="thresholds"):
            build_output(("a", "b"), labels_of="tokens", **members)
    with pytest.raises(InputError, match="it has 1"):
        TagOutput(("a",))


class TestTheCommandLine:
    def test_spans_are_in_brackets_behind_their_labels(self, bundle: Path, tagger: Classifier) -> None:
        text = "oil prices rise in\tthe cup"
        spans = {span.text: span.label for span in tagger.tag(text).spans}
        (line,) = run("classify", "-b", str(bundle), text).stdout.splitlines()
        for span, label in spans.items():
            assert f"[{label} {span}]" in line
        assert "\\t" in line

    def test_json_has_every_token_with_its_place(self, bundle: Path, tagger: Classifier) -> None:
        lines = run("classify", "-b", str(bundle), "--json", TEXT, "oil").stdout.splitlines()
        found = json.loads(lines[0])
        assert (found["text"], len(lines)) == (TEXT, 2)
        for found_tag, tag in zip(found["tags"], tagger.tag(TEXT), strict=True):
            assert found_tag == {**asdict(tag), "probability": pytest.approx(tag.probability)}
        assert [span["text"] for span in found["spans"]] == [span.text for span in tagger.tag(TEXT).spans]

    def test_columns_of_conll_have_a_line_for_each_token(self, bundle: Path, tmp_path: Path) -> None:
        done = run("classify", "-b", str(bundle), "--conll", input="oil prices\n\ncup\n")
        assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["oil", "prices", "", "", "cup", ""]
        bundle_maker.make(tmp_path / "cut", labels=LABELS, of_tokens=True, rules=TextRules(max_tokens=1))
        done = run("classify", "-b", str(tmp_path / "cut"), "--conll", "oil cup")
        assert done.stdout.splitlines()[1] == "cup\t_"
        assert "1 tokens" in done.stderr

    def test_tokens_may_be_given_as_lists(self, bundle: Path) -> None:
        done = run("classify", "-b", str(bundle), "--tokens", "--json", '["oil", "cup"]')
        assert json.loads(done.stdout)["tokens"] == ["oil", "cup"]

    def test_a_line_that_is_refused_is_named_and_those_before_it_are_answered(self, bundle: Path) -> None:
        done = run("classify", "-b", str(bundle), "--tokens", "--conll", input='["oil"]\n[3]\n["cup"]\n', exit_code=2)
        assert done.stdout.startswith("oil\t")
        assert "Line 2" in done.stderr
        assert "cup" not in done.stdout

    @pytest.mark.parametrize("option", [["--top", "2"], ["--threshold", "0.5"], ["--explain"], ["--stream"],
                                        ["--input", "rows.csv"]])  # fmt: skip
    def test_options_of_texts_are_refused(self, bundle: Path, option: list[str]) -> None:
        done = run("classify", "-b", str(bundle), *option, *([] if option[0] == "--input" else ["oil"]), exit_code=2)
        assert option[0] in done.stderr

    def test_conll_is_for_tokens_only(self, padded: Path, bundle: Path) -> None:
        assert "--conll" in run("classify", "-b", str(padded), "--conll", "oil", exit_code=2).stderr
        assert "--json" in run("classify", "-b", str(bundle), "--conll", "--json", "oil", exit_code=2).stderr
