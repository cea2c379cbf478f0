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


def computes_prediction_for_text(path: Path, name: str) -> bool:
    """Return whether a function of a file computes a prediction (by a call of a module, for example), itself or through
    the functions that it calls.

    Args:
        name: the function, or Class.method.

    Example:
        >>> computes_prediction_for_text(Path("api.py"), "predict")
        True
        >>> computes_prediction_for_text(Path("api.py"), "tokenize")
        False
    """
    statements, name = read_statements_with_methods_as_functions(path, name)
    functions = find_functions(statements, path)
    waiting, seen = [(name, _MOST_CALLS)] if name in functions else [], {name}
    while waiting:
        one, calls_left = waiting.pop(0)
        if computes_prediction(functions[one]):
            return True
        called = {read_last_name(node.func) for node in ast.walk(functions[one]) if isinstance(node, ast.Call)}
        waiting += [(inner, calls_left - 1) for inner in sorted(called & {*functions} - seen) if calls_left]
        seen |= called
    return False


def is_name_of_answering_function(name: str) -> bool:
    """Return whether a function's name says that it predicts for a text, such as `predict_sentiment`."""
    return re.search("predict|infer|classif|answer|analy[sz]e", name, re.IGNORECASE) is not None


def computes_prediction(node: ast.AST) -> bool:
    """Return whether a piece of code computes a prediction. It counts if it calls functions whose names load weights,
    call a module or compute probabilities."""
    calls = (one for one in ast.walk(node) if isinstance(one, ast.Call))
    return any(read_last_name(one.func) in _ANSWERING_CALLS for one in calls)


def needs_torch(node: ast.AST) -> bool:
    """Return whether a piece of code uses the name `torch`."""
    return any(isinstance(one, ast.Name) and one.id == "torch" for one in ast.walk(node))
