"""Convert code for a column of texts, such as `df["text"].str.lower().apply(tokenize)`, to a function of one text. No
file is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pocketrnn_export.source_code.code_and_data_files_near_module import list_syntax_nodes_near
from pocketrnn_export.source_code.notebook import read_python_statements
from pocketrnn_export.source_code.splitting_part_of_function import OWNERS_NAME, WRITTEN_NAME
from pocketrnn_export.source_code.statements_that_code_needs import list_file_statements_that_code_needs
from pocketrnn_export.source_code.syntax_tree_parts import rename_name_of_file

_EACH: Final = ("apply", "map", "progress_apply")
# Methods that change the column and not its texts.
_OF_COLUMNS: Final = ("fillna", "tolist", "to_list", "to_numpy", "copy")
_OF_STRINGS: Final = ("lower", "upper", "strip", "lstrip", "rstrip", "split", "casefold")
_OF_LABELS: Final = re.compile(r"label|class|target|sentiment|categor", re.IGNORECASE)
_TEXT: Final = "text"


def write_tokenizer_of_columns(path: Path) -> str | None:
    """Write a function `words(text)` that splits one text as the owner's code splits a column of a data frame. Return
    None if the code splits no column, or if one of its steps cannot be converted.

    Args:
        path: the file or notebook.

    Example:
        >>> print(write_tokenizer_of_columns(Path("train.ipynb")))
        def words(text):
            return text.lower().split()
    """
    statements = rename_name_of_file(read_python_statements(path), WRITTEN_NAME, OWNERS_NAME)
    made: dict[tuple[str, str], ast.expr | None] = {}
    last: ast.expr | None = None
    for one in statements:
        if not isinstance(one, ast.Assign) or len(one.targets) != 1 or (at := _read_column(one.targets[0])) is None:
            continue
        # A step that is not known makes a column that is not.
        step = made[at] = _convert_column_expression_to_text_expression(one.value, made)
        last = step if step is not None and _splits_text_into_tokens(step) else last
    if last is None:
        return None
    function = ast.parse(f"def {WRITTEN_NAME}({_TEXT}):\n    return {ast.unparse(last)}").body
    helpers = list_file_statements_that_code_needs(function, statements, path)
    if helpers is None:
        return None
    needs_re = any(isinstance(one, ast.Attribute) and ast.unparse(one) == "re.sub" for one in ast.walk(last))
    imports = ast.parse("import re").body if needs_re else []
    return f"{ast.unparse(ast.Module([*imports, *helpers, *function], []))}\n"


def is_applied_to_text_column(path: Path, name: str) -> bool:
    """Return whether code near a module applies a function to each text of a column: `df["text"].apply(clean)`."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _EACH
        and [getattr(one, "id", "") for one in node.args] == [name]
        and _convert_column_expression_to_text_expression(node.func.value, {}) is not None
        for _, node in list_syntax_nodes_near(path)
    )


def _read_column(node: ast.expr) -> tuple[str, str] | None:
    """Return the names of the data frame and of the column for `df["text"]`; None for other code."""
    match node:
        case ast.Subscript(value=ast.Name(id=frame), slice=ast.Constant(value=str() as column)):
            return frame, column
    return None


def _convert_column_expression_to_text_expression(
    node: ast.expr, made: Mapping[tuple[str, str], ast.expr | None]
) -> ast.expr | None:
    """Convert an expression of a column, such as `df["text"].str.lower()`, to one of a text, `text.lower()`. Return
    None if a part cannot be converted, or if the column's name means labels.

    Args:
        made: the converted expression of each column that the code has set, by the data frame and the column.
    """
    if (at := _read_column(node)) is not None:
        return made.get(at, None if _OF_LABELS.search(at[1]) else ast.Name(_TEXT, ast.Load()))
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(value=column, attr="str"), attr="replace"), args=[old, new]
        ):
            given = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
            text = _convert_column_expression_to_text_expression(column, made)
            if text is None or given.keys() - {"regex"} or "regex" not in given:
                return None
            written = f"re.sub({ast.unparse(old)}, {ast.unparse(new)}, {ast.unparse(text)})"
            plain = f"{ast.unparse(text)}.replace({ast.unparse(old)}, {ast.unparse(new)})"
            return ast.parse(written if given["regex"] else plain, mode="eval").body
        case ast.Call(func=ast.Attribute(value=ast.Attribute(value=column, attr="str"), attr=name)) if (
            name in _OF_STRINGS
        ):
            text = _convert_column_expression_to_text_expression(column, made)
            return None if text is None else ast.Call(ast.Attribute(text, name, ast.Load()), node.args, node.keywords)
        case ast.Call(func=ast.Attribute(value=column, attr=name), args=[function], keywords=[]) if name in _EACH:
            text = _convert_column_expression_to_text_expression(column, made)
            return None if text is None else ast.Call(function, [text], [])
        case ast.Call(func=ast.Attribute(value=column, attr="astype"), args=[ast.Name(id="str")], keywords=[]):
            text = _convert_column_expression_to_text_expression(column, made)
            return None if text is None else ast.Call(ast.Name("str", ast.Load()), [text], [])
        case ast.Call(func=ast.Attribute(value=column, attr=name)) if name in _OF_COLUMNS:
            return _convert_column_expression_to_text_expression(column, made)
    return None


def _splits_text_into_tokens(step: ast.expr) -> bool:
    """Return whether an expression splits a text into a list of tokens. It counts if it is a call of `split`, of a
    function with `token` in its name, or of a lambda that returns such a call or a list comprehension."""
    if not isinstance(step, ast.Call):
        return False
    named = step.func
    name = named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")
    if isinstance(named, ast.Lambda):
        body = named.body
        return isinstance(body, ast.ListComp) or (isinstance(body, ast.Call) and _splits_text_into_tokens(body))
    return name == "split" or "token" in name
