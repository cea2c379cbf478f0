"""Write ids and sizes into a bundle's provenance, and read them. The proofs of forms that are made from the bundle make
cases of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pocketrnn.bundle.checked_files import MAKE_AGAIN
from pocketrnn.errors import BundleError
from pocketrnn_export.comparing.proof_inputs import LARGEST
from pocketrnn_export.proof.compared_id_cases import MOST_ASKED

# The key in a bundle's provenance for the sizes around each condition on a size in its module: forms made
# from the bundle are compared at these sizes, too.
ASKED_SIZES: Final = "asked_sizes"
# The key for the ids that its program compares words with.
ASKED_IDS: Final = "asked_ids"
# As many as the export's own proof has at most; a bundle from elsewhere may state any number.
_MOST_SIZES: Final = 10_000
# At most `_LONG_TURNS` sizes above `_LONG` tokens are tried: a text of 50,000 takes a minute in all runs of a proof.
_LONG: Final = 5_000
_LONG_TURNS: Final = 4


def read_compared_ids(provenance: Mapping[str, Any], ids: int) -> list[int]:
    """Read from a bundle's provenance the ids with which its module compares words.

    Raises:
        BundleError: the provenance's entry of ids is not valid.
    """
    stated = provenance.get(ASKED_IDS, [])
    plain = isinstance(stated, list) and len(stated) <= MOST_ASKED and all(type(i) is int for i in stated)
    if not plain or not all(0 <= i < ids for i in stated):
        raise BundleError(
            f"provenance.{ASKED_IDS} of classifier.json is not a list of at most {MOST_ASKED} ids below {ids}.",
            MAKE_AGAIN,
        )
    return list(stated)


def make_compared_ids_entry(compared_ids: Sequence[int]) -> dict[str, list[int]]:
    """Return the provenance entry for the ids with which a module compares words, or {} if there are no such ids."""
    return {ASKED_IDS: list(compared_ids)} if compared_ids else {}


def make_condition_sizes_entry(batch_and_token_counts: Iterable[tuple[int, int]]) -> dict[str, list[list[int]]]:
    """Return the provenance entry that lists sizes (batch, tokens) near forward's conditions on sizes, or {} if there
    are no such sizes."""
    sizes = [list(size) for size in batch_and_token_counts]
    return {ASKED_SIZES: sizes} if sizes else {}


def read_condition_sizes(
    provenance: Mapping[str, Any], further_text_lengths: Iterable[int] = ()
) -> list[tuple[int, int]]:
    """Return the sizes (batch, tokens) at which the proof of a form that is made from a bundle compares answers: those
    that the bundle's provenance lists, and one text of each length in `further_text_lengths`. At most four of these
    lengths may exceed 5,000, and lengths above 50,000 are left out.

    Args:
        provenance: the bundle's provenance.
        further_text_lengths: further numbers of tokens, each for a batch of one text.

    Raises:
        BundleError: the provenance's entry of sizes is not valid.
    """
    stated = provenance.get(ASKED_SIZES, [])
    plain = isinstance(stated, list) and len(stated) <= _MOST_SIZES
    for size in stated if plain else ():
        whole = isinstance(size, list) and len(size) == 2 and all(type(number) is int for number in size)
        plain = plain and whole and min(size) >= 1 and size[0] * size[1] <= LARGEST
    if not plain:
        raise BundleError(
            f"provenance.{ASKED_SIZES} of classifier.json is not a list of at most {_MOST_SIZES:,} sizes "
            f"[texts, tokens] with at most {LARGEST:,} tokens together.",
            MAKE_AGAIN,
        )
    few = sorted(further_text_lengths)
    long = [tokens for tokens in few if _LONG < tokens <= LARGEST][:_LONG_TURNS]
    further = [*(tokens for tokens in few if tokens <= _LONG), *long]
    return [*((batch, tokens) for batch, tokens in stated), *((1, tokens) for tokens in further)]
