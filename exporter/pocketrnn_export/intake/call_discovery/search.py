"""How a module is called, found out by calling it: on a few small batches, in the ways that people write forward.

A way holds if the module runs, gives finite numbers for each text, gives them again when it is asked again, tells one
text from another, and answers each text as it does alone. The batches have sizes that occur nowhere else, so that no
axis can be taken for another. Where two ways hold with other answers, nothing is chosen.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

import torch
from torch import Tensor

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.call_discovery.candidates import (
    LENGTH_FIRST,
    MOST_LINES,
    Way,
    ways_of,
    ways_of_methods,
)
from pocketrnn_export.intake.call_discovery.lengths_given import lengths_left_out
from pocketrnn_export.intake.call_discovery.module_facts import ModuleFacts
from pocketrnn_export.intake.call_discovery.other_inputs import (
    either_mask,
    notes_on_defaults,
    takes_numbers,
    unknown_inputs,
)
from pocketrnn_export.intake.call_discovery.pair_lines import pair_lines, pair_names
from pocketrnn_export.intake.call_discovery.probabilities import with_activation
from pocketrnn_export.intake.call_discovery.refusals import (
    INPUT_BESIDE,
    Fails,
    ambiguous,
    characters,
    documents,
    refusal,
)
from pocketrnn_export.intake.call_discovery.states import setups_of
from pocketrnn_export.intake.call_discovery.trial import (
    Holds,
    answer_to,
    is_one_answer,
    runs,
    try_line,
    try_way,
    unlike_lengths,
)
from pocketrnn_export.intake.convention import (
    Call,
    Convention,
    compiled,
)
from pocketrnn_export.intake.crf_layer import emissions_around
from pocketrnn_export.intake.last_activation import activated
from pocketrnn_export.intake.pair_call import PAIR_NAMES, PairCall

__all__ = ["asked_convention"]

# So many ways are tried to call a module with two texts, where it is not known to take them.
_MOST_PAIRS: Final = 8
# So many ways are tried to give the same inputs a constant, where the module runs with none.
_MOST_WITHOUT: Final = 24
# The first ways of a module: what a strange way of calling answers to a text of two tokens says little.
_LIKELY: Final = 4
# A reason of a higher rank says why a tagger's forward cannot be called, so that no other method is.
_SAYS_LITTLE: Final = 2


def asked_convention(asked: ModuleFacts, call: str | Call | None = None) -> Convention:
    """Find out how a module is called.

    Args:
        asked: the module, and what is known of it.
        call: how its owner says that it is called: a line of Python, or a function of (module, tokens, lengths), or of
            (module, first, second, first_lengths, second_lengths).

    Raises:
        ExportError: no way holds; or two hold with other answers.
        InputError: the line is not Python.

    Example:
        >>> asked_convention(ModuleFacts(module, ids=8000, padding_id=1, classes=4)).line
        'module(tokens.t(), lengths)[0]'
    """
    if call is None:
        convention = _find_convention(asked)
    elif isinstance(call, str):
        convention = _check_given_call(asked, call.strip(), compiled(call))
    else:
        given = ", ".join(PAIR_NAMES) if asked.two_texts else "tokens, lengths"
        function = PairCall(cast("Any", call)) if asked.two_texts else call
        convention = _check_given_call(asked, f"{getattr(call, '__name__', 'call')}(module, {given})", function)
    return with_activation(asked, convention, found=call is None)


def _check_given_call(asked: ModuleFacts, line: str, function: Call) -> Convention:
    """The convention of a call that the owner wrote."""
    failures: list[Fails] = []
    for one_text, widths in itertools.product((False, True), asked.tried_widths):
        if (asked.one_text and not one_text) or (one_text and asked.two_texts):
            continue
        if one_text and not asked.one_text and any(failed.rank >= 4 for failed in failures):
            # It takes a batch, and answers wrongly in it: one text at a time is for its owner to choose.
            break
        outcomes = try_line(asked, line, function, widths, one_text=one_text)
        for found in outcomes:
            if isinstance(found, Holds):
                return found.convention
            failures.append(found)
    raise refusal(asked, failures)


def _find_convention(asked: ModuleFacts) -> Convention:
    """The convention that holds among those that people have."""
    ways = list(itertools.islice(ways_of(asked), MOST_LINES))
    try:
        found = _search(asked, ways)
    except ExportError as error:
        raise characters(asked) or error from error.__cause__
    if isinstance(found, Convention):
        return found
    if asked.of_tokens and not isinstance(asked.module, torch.jit.ScriptModule):
        own = [failed for failed in found if failed.rank > _SAYS_LITTLE]
        answered = None if own else _of_methods(asked)
        if answered is not None:
            return answered
    if (beside := characters(asked)) is not None:
        raise beside
    failures = found
    if all(failed.rank < 2 for failed in failures):
        first = failures[0].error if failures else None
        failures += [said for said in (takes_numbers(asked, ways), unknown_inputs(ways, first)) if said][:1]
    if all(failed.rank <= 2 for failed in failures) and not asked.two_texts:
        failures += filter(None, [_why_short_texts_only(asked, ways[:_LIKELY])])
    raise _refusal(asked, failures)


def _refusal(asked: ModuleFacts, failures: Sequence[Fails]) -> ExportError:
    """The failure that says most; with what to do if a second text is what the module takes beside the text."""
    error = refusal(asked, failures)
    if (
        asked.two_texts
        or asked.samples
        or not any(runs(asked, line) for line in itertools.islice(pair_lines(asked.module, lengths=None), _MOST_PAIRS))
    ):
        return error
    said = f"If it takes two texts, say so: --two-texts, in Python two_texts=True. {error.remedy}"
    found = ExportError(error.problem, said)
    found.__cause__ = error.__cause__
    return found


def _of_methods(asked: ModuleFacts) -> Convention | None:
    """The call of another method of a tagger, where its forward gives neither labels nor their numbers, as where it
    gives a loss; None where none holds.

    Raises:
        ExportError: two hold, with other answers.
    """
    for _, ways in itertools.groupby(ways_of_methods(asked), key=lambda way: way.method):
        found = _search(asked, list(ways))
        if isinstance(found, Convention):
            name = re.sub(r".*?module\.(\w+)\(.*", r"\1", found.line)
            note = f"forward gives no numbers of the labels of tokens, so that another method is called: {name}."
            return replace(found, notes=(*found.notes, note))
    return None


def _search(asked: ModuleFacts, ways: Sequence[Way]) -> Convention | list[Fails]:
    """The convention that holds among some ways; why none does, where that is not a reason to stop.

    Raises:
        ExportError: two hold, with other answers; or a reason that says why none of these can.
    """
    failures: list[Fails] = []
    setups = [""] if isinstance(asked.module, torch.jit.ScriptModule) else ["", *setups_of(asked.module)]
    # Labels that forward decodes are known by what goes into the decoding, whatever becomes of them.
    arounds = [*(emissions_around(asked.module) if asked.of_tokens else []), ""]
    for one_text in (False, True):
        if (asked.one_text and not one_text) or (one_text and asked.two_texts):
            continue
        for widths, setup, around in itertools.product(asked.tried_widths, setups, arounds):
            given = [replace(way, setup=setup, around=around) for way in ways]
            holding, failing = _holding(asked, given, widths, one_text=one_text)
            failures += failing
            if rows_of_rows := [holds for holds in holding if _takes_rows_of_rows(asked, holds)]:
                raise documents(rows_of_rows[0].convention.line)
            if len(holding) > 1:
                raise ambiguous([(one.call, one.convention.line[len(one.call) :]) for one in holding])
            if holding:
                return _with_notes(asked, holding[0], widths)
            if not around and any(failed.rank == INPUT_BESIDE for failed in failing):
                raise _refusal(asked, failures)
        if any(failed.rank >= 4 for failed in failures):
            # It takes a batch, and answers wrongly in it: one text at a time is for its owner to choose.
            raise _refusal(asked, [failed for failed in failures if failed.rank >= 4])
    return failures


def _takes_rows_of_rows(asked: ModuleFacts, holds: Holds) -> bool:
    """Whether a module that is given a text as one row of rows takes two: documents of sentences, pairs of texts. One
    that only takes an axis of one away does not."""
    line = re.sub(r"\btokens\.unsqueeze\(([12])\)", r"torch.stack([tokens, tokens], \1)", holds.convention.line)
    return line != holds.convention.line and runs(asked, line)


def _why_short_texts_only(asked: ModuleFacts, ways: Sequence[Way]) -> Fails | None:
    """Why a module that holds on short texts fails on those that it is tried on; None where it holds on none."""
    tried = max(asked.tried_widths[0])
    for most, way in itertools.product(range(tried - 1, 1, -1), ways):
        if not isinstance(_first_outcome(asked, way, most), Holds):
            continue
        if isinstance(longer := _first_outcome(asked, way, most + 1), Fails):
            return replace(
                longer,
                rank=3,
                problem=f"On texts of more than {most} tokens: {longer.problem}",
                advice=f"It is tried on texts of {tried}. If a table is too short, such as one of positions, make it "
                f'longer. If no text is longer, have the rest cut off: "max_width": {most} in the rules.',
            )
    return None


def _first_outcome(asked: ModuleFacts, way: Way, tokens: int) -> Holds | Fails | None:
    return next(iter(try_way(asked, way, (tokens,), one_text=asked.one_text)), None)


def _holding(
    asked: ModuleFacts, ways: Sequence[Way], widths: tuple[int, ...], *, one_text: bool
) -> tuple[list[Holds], list[Fails]]:
    """The ways that hold with other answers, and why others do not."""
    holding: list[Holds] = []
    failures: list[Fails] = []
    beside: set[frozenset[int]] = set()
    without: Counter[frozenset[int]] = Counter()
    certain = False
    for way in ways:
        constants = frozenset(way.at("constant"))
        # Numbers below the width are a length as well as an id, so that a row may begin with one unnoticed.
        if (certain and way.plain != LENGTH_FIRST) or (
            constants and (constants in beside or without[constants] >= _MOST_WITHOUT)
        ):
            continue
        for found in try_way(asked, way, widths, one_text=one_text, holding=holding):
            if isinstance(found, Fails):
                failures.append(found)
                without[constants] += found.rank == 0
                if found.rank == INPUT_BESIDE:
                    beside.add(constants)
            elif found.way is not None and found.way.around and not _decodes(asked, found.way):
                failures.append(
                    Fails(found.way.line, 0, "The numbers that go into the decoding do not come out of it.", "")
                )
            elif not any(_same_answers(found, other, asked, widths) for other in holding):
                holding.append(found)
        certain = certain or (bool(holding) and not way.setup and way is ways[0] and _certain(way))
    # The right one of two masks is that under which the tokens past the length change less.
    return [holds for holds in holding if not holds.leaks] or holding, failures


def _decodes(asked: ModuleFacts, way: Way) -> bool:
    """Whether the call from which emissions are taken also runs to its end, on one text: a mask of another type may not
    do for what decodes."""
    # Whatever a user's module raises.
    with contextlib.suppress(Exception, SystemExit):
        answer_to(asked.module, compiled(replace(way, around="").line), *asked.batch(1, asked.widths.clip(7)))
        return True
    return False


def _certain(way: Way) -> bool:
    """Whether a way that holds needs no comparison with others: forward takes the tokens only, or lengths by name, and
    no further input that could be given or left out."""
    return way.signature is not None and all(
        slot.role == "tokens" or (slot.role == "lengths" and slot.required) or (option.given == "default" and
        slot.role == "other")
        for slot, option in zip(way.slots, way.options, strict=True)
    )  # fmt: skip


def _with_notes(asked: ModuleFacts, holds: Holds, widths: Sequence[int]) -> Convention:
    """The convention of a way that holds, with what it assumes."""
    if holds.way is None:
        return holds.convention
    if asked.two_texts:
        return replace(holds.convention, pair=pair_names(asked.module, holds.way.plain))
    batches = asked.batches(1 if holds.convention.one_text else asked.rows, widths)
    if (other := either_mask(asked, holds.way, holds.suffix, batches)) is not None:
        raise ambiguous([(holds.convention.line, ""), (other, "")])
    if (other := lengths_left_out(asked, holds.way, holds.suffix, batches[0])) is not None:
        raise ambiguous([(holds.convention.line, ""), (other, "")])
    notes = (
        *notes_on_defaults(asked, holds.way, holds.suffix, batches),
        *unlike_lengths(asked, holds.convention, holds.way, batches[-1]),
    )
    return replace(holds.convention, notes=notes)


def _same_answers(one: Holds, other: Holds, asked: ModuleFacts, widths: Sequence[int]) -> bool:
    """Whether two ways give the same answer: equal numbers, or the probabilities of the other's logits. Where they are
    two outputs of one call, the program says whether they differ on rare texts."""

    def probabilities(holds: Holds, answer: Tensor) -> list[Tensor]:
        kind = "sigmoid" if asked.multi_label or holds.convention.units == 1 else "softmax"
        return [answer, activated(kind, answer.reshape(-1, holds.convention.units)).reshape(answer.shape)]

    if one.convention.units != other.convention.units or not all(
        any(torch.allclose(x, y, atol=1e-5) for x in probabilities(one, a) for y in probabilities(other, b))
        for a, b in zip(one.answers, other.answers, strict=True)
    ):
        return False
    if one.way is None or other.way is None or one.way.line != other.way.line:
        return True
    batch = asked.batch(1 if one.convention.one_text else asked.rows, widths[0])
    return is_one_answer(asked, compiled(one.way.line), batch, (one.suffix, other.suffix))
