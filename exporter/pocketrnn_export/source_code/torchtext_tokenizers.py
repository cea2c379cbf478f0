"""Replace the tokenizers that torchtext's `get_tokenizer` makes by those of the libraries that it calls: torchtext
imports PyTorch. No file is run.

The source: `get_tokenizer` in torchtext/data/utils.py, which is the same from torchtext 0.6 to 0.18.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pocketrnn_export.source_code.syntax_tree_parts import Import, list_imported_names, read_last_name


class _Tokenizer(NamedTuple):
    """The code that replaces one of torchtext's tokenizers: the imports and functions that it needs, and the expression
    that makes it, in which {language} stands for the second argument of `get_tokenizer`."""

    needs: str
    code: str


TORCHTEXT_TOKENIZERS: Final[Mapping[str | None, _Tokenizer]] = {
    None: _Tokenizer("", "str.split"),
    "basic_english": _Tokenizer("import pocketrnn.text.tokenizers", "pocketrnn.text.tokenizers.basic_english"),
    "spacy": _Tokenizer(
        "import spacy\ndef make_spacy_tokenizer(nlp):\n"
        "    return lambda text: [token.text for token in nlp.tokenizer(text)]",
        "make_spacy_tokenizer(spacy.load({language}))",
    ),
    "moses": _Tokenizer("import sacremoses", "sacremoses.MosesTokenizer().tokenize"),
    "toktok": _Tokenizer("import nltk.tokenize.toktok", "nltk.tokenize.toktok.ToktokTokenizer().tokenize"),
    "revtok": _Tokenizer("import revtok", "revtok.tokenize"),
    "subword": _Tokenizer("import functools\nimport revtok", "functools.partial(revtok.tokenize, decap=True)"),
}


def replace_torchtext_tokenizers(code: str) -> str:
    """Replace each call of torchtext's `get_tokenizer` in code by code that does not need torchtext. Imports of
    torchtext that are then unused are removed. A call whose first argument is not known stays unchanged.

    Example:
        >>> replace_torchtext_tokenizers("from torchtext.data import get_tokenizer\\ncut = get_tokenizer(None)")
        'cut = str.split'
    """
    tree = ast.parse(code)
    imported = {name: full for node in ast.walk(tree) if isinstance(node, Import)
                for name, full in list_imported_names(node) if full.partition(".")[0] == "torchtext"}  # fmt: skip
    if not imported:
        return code
    replace = _ReplaceCalls(tree, imported)
    changed = replace.visit(tree)
    if not replace.count:
        return code
    read = {one.id for one in ast.walk(changed) if isinstance(one, ast.Name)}
    kept = _DropImports({*imported} - read).visit(changed)
    needed = ast.parse("\n".join(replace.needs)).body
    present = {ast.unparse(one) for one in kept.body}
    future = [one for one in kept.body if isinstance(one, ast.ImportFrom) and one.module == "__future__"]
    missing = [one for one in needed if ast.unparse(one) not in present]
    kept.body = [*future, *missing, *(one for one in kept.body if one not in future)]
    return ast.unparse(ast.fix_missing_locations(kept))


class _ReplaceCalls(ast.NodeTransformer):
    """Replace the calls of `get_tokenizer`. The attribute `needs` collects the statements that the new code needs, in
    order."""

    def __init__(self, tree: ast.Module, imported: Mapping[str, str]) -> None:
        nodes = [*ast.walk(tree)]
        assigned = [one for one in nodes if isinstance(one, ast.Assign) and len(one.targets) == 1]
        names = [ast.unparse(one.targets[0]) for one in assigned]
        self._constants = {ast.unparse(one.targets[0]): one.value for one in assigned
                           if names.count(ast.unparse(one.targets[0])) == 1}  # fmt: skip
        self._functions = {one.name for one in nodes if isinstance(one, ast.FunctionDef)}
        self._imported = imported
        self.needs: dict[str, None] = {}
        self.count = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        root = ast.unparse(node.func).partition(".")[0]
        called = self._imported.get(root, "").rpartition(".")[2] if root == ast.unparse(node.func) else ""
        if root not in self._imported or (called or read_last_name(node.func)) != "get_tokenizer":
            return node
        given = dict(zip(("tokenizer", "language"), node.args, strict=False))
        given |= {str(one.arg): one.value for one in node.keywords}
        first = self._find_constant(given.get("tokenizer"))
        language = given.get("language", ast.Constant("en"))
        if given.keys() - {"tokenizer", "language"} or first is None:
            return node
        if isinstance(first, ast.Lambda) or getattr(first, "id", None) in self._functions:
            self.count += 1
            return first
        kind: Any = first.value if isinstance(first, ast.Constant) else ""
        known = TORCHTEXT_TOKENIZERS.get(kind)
        # torchtext raises an error for this tokenizer with another language.
        is_other = kind == "basic_english" and getattr(language, "value", None) != "en"
        if known is None or is_other:
            return node
        self.count += 1
        self.needs |= dict.fromkeys(known.needs.split("\n", 1) if known.needs.count("def ") else [known.needs])
        return ast.parse(known.code.replace("{language}", ast.unparse(language)), mode="eval").body

    def _find_constant(self, node: ast.expr | None) -> ast.expr | None:
        """Return the value of a variable to which the file assigns only one value. Return any other expression
        unchanged."""
        return node if node is None else self._constants.get(ast.unparse(node), node)


class _DropImports(ast.NodeTransformer):
    """Remove some imported names, and each import all of whose names are removed."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, Import):
            bound = [name for name, _ in list_imported_names(node)]
            node.names = [one for one, name in zip(node.names, bound, strict=True) if name not in self._names]
            return node if node.names else None
        return self.generic_visit(node)
