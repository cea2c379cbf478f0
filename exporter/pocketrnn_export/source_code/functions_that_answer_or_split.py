"""Tell functions that answer texts from those that split them, by their names and by what they call. No file is run."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

from pocketrnn_export.source_code.functions_of_file import find_functions, read_statements_with_methods_as_functions
from pocketrnn_export.source_code.syntax_tree_parts import read_last_name

# Only code that computes an answer calls these.
_ANSWERING_CALLS: Final = frozenset(
    (
        *("argmax", "inference_mode", "load_state_dict", "log_softmax", "no_grad", "sigmoid", "softmax", "topk"),
        *("model", "net", "network", "classifier", "clf", "predict", "predict_proba"),
    )
)
_MOST_CALLS: Final = 3
# The usual names of a module.
MODULES: Final = frozenset(("model", "net", "network", "classifier", "clf"))
# Calls that neither lengthen nor cut the ids of a text.
_KEEPING_LENGTH: Final = frozenset(
    (
        *("LongTensor", "Tensor", "array", "as_tensor", "asarray", "cpu", "cuda", "detach", "device", "float"),
        *("from_numpy", "int", "is_available", "list", "long", "numpy", "print", "round", "squeeze", "str", "tensor"),
        *("to", "tolist", "unsqueeze", "get", "split", "lower", "strip", "eval", "no_grad", "inference_mode"),
        *("argmax", "exp", "item", "max", "sigmoid", "softmax"),
    )
)


def answers_texts(path: Path, name: str) -> bool:
    """Return whether a function of a file computes an answer, itself or by the functions that it calls.

    Args:
        path: the file.
        name: the function, or Class.method.

    Example:
        >>> answers_texts(Path("api.py"), "predict"), answers_texts(Path("api.py"), "tokenize")
        (True, False)
    """
    statements, name = read_statements_with_methods_as_functions(path, name)
    functions = find_functions(statements, path)
    waiting, seen = [(name, _MOST_CALLS)] if name in functions else [], {name}
    while waiting:
        one, calls_left = waiting.pop(0)
        if computes_answer(functions[one]):
            return True
        called = {read_last_name(node.func) for node in ast.walk(functions[one]) if isinstance(node, ast.Call)}
        waiting += [(inner, calls_left - 1) for inner in sorted(called & {*functions} - seen) if calls_left]
        seen |= called
    return False


def is_name_of_answering_function(name: str) -> bool:
    """Return whether a function's name says that it answers a text, as `predict_sentiment` does."""
    return re.search("predict|infer|classif|answer|analy[sz]e", name, re.IGNORECASE) is not None


def computes_answer(node: ast.AST) -> bool:
    """Return whether code loads weights, calls a module or computes probabilities, by the names that it calls.

    Args:
        node: the code.
    """
    calls = (one for one in ast.walk(node) if isinstance(one, ast.Call))
    return any(read_last_name(one.func) in _ANSWERING_CALLS for one in calls)


def needs_torch(node: ast.AST) -> bool:
    """Return whether code uses the name `torch`.

    Args:
        node: the code.
    """
    return any(isinstance(one, ast.Name) and one.id == "torch" for one in ast.walk(node))


def gives_all_ids_alone(path: Path, name: str) -> bool:
    """Return whether a function looks up the ids of a text and gives them to its module as they are, so that its code
    neither pads nor cuts them. False if a call, loop or slice in it may do so.

    Args:
        path: the file.
        name: the function, or Class.method.
    """
    statements, name = read_statements_with_methods_as_functions(path, name)
    function = find_functions(statements, path).get(name)
    nodes = [] if function is None else [*ast.walk(function)]
    called = {read_last_name(one.func) for one in nodes if isinstance(one, ast.Call)}
    changing = ast.Slice | ast.For | ast.While | ast.AugAssign | ast.BinOp | ast.Starred
    is_plain = called <= _KEEPING_LENGTH | MODULES and not any(isinstance(one, changing) for one in nodes)
    return is_plain and bool(called & MODULES)
