"""The lines that may call a module which takes two texts.

The first two inputs whose names say nothing else are the texts, in the order of forward's own. Inputs that have a name
of lengths are those of the two texts in their order, and there must be two of them, or none. No mask is tried: a module
may take it for the tokens or for the padding, and runs with both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from torch import nn

from pocketrnn_export.intake.call_discovery.roles import is_lengths, role_of, words_of
from pocketrnn_export.intake.call_discovery.signature import Signature, Slot, signatures_of

__all__ = ["pair_lines", "pair_names"]

# The forms of one text, and of one text's lengths.
_TEXTS: Final = ("{0}", "{0}.t()", "({0}, {0}_lengths)", "({0}.t(), {0}_lengths)")
_LENGTHS: Final = ("{0}_lengths", "{0}_lengths.tolist()", "{0}_lengths.numpy()")
_KNOWN: Final = {"batch size": "first.size(0)", "device": "first.device", "training": "False"}
_SIDES: Final = ("first", "second")


def pair_lines(module: nn.Module, *, lengths: bool | None) -> Iterator[str]:
    """The lines that may call a module with two texts, the likely ones first, each once.

    Args:
        module: forward's signature is read; nothing is called that is not called to read it.
        lengths: whether forward is given lengths; None where that is not known.

    Example:
        >>> next(pair_lines(nn.Bilinear(2, 2, 1), lengths=None))
        'module(first, second)'
    """
    lines = (line for signature in signatures_of(module) for line in _lines_of(signature))
    for line in dict.fromkeys(lines):
        if lengths is None or lengths == ("_lengths" in line):
            yield line


def pair_names(module: nn.Module, line: str) -> tuple[str, str] | None:
    """The names of the two inputs that a line gives the first and the second text; None where they have none.

    Args:
        module, line: as `pair_lines` takes and gives them.

    Example:
        >>> pair_names(nn.Bilinear(2, 2, 1), "module(first, second)")
        ('input1', 'input2')
    """
    for signature in signatures_of(module):
        if line in _lines_of(signature):
            first, second = (slot for slot in signature.slots if _is_open(slot))
            return (first.name, second.name) if first.named and second.named else None
    return None


def _lines_of(signature: Signature) -> Iterator[str]:
    texts = [i for i, slot in enumerate(signature.slots) if _is_open(slot)]
    told = [i for i, slot in enumerate(signature.slots) if is_lengths(slot.name)]
    # More than two inputs that may be texts: which two are, nobody knows.
    if len(texts) != 2 or len(told) not in (0, 2):
        return
    for text, of_lengths in itertools.product(_TEXTS[: 2 if told else None], _LENGTHS if told else ("",)):
        values = [_known(slot) for slot in signature.slots]
        for side, i in zip(_SIDES, texts, strict=True):
            values[i] = text.format(side)
        for side, i in zip(_SIDES, told, strict=False):
            values[i] = of_lengths.format(side)
        if _is_whole(signature.slots, values):
            yield signature.write(values)


def _is_open(slot: Slot) -> bool:
    """Whether an input may be a text: it has to be given, and its name says nothing else."""
    if not slot.required or is_lengths(slot.name) or {"mask", "masks", "msk"} & set(words_of(slot.name)):
        return False
    return not slot.named or role_of(slot.name) in {"tokens", "other"}


def _known(slot: Slot) -> str | None:
    return _KNOWN.get(role_of(slot.name)) if slot.required else None


def _is_whole(slots: Sequence[Slot], values: Sequence[str | None]) -> bool:
    return all(value is not None or not slot.required for slot, value in zip(slots, values, strict=True))
