"""Which files an ONNX graph reads its weights from.

ONNX Runtime before 1.24, the newest for Python 3.10, reads any file that a graph names, outside the artifact too. So
the names are looked at before it sees the graph. This needs no more of ONNX than where a message holds other messages.
"""

from collections.abc import Iterator

from recbole_cocorr.base.errors import UserError

# Message -> field number -> message inside, as far as tensors can lie there (onnx.proto, unchanged since IR version 9).
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


def external_files(raw: bytes) -> set[str]:
    """The files that a graph's tensors name as the offset of their data.

    Parameters
    ----------
    raw : bytes
        The content of an ``.onnx`` file.

    Raises
    ------
    UserError
        If it is no ONNX file.
    """
    files: set[str] = set()
    waiting = [("model", memoryview(raw))]  # no recursion: nesting may be as deep as the file is long
    try:
        while waiting:
            kind, message = waiting.pop()
            if kind == "entry":
                fields = list(_fields(message))
                if any(number == 1 and bytes(value) == b"location" for number, value in fields):
                    files |= {bytes(value).decode() for number, value in fields if number == 2}
                continue
            inside = _INSIDE[kind]
            waiting += [(inside[number], value) for number, value in _fields(message) if number in inside]
    except (IndexError, ValueError) as error:
        raise UserError(f"it is no ONNX file ({error})") from None
    return files


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Numbers and contents of the fields of a protobuf message that hold bytes; others are passed over."""
    offset = 0
    while offset < len(message):
        key, offset = _number(message, offset)
        wire = key & 7
        if wire == 2:
            size, offset = _number(message, offset)
            if size > len(message) - offset:
                raise ValueError("a field is longer than its message")
            yield key >> 3, message[offset : offset + size]
            offset += size
        elif wire == 0:
            _, offset = _number(message, offset)
        elif wire in (1, 5):
            offset += 8 if wire == 1 else 4
            if offset > len(message):
                raise ValueError("a field is longer than its message")
        else:
            raise ValueError(f"wire type {wire}")


def _number(message: memoryview, offset: int) -> tuple[int, int]:
    """A varint and the offset behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, offset
    raise ValueError("a number of more than ten bytes")
