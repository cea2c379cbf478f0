"""The settings of a run from choices by their names, as the command line and `fit` have them. Does not need PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pocketrnn.errors import InputError
from pocketrnn_training.settings.every_run import Settings
from pocketrnn_training.settings.number_settings import NumberSettings
from pocketrnn_training.settings.tag_settings import TagSettings
from pocketrnn_training.settings.text_settings import TextSettings

__all__ = ["default_of", "settings_of_choices"]

_S = TypeVar("_S", bound=Settings)
_COMMON: Final = frozenset(one.name for one in fields(Settings))
# The settings of each kind of rows. Where both have a choice, the first says its default.
_KINDS: Final[tuple[type[Settings], ...]] = (TextSettings, NumberSettings, TagSettings)


def default_of(name: str) -> Any:
    """The default of a choice; of what all runs have, that of texts.

    Example:
        >>> default_of("epochs") is None, default_of("convolution")
        (True, 9)
    """
    return next(getattr(kind, name) for kind in _KINDS if hasattr(kind, name))


def settings_of_choices(kind: type[_S], choices: Mapping[str, Any]) -> _S:
    """The settings of rows of one kind. A choice of the other kind may be there if it is its default.

    Args:
        kind: `TextSettings`, `NumberSettings` or `TagSettings`.
        choices: values by name. None of what both kinds have is for the default.

    Raises:
        InputError: there is no such choice, one is of the other kind of rows, or a value is out of its range.

    Example:
        >>> settings_of_choices(NumberSettings, {"epochs": None, "tokenizer": None, "filters": 8}).epochs
        10
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
            meant = f"Did you mean {near[0]}?" if near else f"Use one of: {', '.join(known)}."
            raise InputError(f"There is no choice {name!r}.", meant)
        if value != getattr(other, name):
            raise InputError(
                f"{name} is {value}, which is for {other.ROWS}, and the data holds {kind.ROWS}.", "Leave it out."
            )
    return kind(**given)
