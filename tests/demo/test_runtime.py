"""onnxruntime-web is given, kept or fetched, and what is missing is said."""

import json
import stat
from pathlib import Path

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.demo.folder import web_folder
from recbole_cocorr.demo.runtime import FILES, PACKAGE, find_runtime, pinned_version


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Put a program in the place of npm; what it was called with stands in ``calls``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def program(script: str) -> Path:
        file = folder / "npm"
        file.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n{script}\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return folder / "calls"

    return program


FETCHES = f"""
test -f package-lock.json || exit 3
mkdir -p node_modules/{PACKAGE}/dist && cd node_modules/{PACKAGE}/dist && echo 1 > {FILES[0]} && echo 2 > {FILES[1]}
echo large > other.wasm
"""


def test_it_is_fetched_once_by_the_lock_file_and_the_rest_is_not_kept(npm, tmp_path):
    calls = npm(FETCHES)
    out = tmp_path / "out"
    kept = find_runtime(out)
    assert kept == out / f"{PACKAGE}-{pinned_version()}"
    assert sorted(f.name for f in kept.iterdir()) == sorted(FILES)
    assert [f.name for f in out.iterdir()] == [kept.name]
    assert find_runtime(out) == kept
    (call,) = calls.read_text().splitlines()
    assert call.startswith("ci --ignore-scripts")
    (kept / FILES[1]).unlink()
    find_runtime(out)
    assert len(calls.read_text().splitlines()) == 2, "a file that went away is fetched again"


def test_npm_fails(npm, tmp_path):
    npm("echo 'npm error code ENOTFOUND' >&2; echo 'npm error network no such host' >&2; exit 1")
    with pytest.raises(UserError, match=r"`npm ci` could not fetch .*: npm error code ENOTFOUND / npm error network"):
        find_runtime(tmp_path / "out")
    assert not any(f.is_file() for f in (tmp_path / "out").rglob("*"))


def test_npm_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=rf"npm is not installed: install Node\.js, or run `npm pack {PACKAGE}@\d"):
        find_runtime(tmp_path / "out")


def test_a_folder_that_is_given(tmp_path):
    (tmp_path / FILES[0]).write_text("")
    with pytest.raises(UserError, match=f"has no {FILES[1]}; --runtime names the folder dist"):
        find_runtime(tmp_path / "out", tmp_path)
    (tmp_path / FILES[1]).write_text("")
    assert find_runtime(tmp_path / "out", tmp_path) == tmp_path
    assert not (tmp_path / "out").exists()


def test_the_version_is_pinned_exactly_and_every_package_has_its_checksum():
    wanted = json.loads((web_folder() / "package.json").read_text())["dependencies"]
    assert wanted == {PACKAGE: pinned_version()}
    lock = json.loads((web_folder() / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    # None names an address: each is asked for where the user's npm asks.
    assert not [name for name, entry in packages.items() if "resolved" in entry]
