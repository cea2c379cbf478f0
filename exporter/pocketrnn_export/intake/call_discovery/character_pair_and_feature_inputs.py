"""Find the inputs of forward that take the characters of words, the features of a text or two texts, and list the lines
of code that may call a module of two texts.

The characters are found by name or position, features first by names, then by order. The two inputs whose names allow
it are the texts, in the order of forward. Inputs named as lengths are those of the two texts in this order; there must
be two of them, or none. Masks are not tried: a module runs with both kinds, true at the tokens or at the padding.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from torch import nn

from pocketrnn.text.features_beside_text import Category, Features
from pocketrnn.text.token_characters import Characters
from pocketrnn_export.intake.call_discovery.forward_signature import CodesByInput, Signature, Slot, list_signatures
from pocketrnn_export.intake.call_discovery.parameter_roles import find_role, is_lengths_name, is_text_name, split_name
from pocketrnn_export.intake.character_pair_and_feature_calls import CHARACTERS

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
    lines = (line for signature in list_signatures(module) for line in _yield_signature_lines(signature))
    for line in dict.fromkeys(lines):
        if with_lengths is None or with_lengths == ("_lengths" in line):
            yield line


def find_pair_names(module: nn.Module, line: str) -> tuple[str, str] | None:
    """Return the names of the inputs to which the call `line` gives the first and the second text. Return None if these
    inputs have no names."""
    for signature in list_signatures(module):
        if line in _yield_signature_lines(signature):
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


def _yield_signature_lines(signature: Signature) -> Iterator[str]:
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
    """Return whether an input may take a text: it is required, and its name does not mean anything else."""
    if not slot.required or is_lengths_name(slot.name) or _MASK_WORDS & set(split_name(slot.name)):
        return False
    return not slot.named or find_role(slot.name) in {"tokens", "other"}


_NAMES: Final = frozenset({"char", "chars", "character", "characters", "charids", "letters"})


def is_characters_name(name: str) -> bool:
    """Return whether a name means characters, or numbers of characters."""
    return bool(_NAMES & set(split_name(name)))


def list_character_signatures(signature: Signature, characters: Characters) -> Iterator[tuple[Signature, CodesByInput]]:
    """Yield pairs (signature, codes) for each possible signature of a module that takes characters. The codes are a
    dict from the index of each input that may take characters, or the number of characters in each word, to code for
    the values to try."""
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


# The roles of inputs that may be features where their names do not say so.
_OPEN = ("other",)


def list_feature_assignments(signature: Signature, features: Features) -> Iterator[CodesByInput]:
    """Yield ways to give the features to the inputs, likely ways first. Each way is a dict from the index of an input
    to code for the values to try.

    Every feature is passed once. Numbers that match no input by name share one input, or get one each, and so do
    categories; or one input gets all features as a dict. An input that is named like lengths may get the lengths of the
    text in place of a feature. This is tried first, unless a feature has exactly that name.
    """
    named = find_named_features(signature.slots, features)
    of_text = {i: name for i, name in named.items() if signature.slots[i].role != "lengths"}
    is_like = any(signature.slots[i].name != name for i, name in named.items() if i not in of_text)
    for one in [of_text, named] if is_like else [named, of_text] if len(of_text) < len(named) else [named]:
        yield from _yield_assignments_with_named(signature, features, one)


def _yield_assignments_with_named(
    signature: Signature, features: Features, named: Mapping[int, str]
) -> Iterator[CodesByInput]:
    """Yield ways to give all features to inputs: the features in `named` to the inputs with these indexes, the others
    to the remaining inputs in order. Each way is a dict from the index of an input to code for the values to try."""
    given = {i: _list_codes_for_feature(name, features) for i, name in named.items()}
    left = tuple((name, feature) for name, feature in features if name not in named.values())
    if not left:
        yield given
        return
    open_ = [i for i, slot in enumerate(signature.slots) if slot.role in _OPEN and i not in named]
    required = [i for i in open_ if signature.slots[i].required]
    seen = set()
    for places in (required, open_) if required else (open_,):
        for groups in _yield_feature_groupings(left):
            if len(groups) == len(places) and (key := (tuple(places), groups)) not in seen:
                seen.add(key)
                yield {
                    **given,
                    **{i: _list_codes_for_group(group, features) for i, group in zip(places, groups, strict=True)},
                }
        if len(places) == 1:
            yield {**given, places[0]: _list_codes_for_dict(left)}


def find_named_features(slots: Sequence[Slot], features: Features) -> dict[int, str]:
    """Find the inputs whose names mean a feature: `price`, `prices` or `price_id` for `price`. Return a dict from the
    index of the input to the name of the feature."""
    names = [name for name, _ in features]
    found = {i: slot.name for i, slot in enumerate(slots) if slot.role != "tokens" and slot.name in names}
    for i, slot in enumerate(slots):
        if i in found or not slot.named or slot.role == "tokens":
            continue
        words = set(map(_make_singular, split_name(slot.name)))
        alike = [n for n in names if n not in found.values() and set(map(_make_singular, split_name(n))) <= words]
        if len(alike) == 1:
            found[i] = alike[0]
    return found


def list_features_in_code(code: str | None, features: Features) -> Features:
    """Return the features that an input gets by this code: all numbers if the code uses `features`, all categories if
    it uses `categories`, and otherwise the features whose names it uses."""
    if code in ("features", "categories"):
        return tuple(one for one in features if isinstance(one[1], Category) == (code == "categories"))
    return tuple(one for one in features if re.search(rf"\b{one[0]}\b", code or ""))


def _make_singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 2 else word


def _yield_feature_groupings(left: Features) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yield the ways to divide the features into groups, one group for each input. A group is a single feature, all
    numbers, or all categories."""
    names = tuple((name,) for name, _ in left)
    numbers = tuple(name for name, feature in left if not isinstance(feature, Category))
    categories = tuple(name for name, feature in left if isinstance(feature, Category))
    yield names
    alone = tuple((name,) for name in categories)
    for ids in (alone, (categories,)) if len(categories) > 1 else (alone,):
        for at in range(len(ids) + 1) if numbers else ():
            yield (*ids[:at], numbers, *ids[at:])
        if not numbers:
            yield ids


def _list_codes_for_feature(feature_name: str, features: Features) -> list[str]:
    """Return code for the values that a call may give to an input of one feature, the likely ones first."""
    feature = dict(features)[feature_name]
    if isinstance(feature, Category):
        ids = feature.ids[-1] + 1
        return [feature_name, f"{feature_name}[:, None]", f"F.one_hot({feature_name}, {ids}).float()"]
    return [f"{feature_name}[:, None]", feature_name]


def _list_codes_for_group(group: tuple[str, ...], features: Features) -> list[str]:
    """Return code for the values that a call may give to an input of several features: all numbers, or all
    categories."""
    if len(group) == 1:
        return _list_codes_for_feature(group[0], features)
    kinds: Mapping[str, object] = dict(features)
    is_ids = isinstance(kinds[group[0]], Category)
    every = tuple(name for name, feature in features if isinstance(feature, Category) == is_ids)
    if group == every:
        return ["categories" if is_ids else "features"]
    return [f"torch.stack([{', '.join(group)}], 1)"]


def _list_codes_for_dict(left: Features) -> list[str]:
    """Return code for the values that a call may give to an input that takes a dict from names to features."""
    ends = ("",) if all(isinstance(feature, Category) for _, feature in left) else ("", "[:, None]")
    return [
        "{"
        + ", ".join(f"'{name}': {name}{'' if isinstance(feature, Category) else end}" for name, feature in left)
        + "}"
        for end in ends
    ]
