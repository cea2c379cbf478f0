"""Call a module of words and characters on rows of ids. Each id stands for a word with its characters
(`vocabularies/spelled_word_ids.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

# The name of the characters in a line that calls a module.
CHARACTERS: Final = "characters"


@dataclass(frozen=True)
class CharacterCall:
    """A call that takes (module, tokens, lengths), and calls another function with (module, tokens, lengths,
    characters).

    Attributes:
        wrapped: the wrapped call.
        spellings: what ids stand for.
    """

    wrapped: Callable[[nn.Module, Tensor, Any, Tensor], Any]
    spellings: Spellings

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Any) -> Any:
        """Return the module's answer to rows of ids. Each id stands for a word with its characters."""
        words, characters = torch.from_numpy(self.spellings.words), torch.from_numpy(self.spellings.spelled)
        return self.wrapped(module, words[tokens], lengths, characters[tokens])
