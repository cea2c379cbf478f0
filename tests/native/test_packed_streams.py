"""A text that arrives in pieces at a packed classifier is answered after each as the bundle answers the text so far."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import bundle_maker
import numpy as np
import pytest
import test_all_configurations as family
from click.testing import CliRunner
from packing_tools import logits_of, packed_bundle, packed_graph
from slow_case_sampling import examples
from test_streams import FRAGMENTS

import pocketrnn_native
from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Graph, Limits, StepGraph
from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, InputError, LimitError, TextError
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.bundle_description import Description
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.comparing.proof_inputs import Widths
from pocketrnn_export.forms.onnx.onnx_form import ONNX
from pocketrnn_export.forms.packed_file.graph_to_program import translate_graph_into_program
from pocketrnn_export.forms.step_graph_that_continues_from_state import STEP
from pocketrnn_export.intake.module_copy_with_call_and_logits import prepare_module
from pocketrnn_export.packing import pack
from pocketrnn_native import EngineError, Packed
from pocketrnn_native._engine import NO_STREAM, SAVED, TOO_LONG
from pocketrnn_native._engine import Stream as NativeStream

RULES = {
    "words": TextRules(),
    "words-cut-dropped": TextRules(max_tokens=5, unknown_id=None),
    "white-space": TextRules(tokenizer="whitespace"),
    "white-space-cased-cut": TextRules(tokenizer="whitespace", lowercase=False, max_tokens=3, unknown_id=None),
    "characters": TextRules(tokenizer="characters", unknown_id=None),
    "characters-cased-cut": TextRules(tokenizer="characters", lowercase=False, max_tokens=4),
}
unicode_14 = pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="this Python lower-cases by other tables"
)


def texts_drawn(seed: int, count: int) -> Iterator[list[str]]:
    """Texts in pieces, which are cut inside of what they are made of."""
    drawn = random.Random(seed)
    for _ in range(count):
        text = "".join(drawn.choice(FRAGMENTS) for _ in range(drawn.randrange(14)))
        cuts = sorted(drawn.randrange(len(text) + 1) for _ in range(drawn.randrange(6)))
        yield [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


def vocabulary_for(rules: TextRules) -> tuple[str, ...]:
    """Every other token of some texts."""
    encoder = TextEncoder(rules, ())
    tokens = {token for pieces in texts_drawn(1, 200) for token in encoder.tokens("".join(pieces))}
    return ("<unk>", "<pad>", *sorted(tokens - {"<unk>", "<pad>"})[::2])


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle for each of the rules, which knows every other token of some texts."""
    made = {}
    for name, rules in RULES.items():
        vocabulary = vocabulary_for(rules)
        folder = tmp_path_factory.mktemp(name) / "bundle"
        made[name] = bundle_maker.make(folder, rules=rules, stream=True, vocabulary=vocabulary, torchscript=False)
    return made


@pytest.fixture(scope="module")
def streaming(bundles: dict[str, Path]) -> Path:
    return bundles["words"]


@pytest.fixture(scope="module")
def packed(streaming: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a step graph, packed and proven."""
    path = tmp_path_factory.mktemp("packed") / "words.prnn"
    pack(streaming, path)
    return path


@pytest.mark.slow
def test_a_bundle_without_a_step_graph_can_be_packed_with_a_step(tmp_path: Path) -> None:
    bundle, path = bundle_maker.make(tmp_path / "b"), tmp_path / "b.prnn"
    result = CliRunner().invoke(main, ["pack", str(bundle), "-o", str(path), "--streaming"])
    assert result.exit_code == 0, result.output
    whole = Classifier.load(bundle)
    with pytest.raises(InputError, match="--streaming"):
        whole.stream()
    stream, so_far = Classifier.load(path).stream(), ""
    for piece in ("Wall St. Be", "ars", "", " Claw", " back "):
        so_far += piece
        np.testing.assert_allclose(stream.logits(piece), whole.logits([so_far])[0], atol=1e-5)


def test_a_step_is_not_made_where_the_text_rules_cannot_be_followed(tmp_path: Path) -> None:
    bundle = bundle_maker.make(tmp_path / "b", rules=TextRules(ngrams=2, padding_id=1))
    with pytest.raises(BundleError, match="n-grams"):
        pack(bundle, tmp_path / "b.prnn", streaming=True)
    assert not (tmp_path / "b.prnn").exists()


@unicode_14
@pytest.mark.parametrize("name", RULES)
def test_every_piece_is_answered_as_the_bundle_answers_it(bundles: dict[str, Path], name: str) -> None:
    engine, bundle = Packed(packed_bundle(bundles[name])), Classifier.load(bundles[name])
    for pieces in texts_drawn(2, examples(80, 250)):
        stream, expected, so_far = NativeStream(engine), bundle.stream(), ""
        for piece in pieces:
            so_far += piece
            given = stream.push(piece)
            np.testing.assert_allclose(given, expected.logits(piece), atol=1e-6, err_msg=ascii(pieces))
            np.testing.assert_allclose(given, engine.logits(so_far), atol=1e-6, err_msg=ascii(pieces))
            if len(piece) % 2:
                stream = NativeStream(engine, stream.save())


@pytest.mark.parametrize("name", RULES)
def test_a_fragment_may_end_inside_of_a_character(bundles: dict[str, Path], name: str) -> None:
    engine = Packed(packed_bundle(bundles[name]))
    for pieces in texts_drawn(3, examples(20, 60)):
        content = "".join(pieces).encode("utf-8", "surrogatepass")
        stream, width = NativeStream(engine), 1 + len(content) % 3
        for at in range(0, len(content), width):
            given = stream.push(content[at : at + width])
            whole = content[: at + width]
            while whole and (whole[-1] >= 0xC0 or (whole[-1] >= 0x80 and not _is_whole(whole))):
                whole = whole[:-1]
            expected = engine.logits(whole.decode("utf-8", "surrogatepass"))
            np.testing.assert_allclose(given, expected, atol=1e-6, err_msg=ascii(content))


def _is_whole(content: bytes) -> bool:
    try:
        content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


@unicode_14
@pytest.mark.parametrize("name", ["words", "characters"])
def test_every_character_may_stand_at_the_end_of_a_piece(bundles: dict[str, Path], name: str) -> None:
    rules = RULES[name]
    encoder = TextEncoder(rules, ())
    # In the fast suite every tenth.
    characters = [chr(code) for code in range(0, sys.maxunicode + 1, examples(10, 1))]
    characters = [c for c in characters if unicodedata.category(c) not in ("Cn", "Co", "Lo", "So")]
    tokens = {token for c in characters for token in encoder.tokens(f"aΣ{c} {c}Σb")}
    vocabulary = ("<unk>", "<pad>", *sorted(tokens))
    folder = bundles[name].parent / "every"
    engine = Packed(packed_bundle(bundle_maker.make(folder, rules=rules, stream=True, vocabulary=vocabulary)))
    for c in characters:
        stream = NativeStream(engine)
        stream.push(f"aΣ{c}")
        assert stream.push("Σb") == pytest.approx(engine.logits(f"aΣ{c}Σb"), abs=1e-6), hex(ord(c))


def test_what_is_kept_does_not_grow_with_the_text(bundles: dict[str, Path]) -> None:
    for name in RULES:
        engine = Packed(packed_bundle(bundles[name]))
        stream = NativeStream(engine)
        least = len(stream.save())
        for _ in range(2000):
            stream.push("the bears claw (back) <br />ΟΔΟΣ ")
        # A character or two may wait for what decides the form of a sigma.
        assert len(stream.save()) <= least + 8
        for _ in range(2000):
            stream.push('a<b"')
        assert len(stream.save()) <= least + 4 * (max(map(len, engine.tokens())) + 16)


def test_a_failed_push_leaves_the_stream_as_it_was(streaming: Path) -> None:
    engine = Packed(packed_bundle(streaming))
    stream = NativeStream(engine)
    stream.push("the team wi\u03a3" + "." * 4000)
    saved = stream.save()
    for wrong, reason in (
        (b"\xff", "not UTF-8"),
        (b"ns \xc3(", "not UTF-8"),
        (b"\xe0\x80", "not UTF-8"),
        ("." * 200, "more than 4,096 characters that do not decide its form"),
    ):
        with pytest.raises(EngineError, match=reason):
            stream.push(wrong)
        assert stream.save() == saved
    with pytest.raises(TypeError, match="a string"):
        stream.push(5)  # type: ignore[arg-type]
    stream.push(b"\xc3")
    with pytest.raises(EngineError, match="not UTF-8"):
        stream.push("ns")
    stream.reset()
    assert stream.push("the team") == engine.logits("the team")


def test_texts_beyond_the_limits_are_refused_and_the_stream_stays(tmp_path: Path) -> None:
    bundle = bundle_maker.make(tmp_path / "bundle", stream=True, limits=Limits(max_tokens=3), texts=("oil",))
    (tmp_path / "limited.prnn").write_bytes(packed_bundle(bundle))
    native = pocketrnn_native.Classifier.load(tmp_path / "limited.prnn").stream()
    stream = Classifier.load(tmp_path / "limited.prnn").stream()
    native.push("the team wi")
    stream.push("the team wi")
    saved = stream.save()
    with pytest.raises(LimitError, match=r"so far .*\b4 .*\bsmall\b.*\b3\b"):
        stream.push("ns the")
    assert stream.save() == saved
    with pytest.raises(EngineError) as refused:
        native.push("ns the")
    assert refused.value.args[0] == TOO_LONG
    assert native.push("ns").label == stream.push("ns").label


def test_saved_streams_are_refused_where_a_byte_was_changed_or_the_file_is_another(bundles: dict[str, Path]) -> None:
    engine = Packed(packed_bundle(bundles["words"]))
    stream = NativeStream(engine)
    stream.push("the team wins the cu")
    saved = stream.save()
    assert NativeStream(engine, saved).push("p") == stream.push("p")
    for at in range(len(saved)):
        changed = saved[:at] + bytes([saved[at] ^ 4]) + saved[at + 1 :]
        for wrong in (changed, saved[:at]):
            with pytest.raises(EngineError) as refused:
                NativeStream(engine, wrong)
            assert refused.value.args[0] == SAVED
    with pytest.raises(EngineError) as refused:
        NativeStream(Packed(packed_bundle(bundles["characters"])), saved)
    assert refused.value.args[0] == SAVED
    with pytest.raises(TypeError):
        NativeStream(engine, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        NativeStream(b"")  # type: ignore[arg-type]


def test_the_package_alone_streams(packed: Path) -> None:
    classifier = pocketrnn_native.Classifier.load(packed)
    stream = classifier.stream()
    assert stream.push("the te", top=2) == classifier.classify("the te", top=2)
    resumed = classifier.stream(stream.save())
    given, expected = resumed.push("am wins", top=4), classifier.classify("the team wins", top=4)
    assert dict(given.top) == pytest.approx(dict(expected.top))
    assert resumed.logits("") == pytest.approx(classifier._packed.logits("the team wins"))
    with pytest.raises(ValueError, match="top is 9"):
        stream.push("", top=9)
    stream.reset()
    assert stream.push("oil") == classifier.classify("oil")


def test_a_stream_of_a_packed_file_is_that_of_a_bundle(streaming: Path, packed: Path, tmp_path: Path) -> None:
    bundle, classifier = Classifier.load(streaming), Classifier.load(packed)
    for pieces in texts_drawn(4, 60):
        one, other = bundle.stream(), classifier.stream()
        for piece in pieces:
            given, expected = other.push(piece, top=4), one.push(piece, top=4)
            assert dict(given.top) == pytest.approx(dict(expected.top), abs=1e-6)
            other = classifier.stream(other.save())
    stream = classifier.stream()
    stream.push("the team wi")
    copied = Classifier.load(shutil.copy(packed, tmp_path / "copy.prnn")).stream(stream.save())
    assert copied.push("ns") == stream.push("ns")
    with pytest.raises(InputError, match="another bundle"):
        classifier.stream(one.save())
    with pytest.raises(TextError, match="type bytes"):
        stream.push(b"ns")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="top is 9"):
        stream.push("", top=9)


def test_a_file_without_a_step_says_so() -> None:
    without = Path(__file__).parents[1] / "vectors" / "packed" / "words.prnn"
    with pytest.raises(InputError, match="--streaming"):
        Classifier.load(without).stream()
    with pytest.raises(EngineError) as refused:
        pocketrnn_native.Classifier.load(without).stream()
    assert refused.value.args[0] == NO_STREAM
    result = CliRunner().invoke(main, ["classify", "--stream", "-b", str(without), "oil"])
    assert result.exit_code == InputError.exit_status
    assert "--streaming" in result.output


def test_the_step_is_proven_against_the_graphs_and_as_a_stream(packed: Path) -> None:
    lines = {(line.reference, line.candidate) for line in Classifier.load(packed).manifest.parity.comparisons}
    assert lines >= {
        ("onnx", "packed step, 3 chunks"),
        ("onnx", "packed step, 1 token each"),
        ("onnx", "packed step, chunks at random"),
        ("step graph", "packed step"),
        ("onnx", "packed, as a stream"),
        ("onnx", "runtime, as a stream"),
    }


def test_a_step_shares_the_weights_of_the_program(streaming: Path, packed: Path) -> None:
    with_step = len(packed_bundle(streaming))
    manifest = manifests.read_manifest(streaming)
    assert manifest.stream is not None
    without = translate_graph_into_program(
        (streaming / "model.onnx").read_bytes(), manifest.graph
    ).program.encode_sections()
    step = (streaming / "model.step.onnx").read_bytes()
    both = translate_graph_into_program(
        (streaming / "model.onnx").read_bytes(), manifest.graph
    ).program.encode_sections(
        translate_graph_into_program(step, manifest.graph, state_size=manifest.stream.state_size).program
    )
    assert both.weights == without.weights
    assert both.ops == without.ops
    assert with_step < packed.stat().st_size


def test_the_commands_know_the_streams_of_a_packed_file(packed: Path) -> None:
    runner, classifier = CliRunner(), Classifier.load(packed)
    line = ["classify", "--stream", "--json", "-b", str(packed), "the te", "am wins"]
    answers = [json.loads(answer) for answer in runner.invoke(main, line).stdout.splitlines()]
    assert [answer["text"] for answer in answers] == ["the te", "am wins"]
    assert answers[-1]["probability"] == pytest.approx(classifier.classify("the team wins").probability)
    assert "a state of 8 numbers" in runner.invoke(main, ["inspect", str(packed)]).output
    assert json.loads(runner.invoke(main, ["inspect", "--json", str(packed)]).output)["stream"]["file"] == "step"
    assert [replay.how for replay in verify(packed).replays][-1] == "each as a stream"


def test_a_document_that_says_other_of_the_step_than_the_file_holds_is_refused(packed: Path, tmp_path: Path) -> None:
    content = bytearray(packed.read_bytes())
    at = content.index(b'"state_size":8')
    content[at + len(b'"state_size":')] ^= 1
    words = np.frombuffer(bytes(content[:16]) + bytes(16) + bytes(content[32:]), "<u4").astype(np.uint64)
    positions = np.arange(1, len(words) + 1, dtype=np.uint64)
    content[16:32] = np.array([words.sum(), (words * positions).sum()], "<u8").tobytes()
    (tmp_path / "other.prnn").write_bytes(content)
    with pytest.raises(BundleError, match="contradicts itself"):
        Classifier.load(tmp_path / "other.prnn")


def test_the_program_answers_after_every_line_for_all_of_them(packed: Path, news: Path, program: Path) -> None:
    classifier, text = Classifier.load(packed), "the team\nwins the\r\ncup \u00c9\u03a3\nwithout end"
    done = subprocess.run(
        [str(program), "--stream", str(packed)], input=text.encode(), capture_output=True, timeout=60, check=True
    )
    so_far = ""
    lines = done.stdout.decode().splitlines()
    for said, line in zip(lines, text.splitlines(keepends=True), strict=True):
        so_far += line
        expected = classifier.classify(so_far)
        assert said == f"{expected.label}\t{expected.probability:.4f}\t{line.rstrip()}"
    line = [str(program), "--stream", str(news)]
    refused = subprocess.run(line, input=b"", capture_output=True, timeout=60, check=False)
    assert (refused.returncode, b"cannot answer while a text arrives" in refused.stderr) == (2, True)
    wrong = subprocess.run([str(program), "--streams", str(packed)], capture_output=True, timeout=60, check=False)
    assert wrong.returncode == 2


ONE_WAY = list(itertools.product(family.CELLS, (1, 2), ("last", "mean", "max")))


@pytest.mark.slow
@pytest.mark.parametrize("configuration", ONE_WAY, ids=lambda one: "-".join(map(str, one)))
def test_every_one_directional_configuration_streams(configuration: tuple[str, int, str]) -> None:
    cell, layers, pooling = configuration
    vocabulary, labels = tuple(family.VOCABULARY), ("a", "b", "c", "d")
    description = Description("one", TextInput(TextRules(padding_id=1), vocabulary), LabelOutput(labels), {})
    prepared = prepare_module(
        family.classifier(cell, layers, False, True, pooling).eval(), lengths=None, ids=description.token_id_count,
        padding_id=1, classes=4, multi_label=False, call=None, gives=None, widths=Widths(),
    )  # fmt: skip
    whole = ONNX.make(prepared, description, ())
    step = STEP.make(prepared, description, (whole,))
    assert isinstance(whole.entry, Graph)
    assert isinstance(step.entry, StepGraph)
    content = packed_graph(whole.content, whole.entry, vocabulary, labels, (step.content, step.entry))
    engine, session = Packed(content), open_session(step.content)
    generator = np.random.default_rng(0)
    for length in (1, 2, 3, 17, 40):
        ids = generator.integers(0, len(vocabulary), length)
        state = expected_state = np.zeros((1, step.entry.state_size), np.float32)
        for some in np.array_split(ids, min(length, 4)):
            logits, new_state = np.empty(4, np.float32), np.empty_like(state)
            engine.step(some.astype(np.int32), state, logits, new_state)
            expected, expected_state = session.run(
                ["logits", "new_state"], {"tokens": some[None], "state": expected_state}
            )
            state = new_state
            np.testing.assert_allclose(logits, expected[0], atol=1e-5)
            np.testing.assert_allclose(state, expected_state, atol=1e-5)
        np.testing.assert_allclose(logits, logits_of(engine, ids), atol=1e-6)
