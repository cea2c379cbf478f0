"""Read a subword tokenizer from a tokenizer.json, a folder of `save_pretrained`, a vocab.txt of BERT, or an object.

A file that is not a tokenizer.json is first turned into one, as the libraries for such files do.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import InputError, short_repr
from pocketrnn_export.json_reading_and_writing import brief_text, parse_json
from pocketrnn_export.vocabularies.checkpoint_file import describe_member, is_checkpoint
from pocketrnn_export.vocabularies.checkpoint_text_settings import find_tokenizer_in_checkpoint
from pocketrnn_export.vocabularies.sentencepiece_model import read_sentencepiece
from pocketrnn_export.vocabularies.tokenizer_json import Subwords, read_tokenizer_json

_log = logging.getLogger(__name__)

# The largest tokenizer.json in use has 33 MB (256,000 pieces, with merges).
_LARGEST: Final = 1 << 27
_GIVE: Final = (
    "Give a tokenizer.json, which tokenizer.save('tokenizer.json') writes; a folder, which "
    "AutoTokenizer.from_pretrained(...).save_pretrained(folder) writes; a .model file of sentencepiece; or a vocab.txt "
    "of BERT."
)
_CONFIG: Final = "tokenizer_config.json"
_BERT: Final = frozenset({"BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast"})
_GPT2: Final = frozenset({"GPT2Tokenizer", "GPT2TokenizerFast"})
_ROBERTA: Final = frozenset({"RobertaTokenizer", "RobertaTokenizerFast"})


def read_tokenizer(source: Any) -> Subwords:
    """Read the text rules and the vocabulary of a subword tokenizer.

    Args:
        source: the path of a tokenizer.json, of a folder that `save_pretrained` wrote, of a .model of sentencepiece, of
            a vocab.txt of BERT, or of a checkpoint that holds a tokenizer; or a `tokenizers.Tokenizer`, or a fast
            tokenizer of transformers.

    Returns:
        An object with the members `rules` and `tokens`. Give it to `export` as `rules=`, without a vocabulary. If the
        library that wrote the file is installed, `export` compares the ids of both.

    Raises:
        InputError: the file is missing or damaged, or text rules cannot express a part of it; the message names the
            part.

    Example:
        >>> subwords = read_tokenizer("tokenizer.json")
        >>> manifest = export(module, "news", labels=labels, rules=subwords)
    """
    if not isinstance(source, str | os.PathLike):
        if not is_library_tokenizer(source):
            raise InputError(f"{brief_text(source)} is not a subword tokenizer or the path of one.", _GIVE)
        inner = _unwrap_tokenizer(source)
        # Its own scores, to the last bit; read from a file, they differ (`parse_serde_float`).
        return replace(read_tokenizer_json(inner.to_str(), "The tokenizer", parse_float=float), tokenizer=inner)
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file() and is_checkpoint(path):
        return _read_checkpoint(path)
    if path.suffix == ".txt":
        return _read_bert(path, _read_config(path.parent))
    if path.suffix == ".model":
        return read_sentencepiece(_read_content(path), str(path))
    return read_tokenizer_json(_read_text(path), str(path))


def _read_checkpoint(path: Path) -> Subwords:
    """Read the subword tokenizer in a checkpoint of PyTorch, and log its key. Raise an InputError if the checkpoint
    holds none."""
    held = find_tokenizer_in_checkpoint(path)
    if held is None:
        raise InputError(f"The checkpoint {path} holds no tokenizer of subwords.", _GIVE)
    _log.warning("%s has several members. The tokenizer is %s", path, describe_member(held.key))
    source = f"{path}'s {held.key}" if held.key else str(path)
    if isinstance(held.content, bytes):
        return read_sentencepiece(held.content, source)
    return read_tokenizer_json(held.content, source)


def is_library_tokenizer(source: Any) -> bool:
    """Return whether an object is a `tokenizers.Tokenizer`, or a fast tokenizer of transformers."""
    return callable(getattr(_unwrap_tokenizer(source), "to_str", None))


def _unwrap_tokenizer(tokenizer: Any) -> Any:
    return getattr(tokenizer, "backend_tokenizer", tokenizer)


def _read_text(path: Path) -> str:
    try:
        return _read_content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}.", _GIVE) from None


def _read_content(path: Path) -> bytes:
    """Return the bytes of a file. Raise an InputError if the file cannot be read, is empty, or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1) if path.is_file() else b""
    except OSError as error:
        near = suggest_near_file(path, (".json", ".txt")) if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", near or _GIVE) from None
    if not content or len(content) > _LARGEST:
        wrong = "larger than 128 MiB" if content else "empty" if path.is_file() else "not a file"
        raise InputError(f"{path} is {wrong}.", _GIVE)
    return content


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / _CONFIG
    if not path.is_file():
        return {}
    found = parse_json(_read_text(path), str(path), _GIVE)
    return found if isinstance(found, dict) else {}


def _read_folder(folder: Path) -> Subwords:
    """Read the tokenizer in a folder that `save_pretrained` wrote: from tokenizer.json, from vocab.txt, or from
    merges.txt and vocab.json. Raise an InputError if there are none of these files."""
    if (folder / "tokenizer.json").is_file():
        return read_tokenizer_json(_read_text(folder / "tokenizer.json"), str(folder / "tokenizer.json"))
    config = _read_config(folder)
    if (folder / "vocab.txt").is_file():
        return _read_bert(folder / "vocab.txt", config)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _read_merges(folder, config)
    raise InputError(
        f"The folder {folder} must hold tokenizer.json, or vocab.txt, or merges.txt and vocab.json, but holds none.",
        _GIVE,
    )


def _read_special_tokens(config: Mapping[str, Any], **default_tokens: str) -> dict[str, str]:
    """Return a dict from the names of special tokens, such as `pad_token`, to the tokens in `config`, the content of
    tokenizer_config.json. `default_tokens` lists the names, each with the token to use if `config` lacks the name."""
    found = {}
    for name, default in default_tokens.items():
        value = config.get(name, default)
        text = value.get("content") if isinstance(value, dict) else value
        if text is not None:
            if not isinstance(text, str):
                raise InputError(f"In {_CONFIG}, `{name}` is {brief_text(text)}, but must be a string.", _GIVE)
            found[name] = text
    return found


def _make_added_tokens(
    special: Mapping[str, str], ids: Mapping[str, int], **flags_of_mask_token: bool
) -> list[dict[str, Any]]:
    """Make the list `added_tokens` of a tokenizer.json from special tokens and the ids of all tokens.
    `flags_of_mask_token`, such as lstrip=True, apply only to the mask token."""
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    texts = sorted({text for text in special.values() if text in ids}, key=lambda text: ids[text])
    mask = special.get("mask_token")
    return [
        {"id": ids[text], "content": text, **usual, **(flags_of_mask_token if text == mask else {})} for text in texts
    ]


def _read_tokenizer_class(config: Mapping[str, Any]) -> str | None:
    kind = config.get("tokenizer_class")
    if not isinstance(kind, str | None):
        raise InputError(f"In {_CONFIG}, `tokenizer_class` is {brief_text(kind)}, but must be a string.", _GIVE)
    return kind


def _read_bert(path: Path, config: Mapping[str, Any]) -> Subwords:
    """Read the vocab.txt of a BertTokenizer of transformers. `config` is the content of its tokenizer_config.json.
    Raise an InputError if the file is not such a vocabulary, or if it is not clear whether texts are lower-cased."""
    kind = _read_tokenizer_class(config)
    if kind is not None and kind not in _BERT:
        raise InputError(
            f"{path} can only be read as a vocabulary of BERT, but {path.with_name(_CONFIG)} names the tokenizer "
            f"{brief_text(kind)}.",
            _GIVE,
        )
    pieces = _read_text(path).split("\n")
    if pieces[-1] == "":
        pieces.pop()
    pieces = [piece.rstrip("\r") for piece in pieces]
    ids = {piece: i for i, piece in enumerate(pieces)}
    if len(ids) != len(pieces):
        twice = next(piece for i, piece in enumerate(pieces) if ids[piece] != i)
        raise InputError(
            f"{path} holds the piece {short_repr(twice, 40)} twice, but each piece must occur once.", _GIVE
        )
    names = ("unk", "sep", "pad", "cls", "mask")
    special = _read_special_tokens(config, **{f"{name}_token": f"[{name.upper()}]" for name in names})
    for name in ("unk_token", "sep_token", "cls_token"):
        if special.get(name) not in ids:
            raise InputError(
                f"{path} is not a vocabulary of BERT: it lacks the special token {short_repr(special.get(name), 40)}.",
                _GIVE,
            )
    lowercase = config.get("do_lower_case")
    if lowercase is None:
        capital = next((p for p in pieces if p != p.lower() and p not in special.values() and p[:1] != "["), None)
        if capital is not None:
            raise InputError(
                f"{path} holds {short_repr(capital, 40)}, with a capital, but no file says whether texts are "
                "lower-cased.",
                f'Put a {_CONFIG} into the same folder with {{"do_lower_case": false}} or true, or give a '
                "tokenizer.json.",
            )
        _log.warning("No piece of %s has a capital: texts are lower-cased, as by BertTokenizer.", path)
        lowercase = True
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
        "strip_accents": config.get("strip_accents"),
        "lowercase": lowercase,
    }
    cls, sep = special["cls_token"], special["sep_token"]
    model = {"type": "WordPiece", "unk_token": special["unk_token"], "continuing_subword_prefix": "##"}
    document = {
        "added_tokens": _make_added_tokens(special, ids),
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": [sep, ids[sep]], "cls": [cls, ids[cls]]},
        "model": {**model, "max_input_chars_per_word": 100, "vocab": ids},
    }
    return _make_subwords_from_document(document, str(path), special, ids, "BERT's vocab.txt")


def _make_subwords_from_document(
    document: Mapping[str, Any], source: str, special: Mapping[str, str], ids: Mapping[str, int], kind: str
) -> Subwords:
    """Make the text rules from `document`, the content of a tokenizer.json that was put together from other files.

    Args:
        document: the content.
        source: the name of the other files in messages.
        special: the special tokens by names such as `pad_token`.
        ids: the id of each piece.
        kind: the kind of the other files, such as "a vocab.txt of BERT".
    """
    read = read_tokenizer_json(json.dumps(document), source)
    number = ids.get(special.get("pad_token", ""), read.rules.padding_id)
    empty = number if read.rules.unknown_id is None else read.rules.empty_id
    return replace(read, rules=replace(read.rules, padding_id=number, empty_id=empty), kind=kind)


def _read_merges(folder: Path, config: Mapping[str, Any]) -> Subwords:
    """Read the files vocab.json and merges.txt of a GPT-2 or RoBERTa tokenizer. `config` is the content of its
    tokenizer_config.json. Raise an InputError if it names another tokenizer, or if vocab.json lacks a special token."""
    kind = _read_tokenizer_class(config)
    if kind not in _GPT2 | _ROBERTA:
        raise InputError(
            f"{folder} holds merges.txt, but in {_CONFIG} the `tokenizer_class` is {brief_text(kind)}. pocketrnn knows "
            "the steps before the merges only for GPT-2 and RoBERTa.",
            f'If it is a tokenizer of GPT-2, write {{"tokenizer_class": "GPT2Tokenizer"}} to {_CONFIG} in this folder. '
            "Otherwise give a tokenizer.json, which tokenizer.save('tokenizer.json') writes.",
        )
    vocab = folder / "vocab.json"
    ids = parse_json(_read_text(vocab), str(vocab), _GIVE)
    if not isinstance(ids, dict) or not all(type(number) is int for number in ids.values()):
        raise InputError(f"{vocab} must hold a JSON object from pieces to whole numbers, their ids.", _GIVE)
    lines = _read_text(folder / "merges.txt").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    roberta = kind in _ROBERTA
    if roberta:
        usual = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        special = _read_special_tokens(config, **usual, sep_token="</s>", cls_token="<s>", mask_token="<mask>")  # noqa: S106
    else:
        special = _read_special_tokens(config, **{f"{name}_token": "<|endoftext|>" for name in ("bos", "eos", "unk")})
    if any(text not in ids for text in special.values()):
        missing = next(text for text in special.values() if text not in ids)
        raise InputError(
            f"{vocab} lacks the special token {short_repr(missing, 40)}, which {_CONFIG} or its class names.", _GIVE
        )
    space = config.get("add_prefix_space", False)
    document = {
        "added_tokens": _make_added_tokens(special, ids, lstrip=roberta),
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": ids, "merges": merges},
    }
    if roberta:
        ends = {name: [special[f"{name}_token"], ids[special[f"{name}_token"]]] for name in ("sep", "cls")}
        document["post_processor"] = {"type": "RobertaProcessing", **ends}
    return _make_subwords_from_document(document, str(folder), special, ids, "a vocab.json and a merges.txt")
