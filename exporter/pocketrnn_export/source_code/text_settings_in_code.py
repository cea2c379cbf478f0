"""Find what the owner's code says about texts: lengths, the sides of padding and cuts, the id of unknown words. The
code is read and not run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pocketrnn.errors import short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules, TextEncoder, TextRules
from pocketrnn_export.source_code.code_and_data_files_near_module import (
    is_settings_file,
    list_imported_files,
    list_syntax_nodes_near,
)
from pocketrnn_export.source_code.looked_up_tokens import (
    find_constant_numbers,
    join_lookups,
    read_unknown_id,
)
from pocketrnn_export.source_code.notebook import Cell, read_python_cells_if_readable
from pocketrnn_export.source_code.syntax_tree_parts import find_keyword_arguments, read_last_name
from pocketrnn_export.source_code.values_of_call_arguments import list_named_values
from pocketrnn_export.vocabularies.checkpoint_text_settings import (
    NamedLength,
    describe_lengths,
    is_name_of_text_length,
    write_rules_option_with_members,
)
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText
from pocketrnn_export.vocabularies.words_as_vocabulary_object import is_vocabulary_name

_LONGEST: Final = 10_000
# A whole number in JSON, YAML, TOML or INI.
_SETTING: Final = re.compile(r"(\w+)[\"']?[ \t]*[:=][ \t]*(\d+)\b(?!\.)")
# Names of dicts from words to ids, such as `self.word2idx`.
WORD_TO_ID: Final = re.compile(
    r"(?i)(\w+\.)?(\w*vocab\w*|stoi|w2i|\w*(word|char|token)_?(2|to)_?(id|idx|index|ix|int)\w*)"
)
# The methods of tokenizers that return the id of a word.
_LOOKUPS: Final = ("token_to_id", "convert_tokens_to_ids", "piece_to_id", "PieceToId")
# Functions and classes that make a vocabulary.
_VOCABULARY: Final = re.compile(r"(?i)vocab|vectoriz")
_LIMITING: Final = ("min", "minimum", "clamp", "clamp_", "clip", "clip_")


@dataclass(frozen=True)
class _CodeLine:
    """A piece of code, with its file and line."""

    where: str
    code: str


@dataclass(frozen=True)
class OpenSettings:
    """Settings for texts that the owner's files contain and the text rules of the bundle do not.

    Attributes:
        lengths: the settings that mean the length of texts in tokens.
        unknown: each id that code seems to give to unknown words, with its line; empty if the rules give one of these
            ids.
        pad_side: the side on which code pads ids to a length: left for `[pad] * n + ids`; empty if it does not pad.
        cut_side: the side on which code cuts ids to a length: left for `ids[-length:]`.
        counts_marks: whether a tokenizer of a library cuts texts, whose lengths count the marks around a text.
    """

    lengths: Sequence[NamedLength]
    unknown: Mapping[int, _CodeLine]
    pad_side: str = ""
    cut_side: str = "right"
    counts_marks: bool = False

    def count_marks_of_rules(self, rules: AnyTextRules | None) -> int:
        """Return how many ids of each text are the marks that the text rules of a library's tokenizer add, if the
        lengths count these; else 0."""
        is_of_library = self.counts_marks and rules is not None and not isinstance(rules, TextRules)
        return len(rules.first_ids) + len(rules.last_ids) if is_of_library and rules is not None else 0


def find_settings_that_rules_lack(
    paths: Iterable[Path], *, longest: int | None, unknown_id: int | None = -1, lengths: Sequence[NamedLength] = ()
) -> OpenSettings:
    """Find settings in the owner's code that the text rules of the bundle do not have: lengths of texts, the id of
    unknown words, and the sides on which texts are padded and cut.

    Args:
        paths: the files. Files in the same folder that they import are read, too.
        longest: the number of tokens of the longest text that was compared with the owner's pipeline, so that smaller
            lengths are not reported. None if the text rules already cut or pad.
        unknown_id: the id that the text rules give to unknown words; None if they drop these words; -1 to report none.
        lengths: lengths that the checkpoint states, which are reported, too.

    Example:
        >>> find_settings_that_rules_lack([Path("api.py")], longest=0).lengths
        [NamedLength(where='api.py, line 3,', name='max_len', value=100)]
    """
    found: dict[tuple[str, int], str] = {}
    unknown: dict[int, _CodeLine] = {}
    constants: dict[Path, dict[str, int]] = {}
    pad_sides, cut_sides, counts_marks = set[str](), set[str](), False
    for path, cell, tree in list_code_with_imports(paths):
        of_modules, sizes = _list_nodes_of_module_classes(tree), _list_sizes_of_vocabularies(tree)
        cut_sides.update(_list_cut_sides(tree))
        for node in ast.walk(tree):
            pad_sides.add(_find_padded_side(node))
            counts_marks |= _is_cut_of_library(node)
            for name, value in list_named_values(node) if node not in of_modules else ():
                number = value.value if isinstance(value, ast.Constant) else None
                is_size = name in sizes.values() or (name == "max_tokens" and node in sizes)
                is_length = is_name_of_text_length(name) and not is_size
                if type(number) is int and is_length and 1 < number <= _LONGEST:
                    found.setdefault((name, number), cell.describe_place(path, value))
        if path not in constants:
            constants[path] = find_constant_numbers(path)
        for node in filter(_may_look_up_word, ast.walk(tree)):
            if (unknown_id_in_code := _read_id_of_unknown(join_lookups(node, constants[path]))) is not None:
                unknown.setdefault(unknown_id_in_code, _CodeLine(cell.describe_place(path, node), ast.unparse(node)))
    # Those that were saved with the weights come first; the code may have others for other runs.
    of_code = [
        NamedLength(f"{where},", *key)
        for key, where in found.items()
        if longest is not None and key[1] > longest and key[1] in ({one.value for one in lengths} or {key[1]})
    ]
    is_open = unknown_id != -1 and unknown_id not in unknown
    pad_side = "left" if pad_sides - {""} == {"left"} else "right" if "right" in pad_sides else ""
    cut_side = "left" if cut_sides == {"left"} else "right"
    return OpenSettings([*lengths, *of_code], unknown if is_open else {}, pad_side, cut_side, counts_marks)


def _list_sizes_of_vocabularies(tree: ast.Module) -> dict[ast.AST, str]:
    """Return the calls that make a vocabulary with an argument max_tokens, such as `build_vocab_from_iterator(rows,
    max_tokens=SIZE)`. Each comes with the name of the variable, `SIZE`; empty if it is not a variable. There,
    max_tokens is a number of words and not the length of a text."""
    calls = (
        one for one in ast.walk(tree) if isinstance(one, ast.Call) and _VOCABULARY.search(read_last_name(one.func))
    )
    return {call: "".join(read_last_name(k.value) for k in call.keywords if k.arg == "max_tokens") for call in calls}


def list_text_lengths_in_settings_beside(path: Path, longest_compared_text: int | None) -> list[NamedLength]:
    """List the settings that mean the length of texts, such as `max_len: 256`, in the settings files (config.json, for
    example) of the folder with the weights.

    Args:
        path: the file of weights.
        longest_compared_text: the number of tokens of the longest compared text. Smaller lengths are left out. None to
            return an empty list.
    """
    found: dict[str, NamedLength] = {}
    for file in sorted(path.parent.iterdir()) if longest_compared_text is not None else ():
        if is_settings_file(file):
            for key, number in _SETTING.findall(file.read_text(errors="replace")):
                if is_name_of_text_length(key) and int(number) > max(1, longest_compared_text or 0):
                    found.setdefault(key, NamedLength(str(file), key, int(number)))
    return list(found.values())


def find_code_that_limits_ids_to_embedding(path: Path, rows: int) -> str:
    """Return the place in the code near a module that replaces ids not below `rows`, as `i if i < 5000 else 2` and
    `ids.clamp(max=4999)` do. Return an empty string if there is none.

    Args:
        path: the file of the module.
        rows: the number of rows of the embedding.
    """
    nodes = [*list_syntax_nodes_near(path)]
    numbers = {str(number) for number in (rows - 1, rows)}
    limits = numbers | {name for _, node in nodes for name, value in list_named_values(node)
                        if ast.unparse(value) in numbers}  # fmt: skip
    for where, node in nodes:
        given: list[ast.expr] = []
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            sides = [node.left, *node.comparators]
            # A vocabulary that grows up to a size has only the words of these ids.
            given = [] if any(isinstance(one, ast.Call) for one in sides) else sides
        elif isinstance(node, ast.Call) and read_last_name(node.func) in _LIMITING:
            given = [*node.args, *(one.value for one in node.keywords)]
        elif isinstance(node, ast.Call):
            given = [one.value for one in node.keywords if one.arg == "num_words"]
        if any(read_last_name(one) in limits or ast.unparse(one) in numbers for one in given):
            return where
    return ""


def find_word_ids_in_code(made_by: Mapping[str, str], tokens: Sequence[str]) -> dict[str, int]:
    """Find the variables whose value is the id of a word that code looks up in a vocabulary. Return the id of each.

    Args:
        made_by: the statement, as code, that sets each variable.
        tokens: the words of the vocabulary, sorted by their ids from 0.

    Example:
        >>> find_word_ids_in_code({"pad_idx": "pad_idx = vocab['<pad>']"}, ["<unk>", "<pad>"])
        {'pad_idx': 1}
    """
    found = {}
    for name, code in made_by.items():
        value = getattr(ast.parse(code).body[0], "value", None)
        word = None
        if isinstance(value, ast.Subscript) and WORD_TO_ID.fullmatch(ast.unparse(value.value).removesuffix("()")):
            word = value.slice
        elif isinstance(value, ast.Call) and read_last_name(value.func) in _LOOKUPS and value.args:
            word = value.args[0]
        if isinstance(word, ast.Constant) and word.value in tokens:
            found[name] = tokens.index(word.value)
    return found


def _find_padded_side(node: ast.AST) -> str:
    """Return the side on which code pads ids to a length. It is `left` for `[pad] * n + ids`, `rows[i, -len(ids):] =
    ids`, `padding="pre"` and `padding_side="left"`. It is `right` for the reverse of these, for `ids += [pad] * n`,
    `ids.extend([pad] * n)`, `ids.append(pad)` in a `while len(ids) < length`, and the `padding="max_length"` of a
    library's tokenizer. Return an empty string for other code."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return "left" if _is_repeated_item(node.left) else "right" if _is_repeated_item(node.right) else ""
    given = _find_constant_arguments(node)
    if "left" in (given.get("padding_side"), given.get("direction")):
        return "left"
    if given.get("padding") == "max_length" or given.get("pad_to_max_length") is True:
        return "right"
    if isinstance(node, ast.AugAssign | ast.Call) and any(map(_is_repeated_item, ast.iter_child_nodes(node))):
        return "right" if isinstance(node, ast.AugAssign) or read_last_name(node.func) == "extend" else ""
    if isinstance(node, ast.Call) and read_last_name(node.func) == "pad_sequences":
        return _read_side(node, "padding")
    if isinstance(node, ast.While) and ast.unparse(node.test).startswith("len("):
        appended = any(isinstance(one, ast.Attribute) and one.attr == "append" for one in ast.walk(node))
        return "right" if appended else ""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        parts = [ast.unparse(one) for one in ast.walk(node.targets[0].slice) if isinstance(one, ast.Slice)]
        return "left" if any(one.startswith("-len(") for one in parts) else (
            "right" if any(one.startswith(":len(") for one in parts) else ""
        )  # fmt: skip
    return ""


def _is_cut_of_library(node: ast.AST) -> bool:
    """Return whether code cuts texts by the tokenizer of a library, as `tokenizer(text, truncation=True)` does. With
    `add_special_tokens=False`, there are no marks to count."""
    given = _find_constant_arguments(node)
    cuts = given.get("truncation") or given.get("padding") == "max_length" or given.get("pad_to_max_length")
    return bool(cuts) and given.get("add_special_tokens") is not False


def _find_constant_arguments(node: ast.AST) -> dict[str, object]:
    """Return the value of each keyword argument of a call that is a constant."""
    arguments = find_keyword_arguments(node) if isinstance(node, ast.Call) else {}
    return {name: one.value for name, one in arguments.items() if isinstance(one, ast.Constant)}


def _is_repeated_item(node: ast.AST) -> bool:
    """Return whether code repeats one item by a number that is not a constant, as in `[pad] * n`."""
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) else ()
    is_list = [isinstance(side, ast.List) and len(side.elts) == 1 for side in sides]
    return any(is_list) and not any(isinstance(side, ast.Constant) for side in sides)


def _list_cut_sides(tree: ast.AST) -> Iterator[str]:
    """Yield the side of each cut to a length: left for `ids[-length:]`, right for `ids[:length]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and read_last_name(node.func) == "pad_sequences":
            yield _read_side(node, "truncating")
        if not isinstance(node, ast.Slice):
            continue
        lower, upper = ("" if one is None else ast.unparse(one).rpartition(".")[2] for one in (node.lower, node.upper))
        if isinstance(node.lower, ast.UnaryOp) and not upper and is_name_of_text_length(lower.lstrip("-")):
            yield "left"
        elif is_name_of_text_length(upper):
            yield "right"


def _read_side(call: ast.Call, argument: str) -> str:
    """Return the side that an argument of Keras's `pad_sequences` says: left by default."""
    return "right" if getattr(find_keyword_arguments(call).get(argument), "value", "pre") == "post" else "left"


def _list_nodes_of_module_classes(tree: ast.AST) -> set[ast.AST]:
    """Return the syntax nodes of the `forward` and `__init__` of module classes, and of the methods that these call. A
    length in this code is not a setting of the text rules, since the code runs after the ids are made."""
    found: set[ast.AST] = set()
    for definition in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        methods = {one.name: one for one in definition.body if isinstance(one, ast.FunctionDef)}
        waiting = ["__init__", "forward"] if "forward" in methods else []
        while waiting:
            if (method := methods.pop(waiting.pop(), None)) is not None:
                nodes = [*ast.walk(method)]
                found.update(nodes)
                waiting += [read_last_name(node.func) for node in nodes if isinstance(node, ast.Call)]
    return found


def list_hints_on_text_rules_in_code(
    paths: Iterable[Path],
    *,
    longest: int | None,
    unknown_id: int | None = -1,
    rules: Mapping[str, Any] = MappingProxyType({}),
    lengths: Sequence[NamedLength] = (),
    of_tokenizer: AnyTextRules | None = None,
) -> list[str]:
    """List a sentence for each setting in the owner's code that the text rules lack, with the option that adds it.

    Args:
        paths: the files. Files in the same folder that they import are read, too.
        longest: the number of tokens of the longest text that was compared with the owner's pipeline, which shows that
            the owner's code does not cut at a smaller length. None if the text rules already cut or pad.
        unknown_id: the id that the text rules give to unknown words; None if they drop these words; -1 to give no hint
            on it.
        rules: what the user gave as --rules. The proposed options repeat it.
        lengths: lengths that the checkpoint states, which are reported, too.
        of_tokenizer: the text rules of the tokenizer; None if they are not known.

    Example:
        >>> list_hints_on_text_rules_in_code([Path("api.py")], longest=0)
        ['api.py, line 3, says max_len=100, and the bundle reads all tokens of a text: ...']
    """
    found = find_settings_that_rules_lack(paths, longest=longest, unknown_id=unknown_id, lengths=lengths)
    side = {"pad_side": "left"} if found.pad_side == "left" else {}
    marks = found.count_marks_of_rules(of_tokenizer)
    said = describe_lengths(found.lengths, {**rules, **side}, marks)
    if found.unknown:
        number, line = next(iter(found.unknown.items()))
        does = "drops them" if unknown_id is None else f"gives them {unknown_id}"
        seems = (
            f"{line.where}, {short_repr(line.code, 60)} seems to give unknown words the id {number}, and the bundle "
            f"{does}. If your code does so, give {write_rules_option_with_members(rules, unknown_id=number)}"
        )
        if len({one.value for one in found.lengths}) == 1:
            # The option for the width has the id, too.
            (width,) = describe_lengths(found.lengths, {**rules, **side, "unknown_id": number})
            said = [f"{seems}. {width}"]
        else:
            said.append(seems)
    return said


def find_token_id_function(path: Path, splitter: str) -> str:
    """Return the only function of a file that splits a text by the function `splitter` and looks up the ids of the
    tokens. Return an empty string if there is none, or several.

    Args:
        splitter: the function that splits a text.

    Example:
        >>> find_token_id_function(Path("api.py"), "tokenize")
        'encode_text'
    """
    found = []
    for given, _, tree in list_code_with_imports([path]):
        for node in tree.body if given == path else ():
            if not isinstance(node, ast.FunctionDef) or node.name == splitter or not node.args.args:
                continue
            text = node.args.args[0].arg
            parts = [part for statement in node.body for part in ast.walk(statement)]
            is_split = any(
                isinstance(part, ast.Call)
                and read_last_name(part.func) == splitter
                and any(getattr(one, "id", "") == text for argument in part.args for one in ast.walk(argument))
                for part in parts
            )
            if is_split and any(_read_id_of_unknown(part) is not None for part in parts):
                found.append(node.name)
    return found[0] if len(found) == 1 else ""


def describe_vocabulary_to_save(paths: Sequence[Path]) -> str:
    """Write a sentence that tells the user how to save the vocabulary that code in these files makes, with the line of
    Python to add."""
    for file, cell, tree in list_code_with_imports(paths):
        for node in ast.walk(tree):
            made = line = ""
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "build_vocab":
                made = f"{ast.unparse(node.func.value)}.vocab"
                line = f"{made}.itos"
            elif (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Call)
                and read_last_name(node.value.func) == "build_vocab_from_iterator"
            ):
                made = ast.unparse(node.targets[0])
                line = f'{{"tokens": {made}.get_itos(), "default_index": {made}.get_default_index()}}'
            # The first field is that of the texts.
            if made.rpartition(".")[0].isidentifier() or made.isidentifier():
                where = cell.describe_place(file, node)
                return f'{where} makes {made}: save it after that, json.dump({line}, open("vocab.json", "w")).'
    return _describe_dict_to_save(paths)


def _describe_dict_to_save(paths: Sequence[Path]) -> str:
    """Write a sentence that tells the user how to save the dict from words to ids that code in or near these files
    makes."""
    for path in paths:
        nodes = [*list_syntax_nodes_near(path)]
        # In `vocab[word] += 1`, the values are counts.
        counted = {
            ast.unparse(node.target.value)
            for _, node in nodes
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript)
        }
        for where, node in nodes:
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Dict | ast.DictComp):
                continue
            made = ast.unparse(node.targets[0])
            if WORD_TO_ID.fullmatch(made) and not (isinstance(node.value, ast.Dict) and made in counted):
                return (
                    f"Your code makes it at {where}, as {made}: run that code once more on the data of the training, "
                    f'without the training, and save it where it is complete: json.dump({made}, open("vocab.json", '
                    '"w"), default=int). The ids must be those that the weights were trained with.'
                )
    return 'If your code only makes it, save it there: json.dump(word_to_id, open("vocab.json", "w"), default=int).'


def find_uncompared_length_and_unknown_id(
    rules: AnyTextRules | None, tokens: Sequence[str], pairs: Sequence[OwnersText], tokenizer: Any
) -> tuple[int | None, int | None]:
    """Return the two values that decide on which lengths and ids of unknown words hints are given. The owner's texts
    may have confirmed them.

    The first is the number of tokens of the longest compared text; None if the rules cut or pad texts, or if the
    owner's function returns ids. The second is the id of unknown words in the rules; None if the rules drop these
    words; -1 if the owner's texts confirm the id.

    Args:
        rules: the text rules; None if they are not known.
        tokens: the tokens of the vocabulary.
        pairs: the owner's texts with their tokens, ids or answers.
        tokenizer: the owner's function. If it returns ids, these were compared on a long text and on unknown words
            already.

    Example:
        >>> find_uncompared_length_and_unknown_id(TextRules(), ["<unk>", "oil"], [], None)
        (0, 0)
    """
    by_ids = getattr(tokenizer, "gives_ids", False)
    told = [one for one in pairs if one.ids is not None or one.answer is not None]
    is_shown = by_ids or bool(getattr(tokenizer, "stated_rules", {}))
    splits = (
        isinstance(rules, TextRules) and not is_shown and not any(one.ids or one.answer is not None for one in pairs)
    )
    unknown_id = rules.unknown_id if splits and isinstance(rules, TextRules) else -1
    cuts = any(getattr(rules, name, None) is not None for name in ("max_tokens", "max_width", "min_width"))
    if cuts or by_ids:
        return None, unknown_id
    if rules is None or rules.tokenizer == EXTERNAL:
        split = tokenizer if callable(tokenizer) else lambda _text: ()
        return max((len(one.ids or one.tokens or split(one.text)) for one in told), default=0), unknown_id
    encoder = TextEncoder(rules, tokens)
    return max((len(encoder.encode(one.text)) for one in told), default=0), unknown_id


def list_code_with_imports(paths: Iterable[Path]) -> Iterator[tuple[Path, Cell, ast.Module]]:
    """Yield the code of some files, and of the files in the same folder that they import. Each cell comes as (path of
    the file, cell, syntax tree)."""
    waiting, seen = [(path, True) for path in paths], set[Path]()
    while waiting:
        path, follows = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        for cell in read_python_cells_if_readable(path):
            tree = ast.Module(list(cell.statements), [])
            yield path, cell, tree
        waiting += [(file, False) for file in list_imported_files(path)] if follows else []


def _may_look_up_word(node: ast.AST) -> bool:
    """Return whether a node may contain the id of unknown words for `_read_id_of_unknown`. A branch counts only if it
    is simple."""
    if isinstance(node, ast.If | ast.Try):
        return len(node.body) == 1 and isinstance(node.body[0], ast.Expr | ast.Assign | ast.Return)
    return isinstance(node, ast.ListComp | ast.GeneratorExp | ast.Return | ast.Expr)


def _read_id_of_unknown(node: ast.AST) -> int | None:
    """Return the id that code gives to unknown words: N for `[words.get(word, N) for word in text]`, and for code that
    appends or returns `vocab.get(word, N)`. Return None for other code.

    Args:
        node: the syntax tree of the code, after `join_lookups`.
    """
    match node.value if isinstance(node, ast.Expr) else node:
        case ast.ListComp(elt=made) | ast.GeneratorExp(elt=made):
            return read_unknown_id(made)
        case ast.Call(func=ast.Attribute(attr="append"), args=[made]) | ast.Return(value=ast.expr() as made):
            names = [read_last_name(one) for one in ast.walk(made) if isinstance(one, ast.Name | ast.Attribute)]
            return read_unknown_id(made) if any(map(is_vocabulary_name, names)) else None
    return None
