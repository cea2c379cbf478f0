"""The inputs of a proof: a grid of shapes, drawn shapes, and texts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.manifest import Limits
from pocketrnn.errors import InputError
from pocketrnn.text import SUBWORDS, AnyTextRules, TextEncoder
from pocketrnn.text.pairs import mark_of

__all__ = [
    "BATCHES",
    "EXAMPLE_ROWS",
    "EXAMPLE_STEPS",
    "LARGEST",
    "LONGEST",
    "MADE_TEXTS",
    "SEQUENCES",
    "Case",
    "Ids",
    "Logits",
    "Run",
    "Widths",
    "answer_rows",
    "apart",
    "as_pairs",
    "bound_cases",
    "case_of_rows",
    "drawn_cases",
    "each_row",
    "hazard_cases",
    "made_texts",
    "neighbour_cases",
    "of_each_text",
    "pair_cases",
    "pairs_for_proof",
    "parting_place",
    "real_id",
    "shape_grid",
    "text_cases",
    "texts_for_proof",
    "with_real_tokens",
    "within",
    "without_ids",
]

Ids = npt.NDArray[np.int64]
# float32, or float64 of a run in double precision
Logits = npt.NDArray[np.floating[Any]]
# (tokens int64 [batch, sequence], lengths int64 [batch]) -> a row of logits for each text, [batch, classes]; or, where
# the labels are of tokens, for each token of each text, [tokens, classes], one text's after the other's
Run = Callable[[Ids, Ids], Logits]

# One row and one step are where exporters specialise; 7 and 33 fill no vector register; 257 outlasts any unrolling.
# A module is traced on sizes that occur nowhere else in it, and are not 1, which PyTorch takes for a constant.
EXAMPLE_ROWS: Final = 3
EXAMPLE_STEPS: Final = 7
BATCHES: Final = (1, 2, 7, 33)
SEQUENCES: Final = (1, 2, 17, 64, 257)
# The tokens of the longest row.
LONGEST: Final = 3_000
# Tokens of the largest batch that is looked at. A GRU of 100 takes about 10 s for as many steps of one text.
LARGEST: Final = 50_000
# The shapes of the grid on which each row is also run alone: several rows, and neither very short nor long to run.
_NEIGHBOURS: Final = ((7, 17), (7, 64))
# How many shapes are drawn besides the grid.
_DRAWN: Final = 16
# How often an id of a large vector is repeated.
_REPEATED: Final = (1, 7, 30, 300)
# How many pairs of one size share a batch.
_PAIRS: Final = 3
# And one that a module may take for padding.
_FILLED: Final = (1, 12)
# How many words the texts have that are made where none are given.
MADE_TEXTS: Final = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)


@dataclass(frozen=True)
class Case:
    """One run: its name, tokens int64 [batch, sequence], lengths int64 [batch], the longest of which is `sequence`."""

    name: str
    tokens: Ids
    lengths: Ids


@dataclass(frozen=True)
class Widths:
    """How many tokens a text can have, as its text rules say: all are padded to `least`, on the left where `pad_left`,
    and cut to `most`. Where not `filled` there is no shorter text.

    Example:
        >>> Widths(least=20, most=20).fixed
        20
    """

    least: int = 1
    most: int | None = None
    pad_left: bool = False
    filled: bool = True

    @property
    def fixed(self) -> int | None:
        """The one number of tokens that every text has; None where texts differ."""
        return self.least if self.least == self.most else None

    def clip(self, tokens: int) -> int:
        """The nearest number of tokens that a text can have."""
        return max(self.least, min(tokens, self.most or tokens))

    def fitted(self, cases: Iterable[Case], padding_id: int, *, padded: bool = True) -> list[Case]:
        """The cases with every row cut to what a text can have, and repeated to it, or `padded` by turns; each once."""
        if self.least == 1 and self.most is None:
            return list(cases)
        made: dict[tuple[tuple[int, int], bytes], Case] = {}
        for case in cases:
            lengths = np.array([self.clip(int(length)) for length in case.lengths], np.int64)
            tokens = np.full((len(lengths), lengths.max()), padding_id, np.int64)
            for row, (length, before) in enumerate(zip(lengths, case.lengths, strict=True)):
                real = case.tokens[row, :before]
                if padded and before < length and row % 2 == 0:
                    start = length - before if self.pad_left else 0
                    tokens[row, start : start + before] = real
                else:
                    tokens[row, :length] = np.resize(real, length)
            name = case.name if tokens.shape == case.tokens.shape else f"{case.name}, of {lengths.max()} tokens"
            made.setdefault((tokens.shape, tokens.tobytes()), Case(name, tokens, lengths))
        return list(made.values())


def answer_rows(answer: Any, lengths: Ids) -> Any:
    """The rows of an answer that count: all of [batch, classes]; of [batch, sequence, classes] those of the texts' own
    tokens, as [tokens, classes]. A token to which a module has no answer, since it counts fewer itself, gets NaN.

    Args:
        answer: what a module or a graph gives.
        lengths: int64 [batch].

    Example:
        >>> answer_rows(np.zeros((2, 3, 4)), np.array([3, 1])).shape
        (4, 4)
    """
    if answer.ndim != 3:
        return answer
    missing = int(lengths.max()) - answer.shape[1]
    if missing > 0:
        answer = np.pad(answer, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)
    return answer[np.arange(answer.shape[1]) < lengths[:, None]]


def of_each_text(rows: Any, lengths: Ids) -> list[Any]:
    """The rows of an answer, or what was measured of each row, text by text.

    Args:
        rows: [batch, ...], or [tokens, ...] as `answer_rows` gives them.
        lengths: int64 [batch].

    Raises:
        ValueError: they are neither.

    Example:
        >>> [len(part) for part in of_each_text(np.zeros((4, 2)), np.array([3, 1]))]
        [3, 1]
    """
    if len(rows) == len(lengths):
        return [rows[i : i + 1] for i in range(len(rows))]
    if len(rows) != lengths.sum():
        raise ValueError(f"{len(rows)} rows for lengths {lengths}")
    return np.split(rows, np.cumsum(lengths)[:-1])


def shape_grid(ids: int, padding_id: int, *, ragged: bool, seed: int = 0) -> list[Case]:
    """Cases for every batch in `BATCHES` and sequence in `SEQUENCES`, of random tokens.

    Args:
        ids: tokens are drawn below this.
        padding_id: the token past a row's length.
        ragged: rows of random lengths, one of them full; else all rows are full.
        seed: of the random tokens and lengths.

    Example:
        >>> [case.tokens.shape for case in shape_grid(50, 1, ragged=True)][:3]
        [(1, 1), (1, 2), (1, 17)]
    """
    generator = np.random.default_rng(seed)
    shapes = itertools.product(BATCHES, SEQUENCES)
    return [_case(generator, batch, sequence, ids, padding_id, ragged=ragged) for batch, sequence in shapes]


def neighbour_cases(grid: Iterable[Case]) -> list[Case]:
    """The cases of a grid that show whether a row's answer depends on its neighbours.

    Example:
        >>> [case.name for case in neighbour_cases(shape_grid(50, 1, ragged=True))]
        ['batch 7 x sequence 17', 'batch 7 x sequence 64']
    """
    return [case for case in grid if case.tokens.shape in _NEIGHBOURS]


def drawn_cases(ids: int, padding_id: int, *, ragged: bool, seed: int = 1) -> list[Case]:
    """Cases whose batch and sequence are drawn too, so that no shape is special; arguments as for `shape_grid`.

    Example:
        >>> len(drawn_cases(50, 1, ragged=True))
        16
    """
    generator = np.random.default_rng(seed)
    shapes = zip(generator.integers(1, 41, _DRAWN), generator.integers(1, 129, _DRAWN), strict=True)
    return [_case(generator, int(batch), int(sequence), ids, padding_id, ragged=ragged) for batch, sequence in shapes]


def hazard_cases(
    ids: int,
    special: Sequence[int],
    padding_id: int,
    *,
    ragged: bool,
    loud: Sequence[int] = (),
    tried: Sequence[int] = (),
    seed: int = 3,
) -> list[Case]:
    """Cases where graphs go wrong: long rows, large batches, special ids, repeated tokens, uneven lengths.

    Args:
        ids: tokens are drawn below this.
        special: ids that mean something: of unknown words, of empty texts, of padding. 0, 1 and the last id are added.
        padding_id: the token past a row's length, which also stands inside texts here.
        ragged: rows of several lengths; else all rows are full.
        loud: ids whose vectors are the largest, each of which is repeated in rows of its own.
        tried: ids that a module may take for padding, each of which fills rows of its own.
        seed: of the random tokens.

    Example:
        >>> [case.name for case in hazard_cases(50, [0], 1, ragged=False)][:2]
        ['a row of 3,000 steps', 'a batch of 300 rows']
    """
    generator = np.random.default_rng(seed)
    few = np.unique(np.clip([*special, padding_id, 0, 1, ids - 1], 0, ids - 1))

    def drawn(rows: int, steps: int) -> Ids:
        return generator.integers(0, ids, (rows, steps), dtype=np.int64)

    def mostly_special(rows: int, steps: int) -> Ids:
        return np.where(generator.random((rows, steps)) < 0.7, generator.choice(few, (rows, steps)), drawn(rows, steps))

    first, second = drawn(6, 1), drawn(6, 1)
    full = {
        f"a row of {LONGEST:,} steps": drawn(1, LONGEST),
        "a batch of 300 rows": drawn(300, 9),
        "special ids": mostly_special(9, 40),
        "one special id a row": np.repeat(few[:, None], 12, axis=1).astype(np.int64),
        # A module may count an id in all rows of a batch, and change its answer to all from some number on.
        "rows of one special id beside others": np.concatenate([drawn(3, 120), np.repeat(few[:, None], 120, axis=1)]),
        "one token repeated": np.repeat(first, 30, axis=1),
        "two tokens in turn": np.concatenate([first, second] * 15, axis=1),
        "padding at both ends": np.concatenate(
            [np.full((4, 5), padding_id), drawn(4, 20), np.full((4, 7), padding_id)], 1
        ),
        "padding inside": np.concatenate([drawn(4, 9), np.full((4, 6), padding_id), drawn(4, 9)], axis=1),
    }
    if loud:
        column = np.array(loud, np.int64)[:, None]
        full |= {f"{steps} times an id of a large vector": np.repeat(column, steps, axis=1) for steps in _REPEATED}
    if tried:
        column = np.array(tried, np.int64)[:, None]
        full |= {f"{steps} times an id that may be padding": np.repeat(column, steps, axis=1) for steps in _FILLED}
    cases = [Case(name, tokens, np.full(len(tokens), tokens.shape[1], np.int64)) for name, tokens in full.items()]
    if not ragged:
        return cases
    uneven = {
        "lengths of 1 beside long ones": (drawn(6, 200), [1, 200, 1, 64, 1, 199]),
        "a batch of 300 rows, uneven": (drawn(300, 30), [30, *generator.integers(1, 31, 299).tolist()]),
        "special ids, uneven": (mostly_special(9, 40), [40, *generator.integers(1, 41, 8).tolist()]),
        "one long row beside short ones": (drawn(3, 500), [500, 3, 1]),
    }
    for name, (tokens, some) in uneven.items():
        lengths = np.array(some, np.int64)
        tokens[np.arange(tokens.shape[1]) >= lengths[:, None]] = padding_id
        cases.append(Case(name, tokens, lengths))
    return cases


def bound_cases(
    sizes: Iterable[tuple[int, int]], ids: int, padding_id: int, *, ragged: bool, seed: int = 4
) -> list[Case]:
    """Cases of given sizes: those on both sides of what a module asks about a size.

    Args:
        sizes: (batch, sequence) of each case.
        ids, padding_id, ragged, seed: as for `shape_grid`.

    Example:
        >>> [case.tokens.shape for case in bound_cases([(3, 512), (3, 513)], 50, 1, ragged=False)]
        [(3, 512), (3, 513)]
    """
    generator = np.random.default_rng(seed)
    return [_case(generator, batch, sequence, ids, padding_id, ragged=ragged) for batch, sequence in sizes]


def within(cases: Iterable[Case], limits: Limits | None, padding_id: int) -> list[Case]:
    """The cases as a graph of such limits takes them: longer rows are cut, shorter ones repeated, and rows beyond the
    largest batch left out. No case is left out, so that a graph that takes 700 tokens is asked about 700.

    Where it takes no text of padding only, such a row begins with another id.

    Example:
        >>> within([Case("long", np.ones((1, 600), int), np.array([600]))], Limits(max_tokens=512), 0)[0].tokens.shape
        (1, 512)
    """
    if limits is None:
        return list(cases)
    most = limits.max_batch
    cases = [case if most is None or len(case.lengths) <= most else _first_rows(case, most) for case in cases]
    inside = Widths(limits.min_tokens or 1, limits.max_tokens).fitted(cases, padding_id, padded=False)
    return with_real_tokens(inside, padding_id) if limits.real_token else inside


def _first_rows(case: Case, rows: int) -> Case:
    lengths = case.lengths[:rows]
    return Case(f"{case.name}, {rows} of its rows", case.tokens[:rows, : lengths.max()], lengths)


def with_real_tokens(cases: Iterable[Case], padding_id: int) -> list[Case]:
    """The cases, with another id at the begin of each row, or each text of a pair, that holds the padding only.

    Example:
        >>> with_real_tokens([Case("two", np.array([[0, 0], [0, 7]]), np.array([2, 2]))], 0)[0].tokens.tolist()
        [[1, 0], [0, 7]]
    """
    made = []
    for case in cases:
        # Past a row's length stands the padding too.
        empty = (case.tokens == padding_id) | (case.tokens < 0)
        tokens = case.tokens
        if empty.all(1).any():
            tokens = np.where((np.arange(tokens.shape[1]) == 0) & empty.all(1)[:, None], real_id(padding_id), tokens)
        if (case.tokens < 0).any():
            tokens = _both_with_real_tokens(case, padding_id)
        made.append(case if tokens is case.tokens else Case(case.name, tokens, case.lengths))
    return made


def _both_with_real_tokens(case: Case, padding_id: int) -> Ids:
    tokens = case.tokens.copy()
    for row, at in zip(tokens, (tokens < 0).argmax(1), strict=True):
        for start, text in ((0, row[:at]), (at + 1, row[at + 1 :])):
            if (text == padding_id).all():
                row[start] = real_id(padding_id)
    return tokens


def as_pairs(case: Case, padding_id: int) -> Case:
    """A case whose rows are pairs of texts: each is parted by a mark, at a place that follows from its length. A row of
    one id becomes both texts; one that holds a mark stays as it is.

    Args:
        case: the case.
        padding_id: what stands behind a row.

    Example:
        >>> as_pairs(Case("one", np.array([[5, 6, 7], [8, 0, 0]]), np.array([3, 1])), 0).tokens.tolist()
        [[5, -1, 6, 7], [8, -1, 8, 0]]
    """
    if (case.tokens < 0).any():
        return case
    rows = []
    for row, length in zip(case.tokens.tolist(), case.lengths.tolist(), strict=True):
        k = parting_place(length)
        rows.append([*row[:k], mark_of(padding_id), *row[k if length > 1 else 0 : length]])
    return case_of_rows(case.name, rows, padding_id)


def case_of_rows(name: str, rows: Sequence[Sequence[int]], padding_id: int) -> Case:
    """A case of rows of ids of several lengths."""
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.full((len(rows), lengths.max()), padding_id, np.int64)
    for made, row in zip(tokens, rows, strict=True):
        made[: len(row)] = row
    return Case(name, tokens, lengths)


def pair_cases(
    cases: Mapping[str, Sequence[Case]], ids: int, padding_id: int, *, ragged: bool
) -> dict[str, list[Case]]:
    """The inputs of a proof of a module that takes two texts, by kind: the given ones as pairs, and with their texts
    exchanged; and pairs whose texts have all sizes of `SEQUENCES` beside each other.

    Args:
        cases: by kind, of rows of ids.
        ids: how many there are.
        padding_id: what stands behind a row.
        ragged: whether pairs of several lengths share a batch.

    Example:
        >>> found = pair_cases({"every id": [Case("two", np.array([[5, 6]]), np.array([2]))]}, 9, 0, ragged=False)
        >>> [case.tokens.tolist() for case in found["every id"]]
        [[[5, -1, 6]], [[6, -1, 5]]]
    """
    made = {kind: [as_pairs(case, padding_id) for case in some] for kind, some in cases.items()}
    both = {kind: [*some, *(_exchanged(case, padding_id) for case in some)] for kind, some in made.items()}
    generator = np.random.default_rng(5)
    sizes = [(a, b) for a in SEQUENCES for b in SEQUENCES]

    def pair(first: int, second: int) -> list[int]:
        a, b = generator.integers(0, ids, first).tolist(), generator.integers(0, ids, second).tolist()
        return [*a, mark_of(padding_id), *b]

    for first, second in sizes:
        for rows in (1, _PAIRS):
            drawn = [pair(first, second) for _ in range(rows)]
            both.setdefault("pairs", []).append(
                case_of_rows(f"{rows} pairs of {first} and {second} tokens", drawn, padding_id)
            )
    if ragged:
        uneven = [pair(first, second) for first, second in sizes]
        both["pairs"].append(case_of_rows("pairs of all these sizes in one batch", uneven, padding_id))
    return both


def _exchanged(case: Case, padding_id: int) -> Case:
    """The same pairs, the second text of each first."""
    rows = [row[:length].tolist() for row, length in zip(case.tokens, case.lengths, strict=True)]
    turned = [[*row[at + 1 :], row[at], *row[:at]] for row in rows for at in [row.index(mark_of(padding_id))]]
    return case_of_rows(f"{case.name}, exchanged", turned, padding_id)


def without_ids(cases: Iterable[Case], unwanted: Collection[int], ids: int) -> list[Case]:
    """The cases with other ids in the place of some; what is after a row's length stays.

    Args:
        cases: the cases.
        unwanted: the ids that no text is to hold.
        ids: how many ids there are, more than these.

    Example:
        >>> without_ids([Case("two", np.array([[0, 5], [6, 0]]), np.array([2, 1]))], [0, 5], 8)[0].tokens.tolist()
        [[1, 2], [6, 0]]
    """
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


def apart(cases: Sequence[Case], alone: Collection[int], ids: int, *, most: int) -> list[Case]:
    """The cases as a graph is asked them of which texts with some ids take a run of their own: with other ids in their
    place; and after them up to `most` of each case's rows that hold one, each by itself. Where there are no other ids,
    those rows only.

    Example:
        >>> two = Case("two", np.array([[0], [5]]), np.array([1, 1]))
        >>> [case.tokens.tolist() for case in apart([two], [0], 8, most=1)]
        [[[1], [5]], [[0]]]
    """
    if not alone:
        return list(cases)
    if len(set(alone)) == ids:
        return [row for case in cases for row in each_row([case])[:most]]
    shared, by_themselves = without_ids(cases, alone, ids), []
    for before, after in zip(cases, shared, strict=True):
        changed = (before.tokens != after.tokens).any(1)
        by_themselves += [row for row, wanted in zip(each_row([before]), changed, strict=True) if wanted][:most]
    return [*shared, *by_themselves]


def real_id(padding_id: int) -> int:
    """An id that is not the padding's."""
    return int(padding_id == 0)


def parting_place(length: int) -> int:
    """Where a row of so many ids is parted into two texts: how many the first has. From 4 ids on both have 2 at least,
    since what is wrong with their number is hidden by a text of one, which is broadcast.

    Example:
        >>> [parting_place(length) for length in (2, 5, 7, 29, 31)]
        [1, 3, 4, 11, 15]
    """
    return 1 if length < 4 else 2 + (length * 2_654_435_761 >> 7) % (length - 3)


def _case(
    generator: np.random.Generator, batch: int, sequence: int, ids: int, padding_id: int, *, ragged: bool
) -> Case:
    tokens = generator.integers(0, ids, (batch, sequence), dtype=np.int64)
    lengths = np.full(batch, sequence, dtype=np.int64)
    if ragged:
        lengths = generator.integers(1, sequence + 1, batch, dtype=np.int64)
        lengths[generator.integers(batch)] = sequence
        tokens[np.arange(sequence) >= lengths[:, None]] = padding_id
    return Case(f"batch {batch} x sequence {sequence}", tokens, lengths)


def each_row(cases: Iterable[Case]) -> list[Case]:
    """Every row of the cases as a case of its own, without its padding: for a form that takes one text at a time.

    Example:
        >>> [case.tokens.shape for case in each_row([Case("two", np.ones((2, 3), int), np.array([3, 1]))])]
        [(1, 3), (1, 1)]
    """
    return [
        Case(f"{case.name}, row {row}", case.tokens[row : row + 1, :length], case.lengths[row : row + 1])
        for case in cases
        for row, length in enumerate(case.lengths)
    ]


def texts_for_proof(
    given: Sequence[str], vocabulary: Sequence[str], rules: AnyTextRules, *, made_too: bool = False
) -> list[str]:
    """The given texts, or made ones; after them two texts without a known token, which every runtime will meet.

    Args:
        given: texts of the owner's.
        vocabulary, rules: what texts are made of.
        made_too: make some even where there are given ones, and put them first.

    Raises:
        InputError: something in `given` is not a string.

    Example:
        >>> texts_for_proof(["oil prices"], ["<unk>"], TextRules())[:2]
        ['oil prices', '']
    """
    if isinstance(given, str) or not all(isinstance(text, str) for text in given):
        raise InputError("example_texts holds something that is not a string.", "Give a list of strings.")
    texts = list(given)
    if not texts or made_too:
        texts = [*made_texts(vocabulary, rules, MADE_TEXTS), *texts]
    return [*texts, "", "\N{REPLACEMENT CHARACTER}" * 3]


def made_texts(vocabulary: Sequence[str], rules: AnyTextRules, sizes: Iterable[int]) -> list[str]:
    """Texts of words of the vocabulary, drawn at random.

    Example:
        >>> made_texts(["oil"], TextRules(), [2])
        ['oil oil']
    """
    generator = np.random.default_rng(0)
    if rules.tokenizer == SUBWORDS:
        return ["".join(map(_as_in_a_text, generator.choice(vocabulary, size))).strip() for size in sizes]
    between = "" if rules.tokenizer == "characters" else " "
    return [between.join(generator.choice(vocabulary, size)) for size in sizes]


def pairs_for_proof(
    given: Sequence[tuple[str, str]], vocabulary: Sequence[str], rules: AnyTextRules, *, made_too: bool = False
) -> list[tuple[str, str]]:
    """As `texts_for_proof`, for pairs of texts: made ones are short beside long, and the last have no known token in
    the first, the second, or both.

    Example:
        >>> pairs_for_proof([("oil", "gas")], ["<unk>"], TextRules())[:2]
        [('oil', 'gas'), ('', 'oil')]
    """
    pairs = [(first, second) for first, second in given]
    if not pairs or made_too:
        made = made_texts(vocabulary, rules, MADE_TEXTS)
        pairs = [*zip(made, [*made[4::-1], *made[:4:-1]], strict=True), *pairs]
    unknown = "\N{REPLACEMENT CHARACTER}" * 3
    return [*pairs, ("", pairs[0][0]), (pairs[0][1], unknown), ("", ""), (unknown, unknown)]


def _as_in_a_text(piece: str) -> str:
    """A piece without what says where in a word it stands: BERT's ##, sentencepiece's and GPT-2's mark of a space."""
    marks = str.maketrans({"\u2581": " ", "\u0120": " "})
    return piece.removeprefix("##") if piece.startswith("##") else " " + str(piece).translate(marks).lstrip()


def text_cases(texts: Sequence[Any], encoder: TextEncoder) -> list[Case]:
    """Each text, or pair, as a batch of its own.

    Example:
        >>> encoder = TextEncoder(TextRules(), ["<unk>", "oil"])
        >>> text_cases(["oil oil"], encoder)[0].tokens.tolist()
        [[1, 1]]
    """
    cases = []
    for i, text in enumerate(texts):
        tokens: Ids = np.array([encoder.encode(text)], dtype=np.int64)
        cases.append(Case(f"text {i}", tokens, np.array([tokens.shape[1]], dtype=np.int64)))
    return cases
