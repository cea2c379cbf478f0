"""The old home of `cleaning`, as documented before `pocketrnn.text` became a package."""

from pocketrnn.text.cleaning_steps import Keep, Lowercase, Replace
from pocketrnn.text.written_steps import NAMED_STEPS, cleaning

__all__ = ["NAMED_STEPS", "Keep", "Lowercase", "Replace", "cleaning"]
