"""Verbs are files of ``cli/``, and say what they are without the libraries that they work with."""

import ast
import subprocess
import sys

import pytest

from recbole_cocorr.__main__ import command_parser, verbs
from tests.conftest import CHECKOUT

FOLDER = CHECKOUT / "recbole_cocorr" / "cli"
HELP = """
import sys

REFUSED = {"torch", "recbole", "yaml", "grpc", "google", "pandas", "scipy", "onnxruntime", "tqdm", "matplotlib"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ImportError(name + " is not here")

sys.meta_path.insert(0, Refuse())
from recbole_cocorr.__main__ import main, verbs

for arguments in [], *([verb] for verb in verbs()):
    try:
        main([*arguments, "--help"])
    except SystemExit as ended:
        assert ended.code == 0, arguments
assert "numpy" not in sys.modules
# What works and is not asked for its flags costs time.
assert not {"recbole_cocorr.data.convert.pipeline", "recbole_cocorr.training"} & set(sys.modules)
assert main(["run", "--model=CoCorrRec"]) == main(["serve"]) == 2
"""
ALL = """
import sys
from recbole_cocorr.__main__ import main
try:
    main(["--help"])
except SystemExit:
    pass
assert not [m for m in sys.modules if m.startswith(("recbole_cocorr.service", "recbole_cocorr.data.convert"))]
"""
ONE = """
import sys
from recbole_cocorr.__main__ import main
try:
    main(["sweep", "--help"])
except SystemExit:
    pass
print(*(m for m in sys.modules if m.startswith("recbole_cocorr.cli.")), file=sys.stderr)
"""


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=CHECKOUT)


def test_help_needs_no_library():
    done = python(HELP)
    assert done.returncode == 0, done.stderr
    for verb in verbs():
        assert ("run_recbole_cocorr.py" if verb == "run" else f"recbole_cocorr {verb}") + " [-h]" in done.stdout
    run, serve = done.stderr.splitlines()
    assert run == "error: torch is not installed; type: pip install 'recbole_cocorr[train]'"
    assert serve.endswith(" is not installed; type: pip install 'recbole_cocorr[cloud]'")


def test_the_list_of_verbs_asks_none_for_its_flags():
    done = python(ALL)
    assert done.returncode == 0, done.stderr
    assert "import-released" in done.stdout


def test_only_the_verb_that_is_called_is_imported():
    modules = python(ONE).stderr.split()
    assert {m.rpartition(".")[2] for m in modules if "._" not in m} == {"sweep"}


def test_a_verb_is_a_file():
    files = {f.stem.replace("_", "-") for f in FOLDER.glob("*.py") if not f.name.startswith("_")}
    assert set(verbs()) == files
    assert {"run", "import-released", "device-bench", "serve"} <= files
    assert all(f"\n    {verb}" in command_parser().format_help() for verb in files)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("[!_]*.py")), ids=lambda f: f.stem)
def test_a_verb_imports_little_at_the_top(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert {"add_arguments", "run"} <= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert ast.get_docstring(tree).partition("\n")[0].endswith(".")
    names = [n.module for n in tree.body if isinstance(n, ast.ImportFrom)]
    names += [alias.name for n in tree.body if isinstance(n, ast.Import) for alias in n.names]
    ours = ("recbole_cocorr.base.", "recbole_cocorr.cli._")
    assert [n for n in names if n.partition(".")[0] not in sys.stdlib_module_names and not n.startswith(ours)] == []
