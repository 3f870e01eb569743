"""web/js as a package of npm's: its sessions are Python's, its types those of its code, and it packs what it needs."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from recbole_cocorr.device import Session
from recbole_cocorr.device.native_library import LIBRARY
from tests.conftest import CHECKOUT
from tests.device import ITEMS, TOKENS, assert_close, clicks, make, tokens_of
from tests.device.test_native import COMPILER, SHAPES, TOLERANCE, built, without_graphs
from tests.device.test_neighbours import made_up, with_table

__all__ = ["built"]

PACKAGE = CHECKOUT / "web" / "js"
WASM = PACKAGE / "cocorr.wasm"
TABLES = ("fp32", "fp16", "int8")


def ran(*command: str, cwd: Path = PACKAGE, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout


@pytest.fixture
def node() -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    major, minor = (int(part) for part in ran("node", "--version").lstrip("v").split(".")[:2])
    if (major, minor) < (20, 16):
        pytest.skip("node is older than 20.16")


def moves_of(window: int) -> tuple[list, list]:
    """Clicks and histories, repeats and unknown items among them: those before a state is saved, and those after."""
    tokens = tokens_of(clicks(3 * window + 4, seed=window))
    many = tokens_of(clicks(700, seed=7))
    first = [("click", "no such item"), *(("click", token) for token in tokens)]
    first += [("history", ["no such item", *many[:5], "no such item"]), ("click", many[0]), ("click", many[0])]
    first += [("history", many[5:600]), *(("click", token) for token in many[600:603])]
    return first, [*(("click", token) for token in many[603 : 603 + window]), ("history", many[660:663])]


def done_in_python(session: Session, moves: list) -> list[dict]:
    steps = []
    for place, (what, value) in enumerate(moves):
        step = {"what": what, "value": value, "answer": getattr(session, what)(value), "clicks": session.clicks}
        if session.clicks:
            excluded, candidates = TOKENS[1 : place % 4 + 1], [*TOKENS[:0:-2], "no such item", TOKENS[1]]
            rankings = {"all": session.rank_all(ITEMS, excluded), "some": session.rank(candidates, 5, excluded)}
            step |= {name: {"items": r.items, "scores": r.scores} for name, r in rankings.items()}
            step |= {"user": session.user_vector.tolist(), "excluded": excluded, "candidates": candidates}
        steps.append(step)
    return steps


def test_sessions_are_pythons(node, request, written, monkeypatch, tmp_path):
    """Odd shapes, all tables, with a neighbour table and without; either side goes on from the other's state."""
    if COMPILER is None:
        pytest.skip("no C compiler is here")
    monkeypatch.setenv(LIBRARY, str(request.getfixturevalue("built")))
    folders = {}
    for number, shape in enumerate(SHAPES):
        folders[f"shape-{number}"] = folder = tmp_path / f"shape-{number}"
        folder.mkdir()
        without_graphs(folder, make(**shape), TABLES[number % 3])
        if number % 2:
            with_table(folder, made_up((0.9, 0.3)[number // 2 % 2]))
    folders["with-graphs"] = Path(shutil.copytree(written(table="int8")[1], tmp_path / "with-graphs"))
    cases = []
    for name, folder in folders.items():
        runtime = "onnx" if name == "with-graphs" else "native"
        for policy in ("carry", "window"):
            session = Session.open(folder, policy=policy, runtime=runtime)
            first, later = moves_of(session.artifact.manifest.window)
            case = {"name": name, "policy": policy, "moves": done_in_python(session, first)}
            session.save(tmp_path / f"{name}-{policy}.python")
            cases.append({**case, "later": done_in_python(session, later)})
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    said = ran("node", "--test", "--test-reporter=tap", COCORR_VECTORS=str(tmp_path))
    assert re.search(rf"^# pass {2 * len(cases) + 4}$", said, re.MULTILINE), said[-3000:]
    assert "# skipped 0" in said
    for case in cases:
        name, policy = case["name"], case["policy"]
        runtime = "onnx" if name == "with-graphs" else "native"
        state = tmp_path / f"{name}-{policy}.javascript"
        session = Session.open(folders[name], state=state, policy=policy, runtime=runtime)
        assert session.clicks == case["moves"][-1]["clicks"]
        assert_close(session.user_vector, case["moves"][-1]["user"], TOLERANCE)
        for move in case["later"]:
            getattr(session, move["what"])(move["value"])
            assert_close(session.user_vector, move["user"], TOLERANCE)


# -- the WebAssembly ---------------------------------------------------------------------------------------------------


def test_the_webassembly_is_built_of_these_sources(tmp_path):
    """`make wasm` builds it, and writes down of what and by which compiler; that one builds the same bytes again."""
    first, *lines = WASM.with_suffix(".wasm.sha256").read_text().splitlines()
    digests = {name: digest for digest, name in (line.split("  ") for line in lines)}
    sources = {f"recbole_cocorr/device/native/{name}" for name in ("cocorr.c", "cocorr.h", "cocorr_wasm.c")}
    sources |= {str(f.relative_to(CHECKOUT)) for f in (CHECKOUT / "recbole_cocorr/device/native/wasm").iterdir()}
    assert set(digests) == sources | {"web/js/cocorr.wasm"}
    for name, digest in digests.items():
        assert hashlib.sha256((CHECKOUT / name).read_bytes()).hexdigest() == digest, f"{name} changed: run make wasm"
    assert WASM.stat().st_size < 100_000
    if not (shutil.which("clang") and shutil.which("wasm-ld") and shutil.which("make")):
        return
    if f"# {ran('clang', '--version').splitlines()[0]}" == first:
        ran("make", "wasm", f"WASM={tmp_path / 'again.wasm'}", cwd=CHECKOUT)
        assert (tmp_path / "again.wasm").read_bytes() == WASM.read_bytes()


# -- the package -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """A project that has the package as npm packs it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    project = tmp_path_factory.mktemp("project")
    (report,) = json.loads(ran("npm", "pack", "--json", "--ignore-scripts", f"--pack-destination={project}"))
    installed = project / "node_modules" / "recbole-cocorr"
    installed.parent.mkdir()
    shutil.unpack_archive(project / report["filename"], project)
    (project / "package").rename(installed)
    return project


def test_it_packs_what_it_needs_and_nothing_of_the_page(packed):
    installed = packed / "node_modules" / "recbole-cocorr"
    files = {str(f.relative_to(installed)) for f in installed.rglob("*") if f.is_file()}
    needed, unread = set(), ["index.js"]
    while unread:
        name = unread.pop()
        needed.add(name)
        text = (PACKAGE / name).read_text(encoding="utf-8")
        unread += set(re.findall(r'from "\./([\w.]+)"', text)) - needed - set(unread)
    types = {f"types/{name}.d.ts" for name in ("index", "artifact", "session")}
    assert files == needed | types | {"cocorr.wasm", "package.json", "README.md", "LICENSE"}
    assert (PACKAGE / "LICENSE").read_bytes() == (CHECKOUT / "LICENSE").read_bytes()


def test_its_version_is_the_python_packages(packed):
    import recbole_cocorr

    for file in ("package.json", "package-lock.json"):
        assert json.loads((PACKAGE / file).read_text())["version"] == recbole_cocorr.__version__


def test_the_example_of_its_readme_runs(node, packed, written):
    _, folder = written()
    example = re.findall(r"```js\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    (packed / "example.mjs").write_text(example.replace("address", json.dumps(folder.as_uri())))
    *ranked, clicked = ran("node", "example.mjs", cwd=packed).splitlines()
    session = Session.open(folder)
    session.history(["item-5", "item-9", "item-7"])
    expected = session.rank_all(10, ["item-5", "item-9", "item-7"])
    assert [line.split()[0] for line in ranked] == expected.items
    np.testing.assert_allclose([float(line.split()[1]) for line in ranked], expected.scores, rtol=1e-4)
    assert clicked == "3"


USE = """
import { Artifact, Session } from "recbole-cocorr";
const artifact: Artifact = await Artifact.fetch(new URL("file:///artifact"), { runtime: "native" });
const session: Session = new Session(artifact, "carry");
const known: boolean = await session.click("item-1");
const unknown: string[] = await session.history(["item-2"]);
const tokens: string[] = session.rankAll(10, ["item-1"]).map(({ token, score }) => `${token} ${score.toFixed(2)}`);
const state: ArrayBuffer = await session.save();
const again: Session = await Session.open("https://example.org/artifact", { state, onnx: async () => null });
"""


@pytest.fixture(scope="module")
def tsc(tmp_path_factory) -> str:
    """The compiler of the lock file."""
    if (PACKAGE / "node_modules/.bin/tsc").exists():
        return str(PACKAGE / "node_modules/.bin/tsc")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("typescript")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGE / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if "ENOTFOUND" in done.stderr or "network" in done.stderr:
        pytest.skip(f"the npm registry cannot be reached: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return str(folder / "node_modules/.bin/tsc")


def test_its_types_are_those_of_its_code(tsc, packed, tmp_path):
    ran(tsc, "--project", str(PACKAGE), "--outDir", str(tmp_path))
    for file in sorted((PACKAGE / "types").iterdir()):
        assert file.read_text() == (tmp_path / file.name).read_text(), "run `npm run types` in web/js"
    (packed / "use.mts").write_text(USE)
    flags = ["--strict", "--noEmit", "--skipLibCheck", "false", "--module", "nodenext", "--target", "es2023"]
    flags += ["--lib", "es2023,dom"]
    ran(tsc, *flags, "use.mts", cwd=packed)
    (packed / "wrong.mts").write_text(USE + 'session.click(7);\nnew Session(artifact, "neither");\n')
    done = subprocess.run([tsc, *flags, "wrong.mts"], cwd=packed, capture_output=True, text=True, check=False)
    assert done.stdout.count("error TS2345") == 2, done.stdout
