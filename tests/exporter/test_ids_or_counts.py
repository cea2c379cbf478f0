"""Numbers of words are ids, also with gaps and beyond the embedding's rows, or they may be counts and are refused."""

from __future__ import annotations

import json
import logging
import pickle
import random
import re
from pathlib import Path
from typing import Any, Final

import pytest

from pocketrnn.errors import DataError
from pocketrnn_export.vocabularies.ids_or_counts import IdEvidence, count_ids
from pocketrnn_export.vocabularies.vocabulary import UnclearIdsError, read_vocabulary

WORDS: Final = ["<pad>", "<unk>", *(f"w{i}" for i in range(28))]
# Words that were left out after the ids were given: 5, 9, 10 and every third from 15 on.
GAPS: Final = {word: i for i, word in zip([j for j in range(60) if j not in (5, 9, 10) and (j < 15 or j % 3)], WORDS,
                                          strict=False)}  # fmt: skip
HIGHEST: Final = max(GAPS.values())


def read(ids: Any, rows: int = 0, **known: bool) -> tuple[str, ...]:
    return read_vocabulary(ids, IdEvidence(lambda: rows, **known)).tokens


def write_all_kinds(ids: dict[str, int], folder: Path) -> list[Any]:
    """Write a dict in the kinds of files that hold words with ids; return their paths and the dict's own kinds."""
    shuffled = random.Random(1).sample([*ids.items()], len(ids))
    texts = {
        "vocab.json": json.dumps(ids),
        "nested.json": json.dumps({"word2idx": ids, "size": len(ids)}),
        "turned.json": json.dumps({str(i): word for word, i in ids.items()}),
        "pairs.json": json.dumps([[word, i] for word, i in shuffled]),
        "vocab.txt": "".join(f"{word}\t{i}\n" for word, i in shuffled),
        "vocab.csv": "word,id,seen\n" + "".join(f"{word},{i},7\n" for word, i in ids.items()),
        "printed.txt": str(ids),
        "keras.json": json.dumps({"class_name": "Tokenizer", "config": {"word_index": json.dumps(ids)}}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "vocab.pkl").write_bytes(pickle.dumps(dict(shuffled)))
    return [ids, *(folder / name for name in [*texts, "vocab.pkl"])]


@pytest.mark.parametrize("rows", [0, HIGHEST + 1, 100])
def test_gaps_between_ids_get_tokens_that_no_text_gives_in_every_kind_of_file(rows: int, tmp_path: Path) -> None:
    for source in write_all_kinds(GAPS, tmp_path):
        tokens = read(source, rows)
        assert len(tokens) == HIGHEST + 1, source
        assert {token: i for i, token in enumerate(tokens) if not token.startswith(" <unused")} == GAPS, source
        assert tokens[5] == " <unused 5>"


def test_words_without_a_row_are_left_out_and_named_in_every_kind_of_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beyond = [word for word, i in GAPS.items() if i >= len(GAPS)]
    for source in write_all_kinds(GAPS, tmp_path):
        caplog.clear()
        tokens = read(source, len(GAPS))
        assert {token: i for i, token in enumerate(tokens) if not token.startswith(" <unused")} == {
            word: i for word, i in GAPS.items() if i < len(GAPS)
        }, source
        (said,) = [one.getMessage() for one in caplog.records if "unknown words" in one.getMessage()]
        assert f"{len(beyond)} words" in said
        assert f"'{beyond[0]}' ({GAPS[beyond[0]]})" in said or source != GAPS
        assert f"{len(GAPS)} rows" in said


@pytest.mark.parametrize(
    ("ids", "rows", "size"),
    [
        ({"a": 0, "b": 2, "c": 3}, 0, 4),
        ({"a": 1, "b": 3, "c": 4}, 0, 5),
        ({"a": 1, "b": 2, "c": 3}, 3, 4),
        # The embedding ends with the highest id: the numbers are ids, however many are missing.
        ({"a": 0, "b": 9}, 10, 10),
        ({f"w{i}": 40 * i for i in range(30)}, 1162, 1161),
        ({f"w{i}": i for i in range(400, 1000)}, 0, 1000),
        # A name says that they are no counts, also where they fall.
        ({"word2idx": {"a": 7, "b": 6, "c": 4, "d": 3, "e": 0}}, 0, 8),
    ],
)
def test_small_and_sparse_dicts_are_ids_where_the_rows_or_the_numbers_show_it(
    ids: dict[str, Any], rows: int, size: int
) -> None:
    assert len(read(ids, rows)) == size


@pytest.mark.parametrize(
    ("ids", "rows"),
    [
        ({"the": 9, "of": 7, "a": 5, "x": 3}, 0),
        # Falling counts look like ids if they are small.
        ({"the": 6, "of": 5, "a": 3, "x": 2, "y": 1}, 0),
        ({"the": 6, "of": 5, "a": 3, "x": 2, "y": 1}, 5),
        ({f"w{i}": 90_000 // (i + 1) for i in range(50)}, 0),
        ({f"w{i}": 90_000 // (i + 1) for i in range(50)}, 52),
        # Ids of a hash, with and without a row for each.
        ({f"w{i}": (i * 2654435761) % 2**32 for i in range(50)}, 0),
        ({f"w{i}": (i * 7919) % 65_000 for i in range(50)}, 2**16),
        ({"word2idx": {f"w{i}": (i * 7919) % 65_000 for i in range(50)}}, 2**16),
        # Most words have no row; more words than rows; unknown words have no row; ids that code counts from 3.
        ({**{f"w{i}": i + 40 for i in range(50)}, "x": 0}, 51),
        ({word: i for word, i in GAPS.items() if word != "w3"}, 20),
        ({**{f"w{i}": i for i in range(2, 20)}, "<unk>": 25}, 20),
        ({f"w{i}": i for i in range(3, 40) if i != 20}, 37),
    ],
)
def test_numbers_that_may_be_counts_or_ids_of_another_module_are_refused_with_a_line(
    ids: dict[str, Any], rows: int
) -> None:
    with pytest.raises(UnclearIdsError) as refused:
        read(ids, rows)
    highest = max(ids.get("word2idx", ids).values())
    written = re.search(r"by_id = .*; (vocabulary = .*\])[.,]", str(refused.value))
    assert (written is not None) == (highest < 2**22)
    if written is not None and rows:
        made: dict[str, Any] = {"by_id": {i: word for word, i in ids.get("word2idx", ids).items()}}
        exec(written[1], made)  # noqa: S102
        assert len(read(made["vocabulary"])) == rows


@pytest.mark.parametrize(("rows", "size"), [(90, 90), (200, 100)])
def test_numbers_that_the_user_calls_ids_are_taken_as_such(rows: int, size: int) -> None:
    falling = {f"w{i}": i for i in range(99, 20, -2)}
    assert len(read(falling, rows, are_trusted=True)) in (size, size - 1)
    with pytest.raises(DataError, match="embedding has 40"):
        read(falling, 40, are_trusted=True)


def test_words_with_the_id_of_unknown_words_are_left_out_and_other_ids_twice_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert read({"<pad>": 0, "rare": 1, "<unk>": 1, "oil": 2, "odd": 1}) == ("<pad>", "<unk>", "oil")
    assert "2 words ('rare', 'odd')" in caplog.text
    for twice in ({"<pad>": 1, "<unk>": 1, "oil": 0}, {"<unk>": 0, "a": 1, "b": 1}, {"a": 0, "b": 0}):
        with pytest.raises(DataError, match=r"the id [01] to '"):
            read(twice)


def test_the_rows_are_counted_only_for_numbers_with_gaps() -> None:
    def count_rows() -> int:
        raise AssertionError

    for numbers in ([0, 1, 2], [1, 2, 3], [2, 0, 1]):
        assert count_ids(numbers, [], IdEvidence(count_rows)) == max(numbers) + 1
    with pytest.raises(DataError, match="to 'a' and to 'b'"):
        read_vocabulary({"a": 4, "b": 4}, IdEvidence(count_rows))
    with pytest.raises(AssertionError):
        count_ids([0, 2], [], IdEvidence(count_rows))


def test_a_few_gaps_are_named_and_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    read(GAPS)
    assert f"{HIGHEST + 1 - len(GAPS)} in all" in caplog.text
