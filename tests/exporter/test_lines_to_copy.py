"""Every line to copy is the running command with the proposed changes: it keeps all other options, and has --force
where it replaces an earlier bundle, and only there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_case_sampling import examples

from pocketrnn_export.commands.collected_refusals import write_command_to_copy
from pocketrnn_export.commands.export import export

_WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8)
_CHANGED = ("weights", "vocabulary", "labels", "pairs", "rules", "tokenizer", "max_tokens")


def parse(arguments: list[str]) -> click.Context:
    """Parse the arguments of `export` without running it."""
    return export.make_context("pocketrnn export", arguments)


def draw_values(parameter: click.Parameter) -> st.SearchStrategy[list[str]]:
    """Draw what a user writes for an option, as the words of a command line."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return st.sampled_from([*parameter.opts, *parameter.secondary_opts]).map(lambda one: [one])
    kind, name = parameter.type, parameter.opts[0]
    if isinstance(kind, click.Choice):
        return st.sampled_from([[name, str(one)] for one in kind.choices])
    if isinstance(kind, click.IntRange):
        return st.integers(1, 1024).map(lambda one: [name, str(one)])
    if isinstance(kind, click.FloatRange):
        return st.floats(0.1, 0.9).map(lambda one: [name, str(one)])
    most = 3 if parameter.multiple else 1
    return st.lists(_WORDS, min_size=1, max_size=most).map(lambda some: [part for one in some for part in (name, one)])


_OPTIONS = [one for one in export.params if isinstance(one, click.Option) and one.name != "help"]


@settings(max_examples=examples(60, 600), deadline=None)
@given(st.data())
def test_a_line_loses_no_option_that_was_given(data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(_OPTIONS), unique=True, max_size=8))
    context = parse(["net.py:Net", *[part for one in some for part in data.draw(draw_values(one))]])
    names = data.draw(st.lists(st.sampled_from(_CHANGED), unique=True, min_size=1))
    changes = {one: None if one == "rules" else "7" if one == "max_tokens" else data.draw(_WORDS) for one in names}
    with context:
        line = write_command_to_copy(changes)
    again = parse(shlex.split(line.removeprefix("pocketrnn export ")))
    kept = {name: value for name, value in context.params.items() if name not in changes}
    assert {name: again.params[name] for name in kept} == kept
    expected: dict[str, Any] = {**context.params, **changes}
    # As paths, so that "a" and "a/" are equal.
    assert {name: Path(str(again.params[name])) for name in changes} == {
        name: Path(str(expected[name])) for name in changes
    }


@pytest.mark.parametrize(
    ("arguments", "changes", "is_replaced"),
    [
        (["net.py:Net", "-o", "made"], {"labels": "a,b"}, True),
        (["net.py:Net", "-o", "made"], {"source": "other.py:Net"}, True),
        (["net.py:Net", "-o", "new"], {"labels": "a,b", "force": "given"}, False),
        (["net.py:Net", "-o", "thesis"], {"labels": "a,b", "force": "given"}, False),
        # The default output is that of the SOURCE in the line.
        (["."], {"source": "net.py:Net"}, True),
        (["net.py:Net"], {"source": "other.py:Net"}, False),
        (["net.py:Net", "--profile", "packed"], {"labels": "a,b"}, True),
        (["thesis.py:Net", "--profile", "packed"], {"labels": "a,b"}, False),
        (["other.py:Net", "--force"], {"labels": "a,b"}, True),
    ],
)
def test_a_line_has_force_where_it_replaces_an_earlier_bundle_and_nothing_else(
    arguments: list[str], changes: dict[str, str], is_replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for one in ("made", "net.bundle", "thesis"):
        Path(one).mkdir()
        (Path(one) / ("thesis.txt" if one == "thesis" else "classifier.json")).write_text("{}")
    Path("net.prnn").write_bytes(b"PRNN")
    Path("thesis.prnn").write_bytes(b"text")
    with parse(arguments):
        assert ("--force" in shlex.split(write_command_to_copy(changes))) == is_replaced
