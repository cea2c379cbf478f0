"""Describe why a call of a module fails, and make the error for a module with which every call fails. Advise on a
module that holds a batch size, or a state for a fixed number of texts."""

from __future__ import annotations

import enum
import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from pocketrnn.errors import ExportError, first_line
from pocketrnn_export.intake.call_discovery.character_pair_and_feature_inputs import (
    is_characters_name,
    write_pair_line_with_masks,
)
from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import (
    ModuleFacts,
    list_forward_parameters,
)
from pocketrnn_export.intake.call_discovery.trial_answers import can_run_line
from pocketrnn_export.intake.character_pair_and_feature_calls import list_feature_variables
from pocketrnn_export.intake.compiled_call_line import write_layer_code
from pocketrnn_export.intake.user_code_lines_for_messages import write_place
from pocketrnn_export.torch_internals import TORCH_FOLDER, read_own_buffers, read_own_parameters

# A sentence on the fault of a module or a call, and another on the remedy.
ProblemAndAdvice: TypeAlias = tuple[str, str]
# The line of a call, and the code that selects a part of its answer, such as `[0]`; empty for the whole answer.
CallAndPart: TypeAlias = tuple[str, str]
SAY_TWO_TEXTS: Final = "If the module takes two texts, give --two-texts (two_texts=True in Python)."

# Part of the message of an embedding that gets an id without a row.
ID_WITHOUT_ROW: Final = "index out of range in self"

# The names of logits in an answer.
_NAMED: Final = re.compile(r"logit|prob")
_PLAIN: Final = ("module(tokens)", "module(tokens.t())", "module(tokens, lengths)", "module(tokens.t(), lengths)")


class Reason(enum.IntEnum):
    """The kind of reason for which a call failed. A later kind says more about the module, so the error reports the
    latest kind."""

    RAISES = enum.auto()
    RAISES_ON_OTHER_SIZES = enum.auto()
    # The answer holds no numbers that may be the logits.
    NO_LOGITS = enum.auto()
    # The logits are NaN or infinite, or the same for every text, or a single text or short texts only have an answer.
    USELESS_LOGITS = enum.auto()
    # A tagger whose answer has another count of numbers for each token.
    OTHER_NUMBERS_OF_TOKENS = enum.auto()
    NO_LENGTHS = enum.auto()
    # A tagger whose answer has the labels of a text.
    LABELS_OF_TEXTS = enum.auto()
    # The module runs, and its answer is another one than that of one text to these labels.
    OTHER_ANSWER = enum.auto()
    # It gives these labels, and one of them minus infinity.
    INFINITE_LOGITS = enum.auto()
    # Another input than the text changes the answer.
    INPUT_BESIDE = enum.auto()
    RANDOM = enum.auto()


# The usual names of the state that a cell takes and gives back.
_STATE: Final = re.compile(r"\b(?:hidden(?:_state)?|prev_hidden|h_?prev|h_?0|hx|h|state)\b")


@dataclass(frozen=True)
class FailedCall:
    """A call that failed: its line, the kind of reason, the problem and advice, and the exception if there was one."""

    line: str
    reason: Reason
    problem: str
    advice: str
    error: BaseException | None = None


def explain_exception(error: BaseException, facts: ModuleFacts, line: str) -> ProblemAndAdvice:
    """Explain an exception that a module raised, by a problem and advice. The problem names the line of the owner's
    code that raised it. `line` is the call of the module."""
    what = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
    place = _describe_place_in_user_file(error)
    names = _join_parameter_names(facts)
    given = "first, second, first_lengths and second_lengths" if facts.two_texts else "tokens and lengths"
    given = f"tokens, lengths, {', '.join(list_feature_variables(facts.features))}" if facts.features else given
    given = "tokens, lengths and characters" if facts.spellings is not None else given
    alone = ": let it take the features as arguments of their own, or" if facts.features and "," not in names else ":"
    advice = (
        f"Its forward takes ({names}){alone} say how to call it, by --call with a line of Python that uses module, "
        f"{given} (docs/modules.md), or by call= with a function."
        + (
            ""
            if facts.features or facts.samples
            else " Numbers and categories of each text are features: features= (docs/features.md)."
        )
        if "," in names or facts.features
        else f"Call the module on ids yourself, module(torch.randint({facts.ids}, (3, 7))), and correct the line that "
        'fails. If it takes them in another form, give the call, as in --call "module(tokens.unsqueeze(1))", or call= '
        "with a function (docs/modules.md)."
    )
    if isinstance(error, IndexError) and "out of bounds for dimension" in str(error) and names.count(",") == 1:
        advice += ' If the second input is the position of the last token, give --call "module(tokens, lengths - 1)".'
    if "," in names and (state := _STATE.search(names)):
        advice += (
            f" If your code calls it for one token after the other with {state[0]}, write that loop as a function of "
            "(module, tokens, lengths), whose states have a row for each text: docs/modules.md shows one."
        )
    if isinstance(error, IndexError) and ID_WITHOUT_ROW in str(error):
        rows = max((one.num_embeddings for one in facts.module.modules() if isinstance(one, nn.Embedding)), default=0)
        few = f", but the embedding only {rows:,} rows: the ids from {rows:,} on have none" * (0 < rows < facts.ids)
        advice = f"The vocabulary has {facts.ids:,} ids{few}. " + (
            "Give the vocabulary that these weights were trained with."
            if few
            else "Check that the embedding has a row for each id, and check the arguments of forward."
        )
    if kernel := re.search(r"Kernel size: \((\d+).*can't be greater than actual input size", str(error)):
        advice = (
            f"The module takes texts of at least {kernel[1]} tokens. If your pipeline pads shorter texts, say so in "
            "the rules: "
            f'"min_width": {kernel[1]} (docs/text-rules.md).'
        )
        if facts.two_texts:
            advice = f"Texts have any length from 1 token on. Pad texts of fewer than {kernel[1]} tokens in forward."
    if re.search(r"dtype|have the type", str(error)) and re.search(
        r"Half|BFloat16|Double|torch\.b?float(16|64)", str(error)
    ):
        advice = (
            "A bundle computes in float32, so the weights were converted to float32. In forward, cast to their type, "
            "x.to(self.fc.weight.dtype) in place of x.half() or x.double()."
        )
    if "higher_order.cond" in str(error):
        return (
            f"The module chooses between two branches by torch.cond{place}, which cannot be traced.",
            "Compute both branches and choose one: torch.where(condition, one, other).",
        )
    return f"The module fails{place}: {what}.", advise_on_fixed_batch(facts, error, line) or advice


def _describe_place_in_user_file(error: BaseException) -> str:
    """Return the file and line of the user's code that raised an error. Return an empty string if the line is
    unknown."""
    ours = str(Path(__file__).parents[2])
    # The traceback of an error that is raised again grows with each call: source lines are not read.
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if not frame.f_code.co_filename.startswith((TORCH_FOLDER, ours, "<")):
            return f" at {write_place(Path(frame.f_code.co_filename).name, line)}"
    return ""


class AmbiguousCallError(ExportError):
    """Several calls of the module work, but they give different answers.

    Attributes:
        calls: these calls.
        deciding_id: the id that causes the difference: all calls give the same answers to texts without it. None if no
            such id was found.
    """

    calls: tuple[str, ...] = ()
    deciding_id: int | None = None


def make_ambiguity_error(calls: Sequence[CallAndPart], deciding_id: int | None = None) -> AmbiguousCallError:
    """Make the error for several calls, or several parts of one call's answer, that may be the right ones but differ.
    The error first proposes a part of the answer with "logit" or "prob" in its name.

    Args:
        calls: the calls, each with the code after it that selects the answer, such as `[0]`.
        deciding_id: the id that causes the difference: the calls give the same answers to texts without it. None if no
            such id is known.
    """
    ordered = sorted(calls, key=lambda one: not _NAMED.search(one[1]))
    said = [f'"{call}{suffix}"' for call, suffix in ordered]
    if len({call for call, _ in calls}) == 1:
        places = ", ".join(f"answer{suffix}" for _, suffix in ordered)
        error = AmbiguousCallError(
            f"The module gives {len(calls)} outputs that may be the logits of the labels ({places}), as a module "
            "with several heads does.",
            f"Say which output belongs to these labels: --call {' or --call '.join(said[:2])}, in Python call=. Or "
            "export all heads in one bundle, with the labels of each head: --head, in Python heads=.",
        )
    else:
        by_id = f" In all trials, the answers differ only for texts with the id {deciding_id}."
        error = AmbiguousCallError(
            f"The module can be called in {len(calls)} ways that give different answers: {' and '.join(said[:3])}."
            f"{by_id if deciding_id is not None else ''}",
            f"Say which is right: --call {' or --call '.join(said[:2])}, in Python call=. Or let the answers of your "
            "classifier decide: give texts with their ids and labels or probabilities, --pairs, in Python "
            "example_ids=.",
        )
    error.calls, error.deciding_id = tuple(f"{call}{suffix}" for call, suffix in calls), deciding_id
    return error


def make_missing_characters_error(facts: ModuleFacts) -> ExportError | None:
    """Make the error for a module that also takes the characters of words, if the user gave no characters. Return None
    if no input has a name that means characters."""
    named = [p.name for p in list_forward_parameters(facts.module) if is_characters_name(p.name)]
    if not named or len(list_forward_parameters(facts.module)) == 1 or facts.spellings is not None:
        return None
    return ExportError(
        f"The module's forward takes the characters of each word beside the words ({', '.join(named)}).",
        "Give the vocabulary of characters: --characters FILE, in Python characters= (docs/tags.md)."
        if facts.of_tokens
        else "Export a module that takes words or characters: only a module that labels tokens may take both. If the "
        "characters are always the same, give them: --call, or call=.",
    )


_SENTENCES_TO_IDS: Final = """\
S, W = ..., ...
def encode(text):
    rows = [[ids.get(word, 0) for word in split_words(sentence)][:W] for sentence in split_sentences(text)[:S]]
    rows += [[]] * (S - len(rows))
    return [one for row in rows for one in row + [0] * (W - len(row))]"""


def make_documents_error(line: str, *, of_samples: bool = False) -> ExportError:
    """Make the error for a module that takes several rows of ids for each text or, with `of_samples`, several rows of
    samples for each sequence. The message proposes `line`, a call that gives the module each text as a single row."""
    single = f'If each of your texts is a single row, say so: --call "{line}", or call=. '
    if of_samples:
        return ExportError(
            "The module takes samples with four axes [batch, kinds, time, channels], such as a mask and times beside "
            "the numbers. But a bundle is given one sequence [time, channels].",
            f"{single if 'unsqueeze(1)' in line else ''}To make the four axes from more channels, give the call, as "
            "in --call "
            '"module(torch.stack([samples[..., :3], samples[..., 3:]], 1))", or call= with a function.',
        )
    rows = re.sub(r"\btokens\.unsqueeze\(1\)", "tokens.view(-1, S, W)", line)
    rows = re.sub(r"\btokens\.unsqueeze\(2\)", "tokens.view(-1, S, W).transpose(1, 2)", rows)
    error = ExportError(
        "The module takes several rows of ids for each text, such as a document of sentences [batch, sentences, "
        "words] or a pair of texts. But a bundle reads a text as one row, and does not split it into sentences.",
        f"{single if 'unsqueeze(1)' in line else ''}If your code pads each text to S sentences of W words, write a "
        f"file split.py with these lines, put your numbers for S and W, and give --tokenizer split.py:encode --call "
        f'"{rows}", or call=:\n{_SENTENCES_TO_IDS}\n'
        "docs/modules.md#documents-of-sentences has an example.",
    )
    error.of_lines = True
    return error


def _join_parameter_names(facts: ModuleFacts) -> str:
    return ", ".join(parameter.name for parameter in list_forward_parameters(facts.module))


def choose_refusal(facts: ModuleFacts, failures: Sequence[FailedCall]) -> ExportError:
    """Choose the failed call whose reason says most about the module, and return its error. If no call was tried,
    return an error that says which inputs are not known."""
    if facts.two_texts and not failures:
        beside = len(list_forward_parameters(facts.module)) > 3
        line = "module(first, first_lengths, second, second_lengths)" if beside else "module(first, second)"
        with_masks = write_pair_line_with_masks(facts.module)
        return ExportError(
            f"It is not known which two inputs of forward({_join_parameter_names(facts)}) are the two texts.",
            f'Give the call, for example --call "{with_masks or line}"; '
            "it may use first, second, first_lengths and second_lengths; "
            f"{'its masks are true at the tokens, and with >= at the padding; ' if with_masks else ''}"
            "or call= with a function of (module, first, second, first_lengths, second_lengths).",
        )
    if facts.features and not failures:
        return ExportError(
            f"It is not known which inputs of forward({_join_parameter_names(facts)}) take the features "
            f"{', '.join(name for name, _ in facts.features)}.",
            f'Give the call: --call "module(tokens, {facts.features[0][0]})"; it may use tokens, lengths, '
            f"{', '.join(list_feature_variables(facts.features))}.",
        )
    if facts.spellings is not None and not failures:
        return ExportError(
            f"It is not known which input of forward({_join_parameter_names(facts)}) takes the characters of words.",
            'Give the call: --call "module(tokens, characters)"; it may use tokens, lengths and characters.',
        )
    if not failures:
        names = ", ".join(p.name for p in list_forward_parameters(facts.module)) or "none"
        return ExportError(
            f"The module's forward takes the arguments {names}, but none of them can be the tokens.",
            'Give the call: --call "module(tokens)", or call=.',
        )
    # The error of an unusual call says little. So among equally weak reasons, the reason of the first call is reported.
    best = max(failures, key=lambda failed: failed.reason if failed.reason > Reason.NO_LOGITS else 0)
    first = best if best.reason > Reason.NO_LOGITS else failures[0]
    no_logits = [one for one in failures if one.reason == Reason.NO_LOGITS and one.line.startswith(_PLAIN)]
    if first.reason < Reason.NO_LOGITS and no_logits:
        first = no_logits[0]
    error = ExportError(f"{first.problem.rstrip('.')}, called as {first.line}.", first.advice)
    error.__cause__ = first.error
    return error


# The names of attributes that hold states, and of attributes that hold tables.
_STATE_NAME: Final = re.compile(
    r"^(?:(?:init(?:ial)?_?)?(?:h|c|hx|cx|hc|hidden|cell|states?|memory)(?:_?(?:\d|[a-z]+))?)$", re.I
)
_TABLE: Final = re.compile(r"pos|pe$|mask|weight|table|embed", re.IGNORECASE)


def advise_on_fixed_batch(facts: ModuleFacts, error: BaseException, line: str) -> str | None:
    """Return advice for a module that fails because it stores a fixed batch size, or a state with this batch size.
    Return None for any other failure.

    All states of that batch size are named at once, and a line is proposed only if the module runs with it.

    Args:
        error: the error that it raised.
        line: the line that called it.
    """
    if isinstance(facts.module, torch.jit.ScriptModule):
        return None
    held, numbers = list(_find_held_states(facts.module)), list(_find_held_numbers(facts.module))
    for texts in dict.fromkeys(map(int, re.findall(r"(?<![\w.])\d{1,7}(?![\w.])", str(error)))):
        states = [state for state in held if state.texts == texts > 1 and f"{state.target} = " not in line]
        if weights := [state for state in states if state.is_weight]:
            names, one = _join_state_names(weights), len(weights) == 1
            kept = f"keep {'one' if one else 'each'} for a single text, such as {list(weights[0].of_one)}"
            return (
                f"Its {names} {'is a state' if one else 'are states'} for {texts} texts: {kept}, and expand "
                f"{'it' if one else 'them'} in forward to the number of texts."
            )
        counts = [target for target, value in numbers if value == texts > 1 and f"{target} = " not in line]
        zeros = [f"{state.target} = {state.zeros}" for state in states]
        sizes = [f"{target} = tokens.size(0)" for target in counts]
        ways: list[list[str]] = [zeros, sizes, [*sizes, *zeros], *([size] for size in sizes)]
        for made in ways:
            given = "; ".join([*made, line])
            if not made or not can_run_line(facts, given):
                continue
            if made is zeros:
                is_one = f"is a state for {texts} texts" if len(states) == 1 else f"are states for {texts} texts"
                told = f"Its {_join_state_names(states)} {is_one}. If each text begins with zeros, say so:"
            else:
                fixed = [setting.partition(" = ")[0] for setting in made]
                said = f"is {texts}, a fixed number" if len(fixed) == 1 else f"are {texts}, fixed numbers"
                told = f"Its {' and '.join(fixed)} {said} of texts: set it to the number in the batch,"
            return f'{told} --call "{given}", or call=.'
    return None


@dataclass(frozen=True)
class _HeldState:
    """A state that a module holds for a fixed number of texts, such as `module.h0`.

    Attributes:
        target: its name in Python code.
        texts: the number of texts that it is for.
        of_one: its shape for one text.
        zeros: the code that makes zeros in its place, for any number of texts.
        is_weight: whether it is a parameter.
    """

    target: str
    texts: int
    of_one: tuple[int, ...]
    zeros: str
    is_weight: bool


def _join_state_names(states: Sequence[_HeldState]) -> str:
    *others, last = [state.target for state in states]
    return f"{', '.join(others)} and {last}" if others else last


def _yield_named_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each layer and its name as code, such as `module.encoder`. nn.RNN, nn.LSTM, nn.GRU and TorchScript are left
    out."""
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase | torch.jit.ScriptModule):
            yield write_layer_code(path), layer


def _find_held_numbers(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the integers among the attributes of layers, each with its name as code, such as `module.encoder.size`."""
    for target, layer in _yield_named_layers(module):
        if type(layer).__module__.startswith("torch."):
            continue
        # Class attributes, too: `batch_size = 64` above the methods.
        kinds = [kind for kind in type(layer).__mro__ if not kind.__module__.startswith(("torch.", "builtins"))]
        held = {**{name: value for kind in reversed(kinds) for name, value in vars(kind).items()}, **vars(layer)}
        yield from ((f"{target}.{name}", value) for name, value in held.items() if type(value) is int)


def _find_held_states(module: nn.Module) -> Iterator[_HeldState]:
    """Yield the tensors among a module's attributes that may be states by their width or their name, also those in
    lists, tuples and dicts."""
    sizes = {size for layer in module.modules() if isinstance(layer, nn.RNNBase | nn.RNNCellBase)
             for size in (layer.hidden_size, getattr(layer, "proj_size", 0))}  # fmt: skip
    for target, layer in _yield_named_layers(module):
        for name, value in {**vars(layer), **read_own_buffers(layer), **read_own_parameters(layer)}.items():
            tensors = list(
                value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else [value]
            )
            if name.startswith("_") or not tensors or not all(isinstance(t, Tensor) for t in tensors):
                continue
            is_like = _STATE_NAME.fullmatch(name) or all(t.shape[-1:] and t.shape[-1] in sizes for t in tensors)
            places = {_find_batch_axis_of_state(t) for t in tensors}
            if not is_like or _TABLE.search(name) or len({t.shape[p] for t in tensors for p in places if p >= 0}) != 1:
                continue
            at = places.pop()
            shape = tensors[0].shape
            of_one = tuple(1 if i == at else n for i, n in enumerate(shape))
            zeros = _write_zeros_in_like_container(
                value, [_write_zeros(t.shape, _find_batch_axis_of_state(t)) for t in tensors]
            )
            yield _HeldState(f"{target}.{name}", shape[at], of_one, zeros, isinstance(value, nn.Parameter))


def _find_batch_axis_of_state(state: Tensor) -> int:
    """Return the axis of the texts in a state of the shape [layers, texts, hidden] or [texts, hidden]. Return -1 for a
    tensor of another shape."""
    return state.dim() - 2 if state.dim() in (2, 3) else -1


def _write_zeros(shape: Sequence[int], batch_axis: int) -> str:
    return f"torch.zeros({', '.join('tokens.size(0)' if i == batch_axis else str(n) for i, n in enumerate(shape))})"


def _write_zeros_in_like_container(container: object, zeros: Sequence[str]) -> str:
    """Write code for a container like `container` that holds `zeros`, the code of new states. If the module's state is
    not in a dict, list or tuple, return the code of the zeros alone."""
    if isinstance(container, dict):
        return f"{{{', '.join(f'{key!r}: {made}' for key, made in zip(container, zeros, strict=True))}}}"
    if isinstance(container, list):
        return f"[{', '.join(zeros)}]"
    return f"({', '.join(zeros)},)" if isinstance(container, tuple) else zeros[0]
