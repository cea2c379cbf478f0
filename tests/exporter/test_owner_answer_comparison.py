"""Texts with what the owner's classifier answers: compared with the written bundle, and refused with the cause."""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from slow_case_sampling import mostly_slow
from torch import nn

from pocketrnn import Classifier, verify
from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.manifest import Manifest
from pocketrnn.bundle.output_kinds import LabelOutput
from pocketrnn.commands.cli import main
from pocketrnn.errors import ExportError, InputError, ParityError
from pocketrnn.predictions_from_logits import Answers
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.cleaning_from_shorthand import cleaning
from pocketrnn.text.text_input import TextInput
from pocketrnn.verdicts import AnswerComparison, TextVerdict, read_text_verdict
from pocketrnn.verification_page import proof_page
from pocketrnn_export import export
from pocketrnn_export.commands.settings_found_in_code import find_files_of_stop_words
from pocketrnn_export.compression import compress
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.vocabularies.answer_distances import AnsweredText, AnswerSource
from pocketrnn_export.vocabularies.candidate_text_rules import describe_long_rules_option, write_rules_option
from pocketrnn_export.vocabularies.causes_of_different_answers import describe_likely_cause
from pocketrnn_export.vocabularies.doubtful_ids_refusal import (
    refuse_doubtful_ids,
    warn_of_cut_that_no_text_shows,
)
from pocketrnn_export.vocabularies.label_order_in_pairs import read_pairs_in_label_order
from pocketrnn_export.vocabularies.owner_answer_comparison import (
    OtherAnswersError,
    compare_answers,
    refuse_other_answers,
)
from pocketrnn_export.vocabularies.owner_texts_and_answers import (
    OwnersText,
    convert_example_pairs,
    find_thresholds_of_two_labels,
    map_answers_to_labels,
    map_head_answers,
    read_pairs,
)
from pocketrnn_export.vocabularies.rules_from_answers import (
    find_rules_from_answers,
    find_rules_with_sos_and_eos,
)
from pocketrnn_export.vocabularies.text_rules_file import read_rules
from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary

pytestmark = pytest.mark.usefixtures("scant_proofs")
SYLLABLES = [a + b for a in "bdfgklmnprst" for b in ("ab", "em", "il", "on", "ur")]
WORDS = ["<unk>", "<pad>", *SYLLABLES]
LABELS = ["World", "Sports", "Business", "Science"]
MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(62, 16)
        self.gru = torch.nn.GRU(16, 12, batch_first=True)
        self.fc = torch.nn.Linear(12, 4)

    def forward(self, tokens):
        return 6 * self.fc(self.gru(self.embedding(tokens))[0].mean(dim=1))
"""


def net() -> nn.Module:
    made: dict[str, Any] = {}
    exec(MODULE, made)  # noqa: S102 - above
    with torch.random.fork_rng():
        return made["Net"]()  # type: ignore[no-any-return]


NET = net().eval()


def drawn(number: int, seed: int, longest: int = 30) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["-".join(rng.choice(SYLLABLES, int(rng.integers(3, longest)))) for _ in range(number)]


def split(text: str) -> list[str]:
    return text.lower().split("-")


def ids_of(text: str, most: int | None = None) -> list[int]:
    return [WORDS.index(word) if word in WORDS else 0 for word in split(text)][:most]


def answer(ids: list[int], width: int = 0) -> list[float]:
    with torch.no_grad():
        return torch.softmax(NET(torch.tensor([ids + [1] * (width - len(ids))]))[0], 0).tolist()  # type: ignore[no-any-return]


def label(ids: list[int]) -> str:
    return LABELS[int(np.argmax(answer(ids)))]


def exported(path: Path, **more: Any) -> Manifest:
    return export(
        net(), path, **{"labels": LABELS, "vocabulary": WORDS, "torchscript": False, "tokenizer": "external", **more}
    )


TEXTS = drawn(24, 1)
UNFRAMED = [" ".join(split(text)) for text in TEXTS]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose texts came with their tokens, and with probabilities or a label."""
    path = tmp_path_factory.mktemp("answers") / "bundle"
    pairs = [
        (text, split(text), dict(zip(LABELS, answer(ids_of(text)), strict=True)) if i % 2 else label(ids_of(text)))
        for i, text in enumerate(TEXTS)
    ]
    exported(path, example_ids=pairs)
    return path


@pytest.mark.slow
def test_the_verdict_says_what_was_compared(bundle: Path) -> None:
    verdict = read_text_verdict(manifests.read_manifest(bundle))
    assert verdict.answers is not None
    assert (verdict.kind, verdict.texts, verdict.by, verdict.is_open) == ("compared", 24, "answers", False)
    assert (verdict.answers.labels, verdict.answers.probabilities, verdict.answers.tolerance) == (12, 12, 1e-3)
    assert verdict.answers.largest_difference < 1e-5
    for shown in (CliRunner().invoke(main, ["inspect", str(bundle)]).stdout, proof_page(verify(bundle))):
        assert re.search(r"12 texts .*: the same labels; on 12 texts: probabilities within 0\.001", shown)
        assert 'class="open"' not in shown
    stated = manifests.read_manifest(bundle).provenance["text_rules"]["answers"]
    assert set(stated) == {"labels", "probabilities", "largest_difference", "tolerance", "unordered", "texts"}


@pytest.mark.slow
def test_labels_beside_probabilities_count_as_compared(bundle: Path) -> None:
    ids = [ids_of(text) for text in TEXTS]
    answered = [
        AnsweredText(text, split(text), dict(zip(LABELS, answer(own), strict=True)), label=(label(own),) * (i % 3 > 0))
        for i, (text, own) in enumerate(zip(TEXTS, ids, strict=True))
    ]
    found = compare_answers(Classifier.load(bundle), answered)
    assert found is not None
    assert (found.labels, found.probabilities, found.texts) == (16, 24, 24)


def test_a_width_with_which_most_answers_agree_is_told_with_one_of_the_others() -> None:
    rules = TextRules("external", padding_id=1)
    encoder = TextEncoder(rules, WORDS)

    def answer_ids(ids: Sequence[int]) -> Any:
        number = hash(tuple(ids)) % 997 / 997
        return np.array([number, 1 - number])

    def encode(read: Any) -> list[int]:
        return encoder.encode_tokens(read)

    source = AnswerSource("module", ["a", "b"], "softmax", TextInput(rules, WORDS), encode, answer_ids,
                          lambda read: answer_ids(encode(read)))  # fmt: skip
    own = [split(text)[:: 1 if i < 20 else -1] for i, text in enumerate(TEXTS)]
    padded = [encode(tokens) + [1] * (40 - len(tokens)) for tokens in own]
    answered = [
        AnsweredText(text, split(text), dict(zip("ab", map(float, answer_ids(ids)), strict=True)))
        for text, ids in zip(TEXTS, padded, strict=True)
    ]
    with pytest.raises(ParityError, match=r"It reads '.*20 of 24 .*cut or padded.*\"min_width\": 40.*the first is"):
        refuse_other_answers(source, answered)


@pytest.mark.parametrize(("right", "said"), [(None, "neither cut nor"), (40, r'"min_width": 40')])
def test_a_width_that_the_rules_state_is_doubted(right: int | None, said: str) -> None:
    rules = TextRules("whitespace", lowercase=False, padding_id=1, min_width=50, max_width=50)

    def answer_ids(ids: Sequence[int]) -> Any:
        number = hash(tuple(ids)) % 997 / 997
        return np.array([number, 1 - number])

    def encode(text: Any) -> list[int]:
        return TextEncoder(rules, WORDS).encode(text)

    source = AnswerSource("module", ["a", "b"], "softmax", TextInput(rules, WORDS), encode, answer_ids,
                          lambda read: answer_ids(encode(read)))  # fmt: skip
    plain = TextEncoder(replace(rules, min_width=None, max_width=None), WORDS)
    answered = []
    for text in TEXTS:
        ids = plain.encode(text)
        ids += [1] * ((right or 0) - len(ids))
        answered.append(AnsweredText(text, text, dict(zip("ab", map(float, answer_ids(ids)), strict=True))))
    with pytest.raises(ParityError, match=said):
        refuse_other_answers(source, answered)


def test_a_width_agrees_with_all_answers_also_with_those_that_are_not_compared_first() -> None:
    rules = TextRules("external", padding_id=1)
    encoder = TextEncoder(rules, WORDS)

    def answer_ids(ids: Sequence[int]) -> Any:
        is_near = len(ids) == 35 if ids[0] % 5 == 0 else 33 <= len(ids) <= 37
        number = 0.9 if (is_near or ids[0] % 3 == 0) == (ids[0] % 2 == 0) else 0.1
        return np.array([number, 1 - number])

    def encode(read: Any) -> list[int]:
        return encoder.encode_tokens(read)

    source = AnswerSource("module", ["a", "b"], "softmax", TextInput(rules, WORDS), encode, answer_ids,
                          lambda read: answer_ids(encode(read)))  # fmt: skip
    groups: list[list[AnsweredText]] = [[], []]
    for text in drawn(60, 5):
        ids = encode(split(text))
        wide = answer_ids(ids + [1] * (35 - len(ids)))
        groups[ids[0] % 5 == 0].append(AnsweredText(text, split(text), ["ab"[int(wide.argmax())]]))
    compared, others = groups
    with pytest.raises(ParityError, match="padded to 35 ids") as refused:
        refuse_other_answers(source, compared, others)
    assert "Other ways agree" not in str(refused.value)


@pytest.mark.parametrize("form", [lambda n: n, lambda n: [1 - n, n], lambda n: {"ham": 1 - n, "spam": n}])
@pytest.mark.parametrize(("part", "is_told"), [(0.2, True), (0.5, False), (0.7, True)])
def test_labels_that_follow_from_a_probability_by_another_threshold_are_told(
    part: float, is_told: bool, form: Any
) -> None:
    numbers = [0.03, 0.19, 0.22, 0.47, 0.61, 0.98]
    texts = [OwnersText(f"text {n}", answer=form(n), label=["ham", "spam"][n > part]) for n in numbers]
    found = map_answers_to_labels(texts, ["ham", "spam"])
    # The label shows which of the two has the number.
    assert all(
        answer == pytest.approx({"ham": 1 - n, "spam": n}) for (_, answer), n in zip(found, numbers, strict=True)
    )
    thresholds = find_thresholds_of_two_labels(found, ["ham", "spam"])
    assert thresholds == ((round(1 - part, 1), part) if is_told else None)
    texts[0] = replace(texts[0], label="spam")
    with pytest.raises(InputError):
        map_answers_to_labels(texts, ["ham", "spam"])


@pytest.mark.parametrize(("part", "thresholds"), [(0.2, (0.8, 0.2)), (0.5, None), (0.7, (0.3, 0.7)), (None, None)])
def test_labels_beside_probabilities_are_compared_by_the_thresholds_of_the_bundle(
    part: float | None, thresholds: tuple[float, float] | None
) -> None:
    numbers = [0.03, 0.19, 0.22, 0.47, 0.61, 0.98]
    own = ("ham", "spam")
    manifest = SimpleNamespace(text=None, labels=own, provenance={}, parity=SimpleNamespace(comparisons=[]),
                               output=SimpleNamespace(activation="softmax"))  # fmt: skip
    bundle = SimpleNamespace(
        labels=own, thresholds=thresholds, manifest=manifest, heads=(), encode=lambda _: [0],
        predict_proba=lambda texts: [[1 - float(texts[0]), float(texts[0])]],
        _answers=Answers("news", own, "softmax", thresholds),
    )  # fmt: skip
    answered = [
        AnsweredText(str(n), str(n), {"ham": 1 - n, "spam": n}, names=part is not None,
                     label=() if part is None else (own[n > part],))
        for n in numbers
    ]  # fmt: skip
    found = compare_answers(bundle, answered)  # type: ignore[arg-type]
    assert found is not None
    assert (found.labels, found.probabilities) == (0 if part is None else 6, 6)
    assert found.unordered == (() if part is not None else own)
    assert ("thresholds" in found.sentence) == found.by_thresholds == (thresholds is not None)


def test_what_was_compared_before_rounding_is_said_so(bundle: Path, tmp_path: Path) -> None:
    verdict = read_text_verdict(compress(bundle, tmp_path / "small").manifest)
    assert verdict.answers is not None
    assert verdict.answers.is_before
    assert "before its numbers were rounded" in verdict.sentence


@pytest.mark.parametrize(
    "stated",
    [
        3, {}, {"labels": 3}, {"labels": 0, "probabilities": 0, "largest_difference": 0.0, "tolerance": 0.1},
        {"labels": True, "probabilities": 0, "largest_difference": 0.0, "tolerance": 0.1, "unordered": []},
        {"labels": 1, "probabilities": 0, "largest_difference": 0.0, "tolerance": 0.1, "unordered": ["<b>"]},
        {"labels": 1, "probabilities": 0, "largest_difference": "<b>", "tolerance": 0.1},
        {"labels": 1, "probabilities": 0, "largest_difference": float("nan"), "tolerance": 0.1},
    ],
)  # fmt: skip
def test_answers_that_a_hostile_bundle_states_are_none(bundle: Path, stated: Any) -> None:
    manifest = manifests.read_manifest(bundle)
    manifest.provenance["text_rules"] = {"verdict": "compared", "texts": 3, "by": "answers", "answers": stated}  # type: ignore[index]
    assert read_text_verdict(manifest) == TextVerdict("external")
    assert AnswerComparison(1, 0, 0.0, 0.1).sentence.startswith("On 1 text ")


SHUFFLED = [*WORDS[:2], *np.random.default_rng(3).permutation(SYLLABLES).tolist()]
TURNED = [LABELS[2], LABELS[0], LABELS[3], LABELS[1]]


@pytest.mark.parametrize(
    ("given", "said"),
    mostly_slow(
        [
            ({"labels": TURNED}, f"order: {', '.join(LABELS)}"),
            ({"vocabulary": SHUFFLED}, "text rules, the vocabulary"),
            ({"cut": 12}, r"--max-tokens 12 "),
            ({"padded": 120}, r"--rules .*\"min_width\": 120"),
        ],
        4,
        several=True,
    ),
)
@pytest.mark.parametrize("how", ["tokens", pytest.param("text", marks=pytest.mark.slow)])
def test_a_difference_is_refused_with_the_likely_cause(
    given: dict[str, Any], said: str, how: str, tmp_path: Path
) -> None:
    texts, tokenizer = (TEXTS, "external") if how == "tokens" else (UNFRAMED, "whitespace")
    cut, padded, more = given.get("cut"), given.get("padded", 0), {}
    more = {name: value for name, value in given.items() if name not in ("cut", "padded")}
    pairs = [
        (
            text,
            split(own) if how == "tokens" else None,
            dict(zip(LABELS, answer(ids_of(own, cut), padded), strict=True)),
        )
        for text, own in zip(texts, TEXTS, strict=True)
    ]
    with pytest.raises(ParityError, match=said) as caught:
        exported(tmp_path / "b", tokenizer=tokenizer, example_ids=pairs, **more)
    assert caught.value.exit_status == 3
    assert not (tmp_path / "b").exists()
    if cut or padded:
        # The way out is one.
        words = shlex.split(caught.value.remedy)
        known = read_vocabulary(WORDS)
        rules = replace(make_implied_rules(known, tokenizer), max_tokens=cut)
        if padded:
            rules = read_rules(words[words.index("--rules") + 1].rstrip("."), known)
        exported(tmp_path / "b", tokenizer=None, rules=rules, example_ids=pairs)


@pytest.mark.slow
def test_a_width_is_found_from_answers_also_of_longer_texts_and_of_texts_without_words(tmp_path: Path) -> None:
    rows = [*((text, ids_of(own, 20)) for text, own in zip(UNFRAMED, TEXTS, strict=True)), ("", []), ("unheard", [0])]
    assert max(len(split(own)) for own in TEXTS) > 20
    pairs = [(text, None, dict(zip(LABELS, answer(ids, 20), strict=True))) for text, ids in rows]
    rules = TextRules("whitespace", padding_id=1)
    with pytest.raises(ParityError, match=r"20 ids.*\"min_width\": 20"):
        exported(tmp_path / "b", tokenizer=None, rules=rules, example_ids=pairs)
    made = exported(tmp_path / "b", tokenizer=None, rules=replace(rules, min_width=20, max_width=20), example_ids=pairs)
    assert read_text_verdict(made).answers is not None


@pytest.mark.slow
def test_a_width_to_which_longer_texts_are_not_cut_is_found_from_answers(tmp_path: Path) -> None:
    texts = drawn(24, 5)
    width = sorted(len(split(text)) for text in texts)[16] + 1
    pairs = [(text, split(text), dict(zip(LABELS, answer(ids_of(text), width), strict=True))) for text in texts]
    with pytest.raises(ParityError, match=rf"{width} .* not cut.*\"min_width\": {width}\}}"):
        exported(tmp_path / "b", example_ids=pairs)


@pytest.mark.slow
def test_rules_that_are_proposed_have_the_ids_that_the_vocabulary_does_not_imply(tmp_path: Path) -> None:
    words = ["zz", "<pad>", *SYLLABLES]
    pairs = [(" ".join([*split(text), "unheard"]), None, answer([*ids_of(text), 0], 40)) for text in drawn(24, 5)]
    rules = TextRules("whitespace", unknown_id=0, empty_id=0, padding_id=1)
    with pytest.raises(ParityError, match=r'"unknown_id": 0'):
        exported(tmp_path / "b", tokenizer=None, vocabulary=words, rules=rules, example_ids=pairs)


@pytest.mark.slow
def test_rules_that_agree_on_the_first_texts_only_are_not_proposed(tmp_path: Path) -> None:
    texts = drawn(230, 5)
    pairs = [(text, split(text), dict(zip(LABELS, answer(ids_of(text)), strict=True))) for text in texts]
    text, tokens, numbers = pairs[220]
    pairs[220] = text, tokens, dict(zip(LABELS, [*numbers.values()][::-1], strict=True))
    with pytest.raises(ParityError, match=r"(?s)^(?!.*All \d+ texts)"):
        exported(tmp_path / "b", example_ids=pairs)


@pytest.mark.slow
def test_a_cut_with_which_nearly_all_answers_agree_is_told_with_the_text_that_does_not(tmp_path: Path) -> None:
    texts = drawn(60, 5)
    pairs = [(text, split(text), dict(zip(LABELS, answer(ids_of(text, 12)), strict=True))) for text in texts]
    text, tokens, numbers = pairs[20]
    pairs[20] = text, tokens, dict(zip(LABELS, [*numbers.values()][::-1], strict=True))
    with pytest.raises(ParityError, match=r"59 of 60 .*--max-tokens 12 ") as caught:
        exported(tmp_path / "b", example_ids=pairs)
    assert text[:30] in caught.value.remedy
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (0, 'All 24 .* agree with --rules .*"lowercase": false'),
        pytest.param(1, 'find 60 words.*"lowercase": false.*60 of these', marks=pytest.mark.slow),
    ],
)
def test_answers_alone_tell_a_tokenizer_or_its_lower_case(shift: int, said: str, tmp_path: Path) -> None:
    pairs = [(text.upper().replace("-", " "), None, answer([2 + (i - 2 + shift) % 60 for i in ids_of(text)]))
             for text in TEXTS]  # fmt: skip
    given = {"vocabulary": [*WORDS[:2], *(word.upper() for word in SYLLABLES)], "example_ids": pairs}
    rules = TextRules("whitespace", unknown_id=0, empty_id=0, padding_id=1)
    with pytest.raises(ParityError, match=said):
        exported(tmp_path / "lower", **given, tokenizer=None, rules=rules)
    if not shift:
        exported(tmp_path / "as-they-stand", **given, tokenizer=None, rules=replace(rules, lowercase=False))


@pytest.mark.parametrize(
    ("by_owner", "exceptions"),
    [
        (lambda text: text.encode("latin-1", "replace").decode("latin-1"), ()),
        (lambda text: text.replace("é", "kab rur"), (0,)),
    ],
)
def test_rules_with_which_nearly_all_answers_agree_are_found_also_those_of_an_encoding(
    by_owner: Any, exceptions: tuple[int, ...]
) -> None:
    rules = TextRules("whitespace", unknown_id=0, empty_id=0, padding_id=1, min_width=40, max_width=40)
    encoder = TextEncoder(replace(rules, steps=cleaning("remove_punctuation")), WORDS)
    texts = [f"{' '.join(split(text))}{'.' if i else ' Ж’kab é'}" for i, text in enumerate(drawn(50, 5, 8))]
    own = [encoder.encode(by_owner(text)) for text in texts]
    found = find_rules_from_answers(rules, WORDS, texts, lambda i, ids: float(list(ids) != own[i]), 1e-3, 2)
    assert {one.exceptions for one in found} == {exceptions}
    known = read_vocabulary(WORDS)
    again = read_rules(write_rules_option(found[0].rules, make_implied_rules(known, TextRules().tokenizer)), known)
    encoder = TextEncoder(again, WORDS)
    assert [i for i, text in enumerate(texts) if encoder.encode(text) != own[i]] == [*exceptions]


def test_a_width_cleaning_and_an_unknown_id_that_no_word_names_are_found_together() -> None:
    words = ["<pad>", *SYLLABLES]
    rules = make_implied_rules(read_vocabulary(words))
    assert rules.unknown_id is None
    own = replace(
        rules, tokenizer="whitespace", steps=cleaning("remove_punctuation"), unknown_id=0, min_width=200, max_width=200,
        pad_side="left",
    )  # fmt: skip
    encoder = TextEncoder(own, words)
    some = [" ".join(split(text)) for text in drawn(20, 5, 8)]
    texts = [f"{text}, q{i}, {text}." if i % 9 else f"{text}!" for i, text in enumerate(some)]
    read, ids_of_texts = list[int](), [encoder.encode(text) for text in texts]

    def measure(number: int, ids: Sequence[int]) -> float:
        read.append(len(ids))
        return 1e-7 if list(ids) == ids_of_texts[number] else 1.0

    assert [one.rules for one in find_rules_from_answers(rules, words, texts, measure, 1e-3)] == [own]
    assert sum(read) < 200_000


def test_labels_show_the_simplest_rules_with_a_width_that_code_names_and_that_others_agree() -> None:
    words = ["<unk>", "<pad>", *WORDS[2:], *(f"{word}," for word in WORDS[2:40])]
    rules = TextRules("basic_english", padding_id=1)
    own = replace(rules, tokenizer="whitespace", unknown_id=0, min_width=23, max_width=23)
    encoder = TextEncoder(own, words)
    texts = [f"{text}, {text}" for text in drawn(30, 9)]
    ids_of_texts = [encoder.encode(text) for text in texts]

    def measure(number: int, ids: Sequence[int]) -> float:
        return float(list(ids) != ids_of_texts[number])

    found = find_rules_from_answers(rules, words, texts, measure, 1e-3, named_widths=[23])
    assert found[0].rules == own
    assert len(found) > 1


@pytest.mark.slow
def test_stop_words_that_a_file_holds_are_left_out_if_answers_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("src").mkdir()
    Path("src/net.py").write_text(
        "class Net:\n    def forward(self, ids): ...\nSTOP, TEXTS = 'stopword.txt', 'a.txt'\n"
    )
    Path("stopword.txt").write_text("the\nof the\n\n of \n")
    Path("a.txt").write_text("oil\n")
    found = find_files_of_stop_words(Path("src/net.py"))
    assert found == {Path("stopword.txt"): ["the", "of"]}
    stop_words = [*found.values()]
    own = TextRules("whitespace", unknown_id=0, empty_id=0, stop_words=("the", "of"))
    encoder = TextEncoder(own, WORDS)
    texts = [f"The {' '.join(split(text))} of q{i}" for i, text in enumerate(drawn(20, 5, 8))]
    ids_of_texts = [encoder.encode(text) for text in texts]

    def find(rules: TextRules) -> list[TextRules]:
        def measure(number: int, ids: Sequence[int]) -> float:
            return float(list(ids) != ids_of_texts[number])

        found = find_rules_from_answers(rules, WORDS, texts, measure, 1e-3, stop_words=stop_words)
        return [one.rules for one in found]

    assert own in find(replace(own, stop_words=()))
    # Those that are given are not replaced.
    assert find(replace(own, stop_words=("q1",))) == []


def test_long_rules_are_described_in_a_message() -> None:
    for count, said in ((2, "--rules '{"), (90, "the rules whitespace with 90 stop words")):
        rules = TextRules("whitespace", stop_words=tuple(f"w{i}" for i in range(count)))
        assert describe_long_rules_option(rules, write_rules_option(rules, TextRules())).startswith(said)


@pytest.mark.parametrize(("first", "last"), [(2, 3), (2, None), (None, 3)])
def test_words_around_a_text_are_tried_at_once_with_the_likeliest_rules(first: int | None, last: int | None) -> None:
    words = ["<pad>", "<unk>", "<SOS>", "<EOS>", *SYLLABLES]
    implied = make_implied_rules(read_vocabulary(words))
    own = replace(implied, tokenizer="whitespace", first_id=first, last_id=last)
    encoder = TextEncoder(own, words)
    texts = [f"{' '.join(split(text))}, x. kab" for text in drawn(20, 5, 8)]
    calls: list[int] = []

    def measure(number: int, ids: Sequence[int]) -> float:
        calls.append(number)
        return float(list(ids) != encoder.encode(texts[number]))

    assert [one.rules for one in find_rules_with_sos_and_eos(implied, words, texts, measure, 1e-3)] == [own]
    assert len(calls) < 200
    assert find_rules_with_sos_and_eos(own, words, texts, measure, 1e-3) == []
    assert find_rules_with_sos_and_eos(implied, SYLLABLES, texts, measure, 1e-3) == []


@pytest.mark.parametrize(("distance", "is_told"), [(1.0, True), (0.0, False)])
def test_a_long_search_says_early_that_no_usual_rules_agree_and_how_far_it_is(
    distance: float, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts = [f"oil {i} film." for i in range(9)]
    found = find_rules_from_answers(TextRules(), ["<unk>", "oil"], texts, lambda *_: distance, 1e-3)
    assert (found == []) is is_told
    lines = [record.getMessage() for record in caplog.records]
    told = [i for i, line in enumerate(lines) if "rarer ones are tried" in line]
    assert bool(told) is is_told
    steps = [i for i, line in enumerate(lines) if re.search("text rules( with widths)?$", line)]
    assert not told or steps[1] < told[0] < steps[2]


@pytest.mark.parametrize(("wrong", "is_told"), [(3, True), (30, False)])
def test_a_refusal_says_that_the_text_rules_are_likely_others_if_most_probabilities_agree(
    wrong: int, is_told: bool
) -> None:
    row: Any = (SimpleNamespace(answer={"bad": 0.25}), np.array([0.5, 0.5]))
    assert (f"{40 - wrong} of 40" in describe_likely_cause([row] * 40, range(wrong))) == is_told


UNCLEAN = [f"<b>{own.replace('-', ', ', 1).replace('-', ' ')}!" for own in TEXTS]


@pytest.fixture
def owners_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module, its weights and vocabulary, and the answers of a pipeline that cleans texts and pads them to 40 ids."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODULE + "\n\ndef words(text):\n    return text.split()\n")
    torch.save(NET.state_dict(), "net.pt")
    Path("words.txt").write_text("\n".join(WORDS))
    return tmp_path


def write_answers(of: Any) -> None:
    """Write answers.csv: each text, and what a function of its ids gives, as a label or as probabilities."""
    rows = [(text, of(ids_of(own))) for text, own in zip(UNCLEAN, TEXTS, strict=True)]
    given = [dict(zip(LABELS, one, strict=True)) if isinstance(one, list) else {"label": one} for _, one in rows]
    lines = [",".join(["text", *given[0]]), *(f'"{text}",' + ",".join(map(str, one.values()))
             for (text, _), one in zip(rows, given, strict=True))]  # fmt: skip
    Path("answers.csv").write_text("\n".join(lines))


GIVEN = ["net.py:Net", "--weights", "net.pt", "--vocabulary", "words.txt", "--labels", ",".join(LABELS),
         "--pairs", "answers.csv", "-o", "out", "--no-torchscript"]  # fmt: skip


@pytest.mark.slow
def test_probabilities_alone_show_cleaning_and_a_width_together(owners_folder: Path) -> None:
    write_answers(lambda ids: answer([0, *ids], 40))
    result = CliRunner().invoke(main, ["export", *GIVEN])
    assert result.exit_code == 0, result.output
    rules = manifests.read_manifest(owners_folder / "out").text.rules
    assert (rules.max_width, rules.min_width, rules.lowercase) == (40, 40, True)
    assert re.search(r"--rules .*\"min_width\": 40.* are taken", result.stderr)
    assert "probabilities within 0.001" in result.stdout


@pytest.mark.slow
def test_other_rules_that_give_all_answers_are_named(owners_folder: Path) -> None:
    rows = [f"{text},{label(ids_of(own))}" for text, own in zip(UNFRAMED, TEXTS, strict=True)]
    Path("answers.csv").write_text("\n".join(["text,label", *rows]))
    # Code that nobody named and that does more than compute is not run.
    code = "def cut_words(text, most):\n    open('ran', 'w')\n    return text.split()[:most]\n"
    Path("net.py").write_text(f"{MODULE}\n\n{code}\nif __name__ == '__main__':\n    print(cut_words(input(), 200))\n")
    result = CliRunner().invoke(main, ["export", *GIVEN])
    assert result.exit_code == 0, result.output
    # No text has a capital or a comma.
    assert "whitespace (it differs at" in result.stderr
    assert not Path("ran").exists()
    line = shlex.split(result.stderr[result.stderr.index("Write: pocketrnn") :].splitlines()[0])
    assert line[line.index("--tokenizer") + 1] == "net.py:cut_words(most=200)"
    assert line[-1] == "--force"


@pytest.mark.slow
def test_of_rules_that_agree_those_of_the_owners_code_are_taken(owners_folder: Path) -> None:
    rows = [f"{text},{label(ids_of(own))}" for text, own in zip(UNFRAMED, TEXTS, strict=True)]
    Path("answers.csv").write_text("\n".join(["text,label", *rows]))
    result = CliRunner().invoke(main, ["export", *GIVEN])
    assert result.exit_code == 0, result.output
    assert "net.py:words" in result.stderr
    assert "it differs at" not in result.stderr
    rules = Classifier.load("out").manifest.text.rules
    assert (rules.tokenizer, rules.lowercase) == ("whitespace", False)


@pytest.mark.slow
@pytest.mark.parametrize(("digits", "shown"), [(9, 10), (2, 0)])
def test_rounded_probabilities_do_not_show_which_of_near_widths_is_right(
    digits: int, shown: int, tmp_path: Path
) -> None:
    pairs = [
        (text, None, dict(zip(LABELS, (round(one, digits) for one in answer(ids_of(own), 210)), strict=True)))
        for text, own in zip(UNFRAMED[:10], TEXTS, strict=False)
    ]
    with pytest.raises(OtherAnswersError) as caught:
        exported(tmp_path / "b", tokenizer=None, rules=TextRules("whitespace", padding_id=1), example_ids=pairs)
    assert caught.value.agreeing is not None
    assert caught.value.numbers == shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        pytest.param(["--tokenizer", "whitespace"], marks=pytest.mark.slow),
        pytest.param(["--rules", '{"padding_id": 1}'], marks=pytest.mark.slow),
        [],
    ],
)
def test_rules_that_answers_show_are_a_line_to_copy_where_others_are_stated(
    more: list[str], owners_folder: Path
) -> None:
    def of(ids: list[int]) -> Any:
        found = answer([0, *ids], 40)
        return found if more else LABELS[int(np.argmax(found))]

    write_answers(of)
    result = CliRunner().invoke(main, ["export", *GIVEN, *more])
    assert result.exit_code == 3, result.output
    # Labels alone first show the function of the code, and then a width.
    for _ in range(2 - bool(more)):
        words = shlex.split(result.stderr.split("Write: ")[1].splitlines()[0])
        result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("width", "more"),
    [
        (0, []),
        pytest.param(12, [], marks=pytest.mark.slow),
        pytest.param(
            12, ["--tokenizer", "net.py:words", "--rules", '{"tokenizer": "external"}'], marks=pytest.mark.slow
        ),
    ],
)
def test_another_order_of_the_labels_is_a_line_to_copy_also_with_other_rules(
    width: int, more: list[str], owners_folder: Path
) -> None:
    numbers = [answer(ids_of(text), width) for text in TEXTS]
    rows = [",".join(map(str, [text, *(one if width else [LABELS[int(np.argmax(one))]])]))
            for text, one in zip(UNFRAMED, numbers, strict=True)]  # fmt: skip
    Path("answers.csv").write_text("\n".join([f"text,{','.join(LABELS) if width else 'label'}", *rows]))
    turned = [",".join(LABELS[::-1]) if one == ",".join(LABELS) else one for one in GIVEN]
    result = CliRunner().invoke(main, ["export", *turned, *more])
    assert result.exit_code == 3, result.output
    words = shlex.split(result.stderr.split("Write: ")[1].splitlines()[0])
    assert ("--tokenizer" in words) is bool(more)
    assert words[words.index("--labels") + 1] == ",".join(LABELS)
    assert ("--rules" in words) is bool(width)
    assert not width or json.loads(words[words.index("--rules") + 1])["min_width"] == width


@pytest.mark.slow
def test_a_width_that_answers_show_is_taken_beside_a_function(owners_folder: Path) -> None:
    write_answers(lambda ids: answer(ids, 40))
    text = Path("answers.csv").read_text().replace("<b>", "").splitlines()
    plain = [re.sub('"(.*)"', lambda found: '"' + re.sub("[,!]", "", found[1]) + '"', line) for line in text]
    Path("answers.csv").write_text("\n".join(plain))
    result = CliRunner().invoke(main, ["export", *GIVEN, "--tokenizer", "net.py:words"])
    assert result.exit_code == 0, result.output
    assert manifests.read_manifest(owners_folder / "out").text.rules.min_width == 40


@pytest.mark.slow
def test_functions_that_may_split_texts_are_named_where_no_rules_agree(owners_folder: Path) -> None:
    write_answers(lambda ids: answer([*ids[::-1], 5], 40))
    result = CliRunner().invoke(main, ["export", *GIVEN])
    assert result.exit_code == 3
    assert re.search(r"(?s)net\.py:words\. .*Write: .* --tokenizer net\.py:words", result.stderr)
    assert (owners_folder / "net.py").exists()


@pytest.mark.slow
def test_an_answer_to_a_text_without_ids_is_compared_and_the_id_that_agrees_is_named(tmp_path: Path) -> None:
    pairs = [(text, ids_of(own), label(ids_of(own))) for text, own in zip(UNFRAMED[:6], TEXTS, strict=False)]
    other = next(id_ for id_ in (1, *range(len(WORDS))) if label([id_]) != label([0]))
    pairs.append(("", [], label([other])))
    rules = TextRules("whitespace", padding_id=1)
    with pytest.raises(ParityError, match=rf"1 of 7 .*''.*empty_id.*With {other}\b"):
        exported(tmp_path / "b", tokenizer=None, rules=rules, example_ids=pairs)
    made = exported(tmp_path / "b", tokenizer=None, rules=replace(rules, empty_id=other), example_ids=pairs)
    assert read_text_verdict(made).answers is not None


def test_texts_of_known_characters_without_a_token_ask_for_another_tokenizer() -> None:
    tokens = ("<pad>", *"abcdefghij")
    rules = TextRules("whitespace", unknown_id=None, empty_id=0, padding_id=0)

    def answer_ids(ids: Sequence[int]) -> Any:
        return np.asarray([0.2, 0.8] if sum(ids) % 2 else [0.7, 0.3])

    encoder = TextEncoder(rules, tokens)
    source = AnswerSource("module", ["a", "b"], "softmax", TextInput(rules, tokens), encoder.encode, answer_ids,
                          lambda text: answer_ids(encoder.encode(text)))  # fmt: skip
    owners = TextEncoder(replace(rules, tokenizer="characters"), tokens)
    texts = ["".join(one) for one in itertools.product("abc", "defg", "hij")]
    answered = [AnsweredText(text, text, ("b" if sum(owners.encode(text)) % 2 else "a",)) for text in texts]
    with pytest.raises(OtherAnswersError) as refused:
        refuse_other_answers(source, answered)
    assert "empty_id" not in refused.value.remedy
    assert isinstance(refused.value.agreeing, TextRules)
    assert refused.value.agreeing.tokenizer == "characters"


@pytest.mark.slow
def test_labels_alone_tell_another_order(tmp_path: Path) -> None:
    pairs = [(text, ids_of(text), label(ids_of(text))) for text in drawn(200, 5, 6)]
    assert {given for _, _, given in pairs} == set(LABELS)
    with pytest.raises(ParityError, match=f"order: {', '.join(LABELS)}"):
        exported(tmp_path / "b", labels=TURNED, example_ids=pairs)


@pytest.mark.parametrize(
    ("more", "given", "wrong"),
    [
        ({"multi_label": True}, ["World", "Science"], ["World"]),
        ({"multi_label": True, "thresholds": [0.9, 0.5, 0.5, 0.5]}, ["Science"], ["World", "Science"]),
        ({"multi_label": True}, {"World": 0.8022, "Science": 0.6}, {"World": 0.81}),
        ({}, {"World": 0.8, "Sports": 0.1, "Business": 0.05, "Science": 0.05}, {"World": 0.79, "Sports": 0.1}),
        ({}, {"World": 0.8022}, {"World": 0.8, "Sports": 0.1001}),
        ({"thresholds": [0.9] * 4}, [], ["Sports"]),
        ({"thresholds": [0.1] * 4}, "World", []),
        ({}, ["World"], ["World", "Sports"]),
        ({}, "World", []),
    ],
)
def test_labels_are_those_that_users_are_given(more: dict[str, Any], given: Any, wrong: Any) -> None:
    several = more.get("multi_label")
    answers = np.float32([[0.8022, 0.1, 0.0478, 0.6]] if several else [[0.8022, 0.1, 0.0478, 0.05]])
    output = LabelOutput(tuple(LABELS), "sigmoid" if several else "softmax")
    manifest = SimpleNamespace(output=output, text=TextInput(TextRules(max_width=9), ()))
    classifier: Any = SimpleNamespace(
        labels=tuple(LABELS), thresholds=more.get("thresholds"), manifest=manifest, predict_proba=lambda _: answers,
        heads=(), encode=lambda _: [1, 2], _answers=Answers("news", tuple(LABELS), output.activation),
    )  # fmt: skip

    def ask(answer: Any) -> Any:
        answered = map_answers_to_labels([OwnersText("the oil", answer=answer)], LABELS)
        return compare_answers(classifier, [AnsweredText(one.text, one.text, found) for one, found in answered])

    assert ask(given) is not None
    with pytest.raises(ParityError):
        ask(wrong)


@pytest.mark.parametrize(
    ("answers", "unordered"),
    [
        # The only text is of Sports: any of the others may stand for another of them.
        (["Sports"], ["World", "Business", "Science"]),
        (["Sports", "World", "Science"], []),
        (["Sports", "World"], ["Business", "Science"]),
        ([{"Sports": 0.5, "World": 0.25, "Business": 0.15}], []),
        ([{"Sports": 0.5}], ["World", "Business", "Science"]),
        ([[0.25, 0.5, 0.15, 0.1]], LABELS),
        ([[0.25, 0.5, 0.15, 0.1], "Sports"], ["World", "Business", "Science"]),
    ],
)
def test_labels_that_may_be_exchanged_are_named(answers: list[Any], unordered: list[str]) -> None:
    rows = {"Sports": [0.25, 0.5, 0.15, 0.1], "World": [0.5, 0.2, 0.2, 0.1], "Science": [0.2, 0.2, 0.1, 0.5]}
    output = LabelOutput(tuple(LABELS))
    manifest = SimpleNamespace(output=output, text=TextInput(TextRules(max_width=9), ()))
    classifier: Any = SimpleNamespace(
        labels=tuple(LABELS), thresholds=None, manifest=manifest, heads=(),
        _answers=Answers("news", tuple(LABELS), output.activation),
        predict_proba=lambda texts: np.float32([rows[text] for text in texts]),
    )  # fmt: skip
    answered = [
        AnsweredText(
            name,
            name,
            map_answers_to_labels([OwnersText("x", answer=given)], LABELS)[0][1],
            names=type(given) is not list,
        )
        for given in answers
        for name in [given if isinstance(given, str) else "Sports"]
    ]
    compared = compare_answers(classifier, answered)
    assert compared is not None
    assert list(compared.unordered) == unordered
    verdict = TextVerdict("compared", 1, "answers", answers=compared)
    assert verdict.is_open == bool(unordered)
    assert all(label in compared.sentence for label in unordered)


@pytest.mark.slow
def test_answers_and_texts_that_show_too_little_are_a_warning(tmp_path: Path) -> None:
    one = label(ids_of(TEXTS[0]))
    pairs = [{"text": text, "tokens": split(text), "label": one} for text in TEXTS if label(ids_of(text)) == one]
    result = command(tmp_path, pairs)
    assert result.exit_code == 0, result.output
    others = [repr(other) for other in LABELS if other != one]
    assert re.search(rf"^Text rules: .* lacks.*{', '.join(others)}: .*\n.*--pairs FILE", result.output, re.M)
    verdict = read_text_verdict(manifests.read_manifest(tmp_path / "b"))
    assert not verdict.unknown_words
    shows = [*pairs, {"text": "bab-x", "tokens": ["bab", "x"], "label": label(ids_of("bab-x"))}]
    assert command(tmp_path, shows, "--force").exit_code == 0
    assert read_text_verdict(manifests.read_manifest(tmp_path / "b")).unknown_words


@pytest.mark.slow
def test_weights_of_another_run_are_refused_without_a_cause_that_is_none(tmp_path: Path) -> None:
    pairs = [(text, ids_of(text), answer(ids_of(text)[::-1])) for text in TEXTS]
    with pytest.raises(ParityError, match=r"weights .*labels"):
        exported(tmp_path / "b", example_ids=pairs)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["Sport"], "'Sport', "),
        (["World", 3], " 3, "),
        ([0.5, 0.5], "2 probabilities"),
        ([0.1, 0.2, 3.5, 0.1], "probability 3.5"),
        ({"Sport": 0.5}, "'Sport'"),
        ({"World": "x"}, "probability 'x'"),
        (7, "is '7'"),
        ({}, "'oil' is an empty"),
    ],
)
def test_answers_that_are_none_are_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        map_answers_to_labels(convert_example_pairs([("oil", [1], given)]), LABELS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("World", ("World",)),
        (np.str_("World"), ("World",)),
        (["World", "Sports"], ("World", "Sports")),
        ([], ()),
        ({"World": 0.25}, {"World": 0.25}),
        (torch.tensor([0.0, 0.5, 0.25, 0.25]), {"World": 0.0, "Sports": 0.5, "Business": 0.25, "Science": 0.25}),
    ],
)
def test_answers_are_taken_as_people_have_them(given: Any, expected: Any) -> None:
    ((_, found),) = map_answers_to_labels(convert_example_pairs([("oil", [1], given)]), LABELS)
    assert found == expected
    assert map_answers_to_labels([OwnersText("oil", [1], answer=1)], ["0", "1"])[0][1] == ("1",)


def test_several_labels_of_a_text_are_written_with_a_bar(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("text,label\noil,World|Sports\nfilm,Science\n")
    texts = read_pairs(path, LABELS)
    found = map_answers_to_labels(texts, LABELS, multi_label=True)
    assert [answer for _, answer in found] == [("World", "Sports"), ("Science",)]
    with pytest.raises(OptionCorrectionsError, match=r"World\|Sports, only with --multi-label") as caught:
        map_answers_to_labels(texts, LABELS)
    assert caught.value.changes == {"multi_label": "given"}
    with pytest.raises(InputError, match=r"a\|b .*--multi-label"):
        map_answers_to_labels([OwnersText("oil", answer="World|Sport")], LABELS, multi_label=True)
    # A label may hold the bar itself.
    for multi_label in (True, False):
        held = map_answers_to_labels([OwnersText("oil", answer="a|b")], ["a", "b", "a|b"], multi_label=multi_label)
        assert held[0][1] == ("a|b",)
    beside = OwnersText("oil", answer={"World": 0.9, "Sports": 0.6, "Science": 0.1}, label="World|Sports")
    assert map_answers_to_labels([beside], LABELS, multi_label=True)[0][1] == beside.answer


def test_a_file_holds_answers_and_tokens(tmp_path: Path) -> None:
    lines: list[Any] = [
        {"text": "a", "ids": [1], "label": "World", "gold": 5},
        {"text": "b", "tokens": ["b"], "ids": [2], "probabilities": {"World": 0.5}},
        {"text": "c", "label": "World"},
        ["d", [4], "World"],
        ["e", ["e"]],
        {"text": "f", "label": "World", "probabilities": [0.5, 0.5]},
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_pairs(tmp_path / "p.jsonl") == [
        OwnersText("a", [1], None, "World"),
        OwnersText("b", [2], ["b"], {"World": 0.5}),
        OwnersText("c", None, None, "World"),
        OwnersText("d", [4], None, "World"),
        OwnersText("e", None, ["e"], None),
        OwnersText("f", None, None, [0.5, 0.5], "World"),
    ]


@pytest.mark.parametrize("given", [{"a": 0.25, "b": 0.75, "c": 0.0}, [0.25, 0.75, 0.0], {"b": 0.2, "c": 0.2}])
def test_a_label_beside_probabilities_is_the_likeliest_one(given: Any) -> None:
    def named(label: Any) -> Any:
        return map_answers_to_labels([OwnersText("oil", answer=given, label=label)], ["a", "b", "c"])[0][1]

    assert named("b") == named(["b"]) == named(None)
    for wrong in ("a", ["a"]):
        with pytest.raises(InputError, match=r"'oil' .*'a'.* 'b'"):
            named(wrong)
    with pytest.raises(InputError, match="'z'"):
        named("z")


def test_a_head_has_a_label_beside_its_probabilities() -> None:
    heads = {"mood": LabelOutput(("bad", "good"))}
    for label, is_right in (({"mood": "good"}, True), ({}, True), ({"mood": "bad"}, False)):
        one = OwnersText("oil", answer={"mood": [0.25, 0.75]}, label=label)
        with nullcontext() if is_right else pytest.raises(InputError, match="'bad'"):
            assert map_head_answers([one], heads)[0][1] == {"bad": 0.25, "good": 0.75}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"text": "a", "ids": [1], "probabilities": "x"}, "'x' .*probabilities"),
        ({"text": "a", "ids": [1], "tokens": [1]}, "1 .*tokens"),
        ({"text": "a", "ids": [1], "tokens": "x"}, "'x' .*tokens"),
    ],
)
def test_a_line_that_is_none_is_refused(line: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps(line))
    with pytest.raises(InputError, match=said):
        read_pairs(tmp_path / "p.jsonl")


# --- what ids show by themselves


RULES = TextRules("external", unknown_id=0, padding_id=1)


@pytest.mark.parametrize("cut", [25, 120])
def test_ids_that_end_at_one_length_are_refused_until_that_is_said(cut: int) -> None:
    rows = {text: ids_of(text, cut) for text in drawn(40, 7, cut + cut // 3)}
    with pytest.raises(InputError, match=rf" {cut} ids, .*--max-tokens {cut} .*longer text"):
        refuse_doubtful_ids(RULES, WORDS, rows)
    refuse_doubtful_ids(TextRules("external", max_tokens=cut), WORDS, rows)
    # A text of two that is not cut shows that none is.
    whole = "-".join([*rows, *rows])
    refuse_doubtful_ids(RULES, WORDS, {**rows, whole: ids_of(whole)})


def test_tokens_that_end_at_one_length_are_refused_whatever_answers_stand_beside_them(tmp_path: Path) -> None:
    texts = drawn(40, 7, 33)
    pairs = [(text, split(text)[:25], label(ids_of(text, 25))) for text in texts]
    with pytest.raises(InputError, match=r" 25 tokens, .*--max-tokens 25 .*longer text"):
        exported(tmp_path / "b", example_ids=pairs)
    words = [tokens for _, tokens, _ in pairs]
    framed = TextRules("external", unknown_id=0, padding_id=1, last_id=2)
    for rules, ids, tokens in ((RULES, words[:20], words[20:]), (framed, words[:20], words[20:]), (framed, words, [])):
        last = [2] * (rules is framed)
        given = {text: [WORDS.index(word) for word in row] + last for text, row in zip(texts, ids, strict=False)}
        with pytest.raises(InputError, match=r" 25 tokens, .*--max-tokens 25 "):
            refuse_doubtful_ids(rules, WORDS, given, tokens)
    # Words that the rules drop count, and padding is seen among tokens.
    refuse_doubtful_ids(TextRules("external", max_tokens=25), WORDS, {}, words)
    with pytest.raises(InputError, match=r"40 of 40 texts end .*<pad>"):
        refuse_doubtful_ids(RULES, WORDS, {}, [[*row, "<pad>"] for row in words])


@pytest.mark.parametrize(
    ("rules", "noted"),
    [(TextRules(max_width=3, min_width=3), True), (TextRules(max_tokens=3), True), (TextRules(max_tokens=2), False),
     (TextRules(min_width=3), False), (TextRules("external", max_width=3), False)],
)  # fmt: skip
def test_a_cut_that_no_text_shows_is_a_warning(rules: TextRules, noted: bool, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_cut_that_no_text_shows(rules, WORDS, ["bab", "bab bem bil"])
    assert ("max_width" in caplog.text, "3 ids" in caplog.text) == (noted, noted)


def test_two_short_texts_of_one_length_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    refuse_doubtful_ids(RULES, WORDS, {"bab-dab": [2, 7], "fab-gab": [12, 17]})
    assert "2 pairs have 2 ids" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_ids_with_the_padding_are_refused() -> None:
    rows = {text: (ids_of(text) + [1] * 40)[:40] for text in TEXTS}
    with pytest.raises(InputError, match=r'"min_width": 40, .*"pad_side": "right"'):
        refuse_doubtful_ids(RULES, WORDS, rows)
    ragged = {text: ids_of(text) + [1] * (i % 3) for i, text in enumerate(TEXTS)}
    with pytest.raises(InputError, match=r"16 of 24 texts .*<pad>"):
        refuse_doubtful_ids(RULES, WORDS, ragged)
    with pytest.raises(InputError, match=r'"pad_side": "left"'):
        refuse_doubtful_ids(RULES, WORDS, {text: row[::-1] for text, row in rows.items()})
    # A word that has the padding's id, for want of one of its own, may end a text.
    refuse_doubtful_ids(TextRules("external", unknown_id=None), SYLLABLES, {"dem-bab": [6, 0], "dem-dil": [6, 7]})


def test_ids_of_another_vocabulary_are_refused() -> None:
    rows = {text: ids_of(text) for text in TEXTS}
    refuse_doubtful_ids(RULES, WORDS, rows)
    with pytest.raises(InputError, match=r"vocabulary .*tokens"):
        refuse_doubtful_ids(RULES, SHUFFLED, rows)
    letters = [*WORDS[:2], *"abcdefghijklmnopqrstuvwxyz"]
    of_letters = {text: [letters.index(letter) if letter in letters else 0 for letter in text] for text in TEXTS}
    refuse_doubtful_ids(RULES, letters, of_letters)
    turned = [*letters[:2], *letters[:1:-1]]
    with pytest.raises(InputError, match="vocabulary"):
        refuse_doubtful_ids(RULES, turned, of_letters)


# --- the command line


def command(folder: Path, pairs: list[dict[str, Any]], *more: str) -> Result:
    (folder / "model.py").write_text(MODULE, encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    arguments = ["export", f"{folder / 'model.py'}:Net()", "--random-weights", "--no-torchscript", "--vocabulary"]
    arguments += [str(folder / "vocab.txt"), "--pairs", str(folder / "pairs.jsonl"), "-o", str(folder / "b")]
    return CliRunner().invoke(main, [*arguments, "--labels", ",".join(LABELS), "--tokenizer", "external", *more])


@pytest.mark.slow
def test_the_command_line_says_that_nothing_was_compared_and_a_note_how(tmp_path: Path) -> None:
    result = command(tmp_path, [{"text": text, "ids": ids_of(text)} for text in TEXTS[:5]])
    assert result.exit_code == 0, result.output
    assert re.search(r"^Text rules: .*not compared", result.stdout, re.M)
    assert re.search(r"^Note: .*--pairs FILE.*tokens", result.stderr, re.M)


@pytest.mark.slow
def test_the_command_line_compares_answers(tmp_path: Path) -> None:
    pairs = [{"text": text, "tokens": split(text), "label": label(ids_of(text))} for text in TEXTS]
    result = command(tmp_path, pairs)
    assert result.exit_code == 0, result.output
    assert re.search(r"^Text rules: .*24 texts.*the same labels", result.stdout, re.M)
    pairs[3]["label"] = next(other for other in LABELS if other != pairs[3]["label"])
    wrong = command(tmp_path, pairs, "--force")
    assert wrong.exit_code == 3
    assert re.search(r"1 of 24 texts.*label", " ".join(wrong.stderr.split()))


class TwoLabels(nn.Module):
    """The second label's logit, or the logits of both."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.net, self.numbers = net(), numbers

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.net(tokens)
        return found[:, 0] if self.numbers == 1 else found[:, :2]


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [1, 2])
def test_another_threshold_of_two_labels_is_named_and_kept_in_the_bundle(
    numbers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with torch.random.fork_rng():
        module = TwoLabels(numbers).eval()
    ids = [ids_of(text) for text in drawn(60, 9)]
    logits = [module(torch.tensor([row])).detach() for row in ids]
    found = [float(torch.sigmoid(one) if numbers == 1 else torch.softmax(one, 1)[0, 1]) for one in logits]
    threshold = sorted(found)[int(0.75 * len(found))]
    pairs = [
        (" ".join(WORDS[i] for i in row), row, "yes" if p >= threshold else "no")
        for row, p in zip(ids, found, strict=True)
    ]
    rules = TextRules("whitespace", padding_id=1)
    given: Any = {"labels": ["no", "yes"], "vocabulary": WORDS, "rules": rules, "torchscript": False}
    with pytest.raises(ParityError, match=r"60 texts.*'yes' .*0\.5") as caught:
        export(module, tmp_path / "b", **given, example_ids=pairs)
    # It is told before anything is traced.
    assert "Tracing" not in caplog.text
    words = shlex.split(caught.value.remedy)
    thresholds = [*map(float, words[words.index("--thresholds") + 1].split(","))]
    made = export(module, tmp_path / "b", **given, example_ids=pairs, thresholds=thresholds)
    assert read_text_verdict(made).answers is not None
    assert Classifier.load(tmp_path / "b").predict_labels([text for text, _, _ in pairs]) == [
        (row[2],) for row in pairs
    ]
    # Probabilities beside the labels show the threshold by themselves.
    answered = [OwnersText(text, row, answer={"no": 1 - p, "yes": p}, label=label)
                for (text, row, label), p in zip(pairs, found, strict=True)]  # fmt: skip
    kept = export(module, tmp_path / "c", **given, example_ids=answered)
    assert kept.output.thresholds is not None
    assert sum(kept.output.thresholds) == pytest.approx(1)
    assert "by the bundle's thresholds" in read_text_verdict(kept).sentence


@pytest.mark.parametrize(
    ("needed", "said"),
    [([0.2] * 4, r"--thresholds 0\.\d+ \("), ([0.1, 0.9, 0.3, 0.7], r"--thresholds 0\.\d+,0\.\d+,0\.\d+,0\.\d+ \(")],
)
def test_other_thresholds_of_several_labels_are_named(needed: list[float], said: str) -> None:
    rng = np.random.default_rng(0)
    answers = rng.random((80, 4))
    source = AnswerSource("module", LABELS, "sigmoid", None, len, lambda _: answers[0], lambda i: answers[int(str(i))])
    answered = [
        AnsweredText(str(i), str(i), tuple(name for name, p, t in zip(LABELS, row, needed, strict=True) if p >= t))
        for i, row in enumerate(answers)
    ]
    with pytest.raises(ParityError, match=r"80 texts .*, of 300"):
        refuse_other_answers(source, answered, answered[:1] * 220)
    with pytest.raises(ParityError, match=f"80 texts.*{said}") as caught:
        refuse_other_answers(source, answered)
    numbers = re.findall(r"\d\.\d+", caught.value.remedy.split("thresholds=")[1])
    given = replace(source, thresholds=[float(number) for number in numbers[:4]])
    assert len(refuse_other_answers(given, answered)) == 80


ROWS = [
    ("text,label,probability\noil,good,0.9\nfilm,bad,0.6\n", [(0.1, 0.9), (0.6, 0.4)]),
    ("text,label,Score\noil,good,0.9\nfilm,bad,0.4\n", [(0.1, 0.9), (0.6, 0.4)]),
    ("text,probability\noil,0.9\nfilm,0.4\n", [(0.1, 0.9), (0.6, 0.4)]),
    ("text,label,probability,label_2,probability_2\noil,good,0.9,bad,0.1\nfilm,bad,0.6,good,0.4\n",
     [(0.1, 0.9), (0.6, 0.4)]),
    ("text,label,probability\noil,good|bad,0.9|0.7\nfilm,,0.3\n", [(0.7, 0.9)]),
    ("text,source,good,bad\noil,web,0.9,0.1\nfilm,web,0.4,0.6\n", [(0.1, 0.9), (0.6, 0.4)]),
    ('{"text": "oil", "label": "good", "probability": 0.9}\n{"text": "film", "probabilities": 0.4}',
     [(0.1, 0.9), (0.6, 0.4)]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), ROWS)
def test_one_probability_is_that_of_the_label_or_of_the_second_of_two(
    content: str, expected: list[tuple[float, float]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"truth.{'jsonl' if content[0] == '{' else 'csv'}"
    path.write_text(content)
    found = map_answers_to_labels(read_pairs(path, ["bad", "good"]), ["bad", "good"])
    assert len(found) == len(expected)
    for (_, answer), numbers in zip(found, expected, strict=True):
        assert isinstance(answer, dict)
        for name, number in answer.items():
            assert number == pytest.approx(dict(zip(("bad", "good"), numbers, strict=True))[name])
    of_second = any(sign in content for sign in ("Score", "text,probability", "0.4}"))
    assert ("'good', the second" in caplog.text) == of_second
    assert ("'source'" in caplog.text, "1 rows" in caplog.text) == ("source" in content, ",,0.3" in content)


def test_one_probability_of_three_labels_needs_its_label() -> None:
    labels = ["bad", "good", "so"]
    assert map_answers_to_labels([OwnersText("oil", answer=0.4, label="so")], labels)[0][1] == {"so": 0.4}
    with pytest.raises(InputError, match=r"1 probabilities.*3 labels"):
        map_answers_to_labels([OwnersText("oil", answer=[0.4])], labels)


@pytest.mark.parametrize(
    ("columns", "labels", "named"),
    [
        ("p_negative,p_positive", ("Negative", "Positive"), True),
        ("p_negative,p_positive", ("negative", "positive"), True),
        ("negative (%),positive (%)", ("negative", "positive"), True),
        ("prob_0,prob_1", ("bad", "good"), True),
        ("p_negative,p_positive", ("Negative 😞", "Positive 😀"), True),
        # Columns of another kind, and those of `classify --top`.
        ("p_bad,p_other", ("bad", "good"), False),
        ("label_0,score_0,label_1,score_1", ("bad", "good"), False),
    ],
)
def test_columns_with_the_same_letters_around_each_label_are_its_probabilities(
    columns: str, labels: tuple[str, ...], named: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, numbers = tmp_path / "answers.csv", "0.25,0.75"
    if not named:
        numbers = "bad,0.25,good,0.75" if "label" in columns else "-3.5,2.25"
    path.write_text(f"text,label,{columns}\noil,{labels[1]},{numbers}\n")
    (one,) = read_pairs(path, labels)
    assert one.text == "oil"
    # Columns with the numbers of labels do not name these.
    expected = [0.25, 0.75] if "_0" in columns else dict(zip(labels, (0.25, 0.75), strict=True))
    assert not named or one.answer == expected
    assert ("are read as those of the labels" in caplog.text) == named
    # The labels stand once in the note.
    assert ("'p_...'" in caplog.text) == (labels[0] == "negative" and columns == "p_negative,p_positive")


@pytest.mark.parametrize("columns", ["logp_bad,logp_good", "bad,good"])
def test_logarithms_of_probabilities_are_read_as_such(
    columns: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(f"text,label,{columns}\noil,good,-1.386294,-0.2876821\n,ERROR,,\nfilm,bad,-0.01005,-4.60517\n")
    found = read_pairs(path, ["bad", "good"])
    assert [one.text for one in found] == ["oil", "film"]
    assert isinstance(found[0].answer, dict)
    assert found[0].answer == pytest.approx({"bad": 0.25, "good": 0.75}, abs=1e-6)
    assert "logarithms" in caplog.text


@pytest.mark.parametrize(
    ("columns", "labels", "several", "read"),
    [
        ("logit_bad,logit_good", ("good", "bad"), False, True),
        ("logits_0,logits_1", ("good", "bad"), False, True),
        ("score_0,score_1", ("good", "bad"), False, True),
        ("bad,good", ("good", "bad"), False, True),
        ("bad,good", ("good", "good"), False, False),
        ("score_bad,score_good", ("bad|good", "bad"), True, True),
        ("bad,good", ("good", "bad"), True, False),
    ],
)
def test_numbers_that_lead_to_the_label_of_each_row_are_logits(
    columns: str, labels: tuple[str, str], several: bool, read: bool, tmp_path: Path
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(f"text,label,{columns}\noil,{labels[0]},0.5,{math.log(3) + 0.5}\nfilm,{labels[1]},900,-900\n")
    if not read:
        with pytest.raises(InputError):
            map_answers_to_labels(read_pairs(path, ["bad", "good"], multi_label=several), ["bad", "good"])
        return
    first, second = read_pairs(path, ["bad", "good"], multi_label=several)
    bad, good = (1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(-0.5) / 3)) if several else (0.25, 0.75)
    # Columns named by number do not show the order of the labels.
    is_list = columns.endswith("_1")
    assert first.answer == pytest.approx([bad, good] if is_list else {"bad": bad, "good": good})
    assert second.answer == pytest.approx([1, 0] if is_list else {"bad": 1, "good": 0})


@pytest.mark.parametrize(
    ("column", "fields", "read"),
    [
        ("logits", ("0.5 -1 {high}", "0 9 1"), True),
        ("output", ('"[0.5, -1, {high}]"', "[0   9 1]"), True),
        ("probs", ('"0.25,0.125,0.625"', "0.1;0.7;0.2"), True),
        # A number too many, no answers, and numbers of another kind.
        ("logits", ("0.5 -1 {high} 1", "0 9 1"), False),
        ("logits", ('"a,b,c"', "x"), False),
        ("place", ("0.5 0.5 0.5", "0.5 0.5 0.5"), False),
    ],
)
def test_one_column_with_a_number_for_each_label_is_read(
    column: str, fields: tuple[str, str], read: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The order is that of the labels, also if these are numbers; the column is not taken for the texts.
    rows = [field.format(high=0.5 + math.log(5)) for field in fields]
    (tmp_path / "answers.csv").write_text(f"tweet,label,{column}\na film,2,{rows[0]}\na page,3,{rows[1]}\n")
    first, second = read_pairs(tmp_path / "answers.csv", ["1", "3", "2"])
    assert first.text == "a film"
    assert isinstance(first.answer, list) == read
    assert ("are not read" in caplog.text) == (not read)
    if read:
        likeliest = map_answers_to_labels([first, second], ["1", "3", "2"])
        assert [max(one, key=dict(one).__getitem__) for _, one in likeliest] == ["2", "3"]


@pytest.mark.parametrize(
    ("rows", "labels", "answers"),
    [
        ("text,label\noil,0\nfilm,2\n", "abc", "ac"),
        ("text,y_pred\noil,1.0\nfilm,3.0\n", "abc", "ac"),
        ("text,label,y_pred\noil,1,-1\nfilm,0,1\ncup,0,0\n", "abc", "acb"),
        ("text,sentiment,length\noil,4,1\nfilm,0,1\n", "ab", "ba"),
    ],
)
def test_numbers_of_classes_are_read_as_their_labels(rows: str, labels: str, answers: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(rows)
    found = map_answers_to_labels(read_pairs(tmp_path / "a.csv", [*labels]), [*labels])
    assert [one for _, one in found] == [(one,) for one in answers]


def test_numbers_of_classes_in_json_and_python_are_read_as_their_labels(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "oil", "label": 1}\n{"text": "film", "label": 0}\n')
    for given in (
        read_pairs(tmp_path / "a.jsonl"),
        convert_example_pairs([("a b", None, 1), ("b", None, np.int64(0))]),
    ):
        assert [one for _, one in map_answers_to_labels(given, ["bad", "good"])] == [("good",), ("bad",)]
        assert [one for _, one in map_answers_to_labels(given, ["0", "1"])] == [("1",), ("0",)]
        with pytest.raises(InputError, match="labels are 'bad'"):
            map_answers_to_labels([*given, OwnersText("c", answer=7)], ["bad", "good"])
    # One number with decimals is a probability.
    (found,) = map_answers_to_labels([OwnersText("c", answer=1.0)], ["bad", "good"])
    assert found[1] == {"bad": 0.0, "good": 1.0}


@pytest.mark.parametrize(
    ("rows", "answer", "said"),
    [
        ("7,film,good,0.75\n8,page,bad,0.25\n", {"bad": 0.25, "good": 0.75}, "'output' are read"),
        ("7,film,good,0.75\n8,page,bad,0.875\n", {"good": 0.75}, "'output' are read"),
        ("7,film,good,0.25\n8,page,bad,0.75\n", ("good",), "rename it to probability"),
        ("7,film,good,3.5\n8,page,bad,0.25\n", ("good",), "columns without the name"),
    ],
)
def test_the_only_column_of_numbers_is_the_probability_if_the_labels_agree(
    rows: str, answer: Any, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "answers.csv").write_text(f"id,text,label,output\n{rows}")
    pairs = read_pairs(tmp_path / "answers.csv", ["bad", "good"])
    assert map_answers_to_labels(pairs, ["bad", "good"])[0][1] == answer
    assert said in caplog.text


def test_columns_of_probabilities_with_other_names_are_advised_to_be_renamed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "answers.csv").write_text("id,text,label,one,two,more\n7,film,good,0.25,0.5,0.25\n")
    read_pairs(tmp_path / "answers.csv", ["bad", "good", "fair"])
    assert "If 'one', 'two', 'more' are the probabilities of the labels, rename each to its label" in caplog.text
    caplog.clear()
    # The column of the second label is known by its labels, and says all of two.
    (tmp_path / "answers.csv").write_text("id,text,label,p_-1,p_1\n7,film,good,0.25,0.75\n8,page,bad,0.875,0.125\n")
    read_pairs(tmp_path / "answers.csv", ["bad", "good"])
    assert "rename" not in caplog.text


def test_the_texts_of_a_csv_file_may_stand_in_the_one_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("id,label\n7,good\n3,bad\n")
    (tmp_path / "other.csv").write_text("id,text\n7,wind\n")
    (tmp_path / "texts.csv").write_text("id,text\n3,oil\n7,film\n9,sea\n")
    assert [(one.text, one.answer) for one in read_pairs(path, ["bad", "good"])] == [("film", "good"), ("oil", "bad")]
    assert ("texts.csv" in caplog.text, "not read" in caplog.text) == (True, False)
    # A file that `classify` wrote has texts too, beside its answers.
    (tmp_path / "got.csv").write_text("id,text,label\n3,oil,bad\n7,film,good\n")
    assert len(read_pairs(path, ["bad", "good"])) == 2
    (tmp_path / "got.csv").unlink()
    # Two files with the same texts, then with others.
    (tmp_path / "more.csv").write_text("id,text\n3,oil\n7,film\n")
    assert len(read_pairs(path, ["bad", "good"])) == 2
    (tmp_path / "more.csv").write_text("id,text\n3,a\n7,b\n")
    with pytest.raises(
        OptionCorrectionsError, match=r"column `text`, .* 'id', 'label'.*more\.csv, .*texts\.csv"
    ) as caught:
        read_pairs(path, ["bad", "good"])
    assert caught.value.changes == {"texts": str(tmp_path / "more.csv")}
    assert read_pairs(path, ["bad", "good"], texts=tmp_path / "texts.csv")[0].text == "film"
    # Which texts were answered is not known.
    (tmp_path / "texts.csv").write_text("id,text\n3,a\n3,b\n7,c\n")
    (tmp_path / "more.csv").unlink()
    with pytest.raises(InputError, match=r"column `text`, .* 'id', 'label'"):
        read_pairs(path, ["bad", "good"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("review,sentiment\na good film,good\noil,bad\n", ["good", "bad"]),
        ("sentence,y,source\nthe sea,good|bad,web\noil,,x\n", [("good", "bad"), ()]),
        # The predicted labels stand beside the true labels, or the true labels stand alone.
        ("text,true_label,pred_label\noil,bad,good\n", ["good"]),
        ("text,gold,prediction,p_gold\noil,bad,good,0.1\n", ["good"]),
        ("text,label,y_pred\noil,bad,good\n", ["good"]),
        ("text,y_true\noil,bad\n", None),
        # Probabilities stand beside them: those of the second label, or of the label.
        ("text,result,score\noil,bad,0.1\nfilm,good,0.8\n", [{"bad": 0.9, "good": 0.1}, {"bad": 0.2, "good": 0.8}]),
        ("text,sentiment,prob\noil,bad,0.9\n", [{"bad": 0.9}]),
        # Percents, and numbers that may be logits.
        ("text,label,score\noil,bad,98.5\nfilm,good,51\n", [{"bad": 0.985}, {"good": 0.51}]),
        ("text,label,score\noil,bad,3.2\nfilm,good,51\n", None),
        # These are not the labels that have the probabilities.
        ("text,sentiment,prob\noil,bad,0.8\nfilm,good,0.3\n", [{"bad": 0.2, "good": 0.8}, {"bad": 0.7, "good": 0.3}]),
        # Two columns of labels, and two columns of texts: which one is meant is not known.
        ("text,category,class\nthe sea,good,bad\n", None),
        ("title,body,label\nthe sea,is wide,good\n", None),
    ],
)
def test_the_only_columns_of_texts_and_of_labels_may_have_other_names(
    content: str, expected: list[Any] | None, tmp_path: Path
) -> None:
    (tmp_path / "answers.csv").write_text(content)
    several = "|" in content
    with pytest.raises(InputError) if expected is None else nullcontext():
        pairs = read_pairs(tmp_path / "answers.csv", ["bad", "good"], multi_label=several)
        given = map_answers_to_labels(pairs, ["bad", "good"], multi_label=several)
        found = [answer if several or isinstance(answer, Mapping) else answer[0] for _, answer in given]
        assert [pytest.approx(one) if isinstance(one, Mapping) else one for one in found] == expected


@pytest.mark.parametrize(
    ("labels", "column", "numbers", "expected", "said"),
    [
        (
            "yes,no",
            ["no", "yes"],
            ["76.88", "50.4"],
            [{"no": 0.7688}, {"yes": 0.504}],
            "'eminlik'.*probability, in percent",
        ),
        ("yes,no", ["no", "yes"], ["76.88%", "90%"], [{"no": 0.7688}, {"yes": 0.9}], "in percent"),
        ("yes,no", ["no", "yes"], ["0.75", "1.0"], [{"no": 0.75}, {"yes": 1.0}], "column probability$"),
        ("yes,no", ["no", "yes"], ["75.5", "40"], [{"no": 0.755, "yes": 0.245}, {"no": 0.4, "yes": 0.6}], "in percent"),
        ("a,b,c", ["a", "c"], ["34.5", "99.99"], [{"a": 0.345}, {"c": 0.9999}], "in percent"),
        ("a,b,c", ["a", "c"], ["0.345", "0.9999"], [{"a": 0.345}, {"c": 0.9999}], "column probability$"),
        # Less than the likeliest of three labels has; whole numbers; more than a hundred.
        ("a,b,c", ["a", "c"], ["31.5", "99.99"], None, "not read"),
        ("yes,no", ["no", "yes"], ["76", "50"], None, "not read"),
        ("yes,no", ["no", "yes"], ["76.5", "120.5"], None, "not read"),
    ],
)
def test_the_only_further_numbers_are_probabilities_of_the_labels_whatever_their_name(
    labels: str, column: list[str], numbers: list[str], expected: Any, said: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    rows = [f"oil,{one},{number}" for one, number in zip(column, numbers, strict=True)]
    (tmp_path / "answers.csv").write_text("\n".join(["text,label,eminlik", *rows]))
    known = labels.split(",")
    found = [one for _, one in map_answers_to_labels(read_pairs(tmp_path / "answers.csv", known), known)]
    assert found == ([(one,) for one in column] if expected is None else [pytest.approx(one) for one in expected])
    assert any(re.search(said, one) for one in caplog.messages)


def test_labels_that_are_numbers_are_not_percents(tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("text,label\noil,60\nfilm,50\n")
    assert [one.answer for one in read_pairs(tmp_path / "answers.csv", ["50", "60"])] == ["60", "50"]


def test_an_empty_label_among_several_of_a_text_is_no_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("text,label\noil,World|Sports\nfilm,\n")
    found = map_answers_to_labels(read_pairs(path, LABELS, multi_label=True), LABELS, multi_label=True)
    assert [answer for _, answer in found] == [("World", "Sports"), ()]
    assert "1 rows" in caplog.text
    assert [one.text for one in read_pairs(path, LABELS)] == ["oil"]


@pytest.mark.parametrize("column", ["p_positive", "Positive 😀"])
def test_a_column_of_one_of_two_labels_gives_the_probability_of_the_other(column: str, tmp_path: Path) -> None:
    path, labels = tmp_path / "answers.csv", ["Negative 😞", "Positive 😀"]
    path.write_text(f"text,label,{column}\noil,Negative 😞,0.25\nfilm,Positive 😀,0.75\n", encoding="utf-8")
    answers = [answer for _, answer in map_answers_to_labels(read_pairs(path, labels), labels)]
    assert answers == [dict(zip(labels, (0.75, 0.25), strict=True)), dict(zip(labels, (0.25, 0.75), strict=True))]


def test_a_row_without_an_answer_is_left_out_beside_the_probability_of_one_label(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("text,label,p_positive\noil,Positive,0.75\n,ERROR,\nfilm,Negative,0.25\n")
    found = map_answers_to_labels(read_pairs(path, ["Negative", "Positive"]), ["Negative", "Positive"])
    assert [(one.text, answer) for one, answer in found] == [
        ("oil", {"Positive": 0.75, "Negative": 0.25}),
        ("film", {"Positive": 0.25, "Negative": 0.75}),
    ]
    assert re.search(r"1 rows are left out: 'ERROR'", caplog.text)
    # With labels only, it may be a label that is missing in --labels.
    path.write_text("text,label\noil,Positive\n,ERROR\n")
    with pytest.raises(InputError, match=r"'ERROR'.*leave"):
        map_answers_to_labels(read_pairs(path, ["Negative", "Positive"]), ["Negative", "Positive"])


class Shifted(nn.Module):
    """One number a text, above 1 for every short text: all have the second label."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.net(tokens)[:, 0].tanh() + 3


@pytest.mark.slow
def test_answers_show_that_numbers_of_one_sign_are_logits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with torch.random.fork_rng():
        module = Shifted().eval()
    ids = [ids_of(text) for text in drawn(24, 9)]
    made = [float(module(torch.tensor([row])).detach()) for row in ids]
    given: Any = {"labels": ["no", "yes"], "vocabulary": WORDS, "rules": TextRules("whitespace", padding_id=1)}
    given |= {"torchscript": False}
    texts = [" ".join(WORDS[i] for i in row) for row in ids]
    # Labels that are all the same show nothing.
    with pytest.raises(ExportError, match=r"--gives logits"):
        export(module, tmp_path / "b", **given, example_ids=[(one, None, "yes") for one in texts])
    # So few that no other text rules are tried on them.
    with pytest.raises(ParityError):
        export(module, tmp_path / "b", **given, example_ids=[(one, None, {"yes": 0.5}) for one in texts[:4]])
    pairs = [(one, None, {"yes": float(torch.tensor(x).sigmoid())}) for one, x in zip(texts, made, strict=True)]
    assert read_text_verdict(export(module, tmp_path / "b", **given, example_ids=pairs)).answers is not None
    assert "show that they are logits" in caplog.text


@pytest.mark.parametrize("labels", [["good", "bad"], ["bad", "good"]])
def test_labels_in_another_order_than_the_probabilities_beside_them_are_exchanged(
    labels: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("text,label,probability\noil,good,0.75\nrow,bad,0.25\n")
    if labels == ["bad", "good"]:
        assert len(read_pairs_in_label_order(path, labels)) == 2
        path.write_text("text,label,probability\noil,bad,0.75\nrow,bad,0.25\n")
        # With neither order, and numbers are read in either order.
        with pytest.raises(InputError, match="'bad'") as caught:
            read_pairs_in_label_order(path, labels)
        path.write_text("text,label,probability\noil,0,0.75\nrow,1,0.25\n")
        with pytest.raises(InputError) as of_numbers:
            read_pairs_in_label_order(path, labels)
        assert {type(caught.value), type(of_numbers.value)} == {InputError}
        return
    with pytest.raises(OptionCorrectionsError, match="bad, good") as found:
        read_pairs_in_label_order(path, labels)
    assert found.value.changes == {"labels": "bad,good"}


def test_the_order_of_three_labels_is_that_of_their_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    lines = [{"text": one, "label": one, "probabilities": found}
             for one, found in (("c", [0.5, 0.25, 0.25]), ("a", [0.25, 0.5, 0.25]))]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(OptionCorrectionsError) as found:
        read_pairs_in_label_order(path, ["a", "b", "c"])
    assert found.value.changes == {"labels": "c,a,b"}


@pytest.mark.parametrize("numbers", ["0.5 -1 2", '"[0.2, 0.8]"'])
def test_numbers_of_several_labels_wait_until_the_labels_are_known(tmp_path: Path, numbers: str) -> None:
    (tmp_path / "p.csv").write_text(f"text,label,logits\noil,bad,{numbers}\ngas,good,{numbers}\n", encoding="utf-8")
    assert [one.answer for one in read_pairs(tmp_path / "p.csv")] == ["bad", "good"]


def source_of_own_tokens(name: str) -> AnswerSource:
    """Make a source whose texts the owner's code splits, and whose answer tells the sum of the ids."""
    tokens = ("<pad>", "<unk>", *"abcd")
    rules = TextRules("external", unknown_id=1, empty_id=1, padding_id=0)
    encoder = TextEncoder(rules, tokens)

    def answer_ids(ids: Sequence[int]) -> Any:
        first = 1 / (2 + sum(ids))
        return np.asarray([first, 1 - first])

    return AnswerSource(name, ["a", "b"], "softmax", TextInput(rules, tokens), encoder.encode_tokens, answer_ids,
                        lambda read: answer_ids(encoder.encode_tokens(read)))  # fmt: skip


def answer_own_tokens(name: str, fixed: float) -> list[tuple[AnsweredText, Any]]:
    source = source_of_own_tokens(name)
    texts = ["ab", "cd", "da", "bbb"]
    answered = [AnsweredText(one, [*one], {"a": float(source.answer_text([*one])[0])}) for one in texts]
    of_nothing = [AnsweredText(one, [], {"a": fixed}) for one in ("?", "the of")]
    return refuse_other_answers(source, [*answered, *of_nothing])


@pytest.mark.parametrize("name", ["module", "bundle"])
def test_texts_without_a_token_that_code_answers_by_itself_are_left_out_with_a_note(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert [one.text for one, _ in answer_own_tokens(name, 0.9)] == ["ab", "cd", "da", "bbb"]
    told = [one for one in caplog.messages if "left out of the comparison: 2" in one]
    assert len(told) == (name == "bundle")
    assert all("2 of them another label" in one and "'a' 0.9" in one for one in told)


def test_texts_without_a_token_whose_answer_an_id_gives_are_refused_and_no_other_tokenizer_is_asked_for() -> None:
    with pytest.raises(OtherAnswersError, match=r"empty_id.*With 4") as refused:
        answer_own_tokens("module", 1 / 6)
    assert not refused.value.is_of_split


def test_a_text_of_letters_without_a_token_by_text_rules_is_refused() -> None:
    tokens = ("<pad>", "<unk>", *"abcd")
    rules = TextRules("characters", unknown_id=None, empty_id=0, padding_id=0)
    encoder = TextEncoder(rules, tokens)

    def answer_ids(ids: Sequence[int]) -> Any:
        return np.asarray([1 / (2 + sum(ids)), 1 - 1 / (2 + sum(ids))])

    source = AnswerSource("bundle", ["a", "b"], "softmax", TextInput(rules, tokens), encoder.encode, answer_ids,
                          lambda text: answer_ids(encoder.encode(text)))  # fmt: skip
    answered = [AnsweredText(one, one, {"a": float(source.answer_text(one)[0])}) for one in ("ab", "cd", "d")]
    with pytest.raises(OtherAnswersError):
        refuse_other_answers(source, [*answered, AnsweredText("xyz", "xyz", {"a": 0.9})])


@pytest.mark.slow
def test_a_text_in_which_the_function_finds_no_token_is_exported_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [dict(zip(LABELS, answer(ids_of(own)), strict=True)) for own in TEXTS]
    pairs = [OwnersText(" ".join(split(one)), answer=own) for one, own in zip(TEXTS, answers, strict=True)]
    fixed = dict.fromkeys(LABELS, 1 / len(LABELS))
    made = exported(
        tmp_path / "b", tokenizer=str.split, rules=TextRules("external", padding_id=1),
        example_ids=[*pairs, OwnersText(" ", answer=fixed)],
    )  # fmt: skip
    assert "left out of the comparison: 1." in caplog.text
    found = read_text_verdict(made).answers
    assert found is not None
    assert found.texts == len(TEXTS)


def test_the_notes_on_one_column_of_probabilities_do_not_contradict_each_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("text,label,certainty\noil,bad,0.25\ncup,good,0.75\nwar,good,0.91\n")
    found = map_answers_to_labels(read_pairs(path, ("bad", "good")), ("bad", "good"))
    assert [answer["good"] for _, answer in found if isinstance(answer, dict)] == [0.25, 0.75, 0.91]
    assert "that of 'good'" in caplog.text
    assert "of the label" not in caplog.text
