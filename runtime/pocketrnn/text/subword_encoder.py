"""Encode texts as ids of pieces of words, with subword rules.

A text goes through these steps, in this order; docs/format.md defines them for other languages:

1. half of a UTF-16 surrogate pair becomes U+FFFD;
2. the added tokens without `after_steps` are found, at each position the longest;
3. the text between them goes through the steps; then the added tokens with `after_steps` are found;
4. the text between those is cut into words by the splits, one after the other;
5. the model encodes every word as ids.

After the first split that cuts, the ids of a part depend on that part alone. So the ids of a bounded number of parts
are cached: most words of a text have been seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn.text.cleaning_steps import Replace
from pocketrnn.text.subword_models import (
    SPACE_MARK,
    cut_before_marks,
    make_word_encoding_function,
    never_merges_across_marks,
)
from pocketrnn.text.subword_rules import AddedToken, SubwordRules
from pocketrnn.text.subword_splits import PrependTo, make_split_function
from pocketrnn.text.subword_steps import WHITE_SPACE, Prepend, make_subword_steps_function, make_test_for_any_character

__all__ = ["SubwordEncoder", "check_rules_fit_vocabulary", "make_words_function"]

# The largest number of cached parts, and the largest length of one: 10 MB at most for words of a usual length.
_MOST_KEPT: Final = 1 << 16
_LONGEST_KEPT: Final = 256


def check_rules_fit_vocabulary(rules: SubwordRules, vocabulary: Sequence[str]) -> None:
    """Check that rules and vocabulary fit each other. Raise an InputError if an id of the rules is beyond the
    vocabulary, a merge joins or makes a piece that the vocabulary lacks, a unigram model has another number of scores,
    or the vocabulary has no piece for the model."""
    SubwordEncoder(rules, vocabulary)


def make_words_function(rules: SubwordRules) -> Callable[[str], list[str]]:
    """Make a function that splits a text without added tokens into the words that the model encodes.

    It needs no vocabulary, so that training can learn the pieces from these words.
    """
    steps = make_subword_steps_function(rules.steps)
    splits = [make_split_function(split) for split in rules.splits]

    def split_words(text: str) -> list[str]:
        cleaned = steps(_replace_surrogates(text))
        made = [cleaned] if cleaned else []
        for split in splits:
            made = split(made)
        return made

    return split_words


def _replace_surrogates(text: str) -> str:
    """Replace each half of a UTF-16 surrogate pair by U+FFFD."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class SubwordEncoder:
    """Encodes texts as ids of pieces. It does not cut or pad the ids, and does not add the first and last ids.

    Raises:
        InputError: the rules do not fit the vocabulary.
    """

    def __init__(self, rules: SubwordRules, vocabulary: Sequence[str]) -> None:
        self._rules = rules
        outside = set(rules.outside)
        if (outside and max(outside) >= len(vocabulary)) or rules.highest_id >= len(vocabulary):
            highest = max(rules.highest_id, *outside, 0)
            raise InputError(
                f"The text rules use the id {highest}, but the vocabulary has only {len(vocabulary):,} tokens.",
                "Give the vocabulary that belongs to these rules.",
            )
        pieces = {token: i for i, token in enumerate(vocabulary) if i not in outside}
        if not pieces:
            raise InputError(
                "The vocabulary has no piece for the model: the rules exclude every token with `outside`.",
                "Give the vocabulary that belongs to these rules.",
            )
        self._steps = make_subword_steps_function(rules.steps) if rules.steps else None
        continuing = [step for step in rules.steps if not isinstance(step, Prepend)]
        self._continuing_steps = make_subword_steps_function(continuing) if continuing else None
        self._added_before_steps = _AddedTokenFinder(
            [token for token in rules.added if not token.after_steps], vocabulary
        )
        late = [token for token in rules.added if token.after_steps]
        made = vocabulary
        if late and self._steps is not None:
            made = [*vocabulary]
            for token in late:
                if not token.as_it_stands:
                    made[token.id] = self._steps(made[token.id])
        self._added_after_steps = _AddedTokenFinder(late, made)
        count = 0
        while count < len(rules.splits) and isinstance(rules.splits[count], PrependTo | Replace):
            count += 1
        # The splits up to the first that cuts, and those after it.
        count = min(count + 1, len(rules.splits))
        self._first_splits = [make_split_function(split) for split in rules.splits[:count]]
        self._more_splits = [make_split_function(split) for split in rules.splits[count:]]
        self._only_first = any(isinstance(split, PrependTo) and split.first for split in rules.splits)
        if self._only_first:
            elsewhere = [s for s in rules.splits[:count] if not (isinstance(s, PrependTo) and s.first)]
            self._elsewhere = [make_split_function(split) for split in elsewhere]
        self._model = make_word_encoding_function(rules.model, pieces, vocabulary, rules.unknown_id)
        # Tokenizers in sentencepiece's style do not cut at spaces, so that a whole text would be one word.
        self._cuts_before_marks = len(rules.splits) < 2 and never_merges_across_marks(rules.model, pieces, SPACE_MARK)
        self._kept: dict[str, tuple[int, ...]] = {}

    def apply_steps_to_continuing_text(self, text: str) -> str:
        """Apply the cleaning steps to a text that continues an earlier text, without the steps that put something
        before each text."""
        text = _replace_surrogates(text)
        return text if self._continuing_steps is None else self._continuing_steps(text)

    def encode(self, text: str, *, continues_text: bool = False) -> list[int]:
        """Encode a text as ids; empty if the steps remove everything.

        Args:
            continues_text: whether the text is a later part of a stream, cut off at a place that `SubwordCuts` finds.
        """
        text = _replace_surrogates(text)
        ids: list[int] = []
        begins, steps = not continues_text, self._continuing_steps if continues_text else self._steps
        for part in self._added_before_steps.split_at_added_tokens(text):
            if isinstance(part, int):
                ids.append(part)
            elif made := part if steps is None else steps(part):
                for inner in self._added_after_steps.split_at_added_tokens(made):
                    if isinstance(inner, int):
                        ids.append(inner)
                    elif inner:
                        self._split_and_append_ids(inner, begins, ids)
                    begins = False
            begins, steps = False, self._steps
        return ids

    def _split_and_append_ids(self, text: str, begins_text: bool, ids: list[int]) -> None:
        """Split a part of a text into words, and append their ids to `ids`. `begins_text` says whether the text begins
        with this part."""
        words = [text]
        for split in self._first_splits if begins_text or not self._only_first else self._elsewhere:
            words = split(words)
        if self._cuts_before_marks:
            words = [part for word in words for part in cut_before_marks(word)]
        kept = self._kept
        for word in words:
            found = kept.get(word)
            if found is None:
                found = self._cut_and_encode_part(word)
                if len(word) <= _LONGEST_KEPT:
                    if len(kept) >= _MOST_KEPT:
                        kept.clear()
                    kept[word] = found
            ids += found

    def _cut_and_encode_part(self, part: str) -> tuple[int, ...]:
        """Encode as ids a part of a text that the first splits have made: cut it by the other splits, and encode each
        word with the model."""
        words = [part]
        for split in self._more_splits:
            words = split(words)
        ids: list[int] = []
        for word in words:
            ids += self._model(word)
        return tuple(ids)


class _AddedTokenFinder:
    """Finds added tokens in a text, from left to right. At each position, the longest one is taken."""

    def __init__(self, tokens: Sequence[AddedToken], texts: Sequence[str]) -> None:
        self._tokens = {texts[token.id]: token for token in tokens if texts[token.id]}
        lengths: dict[str, set[int]] = {}
        for text in self._tokens:
            lengths.setdefault(text[0], set()).add(len(text))
        self._lengths = {first: sorted(some, reverse=True) for first, some in lengths.items()}
        self._may_hold = make_test_for_any_character(self._lengths)

    def split_at_added_tokens(self, text: str) -> Iterable[str | int]:
        """Split a text at its added tokens. Return the ids of these and the texts between them, in order."""
        if self._may_hold(text):
            return self._iterate_added_ids_and_other_texts(text)
        return (text,) if text else ()

    def _iterate_added_ids_and_other_texts(self, text: str) -> Iterator[str | int]:
        done = index = 0
        while index < len(text):
            token, length = self._find_token_and_length_at(text, index)
            if token is None:
                index += 1
                continue
            start, end = index, index + length
            if token.strip_left:
                start = max(len(text[:start].rstrip(WHITE_SPACE)), done)
            if token.strip_right:
                end = len(text) - len(text[end:].lstrip(WHITE_SPACE))
            if done < start:
                yield text[done:start]
            # A token of white space may have been stripped by the token before it.
            if start < end:
                yield token.id
            done = end
            index += length
        if done < len(text):
            yield text[done:]

    def _find_token_and_length_at(self, text: str, index: int) -> tuple[AddedToken | None, int]:
        """Find the longest added token at an index; return it with the length of its text, or None and 0."""
        for length in self._lengths.get(text[index], ()):
            stands = text[index : index + length]
            if (found := self._tokens.get(stands)) is not None:
                # At the end of a text, the slice may be shorter than `length`.
                return found, len(stands)
        return None, 0
