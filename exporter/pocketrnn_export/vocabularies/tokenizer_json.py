"""Read a tokenizer.json of Hugging Face's `tokenizers` as text rules of subwords.

Parts that the rules can express exactly are translated; all others are refused by name. Each part has the meaning that
it has in tokenizers 0.23 (github.com/huggingface/tokenizers, tokenizers/src); the tests compare ids with the library's.
"""

from __future__ import annotations

import base64
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import Keep, Replace, SubwordRules
from pocketrnn.text.code_point_patterns import LONGEST_RUN, Run
from pocketrnn.text.code_point_ranges import make_ranges_from_points
from pocketrnn.text.subword_models import MOST_PIECES, Bpe, Model, Unigram, WholeWords, WordPiece
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_splits import (
    Pattern,
    PrependTo,
    Split,
    SplitAt,
    SplitAtRuns,
    SplitAtText,
)
from pocketrnn.text.subword_steps import (
    BYTE_CHARACTERS,
    Bytes,
    Fold,
    LowercaseEach,
    Normalize,
    Prepend,
    Strip,
    SubwordStep,
    Surround,
    Table,
    make_subword_steps_function,
)
from pocketrnn_export.json_reading_and_writing import brief_text, parse_json, parse_serde_float
from pocketrnn_export.vocabularies.tokenizer_patterns import parse_runs, parse_split
from pocketrnn_export.vocabularies.vocabulary import PLACEHOLDER
from pocketrnn_training.texts.unicode_sets import (
    CLUSTERS,
    complement_ranges,
    complement_set,
    find_unicode_set,
)

_log = logging.getLogger(__name__)

EXTERNAL_WAY: Final = (
    "Export a bundle that takes ids from your own tokenizer: give --tokenizer external, and as --vocabulary the tokens "
    "in the order of their ids (in Python: tokenizer='external', vocabulary=[...])."
)
_NOT_ONE: Final = 'Save it again with your tokenizer: `tokenizer.save("tokenizer.json")` or `save_pretrained(folder)`.'

_SPLIT_BEHAVIORS: Final = {
    "Removed": "removed",
    "Isolated": "isolated",
    "MergedWithPrevious": "with_previous",
    "MergedWithNext": "with_next",
    "Contiguous": "runs",
}
_LARGEST_SCORE: Final = sys.float_info.max
PADDING_NAMES: Final = ("[PAD]", "<pad>", "<PAD>", "<|pad|>", "[pad]", "<|endoftext|>")


@dataclass(frozen=True)
class Subwords:
    """The text rules of a subword tokenizer, with its vocabulary.

    Attributes:
        rules: the rules that the bundle uses.
        tokens: the tokens; a token's position is its id.
        kind: the kind of source, such as "a tokenizer.json".
        content: the content of the tokenizer's file: text if `tokenizers` wrote it, bytes if `sentencepiece` did.
        file_rules: the rules in the file, if the user's settings changed `rules`; otherwise None.
        tokenizer: the tokenizer object of `tokenizers`, if the user gave one; otherwise None.
    """

    rules: SubwordRules
    tokens: tuple[str, ...] = field(repr=False)
    kind: str = "a tokenizer.json"
    content: str | bytes = field(default="", repr=False)
    file_rules: SubwordRules | None = field(default=None, repr=False)
    tokenizer: Any = field(default=None, repr=False, compare=False)

    @property
    def library(self) -> Literal["tokenizers", "sentencepiece"]:
        """The library that can read the tokenizer's file."""
        return "tokenizers" if isinstance(self.content, str) else "sentencepiece"


def read_tokenizer_json(text: str, source: str, *, parse_float: Callable[[str], float] = parse_serde_float) -> Subwords:
    """Read the text rules in a tokenizer.json.

    Args:
        text: the content of the file.
        source: the name of the file in messages.
        parse_float: converts a number in the file. The default rounds as the library `tokenizers` does.

    Raises:
        InputError: the file is damaged, or text rules cannot express a part of it; the message names the part.
    """
    document = parse_json(text, source, _NOT_ONE, parse_float=parse_float)
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise InputError(
            f"{source} holds no tokenizer: it must be a JSON object with the member `model`.",
            f"Give the tokenizer.json of Hugging Face's `tokenizers`. {_NOT_ONE}",
        )
    if document.get("version", "1.0") != "1.0":
        raise InputError(
            f"{source} has the `version` {brief_text(document['version'])}, but pocketrnn reads only version 1.0.",
            EXTERNAL_WAY,
        )
    try:
        rules, tokens = _make_rules(document, _JsonReader(source))
    except InputError as error:
        if error.problem.startswith(source):
            raise
        # Parts that are understood but that the rules refuse, such as bytes of bytes.
        raise InputError(
            f"{source}: pocketrnn's text rules cannot express this tokenizer. {error.problem}", EXTERNAL_WAY
        ) from None
    return Subwords(rules, tokens, content=text)


def _make_rules(document: Mapping[str, Any], reader: _JsonReader) -> tuple[SubwordRules, tuple[str, ...]]:
    """Return the text rules and the tokens of a tokenizer.json, from its parsed content."""
    steps = reader.read_normalizer_steps(document.get("normalizer"))
    splits = reader.read_splits(document.get("pre_tokenizer"))
    model, ids, unknown = reader.read_subword_model(
        document["model"], of_bytes=_end_with_byte_characters((*steps, *splits))
    )
    # Several tokens of a Unigram model may be one piece.
    size = len(model.scores) if isinstance(model, Unigram) else len(ids)
    added, all_ids = reader.read_added_tokens_and_ids(document.get("added_tokens") or [], ids, size)
    tokens = reader.order_tokens_by_id(all_ids)
    reader.refuse_tokens_made_equal(added, tokens, steps)
    if any(isinstance(split, PrependTo) and split.first for split in splits) and any(map(_may_remove_text, steps)):
        raise reader.make_refusal_error(
            'the pre-tokenizer Metaspace with prepend_scheme "first", after a normalizer that may remove text'
        )
    first, last = reader.read_ids_around_text(document.get("post_processor"))
    most, cut = reader.read_most_pieces_and_cut_side(document.get("truncation"), len(first) + len(last))
    padding, width, side = reader.read_padding_id_width_and_side(document.get("padding"), all_ids)
    if isinstance(model, Unigram):
        scores = list(model.scores) + [0.0] * (len(tokens) - len(model.scores))
        model = Unigram(tuple(scores), model.byte_fallback)
    has_piece = set(ids.values())
    rules = SubwordRules(
        model=model,
        unknown_id=unknown,
        empty_id=padding if unknown is None else unknown,
        padding_id=padding,
        max_tokens=most,
        steps=steps,
        splits=splits,
        added=added,
        outside=tuple(i for i in range(len(tokens)) if i not in has_piece),
        first_ids=first,
        last_ids=last,
        min_width=width,
        cut_side=cut,
        pad_side=side,
    )
    return rules, tokens


def _end_with_byte_characters(steps: Sequence[SubwordStep | Split]) -> bool:
    """Return whether the last step that changes the text replaces each byte by a character, as GPT-2's tokenizer does.
    The model's input then consists of only 256 different characters."""
    changing = [one for one in steps if not isinstance(one, SplitAt | SplitAtText | SplitAtRuns | Pattern)]
    return bool(changing) and isinstance(changing[-1], Bytes)


def _may_remove_text(step: SubwordStep) -> bool:
    """Return whether a cleaning step may remove characters of a text and put nothing in their place."""
    return isinstance(step, Strip | Table) or (isinstance(step, Keep | Replace | Fold) and not step.by)


class _JsonReader:
    """Reads the parts of a tokenizer.json. Messages name the file as `source`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._step_readers: Mapping[str, Callable[[Mapping[str, Any]], list[SubwordStep]]] = {
            "Sequence": self._read_step_sequence,
            "BertNormalizer": self._read_bert_steps,
            "Lowercase": lambda _: [LowercaseEach()],
            "Strip": self._read_strip,
            "StripAccents": lambda _: [Keep(complement_set("accents"))],
            "Nmt": lambda _: [Keep(complement_set("nmt_removed")), Keep(complement_set("nmt_spaces"), " ")],
            "Prepend": lambda part: [Prepend(self._read_string(part, "prepend"))],
            "Replace": self._read_replace,
            "ByteLevel": lambda _: [Bytes()],
            "Precompiled": self._read_precompiled,
            **{form: self._make_normal_form(form) for form in ("NFC", "NFD", "NFKC", "NFKD")},
        }
        self._split_readers: Mapping[str, Callable[[Mapping[str, Any]], list[Split]]] = {
            "Sequence": self._read_split_sequence,
            "BertPreTokenizer": lambda _: [
                SplitAt(find_unicode_set("white_space"), "removed"),
                SplitAt(find_unicode_set("punctuation"), "isolated"),
            ],
            "WhitespaceSplit": lambda _: [SplitAt(find_unicode_set("white_space"), "removed")],
            "Whitespace": lambda _: [
                SplitAt(find_unicode_set("white_space"), "removed"),
                SplitAt(find_unicode_set("word"), "runs"),
            ],
            "Punctuation": lambda part: [
                SplitAt(find_unicode_set("punctuation"), self._read_split_behavior(part, "Isolated"))
            ],
            "Digits": lambda part: [
                SplitAt(
                    find_unicode_set("digits"), "isolated" if self._read_flag(part, "individual_digits") else "runs"
                )
            ],
            "CharDelimiterSplit": lambda part: [SplitAt((self._read_string(part, "delimiter"),), "removed")],
            "Metaspace": self._read_metaspace,
            "ByteLevel": self._read_byte_level,
            "Split": self._read_split,
            "FixedLength": self._read_fixed_length,
        }

    # --- Checks of values ---

    def make_refusal_error(self, what: str) -> InputError:
        return InputError(f"{self._source} has {what}. pocketrnn's text rules cannot express this.", EXTERNAL_WAY)

    def make_damaged_error(self, what: str) -> InputError:
        return InputError(f"{self._source} is damaged or was changed: {what}.", _NOT_ONE)

    def _read_string(self, part: Mapping[str, Any], name: str) -> str:
        value = part.get(name)
        if not isinstance(value, str) or not value:
            raise self.make_damaged_error(f"`{name}` is {brief_text(value)}, but must be a string that is not empty")
        return value

    def _read_flag(self, part: Mapping[str, Any], name: str, default: bool = False) -> bool:
        value = part.get(name, default)
        if not isinstance(value, bool):
            raise self.make_damaged_error(f"`{name}` is {brief_text(value)}, but must be true or false")
        return value

    def _read_id(self, value: Any, what: str) -> int:
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise self.make_damaged_error(
                f"{what} has the id {brief_text(value)}, but an id must be a whole number of 0 or more, below 2^31"
            )
        return value

    def _read_side(self, part: Mapping[str, Any], name: str) -> str:
        direction = part.get("direction", "Right")
        if direction not in ("Right", "Left"):
            raise self.make_damaged_error(
                f'in `{name}`, the direction is {brief_text(direction)}, but must be "Right" or "Left"'
            )
        return str(direction).lower()

    def _read_parts(self, value: Any, name: str) -> list[Mapping[str, Any]]:
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            raise self.make_damaged_error(f"`{name}` must be a list of JSON objects, but is not one")
        return value

    # --- Normalizers ---

    def read_normalizer_steps(self, part: Any) -> tuple[SubwordStep, ...]:
        return () if part is None else tuple(self._list_steps(part))

    def _list_steps(self, part: Any) -> list[SubwordStep]:
        kind = str(part.get("type")) if isinstance(part, dict) else "None"
        if kind not in self._step_readers:
            raise self.make_refusal_error(f"the normalizer {brief_text(kind)}")
        return self._step_readers[kind](part)

    def _read_step_sequence(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        inner = self._read_parts(part.get("normalizers"), "normalizers")
        return [step for each in inner for step in self._list_steps(each)]

    def _make_normal_form(self, form: Any) -> Callable[[Mapping[str, Any]], list[SubwordStep]]:
        return lambda _: [Normalize(form, find_unicode_set("later"))]

    def _read_bert_steps(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        """Return the cleaning steps that the flags of the normalizer BertNormalizer in a tokenizer.json select."""
        lowercase = self._read_flag(part, "lowercase", True)
        accents = part.get("strip_accents")
        steps: list[SubwordStep] = []
        if self._read_flag(part, "clean_text", True):
            steps += [Keep(complement_set("bert_removed")), Keep(complement_set("bert_spaces"), " ")]
        if self._read_flag(part, "handle_chinese_chars", True):
            steps.append(Surround(find_unicode_set("ideographs")))
        if lowercase if accents is None else self._read_flag(part, "strip_accents"):
            steps += [Normalize("NFD", find_unicode_set("later")), Keep(complement_set("bert_accents"))]
        return [*steps, LowercaseEach()] if lowercase else steps

    def _read_precompiled(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        """Return the cleaning step for the normalizer Precompiled in a tokenizer.json. The step replaces characters by
        the table that the file has from sentencepiece."""
        given = part.get("precompiled_charsmap")
        try:
            if not isinstance(given, str):
                raise self.make_damaged_error(f"`precompiled_charsmap` is {brief_text(given)}, but must be a string")
            content = base64.b64decode(given, validate=True)
        except ValueError as error:
            raise self.make_damaged_error(f"`precompiled_charsmap` is not valid base64 ({error})") from None
        return [Table(content, tuple(map(find_unicode_set, CLUSTERS)))]

    def _read_strip(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        left, right = self._read_flag(part, "strip_left"), self._read_flag(part, "strip_right")
        return [Strip("both" if left and right else "left" if left else "right")] if left or right else []

    def _read_replace(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        """Return the cleaning step for the normalizer Replace in a tokenizer.json. Raise an InputError if its pattern
        is neither a string nor a regular expression that text rules can express, such as `a`, `a+` or ` {2,}`."""
        kind, pattern = self._read_pattern_kind_and_text(part, "Replace")
        by = part.get("content")
        if not isinstance(by, str):
            raise self.make_damaged_error(f"in Replace, `content` is {brief_text(by)}, but must be a string")
        if kind == "String" and pattern:
            return [Replace(pattern, by)]
        match parse_runs(pattern) if pattern else None:
            case (Run(ranges, (), 1, 1, (), (), ()),):
                return [Keep(complement_ranges(ranges), by)]
            case (Run(ranges, (), 1 | 2 as least, None, (), (), ()),):
                return [Fold(ranges, least, by)]
        raise self.make_refusal_error(f"the normalizer Replace with the pattern {short_repr(pattern)}")

    def _read_pattern_kind_and_text(self, part: Mapping[str, Any], name: str) -> tuple[str, str]:
        """Return the kind of a part's pattern, "String" or "Regex", and the pattern itself. `name` names the part in a
        message."""
        pattern: Any = part.get("pattern")
        match pattern:
            case {"String": str(text)} if len(pattern) == 1:
                return "String", text
            case {"Regex": str(text)} if len(pattern) == 1:
                return "Regex", text
        raise self.make_damaged_error(f'the pattern of {name} must be {{"String": ...}} or {{"Regex": ...}}')

    # --- Pre-tokenizers ---

    def read_splits(self, part: Any) -> tuple[Split, ...]:
        return () if part is None else tuple(self._list_splits(part))

    def _list_splits(self, part: Any) -> list[Split]:
        kind = str(part.get("type")) if isinstance(part, dict) else "None"
        if kind not in self._split_readers:
            raise self.make_refusal_error(f"the pre-tokenizer {brief_text(kind)}")
        return self._split_readers[kind](part)

    def _read_split_sequence(self, part: Mapping[str, Any]) -> list[Split]:
        inner = self._read_parts(part.get("pretokenizers"), "pretokenizers")
        return [split for each in inner for split in self._list_splits(each)]

    def _read_split_behavior(self, part: Mapping[str, Any], default: str | None = None) -> Any:
        behavior = part.get("behavior", default)
        if not isinstance(behavior, str) or behavior not in _SPLIT_BEHAVIORS:
            raise self.make_damaged_error(
                f"`behavior` is {brief_text(behavior)}, but must be one of {', '.join(_SPLIT_BEHAVIORS)}"
            )
        return _SPLIT_BEHAVIORS[behavior]

    def _read_metaspace(self, part: Mapping[str, Any]) -> list[Split]:
        """Return the splits for the pre-tokenizer Metaspace in a tokenizer.json. They replace each space by a mark, and
        split the text before each mark."""
        mark = self._read_string(part, "replacement")
        scheme = part.get("prepend_scheme", "always" if part.get("add_prefix_space", True) else "never")
        if scheme not in ("always", "first", "never"):
            raise self.make_damaged_error(
                f'`prepend_scheme` is {brief_text(scheme)}, but must be "always", "first" or "never"'
            )
        if len(mark) != 1:
            raise self.make_damaged_error(
                f"in Metaspace, `replacement` is {brief_text(mark)}, but must be exactly one character"
            )
        if part.get("add_prefix_space", True) is False and scheme != "never":
            raise self.make_damaged_error(
                f'`add_prefix_space` is false, so `prepend_scheme` must be "never", but it is "{scheme}"'
            )
        splits: list[Split] = [Replace(" ", mark)]
        if scheme != "never":
            splits.append(PrependTo(mark, first=scheme == "first"))
        return [*splits, SplitAt((mark,), "with_next")] if self._read_flag(part, "split", True) else splits

    def _read_byte_level(self, part: Mapping[str, Any]) -> list[Split]:
        splits: list[Split] = [PrependTo(" ")] if self._read_flag(part, "add_prefix_space", True) else []
        if self._read_flag(part, "use_regex", True):
            splits.append(Pattern("gpt2", find_unicode_set("letters"), find_unicode_set("numbers")))
        return [*splits, Bytes()]

    def _read_fixed_length(self, part: Mapping[str, Any]) -> list[Split]:
        length = part.get("length", 5)
        if type(length) is not int or length < 1:
            raise self.make_damaged_error(
                f"FixedLength has the length {brief_text(length)}, but it must be a whole number of 1 or more"
            )
        if length > LONGEST_RUN:
            raise self.make_refusal_error(
                f"the pre-tokenizer FixedLength with a length of {length:,}, above the limit of {LONGEST_RUN}"
            )
        return [SplitAtRuns((Run(make_ranges_from_points([(0, sys.maxunicode)]), most=length),), "isolated")]

    def _read_split(self, part: Mapping[str, Any]) -> list[Split]:
        """Return the split for the pre-tokenizer Split in a tokenizer.json, whose pattern is a string or a regular
        expression. Raise an InputError if text rules cannot express the regular expression."""
        kind, pattern = self._read_pattern_kind_and_text(part, "Split")
        how, invert = self._read_split_behavior(part), self._read_flag(part, "invert")
        if kind == "String" and pattern and not invert:
            return [SplitAtText(pattern, how)]
        if kind == "String":
            # An empty pattern matches between all characters, like an empty regular expression.
            pattern = "".join(f"\\x{{{ord(point):X}}}" for point in pattern)
        if (split := parse_split(pattern, how, inverted=invert)) is not None:
            return [split]
        raise self.make_refusal_error(
            f"the pre-tokenizer Split with the pattern {short_repr(pattern)}, behavior {part.get('behavior')} and "
            f"invert {str(invert).lower()}"
        )

    # --- Models ---

    def read_subword_model(
        self, part: Mapping[str, Any], *, of_bytes: bool
    ) -> tuple[Model, dict[str, int], int | None]:
        """Return the model of a tokenizer.json, the ids of its pieces, and the id of unknown pieces (None if there is
        none). `of_bytes` says whether each character of the model's input stands for a byte of the text."""
        kind = part.get("type")
        if kind is None:
            kind = "BPE" if "merges" in part else "Unigram" if isinstance(part.get("vocab"), list) else "WordLevel"
            kind = "WordPiece" if "max_input_chars_per_word" in part else kind
        if kind == "Unigram":
            return self._read_unigram(part)
        ids = self._read_piece_ids(part.get("vocab"))
        unknown_token = part.get("unk_token")
        if not isinstance(unknown_token, str | None):
            raise self.make_damaged_error(f"`unk_token` is {brief_text(unknown_token)}, but must be a string or null")
        unknown = None if unknown_token is None else ids.get(unknown_token)
        met = unknown_token is not None and not (kind == "BPE" and of_bytes and ids.keys() >= set(BYTE_CHARACTERS))
        if unknown is None and (met or kind in ("WordPiece", "WordLevel")):
            raise InputError(
                f"{self._source}: the `unk_token` is {brief_text(unknown_token)}, but the model's vocabulary has no "
                "such token. Hugging Face's `tokenizers` fails on a text with an unknown word.",
                f"Add the unknown token to the vocabulary and save the tokenizer again. {EXTERNAL_WAY}",
            )
        if kind == "BPE":
            return self._read_bpe(part, ids), ids, unknown
        if kind == "WordPiece":
            prefix, most = part.get("continuing_subword_prefix", "##"), part.get("max_input_chars_per_word", 100)
            if not isinstance(prefix, str):
                raise self.make_damaged_error(
                    f"`continuing_subword_prefix` is {brief_text(prefix)}, but must be a string"
                )
            if type(most) is not int:
                raise self.make_damaged_error(
                    f"`max_input_chars_per_word` is {brief_text(most)}, but must be a whole number"
                )
            return WordPiece(prefix, min(most, (1 << 31) - 1)), ids, unknown
        if kind == "WordLevel":
            return WholeWords(), ids, unknown
        raise self.make_refusal_error(f"the model {brief_text(kind)}")

    def _read_piece_ids(self, vocab: Any) -> dict[str, int]:
        """Return `vocab`, a model's dict from pieces to ids, after a check. Raise an InputError if it is not a dict, if
        it is empty or too large, if an id is not a whole number, or if two pieces have the same id."""
        if not isinstance(vocab, dict) or not vocab:
            raise self.make_damaged_error("the vocabulary must be a JSON object from pieces to ids, and not be empty")
        if len(vocab) > MOST_PIECES:
            raise self.make_damaged_error(
                f"the vocabulary has {len(vocab):,} pieces, but pocketrnn takes at most {MOST_PIECES:,}"
            )
        for token, number in vocab.items():
            self._read_id(number, f"the piece {short_repr(token, 40)}")
        if len(set(vocab.values())) != len(vocab):
            twice = next(id_ for id_, count in Counter(vocab.values()).items() if count > 1)
            raise self.make_damaged_error(f"two pieces of the vocabulary have the id {twice}")
        return vocab

    def _read_bpe(self, part: Mapping[str, Any], ids: Mapping[str, int]) -> Bpe:
        """Return the BPE model of a tokenizer.json. Raise an InputError if the model has dropout, if a setting has a
        wrong type, or if the parts or the result of a merge are not pieces of the vocabulary."""
        if part.get("dropout"):
            raise self.make_refusal_error("a BPE model with `dropout`, so that the ids of a text are random")
        merges: list[int] = []
        given = part.get("merges")
        if not isinstance(given, list):
            raise self.make_damaged_error(f"`merges` is {brief_text(given)}, but must be a list")
        for rank, merge in enumerate(given):
            pair = merge.split(" ") if isinstance(merge, str) else merge
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
                raise self.make_damaged_error(f"merge {rank} is {brief_text(merge)}, but must be a pair of two pieces")
            for side in pair:
                if side not in ids:
                    raise self.make_damaged_error(
                        f"merge {rank} joins {short_repr(side, 40)}, which is not a piece of the vocabulary"
                    )
            merges += [ids[pair[0]], ids[pair[1]]]
        prefix, suffix = (part.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        if not isinstance(prefix, str):
            raise self.make_damaged_error(f"`continuing_subword_prefix` is {brief_text(prefix)}, but must be a string")
        if not isinstance(suffix, str):
            raise self.make_damaged_error(f"`end_of_word_suffix` is {brief_text(suffix)}, but must be a string")
        made = Bpe(
            tuple(merges),
            fuse_unknown=self._read_flag(part, "fuse_unk"),
            byte_fallback=self._read_flag(part, "byte_fallback"),
            whole_words=self._read_flag(part, "ignore_merges"),
            prefix=prefix,
            suffix=suffix,
        )
        cut = len(made.prefix)
        for rank, merge in enumerate(given):
            left, right = merge.split(" ") if isinstance(merge, str) else merge
            if left + right[cut:] not in ids:
                raise self.make_damaged_error(
                    f"merge {rank} makes {short_repr(left + right[cut:], 40)}, which is not a piece of the vocabulary"
                )
        return made

    def _read_unigram(self, part: Mapping[str, Any]) -> tuple[Model, dict[str, int], int | None]:
        """Return the Unigram model of a tokenizer.json, the ids of its pieces, and the id of unknown pieces."""
        vocab = part.get("vocab")
        if not isinstance(vocab, list) or not 1 <= len(vocab) <= MOST_PIECES:
            raise self.make_damaged_error(
                f"the vocabulary must be a list of 1 to {MOST_PIECES:,} pairs of a piece and its score"
            )
        ids: dict[str, int] = {}
        scores: list[float] = []
        for number, pair in enumerate(vocab):
            match pair:
                case [str(piece), int() | float() as score] if type(score) is not bool and abs(score) <= _LARGEST_SCORE:
                    # For a duplicate piece, the library uses the last id.
                    ids[piece] = number
                    scores.append(float(score))
                case _:
                    raise self.make_damaged_error(
                        f"piece {number} of the vocabulary must be a pair of a string and a finite number, its score"
                    )
        unknown = part.get("unk_id")
        if unknown is None:
            raise self.make_refusal_error("a Unigram model without an unknown piece (its `unk_id` is null)")
        if type(unknown) is not int or not 0 <= unknown < len(vocab):
            raise self.make_damaged_error(
                f"`unk_id` is {brief_text(unknown)}, but must be the id of a piece, from 0 to {len(vocab) - 1}"
            )
        given = set(ids.values())
        if unknown not in given or min(scores) < min(scores[i] for i in given):
            piece = vocab[unknown if unknown not in given else scores.index(min(scores))][0]
            raise self.make_refusal_error(
                f"a Unigram model with the piece {short_repr(piece, 40)} twice, and the first of the two is the "
                "unknown piece or has the lowest score of all pieces"
            )
        return Unigram(tuple(scores), self._read_flag(part, "byte_fallback")), ids, unknown

    # --- Added tokens, and the ids around a text ---

    def read_added_tokens_and_ids(
        self, given: Any, ids: Mapping[str, int], first_free_id: int
    ) -> tuple[tuple[AddedToken, ...], dict[str, int]]:
        """Return the added tokens of a tokenizer.json, and a dict from all tokens to their ids.

        Args:
            given: the list `added_tokens` of the file.
            ids: the ids of the pieces of the model.
            first_free_id: the id of the first added token that is not a piece of the model. The next such token gets
                the next id, as in the library.
        """
        every, of_id = dict(ids), {number: text for text, number in ids.items()}
        found: dict[int, AddedToken] = {}
        for part in self._read_parts(given, "added_tokens"):
            text = self._read_string(part, "content")
            number = every.get(text)
            if number is None:
                number, first_free_id = first_free_id, first_free_id + 1
            if self._read_id(part.get("id"), f"the added token {short_repr(text, 40)}") != number:
                raise InputError(
                    f"{self._source} gives the added token {short_repr(text, 40)} the id {part.get('id')}, but Hugging "
                    f"Face's `tokenizers` library gives it the id {number} when it reads the file.",
                    "Open the file with that library and save it again: "
                    f"`Tokenizer.from_file(...).save(...)`. {EXTERNAL_WAY}",
                )
            if self._read_flag(part, "single_word"):
                raise self.make_refusal_error(f"the added token {short_repr(text, 40)} with `single_word` true")
            if (other := of_id.setdefault(number, text)) != text:
                # The library numbers by the count of pieces, even if their ids have gaps.
                raise InputError(
                    f"{self._source} gives the id {number} to the token {short_repr(other, 40)} and to the added token "
                    f"{short_repr(text, 40)}, but each token needs an id of its own.",
                    f"Add {short_repr(text, 40)} to your tokenizer with a free id and save it again. {EXTERNAL_WAY}",
                )
            every[text] = number
            # For a duplicate token, the last entry's flags count.
            found[number] = AddedToken(
                number, *(self._read_flag(part, name) for name in ("normalized", "lstrip", "rstrip"))
            )
        return tuple(found.values()), every

    def refuse_tokens_made_equal(
        self, added: Sequence[AddedToken], tokens: Sequence[str], steps: Sequence[SubwordStep]
    ) -> None:
        """Raise an InputError if the normalizer turns two added tokens into the same string, or one added token into an
        empty string. The library then splits texts in a way that text rules cannot express.

        Args:
            added: the added tokens.
            tokens: all tokens, in the order of their ids.
            steps: the cleaning steps of the normalizer.
        """
        made, seen = make_subword_steps_function(steps), dict[str, str]()
        for text in (tokens[token.id] for token in added if token.after_steps):
            becomes = made(text)
            if not becomes:
                raise self.make_refusal_error(
                    f"the added token {short_repr(text, 40)}, and a normalizer that makes it empty"
                )
            if (other := seen.setdefault(becomes, text)) != text:
                raise self.make_refusal_error(
                    f"the added tokens {short_repr(other, 40)} and {short_repr(text, 40)}, and a normalizer that "
                    "turns both into the same string"
                )

    def order_tokens_by_id(self, ids: Mapping[str, int]) -> tuple[str, ...]:
        """Return the tokens in the order of their ids. An id without a token gets a token that no text contains.
        Raise an InputError if most ids have no token, since the file is then damaged."""
        highest = max(ids.values())
        if highest >= max(2 * len(ids), len(ids) + 1000):
            raise self.make_damaged_error(
                f"the highest id is {highest:,}, but the file has only {len(ids):,} tokens, so most ids have no token"
            )
        of_id = {number: token for token, number in ids.items()}
        return tuple(of_id.get(i, f"{PLACEHOLDER}{i}>") for i in range(highest + 1))

    def read_ids_around_text(self, part: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the ids that the post-processor `part` adds before and after the ids of a text."""
        if part is None:
            return (), ()
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "ByteLevel":
            return (), ()
        if kind in ("BertProcessing", "RobertaProcessing"):
            return (self._read_named_id(part.get("cls"), "cls"),), (self._read_named_id(part.get("sep"), "sep"),)
        if kind == "TemplateProcessing":
            return self._read_template(part)
        if kind == "Sequence":
            first: tuple[int, ...] = ()
            last: tuple[int, ...] = ()
            for inner in self._read_parts(part.get("processors"), "processors"):
                before, after = self.read_ids_around_text(inner)
                first, last = before + first, last + after
            return first, last
        raise self.make_refusal_error(f"the post-processor {brief_text(kind)}")

    def _read_named_id(self, pair: Any, name: str) -> int:
        if not isinstance(pair, list) or len(pair) != 2:
            raise self.make_damaged_error(f"`{name}` is {brief_text(pair)}, but must be a pair of a token and its id")
        return self._read_id(pair[1], f"`{name}`")

    def _read_template(self, part: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the ids that the post-processor TemplateProcessing adds before and after the ids of one text."""
        sides: tuple[list[int], list[int]] = ([], [])
        special, texts = part.get("special_tokens"), 0
        for item in self._read_parts(part.get("single"), "single"):
            match item:
                case {"Sequence": {"id": "A"}}:
                    texts += 1
                case {"SpecialToken": {"id": str(name)}}:
                    found = special.get(name) if isinstance(special, dict) else None
                    ids = found.get("ids") if isinstance(found, dict) else None
                    if not isinstance(ids, list):
                        raise self.make_damaged_error(
                            f"TemplateProcessing names {short_repr(name, 40)}, but its `special_tokens` has no list of "
                            "ids for this token"
                        )
                    sides[bool(texts)].extend(self._read_id(i, short_repr(name, 40)) for i in ids)
                case _:
                    raise self.make_refusal_error(f"a TemplateProcessing with {brief_text(str(item))} in `single`")
        if texts != 1:
            raise self.make_refusal_error(f"a TemplateProcessing whose `single` has {texts} texts, and not exactly one")
        return tuple(sides[0]), tuple(sides[1])

    def read_most_pieces_and_cut_side(self, part: Any, around: int) -> tuple[int | None, Any]:
        """Return the highest number of pieces of a text that the truncation `part` keeps (None for all), and the side
        on which it cuts the text. `around` is the number of ids that are added before and after a text."""
        if part is None:
            return None, "right"
        match part:
            case {"max_length": int(most), "strategy": "LongestFirst" | "OnlyFirst"} if not isinstance(most, bool):
                side = self._read_side(part, "truncation")
                if most <= around:
                    raise self.make_refusal_error(
                        f"a truncation to {most} ids, but {around} ids are added before and after the text, so that "
                        "none is left for the text"
                    )
                if not isinstance(stride := part.get("stride", 0), int) or not 0 <= stride < most - around:
                    raise self.make_refusal_error(
                        f"a truncation whose `stride` is {brief_text(stride)}, but it must be from 0 to "
                        f"{most - around - 1}: the library fails on other values"
                    )
                _log.warning("%s cuts texts to %d ids; the bundle does so too.", self._source, most)
                return most - around, side
        raise self.make_refusal_error(f"the `truncation` {brief_text(str(part))}")

    def read_padding_id_width_and_side(self, part: Any, ids: Mapping[str, int]) -> tuple[int, int | None, Any]:
        """Return the padding id, the number of ids to which texts are padded (None for no padding), and the side of the
        padding. `ids` has the ids of all tokens."""
        if part is None:
            return next((ids[token] for token in PADDING_NAMES if token in ids), 0), None, "right"
        if not isinstance(part, dict):
            raise self.make_damaged_error(f"`padding` is {brief_text(part)}, but must be a JSON object or null")
        if multiple := part.get("pad_to_multiple_of"):
            raise self.make_refusal_error(f"a `padding` with `pad_to_multiple_of` {brief_text(multiple)}")
        number = self._read_id(part.get("pad_id"), "`padding`")
        side = self._read_side(part, "padding")
        match part.get("strategy"):
            case "BatchLongest":
                _log.warning(
                    "%s pads the texts of a batch to its longest; the bundle does not pad them, and answers each text "
                    "as it does alone.",
                    self._source,
                )
                return number, None, "right"
            case {"Fixed": int(width)} if 1 <= width <= 1 << 16:
                _log.warning("%s pads texts to %d ids; the bundle does so too.", self._source, width)
                return number, width, side
        raise self.make_refusal_error(f"a `padding` with the strategy {brief_text(str(part.get('strategy')))}")
