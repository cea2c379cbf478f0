"""Find out how to call a module of words and their characters, and check that the module runs on every character."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from pocketrnn.errors import ExportError, InputError, first_line, short_repr
from pocketrnn_export.intake.call_discovery.call_search import find_convention
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import call_and_read_numbers
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.character_call import CHARACTERS
from pocketrnn_export.intake.compiled_call_line import Call, list_names_in_line
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

# How many tokens are tried in one call.
_TOKENS = 64


def find_convention_with_characters(facts: ModuleFacts, spellings: Spellings, call: str | Call | None) -> Convention:
    """Find out how to call a module of words and their characters, as `find_convention` does for other modules.

    Raises:
        ExportError: as `find_convention`; or the module fails on a character.
        InputError: the line does not use the characters.
    """
    # A line that is not Python is refused where it is compiled.
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        if isinstance(call, str) and CHARACTERS not in list_names_in_line(call):
            raise InputError(
                f"The call {short_repr(call)} does not use the characters.",
                f"Give them to the module, as in module(tokens, {CHARACTERS}), or leave characters out.",
            )
    convention = find_convention(facts, call)
    _refuse_failing_characters(facts, spellings, convention)
    _refuse_unused_characters(facts, spellings, convention)
    return convention


def _refuse_failing_characters(facts: ModuleFacts, spellings: Spellings, convention: Convention) -> None:
    """Refuse a module that fails on a character. For this check, it runs on words that together contain every
    character."""
    first = next(i for i, word in enumerate(spellings.words) if word != i or i == len(spellings.rows) - 1)
    rows, width = 1 if convention.one_text else facts.trial_rows, facts.widths.clip(_TOKENS)
    for start in range(first, len(spellings.rows), width):
        ids = torch.arange(start, start + width).clamp(max=len(spellings.rows) - 1)
        try:
            call_and_read_numbers(facts, convention, ids.expand(rows, width), torch.full((rows,), width))
        # Whatever a user's module raises.
        except (Exception, SystemExit) as error:
            known = spellings.characters.ids
            raise ExportError(
                f"The ids of characters are {known[0]} to {known[-1]:,}, but the module fails on some: "
                f"{type(error).__name__}: {first_line(error)}.",
                "Give the characters with which the module was trained: its embedding has one row for each.",
            ) from error


def _refuse_unused_characters(facts: ModuleFacts, spellings: Spellings, convention: Convention) -> None:
    """Refuse a module whose answers do not change with the characters of the words."""
    alike = np.flatnonzero(spellings.words == np.bincount(spellings.words).argmax())
    width = facts.widths.clip(min(_TOKENS, len(alike)))
    tokens = torch.from_numpy(np.resize(alike, width))[None].expand(
        1 if convention.one_text else facts.trial_rows, width
    )
    lengths = torch.full((len(tokens),), width)
    if torch.equal(
        call_and_read_numbers(facts, convention, tokens, lengths),
        call_and_read_numbers(facts, convention, tokens.flip(1), lengths),
    ):
        raise InputError(
            f"The characters change no answer of the module, called as {convention.line}.",
            "Leave characters out, or give the right call: --call, or call=.",
        )
