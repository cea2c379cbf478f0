"""The code blocks of the documentation: found, run as they stand, and their output compared with what they print.

A block of console lines, of Python or of JSON is run, unless a comment before it says why not:

    <!-- not run: it needs a cluster -->

`<!-- saved as news.py -->` writes the block to a file instead. Lines of a console block that do not begin with "$ " are
the output of the command before them, and a block of `text` that follows Python is what it prints. `...` at the end of
a line stands for the rest of it, and a line of `...` for all lines that follow.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner

from pocketrnn.commands.cli import main

# Languages that are shown and not run: text, or programs that another test runs.
SHOWN_ONLY: Final = {"text", "js", "html", "c", "cpp", "yaml", "dockerfile", "pycon"}
_BLOCK: Final = re.compile(r"(?m)^(?:<!-- (.+?) -->\n)?```(\S*)[^\n]*\n((?:.*\n)*?)```$")
_NUMBER: Final = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
# Models that are trained for a page are small: exporting and compressing default ones took 25 s more in README.
_SMALL: Final = ("--hidden-dim", "8", "--embedding-dim", "8")
# Short programs of every Unix that only show a file.
_ALSO_RUN: Final = {"head", "cat"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: where it begins.
        mark: what the comment before it says; empty without one.
        language: what stands behind the fence.
        content: its lines.
        output: of Python, the block of text that follows it.
    """

    line: int
    mark: str
    language: str
    content: str
    output: str | None = None

    @property
    def runs(self) -> bool:
        """Whether it is run."""
        return self.language in ("console", "python", "json") and not self.mark.startswith("not run: ")


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page of Markdown."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    end_of_python = -1
    for match in _BLOCK.finditer(text):
        mark, language, content = match[1] or "", match[2], match[3]
        between = text[end_of_python : match.start()].strip() if end_of_python >= 0 else None
        if language == "text" and between == "" and found[-1].output is None:
            found[-1] = Block(**{**vars(found[-1]), "output": content})
        else:
            found.append(Block(text.count("\n", 0, match.start()) + 1, mark, language, content))
        end_of_python = match.end() if language == "python" else -1
    return found


def written_by(block: Block) -> set[str]:
    """The files and folders that the block writes, by the options and functions that name them."""
    if block.language == "python":
        return set(re.findall(r'(?:\bexport\w*\([^"\n]*|\.save\()"([^"\n]+)"', block.content))
    commands = "\n".join(command for command, _ in commands_of(block.content))
    return set(re.findall(r"(?:-o|--export|--output|--html) (\S+)", commands))


def run_block(block: Block, scope: dict[str, Any]) -> None:
    """Run a block in the current folder; Python in `scope`, which the blocks of a page share."""
    if block.mark.startswith("saved as "):
        Path(block.mark.removeprefix("saved as ")).write_text(block.content, encoding="utf-8")
    elif block.language == "json":
        json.loads(block.content)
    elif block.language == "python":
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block.content, f"line {block.line}", "exec"), scope)  # noqa: S102 - the page's own lines
        if block.output is not None:
            check_output(printed.getvalue(), block.output, f"line {block.line}")
    else:
        for command, output in commands_of(block.content):
            run_command(command, output)


def commands_of(content: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, on one line, and the output that is shown for it."""
    joined = content.replace("\\\n", " ")
    for part in re.split(r"(?m)^\$ ", joined)[1:]:
        command, _, output = part.partition("\n")
        yield command.strip(), output


def run_command(line: str, output: str = "") -> None:
    """Run one command line and compare its output, if some is shown."""
    command, _, redirected = line.partition(" < ")
    arguments = shlex.split(command, comments=True)
    if arguments[0] in _ALSO_RUN:
        check_output(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout, output, line)
        return
    assert arguments[0] == "pocketrnn", f"mark the block of `{line}` with <!-- not run: why -->"
    if "pack" in arguments or "packed" in arguments:
        with contextlib.suppress(ImportError):
            importlib.import_module("pocketrnn_native")
        if "pocketrnn_native" not in sys.modules:
            return  # there is no C compiler here, and so no engine to prove a packed file with
    if arguments[1] == "train":
        arguments += _SMALL if "--epochs" in arguments else (*_SMALL, "--epochs", "2")
    given = Path(redirected.strip()).read_bytes() if redirected else None
    result = CliRunner().invoke(main, arguments[1:], input=given)
    refused = output.startswith("Error: ")
    assert (result.exit_code == 0) is not refused, f"{line}\n{result.output}"
    if output.strip():
        check_output(result.stderr if refused else result.stdout, output, line)


def check_output(given: str, shown: str, what: str) -> None:
    """Check that a program printed what the page shows.

    White space counts once, and numbers may differ by a hundredth: machines round differently. Numbers with an exponent
    are of the size of a rounding error, and may be any such.
    """
    lines = given.strip().splitlines()
    for expected in shown.strip().splitlines():
        if expected.strip() == "...":
            return
        assert lines, f"{what}: {expected!r} was not printed"
        line = lines.pop(0)
        ends = expected.rstrip().endswith(" ...")
        wanted = " ".join(expected.split()).removesuffix(" ...")
        found = " ".join(line.split())
        if ends:
            found = found[: len(wanted)]
        assert _NUMBER.sub("#", found) == _NUMBER.sub("#", wanted), f"{what}: {line!r} for {expected!r}"
        for number, other in zip(_NUMBER.findall(found), _NUMBER.findall(wanted), strict=True):
            if "e" not in number + other:
                a, b = (float(n.replace(",", "")) for n in (number, other))
                assert abs(a - b) <= 0.01 * max(1.0, abs(b)), f"{what}: {line!r} for {expected!r}"
    assert not lines, f"{what}: {lines[0]!r} is printed and not shown"
