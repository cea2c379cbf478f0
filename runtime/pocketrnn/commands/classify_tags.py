"""`pocketrnn classify` with a bundle whose labels are of tokens: texts with brackets, JSON Lines, columns of CoNLL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pocketrnn.commands.answer_lines import Wanted
from pocketrnn.commands.standard_streams import arriving_lines, json_line, say, standard_input, tell
from pocketrnn.commands.terminal import one_line
from pocketrnn.errors import InputError
from pocketrnn.tags import text_between

if TYPE_CHECKING:
    from pocketrnn.classifier import Classifier
    from pocketrnn.tags import Tags

__all__ = ["classify_tags"]

# CoNLL-U's mark for what is not said.
_UNTAGGED = "_"


def classify_tags(classifier: Classifier, texts: Sequence[str], wanted: Wanted, *, as_conll: bool) -> None:
    """Write the tags of texts, or of the lines of standard input, each answered as it arrives.

    Args:
        classifier: whose labels are of tokens.
        texts: none for standard input.
        wanted: whether texts are JSON lists, and answers JSON objects.
        as_conll: whether they are columns of CoNLL.

    Raises:
        InputError: a text cannot be tagged. Those before it are answered first.
    """
    line_of = _conll if as_conll else _json if wanted.as_json else _with_brackets
    stdin = None if texts else standard_input()
    if stdin is not None and stdin.isatty():
        say("Reading texts, one a line, until Ctrl-D.", err=True)
    batches = [list(texts)] if stdin is None else arriving_lines(stdin)
    answered = untagged = 0
    for lines in batches:
        untagged += _answer(classifier, lines, wanted, line_of, "Text" if texts else "Line", answered)
        answered += len(lines)
    if untagged:
        tell(f"{untagged:,} tokens have no label: the text rules cut them off, or drop them.", err=True)


def _answer(
    classifier: Classifier,
    texts: Sequence[str],
    wanted: Wanted,
    line_of: Callable[[Tags], str],
    kind: str,
    before: int,
) -> int:
    """Answer some texts, of which `before` came before. Gives how many of their tokens have no tag."""
    try:
        tagged = classifier.predict_tags([wanted.input_of(text, "") for text in texts])
        if tagged:
            say("\n".join(map(line_of, tagged)))
        return sum(len(tags.untagged) for tags in tagged)
    except InputError:
        pass
    # One of them is refused: those before it are answered.
    for index, text in enumerate(texts):
        which = f"{kind} {before + index + 1}"
        given = wanted.input_of(text, which)
        try:
            tags = classifier.tag(given)
        except InputError as error:
            problem = error.problem.replace("The text", which, 1)
            raise type(error)(problem if problem.startswith(which) else f"{which}: {problem}", error.remedy) from None
        say(line_of(tags))
    return 0


def _with_brackets(tags: Tags) -> str:
    """The text on one line, each span in brackets behind its label: `[PER Ada] lives in [LOC Berlin]`."""
    text, made, done = tags.text, list[str](), 0
    for span in tags.spans:
        made += [_part(text, done, span.start), f"[{one_line(span.label)} {one_line(span.text)}]"]
        done = span.end
    made.append(_part(text, done, len(text)))
    return "".join(made) if isinstance(text, str) else " ".join(part for part in made if part)


def _part(text: str | Sequence[str], start: int, end: int) -> str:
    return one_line(text_between(text, start, end))


def _json(tags: Tags) -> str:
    given: dict[str, Any] = {"text": tags.text} if isinstance(tags.text, str) else {"tokens": list(tags.text)}
    left = [{"token": token, "start": start, "end": end} for token, start, end in tags.untagged]
    return json_line({
        **given,
        "tags": [asdict(tag) for tag in tags],
        "spans": [asdict(span) for span in tags.spans],
        **({"untagged": left} if left else {}),
    })  # fmt: skip


def _conll(tags: Tags) -> str:
    """A line for each token, with its label, and an empty line."""
    rows = [(tag.start, tag.token, tag.label) for tag in tags]
    rows += [(start, token, _UNTAGGED) for token, start, _ in tags.untagged]
    return "".join(
        f"{one_line(token)}\t{one_line(label)}\n" for _, token, label in sorted(rows, key=lambda row: row[0])
    )
