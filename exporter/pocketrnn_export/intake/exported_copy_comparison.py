"""Compare the exported copy with the module itself, as its owner gave it.

One run of the module shows whether the copy gives the same answers. It leaves the module's state unchanged.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from pocketrnn.errors import ParityError, first_line
from pocketrnn_export.comparing.answer_rows_without_padding import drop_padding_rows_of_answer
from pocketrnn_export.comparing.answer_spread_by_rounding import ExactAnswer
from pocketrnn_export.comparing.float64_proof import SPREADS
from pocketrnn_export.comparing.logit_comparison import (
    LEAST_TOLERANCE,
    CandidateComparison,
    compare_logits_of_candidate,
    measure_difference,
    summarize_differences,
)
from pocketrnn_export.comparing.module_and_graph_as_functions import make_module_run
from pocketrnn_export.comparing.parity_decision_and_report import is_within_tolerance_or_rounding
from pocketrnn_export.comparing.proof_inputs import Case, Logits, Run
from pocketrnn_export.intake.float32_conversion import convert_to_float32, read_dtypes_other_than_float32
from pocketrnn_export.intake.refused_layers_and_weights import list_nonfinite_weights, make_nonfinite_weights_error
from pocketrnn_export.intake.user_code_lines_for_messages import find_random_draw_line, read_generator_states
from pocketrnn_export.module_runs.complete_deep_copy import find_copy_difference, make_complete_copy
from pocketrnn_export.module_runs.quiet_cpu_run import run_quietly_on_cpu, set_eval_mode
from pocketrnn_export.module_runs.state_restoration import restore_module

_log = logging.getLogger(__name__)
_INPUTS: Final = "all cases"
# Processor time for the answers while gradients are recorded, the shortest cases first.
_SECONDS: Final = 1.0
# A larger difference is reported.
_TOLD: Final = 1e-4


@dataclass(frozen=True)
class OwnersModule:
    """The owner's module, with what is needed to compare its answers with those of the exported copy.

    Attributes:
        module: the owner's module.
        called: wraps it so that it is called as the copy is.
        takes_lengths: whether the wrapper takes lengths.
        heads: how many labels each of several heads has; empty for one set of labels.
    """

    module: nn.Module
    called: Callable[[nn.Module], nn.Module]
    takes_lengths: bool
    heads: tuple[int, ...] = ()

    def compare_with_copy(
        self, answered: Sequence[tuple[Case, Logits]], compute_exact_answer: Callable[[Case], ExactAnswer | None]
    ) -> list[CandidateComparison]:
        """Compare the answers of the copy that is exported with those of the owner's module. In float32, they must be
        equal. If the weights have another precision, the difference is logged.

        Args:
            answered: the cases, each with the copy's answer.
            compute_exact_answer: computes the answer to a case in double precision.

        Raises:
            ParityError: the copy gives other answers.
            ExportError: the answers differ because the module reads weights that are not finite.
        """
        lines = []
        with restore_module(self.module), torch.no_grad():
            set_eval_mode(self.module)
            precision = read_dtypes_other_than_float32(self.module)
            if precision is not None:
                if any(t.device.type != "cpu" for t in self.module.parameters()):
                    self.module.cpu()
                lines += self._compare_in_precision(answered, precision, compute_exact_answer)
            if precision is not None or any(t.device.type != "cpu" for t in self.module.parameters()):
                # Called only when needed: a module may override cpu() and float() and do more in them.
                convert_to_float32(self.module)
            counts, states = _list_number_and_string_attributes(self.module), read_generator_states()
            found = self._compare_all_answers(answered, compute_exact_answer)
            after = _list_number_and_string_attributes(self.module)
            if drawn := [name for name, state in read_generator_states().items() if state != states[name]]:
                line = find_random_draw_line(
                    self.module, lambda: self._compare_all_answers(answered[:1], compute_exact_answer)
                )
                _log.warning(
                    "The module draws random numbers (%s) while it answers%s. On the %d texts of the proof its "
                    "answers do not depend on them; answers to other texts may, and a bundle draws no random numbers",
                    ", ".join(drawn), f", at {line}" if line else "", sum(len(case.lengths) for case, _ in answered),
                )  # fmt: skip
            changed = sorted(name for name in after if name not in counts or after[name] != counts[name])
            failing = [one for one in found.each if not is_within_tolerance_or_rounding(one, None)]
            # It may count its calls where no attribute shows it, as in an iterator.
            by_calls = bool(changed)
            if failing and not changed:
                again = self._compare_all_answers(answered[:1], compute_exact_answer).each[0]
                by_calls = is_within_tolerance_or_rounding(found.each[0], None) != is_within_tolerance_or_rounding(
                    again, None
                )
            if apart := self._measure_difference_with_gradients(answered):
                _log.warning(
                    "While gradients are recorded, the module's answers differ by up to %.1e: PyTorch then runs other "
                    "code, as for an encoder with a mask. The bundle gives the answers under torch.no_grad()", apart,
                )  # fmt: skip
        if failing:
            worst = max(failing, key=lambda one: one.largest)
            if by_calls:
                raise ParityError(
                    f"The module's answer to the same input changes by {worst.largest:.1e} from call to call, on "
                    f"{worst.case}" + (f": its forward changes its own {changed[0]}." if changed else "."),
                    "Do not keep anything in forward on which a later answer depends.",
                )
            # In the copy they are 0.
            if nonfinite := list_nonfinite_weights(self.module):
                raise make_nonfinite_weights_error(nonfinite)
            lost = find_copy_difference(self.module, _copy_or_return_module(self.module))
            raise ParityError(
                "The export copies the module by copy.deepcopy, but the copy differs from the module by "
                f"{worst.largest:.1e}, on {worst.case}" + (f": {lost} differs in the copy." if lost else "."),
                "Make __deepcopy__ and __getstate__ copy everything that forward reads, and do not look anything "
                "up by id(self) in forward.",
            )
        return [*lines, CandidateComparison(found.line, ())]

    def answers_as_copy(self, copy: Run, cases: Iterable[Case]) -> bool:
        """Return whether the copy and the owner's module, in float32, give equal and finite answers to all these
        cases."""
        with restore_module(self.module), torch.no_grad():
            set_eval_mode(self.module)
            convert_to_float32(self.module)
            own = make_module_run(self.called(self.module), takes_lengths=self.takes_lengths)
            for case in cases:
                # A user's module may raise anything.
                try:
                    given, copied = own(case.tokens, case.lengths), copy(case.tokens, case.lengths)
                except Exception:
                    return False
                if not np.isfinite(given).all() or not np.array_equal(given, copied):
                    return False
        return True

    def _compare_all_answers(
        self, answered: Sequence[tuple[Case, Logits]], compute_exact_answer: Callable[[Case], ExactAnswer | None]
    ) -> CandidateComparison:
        """Compare the copy's answers to all cases with the module's own answers."""
        run = make_module_run(self.called(self.module), takes_lengths=self.takes_lengths)
        cases, expected = [case for case, _ in answered], [logits for _, logits in answered]
        return compare_logits_of_candidate(
            "as given", run, cases, expected, inputs=_INPUTS, exact=compute_exact_answer, heads=self.heads
        )

    def _measure_difference_with_gradients(self, answered: Sequence[tuple[Case, Logits]]) -> float:
        """Run the module for about a second while gradients are recorded. Return the largest change of its answers, or
        0 if it is at most 1e-4, which rounding can cause."""
        called, until, worst = self.called(self.module), time.process_time() + _SECONDS, 0.0
        # Whatever a user's module raises, such as that a tensor which records gradients has no numpy().
        with torch.enable_grad(), run_quietly_on_cpu(), contextlib.suppress(Exception):
            for case, logits in sorted(answered, key=lambda pair: pair[0].tokens.size):
                if time.process_time() > until:
                    break
                order = np.argsort(-case.lengths, kind="stable")
                inputs = [torch.from_numpy(each[order]) for each in (case.tokens, case.lengths)]
                answer = called(*inputs[: 1 + self.takes_lengths]).detach().float().numpy()
                given = drop_padding_rows_of_answer(answer[np.argsort(order)], case.lengths)
                if given.shape == logits.shape:
                    worst = max(worst, float(np.nan_to_num(np.abs(given - logits)).max()))
        return worst if worst > _TOLD else 0.0

    def _compare_in_precision(
        self,
        answered: Sequence[tuple[Case, Logits]],
        precision: str,
        compute_exact_answer: Callable[[Case], ExactAnswer | None],
    ) -> list[CandidateComparison]:
        """Compare the copy's answers with those of the module in the precision of its weights. Return a list with the
        comparison. Return an empty list if the module does not run in this precision."""
        run, name = (
            make_module_run(self.called(self.module), takes_lengths=self.takes_lengths),
            f"as given in {precision}",
        )
        each, worst, infinite = [], (0.0, answered[0], answered[0][1]), 0
        for case, logits in answered:
            try:
                given = run(case.tokens, case.lengths)
            # PyTorch lacks some operators in some precisions.
            except Exception as error:
                _log.warning(
                    "The module's weights are %s, but the bundle computes in float32: its answers are not compared "
                    "with those in %s, which the module does not give here (%s)",
                    precision, precision, first_line(error),
                )  # fmt: skip
                return []
            finite = np.isfinite(given).all(axis=1)
            infinite += int((~finite).sum())
            if finite.any():
                found = measure_difference(name, case.name, logits[finite], given[finite], heads=self.heads)
                each.append(found)
                if finite.all() and found.largest > worst[0]:
                    worst = found.largest, (case, logits), given
        rows = sum(len(case.lengths) for case, _ in answered) - infinite
        if not each:
            return []
        line = summarize_differences(each, reference="pytorch", inputs=_INPUTS, rows=rows).line
        # Rounding may be larger in this precision than in float32 by this factor.
        coarse = max(torch.finfo(getattr(torch, kind)).eps for kind in precision.split(", "))
        coarse = max(1.0, coarse / torch.finfo(torch.float32).eps)
        (case, logits), given = worst[1:]
        if (
            worst[0] > LEAST_TOLERANCE * coarse
            and (measure_difference("", case.name, logits, given, compute_exact_answer(case)).spreads or 0.0)
            > SPREADS * coarse
        ):
            raise ParityError(
                f"In {precision}, the precision of its weights, the module's answers differ by {worst[0]:.1e} from "
                "those in float32, which a bundle uses. That is more than rounding explains.",
                "If its answers in float32 are right, export module.float().",
            )
        _log.warning(
            "The module's weights are %s, but the bundle computes in float32: on %d texts, a logit differs by up to "
            "%.1e from the module's own, and %d labels differ%s. In float32, the module answers as the bundle does",
            precision, rows, line.largest_difference, line.labels_differing,
            f"; to {infinite} more the module has no finite answer in {precision}" if infinite else "",
        )  # fmt: skip
        return [CandidateComparison(line, ())]


def _list_number_and_string_attributes(module: nn.Module) -> dict[str, Any]:
    """Return the numbers and strings that layers have as attributes, by their names."""
    return {
        f"{path}.{name}".lstrip("."): value
        for path, layer in module.named_modules()
        if not isinstance(layer, torch.jit.ScriptModule)
        for name, value in vars(layer).items()
        if isinstance(value, bool | int | float | str)
    }


def _copy_or_return_module(module: nn.Module) -> Any:
    """Return a copy of the module for a comparison. If copying raises an exception, return the module itself."""
    try:
        return make_complete_copy(module)
    # It could be copied before; now the attribute that differs cannot be named.
    except Exception:
        return module
