"""A pattern of a tokenizer.json cuts as Hugging Face's library cuts by it, or is not understood."""

from __future__ import annotations

from itertools import product

import pytest
from slow_case_sampling import mostly_slow

from pocketrnn.text.subword_splits import (
    Pattern,
    SplitAt,
    SplitAtRuns,
    build_splits_from_documents,
    make_split_documents,
    make_split_function,
)
from pocketrnn_export.vocabularies.tokenizer_patterns import parse_runs, parse_split

pytest.importorskip("tokenizers")

from tokenizer_families import ANY_CASE, BLOOM, CL100K, CLIP, DEEPSEEK, O200K, SPACES, texts
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# The patterns of common tokenizers, with the split that each becomes.
KNOWN = {
    "GPT-2": (GPT2, Pattern),
    "GPT-2 as in tiktoken": (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", Pattern),
    "GPT-4": (CL100K % r"\p{N}{1,3}", Pattern),
    "GPT-4 as in tiktoken": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
        r"|\s+(?!\S)|\s+",
        Pattern,
    ),
    "Qwen 3.5": (
        rf"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}",
        Pattern,
    ),
    "GPT-4o": (O200K % (f"{ANY_CASE}?", f"{ANY_CASE}?", "{1,3}"), Pattern),
    "Mistral's Tekken": (O200K % ("", "", ""), Pattern),
    "DeepSeek V3, first": (DEEPSEEK[0], SplitAtRuns),
    "DeepSeek V3, second": (DEEPSEEK[1], SplitAt),
    "DeepSeek V3, last": (DEEPSEEK[2], Pattern),
    "DeepSeek's Coder": (r"\s?\p{L}+", SplitAtRuns),
    "DeepSeek's Coder, punctuation": (r"\s?\p{P}+", SplitAtRuns),
    "Bloom": (BLOOM, SplitAtRuns),
    "Falcon, last": ("[0-9][0-9][0-9]", SplitAtRuns),
    "characters": ("", SplitAt),
    "characters of a line": (".", SplitAt),
    "Llama before Metaspace": (r" ?[^\s\p{L}\p{N}]+", SplitAtRuns),
}
# Other patterns of runs.
RUNS = (
    *(
        r"\d",
        r"\d+",
        r"\D+",
        r"\s",
        r"\S+",
        r"\w+",
        r"\W",
        r"[\r\n]",
        r"[0-9]{2,4}",
        r"\p{Han}+",
        r"[^\w\s]",
        "\\n",
        "  +",
    ),
    *(
        r"\d+|\D+",
        r"\w+|[^\w\s]+",
        r"[A-Za-z]+|[0-9]|\s+",
        r" ?\d{2,}|\p{Ll}",
        r"[\p{L}\p{N}_]+",
        r"\P{L}",
        r"\p{^N}{3}",
    ),
    *(
        r"[\d-]+",
        r"[a\-z]",
        r"[^\]\[]+",
        r"\-",
        r"\x{4e00}",
        r"[\u4e00-\u9fff]",
        r"[\x41-\x5a]+",
        r"\t?[ab]{1,2}",
        r"#",
    ),
    *(r"[[a-c]x]+", r"[^[a-c]\s]", r"aa", r"\p{M}", r"\p{S}+|\p{P}"),
)
# Patterns of several classes one after the other.
LONGER = (
    "",
    *(r"ab", r"(a)", r"a|b|c", r"http\S+", r"http|\S", r"<\d+>", r"<\|[^|]+\|>|.", r"a?ab", r"[ab]?a{1,2}c"),
    *(r"\s+(?!\S)", r"\s*[\r\n]+", r"\s*\n|\s+", r"[a-z]+ ?", r"a+b|ab*", r"\d+\.\d+|\w+", r"a(b|c)", r"a{2}b{1,3}c?d"),
    *(r"[A-Z]?[a-z]+|[A-Z]+|\d+|\s+|[^\w\s]", r"(\d+|[a-zA-Z]+|(?:'s|'t|'re|'ve|'m|'ll|'d))", r"\[a*]|]"),
    rf"{ANY_CASE}|\p{{L}}+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+",
    GPT2,
    CLIP,
    # That of transformers' CLIP, one of nanochat's, and that of SMILES (DeepChem).
    rf"<\|startoftext\|>|<\|endoftext\|>|{CLIP}",
    rf"[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,2}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}",
    r"(\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>|\*|\$|\%[0-9]{2}|[0-9])",
)
NOT_UNDERSTOOD = (
    *(
        r"a*",
        r"a?",
        r"a+a",
        r"a*b",
        r"\w+\d",
        r"[ab]+c?b",
        r"\s+(?!a)b",
        r"\s+(?! )",
        r"a(?!b|c)",
        r"(a",
        r"a)",
        r"(?:a|b)+",
        r"a+?",
        r"a{1,3}+",
        r"^a",
        r"a$",
        r"\b",
        r"\p{Xyz}",
        r"[a&&b]",
        r"[[:alpha:]]",
    ),
    *(
        r"(?i:a)",
        r"[z-a]",
        r"[a-\d]",
        "[]",
        "[",
        r"\p",
        "\\",
        "a|",
        "|a",
        r"a{0,3}",
        r"a{65}",
        r"\x80",
        r"(?<=.)",
    ),
    *(r"a{,3}", r"\h", r"\1", r"\R", r"a?+b", r"[^\x00-\x{10ffff}]", "|".join("ab" for _ in range(17)), "a" * 65),
)
HOW = {
    **{"removed": "removed", "isolated": "isolated", "runs": "contiguous"},
    **{"with_previous": "merged_with_previous", "with_next": "merged_with_next"},
}
# Texts with many matches of these patterns and runs.
MORE = (
    "McDonald's DON'T ABCdefGHI iPhone's X'LL 'sA'S aB'\u017fc \u01c5a \u02b0A\u02b0 \u4e2dAb\u4e2d A\u4e2d",
    "a/b//\n/c !/\n\n /",
    "1234567 12 a1b22c333d4444 \u00bd\u00b2\u0663\u0664\u0665\u0666",
    "!abc .a1 @B#c a!b \u00a1a \u20aca $x +y \u2203z ~q_r",
    "e\u0301E\u0301 \u0301a \u0301\u0301A !\u0301a",
    "\r\n a\r\n\r\n  b \t\tc\n \n",
    "(a|b) [c] x,y.z! w\u2026\u3002",
    "aa aaa aaaa\taab ab",
    "a-z [1-2] \\ ^ ] - #",
    "\u0000\u00011\u0002 a\u00021",
    "aab abbb abc <12> <3 <a|b> <|x|><||> ab<|endoftext|>!<|startoftext|> ! http://x.y 1.25 12. .5",
    "CC(=O)Oc1ccccc1C(=O)O [nH] [[C@@H]](Cl)Br B%12 [ ] aabbbcd aaacd aabd",
)


def differing(pattern: str, how: str, inverted: bool, number: int, seed: int) -> list[tuple[str, list[str], list[str]]]:
    split = parse_split(pattern, how, inverted=inverted)
    assert split is not None, pattern
    assert build_splits_from_documents(make_split_documents([split])) == (split,)
    ours, theirs = make_split_function(split), Split(Regex(pattern), HOW[how], invert=inverted)
    return [
        (text, wanted, made)
        for text in (*MORE, *texts(number, seed))
        if (made := ours([text] if text else [])) != (wanted := [part for part, _ in theirs.pre_tokenize_str(text)])
    ]


def assert_cuts_as_library(name: str, number: int) -> None:
    pattern, kind = KNOWN[name]
    assert isinstance(parse_split(pattern, "isolated", inverted=False), kind)
    assert differing(pattern, "isolated", False, number, seed=5) == []


@pytest.mark.parametrize("name", KNOWN)
def test_patterns_of_tokenizers_cut_as_in_the_library(name: str) -> None:
    assert_cuts_as_library(name, 400)


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_patterns_of_tokenizers_cut_as_in_the_library_on_a_hundred_thousand_texts(name: str) -> None:
    assert_cuts_as_library(name, 100_000)


@pytest.mark.parametrize("pattern", mostly_slow([*RUNS, *LONGER], 3))
def test_runs_cut_as_in_the_library_however_they_are_cut_at(pattern: str) -> None:
    for how, inverted in product(HOW, (False, True)):
        assert differing(pattern, how, inverted, 40, seed=6) == [], (how, inverted)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [*RUNS, *LONGER])
def test_runs_cut_as_in_the_library_on_many_texts(pattern: str) -> None:
    for how, inverted in product(HOW, (False, True)):
        assert differing(pattern, how, inverted, 10_000, seed=7) == [], (how, inverted)


@pytest.mark.parametrize("pattern", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_nothing(pattern: str) -> None:
    assert parse_runs(pattern) is None
    assert parse_split(pattern, "isolated", inverted=False) is None
