"""Find values for the arguments of a class that the user did not give. The weights show some, and calls in the
class's file show others. The user is asked for the rest."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import itertools
import json
import logging
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from pocketrnn.errors import InputError, first_line
from pocketrnn_export.intake.arguments_by_trial import find_fitting_arguments
from pocketrnn_export.intake.arguments_from_weights import (
    find_layer_kind_arguments,
    find_parameter_values,
    list_strings_compared_with_argument,
    make_zeros_for_initial_matrices,
)
from pocketrnn_export.intake.constructor_arguments_without_effect import find_values_for_arguments_without_effect
from pocketrnn_export.intake.constructor_calls_in_file import (
    GivenByCalls,
    find_constructor_arguments,
    join_given_values,
)
from pocketrnn_export.intake.layers_in_weights import describe_layers
from pocketrnn_export.intake.module_name_with_arguments import ModuleName
from pocketrnn_export.intake.settings_objects import FoundSettings, find_settings_for_argument
from pocketrnn_export.intake.weights_file import SavedSettings, SavedWeights
from pocketrnn_export.source_code.argparse_and_config_settings import (
    convert_settings_word_to_bool_or_none,
    read_settings_in_code,
)
from pocketrnn_export.source_code.class_definitions import find_class_and_call_that_instantiates_name
from pocketrnn_export.source_code.code_and_data_files_near_module import list_files_near
from pocketrnn_export.source_code.notebook import Cell, read_python_cells_if_readable
from pocketrnn_export.source_code.syntax_tree_parts import find_methods
from pocketrnn_export.vocabularies.words_as_vocabulary_object import WordIds, is_used_as_vocabulary

_log = logging.getLogger(__name__)

_TYPES_OF_SIZES = (int, bool, float, type(None))
_SAYS_WHAT_IS_TRAINED: Final = re.compile("(?i)freez|frozen|trainable|requires_grad")


class MissingArgumentsError(InputError):
    """The user did not give arguments that a class needs.

    Args:
        problem: a sentence that says which arguments are missing.
        remedy: a sentence that says what to do.
        known: sentences on what is known of the arguments.
        source: the name of the module with all its arguments; `...` stands for the unknown ones.
        vocabularies: the names of those arguments that the code uses as a vocabulary.
    """

    def __init__(
        self, problem: str, remedy: str, known: str = "", source: str = "", vocabularies: Sequence[str] = ()
    ) -> None:
        super().__init__(problem, remedy)
        self.known, self.source, self.vocabularies = known, source, tuple(vocabularies)


def find_values_for_missing_arguments(
    maker: Any, args: Sequence[Any], kwargs: Mapping[str, Any], named: ModuleName, weights: SavedWeights | None
) -> dict[str, Any]:
    """Return values for the arguments of a class that the user did not give. They come from the shapes of the weights,
    from the arguments in a checkpoint, or from calls of the class in its file. The values are logged, and so are
    defaults that are kept although calls in the file give other values.

    Args:
        maker: the class, or a function that makes the module.
        args, kwargs: the arguments that the user gave.
        named: the file and the name of the class.
        weights: the weights that are loaded later.

    Raises:
        MissingArgumentsError: the class needs arguments whose values are not found. The message names all of them.
        InputError: the class does not take the user's arguments.
    """
    try:
        signature = inspect.signature(maker)
    except (ValueError, TypeError):
        return {}
    takes = _list_parameters_without_argument(signature, args, kwargs, named)
    required = [name for name, parameter in takes.items() if parameter.default is parameter.empty]
    cells = read_python_cells_if_readable(named.path)
    definition = _find_class_definition(maker, cells) if inspect.isclass(maker) else None
    stated, place = _find_checkpoint_arguments_and_place(takes, weights)
    shown, taken, unused, matrices = dict[str, Any](), dict[str, Any](), dict[str, Any](), dict[str, Any]()
    if definition is not None and weights is not None:
        shown |= find_parameter_values(definition, weights.tensors, named.path)
        taken |= {name: shown[name] for name in takes if name in shown and _differs_from_default(takes[name], shown)}
        unused |= find_values_for_arguments_without_effect(definition) if _inherits_only_from_torch(maker) else {}
        of_cells = [name for name, one in takes.items() if one.default is one.empty or isinstance(one.default, str)]
        cells_shown = find_layer_kind_arguments(definition, of_cells, weights.tensors)
        taken |= {name: cell for name, cell in cells_shown.items() if takes[name].default != cell}
        matrices = make_zeros_for_initial_matrices(
            definition, [name for name in required if name not in taken], weights.tensors
        )
    # Shapes are facts; a name in a checkpoint is its owner's word.
    said = {name: stated[name] for name in required if name in stated and name not in taken | matrices}
    idle = {name: unused[name] for name in required if name in unused and name not in taken | said}
    calls = find_constructor_arguments(cells, named.name, signature)
    others = {
        name: parameter for name, parameter in takes.items() if name not in shown | unused | said | taken | matrices
    }
    called = _take_arguments_from_calls(calls, others, stated)
    found_values = {**taken, **said, **idle, **called, **matrices}
    missing = [name for name in required if name not in found_values]
    near = _search_owner_files(maker, missing, named, definition, weights)
    found_values |= near.values
    missing = [name for name in required if name not in found_values]
    tried = (
        {}
        if not missing
        else find_arguments_by_trial(
            maker, {**signature.bind_partial(*args).arguments, **kwargs, **found_values}, named, weights
        )
    )
    taken |= tried
    found_values |= tried
    if missing := [name for name in required if name not in found_values]:
        values = {name: found_values.get(name, ...) for name in takes if name in found_values or name in missing}
        values |= {name: one for name, one in near.proposed.items() if name not in tried}
        values = {name: value for name, value in values.items() if name not in matrices}
        _refuse_missing_arguments(named, signature, missing, values, weights, definition, near)
    for name in _find_arguments_that_change_weight_shapes(
        maker, args, {**kwargs, **found_values}, called.keys() - required, weights
    ):
        del called[name], found_values[name]
    left = {n: other.default for n, other in others.items() if n not in found_values and n not in stated}
    _log_taken_values(named, weights, [taken | matrices, said, idle, called], left, calls, place, near.value_phrases)
    if weights is not None:
        made_with = {name: found_values.get(name, parameter.default) for name, parameter in takes.items()}
        _log_unused_checkpoint_values(named, place, {k: v for k, v in stated.items() if k not in taken}, made_with)
    return found_values


def find_arguments_by_trial(
    maker: Any,
    kwargs: Mapping[str, Any],
    named: ModuleName,
    weights: SavedWeights | None,
    changeable: Collection[str] = (),
) -> dict[str, Any]:
    """Find further arguments of a class, and other values for its defaults, with which its module has the same tensors
    as the weights. Return an empty dict if no such arguments are found.

    Args:
        maker: the class, or a function that makes the module.
        kwargs: the known arguments.
        named: the file and the name of the class.
        changeable: the names of the arguments in `kwargs` that may get other values.
    """
    parameters = inspect.signature(maker).parameters.values()
    kinds = {one.kind for one in parameters}
    if weights is None or inspect.Parameter.POSITIONAL_ONLY in kinds or inspect.Parameter.VAR_POSITIONAL in kinds:
        return {}
    left = {one.name: one.default for one in parameters if one.name not in kwargs and one.kind != one.VAR_KEYWORD}
    values = {**left, **{name: kwargs[name] for name in changeable}}
    plain = {name: value for name, value in values.items() if type(value) in (int, bool, str)}
    cells = read_python_cells_if_readable(named.path)
    return find_fitting_arguments(
        functools.partial(maker, **{name: one for name, one in kwargs.items() if name not in plain}),
        [name for name, default in left.items() if default is inspect.Parameter.empty],
        plain,
        _find_class_definition(maker, cells) if inspect.isclass(maker) else None,
        weights,
    )


@dataclass(frozen=True)
class _Written:
    """A value of which only the code is known."""

    code: str


@dataclass(frozen=True)
class _OwnerValues:
    """The missing arguments of a class that the checkpoint and the files near it show: as objects of settings, and in
    calls of the class."""

    settings: Mapping[str, FoundSettings]
    calls: Mapping[str, GivenByCalls]

    @property
    def values(self) -> dict[str, Any]:
        """The values that were found for arguments: in settings objects, and as literals that all calls of the class
        give."""
        made = {name: one.value for name, one in self.settings.items() if one.value is not None}
        return made | {name: one.values[0] for name, one in self.calls.items() if one.is_one_literal}

    @property
    def proposed(self) -> dict[str, Any]:
        """A likely value for each argument. A message proposes a line with these values, which the user can copy and
        correct."""
        written = {name: _Written(one.written) for name, one in self.settings.items()}
        return written | {name: one.values[0] for name, one in self.calls.items()}

    @property
    def call_phrases(self) -> list[str]:
        """Phrases for a message: calls of the class, with all arguments that they give."""
        places = dict.fromkeys(one.places_with_verb for one in self.calls.values())
        given = {
            place: [f"{name}={one.listed_values}" for name, one in self.calls.items() if one.places_with_verb == place]
            for place in places
        }
        return [f"{place} it with {_join_names(some)}" for place, some in given.items()]

    @property
    def value_phrases(self) -> list[str]:
        """Phrases for a message: each value, with the file or the calls that show it."""
        told = [f"{name}={one.written}, {one.source}" for name, one in self.settings.items()]
        return told + [
            f"{write_arguments({name: one.values[0]})}, as {one.places_with_verb} it"
            for name, one in self.calls.items()
        ]


def _search_owner_files(
    maker: Any,
    missing: Sequence[str],
    named: ModuleName,
    definition: ast.ClassDef | None,
    weights: SavedWeights | None,
) -> _OwnerValues:
    """Search for values of the missing arguments in the checkpoint and in Python files near the class: settings
    objects, such as `args`, and calls of the class."""
    if not missing:
        return _OwnerValues({}, {})
    paths = list_files_near(named.path)
    # The first of several that fit counts: one of a file that makes the class itself.
    parsers = read_settings_in_code(paths)
    users = {user for one in parsers for user in one.users}
    makers = {user for user in users if named.name in user.read_text("utf-8")}
    parsers.sort(key=lambda one: makers.isdisjoint(one.users))
    settings = {
        name: find_settings_for_argument(maker, name, definition, weights, parsers, named.path) for name in missing
    }
    defaults: dict[object, Mapping[str, Any]] = {}
    for in_code in parsers:
        for user in in_code.users:
            defaults[user] = {**in_code.values, **defaults.get(user, {})}
    saved = [] if weights is None else weights.all_settings
    calls: dict[str, GivenByCalls] = {}
    for path in paths:
        cells = read_python_cells_if_readable(path)
        find_value = functools.partial(_find_setting, settings=saved, options=defaults.get(path, {}))
        given = find_constructor_arguments(
            cells, getattr(maker, "__name__", named.name), inspect.signature(maker), find_value
        )
        for name, one in given.items():
            if name in missing and settings[name] is None and one.values:
                placed = replace(one, places=tuple(f"{path} ({place})" for place in one.places))
                calls[name] = join_given_values(calls[name], placed) if name in calls else placed
    return _OwnerValues({name: one for name, one in settings.items() if one is not None}, calls)


def _find_setting(parts: Sequence[str], *, settings: Iterable[SavedSettings], options: Mapping[str, Any]) -> Any:
    """Return the value of a setting such as `config.model.dim` from `settings`, or from `options`, the options of a
    command line. `parts` are the names: config, model, dim. If several dicts of the checkpoint have the last name, take
    the dicts whose path has the most of the other names. Return `...` if no value is found, or if these dicts have
    different values."""
    held: dict[int, list[Any]] = {}
    for place, _, values in settings:
        if parts[-1] in values:
            names = place.split(".")[::-1]
            alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(names, parts[-2::-1], strict=False))
            held.setdefault(len([*alike]), []).append(values[parts[-1]])
    found = held[max(held)] if held else [options.get(parts[-1])]
    return found[0] if found[0] is not None and all(one == found[0] for one in found) else ...


def _find_checkpoint_arguments_and_place(
    takes: Collection[str], weights: SavedWeights | None
) -> tuple[dict[str, Any], str]:
    """Find the dict that has the most arguments of a class, in a checkpoint or in its file of settings. Return these
    arguments, and a phrase with a verb that says where the dict is: `net.pt says in config`. `takes` are the names of
    the arguments that the class takes."""
    if weights is None:
        return {}, ""
    # The first of those with equally many names counts.
    sources = [(f"{weights.path} says", weights.arguments), *((one.said, one.values) for one in weights.all_settings)]
    # A dict may be an object of settings, which is made elsewhere.
    plain = [
        (said, {name: value for name, value in held.items() if name in takes and not isinstance(value, Mapping)})
        for said, held in sources
    ]
    said, values = max(plain, key=lambda one: len(one[1]))
    is_of_file = not weights.settings
    return {
        name: convert_settings_word_to_bool_or_none(value) if is_of_file else value for name, value in values.items()
    }, said


def _list_parameters_without_argument(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any], named: ModuleName
) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class that have no argument yet. Raise an InputError if the class does not take the
    given arguments."""
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise InputError(
            f"{named.name} in {named.path} does not take the given arguments: {first_line(error)}.",
            f"Give arguments that fit {named.name}{str(signature)[:300]}.",
        ) from None
    return {
        name: parameter
        for name, parameter in signature.parameters.items()
        if name not in given and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def _take_arguments_from_calls(
    calls: Mapping[str, GivenByCalls], parameters: Mapping[str, inspect.Parameter], stated: Mapping[str, Any]
) -> dict[str, Any]:
    """Return those arguments to which all calls in a file give the same literal, each with this literal. An argument is
    left out if the literal is its default, or if `stated`, the arguments in the checkpoint, has another value."""
    literals = {name: calls[name].values[0] for name in parameters if name in calls and calls[name].is_one_literal}
    return {
        name: value
        for name, value in literals.items()
        # The checkpoint is of these weights, and the file may have changed since.
        if not calls[name].confirms(parameters[name].default) and (name not in stated or stated[name] == value)
    }


def _find_arguments_that_change_weight_shapes(
    maker: Any, args: Sequence[Any], kwargs: Mapping[str, Any], names: Iterable[str], weights: SavedWeights | None
) -> list[str]:
    """Return those of the arguments `names` that give the module's weights other shapes than the file of weights has.
    If the shapes differ even without these arguments, return an empty list."""
    names = sorted(names)
    if weights is None or not names:
        return []
    held = Counter(tuple(tensor.shape) for tensor in weights.tensors.values())

    def has_shapes_of_file(without: Iterable[str]) -> bool:
        try:
            with torch.random.fork_rng(devices=[]):
                made = maker(*args, **{name: value for name, value in kwargs.items() if name not in without})
            return Counter(tuple(tensor.shape) for tensor in made.state_dict().values()) == held
        # A user's code may raise any exception, and call sys.exit.
        except (Exception, SystemExit):
            return False

    if has_shapes_of_file([]) or not has_shapes_of_file(names):
        return []
    return [name for name in names if not has_shapes_of_file([other for other in names if other != name])]


def _inherits_only_from_torch(made_class: type) -> bool:
    """Return whether all base classes of a class are PyTorch's. If not, methods of other base classes may read an
    argument, too."""
    return [kind for kind in made_class.__mro__ if kind.__module__.split(".")[0] not in ("torch", "builtins")] == [
        made_class
    ]


def _log_taken_values(
    named: ModuleName,
    weights: SavedWeights | None,
    values_by_source: Sequence[Mapping[str, Any]],
    kept_defaults: Mapping[str, Any],
    calls: Mapping[str, GivenByCalls],
    place: str,
    further_phrases: Sequence[str],
) -> None:
    """Log the values that were found for arguments, each with its source, and the defaults that nothing confirms.
    `place` says where the checkpoint or the file of settings has its values. `further_phrases` describe further
    arguments."""
    path = "" if weights is None else weights.path
    where = f"as {next(iter(calls.values())).places_with_verb} it" if calls else ""
    how = (f"by the shapes in {path}", f"as {place}", "without effect on its answers", where)
    told = [f"{write_arguments(one)}, {why}" for one, why in zip(values_by_source, how, strict=True) if one]
    told += further_phrases
    kept: dict[str, dict[str, Any]] = {}
    for name, default in kept_defaults.items():
        call = calls.get(name)
        if call is None and told and isinstance(default, bool | str):
            kept.setdefault("", {})[name] = default
        elif call is not None and not call.confirms(default):
            kept.setdefault(f" ({call.places_with_verb} it with {call.listed_values})", {})[name] = default
    if kept:
        names = [*itertools.chain(*kept.values())]
        whose, yours = ("its default", "it") if len(names) == 1 else ("their defaults", "them")
        told.append(f"left at {whose}: {', '.join(f'{write_arguments(some)}{why}' for why, some in kept.items())}")
        line = f"{named.name}({', '.join(f'{name}=...' for name in names)})"
        told.append(f"if you trained with another value, give {yours} in SOURCE, {line}; else nothing is to be done")
    if told:
        _log.warning("%s is made with %s", named.name, "; ".join(told))


def _log_unused_checkpoint_values(
    named: ModuleName, place: str, stated: Mapping[str, Any], made_with: Mapping[str, Any]
) -> None:
    """Log the arguments in a checkpoint (`stated`) that differ from those with which the module was made (`made_with`).
    Arguments that only say which weights are trained are left out, since they change no answer."""
    other = {n: value for n, value in stated.items() if made_with[n] is not None and made_with[n] != value}
    if other := {name: value for name, value in other.items() if not _SAYS_WHAT_IS_TRAINED.search(name)}:
        _log.warning(
            "%s %s, but %s has other defaults, which are used. If the weights were trained with these values, "
            "give them: %s:%s(%s)",
            place, write_arguments(other), named.name, named.path, named.name, write_arguments(other),
        )  # fmt: skip


def _differs_from_default(parameter: inspect.Parameter, shown: Mapping[str, Any]) -> bool:
    """Return whether a parameter has no default, or has a plain default that differs from its value in `shown`, the
    values that the weights show."""
    default = parameter.default
    return default is parameter.empty or (type(default) in _TYPES_OF_SIZES and default != shown[parameter.name])


def _refuse_missing_arguments(
    named: ModuleName,
    signature: inspect.Signature,
    missing: Sequence[str],
    values: Mapping[str, Any],
    weights: SavedWeights | None,
    definition: ast.ClassDef | None,
    owner_values: _OwnerValues,
) -> None:
    """Raise a MissingArgumentsError for a class whose required arguments are not all known. The message says what the
    weights and the user's code show of these arguments, and has the call to complete."""
    code = [] if definition is None else [definition]
    compared_strings = {name: list_strings_compared_with_argument(one, name) for one in code for name in missing}
    unknown = [name for name in missing if values.get(name, ...) is ...]
    unknown_places = [place for one in code for name in unknown if (place := _find_place(one, name))]
    objects = [name for name in missing if _takes_object(signature.parameters[name], definition)]
    object_names = [name for name in objects if name not in owner_values.settings]
    known = [
        f"Its code compares {name} with {', '.join(map(_write_value, some))}."
        for name, some in compared_strings.items()
        if some
    ]
    known += [f"{one}." for one in owner_values.call_phrases]
    sources = {name: one.source for name, one in owner_values.settings.items() if one.source}
    known += [f"The values in {name} are set {source}." for name, source in sources.items()]
    if weights is None:
        known.append("With --weights FILE, the sizes that its tensors show are used.")
    else:
        if shown := {name: value for name, value in values.items() if name not in (*missing, *owner_values.calls)}:
            known.append(f"{weights.path} shows {write_arguments(shown)}.")
        layers = describe_layers(weights.tensors) or weights.first_tensors_phrase
        known.append(f"It holds {layers}." if shown else f"{weights.path} holds {layers}.")
        if said := ", ".join(f"{name}={value!r}" for name, value in list(weights.arguments.items())[:20]):
            known.append(f"It was made with: {said}.")
    # Positional arguments that were given stand before these.
    given = [*map(ast.unparse, named.args), *(f"{k}={ast.unparse(v)}" for k, v in (named.kwargs or {}).items()
             if not isinstance(getattr(v, "value", None), WordIds))]  # fmt: skip
    call = ", ".join([*given, write_arguments(values)])
    source = f"{named.path}:{named.name}({call})"
    held = {} if weights is None else {name: weights.dicts[name] for name in object_names if weights.dicts.get(name)}
    for name, keys in held.items():
        file = "" if weights is None else str(weights.path)
        known.append(f'torch.load("{file}")["{name}"] is a dict with {", ".join(keys[:12])}.')
    if object_names:
        first = f"copy {named.name} to a file made.py, with" if named.is_notebook else "write a file made.py with"
        known.append(
            f"{_join_names(object_names)} {'is an object' if len(object_names) == 1 else 'are objects'}: {first} a "
            f"function make() that makes {'it' if len(object_names) == 1 else 'them'} and returns "
            f"{named.name}({call}), as in docs/your-files.md."
        )
        source = "made.py:make"
    if unknown_places and "..." in source:
        known.append(f"Put values in place of the dots: {' and '.join(unknown_places)}.")
    said = " ".join(known)
    raise MissingArgumentsError(
        f"{named.name}{str(signature)[:300]} in {named.path} needs {_join_names(missing)}, but "
        f"{'it is' if len(missing) == 1 else 'they are'} not given.",
        f"{said} Write {shlex.quote(source)}.",
        said,
        source,
        [name for name in missing if is_used_as_vocabulary(code, name)],
    )


def _find_place(definition: ast.ClassDef, argument: str) -> str:
    """Return a phrase with the line where a class first reads an argument of its `__init__`. Return an empty string if
    it never reads the argument."""
    for init in find_methods(definition, "__init__"):
        for node in (one for statement in init.body for one in ast.walk(statement)):
            if isinstance(node, ast.Name) and node.id == argument:
                return f"line {node.lineno} reads {argument}"
    return ""


def _takes_object(parameter: inspect.Parameter, definition: ast.ClassDef | None) -> bool:
    """Return whether a parameter takes an object, and not a plain number or string. Its annotation shows this, or the
    code reads attributes of it."""
    kind = parameter.annotation
    if isinstance(kind, type) and kind.__module__ != "builtins" and kind is not parameter.empty:
        return True
    parts = (n for n in ast.walk(definition) if isinstance(n, ast.Attribute)) if definition is not None else ()
    return any(isinstance(part.value, ast.Name) and part.value.id == parameter.name for part in parts)


def write_arguments(values: Mapping[str, Any]) -> str:
    """Write arguments as Python code: `dim=64, name="x"`."""
    return ", ".join(f"{name}={_write_value(value)}" for name, value in values.items())


def _write_value(value: Any) -> str:
    """Write a value as Python code. A string gets double quotation marks, since the whole code stands in single ones in
    a shell."""
    if value is ... or isinstance(value, _Written):
        return "..." if value is ... else value.code
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"zeros({', '.join(map(str, value.shape))})"
    return json.dumps(value) if isinstance(value, str) and value.isprintable() and value.isascii() else repr(value)


def _join_names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _find_class_definition(made_class: type, cells: Iterable[Cell]) -> ast.ClassDef | None:
    """Return the code of the class whose `__init__` makes the module, from its file or from a file that this one
    imports. Return None if it is not found."""
    owner = next((kind for kind in made_class.__mro__ if "__init__" in vars(kind)), made_class)
    statements = [node for cell in cells for node in cell.statements]
    if (inside := find_class_and_call_that_instantiates_name(statements, owner.__name__)) is not None:
        return inside[0]
    # The source may be missing, or be another one than was run.
    with contextlib.suppress(OSError, TypeError, SyntaxError, IndexError):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        return node if isinstance(node, ast.ClassDef) else None
    return None
