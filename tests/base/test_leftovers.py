"""Temporaries of dead writers are removed, those of living ones never; pipes and devices stay what they are."""

import argparse
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from recbole_cocorr.base.arguments import output_file, output_picture
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, write_json
from recbole_cocorr.base.leftovers import remove_leftovers, temporary_folder
from tests.base.stopped import killed_at_every_step

pytest.importorskip("fcntl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text)


def test_killed_at_every_step(folder):
    path = folder / "a.txt"

    def check():
        assert path.read_text() in ("old" * 9999, "new" * 9999)
        write(folder / "other", "x")
        assert names(folder) == ["a.txt", "other"], "another file of the folder suffices to tidy up"

    steps = killed_at_every_step(folder, lambda: write(path, "old" * 9999), lambda: write(path, "new" * 9999), check)
    assert steps >= 2


def test_a_living_writers_file_stays(folder):
    with atomic_write(folder / "a") as file:
        write(folder / "a", "another writer, who is faster")
        remove_leftovers(folder)
        assert len(names(folder)) == 2
        file.write("mine")
    assert names(folder) == ["a"] and (folder / "a").read_text() == "mine"


def test_another_process_is_known_to_live_until_it_is_killed(folder):
    code = (
        "import sys; from pathlib import Path; from recbole_cocorr.base.files import atomic_write\\n"
        "from recbole_cocorr.base.leftovers import temporary_folder\\n"
        "with atomic_write(sys.argv[1] + '/a') as f, temporary_folder(Path(sys.argv[1], 'b')) as d:\\n"
        "    f.write('half'); (d / 'part').touch(); print('ready', flush=True); sys.stdin.read()\\n"
    ).replace("\\n", "\n")
    command = [sys.executable, "-c", code, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout.readline() == "ready\n"
        remove_leftovers(folder)
        assert len(names(folder)) == 2
        process.kill()
    remove_leftovers(folder, "a")
    assert [n[:3] for n in names(folder)] == [".b."]
    remove_leftovers(folder)
    assert names(folder) == []


def test_only_what_has_the_form_of_a_temporary_is_removed(folder):
    kept = [".a.tmp", "a.0123456789abcdef.tmp", ".a.0123456789abcdeg.tmp", ".a.0123456789abcdef.tmp.x", ".a.0123.tmp"]
    for name in kept:
        (folder / name).touch()
    os.symlink(folder / kept[0], folder / ".link.0123456789abcdef.tmp")
    os.mkfifo(folder / ".pipe.0123456789abcdef.tmp")
    (folder / ".a.0123456789abcdef.tmp").touch()
    remove_leftovers(folder)
    assert names(folder) == sorted([*kept, ".link.0123456789abcdef.tmp", ".pipe.0123456789abcdef.tmp"])
    remove_leftovers(folder / "none")


def test_many_writers_and_a_tidier_at_once(folder):
    """A temporary that is removed between its making and its lock is made again."""
    errors = []

    def work(letter: str) -> None:
        try:
            for _ in range(100):
                write(folder / "a", letter * 1000)
                with temporary_folder(folder / "f") as made:
                    (made / "x").touch()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(letter,)) for letter in "abc"]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        remove_leftovers(folder)
    assert errors == []
    assert names(folder) == ["a"]


# -- pipes and devices -----------------------------------------------------------------------------------


def test_a_pipe_and_a_device_are_written_through_or_refused(folder):
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, os.devnull, "/dev/stdout", "/dev/fd/1"):
        with pytest.raises(UserError, match="name a file for the checkpoint"), atomic_write(path, what="checkpoint"):
            pass
    said = []
    reader = threading.Thread(target=lambda: said.append(pipe.read_text()))
    reader.start()
    write_json(pipe, {"a": 1})
    reader.join()
    assert json.loads(said[0]) == {"a": 1}
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_json(os.devnull, {})
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    link = folder / "link"
    link.symlink_to(os.devnull)
    with pytest.raises(UserError, match="is a device"), atomic_write(link):
        pass
    assert link.is_symlink()


def test_a_stream_that_goes_to_a_file_gets_all_in_order(folder):
    code = "from recbole_cocorr.base.files import write_json as w; print('first'); w('/dev/stdout', [1]); print('last')"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, env=environment, check=True)
    assert (folder / "out").read_text() == "first\n[\n 1\n]\nlast\n"
    assert names(folder) == ["out"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_error_names_the_file_and_what_it_is(folder):
    with pytest.raises(OSError, match="the table could not be written: No space left") as caught:
        write_json("/dev/full", [0] * 99999, "table")
    assert caught.value.filename == "/dev/full"
    with pytest.raises(FileNotFoundError) as caught, atomic_write(folder / "none" / "a", what="table"):
        pass
    assert caught.value.filename == str(folder / "none" / "a")
    with pytest.raises(OSError) as caught, atomic_write(folder / "a"):
        raise OSError(5, "Input/output error", "the source")
    assert (caught.value.filename, caught.value.strerror) == ("the source", "Input/output error")


def test_an_output_is_asked_for_before_the_work(folder):
    assert output_file(str(folder / "a")) == folder / "a"
    assert output_file(os.devnull) == Path(os.devnull)
    for kind, path, said in (
        (output_picture, folder / "a.svg" / "a", "does not end in .svg or .png"),
        (output_picture, folder / "none" / "a.PNG", "there is no folder"),
        (output_file, folder, "is a folder"),
        (output_file, folder / "none" / "a", "there is no folder"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=said):
            kind(str(path))
    assert names(folder) == []
