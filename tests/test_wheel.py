"""The installed package works outside the checkout: what it reads travels with it."""

import configparser
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile

import pytest

from tests.conftest import CHECKOUT, random_rows, write_inter

PACKAGE = CHECKOUT / "recbole_cocorr"


@pytest.fixture(scope="module")
def contents(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def packages() -> set[str]:
    return {".".join(f.parent.relative_to(CHECKOUT).parts) for f in PACKAGE.rglob("__init__.py")}


def test_setup_cfg_names_every_package_of_the_checkout():
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    named = set(setup["options"]["packages"].split())
    assert named == packages() | {f"recbole_cocorr.{n}" for n in ("properties", "dataset_configs", "web")}
    folders = {f.parent for f in PACKAGE.rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_every_module_and_every_property_file_is_in_the_wheel(contents):
    kinds = (".py", ".jinja", ".proto", ".c", ".h")
    modules = {str(f.relative_to(CHECKOUT)) for f in PACKAGE.rglob("*") if f.suffix in kinds}
    assert "recbole_cocorr/service/v1/correction.proto" in modules
    assert "recbole_cocorr/report/report.html.jinja" in modules
    assert "recbole_cocorr/cli/convert.py" in modules
    properties = {
        f"recbole_cocorr/{f.relative_to(CHECKOUT)}"
        for folder in ("properties", "dataset_configs")
        for f in (CHECKOUT / folder).rglob("*.yaml")
    }
    assert "recbole_cocorr/properties/protocol/paper.yaml" in properties
    web = CHECKOUT / "web"
    page = {
        f"recbole_cocorr/{f.relative_to(CHECKOUT)}"
        for f in [*web.iterdir(), *(web / "js").iterdir()]
        # Not what makes a package of npm's of web/js.
        if f.is_file() and (f.parent == web or f.suffix in (".js", ".wasm"))
    }
    assert {f"recbole_cocorr/web/{n}" for n in ("js/session.js", "js/cocorr.wasm", "package-lock.json")} <= page
    assert modules | properties | page <= contents
    # and nothing besides: no tests, no stray copies
    compiled = {n for n in contents if n.startswith("recbole_cocorr/device/_native.")}
    assert {n for n in contents if ".dist-info/" not in n} - compiled == modules | properties | page
    assert len(compiled) == (shutil.which("cc") is not None)


def test_the_wheel_has_the_command_and_no_other_entry_point(wheel, contents):
    (name,) = (n for n in contents if n.endswith("entry_points.txt"))
    points = configparser.ConfigParser()
    with zipfile.ZipFile(wheel) as archive:
        points.read_string(archive.read(name).decode())
    assert {group: dict(points[group]) for group in points.sections()} == {
        "console_scripts": {"recbole-cocorr": "recbole_cocorr.__main__:main"}
    }


ELSEWHERE = """
    import sys
    from pathlib import Path
    import recbole_cocorr
    from recbole_cocorr import __main__
    from recbole_cocorr.demo.folder import web_folder
    from recbole_cocorr.base.property_files import known_names, property_file

    root = Path(sys.argv.pop())
    assert Path(recbole_cocorr.__file__).parent == root / "recbole_cocorr", recbole_cocorr.__file__
    for kind, name in [
        ("", "overall"), ("model", "CoCorrRec"), ("protocol", "paper"), ("protocol", "full"), ("dataset", "yelp")
    ]:
        file = property_file(kind, name)
        assert file is not None and root in file.parents, (kind, name, file)
    assert known_names("protocol") == ["full", "paper", "time"], known_names("protocol")
    assert web_folder() == root / "recbole_cocorr" / "web", web_folder()
    assert (web_folder() / "index.html").is_file()
    flags = ["--dataset=small", "--data_path=data", "--use_gpu=False", "--epochs=1", "--show_progress=False"]
    assert __main__.main(["run", "--model=CoCorrRec", *flags]) == 0
    assert __main__.main(["run", "--model=CoCorRec", *flags]) == 2
    strays = {f for m in list(sys.modules.values()) if (f := getattr(m, "__file__", None)) and "recbole_cocorr" in f}
    assert all(Path(f).is_relative_to(root) or "site-packages" in f for f in strays), strays
"""


def test_it_runs_outside_the_checkout_on_the_files_of_the_wheel(wheel, tmp_path):
    root = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root)
    elsewhere = tmp_path / "elsewhere"
    write_inter(elsewhere / "data", "small", random_rows(30, 120, 5, 9))
    (elsewhere / "elsewhere.py").write_text(textwrap.dedent(ELSEWHERE))
    # First on the path: before the checkout, which an editable install would find.
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "elsewhere.py", str(root)],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "CoCorrRec on small, protocol paper" in done.stdout
    assert done.stderr.splitlines()[-1] == "error: there is no model 'CoCorRec'; did you mean 'CoCorrRec'?"
    assert list((elsewhere / "saved").glob("*.safetensors"))
