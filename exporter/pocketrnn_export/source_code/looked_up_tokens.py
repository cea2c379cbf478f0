"""Find the tokens of which a piece of code looks up the ids: the words in `[vocab.get(word, 1) for word in words]`. No
file is run."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from pocketrnn_export.source_code.code_and_data_files_near_module import list_imported_files
from pocketrnn_export.source_code.functions_that_answer_or_split import MODULES
from pocketrnn_export.source_code.notebook import read_python_statements_if_readable
from pocketrnn_export.source_code.syntax_tree_parts import (
    Function,
    find_methods,
    list_changed_names,
    list_read_names,
    read_last_name,
)
from pocketrnn_export.source_code.values_of_call_arguments import list_assigned_values
from pocketrnn_export.vocabularies.keras_tokenizer_split import KerasSplit
from pocketrnn_export.vocabularies.words_as_vocabulary_object import is_name_of_labels, is_vocabulary_name

# The list in which a loop collects its tokens.
FOUND_NAME: Final = "found_tokens"
# The methods that return the id of one word.
_OF_ONE_WORD: Final = re.compile(
    "get|lookup_(token|word)_(id|index)|_*(w(ord)?|t(ok(en)?)?|c(har)?|s(tr)?)_?(2|to)_?(i|id|ix|idx|index|int)|"
    "get_(id|idx|index)(_of)?|(encode|lookup|convert)_?(word|token|char)"
)
_READS_FILE: Final = re.compile(r"\b(json|pickle|torch|joblib)\.loads?\(")
_ADDING: Final = ("append", "extend")
_GIVING_LISTS: Final = ("split", "rsplit", "splitlines", "findall", "list", "sorted", "lcut")
# Methods by which code changes a character or word where it looks it up.
_CASES: Final = ("lower", "upper", "casefold", "strip")
# The method of a list that gives the place of one item.
_OF_LIST: Final = "index"
# Names of the id of unknown words.
_UNKNOWN: Final = re.compile("(?i)unk|oov")
# Functions that make or save a vocabulary, such as `load_vocab(path)`.
_MAKES_VOCABULARY: Final = re.compile("(?i)_*(load|read|open|build|create|make|init|save|write)")
_OF_WORDS: Final = ("lookup_indices", "convert_tokens_to_ids", "doc2idx", "tokens_to_ids", "numericalize")


class LookedUpTokens(NamedTuple):
    """The tokens whose ids some code looks up in a vocabulary.

    Attributes:
        tokens: the expression for the list of tokens, such as `text.split()`.
        statements: the statements that make this list, such as a loop; empty if the expression is enough.
        collected: the names of the lists to which the code appends the ids.
        leaves_out: whether the code drops words that are not in the vocabulary.
        leaves_out_others: whether the code drops further words, by a condition on their ids.
        is_iterated: whether the code iterates over `tokens`. If `tokens` is a string, each character is then a token.
    """

    tokens: ast.expr
    statements: Sequence[ast.stmt] = ()
    collected: Collection[str] = ()
    leaves_out: bool = False
    leaves_out_others: bool = False
    is_iterated: bool = False

    def write_list(self, statements: Sequence[ast.stmt]) -> ast.expr:
        """Return an expression of the list of the tokens, such as `list(text)` for the characters of a string.

        Args:
            statements: the statements before the lookup. They show which names are lists already.
        """
        made = self.tokens
        assigned = [one for one in statements if {ast.unparse(made)} & list_changed_names(one)]
        if isinstance(made, ast.Name) and assigned and isinstance(assigned[-1], ast.Assign):
            made = assigned[-1].value
        is_list = isinstance(made, ast.List | ast.ListComp) or (
            isinstance(made, ast.Call) and read_last_name(made.func) in _GIVING_LISTS
        )
        return (
            self.tokens
            if is_list or not self.is_iterated
            else ast.Call(ast.Name("list", ast.Load()), [self.tokens], [])
        )


def find_looked_up_tokens(statement: ast.stmt, keras: KerasSplit | None) -> LookedUpTokens | None:
    """Find the tokens whose ids a statement looks up, by a comprehension, a loop, `map`, or a call such as
    `vocab(words)`. For `tokenizer.texts_to_sequences([text])` of Keras, return an expression that splits the text in
    the same way. Return None if the statement looks up nothing, or different tokens in several places.

    Args:
        statement: one statement of a function.
        keras: how the Keras Tokenizer that the code calls splits texts; None without one.

    Example:
        >>> found = find_looked_up_tokens(ast.parse("ids = [vocab.get(w, 1) for w in text.split()]").body[0], None)
        >>> ast.unparse(found.tokens)
        'text.split()'
    """
    if isinstance(statement, ast.For):
        return _find_tokens_looked_up_by_loop(statement)
    if isinstance(statement, ast.If | ast.While | Function | ast.ClassDef):
        return None
    every: dict[str, LookedUpTokens] = {}
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Attribute(attr="texts_to_sequences"), args=[ast.List(elts=[text])]) if keras:
                return LookedUpTokens(ast.parse(keras.write_tokens(f"({ast.unparse(text)})"), mode="eval").body)
            case ast.Call(func=ast.Name(id="map"), args=[ast.Lambda(args=ast.arguments(args=[word])) as each, words]):
                found = _find_tokens_looked_up_by_comprehension(
                    each.body, [ast.comprehension(ast.Name(word.arg, ast.Store()), words, [], 0)]
                )
            case ast.Call(func=ast.Name(id="map"), args=[one, words]) if is_name_of_lookup(read_last_name(one)):
                found = LookedUpTokens(words, is_iterated=True)
            case ast.Call(args=[words, *_], func=called) if _is_lookup_of_several_words(called):
                found = LookedUpTokens(words.elts[0] if isinstance(words, ast.List) and words.elts else words)
            case ast.ListComp() | ast.GeneratorExp():
                found = _find_tokens_looked_up_by_comprehension(node.elt, node.generators)
            case _:
                continue
        if found is not None:
            every[ast.unparse(found.tokens)] = found
    # Several may be those of several texts.
    return next(iter(every.values())) if len(every) == 1 else None


def find_forward_that_looks_up(module_file: Path) -> dict[str, Function]:
    """Find the forward of the only module class of a file, if this forward looks up tokens in an attribute that the
    object reads from a file. Return it as a function without `self`, under each usual name of a module, such as
    `model`. Return an empty dict if there is no such forward.

    Args:
        module_file: the file of the module.
    """
    statements = read_python_statements_if_readable(module_file)
    classes = [one for one in statements if isinstance(one, ast.ClassDef) and find_methods(one, "forward")]
    if len(classes) != 1:
        return {}
    nodes = [node for method in find_methods(classes[0]) for node in ast.walk(method)]
    read = {
        ast.unparse(target)
        for node in nodes
        if isinstance(node, ast.Assign) and _READS_FILE.search(ast.unparse(node.value))
        for target in node.targets
    }
    forward = copy.deepcopy(find_methods(classes[0], "forward")[0])
    del forward.args.args[0]
    made = _NameAsVocabulary(read).visit(forward)
    return dict.fromkeys(MODULES, made) if read else {}


class _NameAsVocabulary(ast.NodeTransformer):
    """Replace attributes, such as `self.words`, by the name of a vocabulary."""

    def __init__(self, attributes: Collection[str]) -> None:
        self._attributes = attributes

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return ast.Name("vocab", node.ctx) if ast.unparse(node) in self._attributes else node


def loops_over_tokens_of_one_text(node: ast.For | ast.ListComp) -> bool:
    """Return whether a loop looks up each of its items in a vocabulary, or a comprehension only lists its items. The
    items are then the characters or words of one text, and not several texts.

    Args:
        node: the loop, or a comprehension with one generator.
    """
    loop, parts = (node, node.body) if isinstance(node, ast.For) else (node.generators[0], [node.elt])
    counters = {*_list_counters(loop.target, loop.iter)}
    items = {*_list_stored_names(loop.target)} - counters
    if isinstance(node, ast.ListComp) and ast.unparse(node.elt) in items:
        # chars = [c for c in text]
        return True
    return any(ast.unparse(_strip_method_call(key)) in items for part in parts for key in _list_looked_up_keys(part))


def _strip_method_call(key: ast.expr) -> ast.expr:
    """Return the object of a method call in a key: `c` for `c.lower()`. Return another expression unchanged."""
    while isinstance(key, ast.Call) and isinstance(key.func, ast.Attribute) and key.func.attr in _CASES:
        key = key.func.value
    return key


def gives_one_id_for_each_word(name: str) -> bool:
    """Return whether a function or object of this name gives exactly one id for each word: `vocab`, `vocab.get` or
    `vocab.lookup_indices`. A function such as `get_vocab_ids` may cut or pad."""
    return name in (*_OF_WORDS, "vocab", "vocabulary", "stoi") or bool(_OF_ONE_WORD.fullmatch(name))


def is_name_of_lookup(name: str) -> bool:
    """Return whether a name is that of a vocabulary, or of a function that gives the id of one word."""
    return bool(_OF_ONE_WORD.fullmatch(name)) or is_vocabulary_name(name)


def _is_lookup_of_several_words(called: ast.expr) -> bool:
    """Return whether a called function returns the ids of several words, as `vocab` or `vocab.lookup_indices` does."""
    name = read_last_name(called)
    if (isinstance(called, ast.Attribute) and name == _OF_LIST) or _MAKES_VOCABULARY.match(name):
        return False
    return name in _OF_WORDS or (is_vocabulary_name(name) and not isinstance(called, ast.Call) and "2" not in name)


def _find_tokens_looked_up_by_comprehension(
    element: ast.expr, generators: Sequence[ast.comprehension]
) -> LookedUpTokens | None:
    """Return the tokens whose ids a comprehension looks up. Return None if it looks up none.

    Args:
        element: the expression before the first `for`.
        generators: the `for` and `if` parts.
    """
    names = {name for one in generators for name in _list_stored_names(one.target)}
    counters = {name for one in generators for name in _list_counters(one.target, one.iter)}
    if any(isinstance(one.iter, ast.Tuple | ast.List | ast.Constant) for one in generators):
        return None
    tests = [[part for test in one.ifs for part in _split_condition_at_and(test)] for one in generators]
    # [i for w in words if (i := vocab.get(w)) is not None]
    named = {one.target.id: one.value for some in tests for test in some for one in ast.walk(test)
             if isinstance(one, ast.NamedExpr)}  # fmt: skip
    looked_up = named.get(element.id, element) if isinstance(element, ast.Name) else element
    key = _find_only_key([looked_up], names, counters)
    if key is None:
        return None
    of_ids = [test for some in tests for test in some if named.keys() & {*_list_names(test)}]
    asked = [
        test for some in tests for test in some if test not in of_ids and _tests_whether_key_is_in_vocabulary(test, key)
    ]
    tells = [is_test_for_unknown_word(test, list_unknown_values(looked_up)) for test in of_ids]
    leaves_out, leaves_out_others = bool(asked) or any(tells), not all(tells)
    kept = [
        ast.comprehension(one.target, one.iter, [test for test in some if test not in (*asked, *of_ids)], one.is_async)
        for one, some in zip(generators, tests, strict=True)
    ]
    if len(kept) == 1 and not kept[0].ifs and ast.unparse(key) == ast.unparse(kept[0].target):
        return LookedUpTokens(kept[0].iter, (), (), leaves_out, leaves_out_others, is_iterated=True)
    return LookedUpTokens(ast.ListComp(key, kept), (), (), leaves_out, leaves_out_others)


def _find_tokens_looked_up_by_loop(loop: ast.For) -> LookedUpTokens | None:
    """Return the tokens that a loop looks up one by one, with a copy of the loop that collects the tokens and not their
    ids. Return None if the loop looks up none, or if an id depends on more than its token."""
    if isinstance(loop.iter, ast.Tuple | ast.List | ast.Constant):
        return None
    names = {*_list_stored_names(loop)}
    stores = [node for node in ast.walk(loop) if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)]
    key = _find_only_key(loop.body, names, {*_list_counters(loop.target, loop.iter)})
    # counts[word] = counts.get(word, 0) + 1 makes a vocabulary.
    if key is None or any(ast.unparse(one.slice) == ast.unparse(key) for one in stores):
        return None
    collect = _CollectKeys(key)
    made = copy.deepcopy(loop)
    made.body = collect.rewrite(made.body)
    if collect.is_refused or made.orelse or not made.body:
        return None
    for node in ast.walk(made):
        if isinstance(node, ast.Name) and node.id in collect.collected:
            node.id = FOUND_NAME
    start = ast.parse(f"{FOUND_NAME} = []").body[0]
    tokens: ast.expr = ast.Name(FOUND_NAME, ast.Load())
    made = ast.fix_missing_locations(made)
    return LookedUpTokens(tokens, [start, made], collect.collected, collect.leaves_out, collect.leaves_out_others)


class _CollectKeys:
    """Rewrite the statements of a loop so that they append the looked-up key, such as `word.lower()`, in place of its
    id."""

    def __init__(self, key: ast.expr) -> None:
        self._key = key
        self.collected: set[str] = set()
        self._ids: set[str] = set()
        self._unknown: set[str] = set()
        self.leaves_out = self.leaves_out_others = self.is_refused = False

    def rewrite(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for one in statements:
            made += self._rewrite_statement(one)
        return made

    def _rewrite_statement(self, one: ast.stmt) -> list[ast.stmt]:
        append = ast.parse(f"{FOUND_NAME}.append({ast.unparse(self._key)})").body
        if isinstance(one, ast.If) and not one.orelse and len(conditions := _split_condition_at_and(one.test)) > 1:
            of_words = sorted(conditions, key=lambda test: _tests_whether_key_is_in_vocabulary(test, self._key))
            nested = one.body
            for test in reversed(of_words):
                nested = [ast.If(test, nested, [])]
            return self.rewrite(nested)
        if isinstance(one, ast.If) and _tests_whether_key_is_in_vocabulary(one.test, self._key):
            self.is_refused |= _leaves_loop(one)
            looks_up = self._looks_up(one)
            # `if word not in vocab: word = "<unk>"` gives the id of an unknown word, as the vocabulary does.
            self.leaves_out |= _leaves_word_out(one)
            self._take_lists(one)
            return append if looks_up else []
        if isinstance(one, ast.Try) and self._looks_up(one):
            self.is_refused |= _leaves_loop(one)
            self.leaves_out |= all(isinstance(part, ast.Pass | ast.Continue) for h in one.handlers for part in h.body)
            self._take_lists(one)
            return append
        if isinstance(one, ast.If) and (self._looks_up(one) or self._ids & list_read_names(one)):
            if self._ids & list_read_names(one.test):
                self.is_refused |= _leaves_loop(one)
                if _leaves_word_out(one):
                    tells = is_test_for_unknown_word(one.test, self._unknown)
                    self.leaves_out, self.leaves_out_others = self.leaves_out or tells, not tells
                self._take_lists(one)
                return []
            body, other = self.rewrite(one.body), self.rewrite(one.orelse)
            return [ast.If(one.test, body or [ast.Pass()], other)]
        if isinstance(one, ast.For) and self._looks_up(one):
            return [ast.For(one.target, one.iter, self.rewrite(one.body), one.orelse)]
        if self._looks_up(one):
            self.is_refused |= isinstance(one, ast.While | ast.With)
            self._unknown |= list_unknown_values(one)
            self._take_lists(one)
            if isinstance(one, ast.Assign):
                self._ids |= {target.id for target in one.targets if isinstance(target, ast.Name)}
            return append
        if self._ids & list_read_names(one):
            self._take_lists(one)
            return []
        return [one]

    def _looks_up(self, node: ast.AST) -> bool:
        return any(ast.unparse(one) == ast.unparse(self._key) for one in _list_looked_up_keys(node))

    def _take_lists(self, node: ast.AST) -> None:
        for call in (one for one in ast.walk(node) if isinstance(one, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr in _ADDING:
                self.collected |= {call.func.value.id} if isinstance(call.func.value, ast.Name) else set()


def is_test_for_unknown_word(test: ast.expr, unknown: Collection[str]) -> bool:
    """Return whether a condition on an id tests exactly whether the word is in the vocabulary, as `i is not None` or `i
    != UNK` does.

    Args:
        test: the condition.
        unknown: the code of the ids that unknown words get, from `list_unknown_values`.
    """
    tested = test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else test
    match tested:
        case ast.Name() | ast.NamedExpr() | ast.Call():
            return bool({"None", "0"} & {*unknown})
        case ast.Compare(ops=[ast.Is() | ast.IsNot() | ast.Eq() | ast.NotEq()], comparators=[value]):
            written = ast.unparse(value)
            return written == "None" or written in unknown or _UNKNOWN.search(written) is not None
        case ast.Compare(ops=[ast.Gt()], comparators=[ast.Constant(value=0)]):
            return bool({"0", "-1"} & {*unknown})
        case ast.Compare(ops=[ast.GtE()], comparators=[ast.Constant(value=0)]):
            return "-1" in unknown
    return False


def list_filters_of_ids(statement: ast.stmt, names: Collection[str], found: LookedUpTokens) -> list[ast.expr]:
    """List the conditions by which a statement drops ids: `i` in `[i for i in ids if i]`. `filter(None, ids)` gives a
    variable as its condition.

    Args:
        names: the variables that hold lists of ids.
        found: the tokens whose ids these lists hold.
    """
    conditions: list[ast.expr] = []
    tokens = ast.unparse(found.tokens)
    for node in ast.walk(statement):
        generators = node.generators if isinstance(node, ast.ListComp | ast.GeneratorExp) else []
        for one in generators:
            # A list of ids, or the lookup itself: `[i for i in map(vocab.get, words) if i]`.
            is_of_ids = _is_list_of_ids(one.iter, names, tokens)
            conditions += [part for test in one.ifs for part in _split_condition_at_and(test)] if is_of_ids else []
        match node:
            case ast.Call(func=ast.Name(id="filter"), args=[test, ids]) if _is_list_of_ids(ids, names, tokens):
                conditions += [test.body if isinstance(test, ast.Lambda) else ast.Name("id_", ast.Load())]
    return conditions


def list_unknown_values(node: ast.AST) -> set[str]:
    """Return the code of the ids that an expression gives to unknown words: `1` for `vocab.get(word, 1)` and for
    `vocab[word] if word in vocab else 1`; `None` for `vocab.get(word)`."""
    found, called = set[str](), {one.func for one in ast.walk(node) if isinstance(one, ast.Call)}
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and read_last_name(one.func) == "get" and one.args:
            found.add(ast.unparse(one.args[1]) if len(one.args) > 1 else "None")
        elif isinstance(one, ast.Attribute) and one.attr == "get" and one not in called:
            # map(vocab.get, words)
            found.add("None")
        elif isinstance(one, ast.IfExp):
            found |= {ast.unparse(part) for part in (one.body, one.orelse) if not [*_list_looked_up_keys(part)]}
    return found


class _LookupJoiner(ast.NodeTransformer):
    """Replace the names of constants by their numbers. Join an `if` or `try` whose branches use the looked-up id and
    the id of unknown words in the same way: `ids.append(vocab[word] if word in vocab else 1)`."""

    def __init__(self, constants: Mapping[str, int]) -> None:
        self._constants = constants

    def visit(self, node: ast.AST) -> Any:
        is_read = isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
        if is_read and read_last_name(node) in self._constants:
            return ast.copy_location(ast.Constant(self._constants[read_last_name(node)]), node)
        node = self.generic_visit(node)
        match node:
            case ast.Try(body=[usual], handlers=[ast.ExceptHandler(type=error, body=[other])], orelse=[], finalbody=[]):
                is_joined = error is None or {*list_read_names(error)} & {"KeyError", "LookupError", "Exception"}
                return self._join_lookup_and_fallback(usual, other, "") or node if is_joined else node
            case ast.If(test=ast.Compare(ops=[ast.In()]), body=[usual], orelse=[other]):
                return self._join_lookup_and_fallback(usual, other, ast.unparse(node.test)) or node
            case ast.If(test=ast.Compare(ops=[ast.NotIn()]), body=[other], orelse=[usual]):
                return (
                    self._join_lookup_and_fallback(usual, other, ast.unparse(node.test).replace(" not in ", " in "))
                    or node
                )
        return node

    def _join_lookup_and_fallback(self, usual: ast.stmt, other: ast.stmt, asked: str) -> ast.stmt | None:
        """Join two statements that differ in one value. The value is a lookup in `usual`, and a number in `other`.
        Return None if the statements differ otherwise.

        Args:
            usual: the statement for known words.
            other: the statement for unknown words.
            asked: the tested condition, such as `word in vocab`, which must fit the lookup; empty for a `try`.
        """
        is_simple = isinstance(usual, ast.Expr | ast.Assign | ast.AugAssign | ast.Return)
        for one in [node for node in ast.walk(usual) if isinstance(node, ast.Subscript)] if is_simple else ():
            test = ast.Compare(one.slice, [ast.In()], [one.value])
            before, _, after = ast.unparse(usual).partition(ast.unparse(one))
            written = ast.unparse(other)
            value = written.removeprefix(before).removesuffix(after)
            if f"{before}{value}{after}" == written and value.isdecimal() and asked in ("", ast.unparse(test)):
                made = ast.parse(f"def f():\n {before}({ast.unparse(one)} if {ast.unparse(test)} else {value}){after}")
                return ast.copy_location(cast("ast.FunctionDef", made.body[0]).body[0], usual)
        return None


def join_lookups(code: ast.AST, constants: Mapping[str, int]) -> ast.AST:
    """Return a copy of code in which each lookup contains the id of unknown words. `if word in vocab` with `else`, and
    `try` with `except KeyError`, become `vocab[word] if word in vocab else 1`. Names of constants become numbers.

    Args:
        code: the syntax tree of the code. It is not changed.
        constants: the number of each constant, from `find_constant_numbers`.
    """
    return cast("ast.AST", _LookupJoiner(constants).visit(copy.deepcopy(code)))


def find_constant_numbers(path: Path) -> dict[str, int]:
    """Return the variables and attributes whose only value is an integer, each with this integer.

    Args:
        path: the file of the code. The owner's files that it imports are read, too.
    """
    values: dict[str, set[object]] = {}
    for file in (path, *list_imported_files(path)):
        for statement in read_python_statements_if_readable(file):
            for node in ast.walk(statement):
                for name, value in list_assigned_values(node):
                    values.setdefault(name, set()).add(value.value if isinstance(value, ast.Constant) else None)
                targets = [node.target] if isinstance(node, ast.AugAssign | ast.For | ast.comprehension) else []
                for name in (read_last_name(part) for target in targets for part in ast.walk(target)):
                    values.setdefault(name, set()).add(None)
    only = {name: next(iter(found)) for name, found in values.items() if len(found) == 1}
    return {name: value for name, value in only.items() if type(value) is int and value >= 0}


def find_unknown_id(statement: ast.AST) -> int | None:
    """Return the id that a statement gives to words outside the vocabulary: N for `ids.append(vocab.get(word, N))`.
    Return None if it gives none or several such ids, or an id that is not written as a number.

    Args:
        statement: the statement, after `join_lookups`.
    """
    found = set[int | None]()
    for node in ast.walk(statement):
        if isinstance(node, ast.Try) or (isinstance(node, ast.If) and "in" in ast.unparse(node.test).split()):
            # A branch may give these words another id.
            return None
        match node:
            case ast.ListComp(elt=made) | ast.GeneratorExp(elt=made) | ast.Lambda(body=made) | ast.Assign(value=made):
                found.add(read_unknown_id(made))
            case ast.Call(func=ast.Attribute(attr="append"), args=[made]) | ast.AugAssign(value=ast.List(elts=[made])):
                found.add(read_unknown_id(made))
    numbers = [one for one in found if one is not None]
    return numbers[0] if list_unknown_values(statement) == {*map(str, numbers)} and len(numbers) == 1 else None


def read_unknown_id(looked_up: ast.expr) -> int | None:
    """Return the id N of unknown words in the expression `vocab.get(word, N)` or `vocab[word] if word in vocab else N`.
    Return None for another expression.

    Args:
        looked_up: the expression.
    """
    fallback: ast.expr | None = None
    if isinstance(looked_up, ast.Call) and read_last_name(looked_up.func) == "get" and len(looked_up.args) == 2:
        fallback = looked_up.args[1]
    elif (
        isinstance(looked_up, ast.IfExp)
        and isinstance(looked_up.body, ast.Subscript)
        and isinstance(looked_up.test, ast.Compare)
    ):
        is_looked_up = isinstance(looked_up.test.ops[0], ast.In)
        is_same = ast.unparse(looked_up.test.comparators[0]) == ast.unparse(looked_up.body.value)
        fallback = looked_up.orelse if is_looked_up and is_same else None
    number = fallback.value if isinstance(fallback, ast.Constant) else None
    return number if type(number) is int and number >= 0 else None


def _is_list_of_ids(values: ast.expr, names: Collection[str], tokens: str) -> bool:
    """Return whether an expression is a list of ids: one of the variables `names`, or code that looks up the ids of the
    tokens.

    Args:
        tokens: the code of the tokens, such as `text.split()`.
    """
    if isinstance(values, ast.Name):
        return values.id in names
    parts = [ast.unparse(one) for one in ast.walk(values) if one is not values and isinstance(one, ast.expr)]
    return isinstance(values, ast.ListComp | ast.GeneratorExp | ast.Call) and tokens in parts and "filter" not in parts


def _split_condition_at_and(test: ast.expr) -> list[ast.expr]:
    """List the parts of a condition that `and` joins; the condition alone if it has no `and`."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return [part for value in test.values for part in _split_condition_at_and(value)]
    return [test]


def _leaves_word_out(branches: ast.If) -> bool:
    """Return whether an `if` in a loop drops words: one of its branches appends no id, and either skips to the next
    word or is the only one without an append."""
    nodes = [[*ast.walk(ast.Module(some, []))] for some in (branches.body, branches.orelse)]
    adds = [any(map(_is_addition_to_list, some)) for some in nodes]
    ends = [any(isinstance(one, ast.Continue) for one in some) for some in nodes]
    return any(not adds[at] and (ends[at] or (adds[1 - at] and not ends[1 - at])) for at in (0, 1))


def _is_addition_to_list(node: ast.AST) -> bool:
    """Return whether a syntax node adds items to a list, by a method such as `append`, by `+=` or by `yield`."""
    is_call = isinstance(node, ast.Call) and read_last_name(node.func) in _ADDING
    return is_call or isinstance(node, ast.AugAssign | ast.Yield)


def _leaves_loop(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Break | ast.Return) for one in ast.walk(node))


def _list_stored_names(node: ast.AST) -> Iterator[str]:
    yield from (one.id for one in ast.walk(node) if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load))


def _list_counters(target: ast.expr, values: ast.expr) -> Iterator[str]:
    """Yield the names of a loop that only count: `i` in `for i, word in enumerate(words)`."""
    called = read_last_name(values.func) if isinstance(values, ast.Call) else ""
    if called == "range":
        yield from _list_names(target)
    elif called == "enumerate" and isinstance(target, ast.Tuple):
        yield from _list_names(target.elts[0])


def _list_names(node: ast.AST) -> Iterator[str]:
    yield from (one.id for one in ast.walk(node) if isinstance(one, ast.Name))


def _tests_whether_key_is_in_vocabulary(test: ast.expr, key: ast.expr) -> bool:
    """Return whether a condition tests if a key is in a vocabulary: `key in vocab`, `vocab.get(key)`, `vocab.get(key)
    is not None`, or the negation of one of these."""
    parts = [one for one in ast.walk(test) if isinstance(one, ast.Compare)]
    called = test.operand if isinstance(test, ast.UnaryOp) else test
    if isinstance(called, ast.Call) and read_last_name(called.func) == "get" and called.args:
        return ast.unparse(called.args[0]) == ast.unparse(key) and is_test_for_unknown_word(
            test, list_unknown_values(test)
        )
    left = parts[0].left if len(parts) == 1 else None
    left = left.args[0] if isinstance(left, ast.Call) and read_last_name(left.func) == "get" and left.args else left
    tested = test.operand if isinstance(test, ast.UnaryOp) else test
    if left is None or tested is not parts[0] or ast.unparse(left) != ast.unparse(key):
        return False
    held = parts[0].comparators[0]
    held = held.func.value if isinstance(held, ast.Call) and isinstance(held.func, ast.Attribute) else held
    stops = "stop" in read_last_name(held).lower() or "punct" in read_last_name(held).lower()
    is_membership = isinstance(parts[0].ops[0], ast.In | ast.NotIn)
    is_membership = is_membership and not stops and not isinstance(held, ast.Constant | ast.Set | ast.List | ast.Tuple)
    return is_membership or (left is not parts[0].left and is_test_for_unknown_word(test, list_unknown_values(test)))


def _list_looked_up_keys(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions that code looks up in a vocabulary: `word` in `vocab[word]`, `vocab.get(word, 1)`,
    `vocab.index(word)` and `vocab(word)`. Lookups in an object whose name means labels are left out."""
    for part in ast.walk(node):
        held = part.func if isinstance(part, ast.Call) else part
        owner = read_last_name(held.value) if isinstance(held, ast.Subscript | ast.Attribute) else ""
        if is_name_of_labels(owner):
            continue
        if isinstance(part, ast.Call) and read_last_name(held) == _OF_LIST and is_vocabulary_name(owner):
            yield from part.args[:1]
        elif (
            isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Load) and not isinstance(part.slice, ast.Slice)
        ):
            yield part.slice
        elif isinstance(part, ast.Call) and part.args and _OF_ONE_WORD.fullmatch(read_last_name(part.func)):
            # `forms.get(word, word)` gives words.
            yield from part.args[:1] if ast.unparse(part.args[0]) not in map(ast.unparse, part.args[1:]) else ()


def _find_only_key(parts: Sequence[ast.AST], names: set[str], counters: set[str]) -> ast.expr | None:
    """Return the only expression that code looks up and that uses one of `names`, such as `word.lower()`. Return None
    in three cases: nothing is looked up; several different expressions are; or a statement with the lookup uses these
    names elsewhere, too.

    Args:
        parts: the statements or the expression of the code.
        names: the variables that the loop sets.
        counters: the names among them that only count, such as `i` in `for i, word in enumerate(words)`.
    """
    keys = [one for part in parts for one in _list_looked_up_keys(part) if list_read_names(one) & names]
    keys = [one for one in keys if not (isinstance(one, ast.Name) and one.id in counters)]
    inner = {part for one in keys for part in ast.walk(one) if part is not one}
    keys = [one for one in keys if one not in inner]
    if len({ast.unparse(one) for one in keys}) != 1:
        return None
    written, allowed = ast.unparse(keys[0]), {part for one in keys for part in ast.walk(one)}
    of_key = list_read_names(keys[0]) & names
    for part in parts:
        for statement in _list_statements_with_keys(part, keys):
            for node in ast.walk(statement):
                if isinstance(node, ast.Compare) and ast.unparse(node.left) == written:
                    allowed |= {*ast.walk(node.left)}
            used = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and node.id in of_key - counters]
            if any(node not in allowed and isinstance(node.ctx, ast.Load) for node in used):
                return None
    return keys[0]


def _list_statements_with_keys(part: ast.AST, keys: Sequence[ast.expr]) -> list[ast.AST]:
    """Return the simple statements (not loops or branches) in a piece of code that contain one of `keys`. Return the
    code itself if it is an expression."""
    if not isinstance(part, ast.stmt):
        return [part]
    inner = [one for one in ast.iter_child_nodes(part) if isinstance(one, ast.stmt | ast.ExceptHandler)]
    if inner:
        return [found for one in inner for each in (one.body if isinstance(one, ast.ExceptHandler) else [one])
                for found in _list_statements_with_keys(each, keys)]  # fmt: skip
    return [part] if any(one in keys for one in ast.walk(part)) else []
