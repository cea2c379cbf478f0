"""A tokenizer.json of Hugging Face's `tokenizers`, as text rules of subwords.

Parts that the rules can say exactly are translated; all others are refused by their names. Each part means what
tokenizers 0.23 does (github.com/huggingface/tokenizers, tokenizers/src); the tests compare ids with the library's.
"""

from __future__ import annotations

import base64
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pocketrnn.errors import InputError, shown
from pocketrnn.text import Keep, Replace, SubwordRules
from pocketrnn.text.subword_models import MOST_PIECES, Bpe, Model, Unigram, WholeWords, WordPiece
from pocketrnn.text.subword_rules import AddedToken
from pocketrnn.text.subword_splits import (
    LONGEST_RUN,
    Pattern,
    PrependTo,
    Run,
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
    subword_steps_applied,
)
from pocketrnn_export.json_file import brief, parsed_json, serde_float
from pocketrnn_export.vocabularies.tokenizer_patterns import runs_of, split_of
from pocketrnn_export.vocabularies.vocabulary import PLACEHOLDER
from pocketrnn_training.texts.unicode_sets import CLUSTERS, all_but, others_of, ranges_of, unicode_set

__all__ = ["EXTERNAL_WAY", "Subwords", "subwords_of_json"]

_log = logging.getLogger(__name__)

EXTERNAL_WAY: Final = (
    "Leave it to your tokenizer: --tokenizer external, with --vocabulary its tokens in the order of their ids, makes a "
    "bundle that takes its ids (tokenizer='external' and vocabulary=[...] in Python)."
)
_NOT_ONE: Final = "Give the tokenizer.json that tokenizer.save or save_pretrained wrote."

_HOW: Final = {
    "Removed": "removed",
    "Isolated": "isolated",
    "MergedWithPrevious": "with_previous",
    "MergedWithNext": "with_next",
    "Contiguous": "runs",
}
_LARGEST_SCORE: Final = sys.float_info.max
_PADDING: Final = ("[PAD]", "<pad>", "<PAD>", "<|pad|>", "[pad]", "<|endoftext|>")


@dataclass(frozen=True)
class Subwords:
    """Text rules of subwords, with their vocabulary.

    Attributes:
        rules: the rules.
        tokens: the tokens; a token's position is its id.
        kind: what they were read from, such as "a tokenizer.json".
        content: the file, for its library to read: text for `tokenizers`, bytes for `sentencepiece`.
        file_rules: the rules as the file says them, where `rules` are others.
        tokenizer: the library's own tokenizer, where it was given itself.
    """

    rules: SubwordRules
    tokens: tuple[str, ...] = field(repr=False)
    kind: str = "a tokenizer.json"
    content: str | bytes = field(default="", repr=False)
    file_rules: SubwordRules | None = field(default=None, repr=False)
    tokenizer: Any = field(default=None, repr=False, compare=False)

    @property
    def library(self) -> Literal["tokenizers", "sentencepiece"]:
        """Whose file it is."""
        return "tokenizers" if isinstance(self.content, str) else "sentencepiece"


def subwords_of_json(text: str, source: str, *, number: Callable[[str], float] = serde_float) -> Subwords:
    """The rules that a tokenizer.json says.

    Args:
        text: its content.
        source: what it is called in messages.
        number: what makes a score of its digits; the library's reader, unless the text was written a moment ago.

    Raises:
        InputError: it is damaged, or has a part that the rules cannot say; the message names it.

    Example:
        >>> subwords_of_json(tokenizer.to_str(), "tokenizer.json").rules.tokenizer
        'subwords'
    """
    document = parsed_json(text, source, _NOT_ONE, number=number)
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise InputError(f"{source} holds no tokenizer.", _NOT_ONE)
    if document.get("version", "1.0") != "1.0":
        raise InputError(f"{source} is of the version {brief(document['version'])}, and 1.0 is known.", EXTERNAL_WAY)
    try:
        rules, tokens = _read(document, _Reading(source))
    except InputError as error:
        if error.problem.startswith(source):
            raise
        # Parts that were understood and that the rules do not take, such as bytes of bytes.
        raise InputError(f"{source} asks for what the text rules cannot say. {error.problem}", EXTERNAL_WAY) from None
    return Subwords(rules, tokens, content=text)


def _read(document: Mapping[str, Any], reading: _Reading) -> tuple[SubwordRules, tuple[str, ...]]:
    """The rules and the tokens of a document whose model is an object."""
    steps = reading.steps(document.get("normalizer"))
    splits = reading.splits(document.get("pre_tokenizer"))
    model, ids, unknown = reading.model(document["model"], of_bytes=_end_in_bytes((*steps, *splits)))
    # Several tokens of a Unigram model may be one piece.
    size = len(model.scores) if isinstance(model, Unigram) else len(ids)
    added, all_ids = reading.added(document.get("added_tokens") or [], ids, size)
    tokens = reading.tokens(all_ids)
    reading.check_told_apart(added, tokens, steps)
    if any(isinstance(split, PrependTo) and split.first for split in splits) and any(map(_may_remove, steps)):
        raise reading.refused("Metaspace with the prepend_scheme first behind a normalizer that removes something")
    first, last = reading.frame(document.get("post_processor"))
    most, cut = reading.truncation(document.get("truncation"), len(first) + len(last))
    padding, width, side = reading.padding(document.get("padding"), all_ids)
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


def _end_in_bytes(done: Sequence[SubwordStep | Split]) -> bool:
    """Whether the model is given GPT-2's characters of bytes alone."""
    changing = [one for one in done if not isinstance(one, SplitAt | SplitAtText | SplitAtRuns | Pattern)]
    return bool(changing) and isinstance(changing[-1], Bytes)


def _may_remove(step: SubwordStep) -> bool:
    return isinstance(step, Strip | Table) or (isinstance(step, Keep | Replace | Fold) and not step.by)


class _Reading:
    """Reads the parts of one document; `source` names it in messages."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._read_steps: Mapping[str, Callable[[Mapping[str, Any]], list[SubwordStep]]] = {
            "Sequence": self._step_sequence,
            "BertNormalizer": self._bert_steps,
            "Lowercase": lambda _: [LowercaseEach()],
            "Strip": self._strip,
            "StripAccents": lambda _: [Keep(all_but("accents"))],
            "Nmt": lambda _: [Keep(all_but("nmt_removed")), Keep(all_but("nmt_spaces"), " ")],
            "Prepend": lambda part: [Prepend(self._string(part, "prepend"))],
            "Replace": self._replace,
            "ByteLevel": lambda _: [Bytes()],
            "Precompiled": self._precompiled,
            **{form: self._normal_form(form) for form in ("NFC", "NFD", "NFKC", "NFKD")},
        }
        self._read_splits: Mapping[str, Callable[[Mapping[str, Any]], list[Split]]] = {
            "Sequence": self._split_sequence,
            "BertPreTokenizer": lambda _: [
                SplitAt(unicode_set("white_space"), "removed"),
                SplitAt(unicode_set("punctuation"), "isolated"),
            ],
            "WhitespaceSplit": lambda _: [SplitAt(unicode_set("white_space"), "removed")],
            "Whitespace": lambda _: [
                SplitAt(unicode_set("white_space"), "removed"),
                SplitAt(unicode_set("word"), "runs"),
            ],
            "Punctuation": lambda part: [SplitAt(unicode_set("punctuation"), self._how(part, "Isolated"))],
            "Digits": lambda part: [
                SplitAt(unicode_set("digits"), "isolated" if self._flag(part, "individual_digits") else "runs")
            ],
            "CharDelimiterSplit": lambda part: [SplitAt((self._string(part, "delimiter"),), "removed")],
            "Metaspace": self._metaspace,
            "ByteLevel": self._byte_level,
            "Split": self._split,
            "FixedLength": self._fixed_length,
        }

    # --- What a value must be ---

    def refused(self, what: str) -> InputError:
        return InputError(f"{self._source}: the text rules cannot say {what}.", EXTERNAL_WAY)

    def damaged(self, what: str) -> InputError:
        return InputError(f"{self._source} is damaged: {what}.", _NOT_ONE)

    def _string(self, part: Mapping[str, Any], name: str) -> str:
        value = part.get(name)
        if not isinstance(value, str) or not value:
            raise self.damaged(f"{name} is {brief(value)}, not a string")
        return value

    def _flag(self, part: Mapping[str, Any], name: str, default: bool = False) -> bool:
        value = part.get(name, default)
        if not isinstance(value, bool):
            raise self.damaged(f"{name} is {brief(value)}, not true or false")
        return value

    def _id(self, value: Any, what: str) -> int:
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise self.damaged(f"{what} has the id {brief(value)}")
        return value

    def _parts(self, value: Any, name: str) -> list[Mapping[str, Any]]:
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            raise self.damaged(f"{name} is {brief(value)}, not a list of objects")
        return value

    # --- Normalizers ---

    def steps(self, part: Any) -> tuple[SubwordStep, ...]:
        return () if part is None else tuple(self._steps(part))

    def _steps(self, part: Any) -> list[SubwordStep]:
        kind = str(part.get("type")) if isinstance(part, dict) else "None"
        if kind not in self._read_steps:
            raise self.refused(f"the normalizer {brief(kind)}")
        return self._read_steps[kind](part)

    def _step_sequence(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        return [step for inner in self._parts(part.get("normalizers"), "normalizers") for step in self._steps(inner)]

    def _normal_form(self, form: Any) -> Callable[[Mapping[str, Any]], list[SubwordStep]]:
        return lambda _: [Normalize(form, unicode_set("later"))]

    def _bert_steps(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        lowercase = self._flag(part, "lowercase", True)
        accents = part.get("strip_accents")
        steps: list[SubwordStep] = []
        if self._flag(part, "clean_text", True):
            steps += [Keep(all_but("bert_removed")), Keep(all_but("bert_spaces"), " ")]
        if self._flag(part, "handle_chinese_chars", True):
            steps.append(Surround(unicode_set("ideographs")))
        if lowercase if accents is None else self._flag(part, "strip_accents"):
            steps += [Normalize("NFD", unicode_set("later")), Keep(all_but("bert_accents"))]
        return [*steps, LowercaseEach()] if lowercase else steps

    def _precompiled(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        given = part.get("precompiled_charsmap")
        try:
            if not isinstance(given, str):
                raise self.damaged(f"the precompiled_charsmap is {brief(given)}")
            content = base64.b64decode(given, validate=True)
        except ValueError as error:
            raise self.damaged(f"the precompiled_charsmap is not in base64: {error}") from None
        return [Table(content, tuple(map(unicode_set, CLUSTERS)))]

    def _strip(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        left, right = self._flag(part, "strip_left"), self._flag(part, "strip_right")
        return [Strip("both" if left and right else "left" if left else "right")] if left or right else []

    def _replace(self, part: Mapping[str, Any]) -> list[SubwordStep]:
        kind, pattern = self._pattern(part, "Replace")
        by = part.get("content")
        if not isinstance(by, str):
            raise self.damaged(f"content is {brief(by)}, not a string")
        if kind == "String" and pattern:
            return [Replace(pattern, by)]
        match runs_of(pattern) if pattern else None:
            case (Run(ranges, (), 1, 1, (), (), ()),):
                return [Keep(others_of(ranges), by)]
            case (Run(ranges, (), 1 | 2 as least, None, (), (), ()),):
                return [Fold(ranges, least, by)]
        raise self.refused(f"Replace with the pattern {shown(pattern)}")

    def _pattern(self, part: Mapping[str, Any], name: str) -> tuple[str, str]:
        pattern: Any = part.get("pattern")
        match pattern:
            case {"String": str(text)} if len(pattern) == 1:
                return "String", text
            case {"Regex": str(text)} if len(pattern) == 1:
                return "Regex", text
        raise self.damaged(f"{name} has the pattern {brief(pattern)}")

    # --- Pre-tokenizers ---

    def splits(self, part: Any) -> tuple[Split, ...]:
        return () if part is None else tuple(self._splits(part))

    def _splits(self, part: Any) -> list[Split]:
        kind = str(part.get("type")) if isinstance(part, dict) else "None"
        if kind not in self._read_splits:
            raise self.refused(f"the pre-tokenizer {brief(kind)}")
        return self._read_splits[kind](part)

    def _split_sequence(self, part: Mapping[str, Any]) -> list[Split]:
        inner = self._parts(part.get("pretokenizers"), "pretokenizers")
        return [split for each in inner for split in self._splits(each)]

    def _how(self, part: Mapping[str, Any], default: str | None = None) -> Any:
        behavior = part.get("behavior", default)
        if not isinstance(behavior, str) or behavior not in _HOW:
            raise self.damaged(f"behavior is {brief(behavior)}")
        return _HOW[behavior]

    def _metaspace(self, part: Mapping[str, Any]) -> list[Split]:
        mark = self._string(part, "replacement")
        scheme = part.get("prepend_scheme", "always" if part.get("add_prefix_space", True) else "never")
        if scheme not in ("always", "first", "never") or len(mark) != 1:
            raise self.damaged(f"Metaspace has the prepend_scheme {brief(scheme)} and the replacement {brief(mark)}")
        if part.get("add_prefix_space", True) is False and scheme != "never":
            raise self.damaged("Metaspace has no prefix space, and puts one before a text")
        splits: list[Split] = [Replace(" ", mark)]
        if scheme != "never":
            splits.append(PrependTo(mark, first=scheme == "first"))
        return [*splits, SplitAt((mark,), "with_next")] if self._flag(part, "split", True) else splits

    def _byte_level(self, part: Mapping[str, Any]) -> list[Split]:
        splits: list[Split] = [PrependTo(" ")] if self._flag(part, "add_prefix_space", True) else []
        if self._flag(part, "use_regex", True):
            splits.append(Pattern("gpt2", unicode_set("letters"), unicode_set("numbers")))
        return [*splits, Bytes()]

    def _fixed_length(self, part: Mapping[str, Any]) -> list[Split]:
        length = part.get("length", 5)
        if type(length) is not int or length < 1:
            raise self.damaged(f"FixedLength has the length {brief(length)}")
        if length > LONGEST_RUN:
            raise self.refused(f"FixedLength of {length:,} characters, more than {LONGEST_RUN}")
        return [SplitAtRuns((Run(ranges_of([(0, sys.maxunicode)]), most=length),), "isolated")]

    def _split(self, part: Mapping[str, Any]) -> list[Split]:
        kind, pattern = self._pattern(part, "Split")
        how, invert = self._how(part), self._flag(part, "invert")
        if kind == "String" and pattern and not invert:
            return [SplitAtText(pattern, how)]
        if kind == "String":
            # One that is empty matches between all characters, as a regular expression does.
            pattern = "".join(f"\\x{{{ord(point):X}}}" for point in pattern)
        if (split := split_of(pattern, how, inverted=invert)) is not None:
            return [split]
        raise self.refused(f"Split with the pattern {shown(pattern)} ({part.get('behavior')}, invert {invert})")

    # --- Models ---

    def model(self, part: Mapping[str, Any], *, of_bytes: bool) -> tuple[Model, dict[str, int], int | None]:
        """The model, its pieces with their ids, and the id of the unknown one; it may be given characters of bytes."""
        kind = part.get("type")
        if kind is None:
            kind = "BPE" if "merges" in part else "Unigram" if isinstance(part.get("vocab"), list) else "WordLevel"
            kind = "WordPiece" if "max_input_chars_per_word" in part else kind
        if kind == "Unigram":
            return self._unigram(part)
        ids = self._ids(part.get("vocab"))
        unknown_token = part.get("unk_token")
        if not isinstance(unknown_token, str | None):
            raise self.damaged(f"unk_token is {brief(unknown_token)}, not a string")
        unknown = None if unknown_token is None else ids.get(unknown_token)
        met = unknown_token is not None and not (kind == "BPE" and of_bytes and ids.keys() >= set(BYTE_CHARACTERS))
        if unknown is None and (met or kind in ("WordPiece", "WordLevel")):
            raise InputError(
                f"{self._source}: the unknown token {brief(unknown_token)} is not a piece of the model, so that its "
                "library fails on a text with an unknown word.",
                f"Save the tokenizer with it in the model's vocabulary. {EXTERNAL_WAY}",
            )
        if kind == "BPE":
            return self._bpe(part, ids), ids, unknown
        if kind == "WordPiece":
            prefix, most = part.get("continuing_subword_prefix", "##"), part.get("max_input_chars_per_word", 100)
            if not isinstance(prefix, str) or type(most) is not int:
                raise self.damaged(f"WordPiece has the prefix {brief(prefix)} and words of {brief(most)} characters")
            return WordPiece(prefix, min(most, (1 << 31) - 1)), ids, unknown
        if kind == "WordLevel":
            return WholeWords(), ids, unknown
        raise self.refused(f"the model {brief(kind)}")

    def _ids(self, vocab: Any) -> dict[str, int]:
        if not isinstance(vocab, dict) or not vocab:
            raise self.damaged(f"the vocabulary is {brief(vocab)}, not an object of pieces and their ids")
        if len(vocab) > MOST_PIECES:
            raise self.damaged(f"there are {len(vocab):,} pieces, more than {MOST_PIECES:,}")
        for token, number in vocab.items():
            self._id(number, f"the piece {shown(token, 40)}")
        if len(set(vocab.values())) != len(vocab):
            raise self.damaged("two pieces have one id")
        return vocab

    def _bpe(self, part: Mapping[str, Any], ids: Mapping[str, int]) -> Bpe:
        if part.get("dropout"):
            raise self.refused("BPE with dropout, whose ids are drawn by chance")
        merges: list[int] = []
        given = part.get("merges")
        if not isinstance(given, list):
            raise self.damaged(f"merges is {brief(given)}, not a list")
        for rank, merge in enumerate(given):
            pair = merge.split(" ") if isinstance(merge, str) else merge
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
                raise self.damaged(f"merge {rank} is {brief(merge)}, not two pieces")
            for side in pair:
                if side not in ids:
                    raise self.damaged(f"merge {rank} names {shown(side, 40)}, which is not a piece")
            merges += [ids[pair[0]], ids[pair[1]]]
        prefix, suffix = part.get("continuing_subword_prefix") or "", part.get("end_of_word_suffix") or ""
        if not isinstance(prefix, str) or not isinstance(suffix, str):
            raise self.damaged("BPE has a prefix or suffix that is not a string")
        made = Bpe(
            tuple(merges),
            fuse_unknown=self._flag(part, "fuse_unk"),
            byte_fallback=self._flag(part, "byte_fallback"),
            whole_words=self._flag(part, "ignore_merges"),
            prefix=prefix,
            suffix=suffix,
        )
        cut = len(made.prefix)
        for rank, merge in enumerate(given):
            left, right = merge.split(" ") if isinstance(merge, str) else merge
            if left + right[cut:] not in ids:
                raise self.damaged(f"merge {rank} makes {shown(left + right[cut:], 40)}, which is not a piece")
        return made

    def _unigram(self, part: Mapping[str, Any]) -> tuple[Model, dict[str, int], int | None]:
        vocab = part.get("vocab")
        if not isinstance(vocab, list) or not 1 <= len(vocab) <= MOST_PIECES:
            raise self.damaged(f"the vocabulary is {brief(vocab)}, not a list of pieces with their scores")
        ids: dict[str, int] = {}
        scores: list[float] = []
        for number, pair in enumerate(vocab):
            match pair:
                case [str(piece), int() | float() as score] if type(score) is not bool and abs(score) <= _LARGEST_SCORE:
                    # The library gives the last id of a piece that stands twice.
                    ids[piece] = number
                    scores.append(float(score))
                case _:
                    raise self.damaged(f"piece {number} is {brief(pair)}, not a string and a finite number")
        unknown = part.get("unk_id")
        if unknown is None:
            raise self.refused("a Unigram model without an unknown piece")
        if type(unknown) is not int or not 0 <= unknown < len(vocab):
            raise self.damaged(f"unk_id is {brief(unknown)}")
        given = set(ids.values())
        if unknown not in given or min(scores) < min(scores[i] for i in given):
            piece = vocab[unknown if unknown not in given else scores.index(min(scores))][0]
            raise self.refused(f"the piece {shown(piece, 40)} twice, the first one unknown or with the lowest score")
        return Unigram(tuple(scores), self._flag(part, "byte_fallback")), ids, unknown

    # --- Added tokens, and what stands around the ids ---

    def added(
        self, given: Any, ids: Mapping[str, int], following: int
    ) -> tuple[tuple[AddedToken, ...], dict[str, int]]:
        """The added tokens, and all tokens with their ids. The library numbers those that the model does not have, from
        `following` on."""
        every, of_id = dict(ids), {number: text for text, number in ids.items()}
        found: dict[int, AddedToken] = {}
        for part in self._parts(given, "added_tokens"):
            text = self._string(part, "content")
            number = every.get(text)
            if number is None:
                number, following = following, following + 1
            if self._id(part.get("id"), f"the added token {shown(text, 40)}") != number:
                raise InputError(
                    f"{self._source} gives the added token {shown(text, 40)} the id {part.get('id')}, and its library "
                    f"the id {number}.",
                    f"Save the tokenizer anew with the library. {EXTERNAL_WAY}",
                )
            if self._flag(part, "single_word"):
                raise self.refused(f"the added token {shown(text, 40)} with single_word")
            if (other := of_id.setdefault(number, text)) != text:
                # The library numbers by how many pieces there are, also where their ids have gaps.
                raise InputError(
                    f"{self._source}: {shown(other, 40)} and the added token {shown(text, 40)} have one id, {number}.",
                    f"A row of an embedding stands for one token: add it with an id of its own. {EXTERNAL_WAY}",
                )
            every[text] = number
            # The last entry of a token that stands twice says how it is found.
            found[number] = AddedToken(number, *(self._flag(part, name) for name in ("normalized", "lstrip", "rstrip")))
        return tuple(found.values()), every

    def check_told_apart(
        self, added: Sequence[AddedToken], tokens: Sequence[str], steps: Sequence[SubwordStep]
    ) -> None:
        """Refuse added tokens that the normalizer makes the same: the library finds one of them, drawn by chance.

        And one that it makes nothing: the library finds it everywhere, which cuts a text into characters.
        """
        made, seen = subword_steps_applied(steps), dict[str, str]()
        for text in (tokens[token.id] for token in added if token.after_steps):
            becomes = made(text)
            if not becomes:
                raise self.refused(f"the added token {shown(text, 40)}, which the normalizer makes nothing")
            if (other := seen.setdefault(becomes, text)) != text:
                raise self.refused(f"the added tokens {shown(other, 40)} and {shown(text, 40)}, which become the same")

    def tokens(self, ids: Mapping[str, int]) -> tuple[str, ...]:
        """The tokens in the order of their ids; an id that none has gets one that no text gives."""
        highest = max(ids.values())
        if highest >= max(2 * len(ids), len(ids) + 1000):
            raise self.damaged(f"the highest id is {highest:,}, and there are {len(ids):,} tokens")
        of_id = {number: token for token, number in ids.items()}
        return tuple(of_id.get(i, f"{PLACEHOLDER}{i}>") for i in range(highest + 1))

    def frame(self, part: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids before those of a text, and those after them."""
        if part is None:
            return (), ()
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "ByteLevel":
            return (), ()
        if kind in ("BertProcessing", "RobertaProcessing"):
            return (self._named_id(part.get("cls"), "cls"),), (self._named_id(part.get("sep"), "sep"),)
        if kind == "TemplateProcessing":
            return self._template(part)
        if kind == "Sequence":
            first: tuple[int, ...] = ()
            last: tuple[int, ...] = ()
            for inner in self._parts(part.get("processors"), "processors"):
                before, after = self.frame(inner)
                first, last = before + first, last + after
            return first, last
        raise self.refused(f"the post-processor {brief(kind)}")

    def _named_id(self, pair: Any, name: str) -> int:
        if not isinstance(pair, list) or len(pair) != 2:
            raise self.damaged(f"{name} is {brief(pair)}, not a token and its id")
        return self._id(pair[1], name)

    def _template(self, part: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        sides: tuple[list[int], list[int]] = ([], [])
        special, texts = part.get("special_tokens"), 0
        for item in self._parts(part.get("single"), "single"):
            match item:
                case {"Sequence": {"id": "A"}}:
                    texts += 1
                case {"SpecialToken": {"id": str(name)}}:
                    found = special.get(name) if isinstance(special, dict) else None
                    ids = found.get("ids") if isinstance(found, dict) else None
                    if not isinstance(ids, list):
                        raise self.damaged(f"the special token {shown(name, 40)} has no ids")
                    sides[bool(texts)].extend(self._id(i, shown(name, 40)) for i in ids)
                case _:
                    raise self.refused(f"TemplateProcessing with {brief(str(item))}")
        if texts != 1:
            raise self.refused(f"TemplateProcessing with {texts} texts in `single`")
        return tuple(sides[0]), tuple(sides[1])

    def truncation(self, part: Any, around: int) -> tuple[int | None, Any]:
        """How many pieces are read, and the side on which the others are cut off."""
        if part is None:
            return None, "right"
        match part:
            case {"max_length": int(most), "strategy": "LongestFirst" | "OnlyFirst"} if not isinstance(most, bool):
                direction = part.get("direction", "Right")
                if direction not in ("Right", "Left"):
                    raise self.damaged(f"the truncation's direction is {brief(direction)}")
                if most <= around:
                    raise self.refused(f"truncation to {most} ids, of which {around} stand around the text")
                if not isinstance(stride := part.get("stride", 0), int) or not 0 <= stride < most - around:
                    raise self.refused(
                        f"truncation to {most} ids with the stride {brief(stride)}, where the library fails"
                    )
                _log.warning("%s cuts texts to %d ids; the bundle does so too.", self._source, most)
                return most - around, direction.lower()
        raise self.refused(f"the truncation {brief(str(part))}")

    def padding(self, part: Any, ids: Mapping[str, int]) -> tuple[int, int | None, Any]:
        """The id of the padding, the fewest ids of a text, and the side on which they are filled up."""
        if part is None:
            return next((ids[token] for token in _PADDING if token in ids), 0), None, "right"
        if not isinstance(part, dict):
            raise self.damaged(f"the padding is {brief(part)}")
        if multiple := part.get("pad_to_multiple_of"):
            raise self.refused(f"padding to a multiple of {brief(multiple)}")
        number = self._id(part.get("pad_id"), "the padding")
        direction = part.get("direction", "Right")
        if direction not in ("Right", "Left"):
            raise self.damaged(f"the padding's direction is {brief(direction)}")
        match part.get("strategy"):
            case "BatchLongest":
                _log.warning(
                    "%s fills the texts of a batch up to its longest; the bundle fills none up, and answers each text "
                    "as it does alone.",
                    self._source,
                )
                return number, None, "right"
            case {"Fixed": int(width)} if 1 <= width <= 1 << 16:
                _log.warning("%s fills texts up to %d ids; the bundle does so too.", self._source, width)
                return number, width, direction.lower()
        raise self.refused(f"the padding {brief(str(part.get('strategy')))}")
