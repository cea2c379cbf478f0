"""Texts that are split already: as tokens, as ids, or by the caller's own tokenizer."""

from __future__ import annotations

import array
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn import Classifier, verify
from pocketrnn.bundle.manifest import Limits
from pocketrnn.commands.cli import main
from pocketrnn.errors import InputError, LimitError, TextError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.text_row_encoder import TextRowEncoder
from pocketrnn.verification_page import proof_page

WORDS = tuple(bundle_maker.WORDS)
TEXT = "the cup game"
FRAMED = TextRules("external", max_tokens=5, padding_id=1, first_id=2, last_id=3, min_width=4)


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that does not split texts; it begins and ends each with an id, and fills it up."""
    return bundle_maker.make(
        tmp_path_factory.mktemp("ready") / "framed", name="framed", rules=FRAMED, torchscript=False, texts=()
        , change=with_examples,
    )  # fmt: skip


def with_examples(manifest: Any) -> Any:
    model = bundle_maker.weights(len(WORDS))
    ids = TextEncoder(FRAMED, WORDS).encode_tokens(["the", "cup"])
    logits = tuple(map(float, bundle_maker.reference_logits(model, ids)))
    return bundle_maker.replace(manifest, examples=(bundle_maker.Example("the cup", tuple(ids), logits),))


def forms_of(ids: list[int]) -> list[Any]:
    return [ids, tuple(ids), np.array(ids), np.array(ids, np.uint16), array.array("q", ids), list(map(np.int32, ids))]


def test_tokens_ids_and_the_text_have_one_answer(padded: Path) -> None:
    classifier = Classifier.load(padded)
    ids = classifier.encode(TEXT)
    forms = [TEXT.split(), tuple(TEXT.split()), np.array(TEXT.split()), *forms_of(ids)]
    expected = classifier.classify(TEXT)
    for form in forms:
        assert classifier.encode(form) == ids
        assert classifier.classify(form) == expected
    assert classifier.predict([TEXT, *forms]) == [expected.label] * (len(forms) + 1)
    assert np.ptp(classifier.logits([TEXT, *forms]), axis=0).max() <= 1e-6
    assert [answer.label for answer in classifier.classify_all(iter(forms)) if answer] == [expected.label] * len(forms)
    whole, split = classifier.explain(TEXT), classifier.explain(TEXT.split())
    assert [f.log_odds for f in split.fragments] == pytest.approx([f.log_odds for f in whole.fragments])
    assert [(f.text, f.start) for f in split.fragments] == [("the", 0), ("cup", 1), ("game", 2)]


@pytest.mark.parametrize(
    "text",
    [None, True, 5, 5.0, b"the", bytearray(b"the"), memoryview(b"ab"), {1}, {"the": 1}, range(3), iter(["the"]),
     np.array(3), np.array([[1, 2]]), np.array([1.0]), np.array([True]), np.array([None]),
     [True], [1.0], [np.float32(1)], [np.True_], [None], [[1]], [b"the"], [1, "the"], ["the", 1], ["the", None],
     [-1], [10**30], [np.int64(-1)], [len(WORDS)], ["the cup game"], ["good film", "bad film"], [1, True]],
    ids=range(33),
)  # fmt: skip
def test_what_is_no_text_is_refused_in_a_sentence(padded: Path, text: Any) -> None:
    classifier = Classifier.load(padded)
    asks: list[Callable[[], object]] = [
        lambda: classifier.classify(text),
        lambda: classifier.encode(text),
        lambda: classifier.explain(text),
        lambda: classifier.predict_proba([TEXT, text]),
    ]
    for ask in asks:
        with pytest.raises(TextError) as caught:
            ask()
        assert caught.value.problem.endswith(".")
        assert caught.value.remedy.endswith(".")
    assert "position 1" in caught.value.problem
    assert classifier.predict([TEXT, text], on_error="skip")[1] is None


def test_the_rules_behind_the_tokenizer_hold_for_tokens_and_ids_are_final(external: Path) -> None:
    classifier = Classifier.load(external)
    the, cup = (WORDS.index(word) for word in ("the", "cup"))
    assert classifier.encode(["the", "cup"]) == [2, the, cup, 3]
    assert classifier.encode(["the"]) == [2, the, 3, 1]
    assert classifier.encode(["THE", "the cup"]) == [2, 0, 0, 3]
    assert classifier.encode(["the"] * 9) == [2, *[the] * 5, 3]
    assert classifier.encode([]) == [2, 3, 1, 1]
    for ids in ([2, the, cup, 3], [2, the, 3, 1], [2, 3, 1, 1]):
        assert classifier.encode(ids) == ids
    for wrong in ([the, cup], [2, the, 3], [2, the, cup, the], [the, cup, the, 3], [2, *[the] * 6, 3], [1, 1, 1, 1]):
        with pytest.raises(TextError, match="the rules"):
            classifier.classify(wrong)


@given(
    rules=st.builds(
        TextRules,
        tokenizer=st.sampled_from(["external", "whitespace"]),
        ngrams=st.integers(1, 3),
        max_tokens=st.none() | st.integers(1, 5),
        unknown_id=st.none() | st.integers(0, 4),
        empty_id=st.integers(0, 4),
        padding_id=st.integers(0, 4),
        stop_words=st.sampled_from([(), ("b",)]),
        first_id=st.none() | st.integers(0, 4),
        last_id=st.none() | st.integers(0, 4),
        max_width=st.none() | st.integers(3, 6),
        min_width=st.none() | st.integers(1, 3),
        cut_side=st.sampled_from(["left", "right"]),
        pad_side=st.sampled_from(["left", "right"]),
    ),
    tokens=st.lists(st.sampled_from(["a", "b", "c", "A", "a b"]), max_size=8),
)
@settings(deadline=None, max_examples=examples(100, 400))
def test_what_the_rules_give_is_never_refused_as_ids(rules: TextRules, tokens: list[str]) -> None:
    encoder = TextEncoder(rules, ["a", "b", "c", "A", "a b"])
    assert rules.explain_impossible_ids(encoder.encode_tokens(tokens)) == ""
    if rules.tokenizer == "whitespace":
        plain = [word for word in tokens if word in "abc"]
        assert encoder.encode_tokens(plain) == encoder.encode(" ".join(plain))


def test_a_word_that_stands_for_the_end_of_a_text_among_many_is_a_token_like_others() -> None:
    for words, ids in ((["<unk>", "A"], [1, 0]), (["<unk>", "b"], [0, 1])):
        encoder = TextEncoder(TextRules(), words)
        assert encoder.encode_tokens(["A", "b"]) == ids
        assert encoder.look_up(["A", "b"]) == ids
        assert encoder.holds("A") == ("A" in words)
        assert encoder.encode_all(["A b", "A"])[0].tolist() == [0, ids[1], 0]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("widths", [{"min_width": 4, "max_width": 4}, {"min_width": 4, "max_tokens": 2},
                                    {"max_tokens": 3}, {"max_width": 3}, {"min_width": 2}])  # fmt: skip
def test_the_ids_of_the_callers_tokenizer_are_cut_and_padded_once(side: Any, widths: dict[str, int]) -> None:
    rules = TextRules("external", pad_side=side, cut_side=side, padding_id=0, **widths)  # type: ignore[arg-type]
    encoder = TextEncoder(rules, [str(i) for i in range(9)])
    for count in range(1, 7):
        tokens = [str(i + 2) for i in range(count)]
        whole = encoder.encode_tokens(tokens)
        for one in (tokens, [*map(int, tokens)], whole):
            assert TextRowEncoder("c", encoder, 9, lambda _, own=one: own).encode_text("a") == whole
    framed = TextEncoder(replace(rules, last_id=1), [str(i) for i in range(9)])
    with pytest.raises(InputError, match="result"):
        TextRowEncoder("c", framed, 9, lambda _: [2]).encode_text("a")


def test_a_string_needs_a_tokenizer_where_the_bundle_splits_none(external: Path) -> None:
    classifier = Classifier.load(external)
    asks: list[Callable[[], object]] = [
        lambda: classifier.classify(TEXT),
        lambda: classifier.encode(TEXT),
        lambda: classifier.explain(TEXT),
        # A whole corpus is not passed over in silence.
        lambda: classifier.predict([TEXT], on_error="skip"),
    ]
    for ask in asks:
        with pytest.raises(InputError, match="not split texts") as caught:
            ask()
        assert "tokenizer=" in caught.value.remedy
        assert "--tokens" in caught.value.remedy


def by_letters(text: str) -> list[str]:
    return [word.strip("!?") for word in text.replace("-", " ").split()]


def test_the_callers_tokenizer_splits_every_string(external: Path, padded: Path) -> None:
    classifier = Classifier.load(external, tokenizer=by_letters, threads=2)
    expected = classifier.classify(["the", "cup"])
    for again in (classifier, pickle.loads(pickle.dumps(classifier))):  # noqa: S301 - our own
        assert again.classify("the-cup!") == expected
        assert again.predict(["the-cup!"] * 600 + [["the", "cup"]]) == [expected.label] * 601
    assert [f.text for f in classifier.explain("the-cup!").fragments] == ["the", "cup"]
    # As the exporter compares a function that cleans a text.
    cleaned = Classifier.load(external, tokenizer=lambda text: " ".join(by_letters(text)))
    assert cleaned.classify("the-cup!") == expected
    as_ids = Classifier.load(external, tokenizer=classifier.encode)
    assert as_ids.classify("the-cup!") == expected
    with pytest.raises(TextError, match="words are needed"):
        as_ids.explain("the-cup!")
    # In place of a bundle's own tokenizer, too; and none of its steps are done.
    instead = Classifier.load(padded, tokenizer=by_letters)
    assert instead.encode("the-cup!") == [WORDS.index("the"), WORDS.index("cup")]
    assert instead.encode("THE") == [instead.manifest.text.rules.unknown_id]
    with pytest.raises(InputError, match="fragments"):
        instead.stream()


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (lambda _: 5, "return a list"),
        (lambda _: None, "return a list"),
        (lambda _: [True], "returns .*cannot be used"),
        (lambda _: [1.0], "returns .*cannot be used"),
        (lambda _: [10**9], "returns .*cannot be used"),
        (lambda _: ["the", 3], "returns .*cannot be used"),
        (lambda text: 1 / len(text[:0]), "raises ZeroDivisionError"),
        (lambda _, more: more, "raises TypeError"),
    ],
)
def test_a_tokenizer_that_fails_is_named_also_where_texts_are_skipped(padded: Path, tokenizer: Any, said: str) -> None:
    classifier = Classifier.load(padded, tokenizer=tokenizer)
    with pytest.raises(InputError, match=said):
        classifier.classify(TEXT)
    with pytest.raises(InputError, match=said):
        classifier.predict([TEXT], on_error="skip")
    with pytest.raises(InputError, match="a function"):
        Classifier.load(padded, tokenizer="whitespace")  # type: ignore[arg-type]


def test_data_of_nltk_that_a_tokenizer_lacks_are_told_with_the_line_that_loads_them(padded: Path) -> None:
    def split(_: str) -> list[str]:
        raise LookupError(
            "\n***\n  Resource punkt_tab not found.\n  >>> import nltk\n  >>> nltk.download('punkt_tab')\n"
        )

    with pytest.raises(InputError, match="raises LookupError") as refused:
        Classifier.load(padded, tokenizer=split).classify(TEXT)
    assert "import nltk; nltk.download('punkt_tab')" in refused.value.remedy


def test_limits_hold_for_texts_that_are_split_already(tmp_path: Path) -> None:
    bundle = bundle_maker.make(
        tmp_path / "b", limits=Limits(min_tokens=2, max_tokens=3), texts=(TEXT,), change_graph=None
    )
    classifier = Classifier.load(bundle)
    for text in (["the"], [4] * 4):
        with pytest.raises(LimitError):
            classifier.classify(text)
    assert classifier.predict([["the"], ["the", "cup"]], on_error="skip")[0] is None


def test_a_bundle_that_splits_no_texts_is_verified_and_shown(external: Path) -> None:
    verified = verify(external)
    assert {replay.examples for replay in verified.replays} == {1}
    assert "given as token ids" in proof_page(verified)
    shown = run("inspect", external)
    assert "external: your code splits texts" in shown.stdout


def run(*arguments: object, given: str = "") -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), input=given)


def test_the_command_takes_json_lists(external: Path, padded: Path) -> None:
    result = run("classify", "-b", external, "--tokens", '["the", "cup"]', "[2, 5, 6, 3]", "[]")
    assert result.exit_code == 0, result.output
    assert [line.split("\t")[2] for line in result.stdout.splitlines()] == ['["the", "cup"]', "[2, 5, 6, 3]", "[]"]
    lines = run("classify", "-b", padded, "--tokens", "--json", given='["the"]\n[4]\n')
    assert [json.loads(line)["text"] for line in lines.stdout.splitlines()] == ['["the"]', "[4]"]
    explained = run("classify", "-b", external, "--tokens", "--explain", '["the", "cup"]')
    assert [f["end"] for f in json.loads(explained.stdout)["fragments"]] == [1, 2]


@pytest.mark.parametrize(
    "text",
    ["the cup", '"the"', "{}", "3", "null", "[NaN]", "[1.5]", "[true]", "[[2]]", '["the", 2]', "[99]", "[2]", "["],
)
def test_the_command_refuses_other_json_by_its_number(external: Path, text: str) -> None:
    result = run("classify", "-b", external, "--tokens", '["the"]', text)
    assert result.exit_code == 2
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr.startswith("Error: Text 2 ")
    assert run("classify", "-b", external, "--tokens", "--explain", text).exit_code == 2


def test_the_command_says_what_to_do_with_a_string(external: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\nthe cup\n", encoding="utf-8")
    for more in (
        ["the cup"],
        ["--input", tmp_path / "rows.csv"],
        ["--input", tmp_path / "rows.csv", "--on-error", "skip"],
    ):
        result = run("classify", "-b", external, *more)
        assert result.exit_code == 2
        assert "--tokens" in result.stderr
    for more in (["--stream"], ["--input", tmp_path / "rows.csv"]):
        assert run("classify", "-b", external, "--tokens", *more).exit_code == 2


def test_the_texts_of_a_file_are_split_by_the_users_function(external: Path, tmp_path: Path) -> None:
    (tmp_path / "split.py").write_text("def words(text):\n    return text.lower().split()\n", encoding="utf-8")
    (tmp_path / "rows.csv").write_text("id,text\n7,The CUP\n8,\n9,game\n", encoding="utf-8")
    result = run(
        "classify", "-b", external, "--input", tmp_path / "rows.csv", "--tokenizer", f"{tmp_path}/split.py:words"
    )
    assert result.exit_code == 0, result.output
    answers = [Classifier.load(external).classify(tokens) for tokens in (["the", "cup"], [], ["game"])]
    assert [row.split(",")[2] for row in result.stdout.splitlines()[1:]] == [answer.label for answer in answers]


def test_several_texts_are_not_taken_for_the_tokens_of_one_beside_the_callers_tokenizer() -> None:
    encoder = TextEncoder(TextRules(tokenizer="external", unknown_id=0), ("<unk>", "oil", "new york"))
    rows = TextRowEncoder("c", encoder, 9, str.split)
    with pytest.raises(TextError, match="predict"):
        rows.encode_text(["oil is up", "so be it"])
    # A known token of two words, a single one, and what a function gives may be tokens.
    for tokens, ids in ((["new york", "a b"], [2, 0]), (["a b"], [0]), (["oil", "a b"], [1, 0])):
        assert rows.encode_text(tokens) == ids
    assert TextRowEncoder("c", encoder, 9, lambda text: [text, "a b"]).encode_text("so be it") == [0, 0]
    assert TextRowEncoder("c", encoder, 9).encode_text(["a b", "c d"]) == [0, 0]
