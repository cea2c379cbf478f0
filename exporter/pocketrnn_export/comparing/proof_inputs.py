"""Make the inputs of a proof, as cases of ids, and fit cases to the limits of a graph: a grid of shapes, inputs that
often show errors, pairs and texts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import SUBWORDS, AnyTextRules, TextEncoder
from pocketrnn.text.pairs import make_pair_mark

Ids = npt.NDArray[np.int64]
# float32, or float64 for a run in double precision
Logits = npt.NDArray[np.floating[Any]]
# (tokens int64 [batch, sequence], lengths int64 [batch]) -> a row of logits for each text, [batch, classes]; a tagger
# gives a row for each token, [tokens, classes], in the order of the texts
Run = Callable[[Ids, Ids], Logits]
Doubles = npt.NDArray[np.float64]
# The same in double precision.
Run64 = Callable[[Ids, Ids], Doubles]

# Exporters specialise for one row and one step; 7 and 33 do not fill a vector register; 257 is longer than any unrolled
# loop. The sizes of the traced example occur nowhere else in the module. They are not 1, since PyTorch treats a size of
# 1 as a constant.
EXAMPLE_ROWS: Final = 3
EXAMPLE_STEPS: Final = 7
BATCHES: Final = (1, 2, 7, 33)
SEQUENCES: Final = (1, 2, 17, 64, 257)
# The number of tokens in the longest row.
LONGEST: Final = 3_000
# The number of tokens in the largest batch. A GRU with hidden_dim 100 takes about 10 s for one text of this length.
LARGEST: Final = 50_000
# The shapes of the grid whose rows are also run alone: several rows of a medium length.
_NEIGHBOURS: Final = ((7, 17), (7, 64))
# How many random shapes are added to the grid.
_DRAWN: Final = 16
# How often an id with a large embedding vector is repeated.
_REPEATED: Final = (1, 7, 30, 300)
# How many pairs of one size share a batch.
_PAIRS: Final = 3
# How often an id is repeated that a module may take for padding.
_FILLED: Final = (1, 12)
# The numbers of words in the random texts that are used where no texts are given.
MADE_TEXTS: Final = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)


@dataclass(frozen=True)
class Case:
    """One input of a comparison: its name, tokens int64 [batch, sequence], and lengths int64 [batch].

    `sequence` is at least the longest length.
    """

    name: str
    tokens: Ids
    lengths: Ids


@dataclass(frozen=True)
class Widths:
    """How many tokens a text can have under its text rules.

    Texts are cut to `most` tokens. Shorter texts are padded to `least`, on the left if `pad_left`; without `filled`,
    there are no shorter texts.
    """

    least: int = 1
    most: int | None = None
    pad_left: bool = False
    filled: bool = True

    @property
    def fixed(self) -> int | None:
        """The number of tokens of every text, if all texts have equally many; else None."""
        return self.least if self.least == self.most else None

    def clip(self, tokens: int) -> int:
        """Return the nearest number of tokens that a text can have."""
        return max(self.least, min(tokens, self.most or tokens))

    def fit_cases(self, cases: Iterable[Case], padding_id: int, *, pads_some_rows: bool = True) -> list[Case]:
        """Cut or lengthen each row of the cases to a length that a text can have. Return the changed cases, without
        repeated ones.

        A short row is lengthened by its own tokens; with `pads_some_rows`, rows with an even index are padded instead.
        """
        if self.least == 1 and self.most is None:
            return list(cases)
        made: dict[tuple[tuple[int, int], bytes], Case] = {}
        for case in cases:
            if self.most is not None and (case.tokens < 0).any():
                cut = _cut_pairs(case, self.most, padding_id)
                made.setdefault((cut.tokens.shape, cut.tokens.tobytes()), cut)
                continue
            lengths = np.array([self.clip(int(length)) for length in case.lengths], np.int64)
            tokens = np.full((len(lengths), lengths.max()), padding_id, np.int64)
            for row, (length, before) in enumerate(zip(lengths, case.lengths, strict=True)):
                real = case.tokens[row, :before]
                if pads_some_rows and before < length and row % 2 == 0:
                    start = length - before if self.pad_left else 0
                    tokens[row, start : start + before] = real
                else:
                    tokens[row, :length] = np.resize(real, length)
            name = case.name if tokens.shape == case.tokens.shape else f"{case.name}, of {lengths.max()} tokens"
            made.setdefault((tokens.shape, tokens.tobytes()), Case(name, tokens, lengths))
        return list(made.values())


def make_shape_grid(ids: int, padding_id: int, *, ragged: bool) -> list[Case]:
    """Make cases of random tokens for every batch size in `BATCHES` and every length in `SEQUENCES`.

    Args:
        ids: tokens are drawn below this.
        padding_id: the token past a row's length.
        ragged: give rows random lengths, with one full row; else all rows are full.
    """
    generator = np.random.default_rng(0)
    shapes = itertools.product(BATCHES, SEQUENCES)
    return [_make_random_case(generator, batch, sequence, ids, padding_id, ragged=ragged) for batch, sequence in shapes]


def select_cases_for_row_independence(grid: Iterable[Case]) -> list[Case]:
    """Select a few cases of a grid for a further test: each of their rows is also run alone, to see whether its answer
    depends on other rows."""
    return [case for case in grid if case.tokens.shape in _NEIGHBOURS]


def make_random_cases(ids: int, padding_id: int, *, ragged: bool, seed: int = 1) -> list[Case]:
    """Make cases of random batch sizes and lengths. They find errors at sizes that the grid lacks.

    The arguments are those of `make_shape_grid`.
    """
    generator = np.random.default_rng(seed)
    shapes = zip(generator.integers(1, 41, _DRAWN), generator.integers(1, 129, _DRAWN), strict=True)
    return [
        _make_random_case(generator, int(batch), int(sequence), ids, padding_id, ragged=ragged)
        for batch, sequence in shapes
    ]


def make_hazard_cases(
    ids: int,
    special: Sequence[int],
    padding_id: int,
    *,
    ragged: bool,
    extreme_ids: Sequence[int] = (),
    possible_padding_ids: Sequence[int] = (),
) -> list[Case]:
    """Make cases that often show errors of a graph: long rows, large batches, special ids, repeated tokens, padding
    inside of texts and, if `ragged`, uneven lengths.

    Args:
        ids: tokens are drawn below this.
        special: the ids for unknown words, empty texts and padding. 0, 1 and the last id are added.
        padding_id: the token past a row's length; here it also occurs inside texts.
        ragged: add rows of several lengths; else all rows are full.
        extreme_ids: ids with the largest embedding vectors; each is repeated in rows of its own.
        possible_padding_ids: ids that a module may take for padding; each fills rows of its own.
    """
    generator = np.random.default_rng(3)
    few = np.unique(np.clip([*special, padding_id, 0, 1, ids - 1], 0, ids - 1))

    def draw_rows(rows: int, steps: int) -> Ids:
        return generator.integers(0, ids, (rows, steps), dtype=np.int64)

    def draw_mostly_special_rows() -> Ids:
        return np.where(generator.random((9, 40)) < 0.7, generator.choice(few, (9, 40)), draw_rows(9, 40))

    first, second = draw_rows(6, 1), draw_rows(6, 1)
    full = {
        f"a row of {LONGEST:,} steps": draw_rows(1, LONGEST),
        "a batch of 300 rows": draw_rows(300, 9),
        "special ids": draw_mostly_special_rows(),
        "one special id a row": np.repeat(few[:, None], 12, axis=1).astype(np.int64),
        # A module may count an id over the whole batch and change all answers from some count on.
        "rows of one special id beside others": np.concatenate(
            [draw_rows(3, 120), np.repeat(few[:, None], 120, axis=1)]
        ),
        "one token repeated": np.repeat(first, 30, axis=1),
        "two tokens in turn": np.concatenate([first, second] * 15, axis=1),
        "padding at both ends": np.concatenate(
            [np.full((4, 5), padding_id), draw_rows(4, 20), np.full((4, 7), padding_id)], 1
        ),
        "padding inside": np.concatenate([draw_rows(4, 9), np.full((4, 6), padding_id), draw_rows(4, 9)], axis=1),
    }
    for some, what, times in (
        (extreme_ids, "of a large vector", _REPEATED),
        (possible_padding_ids, "that may be padding", _FILLED),
    ):
        column = np.array(some, np.int64)[:, None]
        full |= {f"{n} times an id {what}": np.repeat(column, n, axis=1) for n in (times if some else ())}
    cases = [Case(name, tokens, np.full(len(tokens), tokens.shape[1], np.int64)) for name, tokens in full.items()]
    if not ragged:
        return cases
    uneven = {
        "lengths of 1 beside long ones": (draw_rows(6, 200), [1, 200, 1, 64, 1, 199]),
        "a batch of 300 rows, uneven": (draw_rows(300, 30), [30, *generator.integers(1, 31, 299).tolist()]),
        "special ids, uneven": (draw_mostly_special_rows(), [40, *generator.integers(1, 41, 8).tolist()]),
        "one long row beside short ones": (draw_rows(3, 500), [500, 3, 1]),
    }
    for name, (tokens, some) in uneven.items():
        lengths = np.array(some, np.int64)
        tokens[np.arange(tokens.shape[1]) >= lengths[:, None]] = padding_id
        cases.append(Case(name, tokens, lengths))
    return cases


def make_boundary_cases(sizes: Iterable[tuple[int, int]], ids: int, padding_id: int, *, ragged: bool) -> list[Case]:
    """Make cases of random tokens in the given sizes (batch, tokens), such as those just below and above a size
    condition of the module.

    Args:
        sizes: (batch, sequence) of each case.
        ids, padding_id, ragged: as for `make_shape_grid`.
    """
    generator = np.random.default_rng(4)
    return [_make_random_case(generator, batch, sequence, ids, padding_id, ragged=ragged) for batch, sequence in sizes]


def fit_to_limits(cases: Iterable[Case], limits: Limits | None, padding_id: int) -> list[Case]:
    """Change the cases so that a graph with these limits accepts them. Cases that become equal are kept once.

    Rows that are too long are cut, those that are too short repeat their tokens, and rows beyond the largest batch are
    dropped. If the graph refuses a text of padding only, such a row gets another id as its first token.
    """
    if limits is None:
        return list(cases)
    most = limits.max_batch
    cases = [case if most is None or len(case.lengths) <= most else _select_first_rows(case, most) for case in cases]
    inside = Widths(limits.min_tokens or 1, limits.max_tokens).fit_cases(cases, padding_id, pads_some_rows=False)
    return put_real_token_in_padding_rows(inside, padding_id) if limits.real_token else inside


def _select_first_rows(case: Case, rows: int) -> Case:
    lengths = case.lengths[:rows]
    return Case(f"{case.name}, {rows} of its rows", case.tokens[:rows, : lengths.max()], lengths)


def put_real_token_in_padding_rows(cases: Iterable[Case], padding_id: int) -> list[Case]:
    """In each row of padding only, replace the first id by another id; in a pair, in each text of padding only."""
    made = []
    for case in cases:
        # The tokens past a row's length are padding too.
        empty = (case.tokens == padding_id) | (case.tokens < 0)
        tokens = case.tokens
        if empty.all(1).any():
            tokens = np.where(
                (np.arange(tokens.shape[1]) == 0) & empty.all(1)[:, None], choose_non_padding_id(padding_id), tokens
            )
        if (case.tokens < 0).any():
            tokens = _add_real_tokens_to_pair(case, padding_id)
        made.append(case if tokens is case.tokens else Case(case.name, tokens, case.lengths))
    return made


def _add_real_tokens_to_pair(case: Case, padding_id: int) -> Ids:
    """Return the tokens of pairs, with another id at the start of each text that is only padding."""
    tokens = case.tokens.copy()
    for row, at in zip(tokens, (tokens < 0).argmax(1), strict=True):
        for start, text in ((0, row[:at]), (at + 1, row[at + 1 :])):
            if (text == padding_id).all():
                row[start] = choose_non_padding_id(padding_id)
    return tokens


def convert_to_pairs(case: Case, padding_id: int) -> Case:
    """Return a case whose rows are pairs of texts, for a module that takes two texts: each row is cut in two, with a
    special id, the mark, between. A case of pairs is not changed.

    The place of the cut depends on the length of the row. A row of one id gives two texts of this id.
    """
    if (case.tokens < 0).any():
        return case
    rows = []
    for row, length in zip(case.tokens.tolist(), case.lengths.tolist(), strict=True):
        k = choose_split_position(length)
        rows.append([*row[:k], make_pair_mark(padding_id), *row[k if length > 1 else 0 : length]])
    return make_case_from_rows(case.name, rows, padding_id)


def _cut_pairs(case: Case, most_tokens: int, padding_id: int) -> Case:
    """Cut both texts of each pair to at most `most_tokens` tokens."""
    rows = [row[:length] for row, length in zip(case.tokens.tolist(), case.lengths.tolist(), strict=True)]
    ends = [row.index(make_pair_mark(padding_id)) for row in rows]
    cut = [[*row[: min(at, most_tokens)], *row[at : at + 1 + most_tokens]] for row, at in zip(rows, ends, strict=True)]
    return (
        case if cut == rows else make_case_from_rows(f"{case.name}, of {most_tokens} tokens at most", cut, padding_id)
    )


def make_case_from_rows(name: str, rows: Sequence[Sequence[int]], padding_id: int) -> Case:
    """Make a case of rows of ids. Each row is padded to the longest."""
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.full((len(rows), lengths.max()), padding_id, np.int64)
    for made, row in zip(tokens, rows, strict=True):
        made[: len(row)] = row
    return Case(name, tokens, lengths)


def make_pair_cases(
    cases: Mapping[str, Sequence[Case]], ids: int, padding_id: int, *, ragged: bool
) -> dict[str, list[Case]]:
    """Make the cases, by kind, for the proof of a module that takes two texts.

    They are the given cases as pairs, the same pairs swapped, and pairs of all combinations of the sizes in
    `SEQUENCES`.
    """
    made = {kind: [convert_to_pairs(case, padding_id) for case in some] for kind, some in cases.items()}
    both = {kind: [*some, *(_swap_texts(case, padding_id) for case in some)] for kind, some in made.items()}
    generator = np.random.default_rng(5)
    sizes = [(a, b) for a in SEQUENCES for b in SEQUENCES]

    def join_texts(first: int, second: int) -> list[int]:
        a, b = generator.integers(0, ids, first).tolist(), generator.integers(0, ids, second).tolist()
        return [*a, make_pair_mark(padding_id), *b]

    for first, second in sizes:
        for rows in (1, _PAIRS):
            drawn = [join_texts(first, second) for _ in range(rows)]
            both.setdefault("pairs", []).append(
                make_case_from_rows(f"{rows} pairs of {first} and {second} tokens", drawn, padding_id)
            )
    if ragged:
        uneven = [join_texts(first, second) for first, second in sizes]
        both["pairs"].append(make_case_from_rows("pairs of all these sizes in one batch", uneven, padding_id))
    return both


def _swap_texts(case: Case, padding_id: int) -> Case:
    """Swap the two texts of each pair."""
    rows = [row[:length].tolist() for row, length in zip(case.tokens, case.lengths, strict=True)]
    turned = [[*row[at + 1 :], row[at], *row[:at]] for row in rows for at in [row.index(make_pair_mark(padding_id))]]
    return make_case_from_rows(f"{case.name}, exchanged", turned, padding_id)


def replace_unwanted_ids(cases: Iterable[Case], unwanted: Collection[int], ids: int) -> list[Case]:
    """Replace the ids `unwanted` by other ids in every text. Tokens after the end of a row are not changed."""
    others = np.setdiff1d(np.arange(ids), list(unwanted))
    made = []
    for case in cases:
        places = np.arange(case.tokens.shape[1])
        wrong = np.isin(case.tokens, list(unwanted)) & (places < case.lengths[:, None])
        if wrong.any():
            other = others[np.broadcast_to(places, case.tokens.shape) % len(others)]
            case = Case(case.name, np.where(wrong, other, case.tokens), case.lengths)
        made.append(case)
    return made


def move_ids_run_alone_to_own_cases(
    cases: Sequence[Case], alone: Collection[int], ids: int, *, most: int
) -> list[Case]:
    """Change the cases for a module that must run a text with one of the ids `alone` in a batch of its own.

    In each case, these ids are replaced by others. The original rows with such ids are added as cases of one row, at
    most `most` from each case. If there are no other ids, only cases of one row are returned.
    """
    if not alone:
        return list(cases)
    if len(set(alone)) == ids:
        return [row for case in cases for row in make_one_row_cases([case])[:most]]
    shared, by_themselves = replace_unwanted_ids(cases, alone, ids), []
    for before, after in zip(cases, shared, strict=True):
        changed = (before.tokens != after.tokens).any(1)
        by_themselves += [row for row, wanted in zip(make_one_row_cases([before]), changed, strict=True) if wanted][
            :most
        ]
    return [*shared, *by_themselves]


def choose_non_padding_id(padding_id: int) -> int:
    """Return an id other than the padding id."""
    return int(padding_id == 0)


def choose_split_position(length: int) -> int:
    """Return the number of ids in the first text, if a row of this length is split in two.

    A row of at least 4 ids gives two texts of at least 2 ids: a text of one id is broadcast, and that hides an error in
    the number of ids.
    """
    return 1 if length < 4 else 2 + (length * 2_654_435_761 >> 7) % (length - 3)


def _make_random_case(
    generator: np.random.Generator, batch: int, sequence: int, ids: int, padding_id: int, *, ragged: bool
) -> Case:
    tokens = generator.integers(0, ids, (batch, sequence), dtype=np.int64)
    lengths = np.full(batch, sequence, dtype=np.int64)
    if ragged:
        lengths = generator.integers(1, sequence + 1, batch, dtype=np.int64)
        lengths[generator.integers(batch)] = sequence
        tokens[np.arange(sequence) >= lengths[:, None]] = padding_id
    return Case(f"batch {batch} x sequence {sequence}", tokens, lengths)


def make_one_row_cases(cases: Iterable[Case]) -> list[Case]:
    """Make every row a case, without padding, for a form that takes one text at a time."""
    return [
        Case(f"{case.name}, row {row}", case.tokens[row : row + 1, :length], case.lengths[row : row + 1])
        for case in cases
        for row, length in enumerate(case.lengths)
    ]


def choose_texts_for_proof(
    given: Sequence[str], vocabulary: Sequence[str], rules: AnyTextRules, *, made_too: bool = False
) -> list[str]:
    """Choose the texts of a proof: the given texts, or random texts if none are given; and two texts without a known
    token.

    Args:
        given: the owner's texts.
        vocabulary, rules: the source of random texts.
        made_too: add random texts even if texts are given, and put them first.

    Raises:
        InputError: something in `given` is not a string.
    """
    if isinstance(given, str):
        raise InputError("example_texts is one string, not a list of strings.", "Put the text into a list.")
    if other := [text for text in given if not isinstance(text, str)]:
        raise InputError(f"example_texts holds {short_repr(other[0], 40)}, not a string.", "Give a list of strings.")
    texts = list(given)
    if not texts or made_too:
        texts = [*make_texts_of_random_words(vocabulary, rules, MADE_TEXTS), *texts]
    return [*texts, "", "\N{REPLACEMENT CHARACTER}" * 3]


def make_texts_of_random_words(vocabulary: Sequence[str], rules: AnyTextRules, sizes: Iterable[int]) -> list[str]:
    """Make texts of random words of the vocabulary."""
    generator = np.random.default_rng(0)
    if rules.tokenizer == SUBWORDS:
        return ["".join(map(_convert_piece_to_text, generator.choice(vocabulary, size))).strip() for size in sizes]
    between = "" if rules.tokenizer == "characters" else " "
    return [between.join(generator.choice(vocabulary, size)) for size in sizes]


def choose_pairs_for_proof(
    given: Sequence[tuple[str, str]], vocabulary: Sequence[str], rules: AnyTextRules, *, made_too: bool = False
) -> list[tuple[str, str]]:
    """Choose the pairs of a proof, as `choose_texts_for_proof` chooses texts.

    Random pairs join a short text and a long one. The last pairs have no known token in the first text, the second, or
    both.
    """
    pairs = [(first, second) for first, second in given]
    if not pairs or made_too:
        made = make_texts_of_random_words(vocabulary, rules, MADE_TEXTS)
        pairs = [*zip(made, [*made[4::-1], *made[:4:-1]], strict=True), *pairs]
    unknown = "\N{REPLACEMENT CHARACTER}" * 3
    return [*pairs, ("", pairs[0][0]), (pairs[0][1], unknown), ("", ""), (unknown, unknown)]


def _convert_piece_to_text(piece: str) -> str:
    """Return the text of a subword piece. A piece of BERT's loses its ##. Any other piece gets one space in front, in
    place of its mark of a space."""
    marks = str.maketrans({"\u2581": " ", "\u0120": " "})
    return piece.removeprefix("##") if piece.startswith("##") else " " + str(piece).translate(marks).lstrip()


def encode_text_cases(texts: Sequence[Any], encoder: TextEncoder) -> list[Case]:
    """Encode each text, or pair, as a batch of one row."""
    cases = []
    for i, text in enumerate(texts):
        tokens: Ids = np.array([encoder.encode(text)], dtype=np.int64)
        cases.append(Case(f"text {i}", tokens, np.array([tokens.shape[1]], dtype=np.int64)))
    return cases
