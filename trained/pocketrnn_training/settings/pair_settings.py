"""The settings of a training run of pairs of texts, and their defaults. This needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self

from pocketrnn.errors import InputError
from pocketrnn_training.settings.text_settings import TextSettings

__all__ = ["PairSettings"]

# The settings of `TextSettings` that pairs do not have; those of the linear part may also be switched off.
_OF_LINEAR_PART: Final = ("linear", "compare")
_OF_ONE_TEXT: Final = (*_OF_LINEAR_PART, "ngrams", "adversarial", "teacher_weight", "teacher_temperature")


@dataclass(frozen=True)
class PairSettings(TextSettings):
    """The settings of a training run on pairs of texts: those of `TextSettings` that apply to pairs.

    A classifier of pairs has no linear part, reads no padding and cannot learn from a teacher. Settings for these must
    keep their defaults.

    Raises:
        InputError: a value is out of its range, or a setting is given that is only for single texts.

    Example:
        >>> PairSettings(epochs=3).fill_missing_values(1000, classes=3).linear
        False
    """

    ROWS: ClassVar[str] = "pairs of texts"

    def fill_missing_values(self, rows: int, classes: int, *, several_labels: bool = False) -> Self:
        """Return the settings with a value for each None that the data decides; `linear` becomes False.

        Example:
            >>> PairSettings().fill_missing_values(1000, classes=3).batch_size
            64
        """
        without = replace(self, linear=False)
        return super(PairSettings, without).fill_missing_values(rows, classes, several_labels=several_labels)

    def refuse_unsupported_sources(self, **sources: object) -> None:
        """Check that no teacher is given, since a teacher answers only single texts.

        Raises:
            InputError: a teacher is given.

        Example:
            >>> PairSettings().refuse_unsupported_sources(teacher=None)
        """
        if sources.get("teacher") not in (None, ()):
            raise InputError(
                f"A teacher answers single texts, but the data holds {self.ROWS}.", "Leave out the teacher."
            )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.packed:
            raise InputError(
                "A classifier of pairs of texts cannot read padding (--padded, or packed=False in Python).",
                "Leave out this setting.",
            )
        for name in _OF_ONE_TEXT:
            value, default = getattr(self, name), getattr(TextSettings, name)
            if value != default and not (name in _OF_LINEAR_PART and value is False):
                raise InputError(
                    f"{name} is {value}, but this setting is for single texts, and the data holds {self.ROWS}.",
                    f"Leave out the setting {name}.",
                )
