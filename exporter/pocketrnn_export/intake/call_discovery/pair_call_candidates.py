"""List the lines of code that may call a module of two texts.

The two inputs whose names allow it are the texts, in the order of forward. Inputs named as lengths are those of the two
texts in this order; there must be two of them, or none. Masks are not tried: a module runs with both kinds, true at
the tokens or at the padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from torch import nn

from pocketrnn_export.intake.call_discovery.forward_signature import Signature, Slot, list_signatures
from pocketrnn_export.intake.call_discovery.parameter_roles import find_role, is_lengths_name, split_name

# The forms of one text, and of one text's lengths.
_TEXTS: Final = ("{0}", "{0}.t()", "({0}, {0}_lengths)", "({0}.t(), {0}_lengths)")
_LENGTHS: Final = ("{0}_lengths", "{0}_lengths.tolist()", "{0}_lengths.numpy()")
_KNOWN: Final = {"batch size": "first.size(0)", "device": "first.device", "training": "False"}
_SIDES: Final = ("first", "second")
_MASK: Final = "torch.arange({0}.size(1)) < {0}_lengths[:, None]"
_MASK_WORDS: Final = {"mask", "masks", "msk"}


def list_pair_lines(module: nn.Module, *, with_lengths: bool | None) -> Iterator[str]:
    """Yield each line that may call a module with two texts, the likely lines first.

    Args:
        module: the module; its forward is called only if the signature does not show the inputs.
        with_lengths: whether forward is given lengths; None if that is not known.
    """
    lines = (line for signature in list_signatures(module) for line in _list_signature_lines(signature))
    for line in dict.fromkeys(lines):
        if with_lengths is None or with_lengths == ("_lengths" in line):
            yield line


def find_pair_names(module: nn.Module, line: str) -> tuple[str, str] | None:
    """Return the names of the two inputs that get the first and the second text. Return None for inputs without
    names."""
    for signature in list_signatures(module):
        if line in _list_signature_lines(signature):
            first, second = (slot for slot in signature.slots if _may_be_text(slot))
            return (first.name, second.name) if first.named and second.named else None
    return None


def write_pair_line_with_masks(module: nn.Module) -> str | None:
    """Return a line that calls a module with two texts and their masks, which are true at the tokens. Return None if
    the names of the module's inputs do not say which of them are texts and masks.

    Example:
        >>> class Net(nn.Module):
        ...     def forward(self, one, mask_of_one, other, mask_of_other):
        ...         return one
        >>> write_pair_line_with_masks(Net()).partition(", second")[0]
        'module(first, torch.arange(first.size(1)) < first_lengths[:, None]'
    """
    for signature in list_signatures(module):
        values = [_KNOWN.get(find_role(slot.name)) for slot in signature.slots]
        texts = [i for i, slot in enumerate(signature.slots) if _may_be_text(slot)]
        masks = [i for i, slot in enumerate(signature.slots) if _MASK_WORDS & set(split_name(slot.name))]
        told = [i for i, slot in enumerate(signature.slots) if is_lengths_name(slot.name) and i not in masks]
        if len(texts) != 2 or len(masks) != 2 or len(told) not in (0, 2):
            continue
        for form, places in (("{0}", texts), (_MASK, masks), (_LENGTHS[0], told)):
            for side, i in zip(_SIDES, places, strict=False):
                values[i] = form.format(side)
        if all(value is not None or not slot.required for slot, value in zip(signature.slots, values, strict=True)):
            return signature.write(values)
    return None


def _list_signature_lines(signature: Signature) -> Iterator[str]:
    """Yield the lines that call a module with two texts, if its forward has this signature."""
    texts = [i for i, slot in enumerate(signature.slots) if _may_be_text(slot)]
    told = [i for i, slot in enumerate(signature.slots) if is_lengths_name(slot.name)]
    # With more than two possible texts it is not known which two they are.
    if len(texts) != 2 or len(told) not in (0, 2):
        return
    for text, of_lengths in itertools.product(_TEXTS[: 2 if told else None], _LENGTHS if told else ("",)):
        values = [_KNOWN.get(find_role(slot.name)) if slot.required else None for slot in signature.slots]
        for side, i in zip(_SIDES, texts, strict=True):
            values[i] = text.format(side)
        for side, i in zip(_SIDES, told, strict=False):
            values[i] = of_lengths.format(side)
        if all(value is not None or not slot.required for slot, value in zip(signature.slots, values, strict=True)):
            yield signature.write(values)


def _may_be_text(slot: Slot) -> bool:
    """Return whether an input may be a text: it is required, and its name does not mean something else."""
    if not slot.required or is_lengths_name(slot.name) or _MASK_WORDS & set(split_name(slot.name)):
        return False
    return not slot.named or find_role(slot.name) in {"tokens", "other"}
