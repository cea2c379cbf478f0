"""List the lines of code that may call a module, the likely lines first. They cover the common forms of forward.

One table lists the possible values of each input by its role. One input is the text, at most one the lengths, and at
most one the mask. Any other input gets a constant, and only if its value does not change the answer
(`constants_for_non_text_inputs.py`).
"""

from __future__ import annotations

import itertools
import re
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from torch import nn

from pocketrnn_export.intake.call_discovery.character_pair_and_feature_inputs import (
    list_character_signatures,
    list_feature_assignments,
    list_pair_lines,
)
from pocketrnn_export.intake.call_discovery.forward_signature import CodesByInput, Signature, Slot, list_signatures
from pocketrnn_export.intake.call_discovery.initial_states import list_initial_states
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import (
    ModuleFacts,
    list_forward_parameters,
)
from pocketrnn_export.intake.call_discovery.parameter_roles import Role

# A row that begins with its length. Any module runs on such numbers as tokens, so this line is tried last.
LENGTH_FIRST: Final = "module(torch.cat([lengths[:, None], tokens], dim=1))"
# The most ways that are tried: each takes some milliseconds.
MOST_LINES: Final = 240
_MOST_OF_METHOD: Final = 60
# The names of methods that give labels, and of methods that are never tried.
_ANSWERS: Final = re.compile(r"predict|decode|tag|infer|annotate", re.IGNORECASE)
_NO_ANSWER: Final = re.compile(
    r"^__.*__$|loss|likelihood|nll|score|partition|alpha|train|fit|eval|test|init|reset|rand|load|save|set_|hidden",
    re.IGNORECASE,
)

Given = Literal["tokens", "lengths", "mask", "state", "constant", "known", "default", "beside"]


@dataclass(frozen=True)
class _InputOption:
    """Code for the value of an input, and the kind of the value. For a constant, the code is found later."""

    value: str | None
    given: Given


@dataclass(frozen=True)
class CallCandidate:
    """A possible call of a module: which method is called, and with which value for each input.

    Attributes:
        signature: the inputs of forward; None if the line is given by `plain`.
        options: the value that each input is given.
        plain: the line, if there is no signature.
        setup: statements that prepare the module before the call, ending in "; ".
        method: the name of the method that is called; empty for forward.
        around: code with {} in the place of the call, which reads the input of a CRF or joins the heads; empty for the
            call alone.
    """

    signature: Signature | None
    options: tuple[_InputOption, ...] = ()
    plain: str = ""
    setup: str = ""
    method: str = ""
    around: str = ""

    @property
    def line(self) -> str:
        """The line of code that makes this call of the module."""
        line = self.plain if self.signature is None else self.signature.write([one.value for one in self.options])
        if self.method:
            line = line.replace("module(", f"module.{self.method}(", 1)
        return self.setup + (self.around.replace("{}", line) if self.around else line)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The inputs of forward."""
        return () if self.signature is None else self.signature.slots

    def find_inputs_of_kind(self, kind: Given) -> list[int]:
        """Return the indexes of the inputs to which this call gives a value of one kind, such as lengths or a
        constant."""
        return [i for i, option in enumerate(self.options) if option.given == kind]

    def replace_value(self, i: int, value: str | None) -> CallCandidate:
        """Return a copy of this candidate with `value` for the input with the index `i`. If `value` is None, the call
        leaves this input out."""
        options = list(self.options)
        options[i] = replace(options[i], value=value)
        return replace(self, options=tuple(options))

    def give_lengths_only_to(self, input_index: int) -> CallCandidate:
        """Return a copy of this candidate that gives the lengths of the texts to one input only. Any other input of
        lengths gets the width of the batch as the length of each text."""
        full = "torch.full_like(lengths, tokens.size(1))"
        forms = {"[tokens.size(1)]": "lengths.tolist()", "tokens.size(1)": "int(lengths[0])"}
        options = [
            replace(
                option,
                value=None
                if option.value is None
                else forms.get(option.value, option.value)
                if j == input_index
                else re.sub(r"\blengths\b", full, option.value),
            )
            for j, option in enumerate(self.options)
        ]
        return replace(self, options=tuple(options))


def list_method_candidates(facts: ModuleFacts) -> Iterator[CallCandidate]:
    """Yield candidates that call a method other than forward, such as a tagger's `decode`. Methods whose name says that
    they decode come first."""
    module = facts.module
    names = [
        name
        for kind in type(module).__mro__[: type(module).__mro__.index(nn.Module)]
        for name, value in vars(kind).items()
        if isinstance(value, types.FunctionType) and name != "forward" and not _NO_ANSWER.search(name)
    ]
    for name in sorted(dict.fromkeys(names), key=lambda name: not _ANSWERS.search(name)):
        own = vars(module).get("forward")
        vars(module)["forward"] = getattr(module, name)
        try:
            ways = list(list_forward_candidates(facts)) if list_forward_parameters(module) else []
        finally:
            del vars(module)["forward"]
            vars(module).update({} if own is None else {"forward": own})
        yield from (replace(way, method=name) for i, way in enumerate(ways) if i < _MOST_OF_METHOD or way.plain)


def list_forward_candidates(facts: ModuleFacts) -> Iterator[CallCandidate]:
    """Yield the candidates that call the module's forward, the likely ones first."""
    if facts.two_texts:
        yield from (
            CallCandidate(None, plain=line) for line in list_pair_lines(facts.module, with_lengths=facts.lengths)
        )
        return
    seen = set()
    signatures = list(list_signatures(facts.module))
    for signature, values in (found for one in signatures for found in _yield_feature_and_character_inputs(facts, one)):
        choices = [
            _make_options("beside", *values[i]) if i in values else _list_input_options(facts, signature, i)
            for i in range(len(signature.slots))
        ]
        lengths = [[option.given == "lengths" for option in options] for options in choices]
        each = (
            ranks
            for ranks in itertools.product(*(range(len(c)) for c in choices))
            if sum(of[rank] for of, rank in zip(lengths, ranks, strict=True)) <= 1
        )
        # Sorted by the sum of ranks: a likely value for every input comes before an unlikely one for any.
        for ranks in sorted(each, key=lambda ranks: (sum(ranks), ranks))[: 8 * MOST_LINES]:
            way = CallCandidate(signature, tuple(options[rank] for options, rank in zip(choices, ranks, strict=True)))
            if facts.lengths is True and "lengths" not in way.line:
                continue
            if way.line not in seen:
                seen.add(way.line)
                yield way
    if facts.lengths is False or facts.features or facts.spellings is not None:
        return
    required = [slot for s in signatures[:1] for slot in s.slots if slot.required]
    # A module that takes lengths, too, may be given them beside the packed sequence that holds them.
    beside = ", lengths" if len(required) == 2 and required[1].role == "lengths" else ""
    if len(required) == 1 or beside:
        for tokens in ("tokens", "tokens.unsqueeze(2)"):
            packed = f"pack_padded_sequence({tokens}, lengths, batch_first=True, enforce_sorted=False)"
            yield CallCandidate(None, plain=f"module({packed}{beside})")
    if len(required) == 1 and not facts.samples:
        yield CallCandidate(None, plain=LENGTH_FIRST)


def _yield_feature_and_character_inputs(
    facts: ModuleFacts, signature: Signature
) -> Iterator[tuple[Signature, CodesByInput]]:
    """Yield pairs (signature, codes) for each possible signature. The codes are a dict from the index of each input
    that takes features or characters to a list of code for the values to try. The dict is empty if the module takes
    neither."""
    if facts.spellings is not None:
        yield from list_character_signatures(signature, facts.spellings.characters)
    elif facts.features:
        yield from ((signature, values) for values in list_feature_assignments(signature, facts.features))
    else:
        yield signature, {}


def _list_input_options(facts: ModuleFacts, signature: Signature, input_index: int) -> list[_InputOption]:
    """Return code for the values that a call may give to an input, the likeliest first."""
    slot = signature.slots[input_index]
    taken = any(other.role == "lengths" for other in signature.slots) or facts.lengths is False
    options = _TABLE[slot.role](facts)
    # A state is made as (hidden, cell).
    states = sorted(
        (j for j, other in enumerate(signature.slots) if other.role == "state"),
        key=lambda j: signature.slots[j].name.lstrip("_").startswith("c"),
    )
    if input_index in states and len(states) > 1:
        options = _make_options("state", *list_initial_states(facts.module, states.index(input_index)))
    if not signature.plain:
        # A module that takes its text in a tuple or a dict has an embedding, and names for the other inputs.
        options = options[: {"tokens": 2, "mask": 3}.get(slot.role, len(options))]
    if slot.role == "other" and slot.required and not taken and not slot.no_count:
        # A module with a temperature runs with any number. So an input that is not named as lengths gets lengths only
        # as a tensor or a list.
        options = [*(option for option in _list_length_options(facts) if option.value != "tokens.size(1)"), *options]
    if slot.role == "lengths" and facts.lengths is False:
        options = _make_placeholder_of_constant(facts)
    if slot.required:
        return options
    # An input without a role keeps its default.
    left_out = [_InputOption(None, "default")]
    if slot.role in {"other", "targets"}:
        return left_out
    given = [option for option in options if option.given != "constant"]
    return [*given, *left_out] if slot.role in {"lengths", "batch size"} else [*left_out, *given]


def _make_options(kind: Given, *values: str) -> list[_InputOption]:
    return [_InputOption(value, kind) for value in values]


def _list_token_options(facts: ModuleFacts) -> list[_InputOption]:
    """Return code for the values that a call may give to the input of tokens: ids in several shapes, or one-hot
    vectors."""
    # A module that takes vectors fails on ids, so that they are first where it may take some.
    plain = _make_options(
        "tokens", *_list_one_hot_options(facts.module, facts.ids), "tokens", "tokens.t()", "tokens[0]"
    )
    return [*plain, *_make_options("tokens", "tokens.unsqueeze(1)", "tokens.unsqueeze(2)")]


def _list_length_options(_facts: ModuleFacts) -> list[_InputOption]:
    """Return code for the values that a call may give to the input of lengths: a tensor, a list, an array or a
    number."""
    return _make_options(
        "lengths", "lengths", "lengths.tolist()", "lengths.numpy()", "[tokens.size(1)]", "tokens.size(1)"
    )


def _make_placeholder_of_constant(_facts: ModuleFacts) -> list[_InputOption]:
    return _make_options("constant", "None")


_TABLE: Final[dict[Role, Callable[[ModuleFacts], list[_InputOption]]]] = {
    "tokens": _list_token_options,
    "lengths": _list_length_options,
    "mask": lambda facts: _make_options("mask", *list_mask_expressions(facts)),
    "state": lambda facts: _make_options("state", *list_initial_states(facts.module)),
    "batch size": lambda _facts: _make_options("known", "tokens.size(0)"),
    "device": lambda _facts: _make_options("known", "tokens.device"),
    "training": lambda _facts: _make_options("known", "False"),
    "targets": _make_placeholder_of_constant,
    "other": _make_placeholder_of_constant,
}


def _list_one_hot_options(module: nn.Module, ids: int) -> list[str]:
    """Return code for one-hot tokens, if the module has no embedding and its recurrent layer may take them. Otherwise,
    return an empty list."""
    layers = list(module.modules())
    if any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in layers):
        return []
    sizes = {layer.input_size for layer in layers if isinstance(layer, nn.RNNBase)}
    if ids in sizes:
        return [f"F.one_hot({tokens}, {ids}).float()" for tokens in ("tokens", "tokens.t()")]
    if ids - 1 in sizes:
        # The last id, such as that of padding, becomes a vector of zeros.
        return [f"F.one_hot({tokens}, {ids})[..., :-1].float()" for tokens in ("tokens", "tokens.t()")]
    return []


def list_mask_expressions(facts: ModuleFacts) -> Sequence[str]:
    """Return code for masks that are true at tokens, and for masks that are true at padding. The code compares
    positions with the lengths or, if the rules pad texts to a smallest width, ids with the padding id."""
    real = "torch.arange(tokens.size(1)) < lengths[:, None]"
    padding = "torch.arange(tokens.size(1)) >= lengths[:, None]"
    if facts.widths.least > 1:
        real, padding = f"tokens != {facts.padding_id}", f"tokens == {facts.padding_id}"
    return [
        real, f"({real}).float()", f"({real}).long()", padding, f"({real}).t()", f"({real}).float().t()",
        f"({padding}).float()", f"torch.zeros(tokens.shape).masked_fill({padding}, -1e9)",
    ]  # fmt: skip
