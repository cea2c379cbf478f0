"""Make the settings of a run from options by name, from the command line or from `fit`. This needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pocketrnn.errors import InputError
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.settings_of_all_runs import Settings
from pocketrnn_training.settings.tag_settings import TagSettings
from pocketrnn_training.settings.text_settings import TextSettings

__all__ = ["find_default_of_setting_in_any_kind", "make_settings_from_values_by_name"]

_S = TypeVar("_S", bound=Settings)
_COMMON: Final = frozenset(one.name for one in fields(Settings))
# The settings of each kind of rows. Where several have an option, the first decides its default.
_KINDS: Final[tuple[type[Settings], ...]] = (TextSettings, NumberSettings, TagSettings)


def find_default_of_setting_in_any_kind(name: str) -> Any:
    """Return the default of a setting by its name.

    It is that of the first of the classes `TextSettings`, `NumberSettings` and `TagSettings` that has the setting.
    """
    return next(getattr(kind, name) for kind in _KINDS if hasattr(kind, name))


def make_settings_from_values_by_name(kind: type[_S], choices: Mapping[str, Any]) -> _S:
    """Make the settings of a run from values by name.

    Args:
        kind: the class of the settings.
        choices: values by name. For a setting that all kinds of rows have, None means the default. A setting that
            `kind` lacks, but another class has, must have its default.

    Raises:
        InputError: the name of a setting is unknown, a value is out of its range, or a setting for another kind of rows
            is given.
    """
    given = {}
    for name, value in choices.items():
        if name in kind.__dataclass_fields__:
            if value is not None or name not in _COMMON:
                given[name] = value
            continue
        other = next((other for other in _KINDS if name in other.__dataclass_fields__), None)
        if other is None:
            known = [one.name for one in fields(kind)]
            near = get_close_matches(name, known, n=1)
            meant = f"Did you mean {near[0]}?" if near else f"Use only these settings: {', '.join(known)}."
            raise InputError(f"There is no setting {name!r} for {kind.ROWS}.", meant)
        if value != getattr(other, name):
            raise InputError(
                f"{name} is {value}, but this setting is for {other.ROWS}, and the data holds {kind.ROWS}.",
                f"Leave out the setting {name}.",
            )
    return kind(**given)
