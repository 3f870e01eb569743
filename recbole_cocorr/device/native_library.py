"""The native library, found and called by ctypes; native/cocorr.h says what its functions do."""

import ctypes
import os
from functools import cache
from pathlib import Path

from recbole_cocorr.base.errors import UserError

# Another build of the library, such as one with a sanitizer.
LIBRARY = "RECBOLE_COCORR_NATIVE"
_POINTER, _WHOLE, _BYTES = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64
_STATUS = ctypes.c_int
_FUNCTIONS = {
    "cocorr_message": (ctypes.c_char_p, [_STATUS]),
    "cocorr_model_bytes": (_BYTES, []),
    "cocorr_parts_bytes": (_BYTES, []),
    "cocorr_open_parts": (_STATUS, [_POINTER, _POINTER]),
    "cocorr_session_bytes": (_BYTES, [_POINTER]),
    "cocorr_start": (_STATUS, [_POINTER, _POINTER, ctypes.c_int, _POINTER, _BYTES]),
    "cocorr_click": (_STATUS, [_POINTER, ctypes.c_uint32]),
    "cocorr_history": (_STATUS, [_POINTER, _POINTER, _WHOLE]),
    "cocorr_user": (_POINTER, [_POINTER]),
    "cocorr_correct": (_STATUS, [_POINTER, _POINTER, _POINTER]),
    "cocorr_scores": (_STATUS, [_POINTER, _POINTER, _WHOLE, ctypes.c_int, _POINTER]),
    "cocorr_rank_all": (_STATUS, [_POINTER, _WHOLE, _POINTER, _WHOLE, _POINTER, _POINTER, _POINTER]),
    "cocorr_recent": (ctypes.c_uint32, [_POINTER, _POINTER]),
    "cocorr_state": (None, [_POINTER, _POINTER]),
    "cocorr_restore": (_STATUS, [_POINTER, ctypes.c_uint64, _POINTER, ctypes.c_uint32, _POINTER, _POINTER]),
}


class Part(ctypes.Structure):
    """``cocorr_part``."""

    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_uint64)]


ARRAYS = (
    "native",
    *("item_vectors", "item_scales", "target_vectors", "target_scales"),
    *("token_bytes", "token_offsets", "token_index"),
    *("neighbour_indptr", "neighbour_items", "neighbour_weights", "neighbour_scales"),
    "upload_norm",
)
_NUMBERS = ("items", "table", "policy", "probes", "neighbours", "neighbour_clicks")
_TRUST = ("decay", "base", "per_log_click", "scale")


class Parts(ctypes.Structure):
    """``cocorr_parts``."""

    _fields_ = [
        *((name, Part) for name in ARRAYS),
        *((name, ctypes.c_uint32) for name in _NUMBERS),
        *((name, ctypes.c_double) for name in _TRUST),
    ]


def library_path() -> Path | None:
    """Where the library is: built with the package, or named by the environment; None where it is not."""
    named = os.environ.get(LIBRARY)
    if named is not None:
        return Path(named) if named and Path(named).is_file() else None
    built = sorted(Path(__file__).parent.glob("_native.*"))
    return next((path for path in built if path.suffix in (".so", ".pyd", ".dylib", ".dll")), None)


def library() -> ctypes.CDLL | None:
    """The library, or None where there is none that loads."""
    path = library_path()
    return None if path is None else _load(str(path))


@cache
def _load(path: str) -> ctypes.CDLL | None:
    try:
        # PyDLL keeps the interpreter's lock: a call is shorter than letting go of it and taking it again.
        loaded = ctypes.PyDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    # One that was built from another version of the package reads other structures.
    return loaded if loaded.cocorr_parts_bytes() == ctypes.sizeof(Parts) else None


def check(loaded: ctypes.CDLL, status: int, where: object) -> None:
    """Raise what a status says.

    Raises
    ------
    UserError
        Unless it is 0.
    """
    if status:
        raise UserError(f"{where}: {loaded.cocorr_message(status).decode()}")
