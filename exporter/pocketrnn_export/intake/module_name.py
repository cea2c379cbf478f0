"""Parse `file.py:name` or `file.py:name(arguments)` on the command line. PyTorch is not needed."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pocketrnn.bundle.path_names import suggest_near_file
from pocketrnn.errors import InputError, short_repr

# The advice where arguments are not plain values.
NO_VALUES: Final = (
    "Write numbers, strings, True, False, None, lists of these, and names of the file: model.py:Model(8000, dim=64). "
    "For any other argument, write a file made.py with a function make() that makes it and returns the module, and "
    "name made.py:make (docs/your-files.md)."
)


@dataclass(frozen=True)
class ModuleName:
    """The parts of `file.py:name` or `file.py:name(arguments)`.

    Attributes:
        path: the Python file, or the notebook.
        name: a name that the file defines.
        args: the positional arguments, not evaluated yet: they may use names of the file.
        kwargs: the arguments by name.
        values: values for names of the file, which replace the statements that make them; not evaluated yet: they may
            use torch and numpy.
        function: the name of a function in the file that calls the module.
    """

    path: Path
    name: str
    args: tuple[ast.expr, ...] = ()
    kwargs: Mapping[str, ast.expr] | None = None
    values: Mapping[str, ast.expr] | None = None
    function: str | None = None

    @property
    def is_notebook(self) -> bool:
        return self.path.suffix == ".ipynb"


def parse_module_name(given: str, values: Sequence[str] = ()) -> ModuleName | None:
    """Parse `model.py:Classifier(8000, hidden=32)`. Return None if `given` does not have this form.

    The arguments are Python literals, or names, attributes and calls from the file: `Model(Config(3))`. Nothing is
    evaluated here.

    Args:
        given: the text from the command line.
        values: `name=value` for names of the file: a Python literal, or a call of torch or numpy. `name.part=value`
            stands for an object of which only that part is used.

    Raises:
        InputError: it has that form, but the arguments or values are not allowed, or the file does not exist.
    """
    found = re.fullmatch(r"(?s)(.+\.(?:py|ipynb)):([A-Za-z_]\w*)(\(.*\))?", given)
    if found is None:
        return None
    path, name, call = found.groups()
    check_file_exists(Path(path))
    try:
        parsed = ast.parse(f"f{call or '()'}", mode="eval").body
        if not isinstance(parsed, ast.Call) or not isinstance(parsed.func, ast.Name):
            raise ValueError("not one call")
        for argument in (*parsed.args, *(keyword.value for keyword in parsed.keywords)):
            _check_argument(argument)
        kwargs = {keyword.arg: keyword.value for keyword in parsed.keywords if keyword.arg is not None}
        if len(kwargs) != len(parsed.keywords):
            raise ValueError("it unpacks a dictionary")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"The arguments {call} are not plain values.", NO_VALUES) from None
    return ModuleName(Path(path), name, tuple(parsed.args), kwargs, dict(map(_parse_assignment, values)))


def check_file_exists(
    path: Path,
    ends: tuple[str, ...] = (".py", ".ipynb"),
    remedy: str = "Give the Python file or notebook that defines the module.",
) -> None:
    """Refuse a path that is not a file. The error names the file with the most similar path, or gives the remedy."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_file():
            return
    raise InputError(f"{path} is not a file.", suggest_near_file(path, ends) or remedy)


def check_weights_exist(path: Path) -> None:
    """Refuse a path of weights that is not a file."""
    ends = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", path.suffix.lower())
    check_file_exists(path, ends, "Give a .safetensors file or a saved state_dict.")


def _check_argument(node: ast.expr) -> None:
    """Raise ValueError for an argument with more than literals, and names, attributes and calls of the file."""
    allowed = (
        ast.Constant, ast.Name, ast.Attribute, ast.Call, ast.keyword, ast.List, ast.Tuple, ast.Set, ast.Dict,
        ast.UnaryOp, ast.USub, ast.UAdd, ast.Load,
    )  # fmt: skip
    for part in ast.walk(node):
        if not isinstance(part, allowed) or (isinstance(part, ast.keyword) and part.arg is None):
            raise ValueError("it is not a plain value")
        if isinstance(part, ast.Dict) and None in part.keys:
            raise ValueError("it unpacks a dictionary")


def _parse_assignment(given: str) -> tuple[str, ast.expr]:
    name, _, value = given.partition("=")
    try:
        if not all(part.isidentifier() for part in name.strip().split(".")):
            raise ValueError("no name")
        node = ast.parse(value.strip(), mode="eval").body
        _check_argument(node)
        return name.strip(), node
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise InputError(
            f"{short_repr(given)} does not give a name a plain value.", "Write it as in --set vocab_size=8000."
        ) from None
