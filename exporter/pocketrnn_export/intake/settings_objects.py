"""Make the object of settings that a class takes, or that it reads as a global of its file, such as `config` or `args`,
from what a checkpoint or the owner's files say.

Training scripts save a dict of settings beside the weights, declare a dataclass of them, or read them from the command
line by argparse, whose defaults are then the values. The class reads them as `config.dim` or `config["dim"]`.

A script makes a global of its command line often only where it is run: behind `if __name__ == "__main__"`, or with
options that an import does not give.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import inspect
import logging
import re
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from pocketrnn_export.intake.arguments_from_weights import find_size_expression_values
from pocketrnn_export.intake.weights_file import SavedWeights
from pocketrnn_export.source_code.argparse_and_config_settings import SettingsInCode, read_settings_in_code
from pocketrnn_export.source_code.class_definitions import find_init_parameters_stored_in_attributes
from pocketrnn_export.source_code.code_and_data_files_near_module import list_files_near
from pocketrnn_export.source_code.notebook import read_python_statements_if_readable
from pocketrnn_export.source_code.syntax_tree_parts import list_assigned_names

# The methods of a dict by which code reads it.
_METHODS: Final = ("get", "items", "keys", "values", "copy", "pop", "setdefault", "update")


class Settings(dict[str, Any]):
    """A dict whose members are attributes, too.

    Example:
        >>> Settings(dim=3).dim, Settings(dim=3)["dim"]
        (3, 3)
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True)
class FoundSettings:
    """The object of settings for an argument of a class.

    Attributes:
        value: the object; None if no source has all settings.
        written: the code that makes the object. `...` stands for an unknown setting.
        source: the place of the values, as the end of a sentence: `as net.pt says in config.model`.
    """

    value: Any
    written: str
    source: str = ""


@dataclass(frozen=True)
class _Reads:
    """The settings that a class reads from its argument: those that it reads as attributes, those that it reads as
    members of a dict, and those that may be missing. `others` says whether the class also uses the object in another
    way, for example passes it to a function."""

    attributes: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    others: bool = False

    @property
    def needed(self) -> frozenset[str]:
        return (self.attributes | self.members) - self.optional


def find_settings_for_argument(
    maker: Any,
    name: str,
    definition: ast.ClassDef | None,
    weights: SavedWeights | None,
    parsers: Iterable[SettingsInCode],
    path: Path | None = None,
) -> FoundSettings | None:
    """Find values for a settings object, such as `args` or `config`, that a class takes as an argument. Return None if
    the argument does not take a settings object.

    Where the shapes of the weights contradict the source of the values, the value that the weights show is taken.

    Args:
        maker: the class, or a function that makes the module.
        name: the name of the argument.
        definition: the code of the class.
        weights: the saved weights. A checkpoint may also hold the settings.
        parsers: the defaults of the command lines in the user's files.
        path: the file of the class, from which it may import the classes that it makes.
    """
    reads = _Reads(others=True) if definition is None else _find_settings_read_by_class(definition, name)
    kind = _find_settings_class(maker, name)
    fields = {} if kind is None else _list_fields_and_whether_required(kind)
    is_other = definition is not None and _is_used_as_other_object(definition, name)
    if (kind is not None and not fields) or (kind is None and is_other):
        return None
    shown: dict[str, int] = {}
    if weights is not None and definition is not None:
        shown = _find_settings_shown_by_weights(definition, name, weights, path)
    if fields:
        shown = {one: value for one, value in shown.items() if one in fields}
    return _find_fitting_settings(_Wanted(name, reads, kind, fields, shown), weights, parsers)


def find_global_settings(
    name: str, definitions: Sequence[ast.ClassDef], weights: SavedWeights | None, parsers: Iterable[SettingsInCode]
) -> FoundSettings | None:
    """Find values for a settings object, such as `args`, that the classes of a file read from a global. Return None if
    the global is not a settings object.

    Args:
        name: the name of the global.
        definitions: the classes.
        weights, parsers: as in `find_settings_for_argument`.
    """
    all_reads = [_find_settings_read_by_class(one, name) for one in definitions]
    reads = _Reads(
        frozenset().union(*(one.attributes for one in all_reads)),
        frozenset().union(*(one.members for one in all_reads)),
        frozenset().union(*(one.optional for one in all_reads)),
        others=any(one.others for one in all_reads),
    )
    if not reads.needed or any(_is_used_as_other_object(one, name) for one in definitions):
        return None
    shown = {} if weights is None else find_global_sizes(name, definitions, weights)
    return _find_fitting_settings(_Wanted(name, reads, None, {}, shown, of_file=True), weights, parsers)


def find_global_sizes(name: str, definitions: Sequence[ast.ClassDef], weights: SavedWeights) -> dict[str, int]:
    """Return a dict from each setting that classes read from a global to its value, for the settings whose values the
    shapes of the weights show: {"dim": 64} for `args.dim`."""
    found: dict[str, int] = {}
    for one in definitions:
        found |= _find_settings_shown_by_weights(one, name, weights)
    return found


@dataclass(frozen=True)
class _Wanted:
    """The settings object that is searched for: its name, how the code reads it, the settings that the weights show,
    whether it is a global of the file, and, if it has a class, this class with its arguments."""

    name: str
    reads: _Reads
    kind: type | None
    fields: Mapping[str, bool]
    shown: Mapping[str, int]
    of_file: bool = False

    @property
    def needed(self) -> Collection[str]:
        required = frozenset(one for one, is_required in self.fields.items() if is_required)
        return required if self.fields else self.reads.needed

    @property
    def read_names(self) -> Collection[str]:
        return self.fields.keys() if self.fields else self.reads.needed | self.reads.optional


def _find_fitting_settings(
    wanted: _Wanted, weights: SavedWeights | None, parsers: Iterable[SettingsInCode]
) -> FoundSettings | None:
    """Make the settings object from a dict, in the checkpoint or in the defaults of command lines, with all settings
    that the code requires. If there are several such dicts, take the one with the most of the settings that the code
    reads."""
    needed, read, shown = {*wanted.needed}, {*wanted.read_names}, wanted.shown
    sources = list(_yield_settings_sources(wanted.name, weights, parsers))
    fitting = [
        one for one in sources if needed <= one.values.keys() | shown.keys() and one.has_any_of(read, wanted.name)
    ]
    if not fitting and (wanted.fields or wanted.of_file) and needed <= shown.keys():
        fitting = [_Source({}, "", "by its defaults" if wanted.fields else "by the weights")]
    if not fitting:
        # Settings of which code sets one later are the best that there is.
        partial = [one for one in sources if one.later.keys() & needed and one.has_any_of(read, wanted.name)]
        known = max(partial, key=lambda one: len(needed & one.values.keys()), default=_Source({}, "", ""))
        missing = {one: shown.get(one, known.values.get(one, ...)) for one in sorted(needed)}
        later = [said for one, said in known.later.items() if missing.get(one) is ...]
        said = f"{known.phrase}; code sets others later ({'; '.join(later)})" if later else ""
        return FoundSettings(None, _write_settings(missing, wanted.reads, wanted.kind), said) if missing else None
    best = max(fitting, key=lambda one: len(read & one.values.keys()))
    contradicted = {one: value for one, value in shown.items() if best.values.get(one) != value}
    values = {**best.values, **contradicted}
    if wanted.fields:
        values = {one: value for one, value in values.items() if one in wanted.fields}
    shapes = f" and the shapes in {weights.path}" if weights is not None and contradicted else ""
    told = {one: value for one, value in values.items() if one in read} or values
    # The file of a dataclass or of a command line may have changed since, or other options were given.
    # A dropout changes no answer.
    unsure = [] if best.is_saved else [one for one in told if one not in shown and "drop" not in one.lower()]
    option = f"--set {wanted.name}.{unsure[0]}=VALUE" if wanted.of_file and unsure else "it in SOURCE, as here"
    advice = f"; if you trained with another {' or '.join(unsure)}, give {option}" if unsure else ""
    return FoundSettings(
        _make_settings(values, wanted.reads, wanted.kind),
        _write_settings(told, wanted.reads, wanted.kind),
        f"{best.phrase}{shapes}{advice}",
    )


@dataclass(frozen=True)
class _Source:
    """Values of settings, with the name of the dict that holds them, a phrase that says where it is, and whether they
    were saved with the weights."""

    values: Mapping[str, Any]
    name: str
    phrase: str
    is_saved: bool = False
    later: Mapping[str, str] = field(default_factory=dict)

    def has_any_of(self, read: Collection[str], name: str) -> bool:
        """Return whether the dict has any of the settings in `read`. If `read` is empty, return whether the dict has
        the name of the argument."""
        return bool(self.values.keys() & read) if read else self.name == name


def _yield_settings_sources(
    name: str, weights: SavedWeights | None, parsers: Iterable[SettingsInCode]
) -> Iterator[_Source]:
    """Yield the dicts from which a settings object may be made. First come the dicts of the checkpoint, beginning with
    the one that has the name of the argument; then the defaults of command lines."""
    if weights is not None:
        for one in sorted(weights.all_settings, key=lambda one: one.place.split(".")[-1] != name):
            yield _Source(one.values, one.place.split(".")[-1], f"as {one.said}", is_saved=True)
    for parser in parsers:
        yield _Source(parser.values, "", parser.phrase, later=parser.later)


def _find_settings_read_by_class(definition: ast.ClassDef, name: str) -> _Reads:
    """Return the settings that a class reads from its argument, or from the attribute that holds it."""
    held = {name} | {
        attribute
        for attribute, parameter in find_init_parameters_stored_in_attributes(definition).items()
        if parameter == name
    }
    parents = {child: node for node in ast.walk(definition) for child in ast.iter_child_nodes(node)}
    attributes, members, optional, others = set[str](), set[str](), set[str](), False
    for node in ast.walk(definition):
        if not isinstance(node, ast.Name | ast.Attribute) or ast.unparse(node) not in held:
            continue
        parent = parents[node]
        if isinstance(parent, ast.Attribute):
            call = parents[parent]
            if parent.attr not in _METHODS:
                attributes.add(parent.attr)
            elif isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
                members.add(str(call.args[0].value))
                optional.add(str(call.args[0].value))
        elif isinstance(parent, ast.Subscript) and isinstance(parent.slice, ast.Constant):
            members.add(str(parent.slice.value))
        elif isinstance(parent, ast.Call) and getattr(parent.func, "id", "") in ("getattr", "hasattr"):
            if isinstance(key := parent.args[1], ast.Constant):
                attributes.add(str(key.value))
                optional.add(str(key.value))
        elif not isinstance(parent, ast.Assign | ast.AnnAssign):
            others = True
    return _Reads(frozenset(attributes), frozenset(members), frozenset(optional), others)


def _is_used_as_other_object(definition: ast.ClassDef, name: str) -> bool:
    """Return whether a class uses its argument in a way that does not suit settings, but for example a vocabulary: it
    calls a method that dicts do not have, or takes the length of the argument or of one of its attributes."""
    for node in ast.walk(definition):
        if isinstance(node, ast.Call):
            func = node.func
            if isinstance(func, ast.Attribute) and ast.unparse(func.value) == name and func.attr not in _METHODS:
                return True
            if getattr(func, "id", "") == "len" and ast.unparse(node.args[0]).split(".")[0] == name:
                return True
    return False


def _find_settings_class(maker: Any, name: str) -> type | None:
    """Return the class that the annotation of an argument names, such as `Config`. Return None for a built-in class or
    a kind of dict."""
    found: Any = None
    init = maker.__init__ if inspect.isclass(maker) else maker
    # An annotation may name what is not imported.
    with contextlib.suppress(Exception):
        found = typing.get_type_hints(init).get(name)
    owned = isinstance(found, type) and found.__module__ not in ("builtins", "argparse", "types", "typing")
    return found if owned and not issubclass(found, dict) else None


def _list_fields_and_whether_required(kind: type) -> dict[str, bool]:
    """Return a dict from each field of a class of settings to whether the field needs a value. Return an empty dict if
    the class has no such fields."""
    is_named_tuple = issubclass(kind, tuple) and kind is not tuple
    if not (dataclasses.is_dataclass(kind) or is_named_tuple or hasattr(kind, "model_fields")):
        return {}
    parameters = inspect.signature(kind).parameters.values()
    return {one.name: one.default is one.empty for one in parameters}


def _find_settings_shown_by_weights(
    definition: ast.ClassDef, name: str, weights: SavedWeights, path: Path | None = None
) -> dict[str, int]:
    """Return a dict from each setting in the argument `name`, such as `dim` of `args.dim`, to its value, for the
    settings whose values the shapes of the weights show."""
    held = [
        name,
        *(a for a, parameter in find_init_parameters_stored_in_attributes(definition).items() if parameter == name),
    ]
    found: dict[str, int] = {}
    for expression, size in find_size_expression_values(definition, weights.tensors, path).items():
        node = ast.parse(expression, mode="eval").body
        key = getattr(node, "attr", getattr(getattr(node, "slice", None), "value", None))
        if isinstance(node, ast.Attribute | ast.Subscript) and ast.unparse(node.value) in held and key:
            found[str(key)] = size
    return found


def _make_settings(values: Mapping[str, Any], reads: _Reads, kind: type | None) -> Any:
    """Make the settings object from its values: an object of the class `kind` or, if this is None, a dict, an object
    with attributes, or a dict whose members are attributes, too."""
    if kind is not None:
        return kind(**values)
    parts = {name: Settings(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    if reads.others or (reads.attributes and reads.members):
        return Settings(parts)
    return SimpleNamespace(**parts) if reads.attributes else parts


def _write_settings(values: Mapping[str, Any], reads: _Reads, kind: type | None) -> str:
    """Write the settings object as Python code, for an argument that the user can copy."""
    if kind is None and not reads.attributes:
        return "{" + ", ".join(f'"{name}": {_write_value(value)}' for name, value in values.items()) + "}"
    named = "SimpleNamespace" if kind is None else kind.__name__
    return f"{named}({', '.join(f'{name}={_write_value(value)}' for name, value in values.items())})"


def _write_value(value: Any) -> str:
    return "..." if value is ... else repr(value)


_log = logging.getLogger(__name__)

# The names that code gives to an object of settings.
_SETTINGS: Final = re.compile(
    r"^_?(args?|opts?|options|config|conf|cfg|hparams?|hp|params|flags|settings)$", re.IGNORECASE
)


def find_settings_of_file(path: Path, names: Iterable[str], weights: SavedWeights | None) -> dict[str, Any]:
    """Find the settings objects, such as `args` or `config`, that the classes of a file read from globals. Return a
    dict from the names of the globals to these objects. Log each object with its source.

    Args:
        names: the names of the globals. Names that are not usual for settings are ignored.
        weights: the saved weights. A checkpoint may also hold the settings.
    """
    names = [name for name in names if _SETTINGS.match(name)]
    classes = _read_classes(path) if names else []
    parsers = read_settings_in_code(list_files_near(path)) if classes else []
    found = {}
    for name in names:
        settings = find_global_settings(name, classes, weights, parsers) if classes else None
        if settings is not None and settings.value is not None:
            _log.warning("%s of %s is %s, %s", name, path, settings.written, settings.source)
            found[name] = settings.value
    return found


def define_and_correct_settings_of_file(file: ModuleType, path: Path, weights: SavedWeights | None) -> None:
    """Define the settings objects, such as `args`, that the classes of a file read from globals, if running the file
    has not defined them. In settings objects that the file has defined, correct the sizes that differ from the weights.

    Args:
        file: the Python module in which the file was run.
        path: its path.
    """
    classes = _read_classes(path)
    nodes = [node for one in classes for node in ast.walk(one)]
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {name for one in classes for name in list_assigned_names(one)}
    read = {
        node.value.id
        for node in nodes
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name)
    }
    names = sorted(name for name in read - own if _SETTINGS.match(name))
    vars(file).update(find_settings_of_file(path, [name for name in names if name not in vars(file)], weights))
    for name in names if weights is not None else ():
        held = vars(file).get(name)
        known: Any = vars(held) if isinstance(held, argparse.Namespace | SimpleNamespace) else held
        sizes = find_global_sizes(name, classes, weights) if isinstance(known, dict) and weights is not None else {}
        other = {key: size for key, size in sizes.items() if known.get(key, size) != size}
        if other:
            said = ", ".join(f"{key}={size}" for key, size in other.items())
            _log.warning(
                "%s of %s is changed to %s, by the shapes in %s", name, path, said, weights.path if weights else ""
            )
            known.update(other)


def _read_classes(path: Path) -> list[ast.ClassDef]:
    """Return the classes of a file. Return an empty list if the file cannot be read."""
    return [node for node in read_python_statements_if_readable(path) if isinstance(node, ast.ClassDef)]
