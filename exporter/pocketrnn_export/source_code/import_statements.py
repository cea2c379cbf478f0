"""Read the names that an import statement defines, and the modules that it loads."""

from __future__ import annotations

import ast
from collections.abc import Iterator

Import = ast.Import | ast.ImportFrom


def list_imported_names(node: Import) -> Iterator[tuple[str, str]]:
    """Yield each name that an import defines, with its full name: `np` and `numpy` for `import numpy as np`."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.split(".")[0]
            yield top, top


def find_imported_module(node: Import) -> str:
    """Return the module that an import of one name loads: `a.b` for `from a.b import c` and for `import a.b`."""
    return node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name


def list_imported_modules(node: Import) -> set[str]:
    """Return the modules that an import may load, and their parent modules: `a` and `a.b` for `from a import b`."""
    found = {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        above = "." * node.level + (node.module or "")
        found = {above, *(f"{above}{'.' * (not above.endswith('.'))}{name}" for name in found)}
    return found
