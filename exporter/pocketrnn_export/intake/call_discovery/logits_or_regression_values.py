"""Find out whether a module's numbers are logits of labels, or values such as a rating. A linear layer can give
both. The range of the numbers, or the loss in the module's file, shows which."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from pocketrnn.errors import ExportError
from pocketrnn_export.intake.calling_convention import Convention
from pocketrnn_export.intake.compiled_call_line import wrap_last_expression

_LOSS_OF_VALUES: Final = re.compile(r"\b((?:MSE|L1|SmoothL1|Huber)Loss|(?:mse|l1|smooth_l1|huber)_loss)\b")
_LOSS_OF_LABELS: Final = re.compile(
    r"BCE|CrossEntropy|cross_?entropy|NLL|nll_loss|[mM]argin_?[lL]oss|[fF]ocal|logsigmoid|log_?softmax", re.IGNORECASE
)
# A logit of 1 is a probability of 0.73. If every text has at least this logit, all texts would have the second label.
_SURE: Final = 1.0


class UnclearNumbersError(ExportError):
    """The module's numbers may be of several kinds.

    Attributes:
        choices: what `gives` may be.
        labels_decide: whether the labels that the owner's classifier gives show which it is. Its probabilities do.
    """

    def __init__(self, problem: str, remedy: str, *, choices: tuple[str, ...] = ("logits",), one: bool) -> None:
        super().__init__(problem, remedy)
        self.choices, self.labels_decide = choices, one and choices == ("logits",)


def refuse_regression_values(
    module: nn.Module, convention: Convention, numbers: Tensor, *, call_was_searched: bool
) -> None:
    """Refuse a module whose numbers for texts may be values instead of logits.

    Args:
        module: the owner's module.
        convention: how it is called.
        numbers: what it gives to some texts, [texts, units].
        call_was_searched: false for a call that the user wrote, which may turn values into logits.

    Raises:
        UnclearNumbersError: a single number is never below 1; or the file names a loss of values and none of labels.
    """
    one, least, most = convention.units == 1, float(numbers.min()), float(numbers.max())
    loss = _find_loss_of_values(module) if call_was_searched else None
    if one and least > _SURE:
        why = f"from {least:.3g} to {most:.3g} for the tried texts: as logits, they give every text the second label"
    elif loss is not None:
        meant = "it may be a value, such as a rating" if one else "they may be values, such as ratings"
        why = f"and its file names {loss}, but no loss for labels: {meant}"
    else:
        return
    divided = (
        "; for a text, subtract the value that separates the two labels, such as 3 in "
        f'--call "{wrap_last_expression(convention.line, "{} - 3")}" --gives logits'
    )
    raise UnclearNumbersError(
        f"The module gives {'one number' if one else f'{convention.units} numbers'} for each text, {why}.",
        "If it is a logit, give --gives logits (gives='logits'). If it is a value, export a module of sequences of "
        f"numbers with --values{divided if one else '; a classifier of texts gives labels, not values'}.",
        one=one,
    )


def _find_loss_of_values(module: nn.Module) -> str | None:
    """Return the loss for values that the file of a module's class names. Return None if it names none, or also a loss
    for labels."""
    file, text = getattr(sys.modules.get(type(module).__module__), "__file__", None), ""
    if isinstance(file, str) and file.endswith((".py", ".ipynb")):
        with contextlib.suppress(OSError):
            text = Path(file).read_text(encoding="utf-8", errors="replace")
    named = _LOSS_OF_VALUES.search(text)
    return None if named is None or _LOSS_OF_LABELS.search(text) else named[1]
