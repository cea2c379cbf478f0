"""Find the text rules of the owner's code with which a module gives its owner's answers, before the search for others.

That search takes minutes; what the code shows is tried within seconds.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from pocketrnn.text import EXTERNAL, TextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn_export.vocabularies.answer_distances import (
    AnsweredText,
    AnswerSource,
    Row,
)
from pocketrnn_export.vocabularies.candidate_text_rules import describe_rules
from pocketrnn_export.vocabularies.causes_of_different_answers import (
    MOST_TEXTS,
    Explanation,
    answer_texts,
    find_other_truncation_or_padding,
    list_wrong_rows,
    replace_rules,
)

_log = logging.getLogger(__name__)
# Lists the functions of the owner's code that may split texts, as --tokenizer takes them, each with its text rules;
# None if no rules do the same. They have the widths and ids of the given rules.
ListRulesInCode: TypeAlias = Callable[[TextRules], Iterable[tuple[str, TextRules | None]]]
# The functions whose rules are tried with other widths, too: each takes seconds.
_WITH_WIDTHS: Final = 2


def find_agreeing_rules_in_code(
    source: AnswerSource,
    rows: Sequence[Row],
    others: Sequence[AnsweredText],
    tolerance: float,
    list_rules_in_code: ListRulesInCode,
) -> Explanation | None:
    """Find the function of the owner's code whose text rules give all of the owner's answers, also with another width.
    Return its rules, or the option that names it if the answers are labels only, which other rules may give, too.
    Return None if there is none; then log which function seems to split texts.

    Args:
        source: the module, with the rules that do not give these answers.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
        others: more texts with the owner's answers. The rules must give these, too.
        tolerance: the largest allowed difference of an answer.
        list_rules_in_code: lists the functions of the code, with their rules.
    """
    given = source.text.rules if type(source.text) is TextInput else None
    if not isinstance(given, TextRules) or given.tokenizer == EXTERNAL:
        return None
    functions, tried = list[str](), {given}
    agreed = len(rows) - len(list_wrong_rows(source, rows, tolerance))
    for option, rules in list_rules_in_code(given):
        functions.append(option)
        if rules is None or rules in tried:
            continue
        tried.add(rules)
        by_code = replace_rules(source, rules)
        found = answer_texts(by_code, [one for one, _ in rows])
        wrong = list_wrong_rows(by_code, found, tolerance)
        if not wrong and found:
            rest = answer_texts(by_code, others)
            wrong = [len(found) + i for i in list_wrong_rows(by_code, rest, tolerance)]
            found = [*found, *rest]
        if wrong and len(found) - len(wrong) > agreed and len(tried) <= _WITH_WIDTHS + 1:
            some = [*wrong[:MOST_TEXTS], *({*range(len(found))} - {*wrong})][:MOST_TEXTS]
            asked = [found[i] for i in some]
            cut = find_other_truncation_or_padding(
                by_code, asked, [*range(min(len(wrong), len(asked)))], tolerance,
                others=[*(found[i][0] for i in range(len(found)) if i not in {*some}), *others],
            )  # fmt: skip
            if cut is not None:
                return _explain(option, cut.rules, rows)
        if found and not wrong:
            return _explain(option, rules, rows)
    if functions:
        _log.info(
            "If the search takes long, name the function of your code that seems to split texts: --tokenizer %s",
            shlex.quote(functions[0]),
        )
    return None


def _explain(option: str, rules: Any, rows: Sequence[Row]) -> Explanation:
    """Return the explanation that the rules of a function of the owner's code give all answers."""
    said = f"All texts agree with the rules of your code's {option}: {describe_rules(rules)}."
    if any(isinstance(one.answer, Mapping) for one, _ in rows):
        return Explanation(said, rules, nearest=rules)
    return Explanation(said, nearest=rules, options={"tokenizer": option})
