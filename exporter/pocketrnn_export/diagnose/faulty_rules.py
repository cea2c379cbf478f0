"""Whether a proof refuses a fault of ours: each rule that an export used is left out, and the proof asked again."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pocketrnn_export.bundle_proof import FormsDifferError
from pocketrnn_export.progress import records_filtered
from pocketrnn_export.proof.every_size import OtherAnswersError
from pocketrnn_export.tracing.used_rules import rule_left_out, uses_noted

__all__ = ["without_faulty_rules"]

_log = logging.getLogger(__name__)
_Made = TypeVar("_Made")
# Processor time after which no further rule is left out. An export of an ordinary module takes 5 s.
SECONDS = 60.0


def without_faulty_rules(make: Callable[[], _Made]) -> _Made:
    """Export; and where the proof refuses, export once more without each rule or translation of ours that was used.

    With one that is wrong left out, the proof is as whole as before, so that its bundle is given; the fault is told.

    Args:
        make: exports, and proves what it exports.

    Raises:
        OtherAnswersError: a program answers otherwise than the module, whichever rule is left out.
        FormsDifferError: a graph does.

    Example:
        >>> without_faulty_rules(lambda: write_bundle(path, description, forms(), plan))
    """
    told = set[str]()

    def noted(record: logging.LogRecord) -> bool:
        told.add(record.getMessage())
        return True

    with uses_noted() as used, records_filtered(noted):
        try:
            return make()
        except (OtherAnswersError, FormsDifferError) as error:
            refusal = error
    until = time.process_time() + SECONDS
    for name in used:
        if time.process_time() > until:
            break
        # Whatever is raised where a rule is needed.
        with contextlib.suppress(Exception):
            # The first export has told the rest.
            with rule_left_out(name), records_filtered(lambda record: record.getMessage() not in told):
                made = make()
            _log.warning(
                "%s, a rule of pocketrnn, is wrong for this module: the proof refuses what it makes. The bundle was "
                "made without it, and is proven as every other. Please report the module",
                name,
            )
            return made
    raise refusal
