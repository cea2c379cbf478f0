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
    """A batch on which answers are compared: its name, tokens int64 [batch, sequence], and lengths int64 [batch].
    `sequence` may be larger than the longest length."""

    name: str
    tokens: Ids
    lengths: Ids


@dataclass(frozen=True)
class Widths:
    """How many tokens a text can have under its text rules: from `least` to `most`.

    Longer texts are cut to `most` tokens. If `filled`, shorter texts are padded to `least`, on the left if `pad_left`;
    if not, there are no shorter texts.
    """

    least: int = 1
    most: int | None = None
    pad_left: bool = False
    filled: bool = True

    @property
    def fixed(self) -> int | None:
        """The number of tokens of each text if all texts have the same number; otherwise None."""
        return self.least if self.least == self.most else None

    def clip(self, tokens: int) -> int:
        """Return the possible number of tokens of a text that is nearest to `tokens`."""
        return max(self.least, min(tokens, self.most or tokens))

    def fit_cases(self, cases: Iterable[Case], padding_id: int, *, pads_some_rows: bool = True) -> list[Case]:
        """Return the batches (cases) with each row cut or lengthened to a length that a text can have. A short row is
        lengthened by repeating its tokens; with `pads_some_rows`, short rows with an even index are padded instead.
        Batches that become equal are returned once."""
        if self.least == 1 and self.most is None:
            return list(cases)
        made: dict[tuple[tuple[int, int], bytes], Case] = {}
        for case in cases:
            if self.most is not None and (case.tokens < 0).any():
                cut = _shorten_texts_of_pairs(case, self.most, padding_id)
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


def make_cases_for_grid_of_shapes(ids: int, padding_id: int, *, ragged: bool) -> list[Case]:
    """Make batches of random tokens (cases) in a grid of shapes, from one text of 1 token to 33 texts of 257 tokens.

    Args:
        ids: the number of ids; tokens are drawn from 0 to `ids` - 1.
        padding_id: the id that fills the places after a text.
        ragged: whether the texts of a batch have random lengths. One text of each batch always has the full length.
    """
    generator = np.random.default_rng(0)
    shapes = itertools.product(BATCHES, SEQUENCES)
    return [_make_random_case(generator, batch, sequence, ids, padding_id, ragged=ragged) for batch, sequence in shapes]


def select_cases_for_row_independence(grid: Iterable[Case]) -> list[Case]:
    """Select a few batches (cases) of a grid, of 7 medium texts each, on which to test whether the answer to a row
    depends on the other rows of its batch."""
    return [case for case in grid if case.tokens.shape in _NEIGHBOURS]


def make_cases_of_random_shapes(ids: int, padding_id: int, *, ragged: bool, seed: int = 1) -> list[Case]:
    """Make 16 batches of random tokens (cases), of random batch sizes and lengths.

    Args:
        ids: the number of ids; tokens are drawn from 0 to `ids` - 1.
        padding_id: the id that fills the places after a text.
        ragged: whether the texts of a batch have random lengths. One text of each batch always has the full length.
        seed: the seed of the random numbers.
    """
    generator = np.random.default_rng(seed)
    shapes = zip(generator.integers(1, 41, _DRAWN), generator.integers(1, 129, _DRAWN), strict=True)
    return [
        _make_random_case(generator, int(batch), int(sequence), ids, padding_id, ragged=ragged)
        for batch, sequence in shapes
    ]


def make_cases_that_often_show_errors(
    ids: int,
    special: Sequence[int],
    padding_id: int,
    *,
    ragged: bool,
    extreme_ids: Sequence[int] = (),
    possible_padding_ids: Sequence[int] = (),
) -> list[Case]:
    """Make batches of texts (cases) that often show errors of a graph: long texts, large batches, special ids, repeated
    tokens, padding inside of texts and, if `ragged`, several lengths in a batch.

    Args:
        ids: the number of ids; tokens are drawn from 0 to `ids` - 1.
        special: the ids for unknown words, empty texts and padding. 0, 1 and the last id are added.
        padding_id: the id that fills the places after a text. In these batches, it also occurs inside texts.
        ragged: whether to add batches with texts of several lengths.
        extreme_ids: the ids with the longest embedding vectors. For each, some texts consist only of this id.
        possible_padding_ids: ids that a module may take for padding. For each, some texts consist only of this id.
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


def make_cases_of_given_sizes(
    sizes: Iterable[tuple[int, int]], ids: int, padding_id: int, *, ragged: bool
) -> list[Case]:
    """Make a batch of random tokens (case) for each of some sizes. With sizes just below and above a number that
    forward compares with, the batches test both branches of forward.

    Args:
        sizes: the number of texts and the number of tokens of each batch.
        ids: the number of ids; tokens are drawn from 0 to `ids` - 1.
        padding_id: the id that fills the places after a text.
        ragged: whether the texts of a batch have random lengths. One text of each batch always has the full length.
    """
    generator = np.random.default_rng(4)
    return [_make_random_case(generator, batch, sequence, ids, padding_id, ragged=ragged) for batch, sequence in sizes]


def fit_cases_to_graph_limits(cases: Iterable[Case], limits: Limits | None, padding_id: int) -> list[Case]:
    """Return batches (cases) that a graph with the given limits accepts: long texts are cut, short texts repeat their
    tokens, and texts beyond the largest batch size are dropped. If the graph cannot take a text of padding only, such a
    text gets another id as its first token. Batches that become equal are returned once. If `limits` is None, return
    the batches unchanged."""
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
    """Return the batches (cases) with the first id of each text that consists only of padding replaced by another id. A
    row of a batch may be a text or a pair of texts."""
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
    """Return the tokens of a batch of text pairs, with the first id of each text that consists only of padding replaced
    by another id."""
    tokens = case.tokens.copy()
    for row, at in zip(tokens, (tokens < 0).argmax(1), strict=True):
        for start, text in ((0, row[:at]), (at + 1, row[at + 1 :])):
            if (text == padding_id).all():
                row[start] = choose_non_padding_id(padding_id)
    return tokens


def cut_rows_into_text_pairs(case: Case, padding_id: int) -> Case:
    """Return a batch (case) for a module that takes two texts: each row is cut into two texts, with a negative id
    between them. A row of one id gives two texts of this id. A batch of text pairs is returned unchanged."""
    if (case.tokens < 0).any():
        return case
    rows = []
    for row, length in zip(case.tokens.tolist(), case.lengths.tolist(), strict=True):
        k = choose_split_position(length)
        rows.append([*row[:k], make_pair_mark(padding_id), *row[k if length > 1 else 0 : length]])
    return make_case_from_rows(case.name, rows, padding_id)


def _shorten_texts_of_pairs(case: Case, most_tokens: int, padding_id: int) -> Case:
    """Cut both texts of each pair in a batch to at most `most_tokens` tokens."""
    rows = [row[:length] for row, length in zip(case.tokens.tolist(), case.lengths.tolist(), strict=True)]
    ends = [row.index(make_pair_mark(padding_id)) for row in rows]
    cut = [[*row[: min(at, most_tokens)], *row[at : at + 1 + most_tokens]] for row, at in zip(rows, ends, strict=True)]
    return (
        case if cut == rows else make_case_from_rows(f"{case.name}, of {most_tokens} tokens at most", cut, padding_id)
    )


def make_case_from_rows(name: str, rows: Sequence[Sequence[int]], padding_id: int) -> Case:
    """Make a batch (case) of rows of ids, each padded with `padding_id` to the longest. The lengths are those of the
    rows."""
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.full((len(rows), lengths.max()), padding_id, np.int64)
    for made, row in zip(tokens, rows, strict=True):
        made[: len(row)] = row
    return Case(name, tokens, lengths)


def make_cases_for_module_of_two_texts(
    cases: Mapping[str, Sequence[Case]], ids: int, padding_id: int, *, ragged: bool
) -> dict[str, list[Case]]:
    """Make the batches (cases), by kind, for the proof of a module that takes two texts: the given batches with each
    row cut into two texts, these batches with the two texts swapped, and pairs of short and long texts of random ids.

    Args:
        cases: batches of single texts, by kind.
        ids: the number of ids; random tokens are drawn from 0 to `ids` - 1.
        padding_id: the id that fills the places after a text.
        ragged: whether to add a batch with pairs of several lengths.
    """
    made = {kind: [cut_rows_into_text_pairs(case, padding_id) for case in some] for kind, some in cases.items()}
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
    """Return a batch of text pairs with the two texts of each pair swapped."""
    rows = [row[:length].tolist() for row, length in zip(case.tokens, case.lengths, strict=True)]
    turned = [[*row[at + 1 :], row[at], *row[:at]] for row in rows for at in [row.index(make_pair_mark(padding_id))]]
    return make_case_from_rows(f"{case.name}, exchanged", turned, padding_id)


def replace_ids_by_other_ids(cases: Iterable[Case], unwanted: Collection[int], ids: int) -> list[Case]:
    """Return the batches (cases) with the ids in `unwanted` replaced by other ids in every text. Padding after the end
    of a text is not changed. `ids` is the number of all ids."""
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
    """Return the batches (cases) for a module that must run each text with one of the ids in `alone` as a batch of one
    row. In the batches, these ids are replaced by others. The original rows with these ids are added as batches of one
    row, at most `most` from each batch. If `alone` has all `ids` ids, all batches have one row."""
    if not alone:
        return list(cases)
    if len(set(alone)) == ids:
        return [row for case in cases for row in split_cases_into_single_rows([case])[:most]]
    shared, by_themselves = replace_ids_by_other_ids(cases, alone, ids), []
    for before, after in zip(cases, shared, strict=True):
        changed = (before.tokens != after.tokens).any(1)
        by_themselves += [
            row for row, wanted in zip(split_cases_into_single_rows([before]), changed, strict=True) if wanted
        ][:most]
    return [*shared, *by_themselves]


def choose_non_padding_id(padding_id: int) -> int:
    """Return an id that is not the padding id: 1 if the padding id is 0, else 0."""
    return int(padding_id == 0)


def choose_split_position(length: int) -> int:
    """Return the number of ids in the first text if a row of `length` ids is split into two texts. For a length of 4 or
    more, both texts have at least 2 ids, since PyTorch would broadcast a text of one id, which hides errors."""
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


def split_cases_into_single_rows(cases: Iterable[Case]) -> list[Case]:
    """Return a batch (case) of one row for each row of the given batches, without the padding after the row."""
    return [
        Case(f"{case.name}, row {row}", case.tokens[row : row + 1, :length], case.lengths[row : row + 1])
        for case in cases
        for row, length in enumerate(case.lengths)
    ]


def choose_texts_for_proof(
    given: Sequence[str], vocabulary: Sequence[str], rules: AnyTextRules, *, made_too: bool = False
) -> list[str]:
    """Choose the texts of a proof: the given texts, or texts of random words if none are given; and two texts without a
    known token, one of them empty.

    Args:
        given: the user's texts.
        vocabulary: the words of random texts.
        rules: the text rules, which say how words are joined.
        made_too: whether random texts come before the given texts.

    Raises:
        InputError: `given` is one string, or an item of it is not a string.
    """
    if isinstance(given, str):
        raise InputError(
            "`example_texts` is a string, but must be a list of strings.", 'Write it as a list: ["the text"].'
        )
    if other := [text for text in given if not isinstance(text, str)]:
        raise InputError(
            f"`example_texts` holds {short_repr(other[0], 40)}, but must hold only strings.", "Give a list of strings."
        )
    texts = list(given)
    if not texts or made_too:
        texts = [*make_texts_of_random_words(vocabulary, rules, MADE_TEXTS), *texts]
    return [*texts, "", "\N{REPLACEMENT CHARACTER}" * 3]


def make_texts_of_random_words(vocabulary: Sequence[str], rules: AnyTextRules, sizes: Iterable[int]) -> list[str]:
    """Make a text of random words of the vocabulary for each number of words in `sizes`. The text rules decide how the
    words are joined, such as by spaces."""
    generator = np.random.default_rng(0)
    if rules.tokenizer == SUBWORDS:
        return ["".join(map(_convert_piece_to_text, generator.choice(vocabulary, size))).strip() for size in sizes]
    between = "" if rules.tokenizer == "characters" else " "
    return [between.join(generator.choice(vocabulary, size)) for size in sizes]


def choose_pairs_for_proof(
    given: Sequence[tuple[str, str]], vocabulary: Sequence[str], rules: AnyTextRules, *, made_too: bool = False
) -> list[tuple[str, str]]:
    """Choose the text pairs of a proof: the given pairs, or random pairs of a short and a long text if none are given;
    and pairs in which the first text, the second text, or both have no known token.

    Args:
        given: the user's pairs.
        vocabulary: the words of random texts.
        rules: the text rules, which say how words are joined.
        made_too: whether random pairs come before the given pairs.
    """
    pairs = [(first, second) for first, second in given]
    if not pairs or made_too:
        made = make_texts_of_random_words(vocabulary, rules, MADE_TEXTS)
        pairs = [*zip(made, [*made[4::-1], *made[:4:-1]], strict=True), *pairs]
    unknown = "\N{REPLACEMENT CHARACTER}" * 3
    return [*pairs, ("", pairs[0][0]), (pairs[0][1], unknown), ("", ""), (unknown, unknown)]


def _convert_piece_to_text(piece: str) -> str:
    """Return the text that a subword piece stands for. BERT's "##ing" becomes "ing". Any other piece gets a space
    before it, in place of its mark for a space if it has one: "\u2581word" becomes " word"."""
    marks = str.maketrans({"\u2581": " ", "\u0120": " "})
    return piece.removeprefix("##") if piece.startswith("##") else " " + str(piece).translate(marks).lstrip()


def encode_each_text_as_case(texts: Sequence[Any], encoder: TextEncoder) -> list[Case]:
    """Encode each text or pair of texts as a batch (case) with one row of ids."""
    cases = []
    for i, text in enumerate(texts):
        tokens: Ids = np.array([encoder.encode(text)], dtype=np.int64)
        cases.append(Case(f"text {i}", tokens, np.array([tokens.shape[1]], dtype=np.int64)))
    return cases
