"""Find labels in the owner's code, to propose them. The code is read and not run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketrnn_export.source_code.files_near_module import list_syntax_nodes_near
from pocketrnn_export.source_code.parts_of_functions_and_classes import read_last_name

_NAMES: Final = re.compile("label|class|categor|sentiment|emotion|intent|topic|target|columns", re.IGNORECASE)
_ANSWERS: Final = re.compile("pred|prob|label|class|score|out|sent|result|logit|conf|ans", re.IGNORECASE)
_MOST_LABELS: Final = 200


@dataclass(frozen=True)
class LabelsInCode:
    """Labels that the code seems to name, in the order of the logits.

    Attributes:
        where: the file and line.
        labels: the labels.
    """

    where: str
    labels: tuple[str, ...]


def find_labels_in_code(path: Path) -> list[LabelsInCode]:
    """Find what may be the labels of a classifier in its file and the files near it: a list or a dict of a name like
    `LABELS`, a dict from numbers to strings, or `"good" if prediction == 1 else "bad"`. Equal ones are found once.

    Args:
        path: the file of the module.

    Example:
        >>> find_labels_in_code(Path("api.py"))
        [LabelsInCode(where='api.py, line 9', labels=('bad', 'good'))]
    """
    found: dict[tuple[str, ...], str] = {}
    for where, node in list_syntax_nodes_near(path):
        for labels in _list_labels(node):
            good = [one.strip() for one in labels]
            if 1 < len({*good}) == len(good) <= _MOST_LABELS and all(good) and "," not in "".join(good):
                found.setdefault(tuple(good), where)
    return [LabelsInCode(where, labels) for labels, where in found.items()]


def _list_labels(node: ast.AST) -> Iterator[Sequence[str]]:
    """Yield the labels that a piece of code seems to name."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        is_own = isinstance(target, ast.Name) or (
            isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self"
        )
        is_named = is_own and _NAMES.search(read_last_name(target)) is not None
        if is_named and isinstance(node.value, ast.List | ast.Tuple):
            yield _read_strings(node.value.elts)
        elif isinstance(node.value, ast.Dict):
            yield from _read_labels_of_dict(node.value, is_named=is_named)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "map":
        for argument in node.args:
            if isinstance(argument, ast.Dict):
                yield from _read_labels_of_dict(argument, is_named=True)
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
        yield from _read_labels_of_dict(node.value, is_named=True)
    elif isinstance(node, ast.IfExp):
        yield _order_choice_by_prediction(node.test, node.body, node.orelse)
    elif isinstance(node, ast.If):
        for body, other in zip(node.body, node.orelse, strict=False):
            yield _order_choice_by_prediction(node.test, *_list_values_or_differing_words(body, other))


def _read_labels_of_dict(node: ast.Dict, *, is_named: bool) -> Iterator[Sequence[str]]:
    """Yield the labels of a dict from the numbers 0, 1, ... to labels. If the name of the dict means labels, also take
    numbers from 1 on, and a dict from labels to numbers."""
    pairs = [
        (key.value, value.value)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
    ]
    if len(pairs) != len(node.keys):
        return
    for numbered in (pairs, [(value, key) for key, value in pairs] if is_named else []):
        by_number = {k: v for k, v in numbered if type(k) is int and isinstance(v, str)}
        for first in (0, 1) if is_named else (0,):
            if len(by_number) == len(pairs) > 1 and {*by_number} == {*range(first, first + len(pairs))}:
                yield [by_number[i] for i in sorted(by_number)]


def _order_choice_by_prediction(test: ast.expr, *chosen: ast.expr | None) -> Sequence[str]:
    """Return the two strings between which code chooses by a prediction: first that of the number 0, then that of 1.
    Return an empty sequence for other code."""
    strings = _read_strings([one for one in chosen if one is not None])
    if len(strings) != 2 or not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return ()
    (operator,), (right,) = test.ops, test.comparators
    number = right.value if isinstance(right, ast.Constant) else None
    names = [read_last_name(one) for one in ast.walk(test.left) if isinstance(one, ast.Name | ast.Attribute)]
    if type(number) not in (int, float) or not any(_ANSWERS.search(name) for name in names):
        return ()
    of_one = (isinstance(operator, ast.Eq) and number == 1) or isinstance(operator, ast.Gt | ast.GtE)
    of_zero = (isinstance(operator, ast.Eq) and number == 0) or isinstance(operator, ast.Lt | ast.LtE)
    if not 0 <= number <= 1 or of_one == of_zero:  # type: ignore[operator]
        return ()
    return strings[::-1] if of_one else strings


def _list_values_or_differing_words(body: ast.stmt, other: ast.stmt) -> Sequence[ast.expr | None]:
    """Return the values of two statements, such as the strings that they assign or return. If both print a string, and
    these differ in one word, as in `print("It is good.")`, return that word of each."""
    values = [getattr(one, "value", None) for one in (body, other)]
    if not all(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "print" for one in values):
        return values
    printed = [_read_strings(one.args) for one in values if isinstance(one, ast.Call)]
    words = [re.findall(r"[\w-]+", " ".join(one)) for one in printed]
    differing = [pair for pair in zip(*words, strict=False) if pair[0] != pair[1]]
    if len(words[0]) != len(words[1]) or len(differing) != 1:
        return ()
    return [ast.Constant(one) for one in differing[0]]


def _read_strings(nodes: Sequence[ast.expr]) -> list[str]:
    """Return the strings of a list of nodes; an empty list if one of them is not a string."""
    found = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return found if len(found) == len(nodes) else []
