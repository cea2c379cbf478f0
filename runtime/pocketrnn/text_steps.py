"""`pocketrnn.text_steps.cleaning`, as documented before `pocketrnn.text` had parts."""

from pocketrnn.text.cleaning_steps import NAMED_STEPS, Keep, Lowercase, Replace, cleaning

__all__ = ["NAMED_STEPS", "Keep", "Lowercase", "Replace", "cleaning"]
