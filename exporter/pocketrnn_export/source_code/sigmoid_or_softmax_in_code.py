"""Find out whether the owner's code gives each label a probability of its own, by a sigmoid, or shares one among all
labels, by a softmax. The code is read and not run."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from pocketrnn.errors import short_repr
from pocketrnn_export.source_code.syntax_tree_parts import read_last_name
from pocketrnn_export.source_code.text_settings_in_code import list_code_with_imports

# The losses and the functions of each kind. A loss says more than a function, which may be a gate.
_OF_SEVERAL: Final = (
    ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits", "BCELoss", "MultiLabelSoftMarginLoss",
     "multilabel_soft_margin_loss"),
    ("sigmoid", "Sigmoid", "sigmoid_", "expit"),
)  # fmt: skip
_OF_ONE: Final = (
    ("CrossEntropyLoss", "cross_entropy", "NLLLoss", "nll_loss"),
    ("softmax", "Softmax", "log_softmax", "LogSoftmax"),
)


class ActivationsInCode(NamedTuple):
    """The code that shows whether a text may have several labels (sigmoid) or exactly one (softmax).

    Attributes:
        of_several: the first line that shows several labels, as a part of a sentence: `api.py, line 3, says
            'torch.sigmoid(x)'`; empty if there is none.
        of_one: the first line that shows exactly one label, in the same form.
    """

    of_several: str = ""
    of_one: str = ""

    @property
    def sentence(self) -> str:
        """A sentence for the user that says why --multi-label is proposed, or why it is in doubt; empty if no line
        shows several labels."""
        if not self.of_several or not self.of_one:
            said = f"A text may have several labels, or none, as --multi-label says: {self.of_several}."
            return said if self.of_several else ""
        return (
            f"It is in doubt whether a text may have several labels: {self.of_several}, but {self.of_one}. If it may, "
            "give --multi-label."
        )

    @property
    def are_of_several(self) -> bool:
        """Whether a line shows several labels and none shows exactly one."""
        return bool(self.of_several) and not self.of_one

    def list_hints(self, *, multi_label: bool) -> list[str]:
        """Return a list with one hint if the code contradicts `multi_label`; else an empty list.

        Args:
            multi_label: whether the export is made for several labels of a text.
        """
        if multi_label and self.of_one and not self.of_several:
            return [
                "The bundle gives each label a probability of its own, by a sigmoid. But "
                f"{self.of_one}: if a text has one label, leave --multi-label out"
            ]
        if multi_label or not self.of_several:
            return []
        also = f" ({self.of_one})" if self.of_one else ""
        return [
            f"The bundle's probabilities are a softmax over the labels, so they add up to 1{also}. But "
            f"{self.of_several}: if a text may have several labels, give --multi-label"
        ]


def find_activations_in_code(paths: Iterable[Path]) -> ActivationsInCode:
    """Find the lines that show whether a text may have several labels: losses, and calls of a sigmoid or softmax. Calls
    inside modules do not count, since they may be gates or attention weights.

    Args:
        paths: the files. Files in the same folder that they import are read, too.

    Example:
        >>> find_activations_in_code([Path("api.py")]).of_several
        "api.py, line 3, says 'torch.sigmoid(x)'"
    """
    found: dict[str, str] = {}
    for path, cell, tree in list_code_with_imports(paths):
        inside = {
            part
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and any("Module" in ast.unparse(base) for base in node.bases)
            for part in ast.walk(node)
        }
        for node in (one for one in ast.walk(tree) if isinstance(one, ast.Call)):
            name = read_last_name(node.func)
            for kind, (losses, functions) in (("several", _OF_SEVERAL), ("one", _OF_ONE)):
                if name in losses or (name in functions and node not in inside):
                    said = f"{cell.describe_place(path, node)}, says {short_repr(ast.unparse(node), 60)}"
                    found.setdefault(f"{kind} {'loss' if name in losses else 'function'}", said)
    lines = (found.get(f"{kind} loss") or found.get(f"{kind} function", "") for kind in ("several", "one"))
    return ActivationsInCode(*lines)
