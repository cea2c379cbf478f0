"""Replace the words for texts in messages of shared code by the words for sequences of numbers: tokens become steps."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pocketrnn.errors import PocketRNNError, SequenceError
from pocketrnn_export.numbers.table_of_proof_samples import LOOKUP
from pocketrnn_export.progress import filter_log_records

# The words for texts in messages of shared code, with the words for sequences; the characters around a word show
# whether it is in a call or a sentence.
_WORDS: Final = (
    (r"token ids", "samples"), (r"texts", "sequences"), (r"text", "sequence"), (r"Texts", "Sequences"),
    (r"Text", "Sequence"), (r"tokens\.t\(\)", "samples.transpose(0, 1)"), (r"(?<=[(=])tokens", "samples"),
    (r"tokens(?=\.\w|\[)", "samples"), (r"(?<=, )tokens(?=\))|(?<=module, )tokens", "samples"), (r"tokens", "steps"),
    (r"token", "step"), (r"vocabulary", "table"), (r"words", "steps"), (r"word", "step"), (r"ids", "rows"),
    (r"id", "row"),
)  # fmt: skip
# Code of the owner, files and pages are not changed, nor a word inside another word.
_KEPT: Final = r"`[^`]*`|[\w.~-]*/[\w./-]+|[\w-]+\.(?:py|ipynb|json|md)\b"
# Advice for texts, and its replacement for numbers, whose rules never cut a longer sequence.
ADVICE_FOR_TEXTS: Final = (
    (re.compile(r'If no text is longer, let the rules cut texts: "max_width": (\d+)\.'),
     r"If every sequence has \1 steps, say so: steps=\1, or --steps \1."),
    (re.compile(r"let the text rules cut texts: max_width"), "cut sequences before the bundle is given them"),
    (re.compile(r"Call the module on ids yourself, module\(torch\.randint\(\d+, \(3, 7\)\)\)"),
     "Call the module on samples [batch, time, channels] yourself, such as torch.randn(3, 7, channels)"),
    (re.compile(r"let the text rules cut or pad texts: max_width, min_width"),
     "have every sequence of one number of steps: steps=, or --steps"),
    (re.compile(r"\(min_width and max_width of the rules\)"), "(steps=, or --steps)"),
    (re.compile(r"A bundle is given nothing but a text\."),
     "A bundle is given nothing but a text. Further numbers of each step, such as a mask or the time since the step "
     'before, can be channels of it: --call "module(samples[..., :-1], samples[..., -1])", say.'),
    (re.compile(r"let the text rules pad and cut \(min_width, max_width\), outside of forward"),
     "have every sequence of one number of steps: steps=, or --steps"),
    (re.compile(r"Give example texts for which this value is different \(example_texts=, --texts\)"),
     "Give sequences for which this value is different: sequences=, or --sequences"),
)  # fmt: skip
# The words for logits and labels, which become values for a module of values.
_OF_LABELS: Final = re.compile(r"(?<![\w'\"-])(?:label for each logit|label|logit)(s)?(?![\w'\"-]| each)")
_SAID_OF_TEXTS: Final = re.compile(
    rf"({_KEPT})|(?<![\w'\"-])(?:{'|'.join(f'({word})' for word, _ in _WORDS)})(?![\w'\"-])"
)


def reword_sentence_on_texts_for_numbers(sentence: str) -> str:
    """Reword a sentence about texts for sequences of numbers: "tokens" becomes "steps", and "ids" becomes "rows". Code
    in backquotes and file names stay as they are."""

    def choose_replacement(found: re.Match[str]) -> str:
        which = found.lastindex or 1
        return found[0] if which == 1 else _WORDS[which - 2][1]

    for of_texts, of_sequences in ADVICE_FOR_TEXTS:
        sentence = of_texts.sub(of_sequences, sentence)
    return _SAID_OF_TEXTS.sub(choose_replacement, sentence.replace(LOOKUP, ""))


@contextmanager
def reword_messages_for_numbers(*, of_values: bool) -> Iterator[None]:
    """While the block runs, reword the exporter's log records and errors, which speak of texts, for sequences of
    numbers. A SequenceError is not changed, since it speaks of sequences already.

    Args:
        of_values: whether the module gives values; then "logit" and "label" become "value".
    """

    def choose_word_for_value(found: re.Match[str]) -> str:
        return f"{'name for each ' * (' ' in found[0])}value{found[1] or ''}"

    def reword_sentence(sentence: str) -> str:
        sentence = reword_sentence_on_texts_for_numbers(sentence)
        return _OF_LABELS.sub(choose_word_for_value, sentence) if of_values else sentence

    def reword_record(record: logging.LogRecord) -> bool:
        record.msg, record.args = reword_sentence(record.getMessage()), ()
        return True

    try:
        with filter_log_records(reword_record):
            yield
    except SequenceError:
        raise
    except PocketRNNError as error:
        kind: Callable[[str, str], PocketRNNError] = type(error)
        told = kind(reword_sentence(error.problem), reword_sentence(error.remedy))
        # Keep the error's other attributes, by which the line of the problem is found.
        vars(told).update({**vars(error), **{name: getattr(told, name) for name in ("problem", "remedy")}})
        raise told from error.__cause__
