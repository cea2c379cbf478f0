"""Find the input of forward that takes the characters of words, by its name or its position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pocketrnn.text.token_characters import Characters
from pocketrnn_export.intake.call_discovery.forward_signature import CodesByInput, Signature
from pocketrnn_export.intake.call_discovery.parameter_roles import is_lengths_name, is_text_name, split_name
from pocketrnn_export.intake.character_call import CHARACTERS

_NAMES: Final = frozenset({"char", "chars", "character", "characters", "charids", "letters"})


def is_characters_name(name: str) -> bool:
    """Return whether a name means characters, or numbers of characters."""
    return bool(_NAMES & set(split_name(name)))


def list_character_signatures(signature: Signature, characters: Characters) -> Iterator[tuple[Signature, CodesByInput]]:
    """Yield the possible signatures of a module that takes characters. Each comes with the code to try for every
    input that may take characters, or their number in each word."""
    slots = signature.slots
    lengths = f"({CHARACTERS} != {characters.padding}).sum(2)"
    counts = [f"{lengths}.clamp(min=1)", lengths]
    named = [i for i, slot in enumerate(slots) if slot.named and is_characters_name(slot.name)]
    of_lengths = {i: counts for i in named if is_lengths_name(slots[i].name)}
    said = [i for i in named if i not in of_lengths and slots[i].role in ("tokens", "other")]
    open_ = [i for i, slot in enumerate(slots) if slot.required and slot.role in ("tokens", "other")]
    for at in said or open_:
        others = [i for i in open_ if i != at and i not in said and i not in of_lengths]
        text = next((i for i in others if is_text_name(slots[i].name)), next(iter(others), None))
        if text is not None:
            # No other input is the tokens.
            moved = tuple(
                replace(slot, role="tokens" if i == text else "other" if slot.role == "tokens" else slot.role)
                for i, slot in enumerate(slots)
            )
            # Some take the words of all texts one below the other.
            given = {i: [CHARACTERS, f"{CHARACTERS}.flatten(0, 1)"] for i in (said or [at])}
            yield replace(signature, slots=moved), {**given, **of_lengths}
        if said:
            return
