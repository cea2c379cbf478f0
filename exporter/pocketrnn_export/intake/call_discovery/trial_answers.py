"""Call a module on a trial batch, read the numbers in its answer, and wrap a call so that it gives a part of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.calling_convention import CallAdapter, Convention
from pocketrnn_export.intake.character_pair_and_feature_calls import CharacterCall, FeatureCall, PairCall
from pocketrnn_export.intake.compiled_call_line import Call, compile_call
from pocketrnn_export.intake.run_that_undoes_assignments import run_quietly_and_undo_assignments
from pocketrnn_export.intake.user_code_lines_for_messages import run_user_call
from pocketrnn_export.module_runs.quiet_cpu_run import compute_answer

# float32 sums a batch in another order than one text; a module that mixes its texts differs by more.
_SAME: Final = 1e-4


def call_and_restore_state(module: nn.Module, function: Call, tokens: Tensor, lengths: Tensor) -> Any:
    """Call the module once, and return its answer. Undo the assignments of the call to the module's attributes."""
    with run_quietly_and_undo_assignments(module):
        return run_user_call(
            function, module, tokens.clone(), lengths.clone() if isinstance(lengths, Tensor) else lengths
        )


def call_and_read_numbers(
    facts: ModuleFacts, convention: Convention, tokens: Tensor, lengths: Tensor, *, twice: bool = False
) -> Tensor:
    """Return the numbers that a module gives: [batch, units] or [batch, sequence * units]. With `twice`, call it twice,
    and return the numbers of the second call."""
    with run_quietly_and_undo_assignments(facts.module):
        for _ in range(1 + twice):
            answer = run_user_call(convention.function, facts.module, tokens.clone(), lengths.clone())
    numbers: Tensor = answer.float().reshape(convention.shape(len(tokens), -1)).flatten(1)
    return numbers


def answer_texts_one_by_one(facts: ModuleFacts, convention: Convention, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Answer each text of a batch alone, and return the numbers [texts, n]. If the module fails on a single text,
    answer each text in a batch with a copy of itself."""
    called = CallAdapter(facts.module, replace(convention, activation=None), as_logits=False)
    rows = ((tokens[i : i + 1].clone(), lengths[i : i + 1].clone()) for i in range(len(tokens)))
    return torch.cat([compute_answer(called, row).float().reshape(1, -1) for row in rows])


def can_run_line(facts: ModuleFacts, line: str) -> bool:
    """Return whether a module runs with a line of code, on several texts and on one text."""
    try:
        for rows in (facts.trial_rows, 1):
            call_and_restore_state(facts.module, facts.compile(line), *facts.draw_batch(rows, facts.widths.clip(7)))
    # A user's module may raise any exception; the line may also be no Python, such as the name of a function.
    except (Exception, SystemExit):
        return False
    return True


def wrap_answer_part(function: Call, suffix: str) -> Call:
    """Return a function that makes the call `function` and returns one part of its answer. The code `suffix`, such as
    `[0]`, selects the part."""
    if not suffix:
        return function
    return wrap_answer(function, lambda answer, tokens, lengths: read_answer_part(answer, suffix, tokens, lengths))


def wrap_answer(function: Call, change: Callable[[Any, Tensor, Tensor], Any]) -> Call:
    """Return a function that makes the call `function`, passes its answer, the tokens and the lengths to `change`, and
    returns the result."""
    if isinstance(function, PairCall | FeatureCall | CharacterCall):
        wrapped: Callable[..., Any] = function.wrapped
        # A pair has the second text before the lengths.
        at = 2 if isinstance(function, PairCall) else 1

        def call_and_change_answer(module: nn.Module, *given: Any) -> Any:
            return change(wrapped(module, *given), given[0], given[at])

        return replace(function, wrapped=call_and_change_answer)  # type: ignore[arg-type]  # each gives other arguments
    return lambda module, tokens, lengths: change(function(module, tokens, lengths), tokens, lengths)


def read_answer_part(answer: Any, suffix: str, tokens: Tensor, lengths: Tensor) -> Any:
    """Return the part of an answer that the code `suffix`, such as `[0]`, selects. For an empty string, return the
    whole answer."""
    # Only this code is compiled; the answer stands for `module` in it.
    return compile_call(f"module{suffix}")(answer, tokens, lengths) if suffix else answer


def are_answers_near(a: Tensor, b: Tensor) -> bool:
    """Return whether two answers are equal up to rounding."""
    # Each number by its own size: beside the -1e4 of a label that cannot be, others may differ.
    return bool(((a - b).abs() <= _SAME * b.abs().clamp(min=1.0)).all())
