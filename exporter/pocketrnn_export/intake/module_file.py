"""A module from a user's own Python file, and its weights from a file of tensors."""

from __future__ import annotations

import ast
import importlib.util
import pickle
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError, InputError, first_line
from pocketrnn_export.intake.archive import check_pickles, checked_entries
from pocketrnn_export.intake.torchscript_file import read_back

__all__ = [
    "ModuleName",
    "is_torchscript",
    "load_module",
    "load_torchscript",
    "load_weights",
    "module_name",
    "read_weights",
]

# The prefixes that nn.DataParallel and torch.compile add to every name of a state_dict.
_WRAPPERS: Final = ("module.", "_orig_mod.")
# The members of a larger checkpoint that training scripts keep the weights in.
_NESTED: Final = ("state_dict", "model_state_dict", "model", "net", "weights")


@dataclass(frozen=True)
class ModuleName:
    """`file.py:name` or `file.py:name(arguments)`, taken apart."""

    path: Path
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def module_name(given: str) -> ModuleName | None:
    """Take `model.py:Classifier(8000, hidden=32)` apart; None if `given` is not of that form.

    The arguments are Python literals; nothing is evaluated.

    Raises:
        InputError: it is of that form, but its arguments are not literals.

    Example:
        >>> module_name("model.py:Classifier(8000, hidden=32)").args
        (8000,)
    """
    found = re.fullmatch(r"(?s)(.+\.py):([A-Za-z_]\w*)(\(.*\))?", given)
    if found is None:
        return None
    path, name, call = found.groups()
    try:
        parsed = ast.parse(f"f{call or '()'}", mode="eval").body
        if not isinstance(parsed, ast.Call) or not isinstance(parsed.func, ast.Name):
            raise ValueError("not one call")
        args = tuple(ast.literal_eval(argument) for argument in parsed.args)
        kwargs = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in parsed.keywords}
        if any(keyword.arg is None for keyword in parsed.keywords):
            raise ValueError("it unpacks a dictionary")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"The arguments {call} are not plain values.",
            "Write numbers, strings, True, False, None and lists of them, as in model.py:Classifier(8000, dim=64).",
        ) from None
    return ModuleName(Path(path), name, args, kwargs)


def load_module(named: ModuleName) -> nn.Module:
    """Run a Python file and take a module from it: a module it defines, or what a class or function in it returns.

    Raises:
        InputError: there is no such file or name, or it is no module.
        ExportError: the file, the class or the function raises an error.

    Example:
        >>> load_module(ModuleName(Path("model.py"), "Classifier", (8000,), {"hidden": 32}))
    """
    path = named.path
    if not path.is_file():
        raise InputError(f"{path} is not a file.", "Give the Python file that defines the module.")
    # Under its own name, as messages and pickles have it, unless a module of that name is loaded already.
    as_module = (
        path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"exported_{abs(hash(path))}"
    )
    spec = importlib.util.spec_from_file_location(as_module, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported.", "Give the Python file that defines the module.")
    file = importlib.util.module_from_spec(spec)
    sys.modules[as_module] = file
    sys.path.insert(0, str(path.absolute().parent))
    try:
        spec.loader.exec_module(file)
        found = getattr(file, named.name, None)
        if found is None:
            names = [n for n, v in vars(file).items() if isinstance(v, type) and issubclass(v, nn.Module)]
            raise InputError(
                f"{path} defines no {named.name}.",
                f"It defines: {', '.join(names)}." if names else "Give the name of a class or a module in it.",
            )
        made = found if isinstance(found, nn.Module) else found(*named.args, **named.kwargs)
    except InputError:
        raise
    # Whatever a user's code raises, a call of sys.exit included.
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {str(error).strip().rstrip('.')}."
        if not hasattr(file, named.name):
            raise ExportError(
                f"{path} cannot be imported; it raises {said}", "Run it with Python by itself, and correct it."
            ) from error
        raise ExportError(
            f"{path}: {named.name} raises {said}",
            f"Give its arguments, as in {path}:{named.name}(8000, dim=64), or a function that takes none.",
        ) from error
    finally:
        sys.path.remove(str(path.absolute().parent))
    if not isinstance(made, nn.Module):
        raise InputError(
            f"{named.name} in {path} gives a {type(made).__name__}, not a torch.nn.Module.",
            "Give the name of a class derived from nn.Module, of a module, or of a function that returns one.",
        )
    return made


def is_torchscript(path: Path) -> bool:
    """Whether a file is one that `torch.jit.save` wrote: an archive that holds code.

    Raises:
        InputError: it is a damaged archive.

    Example:
        >>> is_torchscript(Path("model.torchscript.pt"))
        True
    """
    return path.is_file() and any("/code/" in entry.filename for entry in checked_entries(path))


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """A module that `torch.jit.save` wrote, on the CPU.

    Raises:
        InputError: torch cannot load it, or its entries claim more than the file holds.

    Example:
        >>> module = load_torchscript(Path("model.torchscript.pt"))
    """
    checked_entries(path)
    try:
        return read_back(path.read_bytes())
    # torch.jit.load fails on damaged files with errors of many classes.
    except Exception as error:
        raise _damaged(path, error, "a TorchScript file") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state_dict from a `.safetensors` file or from one that `torch.save(module.state_dict(), ...)` wrote.

    Nothing in the file is executed: it is read with `weights_only=True`. A state_dict inside of a training checkpoint
    is found, and the prefixes of nn.DataParallel and torch.compile are removed from its names.

    Raises:
        InputError: the file is missing, is of another kind, or holds a whole pickled module.

    Example:
        >>> load_weights(module, read_weights(Path("weights.pt")), Path("weights.pt"))
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file.", "Give a .safetensors file or a saved state_dict.")
    state = _from_safetensors(path) if path.suffix == ".safetensors" else _from_torch_save(path)
    for prefix in _WRAPPERS:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def load_weights(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Set all weights of a module.

    Raises:
        InputError: a name or a shape does not fit; the message names the first.
    """
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other_shape = [name for name in own if name in state and own[name].shape != state[name].shape]
    problem = ""
    if missing:
        problem = f"{path} holds no {missing[0]}, which the module has."
    elif unknown:
        problem = f"{path} holds {unknown[0]}, which the module has not."
    elif other_shape:
        name = other_shape[0]
        problem = f"{name} is {list(state[name].shape)} in {path}, but {list(own[name].shape)} in the module."
    if problem:
        begin = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in list(state.items())[:6]) or "nothing"
        raise InputError(problem, f"Make the module with the sizes it was trained with; the file begins with: {begin}.")
    for name, tensor in state.items():
        if tensor.is_meta or tensor.is_complex() or tensor.is_floating_point() != own[name].is_floating_point():
            raise InputError(
                f"{name} in {path} is of {tensor.dtype} on {tensor.device}, but {own[name].dtype} in the module.",
                "Save the weights as they were trained.",
            )
    module.load_state_dict(dict(state))
    # A recurrent layer keeps the weights that its parametrizations gave; it takes them anew when it is moved.
    module.cpu()


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    # Damaged headers raise errors of other classes than safetensors' own.
    except Exception as error:
        raise InputError(f"{path} is not a safetensors file: {first_line(error)}.", "Save the weights again.") from None


def _from_torch_save(path: Path) -> dict[str, Tensor]:
    if is_torchscript(path):
        raise InputError(
            f"{path} is a TorchScript file, which is a module and not only weights.",
            f"Export it as it is: pocketrnn export {path} ...",
        )
    check_pickles(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported global" in str(error):
            raise InputError(
                f"{path} is a pickle of more than tensors, such as a whole module; reading it could run any code.",
                "Where it was trained, save the weights alone: torch.save(module.state_dict(), 'weights.pt').",
            ) from None
        raise _damaged(path, error) from None
    # torch.load fails on damaged files with errors of many classes.
    except Exception as error:
        raise _damaged(path, error) from None
    for key in _NESTED:
        if isinstance(saved, Mapping) and isinstance(saved.get(key), Mapping):
            saved = saved[key]
    if not isinstance(saved, Mapping) or not all(map(_is_plain, saved.values())) or not saved:
        kind = "no tensors by name" if isinstance(saved, Mapping) else f"a {type(saved).__name__}"
        raise InputError(f"{path} holds {kind}.", "Save the weights with torch.save(module.state_dict(), ...).")
    return {str(name): tensor for name, tensor in saved.items()}


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor whose numbers lie in memory one by one: no sparse, no nested one."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_nested


def _damaged(path: Path, error: Exception, what: str = "a file of weights") -> InputError:
    return InputError(f"{path} is not {what}: {first_line(error)}.", "Save it again.")
