"""Find constants for the inputs other than the text. Refuse a module if the values of these inputs change the
answer."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import types
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn.errors import first_line
from pocketrnn_export.intake.call_discovery.call_candidates import CallCandidate, list_mask_expressions
from pocketrnn_export.intake.call_discovery.call_failures import SAY_TWO_TEXTS, FailedCall, Reason
from pocketrnn_export.intake.call_discovery.initial_states import find_state_methods_with_arguments
from pocketrnn_export.intake.call_discovery.logits_location import find_float_tensors
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import Batch, ModuleFacts
from pocketrnn_export.intake.run_that_undoes_assignments import run_quietly_and_undo_assignments
from pocketrnn_export.intake.user_code_lines_for_messages import run_user_call
from pocketrnn_export.module_runs.operator_recording import (
    BESIDE,
    OperatorRecorder,
    Program,
    find_first_different_operator,
)

# Answers that differ by more are different.
_NEAR: Final = 1e-6
# The name of an input for the position of each token, and its value.
_PLACES: Final = re.compile(r"(?:^|_)(?:pos|position|place)s?(?:_|$)")
_EACH_PLACE: Final = "torch.arange(tokens.size(1)).expand_as(tokens)"
# If this many constants of different kinds all give one error, the constant is not its cause.
_SAME_ERROR: Final = 4
# Said instead of a kind where the module runs with one value only.
_ONE_VALUE: Final = "only one value of it runs"
# The most combinations of constants that are tried for several inputs.
_MOST: Final = 160
# Masks that are true everywhere, beside those that are true nowhere.
_MASKS: Final = tuple(
    tuple(f"torch.{made}(tokens.shape{kind}){end}" for made in ("ones", "zeros"))
    for kind in (", dtype=torch.bool", "", ", dtype=torch.long") for end in ("", ".t()")
)  # fmt: skip


@dataclass(frozen=True)
class _ValueKind:
    """A kind of value for an input: its name in messages, and the code of several such values."""

    said: str
    values: tuple[str, ...]


@functools.lru_cache(maxsize=1)
def _list_cached_value_kinds(facts: ModuleFacts) -> tuple[_ValueKind, ...]:
    return tuple(_yield_value_kinds(facts))


def _yield_value_kinds(facts: ModuleFacts) -> Iterator[_ValueKind]:
    """Yield the kinds of values that an input may take, each with small and large values to try."""
    ids, top = facts.ids, max(2, facts.ids - 1)
    yield _ValueKind("no value", ("None",))
    rows = "torch.arange(tokens.size(0))"
    yield _ValueKind(
        "a number for each text, such as the id of a user or a domain",
        (
            "torch.zeros(tokens.size(0), dtype=torch.long)", "torch.ones(tokens.size(0), dtype=torch.long)",
            f"{rows} + 1",
            *(f"torch.full((tokens.size(0),), {n})" for n in (2, 3, 4, 5, 7, 9, top, 1000, 10**6, -1)),
            "torch.zeros(tokens.size(0))", f"{rows} * 1.7 - 0.6", f"{rows} * -1.3 + 40.5",
            "torch.zeros(tokens.size(0), 1)", f"({rows} * 1.7 - 0.6)[:, None]",
            "torch.zeros(tokens.size(0), 1, dtype=torch.long)", f"({rows} + 1)[:, None]",
        ),
    )  # fmt: skip
    every = f"(torch.arange(tokens.numel()).reshape(tokens.shape) * 7 + 3) % {ids}"
    for said, more in (("a second text", 3), ("a number for each token, such as its type or place", 0)):
        wide = every if not more else f"F.pad({every}, (0, {more}), value={top})"
        for end in ("", ".t()"):
            yield _ValueKind(
                said,
                (
                    f"torch.zeros_like({wide}){end}", f"torch.ones_like({wide}){end}", f"({wide}){end}",
                    f"(({wide}) % 9){end}", f"(({wide}) * 0.37 - 1.1){end}", f"(({wide}) % 2 > 0){end}",
                ),
            )  # fmt: skip
    yield _ValueKind(
        "rows of ids for each token",
        tuple(f"{v}[..., None].repeat(1, 1, 6)" for v in ("(tokens * 0)", f"({every} % 9)")),
    )
    of_layers = _list_layer_sizes(facts.module, "in_features", "input_size", "embedding_dim")
    for size in list(dict.fromkeys([facts.classes, *of_layers]))[:6]:
        numbers = f"(torch.arange(tokens.size(0) * {size}).reshape(-1, {size}) * 0.37 - 1.1)"
        yield _ValueKind("numbers for each text, such as features", (f"torch.zeros(tokens.size(0), {size})", numbers))
        steps = f"(torch.arange(tokens.numel() * {size}).reshape(*tokens.shape, {size}) * 0.07 - 1.1)"
        yield _ValueKind("numbers for each token", (f"torch.zeros(*tokens.shape, {size})", steps))
    yield _ValueKind("an image", ("torch.zeros(tokens.size(0), 3, 32, 32)", "torch.ones(tokens.size(0), 3, 32, 32)"))
    for state in _write_state_shapes(facts.module):
        zeros, ones = f"torch.zeros({state})", f"torch.full(({state}), 0.7)"
        yield _ValueKind("a state", (zeros, ones))
        yield _ValueKind("a state", (f"({zeros}, {zeros})", f"({ones}, {ones})"))
    yield _ValueKind("one number", tuple(map(str, (0, 1, 2, 3, 5, 7, 0.5, 12, -1, -3.5, 1000, 10**6))))
    yield _ValueKind("one number", tuple(f"torch.tensor({n})" for n in (0, 1, 5, 0.5, -3.5, 1000)))
    yield _ValueKind("a switch", ("False", "True"))
    if constants := list(dict.fromkeys(_find_constants_in_module_code(facts.module)))[:24]:
        yield _ValueKind("a word or number of its code", (*map(repr, constants), "'a'"))
        keys = [constant for constant in constants if isinstance(constant, str)]
        for value in ("torch.ones(tokens.shape)", "torch.ones(tokens.size(0), dtype=torch.long)", "1", "None"):
            yield _ValueKind("a dict by words of its code", (f"dict.fromkeys({keys!r}, {value})",))


def _list_layer_sizes(module: nn.Module, *names: str) -> list[int]:
    """Return up to six different integers from the module's layers: the values of attributes with these names, such as
    hidden_size."""
    sizes = (getattr(layer, name, None) for layer in module.modules() for name in names)
    return list(dict.fromkeys(size for size in sizes if isinstance(size, int)))[:6]


def _write_state_shapes(module: nn.Module) -> list[str]:
    """Return a list with code for the shape of an initial state of the first recurrent layer. Return an empty list if
    there is no such layer."""
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            return [f"{layer.num_layers * (1 + layer.bidirectional)}, tokens.size(0), {layer.hidden_size}"]
    return []


def _find_constants_in_module_code(module: nn.Module) -> Iterator[str | int | float]:
    """Yield the constant strings and numbers in the code of the module's own classes, as values to try for an input."""
    if isinstance(module, torch.jit.ScriptModule):
        return
    for kind in dict.fromkeys(
        type(layer) for layer in module.modules() if not type(layer).__module__.startswith("torch.")
    ):
        for function in vars(kind).values():
            if isinstance(function, types.FunctionType):
                yield from _find_constants_in_code(function.__code__)


def _find_constants_in_code(code: types.CodeType) -> Iterator[str | int | float]:
    """Yield the constant numbers and short strings in code, also in the functions inside it."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _find_constants_in_code(constant)
        elif isinstance(constant, str | int | float) and (not isinstance(constant, str) or len(constant) < 40):
            yield constant


# --- trying them


def find_candidate_with_constants(
    facts: ModuleFacts, way: CallCandidate, batches: Sequence[Batch]
) -> CallCandidate | None:
    """Try constants for the inputs that take neither the text nor lengths. Return the candidate with the first
    constants for which the module gives finite numbers. Return None if there are none. A candidate without such inputs
    is returned as it is."""
    wanted = way.find_inputs_of_kind("constant")
    if not wanted:
        return way
    kinds = [kind.values for kind in _list_cached_value_kinds(facts)]
    first = [values[0] for values in kinds]
    # Further values where the first one fails: a length of 0, a division by 0.
    single = [*first, *(value for values in kinds for value in values[1:3])]
    alike = ((value,) * len(wanted) for value in single)
    errors: list[str] = []
    for values in itertools.islice(itertools.chain(alike, itertools.product(first, repeat=len(wanted))), _MOST):
        tried = way
        for i, value in zip(wanted, values, strict=True):
            tried = tried.replace_value(i, value)
        answer = _compute_answer_tensors(facts, tried, batches[0], errors)
        if answer is not None and all(bool(torch.isfinite(leaf).all()) for leaf in answer.values()):
            return tried
        # The same error for every value has another cause.
        if len(errors) == _SAME_ERROR and len(set(errors)) == 1:
            return None
    return None


def make_changing_inputs_failure(
    facts: ModuleFacts, way: CallCandidate, suffix: str, batches: Sequence[Batch]
) -> FailedCall | None:
    """Return the failure of a call whose answer changes, or may change, with the constants that it gives to inputs
    other than the text. Return None for any other call."""
    changing = [
        (i, _describe_value_kind_that_changes_answer(facts, way, i, suffix, batches[0]))
        for i in way.find_inputs_of_kind("constant")
    ]
    said = [f"{way.slots[i].name} ({kind})" for i, kind in changing if kind is not None]
    if not said:
        return None
    at = " and ".join(said)
    names = " and ".join(way.slots[i].name for i, kind in changing if kind is not None)
    text = next((slot.name for slot in way.slots if slot.role == "tokens"), "tokens")
    problem = f"The module's forward takes {at} beside the text, and its value changes the answer"
    advice = (
        f"If {names} {'are' if ' and ' in names else 'is'} always the same, give the values in the line: "
        f'--call "{way.line}{suffix}", or call=.'
    )
    of_each = any(kind is not None and "each text" in kind for _, kind in changing)
    if of_each and not facts.features and not facts.samples:
        advice += (
            " If it is a number or a category of each text, make it a feature: --features, in Python features= "
            "(docs/features.md)."
        )
    else:
        advice += f" A bundle is given nothing but a text{', and its features' * bool(facts.features)}."
    if all(kind in (None, _ONE_VALUE) for _, kind in changing):
        values = " and ".join(f"{way.slots[i].name}={way.options[i].value}" for i, kind in changing if kind is not None)
        problem = (
            f"The module's forward takes {names} beside the text, and runs with only one of the tried values, "
            f"{values}: it is not known whether other values change the answer"
        )
    places = [i for i, kind in changing if kind is not None and _PLACES.search(way.slots[i].name)]
    if places:
        placed = way
        for i in places:
            placed = placed.replace_value(i, _EACH_PLACE)
        if _compute_answer_tensors(facts, placed, batches[0]) is not None:
            advice += f' If it is the place of each token: --call "{placed.line}{suffix}".'
    if any(kind == "a second text" for _, kind in changing):
        problem = f"The module's forward takes two texts, {text} and {at}"
        advice = f"{SAY_TWO_TEXTS} {advice}"
    return FailedCall(way.line, Reason.INPUT_BESIDE, problem, advice)


def _describe_value_kind_that_changes_answer(
    facts: ModuleFacts, way: CallCandidate, input_index: int, suffix: str, batch: Batch
) -> str | None:
    """Find a kind of value for the input with the index `input_index` that changes the answer. Return a phrase that
    names the kind, or a sentence if too few values could be tried. Return None if no value changes the answer."""
    own = trace_answer(facts, way, suffix, batch)
    if own is None:
        return "no value that was tried runs twice"
    ran, changing = 0, []
    for kind in _list_cached_value_kinds(facts):
        for value in kind.values:
            answer = trace_answer(facts, way.replace_value(input_index, f"beside({value})"), suffix, batch)
            # An answer of another shape, as for a switch that adds an output, shows nothing.
            if answer is None or answer.numbers.shape != own.numbers.shape:
                continue
            ran += value not in {"None", way.options[input_index].value}
            if answer.reads_beside or not answer.equals_up_to_rounding(own):
                changing.append(kind.said)
                break
    if "a second text" in changing and "one number" in changing:
        return "a value of any kind"
    if changing:
        # The kind with the most axes is the right one; a number for each text can often be broadcast to it.
        ranks = ("a second text", "token", "features", "each text", "state", "word", "")
        return min(
            dict.fromkeys(changing),
            key=lambda said: next(rank for rank, part in enumerate(ranks) if part in said),
        )
    return None if ran >= 2 else _ONE_VALUE


@dataclass(frozen=True)
class _TracedAnswer:
    """The numbers of an answer, the operators that compute them from the text, and whether the answer depends on
    another input."""

    numbers: Tensor
    program: Program
    reads_beside: bool

    def equals_up_to_rounding(self, other: _TracedAnswer) -> bool:
        """Return whether both answers have equal numbers and equal programs, up to rounding."""
        return (
            is_equal_up_to_rounding(self.numbers, other.numbers)
            and find_first_different_operator(self.program, other.program) is None
        )


def trace_answer(
    facts: ModuleFacts,
    way: CallCandidate,
    suffix: str,
    batch: Batch,
    *,
    skip_neutral_operators: bool = False,
) -> _TracedAnswer | None:
    """Call the module. Return the part of its answer that the code `suffix` selects, with the operators that compute
    this part from the text. Return None if the module fails, or if its answer lacks this part. With
    `skip_neutral_operators`, operators that do not change the numbers are left out."""
    operations = OperatorRecorder(neutral=skip_neutral_operators)
    answer = (_compute_answer_tensors(facts, way, batch, operations=operations) or {}).get(suffix)
    if answer is None:
        return None
    program = operations.extract_program(operations.find_steps_that_made(answer), "text")
    return _TracedAnswer(answer, program, BESIDE in operations.find_labels(answer))


def _compute_answer_tensors(
    facts: ModuleFacts,
    way: CallCandidate,
    batch: Batch,
    errors: list[str] | None = None,
    operations: OperatorRecorder | None = None,
) -> dict[str, Tensor] | None:
    """Return the tensors in the module's answer, each by the code that selects it. If the module fails, add the error
    to `errors` and return None."""
    tokens, lengths = (value.clone() for value in batch)
    if operations is not None:
        operations.label_tensors("text", tokens, lengths)
    try:
        with run_quietly_and_undo_assignments(facts.module), operations or contextlib.nullcontext():
            answer: Any = run_user_call(facts.compile(way.line), facts.module, tokens, lengths)
    # Whatever a user's module raises.
    except (Exception, SystemExit) as error:
        if errors is not None:
            errors.append(f"{type(error).__name__} {error}")
        return None
    return dict(find_float_tensors(answer)) or None


def is_equal_up_to_rounding(one: Tensor | None, other: Tensor) -> bool:
    """Return whether two answers have the same shape, and the same numbers up to rounding."""
    return one is not None and one.shape == other.shape and bool(torch.allclose(one, other, rtol=_NEAR, atol=_NEAR))


# --- what messages say


def note_inputs_with_defaults(
    facts: ModuleFacts, way: CallCandidate, suffix: str, batches: Sequence[Batch]
) -> tuple[str, ...]:
    """Return notes on inputs that keep their defaults although other values may change the answer. Also note which
    initial states are assumed."""
    notes, telling, lines = [], [], list[str]()
    own = None if way.signature is None else trace_answer(facts, way, suffix, batches[0])
    if own is None:
        return ()
    made = [f"module.{name}({arguments})" for name, arguments in find_state_methods_with_arguments(facts.module)]
    for i, slot in enumerate(way.slots):
        if way.options[i].given == "default" and slot.role in {"other", "state"}:
            values = (
                [v for kind in _list_cached_value_kinds(facts) for v in kind.values] if slot.role == "other" else made
            )
            given = [way.replace_value(i, f"beside({value})" if slot.role == "other" else value) for value in values]
            ran = [
                one for one in (trace_answer(facts, other, suffix, batches[0]) for other in given) if one is not None
            ]
            same = [
                not one.reads_beside and one.equals_up_to_rounding(own)
                for one in ran
                if one.numbers.shape == own.numbers.shape
            ]
            enough = 3 if slot.default is None else 1
            if not all(same) or (slot.role == "other" and len(ran) < enough):
                telling.append(f"{slot.name} ({slot.default!r:.40})")
        if (
            way.options[i].given == "default"
            and slot.role == "mask"
            and _may_mask_of_all_tokens_change_answer(facts, way, i, suffix, batches[0])
        ):
            telling.append(f"{slot.name} ({slot.default!r:.40})")
            lines += _list_first_line_with_mask(facts, way, i, suffix, batches[0])
        value = way.options[i].value
        if way.options[i].given == "state" and not (value and value.startswith(tuple(made))):
            notes.append(f"forward's {slot.name} is given {value}, on the assumption that each text begins so.")
    telling += [f"{name} (nothing)" for name in way.signature.more] if way.signature is not None else []
    if telling:
        notes.insert(
            0,
            "These inputs of forward keep their defaults, but other values may change the answer: "
            f"{', '.join(telling)}. If your code gives other values, give them with --call or call="
            f"{f', as in {chr(34)}{lines[0]}{chr(34)}' if lines else ''}.",
        )
    return tuple(notes)


def _list_first_line_with_mask(
    facts: ModuleFacts, way: CallCandidate, input_index: int, suffix: str, batch: Batch
) -> tuple[str, ...]:
    """Return the line of the first call that runs with a mask for the input `input_index`, in a tuple. Return an empty
    tuple if no mask runs."""
    masked = (way.replace_value(input_index, mask) for mask in list_mask_expressions(facts))
    return next(((one.line + suffix,) for one in masked if trace_answer(facts, one, suffix, batch) is not None), ())


def _may_mask_of_all_tokens_change_answer(
    facts: ModuleFacts, way: CallCandidate, input_index: int, suffix: str, batch: Batch
) -> bool:
    """Return whether a mask that hides no token may change the answer. The mask is given to the input `input_index`."""
    own = trace_answer(facts, way, suffix, batch, skip_neutral_operators=True)
    if own is None:
        return False
    told = False
    for both in _MASKS:
        of_ones, of_zeros = (
            trace_answer(facts, way.replace_value(input_index, mask), suffix, batch, skip_neutral_operators=True)
            for mask in both
        )
        for one, other in ((of_ones, of_zeros), (of_zeros, of_ones)):
            # The opposite mask hides everything, so this one hides nothing.
            if (
                one is not None
                and one.equals_up_to_rounding(own)
                and (other is None or not is_equal_up_to_rounding(other.numbers, own.numbers))
            ):
                return False
        told = told or any(one is not None and not one.equals_up_to_rounding(own) for one in (of_ones, of_zeros))
    return told


def find_line_with_opposite_mask(
    facts: ModuleFacts, way: CallCandidate, suffix: str, batches: Sequence[Batch]
) -> str | None:
    """Return the line of the call with the opposite mask, if this call gives the same answers to the trial texts but
    computes them by other operators: it is then unclear which mask is right. Return None if only one kind of mask
    fits."""
    for i in way.find_inputs_of_kind("mask"):
        own, masks = trace_answer(facts, way, suffix, batches[0]), list_mask_expressions(facts)
        kinds = [value for value in masks if _is_padding_mask(value) != _is_padding_mask(way.options[i].value)]
        for value in kinds:
            other = trace_answer(facts, way.replace_value(i, value), suffix, batches[0])
            if (
                own
                and other
                and is_equal_up_to_rounding(own.numbers, other.numbers)
                and find_first_different_operator(own.program, other.program) is not None
            ):
                return way.replace_value(i, value).line + suffix
    return None


def _is_padding_mask(mask: str | None) -> bool:
    return mask is not None and (">=" in mask or "==" in mask)


def make_failure_of_inputs_without_working_value(
    ways: Sequence[CallCandidate], error: BaseException | None, roles: Collection[str] = ("other",)
) -> FailedCall | None:
    """Return the failure of a module that fails with all values that were tried for its inputs besides the text. Return
    None if it has no such inputs, or if one of them has no name, or a role that is not in `roles`."""
    way = next((way for way in ways if way.find_inputs_of_kind("constant")), None)
    if way is None or any(
        way.slots[i].role not in roles or not way.slots[i].named for i in way.find_inputs_of_kind("constant")
    ):
        return None
    names = " and ".join(way.slots[i].name for i in way.find_inputs_of_kind("constant"))
    why = f" ({type(error).__name__}: {first_line(error).rstrip('.')})" if error is not None else ""
    return FailedCall(
        way.line,
        Reason.USELESS_LOGITS,
        f"The module's forward takes {names} beside the text, but runs with none of the tried values{why}",
        f'Give the call: --call "{way.line}" with a value for {names}, or call=. A bundle is given nothing but a text.',
    )


def make_number_inputs_failure(facts: ModuleFacts, ways: Sequence[CallCandidate]) -> FailedCall | None:
    """Return the failure of a module that takes numbers instead of ids. Return None for a module that takes ids."""
    if any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in facts.module.modules()):
        return None
    batch = facts.draw_batch(facts.trial_rows, facts.widths.clip(29))
    for way in [way for way in ways if way.signature is not None][:24]:
        for size in _list_layer_sizes(facts.module, "input_size", "in_channels", "in_features"):
            numbers = f"torch.zeros(*tokens.shape, {size})"
            for value in (numbers, f"{numbers}.transpose(0, 1)", f"{numbers}.transpose(1, 2)"):
                if (
                    _compute_answer_tensors(
                        facts, way.replace_value(way.find_inputs_of_kind("tokens")[0], value), batch
                    )
                    is not None
                ):
                    name = way.slots[way.find_inputs_of_kind("tokens")[0]].name
                    return FailedCall(
                        way.line,
                        Reason.OTHER_ANSWER,
                        f"The module's forward takes numbers, {name} [batch, sequence, {size}], and not ids of "
                        "tokens: it has no embedding",
                        "Put the embedding that made these numbers into the module, or say how ids become numbers: "
                        "--call, or call=.",
                    )
    return None
