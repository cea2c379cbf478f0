"""A text that arrives in pieces is answered after each as the text so far is."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundle_maker
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn import Classifier, verify
from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, InputError, TextError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text_answered_while_arriving import StreamPosition, read_fragment

# Parts of texts whose pieces depend on each other: each tokenizer's patterns in parts, letters whose lower case depends
# on their neighbours, characters between them that are looked through, and white space of every kind.
FRAGMENTS = (
    "wall", "St", ".", "bears", "<br />", "<br", "<", "BR", " ", "/>", "/", ">", '"', "'", ",", "(", ")",
    "!", "?", ";", ":",
    "\t", "\n", "\x1c", "\u00a0", "\u2028", "Σ", "ΟΔΟΣ", "α", "Α", "1", "\u0301", "\u00ad", "\u02b0", "İ", "ß", "ǅ",
    "中文",
    "\U00010400", "\ud83d", "😀", "A", "z",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)
RULES = st.builds(
    TextRules,
    tokenizer=st.sampled_from(["basic_english", "whitespace", "characters"]),
    lowercase=st.just(True),
    max_tokens=st.sampled_from([None, 1, 2, 5]),
) | st.builds(
    TextRules,
    tokenizer=st.sampled_from(["whitespace", "characters"]),
    lowercase=st.just(False),
    max_tokens=st.sampled_from([None, 3]),
)


@st.composite
def texts_in_pieces(draw: st.DrawFn) -> list[str]:
    text = draw(TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@settings(deadline=None, max_examples=examples(50, 1500))
@given(texts_in_pieces(), RULES)
@example(["<br", " ", "/>x"], TextRules())
@example(['<b"r', ' "', "/>x"], TextRules())
@example(["ΑΣ", "\u0301", "."], TextRules())
@example(["ΑΣ", "\u0301", "Α"], TextRules())
@example(["Α", "\u00ad", "Σ"], TextRules(tokenizer="characters"))
@example(["aʰ", "Σ b"], TextRules())
def test_tokens_read_on_are_those_of_the_text_so_far(pieces: list[str], rules: TextRules) -> None:
    at, read, so_far = StreamPosition(), [], ""
    whole = TextEncoder(rules, ())
    for piece in pieces:
        so_far += piece
        at, settled, open_ = read_fragment(at, piece, rules)
        read += settled
        assert read + open_ == whole.tokens(so_far)
        assert at.tokens == len(read)


@pytest.mark.parametrize("tokenizer", ["basic_english", pytest.param("characters", marks=pytest.mark.slow)])
def test_every_character_may_stand_at_the_end_of_a_piece(tokenizer: str) -> None:
    rules = TextRules(tokenizer=tokenizer)
    whole = TextEncoder(rules, ())
    # In the fast suite some of them.
    for character in map(chr, range(0, sys.maxunicode + 1, examples(13, 1))):
        # Unassigned characters have no properties, and are two thirds of all.
        if unicodedata.category(character) in ("Cn", "Co"):
            continue
        at, first, _ = read_fragment(StreamPosition(), f"aΣ{character}", rules)
        _, settled, open_ = read_fragment(at, "Σb", rules)
        assert first + settled + open_ == whole.tokens(f"aΣ{character}Σb"), hex(ord(character))


def test_only_the_last_word_waits() -> None:
    rules = TextRules()
    at, settled, open_ = read_fragment(StreamPosition(), "Wall St. bears cl", rules)
    assert (settled, open_, at.tail) == (["wall", "st", ".", "bears"], ["cl"], "cl")
    at, settled, open_ = read_fragment(at, "aw back ", rules)
    assert (settled, open_, at.tail) == (["claw", "back"], [], "")


def test_what_is_kept_does_not_grow_with_the_text_nor_beyond_the_last_token_that_is_read() -> None:
    at = StreamPosition()
    for _ in range(100):
        at, _, _ = read_fragment(at, "the bears claw (back) <br />ΟΔΟΣ ", TextRules())
    assert (at.tail, at.undecided) == ("", "")
    limited = TextRules(max_tokens=2)
    at, _, _ = read_fragment(StreamPosition(), "one two thr", limited)
    for _ in range(3):
        at, settled, open_ = read_fragment(at, "eeeeeeee", limited)
        assert (settled, open_, at.tail) == ([], [], "")


@pytest.mark.parametrize("tokenizer", ["basic_english", "whitespace"])
def test_a_word_without_end_is_kept_short_and_still_unknown(tokenizer: str) -> None:
    at, rules = StreamPosition(), TextRules(tokenizer=tokenizer)
    for _ in range(1000):
        at, settled, open_ = read_fragment(at, 'a"', rules, longest_token_length=20)
        assert settled == []
        assert len(at.tail) < 30
    assert len(open_[0]) > 20


@settings(deadline=None, max_examples=examples(50, 1000))
@given(
    st.lists(st.sampled_from([*"ab<br />", "<br />", "<br", " ", '"', ".", "<b", "r /", "abcdefgh", "Σ"]), max_size=60),
    st.sampled_from(["basic_english", "whitespace"]),
)
def test_tokens_of_a_vocabulary_are_found_however_long_the_words_around_them(given_: list[str], tokenizer: str) -> None:
    rules, longest = TextRules(tokenizer=tokenizer), 4

    def known(tokens: list[str]) -> list[str]:
        return [token if len(token) <= longest else "unknown" for token in tokens]

    at, read, so_far = StreamPosition(), [], ""
    for fragment in given_:
        so_far += fragment
        at, settled, open_ = read_fragment(at, fragment, rules, longest)
        read += settled
        assert known(read + open_) == known(TextEncoder(rules, ()).tokens(so_far))


def test_a_sigma_whose_form_nothing_decides_is_refused_in_the_end(streaming: Path) -> None:
    stream = Classifier.load(streaming).stream()
    stream.push("the Σ" + "." * 4000)
    saved = stream.save()
    with pytest.raises(InputError, match="4,096"):
        stream.push("." * 200)
    assert stream.save() == saved


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_maker.make(tmp_path_factory.mktemp("streaming") / "bundle", stream=True, torchscript=False)


@pytest.fixture(scope="module")
def classifiers(streaming: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Classifier]:
    """Unknown words that are known as such, and unknown words that are dropped."""
    folder = tmp_path_factory.mktemp("dropping") / "bundle"
    rules = TextRules(unknown_id=None, max_tokens=6)
    return [Classifier.load(streaming), Classifier.load(bundle_maker.make(folder, rules=rules, stream=True))]


@settings(deadline=None, max_examples=examples(15, 1000))
@given(st.data())
def test_every_prefix_is_answered_as_by_classify(classifiers: list[Classifier], data: st.DataObject) -> None:
    classifier = data.draw(st.sampled_from(classifiers))
    words = st.sampled_from([*bundle_maker.WORDS, " ", " ", ". ", "unheard", "<br />", "wa", "ll"])
    pieces = data.draw(st.lists(words | texts_in_pieces().map("".join), max_size=10))
    stream, so_far = classifier.stream(), ""
    for piece in ["", *pieces]:
        so_far += piece
        if data.draw(st.booleans()):
            stream = classifier.stream(stream.save())
        given, expected = stream.push(piece, top=4), classifier.classify(so_far, top=4)
        assert dict(given.top) == pytest.approx(dict(expected.top), abs=1e-6)
        assert given.label == expected.label


def test_a_push_costs_its_own_tokens_and_the_unfinished_word(streaming: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, ran = Classifier.load(streaming), []
    step = classifier._engine.step
    monkeypatch.setattr(classifier._engine, "step", lambda ids, state: ran.append(len(ids)) or step(ids, state))
    stream = classifier.stream()
    for _ in range(50):
        stream.push("the bears claw ba")
        stream.push("ck ")
    assert ran == [3, 1, 1] * 50


def test_a_failed_push_leaves_the_stream_as_it_was(streaming: Path) -> None:
    stream = Classifier.load(streaming).stream()
    stream.push("the team wi")
    saved = stream.save()
    with pytest.raises(TextError, match="the type bytes"):
        stream.push(b"ns")  # type: ignore[arg-type]
    assert stream.save() == saved
    with pytest.raises(InputError, match=r"\btop .*\b9\b"):
        stream.push("ns", top=9)


def changed(saved: bytes, **changes: Any) -> bytes:
    """The saved stream with members changed and its digest made anew, as an attacker would."""
    document = {**json.loads(saved), **changes}
    document.pop("digest")
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    document["digest"] = hashlib.sha256(content).hexdigest()
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def test_damaged_states_are_refused(streaming: Path) -> None:
    classifier = Classifier.load(streaming)
    stream = classifier.stream()
    stream.push("the team wins the cu")
    saved, at = stream.save(), json.loads(stream.save())["at"]
    nan = "AADAfwAAwH8AAMB/AADAfwAAwH8AAMB/AADAfwAAwH8="
    for damaged, problem in (
        (b"", "not a saved stream"),
        (b"\x80\x04K\x01.", "not a saved stream"),
        (b"[" * 100_000, "not a saved stream"),
        (saved[:-9], "not a saved stream"),
        (saved.replace(b'"tail":"cu"', b'"tail":"co"'), "digest does not match"),
        (changed(saved, more=1), "lacks a member"),
        (changed(saved, version=2), "saved in version 2"),
        (changed(saved, bundle="0" * 64), "with another bundle"),
        (changed(saved, state="AAAA"), "a state or logits of another size"),
        (changed(saved, state=7), "a state or logits of another size"),
        (changed(saved, state=nan), "not finite"),
        (changed(saved, logits=None), "tokens without an answer"),
        (changed(saved, at={**at, "tokens": -1}), "impossible position"),
        (changed(saved, at={**at, "ids": 5}), "impossible position"),
        (changed(saved, at={**at, "tail": 5}), "impossible position"),
        (changed(saved, at={**at, "context": "b"}), "impossible position"),
        (changed(saved, at=[]), "impossible position"),
    ):
        with pytest.raises(InputError, match=problem):
            classifier.stream(damaged)
    with pytest.raises(InputError, match="the type str"):
        classifier.stream(saved.decode())  # type: ignore[arg-type]


def test_a_stream_goes_on_in_a_copy_of_its_bundle_and_in_no_other(streaming: Path, tmp_path: Path) -> None:
    stream = Classifier.load(streaming).stream()
    stream.push("the team wi")
    copied = Classifier.load(shutil.copytree(streaming, tmp_path / "copy")).stream(stream.save())
    assert copied.push("ns the cup") == stream.push("ns the cup")
    # The same graphs, byte for byte, but other labels.
    other = bundle_maker.make(
        tmp_path / "other",
        stream=True,
        change=lambda manifest: replace(manifest, output=LabelOutput(manifest.labels[::-1])),
    )
    with pytest.raises(InputError, match="another bundle"):
        Classifier.load(other).stream(stream.save())


def test_a_bundle_without_a_step_graph_says_so(padded: Path) -> None:
    with pytest.raises(InputError, match="no step graph"):
        Classifier.load(padded).stream()
    result = CliRunner().invoke(main, ["classify", "--stream", "-b", str(padded), "oil"])
    assert result.exit_code == 2
    assert "--streaming" in result.output


def test_verify_replays_the_examples_as_streams_and_sees_a_damaged_step_graph(streaming: Path, tmp_path: Path) -> None:
    verified = verify(streaming)
    assert verified.files == ("classifier.json", "model.onnx", "model.step.onnx")
    assert [replay.how for replay in verified.replays] == ["each alone", "all in one batch", "each as a stream"]
    bundle = bundle_maker.make(tmp_path / "bundle", stream=True)
    path = bundle / "model.step.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"model\.step\.onnx was changed"):
        verify(bundle)
    path.unlink()
    with pytest.raises(BundleError, match=r"model\.step\.onnx is missing"):
        Classifier.load(bundle).stream()


def test_a_step_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    def as_the_whole_graph(manifest: Any) -> Any:
        return replace(manifest, stream=replace(manifest.stream, file="model.onnx", sha256=manifest.graph.sha256))

    bundle = bundle_maker.make(tmp_path / "bundle", stream=True, change=as_the_whole_graph)
    with pytest.raises(BundleError, match=r"step graph .*model\.onnx"):
        Classifier.load(bundle).stream()
    with pytest.raises(BundleError, match="n-grams"):
        bundle_maker.make(tmp_path / "grams", stream=True, rules=TextRules(ngrams=2))


def test_the_command_answers_each_piece_for_all_the_text_so_far(streaming: Path) -> None:
    classifier = Classifier.load(streaming)
    line = ["classify", "--stream", "--json", "-b", str(streaming)]
    for arguments, typed in (([*line, "the te", "am wins"], None), (line, "the te\nam wins".encode("utf-8-sig"))):
        result = CliRunner().invoke(main, arguments, input=typed)
        assert result.exit_code == 0, result.output
        answers = [json.loads(answer) for answer in result.stdout.splitlines()]
        last = "the team wins" if typed is None else "the te\nam wins"
        assert "".join(answer["text"] for answer in answers) == last
        assert answers[-1]["probability"] == pytest.approx(classifier.classify(last).probability)
    for given_bytes in (b"the \xff", b"the \xc3"):
        result = CliRunner().invoke(main, line, input=given_bytes)
        assert result.exit_code == 2
        assert json.loads(result.stdout)["text"] == "the "
        assert "not valid UTF-8: byte 5" in result.stderr


def test_logits_are_those_of_the_lstm_written_out(streaming: Path) -> None:
    classifier = Classifier.load(streaming)
    model = bundle_maker.weights(len(bundle_maker.WORDS))
    stream = classifier.stream()
    for piece in ("the te", "am wins", " the cup"):
        logits = stream.logits(piece)
    expected = bundle_maker.reference_logits(model, classifier.encode("the team wins the cup"))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
