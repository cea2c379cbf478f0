"""A pytest fixture for projects that keep an exported file beside their module.

A project's conftest.py names it: `pytest_plugins = ["pocketrnn_export.pytest_fixture"]`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pocketrnn_export.checking.check import check
from pocketrnn_export.checking.verdict import Verdict


@pytest.fixture
def check_export() -> Callable[..., Verdict]:
    """Return a function that checks a file as `check` does. It fails the test with the verdict if the file is wrong.

    Example:
        >>> def test_the_file_is_right(check_export):
        ...     check_export(module, "theirs.onnx")
    """

    def check_or_fail(*given: object, **options: object) -> Verdict:
        options.setdefault("progress", False)
        found = check(*given, **options)  # type: ignore[arg-type]
        if not found.is_right:
            pytest.fail("\n".join(found.lines), pytrace=False)
        return found

    return check_or_fail
