"""Find text rules that do the same as an owner's function from texts to tokens or ids, and compare both.

The function's source proposes the rules; if it shows none, the format's tokenizers and usual steps are tried. The rules
are compared with the function on the owner's texts, on words of the vocabulary, and on texts made of these words and of
everything that cleaning functions look for.
"""

from __future__ import annotations

import contextlib
import functools
import json
import linecache
import logging
import math
import random
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Final

from pocketrnn.errors import InputError, first_line, short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules, TextEncoder, TextRules
from pocketrnn.text.cleaning_from_shorthand import cleaning
from pocketrnn.text.text_row_encoder import Tokenizer, write_remedy_of_tokenizer_error
from pocketrnn_export.json_reading_and_writing import brief_text
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.vocabularies.candidate_text_rules import (
    LONGEST_OPTION,
    SPLITTING_MEMBERS,
    describe_rules,
    write_rules_option,
)
from pocketrnn_export.vocabularies.external_tokenizer_advice import (
    advise_external_tokenizer,
    collect_width_members,
    write_external_argument,
)
from pocketrnn_export.vocabularies.owner_function_call import (
    OwnersFunction,
    find_how_to_call_owner_function,
    read_unknown_word_rule_from_names,
)
from pocketrnn_export.vocabularies.owner_texts_and_answers import Pair
from pocketrnn_export.vocabularies.rules_from_code import RulesInCode, read_rules_in_code
from pocketrnn_export.vocabularies.rules_from_ids import find_rules_from_ids, gives_owner_ids
from pocketrnn_export.vocabularies.vocabulary import PLACEHOLDER, Vocabulary, make_implied_rules

_log = logging.getLogger(__name__)

_WORDS_TO_COMPARE: Final = 2_000
_NAMED_PLACES: Final = 8
_UNPADDED: Final[Mapping[str, Any]] = dict.fromkeys(("max_tokens", "max_width", "min_width"))
_UNFRAMED: Final[Mapping[str, Any]] = {**_UNPADDED, **dict.fromkeys(("first_id", "last_id"))}
_WRITTEN_FILE: Final = "<the owner's function>"
# The seconds of calls that show how long all take.
_SECONDS_TO_ESTIMATE: Final = 1.0
# A slow function, as of a spelling dictionary, is called for some seconds to refuse rules, and then for a minute.
_SECONDS_TO_REFUSE: Final = 5.0
_MOST_SECONDS: Final = 60.0
_FEWEST_TEXTS: Final = 10


@dataclass(frozen=True)
class _Compared:
    """A text with the tokens or ids that the owner's function returns for it.

    Attributes:
        text: the text.
        tokens: the tokens; None if the function returns ids.
        ids: the ids; if the function returns tokens, their ids in the vocabulary.
    """

    text: str
    tokens: list[str] | None
    ids: list[int]


def find_rules_of_function(
    function: Tokenizer, vocabulary: Vocabulary, rules: AnyTextRules | None, texts: Sequence[str]
) -> AnyTextRules:
    """Return text rules that give the same ids as the owner's function: the rules that the user gave, or rules that are
    found from the function's source code or among usual rules. Unknown words may be split differently, since they all
    have the same id.

    Args:
        function: takes a text and returns its tokens, its ids, or a cleaned text, which is then split at white space.
        vocabulary: the tokens.
        rules: the rules that the user gave; None to find rules.
        texts: the owner's texts.

    Raises:
        InputError: no rules agree with the function on all texts. The message has the rules that agree on the most
            texts, and the expressions in the function that no rule can do.
    """
    function = find_how_to_call_owner_function(function, vocabulary)
    code = None if rules is not None else read_rules_in_code(function)
    implied = make_implied_rules(vocabulary)
    stated = {"unknown_id": None} if code is not None and code.drops_unknown else function.stated_rules
    implied = replace(implied, **stated)
    plain = implied if rules is None else rules
    look_up = TextEncoder(TextRules(unknown_id=plain.unknown_id), vocabulary.tokens).look_up
    for most_seconds_on_own, most_seconds in ((_SECONDS_TO_REFUSE, _SECONDS_TO_REFUSE), (math.inf, _MOST_SECONDS)):
        own = _yield_texts_and_log_duration(function, texts, most_seconds_on_own)
        raising: dict[str, InputError] = {}
        owners = _run_and_collect_errors(function, own, look_up, vocabulary, raising)
        made = _run_function_on_generated_texts(function, look_up, vocabulary, most_seconds, raising)
        gives_ids = any(one.tokens is None for one in [*owners, *made])
        if rules is not None and not gives_ids:
            # The tokens of a function are compared before they are cut, and without the ids around theirs.
            plain = _replace_members_of_rules(rules, _UNFRAMED)
        if not owners and not made:
            _run_function(function, _list_ordinary_words(vocabulary)[0], look_up, vocabulary)
        usual = [*owners, *(one for one in made if has_ordinary_characters(one.text))]
        pairs = [(one.text, one.ids) for one in usual]
        if rules is not None and gives_ids:
            plain = _find_padding_outside_function(plain, vocabulary, pairs)
            # The verdict says then that widths were not compared.
            function.gives_ids = function.gives_ids and plain == rules
        best = plain if rules is not None else _find_best_rules(code, implied, vocabulary, pairs, gives_ids=gives_ids)
        encoder = _refuse_other_tokens(best, rules, usual, vocabulary, code)
        lacking = _refuse_errors_on_known_tokens(encoder, vocabulary, {*texts}, raising)
        if function.seconds < _SECONDS_TO_REFUSE:
            break
    same = (
        "ids, up to padding and cuts" if gives_ids and rules not in (None, plain) else "ids" if gives_ids else "tokens"
    )
    if rules is None:
        same = (
            "tokens. It gives a string: whether your code splits it so was not compared"
            if function.gives_string
            else same
        )
        _log_agreement(best, make_implied_rules(vocabulary), usual, texts, code, same=same)
    elif same not in ("ids", "tokens"):
        _log.info("The text rules and your tokenizer give %d texts the same %s", len(usual), same)
    rare = [one for one in made if one not in usual and not gives_owner_ids(encoder, one.text, one.ids)]
    if lacking and isinstance(best, TextRules):
        _log.warning(
            "Your tokenizer raises an error for tokens that the vocabulary lacks, as in %s. The bundle %s",
            short_repr(lacking, 40),
            "leaves them out" if best.unknown_id is None else f"gives them the id {best.unknown_id}",
        )
    if rare:
        _log.warning(
            "Your tokenizer splits %d texts with rare characters in another way than the rules: %s",
            len(rare), _describe_first_difference(encoder, min(rare, key=lambda one: len(one.text))),
        )  # fmt: skip
    return best if rules is None else rules


def _run_and_collect_errors(
    function: OwnersFunction, texts: Iterable[str], look_up: Any, vocabulary: Vocabulary, raising: dict[str, InputError]
) -> list[_Compared]:
    """Run the owner's function on texts, and return its results. If the function fails on a text, add the error to the
    dict `raising` and leave out the text. `look_up` converts tokens to ids."""
    found = []
    for text in texts:
        try:
            found.append(_run_function(function, text, look_up, vocabulary))
        except InputError as error:
            raising[text] = error
    return found


def _refuse_errors_on_known_tokens(
    encoder: TextEncoder, vocabulary: Vocabulary, texts: Container[str], raising: Mapping[str, InputError]
) -> str:
    """Raise the first error of the function on one of the owner's `texts`, unless the error names a token that the
    vocabulary lacks. Return the first text whose error names such a token, or an empty string. `raising` has the error
    for each text on which the function failed."""
    known, lacking = {*vocabulary.tokens}, ""
    for text, error in raising.items():
        said = "" if error.__cause__ is None else str(error.__cause__)
        tokens = encoder.tokens(text) if said and isinstance(encoder.rules, TextRules) else []
        if any(token in said for token in {*tokens} - known):
            lacking = lacking if lacking.strip() else text
        elif text in texts:
            raise error
    return lacking


def _replace_members_of_rules(rules: AnyTextRules, members: Mapping[str, Any]) -> AnyTextRules:
    """Return a copy of text rules with the values in `members`, such as {"min_width": None}. In the rules of a subword
    tokenizer, only the truncation is switched off, whatever `members` has."""
    return replace(rules, **(members if isinstance(rules, TextRules) else {"max_tokens": None}))


def _find_padding_outside_function(rules: AnyTextRules, vocabulary: Vocabulary, pairs: Sequence[Pair]) -> AnyTextRules:
    """Return text rules that the user gave without their padding, or without padding and truncation, if the function's
    ids agree with the rules only then: other code of the owner pads and cuts. Otherwise, return the rules
    unchanged."""
    for members in ({}, {"min_width": None}, _UNPADDED):
        tried = _replace_members_of_rules(rules, members)
        encoder = TextEncoder(tried, vocabulary.tokens)
        if all(gives_owner_ids(encoder, *pair) for pair in pairs):
            return tried
    return rules


def _refuse_other_tokens(
    best: AnyTextRules,
    rules: AnyTextRules | None,
    compared: Sequence[_Compared],
    vocabulary: Vocabulary,
    code: RulesInCode | None,
) -> TextEncoder:
    """Raise an InputError if the text rules `best`, with or without the truncation of `rules`, give a text other ids
    than the owner's function. Otherwise, return an encoder with the rules that agree. `rules` are those that the user
    gave, `compared` has the function's results, and `code` is what the function's source code shows."""
    encoder = TextEncoder(best, vocabulary.tokens)
    wrong = [one for one in compared if not gives_owner_ids(encoder, one.text, one.ids)]
    if wrong and rules is not None and rules.max_tokens is not None:
        encoder = TextEncoder(replace(best, max_tokens=rules.max_tokens), vocabulary.tokens)
        wrong = [one for one in compared if not gives_owner_ids(encoder, one.text, one.ids)]
    if wrong:
        agreed = len(compared) - len(wrong)
        raise _make_refusal(encoder, vocabulary, wrong[0], (agreed, len(compared)), code, rules or best)
    return encoder


def _log_agreement(
    best: AnyTextRules,
    implied: TextRules,
    usual: Sequence[_Compared],
    texts: Sequence[str],
    code: RulesInCode | None,
    *,
    same: str,
) -> None:
    """Log that the rules `best` and the function agree on all texts, and how many texts were compared. Also log the
    expressions in the function's source code that no text rule can do and whose effect no text shows. `same` names
    what is equal, "tokens" or "ids"."""
    found, compared = "The text rules", {one.text for one in usual}
    if isinstance(best, TextRules):
        written = write_rules_option(best, implied, () if code is None else code.steps)
        found = f"--rules {shlex.quote(written)}" if len(written) <= LONGEST_OPTION else describe_rules(best)
    counts = {"of yours": len(compared & {*texts}), "made of words of the vocabulary": len(compared - {*texts})}
    said = " and ".join(f"{count:,} texts {origin}" for origin, count in counts.items() if count)
    _log.warning("%s: the rules and your tokenizer split %s into the same %s", found, said, same)
    if code is not None and code.unsaid:
        _log.warning(
            "%s No compared text shows the difference. Give texts that show it by --texts or --pairs",
            _describe_code_without_rule(code),
        )


def _find_best_rules(
    code: RulesInCode | None, implied: TextRules, vocabulary: Vocabulary, pairs: Sequence[Pair], *, gives_ids: bool
) -> TextRules:
    """Return the text rules that give the function's ids to the most texts. Prefer rules that the function's source
    code (`code`) shows, unless other rules agree with more than twice as many texts. `implied` has the rules that the
    vocabulary implies, and `pairs` has texts with the function's ids."""
    tried = [] if code is None else _make_text_rules_from_code(code, implied)
    find = functools.partial(
        find_rules_from_ids, implied, vocabulary.tokens, pairs, tried_first=tried, may_have_outer_ids=gives_ids,
        # A list of the words that these texts lack would leave out too few of others.
        may_have_stop_words=False,
    )  # fmt: skip
    best, agreed = find()
    if tried and agreed < len(pairs):
        # Other rules agree by chance: the code is what is known.
        of_code, agreed_of_code = find(try_usual_rules=False)
        best = of_code if 2 * agreed_of_code >= agreed else best
    return best


def read_split_in_code(code: str, rules: TextRules) -> TextRules | None:
    """Return text rules that split texts as a function `words` does, found from its source code. Return None if no
    rules do the same. The code is run, but the function is not called.

    Args:
        code: the source code that defines the function, with all that it needs.
        rules: the rules whose widths, first and last ids, and id of unknown words are kept.

    Example:
        >>> read_split_in_code("def words(text): return text.split()", TextRules()).tokenizer
        'whitespace'
    """
    names: dict[str, Any] = {"__name__": "pocketrnn_words"}
    # As `inspect` finds the source of a function.
    linecache.cache[_WRITTEN_FILE] = (len(code), None, code.splitlines(keepends=True), _WRITTEN_FILE)
    with contextlib.suppress(Exception):
        exec(compile(code, _WRITTEN_FILE, "exec"), names)  # noqa: S102 - the owner's code, as for an export
    found = read_rules_in_code(names["words"]) if "words" in names else None
    if found is None or found.unsaid:
        return None
    rules = replace(rules, **read_unknown_word_rule_from_names(names))  # type: ignore[arg-type]
    of_code = _make_text_rules_from_code(found, rules)[-1]
    return replace(of_code, **{name: getattr(rules, name) for name in ("max_tokens", "cut_side")})


def list_compared_texts(function: Tokenizer, vocabulary: Vocabulary, texts: Sequence[str]) -> set[str]:
    """Return the set of texts on which text rules are compared with the owner's function.

    Args:
        function: the owner's function, which returns the tokens or ids of a text.
        vocabulary: the tokens.
        texts: the owner's texts.

    Example:
        >>> len(list_compared_texts(str.split, read_vocabulary(["<unk>", "oil"]), ["Oil!"])) > 200
        True
    """
    function = find_how_to_call_owner_function(function, vocabulary)
    own = _run_and_collect_errors(function, texts, list, vocabulary, {})
    made = _run_function_on_generated_texts(function, list, vocabulary)
    return {*(one.text for one in own), *(one.text for one in made if has_ordinary_characters(one.text))}


def _make_text_rules_from_code(code: RulesInCode, implied: TextRules) -> list[TextRules]:
    """Return a list of text rules that do what a function's source code shows. If the code cuts texts, the list also
    has the rules without this cut, since the code may count characters and not tokens. `implied` has the members of the
    rules that the code does not show."""
    lower = bool(code.steps) and code.steps[0] == "lowercase"
    lower = lower or code.tokenizer == "basic_english"
    steps = code.steps[1:] if code.steps and code.steps[0] == "lowercase" else code.steps
    made: dict[str, Any] = {
        "tokenizer": code.tokenizer or "whitespace",
        "lowercase": lower,
        "steps": cleaning(*steps),
        "stop_words": code.stop_words,
        "max_tokens": code.max_tokens,
        "cut_side": code.cut_side if code.max_tokens else "right",
    }
    found = replace(implied, **made)
    return [found, replace(found, max_tokens=None, cut_side="right")] if code.max_tokens else [found]


def _run_function_on_generated_texts(
    function: OwnersFunction,
    look_up: Any,
    vocabulary: Vocabulary,
    most_seconds: float = _MOST_SECONDS,
    raising: dict[str, InputError] | None = None,
) -> list[_Compared]:
    """Run the owner's function on words of the vocabulary and on generated texts, and return its results. A text on
    which the function fails is left out, and its error is added to the dict `raising`. Once the calls have taken
    `most_seconds`, most further texts are left out."""
    words = _list_ordinary_words(vocabulary)
    texts = _yield_texts_and_log_duration(
        function, [*generate_texts_for_tokenizer_comparison(words), *words], most_seconds
    )
    found = _run_and_collect_errors(function, texts, look_up, vocabulary, {} if raising is None else raising)
    # A word that the function does not give back, such as "n't", comes from another text.
    return [one for one in found if one.text not in words or one.tokens in ([one.text], None)]


def _yield_texts_and_log_duration(function: OwnersFunction, texts: Sequence[str], most_seconds: float) -> Iterator[str]:
    """Yield the texts with which the owner's function is to be called, and log once if the calls take long. After
    `most_seconds`, yield only the first few texts and those whose result is already known."""
    before, is_told, left_out = function.seconds, False, 0
    for done, text in enumerate(log_item_progress(texts, "Calling your tokenizer")):
        if done >= _FEWEST_TEXTS and function.seconds > most_seconds and text not in function.results:
            left_out += 1
            continue
        if not is_told and function.seconds - before > _SECONDS_TO_ESTIMATE:
            most = min(function.seconds / len(function.results) * len(texts), most_seconds)
            is_told = most > _SECONDS_TO_REFUSE
            if is_told:
                _log.info("Calling your tokenizer with %d texts, which takes about %.0f seconds", len(texts), most)
        yield text
    if left_out and most_seconds == _MOST_SECONDS and function.seconds > before:
        _log.warning(
            "Your tokenizer is slow: it was called for %.0f seconds, and %d of the %d texts that are made for the "
            "comparison were left out",
            function.seconds, left_out, len(texts),
        )  # fmt: skip


def _list_ordinary_words(vocabulary: Vocabulary) -> list[str]:
    """Return the first words of a vocabulary, without special tokens such as "<unk>"."""
    words = [token for token in vocabulary.tokens if not token.startswith(PLACEHOLDER)]
    return [word for word in words if any(map(str.isalnum, word)) and word[0] not in "<["][:_WORDS_TO_COMPARE]


def _run_function(
    function: Tokenizer, text: str, look_up: Callable[[list[str]], list[int]], vocabulary: Vocabulary
) -> _Compared:
    """Run the owner's function on a text. Return the text with its tokens and ids. Raise an InputError if the result is
    neither tokens nor ids."""
    try:
        given: Any = function(text)
    # Whatever the owner's function raises.
    except (Exception, SystemExit) as error:
        raise InputError(
            f"Your tokenizer raises {type(error).__name__} on the text {short_repr(text)}: {first_line(error)}.",
            write_remedy_of_tokenizer_error(error),
        ) from error
    if not hasattr(given, "__iter__") or isinstance(given, Mapping):
        raise InputError(
            f"Your tokenizer returns {brief_text(given)} for {short_repr(text)}, but must return tokens or ids.",
            "Give the function that returns the tokens or ids of a text. If your function returns a label, give the "
            "function that splits texts for it.",
        )
    tokens: list[Any] = [*given]
    if tokens and all(type(token) is int and token >= 0 for token in tokens):
        return _Compared(text, None, tokens)
    if wrong := [token for token in tokens if not isinstance(token, str)]:
        raise InputError(
            f"Your tokenizer returns the token {brief_text(wrong[0])} for {short_repr(text)}, but each token must be a "
            "string.",
            "Give a function that takes a text and returns its tokens or its ids. Without such a function, give "
            f"`example_ids`, or {write_external_argument(vocabulary, {})}.",
        )
    return _Compared(text, tokens, look_up(tokens))


def _make_refusal(
    encoder: TextEncoder,
    vocabulary: Vocabulary,
    first_wrong: _Compared,
    agreed_and_compared: tuple[int, int],
    code: RulesInCode | None,
    framing_rules: AnyTextRules,
) -> InputError:
    """Make the error for a function with which no text rules agree. The message has the best rules (`encoder.rules`),
    their first difference from the function (`first_wrong`), and the expressions in `code` that no rule can do. It
    advises to let the function itself split texts, with the widths of `framing_rules`."""
    rules, (agreed, compared) = encoder.rules, agreed_and_compared
    difference = _describe_first_difference(encoder, first_wrong)
    counted = f"agree on {agreed} of {compared} texts, most of them made of words of the vocabulary."
    problem, said, option = f"{difference} These rules {counted}", list[str](), ""
    if code is not None and code.unsaid:
        problem = f"{_describe_code_without_rule(code)} {difference}"
        if isinstance(rules, TextRules) and any(
            all(getattr(one, name) == getattr(rules, name) for name in SPLITTING_MEMBERS)
            for one in _make_text_rules_from_code(code, rules)
        ):
            said.append(f"All else in it is read as rules, which {counted}")
        else:
            said.append(f"These rules {counted}")
    if isinstance(rules, TextRules):
        option = write_rules_option(rules, make_implied_rules(vocabulary), () if code is None else code.steps)
        if len(option) <= LONGEST_OPTION:
            said.append(f"The nearest rules are --rules {shlex.quote(option)}.")
            option = ""
    said.append("docs/text-rules.md says what rules can do.")
    # The function stays beside these rules: it splits the texts that are compared.
    own_code = json.dumps({"tokenizer": EXTERNAL, **collect_width_members(framing_rules)})
    advice = {"condition": "To keep it,"} if code is not None and code.unsaid else {}
    said.append(advise_external_tokenizer(vocabulary, framing_rules, **advice))
    return OptionCorrectionsError(problem, " ".join(said), {"rules": own_code}, option)


def _describe_code_without_rule(code: RulesInCode) -> str:
    """Return a sentence with the expressions of the function's source code that no text rule can do exactly."""
    more = "; and others" * (len(code.unsaid) > _NAMED_PLACES)
    return f"No text rule does exactly what your tokenizer does in {'; '.join(code.unsaid[:_NAMED_PLACES])}{more}."


def _describe_first_difference(encoder: TextEncoder, one: _Compared) -> str:
    """Return a sentence with the first difference between the function's tokens or ids of a text and those by the
    rules. Two unknown words count as equal, since they have the same id."""
    rules: Any = encoder.rules
    if one.tokens is None:
        ours: Sequence[Any] = encoder.encode(one.text)
        index, pair = next((i, pair) for i, pair in enumerate(zip_longest(one.ids, ours)) if pair[0] != pair[1])
        theirs, own = ("nothing more" if i is None else f"the id {brief_text(i)}" for i in pair)
    else:
        rows = enumerate(zip_longest(one.tokens, encoder.tokens(one.text)))
        index, (their, own_word) = next(
            (i, (a, b)) for i, (a, b) in rows if a is None or b is None or encoder.look_up([a]) != encoder.look_up([b])
        )
        theirs, own = ("nothing more" if word is None else short_repr(word) for word in (their, own_word))
    return (
        f"{short_repr(one.text)}: at index {index} your tokenizer gives {theirs}, but {describe_rules(rules)} gives "
        f"{own}."
    )


_TEXTS: Final = 300
_WORDS: Final = 2_000
# Code cuts at 512 words and fewer; one text of more costs nothing.
_LONGEST: Final = 1_200
# Public cleaning functions look for these: links, tags, mentions, numbers, short and long words, quotes.
_FOUND_IN_TEXTS: Final = (
    "a", "I", "x", "of", "the", "The", "don't", "won't", "it's", "I'm", "they'll", "we've", "rock-n-roll", "U.S.",
    "e.g.", "http://t.co/a?b=1", "https://www.a.org/b_c", "www.a.com", "me@a.org", "@user_1", "#tag", "<b>", "</b>",
    "<br />", "<a href='b'>", "&amp;", "3", "42", "2024", "3.14", "1,000", "50%", "$5", "2nd", "a1b2", "9am", "--",
    "...", "!!!", "?!", ":", ";)", "(so)", "[1]", "{x}", '"quoted"', "'quoted'", "`code`", "snake_case", "and/or", "+",
    "=", "~", "^", "|", "\\", "*bold*", "sooooo", "WOW", "iPhone", "naïve", "café", "Über", "ß", "the the",
    "antidisestablishmentarianism", "supercalifragilisticexpialidocious",
)  # fmt: skip
# Fewer pipelines were made with these in mind, so that a difference at one of them is told and not refused.
_RARE: Final = ("“so”", "it’s", "—", "…", "€5", "½", "x²", "😀", "日本語", "привет", "İ", "\u200b", "\x85")
_SPACES: Final = (" ", " ", " ", " ", "  ", "\n", "\t", ", ", ". ", "! ", " - ", "", "/")


def generate_texts_for_tokenizer_comparison(words: Sequence[str]) -> list[str]:
    """Generate about 300 texts on which two tokenizers are compared: the words of a vocabulary, mixed with strings that
    cleaning functions usually look for, such as links. Every call with the same words gives the same texts. The last
    text is long, to show whether a tokenizer cuts texts."""
    draw = random.Random(7)  # noqa: S311 - texts, not secrets
    known = [*words[:_WORDS]] or ["word"]
    made = ["", " ", *_FOUND_IN_TEXTS, *_RARE]
    while len(made) < _TEXTS - 1:
        rare = _RARE if len(made) % 4 == 0 else ()
        parts = [
            draw.choice((*_FOUND_IN_TEXTS, *rare))
            if draw.random() < 0.5
            else _draw_variant_of_word(draw, draw.choice(known))
            for _ in range(draw.randint(2, 12))
        ]
        made.append("".join(part + draw.choice(_SPACES) for part in parts))
    return [*made, " ".join(draw.choice(known) for _ in range(_LONGEST))]


def has_ordinary_characters(text: str) -> bool:
    """Return whether a text contains only ASCII characters and Latin letters whose lower case is one character."""
    return all(one.isascii() or (one < "\u0180" and one.isalpha() and len(one.lower()) == 1) for one in text)


def _draw_variant_of_word(draw: random.Random, word: str) -> str:
    """Return the word or, at random, a variant of it: with capitals, or with an s at its end."""
    return draw.choice((word, word, word.title(), word.upper(), f"{word}s", f"{word}'s"))
