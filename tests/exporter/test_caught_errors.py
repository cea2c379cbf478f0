"""Errors that only rare texts meet, and that forward catches: no graph raises one."""

from __future__ import annotations

from typing import Any

import caught_error_modules as zoo
import numpy as np
import pytest
import torch
from slow_case_sampling import mostly_slow
from torch import nn

from pocketrnn.errors import ExportError
from pocketrnn_export.comparing.proof_inputs import make_cases_that_often_show_errors
from pocketrnn_export.intake.ids_with_batch_dependent_answers import select_answered_ids
from pocketrnn_export.proof.right_program_search import find_program_right_for_all_sizes


def program_of(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    find_program_right_for_all_sizes(kind().eval(), (torch.randint(2, zoo.WORDS, (3, 7)),))


@pytest.mark.parametrize("kind", mostly_slow(zoo.REFUSED, 32, first=19), ids=lambda kind: kind.__name__)
def test_an_error_that_only_some_texts_meet_is_no_answer(kind: type[nn.Module]) -> None:
    with pytest.raises(ExportError, match=r"_modules\.py:\d+.*catches.*\.py:\d+: .(except|with|return)"):
        program_of(kind)


@pytest.mark.slow
def test_the_call_and_what_catches_its_error_are_named() -> None:
    with pytest.raises(ExportError, match=r"F\.one_hot\(k \* 2, 2\).*except \(RuntimeError"):
        program_of(zoo.OneHot)
    with pytest.raises(ExportError, match=r"return h \* F\.one_hot.*error_catching_import\.py:\d+: .except Exception"):
        program_of(zoo.Decorated)


@pytest.mark.parametrize("kind", mostly_slow(zoo.HARMLESS, 8, first=4), ids=lambda kind: kind.__name__)
def test_what_catches_no_answer_is_exported(kind: type[nn.Module]) -> None:
    program_of(kind)


def test_texts_of_one_id_are_cases_of_a_proof_where_the_module_answers_them() -> None:
    def run(tokens: Any, _lengths: Any) -> Any:
        if (tokens == 5).all():
            raise ExportError("It has no token.", "Give it one.")
        return np.ones((len(tokens), 2), np.float32)

    tried = select_answered_ids(run, [0, 5, 7], 12)
    assert tried == [0, 7]
    cases = make_cases_that_often_show_errors(zoo.WORDS, [], 1, ragged=False, possible_padding_ids=tried)
    filled = {int(row[0]) for case in cases for row in case.tokens if case.name.endswith("padding") and len(row) == 12}
    assert filled == {0, 7}
