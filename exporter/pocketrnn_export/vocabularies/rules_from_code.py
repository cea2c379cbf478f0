"""Read text rules from the source of an owner's function from texts to tokens: its calls of `re.sub`, `lower` and
`split`, its stop words, and the lengths of the words that it keeps.

The function's statements are followed with a stand-in for the text; all other expressions are evaluated as they are.
An expression that rules cannot do is left out and listed. So the rules found here are a proposal, which is compared
with the function later.
"""

from __future__ import annotations

import ast
import codecs
import functools
import inspect
import itertools
import re
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pocketrnn.errors import InputError
from pocketrnn.text.cleaning_from_shorthand import cleaning
from pocketrnn.text.cleaning_steps import Keep, Replace, cleaning_function
from pocketrnn.text.code_point_ranges import find_ranges
from pocketrnn_export.vocabularies.owner_function_call import OwnersFunction

_DEEPEST: Final = 8
_LONGEST_CODE: Final = 70
_MOST_ITERATIONS: Final = 2_000
_LONGEST_WORD: Final = 64
_MOST_STOP_WORDS: Final = 2_000
_CODE_POINTS: Final = (*range(0xD800), *range(0xE000, 0x110000))
# Conditions on a word as patterns of the words that are dropped.
_KEPT_IF: Final = {
    "isalpha": ((r"\S*[^\w\s]\S*", " "), (r"\S*[\d_]\S*", " ")),
    "isalnum": ((r"\S*[^\w\s]\S*", " "), (r"\S*_\S*", " ")),
    "isascii": ((r"\S*[^\x00-\x7f\s]\S*", " "),),
}
# Patterns of white space at the ends of a text.
_WHITE_SPACE_AT_ENDS: Final = re.compile(r"(\^(\\s|\[ \]| )[+*])?\|?((\\s|\[ \]| )[+*](\$|\\Z))?")
# Patterns of single characters or runs of them, and what of a pattern may depend on white space at the ends of a text.
_ONE_CHARACTER: Final = re.compile(r"(\[(?:\\.|[^\]\\])+\]|\\[WDs]|.)[+*]?|\\s\{\d,\}")
_ANCHOR_OR_WHITE_SPACE: Final = re.compile(r"[\^$. ]|\\[AZsWD]|\(\?[^:]")
# A dot outside a class, or else what stands in its place.
_PLAIN_DOT: Final = re.compile(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|\.", re.DOTALL)
_PLAIN_DOLLAR: Final = re.compile(r"(\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|\$", re.DOTALL)
# The last code point of encodings that have all before it, by the name that `codecs` has for them.
_LAST_OF_ENCODINGS: Final = {"ascii": r"\x7f", "iso8859-1": r"\xff"}
# The end of a line that the exporter has copied from the owner's file: where it stands there.
PLACE_OF_COPIED_LINE: Final = re.compile(r"  # (\S.*\.(?:py|ipynb), (?:.*, )?line \d+)$", re.MULTILINE)
_DROPPED_IF: Final = {"isdigit": ((r"\b\d+\b", ""),), "isnumeric": ((r"\b\d+\b", ""),)}


@dataclass(frozen=True)
class RulesInCode:
    """The text rules that a function's source code shows.

    Attributes:
        steps: the cleaning steps, in the form that `cleaning` takes. Steps that drop short or long words come last.
        tokenizer: the tokenizer, by its name; empty if the code does not split the text.
        stop_words: the words that the code drops.
        max_tokens: how many tokens the code keeps; None if it does not cut.
        cut_side: the side on which the code cuts, right or left.
        drops_unknown: whether the code leaves out words that are not in the vocabulary.
        unsaid: the expressions that no text rule does exactly, each with its file and line.
    """

    steps: tuple[Any, ...] = ()
    tokenizer: str = ""
    stop_words: tuple[str, ...] = ()
    max_tokens: int | None = None
    cut_side: str = "right"
    drops_unknown: bool = False
    unsaid: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Text:
    """A stand-in for the text while the owner's code is followed. It records what the code does with the text.

    Attributes:
        steps: the cleaning steps so far, in the form that `cleaning` takes.
        tokenizer: how the code splits the text; empty before this.
        part: whether it stands for one character or word of the text.
        stop_words: the words that the code drops.
        lengths: the smallest and the largest length of the words that the code keeps.
        max_tokens: how many tokens the code keeps; None if it does not cut.
        cut_side: the side on which the code cuts.
        drops_unknown: whether the code leaves out words that are not in the vocabulary.
        joined: whether the code has joined the words to one string.
    """

    steps: tuple[Any, ...] = ()
    tokenizer: str = ""
    part: bool = False
    stop_words: tuple[str, ...] = ()
    lengths: tuple[int, int] = (0, _LONGEST_WORD)
    max_tokens: int | None = None
    cut_side: str = "right"
    drops_unknown: bool = False
    joined: bool = False

    @property
    def is_split(self) -> bool:
        """Whether it stands for a list of words or characters, and not for a string."""
        return bool(self.tokenizer) and not self.part and not self.joined

    def add_steps(self, *steps: Any) -> _Text:
        """Return a copy with further cleaning steps."""
        return replace(self, steps=(*self.steps, *steps))


class _NotReadError(Exception):
    """An expression of the owner's function could not be evaluated."""


def read_rules_in_code(function: Callable[..., Any]) -> RulesInCode | None:
    """Read the text rules from the source code of a function that splits a text into tokens. Return None if the source
    shows no rules.

    Args:
        function: the owner's function, or `functools.partial` of one. Expressions in it that do not depend on the text
            are evaluated; the others are only read.
    """
    reader = _Reader()
    try:
        found = reader.follow_call(function, [_Text()], {})
    # The user's code may raise any exception.
    except (Exception, SystemExit):
        return None
    # Ids are often written into an array, which is then given.
    found = next(iter(_list_stand_ins([found])), reader.looked_up)
    if not isinstance(found, _Text) or found == _Text():
        return None
    steps, stop_words = reader.drop_steps_without_effect(found), found.stop_words
    (least, most), shorter = found.lengths, list[str]()
    steps = reader.keep_steps_that_rules_can_do(steps)
    if least > 1:
        shorter = _list_possible_short_words(steps, least - 1)
        if not shorter:
            steps = (*steps, ("sub", rf"\b\w{{1,{least - 1}}}\b", ""))
    if most < _LONGEST_WORD:
        steps = (*steps, ("sub", rf"\S{{{most + 1},}}", ""))
    return RulesInCode(
        steps, found.tokenizer, (*dict.fromkeys((*stop_words, *shorter)),), found.max_tokens,
        found.cut_side, found.drops_unknown, (*dict.fromkeys(reader.unsaid),),
    )  # fmt: skip


def _make_strip_pattern(name: str, characters: str | None = None) -> str:
    """Return a regular expression that matches what `strip`, `lstrip` or `rstrip` removes. `name` is the name of the
    method, and `characters` is its argument, None for white space."""
    kind = r"\s" if characters is None else f"[{''.join(map(_escape_in_class, characters))}]"
    ends = {"lstrip": [f"^{kind}+"], "rstrip": [rf"{kind}+\Z"]}
    return "|".join(ends.get(name, [*ends["lstrip"], *ends["rstrip"]]))


def _removes_white_space_at_ends(step: Any) -> bool:
    """Return whether a step removes white space at the ends of a text, and nothing else."""
    match step:
        case ("sub", pattern, ""):
            return _WHITE_SPACE_AT_ENDS.fullmatch(pattern) is not None
    return False


def _leaves_no_line_break(text: _Text) -> bool:
    """Return whether a text surely has no line breaks after its cleaning steps: a step removes or replaces each of them
    and no later step adds one, or the text is split at white space."""
    is_free = False
    for step in text.steps:
        match step:
            case ("sub", str() as pattern, str() as by):
                is_each = _ONE_CHARACTER.fullmatch(pattern) is not None and not re.sub(pattern, "", "\n")
                is_free = (is_free or is_each) and "\n" not in by
            case (str(), str() as by) | Replace(by=by) | Keep(by=by):
                is_free = is_free and "\n" not in by
    return is_free or (text.tokenizer == "whitespace" and not text.joined)


def _may_depend_on_white_space_at_ends(step: Any) -> bool:
    """Return whether the words after a cleaning step may depend on white space at the beginning or the end of the
    text."""
    match step:
        case "lowercase":
            return False
        case (str() as what, str()) | Replace(what=what):
            return any(map(str.isspace, what))
        case ("sub", pattern, by):
            if _removes_white_space_at_ends(step) or (_ONE_CHARACTER.fullmatch(pattern) and not by.strip()):
                return False
            return _ANCHOR_OR_WHITE_SPACE.search(pattern.replace(r"\.", "")) is not None
        case Keep(by=by):
            return bool(by.strip())
    return True


def _escape_in_class(character: str) -> str:
    """Return a character as a character class of a regular expression contains it, with a backslash where needed."""
    return f"\\{character}" if character in "\\]^-[" else character


def _list_possible_short_words(steps: Sequence[Any], longest: int) -> list[str]:
    """Return all words of at most `longest` characters that a text may contain after the cleaning steps, to use them as
    stop words. Return an empty list if a regular expression can find these words instead, or if they are more than
    2,000."""
    left = _list_characters_left_by_steps(steps)
    if _are_word_characters(left) or sum(len(left) ** n for n in range(1, longest + 1)) > _MOST_STOP_WORDS:
        return []
    each = (itertools.product(left, repeat=length) for length in range(1, longest + 1))
    return ["".join(letters) for some in each for letters in some]


def _list_characters_left_by_steps(steps: Sequence[Any]) -> list[str]:
    """Return the printable characters up to U+024F that cleaning steps leave in a text, sorted. Return an empty list if
    text rules do not support one of the steps."""
    try:
        clean = cleaning_function(cleaning(*steps))
    except InputError:
        return []
    return sorted({changed for one in map(chr, range(0x21, 0x250)) if len(changed := clean(one).strip()) == 1})


def _are_word_characters(characters: Sequence[str]) -> bool:
    """Return whether `\\w` matches all ASCII characters in `characters`. A pattern can then find words of these
    characters."""
    return all(re.fullmatch(r"\w", one) for one in characters if one.isascii())


@dataclass
class _Scope:
    """The names that a piece of the owner's code can use.

    Attributes:
        names: the global names and their values.
        values: the local names, each with its value or with a stand-in (`_Text`) for the text.
    """

    names: Mapping[str, Any]
    values: dict[str, Any] = field(default_factory=dict)

    def has_text(self, node: ast.AST) -> bool:
        """Return whether an expression depends on the text."""
        return any(_list_stand_ins([self.values.get(n.id)]) for n in ast.walk(node) if isinstance(n, ast.Name))

    def has_part(self, node: ast.AST) -> bool:
        """Return whether an expression depends on one word or character of the text."""
        values = [self.values.get(n.id) for n in ast.walk(node) if isinstance(n, ast.Name)]
        return any(isinstance(one, _Text) and one.part for one in values)

    def evaluate(self, node: ast.expr) -> Any:
        """Evaluate an expression of the owner's code that does not depend on the text, as Python does."""
        code = compile(ast.fix_missing_locations(ast.Expression(node)), "<rules>", "eval")
        try:
            return eval(code, {**self.names, **self.values})  # noqa: S307 - the owner's own code, which a call runs, too
        # The user's code may raise any exception.
        except (Exception, SystemExit) as error:
            raise _NotReadError(ast.unparse(node)) from error


class _Reader:
    """Follows the statements of the owner's code without running them, with a stand-in (`_Text`) for the text.

    Attributes:
        unsaid: the expressions that no text rule does exactly, each with its file and line. Expressions after the
            look-up of ids are left out.
        looked_up: the stand-in for the words whose ids the code has looked up; None before the look-up.
    """

    def __init__(self) -> None:
        self.unsaid: list[str] = []
        self.looked_up: _Text | None = None
        self.depth = 0
        self.first_line = 0
        self.lines: Sequence[str] = ()
        self.file = ""

    def note_code_without_rule(self, node: ast.AST, text: Any, why: str = "") -> Any:
        """Add an expression, with its file and line, to the list `unsaid` of those that no text rule does exactly. Do
        nothing after the code has looked up the ids. Return `text` unchanged. `why` is a remark behind the
        expression."""
        if self.looked_up is not None:
            return text
        number = getattr(node, "lineno", 1)
        end = getattr(node, "end_lineno", number)
        copied = [found[1] for one in self.lines[number - 1 : end] if (found := PLACE_OF_COPIED_LINE.search(one))]
        place = next(iter(copied), f"{self.file}, line {self.first_line + number - 1}".removeprefix(", "))
        code = ast.unparse(node)
        self.unsaid.append(f"{place}: {code if len(code) <= _LONGEST_CODE else f'{code[:_LONGEST_CODE]} ...'}{why}")
        return text

    def follow_look_up(self, node: ast.AST, table: Mapping[Any, Any], text: Any) -> Any:
        """Follow code that looks up words in the dict `table`. If the values of the dict are ids, store the stand-in
        `text` in `looked_up`. If they are words, note that no text rule does this. Return `text` unchanged."""
        if not any(isinstance(value, str) for value in table.values()):
            self.looked_up = self.looked_up or replace(text, part=False)
            return text
        return self.note_code_without_rule(
            node, text, f" (a dict of {len(table):,} words, but no text rule looks up words)"
        )

    def follow_call(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Follow the source code of a function as if it were called with these arguments, without running it. Return
        its result. Stand-ins (`_Text`) replace the values that depend on the text."""
        if isinstance(function, OwnersFunction):
            args, kwargs = function.bind(args[0])
            return self.follow_call(function.function, args, kwargs)
        if isinstance(function, functools.partial):
            return self.follow_call(function.func, [*function.args, *args], {**function.keywords, **kwargs})
        if not inspect.isfunction(function) and not inspect.ismethod(function) and not isinstance(function, type):
            function = getattr(function, "__call__", function)  # noqa: B004 - the method itself is needed
        lines, first = inspect.getsourcelines(function)
        node = _parse_function(textwrap.dedent("".join(lines)))
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        plain = inspect.unwrap(function)
        plain = getattr(plain, "__func__", plain)
        closed = inspect.getclosurevars(plain).nonlocals
        values = dict(bound.arguments)
        if inspect.ismethod(function):
            values = {next(iter(inspect.signature(plain).parameters)): function.__self__, **values}
        scope = _Scope({**plain.__globals__, **closed}, values)
        before = self.first_line, self.lines, self.file
        self.first_line, self.lines, self.file = first, lines, _name_file_of_code(plain)
        self.depth += 1
        try:
            if self.depth > _DEEPEST:
                raise _NotReadError("a recursion")
            if isinstance(node, ast.Lambda):
                return self.evaluate(node.body, scope)
            return self.follow_statements(node.body, scope)
        finally:
            self.depth -= 1
            self.first_line, self.lines, self.file = before

    def follow_statements(self, statements: Sequence[ast.stmt], scope: _Scope) -> Any:
        """Follow statements without running them, up to the first return. Return its value, or None if there is no
        return."""
        for statement in statements:
            found = self.follow_statement(statement, scope)
            if found is not None:
                return found
        return None

    def follow_statement(self, statement: ast.stmt, scope: _Scope) -> Any:
        """Follow one statement without running it. Return the value that it returns from the function, or None if it
        does not return. A statement that cannot be followed is noted, and changes nothing."""
        try:
            return self.follow_statement_of_known_kind(statement, scope)
        # The user's code may raise any exception.
        except (Exception, SystemExit):
            if not scope.has_text(statement):
                return None
            names = [scope.values.get(one.id) for one in ast.walk(statement) if isinstance(one, ast.Name)]
            text = self.note_code_without_rule(statement, _list_stand_ins(names)[0])
            for one in ast.walk(statement):
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                    scope.values[one.id] = text
            return text if isinstance(statement, ast.Return) else None

    def follow_statement_of_known_kind(self, statement: ast.stmt, scope: _Scope) -> Any:
        """Follow one statement as `follow_statement` does, but raise an exception if it cannot be followed."""
        match statement:
            case ast.Return(value=ast.expr() as value):
                return self.evaluate(value, scope)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                scope.values[name] = self.evaluate(value, scope)
            case ast.AugAssign(target=ast.Name(id=name), value=value) if scope.has_text(value):
                scope.values[name] = self.append_part(scope.values.get(name), self.evaluate(value, scope), statement)
            case ast.If(test=test, body=body, orelse=orelse):
                return self.follow_statements(
                    body if self.evaluate_condition_for_ordinary_text(test, scope) else orelse, scope
                )
            case ast.For() if scope.has_text(statement.iter):
                self.follow_loop(statement, scope)
            case ast.For(target=target, iter=each, body=body):
                for value in itertools.islice(scope.evaluate(each), _MOST_ITERATIONS):
                    _bind_names(target, value, scope)
                    if (found := self.follow_statements(body, scope)) is not None:
                        return found
            case ast.With(body=body) | ast.Try(body=body):
                return self.follow_statements(body, scope)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[item])):
                item_value = self.evaluate(item, scope)
                if isinstance(item_value, _Text):
                    scope.values[name] = self.append_part(scope.values.get(name), item_value, statement)
                elif isinstance(scope.values.get(name), _Text):
                    self.note_code_without_rule(statement, None)
            case ast.Import() | ast.ImportFrom() | ast.FunctionDef():
                made: dict[str, Any] = {}
                module = ast.fix_missing_locations(ast.Module([statement], []))
                exec(compile(module, "<rules>", "exec"), {**scope.names, **scope.values}, made)  # noqa: S102 - as above
                scope.values.update(made)
            case ast.Assign() if not scope.has_text(statement):
                for target in statement.targets:
                    _bind_names(target, scope.evaluate(statement.value), scope)
            case ast.Assert():
                pass
            case _ if scope.has_text(statement):
                self.note_code_without_rule(statement, None)
        return None

    def append_part(self, collected: Any, added: _Text, node: ast.AST) -> Any:
        """Follow code that adds a word or a character of the text to `collected`, a list or a string. Return the
        stand-in (`_Text`) for the result."""
        if isinstance(collected, _Text):
            return self.note_code_without_rule(node, collected)
        whole = replace(added, part=False)
        if added.tokenizer == "characters" and isinstance(collected, str):
            return replace(whole, tokenizer="")
        return replace(whole, joined=isinstance(collected, str))

    def follow_loop(self, loop: ast.For, scope: _Scope) -> None:
        """Follow a loop over the words or characters of the text without running it. Conditions in the loop, which keep
        only some of them, are recorded."""
        each = self.evaluate(loop.iter, scope)
        if isinstance(each, list) and len(each) == 1:
            # A batch of one text.
            _bind_names(loop.target, each[0], scope)
            self.follow_statements(loop.body, scope)
            return
        if not isinstance(each, _Text) or not isinstance(loop.target, ast.Name):
            self.note_code_without_rule(loop.iter, None)
            return
        variable = loop.target.id
        scope.values[variable] = _make_part_stand_in(each)
        waiting = list(loop.body)
        while waiting:
            statement = waiting.pop(0)
            match statement:
                case ast.If(test=test, body=[ast.Continue()], orelse=[]):
                    self.follow_condition_to_keep_words_or_characters(
                        ast.copy_location(ast.UnaryOp(ast.Not(), test), test), variable, scope
                    )
                case ast.If(test=test, body=body, orelse=[]) if not waiting:
                    self.follow_condition_to_keep_words_or_characters(test, variable, scope)
                    waiting = list(body)
                case ast.If(test=ast.Compare(ops=[ast.In()])):
                    self.follow_statements(statement.body, scope)
                    # Words that are not in the vocabulary get another id.
                    if self.looked_up is None:
                        self.note_code_without_rule(statement.test, None)
                        waiting = [*statement.orelse, *waiting]
                case ast.If():
                    self.note_code_without_rule(statement.test, None)
                case _:
                    self.follow_statement(statement, scope)

    def evaluate_condition_for_ordinary_text(self, test: ast.expr, scope: _Scope) -> bool:
        """Return whether a condition in the owner's code is true for an ordinary text: a string that is long and not
        empty."""
        if not scope.has_text(test):
            return bool(scope.evaluate(test))
        match test:
            case ast.Call(func=ast.Name(id="isinstance"), args=[value, kind]):
                kinds = scope.evaluate(kind)
                found = self.evaluate(value, scope)
                return (list if isinstance(found, _Text) and found.is_split else str) in (
                    kinds if isinstance(kinds, tuple) else (kinds,)
                )
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.evaluate_condition_for_ordinary_text(operand, scope)
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self.evaluate_condition_for_ordinary_text(value, scope) for value in values)
            case ast.BoolOp(values=values):
                return any(self.evaluate_condition_for_ordinary_text(value, scope) for value in values)
            case ast.Compare(left=ast.Call(func=ast.Name(id="len")), ops=[compared]):
                return isinstance(compared, ast.Gt | ast.GtE)
            case ast.Name():
                return True
            case ast.Compare(ops=[ast.Is() | ast.IsNot()]) | ast.Compare(comparators=[ast.Constant(value="")]):
                return isinstance(test.ops[0], ast.IsNot | ast.NotEq)
            case ast.Call(func=ast.Attribute(attr="strip"), args=[]):
                return True
        self.note_code_without_rule(test, None)
        return False

    def evaluate(self, node: ast.expr, scope: _Scope) -> Any:
        """Evaluate an expression. If it depends on the text, return a stand-in (`_Text`), which records what the
        expression does to the text."""
        if not scope.has_text(node):
            return scope.evaluate(node)
        match node:
            case ast.Name(id=name):
                return scope.values[name]
            case ast.Call():
                return self.evaluate_call(node, scope)
            case ast.ListComp(elt=element, generators=[one]) | ast.GeneratorExp(elt=element, generators=[one]):
                return self.follow_comprehension(element, one, scope)
            case ast.Subscript(value=value, slice=ast.Slice() as cut):
                return self.follow_slice(node, self.evaluate(value, scope), cut, scope)
            case ast.Subscript(value=value, slice=index) if not scope.has_text(value):
                table, text = scope.evaluate(value), self.evaluate(index, scope)
                return self.follow_look_up(node, table, text) if isinstance(table, Mapping) else text
            case ast.IfExp(test=test, body=body, orelse=orelse):
                # Whether a word is in the vocabulary.
                known = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.In) and scope.has_part(test)
                noted = len(self.unsaid)
                holds = known or self.evaluate_condition_for_ordinary_text(test, scope)
                chosen = self.evaluate(body if holds else orelse, scope)
                is_changed = not known and isinstance(chosen, _Text) and chosen.part
                if not _list_stand_ins([chosen]):
                    chosen, is_changed = self.evaluate(orelse if holds else body, scope), True
                return self.note_code_without_rule(node, chosen) if is_changed and noted == len(self.unsaid) else chosen
            case ast.BoolOp(values=[first, *_]):
                return self.evaluate(first, scope)
            # A batch of one text, too.
            case ast.List(elts=[ast.Starred(value=value) | (ast.ListComp() as value)]):
                return self.evaluate(value, scope)
            case ast.List(elts=[element]):
                return [self.evaluate(element, scope)]
            case ast.Tuple(elts=elements):
                return tuple(self.evaluate(one, scope) for one in elements)
        inside = (self.find_stand_in(part, scope) for part in ast.iter_child_nodes(node))
        return self.note_code_without_rule(node, next((found for found in inside if found is not None), None))

    def find_stand_in(self, node: ast.AST, scope: _Scope) -> Any:
        """Evaluate an expression. Return its value if this is a stand-in (`_Text`) for the text. Otherwise, return
        None."""
        if not isinstance(node, ast.expr) or not scope.has_text(node):
            return None
        found = self.evaluate(node, scope)
        return found if isinstance(found, _Text) else None

    def evaluate_call(self, node: ast.Call, scope: _Scope) -> Any:
        """Follow a call of any kind whose arguments depend on the text. Return its result, with stand-ins (`_Text`) for
        the text."""
        if isinstance(node.func, ast.Attribute) and scope.has_text(node.func.value):
            value = self.evaluate(node.func.value, scope)
            arguments = [self.evaluate(one, scope) for one in (*node.args, *(one.value for one in node.keywords))]
            return self.follow_method(node, value, node.func.attr, arguments)
        function = scope.evaluate(node.func)
        if function in (filter, map) and len(node.args) == 2:
            return self.follow_filter_or_map(node, scope, is_filter=function is filter)
        args = [self.evaluate(one, scope) for one in node.args]
        kwargs = {str(one.arg): self.evaluate(one.value, scope) for one in node.keywords if one.arg}
        given = _list_stand_ins([*args, *kwargs.values()])
        if not given:
            return self.note_code_without_rule(node, None)
        if function is enumerate and isinstance(args[0], list):
            return [*enumerate(args[0])]
        text = given[0]
        owner = getattr(function, "__self__", None)
        name = getattr(function, "__name__", "")
        if isinstance(owner, re.Pattern):
            return self.follow_pattern(node, name, owner, [*args, *kwargs.values()], text)
        if getattr(function, "__module__", "") in ("re", "regex", "regex._main", "regex.regex"):
            flags = kwargs.pop("flags", 0)
            args += kwargs.values()
            pattern = args[0] if isinstance(args[0], re.Pattern) else re.compile(args[0], flags)
            return self.follow_pattern(node, name, pattern, args[1:], text)
        if isinstance(owner, str) and name == "join":
            return self.follow_join(node, owner, text)
        if isinstance(owner, Mapping) and name == "get":
            return self.follow_look_up(node, owner, text)
        if isinstance(function, Mapping):
            return self.follow_look_up(node, function, text)
        if function in (str, iter, list, tuple) or name in ("tensor", "LongTensor", "array"):
            return replace(text, tokenizer="characters") if function in (list, tuple) and not text.tokenizer else text
        if function in (str.lower, str.casefold, str.strip, str.split):
            return self.follow_method(node, text, name, args[1:])
        return self.follow_other_call(node, function, args, kwargs, text)

    def follow_other_call(
        self, node: ast.Call, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], text: _Text
    ) -> Any:
        """Follow a call of a function of the owner, or of a known tokenizer. Return its result, with stand-ins
        (`_Text`) for the text."""
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if name == "_basic_english_normalize":
            return replace(text, tokenizer="basic_english")
        if type(owner).__name__ == "RegexpTokenizer" and name == "tokenize":
            kind = "split" if vars(owner).get("_gaps") else "findall"
            return self.follow_pattern(node, kind, re.compile(vars(owner)["_pattern"]), [text], text)
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        method = None if code or isinstance(function, type) else getattr(type(function), "__call__", None)  # noqa: B004 - its code is needed
        code = code or getattr(method, "__code__", None)
        if code is None or _is_of_library(code.co_filename):
            return self.note_code_without_rule(node, text)
        try:
            found = self.follow_call(function, args, kwargs)
        except _NotReadError:
            raise
        # Without source, or with other arguments.
        except Exception:
            return self.note_code_without_rule(node, text)
        return self.note_code_without_rule(node, text) if found is None else found

    def follow_method(self, node: ast.Call, value: Any, name: str, args: Sequence[Any]) -> Any:
        """Follow a call of a method on the text or its words, such as `lower`. Return the stand-in (`_Text`) for its
        result."""
        if not isinstance(value, _Text):
            return self.note_code_without_rule(node, None)
        match name, [*args]:
            case (("lower" | "casefold"), []):
                return value.add_steps("lowercase")
            case "replace", [str() as what, str() as by]:
                return value.add_steps((what, by))
            case "split", [] | [None]:
                return replace(value, tokenizer=value.tokenizer if value.joined else "whitespace", joined=False)
            case "split", [" "]:
                return replace(value, tokenizer=value.tokenizer if value.joined else "space", joined=False)
            case (("strip" | "lstrip" | "rstrip"), [] | [None] | [str()]):
                if value.part:
                    # Words that were split at white space have none at their ends.
                    is_nothing = value.tokenizer not in ("space", "characters") and args in ([], [None], [" "])
                    return value if is_nothing else self.note_code_without_rule(node, value)
                return value.add_steps(("sub", _make_strip_pattern(name, *args), ""))
            case "translate", [table]:
                return self.add_character_step(node, value, lambda one: one.translate(table))
            case "encode", [str() as encoding, ("ignore" | "replace") as errors]:
                last = _LAST_OF_ENCODINGS.get(codecs.lookup(encoding).name)
                if last is not None:
                    return value.add_steps(("sub", rf"[^\x00-{last}]", "?" * (errors == "replace")))
            case (("decode" | "tolist" | "copy"), _):
                return value
        return self.note_code_without_rule(node, value)

    def add_character_step(self, node: ast.AST, text: _Text, change: Callable[[str], str]) -> _Text:
        """Return the stand-in `text` with a cleaning step that changes each character as the function `change` does.
        `change` is code of the owner, such as `str.translate`. If no step can do this, note the code and add none."""
        if not isinstance(change("a"), str):
            # A function that splits texts, for example, which would be called a million times.
            left_out: _Text = self.note_code_without_rule(node, text)
            return left_out
        changed = {one: other for code in _CODE_POINTS if (other := change(one := chr(code))) != one}
        if not changed:
            return text
        results = set(changed.values())
        if len(changed) <= _LONGEST_WORD and results in ({""}, {" "}):
            inside = "".join(map(_escape_in_class, changed))
            return text.add_steps(("sub", f"[{inside}]", results.pop()))
        if len(results) == 1:
            kept = find_ranges(lambda one: one not in changed, _CODE_POINTS)
            return text.add_steps(Keep(tuple(kept), results.pop()))
        if len(changed) <= _MOST_ITERATIONS and not any(
            one in by for one in changed for what, by in changed.items() if what != one
        ):
            return text.add_steps(*(Replace(one, other) for one, other in changed.items()))
        found: _Text = self.note_code_without_rule(node, text)
        return found

    def follow_pattern(
        self, node: ast.Call, name: str, pattern: re.Pattern[str], args: Sequence[Any], text: _Text
    ) -> Any:
        """Follow a call of a function of `re`, or of a method of a compiled pattern, on the text. Return the stand-in
        (`_Text`) for its result. `name` is the function, such as `sub`, and `args` are its arguments after the
        pattern."""
        written = pattern.pattern
        asks_for_lines = pattern.flags & re.MULTILINE and re.search(r"(?<!\\)[$^]", written.replace("[^", "["))
        if asks_for_lines or (pattern.flags & re.IGNORECASE and "lowercase" not in text.steps):
            return self.note_code_without_rule(node, text)
        if pattern.flags & re.DOTALL:
            written = _PLAIN_DOT.sub(lambda one: one[1] or r"[\s\S]", written)
        # A number of matches, at which it stops.
        if pattern.flags & (re.ASCII | re.VERBOSE) or any(args[2:]):
            self.note_code_without_rule(node, None)
        if _leaves_no_line_break(text):
            # `$` also matches before a line break at the end.
            written = _PLAIN_DOLLAR.sub(lambda one: one[1] or r"\Z", written)
        match name:
            case "sub" if isinstance(args[0], str):
                return text.add_steps(("sub", written, args[0]))
            case "findall" if between := _find_pattern_between_matches(written):
                return replace(text.add_steps(("sub", between, " ")), tokenizer="whitespace", joined=False)
            case "split":
                return replace(text.add_steps(("sub", written, " ")), tokenizer="whitespace", joined=False)
            case "findall" | "finditer":
                text = replace(text, tokenizer="whitespace", joined=False)
        return self.note_code_without_rule(node, text)

    def follow_join(self, node: ast.AST, between: str, text: _Text) -> Any:
        """Follow a call of `str.join`, which joins the words or characters into one string. Return the stand-in
        (`_Text`) for the string."""
        if text.tokenizer == "characters":
            return (
                replace(text, tokenizer="")
                if not between
                else self.note_code_without_rule(node, replace(text, tokenizer=""))
            )
        return (
            replace(text, joined=True)
            if between == " "
            else self.note_code_without_rule(node, replace(text, joined=True))
        )

    def follow_filter_or_map(self, node: ast.Call, scope: _Scope, *, is_filter: bool) -> Any:
        """Follow a call of `filter` or `map` as if it were a comprehension. Return the stand-in (`_Text`) for its
        result."""
        made = ast.Name("_each", ast.Load())
        # filter(None, words) drops empty words.
        is_plain = is_filter and ast.unparse(node.args[0]) == "None"
        called: ast.expr = made if is_plain else ast.Call(node.args[0], [made], [])
        if isinstance(node.args[0], ast.Lambda):
            old = node.args[0].args.args[0].arg
            called = _LambdaParameterRenamer(old).visit(ast.parse(ast.unparse(node.args[0].body), mode="eval").body)
        conditions = [called] if is_filter else []
        one = ast.comprehension(ast.Name("_each", ast.Store()), node.args[1], conditions, 0)
        return self.follow_comprehension(made if is_filter else called, one, scope)

    def follow_comprehension(self, element: ast.expr, one: ast.comprehension, scope: _Scope) -> Any:
        """Follow a comprehension over the words or characters of the text, or over a list with the text as its only
        item. Return the stand-in for its result."""
        each = self.evaluate(one.iter, scope)
        if isinstance(each, list) and len(each) == 1:
            of_text = _Scope(scope.names, dict(scope.values))
            _bind_names(one.target, each[0], of_text)
            return [self.evaluate(element, of_text)]
        if not isinstance(each, _Text) or not isinstance(one.target, ast.Name):
            return self.note_code_without_rule(element, each)
        inner, variable = _Scope(scope.names, dict(scope.values)), one.target.id
        inner.values[variable] = _make_part_stand_in(each)
        for condition in one.ifs:
            self.follow_condition_to_keep_words_or_characters(condition, variable, inner)
        part = inner.values[variable]
        if part.tokenizer == "characters" and not (isinstance(element, ast.Name) and element.id == variable):
            change = _compile_expression(element, variable, inner)
            return replace(self.add_character_step(element, part, change), part=False)
        found = self.evaluate(element, inner) if inner.has_text(element) else self.note_code_without_rule(element, part)
        return replace(found, part=False) if isinstance(found, _Text) else found

    def follow_condition_to_keep_words_or_characters(self, test: ast.expr, variable: str, scope: _Scope) -> None:
        """Follow code that keeps only the words or characters for which a condition is true. Add a cleaning step or
        stop words with the same effect to the stand-in of the loop's variable in `scope`."""
        if self.looked_up is not None:
            return
        part = scope.values[variable]
        if part.tokenizer == "characters":
            holds = _compile_expression(test, variable, scope)
            scope.values[variable] = self.add_character_step(test, part, lambda one: one if holds(one) else "")
            return
        match test:
            case ast.BoolOp(op=ast.And(), values=values):
                for value in values:
                    self.follow_condition_to_keep_words_or_characters(value, variable, scope)
                return
            case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
                for one in (left, right):
                    if isinstance(one, ast.UnaryOp) and isinstance(one.op, ast.Invert):
                        self.follow_condition_to_keep_words_or_characters(
                            ast.copy_location(ast.UnaryOp(ast.Not(), one.operand), one), variable, scope
                        )
                    else:
                        self.follow_condition_to_keep_words_or_characters(one, variable, scope)
                return
            case ast.UnaryOp(op=ast.Not(), operand=ast.Compare(left=left, ops=[ast.In()], comparators=[right])):
                test = ast.copy_location(ast.Compare(left, [ast.NotIn()], [right]), test)
            case ast.UnaryOp(op=ast.Not(), operand=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
                test = ast.copy_location(ast.Compare(left, [ast.NotEq()], [right]), test)
            case ast.UnaryOp(op=ast.Not(), operand=ast.BoolOp(op=ast.Or(), values=values)):
                for value in values:
                    self.follow_condition_to_keep_words_or_characters(
                        ast.copy_location(ast.UnaryOp(ast.Not(), value), value), variable, scope
                    )
                return
        scope.values[variable] = self.follow_condition_to_keep_words(test, variable, scope, part)

    def follow_condition_to_keep_words(self, test: ast.expr, variable: str, scope: _Scope, part: _Text) -> Any:
        """Follow code that keeps only the words for which a condition is true. Return the stand-in `part` of a word
        with stop words, word lengths or cleaning steps of the same effect."""
        names = [n for n in ast.walk(test) if isinstance(n, ast.Name) and n.id == variable]
        lengths = [n for n in ast.walk(test) if isinstance(n, ast.Call) and ast.unparse(n) == f"len({variable})"]
        if names and len(names) == len(lengths):
            holds = _compile_expression(test, variable, scope)
            allowed = [n for n in range(1, _LONGEST_WORD + 1) if holds("x" * n)]
            least, most = part.lengths
            return replace(part, lengths=(max(least, min(allowed)), min(most, max(allowed))))
        match test:
            case ast.Name() | ast.Call(func=ast.Attribute(attr="strip")):
                return replace(part, stop_words=(*part.stop_words, ""))
            case ast.Compare(left=left, ops=[ast.NotIn()], comparators=[right]) if _is_word_itself(left, variable):
                given = scope.evaluate(right)
                words = [one for one in given if isinstance(one, str)]
                words = words if isinstance(given, list | tuple) else sorted(words)
                return replace(part, stop_words=(*part.stop_words, *words))
            case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[ast.Constant(value=str() as word)]) if (
                _is_word_itself(left, variable)
            ):
                return replace(part, stop_words=(*part.stop_words, word))
            case ast.Compare(left=ast.Constant(value=str() as inside), ops=[ast.NotIn()], comparators=[ast.Name()]):
                if len(inside) == 1 and not inside.isspace():
                    return part.add_steps(("sub", rf"\S*{re.escape(inside)}\S*", ""))
                return self.note_code_without_rule(test, part.add_steps(("sub", rf"{re.escape(inside)}\S*", "")))
            case ast.Compare(ops=[ast.In()]):
                return replace(part, drops_unknown=True)
            case ast.Call(func=ast.Attribute(value=ast.Name(), attr=kind)) if kind in _KEPT_IF:
                return part.add_steps(*(("sub", *one) for one in _KEPT_IF[kind]))
            case ast.UnaryOp(operand=ast.Call(func=ast.Attribute(value=ast.Name(), attr=kind))) if kind in _DROPPED_IF:
                found = part.add_steps(*(("sub", *one) for one in _DROPPED_IF[kind]))
                # Inside a word with other characters, such as "10,", the digits stay.
                left_over = _list_characters_left_by_steps(part.steps)
                return (
                    found if left_over and _are_word_characters(left_over) else self.note_code_without_rule(test, found)
                )
        if begun := _find_excluded_beginning(test, variable):
            return self.note_code_without_rule(test, part.add_steps(("sub", rf"{re.escape(begun)}\S*", "")))
        return self.note_code_without_rule(test, part)

    def follow_slice(self, node: ast.AST, value: Any, cut: ast.Slice, scope: _Scope) -> Any:
        """Follow the slices `words[:n]` and `words[-n:]`, which cut the text. Return the stand-in (`_Text`) for the cut
        text."""
        if not isinstance(value, _Text) or not value.is_split or cut.step is not None:
            return self.note_code_without_rule(node, value)
        lower, upper = (None if end is None else scope.evaluate(end) for end in (cut.lower, cut.upper))
        if lower in (None, 0) and isinstance(upper, int) and upper > 0:
            return replace(value, max_tokens=upper, cut_side="right")
        if upper is None and isinstance(lower, int) and lower < 0:
            return replace(value, max_tokens=-lower, cut_side="left")
        return value if lower in (None, 0) and upper is None else self.note_code_without_rule(node, value)

    def drop_steps_without_effect(self, text: _Text) -> tuple[Any, ...]:
        """Return the cleaning steps of a text without those that change nothing because the text is split at white
        space afterwards."""
        steps = list(text.steps)
        if text.tokenizer not in ("space", "characters"):
            steps = [
                step for i, step in enumerate(steps)
                if not _removes_white_space_at_ends(step)
                or any(map(_may_depend_on_white_space_at_ends, steps[i + 1 :]))
            ]  # fmt: skip
            while steps and steps[-1] in (("sub", r"\s+", " "), ("sub", " +", " "), ("sub", r"\s{2,}", " ")):
                steps.pop()
        return tuple(steps)

    def keep_steps_that_rules_can_do(self, steps: Sequence[Any]) -> tuple[Any, ...]:
        """Return the cleaning steps that text rules support. Add the other steps to `unsaid`, the list of code that a
        message names."""
        kept = []
        for step in steps:
            try:
                cleaning(step)
            except InputError as error:
                self.unsaid.append(f"re.sub({step[-2]!r}, {step[-1]!r}): {error.problem.rstrip('.')}")
                continue
            kept.append(step)
        return tuple(kept)


def _parse_function(source: str) -> Any:
    """Return the syntax tree of the function or lambda in a source."""
    for text in (source, source.strip().rstrip(","), f"({source.strip()})"):
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        kinds = (ast.FunctionDef, ast.Lambda)
        return next(node for node in ast.walk(tree) if isinstance(node, kinds))
    raise _NotReadError(source)


def _is_word_itself(node: ast.expr, variable: str) -> bool:
    """Return whether an expression is the word in the variable `variable`, at most stripped or in lower case."""
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr="lower" | "casefold" | "strip"), args=[]):
            return _is_word_itself(value, variable)
    return isinstance(node, ast.Name) and node.id == variable


def _find_excluded_beginning(test: ast.expr, variable: str) -> str:
    """Return the beginning of words that a condition excludes: "@" for `word[0] != "@"`, if `variable` is "word".
    Return an empty string for other code."""
    match test:
        case ast.UnaryOp(
            op=ast.Not(),
            operand=ast.Call(
                func=ast.Attribute(value=ast.Name(id=name), attr="startswith"),
                args=[ast.Constant(value=str() as begun)],
            ),
        ) if name == variable:
            return begun
        case ast.Compare(
            left=ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=0) | ast.Slice(lower=None)),
            ops=[ast.NotEq()],
            comparators=[ast.Constant(value=str() as begun)],
        ) if name == variable:
            return begun
    return ""


def _list_stand_ins(values: Sequence[Any]) -> list[_Text]:
    """Return the stand-ins for the text (`_Text`) among values, also inside lists and tuples."""
    inside = (_list_stand_ins(one) if isinstance(one, list | tuple) else [one] for one in values)
    return [one for some in inside for one in some if isinstance(one, _Text)]


def _make_part_stand_in(each: _Text) -> _Text:
    """Return the stand-in for one word of the text that the stand-in `each` represents. If this text is not split,
    return the stand-in for one character."""
    return replace(each, part=True, tokenizer=each.tokenizer if each.is_split else "characters")


def _compile_expression(node: ast.expr, variable: str, scope: _Scope) -> Callable[[str], Any]:
    """Make a function of one argument that evaluates an expression of the owner's code. The argument, a character or a
    word, becomes the value of the name `variable` in the expression."""
    arguments = ast.arguments([], [ast.arg(variable)], None, [], [], None, [])
    code = compile(ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, node))), "<rules>", "eval")
    function: Callable[[str], Any] = eval(code, {**scope.names, **scope.values})  # noqa: S307 - the owner's own code
    return function


def _name_file_of_code(function: Any) -> str:
    """Return the path of the file that defines a function, relative to the working folder if the file is in it. Return
    an empty string if there is no file."""
    named = getattr(getattr(function, "__code__", None), "co_filename", "")
    path = Path(named)
    if not named or not path.is_file():
        return ""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _is_of_library(file: str) -> bool:
    """Return whether a file of code belongs to the standard library or to an installed library."""
    if file.startswith(tuple(sysconfig.get_paths()[one] for one in ("stdlib", "purelib", "platlib"))):
        return True
    folders = [Path(one) for one in sys.path if one and file.startswith(f"{Path(one)}/")]
    return any(next(one.glob("*.dist-info"), None) is not None for one in folders)


def _bind_names(target: ast.expr, value: Any, scope: _Scope) -> None:
    """Assign a value to the names in a target such as `a` or `(a, b)`."""
    if isinstance(target, ast.Name):
        scope.values[target.id] = value
    elif isinstance(target, ast.Tuple | ast.List):
        for one, part in zip(target.elts, value, strict=True):
            _bind_names(one, part, scope)


class _LambdaParameterRenamer(ast.NodeTransformer):
    """Renames the parameter `old` of a lambda to `_each`."""

    def __init__(self, old: str) -> None:
        self.old = old

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("_each", node.ctx) if node.id == self.old else node


def _find_pattern_between_matches(pattern: str) -> str:
    """Return the regular expression that matches the characters between two matches of `pattern`, such as `[^a-z]+` for
    `[a-z]+`. Return an empty string if no such expression is known."""
    bare = pattern.replace(r"\b", "")
    if found := re.fullmatch(r"(\[(?!\^)(?:\\.|[^\]\\])+\]|\\[wdS])\+", bare):
        kind = found[1]
        inside = kind[1:-1] if kind[0] == "[" else kind
        return {r"\w": r"\W+", r"\S": r"\s+", r"\d": r"\D+"}.get(kind, f"[^{inside}]+")
    return ""
