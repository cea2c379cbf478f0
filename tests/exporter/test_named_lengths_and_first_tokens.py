"""Answers that differ: the lengths that the owner's code names come first, and a vocabulary may lack its padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

from pocketrnn.commands.standard_streams import get_lines_to_print_at_end
from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.commands import export_with_rules_from_answers as exporting
from pocketrnn_export.vocabularies.answer_distances import AnsweredText, AnswerSource
from pocketrnn_export.vocabularies.checkpoint_text_settings import NamedLength
from pocketrnn_export.vocabularies.owner_answer_comparison import OtherAnswersError, refuse_other_answers

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in ("ab", "em", "il", "on", "ur")]
RULES = TextRules("whitespace", unknown_id=None)
NAMED = NamedLength("net.ipynb, cell 3,", "seq_length", 12)


def drawn(number: int) -> list[str]:
    rng = np.random.default_rng(3)
    return [" ".join(rng.choice(SYLLABLES, int(rng.integers(3, 30)))) for _ in range(number)]


def answer_ids(ids: Sequence[int]) -> Any:
    number = hash(tuple(ids)) % 997 / 997
    return np.array([number, 1 - number])


def source_of(
    tokens: Sequence[str], rows: int = 0, lengths: Sequence[NamedLength] = ()
) -> tuple[AnswerSource, list[int]]:
    encoder, asked = TextEncoder(RULES, tokens), list[int]()

    def count_and_answer(ids: Sequence[int]) -> Any:
        asked.append(len(ids))
        return answer_ids(ids)

    source = AnswerSource(
        "module",
        ["a", "b"],
        "softmax",
        TextInput(RULES, tuple(tokens)),
        lambda read: encoder.encode(str(read)),
        count_and_answer,
        lambda read: count_and_answer(encoder.encode(str(read))),
        None,
        "",
        rows,
        lengths,
    )
    return source, asked


def answers_of(tokens: Sequence[str], rules: TextRules) -> list[AnsweredText]:
    encoder = TextEncoder(rules, tokens)
    return [
        AnsweredText(text, text, dict(zip("ab", map(float, answer_ids(encoder.encode(text))), strict=True)))
        for text in drawn(24)
    ]


@pytest.mark.parametrize(
    "owners",
    [
        {"max_tokens": 12}, {"max_tokens": 12, "cut_side": "left"}, {"min_width": 12},
        {"min_width": 12, "max_width": 12, "pad_side": "left"},
        # Keras's pad_sequences.
        {"min_width": 12, "max_width": 12, "pad_side": "left", "cut_side": "left"},
    ],
)  # fmt: skip
def test_a_length_that_code_names_is_tried_first(owners: dict[str, Any]) -> None:
    tokens = ["<pad>", *SYLLABLES]
    source, asked = source_of(tokens, lengths=[NamedLength("net.py", "max_len", 21), NAMED])
    with pytest.raises(OtherAnswersError) as refused:
        refuse_other_answers(source, answers_of(tokens, replace(RULES, **owners)))
    assert refused.value.agreeing == replace(RULES, **owners)
    assert len(asked) < 200


def test_a_length_that_is_tried_in_vain_is_told() -> None:
    tokens = ["<pad>", *SYLLABLES]
    source, _ = source_of(tokens, lengths=[NAMED])
    with pytest.raises(OtherAnswersError, match=r"net\.ipynb, cell 3, says seq_length=12, but") as refused:
        refuse_other_answers(source, answers_of([*SYLLABLES, "<pad>"], RULES))
    assert refused.value.agreeing is None


@pytest.mark.parametrize("owners", [{}, {"min_width": 12, "max_width": 12, "pad_side": "left"}])
@pytest.mark.parametrize("first", [("<pad>",), ("<unk>",), ("<pad>", "<unk>"), ("<unk>", "<pad>")])
def test_ids_that_begin_after_padding_are_found(first: tuple[str, ...], owners: dict[str, Any]) -> None:
    ids = {f"{name[1:4]}": first.index(name) for name in first}
    unknown, padding = ids.get("unk"), ids.get("pad", 0)
    rules = replace(
        RULES, unknown_id=unknown, empty_id=padding if unknown is None else unknown, padding_id=padding, **owners
    )
    tokens = (*first, *SYLLABLES)
    source, asked = source_of(SYLLABLES, len(tokens), [NAMED])
    with pytest.raises(
        OtherAnswersError, match=rf"has {len(tokens)} rows, but .* has 60 words.*begins with"
    ) as refused:
        refuse_other_answers(source, answers_of(tokens, rules))
    assert refused.value.tokens[len(first) :] == tuple(SYLLABLES)
    found = TextEncoder(refused.value.agreeing, refused.value.tokens)  # type: ignore[arg-type]
    assert all(found.encode(text) == TextEncoder(rules, tokens).encode(text) for text in drawn(24))
    assert len(asked) < 400


def test_a_vocabulary_with_too_few_words_is_told() -> None:
    source, _ = source_of(SYLLABLES, 90)
    with pytest.raises(OtherAnswersError, match=r"has 90 rows, but .* has 60 words") as refused:
        refuse_other_answers(source, answers_of(SYLLABLES[::-1], RULES))
    assert not refused.value.tokens


def test_the_vocabulary_with_padding_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    given: list[dict[str, Any]] = []
    moved = replace(RULES, min_width=12)

    def write(description: dict[str, Any]) -> Any:
        given.append(description)
        if len(given) == 1:
            raise OtherAnswersError("Some differ.", "Give <pad> first.", "", RULES, moved, 40, tokens=("<pad>", "oil"))
        return SimpleNamespace(input=None)

    options = dict.fromkeys(["max_tokens", "rules"])
    with click.Context(click.Command("export")) as context:
        kept = get_lines_to_print_at_end(context)
        # Those on the rules before are dropped.
        kept += [("in no text", "words"), ("around a text", "marks"), ("on lengths", "lengths")]
        exporting.export_with_rules_from_answers(
            write,
            {"rules": RULES, "vocabulary": ("oil",)},
            {**options, "tokenizer": None, "source": "net.pt"},
            None,
        )
        assert kept == [("on lengths", "lengths")]
    assert (given[1]["vocabulary"], given[1]["rules"]) == (("<pad>", "oil"), moved)
    said = capsys.readouterr().err
    assert "Give <pad> first." in said
    assert "min_width" in said
