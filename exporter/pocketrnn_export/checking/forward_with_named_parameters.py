"""Give TorchScript, or a file, named parameters as Python modules have them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class ModuleWithSignature(nn.Module):
    """A module with named parameters that calls a function of tensors.

    Python cannot read the parameters of TorchScript or of a file.

    Args:
        run: the function: a ScriptModule, or what runs a file.
        names: the names of its inputs.
    """

    def __init__(self, run: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.run = run
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        if all(name.isidentifier() for name in names):
            # The intake reads this signature.
            vars(self)["forward"] = _make_function_with_signature(
                run, [inspect.Parameter(name, kind) for name in names]
            )

    def forward(self, *tensors: Tensor) -> Any:
        """Call the wrapped function on the tensors, and return its result."""
        return self.run(*tensors)


def _make_function_with_signature(run: Any, parameters: Sequence[inspect.Parameter]) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)

    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward
