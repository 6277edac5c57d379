"""The pickled pair lists of insightface's .bin files, read without running anything that they bring.

A pickle is a program, and Python's unpickler runs it. Here it gets to see only files of those few
instructions that build lists of images and labels, and whatever name a file calls for is answered from the
constructors below: nothing that it names is imported or called.
"""

import io
import pickle
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfv_demo.datasets.folds import FOLDS
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.datasets.sources import MemoryImages, PathName, quoted, read_bytes
from xfv_demo.errors import DatasetError, printable

Booleans = NDArray[np.bool_]

# No others are let through to the unpickler. Without dictionaries and calls of classes, BUILD can but call
# the `__setstate__` of the two records below; without EXT1, 2 and 4, no name is had past `find_class`.
_OPCODES = frozenset({
    "PROTO", "FRAME", "STOP", "MARK", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE1", "TUPLE2",
    "TUPLE3", "TUPLE", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG1",
    "BINSTRING", "SHORT_BINSTRING", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES",
    "BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
})  # fmt: skip

# An image takes some forty instructions at most, and no face's file is as small as 640 bytes. The floor lets
# small files be; together they bound what a file that is all instructions can make of its size.
_INSTRUCTIONS_AT_LEAST = 1_000_000
_BYTES_PER_INSTRUCTION = 16

# NumPy's types as files name them, and as they are read.
_IMAGE_TYPES = {"u1": "u1"}
# Booleans are read as the bytes that they are, so that those which are neither 0 nor 1 show.
_LABEL_TYPES = {"b1": "u1", "u1": "u1", "i1": "i1", "i2": "i2", "i4": "i4", "i8": "i8"}
_MOST_AXES = 64  # As NumPy has it.

_LATIN = ("latin1", "latin-1")
_LONGEST_WORD = 16  # Longer than any name of a type, a byte order or an encoding that is known here.

_BIN_HINT = "Get the file anew, from a source that you trust."
_OTHER_VALUES = "calls for other values than bytes and arrays of plain numbers; nothing was run"


class _RefusedError(Exception):
    """What a file does that no pair list has reason to, to be said after the file's name."""


class _Bytes:
    """Stands for the calls that bytes are saved as, of bytes, bytearray and encode.

    Args:
        budget: How many bytes may be copied. What is kept once could be asked for again and again.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def __call__(self, *arguments: object) -> bytes:
        match arguments:
            case ():
                return b""
            case (bytes() as content,):
                return content
            case (str() as text, encoding) if _word(encoding) in _LATIN:
                self._spend(len(text))
                return text.encode("latin-1")
        raise _RefusedError(_OTHER_VALUES)

    def of(self, content: bytes | bytearray) -> bytes:
        """What can be changed, as what cannot."""
        if isinstance(content, bytes):
            return content
        self._spend(len(content))
        return bytes(content)

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise _RefusedError("makes more bytes than it holds")


@dataclass(eq=False)
class _NumpyType:
    """What a pickle says of a NumPy type, before and after it is given its byte order."""

    code: str
    order: str = "|"

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, order, None, None, None, *_) if (known := _word(order)) in ("|", "<", ">"):
                self.order = known
            case _:
                raise _RefusedError(_OTHER_VALUES)


@dataclass(eq=False)
class _NumpyArray:
    """What a pickle says of a NumPy array, before and after it is given its content."""

    type: _NumpyType | None = None
    shape: tuple[object, ...] = ()
    content: bytes | bytearray = b""

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, tuple() as shape, _NumpyType() as numpy_type, _, bytes() | bytearray() as content):
                self.shape, self.type, self.content = shape, numpy_type, content
            case _:
                raise _RefusedError(_OTHER_VALUES)

    def numbers(self, types: Mapping[str, str]) -> NDArray[Any] | None:
        """Its numbers, (N,); None if it is of another type, has several axes, or its parts do not fit.

        Axes of length 1 do not count; with one other at most, Fortran's order and C's are the same.
        """
        if self.type is None or self.type.code not in types or len(self.shape) > _MOST_AXES:
            return None
        dtype = np.dtype(self.type.order + types[self.type.code])
        long = [length for length in self.shape if length != 1]
        count = long[0] if long else 1
        if len(long) > 1 or not isinstance(count, int) or count * dtype.itemsize != len(self.content):
            return None
        return np.frombuffer(self.content, dtype)


# Functions, not the records' classes: BUILD would call a class's own `__setstate__`, too.
def _dtype(code: object, *_: object) -> _NumpyType:
    if (known := _word(code)) not in _LABEL_TYPES:
        raise _RefusedError(_OTHER_VALUES)
    return _NumpyType(known)


def _reconstruct(kind: object, *_: object) -> _NumpyArray:
    if kind is not _NDARRAY:
        raise _RefusedError(_OTHER_VALUES)
    return _NumpyArray()


def _scalar(numpy_type: object, content: object) -> _NumpyArray:
    return _frombuffer(content, numpy_type, (), None)


def _frombuffer(content: object, numpy_type: object, shape: object, _: object) -> _NumpyArray:
    array = _NumpyArray()
    array.__setstate__((1, shape, numpy_type, False, content))
    return array


_NDARRAY = object()  # Stands for the class, which is named but never called.


class PairListReader(pickle.Unpickler):
    """Reads one pickle of images and labels.

    Memory is bounded by the file's size: by the number of instructions, none of which says more bytes than
    the file holds or a place in the memo beyond those that can be filled, and by `_Bytes`.

    Args:
        data: The file's bytes.
        label: The file's name as messages have it.
    """

    def __init__(self, data: bytes, label: str) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")  # Python 2's str
        self._data, self._label, self._bytes = data, label, _Bytes(len(data))
        # Module and name as pickles have them: of Python 2 and 3, of NumPy 1 and 2.
        self._known = {
            ("_codecs", "encode"): self._bytes,
            ("numpy", "ndarray"): _NDARRAY,
            ("numpy", "dtype"): _dtype,
        }
        for builtins in ("__builtin__", "builtins"):
            self._known |= {(builtins, name): self._bytes for name in ("bytes", "bytearray")}
        for core in ("numpy.core", "numpy._core"):
            self._known |= {
                (f"{core}.multiarray", "_reconstruct"): _reconstruct,
                (f"{core}.multiarray", "scalar"): _scalar,
                (f"{core}.numeric", "_frombuffer"): _frombuffer,
            }

    def find_class(self, module: str, name: str) -> object:
        """What stands for a name; refuses all that a pair list has no reason to ask for."""
        if (module, name) not in self._known:
            asked = printable(f"{module}.{name}")
            raise _RefusedError(f'asks for "{asked}", which lists of images do not need; it was not run')
        return self._known[module, name]

    def read(self) -> tuple[list[bytes], Booleans]:
        """Reads the two lists.

        Returns:
            The (2 P,) images' bytes and the (P,) bool labels.

        Raises:
            DatasetError: If the file does not hold them, or asks for more than they need.
        """
        try:
            self._check()
            return self._lists(self.load())
        except DatasetError:
            raise
        except _RefusedError as error:
            raise DatasetError(f"{self._label} {error}. {_BIN_HINT}") from error
        except Exception as error:  # Whatever the unpickler makes of instructions that do not fit.
            raise DatasetError(
                f"{self._label} is cut off or damaged, or no insightface .bin. {_BIN_HINT}"
            ) from error

    def _check(self) -> None:
        """Refuses what the unpickler shall not see; also, by `genops`, lengths beyond the file's end."""
        most = _INSTRUCTIONS_AT_LEAST + len(self._data) // _BYTES_PER_INSTRUCTION
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self._data), 1):
            if opcode.name not in _OPCODES:
                raise _RefusedError(
                    f"holds the pickle instruction {opcode.name}, which lists of images do not need; it was "
                    "not followed"
                )
            # Python's unpickler makes a table of as many places as the highest number says.
            if count > most or (opcode.name == "LONG_BINPUT" and (argument or 0) > count):
                raise _RefusedError("holds more instructions than images")

    def _lists(self, found: object) -> tuple[list[bytes], Booleans]:
        match found:
            case [list() | tuple() as images, list() | tuple() | _NumpyArray() as labels]:
                pass
            case _:
                raise _RefusedError("holds no lists of images and labels")
        if isinstance(labels, _NumpyArray):
            numbers = labels.numbers(_LABEL_TYPES)
        else:
            numbers = np.array([_truth(label) for label in labels], dtype=np.int64)
        if numbers is None or not np.isin(numbers, (0, 1)).all():
            raise _RefusedError("holds labels that are neither true nor false")
        if len(images) != 2 * numbers.size:
            raise DatasetError(
                f"{self._label} holds {len(images)} images for {numbers.size} labels; each needs two images."
            )
        return [self._image(value, number) for number, value in enumerate(images)], np.asarray(numbers == 1)

    def _image(self, value: object, number: int) -> bytes:
        if isinstance(value, bytes | bytearray):
            return self._bytes.of(value)
        if isinstance(value, _NumpyArray) and value.numbers(_IMAGE_TYPES) is not None:
            return self._bytes.of(value.content)
        raise DatasetError(
            f"{self._label}: image {number} is not the bytes of an image file; other values, as an array of "
            "pixels, are not read."
        )


def _word(value: object) -> str:
    """A short word, which Python 2 may have written as bytes; empty if it is neither."""
    if isinstance(value, bytes) and len(value) <= _LONGEST_WORD:
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _truth(label: object) -> int:
    """0 or 1, as a number, a boolean, or NumPy's scalar of them; -1 if it is none of these."""
    if isinstance(label, _NumpyArray):
        numbers = label.numbers(_LABEL_TYPES)
        label = int(numbers[0]) if numbers is not None and numbers.size == 1 else None
    return label if isinstance(label, int) and label in (0, 1) else -1


def read_insightface_bin(path: PathName) -> PairSet:
    """Reads a verification set of insightface: a .bin file, as lfw.bin, cfp_fp.bin or agedb_30.bin.

    The file is a pickle of a list of encoded images, two for each pair, and a list that says whether a pair
    shows one person. A pickle is a program: `PairListReader` lets only those few instructions through that
    build such lists, and nothing that the file names is imported or called. Written by Python 2 or 3,
    protocol 1 or later; images as bytes or NumPy's uint8.

    Args:
        path: The file.

    Returns:
        The pairs, named after the file; their images are aligned faces. Images that come several times have
        several keys. The ten folds are consecutive, as insightface's own evaluation has them with
        scikit-learn's KFold(n_splits=10, shuffle=False): where the pairs do not divide by ten, the first
        folds have one more.

    Raises:
        DatasetError: If the file cannot be read, is cut off or damaged, holds other than such lists, or asks
            for anything to be run.
    """
    file = Path(path)
    images, genuine = PairListReader(read_bytes(file, file.name), quoted(file.name)).read()
    keys = tuple(f"{index:06d}" for index in range(len(images)))
    places = np.arange(len(images))
    return PairSet(
        name=file.stem,
        source=MemoryImages(file.name, dict(zip(keys, images, strict=True))),
        images=keys,
        first=places[0::2],
        second=places[1::2],
        genuine=genuine,
        # The pieces are as large as KFold's: those that come first take what is left over.
        folds=np.repeat(np.arange(FOLDS), [piece.size for piece in np.array_split(genuine, FOLDS)]),
        aligned=True,
    )
