"""Read arrays from numpy's files, `.npy` and `.npz`, and limit the memory that they take.

A `.npz` is a zip archive: 3 MB of it may unpack to 22 GB. Its directory and the header of each array state sizes, and
both may be wrong. So a header is read from the first unpacked bytes of an entry, the size that it states is compared
with the bound, and no more than that is unpacked. The format:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from pocketrnn.bundle.names_from_paths import suggest_near_file
from pocketrnn.errors import DataError, find_file_error_reason, first_line

__all__ = ["ArrayHeader", "read_array_header", "read_arrays"]

_Array = npt.NDArray[Any]

# numpy reads headers of up to 10,000 characters.
_LONGEST_HEADER: Final = 1 << 14
# A file may always unpack to this many bytes, and to this many times its own size: compression makes sensor data up to
# about ten times smaller.
_SMALL_FILE_BYTES: Final = 1 << 30
_LARGEST_RATIO: Final = 16
_BYTES_READ_AT_ONCE: Final = 1 << 20
# numpy writes only these; LZMA and bzip2 take as much memory as the file says.
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class ArrayHeader:
    """The header of an array in a file. It precedes the numbers of the array.

    Attributes:
        shape: the sizes of its axes.
        dtype: the type of its items.
        order: "F" if the first axis changes fastest in the file, "C" if the last one does.
        size: the bytes of the header itself.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    size: int


def read_array_header(content: bytes) -> ArrayHeader:
    """Read the header of a `.npy` file from its first bytes.

    Raises:
        ValueError: the bytes are not the beginning of a `.npy` file, or they are damaged.
    """
    file = io.BytesIO(content[:_LONGEST_HEADER])
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"the version of its header is {version}, but only 1.0 and 2.0 can be read")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read(file)
    if any(size < 0 for size in shape):
        raise ValueError(f"the shape in its header is {shape}, but a size cannot be negative")
    return ArrayHeader(shape, dtype, "F" if in_columns else "C", file.tell())


def read_arrays(path: Path, remedy: str, *, most: int, wanted: Container[str] | None = None) -> dict[str, _Array]:
    """Read the arrays of a `.npz` file by name. The array of a `.npy` file has the name "".

    Args:
        path: the file.
        remedy: the sentence of the error that says what file to give instead.
        most: the largest number of bytes that all arrays may take together. The limit is lower for a small file: 16
            times the size of the file, or 1 GiB if that is more.
        wanted: the names of the arrays to read; without it, all are read.

    Raises:
        DataError: the file does not exist, is damaged or holds Python objects, or its arrays take more bytes.
    """
    try:
        with path.open("rb") as file:
            bound = min(most, max(_SMALL_FILE_BYTES, _LARGEST_RATIO * path.stat().st_size))
            if file.read(6) != b"\x93NUMPY":
                return _read_arrays_of_npz_archive(file, bound, wanted)
            file.seek(0)
            return {"": _read_array(file, bound)}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", suggest_near_file(path) or "Check the path of the file.") from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {find_file_error_reason(error)}.", "Check the file and its access rights."
        ) from None
    # Damaged bytes raise ValueError, EOFError, BadZipFile, KeyError, zlib.error, RuntimeError or MemoryError.
    except Exception as error:
        raise DataError(f"The arrays of {path} cannot be read: {first_line(error)}.", remedy) from None


def _read_arrays_of_npz_archive(file: IO[bytes], most_bytes: int, wanted: Container[str] | None) -> dict[str, _Array]:
    """Read the arrays of an open `.npz` file, and return them by name.

    Args:
        file: the open file.
        most_bytes: the largest number of bytes that the arrays may take together.
        wanted: the names of the arrays to read; None to read all.

    Raises:
        ValueError: an array takes too many bytes, is damaged, or has a compression that numpy does not use.
    """
    found: dict[str, _Array] = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename or (wanted is not None and name not in wanted):
                continue
            if entry.compress_type not in _COMPRESSIONS:
                raise ValueError(f"the array {name!r} is compressed in a way that numpy never writes")
            with archive.open(entry) as stored:
                found[name] = _read_array(
                    stored, most_bytes - sum(array.nbytes for array in found.values()), f"the array {name!r}"
                )
    return found


def _read_array(file: IO[bytes], most_bytes: int, array_name: str = "the array") -> _Array:
    """Read one array in the `.npy` format, from the current position of a file to the end of the file.

    Args:
        file: the open file.
        most_bytes: the largest number of bytes that the array may take.
        array_name: what errors call the array.

    Raises:
        ValueError: the array takes more than `most_bytes`, holds Python objects, or has another size than its header
            states.
    """
    start = file.read(_LONGEST_HEADER)
    header = read_array_header(start)
    if header.dtype.hasobject:
        raise ValueError(f"{array_name} holds Python objects, but only numbers and strings are read")
    items = math.prod(header.shape)
    size = items * header.dtype.itemsize
    # With items of 0 bytes, or an axis of size 0, a file of a few bytes can state any number of items.
    if max(size, items, *header.shape, 0) > most_bytes:
        shape = " x ".join(map(str, header.shape))
        raise ValueError(
            f"{array_name} has {shape} items, which take {size:,} bytes, but at most {most_bytes:,} bytes can be read"
        )
    content = np.zeros(size, np.uint8)
    filled = 0
    some = start[header.size :]
    while some and filled + len(some) <= size:
        content[filled : filled + len(some)] = np.frombuffer(some, np.uint8)
        filled += len(some)
        some = file.read(min(_BYTES_READ_AT_ONCE, size - filled + 1))
    if some or filled < size:
        raise ValueError(f"{array_name} has {'more' if some else 'fewer'} bytes than its shape {header.shape} takes")
    if not size:
        return np.zeros(header.shape, header.dtype)
    array: _Array = content.view(header.dtype).reshape(header.shape, order=header.order)
    return array
