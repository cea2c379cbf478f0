"""Export for one text at a time if a graph for batches is not possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from pocketrnn.errors import ExportError, InputError
from pocketrnn_export.intake.module_copy_with_call_and_logits import ExportableModule
from pocketrnn_export.tracing.sizes.size_question_log import UntraceableError

_log = logging.getLogger(__name__)
_Made = TypeVar("_Made")


def run_with_single_text_fallback(
    prepared: ExportableModule,
    make: Callable[[ExportableModule], _Made],
    prepare: Callable[..., ExportableModule],
    *,
    batches_only: bool = False,
) -> _Made:
    """Call `make` with a prepared module, for example to trace its graph, and return the result. If this fails for
    batches, prepare the module again for one text at a time, and call `make` with that module.

    Args:
        prepared: the prepared module.
        make: makes the result from a prepared module.
        prepare: prepares the module, with the argument `one_text`.
        batches_only: whether to raise the first error without a second attempt.

    Raises:
        UntraceableError: both attempts fail, or the first one with `batches_only`.
    """
    try:
        return make(prepared)
    except UntraceableError as error:
        if prepared.one_text or batches_only:
            raise
        try:
            made = make(prepare(one_text=True))
        except (ExportError, InputError):
            raise error from error.__cause__
        _log.warning(
            "Exported for one text at a time, which is slower for many texts: a graph for batches is not possible. %s",
            error.problem,
        )
        return made
