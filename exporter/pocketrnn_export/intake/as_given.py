"""The answers of the module itself, as its owner gave it; its state is the same afterwards.

A copy is exported. One run of the module shows whether the copy gives the same answers.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn.errors import ParityError, first_line
from pocketrnn_export.comparing.cases import Case, Logits, answer_rows
from pocketrnn_export.comparing.comparing import (
    LEAST_TOLERANCE,
    Compared,
    Difference,
    compare,
    difference,
    run_of,
    summary,
)
from pocketrnn_export.comparing.exact import SPREADS
from pocketrnn_export.comparing.spread import Exact
from pocketrnn_export.comparing.verdict import passes
from pocketrnn_export.intake.double_modules import said_in_float32
from pocketrnn_export.intake.random_draws import drawing_line, generators
from pocketrnn_export.module_runs.cpu_run import in_eval_mode, quietly_on_cpu
from pocketrnn_export.module_runs.untouched import untouched
from pocketrnn_export.module_runs.whole_copy import difference_of, whole_copy

__all__ = ["AsGiven", "brought_to_float32", "precision_of"]

_log = logging.getLogger(__name__)
_INPUTS: Final = "all cases"
# The shortest cases are asked while gradients are recorded, for so many seconds of the processor.
_SECONDS: Final = 1.0
# A difference beyond this is told.
_TOLD: Final = 1e-4


@dataclass(frozen=True)
class AsGiven:
    """The module that the owner gave, beside the copy of it that is exported.

    Attributes:
        module: the owner's.
        called: what calls it as the copy is called.
        takes_lengths: whether that is given lengths.
        kept: the tensors on a layer, in whatever holds them.
        copied: what copies it.
    """

    module: nn.Module
    called: Callable[[nn.Module], nn.Module]
    takes_lengths: bool
    kept: Callable[[nn.Module], Iterator[Tensor]]
    copied: Callable[[nn.Module], nn.Module] = whole_copy

    def compared(
        self, answered: Sequence[tuple[Case, Logits]], exact: Callable[[Case], Exact | None]
    ) -> list[Compared]:
        """The copy's answers beside the module's own: in float32, where both must be the same; and in the precision of
        the module's weights, where that is another one. There the difference is measured, and told.

        Args:
            answered: the cases of the proof, with the copy's answers.
            exact: the exact answer to a case, with how far rounding may move it.

        Raises:
            ParityError: the copy answers something else.
        """
        lines = []
        with untouched(self.module), torch.no_grad():
            in_eval_mode(self.module)
            precision = precision_of(self.module)
            if precision is not None:
                if any(t.device.type != "cpu" for t in self.module.parameters()):
                    self.module.cpu()
                lines += self._in_own_precision(answered, precision, exact)
            if precision is not None or any(t.device.type != "cpu" for t in self.module.parameters()):
                # A module may do more than this in methods of its own, so that they are not called without need.
                brought_to_float32(self.module, self.kept)
            counts, states = _plain_values(self.module), generators()
            found = self._on_all(answered, "as given", exact)
            after = _plain_values(self.module)
            if drawn := [name for name, state in generators().items() if state != states[name]]:
                line = drawing_line(self.module, lambda: self._on_all(answered[:1], "as given", exact))
                _log.warning(
                    "The module draws random numbers (%s) while it answers%s. On the %d texts of the proof its answers "
                    "do not depend on them; that none does was not shown, and a bundle draws none",
                    ", ".join(drawn), f", at {line}" if line else "", sum(len(case.lengths) for case, _ in answered),
                )  # fmt: skip
            changed = sorted(name for name in after if name not in counts or after[name] != counts[name])
            failing = [one for one in found.each if not passes(one, None)]
            # It may count its calls where nothing of it shows that, as in an iterator.
            by_calls = bool(changed) or (bool(failing) and self._answers_anew(found.each[0], answered[0], exact))
            if apart := self._apart_with_gradients(answered):
                _log.warning(
                    "While gradients are recorded, the module answers by up to %.1e otherwise, as an encoder with a "
                    "mask may: PyTorch then runs other code. The bundle answers as under torch.no_grad()", apart,
                )  # fmt: skip
        if failing:
            worst = max(failing, key=lambda one: one.largest)
            if by_calls:
                raise ParityError(
                    f"The module answers {worst.largest:.1e} otherwise when it is asked more often, on {worst.case}"
                    + (f": its forward changes its own {changed[0]}." if changed else "."),
                    "Let a text's answer depend on no call before it.",
                )
            lost = difference_of(self.module, _copy_of(self.module))
            raise ParityError(
                f"The copy of the module that is exported answers {worst.largest:.1e} otherwise than the module "
                f"itself, on {worst.case}" + (f": copied, it has another {lost}." if lost else "."),
                "Let copy.deepcopy(module) keep all that forward reads: no __deepcopy__ or __getstate__ that leaves "
                "something out, and nothing that is looked up by the module's identity.",
            )
        return [*lines, Compared(found.line, ())]

    def _answers_anew(
        self, before: Difference, first: tuple[Case, Logits], exact: Callable[[Case], Exact | None]
    ) -> bool:
        """Whether the module now answers a case otherwise than it did before."""
        return passes(before, None) != passes(self._on_all([first], "as given", exact).each[0], None)

    def _on_all(
        self, answered: Sequence[tuple[Case, Logits]], name: str, exact: Callable[[Case], Exact | None]
    ) -> Compared:
        run = run_of(self.called(self.module), takes_lengths=self.takes_lengths)
        cases, expected = [case for case, _ in answered], [logits for _, logits in answered]
        return compare(name, run, cases, expected, inputs=_INPUTS, exact=exact)

    def _apart_with_gradients(self, answered: Sequence[tuple[Case, Logits]]) -> float:
        """How far the module's answers are from these where gradients are recorded; 0 for no more than rounding."""
        called, until, worst = self.called(self.module), time.process_time() + _SECONDS, 0.0
        # Whatever a user's module raises, such as that a tensor which records gradients has no numpy().
        with torch.enable_grad(), quietly_on_cpu(), contextlib.suppress(Exception):
            for case, logits in sorted(answered, key=lambda pair: pair[0].tokens.size):
                if time.process_time() > until:
                    break
                order = np.argsort(-case.lengths, kind="stable")
                inputs = [torch.from_numpy(each[order]) for each in (case.tokens, case.lengths)]
                answer = called(*inputs[: 1 + self.takes_lengths]).detach().float().numpy()
                given = answer_rows(answer[np.argsort(order)], case.lengths)
                if given.shape == logits.shape:
                    worst = max(worst, float(np.nan_to_num(np.abs(given - logits)).max()))
        return worst if worst > _TOLD else 0.0

    def _in_own_precision(
        self, answered: Sequence[tuple[Case, Logits]], precision: str, exact: Callable[[Case], Exact | None]
    ) -> list[Compared]:
        run, name = run_of(self.called(self.module), takes_lengths=self.takes_lengths), f"as given in {precision}"
        each, worst, infinite = [], (0.0, lambda: 0.0), 0
        for case, logits in answered:
            try:
                given = run(case.tokens, case.lengths)
            # PyTorch has not every operator in every precision.
            except Exception as error:
                _log.warning(
                    "The module's weights are %s, and the bundle computes in float32: its answers are not compared "
                    "with those in %s, which the module does not give here (%s)",
                    precision, precision, first_line(error),
                )  # fmt: skip
                return []
            finite = np.isfinite(given).all(axis=1)
            infinite += int((~finite).sum())
            if finite.any():
                found = difference(name, case.name, logits[finite], given[finite])
                each.append(found)
                if finite.all() and found.largest > worst[0]:
                    worst = found.largest, functools.partial(_steps_off, case, logits, given, exact)
        rows = sum(len(case.lengths) for case, _ in answered) - infinite
        if not each:
            return []
        line = summary(each, reference="pytorch", inputs=_INPUTS, rows=rows).line
        # As many steps of its precision as float32 may be off of its own.
        coarse = max(torch.finfo(getattr(torch, kind)).eps for kind in precision.split(", "))
        coarse = max(1.0, coarse / torch.finfo(torch.float32).eps)
        if worst[0] > LEAST_TOLERANCE * coarse and worst[1]() > SPREADS * coarse:
            raise ParityError(
                f"In {precision}, the precision of its weights, the module answers {worst[0]:.1e} "
                "otherwise than in float32, in which a bundle computes; that is more than rounding.",
                "If its answers in float32 are right, export module.float().",
            )
        _log.warning(
            "The module's weights are %s, and the bundle computes in float32: on %d texts, a logit differs by up to "
            "%.1e from the module's own, and %d labels%s. In float32 it answers as the bundle does",
            precision, rows, line.largest_difference, line.labels_differing,
            f"; to {infinite} more the module has no finite answer in {precision}" if infinite else "",
        )  # fmt: skip
        return [Compared(line, ())]


def _steps_off(case: Case, logits: Logits, given: Logits, exact: Callable[[Case], Exact | None]) -> float:
    return difference("", case.name, logits, given, exact(case)).spreads or 0.0


def _plain_values(module: nn.Module) -> dict[str, Any]:
    """The numbers, strings and the like that layers hold, by name."""
    return {
        f"{path}.{name}".lstrip("."): value
        for path, layer in module.named_modules()
        if not isinstance(layer, torch.jit.ScriptModule)
        for name, value in vars(layer).items()
        if isinstance(value, bool | int | float | str)
    }


def _copy_of(module: nn.Module) -> Any:
    try:
        return whole_copy(module)
    # It was copied before: whatever it is now, nothing can be named.
    except Exception:
        return module


def precision_of(module: nn.Module) -> str | None:
    """The types of numbers of a module's weights, such as `float16`; None where all are float32.

    Example:
        >>> precision_of(module.half())
        'float16'
    """
    tensors = [*module.parameters(), *module.buffers()]
    kinds = {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()}
    return None if kinds <= {"float32"} else ", ".join(sorted(kinds))


def brought_to_float32(module: nn.Module, kept: Callable[[nn.Module], Iterator[Tensor]]) -> nn.Module:
    """The module itself, in float32 on the CPU, with the tensors that it keeps beside its weights, where these are of
    the weights' other type. Where all were in double precision, what its forward makes is of float32, too.

    Args:
        module: what is changed.
        kept: the tensors on a layer, in whatever holds them.
    """
    tensors = [*module.parameters(), *module.buffers()]
    kinds = {t.dtype for t in tensors if t.is_floating_point()}
    in_doubles = precision_of(module) == "float64"
    made = module.cpu().float()
    for layer in made.modules():
        for tensor in () if isinstance(layer, torch.jit.ScriptModule) else kept(layer):
            if tensor.dtype in kinds and tensor.dtype != torch.float32:
                tensor.data = tensor.data.float()
    return said_in_float32(made) if in_doubles else made
