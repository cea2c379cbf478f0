"""Find the statements of a file that are safe to run. A safe statement only defines or changes names: it does not
read files and does not train."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence
from typing import Final

from pocketrnn_export.source_code.known_side_effects import CHANGING_METHODS, MAKING, PURE_METHODS
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    Import,
    find_imported_module,
    find_methods,
    read_last_name,
    strip_decorator_call,
)
from pocketrnn_export.source_code.top_level_statements import Statement, is_deleted_at_end, walk_code_run_now

# Builtins that a top-level statement may not call: they read, ask, exit, or give a different value each time.
_IMPURE_BUILTINS: Final = frozenset({
    "__import__", "aiter", "anext", "breakpoint", "compile", "eval", "exec", "exit", "help", "id", "input", "open",
    "quit",
})  # fmt: skip
# Packages whose functions and classes a top-level assignment may call, except those that read or write.
_PURE_PACKAGES: Final = frozenset({
    "abc", "argparse", "bisect", "collections", "copy", "dataclasses", "datetime", "easydict", "enum", "functools",
    "heapq", "itertools", "logging", "math", "nltk", "numpy", "operator", "pathlib", "random", "re", "string", "time",
    "torch", "types", "typing", "warnings",
})  # fmt: skip
_READING: Final = frozenset({
    "Popen", "backward", "download", "eval", "exec", "fit", "from_file", "fromfile", "genfromtxt", "get_data",
    "glob", "hub", "input", "iterdir", "load", "load_state_dict_from_url", "load_url", "loads", "loadtxt", "memmap",
    "open", "parse_args", "parse_known_args", "read", "read_bytes", "read_csv", "read_json", "read_text",
    "readlines", "rglob", "save", "savez", "step", "system", "train_model", "urlopen", "urlretrieve", "write_bytes",
    "write_text",
})  # fmt: skip
# Calls of these do no more than a plain assignment.
_PURE_PLACES: Final = ("sys.path.", "os.environ.", "os.path.join")
# Blocks that do not open anything.
_PURE_BLOCKS: Final = frozenset({
    "catch_warnings", "enable_grad", "inference_mode", "no_grad", "set_grad_enabled", "suppress",
})  # fmt: skip


class HarmlessStatements:
    """Decide which statements of a file are safe to run: those that read no files and do not train.

    Args:
        statements: all top-level statements of the file.
        binding: the statements that bind each name.
    """

    def __init__(self, statements: Sequence[Statement], binding: Mapping[str, Sequence[Statement]]) -> None:
        self._statements, self._binding = statements, binding

    def explain_why_statement_is_unsafe(self, statement: Statement) -> str:
        """Return why a statement is not safe to run. Return an empty string for a safe statement."""
        seen, before = set[str](), self._statements[: statement.index]
        for part in walk_code_run_now(statement.node):
            if isinstance(part, ast.For | ast.AsyncFor | ast.While):
                return "loops"
            if isinstance(part, ast.AsyncWith | ast.Await) or (isinstance(part, ast.With) and _opens_resource(part)):
                return "opens something"
            if isinstance(part, ast.Call) and (name := self._find_unsafe_call(part.func, seen, before)):
                return f"calls {name}, which may read, download or train"
        return ""

    def _find_unsafe_call(self, called: ast.expr, seen: set[str], earlier_statements: Sequence[Statement]) -> str:
        """Return the name of a called function if the function may read files or train, itself or through other
        functions of the file. Return an empty string for a safe call.

        Args:
            called: the code of the called function, such as `data.load`.
            seen: the names of functions that were examined already. The search adds to this set.
            earlier_statements: the statements before the call.
        """
        parts: list[str] = []
        root: ast.AST = called
        while isinstance(root, ast.Attribute):
            parts.append(root.attr)
            root = root.value
        name = ".".join([*([root.id] if isinstance(root, ast.Name) else []), *reversed(parts)])
        binding: Sequence[Statement] = []
        if isinstance(root, ast.Name) and not is_deleted_at_end(root.id, earlier_statements):
            binding = self._binding.get(root.id, [])
        imported = next((s.node for s in reversed(binding) if isinstance(s.node, Import)), None)
        if imported is not None:
            module = find_imported_module(imported)
            names = {*module.split("."), imported.names[0].name, *parts}
            pure = (module.split(".")[0] in _PURE_PACKAGES and not names & _READING) or name.startswith(_PURE_PLACES)
            return "" if pure else name
        if parts:
            in_place = parts[0].endswith("_") and not parts[0].startswith("_") and isinstance(root, ast.Name)
            pure = (
                in_place
                or parts[0] in PURE_METHODS | CHANGING_METHODS
                or self._is_harmless_method_of_file(parts[0], seen)
            )
            return "" if pure else name
        if not isinstance(root, ast.Name):
            # A call of the result of a call.
            return ""
        definition = next((s.node for s in reversed(binding) if isinstance(s.node, ast.ClassDef | Function)), None)
        if isinstance(definition, ast.ClassDef | Function):
            return "" if self._neither_reads_nor_trains(definition, seen) else name
        return "" if not binding and hasattr(builtins, name) and name not in _IMPURE_BUILTINS else name

    def _is_harmless_method_of_file(self, method: str, seen: set[str]) -> bool:
        """Return whether the file defines methods with this name and none of them reads files or trains.

        Args:
            seen: the names of functions that were examined already. The search adds to this set.
        """
        classes = [s.node for s in self._statements if isinstance(s.node, ast.ClassDef)]
        found = [one for node in classes for one in find_methods(node, method)]
        return (
            bool(found) and method not in _READING and all(self._neither_reads_nor_trains(one, seen) for one in found)
        )

    def _neither_reads_nor_trains(self, definition: ast.ClassDef | Function, seen: set[str]) -> bool:
        """Return whether a function, or the constructor of a class, neither reads files nor trains, by the names that
        it calls.

        Args:
            seen: the names of functions that were examined already. The search adds to this set.
        """
        seen.add(definition.name)
        bodies = [definition] if isinstance(definition, Function) else find_methods(definition, *MAKING)
        for part in (node for body in bodies for node in ast.walk(body)):
            if not isinstance(part, ast.Call):
                continue
            name = read_last_name(part.func)
            if name in _READING:
                return False
            own = [s.node for s in self._binding.get(name, ()) if isinstance(s.node, ast.ClassDef | Function)]
            if own and name not in seen and not self._neither_reads_nor_trains(own[-1], seen):
                return False
        return True


def _opens_resource(node: ast.With) -> bool:
    """Return whether a `with` statement may open a file, a connection or the like."""
    names = [ast.unparse(strip_decorator_call(i.context_expr)) for i in node.items]
    return any(name.split(".")[-1] not in _PURE_BLOCKS for name in names)
