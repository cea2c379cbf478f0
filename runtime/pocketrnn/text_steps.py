"""The old name of the module with `cleaning`, for code that was written before `pocketrnn.text` became a package."""

from pocketrnn.text.cleaning_shorthand import NAMED_STEPS, cleaning
from pocketrnn.text.cleaning_steps import Keep, Lowercase, Replace

__all__ = ["NAMED_STEPS", "Keep", "Lowercase", "Replace", "cleaning"]
