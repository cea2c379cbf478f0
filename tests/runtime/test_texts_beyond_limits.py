"""Texts beyond the limits of a bundle's graph are refused with a sentence, or skipped."""

from __future__ import annotations

import json
import logging
import pickle
import re
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner, Result

from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest
from pocketrnn.bundle.manifest import Limits
from pocketrnn.classifier import compute_logits_of_batches
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, LimitError, PocketRNNError
from pocketrnn.text import TextRules

LIMITS = Limits(min_tokens=2, max_tokens=9, max_batch=3)
TEXTS = ("the oil", "wall st . bears claw back into the black", "the team wins")
SHORT, LONG = "oil", "the oil " * 5


def make(folder: Path, **options: object) -> Path:
    given = {"limits": LIMITS, "texts": TEXTS, "rules": TextRules(tokenizer="whitespace"), **options}
    change = partial(bundle_maker.bounded, fewest=2, most=9)
    return bundle_maker.make(folder, change_graph=change, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with limits, whose graph fails on what they leave out."""
    return make(tmp_path_factory.mktemp("limited") / "bundle")


def redigested(document: dict[str, object]) -> bytes:
    """classifier.json with a right digest, whatever it says."""
    zeroed = json.dumps({**document, "digest": "0" * 64}).encode()
    return zeroed.replace(b"0" * 64, sha256(zeroed).hexdigest().encode())


def run(*arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def test_limits_are_written_and_read_back(limited: Path) -> None:
    assert Classifier.load(limited).manifest.graph.limits == LIMITS
    assert json.loads((limited / "classifier.json").read_bytes())["graph"]["limits"] == {
        "min_tokens": 2, "max_tokens": 9, "max_batch": 3,
    }  # fmt: skip


def test_what_is_no_limit_is_not_written(tmp_path: Path, padded: Path) -> None:
    one = bundle_maker.make(tmp_path / "one", limits=Limits(max_tokens=300))
    assert json.loads((one / "classifier.json").read_bytes())["graph"]["limits"] == {"max_tokens": 300}
    none = bundle_maker.make(tmp_path / "none", limits=Limits())
    assert (none / "classifier.json").read_bytes() == (padded / "classifier.json").read_bytes()


def test_texts_within_the_limits_are_answered(limited: Path) -> None:
    classifier = Classifier.load(limited)
    golden = [example.logits for example in classifier.manifest.examples]
    np.testing.assert_allclose(classifier.logits(TEXTS), golden, atol=1e-5)
    assert [classifier.classify(text).label for text in TEXTS] == classifier.predict(TEXTS)
    assert verify(limited).name == "small"


def test_the_graph_itself_would_fail_beyond_them(tmp_path: Path) -> None:
    classifier = Classifier.load(make(tmp_path / "bundle", limits=Limits(min_tokens=2)))
    with pytest.raises(PocketRNNError, match=r"\b1 texts .*\b10 tokens"):
        classifier.classify(LONG)
    # Loading asks the graph once, for as short a text as it takes: here for one that is too short.
    with pytest.raises(BundleError, match="cannot be run"):
        Classifier.load(make(tmp_path / "other", limits=Limits(max_tokens=9)))


@pytest.mark.parametrize(
    ("text", "tokens", "bound"),
    [(SHORT, "1 token id", "at least 2"), (LONG, "10 token ids", "at most 9"), ("", "1 token id", "at least 2")],
)
def test_a_text_beyond_them_is_refused(limited: Path, text: str, tokens: str, bound: str) -> None:
    classifier = Classifier.load(limited)
    with pytest.raises(LimitError) as caught:
        classifier.classify(text)
    assert caught.value.problem == f"The text becomes {tokens}, but small takes {bound}."
    assert caught.value.exit_status == 2
    with pytest.raises(LimitError) as caught:
        classifier.logits([*TEXTS, text])
    assert caught.value.problem == f"The text at position 3 (counted from 0) becomes {tokens}, but small takes {bound}."
    assert "on_error='skip'" in caught.value.remedy


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lazily", [False, True])
def test_the_text_is_named_by_its_position_in_all(limited: Path, threads: int, lazily: bool) -> None:
    classifier = Classifier.load(limited, threads=threads)
    texts = [*TEXTS * 1500, SHORT, LONG]
    with pytest.raises(LimitError, match=r"\b4500 .*\b2\b"):
        classifier.predict(iter(texts) if lazily else texts)
    with pytest.raises(LimitError, match="position 4 "):
        list(compute_logits_of_batches(classifier, [list(TEXTS), [TEXTS[0], LONG]]))


def test_what_lies_beyond_them_can_be_skipped(limited: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = Classifier.load(limited)
    texts = [LONG, TEXTS[0], None, SHORT, TEXTS[1], TEXTS[2]]
    labels = classifier.predict(TEXTS)
    expected = [None, labels[0], None, None, labels[1], labels[2]]
    with caplog.at_level(logging.WARNING):
        assert classifier.predict(texts, on_error="skip") == expected  # type: ignore[arg-type]
    (record,) = caplog.records
    assert re.search(r"\bsmall .*\b3 items .*tokens$", record.message)
    answers = classifier.classify_all(texts, on_error="skip")  # type: ignore[arg-type]
    assert [answer and answer.label for answer in answers] == expected
    logits = classifier.logits(texts, on_error="skip")  # type: ignore[arg-type]
    assert np.isnan(logits).all(1).tolist() == [label is None for label in expected]
    np.testing.assert_allclose(logits[[1, 4, 5]], classifier.logits(TEXTS), atol=1e-6)
    assert classifier.predict([LONG], on_error="skip") == [None]


def test_a_run_holds_no_more_texts_than_the_graph_takes(limited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier.load(limited)
    engine = classifier._engine
    sizes: list[int] = []
    whole = engine._compute_logits_of_run  # type: ignore[attr-defined]
    monkeypatch.setattr(
        engine, "_compute_logits_of_run", lambda tokens, lengths: sizes.append(len(tokens)) or whole(tokens, lengths)
    )
    classifier.logits(["the oil"] * 8)
    assert sorted(sizes) == [2, 3, 3]


def test_max_tokens_of_the_text_rules_may_exceed_them_or_keep_within(tmp_path: Path) -> None:
    shorter = TextRules(tokenizer="whitespace", max_tokens=9)
    assert Classifier.load(make(tmp_path / "shorter", rules=shorter)).predict([LONG])
    longer = TextRules(tokenizer="whitespace", max_tokens=1000)
    with pytest.raises(LimitError, match="at most 9"):
        Classifier.load(make(tmp_path / "longer", rules=longer)).predict([LONG])


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({}, "fewer than 1"),
        (None, "not of type"),
        ({"min_tokens": 0}, "less than 1"),
        ({"min_tokens": 65_537}, "more than 65536"),
        ({"max_tokens": 2**31}, "more than 2147483647"),
        ({"max_batch": 1.5}, "not of type"),
        ({"max_batch": None}, "not of type"),
        ({"max_tokens": True}, "not of type"),
        ({"most": 3}, "not a known member"),
        ({"min_tokens": 5, "max_tokens": 4}, "at least 5 and at most 4"),
        ({"max_tokens": 8}, "'wall st . bears claw back into the black' has 9 token ids"),
        ({"min_tokens": 3}, "'the oil' has 2 token ids"),
    ],
)
def test_limits_that_cannot_be_are_refused(limited: Path, tmp_path: Path, limits: object, said: str) -> None:
    text = (limited / "classifier.json").read_text(encoding="utf-8")
    changed = json.loads(text)
    changed["graph"]["limits"] = limits
    (tmp_path / "classifier.json").write_bytes(redigested(changed))
    with pytest.raises(BundleError) as caught:
        manifest.read_manifest(tmp_path)
    assert said in str(caught.value)


def test_limits_may_be_written_as_floats_that_are_whole(limited: Path, tmp_path: Path) -> None:
    changed = json.loads((limited / "classifier.json").read_bytes())
    changed["graph"]["limits"] = {"max_tokens": 9.0}
    (tmp_path / "classifier.json").write_bytes(redigested(changed))
    assert repr(manifest.read_manifest(tmp_path).graph.limits) == repr(Limits(max_tokens=9))


def test_a_stream_counts_over_the_whole_text(tmp_path: Path) -> None:
    folder = bundle_maker.make(tmp_path / "free", limits=Limits(max_tokens=4), stream=True, texts=("the oil",))
    classifier = Classifier.load(folder)
    stream = classifier.stream()
    stream.push("the oil ")
    before = stream.push("wins a").label
    with pytest.raises(LimitError, match=r"\b5 .*small.*\b4\b"):
        stream.push(" game")
    assert stream.push("").label == before
    with pytest.raises(LimitError, match="5 token ids"):
        classifier.stream(stream.save()).push(" game")
    assert verify(folder).replays[-1].how == "each as a stream"


def test_a_stream_beside_a_fewest_number_of_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"\b2 tokens.*stream"):
        make(tmp_path / "bundle", stream=True)
    assert bundle_maker.make(tmp_path / "one", limits=Limits(min_tokens=1), stream=True)


def test_rows_of_a_data_set_get_null(limited: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pocketrnn.ray_data import add_answer_columns

    columns = ("text", "label", "probability")
    table = arrow.table({"text": [TEXTS[0], LONG, TEXTS[1]]})
    answered = add_answer_columns(table, Classifier.load(limited), columns, "skip")
    assert [label is None for label in answered.column("label").to_pylist()] == [False, True, False]
    with pytest.raises(LimitError, match="position 1 "):
        add_answer_columns(table, Classifier.load(limited), columns, "raise")


def test_the_sentence_can_be_sent_to_another_process(limited: Path) -> None:
    with pytest.raises(LimitError) as caught:
        Classifier.load(limited).classify(SHORT)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own bytes
    with pytest.raises(LimitError):
        pickle.loads(pickle.dumps(Classifier.load(limited))).classify(SHORT)  # noqa: S301 - our own bytes


def test_inspect_shows_them(limited: Path, padded: Path) -> None:
    shown = run("inspect", limited).stdout
    assert "a text of at least 2 tokens; a text of at most 9 tokens; a run of at most 3 texts" in shown
    assert json.loads(run("inspect", "--json", limited).stdout)["graph"]["limits"]["max_tokens"] == 9
    assert "limits" not in run("inspect", padded).stdout
    assert "empty text" in shown


def test_the_command_line_names_the_text_or_line(limited: Path) -> None:
    result = run("classify", "-b", limited, TEXTS[0], SHORT)
    assert (result.exit_code, len(result.stdout.splitlines())) == (2, 1)
    assert re.match(r"Error: Text 2 .*\b1 token id, .*small .*at least 2\.", result.stderr)
    result = run("classify", "-b", limited, stdin=f"{TEXTS[0]}\n{TEXTS[1]}\n{LONG}\n{TEXTS[2]}\n")
    assert (result.exit_code, len(result.stdout.splitlines())) == (2, 2)
    assert re.search(r"Error: Line 3 .*\b10 token ids, .*small .*at most 9\.", result.stderr)


def test_rows_of_files_are_refused_or_passed_over(
    limited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [TEXTS[0], LONG, None, SHORT, TEXTS[1]]
    Path("in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    Path("full.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows if text))
    result = run("classify", "-b", limited, "-i", "full.jsonl", "-o", "out.jsonl")
    assert result.exit_code == 2
    assert re.match(r"Error: Row 2 of full\.jsonl .*\b10 token ids, .*small .*at most 9\.", result.stderr)
    assert "--on-error skip" in result.stderr
    assert not Path("out.jsonl").exists()
    result = run("classify", "-b", limited, "-i", "in.jsonl", "-o", "out.jsonl", "--on-error", "skip")
    assert result.exit_code == 0
    assert re.search(r"3 of 5 rows .*: 1 without a text, 0 .*, 2 .*tokens\.", result.stderr)
    labels = Classifier.load(limited).predict([TEXTS[0], TEXTS[1]])
    written = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["label"] for row in written] == [labels[0], None, None, None, labels[1]]
    assert [row["probability"] is None for row in written] == [False, True, True, True, False]


# A graph that needs a token beside the padding's. Unknown words are dropped, and an empty text is padding.
WORDS = ("<unk>", "<pad>", "the", "oil", "cup")
PADDED = TextRules(tokenizer="whitespace", unknown_id=None, empty_id=1, padding_id=1)
NO_WORD = "holds no known word besides padding, but small needs one."


def make_counting(folder: Path, **options: object) -> Path:
    given: dict[str, object] = {"limits": Limits(real_token=True), "texts": ("the oil", "cup"), "rules": PADDED}
    given = {**given, "vocabulary": WORDS, **options}
    change = partial(bundle_maker.needing_a_real_token, padding_id=given["rules"].padding_id)  # type: ignore[attr-defined]
    return bundle_maker.make(folder, change_graph=change, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graph fails on a text of padding only."""
    return make_counting(tmp_path_factory.mktemp("counting") / "bundle")


def test_a_need_of_a_real_token_is_written_and_read(counting: Path) -> None:
    document = json.loads((counting / "classifier.json").read_bytes())
    assert document["graph"]["limits"] == {"real_token": True}
    assert manifest.read_manifest(counting).graph.limits == Limits(real_token=True)
    assert verify(counting).name == "small"


@pytest.mark.parametrize("text", ["", "  ", "<pad>", "<PAD> <pad>", "unheard of", "unheard <pad>"])
def test_a_text_of_padding_only_is_refused(counting: Path, text: str) -> None:
    classifier = Classifier.load(counting)
    with pytest.raises(LimitError) as caught:
        classifier.classify(text)
    assert caught.value.problem == f"The text {NO_WORD}"
    assert "vocabulary" in caught.value.remedy
    for ask in (classifier.predict, classifier.logits, classifier.predict_proba, classifier.predict_labels):
        with pytest.raises(LimitError) as caught:
            ask(["the cup", text])  # type: ignore[operator]
        assert caught.value.problem == f"The text at position 1 (counted from 0) {NO_WORD}"
        assert "on_error='skip'" in caught.value.remedy
    with pytest.raises(LimitError, match="no known word"):
        list(classifier.classify_all(["the cup", text]))


def test_padding_beside_a_real_token_is_no_text_of_padding_only(counting: Path, tmp_path: Path) -> None:
    texts = ["<pad> oil", "oil <pad> <pad>", "the", "unheard cup"]
    logits = Classifier.load(counting).logits(texts)
    model = bundle_maker.weights(len(WORDS))
    expected = [bundle_maker.reference_logits(model, ids) for ids in ([1, 3], [3, 1, 1], [2], [4])]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    wide = replace(PADDED, min_width=9, max_width=9, pad_side="left")
    classifier = Classifier.load(make_counting(tmp_path / "wide", rules=wide))
    assert len(classifier.predict(texts)) == 4
    assert classifier.classify("oil")
    with pytest.raises(LimitError, match=r"position 0 .* no known word"):
        classifier.predict(["unheard of"])
    with pytest.raises(LimitError, match=r"^The text holds .*known word"):
        classifier.classify("")


def test_a_text_of_padding_only_can_be_skipped(counting: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = Classifier.load(counting)
    texts = ["", "the oil", None, "<pad>", "cup"]
    labels = classifier.predict(["the oil", "cup"])
    expected = [None, labels[0], None, None, labels[1]]
    with caplog.at_level(logging.WARNING):
        assert classifier.predict(texts, on_error="skip") == expected  # type: ignore[arg-type]
    (record,) = caplog.records
    assert re.search(r"\bsmall .*\b3 items .*known word$", record.message)
    answers = classifier.classify_all(texts, on_error="skip")  # type: ignore[arg-type]
    assert [answer and answer.label for answer in answers] == expected
    assert np.isnan(classifier.logits(["", "<pad>"], on_error="skip")).all()
    assert classifier.predict([]) == []


def test_loading_asks_for_a_text_that_the_graph_takes(tmp_path: Path) -> None:
    last = replace(PADDED, empty_id=4, padding_id=4)
    assert Classifier.load(make_counting(tmp_path / "last", rules=last, texts=["oil"])).classify("oil")
    both = Limits(max_tokens=1, real_token=True)
    assert Classifier.load(make_counting(tmp_path / "one", rules=last, limits=both, texts=["oil"])).classify("oil")
    # With too few rows in the embedding, loading fails: the highest id is asked for here too.
    with pytest.raises(BundleError, match=r"token id, 5\b"):
        Classifier.load(
            make_counting(
                tmp_path / "rows",
                change=lambda made: replace(
                    bundle_maker.with_graph(made, embedding_rows=6),
                    input=replace(made.text, rules=replace(PADDED, padding_id=5)),
                ),
            )
        )


def test_a_stream_beside_a_need_of_a_real_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"known word.*stream"):
        make_counting(tmp_path / "bundle", stream=True)


@pytest.mark.parametrize("value", [False, 1, 1.0, None, "true", []])
def test_a_need_of_a_real_token_is_true_or_missing(counting: Path, tmp_path: Path, value: object) -> None:
    changed = json.loads((counting / "classifier.json").read_bytes())
    changed["graph"]["limits"] = {"real_token": value}
    (tmp_path / "classifier.json").write_bytes(redigested(changed))
    with pytest.raises(BundleError, match="real_token"):
        manifest.read_manifest(tmp_path)


def test_a_golden_example_of_padding_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'unheard'"):
        make_counting(tmp_path / "bundle", texts=("the oil", "unheard"))


def test_where_unknown_words_have_an_id_the_limit_is_the_padding_alone(tmp_path: Path) -> None:
    rules = TextRules(tokenizer="whitespace", unknown_id=0, empty_id=0, padding_id=1)
    bundle = make_counting(tmp_path / "bundle", rules=rules)
    assert Classifier.load(bundle).classify("unheard").label
    said = run("inspect", bundle).stdout
    assert "a text with a word other than the padding's" in said
    assert "a known word" not in said


def test_the_command_line_says_which_text_holds_no_known_word(
    counting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "known word" in run("inspect", counting).stdout
    result = run("classify", "-b", counting, "the oil", "unheard")
    assert (result.exit_code, len(result.stdout.splitlines())) == (2, 1)
    assert result.stderr.startswith(f"Error: Text 2 {NO_WORD}")
    result = run("classify", "-b", counting, stdin="the oil\n\ncup\n")
    assert result.stderr.startswith(f"Error: Line 2 {NO_WORD}")
    rows = ["the oil", "<pad>", None, "unheard", "cup"]
    Path("in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    Path("full.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows if text))
    result = run("classify", "-b", counting, "--input", "full.jsonl", "-o", "out.jsonl")
    assert result.exit_code == 2
    assert re.match(r"Error: Row 2 of full\.jsonl .*no known word .*small ", result.stderr)
    assert not Path("out.jsonl").exists()
    result = run("classify", "-b", counting, "--input", "in.jsonl", "-o", "out.jsonl", "--on-error", "skip")
    assert result.exit_code == 0
    assert "3 of 5 rows skipped: 1 without a text, 0 left out, 2 without a known word." in result.stderr
    written = [json.loads(line)["label"] for line in Path("out.jsonl").read_text().splitlines()]
    assert [label is None for label in written] == [False, True, True, True, False]
