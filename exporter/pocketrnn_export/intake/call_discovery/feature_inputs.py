"""Find the inputs of forward that take the features of a text: first by names, then by order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pocketrnn.text.features_beside_text import Category, Features
from pocketrnn_export.intake.call_discovery.forward_signature import CodesByInput, Signature, Slot
from pocketrnn_export.intake.call_discovery.parameter_roles import split_name

# The roles of inputs that may be features where their names do not say so.
_OPEN = ("other",)


def list_feature_assignments(signature: Signature, features: Features) -> Iterator[CodesByInput]:
    """Yield ways to give the features to inputs, the likely ways first. Each is a dict from the index of an input to
    the code of values to try.

    Every feature is passed once. Numbers that match no input by name share one input, or get one each; so do
    categories. Or one input gets all of them as a dict.

    An input that is named like lengths may get the lengths of the text in place of a feature. This is tried first,
    unless a feature has exactly that name.
    """
    named = find_named_features(signature.slots, features)
    of_text = {i: name for i, name in named.items() if signature.slots[i].role != "lengths"}
    is_like = any(signature.slots[i].name != name for i, name in named.items() if i not in of_text)
    for one in [of_text, named] if is_like else [named, of_text] if len(of_text) < len(named) else [named]:
        yield from _list_assignments_with_named(signature, features, one)


def _list_assignments_with_named(
    signature: Signature, features: Features, named: Mapping[int, str]
) -> Iterator[CodesByInput]:
    """Yield ways to give all features: those in `named` to the inputs with their names, the rest to the other inputs in
    order. A way is a dict from the index of an input to the code of the values to try."""
    given = {i: _list_codes_for_feature(name, features) for i, name in named.items()}
    left = tuple((name, feature) for name, feature in features if name not in named.values())
    if not left:
        yield given
        return
    open_ = [i for i, slot in enumerate(signature.slots) if slot.role in _OPEN and i not in named]
    required = [i for i in open_ if signature.slots[i].required]
    seen = set()
    for places in (required, open_) if required else (open_,):
        for groups in _list_feature_groupings(left):
            if len(groups) == len(places) and (key := (tuple(places), groups)) not in seen:
                seen.add(key)
                yield {
                    **given,
                    **{i: _list_codes_for_group(group, features) for i, group in zip(places, groups, strict=True)},
                }
        if len(places) == 1:
            yield {**given, places[0]: _list_codes_for_dict(left)}


def find_named_features(slots: Sequence[Slot], features: Features) -> dict[int, str]:
    """Find the inputs that have the name of a feature: `price`, `user_id` for `user`, `prices` for `price`. Return a
    dict from the index of the input to the name of the feature."""
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
    """Return the features that the code of an input's value uses: all numbers for `features`, all categories for
    `categories`, else the features whose names are in the code."""
    if code in ("features", "categories"):
        return tuple(one for one in features if isinstance(one[1], Category) == (code == "categories"))
    return tuple(one for one in features if re.search(rf"\b{one[0]}\b", code or ""))


def _make_singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 2 else word


def _list_feature_groupings(left: Features) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yield the ways to group the features, with one group of names for each input. A group is one feature, all
    features that are numbers, or all categories."""
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
    """Return the code of the possible values for an input of one feature, the likely ones first."""
    feature = dict(features)[feature_name]
    if isinstance(feature, Category):
        ids = feature.ids[-1] + 1
        return [feature_name, f"{feature_name}[:, None]", f"F.one_hot({feature_name}, {ids}).float()"]
    return [f"{feature_name}[:, None]", feature_name]


def _list_codes_for_group(group: tuple[str, ...], features: Features) -> list[str]:
    """Return the code of possible values for an input of several features: all numbers, or all categories."""
    if len(group) == 1:
        return _list_codes_for_feature(group[0], features)
    kinds: Mapping[str, object] = dict(features)
    is_ids = isinstance(kinds[group[0]], Category)
    every = tuple(name for name, feature in features if isinstance(feature, Category) == is_ids)
    if group == every:
        return ["categories" if is_ids else "features"]
    return [f"torch.stack([{', '.join(group)}], 1)"]


def _list_codes_for_dict(left: Features) -> list[str]:
    """Return the code of possible values for an input that is a dict from names to features."""
    ends = ("",) if all(isinstance(feature, Category) for _, feature in left) else ("", "[:, None]")
    return [
        "{"
        + ", ".join(f"'{name}': {name}{'' if isinstance(feature, Category) else end}" for name, feature in left)
        + "}"
        for end in ends
    ]
