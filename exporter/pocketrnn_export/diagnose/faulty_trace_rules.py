"""Find out whether a refusal is pocketrnn's own fault: export again, each time without one of the used rules."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pocketrnn_export.bundle_proof import FormsDifferError
from pocketrnn_export.progress import filter_log_records
from pocketrnn_export.proof.every_size_comparison import AnswersDifferError
from pocketrnn_export.tracing.used_and_left_out_rules import leave_out_rule, record_rules_used

_log = logging.getLogger(__name__)
_Made = TypeVar("_Made")
# After this processor time, the search does not try another rule. An export of an ordinary module takes 5 s.
SECONDS = 60.0


def export_without_faulty_rules(make: Callable[[], _Made]) -> _Made:
    """Export a module even if one of pocketrnn's rules is wrong for it. A rule rewrites a call of torch in a trace, or
    writes an operator in ONNX.

    If the proof refuses the result, the export is repeated, each time without one of the rules that it used. The first
    result that passes the full proof is returned, and a warning names the faulty rule.

    Args:
        make: exports the module, and returns its result.

    Raises:
        AnswersDifferError: a program gives other answers than the module, whichever rule is left out.
        FormsDifferError: a graph gives other answers than the module, whichever rule is left out.
    """
    told = set[str]()

    def collect_message(record: logging.LogRecord) -> bool:
        told.add(record.getMessage())
        return True

    with record_rules_used() as used, filter_log_records(collect_message):
        try:
            return make()
        except (AnswersDifferError, FormsDifferError) as error:
            refusal = error
    until = time.process_time() + SECONDS
    for name in used:
        if time.process_time() > until:
            break
        # An export without a rule that it needs may raise anything.
        with contextlib.suppress(Exception):
            # The first export has already logged the other messages.
            with leave_out_rule(name), filter_log_records(lambda record: record.getMessage() not in told):
                made = make()
            _log.warning(
                "%s, a rule of pocketrnn, is wrong for this module: the proof fails with this rule. The bundle was "
                "made without this rule and passed the full proof. Please report the module",
                name,
            )
            return made
    raise refusal
