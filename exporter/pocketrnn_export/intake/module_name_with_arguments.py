"""Parse `file.py:name`, `file.py:name(arguments)` or `file.py:name(arguments).method(arguments)` on the command line.
PyTorch is not needed."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn_export.intake.file_existence_check import check_file_exists

# The advice where arguments are not plain values.
NO_VALUES: Final = (
    "Write numbers, strings, True, False, None, lists of these, and names of the file: model.py:Model(8000, dim=64). "
    "For any other argument, write a file made.py with a function make() that makes it and returns the module, and "
    "name made.py:make (docs/your-files.md)."
)


@dataclass(frozen=True)
class ModuleName:
    """The parts of `file.py:name` or `file.py:name(arguments)`, also with `.method` or `.method(arguments)`. No
    expression in it is evaluated yet.

    Attributes:
        path: the Python file, or the notebook.
        name: a name that the file defines.
        args: the positional arguments; they may use names of the file.
        kwargs: the arguments by name.
        values: values that the user gives to names of the file. They replace the statements that define these names,
            and may use torch and numpy.
        function: the name of a function in the file that calls the module.
        method: the name of a method of the named object; empty for the object itself.
        method_kwargs: the arguments of the method by name.
    """

    path: Path
    name: str
    args: tuple[ast.expr, ...] = ()
    kwargs: Mapping[str, ast.expr] | None = None
    values: Mapping[str, ast.expr] | None = None
    function: str | None = None
    method: str = ""
    method_kwargs: Mapping[str, ast.expr] | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.function_name}"

    @property
    def function_name(self) -> str:
        """The name of the function or class in the file. For a method, it is `Class.method`."""
        return f"{self.name}.{self.method}" if self.method else self.name

    @property
    def is_notebook(self) -> bool:
        return self.path.suffix == ".ipynb"


def parse_module_name(text: str, set_options: Sequence[str] = ()) -> ModuleName | None:
    """Parse the name of a module in a file, such as `model.py:Classifier(8000, hidden=32)`. Return None for a text of
    another form.

    The arguments are Python literals, or names, attributes and calls of objects in the file: `Model(Config(3))`. They
    are not evaluated here.

    Args:
        text: the argument of the command line.
        set_options: values of --set, `name=value`, for names of the file. A value is a Python literal, or a call of
            torch or numpy. `name.part=value` makes an object with only the attributes that are set, in place of `name`.

    Raises:
        InputError: the text has this form, but the arguments or values are not allowed, or the file does not exist.
    """
    found = re.fullmatch(r"(?s)(.+\.(?:py|ipynb)):([A-Za-z_]\w*(?:\(.*\))?(?:\.[A-Za-z_]\w*(?:\(.*\))?)?)", text)
    if found is None:
        return None
    path, given = found.groups()
    check_file_exists(Path(path))
    method, of_method = "", dict[str, ast.expr]()
    try:
        called, args, kwargs = _take_arguments(ast.parse(given, mode="eval").body)
        if isinstance(called, ast.Attribute):
            method, without_names, of_method = called.attr, args, kwargs
            called, args, kwargs = _take_arguments(called.value)
            if without_names:
                raise InputError(
                    f"{text} gives the arguments of {method} without names.",
                    f"Write each as name=value: {method}(most=200).",
                )
        if not isinstance(called, ast.Name):
            raise ValueError("not one call")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"The arguments {given[given.find('(') :]} are not plain values, such as numbers and strings.", NO_VALUES
        ) from None
    values = dict(map(_parse_assignment, set_options))
    return ModuleName(Path(path), called.id, args, kwargs, values, method=method, method_kwargs=of_method)


def _take_arguments(node: ast.expr) -> tuple[ast.expr, tuple[ast.expr, ...], dict[str, ast.expr]]:
    """Split a call into a tuple: the called expression, its arguments by position, and its arguments by name. For an
    expression that is not a call, both kinds of arguments are empty."""
    if not isinstance(node, ast.Call):
        return node, (), {}
    given = [(str(place), one) for place, one in enumerate(node.args, 1)]
    given += [(str(keyword.arg), keyword.value) for keyword in node.keywords]
    missing = [one for one, value in given if any(getattr(part, "value", None) is ... for part in ast.walk(value))]
    if missing:
        raise InputError(
            f"{ast.unparse(node.func)} has dots (...) in place of a value for its argument {', '.join(missing)}.",
            "Write the value in place of the dots.",
        )
    for _, argument in given:
        _require_plain_argument(argument)
    kwargs = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
    if len(kwargs) != len(node.keywords):
        raise ValueError("it unpacks a dictionary")
    return node.func, tuple(node.args), kwargs


def _require_plain_argument(node: ast.expr) -> None:
    """Raise a ValueError for an argument that contains anything except literals, names, attributes and calls."""
    allowed = (
        ast.Constant, ast.Name, ast.Attribute, ast.Call, ast.keyword, ast.List, ast.Tuple, ast.Set, ast.Dict,
        ast.UnaryOp, ast.USub, ast.UAdd, ast.Load,
    )  # fmt: skip
    for part in ast.walk(node):
        if not isinstance(part, allowed) or (isinstance(part, ast.keyword) and part.arg is None):
            raise ValueError("it is not a plain value")
        if isinstance(part, ast.Dict) and None in part.keys:
            raise ValueError("it unpacks a dictionary")


def _parse_assignment(text: str) -> tuple[str, ast.expr]:
    """Parse `name=value` of --set. Return the name, and the syntax tree of the value."""
    name, _, value = text.partition("=")
    try:
        if not all(part.isidentifier() for part in name.strip().split(".")):
            raise ValueError("no name")
        node = ast.parse(value.strip(), mode="eval").body
        _require_plain_argument(node)
        return name.strip(), node
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise InputError(
            f"The value of --set is {short_repr(text)}, but must be NAME=VALUE with a plain value.",
            "Write a number, a string or a list: --set vocab_size=8000.",
        ) from None
