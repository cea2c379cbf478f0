"""Give the classes of a file the object of settings that they read as a global, such as `args`.

A script makes it of its command line, often where only a run of the script does: behind `if __name__ == "__main__"`, or
with options that an import does not give.
"""

from __future__ import annotations

import argparse
import ast
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from pocketrnn_export.intake.settings_objects import find_global_settings, find_global_sizes
from pocketrnn_export.intake.weights_file import SavedWeights
from pocketrnn_export.source_code.files_near_module import list_files_near
from pocketrnn_export.source_code.notebook import read_python_cells_if_readable
from pocketrnn_export.source_code.parser_defaults import read_parser_defaults

_log = logging.getLogger(__name__)

# The names that code gives to an object of settings.
_SETTINGS: Final = re.compile(
    r"^_?(args?|opts?|options|config|conf|cfg|hparams?|hp|params|flags|settings)$", re.IGNORECASE
)


def find_settings_of_file(path: Path, names: Iterable[str], weights: SavedWeights | None) -> dict[str, Any]:
    """Find the settings objects, such as `args` or `config`, that the classes of a file read as globals. Return a dict
    from names of globals to these objects, and log each with its source.

    Args:
        path: the file.
        names: the globals. Those whose names are not usual for settings are left out.
        weights: the saved weights. A checkpoint may also hold the settings.
    """
    names = [name for name in names if _SETTINGS.match(name)]
    classes = _read_classes(path) if names else []
    parsers = read_parser_defaults(list_files_near(path)) if classes else []
    found = {}
    for name in names:
        settings = find_global_settings(name, classes, weights, parsers) if classes else None
        if settings is not None and settings.value is not None:
            _log.warning("%s of %s is %s, %s", name, path, settings.written, settings.source)
            found[name] = settings.value
    return found


def define_and_correct_settings_of_file(file: ModuleType, path: Path, weights: SavedWeights | None) -> None:
    """Define the settings objects, such as `args`, that the classes of a file read as globals and that running the file
    has not defined. In objects that it has defined, correct the sizes that the weights contradict.

    Args:
        file: the file, as it was run.
        path: its path.
        weights: the weights.
    """
    classes = _read_classes(path)
    nodes = [node for one in classes for node in ast.walk(one)]
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
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
    """Return the classes of a file; none for a file that cannot be read."""
    cells = read_python_cells_if_readable(path)
    return [node for cell in cells for node in cell.statements if isinstance(node, ast.ClassDef)]
