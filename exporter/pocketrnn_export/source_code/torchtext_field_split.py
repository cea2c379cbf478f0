"""Write how a Field of torchtext splits a text, as the owner's code makes the Field. No file is run. In the code
that is written, `torchtext_tokenizers.py` replaces torchtext's tokenizers.

The source: `Field.preprocess` in torchtext/data/field.py, and `get_tokenizer` in torchtext/data/utils.py, of torchtext
0.6. The later torchtext.legacy has the same.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pocketrnn_export.source_code.code_and_data_files_near_module import list_syntax_nodes_near
from pocketrnn_export.source_code.notebook import read_python_statements
from pocketrnn_export.source_code.syntax_tree_parts import read_last_name
from pocketrnn_export.source_code.torchtext_tokenizers import TORCHTEXT_TOKENIZERS

_FIELDS: Final = ("Field", "ReversibleField")
_TOKENIZE, _PREPROCESS = "tokenize_as_field", "preprocess_as_field"
METHODS_OF_FIELD: Final = ("tokenize", "preprocess")
_WRITTEN: Final = dict(zip(METHODS_OF_FIELD, (_TOKENIZE, _PREPROCESS), strict=True))


class FieldSplit(NamedTuple):
    """How the Fields of torchtext for texts split a text.

    Attributes:
        names: the variables that hold such a Field. All these Fields have the same settings.
        code: definitions of functions that do the same as the Fields' methods `tokenize` and `preprocess`.
    """

    names: frozenset[str]
    code: str


def find_field_split(path: Path) -> FieldSplit | None:
    """Find how the Fields of torchtext split a text that the code of a file makes, or else the code of the files near
    it.

    Return None in three cases: there is no such Field; there are several with different settings; or the code does not
    show how they split.

    Example:
        >>> find_field_split(Path("train.py")).names
        frozenset({'TEXT'})
    """
    own = [node for one in read_python_statements(path) for node in ast.walk(one)]
    if not (codes := _find_methods_of_fields(own)):
        near = (*list_syntax_nodes_near(path), *list_syntax_nodes_near(path, in_notebooks=True))
        codes = _find_methods_of_fields(node for _, node in near)
    if len(codes) != 1 or not (code := next(iter(codes))):
        return None
    return FieldSplit(frozenset(codes[code]), code)


def _find_methods_of_fields(nodes: Iterable[ast.AST]) -> dict[str, set[str]]:
    """Return the code of functions that replace the methods of Fields, each with the names of the Fields that it
    replaces. The code is an empty string for Fields whose methods cannot be written."""
    codes: dict[str, set[str]] = {}
    for node in nodes:
        if not isinstance(node, ast.Assign) or not isinstance(call := node.value, ast.Call):
            continue
        if read_last_name(call.func) not in _FIELDS or len(node.targets) != 1:
            continue
        given = {str(one.arg): one.value for one in call.keywords}
        # A Field of labels, and one of numbers.
        if any(getattr(given.get(name), "value", True) is False for name in ("sequential", "use_vocab")):
            continue
        codes.setdefault(_write_methods_of_field_as_functions(given, bool(call.args)), set()).add(
            read_last_name(node.targets[0])
        )
    return codes


def _write_methods_of_field_as_functions(given: dict[str, ast.expr], has_other_arguments: bool) -> str:
    """Write the methods `tokenize` and `preprocess` of a Field as functions. Return an empty string if that is not
    possible.

    Args:
        given: the code of the Field's arguments, by their names.
        has_other_arguments: whether the call has positional arguments or `**more`, so that not all arguments are known.
    """
    language, lower = given.get("tokenizer_language", ast.Constant("en")), getattr(given.get("lower"), "value", None)
    unknown = "lower" in given and not isinstance(lower, bool)
    # None is a default.
    others = {name: one for name, one in given.items() if getattr(one, "value", one) is not None}
    tokenize, stop_words, step = map(others.get, ("tokenize", "stop_words", "preprocessing"))
    # `**settings` has the name None.
    if has_other_arguments or unknown or "None" in given or not isinstance(language, ast.Constant):
        return ""
    if tokenize is None:
        code = f"def {_TOKENIZE}(text):\n    return text.split()\n"
    elif not isinstance(tokenize, ast.Constant):
        code = f"def {_TOKENIZE}(text):\n    return ({ast.unparse(tokenize)})(text)\n"
    elif tokenize.value in TORCHTEXT_TOKENIZERS:
        chosen = ", ".join(map(repr, (tokenize.value, language.value)[: 2 if "tokenizer_language" in given else 1]))
        code = f"from torchtext.data.utils import get_tokenizer\n_field_split = get_tokenizer({chosen})\n"
        code += f"def {_TOKENIZE}(text):\n    return _field_split(text)\n"
    else:
        return ""
    lines = [f"    tokens = {_TOKENIZE}(text.rstrip('\\n'))"]
    lines += ["    tokens = [token.lower() for token in tokens]"] * bool(lower)
    if stop_words is not None:
        lines += [f"    tokens = [token for token in tokens if token not in ({ast.unparse(stop_words)})]"]
    if step is not None:
        lines += [f"    tokens = ({ast.unparse(step)})(tokens)"]
    return code + f"def {_PREPROCESS}(text):\n" + "\n".join([*lines, "    return tokens\n"])


def replace_methods_of_field(statements: Sequence[ast.stmt], split: FieldSplit) -> list[ast.stmt]:
    """Replace the methods of Fields in some statements, such as `TEXT.preprocess`, by functions that do the same.
    Return the definitions of these functions, followed by the changed statements. Return the statements unchanged if
    none uses such a method.

    Args:
        statements: the statements of a file.
        split: the names of the Fields, and the definitions of the functions.
    """
    replace = _ReplaceMethods(split)
    made = [replace.visit(copy.deepcopy(one)) for one in statements]
    return [*ast.parse(split.code).body, *made] if replace.found else [*statements]


class _ReplaceMethods(ast.NodeTransformer):
    """Replace `TEXT.tokenize` and `self.TEXT.preprocess` by the name of a function."""

    def __init__(self, split: FieldSplit) -> None:
        self._split, self.found = split, False

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if node.attr in _WRITTEN and read_last_name(node.value) in self._split.names:
            self.found = True
            return ast.copy_location(ast.Name(_WRITTEN[node.attr], node.ctx), node)
        return self.generic_visit(node)
