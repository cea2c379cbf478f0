"""Find labels in the owner's code, to propose them, or read a list of labels that the user names. The code is read and
not run."""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from pocketrnn.errors import InputError
from pocketrnn_export.source_code.files_near_module import list_syntax_nodes_near
from pocketrnn_export.source_code.notebook import read_python_statements
from pocketrnn_export.source_code.syntax_tree_parts import Function, find_defaults, list_assignments, read_last_name

_NAMES: Final = re.compile(
    "label|class|categor|sentiment|emotion|intent|topic|target|columns|polarity|genre|mood", re.IGNORECASE
)
_ANSWERS: Final = re.compile(
    "pred|prob|label|class|score|out|sent|result|logit|conf|ans|argmax|sigmoid|softmax|round|y_?hat|^[py]$",
    re.IGNORECASE,
)
_THRESHOLDS: Final = re.compile("thr|cut_?off", re.IGNORECASE)
# A truth value with such a name is a prediction, and not a list that may be empty.
_PREDICTIONS: Final = re.compile("pred|argmax|round", re.IGNORECASE)
_MOST_LABELS: Final = 200
# Functions that only convert or number a list.
_LIKE_LISTS: Final = frozenset(("array", "asarray", "list", "tuple", "dict", "OrderedDict", "Series", "Index"))
_AT_LEAST: Final = (ast.Gt, ast.GtE)
_LESS: Final = (ast.Lt, ast.LtE)
_Values: TypeAlias = Sequence[ast.expr | None]


@dataclass(frozen=True)
class LabelsInCode:
    """Labels that the code seems to name, in the order of the logits.

    Attributes:
        where: the file and line.
        labels: the labels.
        by_prediction: whether code chooses between them by a prediction.
    """

    where: str
    labels: tuple[str, ...]
    by_prediction: bool = False


class _Case(NamedTuple):
    """A branch of code that chooses by a prediction.

    Attributes:
        left: the code of the prediction.
        is_answer: whether its names are those of predictions.
        number: the number to which it must be equal.
        is_split: whether the test parts the numbers 0 and 1, as `> 0.5` does, and is not one of many.
        then: what the branch does.
    """

    left: str
    is_answer: bool
    number: int
    is_split: bool
    then: Sequence[ast.AST]


def find_labels_in_code(path: Path, *, in_notebooks: bool = False) -> list[LabelsInCode]:
    """Find what may be the labels of a classifier in the code of its file and of the files near it. Each list of labels
    is returned once.

    Labels are looked for in a list or a dict with a name like `LABELS`, in a dict from numbers to strings, and in a
    choice by a prediction, such as `"good" if prediction == 1 else "bad"`.

    Args:
        path: the file of the module.
        in_notebooks: whether to read the notebooks near the file in place of the Python files.

    Example:
        >>> find_labels_in_code(Path("api.py"))
        [LabelsInCode(where='api.py, line 9', labels=('bad', 'good'))]
    """
    found: dict[tuple[str, ...], LabelsInCode] = {}
    search = _LabelSearch()
    for where, node in list_syntax_nodes_near(path, in_notebooks=in_notebooks):
        for labels in search.list_labels(node):
            good = [one.strip() for one in labels]
            if 1 < len({*good}) == len(good) <= _MOST_LABELS and all(good) and "," not in "".join(good):
                by_prediction = isinstance(node, ast.IfExp | ast.If | ast.Match | ast.Subscript)
                if tuple(good) not in found or (by_prediction and not found[tuple(good)].by_prediction):
                    found[tuple(good)] = LabelsInCode(where, tuple(good), by_prediction)
    return [*found.values()]


class _LabelSearch:
    """Reads the labels of single pieces of code, of which the outer ones come first."""

    def __init__(self) -> None:
        # By the identity of an `if`: the statements after it; and those that are a branch of an earlier one.
        self._following: dict[int, Sequence[ast.stmt]] = {}
        self._inner: set[int] = set()

    def list_labels(self, node: ast.AST) -> Iterator[Sequence[str]]:
        """Yield the labels that a piece of code seems to name."""
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, ())
            for at, one in enumerate(block) if isinstance(block, list) else ():
                if isinstance(one, ast.If):
                    self._following[id(one)] = block[at + 1 :]
        if isinstance(node, ast.IfExp | ast.If | ast.Match):
            yield from self._read_choice(node)
        elif isinstance(node, ast.Call):
            yield from _read_arguments(node)
        elif isinstance(node, ast.Subscript):
            yield from _read_subscript(node)
        else:
            for name, value in _list_names_and_values(node):
                yield from _read_named_value(name, value)

    def _read_choice(self, node: ast.IfExp | ast.If | ast.Match) -> Iterator[Sequence[str]]:
        """Yield the labels between which code chooses by a prediction, in the order of the predicted numbers: "bad" and
        "good" for `"good" if prediction == 1 else "bad"`."""
        if id(node) in self._inner:
            return
        cases: list[_Case] = []
        other: Sequence[ast.AST] = ()
        if isinstance(node, ast.Match):
            left = ast.unparse(node.subject)
            for case in node.cases:
                number = ast.unparse(case.pattern)
                if number.isdecimal():
                    cases.append(_Case(left, _is_answer(node.subject), int(number), is_split=False, then=case.body))
                else:
                    other = case.body
        else:
            cases, other = self._list_cases(node)
        branches = [one.then for one in cases]
        # After branches for all numbers, a function may raise an error.
        for some in ([*branches, other], branches) if other else (branches,):
            found = [_order_by_number(cases, _read_strings(values)) for values in _list_values_of_branches(some)]
            if any(found):
                yield from found
                return

    def _list_cases(self, node: ast.IfExp | ast.If) -> tuple[list[_Case], Sequence[ast.AST]]:
        """Return the branches of a chain of `if` that test the same prediction, and the statements or expressions for
        all other cases."""
        cases: list[_Case] = []
        rest: Sequence[ast.AST] = [node]
        while rest and isinstance(rest[0], ast.IfExp | ast.If):
            first = rest[0]
            then = first.body if isinstance(first, ast.If) else [first.body]
            case = _read_test(first.test, then)
            if case is None or (cases and case.left != cases[0].left):
                break
            self._inner.add(id(first))
            cases.append(case)
            otherwise = first.orelse if isinstance(first, ast.If) else [first.orelse]
            following = self._following.get(id(first), ())
            is_next = isinstance(then[-1], ast.Return) or (following and isinstance(following[0], ast.If))
            rest = otherwise or (following if is_next else ())
        return cases, rest


def _list_names_and_values(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield each name and its value in an assignment, a dict or the defaults of a function. The name is empty for an
    item, for a key that is not a string, and for an attribute of another object than `self`."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        is_own = isinstance(targets[0], ast.Name) or (
            isinstance(targets[0], ast.Attribute) and getattr(targets[0].value, "id", "") == "self"
        )
        if len(targets) == 1:
            yield read_last_name(targets[0]) if is_own else "", node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield (key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""), value
    elif isinstance(node, Function):
        yield from find_defaults(node).items()


def _read_arguments(node: ast.Call) -> Iterator[Sequence[str]]:
    """Yield the labels among the arguments of a call, such as `report(target_names=["a", "b"])`, and those that a call
    looks up by number, such as `column.map({"a": 0, "b": 1})` and `{0: "a", 1: "b"}.get(number)`."""
    for keyword in node.keywords:
        if "column" not in (keyword.arg or ""):
            yield from _read_named_value(keyword.arg or "", keyword.value)
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    mapped: Iterable[ast.AST] = node.args if name in ("map", "replace") else ()
    for one in (part for argument in mapped for part in ast.walk(argument)):
        if isinstance(one, ast.Dict):
            yield from _read_labels_of_dict(one, is_named=True)
    if name == "get" and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Dict):
        yield from _read_labels_of_dict(node.func.value, is_named=True)


def _read_subscript(node: ast.Subscript) -> Iterator[Sequence[str]]:
    """Yield the labels from which an index selects one: `{0: "a", 1: "b"}[number]` and `["a", "b"][prediction]`."""
    if isinstance(node.value, ast.Dict):
        yield from _read_labels_of_dict(node.value, is_named=True)
    elif _is_answer(node.slice):
        yield _read_list(node.value)


def _read_named_value(name: str, value: ast.expr | None) -> Iterator[Sequence[str]]:
    """Yield the labels in the value of a name. If the name does not mean labels, only a dict from 0, 1, ... to labels
    counts."""
    is_named = _NAMES.search(name) is not None
    if isinstance(value, ast.Dict):
        yield from _read_labels_of_dict(value, is_named=is_named)
    elif is_named and value is not None:
        yield _read_list(value)


def _read_list(node: ast.expr) -> Sequence[str]:
    """Return the strings in the code of a list, such as `["a", "b"]`, `"a b".split()` or `np.array(["a", "b"])`. Return
    an empty sequence for other code."""
    if isinstance(node, ast.List | ast.Tuple):
        return _read_strings(node.elts)
    if isinstance(node, ast.Call) and read_last_name(node.func) == "split" and isinstance(node.func, ast.Attribute):
        text = getattr(node.func.value, "value", None)
        by = _read_strings(node.args)
        return text.split(by[0] if by else None) if isinstance(text, str) and len(by) == len(node.args) < 2 else ()
    is_call = isinstance(node, ast.Call) and read_last_name(node.func) in _LIKE_LISTS
    if not is_call and not isinstance(node, ast.DictComp | ast.ListComp):
        return ()
    found = [_read_strings(one.elts) for one in ast.walk(node) if isinstance(one, ast.List | ast.Tuple) and one.elts]
    found = [one for one in found if one]
    return found[0] if len(found) == 1 else ()


def _read_labels_of_dict(node: ast.Dict, *, is_named: bool) -> Iterator[Sequence[str]]:
    """Yield the labels of a dict from the numbers 0, 1, ... to labels, in the order of the numbers. With `is_named`,
    the dict's name means labels: then other numbers, such as -1, and a dict from labels to numbers count, too."""
    pairs = [(_read_constant(key), _read_constant(value)) for key, value in zip(node.keys, node.values, strict=True)]
    for numbered in (pairs, [(value, key) for key, value in pairs] if is_named else []):
        by_number: dict[int, str] = {}
        for number, label in numbered:
            written = number if not isinstance(number, str) else int(number) if number.isdecimal() else None
            if isinstance(written, int) and isinstance(label, str):
                by_number.setdefault(int(written), label)
        is_whole = len(by_number) == len(pairs) or (is_named and len({one for _, one in numbered}) == len(pairs))
        in_order = [by_number[i] for i in sorted(by_number)]
        if is_whole and is_named:
            yield [*dict.fromkeys(in_order)]
        elif is_whole and {*by_number} == {*range(len(pairs))}:
            yield in_order


def _read_constant(node: ast.expr | None) -> object:
    """Return the string or integer that a constant in the code holds; None for other code."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = getattr(node.operand, "value", None)
        return -number if type(number) is int else None
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int | str) else None


def _read_test(test: ast.expr, then: Sequence[ast.AST]) -> _Case | None:
    """Read a test of a prediction, such as `prediction == 1`, `p > threshold` or `not prediction`. Return a case with
    the predicted number for which the branch `then` is chosen; None for another test."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        opposite = _read_test(test.operand, then)
        both = opposite is not None and opposite.is_split and opposite.number in (0, 1)
        return opposite._replace(number=1 - opposite.number) if opposite is not None and both else None
    names = _list_names(test)
    if isinstance(test, ast.Name | ast.Attribute | ast.Call):
        is_prediction = any(map(_PREDICTIONS.search, names))
        return _Case(ast.unparse(test), True, 1, is_split=True, then=then) if is_prediction else None
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    (operator,), left, (right,) = test.ops, test.left, test.comparators
    is_reversed = isinstance(left, ast.Constant)
    if is_reversed:
        left, right = right, left
    is_greater = isinstance(operator, _LESS if is_reversed else _AT_LEAST)
    is_less = isinstance(operator, _AT_LEAST if is_reversed else _LESS)
    number = _read_constant(right) if not isinstance(right, ast.Constant) else right.value
    is_answer = _is_answer(left)
    if is_greater or is_less:
        # A number between is a threshold, whatever its left side is called.
        is_threshold = isinstance(number, float) and 0 < number < 1
        is_threshold |= is_answer and (number in (0, 1) or any(map(_THRESHOLDS.search, _list_names(right))))
        return _Case(ast.unparse(left), True, int(is_greater), is_split=True, then=then) if is_threshold else None
    if not isinstance(operator, ast.Eq | ast.NotEq) or not isinstance(number, int | float) or number % 1:
        return None
    if isinstance(operator, ast.NotEq):
        is_split = is_answer and number in (0, 1)
        return _Case(ast.unparse(left), True, 1 - int(number), is_split=True, then=then) if is_split else None
    return _Case(ast.unparse(left), is_answer, int(number), is_split=False, then=then)


def _order_by_number(cases: Sequence[_Case], strings: Sequence[str]) -> Sequence[str]:
    """Return the strings of the branches in the order of their predicted numbers. One string more than there are cases
    is that of the remaining number. Return an empty sequence if numbers are missing."""
    numbers, has_other = [one.number for one in cases], len(strings) == len(cases) + 1
    # Three strings or more are labels, whatever the number is called.
    if len(strings) < 2 or not (len(strings) > 2 or cases[0].is_answer):
        return ()
    if numbers[0] not in (0, 1) if len(cases) == 1 else any(one.is_split for one in cases):
        return ()
    for first in (0, min(numbers)):
        left = {*range(first, first + len(strings))} - {*numbers}
        if len(left) == has_other and len({*numbers}) == len(cases):
            both = zip([*numbers, *left], strings, strict=True)
            return [label for _, label in sorted(both)]
    return ()


def _list_values_of_branches(branches: Sequence[Sequence[ast.AST]]) -> Iterator[_Values]:
    """Yield sequences of values that correspond in all branches, such as the strings that each assigns or returns. For
    printed strings that differ in one word, as in `print("It is good.")`, yield the words."""
    for alike in dict.fromkeys([*zip(*branches, strict=False), tuple(one[-1] for one in branches)]):
        values = [one if isinstance(one, ast.expr) else getattr(one, "value", None) for one in alike]
        if all(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "print" for one in values):
            yield _list_differing_words([_write_plain_parts(one.args) for one in values if isinstance(one, ast.Call)])
        elif all(isinstance(one, ast.Tuple) for one in values):
            # Such as the label and its probability.
            yield from zip(*(one.elts for one in values if isinstance(one, ast.Tuple)), strict=False)
        else:
            yield values


def _list_differing_words(texts: Sequence[str]) -> _Values:
    """Return the words at the only place in which the texts differ. Return an empty sequence if they differ in several
    places, or in the number of words."""
    words = [re.findall(r"[\w-]+", text) for text in texts]
    differing = [alike for alike in itertools.zip_longest(*words) if len({*alike}) > 1]
    return [ast.Constant(one) for one in differing[0]] if len(differing) == 1 and None not in differing[0] else ()


def _write_plain_parts(nodes: Sequence[ast.expr]) -> str:
    """Join the constant strings among printed expressions, including those of f-strings."""
    parts = [part for node in nodes for part in (node.values if isinstance(node, ast.JoinedStr) else [node])]
    return " ".join(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def _is_answer(node: ast.expr) -> bool:
    """Return whether a name in some code means a prediction, such as `pred` or `probability`."""
    return any(map(_ANSWERS.search, _list_names(node)))


def _list_names(node: ast.AST) -> list[str]:
    """Return the last part of each name and attribute in some code: `label` for `row.label`."""
    return [read_last_name(one) for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute)]


def _read_strings(nodes: _Values) -> list[str]:
    """Return the strings of a list of nodes; an empty list if one of them is not a string."""
    found = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return found if len(found) == len(nodes) else []


_GIVE = "Give the labels as a,b,c in the order of the logits, or give a file of labels."


def read_labels_in_file(path: Path, variable: str) -> list[str]:
    """Read the labels from a line `NAME = [...]` of a file, or `NAME = {...}` with labels and their indices.

    Raises:
        InputError: there is no such line, or it is not plain.
    """
    value: ast.expr | None = None
    for target, assigned in list_assignments(ast.walk(ast.Module(read_python_statements(path), []))):
        value = assigned if getattr(target, "id", "") == variable else value
    if value is None:
        raise InputError(f"{path} has no line {variable} = [...].", _GIVE)
    held: object = None
    with contextlib.suppress(ValueError):
        held = ast.literal_eval(value)
    if isinstance(held, dict):
        indices = held if all(type(one) is int for one in held) else {i: label for label, i in held.items()}
        held = [indices[i] for i in range(len(indices))] if set(indices) == {*range(len(held))} else None
    if not isinstance(held, list | tuple) or not held or not all(isinstance(one, str | int) for one in held):
        raise InputError(
            f"{variable} in {path} is neither a plain list of labels nor a dict of labels and their indices.", _GIVE
        )
    return [str(label) for label in held]
