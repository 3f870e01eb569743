"""The extras of ``pip install``: which packages each brings, and the line to type where one is missing."""

from importlib.util import find_spec

from recbole_cocorr.base.errors import UserError

# As in setup.cfg: the extras that an extra includes, and the modules that tell whether its own packages are there.
_EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "device": ((), "numpy onnxruntime"),
    "cloud-client": (("device",), "grpc google.protobuf"),
    "train": ((), "numpy torch recbole pandas scipy safetensors yaml tabulate tqdm"),
    "export": (("train", "device"), "onnx onnxscript"),
    "cloud": (
        (),
        "numpy scipy safetensors yaml tqdm onnx onnxruntime grpc google.protobuf grpc_health.v1 "
        "grpc_reflection.v1alpha prometheus_client httptools",
    ),
    "report": (("train",), "matplotlib jinja2"),
}

# RecBole's metadata asks for a ray of 2023 that newer Pythons do not have; no extra can leave that out.
_APART = {"recbole": "--no-deps recbole==1.2.1"}


def require(extra: str, *modules: str) -> None:
    """See to it that the packages of an extra are installed; nothing is imported.

    Parameters
    ----------
    extra : {"device", "cloud-client", "train", "export", "cloud", "report"}
    *modules : str
        Those of its modules that are needed; all, if none is named.

    Raises
    ------
    UserError
        If one is not installed. The sentence names it and the line to type.
    """
    for name in modules or _modules(extra):
        if not _is_installed(name):
            what = _APART.get(name, f"'recbole_cocorr[{extra}]'")
            raise UserError(f"{name} is not installed; type: pip install {what}")


def _modules(extra: str) -> list[str]:
    included, own = _EXTRAS[extra]
    return [name for other in included for name in _modules(other)] + own.split()


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # of the package that it lies in; ValueError: loaded by hand, without a spec
        return False
