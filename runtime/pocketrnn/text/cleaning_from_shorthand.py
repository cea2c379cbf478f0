"""Make cleaning steps from the forms in which people write them: names, replacements, and calls of `re.sub`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text.cleaning_steps import CleaningStep, Keep, Lowercase, Replace
from pocketrnn.text.code_point_ranges import find_ranges

__all__ = ["NAMED_STEPS", "cleaning"]

# string.punctuation, and what Keras' Tokenizer filters.
_PUNCTUATION: Final = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_KERAS_FILTERS: Final = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def cleaning(*steps: str | tuple[str, str] | tuple[str, str, str] | CleaningStep) -> tuple[CleaningStep, ...]:
    """Make cleaning steps from names, pairs (text, replacement), triples ("sub", pattern, replacement), or steps.

    Args:
        steps: in the order in which they are applied; docs/text-rules.md explains the names in `NAMED_STEPS`.

    Raises:
        InputError: a name is unknown, an argument has another form, or cleaning steps cannot do what `re.sub` does with
            the pattern.

    Example:
        >>> cleaning_function(cleaning("lowercase", ("<br />", " "), "remove_punctuation"))("Good,<br />Bad!")
        'good bad'
        >>> cleaning_function(cleaning(("sub", r"https?://\\S+", "URL")))("See https://a.b/c!")
        'See URL'
    """
    made: list[CleaningStep] = []
    for step in steps:
        if isinstance(step, CleaningStep):
            made.append(step)
        elif isinstance(step, str):
            if step not in NAMED_STEPS:
                raise InputError(
                    f"There is no cleaning step with the name {step!r:.60}.",
                    f"Give one of these names: {', '.join(NAMED_STEPS)}.",
                )
            made += NAMED_STEPS[step]()
        elif isinstance(step, tuple | list) and len(step) == 2:
            made.append(Replace(*step))
        elif isinstance(step, tuple | list) and len(step) == 3 and step[0] == "sub":
            made += _make_steps_of_re_sub(step[1], step[2])
        else:
            raise InputError(
                f"{short_repr(step)} is not a cleaning step.",
                "Give the name of a step, a pair (text, replacement), or ('sub', pattern, replacement).",
            )
    return tuple(made)


def _make_ranges_of_all_except(ascii_characters: str) -> tuple[str, ...]:
    """Return the ranges of all code points except these ASCII characters."""
    *most, last = find_ranges(lambda point: point not in ascii_characters, range(0x80))
    return (*most, last[0] + chr(sys.maxunicode))


def _make_steps_of_re_sub(pattern: str, by: str) -> tuple[CleaningStep, ...]:
    # Imported when needed: most bundles have steps that are written out.
    from pocketrnn.text.cleaning_steps_from_re_sub import convert_sub_to_steps

    return convert_sub_to_steps(pattern, by)


# torchtext 0.18, torchtext/data/utils.py, `_basic_english_normalize`, after lower-casing.
_BASIC_ENGLISH: Final = cleaning(
    ("'", " '  "), ('"', ""), (".", " . "), ("<br />", " "), (",", " , "), ("(", " ( "), (")", " ) "), ("!", " ! "),
    ("?", " ? "), (";", " "), (":", " "),
)  # fmt: skip
# The function `clean_str` in Kim's code for "Convolutional Neural Networks for Sentence Classification" (2014), which
# is often copied. It puts a backslash before brackets and question marks.
_CLEAN_STR: Final = cleaning(
    Keep(("AZ", "az", "09", "(", ")", ",", "!", "?", "'", "`"), " "),
    *((end, f" {end}") for end in ("'s", "'ve", "n't", "'re", "'d", "'ll")),
    (",", " , "), ("!", " ! "), ("(", " \\( "), (")", " \\) "), ("?", " \\? "), Lowercase(),
)  # fmt: skip
NAMED_STEPS: Final[Mapping[str, Callable[[], tuple[CleaningStep, ...]]]] = {
    "lowercase": lambda: (Lowercase(),),
    "remove_punctuation": lambda: (Keep(_make_ranges_of_all_except(_PUNCTUATION)),),
    "punctuation_to_space": lambda: (Keep(_make_ranges_of_all_except(_PUNCTUATION), " "),),
    "space_around_punctuation": lambda: tuple(Replace(point, f" {point} ") for point in _PUNCTUATION),
    "remove_digits": lambda: (Keep(_make_ranges_of_all_except("0123456789")),),
    "letters": lambda: (Keep(("AZ", "az"), " "),),
    "letters_and_digits": lambda: (Keep(("AZ", "az", "09"), " "),),
    "word_characters": lambda: _make_steps_of_re_sub(r"[^\w\s]", ""),
    "remove_urls": lambda: _make_steps_of_re_sub(r"https?://\S+|www\.\S+", ""),
    "remove_html_tags": lambda: _make_steps_of_re_sub("<.*?>", ""),
    "html_tags_to_space": lambda: _make_steps_of_re_sub("<.*?>", " "),
    "remove_mentions": lambda: _make_steps_of_re_sub(r"@\w+", ""),
    "remove_hashtags": lambda: _make_steps_of_re_sub(r"#\w+", ""),
    "remove_numbers": lambda: _make_steps_of_re_sub(r"\d+", ""),
    "collapse_spaces": lambda: _make_steps_of_re_sub(r"\s+", " "),
    "keras_filters": lambda: (Keep(_make_ranges_of_all_except(_KERAS_FILTERS), " "),),
    "basic_english": lambda: _BASIC_ENGLISH,
    "clean_str": lambda: _CLEAN_STR,
}
