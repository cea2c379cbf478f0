"""Learn pieces of words from the training rows by byte-pair encoding, and split words at random by BPE-dropout.

The text rules cut the texts into words, as they will at run time; the package `tokenizers` sees only these words, and
counts which neighbours to merge in them.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, require_module
from pocketrnn.text import SubwordRules
from pocketrnn.text.subword_encoder import make_words_function
from pocketrnn.text.subword_models import Bpe, apply_merges, make_bpe_character_encoder_and_merges
from pocketrnn.text.subword_splits import PrependTo, SplitAt
from pocketrnn.text.subword_steps import LowercaseEach
from pocketrnn_training.rows.disk_backed_data import ByteBuffer
from pocketrnn_training.rows.encoded_rows import EncodedTexts
from pocketrnn_training.texts.unicode_sets import find_unicode_set
from pocketrnn_training.texts.vocabulary import PADDING, SPECIALS, UNKNOWN

__all__ = ["MARK", "RowWords", "convert_piece_to_word", "learn_pieces"]

# The first character of a piece that begins a word, as in sentencepiece.
MARK: Final = "\u2581"
# Pieces are learnt from at most this many characters, about 100,000 news texts: more rows give the same frequent
# pieces. If each row is a single word, this is a million rows.
_MOST_CHARACTERS: Final = 20_000_000
# At most this many characters of a word are read: a text without spaces is one word.
_LEARNT_CHARACTERS: Final = 256
# A longer piece is a sentence that the rows repeat, not a part of words.
_LONGEST_PIECE: Final = 24
# In an epoch a word is cut in at most this many ways. Frequent words would otherwise take most of the time: an epoch of
# Banking77 is cut in 0.15 s, and in 1.25 s if every occurrence is cut anew.
_WAYS: Final = 8
# Words that are cut at once.
_TOGETHER: Final = 10_000


def learn_pieces(
    texts: Sequence[str], most_pieces: int, *, min_freq: int, max_tokens: int | None, lowercase: bool = True
) -> tuple[SubwordRules, tuple[str, ...]]:
    """Learn the pieces of words of a vocabulary from texts, by byte-pair merges of characters (BPE).

    The same texts give the same result.

    Args:
        texts: the training texts.
        most_pieces: the largest number of pieces, including `<unk>` and `<pad>`. Up to a half of them are the most
            frequent characters.
        min_freq: how often a character, or a pair that is merged into a piece, must occur.
        max_tokens: the largest number of pieces of a text that the rules read; None for all.
        lowercase: whether the texts are converted to lower case first.

    Returns:
        The text rules that split texts into the pieces; and the vocabulary, in the order of the ids.

    Raises:
        MissingExtraError: the package tokenizers is not installed.
        DataError: the texts have no words, or every character is too rare.
    """
    require_module("tokenizers", "train")
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    rules = _make_subword_rules(Bpe((), fuse_unknown=True), max_tokens, lowercase=lowercase)
    lines = list(_join_words_of_sampled_texts(texts, rules))
    counts = Counter(point for line in lines for point in line)
    del counts[" "]
    if not counts:
        raise DataError("Not one of the texts has a word.", "Give texts with words in them.")
    frequent = [c for c, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= min_freq]
    alphabet = frequent[: max(1, (most_pieces - len(SPECIALS)) // 2)]
    if not alphabet:
        raise DataError(
            f"Not one character of the texts occurs at least {min_freq} times, which is the value of --min-freq.",
            "Give a smaller --min-freq, or more texts.",
        )
    # A word is also cut at unknown characters, since a merge never joins the characters before and after one.
    between = str.maketrans(dict.fromkeys(counts.keys() - alphabet, " "))
    tokenizer: Any = Tokenizer(models.BPE(unk_token=SPECIALS[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
    tokenizer.train_from_iterator(
        (line.translate(between) for line in lines),
        trainers.BpeTrainer(
            vocab_size=most_pieces,
            min_frequency=min_freq,
            special_tokens=list(SPECIALS),
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            max_token_length=_LONGEST_PIECE,
            show_progress=False,
        ),
    )
    learnt = json.loads(tokenizer.to_str())["model"]
    ids: dict[str, int] = learnt["vocab"]
    merges = tuple(ids[piece] for pair in learnt["merges"] for piece in pair)
    model = Bpe(merges, fuse_unknown=True)
    return _make_subword_rules(model, max_tokens, lowercase=lowercase), tuple(sorted(ids, key=ids.__getitem__))


def convert_piece_to_word(piece: str) -> str | None:
    """Return the characters of a piece that begins a word, without its mark; None for a piece inside a word."""
    return piece[len(MARK) :] if piece.startswith(MARK) and piece != MARK else None


def _make_subword_rules(model: Bpe, max_tokens: int | None, *, lowercase: bool) -> SubwordRules:
    """Make text rules that split texts at white space and punctuation, and then words into pieces by `model`.

    Args:
        model: the merges.
        max_tokens: the largest number of pieces of a text that the rules read; None for all.
        lowercase: whether texts are converted to lower case first.
    """
    return SubwordRules(
        model=model,
        unknown_id=UNKNOWN,
        empty_id=UNKNOWN,
        padding_id=PADDING,
        max_tokens=max_tokens,
        steps=(LowercaseEach(),) if lowercase else (),
        splits=(
            SplitAt(find_unicode_set("white_space"), "removed"),
            SplitAt(find_unicode_set("punctuation"), "isolated"),
            PrependTo(MARK),
        ),
        # No text is encoded as these.
        outside=(UNKNOWN, PADDING),
    )


def _join_words_of_sampled_texts(texts: Sequence[str], rules: SubwordRules) -> Iterable[str]:
    """Yield the words of each text, joined by spaces; if the texts are too long in all, only of a sample of them.

    Only the first `rules.max_tokens` words of a text are used, since each word has at least one piece.
    """
    words = make_words_function(replace(rules, outside=()))
    share = min(1.0, _MOST_CHARACTERS / max(1, sum(map(len, texts))))
    chosen = np.unique(np.linspace(0, len(texts) - 1, max(1, int(share * len(texts)))).astype(int))
    for row in chosen.tolist():
        yield " ".join(word[:_LEARNT_CHARACTERS] for word in words(texts[row])[: rules.max_tokens])


@dataclass(frozen=True)
class RowWords:
    """Rows of texts as words, which are split into pieces anew in every epoch.

    Attributes:
        rules: the text rules.
        vocabulary: the pieces.
        distinct: the different words that occur.
        rows: the rows as indices in `distinct`. If a row is a pair of texts, each of its texts is a row here.
        mark: the id between the two texts of a pair; None if a row is one text.
    """

    rules: SubwordRules
    vocabulary: tuple[str, ...]
    distinct: tuple[str, ...]
    rows: EncodedTexts
    mark: int | None = None

    @classmethod
    def from_texts(cls, texts: Iterable[str], rules: SubwordRules, vocabulary: tuple[str, ...]) -> RowWords:
        """Split the texts into words, and keep at most `max_tokens` words of each text."""
        words, index = make_words_function(rules), dict[str, int]()
        rows = EncodedTexts.from_rows(
            [index.setdefault(word, len(index)) for word in words(text)[: rules.max_tokens]] for text in texts
        )
        return cls(rules, vocabulary, tuple(index), rows)

    def select_first_rows(self, row_count: int) -> RowWords:
        """Return the first `row_count` rows; if rows are pairs of texts, the first `row_count` pairs."""
        if self.mark is not None:
            row_count *= 2
        if row_count == len(self.rows.offsets) - 1:
            return self
        offsets = self.rows.offsets[: row_count + 1]
        return replace(self, rows=EncodedTexts(self.rows.ids[: offsets[-1]], offsets))

    def encode_rows_as_pieces(self) -> EncodedTexts:
        """Encode the rows as ids of pieces, with all merges, as the trained classifier will do it."""
        return self.draw_pieces_with_word_starts(0.0, 0)[0]

    def draw_pieces_with_word_starts(
        self, skipped_share: float, seed: np.random.SeedSequence | int
    ) -> tuple[EncodedTexts, npt.NDArray[np.int64]]:
        """Encode the rows as ids of pieces, with BPE-dropout; also return where each word begins.

        Args:
            skipped_share: the share of merges that are skipped at random; 0 to make all merges.
            seed: the seed that decides which merges are skipped.

        Returns:
            The rows; and int64 [words of all rows], the position of each word's first id. The positions are wrong if
            `max_tokens` shortens a row, a row is empty, or rows are pairs of texts.
        """
        generator = np.random.default_rng(seed)
        counts = np.bincount(self.rows.ids, minlength=len(self.distinct))
        times_of_words = np.minimum(counts, _WAYS) if skipped_share else np.minimum(counts, 1)
        made, lengths = ByteBuffer(), ByteBuffer()
        cut = (
            self._split_words_randomly(times_of_words, skipped_share, generator)
            if skipped_share
            else self._split_words_with_all_merges(times_of_words)
        )
        while some := list(islice(cut, _TOGETHER)):
            made.write(np.fromiter(chain.from_iterable(some), np.int32).tobytes())
            lengths.write(np.fromiter(map(len, some), np.int64).tobytes())
        drawn = EncodedTexts.from_lengths(made.numbers(np.int32), lengths.numbers(np.int64))
        first = np.cumsum(times_of_words) - times_of_words
        ids = self.rows.ids
        chosen = first[ids] + (generator.random(len(ids)) * times_of_words[ids]).astype(np.int64)
        begins = np.cumsum(drawn.lengths[chosen]) - drawn.lengths[chosen]
        rows = _join_pieces_of_rows(drawn, chosen, self.rows.offsets, self.rules)
        return rows if self.mark is None else rows.join_pairs(self.mark), begins

    def _split_words_randomly(
        self, times_of_words: npt.NDArray[np.int64], skipped_share: float, generator: np.random.Generator
    ) -> Iterator[list[int]]:
        """Split each different word into pieces at random, and yield the ids of the pieces.

        `times_of_words`, int64 [different words], says how many times each word is split.
        """
        model = self.rules.model
        assert isinstance(model, Bpe)  # noqa: S101 - `learn_pieces` makes no other
        outside = set(self.rules.outside)
        pieces = {piece: i for i, piece in enumerate(self.vocabulary) if i not in outside}
        symbols, merges = make_bpe_character_encoder_and_merges(model, pieces, self.vocabulary, self.rules.unknown_id)
        draw = random.Random(int(generator.integers(2**62))).random  # noqa: S311
        for word, number in zip(self.distinct, times_of_words.tolist(), strict=True):
            for _ in range(number):
                yield apply_merges(symbols(word), merges, lambda: draw() < skipped_share)

    def _split_words_with_all_merges(self, times_of_words: npt.NDArray[np.int64]) -> Iterator[list[int]]:
        """Split each different word into pieces, with all merges, and yield the ids of the pieces of each word.

        A word is left out if its number in `times_of_words`, int64 [different words], is 0. The package `tokenizers` is
        used, since it is ten times as fast as `apply_merges`.
        """
        from tokenizers import Tokenizer, models

        model = self.rules.model
        assert isinstance(model, Bpe)  # noqa: S101 - `learn_pieces` makes no other
        names = [self.vocabulary[i] for i in model.merges]
        ids = {piece: i for i, piece in enumerate(self.vocabulary)}
        pairs = list(zip(names[::2], names[1::2], strict=True))
        tokenizer: Any = Tokenizer(models.BPE(ids, pairs, unk_token=SPECIALS[UNKNOWN], fuse_unk=True))
        words = [word for word, number in zip(self.distinct, times_of_words.tolist(), strict=True) if number]
        for start in range(0, len(words), _TOGETHER):
            for encoding in tokenizer.encode_batch(words[start : start + _TOGETHER], add_special_tokens=False):
                yield encoding.ids


def _join_pieces_of_rows(
    pieces_of_words: EncodedTexts,
    chosen_words: npt.NDArray[np.int64],
    row_offsets: npt.NDArray[np.int64],
    rules: SubwordRules,
) -> EncodedTexts:
    """Join the pieces of the words of each row, and cut the row to `rules.max_tokens` pieces.

    A row without pieces becomes the one id `rules.empty_id`.

    Args:
        pieces_of_words: the pieces of each word.
        chosen_words: int64 [words of all rows], the position in `pieces_of_words` of each word.
        row_offsets: int64 [rows + 1], the position in `chosen_words` of each row's first word.
    """
    lengths = pieces_of_words.lengths[chosen_words]
    ends = np.concatenate(([0], np.cumsum(lengths)))
    # The position of each piece in `words.ids`: the start of its word plus its position in the word.
    places = np.repeat(pieces_of_words.offsets[chosen_words] - ends[:-1], lengths) + np.arange(ends[-1])
    ids = pieces_of_words.ids[places]
    starts = ends[row_offsets[:-1]]
    row_lengths = ends[row_offsets[1:]] - starts
    if rules.max_tokens is not None:
        kept = np.arange(len(ids)) - np.repeat(starts, row_lengths) < rules.max_tokens
        ids, row_lengths = ids[kept], np.minimum(row_lengths, rules.max_tokens)
    empty = np.flatnonzero(row_lengths == 0)
    ids = np.insert(ids, np.concatenate(([0], np.cumsum(row_lengths)))[empty], rules.empty_id)
    return EncodedTexts.from_lengths(ids.astype(np.int32), np.maximum(row_lengths, 1))
