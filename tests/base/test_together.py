"""Results of several files: all old or all new, whenever the writer is killed."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.together import finish, read_by_index, write_files, write_together
from tests.base.stopped import killed_at_every_step, without_room

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

OLD = {"page.html": b"old" * 1000, "figures/a.png": b"old", "tables/a.md": b"old"}
NEW = {"page.html": b"new" * 2000, "figures/a.png": b"new", "tables/a.md": b"new", "tables/b.md": b"new"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_the_files_are_written_and_others_left(tmp_path):
    out = tmp_path / "a" / "b"
    assert write_files(out, "report", OLD) == [out / name for name in OLD]
    (out / "tables" / "mine.txt").write_bytes(b"mine")
    (out / "page.html").chmod(0o604)
    write_files(out, "report", {**NEW, "text": "d\u00e9j\u00e0"})
    assert contents(out) == {**NEW, "text": "d\u00e9j\u00e0".encode(), "tables/mine.txt": b"mine"}
    assert (out / "page.html").stat().st_mode & 0o777 == 0o604


def test_killed_at_every_step(tmp_path):
    out = tmp_path / "out"

    def before():
        shutil.rmtree(out, ignore_errors=True)
        write_files(out, "report", OLD)
        (out / "mine.txt").write_bytes(b"mine")

    seen = []

    def check():
        finish(out)
        left = {name: raw for name, raw in contents(out).items() if ".tmp/" not in name}
        assert left.pop("mine.txt") == b"mine"
        assert left in (OLD, NEW)
        seen.append(left == NEW)
        write_files(out, "report", NEW)
        assert set(contents(out)) == {*NEW, "mine.txt"}, "the next one tidies up"
        assert not [f.name for f in out.iterdir() if f.name.startswith(".")]

    assert killed_at_every_step(tmp_path, before, lambda: write_files(out, "report", NEW), check) > 10
    assert seen == sorted(seen) and False in seen


def test_a_folder_that_is_replaced_as_a_whole(tmp_path):
    out = tmp_path / "out"

    def write(text: str) -> None:
        out.mkdir(exist_ok=True)
        with write_together(out, "demo") as together:
            for name in ("artifact", "corrector"):
                folder = together.folder(name)
                folder.mkdir()
                (folder / text).write_text(text)

    def before():
        shutil.rmtree(out, ignore_errors=True)
        write("old")

    def check():
        finish(out)
        left = {name for name in contents(out) if ".tmp/" not in name}
        assert left in ({"artifact/old", "corrector/old"}, {"artifact/new", "corrector/new"})

    assert killed_at_every_step(tmp_path, before, lambda: write("new"), check) > 8


def test_a_full_disk_changes_nothing(tmp_path):
    out = tmp_path / "out"

    def before():
        shutil.rmtree(out, ignore_errors=True)
        write_files(out, "report", OLD)

    def check():
        assert contents(out) == OLD
        assert {f.name for f in out.iterdir()} == {"page.html", "figures", "tables"}

    without_room([0, 2, 100, 5000], before, lambda: write_files(out, "report", NEW), check)


def test_an_error_names_the_file_and_what_it_is(tmp_path):
    with (
        pytest.raises(OSError, match="the report could not be written: No space left") as caught,
        write_together(tmp_path, "report") as together,
        together.open("page.html"),
    ):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "page.html")
    assert contents(tmp_path) == {}
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is no folder; name one for the report"):
        write_files(tmp_path / "file", "report", NEW)


def test_what_must_not_be_replaced_is_asked_at_the_last_moment(tmp_path):
    def refuse():
        raise UserError("there is one already")

    with (
        pytest.raises(UserError, match="already"),
        write_together(tmp_path / "cwd", "dataset", refuse) as together,
        together.open("a"),
    ):
        pass
    assert contents(tmp_path) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_link_stays_a_link(tmp_path):
    write_files(tmp_path / "real", "report", OLD)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "page.html").symlink_to(tmp_path / "real" / "page.html")
    write_files(tmp_path / "out", "report", NEW)
    assert (tmp_path / "out" / "page.html").is_symlink()
    assert (tmp_path / "real" / "page.html").read_bytes() == NEW["page.html"]


def test_a_reader_that_meets_a_writer_reads_again(tmp_path):
    index = tmp_path / "index"
    index.write_text("a")
    (tmp_path / "b").write_text("B")

    def read() -> str:
        name = index.read_text()
        if name == "a":  # the writer is faster
            index.write_text("b, at last")
            raise UserError("a is gone")
        return (tmp_path / name[0]).read_text()

    assert read_by_index(index, read) == "B"
    index.write_text("c")
    with pytest.raises(FileNotFoundError):
        read_by_index(index, read)
    with pytest.raises(UserError, match="still gone"):
        read_by_index(index, lambda: (_ for _ in ()).throw(UserError("still gone")))
