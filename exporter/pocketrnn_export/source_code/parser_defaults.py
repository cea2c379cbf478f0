"""Read the defaults of the command lines that Python files declare by argparse. Nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pocketrnn_export.source_code.notebook import read_python_cells_if_readable


@dataclass(frozen=True)
class ParserDefaults:
    """The defaults of the options that a file declares.

    Attributes:
        path: the file.
        values: the default of each option, by the option's name as an attribute. An option without a default has None.
    """

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)


def read_parser_defaults(paths: Iterable[Path]) -> list[ParserDefaults]:
    """Read the options that Python files and notebooks declare by `parser.add_argument(...)`. Leave out files
    without options, and files that cannot be read."""
    found = []
    for path in paths:
        statements = [node for cell in read_python_cells_if_readable(path) for node in cell.statements]
        if values := find_parser_defaults(statements):
            found.append(ParserDefaults(path, values))
    return found


def find_parser_defaults(statements: Iterable[ast.stmt]) -> dict[str, Any]:
    """Return a dict from the names of options to their defaults, for the options that code declares by argparse.

    Example:
        >>> find_parser_defaults(ast.parse('p.add_argument("--batch-size", type=int, default=64)').body)
        {'batch_size': 64}
    """
    found: dict[str, Any] = {}
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                name, value = _read_option(node)
                if name and value is not ...:
                    found[name] = value
    return found


def _read_option(call: ast.Call) -> tuple[str, Any]:
    """Return the name and the default of a command-line option from its `add_argument` call. The default is `...` if it
    is not a plain value."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    flags = [str(one.value) for one in call.args if isinstance(one, ast.Constant)]
    longest = next((flag for flag in flags if flag.startswith("--")), flags[0] if flags else "")
    stated = given.get("dest")
    name = stated.value if isinstance(stated, ast.Constant) else longest.lstrip("-").replace("-", "_")
    action = getattr(given.get("action"), "value", "")
    if "default" not in given:
        return str(name), {"store_true": False, "store_false": True}.get(action)
    try:
        value = ast.literal_eval(given["default"])
    except (ValueError, TypeError):
        return str(name), ...
    kinds = {"int": int, "float": float}
    kind = kinds.get(getattr(given.get("type"), "id", ""))
    return str(name), kind(value) if kind is not None and isinstance(value, str) else value
