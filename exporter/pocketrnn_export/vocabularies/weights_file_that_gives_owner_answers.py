"""Find the file, of those with weights of the same shapes, with whose weights a module gives its owner's answers, or
the files whose mean of the answers is the owner's."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from pocketrnn.text import AnyTextRules, TextEncoder, TextRules
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.vocabularies.answer_distances import (
    AnsweredText,
    AnswerSource,
    Probabilities,
    Row,
    may_give_answers,
    measure_distance,
    predict_probabilities,
)
from pocketrnn_export.vocabularies.causes_of_different_answers import (
    MOST_TEXTS,
    Explanation,
    choose_rows_to_count,
    count_agreeing_texts,
    find_other_rules,
    find_other_truncation_or_padding,
)
from pocketrnn_export.vocabularies.label_order_by_answers import SURELY

_log = logging.getLogger(__name__)
# How many wrong answers show whether a cut or a width helps, or a mean where answers are labels, and the seconds of the
# processor for all files, and for their means.
_FEW: Final = 8
_SECONDS: Final = 30.0


def find_agreeing_weights(
    sources: Sequence[tuple[str, AnswerSource]],
    answered: Sequence[AnsweredText],
    tolerance: float,
    *,
    of_other_rules: bool,
    own: AnswerSource | None = None,
) -> Explanation | None:
    """Find the file of weights with which a module gives its owner's answers to all texts, or the way to take its
    numbers, as logits or as probabilities, or both. If there is none, find several files so that the mean of their
    logits or probabilities gives these answers. With `of_other_rules`, then look for the file and the way with which
    surely more texts agree. Return None if there is none.

    Args:
        sources: for each file, its name and the module with its weights.
        answered: the texts with the owner's answers.
        tolerance: the largest allowed difference of an answer.
        of_other_rules: whether to try the usual text rules with the weights. Otherwise, only the given rules are tried,
            with other cuts and widths, which takes less time.
        own: the module with the weights that the user gave; they may be part of a mean, and its numbers may be taken
            otherwise. None to try only the sources.
    """
    tried = _list_sources_to_try(sources, answered, own)
    if not tried:
        return None
    if sources:
        _log.info("Trying the weights of files with the same shapes: %s", ", ".join(name for name, _ in sources))
    found: list[tuple[str, AnyTextRules, AnswerSource]] = []
    end = time.process_time() + _SECONDS
    # The lengths that code names are tried with each of them first.
    for only_named in (False,) if of_other_rules else (True, False):
        for name, source in log_item_progress(tried, "Trying the weights of other files") if not found else ():
            if time.process_time() > end:
                break
            if of_other_rules:
                rules = _find_agreeing_rules(source, answered, tolerance)
            else:
                rules = _find_agreeing_widths(source, answered, tolerance, only_named=only_named)
            found += [] if rules is None else [(name, rules, source)]
    if not found:
        mean = None if own is None or not sources else _find_agreeing_mean(
            sources, answered, tolerance, own, of_other_rules=of_other_rules
        )  # fmt: skip
        if mean is not None or own is None or not of_other_rules:
            return mean
        return _find_source_that_agrees_more(tried, answered, tolerance, own)
    name, rules, source = found[0]
    changed = "other text rules" if of_other_rules else "texts that are cut or padded otherwise"
    other_rules = [changed] if rules != source.text.rules else []
    said, options = _describe_source(name, source, own)
    others = [other for other, _, _ in found if other != name]
    also = f" Those in {others[0]} agree, too: probabilities in place of labels show the right ones." if others else ""
    return Explanation(
        f"All {len(answered):,} texts agree with {' and '.join([*said, *other_rules])}.{also}",
        rules if other_rules else None,
        options=options,
    )


def _list_sources_to_try(
    sources: Sequence[tuple[str, AnswerSource]], answered: Sequence[AnsweredText], own: AnswerSource | None
) -> list[tuple[str, AnswerSource]]:
    """List the files of weights to try, each with the module: the user's own file if the module's numbers may be taken
    otherwise, then the other files, and then these with the numbers taken otherwise."""
    given = [] if own is None else [(own.weights, own)]
    own_read, others_read = (
        [(name, read) for name, one in some for read in one.readings if may_give_answers(read, answered)]
        for some in (given, sources)
    )
    return [*own_read, *sources, *others_read]


def _describe_source(
    name: str, source: AnswerSource, own: AnswerSource | None
) -> tuple[list[str], dict[str, str | None]]:
    """Return what differs between a source that was tried and the user's own one: phrases for a sentence, and the
    options of `export` that change it. `name` is the file of weights of the source."""
    said: list[str] = []
    options: dict[str, str | None] = {}
    if own is None or name != own.weights:
        said, options = [f"the weights in {name}"], {"weights": name}
    if source.gives:
        options["gives"] = source.gives
        each = "as they are" if source.gives == "probabilities" else "put into a softmax or sigmoid once more"
        said.append(f"--gives {source.gives} (the numbers of your module, {each})")
    if own is not None and source.activation != own.activation:
        options["multi_label"] = "given" if source.activation == "sigmoid" else None
    return said, options


def _find_source_that_agrees_more(
    tried: Sequence[tuple[str, AnswerSource]],
    answered: Sequence[AnsweredText],
    tolerance: float,
    own: AnswerSource,
) -> Explanation | None:
    """Find the file of weights and the way to take the module's numbers with which the most texts agree, though not
    all. Return None if they are too few to be sure that these are the user's."""
    rows = [(one, numbers) for one in answered if (numbers := predict_probabilities(own, one.read)) is not None]
    if not rows or not any(isinstance(one.answer, Mapping) for one in answered):
        return None
    before = count_agreeing_texts(own, rows, tolerance)
    counts = [count_agreeing_texts(source, rows, tolerance) for _, source in tried]
    after = max(counts)
    if after - before < max(1, SURELY * math.sqrt(after + before)):
        return None
    said, options = _describe_source(*tried[counts.index(after)], own)
    texts = len(choose_rows_to_count(rows))
    return Explanation(
        f"{after} of {texts} texts agree with {' and '.join(said)}, in place of {before}. The others have another "
        "cause, which the next export looks for.",
        nearer_options=options,
    )


def _find_agreeing_mean(
    sources: Sequence[tuple[str, AnswerSource]],
    answered: Sequence[AnsweredText],
    tolerance: float,
    own: AnswerSource,
    *,
    of_other_rules: bool,
) -> Explanation | None:
    """Find files of weights whose mean of the logits or probabilities gives the owner's answers to all texts. Return
    None if there are none, if the user's own weights agree with more texts, or if there are too few wrong answers to
    tell."""
    rows = [(one, numbers) for one in answered if (numbers := predict_probabilities(own, one.read)) is not None]
    wrong = sum(measure_distance(one.answer, numbers, own) > tolerance for one, numbers in rows)
    if not rows or (wrong < _FEW and not any(isinstance(one.answer, Mapping) for one in answered)):
        return None
    find, end = _find_agreeing_rules if of_other_rules else _find_agreeing_widths, time.process_time() + _SECONDS
    least = max(1, count_agreeing_texts(own, rows, tolerance))
    every = [*([(own.weights, own)] if own.weights else []), *sources]
    for members in _yield_groups_of_similar_weight_files(every):
        for of_logits in (True, False):
            mean = _average_answers([source for _, source in members], of_logits=of_logits)
            if time.process_time() > end or count_agreeing_texts(mean, rows, tolerance) < least:
                continue
            if (rules := find(mean, answered, tolerance)) is None:
                continue
            names, is_other = [name for name, _ in members], rules != mean.text.rules
            return Explanation(
                f"All {len(answered):,} texts agree with the mean of the {'logits' if of_logits else 'probabilities'} "
                f"of {len(names)} files{' and other text rules' * is_other}: {', '.join(names)}. A bundle has one "
                f"module, so export a class that holds all of them.\n"
                f"{_write_class_of_mean(names, mean, of_logits=of_logits)}",
                rules if is_other else None,
                options={"source": "ensemble.py:Ensemble", "weights": None},
            )
    return None


def _yield_groups_of_similar_weight_files(
    sources: Sequence[tuple[str, AnswerSource]],
) -> Iterator[list[tuple[str, AnswerSource]]]:
    """Yield groups of at least two weight files that the owner's code may average: files whose names differ only by
    numbers, the largest group first, and then all files."""
    groups: dict[str, list[tuple[str, AnswerSource]]] = {}
    for name, source in sources:
        groups.setdefault(re.sub(r"\d+", "0", name), []).append((name, source))
    tried = sorted(groups.values(), key=len, reverse=True)
    for group in [*tried, *([[*sources]] if len(tried) > 1 else [])]:
        if len(group) > 1:
            yield sorted(group, key=lambda one: one[0])


def _average_answers(sources: Sequence[AnswerSource], *, of_logits: bool) -> AnswerSource:
    """Return a source whose answer to a text is the mean of the answers of several sources: the mean of their logits,
    or of their probabilities."""
    first = sources[0]

    def answer_ids(ids: Sequence[int]) -> Probabilities:
        numbers = np.stack([one.answer_ids(ids) for one in sources])
        if not of_logits:
            return np.asarray(numbers.mean(0), np.float64)
        # The logits but for a number that all of a text share, which changes no answer.
        least = np.finfo(np.float64).tiny
        raised = np.exp(np.log(np.maximum(numbers, least)).mean(0))
        if first.activation == "sigmoid":
            return np.asarray(raised / (raised + np.exp(np.log(np.maximum(1 - numbers, least)).mean(0))), np.float64)
        return np.asarray(raised / raised.sum(), np.float64)

    return replace(first, answer_ids=answer_ids, answer_text=lambda read: answer_ids(first.encode(read)), other=None)


def _write_class_of_mean(files: Sequence[str], source: AnswerSource, *, of_logits: bool) -> str:
    """Return the Python code of a module that answers with the mean of several modules, with a sentence that says where
    to save it. The module returns logits also for a mean of probabilities. `files` are the files of weights."""
    each = "torch.stack([member(x) for member in self.members])"
    if of_logits:
        mean = f"{each}.mean(0)"
    elif source.activation == "sigmoid" or source.has_one_output:
        mean = f"torch.logit({each}.sigmoid().mean(0))"
    else:
        mean = f"{each}.softmax(2).mean(0).log()"
    return f"""Save this as ensemble.py, and import your class in the place of Net:
  import torch
  from model import Net
  class Ensemble(torch.nn.Module):
      def __init__(self):
          super().__init__()
          self.members = torch.nn.ModuleList(Net(...) for _ in range({len(files)}))
          for member, file in zip(self.members, {[Path(one).as_posix() for one in files]}):
              member.load_state_dict(torch.load(file))
      def forward(self, x):
          return {mean}"""


def _find_agreeing_widths(
    source: AnswerSource, answered: Sequence[AnsweredText], tolerance: float, *, only_named: bool = False
) -> AnyTextRules | None:
    """Find a truncation or padding of texts with which all answers agree. Return the text rules with it, or unchanged
    if all answers agree without it. Return None if there are no such rules. With `only_named`, try only the lengths
    that the owner's code and files name."""
    few: list[Row] = []
    for one in answered:
        numbers = predict_probabilities(source, one.read)
        if numbers is not None and measure_distance(one.answer, numbers, source) > tolerance:
            few.append((one, numbers))
            if len(few) == _FEW:
                break
    if not few:
        rules: AnyTextRules = source.text.rules
        return rules
    # The longest text shows whether texts are cut, also if its answer agrees.
    longest = max(answered, key=lambda one: len(one.text))
    rows = [*few, (longest, few[0][1])]
    way = find_other_truncation_or_padding(
        source, rows, range(len(few)), tolerance, others=answered, only_named=only_named
    )
    return None if way is None else way.rules


def _find_agreeing_rules(
    source: AnswerSource, answered: Sequence[AnsweredText], tolerance: float
) -> AnyTextRules | None:
    """Return the first of the usual text rules with which all answers agree. Return None if there are none."""
    some = [(one, numbers) for one in answered[:MOST_TEXTS]
            if (numbers := predict_probabilities(source, one.read)) is not None]  # fmt: skip
    way = find_other_rules(
        source, some, tolerance, stops_before_rare=lambda: True, seconds=_SECONDS, stop_words=source.stop_words
    )
    if way is None or not isinstance(way.rules, TextRules):
        return None
    encoder = TextEncoder(way.rules, source.text.vocabulary)
    for one in answered[MOST_TEXTS:]:
        if measure_distance(one.answer, source.answer_ids(encoder.encode(one.text)), source) > tolerance:
            return None
    return way.rules
