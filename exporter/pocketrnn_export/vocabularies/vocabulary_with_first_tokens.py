"""Find out whether a vocabulary lacks its first tokens: the ids of the owner's code begin at 1 or 2, after those of
padding and unknown words, but the file has the other words alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pocketrnn.text import TextEncoder, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.text_row_encoder import Text
from pocketrnn_export.vocabularies.answer_distances import AnswerSource
from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary

_FIRST_TOKENS: Final = (("<pad>",), ("<unk>",), ("<pad>", "<unk>"), ("<unk>", "<pad>"))


def describe_missing_words(source: AnswerSource) -> str:
    """Return a sentence that the embedding has more rows than the vocabulary has words. Return an empty string if this
    is not so."""
    words = len(source.text.vocabulary) if type(source.text) is TextInput else source.rows
    is_told = isinstance(source.text.rules, TextRules) and words < source.rows
    return f"The embedding has {source.rows:,} rows, but the vocabulary has {words:,} words. " if is_told else ""


def list_sources_with_first_tokens(source: AnswerSource) -> Iterator[AnswerSource]:
    """Yield the source with other vocabularies: with one or two tokens, such as "<pad>", added before the first word,
    as far as the embedding has rows for them. The new vocabulary implies the ids of padding and of unknown words."""
    text = source.text
    # Where the module's embedding has no known number of rows, none is missing.
    if type(text) is not TextInput or not isinstance(text.rules, TextRules):
        return
    rules, missing = text.rules, source.rows - len(text.vocabulary)
    # All that the embedding lacks comes first.
    for first in sorted(_FIRST_TOKENS, key=lambda one: len(one) != missing):
        if len(first) > missing or {*first} & {*text.vocabulary}:
            continue
        tokens = (*first, *text.vocabulary)
        implied = make_implied_rules(read_vocabulary(tokens))
        moved = replace(
            rules, unknown_id=implied.unknown_id, empty_id=implied.empty_id, padding_id=implied.padding_id,
            first_id=None if rules.first_id is None else rules.first_id + len(first),
            last_id=None if rules.last_id is None else rules.last_id + len(first),
        )  # fmt: skip
        yield _make_source(source, moved, tokens)


def _make_source(source: AnswerSource, rules: TextRules, tokens: tuple[str, ...]) -> AnswerSource:
    encoder = TextEncoder(rules, tokens)

    def encode(read: Text) -> list[int]:
        return encoder.encode(read) if isinstance(read, str) else encoder.encode_tokens([*map(str, read)])

    return replace(
        source, text=TextInput(rules, tokens), encode=encode, answer_text=lambda read: source.answer_ids(encode(read))
    )
