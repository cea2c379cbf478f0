"""Modules made to mislead the exporter, in families. Each is exported, and compared with its owner's own call.

The modules are those of the tests. Each is exported as somebody would who knows nothing of it, and some are packed; the
result is asked about texts of every length up to `LENGTHS`, of some longer ones, and in batches, and compared with the
module itself, called as its owner does, one text at a time. `scripts/measure_proof modules` prints the table.
"""

from __future__ import annotations

import functools
import itertools
import logging
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn import Classifier
from pocketrnn.errors import LimitError, PocketRNNError
from pocketrnn.text import TextRules
from pocketrnn_export import export
from pocketrnn_export.intake.compiled_call_line import compile_call
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu
from pocketrnn_export.packing import pack

_TESTS: Final = Path(__file__).parents[1] / "tests"
sys.path += [str(_TESTS / "exporter"), str(_TESTS / "native"), str(_TESTS)]

__all__ = ["Misleading", "Outcome", "list_misleading_modules", "measure_outcomes"]

# Every length up to here, then some longer ones.
LENGTHS = 420
LONGER = (*range(590, 652), 699, 700, 701, 777, 1000, 2049)
# How far a logit or probability may be from the module's, of the largest number of the answer.
NEAR = 2e-4
_RULES: Final = TextRules("whitespace", padding_id=1, unknown_id=0, empty_id=0)


@dataclass(frozen=True)
class Misleading:
    """A module, and the facts about it that only its owner knows.

    Attributes:
        family: what it misleads about.
        name: of the module.
        made: makes it.
        call: how its owner calls it; None if no call without further inputs is right, so that it must be refused.
        classes, ids, padding_id: of the classifier.
        told: what the bundle must say that it assumes.
        probabilities: whether it gives probabilities, of one unit or of each label.
        options: further arguments of `export`.
        packed: whether the bundle's packed file answers in its place.
        channels: how many numbers a step has, for what takes sequences of numbers; None for what takes texts.
    """

    family: str
    name: str
    made: Callable[[], nn.Module]
    call: str | None
    classes: int
    ids: int
    padding_id: int = 1
    told: str = ""
    probabilities: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    packed: bool = False
    channels: int | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `export` other than the module and the bundle's path.

        Example:
            >>> next(list_misleading_modules()).arguments["labels"]
            ['label 0', 'label 1', 'label 2', 'label 3']
        """
        labels = [f"label {i}" for i in range(self.classes)]
        if self.channels is not None:
            return {"labels": labels, "channels": self.channels, **self.options}
        words = [f"w{i}" for i in range(self.ids)]
        words[self.padding_id] = "<pad>"
        rules = replace(_RULES, padding_id=self.padding_id)
        return {"labels": labels, "vocabulary": words, "rules": rules, **self.options}


@dataclass(frozen=True)
class Outcome:
    """The outcome for one module: `right`, `refused`, `wrong` or `died`; whether a limit is stated; and a
    description."""

    family: str
    name: str
    verdict: str
    limited: bool
    what: str


def measure_outcomes(processes: int = 1) -> Iterator[Outcome]:
    """Measure the outcome for each module, in the order of `misleading`.

    Example:
        >>> sum(one.verdict == "wrong" for one in measure_outcomes())
        0
    """
    count = len(_list_all_modules())
    # A process that runs out of memory is one module's, and modules hold functions that no process can be sent.
    with multiprocessing.get_context("spawn").Pool(processes, _use_one_thread, maxtasksperchild=20) as pool:
        yield from pool.imap(_measure_outcome_at, range(count))


@functools.cache
def _list_all_modules() -> tuple[Misleading, ...]:
    return tuple(list_misleading_modules())


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)


def _measure_outcome_at(place: int) -> Outcome:
    return _measure_outcome(_list_all_modules()[place])


def list_misleading_modules() -> Iterator[Misleading]:
    """The modules, family by family.

    Example:
        >>> next(list_misleading_modules()).family
        'an input that no text gives'
    """
    families = (
        _list_input_modules,
        _list_output_modules,
        _list_probability_modules,
        _list_size_modules,
        _list_packed_size_modules,
        _list_padding_modules,
        _list_tail_modules,
        _list_encoder_modules,
        _list_batch_modules,
        _list_rare_word_modules,
        _list_forgetting_modules,
        _list_copied_modules,
        _list_error_catching_modules,
        _list_text_rule_modules,
        _list_precision_modules,
        _list_number_modules,
    )
    return itertools.chain.from_iterable(family() for family in families)


def _list_input_modules() -> Iterator[Misleading]:
    import input_modules as zoo
    from test_inputs_of_forward import FOUND, REFUSED, TOLD

    for kind in REFUSED:
        yield Misleading("an input that no text gives", kind.__name__, kind, None, zoo.CLASSES, zoo.WORDS)
    for kind, line in FOUND.items():
        yield Misleading("inputs that a text gives", kind.__name__, kind, line, zoo.CLASSES, zoo.WORDS)
    in_a_dict = dict.fromkeys((zoo.KeyByIn, zoo.KeyElse, zoo.KeysOneByOne), "module({'text': tokens})")
    calls = {**in_a_dict, zoo.StateFromOutside: "module(tokens, None)", zoo.TextByGet: "module(input_ids=tokens)",
             **dict.fromkeys((zoo.CharactersOfAText, zoo.UserLeftOut), "module(tokens, lengths)")}  # fmt: skip
    for kind, told in TOLD.items():
        call = calls.get(kind, "module(tokens)")
        yield Misleading("inputs left out", kind.__name__, kind, call, zoo.CLASSES, zoo.WORDS, told=told)


def _list_output_modules() -> Iterator[Misleading]:
    import output_modules as zoo
    from test_output_ambiguity import COMPUTED, DEEPER, FOLLOWING, LEFT_OUT, NOTHING_LEFT_OUT, OTHER

    for name, (made, classes, widths, _) in FOLLOWING.items():
        options = {"rules": replace(_RULES, min_width=widths.least, max_width=widths.most, pad_side="right")}
        yield Misleading("a number for each token", name, made, None, classes, zoo.WORDS, options=options)
    for name, (made, classes, _) in OTHER.items():
        yield Misleading("an output of other labels", name, made, None, classes, zoo.WORDS)
    for name, (kind, _) in DEEPER.items():
        yield Misleading("heads that lie deep", name, functools.partial(kind, 3, 3), None, 3, zoo.WORDS)
    for name, (kind, _) in COMPUTED.items():
        yield Misleading(
            "answers that code computes", name, functools.partial(zoo.Computed, kind, 3), None, 3, zoo.WORDS
        )
    for name, (made, classes, suffix, *_) in (*LEFT_OUT.items(), *NOTHING_LEFT_OUT.items()):
        call = f"module(tokens{', lengths' * (name == 'lengths')}){suffix}"
        yield Misleading("outputs beside the answer", name, made, call, classes, zoo.WORDS)


def _list_probability_modules() -> Iterator[Misleading]:
    import convention_modules as zoo
    import test_probabilities as ends

    for name, end in ends.ONE_SIGN.items():
        # Asked about: what it is only its owner knows.
        made = _add_end(ends.Ends, end, 1)
        yield Misleading("probabilities, not by an activation", name, made, None, 2, zoo.WORDS)
    for name, end in ends.SUMS.items():
        classes = 2 if name == "beside its own" else 4
        yield Misleading("probabilities, not by an activation", name, _add_end(ends.Ends, end, classes), None, classes,
                         zoo.WORDS)  # fmt: skip
    for name, (end, units) in ends.CONVERTED.items():
        yield Misleading("probabilities by an activation", name, _add_end(ends.Ends, end, units), "module(tokens)",
                         max(2, units), zoo.WORDS, probabilities=True)  # fmt: skip
    for name, (end, units) in ends.LOGITS.items():
        yield Misleading("logits that look like probabilities", name, _add_end(ends.Ends, end, units), "module(tokens)",
                         max(2, units), zoo.WORDS)  # fmt: skip


def _add_end(kind: Callable[..., nn.Module], end: Any, units: int) -> Callable[[], nn.Module]:
    return lambda: kind(end, units)


def _list_size_modules() -> Iterator[Misleading]:
    import size_modules as zoo

    kinds = [*zoo.HONOURED, *(kind for kind, _ in zoo.LIMITED), *(kind for kind, _ in (*zoo.REFUSED, *zoo.CAUGHT))]
    for kind in (*kinds, *zoo.COUNTED):
        module = kind()
        call = "module(tokens, lengths)" if kind.forward.__code__.co_argcount > 2 else "module(tokens)"
        yield Misleading("sizes", kind.__name__, kind, call, module.out.out_features, module.emb.num_embeddings)


def _list_packed_size_modules() -> Iterator[Misleading]:
    import packed_size_modules as large
    import size_modules as zoo

    for kind in (*large.PACKED, *large.HELD_TO, *large.OTHER_TYPES, *large.NOT_PACKED):
        made = functools.partial(large.made, kind)
        yield Misleading("sizes, in packed files", kind.__name__, made, "module(tokens)", 2, large.WORDS, packed=True)
    for kind in zoo.HONOURED:
        module = kind()
        call = "module(tokens, lengths)" if kind.forward.__code__.co_argcount > 2 else "module(tokens)"
        classes, ids = module.out.out_features, module.emb.num_embeddings
        yield Misleading("sizes, in packed files", kind.__name__, kind, call, classes, ids, packed=True)


def _list_padding_modules() -> Iterator[Misleading]:
    import padding_modules as zoo

    for kind in zoo.MODULES:
        call = "module(tokens, lengths)" if kind.forward.__code__.co_argcount > 2 else "module(tokens)"
        if kind is zoo.TimeMajor:
            call = "module(tokens.t())"
        # The module's padding id and the number of its ids.
        yield Misleading("padding inside of texts", kind.__name__, _list_padded_modules(kind), call, 3, 40)


# Numbers that onnxruntime's kernels lose; each is made of the state of a layer, and finite.
_TAILS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "logarithm of a small sigmoid": lambda h: torch.log(torch.sigmoid(40 * h)) / 20,
    "elu of small numbers": lambda h: torch.nn.functional.elu(h * 1e-5) * 1e5,
    "NaN that is filled": lambda h: torch.nan_to_num(h.std(1, keepdim=True) + h),
    "zero times a logarithm": lambda h: torch.xlogy(torch.relu(h), torch.relu(h)),
}


class _Tail(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embedding, self.gru, self.fc = nn.Embedding(40, 8), nn.GRU(8, 6, batch_first=True), nn.Linear(6, 3)
        self.function = function

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.function(self.gru(self.embedding(tokens))[0]).mean(1))
        return logits


def _list_tail_modules() -> Iterator[Misleading]:
    for name, function in _TAILS.items():
        yield Misleading("numbers that kernels lose", name, functools.partial(_Tail, function), "module(tokens)", 3, 40)


def _list_encoder_modules() -> Iterator[Misleading]:
    import test_right_programs as zoo

    for kind in (zoo.Encoded, zoo.Masked):
        yield Misleading("encoders of torch.nn", kind.__name__, kind, "module(tokens)", 3, zoo.WORDS)


def _list_batch_modules() -> Iterator[Misleading]:
    import row_mixing_modules as rows
    import test_batch_reductions as zoo

    mixed = (
        zoo.LoudestOfAll,
        zoo.CumulatesOverRows,
        zoo.FirstRow,
        zoo.LikeTheNextText,
        zoo.SortsEachPlace,
        zoo.SimilarTexts,
    )
    told = (zoo.ToldAtLeastOnce, zoo.BothTold, zoo.CountsTheWordsOfAKind)
    of_lengths = (zoo.SortsAndPacks, zoo.MasksToTheLongest, zoo.AttendsWithFlatSteps)
    placed = (zoo.Placed, zoo.PlacedInATable, zoo.PlacedInPlace, zoo.PlacedByWhereWordsAre)
    for kind in (*mixed, *told, *of_lengths, *placed):
        call = "module(tokens, lengths)" if kind in of_lengths else "module(tokens)"
        yield Misleading("texts beside others", kind.__name__, kind, call, 2, 1000 if kind in told else zoo.WORDS)
    for gated in (*rows.OVER_ROWS, *rows.STAY_SORTED, *rows.BACK_IN_ORDER, rows.GatedByItself):
        call = "module(tokens, lengths)" if issubclass(gated, rows.StaysSorted) else "module(tokens)"
        yield Misleading("texts beside others", gated.__name__, gated, call, rows.CLASSES, rows.WORDS)
    for padded in (*rows.PADDING_TELLS, *rows.PADDING_NEVER_TELLS):
        counts = padded is rows.CountedAndPooledBesideZerosWhereRare
        call = "module(tokens)" if counts else "module(tokens, lengths)"
        yield Misleading("padding that rare texts tell of", padded.__name__, padded, call, rows.CLASSES, rows.WORDS)
    for tied in (*rows.TIES_TELL, *rows.TIES_NEVER_TELL):
        family = "an order of equal values that rare texts tell of"
        yield Misleading(family, tied.__name__, tied, "module(tokens)", rows.CLASSES, rows.WORDS)


def _list_rare_word_modules() -> Iterator[Misleading]:
    import rare_word_modules as zoo

    for kind in (*zoo.KEEP, *zoo.KEEP_BY_SIZES, *zoo.READ_ROWS):
        yield Misleading("state that rare texts show", kind.__name__, kind, None, zoo.CLASSES, zoo.WORDS)
    for kind in (*zoo.READ, *zoo.TWO):
        yield Misleading("inputs and outputs that rare texts show", kind.__name__, kind, None, zoo.CLASSES, zoo.WORDS)
    for kind, units in zoo.BEHIND.items():
        made = functools.partial(Misleading, "a softmax that rare texts damp", made=kind, classes=max(2, units))
        yield made(name=kind.__name__, call=None, ids=zoo.WORDS)
    for kind, units in zoo.MOVED.items():
        made = functools.partial(Misleading, "a softmax whose places words decide", made=kind, classes=max(2, units))
        yield made(name=kind.__name__, call="module(tokens)", ids=zoo.WORDS, probabilities=True)
    unread = {zoo.MaskThatChangesNothing: "module(tokens)", zoo.UnreadKinds: "module(tokens, tokens)",
              zoo.OneAnswerTwice: "module(tokens)[0]"}  # fmt: skip
    for kind, call in {**dict.fromkeys((*zoo.KEEP_NOTHING, *zoo.LOOK_UP), "module(tokens)"), **unread}.items():
        yield Misleading("what no text shows", kind.__name__, kind, call, zoo.CLASSES, zoo.WORDS)


def _list_forgetting_modules() -> Iterator[Misleading]:
    import forgetting_modules as zoo

    for kind in zoo.FORGET:
        yield Misleading(
            "cuts that a recurrent layer forgets", kind.__name__, kind, "module(tokens)", zoo.CLASSES, zoo.WORDS
        )


def _list_copied_modules() -> Iterator[Misleading]:
    import misleading_copy_modules as zoo

    for kind in zoo.OTHERS:
        yield Misleading("a copy that does something else", kind.__name__, kind, None, zoo.CLASSES, zoo.WORDS)
    for kind in zoo.ALIKE:
        yield Misleading("a copy that does the same", kind.__name__, kind, "module(tokens)", zoo.CLASSES, zoo.WORDS)


def _list_error_catching_modules() -> Iterator[Misleading]:
    import caught_error_modules as zoo

    for kind in (*zoo.REFUSED, *zoo.HARMLESS):
        yield Misleading("errors that are caught", kind.__name__, kind, "module(tokens)", zoo.CLASSES, zoo.WORDS)


def _list_text_rule_modules() -> Iterator[Misleading]:
    """List pairs with the answers of an owner whose vocabulary, labels, cuts or padding differ from the given ones."""
    import test_owner_answer_comparison as zoo

    ids = len(zoo.WORDS)
    generator = np.random.default_rng(0)
    rows = [generator.integers(2, ids, int(generator.integers(3, 30))).tolist() for _ in range(40)]
    other = [0, 1, *(2 + generator.permutation(ids - 2)).tolist()]
    order = (2, 0, 3, 1)
    # Each from the ids that the given rules make to what the owner's classifier answers, by label.
    sides: dict[str, Callable[[list[int]], Sequence[float]]] = {
        "another vocabulary": lambda row: zoo.answer([other[i] for i in row]),
        "words of the next id": lambda row: zoo.answer([i % (ids - 1) + 1 for i in row]),
        "labels in another order": lambda row: [zoo.answer(row)[i] for i in order],
        "two labels changed": lambda row: [zoo.answer(row)[i] for i in (1, 0, 2, 3)],
        "the first 12 tokens": lambda row: zoo.answer(row[:12]),
        "the last 20 tokens": lambda row: zoo.answer(row[-20:]),
        "padded to 120": lambda row: zoo.answer(row, 120),
        "turned round": lambda row: zoo.answer(row[::-1]),
    }
    for name, answered in sides.items():
        for what in ("probabilities", "labels"):
            pairs = []
            for row in rows:
                named = {f"label {i}": value for i, value in enumerate(answered(row))}
                given = named if what == "probabilities" else max(named, key=named.__getitem__)
                pairs.append((" ".join(f"w{i}" for i in row), None, given))
            family = "vocabulary, labels, cuts and padding, beside the owner's answers"
            options = {"example_ids": pairs}
            yield Misleading(family, f"{name}, {what}", zoo.net, None, 4, ids, options=options)


def _list_precision_modules() -> Iterator[Misleading]:
    import packed_precision_modules as zoo
    from packed_size_modules import LABELS, WORDS

    for kind in (*zoo.PACKED, *zoo.REFUSED):
        yield Misleading(
            "precision, in packed files", kind.__name__, kind, "module(tokens)", len(LABELS), WORDS, packed=True
        )


def _list_number_modules() -> Iterator[Misleading]:
    import misleading_number_modules as zoo

    for packed in (False, True):
        for kind in (*zoo.PACKED, *zoo.NOT_PACKED, *(() if packed else zoo.REFUSED)):
            family = "sequences of numbers" + (", in packed files" if packed else "")
            yield Misleading(family, kind.__name__, kind, "module(tokens)", 4, 0, packed=packed, channels=3)


def _list_padded_modules(kind: Callable[..., nn.Module]) -> Callable[[], nn.Module]:
    return lambda: kind(1, 40)


def _measure_outcome(one: Misleading) -> Outcome:
    torch.manual_seed(0)
    module = one.made().eval()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        try:
            manifest = export(module, bundle, **one.arguments)
            if one.packed:
                pack(bundle, bundle := Path(folder) / "packed.prnn")
        except PocketRNNError as error:
            return Outcome(one.family, one.name, "refused", limited=False, what=str(error))
        # A user would see a traceback.
        except Exception as error:
            return Outcome(one.family, one.name, "died", limited=False, what=f"{type(error).__name__}: {error}")
        if one.told not in str(manifest.provenance.get("assumed", "")):
            return Outcome(one.family, one.name, "wrong", limited=False, what=f"exported without a word of {one.told}")
        classifier = Classifier.load(bundle)
        if one.call is None:
            return Outcome(one.family, one.name, "wrong", limited=False, what="exported, and nobody said its call")
        return _compare_answers(one, module, classifier)


def _compare_answers(one: Misleading, module: nn.Module, classifier: Classifier) -> Outcome:
    """Compare the answers to texts or sequences of every length, alone and in batches, with the owner's call of the
    module."""
    generator, limited = np.random.default_rng(0), False
    texts: list[Any] = []
    rows: list[np.ndarray] = []
    for length in (*range(1, LENGTHS + 1), *LONGER):
        text, row = _draw_input(one, generator, length)
        try:
            classifier.logits([text])
        except LimitError:
            limited = True
            continue
        texts.append(text)
        rows.append(row)
    order = generator.permutation(len(texts))
    together = classifier.predict_proba([texts[i] for i in order]) if one.probabilities else classifier.logits(
        [texts[i] for i in order]
    )  # fmt: skip
    for place, i in enumerate(order):
        tokens = torch.from_numpy(rows[i])[None]
        own = _call_as_owner(one, module, tokens)
        alone = (classifier.predict_proba if one.probabilities else classifier.logits)([texts[i]])[0]
        for answer in (alone, together[place]):
            given = answer[-own.size :]
            off = float(np.abs(given - own).max()) / max(1.0, float(np.abs(own).max()))
            if not off <= NEAR:
                what = f"{off:.1e} off on a text of {len(rows[i])} tokens"
                return Outcome(one.family, one.name, "wrong", limited, what)
    return Outcome(one.family, one.name, "right", limited, "")


def _draw_input(one: Misleading, generator: np.random.Generator, length: int) -> tuple[Any, np.ndarray]:
    """Draw a text or a sequence, in the form of the user and in the form of the module."""
    if one.channels is not None:
        sequence = generator.normal(0, 300 if length % 3 == 0 else 1, (length, one.channels)).astype(np.float32)
        return sequence, sequence
    ids = generator.integers(0, one.ids, length)
    words: Sequence[str] = one.arguments["vocabulary"]
    return " ".join(words[i] for i in ids), ids


def _call_as_owner(one: Misleading, module: nn.Module, tokens: Tensor) -> np.ndarray:
    with torch.no_grad(), run_quietly_on_cpu():
        answer = compile_call(str(one.call))(module, tokens, torch.tensor([tokens.shape[1]]))
    return np.asarray(answer.double().reshape(-1).numpy())
