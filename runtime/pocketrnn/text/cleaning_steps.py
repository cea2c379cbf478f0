"""The cleaning steps for a text before it is split: replacements, kept characters, lower-casing. All steps are data.

Readers of a bundle do not need regular expressions, so that all of them do the same; `cleaning_steps_from_re_sub.py`
writes those of notebooks as steps. A step works on code points only, and its sets are in the bundle as ranges, so that
a reader's Unicode version does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.code_point_cache import make_code_point_map
from pocketrnn.text.code_point_patterns import (
    Run,
    build_run_from_document,
    check_runs,
    make_run_document,
    make_run_search,
)
from pocketrnn.text.code_point_ranges import check_ranges, make_range_test
from pocketrnn.text.value_checks import check_string, convert_list_to_tuple

__all__ = [
    "CleaningStep",
    "Keep",
    "Lowercase",
    "Replace",
    "ReplaceRuns",
    "build_steps_from_documents",
    "chain_text_functions",
    "check_step_count_and_growth",
    "cleaning_function",
    "find_lowercasing_step",
    "make_step_document",
    "make_step_documents",
    "make_step_function",
]

# The longest list found in public notebooks replaces 300 misspellings.
MOST_STEPS: Final = 4096
# Spaces around a mark make 3 code points of one, an emoji's name 40. Steps that keep doubling would fill any memory.
MOST_GROWTH: Final = 64


@dataclass(frozen=True)
class Replace:
    """Replace every occurrence of `what` by `by`, from left to right. The replacement is not searched again.

    Attributes:
        what: 1 to 256 code points.
        by: up to 256 code points; "" deletes.

    Raises:
        InputError: a value is not of its type or length, or holds half of a UTF-16 surrogate pair.

    Example:
        >>> cleaning_function([Replace("'s", " 's")])("Nasa's probe")
        "Nasa 's probe"
    """

    packed_kind: ClassVar = 0
    what: str
    by: str

    def __post_init__(self) -> None:
        check_string(self.what, "The text that a step replaces", 1)
        check_string(self.by, "The replacement of a step", 0)


@dataclass(frozen=True)
class Keep:
    """Replace every code point outside `ranges` by `by`.

    Attributes:
        ranges: each one code point, or two: the first and the last of a range.
        by: up to 256 code points; "" deletes.

    Raises:
        InputError: a value has a wrong type or length, a range ends before it begins, or something holds half of a
            UTF-16 surrogate pair.

    Example:
        >>> cleaning_function([Keep(("az", "AZ", "'"), " ")])("It's 5 o'clock!")
        "It's   o'clock "
    """

    packed_kind: ClassVar = 1
    ranges: tuple[str, ...]
    by: str = ""

    def __post_init__(self) -> None:
        check_string(self.by, "The replacement of a step", 0)
        check_ranges(self.ranges, "The set that a step keeps")


@dataclass(frozen=True)
class ReplaceRuns:
    """Replace every run by `by`, from left to right. At each position, the first of `runs` that matches is used.

    Attributes:
        runs: 1 to 16 runs.
        by: up to 256 code points; "" deletes.
        word: ranges of the code points that words consist of. It is needed only if a run begins or ends at a word
            boundary; else it is empty.

    Raises:
        InputError: a value has a wrong type or length, or holds half of a UTF-16 surrogate pair.

    Example:
        >>> cleaning_function([ReplaceRuns((Run(("09",)),), "#")])("In 1969 and 1972")
        'In # and #'
    """

    runs: tuple[Run, ...]
    by: str = ""
    word: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_string(self.by, "The replacement of a step", 0)
        check_runs(self.runs, self.word)

    @property
    def packed_kind(self) -> int:
        """The number that stands for this kind of step in a packed file: 4 if a run needs word boundaries, else 3."""
        return 4 if self.word else 3


@dataclass(frozen=True)
class Lowercase:
    """Lower-case the text at this place among the steps. (`TextRules(lowercase=True)` does it before all steps.)

    Example:
        >>> cleaning_function([Replace("US", "usa"), Lowercase()])("US and us")
        'usa and us'
    """

    packed_kind: ClassVar = 2


# A packed file stores the kind of a step and, where the step has them, its `what`, `ranges` or `runs`, and its `by`.
CleaningStep = Replace | Keep | ReplaceRuns | Lowercase


def cleaning_function(steps: Iterable[CleaningStep]) -> Callable[[str], str]:
    """Make a function that applies the cleaning steps to a text, in their order."""
    return chain_text_functions([make_step_function(step) for step in steps])


def find_lowercasing_step(steps: Iterable[CleaningStep]) -> int:
    """Return the number of the first step that lower-cases a text, from 1; 0 if no step does."""
    return next((number for number, step in enumerate(steps, 1) if isinstance(step, Lowercase)), 0)


def chain_text_functions(functions: Sequence[Callable[[str], str]]) -> Callable[[str], str]:
    """Make a function that applies the first function to a text, and each further function to the result so far."""

    def apply_functions(text: str) -> str:
        for function in functions:
            text = function(text)
        return text

    return functions[0] if len(functions) == 1 else apply_functions


def check_step_count_and_growth(steps: Sequence[CleaningStep]) -> None:
    """Raise an InputError if there are more than 4,096 steps, or the steps can make a text more than 64 times as long.

    The growth is computed from the last step back to the first: at each step, the largest number of code points that
    this step and all later steps can make of one code point. The code points of a match share the length of its
    replacement.
    """
    if len(steps) > MOST_STEPS:
        raise InputError(
            f"There are {len(steps):,} cleaning steps, but at most {MOST_STEPS:,} are allowed.", "Give fewer steps."
        )
    weights: dict[str, float] = {}
    of_sets: list[tuple[Callable[[int], bool], float]] = []
    rest = largest = 1.0
    for step in reversed(steps):
        if isinstance(step, Lowercase):
            # U+0130 becomes two code points. The factor 2 is used for every character, so that readers do not need a
            # table.
            rest, weights, of_sets, grown = 2 * largest, {}, [], 2 * largest
        else:
            grown = sum(
                max(weights.get(point, 0.0), rest, *(weight for inside, weight in of_sets if inside(ord(point))))
                for point in step.by
            )
            if isinstance(step, Keep):
                rest = max(rest, grown)
            elif isinstance(step, ReplaceRuns):
                grown /= min(run.fewest_code_points for run in step.runs)
                if grown > rest:
                    of_sets.append(
                        (make_range_test(some for run in step.runs for part in run.sets for some in part), grown)
                    )
            else:
                grown /= len(step.what)
                for point in step.what:
                    weights[point] = max(weights.get(point, 0.0), rest, grown)
        largest = max(largest, grown)
        if largest > MOST_GROWTH:
            raise InputError(
                f"The cleaning steps can make a text grow more than {MOST_GROWTH} times in length.",
                "Give fewer or shorter replacements.",
            )


def make_step_documents(steps: Iterable[CleaningStep]) -> list[dict[str, Any]]:
    """Convert the steps to documents for classifier.json."""
    return list(map(make_step_document, steps))


def make_step_document(step: CleaningStep) -> dict[str, Any]:
    """Convert a step to a document for classifier.json."""
    match step:
        case Replace(what, by):
            return {"replace": what, "by": by}
        case Keep(ranges, by):
            return {"keep": list(ranges), "by": by}
        case ReplaceRuns(runs, by, word):
            return {
                "replace_runs": list(map(make_run_document, runs)),
                "by": by,
                **({"word": list(word)} if word else {}),
            }
        case Lowercase():
            return {"lowercase": True}


def build_steps_from_documents(documents: Iterable[Any]) -> tuple[CleaningStep, ...]:
    """Build steps from documents of classifier.json. Raise an InputError if a document is not a step."""
    return tuple(map(_build_step_of_document, documents))


def _build_step_of_document(document: Any) -> CleaningStep:
    """Build a cleaning step from its JSON object in classifier.json. Raise an InputError if the members of the object
    are not those of a step."""
    members = set(document) if isinstance(document, Mapping) else set()
    if members == {"lowercase"} and document["lowercase"] is True:
        return Lowercase()
    if members == {"replace", "by"}:
        return Replace(document["replace"], document["by"])
    if members == {"keep", "by"} and isinstance(document["keep"], list | tuple):
        return Keep(tuple(document["keep"]), document["by"])
    if members - {"word"} == {"replace_runs", "by"} and isinstance(document["replace_runs"], list):
        word = convert_list_to_tuple(document.get("word", []))
        return ReplaceRuns(tuple(map(build_run_from_document, document["replace_runs"])), document["by"], word)
    raise InputError(
        f"{short_repr(document)} is not a cleaning step.",
        'Write a step as {"replace": "...", "by": "..."}, {"keep": ["az"], "by": "..."}, {"lowercase": true} or '
        '{"sub": ["pattern", "..."]}.',
    )


def make_step_function(step: CleaningStep) -> Callable[[str], str]:
    """Make a function that applies one cleaning step to a text."""
    if isinstance(step, Lowercase):
        return str.lower
    if isinstance(step, Replace):
        return lambda text: text.replace(step.what, step.by)
    if isinstance(step, ReplaceRuns):
        find = make_run_search(step.runs, step.word)
        return lambda text: _replace_parts(text, find(text), step.by)
    inside = make_range_test(step.ranges)
    return make_code_point_map(lambda code: code if inside(code) else step.by)


def _replace_parts(text: str, parts: Iterable[tuple[int, int]], by: str) -> str:
    """Replace parts of a text by `by`. Each part is a pair (start, end)."""
    made, done = list[str](), 0
    for start, end in parts:
        made += [text[done:start], by]
        done = end
    return "".join([*made, text[done:]])
