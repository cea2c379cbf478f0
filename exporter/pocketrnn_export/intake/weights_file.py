"""Read the weights of a module from a file of torch or safetensors. The file may be a training checkpoint."""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from pocketrnn.errors import InputError, first_line
from pocketrnn_export.intake.file_existence_check import check_weights_exist
from pocketrnn_export.intake.pytorch_file_memory_check import check_pickles, is_torchscript
from pocketrnn_export.progress import hide_log_records
from pocketrnn_export.source_code.argparse_and_config_settings import read_settings_file
from pocketrnn_export.source_code.code_and_data_files_near_module import list_settings_files_of
from pocketrnn_export.torch_internals import MODULE_TABLES

_log = logging.getLogger(__name__)

# The prefixes that nn.DataParallel and torch.compile add to every name of a state_dict.
_WRAPPERS: Final = ("module.", "_orig_mod.")
# The keys under which training scripts store the weights in a checkpoint.
_NESTED: Final = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "classifier", "weights")
# The keys under which training scripts store the module's arguments. Lightning: `hyper_parameters`.
_ARGUMENTS: Final = ("hyper_parameters", "hparams", "hyperparameters", "args", "config")
# Lightning's checkpoints name some 10 other classes. torch searches the whole list for each name.
_MOST_CLASSES: Final = 50
# A class has some 20 settings, and a script some 60.
_MOST_SETTINGS: Final = 200
_NOT_SETTINGS: Final = re.compile(
    r"optim|sched|vocab|stoi|itos|2i|to_?i(nd|d)?x?|label|class_|state_dict", re.IGNORECASE
)
_DEEPEST_PART: Final = 50
_SAVE_ALONE: Final = "Where it was trained, save the weights alone: torch.save(module.state_dict(), 'weights.pt')."


class SavedSettings(NamedTuple):
    """Settings that were saved with weights.

    Attributes:
        place: the place of the settings in the file, such as `config.model`; or the section of a file of settings.
        said: the beginning of a sentence with the file and the place: `net.pt says in config.model`.
    """

    place: str
    said: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class SavedWeights:
    """The contents of a weights file: the tensors by name, and, if the file is a checkpoint with settings, the module's
    arguments.

    Attributes:
        path: the file.
        tensors: the weights by name.
        arguments: the arguments of the module in the checkpoint; plain values only. Often empty.
        dicts: the keys of each member of the checkpoint that is a dict, by the member's name. Often empty.
        settings: each dict of the checkpoint that may hold settings, by its place, such as `config.model`; the place of
            the checkpoint itself is empty. Values are plain ones, and lists and dicts of these. Often empty.
    """

    path: Path
    tensors: Mapping[str, Tensor] = field(repr=False)
    arguments: Mapping[str, Any]
    dicts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def first_tensors_phrase(self) -> str:
        """The names and shapes of the first tensors, for a message."""
        return _join_names([f"{name} {list(tensor.shape)}" for name, tensor in self.tensors.items()], 6)

    @functools.cached_property
    def all_settings(self) -> list[SavedSettings]:
        """The settings in the checkpoint or, if it has none, the settings in the files that belong to it."""
        if self.settings:
            return [
                SavedSettings(place, f"{self.path} says{f' in {place}' if place else ''}", values)
                for place, values in self.settings.items()
            ]
        return [
            SavedSettings(place, f"{file} says", values)
            for file in list_settings_files_of(self.path)
            for place, values in read_settings_file(file).items()
        ]


def read_weights(path: Path) -> SavedWeights:
    """Read a state_dict from a `.safetensors` file, or from a file of `torch.save`, which may be a training checkpoint.

    No code in the file is executed: it is read with `weights_only=True`, and objects of classes outside torch
    (Lightning's hyper-parameters, argparse.Namespace) become stand-ins without code. From a pickled module, the
    parameters and buffers are read. The prefixes of nn.DataParallel and torch.compile are removed from the names.

    Raises:
        InputError: the file is missing, is of another kind, or holds objects other than tensors and modules.
    """
    check_weights_exist(path)
    if path.suffix == ".safetensors":
        state, arguments, dicts, settings = _read_safetensors(path), {}, {}, {}
    else:
        saved = _read_torch_save(path)
        state, arguments = _find_state_dict(saved, path), _find_module_arguments(saved)
        settings = dict(_find_dicts_of_settings(saved))
        members = saved.items() if isinstance(saved, Mapping) else ()
        dicts = {str(name): tuple(map(str, held)) for name, held in members if isinstance(held, Mapping)}
        # torch 2.8 takes a storage that its archive does not hold, and reads beyond it.
        if any(tensor.untyped_storage().nbytes() > path.stat().st_size for tensor in state.values()):
            raise _make_damaged_file_error(path, ValueError("a tensor is larger than the file"))
    while prefix := next((p for p in _WRAPPERS if state and all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return SavedWeights(path, state, arguments, dicts, settings)


def list_files_of_same_shapes(path: Path, others: Iterable[Path]) -> list[Path]:
    """List the files with the same tensors as a file of weights, by names and shapes, but with other numbers. Files
    that cannot be read, and copies, are left out.

    Args:
        path: the file of weights.
        others: the files to choose from.
    """
    found: list[Path] = []
    with contextlib.suppress(InputError):
        known = [read_weights(path).tensors]
        shapes = {name: tensor.shape for name, tensor in known[0].items()}
        for one in others:
            with contextlib.suppress(InputError):
                tensors = read_weights(one).tensors
                # A meta tensor has no numbers.
                is_alike = {name: tensor.shape for name, tensor in tensors.items() if not tensor.is_meta} == shapes
                if is_alike and not any(all(torch.equal(tensors[name], held[name]) for name in held) for held in known):
                    known.append(tensors)
                    found.append(one)
    return found


def load_weights(module: nn.Module, weights: SavedWeights) -> None:
    """Load all weights of a module. If only a prefix differs between the names in the file and in the module
    (`model.fc.weight` for `fc.weight`, as Lightning writes them), it is removed or added, and that is logged.

    Raises:
        InputError: names or shapes do not fit. The message has the first ones.
    """
    own, path = module.state_dict(), weights.path
    state = add_or_remove_prefix(weights, own)
    missing, unknown = [n for n in own if n not in state], [n for n in state if n not in own]
    other_shape = [name for name in own if name in state and own[name].shape != state[name].shape]
    problems = []
    if missing:
        problems.append(f"{path} holds no {_join_names(missing, 3)}, which the module has")
    if unknown:
        problems.append(f"{path} holds {_join_names(unknown, 3)}, which the module does not have")
    if other_shape and not problems:
        problems = [
            f"{name} is {list(state[name].shape)} in {path}, but {list(own[name].shape)} in the module"
            for name in other_shape[:3]
        ]
    if problems:
        others = "Name the class that was trained" if missing or unknown else "Make the module as it was trained"
        raise InputError(
            f"{'; '.join(problems)}.",
            f"{others}, with the same sizes and numbers of layers. The file begins with: "
            f"{weights.first_tensors_phrase}.",
        )
    for name, tensor in state.items():
        if tensor.is_meta or tensor.is_complex() or tensor.is_floating_point() != own[name].is_floating_point():
            raise InputError(
                f"The weight {name} is {tensor.dtype} on {tensor.device} in {path}, but {own[name].dtype} in the "
                "module.",
                "Save module.state_dict() of the trained module without converting its types.",
            )
    module.load_state_dict(dict(state))
    # A recurrent layer caches the weights of its parametrizations and renews them when it is moved. Not module.cpu():
    # the module may have an attribute of that name.
    nn.Module.cpu(module)


def has_tensors_of_weights(module: nn.Module, weights: SavedWeights) -> bool:
    """Return whether a module has the same tensors as a file of weights: the same names, up to one prefix, and the same
    shapes."""
    own = module.state_dict()
    with hide_log_records():
        state = add_or_remove_prefix(weights, own)
    return {name: one.shape for name, one in own.items()} == {name: one.shape for name, one in state.items()}


def add_or_remove_prefix(weights: SavedWeights, own_tensors: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return the weights under the names that the module uses. For this, one prefix is removed from the names in the
    file, or added to all of them. Weights whose names lack the removed prefix are left out. If no prefix is needed,
    return the weights unchanged."""
    state = weights.tensors
    if own_tensors.keys() == state.keys():
        return state
    prefix = _find_prefix(own_tensors, state)
    if prefix:
        inner = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
        outside = [name for name in state if not name.startswith(prefix)]
        left_out = f", and {_join_names(outside, 3)} left out" if outside else ""
        _log.warning("%s: the prefix %s is removed from the names of its weights%s.", weights.path, prefix, left_out)
        return inner
    added = _find_prefix(state, own_tensors)
    if added and own_tensors.keys() == {f"{added}{name}" for name in state}:
        _log.warning("%s: the prefix %s is added to the names of its weights.", weights.path, added)
        return {f"{added}{name}": tensor for name, tensor in state.items()}
    return state


def _find_prefix(names: Mapping[str, Any], longer: Mapping[str, Any]) -> str:
    """Return the prefix with which most of `names` become names in `longer`. Return an empty string if there is
    none."""
    found = {"": len(names.keys() & longer.keys())}
    for name in longer:
        parts = name.split(".")
        # Names of state_dicts are some five parts deep.
        for i in range(1, min(len(parts), 10)):
            if ".".join(parts[i:]) in names:
                prefix = ".".join(parts[:i]) + "."
                found[prefix] = found.get(prefix, 0) + 1
    return max(found, key=lambda prefix: found[prefix])


def _join_names(names: Sequence[str], most: int) -> str:
    """Return the first `most` names as a phrase for a message, with the number of the other names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file by name."""
    try:
        return safetensors.torch.load_file(path)
    # Damaged headers raise errors of other classes than safetensors' own.
    except Exception as error:
        raise InputError(
            f"{path} is not a safetensors file: {first_line(error)}.",
            "Save the weights again, and copy the whole file.",
        ) from None


def _read_torch_save(path: Path) -> Any:
    """Read the object in a file of `torch.save`. Parts whose classes are outside torch become placeholders, and their
    code is not run."""
    if is_torchscript(path):
        raise InputError(
            f"{path} is a TorchScript file. It holds a whole module, but --weights needs only weights.",
            f"Give it as SOURCE, in place of the module's Python file: {path}.",
        )
    check_pickles(path)
    others = _find_classes_outside_torch(path)
    few = others if len(others) <= _MOST_CLASSES and all(map(str.isprintable, others)) else []
    stand_ins: list[Any] = [(_DictStandIn if name.lower().endswith("dict") else _UnreadObject, name) for name in few]
    try:
        # torch has this list only as a global; the context manager removes the names again.
        with torch.serialization.safe_globals(stand_ins):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if few or "weights_only" in str(error) or "Unsupported global" in str(error):
            raise _make_unsafe_pickle_error(path, others) from None
        raise _make_damaged_file_error(path, error) from None
    # torch.load fails on damaged files with errors of many classes.
    except Exception as error:
        raise _make_damaged_file_error(path, error) from None
    if not isinstance(saved, Mapping) and few and not _is_module(saved):
        raise _make_unsafe_pickle_error(path, few)
    if _is_module(saved):
        _log.warning("%s holds a whole module: only its tensors are read.", path)
    elif few:
        _log.warning("%s holds objects besides tensors, whose classes are not imported: %s.", path, _join_names(few, 3))
    return saved


def _find_classes_outside_torch(path: Path) -> list[str]:
    """Return the names of the classes and functions that a file needs and that torch does not load by default."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    # A file of the older form, or a damaged one: reading it shows which.
    except Exception:
        return []


class _UnreadObject:
    """A stand-in for an object of a class outside torch. It accepts any arguments and any state, and does nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DictStandIn:
    """A stand-in for a subclass of dict, such as Lightning's AttributeDict. It makes an OrderedDict."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


def _is_module(saved: Any) -> bool:
    """Return whether an object in a file is a placeholder for a torch.nn.Module. It is one if it has the attributes
    that every module has."""
    state = saved.state if isinstance(saved, _UnreadObject) else None
    return isinstance(state, Mapping) and all(isinstance(state.get(one), Mapping) for one in MODULE_TABLES)


def _yield_module_tensors(module: _UnreadObject, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the parameters and the persistent buffers of a pickled module and its layers, by their names in its
    state_dict."""
    parameters, buffers, parts = (module.state[one] for one in MODULE_TABLES)
    left_out = module.state.get("_non_persistent_buffers_set", ())
    left_out = {*(left_out.args[0] if isinstance(left_out, _UnreadObject) and left_out.args else left_out)}
    for name, tensor in (*parameters.items(), *((name, one) for name, one in buffers.items() if name not in left_out)):
        if tensor is not None:
            yield f"{prefix}{name}", tensor
    for name, part in parts.items():
        if _is_module(part) and depth < _DEEPEST_PART:
            yield from _yield_module_tensors(part, f"{prefix}{name}.", depth + 1)


def _find_state_dict(saved: Any, path: Path, within: str = "") -> dict[str, Tensor]:
    """Return the weights by name from the object in a file: from the object itself, or from a member of it, such as
    `state_dict`."""
    if _is_module(saved):
        saved = dict(_yield_module_tensors(saved))
    if not isinstance(saved, Mapping) or not saved:
        kind = "an empty dict" if isinstance(saved, Mapping) else f"a {type(saved).__name__}"
        raise InputError(
            f"{path} holds {kind}, but must hold a dict of tensors by their names.",
            "Save the weights with torch.save(module.state_dict(), 'weights.pt').",
        )
    if _is_state_dict(saved):
        return {str(name): tensor for name, tensor in saved.items()}
    for key in _NESTED:
        if (isinstance(saved.get(key), Mapping) or _is_module(saved.get(key))) and within.count(".") < len(_NESTED):
            others = [k for k, v in saved.items() if k != key and isinstance(v, Mapping) and _is_state_dict(v)]
            if others:
                names = _join_names([str(other)[:60] for other in others], 3)
                _log.warning(
                    "%s: the weights in %s are used; the file also holds others, which are not used: %s.",
                    path,
                    key,
                    names,
                )
            return _find_state_dict(saved[key], path, f"{within}.{key}")
        if isinstance(saved.get(key), _UnreadObject):
            raise _make_unsafe_pickle_error(path, [f"an object under {key}"])
    found = [key for key, value in saved.items() if isinstance(value, Mapping) and _is_state_dict(value)]
    if len(found) == 1:
        return _find_state_dict(saved[found[0]], path)
    if found:
        raise InputError(
            f"{path} holds {len(found)} sets of weights, but only one can be exported: "
            f"{_join_names([str(key)[:60] for key in found], 6)}.",
            "Save only the set to export: torch.save(module.state_dict(), 'weights.pt').",
        )
    raise InputError(
        f"{path} does not hold tensors by their names.",
        "Save the weights with torch.save(module.state_dict(), 'weights.pt').",
    )


def _is_state_dict(value: Mapping[Any, Any]) -> bool:
    """Return whether a value holds dense tensors by their names, and nothing else."""
    return bool(value) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout is torch.strided and not tensor.is_nested
        for name, tensor in value.items()
    )


def _find_module_arguments(saved: Any) -> dict[str, Any]:
    """Return the arguments of a module's class in a checkpoint, such as Lightning's hyper-parameters. Values that are
    not plain are left out."""
    if not isinstance(saved, Mapping):
        return {}
    members = (saved.get(key) for key in _ARGUMENTS)
    as_dicts = (member.state if isinstance(member, _UnreadObject) else member for member in members)
    given = next((member for member in as_dicts if isinstance(member, Mapping) and member), {})
    return {
        name: value
        for name, value in given.items()
        if isinstance(name, str) and name.isidentifier() and type(value) in (int, float, str, bool)
    }


def _find_dicts_of_settings(saved: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield pairs (place, dict) for each dict of a checkpoint that may hold settings. Vocabularies, labels, and the
    states of optimizers are left out."""
    held = saved.state if isinstance(saved, _UnreadObject) else saved
    if _is_module(saved):
        parts: Mapping[str, Any] = saved.state["_modules"]
        wrapped = [part for name, part in parts.items() if f"{name}." in _WRAPPERS and _is_module(part)]
        held = wrapped[0].state if len(wrapped) == len(parts) == 1 else held
        own = vars(nn.Module())
        held = {name: value for name, value in held.items() if name not in own}
    if not isinstance(held, Mapping) or place.count(".") > 2:
        return
    plain = {
        name: value
        for name, value in ((name, _read_plain_value(value)) for name, value in held.items())
        if isinstance(name, str) and name.isidentifier() and value is not ...
    }
    if plain and len(held) <= _MOST_SETTINGS:
        yield place, plain
    for name, member in held.items():
        if isinstance(name, str) and not _NOT_SETTINGS.search(name):
            yield from _find_dicts_of_settings(member, f"{place}.{name}".strip("."))


def _read_plain_value(value: Any, depth: int = 0) -> Any:
    """Return a value if it is plain, or a list or dict of plain values. Return `...` for any other value."""
    if value is None or type(value) in (int, float, str, bool):
        return value
    held = value.state if isinstance(value, _UnreadObject) else value
    if depth > 3 or not isinstance(held, list | tuple | Mapping) or len(held) > _MOST_SETTINGS:
        return ...
    if isinstance(held, Mapping):
        parts = {name: _read_plain_value(one, depth + 1) for name, one in held.items()}
        return ... if ... in parts.values() else parts
    values = [_read_plain_value(one, depth + 1) for one in held]
    return ... if any(one is ... for one in values) else type(held)(values)


def _make_unsafe_pickle_error(path: Path, class_names: Sequence[str]) -> InputError:
    """Make the error for a file of weights that contains objects of classes that torch does not load by default.
    `class_names` are the names of these classes; the list is empty if they are not known."""
    held = (
        _join_names([name if name.isprintable() else ascii(name) for name in class_names], 3)
        if class_names
        else "a whole module"
    )
    return InputError(
        f"{path} is a pickle with objects other than tensors, such as {held[:300]}; reading it could run any code.",
        _SAVE_ALONE,
    )


def _make_damaged_file_error(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is not a file of weights: {first_line(error)}.",
        "Save the weights again: torch.save(module.state_dict(), path).",
    )
