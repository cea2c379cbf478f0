"""The subword models, which split a word into pieces of the vocabulary and return their ids.

Each gives the same ids as Hugging Face's `tokenizers` (tokenizers/src/models), also for ties and corner cases.
"""

from __future__ import annotations

import heapq
import math
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.value_checks import check_flags, check_string

__all__ = [
    "SPACE_MARK",
    "UNKNOWN_PENALTY",
    "Bpe",
    "Model",
    "Unigram",
    "WholeWords",
    "WordPiece",
    "apply_merges",
    "build_model_from_document",
    "cut_before_marks",
    "make_bpe_character_encoder_and_merges",
    "make_model_document",
    "make_word_encoding_function",
    "never_merges_across_marks",
]

MOST_PIECES: Final = 1 << 22
# sentencepiece's penalty (src/unigram_model.cc, kUnkPenalty): an unknown character costs this much more than any piece.
UNKNOWN_PENALTY: Final = 10.0
# sentencepiece's mark of a space.
SPACE_MARK: Final = "\u2581"
# kScoreResetThreshold in sentencepiece 0.2.3, for texts of some 10,000 pieces.
_COUNTED_ANEW: Final = 100_000.0
_LONGEST_AFFIX: Final = 32
# The largest number of words in the cache of a unigram model, and the largest length of such a word.
_MOST_KNOWN: Final = 1 << 16
_LONGEST_KNOWN: Final = 64
_SINGLE: Final = struct.Struct("<f")


@dataclass(frozen=True)
class Bpe:
    """Byte-pair encoding (BPE): merges neighbouring pieces, one merge rule after another, from left to right.

    Attributes:
        merges: two ids for each merge, those of the pieces that it joins, in one flat tuple. The first merge is applied
            first.
        fuse_unknown: whether neighbouring unknown pieces become one unknown piece.
        byte_fallback: whether an unknown character becomes the pieces <0x00> to <0xFF> of its bytes.
        whole_words: whether a word that is a piece becomes that piece, whatever the merges would give.
        prefix: the prefix of pieces that do not begin a word.
        suffix: the suffix of pieces that end a word.
        ranks: a rank for each merge, in ascending order. Merges of the same rank are applied from left to right, as in
            sentencepiece, where the rank belongs to the merged piece. If empty, the rank of a merge is its index.

    Raises:
        InputError: a value has a wrong type or is out of its range, or a merge occurs twice.
    """

    merges: tuple[int, ...] = field(repr=False)
    fuse_unknown: bool = False
    byte_fallback: bool = False
    whole_words: bool = False
    prefix: str = ""
    suffix: str = ""
    ranks: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check_affix(self.prefix)
        _check_affix(self.suffix)
        check_flags(self, "fuse_unknown", "byte_fallback", "whole_words")
        merges = self.merges
        if not isinstance(merges, tuple) or len(merges) % 2 or len(merges) > 2 * MOST_PIECES:
            raise InputError(
                f"`merges` is {short_repr(merges)}, but it must be a tuple with two ids for each of at most "
                f"{MOST_PIECES:,} merges.",
                "Give the ids of the two pieces of each merge, one after the other.",
            )
        if not all(type(i) is int and i >= 0 for i in merges):
            raise InputError(
                "`merges` contains a value that is not an id, a whole number of 0 or more.",
                "Give the ids of the two pieces of each merge, one after the other.",
            )
        times = Counter(zip(merges[::2], merges[1::2], strict=True))
        if 2 * len(times) != len(merges):
            left, right = times.most_common(1)[0][0]
            raise InputError(
                f"`merges` contains the merge of the ids {left} and {right} twice.", "Give each merge once."
            )
        ranks = self.ranks
        if not isinstance(ranks, tuple) or len(ranks) not in (0, len(merges) // 2):
            raise InputError(
                f"`ranks` is {short_repr(ranks)}, but it must be a tuple with one rank for each merge.",
                "Give such a tuple, or leave `ranks` out if the rank of each merge is its index.",
            )
        if not all(type(rank) is int and 0 <= rank <= MOST_PIECES for rank in ranks) or list(ranks) != sorted(ranks):
            raise InputError(
                f"`ranks` must have whole numbers from 0 to {MOST_PIECES:,} in ascending order, but it has others.",
                "Sort the merges by rank, and give both in this order.",
            )


@dataclass(frozen=True)
class WordPiece:
    """WordPiece, as in BERT: takes the longest piece with which the rest of a word begins, again and again. A word that
    cannot be split completely is unknown.

    Attributes:
        prefix: the prefix of pieces that do not begin a word.
        most_characters: a word with more code points than this is unknown.

    Raises:
        InputError: a value has a wrong type or is out of its range.
    """

    prefix: str = "##"
    most_characters: int = 100

    def __post_init__(self) -> None:
        _check_affix(self.prefix)
        if type(self.most_characters) is not int or not 0 <= self.most_characters < 1 << 31:
            raise InputError(
                f"most_characters is {short_repr(self.most_characters)}, but it must be a whole number of 0 or more.",
                "Give the length in characters above which a word is unknown.",
            )


@dataclass(frozen=True)
class Unigram:
    """The unigram model of sentencepiece: splits a word into the pieces with the largest sum of scores (Viterbi).

    Attributes:
        scores: a score for each token of the vocabulary.
        byte_fallback: whether an unknown character becomes the pieces <0x00> to <0xFF> of its bytes.
        exact: whether scores are summed in double precision, as in Hugging Face's `tokenizers`. If not, each stored sum
            is rounded to single precision, and sums beyond 100,000 are reset, as in sentencepiece. Then unknown parts
            are not looked up again, and the byte pieces may be ids that the model cannot produce.

    Raises:
        InputError: a value has a wrong type, or is not a finite number.
    """

    scores: tuple[float, ...] = field(repr=False)
    byte_fallback: bool = False
    exact: bool = True

    def __post_init__(self) -> None:
        check_flags(self, "byte_fallback", "exact")
        scores = self.scores
        if not isinstance(scores, tuple) or not 1 <= len(scores) <= MOST_PIECES:
            raise InputError(
                f"`scores` is {short_repr(scores)}, but it must be a tuple of 1 to {MOST_PIECES:,} numbers.",
                "Give one score for each token of the vocabulary.",
            )
        if not all(type(score) in (int, float) and math.isfinite(score) for score in scores):
            raise InputError(
                "`scores` contains a value that is not a finite number.",
                "Give one finite number for each token of the vocabulary.",
            )


@dataclass(frozen=True)
class WholeWords:
    """The model of whole words: a word is a piece of the vocabulary, or unknown."""


Model = Bpe | WordPiece | Unigram | WholeWords
ToIds = Callable[[str], Sequence[int]]
# The ids of two neighbours -> the merge's rank, and the id of the merged piece.
Merges = Mapping[tuple[int, int], tuple[int, int]]
# A piece of a word: where it starts and ends in the word, and its id.
_StartEndAndPiece = tuple[int, int, int]


def _check_affix(value: Any) -> None:
    check_string(value, "The prefix or suffix of a piece", 0, _LONGEST_AFFIX)


def make_word_encoding_function(
    model: Model, pieces: Mapping[str, int], tokens: Sequence[str], unknown: int | None
) -> ToIds:
    """Make a function that encodes a word as ids. The word must not be empty.

    Args:
        pieces: the pieces that the model can produce, with their ids.
        tokens: the whole vocabulary.
        unknown: the id of an unknown piece; None to drop such pieces.

    Raises:
        InputError: a merge joins or makes a piece that is not in the vocabulary, or a unigram model has no unknown
            piece or another number of scores.
    """
    match model:
        case Bpe():
            return _make_bpe_function(model, pieces, tokens, unknown)
        case WordPiece():
            return _make_word_piece_function(model, pieces, unknown)
        case Unigram():
            return _make_unigram_function(model, pieces, tokens, unknown)
        case WholeWords():
            instead = [] if unknown is None else [unknown]
            return lambda word: instead if (found := pieces.get(word)) is None else [found]


def _make_merge_table(model: Bpe, pieces: Mapping[str, int], tokens: Sequence[str]) -> Merges:
    """Make a map from the ids of two pieces to the rank of their merge and the id of the merged piece."""
    table: dict[tuple[int, int], tuple[int, int]] = {}
    cut = len(model.prefix)
    for rank, (left, right) in enumerate(zip(model.merges[::2], model.merges[1::2], strict=True)):
        if max(left, right) >= len(tokens):
            raise InputError(
                f"Merge {rank} of the tokenizer has the id {max(left, right)}, but the vocabulary has only "
                f"{len(tokens):,} tokens.",
                "Give the vocabulary that belongs to these merges.",
            )
        made = tokens[left] + tokens[right][cut:]
        if made not in pieces or tokens[left] not in pieces or tokens[right] not in pieces:
            raise InputError(
                f"Merge {rank} of the tokenizer joins {short_repr(tokens[left], 30)} and "
                f"{short_repr(tokens[right], 30)}, but the model has no piece for one of them or for the joined piece.",
                "Give the vocabulary that belongs to these merges, with all of their pieces.",
            )
        table[left, right] = (model.ranks[rank] if model.ranks else rank, pieces[made])
    return table


def _find_byte_pieces(pieces: Mapping[str, int]) -> list[int | None]:
    """Find the id of the piece of each byte, from <0x00> to <0xFF>; None for a piece that is missing."""
    return [pieces.get(f"<0x{byte:02X}>") for byte in range(0x100)]


def make_bpe_character_encoder_and_merges(
    model: Bpe, pieces: Mapping[str, int], tokens: Sequence[str], unknown: int | None
) -> tuple[Callable[[str], list[int]], Merges]:
    """Make a function that encodes the characters of a word as ids, and a map from the ids of two pieces to the rank of
    their merge and the id of the merged piece.

    Args:
        pieces: the pieces that the model can produce, with their ids.
        tokens: the whole vocabulary.
        unknown: the id of an unknown piece; None to drop such pieces.

    Raises:
        InputError: a merge joins or makes a piece that is not in the vocabulary.
    """
    merges = _make_merge_table(model, pieces, tokens)
    by_byte = _find_byte_pieces(pieces) if model.byte_fallback else None
    plain = not (model.prefix or model.suffix)

    def encode_characters(word: str) -> list[int]:
        """Encode the characters of a word as ids.

        The id of an unknown character is added only before the next known character or at the end, as in `tokenizers`.
        """
        ids: list[int] = []
        waiting, last = False, len(word) - 1
        for index, point in enumerate(word):
            if not plain:
                point = f"{model.prefix if index else ''}{point}{model.suffix if index == last else ''}"
            found = pieces.get(point)
            if found is not None:
                if waiting and unknown is not None:
                    ids.append(unknown)
                waiting = False
                ids.append(found)
                continue
            if by_byte is not None:
                of_bytes = [by_byte[byte] for byte in point.encode()]
                if None not in of_bytes:
                    ids += of_bytes  # type: ignore[arg-type]
                    continue
            if waiting and not model.fuse_unknown and unknown is not None:
                ids.append(unknown)
            waiting = True
        if waiting and unknown is not None:
            ids.append(unknown)
        return ids

    return encode_characters, merges


def _make_bpe_function(model: Bpe, pieces: Mapping[str, int], tokens: Sequence[str], unknown: int | None) -> ToIds:
    """Make a function that encodes a word as ids by byte-pair encoding."""
    symbols, merges = make_bpe_character_encoder_and_merges(model, pieces, tokens, unknown)
    compared_member: Literal[0, 1] = 0 if model.ranks else 1

    def encode_word(word: str) -> Sequence[int]:
        if model.whole_words and (found := pieces.get(word)) is not None:
            return [found]
        ids = symbols(word)
        return ids if len(ids) < 2 else apply_merges(ids, merges, compared_member=compared_member)

    return encode_word


def apply_merges(
    ids: list[int], merges: Merges, skips_merge: Callable[[], bool] | None = None, *, compared_member: Literal[0, 1] = 1
) -> list[int]:
    """Merge neighbouring pieces, given as ids, until no merge is possible: the lowest rank first, and among equal ranks
    the leftmost. Return the ids.

    The order is that of Hugging Face's `tokenizers`, models/bpe/word.rs.

    Args:
        ids: the ids of a word's characters. The list may be changed.
        merges: a map from the ids of two neighbours to the rank of their merge and the id of the merged piece.
        skips_merge: called before each merge. If it returns True, the merge is put off until after the next merge that
            is not skipped (BPE-dropout; Provilkov, Emelianenko and Voita 2020).
        compared_member: a queued merge is dropped if its two pieces have changed so that the merge has now another rank
            (0), or another result (1, as in `tokenizers`).
    """
    size = len(ids)
    # Each waiting merge: its rank, its index, and what must be unchanged.
    queue = [
        (found[0], i, found[compared_member])
        for i in range(size - 1)
        if (found := merges.get((ids[i], ids[i + 1]))) is not None
    ]
    if not queue:
        return ids
    heapq.heapify(queue)
    after = [*range(1, size), -1]
    before = list(range(-1, size - 1))
    gone = bytearray(size)
    waiting: list[_StartEndAndPiece] = []
    while queue:
        first = heapq.heappop(queue)
        if skips_merge is not None and skips_merge():
            waiting.append(first)
            continue
        _, at, known = first
        right = after[at]
        if gone[at] or right < 0:
            continue
        found = merges.get((ids[at], ids[right]))
        # The pair at this index has changed meanwhile.
        if found is None or found[compared_member] != known:
            continue
        made = found[1]
        ids[at], gone[right], after[at] = made, 1, after[right]
        if after[right] >= 0:
            before[after[right]] = at
            if (found := merges.get((made, ids[after[at]]))) is not None:
                heapq.heappush(queue, (found[0], at, found[compared_member]))
        left = before[at]
        if left >= 0 and (found := merges.get((ids[left], made))) is not None:
            heapq.heappush(queue, (found[0], left, found[compared_member]))
        while waiting:
            heapq.heappush(queue, waiting.pop())
    return [number for i, number in enumerate(ids) if not gone[i]]


def _make_word_piece_function(model: WordPiece, pieces: Mapping[str, int], unknown: int | None) -> ToIds:
    """Make a function that encodes a word as ids by WordPiece."""
    prefix, most = model.prefix, model.most_characters
    inner = {piece[len(prefix) :]: i for piece, i in pieces.items() if piece.startswith(prefix)}
    longest = max(map(len, pieces), default=0), max(map(len, inner), default=0)
    instead = [] if unknown is None else [unknown]

    def encode_word(word: str) -> Sequence[int]:
        size = len(word)
        if size > most:
            return instead
        ids: list[int] = []
        start = 0
        while start < size:
            known = inner if start else pieces
            for end in range(min(size, start + longest[bool(start)]), start, -1):
                found = known.get(word[start:end])
                if found is not None:
                    ids.append(found)
                    start = end
                    break
            else:
                return instead
        return ids

    return encode_word


def _make_unigram_function(
    model: Unigram, pieces: Mapping[str, int], tokens: Sequence[str], unknown: int | None
) -> ToIds:
    """Make a function that encodes a word as ids by a unigram model."""
    if len(model.scores) != len(tokens):
        raise InputError(
            f"The unigram model has {len(model.scores):,} scores, but the vocabulary has {len(tokens):,} tokens.",
            "Give one score for each token.",
        )
    if unknown is None:
        raise InputError(
            "The unigram model needs an unknown piece, but `unknown_id` is not set.",
            "Set `unknown_id` to the id of the unknown piece.",
        )
    find_best_path = _make_best_path_function(model, pieces, unknown)
    of_token = pieces if model.exact else {token: i for i, token in enumerate(tokens)}
    by_byte = _find_byte_pieces(of_token) if model.byte_fallback else None

    def encode_pieces_of_path(word: str, path: Sequence[_StartEndAndPiece]) -> list[int]:
        found: list[int] = []
        at = 0
        while at < len(path):
            start, end, piece = path[at]
            at += 1
            if piece != unknown:
                found.append(piece)
                continue
            # Neighbouring unknown pieces become one.
            while at < len(path) and path[at][2] == unknown:
                end = path[at][1]
                at += 1
            part = word[start:end]
            whole = pieces.get(part) if model.exact else None
            if whole is None and by_byte is not None:
                of_bytes = [by_byte[byte] for byte in part.encode()]
                if None not in of_bytes:
                    found += of_bytes  # type: ignore[arg-type]
                    continue
            found.append(unknown if whole is None else whole)
        return found

    cuts = SPACE_MARK in pieces and _have_mark_only_at_beginning(pieces, SPACE_MARK)
    if not cuts or any(model.scores[i] > 0 for i in pieces.values()):
        return lambda word: encode_pieces_of_path(word, find_best_path(word))
    return _make_unigram_function_by_words(model, pieces, unknown, find_best_path, encode_pieces_of_path)


@dataclass(frozen=True)
class _KnownWord:
    """A cached word, with its best path: the pieces into which the model splits it.

    Attributes:
        ids: the ids of the pieces.
        scores: the scores of the pieces.
        total: the absolute value of the sum of `scores`.
        furthest: the largest absolute value of the sum of the scores before the word with which the cached path is
            certainly the best. After a larger sum, rounding could make another path the best.
    """

    ids: list[int]
    scores: tuple[float, ...]
    total: float
    furthest: float


def _make_unigram_function_by_words(
    model: Unigram,
    pieces: Mapping[str, int],
    unknown: int,
    find_best_path: Callable[..., list[_StartEndAndPiece]],
    encode_pieces_of_path: Callable[[str, Sequence[_StartEndAndPiece]], list[int]],
) -> ToIds:
    """Make a function that encodes a text as ids word by word with a unigram model, and caches the words. No piece of
    the model may cross the beginning of a word.

    The text before a word changes the best path of the word only by rounding: the sum of scores before the word decides
    how the sums within the word are rounded. An addition of two numbers of the same sign is off by at most half a unit
    in the last place of the sum. A path that is better than all others by more than this therefore stays the best, and
    is cached with the word. Otherwise, or if the word is too long for the cache, the best path is computed again with
    the actual sum.
    """
    margin = _make_best_two_scores_function(model, pieces)
    keep = float if model.exact else _round_to_single
    penalty = keep(min(model.scores[i] for i in pieces.values()) - UNKNOWN_PENALTY)
    # Twice half a unit of the last place, since the sums that are compared here are rounded, too.
    unit = 2.0**-51 if model.exact else 2.0**-23
    kept: dict[str, _KnownWord] = {}

    def find_piece_score(piece: int) -> float:
        return penalty if piece == unknown else model.scores[piece]

    def encode_and_cache_word(word: str) -> _KnownWord:
        path = find_best_path(word)
        scores = tuple(find_piece_score(piece) for _, _, piece in path)
        first, second = margin(word)
        furthest = ((first - second) / (len(word) * unit) + first + second) / 2 if second > -math.inf else math.inf
        made = _KnownWord(encode_pieces_of_path(word, path), scores, -sum(scores), furthest)
        if len(kept) >= _MOST_KNOWN:
            kept.clear()
        kept[word] = made
        return made

    def encode_word(text: str) -> Sequence[int]:
        ids: list[int] = []
        # The scores of words that are not yet added to `before`, which most texts never need.
        scores: list[tuple[float, ...]] = []
        total = before = 0.0
        for word in cut_before_marks(text):
            made = kept.get(word)
            if made is None and len(word) <= _LONGEST_KNOWN:
                made = encode_and_cache_word(word)
            if made is None or total >= made.furthest:
                for score in chain.from_iterable(scores):
                    before = keep(score + before)
                scores.clear()
                path = find_best_path(word, before)
                found = tuple(find_piece_score(piece) for _, _, piece in path)
                ids += encode_pieces_of_path(word, path)
                scores.append(found)
                total -= sum(found)
            else:
                ids += made.ids
                scores.append(made.scores)
                total += made.total
            # Where sums are reset, the text before a word matters more.
            if total > _COUNTED_ANEW / 2 and not model.exact:
                return encode_pieces_of_path(text, find_best_path(text))
        return ids

    return encode_word


def _have_mark_only_at_beginning(pieces: Iterable[str], mark: str) -> bool:
    """Return whether each piece has the mark, the character that stands for a space, only at its beginning or not at
    all."""
    return all(mark not in piece.lstrip(mark) for piece in pieces)


def never_merges_across_marks(model: Model, pieces: Collection[str], mark: str) -> bool:
    """Return whether the model is BPE, and none of its merges joins other text with a mark after it. The mark is the
    character that stands for a space, at the beginning of a word.

    A text can then be cut before each run of marks without changing its ids.
    """
    plain = isinstance(model, Bpe) and not (model.prefix or model.suffix or model.whole_words)
    return plain and mark in pieces and _have_mark_only_at_beginning(pieces, mark)


def cut_before_marks(text: str) -> list[str]:
    """Cut a text before every run of sentencepiece's mark for a space."""
    if SPACE_MARK * 2 not in text:
        first, *others = text.split(SPACE_MARK)
        words = [SPACE_MARK + word for word in others]
        return [first, *words] if first else words
    found, start = [], 0
    at = text.find(SPACE_MARK, 1)
    while at > 0:
        if text[at - 1] != SPACE_MARK:
            found.append(text[start:at])
            start = at
        at = text.find(SPACE_MARK, at + 1)
    return [*found, text[start:]]


def _make_best_two_scores_function(model: Unigram, pieces: Mapping[str, int]) -> Callable[[str], tuple[float, float]]:
    """Make a function that finds the scores of the best and the second-best way to split a word into pieces. The second
    score is minus infinity if there is only one way."""
    keep = float if model.exact else _round_to_single
    penalty = keep(min(model.scores[i] for i in pieces.values()) - UNKNOWN_PENALTY)
    lengths = _find_piece_lengths_by_first_character(pieces)

    def find_best_two_sums(word: str) -> tuple[float, float]:
        size = len(word)
        found = [(-math.inf, -math.inf)] * (size + 1)
        found[0] = (0.0, -math.inf)
        for start in range(size):
            alone = False
            ways = []
            for length in lengths.get(word[start], ()):
                if start + length <= size and (piece := pieces.get(word[start : start + length])) is not None:
                    alone |= length == 1
                    ways.append((start + length, model.scores[piece]))
            if not alone:
                ways.append((start + 1, penalty))
            for end, score in ways:
                most = sorted((*found[end], *(here + score for here in found[start])), reverse=True)
                found[end] = (most[0], most[1])
        return found[size]

    return find_best_two_sums


def _find_piece_lengths_by_first_character(pieces: Mapping[str, int]) -> dict[str, list[int]]:
    """Find for each first character the lengths of the pieces that begin with it."""
    of_first: dict[str, set[int]] = {}
    for piece in pieces:
        of_first.setdefault(piece[:1], set()).add(len(piece))
    return {first: sorted(some) for first, some in of_first.items()}


def _round_to_single(number: float) -> float:
    """Round a number to single precision."""
    try:
        return _SINGLE.unpack(_SINGLE.pack(number))[0]  # type: ignore[no-any-return]
    except OverflowError:
        return math.copysign(math.inf, number)


def _make_best_path_function(
    model: Unigram, pieces: Mapping[str, int], unknown: int
) -> Callable[..., list[_StartEndAndPiece]]:
    """Make a function that finds the best path of a word: the start, the end and the id of each piece into which the
    model splits it. Among equal paths, the one with the longest last piece is taken.

    The function takes the word, and the sum of the scores of the pieces before the word.
    """
    scores, exact = model.scores, model.exact
    keep = float if exact else _round_to_single
    penalty = keep(min(scores[i] for i in pieces.values()) - UNKNOWN_PENALTY)
    lengths = _find_piece_lengths_by_first_character(pieces)
    marks_begin = _have_mark_only_at_beginning(pieces, SPACE_MARK)

    def find_latest_piece_ends(word: str) -> list[int]:
        """Find for each index of a word the latest index at which a piece that begins there can end: the beginning of
        the next run of marks."""
        found, stop = [len(word)] * len(word), len(word)
        if marks_begin and SPACE_MARK in word:
            for place in range(len(word) - 1, -1, -1):
                found[place] = stop
                if word[place] == SPACE_MARK and place and word[place - 1] != SPACE_MARK:
                    stop = place
        return found

    def find_path(word: str, sum_before: float = 0.0) -> list[_StartEndAndPiece]:
        size = len(word)
        sums = [sum_before] + [0.0] * size
        starts, ids, ends = [-1] * (size + 1), [0] * (size + 1), find_latest_piece_ends(word)
        reached = 0
        for start in range(size):
            here, alone = sums[start], False
            if not exact and abs(here) > _COUNTED_ANEW:
                for place in range(start, reached + 1):
                    if place == start or starts[place] >= 0:
                        sums[place] = keep(sums[place] - here)
                here = 0.0
            for length in lengths.get(word[start], ()):
                end = start + length
                if end > ends[start]:
                    break
                piece = pieces.get(word[start:end])
                if piece is None:
                    continue
                alone |= length == 1
                reached = max(reached, end)
                total = keep(scores[piece] + here)
                if starts[end] < 0 or total > sums[end]:
                    sums[end], starts[end], ids[end] = total, start, piece
            if not alone:
                end, total = start + 1, keep(penalty + here)
                reached = max(reached, end)
                if starts[end] < 0 or total > sums[end]:
                    sums[end], starts[end], ids[end] = total, start, unknown
        path, end = [], size
        while end > 0:
            path.append((starts[end], end, ids[end]))
            end = starts[end]
        return path[::-1]

    return find_path


# --- classifier.json ---


def make_model_document(model: Model) -> dict[str, Any]:
    """Convert the model to a document for classifier.json. Members that are false or empty are left out."""
    match model:
        case Bpe():
            more = ("fuse_unknown", "byte_fallback", "whole_words", "prefix", "suffix")
            said = {name: value for name in more if (value := getattr(model, name))}
            ranks = {"ranks": list(model.ranks)} if model.ranks else {}
            return {"kind": "bpe", **said, "merges": list(model.merges), **ranks}
        case WordPiece(prefix, most):
            return {"kind": "wordpiece", "prefix": prefix, "most_characters": most}
        case Unigram(scores, fallback, exact):
            flags = {**({"byte_fallback": True} if fallback else {}), **({} if exact else {"exact": False})}
            return {"kind": "unigram", **flags, "scores": list(scores)}
        case WholeWords():
            return {"kind": "words"}


_MEMBERS: Final[Mapping[str, tuple[type[Model], Iterable[str]]]] = {
    "bpe": (Bpe, ("merges", "fuse_unknown", "byte_fallback", "whole_words", "prefix", "suffix", "ranks")),
    "wordpiece": (WordPiece, ("prefix", "most_characters")),
    "unigram": (Unigram, ("scores", "byte_fallback", "exact")),
    "words": (WholeWords, ()),
}


def build_model_from_document(document: Mapping[str, Any]) -> Model:
    """Build the model from the member `model` of classifier.json. Raise an InputError if the document is not a model,
    or a value is out of its range."""
    kind = str(document.get("kind"))
    if kind not in _MEMBERS:
        raise InputError(
            f"The kind {short_repr(kind)} of subword model is unknown.", f"Give one of these: {', '.join(_MEMBERS)}."
        )
    made, names = _MEMBERS[kind]
    members = {name: value for name, value in document.items() if name != "kind"}
    if unknown := members.keys() - set(names):
        raise InputError(
            f"A subword model of the kind {kind} cannot have the member `{min(unknown)}`.", "Leave this member out."
        )
    if missing := {"merges", "scores"} & set(names) - members.keys():
        raise InputError(
            f"A subword model of the kind {kind} needs the member `{min(missing)}`, but it is missing.", "Add it."
        )
    # JSON Schema counts 1.0 as an integer.
    if "most_characters" in members:
        members["most_characters"] = int(members["most_characters"])
    for name in {"merges", "ranks"} & members.keys():
        members[name] = tuple(i if type(i) is int else int(i) for i in members[name])
    if "scores" in members:
        members["scores"] = tuple(members["scores"])
    return made(**members)
