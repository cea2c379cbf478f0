"""Which statements of a file define or change something, and do no more: they read, train and download nothing."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Final

from pocketrnn_export.source_code.code_facts import Function, Import, decorating, methods_of, module_of
from pocketrnn_export.source_code.known_code import CHANGING_METHODS, KNOWN_BUILTINS, MAKING, PURE_METHODS
from pocketrnn_export.source_code.statements import Statement, is_deleted, run_at_once

__all__ = ["HarmlessStatements"]

# Builtins that a top-level statement may not call: they read, ask, end, or give another value each time.
_OTHER_BUILTINS: Final = frozenset({
    "__import__", "aiter", "anext", "compile", "display", "exit", "help", "id", "input", "open", "quit", "unichr",
    "unicode", "xrange",
})  # fmt: skip
# Packages whose functions and classes a top-level assignment may call, but for those that read or write.
_PURE_PACKAGES: Final = frozenset({
    "abc", "argparse", "bisect", "collections", "copy", "dataclasses", "datetime", "easydict", "enum", "functools",
    "heapq", "itertools", "logging", "math", "numpy", "operator", "pathlib", "random", "re", "string", "time", "torch",
    "types", "typing", "warnings",
})  # fmt: skip
_READING: Final = frozenset({
    "Popen", "backward", "download", "eval", "exec", "fit", "from_file", "fromfile", "genfromtxt", "get_data",
    "glob", "hub", "input", "iterdir", "load", "load_state_dict_from_url", "load_url", "loads", "loadtxt", "memmap",
    "open", "parse_args", "parse_known_args", "read", "read_bytes", "read_csv", "read_json", "read_text",
    "readlines", "rglob", "save", "savez", "step", "system", "train_model", "urlopen", "urlretrieve", "write_bytes",
    "write_text",
})  # fmt: skip
# Setting a value in these does no more than a plain assignment.
_PURE_PLACES: Final = ("sys.path.", "os.environ.", "os.path.join")
# Blocks that open nothing.
_PURE_BLOCKS: Final = frozenset({
    "catch_warnings", "enable_grad", "inference_mode", "no_grad", "set_grad_enabled", "suppress",
})  # fmt: skip


class HarmlessStatements:
    """The kinds of statements that may be run.

    Args:
        statements: all of them.
        binding: the statements that give each name a value.
    """

    def __init__(self, statements: Sequence[Statement], binding: Mapping[str, Sequence[Statement]]) -> None:
        self._statements, self._binding = statements, binding

    def why_not(self, statement: Statement) -> str:
        """Why a statement is not run; empty if it may be."""
        seen, before = set[str](), self._statements[: statement.index]
        for part in run_at_once(statement.node):
            if isinstance(part, ast.For | ast.AsyncFor | ast.While):
                return "loops"
            if isinstance(part, ast.AsyncWith | ast.Await) or (isinstance(part, ast.With) and _opens_something(part)):
                return "opens something"
            if isinstance(part, ast.Call) and (name := self._not_pure(part.func, seen, before)):
                return f"calls {name}, and that may read, download or train"
        return ""

    def _not_pure(self, called: ast.expr, seen: set[str], before: Sequence[Statement]) -> str:
        """The name of a called function that may do more than to make a value; empty if it does not."""
        parts: list[str] = []
        root: ast.AST = called
        while isinstance(root, ast.Attribute):
            parts.append(root.attr)
            root = root.value
        name = ".".join([*([root.id] if isinstance(root, ast.Name) else []), *reversed(parts)])
        binding: Sequence[Statement] = []
        if isinstance(root, ast.Name) and not is_deleted(root.id, before):
            binding = self._binding.get(root.id, [])
        imported = next((s.node for s in reversed(binding) if isinstance(s.node, Import)), None)
        if imported is not None:
            module = module_of(imported)
            names = {*module.split("."), imported.names[0].name, *parts}
            pure = (module.split(".")[0] in _PURE_PACKAGES and not names & _READING) or name.startswith(_PURE_PLACES)
            return "" if pure else name
        if parts:
            in_place = parts[0].endswith("_") and not parts[0].startswith("_") and isinstance(root, ast.Name)
            pure = in_place or parts[0] in PURE_METHODS | CHANGING_METHODS or self._of_file(parts[0], seen)
            return "" if pure else name
        if not isinstance(root, ast.Name):
            # The call of what a call gave.
            return ""
        definition = next((s.node for s in reversed(binding) if isinstance(s.node, ast.ClassDef | Function)), None)
        if isinstance(definition, ast.ClassDef | Function):
            return "" if self._reads_nothing(definition, seen) else name
        return "" if not binding and name in KNOWN_BUILTINS - _OTHER_BUILTINS else name

    def _of_file(self, method: str, seen: set[str]) -> bool:
        """Whether a method is one that classes of the file define, and reads and trains nothing."""
        classes = [s.node for s in self._statements if isinstance(s.node, ast.ClassDef)]
        found = [one for node in classes for one in methods_of(node, method)]
        return bool(found) and method not in _READING and all(self._reads_nothing(one, seen) for one in found)

    def _reads_nothing(self, definition: ast.ClassDef | Function, seen: set[str]) -> bool:
        """Whether a function of the file, or the making of an object, calls nothing that reads or trains, by names."""
        seen.add(definition.name)
        bodies = [definition] if isinstance(definition, Function) else methods_of(definition, *MAKING)
        for part in (node for body in bodies for node in ast.walk(body)):
            if not isinstance(part, ast.Call):
                continue
            called = part.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in _READING:
                return False
            own = [s.node for s in self._binding.get(name, ()) if isinstance(s.node, ast.ClassDef | Function)]
            if own and name not in seen and not self._reads_nothing(own[-1], seen):
                return False
        return True


def _opens_something(node: ast.With) -> bool:
    names = [ast.unparse(decorating(i.context_expr)) for i in node.items]
    return any(name.split(".")[-1] not in _PURE_BLOCKS for name in names)
