"""The text rules of a bundle in a file without a program: the engine in C makes the ids that Python's rules make."""

from __future__ import annotations

import random
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import subword_vectors
from click.testing import CliRunner
from refused_packed import File
from slow_case_sampling import examples, mostly_slow

from pocketrnn import Classifier
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.packed_file import encode_packed_text_rules, map_file, read_packed_document
from pocketrnn.commands.cli import main
from pocketrnn.errors import BundleError, InputError, OutputError, ParityError
from pocketrnn.text import AnyTextRules, Lowercase, Replace, TextEncoder, TextRules
from pocketrnn.text.cleaning_from_shorthand import NAMED_STEPS, cleaning
from pocketrnn.text.cleaning_steps import Keep, ReplaceRuns
from pocketrnn.text.code_point_patterns import Run, RunPart
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.tokenizers import SPLITS
from pocketrnn_export.standalone_text_rules_file import pack_text_rules
from pocketrnn_native import EngineError, Packed
from pocketrnn_native._engine import (
    BEGIN,
    CONTENT,
    END,
    FEW_IDS,
    ID,
    INPUT,
    MANY_IDS,
    NO_PROGRAM,
    NO_STREAM,
    OK,
    Stream,
)

sys.path.append(str(Path(__file__).parents[1] / "web"))
from web_texts import adversarial, as_utf16, real, vocabulary_of

VECTORS = Path(__file__).parents[1] / "vectors"
WORDS = manifests.read_manifest(VECTORS / "words")
OF_UNICODE_14 = pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="this Python lower-cases by other tables"
)
# Those of the golden examples need as many.
ROWS = 100
RULES = (
    TextRules(),
    TextRules(ngrams=3, max_tokens=9, unknown_id=None, empty_id=1, padding_id=1),
    TextRules(tokenizer="whitespace", unknown_id=None),
    TextRules(tokenizer="whitespace", lowercase=False, ngrams=2),
    TextRules(tokenizer="characters"),
    TextRules(tokenizer="characters", lowercase=False, ngrams=2, max_tokens=40),
    *(TextRules(tokenizer="whitespace", lowercase=name != "clean_str", steps=cleaning(name)) for name in NAMED_STEPS),
    TextRules("space", lowercase=False, steps=cleaning((",", "$&"), "lowercase", ("s ", "ß"), Keep(("az",), "😀"))),
    TextRules(stop_words=("the", "a", "."), max_tokens=7, cut_side="left", first_id=1, last_id=0, min_width=9),
    TextRules(tokenizer="space", stop_words=("",), unknown_id=None, min_width=9, max_width=9, pad_side="left"),
    TextRules(tokenizer="characters", unknown_id=None, last_id=1, max_width=1, min_width=1, cut_side="left"),
)
PIECES = ("a", "the", " ", ".", "Σ", "<br />", "'", "😀", "ss", "é")


def engine_of(rules: AnyTextRules, vocabulary: Sequence[str]) -> Packed:
    graph = replace(WORDS.graph, embedding_rows=max(ROWS, len(vocabulary)))
    return Packed(encode_packed_text_rules(replace(WORDS, input=TextInput(rules, tuple(vocabulary)), graph=graph)))


SETS = (("az",), (" ", "\n"), ("<",), ("\0=", "?\U0010ffff"), (">",), ("Αω",), ("😀",), ("'", ".", "/"), ("09",))


def drawn_run(draw: random.Random, *, at_words: bool = False) -> Run:
    def maybe() -> bool:
        return at_words and draw.random() < 0.5

    def many(fewest: int) -> tuple[int, int | None]:
        return draw.choice([(fewest, None), (1, None), (1, 1), (2, None), (1, 3)])

    then = tuple(RunPart(draw.choice(SETS), *many(0), maybe()) for _ in range(draw.choice([0, 1, 1, 2, 4])))
    before, ends_at, not_before = (draw.choice([(), (), (), *SETS]) for _ in range(3))
    return Run(draw.choice(SETS), before, *many(1), ends_at, not_before, then, at_words, maybe())


def drawn_rules(draw: random.Random, tokenizer: str | None = None) -> TextRules:
    def maybe(*values: Any) -> Any:
        return draw.choice([None, *values])

    def step() -> Replace | Keep | ReplaceRuns | Lowercase:
        by = draw.choice(["", *PIECES])
        runs = tuple(drawn_run(draw) for _ in range(draw.choice([1, 1, 3])))
        kinds = [
            Replace(draw.choice(PIECES), by),
            # Longer ones grow too much.
            Keep(("az", "  ", draw.choice(["AZ", "Αω", "😀"])), by[:3]),
            ReplaceRuns(runs, by[:3]),
            ReplaceRuns((*runs, drawn_run(draw, at_words=True)), by[:3], draw.choice([("az", "09"), ("Αω", "ßé")])),
            *cleaning(("sub", r"\b\w{1,2}\b|\bs\S+\b", by[:3])),
            Lowercase(),
        ]
        return draw.choice(kinds)

    tokenizer = tokenizer or draw.choice(sorted(SPLITS))
    least, most = maybe(1, 3, 8), maybe(8, 12)
    return TextRules(
        tokenizer=tokenizer,
        lowercase=tokenizer in ("basic_english", "external") or draw.random() < 0.5,
        ngrams=draw.choice([1, 1, 2, 4]),
        max_tokens=maybe(1, 5, 30),
        unknown_id=maybe(0, 2),
        empty_id=draw.randrange(4),
        padding_id=draw.randrange(4),
        steps=() if tokenizer == "external" else tuple(step() for _ in range(draw.choice([0, 0, 1, 3]))),
        stop_words=tuple(draw.sample(["", "a", "the", ".", "σ"], draw.choice([0, 0, 2]))),
        first_id=maybe(1, 3),
        last_id=maybe(1, 2),
        max_width=most,
        min_width=least,
        cut_side=draw.choice(["left", "right"]),
        pad_side=draw.choice(["left", "right"]),
    )  # fmt: skip


@OF_UNICODE_14
@pytest.mark.parametrize("rules", RULES, ids=range(len(RULES)))
def test_texts_become_the_ids_of_python(rules: TextRules) -> None:
    texts = [*real(examples(20, 1000)), *adversarial(examples(150, 3000))]
    vocabulary = vocabulary_of([TextEncoder(rules, ["<unk>"]).tokens(text) for text in texts], 1500)
    encoder, engine = TextEncoder(rules, vocabulary), engine_of(rules, vocabulary)
    assert [text for text in texts if engine.encode(text) != encoder.encode(text)][:3] == []


@OF_UNICODE_14
def test_texts_become_the_ids_of_python_by_drawn_rules() -> None:
    draw, texts = random.Random(0), adversarial(12, seed=3)
    for _ in range(examples(150, 3000)):
        rules = drawn_rules(draw)
        some = [*texts, as_utf16("".join(draw.choices(PIECES, k=draw.randrange(30))))]
        vocabulary = vocabulary_of([TextEncoder(rules, ["<unk>"]).tokens(text) for text in some], 60)
        vocabulary = (*vocabulary, *[token for token in ("ω1", "ω2") if token not in vocabulary])
        encoder, engine = TextEncoder(rules, vocabulary), engine_of(rules, vocabulary)
        assert [text for text in some if engine.encode(text) != encoder.encode(text)] == [], rules


@pytest.mark.parametrize("name", mostly_slow(sorted(subword_vectors.FILES), 14))
def test_subwords_become_the_ids_of_python(name: str, tmp_path: Path) -> None:
    (tmp_path / "whole.prnn").write_bytes(subword_vectors.made(name).content)
    manifest = Classifier.load(tmp_path / "whole.prnn").manifest
    engine = Packed(encode_packed_text_rules(manifest))
    encoder = TextEncoder(manifest.text.rules, manifest.text.vocabulary)
    for vector in subword_vectors.made(name).vectors:
        assert engine.encode(vector["text"]) == vector["ids"]
    tokens = [manifest.text.vocabulary[-1], "unheard of", manifest.text.vocabulary[1]]
    assert engine.encode_tokens(tokens) == encoder.encode_tokens(tokens)


def test_texts_that_are_cut_already_become_the_ids_of_python() -> None:
    draw = random.Random(1)
    for turn in range(examples(150, 3000)):
        rules = drawn_rules(draw, "external" if turn % 2 else None)
        tokens = [draw.choice([*PIECES, "", "a b", "\ud800", "ΑΣ"]) for _ in range(draw.randrange(14))]
        vocabulary = vocabulary_of(
            [TextEncoder(rules, ["<unk>"]).encode_tokens(tokens) and tokens, [*PIECES, "a the"]], 60
        )
        encoder, engine = TextEncoder(rules, vocabulary), engine_of(rules, vocabulary)
        assert engine.encode_tokens(tokens) == encoder.encode_tokens(tokens), (rules, tokens)
    assert engine_of(TextRules(), ["<unk>", "oil"]).encode_tokens(["oil"] * 100_000) == [1] * 100_000
    for wrong in (("oil",), "oil", ["oil", 3]):
        with pytest.raises(TypeError, match="string"):
            engine_of(TextRules(), ["<unk>"]).encode_tokens(wrong)  # type: ignore[arg-type]


FAULTS = {"fill": FEW_IDS, "cut": MANY_IDS, "begin": BEGIN, "end": END}


@pytest.mark.slow
def test_ids_that_the_rules_give_to_no_text_are_told_as_python_tells_them() -> None:
    draw, seen = random.Random(2), set()
    for _ in range(examples(400, 3000)):
        rules = drawn_rules(draw)
        ids = [draw.randrange(4) for _ in range(draw.choice([1, 2, 8, 9, 12, 13, 40]))]
        if draw.random() < 0.5:
            ids = TextEncoder(rules, ["a", "b", "c", "d"]).encode(
                draw.choice(["a b c", "a" * 9, "", "b b b b b b b b"])
            )
        said = rules.explain_impossible_ids(ids)
        expected = next((status for word, status in FAULTS.items() if f" {word} " in said), OK)
        assert engine_of(rules, ["a", "b", "c", "d"]).check_ids(np.array(ids, np.int32)) == expected, (rules, ids)
        seen.add(expected)
    assert seen == {OK, *FAULTS.values()}
    for beyond in ([-1], [ROWS]):
        assert engine_of(TextRules(), ["a", "b", "c", "d"]).check_ids(np.array(beyond, np.int32)) == ID


def test_a_file_of_rules_makes_ids_and_answers_nothing(tmp_path: Path) -> None:
    path = tmp_path / "text.prnn"
    path.write_bytes(encode_packed_text_rules(manifests.read_manifest(VECTORS / "limits")))
    engine = Packed(path.read_bytes())
    assert (engine.limits(), engine.examples(), engine.state_size(), engine.embedding_size()) == ((2, 9, 102), [], 0, 0)
    assert read_packed_document(map_file(path), path)["graph"]["file"] == "model.onnx"
    for wrong, ask in {NO_PROGRAM: lambda: engine.logits("the cup"), NO_STREAM: lambda: Stream(engine)}.items():
        with pytest.raises(EngineError) as refused:
            ask()
        assert refused.value.args[0] == wrong
    logits, statuses = np.empty((2, 4), np.float32), np.zeros(2, np.uint8)
    engine.logits_of_texts(["the cup", ""], logits, statuses)
    assert statuses.tolist() == [NO_PROGRAM] * 2
    engine.logits_of_ids(np.array([3, 4], np.int32), np.array([2, 0]), logits, statuses)
    assert statuses.tolist() == [NO_PROGRAM] * 2
    with pytest.raises(BundleError, match=r"text\.prnn.*--text-rules"):
        Classifier.load(path)


def test_where_the_tokenizer_is_external_no_text_is_cut() -> None:
    engine = Packed(encode_packed_text_rules(manifests.read_manifest(VECTORS / "external" / "words")))
    with pytest.raises(EngineError) as refused:
        engine.encode("the team wins")
    assert refused.value.args[0] == INPUT


def changed(content: bytes, at: int, *values: int) -> bytes:
    file = File(bytearray(content))
    file.put(at, *values)
    file.make_sums_fit()
    return bytes(file.content)


def test_a_step_that_replaces_runs_is_read_within_its_words_or_refused() -> None:
    tag = Run(("<",), most=1, then=(RunPart(("\0=", "?\U0010ffff"), 0, None), RunPart((">",))))
    rules = TextRules(
        "whitespace", steps=(ReplaceRuns((tag, Run(("09", "٠٩"), ("-",))), " x "), *cleaning("lowercase"))
    )
    graph = replace(WORDS.graph, embedding_rows=ROWS)
    content = encode_packed_text_rules(replace(WORDS, input=TextInput(rules, ("<unk>", "x", "a")), graph=graph))
    assert Packed(content).encode("a<br />12 -٣<a") == [2, 1, 1, 1, 0]
    start, size = (int.from_bytes(content[at : at + 4], "little") for at in (144, 148))
    refused, words = 0, range(start + 14 * 4, start + size, 4)
    for at in words:
        for value in (0, 1, 2, 3, 17, 32, 65, 0x61, 0x7FFFFFFF, -1):
            try:
                Packed(changed(content, at, value)).encode("a<br />12 -٣<a" * 9)
            except EngineError:
                refused += 1
    assert len(words) < refused < 10 * len(words)
    kept = encode_packed_text_rules(
        replace(WORDS, input=TextInput(TextRules(steps=(Keep(("az", "09")),)), ("<unk>",)), graph=graph)
    )
    with pytest.raises(EngineError):
        # The ranges are sorted: the digits come first.
        Packed(changed(kept, int.from_bytes(kept[144:148], "little") + 14 * 4 + 16, 0x70))
    for at, wrong in ((4, 3), (8, 0), (8, 17), (12, -1), (16, 0), (16, 65), (20, 65), (24, 9999), (44, 61)):
        with pytest.raises(EngineError) as told:
            Packed(changed(content, start + 14 * 4 + at, wrong))
        assert told.value.args[0] == CONTENT


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["<", pytest.param("<a", marks=pytest.mark.slow), "<a>", "a" * 9000 + "bd", "a" * 9000 + " "]
)
def test_runs_that_stand_in_vain_take_linear_time(text: str) -> None:
    any_but = RunPart(("\0=", "?\U0010ffff"), 0, None)
    steps = (
        ReplaceRuns((Run(("<",), most=1, then=(any_but, RunPart((">",)), RunPart(("!",)))), Run(("😀",)))),
        ReplaceRuns((Run(("a",), then=(RunPart(("b",), 1, None), RunPart(("c",)))),)),
        ReplaceRuns((Run(("az",), most=1, then=(RunPart(("az",), 0, None), RunPart(("b",)), RunPart(("!",)))),)),
    )
    rules = TextRules("whitespace", lowercase=False, steps=steps)
    text *= 2_000_000 // len(text)
    assert engine_of(rules, ["<unk>", text]).encode(text) in ([1], [0] * text.count(" "))


# The places in the header that must be 0 in a file without a program.
FULL = {"output": 84, "operations": 92, "regions": 96, "examples": 100, "channels": 108,
        **{f"section {i}": 132 + 8 * i for i in range(5, 10)}}  # fmt: skip


@pytest.mark.parametrize("what", FULL)
def test_a_file_of_rules_with_part_of_a_program_is_refused(what: str) -> None:
    with pytest.raises(EngineError) as refused:
        Packed(changed(encode_packed_text_rules(WORDS), FULL[what], 4))
    assert refused.value.args[0] == CONTENT


def test_a_program_beside_an_external_tokenizer_is_refused() -> None:
    content = (VECTORS / "packed" / "words.prnn").read_bytes()
    rules = int.from_bytes(content[144:148], "little")
    assert Packed(changed(content, rules, 1)).labels()
    with pytest.raises(EngineError) as refused:
        Packed(changed(content, rules, 5))
    assert refused.value.args[0] == CONTENT


def test_pack_writes_the_text_rules_of_a_bundle(tmp_path: Path) -> None:
    path = tmp_path / "text.prnn"
    line = ["pack", str(VECTORS / "cleaned"), "--text-rules", "-o", str(path)]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert f"{path}: {path.stat().st_size:,} bytes" in done.output
    assert path.read_bytes() == encode_packed_text_rules(manifests.read_manifest(VECTORS / "cleaned"))
    assert CliRunner().invoke(main, line).exit_code == OutputError.exit_status
    assert pack_text_rules(VECTORS / "external" / "words", path, force=True, progress=False).name == "words"
    for option in ("--streaming", "--arithmetic=int8"):
        assert CliRunner().invoke(main, [*line, option, "--force"]).exit_code == 2


def test_rules_of_which_the_engine_makes_other_ids_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextEncoder, "encode", lambda *_: [0])
    with pytest.raises(ParityError, match="words"):
        pack_text_rules(VECTORS / "words", tmp_path / "text.prnn")
    with pytest.raises(InputError, match=r"words\.prnn"):
        pack_text_rules(VECTORS / "packed" / "words.prnn", tmp_path / "text.prnn")
    assert not (tmp_path / "text.prnn").exists()


def test_rules_that_the_engine_cannot_hold_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pocketrnn_export.standalone_text_rules_file.encode_packed_text_rules", lambda *_: bytes(256))
    with pytest.raises(BundleError, match="words"):
        pack_text_rules(VECTORS / "words", tmp_path / "text.prnn")
