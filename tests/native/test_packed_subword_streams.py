"""A text of subwords that arrives in pieces at the engine in C is answered after each as all the text so far."""

from __future__ import annotations

import random
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
import subword_vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packing_tools import packed_bundle, packed_manifest, program_of_folder
from slow_case_sampling import examples
from test_packed_subwords import FAMILIES, TEXTS, some_rules
from test_subword_streams import PARTS, RULES

import pocketrnn_native
from pocketrnn import Classifier
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.packed_file import PackedProgram, encode_packed_file
from pocketrnn.text import SubwordRules
from pocketrnn.text.subword_stream_cuts import MOST_WAITING, find_stream_obstacle
from pocketrnn.text.text_input import TextInput
from pocketrnn_native import EngineError, Packed
from pocketrnn_native._engine import CONTENT, WAITING, Stream

with suppress(ImportError):
    from tokenizer_families import texts


@cache
def small(tokens: int) -> tuple[Manifest, PackedProgram]:
    """A bundle of so many ids that streams, for rules to be put into its packed file."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_maker.make(
            Path(folder) / "small", vocabulary=[f"w{i}" for i in range(tokens)], stream=True, torchscript=False,
            texts=("w1",), embedding=2, hidden=2,
        )  # fmt: skip
        return program_of_folder(bundle)


def packed_with(rules: SubwordRules, tokens: tuple[str, ...]) -> bytes:
    """A packed file with a step, whatever is in the way of a stream."""
    manifest, program = small(1 << (len(tokens) - 1).bit_length())
    made = packed_manifest(manifest, program)
    # A manifest refuses such rules beside a stream.
    object.__setattr__(made, "input", TextInput(rules, tokens))
    return encode_packed_file(made, program)


@cache
def engine(name: str) -> Packed:
    return Packed(packed_with(*RULES[name]))


def whole_so_far(content: bytes) -> str:
    """Bytes of UTF-8 without the begin of a character at their end."""
    for cut in range(4):
        try:
            return content[: len(content) - cut].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            pass
    raise AssertionError(content)


def assert_equal_answers_in_pieces(packed: Packed, text: str, cuts: list[int]) -> None:
    """A text that is cut between any bytes is answered as all of it so far, by a stream that is saved now and then."""
    content = text.encode("utf-8", "surrogatepass")
    stream, at = Stream(packed), 0
    for number, end in enumerate([*sorted(cuts), len(content)]):
        given, at = stream.push(content[at:end]), end
        expected = packed.logits(whole_so_far(content[:end]))
        np.testing.assert_allclose(given, expected, atol=2e-6, err_msg=ascii(text))
        if number % 2:
            stream = Stream(packed, stream.save())


def bytes_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


ODD_TEXTS = st.lists(st.sampled_from(PARTS), max_size=14).map("".join)


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None, max_examples=examples(10, 3000))
@given(text=ODD_TEXTS, data=st.data())
def test_a_text_that_is_cut_anywhere_is_answered_as_all_of_it_so_far(name: str, text: str, data: st.DataObject) -> None:
    assert_equal_answers_in_pieces(engine(name), text, data.draw(st.lists(st.integers(0, bytes_of(text)), max_size=6)))


@pytest.mark.parametrize("name", RULES)
def test_every_piece_is_answered_as_python_answers_it(name: str, tmp_path: Path) -> None:
    rules, tokens = RULES[name]
    bundle = bundle_maker.make(tmp_path / "b", rules=rules, vocabulary=tokens, stream=True, torchscript=False)
    (tmp_path / "b.prnn").write_bytes(packed_bundle(bundle))
    reference, native = Classifier.load(bundle), pocketrnn_native.Classifier.load(tmp_path / "b.prnn")
    drawn = random.Random(4)
    for _ in range(examples(40, 100)):
        one, other = reference.stream(), native.stream()
        for _ in range(drawn.randrange(8)):
            piece = "".join(drawn.choice(PARTS) for _ in range(drawn.randrange(4)))
            np.testing.assert_allclose(other.logits(piece), one.logits(piece), atol=1e-6, err_msg=ascii(piece))
            other = native.stream(other.save())


@settings(max_examples=examples(15, 1500), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=some_rules(), some=st.lists(TEXTS, min_size=1, max_size=4), data=st.data())
def test_a_file_has_a_step_where_the_rules_are_followed_and_is_refused_elsewhere(
    made: tuple[SubwordRules, tuple[str, ...]], some: list[str], data: st.DataObject
) -> None:
    rules, tokens = made
    rules = replace(rules, cut_side="right", max_width=None, min_width=None)
    content = packed_with(rules, tokens)
    if find_stream_obstacle(rules, tokens):
        # A token of which the steps leave nothing is in the way of Python's streams alone: it is never found.
        if not any(token.after_steps for token in rules.added):
            with pytest.raises(EngineError) as refused:
                Packed(content)
            assert refused.value.args[0] == CONTENT
        return
    packed = Packed(content)
    for text in some:
        assert_equal_answers_in_pieces(packed, text, data.draw(st.lists(st.integers(0, bytes_of(text)), max_size=4)))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("number", [20, pytest.param(5000, marks=pytest.mark.slow)])
def test_texts_of_the_families_are_answered_as_all_of_them_so_far(name: str, number: int) -> None:
    from pocketrnn_export.vocabularies.tokenizer_json import read_tokenizer_json

    made = read_tokenizer_json(FAMILIES[name].to_str(), name)
    rules, tokens = made.rules, tuple(made.tokens)
    if find_stream_obstacle(rules, tokens):
        with pytest.raises(EngineError) as refused:
            Packed(packed_with(rules, tokens))
        assert refused.value.args[0] == CONTENT
        return
    packed, drawn = Packed(packed_with(rules, tokens)), random.Random(5)
    for text in texts(number, seed=12):
        assert_equal_answers_in_pieces(packed, text, [drawn.randrange(bytes_of(text) + 1) for _ in range(3)])


@pytest.mark.parametrize("name", RULES)
def test_what_is_kept_does_not_grow_with_the_text(name: str) -> None:
    stream = Stream(engine(name))
    least = len(stream.save())
    for _ in range(500):
        stream.push("ab the un")
    assert len(stream.save()) <= least + 24


def test_what_waits_without_a_space_is_bounded() -> None:
    stream = Stream(engine("GPT-2"))
    before = stream.push("ab \u4e2d")
    saved = stream.save()
    with pytest.raises(EngineError) as refused:
        stream.push("\u4e2d" * MOST_WAITING)
    assert refused.value.args[0] == WAITING
    assert stream.save() == saved
    assert stream.push("") == before
    stream.push("\u4e2d" * (MOST_WAITING - 2))
    saved = stream.save()
    assert len(saved) > 3 * MOST_WAITING
    assert Stream(engine("GPT-2"), saved).push(" ab") == stream.push(" ab")


def test_files_of_the_vectors_of_subwords_have_streams_where_python_has() -> None:
    followed = {name for name, made in subword_vectors.FILES.items() if not find_stream_obstacle(*made)}
    assert followed >= {"subwords-cl100k"}
    for name in followed:
        Stream(Packed(packed_with(*subword_vectors.FILES[name])))
