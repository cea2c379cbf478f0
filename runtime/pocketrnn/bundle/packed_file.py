"""The packed file: one file with all of a classifier. The native engine maps it into memory and reads it there.

docs/packed-format.md defines it.
"""

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
from pocketrnn.bundle.checked_files import read_file_size, read_regular_file
from pocketrnn.bundle.json_parsing import parse_versioned_document
from pocketrnn.bundle.manifest import Example, Graph, Limits, Manifest, StepGraph, make_manifest_document
from pocketrnn.bundle.output_kinds import Activation, HeadsOutput, LabelOutput
from pocketrnn.bundle.packed_enums import Section, Storage
from pocketrnn.bundle.packed_strings import (
    encode_as_32_bit_words,
    encode_code_point_run,
    encode_code_point_set,
    encode_strings,
    encode_utf8,
    pad_to_word,
)
from pocketrnn.errors import BundleError, find_file_error_reason
from pocketrnn.text import SUBWORDS, TextRules
from pocketrnn.text.cleaning_steps import CleaningStep
from pocketrnn.text.code_point_ranges import list_first_and_last_points, merge_ranges
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.tokenizers import PACKED_TOKENIZERS

if TYPE_CHECKING:
    from pocketrnn.bundle.packed_subwords import Forms
    from pocketrnn.bundle.packed_tags_section import Marks

__all__ = [
    "LARGEST",
    "PACK_AGAIN",
    "PackedProgram",
    "assemble_packed_file",
    "check_packed_file_sha256",
    "compute_plain_and_weighted_checksums",
    "encode_compact_json",
    "encode_packed_file",
    "encode_packed_text_rules",
    "has_integer_weights",
    "is_packed_file",
    "make_manifest_entry_of_program",
    "make_manifest_entry_of_step_program",
    "map_file",
    "read_packed_document",
    "read_packed_manifest",
]

# The suffix .prnn is a convention; a packed file is recognised by its first four bytes.
_MAGIC: Final = b"PRNN"
_VERSION: Final = 1
_HEADER: Final = 256
# Header words: the number of a program's values, 0 in a file of text rules alone; of channels, 0 for texts.
_VALUES_IN_HEADER: Final = 6
_CHANNELS_IN_HEADER: Final = 11
_ALIGN: Final = 64
_NUMBERS_AT: Final = 64
_SECTIONS_AT: Final = 128
_NONE: Final = -1
# The 13 words of a value. In a constant, the second is _CONSTANT, and the third says how it is stored.
_VALUE: Final = "<13I"
_CONSTANT: Final = 0xFFFFFFFF
# How the section of rules of subwords begins.
_RULES_OF_SUBWORDS: Final = struct.pack("<I", PACKED_TOKENIZERS[SUBWORDS])
LARGEST: Final = (1 << 31) - 1
_ACTIVATIONS: Final[tuple[Activation, ...]] = ("softmax", "sigmoid", "values", "heads")
PACK_AGAIN: Final = "Copy the file again from where it was made, or make it again with: pocketrnn pack"


@dataclass(frozen=True)
class PackedProgram:
    """A program in a packed file: the sections of its values (tensors), operations and weights, and four numbers of the
    header.

    Attributes:
        values: the section of the values.
        ops: the section of the operations.
        weights: the section of the weights.
        numbers: the index of the logits among the values, and the numbers of values, operations and memory regions.
        step: the section of the step program, which reads a text or a recording while it arrives; empty without
            streaming.
    """

    values: bytes = field(repr=False)
    ops: bytes = field(repr=False)
    weights: bytes = field(repr=False)
    numbers: tuple[int, ...]
    step: bytes = field(repr=False, default=b"")


# The program of a file that holds only text rules.
_NO_PROGRAM: Final = PackedProgram(b"", b"", b"", (0, 0, 0, 0))


def has_integer_weights(values_section: bytes) -> bool:
    """Return whether the program of a packed file multiplies any weights as integers.

    Args:
        values_section: the section that describes the program's values; see docs/packed-format.md.
    """
    records = struct.iter_unpack(_VALUE, values_section)
    return any((region, storage) == (_CONSTANT, Storage.INTEGERS_BY_COLUMN) for _, region, storage, *_ in records)


def make_manifest_entry_of_step_program(program: PackedProgram) -> StepGraph | None:
    """Make the manifest entry that describes the step program of a packed file, in place of the entry for a bundle's
    step graph. Return None if there is no step program."""
    if not program.step:
        return None
    digest = hashlib.sha256(program.values + program.step + program.weights).hexdigest()
    return StepGraph("step", digest, struct.unpack_from("<I", program.step)[0])


def make_manifest_entry_of_program(graph: Graph, program: PackedProgram) -> Graph:
    """Make the manifest entry for the program of a packed file, in place of the entry for a bundle's graph."""
    limits = graph.limits if graph.limits is None else replace(graph.limits, max_batch=None)
    if limits == Limits():
        limits = None
    inputs = tuple(name for name in graph.inputs if not name.endswith("lengths"))
    return replace(
        graph,
        file="program",
        sha256=hashlib.sha256(program.values + program.ops + program.weights).hexdigest(),
        inputs=inputs,
        padding=False,
        # classifier.json does not state it of two texts, or of a text with features.
        batch=1 if len(inputs) == 1 else None,
        limits=limits,
        alone=(),
    )


def is_packed_file(path: Path) -> bool:
    """Return whether the file at a path begins with the four bytes of a packed file; False if it cannot be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) == _MAGIC
    except (OSError, ValueError):
        return False


def map_file(path: Path) -> mmap.mmap:
    """Map a packed file into memory. Processes that map the same file share the memory. Raise a BundleError if the file
    cannot be read, is not a regular file, or is too small or too large for a packed file."""
    size = read_file_size(path)
    try:
        if not path.is_file() or not _HEADER <= size <= LARGEST:
            raise BundleError(f"{path} is not a packed classifier.", "Give a file that `pocketrnn pack` wrote.")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{path} cannot be read: {find_file_error_reason(error)}.", "Check the file and its permissions."
        ) from None


def read_packed_manifest(content: mmap.mmap, list_tokens: Callable[[], Iterable[str]], path: Path) -> Manifest:
    """Read the manifest of a packed file. The engine must open the file before, since only the engine checks the
    offsets in it.

    Args:
        list_tokens: returns the file's vocabulary; called only if the classifier takes texts.

    Raises:
        BundleError: the file has no program; its document is not valid; or the document contradicts the sections that
            the engine reads.
    """
    # From the number of labels to the flag of two texts.
    header = list(struct.unpack_from("<14I", content, _NUMBERS_AT))
    if not header[_VALUES_IN_HEADER]:
        raise BundleError(
            f"{path} cannot classify texts: it was packed with --text-rules, and contains only the rules that convert "
            "texts to ids.",
            "Give the bundle, or a file that `pocketrnn pack` wrote without --text-rules.",
        )
    document, forms, marks = read_packed_document(content, path), None, None
    if header[_CHANNELS_IN_HEADER]:
        # Imported when needed: most files have neither numbers nor subwords.
        from pocketrnn.bundle.packed_number_sections import decode_number_examples

        labels, count, channels = (header[word] for word in (0, 9, _CHANNELS_IN_HEADER))
        examples = decode_number_examples(_read_section(content, Section.EXAMPLES), count, labels, channels)
        document |= {"examples": examples}
    else:
        vocabulary, rules = list(list_tokens()), _read_section(content, Section.RULES)
        if rules[:4] == _RULES_OF_SUBWORDS:
            from pocketrnn.bundle.packed_subwords import make_reader_of_normal_forms, restore_model_numbers_and_tables

            document = {**restore_model_numbers_and_tables(document, rules, len(vocabulary))}
            forms = make_reader_of_normal_forms(rules, len(vocabulary))
        document["vocabulary"] = vocabulary
        if features := _read_section(content, Section.FEATURES):
            from pocketrnn.bundle.packed_features import decode_features

            document["features"] = decode_features(features)
        if tags := _read_section(content, Section.TAGS):
            # Imported when needed: most files have labels of texts and not of tokens.
            from pocketrnn.bundle.packed_tags_section import read_punctuation_marks, restore_crf

            document, marks = restore_crf(document, tags, header[0]), read_punctuation_marks(tags)
    manifest = manifests.build_manifest_from_document({**document, "digest": "0" * 64}, path)
    stated, step = _encode_manifest_sections(manifest, forms, marks), _read_section(content, Section.STEP)
    state_size = struct.unpack_from("<I", step)[0] if step else None
    first, last = _make_header_words_before_and_after_program(manifest)
    if (
        any(_read_section(content, name) != said for name, said in stated.items())
        or (header[:5], header[9:]) != (first, [len(manifest.examples), *last])
        or state_size != (None if manifest.stream is None else manifest.stream.state_size)
        # A file with integer arithmetic that does not state it would be shown as proven equal.
        or has_integer_weights(_read_section(content, Section.VALUES))
        != any(line.measures_integer_arithmetic for line in manifest.parity.comparisons)
    ):
        raise BundleError(f"{path} contradicts itself: its JSON document differs from its other sections.", PACK_AGAIN)
    return manifest


def read_packed_document(content: mmap.mmap, path: Path) -> dict[str, Any]:
    """Read and parse the JSON document of a packed file, which has the members of classifier.json. Check its format and
    version, but not its schema. Raise a BundleError if the document is not JSON, has another format or version, or has
    a member that belongs in another section, such as the vocabulary."""
    document: dict[str, Any] = parse_versioned_document(
        _read_section(content, Section.DOCUMENT),
        path,
        form=manifests.FORMAT,
        version=manifests.VERSION,
        error=BundleError,
        written_by="pocketrnn pack",
        remedy=PACK_AGAIN,
        version_remedy=PACK_AGAIN,
    )
    elsewhere = {"vocabulary", "digest", "features", *(["examples"] if "numbers" in document else [])}
    if twice := sorted(elsewhere & document.keys()):
        raise BundleError(
            f"{path} is damaged: its JSON document contains {', '.join(twice)}, which belong in other sections.",
            PACK_AGAIN,
        )
    return document


def check_packed_file_sha256(path: Path) -> None:
    """Check that a packed file has the sha256 that is written in its header. Raise a BundleError if a byte was changed,
    or the file cannot be read."""
    content = bytearray(read_regular_file(path, LARGEST))
    stated = bytes(content[32:64])
    content[16:64] = bytes(48)
    if hashlib.sha256(content).digest() != stated:
        raise BundleError(f"{path} was changed after it was made: its digest does not match.", PACK_AGAIN)


def encode_packed_file(manifest: Manifest, program: PackedProgram | None) -> bytes:
    """Encode a classifier as the bytes of a packed file.

    Args:
        manifest: the classifier's manifest, with the graph's entry that `make_manifest_entry_of_program` makes.
        program: the program that computes logits from ids; None for a file of text rules only, whose document then
            holds the golden examples.

    Raises:
        BundleError: the file would be larger than 2 GiB.
    """
    document, stated = make_manifest_document(manifest), _encode_manifest_sections(manifest)
    if not isinstance(manifest.input, TextInput):
        # The examples have a section of their own, where they take a third of their bytes as JSON.
        del document["examples"]
    else:
        stated[Section.VOCABULARY] = encode_strings(manifest.input.vocabulary, looked_up=True)
        if not isinstance(manifest.input.rules, TextRules):
            from pocketrnn.bundle.packed_subwords import remove_model_numbers_and_tables

            document = remove_model_numbers_and_tables(document)
        if program:
            # The CRF's numbers are in the section of the tags.
            document.pop("crf", None)
        document.pop("features", None)
    count = len(manifest.examples)
    if program is None:
        count, stated[Section.EXAMPLES], stated[Section.TAGS] = 0, b"", b""
    program = program or _NO_PROGRAM
    made = {
        Section.DOCUMENT: encode_compact_json(document),
        **stated,
        Section.VALUES: program.values,
        Section.OPS: program.ops,
        Section.WEIGHTS: program.weights,
        Section.STEP: program.step,
    }
    first, last = _make_header_words_before_and_after_program(manifest)
    return assemble_packed_file([*first, *program.numbers, count, *last], [made[name] for name in sorted(made)])


def encode_packed_text_rules(manifest: Manifest) -> bytes:
    """Encode the text rules of a bundle as a packed file without a program.

    Such a file is for programs that run the bundle's graph themselves, and use the engine only to convert texts to ids.

    Raises:
        BundleError: the file would be larger than 2 GiB.
    """
    return encode_packed_file(replace(manifest, stream=None), None)


def encode_compact_json(document: Mapping[str, Any]) -> bytes:
    """Encode a document as JSON in ASCII without spaces."""
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()


def assemble_packed_file(header_words: Sequence[int], sections: Sequence[bytes]) -> bytes:
    """Join a header and sections into a packed file.

    Args:
        header_words: the 32-bit integers of the header, beginning with the number of labels.

    Raises:
        BundleError: the file would be larger than 2 GiB.
    """
    body, table = bytearray(), []
    for name, section in enumerate(sections):
        # The step, and what follows it, is left out where there is none.
        is_there = section or name < Section.STEP
        table += [_HEADER + len(body), len(section)] if is_there else [0, 0]
        body += section + bytes(-len(section) % _ALIGN)
    size = _HEADER + len(body)
    if size > LARGEST:
        raise BundleError(
            "The packed file would be larger than 2 GiB, which is the limit.",
            "Use the bundle itself, with onnxruntime.",
        )
    head = bytearray(_HEADER)
    struct.pack_into("<4s3I", head, 0, _MAGIC, _VERSION, size, 0)
    struct.pack_into(f"<{len(header_words)}I", head, _NUMBERS_AT, *header_words)
    struct.pack_into(f"<{len(table)}I", head, _SECTIONS_AT, *table)
    content = head + body
    content[32:64] = hashlib.sha256(content).digest()
    struct.pack_into("<2Q", content, 16, *compute_plain_and_weighted_checksums(content))
    return bytes(content)


def compute_plain_and_weighted_checksums(content: bytes | bytearray) -> tuple[int, int]:
    """Compute the two checksums of a packed file, modulo 2^64.

    The file is read as 32-bit integers. The first checksum is their sum; the second is the sum of each integer times
    its position, counted from 1. The bytes of the checksums themselves count as zeros.
    """
    words = np.frombuffer(content, "<u4").astype(np.uint64)
    words[4:8] = 0
    positions = np.arange(1, len(words) + 1, dtype=np.uint64)
    return int(words.sum(dtype=np.uint64)), int((words * positions).sum(dtype=np.uint64))


def _encode_text_rules(rules: TextRules) -> bytes:
    """Encode the section of the text rules: 14 numbers, then each cleaning step."""

    def encode_optional(number: int | None) -> int:
        return _NONE if number is None else number

    head = [
        PACKED_TOKENIZERS[rules.tokenizer],
        int(rules.lowercase),
        rules.ngrams,
        rules.max_tokens or 0,
        encode_optional(rules.unknown_id),
        rules.empty_id,
        rules.padding_id,
        encode_optional(rules.first_id),
        encode_optional(rules.last_id),
        rules.max_width or 0,
        rules.min_width or 0,
        int(rules.cut_side == "left"),
        int(rules.pad_side == "left"),
        len(rules.steps),
    ]
    return encode_as_32_bit_words(head) + b"".join(map(_encode_cleaning_step, rules.steps))


def _encode_cleaning_step(step: CleaningStep) -> bytes:
    """Encode one cleaning step of the text rules: its kind, its sizes, and its strings and code points."""
    what, by = encode_utf8(getattr(step, "what", "")), encode_utf8(getattr(step, "by", ""))
    ranges, runs = merge_ranges(list_first_and_last_points(getattr(step, "ranges", ()))), getattr(step, "runs", ())
    content = encode_as_32_bit_words(end for some in ranges for end in some)
    if word := getattr(step, "word", ()):
        content += encode_code_point_set(word)
    content += b"".join(map(encode_code_point_run, runs))
    content += pad_to_word(what) + pad_to_word(by)
    count = len(ranges) or len(runs) or len(what)
    return encode_as_32_bit_words([step.packed_kind, 4 + len(content) // 4, count, len(by)]) + content


def _encode_example(example: Example) -> bytes:
    """Encode one golden example of texts: the text, its ids and its logits."""
    parts = example.text if isinstance(example.text, tuple) else (example.text,)
    # Features stand in the ids; two texts have a tab between.
    text = encode_utf8("\t".join(part for part in parts if isinstance(part, str)))
    # A number beyond the range of float32 becomes infinite and thus differs from every logit of the engine.
    with np.errstate(over="ignore"):
        logits = np.array(example.logits, "<f4").tobytes()
    return (
        encode_as_32_bit_words([len(text), len(example.ids)])
        + pad_to_word(text)
        + encode_as_32_bit_words(example.ids)
        + logits
    )


def _encode_heads(heads: Mapping[str, LabelOutput]) -> bytes:
    """Encode the section of the heads: the number of labels and the activation of each, then their names. Return no
    bytes if there are no heads."""
    if not heads:
        return b""
    words = [number for head in heads.values() for number in (len(head.labels), _ACTIVATIONS.index(head.activation))]
    return encode_as_32_bit_words([len(heads), *words]) + encode_strings(tuple(heads))


def _encode_manifest_sections(
    manifest: Manifest, encode_normal_form: Forms | None = None, punctuation_ranges: Marks | None = None
) -> dict[int, bytes]:
    """Encode the sections that the manifest determines; return the bytes of each section by its number (`Section`).

    These are labels, rules, stop words, golden examples, channels, tags, heads and features; the vocabulary of a text
    classifier is encoded elsewhere.

    Args:
        encode_normal_form: encodes the tables of a Unicode normal form; None for those of this Python's Unicode
            version.
        punctuation_ranges: the ranges of punctuation marks; None for those of this Python's Unicode version.
    """
    given, stops = manifest.input, tuple[str, ...]()
    output = manifest.output
    heads = output.heads if isinstance(output, HeadsOutput) else {}
    labels = [label for head in heads.values() for label in head.labels] if heads else output.labels
    made: dict[int, bytes] = {Section.LABELS: encode_strings(labels), Section.HEADS: _encode_heads(heads)}
    if not isinstance(given, TextInput):
        from pocketrnn.bundle.packed_number_sections import encode_number_example, encode_number_rules

        made |= {Section.RULES: encode_number_rules(given), Section.VOCABULARY: encode_strings(given.channels)}
        examples = map(encode_number_example, manifest.golden_sequences)
    else:
        examples = map(_encode_example, manifest.golden_texts)
        if isinstance(given.rules, TextRules):
            made[Section.RULES], stops = _encode_text_rules(given.rules), given.rules.stop_words
        else:
            from pocketrnn.bundle.packed_subwords import encode_subwords_section

            made[Section.RULES] = encode_subwords_section(given.rules, given.vocabulary, encode_normal_form)
    if manifest.features:
        # Imported when needed: most files have none.
        from pocketrnn.bundle.packed_features import encode_features

        made[Section.FEATURES] = encode_features(manifest.features)
    if output.of_tokens:
        from pocketrnn.bundle.packed_tags_section import encode_tags_section

        made[Section.TAGS] = encode_tags_section(manifest, punctuation_ranges)
    stated = {
        Section.TAGS: b"",
        Section.FEATURES: b"",
        Section.STOPS: encode_strings(stops, looked_up=True),
        Section.EXAMPLES: b"".join(examples),
    }
    return {**stated, **made}


def _make_header_words_before_and_after_program(manifest: Manifest) -> tuple[list[int], list[int]]:
    """Compute the numbers of the header that the manifest determines. Return two lists: the numbers before those of the
    program, and the numbers after the count of golden examples."""
    limits, given = manifest.graph.limits or Limits(), manifest.input
    steps, channels = (None, 0) if isinstance(given, TextInput) else (given.steps, len(given.channels))
    first = [
        len(manifest.labels),
        _ACTIVATIONS.index(manifest.output.activation),
        manifest.graph.embedding_rows,
        steps or limits.min_tokens or 1,
        steps or limits.max_tokens or LARGEST,
    ]
    return first, [int(limits.real_token is True), channels, len(manifest.features), int(manifest.has_two_texts)]


def _read_section(content: mmap.mmap, section: int) -> bytes:
    """Return the bytes of one section of a packed file; `section` is its number (`Section`)."""
    offset, size = struct.unpack_from("<2I", content, _SECTIONS_AT + 8 * section)
    return content[offset : offset + size]
