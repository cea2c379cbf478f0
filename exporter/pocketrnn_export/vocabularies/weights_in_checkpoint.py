"""Recognize a file of weights by its pickle. The tensors are not read, and no code in the file is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pocketrnn_export.vocabularies.checkpoint_file import find_checkpoint_root

_DEEPEST: Final = 2
# The functions that build tensors, as a pickle names them.
_BUILDS: Final = "_rebuild_"


def holds_weights(path: Path) -> bool:
    """Return whether a file is one of safetensors, or holds a state_dict that `torch.save` wrote.

    Args:
        path: the file.
    """
    return path.suffix == ".safetensors" or _is_or_holds_state_dict(find_checkpoint_root(path))


def _is_or_holds_state_dict(value: Any, depth: int = 0) -> bool:
    if not isinstance(value, dict) or depth > _DEEPEST:
        return False
    of_layers = [one for name, one in value.items() if isinstance(name, str) and "." in name]
    if len(of_layers) > 1 and all(type(one).__name__.startswith(_BUILDS) for one in of_layers):
        return True
    return any(_is_or_holds_state_dict(one, depth + 1) for one in value.values())
