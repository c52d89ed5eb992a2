"""MXNet's format of parameter files, walked before MXNet reads one: it trusts the sizes it finds,
and a flipped bit in one asks for all memory.

Little endian (mxnet/src/ndarray/ndarray.cc, NDArray::Save): a mark and a reserved word, the number
of arrays, the arrays, the number of names, the names with their lengths. An array is its own mark,
storage type, shape, device, type and values.
"""

from __future__ import annotations

import math
import struct

LIST_MARK = 0x112
ARRAY_MARKS = (0xF993FAC9, 0xF993FACA)  # of MXNet 1.0 and later; the other is for numpy's shapes
DENSE = 0  # storage type; no network of ours has sparse parameters
# float32, float64, float16, uint8, int32, int8, int64, bool
BYTES_OF_TYPE = {0: 4, 1: 8, 2: 2, 3: 1, 4: 4, 5: 1, 6: 8, 7: 1}
MOST_DIMENSIONS = 8


class ParameterFormatError(ValueError):
    """Bytes that aren't in MXNet's format; says why."""


def check_format(content: bytes) -> None:
    """Raises ParameterFormatError for all but dense arrays with names, and nothing else."""
    walk = _Walk(content)
    mark, _ = walk.take("<QQ")
    if mark != LIST_MARK:
        raise ParameterFormatError("it isn't one of MXNet's")
    (arrays,) = walk.take("<Q")
    for _ in range(arrays):
        mark, storage, dimensions = walk.take("<IiI")
        if mark not in ARRAY_MARKS:
            raise ParameterFormatError("an array in it is damaged, or of an MXNet before 1.0")
        if storage != DENSE or not 1 <= dimensions <= MOST_DIMENSIONS:
            raise ParameterFormatError(f"an array has {dimensions} dimensions, storage {storage}")
        shape = walk.take(f"<{dimensions}q")
        _, _, type_ = walk.take("<iii")
        if min(shape) < 0 or type_ not in BYTES_OF_TYPE:
            raise ParameterFormatError(f"an array has shape {shape} and type {type_}")
        walk.next(math.prod(shape) * BYTES_OF_TYPE[type_])
    (names,) = walk.take("<Q")
    if names != arrays:
        problem = f"and {names} names" if names else "without names, no network's parameters"
        raise ParameterFormatError(f"it holds {arrays} arrays {problem}")
    seen = set()
    for _ in range(names):
        name = walk.next(*walk.take("<Q"))
        try:
            seen.add(bytes(name).decode())
        except UnicodeDecodeError as error:
            raise ParameterFormatError(f"a name in it isn't UTF-8: {error}") from error
    if len(seen) < names:
        raise ParameterFormatError("two arrays in it have one name")
    if walk.left:
        raise ParameterFormatError(f"{walk.left} bytes follow its end")


class _Walk:
    """Through bytes, from the start."""

    def __init__(self, content: bytes):
        self._content, self._place = memoryview(content), 0

    @property
    def left(self) -> int:
        return len(self._content) - self._place

    def take(self, layout: str) -> tuple:
        """The next numbers, laid out as ``struct`` says."""
        return struct.unpack(layout, self.next(struct.calcsize(layout)))

    def next(self, count: int) -> memoryview:
        """The next so many bytes."""
        if count > self.left:
            raise ParameterFormatError(f"it is cut: {count} more bytes were expected")
        self._place += count
        return self._content[self._place - count : self._place]
