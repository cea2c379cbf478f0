"""Open a file of ONNX, TorchScript or torch.export for `check`, and run it on arrays."""

from __future__ import annotations

import itertools
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
import torch
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.external_data_helper import load_external_data_for_model
from torch import nn

from pocketrnn.errors import InputError, PocketRNNError, first_line
from pocketrnn_export.comparing.module_and_graph_as_functions import open_session
from pocketrnn_export.intake.pytorch_file_memory_check import is_torchscript
from pocketrnn_export.intake.torchscript_saving_and_loading import load_torchscript
from pocketrnn_export.module_runs.tensors_in_values import list_tensors_in

Array = npt.NDArray[Any]
# The largest model that onnxruntime and protobuf read in one piece.
_LARGEST: Final = 2**31 - 1
# The declared weights may have at most this many times the bytes of the file, since an int64 can be stored in one byte.
_DENSEST: Final = 16
# One step of float16 is 2**13 steps of float32.
_OF_HALF: Final = 2.0**13
_MOST_OF_ERROR: Final = 300
_NUMBER_IN_CODE: Final = re.compile(r"prim::Constant\[value=\{?(-?[\d.]+(?:e-?\d+)?)\b")
_TYPES_OF_TORCH: Final = {
    torch.int64: "int64", torch.int32: "int32", torch.float32: "float32", torch.float64: "float64",
    torch.bool: "bool", torch.float16: "float16",
}  # fmt: skip


@dataclass(frozen=True)
class Port:
    """An input or an output of a file.

    Attributes:
        kind: numpy's name for the type; None if the file does not declare the type.
        axes: for each axis its size, the name of a size that may change, or None for any size. None as a whole if the
            file does not even declare the number of axes.
    """

    name: str
    kind: str | None = None
    axes: tuple[int | str | None, ...] | None = None


@dataclass(frozen=True)
class CheckedFile:
    """An opened file that `check` compares with a module.

    Attributes:
        inputs, outputs: the inputs and outputs in the file's order. TorchScript does not declare its outputs.
        run: computes the outputs from one array for each input; raises whatever the engine raises.
        model: the ONNX model with its weights inside; None for other formats.
        weights: the tensors in the file.
        numbers: the numbers in the code of a TorchScript file.
        rounding: how many times more coarsely than float32 the file rounds: 2**13 if it computes in half precision.
    """

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    run: Callable[[Sequence[Array]], list[Array]] = field(repr=False)
    model: ModelProto | None = field(default=None, repr=False)
    weights: Sequence[Array] = field(default=(), repr=False)
    rounding: float = 1.0
    numbers: tuple[float, ...] = ()

    @property
    def is_half_precision(self) -> bool:
        """Whether the file stores weights in half precision, or computes in it."""
        return self.rounding > 1 or any(array.dtype == np.float16 for array in self.weights)

    def get_output_name(self, number: int) -> str:
        """Return the name of the output with this index. If the file does not declare it, return the index as a
        string."""
        return self.outputs[number].name if number < len(self.outputs) else str(number)

    def compute_outputs(self, arrays: Sequence[Array]) -> list[Array] | str:
        """Run the file on one array for each input. Return the list of its outputs, or, if it fails, the error's
        message in one line."""
        try:
            return [np.asarray(answer) for answer in self.run(arrays)]
        # Engines raise errors of many classes.
        except Exception as error:
            # onnxruntime names the size that it got in its second line.
            said = " ".join(str(error).split()).removeprefix("[ONNXRuntimeError] : ")
            return said.partition(" Please fix either")[0][:_MOST_OF_ERROR] or repr(error)


def open_checked_file(path: str | Path) -> CheckedFile:
    """Open a file of ONNX, TorchScript or torch.export.

    Raises:
        InputError: there is no such file, or no engine can open it.
    """
    path = Path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise InputError(
            f"{path} {what}.", "Give the path of an ONNX file, a TorchScript file or a .pt2 file of torch.export."
        )
    try:
        if not zipfile.is_zipfile(path):
            return _open_onnx(path)
        if is_torchscript(path):
            return _open_torchscript(path)
        if _is_weights_file(path):
            raise InputError(
                "The file holds only weights, but the exported file must hold a graph.",
                "Give this file as --weights, and the exported file as --onnx.",
            )
        return _open_torch_export(path)
    except PocketRNNError as error:
        raise InputError(f"{path} cannot be opened: {error.problem}", error.remedy) from error
    # Engines and protobuf raise errors of many classes.
    except Exception as error:
        what = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
        raise InputError(f"{path} cannot be opened: {what}.", _MAKE_AGAIN) from error


def _is_weights_file(path: Path) -> bool:
    """Return whether a file holds only weights, written by torch.save."""
    with zipfile.ZipFile(path) as archive:
        return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in archive.namelist())


_MAKE_AGAIN: Final = "Export the module again, and leave all files that the exporter writes in one folder."


def _open_onnx(path: Path) -> CheckedFile:
    """Open an ONNX file. Its weights may be in other files beside it; before they are loaded, the sizes that they
    should have are compared with the sizes of those files.

    Raises:
        InputError: the file is not a complete ONNX file, or too large.
    """
    size = path.stat().st_size
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, json_format.ParseError, text_format.ParseError):
        raise InputError("The file is not an ONNX file, or it is incomplete.", _MAKE_AGAIN) from None
    if not model.graph.node and not model.graph.output:
        raise InputError("The file has no ONNX graph in it. It is damaged, or not an ONNX file.", _MAKE_AGAIN)
    tensors = list(_yield_graph_tensors(model.graph))
    for tensor in tensors:
        size += _measure_external_data(tensor, path.parent)
    declared = sum(map(_count_declared_bytes, tensors))
    if declared > max(1 << 20, _DENSEST * size):
        raise InputError(
            f"By its header, the file holds weights of {declared:,} bytes, but it has only {size:,} bytes.", _MAKE_AGAIN
        )
    if size > _LARGEST:
        raise InputError(
            f"The file and its weights have {size:,} bytes, but onnxruntime reads at most 2 GB.",
            "Export and compare a smaller module of the same class.",
        )
    load_external_data_for_model(model, str(path.parent))
    session = open_session(model.SerializeToString())
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_read_port(value) for value in model.graph.input if value.name not in weights)
    names = [port.name for port in inputs]

    def run_session(arrays: Sequence[Array]) -> list[Array]:
        return list(session.run(None, dict(zip(names, arrays, strict=True))))

    known = [tensor for tensor in tensors if tensor.data_type and tensor.data_type != TensorProto.STRING]
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in known]
    rounding = _OF_HALF if _has_half_precision_operators(model.graph) else 1.0
    return CheckedFile(path, inputs, tuple(map(_read_port, model.graph.output)), run_session, model, arrays, rounding)


def _has_half_precision_operators(graph: GraphProto) -> bool:
    """Return whether an operator of a graph computes in half precision (float16). A Cast of stored weights to float32
    does not count."""
    half = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    half |= {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    for node in graph.node:
        given = {TensorProto.FLOAT16} & {attribute.t.data_type for attribute in node.attribute}
        cast = any(attribute.name == "to" and attribute.i == TensorProto.FLOAT16 for attribute in node.attribute)
        half |= set(node.output) if given or cast else set()
    return any(node.op_type != "Cast" and half & set(node.input) for node in graph.node)


def _read_port(value: ValueInfoProto) -> Port:
    """Read the name, type and axes that an ONNX file declares for an input or an output.

    Raises:
        InputError: the input or output is not a tensor.
    """
    if value.type.WhichOneof("value") != "tensor_type":
        raise InputError(
            f"The input or output {value.name} is a sequence or a map, but must be a tensor.",
            "Export a module that takes and returns only tensors.",
        )
    kind = value.type.tensor_type
    named = None if not kind.elem_type else str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if not kind.HasField("shape"):
        return Port(value.name, named)
    axes = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
    return Port(value.name, named, tuple(axes))


def _yield_graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield the weights and constants of a graph and of its inner graphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _yield_graph_tensors(inner)


def _measure_external_data(tensor: TensorProto, folder: Path) -> int:
    """Return the number of bytes of a tensor's data that is in another file in `folder`. Return 0 if the data is in the
    ONNX file itself.

    Raises:
        InputError: the other file does not exist, or ends before the data does.
    """
    if tensor.data_location != TensorProto.EXTERNAL:
        return 0
    said = {entry.key: entry.value for entry in tensor.external_data}
    place = folder / said.get("location", "")
    if not place.is_file():
        raise InputError(
            f"The weight {tensor.name} should be in the file {said.get('location')} beside the ONNX file, but "
            "there is no such file.",
            _MAKE_AGAIN,
        )
    offset = int(said.get("offset", 0))
    length = int(said.get("length", place.stat().st_size - offset))
    if min(offset, length) < 0 or offset + length > place.stat().st_size:
        raise InputError(
            f"The file {said.get('location')} is incomplete: it ends before the end of the weight {tensor.name}.",
            _MAKE_AGAIN,
        )
    return length


def _count_declared_bytes(tensor: TensorProto) -> int:
    if min(tensor.dims, default=1) < 0:
        raise InputError(
            f"The weight {tensor.name} has an axis of the size {min(tensor.dims)}, but sizes cannot be negative. "
            "The file is damaged.",
            _MAKE_AGAIN,
        )
    known = tensor.data_type and tensor.data_type != TensorProto.STRING
    size = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize) if known else 1
    return int(math.prod(tensor.dims)) * size


def _open_torchscript(path: Path) -> CheckedFile:
    """Open a TorchScript file. Its inputs are the arguments of forward without a default; if such an argument is a
    tuple, each item is an input."""
    script = load_torchscript(path)
    arguments = script.forward.schema.arguments[1:]  # type: ignore[attr-defined]
    taken = [argument for argument in arguments if not argument.has_default_value()]
    parts = [argument.type.elements() if argument.type.kind() == "TupleType" else () for argument in taken]
    inputs = tuple(
        port
        for argument, some in zip(taken, parts, strict=True)
        for port in ([Port(f"{argument.name}.{n}") for n in range(len(some))] or [Port(argument.name)])
    )
    run = _TorchScriptRunner(lambda: load_torchscript(path), tuple(map(len, parts)))
    numbers = tuple(float(value) for value in _NUMBER_IN_CODE.findall(str(script.inlined_graph)))
    weights = _convert_weights_and_find_rounding_factor(script.state_dict())
    return CheckedFile(path, inputs, (), run, None, *weights, numbers=tuple(dict.fromkeys(numbers)))


class _TorchScriptRunner:
    """Runs a TorchScript file. A file whose forward keeps a state between calls is loaded anew for each run.

    Args:
        load: loads the file.
        tuple_sizes: the number of tensors of each argument that is a tuple; 0 for an argument that is a tensor.
    """

    def __init__(self, load: Callable[[], torch.jit.ScriptModule], tuple_sizes: Sequence[int]) -> None:
        self.load, self.tuple_sizes, self.script = load, tuple_sizes, load()
        self.keeps_state: bool | None = None

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        if self.keeps_state:
            return _run_on_arrays(self.load(), arrays, self.tuple_sizes)
        answers = _run_on_arrays(self.script, arrays, self.tuple_sizes)
        if self.keeps_state is None:
            again = _run_on_arrays(self.script, arrays, self.tuple_sizes)
            same = zip(answers, again, strict=True)
            self.keeps_state = not all(np.array_equal(one, other, equal_nan=True) for one, other in same)
        return answers


def _convert_weights_and_find_rounding_factor(state: Mapping[str, torch.Tensor]) -> tuple[list[Array], float]:
    """Return the tensors of a state dict as a list of arrays, and a factor that says how many times more coarsely than
    float32 the weights are rounded: 1.0 for float32, 8192.0 if a weight has half precision."""
    tensors = [tensor.detach() for tensor in state.values() if tensor.layout is torch.strided]
    half = any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in tensors)
    arrays = [(tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy() for tensor in tensors]
    return arrays, _OF_HALF if half else 1.0


def _open_torch_export(path: Path) -> CheckedFile:
    """Open a .pt2 file of torch.export. Each tensor in an argument that is a tuple is an input of its own."""
    program = torch.export.load(path)
    made = {node.name: node.meta.get("val") for node in program.graph.nodes}

    def make_port(name: str) -> Port:
        value = made.get(name)
        if not isinstance(value, torch.Tensor):
            return Port(name)
        axes = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
        return Port(name, _TYPES_OF_TORCH.get(value.dtype), axes)

    signature = program.graph_signature
    inputs, outputs = (
        tuple(make_port(str(n)) for n in names) for names in (signature.user_inputs, signature.user_outputs)
    )
    module = program.module()
    held = _convert_weights_and_find_rounding_factor(program.state_dict)
    given: Any = program.call_spec.in_spec
    # Older torch has no `children`; there a tuple is not taken apart.
    arguments = given.children()[0].children() if hasattr(given, "children") else ()
    parts = [0 if argument.is_leaf() else argument.num_leaves for argument in arguments]
    return CheckedFile(path, inputs, outputs, lambda arrays: _run_on_arrays(module, arrays, parts), None, *held)


def _run_on_arrays(module: nn.Module, arrays: Sequence[Array], tuple_sizes: Sequence[int] = ()) -> list[Array]:
    """Run a module on arrays, and return the tensors in its output as arrays. If the module's weights are in half
    precision, float arrays are converted to half precision first.

    Args:
        arrays: an array for each tensor that the module takes.
        tuple_sizes: the number of tensors of each argument that is a tuple; 0 for an argument that is a tensor.
    """
    kinds = {parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()}
    kind = next(iter(kinds)) if len(kinds) == 1 else torch.float32
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    if kind in (torch.float16, torch.bfloat16):
        tensors = [tensor.to(kind) if tensor.is_floating_point() else tensor for tensor in tensors]
    left = iter(tensors)
    joined: list[Any] = [tuple(itertools.islice(left, count)) if count else next(left) for count in tuple_sizes]
    with torch.no_grad():
        answer = module(*joined, *left)
    given = list_tensors_in(list(answer.values()) if isinstance(answer, dict) else answer)
    return [(one.float() if one.dtype == torch.bfloat16 else one).detach().numpy() for one in given]


# --- Exported file weights and sizes ---
# Read facts from a file that `check` has opened: its weights, rows of tables, sizes of reshapes, and names of axes.

# Operators that leave ids unchanged between the input and a table.
_SAME_IDS: Final = frozenset({"Cast", "Transpose", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Slice", "Concat"})
# Operators between the sizes of a reshape and the constants that they are made of.
_SAME_SIZES: Final = frozenset({"Cast", "Concat", "Unsqueeze", "Identity"})
_MOST_STEPS: Final = 1_100
_OF_SEQUENCE: Final = ("seq", "time", "step", "tokens", "length")
# Sorted numbers that differ by more are other weights: large matrices of one distribution differ by little.
_SAME_WEIGHT: Final = 1e-6


def find_axis_role(axis_name: str) -> Literal["b", "s"] | None:
    """Return the axis that a name means: "b" for the batch, "s" for the sequence, None for another axis."""
    name = axis_name.lower()
    return "b" if "batch" in name else "s" if any(word in name for word in _OF_SEQUENCE) else None


def find_missing_matrices(file: CheckedFile, matrices: Mapping[str, Array]) -> list[str]:
    """Find weight matrices of a module that the file does not contain. Return the names of those in `matrices` whose
    numbers are not in the file in any order. Return an empty list if the file does not show its weights."""
    if not file.weights:
        return []
    held: dict[int, list[Array]] = {}
    for array in file.weights:
        # A bidirectional layer has both directions in one tensor.
        for part in (array, *(array if array.ndim == 3 and len(array) == 2 else ())):
            if part.dtype.kind == "f":
                held.setdefault(part.size, []).append(np.sort(part, axis=None))
    return [
        name
        for name, matrix in matrices.items()
        if not any(
            np.allclose(np.sort(matrix, axis=None), numbers, rtol=0, atol=_SAME_WEIGHT)
            for numbers in held.get(matrix.size, ())
        )
    ]


def count_table_rows(file: CheckedFile, input_name: str) -> int | None:
    """Return the number of rows of the smallest table, such as an embedding, in which an ONNX file looks up the ids of
    an input. Return None if there is no such table, or if the file is not an ONNX file."""
    if file.model is None:
        return None
    nodes = list(_yield_graph_nodes(file.model.graph))
    tables = {name: tensor.dims for name, tensor in _find_constants(file.model.graph, nodes).items()}
    same, rows = {input_name}, []
    for node in nodes:
        if node.op_type == "Gather" and node.input[1] in same and len(dims := tables.get(node.input[0], ())) == 2:
            rows.append(dims[_read_gather_axis(node)])
        if node.op_type in _SAME_IDS and node.input[0] in same:
            same |= set(node.output)
    return min(rows, default=None)


def list_reshape_sizes(file: CheckedFile) -> list[int]:
    """Return the sizes, at most 1,100 of them, to which a file may reshape tensors. They are 1 and the integers in its
    Reshape and Expand operators or in its TorchScript code."""
    numbers: list[Any] = [1, *file.numbers]
    if file.model is not None:
        nodes = list(_yield_graph_nodes(file.model.graph))
        # Before opset 5 a reshape had no second input.
        sizes = {name for node in nodes if node.op_type in ("Reshape", "Expand") for name in node.input[1:2]}
        for node in reversed(nodes):
            if node.op_type in _SAME_SIZES and sizes & set(node.output):
                sizes |= set(node.input)
        constants = _find_constants(file.model.graph, nodes)
        held = [onnx.numpy_helper.to_array(constants[name]).ravel() for name in sorted(sizes & constants.keys())]
        numbers += [number for array in held if array.dtype.kind in "iu" for number in array.tolist()]
    return sorted({int(number) for number in numbers if 0 < number <= _MOST_STEPS and number == int(number)})


def _find_constants(graph: GraphProto, nodes: Sequence[NodeProto]) -> dict[str, TensorProto]:
    """Return the weights of a graph and the tensors of its Constant nodes, by name."""
    made = (node for node in nodes if node.op_type == "Constant")
    constants = {node.output[0]: a.t for node in made for a in node.attribute if a.name == "value"}
    return {tensor.name: tensor for tensor in graph.initializer} | constants


def _yield_graph_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph; the nodes of an inner graph come before their outer node."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _yield_graph_nodes(inner)
        yield node


def _read_gather_axis(node: NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
