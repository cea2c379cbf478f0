"""Change a graph that takes one id for a word with its spelling. The new graph takes the id of the word and the ids of
its characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from pocketrnn.bundle.manifest import Graph
from pocketrnn.errors import ExportError
from pocketrnn.text.token_characters import CHARACTER_INPUTS
from pocketrnn_export.comparing.answer_rows_without_padding import drop_padding_rows_of_answer
from pocketrnn_export.comparing.float64_graph import list_nested_graphs
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.comparing.proof_inputs import Ids, Logits, Run
from pocketrnn_export.forms.form import Form, OtherFile, sha256
from pocketrnn_export.intake.character_pair_and_feature_calls import CHARACTERS
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

_WORDS = "tokens"


def replace_spelling_ids_by_word_and_character_inputs(
    forms: Sequence[Form], spellings: Spellings, ids: int
) -> list[Form]:
    """Replace the graph of each form, which takes one id for each word with its spelling, by a graph with two inputs:
    the ids of words, and the ids of their characters. Return the given forms, which are kept only for the proof, and
    the new forms.

    Args:
        forms: ONNX forms whose graph takes one id for a word with its spelling.
        spellings: the word and the characters that each id stands for.
        ids: the number of word ids.

    Raises:
        ExportError: the graph uses its ids for more than the lookup of words and of characters.
    """
    made: list[Form] = []
    for form in forms:
        graph = form.entry
        assert isinstance(graph, Graph)  # noqa: S101 - such a bundle has no other form
        content = _replace_spelling_ids_in_graph(form.content, spellings)
        alone = tuple(sorted({int(spellings.words[i]) for i in graph.alone}))
        inputs = CHARACTER_INPUTS["lengths" in graph.inputs]
        own = replace(graph, sha256=sha256(content), inputs=inputs, embedding_rows=ids, alone=alone)
        runs = {
            f"onnx on characters{name}": _make_run_on_characters(content, spellings, optimized=not name)
            for name in ("", ", as written")
        }
        made.append(replace(form, entry=OtherFile(form.file), member=None))
        made.append(Form(own, "graph", content, runs, one_row=form.one_row, bounds=form.bounds))
    return made


def _make_run_on_characters(content: bytes, spellings: Spellings, *, optimized: bool) -> Run:
    """Return a function that takes ids, turns each into a word and its characters, and runs a graph of words and
    characters.

    Args:
        content: the ONNX file of the graph.
        spellings: the word and the characters that each id stands for.
        optimized: whether onnxruntime may optimize the graph.
    """
    session = open_session(content, optimized=optimized)
    names = [node.name for node in session.get_inputs()]

    def run_on_characters(tokens: Ids, lengths: Ids) -> Logits:
        steps = spellings.rows[tokens]
        feed = {_WORDS: steps[..., 0], "lengths": lengths, CHARACTERS: steps[..., 1:]}
        (logits,) = session.run(["logits"], {name: np.ascontiguousarray(feed[name]) for name in names})
        rows: Logits = drop_padding_rows_of_answer(logits, lengths)
        return rows

    return run_on_characters


def _replace_spelling_ids_in_graph(content: bytes, spellings: Spellings) -> bytes:
    """Change an ONNX file so that its graph takes words and characters in place of the ids that stand for both. Return
    the new file. Raise an ExportError if the graph uses the ids in another way."""
    model = onnx.load_model_from_string(content)
    graph, ids = model.graph, model.graph.input[0].name
    tables = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer if t.data_type == TensorProto.INT64}
    wanted = {"words.of.ids": spellings.words, "characters.of.ids": spellings.spelled}
    named = {name: key for name, table in tables.items() for key, rows in wanted.items() if np.array_equal(table, rows)}

    def is_lookup(node: onnx.NodeProto) -> bool:
        return bool(node.op_type == "Gather" and node.input[0] in named and node.input[1] == ids)

    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if is_lookup(node):
            renamed[node.output[0]] = CHARACTERS if named[node.input[0]].startswith(CHARACTERS) else _WORDS
        else:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    others = [n for inner in list_nested_graphs(graph) for n in inner.node if ids in n.input and n.op_type != "Shape"]
    left = [f"uses them in {n.op_type} too" for n in others if not is_lookup(n)]
    if left or set(renamed.values()) != {_WORDS, CHARACTERS}:
        raise ExportError(
            f"The graph must use ids only to look up words and characters, but it {(left or ['lacks a lookup'])[0]}.",
            "This is a bug of pocketrnn. Please report it with the code of the module.",
        )
    del graph.node[:]
    graph.node.extend(kept)
    for inner in list_nested_graphs(graph):
        for node in inner.node:
            for i, name in enumerate(node.input):
                node.input[i] = renamed.get(name, name)
    used = {name for inner in list_nested_graphs(graph) for node in inner.node for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    values = [value for value in graph.value_info if value.name not in renamed]
    del graph.value_info[:]
    graph.value_info.extend(values)
    dims = graph.input[0].type.tensor_type.shape.dim
    batch, sequence = (d.dim_param or (d.dim_value if d.HasField("dim_value") else None) for d in dims[:2])
    shape = [batch, sequence, spellings.characters.width]
    graph.input.append(helper.make_tensor_value_info(CHARACTERS, TensorProto.INT64, shape))
    made: bytes = model.SerializeToString()
    return made
