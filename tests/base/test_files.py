"""A file is there whole or it is as it was."""

import os
import stat
import sys
import threading

import pytest

from recbole_cocorr.base.files import atomic_write


@pytest.fixture
def folder(tmp_path):
    """Nothing but what a test writes."""
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_utf8_and_appears_at_the_end_only(folder):
    path = folder / "a.txt"
    with atomic_write(path) as file:
        file.write("d\u00e9j\u00e0 \U0001f600\n")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == "d\u00e9j\u00e0 \U0001f600\n".encode()
    assert names(folder) == ["a.txt"]


def test_bytes_and_keywords_reach_open(folder):
    with atomic_write(folder / "a", "wb") as file:
        file.write(b"\x00\xff\r\n")
    assert (folder / "a").read_bytes() == b"\x00\xff\r\n"
    with atomic_write(folder / "b", encoding="latin-1", newline="\r\n") as file:
        file.write("\u00e9\n")
    assert (folder / "b").read_bytes() == b"\xe9\r\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_after_a_failure_the_old_file_is_as_it_was(folder, error):
    path = folder / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write("new")
        raise error
    assert path.read_text() == "old"
    assert names(folder) == ["a.txt"]


def test_a_failure_of_the_disk_leaves_nothing_behind(folder, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (folder / "a.txt").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic_write(folder / "a.txt") as file:
        file.write("new")
    assert (folder / "a.txt").read_text() == "old"
    assert names(folder) == ["a.txt"]


def test_the_contents_are_on_the_disk_before_the_name(folder, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("replace"), replace(old, new)))
    with atomic_write(folder / "a.txt") as file:
        file.write("x")
    assert done == ["fsync", "replace", "fsync"]


def test_a_writer_that_wants_a_path_gets_one_in_the_same_folder(folder):
    with atomic_write(folder / "a.bin", "wb") as file:
        assert os.path.dirname(file.name) == str(folder)
        with open(file.name, "wb") as other:
            other.write(b"by name")
    assert (folder / "a.bin").read_bytes() == b"by name"


def test_the_permissions_are_the_old_files_or_the_umasks(folder):
    (folder / "old").write_text("")
    (folder / "old").chmod(0o604)
    before = os.umask(0o027)
    try:
        for name in ("old", "new"):
            with atomic_write(folder / name) as file:
                file.write("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "old").stat().st_mode) == 0o604
    assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_link_stays_a_link(folder):
    (folder / "far").mkdir()
    link = folder / "link"
    link.symlink_to(folder / "far" / "real.txt")
    with atomic_write(link) as file:
        file.write("x")
    assert link.is_symlink()
    assert (folder / "far" / "real.txt").read_text() == "x"
    assert names(folder / "far") == ["real.txt"]


def test_long_names_fit(folder):
    name = "\u00e9" * 120 + ".inter"
    with atomic_write(folder / name) as file:
        file.write("x")
    assert names(folder) == [name]


@pytest.mark.parametrize("mode", ["a", "r+", "wt+", "x"])
def test_other_modes_are_refused(folder, mode):
    with pytest.raises(ValueError, match=r"atomic_write knows 'w' and 'wb'"), atomic_write(folder / "a", mode):
        pass
    assert names(folder) == []


def test_a_folder_and_a_missing_folder_are_said(folder):
    with pytest.raises(IsADirectoryError, match="is a folder"), atomic_write(folder):
        pass
    with pytest.raises(FileNotFoundError), atomic_write(folder / "none" / "a"):
        pass


def test_two_writers_of_one_name_do_not_mix(folder):
    path = folder / "a.txt"

    def write(letter: str) -> None:
        for _ in range(20):
            with atomic_write(path) as file:
                for _ in range(50):
                    file.write(letter * 100)
                    file.flush()

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            text = path.read_text()
            assert len(text) == 5000
            assert len(set(text)) == 1
    for writer in writers:
        writer.join()
    assert names(folder) == ["a.txt"]
