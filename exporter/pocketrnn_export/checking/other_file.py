"""The file that is checked: one of ONNX, of TorchScript or of torch.export, as a function of arrays."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.external_data_helper import load_external_data_for_model

from pocketrnn.errors import InputError, PocketRNNError, first_line
from pocketrnn_export.comparing.comparing import session_of
from pocketrnn_export.intake.torchscript_file import is_torchscript, load_torchscript
from pocketrnn_export.module_runs.cpu_run import tensors_in

__all__ = ["Array", "OtherFile", "Port", "lacking_matrices", "open_file", "rows_looked_up"]

Array = npt.NDArray[Any]
# onnxruntime and protobuf take no larger model in one piece.
_LARGEST: Final = 2**31 - 1
# A number in a file takes a sixteenth of its size at least: a whole number of one byte stands for eight.
_DENSEST: Final = 16
# Operators that an id may pass through on its way to a table.
_SAME_IDS: Final = frozenset({"Cast", "Transpose", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Slice", "Concat"})
# Two large matrices of one distribution have sorted numbers that differ by little.
_SAME_WEIGHT: Final = 1e-6
_TYPES_OF_TORCH: Final = {
    torch.int64: "int64", torch.int32: "int32", torch.float32: "float32", torch.float64: "float64",
    torch.bool: "bool", torch.float16: "float16",
}  # fmt: skip


@dataclass(frozen=True)
class Port:
    """An input or an output of a file.

    Attributes:
        name: what the file calls it.
        kind: numpy's name for its type; None where the file does not say it.
        axes: the size of each axis, the name of a size that may change, or None for any; None where even the number of
            axes is not known.
    """

    name: str
    kind: str | None = None
    axes: tuple[int | str | None, ...] | None = None


@dataclass(frozen=True)
class OtherFile:
    """A file that was opened.

    Attributes:
        path: where it is.
        inputs, outputs: in the file's order. TorchScript says nothing of its outputs.
        run: gives its outputs for an array for each input; raises whatever its engine raises.
        model: of ONNX, with its weights inside; None of other formats.
    """

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    run: Callable[[Sequence[Array]], list[Array]] = field(repr=False)
    model: ModelProto | None = field(default=None, repr=False)


def open_file(path: str | Path) -> OtherFile:
    """Open a file of any of the three formats.

    Raises:
        InputError: there is no such file, or no engine can open it.

    Example:
        >>> open_file("theirs.onnx").inputs[0]
        Port(name='tokens', kind='int64', axes=('batch', 'sequence'))
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file.", "Give an ONNX file, a TorchScript file or a .pt2 of torch.export.")
    try:
        if not zipfile.is_zipfile(path):
            return _of_onnx(path)
        return _of_torchscript(path) if is_torchscript(path) else _of_torch_export(path)
    except PocketRNNError as error:
        raise InputError(f"{path} cannot be opened: {error.problem}", _MAKE_AGAIN) from error
    # Engines and protobuf raise errors of many classes.
    except Exception as error:
        what = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
        raise InputError(f"{path} cannot be opened: {what}.", _MAKE_AGAIN) from error


_MAKE_AGAIN: Final = "Export it again, and give the file with all that lies beside it."


def _of_onnx(path: Path) -> OtherFile:
    size = path.stat().st_size
    model = onnx.load(path, load_external_data=False)
    if not model.graph.node and not model.graph.output:
        raise InputError("It holds no graph of ONNX.", _MAKE_AGAIN)
    tensors = list(_tensors_of(model.graph))
    for tensor in tensors:
        size += _checked_external(tensor, path.parent)
    declared = sum(map(_declared_bytes, tensors))
    if declared > max(1 << 20, _DENSEST * size):
        raise InputError(f"Its weights are declared to have {declared:,} bytes, and it holds {size:,}.", _MAKE_AGAIN)
    if size > _LARGEST:
        raise InputError(f"Its weights have {size:,} bytes, and 2 GB is the most.", _MAKE_AGAIN)
    load_external_data_for_model(model, str(path.parent))
    session = session_of(model.SerializeToString())
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_port(value) for value in model.graph.input if value.name not in weights)
    names = [port.name for port in inputs]

    def run(arrays: Sequence[Array]) -> list[Array]:
        return list(session.run(None, dict(zip(names, arrays, strict=True))))

    return OtherFile(path, inputs, tuple(map(_port, model.graph.output)), run, model)


def _port(value: ValueInfoProto) -> Port:
    if value.type.WhichOneof("value") != "tensor_type":
        raise InputError(f"{value.name} is not a tensor, but a sequence or the like.", "Let the graph take tensors.")
    kind = value.type.tensor_type
    named = None if not kind.elem_type else str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if not kind.HasField("shape"):
        return Port(value.name, named)
    axes = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
    return Port(value.name, named, tuple(axes))


def _tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """The weights and constants of a graph, and of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors_of(inner)


def _checked_external(tensor: TensorProto, folder: Path) -> int:
    """The bytes that a tensor has in a file beside the graph's."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return 0
    said = {entry.key: entry.value for entry in tensor.external_data}
    place = folder / said.get("location", "")
    if not place.is_file():
        raise InputError(f"The weights of {tensor.name} are in {said.get('location')}, which is missing.", _MAKE_AGAIN)
    offset = int(said.get("offset", 0))
    length = int(said.get("length", place.stat().st_size - offset))
    if min(offset, length) < 0 or offset + length > place.stat().st_size:
        raise InputError(f"{said.get('location')} is shorter than {tensor.name} says.", _MAKE_AGAIN)
    return length


def _declared_bytes(tensor: TensorProto) -> int:
    if min(tensor.dims, default=1) < 0:
        raise InputError(f"{tensor.name} has an axis of {min(tensor.dims)}.", _MAKE_AGAIN)
    known = tensor.data_type and tensor.data_type != TensorProto.STRING
    size = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize) if known else 1
    return int(math.prod(tensor.dims)) * size


def _of_torchscript(path: Path) -> OtherFile:
    script = load_torchscript(path).eval()
    arguments = script.forward.schema.arguments[1:]  # type: ignore[attr-defined]
    inputs = tuple(Port(argument.name) for argument in arguments if not argument.has_default_value())
    return OtherFile(path, inputs, (), _run_of(script))


def _of_torch_export(path: Path) -> OtherFile:
    program = torch.export.load(path)
    made = {node.name: node.meta.get("val") for node in program.graph.nodes}

    def port(name: str) -> Port:
        value = made.get(name)
        if not isinstance(value, torch.Tensor):
            return Port(name)
        axes = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
        return Port(name, _TYPES_OF_TORCH.get(value.dtype), axes)

    signature = program.graph_signature
    inputs, outputs = (tuple(port(str(n)) for n in names) for names in (signature.user_inputs, signature.user_outputs))
    return OtherFile(path, inputs, outputs, _run_of(program.module()))


def _run_of(module: Callable[..., Any]) -> Callable[[Sequence[Array]], list[Array]]:
    def run(arrays: Sequence[Array]) -> list[Array]:
        with torch.no_grad():
            answer = module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
        return [tensor.numpy() for tensor in tensors_in(list(answer.values()) if isinstance(answer, dict) else answer)]

    return run


def lacking_matrices(file: OtherFile, matrices: Mapping[str, Array]) -> list[str]:
    """The names of matrices that a file does not hold, in whatever order its format has their rows; none where that
    cannot be seen.

    Example:
        >>> lacking_matrices(open_file("theirs.onnx"), {"fc.weight": np.eye(8)})
        ['fc.weight']
    """
    if file.model is None:
        return []
    held: dict[int, list[Array]] = {}
    for tensor in _tensors_of(file.model.graph):
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
            array = onnx.numpy_helper.to_array(tensor)
            # A recurrent layer of two directions has both in one tensor.
            for part in (array, *(array if array.ndim == 3 and len(array) == 2 else ())):
                held.setdefault(part.size, []).append(np.sort(part, axis=None))
    return [
        name
        for name, matrix in matrices.items()
        if not any(
            np.allclose(np.sort(matrix, axis=None), numbers, rtol=0, atol=_SAME_WEIGHT)
            for numbers in held.get(matrix.size, ())
        )
    ]


def rows_looked_up(file: OtherFile, port: str) -> int | None:
    """How many rows the smallest table has in which a file looks the numbers of an input up; None where it looks none
    up, or where that cannot be seen.

    Example:
        >>> rows_looked_up(open_file("theirs.onnx"), "tokens")
        8000
    """
    if file.model is None:
        return None
    graph = file.model.graph
    tables = {tensor.name: tensor.dims for tensor in graph.initializer}
    constants = [node for node in graph.node if node.op_type == "Constant"]
    tables |= {node.output[0]: a.t.dims for node in constants for a in node.attribute if a.name == "value"}
    same, rows = {port}, []
    for node in graph.node:
        if node.op_type == "Gather" and node.input[1] in same and len(dims := tables.get(node.input[0], ())) == 2:
            rows.append(dims[_axis_of(node)])
        if node.op_type in _SAME_IDS and node.input[0] in same:
            same |= set(node.output)
    return min(rows, default=None)


def _axis_of(node: NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
