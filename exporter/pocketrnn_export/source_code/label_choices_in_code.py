"""Read the code that chooses between labels by a prediction, or between numbers by a label. Nothing is run."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from pocketrnn_export.label_spelling import normalize_label_spelling
from pocketrnn_export.source_code.syntax_tree_parts import Function, find_defaults, read_last_name

_ANSWERS: Final = re.compile(
    "pred|prob|label|class|score|out|sent|result|logit|conf|ans|argmax|sigmoid|softmax|round|y_?hat|^[py]$",
    re.IGNORECASE,
)
_THRESHOLDS: Final = re.compile("thr|cut_?off", re.IGNORECASE)
# A truth value with such a name is a prediction, and not a list that may be empty.
_PREDICTIONS: Final = re.compile("pred|argmax|round", re.IGNORECASE)
# Functions that give a prediction, whatever the owner's language calls the result.
_GIVES_PREDICTION: Final = re.compile("argmax|softmax|sigmoid|topk|expit|^predict")
_CONVERSIONS: Final = frozenset(("int", "float", "round", "bool"))
_AT_LEAST: Final = (ast.Gt, ast.GtE)
_LESS: Final = (ast.Lt, ast.LtE)
_Values: TypeAlias = Sequence[ast.expr | None]
# How much code shows the order of labels: a list alone, a number beside each label, a choice by a prediction.
IN_LIST: Final = 0
NUMBERED: Final = 1
BY_PREDICTION: Final = 2


class OrderedLabels(NamedTuple):
    """Strings that may be labels, in the order of the class indices.

    Attributes:
        labels: the strings.
        is_named: whether a name in the code, such as `LABELS`, says that these are labels. Otherwise the strings are
            used only if they are among the known labels.
        evidence: how well the code shows the order: IN_LIST (least), NUMBERED or BY_PREDICTION (most).
    """

    labels: Sequence[str]
    is_named: bool
    evidence: int = BY_PREDICTION


class _Case(NamedTuple):
    """One branch of code that chooses by a prediction, such as `if prediction == 1: ...`.

    Attributes:
        left: the code of the prediction.
        is_answer: whether names in `left` say that it is a prediction or probability.
        number: the class index for which the branch runs.
        is_split: whether the test separates class 1 from class 0, as `> 0.5` does. False for a test such as `== 3`.
        then: the statements or the expression of the branch.
    """

    left: str
    is_answer: bool
    number: int
    is_split: bool
    then: Sequence[ast.AST]


class NameMeanings:
    """Find which names in the owner's code hold a prediction, and which have only one value in all files.

    Args:
        nodes: pairs (place, syntax node) for all files. A place is a string such as `api.py, line 3`.
    """

    def __init__(self, nodes: Iterable[tuple[str, ast.AST]]) -> None:
        self._values: dict[str, ast.expr | None] = {}
        self._predictions: set[tuple[str, str]] = set()
        assigned: list[tuple[str, str, ast.expr]] = []
        for where, node in nodes:
            for name, value in _list_assigned_names(node):
                is_plain = isinstance(value, ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.Call)
                known = self._values.setdefault(name, value if is_plain else None)
                if known is not value and (known is None or ast.dump(known) != ast.dump(value)):
                    self._values[name] = None
                assigned.append((_find_file(where), name, value))
        # A name may get its value from another one: i = int(best).
        for _, (file, name, value) in itertools.product(range(2), assigned):
            if _gives_prediction(value) or self._holds_prediction(file, _strip_conversions(value)):
                self._predictions.add((file, name))

    def resolve(self, node: ast.expr | None) -> ast.expr | None:
        """Return the value of a name that has only one value in all files. Return any other code unchanged."""
        name = read_last_name(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        return self._values.get(name) or node

    def read_constant(self, node: ast.expr | None) -> object:
        """Return the string or number that an expression is, directly or as a name with only one value. Return None for
        other code."""
        node = self.resolve(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = getattr(node.operand, "value", None)
            return -number if isinstance(number, int | float) else None
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str) else None

    def read_strings(self, nodes: _Values) -> list[str]:
        """Return the values of expressions if all of them are strings; else an empty list."""
        found = [one for node in nodes if isinstance(one := self.read_constant(node), str)]
        return found if len(found) == len(nodes) else []

    def is_answer(self, where: str, node: ast.expr) -> bool:
        """Return whether names in an expression say that it is a probability or a prediction.

        Args:
            where: the place of the expression, such as `api.py, line 3`.
            node: the expression.
        """
        return any(map(_ANSWERS.search, _list_names(node))) or self.is_prediction(where, node)

    def is_prediction(self, where: str, node: ast.expr) -> bool:
        """Return whether an expression is a prediction: a name in it, such as `pred`, says so, or is a variable that
        holds a prediction.

        Args:
            where: the place of the expression, such as `api.py, line 3`.
            node: the expression.
        """
        file = _find_file(where)
        names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
        named = any(map(_PREDICTIONS.search, _list_names(node)))
        return named or any(self._holds_prediction(file, one) for one in names)

    def _holds_prediction(self, file: str, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and (file, node.id) in self._predictions


def _list_assigned_names(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield each name that a statement assigns, or a parameter with a default, with the code of its value."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                # An item of a dict has no name.
                if name := read_last_name(one):
                    yield name, node.value
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield read_last_name(node.target), node.value
    elif isinstance(node, Function):
        yield from find_defaults(node).items()


def _find_file(where: str) -> str:
    return where.partition(", ")[0]


def _gives_prediction(value: ast.expr) -> bool:
    """Return whether code calls a function that gives a prediction, such as `torch.argmax` or `max(dim=1)`."""
    for one in ast.walk(value):
        if isinstance(one, ast.Call):
            name = read_last_name(one.func)
            is_of_axis = name == "max" and isinstance(one.func, ast.Attribute) and bool(one.args or one.keywords)
            if is_of_axis or _GIVES_PREDICTION.search(name):
                return True
    return False


def _strip_conversions(node: ast.expr) -> ast.expr:
    """Return the code that an expression converts or indexes: `x` for `int(x[0].item())`."""
    while True:
        if isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
            node = node.func.value
        elif isinstance(node, ast.Call) and read_last_name(node.func) in _CONVERSIONS and node.args:
            node = node.args[0]
        else:
            return node


class LabelChoices:
    """Read the labels from code that chooses between them by a prediction.

    Args:
        nodes: pairs (place, syntax node) for all files. Outer nodes come before inner ones.
        meanings: what the names in this code mean.
        known: the labels, if they are known, in any order; empty if not.
        outputs: the number of outputs of the module; 0 if it is not known.
    """

    def __init__(
        self,
        nodes: Iterable[tuple[str, ast.AST]],
        meanings: NameMeanings,
        known: Sequence[str] = (),
        outputs: int = 0,
    ) -> None:
        # By the identity of an `if`: the statement before it and those after it; and those that are a branch of an
        # earlier one.
        self._before: dict[int, ast.stmt] = {}
        self._following: dict[int, Sequence[ast.stmt]] = {}
        self._inner: set[int] = set()
        self._meanings, self._known, self._outputs = meanings, known, outputs
        words = "|".join(re.escape(one.casefold()) for one in known)
        self._names_label = re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])" if words else "(?!)")
        for _, node in nodes:
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, ())
                for at, one in enumerate(block) if isinstance(block, list) else ():
                    if isinstance(one, ast.If):
                        self._following[id(one)] = block[at + 1 :]
                        self._before |= {id(one): block[at - 1]} if at else {}

    def read_choice(self, where: str, node: ast.AST) -> Iterator[OrderedLabels]:
        """Yield the labels between which code chooses by a prediction, in the order of the class indices: "bad" and
        "good" for `"good" if prediction == 1 else "bad"`. For code that chooses a class index by a label, `1 if kind ==
        "good" else 0`, yield these labels.

        Args:
            where: the place of the code, such as `api.py, line 3`.
            node: the code.
        """
        choice = _convert_to_choice(node)
        if choice is None or id(node) in self._inner:
            return
        cases: list[_Case] = []
        other: Sequence[ast.AST] = ()
        if isinstance(choice, ast.Match):
            left, is_answer = ast.unparse(choice.subject), self._meanings.is_answer(where, choice.subject)
            for case in choice.cases:
                number = ast.unparse(case.pattern)
                if number.isdecimal():
                    cases.append(_Case(left, is_answer, int(number), is_split=False, then=case.body))
                else:
                    other = case.body
        else:
            yield from self._read_labels_that_choose_class_index(choice)
            cases, other = self._list_cases(where, choice)
        if not cases or self._names_label.search(cases[0].left.casefold()):
            # p_bad > 0.5 is not about the second label.
            return
        branches = [one.then for one in cases]
        # After branches for all numbers, a function may raise an error.
        for some in ([*branches, other], branches) if other else (branches,):
            found = [
                OrderedLabels(labels, is_plain and (len(labels) > 2 or cases[0].is_answer))
                for values, is_plain in _list_corresponding_values_of_branches(some)
                if (labels := _order_strings_by_class_index(cases, self._meanings.read_strings(values)))
            ]
            if found:
                yield from found
                return

    def _list_cases(self, where: str, node: ast.IfExp | ast.If) -> tuple[list[_Case], Sequence[ast.AST]]:
        """Read a chain of `if` ... `elif` that tests the same prediction. Return the branches, and the statements or
        the expression for all remaining predictions."""
        cases: list[_Case] = []
        rest: Sequence[ast.AST] = [node]
        while rest and isinstance(rest[0], ast.IfExp | ast.If):
            first = rest[0]
            then = first.body if isinstance(first, ast.If) else [first.body]
            case = self._read_tested_class_index(where, first.test, then)
            if case is None or (cases and case.left != cases[0].left):
                break
            self._inner.add(id(first))
            cases.append(case)
            otherwise = first.orelse if isinstance(first, ast.If) else [first.orelse]
            following = self._following.get(id(first), ())
            is_next = isinstance(then[-1], ast.Return) or (following and isinstance(following[0], ast.If))
            rest = otherwise or (following if is_next else self._find_default_assigned_before_if(first))
        return cases, rest

    def _find_default_assigned_before_if(self, node: ast.IfExp | ast.If) -> Sequence[ast.AST]:
        """Return the statement before an `if` that assigns the same variable as its branch: `x = "bad"` before `if p >
        0.5: x = "good"`. Return an empty sequence if there is none."""
        before = self._before.get(id(node))
        if not isinstance(before, ast.Assign) or not isinstance(node, ast.If) or len(node.body) > 1:
            return ()
        targets = [[ast.unparse(one) for one in getattr(given, "targets", ())] for given in (before, node.body[0])]
        return [before] if targets[0] == targets[1] else ()

    def _read_tested_class_index(self, where: str, test: ast.expr, then: Sequence[ast.AST]) -> _Case | None:
        """Read a test of a prediction, such as `prediction == 1`, `p > threshold` or `not prediction`. Return the
        branch `then` with the class index for which it runs. Return None if the test is not of this kind."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            opposite = self._read_tested_class_index(where, test.operand, then)
            both = opposite is not None and opposite.is_split and opposite.number in (0, 1)
            return opposite._replace(number=1 - opposite.number) if opposite is not None and both else None
        if isinstance(test, ast.Name | ast.Attribute | ast.Call):
            return _Case(ast.unparse(test), self._meanings.is_prediction(where, test), 1, is_split=True, then=then)
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return None
        (operator,), left, (right,) = test.ops, test.left, test.comparators
        is_reversed = isinstance(left, ast.Constant)
        if is_reversed:
            left, right = right, left
        is_greater = isinstance(operator, _LESS if is_reversed else _AT_LEAST)
        number, is_answer = self._meanings.read_constant(right), self._meanings.is_answer(where, left)
        if is_greater or isinstance(operator, _AT_LEAST if is_reversed else _LESS):
            return self._read_comparison(left, right, then, is_greater=is_greater, is_answer=is_answer)
        if not isinstance(operator, ast.Eq | ast.NotEq) or not isinstance(number, int | float) or number % 1:
            return None
        if isinstance(operator, ast.NotEq):
            is_split = is_answer and number in (0, 1)
            return _Case(ast.unparse(left), True, 1 - int(number), is_split=True, then=then) if is_split else None
        return _Case(ast.unparse(left), is_answer, int(number), is_split=False, then=then)

    def _read_comparison(
        self, left: ast.expr, right: ast.expr, then: Sequence[ast.AST], *, is_greater: bool, is_answer: bool
    ) -> _Case | None:
        """Read the test `left > right`, or `left < right` if `is_greater` is False. It may compare a prediction with a
        threshold, or the probabilities of two labels, as in `p[1] > p[0]`. Return the branch `then` with the class
        index for which it runs; None for another test.

        Args:
            is_answer: whether `left` is known to be a prediction.
        """
        text, index, other = ast.unparse(left), _read_last_index(left), _read_last_index(right)
        if index is not None and other is not None:
            is_of_both = index[0] == other[0] and {index[1], other[1]} == {0, 1}
            greater = index[1] if is_greater else other[1]
            return _Case(index[0], True, greater, is_split=True, then=then) if is_of_both else None
        written = right.value if isinstance(right, ast.Constant) else None
        number = self._meanings.read_constant(right)
        # A number between is a threshold, whatever its left side is called.
        is_threshold = isinstance(written, float) and 0 < written < 1
        is_named = any(map(_THRESHOLDS.search, _list_names(right)))
        is_named |= isinstance(right, ast.Attribute) or isinstance(number, float)
        is_threshold |= is_answer and (written in (0, 1) or is_named)
        if not is_threshold and not isinstance(number, int | float):
            return None
        # One of two numbers is that of a label, and not that of the only text.
        is_first = self._outputs == 2 and index is not None and index[1] == 0
        return _Case(text, is_threshold, int(is_greater is not is_first), is_split=True, then=then)

    def _read_labels_that_choose_class_index(self, node: ast.IfExp | ast.If) -> Iterator[OrderedLabels]:
        """Yield the labels by which code chooses a class index, as in `1 if kind == "good" else 0`, in the order of the
        indices. Yield nothing if the labels are not known."""
        numbers: dict[str, object] = {}
        rest: Sequence[ast.AST] = [node] if self._known else []
        while rest and isinstance(rest[0], ast.IfExp | ast.If):
            first = rest[0]
            label, then = _read_string_compared_in_test(first.test), first.body
            if label is None:
                return
            self._inner.add(id(first))
            numbers[label] = self._read_number(then if isinstance(then, list) else [then])
            rest = first.orelse if isinstance(first.orelse, list) else [first.orelse]
        left = [
            one for one in self._known if normalize_label_spelling(one) not in map(normalize_label_spelling, numbers)
        ]
        if rest and len(left) == 1:
            numbers[left[0]] = self._read_number(rest)
        if all(type(one) is int for one in numbers.values()) and len({*numbers.values()}) == len(numbers) > 1:
            yield OrderedLabels(sorted(numbers, key=lambda one: str(numbers[one]).zfill(9)), is_named=False,
                                evidence=NUMBERED)  # fmt: skip

    def _read_number(self, branch: Sequence[ast.AST]) -> object:
        """Return the number that a branch assigns or returns, or that it consists of; None if there is none."""
        first = branch[0] if len(branch) == 1 else None
        return self._meanings.read_constant(first if isinstance(first, ast.expr) else getattr(first, "value", None))


def _convert_to_choice(node: ast.AST) -> ast.IfExp | ast.If | ast.Match | None:
    """Return code that chooses between values as an `if` or `match` node. `where(test, a, b)`, `test and a or b`, and a
    test that is converted to a number are converted. Return None for other code."""
    if isinstance(node, ast.IfExp | ast.If | ast.Match):
        return node
    if isinstance(node, ast.Call):
        name = read_last_name(node.func)
        if name == "where" and len(node.args) == 3:
            test, first, other = node.args
            return ast.IfExp(test, first, other)
        given = node.args[0] if name in _CONVERSIONS and len(node.args) == 1 else getattr(node.func, "value", None)
        if isinstance(given, ast.Compare) and name in (*_CONVERSIONS, "astype"):
            return ast.IfExp(given, ast.Constant(1), ast.Constant(0))
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
        both, other = node.values
        if isinstance(both, ast.BoolOp) and isinstance(both.op, ast.And) and len(both.values) == 2:
            test, first = both.values
            return ast.IfExp(test, first, other)
    return None


def _read_string_compared_in_test(test: ast.expr) -> str | None:
    """Return the string in an equality test: "good" for `kind.lower() == "good"`. Return None for another test."""
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
        for one in (test.comparators[0], test.left):
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                return one.value
    return None


def _read_last_index(node: ast.expr) -> tuple[str, int] | None:
    """Split an indexed expression into the code before its last index, and this index: `logits[0]` and 1 for `logits[0,
    1].item()`. Return None if the last index is not a constant integer."""
    while isinstance(node, ast.Call):
        is_method = isinstance(node.func, ast.Attribute) and not node.args
        of_number = node.args[0] if len(node.args) == 1 and read_last_name(node.func) in _CONVERSIONS else None
        inner = node.func.value if is_method and isinstance(node.func, ast.Attribute) else of_number
        if inner is None:
            return None
        node = inner
    if not isinstance(node, ast.Subscript):
        return None
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    last = getattr(indices[-1], "value", None)
    before = ", ".join(map(ast.unparse, indices[:-1]))
    return (f"{ast.unparse(node.value)}[{before}]", last) if type(last) is int else None


def read_class_index_of_probability(node: ast.expr | None) -> int | None:
    """Return the class index whose probability an expression is: 1 for `probs[0][1].item()`, 0 for `1 - p`. Return None
    for other code."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and getattr(node.left, "value", None) == 1:
        return 0
    found = None if node is None else _read_last_index(node)
    return None if found is None else found[1]


def _order_strings_by_class_index(cases: Sequence[_Case], strings: Sequence[str]) -> Sequence[str]:
    """Sort the strings of the branches by the class indices for which the branches run. If there is one string more
    than branches, the last string is for the remaining index. Return an empty sequence if the indices are not
    consecutive.

    Args:
        cases: the branches.
        strings: one string for each branch, and perhaps one for all remaining predictions.
    """
    numbers, has_other = [one.number for one in cases], len(strings) == len(cases) + 1
    if len(strings) < 2:
        return ()
    if numbers[0] not in (0, 1) if len(cases) == 1 else any(one.is_split for one in cases):
        return ()
    for first in (0, min(numbers)):
        left = {*range(first, first + len(strings))} - {*numbers}
        if len(left) == has_other and len({*numbers}) == len(cases):
            both = zip([*numbers, *left], strings, strict=True)
            return [label for _, label in sorted(both)]
    return ()


def _list_corresponding_values_of_branches(branches: Sequence[Sequence[ast.AST]]) -> Iterator[tuple[_Values, bool]]:
    """Yield tuples with one value from each branch, such as the strings that the branches assign, return or print. If
    printed strings differ in one word, as in `print("It is good.")`, yield only these words. With each tuple, yield
    whether its values are the results of the branches themselves, and not arguments of calls."""
    for alike in dict.fromkeys([*zip(*branches, strict=False), tuple(one[-1] for one in branches)]):
        values = [one if isinstance(one, ast.expr) else getattr(one, "value", None) for one in alike]
        if all(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "print" for one in values):
            words = _list_differing_words(
                [_join_constant_strings(one.args) for one in values if isinstance(one, ast.Call)]
            )
            yield words, True
        else:
            yield from _list_values_at_same_position(values)


def _list_values_at_same_position(values: _Values) -> Iterator[tuple[_Values, bool]]:
    """For each position that several tuples, lists, dicts or calls share, yield a pair: the values that stand there,
    such as the labels "good" and "bad" of `("good", 0.9)` and `("bad", 0.1)`; and whether no call contains them.

    Args:
        values: the tuples, lists, dicts or calls, one from each branch.
    """
    parts: list[dict[object, ast.expr]] = []
    for one in values:
        if isinstance(one, ast.Tuple | ast.List):
            parts.append({**dict(enumerate(one.elts))})
        elif isinstance(one, ast.Dict):
            parts.append({getattr(key, "value", None): value for key, value in zip(one.keys, one.values, strict=True)})
        elif isinstance(one, ast.Call):
            parts.append({**dict(enumerate(one.args)), **{word.arg: word.value for word in one.keywords}})
    if len(parts) < len(values) or len({type(one) for one in values}) > 1:
        yield values, True
        return
    is_call = isinstance(values[0], ast.Call)
    for key in parts[0]:
        if all(key in one for one in parts):
            for inner, is_plain in _list_values_at_same_position([one[key] for one in parts]):
                yield inner, is_plain and not is_call


def _list_differing_words(texts: Sequence[str]) -> _Values:
    """Return the words at the only position in which some texts differ. Return an empty sequence if they differ in
    several positions or in the number of words."""
    words = [re.findall(r"[\w-]+", text) for text in texts]
    differing = [alike for alike in itertools.zip_longest(*words) if len({*alike}) > 1]
    return [ast.Constant(one) for one in differing[0]] if len(differing) == 1 and None not in differing[0] else ()


def _join_constant_strings(nodes: Sequence[ast.expr]) -> str:
    """Join the constant strings among printed expressions, including those of f-strings."""
    parts = [part for node in nodes for part in (node.values if isinstance(node, ast.JoinedStr) else [node])]
    return " ".join(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def _list_names(node: ast.AST) -> list[str]:
    """Return the last part of each name and attribute in some code: `label` for `row.label`."""
    return [read_last_name(one) for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute)]
