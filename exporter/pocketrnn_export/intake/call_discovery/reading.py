"""Where in an answer the logits are."""

from __future__ import annotations

import contextlib
import enum
import functools
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.computed_parts import Uncalled, computed_parts
from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts

__all__ = [
    "Counts",
    "Known",
    "Place",
    "counts_of",
    "leaves_of",
    "no_place",
    "numbers_of_each",
    "places_of",
    "unread_in",
]

# So deep are lists, dicts and objects in an answer looked into.
_DEEPEST: Final = 8
# The types that hold no output.
_PLAIN: Final = (
    types.NoneType, bool, int, float, complex, str, bytes, range, enum.Enum, np.generic, torch.dtype, torch.device,
    torch.Size,
)  # fmt: skip
# The types that give an output only when they are called.
_CODE: Final = (
    type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial,
    nn.Module,
)  # fmt: skip

_LABELLED: Final = "To have each token labelled: --labels-of tokens, or labels_of='tokens'. "
# The advice where a module may give labels and not their numbers.
_DECODED: Final = (
    " If a CRF decodes them, export what goes into it, the emissions, by the method that makes them: --call "
    '"module.emissions(tokens)", say.'
)
# Tokens [batch, sequence], and what the module answers to them.
Known = tuple[Tensor, Any]


@dataclass(frozen=True)
class Counts:
    """How many numbers for each text the outputs of a module hold, by what is written behind the call to reach each.

    Attributes:
        fixed: of those that hold as many for texts of every length.
        following: those that hold another number of them for other lengths.
        one_length: the number of tokens, where the module answers texts of one length only.
    """

    fixed: dict[str, int]
    following: tuple[str, ...]
    one_length: int | None

    def may_follow(self, suffix: str) -> bool:
        """Whether an output may hold a number for each token, as far as is known."""
        return suffix in self.following or self.fixed.get(suffix) == self.one_length


def counts_of(asked: ModuleFacts, known: Sequence[Known]) -> Counts:
    """How many numbers for each text the outputs of a module hold.

    Args:
        asked: the module, and what is known of it.
        known: tokens [batch, sequence], each with the module's answer.

    Example:
        >>> counts_of(asked, [(tokens, (logits, weights)) for tokens, logits, weights in asked_at]).fixed
        {'[0]': 4}
    """
    found: dict[str, list[int]] = {}
    others: set[str] = set()
    for tokens, answer in known:
        for suffix, leaf in leaves_of(answer):
            if (n := numbers_of_each(leaf, len(tokens), values=asked.values)) is not None:
                found.setdefault(suffix, []).append(n)
            elif len(tokens) != len(known[0][0]):
                # Its first axis is not that of the texts: it was as long by chance.
                others.add(suffix)
    found = {suffix: counts for suffix, counts in found.items() if suffix not in others}
    lengths = {tokens.shape[1] for tokens, _ in known}
    return Counts(
        {suffix: counts[0] for suffix, counts in found.items() if len(set(counts)) == 1},
        tuple(suffix for suffix, counts in found.items() if len(set(counts)) > 1),
        lengths.pop() if len(lengths) == 1 else None,
    )


@dataclass(frozen=True)
class Place:
    """Where in an answer the numbers are.

    Attributes:
        suffix: what is written behind the call to reach the tensor.
        units: how many numbers it has for each text, or each token.
        arranged: what is written behind that to bring its axes into their order.
    """

    suffix: str
    units: int
    arranged: str = ""


def places_of(asked: ModuleFacts, known: Sequence[Known], *, suffixes: bool) -> list[Place]:
    """The places of [rows, units] in an answer, or of [rows, sequence, units] in any order of the axes; several places
    that say the same count once.

    Args:
        asked: the module, and what is known of it.
        known: tokens of as many rows each, with the module's answers.
        suffixes: whether parts of an answer are looked at.
    """
    leaves, rows = [dict(leaves_of(answer)) for _, answer in known], len(known[0][0])
    units = [asked.classes]
    if asked.classes == 2 and not asked.multi_label and not asked.values:
        units.append(1)
    widths = [tokens.shape[1] for tokens, _ in known]
    places: list[Place] = []
    for wanted in units:
        asked_for = [suffix for suffix in leaves[0] if suffixes or not suffix]
        if asked.of_tokens:
            found = [
                Place(suffix, wanted, arranged)
                for suffix in asked_for
                for arranged, shapes in _arrangements(rows, wanted, widths).items()
                if all(
                    tuple(leaf[suffix].shape) in of for leaf, of in zip(leaves, shapes, strict=True) if suffix in leaf
                )
                and all(suffix in leaf for leaf in leaves)
            ]
        else:
            found = [
                Place(suffix, wanted)
                for suffix in asked_for
                if all(_holds(leaf.get(suffix), rows, wanted, asked) for leaf in leaves)
            ]
        # Beside the scores some give the labels themselves, as whole numbers.
        scores = [
            place
            for place in found
            if not all(torch.equal(leaf[place.suffix], leaf[place.suffix].round()) for leaf in leaves)
        ]
        # Where there are two labels, one number and two may both be the answer.
        places += scores or found
    return places


def _arrangements(rows: int, units: int, widths: Sequence[int]) -> dict[str, list[set[tuple[int, ...]]]]:
    """The code that brings the numbers of tokens to [rows, sequence, units], with the shapes that it takes by width;
    of one text to [sequence, units]."""
    flat, across = f".reshape(tokens.size(0), -1, {units})", f".reshape(tokens.size(1), -1, {units}).transpose(0, 1)"
    made: dict[str, list[set[tuple[int, ...]]]] = {
        "": [{(rows, n, units)} | ({(n, units), (n, 1, units)} if rows == 1 else set()) for n in widths],
        ".transpose(-1, -2)": [{(rows, units, n)} | ({(units, n)} if rows == 1 else set()) for n in widths],
    }
    if units == 1:
        made[""] = [{*shapes, (rows, n)} for shapes, n in zip(made[""], widths, strict=True)]
    if rows > 1:
        made[".transpose(0, 1)"] = [{(n, rows, units)} | ({(n, rows)} if units == 1 else set()) for n in widths]
        made[flat] = made[across] = [{(rows * n, units)} for n in widths]
    return made


def _holds(leaf: Tensor | None, rows: int, units: int, asked: ModuleFacts) -> bool:
    return leaf is not None and numbers_of_each(leaf, rows, values=asked.values) == units


def leaves_of(answer: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of floating-point numbers in an answer, by what is written behind the call to reach each.

    Example:
        >>> [suffix for suffix, _ in leaves_of({"heads": [logits, SimpleNamespace(mood=mood)]})]
        ["['heads'][0]", "['heads'][1].mood"]
    """
    for suffix, part in _parts_of(answer, "", _DEEPEST, set()):
        if isinstance(part, Tensor) and part.is_floating_point():
            yield suffix, part


def unread_in(answer: Any) -> Iterator[tuple[str, str]]:
    """The parts of an answer that are not looked into, each with its kind, by the text to write behind the call to
        reach
    it: parts that lie too deep, or are a generator, a set, an array of NumPy, a function.

    Example:
        >>> list(unread_in((logits, (head(state) for head in heads))))
        [('[1]', 'generator')]
    """
    for suffix, part in _parts_of(answer, "", _DEEPEST, set()):
        if isinstance(part, Uncalled):
            yield suffix, "computed when it is asked"
        elif not isinstance(part, Tensor):
            yield suffix, type(part).__name__


def _parts_of(value: Any, suffix: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The tensors in a value, and whatever else is not looked into; each container once."""
    if isinstance(value, _PLAIN) or id(value) in seen:
        return
    if isinstance(value, Set) and all(isinstance(part, _PLAIN) for part in value):
        return
    inside = None if isinstance(value, Uncalled) else _inside(value)
    if isinstance(value, Tensor) or inside is None or (inside and depth == 0):
        yield suffix, value
    if inside and depth > 0:
        seen.add(id(value))
        for written, part in inside:
            yield from _parts_of(part, suffix + written, depth - 1, seen)
    if depth > 1 and not isinstance(value, _CODE):
        for written, part in computed_parts(value, {id(part) for _, part in inside or ()}):
            # It is another object each time, and looked into once.
            yield from _parts_of(part, suffix + written, 1, set(seen))


def _inside(value: Any) -> list[tuple[str, Any]] | None:
    """The values that a value holds, each with the text to write behind it to reach it: by its keys, by its places,
    then by its attributes. None where it is not looked into."""
    if isinstance(value, Mapping):
        items = [(f"[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, Sequence):
        items = [(f"[{i}]", part) for i, part in enumerate(value)]
    else:
        items = []
    attributes = _attributes(value)
    if attributes is None:
        return items if isinstance(value, Mapping | Sequence) else None
    held = {id(part) for _, part in items}
    return items + [(f".{name}", part) for name, part in attributes.items() if id(part) not in held]


def _attributes(value: Any) -> dict[str, Any] | None:
    """The attributes that an object keeps, without a call of its code; None where it keeps none, or is itself code. One
    that a property hides is none of them."""
    if isinstance(value, _CODE):
        return None
    slots = {
        name: slot
        for kind in type(value).__mro__
        if "__slots__" in vars(kind)
        for name, slot in vars(kind).items()
        if isinstance(slot, types.MemberDescriptorType)
    }
    kept: dict[str, Any] = {}
    for name, slot in slots.items():
        # One that was never assigned has no value.
        with contextlib.suppress(AttributeError):
            kept[name] = slot.__get__(value)
    try:
        kept |= object.__getattribute__(value, "__dict__")
    except AttributeError:
        return kept if slots else None
    hidden = {name for name in kept if isinstance(inspect.getattr_static(type(value), name, None), property)}
    return {name: part for name, part in kept.items() if name.isidentifier() and name not in hidden}


def numbers_of_each(leaf: Tensor, rows: int, *, values: bool) -> int | None:
    """How many numbers a tensor holds for each of so many texts; None where it holds something else.

    Example:
        >>> numbers_of_each(torch.zeros(1, 3, 4), 3, values=False)
        4
    """
    shape, n = tuple(leaf.shape), leaf.numel() // rows
    if shape in {(rows, n), (1, rows, n), (rows, 1, n), (rows, n, 1), (1, rows, n, 1)}:
        return n
    if (shape == (rows,) and rows > 1) or (rows == 1 and len(shape) < 2):
        return n
    # A horizon of several values each; no number of steps, which is asked at other lengths.
    return n if values and len(shape) == 3 and shape[0] == rows else None


def no_place(known: Sequence[Known], asked: ModuleFacts) -> tuple[str, str]:
    """The problem with answers to tokens [batch, sequence] of which none is [batch, classes], and the advice."""
    tokens, answer = known[0]
    leaves = dict(leaves_of(answer))
    rows, width = tokens.shape
    texts = f"{'1 text' if rows == 1 else f'{rows} texts'} of {width} tokens"
    if isinstance(answer, Tensor) and not answer.is_floating_point():
        return (
            f"The module's forward gives a tensor of {answer.dtype}.",
            "Return logits: scores before softmax, not labels." + (_DECODED if asked.of_tokens else ""),
        )
    if not leaves and asked.of_tokens:
        return (
            f"The module's forward gives a {type(answer).__name__}, not a tensor of numbers for each token.",
            "Return the numbers of the labels [batch, sequence, labels], or say where they are: --call, or "
            f"call=.{_DECODED}",
        )
    if not leaves:
        return (
            f"The module's forward gives a {type(answer).__name__}, not a tensor.",
            "Return the logits [batch, classes], or say where they are: --call, or call=.",
        )
    shapes = ", ".join(f"answer{suffix} {list(leaf.shape)}" for suffix, leaf in leaves.items())
    if isinstance(answer, Tensor):
        shapes = f"a tensor of shape {list(answer.shape)}"
    gives = f"The module gives {shapes} for {texts} and {asked.classes} {asked.names}"
    if asked.of_tokens:
        return _no_place_of_tokens(gives, leaves, rows, asked)
    if any(_of_each_token(leaf, rows, width, asked.classes) for leaf in leaves.values()):
        return (
            f"{gives}: one answer for every token, as a module that labels each word does.",
            f"{'' if asked.samples else _LABELLED}A bundle gives one answer for a text: if your code takes that "
            "from one of the steps, or from their mean, say so as it does: --call, or call=.",
        )
    several = [leaf for leaf in leaves.values() if leaf.dim() == 3 and leaf.shape[-1] == asked.classes]
    if any(numbers_of_each(leaf, rows, values=asked.values) is None for leaf in several):
        return (
            f"{gives}.",
            "It holds several answers for a text: say which is the one that your code takes, with --call, or call=.",
        )
    return _of_other_counts(counts_of(asked, known), asked) or (
        f"{gives}.",
        "A bundle gives one answer for a text: return the numbers of the labels [batch, labels] from forward, or say "
        "where they are: --call, or call=.",
    )


def rank_of_no_place(known: Known, asked: ModuleFacts) -> float:
    """How much it says that a module gives no numbers of the labels: more, where tokens are to be labelled, of answers
    that have such numbers for each text, or other numbers for each token.

    Example:
        >>> rank_of_no_place((tokens, logits_of_texts), asked)
        3.6
    """
    tokens, answer = known
    leaves, (rows, width) = dict(leaves_of(answer)), tokens.shape
    if not asked.of_tokens or rows == 1:
        return 2
    if _has_one_of_each(leaves, rows, asked):
        return 3.6
    shapes = [tuple(leaf.shape) for leaf in leaves.values() if leaf.dim() == 3]
    return 3.2 if any(shape[:2] in {(rows, width), (width, rows)} for shape in shapes) else 2


def _has_one_of_each(leaves: Mapping[str, Tensor], rows: int, asked: ModuleFacts) -> bool:
    return any(numbers_of_each(leaf, rows, values=False) == asked.classes for leaf in leaves.values())


def _no_place_of_tokens(gives: str, leaves: Mapping[str, Tensor], rows: int, asked: ModuleFacts) -> tuple[str, str]:
    """The problem with answers of which none is [batch, sequence, labels] in any order of the axes, and the advice."""
    if _has_one_of_each(leaves, rows, asked):
        return (
            f"{gives}: one answer for a text, and not one for each of its tokens.",
            "Export it as a classifier of texts: without --labels-of, or labels_of=.",
        )
    last = sorted({leaf.shape[-1] for leaf in leaves.values() if leaf.dim() >= 2})
    several = " or ".join(map(str, last))
    return (
        f"{gives}, which are not numbers of {asked.classes} labels for each token.",
        f"Give as many labels as a token has numbers{f' ({several})' if several else ''}, in their order; or say where "
        f"these numbers are: --call, or call=.{_DECODED}",
    )


def _of_other_counts(counts: Counts, asked: ModuleFacts) -> tuple[str, str] | None:
    """The problem with outputs whose count of numbers for each text is not the number of labels, and the advice; None
    where there are no such outputs."""
    fixed = {suffix: n for suffix, n in counts.fixed.items() if not counts.may_follow(suffix)}
    following = [f"answer{suffix}" for suffix in (*counts.fixed, *counts.following) if suffix not in fixed]
    one_answer = "A bundle gives one answer for a text: return it from forward, or say where it is: --call, or call=."
    if not fixed:
        if not following:
            return None
        which = " and ".join(following)
        return (
            f"The module gives more numbers for a longer text ({which}), which are not answers to {asked.classes} "
            f"{asked.names}.",
            one_answer,
        )
    found = list(dict.fromkeys(fixed.values()))
    found = [n for n in found if n > 1] or found
    where = [" and ".join(f"answer{suffix}" for suffix, n in fixed.items() if n == one) for one in found]
    where += [f"{one} has more for a longer text" for one in following]
    said = f" ({'; '.join(where)})" if where != ["answer"] else ""
    problem = (
        f"The module gives {' or '.join(map(str, found))} number{'s' * (found != [1])} for each text, and there are "
        f"{asked.classes} {asked.names}{said}."
    )
    if found == [asked.ids] and not asked.samples:
        return problem, "These are as many as its ids, of which a module that tells the next token gives one: no label."
    if found != [1]:
        several = " or ".join(f"{n} {asked.names}" for n in found if n > 1)
        return problem, f"Give {several}, in the order of the numbers."
    return (
        problem,
        "One number is the logit of the second of two labels: give two. A value, such as a rating, is not a label: it "
        'becomes such a logit by what divides the two, as in --call "module(tokens) - 3".',
    )


def _of_each_token(leaf: Tensor, rows: int, width: int, classes: int) -> bool:
    """Whether a tensor holds the numbers of the labels for each token, in any order of the axes."""
    shape = tuple(leaf.shape)
    return sorted(shape) == sorted((rows, width, classes)) or shape in {
        (rows * width, classes),
        (classes, rows * width),
    }
