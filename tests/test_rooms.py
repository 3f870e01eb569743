"""A line of code knows its room by what it may import: nothing upward, no circle, nothing heavier than the room allows.

docs/architecture.md explains the rooms. To let a room import one more library is a decision: it is made here.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.conftest import CHECKOUT

PACKAGE = CHECKOUT / "recbole_cocorr"
# From the ground up: a room imports from itself and from those before it, and of libraries what stands beside it.
ROOMS = {
    "base": "numpy yaml safetensors",
    "artifact": "numpy",
    "device": "numpy onnxruntime",
    "layers": "torch mamba_ssm causal_conv1d",
    "evaluation": "numpy scipy torch",
    "data": "numpy pandas pyarrow torch recbole tqdm",
    "models": "numpy torch recbole",
    "correctors": "numpy scipy safetensors tqdm yaml",
    "training": "numpy scipy safetensors torch recbole colorama colorlog tqdm yaml",
    "exporter": "numpy torch onnx onnxscript onnxruntime",
    "service": "numpy grpc google yaml grpc_health grpc_reflection onnx onnxruntime prometheus_client httptools uvloop",
    "experiments": "numpy scipy torch recbole grpc google tqdm yaml ray tabulate onnxruntime",
    "report": "numpy jinja2 matplotlib",
    "demo": "numpy",
    "cli": "numpy tqdm yaml",
}
# A device runs these, or a server that is to be small.
WITHOUT_TORCH = ("base", "artifact", "device", "correctors", "service")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of a room with its syntax tree: ``models/pop/network``."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix()
        if "/" in name and not name.endswith("_pb2"):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Names that a tree imports, wherever in the file, as ``package.module.name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str | None:
    """The module of this package that an imported name means: ``models/pop/network``; None for a library."""
    first, *rest = name.split(".")
    if first != "recbole_cocorr":
        return None
    while rest and not (PACKAGE.joinpath(*rest).with_suffix(".py").is_file() or PACKAGE.joinpath(*rest).is_dir()):
        rest.pop()
    if not rest:
        return "__init__"  # the front door, for the version
    path = "/".join(rest)
    return f"{path}/__init__" if PACKAGE.joinpath(*rest).is_dir() else path


IMPORTS = {name: [(i, module_of(i)) for i in imports(tree)] for name, tree in modules()}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_nothing_that_lies_above_it(room):
    below = list(ROOMS)[: list(ROOMS).index(room) + 1]
    upward = [
        f"{name} imports {what}"
        for name, targets in IMPORTS.items()
        for what, target in targets
        if name.split("/")[0] == room and target and "/" in target and target.split("/")[0] not in below
    ]
    assert upward == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_library_that_is_not_its_own(room):
    allowed = {*ROOMS[room].split(), *sys.stdlib_module_names}
    heavy = [
        f"{name} imports {what}"
        for name, targets in IMPORTS.items()
        for what, target in targets
        if name.split("/")[0] == room and target is None and what.split(".")[0] not in allowed
    ]
    assert heavy == []


@pytest.mark.parametrize("place", WITHOUT_TORCH)
def test_what_a_device_runs_knows_no_torch(place):
    """Nothing there imports torch or RecBole, nor a module that does."""
    reached = {name for name in IMPORTS if name.startswith(place)}
    assert reached
    while True:
        more = {t for name in reached for _, t in IMPORTS[name] if t in IMPORTS} - reached
        if not more:
            break
        reached |= more
    heavy = [
        f"{n} imports {w}" for n in sorted(reached) for w, _ in IMPORTS[n] if w.split(".")[0] in ("torch", "recbole")
    ]
    assert heavy == []


def test_every_folder_is_a_room():
    assert {name.split("/")[0] for name in IMPORTS} == set(ROOMS)


def test_no_files_import_each_other_in_a_circle():
    graph = {name: {t for _, t in targets if t and t != name} for name, targets in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
