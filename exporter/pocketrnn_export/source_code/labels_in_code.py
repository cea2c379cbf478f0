"""Find labels in the owner's code, to propose them, or read a list of labels that the user names. The code is read and
not run."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError
from pocketrnn_export.label_spelling import normalize_label_spelling
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    is_place_in_code_of_another_module,
    list_files_near,
    list_syntax_nodes_near,
)
from pocketrnn_export.source_code.label_choices_in_code import (
    BY_PREDICTION,
    IN_LIST,
    NUMBERED,
    LabelChoices,
    NameMeanings,
    OrderedLabels,
    read_class_index_of_probability,
)
from pocketrnn_export.source_code.notebook import read_python_statements
from pocketrnn_export.source_code.syntax_tree_parts import Function, find_defaults, list_assignments, read_last_name

_NAMES: Final = re.compile(
    "label|class|categor|sentiment|emotion|intent|topic|target|columns|polarity|genre|mood", re.IGNORECASE
)
_MOST_LABELS: Final = 200
# Characters of code in a message.
_LONGEST_SHOWN: Final = 100
# Functions that only convert or number a list.
_LIKE_LISTS: Final = frozenset(
    ("array", "asarray", "list", "tuple", "dict", "OrderedDict", "Series", "Index", "enumerate")
)
# They number the labels in the order of the alphabet.
_SORTS: Final = frozenset(("LabelEncoder", "LabelBinarizer", "MultiLabelBinarizer", "OrdinalEncoder"))


# A message shows all labels, or the first ones of many.
_MOST_SHOWN: Final = 20
_FEW_SHOWN: Final = 3


@dataclass(frozen=True)
class LabelsInCode:
    """Labels found in code, in the order of the logits.

    Attributes:
        where: the file and line.
        labels: the labels.
        evidence: how well the code shows the order: IN_LIST (least), NUMBERED or BY_PREDICTION (most).
        code: the code that contains the labels, in one line; empty if it is long, or if the labels were read from a
            data file.
    """

    where: str
    labels: tuple[str, ...]
    evidence: int = IN_LIST
    code: str = ""

    @property
    def description(self) -> str:
        """The labels with their place and code, for a message."""
        return f"{join_first_labels(self.labels)} ({self.where}{': ' * bool(self.code)}{self.code})"


def join_first_labels(labels: Sequence[str]) -> str:
    """Return labels as text for a message. If there are many, return the first ones and the number of all."""
    if len(labels) <= _MOST_SHOWN:
        return ",".join(labels)
    return f"{','.join(labels[:_FEW_SHOWN])},... ({len(labels)} labels)"


def find_labels_in_code(
    path: Path, *, in_notebooks: bool = False, known: Sequence[str] = (), outputs: int = 0
) -> list[LabelsInCode]:
    """Find lists of strings that may be the labels of a classifier, in the code of its file and of the files near it.
    Each list is returned once.

    Three kinds of code are read: a list or dict with a name like `LABELS`; a dict from numbers to strings; and a choice
    by a prediction, such as `"good" if prediction == 1 else "bad"`. If the labels are known, only lists of exactly
    these labels are returned, whatever their names are.

    Args:
        path: the file of the module.
        in_notebooks: whether to read the notebooks near the file, and no Python files.
        known: the labels in any order, if they are known; empty if not.
        outputs: the number of outputs of the module; 0 if it is not known.

    Example:
        >>> find_labels_in_code(Path("api.py"))
        [LabelsInCode(where='api.py, line 9', labels=('bad', 'good'), evidence=2, code="'good' if p == 1 else 'bad'")]
    """
    found: dict[tuple[str, ...], LabelsInCode] = {}
    nodes = [*list_syntax_nodes_near(path, in_notebooks=in_notebooks)]
    search, spelled = _LabelSearch(nodes, known, outputs), {normalize_label_spelling(one): one for one in known}
    for where, node in nodes:
        for one in search.list_possible_labels(where, node):
            # A blank that all have is part of a printed sentence, and not of the labels.
            own = one.labels if any(label == label.strip() for label in one.labels) else map(str.strip, one.labels)
            labels = tuple(spelled.get(normalize_label_spelling(label), label) for label in own)
            is_whole = {*labels} == {*known} if known else one.is_named and not any("," in label for label in labels)
            is_whole = is_whole and 1 < len({*labels}) == len(labels) <= _MOST_LABELS and all(map(str.strip, labels))
            is_nearer = labels not in found or (
                one.evidence > found[labels].evidence and not is_place_in_code_of_another_module(where)
            )
            if is_whole and is_nearer:
                code = " ".join(ast.unparse(node).split())
                found[labels] = LabelsInCode(where, labels, one.evidence, code if len(code) <= _LONGEST_SHOWN else "")
    return [*found.values()]


def find_order_of_known_labels(path: Path, known: Sequence[str], outputs: int = 0) -> list[LabelsInCode]:
    """Find which of the known labels belongs to each index of the logits, in the code of a module; if the code does not
    show it, in the notebooks near it. Return the orders of the labels with the most evidence: mostly one, several if
    the code shows them equally well, or none.

    Args:
        path: the file of the module.
        known: the labels in any order.
        outputs: the number of outputs of the module; 0 if it is not known.
    """
    for in_notebooks in (False, True):
        found = find_labels_in_code(path, in_notebooks=in_notebooks, known=known, outputs=outputs)
        if found:
            nearest = [one for one in found if not is_place_in_code_of_another_module(one.where)] or found
            most = max(one.evidence for one in nearest)
            return [one for one in nearest if one.evidence == most]
    return []


class _LabelSearch:
    """Read labels from single pieces of code.

    Args:
        nodes: pairs (place, syntax node) for all files. Outer nodes come before inner ones.
        known: the labels in any order, if they are known; empty if not.
        outputs: the number of outputs of the module; 0 if it is not known.
    """

    def __init__(self, nodes: Sequence[tuple[str, ast.AST]], known: Sequence[str], outputs: int) -> None:
        self._meanings, self._known = NameMeanings(nodes), known
        self._choices = LabelChoices(nodes, self._meanings, known, outputs)

    def list_possible_labels(self, where: str, node: ast.AST) -> Iterator[OrderedLabels]:
        """Yield each list of strings in a piece of code that may be the labels.

        Args:
            where: the place of the code, such as `api.py, line 3`.
            node: the code.
        """
        yield from self._choices.read_choice(where, node)
        if isinstance(node, ast.Call):
            yield from self._read_labels_in_call(node)
        elif isinstance(node, ast.Subscript):
            value = self._meanings.resolve(node.value)
            is_answer = self._meanings.is_answer(where, node.slice)
            if isinstance(value, ast.Dict):
                is_plain = isinstance(node.value, ast.Dict)
                yield from self._read_labels_of_dict(value, is_named=is_plain)
            elif value is not None and not isinstance(node.slice, ast.Slice | ast.Constant):
                yield OrderedLabels(self._read_list(value), is_answer, BY_PREDICTION if is_answer else NUMBERED)
        elif isinstance(node, ast.ClassDef) and any(read_last_name(one).endswith("Enum") for one in node.bases):
            yield from self._read_enum(node)
        elif isinstance(node, ast.List | ast.Tuple):
            is_unpacked = isinstance(node.ctx, ast.Store)
            names = [read_last_name(one) for one in node.elts]
            yield OrderedLabels(names if is_unpacked else self._read_list(node), is_named=False, evidence=IN_LIST)
        else:
            if isinstance(node, ast.Dict) and self._known:
                yield from self._read_labels_of_dict(node, is_named=False)
            for name, value in _list_names_and_values(node):
                yield from self._read_labels_in_named_value(name, value)

    def _read_labels_in_call(self, node: ast.Call) -> Iterator[OrderedLabels]:
        """Yield the labels in a call. They are an argument, as in `report(target_names=["a", "b"])`, or a table that
        the call uses: `column.map({"a": 0, "b": 1})`, `{0: "a", 1: "b"}.get(number)` or `encoder.fit(["b", "a"])`."""
        for keyword in node.keywords:
            if "column" not in (keyword.arg or ""):
                yield from self._read_labels_in_named_value(keyword.arg or "", keyword.value)
        name = read_last_name(node.func)
        for argument in node.args if name in ("map", "replace") else ():
            for one in ast.walk(argument):
                if isinstance(one, ast.Dict):
                    yield from self._read_labels_of_dict(one, is_named=True)
        if name == "get" and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Dict):
            yield from self._read_labels_of_dict(node.func.value, is_named=True)
        if name in ("fit", "fit_transform") and len(node.args) == 1:
            yield OrderedLabels(sorted(self._read_list(node.args[0])), is_named=False, evidence=NUMBERED)
        if name in _SORTS:
            yield OrderedLabels(sorted(self._known), is_named=False, evidence=NUMBERED)

    def _read_enum(self, node: ast.ClassDef) -> Iterator[OrderedLabels]:
        """Yield the names of the members of an `Enum` class, in the order of their numbers."""
        members = {
            read_last_name(one.targets[0]): one.value
            for one in node.body
            if isinstance(one, ast.Assign) and len(one.targets) == 1
        }
        numbers = [
            number if isinstance(value, ast.Call) and read_last_name(value.func) == "auto"
            else self._meanings.read_constant(value) for number, value in enumerate(members.values(), 1)
        ]  # fmt: skip
        keys: list[ast.expr | None] = [ast.Constant(one) for one in numbers if isinstance(one, int)]
        if len(keys) == len(members):
            names: list[ast.expr] = [*map(ast.Constant, members)]
            yield from self._read_labels_of_dict(ast.Dict(keys, names), is_named=_NAMES.search(node.name) is not None)

    def _read_labels_in_named_value(self, name: str, value: ast.expr | None) -> Iterator[OrderedLabels]:
        """Yield the labels in the value of a variable. If the variable's name does not mean labels and the labels are
        not known, only a dict from 0, 1, ... to strings counts."""
        is_named = _NAMES.search(name) is not None
        if isinstance(value, ast.Dict):
            yield from self._read_labels_of_dict(value, is_named=is_named)
        elif value is not None:
            yield OrderedLabels(self._read_list(value), is_named, IN_LIST)

    def _read_list(self, node: ast.expr) -> Sequence[str]:
        """Return the strings in the code of a list, such as `["a", "b"]`, `"a b".split()` or `np.array(["a", "b"])`.
        Return an empty sequence for other code."""
        read_strings = self._meanings.read_strings
        if isinstance(node, ast.List | ast.Tuple):
            return read_strings(node.elts)
        if isinstance(node, ast.Call) and read_last_name(node.func) == "split" and isinstance(node.func, ast.Attribute):
            text = getattr(node.func.value, "value", None)
            by = read_strings(node.args)
            return text.split(by[0] if by else None) if isinstance(text, str) and len(by) == len(node.args) < 2 else ()
        is_call = isinstance(node, ast.Call) and read_last_name(node.func) in _LIKE_LISTS
        if not is_call and not isinstance(node, ast.DictComp | ast.ListComp):
            return ()
        found = [read_strings(one.elts) for one in ast.walk(node) if isinstance(one, ast.List | ast.Tuple) and one.elts]
        found = [one for one in found if one]
        return found[0] if len(found) == 1 else ()

    def _read_labels_of_dict(self, node: ast.Dict, *, is_named: bool) -> Iterator[OrderedLabels]:
        """Yield the labels of a dict from the numbers 0, 1, ... to labels, in the order of the numbers. If
        `is_named` is True or the labels are known, two further kinds of dict count: one with other numbers, such as -1,
        and one from labels to numbers.

        Args:
            is_named: whether the name of the dict means labels.
        """
        read = self._meanings.read_constant
        pairs = [(read(key), read(value)) for key, value in zip(node.keys, node.values, strict=True)]
        indices = [read_class_index_of_probability(one) for one in node.values]
        if self._known and len(indices) == 2 and {*indices} == {0, None}:
            # {"bad": 1 - p, "good": p}
            indices = [0 if one == 0 else 1 for one in indices]
        is_loose = is_named or bool(self._known)
        numbered = [pairs, [(value, key) for key, value in pairs]] if is_loose else [pairs]
        numbered += [[*zip(indices, (key for key, _ in pairs), strict=True)]] if self._known else []
        for one in numbered:
            by_number: dict[int, str] = {}
            for number, label in one:
                written = number if not isinstance(number, str) else int(number) if number.isdecimal() else None
                if isinstance(written, int) and isinstance(label, str):
                    by_number.setdefault(int(written), label)
            is_whole = len(by_number) == len(one) or (is_loose and len({name for _, name in one}) == len(one))
            in_order = [by_number[i] for i in sorted(by_number)]
            if is_whole and is_loose:
                yield OrderedLabels([*dict.fromkeys(in_order)], is_named, NUMBERED)
            elif is_whole and {*by_number} == {*range(len(one))}:
                yield OrderedLabels(in_order, is_named=True, evidence=NUMBERED)


def _list_names_and_values(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield each name and its value in an assignment, a dict or the defaults of a function. The name is an empty string
    for a target such as `x[0]` or `other.labels`, and for a dict key that is not a string."""
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


def find_name_of_labels(path: Path, labels: Sequence[str]) -> str:
    """Find a list or dict of exactly these labels in the code of a module or of the files near it. Return its name as
    file.py:NAME, or an empty string if there is no such list or dict."""
    for file in list_files_near(path):
        with contextlib.suppress(InputError, OSError):
            for target, _ in list_assignments(read_python_statements(file)):
                with contextlib.suppress(InputError):
                    if isinstance(target, ast.Name) and read_labels_of_variable_in_file(file, target.id) == [*labels]:
                        return f"{file}:{target.id}"
    return ""


_GIVE = "Give the labels as a,b,c in the order of the logits, or give a file of labels."


def read_labels_of_variable_in_file(path: Path, variable: str) -> list[str]:
    """Read the labels from the line `NAME = [...]` of a Python file. The value may also be a dict between labels and
    indices.

    Args:
        variable: the variable, `NAME`.

    Raises:
        InputError: the file has no such line, or its value is not a plain list or dict.
    """
    value: ast.expr | None = None
    for target, assigned in list_assignments(ast.walk(ast.Module(read_python_statements(path), []))):
        value = assigned if getattr(target, "id", "") == variable else value
    if value is None:
        raise InputError(f"{path} has no line {variable} = [...] that lists the labels.", _GIVE)
    held: object = None
    with contextlib.suppress(ValueError):
        held = ast.literal_eval(value)
    if isinstance(held, dict):
        indices = held if all(type(one) is int for one in held) else {i: label for label, i in held.items()}
        held = [indices[i] for i in range(len(indices))] if set(indices) == {*range(len(held))} else None
    if not isinstance(held, list | tuple) or not held or not all(isinstance(one, str | int) for one in held):
        raise InputError(
            f"The value of {variable} in {path} must be a list of labels, or a dict between labels and the indices 0, "
            "1, ..., written as plain strings and numbers, but it is something else.",
            _GIVE,
        )
    return [str(label) for label in held]
