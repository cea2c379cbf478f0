"""The packed file: a classifier in one file that an engine opens where it lies; docs/packed-format.md defines it."""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pocketrnn.bundle import manifest as manifests
from pocketrnn.bundle.json_schema import parsed
from pocketrnn.bundle.manifest import Example, Graph, Limits, Manifest, StepGraph, document_of
from pocketrnn.bundle.packed_codes import Section, Storage
from pocketrnn.bundle.packed_strings import merged_ranges, strings, utf8, whole, words
from pocketrnn.errors import BundleError, reason
from pocketrnn.text import TextRules
from pocketrnn.text.cleaning_steps import CleaningStep
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.tokenizers import PACKED_TOKENIZERS

if TYPE_CHECKING:
    from pocketrnn.bundle.packed_subwords import Forms
    from pocketrnn.bundle.packed_tags import Marks

__all__ = [
    "LARGEST",
    "PACKED_SUFFIX",
    "PACK_AGAIN",
    "PackedProgram",
    "assembled",
    "check_digest",
    "compact_document",
    "document_of_packed",
    "graph_entry",
    "header_words",
    "holds_integers",
    "is_packed",
    "manifest_of",
    "mapped",
    "packed_text_rules",
    "program_digest",
    "section_of",
    "step_entry",
    "sums_of",
    "to_packed",
]

# By convention. A packed file is known by its first four bytes.
PACKED_SUFFIX: Final = ".prnn"
_MAGIC: Final = b"PRNN"
_VERSION: Final = 1
_HEADER: Final = 256
# Words of the header: how many values a program has, 0 in a file of text rules alone; how many channels, 0 of texts.
_VALUES_IN_HEADER: Final = 6
_CHANNELS_IN_HEADER: Final = 11
_ALIGN: Final = 64
_NUMBERS_AT: Final = 64
_SECTIONS_AT: Final = 128
_NONE: Final = -1
# A value's 13 words: of a constant, the second is this one, and the third says how it is stored.
_VALUE: Final = "<13I"
_CONSTANT: Final = 0xFFFFFFFF
LARGEST: Final = (1 << 31) - 1
PACK_AGAIN: Final = "Copy the file again from where it was made, or make it again with: pocketrnn pack"


@dataclass(frozen=True)
class PackedProgram:
    """The sections of values, operations and weights, and the numbers of the header that say how many there are: which
    value is the logits, the values, the operations, and the regions of memory. And the section of the step, which is
    empty where no text can be read on."""

    values: bytes = field(repr=False)
    ops: bytes = field(repr=False)
    weights: bytes = field(repr=False)
    numbers: tuple[int, ...]
    step: bytes = field(repr=False, default=b"")

    @property
    def has_integers(self) -> bool:
        """Whether products are of integers."""
        return holds_integers(self.values)


# The program of a file that holds only text rules.
_NO_PROGRAM: Final = PackedProgram(b"", b"", b"", (0, 0, 0, 0))


def holds_integers(values: bytes) -> bool:
    """Whether any of a program's values are weights that are multiplied as integers.

    Args:
        values: the section of the values; see docs/packed-format.md.

    Example:
        >>> holds_integers(b"")
        False
    """
    records = struct.iter_unpack(_VALUE, values)
    return any((region, storage) == (_CONSTANT, Storage.INTEGERS_BY_COLUMN) for _, region, storage, *_ in records)


def step_entry(program: PackedProgram) -> StepGraph | None:
    """The entry for a packed file's step, where classifier.json has the step graph's.

    Example:
        >>> step_entry(program)
        StepGraph(file='step', sha256='0e68...', state_size=192)
    """
    if not program.step:
        return None
    digest = hashlib.sha256(program.values + program.step + program.weights).hexdigest()
    return StepGraph("step", digest, struct.unpack_from("<I", program.step)[0])


def program_digest(program: PackedProgram) -> str:
    """The sha256 that a packed file states of its program: of values, operations and weights, one after the other.

    Example:
        >>> len(program_digest(program))
        64
    """
    return hashlib.sha256(program.values + program.ops + program.weights).hexdigest()


def graph_entry(graph: Graph, program: PackedProgram) -> Graph:
    """The entry for a packed file's program, where classifier.json has the graph's.

    Args:
        graph: the entry of the graph that the program was made from.
        program: the program.
    """
    limits = graph.limits if graph.limits is None else replace(graph.limits, max_batch=None)
    if limits == Limits():
        limits = None
    return replace(
        graph,
        file="program",
        sha256=program_digest(program),
        inputs=graph.inputs[:1],
        padding=False,
        batch=1,
        limits=limits,
        alone=(),
    )


def is_packed(path: Path) -> bool:
    """Whether a path leads to a file that begins as a packed classifier does.

    Example:
        >>> is_packed(Path("news.prnn"))
        True
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) == _MAGIC
    except (OSError, ValueError):
        return False


def mapped(path: Path) -> mmap.mmap:
    """The bytes of a packed file, read when they are needed and shared among processes.

    Raises:
        BundleError: it cannot be read, or is not a regular file.
    """
    size = manifests.size_of(path)
    try:
        if not path.is_file() or not _HEADER <= size <= LARGEST:
            raise BundleError(f"{path} is not a packed classifier.", "Give a file that `pocketrnn pack` wrote.")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {reason(error)}.", "Check the file and its rights.") from None


def manifest_of(content: mmap.mmap, tokens: Callable[[], Iterable[str]], path: Path) -> Manifest:
    """The manifest of a packed file that the engine has opened, so that no offset points out of the file.

    Args:
        content: the file's bytes.
        tokens: gives its vocabulary, where it takes texts.
        path: for messages.

    Raises:
        BundleError: the document is not valid, or says other than the sections that the engine reads.
    """
    header = header_words(content)
    if not header[_VALUES_IN_HEADER]:
        raise BundleError(
            f"{path} holds the text rules of a bundle, and no program that answers.",
            "Give the bundle, or a file that `pocketrnn pack` wrote without --text-rules.",
        )
    document, forms, marks = document_of_packed(content, path), None, None
    if header[_CHANNELS_IN_HEADER]:
        # Both know of what most files have none of: numbers and subwords.
        from pocketrnn.bundle.packed_numbers import number_examples

        labels, count, channels = (header[word] for word in (0, 9, _CHANNELS_IN_HEADER))
        examples = number_examples(section_of(content, Section.EXAMPLES), count, labels, channels)
        document |= {"examples": examples}
    else:
        from pocketrnn.bundle.packed_subwords import normal_forms_of, with_model

        vocabulary, rules = list(tokens()), section_of(content, Section.RULES)
        document = {**with_model(document, rules, len(vocabulary)), "vocabulary": vocabulary}
        if tags := section_of(content, Section.TAGS):
            # Most files have none: their labels are of texts.
            from pocketrnn.bundle.packed_tags import marks_of, with_crf

            document, marks = with_crf(document, tags, header[0]), marks_of(tags)
        forms = normal_forms_of(rules, len(vocabulary))
    manifest = manifests.of_document({**document, "digest": "0" * 64}, path)
    stated, step = _stated_sections(manifest, forms, marks), section_of(content, Section.STEP)
    state_size = struct.unpack_from("<I", step)[0] if step else None
    first, last = _stated_numbers(manifest)
    if (
        any(section_of(content, name) != said for name, said in stated.items())
        or (header[:5], header[9:]) != (first, [len(manifest.examples), *last])
        or state_size != (None if manifest.stream is None else manifest.stream.state_size)
        # A file of integers that does not say so would be shown as proven equal.
        or holds_integers(section_of(content, Section.VALUES))
        != any(line.is_of_integers for line in manifest.parity.comparisons)
    ):
        raise BundleError(f"{path} contradicts itself: its document is not what its engine reads.", PACK_AGAIN)
    return manifest


def document_of_packed(content: mmap.mmap, path: Path) -> dict[str, Any]:
    """The document of a packed file, parsed and not yet checked.

    Raises:
        BundleError: it is not valid JSON, or of another format or version.
    """
    document: dict[str, Any] = parsed(
        section_of(content, Section.DOCUMENT),
        path,
        form=manifests.FORMAT,
        version=manifests.VERSION,
        error=BundleError,
        written_by="pocketrnn pack",
        remedy=PACK_AGAIN,
        again=PACK_AGAIN,
    )
    elsewhere = {"vocabulary", "digest", "examples"} if "numbers" in document else {"vocabulary", "digest"}
    if elsewhere & document.keys():
        raise BundleError(f"{path} holds no valid document.", PACK_AGAIN)
    return document


def check_digest(path: Path) -> None:
    """Hold a packed file against the sha256 in it.

    Raises:
        BundleError: a byte was changed.
    """
    content = bytearray(manifests.file_content(path, LARGEST))
    stated = bytes(content[32:64])
    content[16:64] = bytes(48)
    if hashlib.sha256(content).digest() != stated:
        raise BundleError(f"{path} was changed after it was made: its digest does not match.", PACK_AGAIN)


def to_packed(manifest: Manifest, program: PackedProgram | None) -> bytes:
    """The bytes of a packed file.

    Args:
        manifest: what it says; its graph is described by `graph_entry`.
        program: from ids to logits; None for a file of text rules alone, whose golden examples are in its document.

    Raises:
        BundleError: it would be larger than 2 GiB.
    """
    document, stated = document_of(manifest), _stated_sections(manifest)
    if not isinstance(manifest.input, TextInput):
        # The section of the examples holds them in a third of the bytes that they take as JSON.
        del document["examples"]
    else:
        stated[Section.VOCABULARY] = strings(manifest.input.vocabulary, looked_up=True)
        if not isinstance(manifest.input.rules, TextRules):
            from pocketrnn.bundle.packed_subwords import without_model

            document = without_model(document)
        if program:
            # Its numbers stand in a section of their own.
            document.pop("crf", None)
    count = len(manifest.examples)
    if program is None:
        count, stated[Section.EXAMPLES], stated[Section.TAGS] = 0, b"", b""
    program = program or _NO_PROGRAM
    made = {
        Section.DOCUMENT: compact_document(document),
        **stated,
        Section.VALUES: program.values,
        Section.OPS: program.ops,
        Section.WEIGHTS: program.weights,
        Section.STEP: program.step,
    }
    first, last = _stated_numbers(manifest)
    return assembled([*first, *program.numbers, count, *last], [made[name] for name in sorted(made)])


def packed_text_rules(manifest: Manifest) -> bytes:
    """The text rules of a bundle as a packed file without a program: with it the engine makes ids, for programs that
    run the bundle's graph by themselves. Its document is that of classifier.json.

    Args:
        manifest: what the bundle says.

    Raises:
        BundleError: it would be larger than 2 GiB.

    Example:
        >>> len(packed_text_rules(manifests.read(Path("my-bundle"))))
        1024
    """
    return to_packed(replace(manifest, stream=None), None)


def compact_document(document: Mapping[str, Any]) -> bytes:
    """The document of a packed file, as JSON in ASCII.

    Example:
        >>> compact_document({"name": "har"})
        b'{"name":"har"}'
    """
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()


def assembled(header: Sequence[int], sections: Sequence[bytes]) -> bytes:
    """The bytes of a packed file, of its parts.

    Args:
        header: the words of the header from the number of labels on.
        sections: in their order.

    Raises:
        BundleError: it would be larger than 2 GiB.
    """
    body, table = bytearray(), []
    for name, section in enumerate(sections):
        # The step and the tags are left out where there are none.
        is_there = section or name < Section.STEP
        table += [_HEADER + len(body), len(section)] if is_there else [0, 0]
        body += section + bytes(-len(section) % _ALIGN)
    size = _HEADER + len(body)
    if size > LARGEST:
        raise BundleError("The packed file would be larger than 2 GiB.", "Use the bundle with onnxruntime.")
    head = bytearray(_HEADER)
    struct.pack_into("<4s3I", head, 0, _MAGIC, _VERSION, size, 0)
    struct.pack_into(f"<{len(header)}I", head, _NUMBERS_AT, *header)
    struct.pack_into(f"<{len(table)}I", head, _SECTIONS_AT, *table)
    content = head + body
    content[32:64] = hashlib.sha256(content).digest()
    struct.pack_into("<2Q", content, 16, *sums_of(content))
    return bytes(content)


def sums_of(content: bytes | bytearray) -> tuple[int, int]:
    """The sum of a packed file's words, and that of every word times its position from 1; both modulo 2^64, and with
    the sums themselves as zeros.

    Example:
        >>> sums_of(bytes(4) + b"\\1" + bytes(3))
        (1, 2)
    """
    words = np.frombuffer(content, "<u4").astype(np.uint64)
    words[4:8] = 0
    positions = np.arange(1, len(words) + 1, dtype=np.uint64)
    return int(words.sum(dtype=np.uint64)), int((words * positions).sum(dtype=np.uint64))


def _rules(rules: TextRules) -> bytes:
    def or_none(number: int | None) -> int:
        return _NONE if number is None else number

    head = [
        PACKED_TOKENIZERS[rules.tokenizer],
        int(rules.lowercase),
        rules.ngrams,
        rules.max_tokens or 0,
        or_none(rules.unknown_id),
        rules.empty_id,
        rules.padding_id,
        or_none(rules.first_id),
        or_none(rules.last_id),
        rules.max_width or 0,
        rules.min_width or 0,
        int(rules.cut_side == "left"),
        int(rules.pad_side == "left"),
        len(rules.steps),
    ]
    return words(head) + b"".join(map(_step, rules.steps))


def _step(step: CleaningStep) -> bytes:
    what, by = utf8(getattr(step, "what", "")), utf8(getattr(step, "by", ""))
    ranges = merged_ranges((ord(some[0]), ord(some[-1])) for some in getattr(step, "ranges", ()))
    content = words(end for some in ranges for end in some) + whole(what) + whole(by)
    return words([step.packed_kind, 4 + len(content) // 4, len(ranges) or len(what), len(by)]) + content


def _example(example: Example) -> bytes:
    text = utf8(example.shown)
    # A number beyond float32 becomes infinite, and so is not equal to any logit of the engine.
    with np.errstate(over="ignore"):
        logits = np.array(example.logits, "<f4").tobytes()
    return words([len(text), len(example.ids)]) + whole(text) + words(example.ids) + logits


def _stated_sections(manifest: Manifest, forms: Forms | None = None, marks: Marks | None = None) -> dict[int, bytes]:
    """The sections that are made of a manifest: labels, rules, stop words, golden examples, channels and what is said
    of labels of tokens; the vocabulary is a section of its own. Normal forms and marks may be those of a file."""
    given, stops = manifest.input, tuple[str, ...]()
    made: dict[int, bytes] = {Section.LABELS: strings(manifest.labels)}
    if not isinstance(given, TextInput):
        from pocketrnn.bundle.packed_numbers import number_example, number_rules

        made |= {Section.RULES: number_rules(given), Section.VOCABULARY: strings(given.channels)}
        examples = map(number_example, manifest.sequences)
    else:
        examples = map(_example, manifest.texts)
        if isinstance(given.rules, TextRules):
            made[Section.RULES], stops = _rules(given.rules), given.rules.stop_words
        else:
            from pocketrnn.bundle.packed_subwords import subwords_section

            made[Section.RULES] = subwords_section(given.rules, given.vocabulary, forms)
    if manifest.output.of_tokens:
        from pocketrnn.bundle.packed_tags import tags_section

        made[Section.TAGS] = tags_section(manifest, marks)
    stated = {Section.TAGS: b"", Section.STOPS: strings(stops, looked_up=True), Section.EXAMPLES: b"".join(examples)}
    return {**stated, **made}


def _stated_numbers(manifest: Manifest) -> tuple[list[int], list[int]]:
    """The words of the header in front of what the program says, and those behind the number of golden examples."""
    limits, given = manifest.graph.limits or Limits(), manifest.input
    steps, channels = (None, 0) if isinstance(given, TextInput) else (given.steps, len(given.channels))
    first = [
        len(manifest.labels),
        ("softmax", "sigmoid", "values").index(manifest.output.activation),
        manifest.graph.embedding_rows,
        steps or limits.min_tokens or 1,
        steps or limits.max_tokens or LARGEST,
    ]
    return first, [int(limits.real_token is True), channels]


def section_of(content: mmap.mmap, name: int) -> bytes:
    """The bytes of a section of a packed file, by its number in `Section`."""
    offset, size = struct.unpack_from("<2I", content, _SECTIONS_AT + 8 * name)
    return content[offset : offset + size]


def header_words(content: mmap.mmap) -> list[int]:
    """The words of the header from the number of labels on, up to the number of channels."""
    return list(struct.unpack_from("<12I", content, _NUMBERS_AT))
