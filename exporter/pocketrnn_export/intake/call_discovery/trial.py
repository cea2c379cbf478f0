"""Trying one way to call a module.

A way holds if the module runs, gives finite numbers for each text, gives them again when it is asked again, tells one
text from another, and answers each text as it does alone.
"""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.answer_flow import FlowSeen, flow_of
from pocketrnn_export.intake.call_discovery.candidates import LENGTH_FIRST, Way
from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts
from pocketrnn_export.intake.call_discovery.other_inputs import beside_the_text, constants_of
from pocketrnn_export.intake.call_discovery.reading import (
    Known,
    counts_of,
    leaves_of,
    no_place,
    places_of,
    rank_of_no_place,
)
from pocketrnn_export.intake.call_discovery.refusals import Fails, raised
from pocketrnn_export.intake.call_discovery.states import state_makers
from pocketrnn_export.intake.call_discovery.which_output import left_out_of, refused_output
from pocketrnn_export.intake.convention import (
    Call,
    CallAdapter,
    Convention,
    compiled,
    left_as_it_was,
    uses_lengths,
)
from pocketrnn_export.intake.neighbour_refusal import said_of_neighbours
from pocketrnn_export.intake.pair_call import PairCall, parted
from pocketrnn_export.intake.random_draws import drawing_line
from pocketrnn_export.intake.user_frames import called_as
from pocketrnn_export.module_runs.cpu_run import answer_of, quietly_on_cpu
from pocketrnn_export.module_runs.kept_attributes import Kept, changed_by
from pocketrnn_export.module_runs.operations import PROBABILITIES, SHAPES, Operations, same_program

__all__ = [
    "Holds",
    "answer_in_turn",
    "answer_to",
    "is_one_answer",
    "kept_state_advice",
    "read_answer",
    "runs",
    "try_line",
    "try_way",
    "unlike_lengths",
]

# Single precision sums a batch otherwise than one text; a module that mixes its texts differs by more.
_SAME: Final = 1e-4
# Rows of one product of matrices are rounded otherwise on some processors, up to 16 times float32's precision.
_ROUNDING: Final = 2e-6


@dataclass(frozen=True)
class Holds:
    """A way that holds, with its answers to the batches that it was tried on; and whether what stands past the end of a
    masked row tells in them, as where a layer reads it backwards."""

    convention: Convention
    answers: tuple[Tensor, ...]
    leaks: bool = False
    way: Way | None = None
    suffix: str = ""

    @property
    def call(self) -> str:
        """The line of the call, without what reaches a part of its answer."""
        return self.convention.line if self.way is None else self.way.line


def try_line(
    asked: ModuleFacts, line: str, function: Call, widths: Sequence[int], *, one_text: bool
) -> Iterable[Holds | Fails]:
    """Try the call that an owner wrote."""
    return _tried(asked, line, function, asked.batches(1 if one_text else asked.rows, widths), None, one_text=one_text)


def try_way(
    asked: ModuleFacts, way: Way, widths: Sequence[int], *, one_text: bool, holding: Sequence[Holds] = ()
) -> Iterable[Holds | Fails]:
    """Try a way; it holds once for each part of its answer that may be the logits, and that no other way gives which is
    known to hold."""
    line = way.line
    if not one_text and ("tokens[0]" in line or "[tokens.size(1)]" in line):
        return
    if one_text and ("tolist" in line or "numpy" in line):
        return
    batches = asked.batches(1 if one_text else asked.rows, widths)
    with_constants = constants_of(asked, way, batches)
    way = way if with_constants is None else with_constants
    yield from _tried(asked, way.line, compiled(way.line), batches, way, one_text=one_text, holding=holding)


def _tried(
    asked: ModuleFacts,
    line: str,
    function: Call,
    batches: Sequence[tuple[Tensor, Tensor]],
    way: Way | None,
    *,
    one_text: bool,
    holding: Sequence[Holds] = (),
) -> Iterable[Holds | Fails]:
    try:
        answers = [answer_to(asked.module, function, *batch) for batch in batches]
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        yield Fails(line, 0, *raised(error, asked, line, functools.partial(runs, asked)), error)
        return
    rows = len(batches[0][0])
    known = [(tokens, answer) for (tokens, _), answer in zip(batches, answers, strict=True)]
    places = places_of(asked, known, suffixes=way is not None)
    following: tuple[str, ...] = ()
    if places and not asked.of_tokens:
        known += _at_other_lengths(asked, function, [tokens.shape[1] for tokens, _ in known], rows, within=way is None)
        following = counts_of(asked, known).following
        places = [place for place in places if place.suffix not in following]
    elif not places and any(tuple(leaf.shape) == (rows,) for _, leaf in leaves_of(answers[0])):
        # One number for each text, or for one text as many as there are texts: another number of texts tells.
        known += _answered(asked, function, [asked.batch(rows + 8, batches[0][0].shape[1])])
    if not places:
        # A row that begins with its length is the last way that is tried, and says less than the first.
        said = bool(following) and (way is None or way.plain != LENGTH_FIRST)
        yield Fails(line, 4 if said else rank_of_no_place(known[0], asked), *no_place(known, asked))
    found: list[Holds | Fails] = []
    for place in places:
        suffix, written = place.suffix, place.suffix + place.arranged
        convention = Convention(
            line + written, _then(function, written), place.units, takes_lengths=True, one_text=one_text,
            of_tokens=asked.of_tokens,
        )  # fmt: skip
        given = [
            _part(answer, written, *batch).float().reshape(rows, -1)
            for batch, answer in zip(batches, answers, strict=True)
        ]
        alike = [holds for holds in holding if not holds.leaks and _are_answers_of(holds, given)]
        of_this = [holds.suffix for holds in alike if holds.way is not None and holds.way.line == line]
        # The program says whether two outputs of one call are one: they may differ on rare texts.
        if (alike and not of_this) or any(is_one_answer(asked, function, batches[0], (suffix, one)) for one in of_this):
            continue
        # First: a constant for each text may be why a text is not answered beside others as it is alone.
        refused = None if way is None else beside_the_text(asked, way, suffix, batches)
        one = refused or _holds(asked, convention, batches, way)
        if isinstance(one, Fails) and place.arranged.startswith(".reshape"):
            # That rows of tokens are of several texts is a guess, which says little where it fails.
            one = replace(one, rank=min(one.rank, 3))
        found.append(replace(one, way=way, suffix=suffix) if isinstance(one, Holds) else one)
    if way is None or not any(isinstance(one, Holds) for one in found):
        yield from found
    else:
        yield from _which_outputs(asked, found, flow_of(asked.module, function, *batches[0]), known, line)


def _which_outputs(
    asked: ModuleFacts, found: Sequence[Holds | Fails], flow: FlowSeen, known: Sequence[Known], line: str
) -> Iterable[Holds | Fails]:
    """The outputs that hold, with what is left out beside each; where one that fits the labels shows that another is
    the answer, which does not fit them, none holds."""
    suffixes = [one.suffix for one in found if isinstance(one, Holds)]
    refused = {suffix: refused_output(asked, flow, known, line, suffix) for suffix in suffixes}
    for no_answer in refused.values():
        if no_answer is not None and no_answer.other not in suffixes:
            yield no_answer.fails
            return
    for one in found:
        if not isinstance(one, Holds):
            yield one
        elif (no_answer := refused[one.suffix]) is not None:
            yield no_answer.fails
        else:
            left_out = left_out_of(asked, flow, known, one.suffix)
            yield replace(one, convention=replace(one.convention, left_out=left_out))


def _at_other_lengths(
    asked: ModuleFacts, function: Call, tried: Sequence[int], rows: int, *, within: bool
) -> list[Known]:
    """The module's answers to texts of other lengths; lengths on which it fails are left out."""
    lengths = asked.further_lengths(tried, within=within)
    return _answered(asked, function, [asked.batch(rows, length) for length in lengths])


def _answered(asked: ModuleFacts, function: Call, batches: Sequence[tuple[Tensor, Tensor]]) -> list[Known]:
    """The batches that a module answers, with its answers."""
    known: list[Known] = []
    for tokens, lengths in batches:
        with contextlib.suppress(Exception, SystemExit):
            known.append((tokens, answer_to(asked.module, function, tokens, lengths)))
    return known


def is_one_answer(asked: ModuleFacts, function: Call, batch: tuple[Tensor, Tensor], suffixes: Sequence[str]) -> bool:
    """Whether two parts of a module's answer are made of the text by the same operators, but for what makes
    probabilities of logits or gives the same numbers another shape."""
    operations = Operations()
    tokens, lengths = (value.clone() for value in batch)
    operations.label("text", tokens, lengths)
    with torch.no_grad(), quietly_on_cpu(), left_as_it_was(asked.module), operations:
        leaves = dict(leaves_of(called_as(function, asked.module, tokens, lengths)))
    one, other = (operations.without(SHAPES | PROBABILITIES, leaves[suffix], "text") for suffix in suffixes)
    programs = (operations.program_of(steps, "text") for steps, _ in (one, other))
    return one[1] == other[1] and (one[0] == other[0] or same_program(*programs))


def _are_answers_of(holds: Holds, answers: Sequence[Tensor]) -> bool:
    return all(
        a.shape == b.shape and torch.allclose(a, b, atol=1e-5) for a, b in zip(answers, holds.answers, strict=True)
    )


def _then(function: Call, suffix: str) -> Call:
    if not suffix:
        return function
    if isinstance(function, PairCall):
        of_both = function.of_both

        def part(module: nn.Module, first: Tensor, second: Tensor, *lengths: Tensor) -> Any:
            return _part(of_both(module, first, second, *lengths), suffix, first, lengths[0])

        return PairCall(part)

    def call(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        return _part(function(module, tokens, lengths), suffix, tokens, lengths)

    return call


def _part(answer: Any, written: str, tokens: Tensor, lengths: Tensor) -> Any:
    """The part of an answer that is reached by what is written behind the call."""
    # That alone is compiled; what it reads takes the module's name.
    return compiled(f"module{written}")(answer, tokens, lengths) if written else answer


def _holds(
    asked: ModuleFacts, convention: Convention, batches: Sequence[tuple[Tensor, Tensor]], way: Way | None
) -> Holds | Fails:
    """Whether a way is reproducible, tells texts apart, and answers each as it does alone."""
    line = convention.line
    try:
        answers = tuple(read_answer(asked, convention, *batch) for batch in batches)
        again = tuple(read_answer(asked, convention, *batch, twice=True) for batch in batches)
    # Whatever a user's module raises when it is run again.
    except (Exception, SystemExit) as error:
        return Fails(line, 1, *raised(error, asked, line, functools.partial(runs, asked)), error)
    if not all(bool(torch.isfinite(answer).all()) for answer in answers):
        return Fails(line, 3, "The module gives logits that are not finite numbers.", "Check its weights.")
    if not all(torch.equal(a, b) for a, b in zip(answers, again, strict=True)):
        return Fails(
            line, 5, "The module gives other answers when it is run again on the same texts.", _of_random(asked, line)
        )
    texts = torch.cat([answer.reshape(-1, convention.units) for answer in answers])
    if torch.allclose(texts[1:], texts[:-1], rtol=_ROUNDING, atol=1e-7):
        return Fails(line, 3, "The module gives the same answer for every text.", "Check its weights, and its call.")
    if asked.of_tokens and not _reads_other_tokens(asked, convention, batches[-1]):
        by_itself = "The module labels each token by itself: no other token of the text changes its numbers"
        if way is not None:
            advice = (
                f'If your code asks it so, say so: --call "{line}", or call=. Else give a module that reads the text.'
            )
            return Fails(line, 3, f"{by_itself}.", advice)
        # Its owner says so.
        convention = replace(convention, notes=(*convention.notes, f"{by_itself}."))
    convention = replace(convention, takes_lengths=_depends_on_lengths(asked, convention, batches))
    exact, fails_alone = _shapes_of_answers(asked, convention, batches[0])
    convention = replace(convention, exact=exact, beside_a_copy=fails_alone)
    if not convention.one_text and (mixes := _mixes(asked, convention, batches, answers)) is not None:
        return mixes
    leaks = False
    if way is not None and way.plain == LENGTH_FIRST and not _reads_to_the_length(asked, convention, batches[-1]):
        return Fails(
            line,
            0,
            "The module does not take a row's first number for its length: what is after it changes its answer.",
            "Say how it is called: --call, or call=.",
        )
    # A parameter that is not read is not an input, whatever its value.
    if way is not None and asked.lengths is None and convention.takes_lengths:
        for i in [*way.at("lengths"), *way.at("mask")]:
            if not _is_told(asked, convention, way, i, batches[-1]):
                slot = way.slots[i]
                if slot.role != "mask":
                    return Fails(
                        line,
                        3.5,
                        f"The module's forward takes {slot.name} beside the text, which is neither its lengths nor a "
                        "mask: tokens past the length tell in its answer.",
                        "Say what it is given: --call, or call=. A bundle is given nothing but a text.",
                    )
                leaks = True
    return Holds(convention, answers, leaks)


def _reads_other_tokens(asked: ModuleFacts, convention: Convention, batch: tuple[Tensor, Tensor]) -> bool:
    """Whether the first or the last token of a text changes the numbers of those between them."""
    tokens, lengths = batch
    other = asked.batch(len(tokens) + 1, tokens.shape[1])[0][1:]
    own = read_answer(asked, convention, tokens, lengths).reshape(*tokens.shape, -1)[:, 1:-1]
    for place in (0, -1):
        changed = tokens.clone()
        changed[:, place] = other[:, place]
        given = read_answer(asked, convention, changed, lengths).reshape(*tokens.shape, -1)[:, 1:-1]
        if not torch.allclose(given, own, rtol=_ROUNDING, atol=1e-7):
            return True
    return False


def _mixes(
    asked: ModuleFacts, convention: Convention, batches: Sequence[tuple[Tensor, Tensor]], answers: Sequence[Tensor]
) -> Fails | None:
    """Why texts are not answered in a batch as they are alone, if so."""
    line = convention.line
    try:
        for (tokens, lengths), together in zip(batches, answers, strict=True):
            alone = _each_alone(asked, convention, tokens, lengths)
            # Whether texts with padding inside may share a batch is found out later (padding_effect); they need not.
            whole = int(lengths.min()) == tokens.shape[1]
            if (
                whole
                and not _rows_near(alone, together)
                and not _only_highest_tells(asked, convention, tokens, lengths)
            ):
                kept = kept_by_a_call(asked, line)
                more = f" {kept_state_advice(kept, line)}" if kept else ""
                once = functools.partial(_each_alone, asked, convention, tokens, lengths)
                problem, advice = said_of_neighbours(once, two_texts=asked.two_texts)
                return Fails(line, 4, problem, advice + more)
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        problem, advice = raised(error, asked, line, functools.partial(runs, asked))
        return Fails(line, 3, f"For a single text: {problem}", advice, error)
    return None


def _each_alone(asked: ModuleFacts, convention: Convention, tokens: Tensor, lengths: Tensor) -> Tensor:
    rows = range(len(tokens))
    return torch.cat([_alone(asked, convention, tokens[i : i + 1], lengths[i : i + 1]) for i in rows])


def _only_highest_tells(asked: ModuleFacts, convention: Convention, tokens: Tensor, lengths: Tensor) -> bool:
    """Whether the rows of a batch are answered as alone once the highest id is out of them: a module may take that one
    for padding too, and padding_effect finds out about such ids."""
    plain = asked.without_highest(tokens)
    if plain is None:
        return False
    try:
        return _rows_near(
            _each_alone(asked, convention, plain, lengths), read_answer(asked, convention, plain, lengths)
        )
    # Whatever a user's module raises.
    except (Exception, SystemExit):
        return False


def runs(asked: ModuleFacts, line: str) -> bool:
    """Whether a module runs, called by a line: on some texts, and on one.

    Example:
        >>> runs(asked, "module(tokens, 7)")
        False
    """
    try:
        for rows in (asked.rows, 1):
            answer_to(asked.module, compiled(line), *asked.batch(rows, asked.widths.clip(7)))
    # Whatever a user's module raises; and a line that is none, such as the name of a function.
    except (Exception, SystemExit):
        return False
    return True


def _of_random(asked: ModuleFacts, line: str) -> str:
    """The advice about a module that gives other answers when it is run again."""
    batch = asked.batch(asked.rows, asked.widths.clip(7))
    for name, arguments in state_makers(asked.module):
        states = []
        with contextlib.suppress(Exception, SystemExit):
            states = [answer_to(asked.module, compiled(f"module.{name}({arguments})"), *batch) for _ in range(2)]
        found = [[leaf for _, leaf in leaves_of(state)] for state in states]
        if found and found[0] and not all(torch.equal(a, b) for a, b in zip(*found, strict=True)):
            zeros = [
                f"torch.zeros({', '.join('tokens.size(0)' if n == asked.rows else str(n) for n in leaf.shape)})"
                for leaf in found[0]
            ]
            made = zeros[0] if isinstance(states[0], Tensor) else f"({', '.join(zeros)})"
            return (
                f"Its {name} draws a random state for each call. With zeros in place of it: --call "
                f'"module.{name} = lambda *_: {made}; {line}", or call=.'
            )
    kept = kept_by_a_call(asked, line)
    if kept:
        return kept_state_advice(kept, line)
    if drawn := drawing_line(asked.module, lambda: answer_to(asked.module, compiled(line), *batch)):
        return (
            f"It draws random numbers in eval mode, at {drawn}: let it draw none where self.training is false, as "
            "F.dropout(x, p, self.training) and nn.Dropout do."
        )
    return (
        "Take randomness such as dropout or a random initial state out of its eval mode. If it keeps a state from one "
        "call to the next, say how that is made: --call, or call=."
    )


def kept_by_a_call(asked: ModuleFacts, line: str) -> list[Kept]:
    """The attributes that a module changes in each call, and that the line does not set."""
    batch = asked.batch(asked.rows, asked.tried_widths[-1][-1])
    with left_as_it_was(asked.module):
        found = changed_by(lambda: answer_in_turn(asked.module, compiled(line), *batch), asked.module)
    return [kept for kept in found if not _is_set(kept, line)]


def kept_state_advice(changed: Sequence[Kept], line: str) -> str:
    """The advice about a module whose answers depend on its kept state, with a line that sets it at each call."""
    names = " and ".join(kept.name for kept in changed)
    changes = f"Each call changes its own {names}: change nothing in eval mode that a later answer depends on."
    # A weight is not a state, which could be made anew for each call.
    if changed and all(isinstance(kept.before, nn.Parameter) for kept in changed):
        return f"{changes} Compute with what it becomes in place of writing it: F.linear(x, torch.renorm(weight, ...))."
    states = [kept for kept in changed if not isinstance(kept.before, nn.Parameter)]
    made = [_made_anew(kept) for kept in states if not _is_set(kept, line)]
    if not made or not all(made):
        return changes
    line = "; ".join([*made, line])
    return f'{changes} Or set it at each call, as after training: --call "{line}", in Python call=.'


def _is_set(kept: Kept, line: str) -> bool:
    return any(f"module.{kept.name}{begin}" in line for begin in (" = ", ".zero_()", ".clear()"))


def _made_anew(kept: Kept) -> str:
    """The line that makes a state what it was before the call; empty where none does, as for an array or an object, or
    a list that was not empty; it is as before again."""
    name = f"module.{kept.name}"
    if isinstance(kept.after, list | deque) and kept.after is kept.before:
        return "" if kept.after else f"{name}.clear()"
    if isinstance(kept.after, Tensor) and isinstance(kept.before, Tensor):
        return f"{name}.zero_()"
    if isinstance(kept.before, tuple) and all(isinstance(state, Tensor) for state in kept.before):
        return f"{name} = tuple(map(torch.zeros_like, {name}))"
    return f"{name} = {kept.before!r}" if kept.is_number or kept.before is None else ""


def _shapes_of_answers(asked: ModuleFacts, convention: Convention, batch: tuple[Tensor, Tensor]) -> tuple[bool, bool]:
    """Whether the answers are [rows, units] as they are, also that to a single text; and whether it fails on one."""
    tokens, lengths = batch
    exact, fails_alone = True, False
    for rows in dict.fromkeys((len(tokens), 1)):
        try:
            answer = answer_to(asked.module, convention.function, tokens[:rows], lengths[:rows])
        # Whatever a user's module raises.
        except (Exception, SystemExit):
            fails_alone = fails_alone or rows == 1
            continue
        exact = exact and tuple(answer.shape) == convention.shape(rows, tokens.shape[1])
    return exact, fails_alone


def _near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= _SAME * max(1.0, float(b.abs().max())))


def _rows_near(a: Tensor, b: Tensor) -> bool:
    return all(map(_near, a, b))


def _depends_on_lengths(asked: ModuleFacts, convention: Convention, batches: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Whether the answer depends on the lengths. It does not where the line does not name them; else the module is
    called without lengths."""
    line = convention.line
    if line.startswith(("module", "_")) and not line.endswith("(module, tokens, lengths)") and not uses_lengths(line):
        return False
    tokens, lengths = batches[-1]
    none: Any = _Untouchable()
    try:
        if isinstance(pair_call := convention.function, PairCall):
            first, second, *_ = parted(tokens, lengths)
            answer_to(asked.module, lambda module, _, none: pair_call.of_both(module, first, second, none, none),
                      tokens, none)  # fmt: skip
        else:
            answer_to(asked.module, convention.function, tokens, none)
    # Whatever is raised because there are no lengths.
    except (Exception, SystemExit):
        return True
    return False


class _Untouchable:
    """In place of lengths: whatever is done with it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise AttributeError(name)


def _is_told(asked: ModuleFacts, convention: Convention, way: Way, i: int, batch: tuple[Tensor, Tensor]) -> bool:
    """Whether an input that got lengths or a mask behaves so: where it alone tells shorter lengths, what stands past
    them does not change the answer.

    A name that says lengths is believed: a mean over all of a row, divided by its length, is right for rows of full
    length. A mask is not: it may be true at the tokens or at the padding.
    """
    if way.slots[i].role == "lengths" or isinstance(asked.module, torch.jit.ScriptModule):
        return True
    if "lengths" not in (way.options[i].value or "") and "size(1)" not in (way.options[i].value or ""):
        return True
    return _ends_where_told(asked, convention, way, i, batch)


def unlike_lengths(asked: ModuleFacts, convention: Convention, way: Way, batch: tuple[Tensor, Tensor]) -> Iterable[str]:
    """The notes on inputs that have the name of lengths and do not behave so, such as a number of characters.

    Example:
        >>> list(unlike_lengths(asked, convention, way, batch))
        ["forward's text_len is given the number of tokens, ..."]
    """
    if isinstance(asked.module, torch.jit.ScriptModule) or not convention.takes_lengths or convention.one_text:
        return
    for i in way.at("lengths"):
        if not _ends_where_told(asked, convention, way, i, batch):
            yield (
                f"forward's {way.slots[i].name} is given the number of tokens, but tokens past it change the answer. "
                "If it is not the length, say so with --call or call=."
            )


def _ends_where_told(
    asked: ModuleFacts, convention: Convention, way: Way, i: int, batch: tuple[Tensor, Tensor]
) -> bool:
    """Whether what stands past the lengths that one input is told does not change the answer."""
    line = way.with_lengths_at(i).line
    return _ends_at_the_length(
        asked, replace(convention, function=_then(compiled(line), convention.line[len(way.line) :])), batch
    )


def _ends_at_the_length(asked: ModuleFacts, convention: Convention, batch: tuple[Tensor, Tensor]) -> bool:
    """Whether what stands past the lengths that a module is told does not change its answer."""
    answers = _answers_around_the_ends(asked, convention, batch)
    return answers is not None and _near(answers[0], answers[2])


def _reads_to_the_length(asked: ModuleFacts, convention: Convention, batch: tuple[Tensor, Tensor]) -> bool:
    """Whether a row ends where its length says, and its last token changes the answer. A module that takes a row's
    first number for one more token, or reads some tokens only, fails this; a maximum over a row may, too."""
    answers = _answers_around_the_ends(asked, convention, batch)
    if answers is None:
        return False
    own, changed, cut = answers
    return _near(own, cut) and bool(((own - changed).abs().amax(1) > _ROUNDING).all())


def _answers_around_the_ends(
    asked: ModuleFacts, convention: Convention, batch: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor] | None:
    """The answers to rows of several lengths, to rows with another last token, and with others past their ends; None
    where the module fails."""
    tokens, _ = batch
    width, rows = tokens.shape[1], len(tokens)
    ends = [width, *(max(1, width - 2 - i * (width - 3) // max(1, rows - 2)) for i in range(rows - 1))]
    lengths = torch.tensor(ends if rows > 1 else [max(1, width - 2)])
    ids = [i for i in range(asked.ids) if i != asked.padding_id]
    other = torch.tensor([ids[(int(token) + 3) % len(ids)] for token in tokens.flatten()]).view_as(tokens)
    place = torch.arange(width)
    past, last = place >= lengths[:, None], place == lengths[:, None] - 1
    try:
        own, changed, cut = (
            read_answer(asked, convention, torch.where(where, other, tokens), lengths)
            for where in (torch.zeros_like(past), last, past)
        )
    # Whatever a user's module raises.
    except (Exception, SystemExit):
        return None
    if asked.of_tokens:
        # Numbers past the end of a text are no answer to it.
        own, changed, cut = (
            numbers.reshape(rows, width, -1).masked_fill(past[:, :, None], 0.0).flatten(1)
            for numbers in (own, changed, cut)
        )
    return own, changed, cut


def answer_in_turn(module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor) -> Any:
    """The module's answer; the state that the call leaves in it stays."""
    with torch.no_grad(), quietly_on_cpu():
        return called_as(function, module, tokens.clone(), lengths.clone())


def answer_to(module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor) -> Any:
    with torch.no_grad(), quietly_on_cpu(), left_as_it_was(module):
        return called_as(function, module, tokens.clone(), lengths.clone() if isinstance(lengths, Tensor) else lengths)


def _alone(asked: ModuleFacts, convention: Convention, tokens: Tensor, lengths: Tensor) -> Tensor:
    """The numbers [1, n] that a module gives to one text; beside a copy of it, where it takes two at least."""
    called = CallAdapter(asked.module, replace(convention, activation=None), passing=False)
    answer: Tensor = answer_of(called, (tokens.clone(), lengths.clone())).float().reshape(1, -1)
    return answer


def read_answer(
    asked: ModuleFacts, convention: Convention, tokens: Tensor, lengths: Tensor, *, twice: bool = False
) -> Tensor:
    """The numbers [batch, units], or [batch, sequence * units], that a module gives; where `twice`, at the second of
    two calls."""
    with torch.no_grad(), quietly_on_cpu(), left_as_it_was(asked.module):
        for _ in range(1 + twice):
            answer = called_as(convention.function, asked.module, tokens.clone(), lengths.clone())
    numbers: Tensor = answer.float().reshape(convention.shape(len(tokens), -1)).flatten(1)
    return numbers
