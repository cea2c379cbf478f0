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
    """The settings of a training run of pairs of texts.

    They are those of `TextSettings`, except those that only apply to a single text.

    There is no linear part, and so nothing to compare by folds; each text is read by its length; there is no teacher.

    Raises:
        InputError: a value is out of its range, or the setting is for rows of one text.

    Example:
        >>> PairSettings(epochs=3).fill_missing_values(1000, classes=3).linear
        False
    """

    ROWS: ClassVar[str] = "pairs of texts"

    def fill_missing_values(self, rows: int, classes: int, *, several_labels: bool = False) -> Self:
        """Return the settings with a value for each None that the data decides, as for single texts. There is no
        linear part.

        Example:
            >>> PairSettings().fill_missing_values(1000, classes=3).batch_size
            64
        """
        without = replace(self, linear=False)
        return super(PairSettings, without).fill_missing_values(rows, classes, several_labels=several_labels)

    def refuse_unsupported_sources(self, **sources: object) -> None:
        """Check that there is not a teacher: a teacher answers only rows of one text.

        Raises:
            InputError: a teacher is given.

        Example:
            >>> PairSettings().refuse_unsupported_sources(teacher=None)
        """
        if sources.get("teacher") not in (None, ()):
            raise InputError(
                f"A teacher answers single texts, but the data holds {self.ROWS}.", "Leave the teacher out."
            )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.packed:
            raise InputError(
                "A classifier of two texts must be packed, not padded.",
                "Leave out --padded, or in Python packed=False.",
            )
        for name in _OF_ONE_TEXT:
            value, default = getattr(self, name), getattr(TextSettings, name)
            if value != default and not (name in _OF_LINEAR_PART and value is False):
                raise InputError(
                    f"{name} is {value}, which is for single texts, but the data holds {self.ROWS}.",
                    f"Leave {name} out.",
                )
