"""Which file ``latest`` means."""

import os
from pathlib import Path

import pytest

from recbole_cocorr.base.checkpoints import TRAINING, checkpoint_file
from recbole_cocorr.base.errors import UserError


def written(name: str, age: int) -> Path:
    """A file that was last changed some seconds ago."""
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, ns=(10**18 - age * 10**9,) * 2)
    return path


def test_latest_is_the_newest_model():
    written("saved/A-old.safetensors", 50)
    newest = written("saved/Z-new.safetensors", 20)
    state = written("saved/B-new.training.safetensors", 10)
    written("saved/.c.safetensors.tmp.safetensors", 5)
    written("saved/notes.txt", 1)
    assert checkpoint_file("latest") == newest
    assert checkpoint_file("saved/latest") == checkpoint_file(Path("saved") / "latest") == newest
    assert checkpoint_file("latest", TRAINING) == state
    assert checkpoint_file("latest", folder="saved") == newest


def test_a_folder_of_ones_own():
    own = written("elsewhere/m.safetensors", 9)
    assert checkpoint_file("elsewhere/latest") == checkpoint_file("latest", folder="elsewhere") == own


def test_other_names_stay():
    for name in ("saved/x.safetensors", "latest.safetensors", "no/such/file"):
        assert checkpoint_file(name) == Path(name)
    file = written("saved/latest", 1)
    assert checkpoint_file("saved/latest") == file


@pytest.mark.parametrize("name", ["latest", "saved/latest", "none/latest"])
def test_where_there_is_none(name):
    written("saved/x.training.safetensors", 1)
    with pytest.raises(UserError, match=r"there is no checkpoint in (saved|none)/, so none is the latest"):
        checkpoint_file(name)
