"""How a module is called, found out by calling it: on a few small batches, in the ways that people write forward.

A way holds if the module runs, gives finite numbers for each text, gives them again when it is asked again, tells one
text from another, and answers each text as it does alone. The batches have sizes that occur nowhere else, so that no
axis can be taken for another. Where two ways hold with other answers, nothing is chosen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.intake.activation import CallsSeen, Passing, activated
from pocketrnn_export.intake.convention import (
    BATCH_SIZE,
    Call,
    Called,
    Convention,
    batch_size_of_file,
    called_as,
    compiled,
    left_as_it_was,
    uses_lengths,
)
from pocketrnn_export.proof.cases import Widths
from pocketrnn_export.proof.surroundings import answer_of, surroundings

__all__ = ["Asked", "asked_convention"]

# Sizes of the batches that a module is tried on: two widths each. A convolution needs the longer ones.
_WIDTHS: Final = ((5, 7), (29, 31))
# Single precision sums a batch otherwise than one text; a module that mixes its texts differs by more.
_SAME: Final = 1e-4
# Rows of one product of matrices are rounded otherwise on some processors: 16 times float32's precision is no answer.
_ROUNDING: Final = 2e-6
_MAKES_STATE: Final = re.compile(r"(init|zero|reset|get|make|create).*(hid|state|h0)", re.IGNORECASE)
_PLAIN: Final = ("module(tokens)", "module(tokens.t())", "module(tokens, lengths)", "module(tokens.t(), lengths)")
# A row that begins with its length. Any module takes such numbers for tokens, so that it is tried last.
_LENGTH_FIRST: Final = "module(torch.cat([lengths[:, None], tokens], dim=1))"
# So many ways are tried at most: each takes some milliseconds.
_MOST_LINES: Final = 240


@dataclass(frozen=True)
class Asked:
    """What is known of a module before it is called.

    Attributes:
        module: in eval mode, on the CPU; what it holds is the same afterwards.
        ids: how many token ids there are.
        padding_id: the token past a row's length.
        classes: how many labels there are.
        multi_label: whether each label has a probability of its own.
        lengths: whether forward is given lengths; None to find out.
        one_text: whether it is asked one text at a time from the first.
        gives: `logits` or `probabilities`, if its owner says so.
        widths: how many tokens a text can have.
    """

    module: nn.Module
    ids: int
    padding_id: int
    classes: int
    multi_label: bool = False
    lengths: bool | None = None
    one_text: bool = False
    gives: str | None = None
    widths: Widths = field(default_factory=Widths)

    @property
    def tried_widths(self) -> list[tuple[int, ...]]:
        """The widths of the batches that a module is tried on."""
        if self.widths.least == 1 and self.widths.most is None:
            return list(_WIDTHS)
        more = self.widths.least - 1
        return list(dict.fromkeys(tuple(sorted({self.widths.clip(n + more) for n in pair})) for pair in _WIDTHS))

    def batch(self, rows: int, width: int) -> tuple[Tensor, Tensor]:
        """Random real tokens [rows, width], each row another, with the highest id among them, and their lengths."""
        generator = torch.Generator().manual_seed(1000 * rows + width)
        # Without 0 and 1 where there are others: a module may take these for padding.
        low = 2 if self.ids > 4 else 0
        tokens = torch.randint(low, self.ids, (rows, width), generator=generator)
        tokens[tokens == self.padding_id] = self.ids - 1 if self.padding_id != self.ids - 1 else low
        if self.padding_id != self.ids - 1:
            tokens[0, 0] = self.ids - 1
        return tokens, torch.full((rows,), width)

    def batches(self, rows: int, widths: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Batches of these widths; and where the rules pad, one whose rows are padded, with their real lengths."""
        full = [self.batch(rows, width) for width in widths]
        if self.widths.least == 1:
            return full
        tokens, lengths = self.batch(rows, self.widths.least)
        for row in range(rows):
            lengths[row] = max(1, self.widths.least * (rows - row) // (rows + 1))
            gone = self.widths.least - int(lengths[row])
            if self.widths.pad_left:
                tokens[row] = torch.cat([tokens[row, :gone] * 0 + self.padding_id, tokens[row, gone:]])
            else:
                tokens[row, -gone:] = self.padding_id
        return [*full, (tokens, lengths)]

    @property
    def rows(self) -> int:
        """How many texts a batch has: a number that is not that of the labels."""
        return 4 if self.classes == 3 else 3


@dataclass(frozen=True)
class _Holds:
    """A way that holds, with its answers to the batches that it was tried on; and whether what stands past the end of a
    masked row tells in them, as where a layer reads it backwards."""

    convention: Convention
    answers: tuple[Tensor, ...]
    leaks: bool = False


@dataclass(frozen=True)
class _Fails:
    """A way that does not hold, why, and what may help. The higher the rank, the more the reason says."""

    line: str
    rank: int
    problem: str
    advice: str
    error: BaseException | None = None


def asked_convention(asked: Asked, call: str | Call | None = None) -> Convention:
    """Find out how a module is called.

    Args:
        asked: the module, and what is known of it.
        call: how its owner says that it is called: a line of Python, or a function of (module, tokens, lengths).

    Raises:
        ExportError: no way holds; or two hold with other answers.
        InputError: the line is no Python.

    Example:
        >>> asked_convention(Asked(module, ids=8000, padding_id=1, classes=4)).line
        'module(tokens.t(), lengths)[0]'
    """
    if call is None:
        convention = _found(asked)
    elif isinstance(call, str):
        convention = _given(asked, call.strip(), compiled(call))
    else:
        convention = _given(asked, getattr(call, "__name__", "call") + "(module, tokens, lengths)", call)
    return _with_activation(asked, convention)


def _given(asked: Asked, line: str, function: Call) -> Convention:
    """The convention of a call that the owner wrote."""
    failures: list[_Fails] = []
    for one_text, widths in itertools.product((False, True), asked.tried_widths):
        if asked.one_text and not one_text:
            continue
        if one_text and not asked.one_text and any(failed.rank >= 4 for failed in failures):
            # It takes a batch, and answers wrongly in it: one text at a time is for its owner to choose.
            break
        tried = _tried(asked, line, function, widths, one_text=one_text, suffixes=False)
        for found in tried:
            if isinstance(found, _Holds):
                return found.convention
            failures.append(found)
    raise _refusal(asked, failures)


def _found(asked: Asked) -> Convention:
    """The convention that holds among those that people have."""
    failures: list[_Fails] = []
    inputs = list(itertools.islice(_calls(asked), _MOST_LINES))
    setups = [""] if isinstance(asked.module, torch.jit.ScriptModule) else ["", *_setups(asked.module)]
    for one_text in (False, True):
        if asked.one_text and not one_text:
            continue
        for widths in asked.tried_widths:
            for setup in setups:
                holding: list[_Holds] = []
                for line in inputs:
                    if holding and line == _LENGTH_FIRST:
                        continue
                    for found in _tried(asked, setup + line, compiled(setup + line), widths, one_text=one_text):
                        if isinstance(found, _Fails):
                            failures.append(found)
                        elif not any(_same_answers(found, other, asked) for other in holding):
                            holding.append(found)
                    if holding and not setup and _certain(asked, line, inputs):
                        break
                # Of two masks, that under which what is past the length tells less is right.
                holding = [holds for holds in holding if not holds.leaks] or holding
                if len(holding) > 1:
                    raise _ambiguous(holding)
                if holding:
                    return holding[0].convention
        if mixing := [failed for failed in failures if failed.rank >= 4]:
            # It takes a batch, and answers wrongly in it: one text at a time is for its owner to choose.
            raise _refusal(asked, mixing)
    raise _refusal(asked, failures)


def _certain(asked: Asked, line: str, lines: Sequence[str]) -> bool:
    """Whether a way that holds needs no comparison with others: forward takes the tokens only, or lengths by name."""
    if line != lines[0] or line not in {"module(tokens)", "module(tokens, lengths)"}:
        return False
    parameters = _parameters(asked.module)
    if asked.widths.least > 1 and any("len" in p.name.lower() and p.default is not p.empty for p in parameters):
        # Where the rules pad every text, a module may be given the real lengths of its texts, or may not.
        return False
    return not any("mask" in p.name.lower() for p in parameters)


def _same_answers(one: _Holds, other: _Holds, asked: Asked) -> bool:
    """Whether two ways say the same: equal numbers, or those of which one are the probabilities of the other."""

    def probabilities(holds: _Holds, answer: Tensor) -> list[Tensor]:
        kind = "sigmoid" if asked.multi_label or holds.convention.units == 1 else "softmax"
        return [answer, activated(kind, answer)]

    return one.convention.units == other.convention.units and all(
        any(torch.allclose(x, y, atol=1e-5) for x in probabilities(one, a) for y in probabilities(other, b))
        for a, b in zip(one.answers, other.answers, strict=True)
    )


# --- the ways that people write forward


def _calls(asked: Asked) -> Iterator[str]:
    """Lines that may call the module, the likely ones first."""
    module, lengths, masks = asked.module, asked.lengths, _masks(asked)
    parameters = _parameters(module)
    if not parameters:
        return
    if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        parameters = [inspect.Parameter("tokens", inspect.Parameter.POSITIONAL_ONLY)]
    required = [p for p in parameters if p.default is p.empty]
    choices = [_choices(asked, p, masks, first=i == _tokens_at(required)) for i, p in enumerate(parameters)]
    seen = set()
    # By the sum of the choices' ranks: what is likely for every argument comes before what is unlikely for one.
    ranked = sorted(itertools.product(*(range(len(c)) for c in choices)), key=lambda ranks: (sum(ranks), ranks))
    for ranks in ranked[: 8 * _MOST_LINES]:
        arguments, positional = [], True
        for parameter, options, rank in zip(parameters, choices, ranks, strict=True):
            value = options[rank]
            if value is None:
                positional = False
            elif positional and parameter.kind is not parameter.KEYWORD_ONLY:
                arguments.append(value)
            else:
                arguments.append(f"{parameter.name}={value}")
        line = f"module({', '.join(arguments)})"
        if line not in seen and (lengths is not True or "lengths" in line):
            seen.add(line)
            yield line
    if len(required) == 1 and lengths is not False:
        yield from _single_arguments(module, masks)


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]
        kind = inspect.Parameter.POSITIONAL_ONLY
        return [
            inspect.Parameter(a.name, kind, default=a.default_value if a.has_default_value() else inspect._empty)
            for a in arguments
        ]
    wanted = [
        p for p in inspect.signature(module.forward).parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    # What stands after *args is given by name only where it must be.
    return [p for i, p in enumerate(wanted) if p.kind is not inspect.Parameter.VAR_POSITIONAL or i == 0]


def _tokens_at(required: Sequence[inspect.Parameter]) -> int:
    """The argument that is the tokens: the first whose name does not say otherwise."""
    for i, parameter in enumerate(required):
        if not re.search(r"len|mask|hidden|state|^h_?0?$|batch_size", parameter.name.lower()):
            return i
    return 0


def _choices(asked: Asked, parameter: inspect.Parameter, masks: Sequence[str], *, first: bool) -> list[str | None]:
    """What an argument may be, the likely first; None to leave it out."""
    module, lengths, ids = asked.module, asked.lengths, asked.ids
    if first:
        return [
            "tokens",
            "tokens.t()",
            "tokens[0]",
            *_one_hot(module, ids),
            "tokens.unsqueeze(1)",
            "tokens.unsqueeze(2)",
        ]
    name = parameter.name.lower()
    optional: list[str | None] = [] if parameter.default is parameter.empty else [None]
    if "device" in name:
        return [*optional, "tokens.device"]
    if re.search(r"^(is_?)?(train|training|teacher_forcing)$", name):
        return [*optional, "False"]
    if not optional and re.search(r"label|target|^ys?$", name):
        # Two values: if they tell in the answer, the ways differ, and neither is taken.
        shapes = [f"tokens.size(0), {asked.classes}"] if asked.multi_label else ["tokens.size(0), dtype=torch.long"]
        return ["None", *(f"torch.{made}({shape})" for shape in shapes for made in ("zeros", "ones"))]
    of_lengths = [] if lengths is False else ["lengths", "lengths.tolist()", "lengths.numpy()", "[tokens.size(1)]"]
    if "len" in name:
        return [*of_lengths, *optional]
    if "mask" in name:
        return [*optional, *masks]
    if re.search(r"batch_?(size|len)?$|^bs$|^bsz$", name):
        return ["tokens.size(0)", *optional]
    states = _states(module)
    if re.search(r"hid|state|^h_?[0n]?$|^hc$|^hx$|prev|init|memory", name):
        return [*optional, *states]
    if optional:
        # Whatever else has a default keeps it.
        return optional
    return [*of_lengths, *masks, *states]


def _one_hot(module: nn.Module, ids: int) -> list[str]:
    """Tokens as vectors of zeros and a one, for a module of characters that has a recurrent layer for just these."""
    layers = list(module.modules())
    if any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in layers):
        return []
    sizes = {layer.input_size for layer in layers if isinstance(layer, nn.RNNBase)}
    if ids in sizes:
        return [f"F.one_hot({tokens}, {ids}).float()" for tokens in ("tokens", "tokens.t()")]
    if ids - 1 in sizes:
        # The last id, such as that of padding, has no place in it: a vector of zeros.
        return [f"F.one_hot({tokens}, {ids})[..., :-1].float()" for tokens in ("tokens", "tokens.t()")]
    return []


def _masks(asked: Asked) -> list[str]:
    """Masks that are true at the tokens, or at the padding. Where the rules pad every text, the ids tell which these
    are."""
    real = "torch.arange(tokens.size(1)) < lengths[:, None]"
    padding = "torch.arange(tokens.size(1)) >= lengths[:, None]"
    if asked.widths.least > 1:
        real, padding = f"tokens != {asked.padding_id}", f"tokens == {asked.padding_id}"
    return [
        real, f"({real}).float()", f"({real}).long()", padding, f"({real}).t()", f"({real}).float().t()",
        f"({padding}).float()",
    ]  # fmt: skip


def _states(module: nn.Module) -> list[str]:
    """Initial states: those that a method of the module makes; else None, or zeros."""
    made = [f"module.{name}({arguments})" for name, arguments in _state_makers(module)]
    zeros = []
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            state = f"torch.zeros({layer.num_layers * (1 + layer.bidirectional)}, tokens.size(0), {layer.hidden_size})"
            zeros.append(f"({state}, {state})" if isinstance(layer, nn.LSTM) else state)
            break
    size = next((v for n in ("hidden_size", "hidden_dim") if isinstance(v := getattr(module, n, None), int)), None)
    if size is not None and not zeros:
        zeros.append(f"torch.zeros(tokens.size(0), {size})")
    # A module that has a method for it may begin in another state than zeros.
    return made or ["None", *zeros]


def _state_makers(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The methods of a module that make its initial state, each with its arguments."""
    if isinstance(module, torch.jit.ScriptModule):
        return
    for name in dir(type(module)):
        if name.startswith("__") or not _MAKES_STATE.search(name):
            continue
        method = getattr(module, name, None)
        if not inspect.ismethod(method) or re.search(r"weight|dict|extra", name):
            continue
        arguments = []
        for parameter in inspect.signature(method).parameters.values():
            lower = parameter.name.lower()
            if re.search(r"batch|bsz|^bs$|^b$|^n$|size", lower):
                arguments.append("tokens.size(0)")
            elif "device" in lower or "gpu" in lower or "cuda" in lower:
                if parameter.default is parameter.empty:
                    arguments.append("tokens.device" if "device" in lower else "False")
            elif re.search(r"^x$|input|text|token", lower):
                arguments.append("tokens")
            elif parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                break
        else:
            yield name, ", ".join(arguments)


def _single_arguments(module: nn.Module, masks: Sequence[str]) -> Iterator[str]:
    """Lines for a forward that takes everything in one argument."""
    for tokens in ("tokens", "tokens.t()"):
        for pair in (f"({tokens}, lengths)", f"[{tokens}, lengths]", f"(lengths, {tokens})"):
            yield f"module({pair})"
    yield "module((tokens, lengths.tolist()))"
    if not isinstance(module, torch.jit.ScriptModule):
        yield from _by_keys(module, masks)
    yield "module(pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False))"
    yield "module(pack_padded_sequence(tokens.unsqueeze(2), lengths, batch_first=True, enforce_sorted=False))"
    yield f"module(tokens, {masks[0]})"
    yield _LENGTH_FIRST


class _Keys(dict[str, Any]):
    """A batch that notes which keys forward takes from it."""

    def __init__(self, give: Callable[[str], Any]) -> None:
        super().__init__()
        self._give = give
        self.asked: list[str] = []

    def __missing__(self, key: str) -> Any:
        self.asked.append(str(key))
        return self._give(str(key))

    def get(self, key: str, _default: Any = None) -> Any:
        return self[key]


class _Fields:
    """A batch that notes which attributes forward takes from it: `batch.text`, as torchtext's."""

    def __init__(self, give: Callable[[str], Any]) -> None:
        self._give = give
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self.asked.append(name)
        return self._give(name)


def _by_keys(module: nn.Module, masks: Sequence[str]) -> Iterator[str]:
    """Lines for a forward that takes a dict, or an object with fields, with the names that it asks for."""
    one, two = torch.full((3, 5), 2), torch.full((3,), 5)

    def give(name: str) -> Any:
        return two if "len" in name.lower() else one

    def pairs(name: str) -> Any:
        return two if "len" in name.lower() else (one, two)

    for kind, given in ((_Keys, give), (_Fields, give), (_Fields, pairs)):
        batch = kind(given)
        with contextlib.suppress(Exception, SystemExit), surroundings(), left_as_it_was(module):
            module(batch)
        names = list(dict.fromkeys(batch.asked))
        if not names:
            continue
        for tokens, mask in itertools.product(("tokens", "tokens.t()"), masks[:3]):
            whole = f"({tokens}, lengths)" if given is pairs else tokens
            values = [
                (name, "lengths" if "len" in name.lower() else mask if "mask" in name.lower() else whole)
                for name in names
            ]
            if kind is _Keys:
                yield "module({" + ", ".join(f'"{name}": {value}' for name, value in values) + "})"
            elif all(name.isidentifier() for name in names):
                yield f"module(SimpleNamespace({', '.join(f'{name}={value}' for name, value in values)}))"


def _setups(module: nn.Module) -> list[str]:
    """What is done to a module before it is called: its batch size set, its state made anew."""
    sizes, states = [], []
    names = dict(module.named_modules())
    for path, layer in names.items():
        target = "module" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".") if part)
        for name, value in vars(layer).items():
            if type(value) is int and BATCH_SIZE.search(name):
                sizes.append(f"{target}.{name} = tokens.size(0)")
        sizes += [f'{target}.forward.__globals__["{name}"] = tokens.size(0)' for name, _ in batch_size_of_file(layer)]
        if isinstance(layer, nn.RNNBase):
            continue
        makers = list(_state_makers(layer))
        kept = _kept_states(layer)
        for name, arguments in makers:
            call = f"{target}.{name}({arguments})".replace("tokens.size(0)", "tokens.size(0)")
            states.append(call)
            states += [f"{target}.{attribute} = {call}" for attribute in kept]
        states += [f"{target}.{name} = {made}" for name, made in _kept_zeros(layer)]
    setup = "; ".join(sizes)
    found = [f"{setup}; "] if setup else []
    for state in states:
        found += [f"{setup}; {state}; "] if setup else [f"{state}; "]
    zeros = [state for state in states if "torch.zeros" in state]
    if len(zeros) > 1:
        found.append("; ".join([*([setup] if setup else []), *zeros]) + "; ")
    return found[:12]


def _kept_states(layer: nn.Module) -> list[str]:
    """The attributes in which a module keeps its state between two calls."""
    code = getattr(getattr(type(layer), "forward", None), "__code__", None)
    named = set(code.co_names if code is not None else ()) | vars(layer).keys()
    return [name for name in sorted(named) if re.search(r"^_?(hidden(_?state)?s?|state|h|hc|h_?0)$", name)][:3]


def _kept_zeros(layer: nn.Module) -> Iterator[tuple[str, str]]:
    """Zeros [layers, batch, hidden] that a module made when it was made, for one size of batch."""
    for name, value in vars(layer).items():
        states = value if isinstance(value, tuple) else (value,)
        if all(isinstance(v, Tensor) and v.dim() == 3 and not bool(v.any()) for v in states):
            zeros = [f"torch.zeros({v.shape[0]}, tokens.size(0), {v.shape[2]})" for v in states]
            yield name, zeros[0] if len(zeros) == 1 and not isinstance(value, tuple) else f"({', '.join(zeros)})"


# --- trying one of them


def _tried(
    asked: Asked, line: str, function: Call, widths: Sequence[int], *, one_text: bool, suffixes: bool = True
) -> Iterable[_Holds | _Fails]:
    """Try a line; it holds once for each part of its answer that may be the logits."""
    if not one_text and ("tokens[0]" in line or "[tokens.size(1)]" in line):
        return
    if one_text and ("tolist" in line or "numpy" in line):
        return
    rows = 1 if one_text else asked.rows
    batches = asked.batches(rows, widths)
    try:
        answers = [_answer(asked.module, function, *batch) for batch in batches]
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        yield _Fails(line, 0, *_raised(error, asked), error)
        return
    places = _places(asked, answers, rows, suffixes=suffixes)
    if not places:
        yield _Fails(line, 2, *_no_place(answers[0], rows, asked))
    for suffix, units in places:
        whole = line + suffix
        reading = _then(function, suffix)
        convention = Convention(whole, reading, units, takes_lengths=True, one_text=one_text)
        yield _holds(asked, convention, batches)


def _then(function: Call, suffix: str) -> Call:
    if not suffix:
        return function
    read = compiled(f"module{suffix}")

    def call(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        # The suffix alone is compiled; what it reads takes the module's name.
        return read(function(module, tokens, lengths), tokens, lengths)

    return call


def _holds(asked: Asked, convention: Convention, batches: Sequence[tuple[Tensor, Tensor]]) -> _Holds | _Fails:
    """Whether a way is reproducible, tells texts apart, and answers each as it does alone."""
    line = convention.line
    try:
        answers = tuple(_read(asked, convention, *batch) for batch in batches)
        again = tuple(_read(asked, convention, *batch, twice=True) for batch in batches)
    # Whatever a user's module raises when it is run again.
    except (Exception, SystemExit) as error:
        return _Fails(line, 1, *_raised(error, asked), error)
    if not all(bool(torch.isfinite(answer).all()) for answer in answers):
        return _Fails(line, 3, "The module gives logits that are not finite numbers.", "Check its weights.")
    if not all(torch.equal(a, b) for a, b in zip(answers, again, strict=True)):
        return _Fails(
            line, 5, "The module gives other answers when it is run again on the same texts.", _of_random(asked, line)
        )
    texts = torch.cat(answers)
    if torch.allclose(texts[1:], texts[:-1], rtol=_ROUNDING, atol=1e-7):
        return _Fails(line, 3, "The module gives the same answer for every text.", "Check its weights, and its call.")
    convention = replace(convention, takes_lengths=_depends_on_lengths(asked, convention, batches))
    exact, fails_alone = _shapes_of_answers(asked, convention, batches[0])
    convention = replace(convention, exact=exact, beside_a_copy=fails_alone)
    if convention.one_text:
        return _Holds(convention, answers)
    for (tokens, lengths), together in zip(batches, answers, strict=True):
        for row in range(len(tokens)):
            try:
                alone = _alone(asked, convention, tokens[row : row + 1], lengths[row : row + 1])
            # Whatever a user's module raises.
            except (Exception, SystemExit) as error:
                problem, advice = _raised(error, asked)
                return _Fails(line, 3, f"For a single text: {problem}", advice, error)
            if not _near(alone, together[row : row + 1]):
                return _Fails(
                    line,
                    4,
                    "The module answers a text differently beside other texts of the same length.",
                    "Compute nothing across the batch and branch on no values: each row may depend on its own tokens "
                    "only. If its owner asks it one text at a time, export it so: --one-text, or one_text=True.",
                )
    refused = None
    if asked.lengths is None:
        refused = _not_lengths(asked, convention, batches[-1])
    if refused is not None and not _masked(asked, convention):
        return refused
    return _Holds(convention, answers, leaks=refused is not None)


def _masked(asked: Asked, convention: Convention) -> bool:
    """Whether a line gives masks to arguments of that name."""
    names = [p.name.lower() for p in _parameters(asked.module)] if "torch.arange" in convention.line else []
    return any("mask" in name for name in names)


def _of_random(asked: Asked, line: str) -> str:
    """What to do about a module that gives other answers when it is run again."""
    batch = asked.batch(asked.rows, asked.widths.clip(7))
    for name, arguments in _state_makers(asked.module):
        states = []
        with contextlib.suppress(Exception, SystemExit):
            states = [_answer(asked.module, compiled(f"module.{name}({arguments})"), *batch) for _ in range(2)]
        found = [[leaf for _, leaf in _leaves(state)] for state in states]
        if found and found[0] and not all(torch.equal(a, b) for a, b in zip(*found, strict=True)):
            zeros = [
                f"torch.zeros({', '.join('tokens.size(0)' if n == asked.rows else str(n) for n in leaf.shape)})"
                for leaf in found[0]
            ]
            made = zeros[0] if isinstance(states[0], Tensor) else f"({', '.join(zeros)})"
            return (
                f"Its {name} draws a random state for each call. With zeros in place of it: --call "
                f'"module.{name} = lambda *_: {made}; {line}", or call=.'
            )
    return (
        "Take randomness such as dropout or a random initial state out of its eval mode. If it keeps a state from one "
        f'call to the next, say how that is made: --call "module.hidden = None; {line}", or call=.'
    )


def _shapes_of_answers(asked: Asked, convention: Convention, batch: tuple[Tensor, Tensor]) -> tuple[bool, bool]:
    """Whether the answers are [rows, units] as they are, also that to a single text; and whether it fails on one."""
    tokens, lengths = batch
    exact, fails_alone = True, False
    for rows in dict.fromkeys((len(tokens), 1)):
        try:
            answer = _answer(asked.module, convention.function, tokens[:rows], lengths[:rows])
        # Whatever a user's module raises.
        except (Exception, SystemExit):
            fails_alone = fails_alone or rows == 1
            continue
        exact = exact and tuple(answer.shape) == (rows, convention.units)
    return exact, fails_alone


def _near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= _SAME * max(1.0, float(b.abs().max())))


def _depends_on_lengths(asked: Asked, convention: Convention, batches: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Whether the answer depends on the lengths. What a line does not name it does not depend on; else it is asked with
    none."""
    line = convention.line
    if line.startswith(("module", "_")) and not line.endswith("(module, tokens, lengths)") and not uses_lengths(line):
        return False
    tokens, _ = batches[-1]
    try:
        none = _Untouchable()
        _answer(asked.module, convention.function, tokens, none)  # type: ignore[arg-type]
    # Whatever is raised because there are no lengths.
    except (Exception, SystemExit):
        return True
    return False


class _Untouchable:
    """In place of lengths: whatever is done with it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise AttributeError(name)


def _not_lengths(asked: Asked, convention: Convention, batch: tuple[Tensor, Tensor]) -> _Fails | None:
    """A refusal where an argument that got lengths does not behave as such: what stands past them tells in the answer.

    A name with "len" in it is believed: a mean over all of a row, divided by its length, is right for rows of full
    length. A mask is not: it may be true at the tokens or at the padding.
    """
    if not convention.takes_lengths or isinstance(asked.module, torch.jit.ScriptModule):
        return None
    named = [p.name for p in _parameters(asked.module)]
    if "torch.arange" not in convention.line and (
        len(named) < 2 or any(re.search("len", name.lower()) for name in named)
    ):
        return None
    tokens, _ = batch
    width = tokens.shape[1]
    shorter = torch.tensor([width, *range(width - 1, width - len(tokens), -1)])
    past = torch.arange(width) >= shorter[:, None]
    other = torch.where(past, tokens.flip(0).roll(1, 1), tokens)
    try:
        one = _read(asked, convention, tokens, shorter)
        two = _read(asked, convention, other, shorter)
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        return _Fails(convention.line, 3, *_raised(error, asked), error)
    if _near(one, two):
        return None
    second = named[-1]
    return _Fails(
        convention.line,
        4,
        f"The module's forward takes a second argument, {second}, that is neither lengths nor a mask: tokens past the "
        "length tell in its answer.",
        f'Say what it is given: --call "module(tokens, {second}=...)", or call=.',
    )


def _answer(module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor) -> Any:
    with torch.no_grad(), surroundings(), left_as_it_was(module):
        return called_as(function, module, tokens.clone(), lengths.clone() if isinstance(lengths, Tensor) else lengths)


def _alone(asked: Asked, convention: Convention, tokens: Tensor, lengths: Tensor) -> Tensor:
    """The numbers [1, units] that a module gives to one text; beside a copy of it, where it takes two at least."""
    called = Called(asked.module, replace(convention, activation=None), passing=False)
    answer: Tensor = answer_of(called, (tokens.clone(), lengths.clone())).float().reshape(1, convention.units)
    return answer


def _read(asked: Asked, convention: Convention, tokens: Tensor, lengths: Tensor, *, twice: bool = False) -> Tensor:
    """The numbers [batch, units] that a module gives; where `twice`, at the second of two calls."""
    with torch.no_grad(), surroundings(), left_as_it_was(asked.module):
        for _ in range(1 + twice):
            answer = called_as(convention.function, asked.module, tokens.clone(), lengths.clone())
    numbers: Tensor = answer.float().reshape(len(tokens), convention.units)
    return numbers


# --- the logits in an answer


def _places(asked: Asked, answers: Sequence[Any], rows: int, *, suffixes: bool) -> list[tuple[str, int]]:
    """Where in an answer [rows, units] stands, with the units; several places that say the same count once."""
    leaves = [dict(_leaves(answer)) for answer in answers]
    units = [asked.classes]
    if asked.classes == 2 and not asked.multi_label:
        units.append(1)
    places = []
    for wanted in units:
        found = []
        for suffix in leaves[0]:
            if suffix and not suffixes:
                continue
            further = {_reading(leaf.get(suffix), rows, wanted) for leaf in leaves}
            if len(further) == 1 and (reading := further.pop()) is not None:
                found.append((suffix + reading, wanted))
        # Beside the scores some give the labels themselves, as whole numbers.
        scores = [
            (suffix, units)
            for suffix, units in found
            if not all(torch.equal(leaf[suffix], leaf[suffix].round()) for leaf in leaves)
        ]
        # Where there are two labels, one number and two may both be the answer.
        places += scores or found
    return places


def _leaves(answer: Any, suffix: str = "", depth: int = 3) -> Iterator[tuple[str, Tensor]]:
    """The tensors of floating-point numbers in an answer, by what is written behind the call to reach each."""
    if isinstance(answer, Tensor):
        if answer.is_floating_point():
            yield suffix, answer
        return
    if depth == 0:
        return
    if isinstance(answer, dict):
        for key, value in answer.items():
            yield from _leaves(value, f"{suffix}[{key!r}]", depth - 1)
    elif dataclasses.is_dataclass(answer):
        for field in dataclasses.fields(answer):
            yield from _leaves(getattr(answer, field.name), f"{suffix}.{field.name}", depth - 1)
    elif isinstance(answer, list | tuple):
        for i, value in enumerate(answer):
            yield from _leaves(value, f"{suffix}[{i}]", depth - 1)


def _reading(leaf: Tensor | None, rows: int, units: int) -> str | None:
    """What brings a tensor to [rows, units], or to as many numbers in that order; None where it is something else."""
    if leaf is None:
        return None
    shape = tuple(leaf.shape)
    if shape in {(rows, units), (1, rows, units), (rows, 1, units), (rows, units, 1), (1, rows, units, 1)}:
        return ""
    if (units == 1 and shape == (rows,)) or (rows == 1 and shape in {(units,), (1, units)}):
        return ""
    if rows == 1 and units == 1 and shape == ():
        return ""
    return None


def _no_place(answer: Any, rows: int, asked: Asked) -> tuple[str, str]:
    """What is wrong with an answer that holds no [rows, classes]."""
    leaves = dict(_leaves(answer))
    texts = "1 text" if rows == 1 else f"{rows} texts"
    if isinstance(answer, Tensor) and not answer.is_floating_point():
        return (
            f"The module's forward gives a tensor of {answer.dtype}.",
            "Return logits: scores before softmax, not labels.",
        )
    if not leaves:
        return (
            f"The module's forward gives a {type(answer).__name__}, not a tensor.",
            "Return the logits [batch, classes], or say where they are: --call, or call=.",
        )
    shapes = ", ".join(f"answer{suffix} {list(leaf.shape)}" for suffix, leaf in leaves.items())
    if isinstance(answer, Tensor):
        shapes = f"a tensor of shape {list(answer.shape)}"
    advice = "Return logits [batch, classes] from forward, and give a label for every class."
    for suffix, leaf in leaves.items():
        if leaf.dim() == 3 and leaf.shape[-1] == asked.classes:
            axis = {rows: leaf.shape.index(rows)}.get(rows) if rows in leaf.shape[:2] else None
            last = "[:, -1]" if axis == 0 else "[-1]"
            advice = (
                "It holds one answer a step, or a layer: say which is that of the text, such as the last: "
                f'--call "module(tokens){suffix}{last}", or call=.'
            )
            break
    return f"The module gives {shapes} for {texts} and {asked.classes} labels.", advice


# --- logits or probabilities


def _with_activation(asked: Asked, convention: Convention) -> Convention:
    """The convention with what makes probabilities of its logits.

    Raises:
        ExportError: it gives probabilities that a bundle cannot, or numbers that may be either.
    """
    if asked.gives == "logits":
        return convention
    kind = "sigmoid" if asked.multi_label or convention.units == 1 else "softmax"
    rows = 1 if convention.one_text else asked.rows
    batches = []
    for width in itertools.chain(*asked.tried_widths):
        with contextlib.suppress(Exception, SystemExit):
            batch = asked.batch(rows, width)
            batches.append((batch, _read(asked, convention, *batch)))
    seen = CallsSeen()
    with torch.no_grad(), surroundings(), left_as_it_was(asked.module), seen:
        called_as(convention.function, asked.module, *batches[0][0])
    answers = [answer for _, answer in batches]
    between = all(bool(((answer >= 0) & (answer <= 1)).all()) for answer in answers)
    if not between:
        _refuse_logarithms(asked, convention, answers, logged=seen.logged)
        if asked.gives == "probabilities":
            raise ExportError("The module gives numbers that are no probabilities.", "Export it with --gives logits.")
        return convention
    for call in reversed(seen.calls[-4:]):
        passing = replace(convention, activation=call)
        logits = []
        with contextlib.suppress(Exception, SystemExit):
            for batch, _ in batches:
                with torch.no_grad(), surroundings(), left_as_it_was(asked.module), Passing(call):
                    logits.append(called_as(convention.function, asked.module, *batch).float().reshape(rows, -1))
        if len(logits) != len(batches):
            continue
        if _gives(kind, logits, answers):
            return passing
        if convention.units > 1 and _gives("sigmoid", logits, answers):
            raise ExportError(
                f"The module gives a sigmoid of each label ({call.line}), which need not sum to 1.",
                "If a text can have any number of labels, export it with --multi-label (multi_label=True). If softmax "
                "of these numbers is meant, as nn.CrossEntropyLoss takes them, with --gives logits (gives='logits').",
            )
    sums = convention.units > 1 and all(bool(((answer.sum(1) - 1).abs() < 1e-5).all()) for answer in answers)
    if asked.gives == "probabilities":
        if kind == "softmax" and not sums:
            raise ExportError(
                "The module gives numbers that do not sum to 1.", "Export it with --multi-label, or --gives logits."
            )
        return replace(convention, undone="sigmoid" if asked.multi_label else "softmax")
    if sums or seen.squashed:
        raise ExportError(
            "The module gives numbers between 0 and 1, which may be logits or probabilities.",
            "Say which: --gives logits or --gives probabilities, in Python gives=.",
        )
    return convention


def _refuse_logarithms(asked: Asked, convention: Convention, answers: Sequence[Tensor], *, logged: bool) -> None:
    """Refuse numbers that may be logarithms of a sigmoid, or negative ones of a softmax: taken for logits, they give
    other probabilities.

    Raises:
        ExportError: they may be.
    """
    line = convention.line
    if convention.units > 1 and not asked.multi_label:
        sums = [torch.exp(-answer).sum(1) for answer in answers]
        if all(bool(((total - 1).abs() < 1e-4).all()) for total in sums):
            raise ExportError(
                "The module gives negative log-probabilities: the least is the likeliest.",
                f'Say so: --call "-{line}", or call=.',
            )
    elif logged and all(bool((answer < 0).all()) for answer in answers):
        raise ExportError(
            "The module gives a logarithm of numbers that may be probabilities, and a bundle would take it for logits.",
            f'Say which: --gives logits (gives="logits"), or --call "torch.logit(torch.exp({line}))".',
        )


def _gives(kind: str, logits: Sequence[Tensor], answers: Sequence[Tensor]) -> bool:
    return all(
        torch.allclose(activated(kind, given), answer, atol=1e-6) for given, answer in zip(logits, answers, strict=True)
    )


# --- refusals


def _raised(error: BaseException, asked: Asked) -> tuple[str, str]:
    """What a module raised, at which line of its owner's, and what may help."""
    what = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
    line = _line_of(error)
    names = ", ".join(parameter.name for parameter in _parameters(asked.module))
    advice = f'Its forward takes ({names}): say how it is called, --call "module(tokens, ...)", or call=.'
    if isinstance(error, IndexError) and "out of range in self" in str(error):
        advice = (
            f"The vocabulary has {asked.ids} ids: check that the embedding has a row for each, and the arguments of "
            "forward."
        )
    return f"The module fails{line}: {what}.", advice


def _line_of(error: BaseException) -> str:
    """Where in the user's files an error was raised."""
    torch_files = str(Path(torch.__file__).parent)
    ours = str(Path(__file__).parent.parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((torch_files, ours, "<")):
            return f" at {Path(frame.filename).name}:{frame.lineno}"
    return ""


def _ambiguous(holding: Sequence[_Holds]) -> ExportError:
    lines = " and ".join(f'"{holds.convention.line}"' for holds in holding[:3])
    return ExportError(
        f"The module can be called in {len(holding)} ways that give other answers: {lines}.",
        f'Say which is right: --call "{holding[0].convention.line}", or call=.',
    )


def _refusal(asked: Asked, failures: Sequence[_Fails]) -> ExportError:
    """The failure that says most, of the likeliest way."""
    if not failures:
        names = ", ".join(p.name for p in _parameters(asked.module)) or "none"
        return ExportError(
            f"The module's forward takes the arguments {names}, none of which can be the tokens.",
            'Say how it is called: --call "module(tokens)", or call=.',
        )
    # What a strange way of calling says means little: of the weak reasons, that of the first way counts.
    best = max(failures, key=lambda failed: failed.rank if failed.rank > 2 else 0)
    first = best if best.rank > 2 else failures[0]
    if first.rank < 2 and (plain := [f for f in failures if f.rank == 2 and f.line.startswith(_PLAIN)]):
        first = plain[0]
    error = ExportError(f"{first.problem.rstrip('.')}, called as {first.line}.", first.advice)
    error.__cause__ = first.error
    return error
