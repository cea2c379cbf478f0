"""Read the settings that Python files contain: the defaults of command lines by argparse, and classes of settings such
as `Config`; and those in files of settings, such as config.ini. Nothing is run."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pocketrnn_export.source_code.notebook import read_python_statements_if_readable
from pocketrnn_export.source_code.syntax_tree_parts import (
    find_defaults,
    find_keyword_arguments,
    find_methods,
    list_assignments,
    read_last_name,
)

_CLASS: Final = re.compile(r"config|cfg|settings?$|args|arguments|opt(ion)?s?$|param|^hp", re.IGNORECASE)


@dataclass(frozen=True)
class SettingsInCode:
    """The settings that one file contains, as command-line options or as attributes of a class such as `Config`.

    Attributes:
        path: the file.
        values: the value of each setting, by its name. A command-line option without a default has None.
        phrase: where the values stand, in words for the end of a sentence in a message.
        users: the files that instantiate the class of settings; for command-line options, the file that declares them.
        later: settings that code elsewhere sets to an expression, and not to a plain value; each name with the place
            and the code of the assignment.
    """

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    phrase: str = ""
    users: tuple[Path, ...] = ()
    later: Mapping[str, str] = field(default_factory=dict)


def read_settings_in_code(paths: Iterable[Path]) -> list[SettingsInCode]:
    """Read the options that Python files and notebooks declare by `parser.add_argument(...)`, and the attributes of
    their classes of settings, such as `class Config`. Leave out files that cannot be read."""
    files = {path: read_python_statements_if_readable(path) for path in paths}
    assigned = functools.cache(
        lambda: {path: [*list_assignments(ast.walk(ast.Module(body, [])))] for path, body in files.items()}
    )
    found = []
    for path, statements in files.items():
        if values := find_parser_defaults(statements):
            found.append(SettingsInCode(path, values, f"by the defaults of the command line of {path}", (path,)))
        for one in statements:
            if isinstance(one, ast.ClassDef) and _CLASS.search(one.name) and not find_methods(one, "forward"):
                values = _read_class_of_settings(one)
                users, plain, later = _find_users_and_later_values(one.name, assigned())
                values = {name: value for name, value in {**values, **plain}.items() if name not in later}
                # A class that nothing makes an object of may be another's.
                if values and users:
                    found.append(SettingsInCode(path, values, f"by {one.name} in {path}", users, later))
    return found


def _read_class_of_settings(definition: ast.ClassDef) -> dict[str, Any]:
    """Return the plain values (numbers, strings, lists) of the attributes that a class sets in its body or in
    `__init__`. An attribute that `__init__` sets to a parameter has the default of the parameter."""
    found: dict[str, list[Any]] = {}
    for target, value in list_assignments(definition.body):
        if isinstance(target, ast.Name):
            found.setdefault(target.id, []).append(_read_plain_value(value, {}))
    for init in find_methods(definition, "__init__"):
        defaults = find_defaults(init)
        # `__init__` replaces what the body has set.
        own: dict[str, list[Any]] = {}
        for target, value in list_assignments(ast.walk(init)):
            if isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self":
                own.setdefault(target.attr, []).append(_read_plain_value(value, defaults))
        found |= own
    return {
        name: values[0]
        for name, values in found.items()
        if values[0] is not ... and values.count(values[0]) == len(values)
    }


def _read_plain_value(node: ast.expr, defaults: Mapping[str, ast.expr]) -> Any:
    """Return the value of a literal such as `64`. For the name of a parameter, return its default. Return `...` for
    other code.

    Args:
        node: the expression.
        defaults: the code of the default of each parameter.
    """
    if isinstance(node, ast.Name):
        node = defaults.get(node.id, node)
    with contextlib.suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(node)
    return ...


def _find_users_and_later_values(
    name: str, assigned: Mapping[Path, Sequence[tuple[ast.expr, ast.expr]]]
) -> tuple[tuple[Path, ...], dict[str, Any], dict[str, str]]:
    """Find the files that instantiate a class of settings, and the assignments to its attributes elsewhere, as in
    `cfg.vocab_size = 500`. Return three things: the files; the attributes with a plain value; and the other attributes,
    each with the place and the code of its assignment.

    Args:
        assigned: the assignments in each file, as pairs of target and value.
    """
    users: list[Path] = []
    plain: dict[str, Any] = {}
    later: dict[str, str] = {}
    for path, pairs in assigned.items():
        made = {
            read_last_name(target)
            for target, value in pairs
            if isinstance(value, ast.Call) and read_last_name(value.func) == name
        }
        users += [path] * bool(made)
        for target, value in pairs if made else ():
            if isinstance(target, ast.Attribute) and read_last_name(target.value) in made:
                got = _read_plain_value(value, {})
                if got is ... or plain.get(target.attr, got) != got:
                    later[target.attr] = f"{path}, line {target.lineno}: {ast.unparse(target)} = {ast.unparse(value)}"
                plain[target.attr] = got
    return tuple(users), {one: value for one, value in plain.items() if one not in later}, later


def find_parser_defaults(statements: Iterable[ast.stmt]) -> dict[str, Any]:
    """Return the default of each command-line option that code declares by argparse, by the name of the option.

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
    given = find_keyword_arguments(call)
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


# A line `name = value` or `name: value`, and the head of a section: `[MODEL]`, or `model:` in YAML.
_LINE: Final = re.compile(r"[ \t]*([\w-]+)[ \t]*[:=][ \t]*(.*?)[ \t]*")
_HEAD: Final = re.compile(r"\[([\w.-]+)\][ \t]*|([\w-]+):[ \t]*")
_WORDS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    "null": None,
    "~": None,
}


def read_settings_file(path: Path) -> dict[str, dict[str, Any]]:
    """Read a file of settings: JSON, TOML, or lines such as `dim = 64` or `dim: 64`. Return a dict from each section's
    name to its plain values. Values outside of a section have the name "". Return an empty dict for a file that cannot
    be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        text = path.read_text("utf-8")
        if path.suffix.lower() in (".json", ".toml"):
            held = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
            parts = {"": held, **held} if isinstance(held, Mapping) else {}
            return {
                name: plain
                for name, part in parts.items()
                if isinstance(part, Mapping)
                and (plain := {key: one for key, one in part.items() if not isinstance(one, Mapping)})
            }
        return _read_settings_lines(text.splitlines())
    return {}


def _read_settings_lines(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read lines such as `dim = 64`, `dim: 64` and `[section]`. Return a dict from each section's name to its plain
    values."""
    found: dict[str, dict[str, Any]] = {}
    section = ""
    for line in lines:
        if head := _HEAD.fullmatch(line):
            section = head[1] or head[2]
        elif (one := _LINE.fullmatch(line)) and one[2]:
            # In YAML, a line without an indent is at the top again.
            section = section if line[0] in " \t" or "=" in line else ""
            text = re.sub(r"\s[#;].*", "", one[2])
            value: Any = text
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                value = ast.literal_eval(text)
            found.setdefault(section, {})[one[1]] = value
    return found


def convert_settings_word_to_bool_or_none(value: Any) -> Any:
    """Return True, False or None for a word with this meaning in a settings file, such as `yes` or `null`. Return any
    other value unchanged."""
    return _WORDS.get(value.lower(), value) if isinstance(value, str) else value
