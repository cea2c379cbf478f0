"""Find out whether code passes the ids of a text to its module neither padded nor cut. No file is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pocketrnn_export.source_code.functions_of_file import find_functions, read_statements_with_methods_as_functions
from pocketrnn_export.source_code.functions_that_answer_or_split import MODULES
from pocketrnn_export.source_code.looked_up_tokens import gives_one_id_for_each_word
from pocketrnn_export.source_code.syntax_tree_parts import list_changed_names, list_read_names, read_last_name
from pocketrnn_export.source_code.text_made_a_parameter import take_each_text_as_parameter

# Calls that neither lengthen nor cut the ids of a text.
_KEEPING_LENGTH: Final = frozenset(
    (
        *("LongTensor", "Tensor", "array", "as_tensor", "asarray", "cpu", "cuda", "detach", "device", "float"),
        *("from_numpy", "int", "is_available", "list", "long", "numpy", "print", "round", "squeeze", "str", "tensor"),
        *("to", "tolist", "unsqueeze", "get", "split", "lower", "strip", "eval", "no_grad", "inference_mode"),
        *("argmax", "exp", "item", "max", "sigmoid", "softmax"),
    )
)
# Code that may change the number of ids.
_CHANGING: Final = ast.Slice | ast.For | ast.While | ast.AugAssign | ast.BinOp | ast.Starred


def passes_ids_neither_padded_nor_cut(path: Path, name: str) -> bool:
    """Return whether a function passes the ids of a text to its module without padding or cutting them. Return False if
    the code between the text and the call of the module may pad or cut, or if no module is called.

    Args:
        name: the function, or Class.method.
    """
    statements, name = read_statements_with_methods_as_functions(path, name)
    function = find_functions(statements, path).get(name)
    if function is None:
        return False
    body = take_each_text_as_parameter(function).body
    parts = [*_list_code_before_module([node for one in body for node in ast.walk(one)])]
    nodes = [node for one in parts for node in ast.walk(one)]
    called = {read_last_name(one.func) for one in nodes if isinstance(one, ast.Call)}
    is_plain = all(one in _KEEPING_LENGTH or one in MODULES or gives_one_id_for_each_word(one) for one in called)
    return bool(called & MODULES) and is_plain and not any(isinstance(one, _CHANGING) for one in nodes)


def _list_code_before_module(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield the calls of a module, and the statements that set or change what these calls are given. The statements
    that make the module or the vocabulary are left out."""
    calls = [one for one in nodes if isinstance(one, ast.Call) and read_last_name(one.func) in MODULES]
    yield from calls
    needed, waiting = (
        set[str](),
        set().union(*(_list_data_names(part) for one in calls for part in ast.iter_child_nodes(one))),
    )
    while waiting:
        needed |= waiting
        setting = [one for one in nodes if isinstance(one, ast.stmt) and waiting & {*list_changed_names(one)}]
        yield from setting
        waiting = set().union(*map(_list_data_names, setting)) - needed


def _list_data_names(node: ast.AST) -> set[str]:
    """Return the names that code reads, without those of modules and vocabularies."""
    return {one for one in list_read_names(node) if one not in MODULES and not gives_one_id_for_each_word(one)}
