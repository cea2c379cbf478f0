"""Find ids that the cases of a proof must contain: those with which a program compares words, and those with extreme
embedding vectors. Make texts and cases that contain them in every order.

Random texts would never contain such a phrase.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from pocketrnn_export.comparing.proof_inputs import Case, Ids, make_case_from_rows
from pocketrnn_export.proof.program_runs_and_nodes import read_operator_name, select_nodes_needed_for_outputs

# The most ids, in the order of the program.
MOST_ASKED: Final = 24
_COMPARE: Final = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "isin"})
_LOOK_UP: Final = frozenset({"embedding", "gather", "index", "index_select"})
# A constant with more numbers is a table; so is one in which more than `_ODD` ids have an unusual row.
_FEW: Final = 64
_ODD: Final = 8
# All sequences of this many ids that are neighbours in the program are tried: 1,024 tokens for a group of 4.
_TOGETHER: Final = 4
_GROUPS: Final = 6
_REPEATED: Final = 300
_REPEATED_IDS: Final = 8
# The number of words between two phrases.
_BETWEEN: Final = 3
# The number of random words before and after a phrase, and the lengths of rows with a phrase in a ragged batch.
_AROUND: Final = 9
_UNEVEN: Final = (44, 200, 17, 120, 63)


def find_ids_that_program_compares_words_with(program: torch.export.ExportedProgram, ids: int) -> tuple[int, ...]:
    """Return up to 24 token ids with which a program compares words, each once, in the program's order: 7 for `x == 7`;
    2, 3 and 4 for `x > 3`; and ids whose row in a constant table differs from nearly all other rows. `ids` is the
    number of ids."""
    known = _find_constants_by_node(program)
    found: list[int] = []
    for node in select_nodes_needed_for_outputs(program):
        name = read_operator_name(node)
        if name in _COMPARE:
            for arg in node.args:
                if isinstance(arg, Node):
                    found += _list_integers_of_small_constant(known.get(arg))
                elif isinstance(arg, int) and not isinstance(arg, bool):
                    found += [arg] if name in ("eq", "ne") else [arg, arg + 1, arg - 1]
        elif name in _LOOK_UP and node.args and isinstance(node.args[0], Node):
            found += _find_ids_with_uncommon_table_rows(known.get(node.args[0]), ids)
    return tuple(dict.fromkeys(number for number in found if 0 <= number < ids))[:MOST_ASKED]


def _find_constants_by_node(program: torch.export.ExportedProgram) -> dict[Node, Tensor]:
    """Return a dict from each node of a program that is a constant or weight, or a copied or reshaped one, to the
    tensor of this constant or weight."""
    held = {**program.constants, **program.state_dict}
    specs = {spec.arg.name: str(spec.target) for spec in program.graph_signature.input_specs if spec.target}
    known: dict[Node, Tensor] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and isinstance(held.get(specs.get(node.name, "")), Tensor):
            known[node] = held[specs[node.name]]
        elif read_operator_name(node) in ("lift_fresh_copy", "detach", "detach_", "alias", "clone", "unsqueeze", "to"):
            before = node.all_input_nodes
            if before and before[0] in known:
                known[node] = known[before[0]]
    return known


def _list_integers_of_small_constant(constant: Tensor | None) -> list[int]:
    """Return the integers of a constant tensor. Return an empty list for None, and for a tensor of other numbers or of
    more than 64 integers."""
    if constant is None or constant.is_floating_point() or constant.dtype == torch.bool or constant.numel() > _FEW:
        return []
    return [int(number) for number in constant.reshape(-1).tolist()]


def _find_ids_with_uncommon_table_rows(table: Tensor | None, ids: int) -> list[int]:
    """Return the ids whose row in a table differs from the table's most common row. Return an empty list if there are
    more than 8 such ids, or if `table` does not have one row of at most four numbers for each of the `ids` ids."""
    if table is None or table.dim() == 0 or len(table) != ids or table.numel() > 4 * ids or ids < 3 * _ODD:
        return []
    rows, which, counts = np.unique(
        table.detach().reshape(ids, -1).numpy(), axis=0, return_inverse=True, return_counts=True
    )
    odd = np.flatnonzero(which.reshape(-1) != counts.argmax())
    return odd.tolist() if len(rows) > 1 and len(odd) <= _ODD else []


def write_phrases_into_rows(tokens: Tensor, compared_ids: Sequence[int]) -> Tensor:
    """Return a copy of tokens [rows, steps] in which phrases of `compared_ids` are written into two of every four rows,
    so that random texts also reach the code that looks for such phrases.

    A phrase is these ids, each once, next to each other in some order. A row gets as many phrases as fit. The two rows
    are the first two of four if the number of steps is even, else the last two.
    """
    if not compared_ids:
        return tokens
    tokens = tokens.clone()
    phrases = torch.tensor(_list_orders_of_ids(compared_ids), dtype=tokens.dtype)
    steps, size = tokens.shape[1], len(compared_ids)
    for row in (row for row in range(len(tokens)) if row // 2 % 2 == steps % 2):
        for turn, start in enumerate(range(0, steps - size + 1, size + _BETWEEN), start=row):
            tokens[row, start : start + size] = phrases[turn % len(phrases)]
    return tokens


def _list_orders_of_ids(compared_ids: Sequence[int]) -> list[list[int]]:
    """Return all orders of up to four ids. For more ids, return the rotations of the list and of the reversed list."""
    if len(compared_ids) <= _TOGETHER:
        return [list(order) for order in itertools.permutations(compared_ids)]
    ways = (list(compared_ids), list(compared_ids)[::-1])
    return [way[start:] + way[:start] for start in range(len(compared_ids)) for way in ways]


def make_cases_with_compared_ids(compared_ids: Sequence[int], ids: int, padding_id: int, *, ragged: bool) -> list[Case]:
    """Make batches of texts for a program that compares words with some ids. The texts contain these ids in the
    program's order and reversed, once and many times, alone and among random words. One batch contains every sequence
    of up to four ids that are adjacent in the program.

    Args:
        compared_ids: the ids, in the order of the program.
        ids: the number of all ids.
        padding_id: the id that fills the places after a text.
        ragged: whether to add a batch with texts of several lengths.
    """
    real = [i for i in compared_ids if i != padding_id]
    if not real:
        return []
    generator = np.random.default_rng(5)
    phrases = np.array([real, real[::-1]], np.int64)

    def draw_rows(rows: int, steps: int) -> Ids:
        return generator.integers(0, ids, (rows, steps), dtype=np.int64)

    def draw_rows_with_phrase(rows: int, steps: int) -> Ids:
        made = draw_rows(rows, steps)
        for row in range(rows):
            phrase = phrases[row % 2][:steps]
            start = int(generator.integers(0, steps - len(phrase) + 1))
            made[row, start : start + len(phrase)] = phrase
        return made

    groups = [real[start : start + _TOGETHER] for start in range(0, max(1, len(real) - 1), 2)][:_GROUPS]
    every = [[*itertools.chain(*itertools.product(group, repeat=len(group)))] for group in groups]
    width = max(map(len, every))
    full = {
        "the asked ids": phrases,
        "the asked ids among others": draw_rows_with_phrase(3, len(real) + 2 * _AROUND),
        "the asked ids many times": np.array([np.resize(phrase, _REPEATED) for phrase in phrases]),
        "one asked id many times": np.repeat(np.array(real[:_REPEATED_IDS], np.int64)[:, None], _REPEATED, axis=1),
        "asked ids in every order": np.array([np.resize(row, width) for row in every], np.int64),
    }
    cases = [Case(name, tokens, np.full(len(tokens), tokens.shape[1], np.int64)) for name, tokens in full.items()]
    if ragged:
        uneven = [draw_rows_with_phrase(2, length)[row % 2].tolist() for row, length in enumerate(_UNEVEN)]
        cases.append(make_case_from_rows("the asked ids beside longer rows", uneven, padding_id))
    return cases


# --- Ids with extreme embedding vectors ---
# Find the ids with extreme embedding vectors: the longest, and those with the largest and the smallest sum. A text
# that repeats one of these ids has larger sums than random texts have.
#
# Two of 5,000 words may have the weights -3 and 3, and all others 0.02. The sum of a random text is then at most 1;
# the first such word, ten times, gives -30, where a sigmoid is 1e-13.


def find_ids_of_extreme_vectors(module: nn.Module, ids: int) -> list[int]:
    """Return the ids with extreme rows in a module's embeddings and other tables of `ids` rows, each id once: for each
    table, the id with the longest row, and the ids whose rows have the largest and the smallest sum."""
    found: list[int] = []
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() and len(tensor) == ids and tensor.is_floating_point() and tensor.numel():
            rows = np.nan_to_num(tensor.detach().cpu().double().reshape(ids, -1).numpy(), posinf=0.0, neginf=0.0)
            sums = rows.sum(1)
            found += [int(place) for place in (np.square(rows).sum(1).argmax(), sums.argmax(), sums.argmin())]
    return list(dict.fromkeys(found))
